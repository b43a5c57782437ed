"""Parquet parts of a store and the DuckDB connection that reads and writes them: where a part lies, and what a missing one reads as."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa

from kit.store import tables
from kit.store.tables import MOST_WORKERS, quoted

MOST_THREADS = 4  # each reads JSON through buffers of its own, 32 MB at least
MEMORY = "500MB"  # of DuckDB; with Python, Arrow and the readers' buffers the whole stays below 1 GB


def connect(spill: Path | None = None, writes: bool = False, threads: int = MOST_THREADS) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC with bounded memory, which loads no extension and reads no other files than it is told.

    spill: folder for what does not fit into memory. writes: to write parts of the store (kit.store.tables.AS_PARQUET), with one thread a statement.
    threads: at most so many a statement.
    """
    database = duckdb.connect(config={"autoinstall_known_extensions": False, "memory_limit": MEMORY})
    database.execute("SET TimeZone = 'UTC'")
    if database.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        # It goes to stdout. Jupyter refuses the setting where it has no bar.
        database.execute("SET enable_progress_bar = false")
    if writes:  # with one thread the order is kept anyhow; only so DuckDB counts the bytes of a row group
        database.execute("SET preserve_insertion_order = false")
        database.execute("SET threads = 1")
    else:
        ask_with_all_threads(database, threads)
    if spill is not None:
        database.execute(f"SET temp_directory = {quoted(spill)}")
    return database


def ask_with_all_threads(database: duckdb.DuckDBPyConnection, threads: int = MOST_THREADS) -> None:
    """Let a connection that has written answer questions as one that only reads does: a new one takes 20 ms of CPU time."""
    database.execute("SET preserve_insertion_order = true")
    database.execute(f"SET threads = {min(threads, os.cpu_count() or 1)}")


def part_path(store: Path, table: str, number: int, worker: int = 0) -> Path:
    """Where the part of a table is that a file (by its number) fills, or one of several workers on it; its folder is made."""
    (store / table).mkdir(parents=True, exist_ok=True)
    return place_of_part(store, table, number, worker)


def place_of_part(store: Path, table: str, number: int, worker: int = 0) -> Path:
    """Where a part lies, whether or not there is one."""
    return store / table / _name_of_part(number, worker)


def _name_of_part(number: int, worker: int) -> str:
    return f"{number:06}-{worker}.parquet" if worker else f"{number:06}.parquet"


def parts_of(store: Path, table: str, last: int) -> list[Path]:
    """The parts of a table that the files up to number `last` fill, in their order."""
    return [part for part in sorted((store / table).glob("*.parquet")) if int(part.stem[:6]) <= last]


def parts_of_file(store: Path, table: str, number: int) -> list[Path]:
    """The parts of a table that one file fills. A folder may hold very many, so it is not listed."""
    names = (_name_of_part(number, worker) for worker in range(MOST_WORKERS))
    # Most are not there, and a Path for each of them took an eighth of loading a folder.
    return [store / table / name for name in names if os.path.exists(f"{store}/{table}/{name}")]  # noqa: PTH110


def read_parquet(parts: Iterable[Path], more: str = "") -> str:
    """SQL that reads Parquet files, whose paths are plain ones, and takes nothing from their names."""
    return f"read_parquet([{', '.join(quoted(part) for part in parts)}], hive_partitioning = false{more})"


def plain_path(path: Path, folder: Path, name: str) -> Path:
    """A link to a path, in a folder of ours: DuckDB reads `*`, `[`, `name=value/` and `~` in a path as patterns, and only text.

    path: made absolute. folder: whose own path holds none of these.
    """
    link = folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())
    return link


# An empty Arrow table would do too, but DuckDB imports pandas to see whether it is a frame.
_SQL_TYPES = {
    tables.TEXT: "VARCHAR",
    tables.TEXTS: "VARCHAR[]",
    tables.TIME: "TIMESTAMPTZ",
    tables.COUNT: "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
}


def empty_relation(schema: pa.Schema) -> str:
    """SQL of a relation with the columns of a table and no row, for a table of which a case has no part."""
    columns = (f'NULL::{_SQL_TYPES[column.type]} AS "{column.name}"' for column in schema)
    return f"(SELECT {', '.join(columns)} WHERE false)"


def misfit(database: duckdb.DuckDBPyConnection, source: str, schema: pa.Schema) -> str:
    """What of a table's columns a relation does not have as the kit writes it; "" where it has them all."""
    has = {name: kind for name, kind, *_ in database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    wanted = ((column.name, _SQL_TYPES[column.type]) for column in schema)
    wrong = ((name, kind.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")) for name, kind in wanted)
    return next((f"{name} is {has.get(name, 'missing')}" for name, kind in wrong if has.get(name) != kind), "")


def first_link(store: Path) -> Path | None:
    """A symbolic link among a store and its parts: whoever made the folder could lead a reader anywhere by it."""
    if store.is_symlink():
        return store
    with os.scandir(store) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_symlink():
            return Path(entry.path)
        if entry.is_dir():
            with os.scandir(entry.path) as inside:
                if link := next((part for part in inside if part.is_symlink()), None):
                    return Path(link.path)
    return None
