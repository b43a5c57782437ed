"""The lifetimes of objects: the dump, what the log says of each uid, and the pods that tokens name.

An object is told apart by its uid; names come back. Births, deaths, nodes and owners of what is gone come from the log: create
and delete responses, pods/binding, kubelets' status patches, and the pod claims in the tokens that pods used. What an object
was at any time of its life counts: labels, selectors and bound subjects that were changed later are kept beside the last ones.
Source: Kubernetes API conventions (metadata), audit.k8s.io/v1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import orjson

from kit.inventory.thing import Thing, essence
from kit.lenient import dict_of, json_of, text_of, time_of
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.kubernetes import FOLLOWED
from kit.model.refs import Ref
from kit.model.why import Rule, Why
from kit.store.queries import LIVES, SELECTIONS, WRITES_AT, WRITES_OF, groups
from kit.store.store import Store
from kit.words import Names


def lives(
    store: Store, is_dumped: Callable[[str, str | None], bool], resources: Names = FOLLOWED, with_earlier: bool = True
) -> dict[str, Thing]:
    """Every object of some resources by uid. is_dumped: whether the dump would have an object of a resource and namespace.

    with_earlier: what was different before, too, for which every body that was written is read.
    """
    found = _from_dump(store)
    taken_at = max((thing.created_at for thing in found.values() if thing.created_at), default=None)
    found = {uid: thing for uid, thing in found.items() if thing.resource in resources}
    for uid, logged in _from_log(store, resources, with_earlier).items():
        known = found.get(uid)
        if known:
            found[uid] = _both(known, logged)
            continue
        gone = logged.deleted_at is not None or (
            is_dumped(logged.resource, logged.namespace)
            and taken_at is not None
            and logged.created_at is not None
            and logged.created_at <= taken_at
        )
        found[uid] = replace(logged, standing=False if gone else None)
    _delete_together(store, found, resources)
    for uid, claimed in _from_claims(store).items() if "pods" in resources else ():
        found.setdefault(uid, replace(claimed, standing=False if is_dumped("pods", claimed.namespace) else None))
    return found


def _both(dumped: Thing, logged: Thing) -> Thing:
    """What dump and log say of one object. A dump that shows no deletion under way was taken before a deletion in the log."""
    gone = logged.deleted_at is not None and not _is_terminating(dumped)
    return replace(
        dumped,
        standing=not gone,
        deleted_at=logged.deleted_at if gone else None,
        why=(*dumped.why, *logged.why),
        node=dumped.node or logged.node,
        earlier=logged.ever if logged.body else logged.earlier,
    )


def _is_terminating(thing: Thing) -> bool:
    return bool(dict_of(thing.body.get("metadata")).get("deletionTimestamp"))


def _from_dump(store: Store) -> dict[str, Thing]:
    found = dict[str, Thing]()
    for batch in store.batches(
        "SELECT resource, namespace, name, uid, object FROM objects WHERE uid IS NOT NULL"
        " AND NOT starts_with(api_version, 'aws:') AND list_contains($resources, resource) ORDER BY file, item",
        resources=sorted(FOLLOWED),
    ):
        for row in batch:
            body = essence(orjson.loads(row["object"]))
            found[row["uid"]] = Thing(
                resource=row["resource"],
                namespace=row["namespace"] or None,
                name=row["name"],
                uid=row["uid"],
                created_at=time_of(dict_of(body.get("metadata")).get("creationTimestamp")),
                standing=True,
                body=body,
                node=text_of(body["spec"].get("nodeName")) if row["resource"] == "pods" else None,
                why=(Why(Ref.of("object", row["uid"]), "stands in the cluster dump", Rule.LIFE),),
            )
    return found


_BODIES = ("", "status", "ephemeralcontainers", "resize")


def _from_log(store: Store, resources: Names, with_earlier: bool) -> dict[str, Thing]:
    asked: dict[str, Any] = {"resources": sorted(resources), "bodies": list(_BODIES)}
    lives = {row["uid"]: row for row in store.rows(LIVES, **asked)}
    times = sorted({row[name] for row in lives.values() for name in row if name.endswith("_at") and row[name]})
    _put_events(lives, store.batches(WRITES_AT, **asked, times=times) if times else ())
    # Where the level says that there was a body and there is none, an earlier one counts.
    unsure = [
        uid
        for uid, row in lives.items()
        if row["body_at"] and not ("body" in row and row["body"]["received_at"] >= row["body_at"])
    ]
    _put_events(lives, store.batches(WRITES_OF, **asked, uids=unsure) if unsure else (), whole=unsure)
    parts = _parts(store) if lives and with_earlier else {}
    found, refs = dict[str, Thing](), _refs_of(store, lives.values())
    for uid, row in lives.items():
        body = row["body"]["body"] if "body" in row else {}
        metadata = dict_of(body.get("metadata"))
        placed = dict_of(row.get("placed"))
        why = list[Why]()
        if row.get("created"):
            why.append(Why(refs[_place(row["created"])], f"created by {row['created']['user_name']}", Rule.LIFE))
        if placed:
            why.append(Why(refs[_place(placed)], f"ran on node {placed['node']}", Rule.LIFE))
        if row.get("deleted"):
            why.append(
                Why(refs[_place(row["deleted"])], f"deletion asked for by {row['deleted']['user_name']}", Rule.LIFE)
            )
        if not why:
            why.append(Why(refs[_place(row["first"])], "was changed", Rule.LIFE))
        found[uid] = Thing(
            resource=row["resource"],
            namespace=row["namespace"] or None,
            name=text_of(metadata.get("name")) or row["name"],
            uid=uid,
            created_at=time_of(metadata.get("creationTimestamp")) or row["created_at"],
            deleted_at=row["deleted_at"],
            body=body,
            node=text_of(dict_of(body.get("spec")).get("nodeName")) or placed.get("node")
            if row["resource"] == "pods"
            else None,
            why=tuple(why),
            earlier=tuple(parts.get(uid, ())),
        )
    return found


def _delete_together(store: Store, found: dict[str, Thing], resources: Names) -> None:
    """End the lives of what a deletecollection deleted: the items of its response; without one and without a selector, as when a
    namespace is deleted, all that there was of its resource and namespace and that the dump does not have."""
    of_place = defaultdict[tuple[str, str | None], list[str]](list)
    for thing in found.values():
        if thing.standing is not True and thing.deleted_at is None:
            of_place[thing.resource, thing.namespace].append(thing.uid)
    for batch in store.batches(
        "SELECT audit_id, file, item, user_name, received_at, resource, namespace, request_uri, deleted_uids FROM audit"
        " WHERE verb = 'deletecollection' AND list_contains($resources, resource) AND response_code BETWEEN 200 AND 299"
        " AND NOT dry_run ORDER BY received_at, file, item",
        resources=sorted(resources),
    ):
        for row in batch:
            at, says = row["received_at"], f"deletion with others of its kind asked for by {row['user_name']}"
            why = Why(Ref.of("audit", row["audit_id"]), says)
            if row["deleted_uids"] is not None:
                uids = [str(uid) for uid in orjson.loads(row["deleted_uids"])]
            elif "elector" in (row["request_uri"] or ""):
                continue
            else:
                place = of_place[row["resource"], row["namespace"] or None]
                uids = [uid for uid in place if found[uid].existed_at(at)]
            for thing in (found[uid] for uid in uids if uid in found):
                if thing.deleted_at is None and not _is_terminating(thing):
                    found[thing.uid] = replace(thing, deleted_at=at, standing=False, why=(*thing.why, why))


def _put_events(lives: dict[str, dict[str, Any]], batches: Iterable[list[dict[str, Any]]], whole: Names = ()) -> None:
    """Put the events that tell of each life beside its times: of those that tell the same the first, of nodes and bodies the last.

    whole: uids whose bodies are all looked at, not only those of the times.
    """
    looked_at = set(whole)
    for event in (event for batch in batches for event in batch):
        row, body = lives[event["uid"]], event.pop("body")
        place = _place(event)
        for name, tells in (("first", True), ("created", event["creates"]), ("deleted", event["deletes"])):
            if tells and (name not in row or place < _place(row[name])):
                row[name] = event
        is_asked = event["uid"] in looked_at or event["received_at"] in (row["body_at"], row["deleted_at"])
        for name, tells in (("placed", event["node"]), ("body", body and is_asked)):
            if tells and (name not in row or place > _place(row[name])):
                row[name] = event | ({"body": essence(orjson.loads(body))} if name == "body" else {})


def _refs_of(store: Store, lives: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], Ref]:
    """The Refs of the events that tell of lives, by their places."""
    events = [row[name] for row in lives for name in ("first", "created", "placed", "deleted") if name in row]
    return dict(zip(map(_place, events), store.event_refs(events), strict=True))


def _place(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["received_at"], event["file"], event["item"]


def _parts(store: Store) -> dict[str, list[dict[str, Any]]]:
    """uid → the labels, selector and subjects that an object was ever written with, each different one once, oldest first."""
    found, known = defaultdict[str, dict[bytes, dict[str, Any]]](dict), dict[str, tuple[bytes, dict[str, Any]]]()
    for batch in store.batches(SELECTIONS):
        for row in batch:
            if row["selection"] not in known:
                selection = dict_of(json_of(row["selection"]))
                part: dict[str, Any] = {
                    "metadata": {"labels": selection.get("labels")},
                    "spec": {"selector": selection.get("selector")},
                }
                part |= {"subjects": selection["subjects"]} if selection.get("subjects") else {}
                known[row["selection"]] = orjson.dumps(part), part
            text, part = known[row["selection"]]
            found[row["uid"]].setdefault(text, part)
    return {uid: list(parts.values()) for uid, parts in found.items()}


def _from_claims(store: Store) -> dict[str, Thing]:
    """Pods known only by the claims in the tokens that were used: partial, but there."""
    found = dict[str, Thing]()
    for row in groups(
        store,
        "audit",
        ("claimed_pod_uid AS uid",),
        "claimed_pod_uid IS NOT NULL AND starts_with(user_name, 'system:serviceaccount:')",
        more="min(claimed_pod_name) AS name, min(claimed_node_name) AS node, min(user_name) AS user_name",
    ):
        namespace, _, account = row["user_name"].removeprefix(SERVICE_ACCOUNT).partition(":")
        says = f"a token bound to it was used as {row['user_name']}"
        found[row["uid"]] = Thing(
            resource="pods",
            namespace=namespace,
            name=row["name"],
            uid=row["uid"],
            body={"metadata": {}, "spec": {"serviceAccountName": account}},
            node=row["node"],
            why=(Why(Ref.of("audit", row["first"]["audit_id"]), says),),
            partial=True,
        )
    return found
