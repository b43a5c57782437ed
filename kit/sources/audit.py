"""Kubernetes audit events: audit.k8s.io/v1 Event, one JSON text each, many at a time through DuckDB into the table.

Every text is parsed once before DuckDB gets it, because DuckDB takes what is no JSON (NaN, 1e999, a trailing comma, any depth).
Oddities: auditID is a label that the client may choose, so rows are told apart by file and item; `sourceIPs` may be empty, and
all but its last element are the client's word; the name of an object made with generateName stands only in the response; long
lines are cut in CloudWatch Logs and then are no JSON. Source: k8s.io/apiserver, apis/audit/v1 types.
"""

from __future__ import annotations

import tempfile
from bisect import bisect
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kit import tables
from kit.errors import EvidenceError
from kit.sources import Log, Record, Reject, ocsf
from kit.sources.json_document import utc_time
from kit.sources.stream import LONGEST_LINE, TOO_LONG

TABLE = "audit"
TAKEN_AS = "Kubernetes audit log"
TAKES = (
    "JSON lines as the API server writes them: audit.k8s.io/v1, v1beta1",
    "`kind: EventList` (webhook batches), single events, pretty-printed or in a row",
    "CloudWatch Logs: get-log-events, filter-log-events, `aws logs tail`, Logs Insights (GetQueryResults, console CSV and JSON)",
    "CloudWatch Logs exported to S3 (a time before each line; the folder's name is the log stream)",
    "Security Lake: OCSF API Activity of EKS, 1.1.0 and 1.5.0, JSON and Parquet (without bodies, times to the millisecond)",
    "CloudWatch Logs subscriptions: Lambda, Kinesis and Firehose payloads (base64 of gzip), and what Firehose wrote to S3",
)
LISTS = ("items",)
BATCH_BYTES, BATCH_EVENTS = 4 << 20, 50_000

# The members of audit.k8s.io/v1 Event. Explicit, because a schema guessed from the first lines fails on real logs.
EVENT = {
    "kind": "VARCHAR",
    "apiVersion": "VARCHAR",
    "level": "VARCHAR",
    "auditID": "VARCHAR",
    "stage": "VARCHAR",
    "requestURI": "VARCHAR",
    "verb": "VARCHAR",
    "user": "STRUCT(username VARCHAR, uid VARCHAR, groups VARCHAR[], extra MAP(VARCHAR, VARCHAR[]))",
    "impersonatedUser": "STRUCT(username VARCHAR, uid VARCHAR, groups VARCHAR[], extra MAP(VARCHAR, VARCHAR[]))",
    "authenticationMetadata": "JSON",
    "sourceIPs": "VARCHAR[]",
    "userAgent": "VARCHAR",
    "objectRef": "STRUCT(resource VARCHAR, namespace VARCHAR, name VARCHAR, uid VARCHAR, apiGroup VARCHAR,"
    " apiVersion VARCHAR, resourceVersion VARCHAR, subresource VARCHAR)",
    "responseStatus": "JSON",
    "requestObject": "JSON",
    "responseObject": "JSON",
    "requestReceivedTimestamp": "VARCHAR",
    "stageTimestamp": "VARCHAR",
    "annotations": "MAP(VARCHAR, VARCHAR)",
}

_IN_RESPONSE = "json_extract_string(responseObject, ['$.metadata.name', '$.metadata.uid', '$.details.uid'])"


def _extra(key: str) -> str:
    return f"\"user\".extra['{key}'][1]"


def _time(member: str) -> str:
    # DuckDB also takes words (infinity, epoch) and years that no log has and Python's datetime does not hold.
    return f"CASE WHEN regexp_matches({member}, '^[12][0-9]{{3}}-') THEN try_cast({member} AS TIMESTAMPTZ) END"


