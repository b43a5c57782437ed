"""What stands in the cluster, as the acts read it: one object, the pod that is meant, what a selector takes in, whether a thing is gone.

Sources: Kubernetes API reference (LabelSelector; ObjectMeta: deletionTimestamp is when the grace period ends, finalizers hold longer).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check
from kit.live.changes.objects import METADATA_ONLY, url_path
from kit.live.connection import Connection
from kit.live.errors import GONE, Missing, Refused
from kit.plan.journal import Entry
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

_LEEWAY = timedelta(minutes=1)


def found(live: Connection, resource: str, namespace: str | None, name: str) -> dict[str, Any] | None:
    """An object, None when there is none of that name. Of a Secret only its metadata is asked for."""
    accept = METADATA_ONLY if resource == "secrets" else "application/json"
    try:
        return dict(live.kubernetes("GET", url_path(resource, namespace, name or ""), accept=accept))
    except Missing:
        return None


def meant(live: Connection, planned: PlannedAction, resource: str = "") -> dict[str, Any]:
    """The object that is meant, by its name and, where the evidence has it, its uid. Raises Refused when it does not stand."""
    known = planned.parameters
    resource, namespace, name, uid = resource or known["resource"], known.get("namespace"), known["name"], known["uid"]
    if not resource or not name:
        raise Refused("the evidence does not tell which object is meant")
    thing = found(live, resource, namespace, name)
    what = "/".join(one for one in (resource, namespace, name) if one)
    if thing is None:
        raise Refused(f"{what} is not there any more", GONE)
    if uid and thing["metadata"]["uid"] != uid_now(live, uid):
        raise Refused(f"{what} is another object now: its uid is {thing['metadata']['uid']}, planned was {uid}", GONE)
    return thing


def made_by_undo(entries: Iterable[Entry]) -> dict[str, str]:
    """Of each object that was deleted and made again by an undo: its old uid and its new one. The acts read it as `remade` of the connection."""
    before, made = dict[tuple[str, int], str](), dict[str, str]()
    for entry in entries:
        place = str(entry.members.get("action")), entry.members.get("change", 0)
        if entry.what == "intent":
            before.pop(place, None)
            state = entry["before"] or {}
            if state.get("content") and "ending" in state:  # what DeleteObject looks at
                before[place] = state["uid"]
        elif entry.what == "undone" and place in before and entry.members.get("after"):
            made[before[place]] = entry["after"]["uid"]
    return {old: new for old, new in made.items() if old != new}


def uid_now(live: Connection, uid: str | None) -> str | None:
    """The uid that a planned object has now: it is another one when the kit deleted it and its undo made it again."""
    made = dict[str, str](getattr(live, "remade", {}))
    while uid and uid in made:
        uid = made.pop(uid)
    return uid


def own_user(live: Connection) -> dict[str, Any]:
    """Who runs this. Raises Refused when it cannot be told: what it works by could be taken away."""
    user = live.user
    if not user.get("username"):
        raise Refused(
            "who runs this command cannot be told (SelfSubjectReview), nor whether this takes its own access away: run it again"
        )
    return user


def is_own_account(live: Connection, namespace: str | None, name: str) -> bool:
    """Whether this command runs as that service account. Raises Refused when it cannot be told."""
    return bool(own_user(live)["username"] == f"system:serviceaccount:{namespace}:{name}")


def title(thing: dict[str, Any]) -> str:
    """NAMESPACE/NAME of an object, or its name."""
    metadata = thing["metadata"]
    return "/".join(one for one in (metadata.get("namespace"), metadata["name"]) if one)


def labels(thing: dict[str, Any]) -> dict[str, str]:
    """The labels of an object."""
    return dict(thing["metadata"].get("labels") or {})


def on_fargate(pod: dict[str, Any]) -> bool:
    """Whether a pod runs on Fargate: EKS labels it with its profile, and its node's name begins so."""
    node = str(pod.get("spec", {}).get("nodeName") or "")
    return node.startswith("fargate-") or "eks.amazonaws.com/fargate-profile" in labels(pod)


def controller(thing: dict[str, Any]) -> dict[str, Any] | None:
    """The owner reference of what controls an object."""
    return next((one for one in thing["metadata"].get("ownerReferences") or [] if one.get("controller")), None)


def image_words(pod: dict[str, Any]) -> str:
    """The images of a pod's containers, in words."""
    return ", ".join(dict.fromkeys(str(one.get("image")) for one in pod.get("spec", {}).get("containers") or []))


def selects(selector: dict[str, Any] | None, has: dict[str, str]) -> bool:
    """Whether a LabelSelector selects what has these labels: an empty one selects everything, none selects nothing."""
    if selector is None:
        return False
    meets = {
        "In": lambda key, values: has.get(key) in values,
        "NotIn": lambda key, values: has.get(key) not in values,
        "Exists": lambda key, values: key in has,
        "DoesNotExist": lambda key, values: key not in has,
    }
    return all(has.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        meets[one["operator"]](one["key"], one.get("values") or []) for one in selector.get("matchExpressions") or []
    )


def is_gone(live: Connection, planned: PlannedAction, resource: str = "") -> Check:
    """The check of a deletion: gone, still ending, still there, or there again."""
    known = planned.parameters
    resource, namespace, name = resource or known["resource"], known.get("namespace"), known["name"]
    uid = uid_now(live, known["uid"])
    what = "/".join(one for one in (resource, namespace, name) if one)
    thing = found(live, resource, namespace, name)
    if thing is None:
        return Check(HOLDS, f"{what} is gone")
    metadata = thing["metadata"]
    if uid and metadata["uid"] != uid:
        by = (metadata.get("managedFields") or [{}])[0].get("manager") or "somebody"
        return Check(
            DOES_NOT_HOLD,
            f"{what} came back at {metadata.get('creationTimestamp')} with uid {metadata['uid']}, made by {by}: a controller or GitOps keeps it; take it out there",
        )
    return ending(what, metadata) or Check(DOES_NOT_HOLD, f"{what} is still there")


def ending(what: str, metadata: dict[str, Any]) -> Check | None:
    """The check of an object whose deletion was accepted and that still stands; None when it was not."""
    at = metadata.get("deletionTimestamp")
    if not at:
        return None
    if datetime.fromisoformat(at) + _LEEWAY > datetime.now(UTC):
        return Check(CANNOT_TELL, f"{what} is being deleted, its grace period ends at {at}: look again a minute later")
    held = ", ".join(metadata.get("finalizers") or [])
    by = f"its finalizers hold it: {held}" if held else "its node does not answer, and its containers may still run"
    return Check(DOES_NOT_HOLD, f"{what} should have been gone by {at}, but {by}")
