"""What a file is, by its content: its form and the reader of its records."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from kit.errors import EvidenceError
from kit.evidence import readers
from kit.evidence.formats.envelope import read_text
from kit.evidence.formats.form import CONTAINER_LOG, JSON, PARQUET, beginning, form_of
from kit.evidence.formats.json_document import peek
from kit.evidence.formats.stream import Reading, head
from kit.evidence.readers import audit, authenticator, aws, cloudtrail, cluster, findings, foreign
from kit.evidence.record import NO_LOG, Log, Record, Reject

_MODULES = [import_module(f"{readers.__name__}.{found.name}") for found in iter_modules(readers.__path__)]
READERS = tuple(
    sorted(
        (module for module in _MODULES if hasattr(module, "TABLE")), key=lambda one: (one is not cluster, one is aws)
    )
)
"""An object of Kubernetes may look like anything else, so it is asked for first; descriptions of AWS share names of lists with others."""
ALL_LISTS = tuple(dict.fromkeys(name for reader in (*READERS, foreign) for name in reader.LISTS))
SNIFFED = (64 << 10, 1 << 20)  # bytes of a file that are looked at: more only where the first did not do

MOST_SNIFFED = 5000  # records in them: a megabyte of `{}` is a third of a million


@dataclass(frozen=True)
class FileKind:
    """What a file is: its form, and the reader that takes its first record."""

    form: str
    reader: ModuleType


def file_kind(path: Path) -> FileKind:
    """What a file is, by its beginning. Raises EvidenceError with the reason when no reader takes it."""
    seen, form, beginning_of, known = list[Record](), "", b"", ""
    for size in SNIFFED:
        reading = Reading()
        beginning_of, whole = head(path, size, reading)
        if not beginning_of.strip():
            raise EvidenceError(reading.damage or "the file is empty")
        if beginning_of.startswith(CONTAINER_LOG):
            raise EvidenceError(
                "logs of containers, which whoever runs in them writes: no evidence of what happened to them"
            )
        form = form_of(beginning_of)
        first = beginning(path, beginning_of, whole, form, ALL_LISTS, reading) if form else ()
        found = list(itertools.islice(first, MOST_SNIFFED))
        seen = [one for one in found if isinstance(one, Record)]
        known = known or next((one.reason for one in found if isinstance(one, Reject)), "")
        for record in seen:
            try:
                if (reader := taker_of(record)) is not None:
                    return FileKind(form, reader)
            except EvidenceError as error:
                known = known or str(error)
        if form == JSON and (reader := _of_empty_list(beginning_of)):
            return FileKind(form, reader)
        if form == PARQUET:
            known = known or reading.damage
        if whole or form == PARQUET:
            break
    raise EvidenceError(known or foreign.why(beginning_of, form, seen, _inside(seen)))


def _taker_of_document(value: dict[str, Any]) -> ModuleType | None:
    """The reader that takes an object, or the first of a list in it."""
    listed = [name for name in ALL_LISTS if isinstance(value.get(name), list) and value[name]]
    around = {name: each for name, each in value.items() if name not in listed}
    for record in (Record(1, 1, value), *(Record(1, 1, value[name][0], name, around) for name in listed)):
        try:
            if (taker := taker_of(record)) is not None:
                return taker
        except EvidenceError:
            pass
    return None


_LOOKED_INTO, _DEEPEST_LOOK = 2000, 10  # values of a file's first records; members in each other


def _inside(seen: Sequence[Record]) -> foreign.Inside | None:
    """The first thing inside records that no reader takes which one would take by itself; None where there is none."""
    steps: list[tuple[tuple[str, ...], Any]] = [((), record.value) for record in seen[:100] if record.log == NO_LOG]
    for _ in range(_LOOKED_INTO):
        if not steps:
            return None
        path, value = steps.pop(0)
        if isinstance(value, str) and value.lstrip()[:1] == "{":
            value = read_text(value, Record(1, 1, None)).value
            path = (*path, foreign.PARSED)
        if path and isinstance(value, dict) and (taker := _taker_of_document(value)) is not None:
            return foreign.Inside(path, taker.TAKEN_AS)
        if len(path) < _DEEPEST_LOOK and isinstance(value, dict):
            alike = len(value) > 1 and all(isinstance(each, dict | list) for each in value.values())
            steps += [((*path, foreign.EACH if alike else str(name)), each) for name, each in value.items()]
        elif len(path) < _DEEPEST_LOOK and isinstance(value, list):
            steps += [((*path, foreign.EACH), each) for each in value[:3]]
    return None


# Log streams of an EKS control plane's log group (EKS User Guide, control plane logs).
STREAMS = {audit: "kube-apiserver-audit-", authenticator: "authenticator-"}
# Where CloudTrail and EventBridge write (CloudTrail User Guide, log stream names; EventBridge User Guide, targets): elsewhere
# whoever runs in a container may write.
_OF_TRAIL = re.compile(r"\d{12}_CloudTrail[_-]")
_OF_EVENTS = "/aws/events/"


def taker_of(record: Record) -> ModuleType | None:
    """The reader that takes a record, None where none does."""
    return next((reader for reader in READERS if holds_records(record.log, reader) and reader.takes(record)), None)


def holds_records(log: Log, reader: ModuleType) -> bool:
    """Whether records of a reader may be in a log: whoever may write to a log may write there what looks like an event of another."""
    if log == NO_LOG:
        return True
    if reader in STREAMS:
        return (not log.group or log.cluster is not None) and (log.stream or STREAMS[reader]).startswith(
            STREAMS[reader]
        )
    if reader not in (findings, cloudtrail) or log.cluster:
        return False
    if not log.group or log.group.startswith(_OF_EVENTS):
        return True
    is_trail = _OF_TRAIL.match(log.stream) is not None if log.stream else "cloudtrail" in log.group.lower()
    return reader is cloudtrail and is_trail


def _of_empty_list(beginning_of: bytes) -> ModuleType | None:
    """The reader of a document that holds no record, such as {"Findings": []}."""
    top = peek(beginning_of)
    if not isinstance(top, dict):
        return None
    empty = [(reader, name) for reader in READERS for name in reader.LISTS if top.get(name) == []]
    return next(
        (reader for reader, name in empty if name != "items" or reader.takes(Record(1, 1, {}, name, top))), None
    )
