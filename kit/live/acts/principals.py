"""What is done to IAM principals and service accounts: their way into the cluster, their keys, and the sessions that they have.

A sign-in to EKS cannot be denied by an IAM policy (it is a presigned GetCallerIdentity), so it ends when access entry and aws-auth mapping
are gone, both. Sources: EKS User Guide "Access entries" and "Change authentication mode" (entries come before aws-auth for the same
principal; the creator of a cluster in mode CONFIG_MAP is an administrator that no list shows); EKS "session tags of Pod Identity"; IAM User
Guide "Revoking IAM role temporary security credentials" (not for service-linked roles, not for those of Identity Center), condition keys
aws:userid (ROLE_ID:INSTANCE_ID in instance credentials), aws:PrincipalTag, aws:TokenIssueTime.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from kit.live.acts.act import CANNOT_TELL, DOES_NOT_HOLD, HOLDS, Check, act, all_hold
from kit.live.changes.aws_auth import MASTERS, Mapping, NotEditable, accounts, mappings, without
from kit.live.changes.change import Change
from kit.live.changes.objects import path_of
from kit.live.changes.principal_change import (
    DENY_ALL,
    DeactivateKey,
    DeleteAccessEntry,
    DeletePodIdentity,
    DenySessions,
    DenyTrust,
    EditAwsAuth,
    access_entry,
    associations,
    held,
    is_deny_all,
    role_described,
)
from kit.live.connection import Connection
from kit.live.errors import Failed, LiveError, Missing, Refused
from kit.live.permission import principal_of
from kit.model.identity import role_of
from kit.plan.plan import PlannedAction

Principal = tuple[str, str, str]
_AWS_AUTH = path_of("configmaps", "kube-system", "aws-auth")
_EVERYBODY = ("system:authenticated", "system:unauthenticated", "system:anonymous")
_SPREADS = timedelta(seconds=60)
"""How long IAM's changes take until they count everywhere: seconds, now and then more (IAM User Guide, "Troubleshooting: changes")."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_ADMIN_POLICY = "/AmazonEKSClusterAdminPolicy"


def _cluster(live: Connection) -> str:
    return str(live.cluster)


def _is_ours(live: Connection, principal: Principal) -> bool:
    """Whether apply itself runs as this principal, in AWS or in the cluster. Raises Refused when the cluster does not tell who it is."""
    user = live.user
    if not user.get("username"):
        raise Refused(
            "the cluster does not tell who runs this command (SelfSubjectReview): whose access goes must not be your own"
        )
    extra = user.get("extra") or {}
    names = [live.caller, *(extra.get("arn") or []), *(extra.get("canonicalArn") or []), str(user.get("username"))]
    return principal in [principal_of(name) for name in names]


# remove_cluster_access


def _mode(live: Connection) -> str:
    return str((live.described.get("accessConfig") or {}).get("authenticationMode") or "CONFIG_MAP")


def _entries(live: Connection) -> list[str]:
    """The ARNs of all access entries; none in mode CONFIG_MAP, where EKS refuses to list them."""
    if _mode(live) == "CONFIG_MAP":
        return []
    return [str(one) for one in live.pages("eks", "list_access_entries", "accessEntries", clusterName=_cluster(live))]


def _aws_auth(live: Connection) -> dict[str, Any] | None:
    """The ConfigMap; None where there is none or, in mode API, nobody reads it."""
    if _mode(live) == "API":
        return None
    try:
        return dict(live.kubernetes("GET", _AWS_AUTH))
    except Missing:
        return None


def _mappings(live: Connection) -> list[Mapping]:
    found = _aws_auth(live)
    return mappings(found.get("data") or {}) if found else []


def _is_admin(entry: dict[str, Any] | None) -> bool:
    if entry is None:
        return False
    return any(
        one["policyArn"].endswith(_ADMIN_POLICY) and one["accessScope"]["type"] == "cluster"
        for one in entry["policies"]
    )


def _bound_admins(live: Connection) -> set[tuple[str, str]]:
    """Groups and users bound to cluster-admin; none where the bindings may not be listed: nobody counts who is not seen."""
    try:
        bindings = live.listed(path_of("clusterrolebindings", None))
    except LiveError:
        bindings = []
    return {("Group", MASTERS)} | {
        (str(one.get("kind")), str(one.get("name")))
        for binding in bindings
        if binding["roleRef"]["name"] == "cluster-admin"
        for one in binding.get("subjects") or []
        if not str(one.get("name")).startswith(_EVERYBODY)
    }


