"""What is done to an IAM principal's way into the cluster: its access entry and its mapping in aws-auth.

A sign-in to EKS cannot be denied by an IAM policy (it is a presigned GetCallerIdentity), so it ends when access entry and aws-auth mapping
are gone, both. Sources: EKS User Guide "Access entries" and "Change authentication mode" (entries come before aws-auth for the same
principal; the creator of a cluster in mode CONFIG_MAP is an administrator that no list shows).
"""

from __future__ import annotations

from typing import Any

from kit.identities.aws_auth_text import MASTERS, NotEditable, accounts, is_of_nodes, mappings_in, without, works
from kit.identities.mapping import Mapping
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.changes.change import Change
from kit.live.changes.objects import url_path
from kit.live.changes.principal_change import DeleteAccessEntry, EditAwsAuth, access_entry
from kit.live.connection import Connection
from kit.live.errors import Failed, LiveError, Missing, Refused
from kit.model.arn import principal_of
from kit.model.kubernetes import AWS_AUTH
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

Principal = tuple[str, str, str]
_EVERYBODY = ("system:authenticated", "system:unauthenticated", "system:anonymous")
_ADMIN_POLICY = "/AmazonEKSClusterAdminPolicy"


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


def _mode(live: Connection) -> str:
    return str((live.described.get("accessConfig") or {}).get("authenticationMode") or "CONFIG_MAP")


def _entries(live: Connection) -> list[str]:
    """The ARNs of all access entries; none in mode CONFIG_MAP, where EKS refuses to list them."""
    if _mode(live) == "CONFIG_MAP":
        return []
    return [
        str(one) for one in live.pages("eks", "list_access_entries", "accessEntries", clusterName=str(live.cluster))
    ]


def _aws_auth(live: Connection) -> dict[str, Any] | None:
    """The ConfigMap; None where there is none or, in mode API, nobody reads it."""
    if _mode(live) == "API":
        return None
    try:
        return dict(live.kubernetes("GET", url_path(*AWS_AUTH)))
    except Missing:
        return None


def _mappings(live: Connection) -> list[Mapping]:
    found = _aws_auth(live)
    return mappings_in(found.get("data") or {}) if found else []


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
        bindings = live.listed(url_path("clusterrolebindings", None))
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
    """Whoever is administrator by an entry, or by aws-auth without having an entry; itself, by a group or by its user name."""
    admins = _bound_admins(live)

    def is_bound(user_name: str, groups: list[str]) -> bool:
        return bool(admins & {("User", user_name), *(("Group", one) for one in groups)})

    entries, found = dict[Principal | None, str](), set[Principal | None]()
    for arn in _entries(live):
        entries[principal_of(arn)] = arn
        entry = access_entry(live, str(live.cluster), arn)
        said = (entry or {}).get("entry") or {}
        if _is_admin(entry) or is_bound(said.get("username") or "", said.get("kubernetesGroups") or []):
            found.add(principal_of(arn))
    found |= {
        one.principal
        for one in _mappings(live)
        if works(one) and not is_of_nodes(one) and one.principal not in entries and is_bound(one.user_name, one.groups)
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
    changes += [DeleteAccessEntry(str(live.cluster), one) for one in own]
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
        for entry in (access_entry(live, str(live.cluster), one) for one in entries)
        if entry
    ]
    if any(map(is_of_nodes, own)) or any(kind != "STANDARD" for kind in kinds):
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
act("end_creator_access", changes=_removal, refuses=_cannot_remove, check=_has_no_access)
