"""The answers of an incident: each question of its findings' playbooks asked once, with what the answer means for the next step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kit.case.answers_json import answer_contract
from kit.model.claim import Claim
from kit.model.finding import Finding
from kit.playbooks.playbook import playbook_of
from kit.questions.advice import advice_of
from kit.questions.question import QUESTIONS, Answer, Asked, Question, ask
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.opening import disposition_of, expected_if
from kit.store.marks import Mark, marked_findings
from kit.words import Names

_OF_A_FINDING = ("is_it_a_sample",)  # a sample is in no incident
_ALWAYS = ("permissions_given", "impersonated", "ways_back")  # whatever the playbooks ask: what was given lasts


@dataclass(frozen=True)
class AskedIncident:
    """The incident that was asked about: its id, the ids of its findings, and the gravest of them."""

    id: str
    findings: tuple[str, ...]
    gravest: Finding


@dataclass(frozen=True)
class IncidentAnswer:
    """One answer of an incident. findings: the ids of those for which the question matters."""

    incident: AskedIncident
    findings: tuple[str, ...]
    answer: Answer
    advice: Claim | None
    marks: tuple[Mark, ...]

    def contract(self) -> dict[str, Any]:
        """The answer as JSON-ready data."""
        about = {"incident": self.incident.id, "findings": list(self.findings)}
        return about | answer_contract(self.answer, self.advice, self.marks)


def incident_answers(incident: Incident, asked: Asked, marks: Iterable[Mark]) -> list[IncidentAnswer]:
    """The answers of an incident, in the order of its playbooks, that of the gravest finding first."""
    matters = dict[str, tuple[Question, list[str]]]()
    for finding in sorted((scope.finding for scope in incident.scopes), key=lambda one: one is not incident.gravest):
        for one in (each for each in playbook_of(finding.type).questions if each.name not in _OF_A_FINDING):
            matters.setdefault(one.name, (one, []))[1].append(finding.id)
    for one in (QUESTIONS[name] for name in _ALWAYS if name not in matters):
        matters[one.name] = (one, [scope.finding.id for scope in incident.scopes])
    said = list(marks)
    doubted = bool(doubted_findings(asked.scope, [incident], said))
    about = AskedIncident(incident.id, tuple(one.finding.id for one in incident.scopes), incident.gravest)
    made = []
    for one, findings in matters.values():
        answer = ask(one, asked)
        marked = marks_about(one.name, findings, said)
        made.append(IncidentAnswer(about, tuple(findings), answer, advice_of(answer, doubted), marked))
    return made


def marks_about(question: str, findings: Names, marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """What people said of a question's answer about some findings."""
    return tuple(mark for mark in marks if mark.question == question and mark.finding in findings)


def doubted_findings(scope: Scope, every: Iterable[Incident], marks: Iterable[Mark]) -> set[str]:
    """The findings of the incidents that are not known to be hostile: what they advise to stop or remove has an "if"."""
    marked = marked_findings(marks)
    return {
        part.finding.id
        for one in every
        if disposition_of(one, marked, expected_if(one, scope)) != "hostile"
        for part in one.scopes
    }
