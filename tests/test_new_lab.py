"""Labs of a case of one's own: the right answers are what a person confirmed, and nothing of whose case it was is left."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import kit as package
from kit.errors import TrainingError
from kit.training.asking import asked_of
from kit.training.lab import Lab
from kit.training.material import Material
from kit.training.reading import lab_named, labs_at
from tests.command import Done, kit, kit_json, told
from tests.truth import score
from tests.variation import varied

SECRET, HOST, MAIL, SIXTH = "Zq7-k3Vt9-hunter2", "vault.acmebank.com", "jo@acmebank.com", "2a02:26f7::5"
ADDRESS = "93.184.216.34"


def _planted(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a real log has and a recording has not: a password, a host and addresses of somebody."""
    own = [event for event in events if event["user"]["username"].startswith("system:kube-")][:2]
    own[0] |= {"userAgent": f"curl --password {SECRET} https://{HOST} {MAIL}", "sourceIPs": [SIXTH]}
    own[1] |= {"sourceIPs": [ADDRESS]}
    return events


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of one's own, whose findings nobody has marked."""
    place = tmp_path_factory.mktemp("own")
    kit_json("new", place / "case", varied("stolen_sa_token", place, events=_planted))
    return place / "case"


@pytest.fixture(scope="module")
def finding(case: Path) -> str:
    listed = kit_json("findings", case)["findings"]
    return next(str(one["id"]) for one in listed if one["type"].endswith("SecretsAccessed"))


@pytest.fixture(scope="module")
def confirmed(case: Path, finding: str) -> Path:
    """The same with marks."""
    for one in kit_json("findings", case)["findings"]:
        package.open_case(case).mark(one["id"], "confirmed", "")
    return case


def _make(folder: Path, case: Path, finding: str, *more: str, title: str = "A stolen token") -> Done:
    words = ("--case", str(case), "--finding", finding, "--title", title, "--story", "A token was used at night.")
    return kit("train", "new-lab", folder, *words, *more)


