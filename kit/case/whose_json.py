"""Whose calls are whose in the JSON forms: what people marked, and which calls are the kit's own; docs/json.md describes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from kit.model.why import Why
from kit.scope.scope import Scope
from kit.store.marks import Mark
from kit.words import counted, iso


class WhyJson(TypedDict):
    """A reason: what a record shows."""

    ref: str
    says: str


# `as` is a word of Python.
MarkJson = TypedDict("MarkJson", {"about": str, "as": str, "note": str, "at": str | None})


class OwnRequestsJson(TypedDict):
    """The kit's own requests, and the calls that have an id of its collection log and are not."""

    says: str
    calls: list[WhyJson]
    claimed: list[WhyJson]


def why_json(why: Why) -> WhyJson:
    """A reason as JSON-ready data."""
    return {"ref": str(why.ref), "says": why.says}


def marks_json(marks: Iterable[Mark]) -> list[MarkJson]:
    """What people marked as the attacker's or not, and this follows."""
    return [{"about": one.about, "as": one.word, "note": one.note, "at": iso(one.at)} for one in marks]


def own_requests_json(scope: Scope) -> OwnRequestsJson:
    """The kit's own requests, by its collection log, in one sentence and one by one; a request has one entry, whatever its stages."""
    found = scope.attacker.collected
    calls = _each_once([*found.calls.values(), *found.aws_calls.values()])
    claimed = _each_once(found.claimed)
    says = f"{counted(len(calls), 'call')} in the logs {'is' if len(calls) == 1 else 'are'} the kit's own, by its collection log"
    if claimed:
        says += f"; {counted(len(claimed), 'call')} with an id of that log {'is' if len(claimed) == 1 else 'are'} not"
    return {"says": f"{says}." if calls or claimed else "", "calls": calls, "claimed": claimed}


def _each_once(whys: list[Why]) -> list[WhyJson]:
    return list({(str(why.ref), why.says): why_json(why) for why in whys}.values())
