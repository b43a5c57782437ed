"""Scope against the recordings' ground truths; and that the scorer itself can fail, and agrees with the one from outside."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import KIT, RECORDINGS, SAMPLE, SHARED, kit_json
from tests.truth import KINDS, compared, recordings, score

SHIPPED = {"stolen_sa_token", "anonymous_access", "exec_kube_system", "vanished_deployment", "case"}
JUDGE = SHARED / "tools" / "score.py"


def test_the_project_ships_recordings_of_its_own() -> None:
    assert {path.name for path in recordings()} >= SHIPPED


@pytest.mark.parametrize("recording", recordings(), ids=lambda path: "long_incident" if path == SAMPLE else path.name)
def test_every_subject_and_call_is_right_and_has_its_evidence(recording: Path) -> None:
    made = score(recording)
    assert made.offenders == []
    assert made.baseless == []
    assert made.affected > 0


@pytest.fixture(scope="module")
def scope(case: Path) -> dict[str, Any]:
    made: dict[str, Any] = kit_json("scope", case)
    return made


def test_the_scorer_names_what_is_missed_and_what_is_too_many(scope: dict[str, Any]) -> None:
    changed = copy.deepcopy(scope)
    finding = max(changed["findings"], key=lambda one: sum(subject["kind"] == "pod" for subject in one["subjects"]))
    pods = [one for one in finding["subjects"] if one["kind"] == "pod" and one["certainty"] == "affected"]
    lost, made_up = pods[0]["key"], copy.deepcopy(pods[0])
    made_up["key"] = "no-such-uid"
    pods[0]["certainty"] = "possible"
    finding["subjects"].append(made_up)
    made = compared(RECORDINGS / "stolen_sa_token", changed)
    assert [line.partition(": ")[2] for line in made.offenders] == [
        "pod no-such-uid is named and should not be",
        f"pod {lost} is missed",
    ]
    assert (made.counts["pod"].wrong, made.counts["pod"].missed) == (1, 1)


def test_the_scorer_sees_a_why_that_leads_nowhere(scope: dict[str, Any]) -> None:
    changed = copy.deepcopy(scope)
    subject = next(one for one in changed["findings"][0]["subjects"] if one["certainty"] == "affected")
    subject["why"] = [{"ref": "audit:no-such-event", "says": "so"}]
    assert len(compared(RECORDINGS / "stolen_sa_token", changed).baseless) == 1


@pytest.mark.skipif(not JUDGE.exists(), reason="the scorer from outside is not beside the project")
def test_the_scorer_from_outside_agrees() -> None:
    project = KIT.parents[2]
    done = subprocess.run(
        [sys.executable, JUDGE, RECORDINGS, "--project", project], capture_output=True, text=True, check=False
    )
    judged = dict(re.findall(r"^(\w+) +precision (\S+ recall \S+)", done.stdout, re.MULTILINE))
    scores = [score(RECORDINGS / name) for name in sorted(path.name for path in RECORDINGS.iterdir())]
    for kind in KINDS:
        counts = [made.counts[kind] for made in scores]
        total = sum(counts[1:], counts[0])
        assert judged[kind] == f"{total.precision:.3f} recall {total.recall:.3f}", kind
    assert ", 0 without a why" in done.stdout
