"""The same audit events in every form that they arrive in: each gives the rows that the API server's own lines give."""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.errors import EvidenceError
from kit.evidence.formats import form as forms
from kit.evidence.formats import parquet
from kit.evidence.formats.stream import Reading
from kit.evidence.intake import load_new_case
from kit.evidence.raw import Raw
from kit.evidence.readers import authenticator
from kit.evidence.sniff import file_kind
from kit.store.store import Store
from tests.command import KIT, RECORDINGS, kit, kit_json
from tests.sources.reading import Row, read, taken_by
from tests.sources.test_json_document import FORMS_OF_TIMES

LINES = gzip.decompress((RECORDINGS / "stolen_sa_token" / "audit.jsonl.gz").read_bytes()).splitlines()[:120]
TEXTS = [line.decode() for line in LINES]
EVENTS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
GROUP, STREAM = "/aws/eks/red/cluster", "kube-apiserver-audit-0123456789abcdef0123456789abcdef"
AT = 1_769_868_000_123


def logged(text: str, number: int, **more: Any) -> dict[str, Any]:
    return {"timestamp": AT + number, "message": text, "ingestionTime": AT + number + 500, **more}


def payload(texts: list[str]) -> dict[str, Any]:
    events = [{"id": f"{number:056}", "timestamp": AT + number, "message": text} for number, text in enumerate(texts)]
    about = {"messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": GROUP, "logStream": STREAM}
    return about | {"subscriptionFilters": ["all"], "logEvents": events}


def packed(value: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()


CONTROL = {
    "messageType": "CONTROL_MESSAGE",
    "owner": "CloudwatchLogs",
    "logGroup": "",
    "logStream": "",
    "subscriptionFilters": [],
    "logEvents": [{"id": "", "timestamp": AT, "message": "CWL CONTROL MESSAGE: Checking health of destination."}],
}
HALVES = [payload(TEXTS[:60]), payload(TEXTS[60:])]


def by_stream(texts: list[str]) -> list[dict[str, Any]]:
    return [logged(text, number, logStreamName=STREAM, eventId="1") for number, text in enumerate(texts)]


def query_rows(texts: list[str]) -> list[list[dict[str, str]]]:
    return [
        [
            {"field": "@timestamp", "value": "2026-01-31 14:00:00.123"},
            {"field": "@message", "value": text},
            {"field": "@log", "value": f"111122223333:{GROUP}"},
            {"field": "@logStream", "value": STREAM},
            {"field": "@ptr", "value": "Cm"},
        ]
        for text in texts
    ]


def as_csv(texts: list[str]) -> str:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["@timestamp", "@logStream", "@message"])
    table.writerows(["2026-01-31 14:00:00.123", STREAM, text] for text in texts)
    return out.getvalue()


def csv_of(names: list[str], rows: list[list[Any]], between: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=between).writerows([names, *rows])
    return out.getvalue()


def in_a_row(*documents: Any) -> str:
    return "".join(json.dumps(each) for each in documents)


