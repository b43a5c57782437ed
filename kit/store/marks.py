"""What a person said of findings and answers: confirmed, wrong or expected, with a note. One line each in CASE/marks.jsonl, never changed.

The kit itself never closes a finding as expected: only such a mark does.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from kit.errors import CallError, CaseError

MARK_WORDS = ("confirmed", "wrong", "expected")


@dataclass(frozen=True)
class Mark:
    """One mark. finding: its Id. question: the name of the question that was answered, "" for the finding as a whole. at: UTC."""

    finding: str
    question: str
    word: str
    note: str
    at: datetime


def marks_of(case: Path) -> list[Mark]:
    """The marks of a case, oldest first. Raises CaseError for a line that is none."""
    path = case / "marks.jsonl"
    found = []
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            read = json.loads(line)
            found.append(
                Mark(read["finding"], read["question"], read["word"], read["note"], datetime.fromisoformat(read["at"]))
            )
        except (ValueError, KeyError, TypeError):
            raise CaseError(
                "is no mark of this kit",
                where=f"{path}:{number}",
                next="take the line out; `kit mark` writes one line a mark",
            ) from None
    return found


def add_mark(case: Path, finding: str, question: str, word: str, note: str) -> Mark:
    """Append a mark to a case and return it. Raises CallError for a word or note that cannot be, CaseError when it cannot be written."""
    if word not in MARK_WORDS:
        raise CallError(f"{word!r} is no mark", where="--as", next=f"it is one of {', '.join(MARK_WORDS)}")
    if word == "expected" and question:
        raise CallError(
            "only a finding as a whole is expected",
            where="--question",
            next="leave --question out, or mark the answer as wrong",
        )
    if word == "expected" and not note.strip():
        raise CallError(
            "a finding is marked as expected with a reason", where="--note", next="say who confirmed it, and how"
        )
    made = Mark(finding, question, word, note, datetime.now(UTC))
    line = json.dumps(asdict(made) | {"at": made.at.isoformat()}, ensure_ascii=True)
    try:
        with (case / "marks.jsonl").open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            # A last line that somebody cut is left as it is; this one must not become a part of it.
            file.write(b"\n" * (file.read(1) not in (b"", b"\n")) + f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CaseError(
            f"cannot be written: {error.strerror}",
            where=str(case / "marks.jsonl"),
            next="make the case folder writable",
        ) from None
    return made
