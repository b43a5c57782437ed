"""What account, cluster and case hold at one moment of a lab, and what follows from it for the attacker and for service."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from kit.model.arn import compared
from kit.model.identity import SERVICE_ACCOUNT
from kit.training.calls import outcome
from kit.training.emulators.kubernetes_access import Access
from kit.training.emulators.kubernetes_documents import satisfied
from kit.training.emulators.kubernetes_kinds import Asked, Object, as_state
from kit.training.material import Material

ENDED_INSTANCE, _FINISHED = ("shutting-down", "terminated"), ("Succeeded", "Failed")
_FOR_ALL = ("authorization.k8s.io", "authentication.k8s.io")  # groups in which everybody may ask about themselves
_ANONYMOUS = "system:anonymous"


@dataclass(frozen=True)
class LabState:
    """What account, cluster and case hold at one moment.

    objects: by their keys in the emulator's state. aws: as kit.training.emulators.aws_state has it, {} of a recording. principals: who signs
    in through access entries or aws-auth, as the authenticator compares them. captured: names of the files that were captured.
    snapshots: instance → states of the snapshots of its volumes.
    """

    objects: Mapping[str, Object]
    principals: frozenset[str]
    aws: Mapping[str, Any] = field(default_factory=dict)
    captured: frozenset[str] = frozenset()
    snapshots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, resource: str) -> list[Object]:
        """The objects of one kind."""
        return [one for key, one in self.objects.items() if key.partition("/")[0].partition(".")[0] == resource]

    def at(self, place: str) -> Object | None:
        """The object at RESOURCE/NAMESPACE/NAME, the resource without its group."""
        found = (one for key, one in self.objects.items() if place_in_state(key) == place)
        return next(found, None)

    def pods_on(self, node: str) -> set[str]:
        """The keys of the pods on a node."""
        return {
            key for key, one in self.objects.items() if key.startswith("pods/") and one["spec"].get("nodeName") == node
        }

    def without(self, keys: set[str]) -> LabState:
        """The same without these objects."""
        return replace(self, objects={key: one for key, one in self.objects.items() if key not in keys})

    def instance(self, node: str) -> str:
        """The id of a node's instance."""
        known = self.objects.get(f"nodes//{node}", {}).get("spec", {}).get("providerID", "")
        return str(known.rpartition("/")[2])

    def is_up(self, node: str, instance: str) -> bool:
        """Whether a node stands, its instance runs, and something gets through to it."""
        known = self.aws.get("instances", {}).get(instance, {})
        if f"nodes//{node}" not in self.objects or known.get("state") in ENDED_INSTANCE:
            return False
        groups = {group for each in known.get("groups", {}).values() for group in each}
        listed = [self.aws["security_groups"][group] for group in groups]
        return not listed or any(one["ingress"] or one["egress"] for one in listed)

    def is_captured(self, name: str) -> bool:
        """Whether a file was captured that is named after a thing."""
        return any(name in file for file in self.captured)


def state_recorded(material: Material) -> LabState:
    """What a recording holds when a lab begins."""
    texts = material.texts
    entries = [
        json.loads(text)["accessEntry"]["principalArn"]
        for name, text in texts.items()
        if name.startswith("aws/eks-describe-access-entry-")
    ]
    objects = as_state(texts)
    return LabState(objects, frozenset(map(compared, entries)) | mapped_in(objects))


def mapped_in(objects: Mapping[str, Object]) -> frozenset[str]:
    """The principals that aws-auth maps."""
    data = (objects.get("configmaps/kube-system/aws-auth") or {}).get("data") or {}
    lines = [one for member in ("mapRoles", "mapUsers") for one in yaml.safe_load(data.get(member) or "[]")]
    return frozenset(compared(str(one.get("rolearn") or one.get("userarn"))) for one in lines)


def place_in_state(key: str) -> str:
    """RESOURCE/NAMESPACE/NAME of a key in the emulator's state, the resource without its group."""
    resource, _, rest = key.partition("/")
    return f"{resource.partition('.')[0]}/{rest.removeprefix('/')}"


