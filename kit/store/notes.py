"""Decisions and open questions of a case, as people wrote them down. One line each in CASE/notes.jsonl, appended and never changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.errors import CallError
from kit.store.appended import append, appended, moment_at, text_at


@dataclass(frozen=True)
class Note:
    """One note. ref: what it is about, "" for the case as a whole. owner: who has to act, "" for nobody. due: until when, None without. at: UTC.

    One with an owner or a due time is an open question until it is closed by a note whose ref is `note:NUMBER`.
    """

    text: str
    ref: str
    owner: str
    due: datetime | None
    at: datetime


def notes_of(case: Path) -> list[Note]:
    """The notes of a case, oldest first. Raises CaseError for a line that is none."""
    return appended(case / "notes.jsonl", _note, "note")


def _note(read: dict[str, Any]) -> Note:
    due = moment_at(read, "due") if read["due"] else None
    return Note(text_at(read, "text"), text_at(read, "ref"), text_at(read, "owner"), due, moment_at(read, "at"))


def open_notes(notes: list[Note]) -> list[tuple[int, Note]]:
    """The open questions, each with its number from 1."""
    closed = {one.ref for one in notes}
    return [
        (number, one)
        for number, one in enumerate(notes, 1)
        if (one.owner or one.due) and f"note:{number}" not in closed
    ]


def add_note(case: Path, text: str, ref: str = "", owner: str = "", due: datetime | None = None) -> Note:
    """Append a note to a case and return it. Raises CallError for one without a text, CaseError when it cannot be written."""
    if not text.strip():
        raise CallError("a note has a text", next="say what was decided, or what is asked")
    made = Note(text.strip(), ref, owner, due, datetime.now(UTC))
    append(case / "notes.jsonl", asdict(made) | {"at": made.at.isoformat(), "due": due.isoformat() if due else None})
    return made
