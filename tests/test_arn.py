"""ARNs of all partitions, and texts that are none."""

from __future__ import annotations

import pytest

from kit.model.arn import Arn, account_of, instance_of, partition_in, partition_of, principal_of, role_of, without_path

PARTITIONS = {
    "cn-north-1": "aws-cn",
    "us-gov-west-1": "aws-us-gov",
    "us-iso-east-1": "aws-iso",
    "us-isob-east-1": "aws-iso-b",
    "eusc-de-east-1": "aws-eusc",
}


@pytest.mark.parametrize("region", ["eu-west-1", *PARTITIONS, None])
def test_the_partition_stays(region: str | None) -> None:
    partition = partition_in(region)
    session = f"arn:{partition}:sts::111122223333:assumed-role/Node-Role/i-06492848bd396afb5"
    role = f"arn:{partition}:iam::111122223333:role/Node-Role"
    assert partition == PARTITIONS.get(str(region), "aws")
    assert str(Arn.of(session)) == session and partition_of(session) == partition
    assert (role_of(session), role_of(role), instance_of(session)) == (role, role, "i-06492848bd396afb5")
    assert without_path(role.replace("role/", "role/team/a/")) == role
    assert (
        principal_of(session)
        == principal_of(role.replace("role/", "role/team/"))
        == ("111122223333", "role", "node-role")
    )


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "arn:",
        "arn:aws:iam::1",
        "role/x",
        "arn:aws:iam::x:role/a",
        "arn:aws:sts::1:assumed-role/a",
        "arn:aws:iam::1:root",
    ],
)
def test_what_names_no_principal_is_none(text: object) -> None:
    assert role_of(text) is None and principal_of(text) is None and instance_of(text) == ""
    assert partition_of(text) == "aws" and account_of(text) in (None, "x", "1")
    assert without_path(str(text)) in (str(text), "arn:aws:iam::x:role/a")
