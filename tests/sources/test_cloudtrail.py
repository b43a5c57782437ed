"""CloudTrail delivery files."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import kit
from kit.evidence.formats.form import JSON
from kit.evidence.intake import load_new_case
from kit.evidence.readers import cloudtrail
from kit.evidence.record import Reject
from kit.evidence.sniff import FileKind
from kit.store import tables
from kit.store.store import Store
from tests.sources import reading
from tests.sources.reading import Row, taken_by

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
TRAIL = FileKind(JSON, cloudtrail)
EVENT: dict[str, Any] = {
    "eventVersion": "1.11",
    "eventID": "e1",
    "eventTime": "2026-03-02T09:14:51Z",
    "eventSource": "eks.amazonaws.com",
    "eventName": "DescribeCluster",
    "sourceIPAddress": "192.0.2.1",
    "readOnly": "true",
    "recipientAccountId": "1",
    "requestParameters": {"name": "red"},
    "responseElements": None,
    "userIdentity": {
        "type": "AssumedRole",
        "accountId": "2",
        "accessKeyId": "ASIA1",
        "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::2:role/r"}},
    },
}


def sniffed(data: bytes) -> bool:
    return taken_by(data) is cloudtrail


def read(*events: Any) -> list[Row | Reject]:
    return reading.read(json.dumps({"Records": events}).encode(), TRAIL)


@pytest.mark.parametrize(("recording", "count"), [("stolen_sa_token", 57), ("vanished_deployment", 63)])
def test_a_recorded_delivery_becomes_rows_that_fit_the_table(recording: str, count: int) -> None:
    data = gzip.decompress((RECORDINGS / recording / "cloudtrail.json.gz").read_bytes())
    assert sniffed(data)
    made = reading.read(data, TRAIL)
    rows = [each.values | {"file": "f", "line": each.line, "item": each.item} for each in made if isinstance(each, Row)]
    table = pa.Table.from_pylist(rows, tables.TRAIL.schema)
    assert table.num_rows == len(made) == count
    assert all(set(row) == set(tables.TRAIL.names) for row in rows)
    for column in ("event_id", "event_at", "event_source", "event_name", "account", "region", "read_only"):
        assert table.column(column).null_count == 0
    lines = data.decode().splitlines()
    assert all(lines[row["line"] - 1] == "  {" for row in rows)


def test_columns_come_from_their_members() -> None:
    (row,) = read(EVENT)
    assert isinstance(row, Row)
    expected = {
        "account": "1",
        "event_id": "e1",
        "event_at": datetime(2026, 3, 2, 9, 14, 51, tzinfo=UTC),
        "source_address": "192.0.2.1",
        "identity_type": "AssumedRole",
        "access_key_id": "ASIA1",
        "issuer_arn": "arn:aws:iam::2:role/r",
        "read_only": True,
        "request_parameters": '{"name":"red"}',
        "response_elements": None,
        "user_name": None,
    }
    assert {name: row.values[name] for name in expected} == expected


def test_the_account_may_be_the_callers() -> None:
    (row,) = read({name: each for name, each in EVENT.items() if name != "recipientAccountId"})
    assert isinstance(row, Row) and row.values["account"] == "2"


@pytest.mark.parametrize("odd", ["\ud800", 10**30, -(1 << 64)], ids=["half", "number", "negative"])
@pytest.mark.parametrize("name", ["requestParameters", "responseElements", "additionalEventData"])
def test_what_no_parser_holds_hides_no_event(name: str, odd: Any) -> None:
    first, second = read(EVENT | {name: {"n": odd}, "userAgent": "x\udfff"}, EVENT)
    assert isinstance(first, Row) and isinstance(second, Row)
    assert (first.values["event_id"], first.values["user_agent"]) == (EVENT["eventID"], "x\ufffd")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (EVENT | {"eventTime": None}, "without eventTime"),
        (EVENT | {"eventTime": "soon"}, "eventTime: is not a time"),
        (EVENT | {"eventTime": 1}, "eventTime: is not a time"),
        ("event", "is not a JSON object"),
        (None, "without eventTime"),
    ],
)
def test_what_is_no_event_is_a_reject_with_its_reason(event: Any, says: str) -> None:
    first, second = read(event, EVENT)
    assert isinstance(first, Reject) and says in first.reason
    assert isinstance(second, Row)


ROLE = "arn:aws:iam::111122223333:role/r"


@pytest.mark.parametrize(
    ("odd", "column", "held", "left_out"),
    [
        ({"eventTime": 1795451000}, "event_at", datetime(2026, 11, 23, 16, 23, 20, tzinfo=UTC), []),
        ({"recipientAccountId": 11122223333}, "account", "011122223333", []),
        ({"errorCode": 5}, "error_code", "5", []),
        ({"sourceIPAddress": ["192.0.2.1"]}, "source_address", "192.0.2.1", []),
        ({"sourceIPAddress": ["192.0.2.1", "192.0.2.2"]}, "source_address", None, ["source_address"]),
        ({"eventSource": ""}, "event_source", None, []),
        ({"eventSource": {}}, "event_source", None, []),
        ({"eventName": {"a": 1}}, "event_name", None, ["event_name"]),
        ({"userAgent": {}}, "user_agent", None, ["user_agent"]),
        ({"readOnly": "maybe"}, "read_only", None, ["read_only"]),
        ({"userIdentity": "root"}, "arn", None, ["userIdentity"]),
        ({"userIdentity": ROLE}, "arn", ROLE, ["userIdentity"]),
        ({"userIdentity": {"arn": ROLE, "sessionContext": "x"}}, "arn", ROLE, ["userIdentity.sessionContext"]),
        ({"userIdentity": {"arn": ROLE, "sessionContext": {"sessionIssuer": []}}}, "arn", ROLE, ["userIdentity.sessionContext.sessionIssuer"]),
    ],
)  # fmt: skip
def test_an_odd_member_costs_itself_and_is_named(
    odd: dict[str, Any], column: str, held: Any, left_out: list[str], tmp_path: Path
) -> None:
    (tmp_path / "trail.json").write_text(json.dumps({"Records": [EVENT | odd]}))
    (entry,) = load_new_case(tmp_path / "case", [str(tmp_path / "trail.json")]).ledger
    (row,) = Store(tmp_path / "case").rows(f"SELECT {column} AS held FROM trail")
    assert (row["held"], entry.rows, entry.rejects, entry.odd) == (held, 1, 0, len(left_out))
    assert kit.open_case(tmp_path / "case").ledger["odd"].tolist() == [len(left_out)]
    assert all(name in entry.note for name in left_out)


@pytest.mark.parametrize(
    "left_out", ["eventID", "eventVersion", "eventSource", "eventName", "awsRegion", "userIdentity"]
)
def test_a_missing_member_costs_no_event(left_out: str) -> None:
    events = [
        {name: value for name, value in event.items() if name != left_out}
        for event in (EVENT, EVENT | {"eventID": "e2", "requestID": "r"})
    ]
    first, second = read(*events)
    assert isinstance(first, Row) and isinstance(second, Row)
    assert first.values["event_id"] != second.values["event_id"]


def test_an_event_without_its_time_has_that_of_its_log() -> None:
    event = {name: value for name, value in EVENT.items() if name != "eventTime"}
    message = {"timestamp": 1795451000000, "message": json.dumps(event), "logStreamName": "111122223333_CloudTrail_eu"}
    first, _ = read(message, EVENT)
    assert isinstance(first, Row) and first.values["event_at"] == datetime(2026, 11, 23, 16, 23, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "document",
    [
        {"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": "2026-03-02T09:14:51Z"}]},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"Records": {}},
        {"digestStartTime": "2026-03-02T09:14:51Z", "logFiles": []},
        [],
    ],
)
def test_other_files_are_not_cloudtrail(document: Any) -> None:
    assert not sniffed(json.dumps(document).encode())


LOOKED_UP = {"EventId": "e1", "EventName": "DescribeCluster", "CloudTrailEvent": json.dumps(EVENT)}
BY_EVENTBRIDGE = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.eks", "detail": EVENT}


@pytest.mark.parametrize(
    "document",
    [
        json.dumps([EVENT]),
        json.dumps(EVENT, indent=1),
        f"{json.dumps(EVENT)}\n{json.dumps(EVENT | {'eventID': 'e2'})}\n",
        json.dumps({"Events": [LOOKED_UP]}),
        json.dumps(BY_EVENTBRIDGE),
        json.dumps(
            {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(BY_EVENTBRIDGE), "TopicArn": "t"}}]}
        ),
    ],
    ids=["list", "bare", "lines", "lookup-events", "eventbridge", "lambda-sns-eventbridge"],
)
def test_an_event_is_the_same_whichever_way_it_came(document: str) -> None:
    assert sniffed(document.encode())
    made = reading.read(document.encode(), TRAIL)
    (delivered,) = read(EVENT)
    assert isinstance(delivered, Row) and isinstance(made[0], Row)
    differing = {
        "event_hash",
        "account",
        "region",
    }  # an envelope's own account and region are taken over where there are any
    assert {name: value for name, value in made[0].values.items() if name not in differing} == {
        name: value for name, value in delivered.values.items() if name not in differing
    }


def test_looked_up_text_that_is_cut_is_a_reject() -> None:
    (made,) = reading.read(json.dumps({"Events": [LOOKED_UP | {"CloudTrailEvent": json.dumps(EVENT)[:-9]}]}).encode())
    assert isinstance(made, Reject) and "not JSON" in made.reason