FORMS: dict[str, Callable[[], str | bytes]] = {
    "event-list": lambda: json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": EVENTS}),
    "event-list-of-bare-items": lambda: json.dumps(
        {
            "kind": "EventList",
            "apiVersion": "audit.k8s.io/v1",
            "items": [{k: v for k, v in event.items() if k not in ("kind", "apiVersion")} for event in EVENTS],
        }
    ),
    "event-lists-in-lines": lambda: "\n".join(json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [e]}) for e in EVENTS),
    "pretty": lambda: "\n".join(json.dumps(event, indent=2) for event in EVENTS),
    "in-a-row": lambda: "".join(TEXTS),
    "list": lambda: json.dumps(EVENTS, indent=1),
    "utf-16": lambda: "\n".join(TEXTS).encode("utf-16"),
    "get-log-events": lambda: json.dumps(
        {"events": [logged(t, n) for n, t in enumerate(TEXTS)], "nextForwardToken": "f/1/s", "nextBackwardToken": "b/1/s"},
        indent=4,
    ),
    "filter-log-events": lambda: json.dumps({"events": by_stream(TEXTS), "searchedLogStreams": []}),
    "filter-log-events-pages": lambda: in_a_row({"events": by_stream(TEXTS[:50])}, {"events": by_stream(TEXTS[50:])}),
    "tail": lambda: "\n".join(f"2026-01-31T14:00:00.123000+00:00 {STREAM} {text}" for text in TEXTS),
    "insights-api": lambda: json.dumps({"results": query_rows(TEXTS), "statistics": {}, "status": "Complete"}),
    "insights-console-json": lambda: json.dumps([{"@timestamp": "2026-01-31 14:00:00.123", "@message": e} for e in EVENTS]),
    "insights-console-json-of-texts": lambda: json.dumps([{"@timestamp": "x", "@message": text} for text in TEXTS]),
    "insights-console-csv": lambda: as_csv(TEXTS),
    "insights-console-csv-from-excel": lambda: "\ufeff" + as_csv(TEXTS).replace("\r\n", "\n"),
    "export-to-s3": lambda: gzip.compress("".join(f"2026-01-31T14:00:00.123Z {text}\n" for text in TEXTS).encode()),
    "subscription": lambda: json.dumps(payload(TEXTS), indent=1),
    "subscription-lambda": lambda: json.dumps({"awslogs": {"data": packed(payload(TEXTS))}}),
    "subscription-kinesis": lambda: json.dumps(
        {"Records": [{"kinesis": {"data": packed(each)}, "eventSource": "aws:kinesis"} for each in [CONTROL, *HALVES]]}
    ),
    "kinesis-get-records": lambda: json.dumps(
        {"Records": [{"SequenceNumber": "1", "Data": packed(each), "PartitionKey": "k"} for each in HALVES]}
    ),
    "subscription-firehose": lambda: json.dumps(
        {"deliveryStreamArn": "a", "records": [{"recordId": "r", "data": packed(each)} for each in [CONTROL, *HALVES]]}
    ),
    "firehose-on-s3": lambda: b"".join(gzip.compress(json.dumps(each).encode()) for each in [CONTROL, *HALVES]),
    "firehose-on-s3-packed-twice": lambda: gzip.compress(b"".join(gzip.compress(json.dumps(each).encode()) for each in HALVES)),
    "firehose-failed": lambda: "\n".join(json.dumps({"errorCode": "x", "rawData": packed(each)}) for each in HALVES),
    "console-csv": lambda: csv_of(["timestamp", "message"], [[AT + n, t] for n, t in enumerate(TEXTS)]),
    "console-csv-of-streams": lambda: csv_of(["timestamp", "message", "logStreamName"], [[AT, t, STREAM] for t in TEXTS]),
    "tail-short": lambda: "\n".join(f"2026-01-31T14:00:00 {text}" for text in TEXTS),
    "strings": lambda: "\n".join(json.dumps(text) for text in TEXTS),
    "list-of-strings": lambda: json.dumps(TEXTS, indent=1),
    "splunk-json": lambda: "\n".join(json.dumps({"preview": False, "result": {"_raw": t, "host": "h"}}) for t in TEXTS),
    "splunk-csv": lambda: csv_of(["_time", "_raw", "host"], [["2026-01-31T14:00:00", t, "h"] for t in TEXTS]),
    "console-csv-of-excel": lambda: "sep=;\n" + csv_of(["Timestamp (UTC)", "Message"], [["x", t] for t in TEXTS], ";"),
    "console-table": lambda: csv_of(["timestamp", "message"], [[AT + n, t] for n, t in enumerate(TEXTS)], "\t"),
    "tail-of-a-terminal": lambda: "\n".join(f"\x1b[32m2026-01-31T14:00:00.1+00:00\x1b[0m \x1b[36m{STREAM}\x1b[0m {t}" for t in TEXTS),
    "tail-format-json": lambda: "\n".join(f"2026-01-31T14:00:00.1+00:00 {STREAM} {json.dumps(e, indent=4)}" for e in EVENTS),
    "lines-with-a-plain-time": lambda: "\n".join(f"2026-01-31 14:00:00 {t}" for t in TEXTS),
    "splunk-collector": lambda: "\n".join(json.dumps({"time": 1.0, "host": "h", "sourcetype": "s", "event": e}) for e in EVENTS),
    "splunk-collector-of-texts": lambda: "\n".join(json.dumps({"time": 1.0, "index": "h", "event": t}) for t in TEXTS),
    "elastic-original": lambda: "\n".join(json.dumps({"@timestamp": "x", "event": {"original": t}, "ecs": {}}) for t in TEXTS),
    "fluent-bit-parsed": lambda: "\n".join(json.dumps({"date": 1.5, "log": e}) for e in EVENTS),
    "fluent-bit-alone": lambda: json.dumps([{"log": t} for t in TEXTS]),
    "opensearch": lambda: json.dumps({"took": 1, "hits": {"total": {}, "hits": [{"_index": "a", "_id": "1", "_source": e} for e in EVENTS]}}),
    "elastic-lines": lambda: "\n".join(json.dumps({"_index": "a", "_source": {"@timestamp": "x", "message": t}}) for t in TEXTS),
    "fluent-bit": lambda: "\n".join(json.dumps({"date": 1.5, "log": t + "\n"}) for t in TEXTS),
    "filebeat": lambda: "\n".join(json.dumps({"@timestamp": "x", "message": t, "input": {"type": "log"}}) for t in TEXTS),
    "no-kind": lambda: "\n".join(json.dumps({k: v for k, v in e.items() if k not in ("kind", "apiVersion")}) for e in EVENTS),
    "zstd": lambda: pa.compress("\n".join(TEXTS).encode(), codec="zstd", asbytes=True),
    "bzip2": lambda: bz2.compress("\n".join(TEXTS).encode()),
}  # fmt: skip
MADE_ANEW = ("no-kind",)
"""Not the same text, so no duplicates: their rows are the same but for that."""
REORDERED = {"insights-console-json"}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_events_in_every_form_are_the_same_rows(form: str, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_bytes(b"\n".join(LINES))
    made = FORMS[form]()
    (tmp_path / "form").write_bytes(made.encode() if isinstance(made, str) else made)
    printed = kit_json("new", tmp_path / "case", tmp_path / "audit.jsonl", tmp_path / "form")
    plain, wrapped = printed["files"]
    assert wrapped["taken_as"] == plain["taken_as"] == "Kubernetes audit log"
    duplicates = 0 if form in MADE_ANEW else 120
    assert (wrapped["records"], wrapped["rejects"], wrapped["duplicates"]) == (120, 0, duplicates), wrapped
    alone = kit_json("new", tmp_path / "alone", tmp_path / "form")["files"][0]
    assert (alone["records"], alone["rows"]) == (120, 120)
    raw = Raw(tmp_path / "alone")
    rows = Store(tmp_path / "alone").rows("SELECT audit_id, file, line, item FROM audit USING SAMPLE 4 (reservoir, 1)")
    for row in rows:
        assert json.loads(raw.text(row["file"], row["item"]))["auditID"] == row["audit_id"]


@pytest.mark.parametrize(
    "form", ["filter-log-events", "tail", "insights-api", "subscription", "subscription-kinesis", "firehose-on-s3"]
)
def test_the_log_stream_is_known_where_the_form_says_it(form: str, tmp_path: Path) -> None:
    made = FORMS[form]()
    (tmp_path / "form").write_bytes(made.encode() if isinstance(made, str) else made)
    kit_json("new", tmp_path / "case", tmp_path / "form")
    found = Store(tmp_path / "case").rows("SELECT DISTINCT log_stream, cluster, account FROM audit")
    cluster = "red" if form not in ("filter-log-events", "tail") else None
    assert found == [{"log_stream": STREAM, "cluster": cluster, "account": cluster and "111122223333"}]


def test_an_exports_folder_is_the_log_stream(tmp_path: Path) -> None:
    folder = tmp_path / "exportedlogs" / "task" / STREAM
    folder.mkdir(parents=True)
    made = FORMS["export-to-s3"]()
    assert isinstance(made, bytes)
    (folder / "000000.gz").write_bytes(made)
    (tmp_path / "exportedlogs" / "aws-logs-write-test").write_text("Permission Check Successful")
    listed = kit_json("new", tmp_path / "case", tmp_path / "exportedlogs")["files"]
    assert {entry["path"].split("/")[-1]: entry["taken_as"] for entry in listed} == {
        "aws-logs-write-test": None,
        "000000.gz": "Kubernetes audit log",
    }
    assert Store(tmp_path / "case").rows("SELECT DISTINCT log_stream AS s FROM audit") == [{"s": STREAM}]


def test_a_cut_message_is_a_reject_that_knows_its_time(tmp_path: Path) -> None:
    cut = TEXTS[3][: len(TEXTS[3]) // 2]
    (tmp_path / "events.json").write_text(json.dumps({"events": by_stream([*TEXTS[:3], cut, *TEXTS[4:9]])}))
    lines = [*TEXTS[:3], cut, *TEXTS[4:9]]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    for name in ("events.json", "lines.jsonl"):
        (entry,) = kit_json("new", tmp_path / f"case-{name}", tmp_path / name)["files"]
        assert (entry["rows"], entry["rejects"]) == (8, 1)
        (reject,) = Store(tmp_path / f"case-{name}").rows("SELECT * FROM rejects")
        assert reject["item"] == 4 and reject["reason"].startswith("not JSON") and reject["raw"] == cut[:200]
        before = EVENTS[2]["requestReceivedTimestamp"][:19]
        expected = "2026-01-31T14:00:00" if name == "events.json" else before
        assert reject["near_at"].isoformat()[:19] == expected


GRANTED = (
    'time="2026-01-31T14:00:00Z" level=info msg="access granted" arn="arn:aws:iam::111122223333:role/Dev" client="127.0.0.1:40000"'
    ' groups="[system:masters dev]" method=POST path=/authenticate uid="aws-iam-authenticator:111122223333:AROAX" username="dev:al\\"ice"'
)
ANSWERED = (
    'time="2026-01-31T14:00:00Z" level=info msg="STS response" accesskeyid=ASIAX accountid=111122223333'
    ' arn="arn:aws:sts::111122223333:assumed-role/Dev/alice" client="127.0.0.1:40000" session= userid=AROAX'
)
DENIED = 'time="2026-01-31T14:00:01Z" level=warning msg="access denied" arn="arn:aws:iam::1:role/Ops" error="ARN is not mapped"'


def test_the_authenticators_answers_are_sign_ins() -> None:
    data = "\n".join([GRANTED, ANSWERED, DENIED, 'time="2026-01-31T14:00:02Z" level=info msg="listening', "E0131 x"])
    granted, answered, denied, cut, other = read(data.encode())
    assert taken_by(data.encode()) is authenticator
    assert isinstance(granted, Row) and isinstance(answered, Row) and isinstance(denied, Row)
    values = granted.values
    assert (values["granted"], values["user_name"], values["user_groups"]) == (
        True,
        'dev:al"ice',
        ["system:masters", "dev"],
    )
    assert values["arn"] == "arn:aws:iam::111122223333:role/Dev"
    assert (answered.values["granted"], answered.values["access_key_id"], answered.values["session_name"]) == (
        None,
        "ASIAX",
        None,
    )
    assert (denied.values["granted"], denied.values["message"]) == (False, "access denied: ARN is not mapped")
    assert not isinstance(cut, Row) and "cut or broken" in cut.reason
    assert not isinstance(other, Row) and "does not read" in other.reason


def test_a_log_group_with_all_its_streams_is_sorted_by_reader(tmp_path: Path) -> None:
    klog = "I0131 14:00:00.123456       1 scheduler.go:604] Successfully bound pod to node"
    events = by_stream([TEXTS[0], GRANTED, klog, TEXTS[1]])
    authenticator_stream, other = (f"{name}-{STREAM[-32:]}" for name in ("authenticator", "kube-scheduler"))
    events[1]["logStreamName"], events[2]["logStreamName"] = authenticator_stream, other
    (tmp_path / "events.json").write_text(json.dumps({"events": events}))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "events.json")["files"]
    assert entry["taken_as"] == "Kubernetes audit log and EKS authenticator log"
    assert (entry["records"], entry["rows"], entry["rejects"]) == (4, 3, 1)
    store = Store(tmp_path / "case")
    assert store.rows("SELECT user_name AS n, log_stream AS s FROM sign_ins") == [
        {"n": 'dev:al"ice', "s": authenticator_stream}
    ]
    (reject,) = store.rows("SELECT reason, raw FROM rejects")
    assert reject == {"reason": "is a line of a log that this kit does not read", "raw": klog}


def test_lines_of_several_kinds_go_each_to_its_reader(tmp_path: Path) -> None:
    folder = RECORDINGS / "stolen_sa_token"
    trail = json.loads(gzip.decompress((folder / "cloudtrail.json.gz").read_bytes()))["Records"][:5]
    finding = json.loads((folder / "findings.json").read_text())["Findings"][0]
    others = [json.dumps(each) for each in (*trail, finding, {"kind": "Pod"}, {"a": 1})]
    (tmp_path / "lines").write_text("\n".join([*TEXTS[:5], *others, *TEXTS[5:10]]))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "lines")["files"]
    assert entry["taken_as"] == "Kubernetes audit log and CloudTrail and GuardDuty findings"
    assert (entry["records"], entry["rows"], entry["rejects"]) == (18, 16, 2)
    store = Store(tmp_path / "case")
    assert [row["line"] for row in store.rows("SELECT line FROM trail ORDER BY line")] == [6, 7, 8, 9, 10]
    assert [row["reason"] for row in store.rows("SELECT reason FROM rejects ORDER BY line")] == [
        "not an audit event: kind is Pod",
        "not an audit event: kind is missing",
    ]


