"""What the evidence says of the machine behind a node: its system, its runtime, its disks, its node group and whether that is repaired.

Sources: Kubernetes API reference (NodeSystemInfo); EKS API reference (NodeRepairConfig, off by default); EC2 User Guide "Instance store":
families whose attributes have a d, and those named here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kit.inventory.node_kind import NODE_GROUP
from kit.lenient import dict_of, json_of
from kit.store.store import Store

_WITH_DISKS = re.compile(r"[a-z]+\d+[a-z]*d[a-z]*(-.*)?")
_WITH_DISKS_TOO = (
    "c1 c3 m1 m2 m3 r3 d2 d3 d3en h1 hs1 i2 i3 i3en i4g i4i i7i i7ie i8g i8ge im4gn is4gen g2 g5 g6 g6e g6f gr6 gr6f"
    " p5 p5e p5en trn1 trn1n trn2 f1 f2 x1 x1e dl1"
)
INSTANCE_TYPE = "node.kubernetes.io/instance-type"


@dataclass(frozen=True)
class NodeFacts:
    """The machine of a node. system, runtime, instance_type, node_group: "" where no evidence says. repairs: whether its managed node group
    replaces a node that is not ready, None where no evidence says."""

    system: str = ""
    runtime: str = ""
    instance_type: str = ""
    node_group: str = ""
    repairs: bool | None = None

    @property
    def has_instance_store(self) -> bool:
        """Whether instances of its type have disks that are in no snapshot."""
        family = self.instance_type.partition(".")[0]
        return family in _WITH_DISKS_TOO.split() or _WITH_DISKS.fullmatch(family) is not None

    @property
    def cannot_checkpoint(self) -> bool:
        """Whether its container runtime is known to make no checkpoints: containerd has them since 2.0, and then needs CRIU beside it."""
        found = re.match(r"(?:containerd|docker)://(\d+)\.", self.runtime)
        return found is not None and (self.runtime.startswith("docker") or int(found[1]) < 2)


def node_facts(store: Store, node_of_instance: dict[str, str]) -> dict[str, NodeFacts]:
    """Node → what is known of its machine."""
    described = dict[str, str]()
    for row in store.rows("SELECT object FROM objects WHERE kind = 'Instance' ORDER BY file, item"):
        instance = dict_of(json_of(row["object"]))
        if instance.get("InstanceId") in node_of_instance:
            described[node_of_instance[instance["InstanceId"]]] = str(instance.get("InstanceType") or "")
    repaired, found = node_repair(store), dict[str, NodeFacts]()
    for row in store.rows("SELECT name, object FROM objects WHERE resource = 'nodes' ORDER BY file, item"):
        node = dict_of(json_of(row["object"]))
        labels = dict_of(dict_of(node.get("metadata")).get("labels"))
        info, group = dict_of(dict_of(node.get("status")).get("nodeInfo")), str(labels.get(NODE_GROUP) or "")
        found[str(row["name"])] = NodeFacts(
            str(info.get("osImage") or ""),
            str(info.get("containerRuntimeVersion") or ""),
            str(labels.get(INSTANCE_TYPE) or described.get(str(row["name"]), "")),
            group,
            repaired.get(group),
        )
    return found


def node_repair(store: Store) -> dict[str, bool]:
    """Managed node group → whether it replaces nodes that are not ready, for those that `aws eks describe-nodegroup` describes."""
    rows = store.rows("SELECT name, object FROM objects WHERE kind = 'Nodegroup' ORDER BY file, item")
    groups = {str(row["name"]): dict_of(json_of(row["object"])) for row in rows}
    return {name: dict_of(one.get("nodeRepairConfig")).get("enabled") is True for name, one in groups.items()}


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget: which pods of its namespace it counts, and how many may be missing, in its own words."""

    namespace: str
    name: str
    selector: dict[str, str]
    says: str

    def counts(self, namespace: str | None, labels: dict[str, str]) -> bool:
        """Whether it counts a pod of a namespace with these labels."""
        return namespace == self.namespace and bool(self.selector) and self.selector.items() <= labels.items()


def budgets(store: Store) -> list[Budget]:
    """The disruption budgets of the dump; what they select by expressions is not followed."""
    found = list[Budget]()
    for row in store.rows(
        "SELECT namespace, name, object FROM objects WHERE resource = 'poddisruptionbudgets' ORDER BY namespace, name"
    ):
        spec = dict_of(dict_of(json_of(row["object"])).get("spec"))
        selector = dict_of(dict_of(spec.get("selector")).get("matchLabels"))
        told = next((f"{name} {spec[name]}" for name in ("minAvailable", "maxUnavailable") if name in spec), "")
        found.append(Budget(str(row["namespace"]), str(row["name"]), selector, told))
    return found
