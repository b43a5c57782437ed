"""What notebooks show of what is to be done, the plan's actions by stage with their commands, and of what was done, by the journal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from markupsafe import Markup

from kit.actions.registry import ACTIONS
from kit.case.case import Case
from kit.plan.first_page import FirstPageRow, by_workload, kept_before, row_of, rows_of_plan
from kit.plan.journal import done_so_far
from kit.plan.plan import Plan, PlannedAction
from kit.show import cited as evidence_of
from kit.show.figures import HEADLESS
from kit.show.html_table import Shown, clock, fold, safe
from kit.show.words import pill, short_names, with_code
from kit.store.notes import open_notes
from kit.words import Names, counted, few

_MOST_COMMANDS = 60


def steps(case: Case, *kinds: str) -> Shown:
    """The plan's actions by stage and workload, in the order in which they are taken, after a first page of what to stop now and what it comes to.

    kinds: only those that are done to these kinds of subjects, without the first page.
    """
    frames = case.plan()
    plan = frames.plan
    wanted = {one.name for one in ACTIONS.values() if not kinds or set(one.kinds) & set(kinds)}
    shown = [one for one in plan.actions if one.action in wanted]
    left_out = [one for one in plan.not_possible if one["action"] in wanted]
    if not shown and not left_out:
        says = "The plan has nothing about these." if kinds else "The plan has no action."
        return Shown(Markup("<p>{}</p>").format(says), "no steps")
    if kinds and os.environ.get(HEADLESS):  # a report has the plan once
        says = Markup('<p>{} of <a href="#The-plan">the plan</a>: {}.</p>')
        return Shown(says.format(counted(len(shown), "action"), safe(_named(shown))), counted(len(shown), "action"))
    parts = []
    for stage, of_stage in groupby(shown, key=lambda one: one.stage):
        groups = groupby(of_stage, key=lambda one: (one.action, one.by_person))
        listed = [_action(list(group)) for _, group in groups]
        inside = Markup("<ol>{}</ol>").format(Markup("").join(listed))
        parts.append(
            fold(f"{stage.capitalize()}: {counted(len(listed), 'kind')} of action, with commands", inside, bool(kinds))
        )
    lead = Markup(
        "<p>Of the plan with the digest <code>{}</code>. Read each command before you type it; words in capitals are for you to fill in. <code>kit preview</code> tries the plan, <code>kit apply</code> does what was approved, <code>kit undo</code> takes it back.</p>"
    ).format(plan.digest)
    reasons = dict[str, dict[str, None]]()
    for one in left_out:
        reasons.setdefault(f"{one['says']}", {})[f"{one['action']} of {one['name']}"] = None
    not_done = Markup("").join(
        (Markup("<li>{}: {}</li>").format(safe(few(list(what), 3)), safe(says)) for says, what in reasons.items())
    )
    rest = fold("Not possible, or not planned", Markup("<ul>{}</ul>").format(not_done)) if not_done else ""
    first = Markup("") if kinds else _first_page(plan, frames.joined.now, frames.simulation.lines)
    return Shown(lead + first + Markup("").join(parts) + rest, counted(len(shown), "action"))


def _named(actions: list[PlannedAction]) -> str:
    """Each action by its name, with how many of it."""
    number = Counter(one.action for one in actions)
    return ", ".join(f"{name} ({many})" for name, many in number.items()) or "none"


def _first_page(plan: Plan, now: Iterable[PlannedAction], lines: Names) -> Markup:
    """What ends access at once, what still works for both sides once all is done, and what the plan comes to, each kind of action in a row."""
    parts = list[Markup]()
    urgent = [row_of([one]) for one in now]
    if urgent:
        parts += [Markup("<h3>Stop it now</h3>{}").format(_urgent(urgent))]
        parts += [Markup("<p>{}</p>").format(safe(says)) for says in [kept_before(plan, now)] if says]
    for line in lines:
        who, _, says = line.partition(": ")
        parts.append(Markup("<p><b>{}:</b> {}</p>").format(safe(who), safe(short_names(says))))
    parts.append(Markup("<h3>What is done</h3>{}").format(_overview(rows_of_plan(plan.actions))))
    return Markup("").join(parts)


def _urgent(rows: list[FirstPageRow]) -> Markup:
    """What ends access now, each with its reason and what it stops."""
    body = list[list[Markup]]()
    for row in rows:
        cells = [_cell(safe(row.actions[0].does)), _cell(_targets(row)), _cell(safe(_first(row.why)))]
        body.append([*cells, *_of_whom(row), _cell(safe(_first(row.stops) or "nothing")), _undo(row)])
    return Markup('<div class="urgent">{}</div>').format(
        _table(("What", "To", "Why", "Who", "Minutes", "Stops", "Undo"), body)
    )


def _overview(rows: list[FirstPageRow]) -> Markup:
    """Each kind of action in a line; its reasons and what stops stand with its commands."""
    names = ("Stage", "What", "To", "Who", "Minutes", "Undo")
    return _table(names, [[_tight(safe(row.stage)), _tight(safe(row.actions[0].action)), _cell(_targets(row)), *_of_whom(row), _undo(row)] for row in rows])  # fmt: skip


def _table(names: Names, rows: list[list[Markup]]) -> Markup:
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in names)
    body = Markup("").join(Markup("<tr>{}</tr>").format(Markup("").join(row)) for row in rows)
    return Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, body
    )


def _targets(row: FirstPageRow) -> Markup:
    number = Markup("{:,}: ").format(len(row.actions)) if len(row.actions) > 1 else ""
    return Markup("{}{}").format(number, safe(short_names(few(list(by_workload(row.actions)), 2)), 120))


def _of_whom(row: FirstPageRow) -> list[Markup]:
    return [_tight(safe(row.who)), _tight(safe(row.minutes))]


def _undo(row: FirstPageRow) -> Markup:
    return _tight(pill("no", "cannot") if row.is_final else safe(row.undo))


def _cell(text: Markup) -> Markup:
    return Markup("<td>{}</td>").format(text)


def _tight(text: Markup) -> Markup:
    return Markup('<td class="tight">{}</td>').format(text)


def _first(sentences: list[str]) -> str:
    """The first of some sentences, with its names in short, and how many more there are."""
    more = f"; {len(sentences) - 1:,} more" if sentences[1:] else ""
    return f"{short_names(sentences[0])}{more}" if sentences else ""


def _groups(actions: list[PlannedAction]) -> Markup:
    """The targets by workload, each with its reasons, what stops and what is waited for."""
    listed = list[Markup]()
    for name, group in by_workload(actions).items():
        row = row_of(group)
        after = [id_.rpartition("-")[0] for each in group for id_ in each.after]
        waits = ", ".join(f"{action} ({after.count(action)})" for action in dict.fromkeys(after))
        names = "" if len(group) == 1 else f" ({few([each.name.rpartition('/')[2] for each in group], 3)})"
        parts = [f"why: {few(row.why, 2)}" if row.why else "", f"stops: {few(row.stops, 2)}" if row.stops else ""]
        parts += [f"after: {waits}" if waits else "", f"id: {few([each.id for each in group], 3)}"]
        kind = group[0].target.partition(":")[0].replace("_", " ")
        said = Markup("; ").join(safe(part) for part in parts if part)
        what = Markup("{} <code>{}</code>{}").format(safe(counted(len(group), kind)), safe(name), safe(names))
        listed.append(Markup("<li>{}; {}</li>").format(what, said))
    return Markup("<ul>{}</ul>").format(Markup("").join(listed))


def _action(actions: list[PlannedAction]) -> Markup:
    one = actions[0]
    undo = (
        Markup("Undo: {}").format(with_code(one.undo))
        if one.undo
        else Markup("{} {}").format(pill("cannot be undone", "cannot"), with_code(one.cannot_undo))
    )
    stops = dict.fromkeys(says for each in actions for says in each.blast_radius)
    not_if = Markup("").join(
        Markup("<li>{}</li>").format(with_code(says))
        for says in dict.fromkeys(says for each in actions for says in each.when_not)
    )
    lines = [line for each in actions for line in each.command]
    commands = Markup("").join(Markup("<code>{}</code><br>").format(safe(line)) for line in lines[:_MOST_COMMANDS])
    more = len(lines) - _MOST_COMMANDS
    rest = Markup("<p>{:,} more: <code>kit plan CASE</code> has them all.</p>").format(more) if more > 0 else ""
    person = Markup(" {} {}.").format(pill("for a person", "quiet"), safe(one.by_person)) if one.by_person else ""
    return Markup("<li><b>{}</b> ({:,}: {}).{} Before: {}. {}.{}{}{}{}</li>").format(
        safe(one.does),
        len(actions),
        safe(few(list(by_workload(actions)), 3)),
        person,
        safe(one.precondition),
        undo,
        fold("Targets by workload", _groups(actions)),
        fold("What stops", Markup("").join(Markup("<p>{}</p>").format(safe(says)) for says in stops)),
        fold("When not", Markup("<ul>{}</ul>").format(not_if)),
        fold(counted(len(lines), "command"), Markup("<p>{}</p>{}").format(commands, rest)) if lines else "",
    )


def done(case: Case) -> Shown:
    """What was done about the case, by its journal, whose chain is checked; its last hash proves that nothing was changed since."""
    said, head = done_so_far(case.path)
    if not said:
        return Shown(Markup("<p>Nothing was done through the kit.</p>{}").format(_noted(case)), "nothing was done")
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>").format(
            safe(one["stage"]), safe(one["action"]), safe(one["name"]), safe(one["state"]), safe(_checked(one["check"]))
        )
        for one in said
    )
    head_row = Markup("").join(
        Markup("<th>{}</th>").format(name) for name in ("Stage", "Action", "Target", "State", "Last check")
    )
    lead = Markup("<p>{}. Last hash of the journal: <code>{}</code></p>").format(counted(len(said), "action"), head)
    shown = Markup("{}<table><tr>{}</tr>{}</table>{}").format(lead, head_row, rows, _noted(case))
    return Shown(shown, counted(len(said), "action"))


def _noted(case: Case) -> Markup:
    """The decisions and questions that people wrote down, the open ones marked."""
    still_open = {number for number, _ in open_notes(case.notes)}
    listed = Markup("").join(
        Markup("<li>{} {} {}{}</li>").format(
            clock(one.at),
            pill("open", "possible") if number in still_open else "",
            safe(one.text, 400),
            safe(f", {one.owner}" if one.owner else "") + _about(case, one.ref),
        )
        for number, one in enumerate(case.notes, 1)
    )
    return Markup("<h3>Notes</h3><ol>{}</ol>").format(listed) if listed else Markup("")


def _about(case: Case, ref: str) -> Markup:
    """What a note is about: a piece of evidence with a link to it, or another note."""
    return Markup(", about {}").format(evidence_of.link(case, ref)) if ref else Markup("")


def _checked(check: dict[str, str] | None) -> str:
    return f"{check['word']}: {check['says']}" if check else ""
