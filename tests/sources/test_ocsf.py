"""Events as Security Lake keeps them (OCSF) and as queries print them: the same calls, as far as these forms hold them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.evidence.readers import audit, aws, cloudtrail
from kit.store.store import Store
from tests.command import RECORDINGS, kit_json
from tests.sources.reading import Row, read, taken_by

RECORDING = RECORDINGS / "stolen_sa_token"
AUDIT = [json.loads(line) for line in gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()[:300]]
TRAIL: list[dict[str, Any]] = json.loads(gzip.decompress((RECORDING / "cloudtrail.json.gz").read_bytes()))["Records"]
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
UNMAPPED = pa.map_(pa.string(), pa.string())


def eks_event(event: dict[str, Any]) -> dict[str, Any]:
    """An audit event as Security Lake writes it."""
    user, ref = event["user"], event.get("objectRef", {})
    extra = {name: values[0] for name, values in user.get("extra", {}).items()}
    resource = "/".join(part for part in (ref.get("resource"), ref.get("subresource")) if part)
    response = event.get("responseStatus", {})
    product = {"name": "Amazon EKS", "vendor_name": "AWS", "version": event["apiVersion"]}
    annotations = {f"annotations.{name}": text for name, text in event.get("annotations", {}).items()}
    return {
        "metadata": {"product": product, "version": "1.1.0", "log_level": event["level"]},
        "time_dt": _short(event["stageTimestamp"]),
        "start_time_dt": _short(event["requestReceivedTimestamp"]),
        "message": event["stage"],
        "api": {
            "operation": event["verb"],
            "request": {"uid": event["auditID"]},
            "response": {"code": response.get("code"), "error": response.get("reason")},
            "group": {"name": ref.get("apiGroup")},
            "version": ref.get("apiVersion"),
        },
        "http_request": {"url": {"path": event["requestURI"]}, "user_agent": event.get("userAgent")},
        "actor": {
            "user": {
                "name": user["username"],
                "uid": user.get("uid"),
                "groups": [{"name": name} for name in user["groups"]],
            },
            "session": {
                "credential_uid": extra.get("accessKeyId"),
                "issuer": extra.get("canonicalArn"),
                "uid": extra.get("sessionName"),
            },
        },
        "cloud": {"account": {"uid": extra.get("arn")}, "provider": "AWS"},
        "src_endpoint": {"ip": event["sourceIPs"][0] if event.get("sourceIPs") else None},
        "resources": [{"type": resource, **{name: ref.get(name) for name in ("namespace", "name", "uid")}}]
        if ref
        else [],
        "class_uid": 6003,
        "unmapped": {"kind": "Event", "sourceIPs[]": ",".join(event.get("sourceIPs", [])), **annotations},
    }


def _short(time: str) -> str:
    return time.replace("T", " ").removesuffix("Z")[:-3] + "000"


def trail_event(event: dict[str, Any]) -> dict[str, Any]:
    """A CloudTrail event as Security Lake writes it."""
    user = event["userIdentity"]
    issuer = user.get("sessionContext", {}).get("sessionIssuer", {}).get("arn")
    address = event.get("sourceIPAddress", "")
    return {
        "metadata": {"uid": event["eventID"], "version": "1.1.0", "product": {"name": "CloudTrail", "feature": {"name": "Management"}}},
        "time": int(datetime.fromisoformat(event["eventTime"]).timestamp() * 1000),
        "api": {
            "operation": event["eventName"],
            "service": {"name": event["eventSource"]},
            "request": {"data": json.dumps(event.get("requestParameters"))},
            "response": {"data": json.dumps(event.get("responseElements")), "error": event.get("errorCode")},
        },
        "actor": {
            "user": {"type": user.get("type"), "uid": user.get("arn"), "uid_alt": user.get("principalId"), "name": user.get("userName"), "credential_uid": user.get("accessKeyId"), "account": {"uid": user.get("accountId")}},
            "session": {"issuer": issuer},
            "invoked_by": user.get("invokedBy"),
        },
        "src_endpoint": {"domain": address, "ip": None} if address.endswith(".com") else {"ip": address, "domain": None},
        "http_request": {"user_agent": event.get("userAgent")},
        "cloud": {"region": event["awsRegion"], "provider": "AWS"},
        "class_uid": 3002 if event["eventName"].startswith("AssumeRole") else 6003,
        "unmapped": {"readOnly": str(event.get("readOnly")).lower(), "recipientAccountId": event.get("recipientAccountId") or ""},
    }  # fmt: skip


def parquet(rows: list[dict[str, Any]]) -> bytes:
    bare = pa.Table.from_pylist([{name: each for name, each in row.items() if name != "unmapped"} for row in rows])
    table = bare.append_column("unmapped", pa.array([list(row["unmapped"].items()) for row in rows], UNMAPPED))
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def forms(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    as_pairs = [{**row, "unmapped": [list(pair) for pair in row["unmapped"].items()]} for row in rows]
    return {
        "list": json.dumps(rows).encode(),
        "lines": "\n".join(json.dumps(row) for row in rows).encode(),
        "lines of pairs": "\n".join(json.dumps(row) for row in as_pairs).encode(),
        "parquet": parquet(rows),
    }


def columns(data: bytes, names: str, table: str, folder: Path) -> list[tuple[Any, ...]]:
    (folder / "file").write_bytes(data)
    (entry,) = kit_json("new", folder / "case", folder / "file")["files"]
    assert entry["rejects"] == 0
    rows = Store(folder / "case").rows(f"SELECT {names} FROM {table} ORDER BY ALL")
    return [tuple(row.values()) for row in rows]


KEPT = (
    "audit_id, stage, level, verb, request_uri, user_agent, date_trunc('milliseconds', received_at), user_name, user_uid, user_groups,"
    " access_key_id, arn, session_name, source_address, coalesce(api_group, ''), resource, subresource, namespace, objectref_name, response_code, dry_run,"
    " decision, decision_reason"
).replace("objectref_name, ", "")


@pytest.mark.parametrize("form", ["list", "lines", "lines of pairs", "parquet"])
def test_the_audit_log_in_security_lake_is_the_audit_log(form: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = columns("\n".join(json.dumps(event) for event in AUDIT).encode(), KEPT, "audit", tmp_path / "plain")
    data = forms([eks_event(event) for event in AUDIT])[form]
    assert taken_by(data) is audit
    assert columns(data, KEPT, "audit", tmp_path) == plain


TRAIL_KEPT = (
    "event_id, event_at, event_source, event_name, region, source_address, user_agent, identity_type, arn, principal_id,"
    " access_key_id, issuer_arn, user_name, invoked_by, error_code, read_only, request_parameters, response_elements"
)


@pytest.mark.parametrize("form", ["list", "lines", "lines of pairs", "parquet"])
def test_cloudtrail_in_security_lake_is_cloudtrail(form: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = columns(json.dumps({"Records": TRAIL}).encode(), TRAIL_KEPT, "trail", tmp_path / "plain")
    data = forms([trail_event(event) for event in TRAIL])[form]
    assert taken_by(data) is cloudtrail
    assert columns(data, TRAIL_KEPT, "trail", tmp_path) == plain


def struct(value: Any) -> str:
    """A value as Athena prints it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name.lower()}={struct(each)}" for name, each in value.items()) + "}"
    return "null" if value is None else str(value)


