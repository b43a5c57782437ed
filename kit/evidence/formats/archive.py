"""Archives, opened in place: the files in a zip or tar (plain, gzip, zstd, bzip2), one at a time, in a folder of ours.

Neither their paths nor their declared sizes are trusted: a name only labels a file, and what unfolds too far is a bomb. Of a file that is
cut or damaged, what can be had is given. What an archive holds beside its files is said: the end of a tar that is no end mark, bytes of a
zip that its directory does not list. Sources: APPNOTE (zip), POSIX.1-2017 pax (tar).
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kit.evidence.formats.stream import BOMB_BYTES, BOMB_RATIO, PIECE, Reader, Reading, head, pieces

NO_FILE = "not a regular file"
DEEPEST_ARCHIVE = 3  # archives in each other
MOST_MEMBERS = 100_000  # with those of the archives in it
LARGEST_MEMBER = (
    1 << 38
)  # bytes that a tar's header may declare: to pass over them takes time even where none are there
LONGEST_HEADER = 256 << 10  # bytes of names and attributes before a file of a tar, which tarfile holds at once
COPIED_AT_ONCE = 4096  # bytes; where a file is cut, the piece in hand is lost
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_TAR = slice(257, 262)


# What zipfile, tarfile and the decompressors raise for bytes that are no archive.
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, IndexError),
)


@dataclass(frozen=True)
class Member:
    """A file in an archive. name: a plain path of its own, made of the archive's. file: its bytes on disk until the next one is
    asked for; None when it was refused, and why. damage: what ended it early."""

    name: str
    file: Path | None
    refusal: str = ""
    damage: str = ""

    @property
    def unread(self) -> bool:
        """Whether it was refused, and may hold evidence."""
        return self.file is None and self.refusal != NO_FILE


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, by its content."""
    beginning, _ = head(path, tarfile.BLOCKSIZE, Reading())
    if beginning.startswith(_ZIP) or beginning[_TAR] == b"ustar":
        return True
    try:  # older tars have a checksum only
        return bool(tarfile.TarInfo.frombuf(beginning, "utf-8", "surrogateescape").name)
    except (tarfile.TarError, ValueError):
        return False


def members(path: Path, scratch: Path, reading: Reading) -> Iterator[Member]:
    """The files of an archive, those of archives in it too, in its order; links and devices are refused.

    scratch: an empty folder for the file in hand. reading: its damage is told what ended the archive early, or is not read of it.
    """
    budget = _Budget(max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size), MOST_MEMBERS)
    return _members(path, scratch, reading, "", {}, DEEPEST_ARCHIVE, budget)


@dataclass
class _Budget:
    """What an archive may still unfold to, with all that are in it."""

    bytes: int
    files: int


def _members(
    path: Path, scratch: Path, reading: Reading, above: str, taken: dict[str, int], depth: int, budget: _Budget
) -> Iterator[Member]:
    for name, source, refusal in _listed(path, reading):
        budget.files -= 1
        if budget.files < 0:
            reading.damage = f"it holds more than {MOST_MEMBERS:,} files; the others are not read"
            return
        label = _label(above, name, taken)
        if source is None:
            yield Member(label, None, refusal)
            continue
        file = scratch / f"member-{depth}"
        damage = _copied(source, file, budget)
        if budget.bytes < 0 or reading.bomb:
            reading.damage = (
                f"it unfolds to more than {BOMB_RATIO} times its size: a decompression bomb; the rest is not read"
            )
            yield Member(label, None, reading.damage)
            return
        if damage and not file.stat().st_size:
            yield Member(label, None, damage)
        elif not is_archive(file):
            yield Member(label, file, damage=damage)
        elif depth == 1:
            yield Member(label, None, f"more than {DEEPEST_ARCHIVE} archives in each other")
        else:
            inside = Reading()
            yield from _members(file, scratch, inside, f"{label}/", taken, depth - 1, budget)
            if damage or inside.damage:
                yield Member(label, None, damage or inside.damage)
        file.unlink(missing_ok=True)


def _copied(source: IO[bytes], target: Path, budget: _Budget) -> str:
    """Copy a file out of its archive, as far as it can be had; what ended it early. budget: bytes that all its files together may have."""
    with target.open("wb") as file:
        while True:
            try:
                piece = source.read(COPIED_AT_ONCE)
            except _BROKEN as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                return f"it is broken in the archive ({error})"
            budget.bytes -= len(piece)
            if not piece or budget.bytes < 0:
                return ""
            file.write(piece)


def _listed(path: Path, reading: Reading) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    beginning, _ = head(path, 512, Reading())
    return _in_zip(path, reading) if beginning.startswith(_ZIP) else _in_tar(path, reading)


