"""The first page of a plan, for Markdown and the report alike: what, why, who, minutes, what stops, undo; and what a person sees as one thing."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from kit.actions.action import Stage
from kit.actions.registry import ACTIONS
from kit.model.kubernetes import workload_pattern
from kit.plan.plan import Plan, PlannedAction
from kit.words import counted


class FirstPageRow(NamedTuple):
    """One kind of action of a stage by those who do it. why, stops: each once. undo: in a word. is_final: whether there is none."""

    stage: Stage
    actions: list[PlannedAction]
    why: list[str]
    who: str
    minutes: int
    stops: list[str]
    undo: str
    is_final: bool


def row_of(actions: list[PlannedAction]) -> FirstPageRow:
    """Actions of one kind and stage in a row."""
    one = actions[0]
    why = dict.fromkeys(why["says"] for each in actions for why in each.why[:1])
    stops = dict.fromkeys(says for each in actions for says in each.blast_radius if says != "nothing")
    undo = "no" if one.cannot_undo else "nothing to undo" if ACTIONS[one.action].reads_only else "yes"
    who, minutes = "a person" if one.by_person else "the kit", sum(each.minutes for each in actions)
    return FirstPageRow(one.stage, actions, list(why), who, minutes, list(stops), undo, bool(one.cannot_undo))


def rows_of_plan(actions: Iterable[PlannedAction]) -> list[FirstPageRow]:
    """A row a stage, action and who does it, in the plan's order."""
    grouped = groupby(actions, key=lambda one: (one.stage, one.action, bool(one.by_person)))
    return [row_of(list(group)) for _, group in grouped]


def kept_before(plan: Plan, now: Iterable[PlannedAction]) -> str:
    """What the kit keeps before what ends access at once, in a sentence; "" where that destroys nothing."""
    waited = {id_ for one in now for id_ in one.after}
    kept = [one.action for one in plan.actions if one.id in waited and one.stage == "freeze"]
    if not kept:
        return ""
    counts = ", ".join(f"{name} ({kept.count(name)})" for name in dict.fromkeys(kept))
    return f"Before that, in about {counted(len(kept), 'minute')}, the kit keeps what these destroy: {counts}."


def by_workload(actions: Iterable[PlannedAction]) -> dict[str, list[PlannedAction]]:
    """The actions by what a person sees as one thing: pods by their workload, secrets by their namespace."""
    found = dict[str, list[PlannedAction]]()
    for one in actions:
        kind = one.target.partition(":")[0]
        name = one.name
        if kind == "pod" or one.target.startswith("created:pods/"):
            name = workload_pattern(name)
        elif kind in ("secret", "reachable"):
            name = f"{name.partition('/')[0]}/…"
        found.setdefault(name, []).append(one)
    return {(each[0].name if len(each) == 1 else name): each for name, each in found.items()}
