"""All that a case tells of one thing: what is said of it stands in the log, and what is not in the case is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.case.case import Case
from kit.errors import CallError
from tests import cases
from tests.command import SAMPLE, kit, kit_json

EVIDENCE = SAMPLE
ADDRESS, ACCOUNT = "203.0.113.6", "checkout/api"


@pytest.fixture(scope="module")
def case() -> Case:
    """The case of the recording, for reading."""
    return Case(cases.shared(EVIDENCE))


def test_an_address_is_told_with_its_calls_what_is_new_and_what_ends_it(case: Case) -> None:
    said = case.about(ADDRESS).said
    rows = case.audit(source_address=ADDRESS)
    assert (said["ref"], said["ring"], said["certainty"]) == (f"source_ip:{ADDRESS}", "touched", "affected")
    assert said["calls"] == said["hostile_calls"] == len(rows) == sum(one["calls"] for one in said["by_hour"])
    assert said["first_at"] == f"{rows['received_at'].min():%Y-%m-%dT%H:%M:%S.%fZ}"
    assert said["aws_calls"] == len(case.cloudtrail(source_address=ADDRESS))
    used = {one["ref"] for one in said["shared"]}
    assert {f"identity:{name}" for name in rows["user_name"].unique()} <= used
    assert {one["value"] for one in said["new"] if one["what"] == "client"} == set(rows["user_agent"].unique())
    assert {one["id"] for one in said["findings"]} <= set(case.findings["id"])
    actions = {one.id for one in case.plan().plan.actions}
    ends = [id_ for one in said["ended_by"] for id_ in one["ends_by"]]
    assert ends and set(ends) <= actions


def test_what_an_account_of_yours_always_did_is_not_new(case: Case) -> None:
    said = case.about(f"system:serviceaccount:{ACCOUNT.replace('/', ':')}").said
    assert 0 < said["hostile_calls"] < said["calls"]
    new = {(one["what"], one["value"]) for one in said["new"]}
    assert ("address", ADDRESS) in new and ("kind of call", "list configmaps") not in new
    before = case.audit(user_name=f"system:serviceaccount:{ACCOUNT.replace('/', ':')}", end=said["since"])
    assert not {value for what, value in new if what == "address"} & set(before["source_address"])


@pytest.mark.parametrize("by", ["key", "ref", "name"])
def test_a_pod_is_found_by_its_uid_its_ref_and_its_name(case: Case, by: str) -> None:
    row = case.subjects[(case.subjects["kind"] == "pod") & (case.subjects["namespace"] == "checkout")].iloc[0]
    said = case.about({"key": row["key"], "ref": row["ref"], "name": f"{row['namespace']}/{row['name']}"}[by]).said
    assert (said["ref"], said["name"]) == (row["ref"], f"{row['namespace']}/{row['name']}")
    rows = case.subjects[case.subjects["ref"] == row["ref"]]  # one for each by whom it came into scope
    assert {one["id"] for one in said["findings"]} == {id_ for ids in rows["findings"] for id_ in ids}


@pytest.mark.parametrize("kind", ["node", "secret", "image", "iam_role", "service_account", "credential", "created"])
def test_every_kind_of_thing_in_scope_is_told(case: Case, kind: str) -> None:
    for row in case.subjects[case.subjects["kind"] == kind].head(3).to_dict("records"):
        said = case.about(row["ref"]).said
        assert said["certainty"] == row["certainty"] and said["why"], row["ref"]
        assert set(row["why_refs"]) <= {one["ref"] for one in said["why"]} or row["certainty"] == "affected"
        assert said["first_at"] or not said["calls"]


def test_a_secret_says_who_read_it_and_what_ends_that(case: Case) -> None:
    said = case.about("checkout/db-credentials").said
    assert said["ref"] == "secret:checkout/db-credentials" and said["hostile_calls"] >= 1
    assert any("rotate_secrets" in id_ for one in said["ended_by"] for id_ in one["ends_by"])


def test_a_call_is_shown_with_what_its_caller_did_around_it(case: Case) -> None:
    call = case.calls.iloc[-1]
    said = case.about(call["ref"]).said
    assert call["name"] in said["record"] and (said["file"], said["line"]) == (call["file"], call["line"])
    assert call["audit_id"] in [one["audit_id"] for one in said["around"]]
    assert {one["user_name"] for one in said["around"]} == {call["user_name"]}
    html = case.about(call["ref"])._repr_html_()
    assert "<pre>{\n" in html and "&#34;auditID&#34;" in html


@pytest.mark.parametrize(
    "thing", ["nope", "pod:nope", "source_ip:192.0.2.99", "audit:nope", "", "what:ever", "secret:"]
)
def test_what_the_case_has_not_is_refused(case: Case, thing: str) -> None:
    done = kit("show", case.path, thing)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("kit: ")


def test_a_name_of_several_things_is_asked_back(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = case.inventory.pods[:2]
    monkeypatch.setattr(type(case.inventory), "named", lambda inventory, resource, namespace, name: [first, second])
    with pytest.raises(CallError, match=f"means several things.*pod:{first.uid}, pod:{second.uid}"):
        case.about("a-name")


def test_the_command_prints_what_the_case_says(tmp_path: Path) -> None:
    path = cases.shared(EVIDENCE)
    done = kit("show", path, ADDRESS)
    assert done.returncode == 0 and done.stdout.startswith(f"SOURCE IP  {ADDRESS}, touched")
    assert "NEW since" in done.stdout and "ENDS" in done.stdout
    assert kit_json("show", path, ADDRESS)["hostile_calls"] == Case(path).about(ADDRESS).said["hostile_calls"]