_COLUMNS = {
    "audit_id": "auditID",
    "stage": "stage",
    "level": "level",
    "verb": "verb",
    "request_uri": "requestURI",
    "user_agent": "userAgent",
    "received_at": _time("requestReceivedTimestamp"),
    "stage_at": _time("stageTimestamp"),
    "user_name": '"user".username',
    "user_uid": '"user".uid',
    "user_groups": '"user".groups',
    "user_extra": 'CAST(to_json("user".extra) AS VARCHAR)',
    "credential_id": _extra("authentication.kubernetes.io/credential-id"),
    "claimed_pod_name": _extra("authentication.kubernetes.io/pod-name"),
    "claimed_pod_uid": _extra("authentication.kubernetes.io/pod-uid"),
    "claimed_node_name": _extra("authentication.kubernetes.io/node-name"),
    "access_key_id": _extra("accessKeyId"),
    "arn": _extra("arn"),
    "session_name": _extra("sessionName"),
    "impersonated_user_name": "impersonatedUser.username",
    "impersonated_groups": "impersonatedUser.groups",
    "source_addresses": "sourceIPs",
    "source_address": "sourceIPs[-1]",
    "api_group": "objectRef.apiGroup",
    "resource": "objectRef.resource",
    "subresource": "objectRef.subresource",
    "namespace": "objectRef.namespace",
    "name": "coalesce(objectRef.name, in_response[1])",
    "uid": "coalesce(objectRef.uid, in_response[2], in_response[3])",
    "response_code": "try_cast(json_extract_string(responseStatus, '$.code') AS INTEGER)",
    "dry_run": "coalesce(regexp_matches(requestURI, '[?&]dryRun=[^&]'), false)"
    " OR coalesce(json_array_length(requestObject, '$.dryRun') > 0 AND verb LIKE 'delete%', false)",
    "decision": "annotations['authorization.k8s.io/decision']",
    "decision_reason": "annotations['authorization.k8s.io/reason']",
    "issued_credential_id": "annotations['authentication.kubernetes.io/issued-credential-id']",
    "annotations": "CAST(to_json(annotations) AS VARCHAR)",
    "request_object": "CAST(requestObject AS VARCHAR)",
    "response_object": "CAST(responseObject AS VARCHAR)",
    "event_hash": "md5(concat_ws(chr(31), "
    + ", ".join(f'coalesce(CAST("{member}" AS VARCHAR), chr(30))' for member in EVENT)
    + "))",
    "reason": "CASE WHEN kind IS DISTINCT FROM 'Event' THEN 'not an audit event: kind is ' || coalesce(kind, 'missing')"
    " WHEN auditID IS NULL THEN 'auditID is missing'"
    " WHEN requestReceivedTimestamp IS NULL THEN 'requestReceivedTimestamp is missing'"
    f" WHEN {_time('requestReceivedTimestamp')} IS NULL"
    " THEN 'requestReceivedTimestamp is not a time: ' || requestReceivedTimestamp END",
}


def _flatten(events: str) -> str:
    """SQL that turns a relation of events (the members of EVENT) into the table's columns and `reason`."""
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COLUMNS.items())
    return f"SELECT {columns} FROM (SELECT *, {_IN_RESPONSE} AS in_response FROM ({events}))"


def takes(record: Record) -> bool:
    """Whether a record is an audit event; one that is cut or broken is judged by what it begins with."""
    event = record.value
    if not isinstance(event, dict) or event.get("kind", "Event") != "Event":
        return False
    if ocsf.is_audit_event(event):
        return True
    version = str(event.get("apiVersion", record.around.get("apiVersion")))
    return version.startswith("audit.k8s.io/") or ("verb" in event and bool(event.keys() & _OWN))


_OWN = {"auditID", "objectRef", "requestURI"}  # members that tell an event which does not say its version


def text_of(record: Record) -> bytes:
    """A record as the text of one event. Items of an EventList need not say what they are: then their list does.

    Raises EvidenceError for what JSON cannot hold.
    """
    event = record.value
    if ocsf.is_audit_event(event):
        event = ocsf.audit_event_in(event)
    elif record.text is not None:
        return record.text.encode("utf-8", "surrogateescape")
    if isinstance(event, dict) and "kind" not in event and record.around.get("kind") == "EventList":
        event = {"kind": "Event", "apiVersion": record.around.get("apiVersion"), **event}
    try:
        return orjson.dumps(event)
    except TypeError as error:
        raise EvidenceError(f"cannot be kept as JSON ({error})") from None


class Message(NamedTuple):
    """The text of one event: where it starts, where CloudWatch Logs kept it, and its time there (utc_time reads it)."""

    line: int
    item: int
    text: bytes
    log: Log
    at: Any = None


