"""The attacker's calls of a case in words, for figures and tables that tell them one by one."""

from __future__ import annotations

from kit.case.case import Case
from kit.statements.moments import Moment, Moments


def told(case: Case) -> list[Moment]:
    """The attacker's calls of all incidents as the story tells them, each once, oldest first."""
    if not len(case.findings):
        return []
    moments = Moments(case._scope)
    every = {one.ref: one for incident in case._incidents[0] for one in moments.of(incident)}
    return sorted(every.values(), key=lambda one: (one.at, one.ref))
