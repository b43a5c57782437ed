"""One file of evidence into its parts of the store: tell what it is, send each record to its reader, count what becomes of it."""

from __future__ import annotations

import json
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kit.errors import EvidenceError
from kit.evidence.formats.envelope import opened, read_text
from kit.evidence.formats.form import CONTAINER_LOG, JSON, LINES, beginning, form_of, message, records_of, stream_of
from kit.evidence.formats.json_document import checked, peek, records
from kit.evidence.formats.stream import TOO_LONG, Reading, head, whole_lines
from kit.evidence.readers import audit, authenticator, aws, cloudtrail, cluster, findings, foreign
from kit.evidence.record import NO_LOG, OTHER_LOG, Log, Record, Reject
from kit.store import tables
from kit.store.store import part_path, parts_of_file, read_parquet

READERS: tuple[ModuleType, ...] = (cluster, findings, cloudtrail, audit, authenticator, aws)
# An object of Kubernetes may look like anything else, so it is asked for first.
LISTS = tuple(dict.fromkeys(name for reader in (*READERS, foreign) for name in reader.LISTS))
SNIFFED = (64 << 10, 1 << 20)  # bytes of a file that are looked at: more only where the first did not do
WRITTEN_AT_ONCE = 5_000, 16 << 20  # rows; letters in them

Told = Callable[[int, int], None]
"""Called with the bytes of the file that are read and the records that were found."""


@dataclass
class LedgerEntry:
    """What became of one file. records = rows + duplicates + rejects; times are ISO 8601 in UTC, None when there are none."""

    path: str
    sha256: str
    bytes: int
    taken_as: str | None
    records: int = 0
    rows: int = 0
    duplicates: int = 0
    rejects: int = 0
    first_at: str | None = None
    last_at: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Kind:
    """What a file is: its form, and the reader that takes its first record."""

    form: str
    reader: ModuleType


def kind_of(path: Path) -> Kind:
    """What a file is, by its beginning. Raises EvidenceError with the reason when no reader takes it."""
    seen, form, beginning_of, known = list[Record](), "", b"", ""
    for size in SNIFFED:
        reading = Reading()
        beginning_of, whole = head(path, size, reading)
        if not beginning_of.strip():
            raise EvidenceError(reading.damage or "the file is empty")
        if beginning_of.startswith(CONTAINER_LOG):
            raise EvidenceError(
                "logs of containers, which whoever runs in them writes: no evidence of what happened to them"
            )
        form = form_of(beginning_of)
        seen = list(beginning(path, beginning_of, whole, form, LISTS)) if form else []
        for record in seen:
            try:
                if (reader := _taker(record)) is not None:
                    return Kind(form, reader)
            except EvidenceError as error:
                known = known or str(error)
        if form == JSON and (reader := _of_empty_list(beginning_of)):
            return Kind(form, reader)
        if whole:
            break
    raise EvidenceError(known or foreign.why(beginning_of, form, seen))


# Log streams of an EKS control plane's log group (EKS User Guide, control plane logs).
STREAMS = {audit: "kube-apiserver-audit-", authenticator: "authenticator-"}
# Where CloudTrail and EventBridge write (CloudTrail User Guide, log stream names; EventBridge User Guide, targets): elsewhere
# whoever runs in a container may write.
_OF_TRAIL = re.compile(r"\d{12}_CloudTrail[_-]")
_OF_EVENTS = "/aws/events/"


def _taker(record: Record) -> ModuleType | None:
    return next((reader for reader in READERS if _holds(record.log, reader) and reader.takes(record)), None)


def _holds(log: Log, reader: ModuleType) -> bool:
    """Whether records of a reader may be in a log: whoever may write to a log may write there what looks like an event of another."""
    if log == NO_LOG:
        return True
    if reader in STREAMS:
        return (not log.group or log.cluster is not None) and (log.stream or STREAMS[reader]).startswith(
            STREAMS[reader]
        )
    if reader not in (findings, cloudtrail) or log.cluster:
        return False
    if not log.group or log.group.startswith(_OF_EVENTS):
        return True
    is_trail = _OF_TRAIL.match(log.stream) is not None if log.stream else "cloudtrail" in log.group.lower()
    return reader is cloudtrail and is_trail


