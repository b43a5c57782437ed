"""What enforces the network policies of a cluster: told by its DaemonSets, the settings of the VPC CNI and the kind of a pod's node.

Sources: EKS User Guide "Limit Pod traffic with Kubernetes network policies" (the node agent's argument, the ConfigMap of the controller) and
"Use Network Policies with EKS Auto Mode"; Kubernetes "Network Policies" (they do nothing where no network plugin implements them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kit.lenient import dict_of, dicts_of, found_at, json_of, list_of
from kit.store.store import Store


class Enforcer(StrEnum):
    """Who enforces network policies."""

    VPC_CNI = "VPC CNI"
    OTHER = "other"
    NOBODY = "nobody"
    NOT_TOLD = "unknown"


SETTINGS = ("kube-system", "amazon-vpc-cni")
"""Namespace and name of the ConfigMap that switches the network policy controller on."""
_OTHERS = ("calico-node", "canal", "cilium", "antrea-agent", "kube-router", "weave-net")
_NODE_AGENT, _ENFORCES = "aws-eks-nodeagent", "--enable-network-policy=true"


def enforcer_of(
    daemon_sets: Iterable[dict[str, Any]],
    settings: Callable[[], dict[str, Any] | None],
    is_auto: Callable[[], bool],
) -> tuple[Enforcer, str]:
    """Who enforces network policies on a node, and what shows it. daemon_sets: all of the cluster.

    settings: asks for the ConfigMap of SETTINGS, {} where there is none, None where that cannot be told. is_auto: asks whether the node is of EKS Auto Mode.
    """
    by_name = {str(found_at(one, "metadata", "name")): one for one in daemon_sets}
    other = next((name for name in _OTHERS if name in by_name), None)
    if other:
        return Enforcer.OTHER, f"DaemonSet {other} enforces network policies"
    node_agent = by_name.get("aws-node")
    if not _is_on(node_agent) and not is_auto():
        if node_agent is None:
            return Enforcer.NOT_TOLD, "no DaemonSet is known to enforce network policies"
        return (
            Enforcer.NOBODY,
            "the VPC CNI does not enforce network policies here: set enableNetworkPolicy of its add-on",
        )
    known = settings()
    if known is None:
        return Enforcer.VPC_CNI, "the VPC CNI's node agent enforces network policies"
    if dict_of(known.get("data")).get("enable-network-policy-controller") != "true":
        return (
            Enforcer.NOBODY,
            f"the network policy controller is off: set enable-network-policy-controller in ConfigMap {'/'.join(SETTINGS)}",
        )
    return Enforcer.VPC_CNI, "the VPC CNI enforces network policies"


def _is_on(node_agent: dict[str, Any] | None) -> bool:
    containers = dicts_of(found_at(node_agent, "spec", "template", "spec", "containers"))
    agents = [one for one in containers if one.get("name") == _NODE_AGENT]
    return any(_ENFORCES in map(str, list_of(one.get("args"))) for one in agents)


@dataclass(frozen=True)
class PolicyFacts:
    """What a dump says of it. daemon_sets, settings: None where the dump has no such objects."""

    daemon_sets: list[dict[str, Any]] | None
    settings: dict[str, Any] | None

    def enforcer(self, is_auto: bool) -> tuple[Enforcer, str]:
        """Who enforces network policies on a node, and what shows it."""
        if self.daemon_sets is None:
            return Enforcer.NOT_TOLD, "no evidence has the cluster's DaemonSets"
        return enforcer_of(self.daemon_sets, lambda: self.settings, lambda: is_auto)


def policy_facts(store: Store, is_dumped: Callable[[str, str | None], bool]) -> PolicyFacts:
    """What a case's dump says of it. is_dumped: whether the dump would have an object of a resource and namespace."""
    space, name = SETTINGS
    sets = _last(store, "daemonsets") if is_dumped("daemonsets", space) else None
    settings = _last(store, "configmaps", name) if is_dumped("configmaps", space) else None
    return PolicyFacts(sets, None if settings is None else next(iter(settings), {}))


def _last(store: Store, resource: str, name: str | None = None) -> list[dict[str, Any]]:
    """The objects of a resource, of several dumps each as it was last."""
    rows = store.rows(
        "SELECT object FROM objects WHERE resource = $resource AND uid IS NOT NULL AND name = coalesce($name::VARCHAR, name)"
        " ORDER BY namespace, name, file, item",
        resource=resource,
        name=name,
    )
    found = sorted((dict_of(json_of(row["object"])) for row in rows), key=_version)
    return list(
        {(found_at(one, "metadata", "namespace"), found_at(one, "metadata", "name")): one for one in found}.values()
    )


def _version(thing: dict[str, Any]) -> int:
    written = str(found_at(thing, "metadata", "resourceVersion"))
    return int(written) if written.isascii() and written.isdigit() else 0
