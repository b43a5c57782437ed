"""Who else the logs show on an identity that an action takes away: which of them it stops, and whether another attacker may be among them.

Sources: EKS User Guide "Access entries" (a role is one principal, whoever assumed it); IAM User Guide "aws:TokenIssueTime"; Kubernetes "Managing
Service Accounts" (a token that is bound to a pod lives as long as the pod).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from kit.actions.action import Action
from kit.actions.effect import Effect
from kit.actions.target import (
    AccountOfTokens,
    AccountParameters,
    EditedBinding,
    MappingParameters,
    PrincipalParameters,
    RoleSessions,
    SignedInPrincipal,
    Target,
    TrustedRole,
)
from kit.model.arn import instance_of, principal_of
from kit.scope.scope import Scope
from kit.words import counted, few, utc

_MOST = 4  # callers and names that are written out
_BY = "user_name, arn, session_name, claimed_pod_name, claimed_pod_uid, credential_id, access_key_id, source_address"
_BECOMES = {
    Effect.SHUTS_OUT: "this stops it in the cluster",
    Effect.STOPS_KEY: "this stops it",
    Effect.DENIES_SESSIONS: "this stops it where it works with a session, not with a key",
    Effect.UNBINDS: "it loses what this binding gives",
    Effect.CLOSES_TRUST: "it gets no new session",
    Effect.ENDS_POD_IDENTITY: "it gets no new session",
}
"""What becomes of another caller by what an action changes, where that is the same for all."""


@dataclass
class OtherCaller:
    """Somebody else on an identity: a session, a pod, a node, or whoever called without a name from an address. is_pod: of the cluster's own."""

    label: str
    is_pod: bool
    pod_uid: str | None
    instance: str
    calls: int = 0
    addresses: set[str] = field(default_factory=set)
    credentials: set[str] = field(default_factory=set)
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Calls of the same caller with another credential, or from another address."""
        self.calls += row["calls"]
        self.addresses |= {row["source_address"]} - {None}
        self.credentials |= {row["credential_id"] or row["access_key_id"]} - {None}
        self.first_at = min(self.first_at or row["first_at"], row["first_at"])
        self.last_at = max(self.last_at or row["last_at"], row["last_at"])


class Others:
    """Who else is on the identities of a case, by its logs: all calls that are not the attacker's."""

    def __init__(self, scope: Scope) -> None:
        self.store, self.attacker = scope.store, scope.attacker

    def of(self, action: Action, target: Target) -> Iterator[str]:
        """Sentences on those whom an action on a role, a group or an account hits beside the attacker; none for other targets."""
        changes = action.effects != (Effect.NONE,) or isinstance(target.parameters, MappingParameters)
        rows = self._rows(action, target) if changes else None
        if rows is None:
            return
        rows = list(rows)
        callers = self._callers(rows)
        new = [one for one in callers if self._is_new(one, rows)]
        in_aws = isinstance(target.parameters, RoleSessions | TrustedRole) and not self._has_trail
        if in_aws:
            yield "no CloudTrail is in the evidence: who else uses it in AWS cannot be told"
        if not callers:
            yield from () if in_aws else ("the logs show nobody else on it",)
            return
        is_new = "none of them is new from outside" if not new else f"{len(new)} new from outside"
        yield f"the logs show {counted(len(callers), 'other caller')} on it; since the first hostile call {is_new}"
        pods = [one for one in callers if one.is_pod and one not in new]
        apart = [*new, *(one for one in callers if one not in new and one not in pods)]
        for one in apart[:_MOST]:
            yield f"{one.label}: {self._used(one)}; {_becomes(action, target, one)}"
            if one in new:
                yield f"{one.label} was not on it before the first hostile call: if it is not yours, it is another attacker"
        if len(apart) > _MOST:
            rest = apart[_MOST:]
            yield f"{few([one.label for one in rest], _MOST)}: {sum(one.calls for one in rest):,} calls more, the last {_last(rest)}"
        for becomes in dict.fromkeys(_becomes(action, target, one) for one in pods):
            same = [one for one in pods if _becomes(action, target, one) == becomes]
            yield f"{few([one.label for one in same], _MOST)}: {sum(one.calls for one in same):,} calls in the cluster, the last {_last(same)}; {becomes}"

    def _rows(self, action: Action, target: Target) -> Iterable[dict[str, Any]] | None:
        """The calls on what an action takes away that are not the attacker's; None where it takes nothing away that several can use."""
        known = target.parameters
        match known:
            case PrincipalParameters(access_key_ids=keys) if Effect.STOPS_KEY in action.effects:
                return [*self._audit("list_contains($keys, access_key_id)", keys=keys), *self._trail(keys=keys)]
            case PrincipalParameters(user_name=user_name, arn=arn):
                in_aws = isinstance(known, SignedInPrincipal) or Effect.DENIES_SESSIONS in action.effects
                found = self._audit(
                    "user_name = $user OR list_contains($arns, arn)", user=user_name, arns=self._arns("audit", arn)
                )
                return [
                    *found,
                    *(self._trail(arns=self._arns("trail", arn)) if in_aws else []),
                ]
            case RoleSessions(role=role) | TrustedRole(role=role) if role:
                return [
                    *self._audit("list_contains($arns, arn)", arns=self._arns("audit", role)),
                    *self._trail(arns=self._arns("trail", role)),
                ]
            case MappingParameters(arn=arn):
                return self._audit("list_contains($arns, arn)", arns=self._arns("audit", arn))
            case AccountParameters(namespace=namespace, name=name):
                return self._audit("user_name = $user", user=f"system:serviceaccount:{namespace}:{name}")
            case EditedBinding(remove=removed):
                return [row for one in removed for row in self._of_subject(one, target.namespace)]
        return None

    def _of_subject(self, subject: dict[str, Any], namespace: str | None) -> list[dict[str, Any]]:
        name = str(subject.get("name"))
        if subject.get("kind") == "Group":
            return self._audit("list_contains(user_groups, $group)", group=name)
        if subject.get("kind") == "ServiceAccount":
            name = f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
        return self._audit("user_name = $user", user=name)

    def _audit(self, where: str, **values: Any) -> list[dict[str, Any]]:
        return self.store.rows(
            f"SELECT {_BY}, count(*) AS calls, min(received_at) AS first_at, max(received_at) AS last_at FROM audit"
            f" WHERE ({where}) AND NOT list_contains($hostile, file || ':' || item) GROUP BY {_BY} ORDER BY first_at, {_BY}",
            **values,
            hostile=self._hostile,
        )

    def _trail(self, arns: list[str] | None = None, keys: list[str] | None = None) -> list[dict[str, Any]]:
        rows = self.store.rows(
            "SELECT arn, access_key_id, source_address, count(*) AS calls, min(event_at) AS first_at, max(event_at) AS last_at FROM trail"
            " WHERE (list_contains($arns, arn) OR list_contains($keys, access_key_id)) AND NOT list_contains($hostile, event_id)"
            " GROUP BY arn, access_key_id, source_address ORDER BY first_at, arn, access_key_id, source_address",
            arns=arns or [],
            keys=keys or [],
            hostile=sorted(self.attacker.trail),
        )
        absent = dict.fromkeys(("user_name", "claimed_pod_name", "claimed_pod_uid", "credential_id"))
        return [row | absent | {"session_name": str(row["arn"]).rpartition("/")[2]} for row in rows]

    def _arns(self, log: str, role: str | None) -> list[str]:
        """How a log names the sessions of a role, or a user."""
        meant = principal_of(role)
        return [arn for arn in self._named[log] if meant and principal_of(arn) == meant]

    @cached_property
    def _named(self) -> dict[str, list[str]]:
        return {
            log: [
                row["arn"]
                for row in self.store.rows(f"SELECT DISTINCT arn FROM {log} WHERE arn IS NOT NULL ORDER BY arn")
            ]
            for log in ("audit", "trail")
        }

    @cached_property
    def _has_trail(self) -> bool:
        (row,) = self.store.rows("SELECT min(event_at) AS began FROM trail")
        return row["began"] is not None

    @cached_property
    def _hostile(self) -> list[str]:
        return [f"{file}:{item}" for file, _, item in self.attacker.calls]

    def _callers(self, rows: list[dict[str, Any]]) -> list[OtherCaller]:
        found = dict[str, OtherCaller]()
        for row in rows:
            pod, instance = row["claimed_pod_name"], instance_of(row["arn"])
            named = f"session {row['session_name']}" if row["session_name"] else row["user_name"]
            label = f"pod {pod}" if pod else f"node {instance}" if instance else str(named)
            inside = row["source_address"] in self.attacker.cluster_addresses.own
            is_pod = bool(inside and (pod or instance))
            key = f"{label} {is_pod}"
            found.setdefault(key, OtherCaller(label, is_pod, row["claimed_pod_uid"], instance)).add(row)
        return sorted(found.values(), key=lambda one: (-one.calls, one.label, one.is_pod))

    def _used(self, caller: OtherCaller) -> str:
        places = few(sorted(caller.addresses), 2) or "no address in the log"
        keys = few(sorted(caller.credentials), 1) or "a credential that the log does not name"
        both = ", which the attacker used too" if caller.credentials & self._hostile_credentials else ""
        return f"{counted(caller.calls, 'call')} from {places} with {keys}{both}, the last {_last([caller])}"

    @cached_property
    def _hostile_credentials(self) -> set[str]:
        events = [call.event for call in self.attacker.calls.values() if not call.source]
        return {str(one["credential_id"] or one["access_key_id"]) for one in events} - {"None"}

    def _is_new(self, caller: OtherCaller, rows: list[dict[str, Any]]) -> bool:
        """Whether a caller came from outside, first after the attacker's first call, and from where nobody was on the identity before."""
        first, own = self.attacker.first_call_at, self.attacker.cluster_addresses
        if first is None or caller.first_at is None or caller.first_at < first:
            return False
        before = {row["source_address"] for row in rows if row["first_at"] < first}
        outside = caller.addresses - own.own.keys() - own.control_plane - own.way_out.keys()
        return bool(outside) and not caller.addresses & before


def _becomes(action: Action, target: Target, caller: OtherCaller) -> str:
    """What an action does to another caller on its target."""
    match target.parameters:
        case RoleSessions(instances=instances) if instances:
            return "this stops it too" if caller.instance in instances else "it goes on"
        case RoleSessions(pods=pods) if pods:
            return "this stops it too" if caller.pod_uid in pods else "it goes on when its session names another pod"
        case RoleSessions():
            return "this stops its sessions in AWS that were issued before"
        case AccountOfTokens(recreate=True):
            return "this stops it until its pod restarts"
        case AccountOfTokens():
            return "it goes on" if caller.is_pod else "this stops it when its token is in a Secret"
        case SignedInPrincipal():
            return "it goes on unless its own sign-in is ended too"
        case MappingParameters():
            return "taking the mapping out stops it in the cluster"
    return next((_BECOMES[one] for one in action.effects if one in _BECOMES), "this stops it too")


def _last(callers: list[OtherCaller]) -> str:
    return utc(max(one.last_at for one in callers if one.last_at))
