"""GuardDuty findings in the forms that a file of them takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from kit.errors import EvidenceError
from kit.evidence.formats.form import JSON
from kit.evidence.readers import findings, security_hub
from kit.evidence.record import Reject
from kit.evidence.sniff import FileKind
from kit.model.finding import ODD_MEMBERS
from kit.store import tables
from tests.sources.reading import Row, read, taken_by

RECORDING = Path(__file__).parents[1] / "data" / "recordings" / "stolen_sa_token"
WHOLE = (RECORDING / "findings.json").read_bytes()
LISTED: list[dict[str, Any]] = json.loads(WHOLE)["Findings"]
FINDINGS = FileKind(JSON, findings)
SAMPLES = Path(__file__).parents[1] / "data" / "samples"


def small(value: Any) -> Any:
    """Names with a small first letter, which is the wire name of all members that these findings have but one."""
    if isinstance(value, dict):
        return {name[0].lower() + name[1:].replace("Ips", "IPs"): small(each) for name, each in value.items()}
    return [small(each) for each in value] if isinstance(value, list) else value


def sniffed(data: bytes) -> bool:
    return taken_by(data) is findings


def hashes(data: bytes) -> list[str]:
    made = read(data, FINDINGS)
    assert all(isinstance(each, Row) for each in made)
    return [each.values["event_hash"] for each in made if isinstance(each, Row)]


def bus(finding: dict[str, Any]) -> bytes:
    about = {"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "account": "1", "region": "eu-west-1"}
    return json.dumps(about | {"detail": finding}).encode()


def bus_of_sdk(finding: dict[str, Any], as_text: bool) -> bytes:
    detail = json.dumps(finding) if as_text else finding
    return json.dumps({"Source": "aws.guardduty", "DetailType": "GuardDuty Finding", "Detail": detail}).encode()


def by_the_guides_path(finding: dict[str, Any], holder: str) -> dict[str, Any]:
    """A finding with its members where the guide's page on remediation has them."""
    about = finding["Resource"]
    inside = {"eksClusterDetails": about["EksClusterDetails"] | {"kubernetesDetails": about["KubernetesDetails"]}}
    rest = {name: value for name, value in about.items() if name not in ("EksClusterDetails", "KubernetesDetails")}
    return {name: value for name, value in finding.items() if name != "Resource"} | {holder: rest | inside}


FORMS = {
    "get-findings": WHOLE,
    "wire": json.dumps({"findings": small(LISTED)}).encode(),
    "list": json.dumps(LISTED).encode(),
    "lines": "\n".join(json.dumps(small(each)) for each in LISTED).encode(),
    "event bus in SDK names": b"".join(bus(each) for each in LISTED),
    "event bus in wire names": b"".join(bus(small(each)) for each in LISTED),
    "event bus as an SDK names it": b"".join(bus_of_sdk(each, as_text=False) for each in LISTED),
    "event bus with its detail as text": b"".join(bus_of_sdk(each, as_text=True) for each in LISTED),
    "the guide's path": json.dumps([by_the_guides_path(each, "resources") for each in LISTED]).encode(),
    "the guide's path in the API's member": json.dumps(
        [by_the_guides_path(each, "resource") for each in LISTED]
    ).encode(),
    "opensearch": json.dumps({"hits": {"hits": [{"_id": "1", "_source": small(each)} for each in LISTED]}}).encode(),
    "splunk": "\n".join(json.dumps({"result": {"_raw": json.dumps(each)}}) for each in LISTED).encode(),
    "strings": json.dumps([json.dumps(each) for each in LISTED]).encode(),
    "in a row": "\n".join(json.dumps(each, indent=2) for each in LISTED).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form: str) -> None:
    assert sniffed(FORMS[form])
    assert len(hashes(FORMS[form])) == 3
    assert hashes(FORMS[form]) == hashes(WHOLE)


def test_an_alert_of_wazuh_holds_the_finding_and_members_of_its_own() -> None:
    alerts = [{"rule": {}, "data": {"aws": small(each) | {"source": "guardduty", "log_info": {}}}} for each in LISTED]
    made = read("\n".join(map(json.dumps, alerts)).encode())
    assert [each.values["id"] for each in made if isinstance(each, Row)] == [each["Id"] for each in LISTED]


def test_one_bare_finding_is_taken() -> None:
    data = json.dumps(LISTED[1]).encode()
    assert sniffed(data)
    assert hashes(data) == hashes(WHOLE)[1:2]


@pytest.mark.parametrize(("name", "count"), [("findings.json", 3), ("findings-runtime.json", 3)])
def test_rows_fit_the_table(name: str, count: int) -> None:
    made = read((RECORDING / name).read_bytes(), FINDINGS)
    rows = [each.values | {"file": "f", "line": each.line, "item": each.item} for each in made if isinstance(each, Row)]
    table = pa.Table.from_pylist(rows, tables.FINDINGS.schema)
    assert table.num_rows == len(made) == count
    assert all(set(row) == set(tables.FINDINGS.names) for row in rows)
    assert table.column("cluster").null_count == table.column("account").null_count == 0
    assert orjson.loads(rows[0]["finding"])["Id"] == rows[0]["id"]


def test_two_states_of_one_finding_are_two_rows() -> None:
    later = LISTED[0] | {"UpdatedAt": "2026-11-23T18:00:00.000Z"}
    made = hashes(json.dumps([LISTED[0], later]).encode())
    assert len(set(made)) == 2


def test_finding_ids_alone_are_refused_with_the_way_out() -> None:
    with pytest.raises(EvidenceError) as error:
        sniffed(b'{"FindingIds": ["a", "b"]}')
    assert str(error.value) == "holds only finding ids; fetch with `aws guardduty get-findings --finding-ids …`"


