"""What is locked in a lab's case, by its level, and what a grading opens."""

from __future__ import annotations

from pathlib import Path

from kit.case.locks import LOCKABLE, locks_of, write_locks
from kit.training.lab import Lab
from kit.words import Names

OPEN_FROM_LEVEL = 3
_ANSWERED_BY = {
    "scope": (
        "affected_pods", "affected_nodes", "affected_service_accounts", "secrets_the_caller_read", "attackers_calls", "what_to_act_on",
    ),
    "answers": ("real_or_not", "observed_or_not", "what_to_collect", "secrets_the_caller_read", "attackers_calls"),
    "plan": ("actions_in_order", "actions_that_lose_evidence", "what_to_act_on"),
}  # fmt: skip
"""What the kit makes → the questions that it answers; the brief answers all that the kit tells."""


def lock_case(case: Path, lab: Lab) -> None:
    """Lock a lab's case as its level has it; where a lab is done, the plan is what it is done with."""
    if lab.level < OPEN_FROM_LEVEL and not lab.stage:
        write_locks(case, {what: _until(what, lab) for what in LOCKABLE})


def open_graded(case: Path, graded: Names) -> None:
    """Open what waited only for questions that are graded now."""
    locked, done = locks_of(case), set(graded)
    if any(done & set(names) for names in locked.values()):
        write_locks(case, {what: [name for name in names if name not in done] for what, names in locked.items()})


def _until(what: str, lab: Lab) -> list[str]:
    answered = _ANSWERED_BY.get(what, lab.questions)
    return [name for name in lab.questions if name in answered] or list(lab.questions)
