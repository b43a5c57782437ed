"""Files of a case to which people's words are appended, one JSON object a line, never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from kit.errors import CaseError
from kit.whole_file import for_owner_alone

Said = TypeVar("Said")


def appended(path: Path, made_of: Callable[[dict[str, Any]], Said], noun: str) -> list[Said]:
    """What the lines of a file hold, oldest first; [] where there is no file. noun: `mark` or `note`, also the command that writes them.

    Raises CaseError for a line that is none.
    """
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else [], 1):
        if not line:
            continue
        try:
            found.append(made_of(json.loads(line)))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CaseError(
                f"is no {noun} of this kit",
                where=f"{path}:{number}",
                next=f"take the line out; `kit {noun}` writes one line a {noun}",
            ) from None
    return found


def text_at(read: dict[str, Any], name: str) -> str:
    """The text of a member. Raises KeyError where it is not there, TypeError for what is none."""
    if not isinstance(read[name], str):
        raise TypeError(name)
    return str(read[name])


def moment_at(read: dict[str, Any], name: str) -> datetime:
    """The moment of a member. Raises KeyError, TypeError, and ValueError for a text that is none or names no zone."""
    at = datetime.fromisoformat(text_at(read, name))
    if at.tzinfo is None:
        raise ValueError(name)
    return at


def append(path: Path, value: dict[str, Any]) -> None:
    """Append one line, on disk when it returns. Raises CaseError when it cannot be written."""
    line = json.dumps(value, ensure_ascii=True)
    try:
        with for_owner_alone():
            opened = path.open("ab+")
        with opened as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            # A last line that somebody cut is left as it is; this one must not become a part of it.
            file.write(b"\n" * (file.read(1) not in (b"", b"\n")) + f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CaseError(
            f"cannot be written: {error.strerror}", where=str(path), next="make the case folder writable"
        ) from None
