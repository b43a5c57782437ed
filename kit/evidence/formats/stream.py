"""Bytes of an evidence file, decompressed where it is gzip, zstd or bzip2, in pieces of bounded size, as far as they can be had."""

from __future__ import annotations

import codecs
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from isal import isal_zlib

PIECE = 512 << 10  # fits into a processor's cache
PACKED = 32 << 10
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BY_ARROW = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}  # beginning → Arrow's name of the compression
_ARROW_PIECE = 64 << 10  # of a stream that breaks, the piece in hand is lost
LONGEST_LINE = 16 << 20  # DuckDB's own limit for one JSON object; longer lines become rejects
TOO_LONG = f"the line is longer than {LONGEST_LINE >> 20} MiB"

# Logs pack to a tenth or a fiftieth. What unfolds to more than this was made to fill memory and disk.
BOMB_BYTES, BOMB_RATIO = 1 << 30, 300


@dataclass
class Reading:
    """How far a file was read. position: bytes of it as it lies on disk. damage: what ended the reading early; empty when nothing did.
    bomb: whether that was its unfolding too far."""

    position: int = 0
    damage: str = ""
    bomb: bool = False


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def pieces(path: Path, reading: Reading) -> Iterator[bytes]:
    """The decompressed bytes of a file in pieces. A cut or broken stream gives all that comes before and sets `damage`.

    One that unfolds to more than BOMB_BYTES and BOMB_RATIO times its size is a bomb: reading ends there, and `damage` says so.
    """
    given, size = 0, path.stat().st_size
    for piece in _as_utf_8(_packed_twice(_decompressed(path, reading), reading)):
        yield piece
        given += len(piece)
        if given > max(BOMB_BYTES, BOMB_RATIO * size):
            reading.bomb = True
            reading.damage = (
                f"it unfolds to more than {BOMB_RATIO} times its size: a decompression bomb; reading ended after"
                f" {given >> 20} MiB"
            )
            return


def _packed_twice(source: Iterator[bytes], reading: Reading) -> Iterator[bytes]:
    """Firehose packs what CloudWatch Logs had packed already."""
    first = next(source, b"")
    source = itertools.chain([first], source)
    if not first.startswith(GZIP):
        yield from source
        return
    inflate = isal_zlib.decompressobj(wbits=31)
    try:
        for packed in source:
            while packed:
                if inflate.eof:
                    inflate = isal_zlib.decompressobj(wbits=31)
                if plain := inflate.decompress(packed, PIECE):
                    yield plain
                packed = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        if not inflate.eof:
            reading.damage = "the gzip stream in the gzip stream is cut; what comes after is lost"
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
        reading.damage = f"the gzip stream in the gzip stream is broken ({error}); what comes after is lost"


def _as_utf_8(source: Iterator[bytes]) -> Iterator[bytes]:
    """Text as UTF-8: Windows PowerShell writes `aws … > file` as UTF-16. What cannot be decoded becomes an escape that is no JSON."""
    first = next(source, b"")
    while len(first) < 2 and (piece := next(source, b"")):
        first += piece
    if not first.startswith(_UTF_16):
        if first:
            yield first
        yield from source
        return
    decoder = codecs.getincrementaldecoder("utf-16")("backslashreplace")
    for piece in itertools.chain([first], source):
        yield decoder.decode(piece).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")


def _decompressed(path: Path, reading: Reading) -> Iterator[bytes]:
    beginning = _beginning(path)
    if beginning.startswith(GZIP):
        yield from _gunzipped(path, reading)
        return
    for magic, compression in _BY_ARROW.items():
        if beginning.startswith(magic):
            with path.open("rb") as file, pa.CompressedInputStream(file, compression) as stream:
                try:
                    while piece := stream.read(_ARROW_PIECE):
                        reading.position = file.tell()
                        yield piece
                except OSError as error:
                    reading.damage = f"the {compression} stream is cut or broken ({error}); what comes after is lost"
            return
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            reading.position = file.tell()
            yield piece


