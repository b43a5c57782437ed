"""What a controller applied from a source (Git, a chart), as it always does: then the source was changed, and the controller's own credential need not be stolen.

Sources: Argo CD "Resource Tracking"; Flux "Kustomization" and "HelmRelease" (labels of what they apply); Helm (annotations of its
release); Fleet (annotations of its object sets); Kubernetes "Server-Side Apply" (field managers, times in managedFields).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kit.attribution.calls import Event, bodies_of, caller_of, credentials_of, events_where, let_through, place_of
from kit.attribution.own_call import AROUND, OwnCalls
from kit.inventory.inventory import Inventory
from kit.lenient import dict_of, dicts_of, utc_time
from kit.model.finding import Finding
from kit.model.identity import SERVICE_ACCOUNT
from kit.store.store import Store

_TRACKED_BY = {
    "argocd.argoproj.io/tracking-id": "Argo CD application",
    "argocd.argoproj.io/instance": "Argo CD application",
    "kustomize.toolkit.fluxcd.io/name": "Flux Kustomization",
    "helm.toolkit.fluxcd.io/name": "Flux HelmRelease",
    "objectset.rio.cattle.io/owner-name": "Fleet bundle",
    "meta.helm.sh/release-name": "Helm release",
    "app.kubernetes.io/instance": "application",
}
"""Labels and annotations by which controllers know what they applied → what their value names."""
_MANAGERS = ("argocd", "kustomize-controller", "helm-controller", "fleetagent", "fleet", "flux")
_WRITES = ("create", "patch", "update")
_PAUSE = timedelta(seconds=30)  # between two writes of one run
_CLOCKS = timedelta(seconds=2)  # times in managedFields are whole seconds


@dataclass(frozen=True)
class AppliedChange:
    """The writes of a controller that are one change of its source. source: what it is called, in words."""

    source: str
    events: tuple[Event, ...]


class Applied:
    """Finds the change that a finding's own call is part of, where that call is a controller's habit."""

    def __init__(self, store: Store, inventory: Inventory, own_calls: OwnCalls) -> None:
        self.store = store
        self.inventory = inventory
        self.own_calls = own_calls

    def of(self, findings: Iterable[Finding]) -> dict[str, AppliedChange]:
        """Finding → the change; none where the call is no write, or nothing shows that this caller applies from a source."""
        own = {one.id: writes for one in findings if (writes := self._own_writes(one))}
        bodies = bodies_of(self.store, [writes[0] for writes in own.values()])
        found = {name: self._change(writes, *bodies[place_of(writes[0])]) for name, writes in own.items()}
        return {name: change for name, change in found.items() if change}

    def _change(self, own: list[Event], asked: dict[str, Any], answered: dict[str, Any]) -> AppliedChange | None:
        first, manager = own[0], _manager_of(own[0])
        by = _tracked_by(asked) or _tracked_by(answered)
        known = manager.startswith(_MANAGERS) or bool(by and by[0] != "application")
        if not (manager and (by or known)) or not (known or self._is_habit(first, manager)):
            return None
        if not known and first["source_address"] not in self.own_calls.cluster_addresses.own:
            return None
        if self._is_new_place(first):
            return None
        run = [*self._run(first, manager, by, 1), *self._run(first, manager, by, -1)]
        events = {place_of(event): event for event in (*own, *run)}
        return AppliedChange(self._named(by, manager), tuple(events.values()))

    def _own_writes(self, finding: Finding) -> list[Event]:
        """The finding's own calls that wrote something, where they are of one service account's client."""
        own = [event for event in self.own_calls.of(finding) if event["verb"] in _WRITES and let_through(event)]
        callers = {caller_of(event) for event in own}
        is_one = len(callers) == 1 and str(own[0]["user_name"]).startswith(SERVICE_ACCOUNT)
        return own if is_one and not finding.is_policy else []

    def _is_habit(self, event: Event, manager: str) -> bool:
        """Whether the caller wrote with this field manager before, from the same address with the same client."""
        return any(
            _manager_of(one) == manager
            for one in self._writes(event, None, event["received_at"])
            if one["received_at"] < event["received_at"]
        )

    def _is_new_place(self, event: Event) -> bool:
        """Whether the identity is at home elsewhere, by most of its calls before: then its token was taken away, and the habit imitated."""
        if event["source_address"] in self.own_calls.cluster_addresses.own:
            return False
        (row,) = self.store.rows(
            "SELECT count(*) AS calls, count(*) FILTER (source_address = $address) AS here FROM audit"
            " WHERE user_name = $user AND received_at < $at",
            user=event["user_name"],
            address=event["source_address"],
            at=event["received_at"],
        )
        return int(row["here"]) * 2 <= int(row["calls"])

    def _writes(self, event: Event, start: datetime | None, end: datetime) -> list[Event]:
        """What the caller of an event wrote with the same client and credential in a stretch of time."""
        found = events_where(
            self.store,
            "user_name = $user AND source_address IS NOT DISTINCT FROM $address AND user_agent IS NOT DISTINCT FROM $agent"
            " AND verb IN ('create', 'patch', 'update', 'delete') AND subresource IS NULL AND NOT dry_run"
            " AND ($start IS NULL OR received_at >= $start) AND received_at <= $end",
            "user_name = $user AND source_address IS NOT DISTINCT FROM $address",
            user=event["user_name"], address=event["source_address"], agent=event["user_agent"], start=start, end=end,
        )  # fmt: skip
        credentials = credentials_of(event)
        return [one for one in found if let_through(one) and (not credentials or credentials_of(one) & credentials)]

    def _run(self, own: Event, manager: str, by: tuple[str, str] | None, step: int) -> Iterator[Event]:
        """The writes after (or before) a call that changed something of the same source, until the controller pauses."""
        at = own["received_at"]
        near = [
            one
            for one in self._writes(own, at - AROUND, at + AROUND)
            if (one["received_at"] - at) * step >= timedelta()
        ]
        run = list[Event]()
        for event in sorted(near, key=lambda one: one["received_at"], reverse=step < 0):
            if abs(event["received_at"] - at) > _PAUSE:
                break
            at = event["received_at"]
            run.append(event)
        bodies = bodies_of(self.store, run)
        for event in run:
            asked, answered = bodies[place_of(event)]
            other = _tracked_by(asked) or _tracked_by(answered)
            is_same = other == by if other or asked or answered else _manager_of(event) == manager
            if is_same and _changed(event, answered):
                yield event

    def _named(self, by: tuple[str, str] | None, manager: str) -> str:
        """A source in words, with the repository where the dump has it."""
        if by is None:
            return f"what {manager} applies from"
        for thing in self.inventory.of("applications", "kustomizations", "helmreleases"):
            if thing.name == by[1]:
                sources = [dict_of(thing.spec.get("source")), *dicts_of(thing.spec.get("sources"))]
                urls = [str(one.get("repoURL")) for one in sources if one.get("repoURL")]
                reference = dict_of(thing.spec.get("sourceRef"))
                urls += [f"{reference.get('kind')} {reference.get('name')}"] if reference else []
                return f"{by[0]} {by[1]}" + (f" ({', '.join(urls)})" if urls else "")
        return f"{by[0]} {by[1]}"


def _manager_of(event: Event) -> str:
    return parse_qs(urlsplit(event["request_uri"] or "").query).get("fieldManager", [""])[0]


def _tracked_by(body: dict[str, Any]) -> tuple[str, str] | None:
    """What an object says that it was applied from: kind of source and name."""
    about = dict_of(body.get("metadata"))
    named = dict_of(about.get("labels")) | dict_of(about.get("annotations"))
    for key, what in _TRACKED_BY.items():
        if named.get(key):
            return what, str(named[key]).partition(":")[0]
    return None


def _changed(event: Event, answered: dict[str, Any]) -> bool:
    """Whether a write changed its object: created or deleted it, or its managed fields have the time of the write."""
    if event["verb"] in ("create", "delete") or event["response_code"] == 201:
        return True
    times = [
        utc_time(str(one.get("time")))
        for one in dicts_of(dict_of(answered.get("metadata")).get("managedFields"))
        if one.get("time")
    ]
    return any(at and abs(at - event["received_at"]) <= _CLOCKS for at in times)
