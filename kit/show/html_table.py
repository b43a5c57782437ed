"""A table for people: as many rows as can be read, all of them in a CSV file, every text from evidence made inert."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from kit.model.masking import MASK
from kit.show.figures import DEED_MARKS, frame_rows, visible
from kit.whole_file import write_whole
from kit.words import Names

MOST_ROWS = 50
# Also in full width, which spreadsheets of East Asia run too, and behind blanks, which some leave out.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_BLANKS = " \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\0"
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
        return Markup('{}<div class="kit">{}</div>').format(STYLE, self.html)

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


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write all rows, whole. A cell that a spreadsheet would run as a formula gets an apostrophe in front.

    Raises OSError when the case folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_cell(name) for name in frame.columns])
    writer.writerows([_cell(value) for value in row] for row in frame.itertuples(index=False, name=None))
    write_whole(path, text.getvalue())


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple) or (hasattr(value, "tolist") and getattr(value, "ndim", False)):
        text = " | ".join(str(one) for one in value)
    elif value is None or pd.isna(value):
        text = ""
    else:
        text = value.isoformat() if isinstance(value, pd.Timestamp) else str(value)
    text = MASK.text(text)
    runs = text.startswith(("\t", "\r")) or text.lstrip(_BLANKS).startswith(_FORMULA)
    return f"'{text}" if runs else text
