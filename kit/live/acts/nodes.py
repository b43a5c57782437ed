"""What is done to nodes and their instances: protected, snapshotted, cordoned, quarantined, captured, scanned, terminated.

A node is told by its provider id or private DNS name, never by a parameter alone; its kind by the tags and labels that AWS, Karpenter and
EKS set. Sources: EKS User Guide "Learn about Amazon EKS Auto Mode managed instances" (their interfaces and protections cannot be changed),
"Managed node groups"; Karpenter "Disruption" (do-not-disrupt, the termination finalizer); GuardDuty User Guide "On-demand malware scan".
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from kit.live.acts.act import CANNOT_TELL, DOES_NOT_HOLD, HOLDS, Check, act, all_hold
from kit.live.changes.aws_change import AwsChange, Call
from kit.live.changes.change import Change, State
from kit.live.changes.instance_change import (
    ENDED,
    CreateQuarantineGroup,
    EmptyQuarantineGroup,
    EndNode,
    ProtectFromScaleIn,
    ProtectInstance,
    QuarantineInterface,
    QuarantineNewInterfaces,
    SnapshotVolumes,
    SuspendReplacement,
    TerminateInstance,
    instance,
    interfaces_of,
    pods_on,
)
from kit.live.changes.objects import EditObject, EvictPod, path_of
from kit.live.connection import Connection, Failed, Missing, Refused
from kit.plan.planner import PlannedAction

DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
SNAPSHOT_SECONDS = 60
"""How long one run waits for snapshots."""
SCAN_SECONDS = 30
"""How long one run waits for a scan, which takes minutes to hours."""
_PAUSE = 5  # s
_GONE = "gone"
"""The code of what is refused because node or instance is there no more."""
_NO_INSTANCE = {
    "fargate": "{node} is a Fargate node: there is no instance of yours; isolate and delete its pod",
    "hybrid": "{node} is a hybrid node: the machine is yours and not in EC2; do it there",
}
_COMPUTE = "eks.amazonaws.com/compute-type"
_BY_KARPENTER = ("karpenter", "auto")
_KARPENTER = {"karpenter.sh/nodepool", "karpenter.sh/provisioner-name"}


@dataclass(frozen=True)
class Machine:
    """A node and its instance, as they are now and found to belong together. object: None when the Node object is gone."""

    node: str
    kind: str
    instance: dict[str, Any]
    object: dict[str, Any] | None

    @property
    def id(self) -> str:
        """The instance's id."""
        return str(self.instance["InstanceId"])

    @property
    def group(self) -> str | None:
        """The Auto Scaling group that it is in."""
        return _tags(self.instance).get("aws:autoscaling:groupName")

    @property
    def spot(self) -> bool:
        """Whether it is a Spot instance."""
        return self.instance.get("InstanceLifecycle") == "spot"

    @property
    def state(self) -> str:
        """The instance's state."""
        return str(self.instance["State"]["Name"])

    def volumes(self, going: bool = False) -> list[str]:
        """Its volumes, or those that are deleted with it."""
        every = [one["Ebs"] for one in self.instance.get("BlockDeviceMappings") or [] if "Ebs" in one]
        return sorted(one["VolumeId"] for one in every if not going or one.get("DeleteOnTermination"))

    def arn(self, live: Connection) -> str:
        """The instance's ARN."""
        return arn_of(live, self.id)


def arn_of(live: Connection, id_: str) -> str:
    """The ARN of an instance."""
    return f"arn:{live.caller.split(':')[1]}:ec2:{live.region}:{live.account}:instance/{id_}"


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in found.get("Tags") or []}


def _node(live: Connection, planned: PlannedAction) -> dict[str, Any] | None:
    try:
        return dict(live.kubernetes("GET", path_of("nodes", None, planned.parameters["node"])))
    except Missing:
        return None


def _labels(node: dict[str, Any] | None) -> dict[str, str]:
    return (node or {}).get("metadata", {}).get("labels") or {}