YAML = """\
apiVersion: v1
items:
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: aws-auth
    namespace: kube-system
    creationTimestamp: 2026-01-01T00:00:00Z
  data:
    mapRoles: |
      - rolearn: arn:aws:iam::111122223333:role/Dev
        username: dev:{{SessionName}}
- apiVersion: v1
  kind: Secret
  metadata: {name: s, namespace: n}
  data: {password: aHVudGVyMg==}
kind: List
---
apiVersion: v1
kind: Namespace
metadata:
  name: "yes"
"""


def test_objects_as_yaml_are_objects() -> None:
    made = read(YAML.encode())
    rows = [each for each in made if isinstance(each, Row)]
    assert [(row.line, row.item, row.values["kind"], row.values["name"]) for row in rows] == [
        (3, 1, "ConfigMap", "aws-auth"),
        (13, 2, "Secret", "s"),
        (19, 3, "Namespace", "yes"),
    ]
    assert "rolearn: arn:aws:iam" in json.loads(rows[0].values["object"])["data"]["mapRoles"]
    assert "aHVudGVyMg" not in repr(rows)


def test_numbers_in_yaml_are_those_of_json() -> None:
    plain = {"a": "=", "b": "0x_", "c": "0b_", "d": "1_000", "e": "012", "f": "1:30", "g": ".inf", "h": "<<"}
    numbers = {"i": 1, "j": -20, "k": 1.5, "l": 1e21, "m": 0}
    lines = [f"  {name}: {value}" for name, value in (plain | numbers | {"l": "1e+21"}).items()]
    text = "\n".join(["apiVersion: v1", "kind: ConfigMap", "metadata: {name: x}", "data:", *lines])
    (row, after) = read(f"{text}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: y}}\n".encode())
    assert isinstance(row, Row) and isinstance(after, Row)
    found = json.loads(row.values["object"])["data"]
    assert found == plain | numbers and isinstance(found["i"], int)


