"""A table for people: as many rows as can be read, all of them in a CSV file, every text from evidence made inert."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kit.show.figures import records, visible
from kit.whole_file import write_whole
from kit.words import Names

MOST_ROWS = 50
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
STYLE = f"<style>{Path(__file__).with_name('shown.css').read_text()}</style>"


def safe(text: Any, most: int = 0) -> str:
    """A text from evidence as HTML: inert, what cannot be seen written out, cut when longer than `most` characters."""
    shown = visible(text)
    return html.escape(f"{shown[:most]}…" if most and len(shown) > most else shown)


def clock(at: Any, missing: str = "") -> str:
    """A time as text, in UTC to the second."""
    return missing if at is None or pd.isna(at) else pd.Timestamp(at).tz_convert("UTC").strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Shown:
    """HTML that shows itself in JupyterLab and in the report. text: the same for a terminal."""

    html: str
    text: str = ""

    def _repr_html_(self) -> str:
        return f'{STYLE}<div class="kit">{self.html}</div>'

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
) -> str:
    """The frame's first rows as HTML; below them, how many are not shown and which file has them.

    columns: heading → function of a row that gives the cell's HTML, made inert with `safe`. export: the CSV file to write.
    narrow: headings of columns that must not wrap.
    """
    if export is not None:
        write_csv(frame, export)
    if frame.empty:
        return ""
    shown = records(frame.head(most))
    head = "".join(f"<th>{heading}</th>" for heading in columns)
    kinds = {heading: ' class="tight"' if heading in narrow else "" for heading in columns}
    body = "".join(
        "<tr>" + "".join(f"<td{kinds[heading]}>{cell(row)}</td>" for heading, cell in columns.items()) + "</tr>"
        for row in shown
    )
    where = f" <code>exports/{export.name}</code> in the case folder has all {len(frame):,}." if export else ""
    rest = f'<p class="rest">{len(frame) - most:,} more rows are not shown.{where}</p>' if len(frame) > most else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}'


def fold(title: str, inside: str, opened: bool = False) -> str:
    """HTML that is folded away under its title (HTML)."""
    return f"<details{' open' if opened else ''}><summary>{title}</summary>{inside}</details>" if inside else ""


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
    return f"'{text}" if text.startswith(_FORMULA) else text
