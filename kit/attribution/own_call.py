"""The audit events that are a finding's own call, and whose call that was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from kit.attribution.calls import (
    CREDENTIALS,
    Caller,
    Event,
    address_of,
    credentials_of,
    events_where,
    not_none,
)
from kit.inventory.addresses import Addresses
from kit.inventory.inventory import Inventory
from kit.model.finding import Finding
from kit.model.identity import ANONYMOUS
from kit.store.queries import one_of
from kit.store.store import Store

_SECOND = timedelta(seconds=1)  # a finding's times are those of its events, in whole seconds
_ROUND = timedelta(minutes=6)  # controllers list everything anew every five minutes or so, besides what they watch
_HABIT = timedelta(minutes=5)  # what was done longer than this before a finding is a habit
_CROWD = 2  # others behind one address with one client
LONG_LIVED = "AKIA"  # the access key of an IAM user; IAM User Guide, "Understanding unique ID prefixes"
MANY_CALLS = 20  # by so many an identity is known somewhere
AROUND = timedelta(minutes=5)  # what belongs to one piece of work lies no further apart


class OwnCalls:
    """The own calls of a case's findings, looked for once each."""

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        cluster_addresses: Addresses,
        findings: Callable[[], list[Finding]],
    ) -> None:
        """findings: all of the case."""
        self.store = store
        self._findings = findings
        self.inventory = inventory
        self.cluster_addresses = cluster_addresses
        self._known = dict[str, list[Event]]()
        self._known_alike = dict[str, list[Event]]()

    def of(self, finding: Finding) -> list[Event]:
        """The audit events that can be the finding's call: identity, credential, request, address and user agent as far as it says them, in
        its time, with its object's name and status. None where the log has not got it: a call like it at another time, or with another
        credential, may be somebody else's."""
        if finding.id not in self._known:
            alike = self._alike(finding)
            self._known[finding.id] = _in_time(finding, alike) or [
                one for one in alike if self._clocks_differ_by and self._is_off(finding, one, self._clocks_differ_by)
            ]
        return self._known[finding.id]

    @cached_property
    def _clocks_differ_by(self) -> timedelta | None:
        """By how much the log's clock differs from the findings': told by several findings of different requests, all of whose calls are as
        late or early, and none in time. None where nothing shows that."""
        offsets = dict[Hashable, set[timedelta]]()
        for finding in self._findings():
            alike, first = self._alike(finding), finding.first_seen_at
            if finding.sample or not alike or not first:
                continue
            if _in_time(finding, alike):
                return None
            asked = finding.api_call.get("Verb"), finding.api_call.get("RequestUri")
            offsets.setdefault(asked, set()).update(event["received_at"] - first for event in alike)
        shared = Counter[timedelta]()
        for offset in {one for of_one in offsets.values() for one in of_one}:
            shared[offset] = sum(any(abs(offset - one) <= _SECOND for one in of_one) for of_one in offsets.values())
        differ, findings = max(shared.items(), key=lambda one: (one[1], -abs(one[0]), one[0]), default=(None, 0))
        return differ if findings > 1 else None

    @staticmethod
    def _is_off(finding: Finding, event: Event, by: timedelta) -> bool:
        """Whether an event was so much later than its finding says."""
        first, last = finding.first_seen_at, finding.last_seen_at or finding.first_seen_at
        return bool(first and last and first + by - _SECOND <= event["received_at"] <= last + by + _SECOND)

    def _alike(self, finding: Finding) -> list[Event]:
        """The audit events that are like the finding's call, at any time."""
        if finding.id not in self._known_alike:
            self._known_alike[finding.id] = self._looked_for(finding)
        return self._known_alike[finding.id]

    def _looked_for(self, finding: Finding) -> list[Event]:
        call, user = finding.api_call, finding.user.get("Username")
        if not call or not user:
            return []
        address = address_of(call)
        values = {
            "user": str(user),
            "verb": _text(call.get("Verb")),
            "address": address[0] if address else None,
            "agent": _text(call.get("UserAgent")),
        }
        same = (
            "user_name = $user AND ($verb::VARCHAR IS NULL OR verb = $verb::VARCHAR) AND ($address::VARCHAR IS NULL OR source_address = $address::VARCHAR)"
            " AND ($agent::VARCHAR IS NULL OR user_agent = $agent::VARCHAR)"
        )
        asked = {
            "user_name": values["user"],
            "verb": values["verb"],
            "source_address": values["address"],
            "user_agent": values["agent"],
        }
        found = [
            event
            for event in self._of_requests.get(_text(call.get("RequestUri")) or "", [])
            if all(value in (None, event[name]) for name, value in asked.items())  # type: ignore[literal-required]
        ]
        if not found and call.get("Resource"):
            found = events_where(
                self.store,
                f"{same} AND resource = $resource AND coalesce(subresource, '') = $subresource AND coalesce(namespace, '') = $namespace",
                "user_name = $user AND ($address::VARCHAR IS NULL OR source_address = $address::VARCHAR)",
                **values,
                resource=str(call["Resource"]),
                subresource=str(call.get("Subresource") or ""),
                namespace=str(call.get("Namespace") or ""),
            )
        name = call.get("ResourceName") or finding.role_binding.get("Name")
        if name:
            found = [event for event in found if event["name"] in (name, None)]
        if call.get("StatusCode"):
            found = [event for event in found if event["response_code"] in (call["StatusCode"], None)]
        key, sessions = finding.access_key.get("AccessKeyId"), _sessions_of(finding)
        # A call that the log says was made with another credential is somebody else's, however alike: the finding's own is not there.
        if key:
            found = [one for one in found if one["access_key_id"] in (key, None)]
        if sessions:
            found = [one for one in found if _session_of(one) in (*sessions, None)]
        return found

    @cached_property
    def _of_requests(self) -> dict[str, list[Event]]:
        """The events of the requests that the findings name, by request: asked for one by one they would cost a pass over the log each."""
        named = [one for one in self._findings() if one.api_call.get("RequestUri") and one.user.get("Username")]
        found, addresses = dict[str, list[Event]](), [address_of(one.api_call) for one in named]
        callers = f"{one_of('user_name', 'users')} AND ($anywhere OR {one_of('source_address', 'addresses')})"
        for event in events_where(
            self.store,
            f"{callers} AND {one_of('request_uri', 'uris')}",
            callers,
            users=sorted({str(one.user["Username"]) for one in named}),
            uris=sorted({str(one.api_call["RequestUri"]) for one in named}),
            anywhere=not all(addresses),
            addresses=sorted({one[0] for one in addresses if one}),
        ):
            found.setdefault(str(event["request_uri"]), []).append(event)
        return found

    def from_inside(self, finding: Finding) -> list[Event]:
        """The finding's own calls that came from one of the cluster's own addresses."""
        return [event for event in self.of(finding) if event["source_address"] in self.cluster_addresses.own]

    def exactly(self, finding: Finding) -> list[Event]:
        """The finding's own calls in the seconds that it names, where they are no more than it counts; otherwise nobody can tell which
        of them it is about."""
        own = self.of(finding)
        return own if finding.first_seen_at and len(own) <= (finding.count or 1) else []

    def callers(self, finding: Finding) -> list[tuple[str, str, str | None]]:
        """Identity, connection address and user agent of a hostile finding's call. What the finding does not say comes from the
        log, where that leaves one alone; otherwise whose call it was cannot be told."""
        call, user = finding.api_call, finding.user.get("Username")
        if finding.is_policy or finding.sample or not call or not user or self.is_foreign(finding):
            return []
        address, agent = address_of(call), call.get("UserAgent")
        if address and agent:
            return [(str(user), address[0], str(agent))]
        found = {
            (str(event["user_name"]), event["source_address"], event["user_agent"])
            for event in self.of(finding)
            if event["source_address"]
        }
        return list(found) if len(found) == 1 else []

    def credentials(self, finding: Finding) -> frozenset[str] | None:
        """What tells the credential of a finding's call from others of its identity: the access key that the finding names, where the log
        has it; else what the log says of the finding's own call, nothing where it names none; the key or session that the finding names where the log has not
        got that call; None where it names none then, or several credentials made it in the finding's time, so that nobody can tell whose it was."""
        key = str(finding.access_key.get("AccessKeyId") or "")
        user = finding.user.get("Username")
        if key and self.store.rows_again(
            f"SELECT 1 FROM {self.store.callers} WHERE user_name = $user AND access_key_id = $key LIMIT 1",
            user=user,
            key=key,
        ):
            return frozenset((key,))
        own = self.of(finding)
        if not own:
            # The log has not got that call, so no credential in it will do for the one that the finding names.
            named = key or "".join(_sessions_of(finding)[:1])
            return frozenset((named,)) if named else frozenset() if user == ANONYMOUS else None
        return _of_one(own)  # its count tells nothing: other calls are counted with it

    def is_foreign(self, finding: Finding) -> bool:
        """Whether a finding is about another cluster than the one that the evidence is from."""
        return bool(finding.cluster and self.inventory.cluster and finding.cluster != self.inventory.cluster)

    def is_habit(self, finding: Finding, user: str, address: str, agent: str | None) -> bool:
        """Whether a caller inside of the cluster uses a client that its identity uses anyway: from another address or with another
        credential, or there already before the finding's time; also where too little log stood before to tell."""
        if address not in self.cluster_addresses.own:
            return False
        own = self.from_inside(finding)
        first = min((event["received_at"] for event in own), default=finding.first_seen_at)
        credentials = sorted(not_none(event["credential_id"] for event in own))
        return self.is_habit_unknown(user, first) or bool(
            self.store.rows_again(
                f"SELECT 1 FROM {self.store.callers} WHERE user_name = $user AND user_agent IS NOT DISTINCT FROM $agent::VARCHAR"
                " AND (source_address <> $address OR first_at < $before::TIMESTAMPTZ OR $named AND NOT list_contains($credentials, credential_id)) LIMIT 1",
                user=user,
                agent=agent,
                address=address,
                before=first - _HABIT if first else None,
                named=bool(credentials),
                credentials=credentials,
            )
        )

    def is_at_home(self, finding: Finding, caller: Caller, credentials: frozenset[str]) -> bool:
        """Whether the owner of a credential may be where a finding's call came from, at the attacker's machine or behind one load balancer:
        the identity used it there before, twenty times over more than half of the log before; or at all, where it is a long-lived one or none, and
        two others at least came from there with that client, so that address and client tell nobody apart."""
        user, address, agent = caller
        first = min((event["received_at"] for event in self.of(finding)), default=finding.first_seen_at)
        if address in self.cluster_addresses.own or first is None:
            return False
        used = seen_before(self.store, str(user), str(address), first)
        known = [one for one in used if not (credentials and one[0]) or one[0] & credentials]
        if not known:
            return False
        (row,) = self.store.rows_again(
            "SELECT min(first_at) AS began, count(DISTINCT user_name) FILTER (first_at < $first AND user_name <> $user"
            " AND source_address = $address AND user_agent IS NOT DISTINCT FROM $agent::VARCHAR) AS others"
            f" FROM {self.store.callers}",
            first=first,
            user=user,
            address=address,
            agent=agent,
        )
        if row["others"] >= _CROWD and all(one.startswith(LONG_LIVED) for one in credentials):
            return True
        often = sum(calls for _, calls, _ in known) >= MANY_CALLS
        return often and bool((first - min(began for *_, began in known)) * 2 > first - row["began"])

    def is_habit_unknown(self, user: str, first: datetime | None) -> bool:
        """Whether the log before a moment is too short to know an identity's habits: the identity made fewer than 20 calls in it, and
        it has less than six minutes, in which the controllers of a cluster have done everything that they do."""
        (row,) = self.store.rows_again(f"SELECT min(first_at) AS began FROM {self.store.callers}")
        if first is None or row["began"] is None:
            return True
        return first - row["began"] < _ROUND and self._calls_before(user, first) < MANY_CALLS

    def _calls_before(self, user: str, first: datetime) -> int:
        (row,) = self.store.rows_again(
            "SELECT count(*) AS calls FROM audit WHERE user_name = $user AND received_at < $first::TIMESTAMPTZ",
            user=user,
            first=first,
        )
        return int(row["calls"])


