"""A plan joined with the open entries of all incidents: what it ends and what comes now; and its JSON form (docs/json.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import zip_longest
from typing import Any

from kit.plan.ending import SIGN_IN_KINDS, Ending, is_ended_by
from kit.plan.plan import Plan, PlannedAction
from kit.plan.saved import plan_contract
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.open_entries import OpenEntries
from kit.statements.open_entry import ROTATED, OpenEntry
from kit.statements.opening import disposition_of, expected_if

MOST_NOW = 5
_NOW_STAGES = ("freeze", "contain", "revoke")
_WEBHOOKS = ("mutatingwebhookconfigurations/", "validatingwebhookconfigurations/")


class OpenIncident:
    """An incident with what is open of it, and whether it is one at all. marked: finding → what a person said of it."""

    def __init__(self, incident: Incident, scope: Scope, open_entries: OpenEntries, marked: Mapping[str, str]) -> None:
        self.incident = incident
        self._scope, self._open_entries, self._marked = scope, open_entries, marked

    @cached_property
    def entries(self) -> list[OpenEntry]:
        """What gives the attacker something, or gave it."""
        return self._open_entries.of(self.incident)

    @cached_property
    def standing(self) -> list[OpenEntry]:
        """The entries that have not ended, as far as can be told."""
        return [one for one in self.entries if one.state != "ended"]

    @cached_property
    def doubts(self) -> list[Any]:
        """What would make it a false alarm."""
        return expected_if(self.incident, self._scope)

    @cached_property
    def disposition(self) -> str:
        """Hostile, expected, or cannot tell."""
        return disposition_of(self.incident, self._marked, self.doubts)

    @property
    def leans(self) -> bool:
        """Whether it is expected, or something in the evidence speaks for that: nothing is stopped before somebody was asked."""
        return self.disposition == "expected" or any(one.holds for one in self.doubts)


def open_incidents(scope: Scope, incidents: Iterable[Incident], marked: Mapping[str, str]) -> list[OpenIncident]:
    """The incidents of a case, each with what is open of it."""
    entries = OpenEntries(scope)
    return [OpenIncident(one, scope, entries, marked) for one in incidents]


class JoinedPlan:
    """A plan and the open entries of the case's incidents."""

    def __init__(self, plan: Plan, incidents: list[OpenIncident]) -> None:
        self.plan, self.incidents = plan, incidents
        self.ending = Ending(plan.actions)
        self._of_id = {one.id: one for one in plan.actions}

    @cached_property
    def standing(self) -> list[OpenEntry]:
        """What is open over all incidents, each entry once."""
        return list({one.id: one for each in self.incidents for one in each.standing}.values())

    @property
    def entries(self) -> list[OpenEntry]:
        """What is or was open over all incidents."""
        return [one for each in self.incidents for one in each.entries]

    @cached_property
    def ends(self) -> dict[str, list[str]]:
        """Action → the open entries that it ends, or a part of them."""
        found: dict[str, list[str]] = {one.id: [] for one in self.plan.actions}
        for entry in self.standing:
            for one in self.ending.of(entry):
                found[one.id].append(entry.id)
        return found

    @cached_property
    def unended(self) -> list[OpenEntry]:
        """What no action of the plan ends, or not all of it."""
        return [one for one in self.standing if not is_ended_by(one, self.ending.of(one))]

    def ends_by(self, entry: OpenEntry) -> list[str]:
        """The ids of the actions that end an entry, or a part of it."""
        return [one.id for one in self.ending.of(entry)]

    @cached_property
    def now(self) -> tuple[PlannedAction, ...]:
        """At most five actions that end access at once, in the plan's order. Each incident has its first before one has its second.

        What an action destroys is kept before: the actions of stage freeze that it waits for come first, and are not counted.
        """
        wanted = [self.ending_at_once(one) for one in self.incidents if not one.leans]
        chosen = dict[str, PlannedAction]()
        for of_turn in zip_longest(*wanted):
            for one in (each for each in of_turn if each):
                needed = [each for each in (*self.before(one), one) if each.id not in chosen]
                if len(chosen) + len(needed) <= MOST_NOW:
                    chosen |= {each.id: each for each in needed}
        return tuple(one for one in self.plan.actions if one.id in chosen)

    def ending_at_once(self, incident: OpenIncident) -> list[PlannedAction]:
        """The actions that end an incident's open entries at once, credentials first, those that end most before others."""
        ended = dict[str, list[OpenEntry]]()
        for entry in (each for each in incident.standing if each.kind not in ROTATED):
            ending = [one for one in self.ending.of(entry) if self._is_at_once(one)]
            by_kit = [one for one in ending if not one.by_person]
            # What only a person does shuts out others too, or waits for somebody: it comes where nothing else ends the entry.
            for one in by_kit or ending:
                ended.setdefault(one.id, []).append(entry)
        places = {one.id: number for number, one in enumerate(self.plan.actions)}

        def weight(id_: str) -> tuple[int, bool, int, int]:
            entries = ended[id_]
            return (
                min(map(_weight, entries)),
                bool(self._of_id[id_].by_person),
                -len([one for one in entries if one.state == "usable"]),
                places[id_],
            )

        return [self._of_id[id_] for id_ in sorted(ended, key=weight)]

    def _is_at_once(self, one: PlannedAction) -> bool:
        """Whether an action cuts off, and waits for nothing that takes long or that a person does."""
        waits = [self._of_id[id_] for id_ in one.after if id_ in self._of_id]
        return one.stage in _NOW_STAGES and all(
            each.stage == "freeze" or (not each.by_person and self._is_at_once(each)) for each in waits
        )

    def before(self, one: PlannedAction) -> Iterator[PlannedAction]:
        """What has to be done before an action, other than keeping evidence."""
        for id_ in one.after:
            each = self._of_id.get(id_)
            if each and each.stage != "freeze":
                yield from self.before(each)
                yield each

    def why_empty(self, is_chosen: bool) -> str:
        """Why there may be nothing to do. is_chosen: whether actions were left out by name."""
        if is_chosen:
            return "the chosen stages and actions have nothing to act on here"
        if not self.incidents:
            return "the case has no finding, or its findings are samples or about other clusters"
        if all(one.disposition == "expected" for one in self.incidents):
            return "every finding is marked as expected"
        return "nothing that the attacker touched or made is known to stand"

    def contract(self, case: str) -> dict[str, Any]:
        """The plan as JSON-ready data, with what it ends."""
        made, now = plan_contract(case, self.plan), {one.id for one in self.now}
        actions = [
            said | {"now": one.id in now, "ends": self.ends[one.id], "minutes": one.minutes, "by": one.by}
            for said, one in zip(made["actions"], self.plan.actions, strict=True)
        ]
        return made | {"actions": actions}


def _weight(entry: OpenEntry) -> int:
    """Webhooks first, for they change or refuse what follows; then what signs somebody in, what lets somebody in, and the rest."""
    if entry.kind == "created" and entry.key.startswith(_WEBHOOKS):
        return 0
    if entry.kind in SIGN_IN_KINDS:
        return 1 if entry.state == "usable" else 3
    return 2 if entry.kind == "let_in" else 4
