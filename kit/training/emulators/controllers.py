"""What controllers of a cluster do after a change: the VPC CNI's of network policies, and the one of load balancers.

Sources: aws/amazon-network-policy-controller-k8s, policyendpoint_types.go (whom a policy selects is written into a PolicyEndpoint, which the
nodes read; of policies the kit's own alone are followed here); kubernetes/cloud-provider, controllers/service (a Service that is no load
balancer any more has none in its status).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit.actions.pods import QUARANTINED
from kit.training.emulators.kubernetes_emulator import Call, KubernetesEmulator

GROUP = "networking.k8s.aws/v1alpha1"
POLICIES, ENDPOINTS, HANDED_ON = (
    "networkpolicies.networking.k8s.io",
    "policyendpoints.networking.k8s.aws",
    "quarantine-1",
)


def policy_endpoint(name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One PolicyEndpoint; a cluster with none has no such kind."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GROUP, "kind": "PolicyEndpoint", "metadata": metadata, "spec": spec}


def hands_on(emulator: KubernetesEmulator) -> Callable[[Call, str], None]:
    """After each call: the quarantine of each namespace, with the addresses of the pods that carry its label."""

    def follow(call: Call, phase: str) -> None:
        standing = [key.split("/") for key in emulator.objects("networkpolicies.", "policyendpoints.")]
        wanted = {space for kind, space, name in standing if kind == POLICIES and name == QUARANTINED}
        there = {space for kind, space, name in standing if kind == ENDPOINTS and name == HANDED_ON}
        for space in sorted(wanted):
            pods = emulator.objects(f"pods/{space}/").values()
            held = [one for one in pods if (one["metadata"].get("labels") or {}).get(QUARANTINED) == "true"]
            reached = [{"podIP": one["status"].get("podIP")} for one in held]
            spec = {"policyRef": {"name": QUARANTINED, "namespace": space}, "podSelectorEndpoints": reached}
            emulator.add(policy_endpoint(HANDED_ON, space, spec))
        for space in sorted(there - wanted):
            emulator.remove(f"{ENDPOINTS}/{space}/{HANDED_ON}")

    return follow


def takes_load_balancers_down(emulator: KubernetesEmulator) -> Callable[[Call, str], None]:
    """After each call: a Service of another type has no load balancer, at once; a cluster takes minutes."""

    def follow(call: Call, phase: str) -> None:
        for service in emulator.objects("services/").values():
            if service["spec"].get("type") != "LoadBalancer" and service.get("status", {}).get("loadBalancer"):
                emulator.add(service | {"status": {"loadBalancer": {}}})

    return follow
