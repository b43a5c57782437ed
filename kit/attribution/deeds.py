"""What a call did that was let through: read, created, changed, deleted, ran a command, minted a token; and what cannot be told of it.

Sources: audit.k8s.io/v1; Kubernetes API concepts (lists in pages, watches, dry run, server-side apply); KEP-4006 (exec by GET).
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from kit.attribution.calls import RUNS_COMMANDS, Event, creates, did, let_through
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.lenient import dict_of, json_of, list_of
from kit.model.kinds import PODS, Certainty, SubjectName
from kit.model.kubernetes import BOUND, WORKLOADS
from kit.model.pod_spec import images, pod_spec
from kit.model.why import SOME_DUMP, Limit
from kit.store.queries import one_of
from kit.store.store import Store

COPIES = {"tar", "cat", "scp", "rsync", "curl", "wget", "base64", "pg_dump", "mysqldump", "mongodump"}
# What a read gives away: resource → kind of subject, and its word.
READ: dict[str, tuple[SubjectName, str]] = {
    "secrets": ("secret", "secrets"),
    "configmaps": ("config_map", "config maps"),
}
_KUBELET_READS = ("pods", "runningpods", "containerLogs", "logs", "metrics", "stats", "healthz", "configz", "spec")
SAME_BIRTH = timedelta(seconds=2)  # creationTimestamp has whole seconds; the log has the moment of the request


@dataclass(frozen=True)
class Deed:
    """One thing that a call did. kind and key: of the subject (docs/json.md). says: what was done, without when and by whom.

    carries_out: whether data may have left by it. for_pods: whether it may have changed what the pods of a workload run from then on.
    """

    kind: SubjectName
    key: str
    says: str
    certainty: Certainty = "affected"
    carries_out: bool = False
    for_pods: bool = False


@dataclass(frozen=True)
class _Life:
    """A secret or config map under one name from its birth to its end; None where the evidence does not tell."""

    namespace: str
    name: str
    created_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def overlaps(self, start: datetime, end: datetime) -> bool:
        born = self.created_at is None or self.created_at <= end
        return born and (self.deleted_at is None or self.deleted_at > start)


def path_of(event: Mapping[str, Any]) -> str:
    """resource/namespace/name of an event's object, without the namespace where it is cluster-scoped; "" without a name."""
    # The reference to a namespace has its name as namespace too.
    namespace = None if event["resource"] == "namespaces" else event["namespace"]
    return "/".join(part for part in (event["resource"], namespace, event["name"]) if part) if event["name"] else ""


