"""Where the record that a ref names stands in the evidence."""

from __future__ import annotations

from kit.errors import CallError, CaseError, KitError
from kit.model.refs import Ref
from kit.store.store import Store
from kit.store.tables import REF_TABLES, TABLES

_SHORTEST = 6  # letters of a key that is cut short, as tables show it


class RecordText(str):
    """The text of a record as it stands in the evidence. file, line: where, after decompression, from 1."""

    __slots__ = ("file", "line")
    file: str
    line: int

    @classmethod
    def of(cls, text: str, file: str, line: int) -> RecordText:
        """A text with its place."""
        made = cls(text)
        made.file, made.line = file, line
        return made


def record_of(store: Store, ref: str) -> tuple[str, int]:
    """File and item of what a ref names. Raises CallError for a ref of no evidence, CaseError for what is not there."""
    parsed = Ref.parse(ref)
    if parsed.kind == "line":
        digest, _, item = parsed.key.rpartition(":")
        file = next((entry["path"] for entry in store.ledger if entry["sha256"] == digest), "")
        if not file or not item.isdigit():
            raise CaseError(f"the evidence of this case has no {ref}", where=str(store.case))
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
    if not rows and len(key) >= _SHORTEST:
        begins = f"SELECT {table.id} AS id, min(file || ':' || item) AS place FROM {table.name} WHERE starts_with({table.id}, $key) GROUP BY {table.id} LIMIT 2"
        found = store.rows(begins, key=key)
        if len(found) > 1:
            raise CallError(f"more than one record has a ref that begins with {ref}", next="give it in full")
        rows = [{"file": file, "item": int(item)} for file, _, item in (one["place"].rpartition(":") for one in found)]
    if not rows:
        raise CaseError(f"the evidence of this case has no {ref}", where=str(store.case))
    return rows[0]["file"], rows[0]["item"]


def records_of_refs(store: Store, refs: list[str]) -> dict[str, tuple[str, int] | KitError]:
    """File and item of what each ref names, or why there is none; audit events, which are many, are looked up at once."""
    audit = {ref.partition(":")[2]: ref for ref in refs if ref.startswith("audit:")}
    rows = store.rows(
        "SELECT audit_id, file, item FROM audit WHERE list_contains($ids, audit_id) ORDER BY file, item",
        ids=list(audit),
    )
    found = dict[str, tuple[str, int] | KitError]()
    for row in rows:
        found.setdefault(audit[row["audit_id"]], (row["file"], row["item"]))
    for ref in refs:
        if ref not in found:
            try:
                found[ref] = record_of(store, ref)
            except KitError as error:
                found[ref] = error
    return found


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
