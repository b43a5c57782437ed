"""A plan as frames, for people: what is done, an action a row, how much of it in each stage, what it ends, and what stands after each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kit.actions.action import STAGES
from kit.case.frames import typed
from kit.case.plan_json import JoinedPlan, OpenIncident
from kit.plan.compromised import Compromised
from kit.plan.plan import Plan, PlannedAction
from kit.plan.planner import make_plan
from kit.plan.responder import Responder, responder_of
from kit.plan.simulate import Simulation, fates_after, simulate
from kit.plan.still_open import Fate
from kit.plan.targets import Targets
from kit.scope.scope import Scope
from kit.statements.vanishing import Vanishing, vanishing
from kit.words import Names, iso

if TYPE_CHECKING:
    import pandas as pd


class PlanFrames:
    """A plan. `actions`, `stages`, `ends` and `simulated` are frames; `plan` is the plan itself, whose digest is approved."""

    def __init__(
        self,
        plan: Plan,
        held: Compromised,
        incidents: Callable[[], list[OpenIncident]],
        responder: Responder | None = None,
    ) -> None:
        self.plan, self._held, self._incidents, self._responder = plan, held, incidents, responder

    @cached_property
    def joined(self) -> JoinedPlan:
        """The plan with what is open of the case's incidents."""
        return JoinedPlan(self.plan, self._incidents())

    @cached_property
    def vanishing(self) -> list[Vanishing]:
        """Evidence of the case's incidents that goes by itself, what goes first first."""
        scope = self._held.scope
        every = [one for each in self.joined.incidents for one in vanishing(each.incident, scope)]
        timed = sorted((one for one in every if one.lost_at), key=lambda one: str(one.lost_at))
        return list(dict.fromkeys([*timed, *(one for one in every if not one.lost_at)]))

    @cached_property
    def simulation(self) -> Simulation:
        """The plan as it was played on the evidence."""
        return simulate(self._held, self.plan, self.joined.entries, self._responder)

    def fates(self, done: Iterable[PlannedAction]) -> dict[str, Fate]:
        """What each open entry (by id) is good for once these actions are done; none of what the evidence shows to have ended."""
        return fates_after(self._held, self.joined.entries, done)

    @cached_property
    def actions(self) -> pd.DataFrame:
        """The actions in the order in which they are done, one row an action and target."""
        return typed("actions", list(map(_row, self.plan.actions)))

    @cached_property
    def stages(self) -> pd.DataFrame:
        """How much is done in each stage, in their order; stages without an action have no row."""
        rows = []
        for stage in STAGES:
            actions = [one for one in self.plan.actions if one.stage == stage]
            rows.append(
                {
                    "stage": stage,
                    "actions": len(actions),
                    "names": list(dict.fromkeys(one.action for one in actions)),
                    "for_person": sum(bool(one.by_person) for one in actions),
                    "no_undo": sum(bool(one.cannot_undo) for one in actions),
                }
            )
        return typed("stages", [row for row in rows if row["actions"]])

    @cached_property
    def simulated(self) -> pd.DataFrame:
        """What no longer serves after each stage, and what the attacker can still do then: one row a thing."""
        rows = list[dict[str, Any]]()
        for one in self.simulation.stages:
            for served in one.serves:
                state = "before" if served.before else "stopped"
                rows.append({"stage": one.stage, "side": "you", "state": state} | vars(served))
            for entry, fate in one.attacker:
                about = {"stage": one.stage, "side": "attacker", "kind": entry.kind, "key": entry.key}
                rows.append(about | {"state": fate.state, "says": fate.because, "until": iso(fate.until)})
        return typed("simulated", rows)

    @cached_property
    def ends(self) -> pd.DataFrame:
        """What is open and which actions end it, one row an entry and action; an entry that no action ends has one row without."""
        rows = [
            {"entry": entry.id, "kind": entry.kind, "key": entry.key, "state": entry.state, "until": iso(entry.until), "ends_action": id_}
            for entry in self.joined.standing
            for id_ in self.joined.ends_by(entry) or [""]
        ]  # fmt: skip
        return typed("ends", rows)

    def __repr__(self) -> str:
        of_stages = (f"{row['actions']} {row['stage']}" for row in self.stages.to_dict("records"))
        return f"<Plan {self.plan.digest[:12]}: {', '.join(of_stages) or 'nothing to do'}>"


def planned_for(
    named: str,
    scope: Scope,
    targets: Targets,
    only: Names,
    without: Names,
    incidents: Callable[[], list[OpenIncident]],
) -> PlanFrames:
    """The plan of a scope. named: ARN or user name of whoever responds, "" where nobody said. Raises CallError."""
    responder = responder_of(targets.held, named) if named else None
    return PlanFrames(make_plan(scope, targets, only, without, responder), targets.held, incidents, responder)


def _row(action: PlannedAction) -> dict[str, Any]:
    why = {"why": "; ".join(dict.fromkeys(one["says"] for one in action.why))}
    refs = list(dict.fromkeys(one["ref"] for one in action.why))
    return vars(action) | why | {"why_refs": refs, "waits_for": action.after}
