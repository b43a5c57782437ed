"""What a person said of findings and answers: confirmed, wrong or expected, with a note. One line each in CASE/marks.jsonl, never changed.

The kit itself never closes a finding as expected: only such a mark does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.errors import CallError
from kit.store.appended import append, appended

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
    return appended(case / "marks.jsonl", _mark, "mark")


def _mark(read: dict[str, Any]) -> Mark:
    return Mark(read["finding"], read["question"], read["word"], read["note"], datetime.fromisoformat(read["at"]))


def add_mark(case: Path, finding: str, question: str, word: str, note: str) -> Mark:
    """Append a mark to a case and return it. Raises CallError for a word or note that cannot be, CaseError when it cannot be written."""
    if word not in MARK_WORDS:
        raise CallError(f"{word!r} is no mark", where="word", next=f"it is one of {', '.join(MARK_WORDS)}")
    if word == "expected" and question:
        raise CallError(
            "only a finding as a whole is expected",
            where="question",
            next="leave the question out, or mark the answer as wrong",
        )
    if word == "expected" and not note.strip():
        raise CallError(
            "a finding is marked as expected with a reason", where="note", next="say who confirmed it, and how"
        )
    made = Mark(finding, question, word, note, datetime.now(UTC))
    append(case / "marks.jsonl", asdict(made) | {"at": made.at.isoformat()})
    return made
