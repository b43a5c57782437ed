"""CSV for spreadsheets: all rows of a frame, masked, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pandas as pd

from kit.model.masking import MASK
from kit.whole_file import write_whole

# Also in full width, which spreadsheets of East Asia run too, and behind blanks, which some leave out.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_BLANKS = " \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\0"


# Where a spreadsheet takes another mark for the separator, as those of most of Europe take `;`, a cell begins behind it, and a row behind a
# line's end: the quotes around our cell then stand in the middle of one, where they say nothing.
_INNER = re.compile(rf"([;\t\r\n][{re.escape(_BLANKS)}]*)(?=[{re.escape(''.join(_FORMULA))}])")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write all rows, whole. A cell that a spreadsheet would run as a formula gets an apostrophe in front.

    Raises OSError when the case folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([cell(name) for name in frame.columns])
    writer.writerows([cell(value) for value in row] for row in frame.itertuples(index=False, name=None))
    write_whole(path, text.getvalue())


def cell(value: Any) -> str:
    """A value as text that no spreadsheet runs."""
    if isinstance(value, list | tuple) or (hasattr(value, "tolist") and getattr(value, "ndim", False)):
        text = " | ".join(str(one) for one in value)
    elif value is None or pd.isna(value):
        text = ""
    else:
        text = value.isoformat() if isinstance(value, pd.Timestamp) else str(value)
    text = MASK.text(text)
    text = _INNER.sub(r"\1'", text)
    runs = text.startswith(("\t", "\r")) or text.lstrip(_BLANKS).startswith(_FORMULA)
    return f"'{text}" if runs else text
