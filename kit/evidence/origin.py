"""Which cluster, account and region a case is from, as its evidence says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from kit.store import tables
from kit.store.parquet import parts_of, read_parquet


@dataclass(frozen=True)
class Origin:
    """Which cluster, account and region a case is from, and what has to be said about that."""

    cluster: str | None
    account: str | None
    region: str | None
    says: list[str]


def origin_of(store: Path, number: int, database: duckdb.DuckDBPyConnection, told: str | None) -> Origin:
    """Where a case is from, by the parts of its store up to a number: as told, else what the findings, AWS or the log groups say, if they agree."""
    says = list[str]()
    named = {
        source: {column: _named(store, number, database, source, column) for column in ("cluster", "account", "region")}
        for source in ("findings", "objects", "audit")
    }

    def only(column: str) -> str | None:
        for source, of in named.items():
            if len(of[column]) == 1:
                return of[column][0]
            if of[column] and column == "cluster" and told is None:
                listed = ", ".join(of[column])
                says.append(f"The cluster is unknown: the {source} name several ({listed}).")
                return None
        return None

    name = told or only("cluster")
    if name is None and not says:
        says.append("The cluster is unknown: no evidence names it, as a finding would.")
    return Origin(name, only("account"), only("region"), says)


def _named(store: Path, number: int, database: duckdb.DuckDBPyConnection, table: str, column: str) -> list[str]:
    parts = parts_of(store, table, number)
    if not parts or column not in tables.TABLES[table].names:
        return []
    real = " AND NOT sample" if table == "findings" else ""
    rows = database.sql(
        f"SELECT DISTINCT {column} FROM {read_parquet(parts)} WHERE {column} IS NOT NULL{real} ORDER BY 1"
    ).fetchall()
    return [row[0] for row in rows]
