"""Findings in the envelopes of EventBridge, SNS and SQS: the same finding whichever way it came, kept once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.evidence.formats.envelope import DEEPEST_ENVELOPE, opened
from kit.evidence.record import Record, Reject
from kit.model.finding import finding_of
from kit.store.store import Store
from tests.command import RECORDINGS, SAMPLE, kit_json
from tests.variation import keys, said

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
IDS = {
    "01-eventbridge.json": "509d88b4bd94c1e4056a738ec730cd41",
    "02-sns-eventbridge.json": "3b2537d6858f0f2174af8a5c79988415",
    "03-sqs-eventbridge.json": "c67709b829669e4c64aecdedd6273ebb",
    "05-security-hub-asff.json": "697b59925661c68dee528a3fa9cc51ef",
    "06-ocsf-1.1.json": "b31237cda9b54b742a21c1e6b77474b0",
    "07-ocsf-1.6.json": "f1858b199182a53e994e8dccd4fcb8b9",
    "12-security-hub-event.json": "7545232e59ca9c7b4282c8e78675c0f5",
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


OF_RECORDING = {
    "01-eventbridge.json": "long_incident",
    "02-sns-eventbridge.json": "long_incident",
    "04-s3-export.jsonl.gz": "vanished_deployment",
    "05-security-hub-asff.json": "stolen_sa_token",
    "06-ocsf-1.1.json": "long_incident",
    "07-ocsf-1.6.json": "long_incident",
    "09-lines.jsonl": "exec_kube_system",
    "10-bare.json": "long_incident",
    "12-security-hub-event.json": "exec_kube_system",
}


@pytest.mark.parametrize("name", OF_RECORDING)
def test_a_finding_affects_the_same_pods_whichever_way_it_came(name: str, tmp_path: Path) -> None:
    recording = SAMPLE if OF_RECORDING[name] == "long_incident" else RECORDINGS / OF_RECORDING[name]
    left_out = shutil.ignore_patterns("ground_truth.json", *([] if name.startswith("01") else ["findings*.json"]))
    shutil.copytree(recording, tmp_path / "evidence", ignore=left_out)
    kit_json("new", tmp_path / "case", tmp_path / "evidence", SAMPLES / name)
    (finding,) = kit_json("scope", tmp_path / "case", "--finding", IDS[name])["findings"]
    truth = json.loads((recording / "ground_truth.json").read_text())
    told = {**truth["findings"], **truth["more_findings"]}[IDS[name]]
    for kind, listed in (("pod", "pods"), ("node", "nodes"), ("service_account", "service_accounts")):
        wanted = {one["uid"] if isinstance(one, dict) else one for one in told[listed]}
        hands = {
            _of_pod(kind, pod) for pod in truth["attacker_touched_pods"]
        }  # in scope by what he did, not by the finding
        assert keys(finding, kind) - (hands - wanted) == wanted, kind
    hub = "hub" in name or "ocsf" in name
    assert ("which drops some of what GuardDuty says" in said(finding)) is hub


def _of_pod(kind: str, pod: dict[str, Any]) -> str:
    account = f"{pod['namespace']}/{pod['service_account']}"
    return str({"pod": pod["uid"], "node": pod["node"], "service_account": account}[kind])


LOST = {
    "05-security-hub-asff.json": set[str](),
    "06-ocsf-1.1.json": {"Resource.InstanceDetails.InstanceId", "Service.RuntimeDetails.Process.Lineage"},
    "07-ocsf-1.6.json": {"Service.RuntimeDetails.Context"},
    "12-security-hub-event.json": {"Resource.InstanceDetails.InstanceId", "Service.RuntimeDetails.Process.Lineage"},
}


@pytest.mark.parametrize("name", LOST)
def test_what_a_wrapper_lost_is_listed(name: str, tmp_path: Path) -> None:
    recording = {"05": RECORDINGS / "stolen_sa_token", "12": RECORDINGS / "exec_kube_system"}.get(name[:2], SAMPLE)
    whole = [
        finding_of(each)
        for path in recording.glob("findings*.json")
        for each in json.loads(path.read_text())["Findings"]
        if each["Id"] == IDS[name]
    ]
    kit_json("new", tmp_path / "case", SAMPLES / name)
    (row,) = Store(tmp_path / "case").rows("SELECT finding FROM findings")
    wrapped = finding_of(json.loads(row["finding"]))
    lost = set(wrapped.missing) - set(whole[0].missing)
    assert set(whole[0].missing) <= set(wrapped.missing)
    assert lost == LOST[name]
    (finding,) = kit_json("scope", tmp_path / "case")["findings"]
    assert all(path in said(finding) for path in lost)


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
    assert "not JSON" in reject["reason"]


def test_envelopes_without_end_are_refused() -> None:
    value: Any = FINDING
    for _ in range(DEEPEST_ENVELOPE + 1):
        value = sns(value)
    (found,) = opened(Record(1, 1, value))
    assert isinstance(found, Reject) and "envelopes" in found.reason
