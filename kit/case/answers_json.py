"""The answers to a finding's questions in the JSON form that docs/json.md describes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kit.model.claim import Claim
from kit.model.finding import Finding
from kit.playbooks.playbook import Playbook
from kit.questions.advice import advice_of
from kit.questions.question import Answer
from kit.store.marks import Mark
from kit.words import iso


def answers_contract(
    played: Playbook, finding: Finding, answers: Iterable[Answer], marks: Iterable[Mark], doubted: bool
) -> dict[str, Any]:
    """The answers to the questions of a finding's playbook as JSON-ready data. doubted: the finding may be a false alarm."""
    said = [one for one in marks if one.finding == finding.id]
    return {
        "id": finding.id,
        "type": finding.type,
        "family": played.family,
        "title": played.title,
        "saw": played.saw,
        "telling": played.telling.name,
        "marks": [_mark_contract(one) for one in said if not one.question],
        "answers": [
            answer_contract(one, advice_of(one, doubted), [each for each in said if each.question == one.question.name])
            for one in answers
        ],
        "actions": [
            {"action": one.action.name, "stage": one.action.stage, "does": one.action.does, "undo": one.action.undo or None, "when_not": one.when_not}
            for one in played.actions
        ],
    }  # fmt: skip


def answer_contract(one: Answer, advice: Claim | None, marks: Iterable[Mark]) -> dict[str, Any]:
    """An answer as JSON-ready data, with what it means for the next step."""
    return {
        "question": one.question.name,
        "asks": one.question.asks,
        "verdict": one.verdict.word,
        "says": one.says,
        "advice": {"says": advice.says, "holds": advice.holds} if advice else None,
        "next_step": advice.says if advice else None,
        "window": {"start": iso(one.window.start), "end": iso(one.window.end)} if one.window else None,
        "rows": [
            {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}
            for row in one.rows
        ],
        "rests_on": one.rests_on,
        "limits": [
            {"says": limit.says, "collect": limit.collect, "otherwise": limit.otherwise or None}
            for limit in one.verdict.limits
        ],
        "marks": [_mark_contract(each) for each in marks],
    }


def _mark_contract(one: Mark) -> dict[str, str | None]:
    return {"mark": one.word, "note": one.note, "at": iso(one.at)}
