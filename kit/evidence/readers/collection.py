"""The log of a collection: what `kit collect` asked of AWS and of the cluster, one JSON object a request.

It tells the kit's own requests from others' (kit.attribution.collected), and what was refused (kit.evidence.coverage). Oddities: a
request that got no answer has no id; `as` is what the service itself said the kit is (GetCallerIdentity, SelfSubjectReview).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.record import Record
from kit.lenient import member, utc_time
from kit.store import tables

TABLE = tables.COLLECTED.name
TAKEN_AS = tables.COLLECTED.title
TAKES = ("`collection.jsonl`, which `kit collect` writes beside what it fetches",)
LISTS: tuple[str, ...] = ()

_MEMBERS = {"at", "service", "operation", "request_id", "as", "status"}


def takes(record: Record) -> bool:
    """Whether a record is a request of a collection."""
    return isinstance(record.value, dict) and record.value.keys() >= _MEMBERS


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row. A request without its time, service or operation is a reject."""
    value = record.value
    for name in ("at", "service", "operation"):
        if not member(value, name):
            raise EvidenceError(f"is no request of a collection without {name}")
    requested_at = utc_time(value["at"]) if isinstance(value["at"], str) else None
    if requested_at is None:
        raise EvidenceError("is not a time", where="at")
    text = json_text(value)
    yield {
        "cluster": None,
        "account": None,
        "requested_at": requested_at,
        "service": value["service"],
        "operation": value["operation"],
        "request_uri": value.get("path") or None,
        "region": value.get("region") or None,
        "request_id": value.get("request_id") or None,
        "made_as": value.get("as") or None,
        "run": value.get("case") or None,
        "status": value.get("status"),
        "permission": value.get("permission") or None,
        "attributes": text,
        "event_hash": hash_of(text),
    }
