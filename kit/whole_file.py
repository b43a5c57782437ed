"""A file that is written whole or not at all, and stays written when the power goes; for its owner alone, whatever the umask says."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """Files that are made in this block are 0600 and folders 0700, whichever library makes them."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_whole(path: Path, text: str | bytes) -> None:
    """Write a file, text as UTF-8, its folder too, for their owner alone. Half surrogates become escapes. Raises OSError and leaves the old file as it was."""
    unfinished = path.with_name(f"{path.name}.writing")
    with for_owner_alone():
        path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(unfinished) as file:
        try:
            file.write(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError:  # what a full disk took of it is given back
            unfinished.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _alone(unfinished: Path) -> Iterator[BinaryIO]:
    """An empty file of this name, open for writing; another call that writes it waits until it has its own name."""
    while True:
        opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        with os.fdopen(opened, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            about = os.fstat(opened)
            if about.st_nlink == 1 and os.path.lexists(unfinished) and os.path.samestat(unfinished.lstat(), about):
                os.fchmod(opened, 0o600)  # whatever the umask says, and whatever a call that was cut off left
                os.ftruncate(opened, 0)
                yield file
                return
            if about.st_nlink > 1:  # a second name of another file
                unfinished.unlink(missing_ok=True)
