"""The machine behind a node as it is now: which instance, of which kind, and whether it is still the one that is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kit.errors import CallError
from kit.inventory.node_kind import (
    AUTO,
    COMPUTE_TYPE,
    KARPENTER,
    KARPENTER_LABELS,
    MANAGED,
    OWN_GROUP,
    UNKNOWN,
    WITHOUT_INSTANCE,
    NodeKind,
)
from kit.live.changes.instance_change import ENDED, instance
from kit.live.changes.objects import url_path
from kit.live.connection import Connection
from kit.live.errors import GONE, LiveError, Missing, Refused, is_silent
from kit.model.arn import Arn, partition_of
from kit.plan.plan import PlannedAction


@dataclass(frozen=True)
class Machine:
    """A node and its instance, as they are now and found to belong together. object: None when the Node object is gone."""

    node: str
    kind: NodeKind | Literal[""]
    instance: dict[str, Any]
    object: dict[str, Any] | None

    @property
    def id(self) -> str:
        """The instance's id."""
        return str(self.instance["InstanceId"])

    @property
    def group(self) -> str | None:
        """The Auto Scaling group that it is in."""
        return tags_of(self.instance).get("aws:autoscaling:groupName")

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
    return str(Arn(partition_of(live.caller), "ec2", str(live.region), str(live.account), f"instance/{id_}"))


def tags_of(found: dict[str, Any]) -> dict[str, str]:
    """The tags of something in EC2 by their names."""
    return {one["Key"]: one["Value"] for one in found.get("Tags") or []}


def node_of(live: Connection, planned: PlannedAction) -> dict[str, Any] | None:
    """The Node object as it stands now, None where it is gone, and where no API server answers and the case names the instance."""
    try:
        return dict(live.kubernetes("GET", url_path("nodes", None, planned.parameters["node"])))
    except Missing:
        return None
    except (LiveError, CallError) as error:
        is_away = isinstance(error, CallError) or is_silent(error)
        if is_away and planned.parameters.get("instance_id"):
            return None  # EC2 tells then whether the instance has the node's name
        raise


def labels_of(node: dict[str, Any] | None) -> dict[str, str]:
    """The labels of a Node object."""
    return (node or {}).get("metadata", {}).get("labels") or {}


def _kind_now(found: dict[str, Any], node: dict[str, Any] | None) -> NodeKind:
    """The kind by what EC2 says of the instance, then by its labels, which whoever holds the node can write; `unknown` where nothing says."""
    tags, labels = tags_of(found), labels_of(node)
    operator = found.get("Operator") or {}
    by_eks = operator.get("Managed") and "eks" in str(operator.get("Principal"))
    if by_eks or any(name.startswith(("eks:eks-cluster-name", "eks:kubernetes-node-")) for name in tags):
        return AUTO
    if "eks:nodegroup-name" in tags:
        return MANAGED
    if "aws:autoscaling:groupName" in tags:
        return OWN_GROUP
    if labels.get(COMPUTE_TYPE) == AUTO:
        return AUTO
    return KARPENTER if KARPENTER_LABELS & {*tags, *labels} else UNKNOWN


def machine_of(live: Connection, planned: PlannedAction) -> Machine:
    """The planned node with its instance. Raises Refused when they are not found, not of each other, others or of another kind than planned."""
    told = planned.parameters
    name, kind = told["node"], told.get("node_kind") or UNKNOWN
    if kind in WITHOUT_INSTANCE:
        raise Refused(f"{name} is {WITHOUT_INSTANCE[kind]}")
    node = node_of(live, planned)
    provided = _provided(node)
    id_ = told.get("instance_id") or provided
    if not id_ and labels_of(node).get(COMPUTE_TYPE) in WITHOUT_INSTANCE:
        raise Refused(f"{name} is {WITHOUT_INSTANCE[labels_of(node)[COMPUTE_TYPE]]}")
    if not id_:
        raise Refused(
            f"which instance node {name} is cannot be told: the evidence does not say, and there is no such node now",
            GONE if node is None else "",
        )
    if provided and provided != id_:
        raise Refused(
            f"node {name} is instance {provided} now, planned was {id_}: it is another machine under the same name"
        )
    if is_another(node, planned):
        raise Refused(why_another(node, planned))
    found = instance(live, id_)
    if found is None:
        raise Refused(f"EC2 has no instance {id_} any more", GONE)
    if not provided and found.get("PrivateDnsName") not in (name, ""):
        raise Refused(f"instance {id_} has the name {found.get('PrivateDnsName')}, not {name}: it is another node's")
    if not provided and not found.get("PrivateDnsName") and found["State"]["Name"] not in ENDED:
        raise Refused(
            f"nothing says that instance {id_} is node {name}: there is no such node, and it has no private DNS name"
        )
    now = _kind_now(found, node)
    if UNKNOWN not in (kind, now) and now != kind:
        raise Refused(f"instance {id_} is of the kind {now}, planned was {kind}: make the plan anew")
    if now == UNKNOWN and kind not in (UNKNOWN, OWN_GROUP):
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


def is_another(node: dict[str, Any] | None, planned: PlannedAction) -> bool:
    """Whether a node has only the name of the planned one: EKS names nodes by their address, which the next one may get.

    With the planned instance it is the same machine, whatever its uid: a kubelet registers anew what was deleted."""
    uid, id_ = _uid(planned), planned.parameters.get("instance_id")
    return bool(node and uid and node["metadata"]["uid"] != uid and not (id_ and _provided(node) == id_))


def why_another(node: dict[str, Any] | None, planned: PlannedAction) -> str:
    """The sentence that the node is another object now."""
    now = (node or {}).get("metadata", {}).get("uid")
    return f"node {planned.parameters['node']} is another object now: its uid is {now}, planned was {_uid(planned)}"


def is_only_named(planned: PlannedAction) -> str:
    """Why what cuts a node off or ends it is not done by the node's name alone, "" where more is known of it."""
    if _uid(planned) or planned.parameters.get("instance_id"):
        return ""
    return f"the evidence tells neither uid nor instance of node {planned.parameters['node']}, and another node may have its name by now: add `kubectl get nodes -o json`"


def living_machine(live: Connection, planned: PlannedAction) -> Machine:
    """The machine, refused where it is ended or about to be."""
    machine = machine_of(live, planned)
    if machine.state in ENDED:
        raise Refused(f"instance {machine.id} is {machine.state}", GONE)
    return machine


def why_not_there(live: Connection, planned: PlannedAction) -> str:
    """ "" where the instance can be worked on. Raises Refused with its kind where it cannot."""
    living_machine(live, planned)
    return ""