class Deeds:
    """What the calls of one case did."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory
        self._known_bodies = dict[tuple[str, int], tuple[dict[str, Any], dict[str, Any]]]()
        self._known_lives = dict[str, list[_Life]]()

    def of(self, event: Event) -> Iterator[Deed | Limit]:
        """The deeds of an event; nothing for one that was refused, only asked, or stored nothing."""
        verb, resource, subresource = event["verb"], event["resource"], event["subresource"]
        if not let_through(event) or not resource or event["dry_run"]:
            return
        path, done = path_of(event), did(event)
        if resource in READ and not subresource and verb in ("get", "list", "watch"):
            yield from self._objects_read(event)
        elif verb == "deletecollection":
            yield from self._deleted_together(event)
        elif done == "minted":
            yield Deed("token", f"{event['namespace']}/{event['name']}", "a token for it was minted")
            if not event["issued_credential_id"]:
                says = f"Which calls were made with the token minted for {event['namespace']}/{event['name']} cannot be told: the audit log does not name its credential"
                yield Limit(
                    ("identity",), says, "calls of that service account from unusual addresses", event["received_at"]
                )
        elif done == "forwarded":
            yield Deed("forwarded", path, "a port of it was forwarded", carries_out=True)
        elif subresource in RUNS_COMMANDS:
            command = command_of(event)
            says = f"{subresource}: {command}" if command else subresource
            yield Deed("exec", path, says, carries_out=bool(COPIES & {*command.split()}))
        elif subresource == "proxy":
            if resource == "nodes":
                yield _through_kubelet(event, path)
        elif done == "deleted":
            yield Deed("deleted", path, "deleted" if verb == "delete" else "evicted")
        elif creates(event):
            if done == "asked":
                return
            if path:
                yield Deed("created", path, "created")
                yield from self._brought(event)
            else:
                what = f"{resource} in {event['namespace']}" if event["namespace"] else resource
                says = f"The name of one of the {what} that was created cannot be told: its response was not logged"
                about = ("created", *PODS) if resource in ("pods", *WORKLOADS.values()) else ("created",)
                yield Limit(about, says, SOME_DUMP, event["received_at"])
        elif verb in ("update", "patch", "create"):
            yield Deed("changed", path, "changed", for_pods=self._is_for_pods(event))
            yield from self._brought(event)

    # ── permissions and images ─────────────────────────────────────────────────────────────────────────────────────

    def _brought(self, event: Event) -> Iterator[Deed | Limit]:
        """The permissions that a written binding gives, and the images that a written pod or workload brings in."""
        is_binding, debugs = event["resource"] in BOUND, event["subresource"] == "ephemeralcontainers"
        if (event["subresource"] and not debugs) or not (
            is_binding or event["resource"] in ("pods", *WORKLOADS.values())
        ):
            return
        # What is written over may have held the same before.
        certainty: Certainty = "affected" if creates(event) else "possible"
        asked, answered = self._bodies(event)
        body = answered or asked if is_binding else asked or answered
        if not body:
            what = "permissions" if is_binding else "images"
            says = f"Which {what} {path_of(event)} brought in cannot be told: its body was not logged"
            yield Limit(("granted" if is_binding else "introduced",), says, SOME_DUMP, event["received_at"])
        elif is_binding:
            role, where = dict_of(body.get("roleRef")), f" in {event['namespace']}" if event["namespace"] else ""
            subjects = body.get("subjects")
            for one in map(dict_of, list_of(subjects)):
                name = "/".join(str(one[part]) for part in ("namespace", "name") if one.get(part))
                key = f"{role.get('kind')} {role.get('name')}{where} to {one.get('kind')} {name}"
                yield Deed("granted", key, f"given by {path_of(event)}", certainty)
        else:
            if debugs:
                yield Deed("exec", path_of(event), "a container was added to it, as kubectl debug does")
            for image in images(pod_spec(body.get("spec"))):
                yield Deed("introduced", image, f"brought in by {path_of(event)}", certainty)

    def _is_for_pods(self, event: Event) -> bool:
        """Whether a write to a workload named what its pods are made from, or may have: a scale does not."""
        if event["resource"] not in WORKLOADS.values() or event["subresource"]:
            return False
        asked, answered = self._bodies(event)
        return bool((asked or answered or {"template": True}).get("template"))

    def read_bodies(self, events: Iterable[Event]) -> None:
        """Read the bodies that the deeds of events need, in one pass a file: asked for one by one they would cost one each."""
        wanted = defaultdict[str, list[int]](list)
        for event in events:
            if event["resource"] in (*BOUND, "pods", *WORKLOADS.values()) and event["verb"] in (
                "create",
                "update",
                "patch",
            ):
                wanted[event["file"]].append(event["item"])
        for file, items in wanted.items():
            for batch in self.store.batches(
                "SELECT item, request_object, response_object FROM audit WHERE file = $file AND "
                + one_of("item", "items"),
                file=file,
                items=items,
            ):
                for row in batch:
                    bodies = [
                        dict_of(orjson.loads(row[name] or "{}")) for name in ("request_object", "response_object")
                    ]
                    self._known_bodies[(file, row["item"])] = (_brief(bodies[0]), _brief(bodies[1]))

    def _bodies(self, event: Event) -> tuple[dict[str, Any], dict[str, Any]]:
        place = (event["file"], event["item"])
        if place not in self._known_bodies:
            self.read_bodies([event])
        return self._known_bodies[place]

    def replicas_asked(self, event: Event) -> int | None:
        """How many replicas an event asked for; None where its body does not tell."""
        count = dict_of(self._bodies(event)[0].get("spec")).get("replicas")
        return count if isinstance(count, int) else None

    # ── secrets and config maps ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _objects_read(self, event: Event) -> Iterator[Deed | Limit]:
        """What a read returned: the secret or config map that it names, or those there were then that a list's selectors let in."""
        resource = str(event["resource"])
        kind, words = READ[resource]
        if event["verb"] == "get" and event["name"]:
            yield Deed(kind, f"{event['namespace']}/{event['name']}", "read")
            return
        query = parse_qs(urlsplit(event["request_uri"] or "").query)
        start, end = event["received_at"], event["received_at"]
        if event["verb"] == "watch":
            end = max(start, event["stage_at"] or start)
        chosen = dict[str, tuple[_Life, bool]]()
        for life in self._lives(resource):
            fits = _fits(life, event, query) if life.overlaps(start, end) else False
            if fits is not False:
                chosen[life.key] = (life, bool(fits) and not _only_changes(life, event, query))
        keys, in_full = _page(sorted(chosen), query)
        for key in keys:
            yield Deed(kind, key, "named in a list", "affected" if chosen[key][1] and in_full else "possible")
        where = event["namespace"]
        if not self.inventory.is_dumped(resource, where) or (where and not self.inventory.has_namespace(where)):
            says = f"Which {words} a list returned cannot be told in full: no cluster dump names the {words}"
            yield Limit((kind,), says, f"`kubectl get {resource} -A` (names suffice)")

    def names(self, resource: str, start: datetime, end: datetime) -> list[str]:
        """namespace/name of the secrets or config maps that there were at any moment of a stretch of time."""
        return sorted({life.key for life in self._lives(resource) if life.overlaps(start, end)})

    def moments(self, resource: str) -> list[datetime]:
        """When a secret or config map was made or deleted, in order: equal reads return the same between two of these."""
        lives = self._lives(resource)
        return sorted({at for life in lives for at in (life.created_at, life.deleted_at) if at})

    def _lives(self, resource: str) -> list[_Life]:
        if resource not in self._known_lives:
            self._known_lives[resource] = self._lives_of(resource)
        return self._known_lives[resource]

    def _lives_of(self, resource: str) -> list[_Life]:
        """Every secret or config map that there ever was, by the dump and by the names in the log, where no bodies and uids are logged."""
        open_, closed = dict[tuple[str, str], _Life](), list[_Life]()
        for row in self.store.rows(
            "SELECT namespace, name, verb, response_code, received_at, request_uri FROM audit"
            " WHERE resource = $resource AND subresource IS NULL AND response_code BETWEEN 200 AND 299 AND NOT dry_run"
            " AND (name IS NOT NULL AND verb <> 'list' AND verb <> 'watch' OR verb = 'deletecollection')"
            " ORDER BY received_at, file, item",
            resource=resource,
        ):
            place, at = (str(row["namespace"]), str(row["name"])), row["received_at"]
            if row["verb"] == "deletecollection":
                if "Selector" not in (row["request_uri"] or ""):
                    gone = [key for key in open_ if key[0] == place[0]]
                    closed += [replace(open_.pop(key), deleted_at=at) for key in gone]
            elif row["verb"] == "delete":
                closed.append(replace(open_.pop(place, _Life(*place)), deleted_at=at))
            elif row["verb"] == "create" or (row["verb"] == "patch" and row["response_code"] == 201):
                open_[place] = _Life(*place, created_at=at)
            else:
                open_.setdefault(place, _Life(*place))
        for thing in self.inventory.of(resource):
            self._add_dumped(thing, open_, closed)
        return [*closed, *open_.values()]

    def _add_dumped(self, thing: Thing, open_: dict[tuple[str, str], _Life], closed: list[_Life]) -> None:
        place = (str(thing.namespace), str(thing.name))
        known = open_.get(place)
        if known is not None:
            open_[place] = replace(known, created_at=known.created_at or thing.created_at)
            return
        for number, life in enumerate(closed):
            # A dump that is older than the deletion.
            same_name = (life.namespace, life.name) == place
            if same_name and (thing.created_at is None or _born_together(life, thing.created_at)):
                closed[number] = replace(life, created_at=life.created_at or thing.created_at)
                return
        open_[place] = _Life(*place, created_at=thing.created_at)

    # ── deletecollection ───────────────────────────────────────────────────────────────────────────────────────────

    def _deleted_together(self, event: Event) -> Iterator[Deed | Limit]:
        """What a deletecollection deleted: the items of its response, when the log has it."""
        (row,) = self.store.rows(
            "SELECT response_object FROM audit WHERE file = $file AND item = $item",
            file=event["file"],
            item=event["item"],
        )
        items = dict_of(json_of(row["response_object"])).get("items")
        if not isinstance(items, list):
            what = f"{event['resource']} in {event['namespace'] or 'all namespaces'}"
            says = f"Which {what} a deletecollection deleted cannot be told: the response was not logged"
            yield Limit(("deleted",), says, "a cluster dump from before", event["received_at"])
            return
        for item in items:
            about = dict_of(dict_of(item).get("metadata"))
            if about.get("name"):
                one = {"resource": event["resource"], "namespace": about.get("namespace"), "name": about["name"]}
                yield Deed("deleted", path_of(one), "deleted with others of its kind")


