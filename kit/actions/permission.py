"""What an action needs to be allowed: as it is declared, filled in for a target, and read back.

`aws:SERVICE:ACTION` or `kubernetes:[GROUP/]RESOURCE:VERB[:NAMESPACE/NAME]`, where an empty namespace means the whole cluster and an empty name
any. `@undo` behind verb or action: for `kit undo` alone. Sources: Kubernetes "Using RBAC Authorization" (a create cannot be restricted by
resourceName; privilege escalation prevention), API concepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kit.actions.action import Action
from kit.actions.image_policy import policy_name
from kit.actions.node_capture import capture_pod_name
from kit.actions.target import Target
from kit.lenient import dict_of, dicts_of
from kit.model.kubernetes import GROUPS, OBJECT_KINDS, WORKLOADS

_RBAC = "kubernetes:rbac.authorization.k8s.io"
_UNDO = "@undo"


@dataclass(frozen=True)
class Permission:
    """One permission, read back. service: of AWS, or kubernetes. what: IAM's action, or the verb. undo: whether only an undo needs it."""

    service: str
    what: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    undo: bool = False

    @classmethod
    def of(cls, text: str) -> Permission:
        """A permission as a plan has it."""
        kind, first, rest = text.split(":", 2)
        if kind == "aws":
            return cls(first, rest.removesuffix(_UNDO), undo=rest.endswith(_UNDO))
        verb, _, where = rest.partition(":")
        namespace, _, name = where.rpartition("/")
        group, _, resource = first.partition("/") if first.partition("/")[0] in GROUPS else ("", "", first)
        return cls("kubernetes", verb.removesuffix(_UNDO), group, resource, namespace, name, verb.endswith(_UNDO))


def permissions_for(action: Action, target: Target) -> list[str]:
    """The permissions of an action on one target: with its resource, its place, its owners and its role."""
    known = target.parameters.as_json()
    resource = known.get("resource") or (target.thing.resource if target.thing else "")
    kind = OBJECT_KINDS.get(resource)
    namespace, name = known.get("namespace") or target.namespace or "", known.get("name") or target.name
    if kind and not kind.namespaced:
        namespace = ""
    node = str(known.get("node") or "")
    filled = {
        "{object}": kind.path if kind else "",
        "{it}": f"{namespace}/{name}",
        "{space}": f"{namespace}/",
        "{node}": f"/{node}",
        "{reader}": f"kube-system/{capture_pod_name(node)}",
        "{policy}": f"/{policy_name(str(known.get('image') or ''))}",
    }
    found = list[str]()
    for one in action.permissions:
        condition, _, needed = one.rpartition("? ")
        if condition and not known.get(condition) and condition != resource:
            continue
        if "role}" in needed:
            edited = name if "{edited_role}" in needed else ""
            found += _of_role(target, known, resource, f"{namespace}/{edited}", _UNDO if needed.endswith(_UNDO) else "")
        elif "{owner}" in needed:
            found += (
                needed.replace("{owner}", path) + f":{where}" for path, where in _owners(target, known, namespace)
            )
        elif "{object}" not in needed or kind:
            found.append(re.sub(r"\{\w+\}", lambda part: filled[part[0]], needed))
    return list(dict.fromkeys(found))


def _part(target: Target, known: dict[str, Any], name: str) -> dict[str, Any]:
    """One part of the object, as the evidence has it."""
    seen = target.thing.body.get(name) if target.thing else None
    return dict_of(dict_of(known.get("body")).get(name) or seen or dict_of(known.get("expected")).get(name))


def _of_role(target: Target, known: dict[str, Any], resource: str, where: str, undo: str) -> Iterator[str]:
    """What RBAC asks of whoever writes a role or a binding: the rights that it gives, or `escalate` and `bind`. where: without a name for a role
    that is made, as a request to make one has none."""
    if resource in ("roles", "clusterroles"):
        yield f"{_RBAC}/{resource}:escalate{undo}:{where}"
    bound = _part(target, known, "roleRef")
    if resource in ("rolebindings", "clusterrolebindings") and bound.get("name"):
        kind = "roles" if bound.get("kind") == "Role" else "clusterroles"
        yield f"{_RBAC}/{kind}:bind{undo}:{where.partition('/')[0]}/{bound['name']}"


def _owners(target: Target, known: dict[str, Any], namespace: str) -> Iterator[tuple[str, str]]:
    """Path and place of what owns the object, where the kit knows the kind."""
    for owner in dicts_of(_part(target, known, "metadata").get("ownerReferences")):
        resource = WORKLOADS.get(str(owner.get("kind")))
        if resource and owner.get("name"):
            yield OBJECT_KINDS[resource].path, f"{namespace}/{owner['name']}"
