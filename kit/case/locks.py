"""What a lab's case keeps closed: scope, answers, plan and brief, until the questions that they answer were graded."""

from __future__ import annotations

import json
from pathlib import Path

from kit.errors import CallError, CaseError
from kit.whole_file import write_whole
from kit.words import few

LOCKS = "locked.json"
LOCKABLE = ("scope", "answers", "plan", "brief")


def locks_of(case: Path) -> dict[str, list[str]]:
    """What is locked in a case → the questions that have to be graded first; nothing in a case that is no lab's. Raises CaseError."""
    try:
        read = json.loads((case / LOCKS).read_text(encoding="utf-8"))
        return {what: [str(name) for name in read[what]] for what in LOCKABLE}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise CaseError(
            "the locks of this lab cannot be read", where=str(case / LOCKS), next="start the lab anew in another folder"
        ) from None


def refuse_locked(case: Path, *whats: str) -> None:
    """Raise CallError when one of these is still locked."""
    locked = locks_of(case) if (case / LOCKS).exists() else {}
    for what in whats:
        if locked.get(what):
            raise CallError(
                f"the {what} of a lab's case is locked until these questions are answered and graded: {few(locked[what], 3)}",
                where=str(case),
                next="write the answers, then `kit train grade` on the lab's folder",
            )


def write_locks(case: Path, locked: dict[str, list[str]]) -> None:
    """Write what is locked in a case, and until which questions are graded."""
    write_whole(case / LOCKS, json.dumps(locked, indent=1) + "\n")
