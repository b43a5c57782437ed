"""Whether an action hits whoever runs the kit: by their identity in AWS and in the cluster, and by their address at the endpoint.

Sources: Kubernetes API reference, SelfSubjectReview; STS API reference, GetCallerIdentity; udp(7): a datagram socket that is connected has its
local address, and nothing is sent.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.lenient import dicts_of
from kit.live.connection import Connection
from kit.model.address import is_in
from kit.model.arn import principal_of
from kit.plan.plan import PlannedAction
from kit.words import Names, few


def about_you(live: Connection, planned: PlannedAction, services: Names) -> list[str]:
    """What a preview says of whoever runs it. services: those that the plan's actions call, so that there are clients for them."""
    if Effect.NARROWS_ENDPOINT in ACTIONS[planned.action].effects:
        return [_of_address(live, planned.parameters["keep"])] if planned.parameters.get("keep") else []
    names = list(dict.fromkeys(_hit(live, planned.parameters, services)))
    return [f"you are one of those that it hits: this command runs as {few(names, 2)}"] if names else []


def _hit(live: Connection, parameters: dict[str, Any], services: Names) -> Iterator[str]:
    """The names of whoever runs this that an action's parameters name too."""
    meant = principal_of(parameters.get("arn") or parameters.get("role"))
    caller = live.caller_if_known if any(one != "kubernetes" for one in services) else None
    if caller and meant and principal_of(caller) == meant:
        yield caller
    user = live.user if "kubernetes" in services else {}
    name = str(user.get("username") or "")
    if not name:
        return
    extra = user.get("extra") or {}
    arns = [*(extra.get("arn") or []), *(extra.get("canonicalArn") or [])]
    account = f"system:serviceaccount:{parameters.get('namespace')}:{parameters.get('name')}"
    if name in (parameters.get("user_name"), account) or (meant and meant in map(principal_of, arns)):
        yield name
    for one in dicts_of(parameters.get("remove")):
        space = one.get("namespace") or parameters.get("namespace")
        named = {"ServiceAccount": f"system:serviceaccount:{space}:{one.get('name')}"}
        if name == named.get(str(one.get("kind")), one.get("name")):
            yield name
        if one.get("kind") == "Group" and one.get("name") in (user.get("groups") or []):
            yield f"{name}, in group {one['name']}"


def _of_address(live: Connection, keep: list[str]) -> str:
    own = own_address(live)
    if own is None or not ip_address(own).is_global:
        seen = f"this machine has {own}" if own else "this machine has no way to it"
        return f"from which address the endpoint sees you cannot be told from here ({seen}): look it up, and see that it stays in"
    if is_in(own, [ip_network(one) for one in keep]):
        return f"your own address {own} stays in"
    return f"your own address {own} is not among those that stay: you would be shut out of the public endpoint"


def own_address(live: Connection) -> str | None:
    """The address of this machine from which it calls the API server; None where it has no way there."""
    host = urlsplit(live._api.configuration.host)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.hostname, host.port or 443, type=socket.SOCK_DGRAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as asked:
            asked.connect(place)
            return str(asked.getsockname()[0]).partition("%")[0]
    except OSError:
        return None
