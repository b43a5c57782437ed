"""The files that were given: folders walked, archives opened, names made unique."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.form import stream_of
from kit.words import Names

MOST_FILES = 100_000  # in one call: each becomes a part of the store


@dataclass(frozen=True)
class Given:
    """A file that the caller gave. path: None for standard input. name: below the case's evidence folder."""

    path: Path | None
    name: str
    refusal: str = ""


def exists(path: Path) -> bool:
    """Whether a path leads to something; what cannot be looked at does not."""
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def as_text(name: str) -> str:
    """A name as text that can be stored: bytes that are no UTF-8 are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def gather(evidence: Names, partial: Path, taken: set[str]) -> list[Given]:
    """The files that were given, in their order: folders walked, archives opened, stdin and single streams as files of their own."""
    given, streams, names = list[Given](), dict[str, tuple[str, set[str]]](), set[str]()
    for text in evidence:
        if text == "-":
            given.append(Given(None, _unique("stdin", taken)))
            continue
        paths = [Path(text)]
        if not exists(paths[0]) and any(letter in text for letter in "*?["):
            paths = [Path(found) for found in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 (absolute patterns too)
        if not paths or not all(exists(path) for path in paths):
            raise EvidenceError("no such file or folder", where=text, next="check the path; nothing was made")
        for path in paths:
            root = as_text(path.resolve().name) or "evidence"
            stream = stream_of(as_text(str(path.resolve().parent)))
            if stream and not stream_of(root):  # an export's folder, whose name is the log stream
                if stream not in streams:
                    streams[stream] = (_unique(stream, taken), set())
                folder, inside = streams[stream]
                root = f"{folder}/{_unique(root, inside)}"
            else:
                root = _unique(root, taken)
            for one in _walk(path, root, partial):
                if len(given) == MOST_FILES:
                    raise EvidenceError(
                        f"more than {MOST_FILES:,} files",
                        where=text,
                        next="name the folders of the days that matter, or join small files first: `cat *.json.gz > all.json.gz`",
                    )
                given.append(replace(one, name=_free(one.name, names)))
    if not given:
        raise EvidenceError("no file in there", where=", ".join(evidence), next="name the files or folders of evidence")
    return given


def _free(path: str, names: set[str]) -> str:
    """A path below the evidence folder that no other file has: names that are no text may be equal once they are."""
    above, _, name = path.rpartition("/")
    free = (
        _unique(name, {one.rpartition("/")[2] for one in names if one.rpartition("/")[0] == above})
        if path in names
        else name
    )
    found = f"{above}/{free}" if above else free
    names.add(found)
    return found


def _unique(root: str, taken: set[str]) -> str:
    """A name in the case's evidence folder that nothing else begins with."""
    name, number = root, 2
    while name in taken:
        name, number = f"{number}-{root}", number + 1
    taken.add(name)
    return name


def _walk(path: Path, root: str, partial: Path) -> Iterator[Given]:
    """The files of a path, and what in it cannot be one; the case in work is no evidence."""
    if path.is_file():
        yield Given(path, root)
        return
    if not path.is_dir():
        yield Given(path, root, "not a regular file")
        return
    unreadable = list[OSError]()
    top = path.resolve()
    for place, folders, names in os.walk(top, onerror=unreadable.append):
        folders[:] = sorted(one for one in folders if Path(place, one) != partial.resolve())
        for name in sorted([*names, *(one for one in folders if Path(place, one).is_symlink())]):
            inside = Path(place) / name
            below = as_text(str(PurePosixPath(root, *inside.relative_to(top).parts)))
            refusal = "" if inside.is_file() else "not a regular file"
            yield Given(inside, below, "a symbolic link" if inside.is_symlink() else refusal)
    for error in unreadable:
        folder = Path(os.fsdecode(error.filename))
        below = as_text(str(PurePosixPath(root, *folder.relative_to(top).parts)))
        yield Given(folder, below, "no permission to look into this folder")


def stamp_of(one: Given) -> list[Any]:
    """Path, size and time of a file, to tell whether an addition goes on with the same evidence."""
    if one.path is None:
        return ["-", 0, 0]
    about = one.path.lstat()
    # realpath follows a link to itself no further, where resolve raises.
    return [as_text(os.path.realpath(one.path)), about.st_size, about.st_mtime_ns]
