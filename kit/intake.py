"""Evidence into a case: find files, tell what each is, copy and hash, read into tables, and keep account of it all.

A case is made in CASE.partial and renamed when it is whole; the same call after a crash goes on from the files that are done.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
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
from kit.store import connect, quoted
from kit.whole_file import write_whole

READERS = (findings, cloudtrail, audit, aws, cluster)
SNIFFED = 64 << 10
LONGEST_DOCUMENT = 256 << 20  # of one JSON document after decompression; audit logs have no such limit

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
    if case.exists():
        raise CaseError(
            "this case exists already", where=str(case), next="choose another name; a case is never overwritten"
        )
    given = _gather(evidence)
    partial = case.with_name(case.name + ".partial")
    try:
        return _build(case, partial, given, cluster, progress or (lambda what, done, total: None))
    except (OSError, duckdb.IOException, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        way_out = "choose a folder that can be written to"
        if (partial / "inputs.json").exists():
            way_out = "when it can be written to, the same command goes on from there; to give up, delete that folder"
        raise CaseError(f"cannot be written: {reason}", where=str(partial), next=way_out) from error


def _gather(evidence: Iterable[str]) -> list[Given]:
    given = list[Given]()
    for text in evidence:
        if text == "-":
            given.append(Given(None, "stdin"))
            continue
        paths = [Path(text)]
        if not paths[0].exists() and any(letter in text for letter in "*?["):
            paths = [Path(found) for found in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 (absolute patterns too)
        if not paths or not all(path.exists() for path in paths):
            raise EvidenceError("no such file or folder", where=text, next="check the path; nothing was made")
        for path in paths:
            given += _walk(path)
    if not given:
        raise EvidenceError("no file in there", where=", ".join(evidence), next="name the files or folders of evidence")
    taken: set[str] = set()
    return [_unique(one, taken) for one in given]


def _walk(path: Path) -> list[Given]:
    if path.is_file():
        return [Given(path, path.resolve().name)]
    if not path.is_dir():
        return [Given(path, path.name, "not a regular file")]
    root = path.resolve()
    found = list[Given]()
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            inside = Path(place) / name
            below = str(PurePosixPath(root.name or "evidence", *inside.relative_to(root).parts))
            refusal = "" if inside.is_file() else "not a regular file"
            found.append(Given(inside, below, "a symbolic link" if inside.is_symlink() else refusal))
    return found


def _unique(one: Given, taken: set[str]) -> Given:
    name, number = one.name, 2
    while name in taken:
        name, number = f"{number}-{one.name}", number + 1
    taken.add(name)
    return Given(one.path, name, one.refusal)


def _build(case: Path, partial: Path, given: list[Given], cluster: str | None, progress: Progress) -> NewCase:
    partial.mkdir(parents=True, exist_ok=True)
    _same_inputs(partial, given, cluster)
    total = sum(one.path.stat().st_size for one in given if one.path and not one.refusal) or 1
    copied = 0
    files = list[tuple[LedgerEntry, ModuleType | None]]()
    for one in given:
        progress(f"copying {one.name}", copied, total * 2)
        files.append(_take(one, partial / "evidence"))
        copied += files[-1][0].bytes
    if not any(reader for _, reader in files):
        raise _nothing_taken(partial, [f"{entry.path} was {entry.note}" for entry, _ in files])
    origin = _origin(partial, files, cluster)
    database = connect(spill=partial / "spill")
    for number, (entry, reader) in enumerate(files, 1):
        progress(f"reading {entry.path}", copied, total * 2)
        if reader:
            _load(partial, number, entry, reader, origin, database)
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
    (partial / "inputs.json").unlink()
    partial.rename(case)
    progress("done", total * 2, total * 2)
    return NewCase(case, ledger, origin.says)


def _nothing_taken(partial: Path, reasons: list[str]) -> EvidenceError:
    """The error for evidence without a single record; nothing of the case is left behind."""
    shutil.rmtree(partial, ignore_errors=True)
    more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    what = f"no record in the evidence could be taken: {'; '.join(reasons[:5])}{more}"
    return EvidenceError(what, next="README.md lists what is read; nothing was made")


def _same_inputs(partial: Path, given: list[Given], cluster: str | None) -> None:
    """Go on only with the call that began this partial case; otherwise two evidences would mix."""
    inputs = {"cluster": cluster, "evidence": [[str(one.path), one.name] for one in given]}
    written = partial / "inputs.json"
    if not written.exists():
        write_whole(written, json.dumps(inputs))
    elif json.loads(written.read_text()) != inputs:
        raise CaseError(
            "an unfinished case of this name was begun with other evidence",
            where=str(partial),
            next="run that command again to go on with it, or delete the folder",
        )


def _take(one: Given, folder: Path) -> tuple[LedgerEntry, ModuleType | None]:
    """Hash a file, tell what it is, and copy it when a reader takes it."""
    if one.refusal:
        return LedgerEntry(one.name, "", 0, None, note=f"not taken: {one.refusal}"), None
    target = folder / one.name
    if one.path is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(sys.stdin.buffer, target)
        source = target
    else:
        source = one.path
    try:
        reader, refusal = _reader(source, one.name)
        if reader and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as file:
                _copy(file, target)
        digest, size = _hash(target if reader else source)
    except PermissionError as error:
        if not os.access(source, os.R_OK):
            return LedgerEntry(one.name, "", 0, None, note="not taken: no permission to read it"), None
        raise error
    if reader is None:
        if one.path is None:
            target.unlink()
        return LedgerEntry(one.name, digest, size, None, note=f"not taken: {refusal}"), None
    return LedgerEntry(one.name, digest, size, reader.TAKEN_AS), reader


def _copy(source: BinaryIO, target: Path) -> None:
    unfinished = target.with_name(target.name + ".copying")
    with unfinished.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    unfinished.chmod(0o444)
    unfinished.replace(target)


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _reader(path: Path, name: str) -> tuple[ModuleType | None, str]:
    """The reader that takes a file, or None and the reason."""
    beginning, whole = head(path, SNIFFED)
    if not beginning.strip():
        return None, "the file is empty"
    sample = Sample(name, beginning, whole)
    try:
        for reader in READERS:
            if reader.sniff(sample):
                return reader, ""
    except EvidenceError as error:
        return None, str(error)
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
    damage = Damage()
    path = partial / "evidence" / entry.path
    data = bytearray()
    for piece in pieces(path, damage):
        data += piece
        if len(data) > LONGEST_DOCUMENT:
            yield Reject(1, 1, f"the document is longer than {LONGEST_DOCUMENT >> 20} MiB: split it", "")
            return
    if damage.says:
        entry.note = damage.says
    yield from reader.read(EvidenceFile(path, entry.path, entry.sha256), bytes(data))


def _load(
    partial: Path,
    number: int,
    entry: LedgerEntry,
    reader: ModuleType,
    origin: _Origin,
    database: duckdb.DuckDBPyConnection,
) -> None:
    """Read one file into its part of the store, unless an earlier run did; the entry is written last."""
    done = partial / "store" / "loaded" / f"{number:06}.json"
    if done.exists() and (kept := json.loads(done.read_text()))["sha256"] == entry.sha256:
        vars(entry).update(kept)
        return
    schema = tables.TABLES[reader.TABLE]
    part = _part(partial, reader.TABLE, number)
    if hasattr(reader, "load"):
        file = EvidenceFile(partial / "evidence" / entry.path, entry.path, entry.sha256, origin.cluster, origin.account)
        entry.rows, rejects, entry.note = reader.load(file, part, database)
    else:
        rejects, rows = list[Reject](), list[dict[str, Any]]()
        place = {"cluster": origin.cluster, "account": origin.account, "file": entry.path}
        for row in _rows(partial, entry, reader):
            if isinstance(row, Reject):
                rejects.append(row)
            else:
                values = {key: value for key, value in row.values.items() if value is not None}
                rows.append(place | {"line": row.line, "item": row.item} | values)
        pq.write_table(pa.Table.from_pylist(rows, schema), part, compression="zstd")
        entry.rows = len(rows)
    if rejects:
        lost = [
            asdict(reject) | {"file": entry.path, "cluster": origin.cluster, "account": origin.account}
            for reject in rejects
        ]
        pq.write_table(pa.Table.from_pylist(lost, tables.REJECTS), _part(partial, "rejects", number))
    entry.rejects = len(rejects)
    entry.records = entry.rows + entry.rejects
    entry.first_at, entry.last_at = _span(part, reader.TABLE)
    write_whole(done, json.dumps(asdict(entry)))


def _part(partial: Path, table: str, number: int) -> Path:
    folder = partial / "store" / table
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{number:06}.parquet"


TIME_OF = {"audit": "received_at", "trail": "event_at", "findings": "updated_at"}


def _span(part: Path, table: str) -> tuple[str | None, str | None]:
    if table not in TIME_OF:
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
        source = f"read_parquet([{', '.join(quoted(part) for part in parts)}], filename = true)"
        database.execute(
            f"CREATE OR REPLACE TEMP TABLE twice AS SELECT filename, file, line, item FROM (SELECT filename, file, line, item,"
            f" row_number() OVER (PARTITION BY event_hash ORDER BY filename, item) AS copy FROM {source}) WHERE copy > 1"
        )
        for (filename,) in database.sql("SELECT DISTINCT filename FROM twice").fetchall():
            kept = f"SELECT * FROM read_parquet({quoted(filename)}) ANTI JOIN twice USING (file, item) ORDER BY item"
            smaller = Path(filename).with_suffix(".kept")
            database.execute(f"COPY ({kept}) TO {quoted(smaller)} ({tables.PARQUET})")
            smaller.replace(filename)
    for number, entry in enumerate(ledger, 1):
        for part in _parts_of(partial, number):
            kept_rows = pq.read_metadata(part).num_rows
            entry.rows, entry.duplicates = kept_rows, entry.rows - kept_rows


def _parts_of(partial: Path, number: int) -> list[Path]:
    hashed = [name for name, schema in tables.TABLES.items() if "event_hash" in schema.names]
    return [part for name in hashed if (part := partial / "store" / name / f"{number:06}.parquet").exists()]


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
        listed = f"read_parquet([{', '.join(quoted(part) for part in parts)}])"
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
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value is not None)
