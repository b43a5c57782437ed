"""Indicators of a case as rows and as CSV: what to search for in other logs and accounts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kit.exports.csv_file import cell
from kit.whole_file import write_whole

KINDS = {
    "addresses": "source address",
    "access_keys": "access key",
    "credential_ids": "credential id",
    "user_agents": "user agent",
    "identities": "identity",
    "images": "image",
    "objects": "object",
}
"""Members of a brief's indicators, in the order of their use → what one of them is."""


class Indicator(NamedTuple):
    """One value to search for. incident: the id of the gravest incident that has it; certainty is that of the incident's calls."""

    kind: str
    value: str
    incident: str


def indicators(brief: Mapping[str, Any]) -> list[Indicator]:
    """The indicators of all incidents of a brief, each once, addresses and keys first."""
    found = dict[tuple[str, str], Indicator]()
    for member, kind in KINDS.items():
        for one in brief["incidents"]:
            for value in one["indicators"][member]:
                found.setdefault((kind, value), Indicator(kind, value, one["id"]))
    return list(found.values())


def write_indicators(rows: list[Indicator], path: Path) -> None:
    """Write them as CSV, whole. Raises OSError when the case folder cannot be written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(Indicator._fields)
    writer.writerows([cell(value) for value in row] for row in rows)
    write_whole(path, text.getvalue())
