"""Playbooks: every finding type has one, each is whole, and the evidence turns the verdict that decides it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.actions.action import STAGES
from kit.actions.registry import ACTIONS
from kit.errors import PlaybookError
from kit.playbooks.playbook import FOLDER, finding_types, playbook_of, playbooks_by_family, read_playbooks
from kit.questions import QUESTIONS
from kit.questions.question import Answer
from tests.families import FAMILIES, TAKE_OUT, answer, call_at_the_end, drop, evidence_of, refuse

QUICK = {
    "secrets-accessed",
    "command-and-control",
    "caller-impact",
    "anonymous-access-granted",
    "container-escape",
    "metadata-rebind",
}
UNHEARD = "Impact:EKS/SomethingUnheardOf"


def test_every_finding_type_has_exactly_one_playbook() -> None:
    listed = [name for one in playbooks_by_family().values() for name in one.finding_types]
    assert listed and sorted(listed) == sorted(finding_types())


def test_every_question_is_in_some_playbook_and_every_action_there_or_comes_by_the_scope() -> None:
    every = playbooks_by_family().values()
    assert {question.name for one in every for question in one.questions} == set(QUESTIONS)
    in_playbooks = {do.action.name for one in every for do in one.actions}
    assert in_playbooks <= set(ACTIONS) and all(action.kinds for action in ACTIONS.values())
    assert all(wait.action in ACTIONS for action in ACTIONS.values() for wait in action.waits)


def test_no_two_families_ask_and_do_the_same() -> None:
    ways = [
        tuple(question.name for question in one.questions) + tuple(do.action.name for do in one.actions)
        for one in playbooks_by_family().values()
    ]
    assert len(set(ways)) == len(ways) == len(list(FOLDER.glob("*.toml")))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_actions_stand_in_their_order_and_nothing_is_destroyed_before_it_is_captured(family: str) -> None:
    actions = [do.action for do in playbooks_by_family()[family].actions]
    stages = [STAGES.index(one.stage) for one in actions]
    assert stages == sorted(stages)
    captured = {kind for one in actions if one.stage in ("freeze", "capture") for kind in one.kinds}
    destroyed = {
        kind
        for one in actions
        if one.destroys and one.stage == "eradicate"
        for kind in one.kinds
        if kind in ("pod", "node")
    }
    assert destroyed <= captured


def test_every_action_is_undone_or_says_why_not() -> None:
    assert [one.name for one in ACTIONS.values() if bool(one.undo) == bool(one.cannot_undo)] == []


@pytest.mark.parametrize(
    ("unknown", "family"),
    [
        ("CredentialAccess:Kubernetes/MaliciousIPCaller.New", "caller-credential-access"),
        ("Execution:Runtime/ReverseShell.V2", "command-and-control"),
        ("CryptoCurrency:Runtime/BitcoinTool.C!DNS", "cryptomining"),
        ("UnauthorizedAccess:EC2/RDPBruteForce", "node-traffic"),
        ("Persistence:IAMUser/AnomalousBehavior.New", "role-session-outside"),
        (UNHEARD, "generic"),
        ("", "generic"),
    ],
)
def test_a_type_that_is_listed_nowhere_goes_to_the_longest_common_beginning(unknown: str, family: str) -> None:
    assert playbook_of(unknown).family == family


def test_all_that_is_wrong_with_playbooks_is_said_at_once(tmp_path: Path) -> None:
    for name in ("secrets-accessed", "cryptomining"):
        shutil.copy(FOLDER / f"{name}.toml", tmp_path)
    first, second = tmp_path / "secrets-accessed.toml", tmp_path / "cryptomining.toml"
    first.write_text(
        first.read_text()
        .replace('  "secrets_read",', '  "secrets_raed",')
        .replace('do = "keep_objects"', 'do = "keep_object"')
    )
    second.write_text(second.read_text().replace("title =", "titel ="))
    (tmp_path / "broken.toml").write_text("title = ")
    with pytest.raises(PlaybookError) as raised:
        read_playbooks(tmp_path)
    said = str(raised.value)
    assert "secrets-accessed.toml: questions[2]: 'secrets_raed' is not a question: did you mean secrets_read?" in said
    assert "actions[0]: 'keep_object' is not an action: did you mean keep_objects?" in said
    assert (
        "cryptomining.toml: title is missing" in said
        and "titel is not a member" in said
        and "broken.toml: is no TOML" in said
    )


def test_a_type_in_two_playbooks_is_refused(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "secrets-accessed.toml", tmp_path / "one.toml")
    shutil.copy(FOLDER / "secrets-accessed.toml", tmp_path / "two.toml")
    with pytest.raises(PlaybookError, match=r"two.toml: CredentialAccess.*SecretsAccessed stands in one.toml too"):
        read_playbooks(tmp_path)


def test_every_family_has_its_case() -> None:
    assert set(FAMILIES) == set(playbooks_by_family())


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in sorted(FAMILIES)]
)
def test_the_telling_evidence_turns_the_verdict(name: str, tmp_path: Path) -> None:
    family, played = FAMILIES[name], playbooks_by_family()[name]
    finding_type = (
        family.finding if family.finding in played.finding_types else next(iter(played.finding_types), UNHEARD)
    )
    question = played.telling.name
    evidence, finding_id = evidence_of(family, finding_type, tmp_path / "evidence")
    if family.ends_with_a_call:
        _the_call_at_the_end_turns_it(evidence, finding_id, question)
    else:
        observed = answer(evidence, finding_id, question)
        assert observed.verdict.word == "observed" and observed.rests_on and observed.rows
        for change in _changes(name, question):
            evidence, _ = evidence_of(family, finding_type, tmp_path / "evidence")
            change(evidence, observed)
            without = answer(evidence, finding_id, question)
            assert without.verdict.word == "not observed", (change.__name__, without.says)
    evidence, _ = evidence_of(family, finding_type, tmp_path / "evidence")
    for source in family.sources:
        (evidence / source).unlink()
    blind = answer(evidence, finding_id, question)
    assert blind.verdict.word == "cannot tell" and blind.verdict.limits


def _changes(name: str, question: str) -> list[Callable[[Path, Answer], None]]:
    if question in TAKE_OUT:
        return [TAKE_OUT[question]]
    # The finding's own call is telling there: without it finding and log do not meet.
    return (
        [refuse]
        if name == "secrets-accessed"
        else [drop, refuse]
        if question not in ("permissions_probed", "ways_back", "evidence_tampered")
        else [drop]
    )


def _the_call_at_the_end_turns_it(evidence: Path, finding_id: str, question: str) -> None:
    quiet = answer(evidence, finding_id, question)
    assert quiet.verdict.word == "not observed" and quiet.rows
    call_at_the_end(evidence)
    assert answer(evidence, finding_id, question).verdict.word == "observed"
