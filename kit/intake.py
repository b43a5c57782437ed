"""Evidence into a case: find files, tell what each is, copy and hash, read into tables, and keep account of it all.

A case is made in CASE.partial and renamed when it is whole; the same call after a crash goes on from the files that are done.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kit import tables
from kit.errors import CaseError, EvidenceError
from kit.sources import EvidenceFile, Reject, Row, Sample, audit, aws, cloudtrail, cluster, findings
from kit.sources.stream import Damage, head, pieces
from kit.store import connect, plain_path, read_parquet
from kit.whole_file import write_whole

READERS = (findings, cloudtrail, audit, aws, cluster)
SNIFFED = (64 << 10, 1 << 20)  # bytes of a file that readers see: more only where the first did not do
LONGEST_DOCUMENT = 256 << 20  # of one JSON document after decompression; audit logs have no such limit
WRITTEN_AT_ONCE = 5_000  # rows

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes of evidence done, and bytes in all."""


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
class Given:
    """A file that the caller gave. path: None for standard input. name: below the case's evidence folder."""

    path: Path | None
    name: str
    refusal: str = ""


@dataclass(frozen=True)
class NewCase:
    """A case that was made: its folder, its ledger, and what has to be said about its cluster."""

    case: Path
    ledger: list[LedgerEntry]
    says: list[str]


