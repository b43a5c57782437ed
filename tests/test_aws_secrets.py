"""Secrets of AWS whose values the attacker read: told, open until they get a new value, and rotated by the plan."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests import cases
from tests.command import kit, kit_json
from tests.test_host_access import EVERY
from tests.variation import varied

Record = dict[str, Any]
THEFT = EVERY["pod_identity_theft"]
READ = ["secretsmanager:core-eks/payments", "secretsmanager:core-eks/warehouse"]


def opened(case: Path) -> dict[str, Record]:
    """Key → the open entry, of secrets of AWS."""
    entries = [one for incident in kit_json("brief", case)["incidents"] for one in incident["open"]]
    return {one["key"]: one for one in entries if one["kind"] == "aws_secret"}


def made(tmp_path: Path, trail: Any) -> Path:
    """A case of the recording with another CloudTrail."""
    case = tmp_path / "case"
    kit("new", case, varied(THEFT, tmp_path, trail=trail))
    return case


def test_what_was_read_is_told_stays_open_and_is_rotated_by_its_owner() -> None:
    case = cases.shared(THEFT)
    assert sorted(opened(case)) == READ and {one["state"] for one in opened(case).values()} == {"usable"}
    told = kit("brief", case).stdout
    assert "read in AWS secret core-eks/warehouse" in told and "2 secrets to rotate" in told
    (rows,) = (one["story"] for one in kit_json("brief", case)["incidents"])
    assert {one["phase"] for one in rows if one["did"] == "secret"} == {"credential access"}
    rotated = {one["target"]: one for one in cases.planned(THEFT)["actions"] if one["action"] == "rotate_secrets"}
    assert sorted(rotated) == [f"aws_secret:{key}" for key in READ]
    assert all(one["by_person"] and one["ends"] for one in rotated.values())
    assert rotated[f"aws_secret:{READ[0]}"]["command"] == [
        "aws secretsmanager describe-secret --secret-id core-eks/payments"
    ]


def test_a_new_value_by_its_owner_ends_it_and_one_of_another_name_does_not(tmp_path: Path) -> None:
    def put(records: list[Record]) -> list[Record]:
        own = next(
            one for one in records if one["sourceIPAddress"] != "203.0.113.64" and one["userIdentity"].get("arn")
        )
        return [
            *records,
            *(
                copy.deepcopy(own) | {"eventID": f"put-{name}", "eventTime": "2026-11-29T16:38:30Z", "eventName": "PutSecretValue", "errorCode": None,
                                      "eventSource": "secretsmanager.amazonaws.com", "requestParameters": {"secretId": name}}
                for name in ("arn:aws:secretsmanager:eu-west-1:777788889999:secret:core-eks/warehouse-AbC123", "core-eks/payments-of-another")
            ),
        ]  # fmt: skip

    found = opened(made(tmp_path, put))
    assert {key: one["state"] for key, one in found.items()} == {READ[0]: "usable", READ[1]: "ended"}
    assert found[READ[1]]["until"].startswith("2026-11-29T16:38:30")


@pytest.mark.parametrize(
    ("name", "asked", "key", "command"),
    [
        ("GetParameter", {"name": "/prod/db", "withDecryption": True}, "ssm:/prod/db", [{"Key": "Name", "Values": ["/prod/db"]}]),
        ("GetParameters", {"names": ["arn:aws:ssm:eu-west-1:777788889999:parameter/prod/db"], "withDecryption": True}, "ssm:/prod/db", [{"Key": "Name", "Values": ["/prod/db"]}]),
        ("GetParametersByPath", {"path": "/prod/", "withDecryption": True}, "ssm:/prod/*", [{"Key": "Path", "Option": "Recursive", "Values": ["/prod"]}]),
        ("GetParameter", {"name": "/prod/db", "withDecryption": False}, "", None),
        ("GetSecretValue", {"secretId": "x; touch INJECTED"}, "secretsmanager:x; touch INJECTED", None),
        ("GetSecretValue", {"secretId": {"odd": 1}}, "", None),
    ],
)  # fmt: skip
def test_each_way_to_a_value_is_known(name: str, asked: Record, key: str, command: list[Record] | None, tmp_path: Path) -> None:  # fmt: skip
    def other(records: list[Record]) -> list[Record]:
        for one in records:
            if one["eventName"] == "GetSecretValue":
                service = "ssm" if "Parameter" in name else "secretsmanager"
                one.update(eventName=name, eventSource=f"{service}.amazonaws.com", requestParameters=asked)
        return records

    case = made(tmp_path, other)
    assert list(opened(case)) == [key][: bool(key)]
    rotated = [one for one in kit_json("plan", case)["actions"] if one["action"] == "rotate_secrets"]
    assert [one["target"] for one in rotated] == [f"aws_secret:{key}"][: bool(key)]
    assert [one["command"] for one in rotated] == (
        [[f"aws ssm describe-parameters --parameter-filters '{json.dumps(command, separators=(',', ':'))}'"]] if command else [[]] * bool(key)
    )  # fmt: skip


def test_a_value_that_was_refused_is_none(tmp_path: Path) -> None:
    def refused(records: list[Record]) -> list[Record]:
        return [one | {"errorCode": "AccessDenied"} if one["eventName"] == "GetSecretValue" else one for one in records]

    assert not opened(made(tmp_path, refused))
