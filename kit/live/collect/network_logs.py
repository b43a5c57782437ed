"""Where the traffic and the DNS queries of a cluster's nodes were logged: log groups and buckets, and which of their files are of a window.

Sources: VPC User Guide, "Publish flow logs to CloudWatch Logs" (a stream is named after the network interface), "Flow log files" (keys, with
and without Hive-compatible prefixes; a file is of five minutes); Route 53 Developer Guide, "Resolver query logging" (destinations, keys).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.lenient import dict_of, text_of
from kit.model.window import Window
from kit.words import Names

_LATE = timedelta(minutes=30)  # a file is written after its five minutes, and S3 may take a while
_NAMED = re.compile(r"_(20\d{6}T\d{4})Z_")
_BUCKET = re.compile(r"arn:[\w-]+:s3:::([^/]+)/?(.*)")
_GROUP = re.compile(r"arn:[\w-]+:logs:[^:]+:\d+:log-group:([^:]+)")


def streams_of(flow_logs: Iterable[Any], resolvers: Names, interfaces: Names, vpc: str, window: Window) -> Iterator[dict[str, Any]]:  # fmt: skip
    """What is asked of CloudWatch Logs: of a group of flow logs each interface's streams, of a group of DNS queries those of the VPC."""
    times = {"from": window.start, "to": window.end}
    for log in map(dict_of, flow_logs):
        if group := text_of(log.get("LogGroupName")):
            for interface in interfaces:
                yield {"network_group": group, "stream": interface, "of": f"{log.get('FlowLogId')}-{interface}"} | times
    for arn in resolvers:
        if found := _GROUP.fullmatch(arn.removesuffix(":*")):
            yield {"network_group": found[1], "stream": vpc, "of": f"dns-{vpc}"} | times


def folders_of(flow_logs: Iterable[Any], resolvers: Names, account: str, region: str, vpc: str, window: Window) -> Iterator[dict[str, Any]]:  # fmt: skip
    """What is listed in S3: a bucket and a prefix for each day. part: what of a file's name tells that it is of the log, "" where all are."""
    last = (window.end + _LATE).date()
    days = [window.start.date() + timedelta(days=number) for number in range((last - window.start.date()).days + 1)]
    for log in map(dict_of, flow_logs):
        found = _BUCKET.fullmatch(text_of(log.get("LogDestination")) or "")
        if not found:
            continue
        above = f"{found[2].strip('/')}/" if found[2].strip("/") else ""
        hive = dict_of(log.get("DestinationOptions")).get("HiveCompatiblePartitions")
        for day in days:
            plain = f"{account}/vpcflowlogs/{region}/{day:%Y/%m/%d}/"
            named = f"aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/year={day:%Y}/month={day:%m}/day={day:%d}/"
            yield {"network_bucket": found[1], "network_prefix": f"{above}AWSLogs/{named if hive else plain}", "part": str(log.get("FlowLogId") or "")}  # fmt: skip
    for arn in resolvers:
        if found := _BUCKET.fullmatch(arn):
            above = f"{found[2].strip('/')}/" if found[2].strip("/") else ""
            for day in days:
                yield {"network_bucket": found[1], "network_prefix": f"{above}AWSLogs/{account}/vpcdnsquerylogs/{vpc}/{day:%Y/%m/%d}/", "part": ""}  # fmt: skip


def is_network_file(listed: Any, part: str, window: Window) -> bool:
    """Whether a file, as S3 lists it, is of the log, and may have records of a window by the time in its name; one without a time may."""
    name = (text_of(dict_of(listed).get("Key")) or "").rpartition("/")[2]
    found = _NAMED.search(name)
    if not name or (part and part not in name):
        return False
    if not found:
        return True
    at = datetime.strptime(found[1], "%Y%m%dT%H%M").replace(tzinfo=UTC)
    return window.start - _LATE <= at < window.end + _LATE
