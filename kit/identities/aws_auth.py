"""ConfigMap kube-system/aws-auth as the evidence has it: whom it mapped when, and which mappings the attacker wrote.

Sources: EKS User Guide "Grant IAM users and roles access"; how its lines are read: kit.identities.mapping.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from kit.identities.mapping import ACCOUNTS, MEMBERS, Mapping, elements, in_effect, mapped_accounts, mapping_of
from kit.identities.way import Way
from kit.inventory.cloud import partition_of_case
from kit.lenient import dict_of, json_of
from kit.model.arn import Arn, account_of
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store
from kit.words import Names

_MAPS = (*MEMBERS, ACCOUNTS)


def mappings(store: Store) -> Iterator[Way]:
    """What aws-auth mapped: as the dump has it, and as each change in the log left it. One is over when the last change left it out
    and the dump, which may be older or newer, has not got it either."""
    seen, dumped = dict[tuple[str, ...], Way](), set[tuple[str, ...]]()
    partition = partition_of_case(store)
    for at, data, why, is_whole, _ in _config_maps(store):
        known = {key for key, *_ in seen}
        for key in _MAPS if is_whole else data.keys() & set(_MAPS):
            found = _mapped(key, data.get(key), why, partition)
            present = {(key, way.name, way.user_name, *way.groups): way for way in found}
            for place, way in present.items():
                fresh = replace(way, since=at if key in known else None)
                seen[place] = replace(seen.get(place, fresh), until=None)
            if at is None:
                dumped |= set(present)
            for place in [place for place in seen if place[0] == key and place not in present and place not in dumped]:
                seen[place] = replace(seen[place], until=seen[place].until or at)
    known_ways = {place[1:] for place in seen}
    yield from seen.values()
    yield from (way for way in _printed(store) if (way.name, way.user_name, *way.groups) not in known_ways)


@dataclass(frozen=True)
class AwsAuthChange:
    """What one change of aws-auth did. added, removed: mappings. known: whether the evidence has what stood before; without it all
    that the change left counts as added. began: mappings that stood before and let somebody in since, as a later line of their ARN went."""

    at: datetime
    ref: Ref
    added: tuple[Way, ...]
    removed: tuple[Way, ...]
    known: bool
    began: tuple[Way, ...] = ()


def changes(store: Store) -> list[AwsAuthChange]:
    """The changes of aws-auth in the audit log, oldest first, one for each member of its data that it left otherwise."""
    found, before = list[AwsAuthChange](), dict[str, dict[tuple[str, ...], Way]]()
    partition = partition_of_case(store)
    for at, data, why, _, patched in _config_maps(store):
        for key in sorted(data.keys() & set(_MAPS)) if at is not None else ():
            assert at is not None
            lines = _mapped(key, data.get(key), why, partition)
            present = {(way.name, way.user_name, *way.groups): way for way in lines}
            stood = before.get(key, {})
            added = tuple(present[place] for place in sorted(present.keys() - stood.keys()))
            removed = tuple(stood[place] for place in sorted(stood.keys() - present.keys()))
            both = sorted(present.keys() & stood.keys())
            began = [present[one] for one in both if stood[one].maps_nobody and not present[one].maps_nobody]
            if (added or removed) and (patched is None or key in patched):
                found.append(AwsAuthChange(at, why.ref, added, removed, key in before, tuple(began)))
            before[key] = present
    return found


def unread_members(store: Store) -> list[tuple[datetime | None, str, Why]]:
    """The members of aws-auth that the authenticator could not read, each with the time of the change and what it is instead of a list.

    It then maps nobody by that member, and by the others as before ("Only saving data that was good").
    """
    found = dict[str, tuple[datetime | None, str, Why]]()
    for at, data, why, _, _ in _config_maps(store):
        for key in sorted(data.keys() & set(_MAPS)):
            try:
                elements(data[key])
            except ValueError as error:
                found.setdefault(f"{key} {error}", (at, f"{key} of aws-auth {error}", why))
    return list(found.values())


def written_mappings(store: Store, ways: list[Way], hostile: Names, account: str | None) -> tuple[list[Way], list[Way]]:
    """Mappings in aws-auth that stand and that hostile changes (refs of events) wrote; and those of which that cannot be told.

    Without what stood before, a principal of another account than the cluster's counts as the attacker's.
    """
    standing = {
        (one.name, one.user_name, *one.groups): one for one in ways if one.kind == "aws_auth" and one.until is None
    }
    written, unclear = dict[tuple[str, ...], Way](), dict[tuple[str, ...], Way]()
    for change in changes(store):
        for way in change.added if str(change.ref) in hostile else ():
            place = (way.name, way.user_name, *way.groups)
            if place in standing:
                foreign = account is not None and account_of(way.name) != account
                found = written if change.known or foreign else unclear
                found[place] = replace(standing[place], why=way.why)
    return list(written.values()), [
        one for place, one in unclear.items() if place not in written and "system:nodes" not in one.groups
    ]


def last_data(store: Store) -> dict[str, str] | None:
    """The members of aws-auth as the dump has them, else as the last change left them whole; None where no evidence has that."""
    whole = [one for one in _config_maps(store) if one.is_whole]
    dumped = [one for one in whole if one.at is None]
    last = (dumped or whole)[-1:]
    return {name: text for one in last for name, text in one.data.items() if isinstance(text, str)} if last else None


class _Written(NamedTuple):
    """The data of aws-auth in the dump (at: None) or after a change. is_whole: whether that is all of it, not only what a patch carries.
    patched: the members that a merge patch carries; the others stayed, though the answer has them too. None where all were written."""

    at: datetime | None
    data: dict[str, Any]
    why: Why
    is_whole: bool
    patched: frozenset[str] | None


def _config_maps(store: Store) -> Iterator[_Written]:
    """The data of aws-auth in the dump, then after each change."""
    for row in store.rows(
        "SELECT uid, object FROM objects WHERE resource = 'configmaps' AND namespace = 'kube-system' AND name = 'aws-auth'"
    ):
        data = dict_of(json_of(row["object"])).get("data")
        if isinstance(data, dict):
            yield _Written(
                None, data, Why(Ref.of("object", str(row["uid"])), "aws-auth in the cluster dump"), True, None
            )
    for row in store.rows(
        "SELECT audit_id, file, item, received_at, user_name, verb, request_object, response_object FROM audit"
        " WHERE resource = 'configmaps' AND namespace = 'kube-system' AND name = 'aws-auth' AND NOT dry_run"
        " AND verb IN ('create', 'update', 'patch') AND response_code BETWEEN 200 AND 299 ORDER BY received_at, file, item"
    ):
        answered = dict_of(json_of(row["response_object"])).get("data")
        asked = dict_of(json_of(row["request_object"])).get("data")
        data = answered if isinstance(answered, dict) else asked
        if isinstance(data, dict):
            why = Why(store.event_ref(row), f"aws-auth as {row['user_name']} left it")
            is_whole = data is answered or row["verb"] != "patch"
            patched = frozenset(asked) if row["verb"] == "patch" and isinstance(asked, dict) else None
            yield _Written(row["received_at"], data, why, is_whole, patched)


def _printed(store: Store) -> Iterator[Way]:
    """The mappings that eksctl printed."""
    partition = partition_of_case(store)
    for row in store.rows("SELECT name, object FROM objects WHERE kind = 'IamIdentityMapping' ORDER BY file, item"):
        value, why = dict_of(json_of(row["object"])), Why(Ref.of("aws", row["name"]), "printed by eksctl")
        if value.get("account"):
            yield _of_account(str(value["account"]), why, partition)
        else:
            yield _way(mapping_of("mapRoles" if value.get("rolearn") else "mapUsers", value), why)


def _of_account(account: str, why: Why, partition: str) -> Way:
    says = f"aws-auth lets in all of account {account} under their ARNs ({why.says})"
    return Way("aws_auth", str(Arn(partition, "iam", "", account, "*")), "", (), replace(why, says=says))


def _way(one: Mapping, why: Why) -> Way:
    to = f"to {one.user_name or 'its ARN'} with groups {', '.join(one.groups) or 'none'}"
    says = f"aws-auth maps {one.arn} {to}" + (f", since {one.odd}" if one.odd else "")
    if one.maps_nobody:
        says = f"a line of aws-auth for {one.arn or one.user_name} maps nobody: {one.maps_nobody}"
    why = replace(why, says=f"{says} ({why.says})")
    return Way("aws_auth", one.arn, one.user_name, tuple(one.groups), why, maps_nobody=one.maps_nobody)


def _mapped(key: str, text: Any, why: Why, partition: str) -> Iterator[Way]:
    """The mappings in one member of aws-auth."""
    if key == ACCOUNTS:
        yield from (_of_account(account, why, partition) for account in mapped_accounts(text))
        return
    try:
        found = [mapping_of(key, one) for one in elements(text) if isinstance(one, dict)]
    except ValueError:
        return
    yield from (_way(one, why) for one in in_effect(key, found))
