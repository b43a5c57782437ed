"""Files as a case keeps them: copied whole, hashed, below its own evidence folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from kit.errors import CaseError


def leads_into(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder, once all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_copied(target: Path, digest: str, size: int) -> bool:
    """Whether a copy is there and whole."""
    return target.is_file() and target.stat().st_size == size and digest_and_size(target)[0] == digest


def copy(source: BinaryIO, target: Path, partial: Path) -> None:
    """Copy a file into a case, there for its owner to read and for nobody to write."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not leads_into(partial / "evidence", target.parent):
        raise CaseError("a link leads out of the case's evidence", where=str(target.parent), next="remove the link")
    unfinished = partial / "copying"
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    unfinished.chmod(0o400)
    unfinished.replace(target)


def digest_and_size(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file and its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
