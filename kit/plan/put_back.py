"""What the attacker changed of an object, and what stood before: so much as the log shows can be put back, while it is still the attacker's.

Only members that stand as the attacker left them are put back, each as it was; what others wrote since stays. Lists count as a whole, as in a
merge patch (RFC 7386). Sources: audit.k8s.io/v1 (responseObject has the whole object after a write, and a Scale after a write of that);
Kubernetes API concepts (resourceVersion grows from write to write of one object; which annotations a server or a controller writes).
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

from kit.actions.target import ChangedObject
from kit.attribution.calls import Place, place_of
from kit.attribution.written import replicas_asked, written_over
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.kubernetes import AWS_AUTH, BOUND, OBJECT_KINDS, ROLES
from kit.store.queries import OBJECT_WRITES
from kit.store.store import Store
from kit.words import few, utc

OF_RIGHTS = {*BOUND, *ROLES, "serviceaccounts"}
"""Resources whose content gives access: of a service account the role in its annotation."""
_METADATA = ("labels", "annotations", "finalizers")
_NOT_THE_WRITERS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
)
_NOTHING_BEFORE = "no evidence has what stood before; your repository or your backup does"
_Path = tuple[str, ...]


@dataclass
class _History:
    """What the log shows of one object, write after write. stands: {} while nothing is known of it. whole: whether all of it is."""

    stands: dict[str, Any] = field(default_factory=dict)
    whole: bool = False
    version: int = 0
    changed: dict[_Path, tuple[Any, Any]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    overwritten: str = "what the attacker wrote changed nothing"

    def wrote(self, by: str, after: dict[str, Any], whole: bool, before: dict[str, Any] | None) -> None:
        """One write. by: who else's it is, "" for the attacker's. before: what stood until then, None where that is not known."""
        if by:
            mine = [(path, left) for path, (_, left) in self.changed.items() if _at(self.stands, path) == left]
            if any(_at(after, path) != left for path, left in mine):
                self.overwritten = f"nothing of the attacker's is left: {by}"
        elif before is not None:
            for path, was, left in _differing(before, after):
                earlier = self.changed.get(path)
                self.changed[path] = (earlier[0] if earlier and earlier[1] == was else was), left
        self.stands, self.whole = after, whole


def put_back(store: Store, thing: Thing | None, path: str, attackers: Set[Place]) -> ChangedObject:
    """What an attacker changed of the object at a path, as far as it can be put back. attackers: the places of the attacker's calls."""
    resource, _, rest = path.partition("/")
    space, _, name = rest.rpartition("/")
    namespace, kind = space or None, OBJECT_KINDS.get(resource)
    rows = store.rows(OBJECT_WRITES, resource=resource, namespace=namespace, name=name) if kind else []
    history, uid = _history(rows, kind.kind if kind else "", attackers), thing.uid if thing and thing.body else None
    stands, by = history.stands, history.overwritten
    for row in store.rows("SELECT object FROM objects WHERE uid = $uid::VARCHAR ORDER BY file, item", uid=uid):
        dumped = dict_of(json_of(row["object"]))
        if _version(dumped) > history.version > 0:
            stands, by = _of_interest(dumped), "nothing of the attacker's is left: the cluster dump has other values"
    left = {one: values for one, values in history.changed.items() if _at(stands, one) == values[1] != values[0]}
    expected, patch = _nested(left, 1), _nested(left, 0)
    _lift(expected, patch, stands)
    person = _for_a_person((resource, namespace, name), history) if rows else _NOTHING_BEFORE
    overwritten = "" if person or left else by
    kept, had = dicts_of(patch.get("subjects")), dicts_of(expected.get("subjects"))
    remove = [one for one in had if resource in BOUND and one not in kept]
    return ChangedObject(resource, namespace, name, uid, expected, patch, remove, person, overwritten)


