"""Readers of evidence, one file a family: each sniffs, reads and names the table that it fills.

A reader is a module in this folder with
    TABLE: name of the table (kit.tables)
    TAKEN_AS: what the ledger calls such a file
    sniff(sample: Sample) -> bool: whether the first kilobytes are such a file; never by the name alone. It raises
        EvidenceError when it knows what the file is but cannot take it; its sentence is why the file is not taken
    read(file: EvidenceFile, data: bytes) -> Iterator[Row | Reject]: every record of the decompressed bytes becomes one
        of the two, nothing is skipped. Row.values has the table's columns other than file, line and item
Only `audit` writes its Parquet itself (`load`), because its files do not fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EvidenceFile:
    """A file of evidence inside the case. path: on disk. name: below the evidence folder. sha256: of its bytes."""

    path: Path
    name: str
    sha256: str
    cluster: str | None = None
    account: str | None = None


@dataclass(frozen=True)
class Sample:
    """What a sniff sees of a file: its name, its first 64 KiB after decompression, and whether that is all of it."""

    name: str
    head: bytes
    whole: bool


@dataclass(frozen=True)
class Row:
    """A record that became a row. line and item: where it starts (kit.tables). values: the table's other columns."""

    line: int
    item: int
    values: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Reject:
    """A record that could not become a row: where it is, why, and its first 200 characters."""

    line: int
    item: int
    reason: str
    raw: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", self.raw[:200])
