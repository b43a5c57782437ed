"""Credentials that the attacker took: tokens of pods that the attacker entered, tokens in Secrets that the attacker read, what the
attacker used outside and somebody then used from elsewhere, and the attacker's own credential with another client."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from kit.attribution.calls import (
    CREDENTIALS,
    LEGACY,
    Event,
    credentials_of,
    did,
    let_through,
    token_secret_of,
)
from kit.attribution.ends import Ends
from kit.attribution.ground import Ground
from kit.attribution.own_call import MANY_CALLS, seen_before
from kit.attribution.rules import USED_FROM, AttackerRule
from kit.inventory.addresses import Addresses, is_private
from kit.inventory.inventory import Inventory
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.store.store import Store

_INTO = ("exec", "attach", "ephemeralcontainers")
_WORDS = {"claimed_pod_uid": "token of a pod", LEGACY: "token of a Secret", "user_name": "credential of a node"}


class _Seen(NamedTuple):
    address: str | None
    credentials: frozenset[str]
    first_at: datetime


class Taken:
    """The rules that follow from what the attacker could take along.

    Only a use from outside counts, from where that credential was never used before the attacker could have it: inside, its owner
    uses it too.
    """

    def __init__(self, store: Store, inventory: Inventory, cluster_addresses: Addresses) -> None:
        self.store = store
        self.inventory = inventory
        self.cluster_addresses = cluster_addresses
        self._ends = Ends(store)
        self._known_uses = dict[tuple[str, str], list[tuple[str, datetime]]]()
        self._seen_users = dict[str, list[_Seen]]()

    def of(self, events: list[Event]) -> Iterator[AttackerRule]:
        """What makes other events the attacker's when these are."""
        yield from self._of_entered_pods(events)
        yield from self._of_read_secrets(events)
        yield from self._of_used_credentials(events)
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
            yield from self._used_outside("claimed_pod_uid", uid, at, says, Ground.ENTERED_POD)

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
            yield from self._used_outside(LEGACY, key, at, says, Ground.READ_LEGACY)

    def _of_used_credentials(self, events: list[Event]) -> Iterator[AttackerRule]:
        """What has its place in the cluster, a pod's token or a node's credential, and a Secret's token, does not move once the attacker
        has it: each use from another new place is that of whoever got it from the attacker."""
        inside, first = self.cluster_addresses.own, dict[tuple[str, str], datetime]()
        for event in events:
            if event["source_address"] and event["source_address"] not in inside:
                user = str(event["user_name"])
                for column, used in (
                    ("claimed_pod_uid", event["claimed_pod_uid"]),
                    (LEGACY, token_secret_of(event)),
                    ("user_name", user if user.startswith(NODE) else None),
                ):
                    if used:
                        at = event["received_at"]
                        first[column, used] = min(at, first.get((column, used), at))
        for (column, used), at in sorted(first.items()):
            says = f"it was made from outside with the {_WORDS[column]} that the attacker had used outside before"
            yield from self._used_outside(column, used, at, says, Ground.USED_OUTSIDE)

    def _used_outside(
        self, column: str, credential: str, at: datetime, says: str, ground: Ground
    ) -> Iterator[AttackerRule]:
        """The uses of a pod's token, of a Secret's or of a node's credential from addresses where it was not used before."""
        if not self.cluster_addresses.own:
            return  # what is outside cannot be told
        inside, uses = self.cluster_addresses.own.keys(), self._uses(column, credential)
        new = {address for address, _ in uses} - {address for address, first in uses if first < at} - inside
        if column == "claimed_pod_uid" and not self._has_address(credential):
            new = {address for address in new if not is_private(address)}  # the pod's own may be one of these
        namespace, _, name = credential.partition("/")
        end = self._ends.after("secrets", namespace, name, at) if column == LEGACY else None

        def holds(event: Event) -> bool:
            used = token_secret_of(event) if column == LEGACY else event[column]  # type: ignore[literal-required]
            is_new = used == credential and event["source_address"] in new
            return bool(is_new and at <= event["received_at"] and (not end or event["received_at"] < end))

        if new:
            value = name if column == LEGACY else credential
            yield AttackerRule(
                USED_FROM.format(column), {f"{value}\x1f{address}" for address in new}, holds, says, ground
            )

    def _has_address(self, pod_uid: str) -> bool:
        """Whether any evidence has an address of a pod."""
        pod = self.inventory.things.get(pod_uid)
        return pod is not None and bool(pod.addresses)

    def _uses(self, column: str, credential: str) -> list[tuple[str, datetime]]:
        """The addresses that a credential was used from, each with its first use."""
        if (column, credential) not in self._known_uses:
            namespace, slash, name = credential.partition("/")
            rows = self.store.rows(
                f"SELECT source_address, min(first_at) AS first_at FROM {self.store.callers} WHERE {column} = $value"
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
            f"SELECT DISTINCT user_name, token_secret FROM {self.store.callers} WHERE token_secret IS NOT NULL"
            " ORDER BY user_name, token_secret"
        )
        return {key: row["user_name"] for row in rows if (key := token_secret_of(row))}

    def _with_another_client(self, events: list[Event]) -> Iterator[AttackerRule]:
        """Rule 1 for any client: what one calls itself is its own word. From the attacker's first call on, where nobody used the credential
        from there before; ever, where its owner was elsewhere by then, with another address or credential, and never there at length."""
        hostile = defaultdict[tuple[str, str], dict[str, datetime]](dict)
        for event in events:
            user, address = event["user_name"], event["source_address"]
            if user and address and address not in self.cluster_addresses.own:
                for one in credentials_of(event):
                    first = hostile[user, address].get(one, event["received_at"])
                    hostile[user, address][one] = min(first, event["received_at"])
        for (user, address), used in sorted(hostile.items()):
            own = {one: since for one, first in used.items() if (since := self._since(user, address, one, first))}

            def holds(event: Event, user: str = user, address: str = address, own: dict[str, datetime] = own) -> bool:
                same = (event["user_name"], event["source_address"]) == (user, address)
                return same and any(one in own and event["received_at"] >= own[one] for one in credentials_of(event))

            if own:
                says = f"same identity and credential as a call of the attacker from {address}, where its owner is not"
                yield AttackerRule("source_address", {address}, holds, says, Ground.ANOTHER_CLIENT)

    def _since(self, user: str, address: str, credential: str, first: datetime) -> datetime | None:
        """From when on a credential is the attacker's alone at an address, given the attacker's first call with it there; None: never."""
        seen = self._seen(user)
        there = [one for one in seen if one.address == address and credential in one.credentials]
        began = min(one.first_at for one in there)
        if began >= first:
            return first
        if not any(one.first_at < began for one in seen if one not in there):
            return None
        before = seen_before(self.store, user, address, first)
        return began if sum(calls for used, calls, _ in before if credential in used) < MANY_CALLS else None

    def _seen(self, user: str) -> list[_Seen]:
        """Where an identity was with which credentials, since when, and how often."""
        if user not in self._seen_users:
            rows = self.store.rows(
                f"SELECT source_address, {CREDENTIALS}, min(first_at) AS first_at FROM {self.store.callers}"
                f" WHERE user_name = $user GROUP BY source_address, {CREDENTIALS}",
                user=user,
            )
            self._seen_users[user] = [
                _Seen(row["source_address"], credentials_of(row), row["first_at"]) for row in rows
            ]
        return self._seen_users[user]