def new_case(
    case: Path, evidence: Iterable[str], cluster: str | None = None, progress: Progress | None = None
) -> NewCase:
    """Make a case from files, folders, globs or `-` (standard input).

    Raises CaseError when CASE exists or cannot be written, EvidenceError when a path is missing or nothing could be taken.
    """
    partial = case.with_name(case.name + ".partial")
    try:
        if os.path.lexists(case):
            raise CaseError(
                "this case exists already", where=str(case), next="choose another name; a case is never overwritten"
            )
        given = _gather(evidence, partial)
        cluster = None if cluster is None else _as_text(cluster)
        with tempfile.TemporaryDirectory(prefix="kit-new-") as scratch:
            return _build(case, partial, given, cluster, progress or (lambda what, done, total: None), Path(scratch))
    except (OSError, duckdb.IOException, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        way_out = "choose a folder that can be written to"
        if _exists(partial / "inputs.json"):
            way_out = "when it can be written to, the same command goes on from there; to give up, delete that folder"
        raise CaseError(f"cannot be written: {reason}", where=str(partial), next=way_out) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def _as_text(name: str) -> str:
    """A name as text that can be stored: bytes that are no UTF-8 are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _gather(evidence: Iterable[str], partial: Path) -> list[Given]:
    given, taken = list[Given](), set[str]()
    for text in evidence:
        if text == "-":
            given.append(Given(None, _unique("stdin", taken)))
            continue
        paths = [Path(text)]
        if not _exists(paths[0]) and any(letter in text for letter in "*?["):
            paths = [Path(found) for found in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 (absolute patterns too)
        if not paths or not all(_exists(path) for path in paths):
            raise EvidenceError("no such file or folder", where=text, next="check the path; nothing was made")
        for path in paths:
            root = _unique(_as_text(path.resolve().name) or "evidence", taken)
            given += _walk(path, root, partial)
    if not given:
        raise EvidenceError("no file in there", where=", ".join(evidence), next="name the files or folders of evidence")
    return given


def _unique(root: str, taken: set[str]) -> str:
    """A name in the case's evidence folder that nothing else begins with."""
    name, number = root, 2
    while name in taken:
        name, number = f"{number}-{root}", number + 1
    taken.add(name)
    return name


def _walk(path: Path, root: str, partial: Path) -> Iterator[Given]:
    """The files of a path, and what in it cannot be one; the case in work is no evidence."""
    if path.is_file():
        yield Given(path, root)
        return
    if not path.is_dir():
        yield Given(path, root, "not a regular file")
        return
    unreadable = list[OSError]()
    top = path.resolve()
    for place, folders, names in os.walk(top, onerror=unreadable.append):
        folders[:] = sorted(one for one in folders if Path(place, one) != partial.resolve())
        for name in sorted([*names, *(one for one in folders if Path(place, one).is_symlink())]):
            inside = Path(place) / name
            below = _as_text(str(PurePosixPath(root, *inside.relative_to(top).parts)))
            refusal = "" if inside.is_file() else "not a regular file"
            yield Given(inside, below, "a symbolic link" if inside.is_symlink() else refusal)
    for error in unreadable:
        folder = Path(os.fsdecode(error.filename))
        below = _as_text(str(PurePosixPath(root, *folder.relative_to(top).parts)))
        yield Given(folder, below, "no permission to look into this folder")


def _build(
    case: Path, partial: Path, given: list[Given], cluster: str | None, progress: Progress, scratch: Path
) -> NewCase:
    if partial.is_dir() and any(partial.iterdir()) and not (partial / "inputs.json").is_file():
        raise CaseError(
            "a folder of this name is in the way, and it is no unfinished case",
            where=str(partial),
            next="rename or remove it, or choose another name for the case",
        )
    partial.mkdir(parents=True, exist_ok=True)
    with _alone(partial):
        _same_inputs(partial, given, cluster)
        made = _fill(plain_path(partial, scratch, "partial"), given, cluster, progress, scratch)
        partial.rename(case)
        for name in ("inputs.json", LOCK):
            (case / name).unlink()
    return NewCase(case, *made)


LOCK = "in-work"


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Hold the partial case, so that two calls do not work on it at once."""
    with (partial / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaseError(
                "another `kit new` is working on this case", where=str(partial), next="wait for it, or end it"
            ) from None
        yield


def _fill(
    partial: Path, given: list[Given], cluster: str | None, progress: Progress, scratch: Path
) -> tuple[list[LedgerEntry], list[str]]:
    total = sum(one.path.stat().st_size for one in given if one.path and not one.refusal) or 1
    copied = 0
    files = list[tuple[LedgerEntry, ModuleType | None]]()
    for one in given:
        progress(f"copying {one.name}", copied, total * 2)
        files.append(_take(one, partial))
        copied += files[-1][0].bytes
    if not any(reader for _, reader in files):
        raise _nothing_taken(partial, [f"{entry.path} was {entry.note}" for entry, _ in files])
    progress("finding out which cluster it is from", copied, total * 2)
    origin = _origin(partial, files, cluster)
    database = connect(spill=partial / "spill")
    for number, (entry, reader) in enumerate(files, 1):
        progress(f"reading {entry.path}", copied, total * 2)
        if reader:
            _load(partial, number, entry, reader, origin, database, scratch)
        copied += entry.bytes
    progress("looking for duplicates and gaps", copied, total * 2)
    ledger = [entry for entry, _ in files]
    if not any(entry.rows for entry in ledger):
        parts = sorted((partial / "store" / "rejects").glob("*.parquet"))
        lost = [reject for part in parts for reject in pq.read_table(part).slice(0, 2).to_pylist()]
        reasons = [f"{reject['file']}:{reject['line']}: {reject['reason']}" for reject in lost]
        empty = [
            f"{entry.path} was taken as {entry.taken_as} but holds no record" for entry in ledger if entry.taken_as
        ]
        raise _nothing_taken(partial, reasons or empty)
    _set_duplicates_aside(partial, ledger, database)
    _write_coverage(partial, origin, database)
    database.close()
    write_whole(partial / "store" / "ledger.json", json.dumps([asdict(entry) for entry in ledger], indent=1))
    write_whole(partial / "case.toml", _case_toml(origin))
    shutil.rmtree(partial / "spill", ignore_errors=True)
    shutil.rmtree(partial / "store" / "loaded", ignore_errors=True)
    return ledger, origin.says


def _nothing_taken(partial: Path, reasons: list[str]) -> EvidenceError:
    """The error for evidence without a single record; nothing of the case is left behind."""
    shutil.rmtree(partial.resolve(), ignore_errors=True)
    more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    what = f"no record in the evidence could be taken: {'; '.join(reasons[:5])}{more}"
    return EvidenceError(what, next="README.md lists what is read; nothing was made")


def _same_inputs(partial: Path, given: list[Given], cluster: str | None) -> None:
    """Go on only with the call that began this partial case, on files that are as they were; else two evidences would mix."""
    inputs = {"cluster": cluster, "evidence": [[one.name, *_stamp(one)] for one in given]}
    written = partial / "inputs.json"
    if not written.exists():
        write_whole(written, json.dumps(inputs))
        return
    try:
        before = json.loads(written.read_text())
    except ValueError:
        before = None
    if before != inputs:
        raise CaseError(
            "an unfinished case of this name was begun with other evidence, or the evidence has changed since",
            where=str(partial),
            next="run that command again to go on with it, or delete the folder",
        )


def _stamp(one: Given) -> list[Any]:
    if one.path is None:
        return ["-", 0, 0]
    about = one.path.lstat()
    return [_as_text(str(one.path.resolve())), about.st_size, about.st_mtime_ns]


def _take(one: Given, partial: Path) -> tuple[LedgerEntry, ModuleType | None]:
    """Hash a file, tell what it is, and copy it when a reader takes it."""
    if one.refusal:
        return LedgerEntry(one.name, "", 0, None, note=f"not taken: {one.refusal}"), None
    target = partial / "evidence" / one.name
    if one.path is None:
        if sys.stdin is None:
            raise EvidenceError("standard input is closed", where="-", next="pipe the evidence into it")
        _copy(sys.stdin.buffer, target, partial)
    source = one.path or target
    try:
        reader, refusal = _reader(source, one.name)
        if reader and not target.exists():
            with source.open("rb") as file:
                _copy(file, target, partial)
        digest, size = _hash(target if reader else source)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return LedgerEntry(one.name, "", 0, None, note="not taken: its name is too long"), None
        if isinstance(error, PermissionError) and not os.access(source, os.R_OK):
            return LedgerEntry(one.name, "", 0, None, note="not taken: no permission to read it"), None
        raise
    if reader is None:
        if one.path is None:
            target.unlink()
        return LedgerEntry(one.name, digest, size, None, note=f"not taken: {refusal}"), None
    return LedgerEntry(one.name, digest, size, reader.TAKEN_AS), reader


def _copy(source: BinaryIO, target: Path, partial: Path) -> None:
    unfinished = partial / "copying"
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    unfinished.chmod(0o444)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(target)


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _reader(path: Path, name: str) -> tuple[ModuleType | None, str]:
    """The reader that takes a file, or None and the reason."""
    for size in SNIFFED:
        damage = Damage()
        beginning, whole = head(path, size, damage)
        if not beginning.strip():
            return None, damage.says or "the file is empty"
        sample = Sample(name, beginning, whole)
        try:
            for reader in READERS:
                if reader.sniff(sample):
                    return reader, ""
        except EvidenceError as error:
            return None, str(error)
        if whole:
            break
    start = beginning.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return None, "this is HTML, perhaps a sign-in or error page that was saved in place of the data"
    if b"\0" in beginning:
        return None, "a binary file of a kind that this kit does not read"
    if start.startswith((b"{", b"[")):
        return None, "JSON, but none of the kinds that this kit reads"
    return None, "no reader knows this kind of file"


@dataclass(frozen=True)
class _Origin:
    cluster: str | None
    account: str | None
    region: str | None
    says: list[str]


def _origin(partial: Path, files: list[tuple[LedgerEntry, ModuleType | None]], cluster: str | None) -> _Origin:
    """Which cluster, account and region the evidence is from: as told, else what the findings or AWS say, if they agree."""
    named: dict[str, dict[str, set[str]]] = {}
    for entry, reader in files:
        if reader and reader.TABLE in ("findings", "objects"):
            for row in _rows(partial, entry, reader):
                if isinstance(row, Row):
                    group = "findings" if reader.TABLE == "findings" else "objects"
                    for column in ("cluster", "account", "region"):
                        if row.values.get(column):
                            named.setdefault(group, {}).setdefault(column, set()).add(row.values[column])
    says = list[str]()

    def only(column: str) -> str | None:
        for group in ("findings", "objects"):
            values = named.get(group, {}).get(column, set())
            if len(values) == 1:
                return next(iter(values))
            if values and column == "cluster" and cluster is None:
                listed = ", ".join(sorted(values))
                says.append(
                    f"The cluster is unknown: the {group} name several ({listed}). Say which with --cluster NAME."
                )
                return None
        return None

    name = cluster or only("cluster")
    if name is None and not says:
        says.append("The cluster is unknown: no evidence names it. Say which with --cluster NAME.")
    return _Origin(name, only("account"), only("region"), says)


def _rows(partial: Path, entry: LedgerEntry, reader: ModuleType) -> Iterable[Row | Reject]:
    damage, path = Damage(), partial / "evidence" / entry.path
    read, size = list[bytes](), 0
    for piece in pieces(path, damage):
        read.append(piece)
        size += len(piece)
        if size > LONGEST_DOCUMENT:
            yield Reject(1, 1, f"the document is longer than {LONGEST_DOCUMENT >> 20} MiB: split it", "")
            return
    data = b"".join(read)
    read.clear()
    entry.note = damage.says
    broken = 0
    for row in reader.read(EvidenceFile(path, entry.path, entry.sha256), data):
        broken += isinstance(row, Reject) and row.reason.startswith("not JSON")
        yield row
    if broken and not damage.says:
        entry.note = (
            f"damaged in {broken} places: what stands from there to the next document on a line of its own is not read"
        )


class _Part:
    """A part of a table in the making, written some rows at a time, so that few are held at once."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.count = path, schema, 0
        self._held = list[dict[str, Any]]()
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Add a row: columns that are not in it, and None, stay empty."""
        self._held.append(row)
        self.count += 1
        if len(self._held) >= WRITTEN_AT_ONCE:
            self._write()

    def _write(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._held, self.schema))
        self._held.clear()

    def close(self) -> None:
        """Write the rest; without any row there is no file."""
        if self._held:
            self._write()
        if self._writer is not None:
            self._writer.close()


def _load(
    partial: Path,
    number: int,
    entry: LedgerEntry,
    reader: ModuleType,
    origin: _Origin,
    database: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> None:
    """Read one file into its parts of the store, unless an earlier run did; the note that it is done is written last."""
    done = partial / "store" / "loaded" / f"{number:06}.json"
    if done.exists() and (kept := json.loads(done.read_text()))["sha256"] == entry.sha256:
        vars(entry).update(kept)
        return
    for table in tables.TABLES:
        _part(partial, table, number).unlink(missing_ok=True)
    place = {"cluster": origin.cluster, "account": origin.account, "file": entry.path}
    part = _part(partial, reader.TABLE, number)
    rejects = _Part(_part(partial, "rejects", number), tables.REJECTS)

    def reject(one: Reject) -> None:
        rejects.add(place | asdict(one))

    if hasattr(reader, "load"):
        link = plain_path(partial / "evidence" / entry.path, scratch, "input")
        file = EvidenceFile(link, entry.path, entry.sha256, origin.cluster, origin.account)
        (partial / "spill").mkdir(exist_ok=True)
        entry.rows, entry.note = reader.load(file, part, reject, database, partial / "spill")
    else:
        rows = _Part(part, tables.TABLES[reader.TABLE])
        for row in _rows(partial, entry, reader):
            if isinstance(row, Reject):
                reject(row)
            else:
                values = {key: value for key, value in row.values.items() if value is not None}
                rows.add(place | {"line": row.line, "item": row.item} | values)
        rows.close()
        entry.rows = rows.count
    rejects.close()
    entry.rejects = rejects.count
    entry.records = entry.rows + entry.rejects
    entry.first_at, entry.last_at = _span(part, reader.TABLE)
    write_whole(done, json.dumps(asdict(entry)))


def _part(partial: Path, table: str, number: int) -> Path:
    folder = partial / "store" / table
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{number:06}.parquet"


TIME_OF = {"audit": "received_at", "trail": "event_at", "findings": "updated_at"}


def _span(part: Path, table: str) -> tuple[str | None, str | None]:
    if table not in TIME_OF or not part.exists():
        return None, None
    times = pc.min_max(pq.read_table(part, columns=[TIME_OF[table]]).column(0)).as_py()
    return _iso(times["min"]), _iso(times["max"])


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def _set_duplicates_aside(partial: Path, ledger: list[LedgerEntry], database: duckdb.DuckDBPyConnection) -> None:
    """Keep the first of equal records (whole events, not ids) and count the others in the ledger."""
    for table, schema in tables.TABLES.items():
        parts = sorted((partial / "store" / table).glob("*.parquet"))
        if "event_hash" not in schema.names or not parts:
            continue
        source = read_parquet(parts, ", filename = true, file_row_number = true")
        copies = database.execute(
            "SELECT filename, list(file_row_number) FROM (SELECT filename, file_row_number, row_number() OVER"
            f" (PARTITION BY event_hash ORDER BY filename, file_row_number) AS copy FROM {source})"
            " WHERE copy > 1 GROUP BY filename"
        ).fetchall()
        for filename, twice in copies:
            _drop_rows(Path(filename), set(twice))
        for part in parts:  # also what a call that was cut off had set aside
            entry, kept = ledger[int(part.stem) - 1], pq.read_metadata(part).num_rows
            entry.rows, entry.duplicates = kept, entry.rows - kept


def _drop_rows(part: Path, numbers: set[int]) -> None:
    """Write a part anew without some of its rows, some at a time, so that no more of it is held."""
    smaller, first = part.with_suffix(".kept"), 0
    with pq.ParquetFile(part) as whole, pq.ParquetWriter(smaller, whole.schema_arrow, compression="zstd") as kept:
        for batch in whole.iter_batches(batch_size=2_000):
            keep = [first + place not in numbers for place in range(batch.num_rows)]
            kept.write_batch(batch.filter(pa.array(keep, pa.bool_())))
            first += batch.num_rows
    smaller.replace(part)


SILENCE_SECONDS = 60
"""On a live cluster the kubelets alone renew a lease every ten seconds, so a minute without any event is a gap."""


def _write_coverage(partial: Path, origin: _Origin, database: duckdb.DuckDBPyConnection) -> None:
    """Which spans the audit log and CloudTrail cover, and where the audit log is silent for longer than it ever should be."""
    found = list[dict[str, Any]]()
    where = {"cluster": origin.cluster, "account": origin.account}
    for source, time in (("audit", "received_at"), ("trail", "event_at")):
        parts = sorted((partial / "store" / source).glob("*.parquet"))
        if not parts:
            continue
        listed = read_parquet(parts)
        ends = database.sql(f"SELECT min({time}) AS a, max({time}) AS b, count(*) AS n FROM {listed}").to_arrow_table()
        (ends_row,) = ends.to_pylist()
        if not ends_row["n"]:
            continue
        gaps = list[dict[str, Any]]()
        says = "CloudTrail sends nothing when nothing happens: its silence is no gap that could be seen"
        if source == "audit":
            pauses = f"SELECT {time} AS b, lag({time}) OVER (ORDER BY {time}) AS a FROM {listed}"
            (usual,) = (
                database.sql(
                    f"SELECT quantile_cont(epoch(b) - epoch(a), 0.999) AS pause FROM ({pauses}) WHERE a IS NOT NULL"
                )
                .to_arrow_table()
                .to_pylist()
            )
            limit = max(SILENCE_SECONDS, 5 * (usual["pause"] or 0))
            says = f"no pause longer than {limit:.0f} s; 99.9 % of the pauses are under {usual['pause'] or 0:.1f} s"
            gaps = (
                database.sql(f"SELECT a, b FROM ({pauses}) WHERE epoch(b) - epoch(a) > {limit} ORDER BY a")
                .to_arrow_table()
                .to_pylist()
            )
        start = ends_row["a"]
        for gap in [*gaps, {"a": ends_row["b"], "b": None}]:
            (events,) = database.sql(
                f"SELECT count(*) FROM {listed} WHERE {time} BETWEEN $start AND $end",
                params={"start": start, "end": gap["a"]},
            ).fetchall()[0]
            span = where | {"source": source, "state": "recorded", "start_at": start, "end_at": gap["a"]}
            found.append(span | {"events": events, "says": says})
            if gap["b"]:
                silent = where | {
                    "source": source,
                    "state": "gap",
                    "start_at": gap["a"],
                    "end_at": gap["b"],
                    "events": 0,
                }
                found.append(silent | {"says": "not a single event: the log was off, cut or not delivered"})
                start = gap["b"]
    pq.write_table(pa.Table.from_pylist(found, tables.COVERAGE), _part(partial, "coverage", 1))


def _case_toml(origin: _Origin) -> str:
    values = {"format": "1", "cluster": origin.cluster, "account": origin.account, "region": origin.region}
    # A JSON text is a TOML one, but for the delete character and for halves of surrogate pairs.
    texts = {
        key: json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") for key, value in values.items() if value
    }
    return "".join(f"{key} = {text}\n" for key, text in texts.items())
