"""CloudTrail events. Oddities: several share a second, so their order cannot be had from time alone; a failed call has its
errorCode and changed nothing; sourceIPAddress may be a service's name; counts of events (aggregated) are rejects. Source: CloudTrail User Guide, record contents; CloudTrail
API, LookupEvents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.readers import ocsf, query_row, sentinel
from kit.evidence.record import EVENT_COUNT, Record
from kit.lenient import member, utc_time
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
    return value.keys() >= {"eventVersion", "eventTime"} and not str(value.get("eventSource")).startswith("aws:")


def _is_count(value: dict[str, Any]) -> bool:
    return value.get("eventCategory") == "Aggregated" and "timeWindow" in value


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row. An event without eventID, eventTime or eventSource is a reject."""
    value = record.value
    if isinstance(value, dict) and _is_count(value):
        raise EvidenceError(f"{EVENT_COUNT}, not an event")
    if ocsf.is_trail_event(value):
        value = ocsf.trail_event_in(value)
    elif sentinel.is_event_row(value):
        value = sentinel.sentinel_event(value)
    elif query_row.is_query_row(value):
        value = query_row.event_in(value)
    yield _row(value)


def _row(event: Any) -> dict[str, Any]:
    about = member(event, "insightDetails")
    if isinstance(about, dict):  # an Insights event names service and call there
        event = {"eventSource": about.get("eventSource"), "eventName": about.get("eventName"), **event}
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
        "request_id": event.get("requestID"),
        "event_hash": hash_of(json_text(event)),
    }


def _text(value: Any) -> str | None:
    return None if value is None else json_text(value)