def query_row(event: dict[str, Any], lake: bool = False) -> dict[str, str]:
    row = {}
    for name, each in event.items():
        if name == "userIdentity":
            row[name] = struct(each)
        elif isinstance(each, dict):
            row[name] = json.dumps(each)
        elif name == "eventTime" and lake:
            row[name] = str(each).replace("T", " ").replace("Z", ".000")
        else:
            row[name] = "" if each is None else str(each).lower() if isinstance(each, bool) else str(each)
    return row if lake else {name.lower(): text for name, text in row.items()}


def as_csv(rows: list[dict[str, str]], before: str = "") -> bytes:
    out = io.StringIO(before)
    out.seek(0, io.SEEK_END)
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(out, names, restval="", quoting=csv.QUOTE_ALL)
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().encode()


def athena_api(rows: list[dict[str, str]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    listed = [[{"VarCharValue": name} for name in names]]
    listed += [[{"VarCharValue": row[name]} if row.get(name) else {} for name in names] for row in rows]
    about = {"ColumnInfo": [{"Name": name, "Type": "varchar"} for name in names]}
    return json.dumps({"ResultSet": {"Rows": [{"Data": data} for data in listed], "ResultSetMetadata": about}}).encode()


QUERIES = {
    "athena csv": lambda: as_csv([query_row(event) for event in TRAIL]),
    "athena api": lambda: athena_api([query_row(event) for event in TRAIL]),
    "lake csv": lambda: as_csv([query_row(event, lake=True) for event in TRAIL], "# Execution Time: 2026-03-01T11:00:00Z\n"),
    "lake api": lambda: json.dumps(
        {"QueryStatus": "FINISHED", "QueryResultRows": [[{name: text} for name, text in query_row(event, lake=True).items()] for event in TRAIL]}
    ).encode(),
    "lake eventjson": lambda: as_csv([{"eventID": event["eventID"], "eventJson": json.dumps(event)} for event in TRAIL]),
}  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_cloudtrail_from_a_query_is_cloudtrail(query: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = columns(json.dumps({"Records": TRAIL}).encode(), TRAIL_KEPT, "trail", tmp_path / "plain")
    assert columns(QUERIES[query](), TRAIL_KEPT, "trail", tmp_path) == plain


@pytest.mark.parametrize("name", ["06-ocsf-1.1.json", "07-ocsf-1.6.json"])
def test_findings_in_security_lakes_parquet_are_findings(name: str) -> None:
    value = json.loads((SAMPLES / name).read_text())
    assert isinstance(value, dict)
    out = io.BytesIO()
    for resource in value["resources"]:
        if not isinstance(resource.get("data"), str | None):
            resource["data"] = json.dumps(resource["data"])
    unmapped = [list((value.pop("unmapped", {})).items())]
    texts = [[(key, str(each)) for key, each in pairs] for pairs in unmapped]
    pq.write_table(pa.Table.from_pylist([value]).append_column("unmapped", pa.array(texts, UNMAPPED)), out)
    (plain,), (stored,) = read((SAMPLES / name).read_bytes()), read(out.getvalue())
    assert isinstance(plain, Row) and isinstance(stored, Row)
    same = ("id", "type", "title", "account", "region", "cluster", "created_at", "updated_at", "sample", "about_eks")
    assert {each: stored.values[each] for each in same} == {each: plain.values[each] for each in same}


def test_kinds_of_cloudtrail_events_that_are_no_calls() -> None:
    about = {
        "state": "Start",
        "eventSource": "iam.amazonaws.com",
        "eventName": "GetRole",
        "insightType": "ApiCallRateInsight",
    }
    insight = {
        "eventVersion": "1.08",
        "eventTime": "2026-03-01T10:00:00Z",
        "eventID": "i",
        "eventCategory": "Insight",
        "insightDetails": about,
    }
    count = {"eventVersion": "1.0", "eventId": "a", "eventCategory": "Aggregated", "timeWindow": {}, "summary": {}}
    first, second, third = read(json.dumps({"Records": [TRAIL[0], insight, count]}).encode())
    assert isinstance(first, Row) and isinstance(second, Row) and not isinstance(third, Row)
    assert (second.values["event_name"], second.values["event_category"], second.values["arn"]) == (
        "GetRole",
        "Insight",
        None,
    )
    assert "count of events" in third.reason


def test_digests_and_investigations_are_kept_as_objects() -> None:
    digest = {
        "awsAccountId": "1",
        "digestStartTime": "x",
        "digestEndTime": "y",
        "digestS3Object": "k",
        "logFiles": [{"s3Object": "o"}],
    }
    investigation = {"Investigation": {"InvestigationId": "i-1", "Status": "COMPLETED", "Summary": "…"}}
    records = {"InvestigationId": "i-1", "Status": "COMPLETED", "Records": [{"RecordId": "r", "Type": "OBSERVATION"}]}
    found = [read(json.dumps(each).encode()) for each in (digest, investigation, records)]
    assert all(taken_by(json.dumps(each).encode()) is aws for each in (digest, investigation, records))
    kinds = [(row.values["kind"], row.values["name"]) for rows in found for row in rows if isinstance(row, Row)]
    assert kinds == [("Digest", "k"), ("Investigation", "i-1"), ("InvestigationRecord", "r")]
