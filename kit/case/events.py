"""The events of a log as a frame: chosen and filtered in DuckDB, so that pandas gets what was asked for and no more."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from kit.case.columns import SHOWN
from kit.case.frames import arrow_frame
from kit.errors import CallError
from kit.model.kubernetes import OBJECT_KINDS
from kit.model.window import Time, checked_window
from kit.store.queries import LAST_STAGE
from kit.store.store import Store
from kit.store.tables import COLUMNS, TABLES, TEXT, TEXTS, TIME, Table, quoted
from kit.words import Names, nearest

if TYPE_CHECKING:
    import pandas as pd

MANY, MOST = 100_000, 500_000
"""Rows of a frame: from the first number on it warns, of more than the second there is none unless `most` says so."""
_VERBS = (
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "head",
    "options",
    "post",
    "put",
    "connect",
)
_KNOWN = {
    "verb": _VERBS,
    "resource": tuple(OBJECT_KINDS),
    "stage": ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"),
    "level": ("Metadata", "Request", "RequestResponse"),
}  # fmt: skip
"""Column → values that are none of a misspelling, whether this log has them or not; another one has to stand in the log."""


@dataclass
class _Asked:
    """Conditions in SQL and their values."""

    table: Table
    where: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: str, name: str, value: Any) -> None:
        self.where.append(condition.format(f'"{name}"', f"${name}"))
        self.values[name] = value


def events(
    store: Store,
    log: str,
    filters: dict[str, Any],
    start: Time,
    end: Time,
    columns: Names | None,
    most: int | None,
    one_a_call: bool = False,
) -> pd.DataFrame:
    """The events of a log (audit, trail, sign_ins) that the filters let in, oldest first. one_a_call: of a request's stages the last.

    Raises CallError for an unknown filter, column or value, for a window that is none, and for more than `most` rows.
    """
    table = TABLES[log]
    asked = _Asked(table)
    begin, finish = checked_window(start, end, lambda: days_of(store, log))
    for sign, name, at in ((">=", "start", begin), ("<", "end", finish)):
        if at is not None:
            asked.where.append(f"{table.time} {sign} ${name}")
            asked.values[name] = at
    for name, value in filters.items():
        if value is not None and not (isinstance(value, str) and not value):
            _filter(store, asked, name, value)
    chosen = _columns(table, columns)
    where = f" WHERE {' AND '.join(asked.where)}" if asked.where else ""
    inner = list(dict.fromkeys([*chosen, table.time, "file", "item", *([table.id] if "ref" in chosen else [])]))
    inner = [_selected(name) for name in inner if name != "ref"]
    source = f"(SELECT {', '.join(inner)} FROM {log}{where})"
    if one_a_call:
        source = f"(SELECT * FROM (SELECT {', '.join([*inner, f'{LAST_STAGE} AS place'])} FROM {log}{where}) AS staged WHERE place = 1)"
    narrow = f"narrow it with start, end or a filter such as {_SUGGESTED[log]}"

    def asked_for(ref: str) -> pd.DataFrame:
        shown = [f"{ref} AS ref" if name == "ref" else f'"{name}"' for name in chosen]
        sql = f"SELECT {', '.join(shown)} FROM {source} AS chosen ORDER BY {table.time}, file, item"
        return bounded(store, sql, asked.values, most, narrow, categories=True)

    frame = asked_for(f"'{table.ref}:' || {table.id}")
    if log != "audit" or "ref" not in chosen:
        return frame
    reused = store.reused_among(list({ref.partition(":")[2] for ref in frame["ref"].dropna()}))
    if reused:
        files = " ".join(f"WHEN {quoted(one['path'])} THEN {quoted(one['sha256'])}" for one in store.ledger)
        asked.values["reused"] = sorted(reused)
        line = f"'line:' || CASE file {files} END || ':' || item"
        frame = asked_for(f"CASE WHEN list_contains($reused, audit_id) THEN {line} ELSE 'audit:' || audit_id END")
    return frame


_SUGGESTED = {
    "audit": "user_name, source_address or verb",
    "trail": "access_key_id or event_name",
    "sign_ins": "arn or user_name",
}


def bounded(
    store: Store, sql: str, values: dict[str, Any], most: int | None, narrow: str, categories: bool = False
) -> pd.DataFrame:
    """The frame of a query; a large one warns, and one of more than `most` rows (MOST without it) is refused. narrow: what to do then."""
    allowed = MOST if most is None else most
    try:
        table = store.up_to(allowed, sql, **values)
    except duckdb.Error as error:
        says = " ".join(str(error).partition("\n\n")[0].partition("Error: ")[2].split())
        raise CallError(says, next=narrow) from None
    if table is None:
        (number,) = store.rows(f"SELECT count(*) AS rows FROM ({sql}) AS asked", **values)
        raise CallError(f"these are {number['rows']:,} rows, more than {allowed:,}", next=f"{narrow}, or give most=")
    if table.num_rows >= MANY:
        says = f"This frame has {table.num_rows:,} rows: {narrow}."
        warnings.warn(says, UserWarning, stacklevel=5)
    return arrow_frame(table, categories)


def days_of(store: Store, log: str) -> list[date]:
    """The first and the last UTC day that a log covers, or the one that is both; none without one."""
    (row,) = store.rows("SELECT min(start_at) AS first, max(end_at) AS last FROM coverage WHERE source = $log", log=log)
    return sorted({row["first"].date(), row["last"].date()}) if row["first"] else []


def _columns(table: Table, columns: Names | None) -> list[str]:
    if columns is None:
        return SHOWN[table.name].split()
    if isinstance(columns, str):
        raise CallError(f"columns is {columns!r}, a text", next=f'give a list: columns=["{columns}"]')
    known = [*(["ref"] if table.ref else []), *table.names]
    for name in columns:
        if name not in known:
            raise CallError(f"{table.name} has no column {name!r}", next=nearest(str(name), known))
    return list(dict.fromkeys(columns))


def _selected(name: str) -> str:
    """A column in SQL: what a record leaves out and what it has as an empty text are one thing."""
    return f'nullif("{name}", \'\') AS "{name}"' if COLUMNS[name][0] == TEXT else f'"{name}"'


def _filter(store: Store, asked: _Asked, name: str, value: Any) -> None:
    table = asked.table
    allowed = [column for column in table.names if COLUMNS[column][0] != TIME]
    if name not in allowed:
        raise CallError(f"{table.name} has no filter {name!r}", next=nearest(name, ["start", "end", *allowed]))
    kind = COLUMNS[name][0]
    several = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    is_text = pa.types.is_string(kind) or kind == TEXTS
    wanted = str if is_text else bool if pa.types.is_boolean(kind) else int
    for one in several:
        if not isinstance(one, wanted) and not (wanted is int and hasattr(one, "__index__")):
            words = {str: "text", bool: "True or False", int: "a number"}[wanted]
            raise CallError(f"{name} is {words}, not {one!r}")
        if name in _KNOWN and table.name == "audit":
            _is_known(store, name, one)
    if kind == TEXTS:
        names = [f"{name}_{place}" for place in range(len(several))]
        asked.where.append(f"({' OR '.join(f'list_contains({name}, ${one})' for one in names) or 'false'})")
        asked.values |= dict(zip(names, several, strict=True))
    elif is_text and len(several) == 1 and "*" in several[0]:
        escaped = several[0].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
        asked.add("{} LIKE {} ESCAPE '\\'", name, escaped)
    elif len(several) == 1:
        asked.add("{} = {}", name, several[0])
    else:
        asked.add("list_contains({1}, {0})", name, several)


def _is_known(store: Store, column: str, value: str) -> None:
    """Refuse a value that is none of its column's and that no event has. Raises CallError."""
    if value in _KNOWN[column] or "*" in value:
        return
    has = [row["value"] for row in store.rows(f"SELECT DISTINCT {column} AS value FROM audit WHERE {column} <> ''")]
    if value not in has:
        raise CallError(
            f"no event of this log has the {column} {value!r}",
            next=nearest(value, sorted({*_KNOWN[column], *has})),
        )
