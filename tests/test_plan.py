"""The plan: the same for the same evidence, in an order that loses nothing, with what hangs on each action and how it is undone."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.actions import ACTIONS, STAGES
from tests.command import RECORDINGS, SAMPLE, kit, kit_json
from tests.test_scope import STOLEN
from tests.variation import Event, varied

Planned = dict[str, Any]
EVERY = [*sorted(path.name for path in RECORDINGS.iterdir()), "sample"]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Planned]]:
    """Recording → its case and its plan, made when they are asked for."""

    class Made(dict[str, tuple[Path, Planned]]):
        def __missing__(self, name: str) -> tuple[Path, Planned]:
            case = tmp_path_factory.mktemp(name) / "case"
            kit_json("new", case, SAMPLE if name == "sample" else RECORDINGS / name)
            self[name] = case, kit_json("plan", case)
            return self[name]

    return Made()


@pytest.mark.parametrize("name", EVERY)
def test_stages_stand_in_their_order_and_nothing_is_destroyed_before_it_is_kept(
    name: str, plans: dict[str, tuple[Path, Planned]]
) -> None:
    actions = plans[name][1]["actions"]
    assert (
        actions
        and [
            one["id"]
            for one in actions
            if not one["why"] and one["target"].partition(":")[0] in ("pod", "node", "iam_role")
        ]
        == []
    )
    stages = [STAGES.index(one["stage"]) for one in actions]
    assert stages == sorted(stages)
    place = {one["id"]: number for number, one in enumerate(actions)}
    assert len(place) == len(actions)
    for number, one in enumerate(actions):
        assert all(place[before] < number for before in one["after"])
        if ACTIONS[one["action"]].destroys and one["target"].startswith(("pod:", "node:")):
            kept = {
                of["id"] for of in actions if of["target"] == one["target"] and of["stage"] in ("freeze", "capture")
            }
            assert kept and kept <= set(one["after"])


@pytest.mark.parametrize("name", EVERY)
def test_only_what_is_affected_and_not_gone_is_acted_on(name: str, plans: dict[str, tuple[Path, Planned]]) -> None:
    case, plan = plans[name]
    subjects = [one for finding in kit_json("scope", case)["findings"] for one in finding["subjects"]]
    affected = {
        f"{one['kind']}:{one['key']}"
        for one in subjects
        if one["certainty"] == "affected" and one["standing"] is not False
    }
    pods = {one["target"] for one in plan["actions"] if one["target"].startswith("pod:")}
    assert pods == {one for one in affected if one.startswith("pod:")} or not any(
        one["action"] == "keep_objects" for one in plan["actions"]
    )
    assert not set(plan["review"]) & affected
    assert {one for one in plan["review"] if one.startswith("pod:")} <= {
        one["ref"] for one in subjects if one["certainty"] == "possible"
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_action_says_what_it_needs_what_stops_and_how_it_is_undone(
    name: str, plans: dict[str, tuple[Path, Planned]]
) -> None:
    for one in plans[name][1]["actions"]:
        assert one["precondition"] and one["blast_radius"] and bool(one["undo"]) != bool(one["cannot_undo"])
        assert one["when_not"] and all(len(shlex.split(command)) > 1 for command in one["command"])


def test_the_same_evidence_gives_the_same_plan_wherever_the_case_lies(
    tmp_path: Path, plans: dict[str, tuple[Path, Planned]]
) -> None:
    case, plan = plans[STOLEN]
    kit_json("new", tmp_path / "another name", RECORDINGS / STOLEN)
    again = kit_json("plan", tmp_path / "another name")
    assert (again["digest"], again["actions"]) == (plan["digest"], plan["actions"])
    assert kit_json("plan", case, "--without", "recover")["digest"] != plan["digest"]


def test_a_plan_for_other_evidence_has_another_digest(tmp_path: Path, plans: dict[str, tuple[Path, Planned]]) -> None:
    def unread(events: list[Event]) -> list[Event]:
        return [event for event in events if (event.get("objectRef") or {}).get("resource") != "secrets"]

    evidence = varied(STOLEN, tmp_path, events=unread)
    kit_json("new", tmp_path / "case", evidence)
    assert kit_json("plan", tmp_path / "case")["digest"] != plans[STOLEN][1]["digest"]


def test_what_hangs_on_it_is_named(plans: dict[str, tuple[Path, Planned]]) -> None:
    actions = plans["sample"][1]["actions"]
    node = next(one for one in actions if one["action"] == "terminate_node")
    assert "known to stand on it" in node["blast_radius"][0] and "is shared with" in node["blast_radius"][1]
    endpoint = next(one for one in actions if one["action"] == "narrow_endpoint")
    assert any(" called " in says and "that are not the cluster's" in says for says in endpoint["blast_radius"])
    pod = next(one for one in actions if one["action"] == "isolate_pod" and one["name"].startswith("checkout/api"))
    assert any(says.startswith("service checkout/api sends to it") for says in pod["blast_radius"])


def test_new_secrets_wait_until_the_attacker_is_out(plans: dict[str, tuple[Path, Planned]]) -> None:
    actions = plans[STOLEN][1]["actions"]
    cut = {one["id"] for one in actions if one["stage"] in ("contain", "revoke")}
    rotated = [one for one in actions if one["action"] == "rotate_secrets"]
    assert rotated and cut and all(set(one["after"]) == cut for one in rotated)


def test_names_from_evidence_are_quoted(tmp_path: Path, plans: dict[str, tuple[Path, Planned]]) -> None:
    hostile = "web';reboot;'$(id)"
    name = next(one["name"] for one in plans[STOLEN][1]["actions"] if one["action"] == "keep_objects").partition("/")[2]

    def renamed(resource: str, items: list[Event]) -> list[Event]:
        return [json.loads(json.dumps(item).replace(name, hostile)) for item in items]

    def events(log: list[Event]) -> list[Event]:
        return [json.loads(json.dumps(event).replace(name, hostile)) for event in log]

    evidence = varied(STOLEN, tmp_path, events=events, dump=renamed)
    kit_json("new", tmp_path / "case", evidence)
    commands = [
        command
        for one in kit_json("plan", tmp_path / "case")["actions"]
        for command in one["command"]
        if "reboot" in command
    ]
    assert commands
    for command in commands:
        assert not {"reboot", "reboot;", "$(id)"} & set(shlex.split(command)) and hostile in " ".join(
            shlex.split(command)
        )


def test_an_unknown_stage_or_action_is_refused(plans: dict[str, tuple[Path, Planned]]) -> None:
    done = kit("plan", plans[STOLEN][0], "--only", "nuke")
    assert done.returncode == 2 and "'nuke' is neither a stage nor an action" in done.stderr


def test_the_plan_as_markdown_has_the_digest_and_the_order(plans: dict[str, tuple[Path, Planned]]) -> None:
    case, plan = plans[STOLEN]
    done = kit("plan", case)
    assert done.returncode == 0 and plan["digest"] in done.stdout and "**cannot be undone**" in done.stdout
    headings = [line[3:].lower() for line in done.stdout.splitlines() if line.startswith("## ")]
    assert [one for one in headings if one in STAGES] == [
        one for one in STAGES if one in headings
    ] and "to be looked at" in headings


def test_the_permissions_are_those_of_the_plan_alone(plans: dict[str, tuple[Path, Planned]]) -> None:
    case, plan = plans[STOLEN]
    needed = json.loads(kit("permissions", case).stdout)
    actions = needed["iam_policy"]["Statement"][0]["Action"]
    asked = {one for action in plan["actions"] for one in action["permissions"]}
    assert {f"aws:{one}" for one in actions} == {one for one in asked if one.startswith("aws:")}
    rules = needed["cluster_role"]["rules"]
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "get", "patch"]} in rules
    assert all("*" not in part for rule in rules for part in (*rule["resources"], *rule["verbs"]))


def test_a_sample_finding_gives_no_plan(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "data" / "samples" / "11-aws-sample.json", tmp_path)
    kit_json("new", tmp_path / "case", tmp_path / "11-aws-sample.json")
    assert kit_json("plan", tmp_path / "case")["actions"] == []
