"""Text of the evidence in Markdown: no image, link, code span, table cell or heading of an attacker's making.

Sources: CommonMark 0.31 (backslash escapes, code spans); GitHub Flavored Markdown (a bar ends a cell within a code span too; bare addresses become links).
"""

from __future__ import annotations

import re

_ACTIVE = re.compile(r"([\\`*\[\]<>|~$])")
_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_LINKS = re.compile(r"://|\bwww\.", re.IGNORECASE)


def no_markup(text: str) -> str:
    """Text in which nothing is Markdown, on one line."""
    escaped = _ACTIVE.sub(r"\\\1", _BREAKS.sub(" ", text))
    return _LINKS.sub(lambda found: found[0].replace("://", "\\://").replace("www.", "www\\."), escaped)


def code(text: str, in_table: bool = False) -> str:
    """Text as a code span on one line, with more backticks around it than stand in it."""
    line = _BREAKS.sub(" ", text) or " "
    if in_table:
        line = line.replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    marks = "`" * (longest + 1)
    padding = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{marks}{padding}{line}{padding}{marks}"


def fenced(lines: list[str]) -> list[str]:
    """Commands as a block of code, with a fence that none of them ends."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", *lines, fence]