def test_a_log_that_holds_other_things_first_is_taken(tmp_path: Path) -> None:
    klog = [f"I0131 14:00:00.{number:06}       1 scheduler.go:604] bound" for number in range(300)]
    events = by_stream([*klog, *TEXTS[:3]])
    for event in events[:300]:
        event["logStreamName"] = f"kube-scheduler-{STREAM[-32:]}"
    (tmp_path / "events.json").write_text(json.dumps({"events": events}))
    (tmp_path / "lines").write_text("\n".join([*klog, *(json.dumps({"a": 1}) for _ in range(99)), *TEXTS[5:8]]))
    for entry in kit_json("new", tmp_path / "case", tmp_path / "events.json", tmp_path / "lines")["files"]:
        assert (entry["taken_as"], entry["rows"]) == ("Kubernetes audit log", 3), entry


def test_an_event_list_on_one_line_is_a_list_however_long(tmp_path: Path) -> None:
    events = [json.loads(text) for text in TEXTS]
    whole = {"apiVersion": "audit.k8s.io/v1", "items": events, "kind": "EventList", "metadata": {}}
    data = json.dumps(whole, separators=(",", ":"), sort_keys=True).encode()
    assert len(data) > 64 << 10
    (tmp_path / "list").write_bytes(data)
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "list")["files"]
    assert (entry["rows"], entry["rejects"]) == (len(TEXTS), 0)