def _administrators(live: Connection) -> set[Principal]:
    """Whoever is administrator by an entry, or by aws-auth without having an entry; by himself, by a group or by his user name."""
    admins = _bound_admins(live)

    def is_bound(user_name: str, groups: list[str]) -> bool:
        return bool(admins & {("User", user_name), *(("Group", one) for one in groups)})

    entries, found = dict[Principal | None, str](), set[Principal | None]()
    for arn in _entries(live):
        entries[principal_of(arn)] = arn
        entry = access_entry(live, _cluster(live), arn)
        said = (entry or {}).get("entry") or {}
        if _is_admin(entry) or is_bound(said.get("username") or "", said.get("kubernetesGroups") or []):
            found.add(principal_of(arn))
    found |= {
        one.principal
        for one in _mappings(live)
        if one.works and not one.of_nodes and one.principal not in entries and is_bound(one.user_name, one.groups)
    }
    return {one for one in found if one}


def _removal(live: Connection, planned: PlannedAction) -> list[Change]:
    """First the mapping, then the entry: without its entry a principal would be what aws-auth says."""
    arn = planned.parameters["arn"]
    principal = principal_of(arn)
    assert principal is not None
    changes, found = list[Change](), _aws_auth(live)
    data = (found or {}).get("data") or {}
    new = _edited(data, principal)
    if found and new:
        changes.append(
            EditAwsAuth(
                "configmaps",
                "kube-system",
                "aws-auth",
                found["metadata"]["uid"],
                {"data": new},
                {"data": {name: data[name] for name in new}},
                f"take {planned.parameters['arn']} out of ConfigMap kube-system/aws-auth",
            )
        )
    own = [one for one in _entries(live) if principal_of(one) == principal]
    changes += [DeleteAccessEntry(_cluster(live), one) for one in own]
    if not changes and _mode(live) == "CONFIG_MAP":
        raise Refused(
            f"aws-auth does not name {arn}: in mode CONFIG_MAP it is probably the cluster's creator, which cannot be removed."
            " Deactivate its keys, revoke its sessions and change its trust; or change the authentication mode to"
            " API_AND_CONFIG_MAP, after which its access entry can be deleted"
        )
    return changes


def _edited(data: dict[str, str], principal: Principal) -> dict[str, str]:
    try:
        return without(data, principal)
    except NotEditable as error:
        raise Failed(str(error)) from None


def _cannot_remove(live: Connection, planned: PlannedAction) -> str:
    arn = planned.parameters.get("arn")
    if not arn:
        return f"the evidence does not tell which IAM role or user {planned.parameters.get('user_name')} is: look it up in access entries and aws-auth"
    principal = principal_of(arn)
    if principal is None:
        return f"{arn} is neither a role nor an IAM user"
    try:
        if _is_ours(live, principal):
            return f"{arn} is who runs this command: sign in as another administrator"
        own = [one for one in _mappings(live) if one.principal == principal]
        without((_aws_auth(live) or {}).get("data") or {}, principal)
    except (NotEditable, Refused) as error:
        return str(error)
    entries = [one for one in _entries(live) if principal_of(one) == principal]
    if not own and not entries:  # it never was there, or this action has ended what was
        return ""
    return _of_nodes(live, arn, own, entries) or _is_last(live, planned, principal)


def _of_nodes(live: Connection, arn: str, own: list[Mapping], entries: list[str]) -> str:
    kinds = [
        entry["entry"].get("type", "STANDARD")
        for entry in (access_entry(live, _cluster(live), one) for one in entries)
        if entry
    ]
    if any(one.of_nodes for one in own) or any(kind != "STANDARD" for kind in kinds):
        return f"nodes or Fargate pods sign in as {arn}: without it they leave the cluster; quarantine or end the node and revoke the role's sessions"
    return ""


def _is_last(live: Connection, planned: PlannedAction, principal: Principal) -> str:
    """Whoever is not seen to be administrator does not count, nor who goes by this plan as the attacker's: nobody is locked out."""
    going = {principal, *(principal_of(one) for one in planned.parameters.get("hostile") or [])}
    if _administrators(live) - going:
        return ""
    return (
        f"without {planned.parameters['arn']} no administrator would be left that access entries, aws-auth and bindings to cluster-admin show,"
        " what this plan removes as the attacker's aside: give another principal that right first"
    )


def _has_no_access(live: Connection, planned: PlannedAction) -> Check:
    arn = planned.parameters["arn"]
    principal = principal_of(arn)
    assert principal is not None
    entries = [one for one in _entries(live) if principal_of(one) == principal]
    if entries:
        return Check(DOES_NOT_HOLD, f"there is an access entry of {entries[0]}")
    try:
        if any(one.principal == principal for one in _mappings(live)):
            return Check(DOES_NOT_HOLD, f"aws-auth names {arn}")
    except NotEditable as error:
        return Check(CANNOT_TELL, str(error))
    mode = _mode(live)
    if principal[0] in accounts((_aws_auth(live) or {}).get("data") or {}):
        return Check(
            DOES_NOT_HOLD,
            f"aws-auth still lets in every principal of account {principal[0]} (mapAccounts), without groups",
        )
    where = {
        "API": "no access entry names it, and aws-auth does not count (mode API)",
        "CONFIG_MAP": "aws-auth does not name it, and access entries do not count (mode CONFIG_MAP); a cluster's creator gets in all the same",
    }.get(mode, f"neither an access entry nor aws-auth names it (mode {mode})")
    return Check(HOLDS, where)