def _kind_now(found: dict[str, Any], node: dict[str, Any] | None) -> str:
    """The kind by what EC2 says of the instance, then by its labels, which whoever holds the node can write; "unknown" where nothing says."""
    tags, labels = _tags(found), _labels(node)
    operator = found.get("Operator") or {}
    by_eks = operator.get("Managed") and "eks" in str(operator.get("Principal"))
    if by_eks or any(name.startswith(("eks:eks-cluster-name", "eks:kubernetes-node-")) for name in tags):
        return "auto"
    if "eks:nodegroup-name" in tags:
        return "managed"
    if "aws:autoscaling:groupName" in tags:
        return "own_group"
    if labels.get(_COMPUTE) == "auto":
        return "auto"
    return "karpenter" if _KARPENTER & {*tags, *labels} else "unknown"


def _machine(live: Connection, planned: PlannedAction) -> Machine:
    """The planned node with its instance. Raises Refused when they are not found, not of each other, others or of another kind than planned."""
    told = planned.parameters
    name, kind = told["node"], told.get("node_kind") or "unknown"
    if kind in _NO_INSTANCE:
        raise Refused(_NO_INSTANCE[kind].format(node=name))
    node = _node(live, planned)
    provided = _provided(node)
    id_ = told.get("instance_id") or provided
    if not id_ and _labels(node).get(_COMPUTE) in _NO_INSTANCE:
        raise Refused(_NO_INSTANCE[_labels(node)[_COMPUTE]].format(node=name))
    if not id_:
        raise Refused(
            f"which instance node {name} is cannot be told: the evidence does not say, and there is no such node now",
            _GONE if node is None else "",
        )
    if provided and provided != id_:
        raise Refused(
            f"node {name} is instance {provided} now, planned was {id_}: it is another machine under the same name"
        )
    if _is_another(node, planned):
        raise Refused(_another(node, planned))
    found = instance(live, id_)
    if found is None:
        raise Refused(f"EC2 has no instance {id_} any more", _GONE)
    if not provided and found.get("PrivateDnsName") not in (name, ""):
        raise Refused(f"instance {id_} has the name {found.get('PrivateDnsName')}, not {name}: it is another node's")
    if not provided and not found.get("PrivateDnsName") and found["State"]["Name"] not in ENDED:
        raise Refused(
            f"nothing says that instance {id_} is node {name}: there is no such node, and it has no private DNS name"
        )
    now = _kind_now(found, node)
    if "unknown" not in (kind, now) and now != kind:
        raise Refused(f"instance {id_} is of the kind {now}, planned was {kind}: make the plan anew")
    if now == "unknown" and kind not in ("unknown", "own_group"):
        raise Refused(
            f"nothing on instance {id_} says that it is of the kind {kind}, as planned: it has no such tag or label"
        )
    return Machine(name, now, found, node)


def _provided(node: dict[str, Any] | None) -> str:
    """The instance that a Node object says it is, "" where it says none."""
    last = str((node or {}).get("spec", {}).get("providerID", "")).rpartition("/")[2]
    return last if last.startswith("i-") else ""


def _uid(planned: PlannedAction) -> str | None:
    return planned.parameters.get("uid") or planned.uid


def _is_another(node: dict[str, Any] | None, planned: PlannedAction) -> bool:
    """Whether a node has only the name of the planned one: EKS names nodes by their address, which the next one may get.

    With the planned instance it is the same machine, whatever its uid: a kubelet registers anew what was deleted."""
    uid, id_ = _uid(planned), planned.parameters.get("instance_id")
    return bool(node and uid and node["metadata"]["uid"] != uid and not (id_ and _provided(node) == id_))


def _another(node: dict[str, Any] | None, planned: PlannedAction) -> str:
    now = (node or {}).get("metadata", {}).get("uid")
    return f"node {planned.parameters['node']} is another object now: its uid is {now}, planned was {_uid(planned)}"


def _is_only_named(planned: PlannedAction) -> str:
    """Why what cuts a node off or ends it is not done by the node's name alone, "" where more is known of it."""
    if _uid(planned) or planned.parameters.get("instance_id"):
        return ""
    return f"the evidence tells neither uid nor instance of node {planned.parameters['node']}, and another node may have its name by now: add `kubectl get nodes -o json`"