@pytest.fixture(scope="module")
def lab(confirmed: Path, finding: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("labs") / "night-token"
    done = _make(folder, confirmed, finding)
    assert done.returncode == 0 and "kit train start" in done.stdout, done.stderr
    return lab_named(str(folder))


def refused(done: Done, *words: str) -> None:
    assert done.returncode == 2 and done.stdout == "" and len(told(done)) == 1 and "Traceback" not in done.stderr, done
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_a_case_without_ground_and_a_wrong_place_are_refused_and_nothing_is_written(
    case: Path, finding: str, tmp_path: Path
) -> None:
    if not (case / "marks.jsonl").exists():
        refused(_make(tmp_path / "one", case, finding), "no ground", "nobody has said of 6 findings", "kit mark")
    refused(_make(tmp_path / "read-a-sample", case, finding), "is a lab of the kit")
    refused(_make(tmp_path / "Lab 1", case, finding), "is no name of a lab")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    refused(_make(tmp_path / "full", case, finding), "exists already")
    refused(_make(tmp_path / "one", tmp_path / "none", finding), "no such case")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_the_truth_is_what_was_confirmed_and_its_case_shows_it(lab: Lab) -> None:
    made = score(lab.case.folder)
    assert made.offenders == [] and made.baseless == [] and made.affected > 20
    truth = json.loads((lab.case.folder / "ground_truth.json").read_text())
    assert len(truth["findings"]) == 6 and len(truth["attacker_calls"]) == 16


def test_nothing_tells_whose_case_it_was(lab: Lab, case: Path) -> None:
    whole = (lab.case.folder.parent / "lab.toml").read_text()
    for path in sorted(one for one in lab.case.folder.rglob("*") if one.is_file()):
        data = path.read_bytes()
        whole += f"\n{path.name}\n{(gzip.decompress(data) if path.suffix == '.gz' else data).decode()}"
    opened = package.open_case(case)
    gone: set[str] = {SECRET, HOST, MAIL, "acmebank", SIXTH, ADDRESS, str(opened.account), str(opened.cluster)}
    gone |= set(opened.sql("SELECT DISTINCT audit_id FROM audit").audit_id) | set(opened.findings.id)
    gone |= {pod.uid for pod in opened.inventory.pods} | set(opened.sql("SELECT DISTINCT event_id FROM trail").event_id)
    gone |= {"ops-alice", "PlatformOps", "trent@", "checkout", "203.0.113.232", "ip-10-0-32-171", "2026-11-23T16"}
    assert sorted(one for one in gone if one in whole) == [] and "[masked " in whole


@pytest.mark.parametrize("seed", [0, 3])
def test_its_questions_can_be_answered_and_not_by_naming_all_or_nothing(lab: Lab, seed: int) -> None:
    asked = asked_of(Material(lab, seed))
    assert len(asked) > 9
    for one in asked:
        assert one.grade(one.right_answer).share == 1, one.name
        assert max(one.grade(one.everything).share, one.grade(one.nothing).share) < 0.4, one.name


def test_it_is_listed_started_and_graded_by_its_path(lab: Lab, tmp_path: Path) -> None:
    place, kept = lab.case.folder.parent, ("--progress", tmp_path / "progress.json")
    for folder in (place, place.parent):
        assert [one["name"] for one in kit_json("train", "list", folder, *kept)["labs"]] == ["night-token"]
    started = kit_json("train", "start", place, tmp_path / "mine", "--seed", "3", *kept)
    assert (started["lab"], started["seed"]) == ("night-token", 3)
    answers = (
        (tmp_path / "mine" / "answers.toml").read_text().replace("# what_the_log_holds =", "what_the_log_holds = {}")
    )
    (tmp_path / "mine" / "answers.toml").write_text(answers)
    made = kit_json("train", "grade", tmp_path / "mine", *kept)
    assert made["lab"] == "night-token" and [one["name"] for one in made["questions"] if one["answered"]] == [
        "what_the_log_holds"
    ]
    listed = kit_json("train", "list", place, *kept)["labs"]
    assert (listed[0]["tries"], listed[0]["best_mark"]) == (1, 0)
    learners = [path.name for path in (tmp_path / "mine").rglob("*")]
    assert "ground_truth.json" not in learners


def test_what_would_tell_whose_case_it_is_is_named(confirmed: Path, finding: str, tmp_path: Path) -> None:
    cluster = str(package.open_case(confirmed).cluster)
    refused(
        _make(tmp_path / "one", confirmed, finding, title=f"A night at {cluster}"),
        "whose case it is",
        cluster,
        "--rename",
    )
    assert not any(tmp_path.iterdir())


def test_all_that_is_wrong_with_a_lab_of_ones_own_is_said_at_once(lab: Lab, tmp_path: Path) -> None:
    place = tmp_path / "odd"
    (place / "case").mkdir(parents=True)
    text = (lab.case.folder.parent / "lab.toml").read_text()
    (place / "lab.toml").write_text(text)
    with pytest.raises(TrainingError, match=r"odd/lab\.toml: case/ground_truth\.json is missing or cannot be read"):
        labs_at(place)
    truth = json.loads((lab.case.folder / "ground_truth.json").read_text())
    (place / "case" / "ground_truth.json").write_text(json.dumps(truth | {"attacker_calls": 5, "all_pods": None}))
    (place / "lab.toml").write_text(text.replace('"affected_pods"', '"affected_pod"'))
    with pytest.raises(TrainingError) as raised:
        labs_at(place)
    for words in (
        "attacker_calls is missing or no list",
        "all_pods is missing or no list",
        "did you mean affected_pods",
    ):
        assert words in str(raised.value)
    with pytest.raises(TrainingError, match="no lab is here"):
        labs_at(tmp_path / "none")
