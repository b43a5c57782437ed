"""What an object holds: what of it is kept, what is sent to make it again, and whether what stands is that."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from kit.live.changes.change import contains, equals

_OF_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences")  # fmt: skip
_LAST_APPLIED = (
    "kubectl.kubernetes.io/last-applied-configuration"  # a second copy of what the object, or its earlier form, held
)
_OF_CONTROLLERS = ("deployment.kubernetes.io/", "deprecated.daemonset.template.generation", "endpoints.kubernetes.io/", "batch.kubernetes.io/job-tracking")  # fmt: skip
_EXACT = {"roles", "rolebindings", "clusterroles", "clusterrolebindings", "networkpolicies", "configmaps"}
"""What says another thing when it has one member more; of others, webhooks and controllers fill in members."""


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """What the journal keeps of an object, enough to make it again: no status, and no second copy of what it once held."""
    content = {name: value for name, value in copy.deepcopy(found).items() if name != "status"}
    content["metadata"].pop("managedFields", None)
    return _without_copy(content)


def _without_copy(content: dict[str, Any]) -> dict[str, Any]:
    annotations = content.get("metadata", {}).get("annotations") or {}
    if annotations.pop(_LAST_APPLIED, None) and not annotations:
        del content["metadata"]["annotations"]
    return content


def own(content: dict[str, Any]) -> dict[str, Any]:
    """An object without what the server gives it, its owners and its status."""
    own = _without_copy(copy.deepcopy(content))
    own["metadata"] = {name: value for name, value in own.get("metadata", {}).items() if name not in _OF_SERVER}
    own.pop("status", None)
    return own


def sent(resource: str, content: dict[str, Any]) -> dict[str, Any]:
    """An object as it is sent to make it again, owners aside. A Job gets its selector and the label for it from the server."""
    body = own(content)
    if resource == "jobs" and not body["spec"].get("manualSelector"):
        body["spec"].pop("selector", None)
        labels = (body["spec"].get("template", {}).get("metadata") or {}).get("labels") or {}
        for label in ("controller-uid", "batch.kubernetes.io/controller-uid"):
            labels.pop(label, None)
    return body


def without_addresses(spec: dict[str, Any]) -> None:
    """Take out of a Service what another one may have by now."""
    spec.pop("healthCheckNodePort", None)
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    for port in spec.get("ports") or []:
        port.pop("nodePort", None)


def is_remade(resource: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether what stands has all that is sent to make again what was there before."""
    wanted, there = sent(resource, before), own(now)
    if resource == "services":
        without_addresses(wanted.get("spec", {}))
    annotations = wanted["metadata"].get("annotations") or {}
    for name in [name for name in annotations if name.startswith(_OF_CONTROLLERS)]:
        del annotations[name]
    if resource == "networkpolicies" and wanted.get("spec"):
        types = ["Ingress", *(["Egress"] if wanted["spec"].get("egress") else [])]
        wanted["spec"] = {"policyTypes": types} | wanted["spec"]
    parts = ({name: value for name, value in one.items() if name != "metadata"} for one in (there, wanted))
    return _includes(there, wanted) and (resource not in _EXACT or equals(*parts))


def _includes(whole: Any, part: Any) -> bool:
    """Whether an object has all that another says, with members and elements put in between."""
    if isinstance(part, dict):
        return all(_includes(whole.get(name) if isinstance(whole, dict) else None, one) for name, one in part.items())
    if isinstance(part, list):
        rest = iter(whole if isinstance(whole, list) else [])
        return all(any(_includes(other, one) for other in rest) for one in part)
    return bool(whole == part)


def unexpected(what: str, found: Any, planned: Any) -> str:
    """Why an object is not the one that was planned on: which members, not their values, as they may be secret."""
    differing = list(_differing(found, planned))
    if not differing:
        return ""
    return (
        f"{what} is not as it was planned on, it differs in {', '.join(differing[:5])}: look at it, and make a new plan"
    )


def _differing(found: Any, planned: Any, path: str = "") -> Iterator[str]:
    if isinstance(planned, dict):
        for name, value in planned.items():
            has = found.get(name) if isinstance(found, dict) else None
            yield from _differing(has, value, f"{path}.{name}" if path else name)
    elif not contains(found, planned):
        yield path
