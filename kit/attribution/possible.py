"""Rules 10 to 16: calls that may be the attacker's and may be the victim's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from kit.attribution.calls import (
    Call,
    Event,
    Place,
    account_user,
    credentials_of,
    did,
    events_where,
    let_through,
    may_be_of,
    not_none,
    place_of,
)
from kit.attribution.certificates import Certificates
from kit.attribution.let_in import LetIn
from kit.attribution.own_call import AROUND, OwnCalls
from kit.model.finding import Finding
from kit.model.identity import ANONYMOUS
from kit.store.store import Store

_Found = tuple[list[Event], str, str]
"""Events, the rule that says why they may be the attacker's, and the identity that they may come from."""


def possible_calls(
    own_calls: OwnCalls,
    certificates: Certificates,
    findings: list[Finding],
    calls: dict[Place, Call],
    let_in: list[LetIn],
    undecided: dict[Place, Call],
) -> dict[Place, Call]:
    """Audit events that may be the attacker's and may be the victim's, by place, oldest first, each with the rules that say so.

    undecided: calls for which a single rule speaks that is right too seldom to decide alone.
    """
    found = {place: _with_reason(call) for place, call in undecided.items()}
    hostile = [call.event for call in calls.values()]
    for events, rule, whose in (
        *_from_inside(own_calls, findings),
        *_with_another_credential(own_calls, findings),
        *_from_elsewhere(own_calls, calls),
        *_perhaps_minted(own_calls, hostile),
        *_through_bindings(own_calls.store, hostile),
        *_of_let_in(own_calls.store, calls, let_in),
        *certificates.possible(hostile),
    ):
        for event in events:
            if place_of(event) not in calls:
                call = found.setdefault(place_of(event), Call(event))
                call.rules[rule] = None
                # A finding about its own caller is as much about it.
                call.whose |= {whose, str(event["user_name"])}
    return dict(sorted(found.items(), key=lambda item: (item[1].event["received_at"], item[0])))


def _with_reason(call: Call) -> Call:
    alone = "; this rule has decided too few cases to count without another one beside it"
    return replace(call, rules={f"{rule}{alone}": ground for rule, ground in call.rules.items()})


def _from_inside(own_calls: OwnCalls, findings: list[Finding]) -> Iterator[_Found]:
    for finding in findings:
        if not any(address in own_calls.cluster_addresses.own for _, address, _ in own_calls.callers(finding)):
            continue
        own = own_calls.from_inside(finding)
        if not own:
            continue
        first = min(event["received_at"] for event in own)
        credentials = sorted(not_none(event["credential_id"] or event["access_key_id"] for event in own))
        event = own[0]
        little = own_calls.is_habit_unknown(str(event["user_name"]), first)
        untold = "; too little log stands before it to know what that identity does anyway" if little else ""
        shown = own_calls.cluster_addresses.own[str(event["source_address"])].says
        same = (
            f"same credential as the call of finding {finding.id}, since then or with its client in the minutes before"
        )
        client = "source_address = $address AND user_agent IS NOT DISTINCT FROM $agent::VARCHAR"
        yield (
            events_where(
                own_calls.store,
                "user_name = $user AND (list_contains($credentials, coalesce(credential_id, access_key_id))"
                f" AND (received_at >= $first OR {client}) OR coalesce(credential_id, access_key_id) IS NULL AND {client})"
                " AND received_at >= $before",
                "user_name = $user AND (source_address = $address OR list_contains($credentials, coalesce(credential_id, access_key_id)))",
                first=first,
                before=first - AROUND,
                user=event["user_name"],
                credentials=credentials,
                address=event["source_address"],
                agent=event["user_agent"],
            ),
            f"{same}; {shown}, so nothing tells attacker and victim apart{untold}",
            str(event["user_name"]),
        )


def _with_another_credential(own_calls: OwnCalls, findings: list[Finding]) -> Iterator[_Found]:
    """Calls of the same identity and address with the same client and another credential, or the other way round: two people behind one
    address look so, one who signed in again, and the owner at the machine that the attacker sits on."""
    for finding in findings:
        credentials = own_calls.credentials(finding)
        for caller in own_calls.callers(finding):
            user, address, agent = caller
            if address in own_calls.cluster_addresses.own:
                continue
            of_both = "user_name = $user AND source_address = $address"
            theirs = events_where(own_calls.store, of_both, of_both, user=user, address=address)
            same = [event for event in theirs if event["user_agent"] == agent]
            said = f"same identity, address and client as the call of finding {finding.id}"
            if credentials is None:
                several = "which several credentials made in the finding's time: it names none of them"
                yield same, f"{said}, {several if own_calls.of(finding) else 'which is not in the log'}", user
            else:
                with_it = [one for one in theirs if credentials_of(one) & credentials and one["user_agent"] != agent]
                yield (
                    with_it,
                    f"same identity, credential and address as the call of finding {finding.id}, with another client",
                    user,
                )
                others = [event for event in same if not may_be_of(event, credentials)]
                rule = f"{said}, with another credential: the owner may sit behind that address, or the attacker have signed in again"
                yield others, rule, user
                if own_calls.is_at_home(finding, caller, credentials):
                    alike = [event for event in same if may_be_of(event, credentials)]
                    yield (
                        alike,
                        f"{said}, with its credential; its owner may be there too, so nothing tells attacker and owner apart",
                        user,
                    )


