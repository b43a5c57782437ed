"""CloudTrail events: delivery files ({"Records": […]}), what `aws cloudtrail lookup-events` prints, bare events, lists and lines of
them, and EventBridge's "AWS API Call via CloudTrail" in its envelopes. Source: CloudTrail User Guide, record contents; CloudTrail API,
LookupEvents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit import tables
from kit.errors import EvidenceError
from kit.sources import EvidenceFile, Reject, Row, Sample
from kit.sources.envelope import DEEPEST, contents, json_of, opened
from kit.sources.json_document import Record, hash_of, json_text, member, peek, records, rows, utc_time

TABLE = "trail"
TAKEN_AS = "CloudTrail"

_LOOKED_UP = "CloudTrailEvent"  # the whole event as text
_TRUTH = {"true": True, "false": False}


def sniff(sample: Sample) -> bool:
    """Whether a file holds CloudTrail events. S3 and SQS messages have `Records` too; their eventSource is aws:…"""
    top = peek(sample.head)
    if isinstance(top, dict) and top.get("Records") == []:
        return True
    listed = top.get("Records", top.get("Events", [top])) if isinstance(top, dict) else top
    first = listed[0] if isinstance(listed, list) and listed else None
    first = _inside(first)
    return (
        isinstance(first, dict)
        and first.keys() >= {"eventVersion", "eventTime"}
        and not str(first.get("eventSource")).startswith("aws:")
    )


def _inside(value: Any) -> Any:
    """What can be seen of the first event in what lookup-events prints or in an envelope."""
    for _ in range(DEEPEST):
        inner = [value[_LOOKED_UP]] if _is_looked_up(value) else contents(value)
        if not inner:
            return value
        value = peek(inner[0].encode()) if isinstance(inner[0], str) else inner[0]
    return value


def _is_looked_up(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get(_LOOKED_UP), str)


def read(file: EvidenceFile, data: bytes) -> Iterator[Row | Reject]:
    """A row an event. An event without eventID, eventTime or eventSource is a reject."""
    yield from rows(records(data), tables.TRAIL, _rows)


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    for value in opened(json_of(record.value[_LOOKED_UP]) if _is_looked_up(record.value) else record.value):
        yield _row(value)


def _row(event: Any) -> dict[str, Any]:
    for name in ("eventID", "eventTime", "eventSource"):
        if not member(event, name):
            raise EvidenceError(f"is no CloudTrail event without {name}")
    event_at = utc_time(event["eventTime"]) if isinstance(event["eventTime"], str) else None
    if event_at is None:
        raise EvidenceError("is not a time", where="eventTime")
    read_only = event.get("readOnly")
    identity = event.get("userIdentity")
    return {
        "cluster": None,
        "account": event.get("recipientAccountId") or member(identity, "accountId"),
        "event_id": event["eventID"],
        "event_at": event_at,
        "event_source": event["eventSource"],
        "event_name": event.get("eventName"),
        "event_category": event.get("eventCategory"),
        "region": event.get("awsRegion"),
        "source_address": event.get("sourceIPAddress"),
        "user_agent": event.get("userAgent"),
        "identity_type": member(identity, "type"),
        "arn": member(identity, "arn"),
        "principal_id": member(identity, "principalId"),
        "access_key_id": member(identity, "accessKeyId"),
        "issuer_arn": member(identity, "sessionContext", "sessionIssuer", "arn"),
        "user_name": member(identity, "userName"),
        "invoked_by": member(identity, "invokedBy"),
        "error_code": event.get("errorCode"),
        "read_only": _TRUTH.get(read_only.lower(), read_only) if isinstance(read_only, str) else read_only,
        "request_parameters": _text(event.get("requestParameters")),
        "response_elements": _text(event.get("responseElements")),
        "event_hash": hash_of(json_text(event)),
    }


def _text(value: Any) -> str | None:
    return None if value is None else json_text(value)
