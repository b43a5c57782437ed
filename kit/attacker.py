"""Which calls are the attacker's: in the audit log and in CloudTrail, each with the sentence that says why.

An audit event is the attacker's when one of these holds:
1. its identity, connection address and user agent are those of the call of a finding that is not `Policy:` (an administrator's
   mistake makes a policy finding, but no attacker);
2. its credential was minted by such an event (`issued-credential-id` of a TokenRequest), or its pod or its service account was
   made by one;
3. it comes from an address that such an event came from and that nobody else used.
Only the connection's own address counts; the elements of `sourceIPs` before it are the client's word: they may accuse, never clear.
The whole log decides, whatever window is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

from kit.finding import Finding, finding_of
from kit.identity import SERVICE_ACCOUNT
from kit.inventory import Inventory
from kit.store import Store

Event = dict[str, Any]
"""A row of the audit table: the columns in EVENT_COLUMNS."""

Place = tuple[str, int, int]
"""File, line and item of a record: what tells rows apart, since the client may choose the auditID."""

EVENT_COLUMNS = (
    "audit_id, received_at, stage_at, verb, request_uri, user_name, user_uid, arn, access_key_id, credential_id,"
    " claimed_pod_uid, source_address, user_agent, resource, coalesce(subresource, '') AS subresource, namespace, name, uid,"
    " response_code, dry_run, issued_credential_id, file, line, item"
)
AROUND = timedelta(minutes=5)  # a finding's times and the log's may differ by as much


def place_of(event: Event) -> Place:
    """Where an event stands in the evidence."""
    return event["file"], event["line"], event["item"]


def let_through(event: Event) -> bool:
    """Whether the server did what was asked: 2xx, or 101 for a connection that was upgraded (RFC 9110, 15.2.2)."""
    code = event["response_code"]
    return code is not None and (200 <= code < 300 or code == 101)


def creates(event: Event) -> bool:
    """Whether an event stored a new object: a create, or a server-side apply (patch) that was answered with 201."""
    is_new = event["verb"] == "create" or (event["verb"] in ("patch", "update") and event["response_code"] == 201)
    return is_new and not event["subresource"] and let_through(event) and not event["dry_run"]


def address_of(call: dict[str, Any]) -> tuple[str, str] | None:
    """The connection's address in a finding's KubernetesApiCallAction and the member that has it: the last of SourceIps, else
    RemoteIpDetails."""
    addresses, remote = call.get("SourceIps"), call.get("RemoteIpDetails")
    if isinstance(addresses, list) and addresses and addresses[-1]:
        return str(addresses[-1]), "sourceIPs"
    for name in ("IpAddressV4", "IpAddressV6"):
        if isinstance(remote, dict) and remote.get(name):
            return str(remote[name]), "remoteIpDetails"
    return None


class Attacker:
    """The attacker's calls of one case."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory
        self._own_calls = dict[str, list[Event]]()

    @cached_property
    def findings(self) -> list[Finding]:
        """All findings of the case; whose calls are hostile does not depend on which of them is looked at."""
        rows = self.store.rows("SELECT finding FROM findings ORDER BY first_seen_at NULLS LAST, id")
        return [finding_of(orjson.loads(row["finding"])) for row in rows]

    @cached_property
    def calls(self) -> dict[Place, tuple[Event, str]]:
        """The attacker's audit events by place, oldest first, each with the rule that made it his."""
        found = dict[Place, tuple[Event, str]]()

        def take(events: Iterable[Event], because: str) -> bool:
            fresh = [event for event in events if place_of(event) not in found]
            found.update({place_of(event): (event, because) for event in fresh})
            return bool(fresh)

        for finding in self.findings:
            for user, address, agent in self.callers(finding):
                says = f"same identity, address and user agent as the call of finding {finding.id}"
                same = "user_name = $a AND source_address = $b AND user_agent IS NOT DISTINCT FROM $c"
                take(self._events(same, a=user, b=address, c=agent), says)
        grown = bool(found)
        while grown:
            events = [event for event, _ in found.values()]
            minted = sorted({event["issued_credential_id"] for event in events} - {None})
            says = "its credential was minted by a call of the attacker"
            grown = bool(minted) and take(self._events("list_contains($a, credential_id)", a=minted), says)
            made = sorted(self._pods_made_by(events))
            says = "it was made with the token of a pod that the attacker created"
            grown |= bool(made) and take(self._events("list_contains($a, claimed_pod_uid)", a=made), says)
            for event in filter(_creates_account, events):
                says = f"the attacker created its service account {event['namespace']}/{event['name']}"
                grown |= take(self._of_account(event), says)
            for address in self._addresses_of(events):
                says = f"it comes from {address}, which nobody but the attacker used"
                grown |= take(self._events("source_address = $a", a=address), says)
        return dict(sorted(found.items(), key=lambda item: (item[1][0]["received_at"], item[0])))

    @cached_property
    def addresses(self) -> frozenset[str]:
        """The addresses that nobody but the attacker used."""
        return frozenset(self._addresses_of([event for event, _ in self.calls.values()]))

    @cached_property
    def trail(self) -> dict[str, tuple[Event, str]]:
        """The attacker's CloudTrail events by eventID, oldest first, each with the reason: from an address that is his alone; or
        from another address of his, with an access key that he used, issuing such a key, or signing in with the token of a
        service account of his; or with a key that such a sign-in issued, from anywhere."""
        events = [event for event, _ in self.calls.values()]
        his = {
            "keys": sorted({event["access_key_id"] for event in events} - {None}),
            "users": sorted({event["user_name"] for event in events} - {None}),
            "addresses": sorted({event["source_address"] for event in events} - {None}),
        }
        found, issued = dict[str, tuple[Event, str]](), list[str]()
        grown = bool(events)
        while grown:
            rows = self.store.rows(
                "SELECT event_id, event_at, event_name, user_name, source_address, access_key_id,"
                " json_extract_string(response_elements, '$.credentials.accessKeyId') AS issued FROM trail"
                " WHERE list_contains($addresses, source_address) OR list_contains($issued, access_key_id)"
                " ORDER BY event_at, event_id",
                addresses=his["addresses"],
                issued=issued,
            )
            for row in rows:
                because = self._of_attacker(row, his, issued)
                if because:
                    found.setdefault(row["event_id"], (row, because))
            more = sorted({row["issued"] for row, _ in found.values()} - {None})
            grown, issued = more != issued, more
        return found

    def _of_attacker(self, row: Event, his: dict[str, list[str]], issued: list[str]) -> str:
        address, key = row["source_address"], row["access_key_id"]
        if address in self.addresses:
            return f"it comes from {address}, which nobody but the attacker used"
        if address in his["addresses"]:
            if key in his["keys"]:
                return f"access key {key} and address {address} are the attacker's"
            if row["issued"] in his["keys"]:
                return f"it issued access key {row['issued']}, which the attacker used from the same address {address}"
            if row["event_name"] == "AssumeRoleWithWebIdentity" and row["user_name"] in his["users"]:
                return f"it signed in with a token of {row['user_name']} from {address}, where the attacker used that account"
        return f"access key {key} was issued to the attacker" if key in issued else ""

    def follow(self, user_name: str) -> list[Event]:
        """The hostile events of an identity, of what it minted and made, and from the addresses that are the attacker's alone."""
        hostile = {place: event for place, (event, _) in self.calls.items()}
        members = {place for place, event in hostile.items() if event["user_name"] == user_name}
        while True:
            present = [hostile[place] for place in members]
            minted = {event["issued_credential_id"] for event in present} - {None}
            made = self._pods_made_by(present)
            accounts = {_account_user(event) for event in filter(_creates_account, present)}
            addresses = {event["source_address"] for event in present} & self.addresses
            more = {
                place
                for place, event in hostile.items()
                if event["credential_id"] in minted
                or event["claimed_pod_uid"] in made
                or event["user_name"] in accounts
                or event["source_address"] in addresses
            }
            if more <= members:
                return [event for place, event in hostile.items() if place in members]
            members |= more

    def own_call(self, finding: Finding) -> list[Event]:
        """The audit events that can be the finding's call: identity, request, address and user agent as far as it says them; of
        several of one request those with its object's name, its status and its time, where there are such."""
        if finding.id not in self._own_calls:
            self._own_calls[finding.id] = self._own_call(finding)
        return self._own_calls[finding.id]

    def _own_call(self, finding: Finding) -> list[Event]:
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
            "user_name = $user AND ($verb IS NULL OR verb = $verb) AND ($address IS NULL OR source_address = $address)"
            " AND ($agent IS NULL OR user_agent = $agent)"
        )
        found = self._events(f"{same} AND request_uri = $uri", **values, uri=_text(call.get("RequestUri")))
        if not found and call.get("Resource"):
            found = self._events(
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
        first, last = finding.first_seen_at, finding.last_seen_at or finding.first_seen_at
        if first and last:
            start, end = first - AROUND, last + AROUND
            found = [event for event in found if start <= event["received_at"] <= end] or found
        return found

    def _events(self, where: str, **values: Any) -> list[Event]:
        sql = f"SELECT {EVENT_COLUMNS} FROM audit WHERE {where} ORDER BY received_at, file, item"
        return self.store.rows(sql, **values)

    def _of_account(self, event: Event) -> list[Event]:
        """The events of a service account after the event that created it; by uid where both events have it."""
        return self._events(
            "user_name = $user AND received_at >= $at AND ($uid IS NULL OR user_uid IS NULL OR user_uid = $uid)",
            user=_account_user(event),
            at=event["received_at"],
            uid=event["uid"],
        )

    def callers(self, finding: Finding) -> list[tuple[str, str, str | None]]:
        """Identity, connection address and user agent of a hostile finding's call. What the finding does not say comes from the
        log, where that leaves one alone; otherwise whose call it was cannot be told."""
        call, user = finding.api_call, finding.user.get("Username")
        if finding.is_policy or finding.sample or not call or not user or self.is_foreign(finding):
            return []
        address, agent = address_of(call), call.get("UserAgent")
        if address and agent:
            return [(str(user), address[0], str(agent))]
        seen = (event for event in self.own_call(finding) if event["source_address"])
        found = list(
            dict.fromkeys((event["user_name"], event["source_address"], event["user_agent"]) for event in seen)
        )
        return found if len(found) == 1 else []

    def is_foreign(self, finding: Finding) -> bool:
        """Whether a finding is about another cluster than the one that the evidence is from."""
        return bool(finding.cluster and self.inventory.cluster and finding.cluster != self.inventory.cluster)

    def others_at(self, address: str) -> list[tuple[str, int]]:
        """Who else used an address, with the number of calls that are not attributed."""
        hostile = [
            f"{file}:{item}" for (file, _, item), (event, _) in self.calls.items() if event["source_address"] == address
        ]
        rows = self.store.rows(
            "SELECT user_name, count(*) AS calls FROM audit"
            " WHERE source_address = $address AND NOT list_contains($hostile, file || ':' || item)"
            " GROUP BY user_name ORDER BY calls DESC, user_name",
            address=address,
            hostile=hostile,
        )
        return [(str(row["user_name"]), row["calls"]) for row in rows]

    def _addresses_of(self, hostile: list[Event]) -> list[str]:
        """Those of the addresses of hostile events that nobody else used: every identity seen there is the attacker's, and was
        not there before the first hostile call from it. Anonymous callers are nobody in particular and clear nothing."""
        first = dict[str, datetime]()
        for event in hostile:
            if event["source_address"]:
                at = first.setdefault(event["source_address"], event["received_at"])
                first[event["source_address"]] = min(at, event["received_at"])
        identities = {event["user_name"] for event in hostile}
        others = set[str]()
        for row in self.store.rows(
            "SELECT source_address, user_name, min(received_at) AS first_at FROM audit"
            " WHERE list_contains($addresses, source_address) AND user_name <> 'system:anonymous' GROUP BY ALL",
            addresses=sorted(first),
        ):
            if row["user_name"] not in identities or row["first_at"] < first[row["source_address"]]:
                others.add(row["source_address"])
        return sorted(set(first) - others)

    def _pods_made_by(self, events: Iterable[Event]) -> set[str]:
        made = set[str]()
        for event in filter(creates, events):
            if event["resource"] == "pods" and event["uid"]:
                made.add(event["uid"])
            elif event["uid"] and event["name"]:
                owned = self.inventory.pods_of_workload(
                    event["resource"], event["namespace"], event["name"], event["uid"]
                )
                made |= {pod.uid for pod, sure in owned if sure}
        return made


def _creates_account(event: Event) -> bool:
    return event["resource"] == "serviceaccounts" and creates(event) and bool(event["name"])


def _account_user(event: Event) -> str:
    return f"{SERVICE_ACCOUNT}{event['namespace']}:{event['name']}"


def _text(value: Any) -> str | None:
    return str(value) if value else None
