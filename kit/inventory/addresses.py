"""The cluster's own addresses: of its nodes and pods, of its way out to the internet, and of its control plane, each with what shows it.

Sources: Kubernetes API reference (NodeStatus.addresses, PodStatus.podIPs); "Leases" (a kubelet renews its own every ten seconds);
EKS User Guide "Cluster endpoint access" (without a private endpoint nodes and pods come through the NAT gateway).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from ipaddress import ip_address, ip_network

import orjson

from kit.inventory.inventory import Inventory
from kit.model.arn import instance_of
from kit.model.identity import NODE
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.queries import groups
from kit.store.store import Store

CONTROL_PLANE = ("system:apiserver", "system:kube-controller-manager", "system:kube-scheduler")
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
_ENOUGH_NODES = (
    2  # whose credentials one address used: a stolen one is used from elsewhere, but not with its neighbour's
)


class Addresses:
    """The cluster's own addresses. What comes from them may be anybody inside; what does not comes from outside."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory

    @cached_property
    def own(self) -> dict[str, Why]:
        """Addresses of nodes and pods, and those that kubelets come from: address → what shows it."""
        found = dict[str, Why]()
        for thing in self.inventory.of("nodes", "pods"):
            for address in filter(_is_of_a_network, thing.addresses):
                ref = thing.why[0].ref if thing.why else Ref.of("object", thing.uid)
                found.setdefault(address, Why(ref, f"{address} is an address of {thing.path}"))
        for row in self.store.rows("SELECT uid, object FROM objects WHERE kind = 'Instance'"):
            instance = orjson.loads(row["object"])
            for name in ("PrivateIpAddress", "PublicIpAddress"):
                if instance.get(name) and instance.get("InstanceId") in self.inventory.node_of_instance:
                    says = f"{instance[name]} is an address of instance {instance['InstanceId']}"
                    found.setdefault(str(instance[name]), Why(Ref.of("aws", str(row["uid"])), says))
        return found | self._of_kubelets | self.way_out

    @cached_property
    def _of_kubelets(self) -> dict[str, Why]:
        """Of each node the address that most renewals of its lease come from; a stolen credential is used for other things."""
        renewed = defaultdict[str, list[tuple[int, str, str]]](list)
        for row in groups(
            self.store,
            "audit",
            ("user_name", "source_address"),
            "resource = 'leases' AND verb IN ('update', 'patch') AND starts_with(user_name, $prefix)"
            " AND source_address IS NOT NULL AND response_code BETWEEN 200 AND 299",
            prefix=NODE,
        ):
            renewed[row["user_name"]].append((row["calls"], row["source_address"], row["first"]["audit_id"]))
        found = dict[str, Why]()
        for user, places in renewed.items():
            renewals, address, audit_id = max(places)
            says = f"the kubelet of {user.removeprefix(NODE)} renews its lease from {address} ({renewals} times)"
            found.setdefault(address, Why(Ref.of("audit", audit_id), says))
        return found

    @cached_property
    def way_out(self) -> dict[str, Why]:
        """Addresses from which the credentials of several nodes' instances called AWS: the cluster's way out to it."""
        seen = defaultdict[str, dict[str, str]](dict)
        where = "arn LIKE 'arn:%:assumed-role/%/i-%' AND source_address IS NOT NULL"
        for row in groups(self.store, "trail", ("source_address", "arn"), where):
            instance = instance_of(row["arn"])
            if instance in self.inventory.node_of_instance:
                seen[row["source_address"]][instance] = row["first"]["event_id"]
        return {
            address: Why(
                Ref.of("trail", min(instances.values())),
                f"{len(instances)} nodes of the cluster call AWS from {address}",
            )
            for address, instances in seen.items()
            if len(instances) >= _ENOUGH_NODES
        }

    @cached_property
    def control_plane(self) -> frozenset[str]:
        """Where the API server, the controller manager and the scheduler mostly call from; empty when the log has none of them."""
        calls = defaultdict[str, Counter[str]](Counter)
        for row in self.store.rows(
            f"SELECT user_name, source_address, sum(calls)::BIGINT AS calls FROM {self.store.callers} WHERE list_contains($users, user_name)"
            " AND source_address IS NOT NULL GROUP BY user_name, source_address",
            users=list(CONTROL_PLANE),
        ):
            calls[row["user_name"]][row["source_address"]] = row["calls"]
        several = Counter(address for of_one in calls.values() for address in of_one)
        mostly = {address for of_one in calls.values() for address, _ in of_one.most_common(1)}
        return frozenset(mostly | {address for address, users in several.items() if users > 1})


def is_private(address: str) -> bool:
    """Whether an address is of a private network (RFC 1918, 6598, 4193): some node or pod that no evidence shows may have it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _PRIVATE if network.version == parsed.version)


def _is_of_a_network(address: str) -> bool:
    """Whether an address in a status may be the cluster's. Whoever has a node's credential writes the status of its pods, and could
    clear its own address so; pods have public IPv4 addresses nowhere, and nodes' stand in `aws ec2 describe-instances` too."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.version == 6 or not parsed.is_global
