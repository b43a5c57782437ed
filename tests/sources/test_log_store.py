"""Events and findings as log stores, shippers, buses and query languages hand them out: the same records, or a sentence that says what to bring."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.errors import EvidenceError
from kit.evidence.intake import load_new_case
from kit.evidence.record import Reject
from kit.evidence.sniff import file_kind
from kit.store.tables import TABLES
from tests.command import RECORDINGS
from tests.sources.reading import Row, read

RECORDING = RECORDINGS / "stolen_sa_token"
FINDING = json.loads((RECORDING / "findings.json").read_text())["Findings"][0]
OTHER = FINDING | {"Id": "b" * 32}
EVENTS = [json.loads(line) for line in gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()[:3]]
TRAIL = json.loads(gzip.decompress((RECORDING / "cloudtrail.json.gz").read_bytes()))["Records"][:3]
TITLES = {table.title: name for name, table in TABLES.items()}
AT = "2026-11-23T17:00:00Z"
TEXTS = [json.dumps(event) for event in EVENTS]


def payload(*texts: str) -> dict[str, Any]:
    about = {"messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "/aws/eks/red/cluster"}
    events = [{"id": "1", "timestamp": 1_769_868_000_000, "message": text} for text in texts]
    return about | {"logStream": f"kube-apiserver-audit-{'0' * 32}", "subscriptionFilters": ["x"], "logEvents": events}


def packed(value: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode(), mtime=0)).decode()


def table(*rows: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def lines(*values: Any) -> str:
    return "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values)


def broken(text: str) -> str:
    return "\n".join(text[at : at + 76] for at in range(0, len(text), 76))


def entry(detail: Any, source: str = "aws.guardduty") -> dict[str, Any]:
    return {"Source": source, "DetailType": "GuardDuty Finding", "Detail": json.dumps(detail), "EventBusName": "x"}


def datadog(**attributes: Any) -> dict[str, Any]:
    return {"id": "A", "type": "log", "attributes": {"service": "eks", "timestamp": AT, "tags": ["env:a"]} | attributes}


def loki(**labels: str) -> dict[str, Any]:
    values = [["1795451000000000000", text] for text in TEXTS]
    return {"status": "success", "data": {"resultType": "streams", "result": [{"stream": labels, "values": values}]}}


WAZUH = {"timestamp": AT, "rule": {"level": 12}, "manager": {"name": "w"}, "decoder": {"name": "json"}}
SENTINEL = {
    "TimeGenerated [UTC]": "11/23/2026, 5:00:00.000 PM",
    "EventName": "GetSecretValue",
    "EventSource": "secretsmanager.amazonaws.com",
    "AwsEventId": "11111111-2222-4333-8444-555555555555",
    "UserIdentityArn": "arn:aws:sts::111122223333:assumed-role/r/s",
    "SessionIssuerArn": "arn:aws:iam::111122223333:role/r",
    "SourceIpAddress": "198.51.100.7",
    "Type": "AWSCloudTrail",
}
OCSF = {
    "class_uid": 2004,
    "severity_id": 4,
    "metadata": {"version": "1.6.0", "product": {"name": "GuardDuty"}},
    "finding_info": {"uid": FINDING["Arn"], "title": "t", "types": [FINDING["Type"]], "created_time_dt": AT},
    "cloud": {"account": {"uid": "111122223333"}, "region": "eu-west-1"},
    "resources": [{"type": "AWS::EKS::Cluster", "uid": "arn:aws:eks:eu-west-1:111122223333:cluster/red"}],
}
READ: dict[str, tuple[Any, dict[str, int]]] = {
    "PutEvents": ({"Entries": [entry(FINDING), entry(OTHER)]}, {"findings": 2}),
    "PutEvents of CloudTrail": ({"Entries": [entry(each, "aws.sts") for each in TRAIL]}, {"trail": 3}),
    "Wazuh full_log": (WAZUH | {"full_log": json.dumps({"integration": "aws", "aws": FINDING}), "location": "Wazuh-AWS"}, {"findings": 1}),
    "Wazuh archives": ({"agent": {}, "location": "Wazuh-AWS", "data": {"integration": "aws", "aws": TRAIL[0]}}, {"trail": 1}),
    "data alone": ({"data": packed(payload(*TEXTS))}, {"audit": 3}),
    "base64 as text": (packed(payload(*TEXTS)), {"audit": 3}),
    "base64 over lines": (broken(packed(payload(*TEXTS))), {"audit": 3}),
    "base64 a line": (lines(*(packed(payload(text)) for text in TEXTS)), {"audit": 3}),
    "base64 as JSON string": (json.dumps(packed(payload(*TEXTS))), {"audit": 3}),
    "Firehose to HTTP": ({"requestId": "r", "timestamp": 1, "records": [{"data": packed(payload(*TEXTS))}]}, {"audit": 3}),
    "Firehose without newlines": ("".join(json.dumps(payload(text)) for text in TEXTS), {"audit": 3}),
    "Kafka Connect": ({"schema": {"type": "string"}, "payload": TEXTS[0]}, {"audit": 1}),
    "kcat": (lines(*({"topic": "t", "partition": 0, "offset": n, "payload": text} for n, text in enumerate(TEXTS))), {"audit": 3}),
    "Loki": (loki(job="cloudwatch"), {"audit": 3}),
    "logcli": (lines(*({"labels": {"job": "x"}, "line": text, "timestamp": AT} for text in TEXTS)), {"audit": 3}),
    "Grafana JSON": ([{"line": text, "timestamp": "1795451000000000000", "fields": {"job": "x"}} for text in TEXTS], {"audit": 3}),
    "Grafana text": (lines(*(f"{AT}\t{text}" for text in TEXTS)), {"audit": 3}),
    "Grafana CSV": (table(["Time", "Line", "labels"], *(["1795451000000", text, "{}"] for text in TEXTS)), {"audit": 3}),
    "Datadog parsed": ({"data": [datadog(attributes=event) for event in EVENTS], "meta": {}}, {"audit": 3}),
    "Datadog message": ({"data": [datadog(message=text) for text in TEXTS]}, {"audit": 3}),
    "Datadog archive": (lines(*({"_id": "A", "date": AT, "service": "eks", "attributes": event} for event in EVENTS)), {"audit": 3}),
    "Datadog CSV": (table(["Date", "Host", "Service", "Message"], *([AT, "h", "eks", text] for text in TEXTS)), {"audit": 3}),
    "Datadog finding": ({"data": [datadog(attributes={"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": FINDING})]}, {"findings": 1}),
    "Sentinel CloudTrail CSV": (table(list(SENTINEL), list(SENTINEL.values())), {"trail": 1}),
    "Sentinel GuardDuty": ([{"TimeGenerated": AT, "AccountId": "111122223333", "ActivityType": FINDING["Type"], "Id": FINDING["Id"], "ResourceDetails": FINDING["Resource"], "ServiceDetails": json.dumps(FINDING["Service"]), "Severity": 8, "Type": "AWSGuardDuty"}], {"findings": 1}),
    "Sentinel CloudWatch CSV": (table(["TimeGenerated [UTC]", "Message", "Type"], *([AT, text, "AWSCloudWatch"] for text in TEXTS)), {"audit": 3}),
    "Kibana CSV": (table(["@timestamp", "_id", "message"], *(["Nov 23, 2026 @ 17:00:00.000", "a", text] for text in TEXTS)), {"audit": 3}),
    "Elastic fields": ({"hits": {"hits": [{"_index": "i", "_id": "1", "fields": {"message": [text]}} for text in TEXTS]}}, {"audit": 3}),
    "Graylog": ({"messages": [{"index": "g", "message": {"full_message": text, "source": "h"}} for text in TEXTS]}, {"audit": 3}),
    "Vector": (lines(*({"message": text, "timestamp": AT, "source_type": "aws_s3"} for text in TEXTS)), {"audit": 3}),
    "arrays in an array": ([[EVENTS[0]], EVENTS[1:]], {"audit": 3}),
    "answers in an array": ([{"Findings": [FINDING]}, {"Findings": [OTHER], "NextToken": ""}], {"findings": 2}),
    "deliveries in an array": ([{"Records": TRAIL[:2]}, {"Records": TRAIL[2:]}], {"trail": 3}),
    "OCSF class as text": (OCSF | {"class_uid": "2004"}, {"findings": 1}),
    "OCSF by its long name": ([OCSF | {"metadata": {"version": "1.6.0", "product": {"name": "Amazon GuardDuty"}}}], {"findings": 1}),
    "OCSF 1.0.0-rc.2": ([{name: each for name, each in OCSF.items() if name != "finding_info"} | {"class_uid": 2001, "finding": OCSF["finding_info"]}], {"findings": 1}),
}  # fmt: skip
PIPED: dict[str, tuple[Any, dict[str, int]]] = {
    "Vector": (lines(*({"message": text, "source_type": "aws_s3", "bucket": "b", "timestamp": AT} for text in TEXTS)), {"audit": 3}),
    "Vector, parsed": (lines(*({"message": event, "source_type": "file", "timestamp": AT} for event in EVENTS)), {"audit": 3}),
    "Fluentd": (lines(*(["eks.audit", 1795451000, event] for event in EVENTS)), {"audit": 3}),
    "Fluentd, lines": (lines(*(["eks.audit", AT, {"message": text}] for text in TEXTS)), {"audit": 3}),
    "Fluentd, forward": (["eks.audit", [[1795451000.5, event] for event in EVENTS]], {"audit": 3}),
    "Fluentd, forward with metadata": (["eks.audit", [[[1795451000.5, {}], event] for event in EVENTS], {"size": 3}], {"audit": 3}),
    "Fluentd, entries": ([[1795451000, event] for event in EVENTS], {"audit": 3}),
    "Fluentd, an entry a line": (lines(*([1795451000, {"log": text}] for text in TEXTS)), {"audit": 3}),
    "Fluentd, an entry with a time in words": (lines(*([AT, event] for event in EVENTS)), {"audit": 3}),
    "Fluent Bit, msgpack as JSON": (lines(*([[1795451000.5, {}], event] for event in EVENTS)), {"audit": 3}),
    "Fluent Bit, msgpack as JSON, lines": (lines(*([[1795451000.5, {"otlp": "x"}], {"log": text}] for text in TEXTS)), {"audit": 3}),
    "Fluent Bit, msgpack as JSON, one list": ([[[1795451000.5, {}], {"log": text}] for text in TEXTS], {"audit": 3}),
    "Fluentd, names": (lines(*({"tag": "eks.audit", "time": AT, "record": event} for event in EVENTS)), {"audit": 3}),
    "Filebeat of CloudWatch": (lines(*({"@timestamp": AT, "message": text, "event": {"id": "x"}, "awscloudwatch": {"log_group": "g"}} for text in TEXTS)), {"audit": 3}),
    "Loki, pushed": ({"streams": [{"stream": {"job": "x"}, "values": [["1795451000000000000", text, {"a": "b"}] for text in TEXTS]}]}, {"audit": 3}),
    "Loki, values": ([["1795451000000000000", text] for text in TEXTS], {"audit": 3}),
    "Loki, values a line": (lines(*(["1795451000000000000", text] for text in TEXTS)), {"audit": 3}),
    "Cribl": (lines(*({"_raw": text, "_time": 1795451000.1, "cribl_pipe": "p"} for text in TEXTS)), {"audit": 3}),
    "Cribl, parsed": (lines(*({"_raw": event, "_time": 1795451000.1, "cribl_pipe": "p"} for event in EVENTS)), {"audit": 3}),
    "bulk request": (lines(*(part for event in EVENTS for part in ({"index": {"_index": "i"}}, event))), {"audit": 3}),
    "YAML": ("".join(f"---\n{yaml.safe_dump(event)}" for event in EVENTS), {"audit": 3}),
    "events without newlines": ("".join(TEXTS), {"audit": 3}),
    "subscription of Lambda": ({"awslogs": {"data": packed(payload(*TEXTS))}}, {"audit": 3}),
    "Elasticsearch SQL": ({"columns": [{"name": "@timestamp", "type": "datetime"}, {"name": "message", "type": "text"}], "rows": [[AT, text] for text in TEXTS], "cursor": "c"}, {"audit": 3}),
    "Elasticsearch SQL, columnar": ({"columns": [{"name": "@timestamp"}, {"name": "message"}], "values": [[AT] * 3, TEXTS]}, {"audit": 3}),
    "Elasticsearch SQL, columnar and as many rows as columns": ({"columns": [{"name": "@timestamp"}, {"name": "message"}], "values": [[AT] * 2, TEXTS[:2]]}, {"audit": 2}),
    "ES|QL": ({"took": 1, "columns": [{"name": "@timestamp"}, {"name": "event.original"}], "values": [[AT, text] for text in TEXTS[:2]]}, {"audit": 2}),
    "OpenSearch SQL": ({"schema": [{"name": "@timestamp", "type": "timestamp"}, {"name": "log", "type": "text"}], "datarows": [[AT, text] for text in TEXTS], "total": 3, "size": 3, "status": 200}, {"audit": 3}),
    "Sentinel by its API": ({"tables": [{"name": "PrimaryResult", "columns": [{"name": name, "type": "string"} for name in SENTINEL], "rows": [list(SENTINEL.values())]}]}, {"trail": 1}),
    "Athena": (table(["eventversion", "eventtime", "eventsource", "eventname", "useridentity", "eventid"], *([each["eventVersion"], each["eventTime"], each["eventSource"], each["eventName"], json.dumps(each["userIdentity"]), each["eventID"]] for each in TRAIL)), {"trail": 3}),
    "CloudTrail Lake": ({"QueryStatus": "FINISHED", "QueryResultRows": [[{"eventJson": json.dumps(each)}] for each in TRAIL]}, {"trail": 3}),
}  # fmt: skip
"""An audit log and a trail through other pipelines."""
READ |= PIPED


@pytest.mark.parametrize("name", READ)
def test_what_is_whole_in_its_envelope_is_read(name: str, tmp_path: Path) -> None:
    value, wanted = READ[name]
    (tmp_path / "x").write_text(value if isinstance(value, str) else json.dumps(value))
    (entry,) = load_new_case(tmp_path / "case", [str(tmp_path / "x")]).ledger
    assert ({TITLES[str(entry.taken_as)]: entry.rows}, entry.rejects) == (wanted, 0)


REFUSED: dict[str, tuple[Any, str]] = {
    "PutEvents of another source": ({"Entries": [entry(FINDING, "my.app")]}, "an event of my.app, not of AWS"),
    "a container in Loki": (loki(container="web", pod="web-1"), "a container logged"),
    "a container in Datadog": ({"data": [datadog(message=TEXTS[0], tags=["pod_name:web-1"])]}, "a container logged"),
    "a container in Grafana CSV": (table(["Time", "Line", "labels"], ["1", TEXTS[0], '{"container": "web"}']), "a container logged"),
    "a file that Wazuh read": (WAZUH | {"location": "/var/log/app.json", "data": {"integration": "aws", "aws": FINDING}}, "a file that an agent of Wazuh read"),
    "fields of Kibana": (table(["@timestamp", "auditID", "verb", "user.username"], [AT, "a", "get", "x"]), "took apart into fields"),
    "fields of Elastic": ([{"@timestamp": AT, "aws": {"cloudtrail": {"user_identity": {}}}}], "took apart into fields"),
    "CloudTrail's console": (table(["Event name", "Event time", "User name"], ["x", "y", "z"]), "neither identity nor parameters"),
    "columns of findings": ([{"Id": "a", "Type": FINDING["Type"]}], "without `--query`"),
    "cells of findings": ([["a", FINDING["Type"], 8]], "without `--query`"),
    "text of the CLI": (f"FINDINGS\t111122223333\t{FINDING['Arn']}\n", "--output json"),
    "Python": (repr({"Findings": [FINDING]}), "`json.dumps`"),
    "logcli with labels": (f'{AT} {{job="x"}} {TEXTS[0]}\n', "--output=jsonl"),
    "syslog": (f"<134>1 {AT} host app - - - {TEXTS[0]}\n", "bring the JSON alone"),
    "findings by region": ({"eu-west-1": {"Findings": [FINDING]}, "us-east-1": {"Findings": [OTHER]}}, "jq -c '.[]' FILE"),
    "findings under another name": ({"all": [FINDING]}, "jq -c '.all[]' FILE"),
    "lists of objects by resource": ({"pods": {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}]}}, "jq -c '.pods' FILE"),
    "aws-auth without its object": ({"mapRoles": "[]", "mapUsers": "[]"}, "kubectl get configmap aws-auth"),
    "a container's log": (f"{AT} stdout F {TEXTS[0]}\n", "logs of containers"),
    "an empty list": ("[]", "an empty list"),
    "a container in Fluentd": (["kubernetes.var.log.containers.web-1_store_web-0.log", 1795451000, EVENTS[0]], "a container logged"),
    "a container in Fluentd, forward": (["kube.var.log.pods.web", [[1795451000, EVENTS[0]]]], "a container logged"),
    "a container in Fluent Bit, msgpack as JSON": ([[1795451000.5, {}], {"log": TEXTS[0], "stream": "stdout"}], "a container logged"),
    "a container in Elasticsearch SQL": ({"columns": [{"name": "kubernetes.pod_name"}, {"name": "message"}, {"name": "@timestamp"}], "rows": [["web-1", TEXTS[0], AT]]}, "a container logged"),
    "fields of Elasticsearch SQL": ({"columns": [{"name": "user.username"}, {"name": "verb"}], "rows": [["x", "get"]]}, "took apart into fields"),
    "other columns of Elasticsearch SQL": ({"columns": [{"name": "a"}], "rows": [["x"]]}, "none of the kinds"),
    "AKS by the API": ({"tables": [{"name": "t", "columns": [{"name": "_ResourceId"}], "rows": [["/subscriptions/x"]]}]}, "Azure (AKS)"),
    "a container in Fluent Bit": ({"log": TEXTS[0], "tag": "kube.var.log.containers.web.log", "time": AT}, "a container logged"),
    "a container in Vector": ({"message": TEXTS[0], "file": "/var/log/pods/store_web/web/0.log", "source_type": "file", "timestamp": AT}, "a container logged"),
    "a container in Filebeat": ({"@timestamp": AT, "message": TEXTS[0], "log": {"file": {"path": "/var/log/containers/web.log"}}}, "a container logged"),
    "a container in Promtail": (loki(filename="/var/log/pods/store_web/web/0.log"), "a container logged"),
    "a container in Splunk": ({"result": {"_raw": TEXTS[0], "source": "/var/log/containers/web.log"}}, "a container logged"),
    "a container in HEC": ({"event": EVENTS[0], "time": 1, "source": "/var/lib/docker/containers/a/a.log"}, "a container logged"),
    "syslog with quotes": (f'<134>1 {AT} host app 1 ID [a@1 b="c"] {TEXTS[0]}\n', "bring the JSON alone"),
    "Fluentd, a file": (f"{AT}\teks.audit\t{TEXTS[0]}\n", "bring the JSON alone"),
    "Fluent Bit, stdout": ('[0] eks.audit: [1795451000.0, {"log"=>"{}"}]\n', "format json_lines"),
    "Logstash, rubydebug": ('{\n    "message" => "{}",\n}\n', "json_lines"),
    "Elastic's audit fields": ([{"@timestamp": AT, "kubernetes": {"audit": {"verb": "get"}}}], "took apart into fields"),
    "OpenTelemetry": ({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": TEXTS[0]}}]}]}]}, "jq -c"),
    "brackets without end": ("[" * 1_100_000, "it begins like JSON, and nothing in its beginning"),
    "a text in an unknown envelope": ({"outer": {"raw-event": TEXTS[0]}}, """jq -c '.outer.["raw-event"]|fromjson' FILE"""),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_says_what_to_bring(name: str, tmp_path: Path) -> None:
    value, reason = REFUSED[name]
    path = tmp_path / "x"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(EvidenceError, match=re.escape(reason)):
        file_kind(path)


@pytest.mark.parametrize("order", [("apiVersion", "findings", "kind"), ("kind", "apiVersion", "data")])
def test_a_custom_object_is_no_envelope_in_whichever_order_its_members_stand(order: tuple[str, ...]) -> None:
    of = {"apiVersion": "example.com/v1", "kind": "Trap"}
    custom = {name: of.get(name, [FINDING]) for name in order} | {"metadata": {"name": "trap"}}
    made = read(json.dumps(custom).encode() + b"\n" + json.dumps(FINDING | {"Id": "c" * 32}).encode())
    assert [one.table for one in made if isinstance(one, Row)] == ["findings"]
    (reject,) = [one for one in made if isinstance(one, Reject)]
    assert "Kubernetes object" in reject.reason


def test_a_row_of_sentinel_keeps_who_called_and_when() -> None:
    (row,) = [one for one in read(json.dumps([SENTINEL]).encode()) if isinstance(one, Row)]
    kept = {name: str(row.values[name]) for name in ("event_at", "arn", "issuer_arn", "source_address")}
    assert kept == {
        "event_at": "2026-11-23 17:00:00+00:00",
        "arn": SENTINEL["UserIdentityArn"],
        "issuer_arn": SENTINEL["SessionIssuerArn"],
        "source_address": "198.51.100.7",
    }
