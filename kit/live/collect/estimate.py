"""How much the logs of a window are before they are fetched: what is stored of the log group, by the part of its time that the window is.

Sources: CloudWatch Logs API, DescribeLogGroups (storedBytes, creationTime, retentionInDays) and FilterLogEvents (a page has at most 1 MB);
CloudWatch pricing (what is stored is compressed to about 0.15 of what came; queries of Logs Insights are billed by what they scan).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.lenient import dicts_of
from kit.model.window import Window
from kit.words import counted

ASK_ABOVE = 2_000_000_000
"""Bytes of logs that are fetched without a question."""
_COMPRESSED = 0.15
_OF_A_PAGE = 1_000_000
_A_SECOND = 4  # pages, side by side


@dataclass(frozen=True)
class Estimate:
    """What a window's logs are likely to be. bytes: as they come, not as they are stored. files: of a bucket, where they lie in one."""

    bytes: int
    window: Window
    files: int = 0

    @property
    def requests(self) -> int:
        """Files; else pages, and at least one for each hour of both logs."""
        if self.files:
            return self.files
        hours = -(-(self.window.end - self.window.start) // timedelta(hours=1))
        return max(2 * hours, self.bytes // _OF_A_PAGE)

    @property
    def says(self) -> str:
        """The estimate for a person."""
        minutes = max(1, round(self.requests / _A_SECOND / 60))
        if self.files:
            return f"The logs of this window are {counted(self.files, 'file')} of {self.bytes / 1e9:,.3f} GB in all, as they lie in the bucket"
        return (
            f"The logs of this window are about {self.bytes / 1e9:,.1f} GB: {counted(self.requests, 'request')}, about {counted(minutes, 'minute')}. "
            f"Reading them so has no price by size; a query of Logs Insights over them would scan, and bill, as much"
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"bytes": self.bytes, "requests": self.requests, "seconds": self.requests // _A_SECOND}


def estimate_of(answers: list[dict[str, Any]], group: str, window: Window, now: datetime) -> Estimate:
    """From what DescribeLogGroups answered. A log group that is not there is nothing."""
    found: Mapping[str, Any] = next(
        (one for answer in answers for one in dicts_of(answer.get("logGroups")) if one.get("logGroupName") == group), {}
    )
    made = datetime.fromtimestamp(int(found.get("creationTime") or 0) / 1000, UTC)
    kept = now - made
    if found.get("retentionInDays"):
        kept = min(kept, timedelta(days=int(found["retentionInDays"])))
    share = min(1.0, (window.end - window.start) / max(kept, timedelta(hours=1)))
    return Estimate(int(int(found.get("storedBytes") or 0) / _COMPRESSED * share), window)
