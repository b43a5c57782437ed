"""What eksctl prints about who may sign in."""

from __future__ import annotations

import json
from typing import Any

from kit.evidence.formats.form import JSON
from kit.evidence.readers import cluster, eksctl
from kit.evidence.sniff import FileKind
from tests.sources import reading
from tests.sources.reading import Row, taken_by

IAM = "arn:aws:iam::444455556666"
POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
ENTRY: dict[str, Any] = {
    "principalARN": f"{IAM}:role/ops",
    "type": "STANDARD",
    "kubernetesUsername": "ops",
    "kubernetesGroups": ["g"],
    "accessPolicies": [{"policyARN": POLICY, "accessScope": {"type": "cluster"}}],
}
MAPPINGS: list[dict[str, Any]] = [
    {"rolearn": f"{IAM}:role/ops", "username": "ops", "groups": ["system:masters"]},
    {"userarn": f"{IAM}:user/u", "username": "u", "groups": ["g"]},
    {"account": "444455556666"},
]


def read(document: Any) -> list[dict[str, Any]]:
    found = reading.read(json.dumps(document).encode(), FileKind(JSON, eksctl))
    return [one.values for one in found if isinstance(one, Row)]


def test_both_of_its_lists_are_taken_and_nothing_else() -> None:
    assert all(taken_by(json.dumps(one).encode()) is eksctl for one in ([ENTRY], MAPPINGS, MAPPINGS[1:]))
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "b", "uid": "c"},
    }
    assert taken_by(json.dumps(made | MAPPINGS[0]).encode()) is cluster
    assert taken_by(json.dumps([{"rolearn": "x"}]).encode()) is None


def test_an_access_entry_has_the_members_that_aws_gives_it() -> None:
    entry, policies = read([ENTRY])
    assert (entry["kind"], policies["kind"]) == ("AccessEntry", "AccessPolicies")
    assert json.loads(entry["object"])["principalArn"] == json.loads(policies["object"])["principalArn"]
    assert json.loads(policies["object"])["associatedAccessPolicies"][0]["policyArn"] == POLICY


def test_a_mapping_is_one_thing() -> None:
    assert [one["name"] for one in read(MAPPINGS)] == [f"{IAM}:role/ops", f"{IAM}:user/u", "444455556666"]
