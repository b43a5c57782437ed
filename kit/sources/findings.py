"""GuardDuty findings: `aws guardduty get-findings`, a bare list, one finding, JSON lines, S3 exports; in SDK or wire names; bare or
in the envelopes of EventBridge, SNS and SQS; in the forms of Security Hub (ASFF) and OCSF.

GuardDuty updates a finding in place, so one Id may arrive several times with different updatedAt: each becomes a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit import tables
from kit.errors import EvidenceError
from kit.finding import finding_of
from kit.sources import EvidenceFile, Reject, Row, Sample
from kit.sources.envelope import DEEPEST, contents, opened
from kit.sources.json_document import Record, hash_of, json_text, peek, records, rows
from kit.sources.security_hub import finding_in, wrapper_of

TABLE = "findings"
TAKEN_AS = "GuardDuty findings"

_FROM_FINDING = tuple(
    name for name in tables.FINDINGS.names if name not in ("file", "line", "item", "wrapper", "finding", "event_hash")
)


def sniff(sample: Sample) -> bool:
    """Whether a file holds GuardDuty findings. Raises EvidenceError for finding ids."""
    top = peek(sample.head)
    listed = None
    if isinstance(top, dict):
        listed = top.get("Findings", top.get("findings"))
        if listed == []:
            return True
        listed = top.get("Records", top.get("Messages")) if listed is None else listed
        if listed is None and isinstance(top.get("FindingIds", top.get("findingIds")), list):
            raise EvidenceError("holds only finding ids; fetch with `aws guardduty get-findings --finding-ids …`")
    elif isinstance(top, list):
        listed = top
    first = listed[0] if isinstance(listed, list) and listed else top
    if not isinstance(first, dict):
        return False
    first = _in_envelopes(first)
    if wrapper_of(first):
        return True
    names = {name.lower() for name in first}
    arn = first.get("Arn", first.get("arn"))
    return (isinstance(arn, str) and ":guardduty:" in arn) or names >= {"id", "type", "severity", "resource"}


def read(file: EvidenceFile, data: bytes) -> Iterator[Row | Reject]:
    """A row a finding."""
    yield from rows(records(data), tables.FINDINGS, _rows)


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    for value in opened(record.value):
        wrapper = wrapper_of(value) if isinstance(value, dict) else ""
        finding = finding_of(finding_in(value) if wrapper else value)
        text = json_text(finding.raw)
        values = {name: getattr(finding, name) for name in _FROM_FINDING}
        yield values | {"wrapper": wrapper or "GuardDuty", "finding": text, "event_hash": hash_of(text)}


def _in_envelopes(value: dict[str, Any]) -> dict[str, Any]:
    """What can be seen of the first thing in the envelopes, of which the end may be cut off; {} where nothing can."""
    for _ in range(DEEPEST):
        inner = contents(value)
        if inner is None:
            return value
        first = inner[0] if inner else None
        first = peek(first.encode()) if isinstance(first, str) else first
        value = first if isinstance(first, dict) else {}
    return value
