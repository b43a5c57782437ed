"""The files that were given: folders walked, archives opened, names made unique."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.archive import NO_FILE
from kit.evidence.formats.form import stream_of
from kit.evidence.formats.stream import BOMB_BYTES, BOMB_RATIO
from kit.words import Names

MOST_FILES = 100_000  # in one call: each becomes a part of the store
DEEPEST_FOLDER = 200  # folders in each other: a path has 4,096 bytes at most, and a case has to hold them too


@dataclass(frozen=True)
class Given:
    """A file that the caller gave. path: None for standard input. name: below the case's evidence folder. unread: it may be evidence,
    and what it holds could not be had."""

    path: Path | None
    name: str
    refusal: str = ""
    unread: bool = False


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
        yield Given(path, root, *_holes(path.stat()))
        return
    if not path.is_dir():
        yield Given(path, root, NO_FILE)
        return
    top, case = path.resolve(), partial.resolve()
    folders, unread = [(top, root, 0)], list[Given]()
    while folders:
        folder, name, depth = folders.pop()
        try:
            with os.scandir(folder) as listed:
                inside = sorted(listed, key=lambda one: one.name)
        except OSError as error:
            unread.append(Given(folder, name, _why_closed(error), unread=True))
            continue
        below = [one for one in inside if _is_folder(one)]
        names = {one.name for one in below}
        for one in inside:
            if one.name not in names:
                yield _given(Path(one.path), f"{name}/{as_text(one.name)}")
        if depth == DEEPEST_FOLDER and below:
            says = f"more than {DEEPEST_FOLDER} folders in each other: give the folder in there by itself"
            unread += [Given(Path(one.path), f"{name}/{as_text(one.name)}", says, unread=True) for one in below]
            continue
        folders += [
            (Path(one.path), f"{name}/{as_text(one.name)}", depth + 1)
            for one in reversed(below)
            if Path(one.path) != case
        ]
    yield from unread


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # what cannot be looked at is told by `_given`
        return False


def _given(path: Path, name: str) -> Given:
    """A file of a folder, or why it is none that is read."""
    try:
        about = path.lstat()
    except OSError as error:
        return Given(path, name, why_unread(error), unread=True)
    if stat.S_ISLNK(about.st_mode):
        return Given(path, name, "a symbolic link")
    return Given(path, name, *_holes(about)) if stat.S_ISREG(about.st_mode) else Given(path, name, NO_FILE)


_BLOCK = 512  # bytes of a block as stat counts them


def _holes(about: os.stat_result) -> tuple[str, bool]:
    """Why a file is not read of which the disk holds next to nothing, and whether it is unread: it may have any size."""
    if about.st_size <= max(BOMB_BYTES, BOMB_RATIO * about.st_blocks * _BLOCK):
        return "", False
    return (
        f"a file with holes (sparse): of its {about.st_size:,} bytes the disk holds {about.st_blocks * _BLOCK:,}",
        True,
    )


def _why_closed(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to look into this folder"
    return why_unread(error)


def why_unread(error: OSError) -> str:
    """Why the content of a file cannot be had."""
    if error.errno == errno.ENAMETOOLONG:
        return "its name is too long"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to read it"
    return f"it cannot be read ({error.strerror or error})"


def bytes_to_read(one: Given) -> int:
    """The bytes of a file that is read; 0 for what is not, or not any more."""
    try:
        return one.path.stat().st_size if one.path and not one.refusal else 0
    except OSError:
        return 0


def stamp_of(one: Given) -> list[Any]:
    """Path, size and time of a file, to tell whether an addition goes on with the same evidence."""
    if one.path is None:
        return ["-", 0, 0]
    # realpath follows a link to itself no further, where resolve raises.
    path = as_text(os.path.realpath(one.path))
    try:
        about = one.path.lstat()
    except OSError:  # why is in the ledger
        return [path, 0, 0]
    return [path, about.st_size, about.st_mtime_ns]