def _of_empty_list(beginning_of: bytes) -> ModuleType | None:
    """The reader of a document that holds no record, such as {"Findings": []}."""
    top = peek(beginning_of)
    if not isinstance(top, dict):
        return None
    empty = [(reader, name) for reader in READERS for name in reader.LISTS if top.get(name) == []]
    return next(
        (reader for reader, name in empty if name != "items" or reader.takes(Record(1, 1, {}, name, top))), None
    )


@dataclass
class Parts:
    """The parts of the store that one file fills, in the making. number: of the file in its case. used: what its records are called."""

    store: Path
    number: int
    entry: LedgerEntry
    database: duckdb.DuckDBPyConnection
    used: dict[str, None] = field(default_factory=dict)
    _open: dict[str, _Part] = field(default_factory=dict)
    _loader: audit.Loader | None = None
    _in_other: bool = False

    def of(self, table: str) -> list[Path]:
        """The parts of a table that are written."""
        return parts_of_file(self.store, table, self.number)

    def clear(self) -> None:
        """Remove what a call that was cut off has left."""
        for table in tables.TABLES:
            for part in self.of(table):
                part.unlink()

    @property
    def rows(self) -> int:
        """Rows in all tables but the rejects."""
        listed = sum(part.count for table, part in self._open.items() if table != "rejects")
        return listed + (self._loader.rows if self._loader else 0)

    @property
    def rejects(self) -> int:
        """Rejects."""
        return self._open["rejects"].count if "rejects" in self._open else 0

    def reject(self, one: Reject) -> None:
        """Take a reject."""
        self._part("rejects").add({"file": self.entry.path} | asdict(one))

    def row(self, table: str, record: Record, values: dict[str, Any]) -> None:
        """Take a row of a record."""
        place = {"cluster": record.log.cluster, "account": record.log.account, "file": self.entry.path}
        if "log_stream" in tables.TABLES[table].names:
            place["log_stream"] = record.log.stream
        filled = {name: value for name, value in values.items() if value is not None}
        self._part(table).add(place | {"line": record.line, "item": record.item} | filled)

    def _other(self, record: Record, reason: str) -> None:
        """Take a line from among audit events that is none of them: its records go to their own readers, else it is a reject."""
        if self._in_other:
            self.reject(Reject(record.line, record.item, reason, record.raw))
            return
        self._in_other, logged = True, record.log != NO_LOG
        for found in records((record.text or "").encode(), () if logged else LISTS):
            for each in (
                opened(replace(found, log=record.log), logged=logged) if isinstance(found, Record) else (found,)
            ):
                of_line = replace(each, line=record.line, item=record.item)
                if isinstance(of_line, Reject):
                    self.reject(of_line)
                else:
                    _send(of_line, None, self, reason)
        self._in_other = False

    @property
    def loader(self) -> audit.Loader:
        """Takes the audit events of the file."""
        if self._loader is None:
            target = partial(part_path, self.store, "audit", self.number)
            self._loader = audit.Loader(target, self.entry.path, self.reject, self._other, self.database)
        return self._loader

    def _part(self, table: str) -> _Part:
        if table not in self._open:
            self._open[table] = _Part(part_path(self.store, table, self.number), tables.TABLES[table])
        return self._open[table]

    def close(self) -> None:
        """Write all parts to their end."""
        if self._loader:
            self._loader.close()
        for part in self._open.values():
            part.close()
        if self._loader and self.rejects:
            self._say_when()

    def abandon(self) -> None:
        """End what is under way; the parts are not whole and no note says that they are."""
        if self._loader:
            self._loader.abandon()

    def _say_when(self) -> None:
        """Rejects of an audit log happened about when the event before them did, where CloudWatch Logs does not say."""
        (rejects,), events = self.of("rejects"), self.of("audit")
        if not events:
            return
        dated = rejects.with_suffix(".dated")
        columns = ", ".join(f"r.{name}" for name in tables.REJECTS.names if name != "near_at")
        self.database.execute(
            f"COPY (SELECT {columns}, coalesce(r.near_at, e.received_at) AS near_at FROM {read_parquet([rejects])} r"
            f" ASOF LEFT JOIN (SELECT item, received_at FROM {read_parquet(events)}) e ON r.item >= e.item ORDER BY r.item)"
            f" TO {tables.quoted(dated)} ({tables.PARQUET})"
        )
        dated.replace(rejects)


