"""What the kit does for each action of kit.actions that it does itself: which changes, what is kept, and the check afterwards.

An act reads to find its changes; it changes nothing itself. One function a part, registered by the action's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kit.live.changes.change import Change
from kit.live.connection import Connection
from kit.plan.plan import PlannedAction

HOLDS, DOES_NOT_HOLD = "holds", "does not hold"


@dataclass(frozen=True)
class Check:
    """What a look afterwards showed. word: holds, does not hold or cannot tell."""

    word: str
    says: str


Changes = Callable[[Connection, PlannedAction], Iterable[Change]]
FilesKept = Callable[[Connection, PlannedAction], Iterator[tuple[str, bytes]]]
Checks = Callable[[Connection, PlannedAction], Check]
Refuses = Callable[[Connection, PlannedAction], str]


@dataclass(frozen=True)
class Act:
    """The parts of one action. refuses: why it may not be done now, "" when it may. keeps: file name and content, for the case.

    stands_against: why it may not be done yet, which what the plan does before it may end: said by a preview, a refusal when it is done.
    """

    changes: Changes
    check: Checks
    refuses: Refuses
    keeps: FilesKept
    stands_against: Refuses


ACTS = dict[str, Act]()
"""Every action that the kit does itself, by name."""


def _no_changes(live: Connection, planned: PlannedAction) -> list[Change]:
    return []


def _no_reason(live: Connection, planned: PlannedAction) -> str:
    return ""


def _no_files(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    yield from ()


def act(
    name: str,
    *,
    check: Checks,
    changes: Changes = _no_changes,
    refuses: Refuses = _no_reason,
    keeps: FilesKept = _no_files,
    stands_against: Refuses = _no_reason,
) -> None:
    """Register what is done for an action."""
    assert name not in ACTS, name
    ACTS[name] = Act(changes, check, refuses, keeps, stands_against)


def all_hold(live: Connection, changes: Iterable[Change], says: str) -> Check:
    """The check of changes whose own look shows whether they hold."""
    for change in changes:
        if not change.holds(change.look(live)):
            return Check(DOES_NOT_HOLD, f"not seen: {change.says}")
    return Check(HOLDS, says)


def services_needed_by(planned: PlannedAction) -> set[str]:
    """The services without which an action cannot be done: of an instance that the case names EC2 tells enough."""
    services = services_of(planned)
    return services - {"kubernetes"} if "ec2" in services and planned.parameters.get("instance_id") else services


def services_of(planned: PlannedAction) -> set[str]:
    """The services that an action calls: kubernetes, ec2, iam, …"""
    return {one.split(":")[1] if one.startswith("aws:") else "kubernetes" for one in planned.permissions}
