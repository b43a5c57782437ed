"""Whoever runs the kit, as AWS and the cluster see them: whether an action hits them, or would end their own way in.

Sources: Kubernetes API reference, SelfSubjectReview; STS API reference, GetCallerIdentity; udp(7): a datagram socket that is connected has its
local address, and nothing is sent.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.live.connection import Connection
from kit.model.address import is_in
from kit.plan.plan import PlannedAction
from kit.plan.responder import Responder
from kit.words import Names, few


class Yourself:
    """Whoever runs this command. services: those that the plan's actions call, so that there are clients for them."""

    def __init__(self, live: Connection, services: Names) -> None:
        self.live = live
        in_aws = any(one != "kubernetes" for one in services)
        caller = live.caller_if_known if in_aws else None
        user = live.user if "kubernetes" in services else {}
        extra = user.get("extra") or {}
        self._known = Responder(
            tuple(dict.fromkeys(filter(None, [caller, *(extra.get("arn") or []), *(extra.get("canonicalArn") or [])]))),
            str(user.get("username") or ""),
            tuple(user.get("groups") or ()),
            live.access_key_id if caller else "",
        )

    def shut_out_by(self, planned: PlannedAction) -> str:
        """Why an action would end the way in of whoever runs this; "" where it does not, as far as can be told."""
        if Effect.NARROWS_ENDPOINT not in ACTIONS[planned.action].effects:
            return self._known.shut_out_by(planned)
        own = own_address(self.live)
        return Responder(addresses=(own,)).left_outside(planned) if own and ip_address(own).is_global else ""

    def told(self, planned: PlannedAction) -> list[str]:
        """What a preview says of whoever runs this."""
        if Effect.NARROWS_ENDPOINT in ACTIONS[planned.action].effects:
            return [self._of_address(planned.parameters["keep"])] if planned.parameters.get("keep") else []
        names = self._known.named_in(planned.parameters)
        return [f"you are one of those that it hits: this command runs as {few(names, 2)}"] if names else []

    def _of_address(self, keep: list[str]) -> str:
        own = own_address(self.live)
        if own is None or not ip_address(own).is_global:
            seen = f"this machine has {own}" if own else "this machine has no way to it"
            return f"from which address the endpoint sees you cannot be told from here ({seen}): look it up, and see that it stays in"
        if is_in(own, [ip_network(one) for one in keep]):
            return f"your own address {own} stays in"
        return f"your own address {own} is not among those that stay"


def own_address(live: Connection) -> str | None:
    """The address of this machine from which it calls the API server; None where it has no way there."""
    host = urlsplit(live.api.configuration.host)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.hostname, host.port or 443, type=socket.SOCK_DGRAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as asked:
            asked.connect(place)
            return str(asked.getsockname()[0]).partition("%")[0]
    except OSError:
        return None
