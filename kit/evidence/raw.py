"""The text of a record as it stands in the evidence, found by its file and item."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from kit.errors import CaseError
from kit.evidence.formats.archive import members
from kit.evidence.formats.form import LINES, message, records_of
from kit.evidence.formats.stream import Reading, lines
from kit.evidence.readers import audit
from kit.evidence.record import Record
from kit.evidence.sniff import ALL_LISTS, file_kind
from kit.store.ledger import is_below


class Raw:
    """The evidence of a case, opened for single records. Files in archives are unpacked one at a time into a folder of ours."""

    def __init__(self, case: Path) -> None:
        self.case = case
        self._unpacked: tuple[str, Path] | None = None

    def text(self, file: str, item: int) -> str:
        """The text of a record; in a file of lines its item is the line. Raises CaseError when it is not there."""
        path = self._path(file)
        for text in self._texts(path, item):
            return text
        raise CaseError("the evidence has no such record", where=f"{file}, record {item}")

    @cached_property
    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="kit-raw-")

    def _path(self, file: str) -> Path:
        path, top = self.case / "evidence" / file, self.case / "evidence"
        if not is_below(file) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(top)):
            raise CaseError(
                "leads out of the case's evidence", where=file, next="make the case again from its evidence"
            )
        if path.is_file():
            return path
        if self._unpacked and self._unpacked[0] == file:
            return self._unpacked[1]
        parts = PurePosixPath(file).parts
        for count in range(1, len(parts)):
            archive = self.case.joinpath("evidence", *parts[:count])
            if archive.is_file():
                name = "/".join(parts[count:])
                for member in members(archive, Path(self._scratch.name), Reading()):
                    if member.name == name and member.file:
                        kept = member.file.rename(Path(self._scratch.name) / "kept")
                        self._unpacked = (file, kept)
                        return kept
        raise CaseError("this evidence file is missing", where=str(path), next="restore it, or make the case again")

    @staticmethod
    def _texts(path: Path, item: int) -> Iterator[str]:
        kind = file_kind(path)
        if kind.form == LINES and kind.reader is audit:
            for found in lines(path, Reading()):
                if found.number == item:
                    yield message(found.text)[0].decode("utf-8", "replace")
            return
        for record in records_of(path, kind.form, ALL_LISTS, Reading()):
            if isinstance(record, Record) and record.item == item:
                yield record.text if record.text is not None else json.dumps(record.value)
