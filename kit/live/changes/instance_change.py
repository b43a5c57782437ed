"""Changes of an EC2 instance and of what holds it: protections, snapshots of its volumes, the groups of its interfaces, its end.

Sources: EC2 API reference; EC2 User Guide "Change instance termination protection" (none for Spot instances); EC2 Auto Scaling User Guide
"Use instance scale-in protection", "Suspend and resume processes"; EKS Best Practices "Incident response and forensics".
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from kit.live.changes.aws_change import AwsChange, Call
from kit.live.changes.change import State
from kit.live.changes.objects import DeleteObject
from kit.live.connection import Connection
from kit.live.errors import Failed, Missing

QUARANTINE = "kit-quarantine"
ENDED = ("shutting-down", "terminated")
DRAIN_SECONDS = 60
"""How long a terminated node's pods may take to end after their eviction; a node without network never reports their end."""


def instance(live: Connection, id_: str) -> dict[str, Any] | None:
    """An instance as EC2 describes it; None when EC2 does not know it any more."""
    try:
        found = live.read("ec2", "describe_instances", InstanceIds=[id_])["Reservations"]
    except Missing:
        return None
    every = [one for reservation in found for one in reservation["Instances"]]
    return every[0] if every else None


def interfaces_of(live: Connection, id_: str) -> list[dict[str, Any]]:
    """An instance's network interfaces, and those of pods with security groups of their own, which hang on one of them.

    Source: amazon-vpc-resource-controller-k8s (the tag vpcresources.k8s.aws/trunk-eni-id of a branch interface).
    """

    def found(name: str, values: list[str]) -> list[dict[str, Any]]:
        filters = [{"Name": name, "Values": values}]
        return list(live.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=filters))

    own = found("attachment.instance-id", [id_])
    branches = found("tag:vpcresources.k8s.aws/trunk-eni-id", [one["NetworkInterfaceId"] for one in own]) if own else []
    return sorted(own + branches, key=lambda one: str(one["NetworkInterfaceId"]))


