"""CASE/choice.json: which finding and window whoever works in the notebooks looks at; one choice for all of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kit.errors import CaseError
from kit.whole_file import write_whole

_CHOICE = "choice.json"
_LONGEST = 4096  # bytes of the file


@dataclass(frozen=True)
class Choice:
    """finding: its Id, "" for all. start, end, baseline: moments as text, "" for what the evidence gives."""

    finding: str = ""
    start: str = ""
    end: str = ""
    baseline: str = ""


def choice_of(case: Path) -> Choice:
    """The choice of a case; of one without, all findings in the whole window. Raises CaseError for a file that is none."""
    path = case / _CHOICE
    try:
        with path.open("rb") as file:
            read = json.loads(file.read(_LONGEST))
        if not isinstance(read, dict) or not all(isinstance(one, str) for one in read.values()):
            raise ValueError(read)
        return Choice(**read)
    except FileNotFoundError:
        return Choice()
    except (OSError, ValueError, TypeError, RecursionError):
        raise CaseError("is no choice of this kit", where=str(path), next="delete it, and choose anew") from None


def keep_choice(case: Path, choice: Choice) -> None:
    """Write a choice down. Raises CaseError when it cannot be written."""
    try:
        write_whole(case / _CHOICE, json.dumps(asdict(choice)))
    except OSError as error:
        way_out = "make the case folder writable"
        raise CaseError(f"cannot be written: {error.strerror}", where=str(case / _CHOICE), next=way_out) from None
