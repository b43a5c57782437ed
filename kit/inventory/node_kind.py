"""What kind of node a node is: who starts and ends its instance decides what may be done to it.

Sources: EKS User Guide, "Manage compute", labels of managed node groups, Auto Mode, Fargate and hybrid nodes; Karpenter, "Disruption".
"""

from __future__ import annotations

import re
from typing import Final, Literal

from kit.inventory.thing import Thing

NodeKind = Literal["managed", "own_group", "karpenter", "auto", "fargate", "hybrid", "unknown"]
MANAGED: Final = "managed"
OWN_GROUP: Final = "own_group"
KARPENTER: Final = "karpenter"
AUTO: Final = "auto"
FARGATE: Final = "fargate"
HYBRID: Final = "hybrid"
UNKNOWN: Final = "unknown"
NODE_KIND_WORDS: dict[NodeKind, str] = {
    MANAGED: "a node of a managed node group",
    OWN_GROUP: "a node of an Auto Scaling group of your own",
    KARPENTER: "a node that Karpenter started",
    AUTO: "a node of EKS Auto Mode",
    FARGATE: "a Fargate node, which is one pod's alone and has no instance of yours",
    HYBRID: "a hybrid node, which is your own machine and no EC2 instance",
    UNKNOWN: "a node whose kind no evidence tells",
}
WITHOUT_INSTANCE: dict[str, str] = {
    FARGATE: f"{NODE_KIND_WORDS[FARGATE]}: isolate and delete its pod",
    HYBRID: f"{NODE_KIND_WORDS[HYBRID]}: keep it, cut it off and switch it off where it stands",
}
"""Kind of node without an instance in EC2 → what it is, and what is done instead."""
_BY_PLAN = "capture first, then replace by the plan"
HELD_NODE: dict[NodeKind, str] = {
    MANAGED: _BY_PLAN,
    OWN_GROUP: _BY_PLAN,
    UNKNOWN: _BY_PLAN,
    KARPENTER: "capture the volumes, then delete the Node object: Karpenter ends the instance",
    AUTO: "capture the volumes, then delete the Node object: EKS Auto Mode ends the instance, which nobody else can cut off",
    FARGATE: "keep what kubectl shows of its pod, then delete the pod: the Fargate node goes with it",
    HYBRID: "keep your own machine, cut it off and switch it off where it stands",
}
"""Kind of node → what is done with one that the attacker holds."""
BY_KARPENTER: tuple[NodeKind, ...] = (KARPENTER, AUTO)
"""Kinds of node that Karpenter's code, or EKS Auto Mode's of the same manner, starts and replaces."""
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
"""The annotation by which Karpenter leaves a node alone: no consolidation, no drift."""
NOT_SCALED_DOWN = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
"""The annotation by which the Cluster Autoscaler leaves a node alone, which scale-in protection does not do."""
COMPUTE_TYPE = "eks.amazonaws.com/compute-type"
NODE_GROUP = "eks.amazonaws.com/nodegroup"
KARPENTER_LABELS = frozenset({"karpenter.sh/nodepool", "karpenter.sh/provisioner-name"})


def node_kind_of(name: str, node: Thing | None) -> NodeKind:
    """The kind of a node by its labels, its provider id and its name; `unknown` where none of them tells."""
    labels = node.labels if node else {}
    provider = str(node.spec.get("providerID", "")) if node else ""
    compute = labels.get(COMPUTE_TYPE)
    if compute == AUTO:
        return AUTO
    if compute == FARGATE or name.startswith("fargate-"):
        return FARGATE
    if compute == HYBRID or provider.startswith("eks-hybrid:") or re.fullmatch(r"mi-[0-9a-f]{17}", name):
        return HYBRID
    if KARPENTER_LABELS & labels.keys():
        return KARPENTER
    if NODE_GROUP in labels:
        return MANAGED
    return OWN_GROUP if labels and provider.startswith("aws:") else UNKNOWN
