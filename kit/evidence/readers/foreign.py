"""Evidence that is known and not read: what it is, and what to bring instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kit.evidence.formats import envelope
from kit.evidence.readers.ocsf import version_of
from kit.evidence.record import Record

LISTS = envelope.ENVELOPE_LISTS

Test = Callable[[dict[str, Any]], bool]

# What tells a record of that kind, and what to say of it.
KNOWN: tuple[tuple[Test, str], ...] = (
    (
        lambda value: any(name in value for name in ("@timestamp", "@ptr")) and "@message" not in value,
        "a result of CloudWatch Logs Insights without @message: query again with `fields @timestamp, @message, @logStream, @log`",
    ),
    (
        lambda value: "hashSignature" in value and "files" in value,
        "the signature of CloudTrail Lake's results: bring the results beside it",
    ),
    (
        lambda value: any(name.lower() == "class_uid" for name in value),
        "rows of OCSF as text: export them as JSON or Parquet",
    ),
    (lambda value: "protoPayload" in value, "an audit log of Google Cloud (GKE): this kit reads those of EKS"),
    (
        lambda value: str(value.get("category", "")).startswith("kube-") and "properties" in value,
        "a diagnostic log of Azure (AKS): this kit reads those of EKS",
    ),
)


def why(head: bytes, form: str, seen: Sequence[Record]) -> str:
    """Why a file is not taken. seen: its first records, out of their envelopes."""
    start = head.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "this is HTML, perhaps a sign-in or error page that was saved in place of the data"
    for record in seen:
        value = record.value
        if isinstance(value, dict):
            if version := version_of(value):
                return f"OCSF {version}, class {value['class_uid']}: not a class and version that this kit reads"
            for known, sentence in KNOWN:
                if known(value):
                    return sentence
        if record.log.group:
            return f"a log of {record.log.group}, none of an EKS control plane's audit or authenticator logs"
    if b"\0" in head:
        return "a binary file of a kind that this kit does not read"
    if not form:
        return "no reader knows this kind of file"
    return f"{form}, but none of the kinds that this kit reads"
