"""What people mark as the attacker's, or as not: scope, brief and plan follow it, say so, and are shown with and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from tests import cases
from tests.command import RECORDINGS, kit, kit_json

TRUTH = json.loads((RECORDINGS / "shared_nat" / "ground_truth.json").read_text())
HOSTILE, KEY = sorted(TRUTH["attacker_calls"]), TRUTH["attacker"]["identities"][0]["access_key_id"]
ADDRESS = TRUTH["attacker"]["source_ips"][0]


@pytest.fixture(scope="module")
def made() -> Path:
    return cases.shared(RECORDINGS / "shared_nat")


@pytest.fixture
def case(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "case", symlinks=True)
    return tmp_path / "case"


def _calls(case: Path, *options: str, kind: str = "calls") -> set[str]:
    return {call for one in kit_json("scope", case, *options)["findings"] for call in one[kind]}


def _mark(case: Path, *arguments: str) -> None:
    done = kit("mark", case, *arguments)
    assert (done.returncode, done.stdout.split(":")[0]) == (
        0,
        f"marked as {arguments[3 if arguments[2] == '--as' else -1]}",
    ), done.stderr


def test_a_call_that_is_not_the_attackers_is_left_out_and_shown_without_the_mark(case: Path) -> None:
    _mark(case, "--call", f"audit:{HOSTILE[0]}", "--as", "not-attacker")
    assert _calls(case) == set(HOSTILE[1:])
    assert _calls(case, "--without-marks") == set(HOSTILE)
    assert f"audit:{HOSTILE[0]} is not the attacker's, as a person marked it" in kit("scope", case).stdout
    numbers = [
        sum(one["counts"]["calls"] for one in kit_json("brief", case, *how)["incidents"])
        for how in ((), ("--without-marks",))
    ]
    assert numbers == [len(HOSTILE) - 1, len(HOSTILE)]
    assert [one["as"] for one in kit_json("brief", case)["marks"]] == ["not-attacker"]
    assert "MARKED: this follows what people marked" in kit("brief", case).stdout


def test_answers_follow_a_mark_and_are_shown_without_it(case: Path) -> None:
    _mark(case, "--credential", KEY, "--as", "not-attacker")
    asked = {
        how: {one["question"]: one["verdict"] for one in kit_json("answers", case, *how)["answers"]}
        for how in ((), ("--without-marks",))
    }
    assert asked[("--without-marks",)]["secrets_read"] == "observed" != asked[()]["secrets_read"]
    assert [one["as"] for one in kit_json("answers", case)["marks"]] == ["not-attacker"]
    assert not kit_json("answers", case, "--without-marks")["marks"]
    assert kit("answers", case).stdout.startswith("MARKED  ")
    assert "MARKED" not in kit("answers", case, "--without-marks").stdout


def test_an_address_that_is_not_the_attackers_takes_the_attacker_out_of_scope_and_plan(case: Path) -> None:
    before = {one["action"] for one in kit_json("plan", case)["actions"]}
    _mark(case, "--address", f"::ffff:{ADDRESS}", "--as", "not-attacker")
    assert not _calls(case)
    for finding in kit_json("scope", case)["findings"]:
        named = {
            one["certainty"] for one in finding["subjects"] if one["kind"] in ("identity", "source_ip", "credential")
        }
        assert named <= {"possible"}
    done = kit("plan", case)
    assert "It follows a mark: Address" in done.stdout
    saved = (case / "plan.json").read_bytes()
    shown = kit_json("plan", case, "--without-marks")
    assert {one["action"] for one in shown["actions"]} == before and (case / "plan.json").read_bytes() == saved
    assert before - {one["action"] for one in json.loads(saved)["actions"]} >= {"end_sign_in"}


def test_another_credential_that_is_the_attackers_is_followed(case: Path) -> None:
    log = Case(case).sql("SELECT audit_id, access_key_id FROM audit WHERE access_key_id IS NOT NULL")
    maybe = _calls(case, kind="possible_calls")
    owner = log[log["audit_id"].isin(maybe)]["access_key_id"].iloc[0]
    possible = maybe & set(log[log["access_key_id"] == owner]["audit_id"])
    _mark(case, "--credential", owner, "--as", "attacker", "--note", "the owner was on leave")
    assert possible and possible <= _calls(case) and not possible & _calls(case, kind="possible_calls")
    rows = Case(case).calls
    assert (
        rows["because"]
        .str.contains(f"a person marked credential {owner} as the attacker's: the owner was on leave")
        .any()
    )


def test_an_identity_that_no_finding_names_is_the_attackers_once_it_is_marked(case: Path) -> None:
    _mark(case, "--identity", "ops-carol", "--as", "attacker")
    opened = Case(case)
    rows = opened.calls[opened.calls["user_name"] == "ops-carol"]
    assert len(rows) and "ops-carol" in set(opened.identities["user_name"])


def test_the_last_mark_counts_and_one_of_a_call_before_one_of_its_caller(case: Path) -> None:
    opened = Case(case)
    opened.mark(word="not-attacker", credential=KEY)
    assert opened.calls.empty
    opened.mark(word="attacker", call=f"audit:{HOSTILE[0]}")
    assert set(opened.calls["audit_id"]) == {HOSTILE[0]}
    opened.mark(word="attacker", credential=KEY, note="it was after all")
    assert set(opened.calls["audit_id"]) == set(HOSTILE)
    assert len((case / "marks.jsonl").read_text().splitlines()) == 3
    assert [one.word for one in opened.followed_marks] == ["attacker", "attacker"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--as", "attacker"], "nothing is named to be marked"),
        (
            ["--call", "audit:1", "--identity", "x", "--as", "attacker"],
            "call and identity cannot be marked together",
        ),
        (["--call", "audit:nope", "--as", "attacker"], "nope"),
        (["--call", "pod:nope", "--as", "attacker"], "'pod:nope' is no call"),
        (["--call", HOSTILE[0], "--as", "attacker"], "is not a ref"),
        (["--address", "office", "--as", "not-attacker"], "'office' is no address"),
        (["--address", "2001:db8::254", "--as", "not-attacker"], "no call in this case has address '2001:db8::254'"),
        (["--identity", "nobody", "--as", "attacker"], "no call in this case has identity 'nobody'"),
        (["--credential", "AKIANOBODY", "--as", "attacker"], "no call in this case has credential 'AKIANOBODY'"),
        (["--address", ADDRESS, "--as", "wrong"], "'wrong' is said of findings and answers"),
        (["--address", ADDRESS, "--as", "attacker", "--question", "x"], "only a finding's answer has a question"),
    ],
)
def test_a_mark_of_a_caller_that_cannot_be_is_refused_in_one_sentence(
    made: Path, arguments: list[str], says: str
) -> None:
    done = kit("mark", made, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and says in done.stderr
    assert not (made / "marks.jsonl").exists()


def test_what_is_marked_in_aws_is_followed_too(case: Path) -> None:
    events = sorted(TRUTH["cloudtrail_attacker_events"])
    _mark(case, "--call", f"trail:{events[0]}", "--as", "not-attacker")
    found: dict[str, Any] = {
        kind: _calls(case, *how, kind="aws_calls") for kind, how in (("with", ()), ("without", ("--without-marks",)))
    }
    assert found["without"] - found["with"] == {events[0]}
