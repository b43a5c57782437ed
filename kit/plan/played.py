"""What stands while a plan is played: the evidence's state, and what the effects of the actions done so far made of it.

Sources: Kubernetes "Safely Drain a Node" (a DaemonSet's pods and those that nothing starts again stay), "DaemonSet" (its pods come onto cordoned
nodes), "ReplicaSet" (a pod that is gone is replaced while its owner stands).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import FARGATE, node_kind_of
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.arn import compared
from kit.model.pod_spec import images, pod_spec
from kit.plan.plan import PlannedAction
from kit.store.store import Store

_STARTS_AGAIN = ("deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers")


class Running(NamedTuple):
    """A pod that stands, or may. owners: paths of what it belongs to, the nearest first. ready: whether it served before the plan."""

    pod: Thing
    owners: tuple[str, ...]
    ready: bool

    @property
    def starts_again(self) -> bool:
        """Whether its owner starts a new one in its place."""
        return bool(self.owners) and self.owners[0].partition("/")[0] in _STARTS_AGAIN

    @property
    def is_of_daemon_set(self) -> bool:
        """Whether it is one of a DaemonSet's, which has one on each node."""
        return bool(self.owners) and self.owners[0].startswith("daemonsets/")


class ClusterState:
    """What the evidence shows to stand before the plan: pods with their owners, and nodes."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store, self.inventory = store, inventory

    @cached_property
    def pods(self) -> list[Running]:
        """The pods that may stand and have not finished."""
        states = dict[str, tuple[str | None, bool | None]]()
        sql = "SELECT uid, object FROM objects WHERE resource = 'pods' AND uid IS NOT NULL ORDER BY uid, file, item"
        for rows in self.store.batches(sql):
            for row in rows:
                status = dict_of(dict_of(json_of(row["object"])).get("status"))
                states[row["uid"]] = status.get("phase"), _is_ready(status)
        found = list[Running]()
        for pod in self.inventory.pods:
            phase, ready = states.get(pod.uid, (None, None))
            if pod.standing is not False and pod.spec and phase not in ("Succeeded", "Failed"):
                owners = (f"{one.resource}/{pod.namespace}/{one.name}" for one in self.inventory.owners(pod))
                found.append(Running(pod, tuple(owners), ready is not False))
        return found

    def images_of_next(self, running: Running) -> list[str]:
        """The images of the pod that comes in the place of one: those of its owner's template, which a webhook may have added to."""
        for path in reversed(running.owners):
            resource, namespace, name = path.split("/", 2)
            for workload in self.inventory.named(resource, namespace, name)[-1:]:
                if pod_spec(workload.spec).get("containers"):
                    return images(pod_spec(workload.spec))
        return running.pod.images

    @cached_property
    def nodes(self) -> dict[str, bool]:
        """Node → whether new pods came onto it before the plan; Fargate nodes are one pod's alone."""
        return {
            str(node.name): node.spec.get("unschedulable") is not True
            for node in self.inventory.of("nodes")
            if node.standing is not False and node_kind_of(str(node.name), node) != FARGATE
        }


def _is_ready(status: dict[str, Any]) -> bool | None:
    """What a status says of being ready; None where it says nothing."""
    said = [one.get("status") for one in dicts_of(status.get("conditions")) if one.get("type") == "Ready"]
    return said[-1] == "True" if said else None


def _of_target(one: PlannedAction) -> Iterator[str]:
    yield one.target.partition(":")[2]


def _of_object(one: PlannedAction) -> Iterator[str]:
    known = one.parameters
    yield "/".join(str(known[part]) for part in ("resource", "namespace", "name") if known.get(part))
    if known.get("uid"):
        yield str(known["uid"])


def _of_subjects(one: PlannedAction) -> Iterator[str]:
    path = next(_of_object(one))
    for subject in dicts_of(one.parameters.get("remove")):
        yield subject_key(path, subject, one.parameters.get("namespace"))


def subject_key(path: str, subject: dict[str, Any], namespace: str | None) -> str:
    """One subject of a binding at a path; a service account without a namespace is one of the binding's."""
    space = f"{subject.get('namespace') or namespace}/" if subject.get("kind") == "ServiceAccount" else ""
    return f"{path} {subject.get('kind')} {space}{subject.get('name')}"


def _of_members(*names: str) -> Callable[[PlannedAction], Iterator[str]]:
    """The values that the parameters have under these names, ARNs in the form in which they are compared."""

    def keys(one: PlannedAction) -> Iterator[str]:
        for name in names:
            value = one.parameters.get(name)
            for each in value if isinstance(value, list) else [value]:
                if each:
                    yield compared(str(each))

    return keys


def _of_account(one: PlannedAction) -> Iterator[str]:
    yield f"{one.parameters.get('namespace')}/{one.parameters.get('name')}"


def _of_endpoint(one: PlannedAction) -> Iterator[str]:
    if one.parameters.get("keep") is not None:  # else nobody has said which addresses stay: nothing is known to change
        yield from _of_target(one)


