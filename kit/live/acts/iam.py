"""What is done in IAM about users: the sessions that their keys asked for are denied by the time when they were issued.

Sources: IAM User Guide "Disabling permissions for temporary security credentials", condition key aws:TokenIssueTime (absent from calls that a
long-term key signs, so that these are not hit); STS API reference, GetSessionToken and GetFederationToken (up to 36 hours).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kit.actions.iam import older_than
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.changes.change import Change
from kit.live.changes.deny_policy import DenyUserSessions, held, is_deny_all, user_described
from kit.live.connection import Connection
from kit.model.arn import name_in, principal_of
from kit.plan.plan import PlannedAction

_SPREADS = timedelta(seconds=60)
"""How long IAM's changes take until they count everywhere (IAM User Guide, "Troubleshooting: changes")."""


def _user(planned: PlannedAction) -> str:
    return name_in(str(planned.parameters.get("arn") or ""))


def _refused(live: Connection, planned: PlannedAction) -> str:
    arn = planned.parameters.get("arn") or ""
    principal = principal_of(arn)
    if principal is None or principal[1] != "user":
        return f"{arn or 'the identity'} is no IAM user: the sessions of a role are denied on the role"
    if principal[0] != live.account:
        return f"{arn} is of account {principal[0]}, these credentials are for {live.account}: do it there"
    if principal_of(live.caller) == principal:
        return f"{arn} is the IAM user that this command runs as: sign in as another one"
    if user_described(live, _user(planned)) is None:
        return f"account {live.account} has no IAM user {_user(planned)}"
    return ""


def _name(planned: PlannedAction) -> str:
    return f"kit-revoke-{planned.id.rpartition('-')[2][:10]}"


def _denial(live: Connection, planned: PlannedAction) -> list[Change]:
    until = f"{datetime.now(UTC) + _SPREADS:%Y-%m-%dT%H:%M:%SZ}"
    statement = older_than(until)
    says = f"nothing is allowed to sessions that its keys asked for before {until}; calls with a key itself are not hit"
    return [DenyUserSessions(_user(planned), _name(planned), statement, says)]


def _is_denied(live: Connection, planned: PlannedAction) -> Check:
    user, name = _user(planned), _name(planned)
    state = DenyUserSessions(user, name, {}, "").look(live)
    if state is None:
        return Check(HOLDS, f"IAM user {user} is gone")
    found: list[dict[str, Any]] = held(state)
    times = [str(one.get("Condition", {}).get("DateLessThan", {}).get("aws:TokenIssueTime") or "") for one in found]
    if not found or not all(times) or not all(is_deny_all(one) for one in found):
        return Check(DOES_NOT_HOLD, f"IAM user {user} has no policy {name} that denies its sessions")
    return Check(
        HOLDS,
        f"sessions issued before {max(times)} may do nothing any more; roles that the user took on need a deny of their own",
    )


act("deny_user_sessions", changes=_denial, refuses=_refused, check=_is_denied)
