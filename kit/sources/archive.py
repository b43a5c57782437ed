"""Archives, opened in place: the files in a zip or tar (plain, gzip, zstd, bzip2), one at a time, in a folder of ours.

Neither their paths nor their declared sizes are trusted: a name only labels a file, and what unfolds too far is a bomb.
Sources: APPNOTE (zip), POSIX.1-2017 pax (tar).
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kit.sources.stream import BOMB_BYTES, BOMB_RATIO, PIECE, Reader, Reading, head, pieces

DEEPEST = 3  # archives in each other
MOST_MEMBERS = 100_000
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_TAR = slice(257, 262)


@dataclass(frozen=True)
class Member:
    """A file in an archive. name: a plain path of its own, made of the archive's. file: its bytes on disk until the next one is
    asked for; None when it was refused, and why."""

    name: str
    file: Path | None
    refusal: str = ""


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, by its content."""
    beginning, _ = head(path, 512, Reading())
    return beginning.startswith(_ZIP) or beginning[_TAR] == b"ustar"


def members(path: Path, scratch: Path, reading: Reading, depth: int = DEEPEST) -> Iterator[Member]:
    """The files of an archive, those of archives in it too, in its order; links and devices are refused.

    scratch: an empty folder for the file in hand. damage: is told what ended the reading early.
    """
    taken = set[str]()
    for number, (name, source, refusal) in enumerate(_listed(path, reading)):
        if number == MOST_MEMBERS:
            reading.damage = f"it holds more than {MOST_MEMBERS:,} files; the others are not read"
            return
        label = _label(name, taken)
        if source is None:
            yield Member(label, None, refusal)
            continue
        file = scratch / f"member-{depth}"
        try:
            _copy(source, file)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            tarfile.TarError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            yield Member(label, None, f"it is broken in the archive ({error})")
            continue
        if not is_archive(file):
            yield Member(label, file)
        elif depth == 1:
            yield Member(label, None, f"more than {DEEPEST} archives in each other")
        else:
            inside = Reading()
            for member in members(file, scratch, inside, depth - 1):
                yield Member(f"{label}/{member.name}", member.file, member.refusal)
            if inside.damage:
                yield Member(label, None, inside.damage)
        file.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        while piece := source.read(PIECE):
            file.write(piece)


def _listed(path: Path, reading: Reading) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    beginning, _ = head(path, 512, Reading())
    return _in_zip(path, reading) if beginning.startswith(_ZIP) else _in_tar(path, reading)


class _Counted(io.RawIOBase):
    """A file in an archive that stops when all that was read of the archive is too much."""

    def __init__(self, source: IO[bytes], budget: list[int]) -> None:
        self._source, self._budget = source, budget

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self._budget[0] -= len(piece)
        if self._budget[0] < 0:
            raise EOFError("a decompression bomb")
        return piece


def _in_zip(path: Path, reading: Reading) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    budget = [max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size)]
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                if info.flag_bits & 1:
                    yield info.filename, None, "it is encrypted: unpack it with its password first"
                elif (info.external_attr >> 16) & 0o170000 not in (0, 0o100000):
                    yield info.filename, None, "not a regular file"
                else:
                    try:
                        with archive.open(info) as file:
                            yield info.filename, _Counted(file, budget), ""  # type: ignore[misc]
                    except (zipfile.BadZipFile, NotImplementedError) as error:
                        yield info.filename, None, f"it is broken in the archive ({error})"
                if budget[0] < 0:
                    reading.damage = f"it unfolds to more than {BOMB_RATIO} times its size: a decompression bomb; the rest is not read"
                    return
    except zipfile.BadZipFile as error:
        reading.damage = f"the zip archive is broken ({error})"


def _in_tar(path: Path, reading: Reading) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    try:
        with tarfile.open(fileobj=io.BufferedReader(Reader(pieces(path, reading)), PIECE), mode="r|") as archive:
            for info in archive:
                if info.isdir():
                    continue
                file = archive.extractfile(info) if info.isreg() else None
                yield info.name, file, "" if file else "not a regular file"
    except (tarfile.TarError, EOFError) as error:
        reading.damage = reading.damage or f"the tar archive is cut or broken ({error}); what comes after is lost"


def _label(name: str, taken: set[str]) -> str:
    """A path without tricks that no other file of the archive has."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "/")
    plain = "/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "unnamed"
    label, number = plain, 2
    while label in taken:
        label, number = f"{plain}-{number}", number + 1
    taken.add(label)
    return label
