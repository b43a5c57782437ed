"""The scope in the JSON form that programs may rely on, as docs/json.md describes it."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from kit.case.whose_json import MarkJson, OwnRequestsJson, WhyJson, marks_json, own_requests_json, why_json
from kit.model.kinds import NAMED, Certainty, SubjectName
from kit.model.refs import Ref
from kit.model.why import Why
from kit.scope.profile import Profile
from kit.scope.ring import Ring, Rings
from kit.scope.scope import Scope
from kit.scope.subject import FindingScope, Subject, UsedSession
from kit.scope.told_apart import Trait
from kit.words import iso


class WindowJson(TypedDict):
    """A stretch of time in UTC; the end is excluded."""

    start: str | None
    end: str | None


class SubjectJson(TypedDict):
    """Something affected, or possibly so."""

    kind: SubjectName
    key: str
    ref: str
    namespace: str | None
    name: str | None
    uid: str | None
    node: str | None
    created_at: str | None
    deleted_at: str | None
    standing: bool | None
    gone_before_first_hostile_call: bool
    certainty: Certainty
    through: Ref | None
    why: list[WhyJson]


class RingedSubjectJson(SubjectJson):
    """A subject with how near the attacker came."""

    ring: Ring | None
    alive_during_attack: bool | None
    touched_by: list[str]


class LimitJson(TypedDict):
    """What cannot be told, of which kinds of subject, and what to collect."""

    about: list[str]
    start: str | None
    end: str | None
    says: str
    collect: str
    otherwise: str | None


class CredentialJson(TypedDict):
    """A credential that an identity's calls were made with."""

    key: str | None
    kind: str
    calls: int
    hostile_calls: int
    first_at: str | None
    last_at: str | None
    addresses: list[str]
    pod: str | None
    node: str | None
    minted: WhyJson | None


class SourceJson(TypedDict):
    """An address and client that an identity's calls came from."""

    address: str | None
    user_agent: str | None
    inside: bool
    network: str | None
    calls: int
    hostile_calls: int
    first_at: str
    last_at: str


class UsualJson(TypedDict):
    """What an identity did before the first hostile call: verb with resource, and how often."""

    until: str | None
    calls: list[list[str | int]]


class WayInJson(TypedDict):
    """How an AWS principal or a provider's user is let into the cluster."""

    kind: str
    name: str
    user_name: str | None
    groups: list[str]
    policies: list[str]
    overruled: bool
    maps_nobody: str | None
    since: str | None
    until: str | None
    why: WhyJson | None


class StepJson(TypedDict):
    """One step that takes an identity's access away."""

    says: str
    command: str | None
    why: WhyJson | None


class ToldApartJson(TypedDict):
    """Calls that are not attributed, and by what they differ from the attacker's."""

    calls: int
    possible_calls: int
    same: list[Trait]
    by: list[Trait]
    says: str


class IdentityJson(TypedDict):
    """Who made the attacker's calls."""

    user_name: str
    ref: str
    kind: str
    certainty: Certainty
    role: str | None
    why: WhyJson
    patient_zero: list[WhyJson]
    credentials: list[CredentialJson]
    sources: list[SourceJson]
    usual: UsualJson
    impersonates: list[str]
    impersonated_by: list[str]
    ways_in: list[WayInJson]
    take_away: list[StepJson]
    came_from: list[WhyJson]
    told_apart_by: list[ToldApartJson]


class UseJson(TypedDict):
    """The calls of a role session from one address."""

    address: str | None
    inside: bool | None
    calls: int
    failed: int
    first_at: str | None
    last_at: str | None
    services: list[str]
    ref: str


class SessionJson(TypedDict):
    """A role session that a subject got, or that the caller signed in with."""

    access_key_id: str
    kind: str
    certainty: Certainty
    role: str | None
    issued_at: str | None
    expires_at: str | None
    asked_by: str | None
    service_account: str | None
    pod: str | None
    node: str | None
    why: list[WhyJson]
    uses: list[UseJson]


class FindingScopeJson(TypedDict):
    """The scope of one finding."""

    id: str
    type: str
    severity: float | None
    sample: bool
    about_eks: bool
    window: WindowJson | None
    subjects: list[RingedSubjectJson]
    calls: list[str]
    possible_calls: list[str]
    aws_calls: list[str]
    identities: list[IdentityJson]
    sessions: list[SessionJson]
    limits: list[LimitJson]


class ScopeJson(TypedDict):
    """The scope of a case."""

    case: str
    marks: list[MarkJson]
    findings: list[FindingScopeJson]
    own_requests: OwnRequestsJson


