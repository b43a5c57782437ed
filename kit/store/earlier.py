"""A case as its evidence was until a moment: its tables with the rows from before it alone."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from kit.store.ledger import ledger_of
from kit.store.parquet import connect, parts_of, plain_path, read_parquet
from kit.store.settings import settings_of
from kit.store.tables import AS_PARQUET, TABLES, quoted


def case_until(case: Path, until: datetime, folder: Path) -> Path:
    """Make a case in `folder` of the log events and findings of `case` from before a moment. Objects are those of the dump, whenever it was made."""
    made, settings = folder / case.name, settings_of(case)
    store = made / settings.store
    store.mkdir(parents=True)
    shutil.copy(case / "case.toml", made)
    shutil.copy(case / settings.store / "ledger.json", store)
    for name in ("marks.jsonl", "notes.jsonl"):
        if (case / name).exists():
            shutil.copy(case / name, made)
    (made / "evidence").symlink_to((case / "evidence").resolve())
    read, written, last = (
        plain_path(case, folder, "read"),
        plain_path(made, folder, "written"),
        ledger_of(case)["parts"],
    )
    database, at = connect(writes=True), f"{quoted(until.isoformat())}::TIMESTAMPTZ"
    for name, table in TABLES.items():
        when = {"findings": "first_seen_at", "coverage": "start_at"}.get(name, table.time if table.is_log else "")
        end = f" REPLACE (least(end_at, {at}) AS end_at)" if name == "coverage" else ""
        kept = f" WHERE {when} IS NULL OR {when} < {at}" if when else ""
        for part in parts_of(read / settings.store, name, last):
            target = written / settings.store / name / part.name
            target.parent.mkdir(exist_ok=True)
            database.execute(
                f"COPY (SELECT *{end} FROM {read_parquet([part])}{kept}) TO {quoted(target)} ({AS_PARQUET})"
            )
    return made
