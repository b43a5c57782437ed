"""A finding is the same in every spelling; botocore's own parser judges the names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import EvidenceError
from kit.lenient import member, utc_time
from kit.model.finding import Finding, cluster_in_tags, finding_of

RECORDINGS = Path(__file__).parent / "data" / "recordings"
MODEL = ServiceModel(Loader().load_service_model("guardduty", "service-2"))
SHAPE = MODEL.shape_for("Finding")
REQUIRED = {"Id": "f1", "Type": "Execution:Kubernetes/X", "Severity": 5.0, "Resource": {}}


def made(**more: Any) -> dict[str, Any]:
    return REQUIRED | more


def recorded(recording: str = "*") -> list[dict[str, Any]]:
    files = sorted(RECORDINGS.glob(f"{recording}/findings*.json"))
    assert files
    return [each for file in files for each in json.loads(file.read_text())["Findings"]]


def values_of(shape: Shape) -> st.SearchStrategy[Any]:
    if isinstance(shape, StructureShape):
        return st.fixed_dictionaries({}, optional={name: values_of(of) for name, of in shape.members.items()})
    if isinstance(shape, ListShape):
        return st.lists(values_of(shape.member), max_size=1)
    if isinstance(shape, MapShape):
        return st.dictionaries(st.text("aB", max_size=2), values_of(shape.value), max_size=1)
    if shape.type_name == "timestamp":
        return st.integers(1_000_000_000, 4_000_000_000)
    return st.integers(0, 9) if shape.type_name in ("integer", "long", "double") else st.text("xy", max_size=2)


def on_the_wire(shape: Shape, value: Any, ticks: int = 1) -> Any:
    """SDK names to wire names; timestamps, in seconds, to so many ticks a second."""
    if isinstance(shape, StructureShape):
        named = {name: (shape.members[name], each) for name, each in value.items()}
        return {of.serialization.get("name", name): on_the_wire(of, each, ticks) for name, (of, each) in named.items()}
    if isinstance(shape, ListShape):
        return [on_the_wire(shape.member, each, ticks) for each in value]
    if isinstance(shape, MapShape):
        return {name: on_the_wire(shape.value, each, ticks) for name, each in value.items()}
    return value * ticks if shape.type_name == "timestamp" else value


@given(values_of(MODEL.shape_for("Resource")), values_of(MODEL.shape_for("Service")))
def test_both_spellings_give_the_same_finding(resource: dict[str, Any], service: dict[str, Any]) -> None:
    value = made(Resource=resource, Service=service)
    finding = finding_of(value)
    assert finding == finding_of(on_the_wire(SHAPE, value)) == finding_of(on_the_wire(SHAPE, value, ticks=1000))
    assert finding.unknown == ()


@pytest.mark.parametrize("value", recorded(), ids=lambda value: value["Id"][:8])
def test_recorded_findings_keep_every_member(value: dict[str, Any]) -> None:
    finding = finding_of(value)
    assert finding.unknown == ()
    assert json.dumps(finding.raw).count('"') == json.dumps(value).count('"')
    assert finding.about_eks and finding.cluster and finding.account and not finding.sample
    assert finding == finding_of(json.loads(json.dumps(finding.raw)))


def test_names_are_those_that_botocore_gives() -> None:
    for value in recorded():
        wire = on_the_wire(SHAPE, seconds(SHAPE, value))
        body = json.dumps({"findings": [wire]}).encode()
        shape = MODEL.operation_model("GetFindings").output_shape
        parsed = create_parser("rest-json").parse({"status_code": 200, "headers": {}, "body": body}, shape)
        assert json.loads(json.dumps(finding_of(wire).raw)) == iso(parsed["Findings"][0])


def seconds(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return {name: seconds(shape.members[name], each) for name, each in value.items()}
    if isinstance(shape, ListShape):
        return [seconds(shape.member, each) for each in value]
    if shape.type_name == "timestamp":
        time = utc_time(value)
        assert time
        return int(time.timestamp())
    return value


def iso(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda time: utc_time(time.isoformat()).isoformat()))  # type: ignore[union-attr]


def test_members_that_the_model_does_not_know_are_kept_and_named() -> None:
    finding = finding_of({"id": "f", "type": "T", "severity": 1, "resource": {"newDetails": {"x": 1}}, "extra": 2})
    assert finding.unknown == ("Resource.newDetails", "extra")
    assert finding.raw["Resource"] == {"newDetails": {"x": 1}}


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "finding"),
        ({"Id": "f"}, "Type"),
        (made(id="other"), "Id"),
    ],
)
def test_what_is_no_finding_is_refused_with_its_place(value: Any, where: str) -> None:
    with pytest.raises(EvidenceError) as error:
        finding_of(value)
    assert error.value.where == where


_TAGS = {"Resource": {"EksClusterDetails": {"Name": "red", "Tags": {"env": "prod"}}}}
_LAUNCHED = {"Resource": {"InstanceDetails": {"InstanceId": "i-1", "LaunchTime": {"at": 1}}}}


@pytest.mark.parametrize(
    ("members", "odd"),
    [
        ({"Service": []}, "Service"),
        ({"Service": "text"}, "Service"),
        ({"Resource": ["x"]}, "Resource"),
        ({"Resource": {"InstanceDetails": {"Tags": {}}}}, "Resource.InstanceDetails.Tags"),
        (_TAGS, "Resource.EksClusterDetails.Tags"),
        (_LAUNCHED, "Resource.InstanceDetails.LaunchTime"),
        ({"Service": {"Count": [1]}}, "Service.Count"),
        ({"UpdatedAt": "yesterday"}, "UpdatedAt"),
        ({"Service": {"EventFirstSeen": "2026-13-45T00:00:00Z"}}, "Service.EventFirstSeen"),
        ({"Title": "a", "title": "b"}, "Title (title)"),
        ({"Severity": "HIGH"}, "Severity"),
        ({"Severity": None}, "Severity"),
        ({"Severity": 10**400}, "Severity"),
    ],
)
def test_an_odd_member_costs_itself_alone_and_is_named(members: dict[str, Any], odd: str) -> None:
    finding = finding_of(made(**members))
    assert (finding.id, finding.odd) == (made()["Id"], (odd,))
    assert finding_of(finding.raw).odd == (odd,)  # as the store keeps it
    assert finding_of(made()).odd == ()


_USER = ("KubernetesDetails", "KubernetesUserDetails")


@pytest.mark.parametrize(
    ("resource", "path", "value"),
    [
        ({"KubernetesDetails": {"KubernetesUserDetails": {"SessionName": "kim"}}}, (*_USER, "SessionName"), ["kim"]),
        ({"KubernetesDetails": {"KubernetesUserDetails": {"Groups": "ops"}}}, (*_USER, "Groups"), ["ops"]),
        ({"InstanceDetails": {"Tags": {"Key": "a", "Value": "b"}}}, ("InstanceDetails", "Tags"), [{"Key": "a", "Value": "b"}]),
        ([{"InstanceDetails": {"InstanceId": "i-1"}}], ("InstanceDetails", "InstanceId"), "i-1"),
        ({"instance_details": [{"instance-id": ["i-1"]}]}, ("InstanceDetails", "InstanceId"), "i-1"),
        ('{"InstanceDetails": {"InstanceId": "i-1"}}', ("InstanceDetails", "InstanceId"), "i-1"),
    ],
)  # fmt: skip
def test_a_member_in_another_form_is_taken_where_it_says_the_same(
    resource: Any, path: tuple[str, ...], value: Any
) -> None:
    finding = finding_of(made(Resource=resource))
    assert (member(finding.raw["Resource"], *path), finding.odd) == (value, ())


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-02T10:10:00Z", "2026-03-02T10:10:00+00:00"),
        ("2026-03-02 10:10:00.5", "2026-03-02T10:10:00.500000+00:00"),
        ("2026-03-02 12:10:00 +0200", "2026-03-02T10:10:00+00:00"),
        ("2026-03-02 10:10:00 +0000 UTC", "2026-03-02T10:10:00+00:00"),
        ("20260302T101000Z", "2026-03-02T10:10:00+00:00"),
        ("1772446200", "2026-03-02T10:10:00+00:00"),
        ("1772446200.25", "2026-03-02T10:10:00.250000+00:00"),
        ("1772446200000", "2026-03-02T10:10:00+00:00"),
        ("1772446200000001", "2026-03-02T10:10:00.000001+00:00"),
        (1772446200, "2026-03-02T10:10:00+00:00"),
        (1772446200000, "2026-03-02T10:10:00+00:00"),
        (1772446200000000, "2026-03-02T10:10:00+00:00"),
        (1772446200000000000, "2026-03-02T10:10:00+00:00"),
        ("March 2, 2026, 12:10:00 (UTC+02:00)", "2026-03-02T10:10:00+00:00"),
        ("Mar 2, 2026 10:10 AM", "2026-03-02T10:10:00+00:00"),
        ("Mon Mar 02 2026 12:10:00 GMT+0200 (Central European Time)", "2026-03-02T10:10:00+00:00"),
        ("Mar 2, 2026 12:00:00 AM", "2026-03-02T00:00:00+00:00"),
        ("1.7724462E9", "2026-03-02T10:10:00+00:00"),
        ("1.7724462E+12", "2026-03-02T10:10:00+00:00"),
        ("3/2/2026, 12:10:00.000 PM", "2026-03-02T12:10:00+00:00"),
        ("Mon, 02 Mar 2026 12:10:00 +0200", "2026-03-02T10:10:00+00:00"),
        ("02 Mar 2026 10:10:00 GMT", "2026-03-02T10:10:00+00:00"),
        ("Mon Mar  2 10:10:00 UTC 2026", "2026-03-02T10:10:00+00:00"),
        ("Mon Mar  2 10:10:00 CET 2026", None),
        ("13/2/2026, 1:10:00 PM", None),
        ("17724462", None),
        ("1772-44", None),
        ("03/02/2026 10:10", None),
        ("Abc 2, 2026 10:10", None),
        ("99999999999999999999", None),
        (float("nan"), None),
        (10**400, None),
        (True, None),
    ],
)
def test_a_time_is_read_in_every_form_or_not_at_all(text: Any, time: str | None) -> None:
    found = utc_time(text)
    assert (found.isoformat() if found else None) == time


@pytest.mark.parametrize(
    ("severity", "number"),
    [("High", 7.0), ({"Label": "CRITICAL"}, 9.0), ("8.5", 8.5), (None, 0.0), ("grave", 0.0), (11, 0.0)],
)
def test_a_severity_is_read_from_its_label_or_is_nothing(severity: Any, number: float) -> None:
    finding = finding_of(made(Severity=severity))
    assert (finding.severity, bool(finding.odd)) == (number, number != 8.5)


@pytest.mark.parametrize(
    ("info", "sample"),
    [
        ({"Value": '{"sample":true}', "Type": "default"}, True),
        ({"sample": True}, True),
        ({"Sample": True}, True),
        ('{"sample":true}', True),
        ('{"Value":"{\\"sample\\":true}"}', True),
        ("sample", False),
        ({"Value": '{"sample":"true"}'}, True),  # queries make a text of everything
        ({"sample": "false"}, False),
        ({"Value": "{broken"}, False),
        ({"Value": "{}"}, False),
        (None, False),
    ],
)
def test_a_sample_finding_says_so_in_its_additional_info(info: Any, sample: bool) -> None:
    assert finding_of(made(Service={"AdditionalInfo": info})).sample is sample


def tagged(*keys: str) -> dict[str, Any]:
    return {"InstanceDetails": {"InstanceId": "i-1", "Tags": [{"Key": key, "Value": "blue"} for key in keys]}}


@pytest.mark.parametrize(
    ("type_", "resource", "about_eks", "cluster"),
    [
        ("Execution:Runtime/X", tagged("kubernetes.io/cluster/red"), True, "red"),
        ("Execution:Runtime/X", tagged("aws:eks:cluster-name"), True, "blue"),
        ("Execution:Runtime/X", tagged("eks:cluster-name", "kubernetes.io/cluster/blue"), True, "blue"),
        ("Execution:Runtime/X", tagged("eks:cluster-name", "kubernetes.io/cluster/red"), False, None),
        ("Execution:Runtime/X", tagged("Name"), False, None),
        ("Execution:Runtime/X", {"EcsClusterDetails": {"Name": "red"}}, False, None),
        ("Recon:EC2/PortProbeUnprotectedPort", tagged("eks:cluster-name"), False, "blue"),
        ("Policy:Kubernetes/X", {"EksClusterDetails": {"Arn": "arn:aws:eks:r:1:cluster/red"}}, True, "red"),
        ("Policy:Kubernetes/X", {}, False, None),
        ("AttackSequence:EKS/CompromisedCluster", {}, True, None),
        ("AttackSequence:IAM/CompromisedCredentials", {}, False, None),
    ],
)
def test_which_findings_are_about_a_cluster(
    type_: str, resource: dict[str, Any], about_eks: bool, cluster: str | None
) -> None:
    finding = finding_of(made(Type=type_, Resource=resource))
    assert (finding.about_eks, finding.cluster) == (about_eks, cluster)


def test_an_attack_sequence_takes_its_cluster_from_its_resources() -> None:
    resources = [{"ResourceType": "EC2_INSTANCE", "Name": "i-1"}, {"ResourceType": "EKS_CLUSTER", "Name": "red"}]
    service = {"Detection": {"Sequence": {"Uid": "s", "Resources": resources}}}
    finding = finding_of(made(Type="AttackSequence:EKS/CompromisedCluster", Service=service))
    assert finding.cluster == "red"
    assert finding.sequence["Uid"] == "s"


def by_type(word: str, recording: str = "stolen_sa_token") -> Finding:
    return next(finding_of(value) for value in recorded(recording) if word in value["Type"])


def test_accessors_reach_the_parts_and_are_empty_without_them() -> None:
    deployed = by_type("WorkloadDeployed")
    assert deployed.user["Username"].startswith("system:serviceaccount:")
    assert deployed.workload["Type"] == deployed.api_call["Resource"] == "pods"
    assert deployed.resource_type == "EKSCluster"
    assert not deployed.is_policy
    runtime = by_type("Runtime")
    assert runtime.instance_id and runtime.instance_id.startswith("i-")
    bare = finding_of(REQUIRED)
    parts = (bare.user, bare.workload, bare.api_call, bare.role_binding, bare.access_key, bare.sequence)
    assert parts == ({}, {}, {}, {}, {}, {})
    assert bare.instance_id is None and bare.resource_type is None


def test_a_ref_may_point_into_the_finding() -> None:
    assert finding_of(REQUIRED).ref() == "finding:f1"
    assert finding_of(REQUIRED).ref("service.count") == "finding:f1#service.count"


def test_tags_of_two_clusters_name_none() -> None:
    assert cluster_in_tags([{"Key": "kubernetes.io/cluster/a"}, {"Key": "kubernetes.io/cluster/b"}]) is None


def test_a_finding_without_its_id_has_the_one_of_its_arn() -> None:
    arn = "arn:aws:guardduty:eu-west-1:111122223333:detector/d/finding/0123456789abcdef0123456789abcdef"
    named = {"Type": "Discovery:Kubernetes/TorIPCaller", "Severity": 5.0}
    assert finding_of(named | {"Arn": arn}).id == "0123456789abcdef0123456789abcdef"
    with pytest.raises(EvidenceError, match="Id"):
        finding_of(named | {"Arn": arn.partition("/finding/")[0]})
