"""Evidence into a case: find files, copy and hash them, load them into tables, and keep account of it all.

A case is made in CASE.partial and renamed when it is whole. Later additions are written beside what is there, and count when
the ledger names them: it is written last, at once. The same call after a crash goes on from the files that are done.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import pyarrow.parquet as pq

from kit.errors import CaseError, EvidenceError
from kit.evidence.copied import copy, digest_and_size, is_copied, leads_into
from kit.evidence.coverage import write_coverage
from kit.evidence.duplicates import set_duplicates_aside
from kit.evidence.formats import archive
from kit.evidence.formats.archive import is_archive, members
from kit.evidence.formats.stream import Reading
from kit.evidence.gather import Given, as_text, bytes_to_read, gather, stamp_of, why_unread
from kit.evidence.in_work import FIRST_MADE, INPUTS, LOCK, alone, writing
from kit.evidence.kept import KEPT, collected_hashes
from kit.evidence.load import is_done, load
from kit.evidence.origin import Origin, origin_of
from kit.evidence.parts import Parts
from kit.evidence.sniff import FileKind, file_kind
from kit.lenient import dict_of, list_of
from kit.store import settings, tables
from kit.store.ledger import LedgerEntry, is_below, ledger_of
from kit.store.mask_key import make_mask_key
from kit.store.parquet import ask_with_all_threads, connect, part_path, plain_path
from kit.store.settings import Settings, case_toml, settings_of
from kit.whole_file import write_whole
from kit.words import Names

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes of evidence done, and bytes in all."""


@dataclass(frozen=True)
class Loaded:
    """A case with new evidence: its folder, the ledger of the files of this call, and what has to be said about its cluster."""

    case: Path
    ledger: list[LedgerEntry]
    says: list[str]


def load_new_case(case: Path, evidence: Names, cluster: str | None = None, progress: Progress | None = None) -> Loaded:
    """Make a case from files, folders, globs or `-` (standard input).

    Raises CaseError when CASE exists or cannot be written, EvidenceError when a path is missing or nothing could be taken.
    """
    partial = case.with_name(case.name + ".partial")
    with writing(partial):
        if os.path.lexists(case):
            raise CaseError(
                "this case exists already",
                where=str(case),
                next="choose another name, or add to it with `kit add CASE EVIDENCE...`",
            )
        given = gather(evidence, partial, set())
        if (
            partial.is_dir()
            and not (partial / INPUTS).is_file()
            and any(each.name not in FIRST_MADE for each in partial.iterdir())
        ):
            raise CaseError(
                "a folder of this name is in the way, and it is no unfinished case",
                where=str(partial),
                next="rename or remove it, or choose another name for the case",
            )
        partial.mkdir(parents=True, exist_ok=True)
        with alone(partial):
            cluster = None if cluster is None else as_text(cluster)
            loaded = Addition(partial, given, cluster, progress, stands=False).run()
            partial.rename(case)
            for name in (INPUTS, LOCK):
                (case / name).unlink()
    return Loaded(case, loaded.ledger, loaded.says)


def add_evidence(case: Path, evidence: Names, progress: Progress | None = None) -> Loaded:
    """Add files, folders, globs or `-` to a case; files that it holds already (by their hash) are left out.

    Until all of it is loaded the case stays as it was. Raises CaseError when CASE is none or cannot be written, EvidenceError when a
    path is missing.
    """
    with writing(case):
        ledger_of(case)
        with alone(case):
            taken = {PurePosixPath(entry["path"]).parts[0] for entry in ledger_of(case)["files"]}
            given = gather(evidence, case, taken)
            loaded = Addition(case, given, None, progress, stands=True).run()
            (case / INPUTS).unlink()
    return loaded


ARCHIVE = FileKind("archive", archive)
HELD = "the case has it already"
_OF_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what every file after it would meet too


