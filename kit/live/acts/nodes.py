"""What is done to nodes and their instances: protected, snapshotted, cordoned, quarantined, captured, scanned, terminated.

A node is told by its provider id or private DNS name, never by a parameter alone; its kind by the tags and labels that AWS, Karpenter and
EKS set. Sources: EKS User Guide "Learn about Amazon EKS Auto Mode managed instances" (their interfaces and protections cannot be changed),
"Managed node groups"; Karpenter "Disruption" (do-not-disrupt, the termination finalizer); GuardDuty User Guide "On-demand malware scan".
"""

from __future__ import annotations

from typing import Any

from kit.inventory.node_kind import (
    AUTO,
    BY_KARPENTER,
    COMPUTE_TYPE,
    DO_NOT_DISRUPT,
    FARGATE,
    KARPENTER_LABELS,
    NODE_KIND_WORDS,
    NOT_SCALED_DOWN,
)
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act, all_hold
from kit.live.acts.captures import (
    are_finished,
    are_locked,
    are_shared,
    are_started,
    cannot_snapshot,
    is_captured,
    is_scanned,
    node_captured,
    node_scan,
    node_scanned,
    snapshots_finished,
    to_lock,
    to_share,
    to_snapshot,
)
from kit.live.acts.machine import (
    Machine,
    is_another,
    is_only_named,
    labels_of,
    living_machine,
    machine_of,
    node_of,
    why_another,
    why_not_there,
)
from kit.live.acts.node_capture import is_node_read, node_read, node_reading
from kit.live.changes.change import Change
from kit.live.changes.instance_change import (
    ENDED,
    DetachInstanceProfile,
    EndNode,
    ProtectFromScaleIn,
    ProtectInstance,
    SuspendReplacement,
    TerminateInstance,
    instance,
    pods_on,
)
from kit.live.changes.node_group_change import SwitchNodeRepair
from kit.live.changes.objects import EditObject, EvictPod
from kit.live.changes.quarantine import (
    CreateQuarantineGroup,
    EmptyQuarantineGroup,
    QuarantineInterface,
    QuarantineNewInterfaces,
    interfaces_of,
)
from kit.live.connection import Connection
from kit.live.errors import GONE, Refused
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL
from kit.words import few


def _annotated(machine: Machine, annotation: str) -> list[Change]:
    """Karpenter or the Cluster Autoscaler told to leave the node alone; [] where it has no Node object."""
    if machine.object is None:
        return []
    patch = {"metadata": {"annotations": {annotation: "true"}}}
    uid = machine.object["metadata"]["uid"]
    return [EditObject("nodes", None, machine.node, uid, patch, doing=f"annotate with {annotation}=true")]


# protect_node


def _protection(live: Connection, planned: PlannedAction) -> list[Change]:
    machine = living_machine(live, planned)
    changes = list[Change]()
    if machine.kind != AUTO and not machine.spot:
        changes.append(ProtectInstance(machine.id))
    if machine.kind in BY_KARPENTER:
        changes += _annotated(machine, DO_NOT_DISRUPT)
    elif machine.group:
        remark = "; a Spot instance has no termination protection, EC2 may still take it" if machine.spot else ""
        changes += [ProtectFromScaleIn(machine.group, machine.id, remark=remark), SuspendReplacement(machine.group)]
        changes += _annotated(machine, NOT_SCALED_DOWN)
    return changes


def _cannot_protect(live: Connection, planned: PlannedAction) -> str:
    if not _protection(live, planned):
        return "a Spot instance has no termination protection, and it is in no Auto Scaling group: capture it soon"
    return ""


def _is_protected(live: Connection, planned: PlannedAction) -> Check:
    machine = living_machine(live, planned)
    spot = "; Spot: EC2 may still take it" if machine.spot else ""
    return all_hold(live, _protection(live, planned), f"instance {machine.id} is protected{spot}")


act("protect_node", changes=_protection, refuses=_cannot_protect, check=_is_protected)


# pause_node_repair


def _paused(live: Connection, planned: PlannedAction) -> list[SwitchNodeRepair]:
    return [SwitchNodeRepair(str(live.cluster), planned.parameters["node_group"])]


def _is_paused(live: Connection, planned: PlannedAction) -> Check:
    (change,) = _paused(live, planned)
    state = change.look(live)
    if state is None:
        return Check(HOLDS, f"node group {change.node_group} is gone")
    if state["on"] and state.get("pending"):
        return Check(CANNOT_TELL, "the update is in progress: check again when the node group is ACTIVE")
    return all_hold(live, [change], f"node group {change.node_group} replaces no node that is not ready")


act("pause_node_repair", changes=_paused, check=_is_paused)


# snapshot_volumes, lock_snapshots, finish_snapshots, share_snapshots


