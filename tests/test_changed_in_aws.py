"""What the attacker changed in AWS beside IAM: told as a change, and put back by printed lines that the AWS CLI takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from kit.actions.changed_in_aws import _UNDONE_BY, undone_by
from tests.command import kit, kit_json
from tests.command_words import why_wrong
from tests.test_host_access import EVERY
from tests.variation import varied


@pytest.mark.parametrize("name", _UNDONE_BY)
def test_each_line_is_one_that_the_aws_cli_takes(name: str) -> None:
    asked = {one: "x" for _, options in _UNDONE_BY[name] for one in options.values() if not one.startswith("=")}
    answered = {"instancesSet": {"items": [{"instanceId": "i-0123456789abcdef0"}]}}
    lines = undone_by(name, asked | {"name": "x"}, answered, "eu-west-1")
    assert lines and len(lines) == len(_UNDONE_BY[name])
    assert [problem for line in lines if (problem := why_wrong(shlex.split(line)))] == []
    assert all("--region eu-west-1" in line for line in lines if not line.startswith("aws iam "))


def test_what_was_changed_is_told_as_a_change_and_put_back(tmp_path: Path) -> None:
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "StopLogging": ("cloudtrail", {"name": "main"}),
        "ModifySnapshotAttribute": ("ec2", {"snapshotId": "snap-0123456789abcdef0", "attributeType": "CREATE_VOLUME_PERMISSION"}),
        "RunInstances": ("ec2", {"instanceType": "p4d.24xlarge"}),
        "DescribeInstances": ("ec2", {}),
    }  # fmt: skip

    def more(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = next(one for one in records if one["eventName"] == "CreateAccessKey")
        answered = {"instancesSet": {"items": [{"instanceId": "i-0123456789abcdef0"}]}}
        return records + [
            made | {"eventID": f"more-{name}", "eventName": name, "eventSource": f"{service}.amazonaws.com", "requestParameters": given,
                    "responseElements": answered if name == "RunInstances" else None, "readOnly": name.startswith("Describe"), "awsRegion": "us-west-2"}
            for name, (service, given) in asked.items()
        ]  # fmt: skip

    case = tmp_path / "case"
    kit("new", case, varied(EVERY["cluster_creator"], tmp_path, trail=more))
    actions = [one for one in kit_json("plan", case)["actions"] if one["action"] == "undo_iam_changes"]
    assert {one["target"].partition(":")[2]: one["command"] for one in actions} == {
        "cloudtrail:main": ["aws cloudtrail start-logging --name main"],
        "ec2:i-0123456789abcdef0": ["aws ec2 describe-instances --instance-ids i-0123456789abcdef0"],
        "ec2:snap-0123456789abcdef0": [
            f"aws ec2 {verb}-snapshot-attribute --snapshot-id snap-0123456789abcdef0 --attribute createVolumePermission"
            for verb in ("describe", "reset")
        ],
    }
    assert all(one["by_person"] for one in actions)
    rows = [row for one in kit_json("brief", case)["incidents"] for row in one["story"]]
    (told,) = [row for row in rows if "trail:more-StopLogging" in row["refs"]]
    assert "changed what is recorded by StopLogging" in told["says"] and told["did"] != "looked"
