"""Kubernetes audit events: audit.k8s.io/v1 Event, one JSON text each, many at a time through DuckDB into the table.

Every text is parsed once before DuckDB gets it, because DuckDB takes what is no JSON (NaN, 1e999, a trailing comma, any depth).
Oddities: auditID is a label that the client may choose, so rows are told apart by file and item; `sourceIPs` may be empty, and
all but its last element are the client's word; the name of an object made with generateName stands only in the response; long
lines are cut in CloudWatch Logs and then are no JSON; a patch is logged as the caller sent it, so what no parser holds must not hide the
event that it stands in. Source: k8s.io/apiserver, apis/audit/v1 types, LogRequestPatch.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import simdjson

from kit.evidence.formats.json_text import repaired
from kit.evidence.formats.stream import LONGEST_LINE, TOO_LONG, Lines
from kit.evidence.readers import ocsf
from kit.evidence.readers.audit_columns import EVENT_TEXTS, columns_of
from kit.evidence.record import Log, Record, Reject
from kit.lenient import utc_time
from kit.store import tables
from kit.store.tables import quoted

TABLE = tables.AUDIT.name
TAKEN_AS = tables.AUDIT.title
TAKES = (
    "JSON lines as the API server writes them: audit.k8s.io/v1, v1beta1",
    "`kind: EventList` (webhook batches), single events, pretty-printed or in a row",
    "CloudWatch Logs: get-log-events, filter-log-events, `aws logs tail`, Logs Insights (GetQueryResults, console CSV and JSON)",
    "the CloudWatch console's download (CSV: timestamp, message), messages as JSON strings, and answers that were cut by hand (each whole row)",
    "what log stores hand out: Splunk (`_raw`), OpenSearch and Elastic (`hits`, `_source`, `fields`, rows of SQL), Filebeat, Fluent Bit (`log`), Loki (query, logcli, Grafana), Datadog, Graylog, Kafka; but no container's",
    "CloudWatch Logs exported to S3 (a time before each line; the folder's name is the log stream)",
    "Security Lake: OCSF API Activity of EKS, 1.1.0 and 1.5.0, JSON and Parquet (without bodies, times to the millisecond)",
    "CloudWatch Logs subscriptions: Lambda, Kinesis and Firehose payloads (base64 of gzip, also as bare text), and what Firehose wrote to S3",
    "tables of consoles as CSV with the whole event in a column: Kibana, Grafana, Datadog, Microsoft Sentinel (AWSCloudWatch)",
)
LISTS = ("items",)
BATCH_BYTES = 1 << 20
NO_EVENT = "not an audit event"
HELD_BATCHES = 4  # waiting for a worker
ENDS_WITHIN = 10  # seconds, for a worker that is told to; one that never began does not say so


def takes(record: Record) -> bool:
    """Whether a record is an audit event; one that is cut or broken is judged by what it begins with."""
    event = record.value
    if not isinstance(event, dict) or event.get("kind") not in (None, "Event"):
        return False
    if ocsf.is_audit_event(event):
        return True
    if "@timestamp" in event and not event.keys() & {"user", "level", "stage"}:
        return False  # some columns of a query, whose row is no event
    if event.keys() & _TAKEN_APART:
        return False
    version = str(event.get("apiVersion", record.around.get("apiVersion")))
    return version.startswith("audit.k8s.io/") or ("verb" in event and bool(event.keys() & _OWN))


_TAKEN_APART = {"user.username", "objectRef.resource"}  # columns into which a log store takes an event apart
_OWN = {"auditID", "objectRef", "requestURI"}  # members that tell an event which does not say its version


def event_text(record: Record) -> bytes:
    """A record as the text of one event. Items of an EventList need not say what they are: then their list does."""
    event = record.value
    if ocsf.is_audit_event(event):
        event = ocsf.audit_event_in(event)
    elif record.text is not None:
        return record.text.encode("utf-8", "surrogatepass")  # what is no Unicode stays none, and is refused
    if isinstance(event, dict) and event.get("kind") is None and record.around.get("kind") == "EventList":
        event = {**event, "kind": "Event", "apiVersion": event.get("apiVersion") or record.around.get("apiVersion")}
    try:
        return orjson.dumps(event)
    except TypeError:  # numbers over 64 bits, halves of surrogate pairs, which the loader repairs
        return json.dumps(event).encode()


_NO_JSON = (
    ValueError,
    TypeError,
    RuntimeError,
)  # what pysimdjson raises for it: broken, a number in a list, nested too deeply


class Message(NamedTuple):
    """The text of one event: where it starts, where CloudWatch Logs kept it, its time there (utc_time reads it), what was repaired in it."""

    line: int
    item: int
    text: bytes
    log: Log
    at: Any = None
    repaired: str | None = None


class Loader:
    """Writes events into Parquet files of the table's columns (tables.AUDIT), many at a time. What is no event becomes a reject.

    target: path of the file that a worker of a number writes. file: name of the evidence. rejects: takes each reject. others: takes each record that is
    no event, and why. careful: a text that DuckDB cannot parse becomes a reject; else its worker fails with duckdb.InvalidInputException.
    Workers are threads, each with a statement of DuckDB's that reads batches as they come, so all cores are used and little is held.
    """

    def __init__(
        self,
        target: Callable[[int], Path],
        file: str,
        rejects: Callable[[Reject], None],
        others: Callable[[Record, str], None],
        database: duckdb.DuckDBPyConnection,
        careful: bool = False,
    ) -> None:
        self.rows = 0
        self._target, self._database = target, database
        self._columns = columns_of(file, careful)
        self._rejects, self._others = rejects, others
        self._parser = simdjson.Parser()
        self._held, self._size = list[Message](), 0
        self._workers = list[_Worker]()
        self._batches = 0

    def add(self, message: Message) -> None:
        """Take an event; it is written with others, later."""
        reason, is_event = self._fault(message.text)
        if reason and is_event and (message := self._repaired(message)).repaired:
            reason, is_event = self._fault(message.text)
        if not is_event:
            text = message.text.decode(errors="replace")
            self._others(Record(message.line, message.item, None, raw=text[:200], text=text, log=message.log), reason)
            return
        if reason:
            self._rejects(_reject(message, reason))
            return
        self._held.append(message)
        self._size += len(message.text)
        if self._size >= BATCH_BYTES:
            self._write_held()

    def add_lines(self, lines: Lines, log: Log) -> bool:
        """Take whole lines; False, and none is taken, where one of them is no event, or not one JSON object with each member once.

        They are parsed as one list, which is many times faster than one by one. DuckDB then parses each by itself.
        """
        text = lines.text.removesuffix(b"\n")
        try:
            listed: Any = self._parser.parse(b"[" + text.replace(b"\n", b",") + b"]")
            count = 0
            for event in listed:
                names = list(event)
                count += 1
                if type(event) is not simdjson.Object or len(set(names)) != len(names):
                    return False
                if "auditID" not in names or event.get("kind") != "Event":
                    return False
        except _NO_JSON:
            return False
        if count != lines.count:
            return False
        starts = np.array([*lines.starts, len(text)], np.int32)
        texts = pa.StringArray.from_buffers(count, pa.py_buffer(starts), pa.py_buffer(text))
        numbered = np.arange(lines.first, lines.first + count, dtype=np.int64)
        numbers = pa.Array.from_buffers(tables.COUNT, count, [None, pa.py_buffer(numbered)])
        of_all = (log.cluster, log.account, log.stream, None)
        places = (pa.repeat(tables.array_of([value], tables.TEXT)[0], count) for value in of_all)
        self._write_held()
        self._give(pa.record_batch([numbers, numbers, *places, texts], schema=EVENT_TEXTS))
        return True

    def close(self) -> None:
        """Write the rest; without any event there is no file. Raises what a worker raised."""
        self._write_held()
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            self.rows += self._kept(worker.finished())

    def abandon(self) -> None:
        """End the workers; what they wrote is no whole file."""
        for worker in self._workers:
            worker.end()
            worker.ended.wait(ENDS_WITHIN)

    def _fault(self, text: bytes) -> tuple[str, bool]:
        """Why a text is no event with each member once ("" when it is one); and whether it may be one, or is of another kind."""
        if len(text) > LONGEST_LINE:
            return TOO_LONG, True
        try:
            event: Any = self._parser.parse(text)
            names = list(event) if type(event) is simdjson.Object else None
            kind = event.get("kind") if names is not None else None
        except _NO_JSON as error:
            try:
                orjson.loads(text)  # its reasons say where
            except orjson.JSONDecodeError as reason:
                return f"not JSON: {reason}", True
            return f"not JSON: {error}", True
        if names is None:
            return "not a JSON object", True
        if len(set(names)) != len(names):
            seen = set[str]()
            twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            return f"{twice} stands twice in it (duplicate key)", True
        if kind is None and "verb" in names and _OWN & set(names):
            return "", True
        if kind != "Event":
            shown = {simdjson.Array: "a list", simdjson.Object: "an object", type(None): "missing"}.get(
                type(kind), kind
            )
            return f"{NO_EVENT}: kind is {shown}", False
        is_audit = "auditID" in names or "verb" in names or str(event.get("apiVersion")).startswith("audit.k8s.io/")
        return ("", True) if is_audit else ("auditID is missing", False)

    @staticmethod
    def _repaired(message: Message) -> Message:
        """A message that every parser holds, where that is all that is wrong with it."""
        text = message.text.decode(errors="replace")
        found = repaired(text)
        if found.end < 0 or text[found.end :].strip():
            return message
        stray = "" if text.encode() == message.text else "bytes that are no UTF-8"
        says = "; ".join(each for each in (message.repaired, stray, found.says) if each)
        return message._replace(text=found.text.encode(), repaired=says) if says else message

    def _write_held(self) -> None:
        batch, self._held, self._size = self._held, [], 0
        if batch:
            columns = zip(
                *(
                    (m.line, m.item, m.log.cluster, m.log.account, m.log.stream, m.repaired, m.text.decode())
                    for m in batch
                ),
                strict=True,
            )
            self._give(
                pa.record_batch(
                    [tables.array_of(one, of.type) for one, of in zip(columns, EVENT_TEXTS, strict=True)],
                    schema=EVENT_TEXTS,
                )
            )

    def _give(self, batch: pa.RecordBatch) -> None:
        """Hand a batch to the next worker in turn, so that the same evidence always makes the same files."""
        turn = self._batches % max(1, min(tables.MOST_WORKERS, (os.cpu_count() or 1) - 1))  # one core is for the texts
        if turn == len(self._workers):
            self._workers.append(_Worker(self._database.cursor(), self._columns, self._target(turn)))
            self._workers[turn].start()  # known before it runs: an interrupt in between must find it
        self._workers[turn].give(batch)
        self._batches += 1

    def _kept(self, part: Path) -> int:
        """How many rows of a part are events; what is none is taken out of it, as rejects."""
        with pq.ParquetFile(part) as file:
            reasons = file.read(columns=["reason"]).column(0)
        if reasons.null_count == len(reasons):
            return len(reasons)
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(1000, columns=["line", "item", "reason", "raw"]):
                for row in batch.filter(batch["reason"].is_valid()).to_pylist():
                    self._rejects(Reject(**row))
        events = part.with_suffix(".events")
        self._database.execute(
            f"COPY (SELECT * FROM read_parquet({quoted(part)}, hive_partitioning = false) WHERE reason IS NULL) TO {quoted(events)} ({tables.AS_PARQUET})"
        )
        events.replace(part)
        kept = pq.read_metadata(part).num_rows
        if not kept:
            part.unlink()
        return int(kept)


class _Worker(threading.Thread):
    """One statement that copies the batches it is given into a Parquet file."""

    def __init__(self, database: duckdb.DuckDBPyConnection, columns: str, target: Path) -> None:
        super().__init__(daemon=True)
        self._database, self._columns, self._target = database, columns, target
        self._given = queue.Queue[pa.RecordBatch | None](maxsize=HELD_BATCHES)
        self._failed: BaseException | None = None
        self._over = False
        self.ended = threading.Event()

    def give(self, batch: pa.RecordBatch) -> None:
        if self._failed is not None:
            raise self._failed
        self._given.put(batch)

    def end(self) -> None:
        self._given.put(None)

    def finished(self) -> Path:
        self.join()
        if self._failed is not None:
            raise self._failed
        return self._target

    def run(self) -> None:
        try:
            self._database.register("texts", pa.RecordBatchReader.from_batches(EVENT_TEXTS, self._batches()))
            self._database.execute(f"COPY ({self._columns}) TO {quoted(self._target)} ({tables.AS_PARQUET})")
        except BaseException as error:  # noqa: BLE001 (raised again where the worker is waited for)
            self._failed = error
            for _ in self._batches():  # whoever gives must not wait for ever
                pass
        finally:
            self.ended.set()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """What is given until the end, which comes once."""
        while not self._over and (batch := self._given.get()) is not None:
            yield batch
        self._over = True


def _reject(message: Message, reason: str) -> Reject:
    raw = message.text[:800].decode(errors="replace")
    return Reject(message.line, message.item, reason, raw, utc_time(message.at))
