"""What a collection fetched and no reader takes is kept with the case all the same: container logs, sources that the kit cannot read yet."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kit.evidence.gather import Given
from kit.lenient import dict_of, text_of

KEPT = "kept, not read: "
"""How the note of such a file in the ledger begins."""
_LOG = "collection.jsonl"  # as `kit collect` names it; what it says is looked at alone, and only for what else would be left behind


def collected_hashes(given: Iterable[Given]) -> set[str]:
    """The SHA-256 of the files that collections among these files wrote, by their logs."""
    found = set[str]()
    for path in (one.path for one in given if one.path and not one.refusal and one.path.name == _LOG):
        try:
            with path.open("rb") as file:
                found |= {digest for line in file if (digest := text_of(dict_of(_read(line)).get("sha256")))}
        except OSError:
            continue  # what cannot be read is told when its turn comes
    return found


def _read(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