act("lock_snapshots", changes=to_lock, check=are_locked)
act("snapshot_volumes", changes=to_snapshot, refuses=cannot_snapshot, check=are_started)
act("snapshot_checkpoints", changes=to_snapshot, refuses=cannot_snapshot, check=are_started)
act("share_snapshots", changes=to_share, check=are_shared)
act("finish_snapshots", keeps=snapshots_finished, check=are_finished)


# cordon_node


def _cordon(node: dict[str, Any]) -> EditObject:
    named = node["metadata"]
    return EditObject("nodes", None, named["name"], named["uid"], {"spec": {"unschedulable": True}}, doing="cordon")


def _cordoning(live: Connection, planned: PlannedAction) -> list[Change]:
    """Cordoned; before that, Karpenter is told to leave the node alone: it replaces nodes that nothing is scheduled onto."""
    node = node_of(live, planned)
    if node is None:
        return []
    labels = labels_of(node)
    karpenter = bool(KARPENTER_LABELS & labels.keys()) or planned.parameters.get("node_kind") in BY_KARPENTER
    return [
        *(_annotated(Machine(planned.parameters["node"], "", {}, node), DO_NOT_DISRUPT) if karpenter else []),
        _cordon(node),
    ]


def _cannot_cordon(live: Connection, planned: PlannedAction) -> str:
    name, node = planned.parameters["node"], node_of(live, planned)
    if node is None:
        return f"there is no node {name} now"
    if is_another(node, planned):
        return why_another(node, planned)
    if FARGATE in (planned.parameters.get("node_kind"), labels_of(node).get(COMPUTE_TYPE)):
        return f"{name} is {NODE_KIND_WORDS[FARGATE]}: it takes no other pod"
    return ""


def _is_cordoned(live: Connection, planned: PlannedAction) -> Check:
    node = node_of(live, planned)
    if node is None or is_another(node, planned):
        return Check(HOLDS, "the node is gone" if node is None else "the node is gone, another one has its name")
    return all_hold(live, [_cordon(node)], "no new pod is scheduled onto the node")


act("cordon_node", changes=_cordoning, refuses=_cannot_cordon, check=_is_cordoned)


# evict_pods


def _moving(live: Connection, planned: PlannedAction) -> list[Change]:
    """The evictions of the pods that merely ran on the node; what nothing would start again is left where it is."""
    left = {*(planned.parameters.get("affected_pods") or []), *(pod["metadata"]["uid"] for pod in _bare(live, planned))}
    return [
        EvictPod("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"])
        for pod in pods_on(live, planned.parameters["node"])
        if pod["metadata"]["uid"] not in left
    ]


def _are_moved(live: Connection, planned: PlannedAction) -> Check:
    node = node_of(live, planned)
    if node is None or is_another(node, planned):
        return Check(HOLDS, "the node is gone" if node is None else "the node is gone, another one has its name")
    bare = [pod_title(pod) for pod in _bare(live, planned)]
    stay = f"; nothing starts {few(bare, 3)} again, so {'it stays' if len(bare) == 1 else 'they stay'}" if bare else ""
    return all_hold(
        live, _moving(live, planned), f"the pods that merely ran on the node are moved, or are ending{stay}"
    )


act("evict_pods", changes=_moving, refuses=_cannot_cordon, check=_are_moved)


# quarantine_node


def _quarantine(live: Connection, planned: PlannedAction) -> list[Change]:
    machine = living_machine(live, planned)
    interfaces = interfaces_of(live, machine.id)
    vpcs = sorted({one["VpcId"] for one in interfaces})
    return [
        *(change(vpc) for vpc in vpcs for change in (CreateQuarantineGroup, EmptyQuarantineGroup)),
        *(QuarantineInterface(one["VpcId"], one["NetworkInterfaceId"]) for one in interfaces),
        *(QuarantineNewInterfaces(vpc, machine.id) for vpc in vpcs),
    ]


def _cannot_quarantine(live: Connection, planned: PlannedAction) -> str:
    if living_machine(live, planned).kind == AUTO:
        return "EKS Auto Mode lets nobody change the interfaces or the role of its nodes: isolate the pods by network policy, or end the node"
    return is_only_named(planned)


def _is_quarantined(live: Connection, planned: PlannedAction) -> Check:
    id_ = planned.parameters.get("instance_id")
    if id_ and ((instance(live, id_) or {}).get("State") or {}).get("Name", "terminated") == "terminated":
        return Check(HOLDS, f"instance {id_} is terminated")
    return all_hold(
        live,
        _quarantine(live, planned),
        "every interface has the quarantine group alone, which has no rule; connections that were open already may live on, which cannot be seen from here",
    )


act("quarantine_node", changes=_quarantine, refuses=_cannot_quarantine, check=_is_quarantined)


# detach_instance_role