def test_lines_of_other_kinds_among_audit_lines_lose_nothing(tmp_path: Path) -> None:
    """Letters outside ASCII, and envelopes: `cat` puts anything beside anything."""
    greek = GRANTED.replace("dev:", "δέλτα:")
    events = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": EVENTS[9:12]}
    others = [greek, json.dumps(payload(TEXTS[3:6])), json.dumps(events), json.dumps({"kind": "Event"})]
    (tmp_path / "lines").write_text("\n".join([*TEXTS[:3], *others, *TEXTS[6:9]]))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "lines")["files"]
    assert (entry["records"], entry["rows"], entry["rejects"]) == (14, 13, 1)
    assert "δέλτα" in Store(tmp_path / "case").rows("SELECT user_name AS n FROM sign_ins")[0]["n"]


def test_a_reference_leads_to_the_record_in_files_of_lines_of_other_kinds(tmp_path: Path) -> None:
    lines = "\n".join(["", GRANTED, "", "", DENIED])
    (tmp_path / "sign-ins").write_text(lines)
    kit_json("new", tmp_path / "case", tmp_path / "sign-ins")
    for row in Store(tmp_path / "case").rows("SELECT file, item, granted FROM sign_ins"):
        text = Raw(tmp_path / "case").text(row["file"], row["item"])
        assert text == (GRANTED if row["granted"] else DENIED)


def test_a_cell_that_looks_like_a_containers_log_ends_nothing(tmp_path: Path) -> None:
    rows = [["@timestamp", "@message"], *(["x", text] for text in TEXTS[:2])]
    rows.insert(2, ["x", "a\n==== START logs for container a of pod b ====\n"])
    with (tmp_path / "cells.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "cells.csv")["files"]
    assert (entry["rows"], entry["rejects"]) == (2, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("apiVersion: v1\nkind: Pod\nmetadata: &a {name: x}\nspec: *a\n", "an alias"),
        ("apiVersion: v1\nkind: Pod\nkind: Secret\nmetadata: {name: x}\n", "stands twice"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x, name: y}\n", "stands twice"),
        ("apiVersion: v1\nkind: Pod\nmetadata: [\n", "not YAML"),
        ("apiVersion: v1\nkind: Pod\nmetadata: !!python/object:os.system {}\n", "not YAML"),
    ],
)
def test_yaml_that_could_hide_something_is_a_reject(text: str, reason: str) -> None:
    first = YAML.partition("---")[0] + "---\n"
    *rows, reject = read((first + text).encode())
    assert len(rows) == 2
    assert not isinstance(reject, Row) and reason in reject.reason


def test_lists_of_aliases_do_not_fill_the_memory() -> None:
    bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\na: &a [x,x,x]\n"
    bomb += "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    )
    *_, reject = read((YAML + "---\n" + bomb).encode())
    assert not isinstance(reject, Row) and "alias" in reject.reason


