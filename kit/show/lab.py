"""What an analyst works with in JupyterLab: pickers, tables that sort and filter, raw evidence, marks. Nothing of it is in the report.

Needs a running kernel; papermill runs these cells too, and the page leaves them out (tag `notebook_only`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
from IPython.display import HTML, display
from IPython.utils.capture import capture_output
from markupsafe import Markup

from kit.case.case import Case
from kit.case.opening import open_case
from kit.errors import CallError, CaseError, KitError
from kit.playbooks.playbook import playbook_of
from kit.show import answers, figures, show
from kit.show.figures.counts import counts_chart
from kit.show.html_table import Shown, safe
from kit.show.libraries import apart, is_brought_here
from kit.store.choice import Choice, choice_of, keep_choice
from kit.store.marks import CALLER_WORDS, MARK_WORDS
from kit.words import iso, nearest, utc

_WIDE = {"width": "720px"}  # a layout of its own for each widget, as they are hidden one by one
_ABOUT = [
    ("a finding or its answer", ""),
    *((f"whose {one} it is", one) for one in ("call", "identity", "address", "credential")),
]
_WHOLE = [("the finding as a whole", "")]  # first, as an empty picker keeps no value when it gets some
_CLICKS = Markup(Path(__file__).with_name("clicks.html").read_text())  # noqa: S704 - a file of the kit
_FIRST = (
    "received_at", "event_at", "at", "user_name", "arn", "source_address", "verb", "event_name", "resource", "subresource", "namespace", "name",
    "response_code", "error_code", "user_agent",
)  # fmt: skip
_LAST = ("ref", "audit_id", "event_id", "uid", "why_refs", "findings", "file", "line", "item")
_MOST_ROWS = 20_000  # in a table that sorts and filters


def as_chosen(case: Case) -> Case:
    """The case under the choice that is kept in it, and a head that says so; the case itself where a finding or window was given.

    Below the head a record opens when somebody clicks on a ref of any table.
    """
    if os.environ.get(figures.HEADLESS):
        return case
    kept, opened = Choice(), case
    if not case.is_chosen:
        try:
            kept = choice_of(case.path)
            opened = open_case(case.path, kept.finding, kept.start, kept.end, kept.baseline)
        except KitError as error:
            _say(f"The choice that this case keeps cannot be followed: {error}")
    _say(_head(opened, kept))
    display(record_box(opened))
    return opened


def _head(case: Case, kept: Choice) -> str:
    number = len(case.finding_rows)
    which = case.finding_rows[0]["type"] if number == 1 else f"all {number:,} findings"
    window = case.window
    when = f"{utc(window.start)} to {utc(window.end)}" if window else "no window"
    usual = f", usual until {kept.baseline}" if kept.baseline else ""
    where = "; chosen in 00_triage for all notebooks" if kept != Choice() else ""
    return f"Looking at {which}, {when}{usual}{where}."


def explore(case: Case) -> widgets.Widget:
    """Pick a finding, a window and the end of the baseline: for all notebooks. Below, its summary, timeline and answers are drawn anew."""
    window, kept = case.window, Choice()
    with suppress(CaseError):
        kept = choice_of(case.path)
    finding = widgets.Dropdown(options=_findings(case), description="Finding", layout=_WIDE)
    if kept.finding in [value for _, value in finding.options]:
        finding.value = kept.finding
    filled = {
        "Start": kept.start or (iso(window.start) if window else ""),
        "End": kept.end or (iso(window.end) if window else ""),
        "Usual until": kept.baseline,
    }
    start, end, baseline = (
        widgets.Text(value=value or "", description=word, placeholder="2026-01-31T14:00:00Z", continuous_update=False)
        for word, value in filled.items()
    )
    area = widgets.Output()

    def draw(change: Any = None) -> None:
        area.clear_output(wait=True)
        with area, apart():
            try:
                _say("Working it out …")
                picked = Choice(finding.value, start.value, end.value, baseline.value)
                looked = open_case(case.path, *astuple(picked))
                _ = looked.window  # raises for one that misses the log
                keep_choice(case.path, picked)
                area.clear_output(wait=True)
                for part in (show.summary, show.attack_path, show.timeline, answers.verdicts):
                    display(part(looked))
                _say("All notebooks follow this choice from now on: run their first cells again.")
            except KitError as error:
                area.clear_output(wait=True)
                _say(error)

    for one in (finding, start, end, baseline):
        one.observe(draw, names="value")
    return widgets.VBox([finding, widgets.HBox([start, end, baseline]), area])


def record_box(case: Case) -> widgets.Widget:
    """What opens beneath a table when somebody clicks on one of its refs: the record, masked, with its file and line; it can be tagged.

    A tag is a note about the record: it is asked before it is written, and stands in the report under "Notes".
    """
    ref = widgets.Text(placeholder="audit:…, or click on a ref", description="Record", continuous_update=False)
    tag = widgets.Text(placeholder="a word or a sentence for the report", description="Tag")
    ask, yes, no = (widgets.Button(description=word) for word in ("Tag this record", "Write it down", "Cancel"))
    area, said = widgets.Output(), widgets.Output()
    tagging, sure = widgets.HBox([tag, ask]), widgets.HBox([yes, no])
    tagging.layout.display = sure.layout.display = "none"
    panel = widgets.VBox([ref, area, tagging, said, sure])
    panel.add_class("kit-record")

    def answer(text: Any, *, asks: bool = False) -> None:
        sure.layout.display = "" if asks else "none"
        said.clear_output(wait=True)
        with said:
            _say(text)

    def write(pressed: Any) -> None:
        try:
            made = case.note(tag.value, about())
            answer(f"Recorded: {made.text}, about {made.ref}; {utc(made.at)}. It stands in the report.")
        except KitError as error:
            answer(error)

    def about() -> str:
        text = str(ref.value)
        return text.partition("#")[0] if text.startswith("finding:") else text

    def draw(change: Any = None) -> None:
        tagging.layout.display, sure.layout.display = "" if ref.value else "none", "none"
        said.clear_output()
        area.clear_output(wait=True)
        with area:
            if ref.value:
                try:
                    display(case.about(about()))
                except KitError as error:
                    _say(error)

    ref.observe(draw, names="value")
    ask.on_click(
        lambda pressed: answer(
            f"This will stand in the case and its report: {tag.value}, about {about()}. Write it down?", asks=True
        )
    )
    yes.on_click(write)
    no.on_click(lambda pressed: answer("Nothing was written."))
    display(HTML(_CLICKS))
    return panel


def _say(text: Any) -> None:
    display(HTML(Markup('<p class="mathjax_ignore"><b>{}</b></p>').format(safe(text))))


def browse(frame: pd.DataFrame) -> Any:
    """A frame as a table that sorts and filters, offline; of very many rows the first ones, and how many there are."""
    import itables

    if is_brought_here("DataTables"):
        with (
            capture_output() as said
        ):  # itables first shows what needs its library, then the library: the other way round
            itables.init_notebook_mode(connected=False)
        for one in reversed(said.outputs):
            one.display()
    columns = [*(one for one in _FIRST if one in frame), *(one for one in frame if one not in (*_FIRST, *_LAST))]
    columns += [one for one in _LAST if one in frame]
    shown = frame[columns].head(_MOST_ROWS).map(_cell)
    if len(frame) > len(shown):
        display(
            HTML(
                Markup("<p>{:,} rows; the first {:,} are here, all in the CSV files below exports/.</p>").format(
                    len(frame), len(shown)
                )
            )
        )
    return itables.show(
        shown,
        allow_html=False,
        column_filters="footer",
        maxBytes=0,
        classes="display nowrap mathjax_ignore",
        lengthMenu=[10, 25, 100],
        scrollX=True,
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


def mark(case: Case) -> widgets.Widget:
    """Mark an answer, a finding, or whose a call or a caller is. What is marked is said and asked before it is written; it stands in the report."""
    about = widgets.Dropdown(options=_ABOUT, description="About", layout=_WIDE)
    finding = widgets.Dropdown(options=_findings(case)[1:], description="Finding", layout=_WIDE)
    question = widgets.Dropdown(options=_WHOLE, description="Question", layout=_WIDE)
    which = widgets.Text(description="Which", placeholder="audit:…, a user name, an address, a key", layout=_WIDE)
    word, note = (
        widgets.Dropdown(options=MARK_WORDS, description="Mark as"),
        widgets.Text(description="Why", layout=_WIDE),
    )
    ask, area = widgets.Button(description="Mark", button_style="primary"), widgets.Output()
    yes, no = widgets.Button(description="Write it down", button_style="warning"), widgets.Button(description="Cancel")
    sure = widgets.HBox([yes, no])
    sure.layout.display = "none"

    def fields(change: Any = None) -> None:
        asked = playbook_of(case.finding(finding.value).type).questions if finding.value else ()
        question.options = [*_WHOLE, *((one.asks, one.name) for one in asked)]
        word.options = CALLER_WORDS if about.value else MARK_WORDS
        for one, is_shown in ((finding, not about.value), (question, not about.value), (which, about.value)):
            one.layout.display = "" if is_shown else "none"

    def said() -> str:
        what = f"{about.value} {which.value}" if about.value else f"{question.label} of {finding.label}"
        return f"{what}: {word.value}{f', because {note.value}' if note.value else ''}"

    def answer(text: Any, *, asks: bool) -> None:
        sure.layout.display = "" if asks else "none"
        area.clear_output(wait=True)
        with area:
            _say(text)

    def record(pressed: Any) -> None:
        try:
            caller = {about.value: which.value} if about.value else {}
            named, asked = ("", "") if about.value else (finding.value or "", question.value)
            made = case.mark(named, word.value, note.value, asked, **caller)
            answer(f"Recorded: {said()}; {utc(made.at)}. A later mark of the same takes its place.", asks=False)
        except KitError as error:
            answer(error, asks=False)

    fields()
    finding.observe(fields, names="value")
    about.observe(fields, names="value")
    ask.on_click(
        lambda pressed: answer(f"This will stand in the case and its report: {said()}. Write it down?", asks=True)
    )
    yes.on_click(record)
    no.on_click(lambda pressed: answer("Nothing was written.", asks=False))
    return widgets.VBox([about, finding, question, which, word, note, ask, area, sure])


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