def _brief(body: dict[str, Any]) -> dict[str, Any]:
    """Of a body what deeds are told from: many are held at once."""
    if "subjects" in body or "roleRef" in body:
        return {name: body[name] for name in ("roleRef", "subjects") if name in body}
    named, spec = images(pod_spec(body.get("spec"))), dict_of(body.get("spec"))
    template = bool(spec.get("template") or spec.get("jobTemplate"))
    count = {"replicas": spec["replicas"]} if isinstance(spec.get("replicas"), int) else {}
    return {"spec": {"containers": [{"image": image} for image in named]} | count, "template": template} if body else {}


def command_of(event: Event) -> str:
    """The command line that an exec asked for; "" where it names none."""
    query = parse_qs(urlsplit(event["request_uri"] or "").query)
    return " ".join(query.get("command") or query.get("cmd") or [])


def _through_kubelet(event: Event, path: str) -> Deed:
    """What a call of the kubelet's own API did, by its path: /run, /exec and /attach/NAMESPACE/POD/CONTAINER run a command in a pod; /pods,
    logs and measurements are read; of anything else it cannot be told. Source: kubelet server.go, the handlers that it installs."""
    below = urlsplit(event["request_uri"] or "").path.partition("/proxy/")[2].split("/")
    if below[0] in ("run", "exec", "attach") and len(below) > 2:
        command = command_of(event)
        says = f"a command through the kubelet of {event['name']}" + (f": {command}" if command else "")
        return Deed("exec", f"pods/{below[1]}/{below[2]}", says, carries_out=bool(COPIES & {*command.split()}))
    if below[0] == "portForward" and len(below) > 2:
        return Deed(
            "forwarded", f"pods/{below[1]}/{below[2]}", "a port of it was forwarded by its kubelet", carries_out=True
        )
    if below[0] in _KUBELET_READS:
        return Deed("forwarded", path, f"/{below[0]} of its kubelet was read")
    return Deed("exec", path, "the kubelet's API was used through the API server", "possible")


