"""What is done to findings in GuardDuty, once a person has marked them."""

from __future__ import annotations

from kit.actions.action import SIMULATED, STAGES, Action, Held
from kit.actions.effect import Effect
from kit.actions.target import FindingParameters, SuppressedFinding, Target
from kit.model.command_line import Command, Printed, aws

EXPECTED = "expected, by a person's mark in a case of the kit"
"""The description of a suppression filter."""
_DETECTOR = Printed(aws("guardduty", "list-detectors", query="DetectorIds[0]", output="text"))


def _rate(target: Target, held: Held) -> list[Command]:
    known = target.known(FindingParameters)
    word = "USEFUL" if known.useful else "NOT_USEFUL"
    given = {"detector_id": _DETECTOR, "finding_ids": [known.finding]}
    return [aws("guardduty", "update-findings-feedback", **given, feedback=word)]


def _archive(target: Target, held: Held) -> list[Command]:
    named = [target.known(FindingParameters).finding]
    return [aws("guardduty", "archive-findings", detector_id=_DETECTOR, finding_ids=named)]


def _suppress(target: Target, held: Held) -> list[Command]:
    known = target.known(SuppressedFinding)
    if not known.criteria.get("Criterion"):
        return []
    given = {"detector_id": _DETECTOR, "name": known.name, "description": EXPECTED, "action": "ARCHIVE"}
    return [aws("guardduty", "create-filter", **given, finding_criteria=known.criteria)]


ACTIONS = (
    Action("give_feedback", "recover", "Tell GuardDuty whether the finding was useful, as a person has marked it", "nothing", stops_nothing=True, cannot_undo="feedback that was sent cannot be taken back", kinds=("finding",),
           effects=(Effect.NONE,), commands=_rate,
           precondition="a person has marked the finding as confirmed or expected",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:GetFindings", "aws:guardduty:UpdateFindingsFeedback"), preview=SIMULATED, check="GuardDuty shows the feedback on the finding"),
    Action("archive_finding", "recover", "Archive the finding, which a person has marked, in GuardDuty", "it leaves the list of current findings; nothing stops to be detected", undo="unarchive it", kinds=("finding",),
           effects=(Effect.NONE,), commands=_archive,
           precondition="a person has marked the finding as confirmed or expected, and all that the plan does is done",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:GetFindings", "aws:guardduty:ArchiveFindings", "aws:guardduty:UnarchiveFindings@undo"), preview=SIMULATED, check="GuardDuty shows it as archived",
           after_stages=STAGES[:-1]),
    Action("suppress", "recover", "Create the narrowest suppression filter for findings like one that a person has marked as expected", "such findings reach no Security Hub, no EventBridge, start no malware scan and join no attack sequence", undo="delete the filter", kinds=("expected_finding",),
           effects=(Effect.NONE,), commands=_suppress,
           precondition="a person has marked the finding as expected, and the filter hides none of this case's that are not like it",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:ListFilters", "aws:guardduty:GetFilter", "aws:guardduty:CreateFilter", "aws:guardduty:DeleteFilter@undo"), preview=SIMULATED, check="the filter is there, with these criteria"),
)  # fmt: skip
