"""What is done to IAM principals and service accounts: their keys, what may be assumed, and the sessions that they have.

Sources: EKS "session tags of Pod Identity"; IAM User Guide "Revoking IAM role temporary security credentials" (not for service-linked roles,
not for those of Identity Center), condition keys aws:userid (ROLE_ID:INSTANCE_ID in instance credentials), aws:PrincipalTag,
aws:TokenIssueTime.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from kit.actions.principals import denials, host_and_path, trust_denial
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act, all_hold
from kit.live.changes.change import Change
from kit.live.changes.deny_policy import DenySessions, held, is_deny_all, role_described
from kit.live.changes.principal_change import DeactivateKey, DeletePodIdentity, DenyTrust, associations
from kit.live.connection import Connection
from kit.model.arn import Arn, name_in, partition_of, principal_of, role_of
from kit.plan.plan import PlannedAction

_SPREADS = timedelta(seconds=60)
"""How long IAM's changes take until they count everywhere: seconds, now and then more (IAM User Guide, "Troubleshooting: changes")."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


# deactivate_access_key


def _keys(planned: PlannedAction) -> list[str]:
    return [one for one in planned.parameters.get("access_key_ids") or [] if one.startswith("AKIA")]


def _cannot_deactivate(live: Connection, planned: PlannedAction) -> str:
    arn, given = planned.parameters.get("arn") or "", planned.parameters.get("access_key_ids") or []
    principal = principal_of(arn)
    if principal is None or principal[1] != "user":
        return f"{arn or 'the identity'} is no IAM user: only users have access keys of their own"
    if not given:
        return f"the evidence names no access key of {arn}: `aws iam list-access-keys` lists them"
    if not _keys(planned):
        return f"{', '.join(given)}: temporary, not a key of the user; revoke the sessions of its role"
    own = [one for one in given if one in _own_keys(live)]
    return f"access key {own[0]} signs the calls of this command: sign in with another one" if own else ""


def _own_keys(live: Connection) -> set[str]:
    """The access key that signs the calls, and those with which its profile gets its session. Source: AWS CLI User Guide, source_profile."""
    found = {live.access_key_id, os.environ.get("AWS_ACCESS_KEY_ID", "")} - {""}
    session = live._session
    profiles, name = session._session.full_config.get("profiles") or {}, session.profile_name
    seen = set[str]()
    while name in profiles and name not in seen:
        seen.add(name)
        found.add(str(profiles[name].get("aws_access_key_id") or live.access_key_id))
        name = profiles[name].get("source_profile")
    return found


def _deactivation(live: Connection, planned: PlannedAction) -> list[Change]:
    return [DeactivateKey(name_in(planned.parameters["arn"]), key) for key in _keys(planned)]


def _is_inactive(live: Connection, planned: PlannedAction) -> Check:
    says = f"inactive: {', '.join(_keys(planned))}; sessions that they issued live on until they expire"
    changes = _deactivation(live, planned)
    return all_hold(live, [one for one in changes if one.look(live) is not None], says)


act("deactivate_access_key", changes=_deactivation, refuses=_cannot_deactivate, check=_is_inactive)


# change_role_trust


def _role_name(planned: PlannedAction) -> str:
    """The role's name; parameters may hold the ARN of the role or of a session."""
    role = str(planned.parameters.get("role") or "")
    return name_in(role_of(role) or role)


def _issuer(live: Connection, planned: PlannedAction) -> str:
    """The issuer of the cluster's tokens, host and path."""
    told = planned.parameters.get("issuer") or (live.described.get("identity") or {}).get("oidc", {}).get("issuer")
    return host_and_path(str(told or ""))


def _role_refused(live: Connection, planned: PlannedAction) -> str:
    """Why this role must not be touched, "" when it may."""
    told = str(planned.parameters.get("role") or "")
    name = _role_name(planned)
    if not name:
        return "the evidence does not tell which role it is"
    named = Arn.of(told)
    if named and named.kind in ("user", "root"):
        return f"{told} is no role: deactivate the access keys"
    account = named.account if named else live.account
    if account != live.account:
        return f"{told} is of account {account}, these credentials are for {live.account}: do it there"
    role = role_described(live, name)
    if role is None:
        return f"account {live.account} has no role {name}"
    if str(role["Path"]).startswith("/aws-service-role/"):
        return f"{name} is a service-linked role: AWS lets nobody change it; stop the service from using it"
    if str(role["Path"]).startswith("/aws-reserved/sso.amazonaws.com/"):
        return f"{name} belongs to IAM Identity Center: end the person's sessions there and take the permission set off"
    if principal_of(live.caller) == principal_of(str(role["Arn"])):
        return f"{name} is the role that this command runs as: sign in with another one"
    return ""


def _cannot_change_trust(live: Connection, planned: PlannedAction) -> str:
    refused = _role_refused(live, planned)
    if refused:
        return refused
    if not planned.parameters.get("service_accounts"):
        return "which service account's tokens are meant is not said"
    issuer = _issuer(live, planned)
    if not issuer:
        return "the issuer of the cluster's tokens is not known"
    name = _role_name(planned)
    role = role_described(live, name) or {}
    if issuer not in str(role.get("AssumeRolePolicyDocument")):
        return f"role {name} does not trust the tokens of this cluster ({issuer}): its sessions come another way"
    return ""


