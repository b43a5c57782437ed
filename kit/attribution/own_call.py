"""The audit events that are a finding's own call, and whose call that was."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from kit.attribution.calls import CREDENTIALS, OF_CREDENTIALS, Event, address_of, credentials_of, events_where, not_none
from kit.inventory.addresses import Addresses
from kit.inventory.inventory import Inventory
from kit.model.finding import Finding
from kit.store.store import Store

_SECOND = timedelta(seconds=1)  # a finding's times are those of its events, in whole seconds
_ROUND = timedelta(minutes=6)  # controllers list everything anew every five minutes or so, besides what they watch
_HABIT = timedelta(minutes=5)  # what was done longer than this before a finding is a habit
MANY_CALLS = 20  # by so many an identity is known somewhere
AROUND = timedelta(minutes=5)  # a finding's times and the log's may differ by as much


class OwnCalls:
    """The own calls of a case's findings, looked for once each."""

    def __init__(self, store: Store, inventory: Inventory, cluster_addresses: Addresses) -> None:
        self.store = store
        self.inventory = inventory
        self.cluster_addresses = cluster_addresses
        self._known = dict[str, list[Event]]()

    def of(self, finding: Finding) -> list[Event]:
        """The audit events that can be the finding's call: identity, request, address and user agent as far as it says them; of
        several of one request those with its object's name, its status and its time, where there are such."""
        if finding.id not in self._known:
            self._known[finding.id] = self._looked_for(finding)
        return self._known[finding.id]

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
        found = events_where(self.store, f"{same} AND request_uri = $uri", **values, uri=_text(call.get("RequestUri")))
        if not found and call.get("Resource"):
            found = events_where(
                self.store,
                f"{same} AND resource = $resource AND coalesce(subresource, '') = $subresource AND coalesce(namespace, '') = $namespace",
                **values,
                resource=str(call["Resource"]),
                subresource=str(call.get("Subresource") or ""),
                namespace=str(call.get("Namespace") or ""),
            )
        name = call.get("ResourceName") or finding.role_binding.get("Name")
        if name:
            found = [event for event in found if event["name"] == name] or found
        if call.get("StatusCode"):
            found = [event for event in found if event["response_code"] == call["StatusCode"]] or found
        key = finding.access_key.get("AccessKeyId")
        if key:
            found = [event for event in found if event["access_key_id"] == key] or found
        sessions = finding.user.get("SessionName")
        if isinstance(sessions, list) and sessions:
            signed_in = [event for event in found if str(event["arn"]).rpartition("/")[2] in map(str, sessions)]
            found = signed_in or found
        first, last = finding.first_seen_at, finding.last_seen_at or finding.first_seen_at
        if first and last:
            start, end = first - AROUND, last + AROUND
            found = [event for event in found if start <= event["received_at"] <= end] or found
        return found

    def from_inside(self, finding: Finding) -> list[Event]:
        """The finding's own calls that came from one of the cluster's own addresses."""
        return [event for event in self.of(finding) if event["source_address"] in self.cluster_addresses.own]

    def exactly(self, finding: Finding) -> list[Event]:
        """The finding's own calls in the seconds that it names, where they are no more than it counts; otherwise nobody can tell which
        of them it is about."""
        first, last = finding.first_seen_at, finding.last_seen_at or finding.first_seen_at
        if not first or not last:
            return []
        then = [event for event in self.of(finding) if first - _SECOND <= event["received_at"] <= last + _SECOND]
        return then if len(then) <= (finding.count or 1) else []

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
        has it; else what the log says of the finding's own call, nothing where it names none; None where several credentials made that
        call in the finding's time, so that nobody can tell whose it was."""
        key = str(finding.access_key.get("AccessKeyId") or "")
        user = finding.user.get("Username")
        if key and self.store.rows(
            "SELECT 1 FROM audit WHERE user_name = $user AND access_key_id = $key LIMIT 1", user=user, key=key
        ):
            return frozenset((key,))
        own = self.of(finding)
        one = _of_one(own)
        if one is None and finding.first_seen_at:
            start, end = finding.first_seen_at - _SECOND, (finding.last_seen_at or finding.first_seen_at) + _SECOND
            then = [event for event in own if start <= event["received_at"] <= end]
            one = _of_one(then)
            if one is None and len({event["audit_id"] for event in then}) <= (finding.count or 1):
                return frozenset().union(*map(credentials_of, then))  # the finding is about all of them
        return one

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
            self.store.rows(
                "SELECT 1 FROM audit WHERE user_name = $user AND user_agent IS NOT DISTINCT FROM $agent::VARCHAR AND (source_address <> $address"
                " OR received_at < $before::TIMESTAMPTZ OR $named AND NOT list_contains($credentials, credential_id)) LIMIT 1",
                user=user,
                agent=agent,
                address=address,
                before=first - _HABIT if first else None,
                named=bool(credentials),
                credentials=credentials,
            )
        )

    def is_at_home(self, finding: Finding, user: str, address: str, credentials: frozenset[str]) -> bool:
        """Whether an identity used a credential from an address outside so much before the finding that its owner is there too, at the
        attacker's machine or behind one load balancer: twenty calls, over more than half of the log before."""
        first = min((event["received_at"] for event in self.of(finding)), default=finding.first_seen_at)
        if address in self.cluster_addresses.own or first is None:
            return False
        used = seen_before(self.store, user, address, first)
        known = [one for one in used if not (credentials and one[0]) or one[0] & credentials]
        if sum(calls for _, calls, _ in known) < MANY_CALLS:
            return False
        (row,) = self.store.rows("SELECT min(received_at) AS began FROM audit")
        return bool((first - min(began for *_, began in known)) * 2 > first - row["began"])

    def is_habit_unknown(self, user: str, first: datetime | None) -> bool:
        """Whether the log before a moment is too short to know an identity's habits: the identity made fewer than 20 calls in it, and
        it has less than six minutes, in which the controllers of a cluster have done everything that they do."""
        (row,) = self.store.rows(
            "SELECT (SELECT min(received_at) FROM audit) AS began,"
            " (SELECT count(*) FROM audit WHERE user_name = $user AND received_at < $first::TIMESTAMPTZ) AS calls",
            user=user,
            first=first,
        )
        is_short = first is None or row["began"] is None or first - row["began"] < _ROUND
        return is_short and int(row["calls"]) < MANY_CALLS


def seen_before(store: Store, user: str, address: str, before: datetime) -> list[tuple[frozenset[str], int, datetime]]:
    """The credentials that an identity used from an address before a moment, with the number of calls and the first."""
    rows = store.rows(
        f"SELECT {CREDENTIALS}, count(*) AS calls, min(received_at) AS began FROM audit"
        f" WHERE user_name = $user AND source_address = $address AND received_at < $before GROUP BY {OF_CREDENTIALS}",
        user=user,
        address=address,
        before=before,
    )
    return [(credentials_of(row), row["calls"], row["began"]) for row in rows]


def _of_one(events: list[Event]) -> frozenset[str] | None:
    """The credential of some calls when it is one, renewed perhaps; empty when none is named, None when there are several."""
    found = frozenset[str]()
    for credentials in filter(None, map(credentials_of, events)):
        if found and not credentials & found:
            return None
        found |= credentials
    return found


def _text(value: Any) -> str | None:
    return str(value) if value else None
