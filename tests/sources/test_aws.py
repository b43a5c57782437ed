"""What the AWS CLI prints about a cluster."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kit.evidence.formats.form import JSON
from kit.evidence.readers import aws
from kit.evidence.record import Reject
from kit.evidence.sniff import FileKind
from kit.store import tables
from tests.sources import reading
from tests.sources.reading import Row, taken_by

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
AWS = FileKind(JSON, aws)
ARN = "arn:aws:eks:r:1:podidentityassociation/red/a-1"
ASSOCIATION = {"clusterName": "red", "namespace": "n", "serviceAccount": "s", "associationArn": ARN}


def sniffed(document: Any) -> bool:
    return taken_by(json.dumps(document).encode()) is aws


def read(document: Any) -> list[Row | Reject]:
    return reading.read(json.dumps(document).encode(), AWS)


def placed(document: Any) -> tuple[Any, ...]:
    (row,) = read(document)
    assert isinstance(row, Row)
    return tuple(row.values[name] for name in ("kind", "namespace", "name", "uid", "cluster", "account"))


@pytest.mark.parametrize("recording", ["stolen_sa_token", "vanished_deployment"])
def test_recorded_descriptions_become_rows_that_fit_the_table(recording: str) -> None:
    rows = []
    for path in sorted((RECORDINGS / recording / "aws").iterdir()):
        data = path.read_bytes()
        assert taken_by(data) is aws
        for each in reading.read(data):
            assert isinstance(each, Row)
            rows.append(each.values | {"file": path.name, "line": each.line, "item": each.item})
    table = pa.Table.from_pylist(rows, tables.OBJECTS.schema)
    assert all(set(row) == set(tables.OBJECTS.names) for row in rows)
    assert Counter(table.column("kind").to_pylist()) == {
        "Instance": 3,
        "AccessEntry": 4,  # two described, the same two listed by name alone
        "AccessPolicies": 2,
        "Cluster": 1,
        "IdentityProviderConfig": 2,
        "PodIdentityAssociation": 4,
    }


def test_each_thing_says_where_it_belongs() -> None:
    cluster = {"name": "red", "arn": "arn:aws:eks:r:1:cluster/red"}
    assert placed({"cluster": cluster}) == ("Cluster", None, "red", "arn:aws:eks:r:1:cluster/red", "red", "1")
    association = ("PodIdentityAssociation", "n", "s", ARN, "red", "1")
    assert placed({"association": ASSOCIATION}) == placed({"associations": [ASSOCIATION]}) == association
    assert placed({"accessEntries": ["arn:aws:iam::2:role/r"]})[:3] == ("AccessEntry", None, "arn:aws:iam::2:role/r")
    policies = {"associatedAccessPolicies": [], "clusterName": "red", "principalArn": "arn:aws:iam::2:role/r"}
    assert placed(policies) == ("AccessPolicies", None, "arn:aws:iam::2:role/r", None, "red", None)
    tags = [{"Key": "kubernetes.io/cluster/red", "Value": "owned"}]
    reservation = {"OwnerId": "1", "Instances": [{"InstanceId": "i-1", "Tags": tags}]}
    assert placed({"Reservations": [reservation]}) == ("Instance", None, "i-1", "i-1", "red", "1")
    config = {
        "identityProviderConfigName": "login",
        "identityProviderConfigArn": "arn:aws:eks:r:1:c",
        "clusterName": "red",
    }
    described = placed({"identityProviderConfig": {"oidc": config}})
    assert described == ("IdentityProviderConfig", None, "login", "arn:aws:eks:r:1:c", "red", "1")


@pytest.mark.parametrize(
    ("document", "kind", "name"),
    [
        ({"TrailARN": "arn:aws:cloudtrail:r:1:trail/t", "EventSelectors": []}, "EventSelectors", "arn:aws:cloudtrail:r:1:trail/t"),
        ({"TrailARN": "t", "AdvancedEventSelectors": [{"Name": "all"}]}, "EventSelectors", "t"),
        ({"ServiceRole": "arn:aws:iam::1:role/r", "FindingPublishingFrequency": "ONE_HOUR", "Status": "ENABLED"}, "Detector", "arn:aws:iam::1:role/r"),
        ({"Name": "quiet", "Action": "ARCHIVE", "FindingCriteria": {"Criterion": {}}}, "Filter", "quiet"),
        ({"registryId": "1", "repositoryName": "shop/api", "policyText": "{}"}, "RepositoryPolicy", "shop/api"),
        ({"repositoryName": "shop/api", "lifecyclePolicyText": "{}"}, "LifecyclePolicy", "shop/api"),
        ({"repositoryName": "shop/api", "imageScanFindings": {"findings": []}}, "ImageScanFindings", "shop/api"),
        ({"PolicyNames": ["inline"]}, "InlinePolicyName", "inline"),
        ({"DetectorIds": ["d-1"]}, "DetectorId", "d-1"),
        ({"FilterNames": ["quiet"]}, "FilterName", "quiet"),
        ({"Members": [{"AccountId": "2", "RelationshipStatus": "Enabled"}]}, "Member", "2"),
        ({"NatGateways": [{"NatGatewayId": "nat-1"}]}, "NatGateway", "nat-1"),
        ({"LoginProfile": {"UserName": "maker", "PasswordResetRequired": False}}, "LoginProfile", "maker"),
        ({"MFADevices": [{"UserName": "maker", "SerialNumber": "arn:aws:iam::1:mfa/m"}]}, "MFADevice", "arn:aws:iam::1:mfa/m"),
        ({"UserName": "maker", "PolicyName": "inline", "PolicyDocument": {}}, "UserPolicy", "inline"),
        ({"Organization": {"Id": "o-1", "Arn": "arn:aws:organizations::1:organization/o-1"}}, "Organization", "o-1"),
        ({"ResolverQueryLogConfig": {"Name": "queries", "Arn": "arn:aws:route53resolver:r:1:c/1"}}, "ResolverQueryLogConfig", "queries"),
        ({"ResolverQueryLogConfigAssociations": [{"Id": "a-1", "ResourceId": "vpc-1"}]}, "ResolverQueryLogConfigAssociation", "vpc-1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_collection_asks_besides_becomes_a_row(document: Any, kind: str, name: str) -> None:
    assert sniffed(document)
    assert (placed(document)[0], placed(document)[2]) == (kind, name)


def test_a_number_where_a_text_belongs_is_a_text() -> None:
    assert placed({"associations": [ASSOCIATION | {"namespace": 1}]})[1] == "1"
    assert placed({"Reservations": [{"OwnerId": 1, "Instances": [{"InstanceId": "i-1"}]}]})[5] == "1"


@pytest.mark.parametrize(
    "document",
    [
        {"accessEntries": [1]},
        {"accessEntries": [None]},
        {"association": []},
        {"cluster": None},
        {"cluster": {"name": {}}},
        {"identityProviderConfig": {"oidc": "x"}},
        {"Reservations": [{}]},
        {"Reservations": ["x"]},
        {"Reservations": [{"Instances": [{"InstanceId": "i-1", "Tags": ["x"]}]}]},
        {"associatedAccessPolicies": []},
        {"other": 1},
        7,
    ],
)
def test_what_is_of_the_wrong_type_is_a_reject(document: Any) -> None:
    (made,) = read(document)
    assert isinstance(made, Reject)


@pytest.mark.parametrize(
    "document",
    [
        {"associations": [{"associationArn": "arn:aws:ec2:::x"}]},
        {"cluster": {"arn": "arn:aws:ecs:::cluster/x"}},
        {"Members": [{"name": "of a team"}]},
        {"apiVersion": "v1", "kind": "List", "items": []},
        [],
    ],
)
def test_other_files_are_not_taken(document: Any) -> None:
    assert not sniffed(document)


@pytest.mark.parametrize("call", aws.CALLS, ids=lambda call: f"{call.service}-{call.operation}-{call.key}")
def test_the_members_of_a_call_are_those_of_its_model(call: aws.CliCall) -> None:
    from botocore.loaders import Loader
    from botocore.model import ListShape, ServiceModel

    model = ServiceModel(Loader().load_service_model(call.service, "service-2"))
    thing = model.operation_model(call.operation).output_shape.members[call.key]
    listed = isinstance(thing, ListShape)
    assert (call.key in aws.LISTS) is listed
    thing = thing.member if listed else thing
    if call.key == "Reservations":
        thing = thing.members["Instances"].member
    if thing.type_name != "string":  # list-access-entries prints names alone
        assert {call.name, call.uid} - {""} <= thing.members.keys()
