"""A stretch of time in UTC, both ends always explicit, the end excluded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from kit.errors import CallError


@dataclass(frozen=True)
class Window:
    """start and end: aware datetimes in UTC; the end is excluded."""

    start: datetime
    end: datetime

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end


def checked_window(start: str, end: str) -> tuple[datetime | None, datetime | None]:
    """The ends of a window from ISO 8601 texts, None for ""; text without a zone is UTC.

    Raises CallError when a text is no time, or the window is empty or upside down.
    """
    begin, finish = _time("--start", start), _time("--end", end)
    if begin and finish and begin >= finish:
        word = "empty" if begin == finish else "upside down"
        raise CallError(
            f"the window from {start} to {end} is {word}",
            where="--start, --end",
            next="the end is excluded, so it must be later than the start",
        )
    return begin, finish


def checked_time(flag: str, text: str) -> datetime | None:
    """A time from ISO 8601 text, None for ""; text without a zone is UTC. flag: what it was given as. Raises CallError."""
    return _time(flag, text)


def _time(flag: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise CallError(f"{text!r} is not a time", where=flag, next="write it as 2026-01-31T14:00:00Z") from None
