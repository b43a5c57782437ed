"""A stretch of time in UTC, both ends always explicit, the end excluded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from kit.errors import CallError


@dataclass(frozen=True)
class Window:
    """start and end: aware datetimes in UTC; the end is excluded."""

    start: datetime
    end: datetime

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end


Time = str | datetime | None
"""A point in time as a person gives it: ISO 8601 text, or a datetime, as pandas' Timestamp is; UTC without a zone. None and "" are not given."""
Days = Callable[[], list[date]]
"""The UTC days that a log covers, asked for where a time has no date."""


def checked_window(start: Time, end: Time, days: Days = list) -> tuple[datetime | None, datetime | None]:
    """The ends of a window, None for one that is not given.

    days: whose day a time without a date is of, while it is only one. Raises CallError when one is no time, or the window is empty or upside down.
    """
    begin, finish = checked_time("start", start, days), checked_time("end", end, days)
    if begin and finish and begin >= finish:
        word = "empty" if begin == finish else "upside down"
        raise CallError(
            f"the window from {start} to {end} is {word}",
            where="start, end",
            next="the end is excluded, so it must be later than the start",
        )
    return begin, finish


def checked_time(name: str, given: Time, days: Days = list) -> datetime | None:
    """A time in UTC, None where none is given. name: the parameter that it was given as. days: as for checked_window. Raises CallError."""
    if given is None or given == "":
        return None
    try:
        if isinstance(given, datetime):
            at = datetime.combine(given.date(), given.time(), given.tzinfo)  # of a Timestamp without its nanoseconds
        elif _CLOCK.fullmatch(given):
            at = datetime.combine(
                _only_day(name, given, days()), time.fromisoformat(given if given[2] == ":" else f"0{given}")
            )
        else:
            at = datetime.fromisoformat(given)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        raise CallError(f"{given!r} is not a time", where=name, next="write it as 2026-01-31T14:00:00Z") from None


_CLOCK = re.compile(r"\d{1,2}:\d\d\S*")


def _only_day(name: str, given: str, days: list[date]) -> date:
    if len(days) == 1:
        return days[0]
    covers = f"the log covers {days[0]} to {days[-1]}" if days else "the case has no log whose day it could be of"
    raise CallError(
        f"{given!r} has no date, and {covers}",
        where=name,
        next=f"write it as {days[0] if days else '2026-01-31'}T{given}",
    )