act("remove_cluster_access", changes=_removal, refuses=_cannot_remove, check=_has_no_access)


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
    return [DeactivateKey(planned.parameters["arn"].rpartition("/")[2], key) for key in _keys(planned)]


def _is_inactive(live: Connection, planned: PlannedAction) -> Check:
    says = f"inactive: {', '.join(_keys(planned))}; sessions that they issued live on until they expire"
    changes = _deactivation(live, planned)
    return all_hold(live, [one for one in changes if one.look(live) is not None], says)


act("deactivate_access_key", changes=_deactivation, refuses=_cannot_deactivate, check=_is_inactive)


# change_role_trust


def _role_name(planned: PlannedAction) -> str:
    """The role's name; parameters may hold the ARN of the role or of a session."""
    role = str(planned.parameters.get("role") or "")
    return (role_of(role) or role).rpartition("/")[2]


def _issuer(live: Connection, planned: PlannedAction) -> str:
    """The issuer of the cluster's tokens, host and path."""
    told = planned.parameters.get("issuer") or (live.described.get("identity") or {}).get("oidc", {}).get("issuer")
    return str(told or "").removeprefix("https://").rstrip("/")


def _role_refused(live: Connection, planned: PlannedAction) -> str:
    """Why this role must not be touched, "" when it may."""
    told = str(planned.parameters.get("role") or "")
    name = _role_name(planned)
    if not name:
        return "the evidence does not tell which role it is"
    if ":user/" in told or ":root" in told:
        return f"{told} is no role: deactivate the access keys"
    account = told.split(":")[4] if told.startswith("arn:") else live.account
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
    issuer, given = _issuer(live, planned), sorted(planned.parameters["service_accounts"])
    subjects = [f"system:serviceaccount:{one.replace('/', ':', 1)}" for one in given]
    digest = hashlib.sha256("\n".join([issuer, *subjects]).encode()).hexdigest()[:10]
    statement = {
        "Sid": f"KitRevoke{digest}",
        "Effect": "Deny",
        "Principal": {"Federated": f"arn:{live.caller.split(':')[1]}:iam::{live.account}:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{issuer}:sub": subjects}},
    }
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
    for one in associations(live, _cluster(live), namespace, account):
        told = str(one.get("externalId") or ""), str(one.get("targetRoleArn") or "")
        yield DeletePodIdentity(_cluster(live), namespace, account, one["associationId"], *told)


def _has_no_identity(live: Connection, planned: PlannedAction) -> Check:
    left = list(_of_account(live, planned))
    if left:
        return Check(DOES_NOT_HOLD, f"there is Pod Identity association {left[0].id}")
    return Check(HOLDS, "the service account has no Pod Identity association; sessions that its pods have live on")


act("remove_pod_identity", changes=_of_account, refuses=_cannot_remove_identity, check=_has_no_identity)


# revoke_role_sessions


def _policy_name(planned: PlannedAction) -> str:
    return f"kit-revoke-{planned.id.rpartition('-')[2][:10]}"


def _deny(condition: dict[str, Any]) -> dict[str, Any]:
    return DENY_ALL | {"Condition": condition}


def _denials(planned: PlannedAction, until: str) -> tuple[list[dict[str, Any]], str]:
    """The narrowest statements: sessions of these instances; of these pods, and older ones without a pod's tags, as session tags may be
    off and an association that is gone does not tell; without either, all that are older. And what they deny, in words."""
    instances, pods = planned.parameters.get("instances") or [], planned.parameters.get("pods") or []
    older = f"older than {until}, a minute from now: what changed in trust and associations takes AWS that long, and whoever signs in before has to do so again"
    statements, says = list[dict[str, Any]](), list[str]()
    if instances:
        statements.append(_deny({"StringLike": {"aws:userid": [f"*:{one}" for one in sorted(instances)]}}))
        says.append(f"nothing is allowed to sessions of {', '.join(sorted(instances))}")
    if pods:
        tag = "aws:PrincipalTag/kubernetes-pod-uid"
        statements.append(_deny({"StringEquals": {tag: sorted(pods)}}))
        statements.append(_deny({"Null": {tag: "true"}, "DateLessThan": {"aws:TokenIssueTime": until}}))
        says.append(
            f"nothing is allowed to sessions of {len(pods)} pods, nor to those that name no pod and are {older}"
        )
    if not statements:
        statements.append(_deny({"DateLessThan": {"aws:TokenIssueTime": until}}))
        says.append(f"nothing is allowed to sessions that are {older}")
    return statements, "; ".join(says)


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
