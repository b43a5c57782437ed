"""All actions by name, in the order in which a plan takes them.

Sources: GuardDuty User Guide "Remediating EKS Protection findings"; EKS Best Practices "Incident response and forensics"; IAM User Guide
"Revoking IAM role temporary security credentials"; Kubernetes "Network Policies", "Safely drain a node", "Kubelet Checkpoint API".
"""

from __future__ import annotations

from kit.actions import (
    bindings,
    cluster_access,
    cluster_endpoint,
    exposure,
    findings,
    iam,
    images,
    isolation,
    nodes,
    pods,
    principals,
    put_back,
    restarts,
    service_accounts,
    workloads,
)
from kit.actions.action import STAGES, Action

# Within a stage: what ends the attacker's work soonest comes first, and what others stand on (a node, an image in use) last.
_ORDER = {
    "freeze": (nodes, pods, workloads, put_back),
    "contain": (cluster_endpoint, exposure, workloads, isolation, pods, images, nodes, restarts),
    "revoke": (put_back, bindings, cluster_access, principals, iam, service_accounts, workloads),
    "capture": (pods, nodes, images),
    "eradicate": (workloads, pods, images, nodes),
    "recover": (workloads, put_back, findings),
}
ACTIONS: dict[str, Action] = {
    one.name: one for stage in STAGES for topic in _ORDER[stage] for one in topic.ACTIONS if one.stage == stage
}
"""All actions by name, in the order of a plan."""


def action_of(id_: str) -> Action | None:
    """The action that an id of a planned action names; None for one of another kit."""
    return ACTIONS.get(id_.rpartition("-")[0])
