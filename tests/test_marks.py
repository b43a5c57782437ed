"""Answers, marks and suppression from outside: `kit answers`, `kit mark`, `kit suppress`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import cases
from tests.command import RECORDINGS, kit, kit_json
from tests.test_scope import STOLEN

READ = "CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed"


@pytest.fixture(scope="module")
def made() -> Path:
    return cases.shared(RECORDINGS / STOLEN)


@pytest.fixture
def case(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "case", symlinks=True)
    return tmp_path / "case"


def finding_of(case: Path, finding_type: str = READ) -> dict[str, Any]:
    return next(one for one in kit_json("answers", case)["findings"] if one["type"] == finding_type)


def test_answers_say_verdict_next_step_and_what_they_rest_on(made: Path) -> None:
    one = finding_of(made)
    assert (one["family"], one["telling"]) == ("secrets-accessed", "secrets_read")
    read = next(answer for answer in one["answers"] if answer["question"] == "secrets_read")
    assert read["verdict"] == "observed" and len(read["rows"]) == 3 and read["next_step"].startswith("Rotate ")
    assert read["rests_on"] and all(ref.startswith("audit:") for ref in read["rests_on"])
    for answer in one["answers"]:
        assert answer["says"].endswith(".") and (answer["verdict"] != "cannot tell" or answer["limits"])
    assert one["actions"][0]["action"] == "keep_objects"


def test_answers_as_text_print_one_line_a_verdict_and_what_it_means(made: Path) -> None:
    done = kit("answers", made, "--finding", finding_of(made)["id"])
    assert done.returncode == 0
    assert "observed      Which secrets were read? 3 secrets were read." in done.stdout
    assert "→ Rotate " in done.stdout


def test_a_mark_stands_beside_its_answer_and_is_never_unsaid(case: Path) -> None:
    id_ = finding_of(case)["id"]
    for word, note in (("wrong", "these are ours"), ("confirmed", "seen in the vault's log; =1+1 <b>")):
        done = kit("mark", case, "--finding", id_, "--question", "secrets_read", "--as", word, "--note", note)
        assert (done.returncode, done.stdout.split(":")[0]) == (0, f"marked as {word}")
    read = next(one for one in finding_of(case)["answers"] if one["question"] == "secrets_read")
    assert [one["mark"] for one in read["marks"]] == ["wrong", "confirmed"] and read["verdict"] == "observed"
    assert len((case / "marks.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--finding", "nope", "--as", "wrong"], "this case has no finding 'nope'"),
        (["--as", "closed"], "'closed' is no mark. It is one of confirmed, wrong, expected"),
        (
            ["--as", "wrong", "--question", "secrets"],
            "'secrets' is not asked of this finding. It is one of is_it_a_sample",
        ),
        (["--as", "expected"], "a finding is marked as expected with a reason"),
        (["--as", "expected", "--note", "x", "--question", "secrets_read"], "only a finding as a whole is expected"),
    ],
)
def test_a_mark_that_cannot_be_is_refused(case: Path, arguments: list[str], says: str) -> None:
    given = arguments if "--finding" in arguments else ["--finding", finding_of(case)["id"], *arguments]
    done = kit("mark", case, *given)
    assert done.returncode == 2 and says in done.stderr and not (case / "marks.jsonl").exists()


def test_a_broken_mark_is_said_with_its_line(case: Path) -> None:
    (case / "marks.jsonl").write_text("no json\n")
    done = kit("answers", case)
    assert done.returncode == 2 and "marks.jsonl:1: is no mark of this kit" in done.stderr


_AT = "2026-01-01T00:00:00+00:00"
_MARKED = {"finding": "f", "question": "", "word": "wrong", "note": "", "at": _AT}
_NOTED = {"text": "t", "ref": "", "owner": "", "due": None, "at": _AT}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mark", _MARKED | {"word": "<img src=x onerror=alert(1)>"}),
        ("mark", _MARKED | {"word": "attacker"}),
        ("mark", _MARKED | {"note": {"a": 1}}),
        ("mark", _MARKED | {"finding": None}),
        ("mark", _MARKED | {"at": "2026-01-01T00:00:00"}),
        ("mark", _MARKED | {"about": 5}),
        ("note", _NOTED | {"text": ["t"]}),
        ("note", _NOTED | {"due": "2026-01-01T00:00:00"}),
        ("note", _NOTED | {"owner": None}),
    ],
    ids=lambda given: json.dumps(given)[-60:],
)
def test_what_people_said_is_checked_when_it_is_read(name: str, line: dict[str, Any], case: Path) -> None:
    written = case / f"{name}s.jsonl"
    written.write_text(json.dumps(_MARKED if name == "mark" else _NOTED) + "\n" + json.dumps(line) + "\n")
    done = kit("brief", case)
    assert done.returncode == 2 and f"{name}s.jsonl:2: is no {name} of this kit" in done.stderr


def test_no_filter_without_a_persons_mark(case: Path) -> None:
    id_ = finding_of(case)["id"]
    kit("mark", case, "--finding", id_, "--as", "confirmed", "--note", "real")
    done = kit("suppress", case, "--finding", id_)
    assert done.returncode == 2 and "nobody has marked this finding as expected" in done.stderr and done.stdout == ""


def test_a_later_mark_takes_expected_back(case: Path) -> None:
    id_ = finding_of(case)["id"]
    for word in ("expected", "confirmed"):
        kit("mark", case, "--finding", id_, "--as", word, "--note", "the owner said so")
    assert kit("suppress", case, "--finding", id_).returncode == 2


def test_the_filter_is_narrow_and_says_what_it_hides_and_what_is_lost(case: Path) -> None:
    id_ = finding_of(case)["id"]
    kit("mark", case, "--finding", id_, "--as", "expected", "--note", "the backup, confirmed by its owner")
    done = kit("suppress", case, "--finding", id_)
    assert done.returncode == 0
    criterion = json.loads(done.stdout)["Criterion"]
    assert criterion["type"] == {"Equals": [READ]} and criterion["accountId"]["Equals"]
    assert criterion["resource.kubernetesDetails.kubernetesUserDetails.username"] == {
        "Equals": ["system:serviceaccount:store:api"]
    }
    assert criterion["service.action.kubernetesApiCallAction.remoteIpDetails.ipAddressV4"] == {
        "Equals": ["203.0.113.232"]
    }
    assert len(criterion) <= 50
    assert f"It would hide 1 of this case's findings: {id_}." in done.stderr and "WARNING" not in done.stderr
    assert "no part in attack sequences" in done.stderr and "malware scan" in done.stderr


def test_a_filter_that_would_hide_something_else_warns(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDINGS / STOLEN, evidence)
    every = json.loads((evidence / "findings.json").read_text())["Findings"]
    one = next(one for one in every if one["Type"] == READ)
    other = json.loads(json.dumps(one)) | {"Id": "0" * 32, "Severity": 8.5}
    (evidence / "findings.json").write_text(json.dumps({"Findings": [*every, other]}))
    kit_json("new", tmp_path / "case", evidence)
    kit("mark", tmp_path / "case", "--finding", one["Id"], "--as", "expected", "--note", "the owner said so")
    done = kit("suppress", tmp_path / "case", "--finding", one["Id"])
    assert done.returncode == 0 and f"WARNING: 1 of them are not like it: {'0' * 32}. Do not create it." in done.stderr


def test_a_finding_without_a_caller_says_whose_deeds_are_counted(made: Path) -> None:
    runtime = finding_of(made, "Execution:Runtime/ReverseShell")
    read = next(one for one in runtime["answers"] if one["question"] == "credentials_used_outside")
    assert read["verdict"] == "observed" and "that belong together with this one" in read["says"]


def test_findings_on_pods_of_one_node_are_not_joined_by_it(made: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDINGS / STOLEN, evidence)
    path = evidence / "findings-runtime.json"
    every = json.loads(path.read_text())["Findings"]
    here = next(one for one in kit_json("scope", made)["findings"] if one["id"] == every[0]["Id"])["subjects"]
    (node,) = {one["node"] for one in here if one["kind"] == "pod" and one["certainty"] == "affected"}
    pods = json.loads((evidence / "cluster" / "pods.json").read_text())["items"]
    other = next(
        one for one in pods if one["spec"].get("nodeName") == node and one["metadata"]["namespace"] == "analytics"
    )
    about = other["metadata"]
    alone = json.loads(json.dumps(every[0])) | {"Id": "0" * 32}
    named = alone["Resource"]["KubernetesDetails"]["KubernetesWorkloadDetails"]
    named |= {
        "Name": about["name"],
        "Uid": about["uid"],
        "Namespace": about["namespace"],
        "ServiceAccountName": other["spec"].get("serviceAccountName"),
    }
    path.write_text(json.dumps({"Findings": [*every, alone]}))
    kit_json("new", tmp_path / "case", evidence)
    answers = {one["id"]: one["answers"] for one in kit_json("answers", tmp_path / "case")["findings"]}
    joined = [
        row["Id"]
        for one in answers.values()
        for answer in one
        if answer["question"] == "belongs_together"
        for row in answer["rows"]
    ]
    assert joined and "0" * 32 not in joined
    outside = next(one for one in answers["0" * 32] if one["question"] == "credentials_used_outside")
    assert outside["verdict"] == "cannot tell" or not outside["rows"]


def test_a_filter_for_one_role_binding_hides_no_other(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDINGS / "default_sa_admin", evidence)
    every = json.loads((evidence / "findings.json").read_text())["Findings"]
    one = next(one for one in every if one["Type"] == "Policy:Kubernetes/AdminAccessToDefaultServiceAccount")
    other = json.loads(json.dumps(one)) | {"Id": "0" * 32}
    other["Service"]["Action"]["KubernetesRoleBindingDetails"]["Name"] = "another-binding"
    (evidence / "findings.json").write_text(json.dumps({"Findings": [*every, other]}))
    kit_json("new", tmp_path / "case", evidence)
    kit("mark", tmp_path / "case", "--finding", one["Id"], "--as", "expected", "--note", "the owner said so")
    done = kit("suppress", tmp_path / "case", "--finding", one["Id"])
    assert done.returncode == 0 and "would hide 1 of" in done.stderr
    assert "service.action.kubernetesRoleBindingDetails.name" in json.loads(done.stdout)["Criterion"]
