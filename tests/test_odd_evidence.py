"""Evidence in which members have other types than the API gives: never a traceback, and what is right beside it still counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kit.store.store import Store
from tests.command import kit_json
from tests.test_scope import STOLEN, named_pods, of_type, wanted
from tests.variation import Event, scope_of, varied

ODD: tuple[Any, ...] = (None, "text", 7, [], ["text", None, 3], {}, {"x": "y"})


def _replaced(value: Any, name: str, odd: Any) -> Any:
    """A body in which each member of one name holds something else."""
    if isinstance(value, dict):
        return {key: odd if key == name else _replaced(one, name, odd) for key, one in value.items()}
    return [_replaced(one, name, odd) for one in value] if isinstance(value, list) else value


@pytest.mark.full
@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        "roleRef",
        "subjects",
        "rules",
        "containers",
        "volumes",
        "podIPs",
        "addresses",
        "annotations",
        "imagePullSecrets",
        "name",
        "env",
    ],
)
def test_odd_members_of_objects(tmp_path: Path, name: str, odd: Any) -> None:
    def changed(events: list[Event]) -> list[Event]:
        for event in events:
            for body in ("requestObject", "responseObject"):
                if event.get(body):
                    event[body] = _replaced(event[body], name, odd)
        return events

    def dumped(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [_replaced(item, name, odd) for item in items]

    finding = of_type(scope_of(varied(STOLEN, tmp_path, events=changed, dump=dumped)), "SecretsAccessed")
    assert named_pods(STOLEN, finding) <= wanted(STOLEN, finding)


@pytest.mark.parametrize("odd", [None, "text", ["text", None]], ids=repr)
def test_odd_descriptions_of_aws_and_odd_events_of_cloudtrail(tmp_path: Path, odd: Any) -> None:
    evidence = varied(STOLEN, tmp_path)
    for path in sorted((evidence / "aws").glob("*.json")):
        value = json.loads(path.read_text())
        for name in (
            "associatedAccessPolicies",
            "kubernetesGroups",
            "oidc",
            "accessConfig",
            "accessScope",
            "IamInstanceProfile",
        ):
            value = _replaced(value, name, odd)
        path.write_text(json.dumps(value))
    trail = json.loads(gzip.decompress((evidence / "cloudtrail.json.gz").read_bytes()))
    for name in ("tags", "credentials", "assumedRoleUser"):
        trail["Records"] += _replaced(trail["Records"], name, odd)
    for number, record in enumerate(trail["Records"]):
        record["eventID"] = f"{number:08x}{record['eventID'][8:]}"
    (evidence / "cloudtrail.json.gz").write_bytes(gzip.compress(json.dumps(trail).encode()))
    finding = of_type(scope_of(evidence), "SecretsAccessed")
    assert named_pods(STOLEN, finding) == wanted(STOLEN, finding)


def test_what_could_not_be_read_of_any_evidence_is_a_limit(tmp_path: Path) -> None:
    evidence = varied(STOLEN, tmp_path)
    trail = json.loads(gzip.decompress((evidence / "cloudtrail.json.gz").read_bytes()))
    trail["Records"].append(trail["Records"][0] | {"eventTime": None})
    trail["Records"].append(trail["Records"][0] | {"eventID": "odd", "eventName": {}})
    (evidence / "cloudtrail.json.gz").write_bytes(gzip.compress(json.dumps(trail).encode()))
    found = json.loads((evidence / "findings.json").read_text())
    for one in found["Findings"]:
        one["Resource"]["EksClusterDetails"]["Tags"] = {"env": "prod"}
    foreign = {
        "SchemaVersion": "2018-10-08",
        "ProductArn": "arn:aws:securityhub:eu-west-1::product/aws/inspector",
        "Id": "x",
    }
    found["Findings"].append(foreign)
    (evidence / "findings.json").write_text(json.dumps(found))
    limits = of_type(scope_of(evidence), "SecretsAccessed")["limits"]
    (lost,) = [one for one in limits if "could not be read" in one["says"]]
    (odd,) = [one for one in limits if "of another kind than AWS and Kubernetes write" in one["says"]]
    for one in (lost, odd):
        assert "1 records of evidence/cloudtrail.json.gz" in one["says"]
        assert one["about"] == ["iam_role", "credential", "let_in"]
    assert any("Resource.EksClusterDetails.Tags" in one["says"] for one in limits)


RUNS = "$(touch INJECTED)"


def test_names_of_another_form_are_kept_and_said_and_stand_in_no_command(tmp_path: Path) -> None:
    def events(log: list[Event]) -> list[Event]:
        made = next(
            one for one in log if (one.get("objectRef") or {}).get("resource") == "pods" and one["verb"] == "create"
        )
        return [*log, made | {"auditID": "a" * 36, "objectRef": made["objectRef"] | {"resource": RUNS}}]

    evidence = varied(
        STOLEN, tmp_path, events=events, trail=lambda records: [records[0] | {"awsRegion": RUNS}, *records[1:]]
    )
    described = evidence / "aws" / "ec2-describe-instances.json"
    listed = json.loads(described.read_text())
    first = listed["Reservations"][0]["Instances"][0]
    first["InstanceId"] = f"i-0 {RUNS}"
    first["Tags"] = [{"Key": "aws:autoscaling:groupName", "Value": RUNS}]
    described.write_text(json.dumps(listed))
    limits = of_type(scope_of(evidence), "SecretsAccessed")["limits"]
    odd = [one["says"] for one in limits if "of another form than" in one["says"]]
    for called, where in (
        ("resources", "audit.jsonl.gz"),
        ("Regions", "cloudtrail.json.gz"),
        ("EC2 instances", "ec2-describe-instances.json"),
        ("Auto Scaling groups", "ec2-describe-instances.json"),
    ):
        (said,) = [one for one in odd if f" of {called} is of" in one or f" of {called} are of" in one]
        assert where in said and "touch INJECTED" in said
    store = Store(tmp_path / "case")
    assert store.rows("SELECT count(*) AS n FROM audit WHERE resource = $name", name=RUNS) == [{"n": 1}]
    assert store.rows("SELECT count(*) AS n FROM rejects") == [{"n": 0}]
    commands = [line for one in kit_json("plan", tmp_path / "case")["actions"] for line in one["command"]]
    assert commands and not [line for line in commands if "touch INJECTED" in line]
