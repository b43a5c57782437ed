"""JSON as text: written one way, hashed, repaired where halves of surrogate pairs stand in it."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from math import isfinite
from typing import Any, NamedTuple

import orjson

from kit.errors import EvidenceError

LONGEST_RECORD = 32 << 20  # letters; parsed, they take up to twenty times as much
MOST_LEVELS = 200  # of lists and objects in each other that are kept of a value that has too many
DEEPEST = 40_000  # levels, four times what any API server takes (Go, encoding/json, maxNestingDepth)
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:(")|\\?\Z)|[\[\]{}]|-?(?:\d[\d.eE+-]*|Infinity)|NaN', re.DOTALL)
_HALF = re.compile(  # of a surrogate pair, as an escape; whole pairs and escaped backslashes go first
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class Repaired(NamedTuple):
    """A JSON value as every parser holds it: its text, where it ended in the text that it was taken from (-1: out of sight), what was changed."""

    text: str
    end: int
    says: str


def repaired(text: str, at: int = 0) -> Repaired:
    """The JSON value at a place of a text, made such that every parser holds it, and nothing else changed.

    Numbers over 64 bits (and NaN, Infinity) become texts; halves of surrogate pairs become U+FFFD, as the API server itself reads
    them (Go, encoding/json); lists and objects deeper than MOST_LEVELS become null. Of a value deeper than DEEPEST the end is not looked for.
    """
    kept, done, depth, end, changed = list[str](), at, 0, -1, dict[str, None]()
    for token in _TOKEN.finditer(text, at):
        mark, instead = token[0], None
        if mark in "[{":
            depth += 1
            if depth > DEEPEST:
                break
            if depth == MOST_LEVELS + 1:
                kept += text[done : token.start()], "null"
                changed["nested too deeply"] = None
        elif mark in "]}":
            depth -= 1
            if depth == MOST_LEVELS:
                done = token.end()
        elif mark[0] == '"' and not token[1]:
            break  # a text without an end: nothing in it is looked at once more
        elif depth > MOST_LEVELS:
            continue
        elif mark[0] == '"':
            if "\\u" in mark and (instead := _HALF.sub(lambda half: "\\ufffd" if half[1] else half[0], mark)) != mark:
                changed["half of a surrogate pair"] = None
        elif not _holds(mark):
            instead = f'"{mark}"'
            changed[f"{mark[:40]} is not a number that JSON can hold"] = None
        if instead is not None:
            kept += text[done : token.start()], instead
            done = token.end()
        if depth <= 0:
            end = token.end()
            break
    return Repaired("".join([*kept, text[done:end]]), end, "; ".join(changed))


def _holds(number: str) -> bool:
    """Whether 64 bits hold a number."""
    try:
        if number.lstrip("-").isdigit():
            return len(number) <= 20 and -(1 << 63) <= int(number) < 1 << 64
        return isfinite(float(number))
    except ValueError:  # not a number at all
        return True


def as_held(value: Any) -> tuple[Any, str]:
    """A value as every parser holds it, and what was changed for that: most are as they came."""
    try:
        orjson.dumps(value)
    except TypeError:
        found = repaired(json.dumps(value))
        return json.loads(found.text), found.says
    return value, ""


def json_text(value: Any) -> str:
    """A value as JSON with sorted names, equal for equal values. Raises EvidenceError for what JSON cannot hold."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as error:  # integers over 64 bits, half surrogate pairs, nesting over 254 levels
        raise EvidenceError(f"cannot be kept as JSON ({error})") from None


def hash_of(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return sha256(text.encode()).hexdigest()
