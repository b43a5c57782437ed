"""What separates the attacker's calls of an identity from its other calls, and from others at the attacker's addresses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kit.attribution.attacker import Attacker
from kit.attribution.calls import CREDENTIALS, credential_named, credentials_of
from kit.store.store import Store
from kit.words import Names, counted, few

Trait = Literal["account", "credential", "session", "client", "address", "combination", "time"]
"""By what calls differ. combination: each of theirs is the attacker's somewhere, and never all of them in one call."""
_NAMED = 2  # values of each side


@dataclass(frozen=True)
class ToldApart:
    """Calls that are not attributed, beside those that are. calls: how many; possible: how many of these may be the attacker's.

    same: what each of them shares with a call of the attacker; by: what tells them apart; time alone where nothing else does.
    """

    calls: int
    possible: int
    same: tuple[Trait, ...]
    by: tuple[Trait, ...]
    says: str


@dataclass(frozen=True)
class _Traits:
    """What tells calls of one identity apart. named: the credential in words."""

    credentials: frozenset[str]
    named: str
    session: str
    client: str
    address: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Traits:
        arn = str(row["arn"] or "")
        session = arn.rpartition("/")[2] if ":assumed-role/" in arn else ""
        kind = "Secret" if row["token_secret"] else "access key" if row["access_key_id"] else "token"
        key = credential_named(row)
        named = f"{kind} {key}" if key else ""
        return cls(credentials_of(row), named, session, row["user_agent"] or "", row["source_address"] or "")


def told_apart(store: Store, attacker: Attacker, users: Names) -> dict[str, list[ToldApart]]:
    """User name → what separates calls of it, and of others at its addresses, from the attacker's; most calls first."""
    hostile, possible = (
        _counted(call.event for call in calls.values()) for calls in (attacker.calls, attacker.possible)
    )
    every = defaultdict[str, Counter[_Traits]](Counter)
    for row in store.rows(
        f"SELECT user_name, source_address, user_agent, {CREDENTIALS}, sum(calls)::BIGINT AS calls FROM {store.callers} WHERE list_contains($users, user_name)"
        f" GROUP BY user_name, source_address, user_agent, {CREDENTIALS}"
        " ORDER BY user_name, calls DESC, source_address, user_agent, access_key_id, credential_id, arn, claimed_pod_uid, token_secret",
        users=sorted(users),
    ):
        every[row["user_name"]][_Traits.of(row)] += row["calls"]
    found = dict[str, list[ToldApart]]()
    for user in users:
        theirs = hostile[user]
        if not theirs:
            continue
        others = every[user] - theirs
        made = [*_of_identity(user, theirs, others, possible[user]), *_of_addresses(attacker, user, theirs)]
        found[user] = sorted(made, key=lambda one: (-one.calls, one.by))
    return found


def _counted(events: Iterable[Mapping[str, Any]]) -> defaultdict[str, Counter[_Traits]]:
    found = defaultdict[str, Counter[_Traits]](Counter)
    for event in events:
        found[str(event["user_name"])][_Traits.of(event)] += 1
    return found


def _of_identity(
    user: str, hostile: Counter[_Traits], others: Counter[_Traits], possible: Counter[_Traits]
) -> Iterator[ToldApart]:
    used = frozenset[str]().union(*(one.credentials for one in hostile))
    known: dict[Trait, set[str]] = {
        "session": {one.session for one in hostile},
        "client": {one.client for one in hostile},
        "address": {one.address for one in hostile},
    }
    alike = defaultdict[tuple[tuple[Trait, ...], tuple[Trait, ...]], list[_Traits]](list)
    for one in others:
        same, by = list[Trait](["account"]), list[Trait]()
        if one.credentials and used:
            (same if one.credentials & used else by).append("credential")
        values: tuple[tuple[Trait, str], ...] = (
            ("session", one.session), ("client", one.client), ("address", one.address)
        )  # fmt: skip
        for trait, value in values:
            if value and known[trait] - {""}:
                (same if value in known[trait] else by).append(trait)
        if not by:
            is_whole = any(
                (each.session, each.client, each.address) == (one.session, one.client, one.address)
                and (each.credentials & one.credentials or not (each.credentials and one.credentials))
                for each in hostile
            )
            by.append("time" if is_whole else "combination")
        alike[tuple(same), tuple(by)].append(one)
    for (same_traits, by_traits), groups in alike.items():
        calls, maybe = sum(others[one] for one in groups), sum(min(possible[one], others[one]) for one in groups)
        said = _said(same_traits, by_traits, hostile, groups)
        says = f"{counted(calls, 'other call')} of {user}: {said}{_maybe(maybe)}"
        yield ToldApart(calls, maybe, same_traits, by_traits, says)


def _of_addresses(attacker: Attacker, user: str, hostile: Counter[_Traits]) -> Iterator[ToldApart]:
    """Other accounts at the addresses that the attacker used this one from, but for the cluster's own."""
    inside = attacker.cluster_addresses.own
    for address in sorted({one.address for one in hostile} - {""}):
        others = [] if address in inside else [one for one in attacker.others_at(address) if one[0] != user]
        if others:
            listed = few([f"{name} ({number})" for name, number in others], 3)
            calls = sum(number for _, number in others)
            says = f"{counted(calls, 'call')} of others: same address {address}; told apart by account: {listed}"
            yield ToldApart(calls, 0, ("address",), ("account",), says)


def _said(same: tuple[Trait, ...], by: tuple[Trait, ...], hostile: Iterable[_Traits], others: list[_Traits]) -> str:
    shared = ", ".join(f"same {trait}" for trait in same)
    if by == ("time",):
        return f"{shared}; nothing but time tells them apart from the attacker's"
    if by == ("combination",):
        return f"{shared}; told apart only by which of these come together"
    told = []
    for trait in by:
        theirs, attackers = _values(trait, others), _values(trait, hostile)
        word = "" if trait == "credential" else f"{trait} "
        told.append(f"{word}{few(theirs, _NAMED)} (the attacker's: {few(attackers, _NAMED)})")
    return f"{shared}; told apart by {', by '.join(told)}"


def _values(trait: Trait, groups: Iterable[_Traits]) -> list[str]:
    read: dict[Trait, Callable[[_Traits], str]] = {
        "credential": lambda one: one.named,
        "session": lambda one: one.session,
        "client": lambda one: one.client,
        "address": lambda one: one.address,
    }
    return sorted(set(map(read[trait], groups)) - {""})


def _maybe(possible: int) -> str:
    return f"; {possible:,} of them are possible" if possible else ""
