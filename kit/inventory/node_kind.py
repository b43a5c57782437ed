"""What kind of node a node is: who starts and ends its instance decides what may be done to it.

Sources: EKS User Guide, "Manage compute", labels of managed node groups, Auto Mode, Fargate and hybrid nodes; Karpenter, "Disruption".
"""

from __future__ import annotations

import re

from kit.inventory.thing import Thing

MANAGED, OWN_GROUP, KARPENTER, AUTO, FARGATE, HYBRID, UNKNOWN = (
    "managed",
    "own_group",
    "karpenter",
    "auto",
    "fargate",
    "hybrid",
    "unknown",
)
NODE_KIND_WORDS = {
    MANAGED: "a node of a managed node group",
    OWN_GROUP: "a node of an Auto Scaling group of your own",
    KARPENTER: "a node that Karpenter started",
    AUTO: "a node of EKS Auto Mode",
    FARGATE: "a Fargate node, which is one pod's alone and has no instance of yours",
    HYBRID: "a hybrid node, which is your own machine and no EC2 instance",
    UNKNOWN: "a node whose kind no evidence tells",
}


def node_kind_of(name: str, node: Thing | None) -> str:
    """The kind of a node by its labels, its provider id and its name; `unknown` where none of them tells."""
    labels = node.labels if node else {}
    provider = str(node.spec.get("providerID", "")) if node else ""
    compute = labels.get("eks.amazonaws.com/compute-type")
    if compute in (FARGATE, AUTO, HYBRID):
        return compute
    if name.startswith("fargate-"):
        return FARGATE
    if provider.startswith("eks-hybrid:") or re.fullmatch(r"mi-[0-9a-f]{17}", name):
        return HYBRID
    if "karpenter.sh/nodepool" in labels or "karpenter.sh/provisioner-name" in labels:
        return KARPENTER
    if "eks.amazonaws.com/nodegroup" in labels:
        return MANAGED
    return OWN_GROUP if labels and provider.startswith("aws:") else UNKNOWN
