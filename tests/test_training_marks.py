"""What a program scores that answers labs from the kit's JSON alone, with nothing of the evidence read and nothing known of finding types."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from kit.plan.suppression import narrowest
from kit.training.about_findings import Filtered
from kit.training.asking import asked_of
from kit.training.kinds import NOTHING_TOLD, FiveSentences, LabQuestion, Matched, Ordered, Picked
from kit.training.lab import Lab, LabCase
from kit.training.material import Material
from kit.training.reading import labs
from tests.command import kit, kit_json

SEED, MOST = 1, 60
EVERY = labs()
ONE_AND_TWO = sorted(
    (name for name in EVERY if EVERY[name].level < 3 and not EVERY[name].stage),
    key=lambda name: EVERY[name].case.recording,
)
OF_THE_ATTACKERS_DEEDS = {
    "The attacker read a secret.": "secret",
    "The attacker made an object in the cluster.": "created",
    "The attacker deleted an object of the cluster.": "deleted",
    "The attacker changed an object that was there before.": "changed",
    "The attacker ran a command in a pod by exec.": "exec",
    "The attacker got a token for a service account from the API server.": "token",
}


class Told:
    """What the kit prints of a case as JSON."""

    def __init__(self, folder: Path) -> None:
        assert kit("new", folder / "case", folder / "evidence").returncode == 0
        names = ("scope", "answers", "brief", "plan")
        self.scope, self.answers, self.brief, self.plan = (
            kit_json(name, folder / "case", anew=False) for name in names
        )
        self.text = json.dumps([self.scope, self.answers, self.brief, self.plan])

    def finding(self, finding: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Scope and answers of one finding."""
        first: dict[str, Any] = next(one for one in self.scope["findings"] if one["id"] == finding)
        return first, next(one for one in self.answers["findings"] if one["id"] == finding)

    def says(self, text: str) -> bool:
        """Whether a text stands in what the kit printed."""
        return json.dumps(text)[1:-1].rstrip(".") in self.text


@cache
def told(case: LabCase) -> Told:
    folder = Path(mkdtemp())
    lab = next(one for one in EVERY.values() if one.case == case)
    Material(lab, SEED).write(folder / "evidence")
    return Told(folder)


def from_json(one: LabQuestion, json_of: Told, finding: str) -> Any:
    """The best that the kit's JSON gives for a question; the first option where it says nothing."""
    scope, answers = json_of.finding(finding)
    attackers = {
        key: {at for one in json_of.brief["incidents"] for at in one["indicators"][key]}
        for key in ("addresses", "identities")
    }
    if isinstance(one, FiveSentences):
        told_of = [step for incident in json_of.brief["incidents"] for step in incident["story"]]
        when = min((str(step["at"])[11:16] for step in told_of), default="")
        what = " ".join(one["key"] for step in told_of for one in step["objects"][:1])
        return f"{' '.join(attackers['identities'])} {' '.join(attackers['addresses'])} {when} {what}."
    if isinstance(one, Ordered):
        order = [action["does"] for action in json_of.plan["actions"]]
        order += [action["does"] for action in answers["actions"]]
        place = {
            text: order.index(text.rstrip(".")) if text.rstrip(".") in order else 99 for text in one.choices.values()
        }
        return sorted(one.choices, key=lambda letter: place[one.choices[letter]])
    if isinstance(one, Matched):
        if NOTHING_TOLD in one.options:
            return {number: _verdict(text, json_of) for number, text in one.items.items()}
        own = next((number for number, text in one.items.items() if text == scope["type"]), "")
        known = [letter for letter, text in one.options.items() if json_of.says(text)]
        first = next(iter(one.options))
        return {number: known[0] if known and number == own else first for number in one.items}
    if isinstance(one, Filtered):
        return narrowest(one.expected)  # `kit suppress` prints it
    assert isinstance(one, Picked)
    kinds = {
        "affected_pods": "pod",
        "affected_nodes": "node",
        "affected_service_accounts": "service_account",
        "secrets_the_caller_read": "secret",
    }
    if one.name in kinds:
        found = [
            subject
            for subject in scope["subjects"]
            if subject["kind"] == kinds[one.name] and subject["certainty"] == "affected"
        ]
        return [
            subject["key"] if one.name == "affected_nodes" else f"{subject['namespace']}/{subject['name']}"
            for subject in found
        ]
    if one.name == "real_or_not":
        expected = {
            incident["disposition"] for incident in json_of.brief["incidents"] if finding in incident["findings"]
        }
        return ["a"] if scope["sample"] else ["c"] if expected <= {"hostile"} else ["b"]
    if one.name == "attackers_calls":
        return [
            letter for letter, text in one.choices.items() if any(f"| {at} |" in text for at in attackers["addresses"])
        ]
    if one.name == "actions_that_lose_evidence":
        lost = {action["does"] for action in json_of.plan["actions"] if action["cannot_undo"]}
        return [letter for letter, text in one.choices.items() if text.rstrip(".") in lost]
    if one.name == "what_to_act_on":
        names = {action["name"] for action in json_of.plan["actions"]} | attackers["identities"]
        return [letter for letter, text in one.choices.items() if text.rstrip(".").rpartition(" ")[2] in names]
    return [
        letter
        for letter, text in one.choices.items()
        if json_of.says(text) or any(f"{at} " in text for at in scope["calls"])
    ]


def _verdict(text: str, json_of: Told) -> str:
    counts = [incident["counts"] for incident in json_of.brief["incidents"]]
    kind = OF_THE_ATTACKERS_DEEDS.get(text)
    if json_of.brief["evidence_ends"]["audit" if kind else "cloudtrail"] is None:
        return NOTHING_TOLD
    return (
        "observed"
        if any(each["touched"].get(kind) if kind else each["aws_calls"] for each in counts)
        else "not observed"
    )


def mark_of(lab: Lab) -> tuple[float, dict[str, float]]:
    material = Material(lab, SEED)
    asked, json_of = asked_of(material), told(lab.case)
    shares = {one.name: one.grade(from_json(one, json_of, material.finding_id)).share for one in asked}
    return 100 * sum(shares[one.name] * one.weight for one in asked) / sum(one.weight for one in asked), shares


@pytest.mark.parametrize("name", ONE_AND_TWO)
def test_a_program_that_knows_the_kits_json_alone_does_not_pass(name: str) -> None:
    mark, shares = mark_of(EVERY[name])
    assert mark < MOST, shares
    # Whatever a better program reads out of the JSON: where the kit tells all that it can, no lab is passed by that.
    asked = asked_of(Material(EVERY[name], SEED))
    assert 100 * sum(one.weight for one in asked if one.kit_tells) / sum(one.weight for one in asked) < MOST


def test_the_program_is_no_straw_man() -> None:
    _, shares = mark_of(EVERY["work-stolen-token"])
    known = (
        "affected_pods",
        "affected_nodes",
        "affected_service_accounts",
        "secrets_the_caller_read",
        "attackers_calls",
        "brief_in_five_sentences",
    )
    assert {name: share for name, share in shares.items() if name in known and share < 0.9} == {}
