"""Changes that cut an instance off: the quarantine group of its VPC, and its network interfaces put into it.

Sources: EC2 API reference; EKS Best Practices "Incident response and forensics".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kit.actions.nodes import QUARANTINE_DESCRIPTION
from kit.actions.pods import QUARANTINED
from kit.live.changes.aws_change import AwsCall, AwsChange
from kit.live.changes.change import State
from kit.live.changes.instance_change import ec2_tags
from kit.live.connection import Connection
from kit.live.errors import Failed, Missing


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


@dataclass(frozen=True)
class _OfQuarantine(AwsChange):
    service: ClassVar[str] = "ec2"

    vpc: str

    @property
    def group_name(self) -> str:
        """The name of the VPC's quarantine group."""
        return f"{QUARANTINED}-{self.vpc}"

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
        ours = any(one["Key"] == QUARANTINED for one in (group or {}).get("Tags") or [])
        return None if group is None else {"group": group["GroupId"], "ours": ours}

    def refuses(self, state: State) -> str:
        if state is None or state["ours"]:
            return ""
        return f"security group {self.group_name} ({state['group']}) is there already and was not made by the kit; look at it and rename it"

    def holds(self, state: State) -> bool:
        return state is not None and bool(state["ours"])

    def call(self, state: State) -> AwsCall:
        return "create_security_group", {
            "GroupName": self.group_name,
            "Description": QUARANTINE_DESCRIPTION,
            "VpcId": self.vpc,
            "TagSpecifications": [{"ResourceType": "security-group", "Tags": ec2_tags({QUARANTINED: "true"})}],
        }

    def undo(self, live: Connection, before: State, after: State) -> str:
        """By the group that is there: EC2 may not have shown it yet when it was made."""
        try:
            return super().undo(live, before, after or self.look(live))
        except Failed as error:
            if error.code == "DependencyViolation":
                raise Failed(f"{self.group_name} still quarantines another interface; it stays", error.code) from None
            raise

    def back(self, before: State, after: State) -> AwsCall:
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

    def call(self, state: State) -> AwsCall:
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

    def call(self, state: State) -> AwsCall:
        group = self._needed((state or {}).get("quarantine"))
        return "modify_network_interface_attribute", {"NetworkInterfaceId": self.interface, "Groups": [group]}

    def back(self, before: State, after: State) -> AwsCall:
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
