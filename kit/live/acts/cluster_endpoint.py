"""The cluster's public endpoint narrowed to addresses that may stay, or switched off.

Sources: EKS API reference, UpdateClusterConfig (an update takes minutes; one at a time; a client request token makes it idempotent); EKS
User Guide "Cluster API server endpoint": without private access nodes come in by their public addresses.
"""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.changes.aws_change import AwsCall, EksUpdate
from kit.live.changes.change import Change, State
from kit.live.changes.objects import url_path
from kit.live.connection import Connection
from kit.live.errors import LiveError
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

_EVERYBODY = "0.0.0.0/0"


@dataclass(frozen=True)
class NarrowEndpoint(EksUpdate):
    """Who may reach the public endpoint. cidrs: [] switches it off. token: makes the same request twice one update."""

    cluster: str
    cidrs: list[str]
    token: str

    @property
    def updated(self) -> str:
        return f"cluster {self.cluster}"

    @property
    def says(self) -> str:
        if not self.cidrs:
            return f"switch off the public endpoint of cluster {self.cluster}; from then on you have to be inside its VPC, or connected to it"
        return f"let only {', '.join(self.cidrs)} reach the public endpoint of cluster {self.cluster}"

    def look(self, live: Connection) -> State:
        cluster = live.read("eks", "describe_cluster", name=self.cluster)["cluster"]
        said = cluster["resourcesVpcConfig"]
        state = {
            "status": cluster["status"],
            "public": bool(said["endpointPublicAccess"]),
            "private": bool(said["endpointPrivateAccess"]),
            "cidrs": sorted(said.get("publicAccessCidrs") or [_EVERYBODY]),
        }
        return state | ({"pending": self._is_pending(live)} if state["status"] == "UPDATING" else {})

    def _is_pending(self, live: Connection) -> bool | None:
        """Whether the update that runs is to the wanted configuration; None where EKS may not be asked."""
        try:
            for id_ in live.pages("eks", "list_updates", "updateIds", name=self.cluster):
                update = live.read("eks", "describe_update", name=self.cluster, updateId=id_)["update"]
                if update["status"] == "InProgress" and update["type"] in ("EndpointAccessUpdate", "VpcConfigUpdate"):
                    said = {one["type"]: one["value"] for one in update.get("params") or []}
                    if not self.cidrs:
                        return bool(said.get("EndpointPublicAccess", "").lower() == "false")
                    named = said.get("PublicAccessCidrs", "").strip("[]").split(",")
                    return sorted(one.strip(" '\"") for one in named) == sorted(self.cidrs)
        except LiveError:
            return None
        return False

    def refuses(self, state: State) -> str:
        if state is None:
            return f"there is no cluster {self.cluster}"
        if self.cidrs and not state["public"]:
            return "the public endpoint is off: this would open it"
        if not self.cidrs and not state["private"]:
            return "private access is off: nobody could reach the cluster any more"
        opened = [one for one in self.cidrs if not _inside(one, state["cidrs"])]
        return f"{', '.join(opened)} cannot reach the endpoint now: this would open it" if opened else ""

    def holds(self, state: State) -> bool:
        return state is not None and (bool(state.get("pending")) or self.is_so(state))

    def is_so(self, state: dict[str, Any]) -> bool:
        """Whether the configuration is as wanted, no update running to it."""
        if not self.cidrs:
            return not state["public"]
        return bool(state["public"]) and state["cidrs"] == sorted(self.cidrs)

    def is_as_before(self, before: State, now: State) -> bool:
        same = before is not None and now is not None and all(before[one] == now[one] for one in ("public", "cidrs"))
        return same and (now or {}).get("pending", False) is not None

    def is_restored(self, before: State, now: State) -> bool:
        return self.is_as_before(before, now) and (now or {})["status"] != "UPDATING"

    def _update(self, token: str, public: bool, cidrs: list[str]) -> AwsCall:
        # Private access is not named: it stays as it is.
        wanted: dict[str, Any] = {"endpointPublicAccess": public} | ({"publicAccessCidrs": cidrs} if public else {})
        named = {"name": self.cluster, "resourcesVpcConfig": wanted, "clientRequestToken": token}
        return "update_cluster_config", named

    def call(self, state: State) -> AwsCall:
        return self._update(self.token, bool(self.cidrs), self.cidrs)

    def back(self, before: State, after: State) -> AwsCall:
        """With a token of its own each time: an update that failed is the answer to its token for ever."""
        assert before is not None
        return self._update(uuid.uuid4().hex, before["public"], before["cidrs"])


