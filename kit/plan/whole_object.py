"""An object as it stood before the attacker deleted it, whole, from the evidence: what the inventory keeps of it is abridged and makes no object.

Sources: audit.k8s.io/v1 (responseObject at level RequestResponse holds the whole object, after updates of its status too); Kubernetes "Garbage
Collection" (finalizers of a deletion that goes on); EKS Best Practices "Auditing and logging" (which writes are logged with bodies).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from kit.lenient import dict_of, list_of
from kit.model.kubernetes import OBJECT_KINDS
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.queries import WHOLE_BODIES
from kit.store.store import Store
from kit.words import utc

MADE_BY_OTHERS = (
    *("pods", "replicasets", "nodes", "events", "endpoints", "endpointslices", "leases"),
    *("secrets", "jobs", "namespaces", "persistentvolumes", "persistentvolumeclaims"),
)
"""What is not made again from its body: its controller makes it, its content is secret or gone, or it would run once more."""
_WHOLE = (
    "",
    "status",
    "scale",
    "ephemeralcontainers",
    "resize",
)  # subresources; scale answers with the object to a patch alone
_OF_DELETION = ("foregroundDeletion", "orphan")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class WholeObject(NamedTuple):
    """An object's whole content, and the record of the evidence that has it."""

    body: dict[str, Any]
    why: Why


def whole_before(
    store: Store, resource: str, namespace: str | None, name: str, uid: str | None, before: datetime | None
) -> WholeObject | None:
    """The object of a name as it was last written before a moment; None where no evidence has all of it. uid: which one is meant."""
    kind = OBJECT_KINDS.get(resource)
    if kind is None or resource in MADE_BY_OTHERS:
        return None
    for row in store.rows(
        WHOLE_BODIES, resource=resource, namespace=namespace, name=name, bodies=list(_WHOLE), before=before
    ):
        body = dict_of(orjson.loads(row["response_object"]))
        metadata = dict_of(body.get("metadata"))
        is_it = body.get("kind") == kind.kind and body.get("apiVersion") and metadata.get("name") == name
        if is_it and uid in (None, metadata.get("uid")):
            says = f"its whole content, as {row['user_name']} had it written {utc(row['received_at'])}"
            return WholeObject(_as_it_was(body), Why(store.event_ref(row), says))
    for row in store.rows("SELECT object FROM objects WHERE uid = $uid", uid=uid or ""):
        body = dict_of(orjson.loads(row["object"]))
        whole = {"apiVersion": kind.api_version, "kind": kind.kind} | body
        return WholeObject(
            _as_it_was(whole), Why(Ref.of("object", str(uid)), "its whole content, as a cluster dump has it")
        )
    return None


def _as_it_was(body: dict[str, Any]) -> dict[str, Any]:
    """An object without its status, without second copies of what it holds, and without the marks of its own deletion."""
    made = {name: value for name, value in body.items() if name != "status"}
    metadata = dict_of(made.get("metadata"))
    annotations = dict_of(metadata.get("annotations"))
    kept = {
        "annotations": {key: value for key, value in annotations.items() if key != _LAST_APPLIED},
        "finalizers": [one for one in list_of(metadata.get("finalizers")) if one not in _OF_DELETION],
    }
    dropped = ("managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", *kept)
    own = {key: value for key, value in metadata.items() if key not in dropped}
    return made | {"metadata": own | {key: value for key, value in kept.items() if value}}
