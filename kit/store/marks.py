"""What a person said: of findings and answers that they are confirmed, wrong or expected; of calls and callers whose they are. One line each
in CASE/marks.jsonl, never changed.

The kit itself never closes a finding as expected: only such a mark does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.errors import CallError
from kit.store.appended import append, appended, moment_at, text_at

MARK_WORDS = ("confirmed", "wrong", "expected")
"""What is said of findings and answers."""
ATTACKER, NOT_ATTACKER = "attacker", "not-attacker"
CALLER_WORDS = (ATTACKER, NOT_ATTACKER)
"""What is said of calls, identities, addresses and credentials."""
_THINGS = {"identity": "identity", "source_ip": "address", "credential": "credential"}


@dataclass(frozen=True)
class Mark:
    """One mark. finding: its Id. question: the name of the question that was answered, "" for the finding as a whole. at: UTC.

    about: of one that says whose calls are whose, and has neither finding nor question, the Ref of a call, identity, source_ip or credential.
    """

    finding: str
    question: str
    word: str
    note: str
    at: datetime
    about: str = ""

    @property
    def thing(self) -> str:
        """What one that says whose calls are whose is about, in words."""
        kind, _, key = self.about.partition(":")
        return f"{_THINGS[kind]} {key}" if kind in _THINGS else f"call {self.about}"

    @property
    def says(self) -> str:
        """Such a mark in one sentence."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.thing[0].upper()}{self.thing[1:]} is {'' if self.word == ATTACKER else 'not '}the attacker's, as a person marked it{note}"


def marks_of(case: Path) -> list[Mark]:
    """The marks of a case, oldest first. Raises CaseError for a line that is none."""
    return appended(case / "marks.jsonl", _mark, "mark")


def _mark(read: dict[str, Any]) -> Mark:
    finding, question, word, note = (text_at(read, name) for name in ("finding", "question", "word", "note"))
    about = text_at(read, "about") if "about" in read else ""
    if word not in (CALLER_WORDS if about else MARK_WORDS):
        raise ValueError(word)
    return Mark(finding, question, word, note, moment_at(read, "at"), about)


def marked_findings(marks: Iterable[Mark]) -> dict[str, str]:
    """Finding → what was said last of it as a whole."""
    return {one.finding: one.word for one in marks if not one.question}


def add_mark(case: Path, finding: str, question: str, word: str, note: str) -> Mark:
    """Append a mark to a case and return it. Raises CallError for a word or note that cannot be, CaseError when it cannot be written."""
    if word not in MARK_WORDS:
        said = "is said of calls and callers" if word in CALLER_WORDS else "is no mark"
        raise CallError(f"{word!r} {said}", where="word", next=f"it is one of {', '.join(MARK_WORDS)}")
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
    return _added(case, Mark(finding, question, word, note, datetime.now(UTC)))


def add_caller_mark(case: Path, about: str, word: str, note: str) -> Mark:
    """Append a mark of whose a call, identity, address or credential is. Raises CallError for a word that cannot be, CaseError as above."""
    if word not in CALLER_WORDS:
        said = "is said of findings and answers" if word in MARK_WORDS else "is no mark"
        raise CallError(
            f"{word!r} {said}", where="word", next=f"of calls and callers it is one of {', '.join(CALLER_WORDS)}"
        )
    return _added(case, Mark("", "", word, note, datetime.now(UTC), about))


def _added(case: Path, made: Mark) -> Mark:
    value = {name: each for name, each in asdict(made).items() if name != "about" or each}
    append(case / "marks.jsonl", value | {"at": made.at.isoformat()})
    return made
