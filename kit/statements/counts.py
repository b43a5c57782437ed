"""What is counted of an incident, each thing once: calls by their auditID, subjects by kind and key in their nearest ring."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from kit.scope.incident import Incident
from kit.scope.ring import Ring, Rings

_NEAREST: tuple[Ring | None, ...] = ("touched", "exposed", "possible", None)


@dataclass
class Counts:
    """The counts of one incident. refused: 401 and 403; failed: the other 4xx and 5xx. rings: ring → kind → how many; None: gone before."""

    calls: int | None
    refused: int | None
    failed: int | None
    aws_calls: int | None
    rings: dict[Ring | None, dict[str, int]] = field(default_factory=dict)
    subjects: dict[Ring | None, list[tuple[str, str]]] = field(default_factory=dict)


def counts(incident: Incident, rings: Rings, has_audit: bool, has_trail: bool, counted: set[str]) -> Counts:
    """The counts of an incident. counted: the auditIDs that an incident before has; those of this one are added."""
    codes = dict[str, int | None]()
    for event in incident.calls:
        if event["audit_id"] not in counted:
            codes[event["audit_id"]] = event["response_code"] or codes.get(event["audit_id"])
    counted |= codes.keys()
    refused = sum(code in (401, 403) for code in codes.values())
    failed = sum(code is not None and code >= 400 and code not in (401, 403) for code in codes.values())
    nearest = dict[tuple[str, str], Ring | None]()
    for scope in incident.scopes:
        for subject in scope.subjects.values():
            place, ring = (subject.kind, subject.key), rings.of(subject, scope)
            if place not in nearest or _NEAREST.index(ring) < _NEAREST.index(nearest[place]):
                nearest[place] = ring
    made = Counts(
        len(codes) if has_audit else None,
        refused if has_audit else None,
        failed if has_audit else None,
        len(incident.trail) if has_trail else None,
    )
    for one in _NEAREST:
        places = [place for place, ring in nearest.items() if ring == one]
        made.subjects[one] = sorted(places)
        made.rings[one] = dict(sorted(Counter(kind for kind, _ in places).items()))
    return made
