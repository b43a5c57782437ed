"""The brief of a case: its incidents with story, open entries and counts, joined with the plan, from which it chooses what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from kit.case.next_steps import Chooser
from kit.case.plan_frames import PlanFrames
from kit.case.plan_json import OpenIncident
from kit.case.whose_json import marks_json, own_requests_json
from kit.model.command_line import aws
from kit.model.finding import Finding
from kit.model.kinds import SUBJECT_KINDS
from kit.model.why import AUDIT_LOG, CLOUDTRAIL, Limit
from kit.playbooks.playbook import playbook_of
from kit.scope.incident import Incident
from kit.scope.ring import Ring, Rings
from kit.scope.scope import Scope
from kit.statements.counts import Counts, counts
from kit.statements.moments import Moments
from kit.statements.open_entry import OpenEntry
from kit.statements.opening import opened_by
from kit.statements.story import StoryRow, story
from kit.statements.undecided import Undecided, undecided_calls
from kit.store.notes import Note, open_notes
from kit.words import iso

_QUIET = timedelta(minutes=5)  # after the last call, before an incident counts as over
_FRESH = timedelta(minutes=15)  # evidence that is not older tells what goes on


class Present:
    """The moment by which the age of evidence is judged. asked: what it was compared with, and whether it came before that."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self.asked = dict[datetime, bool]()

    def is_before(self, moment: datetime) -> bool:
        """Whether it comes before a moment."""
        return self.asked.setdefault(moment, self._at < moment)


class Brief:
    """The brief of one case. now: the moment by which the age of the evidence is judged."""

    def __init__(
        self,
        scope: Scope,
        plan: PlanFrames,
        apart: list[tuple[Finding, str]],
        case: dict[str, Any],
        notes: list[Note],
        now: Present,
    ) -> None:
        self.scope, self.case, self.now, self.notes = scope, case, now, notes
        self._joined, self._apart = plan.joined, apart
        self._rings, self._moments = Rings(scope), Moments(scope)
        self._chooser = Chooser(scope, plan.joined)
        self._simulation = plan.simulation

    def contract(self) -> dict[str, Any]:
        """The brief as JSON-ready data, in the stable form that docs/json.md describes."""
        counted = set[str]()
        return {
            "schema": 1,
            "case": self.case
            | {
                "kubernetes": self.scope.inventory.kubernetes_version,
                "kit": version("eks-forensic-kit"),
                "sample": bool(self.scope.scopes) and all(one.finding.sample for one in self.scope.scopes),
            },
            "evidence_ends": {
                "audit": iso(self._ends.get("audit")),
                "cloudtrail": iso(self._ends.get("trail")),
                "dump": None,
            },
            "no_incident": [{"finding": finding.id, "says": because} for finding, because in self._apart],
            "incidents": [self._incident(one, counted) for one in self._joined.incidents],
            "still_works": self._simulation.still_works,
            "marks": marks_json(self.scope.attacker.marked.marks),
            "own_requests": own_requests_json(self.scope),
            "notes": [
                {
                    "number": number,
                    "text": one.text,
                    "ref": one.ref or None,
                    "owner": one.owner or None,
                    "due": iso(one.due),
                    "at": iso(one.at),
                }
                for number, one in open_notes(self.notes)
            ],
        }

    @cached_property
    def _ends(self) -> dict[str, datetime]:
        """Source → when what it recorded ends."""
        rows = self.scope.store.rows(
            "SELECT source, max(end_at) AS at FROM coverage WHERE end_at IS NOT NULL GROUP BY source"
        )
        return {row["source"]: row["at"] for row in rows}

    def _incident(self, standing: OpenIncident, counted: set[str]) -> dict[str, Any]:
        incident = standing.incident
        numbers = counts(incident, self._rings, "audit" in self._ends, "trail" in self._ends, counted)
        undecided = undecided_calls(incident, self.scope, self._moments)
        rows = story(incident, self.scope, self._moments, undecided)
        way = opened_by(incident, self.scope, self._moments)
        times = sorted([event["received_at"] for event in incident.calls] + [one["event_at"] for one in incident.trail])
        maybe = sorted(at for one in undecided for at in one.times)
        active = self._active(times, maybe)
        return {
            "id": incident.id,
            "findings": [one.finding.id for one in incident.scopes],
            "title": _title(incident.gravest),
            "severity": incident.gravest.severity,
            "first_at": iso(times[0]) if times else None,
            "last_at": iso(times[-1]) if times else None,
            "active": active,
            "disposition": standing.disposition,
            "expected_if": [
                {"says": one.says, "holds": one.holds, "ask": one.values.get("ask"), "refs": list(one.refs)}
                for one in standing.doubts
            ],
            "way_in": {
                "says": way.says,
                "certainty": "affected" if way.holds else "cannot tell",
                "refs": list(way.refs),
            },
            "counts": _counts(numbers),
            "story": [_row(one) for one in rows],
            "undecided": [_perhaps(one) for one in undecided],
            "open": [_entry(one, self._joined.ends_by(one)) for one in standing.entries],
            "next": self._chooser.next(standing),
            "at_risk": self._chooser.at_risk(incident, numbers),
            "indicators": _indicators(incident, numbers),
            "cannot_tell": self._cannot_tell(incident, active, times, maybe),
        }

    def _active(self, times: list[datetime], maybe: list[datetime]) -> str:
        """Whether the attacker may be at it: no when every source goes on for long enough after the last call. maybe: of calls that may be the attacker's."""
        if not times or not self._ends:
            return "cannot tell"
        pause = max((later - earlier for earlier, later in pairwise(times)), default=timedelta())
        last = max([times[-1], *maybe[-1:]])
        if all(end - last >= max(_QUIET, pause) and end - last > pause for end in self._ends.values()):
            return "no"
        return "yes" if self.now.is_before(max(self._ends.values()) + _FRESH) else "cannot tell"

    def _cannot_tell(
        self, incident: Incident, active: str, times: list[datetime], maybe: list[datetime]
    ) -> list[dict[str, Any]]:
        limits = dict.fromkeys(limit for one in incident.scopes for limit in one.limits)
        if "audit" not in self._ends:
            says = "What the attacker did in the cluster cannot be told: there is no audit log"
            limits = {Limit(("calls",), says, AUDIT_LOG): None, **limits}
        if "trail" not in self._ends:
            limits[
                Limit(("aws_calls",), "What the attacker did in AWS cannot be told: there is no CloudTrail", CLOUDTRAIL)
            ] = None
        if active == "cannot tell":
            last = (
                "the last call that may be the attacker's"
                if maybe and times and maybe[-1] > times[-1]
                else "the last call"
            )
            says = f"Whether the attacker is still at it cannot be told: the evidence ends too soon after {last}"
            says = says if times else "Whether the attacker is still at it cannot be told: no call is attributed"
            limits = {Limit(("active",), says, self._since(self._ends.get("audit"))): None, **limits}
        asked = (self.scope.collecting.of(one, incident.gravest.id) for one in limits)
        return [
            {"about": list(one.about), "says": one.says, "collect": one.collect, "otherwise": one.otherwise or None}
            for one in asked
        ]

    def _since(self, at: datetime | None) -> str:
        """The audit log since it ends, which CloudTrail may do later, by whoever may read the log group; all of it where there is none."""
        group = f"/aws/eks/{self.case['cluster'] or 'CLUSTER'}/cluster"
        start = int(at.timestamp() * 1000) if at else None
        streams = {"log_group_name": group, "log_stream_name_prefix": "kube-apiserver-audit", "start_time": start}
        return str(aws("logs", "filter-log-events", **streams))


