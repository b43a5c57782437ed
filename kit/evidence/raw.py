"""The text of a record as it stands in the evidence, found by its file and item."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Set
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from kit.errors import CaseError
from kit.evidence.formats.archive import members
from kit.evidence.formats.envelope import opened, read_text
from kit.evidence.formats.form import LINES, message, records_of
from kit.evidence.formats.stream import Reading, lines
from kit.evidence.readers import audit
from kit.evidence.record import NO_LOG, Record
from kit.evidence.sniff import ALL_LISTS, file_kind
from kit.store.ledger import is_below


class Raw:
    """The evidence of a case, opened for single records. Files in archives are unpacked one at a time into a folder of ours."""

    def __init__(self, case: Path) -> None:
        self.case = case
        self._unpacked: tuple[str, Path] | None = None

    def text(self, file: str, item: int) -> str:
        """The text of a record; in a file of lines its item is the line. Raises CaseError when it is not there."""
        found = self.texts(file, {item})
        if item not in found:
            raise CaseError("the evidence has no such record", where=f"{file}, record {item}")
        return found[item]

    def texts(self, file: str, items: Set[int]) -> dict[int, str]:
        """The texts of those records of a file that are there, by item, with one way through it. Raises CaseError when the file is not there."""
        found = dict[int, str]()
        for item, text in self._records(self._path(file)):
            if item in items:
                found[item] = text()
            if len(found) == len(items):
                break
        return found

    @cached_property
    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="kit-raw-")

    def _path(self, file: str) -> Path:
        path = evidence_file(self.case, file)
        if path.is_file():
            return path
        if self._unpacked and self._unpacked[0] == file:
            return self._unpacked[1]
        parts = PurePosixPath(file).parts
        for count in range(1, len(parts)):
            archive = evidence_file(self.case, "/".join(parts[:count]))
            if archive.is_file():
                name = "/".join(parts[count:])
                for member in members(archive, Path(self._scratch.name), Reading()):
                    if member.name == name and member.file:
                        kept = member.file.rename(Path(self._scratch.name) / "kept")
                        self._unpacked = (file, kept)
                        return kept
        raise CaseError("this evidence file is missing", where=str(path), next="restore it, or make the case again")

    @staticmethod
    def _records(path: Path) -> Iterator[tuple[int, Callable[[], str]]]:
        """The item of each record, and what makes its text."""
        kind = file_kind(path)
        if kind.form == LINES and kind.reader is audit:
            for found in lines(path, Reading()):
                yield found.number, partial(_of_line, found.text)
            return
        for record in records_of(path, kind.form, ALL_LISTS, Reading()):
            if isinstance(record, Record):
                yield record.item, partial(_text, record)


def _of_line(line: bytes) -> str:
    """The event in a line; the line where several are in its envelope, which have one place."""
    plain, log, _ = message(line)
    text = plain.decode("utf-8", "replace")
    record = read_text(text, Record(1, 1, None, log=log))
    if audit.takes(record) or not isinstance(record.value, dict):
        return text
    inside = [one for one in opened(record, ALL_LISTS, logged=log != NO_LOG) if isinstance(one, Record)]
    return _text(inside[0]) if len(inside) == 1 else text


def _text(record: Record) -> str:
    return record.text if record.text is not None else json.dumps(record.value)


def evidence_file(case: Path, name: str) -> Path:
    """Where a file of evidence lies, by its path below the case's evidence folder. Raises CaseError for one that leads out of it."""
    path, top = case / "evidence" / name, case / "evidence"
    if not is_below(name) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(top)):
        raise CaseError(
            "leads out of the case's evidence",
            where=name,
            next="put the original back, or make the case again from its evidence",
        )
    return path
