"""One file of evidence into its parts of the store: tell what it is, send each record to its reader, count what becomes of it."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kit.errors import CaseError
from kit.evidence.formats.envelope import read_text
from kit.evidence.formats.form import JSON, LINES, message, records_of, stream_of
from kit.evidence.formats.stream import TOO_LONG, Reading, whole_lines
from kit.evidence.parts import WRITTEN_AT_ONCE, Parts, give_to_reader, hidden
from kit.evidence.readers import audit, cluster
from kit.evidence.record import NO_LOG, Log, Record, Reject
from kit.evidence.sniff import ALL_LISTS, FileKind, holds_records
from kit.store import tables
from kit.store.ledger import LedgerEntry, entry_of
from kit.store.parquet import read_parquet
from kit.words import counted, iso

Told = Callable[[int, int], None]
"""Called with the bytes of the file that are read and the records that were found."""


def load(path: Path, kind: FileKind, parts: Parts, told: Told) -> None:
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
        source = records_of(path, kind.form, ALL_LISTS, reading, stream)
    try:
        for number, record in enumerate(_with_their_lists(source), 1):
            if isinstance(record, Reject):
                broken += record.is_broken
                parts.reject(hidden(record) if kind.reader is cluster else record)
            else:
                give_to_reader(record, kind.reader, parts)
            if number % 1000 == 0:
                told(reading.position, number)
        parts.close()
    except BaseException:
        parts.abandon()
        raise
    entry.taken_as = " and ".join(parts.used)
    entry.note = reading.damage
    if broken and kind.form == JSON and not reading.damage:
        entry.note = f"damaged in {counted(broken, 'place')}: what stands from there to the next record on a line of its own is not read"
    if parts.repaired:
        odd = f"{counted(len(parts.repaired), 'record')} {'holds' if len(parts.repaired) == 1 else 'hold'} what no JSON parser does ({parts.repaired[0]}), perhaps to hide them: kept, that part in another form"
        entry.note = "; ".join(one for one in (entry.note, odd) if one)
    if parts.odd:
        odd = f"{counted(len(parts.odd), 'record')} {'has' if len(parts.odd) == 1 else 'have'} odd members, which are left out ({parts.odd[0]})"
        entry.note = "; ".join(one for one in (entry.note, odd) if one)
    entry.odd = len(parts.repaired) + len(parts.odd)
    entry.rows, entry.rejects = parts.rows, parts.rejects
    entry.records = entry.rows + entry.rejects
    entry.first_at, entry.last_at = _span(parts)


def _beside_events(
    path: Path, stream: str | None, parts: Parts, reading: Reading, told: Told
) -> Iterator[Record | Reject]:
    """The lines of an audit log that are no JSON; all others go to the loader as they are, because there are so many."""
    loader = parts.loader
    log = Log(stream=stream) if stream else NO_LOG
    is_audit = holds_records(log, audit)
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


def _span(parts: Parts) -> tuple[str | None, str | None]:
    found = list[datetime]()
    for table in (one for one in tables.TABLES.values() if one.time):
        if written := parts.of(table.name):
            ends = f"SELECT min({table.time}) AS first_at, max({table.time}) AS last_at FROM {read_parquet(written)}"
            (times,) = tables.rows_of(parts.database.sql(ends).to_arrow_table())
            found += [at for at in times.values() if at]
    return (iso(min(found)), iso(max(found))) if found else (None, None)


def is_done(note: Path, entry: LedgerEntry) -> bool:
    """Whether an earlier call has loaded this file; then its entry is filled from that call's note."""
    if not note.exists():
        return False
    try:
        kept = entry_of(json.loads(note.read_text()), note)
    except (ValueError, CaseError):  # none of ours: the file is loaded again
        return False
    if (kept.path, kept.sha256) != (entry.path, entry.sha256):
        return False
    vars(entry).update(vars(kept))
    return True
