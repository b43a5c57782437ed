"""The plan: what is to be done, to what, in which order, what hangs on it and how it is undone. It changes nothing.

Made from the playbooks' actions and the scope: `affected` is acted on, `possible` is listed for review. The same evidence gives the same
plan; its digest covers the actions with their account, region and cluster, and is what is approved.
Order: freeze → contain → revoke → capture → eradicate → recover. Sources: as in kit.actions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kit.actions import ACTIONS, STAGES, Action, Target
from kit.blast_radius import BlastRadius
from kit.errors import CallError
from kit.finding import Finding
from kit.inventory import Inventory
from kit.playbook import playbook_of
from kit.refs import Ref
from kit.scope import Scope

_KEEPS = ("freeze", "capture")
_CUTS = ("contain", "revoke")
# Action → what has to come before it on the same role or identity: a sign-in ends before the sessions it issues, trust before sessions.
_FIRST = {
    "revoke_role_sessions": ("change_role_trust", "remove_pod_identity", "remove_cluster_access"),
    "deactivate_access_key": ("remove_cluster_access",),
}


@dataclass(frozen=True)
class PlannedAction:
    """One action on one target. Members as in the JSON form (docs/json.md); after: the ids that have to be done before."""

    id: str
    stage: str
    action: str
    does: str
    target: str
    name: str
    uid: str | None
    why: list[dict[str, str]]
    precondition: str
    blast_radius: list[str]
    undo: str
    cannot_undo: str
    command: list[str]
    permissions: list[str]
    when_not: list[str]
    after: list[str]


@dataclass(frozen=True)
class Plan:
    """A plan. review: refs of subjects that are only possible: nothing is planned for them, somebody looks at them."""

    account: str | None
    region: str | None
    cluster: str | None
    actions: tuple[PlannedAction, ...]
    review: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of what would be done and where; the case's name, folder and the review list are not in it."""
        covered = {
            "account": self.account,
            "region": self.region,
            "cluster": self.cluster,
            "actions": [asdict(one) for one in self.actions],
        }
        return hashlib.sha256(
            json.dumps(covered, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        ).hexdigest()


def make_plan(
    scope: Scope,
    targets: Callable[[Action], list[Target]],
    place: tuple[str | None, str | None, str | None],
    only: Iterable[str] = (),
    without: Iterable[str] = (),
) -> Plan:
    """The plan for the chosen findings of a scope.

    targets: action → its targets (Case.targets). place: account, region, cluster. only, without: names of actions or stages.
    Raises CallError for a name that is neither.
    """
    chosen = _chosen(only, without)
    asked = dict[str, dict[str, None]]()
    for finding in (one.finding for one in scope.scopes):
        for do in playbook_of(finding.type).actions if _is_real(finding) else ():
            if do.action.name in chosen:
                asked.setdefault(do.action.name, {})[do.when_not] = None
    radius = BlastRadius(scope)
    whys = _whys(scope)
    made = list[tuple[Action, Target, PlannedAction]]()
    for action in sorted(
        (ACTIONS[name] for name in asked), key=lambda one: (STAGES.index(one.stage), list(ACTIONS).index(one.name))
    ):
        for target in sorted(targets(action), key=lambda one: (one.kind, one.key)):
            made.append((action, target, _planned(action, target, radius, whys, list(asked[action.name]))))
    actions = tuple(_after(scope.inventory, number, made) for number in range(len(made)))
    affected = {
        (one.kind, one.key) for part in scope.scopes for one in part.subjects.values() if one.certainty == "affected"
    }
    possible = {
        (one.kind, one.key): str(Ref.of(one.kind, one.key))
        for part in scope.scopes
        for one in part.subjects.values()
        if one.certainty == "possible" and one.kind != "reachable" and (one.kind, one.key) not in affected
    }
    return Plan(*place, actions, tuple(ref for _, ref in sorted(possible.items())))


def _is_real(finding: Finding) -> bool:
    return not finding.sample


def _chosen(only: Iterable[str], without: Iterable[str]) -> set[str]:
    def named(names: Iterable[str], flag: str) -> set[str]:
        found = set[str]()
        for name in names:
            of_stage = {one.name for one in ACTIONS.values() if name in (one.stage, one.name)}
            if not of_stage:
                raise CallError(
                    f"{name!r} is neither a stage nor an action",
                    where=flag,
                    next=f"stages are {', '.join(STAGES)}; docs/actions.md has the actions",
                )
            found |= of_stage
        return found

    kept = named(only, "--only") or {name for name in ACTIONS if name != "suppress"}
    return kept - named(without, "--without")


def _whys(scope: Scope) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The reasons of each subject, of an affected one those that make it affected."""
    found = dict[tuple[str, str], dict[str, str]]()
    every = [one for part in scope.scopes for one in part.subjects.values()]
    affected = {(one.kind, one.key) for one in every if one.certainty == "affected"}
    for one in every:
        if one.certainty == "affected" or (one.kind, one.key) not in affected:
            for why in one.why:
                found.setdefault((one.kind, one.key), {}).setdefault(why.says, str(why.ref))
    return {
        place: [{"ref": ref, "says": says} for says, ref in sorted(said.items())[:5]] for place, said in found.items()
    }


def _planned(
    action: Action,
    target: Target,
    radius: BlastRadius,
    whys: dict[tuple[str, str], list[dict[str, str]]],
    when_not: list[str],
) -> PlannedAction:
    digest = hashlib.sha256(f"{target.kind}:{target.key}".encode()).hexdigest()[:10]
    return PlannedAction(
        id=f"{action.name}-{digest}",
        stage=action.stage,
        action=action.name,
        does=action.does,
        target=f"{target.kind}:{target.key}",
        name="/".join(part for part in (target.namespace, target.name) if part) if target.thing else target.key,
        uid=(target.thing.uid or None) if target.thing else None,
        why=whys.get((target.kind, target.key), []),
        precondition=action.precondition,
        blast_radius=[action.stops]
        if action.stops.startswith("nothing")
        else radius.of(target) or [f"by its kind: {action.stops}"],
        undo=action.undo,
        cannot_undo=action.cannot_undo,
        command=action.commands(target),
        permissions=list(action.permissions),
        when_not=when_not,
        after=[],
    )


def _after(inventory: Inventory, number: int, made: list[tuple[Action, Target, PlannedAction]]) -> PlannedAction:
    """The planned action with what has to be done before it: what destroys waits for the capture of the same thing and of what hangs on
    it; a node's quarantine for what needs its kubelet; new secrets for the end of the attacker's access."""
    action, target, planned = made[number]
    before = [(one, of, done.id) for place, (one, of, done) in enumerate(made) if place != number]
    after = list[str]()
    if action.destroys:
        after += [id_ for one, of, id_ in before if one.stage in _KEEPS and _holds(inventory, target, of)]
    if action.name in ("rotate_secrets", "restore_objects", "roll_out_fixed"):
        after += [id_ for one, _, id_ in before if one.stage in _CUTS]
    after += [id_ for one, _, id_ in before if one.name in _FIRST.get(action.name, ())]
    return PlannedAction(**{**asdict(planned), "after": list(dict.fromkeys(after))})


def _holds(inventory: Inventory, destroyed: Target, kept: Target) -> bool:
    """Whether what is kept would be lost with what is destroyed: the same thing, the pods of a node, the pods of a workload."""
    if (destroyed.kind, destroyed.key) == (kept.kind, kept.key):
        return True
    pod, thing = kept.thing if kept.kind == "pod" else None, destroyed.thing
    if pod is None:
        return False
    if destroyed.kind == "node":
        return pod.node == destroyed.key
    if thing is None or destroyed.kind != "created":
        return False
    owned = inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)
    return thing.uid == pod.uid or any(one.uid == pod.uid for one, _ in owned)


def permissions_of(plan: Plan) -> dict[str, Any]:
    """The least that the plan needs: an IAM policy and the rules of a ClusterRole, as their APIs take them."""
    every = sorted({one for action in plan.actions for one in action.permissions})
    aws = [one.split(":", 2)[1:] for one in every if one.startswith("aws:")]
    rules = dict[tuple[str, str], set[str]]()
    for one in every:
        if one.startswith("kubernetes:"):
            _, path, verb = one.split(":", 2)
            group, _, resource = path.rpartition("/") if path.partition("/")[0] in _GROUPS else ("", "", path)
            rules.setdefault((group, resource), set()).add(verb)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": [f"{service}:{name}" for service, name in aws], "Resource": "*"}]
        if aws
        else [],
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "kit-remediation"},
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
            for (group, resource), verbs in sorted(rules.items())
        ],
    }
    return {"iam_policy": policy, "cluster_role": role}


_GROUPS = ("apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io")
