"""Cluster dumps: what `kubectl get … -o json` prints, as a List, a typed list (PodList) or one object.

Values of Secrets are never stored, nor hashed: only their names are. Source: Kubernetes API conventions, lists and
plural names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kit import tables
from kit.errors import EvidenceError
from kit.sources import EvidenceFile, Reject, Row, Sample
from kit.sources.json_document import Record, hash_of, json_text, member, peek, records, rows

TABLE = "objects"
TAKEN_AS = "cluster dump"

_API_VERSION = re.compile(r"([a-z0-9.-]+/)?v[0-9]+((alpha|beta)[0-9]+)?")
_AUDIT = "audit.k8s.io/"
_REDACTED = "redacted"
_PLURALS = {"Endpoints": "endpoints", "NodeMetrics": "nodes", "PodMetrics": "pods"}


def sniff(sample: Sample) -> bool:
    """Whether a file is a Kubernetes object or a list of them, and not of audit events."""
    top = peek(sample.head)
    version = top.get("apiVersion") if isinstance(top, dict) else None
    if not isinstance(version, str) or not _API_VERSION.fullmatch(version) or version.startswith(_AUDIT):
        return False
    items = top.get("items")
    if isinstance(items, list):
        first = items[0] if items else {}
        return isinstance(first, dict) and not str(first.get("apiVersion")).startswith(_AUDIT)
    # kubectl sorts names, so a long `data` can push kind and metadata out of the head.
    return not sample.whole or {"kind", "metadata"} <= top.keys()


def read(file: EvidenceFile, data: bytes) -> Iterator[Row | Reject]:
    """A row an object. Rejects come without their raw text, which may be a Secret's."""
    # All at once, because kubectl writes a list's kind after its items.
    found = list(records(data))
    for made in rows(found, tables.OBJECTS, _rows):
        yield replace(made, raw="") if isinstance(made, Reject) else made


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    kind, version = member(record.value, "kind"), member(record.value, "apiVersion")
    list_kind = record.around.get("kind")
    if kind is None and isinstance(list_kind, str) and list_kind != "List":
        kind, version = list_kind.removesuffix("List"), version or record.around.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str) or not kind or not version:
        raise EvidenceError("is no Kubernetes object without apiVersion and kind")
    if version.startswith(_AUDIT):
        raise EvidenceError("is an audit event, not an object of the cluster")
    name = member(record.value, "metadata", "name")
    if not name:
        raise EvidenceError("is no Kubernetes object without metadata.name")
    named = record.value | {"apiVersion": version, "kind": kind}
    text = json_text(_without_values(named) if kind == "Secret" else named)
    yield {
        "cluster": None,
        "account": None,
        "api_version": version,
        "kind": kind,
        "resource": plural(kind),
        "namespace": member(record.value, "metadata", "namespace"),
        "name": name,
        "uid": member(record.value, "metadata", "uid"),
        "object": text,
        "event_hash": hash_of(text),
    }


def plural(kind: str) -> str:
    """The plural API name of a kind, by the rule of Kubernetes' own and most custom resources.

    >>> plural("NetworkPolicy"), plural("Ingress"), plural("Gateway")
    ('networkpolicies', 'ingresses', 'gateways')
    """
    name = kind.lower()
    if kind in _PLURALS:
        return _PLURALS[kind]
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    if re.search("[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}s"


def _without_values(secret: dict[str, Any]) -> dict[str, Any]:
    redacted = dict(secret)
    for name in ("data", "stringData"):
        if name in redacted:
            values = redacted[name]
            redacted[name] = dict.fromkeys(values, _REDACTED) if isinstance(values, dict) else _REDACTED
    metadata = redacted.get("metadata")
    annotations = member(redacted, "metadata", "annotations")
    if isinstance(metadata, dict) and annotations is not None:
        if not isinstance(annotations, dict):
            raise EvidenceError("is not a JSON object", where="metadata.annotations")
        redacted["metadata"] = metadata | {
            "annotations": {name: _annotation(each) for name, each in annotations.items()}
        }
    return redacted


def _annotation(value: Any) -> Any:
    """An annotation of a Secret. kubectl and other tools keep the object as it was applied in one, values and all."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json_text(_without_values(json.loads(value)))
    except (ValueError, RecursionError, EvidenceError):
        return _REDACTED