def asff(**more: Any) -> dict[str, Any]:
    product = "arn:aws:securityhub:eu-west-1::product/aws/securityhub"
    return {"SchemaVersion": "2018-10-08", "Id": "arn:aws:securityhub:::f", "ProductArn": product, "Types": [], **more}


@pytest.mark.parametrize(
    ("finding", "reason"),
    [
        (asff(ProductName="Security Hub"), "a finding of Security Hub, not of GuardDuty"),
        (asff(Id="arn:aws:guardduty:::detector/d/finding/f"), "names no finding type of GuardDuty"),
        ({"class_uid": 2004, "metadata": {"product": {"name": "Prowler"}, "version": "1.4.0"}}, "a finding of Prowler"),
        ({"class_uid": 2003, "metadata": {"product": {"name": "GuardDuty"}}}, "is of OCSF class 2003"),
    ],
)
def test_what_security_hub_has_of_others_is_a_reject_that_says_so(finding: dict[str, Any], reason: str) -> None:
    assert sniffed(json.dumps([finding]).encode())
    made = read(json.dumps([LISTED[0], finding, LISTED[1]]).encode(), FINDINGS)
    assert [type(each) for each in made] == [Row, Reject, Row]
    assert isinstance(made[1], Reject) and reason in made[1].reason


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"text", b"{}", b'{"Records": []}', b'{"Findings": "none"}', b'{"Findings": [{"Id": "a"}]}']
)
def test_other_files_are_not_findings(data: bytes) -> None:
    assert not sniffed(data)


def test_an_answer_without_findings_is_taken_and_has_no_rows() -> None:
    assert sniffed(b'{"Findings": []}')
    assert hashes(b'{"Findings": []}') == []


def test_a_cut_file_gives_the_findings_before_the_cut() -> None:
    data = WHOLE[:6000]
    assert sniffed(data)
    made = read(data, FINDINGS)
    assert [type(each) for each in made] == [Row, Row, Reject]


DEEP = "[" * 3000 + "]" * 3000


@pytest.mark.parametrize("form", ["list", "lines", "message"])
@pytest.mark.parametrize("odd", [r'"\ud800"', str(1 << 70), DEEP, "NaN"], ids=["half", "number", "deep", "NaN"])
def test_what_no_parser_holds_hides_no_finding(odd: str, form: str) -> None:
    text = json.dumps(LISTED[0])[:-1] + f', "Hidden": {odd}}}'
    data = {
        "list": f"[{text}]",
        "lines": f"{json.dumps(LISTED[1])}\n{text}\n",
        "message": json.dumps({"events": [{"timestamp": 1, "message": text}]}),
    }
    made = read(data[form].encode(), FINDINGS)
    assert isinstance(made[-1], Row) and made[-1].values["id"] == LISTED[0]["Id"]


@pytest.mark.parametrize(
    "types",
    [
        ["TTPs/Execution/Execution:Kubernetes-ExecInKubeSystemPod"],
        ["TTPs/Execution/Kubernetes-ExecInKubeSystemPod"],
        ["TTPs", "Execution/Kubernetes-ExecInKubeSystemPod"],
        ["Execution:Kubernetes/ExecInKubeSystemPod"],
    ],
)
def test_a_type_of_security_hub_with_or_without_its_purpose(types: list[str]) -> None:
    assert security_hub._type(types) == "Execution:Kubernetes/ExecInKubeSystemPod"


ODD: tuple[Any, ...] = ("", " ", "high", {}, [], True, float("nan"), -1, 10**400)


@pytest.mark.parametrize(
    ("sample", "path"),
    [
        ("06-ocsf-1.1.json", ("unmapped", "Severity.Product")),
        ("07-ocsf-1.6.json", ("severity_id",)),
        ("05-security-hub-asff.json", ("Severity",)),
        ("05-security-hub-asff.json", ("Severity", "Product")),
        ("05-security-hub-asff.json", ("Severity", "Normalized")),
    ],
)
def test_a_severity_that_is_no_number_costs_itself(sample: str, path: tuple[str, ...]) -> None:
    value = json.loads((SAMPLES / sample).read_text())
    whole = value.get("Findings", [value])[0]
    rows = read(json.dumps([whole, *(_with(whole, path, odd) for odd in ODD)]).encode())
    assert {row.values["type"] for row in rows if isinstance(row, Row)} == {rows[0].values["type"]}  # type: ignore[union-attr]
    assert len(rows) == len(ODD) + 1
    for row, odd in zip(rows[1:], ODD, strict=True):
        told = json.loads(row.values["finding"]).get(ODD_MEMBERS, {})  # type: ignore[union-attr]
        assert ("Severity.Product" in told) == ("Product" in path[-1] and odd != "")


def _with(value: dict[str, Any], path: tuple[str, ...], other: Any) -> dict[str, Any]:
    """An object with another value at a path of names."""
    name, *inner = path
    return value | {name: _with(value[name], tuple(inner), other) if inner else other}


def test_types_that_are_no_list_cost_no_finding_whose_analytic_tells_it() -> None:
    value = json.loads((SAMPLES / "06-ocsf-1.1.json").read_text())
    told = {"analytic": {"name": "Execution:Runtime/NewBinaryExecuted"}}
    types: tuple[Any, ...] = (5, True, {}, None, "TTPs/Execution/Execution:Runtime-NewBinaryExecuted")
    listed = [value | {"finding_info": value["finding_info"] | told | {"types": odd}} for odd in types]
    rows = read(json.dumps([*listed, value | {"finding_info": value["finding_info"] | {"types": types[-1]}}]).encode())
    assert [row.values["type"] for row in rows if isinstance(row, Row)] == [told["analytic"]["name"]] * 6
