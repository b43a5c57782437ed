"""The plan as Markdown, for a person who reads it at three in the morning: first what it comes to, then each action once with its targets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from kit.actions.registry import ACTIONS
from kit.plan.plan import ASKS_NOBODY, Plan, PlannedAction
from kit.words import Names, counted, few

_MOST = 3  # names and sentences that are written out


def markdown(plan: Plan, name_of: dict[str, str], marks: Names = (), simulated: Names = ()) -> str:
    """A plan as Markdown. name_of: ref → the name that a person knows it by, for what is only looked at. marks: what people marked and the
    plan follows, in sentences. simulated: what still works once all is done, in sentences. Text from evidence is as it is."""
    place = f"account {plan.account or 'not known'}, region {plan.region or 'not known'}, cluster {plan.cluster or 'not known'}"
    kits = sum(not one.by_person for one in plan.actions)
    lines = [
        f"# Plan: {counted(len(plan.actions), 'action')}, {kits} by the kit, {len(plan.actions) - kits} by people",
        "",
        f"For {place}.",
        f"Digest `{plan.digest}`",
        "",
        "Nothing of it is done yet. `kit preview CASE` tries it, `kit apply CASE --approve DIGEST` does it, `kit undo CASE` takes it back.",
        "",
        *(f"It follows a mark: {one}." for one in marks),
        *([""] if marks else []),
        *(part for line in simulated for part in (f"**{line.partition(': ')[0]}:** {line.partition(': ')[2]}", "")),
        *_summary(plan),
    ]
    number = 0
    for stage, of_stage in groupby(plan.actions, key=lambda one: one.stage):
        lines += [f"## {stage.capitalize()}", ""]
        for _, group in groupby(of_stage, key=lambda one: (one.action, one.by_person)):
            actions = list(group)
            lines += _action(actions, number)
            number += len(actions)
    return "\n".join([*lines, *_left_out(plan), *_review(plan, name_of)]).rstrip()


def _summary(plan: Plan) -> Iterator[str]:
    if not plan.actions:
        return
    yield from ("| stage | action | targets | by | undo |", "|---|---|---|---|---|")
    for (stage, action, person), group in groupby(
        plan.actions, key=lambda one: (one.stage, one.action, bool(one.by_person))
    ):
        actions = list(group)
        names = few([_cell(one.name) for one in actions], _MOST)
        undo = (
            "**cannot be undone**"
            if actions[0].cannot_undo
            else "nothing to undo"
            if ACTIONS[action].reads_only
            else "yes"
        )
        yield f"| {stage} | {action} | {len(actions)}: {names} | {'a person' if person else 'the kit'} | {undo} |"
    yield ""


def _action(actions: list[PlannedAction], number: int) -> Iterator[str]:
    one = actions[0]
    yield from (f"### {one.action}: {one.does}", "")
    if one.by_person:
        yield f"* **for a person**: {one.by_person}"
    yield f"* before: {one.precondition}"
    yield f"* undo: {one.undo}" if one.undo else f"* **cannot be undone**: {one.cannot_undo}"
    warnings = (
        dict.fromkeys(warning for each in actions for warning in each.when_not[:1] if warning != ASKS_NOBODY)
        if one.stage != "freeze"
        else {}
    )
    yield from (f"* not: {warning}" for warning in list(warnings)[:_MOST])
    yield ""
    for place, each in enumerate(actions, number + 1):
        kind = each.target.partition(":")[0].replace("_", " ")
        yield f"{place}. {kind} `{each.name}` (`{each.id}`)"
        yield from (f"   * why: {why['says']} (`{why['ref']}`)" for why in each.why[:2])
        yield from (f"   * stops: {says}" for says in each.blast_radius if says != "nothing")
        if each.after:
            yield f"   * after: {few([f'`{id_}`' for id_ in each.after], _MOST)}"
    yield ""
    commands = dict.fromkeys(command for each in actions for command in each.command)
    if commands:
        yield from ("```sh", *commands, "```", "")


def _left_out(plan: Plan) -> Iterator[str]:
    if not plan.not_possible:
        return
    yield from ("## Not possible, or not planned", "")
    reasons = dict[str, tuple[dict[str, None], dict[str, None]]]()
    for one in plan.not_possible:
        actions, names = reasons.setdefault(one["says"], ({}, {}))
        actions[one["action"]], names[one["name"]] = None, None
    for says, (actions, names) in reasons.items():
        yield f"* {', '.join(actions)} of {few([f'`{name}`' for name in names], _MOST)}: {says}"
    yield ""


def _review(plan: Plan, name_of: dict[str, str]) -> Iterator[str]:
    if not plan.review:
        return
    yield from ("## To be looked at", "")
    yield f"{counted(len(plan.review), 'subject')} may be affected, or only exposed; nothing is planned for them (`kit scope CASE` has the reasons):"
    yield ""
    for kind, refs in groupby(plan.review, key=lambda ref: ref.partition(":")[0]):
        names = sorted({name_of.get(ref, ref.partition(":")[2]) for ref in refs})
        yield f"* {kind.replace('_', ' ')}: {', '.join(f'`{name}`' for name in names)}"


def _cell(text: str) -> str:
    """Text within a cell of a table: no bar and no line break of the evidence ends it."""
    return text.replace("|", "\\|").replace("\n", " ")
