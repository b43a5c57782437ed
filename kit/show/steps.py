"""What notebooks show of what is to be done, the plan's actions by stage with their commands, and of what was done, by the journal."""

from __future__ import annotations

from itertools import groupby

from kit.actions.registry import ACTIONS
from kit.case.case import Case
from kit.plan.journal import done_so_far
from kit.plan.plan import PlannedAction
from kit.show.html_table import Shown, fold, safe
from kit.show.words import pill, with_code
from kit.words import counted, few

_MOST_COMMANDS = 60


def steps(case: Case, *kinds: str) -> Shown:
    """The plan's actions, in the order in which they are taken. kinds: only those that are done to these kinds of subjects."""
    plan = case.plan()
    wanted = {one.name for one in ACTIONS.values() if not kinds or set(one.kinds) & set(kinds)}
    shown = [one for one in plan.actions if one.action in wanted]
    left_out = [one for one in plan.not_possible if one["action"] in wanted]
    if not shown and not left_out:
        return Shown("<p>The plan has nothing about these.</p>", "no steps")
    parts = []
    for stage, of_stage in groupby(shown, key=lambda one: one.stage):
        groups = groupby(of_stage, key=lambda one: (one.action, one.by_person))
        listed = "".join(_action(list(group)) for _, group in groups)
        parts.append(f"<h4>{stage.capitalize()}</h4><ol>{listed}</ol>")
    lead = (
        f"<p>Of the plan with the digest <code>{plan.digest}</code>. Read each command before you type it; words in capitals are for you to fill"
        " in. <code>kit preview</code> tries the plan, <code>kit apply</code> does what was approved, <code>kit undo</code> takes it back.</p>"
    )
    reasons = dict[str, dict[str, None]]()
    for one in left_out:
        reasons.setdefault(f"{one['says']}", {})[f"{one['action']} of {one['name']}"] = None
    not_done = "".join(f"<li>{safe(few(list(what), 3))}: {safe(says)}</li>" for says, what in reasons.items())
    rest = fold("Not possible, or not planned", f"<ul>{not_done}</ul>") if not_done else ""
    return Shown(lead + "".join(parts) + rest, counted(len(shown), "action"))


def _action(actions: list[PlannedAction]) -> str:
    one = actions[0]
    undo = (
        f"Undo: {with_code(one.undo)}"
        if one.undo
        else f"{pill('cannot be undone', 'cannot')} {with_code(one.cannot_undo)}"
    )
    stops = dict.fromkeys(says for each in actions for says in each.blast_radius)
    not_if = "".join(
        f"<li>{with_code(says)}</li>" for says in dict.fromkeys(says for each in actions for says in each.when_not)
    )
    lines = [line for each in actions for line in each.command]
    commands = "".join(f"<code>{safe(line)}</code><br>" for line in lines[:_MOST_COMMANDS])
    more = len(lines) - _MOST_COMMANDS
    rest = f"<p>{more:,} more: <code>kit plan CASE</code> has them all.</p>" if more > 0 else ""
    person = f" {pill('for a person', 'quiet')} {safe(one.by_person)}." if one.by_person else ""
    return (
        f"<li><b>{safe(one.does)}</b> ({len(actions):,}: {safe(few([each.name for each in actions], 3))}).{person}"
        f" Before: {safe(one.precondition)}. {undo}."
        f"{fold('What stops', ''.join(f'<p>{safe(says)}</p>' for says in stops))}{fold('When not', f'<ul>{not_if}</ul>')}"
        f"{fold(counted(len(lines), 'command'), f'<p>{commands}</p>{rest}') if lines else ''}</li>"
    )


def done(case: Case) -> Shown:
    """What was done about the case, by its journal, whose chain is checked; its last hash proves that nothing was changed since."""
    said, head = done_so_far(case.path)
    if not said:
        return Shown("<p>Nothing was done through the kit.</p>", "nothing was done")
    rows = "".join(
        f"<tr><td>{safe(one['stage'])}</td><td>{safe(one['action'])}</td><td>{safe(one['name'])}</td><td>{safe(one['state'])}</td>"
        f"<td>{safe(_checked(one['check']))}</td></tr>"
        for one in said
    )
    head_row = "".join(f"<th>{name}</th>" for name in ("stage", "action", "target", "state", "last check"))
    lead = f"<p>{counted(len(said), 'action')}. Last hash of the journal: <code>{head}</code></p>"
    return Shown(f"{lead}<table><tr>{head_row}</tr>{rows}</table>", counted(len(said), "action"))


def _checked(check: dict[str, str] | None) -> str:
    return f"{check['word']}: {check['says']}" if check else ""
