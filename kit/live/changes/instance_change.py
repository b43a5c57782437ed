"""Changes of an EC2 instance and of what holds it: protections, snapshots of its volumes, its end.

Sources: EC2 API reference; EC2 User Guide "Change instance termination protection" (none for Spot instances); EC2 Auto Scaling User Guide
"Use instance scale-in protection", "Suspend and resume processes"; EKS Best Practices "Incident response and forensics".
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from kit.live.changes.aws_change import AwsCall, AwsChange
from kit.live.changes.change import State
from kit.live.changes.objects import DeleteObject
from kit.live.connection import Connection
from kit.live.errors import Missing
from kit.live.permission import simulated

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

    def switch(self, on: bool) -> AwsCall:
        """The call that switches it."""
        raise NotImplementedError

    def call(self, state: State) -> AwsCall:
        return self.switch(self.on)

    def back(self, before: State, after: State) -> AwsCall:
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

    def switch(self, on: bool) -> AwsCall:
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

    def switch(self, on: bool) -> AwsCall:
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

    def switch(self, on: bool) -> AwsCall:
        named = {"AutoScalingGroupName": self.group, "ScalingProcesses": ["ReplaceUnhealthy"]}
        return "suspend_processes" if on else "resume_processes", named


@dataclass(frozen=True)
class DetachInstanceProfile(AwsChange):
    """The instance profile taken off an instance, and with it the role: EC2 gives out no new credentials. The call has no dry-run."""

    service: ClassVar[str] = "ec2"

    instance: str

    @property
    def says(self) -> str:
        return f"take the instance profile off instance {self.instance}"

    def look(self, live: Connection) -> State:
        asked = {"Filters": [{"Name": "instance-id", "Values": [self.instance]}]}
        member = "IamInstanceProfileAssociations"
        for one in live.pages("ec2", "describe_iam_instance_profile_associations", member, **asked):
            if not one["State"].startswith("disassociat"):
                return {"profile": one["IamInstanceProfile"]["Arn"], "association": one["AssociationId"]}
        return {"profile": None, "association": None}

    def holds(self, state: State) -> bool:
        return state is not None and state["profile"] is None

    def is_as_before(self, before: State, now: State) -> bool:
        return before is not None and now is not None and before["profile"] == now["profile"]

    def call(self, state: State) -> AwsCall:
        return "disassociate_iam_instance_profile", {"AssociationId": (state or {})["association"]}

    def back(self, before: State, after: State) -> AwsCall:
        profile = {"Arn": (before or {})["profile"]}
        return "associate_iam_instance_profile", {"InstanceId": self.instance, "IamInstanceProfile": profile}

    def dry_run(self, live: Connection, state: State) -> str:
        return simulated(live, ["ec2:DisassociateIamInstanceProfile"])


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

    def call(self, state: State) -> AwsCall:
        tags = {"kit-action": self.action, "kit-token": self.token, "kit-instance": self.instance}
        tags |= {"kit-volumes": str(len(self.volumes))} | ({"kit-case": self.case} if self.case else {})
        return "create_snapshots", {
            "InstanceSpecification": {"InstanceId": self.instance},
            "Description": f"evidence, kept by {self.action}",
            "TagSpecifications": [{"ResourceType": "snapshot", "Tags": ec2_tags(tags)}],
        }


def ec2_tags(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 wants them."""
    return [{"Key": name, "Value": value} for name, value in tags.items()]


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

    def call(self, state: State) -> AwsCall:
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