def scope_contract(case: str, scope: Scope) -> ScopeJson:
    """The scope as JSON-ready data, in the stable form that docs/json.md describes."""
    rings = Rings(scope)
    return {
        "case": case,
        "marks": marks_json(scope.attacker.marked.marks),
        "findings": [_finding_contract(one, rings, scope.is_about_eks(one.finding)) for one in scope.scopes],
        "own_requests": own_requests_json(scope),
    }


def _finding_contract(scope: FindingScope, rings: Rings, about_eks: bool) -> FindingScopeJson:
    finding, window = scope.finding, scope.window
    return {
        "id": finding.id,
        "type": finding.type,
        "severity": finding.severity,
        "sample": finding.sample,
        "about_eks": about_eks,
        "window": {"start": iso(window.start), "end": iso(window.end)} if window else None,
        "subjects": [
            {
                **subject_contract(subject, rings.first),
                "ring": rings.of(subject, scope),
                "alive_during_attack": rings.alive(subject),
                "touched_by": rings.touched_by(subject, scope),
            }
            for subject in scope.sorted_subjects
        ],
        "calls": list(scope.calls),
        "possible_calls": list(scope.possible_calls),
        "aws_calls": list(scope.aws_calls),
        "identities": [_identity_contract(one) for one in scope.identities],
        "sessions": [_session_contract(one) for one in scope.sessions],
        "limits": [
            {
                "about": list(one.about),
                "start": iso(one.start),
                "end": iso(one.end),
                "says": one.says,
                "collect": one.collect,
                "otherwise": one.otherwise or None,
            }
            for one in scope.limits
        ],
    }


def subject_contract(subject: Subject, first: datetime | None) -> SubjectJson:
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
        "created_at": iso(thing.created_at) if thing else None,
        "deleted_at": iso(thing.deleted_at) if thing else None,
        "standing": thing.standing if thing else None,
        "gone_before_first_hostile_call": gone,
        "certainty": subject.certainty,
        "through": subject.through,
        "why": [why_json(why) for why in subject.why],
    }


def _known_why(why: Why | None) -> WhyJson | None:
    return why_json(why) if why else None


def _identity_contract(profile: Profile) -> IdentityJson:
    identity = profile.identity
    return {
        "user_name": identity.user_name,
        "ref": str(Ref.of("identity", identity.user_name)),
        "kind": identity.kind,
        "certainty": "affected" if identity.sure else "possible",
        "role": identity.role,
        "why": why_json(profile.why),
        "patient_zero": [why_json(why) for why in profile.patient_zero],
        "credentials": [
            {
                "key": one.key or None,
                "kind": one.kind,
                "calls": one.calls,
                "hostile_calls": one.hostile,
                "first_at": iso(one.first_at),
                "last_at": iso(one.last_at),
                "addresses": sorted(one.addresses),
                "pod": one.pod_uid,
                "node": one.node,
                "minted": _known_why(one.minted),
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
                "first_at": iso(one.first_at),
                "last_at": iso(one.last_at),
            }
            for one in profile.sources
        ],
        "usual": {"until": iso(profile.usual_until), "calls": [list(one) for one in profile.usual]},
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
                "since": iso(way.since),
                "until": iso(way.until),
                "why": _known_why(way.why),
            }
            for way in profile.ways
        ],
        "take_away": [
            {"says": step.says, "command": step.line, "why": _known_why(step.why)} for step in profile.steps
        ],
        "came_from": [why_json(step.why) for step in profile.chain if step.why],
        "told_apart_by": [
            {"calls": one.calls, "possible_calls": one.possible, "same": list(one.same), "by": list(one.by), "says": one.says}
            for one in profile.told_apart_by
        ],
    }  # fmt: skip


def _session_contract(one: UsedSession) -> SessionJson:
    session = one.session
    return {
        "access_key_id": session.access_key_id,
        "kind": session.kind,
        "certainty": one.certainty,
        "role": session.role,
        "issued_at": iso(session.issued_at),
        "expires_at": session.expires_at,
        "asked_by": session.asked_by,
        "service_account": session.service_account,
        "pod": session.pod_uid,
        "node": session.node,
        "why": [why_json(why) for why in one.why],
        "uses": [
            {
                "address": use.address,
                "inside": use.inside,
                "calls": use.calls,
                "failed": use.failed,
                "first_at": iso(use.first_at),
                "last_at": iso(use.last_at),
                "services": list(use.services),
                "ref": str(use.why.ref),
            }
            for use in one.uses
        ],
    }
