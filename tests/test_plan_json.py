"""What a plan ends: `now`, `ends` and `left_open` of `kit plan --json`, held to the open list and the next steps of `kit brief`."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import mistune
import pytest

from kit.case.case import Case
from tests import cases
from tests.command import RECORDINGS, SAMPLE, kit, kit_json
from tests.test_host_access import EVERY

STOLEN = RECORDINGS / "stolen_sa_token"
DERIVED = {"now", "ends", "minutes", "by"}


@pytest.fixture(scope="module", params=sorted(EVERY))
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """The plan and the brief of a recording."""
    recording = EVERY[request.param]
    return cases.planned(recording), cases.printed("brief", of=cases.shared(recording))


def opened(brief: Any) -> dict[str, Any]:
    return {one["id"]: one for incident in brief["incidents"] for one in incident["open"]}


def test_what_a_plan_ends_is_what_the_brief_says_it_is_ended_by(both: tuple[Any, Any]) -> None:
    plan, brief = both
    entries = opened(brief)
    forwards = {(one["id"], id_) for one in plan["actions"] for id_ in one["ends"]}
    backwards = {(id_, one["id"]) for one in entries.values() for id_ in one["ends_by"]}
    assert forwards == backwards
    assert not [one["id"] for one in entries.values() if one["state"] == "ended" and one["ends_by"]]
    left = {one["id"]: one["state"] for one in plan["left_open"]}
    at_end = {one["entry"]: one["state"] for one in plan["simulated"][-1]["attacker"]}
    assert left == {id_: state for id_, state in at_end.items() if state != "ended"}
    assert {id_ for id_, one in entries.items() if one["state"] != "ended"} == at_end.keys()


def test_what_comes_now_is_what_the_brief_calls_next_and_waits_for_no_slow_capture(both: tuple[Any, Any]) -> None:
    plan, brief = both
    now = {one["id"]: one for one in plan["actions"] if one["now"]}
    said = {
        id_
        for incident in brief["incidents"]
        for step in incident["next"]
        if step["effect"] == "ends access"
        for id_ in step["actions"]
    }
    assert set(now) == said and len(now) <= 5
    stage = {one["id"]: one["stage"] for one in plan["actions"]}
    for one in now.values():
        assert all(stage[id_] == "freeze" or id_ in now for id_ in one["after"])
        assert one["stage"] in ("freeze", "contain", "revoke")


def test_a_person_is_asked_at_once_only_for_what_the_kit_ends_not(both: tuple[Any, Any]) -> None:
    plan, _ = both
    by = {one["id"]: one["by"] for one in plan["actions"]}
    ended_by = dict[str, set[str]]()
    for one in plan["actions"]:
        assert one["by"] == ("person" if one["by_person"] else "kit") and one["minutes"] >= 1
        if one["stage"] in ("freeze", "contain", "revoke"):
            for id_ in one["ends"]:
                ended_by.setdefault(id_, set()).add(by[one["id"]])
    for one in plan["actions"]:
        if one["now"] and one["by"] == "person":
            assert [id_ for id_ in one["ends"] if "kit" not in ended_by[id_]]


def test_no_isolation_and_no_end_of_a_node_ends_a_credential(both: tuple[Any, Any]) -> None:
    plan, brief = both
    kinds = {id_: one["kind"] for id_, one in opened(brief).items()}
    ended = {one["action"]: {kinds[id_] for id_ in one["ends"]} for one in plan["actions"] if one["ends"]}
    assert not ended.keys() & {"isolate_pod", "cordon_node", "evict_pods", "quarantine_node", "withdraw_pod"}
    assert "node" not in ended.get("terminate_node", set())


def test_the_digest_covers_what_is_done_and_not_what_follows_from_it(both: tuple[Any, Any]) -> None:
    plan, _ = both
    actions = [
        {name: value for name, value in one.items() if name not in DERIVED}
        | {name: one[name] or "" for name in ("undo", "cannot_undo")}
        for one in plan["actions"]
    ]
    covered = {name: plan[name] for name in ("account", "region", "cluster")} | {"actions": actions}
    text = json.dumps(covered, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == plan["digest"]


def test_a_webhook_of_the_attackers_ends_with_its_deletion_and_that_comes_now() -> None:
    recording = EVERY["webhook_backdoor"]
    plan = cases.planned(recording)
    entries = opened(cases.printed("brief", of=cases.shared(recording)))
    hooks = {id_ for id_, one in entries.items() if one["key"].startswith("mutatingwebhookconfigurations/")}
    removed = [one for one in plan["actions"] if one["action"] == "remove_webhook"]
    assert hooks and hooks <= {id_ for one in removed for id_ in one["ends"]} and all(one["now"] for one in removed)


def test_what_is_expected_stops_nothing_now(tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", STOLEN)
    assert any(one["now"] for one in kit_json("plan", case)["actions"])
    for finding in kit_json("findings", case)["findings"]:
        kit("mark", case, "--finding", finding["id"], "--as", "expected", "--note", "a drill of the red team")
    assert not [one["action"] for one in kit_json("plan", case)["actions"] if one["now"]]


def test_a_credential_that_the_plan_leaves_stands_in_it_and_in_the_frame(tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", STOLEN)
    (left,) = kit_json("plan", case)["left_open"]
    assert (left["kind"], left["key"]) == ("token", "store/web")
    ends = Case(case).plan().ends
    assert list(ends[ends["ends_action"].isna()]["entry"]) == [left["id"]]
    without = kit_json("plan", case, "--without", "revoke")
    assert {one["kind"] for one in without["left_open"]} >= {"token", "access_key", "secret"}
    assert all(one["until"] for one in without["left_open"] if one["kind"] == "access_key")


def test_a_long_plan_is_read_in_three_hundred_lines_with_what_to_stop_now_on_top(tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", SAMPLE)
    lines, plan = kit("plan", case).stdout.splitlines(), cases.planned(SAMPLE)
    assert 100 < len(lines) <= 300
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:3] == ["## Stop it now", "## Evidence that goes by itself", "## What is done"]
    now = [one for one in plan["actions"] if one["now"]]
    first = lines[lines.index(headings[0]) : lines.index(headings[1])]
    assert [line for line in first if line[:1].isdigit() and f"`{now[int(line[0]) - 1]['name']}`" in line] == [
        line for line in first if line[:1].isdigit()
    ]
    assert sum(line[:1].isdigit() for line in first) == len(now)
    assert any(plan["still_works"]["for_attacker"][:40] in line for line in first)
    told = "\n".join(lines)
    kept = [one["name"] for one in plan["actions"] if one["action"] == "keep_objects" and "api-cb577" in one["name"]]
    assert len(kept) > 3 and f"{len(kept)} pods, `checkout/api-…`" in told
    asked = {one["action"] for one in plan["actions"] if one["by"] == "person"}
    assert all(f"### {action}: " in told for action in asked) and "kit plan CASE --json" in told


def test_a_name_of_the_attackers_making_is_no_markdown(tmp_path: Path) -> None:
    hostile = "trent![x](https://evil.example/p.png)[y](https://evil.example)`<img src=x>|# www.evil.example"
    evidence = Path(
        shutil.copytree(
            RECORDINGS / "oidc_user_impact", tmp_path / "e", ignore=shutil.ignore_patterns("ground_truth.json")
        )
    )
    for path in (one for one in evidence.rglob("*") if one.is_file()):
        packed = path.suffix == ".gz"
        text = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        text = text.replace(b"trent@example.com", hostile.encode())
        path.write_bytes(gzip.compress(text) if packed else text)
    kit_json("new", tmp_path / "case", evidence)
    ended = [one for one in kit_json("plan", tmp_path / "case")["actions"] if one["action"] == "end_oidc_access"]
    assert [one["name"] for one in ended] == [hostile]
    page = str(
        mistune.create_markdown(plugins=["table", "url", "strikethrough"])(kit("plan", tmp_path / "case").stdout)
    )
    assert "evil.example" in page and "<img" not in page and "<a " not in page
    rows = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "end_oidc_access" in row]
    assert rows and all(row.count("<td") == 8 for row in rows)


def test_an_empty_plan_says_why(tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", STOLEN)
    assert "There is nothing to do, because " in kit("plan", case, "--only", "remove_webhook").stdout


def test_a_session_that_was_made_from_a_session_is_ended_too() -> None:
    brief = cases.printed("brief", of=cases.shared(EVERY["pod_identity_theft"]))
    sessions = [one for one in opened(brief).values() if one["kind"] == "access_key"]
    assert len(sessions) == 2 and all(one["ends_by"] for one in sessions)