def test_a_dump_of_cluster_info_is_read_and_its_containers_logs_are_not(tmp_path: Path) -> None:
    pods = {"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "p", "namespace": "n", "uid": "u"}}]}
    forged = pods | {"items": [{"metadata": {"name": "forged", "namespace": "n", "uid": "f"}}]}
    log = f"==== START logs for container app of pod n/p ====\n{json.dumps(forged)}\n==== END logs for container app of pod n/p ====\n"
    folder = tmp_path / "dump" / "n" / "p"
    folder.mkdir(parents=True)
    (folder / "logs.txt").write_text(log)
    (folder.parent / "pods.json").write_text(json.dumps(pods, indent=4))
    (tmp_path / "dump" / "stdout.json").write_text(
        json.dumps(pods | {"items": [{"metadata": {"name": "q"}}]}, indent=4) + "\n" + log + json.dumps(forged)
    )
    listed = {entry["path"]: entry for entry in kit_json("new", tmp_path / "case", tmp_path / "dump")["files"]}
    assert listed["dump/n/p/logs.txt"]["note"].startswith("not taken: logs of containers")
    assert "not read" in listed["dump/stdout.json"]["note"]
    names = Store(tmp_path / "case").rows("SELECT name, kind FROM objects ORDER BY name")
    assert names == [{"name": "p", "kind": "Pod"}, {"name": "q", "kind": "Pod"}]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("insights.json", json.dumps({"results": [[{"field": "@timestamp", "value": "x"}, {"field": "verb", "value": "get"}]]}), "without @message"),
        ("lambda.json", json.dumps(payload(["START RequestId: x"]) | {"logGroup": "/aws/lambda/f"}), "a log of /aws/lambda/f"),
        ("klog", "I0131 14:00:00.123456       1 scheduler.go:604] Successfully bound\n", "no reader knows"),
        ("columns.json", json.dumps({"results": [[{"field": "@timestamp", "value": "x"}, {"field": "auditID", "value": "x"}, {"field": "verb", "value": "get"}]]}), "without @message"),
        ("pods.txt", "NAMESPACE   NAME   READY   STATUS\nshop   web-1   1/1   Running\n", "run the command again with `-o json`"),
        ("entries.txt", "PRINCIPAL ARN\tTYPE\tGROUPS\narn:aws:iam::111122223333:role/r\tSTANDARD\t\n", "run the command again with `-o json`"),
        ("answer.txt", "-------------\n|  verb  |  user  |\n", "--output json"),
        ("search.xml", "<?xml version='1.0'?><results/>", "this is XML"),
        ("clusters.json", json.dumps([{"Name": "a", "Region": "eu-west-1", "Owned": "True"}]), "`aws eks describe-cluster`"),
        ("addons.json", json.dumps([{"Name": "vpc-cni", "Version": "v1", "IAMRole": ""}]), "`aws eks describe-addon`"),
        ("pods.log", json.dumps({"logName": "projects/p/logs/stdout", "textPayload": "x", "resource": {"type": "k8s_container"}}), "Google Cloud (GKE)"),
        ("audit.csv", "TimeGenerated,Category,log_s,_ResourceId\nx,kube-audit,x,/subscriptions/y\n", "Azure (AKS)"),
        ("query.json", json.dumps({"tables": [{"name": "t", "columns": [{"name": "log_s"}], "rows": [["x"]]}]}), "Azure (AKS)"),
        ("ack.json", json.dumps([{"__topic__": "k8s-audit", "content": "{}"}]), "Alibaba Cloud (ACK)"),
        ("ids.json", json.dumps({"FindingIds": ["a"]}), "only finding ids"),
        ("grep.txt", "".join(f"{number}:{text}\n" for number, text in enumerate(TEXTS[:3], 1)), "something before their JSON"),
        ("mail.txt", f"> {TEXTS[0]}\n", "something before their JSON"),
        ("column.csv", 'time,log\n2026-01-31T14:00:00Z,"' + TEXTS[0].replace('"', '""') + '"\n', "call the column `@message`"),
        ("alias.yaml", "kind: Pod\na: &a [x]\nb: *a\n", "begins like YAML and cannot be read (not YAML: an alias"),
        ("name.yaml", "kind: Pod\nmetadata: {[1, 2]: e}\n", "(not YAML: a name that is no text"),
        ("deep.yaml", "kind: Pod\nmetadata: " + "{a: " * 5000, "begins like YAML and cannot be read"),
        ("tag.yaml", 'kind: !!python/object/apply:os.system ["true"]\n', "begins like YAML and cannot be read"),
        ("open.csv", 'timestamp,message\n1,"' + "a\n" * 1000, "begins like CSV and cannot be read"),
        ("repr.txt", repr(EVENTS[0]), "as Python prints it"),
    ],
)  # fmt: skip
def test_what_is_known_and_not_read_says_what_to_bring(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    done = kit("new", tmp_path / "case", tmp_path / name)
    assert done.returncode == 2 and reason in done.stderr, done.stderr


@pytest.mark.parametrize("packed", ["xz", "7-Zip", "RAR", "lz4"])
def test_what_another_program_made_smaller_is_named(packed: str, tmp_path: Path) -> None:
    marks = {"xz": b"\xfd7zXZ\0", "7-Zip": b"7z\xbc\xaf\x27\x1c", "RAR": b"Rar!\x1a\x07\0", "lz4": b"\x04\x22\x4d\x18"}
    (tmp_path / "log").write_bytes(marks[packed] + b"\0" * 100)
    with pytest.raises(EvidenceError, match=f"that {packed} made smaller: unpack it"):
        file_kind(tmp_path / "log")


def test_a_parquet_file_of_other_rows_is_no_binary_file_of_no_kind(tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1, 2]}), tmp_path / "log")
    with pytest.raises(EvidenceError, match="Parquet, but none of the kinds"):
        file_kind(tmp_path / "log")


def test_no_more_than_some_thousand_records_of_a_file_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"{}\n" * 300_000)
    began = time.process_time()
    with pytest.raises(EvidenceError, match="none of the kinds"):
        file_kind(tmp_path / "log")
    assert time.process_time() - began < 8


def bombs(kind: str, path: Path) -> None:
    """A Parquet file of some bytes whose values take gigabytes: one long text in many rows, a long list of nothing, rows of nothing."""
    if kind == "text":
        many = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["x" * (8 << 20)]))
    elif kind == "list":
        many = pa.ListArray.from_arrays(pa.array([0, 200_000_000], pa.int32()), pa.nulls(200_000_000, pa.int8()))
    else:
        many = pa.nulls(3_000_000, pa.int8())
    table = pa.table({"class_uid": many})
    pq.write_table(table, path, compression="zstd", store_schema=False, write_statistics=False, data_page_size=1 << 30)


