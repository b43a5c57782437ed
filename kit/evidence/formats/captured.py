"""What capture_processes read of a node: a head that names the columns, then a line a process with tabs between its cells.

Sockets, mounts and files of the writable layers come after it and stay in the file: they are no records. A process chooses its command
line and its program's name, in which the kit's script puts blanks for tabs and line breaks: no process can add a line or a cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kit.evidence.record import Record, Reject

_HEAD = re.compile(r"# processes(?: of (?P<node>[^\s:,]+))?: (?P<names>pid, parent, .+)")
_READ_AT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\r?\n")  # the first line: when; the head is the second
_HEAD_IN_LINE = 2
_COLUMNS = {
    "sha256 of its program": "sha256",
    "command line": "command_line",
    "pod": "pod_uid",
    "container": "container_id",
    "user": "user_id",
    "started": "started_at",
}


def is_capture(head: bytes) -> bool:
    """Whether a file begins as capture_processes writes it."""
    read_at = _READ_AT.match(head)
    second = head[read_at.end() :].partition(b"\n")[0] if read_at else b""
    return _HEAD.match(second.decode("utf-8", "replace")) is not None


def captured_records(source: Iterable[bytes]) -> Iterator[Record | Reject]:
    """A record a process: the cells of its line by name, its node where the head says it, and when the node was read."""
    text = b"".join(source).decode("utf-8", "replace").split("\n")
    read_at, node, names, item = text[0].strip() if text else "", None, list[str](), 0
    for number, line in enumerate(text, 1):
        found = _HEAD.match(line) if number == _HEAD_IN_LINE else None
        if found:
            node = found["node"]
            names = [_COLUMNS.get(name, name) for name in found["names"].strip().split(", ")]
        elif names and line.startswith("# "):
            return
        elif names and line.strip():
            item += 1
            cells = line.split("\t")
            if len(cells) != len(names):
                yield Reject(number, item, f"has {len(cells)} cells, its head names {len(names)}", line[:200])
                continue
            known = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
            yield Record(number, item, {"read_at": read_at} | ({"node": node} if node else {}) | known, raw=line[:200])
