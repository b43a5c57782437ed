"""One open entry: a thing that gives the attacker something, or gave it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

EntryState = Literal["usable", "ended", "cannot tell"]
ROTATED = ("secret", "aws_secret")
"""The kinds of entries that end when they get a new value."""


@dataclass(frozen=True)
class OpenEntry:
    """One thing that gives, or gave, access. of: whose it is. gives: what the attacker has by it. until: when it ended or ends, None where not told.

    targets: kind and key of the subjects by which an action ends it.
    """

    kind: str
    key: str
    of: str
    gives: str
    since: datetime | None
    state: EntryState
    until: datetime | None
    refs: tuple[str, ...]
    says: str
    targets: tuple[tuple[str, str], ...] = ()
    certainty: str = "affected"

    @property
    def id(self) -> str:
        """The same for the same entry, in whatever order."""
        what = f"{self.kind}:{self.key}:{self.of}:{min(self.refs, default='')}"
        return f"open-{hashlib.sha256(what.encode()).hexdigest()[:10]}"
