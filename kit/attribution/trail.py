"""Which CloudTrail events are the attacker's, given the attacker's calls in the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from kit.attribution.aws_secret import VALUE_READS, VALUE_WRITES
from kit.attribution.calls import AwsEvent, Event, not_none
from kit.attribution.collected import Collected
from kit.attribution.marked import Marked
from kit.attribution.stolen import Stolen
from kit.inventory.addresses import Addresses
from kit.store.store import Store
from kit.words import Names

_ISSUED = (
    "coalesce(json_extract_string(response_elements, '$.credentials.accessKeyId'),"
    " json_extract_string(response_elements, '$.accessKey.accessKeyId'))"
)
"""The access key that a call gave out: of a session, or a long-term one (CreateAccessKey)."""

FoundTrail = dict[str, tuple[AwsEvent, str]]
"""CloudTrail events by eventID, oldest first, each with the reason."""


class Trail:
    """The attacker's CloudTrail events."""

    def __init__(self, store: Store, cluster_addresses: Addresses, marked: Marked, collected: Collected) -> None:
        self.store = store
        self.marked, self.collected = marked, collected
        self.cluster_addresses = cluster_addresses

    def of(
        self, events: Iterable[Event], alone: frozenset[str], stolen: list[Stolen], named: Names = frozenset[str]()
    ) -> FoundTrail:
        """Those that follow from the attacker's audit events and from stolen sessions: from an address that is the attacker's alone; or from another address of
        the attacker, with an access key that the attacker used, issuing such a key, or signing in with the token of a service account of
        the attacker; or with a stolen session from outside; or with a key that such a call issued, from anywhere. From the cluster's own addresses, where the victim calls
        too, nothing is told apart. named: access keys of the findings' callers, which an older authenticator does not log."""
        of_attacker = {
            "keys": sorted({*not_none(event["access_key_id"] for event in events), *named}),
            "users": sorted(not_none(event["user_name"] for event in events)),
            "addresses": sorted(not_none(event["source_address"] for event in events)),
        }
        taken = {(one.session.access_key_id, address): one.says for one in stolen for address in one.addresses}
        found, issued = FoundTrail(), list[str]()
        said = self.marked.in_aws()
        grown = bool(events or stolen or any(said.values()))
        while grown:
            rows = cast(
                "list[AwsEvent]",
                self.store.rows(
                    "SELECT event_id, event_at, event_source, event_name, error_code, user_name, source_address, access_key_id, region, read_only,"
                    f" {_ISSUED} AS issued, CASE WHEN list_contains($asked, event_name) THEN request_parameters END AS request_parameters FROM trail"
                    " WHERE list_contains($addresses, source_address) OR list_contains($keys, access_key_id) OR list_contains($ids, event_id)"
                    " ORDER BY event_at, event_id",
                    addresses=[*of_attacker["addresses"], *said["source_ip"]],
                    keys=sorted({*issued, *(key for key, _ in taken), *said["credential"]}),
                    ids=said["trail"],
                    asked=[*VALUE_READS, *VALUE_WRITES],
                ),
            )
            for row in rows:
                because = self._because(row, of_attacker, alone, issued)
                because = because or taken.get((str(row["access_key_id"]), str(row["source_address"])), "")
                if is_marked := self.marked.is_attackers_in_aws(row):
                    because = "a person marked it, its address or its access key as the attacker's"
                if is_marked is None and row["event_id"] in self.collected.aws_calls:
                    because = ""
                if because and is_marked is not False:
                    found.setdefault(row["event_id"], (row, because))
            more = sorted(not_none(row["issued"] for row, _ in found.values()))
            grown, issued = more != issued, more
        return found

    def _because(
        self, row: AwsEvent, of_attacker: dict[str, list[str]], alone: frozenset[str], issued: list[str]
    ) -> str:
        address, key = row["source_address"], row["access_key_id"]
        if address in alone:
            return f"it comes from {address}, which nobody but the attacker used"
        if address in of_attacker["addresses"] and address not in self.cluster_addresses.own:
            if key in of_attacker["keys"]:
                return f"access key {key} and address {address} are the attacker's"
            if row["issued"] in of_attacker["keys"]:
                return f"it issued access key {row['issued']}, which the attacker used from the same address {address}"
            if row["event_name"] == "AssumeRoleWithWebIdentity" and row["user_name"] in of_attacker["users"]:
                return f"it signed in with a token of {row['user_name']} from {address}, where the attacker used that account"
        return f"access key {key} was issued to the attacker" if key in issued else ""
