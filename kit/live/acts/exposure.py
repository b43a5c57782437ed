"""The end of a Service's exposure: it keeps its address inside the cluster, and its load balancer and node ports go.

Sources: Kubernetes "Service" (types; a load balancer is made and removed by the cloud's controller) and the API server's validation (node
ports, source ranges, externalTrafficPolicy and the load balancer's class belong to exposed types only).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from kit.actions.exposure import EXPOSED, made_internal
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.acts.cluster import found, meant, title
from kit.live.changes.change import State
from kit.live.changes.objects import EditObject, url_path
from kit.live.connection import Connection
from kit.live.errors import Conflict, Failed, LiveError, Refused
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL


@dataclass(frozen=True)
class CloseService(EditObject):
    """A Service made internal. Its ports on the nodes may be another's when it is opened again: then it gets new ones."""

    def undo(self, live: Connection, before: State, after: State) -> str:
        try:
            return super().undo(live, before, after)
        except Failed as error:
            if error.code != "422" or isinstance(error, Conflict):
                raise
        again = copy.deepcopy(before or {})
        again["fields"]["spec"].pop("healthCheckNodePort", None)
        for port in again["fields"]["spec"].get("ports") or []:
            port.pop("nodePort", None)
        return super().undo(live, again, after)


def _close(live: Connection, planned: PlannedAction) -> list[CloseService]:
    if planned.parameters["resource"] != "services":
        raise Refused(
            f"for a person: how {planned.parameters['resource']} are taken off the internet depends on their controller"
        )
    service, wanted = meant(live, planned), planned.parameters.get("type")
    metadata, spec = service["metadata"], service.get("spec", {})
    kind, ports = spec.get("type"), spec.get("ports") or []
    if kind not in (*EXPOSED, "ClusterIP"):
        raise Refused(f"Service {title(service)} is of type {kind}: it leads elsewhere and exposes nothing of its own")
    if wanted and kind not in (wanted, "ClusterIP"):
        raise Refused(f"Service {title(service)} is of type {kind}, planned was {wanted}")
    whole = made_internal(spec, metadata.get("annotations") or {})
    expected = {"spec": {"type": kind, "ports": ports}} if kind != "ClusterIP" else {}
    doing = f"take off the internet, {kind} to ClusterIP (an undo opens it again, a load balancer with a new address):"
    return [CloseService("services", metadata["namespace"], metadata["name"], metadata["uid"], whole, expected, doing)]


def _closed(live: Connection, planned: PlannedAction) -> Check:
    space, name = planned.parameters["namespace"], planned.parameters["name"]
    what, service = f"Service {space}/{name}", found(live, "services", space, name)
    if service is None:
        return Check(HOLDS, f"{what} is gone")
    spec = service.get("spec", {})
    if spec.get("type") in EXPOSED:
        return Check(DOES_NOT_HOLD, f"{what} is of type {spec['type']} again: somebody opened it")
    if spec.get("externalIPs"):
        return Check(DOES_NOT_HOLD, f"{what} still has external addresses: {', '.join(spec['externalIPs'])}")
    left = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    if left:
        where = ", ".join(str(one.get("hostname") or one.get("ip")) for one in left)
        return Check(
            CANNOT_TELL, f"{what} is closed, its load balancer {where} is still being removed: look again in minutes"
        )
    try:
        ways = [title(one) for one in live.listed(url_path("ingresses", space)) if _leads_to(one, name)]
    except LiveError as error:
        return Check(CANNOT_TELL, f"{what} is closed; whether an Ingress leads to it cannot be read: {error.says}")
    if ways:
        return Check(DOES_NOT_HOLD, f"{what} is closed, but these Ingresses lead to it: {', '.join(ways)}")
    return Check(
        HOLDS, f"{what} is reached inside the cluster only; undo would open it with a new load balancer address"
    )


def _leads_to(ingress: dict[str, Any], name: str) -> bool:
    spec = ingress.get("spec", {})
    paths = [one for rule in spec.get("rules") or [] for one in (rule.get("http") or {}).get("paths") or []]
    backends = [spec.get("defaultBackend") or {}, *(one.get("backend") or {} for one in paths)]
    return any((one.get("service") or {}).get("name") == name for one in backends)


act("close_exposure", changes=_close, check=_closed)
