"""The objects of a kind as a frame, with their lifetimes where the evidence tells them; and who was given which secret."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from kit.attribution.calls import Event, events_where, place_of
from kit.attribution.deeds import Deed, Deeds
from kit.case.frames import typed
from kit.errors import CallError
from kit.inventory.thing import Thing
from kit.lenient import dict_of, time_of
from kit.model.kinds import Certainty
from kit.model.kubernetes import FOLLOWED, OBJECT_KINDS
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
        found = [_row(one, name, dumped.pop(one.uid, {}).get("object")) for one in inventory.of(resource)]
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


def who_read_secrets(inventory: Inventory, attacker: Attacker) -> pd.DataFrame:
    """Who was given which secret, by name or in a list or watch, anyone in the log; one row an identity and secret."""
    read = "resource = 'secrets' AND subresource IS NULL AND verb IN ('get', 'list', 'watch') AND NOT coalesce(dry_run, false)"
    # A long request has one event a stage; the last one tells how long it went on.
    calls = {
        (event["audit_id"], event["received_at"], event["user_name"], event["request_uri"]): event
        for event in events_where(inventory.store, read)
    }
    deeds, found = Deeds(inventory.store, inventory), dict[tuple[str, str], dict[str, Any]]()
    for event in calls.values():
        for deed in deeds.of(event):
            is_deed = isinstance(deed, Deed)
            secret, certainty = (deed.key, deed.certainty) if isinstance(deed, Deed) else (None, "possible")
            row = found.setdefault((event["user_name"] or "", secret or deed.says), _new(event, secret))
            ref = str(inventory.store.event_ref(event))
            _add(
                row, event, ref, certainty, deed.says if is_deed else f"{deed.says}.", place_of(event) in attacker.calls
            )
    rows = sorted(found.values(), key=lambda row: (not row["attacker"], row["user_name"] or "", row["secret"] or "~"))
    return typed("secrets_read", [{**row, "how": "; ".join(row["how"])} for row in rows])


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
        "source_addresses": list[str](),
        "refs": list[str](),
    }


def _add(row: dict[str, Any], event: Event, ref: str, certainty: Certainty | str, how: str, is_attackers: bool) -> None:
    row["certainty"] = "affected" if certainty == "affected" else row["certainty"]
    row["how"][how] = None
    row["attacker"] = row["attacker"] or is_attackers
    row["calls"] += 1
    row["last_at"] = event["received_at"]
    if event["source_address"] and event["source_address"] not in row["source_addresses"]:
        row["source_addresses"].append(event["source_address"])
    if len(row["refs"]) < _MOST_REFS:
        row["refs"].append(ref)
