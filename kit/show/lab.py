"""What an analyst works with in JupyterLab: pickers, tables that sort and filter, raw evidence, marks. Nothing of it is in the report.

Needs a running kernel; papermill runs these cells too, and the page leaves them out (tag `notebook_only`).
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import pandas as pd
from IPython.display import HTML, display
from markupsafe import Markup

from kit.case.case import Case
from kit.case.opening import open_case
from kit.errors import CallError, KitError
from kit.playbooks.playbook import playbook_of
from kit.show import answers, show
from kit.show.figures.counts import counts_chart
from kit.show.html_table import Shown, safe
from kit.show.libraries import apart, is_brought_here
from kit.store.marks import MARK_WORDS
from kit.words import nearest

_WIDE = widgets.Layout(width="720px")
_MOST_ROWS = 20_000  # in a table that sorts and filters


def explore(case: Case) -> widgets.Widget:
    """Pick a finding, a window and the end of the baseline; below, its summary, graph, timeline and answers are drawn anew."""
    finding = widgets.Dropdown(options=_findings(case), description="Finding", layout=_WIDE)
    start, end, baseline = (
        widgets.Text(description=word, placeholder="2026-01-31T14:00:00Z", continuous_update=False)
        for word in ("Start", "End", "Usual until")
    )
    area = widgets.Output()

    def draw(change: Any = None) -> None:
        area.clear_output(wait=True)
        with area, apart():
            try:
                chosen = open_case(case.path, finding.value, start.value, end.value, baseline.value)
                for part in (show.summary, show.attack_path, show.timeline, answers.verdicts):
                    display(part(chosen))
                given = f'finding = "{finding.value}"\nstart = "{start.value}"\nend = "{end.value}"'
                display(HTML(Markup("<p>For the other notebooks:</p><pre>{}</pre>").format(safe(given))))
            except KitError as error:
                display(HTML(Markup("<p><b>{}</b></p>").format(safe(error))))

    for one in (finding, start, end, baseline):
        one.observe(draw, names="value")
    return widgets.VBox([finding, widgets.HBox([start, end, baseline]), area])


def browse(frame: pd.DataFrame) -> Any:
    """A frame as a table that sorts and filters, offline; of very many rows the first ones, and how many there are."""
    import itables

    if is_brought_here("DataTables"):
        itables.init_notebook_mode(connected=False)
    shown = frame.head(_MOST_ROWS).map(_cell)
    if len(frame) > len(shown):
        display(
            HTML(
                Markup("<p>{:,} rows; the first {:,} are here, all in the CSV files below exports/.</p>").format(
                    len(frame), len(shown)
                )
            )
        )
    return itables.show(
        shown, allow_html=False, column_filters="footer", maxBytes=0, lengthMenu=[10, 25, 100], scrollX=True
    )


def bars(frame: pd.DataFrame, by: str, at: str = "", number: str = "") -> Any:
    """How many rows a frame has of each value of a column, as bars; over time where `at` names a column of times.

    number: a column that says how many each row stands for; one each without it.
    """
    for name in filter(None, (by, at, number)):
        if name not in frame.columns:
            raise CallError(f"the frame has no column {name!r}", next=nearest(name, list(frame.columns)))
    if not len(frame):
        return Shown(Markup("<p>There is nothing to draw: the table is empty.</p>"), "nothing to draw")
    return counts_chart(frame, by, at, number)


def raw_evidence(case: Case) -> widgets.Widget:
    """Type or pick a ref (audit:…, trail:…, object:…, finding:…) and read the raw record, with its file and line."""
    known = [f"finding:{one}" for one in case.findings["id"]] + list(case.calls["ref"]) + list(case.aws_calls["ref"])
    ref = widgets.Combobox(
        options=list(dict.fromkeys(known)),
        description="Ref",
        layout=_WIDE,
        placeholder="audit:…",
        ensure_option=False,
        continuous_update=False,
    )
    area = widgets.Output()

    def draw(change: Any = None) -> None:
        area.clear_output(wait=True)
        with area:
            try:
                display(case.show(ref.value))
            except KitError as error:
                display(HTML(Markup("<p><b>{}</b></p>").format(safe(error))))

    ref.observe(draw, names="value")
    return widgets.VBox([ref, area])


def mark(case: Case) -> widgets.Widget:
    """Mark an answer as confirmed or wrong, or a finding as expected, with a note; it stands in the report."""
    finding = widgets.Dropdown(options=_findings(case)[1:], description="Finding", layout=_WIDE)
    question = widgets.Dropdown(description="Question", layout=_WIDE)
    word = widgets.Dropdown(options=list(MARK_WORDS), description="Mark as")
    note = widgets.Text(description="Note", layout=_WIDE)
    button, area = widgets.Button(description="Record", button_style="primary"), widgets.Output()

    def questions(change: Any = None) -> None:
        asked = playbook_of(case.finding(finding.value).type).questions if finding.value else ()
        question.options = [("the finding as a whole", ""), *((one.asks, one.name) for one in asked)]

    def record(pressed: Any) -> None:
        area.clear_output(wait=True)
        with area:
            try:
                made = case.mark(finding.value, word.value, note.value, question.value)
                display(
                    HTML(
                        Markup(
                            "<p>Recorded: {}, {:%Y-%m-%d %H:%M:%S} UTC. It cannot be taken back, only followed by another.</p>"
                        ).format(safe(made.word), made.at)
                    )
                )
            except KitError as error:
                display(HTML(Markup("<p><b>{}</b></p>").format(safe(error))))

    questions()
    finding.observe(questions, names="value")
    button.on_click(record)
    return widgets.VBox([finding, question, word, note, button, area])


def _findings(case: Case) -> list[tuple[str, str]]:
    return [
        ("all findings", ""),
        *((f"{row.severity:.1f}  {row.type}  {str(row.id)[:8]}", str(row.id)) for row in case.findings.itertuples()),
    ]


def _cell(value: Any) -> Any:
    return (
        ", ".join(map(str, value))
        if isinstance(value, list | tuple) or (hasattr(value, "tolist") and getattr(value, "ndim", False))
        else value
    )
