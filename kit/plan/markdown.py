"""The plan as Markdown, for a person who reads it at three in the morning: what to stop now, what it comes to, then each action once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from kit.actions.target import noun_of
from kit.plan.first_page import by_workload, kept_before, rows_of_plan
from kit.plan.markdown_text import code, fenced, no_markup
from kit.plan.plan import ASKS_NOBODY, Plan, PlannedAction
from kit.plan.still_open import Fate
from kit.statements.open_entry import OpenEntry
from kit.words import Names, counted, few

_MOST = 3  # names and sentences that are written out
_LINES = 4  # targets of an action, or entries, that have a line of their own
_VANISHING = 6  # sentences about evidence that goes
_COMMANDS = 4  # of a person, that are printed
_FULL = "`kit plan CASE --json` has every target, reason, id and command."


@dataclass(frozen=True)
class ReadWith:
    """What a plan is read with. now: what ends access at once. left: what has not ended once all is done. lines: what still works, in sentences.

    why_empty: why there is nothing to do. name_of: ref → the name that a person knows it by, for what is only looked at.
    marks: what people marked and the plan follows, in sentences. vanishing: evidence that goes by itself, in sentences, what goes first first.
    """

    now: tuple[PlannedAction, ...] = ()
    left: list[tuple[OpenEntry, Fate]] = field(default_factory=list)
    lines: Names = ()
    why_empty: str = ""
    name_of: dict[str, str] = field(default_factory=dict)
    marks: Names = ()
    vanishing: list[str] = field(default_factory=list)


def markdown(plan: Plan, read: ReadWith) -> str:
    """A plan as Markdown; what comes from evidence is escaped."""
    place = f"account {no_markup(plan.account or 'not known')}, region {no_markup(plan.region or 'not known')}, cluster {no_markup(plan.cluster or 'not known')}"
    kits = [one for one in plan.actions if one.by == "kit"]
    people = [one for one in plan.actions if one.by == "person"]
    lines = [
        f"# Plan: {counted(len(plan.actions), 'action')}, {len(kits)} by the kit, {len(people)} by people",
        "",
        f"For {place}. Nothing of it is done yet. The kit takes about {_minutes(kits)}, people {_minutes(people)}.",
        f"Digest `{plan.digest}`",
        "",
        f"`kit preview CASE` tries it, `kit apply CASE --approve DIGEST` does it, `kit undo CASE` takes it back. {_FULL}",
        "",
        *(f"It follows a mark: {no_markup(one)}." for one in read.marks),
        *([""] if read.marks else []),
    ]
    if not plan.actions:
        lines += [f"There is nothing to do, because {read.why_empty}.", ""]
    lines += [*_now(plan, read.now), *_still(read), *_vanishing(read.vanishing), *_summary(plan)]
    listed = set[frozenset[str]]()  # targets whose reasons were given with an action before
    for stage, of_stage in groupby(plan.actions, key=lambda one: one.stage):
        lines += [f"## {stage.capitalize()}", ""]
        for _, group in groupby(of_stage, key=lambda one: (one.action, one.by_person)):
            lines += _action(list(group), listed)
    return "\n".join([*lines, *_left_out(plan), *_review(plan, read.name_of)]).rstrip()


def _minutes(actions: Iterable[PlannedAction]) -> str:
    minutes = sum(one.minutes for one in actions)
    return counted(minutes, "minute") if minutes < 120 else f"{minutes / 60:.0f} hours"


def _now(plan: Plan, now: tuple[PlannedAction, ...]) -> Iterator[str]:
    """What ends access at once, what is kept before, and who does it."""
    if not now:
        return
    yield from ("## Stop it now", "")
    for number, one in enumerate(now, 1):
        who = "a person" if one.by_person else "the kit"
        yield f"{number}. **{one.does}**: {code(one.name)}. By {who}, {counted(one.minutes, 'minute')}. Why: {_reason([one])}. Stops: {_stops([one], 2)}. Undo: {_undo(one)}."
    if kept := kept_before(plan, now):
        yield f"\n{kept}"
    yield ""


def _still(read: ReadWith) -> Iterator[str]:
    """What still works for both sides once all is done, and each entry that has not ended."""
    for line in read.lines:
        who, _, says = line.partition(": ")
        yield from (f"**{who}:** {no_markup(says)}", "")
    for entry, fate in read.left[:_LINES]:
        yield f"* {entry.kind.replace('_', ' ')} {code(entry.key)}: {no_markup(fate.because)}"
    if len(read.left) > _LINES:
        yield f"* and {len(read.left) - _LINES} more: `left_open` of the JSON form has them all"
    if read.left:
        yield ""


def _vanishing(says: list[str]) -> Iterator[str]:
    """Evidence that goes by itself, what goes first first."""
    if says:
        yield from ("## Evidence that goes by itself", "", *(f"* {no_markup(one)}" for one in says[:_VANISHING]))
        if len(says) > _VANISHING:
            yield f"* and {len(says) - _VANISHING} more: `vanishing` of the JSON form has them all"
        yield ""


def _summary(plan: Plan) -> Iterator[str]:
    if not plan.actions:
        return
    yield from ("## What is done", "", "| stage | action | to | why | by | minutes | stops | undo |")
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows_of_plan(plan.actions):
        names = few([code(name, in_table=True) for name in by_workload(row.actions)], _MOST)
        undo = "**no**" if row.is_final else row.undo
        why, stops = _first(map(no_markup, row.why), 1), _first(map(no_markup, row.stops), 1) or "nothing"
        cells = (row.stage, row.actions[0].action, f"{len(row.actions)}: {names}", why, row.who, str(row.minutes))
        yield f"| {' | '.join(cells)} | {stops} | {undo} |"
    yield ""


def _reason(actions: list[PlannedAction]) -> str:
    return _first((no_markup(why["says"]) for one in actions for why in one.why[:1]), 1)


def _first(sentences: Iterator[str] | list[str], most: int) -> str:
    """The first of some sentences, each once, and how many more."""
    unique = list(dict.fromkeys(sentences))
    return "; ".join(unique[:most]) + (f"; {len(unique) - most} more" if len(unique) > most else "")


def _stops(actions: list[PlannedAction], most: int = _MOST) -> str:
    lines = (no_markup(says) for one in actions for says in one.blast_radius if says != "nothing")
    return _first(lines, most) or "nothing"


def _undo(one: PlannedAction) -> str:
    return one.undo or f"**cannot be undone**, {one.cannot_undo}"


def _action(actions: list[PlannedAction], listed: set[frozenset[str]]) -> Iterator[str]:
    """One kind of action: what holds for all targets in a line, then a line for each workload, then the commands.

    listed: sets of targets that an action before was on; they are in one line, without their reasons.
    """
    one = actions[0]
    yield f"### {one.action}: {one.does}"
    said = [f"before: {one.precondition}" if one.precondition else "", f"undo: {_undo(one)}"]
    if one.by_person:
        said.insert(0, f"**for a person**: {no_markup(one.by_person)}")
    if one.stage != "freeze":
        warnings = dict.fromkeys(text for each in actions for text in each.when_not[:1] if text != ASKS_NOBODY)
        said += [f"not: {warning}" for warning in list(warnings)[:_MOST]]
    yield f"* {'; '.join(filter(None, said))}"
    targets = frozenset(each.target for each in actions)
    known = len(actions) > 1 and targets in listed
    listed.add(targets)
    groups = [("", actions)] if known else list(by_workload(actions).items())
    for name, group in groups[:_LINES]:
        yield _targets(name, group)
    if len(groups) > _LINES:
        rest = [code(name) for name, _ in groups[_LINES:]]
        yield f"* and {len(rest)} more: {', '.join(rest)}"
    yield from _commands(one.by, list(dict.fromkeys(line for each in actions for line in each.command)))
    yield ""


def _commands(by: str, commands: list[str]) -> Iterator[str]:
    """The commands: a person's to copy; of those that the kit does itself the first, to see what it is."""
    if by == "kit":
        more = f" and {len(commands) - 1} more" if len(commands) > 1 else ""
        yield from (f"* as {code(line)}{more}" for line in commands[:1])
    elif commands:
        left = len(commands) - _COMMANDS
        yield from fenced([*commands[:_COMMANDS], *([f"# and {left} more: kit plan CASE --json"] if left > 0 else [])])


