"""Which action waits for which: nothing is destroyed before it is kept, and cutting off waits for no slow capture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kit.actions.action import Action, Target
from kit.actions.registry import action_of
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import AUTO, KARPENTER
from kit.plan.blast_radius import BlastRadius
from kit.plan.plan import Made, PlannedAction
from kit.plan.targets import Targets
from kit.words import counted

_KEEPS = ("freeze", "capture")
_CUTS = ("contain", "revoke")
_SNAPSHOTS = ("snapshot_volumes", "snapshot_checkpoints")
_NEED_THE_KUBELET = ("keep_objects", "capture_container", "capture_node")
_NO_CAPTURE = ("protect_node", "quarantine_node")  # nothing of it is lost with what is destroyed


def without_what_goes_with_its_node(made: list[Made]) -> list[Made]:
    """Pods that go with their node are not deleted before: their DaemonSet would start new ones on it."""
    ended = {target.key for action, target, _ in made if action.name == "terminate_node"}
    return [one for one in made if not (one[0].name == "delete_pod" and one[1].thing and one[1].thing.node in ended)]


def selected(planned: PlannedAction, chosen: set[str]) -> PlannedAction:
    """The action in a plan of these actions alone: it waits for the captures that are left out all the same."""
    kept = [id_ for id_ in planned.after if (one := action_of(id_)) and (one.name in chosen or one.stage in _KEEPS)]
    return replace(planned, after=kept)


def with_the_others(made: list[Made], targets: Targets, radius: BlastRadius) -> list[Made]:
    """What an action stops together with those of its kind: all nodes of the cluster, all pods behind a Service."""
    every = dict[str, set[str]]()
    for action, target, _ in made:
        every.setdefault(action.name, set()).add(target.key)
    found = list[Made]()
    for action, target, planned in made:
        lines = list(planned.blast_radius)
        if action.name in ("cordon_node", "quarantine_node", "terminate_node"):
            hit = every[action.name]
            known = targets.held.nodes_left | hit
            if len(hit) > 1:
                rest = (
                    f"{counted(len(known - hit), 'node')} left" if known - hit else "no known node is left to run a pod"
                )
                lines.append(f"with the others of this plan {len(hit)} of {len(known)} known nodes: {rest}")
        if action.name in ("isolate_pod", "delete_pod"):
            lines += radius.services_without(target, every[action.name])
        found.append((action, target, replace(planned, blast_radius=lines)))
    return found


def merged(made: list[Made]) -> list[Made]:
    """Each object is edited or deleted by one action: what deletes it wins, and of several edits of a binding the first does them all."""

    def place(target: Target) -> tuple[str, ...] | None:
        known = target.parameters
        return (
            (known["resource"], str(known["namespace"]), known["name"])
            if "expected" in known or "remove" in known
            else None
        )

    deleted = {place(target) for action, target, _ in made if action.destroys} - {None}
    kept, first = list[Made](), dict[tuple[str, ...], dict[str, Any]]()
    for action, target, planned in made:
        where = place(target)
        if where and "remove" in target.parameters:
            if where in deleted:
                continue
            if where in first:
                first[where]["remove"] += [
                    one for one in planned.parameters["remove"] if one not in first[where]["remove"]
                ]
                continue
            first[where] = planned.parameters
        kept.append((action, target, planned))
    return kept


def with_what_it_waits_for(targets: Targets, number: int, made: list[Made]) -> PlannedAction:
    """The planned action with what has to be done before it: what destroys waits for the capture of the same thing and of what hangs on
    it; pods go after the workload that would start them anew; a role's sessions wait until its tokens get no new ones; new secrets wait
    for the end of the attacker's access; nodes go one after the other, and the last of them when there are new ones."""
    inventory = targets.inventory
    action, target, planned = made[number]
    before = [(one, of, done.id) for place, (one, of, done) in enumerate(made) if place != number]
    after = list[str]()
    if action.destroys:
        after += [
            id_
            for one, of, id_ in before
            if one.stage in _KEEPS and one.name not in _NO_CAPTURE and _holds(inventory, target, one, of)
        ]
    if action.name == "quarantine_node":  # the kubelet is cut off with it
        after += [
            id_ for one, of, id_ in before if one.name in _NEED_THE_KUBELET and _holds(inventory, target, one, of)
        ]
    if action.name in ("rotate_secrets", "roll_out_fixed"):
        after += [id_ for one, _, id_ in before if one.stage in _CUTS]
    if action.name == "restore_objects":
        after += [id_ for one, _, id_ in before if one.stage == "revoke"]
    if action.name == "archive_finding":
        after += [id_ for one, _, id_ in before if one.stage != "recover"]
    for one, of, id_ in before:
        same = (of.kind, of.key) == (target.kind, target.key)
        roles = inventory.service_account_roles.get(of.key, {}) if one.name == "remove_pod_identity" else {}
        if (
            (action.name == "revoke_role_sessions" and one.name == "change_role_trust" and same)
            or (action.name == "revoke_role_sessions" and target.key in roles)
            or (action.name == "finish_snapshots" and one.name in _SNAPSHOTS and same)
            or (
                action.name == "snapshot_checkpoints"
                and one.name == "capture_container"
                and of.thing
                and of.thing.node == target.key
            )
            or (
                action.name == "cordon_node"
                and one.name == "protect_node"
                and same
                and target.parameters["node_kind"] in (KARPENTER, AUTO)
            )
            or (action.name == "terminate_node" and one.name == "cordon_node" and same)
            or (action.name == "terminate_node" and one.name == "add_nodes")
            or (action.name == "delete_pod" and one.name == "delete_workload" and _runs(inventory, of, target))
        ):
            after.append(id_)
    if action.name == "terminate_node":
        after += [done.id for one, _, done in made[:number] if one.name == "terminate_node"][-1:]
    snapshots = [id_ for one, of, id_ in before if one.name in _SNAPSHOTS and of.key == target.key]
    more = {"of": snapshots} if action.name == "finish_snapshots" else {}
    return replace(planned, after=list(dict.fromkeys(after)), parameters=planned.parameters | more)


def _runs(inventory: Inventory, workload: Target, pod: Target) -> bool:
    """Whether a workload is what a pod belongs to."""
    thing = workload.thing
    if thing is None or pod.thing is None:
        return False
    owned = inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)
    return any(one.uid == pod.thing.uid for one, _ in owned)


def _holds(inventory: Inventory, destroyed: Target, keeps: Action, kept: Target) -> bool:
    """Whether what is kept would be lost with what is destroyed: the same thing, the pods of a node, the pods of a workload; and with a pod
    what is on its node's disk."""
    if (destroyed.kind, destroyed.key) == (kept.kind, kept.key):
        return True
    thing = destroyed.thing
    if kept.kind == "node" and thing and destroyed.kind in ("pod", "created"):
        disks = keeps.name in (*_SNAPSHOTS, "finish_snapshots")
        pods = (
            [thing]
            if destroyed.kind == "pod"
            else [one for one, _ in inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)]
        )
        return disks and any(one.node == kept.key and one.standing is not False for one in pods)
    if kept.kind != "pod" or kept.thing is None:
        return False
    if destroyed.kind == "node":
        return kept.thing.node == destroyed.key
    return destroyed.kind == "created" and (
        bool(thing and thing.uid == kept.thing.uid) or _runs(inventory, destroyed, kept)
    )
