"""Envelopes in which services hand records on: EventBridge events, SNS notifications, SQS messages, CloudWatch Logs in all of its
forms, Kinesis, Firehose, and Lambda's batches of these; log stores and shippers (kit.evidence.formats.log_store).

An envelope may be inside another, as JSON text or as base64 of gzip. Sources: EventBridge "event structure"; SNS "message and
JSON formats"; Lambda "using SQS", "using SNS", "using Kinesis"; CloudWatch Logs API, GetLogEvents, FilterLogEvents, GetQueryResults;
CloudWatch Logs User Guide, "subscription filters"; CloudTrail API, LookupEvents; EventBridge API, PutEvents; Firehose, HTTP endpoint delivery; webhook batches: audit.k8s.io/v1 EventList.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from kit.errors import EvidenceError
from kit.evidence.formats.json_document import peek, records
from kit.evidence.formats.json_text import repaired
from kit.evidence.formats.log_store import LISTS as STORE_LISTS
from kit.evidence.formats.log_store import of_log_store, of_sequence
from kit.evidence.record import NO_LOG, Content, Log, Record, Reject, storable

DEEPEST_ENVELOPE = 8  # envelopes in each other
LONGEST_PAYLOAD = 64 << 20  # bytes that one base64 text may unfold to

_OWN_LISTS = ("Records", "records", "Messages", "Events", "events", "Entries", "results", "QueryResultRows")
ENVELOPE_LISTS = (*_OWN_LISTS, *STORE_LISTS)
"""Members under which these envelopes keep their records."""


def opened(
    record: Record, lists: tuple[str, ...] = (), depth: int = DEEPEST_ENVELOPE, logged: bool = False
) -> Iterator[Record | Reject]:
    """The records in the envelopes of a record, whole; the record itself when it is in none. All have its line and item.

    lists: members under which documents keep their records, for documents that stand in an array, as jq makes it of several files.

    Never opened: objects of Kubernetes, whose custom kinds may look like any envelope; messages of logs (logged), but for events of
    AWS's event bus, which EventBridge writes to log groups.
    What cannot be opened becomes a reject: more envelopes in each other than anybody makes, data that is no base64 or no gzip.
    """
    if not depth:
        yield Reject(record.line, record.item, f"is in more than {DEEPEST_ENVELOPE} envelopes", record.raw)
        return
    if (
        record.of and record.of != "items" and record.around.keys() & {"apiVersion", "kind"}
    ):  # kubectl sorts: kind may follow
        reason = f"is in `{record.of}` of a Kubernetes object, whose content anybody may write"
        yield Reject(record.line, record.item, reason, "")
        return
    try:
        if isinstance(record.value, str) and record.text is None and not record.of:  # a message alone, as a JSON string
            record = read_text(record.value, record)
        inner = contents(record.value, record.log, logged) if record.of != "items" else None
        if inner is None and (listed := _objects_in(record)) is not None:
            yield from listed
            return
        if inner is None and not logged and (documents := _documents_in(record, lists)) is not None:
            for document in documents:
                yield from opened(document, lists, depth - 1)
            return
        if inner is None:
            yield record
            return
        for value, log, of_log in inner:
            for each in _read(value, replace(record, log=log, of="", around={})):
                yield from opened(each, lists, depth - 1, logged or of_log) if isinstance(each, Record) else (each,)
    except EvidenceError as error:
        yield Reject(record.line, record.item, str(error), record.raw)


def _objects_in(record: Record) -> list[Record] | None:
    """The objects of a list of Kubernetes that stands in an array; None for anything else."""
    value = record.value
    if record.of or not isinstance(value, dict) or not isinstance(value.get("items"), list):
        return None
    around = {name: value.get(name) for name in ("apiVersion", "kind")}
    if not isinstance(around["apiVersion"], str) or not str(around["kind"]).endswith("List"):
        return None
    return [replace(record, value=each, of="items", around=around, text=None) for each in value["items"]]


# What an API's answer has beside its list.
_OF_PAGES = frozenset({"NextToken", "nextToken", "ResponseMetadata", "IsTruncated", "Marker", "searchedLogStreams"})


def _documents_in(record: Record, lists: tuple[str, ...]) -> list[Record] | None:
    """What stands in an array in an array, or in an answer of an API in an array; None for anything else."""
    value = record.value
    if record.of:
        return None
    if isinstance(value, list):
        held = any(isinstance(each, dict | list) or (isinstance(each, str) and _is_json(each)) for each in value)
        return [replace(record, value=each, text=None) for each in value] if held else None
    if not isinstance(value, dict) or len(named := value.keys() - _OF_PAGES) != 1:
        return None
    (name,) = named
    if name not in lists or name == "items" or not isinstance(value[name], list):
        return None
    return [replace(record, value=each, of=name, around={}, text=None) for each in value[name]]


def _read(value: Any, record: Record) -> Iterator[Record | Reject]:
    """What an envelope holds as records: a text is parsed, bytes may hold several documents."""
    if isinstance(value, bytes):
        for each in records(value, ()):
            yield replace(each, line=record.line, item=record.item)
    elif isinstance(value, str):
        yield read_text(value, record)
    else:
        yield replace(record, value=value, text=None, raw=record.raw)


def read_text(text: str, record: Record) -> Record:
    """A record of a text: parsed where it is JSON; of JSON that is cut, what can be read of it; else the text."""
    record = replace(record, text=text, raw=text[:200], value=text)
    if text.lstrip()[:1] not in ("{", "["):
        return record
    try:
        # Large numbers need Python's own decoder; of audit events, which are many, the text alone is used.
        value = orjson.loads(text)
        if isinstance(value, dict) and "auditID" in value:
            return replace(record, value=value)
        return replace(record, value=json.loads(text))
    except (ValueError, RecursionError) as error:
        found = repaired(text.strip())
        if found.says and found.end == len(text.strip()):
            try:
                return replace(record, value=json.loads(found.text), text=None, broken=f"not JSON: {found.says}")
            except (ValueError, RecursionError):
                pass
        return replace(record, value=peek(text.encode("utf-8", "surrogatepass")), broken=f"not JSON: {error}")


_MESSAGE_IDS = frozenset({"messageId", "MessageId", "receiptHandle", "ReceiptHandle"})


def contents(value: Any, log: Log = NO_LOG, logged: bool = False) -> list[Content] | None:
    """What an envelope holds; None for what is no envelope, or none that a message of a log (logged) can be.

    Raises EvidenceError for data that cannot be unpacked.
    """
    if isinstance(value, list):
        return None if logged else _query_row(value, log) or of_sequence(value, log)
    if not isinstance(value, dict) or value.keys() >= {"apiVersion", "kind"}:
        return None
    if logged:
        return _of_event_bus(value, log) if value.keys() & {"source", "Source"} else None
    if isinstance(value.get("Sns"), dict):  # a record of Lambda's
        return [Content(value["Sns"], log)]
    if isinstance(value.get("Message"), str) and ("TopicArn" in value or value.get("Type") == "Notification"):
        return [Content(value["Message"], log)]
    for body in ("body", "Body"):  # Lambda, ReceiveMessage
        if isinstance(value.get(body), str) and value.keys() & _MESSAGE_IDS:
            return [Content(value[body], log)]
    if isinstance(value.get("CloudTrailEvent"), str):
        return [Content(value["CloudTrailEvent"], log)]
    if isinstance(value.get("ResultSet"), dict):
        return [Content(row, log) for row in _athena_rows(value["ResultSet"])]
    readings = (of(value, log) for of in (_of_event_bus, _of_logs, of_log_store))
    return next(
        (held for held in readings if held is not None), None
    )  # an empty one is read: a test of the destination


def _athena_rows(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of Athena's GetQueryResults; the first page begins with the names."""
    about, rows = result.get("ResultSetMetadata"), result.get("Rows")
    columns = about.get("ColumnInfo") if isinstance(about, dict) else None
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise EvidenceError("is a result of Athena without its columns or rows")
    names = [str(column.get("Name")) if isinstance(column, dict) else "" for column in columns]
    for number, row in enumerate(rows):
        data = row.get("Data") if isinstance(row, dict) else None
        cells = [cell.get("VarCharValue") if isinstance(cell, dict) else None for cell in data or []]
        if number or cells != names:
            yield dict(zip(names, cells, strict=False))