def _living(live: Connection, planned: PlannedAction) -> Machine:
    machine = _machine(live, planned)
    if machine.state in ENDED:
        raise Refused(f"instance {machine.id} is {machine.state}")
    return machine


def _not_there(live: Connection, planned: PlannedAction) -> str:
    """Why the instance cannot be worked on, "" when it can."""
    try:
        _living(live, planned)
    except Refused as error:
        return error.says
    return ""


def _annotated(machine: Machine) -> list[Change]:
    """Karpenter told to leave the node alone; [] where it has no Node object."""
    if machine.object is None:
        return []
    patch = {"metadata": {"annotations": {DO_NOT_DISRUPT: "true"}}}
    uid = machine.object["metadata"]["uid"]
    return [EditObject("nodes", None, machine.node, uid, patch, doing=f"annotate with {DO_NOT_DISRUPT}=true")]


# protect_node


def _protection(live: Connection, planned: PlannedAction) -> list[Change]:
    machine = _living(live, planned)
    changes = list[Change]()
    if machine.kind != "auto" and not machine.spot:
        changes.append(ProtectInstance(machine.id))
    if machine.kind in _BY_KARPENTER:
        changes += _annotated(machine)
    elif machine.group:
        remark = "; a Spot instance has no termination protection, EC2 may still take it" if machine.spot else ""
        changes += [ProtectFromScaleIn(machine.group, machine.id, remark=remark), SuspendReplacement(machine.group)]
    return changes


def _cannot_protect(live: Connection, planned: PlannedAction) -> str:
    refused = _not_there(live, planned)
    if refused:
        return refused
    if not _protection(live, planned):
        return "a Spot instance has no termination protection, and it is in no Auto Scaling group: capture it soon"
    return ""


def _is_protected(live: Connection, planned: PlannedAction) -> Check:
    machine = _living(live, planned)
    spot = "; Spot: EC2 may still take it" if machine.spot else ""
    return all_hold(live, _protection(live, planned), f"instance {machine.id} is protected{spot}")


act("protect_node", changes=_protection, refuses=_cannot_protect, check=_is_protected)


# snapshot_volumes, finish_snapshots


def _snapshots(live: Connection, planned: PlannedAction, action: str) -> list[dict[str, Any]]:
    """The snapshots of the last try of an action; of the planned instance alone where it is known, as names of nodes come again.

    Those that a person made have no token: they count as one try."""
    filters = [{"Name": "tag:kit-action", "Values": [action]}]
    id_, tries = planned.parameters.get("instance_id"), dict[str, list[dict[str, Any]]]()
    for one in live.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters):
        tags = _tags(one)
        if not id_ or tags.get("kit-instance", id_) == id_:
            tries.setdefault(tags.get("kit-token", ""), []).append(one)
    return max(tries.values(), key=lambda every: max(str(one["StartTime"]) for one in every), default=[])


def _to_snapshot(live: Connection, planned: PlannedAction) -> list[Change]:
    machine = _living(live, planned)
    return [
        SnapshotVolumes(machine.id, machine.volumes(), planned.id, uuid.uuid4().hex, planned.parameters.get("case"))
    ]


def _cannot_snapshot(live: Connection, planned: PlannedAction) -> str:
    refused = _not_there(live, planned)
    if not refused and not _living(live, planned).volumes():
        return "the instance has no EBS volumes: what is on its instance store goes with it"
    return "" if refused and _are_started(live, planned).word == HOLDS else refused


def _are_started(live: Connection, planned: PlannedAction) -> Check:
    return _snapshot_check(_snapshots(live, planned, planned.id), planned.id, pending=HOLDS)