class Loader:
    """Writes events into the Parquet file `target` (tables.AUDIT), many at a time. What is no event becomes a reject.

    rejects: takes each reject. scratch: a folder for passing files, whose path holds nothing that DuckDB would read as a pattern.
    """

    def __init__(
        self,
        target: Path,
        file: str,
        rejects: Callable[[Reject], None],
        database: duckdb.DuckDBPyConnection,
        scratch: Path,
    ) -> None:
        self.rows = 0
        self._file, self._rejects, self._database, self._scratch = file, rejects, database, scratch
        self._schema = tables.AUDIT.append(pa.field("reason", pa.string()))
        self._target = target
        self._writer: pq.ParquetWriter | None = None
        self._held, self._size = list[Message](), 0
        self._last_at: datetime | None = None

    def add(self, message: Message) -> None:
        """Take an event; it is written with others, later."""
        self._held.append(message)
        self._size += len(message.text)
        if self._size >= BATCH_BYTES or len(self._held) >= BATCH_EVENTS:
            self._write()

    def close(self) -> None:
        """Write the rest; without any event there is no file."""
        if self._held:
            self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        batch, self._held, self._size = self._held, [], 0
        refused = list[Reject]()
        good = [message for message in batch if not _refused(message, refused)]
        table = self._events(good, refused)
        kept = table.filter(table["reason"].is_null())
        by_item = {message.item: message for message in good} if kept.num_rows < table.num_rows else {}
        for row in table.filter(table["reason"].is_valid()).select(["item", "reason"]).to_pylist():
            refused.append(_reject(by_item[row["item"]], row["reason"]))
        if kept.num_rows:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._target, tables.AUDIT, compression="zstd")
            self._writer.write_table(kept.drop_columns(["reason"]))
            self.rows += kept.num_rows
        self._say_when(sorted(refused, key=lambda one: one.item), kept, {message.item: message for message in batch})

    def _say_when(self, refused: list[Reject], kept: pa.Table, by_item: dict[int, Message]) -> None:
        """Hand on rejects with about when they happened: as CloudWatch Logs says, else when the event before them did."""
        items, times = kept["item"], kept["received_at"]
        for reject in refused:
            at = utc_time(by_item[reject.item].at)
            if at is None:
                before = bisect(items.to_pylist(), reject.item) if len(refused) < 50 else 0
                at = times[before - 1].as_py() if before else self._last_at
            self._rejects(replace(reject, near_at=at))
        if kept.num_rows:
            self._last_at = times[-1].as_py()

    def _events(self, good: list[Message], rejects: list[Reject]) -> pa.Table:
        """Rows of texts that are JSON objects. Those that DuckDB still refuses (a key that stands twice, a list of objects where
        texts should be) are found by halving, and rejected."""
        if not good:
            return self._schema.empty_table()
        with tempfile.NamedTemporaryFile(suffix=".jsonl", dir=self._scratch) as part:
            part.writelines(message.text.rstrip(b"\r\n").replace(b"\n", b" ") + b"\n" for message in good)
            part.flush()
            refusal = "it is not one event"
            try:
                table = self._database.sql(_flatten(_read_json(Path(part.name)))).to_arrow_table()
            except duckdb.InvalidInputException as error:
                table, refusal = None, str(error).splitlines()[0]
        if len(good) == 1 and (table is None or table.num_rows != 1):
            detail = refusal.removeprefix("Invalid Input Error: ").replace(f' in file "{part.name}", in line 1', "")
            rejects.append(_reject(good[0], detail.replace(part.name, self._file)))
            return self._schema.empty_table()
        if table is None or table.num_rows != len(good):
            middle = len(good) // 2
            return pa.concat_tables(self._events(half, rejects) for half in (good[:middle], good[middle:]))
        return self._placed(table, good)

    def _placed(self, table: pa.Table, good: list[Message]) -> pa.Table:
        """The rows with their places, which the events' own text does not say."""
        places: dict[str, Any] = {
            "cluster": [message.log.cluster for message in good],
            "account": [message.log.account for message in good],
            "file": [self._file] * len(good),
            "line": [message.line for message in good],
            "item": [message.item for message in good],
            "log_stream": [message.log.stream for message in good],
        }
        columns = [
            pa.array(places[field.name], field.type) if field.name in places else table[field.name].cast(field.type)
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)


def _read_json(path: Path) -> str:
    members = ", ".join(f"'{name}': '{kind}'" for name, kind in EVENT.items())
    return (
        f"SELECT * FROM read_json('{path}', format = 'newline_delimited', hive_partitioning = false,"
        f" compression = 'uncompressed', columns = {{{members}}})"
    )


def _refused(message: Message, rejects: list[Reject]) -> bool:
    """Whether a text is no JSON object, or has a list or an object where the form has another; then it is among the rejects."""
    if len(message.text) > LONGEST_LINE:
        rejects.append(_reject(message, TOO_LONG))
        return True
    try:
        value = orjson.loads(message.text)
    except orjson.JSONDecodeError as error:
        rejects.append(_reject(message, f"not JSON: {error}"))
        return True
    reason = "not a JSON object" if not isinstance(value, dict) else _misfit(value)
    if reason:
        rejects.append(_reject(message, reason))
    return bool(reason)


def _misfit(event: dict[str, Any]) -> str:
    """Which member is no list or no object though it has to be one; DuckDB would refuse the whole batch for it."""
    places: list[tuple[str, Any, type]] = [("sourceIPs", event.get("sourceIPs"), list)]
    places += [(name, event.get(name), dict) for name in ("user", "impersonatedUser", "objectRef", "annotations")]
    for name in ("user", "impersonatedUser"):
        inside = event.get(name)
        if isinstance(inside, dict):
            places += [(f"{name}.groups", inside.get("groups"), list), (f"{name}.extra", inside.get("extra"), dict)]
            extra = inside.get("extra")
            if isinstance(extra, dict):
                places += [(f"{name}.extra.{key}", value, list) for key, value in extra.items()]
    for place, value, kind in places:
        if value is not None and not isinstance(value, kind):
            return f"{place} is not a JSON {'list' if kind is list else 'object'}"
    return ""


def _reject(message: Message, reason: str) -> Reject:
    return Reject(message.line, message.item, reason, message.text[:800].decode(errors="replace"))