def _in_zip(path: Path, reading: Reading) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
            if unlisted := _unlisted(path, listed, archive.start_dir):
                reading.damage = f"{unlisted:,} bytes of it belong to no file in its directory, perhaps another archive: they are not read"
            for info in listed:
                if info.is_dir() and not info.file_size:
                    continue
                if info.flag_bits & 1:
                    yield info.filename, None, "it is encrypted: unpack it with its password first"
                elif info.create_system in _UNIX and (info.external_attr >> 16) & 0o170000 in _NO_CONTENT:
                    yield info.filename, None, NO_FILE
                elif info.compress_type not in _COMPRESSIONS:
                    says = "its compression (such as Deflate64 of Windows) cannot be read: unpack it and give the files"
                    yield info.filename, None, says
                else:
                    try:
                        with archive.open(info) as file:
                            yield info.filename, file, ""
                    except _BROKEN as error:
                        yield info.filename, None, f"it is broken in the archive ({error})"
    except _BROKEN as error:
        reading.damage = f"the zip archive is broken ({error})"


_UNIX = (3, 19)  # systems whose attributes have a file's mode: Unix, macOS
_NO_CONTENT = (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_LOCAL = struct.Struct("<4s22xHH")  # a file's header: its mark, the lengths of name and extra field
# The archive's last record, without its comment, whose length is its last two bytes.
_END, _END_SIZE = b"PK\x05\x06", 22
_DESCRIPTOR = 24  # bytes that may follow a file, at most


def _unlisted(path: Path, listed: list[zipfile.ZipInfo], directory: int) -> int:
    """Bytes that are part of no file: before, between and after those that the directory lists, and after the archive's end."""
    unlisted, at = 0, 0
    with path.open("rb") as file:
        for info in sorted(listed, key=lambda one: one.header_offset):
            if info.header_offset < 0 or info.header_offset >= directory:
                continue  # a wrong place: reading the file says so
            gap = info.header_offset - at
            unlisted += gap if gap > _DESCRIPTOR else 0
            file.seek(info.header_offset)
            _, name, extra = _LOCAL.unpack(file.read(_LOCAL.size).ljust(_LOCAL.size, b"\0"))
            at = max(at, info.header_offset + _LOCAL.size + name + extra + info.compress_size)
        unlisted += directory - at if directory - at > _DESCRIPTOR else 0
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _END_SIZE - 0xFFFF))
        last = file.read()
    end = last.rfind(_END)
    comment = int.from_bytes(last[end + _END_SIZE - 2 : end + _END_SIZE], "little")
    return unlisted + max(0, len(last) - end - _END_SIZE - comment)


# What tells names and attributes of the file after it, as tarfile reads them.
_HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


class _Header(tarfile.TarInfo):
    """A file's header in a tar. A broken one is an error; tarfile takes it for the end of the archive, where anything may follow."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """The header in a block, before tarfile reads or passes over as many bytes as it declares."""
        header = super().frombuf(buf, encoding, errors)
        most = LONGEST_HEADER if header.type in _HEADERS else LARGEST_MEMBER
        if header.size > most:
            raise tarfile.ReadError(f"a header declares {header.size:,} bytes, more than the {most:,} that are read")
        return header

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        """The next header."""
        try:
            header = super().fromtarfile(tar)
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it has no end mark") from None
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        place: Any = tar.fileobj
        if tar.offset - place.tell() > LARGEST_MEMBER:  # by a pax header, which counts before the header's own
            raise tarfile.ReadError(f"a file of more than {LARGEST_MEMBER:,} bytes")
        if header.size < 0 or not header.pax_headers.get("size", "0").isdecimal():
            raise tarfile.ReadError("a size that is no number")
        return header


def _in_tar(path: Path, reading: Reading) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    source = io.BufferedReader(Reader(pieces(path, reading)), PIECE)
    try:
        with tarfile.open(fileobj=source, mode="r|", tarinfo=_Header, bufsize=PIECE) as archive:
            for info in archive:
                kept: Any = archive
                kept.members.clear()  # all headers would be held
                if info.isdir():
                    continue
                if info.issparse():
                    yield info.name, None, "a file with holes (sparse), which may have any size: unpack it first"
                    continue
                file = archive.extractfile(info) if info.isreg() else None
                yield info.name, file, "" if file else NO_FILE
            rest: Any = archive.fileobj
            while piece := rest.read(PIECE):
                if piece.strip(b"\0"):
                    reading.damage = (
                        reading.damage or "more follows its end mark, perhaps another archive: it is not read"
                    )
                    return
    except _BROKEN as error:
        reading.damage = reading.damage or f"the tar archive is cut or broken ({error}); what comes after is lost"


def _label(above: str, name: str, taken: dict[str, int]) -> str:
    """A path without tricks that no other file of the archive has. above: that of the archive in it."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "/")
    plain = above + ("/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "unnamed")
    label = plain
    while label in taken:
        taken[plain] += 1
        label = f"{plain}-{taken[plain]}"
    taken[label] = 1
    return label
