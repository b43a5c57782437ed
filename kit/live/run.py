"""What `kit preview`, `apply`, `check` and `undo` do with a case: its saved plan, the approval, the journal, and then the services.

An edited plan, an approval of another one and a broken journal are refused before any client is made; another account or cluster before
anything is done.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import kit
from kit.case.opening import open_case
from kit.errors import CallError, CaseError
from kit.live.acts import (  # noqa: F401 - each registers its acts
    bindings,
    cluster_access,
    cluster_endpoint,
    exposure,
    findings,
    iam,
    images,
    isolation,
    nodes,
    pods,
    principals,
    put_back,
    restarts,
    service_accounts,
    workloads,
)
from kit.live.acts.act import DOES_NOT_HOLD, services_needed_by
from kit.live.apply import Outcome, Remediation, Tell
from kit.live.attacker_out import AttackerOut, LookedAt, given_back
from kit.live.connection import Connection, ConnectionOptions
from kit.live.place import place_checked
from kit.plan.journal import Journal
from kit.plan.plan import Plan
from kit.plan.saved import plan_contract, saved_plan, touched
from kit.store.settings import settings_of
from kit.words import Names

_BAD = ("refused", "failed", "unknown", "held", "not undone")


def needs_somebody(outcome: Outcome) -> bool:
    """Whether somebody has to do something after an outcome."""
    return outcome.word in _BAD or (outcome.check is not None and outcome.check.word == DOES_NOT_HOLD)


def preview_case(case: Path, access: ConnectionOptions, tell: Tell) -> list[Outcome]:
    """What each action of the saved plan would do now; nothing is changed. Raises KitError."""
    plan, options = saved_plan(case)
    journal = Journal(case)
    _warn_of_new_evidence(case, plan, options, tell)
    live = _connection(plan, _permissions(plan), access, tell, needs_cluster=_needs_cluster(plan))
    return Remediation(case, journal, live, tell).preview(plan)


def apply_case(
    case: Path,
    approve: str,
    access: ConnectionOptions,
    tell: Tell,
    without_capture: str = "",
    by_hand: Names = (),
    check_after: float = 0,
) -> list[Outcome]:
    """Do what the approved plan says and is not done yet. check_after: seconds until everything is looked at again. Raises KitError."""
    plan, options = saved_plan(case)
    if approve != plan.digest:
        raise CallError(
            f"{approve} is approved, the plan of this case is {plan.digest}: nothing is done",
            where="--approve",
            next="read the plan (`kit plan CASE`), and approve the digest that it shows",
        )
    with Journal(case) as journal:
        _warn_of_new_evidence(case, plan, options, tell)
        live = _connection(plan, _permissions(plan), access, tell, needs_cluster=_needs_cluster(plan))
        work = Remediation(case, journal, live, tell)
        approved = {
            "digest": plan.digest,
            "plan": plan_contract(case.resolve().name, plan),
            "aws_caller": live.caller_if_known,
            "kubernetes_user": live.user.get("username") if _needs_cluster(plan) else None,
            "kit": kit.__version__,
        }
        outcomes = work.apply(plan, approved, without_capture, by_hand)
    if not check_after or not any(one.word == "done" for one in outcomes):
        return outcomes
    try:  # without the lock, so that an undo need not wait
        tell(f"looking again in {check_after:.0f} s at what was done; Ctrl-C leaves that out, all is journaled")
        time.sleep(check_after)
        with Journal(case) as journal:
            again = {one.id: one.check for one in Remediation(case, journal, live, tell).check()}
    except (KeyboardInterrupt, CaseError) as error:
        tell(f"not looked at again: {error or 'stopped'}; `kit check CASE` does it")
        return outcomes
    return [replace(one, check=again.get(one.id, one.check)) for one in outcomes]


def check_case(case: Path, access: ConnectionOptions, tell: Tell) -> tuple[list[Outcome], list[LookedAt]]:
    """Look again whether what was done holds, and whether each entry of the open list has ended. Raises KitError."""
    settings_of(case)
    with Journal(case) as journal:
        live = _connection_of(journal, access, tell)
        outcomes = Remediation(case, journal, live, tell).check()
        checks = {one.id: one.check for one in outcomes if one.check}
        asked = _permissions_of(journal)
        frames = open_case(case).plan()
        out = AttackerOut(journal, live, checks, frames.fates, _needs(asked, "kubernetes:"), _needs(asked, "aws:"))
        return outcomes, out.look(frames.joined.entries)


def undo_case(
    case: Path, access: ConnectionOptions, tell: Tell, only: Names = (), including_attackers: bool = False
) -> list[Outcome]:
    """Take back what was done, the last first; its undo was approved with the plan. Raises KitError.

    including_attackers: also what gives the attacker's access or objects back; without it that is left and named.
    """
    settings_of(case)
    with Journal(case) as journal:
        work = Remediation(case, journal, _connection_of(journal, access, tell), tell)
        if including_attackers:
            return work.undo(only)
        frames = open_case(case).plan()
        return work.undo(only, partial(given_back, journal, frames.fates, frames.joined.entries))


def _connection_of(journal: Journal, access: ConnectionOptions, tell: Tell) -> Connection:
    """To the place of what was done, as the last approval has it, whichever kit wrote that."""
    approvals = list(journal.of("approved"))
    if not approvals:
        raise CaseError(
            "nothing was done in this case",
            where=str(journal.path),
            next="`kit apply CASE --approve DIGEST` does what a plan says",
        )
    last = approvals[-1]["plan"]
    place = Plan(last["account"], last["region"], last["cluster"], (), ())
    return _connection(place, _permissions_of(journal), access, tell)


def _permissions_of(journal: Journal) -> set[str]:
    """What the actions need that the journal has of the kit."""
    actions = [one.action for one in journal.actions.values() if not one.action["by_person"]]
    return {one for action in actions for one in action["permissions"]}


def _permissions(plan: Plan) -> set[str]:
    return {one for action in plan.actions if not action.by_person for one in action.permissions}


def _needs(permissions: set[str], service: str) -> bool:
    return any(one.startswith(service) for one in permissions)


def _needs_cluster(plan: Plan) -> bool:
    return any("kubernetes" in services_needed_by(one) for one in plan.actions if not one.by_person)


def _connection(
    plan: Plan, permissions: set[str], access: ConnectionOptions, tell: Tell, needs_cluster: bool = True
) -> Connection:
    live = Connection(
        plan.account,
        plan.region,
        plan.cluster,
        profile=access.profile,
        kubeconfig=access.kubeconfig,
        context=access.context,
    )
    for says in place_checked(live, _needs(permissions, "aws:"), needs_cluster and _needs(permissions, "kubernetes:")):
        tell(says)
    return live


def _warn_of_new_evidence(case: Path, plan: Plan, options: dict[str, Any], tell: Tell) -> None:
    finding, start, end = (str(options.get(name) or "") for name in ("finding", "start", "end"))
    only, without, keep = options.get("only") or (), options.get("without") or (), options.get("keep_addresses")
    opened = open_case(case, finding, start, end)
    try:
        said = (str(options.get(name) or "") for name in ("responder", "evidence_account"))
        now = opened.plan(only, without, keep, bool(options.get("wide")), *said).plan
    except CallError as error:  # such as an address that stays open, and that newer evidence shows to be the attacker's
        tell(f"WARNING: the evidence or the marks of this case do not give this plan any more: {error}")
        return
    changed = touched(plan, now)
    if changed:
        listed = ", ".join(changed[:10]) + (f" and {len(changed) - 10} more" if len(changed) > 10 else "")
        tell(
            f"WARNING: the evidence or the marks of this case gives another plan now; it touches {listed}. Make it anew with `kit plan` to have that in it"
        )
