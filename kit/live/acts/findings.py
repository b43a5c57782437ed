"""What is done to findings in GuardDuty: archived, rated, and findings like them suppressed.

Sources: GuardDuty API reference (ArchiveFindings, UpdateFindingsFeedback, CreateFilter: at most 100 filters, ranked from 1);
GuardDuty User Guide "Suppression rules" (a filter whose action is ARCHIVE).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kit.actions.findings import EXPECTED
from kit.live.acts.act import Check, act, all_hold
from kit.live.changes.aws_change import AwsCall, AwsChange
from kit.live.changes.change import Change, State, contains
from kit.live.connection import Connection
from kit.live.errors import Refused
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL


def _detector(live: Connection) -> str:
    for one in live.pages("guardduty", "list_detectors", "DetectorIds"):
        return str(one)
    raise Refused(f"GuardDuty has no detector in {live.region}")


@dataclass(frozen=True)
class _OfFinding(AwsChange):
    service: ClassVar[str] = "guardduty"

    detector: str
    finding: str

    def _service(self, live: Connection) -> dict[str, Any] | None:
        found = live.read("guardduty", "get_findings", DetectorId=self.detector, FindingIds=[self.finding])
        return dict(found["Findings"][0].get("Service") or {}) if found["Findings"] else None

    @property
    def _named(self) -> dict[str, Any]:
        return {"DetectorId": self.detector, "FindingIds": [self.finding]}


@dataclass(frozen=True)
class ArchiveFinding(_OfFinding):
    """A finding archived."""

    @property
    def says(self) -> str:
        return f"archive finding {self.finding}"

    def look(self, live: Connection) -> State:
        service = self._service(live)
        return None if service is None else {"archived": bool(service.get("Archived"))}

    def holds(self, state: State) -> bool:
        return state is not None and bool(state["archived"])

    def call(self, state: State) -> AwsCall:
        return "archive_findings", self._named

    def back(self, before: State, after: State) -> AwsCall:
        return "unarchive_findings", self._named


@dataclass(frozen=True)
class RateFinding(_OfFinding):
    """Feedback on a finding."""

    cannot_undo: ClassVar[str] = "GuardDuty takes feedback, it does not take it back"

    useful: bool

    @property
    def _feedback(self) -> str:
        return "USEFUL" if self.useful else "NOT_USEFUL"

    @property
    def says(self) -> str:
        return f"tell GuardDuty that finding {self.finding} was {'useful' if self.useful else 'not useful'}"

    def look(self, live: Connection) -> State:
        service = self._service(live)
        return None if service is None else {"feedback": service.get("UserFeedback")}

    def holds(self, state: State) -> bool:
        return state is not None and state["feedback"] == self._feedback

    def call(self, state: State) -> AwsCall:
        return "update_findings_feedback", self._named | {"Feedback": self._feedback}


@dataclass(frozen=True)
class SuppressFindings(AwsChange):
    """A suppression filter. criteria: GuardDuty's FindingCriteria. rank: after all others."""

    service: ClassVar[str] = "guardduty"

    detector: str
    name: str
    criteria: dict[str, Any]
    rank: int

    @property
    def says(self) -> str:
        fields = ", ".join(self.criteria["Criterion"])
        return f"create suppression filter {self.name} on {fields}"

    def look(self, live: Connection) -> State:
        if self.name not in live.pages("guardduty", "list_filters", "FilterNames", DetectorId=self.detector):
            return None
        found = live.read("guardduty", "get_filter", DetectorId=self.detector, FilterName=self.name)
        return {"action": found["Action"], "criteria": found["FindingCriteria"]}

    def refuses(self, state: State) -> str:
        return (
            "" if state is None or self.holds(state) else f"there is a filter {self.name} already, with other criteria"
        )

    def holds(self, state: State) -> bool:
        # GuardDuty answers with the deprecated names of the operators too: `Eq` beside `Equals`.
        return state is not None and state["action"] == "ARCHIVE" and contains(state["criteria"], self.criteria)

    def call(self, state: State) -> AwsCall:
        return "create_filter", {
            "DetectorId": self.detector,
            "Name": self.name,
            "Description": EXPECTED,
            "Action": "ARCHIVE",
            "Rank": self.rank,
            "FindingCriteria": self.criteria,
        }

    def back(self, before: State, after: State) -> AwsCall:
        return "delete_filter", {"DetectorId": self.detector, "FilterName": self.name}


def _refused(live: Connection, planned: PlannedAction) -> str:
    try:
        _detector(live)
    except Refused as error:
        return error.says
    if "criteria" in planned.parameters:
        criterion = (planned.parameters["criteria"] or {}).get("Criterion") or {}
        return "" if criterion else "a filter without criteria would suppress every finding"
    return "" if planned.parameters.get("finding") else "which finding is meant is not said"


def _archive(live: Connection, planned: PlannedAction) -> list[Change]:
    return [ArchiveFinding(_detector(live), planned.parameters["finding"])]


def _rate(live: Connection, planned: PlannedAction) -> list[Change]:
    return [RateFinding(_detector(live), planned.parameters["finding"], bool(planned.parameters["useful"]))]


def _suppress(live: Connection, planned: PlannedAction) -> list[Change]:
    detector = _detector(live)
    rank = len(list(live.pages("guardduty", "list_filters", "FilterNames", DetectorId=detector))) + 1
    name = planned.parameters.get("name") or f"kit-expected-{planned.id.rpartition('-')[2]}"
    return [SuppressFindings(detector, name, planned.parameters["criteria"], min(rank, 100))]


def _check(live: Connection, changes: list[Change], says: str) -> Check:
    if any(one.look(live) is None for one in changes):
        return Check(CANNOT_TELL, "GuardDuty has the finding no more: it keeps them for 90 days")
    return all_hold(live, changes, says)


def _is_archived(live: Connection, planned: PlannedAction) -> Check:
    return _check(live, _archive(live, planned), "the finding is archived")


def _is_rated(live: Connection, planned: PlannedAction) -> Check:
    return _check(live, _rate(live, planned), "GuardDuty has the feedback")


def _is_suppressed(live: Connection, planned: PlannedAction) -> Check:
    return all_hold(live, _suppress(live, planned), "the filter archives such findings from now on")


act("archive_finding", changes=_archive, refuses=_refused, check=_is_archived)
act("give_feedback", changes=_rate, refuses=_refused, check=_is_rated)
act("suppress", changes=_suppress, refuses=_refused, check=_is_suppressed)