def _addresses(host: str) -> list[str]:
    """The addresses that a host's name has, as this machine resolves it."""
    try:
        return sorted({str(one[4][0]).partition("%")[0] for one in socket.getaddrinfo(host, None)})
    except OSError:
        return []


def _is_outside(live: Connection) -> str:
    """Why the public endpoint must not be switched off from here, "" when the kit itself comes in by the private one.

    The name of an endpoint has private addresses inside the VPC and in what is connected to it. Source: EKS User Guide, "Cluster API server
    endpoint"."""
    host = urlsplit(live.api.configuration.host).hostname or ""
    found = _addresses(host)
    if found and not any(ip_address(one).is_global for one in found):
        return ""
    seen = f"it is {', '.join(found)} from here" if found else f"{host} cannot be resolved from here"
    return f"this command reaches the API server by its public endpoint ({seen}): it would lock itself out. Run it inside the VPC, or keep your own address with --keep-address"


def _inside(cidr: str, whole: list[str]) -> bool:
    one = ip_network(cidr)
    every = [ip_network(each) for each in whole]
    return any(one.version == each.version and one.subnet_of(each) for each in every)  # type: ignore[arg-type]


def _ways_out(live: Connection) -> list[str]:
    """The public addresses by which nodes and Fargate pods leave: of the VPC's NAT gateways, and their own."""
    filters = [{"Name": "vpc-id", "Values": [live.described["resourcesVpcConfig"]["vpcId"]]}]
    gateways = live.pages("ec2", "describe_nat_gateways", "NatGateways", Filters=filters)
    found = {
        address["PublicIp"]
        for one in gateways
        if one["State"] == "available"
        for address in one.get("NatGatewayAddresses") or []
        if address.get("PublicIp")
    }
    nodes = live.listed(url_path("nodes", None))
    own = {
        address["address"]
        for node in nodes
        for address in node.get("status", {}).get("addresses") or []
        if address["type"] == "ExternalIP"
    }
    return sorted(found | own)


def _cannot_narrow(live: Connection, planned: PlannedAction) -> str:
    keep = planned.parameters.get("keep")
    if keep is None:
        return "which addresses may stay is not said"
    try:
        networks = [ip_network(one) for one in keep]
    except ValueError as error:
        return f"{error}: an address block is written like 203.0.113.7/32"
    if any(one.prefixlen == 0 for one in networks):
        return "this lets everybody in: name your own addresses"
    if not keep and _is_outside(live):
        return _is_outside(live)
    if (
        not keep
        or live.read("eks", "describe_cluster", name=live.cluster)["cluster"]["resourcesVpcConfig"][
            "endpointPrivateAccess"
        ]
    ):
        return ""
    out = _ways_out(live)
    left = [one for one in out if not _inside(one, keep)]
    if left:
        return f"private access is off, and nodes come in by {', '.join(left)}: keep these too, or switch private access on first"
    if not out:
        return "private access is off, and by which addresses the nodes come in is not seen: switch private access on first"
    return ""


def _narrowing(live: Connection, planned: PlannedAction) -> list[Change]:
    return [NarrowEndpoint(str(live.cluster), list(planned.parameters["keep"]), uuid.uuid4().hex)]


def _is_narrow(live: Connection, planned: PlannedAction) -> Check:
    change = NarrowEndpoint(str(live.cluster), list(planned.parameters["keep"]), "")
    state = change.look(live) or {}
    if state["status"] == "UPDATING":
        return Check(
            CANNOT_TELL, "the update is in progress, which takes minutes: check again when the cluster is ACTIVE"
        )
    if not change.is_so(state):
        return Check(DOES_NOT_HOLD, f"not seen: {change.says}")
    try:
        live.kubernetes("GET", "/version")
    except LiveError as error:
        return Check(
            DOES_NOT_HOLD,
            f"the endpoint is narrowed, and this command cannot reach it any more ({error.says}); `kit undo CASE --only narrow_endpoint` opens it again",
        )
    return Check(HOLDS, "the endpoint is narrowed, and this command still reaches it")


act("narrow_endpoint", changes=_narrowing, refuses=_cannot_narrow, check=_is_narrow)
