"""Which files of CloudTrail there are for a window: those that a trail delivered to its bucket, with their digests.

A trail of an organization has the organization's id in its folder's name, before the account.
Sources: CloudTrail User Guide, "Finding your CloudTrail log files" (keys and names; those of an organization), "How CloudTrail works" (delivered within about 15 minutes),
"CloudTrail digest file structure".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.lenient import dict_of, text_of
from kit.model.window import Window
from kit.words import Names

DELIVERED_WITHIN = timedelta(minutes=20)
_DIGESTS_WITHIN = timedelta(hours=2)  # a digest is of an hour, and comes after it
_NAMED = re.compile(r"_(\d{8}T\d{4})(?:\d\d)?Z(?:_|\.)")


def of_an_organization(trail: Any) -> bool:
    """Whether a trail delivers the events of all accounts of an organization."""
    return bool(dict_of(trail).get("IsOrganizationTrail"))


def delivery_folders(
    trails: Iterable[Any], account: str, organization: str, regions: Names, window: Window
) -> Iterator[dict[str, str]]:
    """The folders in which the files of a window lie: a bucket and a prefix for each day, region and kind of file.

    organization: its id, "" where it is not known; then nothing of its trails is known either.
    """
    last = window.end + DELIVERED_WITHIN
    days = (window.start.date() + timedelta(days=number) for number in range((last.date() - window.start.date()).days + 1))  # fmt: skip
    folders = [f"{region}/{day:%Y/%m/%d}/" for day in days for region in dict.fromkeys(regions)]
    for trail in map(dict_of, trails):
        bucket, above = text_of(trail.get("S3BucketName")), text_of(trail.get("S3KeyPrefix")) or ""
        whose = f"{organization}/{account}" if of_an_organization(trail) else account
        if bucket and (organization or whose == account):
            for kind in ("CloudTrail", "CloudTrail-Digest"):
                for folder in folders:
                    start = f"{above}/" if above else ""
                    yield {"bucket": bucket, "prefix": f"{start}AWSLogs/{whose}/{kind}/{folder}"}


def is_of(key: str, window: Window) -> bool:
    """Whether a file may have events of a window, by the time in its name."""
    found = _NAMED.search(key.rpartition("/")[2])
    if not found:
        return False
    at = datetime.strptime(found[1], "%Y%m%dT%H%M").replace(tzinfo=UTC)
    late = _DIGESTS_WITHIN if "/CloudTrail-Digest/" in key else DELIVERED_WITHIN
    return window.start - timedelta(minutes=5) <= at <= window.end + late
