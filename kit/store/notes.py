"""Decisions and open questions of a case, as people wrote them down. One line each in CASE/notes.jsonl, appended and never changed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from kit.errors import CallError, CaseError


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
    path = case / "notes.jsonl"
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else [], 1):
        if not line:
            continue
        try:
            read = json.loads(line)
            due = datetime.fromisoformat(read["due"]) if read["due"] else None
            found.append(Note(read["text"], read["ref"], read["owner"], due, datetime.fromisoformat(read["at"])))
        except (ValueError, KeyError, TypeError):
            raise CaseError(
                "is no note of this kit",
                where=f"{path}:{number}",
                next="take the line out; `kit note` writes one line a note",
            ) from None
    return found


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
    line = json.dumps(
        asdict(made) | {"at": made.at.isoformat(), "due": due.isoformat() if due else None}, ensure_ascii=True
    )
    try:
        with (case / "notes.jsonl").open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            file.write(b"\n" * (file.read(1) not in (b"", b"\n")) + f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CaseError(
            f"cannot be written: {error.strerror}",
            where=str(case / "notes.jsonl"),
            next="make the case folder writable",
        ) from None
    return made
