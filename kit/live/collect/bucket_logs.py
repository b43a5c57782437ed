"""The control plane's logs in a bucket: which files of an export, of Firehose or of Security Lake may have events of a window.

Sources: CloudWatch Logs User Guide, "Export log data to Amazon S3" (PREFIX/TASK/STREAM/000000.gz, and a file that tests the bucket); Data
Firehose Developer Guide, "Amazon S3 object name format" (YYYY/MM/DD/HH of UTC, when the first record came); Security Lake User Guide, "Source
partition and default partition" (eventDay=YYYYMMDD).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.errors import CallError
from kit.lenient import dict_of, text_of, time_of
from kit.live.collect.estimate import Estimate
from kit.live.collect.requests import AUDIT_STREAMS, AUTHENTICATOR_STREAMS
from kit.model.window import Window

_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_HOUR = re.compile(r"(?:^|/)(20\d\d)/(\d\d)/(\d\d)/(\d\d)/")
_DAY = re.compile(r"(?:^|/)(?:eventDay=(20\d\d)(\d\d)(\d\d)|(20\d\d)/(\d\d)/(\d\d))/")
_STREAMS = (AUDIT_STREAMS, AUTHENTICATOR_STREAMS)
_OTHER_STREAMS = ("kube-apiserver-", "kube-controller-manager-", "kube-scheduler-", "cloud-controller-manager-")
_TEST_OF_AN_EXPORT = "aws-logs-write-test"
_WRITTEN_WITHIN = timedelta(hours=1)  # Firehose waits 15 minutes at most, and tries again what S3 did not take


def bucket_folder(given: str) -> dict[str, str]:
    """The bucket and the prefix of s3://BUCKET/PREFIX. Raises CallError."""
    found = _BUCKET.fullmatch(given)
    if not found:
        raise CallError(f"{given!r} is no place in S3", where="logs_from", next="write it as s3://BUCKET/PREFIX")
    return {"bucket": found[1], "prefix": found[2] or ""}


def may_have(listed: Any, window: Window) -> bool:
    """Whether a file, as S3 lists it, may have events of a window: by its key's day or hour, its stream, and when it was last written."""
    key, written = text_of(dict_of(listed).get("Key")) or "", dict_of(listed).get("LastModified")
    at = written if isinstance(written, datetime) else time_of(written)
    if (at and at < window.start) or key.endswith(("/", _TEST_OF_AN_EXPORT)):
        return False
    folders = key.split("/")[:-1]
    if any(one.startswith(_OTHER_STREAMS) for one in folders) and not any(one.startswith(_STREAMS) for one in folders):
        return False
    try:
        return _is_near(key, window)
    except ValueError:  # 2026/13/45: no day
        return True


def _is_near(key: str, window: Window) -> bool:
    for pattern, length in ((_HOUR, timedelta(hours=1)), (_DAY, timedelta(days=1))):
        if found := pattern.search(key):
            digits = "".join(filter(None, found.groups()))
            begin = datetime.strptime(digits, "%Y%m%d%H"[: len(digits) - 2]).replace(tzinfo=UTC)
            return begin < window.end + _WRITTEN_WITHIN and begin + length > window.start
    return True


def size_of(files: Iterable[Any], window: Window) -> Estimate:
    """How much these files are, as they lie there."""
    sizes = [int(dict_of(one).get("size") or 0) for one in files]
    return Estimate(sum(sizes), window, len(sizes))
