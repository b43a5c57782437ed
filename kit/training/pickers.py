"""What a question is answered with in JupyterLab: the case's own tables and timeline to choose from, options, fields and text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from kit.case.opening import open_case
from kit.plan.suppression import FIELDS
from kit.show.html_table import safe
from kit.training.about_findings import Filtered
from kit.training.kinds import FiveSentences, LabQuestion, Matched, Ordered, Picked
from kit.words import utc

_WIDE, _HALF, _NARROW = (widgets.Layout(width=width) for width in ("900px", "450px", "50px"))
_MOST_FIELDS = 8  # of a filter that is written in the notebook
_MOST_ROWS = 100  # shown at once of a table of names; typing narrows it
_RESOURCES = {
    "affected_pods": "pods",
    "affected_nodes": "nodes",
    "affected_service_accounts": "serviceaccounts",
    "secrets_the_caller_read": "secrets",
}
"""Question → the resource whose names answer it."""
_ROWS = """
WITH called AS (
    SELECT namespace, name, min(received_at) AS first, max(received_at) AS last, count(*) AS calls
    FROM audit WHERE resource = '{0}' AND name <> '' GROUP BY namespace, name
), standing AS (
    SELECT namespace, name, max(json_extract_string(object, '$.spec.nodeName')) AS node,
        max(json_extract_string(object, '$.spec.serviceAccountName')) AS service_account
    FROM objects WHERE resource = '{0}' GROUP BY namespace, name
)
SELECT coalesce(c.namespace, s.namespace, '') AS namespace, coalesce(c.name, s.name) AS name, s.name IS NOT NULL AS stands,
    coalesce(s.node, '') AS node, coalesce(s.service_account, '') AS service_account, c.first, c.last, coalesce(c.calls, 0) AS calls
FROM called c FULL JOIN standing s ON c.namespace IS NOT DISTINCT FROM s.namespace AND c.name = s.name ORDER BY 1, 2
"""
_CALL = ("at", "call", "caller", "address", "client", "code")
Picker = tuple[widgets.Widget, Callable[[], Any]]


def picker_of(one: LabQuestion, answer: Any, case: Path) -> Picker:
    """What a question is answered with, and what gives the answer. case: the lab's, whose rows are chosen from."""
    if isinstance(one, Picked):
        return _from_choices(one, answer) if one.choices else _from_table(one, answer, case)
    if isinstance(one, Matched):
        return _options(one, answer if isinstance(answer, dict) else {})
    if isinstance(one, Filtered):
        return _criterion(answer if isinstance(answer, dict) else {})
    kind = widgets.Text if isinstance(one, Ordered) else widgets.Textarea
    shown = ", ".join(answer) if isinstance(answer, list) else answer or ""
    text = kind(value=shown, placeholder="c, a, b" if isinstance(one, Ordered) else "", layout=_WIDE)
    if isinstance(one, FiveSentences):
        return text, lambda: text.value
    return text, lambda: [letter.strip() for letter in text.value.split(",") if letter.strip()]


def _from_choices(one: Picked, answer: Any) -> Picker:
    """Statements, or calls in the order of their time, a button before each."""
    chosen = {
        letter: widgets.ToggleButton(description=letter, value=letter in (answer or ()), layout=_NARROW)
        for letter in one.choices
    }
    rows = [widgets.HBox([button, widgets.HTML(_choice(one.choices[letter]))]) for letter, button in chosen.items()]
    return widgets.VBox(rows), lambda: [letter for letter, button in chosen.items() if button.value]


def _choice(text: str) -> str:
    """A choice; one that is a call, with its members set apart."""
    cells = text.split(" | ")
    if len(cells) != len(_CALL):
        return str(safe(text))
    parts = (
        Markup("<span title='{}' style='margin-right:1.2em'>{}</span>").format(name, safe(cell))
        for name, cell in zip(_CALL, cells, strict=True)
    )
    return str(Markup("").join(parts))


def _from_table(one: Picked, answer: Any, case: Path) -> Picker:
    """The names that the case has, each with what its rows say of it; typing narrows the table."""
    rows = _rows_of(one, case)
    boxes = {name: widgets.Checkbox(value=name in (answer or ()), indent=False, layout=_NARROW) for name, _ in rows}
    lines = {name: widgets.HBox([boxes[name], widgets.HTML(shown)]) for name, shown in rows}
    narrow = widgets.Text(placeholder="type a part of a name, a node or an account", description="Show", layout=_WIDE)
    says, table = widgets.HTML(), widgets.VBox()

    def draw(changed: Any = None) -> None:
        wanted = narrow.value.strip().lower()
        found = [name for name, shown in rows if boxes[name].value or wanted in shown.lower()]
        table.children = [lines[name] for name in found[:_MOST_ROWS]]
        says.value = f"{len(table.children):,} of {len(rows):,} shown; what is chosen stays."

    narrow.observe(draw, names="value")
    draw()
    return widgets.VBox([narrow, says, table]), lambda: [name for name, box in boxes.items() if box.value]


def _rows_of(one: Picked, case: Path) -> Sequence[tuple[str, str]]:
    """Each name that may be named, and its row as HTML."""
    told = dict[str, str]()
    resource = _RESOURCES.get(one.name)
    if resource:
        for row in open_case(case).store.rows(_ROWS.format(resource)):
            name = f"{row['namespace']}/{row['name']}" if row["namespace"] else str(row["name"])
            parts = (
                "stands" if row["stands"] else "gone",
                f"node {row['node']}" if row["node"] else "",
                f"account {row['service_account']}" if row["service_account"] else "",
                f"{row['calls']:,} calls, {utc(row['first'])} to {utc(row['last'])}" if row["calls"] else "no call",
            )
            told[name] = "; ".join(part for part in parts if part)
    names = sorted({*one.among, *(told if resource else ())} - set(one.other_names))
    return [
        (name, str(Markup("<b>{}</b> {}").format(safe(name), safe(told.get(name, "in no row of the case")))))
        for name in names
    ]


def _options(one: Matched, given: dict[str, Any]) -> Picker:
    options = [("–", ""), *((option, option) for option in one.options)]
    drops = {
        key: widgets.Dropdown(
            options=options, description=key, value=given.get(key) if given.get(key) in one.options else ""
        )
        for key in one.items
    }
    return widgets.VBox(list(drops.values())), lambda: {key: drop.value for key, drop in drops.items() if drop.value}


def _criterion(given: dict[str, Any]) -> Picker:
    """A filter as fields with their values: a field is picked, its value is typed."""
    rows = [
        (
            widgets.Dropdown(options=["", *sorted(FIELDS)], value=field if field in FIELDS else "", layout=_HALF),
            widgets.Text(value=value if isinstance(value, str) else ", ".join(value), layout=_HALF),
        )
        for field, value in [*given.items(), *[("", "")] * max(0, _MOST_FIELDS - len(given))]
    ]
    return widgets.VBox([widgets.HBox(row) for row in rows]), lambda: {
        field.value: [value.strip() for value in text.value.split(",")] for field, text in rows if field.value
    }
