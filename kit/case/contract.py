"""The JSON forms that programs may rely on, as docs/json.md describes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from kit.model.finding import Finding
from kit.model.kinds import NAMED
from kit.model.refs import Ref
from kit.model.why import Why
from kit.playbooks.playbook import Playbook
from kit.questions.question import Answer
from kit.scope.profile import Profile
from kit.scope.ring import Rings
from kit.scope.scope import Scope
from kit.scope.subject import FindingScope, Subject, UsedSession
from kit.store.marks import Mark


def scope_contract(case: str, scope: Scope) -> dict[str, Any]:
    """The scope as JSON-ready data, in the stable form that docs/json.md describes."""
    rings = Rings(scope)
    return {
        "case": case,
        "findings": [_finding_contract(one, rings, scope.is_about_eks(one.finding)) for one in scope.scopes],
    }


def _finding_contract(scope: FindingScope, rings: Rings, about_eks: bool) -> dict[str, Any]:
    finding, window = scope.finding, scope.window
    return {
        "id": finding.id,
        "type": finding.type,
        "severity": finding.severity,
        "sample": finding.sample,
        "about_eks": about_eks,
        "window": {"start": _iso(window.start), "end": _iso(window.end)} if window else None,
        "subjects": [
            subject_contract(one, rings.first)
            | {
                "ring": rings.of(one, scope),
                "alive_during_attack": rings.alive(one),
                "touched_by": rings.touched_by(one, scope),
            }
            for one in scope.sorted_subjects
        ],
        "calls": list(scope.calls),
        "possible_calls": list(scope.possible_calls),
        "aws_calls": list(scope.aws_calls),
        "identities": [_identity_contract(one) for one in scope.identities],
        "sessions": [_session_contract(one) for one in scope.sessions],
        "limits": [
            {
                "about": list(one.about),
                "start": _iso(one.start),
                "end": _iso(one.end),
                "says": one.says,
                "collect": one.collect,
            }
            for one in scope.limits
        ],
    }


def subject_contract(subject: Subject, first: datetime | None) -> dict[str, Any]:
    """A subject as JSON-ready data. first: when the attacker's first call came."""
    thing = subject.thing
    namespace, name = (thing.namespace, thing.name) if thing else (None, None)
    if thing is None and subject.kind in NAMED:
        namespace, _, name = subject.key.partition("/")
    gone = bool(thing and thing.deleted_at and first and thing.deleted_at < first)
    return {
        "kind": subject.kind,
        "key": subject.key,
        "ref": str(Ref.of(subject.kind, subject.key)),
        "namespace": namespace,
        "name": name,
        "uid": thing.uid or None if thing else None,
        "node": thing.node if thing else None,
        "created_at": _iso(thing.created_at) if thing else None,
        "deleted_at": _iso(thing.deleted_at) if thing else None,
        "standing": thing.standing if thing else None,
        "gone_before_first_hostile_call": gone,
        "certainty": subject.certainty,
        "through": subject.through,
        "why": [{"ref": str(why.ref), "says": why.says} for why in subject.why],
    }


def _why_contract(why: Why | None) -> dict[str, str] | None:
    return {"ref": str(why.ref), "says": why.says} if why else None


def _identity_contract(profile: Profile) -> dict[str, Any]:
    identity = profile.identity
    return {
        "user_name": identity.user_name,
        "ref": str(Ref.of("identity", identity.user_name)),
        "kind": identity.kind,
        "certainty": "affected" if identity.sure else "possible",
        "role": identity.role,
        "why": _why_contract(profile.why),
        "patient_zero": [_why_contract(why) for why in profile.patient_zero],
        "credentials": [
            {
                "key": one.key or None,
                "kind": one.kind,
                "calls": one.calls,
                "hostile_calls": one.hostile,
                "first_at": _iso(one.first_at),
                "last_at": _iso(one.last_at),
                "addresses": sorted(one.addresses),
                "pod": one.pod_uid,
                "node": one.node,
                "minted": _why_contract(one.minted),
            }
            for one in profile.credentials
        ],
        "sources": [
            {
                "address": one.address or None,
                "user_agent": one.user_agent or None,
                "inside": one.inside,
                "network": one.network,
                "calls": one.calls,
                "hostile_calls": one.hostile,
                "first_at": _iso(one.first_at),
                "last_at": _iso(one.last_at),
            }
            for one in profile.sources
        ],
        "usual": {"until": _iso(profile.usual_until), "calls": [list(one) for one in profile.usual]},
        "impersonates": profile.impersonates,
        "impersonated_by": profile.impersonated_by,
        "ways_in": [
            {
                "kind": way.kind,
                "name": way.name,
                "user_name": way.user_name,
                "groups": list(way.groups),
                "policies": list(way.policies),
                "overruled": way.overruled,
                "maps_nobody": way.maps_nobody or None,
                "since": _iso(way.since),
                "until": _iso(way.until),
                "why": _why_contract(way.why),
            }
            for way in profile.ways
        ],
        "take_away": [
            {"says": step.says, "command": step.command or None, "why": _why_contract(step.why)}
            for step in profile.steps
        ],
        "came_from": [_why_contract(step.why) for step in profile.chain],
    }


def _session_contract(one: UsedSession) -> dict[str, Any]:
    session = one.session
    return {
        "access_key_id": session.access_key_id,
        "kind": session.kind,
        "certainty": one.certainty,
        "role": session.role,
        "issued_at": _iso(session.issued_at),
        "expires_at": session.expires_at,
        "asked_by": session.asked_by,
        "service_account": session.service_account,
        "pod": session.pod_uid,
        "node": session.node,
        "why": [_why_contract(why) for why in one.why],
        "uses": [
            {
                "address": use.address,
                "inside": use.inside,
                "calls": use.calls,
                "failed": use.failed,
                "first_at": _iso(use.first_at),
                "last_at": _iso(use.last_at),
                "services": list(use.services),
                "ref": str(use.why.ref),
            }
            for use in one.uses
        ],
    }


def answers_contract(
    played: Playbook, finding: Finding, answers: Iterable[Answer], marks: Iterable[Mark]
) -> dict[str, Any]:
    """The answers to the questions of a finding's playbook as JSON-ready data."""
    next_steps = {one.question.name: one for one in played.questions}
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
            {
                "question": one.question.name,
                "asks": one.question.asks,
                "verdict": one.verdict.word,
                "says": one.says,
                "next_step": next_steps[one.question.name].next_step(one.verdict.word),
                "window": {"start": _iso(one.window.start), "end": _iso(one.window.end)} if one.window else None,
                "rows": [{name: _iso(value) if isinstance(value, datetime) else value for name, value in row.items()} for row in one.rows],
                "rests_on": one.rests_on,
                "limits": [{"says": limit.says, "collect": limit.collect} for limit in one.verdict.limits],
                "marks": [_mark_contract(each) for each in said if each.question == one.question.name],
            }
            for one in answers
        ],
        "actions": [
            {"action": one.action.name, "stage": one.action.stage, "does": one.action.does, "undo": one.action.undo or None, "when_not": one.when_not}
            for one in played.actions
        ],
    }  # fmt: skip


def _mark_contract(one: Mark) -> dict[str, str | None]:
    return {"mark": one.word, "note": one.note, "at": _iso(one.at)}


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None
