"""Which calls are the attacker's: in the audit log and in CloudTrail, each with the sentence that says why.

An audit event is the attacker's when one of these holds:
1. its identity, connection address and user agent are those of the call of a finding that is not `Policy:` (an administrator's
   mistake makes a policy finding, but no attacker);
2. its credential was minted by such an event (`issued-credential-id` of a TokenRequest), or its pod was created by one;
3. it comes from an address that such an event came from and that nobody else used.
Only the connection's own address counts; the elements of `sourceIPs` before it are the client's word: they may accuse, never clear.
The whole log decides, whatever window is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from kit.finding import Finding, finding_of
from kit.inventory import Inventory
from kit.store import Store

Event = dict[str, Any]
"""A row of the audit table: the columns in EVENT_COLUMNS."""

Place = tuple[str, int, int]
"""File, line and item of a record: what tells rows apart, since the client may choose the auditID."""

EVENT_COLUMNS = (
    "audit_id, received_at, verb, request_uri, user_name, arn, access_key_id, credential_id, source_address, user_agent,"
    " resource, coalesce(subresource, '') AS subresource, namespace, name, uid, response_code, issued_credential_id,"
    " file, line, item"
)


def place_of(event: Event) -> Place:
    """Where an event stands in the evidence."""
    return event["file"], event["line"], event["item"]


def let_through(event: Event) -> bool:
    """Whether the server did what was asked: 2xx, or 101 for a connection that was upgraded (RFC 9110, 15.2.2)."""
    code = event["response_code"]
    return code is not None and (200 <= code < 300 or code == 101)


def is_dry_run(event: Event) -> bool:
    """Whether the client asked the server to store nothing."""
    return "dryRun" in parse_qs(urlsplit(event["request_uri"] or "").query)


def address_of(call: dict[str, Any]) -> str | None:
    """The connection's address in a finding's KubernetesApiCallAction: the last of SourceIps, else RemoteIpDetails."""
    addresses, remote = call.get("SourceIps"), call.get("RemoteIpDetails")
    if isinstance(addresses, list) and addresses and addresses[-1]:
        return str(addresses[-1])
    if isinstance(remote, dict):
        return remote.get("IpAddressV4") or remote.get("IpAddressV6") or None
    return None


class Attacker:
    """The attacker's calls of one case."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory

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
            for user, address, agent in self._callers(finding):
                says = f"same identity, address and user agent as the call of finding {finding.id}"
                same = "user_name = $a AND source_address = $b AND user_agent IS NOT DISTINCT FROM $c"
                take(self._events(same, a=user, b=address, c=agent), says)
        grown = bool(found)
        while grown:
            events = [event for event, _ in found.values()]
            minted = sorted({event["issued_credential_id"] for event in events} - {None})
            made = sorted(self._pods_made_by(events))
            says = "its credential was minted by a call of the attacker"
            grown = bool(minted) and take(self._events("list_contains($a, credential_id)", a=minted), says)
            says = "it was made with the token of a pod that the attacker created"
            grown |= bool(made) and take(self._events("list_contains($a, claimed_pod_uid)", a=made), says)
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
        """The attacker's CloudTrail events by eventID, oldest first, each with the reason: from an address that is his alone,
        with an access key that he used from that address, or issuing such a key there."""
        events = [event for event, _ in self.calls.values()]
        keys = {event["access_key_id"] for event in events} - {None}
        found = dict[str, tuple[Event, str]]()
        for row in self.store.rows(
            "SELECT event_id, event_at, source_address, access_key_id,"
            " json_extract_string(response_elements, '$.credentials.accessKeyId') AS issued FROM trail"
            " WHERE list_contains($addresses, source_address) ORDER BY event_at, event_id",
            addresses=sorted({event["source_address"] for event in events} - {None}),
        ):
            address = row["source_address"]
            if address in self.addresses:
                found[row["event_id"]] = row, f"it comes from {address}, which nobody but the attacker used"
            elif row["access_key_id"] in keys:
                found[row["event_id"]] = (
                    row,
                    f"access key {row['access_key_id']} and address {address} are the attacker's",
                )
            elif row["issued"] in keys:
                says = f"it issued access key {row['issued']}, which the attacker used from the same address {address}"
                found[row["event_id"]] = row, says
        return found

    def follow(self, user_name: str) -> list[Event]:
        """The hostile events of an identity, of the credentials that it minted, and from the addresses that are its alone."""
        hostile = {place: event for place, (event, _) in self.calls.items()}
        members = {place for place, event in hostile.items() if event["user_name"] == user_name}
        while True:
            minted = {hostile[place]["issued_credential_id"] for place in members} - {None}
            addresses = {hostile[place]["source_address"] for place in members} & self.addresses
            more = {
                place
                for place, event in hostile.items()
                if event["credential_id"] in minted or event["source_address"] in addresses
            }
            if more <= members:
                return [event for place, event in hostile.items() if place in members]
            members |= more

    def own_call(self, finding: Finding) -> list[Event]:
        """The audit events that can be the finding's call: identity, URI, verb, and address and agent where it says them."""
        call, user = finding.api_call, finding.user.get("Username")
        if not call or not user:
            return []
        return self._events(
            "user_name = $user AND request_uri = $uri AND ($verb IS NULL OR verb = $verb)"
            " AND ($address IS NULL OR source_address = $address) AND ($agent IS NULL OR user_agent = $agent)",
            user=user,
            uri=call.get("RequestUri"),
            verb=call.get("Verb"),
            address=address_of(call),
            agent=call.get("UserAgent"),
        )

    def _events(self, where: str, **values: Any) -> list[Event]:
        sql = f"SELECT {EVENT_COLUMNS} FROM audit WHERE {where} ORDER BY received_at, file, item"
        return self.store.rows(sql, **values)

    def _callers(self, finding: Finding) -> list[tuple[str, str, str | None]]:
        """Identity, connection address and user agent of a finding's call; what the finding does not say comes from the log."""
        call, user = finding.api_call, finding.user.get("Username")
        if finding.is_policy or finding.sample or not call or not user:
            return []
        address, agent = address_of(call), call.get("UserAgent")
        if address and agent:
            return [(str(user), address, str(agent))]
        seen = (event for event in self.own_call(finding) if event["source_address"])
        return list(dict.fromkeys((event["user_name"], event["source_address"], event["user_agent"]) for event in seen))

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
        for event in events:
            if event["verb"] != "create" or event["subresource"] or not let_through(event) or not event["uid"]:
                continue
            if event["resource"] == "pods":
                made.add(event["uid"])
            elif event["name"]:
                owned = self.inventory.pods_of_workload(
                    event["resource"], event["namespace"], event["name"], event["uid"]
                )
                made |= {pod.uid for pod, sure in owned if sure}
        return made
