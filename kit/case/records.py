"""Where the record that a ref names stands in the evidence."""

from __future__ import annotations

from kit.errors import CallError, CaseError
from kit.model.refs import Ref
from kit.store.store import Store
from kit.store.tables import REF_TABLES, TABLES


def record_of(store: Store, ref: str) -> tuple[str, int]:
    """File and item of what a ref names. Raises CallError for a ref of no evidence, CaseError for what is not there."""
    parsed = Ref.parse(ref)
    if parsed.kind == "line":
        digest, _, item = parsed.key.rpartition(":")
        file = next((entry["path"] for entry in store.ledger if entry["sha256"] == digest), "")
        return file, int(item)
    key = parsed.key.partition("#")[0] if parsed.kind == "finding" else parsed.key
    table = REF_TABLES.get(parsed.kind)
    if table is None:
        raise CallError(f"{ref} names no piece of evidence", next=f"ask for a ref of {', '.join(REF_TABLES)} or line")
    rows = store.rows(
        f"SELECT file, item FROM {table.name} WHERE {table.id} = $key ORDER BY file, item LIMIT 1", key=key
    )
    if not rows and parsed.kind == "object":
        rows = store.rows(
            "SELECT file, item FROM audit WHERE uid = $key ORDER BY received_at, file, item LIMIT 1", key=key
        )
    if not rows:
        raise CaseError(f"the evidence of this case has no {ref}", where=str(store.case))
    return rows[0]["file"], rows[0]["item"]


def file_and_line(store: Store, ref: str) -> tuple[str, int]:
    """File and line of what a ref names, after decompression, from 1. Raises CaseError."""
    file, item = record_of(store, ref)
    for table in (one for one in TABLES.values() if one.has_records):
        rows = store.rows(
            f"SELECT line FROM {table.name} WHERE file = $file AND item = $item LIMIT 1", file=file, item=item
        )
        if rows:
            return file, int(rows[0]["line"])
    return file, item
