"""Credentials that the attacker took: tokens of pods that the attacker entered, tokens in Secrets that the attacker read, and the
attacker's own credential with another client."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from kit.attribution.calls import (
    CREDENTIALS,
    LEGACY,
    OF_CREDENTIALS,
    Event,
    credentials_of,
    did,
    let_through,
    token_secret_of,
)
from kit.attribution.rules import AttackerRule
from kit.inventory.addresses import Addresses
from kit.inventory.inventory import Inventory
from kit.model.identity import SERVICE_ACCOUNT
from kit.store.store import Store

_INTO = ("exec", "attach", "ephemeralcontainers")


class Taken:
    """The rules that follow from what the attacker could take along.

    Only a use from outside counts, from where that credential was never used before the attacker could have it: inside, its owner
    uses it too.
    """

    def __init__(self, store: Store, inventory: Inventory, cluster_addresses: Addresses) -> None:
        self.store = store
        self.inventory = inventory
        self.cluster_addresses = cluster_addresses
        self._known_uses = dict[tuple[str, str], list[tuple[str, datetime]]]()
        self._callers_from = dict[tuple[str, str], list[tuple[frozenset[str], datetime]]]()

    def of(self, events: list[Event]) -> Iterator[AttackerRule]:
        """What makes other events the attacker's when these are."""
        yield from self._of_entered_pods(events)
        yield from self._of_read_secrets(events)
        yield from self._with_another_client(events)

    def _of_entered_pods(self, events: list[Event]) -> Iterator[AttackerRule]:
        entered = dict[str, datetime]()
        for event in events:
            if event["resource"] == "pods" and event["subresource"] in _INTO and let_through(event):
                named = self.inventory.named("pods", event["namespace"], event["name"])
                for pod in named if len(named) == 1 else ():
                    entered[pod.uid] = min(event["received_at"], entered.get(pod.uid, event["received_at"]))
        for uid, at in sorted(entered.items()):
            says = "it was made from outside with the token of a pod that the attacker had entered"
            yield from self._used_outside("claimed_pod_uid", uid, at, says)

    def _of_read_secrets(self, events: list[Event]) -> Iterator[AttackerRule]:
        read = dict[str, datetime]()
        for event in events:
            if (
                event["resource"] == "secrets"
                and did(event) == "read"
                and let_through(event)
                and not event["subresource"]
            ):
                for key in sorted(self.secrets_used):
                    namespace, _, name = key.partition("/")
                    if event["namespace"] in (None, namespace) and event["name"] in (None, name):
                        read[key] = min(event["received_at"], read.get(key, event["received_at"]))
        for key, at in sorted(read.items()):
            says = f"it was made from outside with the token of Secret {key}, which the attacker had read"
            yield from self._used_outside(LEGACY, key, at, says)

    def _used_outside(self, column: str, credential: str, at: datetime, says: str) -> Iterator[AttackerRule]:
        """The uses of a pod's token or of a Secret's from addresses where it was not used before."""
        if not self.cluster_addresses.own:
            return  # what is outside cannot be told
        before = {address for address, first in self._uses(column, credential) if first < at}
        inside = self.cluster_addresses.own.keys()

        def holds(event: Event) -> bool:
            used = event["claimed_pod_uid"] if column == "claimed_pod_uid" else token_secret_of(event)
            address = event["source_address"]
            new = address is not None and address not in inside and address not in before
            return used == credential and new and event["received_at"] >= at

        value = credential if column == "claimed_pod_uid" else credential.partition("/")[2]
        yield AttackerRule(column, {value}, holds, says)

    def _uses(self, column: str, credential: str) -> list[tuple[str, datetime]]:
        """The addresses that a credential was used from, each with its first use."""
        if (column, credential) not in self._known_uses:
            namespace, slash, name = credential.partition("/")
            rows = self.store.rows(
                f"SELECT source_address, min(received_at) AS first_at FROM audit WHERE {column} = $value"
                " AND starts_with(coalesce(user_name, ''), $user) AND source_address IS NOT NULL GROUP BY source_address",
                value=name if slash else credential,
                user=f"{SERVICE_ACCOUNT}{namespace}:" if slash else "",
            )
            self._known_uses[column, credential] = [(row["source_address"], row["first_at"]) for row in rows]
        return self._known_uses[column, credential]

    @cached_property
    def secrets_used(self) -> dict[str, str]:
        """namespace/name of the Secrets whose tokens the log shows in use → their user name."""
        rows = self.store.rows(
            f"SELECT DISTINCT user_name, {LEGACY} AS token_secret FROM audit WHERE annotations LIKE '%k8s.io/legacy-token%'"
            " ORDER BY user_name, token_secret"
        )
        return {key: row["user_name"] for row in rows if (key := token_secret_of(row))}

    def _with_another_client(self, events: list[Event]) -> Iterator[AttackerRule]:
        """Rule 1 for any client: what one calls itself is its own word, and behind an address where nobody used the credential before the
        attacker did, nobody else has it."""
        hostile = defaultdict[tuple[str, str], dict[str, datetime]](dict)
        for event in events:
            user, address = event["user_name"], event["source_address"]
            if user and address and address not in self.cluster_addresses.own:
                for one in credentials_of(event):
                    first = hostile[user, address].get(one, event["received_at"])
                    hostile[user, address][one] = min(first, event["received_at"])
        for (user, address), used in sorted(hostile.items()):
            seen = self._seen_from(user, address)
            own = {
                one: first
                for one, first in used.items()
                if not any(one in credentials and at < first for credentials, at in seen)
            }

            def holds(event: Event, user: str = user, address: str = address, own: dict[str, datetime] = own) -> bool:
                same = (event["user_name"], event["source_address"]) == (user, address)
                return same and any(one in own and event["received_at"] >= own[one] for one in credentials_of(event))

            if own:
                says = f"same identity and credential as a call of the attacker from {address}, where nobody used it before"
                yield AttackerRule("source_address", {address}, holds, says)

    def _seen_from(self, user: str, address: str) -> list[tuple[frozenset[str], datetime]]:
        """The credentials of an identity that were used from an address, each with the first use."""
        if (user, address) not in self._callers_from:
            rows = self.store.rows(
                f"SELECT {CREDENTIALS}, min(received_at) AS first_at FROM audit"
                f" WHERE user_name = $user AND source_address = $address GROUP BY {OF_CREDENTIALS}",
                user=user,
                address=address,
            )
            self._callers_from[user, address] = [(credentials_of(row), row["first_at"]) for row in rows]
        return self._callers_from[user, address]
