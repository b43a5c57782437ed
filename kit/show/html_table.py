"""A table for people: as many rows as can be read, all of them in a CSV file, every text from evidence made inert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from kit.exports.csv_file import write_csv
from kit.show.figures import DEED_MARKS, frame_rows, visible
from kit.words import Names

MOST_ROWS = 50
_CSS = Markup(Path(__file__).with_name("shown.css").read_text())  # noqa: S704 - a file of the kit
_DEEDS = Markup("").join(
    Markup(".kit .pill.deed-{}{{border-color:{}}}\n").format(kind, colour)
    for kind, (_, colour, _) in DEED_MARKS.items()
)
STYLE = Markup("<style>{}{}</style>").format(_CSS, _DEEDS)


def safe(text: Any, most: int = 0) -> Markup:
    """A text from evidence as HTML: inert, what cannot be seen written out, cut when longer than `most` characters. Markup stays as it is."""
    if isinstance(text, Markup):
        return text
    shown = visible(text)
    return escape(f"{shown[:most]}…" if most and len(shown) > most else shown)


def clock(at: Any, missing: str = "") -> str:
    """A time as text, in UTC to the second."""
    return missing if at is None or pd.isna(at) else pd.Timestamp(at).tz_convert("UTC").strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Shown:
    """HTML that shows itself in JupyterLab and in the report. text: the same for a terminal."""

    html: Markup
    text: str = ""

    def _repr_html_(self) -> Markup:
        return Markup('{}<div class="kit mathjax_ignore">{}</div>').format(STYLE, self.html)

    def __repr__(self) -> str:
        return self.text or "shown in JupyterLab and in the report"

    def __add__(self, other: Shown) -> Shown:
        return Shown(self.html + other.html, "\n".join(part for part in (self.text, other.text) if part))


def table(
    frame: pd.DataFrame,
    columns: Mapping[str, Callable[[dict[str, Any]], str]],
    *,
    export: Path | None = None,
    most: int = MOST_ROWS,
    narrow: Names = (),
) -> Markup:
    """The frame's first rows as HTML; below them, how many are not shown and which file has them.

    columns: heading → function of a row that gives the cell's Markup, or its text, which is made inert. export: the CSV file to write.
    narrow: headings of columns that must not wrap.
    """
    if export is not None:
        write_csv(frame, export)
    if frame.empty:
        return Markup("")
    shown = frame_rows(frame.head(most))
    head = Markup("").join(Markup("<th>{}</th>").format(heading) for heading in columns)
    kinds = {heading: Markup(' class="tight"') if heading in narrow else "" for heading in columns}
    rows = (
        Markup("").join(Markup("<td{}>{}</td>").format(kinds[name], safe(cell(row))) for name, cell in columns.items())
        for row in shown
    )
    body = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows)
    where = (
        Markup(" <code>exports/{}</code> in the case folder has all {:,}.").format(export.name, len(frame))
        if export
        else ""
    )
    rest = (
        Markup('<p class="rest">{:,} more rows are not shown.{}</p>').format(len(frame) - most, where)
        if len(frame) > most
        else ""
    )
    return Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}').format(
        head, body, rest
    )


def fold(title: str, inside: Markup, opened: bool = False, kind: str = "") -> Markup:
    """HTML that is folded away under its title (text or Markup); nothing where nothing is inside. kind: its class."""
    start = Markup("<details{}{}>").format(
        Markup(' class="{}"').format(kind) if kind else "", Markup(" open") if opened else ""
    )
    return Markup("{}<summary>{}</summary>{}</details>").format(start, title, inside) if inside else inside
