"""Labs that are done: account and cluster stand in the emulators, the plan's stage is applied, and the state after it is marked."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config

from kit.errors import TrainingError
from kit.training.asking import asked_of
from kit.training.emulated import EmulatedLab, emulated
from kit.training.grading import LabMark
from kit.training.kinds import Reached
from kit.training.learner_folder import STARTED, Started, lab_page, page_digest
from kit.training.material import Material
from kit.training.reading import labs
from kit.training.results import PASSED_FROM
from kit.training.variation import AS_RECORDED
from tests import cases
from tests.command import kit
from tests.live.scene import said

EVERY = {name: lab for name, lab in labs().items() if lab.stage}


def started(name: str, place: Path) -> Path:
    """A learner's folder, as `kit train start` makes one with the seed that changes nothing; its case is copied."""
    lab = EVERY[name]
    material = Material(lab, AS_RECORDED)
    page = lab_page(lab, AS_RECORDED, material.finding_id, asked_of(material))
    told = Started(name, AS_RECORDED, lab.digest, page_digest(page), "0", "2026-01-01T00:00:00Z")
    shutil.copytree(cases.shared(lab.case.folder), place / "lab" / "case")
    (place / "lab" / STARTED).write_text(json.dumps(asdict(told)))
    return place / "lab"


def marks(made: LabMark) -> dict[str, int]:
    return {one.asked.name: one.mark for one in made.questions}


