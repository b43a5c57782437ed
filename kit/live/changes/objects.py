"""Changes of objects in the cluster: edited, created, deleted, evicted; and where an object stands in the API.

An object is told apart by its uid, which goes with each call as its precondition; resourceVersion goes only with what was read just
before (read-modify-write). Sources: Kubernetes API concepts (patches, dry-run, preconditions), "API-initiated eviction".
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

from kit.live.changes.change import Change, State, contains, projected
from kit.live.changes.content import is_remade, kept, own, sent, unexpected, without_addresses
from kit.live.connection import Connection
from kit.live.errors import Conflict, Failed, Missing, Refused
from kit.model.kubernetes import OBJECT_KINDS, plural

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""What to ask for so that a Secret's values are never sent."""
_NOT_REMADE = {
    "secrets": "the Secret's value was not kept",
    "pods": "a pod that was deleted is gone: what was captured stays",
    "persistentvolumeclaims": "what was on its volume does not come back with it: use a snapshot",
    "persistentvolumes": "what was on it does not come back with it: use a snapshot",
    "certificatesigningrequests": "a request is made in the name of who makes it; a certificate that was issued stays valid",
}
_DRY = {"dryRun": "All"}


def url_path(resource: str, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
    """The path of an object, or of a list without a name.

    Names come from evidence: one that would lead elsewhere (empty: the whole list; two dots: the parent) or cannot be sent (control
    characters, half surrogates) is Refused, as is a resource of which it is not known where it stands. Source: apimachinery,
    IsValidPathSegmentName.
    """
    kind = OBJECT_KINDS.get(resource)
    if kind is None:
        raise Refused(f"the kit does not know where {resource} stand in the API: do it by hand")
    if name is not None and not namespace and kind.namespaced:
        raise Refused(f"the evidence does not tell the namespace of {resource} {name}")
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    parts += ["namespaces", namespace] if namespace and kind.namespaced else []
    parts += [resource] if name is None else [resource, name]
    parts += subresource.split("/") if subresource else []
    for one in parts:
        if one in ("", ".", "..") or "/" in one or "%" in one or not one.isprintable():
            raise Refused(f"{one!r} cannot be the name of an object")
    return "/" + "/".join(quote(one, safe="") for one in parts)


@dataclass(frozen=True)
class _OfObject(Change):
    resource: str
    namespace: str | None
    name: str
    uid: str | None

    @property
    def _path(self) -> str:
        return url_path(self.resource, self.namespace, self.name or "")

    @property
    def _what(self) -> str:
        return "/".join(part for part in (self.resource, self.namespace, self.name) if part)

    def _get(self, live: Connection) -> dict[str, Any] | None:
        accept = METADATA_ONLY if self.resource == "secrets" else "application/json"
        try:
            return dict(live.kubernetes("GET", self._path, accept=accept))
        except Missing:
            return None

    def refuses(self, state: State) -> str:
        if state is None:
            return f"{self._what} is not there any more"
        if self.uid and state["uid"] != self.uid:
            return f"{self._what} is another object now: its uid is {state['uid']}, planned was {self.uid}"
        return ""


@dataclass(frozen=True)
class EditObject(_OfObject):
    """A merge patch of one object. patch: what to set, null to take away. expected: what has to be there as planned, {} for nothing."""

    patch: dict[str, Any]
    expected: dict[str, Any] = field(default_factory=dict)
    doing: str = "edit"

    @property
    def says(self) -> str:
        return f"{self.doing} {self._what}"

    def look(self, live: Connection) -> State:
        found = self._get(live)
        if found is None:
            return None
        of_interest = projected(found, self.patch)
        return {
            "uid": found["metadata"]["uid"],
            "version": found["metadata"].get("resourceVersion"),
            "fields": of_interest,
            "expected": projected(found, self.expected),
        }

    def refuses(self, state: State) -> str:
        refused = super().refuses(state)
        if refused or state is None or self.holds(state):
            return refused
        return unexpected(self._what, state["expected"], self.expected)

    def holds(self, state: State) -> bool:
        return (
            state is not None and contains(state["fields"], self.patch) and (not self.uid or state["uid"] == self.uid)
        )

    def is_as_before(self, before: State, now: State) -> bool:
        return before is not None and now is not None and all(before[name] == now[name] for name in ("uid", "fields"))

    def is_restored(self, before: State, now: State) -> bool:
        """A pod that is gone took what was written on it along: nothing of the edit is left."""
        return self.is_as_before(before, now) or (self.resource == "pods" and self.is_gone(before, now))

    def is_gone(self, before: State, now: State) -> bool:
        return before is not None and (now is None or now["uid"] != before["uid"])

    def _patch(self, live: Connection, patch: dict[str, Any], state: dict[str, Any], query: dict[str, str]) -> None:
        body = copy.deepcopy(patch)
        body["metadata"] = body.get("metadata", {}) | {"uid": state["uid"], "resourceVersion": state["version"]}
        live.kubernetes("PATCH", self._path, body, query=query, content_type="application/merge-patch+json")

    def dry_run(self, live: Connection, state: State) -> str:
        self._patch(live, self.patch, state or {}, _DRY)
        return "the API server would do it (dryRun=All)"

    def do(self, live: Connection, state: State) -> str:
        self._patch(live, self.patch, state or {}, {})
        return ""

    def _as_done(self, live: Connection, before: State) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was there before and what is there now, while that is still what was done. Raises Missing and Failed."""
        now = self.look(live)
        if now is None or before is None or now["uid"] != before["uid"]:
            raise Missing(f"{self._what} is not there any more")
        if not self.holds(now):
            raise Failed(f"{self._what} was changed by somebody in between; it is left as it is")
        return before, now

    def undo(self, live: Connection, before: State, after: State) -> str:
        was, now = self._as_done(live, before)
        self._patch(live, was["fields"], now, {})
        return ""


@dataclass(frozen=True)
class CreateObject(_OfObject):
    """A new object. body: as it is sent, apiVersion and kind included. uid: None. It holds while what stands has all of that, as with an undo."""

    body: dict[str, Any]

    @property
    def says(self) -> str:
        return f"create {self._what}"

    def look(self, live: Connection) -> State:
        found = self._get(live)
        return None if found is None else {"uid": found["metadata"]["uid"], "content": own(found)}

    def refuses(self, state: State) -> str:
        return "" if state is None or self.holds(state) else f"{self._what} is there already, with another content"

    def holds(self, state: State) -> bool:
        return state is not None and is_remade(self.resource, self.body, state["content"])

    def dry_run(self, live: Connection, state: State) -> str:
        _make(live, self.resource, self.namespace, self.body, _DRY)
        return "the API server would do it (dryRun=All)"

    def do(self, live: Connection, state: State) -> str:
        _make(live, self.resource, self.namespace, self.body)
        return ""

    def undo(self, live: Connection, before: State, after: State) -> str:
        found = after or self.look(live)
        if found is not None:
            delete(live, self._path, found["uid"], {})
        return ""


@dataclass(frozen=True)
class DeleteObject(_OfObject):
    """The end of one object. expected: as in EditObject. grace: seconds, None for the object's own.

    It holds once the server has accepted it: a pod then stands until its grace period is over, others until their finalizers are gone
    (`ending` is since when). Its content is kept to make it again; never that of a Secret. It is restored when an object stands that has
    all that was sent to make it: what server, controllers and webhooks fill in is their own.
    """

    expected: dict[str, Any] = field(default_factory=dict)
    grace: int | None = None
    propagation: str = "Background"

    @property
    def says(self) -> str:
        return f"delete {self._what}"

    @property
    def cannot_undo(self) -> str:  # type: ignore[override]
        """Objects whose content was not kept, or is not what made them, are not made again."""
        return _NOT_REMADE.get(self.resource, "")

    def look(self, live: Connection) -> State:
        found = self._get(live)
        if found is None:
            return None
        content = {} if self.cannot_undo else kept(found)
        return {
            "uid": found["metadata"]["uid"],
            "version": found["metadata"].get("resourceVersion"),
            "content": content,
            "expected": projected(found, self.expected),
            "ending": found["metadata"].get("deletionTimestamp"),
        }

    def refuses(self, state: State) -> str:
        refused = "" if state is None else super().refuses(state)
        if refused or state is None or self.holds(state):
            return refused
        return unexpected(self._what, state["expected"], self.expected)

    def holds(self, state: State) -> bool:
        return state is None or bool(state["ending"]) or bool(self.uid and state["uid"] != self.uid)

    def is_as_before(self, before: State, now: State) -> bool:
        return before is not None and now is not None and before["uid"] == now["uid"]

    def is_restored(self, before: State, now: State) -> bool:
        return (
            before is not None
            and now is not None
            and not now["ending"]
            and is_remade(self.resource, before["content"], now["content"])
        )

    def _options(self, state: State) -> dict[str, Any]:
        return {"propagationPolicy": self.propagation} | (
            {} if self.grace is None else {"gracePeriodSeconds": self.grace}
        )

    def dry_run(self, live: Connection, state: State) -> str:
        assert state is not None
        delete(live, self._path, state["uid"], self._options(state) | {"dryRun": ["All"]}, _DRY)
        return "the API server would do it (dryRun=All)"

    def do(self, live: Connection, state: State) -> str:
        assert state is not None
        delete(live, self._path, state["uid"], self._options(state))
        return ""

    def undo(self, live: Connection, before: State, after: State) -> str:
        assert before is not None
        now = self.look(live)
        if now is not None:
            ends = f"it is being deleted since {now['ending']}" if now["ending"] else "another object has its name"
            raise Failed(f"{self._what} cannot be made again while it stands: {ends}")
        _make(live, self.resource, self.namespace, remade(live, self.resource, before["content"]))
        return ""


@dataclass(frozen=True)
class EvictPod(_OfObject):
    """A pod taken off its node, as disruption budgets allow."""

    cannot_undo: ClassVar[str] = (
        "its owner starts it anew elsewhere; cordoned nodes stay empty until they are uncordoned"
    )

    @property
    def says(self) -> str:
        return f"evict {self._what}"

    def look(self, live: Connection) -> State:
        found = self._get(live)
        if found is None:
            return None
        return {"uid": found["metadata"]["uid"], "ending": found["metadata"].get("deletionTimestamp")}

    def refuses(self, state: State) -> str:
        return "" if state is None else super().refuses(state)

    def holds(self, state: State) -> bool:
        return state is None or bool(state["ending"]) or state["uid"] != self.uid

    def _evict(self, live: Connection, dry: bool) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "deleteOptions": {"preconditions": {"uid": self.uid}} | ({"dryRun": ["All"]} if dry else {}),
        }
        path = url_path("pods", self.namespace, self.name, "eviction")
        live.kubernetes("POST", path, body, query=_DRY if dry else {})

    def dry_run(self, live: Connection, state: State) -> str:
        self._evict(live, True)
        return "the API server would do it (dryRun=All)"

    def do(self, live: Connection, state: State) -> str:
        self._evict(live, False)
        return ""


def _make(
    live: Connection, resource: str, namespace: str | None, body: dict[str, Any], query: dict[str, str] | None = None
) -> None:
    """Make an object. A Service's addresses that somebody took meanwhile are left to the server."""
    path = url_path(resource, namespace)
    try:
        live.kubernetes("POST", path, body, query=query)
    except Failed as error:
        if resource != "services" or error.code != "422" or isinstance(error, Conflict):
            raise
        body = copy.deepcopy(body)
        without_addresses(body["spec"])
        live.kubernetes("POST", path, body, query=query)


def remade(live: Connection, resource: str, content: dict[str, Any]) -> dict[str, Any]:
    """An object's content as it is sent to make it again.

    Owners that are gone, or of which it cannot be told, are left out: the garbage collector would delete it at once.
    """
    body = sent(resource, content)
    owners = [one for one in content.get("metadata", {}).get("ownerReferences") or [] if _stands(live, content, one)]
    if owners:
        body["metadata"]["ownerReferences"] = owners
    return body


def _stands(live: Connection, content: dict[str, Any], owner: dict[str, Any]) -> bool:
    resource = plural(str(owner.get("kind")))
    try:
        found = live.kubernetes("GET", url_path(resource, content["metadata"].get("namespace"), owner.get("name")))
    except (Missing, Refused):
        return False
    except Failed as error:
        if error.code != "403":
            raise
        return False
    return bool(found["metadata"]["uid"] == owner.get("uid"))


def delete(live: Connection, path: str, uid: str, options: dict[str, Any], query: dict[str, str] | None = None) -> None:
    """Delete the object with this uid, and no other."""
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}} | options
    live.kubernetes("DELETE", path, body, query=query)
