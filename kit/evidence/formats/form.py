"""The form of a file and its records: JSON documents and lines, lines of a log, CSV, YAML, Parquet, what was captured of a node. Its content decides, never its name.

Each form gives records with the line where they start and their place in the file, out of all envelopes (kit.evidence.formats.envelope).
Sources: RFC 4180; CloudWatch Logs, exported log data (a time before each line); `aws logs tail`.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from kit.errors import EvidenceError
from kit.evidence.formats.captured import captured_records, is_capture
from kit.evidence.formats.envelope import opened, read_text, unpacked
from kit.evidence.formats.json_document import ONE_THING, peek, records
from kit.evidence.formats.log_store import column
from kit.evidence.formats.parquet import parquet_rows
from kit.evidence.formats.stream import BOM, LONGEST_LINE, TOO_LONG, Line, Reader, Reading, lines, pieces
from kit.evidence.formats.yaml_document import in_yaml
from kit.evidence.record import NO_LOG, Log, Record, Reject

JSON, LINES, CSV, YAML, PARQUET, BASE64 = "JSON", "log lines", "CSV", "YAML", "Parquet", "base64"
CAPTURED_NODE = "captured of a node"

_LONGEST_FIRST_ROW = 64 << 10

CONTAINER_LOG = b"==== START logs for container "
_EXPORTED = re.compile(rb"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)[ \t](?:([\w.+/-]+) )?")
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")  # as `aws logs tail` writes to a terminal
_TAILED_JSON = re.compile(
    rb"(?m)^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)? (?:[\w.+/-]+ )?(?=\{\r?$)"
)  # its --format json
_STRING = re.compile(rb'"(?:time=|[ \\trn]*\{).*"\s*$')  # a message as a JSON string, one a line, as `jq` prints it
_BASE64 = re.compile(rb'"?(H4sI[A-Za-z0-9+/]{28,}={0,2})"?\s*$')  # of gzip: the data of a subscription, as jq prints it
_LOGFMT = re.compile(rb'time="?\d{4}-\d\d-\d\dT')
_YAML = re.compile(rb"(?:#[^\n]*\n|---[^\n]*\n|\s)*(?:- )?[A-Za-z][\w./-]*:(?:[ \r\n]|$)")
_STREAM = re.compile(r"(?:kube-apiserver-audit|authenticator)-[0-9a-f]{8,}")
# Names of columns of the tables that consoles and query services hand out.
_COLUMNS = {
    "@message",
    "@timestamp",
    "eventid",
    "eventtime",
    "useridentity",
    "eventjson",
    "auditid",
    "class_uid",
    "eventdata",
    "_raw",
    "_resourceid",  # of Azure, whose rows are refused by its name
    "awseventid",  # of Microsoft Sentinel's tables of AWS
    "resourcedetails",
    "event name",  # of CloudTrail's console, whose rows are refused for what they lack
}
# Columns of messages and their times, as consoles and log stores call them.
_MESSAGES, _TIMES = frozenset({"message", "line"}), frozenset({"timestamp", "time", "date", "timegenerated"})


def form_of(head: bytes) -> str:
    """The form of a file by its beginning; "" for none that is read here."""
    if head.startswith(b"PAR1"):
        return PARQUET
    if is_capture(head):
        return CAPTURED_NODE
    head = head.removeprefix(BOM).lstrip()
    lines = head.split(b"\n")
    first = _COLOUR.sub(b"", _first_line(lines))
    if _TAILED_JSON.match(first + b"\n"):
        return JSON
    if head[:1] in (b"{", b"[") or _STRING.match(first):
        return LINES if _holds_events(head) else JSON
    if _BASE64.match(first):
        return BASE64
    if _EXPORTED.match(first) or _LOGFMT.match(first):
        return LINES
    if _separator(first):
        return CSV
    if b"\0" not in head and _YAML.match(head):
        return YAML
    # One broken line before JSON lines.
    return (LINES if _holds_events(head) else JSON) if re.search(rb"\n[{\[]", head) and b"\0" not in head else ""


# What an event's line has to hold. With an escape, or of two bytes a letter, it may hold it in another way.
_MAY_BE_EVENT = re.compile(rb"audit\.k8s\.io/|auditID|[\\\0]")


def _holds_events(head: bytes) -> bool:
    """Whether one of the first lines is an audit event of its own; a cut or broken line is judged by what it begins with."""
    for line in head.split(b"\n"):
        event = peek(line) if line.lstrip()[:1] == b"{" and _MAY_BE_EVENT.search(line) else None
        if isinstance(event, dict) and event.get("kind", "Event") == "Event" and "items" not in event:
            audit = str(event.get("apiVersion")).startswith("audit.k8s.io/")
            if audit or event.keys() >= {"auditID", "stage", "verb"}:
                return len(list(records(line, ()))) < 2  # several on one line have to be told apart
    return False


def _first_line(lines: list[bytes]) -> bytes:
    """The first line that is of the log or table: CloudTrail Lake says the time before it, a terminal its prompt, a table for Excel its separator."""
    return next((line for line in lines if not line.startswith((b"#", b"$ ", b"% ", b"sep="))), b"")


def _separator(first: bytes) -> str:
    """What stands between the columns of a table that is read here, by its first row; "" for any other."""
    text = first.decode("utf-8", "replace")
    for separator in (",", ";", "\t"):
        names = {column(name.strip(' "\r\t')) for name in text.split(separator)}
        if names & _COLUMNS or (names & _MESSAGES and names & _TIMES):
            return separator
    return ""


def _plain(name: str) -> str:
    """The name of a column: that of a message or its time in small letters, without the time zone that consoles write behind it."""
    small = column(name)
    return small if small in _MESSAGES | _TIMES else name.strip()


def records_of(
    path: Path, form: str, lists: tuple[str, ...], reading: Reading, stream: str | None = None
) -> Iterator[Record | Reject]:
    """Every record of a file, out of its envelopes, numbered in its order.

    lists: members under which documents keep their records. reading: is told how far it came, and what ended it early. stream:
    the log stream that the file is from, where its path says so.
    """
    log, item = Log(stream=stream) if stream else NO_LOG, 0
    for found in _found(path, form, lists, reading, log):
        inner = (
            opened(replace(found, log=log) if log != NO_LOG else found, lists)
            if isinstance(found, Record)
            else (found,)
        )
        for each in inner:
            item += 1
            yield replace(each, item=item)


def _found(path: Path, form: str, lists: tuple[str, ...], reading: Reading, log: Log) -> Iterator[Record | Reject]:
    if form == PARQUET:
        return parquet_rows(path, reading)
    if form == LINES:
        return _in_lines(path, reading, log)
    if form == BASE64:
        return _in_base64(lines(path, reading), lists)
    source = pieces(path, reading)
    if form == JSON:
        source = _without_times(source)
    return _READ[form](_before_container_logs(source, reading) if form in (JSON, YAML) else source, lists)


def _without_times(source: Iterable[bytes]) -> Iterator[bytes]:
    """JSON without the time and stream that `aws logs tail --format json` writes before each document, on its first line."""
    rest, goes_on = b"", iter(source)
    for number, piece in enumerate(goes_on):
        held = rest + piece
        if not number and not _TAILED_JSON.search(held):
            yield held
            yield from goes_on
            return
        end = held.rfind(b"\n") + 1
        if len(held) - end > _LONGEST_FIRST_ROW:  # no line of a time and a stream
            end = len(held)
        yield _TAILED_JSON.sub(b"", held[:end])
        rest = held[end:]
    yield rest


def _before_container_logs(source: Iterable[bytes], reading: Reading) -> Iterator[bytes]:
    """What stands before the first container's log, which `kubectl cluster-info dump` prints between its lists: whoever ran that
    container wrote it, and could write what looks like a list."""
    mark, rest = b"\n" + CONTAINER_LOG, b""
    for piece in source:
        held = rest + piece
        if (at := held.find(mark)) >= 0:
            reading.damage = "what follows the first container's log is not read: dump with --output-directory instead"
            yield held[: at + 1]
            return
        keep = max(0, len(held) - len(mark))
        yield held[:keep]
        rest = held[keep:]
    yield rest


def beginning(
    path: Path, head: bytes, whole: bool, form: str, lists: tuple[str, ...], reading: Reading
) -> Iterator[Record | Reject]:
    """The first records of a file, as far as its beginning (`head`; `whole`: all of it) shows them, to tell what they are; the last may be cut.
    What is refused of them is refused for what it is in, never for where the beginning was cut."""
    found: Iterator[Record | Reject]
    if form == PARQUET:
        found = parquet_rows(path, reading, first_only=True)
    elif form == LINES:
        found = (
            _record_of(Line(number, line), NO_LOG) for number, line in enumerate(head.removeprefix(BOM).split(b"\n"), 1)
        )
    elif form == BASE64:
        found = _in_base64(lines(path, reading), lists)
    elif form == YAML:
        found = in_yaml([head if whole else head[: head.rfind(b"\n") + 1] or head], lists)
    else:
        found = _READ[form](_without_times(iter([head])) if form == JSON else [head], lists)
    for each in itertools.chain(found, _cut(head, lists) if form == JSON and not whole else ()):
        if isinstance(each, Record):
            yield from opened(each, lists)


def records_in(head: bytes, form: str) -> Iterator[Record | Reject]:
    """What stands in the beginning of a document or table as it stands, out of no envelope: why nothing of it can be read."""
    return _READ[form]([head], ())


def _cut(head: bytes, lists: tuple[str, ...]) -> Iterator[Record]:
    """What can be seen of a first document whose end is not there."""
    top = peek(head)
    if isinstance(top, list):
        yield from (Record(1, 1, each, cut=True) for each in top)
    elif isinstance(top, dict):
        listed = [name for name in lists if isinstance(top.get(name), list) and not top.keys() & ONE_THING]
        around = {name: each for name, each in top.items() if name not in listed}
        for name in listed:
            yield from (Record(1, 1, each, name, around, cut=True) for each in top[name])
        if not listed:
            yield Record(1, 1, top, cut=True)


def stream_of(path: str) -> str | None:
    """The log stream that a path names, as an export to S3 does: EXPORT/STREAM/000000.gz."""
    found = _STREAM.findall(path)
    return found[-1] if found else None


def message(line: bytes, log: Log = NO_LOG) -> tuple[bytes, Log, str | None]:
    """The message in a line of a log, where it was kept, and the time that an export or `aws logs tail` writes before it."""
    if line.startswith(b"\x1b["):
        line = _COLOUR.sub(b"", line)
    before = _EXPORTED.match(line)
    if not before:
        return line, log, None
    text, at = line[before.end() :], before[1].decode()
    return (text, replace(log, stream=before[2].decode()), at) if before[2] else (text, log, at)


def _in_lines(path: Path, reading: Reading, log: Log) -> Iterator[Record | Reject]:
    for line in lines(path, reading):
        if line.too_long:
            yield Reject(line.number, line.number, TOO_LONG, line.text[:800].decode(errors="replace"))
        else:
            yield _record_of(line, log)


def _in_base64(source: Iterable[Line], lists: tuple[str, ...]) -> Iterator[Record | Reject]:
    """The records in base64 of gzip: a text a line, or one over several lines, as `base64` breaks it."""
    held, first = b"", 1
    for line in itertools.chain(source, [None]):
        if line is None or _BASE64.match(line.text):
            if held:
                yield from _of_base64(held, first, lists)
            held, first = b"", line.number if line else 0
        if line is not None and len(held) <= LONGEST_LINE:
            held += line.text.strip(b'" \r\t')


def _of_base64(text: bytes, line: int, lists: tuple[str, ...]) -> Iterator[Record | Reject]:
    if len(text) > LONGEST_LINE:
        yield Reject(line, line, TOO_LONG, "")
        return
    try:
        for each in records(unpacked(text.decode("ascii", "replace")), lists):
            yield replace(each, line=line)
    except EvidenceError as error:
        yield Reject(line, line, str(error), text[:200].decode("ascii", "replace"))


def _record_of(line: Line, log: Log) -> Record:
    text, of, at = message(line.text, log)
    of = replace(of, at=at) if at else of
    return read_text(text.decode("utf-8", "surrogateescape"), Record(line.number, line.number, None, log=of))


def _in_csv(source: Iterable[bytes], lists: tuple[str, ...]) -> Iterator[Record | Reject]:
    """A record a row: its cells by the names in the first row. Columns of which the first row has no name are a reject's reason."""
    read = io.BufferedReader(Reader(iter(source)), _LONGEST_FIRST_ROW)
    separator = _separator(_first_line(read.peek(_LONGEST_FIRST_ROW).removeprefix(BOM).split(b"\n")))
    text = io.TextIOWrapper(read, "utf-8-sig", "backslashreplace", newline="")
    csv.field_size_limit(LONGEST_LINE)
    table = csv.reader(text, strict=True, delimiter=separator or ",")
    names, item, line = list[str](), 0, 1
    while True:
        try:
            cells = next(table, None)
        except csv.Error as error:
            item += 1
            yield Reject(line, item, f"not CSV: {error}", "")
            line = table.line_num + 1
            continue
        if cells is None:
            return
        if not names and cells and cells[0].startswith(("#", "sep=")):
            pass
        elif not names:
            names = [_plain(name) for name in cells]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                yield Reject(
                    line, 1, f"the column {twice!r:.60} stands twice in the first row: nothing of this file is read", ""
                )
                return
        elif cells:
            item += 1
            raw = ",".join(cells)[:200]
            if len(cells) == len(names):
                yield Record(line, item, dict(zip(names, cells, strict=True)), raw=raw)
            else:
                yield Reject(line, item, f"has {len(cells)} cells, the first row {len(names)}", raw)
        line = table.line_num + 1


_READ: dict[str, Callable[[Iterable[bytes], tuple[str, ...]], Iterator[Record | Reject]]] = {
    JSON: records,
    CSV: _in_csv,
    YAML: in_yaml,
    CAPTURED_NODE: lambda source, lists: captured_records(source),
}
