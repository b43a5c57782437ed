"""How a pod is cut off from the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kit.actions.action import DRY, Action, Held, uid_checked
from kit.actions.effect import Effect
from kit.actions.pods import QUARANTINED, why_not_on_fargate
from kit.actions.target import PodParameters, Target
from kit.inventory.network_policies import Enforcer
from kit.inventory.node_kind import AUTO, node_kind_of
from kit.model.command_line import Command

LETS_NOTHING_THROUGH: dict[str, Any] = {
    "podSelector": {"matchLabels": {QUARANTINED: "true"}},
    "policyTypes": ["Egress", "Ingress"],
}
"""The spec of the policy that isolated pods share."""


def _isolate(target: Target, held: Held) -> list[Command]:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": QUARANTINED, "namespace": target.namespace},
        "spec": LETS_NOTHING_THROUGH,
    }
    label = Command(
        ("kubectl", "label", "--overwrite", "pod", target.name, "-n", target.namespace or "", f"{QUARANTINED}=true")
    )
    return [*uid_checked(label, target), Command(("kubectl", "apply", "-f", "-"), fed=json.dumps(policy))]


def _out_of_reach(target: Target, held: Held) -> str:
    if target.known(PodParameters).host_network:
        return "it is on its node's network, where no network policy reaches it: a quarantine of its node alone cuts it off"
    elsewhere = why_not_on_fargate(target, held)
    word, says = _enforcer(target, held)
    if elsewhere or word is not Enforcer.NOBODY:
        return elsewhere
    return f"a network policy would have no effect, as {says}, and plan again with a new dump, or quarantine its node"


def _enforcer(target: Target, held: Held) -> tuple[Enforcer, str]:
    """Who enforces network policies on a pod's node by the evidence, and what shows it."""
    node = target.known(PodParameters).node
    is_auto = bool(node) and node_kind_of(str(node), held.thing_at(f"nodes/{node}")) == AUTO
    return held.inventory.policy_facts.enforcer(is_auto)


def _untold(target: Target, held: Held) -> Iterator[str]:
    word, says = _enforcer(target, held)
    if word is Enforcer.NOT_TOLD:
        yield f"whether anything enforces network policies cannot be told: {says}"


def _person(target: Target) -> str:
    if target.namespace != "kube-system" or target.known(PodParameters).made_by_attacker:
        return ""
    return "it is the cluster's own service: without traffic names or addresses fail everywhere; look first whether a new one stands in for it"


ACTIONS = (
    Action("isolate_pod", "contain", "Give each pod a new label and deny all traffic to it and from it", "everything that calls the pod or that it calls",
           effects=(Effect.CUTS_POD_OFF,),
           undo="take the label off again and delete the network policy", kinds=("pod",), commands=_isolate,
           precondition="the pod with this uid stands, is not on the host network, and something in the cluster enforces network policies",
           permissions=("kubernetes:pods:get:{it}", "kubernetes:pods:list:{space}", "kubernetes:pods:patch:{it}", f"kubernetes:networking.k8s.io/networkpolicies:get:{{space}}{QUARANTINED}", "kubernetes:networking.k8s.io/networkpolicies:list:{space}",
                        "kubernetes:networking.k8s.io/networkpolicies:create:{space}", f"kubernetes:networking.k8s.io/networkpolicies:delete@undo:{{space}}{QUARANTINED}", "kubernetes:networking.k8s.aws/policyendpoints:list:{space}",
                        "kubernetes:apps/daemonsets:list", "kubernetes:configmaps:get:kube-system/amazon-vpc-cni", "node? kubernetes:nodes:get:{node}"),
           preview=DRY, check="a PolicyEndpoint of the VPC CNI names the pod's address; with another network, cannot tell",
           only_held=True, takes_out=True, impossible=_out_of_reach, person=_person, tells=_untold),
)  # fmt: skip
