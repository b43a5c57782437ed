"""The values of a row as its table's columns hold them: an odd one costs itself, not the record that it stands in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa

from kit.errors import EvidenceError
from kit.store.tables import TABLES

LEFT_OUT = "odd members"
"""The key under which a reader's row names members of its record that are of another kind than they should be."""
# Columns without which a row could show nothing; of tables that are not here, all of them.
_NEEDED: dict[str, tuple[str, ...]] = {
    "trail": ("event_id", "event_at"),
    "objects": ("api_version", "kind", "name", "object"),
}


def fitted(values: dict[str, Any], table: str) -> tuple[dict[str, Any], list[str]]:
    """The values that fit the table, and the names of those that do not and are left out.

    A number where a text should be is a text, and so is a text that is alone in a list. Raises EvidenceError for a value of another kind
    in a column without which a row could show nothing.
    """
    held, odd = dict[str, Any](), list[str](values.get(LEFT_OUT, ()))
    for name, value in values.items():
        if name == LEFT_OUT:
            continue
        column = TABLES[table].schema.field(name).type
        if value is None or _fits(value, column):
            held[name] = value
        elif (text := _as_text(value)) is not None and pa.types.is_string(column) and _fits(text, column):
            held[name] = text
        elif name in _NEEDED.get(table, values):
            raise EvidenceError(f"{name} cannot be a {type(value).__name__} such as {value!r:.60}")
        else:
            held[name] = None
            odd.append(name)
    return held, odd


def _as_text(value: Any) -> str | None:
    """The text that a number, or a list of one text, stands for; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else None


def _fits(value: Any, column: pa.DataType) -> bool:
    if pa.types.is_string(column):
        return isinstance(value, str) and (value.isascii() or _is_unicode(value))
    if pa.types.is_list(column):
        return isinstance(value, list) and all(_fits(each, column.value_type) for each in value)
    if pa.types.is_timestamp(column):
        return isinstance(value, datetime)
    if pa.types.is_boolean(column):
        return isinstance(value, bool)
    if pa.types.is_integer(column):
        return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
    return isinstance(value, float | int) and not isinstance(value, bool)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON's \u escapes can write
        return False
    return True


def said_of(odd: list[str]) -> str:
    """What is said of members of another kind; "" of none."""
    names = ", ".join(dict.fromkeys(odd))
    return f"{names}: of another kind than AWS and Kubernetes write" if names else ""
