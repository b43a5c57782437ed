"""A file that is written whole or not at all, and stays written when the power goes."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str | bytes, private: bool = False) -> None:
    """Write a file, text as UTF-8, its folder too. private: for its owner alone. Half surrogates become escapes. Raises OSError and leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.writing")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(
        os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb"
    ) as file:
        file.write(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
