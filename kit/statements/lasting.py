"""What lasts of what the attacker did: objects that stand, and secrets that were read and not rotated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kit.attribution.calls import place_of, token_secret_of
from kit.lenient import dict_of
from kit.model.kubernetes import BOUND, ROLES, WORKLOADS
from kit.model.pod_spec import images, pod_spec, power_over_node
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.open_entry import EntryState, OpenEntry
from kit.words import few, utc


class Lasting:
    """The objects and secrets of a case's incidents, as open entries."""

    def __init__(self, scope: Scope) -> None:
        self.inventory, self.attacker, self.store = scope.inventory, scope.attacker, scope.store

    def of(self, incident: Incident) -> Iterator[OpenEntry]:
        """The objects that were made and the secrets that were read."""
        yield from self._objects(incident)
        yield from self._secrets(incident)

    def _objects(self, incident: Incident) -> Iterator[OpenEntry]:
        """What the attacker made, and what a finding's own call made that opened the way."""
        for (kind, key), subject in incident.index.places.items():
            if kind != "created" or subject.certainty != "affected":
                continue
            state, until = self.state_of(key)
            body = subject.thing.body if subject.thing else {}
            is_token = key.removeprefix("secrets/") in {
                token_secret_of(one) for one in incident.calls if one["token_secret"]
            }
            gives = "holds a token without an end, which the attacker used" if is_token else _given_by(key, body)
            since = subject.thing.created_at if subject.thing else None
            said = {"usable": "stands", "ended": "gone", "cannot tell": "whether it stands is in no evidence"}[state]
            at = f" since {until:%H:%M:%S}" if state == "ended" and until else ""
            sources = ("created", "anonymous_binding", "default_binding", "used_binding", "exposed", "written_binding")
            made = subject.thing if subject.thing and subject.thing.resource == "pods" else None
            pod = [("pod", made.uid), *([("node", made.node)] if made.node else [])] if made else []
            yield OpenEntry(
                "created", key, key, gives, since, state, until, tuple(str(why.ref) for why in subject.why)[:3],
                f"{key}: {said}{at}; {gives}.", (*((source, key) for source in sources), *pod),
            )  # fmt: skip

    def state_of(self, path: str) -> tuple[EntryState, datetime | None]:
        """Whether the object at a path stands, and since when it is gone."""
        resource, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        things = self.inventory.named(resource, namespace or None, name)
        if things:
            if any(one.standing for one in things):
                return "usable", None
            if all(one.standing is False for one in things):
                return "ended", max((one.deleted_at for one in things if one.deleted_at), default=None)
            return "cannot tell", None
        place = {"resource": resource, "namespace": namespace or None, "name": name}
        (deleted,) = self.store.rows(
            "SELECT max(received_at) AS at FROM audit WHERE resource = $resource AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR"
            " AND name = $name AND subresource IS NULL AND verb = 'delete' AND response_code BETWEEN 200 AND 299 AND NOT dry_run",
            **place,
        )
        if self.store.rows(
            "SELECT 1 FROM objects WHERE resource = $resource AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR AND name = $name LIMIT 1",
            **place,
        ):
            return "usable", None
        if deleted["at"]:
            return "ended", deleted["at"]
        return ("ended", None) if self.inventory.is_dumped(resource, namespace or None) else ("cannot tell", None)

    def _secrets(self, incident: Incident) -> Iterator[OpenEntry]:
        """Secrets that were read: usable until somebody writes them anew."""
        places = incident.index.places
        read = [one for (kind, _), one in places.items() if kind == "secret" and one.certainty == "affected"]
        for subject in read:
            if ("created", f"secrets/{subject.key}") in places:
                continue
            refs = tuple(str(why.ref) for why in subject.why)
            at = self._read_at(incident, refs)
            rotated = self._written_since(subject.key, at)
            state: EntryState = "ended" if rotated else "usable"
            says = (
                f"Secret {subject.key}, read: {f'written anew at {utc(rotated)}' if rotated else 'not rotated since'}."
            )
            yield OpenEntry(
                "secret", subject.key, f"secrets/{subject.key}", "what is in it, wherever it is good for", at, state, rotated,
                refs[:3], says, (("secret", subject.key),),
            )  # fmt: skip

    def _read_at(self, incident: Incident, refs: tuple[str, ...]) -> datetime | None:
        times = [event["received_at"] for event in incident.calls if str(self.store.event_ref(event)) in refs]
        return max(times, default=None)

    def _written_since(self, key: str, at: datetime | None) -> datetime | None:
        namespace, _, name = key.partition("/")
        rows = self.store.rows(
            "SELECT file, line, item, received_at FROM audit WHERE resource = 'secrets' AND subresource IS NULL AND namespace = $namespace"
            " AND name = $name AND verb IN ('update', 'patch', 'create') AND response_code BETWEEN 200 AND 299 AND NOT dry_run"
            " AND received_at > $at ORDER BY received_at",
            namespace=namespace,
            name=name,
            at=at or datetime.max.replace(tzinfo=UTC),
        )
        others = [row["received_at"] for row in rows if place_of(row) not in self.attacker.calls]
        return others[0] if others else None


def _given_by(path: str, body: dict[str, Any]) -> str:
    """What an object gives whoever made it."""
    resource = path.partition("/")[0]
    if resource in BOUND:
        role = dict_of(body.get("roleRef"))
        names = [str(dict_of(one).get("name")) for one in body.get("subjects") or []]
        return f"gives {role.get('kind')} {role.get('name')} to {few(names, 3)}" if role else "gives rights"
    if resource in ROLES:
        return "holds rights for whoever is bound to it"
    if resource in ("pods", *WORKLOADS.values()):
        spec = pod_spec(dict_of(body.get("spec")))
        named, power = images(spec), [access.says for access in power_over_node(spec, True)]
        runs = f"runs {few(named, 2)}" if named else "runs code in the cluster"
        return f"{runs} with power over each node it is on ({few(power, 2)})" if power else runs
    if resource == "services":
        kind = dict_of(body.get("spec")).get("type")
        return "exposed to the internet by a load balancer" if kind == "LoadBalancer" else "makes pods reachable"
    if resource == "secrets":
        return (
            "may hold a token without an end"
            if body.get("type") == "kubernetes.io/service-account-token"
            else "holds data"
        )
    if resource.endswith("webhookconfigurations"):
        return "sees, and may change, what is written to the cluster"
    return "made by the attacker" if resource else ""
