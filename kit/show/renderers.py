"""What shows a case and a record of it: registered with the case, which knows nothing of this room."""

from __future__ import annotations

from markupsafe import Markup

from kit.case.case import Case
from kit.case.display import RENDERERS
from kit.show.about import thing
from kit.show.cited import texts
from kit.show.html_table import Shown, safe
from kit.show.summary import banner, summary


def record(case: Case, ref: str) -> Shown:
    """The record that a ref names: its file and line, and its text without anyone's secrets. Raises CallError and CaseError."""
    file, line = case.place(ref)
    text = texts(case, [ref])[ref]
    shown = Markup("<p><code>{}:{}</code></p><pre>{}</pre>").format(safe(file), line, text)
    return Shown(shown, f"{file}:{line}\n{text}")


def first_screen(case: Case) -> Shown:
    """The first screen of a case; of the sample case under the line that it is invented."""
    above = banner(case)
    return above + summary(case) if above else summary(case)


RENDERERS |= {"case": first_screen, "ref": record, "about": thing}