def _of_event_bus(value: dict[str, Any], log: Log) -> list[Content] | None:
    """An event of AWS. Anybody may put events of their own source on a bus, but none of `aws.…`; partners' begin with `aws.partner/`."""
    if "Detail" in value and "DetailType" in value:  # SDK names
        value = {name[:1].lower() + name[1:]: each for name, each in value.items()}
    detail, source = value.get("detail"), value.get("source", "aws.")
    if isinstance(detail, str) and _is_json(detail) and value.keys() & {"detail-type", "detailType"}:
        try:
            detail = json.loads(detail)
        except (ValueError, RecursionError) as error:
            raise EvidenceError(f"is an event whose detail is not JSON: {error}") from None
    if not isinstance(detail, dict) or not isinstance(source, str):
        return None
    if not source.startswith("aws.") or source.startswith("aws.partner"):
        raise EvidenceError(f"is an event of {source:.80}, not of AWS: whoever put it on the bus wrote it")
    if isinstance(listed := detail.get("findings"), list) and listed:
        return [Content(each, log) for each in listed]
    # What the envelope says of account and region is the finding's too, where a cut-down event leaves it out.
    around = {"accountId": value.get("account"), "region": value.get("region")}
    spelled = {name.lower() for name in detail}
    more = {name: each for name, each in around.items() if isinstance(each, str) and name.lower() not in spelled}
    return [Content(more | detail, log)]