def _snapshot_check(found: list[dict[str, Any]], action: str, pending: str) -> Check:
    """Whether there is a good snapshot of each volume; how many there were stands in a tag of each."""
    wanted = max((int(_tags(one).get("kit-volumes") or 1) for one in found), default=1)
    there = len({one["VolumeId"] for one in found})
    names = ", ".join(f"{one['SnapshotId']} of {one['VolumeId']}" for one in found)
    broken = [one["SnapshotId"] for one in found if one["State"] == "error"]
    if not found:
        return Check(DOES_NOT_HOLD, f"no snapshot is tagged kit-action={action}")
    if broken:
        return Check(DOES_NOT_HOLD, f"EC2 could not make {', '.join(broken)}")
    if there < wanted:
        return Check(
            DOES_NOT_HOLD, f"there are snapshots of {there} of {wanted} volumes: {names}; somebody deleted one"
        )
    if any(one["State"] != "completed" for one in found):
        return Check(pending, f"started: {names}; EC2 copies the volumes' content meanwhile")
    return Check(HOLDS, f"completed: {names}")


def _of_all(live: Connection, planned: PlannedAction, pending: str) -> tuple[list[dict[str, Any]], Check]:
    """The snapshots of the actions that a plan waits for, and the first check that does not hold."""
    every, checks = list[dict[str, Any]](), list[Check]()
    for action in planned.parameters["of"]:
        found = _snapshots(live, planned, action)
        every += found
        checks.append(_snapshot_check(found, action, pending))
    bad = [one for one in checks if one.word != HOLDS]
    if bad:
        return every, bad[0]
    return every, Check(HOLDS, "; ".join(one.says for one in checks) or "no snapshot was planned")