def arns_of(event: Object) -> list[str]:
    """The ARNs that a caller signed in with."""
    return list((event["user"].get("extra") or {}).get("arn") or ())


def done_in_cluster(material: Material, name: str) -> Iterator[Object]:
    """What an identity of the attacker's did in the cluster, without what everybody may."""
    for event in material.hostile_events:
        about = event.get("objectRef") or {}
        counts = about.get("resource") and about.get("apiGroup", "") not in _FOR_ALL
        if event["user"]["username"] == name and counts and outcome(event) == "was let through":
            yield event


def may_still(events: list[Object], held: LabState) -> bool:
    """Whether an identity signs in and may do any of what it did."""
    for event in events:
        user = event["user"]
        name, arns = str(user["username"]), arns_of(event)
        if arns:
            if held.principals & set(map(compared, arns)):
                return True
            continue
        if name.startswith(SERVICE_ACCOUNT):
            account = held.objects.get(f"serviceaccounts/{name.removeprefix(SERVICE_ACCOUNT).replace(':', '/')}")
            if account is None or account["metadata"]["uid"] != user.get("uid"):
                continue
        elif name != _ANONYMOUS:
            continue
        if is_allowed(event, held):
            return True
    return False


def is_allowed(event: Object, held: LabState) -> bool:
    """Whether who made a call is let do it by what is bound now."""
    user, about = event["user"], event["objectRef"]
    members = ("apiGroup", "resource", "subresource", "namespace", "name")
    asked = Asked(event["verb"], *(str(about.get(member, "")) for member in members))
    who = {"username": str(user["username"]), "groups": user.get("groups") or []}
    return Access(held.objects, who, "", []).allows(asked)


def is_exposed(service: Object | None) -> bool:
    """Whether a Service is reached from the internet; not what is no Service, nor what is gone."""
    return (
        service is not None
        and service["kind"] == "Service"
        and service["spec"].get("type") in ("LoadBalancer", "NodePort")
    )


def pod_of(held: LabState, uid: str) -> Object | None:
    """The pod of a uid, None where it is gone."""
    return next((one for one in held.of("pods") if one["metadata"]["uid"] == uid), None)


def is_cut_off(pod: Object, held: LabState) -> bool:
    """Whether the policies of a pod let nothing in and nothing out, and are enforced.

    Sources: Kubernetes API reference, NetworkPolicy (policies add up); EKS User Guide, "Limit Pod traffic with Kubernetes network policies":
    the VPC CNI enforces none on a pod without an owner.
    """
    about = pod["metadata"]
    if not about.get("ownerReferences"):
        return False
    on = [
        one["spec"]
        for one in held.of("networkpolicies")
        if one["metadata"]["namespace"] == about["namespace"]
        and satisfied(_wanted(one["spec"].get("podSelector") or {}), about.get("labels") or {})
    ]
    return all(
        any(way in (one.get("policyTypes") or ()) for one in on) and not any(one.get(way.lower()) for one in on)
        for way in ("Ingress", "Egress")
    )


def _wanted(selector: Object) -> list[tuple[str, str, set[str]]]:
    wanted = [(key, "In", {value}) for key, value in (selector.get("matchLabels") or {}).items()]
    listed = selector.get("matchExpressions") or []
    return wanted + [(one["key"], one["operator"], set(one.get("values") or ())) for one in listed]


def services_up(held: LabState) -> list[str]:
    """The Services that have a pod which serves."""
    found = []
    for service in held.of("services"):
        selector, space = service["spec"].get("selector"), service["metadata"]["namespace"]
        behind = [
            one
            for one in held.of("pods")
            if selector
            and one["metadata"]["namespace"] == space
            and selector.items() <= (one["metadata"].get("labels") or {}).items()
            and one.get("status", {}).get("phase") not in _FINISHED
        ]
        if any(_serves(pod, held) for pod in behind):
            found.append(f"{space}/{service['metadata']['name']}")
    return sorted(found)


def _serves(pod: Object, held: LabState) -> bool:
    node = pod["spec"].get("nodeName")
    return not is_cut_off(pod, held) and (node is None or held.is_up(node, held.instance(node)))