class _Part:
    """A part of a table in the making, written some rows at a time, so that few are held at once."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.count = path, schema, 0
        self._held, self._size = list[dict[str, Any]](), 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Add a row: columns that are not in it, and None, stay empty."""
        self._held.append(row)
        self.count += 1
        self._size += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._held) >= WRITTEN_AT_ONCE[0] or self._size >= WRITTEN_AT_ONCE[1]:
            self._write()

    def _write(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd")
        self._writer.write_table(tables.table_of(self._held, self.schema))
        self._held.clear()
        self._size = 0

    def close(self) -> None:
        """Write the rest; without any row there is no file."""
        if self._held:
            self._write()
        if self._writer is not None:
            self._writer.close()


def load(path: Path, kind: Kind, parts: Parts, told: Told) -> None:
    """Read a file into its parts and fill its ledger entry: every record becomes a row or a reject.

    path: holds nothing that a program would read as a pattern; the log stream that it names is taken from the entry's path.
    """
    parts.clear()
    entry, reading = parts.entry, Reading()
    parts.used, broken = dict.fromkeys([kind.reader.TAKEN_AS]), 0
    stream = stream_of(entry.path)
    if kind.form == LINES and kind.reader is audit:
        source = _beside_events(path, stream, parts, reading, told)
    else:
        source = records_of(path, kind.form, LISTS, reading, stream)
    try:
        for number, record in enumerate(_with_their_lists(source), 1):
            if isinstance(record, Reject):
                broken += record.is_broken
                parts.reject(_hidden(record) if kind.reader is cluster else record)
            else:
                _send(record, kind.reader, parts)
            if number % 1000 == 0:
                told(reading.position, number)
        parts.close()
    except BaseException:
        parts.abandon()
        raise
    entry.taken_as = " and ".join(parts.used)
    entry.note = reading.damage
    if broken and kind.form == JSON and not reading.damage:
        entry.note = (
            f"damaged in {broken} places: what stands from there to the next document on a line of its own is not read"
        )
    entry.rows, entry.rejects = parts.rows, parts.rejects
    entry.records = entry.rows + entry.rejects
    entry.first_at, entry.last_at = _span(parts)


def _beside_events(
    path: Path, stream: str | None, parts: Parts, reading: Reading, told: Told
) -> Iterator[Record | Reject]:
    """The lines of an audit log that are no JSON; all others go to the loader as they are, because there are so many."""
    loader = parts.loader
    log = Log(stream=stream) if stream else NO_LOG
    is_audit = _holds(log, audit)
    for lines in whole_lines(path, reading):
        told(reading.position, lines.first)
        if is_audit and lines.text.startswith(b"{") and not lines.too_long and loader.add_lines(lines, log):
            continue
        for line in lines.each():
            text, of, at = message(line.text, log)
            if line.too_long:
                yield Reject(line.number, line.number, TOO_LONG, line.text[:800].decode(errors="replace"))
            elif (text[:1] != b"{" or not is_audit) and (plain := _as_text(text)):
                yield read_text(plain, Record(line.number, line.number, None, log=of))
            else:
                loader.add(audit.Message(line.number, line.number, text, of, at))


def _as_text(line: bytes) -> str:
    """A line as text; empty for what is no UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return ""


def _with_their_lists(source: Iterator[Record | Reject]) -> Iterator[Record | Reject]:
    """Items that do not say what they are wait for the end of their list, where a program that sorts names writes its kind."""
    held: _Held | None = None
    for record in source:
        if held and (isinstance(record, Reject) or record.around is not held.around):
            yield from held.records()
            held = None
        if isinstance(record, Record) and _waits(record):
            held = held or _Held(record.around)
            held.add(record)
        else:
            yield record
    if held:
        yield from held.records()


class _Held:
    """Records of one list that wait: on disk, in a file without a name, where they are many."""

    def __init__(self, around: dict[str, Any]) -> None:
        self.around = around
        # None for a record that is on disk, else the record: nested too deeply to be written.
        self._deep = list[Record | None]()
        self._file = tempfile.SpooledTemporaryFile(max_size=WRITTEN_AT_ONCE[1])  # noqa: SIM115 (closed in records)

    def add(self, record: Record) -> None:
        try:
            self._file.write(pickle.dumps(replace(record, around={})))
            self._deep.append(None)
        except RecursionError:
            self._deep.append(record)

    def records(self) -> Iterator[Record]:
        with self._file as file:
            file.seek(0)
            for record in self._deep:
                yield record or replace(pickle.load(file), around=self.around)  # noqa: S301 (of our own making)


def _waits(record: Record) -> bool:
    value = record.value
    return (
        record.of == "items" and "kind" not in record.around and isinstance(value, dict) and value.get("kind") is None
    )


def _send(record: Record, main: ModuleType | None, parts: Parts, otherwise: str = "") -> None:
    """Give a record to the reader that takes it, else to the file's own (main); where there is none, why it is a reject (otherwise)."""
    reader = main
    try:
        reader = _taker(record)
        if reader is None and _is_of_other_log(record):
            raise EvidenceError(OTHER_LOG)
        reader = reader or main
        if reader is None:
            raise EvidenceError(otherwise)
        if reader is audit:
            odd = record.broken if record.text is None else ""
            text = audit.text_of(record)
            parts.loader.add(audit.Message(record.line, record.item, text, record.log, record.log.at, odd or None))
            parts.used[audit.TAKEN_AS] = None
            return
        if record.broken:
            raise EvidenceError(record.broken)
        rows = [checked(values, tables.TABLES[reader.TABLE]) for values in reader.rows(record)]
    except EvidenceError as error:
        reject = Reject(record.line, record.item, str(error), record.raw)
        parts.reject(_hidden(reject) if cluster in (reader, main) else reject)
        return
    except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError) as error:
        # No reader should raise these (tests/test_fuzz.py), but where one does, one record is lost, not the case.
        parts.reject(Reject(record.line, record.item, f"{UNEXPECTED} ({type(error).__name__}: {error})", ""))
        return
    for values in rows:
        parts.row(reader.TABLE, record, values)
    parts.used[reader.TAKEN_AS] = None


