"""A case's ledger: what became of each file of evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import CaseError
from kit.lenient import time_of
from kit.store.settings import settings_of


def ledger_of(case: Path, store: str = "") -> dict[str, Any]:
    """A case's ledger: the `files`, and `parts`, the number of the last part that counts. Raises CaseError for a folder that is no case.

    store: the folder in it, whatever its format; the one that the settings name without it, if this kit can read it.
    """
    store = store or settings_of(case).store
    try:
        path = case / store / "ledger.json"
        ledger = json.loads(path.read_text())
        parts, files = ledger["parts"], ledger["files"]
        listed = isinstance(files, list) and isinstance(parts, int) and 0 <= parts <= MOST_PARTS
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CaseError(
            "not a case of this kit", where=str(case), next="make one with `kit new CASE EVIDENCE...`"
        ) from None
    if not listed:
        raise _odd(path, "it has no list of files, or no number of parts")
    return {"parts": parts, "files": [vars(entry_of(file, path, place)) for place, file in enumerate(files)]}


MOST_PARTS = 999_999  # as many digits as the name of a part has


def _odd(path: Path, says: str) -> CaseError:
    return CaseError(
        f"is no ledger of this kit: {says}",
        where=str(path),
        next="put back what `kit new` wrote, or make the case anew from its evidence folder",
    )


def entry_of(read: Any, path: Path, place: int = 0) -> LedgerEntry:
    """An entry as a file has it, as far as this kit knows its members. Raises CaseError for one that the kit would not write."""
    if not isinstance(read, dict):
        raise _odd(path, f"files[{place}] is no object")
    try:
        entry = LedgerEntry(**{name: read[name] for name in LedgerEntry.__dataclass_fields__ if name in read})
    except TypeError as error:
        raise _odd(path, f"files[{place}]: {str(error).partition('() ')[2]}") from None
    for name, value in vars(entry).items():
        if not _IS[name](value):
            raise _odd(path, f"files[{place}].{name} cannot be {value!r:.80}")
    return entry


def is_below(name: Any) -> bool:
    """Whether a name is a plain path below a folder: it leads out of it by no `..` and from no root."""
    return (
        isinstance(name, str)
        and bool(name)
        and "\0" not in name
        and not name.startswith("/")
        and ".." not in name.split("/")
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_time(value: Any) -> bool:
    return value is None or (isinstance(value, str) and time_of(value) is not None)


_IS: dict[str, Callable[[Any], bool]] = {
    "path": is_below,
    "sha256": lambda value: isinstance(value, str) and re.fullmatch("([0-9a-f]{64})?", value) is not None,
    **dict.fromkeys(("bytes", "records", "rows", "duplicates", "rejects", "odd"), _is_count),
    "taken_as": _is_text,
    **dict.fromkeys(("first_at", "last_at"), _is_time),
    "note": lambda value: isinstance(value, str),
    "unread": lambda value: isinstance(value, bool),
}
"""What each member of an entry has to be."""


@dataclass
class LedgerEntry:
    """What became of one file. records = rows + duplicates + rejects; times are ISO 8601 in UTC, None when there are none.

    odd: rows of which a part is left out or kept in another form, as the note says; audit events say it themselves.
    unread: whether its content could not be had, as the note says: what it held cannot be told.
    """

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
    odd: int = 0
    unread: bool = False