def _for_a_person(of: tuple[str, str | None, str], history: _History) -> str:
    """Why the kit does not put it back, "" when it does."""
    if of == AWS_AUTH:
        return "the lines that the attacker added are taken out in revoke; compare the rest with your own copy"
    if of[0] == "secrets":
        return _NOTHING_BEFORE
    return few(list(dict.fromkeys(history.unknown)), 2)


def _history(rows: list[dict[str, Any]], kind: str, attackers: Set[Place]) -> _History:
    history = _History()
    for row in rows:
        asked, answered = dict_of(json_of(row["request_object"])), dict_of(json_of(row["response_object"]))
        subresource, is_attackers = row["subresource"] or "", place_of(row) in attackers
        version = _version(answered)
        if not is_attackers and (0 < version < history.version or (subresource == "status" and not answered)):
            continue  # stored before what was logged before it, or a status of which nothing is known
        history.version = max(version, history.version)
        at = utc(row["received_at"])
        by = "" if is_attackers else f"{row['user_name']} wrote it {at}"
        wrote = f"the attacker wrote {written_over({}, asked, {}).after or subresource or 'all of it'} at {at}"
        if subresource == "scale" and (asked or answered):
            stood = dict_of(history.stands.get("spec")).get("replicas", dict_of(answered.get("status")).get("replicas"))
            if is_attackers and stood is None:
                history.unknown.append(f"no evidence has how many replicas there were before: {wrote}")
            before = None if stood is None else _scaled(history.stands, stood)
            history.wrote(by, _scaled(history.stands, replicas_asked(asked, answered)), history.whole, before)
        elif answered.get("kind") == kind:
            known = history.whole and not subresource
            if is_attackers and not known:
                history.unknown.append(f"no evidence has what stood before: {wrote}")
            history.wrote(by, _of_interest(answered), True, history.stands if known else None)
        else:
            if is_attackers:
                history.unknown.append(f"the log has no answer to it: {wrote}")
            history.stands, history.whole = {}, False
    return history


def _version(body: dict[str, Any]) -> int:
    said = str(dict_of(body.get("metadata")).get("resourceVersion"))
    return int(said) if said.isdecimal() else 0


def _scaled(body: dict[str, Any], replicas: int) -> dict[str, Any]:
    return body | {"spec": dict_of(body.get("spec")) | {"replicas": replicas}}


def _of_interest(body: dict[str, Any]) -> dict[str, Any]:
    """An object without what the server, or a controller, writes into it."""
    metadata = {name: value for name, value in dict_of(body.get("metadata")).items() if name in _METADATA and value}
    notes = {
        name: value for name, value in dict_of(metadata.get("annotations")).items() if name not in _NOT_THE_WRITERS
    }
    rest = {name: value for name, value in body.items() if name not in ("apiVersion", "kind", "metadata", "status")}
    return rest | {"metadata": metadata | {"annotations": notes}}


def _differing(before: Any, after: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any, Any]]:
    """The members that differ, each with what it was and what it is; None where there is none."""
    if isinstance(before, dict | None) and isinstance(after, dict | None) and (before or after):
        for name in sorted((before or {}).keys() | (after or {}).keys()):
            yield from _differing((before or {}).get(name), (after or {}).get(name), (*path, name))
    elif before != after and (before or after or before == 0 or after == 0 or False in (before, after)):
        yield path, before, after


def _at(body: Any, path: _Path) -> Any:
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


def _nested(members: dict[_Path, tuple[Any, Any]], which: int) -> dict[str, Any]:
    whole = dict[str, Any]()
    for path, values in members.items():
        inner = whole
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = values[which]
    return whole


def _lift(expected: dict[str, Any], patch: dict[str, Any], stands: dict[str, Any]) -> None:
    """Where a whole branch is missing it is put back as one."""
    for name, value in patch.items():
        if isinstance(value, dict) and isinstance(expected.get(name), dict):
            if stands.get(name):
                _lift(expected[name], value, dict_of(stands[name]))
            else:
                expected[name] = None