def pods_on(live: Connection, node: str) -> list[dict[str, Any]]:
    """The pods that an eviction takes off a node: neither a DaemonSet's nor a static one of the kubelet, nor one that has ended."""
    pods = live.listed("/api/v1/pods", query={"fieldSelector": f"spec.nodeName={node}"})
    return [
        pod
        for pod in pods
        if not any(one.get("kind") == "DaemonSet" for one in pod["metadata"].get("ownerReferences") or [])
        and "kubernetes.io/config.mirror" not in (pod["metadata"].get("annotations") or {})
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


class _Protection(AwsChange):
    """Something that is on or off, of an instance or its group; once that is gone nothing needs to be restored."""

    on: bool

    def holds(self, state: State) -> bool:
        return state is not None and state["on"] == self.on

    def is_restored(self, before: State, now: State) -> bool:
        return now is None or before == now

    def switch(self, on: bool) -> Call:
        """The call that switches it."""
        raise NotImplementedError

    def call(self, state: State) -> Call:
        return self.switch(self.on)

    def back(self, before: State, after: State) -> Call:
        assert before is not None
        return self.switch(before["on"])


@dataclass(frozen=True)
class ProtectInstance(_Protection):
    """Termination protection of an instance on or off."""

    service: ClassVar[str] = "ec2"

    instance: str
    on: bool = True

    @property
    def says(self) -> str:
        doing = "protect" if self.on else "no longer protect"
        return f"{doing} instance {self.instance} from termination by the EC2 API"

    def look(self, live: Connection) -> State:
        asked = {"InstanceId": self.instance, "Attribute": "disableApiTermination"}
        try:
            found = live.read("ec2", "describe_instance_attribute", **asked)
        except Missing:
            return None
        return {"on": bool(found["DisableApiTermination"]["Value"])}

    def switch(self, on: bool) -> Call:
        return "modify_instance_attribute", {"InstanceId": self.instance, "DisableApiTermination": {"Value": on}}


@dataclass(frozen=True)
class ProtectFromScaleIn(_Protection):
    """Scale-in protection of an instance in its Auto Scaling group on or off. remark: what else the person should know."""

    service: ClassVar[str] = "autoscaling"

    group: str
    instance: str
    on: bool = True
    remark: str = ""

    @property
    def says(self) -> str:
        doing = "protect" if self.on else "no longer protect"
        return f"{doing} instance {self.instance} from scale-in by Auto Scaling group {self.group}{self.remark}"

    def look(self, live: Connection) -> State:
        found = live.read("autoscaling", "describe_auto_scaling_instances", InstanceIds=[self.instance])
        every = [one for one in found["AutoScalingInstances"] if one["AutoScalingGroupName"] == self.group]
        return {"on": bool(every[0]["ProtectedFromScaleIn"])} if every else None

    def switch(self, on: bool) -> Call:
        named = {"AutoScalingGroupName": self.group, "InstanceIds": [self.instance]}
        return "set_instance_protection", named | {"ProtectedFromScaleIn": on}


@dataclass(frozen=True)
class SuspendReplacement(_Protection):
    """The group replaces no unhealthy instances: a node that is cut off counts as unhealthy."""

    service: ClassVar[str] = "autoscaling"

    group: str
    on: bool = True

    @property
    def says(self) -> str:
        return f"suspend ReplaceUnhealthy of the whole Auto Scaling group {self.group}"

    def look(self, live: Connection) -> State:
        found = live.read("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[self.group])
        for group in found["AutoScalingGroups"]:
            return {"on": any(one["ProcessName"] == "ReplaceUnhealthy" for one in group["SuspendedProcesses"])}
        return None

    def switch(self, on: bool) -> Call:
        named = {"AutoScalingGroupName": self.group, "ScalingProcesses": ["ReplaceUnhealthy"]}
        return "suspend_processes" if on else "resume_processes", named


@dataclass(frozen=True)
class SnapshotVolumes(AwsChange):
    """Snapshots of all volumes of an instance, of one instant. action: the planned action's id; token: of this try alone, so that it is
    found again. Both stand as tags on each snapshot, with the instance and the number of volumes."""

    service: ClassVar[str] = "ec2"
    cannot_undo: ClassVar[str] = "evidence is not deleted by an undo"

    instance: str
    volumes: list[str]
    action: str
    token: str
    case: str | None = None

    @property
    def says(self) -> str:
        return f"snapshot {', '.join(self.volumes)} of instance {self.instance}"

    def look(self, live: Connection) -> State:
        asked = {"OwnerIds": ["self"], "Filters": [{"Name": "tag:kit-token", "Values": [self.token]}]}
        found = live.pages("ec2", "describe_snapshots", "Snapshots", **asked)
        return {"snapshots": {one["VolumeId"]: one["SnapshotId"] for one in found}}

    def holds(self, state: State) -> bool:
        return state is not None and set(self.volumes) <= state["snapshots"].keys()

    def call(self, state: State) -> Call:
        tags = {"kit-action": self.action, "kit-token": self.token, "kit-instance": self.instance}
        tags |= {"kit-volumes": str(len(self.volumes))} | ({"kit-case": self.case} if self.case else {})
        return "create_snapshots", {
            "InstanceSpecification": {"InstanceId": self.instance},
            "Description": f"evidence, kept by {self.action}",
            "TagSpecifications": [{"ResourceType": "snapshot", "Tags": _listed(tags)}],
        }


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


@dataclass(frozen=True)
class _OfQuarantine(AwsChange):
    service: ClassVar[str] = "ec2"

    vpc: str

    @property
    def group_name(self) -> str:
        """The name of the VPC's quarantine group."""
        return f"{QUARANTINE}-{self.vpc}"

    def group(self, live: Connection) -> dict[str, Any] | None:
        """The VPC's quarantine group."""
        filters = [{"Name": "vpc-id", "Values": [self.vpc]}, {"Name": "group-name", "Values": [self.group_name]}]
        found = live.read("ec2", "describe_security_groups", Filters=filters)["SecurityGroups"]
        return dict(found[0]) if found else None

    def dry_run(self, live: Connection, state: State) -> str:
        try:
            return super().dry_run(live, state)
        except Missing:
            return "it cannot be tried before the group is there"

    def _needed(self, id_: str | None) -> str:
        if not id_:
            raise Missing(f"security group {self.group_name} is not there")
        return id_


@dataclass(frozen=True)
class CreateQuarantineGroup(_OfQuarantine):
    """The security group of a VPC that lets nothing through, once its default rule is gone too."""

    @property
    def says(self) -> str:
        return f"create security group {self.group_name}"

    def look(self, live: Connection) -> State:
        group = self.group(live)
        ours = any(one["Key"] == QUARANTINE for one in (group or {}).get("Tags") or [])
        return None if group is None else {"group": group["GroupId"], "ours": ours}

    def refuses(self, state: State) -> str:
        if state is None or state["ours"]:
            return ""
        return f"security group {self.group_name} ({state['group']}) is there already and was not made by the kit; look at it and rename it"

    def holds(self, state: State) -> bool:
        return state is not None and bool(state["ours"])

    def call(self, state: State) -> Call:
        return "create_security_group", {
            "GroupName": self.group_name,
            "Description": "lets nothing through; for instances under investigation",
            "VpcId": self.vpc,
            "TagSpecifications": [{"ResourceType": "security-group", "Tags": _listed({QUARANTINE: "true"})}],
        }

    def undo(self, live: Connection, before: State, after: State) -> str:
        """By the group that is there: EC2 may not have shown it yet when it was made."""
        try:
            return super().undo(live, before, after or self.look(live))
        except Failed as error:
            if error.code == "DependencyViolation":
                raise Failed(f"{self.group_name} still quarantines another interface; it stays", error.code) from None
            raise

    def back(self, before: State, after: State) -> Call:
        return "delete_security_group", {"GroupId": self._needed((after or {}).get("group"))}


@dataclass(frozen=True)
class EmptyQuarantineGroup(_OfQuarantine):
    """The rule that EC2 gives each new group, all traffic out, taken away. An undo leaves it so: other nodes may be in that group."""

    @property
    def says(self) -> str:
        return f"take the default rule (all traffic out) out of security group {self.group_name}"

    def look(self, live: Connection) -> State:
        group = self.group(live)
        if group is None:
            return None
        return {"group": group["GroupId"], "in": group["IpPermissions"], "out": group["IpPermissionsEgress"]}

    def refuses(self, state: State) -> str:
        if state and state["in"]:
            return f"somebody gave security group {self.group_name} a rule that lets traffic in; look at it"
        return ""

    def holds(self, state: State) -> bool:
        return state is not None and not state["in"] and not state["out"]

    def is_restored(self, before: State, now: State) -> bool:
        return True

    def call(self, state: State) -> Call:
        found = state or {}
        named = {"GroupId": self._needed(found.get("group")), "IpPermissions": found.get("out")}
        return "revoke_security_group_egress", named


@dataclass(frozen=True)
class QuarantineInterface(_OfQuarantine):
    """The security groups of a network interface replaced by the quarantine group. The VPC CNI takes interfaces off and puts others on all
    the time: one that is gone lets nothing through."""

    interface: str

    @property
    def says(self) -> str:
        return f"replace the security groups of network interface {self.interface} by {self.group_name}"

    def look(self, live: Connection) -> State:
        try:
            found = live.read("ec2", "describe_network_interfaces", NetworkInterfaceIds=[self.interface])
        except Missing:
            return None
        groups = sorted(one["GroupId"] for one in found["NetworkInterfaces"][0]["Groups"])
        return {"groups": groups, "quarantine": (self.group(live) or {}).get("GroupId")}

    def refuses(self, state: State) -> str:
        return ""

    def holds(self, state: State) -> bool:
        return state is None or state["groups"] == [state["quarantine"]]

    def is_as_before(self, before: State, now: State) -> bool:
        return before is not None and now is not None and before["groups"] == now["groups"]

    def is_restored(self, before: State, now: State) -> bool:
        return now is None or self.is_as_before(before, now)

    def call(self, state: State) -> Call:
        group = self._needed((state or {}).get("quarantine"))
        return "modify_network_interface_attribute", {"NetworkInterfaceId": self.interface, "Groups": [group]}

    def back(self, before: State, after: State) -> Call:
        assert before is not None
        named = {"NetworkInterfaceId": self.interface, "Groups": before["groups"]}
        return "modify_network_interface_attribute", named


@dataclass(frozen=True)
class QuarantineNewInterfaces(_OfQuarantine):
    """The security groups of whatever interfaces an instance has in a VPC by then replaced by the quarantine group, one call each."""

    instance: str

    @property
    def says(self) -> str:
        return f"do so with each interface that instance {self.instance} got meanwhile in {self.vpc}"

    def look(self, live: Connection) -> State:
        found = [one for one in interfaces_of(live, self.instance) if one["VpcId"] == self.vpc]
        groups = {one["NetworkInterfaceId"]: sorted(each["GroupId"] for each in one["Groups"]) for one in found}
        return {"interfaces": groups, "quarantine": (self.group(live) or {}).get("GroupId")}

    def _open(self, state: State) -> list[str]:
        """The interfaces that are not quarantined."""
        found = state or {"interfaces": {}, "quarantine": None}
        return [id_ for id_, groups in found["interfaces"].items() if groups != [found["quarantine"]]]

    def holds(self, state: State) -> bool:
        return not self._open(state)

    def is_as_before(self, before: State, now: State) -> bool:
        return bool(self._open(now))

    def is_restored(self, before: State, now: State) -> bool:
        there = (now or {"interfaces": {}})["interfaces"]
        return all(there.get(id_) in (None, (before or {})["interfaces"][id_]) for id_ in self._open(before))

    def dry_run(self, live: Connection, state: State) -> str:
        return "each is tried above"

    def do(self, live: Connection, state: State) -> str:
        return self._set(live, {id_: [self._needed((state or {}).get("quarantine"))] for id_ in self._open(state)})

    def undo(self, live: Connection, before: State, after: State) -> str:
        there, old = (self.look(live) or {})["interfaces"], (before or {})["interfaces"]
        return self._set(live, {id_: old[id_] for id_ in self._open(before) if id_ in there})

    def _set(self, live: Connection, wanted: dict[str, list[str]]) -> str:
        request = ""
        for id_, groups in wanted.items():
            try:
                named = {"NetworkInterfaceId": id_, "Groups": groups}
                request = live.write("ec2", "modify_network_interface_attribute", **named)[1]
            except Missing:
                if self.group(live) is None:  # else the interface is gone
                    raise
        return request


@dataclass(frozen=True)
class TerminateInstance(AwsChange):
    """The end of an instance. group: its Auto Scaling group, which then starts a clean one. volumes: those that go with it. node: whose
    evicted pods are waited for, a while. remark: what else the person should know."""

    service: ClassVar[str] = "ec2"
    cannot_undo: ClassVar[str] = "an instance that was terminated is gone"

    instance: str
    group: str | None
    volumes: list[str]
    node: str
    remark: str = ""

    @property
    def says(self) -> str:
        volumes = f"; its volumes {', '.join(self.volumes)} are deleted with it" if self.volumes else ""
        clean = f"; Auto Scaling group {self.group} starts a new one{self.remark}" if self.group else ""
        return f"terminate instance {self.instance}{volumes}{clean}"

    def look(self, live: Connection) -> State:
        found = instance(live, self.instance)
        return None if found is None else {"state": found["State"]["Name"]}

    def refuses(self, state: State) -> str:
        return ""

    def holds(self, state: State) -> bool:
        return state is None or state["state"] in ENDED

    def call(self, state: State) -> Call:
        return "terminate_instances", {"InstanceIds": [self.instance]}

    def do(self, live: Connection, state: State) -> str:
        until = time.monotonic() + DRAIN_SECONDS
        while pods_on(live, self.node) and time.monotonic() < until:
            time.sleep(2)
        if not self.group:
            return super().do(live, state)
        named = {"InstanceId": self.instance, "ShouldDecrementDesiredCapacity": False}
        return live.write("autoscaling", "terminate_instance_in_auto_scaling_group", **named)[1]


@dataclass(frozen=True)
class EndNode(DeleteObject):
    """The deletion of a Node object of Karpenter or Auto Mode: its finalizer drains the node and terminates the instance."""

    @property
    def cannot_undo(self) -> str:  # type: ignore[override]
        """Why it cannot be undone."""
        return "an instance that was terminated is gone"

    @property
    def says(self) -> str:
        return f"delete node {self.name}: Karpenter drains it and terminates its instance with its volumes"
