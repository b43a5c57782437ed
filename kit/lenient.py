"""What stands in a JSON value that anybody may have written: absent and odd members are told, not stumbled over."""

from __future__ import annotations

from datetime import UTC, datetime
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


def utc_time(value: Any) -> datetime | None:
    """A time in UTC from ISO 8601 text (UTC when it names no zone) or seconds or milliseconds since 1970, else None."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            # 10^11 is the year 5138 in seconds and 1973 in milliseconds.
            return datetime.fromtimestamp(value / 1000 if abs(value) >= 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


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
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