@pytest.mark.parametrize(
    ("kind", "says"), [("text", "512 MiB"), ("list", "512 MiB"), ("rows", "Parquet, but none of the kinds")]
)
def test_a_parquet_file_takes_no_more_memory_than_it_may(tmp_path: Path, kind: str, says: str) -> None:
    bombs(kind, tmp_path / "small.parquet")
    assert (tmp_path / "small.parquet").stat().st_size < 20_000
    # By a process between: what is started by this one begins with this one's peak.
    between = (
        "import json, resource, subprocess, sys; ran = subprocess.run(sys.argv[1:], capture_output=True, text=True)"
    )
    between += (
        "; print(json.dumps([ran.returncode, ran.stderr, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    )
    command = [sys.executable, "-c", between, str(KIT), "new", str(tmp_path / "case"), str(tmp_path / "small.parquet")]
    code, stderr, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert code == 2 and says in stderr
    assert peak < 1 << 20  # KiB


def test_rows_without_end_are_a_bomb(tmp_path: Path) -> None:
    """Rows of an event and then of nothing: those within what any file may unfold to are read."""
    names = {"eventTime": "2026-01-31T14:00:00Z", "eventName": "GetObject", "eventSource": "s3.amazonaws.com"}
    columns = {name: pa.DictionaryArray.from_arrays(pa.nulls(1_200_000, pa.int32()), pa.array([value])) for name, value in names.items()}  # fmt: skip
    path, reading = tmp_path / "rows.parquet", Reading()
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    count = sum(1 for _ in parquet.parquet_rows(path, reading))
    assert 1_000_000 < count < 1_200_000 and "decompression bomb" in reading.damage


TIMED = {"requestReceivedTimestamp": "2026-01-31T14:00:00.5Z", "stageTimestamp": "2026-01-31T14:00:01Z"}


@pytest.mark.parametrize(
    ("times", "at"),
    [
        ({"timestamp": "2026-01-31T14:00:00.5Z", "stageTimestamp": "2026-01-31T14:00:01Z"}, "2026-01-31T14:00:00.500000+00:00"),
        ({"stageTimestamp": "2026-01-31T14:00:01Z"}, "2026-01-31T14:00:01+00:00"),
        ({"requestReceivedTimestamp": "2026-01-31 14:00:00"}, "2026-01-31T14:00:00+00:00"),
        ({"requestReceivedTimestamp": 1769868000}, "2026-01-31T14:00:00+00:00"),
        ({"requestReceivedTimestamp": "1769868000.25"}, "2026-01-31T14:00:00.250000+00:00"),
        ({"requestReceivedTimestamp": 1769868000250}, "2026-01-31T14:00:00.250000+00:00"),
        ({"requestReceivedTimestamp": "1769868000250001"}, "2026-01-31T14:00:00.250001+00:00"),
        ({"requestReceivedTimestamp": "soon", "timestamp": "2026-01-31T14:00:00Z"}, "2026-01-31T14:00:00+00:00"),
    ],
)  # fmt: skip
def test_an_event_has_the_time_that_any_of_its_members_tells(tmp_path: Path, times: dict[str, Any], at: str) -> None:
    event = {name: value for name, value in EVENTS[5].items() if name not in TIMED} | times
    (tmp_path / "log").write_text(f"{TEXTS[4]}\n{json.dumps(event)}\n")
    load_new_case(tmp_path / "case", [str(tmp_path / "log")])
    (row,) = Store(tmp_path / "case").rows("SELECT received_at FROM audit WHERE item = 2")
    assert row["received_at"].isoformat() == at


def test_an_event_has_its_time_in_every_form_that_a_finding_may_have_it(tmp_path: Path) -> None:
    events = [
        EVENTS[5] | {"requestReceivedTimestamp": time, "stageTimestamp": None, "auditID": f"{number:036}"}
        for number, time in enumerate(FORMS_OF_TIMES)
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, events)))
    load_new_case(tmp_path / "case", [str(tmp_path / "log")])
    rows = Store(tmp_path / "case").rows("SELECT item, received_at FROM audit ORDER BY item")
    assert {FORMS_OF_TIMES[row["item"] - 1]: row["received_at"].isoformat() for row in rows} == dict.fromkeys(
        FORMS_OF_TIMES, "2026-03-02T09:14:51+00:00"
    )


@pytest.mark.parametrize(
    "left_out", [("auditID",), ("auditID", "kind"), ("auditID", "kind", "apiVersion"), ("auditID", "stage")]
)
def test_events_without_their_id_are_told_apart(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    events = [{name: value for name, value in event.items() if name not in left_out} for event in EVENTS[:4]]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, events)))
    load_new_case(tmp_path / "case", [str(tmp_path / "log")])
    store = Store(tmp_path / "case")
    rows = store.rows("SELECT audit_id, file, item, verb FROM audit ORDER BY item")
    assert [row["verb"] for row in rows] == [event["verb"] for event in EVENTS[:4]]
    assert [row["audit_id"] for row in rows] == [f"none in log {number}" for number in range(1, 5)]
    assert not store.reused_audit_ids


def elided(form: str) -> str:
    """A query's answer that a person cut by hand."""
    rows = [[{"field": "@timestamp", "value": "x"}, {"field": "@message", "value": text}] for text in TEXTS[:4]]
    lines = json.dumps({"results": rows, "status": "Complete"}, indent=4).split("\n")
    second = next(number for number, line in enumerate(lines) if EVENTS[1]["auditID"] in line) - 7
    if form == "a row":
        lines[second : second + 10] = ["        [...],"]
    elif form == "in a row":
        lines[second + 1 : second + 5] = ["            ..."]
    elif form == "behind a prompt":
        lines = ["$ aws logs get-query-results --query-id x", *lines[: second + 10 * 3], "[...]"]
    return "\n".join(lines)


@pytest.mark.parametrize(("form", "rows"), [("a row", 3), ("in a row", 3), ("behind a prompt", 4)])
def test_each_whole_row_of_a_cut_answer_is_kept(tmp_path: Path, form: str, rows: int) -> None:
    (tmp_path / "log").write_text(elided(form))
    ledger = load_new_case(tmp_path / "case", [str(tmp_path / "log")]).ledger
    assert (ledger[0].rows, ledger[0].rejects > 0) == (rows, True), ledger
    assert all(row["line"] for row in Store(tmp_path / "case").rows("SELECT line FROM rejects"))