def _born_together(life: _Life, created_at: datetime) -> bool:
    if life.created_at is None:
        return life.deleted_at is None or created_at <= life.deleted_at
    return abs(life.created_at - created_at) <= SAME_BIRTH


def _fits(life: _Life, event: Event, query: dict[str, list[str]]) -> bool | None:
    """Whether a list's namespace and selectors let a secret in; None when that cannot be told."""
    if event["namespace"] and event["namespace"] != life.namespace:
        return False
    if event["name"] and event["name"] != life.name:
        return False
    sure = "labelSelector" not in query
    known = {"metadata.name": life.name, "metadata.namespace": life.namespace}
    for selector in filter(None, ",".join(query.get("fieldSelector", [])).split(",")):
        field, sign, value = selector.partition("!=") if "!=" in selector else selector.partition("=")
        if field not in known:
            sure = False
        elif (known[field] == value.removeprefix("=")) == (sign == "!="):
            return False
    return True if sure else None


def _only_changes(life: _Life, event: Event, query: dict[str, list[str]]) -> bool:
    """Whether a watch tells of a secret only if it changes: one that goes on from a version, and a secret older than the watch."""
    if event["verb"] != "watch" or query.get("resourceVersion", ["0"])[0] in ("", "0"):
        return False
    return life.created_at is None or life.created_at < event["received_at"]


def _page(keys: list[str], query: dict[str, list[str]]) -> tuple[list[str], bool]:
    """Of all that a list selects, in the order in which the API server gives it, the page that was returned; and whether that
    page is known."""
    known, limit, token = True, query.get("limit", [""])[0], query.get("continue", [""])[0]
    if token:
        try:
            start = str(orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["start"]).strip("\0/")
        except (ValueError, KeyError, TypeError):
            known, start = False, ""
        keys = [key for key in keys if key > start]
    if limit.isdigit() and 0 < int(limit) < len(keys):
        keys = keys[: int(limit)] if known else keys
    return keys, known
