"""How a case is shown: in one line, and as HTML by what the room `show` registers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from kit.store.store import Store
from kit.words import counted

RENDERERS: dict[str, Callable[..., Any]] = {}
"""What is to be shown → what shows it: `case` (the first screen, of a case), `ref` (a record, of a case and its ref) and `about` (a thing, of
a case and what it tells of that)."""
_REGISTERS = "kit.show.renderers"
"""The module that fills RENDERERS when it is imported, by name: this room knows nothing of that one."""


def rendered(what: str, *arguments: Any) -> Any:
    """What a renderer makes: HTML that shows itself in a notebook, and text elsewhere."""
    if not RENDERERS:
        importlib.import_module(_REGISTERS)
    return RENDERERS[what](*arguments)


INVENTED = "SAMPLE CASE: INVENTED DATA"
"""What everything that shows the sample case begins with."""


def one_line(store: Store, name: str, findings: int, is_sample: bool) -> str:
    """A case in one line: its cluster, or its name, and how much evidence of each kind it has."""
    parts = [
        counted(findings, "finding"),
        _events(store, "audit", "received_at", "audit event"),
        _events(store, "trail", "event_at", "CloudTrail event"),
        counted(_number(store, "objects"), "object"),
    ]
    head = f"{INVENTED}, " if is_sample else ""
    return f"<Case {head}{name}: {', '.join(parts)}>"


def _number(store: Store, table: str) -> int:
    return int(store.rows(f"SELECT count(*) AS rows FROM {table}")[0]["rows"])


def _events(store: Store, table: str, time: str, noun: str) -> str:
    (row,) = store.rows(f"SELECT count(*) AS rows, min({time}) AS first, max({time}) AS last FROM {table}")
    said = counted(row["rows"], noun)
    if table != "audit" or row["first"] is None:
        return said
    first, last = row["first"], row["last"]
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{said} {first:%Y-%m-%d %H:%M}–{end} UTC"
