"""The least that a plan needs of AWS and of the cluster: IAM policies, and the ClusterRoles and Roles of RBAC.

What an undo needs stands in a policy and in roles of its own, to be given beside the others while something is taken back; so does what
reaches further than the objects of the plan. Sources: Kubernetes "Using RBAC Authorization", "RBAC Good Practices" (nodes/proxy, escalate).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kit.actions.permission import Permission
from kit.model.kubernetes import OBJECT_KINDS
from kit.plan.plan import Plan
from kit.words import Names

ALWAYS = ("aws:eks:DescribeCluster", "aws:iam:SimulatePrincipalPolicy", "aws:iam:GetRole", "aws:ec2:DescribeInstances")
"""What every run needs of AWS: to tell the cluster by its address, the caller's permissions in a preview, and in a check which Node has an instance."""
_CHECKED = "kubernetes:nodes:list"  # of the cluster, for the same
_NAME = "kit-remediation"
_FAR = {"nodes/proxy": "checkpoints", "escalate": "escalation"}
"""What reaches further than the object that it is asked for, by resource or verb, and the end of its role's name."""
_UNNAMED = ("create", "list")  # requests of these verbs have no name, so resourceNames would let none through
_API_GROUP = "rbac.authorization.k8s.io"


def permissions_of(plan: Plan, also: Names = ()) -> dict[str, Any]:
    """The least that the plan needs: IAM policies, and a List of RBAC's roles, as their APIs take them. also: what the look afterwards reads."""
    every = {*also} | {one for action in plan.actions if not action.by_person for one in action.permissions}
    if any(one.startswith("aws:") for one in every):
        every |= {*ALWAYS}
    if any(one.startswith("kubernetes:") for one in every):
        every.add(_CHECKED)
    known = sorted({*map(Permission.of, every)}, key=str)
    in_cluster = [one for one in known if one.service == "kubernetes"]
    roles = dict[tuple[str, str], list[Permission]]()
    for one in in_cluster:
        far = _FAR.get(one.resource) or _FAR.get(one.what)
        ends = [word for word in (far, "undo" if one.undo else None) if word]
        if not one.undo or not any(_covers(other, one) for other in in_cluster):
            roles.setdefault(("-".join([_NAME, *ends]), _space(one)), []).append(one)
    return {
        "iam_policy": _policy(one for one in known if not one.undo),
        "undo_iam_policy": _policy(one for one in known if one.undo),
        "roles": {
            "apiVersion": "v1",
            "kind": "List",
            "items": [_role(name, space, needed) for (name, space), needed in sorted(roles.items())],
        },
    }


def _covers(other: Permission, one: Permission) -> bool:
    """Whether what is there without an undo lets an undo through too."""
    same = (other.what, other.group, other.resource) == (one.what, one.group, one.resource)
    return not other.undo and same and other.namespace in ("", one.namespace) and other.name in ("", one.name)


def _policy(needed: Iterable[Permission]) -> dict[str, Any]:
    actions = [f"{one.service}:{one.what}" for one in needed if one.service != "kubernetes"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement] if actions else []}


def _space(one: Permission) -> str:
    """The namespace whose Role it stands in; "" for the ClusterRole. A binding of a namespace asks for `bind` in that namespace."""
    kind = OBJECT_KINDS.get(one.resource.partition("/")[0])
    return one.namespace if one.what == "bind" or (kind and kind.namespaced) else ""


def _role(name: str, namespace: str, needed: list[Permission]) -> dict[str, Any]:
    rules = dict[tuple[str, str, str], set[str]]()
    for one in needed:
        named = "" if one.what in _UNNAMED and "/" not in one.resource else one.name
        rules.setdefault((one.group, one.resource, named), set()).add(one.what)
    return {
        "apiVersion": f"{_API_GROUP}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
            | ({"resourceNames": [name]} if name else {})
            for (group, resource, name), verbs in sorted(rules.items())
        ],
    }
