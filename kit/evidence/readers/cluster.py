"""Objects of the cluster, as kubectl prints them. Oddities: items of a typed list (PodList) do not say their kind, and kubectl
may write the list's after them; values of Secrets are never stored, nor hashed: only their names are. Source: Kubernetes API
conventions, lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.record import Record
from kit.lenient import dict_of, list_of, member, text_of
from kit.model.kubernetes import plural

TABLE = "objects"
TAKEN_AS = "cluster dump"
TAKES = (
    "`kubectl get … -o json` and `-o yaml`: a List, a typed list, one object, several documents; aws-auth too",
    "lists of pods, nodes or services that do not say their kind, as support bundles have them",
    "`kubectl cluster-info dump --output-directory DIR` (the containers' logs in it are not taken)",
    "the API server's Table form of Secrets, which has names, types and ages and no value (SecretName in `objects`)",
)
LISTS = ("items",)

_API_VERSION = re.compile(r"([a-z0-9.-]+/)?v[0-9]+((alpha|beta)[0-9]+)?")
_AUDIT = "audit.k8s.io/"
_REDACTED = "redacted"
_TABLE, _OF_SECRETS = "Table", ["name", "type", "data", "age"]  # k8s.io/kubernetes, printers/internalversion


def takes(record: Record) -> bool:
    """Whether a record is a Kubernetes object. kubectl sorts names, so a long `data` can push kind and metadata out of sight."""
    value = record.value
    if not isinstance(value, dict):
        return False
    if "apiVersion" not in record.around and _shaped(value):
        return True
    kind, version = value.get("kind"), value.get("apiVersion", record.around.get("apiVersion"))
    if not isinstance(version, str) or not _API_VERSION.fullmatch(version) or version.startswith(_AUDIT):
        return False
    return record.of == "items" or record.cut or (isinstance(kind, str) and "metadata" in value)


def _shaped(value: dict[str, Any]) -> tuple[str, str] | None:
    """Kind and version of an object that does not say them, as support bundles write it: by what only that kind has.

    Raises EvidenceError for an object whose kind cannot be told so.
    """
    about = value.get("metadata")
    if "apiVersion" in value or not isinstance(about, dict) or not about.keys() >= _OF_OBJECTS:
        return None
    spec, status = dict_of(value.get("spec")), dict_of(value.get("status"))
    shapes = (
        ("Pod", isinstance(spec.get("containers"), list)),
        ("Node", isinstance(status.get("nodeInfo"), dict)),
        ("Service", "clusterIP" in spec),
    )
    if (kind := next((kind for kind, fits in shapes if fits), None)) and value.get("kind", kind) == kind:
        return kind, "v1"
    raise EvidenceError(
        "is an object of Kubernetes that does not say its kind or version: bring `kubectl get … -A -o json`"
    )


_OF_OBJECTS = {"name", "uid", "creationTimestamp"}


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row; of the Table form one each of its rows."""
    if member(record.value, "kind") == _TABLE and str(member(record.value, "apiVersion")).startswith("meta.k8s.io/"):
        yield from _of_table(record.value)
        return
    kind, version = (
        _shaped(record.value) or (None, None)
        if isinstance(record.value, dict) and "apiVersion" not in record.around
        else (None, None)
    )
    kind, version = kind or member(record.value, "kind"), version or member(record.value, "apiVersion")
    list_kind = record.around.get("kind")
    kind = kind if isinstance(kind, str) else None
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


def _of_table(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Names, types and ages of Secrets, as the API server tabulates them; of what stands beside a row its namespace alone is taken."""
    columns = [str(member(one, "name")).lower() for one in list_of(table.get("columnDefinitions"))]
    if columns[:4] != _OF_SECRETS:
        raise EvidenceError("is a table of objects that are no Secrets: bring `kubectl get … -A -o json`")
    for row in list_of(table.get("rows")):
        cells = dict(zip(columns, map(text_of, list_of(member(row, "cells"))), strict=False))
        if not cells.get("name"):
            raise EvidenceError("is no row of Secrets without a name", where="rows.cells")
        text = json_text({"name": cells["name"], "type": cells.get("type"), "age": cells.get("age")})
        yield {
            "cluster": None,
            "account": None,
            "api_version": "v1",
            "kind": "SecretName",
            "resource": "",
            "namespace": text_of(member(row, "object", "metadata", "namespace")),
            "name": cells["name"],
            "uid": None,
            "object": text,
            "event_hash": hash_of(text),
        }


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
