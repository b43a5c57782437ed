"""What the kit makes of a file's bytes, without a case around it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.load import load
from kit.evidence.parts import Parts
from kit.evidence.record import Record, Reject
from kit.evidence.sniff import FileKind, file_kind
from kit.store.ledger import LedgerEntry
from kit.store.parquet import connect


@dataclass(frozen=True)
class Row:
    """A row as its reader made it."""

    line: int
    item: int
    values: dict[str, Any] = field(repr=False)
    table: str = ""


class Kept(Parts):
    """Parts that keep what they are given, in its order."""

    made: list[Row | Reject]

    def reject(self, one: Reject) -> None:
        self.made.append(one)
        super().reject(one)

    def row(self, table: str, record: Record, values: dict[str, Any]) -> None:
        self.made.append(Row(record.line, record.item, values, table))
        super().row(table, record, values)


def taken_by(data: bytes) -> ModuleType | None:
    """The reader that takes a file; None when none does. Raises EvidenceError when a reader says why it cannot take it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        try:
            return file_kind(path).reader
        except EvidenceError as error:
            if "ids" in str(error):
                raise
            return None


def read(data: bytes, kind: FileKind | None = None) -> list[Row | Reject]:
    """What a file's records become."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        entry = LedgerEntry("file", "", len(data), None)
        parts = Kept(Path(folder) / "store", 1, entry, connect(writes=True))
        parts.made = []
        load(path, kind or file_kind(path), parts, lambda position, records: None)
        assert entry.records == entry.rows + entry.rejects
        return parts.made
