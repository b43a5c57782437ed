"""Rules 2 to 6: what makes more calls the attacker's, given those that already are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from kit.attribution.calls import (
    CREDENTIALS,
    LEGACY,
    Caller,
    Event,
    account_user,
    caller_of,
    creates,
    creates_account,
    creates_secret,
    credentials_of,
    events_where,
    let_through,
    may_be_of,
    not_none,
    token_secret_of,
)
from kit.attribution.ends import Ends
from kit.attribution.ground import Ground
from kit.inventory.addresses import CONTROL_PLANE, Addresses
from kit.inventory.inventory import Inventory
from kit.model.identity import NODE
from kit.store.callers import CALLER
from kit.store.store import Store

USED_FROM = "concat_ws(chr(31), coalesce({}, ''), coalesce(source_address, ''))"
"""In SQL, a credential's column and the address: a node's credential makes very many calls, and only those from elsewhere are looked at."""
_CALLER = "concat_ws(chr(31), coalesce(user_name, ''), coalesce(source_address, ''), coalesce(user_agent, ''))"


@dataclass(frozen=True)
class AttackerRule:
    """What makes events the attacker's. column, values: one of the values stands in this column (SQL) of each. holds: and this is true of it.

    ground: which rule of the kit it is; says: what it rests on here.
    """

    column: str
    values: set[str]
    holds: Callable[[Event], bool]
    says: str
    ground: Ground


def of_caller(
    caller: Caller, credentials: frozenset[str], since: datetime | None, says: str, ground: Ground
) -> AttackerRule:
    """That an event has this identity, address, user agent and one of these credentials; with since: from then on."""

    def holds(event: Event) -> bool:
        same = caller_of(event) == caller and may_be_of(event, credentials)
        return same and (since is None or event["received_at"] >= since)

    return AttackerRule(_CALLER, {"\x1f".join(part or "" for part in caller)}, holds, says, ground)


def is_of_caller(column: str) -> bool:
    """Whether a column of a rule, in SQL, is told by who called alone."""
    named = (*CALLER.split(", "), _CALLER)
    return column in named or any(column == USED_FROM.format(name) for name in named)


class Rules:
    """The rules that follow from calls of the attacker."""

    def __init__(self, store: Store, inventory: Inventory, cluster_addresses: Addresses) -> None:
        self.store = store
        self.inventory = inventory
        self.cluster_addresses = cluster_addresses
        self._ends = Ends(store)
        self._callers_at = dict[str, list[tuple[str, frozenset[str], datetime]]]()

    def of(self, events: list[Event]) -> Iterator[AttackerRule]:
        """What makes other events the attacker's when these are."""
        for rules in (
            self._minted,
            self._of_made_pods,
            self._of_made_accounts,
            self._of_made_secrets,
            self._alone,
            self._before,
            self._pretending,
        ):
            yield from rules(events)

    def _minted(self, events: list[Event]) -> Iterator[AttackerRule]:
        minted = not_none(event["issued_credential_id"] for event in events)
        says = "its credential was minted by a call of the attacker"
        yield AttackerRule("credential_id", minted, lambda event: event["credential_id"] in minted, says, Ground.MINTED)

    def _of_made_pods(self, events: list[Event]) -> Iterator[AttackerRule]:
        made = self.pods_made_by(events)
        says = "it was made with the token of a pod that the attacker created"
        yield AttackerRule(
            "claimed_pod_uid", made, lambda event: event["claimed_pod_uid"] in made, says, Ground.MADE_POD
        )

    def _of_made_secrets(self, events: list[Event]) -> Iterator[AttackerRule]:
        says = "its token is that of a Secret that the attacker created"
        lives = defaultdict[str, list[tuple[datetime, datetime | None]]](list)
        for event in filter(creates_secret, events):
            # A Secret's token ends with it; one of the same name may be its owner's.
            lives[f"{event['namespace']}/{event['name']}"].append((event["received_at"], self._ends.of(event)))

        def holds(event: Event) -> bool:
            at = event["received_at"]
            made = lives.get(str(token_secret_of(event)), ())
            return any(start <= at and (end is None or at < end) for start, end in made)

        if lives:
            names = {key.partition("/")[2] for key in lives}
            yield AttackerRule(LEGACY, names, holds, says, Ground.MADE_LEGACY)

    def _of_made_accounts(self, events: list[Event]) -> Iterator[AttackerRule]:
        made = defaultdict[tuple[str, str | None], list[Event]](list)
        for event in filter(creates_account, events):
            made[(account_user(event), event["uid"])].append(event)
        for (user, uid), created in made.items():
            # Without a uid the name alone tells, and that somebody else may use once the account is gone.
            lives = [(event["received_at"], None if uid else self._ends.of(event)) for event in created]

            def holds(
                one: Event,
                user: str = user,
                uid: str | None = uid,
                lives: list[tuple[datetime, datetime | None]] = lives,
            ) -> bool:
                same = one["user_name"] == user and (not uid or not one["user_uid"] or one["user_uid"] == uid)
                at = one["received_at"]
                return same and any(start <= at and (end is None or at < end) for start, end in lives)

            says = f"the attacker created its service account {created[0]['namespace']}/{created[0]['name']}"
            yield AttackerRule("user_name", {user}, holds, says, Ground.MADE_ACCOUNT)

    def _alone(self, events: list[Event]) -> Iterator[AttackerRule]:
        for address in self.addresses_of(events):
            says = f"it comes from {address}, which nobody but the attacker used"

            def holds(one: Event, address: str = address) -> bool:
                return bool(one["source_address"] == address)

            yield AttackerRule("source_address", {address}, holds, says, Ground.ALONE)

    def _before(self, events: list[Event]) -> Iterator[AttackerRule]:
        """Whoever minted the credentials or made the pods that hostile events used, from one of their addresses; and what the same
        caller did with that credential from then on, or ever where the same identity, address and client then used what it minted. A kubelet
        at one of the cluster's own addresses does its daily work when it mints."""
        makers, used = dict[Caller, Event](), {(event["credential_id"], caller_of(event)) for event in events}
        for maker in self._makers(events):
            inside = maker["source_address"] in self.cluster_addresses.own or self._is_at_home(maker)
            if not inside and let_through(maker) and maker["user_name"] not in CONTROL_PLANE:
                makers.setdefault(caller_of(maker), maker)
        for caller, maker in makers.items():
            what = "minted the credential" if maker["issued_credential_id"] else "made the pod"
            says = f"its caller {what} that the attacker used from the same address {maker['source_address']}"
            since = None if (maker["issued_credential_id"], caller) in used else maker["received_at"]
            yield of_caller(caller, credentials_of(maker), since, says, Ground.BEFORE)

    def _is_at_home(self, maker: Event) -> bool:
        """Whether a node's credential is used from nowhere else: then that may be the node itself, behind what it shares with others."""
        user = str(maker["user_name"])
        return user.startswith(NODE) and self._addresses_of_nodes[user] <= {maker["source_address"]}

    @cached_property
    def _addresses_of_nodes(self) -> dict[str, set[str]]:
        """Where the credential of each node was used."""
        found = defaultdict[str, set[str]](set)
        for row in self.store.rows(
            f"SELECT DISTINCT user_name, source_address FROM {self.store.callers} WHERE starts_with(user_name, $prefix) AND source_address IS NOT NULL",
            prefix=NODE,
        ):
            found[row["user_name"]].add(row["source_address"])
        return found

    def _makers(self, events: list[Event]) -> list[Event]:
        """The events that minted the credentials or made the pods of hostile events, from the same addresses, oldest first."""
        return events_where(
            self.store,
            "list_contains($addresses, source_address) AND (list_contains($used, issued_credential_id)"
            " OR resource = 'pods' AND verb = 'create' AND subresource IS NULL AND list_contains($pods, uid))",
            "list_contains($addresses, source_address)",
            addresses=sorted(not_none(event["source_address"] for event in events)),
            used=sorted(not_none(event["credential_id"] for event in events)),
            pods=sorted(not_none(event["claimed_pod_uid"] for event in events)),
        )

    def _pretending(self, events: list[Event]) -> Iterator[AttackerRule]:
        at_home = self.cluster_addresses.control_plane
        addresses = not_none(event["source_address"] for event in events) - at_home
        says = "it has the name of a part of the control plane, and the control plane never calls from there"
        if at_home and addresses - set(self.cluster_addresses.own):
            yield AttackerRule(
                "source_address",
                addresses,
                lambda event: event["source_address"] in addresses and event["user_name"] in CONTROL_PLANE,
                says,
                Ground.PRETENDING,
            )

    def addresses_of(self, hostile: list[Event]) -> list[str]:
        """Those of the addresses of hostile events, but for the cluster's own, that nobody else used: every identity and credential seen there is the attacker's, and was
        not there before the first hostile call from it. Anonymous callers are nobody in particular and clear nothing."""
        first = dict[str, datetime]()
        for event in hostile:
            if event["source_address"] and event["source_address"] not in self.cluster_addresses.own:
                at = first.setdefault(event["source_address"], event["received_at"])
                first[event["source_address"]] = min(at, event["received_at"])
        identities = {event["user_name"] for event in hostile}
        used = frozenset[str]().union(*map(credentials_of, hostile))
        new = sorted(set(first) - set(self._callers_at))
        if new:
            self._callers_at |= {address: [] for address in new}
            for row in self.store.rows(
                f"SELECT source_address, user_name, {CREDENTIALS}, min(first_at) AS first_at FROM {self.store.callers}"
                " WHERE list_contains($addresses, source_address) AND user_name <> 'system:anonymous'"
                f" GROUP BY source_address, user_name, {CREDENTIALS}",
                addresses=new,
            ):
                seen = (row["user_name"], credentials_of(row), row["first_at"])
                self._callers_at[row["source_address"]].append(seen)
        return sorted(
            address
            for address, first_hostile in first.items()
            if all(
                user in identities and at >= first_hostile and (not credentials or credentials & used)
                for user, credentials, at in self._callers_at[address]
            )
        )

    def pods_made_by(self, events: Iterable[Event]) -> set[str]:
        """The uids of the pods that events made, themselves or by a workload."""
        made = set[str]()
        for event in filter(creates, events):
            if event["resource"] == "pods" and event["uid"]:
                made.add(event["uid"])
            elif event["uid"] and event["name"]:
                owned = self.inventory.pods_of_workload(
                    str(event["resource"]), event["namespace"], event["name"], event["uid"]
                )
                made |= {pod.uid for pod, sure in owned if sure}
        return made