def _targets(name: str, group: list[PlannedAction]) -> str:
    """One line for what a person sees as one thing: how many, why, what stops, what is waited for, and the ids that a person gives back."""
    kind = group[0].target.partition(":")[0]
    names = [code(each.name.rpartition("/")[2] if name else each.name) for each in group]
    every = len(names) if kind in ("secret", "reachable", "node") else _MOST
    noun, of = noun_of(kind, len(group)), f", {code(name)}" if name else ""
    line = f"* {noun} {code(name)}" if len(group) == 1 else f"* {len(group)} {noun}{of}: {few(names, every)}"
    reasons = (
        [f"{no_markup(why['says'])} ({code(why['ref'])})" for each in group for why in each.why[:2]] if name else []
    )
    if reasons:
        line += f"; why: {_first(reasons, 2)}"
    if _stops(group) != "nothing":
        line += f"; stops: {_stops(group)}"
    after = [id_.rpartition("-")[0] for each in group for id_ in each.after]
    if after:
        line += f"; after: {', '.join(f'{action} ({after.count(action)})' for action in dict.fromkeys(after))}"
    if group[0].by_person:
        line += f"; id: {few([code(each.id) for each in group], _MOST)}"
    return line


def _left_out(plan: Plan) -> Iterator[str]:
    if not plan.not_possible:
        return
    yield from ("## Not possible, or not planned", "")
    reasons = dict[str, tuple[dict[str, None], dict[str, None]]]()
    for one in plan.not_possible:
        actions, names = reasons.setdefault(one["says"], ({}, {}))
        actions[one["action"]], names[one["name"]] = None, None
    for says, (actions, names) in reasons.items():
        yield f"* {', '.join(actions)} of {few([code(name) for name in names], _MOST)}: {no_markup(says)}"
    yield ""


def _review(plan: Plan, name_of: dict[str, str]) -> Iterator[str]:
    if not plan.review:
        return
    yield from ("## To be looked at", "")
    yield f"{counted(len(plan.review), 'subject')} may be affected, or only exposed; nothing is planned for them (`kit scope CASE` has the reasons):"
    yield ""
    for kind, refs in groupby(plan.review, key=lambda ref: ref.partition(":")[0]):
        names = sorted({name_of.get(ref, ref.partition(":")[2]) for ref in refs})
        yield f"* {kind.replace('_', ' ')}: {', '.join(code(name) for name in names)}"
