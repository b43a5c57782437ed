"""The questions that labs name, and those of one lab under a seed."""

from __future__ import annotations

from collections.abc import Callable

from kit.training import about_acting, about_case, about_evidence, about_family, about_findings, about_state
from kit.training.kinds import LabQuestion
from kit.training.material import Material

ASKED_IN_LABS: dict[str, Callable[[Material], LabQuestion]] = {
    ask.__name__: ask
    for ask in (
        about_family.what_guardduty_saw,
        about_family.types_and_what_they_say,
        about_family.commonest_false_alarm,
        about_family.what_decides,
        about_family.actions_in_order,
        about_family.actions_that_lose_evidence,
        about_case.real_or_not,
        about_case.affected_pods,
        about_case.affected_nodes,
        about_case.affected_service_accounts,
        about_case.secrets_the_caller_read,
        about_case.attackers_calls,
        about_case.observed_or_not,
        about_case.what_to_collect,
        about_acting.what_to_act_on,
        about_acting.when_not_to_act,
        about_evidence.statements_the_evidence_shows,
        about_evidence.what_the_log_holds,
        about_evidence.what_would_show_it,
        about_case.brief_in_five_sentences,
        about_findings.write_the_suppression_filter,
        *(ask for ask, _ in about_state.LOOKED_AT.values()),
    )
}
"""Name → the function that makes the question of a lab's material."""


def asked_of(material: Material) -> list[LabQuestion]:
    """The questions of a lab, in its order."""
    return [ASKED_IN_LABS[name](material) for name in material.lab.questions]
