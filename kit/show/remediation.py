"""A plan worked with in JupyterLab: chosen, made, read, tried, approved by its digest, done, looked at again, taken back.

Nothing is called before somebody presses a button, and nothing is changed before the plan's digest was typed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML, display
from markupsafe import Markup

from kit.case.case import Case
from kit.errors import KitError
from kit.live.apply import Outcome
from kit.live.connection import ConnectionOptions
from kit.live.run import apply_case, check_case, preview_case, undo_case
from kit.plan.plan import Plan, PlannedAction
from kit.plan.saved import save_plan, saved_plan, set_older_plan_aside, touched
from kit.show import steps
from kit.show.html_table import safe
from kit.words import Names, counted, few

_WIDE = widgets.Layout(width="820px")
_ACCESS = ConnectionOptions()
_MOST = 3  # things that stop, told beside an action


def remediation(case: Case) -> widgets.Widget:
    """The plan by stage with what each action stops; then its preview, its approval, what came of it, checks, undo and the journal."""
    boxes = _boxes(case.plan().plan.actions)
    keep = widgets.Text(description="Keep open", placeholder="addresses of yours, 203.0.113.7/32 …", layout=_WIDE)
    responder = widgets.Text(description="You are", placeholder="your ARN or user name", layout=_WIDE)
    digest = widgets.Text(description="Digest", placeholder="type the digest of the plan that you read", layout=_WIDE)
    make, preview, apply, check, undo = (
        widgets.Button(description=word, layout=widgets.Layout(width="auto"))
        for word in ("Make the plan", "Preview", "Apply", "Check", "Undo")
    )
    sure = widgets.Checkbox(description="Take back what was done", indent=False)
    planned, came, journal = widgets.Output(), widgets.Output(), widgets.Output()
    made = list[Plan]()
    apply.disabled = preview.disabled = undo.disabled = True

    def write_journal() -> None:
        journal.clear_output(wait=True)
        with journal:
            display(steps.done(case))

    def plan(pressed: Any) -> None:
        planned.clear_output(wait=True)
        with planned:
            try:
                addresses = keep.value.replace(",", " ").split() or None
                without = [name for name, box in boxes.items() if not box.value]
                frames = case.plan((), without, addresses, False, responder.value)
                before = _saved(case)
                said = set_older_plan_aside(case.path, frames.plan)
                save_plan(case.path, frames.plan, _options(case, without, addresses, responder.value))
                made[:] = [frames.plan]
                digest.value, preview.disabled = "", False
                display(_plan(case, frames.plan, frames.simulation.lines, before, said))
            except KitError as error:
                _say(error)

    def tried(work: Callable[[], Iterable[Outcome]]) -> Callable[[Any], None]:
        def pressed_for(pressed: Any) -> None:
            came.clear_output()
            with came:
                try:
                    display(_outcomes(work()))
                except KitError as error:
                    _say(error)
            sure.value = False
            write_journal()

        return pressed_for

    def typed(change: Any) -> None:
        apply.disabled = not (made and digest.value == made[0].digest)

    make.on_click(plan)
    preview.on_click(tried(lambda: preview_case(case.path, _ACCESS, _say)))
    apply.on_click(tried(lambda: apply_case(case.path, digest.value, _ACCESS, _say)))
    check.on_click(tried(lambda: check_case(case.path, _ACCESS, _say)[0]))
    undo.on_click(tried(lambda: undo_case(case.path, _ACCESS, _say)))
    digest.observe(typed, names="value")
    sure.observe(lambda change: setattr(undo, "disabled", not sure.value), names="value")
    write_journal()
    buttons = widgets.HBox([preview, apply, check, sure, undo])
    return widgets.VBox([*boxes.values(), keep, responder, make, planned, digest, buttons, came, journal])


def _boxes(actions: Iterable[PlannedAction]) -> dict[str, widgets.Checkbox]:
    """Action → its box, in the order of the plan, with what it stops."""
    made = dict[str, widgets.Checkbox]()
    for name, group in groupby(sorted(actions, key=lambda one: one.action), key=lambda one: one.action):
        of = list(group)
        stops = list(dict.fromkeys(says for one in of for says in one.blast_radius))
        by = "for a person, " if all(one.by_person for one in of) else ""
        text = f"{of[0].stage}: {name} ({by}{len(of):,}). Stops: {few(stops, _MOST) if stops else 'nothing'}"
        made[name] = widgets.Checkbox(
            value=True, description=str(safe(text, 300)), description_allow_html=False, indent=False, layout=_WIDE
        )
    order = {one.action: place for place, one in enumerate(actions)}
    return dict(sorted(made.items(), key=lambda item: order[item[0]]))


def _saved(case: Case) -> Plan | None:
    try:
        return saved_plan(case.path)[0]
    except KitError:
        return None


def _options(case: Case, without: list[str], keep: list[str] | None, responder: str) -> dict[str, Any]:
    """The arguments that made a plan, as `kit plan` saves them."""
    finding, start, end = case.given
    about = {"finding": finding, "start": start, "end": end, "only": [], "without": without}
    return about | {"keep_addresses": keep, "wide": False, "responder": responder, "evidence_account": ""}


def _plan(case: Case, plan: Plan, lines: Names, before: Plan | None, said: str) -> HTML:
    """What was made: its digest, what it comes to, how it differs from the one before, and the command that does it."""
    changed = touched(before, plan) if before else []
    differs = (
        f"Other than in the plan before: {few(changed, 8)}." if changed else "As the plan before." if before else ""
    )
    listed = Markup("").join(
        Markup("<li>{}: {} of {}</li>").format(safe(one.stage), safe(one.action), safe(one.name))
        for one in plan.actions
    )
    told = Markup("").join(Markup("<p>{}</p>").format(safe(one)) for one in [*lines, differs, said] if one)
    command = shlex.join(["kit", "apply", str(case.path.resolve()), "--approve", plan.digest])
    return HTML(
        Markup(
            '<div class="kit-plan mathjax_ignore"><p>{}. Digest: <code class="digest">{}</code></p>{}<details><summary>The actions, in order</summary><ol>{}</ol></details>'
            "<p>In a terminal: <code>{}</code></p></div>"
        ).format(counted(len(plan.actions), "action"), plan.digest, told, listed, safe(command))
    )


def _outcomes(outcomes: Iterable[Outcome]) -> HTML:
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>").format(
            safe(one.word),
            safe(one.id),
            safe(one.says),
            safe(f"{one.check.word}: {one.check.says}" if one.check else ""),
        )
        for one in outcomes
    )
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in ("Outcome", "Action", "What", "Check"))
    return HTML(
        Markup('<table class="kit-outcomes mathjax_ignore"><tr>{}</tr>{}</table>').format(head, rows)
        if rows
        else "<p>There is nothing to do.</p>"
    )


def _say(text: Any) -> None:
    display(HTML(Markup('<p class="mathjax_ignore">{}</p>').format(safe(text))))
