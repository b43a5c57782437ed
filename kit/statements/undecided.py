"""Calls of an incident that may be the attacker's and may be the victim's: who made them from where, what they did, and what to ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kit.model.identity import ANONYMOUS, NODE, SERVICE_ACCOUNT
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.moments import Actor, Moment, Moments, all_done, spoken
from kit.words import counted

MOST_REFS = 50


@dataclass(frozen=True)
class Undecided:
    """Calls of one caller from one address with one client. times: of each call, oldest first. because: why nobody can tell."""

    actor: Actor
    user_agent: str | None
    times: tuple[datetime, ...]
    refs: tuple[str, ...]
    objects: tuple[tuple[str, str], ...]
    did: str
    because: str

    @property
    def says(self) -> str:
        """Who did what, and when, in one sentence."""
        first, last = self.times[0], self.times[-1]
        until = f" to {last:%H:%M:%S}" if f"{last:%H:%M:%S}" != f"{first:%H:%M:%S}" else ""
        return f"{counted(len(self.times), 'call')} may be the attacker's, {first:%H:%M:%S}{until} UTC: {self.actor.says}: {self.did}."

    @property
    def ask(self) -> str:
        """What a person has to be asked."""
        name, address = self.actor.name, self.actor.address
        calls = "this call" if len(self.times) == 1 else "these calls"
        client = f" with {self.user_agent.split()[0]}" if self.user_agent and self.user_agent.split() else ""
        if name == ANONYMOUS:
            return f"Does a probe or a scanner of yours call from {address} without a credential?"
        if name.startswith((SERVICE_ACCOUNT, NODE)):
            return f"Does something of yours at {address} make {calls}{client}, by {spoken(name)}?"
        return f"Did {name} make {calls}, from {address}{client}?"


def undecided_calls(incident: Incident, scope: Scope, moments: Moments) -> list[Undecided]:
    """The calls that may be the attacker's, by who made them, those that changed or took most first."""
    wanted = {audit_id for one in incident.scopes for audit_id in one.possible_calls}
    known = {event["audit_id"] for event in incident.calls}
    events = [call for call in scope.attacker.possible.values() if call.event["audit_id"] in wanted - known]
    scope.deeds.read_bodies([call.event for call in events])
    groups = dict[tuple[Actor, str | None], dict[str, tuple[Moment, str]]]()
    for call in events:
        moment = moments.of_call(call.event)
        group = groups.setdefault((moment.actor, call.event["user_agent"]), {})
        if moment.ref not in group or (moment.objects and not group[moment.ref][0].objects):
            group[moment.ref] = moment, call.because  # a long request has one event a stage
    made = [
        _group(actor, agent, [one for one, _ in group.values()], [because for _, because in group.values()])
        for (actor, agent), group in groups.items()
    ]
    return sorted(made, key=lambda one: (-len(one.objects), -len(one.times), one.times[0], one.says))


def _group(actor: Actor, agent: str | None, moments: list[Moment], reasons: list[str]) -> Undecided:
    every = sorted(moments, key=lambda one: (one.kind in ("looked", "tried"), one.at, one.ref))
    objects = dict.fromkeys(place for one in every for place in one.objects)
    times, refs = sorted(one.at for one in every), [one.ref for one in every[:MOST_REFS]]
    return Undecided(
        actor, agent, tuple(times), tuple(refs), tuple(objects), all_done(every), "; ".join(dict.fromkeys(reasons))
    )