class Reader(io.RawIOBase):
    """Pieces as a file that can be read from front to back, for libraries that want one."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source, self._rest = source, b""

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; 0 at the end."""
        if not self._rest:
            self._rest = next(self._source, b"")
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _gunzipped(path: Path, reading: Reading) -> Iterator[bytes]:
    """A gzip file in pieces: all of it that can be had."""
    given, at = 0, Position()
    try:
        for plain in _inflated(path, reading, at):
            given += len(plain)
            yield plain
        return
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
        reading.damage = f"the gzip stream is broken ({error}); what comes after is lost"
    # Of the piece in which it broke nothing was given: once more, byte by byte from there.
    try:
        for plain in _inflated(path, Reading(), Position(), careful_from=at.offset):
            if len(plain) > given:
                yield plain[given:]
            given = max(0, given - len(plain))
    except isal_zlib.error:  # type: ignore[misc]
        return


@dataclass
class Position:
    """Where in a file the piece in hand begins."""

    offset: int = 0


def _inflated(path: Path, reading: Reading, at: Position, careful_from: int | None = None) -> Iterator[bytes]:
    inflate = isal_zlib.decompressobj(wbits=31)
    fresh = True  # nothing of the present gzip member has been read
    with path.open("rb") as file:
        while packed := file.read(1 if careful_from is not None and file.tell() >= careful_from else PACKED):
            reading.position = file.tell()
            at.offset = reading.position - len(packed)
            while packed:
                if inflate.eof:
                    if not packed.strip(b"\0"):  # padding after the last member, as tape and some copies leave it
                        break
                    inflate, fresh = isal_zlib.decompressobj(wbits=31), True
                plain = inflate.decompress(packed, PIECE)
                fresh = False
                packed = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                if plain:
                    yield plain
            while not inflate.eof and (plain := inflate.decompress(b"", PIECE)):  # what it still holds
                yield plain
    if not inflate.eof and not fresh:
        reading.damage = "the gzip stream is cut; what comes after is lost"


def head(path: Path, size: int, reading: Reading) -> tuple[bytes, bool]:
    """The first `size` decompressed bytes of a file, and whether that is all of it."""
    taken = b""
    for piece in pieces(path, reading):
        taken += piece
        if len(taken) > size:
            return taken[:size], False
    return taken, True


@dataclass(frozen=True)
class Line:
    """A line without its end. number: from 1. too_long: only its beginning is kept."""

    number: int
    text: bytes
    too_long: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines in a row with their ends; the last of a file may have none. first: number of the first. starts: where each begins.
    too_long: it is the beginning of one line that is over LONGEST_LINE."""

    first: int
    text: bytes
    starts: list[int]
    too_long: bool = False

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.starts)

    def each(self) -> Iterator[Line]:
        """One by one, blank ones left out."""
        for number, text in enumerate(self.text.split(b"\n"), self.first):
            if text.strip():
                yield Line(number, text, self.too_long)


def _lines(first: int, text: bytes) -> Lines:
    starts, end = [0], text.find(b"\n")
    last = len(text) - 1
    while 0 <= end < last:
        starts.append(end + 1)
        end = text.find(b"\n", end + 1)
    return Lines(first, text, starts)


def whole_lines(path: Path, reading: Reading) -> Iterator[Lines]:
    """The lines of a file, many at a time, without a byte order mark."""
    first, rest, cut = 1, b"", False
    for piece in pieces(path, reading):
        if first == 1 and not rest and not cut:
            piece = piece.removeprefix(BOM)
        if cut:  # the rest of a line of which the beginning was given
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece, first, cut = piece[end + 1 :], first + 1, False
        end = piece.rfind(b"\n") + 1
        if end:
            text, rest = rest + piece[:end], piece[end:]
            if text.find(b"\n") > LONGEST_LINE:  # only the first can be
                yield Lines(first, text[:LONGEST_LINE], [0], too_long=True)
                first, text = first + 1, text[text.find(b"\n") + 1 :]
            if text:
                some = _lines(first, text)
                yield some
                first += some.count
        else:
            rest += piece
        if len(rest) > LONGEST_LINE:
            yield Lines(first, rest[:LONGEST_LINE], [0], too_long=True)
            rest, cut = b"", True
    if rest:
        yield _lines(first, rest)


def lines(path: Path, reading: Reading) -> Iterator[Line]:
    """The lines of a file one by one, blank ones left out. One over LONGEST_LINE is given by its beginning."""
    for some in whole_lines(path, reading):
        yield from some.each()