def _finished(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """Waits a while for the snapshots, then keeps their description. Raises Failed while one is not completed."""
    until = time.monotonic() + SNAPSHOT_SECONDS
    while True:
        found, check = _of_all(live, planned, CANNOT_TELL)
        if check.word == DOES_NOT_HOLD:
            raise Failed(check.says)
        left = [one for one in found if one["State"] != "completed"]
        if not left:
            break
        if time.monotonic() >= until:
            says = ", ".join(
                f"snapshot {one['SnapshotId']} is {one['State']}, {one.get('Progress') or '0%'}" for one in left
            )
            raise Failed(f"{says.replace('%', ' %')}; run the same command again")
        time.sleep(_PAUSE)
    yield "snapshots.json", json.dumps(found, indent=2, default=str).encode()


def _are_finished(live: Connection, planned: PlannedAction) -> Check:
    return _of_all(live, planned, DOES_NOT_HOLD)[1]


act("snapshot_volumes", changes=_to_snapshot, refuses=_cannot_snapshot, check=_are_started)
act("snapshot_checkpoints", changes=_to_snapshot, refuses=_cannot_snapshot, check=_are_started)
act("finish_snapshots", keeps=_finished, check=_are_finished)


# cordon_node


def _cordon(node: dict[str, Any]) -> EditObject:
    named = node["metadata"]
    return EditObject("nodes", None, named["name"], named["uid"], {"spec": {"unschedulable": True}}, doing="cordon")


def _cordoning(live: Connection, planned: PlannedAction) -> list[Change]:
    """Cordoned; before that, Karpenter is told to leave the node alone: it replaces nodes that nothing is scheduled onto."""
    node = _node(live, planned)
    if node is None:
        return []
    labels = _labels(node)
    karpenter = bool(_KARPENTER & labels.keys()) or planned.parameters.get("node_kind") in _BY_KARPENTER
    return [*(_annotated(Machine(planned.parameters["node"], "", {}, node)) if karpenter else []), _cordon(node)]


def _cannot_cordon(live: Connection, planned: PlannedAction) -> str:
    name, node = planned.parameters["node"], _node(live, planned)
    if node is None:
        return f"there is no node {name} now"
    if _is_another(node, planned):
        return _another(node, planned)
    if "fargate" in (planned.parameters.get("node_kind"), _labels(node).get(_COMPUTE)):
        return f"{name} is a Fargate node: it runs one pod and takes no other"
    return ""


def _is_cordoned(live: Connection, planned: PlannedAction) -> Check:
    node = _node(live, planned)
    if node is None or _is_another(node, planned):
        return Check(HOLDS, "the node is gone" if node is None else "the node is gone, another one has its name")
    return all_hold(live, [_cordon(node)], "no new pod is scheduled onto the node")


act("cordon_node", changes=_cordoning, refuses=_cannot_cordon, check=_is_cordoned)


# quarantine_node


def _quarantine(live: Connection, planned: PlannedAction) -> list[Change]:
    machine = _living(live, planned)
    interfaces = interfaces_of(live, machine.id)
    vpcs = sorted({one["VpcId"] for one in interfaces})
    return [
        *(change(vpc) for vpc in vpcs for change in (CreateQuarantineGroup, EmptyQuarantineGroup)),
        *(QuarantineInterface(one["VpcId"], one["NetworkInterfaceId"]) for one in interfaces),
        *(QuarantineNewInterfaces(vpc, machine.id) for vpc in vpcs),
    ]


def _cannot_quarantine(live: Connection, planned: PlannedAction) -> str:
    refused = _not_there(live, planned) or _is_only_named(planned)
    if not refused and _living(live, planned).kind == "auto":
        return "EKS Auto Mode lets nobody change the interfaces of its nodes: isolate the pods by network policy, or end the node"
    return refused


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


# capture_node


def _console(live: Connection, machine: Machine) -> str:
    """The console's output; --latest works on Nitro instances alone (EC2 API reference, GetConsoleOutput)."""
    try:
        found = live.read("ec2", "get_console_output", InstanceId=machine.id, Latest=True)
    except Failed as error:
        if error.code != "UnsupportedOperation":
            raise
        found = live.read("ec2", "get_console_output", InstanceId=machine.id)
    return str(found.get("Output") or "")


def _captured(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    machine = _machine(live, planned)
    yield f"{machine.id}.console.txt", _console(live, machine).encode()
    yield f"{machine.id}.json", json.dumps(machine.instance, indent=2, default=str).encode()


def _is_captured(live: Connection, planned: PlannedAction) -> Check:
    size = len(_console(live, _machine(live, planned)).encode())
    if not size:
        return Check(CANNOT_TELL, "EC2 has no console output of the instance; memory is for a person")
    return Check(HOLDS, f"console output kept, {size} bytes; memory is for a person")


act("capture_node", keeps=_captured, refuses=_not_there, check=_is_captured)


# scan_node


@dataclass(frozen=True)
class ScanInstance(AwsChange):
    """A malware scan of an instance's volumes by GuardDuty. since: ISO 8601; a scan that was started after it counts as this one, as
    GuardDuty takes no second one within an hour."""

    service: ClassVar[str] = "guardduty"
    cannot_undo: ClassVar[str] = "a scan that was started is not stopped; it changes nothing"

    arn: str
    token: str
    since: str

    @property
    def says(self) -> str:
        return f"start a GuardDuty malware scan of {self.arn}"

    def scans(self, live: Connection) -> list[tuple[str, str, str]]:
        """The instance's scans since then: id, status, when it was started."""
        by_arn = {
            "ListMalwareScansCriterionKey": "RESOURCE_ARN",
            "FilterCondition": {"EqualsValue": self.arn},
        }
        asked = {"ListMalwareScansFilterCriterion": [by_arn]}
        found = live.pages("guardduty", "list_malware_scans", "Scans", FilterCriteria=asked)
        return [
            (str(one["ScanId"]), str(one["ScanStatus"]), one["ScanStartedAt"].isoformat())
            for one in found
            if one["ResourceArn"] == self.arn
            and one.get("ScanStartedAt")
            and one["ScanStartedAt"] >= datetime.fromisoformat(self.since)
        ]

    def look(self, live: Connection) -> State:
        return {"scans": {id_: status for id_, status, _ in self.scans(live)}}

    def holds(self, state: State) -> bool:
        return state is not None and any(status not in ("FAILED", "SKIPPED") for status in state["scans"].values())

    def call(self, state: State) -> Call:
        return "start_malware_scan", {"ResourceArn": self.arn, "ClientToken": self.token}


def _scan(live: Connection, planned: PlannedAction) -> list[Change]:
    since = datetime.now(UTC) - timedelta(hours=1)
    token = f"{planned.id}-{since:%Y%m%dT%H%M%S}"[-64:]
    return [ScanInstance(_living(live, planned).arn(live), token, since.isoformat())]


def _last_scan(live: Connection, planned: PlannedAction) -> tuple[str, str]:
    """The last scan of the instance and its status; empty where there is none."""
    id_ = planned.parameters.get("instance_id") or _machine(live, planned).id
    ever = ScanInstance(arn_of(live, id_), "", datetime.fromtimestamp(0, UTC).isoformat())
    return max(ever.scans(live), key=lambda one: one[2], default=("", "", ""))[:2]


def _scanned(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """Waits a while for the scan, as what ends the instance comes after it. Raises Failed while it runs."""
    until = time.monotonic() + SCAN_SECONDS
    while (scan := _last_scan(live, planned))[1] == "RUNNING":
        if time.monotonic() >= until:
            raise Failed(f"GuardDuty still scans the instance ({scan[0]}); run the same command again")
        time.sleep(_PAUSE)
    yield "scan.json", json.dumps({"scan": scan[0], "status": scan[1]}).encode()


def _is_scanned(live: Connection, planned: PlannedAction) -> Check:
    scan, status = _last_scan(live, planned)
    says = f"scan {scan} is {status}" if scan else "there is no scan of the instance"
    if status.startswith("COMPLETED"):
        return Check(HOLDS, f"{says}; a finding tells what it found")
    return Check(CANNOT_TELL if status == "RUNNING" else DOES_NOT_HOLD, says)


act("scan_node", changes=_scan, keeps=_scanned, refuses=_not_there, check=_is_scanned)


# terminate_node


def _ending(live: Connection, planned: PlannedAction) -> list[Change]:
    """Cordoned and drained, its protections lifted, then terminated; Karpenter does the draining and the end itself."""
    machine = _machine(live, planned)
    if machine.state in ENDED:
        return []
    if machine.kind == "auto" and machine.object is None:
        raise Refused(f"node {machine.node} of EKS Auto Mode has no Node object any more: EKS ends its instance itself")
    changes: list[Change] = [_cordon(machine.object)] if machine.object else []
    unprotected: list[Change] = (
        [] if machine.spot or machine.kind == "auto" else [ProtectInstance(machine.id, on=False)]
    )
    if machine.kind in _BY_KARPENTER and machine.object:
        return [*changes, *unprotected, EndNode("nodes", None, machine.node, machine.object["metadata"]["uid"])]
    for pod in pods_on(live, machine.node):
        named = pod["metadata"]
        changes.append(EvictPod("pods", named["namespace"], named["name"], named["uid"]))
    changes += unprotected
    group = machine.group if machine.kind not in _BY_KARPENTER else None
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
        machine = _machine(live, planned)
    except Refused as error:
        return "" if error.code == _GONE else error.says
    if _is_only_named(planned):
        return _is_only_named(planned)
    bare = _bare(live, planned) if machine.object and machine.state not in ENDED else []
    if bare:
        return f"nothing starts {', '.join(bare[:5])} again, which this plan does not count as affected: move {'it' if len(bare) == 1 else 'them'} away first, or delete {'it' if len(bare) == 1 else 'them'}"
    return ""


def _bare(live: Connection, planned: PlannedAction) -> list[str]:
    """Pods that an eviction would end for good, without those that the plan counts as affected and captures. `kubectl drain` refuses them
    too."""
    affected = planned.parameters.get("affected_pods") or []
    metadata = (pod["metadata"] for pod in pods_on(live, planned.parameters["node"]))
    return [
        f"pod {one['namespace']}/{one['name']}"
        for one in metadata
        if not any(owner.get("controller") for owner in one.get("ownerReferences") or [])
        and one["uid"] not in affected
        and "deletionTimestamp" not in one
    ]


def _is_ended(live: Connection, planned: PlannedAction) -> Check:
    id_ = planned.parameters.get("instance_id")
    try:
        found = instance(live, id_) if id_ else _machine(live, planned).instance
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
    node = _node(live, planned)
    return node is not None and "deletionTimestamp" in node["metadata"]


act("terminate_node", changes=_ending, refuses=_cannot_end, check=_is_ended)