def test_a_line_that_a_container_logged_is_no_evidence(tmp_path: Path) -> None:
    forged = [{"log": text, "stream": "stdout", "time": "x", "kubernetes": {"pod_name": "web"}} for text in TEXTS[:3]]
    (tmp_path / "log").write_text("\n".join([*TEXTS[3:6], *map(json.dumps, forged)]))
    ledger = load_new_case(tmp_path / "case", [str(tmp_path / "log")]).ledger
    assert (ledger[0].rows, ledger[0].rejects) == (3, 3)
    (reason,) = Store(tmp_path / "case").rows("SELECT DISTINCT reason FROM rejects")
    assert "a container logged" in reason["reason"]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"protoPayload": {"@type": "x"}, "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity"}, "GKE"),
        ({"category": "kube-audit", "resourceId": "/SUBSCRIPTIONS/X", "properties": {"log": TEXTS[0]}}, "AKS"),
        ({"logContent": {"data": {}, "oracle": {"compartmentid": "x"}}}, "OKE"),
    ],
)
def test_a_row_of_another_cloud_is_refused_by_its_name(tmp_path: Path, other: dict[str, Any], reason: str) -> None:
    (tmp_path / "log").write_text("\n".join([TEXTS[0], json.dumps(other), TEXTS[1]]))
    ledger = load_new_case(tmp_path / "case", [str(tmp_path / "log")]).ledger
    assert (ledger[0].rows, ledger[0].rejects) == (2, 1)
    (reject,) = Store(tmp_path / "case").rows("SELECT reason, line FROM rejects")
    assert reason in reject["reason"] and reject["line"] == 2


@pytest.mark.parametrize("around", [{}, {"metadata": {"resourceVersion": "1"}}, {"kind": "PodList"}])
def test_pods_that_do_not_say_their_version_are_pods(tmp_path: Path, around: dict[str, Any]) -> None:
    about = {"name": "a", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    pods = [{"metadata": about, "spec": {"containers": []}}, {"kind": "Pod", "metadata": about | {"name": "b"}, "spec": {"containers": []}}]  # fmt: skip
    (tmp_path / "dump.json").write_text(json.dumps(around | {"items": pods}))
    load_new_case(tmp_path / "case", [str(tmp_path / "dump.json")])
    rows = Store(tmp_path / "case").rows("SELECT kind, name, api_version FROM objects ORDER BY name")
    assert rows == [{"kind": "Pod", "name": name, "api_version": "v1"} for name in "ab"]


def test_lists_of_kubernetes_in_an_array_are_their_objects(tmp_path: Path) -> None:
    pods = [{"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {}} for name in "abc"]
    listed = [
        {"apiVersion": "v1", "kind": "PodList", "items": pods[:2]},
        {"apiVersion": "v1", "kind": "Pod", **pods[2]},
    ]
    (tmp_path / "dump.json").write_text(json.dumps(listed))
    load_new_case(tmp_path / "case", [str(tmp_path / "dump.json")])
    rows = Store(tmp_path / "case").rows("SELECT kind, name FROM objects ORDER BY name")
    assert rows == [{"kind": "Pod", "name": name} for name in "abc"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"clusterName": "blue", "principalArn": f"arn:aws:iam::{1:012}:role/r", "accessEntryArn": "arn:aws:eks:x:y:access-entry/a"}, "AccessEntry"),
        ({"InstanceId": "i-0123456789abcdef0", "PrivateDnsName": "ip-10-0-0-1"}, "Instance"),
        ({"InstanceId": "i-0123456789abcdef0", "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1"}], "SecurityGroups": [{"GroupId": "sg-1", "GroupName": "g"}]}, "Instance"),
        ({"name": "blue", "arn": f"arn:aws:eks:eu-west-1:{1:012}:cluster/blue", "resourcesVpcConfig": {}}, "Cluster"),
        ({"RoleName": "r", "RoleId": "A", "Arn": f"arn:aws:iam::{1:012}:role/r", "AssumeRolePolicyDocument": {}}, "Role"),
        ({"GroupId": "sg-1", "GroupName": "g", "IpPermissions": []}, "SecurityGroup"),
        ({"nodegroupName": "workers", "nodegroupArn": "arn:aws:eks:x:y:nodegroup/blue/workers/a"}, "Nodegroup"),
    ],
)  # fmt: skip
def test_what_aws_describes_is_taken_without_the_member_of_its_call(
    tmp_path: Path, value: dict[str, Any], kind: str
) -> None:
    for number, bare in enumerate(([value], value, [[value]])):
        (tmp_path / f"{number}.json").write_text(json.dumps(bare))
    ledger = load_new_case(tmp_path / "case", [str(tmp_path / f"{number}.json") for number in range(3)]).ledger
    assert Store(tmp_path / "case").rows("SELECT kind FROM objects") == [{"kind": kind}]
    assert [entry.duplicates for entry in ledger] == [0, 1, 1]


@pytest.mark.parametrize("change", [lambda text: text, lambda text: text.replace("/", "\\/"), lambda text: text.replace("audit", "\\u0061udit")], ids=["plain", "slashes", "letters"])  # fmt: skip
def test_lines_are_events_however_their_letters_are_written(change: Callable[[str], str]) -> None:
    written = [change(text) for text in TEXTS[:3]]
    assert [json.loads(text)["auditID"] for text in written] == [event["auditID"] for event in EVENTS[:3]]
    assert forms.form_of("\n".join(written).encode()) == forms.LINES
    listed = json.dumps({"kind": "EventList", "items": EVENTS[:1]}, indent=1)
    assert forms.form_of(change(listed).encode()) == forms.JSON
