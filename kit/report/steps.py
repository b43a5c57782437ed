"""What notebooks show of actions: the steps of the playbooks, by stage, with when not to take them and the commands for what is affected."""

from __future__ import annotations

from kit.actions import ACTIONS, STAGES, Action
from kit.case import Case
from kit.playbook import playbook_of
from kit.report.html_table import Shown, fold, safe
from kit.report.show import pill, with_code
from kit.words import counted

_MOST_TARGETS = 20


def steps(case: Case, *kinds: str) -> Shown:
    """The actions of the findings' playbooks in the order in which they are taken. kinds: only those for these kinds of subjects."""
    asked = dict[Action, dict[str, None]]()
    for finding_type in case.findings["type"]:
        for do in playbook_of(str(finding_type)).actions:
            asked.setdefault(do.action, {})[do.when_not] = None
    # Several families may want the same; then the register's order holds.
    shown = {one: asked[one] for one in ACTIONS.values() if one in asked and (not kinds or set(one.kinds) & set(kinds))}
    parts = []
    for stage in STAGES:
        listed = "".join(_action(case, one, list(warnings)) for one, warnings in shown.items() if one.stage == stage)
        if listed:
            parts.append(f"<h4>{stage.capitalize()}</h4><ol>{listed}</ol>")
    if not parts:
        return Shown("<p>No step of the playbooks is about these.</p>", "no steps")
    lead = "<p>Nothing of this is done by the kit. Read each command before you type it; words in capitals are for you to fill in.</p>"
    return Shown(lead + "".join(parts), counted(len(shown), "step"))


def _action(case: Case, action: Action, warnings: list[str]) -> str:
    targets = case.targets(action)
    undo = (
        f"Undo: {with_code(action.undo)}"
        if action.undo
        else f"{pill('cannot be undone', 'cannot')} {with_code(action.cannot_undo)}"
    )
    not_if = "".join(f"<li>{with_code(one)}</li>" for one in warnings)
    lines = [line for target in targets[:_MOST_TARGETS] for line in action.commands(target)]
    commands = "".join(f"<code>{safe(line)}</code><br>" for line in lines)
    more = len(targets) - _MOST_TARGETS
    rest = (
        f"<p>{more:,} more of them: put their names, from the CSV files, into the same commands.</p>"
        if more > 0 and lines
        else ""
    )
    none = ' <span class="quiet">(nothing in scope for it)</span>' if action.kinds else ""
    number = f" ({counted(len(targets), 'subject')})" if targets else none
    return (
        f"<li><b>{safe(action.does)}</b>{number}. Stops: {safe(action.stops)}. {undo}."
        f"{fold('When not', f'<ul>{not_if}</ul>')}{fold(counted(len(lines), 'command'), f'<p>{commands}</p>{rest}') if lines else ''}</li>"
    )
