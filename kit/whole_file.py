"""A file that is written whole or not at all, and stays written when the power goes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, text: str | bytes, private: bool = False) -> None:
    """Write a file, text as UTF-8, its folder too. private: for its owner alone. Half surrogates become escapes. Raises OSError and leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.writing")
    with _alone(unfinished, 0o600 if private else 0o666) as file:
        file.write(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
        unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _alone(unfinished: Path, mode: int) -> Iterator[BinaryIO]:
    """An empty file of this name, open for writing; another call that writes it waits until it has its own name."""
    while True:
        opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
        with os.fdopen(opened, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            about = os.fstat(opened)
            if about.st_nlink == 1 and os.path.lexists(unfinished) and os.path.samestat(unfinished.lstat(), about):
                os.ftruncate(opened, 0)
                yield file
                return
            if about.st_nlink > 1:  # a second name of another file
                unfinished.unlink(missing_ok=True)
