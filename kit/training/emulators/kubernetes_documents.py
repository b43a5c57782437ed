"""Documents as the Kubernetes API reads them: objects that clients send, patches and selectors."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kit.training.emulators.kubernetes_kinds import Kind, Object, Refusal, unsupported

# What a field selector may name, beside metadata.name and metadata.namespace (pkg/apis/core/v1/conversion.go).
_FIELDS = {
    "pods": "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork status.phase "
    "status.podIP status.nominatedNodeName",
    "events": "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid reason type "
    "involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reportingComponent",
    "secrets": "type",
    "namespaces": "status.phase",
    "nodes": "spec.unschedulable",
}
# What a built-in kind has only where it is neither empty nor false ("omitempty" in its Go type), as far as it matters.
_OMITTED_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_OMITTED_SPEC = ("taints", "unschedulable", "ingress", "egress", "nodeSelector", "tolerations")
# Lists that a strategic merge patch replaces as a whole; others it merges by a key, which is not done here.
_ATOMIC_LISTS = {"taints", "tolerations", "rules", "subjects", "ingress", "egress", "policyTypes", "command", "args"}
_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<without>[\w./-]+)|(?P<key>[\w./-]+)\s*"
    r"(?:(?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)|(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*"
)
Requirement = tuple[str, str, set[str]]


def sent(kind: Kind, namespace: str, body: Any) -> Object:
    """An object as a client sent it, checked against the path and brought into the form in which it is stored."""
    if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
        raise Refusal(400, "BadRequest", "the object provided is unrecognized")
    item: Object = _without_nulls(body)
    for part, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if item.setdefault(part, wanted) != wanted:
            raise Refusal(
                400, "BadRequest", f"the {part} in the data ({item[part]}) does not match the URL's ({wanted})"
            )
    metadata = item.setdefault("metadata", {})
    if namespace and metadata.setdefault("namespace", namespace) != namespace:
        raise Refusal(400, "BadRequest", "the namespace of the provided object does not match the request's")
    if not kind.custom:
        for within, names in (
            (item, ("data",)),
            (metadata, _OMITTED_METADATA),
            (item.get("spec") or {}, _OMITTED_SPEC),
        ):
            for name in [name for name in names if name in within and not within[name]]:
                del within[name]
    if kind.resource == "secrets" and "stringData" in item:
        clear = {name: base64.b64encode(text.encode()).decode() for name, text in item.pop("stringData").items()}
        item["data"] = item.get("data", {}) | clear
    return item


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def merged(target: Any, patch: Any, *, strategic: bool) -> Any:
    """RFC 7386, and as much of a strategic merge as is the same; other lists and directives are refused."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if strategic and (
            name.startswith("$") or (isinstance(value, list) and target.get(name) and name not in _ATOMIC_LISTS)
        ):
            raise unsupported(f"a strategic merge of {name}")
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value, strategic=strategic)
    return target


def json_patched(target: Any, operations: list[Object]) -> Any:
    """RFC 6902: add, remove, replace, test, move and copy; what does not fit is 422, as patch.go answers."""
    whole = {"": target}
    try:
        for one in operations:
            value = copy.deepcopy(one.get("value"))
            if one["op"] in ("move", "copy"):
                parent, last = _pointed(whole, one["from"])
                value = copy.deepcopy(parent[last])
                if one["op"] == "move":
                    del parent[last]
            parent, last = _pointed(whole, one["path"])
            if one["op"] == "test":
                if json.dumps(parent[last], sort_keys=True) != json.dumps(value, sort_keys=True):
                    raise LookupError(f"testing value {one['path']} failed")
            elif one["op"] == "remove":
                del parent[last]
            elif one["op"] == "replace":
                parent[last], _ = value, parent[last]
            elif one["op"] not in ("add", "move", "copy"):
                raise ValueError(f"unknown operation {one['op']}")
            elif isinstance(parent, list):
                parent.insert(last, value)
            else:
                parent[last] = value
    except (LookupError, TypeError, ValueError) as error:
        said = f"the server rejected our request due to an error in our request: {error}"
        raise Refusal(422, "Invalid", said) from error
    return whole[""]


def _pointed(whole: Any, pointer: str) -> tuple[Any, Any]:
    """The parent that a JSON pointer leads to, and the last step from there."""
    steps: list[Any] = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]
    parent = whole
    for index, step in enumerate(steps):
        if isinstance(parent, list):
            steps[index] = step = len(parent) if step == "-" else int(step)
            if not 0 <= step <= len(parent):
                raise LookupError(f"no place {step} in {pointer}")
        if index < len(steps) - 1:
            parent = parent[step]
    return parent, steps[-1]


def requirements(selector: str) -> list[Requirement]:
    """A label selector as requirements: key, operator, values."""
    found: list[Requirement] = []
    for part in re.split(r",(?![^(]*\))", selector) if selector else ():
        match = _REQUIREMENT.fullmatch(part)
        if not match:
            raise Refusal(400, "BadRequest", f"unable to parse requirement: {part}")
        if match["absent"]:
            found.append((match["without"], "DoesNotExist", set()))
        elif match["set"]:
            values = {value.strip() for value in match["values"].split(",")}
            found.append((match["key"], "In" if match["set"] == "in" else "NotIn", values))
        elif match["operator"]:
            found.append((match["key"], "NotIn" if match["operator"] == "!=" else "In", {match["value"]}))
        else:
            found.append((match["key"], "Exists", set()))
    return found


def satisfied(requirements: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether labels meet all requirements; one that a label must not have is met by its absence."""
    meets: dict[str, Callable[[str, set[str]], bool]] = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(meets[operator](key, values) for key, operator, values in requirements)


def field_requirements(kind: Kind, selector: str) -> list[tuple[str, bool, str]]:
    """A field selector as paths, whether each is to be equal, and values. Raises Refusal for a field that a kind cannot be selected by."""
    known = {"metadata.name", *_FIELDS.get(kind.resource, "").split()} | (
        {"metadata.namespace"} if kind.namespaced else set()
    )
    found = []
    for part in selector.split(",") if selector else ():
        match = re.fullmatch(r"([^!=]+)(==|=|!=)(.*)", part)
        if not match:
            raise Refusal(400, "BadRequest", f"invalid selector: '{part}'; can't understand '{part}'")
        if match[1] not in known:
            raise Refusal(400, "BadRequest", f"field label not supported: {match[1]}")
        found.append((match[1], match[2] != "!=", match[3]))
    return found


def has(requirements: Iterable[tuple[str, bool, str]], item: Object) -> bool:
    """Whether an object meets the requirements of a field selector."""
    for path, equal, wanted in requirements:
        value: Any = item
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if path in ("spec.unschedulable", "spec.hostNetwork"):
            value = str(bool(value)).lower()
        if ((value or "") == wanted) != equal:
            return False
    return True