def _title(finding: Finding) -> str:
    return playbook_of(finding.type).title


def _counts(numbers: Counts) -> dict[str, Any]:
    rings = {name: numbers.rings.get(ring, {}) for name, ring in _RINGS.items()}
    return {
        "calls": numbers.calls,
        "refused": numbers.refused,
        "failed": numbers.failed,
        "aws_calls": numbers.aws_calls,
        **{name: {kind: found[kind] for kind in SUBJECT_KINDS if kind in found} for name, found in rings.items()},
    }


_RINGS: dict[str, Ring | None] = {
    "touched": "touched",
    "exposed": "exposed",
    "possible": "possible",
    "gone_before": None,
}


def _row(row: StoryRow) -> dict[str, Any]:
    return {
        "at": iso(row.at),
        "until": iso(row.until),
        "phase": row.phase,
        "who": row.who or None,
        "as": row.acting_as,
        "from": row.address,
        "did": row.did,
        "objects": [{"kind": kind, "key": key} for kind, key in row.objects],
        "refs": row.refs,
        "says": row.says,
    }


def _perhaps(calls: Undecided) -> dict[str, Any]:
    return {
        "who": calls.actor.name,
        "as": calls.actor.acting_as,
        "from": calls.actor.address,
        "client": calls.user_agent,
        "calls": len(calls.times),
        "first_at": iso(calls.times[0]),
        "last_at": iso(calls.times[-1]),
        "objects": [{"kind": kind, "key": key} for kind, key in calls.objects],
        "refs": list(calls.refs),
        "because": calls.because,
        "ask": calls.ask,
        "says": calls.says,
    }


def _entry(entry: OpenEntry, ends_by: list[str]) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind,
        "key": entry.key,
        "of": entry.of or None,
        "gives": entry.gives,
        "since": iso(entry.since),
        "state": entry.state,
        "until": iso(entry.until),
        "certainty": entry.certainty,
        "refs": list(entry.refs),
        "ends_by": ends_by,
        "says": entry.says,
    }


def _indicators(incident: Incident, numbers: Counts) -> dict[str, list[str]]:
    calls, trail = incident.calls, incident.trail
    touched = numbers.subjects.get("touched", [])

    def each(values: Iterable[str | None]) -> list[str]:
        return sorted({value for value in values if value})

    return {
        "addresses": each([*(one["source_address"] for one in calls), *(one["source_address"] for one in trail)]),
        "user_agents": each(one["user_agent"] for one in calls),
        "access_keys": each(
            [
                *(one["access_key_id"] for one in calls),
                *(one[name] for one in trail for name in ("access_key_id", "issued")),
            ]
        ),
        "credential_ids": each(one[name] for one in calls for name in ("credential_id", "issued_credential_id")),
        "identities": each(one["user_name"] for one in calls),
        "images": each(key for kind, key in touched if kind == "introduced"),
        "objects": each(key for kind, key in touched if kind == "created"),
    }
