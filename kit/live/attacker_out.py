"""Is the attacker out? Each entry of the open list, judged by what was done, by whether that holds now, and by what stands in the cluster.

A Node object that no running instance is behind may have been made by whoever stole a node's credential (kubelets register themselves).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from urllib.parse import unquote

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.inventory.node_kind import COMPUTE_TYPE, WITHOUT_INSTANCE
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check
from kit.live.acts.machine import labels_of
from kit.live.changes.objects import url_path
from kit.live.errors import LiveError, Missing
from kit.plan.ending import Ending
from kit.plan.journal import ActionRecord, Journal
from kit.plan.plan import PlannedAction
from kit.plan.saved import planned_of
from kit.plan.still_open import Fate, FateState
from kit.statements.open_entry import OpenEntry
from kit.words import Names, few, iso, utc

EntryLife = Literal["alive", "dies", "cannot tell", "dead"]
FATES: tuple[EntryLife, ...] = ("alive", "dies", "cannot tell", "dead")
"""What an entry may be, the gravest first."""
_TAKEN = {
    *(
        Effect.UNBINDS,
        Effect.SHUTS_OUT,
        Effect.ENDS_SIGN_IN,
        Effect.STOPS_KEY,
        Effect.DENIES_SESSIONS,
        Effect.CLOSES_TRUST,
    ),
    *(Effect.ENDS_POD_IDENTITY, Effect.TAKES_BACK, Effect.BLOCKS_WRITES, Effect.NARROWS_ENDPOINT),
    *(Effect.CUTS_POD_OFF, Effect.CUTS_NODE_OFF),
}
"""The effects that take something from an entry, also where it does not end."""
_RUNNING = ("pending", "running")
_MOST = 3
_NOT_LOOKED_AT = "whether it holds could not be looked at"


@dataclass(frozen=True)
class LookedAt:
    """One entry as it is now. at: since when it is dead, or when it dies; None where that is not told."""

    id: str
    kind: str
    key: str
    state: EntryLife
    because: str
    at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """In the form of docs/json.md."""
        return vars(self) | {"at": iso(self.at)}


Judge = Callable[[Iterable[PlannedAction]], Mapping[str, Fate]]
"""What each open entry (by id) is good for once some actions are done, as the simulation of a plan has it."""
_LIVES: dict[FateState, EntryLife] = {
    "ended": "dead",
    "dies": "dies",
    "cannot tell": "cannot tell",
    "still works": "alive",
    "shut out": "alive",  # it works again as soon as the endpoint or the isolation is taken back
}


class Looks(Protocol):
    """What a look asks for, of a connection or of what writes down the questions."""

    def kubernetes(self, method: str, path: str, /) -> Any:
        """An object of the cluster."""

    def listed(self, path: str, /) -> list[dict[str, Any]]:
        """The objects of a list."""

    def pages(self, service: str, operation: str, member: str, **parameters: Any) -> Iterator[Any]:
        """What a listing call of AWS answers."""


class AttackerOut:
    """Looks at the open entries of a case after its plan was applied. checks: action → the look at whether it holds.

    judge: of the simulation, so that a plan and the look afterwards say the same of an entry. sees_cluster, sees_aws: whether the place of
    each was compared with the case's, so that a look there says something.
    """

    def __init__(
        self,
        journal: Journal | None,
        live: Looks,
        checks: Mapping[str, Check],
        judge: Judge,
        sees_cluster: bool,
        sees_aws: bool,
    ) -> None:
        self.live, self._checks = live, checks
        self._sees_cluster, self._sees_aws = sees_cluster, sees_aws
        self._done_at = {str(one["action"]): one.at for one in journal.of("finished", "by_hand")} if journal else {}
        records = journal.actions.values() if journal else ()
        done = list(filter(None, (_read(one) for one in records if one.finished)))
        self._held = judge(one for one in done if self._word(one.id) == HOLDS)
        self._likely = judge(one for one in done if self._word(one.id) != DOES_NOT_HOLD)
        self._done = judge(done)
        taking = [one.id for one in done if _TAKEN & {*ACTIONS[one.action].effects}]
        self._undone = [id_ for id_ in taking if self._word(id_) == DOES_NOT_HOLD]
        self._unseen = [id_ for id_ in taking if self._word(id_) not in (HOLDS, DOES_NOT_HOLD)]

    def look(self, entries: Iterable[OpenEntry]) -> list[LookedAt]:
        """Each entry once, the gravest first."""
        found = [self._looked_at(one) for one in {one.id: one for one in entries}.values()]
        found += self._nodes_without_instance()
        return sorted(found, key=lambda one: (FATES.index(one.state), one.kind, one.key, one.id))

    def _looked_at(self, entry: OpenEntry) -> LookedAt:
        def now(state: EntryLife, because: str, at: datetime | None = None) -> LookedAt:
            return LookedAt(entry.id, entry.kind, entry.key, state, because, at)

        if entry.state == "ended":
            return now("dead", f"the evidence shows its end: {entry.says}", entry.until)
        if entry.until and entry.until <= datetime.now(UTC):
            return now("dead", f"it expired at {utc(entry.until)}", entry.until)
        held, likely, done = (judged[entry.id] for judged in (self._held, self._likely, self._done))
        if held.state == "ended":
            since = max((self._done_at[id_] for id_ in held.by), default=None)
            return now("dead", f"{few(held.by, _MOST)} holds: {held.because}", since)
        gone = self._gone(entry)
        if gone:
            return now("dead", gone)
        if done.state != likely.state:
            back = [id_ for id_ in done.by if self._word(id_) == DOES_NOT_HOLD] or self._undone
            return now("alive", f"{few(back, _MOST)} was done and does not hold any more; {likely.because}")
        if likely.state == "ended":
            unseen = [id_ for id_ in likely.by if self._word(id_) != HOLDS]
            return now("cannot tell", f"{few(unseen, _MOST)} was done, and {_NOT_LOOKED_AT}")
        says = done.because
        if likely.state != held.state:  # the plan's own sentence, and what it rests on without having been seen
            says += f"; {few(self._unseen, _MOST)} was done, and {_NOT_LOOKED_AT}"
        return now(_LIVES[held.state], says, held.until)

    def _word(self, id_: str) -> str:
        """Whether an action that was done holds, by the look just made."""
        check = self._checks.get(id_)
        return check.word if check else ""

    def _gone(self, entry: OpenEntry) -> str:
        """Why an entry has ended by what stands in the cluster now; "" where that does not show."""
        if not self._sees_cluster:
            return ""
        if entry.kind == "created":
            resource, _, rest = entry.key.partition("/")
            namespace, _, name = rest.rpartition("/")
            return f"{entry.key} is gone from the cluster" if self._uid(resource, namespace, name) == "" else ""
        wanted = {key for kind, key in entry.targets if kind == "pod"}
        bound, _, pod = entry.of.partition(" ")
        namespace, _, name = pod.rpartition("/")
        if entry.kind != "token" or bound != "pod" or not name or not wanted:
            return ""
        uid = self._uid("pods", namespace, name)
        return f"its pod {pod} is gone from the cluster" if uid is not None and uid not in wanted else ""

    def _uid(self, resource: str, namespace: str, name: str) -> str | None:
        """The uid of an object as it stands now; "" where none stands, None where that could not be looked at."""
        try:
            found = self.live.kubernetes("GET", url_path(resource, namespace or None, name))
        except Missing:
            return ""
        except (LiveError, KeyError):
            return None
        return str(found.get("metadata", {}).get("uid") or "unknown")

    def _nodes_without_instance(self) -> list[LookedAt]:
        """Node objects that no running instance is behind; one row that says so where that cannot be looked at."""

        def row(name: str, state: EntryLife, because: str) -> LookedAt:
            return LookedAt(f"node-object-{name}", "node", name, state, because)

        if not (self._sees_cluster and self._sees_aws):
            return [row("*", "cannot tell", "whether each Node has an instance: cluster and EC2 were not both reached")]
        try:
            nodes = self.live.listed(url_path("nodes", None))
            of_node = {
                one["metadata"]["name"]: str(one.get("spec", {}).get("providerID") or "").rpartition("/")[2]
                for one in nodes
                if labels_of(one).get(COMPUTE_TYPE) not in WITHOUT_INSTANCE
            }
            filters = [{"Name": "instance-state-name", "Values": list(_RUNNING)}]
            listed = self.live.pages("ec2", "describe_instances", "Reservations", Filters=filters)
            running = {one["InstanceId"] for reservation in listed for one in reservation["Instances"]}
        except LiveError as error:
            return [row("*", "cannot tell", f"whether each Node has an instance: {error.says}")]
        return [
            row(name, "alive", f"Node {name} stands, and no running instance {id_ or 'that it names'} is behind it")
            for name, id_ in sorted(of_node.items())
            if id_ not in running
        ]


class _Asked:
    """Writes down what it is asked for, as permissions; nothing is there."""

    def __init__(self) -> None:
        self.permissions = set[str]()

    def kubernetes(self, method: str, path: str, /) -> Any:
        self.permissions.add(_permission_for(path))
        raise Missing(f"{method} {path} is only written down")

    def listed(self, path: str, /) -> list[dict[str, Any]]:
        self.permissions.add(_permission_for(path))
        return []

    def pages(self, service: str, operation: str, member: str, **parameters: Any) -> Iterator[Any]:
        self.permissions.add(f"aws:{service}:{operation.title().replace('_', '')}")
        return iter(())


def _permission_for(path: str) -> str:
    """The permission to read what stands at a path of the API: `get` of an object, `list` without a name."""
    root, *parts = [unquote(part) for part in path.strip("/").split("/")]
    group, parts = (f"{parts[0]}/", parts[2:]) if root == "apis" else ("", parts[1:])
    namespace, parts = (parts[1], parts[2:]) if parts[0] == "namespaces" and len(parts) > 2 else ("", parts)
    verb = f"get:{namespace}/{parts[1]}" if len(parts) > 1 else "list"
    return f"kubernetes:{group}{parts[0]}:{verb}"


def asked_by_look(entries: Iterable[OpenEntry], judge: Judge, permissions: Names) -> list[str]:
    """What a look at whether the attacker is out reads, as permissions. permissions: those of the plan, which say what is reached at all."""
    asked, places = (
        _Asked(),
        [any(one.startswith(f"{place}:") for one in permissions) for place in ("kubernetes", "aws")],
    )
    AttackerOut(None, asked, {}, judge, *places).look(entries)
    return sorted(asked.permissions)


def given_back(
    journal: Journal, judge: Judge, entries: Iterable[OpenEntry], records: Iterable[ActionRecord]
) -> dict[str, str]:
    """Of the actions that are to be undone, in this order, those whose undo gives the attacker something again: id → what.

    That is an entry which opens again (they count as done after), or what was taken from one that works, or may.
    """
    entries = list(entries)
    named = {one.id: f"{one.kind.replace('_', ' ')} {one.key}" for one in entries}
    done = {one.id: planned for one in journal.actions.values() if one.finished and (planned := _read(one))}
    fates, about, found = judge(done.values()), Ending(done.values()), dict[str, str]()
    closed = _closed(fates)
    for entry in entries:
        for one in about.about(entry) if entry.id in fates and entry.id not in closed else ():
            if _TAKEN & {*ACTIONS[one.action].effects}:
                found.setdefault(one.id, f"what {named[entry.id]} could do")
    for record in records:
        planned = done.get(record.id)
        if planned is None or record.by_hand or planned.cannot_undo or record.id in found:
            continue
        without = [one for one in done.values() if one.id != record.id]
        still = _closed(judge(without))
        if closed <= still:
            del done[record.id]
        else:
            found[record.id] = few([named[id_] for id_ in named if id_ in closed - still], _MOST)
    return found


def _closed(fates: Mapping[str, Fate]) -> set[str]:
    """The entries that give the attacker nothing."""
    return {id_ for id_, fate in fates.items() if fate.state in ("ended", "shut out")}


def _read(record: ActionRecord) -> PlannedAction | None:
    try:
        return planned_of(record.action)
    except (KeyError, TypeError):
        return None  # of another kit: its check says so
