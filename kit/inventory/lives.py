"""The lifetimes of objects: the dump, what the log says of each uid, and the pods that tokens name.

An object is told apart by its uid; names come back. Births, deaths, nodes and owners of what is gone come from the log: create
and delete responses, pods/binding, kubelets' status patches, and the pod claims in the tokens that pods used. What an object
was at any time of its life counts: labels, selectors and bound subjects that were changed later are kept beside the last ones.
Source: Kubernetes API conventions (metadata), audit.k8s.io/v1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from kit.inventory.thing import Thing, essence
from kit.lenient import dict_of, json_of, text_of, time_of
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.kubernetes import FOLLOWED
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store


def lives(store: Store, is_dumped: Callable[[str, str | None], bool]) -> dict[str, Thing]:
    """Every object by uid. is_dumped: whether the dump would have an object of a resource and namespace."""
    found = _from_dump(store)
    taken_at = max((thing.created_at for thing in found.values() if thing.created_at), default=None)
    for uid, logged in _from_log(store).items():
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
    _delete_together(store, found)
    for uid, claimed in _from_claims(store).items():
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
                why=(Why(Ref.of("object", row["uid"]), "stands in the cluster dump"),),
            )
    return found


_BODIES = ("", "status", "ephemeralcontainers", "resize")
# One row an object, without bodies: those of a long log do not fit into memory together.
_LIVES = """
WITH writes AS (
  SELECT resource, namespace, name, coalesce(uid, json_extract_string(request_object, '$.metadata.uid')) AS uid, verb,
    coalesce(subresource, '') AS subresource, response_code, received_at, audit_id, user_name, file, line, item,
    list_contains($bodies, coalesce(subresource, '')) AND response_object IS NOT NULL
      -- A delete is answered with the object or with a Status. Only CASE spares the others the parse.
      AND CASE WHEN verb = 'delete' THEN json_extract_string(response_object, '$.metadata.uid') IS NOT NULL ELSE true END AS has_body,
    CASE WHEN subresource IS NULL AND verb <> 'delete' AND list_contains(['pods', 'services', 'rolebindings', 'clusterrolebindings'], resource)
      THEN json_extract_string(response_object, ['$.metadata.labels', '$.spec.selector', '$.subjects']) END AS parts,
    CASE WHEN subresource = 'binding' THEN json_extract_string(request_object, '$.target.name')
      WHEN resource = 'pods' AND subresource = 'status' AND starts_with(user_name, 'system:node:') THEN substr(user_name, 13)
      END AS node,
    verb = 'create' AND coalesce(subresource, '') = '' OR verb = 'patch' AND coalesce(subresource, '') = '' AND response_code = 201
      AS creates,
    verb = 'delete' AND coalesce(subresource, '') = '' AS deletes,
    {'audit_id': audit_id, 'file': file, 'line': line, 'item': item, 'user_name': user_name, 'node': node} AS event
  FROM audit
  WHERE response_code BETWEEN 200 AND 299 AND list_contains($resources, resource)
    AND list_contains(['create', 'update', 'patch', 'delete'], verb) AND NOT dry_run
)
SELECT uid, any_value(resource) AS resource, any_value(namespace) AS namespace, any_value(name) AS name,
  min(received_at) FILTER (creates) AS created_at, min_by(event, received_at) FILTER (creates) AS created,
  max(received_at) FILTER (deletes) AS deleted_at, min_by(event, received_at) FILTER (deletes) AS deleted,
  max_by(event, received_at) FILTER (node IS NOT NULL) AS placed,
  min_by(event, received_at) AS first,
  max_by(event, received_at) FILTER (has_body) AS last_body,
  list(DISTINCT parts) FILTER (has_body AND parts IS NOT NULL) AS parts
