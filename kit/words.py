"""Numbers, times and lists in words for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol, overload


class Names(Protocol):
    """Several texts. A single text is none: its letters are no names, and its `in` takes texts alone, by which types tell it apart."""

    def __iter__(self) -> Iterator[str]:
        """The texts."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __contains__(self, value: object, /) -> bool:
        """Whether one is among them."""
        ...


_PLURALS = {"identity": "identities"}


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 pod, 12 pods, 2 identities."""
    return f"{number:,} {noun if number == 1 else plural or _PLURALS.get(noun, noun + 's')}"


@overload
def iso(at: datetime) -> str: ...
@overload
def iso(at: datetime | None) -> str | None: ...
def iso(at: datetime | None) -> str | None:
    """A moment as the JSON forms have it: ISO 8601 in UTC with a `Z`, to the microsecond; None for none."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None


def utc(at: datetime) -> str:
    """A time in words: 2026-01-31 14:00:00 UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def lasting(span: timedelta) -> str:
    """A length of time in words, whichever its direction: 12 minutes, under a minute 18 seconds."""
    seconds = int(abs(span).total_seconds())
    return counted(seconds // 60, "minute") if seconds >= 60 else counted(seconds, "second")


def before_or_after(span: timedelta) -> str:
    """How far ahead of a moment something is: 12 minutes before; of a negative one, 12 minutes after."""
    return f"{lasting(span)} {'after' if span < timedelta() else 'before'}"


def few(names: list[str] | tuple[str, ...], most: int) -> str:
    """Names in a row: of many the first ones, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(word: str, known: Names) -> str:
    """Which of the known names a misspelt one may mean, as the end of an error: `did you mean verb?`, else all of them."""
    close = difflib.get_close_matches(word.lower(), list(known), 3, 0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"it is one of {', '.join(known)}"