def _is_of_other_log(record: Record) -> bool:
    """Whether a record that no reader takes is no loss: plain text, or a message of a log that holds no audit events."""
    if record.log != NO_LOG and not _holds(record.log, audit):
        return True
    return record.text is not None and isinstance(record.value, str)


def _hidden(reject: Reject) -> Reject:
    """A reject without its raw text, which may be a Secret's."""
    return Reject(reject.line, reject.item, reject.reason, "")


UNEXPECTED = "is of a form that this kit does not expect"
TIME_OF = {"audit": "received_at", "sign_ins": "signed_in_at", "trail": "event_at", "findings": "updated_at"}


def _span(parts: Parts) -> tuple[str | None, str | None]:
    found = list[datetime]()
    for table, column in TIME_OF.items():
        if written := parts.of(table):
            ends = f"SELECT min({column}) AS first_at, max({column}) AS last_at FROM {read_parquet(written)}"
            (times,) = tables.rows_of(parts.database.sql(ends).to_arrow_table())
            found += [at for at in times.values() if at]
    return (_iso(min(found)), _iso(max(found))) if found else (None, None)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def is_done(note: Path, entry: LedgerEntry) -> bool:
    """Whether an earlier call has loaded this file; then its entry is filled from that call's note."""
    if not note.exists():
        return False
    kept = json.loads(note.read_text())
    if (kept["path"], kept["sha256"]) != (entry.path, entry.sha256):
        return False
    vars(entry).update(kept)
    return True
