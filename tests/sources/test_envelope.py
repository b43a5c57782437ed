"""Findings in the envelopes of EventBridge, SNS and SQS: the same finding whichever way it came, kept once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.errors import EvidenceError
from kit.sources.envelope import DEEPEST, opened
from kit.store import Store
from tests.command import RECORDINGS, kit_json

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
IDS = {
    "01-eventbridge.json": "509d88b4bd94c1e4056a738ec730cd41",
    "02-sns-eventbridge.json": "3b2537d6858f0f2174af8a5c79988415",
    "03-sqs-eventbridge.json": "c67709b829669e4c64aecdedd6273ebb",
    "04-s3-export.jsonl.gz": "f362839cffe19038c7ad5730a18ed5e4",
    "08-list.json": "81dbc93db244c59115b74bea1cd12653",
    "09-lines.jsonl": "1c5b372a0f9a8acdbc2703b1468ea1cd",
    "10-bare.json": "0d1e7f7445773900ebde6a90e7707758",
    "11-aws-sample.json": "17cc3e38af371327bdf3a8e4ec7740c9",
}
FINDING = json.loads((RECORDINGS / "stolen_sa_token" / "findings.json").read_text())["Findings"][0]


def event(finding: dict[str, Any]) -> dict[str, Any]:
    return {"version": "0", "id": "e", "detail-type": "GuardDuty Finding", "source": "aws.guardduty", "detail": finding}


def sns(value: Any) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:111122223333:t", "Message": json.dumps(value)}


ENVELOPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bare": lambda finding: finding,
    "eventbridge": event,
    "sns": lambda finding: sns(event(finding)),
    "sns-raw": sns,
    "lambda-sns": lambda finding: {"Records": [{"EventSource": "aws:sns", "Sns": sns(event(finding))}]},
    "sqs": lambda finding: {"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": json.dumps(event(finding))}]},
    "sqs-sns": lambda finding: {"Records": [{"messageId": "m", "body": json.dumps(sns(event(finding)))}]},
}


@pytest.mark.parametrize("name", IDS)
def test_each_sample_gives_its_finding(name: str, tmp_path: Path) -> None:
    (entry,) = kit_json("new", tmp_path / "case", SAMPLES / name)["files"]
    assert (entry["taken_as"], entry["rows"], entry["rejects"]) == ("GuardDuty findings", 1, 0)
    (row,) = kit_json("findings", tmp_path / "case")["findings"]
    assert row["id"] == IDS[name]
    assert row["sample"] is (name == "11-aws-sample.json")


def test_one_finding_in_many_envelopes_is_one_finding_and_the_newest_wins(tmp_path: Path) -> None:
    for number, (name, wrapped) in enumerate(ENVELOPES.items()):
        newer = {**FINDING, "UpdatedAt": f"2026-12-0{number + 1}T00:00:00.000Z"} if name == "sns" else FINDING
        (tmp_path / f"{name}.json").write_text(json.dumps(wrapped(newer)))
    ledger = kit_json("new", tmp_path / "case", *sorted(tmp_path.glob("*.json")))["files"]
    assert sum(entry["rows"] + entry["duplicates"] for entry in ledger) == len(ENVELOPES)
    assert sum(entry["rows"] for entry in ledger) == 2, "equal ones are duplicates, whatever they came in"
    (row,) = kit_json("findings", tmp_path / "case")["findings"]
    assert (row["id"], row["updated_at"][:10]) == (FINDING["Id"], "2026-12-03")
    assert len(Store(tmp_path / "case").rows("SELECT 1 FROM finding_versions")) == 2


def test_what_is_no_finding_inside_is_a_reject_with_its_reason(tmp_path: Path) -> None:
    records = [{"messageId": "1", "body": json.dumps(event(FINDING))}, {"messageId": "2", "body": "{cut"}]
    (tmp_path / "batch.json").write_text(json.dumps({"Records": records}))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "batch.json")["files"]
    assert (entry["records"], entry["rows"], entry["rejects"]) == (2, 1, 1)
    (reject,) = Store(tmp_path / "case").rows("SELECT reason FROM rejects")
    assert "no JSON" in reject["reason"]


def test_envelopes_without_end_are_refused() -> None:
    value: Any = FINDING
    for _ in range(DEEPEST + 1):
        value = sns(value)
    with pytest.raises(EvidenceError, match="envelopes"):
        list(opened(value))
