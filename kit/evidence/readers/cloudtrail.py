"""CloudTrail events. Oddities: several share a second, so their order cannot be had from time alone; a failed call has its
errorCode and changed nothing; sourceIPAddress may be a service's name; counts of events (aggregated) are rejects. Source: CloudTrail User Guide, record contents; CloudTrail
API, LookupEvents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.fitting import LEFT_OUT
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.readers import ocsf, query_row, sentinel
from kit.evidence.record import EVENT_COUNT, Record
from kit.lenient import found_at, member, utc_time
from kit.model.arn import Arn
from kit.store import tables

TABLE = tables.TRAIL.name
TAKEN_AS = tables.TRAIL.title
TAKES = (
    'delivery files of a trail (`{"Records": […]}`, `.json.gz`)',
    "`aws cloudtrail lookup-events`",
    "events alone, in lists and in JSON lines",
    'EventBridge\'s "AWS API Call via CloudTrail", in its envelopes',
    "rows of Microsoft Sentinel's AWSCloudTrail",
)
LISTS = ("Records", "Events")

_TRUTH = {"true": True, "false": False}


def takes(record: Record) -> bool:
    """Whether a record is a CloudTrail event. S3 and SQS messages have `Records` too; their eventSource is aws:…"""
    value = record.value
    if not isinstance(value, dict):
        return False
    if sentinel.is_event_row(value) or ocsf.is_trail_event(value) or query_row.is_query_row(value) or _is_count(value):
        return True
    told = value.keys() >= {"eventVersion", "eventTime"} or len(value.keys() & _OWN) >= _TELL
    return told and not str(value.get("eventSource")).startswith("aws:")


# Members of an event, of which some are enough to tell one: tools leave members out.
_OWN = {"eventVersion", "eventTime", "eventSource", "eventName", "eventID", "awsRegion", "userIdentity"}
_TELL = 4


def _is_count(value: dict[str, Any]) -> bool:
    return value.get("eventCategory") == "Aggregated" and "timeWindow" in value


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row. An event whose time nothing tells is a reject; one without an id gets one that is made of its content."""
    value = record.value
    if isinstance(value, dict) and _is_count(value):
        raise EvidenceError(f"{EVENT_COUNT}, not an event")
    if ocsf.is_trail_event(value):
        value = ocsf.trail_event_in(value)
    elif sentinel.is_event_row(value):
        value = sentinel.sentinel_event(value)
    elif query_row.is_query_row(value):
        value = query_row.event_in(value)
    yield _row(value, record.log.at)


def _row(event: Any, logged_at: Any) -> dict[str, Any]:
    """The columns of an event. logged_at: when CloudWatch Logs got it, for one that does not say its time."""
    about = member(event, "insightDetails")
    if isinstance(about, dict):  # an Insights event names service and call there
        event = {"eventSource": about.get("eventSource"), "eventName": about.get("eventName"), **event}
    at = member(event, "eventTime") or logged_at
    if not at:
        raise EvidenceError("is no CloudTrail event without eventTime")
    event_at = utc_time(at if isinstance(at, str) else str(at))
    if event_at is None:
        raise EvidenceError("is not a time", where="eventTime")
    read_only = event.get("readOnly")
    identity = event.get("userIdentity")
    digest = hash_of(json_text(event))
    return {
        "cluster": None,
        "account": _account(event.get("recipientAccountId") or found_at(identity, "accountId")),
        "event_id": event.get("eventID") or f"none {digest[:32]}",
        "event_at": event_at,
        "event_source": event.get("eventSource") or None,
        "event_name": event.get("eventName"),
        "event_category": event.get("eventCategory"),
        "region": event.get("awsRegion"),
        "source_address": event.get("sourceIPAddress"),
        "user_agent": event.get("userAgent"),
        "identity_type": found_at(identity, "type"),
        "arn": identity if Arn.of(identity) else found_at(identity, "arn"),
        "principal_id": found_at(identity, "principalId"),
        "access_key_id": found_at(identity, "accessKeyId"),
        "issuer_arn": found_at(identity, "sessionContext", "sessionIssuer", "arn"),
        "user_name": found_at(identity, "userName"),
        "invoked_by": found_at(identity, "invokedBy"),
        "error_code": event.get("errorCode"),
        "read_only": _TRUTH.get(read_only.lower(), read_only) if isinstance(read_only, str) else read_only,
        "request_parameters": _text(event.get("requestParameters")),
        "response_elements": _text(event.get("responseElements")),
        "request_id": event.get("requestID"),
        "event_hash": digest,
        LEFT_OUT: [
            ".".join(path)
            for path in (_IDENTITY[:1], _IDENTITY[:2], _IDENTITY)
            if not isinstance(found_at(event, *path), dict | None)
        ],
    }


_IDENTITY = ("userIdentity", "sessionContext", "sessionIssuer")


def _account(value: Any) -> Any:
    """An account's twelve digits, of which a number has lost those that are 0 in front."""
    return f"{value:012d}" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else value


def _text(value: Any) -> str | None:
    return None if value is None else json_text(value)
