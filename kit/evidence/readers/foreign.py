"""Evidence that is known and not read: what it is, and what to bring instead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kit.evidence.formats import envelope
from kit.evidence.formats.form import CSV, JSON, LINES, PARQUET, YAML, records_in
from kit.evidence.readers.ocsf import version_of
from kit.evidence.record import Record, Reject

LISTS = envelope.ENVELOPE_LISTS

# The first line of what kubectl and eksctl print in columns, and of the AWS CLI's and a query's tables.
_TABLE = re.compile(rb"(?:[A-Z][A-Z -]*(?:\t+| {2,})){2,}[A-Z -]+\r?\n|-{8,}\r?\n\|")

# What the AWS CLI prints with `--output text`: the list's name and cells between tabs.
_CLI_TEXT = re.compile(rb"[A-Z][A-Z_]{3,}\t")
_PYTHON = re.compile(rb"[\[{\s]*'[\w.-]+'\s*:")  # an object as Python prints it
_LOGCLI = re.compile(rb"\S+ \{(?:\w+=\"|\} )")  # a time and the labels of a stream
_OF_CONTAINER = re.compile(rb"\S+ (?:stdout|stderr) [FP] ")  # how a container runtime keeps a line
_JSON_BEHIND = re.compile(rb"(?m)^(?:[^{\n\"]{1,300}|[^{\n]{1,300}[\s:])(\{\"[^\n]*\})\s*$")
_FLUENT_BIT = re.compile(rb"\[\d+\] \S+: \[")  # an event as its output stdout prints it
_LOGSTASH = re.compile(rb"\{\s*\"[^\"\n]+\" => ")  # an event as its codec rubydebug prints it
_JSON_CELL = re.compile(rb"[,;\t]\"\{\"\"|\n\"\{\"\"")  # JSON as a cell of a table: its quotes stand twice
# How files begin that a program made smaller in a way that is not read here.
_SMALLER = {
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"Rar!\x1a\x07": "RAR",
    b"\xff\x06\0\0sNaPpY": "Snappy",
    b"\x89LZO\0": "lzop",
    b"MSCF": "Windows' Cabinet",
    b"\x1f\x9d": "compress",
}
EACH, PARSED = "[]", "|fromjson"
"""Steps of a path into a record: each element of a list, what is parsed out of a text."""


class Inside(NamedTuple):
    """What a reader would take by itself: the names that lead to it, and what it is called."""

    path: tuple[str, ...]
    taken_as: str

    @property
    def filter(self) -> str:
        """The path as jq writes it."""
        told = ""
        for step in self.path:
            plain = _PLAIN_NAME.fullmatch(step)
            told += step if step in (EACH, PARSED) else f".{step}" if plain else f".[{json.dumps(step)}]"
        return told if told.startswith(".") else f".{told}"


_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
_FINDING_TYPE = re.compile(r"[A-Z][A-Za-z]+:[A-Z][A-Za-z0-9]+/\S+")

Test = Callable[[dict[str, Any]], bool]

_OF_GOOGLE = ("projects/", "organizations/", "folders/")
_OF_AZURE = ("resourceId", "ResourceId", "_ResourceId", "operationResourceId")
# What tells a record of that kind, and what to say of it.
KNOWN: tuple[tuple[Test, str], ...] = (
    (
        lambda value: bool(value.keys() & {"mapRoles", "mapUsers"}) and "kind" not in value,
        "the data of aws-auth without its object: bring `kubectl get configmap aws-auth -n kube-system -o json`",
    ),
    (
        lambda value: (
            any(
                str(name).startswith(("user.username", "objectRef.", "aws.cloudtrail.", "aws.guardduty."))
                for name in value
            )
            or (isinstance(value.get("aws"), dict) and bool(value["aws"].keys() & {"cloudtrail", "guardduty"}))
            or (isinstance(value.get("kubernetes"), dict) and "audit" in value["kubernetes"])
        ),
        "an event that a log store took apart into fields: export the event as it was sent (`event.original`, `_raw`, `message`), or bring it from where the store got it",
    ),
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
    (
        lambda value: {"event name", "event time"} <= {str(name).lower() for name in value},
        "CloudTrail's event history as CSV, which says neither identity nor parameters: download it as JSON, or run `aws cloudtrail lookup-events`",
    ),
    (
        lambda value: "protoPayload" in value or str(value.get("logName")).startswith(_OF_GOOGLE),
        "a log of Google Cloud (GKE): this kit reads those of EKS",
    ),
    (
        lambda value: (
            (str(value.get("category", "")).startswith("kube-") and "properties" in value)
            or any(str(value.get(name, "")).lower().startswith("/subscriptions/") for name in _OF_AZURE)
            or "log_s" in value
        ),
        "a log of Azure (AKS): this kit reads those of EKS",
    ),
    (
        lambda value: isinstance(value.get("logContent"), dict) and "oracle" in value["logContent"],
        "a log of Oracle Cloud (OKE): this kit reads those of EKS",
    ),
    (
        lambda value: "__topic__" in value or "__source__" in value,
        "a log of Alibaba Cloud (ACK): this kit reads those of EKS",
    ),
    (
        lambda value: value.keys() >= {"Name", "Region", "Owned"},
        "clusters as eksctl prints them: bring `aws eks describe-cluster`",
    ),
    (
        lambda value: value.keys() >= {"Name", "Version", "IAMRole"},
        "add-ons as eksctl prints them: bring `aws eks describe-addon`",
    ),
    (
        lambda value: value.keys() >= {"StackName", "NodeInstanceRoleARN"},
        "node groups as eksctl prints them: bring `aws eks describe-nodegroup` and `aws ec2 describe-instances`",
    ),
    (
        lambda value: value.keys() >= {"serviceAccountName", "roleARN"},
        "Pod Identity associations as eksctl prints them: bring `aws eks describe-pod-identity-association`",
    ),
    (
        lambda value: value.keys() >= {"metadata", "wellKnownPolicies"},
        "service accounts as eksctl prints them: bring `kubectl get serviceaccounts -A -o json`",
    ),
)


_CAPTURED = b": pid, parent, "
CAPTURED = (
    "what capture_processes read of a node, without its first line, which says when: bring the file as it was written"
)
"""Of a file that the kit's own pod on a node wrote, and somebody cut."""


