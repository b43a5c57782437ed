"""What a write changed: what stood there before and what stood there after, where the log has bodies.

Sources: Kubernetes API concepts (a patch carries what it changes, an answer the whole object; Scale has the replicas that are asked for
in spec and those that there are in status).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kit.attribution.calls import Event, Place, let_through, place_of
from kit.attribution.deeds import path_of
from kit.identities.aws_auth import changes
from kit.identities.way import Way
from kit.lenient import dict_of, json_of
from kit.model.kubernetes import AWS_AUTH
from kit.store.store import Store

_PARTS = ("spec", "data", "rules", "roleRef", "subjects", "webhooks", "type", "secrets", "imagePullSecrets", "metadata")
_MOST = 5  # members that are told of one write
_LONGEST = 80  # characters of a value
_UNTOLD = ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision")


@dataclass(frozen=True)
class Written:
    """What one write changed, in words; "" where the evidence does not have it."""

    before: str = ""
    after: str = ""


def changes_by(store: Store, events: Iterable[Event]) -> dict[Place, Written]:
    """Event → what it changed, of the updates and patches among some events."""
    writes = [one for one in events if one["verb"] in ("patch", "update") and let_through(one) and not one["dry_run"]]
    mine = [one for one in writes if one["resource"] != "secrets" and one["subresource"] in ("", "scale")]
    found = dict[Place, Written]()
    bodies = _bodies(store, mine) if mine else {}
    mapped = {str(one.ref): one for one in changes(store)} if any(map(_is_aws_auth, mine)) else {}
    for event in mine:
        before, asked, answered = bodies.get(place_of(event), ({}, {}, {}))
        change = mapped.get(str(store.event_ref(event))) if _is_aws_auth(event) else None
        if change:
            # Without what stood before, all that the change left would count as added.
            found[place_of(event)] = (
                Written(_lines(change.removed), _lines(change.added)) if change.known else Written()
            )
        elif event["subresource"] == "scale":
            found[place_of(event)] = _scaled(before, asked, answered)
        else:
            found[place_of(event)] = written_over(before, asked, answered)
    return found


def _is_aws_auth(event: Event) -> bool:
    return (event["resource"], event["namespace"], event["name"]) == AWS_AUTH


def _lines(ways: Iterable[Way]) -> str:
    return "; ".join(
        f"{one.name} as {one.user_name or 'its ARN'} in {', '.join(one.groups) or 'no group'}" for one in ways
    )


def _bodies(store: Store, writes: list[Event]) -> dict[Place, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Write → the object before it, what it asked for, and what the server answered."""
    wanted = {place_of(one) for one in writes}
    latest = dict[str, dict[str, Any]]()
    found = dict[Place, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]()
    for row in store.rows(
        "SELECT file, line, item, resource, subresource, namespace, name, request_object, response_object FROM audit"
        " WHERE list_contains($resources, resource) AND list_contains($names, name) AND verb IN ('create', 'update', 'patch')"
        " AND coalesce(subresource, 'scale') = 'scale' AND NOT dry_run AND response_code BETWEEN 200 AND 299"
        " ORDER BY received_at, file, item",
        resources=sorted({str(one["resource"]) for one in writes}),
        names=sorted({str(one["name"]) for one in writes}),
    ):
        path, answered = path_of(row), dict_of(json_of(row["response_object"]))
        if place_of(row) in wanted:
            found[place_of(row)] = (latest.get(path, {}), dict_of(json_of(row["request_object"])), answered)
        if answered and not row["subresource"]:
            latest[path] = answered
        elif row["subresource"] and path in latest:
            replicas = replicas_asked(dict_of(json_of(row["request_object"])), answered)
            latest[path] = latest[path] | {"spec": dict_of(latest[path].get("spec")) | {"replicas": replicas}}
    return found


def replicas_asked(asked: dict[str, Any], answered: dict[str, Any]) -> int:
    """How many a scale asks for: the answer leaves 0 out."""
    named = dict_of(asked.get("spec")).get("replicas", dict_of(answered.get("spec")).get("replicas", 0))
    return named if isinstance(named, int) else 0


def _scaled(before: dict[str, Any], asked: dict[str, Any], answered: dict[str, Any]) -> Written:
    if not asked and not answered:
        return Written()
    stood = dict_of(before.get("spec")).get("replicas", dict_of(answered.get("status")).get("replicas"))
    return Written("" if stood is None else f"replicas: {stood}", f"replicas: {replicas_asked(asked, answered)}")


def written_over(before: dict[str, Any], asked: dict[str, Any], answered: dict[str, Any]) -> Written:
    """The members that a write left otherwise than they stood; without what stood, those that it asked for."""
    after = dict(_leaves(answered or asked))
    if not before or not answered:
        return Written("", _told(dict(_leaves(asked))))
    stood = dict(_leaves(before))
    changed = [path for path in sorted(stood.keys() | after.keys()) if stood.get(path) != after.get(path)]
    return Written(
        _told({path: stood[path] for path in changed if path in stood}),
        _told({path: after[path] for path in changed if path in after}),
    )


def _told(leaves: dict[str, str]) -> str:
    said = [f"{path}: {value}" for path, value in leaves.items()]
    more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
    return "; ".join(said[:_MOST]) + more


def _leaves(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part in _PARTS:
        value = body.get(part)
        if part == "metadata":
            value = {name: dict_of(value).get(name) for name in ("labels", "annotations") if dict_of(value).get(name)}
        yield from _below(part, value)


def _below(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name not in _UNTOLD:
                yield from _below(f"{path}.{name}", one)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            name = one.get("name") if isinstance(one, dict) else None
            yield from _below(f"{path}[{name or number}]", one)
    elif value is not None:
        text = str(value)
        short = path.removeprefix("spec.template.").removeprefix("spec.")
        yield short, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
