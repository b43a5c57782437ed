"""Processes of a node, as capture_processes read them: which program ran, since when, as whom, in which pod.

Oddities: whoever holds the node can lie to what reads it; a process that ended before is not there; the text names a pod by its uid alone, and by
the node's own cgroup (with `_` for `-` where systemd wrote it). What an older kit read has neither node, user, start nor container.
Source: proc(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.record import Record
from kit.lenient import dict_of, utc_time

TABLE = "objects"
TAKEN_AS = "processes of a node"
TAKES = ("what `kit apply` or the printed commands of capture_processes read of a node (`NODE.processes.txt`)",)
LISTS: tuple[str, ...] = ()
KIND = "Process"
"""The kind of these rows in the table."""
_LATEST = 1 << 34  # s since 1970: a later start is none


def takes(record: Record) -> bool:
    """Whether a record is a process of a captured node."""
    value = dict_of(record.value)
    return {"read_at", "pid"} <= value.keys() and utc_time(value["read_at"]) is not None


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row. `object` has node, pid, parent, user_id, started_at (UTC), program, sha256, command_line, pod_uid, container_id and read_at, each
    where it was read."""
    value = dict_of(record.value)
    if not str(value.get("pid")).isdecimal():
        raise EvidenceError("is no number", where="pid")
    started = str(value.pop("started_at", ""))
    known = value | ({"pod_uid": str(value["pod_uid"]).replace("_", "-")} if value.get("pod_uid") else {})
    if started.isdecimal() and int(started) < _LATEST:
        known["started_at"] = f"{datetime.fromtimestamp(int(started), UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = json_text(known)
    yield {
        "cluster": None,
        "account": None,
        "api_version": "kit:capture",
        "kind": KIND,
        "resource": "",
        "namespace": None,
        "name": "/".join(str(known[part]) for part in ("node", "pid") if known.get(part)),
        "uid": None,
        "object": text,
        "event_hash": hash_of(text),
    }
