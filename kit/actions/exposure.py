"""What is done to Services on the internet."""

from __future__ import annotations

import json
from typing import Any

from kit.actions.action import DRY, Action, Comes, Held
from kit.actions.effect import Effect
from kit.actions.target import Target
from kit.lenient import dicts_of
from kit.model.command_line import Command, kubectl

EXPOSED = ("LoadBalancer", "NodePort")
"""The types of Services that are reached from outside."""
_ONLY_EXPOSED = ("externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerSourceRanges", "loadBalancerIP")  # fmt: skip
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def made_internal(spec: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    """The merge patch that makes a Service internal: it keeps its address, its load balancer and its node ports go."""
    patch: dict[str, Any] = {"type": "ClusterIP"}
    if spec.get("type") in EXPOSED:
        patch |= {one: None for one in _ONLY_EXPOSED if one in spec}
        if spec.get("externalIPs"):
            patch.pop("externalTrafficPolicy", None)
        ports = dicts_of(spec.get("ports"))
        patch["ports"] = [{name: value for name, value in one.items() if name != "nodePort"} for one in ports]
    return {"spec": patch} | ({"metadata": {"annotations": {_RANGES: None}}} if _RANGES in annotations else {})


def _close(target: Target, held: Held) -> list[Command]:
    """Of a Service whose spec is in the evidence; how something else is taken off the internet depends on its controller."""
    thing = target.thing
    if not thing or thing.resource != "services" or thing.spec.get("type") not in EXPOSED:
        return []
    patch = made_internal(thing.spec, thing.annotations)
    patch["metadata"] = patch.get("metadata", {}) | {"uid": thing.uid}
    text = json.dumps(patch, separators=(",", ":"))
    return [kubectl("patch", "service", thing.name, thing.namespace, "--type", "merge", "-p", text)]


ACTIONS = (
    Action("close_exposure", "contain", "Take the Service off the internet", "whoever used it from outside", undo="open it again; a load balancer gets a new address", kinds=("exposed",), commands=_close,
           effects=(Effect.CLOSES_SERVICE,),
           precondition="address and access logs of the load balancer are noted",
           permissions=("kubernetes:services:get:{it}", "kubernetes:services:patch:{it}", "kubernetes:networking.k8s.io/ingresses:list:{space}"), preview=DRY, check="the Service is of type ClusterIP and has no ingress address",
           comes=Comes.BY_PLAYBOOK,
           ends=("created",)),
)  # fmt: skip
