"""The attacker's calls of a case in words, for figures and tables that tell them one by one."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from kit.case.case import Case
from kit.statements.moments import Actor, Moment, Moments


def told(case: Case) -> list[Moment]:
    """The attacker's calls of all incidents as the story tells them, each once, oldest first; kept in the case."""
    if not len(case.findings):
        return []
    return [_moment(*kept) for kept in case._worked_out.value("told", lambda: _worked_out(case))]


def _worked_out(case: Case) -> list[Any]:
    moments = Moments(case._scope)
    every = {one.ref: one for incident in case._incidents[0] for one in moments.of(incident)}
    return [list(astuple(one)) for one in sorted(every.values(), key=lambda one: (one.at, one.ref))]


def _moment(
    at: Any, ref: str, actor: list[Any], tactic: str, kind: str, verb: str, thing: str, objects: list[Any]
) -> Moment:
    return Moment(at, ref, Actor(*actor), tactic, kind, verb, thing, tuple((name, key) for name, key in objects))


def accounts_of_pods(case: Case) -> dict[str, str]:
    """uid of a pod → namespace/name of the service account that it runs under, where its body tells; kept in the case."""
    return case._worked_out.value("accounts of pods", lambda: _accounts_of_pods(case))


def _accounts_of_pods(case: Case) -> dict[str, str]:
    return {one.uid: one.service_account for one in case.inventory.things.values() if one.uid and one.service_account}
