"""The case store: Parquet below CASE/store, asked through DuckDB. Questions never open evidence files.

Layout: store/<table>/<number>.parquet, one part a file of evidence and table; store/ledger.json.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from kit import tables
from kit.errors import CaseError
from kit.refs import Ref
from kit.sources.json_document import Record, records
from kit.sources.stream import Damage, lines, pieces

MOST_THREADS = 4  # each reads JSON through buffers of its own, 32 MB at least
MEMORY = "500MB"  # of DuckDB; with Python, Arrow and the readers' buffers the whole stays below 1 GB


def connect(spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC with bounded memory, which loads no extension and reads no other files than it is told.

    spill: folder for what does not fit into memory.
    """
    database = duckdb.connect(config={"autoinstall_known_extensions": False, "memory_limit": MEMORY})
    database.execute("SET TimeZone = 'UTC'")
    database.execute(f"SET threads = {min(MOST_THREADS, os.cpu_count() or 1)}")
    if spill is not None:
        database.execute(f"SET temp_directory = {quoted(spill)}")
    return database


def read_parquet(parts: Iterable[Path], more: str = "") -> str:
    """SQL that reads Parquet files, whose paths are plain ones, and takes nothing from their names."""
    return f"read_parquet([{', '.join(quoted(part) for part in parts)}], hive_partitioning = false{more})"


def quoted(text: str | Path) -> str:
    """A text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"


def plain_path(path: Path, folder: Path, name: str) -> Path:
    """A link to a path, in a folder of ours: DuckDB reads `*`, `[`, `name=value/` and `~` in a path as patterns, and only text.

    path: made absolute. folder: whose own path holds none of these.
    """
    link = folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())
    return link


class Store:
    """The tables of one case, read-only. Each table of kit.tables is a view of the same name.

    `findings` holds each finding once, as last updated; `finding_versions` holds all that arrived.
    """

    def __init__(self, case: Path) -> None:
        self.case = case
        if not (case / "store" / "ledger.json").is_file():
            raise CaseError("not a case of this kit", where=str(case), next="make one with `kit new CASE EVIDENCE...`")
        self._scratch = tempfile.TemporaryDirectory(prefix="kit-store-")
        self._database = connect(spill=Path(self._scratch.name))
        here = plain_path(case, Path(self._scratch.name), "case")
        for name, schema in tables.TABLES.items():
            parts = sorted((here / "store" / name).glob("*.parquet"))
            view = "finding_versions" if name == "findings" else name
            columns = ", ".join(f'"{column}"' for column in schema.names)
            if parts:
                self._database.execute(f"CREATE VIEW {view} AS SELECT {columns} FROM {read_parquet(parts)}")
            else:
                self._database.register(f"empty_{view}", schema.empty_table())
                self._database.execute(f"CREATE VIEW {view} AS SELECT {columns} FROM empty_{view}")
        self._database.execute(
            "CREATE VIEW findings AS SELECT * EXCLUDE (newest) FROM (SELECT *, row_number() OVER"
            " (PARTITION BY id ORDER BY updated_at DESC NULLS LAST, wrapper <> 'GuardDuty', file, item) AS newest FROM finding_versions)"
            " WHERE newest = 1"
        )

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """What became of each file, in the order in which they were given (columns: kit.intake.LEDGER)."""
        return list(json.loads((self.case / "store" / "ledger.json").read_text()))

    def table(self, sql: str, **values: Any) -> pa.Table:
        """The Arrow table that a query in DuckDB's SQL gives; `values` fill its $names."""
        return self._database.sql(sql, params=values or None).to_arrow_table()

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a small result as dicts; times are aware datetimes in UTC."""
        return list(self.table(sql, **values).to_pylist())

    def batches(self, sql: str, size: int = 500, **values: Any) -> Iterator[list[dict[str, Any]]]:
        """The rows of a large result, some at a time. Ask nothing else until it is used up."""
        for batch in self._database.sql(sql, params=values or None).to_arrow_reader(size):
            yield batch.to_pylist()

    def event_ref(self, event: dict[str, Any]) -> Ref:
        """The Ref of an audit event (audit_id, file, line): by auditID, or by its line where other requests bear that auditID too."""
        if event["audit_id"] in self._shared_audit_ids:
            digest = next(entry["sha256"] for entry in self.ledger if entry["path"] == event["file"])
            return Ref.of("line", f"{digest}:{event['line']}")
        return Ref.of("audit", event["audit_id"])

    @cached_property
    def _shared_audit_ids(self) -> frozenset[str]:
        # A request has one event a stage; they differ in stage alone. The client may choose the auditID.
        rows = self.rows(
            "SELECT audit_id FROM (SELECT audit_id, hash(received_at, user_name, verb, request_uri) AS request FROM audit)"
            " GROUP BY audit_id HAVING min(request) <> max(request)"
        )
        return frozenset(row["audit_id"] for row in rows)

    def frame(self, sql: str, **values: Any) -> pd.DataFrame:
        """The result as a pandas frame with Arrow types."""
        frame: pd.DataFrame = self.table(sql, **values).to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def raw(self, file: str, line: int, item: int) -> str:
        """The text of a record as it stands in the evidence, found by its place. Raises CaseError when it is not there."""
        path = self.case / "evidence" / file
        if not path.is_file():
            raise CaseError("this evidence file is missing", where=str(path), next="restore it, or make the case again")
        for text in self._texts(path, line, item):
            return text
        raise CaseError("the evidence has no such record", where=f"{file}:{line}")

    def _texts(self, path: Path, line: int, item: int) -> Iterator[str]:
        taken_as = {entry["path"]: entry["taken_as"] for entry in self.ledger}
        if taken_as.get(str(path.relative_to(self.case / "evidence"))) == "Kubernetes audit log":
            yield from (found.text.decode() for found in lines(path, Damage()) if found.number == line)
        else:
            data = b"".join(pieces(path, Damage()))
            found = (record for record in records(data) if isinstance(record, Record) and record.item == item)
            yield from (json.dumps(record.value) for record in found)
