"""The case store: Parquet below CASE/store, asked through DuckDB. Questions never open evidence files.

Layout: store/<table>/<number>.parquet, one part a file of evidence and table; store/ledger.json.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from kit.errors import CallError, CaseError
from kit.model.address import ODD, canonical
from kit.model.refs import Ref
from kit.store import tables
from kit.store.settings import settings_of
from kit.store.tables import MOST_WORKERS, TABLES, quoted, rows_of

if TYPE_CHECKING:
    import pandas as pd

MOST_THREADS = 4  # each reads JSON through buffers of its own, 32 MB at least
SMALL = 2 << 20  # bytes of Parquet; so much, some 30,000 audit events, is read once and asked in memory
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
    # With one thread the order is kept anyhow; only so DuckDB counts the bytes of a row group.
    database.execute(f"SET preserve_insertion_order = {'false' if writes else 'true'}")
    database.execute(f"SET threads = {1 if writes else min(threads, os.cpu_count() or 1)}")
    if spill is not None:
        database.execute(f"SET temp_directory = {quoted(spill)}")
    return database


def part_path(store: Path, table: str, number: int, worker: int = 0) -> Path:
    """Where the part of a table is that a file (by its number) fills, or one of several workers on it; its folder is made."""
    (store / table).mkdir(parents=True, exist_ok=True)
    return _place(store, table, number, worker)


def _place(store: Path, table: str, number: int, worker: int) -> Path:
    return store / table / (f"{number:06}-{worker}.parquet" if worker else f"{number:06}.parquet")


def parts_of(store: Path, table: str, last: int) -> list[Path]:
    """The parts of a table that the files up to number `last` fill, in their order."""
    return [part for part in sorted((store / table).glob("*.parquet")) if int(part.stem[:6]) <= last]


def parts_of_file(store: Path, table: str, number: int) -> list[Path]:
    """The parts of a table that one file fills. A folder may hold very many, so it is not listed."""
    wanted = (_place(store, table, number, worker) for worker in range(MOST_WORKERS))
    return [part for part in wanted if part.exists()]


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


def ledger_of(case: Path, store: str = "") -> dict[str, Any]:
    """A case's ledger: the `files`, and `parts`, the number of the last part that counts. Raises CaseError for a folder that is no case.

    store: the folder in it, whatever its format; the one that the settings name without it, if this kit can read it.
    """
    store = store or settings_of(case).store
    try:
        ledger = json.loads((case / store / "ledger.json").read_text())
        return {"parts": int(ledger["parts"]), "files": list(ledger["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise CaseError(
            "not a case of this kit", where=str(case), next="make one with `kit new CASE EVIDENCE...`"
        ) from None


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


def _empty(schema: pa.Schema) -> str:
    columns = (f'NULL::{_SQL_TYPES[column.type]} AS "{column.name}"' for column in schema)
    return f"(SELECT {', '.join(columns)} WHERE false)"


class Store:
    """The tables of one case, read-only. Each table of kit.store.tables has a table or a view of the same name.

    `findings` holds each finding once, as last updated; `finding_versions` holds all that arrived.
    """

    def __init__(self, case: Path) -> None:
        self.case = case
        self.settings = settings_of(case)
        self._ledger = ledger_of(case, self.settings.store)
        self._scratch = tempfile.TemporaryDirectory(prefix="kit-store-")
        store = plain_path(case, Path(self._scratch.name), "case") / self.settings.store
        known = {name: value for name in ("cluster", "account") if (value := getattr(self.settings, name))}
        last = self._ledger["parts"]
        found = {name: parts_of(store, name, last) for name in tables.TABLES}
        # Coverage is of all evidence, written anew with each addition.
        found["coverage"] = [part for part in found["coverage"] if part == _place(store, "coverage", last, 0)]
        is_small = sum(part.stat().st_size for parts in found.values() for part in parts) <= SMALL
        self._database = connect(spill=Path(self._scratch.name), threads=1 if is_small else MOST_THREADS)
        self._database.execute("SET parquet_metadata_cache = true")  # nobody writes the parts of a store that is open
        for name, table in tables.TABLES.items():
            parts = found[name]
            view = "finding_versions" if name == "findings" else name
            # What no record says is taken from the case: with more evidence it may be known better.
            source = read_parquet(parts) if parts else _empty(table.schema)
            told = {column: f"coalesce({column}, {quoted(value)})" for column, value in known.items()}
            if parts and "source_address" in table.names:
                told["source_address"] = self._address_in(source)
            columns = ", ".join(
                f"{told[column]} AS {column}" if column in told else f'"{column}"' for column in table.names
            )
            kind = "TABLE" if is_small else "VIEW"
            self._database.execute(f"CREATE {kind} {view} AS SELECT {columns} FROM {source}")
        # From here on nothing reads another file, whatever SQL it is; what a query spills is DuckDB's own.
        self._database.execute(f"SET allowed_directories = [{quoted(f'{store}/')}]")
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")
        self._database.execute(
            "CREATE VIEW findings AS SELECT * EXCLUDE (newest) FROM (SELECT *, row_number() OVER"
            " (PARTITION BY id ORDER BY updated_at DESC NULLS LAST, wrapper <> 'GuardDuty', file, item) AS newest FROM finding_versions)"
            " WHERE newest = 1"
        )

    def _address_in(self, source: str) -> str:
        """SQL of the column source_address with each address in its one form. Logs hardly have another, so that most need no change."""
        odd = ODD.format("source_address")
        found = self._database.execute(f"SELECT DISTINCT source_address FROM {source} WHERE {odd}").fetchall()
        forms = {text: canonical(text) for (text,) in found}
        whens = " ".join(f"WHEN {quoted(text)} THEN {quoted(form)}" for text, form in forms.items() if text != form)
        return f"CASE source_address {whens} ELSE source_address END" if whens else "source_address"

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """What became of each file, in the order in which they were given (columns: kit.evidence.parts.LedgerEntry)."""
        return list(self._ledger["files"])

    def table(self, sql: str, **values: Any) -> pa.Table:
        """The Arrow table that a query in DuckDB's SQL gives; `values` fill its $names."""
        return self._database.sql(sql, params=values or None).to_arrow_table()

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a small result as dicts; times are aware datetimes in UTC."""
        # `sql` plans a query twice, for its columns and to run it. The other way copies the rows once more, and warns of that.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Arrow output on a DB-API result makes an extra copy")
            return rows_of(self._database.execute(sql, values or None).to_arrow_table())

    def batches(self, sql: str, size: int = 500, **values: Any) -> Iterator[list[dict[str, Any]]]:
        """The rows of a large result, some at a time. Ask nothing else until it is used up."""
        for batch in self._database.sql(sql, params=values or None).to_arrow_reader(size):
            yield rows_of(batch)

    def up_to(self, most: int, sql: str, **values: Any) -> pa.Table | None:
        """The Arrow table that a query gives; None, read no further, when it has more than `most` rows."""
        reader = self._database.sql(sql, params=values or None).to_arrow_reader(20_000)
        batches, rows = list[pa.RecordBatch](), 0
        for batch in reader:
            rows += batch.num_rows
            if rows > most:
                return None
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)

    def checked(self, sql: str) -> str:
        """SQL that somebody wrote, when it is one SELECT that can be planned; it changes nothing then. Raises CallError with DuckDB's sentence."""
        try:
            found = self._database.extract_statements(str(sql))
            if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
                raise CallError("this is not one SELECT", next="ask one question at a time; a case is only read")
            self._database.sql(sql)
        except duckdb.Error as error:
            says = " ".join(str(error).partition("\n\n")[0].partition("Error: ")[2].split())
            tables = ", ".join([*TABLES, "finding_versions"])
            raise CallError(says or "this SQL cannot be read", next=f"the tables are {tables}") from None
        return sql

    def event_ref(self, event: Mapping[str, Any]) -> Ref:
        """The Ref of an audit event (audit_id, file, item): by auditID, or by its place where other requests bear that auditID too."""
        if event["audit_id"] in self.reused_audit_ids:
            digest = next(entry["sha256"] for entry in self.ledger if entry["path"] == event["file"])
            return Ref.of("line", f"{digest}:{event['item']}")
        return Ref.of("audit", event["audit_id"])

    @cached_property
    def reused_audit_ids(self) -> frozenset[str]:
        """auditIDs that stand on more than one request: a client may choose its own with the Audit-ID header."""
        # A request has one event a stage; they differ in stage alone. OCSF cuts times to milliseconds.
        rows = self.rows(
            "SELECT audit_id FROM (SELECT audit_id, hash(date_trunc('milliseconds', received_at), user_name, verb, request_uri) AS request FROM audit)"
            " GROUP BY audit_id HAVING min(request) <> max(request)"
        )
        return frozenset(row["audit_id"] for row in rows)

    def frame(self, sql: str, **values: Any) -> pd.DataFrame:
        """The result as a pandas frame with Arrow types."""
        import pandas as pd

        frame: pd.DataFrame = self.table(sql, **values).to_pandas(types_mapper=pd.ArrowDtype)
        return frame