def _detaching(live: Connection, planned: PlannedAction) -> list[DetachInstanceProfile]:
    return [DetachInstanceProfile(living_machine(live, planned).id)]


def _is_detached(live: Connection, planned: PlannedAction) -> Check:
    id_ = planned.parameters.get("instance_id") or machine_of(live, planned).id
    says = f"instance {id_} has no instance profile; the credentials that it was given last go on until they expire"
    return all_hold(live, [DetachInstanceProfile(id_)], says)


act("detach_instance_role", changes=_detaching, refuses=_cannot_quarantine, check=_is_detached)


# capture_processes, capture_node


act("capture_processes", changes=node_reading, keeps=node_read, check=is_node_read)
act("capture_node", keeps=node_captured, refuses=why_not_there, check=is_captured)


# scan_node


act("scan_node", changes=node_scan, keeps=node_scanned, refuses=why_not_there, check=is_scanned)


# terminate_node


def _ending(live: Connection, planned: PlannedAction) -> list[Change]:
    """Cordoned and drained, its protections lifted, then terminated; Karpenter does the draining and the end itself."""
    machine = machine_of(live, planned)
    if machine.state in ENDED:
        return []
    if machine.kind == AUTO and machine.object is None:
        raise Refused(f"node {machine.node} of EKS Auto Mode has no Node object any more: EKS ends its instance itself")
    changes: list[Change] = [_cordon(machine.object)] if machine.object else []
    unprotected: list[Change] = [] if machine.spot or machine.kind == AUTO else [ProtectInstance(machine.id, on=False)]
    if machine.kind in BY_KARPENTER and machine.object:
        return [*changes, *unprotected, EndNode("nodes", None, machine.node, machine.object["metadata"]["uid"])]
    for pod in pods_on(live, machine.node):
        named = pod["metadata"]
        changes.append(EvictPod("pods", named["namespace"], named["name"], named["uid"]))
    changes += unprotected
    group = machine.group if machine.kind not in BY_KARPENTER else None
    if group:
        changes.append(ProtectFromScaleIn(group, machine.id, on=False))
    remark = _still_suspended(live, group) if group else ""
    return [*changes, TerminateInstance(machine.id, group, machine.volumes(going=True), machine.node, remark)]


def _still_suspended(live: Connection, group: str) -> str:
    change = SuspendReplacement(group)
    return "; it replaces no unhealthy ones until protect_node is undone" if change.holds(change.look(live)) else ""


def _cannot_end(live: Connection, planned: PlannedAction) -> str:
    """What is gone already is refused where changes are looked for: here it may have gone by this very action."""
    try:
        machine = machine_of(live, planned)
    except Refused as error:
        return "" if error.code == GONE else error.says
    if is_only_named(planned):
        return is_only_named(planned)
    bare = _bare(live, planned) if machine.object and machine.state not in ENDED else []
    if bare:
        return f"nothing starts {', '.join(pod_title(pod) for pod in bare[:5])} again, which this plan does not count as affected: move {'it' if len(bare) == 1 else 'them'} away first, or delete {'it' if len(bare) == 1 else 'them'}"
    return ""


def pod_title(pod: dict[str, Any]) -> str:
    """A pod as a sentence names it."""
    return f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _bare(live: Connection, planned: PlannedAction) -> list[dict[str, Any]]:
    """Pods that an eviction would end for good, without those that the plan counts as affected and captures. `kubectl drain` refuses them
    too."""
    affected = planned.parameters.get("affected_pods") or []
    return [
        pod
        for pod in pods_on(live, planned.parameters["node"])
        if not any(owner.get("controller") for owner in pod["metadata"].get("ownerReferences") or [])
        and pod["metadata"]["uid"] not in affected
        and "deletionTimestamp" not in pod["metadata"]
    ]


def _is_ended(live: Connection, planned: PlannedAction) -> Check:
    id_ = planned.parameters.get("instance_id")
    try:
        found = instance(live, id_) if id_ else machine_of(live, planned).instance
    except Refused as error:
        return Check(CANNOT_TELL, error.says)
    if found is None:
        return Check(HOLDS, "EC2 does not know the instance any more")
    state = found["State"]["Name"]
    if state == "terminated":
        return Check(HOLDS, f"instance {found['InstanceId']} is terminated")
    if state == "shutting-down":
        return Check(CANNOT_TELL, f"instance {found['InstanceId']} is shutting down")
    if _is_going(live, planned):
        return Check(CANNOT_TELL, f"Karpenter drains the node; instance {found['InstanceId']} is {state}")
    return Check(DOES_NOT_HOLD, f"instance {found['InstanceId']} is {state}")


def _is_going(live: Connection, planned: PlannedAction) -> bool:
    node = node_of(live, planned)
    return node is not None and "deletionTimestamp" in node["metadata"]


act("terminate_node", changes=_ending, refuses=_cannot_end, check=_is_ended)
