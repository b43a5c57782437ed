"""GuardDuty findings as rows of a query: names of members joined with `_`, list elements by their number, in small letters or not.

Athena gives them as `resource_instancedetails_tags`, CloudWatch Logs as `detail_resource_…`, beside members that are still whole.
Types are lost (numbers as texts); names go through the API's model as those of any finding do.
"""

from __future__ import annotations

from typing import Any

from kit.errors import EvidenceError
from kit.lenient import dict_of

WRAPPER = "a query's row"
_EVENT = "detail_"  # before the finding's members, where the event around it was flattened too


def is_flattened(value: dict[str, Any]) -> bool:
    """Whether a record is such a row."""
    value = _inner(value)
    names = {name.removeprefix(_EVENT).lower() for name in value}
    return bool(names & {"type", "finding_type"}) and any(name.startswith(("service_", "resource_")) for name in names)


def finding_in_row(value: dict[str, Any]) -> dict[str, Any]:
    """The finding in a row. Raises EvidenceError for a name that is a value and an object at once."""
    top: dict[str, Any] = {}
    own = _members(_inner(value))
    is_event = any(name.startswith(_EVENT) for name, _ in own)
    for name, each in own:
        if not is_event or name.startswith(_EVENT):
            _spread(top, name.removeprefix(_EVENT).split("_"), each, name)
    whole = listed(top | dict_of(top.pop("finding", {})))  # finding_id, finding_type
    assert isinstance(whole, dict)
    return whole


def _inner(value: dict[str, Any]) -> dict[str, Any]:
    inner = value.get("guardduty")
    return inner if isinstance(inner, dict) else value


def _members(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """The members of a row, those of its groups by kind of action (NETWORK_CONNECTION) too."""
    grouped = {name: each for name, each in value.items() if name.isupper() and isinstance(each, dict)}
    own = [(name, each) for name, each in value.items() if name not in grouped]
    return own + [one for each in grouped.values() for one in each.items()]


def _spread(top: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    if isinstance(value, dict) and value:
        for inner, each in value.items():
            _spread(top, [*path, *inner.split("_")], each, name)
    else:
        put(top, path, value, name)


def put(top: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    """Put a value where its path leads. name: for EvidenceError, where the path leads through a value."""
    here = top
    for step in path[:-1]:
        inside = here.setdefault(step, {})
        if not isinstance(inside, dict):
            raise EvidenceError("is a value and an object at once", where=name)
        here = inside
    here[path[-1]] = value


def listed(value: Any) -> Any:
    """A value in which objects whose members are all numbers are lists, in the order of the numbers."""
    if not isinstance(value, dict):
        return value
    if value and all(name.isdecimal() for name in value):
        return [listed(value[name]) for name in sorted(value, key=int)]
    return {name: listed(each) for name, each in value.items()}