def _trust(live: Connection, planned: PlannedAction) -> list[Change]:
    given = sorted(planned.parameters["service_accounts"])
    statement = trust_denial(_issuer(live, planned), given, partition_of(live.caller), str(live.account))
    return [DenyTrust(_role_name(planned), statement, f"service account {', '.join(given)}")]


def _is_denied(live: Connection, planned: PlannedAction) -> Check:
    if role_described(live, _role_name(planned)) is None:
        return Check(HOLDS, "the role is gone")
    return all_hold(
        live,
        _trust(live, planned),
        "tokens of these service accounts get no new session; sessions that they have live on",
    )


act("change_role_trust", changes=_trust, refuses=_cannot_change_trust, check=_is_denied)


# remove_pod_identity


def _account_of(planned: PlannedAction) -> tuple[str, str]:
    told = planned.parameters
    return told.get("namespace") or "", told.get("service_account") or told.get("name") or ""


def _cannot_remove_identity(live: Connection, planned: PlannedAction) -> str:
    if not all(_account_of(planned)):
        return "which service account is meant is not said"
    return ""


def _of_account(live: Connection, planned: PlannedAction) -> Iterator[DeletePodIdentity]:
    namespace, account = _account_of(planned)
    for one in associations(live, str(live.cluster), namespace, account):
        told = str(one.get("externalId") or ""), str(one.get("targetRoleArn") or "")
        yield DeletePodIdentity(str(live.cluster), namespace, account, one["associationId"], *told)


def _has_no_identity(live: Connection, planned: PlannedAction) -> Check:
    left = list(_of_account(live, planned))
    if left:
        return Check(DOES_NOT_HOLD, f"there is Pod Identity association {left[0].id}")
    return Check(HOLDS, "the service account has no Pod Identity association; sessions that its pods have live on")


act("remove_pod_identity", changes=_of_account, refuses=_cannot_remove_identity, check=_has_no_identity)


# revoke_role_sessions


def _policy_name(planned: PlannedAction) -> str:
    return f"kit-revoke-{planned.id.rpartition('-')[2][:10]}"


def _denials(planned: PlannedAction, until: str) -> tuple[list[dict[str, Any]], str]:
    """The statements, and what they deny, in words."""
    instances, pods = planned.parameters.get("instances") or [], planned.parameters.get("pods") or []
    older = f"older than {until}, a minute from now: what changed in trust and associations takes AWS that long, and whoever signs in before has to do so again"
    says = list[str]()
    if instances:
        says.append(f"nothing is allowed to sessions of {', '.join(sorted(instances))}")
    if pods:
        says.append(
            f"nothing is allowed to sessions of {len(pods)} pods, nor to those that name no pod and are {older}"
        )
    says = says or [f"nothing is allowed to sessions that are {older}"]
    return denials(instances, pods, until), "; ".join(says)


def _now(live: Connection, role: str) -> datetime:
    """The later one of this machine's clock and IAM's: a clock that is slow would leave sessions out."""
    answer = live.read("iam", "get_role", RoleName=role).get("ResponseMetadata") or {}
    try:
        theirs = parsedate_to_datetime(answer["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
    return max(datetime.now(UTC), theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))


def _revocation(live: Connection, planned: PlannedAction) -> list[Change]:
    role = _role_name(planned)
    statements, says = _denials(planned, (_now(live, role) + _SPREADS).strftime(_TIME))
    return [DenySessions(role, _policy_name(planned), statements, says)]


def _is_revoked(live: Connection, planned: PlannedAction) -> Check:
    """Whether the policy denies to these sessions what was planned, and has nothing else; as of when is for the person to compare."""
    role, name = _role_name(planned), _policy_name(planned)
    state = DenySessions(role, name, [], "").look(live)
    if state is None:
        return Check(HOLDS, f"role {role} is gone")
    if state["document"] is None:
        return Check(DOES_NOT_HOLD, f"role {role} has no policy {name}")
    found = held(state)
    times = sorted({time for one in found for time in _issued(one)}, reverse=True)
    wanted = [_denials(planned, until)[0] for until in times or [""]]
    if not all(is_deny_all(one) for one in found) or not any(all(one in found for one in every) for every in wanted):
        return Check(DOES_NOT_HOLD, f"policy {name} of role {role} is not as it was planned: somebody changed it")
    older = f", those issued before {times[0]}" if times and any(map(_issued, wanted[0])) else ""
    return Check(HOLDS, f"the sessions may do nothing any more{older}; new ones can, so their way in has to be closed")


def _issued(statement: dict[str, Any]) -> list[str]:
    """The time before which a statement denies sessions."""
    time = (statement.get("Condition") or {}).get("DateLessThan", {}).get("aws:TokenIssueTime")
    return [str(time)] if time else []


act("revoke_role_sessions", changes=_revocation, refuses=_role_refused, check=_is_revoked)
