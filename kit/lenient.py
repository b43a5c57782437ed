"""What stands in a JSON value that anybody may have written: absent and odd members are told, not stumbled over."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from kit.errors import EvidenceError


def member(value: Any, *path: str) -> Any:
    """What stands at a path of member names; None where a member is absent or null.

    Raises EvidenceError with the path when something on the way is not an object.
    """
    for place, name in enumerate(path):
        if value is None:
            return None
        if not isinstance(value, dict):
            raise EvidenceError("is not a JSON object", where=".".join(path[:place]))
        value = value.get(name)
    return value


_ISO = re.compile(r"\d{4}-\d\d-\d\d|\d{8}T\d{6}")
_ZONE = re.compile(r" (?:UTC|GMT|Z)$| (?=[+-]\d\d:?\d\d)")  # as Go and SQL write it: `2026-03-02 10:10:00 +0000 UTC`
_NUMBER = re.compile(
    r"(?:\d{9,13}|\d{15,19})(?:\.\d+)?|\d\.\d+[eE]\+?\d{1,2}"
)  # the second as queries and spreadsheets print it
# Consoles of AWS, and Go and JavaScript: `March 2, 2026, 10:10:00 (UTC+01:00)`, `Mon Mar 02 2026 10:10:00 GMT+0100`, `Mar 2, 2026 1:10 PM`.
_PROSE = re.compile(
    r"(?:[A-Z][a-z]+,? )?([A-Z][a-z]{2})[a-z]* (\d{1,2}),? (\d{4})(?:,| at)? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ([AP])M)?"
    r"(?: \(?(?:UTC|GMT|Z)?([+-]\d\d:?\d\d)?\)?)?(?: \(.*\))?"
)
# As programs of the United States write it, told by its half of the day: `3/2/2026, 10:10:00.000 AM`.
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}),? (\d{1,2}:\d\d(?::\d\d)?)(?:\.\d+)? ([AP]M)")
# RFC 1123 and asctime: `Mon, 02 Mar 2026 10:10:00 GMT`, `Mon Mar  2 10:10:00 UTC 2026`.
_MAIL = re.compile(r"(?:[A-Z][a-z]{2}, )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d:\d\d) (?:GMT|UTC|Z|([+-]\d{4}))")
_ASCTIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d:\d\d:\d\d) (?:UTC |GMT |Z )?(\d{4})")
# The log of a web server, Kibana and Go's log: `02/Mar/2026:10:10:00 +0000`, `Mar 2, 2026 @ 10:10:00.000`, `2026/03/02 10:10:00`, digits alone.
_OTHER = (
    (re.compile(r"\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"), "%d/%b/%Y:%H:%M:%S %z"),
    (re.compile(r"[A-Z][a-z]{2} \d{1,2}, \d{4} @ \d\d:\d\d:\d\d\.\d{3}"), "%b %d, %Y @ %H:%M:%S.%f"),
    (re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"), "%Y/%m/%d %H:%M:%S"),
    (re.compile(r"[12]\d{13}"), "%Y%m%d%H%M%S"),
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_time(value: Any) -> datetime | None:
    """A time in UTC, else None: of ISO 8601 text, with T or a space (UTC when it names no zone), of a date in words as consoles, web servers and Kibana write it,
    or of seconds, milliseconds, microseconds or nanoseconds since 1970, as number or text."""
    try:
        if isinstance(value, str):
            text = value.strip()
            if _NUMBER.fullmatch(text):
                return _since_1970(float(text) if "." in text else int(text))
            time = (
                datetime.fromisoformat(_ZONE.sub("", _ZONE.sub("", text.upper())))
                if _ISO.match(text.upper())
                else _in_words(text)
            )
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            # No moment since 1970 has fourteen digits until 2286, and a date written without marks has.
            return utc_time(str(value)) if 1e13 <= value < 1e14 and value == int(value) else _since_1970(value)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _since_1970(number: float) -> datetime:
    # 10^11 is the year 5138 in seconds and 1973 in milliseconds.
    microseconds = next((number * unit for most, unit in _UNITS if abs(number) < most), number / 1000)
    return _EPOCH + timedelta(microseconds=microseconds)


_UNITS = ((1e11, 1_000_000), (1e14, 1000), (1e17, 1))


def _in_words(text: str) -> datetime:
    for form, parts in _OTHER:
        if form.fullmatch(text):
            return datetime.strptime(text, parts)  # noqa: DTZ007 (utc_time gives it its zone)
    if american := _AMERICAN.fullmatch(text):
        month, day, year, hours, half = american.groups()
        text = f"{_MONTHS[int(month) - 1] if 0 < int(month) < 13 else month} {day}, {year} {hours} {half}"
    elif mail := _MAIL.fullmatch(text):
        day, month, year, hours, zone = mail.groups()
        text = f"{month} {day}, {year} {hours} {zone or 'UTC'}"
    elif asctime := _ASCTIME.fullmatch(text):
        text = "{0} {1}, {3} {2}".format(*asctime.groups())
    found = _PROSE.fullmatch(text)
    if found is None:
        raise ValueError
    month, day, year, hour, minute, second, half, zone = found.groups()
    hours = int(hour) % 12 + 12 * (half == "P") if half else int(hour)
    date = f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}"
    return datetime.fromisoformat(f"{date}T{hours:02}:{minute}:{second or '00'}{zone or ''}")


def dict_of(value: Any) -> dict[str, Any]:
    """An object in evidence, whose members may be anything; {} for what is none."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """A list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def dicts_of(value: Any) -> list[dict[str, Any]]:
    """The objects of a list in evidence, whose members may be anything; [] for what is no list."""
    return [one for one in list_of(value) if isinstance(one, dict)]


def texts_of(value: Any) -> list[str]:
    """The elements of a list as texts; [] for what is no list."""
    return [str(one) for one in list_of(value)]


def found_at(value: Any, *path: str) -> Any:
    """What stands at a path of member names; None where something on the way is absent or no object."""
    for name in path:
        value = dict_of(value).get(name)
    return value


def json_of(text: str | None) -> Any:
    """What a JSON text holds; an empty object for what is none."""
    try:
        return orjson.loads(text or "{}")
    except ValueError:  # a text where an object should be
        return {}


def text_of(value: Any) -> str | None:
    """A text, None for anything else and for an empty one."""
    return value if isinstance(value, str) and value else None


def time_of(text: Any) -> datetime | None:
    """A time of ISO 8601 text as it stands, None for anything else."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) and _ISO.match(text) else None
    except ValueError:
        return None
