"""A plan is played on the evidence before it is shown: after each stage what still serves, and what the attacker can still do.

The steps of people are played like the kit's own. The same plan and evidence give the same simulation, which is in no digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kit.actions.action import STAGES, Stage
from kit.plan.compromised import Compromised
from kit.plan.plan import Plan, PlannedAction
from kit.plan.played import ClusterState, Played
from kit.plan.responder import Responder
from kit.plan.serving import Served, Serving, still_serves
from kit.plan.still_open import Fate, FateState, StillOpen
from kit.statements.open_entry import OpenEntry
from kit.words import counted, few, iso, utc

_MOST = 4  # entries that are written out
_IN_WORDS: dict[FateState, str] = {
    "still works": "",
    "cannot tell": "cannot tell of ",
    "dies": "until it ends by itself: ",
    "shut out": "alive, and shut out for as long as the endpoint or the isolation stays: ",
}
"""How an entry that has not ended is told, the gravest first."""
NOTHING_LEFT = "nothing that the evidence shows"


@dataclass(frozen=True)
class SimulatedStage:
    """What stands after a stage of a plan. serves: what does not serve, or serves less. attacker: each open entry with its fate."""

    stage: Stage
    serves: tuple[Served, ...]
    attacker: tuple[tuple[OpenEntry, Fate], ...]

    def as_json(self) -> dict[str, Any]:
        """In the form of docs/json.md."""
        fates = [
            {
                "entry": entry.id,
                "kind": entry.kind,
                "key": entry.key,
                "state": fate.state,
                "because": fate.because,
                "until": iso(fate.until),
                "by": list(fate.by),
            }
            for entry, fate in self.attacker
        ]
        return {"stage": self.stage, "serves": [asdict(one) for one in self.serves], "attacker": fates}


@dataclass(frozen=True)
class Simulation:
    """A plan as it was played: its stages that do anything, and what works at the end, for both sides."""

    stages: tuple[SimulatedStage, ...]
    at_end: tuple[tuple[OpenEntry, Fate], ...]
    for_you: str
    for_attacker: str

    @property
    def left_open(self) -> list[tuple[OpenEntry, Fate]]:
        """What has not ended once all is done, with what becomes of it."""
        return [(entry, fate) for entry, fate in self.at_end if fate.state != "ended"]

    @property
    def lines(self) -> tuple[str, str]:
        """What still works, for people."""
        return f"Still works for you: {self.for_you}.", f"Still works for the attacker: {self.for_attacker}."

    @property
    def still_works(self) -> dict[str, str]:
        """What works at the end, in the form of docs/json.md."""
        return {"for_you": self.for_you, "for_attacker": self.for_attacker}

    def as_json(self) -> dict[str, Any]:
        """In the form of docs/json.md."""
        left = [
            {"id": entry.id, "kind": entry.kind, "key": entry.key, "state": fate.state, "says": fate.because, "until": iso(fate.until)}
            for entry, fate in self.left_open
        ]  # fmt: skip
        simulated = [one.as_json() for one in self.stages]
        return {"left_open": left, "simulated": simulated, "still_works": self.still_works}


def fates_after(held: Compromised, entries: Iterable[OpenEntry], done: Iterable[PlannedAction]) -> dict[str, Fate]:
    """What the entries (by id) that had not ended before are good for once some actions are done, in their order: judged as a simulation is."""
    standing = ClusterState(held.store, held.inventory)
    judge, played = StillOpen(held, standing), Played(standing, done)
    return {one.id: judge.fate(one, played) for one in entries if one.state != "ended"}


def simulate(
    held: Compromised, plan: Plan, entries: Iterable[OpenEntry], responder: Responder | None = None
) -> Simulation:
    """Play a plan. entries: the open ones of all incidents; those that have ended before are left out. responder: whoever plans."""
    serving = Serving(held, responder)
    judge = StillOpen(held, serving.standing)
    found = {one.id: one for one in entries if one.state != "ended"}

    def fates(played: Played) -> tuple[tuple[OpenEntry, Fate], ...]:
        return tuple((entry, judge.fate(entry, played)) for entry in found.values())

    stages, done = list[SimulatedStage](), list[PlannedAction]()
    played = Played(serving.standing, done)
    for stage in STAGES:
        of_stage = [one for one in plan.actions if one.stage == stage]
        done += of_stage
        if of_stage:
            played = Played(serving.standing, done)
            stages.append(SimulatedStage(stage, tuple(serving.left(played)), fates(played)))
    at_end = stages[-1].attacker if stages else fates(played)
    by_person = {one.id for one in done if one.by_person}
    return Simulation(tuple(stages), at_end, still_serves(serving, played), _for_attacker(at_end, by_person))


def _for_attacker(fates: tuple[tuple[OpenEntry, Fate], ...], by_person: set[str]) -> str:
    if not fates:
        return "cannot tell: no entry of the evidence shows what the attacker has"
    parts = list[str]()
    for state, words in _IN_WORDS.items():
        named = [_named(entry, fate) for entry, fate in fates if fate.state == state]
        if named:
            parts.append(f"{words}{few(list(dict.fromkeys(named)), _MOST)}")
    people = len({id_ for _, fate in fates for id_ in fate.by} & by_person)
    once = f", once people have done their {counted(people, 'action')}" if people else ""
    return ("; ".join(parts) or NOTHING_LEFT) + once


def _named(entry: OpenEntry, fate: Fate) -> str:
    until = f" until {utc(fate.until)}" if fate.until else ""
    return f"{entry.kind.replace('_', ' ')} {entry.key}{until}"
