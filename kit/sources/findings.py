"""GuardDuty findings: `aws guardduty get-findings`, a bare list, one finding, JSON lines; in SDK or wire names.

GuardDuty updates a finding in place, so one Id may arrive several times with different updatedAt: each becomes a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit import tables
from kit.errors import EvidenceError
from kit.finding import finding_of
from kit.sources import EvidenceFile, Reject, Row, Sample
from kit.sources.json_document import Record, hash_of, json_text, peek, records, rows

TABLE = "findings"
TAKEN_AS = "GuardDuty findings"

_ASFF_VERSION = "2018-10-08"  # the only SchemaVersion that the AWS Security Finding Format has had
_FROM_FINDING = tuple(
    name for name in tables.FINDINGS.names if name not in ("file", "line", "item", "finding", "event_hash")
)


def sniff(sample: Sample) -> bool:
    """Whether a file holds GuardDuty findings. Raises EvidenceError for finding ids and for Security Hub findings."""
    top = peek(sample.head)
    listed = None
    if isinstance(top, dict):
        listed = top.get("Findings", top.get("findings"))
        if listed is None and isinstance(top.get("FindingIds", top.get("findingIds")), list):
            raise EvidenceError("holds only finding ids; fetch with `aws guardduty get-findings --finding-ids …`")
    elif isinstance(top, list):
        listed = top
    if listed == [] and isinstance(top, dict):
        return True
    first = listed[0] if isinstance(listed, list) and listed else top
    if not isinstance(first, dict):
        return False
    _refuse_asff(first)
    names = {name.lower() for name in first}
    arn = first.get("Arn", first.get("arn"))
    return (isinstance(arn, str) and ":guardduty:" in arn) or names >= {"id", "type", "severity", "resource"}


def read(file: EvidenceFile, data: bytes) -> Iterator[Row | Reject]:
    """A row a finding."""
    yield from rows(records(data), tables.FINDINGS, _rows)


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    for value in _unwrapped(record.value):
        finding = finding_of(value)
        text = json_text(finding.raw)
        yield {name: getattr(finding, name) for name in _FROM_FINDING} | {"finding": text, "event_hash": hash_of(text)}


def _unwrapped(value: Any) -> Iterator[Any]:
    """The findings in a record. The place where wrappers (EventBridge, ASFF, OCSF) will be taken off."""
    if isinstance(value, dict):
        _refuse_asff(value)
    yield value


def _refuse_asff(value: dict[str, Any]) -> None:
    if value.get("SchemaVersion") == _ASFF_VERSION or "ProductArn" in value:
        raise EvidenceError("Security Hub findings (ASFF) are not read yet; export the GuardDuty findings")