def _from_elsewhere(own_calls: OwnCalls, calls: dict[Place, Call]) -> Iterator[_Found]:
    """Calls with a credential that the attacker used outside, or by the same anonymous caller, from where that identity had not been
    before: the attacker has another address now, somebody got the credential from the attacker, or its owner has another address."""
    first, used = dict[str, Event](), defaultdict[str, set[str]](set)
    minted = not_none(call.event["issued_credential_id"] for call in calls.values())
    for call in calls.values():
        user, address = call.event["user_name"], call.event["source_address"]
        if user and address and address not in own_calls.cluster_addresses.own:
            first.setdefault(user, call.event)
            # A token that the attacker minted for a pod is not the pod's own, which its kubelet asked for.
            is_minted = call.event["credential_id"] in minted
            used[user] |= {str(call.event["credential_id"])} if is_minted else credentials_of(call.event)
    for user, event in first.items():
        anonymous = user == ANONYMOUS
        if not used[user] and not anonymous:
            continue
        moved = [
            one
            for one in _new_outside(own_calls, user, event["received_at"], "source_address")
            if (let_through(one) and one["resource"] if anonymous else credentials_of(one) & used[user])
        ]
        what = "it is anonymous too" if anonymous else "same credential as the attacker's"
        says = f"{what}, from where {user} had not been before: the attacker, whoever got it from the attacker, or its owner may call from there"
        yield moved, says, user


def _perhaps_minted(own_calls: OwnCalls, hostile: list[Event]) -> Iterator[_Found]:
    seen = set[tuple[Any, Any]]()
    for event in hostile:
        is_mint = did(event) == "minted" and let_through(event)
        if not is_mint or event["issued_credential_id"] or (event["namespace"], event["name"]) in seen:
            continue
        seen.add((event["namespace"], event["name"]))
        says = f"it may be the token that the attacker minted for {event['namespace']}/{event['name']}: the log does not name that credential"
        outside = _new_outside(own_calls, account_user(event), event["received_at"], "credential_id")
        yield outside, says, str(event["user_name"])


def _new_outside(
    own_calls: OwnCalls, user: str, at: datetime, column: Literal["source_address", "credential_id"]
) -> list[Event]:
    """The calls of a user since a moment, from outside, with an address or credential that its earlier calls had not got."""
    known = {
        row[column]
        for row in own_calls.store.rows(
            f"SELECT DISTINCT {column} FROM {own_calls.store.callers} WHERE user_name = $user AND first_at < $at AND {column} IS NOT NULL",
            user=user,
            at=at,
        )
    }
    outside = (
        "user_name = $user AND (source_address IS NULL OR NOT list_contains($inside, source_address))"
        f" AND ({column} IS NULL OR NOT list_contains($known, {column}))"
    )
    return events_where(
        own_calls.store,
        f"{outside} AND received_at >= $at",
        f"{outside} AND last_at >= $at",
        user=user,
        at=at,
        inside=sorted(own_calls.cluster_addresses.own),
        known=sorted(known),
    )


def _of_let_in(store: Store, calls: dict[Place, Call], let_in: list[LetIn]) -> Iterator[_Found]:
    """Calls of principals that the attacker gave a way in and that had one before, or may have had."""
    for one in let_in:
        if not one.sure and one.arns:
            since = events_where(
                store,
                "received_at >= $at AND list_contains($arns, arn)",
                "last_at >= $at AND list_contains($arns, arn)",
                at=one.at,
                arns=sorted(one.arns),
            )
            makers = [calls[one.place]] if one.place else calls.values()
            users = {
                str(call.event["user_name"])
                for call in makers
                if one.place or call.event["access_key_id"] == one.by_key
            }
            for user in sorted(users):
                yield since, f"the attacker let {one.key} in, which may have had another way in: {one.why.says}", user
        elif one.by == "binding" and not one.sure and one.place:
            for user in sorted(one.user_names):
                every = events_where(store, "user_name = $user", "user_name = $user", user=user)
                if every and every[0]["received_at"] >= one.at:
                    rule = f"{one.why.says}, before which it made no call: its own work may begin then, or the attacker's with it"
                    yield every, rule, str(calls[one.place].event["user_name"])


def _through_bindings(store: Store, hostile: list[Event]) -> Iterator[_Found]:
    made = dict[str, Event]()
    for event in hostile:
        if (
            event["resource"] not in ("rolebindings", "clusterrolebindings")
            or event["verb"] not in ("create", "patch", "update")
            or event["subresource"]
            or not let_through(event)
            or event["dry_run"]
            or not event["name"]
        ):
            continue
        kind = "ClusterRoleBinding" if event["resource"] == "clusterrolebindings" else "RoleBinding"
        name = event["name"] if kind == "ClusterRoleBinding" else f"{event['name']}/{event['namespace']}"
        made.setdefault(f'{kind} "{name}"', event)
    for binding, event in made.items():
        through = events_where(
            store,
            "received_at >= $at AND starts_with(decision_reason, $reason)",
            at=event["received_at"],
            reason=f"RBAC: allowed by {binding} of ",
        )
        yield through, f"{binding}, which the attacker wrote, let it through", str(event["user_name"])
