"""The names of a finding's members, in any spelling, back into those of the SDK; and what is not as the API's model has it.

Source: botocore, guardduty 2017-11-28, shape Finding.
"""

from __future__ import annotations

import functools
import gzip
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import orjson

from kit.errors import EvidenceError
from kit.lenient import utc_time


@functools.cache
def _shapes() -> dict[str, dict[str, Any]]:
    """The shapes of botocore's model, by name. Read without botocore.loaders, whose import takes ten times as long as the model."""
    folder = files("botocore") / "data" / "guardduty" / "2017-11-28"
    model = gzip.decompress((folder / "service-2.json.gz").read_bytes())
    shapes: dict[str, dict[str, Any]] = orjson.loads(model)["shapes"]
    return shapes


@functools.cache
def _members(structure: str) -> dict[str, tuple[str, str]]:
    """Any spelling of a member, in small letters (filters write hostIpc for hostIPC), to its SDK name and its shape's name."""
    spellings = {}
    for name, of in _shapes()[structure]["members"].items():
        spellings[name.lower()] = spellings[of.get("locationName", name).lower()] = (name, of["shape"])
    return spellings


@dataclass
class SaidOfMembers:
    """What is to be said of a finding's members: those that the model does not have, and those that are of another kind than it says."""

    unknown: list[str] = field(default_factory=list)
    odd: dict[str, Any] = field(default_factory=dict)


def sdk_named(shape_name: str, value: Any, path: str, said: SaidOfMembers) -> Any:
    """A value under SDK names, as the shape of the model has it; what is not so is said, and left out where it is of another kind.

    Raises EvidenceError for two spellings of what identifies a finding.
    """
    if value is None:
        return None
    shape = _shapes()[shape_name]
    kind = shape["type"]
    if kind in ("structure", "map"):
        members = _object(value)
        if members is None:
            said.odd[path] = value
        elif kind == "structure":
            return _named_members(shape_name, members, path, said)
        else:
            of = shape["value"]["shape"]
            return {name: sdk_named(of, each, f"{path}.{name}", said) for name, each in members.items()}
        return None
    if kind == "list":
        of = shape["member"]["shape"]
        if (listed := _list(value, of)) is None:
            said.odd[path] = value
            return None
        return [sdk_named(of, each, f"{path}[{place}]", said) for place, each in enumerate(listed)]
    if (
        kind == "string" and isinstance(value, list) and len(value) == 1
    ):  # as a table of strings, or a query with many rows, gives it
        value = value[0]
    if isinstance(value, dict | list):
        said.odd[path] = value
        return None
    if isinstance(value, str) and kind in _SCALARS:
        return _scalar(value, kind)
    if isinstance(value, str) and path in _IDENTIFY:
        return value.strip()
    if kind == "string" and isinstance(value, int) and not isinstance(value, bool):
        return f"{value:012}" if path == "AccountId" else str(value)  # a query made a number of it
    if kind == "timestamp":
        time = utc_time(value)
        return time.isoformat() if time else value
    return value


# Wrappers that flatten a finding make texts of everything.
_SCALARS = {"integer": int, "long": int, "double": float, "float": float, "boolean": None}


def _scalar(text: str, kind: str) -> Any:
    number = _SCALARS[kind]
    try:
        return {"true": True, "false": False}.get(text.lower(), text) if number is None else number(text)
    except ValueError:
        return text


def _named_members(structure: str, value: dict[str, Any], path: str, said: SaidOfMembers) -> dict[str, Any]:
    members = _members(structure)
    named: dict[str, Any] = {}
    for spelling, each in value.items():
        known = members.get(spelling.lower()) or members.get(_joined(spelling))
        name, of = known or (spelling, None)
        place = f"{path}.{name}" if path else name
        if of is None:
            said.unknown.append(place)
        each = each if of is None else sdk_named(of, each, place, said)
        if name not in named:
            named[name] = each
        elif named[name] != each and place in _IDENTIFY:
            raise EvidenceError("is there in two spellings", where=place)
        elif named[name] != each:
            said.odd[f"{place} ({spelling})"] = each
    return named


def _joined(spelling: str) -> str:
    """A name in small letters without what stands between its words: updated_at, updated-at."""
    return spelling.lower().replace("_", "").replace("-", "")


_IDENTIFY = ("Id", "Type", "Severity")


def _object(value: Any) -> dict[str, Any] | None:
    """An object, also one that was written into a text, or stands alone in a list."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _list(value: Any, of: str) -> list[Any] | None:
    """A list; one element without it becomes a list of one, as a writer that knows no schema leaves it. of: the shape of an element."""
    if isinstance(value, list):
        return value
    if _shapes()[of]["type"] == "structure":
        known = isinstance(value, dict) and any(name.lower() in _members(of) for name in value)
        return [value] if known else None
    return None if isinstance(value, dict) else [value]