_KEYS: dict[Effect, Callable[[PlannedAction], Iterable[str]]] = {
    Effect.NONE: lambda one: (),
    Effect.DELETES: _of_object,
    Effect.RESTORES: _of_object,
    Effect.REVERTS: _of_object,
    Effect.UNBINDS: _of_subjects,
    Effect.SUSPENDS: _of_object,
    Effect.STOPS: _of_object,
    Effect.RESTARTS: _of_members("pods"),
    Effect.CUTS_POD_OFF: _of_target,
    Effect.WITHDRAWS: _of_target,
    Effect.CLOSES_SERVICE: _of_object,
    Effect.BLOCKS_IMAGE: _of_target,
    Effect.CORDONS: _of_target,
    Effect.EVICTS: _of_target,
    Effect.CUTS_NODE_OFF: _of_target,
    Effect.ENDS_NODE: _of_target,
    Effect.ADDS_NODES: _of_target,
    Effect.NARROWS_ENDPOINT: _of_endpoint,
    Effect.SHUTS_OUT: _of_members("arn"),
    Effect.ENDS_SIGN_IN: _of_members("user_name", "arn"),
    Effect.TAKES_BACK: _of_members("of"),
    Effect.BLOCKS_WRITES: _of_members("user_name"),
    Effect.CLOSES_TRUST: _of_members("role"),
    Effect.ENDS_POD_IDENTITY: _of_account,
    Effect.DENIES_SESSIONS: _of_members("role", "arn"),
    Effect.STOPS_KEY: lambda one: map(str, one.parameters.get("access_key_ids") or ()),
    Effect.ENDS_TOKENS: _of_account,
    Effect.ROTATES: _of_target,
}
"""Effect → what an action that has it does it to."""


class Played:
    """What stands once some actions of a plan are done, in their order."""

    def __init__(self, standing: ClusterState, done: Iterable[PlannedAction] = ()) -> None:
        self.standing = standing
        self._done = dict[Effect, dict[str, PlannedAction]]()
        self._place = dict[str, int]()
        for place, one in enumerate(done):
            self._place[one.id] = place
            for effect in ACTIONS[one.action].effects:
                for key in _KEYS[effect](one):
                    self._done.setdefault(effect, {}).setdefault(key, one)

    def by(self, effect: Effect, key: str | None) -> PlannedAction | None:
        """The first action that had an effect on a thing."""
        return self._done.get(effect, {}).get(key or "")

    def all_by(self, effect: Effect) -> dict[str, PlannedAction]:
        """What an effect was had on, each with the first action."""
        return self._done.get(effect, {})

    # ── nodes and pods ─────────────────────────────────────────────────────────────────────────────────────────────

    def takes_pods(self, node: str) -> bool:
        """Whether new pods come onto a node that stood before the plan."""
        closed = (Effect.CORDONS, Effect.CUTS_NODE_OFF, Effect.ENDS_NODE)
        return self.standing.nodes.get(node, False) and not any(self.by(effect, node) for effect in closed)

    @cached_property
    def has_room(self) -> bool:
        """Whether any node takes pods, or no evidence shows the nodes."""
        known = self.standing.nodes
        return not known or bool(self.all_by(Effect.ADDS_NODES)) or any(map(self.takes_pods, known))

    def ended(self, running: Running) -> PlannedAction | None:
        """The action that ended a pod; None while it stands."""
        pod = running.pod
        ends = [self.by(Effect.DELETES, key) for key in (pod.uid, *running.owners)]
        ends += [self.by(Effect.RESTARTS, pod.uid), *(self.by(Effect.STOPS, owner) for owner in running.owners)]
        ends += [self.by(Effect.ENDS_NODE, pod.node), self._evicted(running)]
        return min(filter(None, ends), key=lambda one: self._place[one.id], default=None)

    def _evicted(self, running: Running) -> PlannedAction | None:
        by = self.by(Effect.EVICTS, running.pod.node)
        moves = running.starts_again or (bool(running.owners) and running.owners[0].startswith("jobs/"))
        stays = running.is_of_daemon_set or not moves or (by and running.pod.uid in by.parameters["affected_pods"])
        return None if stays else by

    def comes_back(self, running: Running, by: PlannedAction) -> bool:
        """Whether a new pod stands in for one that an action ended."""
        ends = (Effect.DELETES, Effect.STOPS)
        if not running.starts_again or any(self.by(effect, owner) for owner in running.owners for effect in ends):
            return False
        blocked = (self.by(Effect.BLOCKS_IMAGE, image) for image in self.standing.images_of_next(running))
        if any(one and self._place[one.id] < self._place[by.id] for one in blocked):
            return False
        if running.is_of_daemon_set:
            gone = (Effect.CUTS_NODE_OFF, Effect.ENDS_NODE)
            return not any(self.by(effect, running.pod.node) for effect in gone)
        return self.has_room

    def cut_off(self, running: Running) -> PlannedAction | None:
        """The action that no traffic reaches a pod since; None while some does."""
        pod = running.pod
        return self.by(Effect.CUTS_POD_OFF, pod.uid) or self.by(Effect.CUTS_NODE_OFF, pod.node)

    def taken_out(self, running: Running) -> PlannedAction | None:
        """The action since which neither a pod nor a new one in its place serves; None when one does."""
        by = self.ended(running)
        if by:
            return None if self.comes_back(running, by) else by
        return self.cut_off(running)

    def serves(self, running: Running, selector: dict[str, str] | None = None) -> bool:
        """Whether a pod, or a new one in its place, serves. selector: of the Service that it serves."""
        by = self.ended(running)
        if by:
            return self.comes_back(running, by)
        withdrawn = self.by(Effect.WITHDRAWS, running.pod.uid) if selector else None
        kept = not withdrawn or not (selector or {}).keys() & (withdrawn.parameters.get("labels") or {}).keys()
        return running.ready and kept and not self.cut_off(running)
