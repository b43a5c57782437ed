"""What the evidence says of a node that whoever approves an action on it has to know: who else ends it, which disk no snapshot has, what runs on it.

Sources: EKS User Guide "Node auto repair" (30 minutes not ready; always on in Auto Mode, off by default elsewhere); Karpenter "Disruption",
node-level controls; Cluster Autoscaler FAQ (scale-down-disabled); EC2 User Guide "Instance store"; Kubernetes "Taint based evictions" (300 s).
"""

from __future__ import annotations

from collections.abc import Iterator

from kit.actions.action import Held
from kit.actions.target import NodeParameters, Target
from kit.inventory.node_facts import NodeFacts
from kit.inventory.node_kind import AUTO, BY_KARPENTER, MANAGED
from kit.inventory.thing import Thing
from kit.words import few

_MOST = 4  # names that are written out


def _facts(target: Target, held: Held) -> NodeFacts:
    return held.inventory.node_facts.get(target.key, NodeFacts())


def who_ends_it(target: Target, held: Held) -> Iterator[str]:
    """Whoever ends the node by itself, whatever protects its instance."""
    kind = target.known(NodeParameters).node_kind
    if kind == AUTO:
        yield "EKS Auto Mode replaces a node that is not ready for 30 minutes, and nobody can switch that off: have its disk captured by then"
    if kind in BY_KARPENTER:
        yield "the annotation stops consolidation and drift alone: a node still ends when it expires, is interrupted, is repaired or is deleted"
    else:
        yield "scale-in protection does not stop the Cluster Autoscaler, which ends idle and unready nodes: the annotation does"


def which_disk_is_lost(target: Target, held: Held) -> Iterator[str]:
    """The disks of the node that no snapshot has."""
    facts = _facts(target, held)
    if facts.has_instance_store:
        yield f"instance type {facts.instance_type} has an instance store, which is in no snapshot: copy what lies on it while the instance runs"


def what_a_cut_off_node_does(target: Target, held: Held) -> Iterator[str]:
    """What follows when the kubelet cannot be reached any more."""
    facts = _facts(target, held)
    if target.known(NodeParameters).node_kind == MANAGED and facts.repairs is None:
        group = facts.node_group or "of the node"
        yield f"no evidence says whether node repair of node group {group} is on, which replaces the node after 30 minutes: `aws eks describe-nodegroup` tells"
    yield "after five minutes without its kubelet the pods on it are marked for deletion: their tokens end, Deployments start new ones, StatefulSets wait; after an undo the kubelet ends what was kept"
    yield from what_runs_on_it(target, held)


def what_runs_on_it(target: Target, held: Held) -> Iterator[str]:
    """Workloads of which the node has the only pod, and the disruption budgets of its pods."""
    inventory = held.inventory
    pods = [pod for pod in inventory.pods if pod.standing is not False and pod.node == target.key]
    alone = sorted({path for pod in pods if (path := _only_pod_of(pod, held))})
    if alone:
        yield f"it has the only pod of {few(alone, _MOST)}"
    budgets = {
        f"{one.namespace}/{one.name} ({one.says})"
        for one in inventory.budgets
        if any(one.counts(pod.namespace, pod.labels) for pod in pods)
    }
    if budgets:
        yield f"disruption budgets that count its pods: {few(sorted(budgets), _MOST)}"


def _only_pod_of(pod: Thing, held: Held) -> str:
    """The workload that has this one pod, "" when it has others or is not known."""
    for owner in held.inventory.owners(pod)[-1:]:
        for workload in held.inventory.named(owner.resource, pod.namespace, owner.name):
            if workload.standing is not False and workload.spec.get("replicas") == 1:
                return workload.path
    return ""
