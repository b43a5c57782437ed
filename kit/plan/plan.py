"""A plan: its actions in order, what is only reviewed, what is not possible, and the digest that is approved."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kit.actions.action import Action, Stage
from kit.actions.registry import ACTIONS
from kit.actions.target import Target

ASKS_NOBODY = (
    "the case shows that this is not the attacker's, or somebody who owns it objects: leave it out with --without"
)
BY_HAND = 15  # minutes that a person takes for an action, at least


@dataclass(frozen=True)
class PlannedAction:
    """One action on one target. Members as in the JSON form (docs/json.md); after: the ids that have to be done before.

    parameters: what kit.live takes to do it.
    by_person: why the kit does not do it itself, "" when it does.
    """

    id: str
    stage: Stage
    action: str
    does: str
    target: str
    name: str
    uid: str | None
    why: list[dict[str, str]]
    precondition: str
    blast_radius: list[str]
    undo: str
    cannot_undo: str
    command: list[str]
    permissions: list[str]
    when_not: list[str]
    after: list[str]
    parameters: dict[str, Any] = field(default_factory=dict)
    by_person: str = ""

    @property
    def by(self) -> Literal["kit", "person"]:
        """Who does it."""
        return "person" if self.by_person else "kit"

    @property
    def minutes(self) -> int:
        """How long it takes, as far as that can be said before."""
        known = ACTIONS[self.action].minutes
        return max(known, BY_HAND) if self.by_person else known


@dataclass(frozen=True)
class Plan:
    """A plan. review: refs of subjects that are only possible, and of pods that are only exposed: nothing is planned for them, somebody looks.

    not_possible: what cannot be done to something of its kind: action, target, name, says.
    """

    account: str | None
    region: str | None
    cluster: str | None
    actions: tuple[PlannedAction, ...]
    review: tuple[str, ...]
    not_possible: tuple[dict[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what would be done and where; the case's name and folder, and what is not done, are not in it."""
        covered = {
            "account": self.account,
            "region": self.region,
            "cluster": self.cluster,
            "actions": [asdict(one) for one in self.actions],
        }
        return hashlib.sha256(
            json.dumps(covered, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        ).hexdigest()


Made = tuple[Action, Target, "PlannedAction"]