@contextmanager
def commands(lab: EmulatedLab) -> Iterator[Any]:
    """`kit` with account and cluster of the lab; the client reads its variable when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", lab.environment["KUBECONFIG"])
        yield lambda *arguments: kit(*arguments, env=lab.environment)


def apply(lab: EmulatedLab, *options: str) -> None:
    """Plan and apply, with what only a person can do counted as done."""
    case = lab.folder / "case"
    with commands(lab) as run:
        plan = json.loads(said(run("plan", case, "--json", *options)))
        words = [one["id"] for one in plan["actions"] if one["by_person"]]
        by_hand = [word for id_ in words for word in ("--by-hand", id_)]
        arguments = ("--approve", plan["digest"], "--check-after", "0", "--without-capture", "none", *by_hand)
        for _ in range(2):  # what a person did, and what was waited for
            assert run("apply", case, *arguments).returncode in (0, 1)


def take_back(lab: EmulatedLab, target: str) -> None:
    """Undo one action that was applied, by what it is done to."""
    case = lab.folder / "case"
    with commands(lab) as run:
        actions = json.loads(said(run("plan", case, "--json")))["actions"]
        (id_,) = (one["id"] for one in actions if one["target"].partition(":")[2].startswith(target))
        undone = run("undo", case, "--only", id_)
        assert undone.returncode == 0, undone.stderr


def test_a_stage_that_was_done_scores_all_and_one_that_was_not_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):  # of a company's network, which does not lead back to this machine
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    folder, kept = started("do-contain", tmp_path), tmp_path / "progress.json"
    with emulated(folder) as lab:
        nothing = lab.mark(kept)
        assert nothing.mark < 40 and nothing.harm == 0 and not lab.is_touched
        apply(lab, "--only", "contain")
        made = lab.mark(kept)
        assert (made.mark, made.harm, made.attempt) == (100, 0, 2) and lab.is_touched
        cluster = lab._standing.kubernetes
        for key in [one for one in cluster.objects("deployments") if "/store/" in one]:
            cluster.remove(key)  # with all that it owns
        assert marks(lab.mark(kept))["service_is_up"] < 0
    assert (folder / "case" / "journal.jsonl").exists()
    with emulated(folder) as lab:  # as recorded again
        assert not (folder / "case" / "journal.jsonl").exists() and (folder / "tries" / "1" / "journal.jsonl").exists()
        assert lab.mark(kept).mark == nothing.mark


STAGES = {
    "do-freeze": ("freeze",),
    "do-contain": ("contain",),
    "do-revoke": ("revoke",),
    "do-capture": ("freeze", "contain", "capture"),
    "do-eradicate": (),
    "do-recover": (),
}
LEFT_OUT = {"do-eradicate": ("--without", "unbind_identity")}
TAKEN_BACK = {"do-recover": "cronjobs/"}


@pytest.mark.full
@pytest.mark.parametrize(("name", "kept"), [("do-eradicate", "own_calls_go_on"), ("do-recover", "left_to_its_owner")])
def test_who_types_plan_and_apply_does_not_pass_where_the_plan_leaves_a_decision(
    name: str, kept: str, tmp_path: Path
) -> None:
    with emulated(started(name, tmp_path)) as lab:
        apply(lab)
        made = lab.mark(tmp_path / "progress.json")
        by_name = marks(made)
        assert made.mark < PASSED_FROM and made.harm and by_name.pop(kept) < 0
        assert set(by_name.values()) == {100}


@pytest.mark.full
@pytest.mark.parametrize("name", STAGES)
def test_each_stage_is_done_by_the_plan(name: str, tmp_path: Path) -> None:
    with emulated(started(name, tmp_path)) as lab:
        before = lab.mark(tmp_path / "progress.json")
        assert before.mark < 40 and before.harm == 0, marks(before)
        apply(lab, *(word for stage in STAGES[name] for word in ("--only", stage)), *LEFT_OUT.get(name, ()))
        if name in TAKEN_BACK:
            take_back(lab, TAKEN_BACK[name])
        made = lab.mark(tmp_path / "progress.json")
        assert (made.mark, made.harm) == (100, 0), [(one.asked.name, one.graded.missed) for one in made.questions]


_DELETES = """import os, urllib.request, yaml
known = yaml.safe_load(open(os.environ["KUBECONFIG"]))
at = "/api/v1/namespaces/kubernetes-dashboard/services/kubernetes-dashboard"
urllib.request.urlopen(urllib.request.Request(known["clusters"][0]["cluster"]["server"] + at, method="DELETE"))
"""


def test_a_command_is_marked_by_what_it_changed(tmp_path: Path) -> None:
    folder, kept = started("do-contain", tmp_path), tmp_path / "progress.json"
    command = ("train", "emulate", folder, "--progress", kept, "--json", "--", sys.executable, "-c")
    looked = kit(*command, "pass")
    assert looked.returncode == 2 and "nothing is marked" in looked.stderr and not kept.exists()
    # A Service that is gone is closed, and nobody who worked by it is served any more.
    made = json.loads(said(kit(*command, _DELETES)))
    by_name = {one["name"]: one for one in made["questions"]}
    assert by_name["nothing_is_exposed"]["mark"] == 100 and by_name["service_is_up"]["harm"] == 1


def test_policies_cut_off_a_pod_that_has_an_owner_alone(tmp_path: Path) -> None:
    """The VPC CNI enforces none on another: `kit check` says so, too."""
    with emulated(started("do-eradicate", tmp_path)) as lab:
        apply(lab, "--only", "contain")
        made = lab.mark(tmp_path / "progress.json")
        assert (
            marks(made)["attackers_pods_are_cut_off"] == 0
            and "isolate_pod" in (lab.folder / "case" / "journal.jsonl").read_text()
        )


def test_each_stage_of_a_plan_has_its_lab_and_something_to_reach() -> None:
    from kit.actions.action import STAGES as OF_PLAN

    assert sorted(lab.stage for lab in EVERY.values()) == sorted(OF_PLAN) and EVERY.keys() == STAGES.keys()
    for lab in EVERY.values():
        asked = asked_of(Material(lab, AS_RECORDED))
        assert [one.name for one in asked if isinstance(one, Reached) and one.things and not one.keeps]
        assert "service_is_up" in {one.name for one in asked}
        assert all(isinstance(one, Reached) and one.things for one in asked)


def test_a_lab_that_is_done_is_not_graded_and_one_that_is_answered_is_not_emulated(tmp_path: Path) -> None:
    folder = started("do-contain", tmp_path)
    refused = kit("train", "grade", folder, "--progress", tmp_path / "p")
    assert refused.returncode == 2 and "kit train emulate" in refused.stderr
    refused = kit("train", "emulate", folder, "--progress", tmp_path / "p", "--", "no-such-program")
    assert refused.returncode == 2 and "cannot be started" in refused.stderr and not (tmp_path / "p").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(TrainingError, match=r"eks-forensic-kit\[training\]"), emulated(folder):
            pass
