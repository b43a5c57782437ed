"""The parts of the store that one file fills, and its rejects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kit.errors import EvidenceError
from kit.evidence.fitting import fitted, said_of
from kit.evidence.formats.envelope import opened
from kit.evidence.formats.json_document import records
from kit.evidence.formats.json_text import as_held
from kit.evidence.readers import audit, cluster, foreign
from kit.evidence.record import NO_LOG, OTHER_CLOUD, OTHER_LOG, Record, Reject
from kit.evidence.sniff import ALL_LISTS, holds_records, taker_of
from kit.store import tables
from kit.store.ledger import LedgerEntry
from kit.store.parquet import part_path, parts_of_file, read_parquet

WRITTEN_AT_ONCE = 5_000, 16 << 20  # rows; letters in them


@dataclass
class Parts:
    """The parts of the store that one file fills, in the making. number: of the file in its case. used: what its records are called.

    repaired: what was changed in records that no JSON parser holds, one each; audit events have a column for it. odd: members of another
    kind than they should be, which are left out, one text a record.
    careful: audit events are read so that one that DuckDB refuses becomes a reject, which is slower.
    """

    store: Path
    number: int
    entry: LedgerEntry
    database: duckdb.DuckDBPyConnection
    used: dict[str, None] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    careful: bool = False
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
        self._part("rejects").add({"file": self.entry.path} | vars(one))

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
        for found in records((record.text or "").encode(), () if logged else ALL_LISTS):
            for each in (
                opened(replace(found, log=record.log), ALL_LISTS, logged=logged)
                if isinstance(found, Record)
                else (found,)
            ):
                of_line = replace(each, line=record.line, item=record.item)
                if isinstance(of_line, Reject):
                    self.reject(of_line)
                else:
                    give_to_reader(of_line, None, self, reason)
        self._in_other = False

    @property
    def loader(self) -> audit.Loader:
        """Takes the audit events of the file."""
        if self._loader is None:
            target = partial(part_path, self.store, "audit", self.number)
            self._loader = audit.Loader(target, self.entry.path, self.reject, self._other, self.database, self.careful)
        return self._loader

    def _part(self, table: str) -> _Part:
        if table not in self._open:
            self._open[table] = _Part(part_path(self.store, table, self.number), tables.TABLES[table].schema)
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
            f" TO {tables.quoted(dated)} ({tables.AS_PARQUET})"
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


def give_to_reader(record: Record, main: ModuleType | None, parts: Parts, otherwise: str = "") -> None:
    """Give a record to the reader that takes it, else to the file's own (main); where there is none, why it is a reject (otherwise)."""
    reader = main
    try:
        reader = taker_of(record)
        if reader is None and _is_of_other_log(record):
            raise EvidenceError(OTHER_LOG)
        if reader is None and (known := foreign.named(record.value)):
            raise EvidenceError(f"{OTHER_CLOUD}{known}")
        reader = reader or main
        if reader is None:
            raise EvidenceError(otherwise)
        if reader is audit:
            odd = record.broken if record.text is None else ""
            text = audit.event_text(record)
            parts.loader.add(audit.Message(record.line, record.item, text, record.log, record.log.at, odd or None))
            parts.used[audit.TAKEN_AS] = None
            return
        if record.broken and record.text is not None:  # cut: what can be seen of it is its beginning
            raise EvidenceError(record.broken)
        value, says = as_held(record.value)
        record = replace(record, value=value)
        rows = [fitted(values, reader.TABLE) for values in reader.rows(record)]
    except EvidenceError as error:
        reject = Reject(record.line, record.item, str(error), record.raw)
        parts.reject(hidden(reject) if cluster in (reader, main) else reject)
        return
    except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError) as error:
        # No reader should raise these (tests/test_fuzz.py), but where one does, one record is lost, not the case.
        parts.reject(Reject(record.line, record.item, f"{UNEXPECTED} ({type(error).__name__}: {error})", ""))
        return
    for values, _ in rows:
        parts.row(reader.TABLE, record, values)
    if rows and (says or record.broken):
        parts.repaired.append(says or record.broken)
    if odd := said_of([name for _, names in rows for name in names]):
        parts.odd.append(odd)
    parts.used[reader.TAKEN_AS] = None


def _is_of_other_log(record: Record) -> bool:
    """Whether a record that no reader takes is no loss: plain text, or a message of a log that holds no audit events."""
    if record.log != NO_LOG and not holds_records(record.log, audit):
        return True
    return record.text is not None and isinstance(record.value, str)


def hidden(reject: Reject) -> Reject:
    """A reject without its raw text, which may be a Secret's."""
    return Reject(reject.line, reject.item, reject.reason, "")


UNEXPECTED = "is of a form that this kit does not expect"
