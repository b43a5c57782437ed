"""JSON documents that hold many records: an API's list, a delivery file, a dump, JSON lines, documents in a row.

A document is walked element by element, so a cut or broken one still gives all that stands before the damage. Damage
costs one reject; reading goes on at the next line that starts with `{` in its first column, where JSON lines and
pretty-printed documents begin. What no parser holds (a number over 64 bits, NaN, a byte that is no UTF-8, brackets without end) is no
damage: its record is given as far as it can be held, and says what is `broken`. Source: RFC 8259.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from math import isinf
from typing import Any

from kit.evidence.formats.json_text import LONGEST_RECORD, repaired
from kit.evidence.record import Record, Reject

MOST_DAMAGES = 1000  # places in one file; a file with more is not JSON with damage in it
ONE_THING = frozenset(
    {"InstanceId", "InstanceProfileId"}
)  # of things of AWS that hold lists of others, which are no answer's
_SPACE = re.compile(r"[ \t\r\n]*")
_LEFT_OVER = re.compile(r"[ \t\r\n,\]}]*")  # what stands between elements once their list is lost
_NEXT_DOCUMENT = re.compile(r"(?<=\n)\{")
_STRAY_BYTE = re.compile("[\udc80-\udcff]")  # how the decoder keeps a byte that is not UTF-8
_LONGEST_RAW = 200
_LONGEST_TAG = 300
_TIME = r'(?:"\d{4}-[^"]{1,40}"|\d{9,}[\d.]*)'
_SEQUENCE = re.compile(
    rf'\[\s*(?:"[\w./*@:-]{{1,200}}"\s*,\s*(?:{_TIME}\s*,\s*\{{|\[\s*\[\s*(?:\[\s*)?\d{{9,}})|"1\d{{18}}"\s*,\s*"\{{'
    rf"|{_TIME}\s*,\s*\{{|\[\s*{_TIME}\s*,\s*\{{[^{{}}]{{0,200}}\}}\s*\]\s*,\s*\{{)"
)
"""A list as Fluentd, Fluent Bit and Loki write one: a tag or time first, then what it is of."""
_PEEK_DEPTH = 8
_LONGEST_ESCAPE = 16  # letters that belong together: a pair of surrogate escapes, Infinity


class _Broken(Exception):
    """Where a document stops being JSON, and how."""

    def __init__(self, at: int, says: str) -> None:
        self.at, self.says = at, says
        super().__init__(says)


def records(data: bytes | Iterable[bytes], keys: tuple[str, ...]) -> Iterator[Record | Reject]:
    """Each record of a file, in its order, and a reject for each damaged place; raises nothing.

    data: whole or in pieces; of these no more is held than the record in hand. keys: members of a top-level object whose
    lists hold records; a top-level list's elements are records too, and any other top-level value is one itself. Without
    keys every top-level value is one record.
    """
    walk = _Walk(_text([data] if isinstance(data, bytes) else data), keys)
    while walk.more(mended=walk.damages > 0):
        try:
            yield from walk.document()
        except _Broken as broken:
            ahead = broken.at - walk.start
            yield from walk.damaged(broken)
            if walk.damages >= MOST_DAMAGES:
                yield walk.reject(f"not JSON in {walk.damages} places; what comes after is not read")
                return
            walk.go_on_after(walk.start + ahead)
    if walk.item == 0 and not walk.any:
        yield walk.reject("the file is empty")


class _Walk:
    """Reads a text from front to back. at: where it stands. start, line: where the record in hand begins.

    text: what is held of it, from the record in hand on; its pieces come as they are needed.
    """

    def __init__(self, pieces: Iterable[str], keys: tuple[str, ...]) -> None:
        self.text, self.keys = "", keys
        self.at = self.start = self.item = 0
        self.line = 1
        self.any = False
        self.damages = 0
        self._indent = ""  # before the element in hand, where it begins its line
        self._pieces = iter(pieces)
        self._odd = list[str]()  # what of the value in hand no parser holds
        self._decoder = json.JSONDecoder(parse_constant=self._no_number, parse_float=self._float)
        self._has_stray_bytes = False

    def more(self, mended: bool) -> bool:
        self._skip(_LEFT_OVER if mended else _SPACE)
        return self.at < len(self.text)

    def document(self) -> Iterator[Record | Reject]:
        self.any = True
        self._begin()
        if self.keys and self._here == "{":
            yield from self._object()
        elif self.keys and self._here == "[" and not self._is_sequence():
            yield from self._list("", {})
        else:
            yield self._record(self._value())

    def _is_sequence(self) -> bool:
        """Whether a list begins with a tag or a time and what it is of: its places have a meaning, so it is one record."""
        while len(self.text) - self.at < _LONGEST_TAG and self._fill():
            pass
        return _SEQUENCE.match(self.text, self.at) is not None

    def reject(self, reason: str, end: int | None = None, *, is_broken: bool = False) -> Reject:
        self.item += 1
        return Reject(self.line, self.item, reason, self._raw(end), is_broken=is_broken)

    def damaged(self, broken: _Broken, of: str = "", around: dict[str, Any] | None = None) -> Iterator[Record | Reject]:
        """The reject for damage in the record in hand; before it what stands whole in a row of a query, whose cells are {field, value}."""
        self.damages += 1
        ahead, cells = broken.at - self.start, _whole_cells(self.text[self.start : broken.at])
        if cells:
            self._odd.clear()
            raw = self._raw(broken.at)
            self.item += 1
            yield Record(self.line, self.item, cells, of, {} if around is None else around, raw)
        says = f"not JSON: {broken.says} at line {self.line_at(self.start + ahead)}"
        yield self.reject(says, is_broken=True)

    def line_at(self, at: int) -> int:
        return self.line + self.text.count("\n", self.start, at)

    def go_on_after(self, at: int) -> None:
        self._odd.clear()
        self.at = max(at, self.start + 1)
        while (found := _NEXT_DOCUMENT.search(self.text, self.at)) is None:
            self.at = max(self.at, len(self.text) - 1)  # the last letter may be the end of a line
            self._begin()
            if not self._fill():
                self.at = len(self.text)
                return
            self.at += 1
        self.at = found.start()

    def _next_element(self, at: int) -> bool:
        """Go to the next line that begins as the broken element does, indented as far; a text in JSON cannot hold such a line."""
        mark = self.text[self.start : self.start + 1]
        if not self._indent or mark not in ("{", "[") or self.damages >= MOST_DAMAGES:
            return False
        self._odd.clear()
        wanted = f"\n{self._indent}{mark}"
        ahead = max(at, self.start + 1) - self.start
        while (found := self.text.find(wanted, self.start + ahead)) < 0:
            if len(self.text) - self.start > LONGEST_RECORD or not self._fill():
                return False
        self.at = found + 1
        return True

    def _fill(self) -> bool:
        """Hold more of the text: twice what is held of the record in hand, of one that is too long an eighth more; False at its end.

        Always a part of what is held, or each piece would copy all of a text that has no end, such as a bomb of spaces.
        """
        held = self.text[self.start :]
        wanted = max(1, len(held) // 8, min(len(held), LONGEST_RECORD - len(held)))
        parts = [held]
        while wanted > 0 and (piece := next(self._pieces, None)) is not None:
            self._has_stray_bytes = self._has_stray_bytes or _STRAY_BYTE.search(piece) is not None
            parts.append(piece)
            wanted -= len(piece)
        if len(parts) == 1:
            return False
        self.text = "".join(parts)
        self.at -= self.start
        self.start = 0
        return True

    @property
    def _here(self) -> str:
        if self.at >= len(self.text):
            self._fill()
        return self.text[self.at : self.at + 1]

    def _skip(self, what: re.Pattern[str] = _SPACE) -> None:
        while True:
            found = what.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or not self._fill():
                return

    def _begin(self) -> None:
        self.line = self.line_at(self.at)
        self.start = self.at

    def _raw(self, end: int | None = None) -> str:
        while end is None and len(self.text) - self.start < _LONGEST_RAW and self._fill():
            pass
        head = self.text[self.start : self.start + _LONGEST_RAW if end is None else min(end, self.start + _LONGEST_RAW)]
        return head.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _value(self) -> Any:
        while True:
            odd = len(self._odd)
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or not self._fill():
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                # Wrong only near the end of what is held, or in a text without an end: the rest may make it right.
                may_go_on = error.pos > len(self.text) - _LONGEST_ESCAPE or error.msg.startswith("Unterminated string")
                if may_go_on and len(self.text) - self.start > LONGEST_RECORD:
                    raise _Broken(error.pos, f"{error.msg} within {LONGEST_RECORD >> 20} MiB") from None
                if not may_go_on or not self._fill():
                    raise _Broken(error.pos, error.msg) from None
            except (RecursionError, ValueError):  # ValueError: Python's limit for the digits of an integer
                del self._odd[odd:]
                return self._repaired()
            del self._odd[odd:]  # it is read once more

    def _repaired(self) -> Any:
        """The value here as far as a parser can hold it."""
        while (found := repaired(self.text, self.at)).end < 0:
            if len(self.text) - self.start > LONGEST_RECORD or not self._fill():
                raise _Broken(self.at, "nested too deeply, and cut")
        try:
            value = self._decoder.decode(found.text)
        except (ValueError, RecursionError):
            raise _Broken(self.at, found.says) from None
        self._odd.append(found.says)
        self.at = found.end
        return value

    def _float(self, digits: str) -> float | str:
        number = float(digits)
        # 1e999 is infinite, which would turn into null when it is written again
        return self._no_number(digits) if isinf(number) else number

    def _no_number(self, digits: str) -> str:
        self._odd.append(f"{digits[:40]} is not a number that JSON can hold")
        return digits

    def _record(self, value: Any, of: str = "", around: dict[str, Any] | None = None) -> Record:
        broken = f"not JSON: {self._odd[0]}" if self._odd else ""
        self._odd.clear()
        if self._has_stray_bytes and (stray := _STRAY_BYTE.search(self.text, self.start, self.at)):
            broken = f"not UTF-8 at line {self.line_at(stray.start())}"
        self.item += 1
        raw = self._raw(self.at)
        return Record(self.line, self.item, value, of, {} if around is None else around, raw, broken=broken)

    def _object(self) -> Iterator[Record | Reject]:
        around: dict[str, Any] = {}
        listed = False
        self.at += 1
        self._skip()
        if self._here == "}":
            self.at += 1
        else:
            while True:
                if self._here != '"':
                    raise _Broken(self.at, "expecting a name in double quotes")
                name = self._value()
                self._skip()
                self._expect(":")
                self._skip()
                if name in self.keys and self._here == "[" and not around.keys() & ONE_THING:
                    if self._odd:
                        raise _Broken(self.at, self._odd.pop())
                    listed = True
                    yield from self._list(name, around)
                else:
                    around[name] = self._value()
                if self._expect(",}") == "}":
                    break
                self._skip()
        if not listed:
            yield self._record(around)
        elif self._odd:
            raise _Broken(self.at, self._odd.pop())

    def _list(self, of: str, around: dict[str, Any]) -> Iterator[Record | Reject]:
        self.at += 1
        self._skip()
        if self._here == "]":
            self.at += 1
        else:
            while True:
                self._skip()
                self._begin()
                line = self.text[self.text.rfind("\n", 0, self.at) + 1 : self.at]
                self._indent = line if line.isspace() else ""
                try:
                    value = self._value()
                except _Broken as broken:
                    at = broken.at
                    ahead = at - self.start
                    if not self._next_element(at):
                        raise
                    begins, self.at = self.at - self.start, self.start
                    yield from self.damaged(_Broken(self.start + ahead, broken.says), of, around)
                    self.at = self.start + begins
                    continue
                if self.at == len(self.text) and isinstance(value, int | float):
                    raise _Broken(self.at, "cut off, perhaps within a number")
                yield self._record(value, of, around)
                self._begin()
                if self._expect(",]") == "]":
                    break
        self._begin()

    def _expect(self, marks: str) -> str:
        self._skip()
        mark = self._here
        if not mark or mark not in marks:
            raise _Broken(self.at, "expecting " + " or ".join(repr(each) for each in marks))
        self.at += 1
        return mark


def _text(pieces: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", True)


def _whole_cells(text: str) -> list[dict[str, str]]:
    """The cells that stand whole in what can be read of a row of CloudWatch Logs Insights; none without its message."""
    seen = _peeked(text, 0, _PEEK_DEPTH) if text.startswith("[") and '"field"' in text else None
    cells = [each for each in seen if isinstance(each, dict)] if isinstance(seen, list) else []
    whole = [
        one for one in cells if one.keys() == {"field", "value"} and all(isinstance(each, str) for each in one.values())
    ]
    return whole if any(one["field"] == "@message" for one in whole) else []


def peek(head: bytes) -> Any:
    """What can be read of the first value of a document of which only the head is there; None when nothing can.

    Objects and lists that the cut goes through come with what they hold before it: a missing member may be cut off.
    """
    text = "".join(_text([head]))
    found = _SPACE.match(text)
    return _peeked(text, found.end() if found else 0, _PEEK_DEPTH)


def _peeked(text: str, at: int, depth: int) -> Any:
    walk = _Walk([], ())
    walk.text, walk.at = text, at
    walk._has_stray_bytes = _STRAY_BYTE.search(text) is not None
    try:
        return walk._value()
    except _Broken:
        if not depth or walk._here not in ("{", "["):
            return None
    into_object = walk._here == "{"
    members: dict[str, Any] = {}
    elements: list[Any] = []
    walk.at += 1
    try:
        while True:
            name = ""
            walk._skip()
            if into_object:
                name = str(walk._value())
                walk._expect(":")
                walk._skip()
            start = walk.at
            try:
                value, cut = walk._value(), False
            except _Broken:
                value, cut = _peeked(text, start, depth - 1), True
            if into_object:
                members[name] = value
            elif not cut or value is not None:
                elements.append(value)
            if cut:
                break
            walk._expect(",")
    except _Broken:
        pass
    return members if into_object else elements
