"""Answers as data of JSON and moments, in which they are kept, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kit.model.claim import Claim
from kit.model.finding import Finding
from kit.model.why import Limit
from kit.model.window import Window
from kit.questions.question import QUESTIONS, Answer
from kit.questions.verdict import Verdict
from kit.store.marks import Mark

if TYPE_CHECKING:
    from kit.case.answers import IncidentAnswer


def plain_limit(limit: Limit) -> dict[str, Any]:
    """A limit as data."""
    return vars(limit) | {"about": list(limit.about)}


def limit_of(kept: dict[str, Any]) -> Limit:
    """The limit that was kept."""
    return Limit(**kept | {"about": tuple(kept["about"])})


def plain_answer(answer: Answer) -> dict[str, Any]:
    """An answer as data."""
    return {
        "question": answer.question.name,
        "finding": answer.finding.id,
        "verdict": answer.verdict.word,
        "limits": list(map(plain_limit, answer.verdict.limits)),
        "says": answer.says,
        "rows": answer.rows,
        "window": [answer.window.start, answer.window.end] if answer.window else None,
    }


def answer_of(kept: dict[str, Any], finding: Callable[[str], Finding]) -> Answer:
    """The answer that was kept. finding: the finding of an Id."""
    verdict = Verdict(kept["verdict"], tuple(map(limit_of, kept["limits"])))
    window = Window(*kept["window"]) if kept["window"] else None
    return Answer(QUESTIONS[kept["question"]], finding(kept["finding"]), verdict, kept["says"], kept["rows"], window)


def plain_incident_answer(one: IncidentAnswer) -> dict[str, Any]:
    """An answer of an incident as data, without the marks, which are read anew."""
    advice = vars(one.advice) | {"values": dict(one.advice.values)} if one.advice else None
    about = {"id": one.incident.id, "findings": list(one.incident.findings), "gravest": one.incident.gravest.id}
    return {"incident": about, "findings": one.findings, "answer": plain_answer(one.answer), "advice": advice}


def incident_answer_of(
    kept: dict[str, Any], finding: Callable[[str], Finding], marks: Iterable[Mark]
) -> IncidentAnswer:
    """The answer of an incident that was kept."""
    from kit.case.answers import AskedIncident, IncidentAnswer, marks_about

    about, advice = kept["incident"], kept["advice"]
    incident = AskedIncident(about["id"], tuple(about["findings"]), finding(about["gravest"]))
    claim = Claim(**advice | {"refs": tuple(advice["refs"])}) if advice else None
    findings = tuple(kept["findings"])
    answer = answer_of(kept["answer"], finding)
    return IncidentAnswer(incident, findings, answer, claim, marks_about(answer.question.name, findings, marks))
