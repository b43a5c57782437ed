"""A folder that is written whole or not at all, in a place where nothing is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.errors import TrainingError


def refuse_taken(folder: Path) -> None:
    """Raises TrainingError where something but an empty folder is in its place."""
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise TrainingError(
            "something of this name exists already", where=str(folder), next="choose another name for the folder"
        )


@contextmanager
def writing_folder(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Gives where to write the folder under its own name, and a place beside it that is thrown away; at the end it stands in its place.

    Raises TrainingError where it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=".kit-train-", ignore_cleanup_errors=True
        ) as scratch:
            made, beside = Path(scratch, "whole", folder.name), Path(scratch, "beside")
            for one in (made.parent, beside):
                one.mkdir()
            yield made, beside
            if folder.is_dir():
                folder.rmdir()
            shutil.move(made, folder)
    except OSError as error:
        raise TrainingError(
            f"cannot be written: {error.strerror}", where=str(folder), next="choose another place"
        ) from error
