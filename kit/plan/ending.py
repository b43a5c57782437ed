"""Which actions of a plan end which open entries: the one relation that brief, plan and the look afterwards share.

What an action ends is declared with it (kit.actions), and holds for the things by which an entry is reached. An isolation cuts a pod off
and ends no credential; a node's credential outlives its instance (aws-iam-authenticator keeps the instance's name).
"""

from __future__ import annotations

from collections.abc import Iterable

from kit.actions.registry import ACTIONS
from kit.plan.plan import PlannedAction
from kit.statements.open_entry import OpenEntry

SIGN_IN_KINDS = ("token", "credential", "access_key", "node", "identity")
"""The kinds of entries that sign somebody in."""


class Ending:
    """What the actions of a plan end."""

    def __init__(self, actions: Iterable[PlannedAction]) -> None:
        self._by_target = dict[str, list[PlannedAction]]()
        self._on_cluster = list[PlannedAction]()
        self._order = dict[str, int]()
        for number, one in enumerate(actions):
            self._by_target.setdefault(one.target, []).append(one)
            if one.target.startswith("cluster:"):
                self._on_cluster.append(one)
            self._order[one.id] = number

    def of(self, entry: OpenEntry) -> list[PlannedAction]:
        """The actions that end an entry or a part of it, in the plan's order; none of what has ended."""
        if entry.state == "ended":
            return []
        found = {one.id: one for one in self.about(entry) if _parts(one, entry)}
        return sorted(found.values(), key=lambda one: self._order[one.id])

    def about(self, entry: OpenEntry) -> list[PlannedAction]:
        """The actions on the things by which an entry is reached, whatever they do to it; who signs in comes by the cluster's endpoint."""
        found = [one for kind, key in entry.targets for one in self._by_target.get(f"{kind}:{key}", ())]
        return found + (self._on_cluster if entry.kind in SIGN_IN_KINDS else [])


def is_ended_by(entry: OpenEntry, actions: Iterable[PlannedAction]) -> bool:
    """Whether these actions together leave nothing of what an entry gives."""
    ended = {part for one in actions for part in _parts(one, entry)}
    return "" in ended or separate_parts(entry) <= ended


def separate_parts(entry: OpenEntry) -> set[str]:
    """The parts of what an entry gives that end apart: of an access key or session AWS, and the cluster where it signed in to that.

    A deny in IAM stops no sign-in to the cluster: that is a presigned call of GetCallerIdentity, which no policy denies.
    """
    if entry.kind != "access_key":
        return {""}
    signs_in = any(kind == "identity" for kind, _ in entry.targets)
    return {"aws", "cluster"} if signs_in else {"aws"}


def _parts(one: PlannedAction, entry: OpenEntry) -> set[str]:
    """The parts of an entry that an action on it ends; "" for all of it."""
    action = ACTIONS[one.action]
    ends = {part for kind, _, part in (each.partition(":") for each in action.ends) if kind == entry.kind}
    named = (entry.key, entry.of)  # in whose name, and by whom
    return ends if ends and any(action.ends_key(one.parameters, name) for name in named) else set()
