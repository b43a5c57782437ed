"""What a learner has done: labs started, hints taken, marks given, in one file whose entries are chained by hash."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from kit.errors import TrainingError
from kit.whole_file import write_whole

PROGRESS_FORMAT = 1
ProgressEntry = dict[str, Any]


def progress_file() -> Path:
    """Where the platform keeps a user's data. Source: XDG Base Directory Specification; Apple's File System Programming Guide."""
    if sys.platform == "darwin":
        place = Path.home() / "Library" / "Application Support"
    else:
        place = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return place / "eks-forensic-kit" / "training.json"


def read_format(
    path: Path, what: str, newest: int, unreadable: str, newer: str, *, has: str = "has", missing_ok: bool = False
) -> dict[str, Any]:
    """The object in a file that says its format, an empty one for no file where that is allowed.

    unreadable, newer: what to do next where it cannot be read, or is of a newer kit. has: the verb to `what`. Raises TrainingError for both.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return {}
        raise TrainingError(f"the {what} cannot be read: {error}", where=str(path), next=unreadable) from None
    found = read.get("format") if isinstance(read, dict) else None
    if not isinstance(found, int) or found > newest:
        raise TrainingError(f"the {what} {has} format {found!r}, this kit reads {newest}", where=str(path), next=newer)
    return cast("dict[str, Any]", read)


def entries_of(path: Path) -> list[ProgressEntry]:
    """The entries of a progress file, none where there is no file. Raises TrainingError for one that was changed, or that a newer kit wrote."""
    other = "name another file with --progress"
    read = read_format(
        path, "progress", PROGRESS_FORMAT, other, f"use the kit that wrote the file, or {other}", missing_ok=True
    )
    return checked_chain(read.get("entries"), path) if read else []


def checked_chain(entries: Any, path: Path) -> list[ProgressEntry]:
    """Entries whose chain of hashes holds. Raises TrainingError for one that was changed, with its place in the file."""
    before = ""
    for number, entry in enumerate(entries if isinstance(entries, list) else [None]):
        if not isinstance(entry, dict) or entry.get("digest") != _digest(before, entry):
            raise TrainingError(
                "the progress was changed after it was written",
                where=f"{path}: entries[{number}]",
                next="restore the file, or name another one; nothing was written",
            )
        before = entry["digest"]
    return list(entries)


def add_entry(path: Path, entry: ProgressEntry) -> list[ProgressEntry]:
    """Append an entry, and give all entries with it. Raises TrainingError as entries_of does, and where nothing can be written."""
    try:
        with _alone(path):
            entries = entries_of(path)
            entries.append(entry | {"digest": _digest(entries[-1]["digest"] if entries else "", entry)})
            write_whole(path, json.dumps({"format": PROGRESS_FORMAT, "entries": entries}, indent=1) + "\n")
    except OSError as error:
        raise TrainingError(
            f"the progress cannot be written: {error.strerror}",
            where=str(path),
            next="free the disk, or name another file with --progress",
        ) from error
    return entries


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(before: str, entry: ProgressEntry) -> str:
    body = {name: value for name, value in entry.items() if name != "digest"}
    return hashlib.sha256(f"{before}\n{json.dumps(body, sort_keys=True)}".encode()).hexdigest()
