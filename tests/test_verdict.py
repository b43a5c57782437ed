"""Observed, not observed, cannot tell: the truth table, and what each kind of missing evidence does to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from kit.case.case import Case
from kit.model.kinds import SUBJECT_KINDS, SubjectName
from kit.model.why import Limit
from kit.questions.verdict import CANNOT_TELL, NOT_OBSERVED, OBSERVED, SHOWN_BY, decide
from tests.command import kit_json
from tests.test_scope import STOLEN
from tests.variation import Event, varied

GAP = Limit(("secret",), "The audit log has a gap", "the audit log of that time")


@pytest.mark.parametrize(
    ("shown", "limits", "word"),
    [(0, [], NOT_OBSERVED), (0, [GAP], CANNOT_TELL), (3, [], OBSERVED), (3, [GAP], OBSERVED), (0, [GAP, GAP], CANNOT_TELL)],
)  # fmt: skip
def test_the_truth_table(shown: int, limits: list[Limit], word: str) -> None:
    verdict = decide(shown, limits)
    assert verdict.word == word and verdict.limits == tuple(dict.fromkeys(limits))


def test_every_kind_of_subject_says_what_would_show_it() -> None:
    assert set(get_args(SubjectName)) == set(SUBJECT_KINDS) <= set(SHOWN_BY) and all(SHOWN_BY.values())


def opened(tmp_path: Path, **change: Any) -> Case:
    kit_json("new", tmp_path / "case", varied(STOLEN, tmp_path, **change))
    return Case(tmp_path / "case")


def test_whole_evidence_lets_say_not_observed(tmp_path: Path) -> None:
    case = opened(tmp_path)
    assert [kind for kind in ("pod", "secret", "deleted", "token") if case.verdict(kind, 0).word != NOT_OBSERVED] == []


def test_what_no_evidence_of_this_kit_can_show_is_never_not_observed(tmp_path: Path) -> None:
    case = opened(tmp_path)
    for kind, words in (("typed", "Runtime Monitoring"), ("data_out", "flow logs"), ("aws_call", "data events")):
        verdict = case.verdict(kind, 0)
        assert verdict.word == CANNOT_TELL and words in verdict.limits[0].says


def test_an_audit_level_without_bodies_cannot_show_permissions(tmp_path: Path) -> None:
    def bare(events: list[Event]) -> list[Event]:
        for event in events:
            if (event.get("objectRef") or {}).get("resource") == "rolebindings":
                event["level"] = "Metadata"
                event.pop("requestObject", None)
                event.pop("responseObject", None)
        made = next(
            event
            for event in events
            if event["verb"] == "create" and not (event.get("objectRef") or {}).get("subresource")
        )
        reference = {"resource": "rolebindings", "namespace": "store", "name": "x", "apiVersion": "v1"}
        return [
            *events,
            {**made, "auditID": "a-1", "level": "Metadata", "objectRef": reference, "responseObject": None},
        ]

    case = opened(tmp_path, events=bare)
    assert case.verdict("granted", 0).word == CANNOT_TELL and case.verdict("deleted", 0).word == NOT_OBSERVED
    assert "level Metadata" in case.verdict("granted", 0).limits[0].says


@pytest.mark.parametrize(
    ("left_out", "kind"),
    [("audit.jsonl.gz", "secret"), ("cloudtrail.json.gz", "iam_role"), ("cluster", "pod"), ("audit.jsonl.gz", "exec")],
)
def test_without_the_evidence_that_would_show_it_nobody_can_tell(tmp_path: Path, left_out: str, kind: str) -> None:
    assert opened(tmp_path, without=[left_out]).verdict(kind, 0).word == CANNOT_TELL
