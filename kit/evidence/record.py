"""A record of evidence and where it stood, or why it can be none."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


def storable(text: str) -> str:
    """A text that a table can hold: halves of surrogate pairs are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Log:
    """Where a message of CloudWatch Logs was kept, as far as the evidence says: log group, log stream, account; at: its time there."""

    group: str | None = None
    stream: str | None = None
    account: str | None = None
    at: Any = None

    @property
    def cluster(self) -> str | None:
        """The EKS cluster whose control plane writes to this log group (/aws/eks/NAME/cluster)."""
        parts = (self.group or "").split("/")
        return parts[3] if len(parts) == 5 and parts[:3] == ["", "aws", "eks"] and parts[4] == "cluster" else None


_DATA = re.compile(r"""data\\*["']*\s*:""", re.IGNORECASE)  # also in a text inside a text, and stringData
NO_LOG = Log()
OTHER_LOG = "is a line of a log that this kit does not read"  # of a log group with all its streams
OTHER_FINDING, OTHER_CLASS, EVENT_COUNT = "is a finding of ", "is of OCSF class ", "is a count of events (aggregated)"
OTHER_CLOUD = "is no evidence of this cluster that the kit reads: "
NO_LOSS = (OTHER_LOG, OTHER_FINDING, OTHER_CLASS, EVENT_COUNT, OTHER_CLOUD)
"""How the reasons of rejects begin that are no loss: what the record is was seen, and it could show nothing of an EKS cluster."""


class Content(NamedTuple):
    """What an envelope holds: a text as it is, data as bytes. log: its place in CloudWatch Logs. logged: it is a message there, so
    whoever may write to that log wrote it."""

    value: Any
    log: Log
    logged: bool = False


@dataclass(frozen=True)
class Record:
    """One record of a file.

    line: where it starts, from 1. item: its place in the file, from 1. value: as parsed; of a text that is no JSON what can be
    read of its beginning, else the text itself. of: the member whose list it stands in, empty when it is a document of its own.
    around: the document's other members, complete once the whole file is walked. raw: its first 200 characters. text: the
    record as it stood, where it was a text. broken: why that text is no JSON. log: where CloudWatch Logs kept it. cut: whether its end is out of sight.
    """

    line: int
    item: int
    value: Any
    of: str = ""
    around: dict[str, Any] = field(default_factory=dict, repr=False)
    raw: str = field(default="", repr=False)
    text: str | None = field(default=None, repr=False)
    broken: str = ""
    log: Log = NO_LOG
    cut: bool = False


@dataclass(frozen=True)
class Reject:
    """A record that could not become a row: where it is, why, its first 200 characters, about when it happened, and whether it is broken JSON.

    raw is left empty where it has `data`, which may be a Secret's, whatever the record was taken for.
    """

    line: int
    item: int
    reason: str
    raw: str
    near_at: datetime | None = None
    is_broken: bool = False

    def __post_init__(self) -> None:
        raw = self.raw[:200]
        object.__setattr__(self, "raw", "" if _DATA.search(raw) else storable(raw)[:200])
        object.__setattr__(self, "reason", storable(self.reason))