def _of_logs(value: dict[str, Any], log: Log) -> list[Content] | None:
    if isinstance(value.get("logEvents"), list) and "messageType" in value:
        where = Log(_name(value.get("logGroup")), _name(value.get("logStream")), _name(value.get("owner")))
        if value["messageType"] == "CONTROL_MESSAGE":  # a test of the destination
            return []
        return [
            Content(each.get("message"), replace(where, at=each.get("timestamp")), logged=True)
            if isinstance(each, dict)
            else Content(each, where, logged=True)
            for each in value["logEvents"]
        ]
    if value.keys() >= {"message", "timestamp"} and value.keys() <= _LOG_EVENT:
        stream = _name(value.get("logStreamName")) or log.stream
        return [Content(value["message"], replace(log, stream=stream, at=value["timestamp"]), logged=True)]
    if "@message" in value:
        account, _, group = (_name(value.get("@log")) or "").rpartition(":")
        stream = _name(value.get("@logStream")) or log.stream
        where = Log(group or log.group, stream, account or log.account, value.get("@timestamp"))
        return [Content(value["@message"], where, logged=True)]
    if value.keys() == {"data"} and _is_packed(value["data"]):  # alone, as Firehose delivers to an HTTP endpoint
        return [Content(unpacked(value["data"]), log)]
    packed = value.get("kinesis") or value.get("awslogs") or value
    if isinstance(packed, dict):
        for beside, name in _PACKED:
            if isinstance(packed.get(name), str) and (packed is not value or beside in value):
                return [Content(unpacked(packed[name]), log)]
    return None


# Members that hold base64, each with one that stands beside it: Firehose's transformation, its failed records, Kinesis' GetRecords.
_PACKED = (("recordId", "data"), ("errorCode", "rawData"), ("SequenceNumber", "Data"))
_LOG_EVENT = frozenset({"message", "timestamp", "ingestionTime", "eventId", "logStreamName", "id", "extractedFields"})


_PACKED_TEXT = re.compile(r"(?:H4sI|e[wy])[A-Za-z0-9+/\s]+={0,2}\s*")  # how base64 of gzip and of an object begins


def _is_packed(text: Any) -> bool:
    return isinstance(text, str) and _PACKED_TEXT.fullmatch(text) is not None


def _query_row(value: list[Any], log: Log) -> list[Content] | None:
    """A row of GetQueryResults: a list of {field, value} from CloudWatch Logs, of {name: value} from CloudTrail Lake."""
    if not value or not all(isinstance(each, dict) for each in value):
        return None
    if all(each.keys() == {"field", "value"} for each in value):
        return [Content({str(each["field"]): each["value"] for each in value}, log)]
    if all(len(each) == 1 for each in value):  # CloudTrail Lake
        return [Content({name: cell for each in value for name, cell in each.items()}, log)]
    return None


def _name(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) and value else None


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] == "{"


def unpacked(text: str) -> bytes:
    """What a text of base64 holds, out of gzip where it is in that. Raises EvidenceError for data that cannot be unpacked."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceError(f"data is no base64 ({error})") from None
    if not data.startswith(b"\x1f\x8b"):
        return data
    plain = b""
    while data:  # members of gzip in a row are one text
        unpack = zlib.decompressobj(31)
        try:
            plain += unpack.decompress(data, LONGEST_PAYLOAD - len(plain) + 1)
        except zlib.error as error:
            raise EvidenceError(f"data is no gzip ({error})") from None
        if not unpack.eof:
            raise EvidenceError(f"data is cut, or unfolds to more than {LONGEST_PAYLOAD >> 20} MiB")
        data = unpack.unused_data
    return plain
