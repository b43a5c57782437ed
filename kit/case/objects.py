"""The objects of a kind as a frame, with their lifetimes where the evidence tells them; and who was given which secret."""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import orjson

from kit.attribution.calls import Event, Place, place_of
from kit.attribution.deeds import Deed, Deeds
from kit.case.frames import typed
from kit.errors import CallError
from kit.inventory.thing import Thing
from kit.lenient import dict_of, time_of
from kit.model.kinds import Certainty
from kit.model.kubernetes import FOLLOWED, OBJECT_KINDS
from kit.store.queries import SECRET_READS
from kit.store.store import Store
from kit.words import nearest

if TYPE_CHECKING:
    import pandas as pd

    from kit.attribution.attacker import Attacker
    from kit.inventory.inventory import Inventory

_MOST_REFS = 10


def objects(inventory: Inventory, kind: str, namespace: str | None, at: datetime | None) -> pd.DataFrame:
    """The objects of a kind: its plural API name, its kind or AWS's name of the thing. Raises CallError for an unknown kind.

    at: only what existed then; what has no known birth or death is taken to have existed.
    """
    resource, name = _kind(inventory, kind)
    dumped = {
        row["uid"] or row["item"]: row
        for row in inventory.store.rows(
            "SELECT resource, kind, namespace, name, uid, object, file, item FROM objects WHERE kind = $kind ORDER BY file, item",
            kind=name,
        )
    }
    found = []
    if resource in FOLLOWED:
        found = [_row(one, name, dumped.pop(one.uid, {}).get("object")) for one in inventory.alone(resource)]
    found += [_dumped(row) for row in dumped.values()]
    rows = [row for row in found if _is_chosen(row, namespace, at)]
    return typed("objects", sorted(rows, key=lambda row: (row["namespace"] or "", row["name"] or "", row["uid"] or "")))


def _kind(inventory: Inventory, kind: str) -> tuple[str, str]:
    """Plural API name and kind of what somebody called a kind; "" for the first of a thing of AWS."""
    names = {one.kind: resource for resource, one in OBJECT_KINDS.items()}
    names |= {
        row["kind"]: row["resource"] or ""
        for row in inventory.store.rows("SELECT DISTINCT kind, resource FROM objects WHERE kind <> ''")
    }
    for name, resource in names.items():
        if kind.lower() in (name.lower(), resource):
            return resource, name
    raise CallError(f"{kind!r} is no kind of object", next=nearest(kind, sorted({*names.values(), *names} - {""})))


def _row(thing: Thing, kind: str, text: str | None) -> dict[str, Any]:
    return {
        "ref": f"object:{thing.uid}",
        "resource": thing.resource,
        "kind": kind,
        "namespace": thing.namespace,
        "name": thing.name,
        "uid": thing.uid,
        "node": thing.node,
        "service_account": thing.service_account,
        "created_at": thing.created_at,
        "deleted_at": thing.deleted_at,
        "standing": thing.standing,
        "why": "; ".join(dict.fromkeys(why.says for why in thing.why)),
        "object": text,
    }


def _dumped(row: dict[str, Any]) -> dict[str, Any]:
    """An object of a kind whose life is not followed, or of AWS: as it stood when it was asked for."""
    about = dict_of(dict_of(orjson.loads(row["object"])).get("metadata"))
    return {
        **row,
        "ref": f"object:{row['uid']}" if row["uid"] else None,
        "created_at": time_of(about.get("creationTimestamp")),
        "standing": True,
        "why": "stands in the cluster dump" if row["resource"] else "AWS described it",
    }


def _is_chosen(row: dict[str, Any], namespace: str | None, at: datetime | None) -> bool:
    born, gone = row.get("created_at"), row.get("deleted_at")
    existed = at is None or ((born is None or born <= at) and (gone is None or gone > at))
    return existed and (not namespace or row["namespace"] == namespace)


@dataclass
class _Reads:
    """Calls that were given the same secrets: of one caller, for the same, while the same secrets were there. events: the first of them."""

    events: list[Event]
    last_at: datetime
    calls: int = 0
    attackers: bool = False


def who_read_secrets(inventory: Inventory, attacker: Attacker) -> pd.DataFrame:
    """Who was given which secret, by name or in a list or watch, anyone in the log; one row an identity and secret."""
    store, deeds = inventory.store, Deeds(inventory.store, inventory)
    found = dict[tuple[str, str], dict[str, Any]]()
    # Controllers ask for the same again and again: what was given is worked out once for all of these calls.
    for read in _reads_alike(store, attacker.calls, deeds.moments("secrets")).values():
        for deed in deeds.of(read.events[0]):
            is_deed = isinstance(deed, Deed)
            secret, certainty = (deed.key, deed.certainty) if isinstance(deed, Deed) else (None, "possible")
            user = read.events[0]["user_name"] or ""
            row = found.setdefault((user, secret or deed.says), _new(read.events[0], secret))
            _add(row, read, certainty, deed.says if is_deed else f"{deed.says}.")
    rows = sorted(found.values(), key=lambda row: (not row["attacker"], row["user_name"] or "", row["secret"] or "~"))
    return typed("secrets_read", [_shown(store, row) for row in rows])


def _reads_alike(store: Store, hostile: Container[Place], moments: list[datetime]) -> dict[tuple[Any, ...], _Reads]:
    """The calls that read secrets, in groups by what tells what they were given, in the order of each group's first."""
    groups = dict[tuple[Any, ...], _Reads]()
    for batch in store.batches(SECRET_READS, size=20_000):
        for event in cast("list[Event]", batch):
            start, by_name = event["received_at"], event["verb"] == "get" and event["name"]
            end = max(start, event["stage_at"] or start) if event["verb"] == "watch" else start
            there = () if by_name else (bisect_left(moments, start), bisect(moments, start), bisect(moments, end))
            key = (
                event["user_name"],
                event["source_address"],
                event["verb"],
                event["namespace"],
                event["name"],
                "" if by_name else event["request_uri"],
                there,
            )
            group = groups.setdefault(key, _Reads([], start))
            group.calls += 1
            group.last_at = start
            group.attackers = group.attackers or place_of(event) in hostile
            if len(group.events) < _MOST_REFS:
                group.events.append(event)
    return groups


def _new(event: Event, secret: str | None) -> dict[str, Any]:
    namespace, _, name = (secret or "").partition("/")
    return {
        "user_name": event["user_name"],
        "secret": secret,
        "namespace": namespace or None,
        "name": name or None,
        "certainty": "possible",
        "how": dict[str, None](),
        "attacker": False,
        "calls": 0,
        "first_at": event["received_at"],
        "last_at": event["received_at"],
        "source_addresses": list[str](),
        "events": list[Event](),
    }


def _add(row: dict[str, Any], read: _Reads, certainty: Certainty | str, how: str) -> None:
    address = read.events[0]["source_address"]
    row["certainty"] = "affected" if certainty == "affected" else row["certainty"]
    row["how"][how] = None
    row["attacker"] = row["attacker"] or read.attackers
    row["calls"] += read.calls
    row["last_at"] = max(row["last_at"], read.last_at)
    if address and address not in row["source_addresses"]:
        row["source_addresses"].append(address)
    row["events"] += read.events


def _shown(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    first = sorted(row["events"], key=lambda event: (event["received_at"], event["file"], event["item"]))[:_MOST_REFS]
    return {**row, "how": "; ".join(row["how"]), "refs": [str(store.event_ref(event)) for event in first]}