FROM writes WHERE uid IS NOT NULL GROUP BY uid
"""


def _from_log(store: Store) -> dict[str, Thing]:
    lives = {row["uid"]: row for row in store.rows(_LIVES, resources=sorted(FOLLOWED), bodies=list(_BODIES))}
    bodies = _last_bodies(store, lives)
    found = dict[str, Thing]()
    for uid, row in lives.items():
        body = bodies.get(uid, {})
        metadata = dict_of(body.get("metadata"))
        placed = dict_of(row["placed"])
        why = list[Why]()
        if row["created"]:
            why.append(Why(store.event_ref(row["created"]), f"created by {row['created']['user_name']}"))
        if placed:
            why.append(Why(store.event_ref(placed), f"ran on node {placed['node']}"))
        if row["deleted"]:
            why.append(Why(store.event_ref(row["deleted"]), f"deletion asked for by {row['deleted']['user_name']}"))
        if not why:
            why.append(Why(store.event_ref(row["first"]), "was changed"))
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
            earlier=tuple(_part_of_body(*parts) for parts in row["parts"] or ()),
        )
    return found


def _delete_together(store: Store, found: dict[str, Thing]) -> None:
    """End the lives of what a deletecollection deleted: the items of its response; without one and without a selector, as when a
    namespace is deleted, all that there was of its resource and namespace and that the dump does not have."""
    of_place = defaultdict[tuple[str, str | None], list[str]](list)
    for thing in found.values():
        if thing.standing is not True and thing.deleted_at is None:
            of_place[thing.resource, thing.namespace].append(thing.uid)
    for batch in store.batches(
        "SELECT audit_id, file, item, user_name, received_at, resource, namespace, request_uri, response_object FROM audit"
        " WHERE verb = 'deletecollection' AND list_contains($resources, resource) AND response_code BETWEEN 200 AND 299"
        " AND NOT dry_run ORDER BY received_at, file, item",
        size=20,
        resources=sorted(FOLLOWED),
    ):
        for row in batch:
            at, says = row["received_at"], f"deletion with others of its kind asked for by {row['user_name']}"
            why = Why(Ref.of("audit", row["audit_id"]), says)
            items = dict_of(orjson.loads(row["response_object"] or "{}")).get("items")
            if isinstance(items, list):
                uids = [str(dict_of(dict_of(one).get("metadata")).get("uid")) for one in items]
            elif "elector" in (row["request_uri"] or ""):
                continue
            else:
                place = of_place[row["resource"], row["namespace"] or None]
                uids = [uid for uid in place if found[uid].existed_at(at)]
            for thing in (found[uid] for uid in uids if uid in found):
                if thing.deleted_at is None and not _is_terminating(thing):
                    found[thing.uid] = replace(thing, deleted_at=at, standing=False, why=(*thing.why, why))


def _last_bodies(store: Store, lives: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """uid → the body of the last event that had one."""
    places = {
        (row["last_body"]["file"], row["last_body"]["item"]): uid for uid, row in lives.items() if row["last_body"]
    }
    found = dict[str, dict[str, Any]]()
    for file in sorted({file for file, _ in places}):
        items = sorted(item for of, item in places if of == file)
        for batch in store.batches(
            "SELECT item, response_object FROM audit WHERE file = $file AND item IN (SELECT unnest($items))",
            file=file,
            items=items,
        ):
            for row in batch:
                found[places[(file, row["item"])]] = essence(orjson.loads(row["response_object"]))
    return found


def _part_of_body(labels: str | None, selector: str | None, subjects: str | None) -> dict[str, Any]:
    part = {"metadata": {"labels": json_of(labels)}, "spec": {"selector": json_of(selector)}}
    return part | {"subjects": json_of(subjects)} if subjects else part


def _from_claims(store: Store) -> dict[str, Thing]:
    """Pods known only by the claims in the tokens that were used: partial, but there."""
    found = dict[str, Thing]()
    for row in store.rows(
        "SELECT claimed_pod_uid AS uid, any_value(claimed_pod_name) AS name, any_value(claimed_node_name) AS node,"
        " any_value(user_name) AS user_name, min_by(audit_id, received_at) AS audit_id FROM audit"
        " WHERE claimed_pod_uid IS NOT NULL AND starts_with(user_name, 'system:serviceaccount:') GROUP BY claimed_pod_uid"
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
            why=(Why(Ref.of("audit", row["audit_id"]), says),),
            partial=True,
        )
    return found
