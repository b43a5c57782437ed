"""What is done to findings in GuardDuty, once a person has marked them."""

from __future__ import annotations

from kit.actions.action import SIMULATED, STAGES, Action
from kit.actions.effect import Effect

ACTIONS = (
    Action("give_feedback", "recover", "Tell GuardDuty whether the finding was useful, as a person has marked it", "nothing", stops_nothing=True, cannot_undo="feedback that was sent cannot be taken back", kinds=("finding",),
           effects=(Effect.NONE,),
           precondition="a person has marked the finding as confirmed or expected",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:GetFindings", "aws:guardduty:UpdateFindingsFeedback"), preview=SIMULATED, check="GuardDuty shows the feedback on the finding"),
    Action("archive_finding", "recover", "Archive the finding, which a person has marked, in GuardDuty", "it leaves the list of current findings; nothing stops to be detected", undo="unarchive it", kinds=("finding",),
           effects=(Effect.NONE,),
           precondition="a person has marked the finding as confirmed or expected, and all that the plan does is done",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:GetFindings", "aws:guardduty:ArchiveFindings", "aws:guardduty:UnarchiveFindings@undo"), preview=SIMULATED, check="GuardDuty shows it as archived",
           after_stages=STAGES[:-1]),
    Action("suppress", "recover", "Create the narrowest suppression filter for findings like one that a person has marked as expected", "such findings reach no Security Hub, no EventBridge, start no malware scan and join no attack sequence", undo="delete the filter", kinds=("expected_finding",),
           effects=(Effect.NONE,),
           precondition="a person has marked the finding as expected, and the filter hides none of this case's that are not like it",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:ListFilters", "aws:guardduty:GetFilter", "aws:guardduty:CreateFilter", "aws:guardduty:DeleteFilter@undo"), preview=SIMULATED, check="the filter is there, with these criteria"),
)  # fmt: skip