def seen_before(store: Store, user: str, address: str, before: datetime) -> list[tuple[frozenset[str], int, datetime]]:
    """The credentials that an identity used from an address before a moment, with the number of calls and the first."""
    there = "user_name = $user AND source_address = $address"
    asked = {"user": user, "address": address, "before": before}
    rows = store.rows_again(
        f"SELECT {CREDENTIALS}, count(*) AS calls, min(received_at) AS began FROM {store.events_of(there, asked)}"
        f" WHERE {there} AND received_at < $before GROUP BY {CREDENTIALS}",
        **asked,
    )
    return [(credentials_of(row), row["calls"], row["began"]) for row in rows]


def _of_one(events: list[Event]) -> frozenset[str] | None:
    """The credential of some calls when it is one, renewed perhaps; empty when none is named, None when there are several, or the log names
    it of some alone."""
    found, named = frozenset[str](), [credentials_of(event) for event in events]
    for credentials in named if any(named) else ():
        if not credentials or (found and not credentials & found):
            return None
        found |= credentials
    return found


def _in_time(finding: Finding, events: list[Event]) -> list[Event]:
    """Those of some events that happened when the finding says, or a second beside it where none did; all where it says no time."""
    first, last = finding.first_seen_at, finding.last_seen_at or finding.first_seen_at
    if not first or not last:
        return events
    for beside in (_SECOND, 2 * _SECOND):
        start, end = first - beside, last + beside
        then = [one for one in events if any(start <= at <= end for at in (one["received_at"], one["stage_at"]) if at)]
        if then:
            return then
    return []


def _sessions_of(finding: Finding) -> list[str]:
    """The names of the role sessions that a finding's caller had."""
    named = finding.user.get("SessionName")
    return [str(one) for one in named if one] if isinstance(named, list) else []


def _session_of(event: Event) -> str | None:
    """The name of the role session that made a call; None where the log names none."""
    return str(event["arn"]).rpartition("/")[2] if ":assumed-role/" in (event["arn"] or "") else None


def _text(value: Any) -> str | None:
    return str(value) if value else None