class Addition:
    """Evidence that is being added to a folder: a new case in the making, or a case that stands.

    hashes: the SHA-256 of each file by its name, for evidence that an older kit has loaded: it stands in the folder and has to be the same.
    """

    def __init__(
        self,
        folder: Path,
        given: list[Given],
        cluster: str | None,
        progress: Progress | None,
        stands: bool,
        hashes: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.given, self.cluster, self.stands, self.hashes = folder, given, cluster, stands, hashes
        was = settings_of(folder) if stands else Settings(settings.FORMAT, cluster, cluster_told=cluster is not None)
        self.told = was.cluster if was.cluster_told else None
        self.store = folder / was.store
        ledger: dict[str, Any] = ledger_of(folder) if stands else {"parts": 0, "files": []}
        self.before = [LedgerEntry(**entry) for entry in ledger["files"]]
        self.held = {
            entry.sha256: entry for entry in reversed(self.before) if entry.taken_as or entry.note.startswith(KEPT)
        }
        self.collected = collected_hashes(given)
        self.number = int(ledger["parts"])
        self.numbers: dict[int, LedgerEntry] = {}
        self.found = list[LedgerEntry]()
        self.say = progress or (lambda what, done, total: None)
        self.done = 0
        self.total = 2 * sum(map(bytes_to_read, given)) or 1

    def run(self) -> Loaded:
        """Copy, load, and write the ledger, with which the new evidence counts."""
        self._same_inputs()
        if not self.stands and (self.store / "ledger.json").is_file():  # all was done but for the case's name
            self._clean()
            return Loaded(self.folder, [LedgerEntry(**entry) for entry in ledger_of(self.folder)["files"]], [])
        before = self.number
        with tempfile.TemporaryDirectory(prefix="kit-") as scratch:
            self.scratch = Path(scratch)
            place = plain_path(self.folder, self.scratch, "case")
            self.database = connect(spill=place / "spill", writes=True)  # readers bring threads of their own
            (self.folder / "spill").mkdir(exist_ok=True)
            taken = list[tuple[LedgerEntry, FileKind]]()
            for one in self.given:
                entry, kind = self._take(one)
                self.found.append(entry)
                if kind is not None:
                    taken.append((entry, kind))
            if self.stands and not taken and not any(entry.unread for entry in self.found):
                self._clean()
                return Loaded(self.folder, self.found, [])
            if not taken and not self.stands:
                raise self._nothing([f"{entry.path} was {entry.note}" for entry in self.found])
            for entry, kind in taken:
                self._load(place, entry, kind)
                self.done += entry.bytes
            ask_with_all_threads(self.database)
            self.say("looking for duplicates and gaps", self.done, self.total)
            if not self.stands and not any(entry.rows for entry in self.found):
                raise self._nothing(self._reasons())
            set_duplicates_aside(place / self.store.name, self.numbers, self.database)
            origin = origin_of(place / self.store.name, self.number, self.database, self.told)
            if self.number > before:  # else nothing was read, and the part of that number stands
                write_coverage(place / self.store.name, self.number, self.database, origin.cluster, origin.account)
            self.database.close()
        self._commit(origin)
        return Loaded(self.folder, self.found, origin.says)

    def _take(self, one: Given) -> tuple[LedgerEntry, FileKind | None]:
        """Hash a file, tell what it is, and copy it when it is taken."""
        self.say(f"{'comparing' if self.hashes else 'copying'} {one.name}", self.done, self.total)
        entry, kind = self._looked_at(one)
        self.done += entry.bytes
        return entry, kind

    def _looked_at(self, one: Given) -> tuple[LedgerEntry, FileKind | None]:
        if one.refusal:
            return _not_taken(one.name, one.refusal, one.unread), None
        target = self.folder / "evidence" / one.name
        kind, refusal = None, ""
        if one.path is None:
            if sys.stdin is None:
                raise EvidenceError("standard input is closed", where="-", next="pipe the evidence into it")
            copy(sys.stdin.buffer, target, self.folder)
        source = one.path or target
        try:
            try:
                kind = ARCHIVE if is_archive(source) else file_kind(source)
            except EvidenceError as error:
                refusal = str(error)
            digest, size = digest_and_size(source)
        except OSError as error:
            if self.hashes or error.errno in _OF_MACHINE:  # the case's own evidence has to be there, all of it
                raise
            return _not_taken(one.name, why_unread(error), unread=True), None
        if self.hashes and digest != self.hashes[one.name]:
            raise EvidenceError(
                "was changed since it was loaded: its hash is not the one in the ledger",
                where=str(source),
                next="put the original back; nothing of the case is changed until then",
            )
        held = self.held.get(digest)
        if held is not None:
            kind, refusal = None, f"{HELD}, as {held.path}"
        keeps = kind is not None or (digest in self.collected and held is None)
        if keeps and not self.hashes:
            try:
                if not is_copied(target, digest, size):
                    with source.open("rb") as file:
                        copy(file, target, self.folder)
                    digest, size = digest_and_size(target)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:  # of the copy: longer than its original's
                    raise
                return _not_taken(one.name, why_unread(error), unread=True), None
        if kind is None and one.path is None and not keeps:
            target.unlink()
        note = "" if kind else f"{KEPT if keeps else 'not taken: '}{refusal}"
        return LedgerEntry(one.name, digest, size, "archive" if kind is ARCHIVE else None, note=note), kind

    def _load(self, place: Path, entry: LedgerEntry, kind: FileKind) -> None:
        path = plain_path(self.folder / "evidence" / entry.path, self.scratch, "input")
        if kind is not ARCHIVE:
            self._load_one(place, entry, path, kind, entry.bytes)
            return
        inside, reading, at = self.scratch / "archive", Reading(), self.found.index(entry) + 1
        inside.mkdir(exist_ok=True)
        files = 0
        for member in members(path, inside, reading):
            files += 1
            one = LedgerEntry(f"{entry.path}/{member.name}", "", 0, None)
            self.found.insert(at, one)
            at += 1
            refusal = member.refusal
            if member.file is not None:
                one.sha256, one.bytes = digest_and_size(member.file)
                try:
                    kind = file_kind(member.file)
                except EvidenceError as error:
                    refusal = str(error)
                else:
                    self._load_one(place, one, member.file, kind, 0)
            if refusal:
                one.note, one.unread = f"not taken: {refusal}", member.unread
            elif member.damage:
                one.note = "; ".join(each for each in (member.damage, one.note) if each)
        entry.note, entry.unread = reading.damage or f"{files:,} files in it", bool(reading.damage)

    def _load_one(self, place: Path, entry: LedgerEntry, path: Path, kind: FileKind, size: int) -> None:
        """Read one file into its parts of the store, unless an earlier call did; the note that it is done is written last."""
        self.number += 1
        self.numbers[self.number] = entry
        note = self.store / "loaded" / f"{self.number:06}.json"
        if is_done(note, entry):
            return
        parts = Parts(place / self.store.name, self.number, entry, self.database)

        def told(position: int, records: int) -> None:
            of = f"{position / 1e6:,.0f} of {entry.bytes / 1e6:,.0f} MB, {records:,} records"
            self.say(f"reading {entry.path}: {of}", self.done + min(position, size), self.total)

        told(0, 0)
        try:
            load(path, kind, parts, told)
        except duckdb.InvalidInputException:  # what simdjson takes DuckDB takes too, as far as is known
            load(path, kind, Parts(place / self.store.name, self.number, entry, self.database, careful=True), told)
        write_whole(note, json.dumps(asdict(entry)))

    def _reasons(self) -> list[str]:
        """Why not one record became a row."""
        parts = [part_path(self.store, "rejects", number) for number in self.numbers]
        lost = [row for part in parts if part.exists() for row in tables.rows_of(pq.read_table(part).slice(0, 2))]
        reasons = [f"{reject['file']}:{reject['line']}: {reject['reason']}" for reject in lost]
        taken = [entry for entry in self.found if entry.taken_as]
        return reasons or [
            f"{entry.path} was taken as {entry.taken_as} but holds no record"
            + (f" ({entry.note})" if entry.note else "")
            for entry in taken
        ]

    def _nothing(self, reasons: list[str]) -> EvidenceError:
        """The error for evidence without a single record; nothing of a new case is left behind."""
        self.database.close()
        if not self.stands:
            shutil.rmtree(self.folder, ignore_errors=True)
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        what = f"no record in the evidence could be taken: {'; '.join(reasons[:5])}{more}"
        return EvidenceError(what, next="nothing was made; docs/sources.md lists what is read")

    def _same_inputs(self) -> None:
        """Go on only with the call that began this, on files that are as they were; else two evidences would mix."""
        inputs = {
            "format": settings.FORMAT,
            "cluster": self.cluster,
            "evidence": [[one.name, *stamp_of(one)] for one in self.given],
        }
        written = self.folder / INPUTS
        if not written.exists():
            shutil.rmtree(self.store / "loaded", ignore_errors=True)
            write_whole(written, json.dumps(inputs))
            return
        try:
            begun = json.loads(written.read_text())
        except ValueError:
            begun = None
        if begun == inputs:
            return
        if self.stands or self.hashes:
            if self.stands:
                self._drop_what_was_given_up(begun)
            written.unlink()
            self._same_inputs()
            return
        raise CaseError(
            "an unfinished case of this name was begun with other evidence or by another kit, or the evidence has changed since",
            where=str(self.folder),
            next="run that command again to go on with it, or delete the folder",
        )

    def _drop_what_was_given_up(self, begun: Any) -> None:
        """Remove what an addition copied and made that nobody will go on with, and nothing else. begun: what it was given."""
        kept, evidence = {entry.path for entry in self.before}, self.folder / "evidence"
        given = {os.path.realpath(one.path) for one in self.given if one.path}
        for name in _names_in(begun):
            path = evidence / name
            if name in kept or not leads_into(evidence, path.parent) or os.path.realpath(path) in given:
                continue
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == evidence or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()
        for path in self.store.glob("*/*.parquet"):
            if int(path.stem[:6]) > self.number:
                path.unlink()

    def _commit(self, origin: Origin) -> None:
        now = Settings(
            settings.FORMAT, origin.cluster, origin.account, origin.region, self.told is not None, self.store.name
        )
        write_whole(self.folder / "case.toml", case_toml(now))
        make_mask_key(self.folder)
        files = [asdict(entry) for entry in [*self.before, *self.found]]
        if self.stands:  # what is known is not said of the case again and again
            known = {(entry.sha256 or entry.path, entry.note) for entry in self.before if not entry.taken_as}
            new = [
                one
                for one in self.found
                if one.taken_as or ((one.sha256 or one.path, one.note) not in known and HELD not in one.note)
            ]
            files = [asdict(entry) for entry in [*self.before, *new]]
        write_whole(self.store / "ledger.json", json.dumps({"parts": self.number, "files": files}, indent=1))
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self.folder / "spill", ignore_errors=True)
        shutil.rmtree(self.store / "loaded", ignore_errors=True)


def _names_in(begun: Any) -> list[str]:
    """The files of an addition, by what it wrote down; the case folder is input too, so nothing else of it is believed."""
    listed = [one[0] for one in list_of(dict_of(begun).get("evidence")) if isinstance(one, list) and one]
    return [name for name in listed if is_below(name)]


def _not_taken(name: str, why: str, unread: bool = False) -> LedgerEntry:
    return LedgerEntry(name, "", 0, None, note=f"not taken: {why}", unread=unread)
