"""Bytes of an evidence file, decompressed where it is gzip, in pieces of bounded size, as far as they can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

PIECE = 1 << 20
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 16 << 20  # DuckDB's own limit for one JSON object; longer lines become rejects


@dataclass
class Damage:
    """What ended the reading of a file early; empty when nothing did."""

    says: str = ""


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does; its name is not asked."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def pieces(path: Path, damage: Damage) -> Iterator[bytes]:
    """The decompressed bytes of a file in pieces. A cut or broken gzip gives all that comes before and sets `damage`."""
    if not is_gzip(path):
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
        return
    given, at = 0, Place()
    try:
        for plain in _inflated(path, damage, at):
            given += len(plain)
            yield plain
        return
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
        damage.says = f"the gzip stream is broken ({error}); what comes after is lost"
    # Of the piece in which it broke nothing was given: once more, byte by byte from there.
    try:
        for plain in _inflated(path, Damage(), Place(), careful_from=at.offset):
            if len(plain) > given:
                yield plain[given:]
            given = max(0, given - len(plain))
    except isal_zlib.error:  # type: ignore[misc]
        return


@dataclass
class Place:
    """Where in a file the piece in hand begins."""

    offset: int = 0


def _inflated(path: Path, damage: Damage, at: Place, careful_from: int | None = None) -> Iterator[bytes]:
    inflate = isal_zlib.decompressobj(wbits=31)
    fresh = True  # nothing of the present gzip member has been read
    with path.open("rb") as file:
        while packed := file.read(1 if careful_from is not None and file.tell() >= careful_from else PIECE):
            at.offset = file.tell() - len(packed)
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
        damage.says = "the gzip stream is cut; what comes after is lost"


def head(path: Path, size: int, damage: Damage) -> tuple[bytes, bool]:
    """The first `size` decompressed bytes of a file, and whether that is all of it."""
    taken = b""
    for piece in pieces(path, damage):
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


def lines(path: Path, damage: Damage) -> Iterator[Line]:
    """The lines of a file, blank ones left out, without a byte order mark. One over LONGEST_LINE is given by its beginning."""
    number, rest, cut = 1, b"", False
    for piece in pieces(path, damage):
        *whole, tail = piece.split(b"\n")
        for part in whole:
            text, too_long = rest + part, cut or len(rest) + len(part) > LONGEST_LINE
            if text.strip():
                yield _line(number, text, too_long)
            number, rest, cut = number + 1, b"", False
        if not cut:
            rest += tail
            if len(rest) > LONGEST_LINE:
                rest, cut = rest[:LONGEST_LINE], True
    if rest.strip():
        yield _line(number, rest, cut)


def _line(number: int, text: bytes, too_long: bool) -> Line:
    text = text.removeprefix(BOM) if number == 1 else text
    return Line(number, text[:LONGEST_LINE] if too_long else text, too_long)
