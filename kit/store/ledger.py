"""A case's ledger: what became of each file of evidence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import CaseError
from kit.store.settings import settings_of


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