def named(value: Any) -> str:
    """What a record of evidence is that is known and not read, and what to bring instead; "" for any other."""
    cells = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if any(isinstance(cell, str) and _FINDING_TYPE.fullmatch(cell) for cell in cells):
        return "some members of a finding: run `aws guardduty get-findings` without `--query`, or export whole findings"
    if not isinstance(value, dict):
        return ""
    if version := version_of(value):
        return f"OCSF {version}, class {value['class_uid']}: not a class and version that this kit reads"
    return next((sentence for known, sentence in KNOWN if known(value)), "")


def why(head: bytes, form: str, seen: Sequence[Record], inside: Inside | None = None) -> str:
    """Why a file is not taken. seen: its first records, out of their envelopes; none where it is no JSON that is whole. inside: what
    in them would be taken by itself."""
    if packed := next((name for mark, name in _SMALLER.items() if head.startswith(mark)), ""):
        return f"a file that {packed} made smaller: unpack it, and give what was in it"
    start = head.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "this is HTML, perhaps a sign-in or error page that was saved in place of the data"
    if start.startswith(b"<?xml"):
        return "this is XML: export the search as JSON, or as raw events"
    if _TABLE.match(head.lstrip()):
        return "this is a table for people: run the command again with `-o json` (kubectl, eksctl) or `--output json` (aws)"
    if _CLI_TEXT.match(head):
        return "what the AWS CLI prints as text: run the command again with `--output json`"
    if _PYTHON.match(head):
        return "an object as Python prints it: write it with `json.dumps`"
    if _FLUENT_BIT.match(head) or _LOGSTASH.match(head):
        return "events as a shipper prints them for people: let it write lines of JSON (Fluent Bit: `format json_lines`, Logstash: `codec => json_lines`)"
    if _LOGCLI.match(head):
        return "lines of logcli with the labels of their streams: run it again with `--output=jsonl`"
    if _OF_CONTAINER.match(head):
        return "logs of containers, which whoever runs in them writes: no evidence of what happened to them"
    if _CAPTURED in head[:200]:
        return CAPTURED
    for record in seen:
        if sentence := named(record.value):
            return sentence
        if record.log.group:
            return f"a log of {record.log.group}, none of an EKS control plane's audit or authenticator logs"
    if inside:
        return f"no kind of file that this kit reads; it holds what is read as {inside.taken_as} at `{inside.filter}`: bring that alone, `jq -c '{inside.filter}' FILE`"
    if b"\0" in head and form != PARQUET:
        return "a binary file of a kind that this kit does not read"
    behind = _JSON_BEHIND.search(head) if not form or form == LINES else None
    if behind:
        return "lines with something before their JSON: bring the JSON alone, `sed 's/^[^{]*//' FILE`"
    if not form and _JSON_CELL.search(head):
        return "a table with JSON in a column of a name that is not known here: call the column `@message`, and bring the table again"
    if not form:
        return "no reader knows this kind of file"
    if form in (JSON, YAML, CSV) and not seen:
        broken = next((one.reason for one in records_in(head, form) if isinstance(one, Reject)), None)
        if broken:
            return f"it begins like {form} and cannot be read ({broken})"
        return "an empty list: nothing is in it" if form == JSON else f"{form} without a record"
    if form == JSON and all(record.cut for record in seen):
        return "it begins like JSON, and nothing in its beginning is of a kind that this kit reads"
    return f"{form}, but none of the kinds that this kit reads"
