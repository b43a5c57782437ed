"""Observed, not observed, or cannot tell: decided here alone, for every question.

"Not observed" is said only where each kind of evidence that would have shown it is there, for the whole window, at the audit level
that shows it, and no limit is known. Sources: Kubernetes "Auditing" (levels); CloudTrail User Guide (management and data events).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final, Literal

from kit.inventory.inventory import Inventory
from kit.model.kinds import SUBJECT_KINDS, Needs
from kit.model.why import AUDIT_LOG, CLOUDTRAIL_EVERYWHERE, DUMP, Limit
from kit.model.window import Window
from kit.scope.limits import Limits
from kit.store.store import Store
from kit.words import utc

VerdictWord = Literal["observed", "not observed", "cannot tell"]
OBSERVED: Final = "observed"
NOT_OBSERVED: Final = "not observed"
CANNOT_TELL: Final = "cannot tell"
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
_DELIVERY = timedelta(minutes=15)  # CloudTrail User Guide: events are delivered within about 15 minutes
_BODIES = ("create", "update", "patch", "delete")


SHOWN_BY: dict[str, tuple[Needs, ...]] = {
    **{kind.name: kind.shown_by for kind in SUBJECT_KINDS.values()},
    "aws_call": (Needs("trail"), Needs("trail", category="Data")),
    "typed": (Needs("runtime"),),
    "data_out": (Needs("flow_logs"), Needs("trail", category="Data")),
}
"""Kind of subject, or of question → the evidence that would show it; all of it has to be there for "not observed"."""


@dataclass(frozen=True)
class Verdict:
    """word: observed, not observed or cannot tell. limits: what is missing; beside "observed" it means "at least"."""

    word: VerdictWord
    limits: tuple[Limit, ...] = ()


def decide(shown: int, limits: Iterable[Limit]) -> Verdict:
    """The verdict on a question. shown: how many things the evidence shows, possible ones not counted. limits: what is missing.

    >>> decide(0, ()).word, decide(2, ()).word
    ('not observed', 'observed')
    """
    missing = tuple(dict.fromkeys(limits))
    if shown < 0:
        raise ValueError("nothing can be shown less than never")
    if shown:
        return Verdict(OBSERVED, missing)
    return Verdict(CANNOT_TELL if missing else NOT_OBSERVED, missing)


class Evidence:
    """What the evidence of a case could have shown."""

    def __init__(self, store: Store, inventory: Inventory, limits: Limits) -> None:
        self.store = store
        self.inventory = inventory
        self.limits = limits

    def lacks(self, needs: Needs, window: Window | None) -> Iterator[Limit]:
        """What is missing of a kind of evidence in a window; nothing when it would have shown what happened."""
        about = (needs.source,)
        if needs.source == "audit":
            yield from self._lacks_of_log(needs, window)
        elif needs.source == "trail":
            yield from self._lacks_of_trail(needs, window)
        elif needs.source == "dump":
            if not self.inventory.has_dump:
                yield Limit(about, "There is no cluster dump", DUMP)
        elif needs.source == "runtime":
            says = "What ran inside of containers cannot be told: no evidence says that Runtime Monitoring was on"
            yield Limit(about, says, "`aws guardduty list-coverage`, and the Runtime Monitoring findings of that time")
        else:
            says = "What was sent over the network cannot be told: this kit does not read VPC flow logs"
            yield Limit(about, says, "the VPC flow logs of the nodes' subnets of that time")

    def _lacks_of_log(self, needs: Needs, window: Window | None) -> Iterator[Limit]:
        about = ("audit",)
        if window is None or not self._levels:
            yield Limit(about, "There is no audit log", AUDIT_LOG)
            return
        if self.limits.window is None or window.start < self.limits.window.start or window.end > self.limits.window.end:
            yield Limit(
                about, f"The audit log does not cover all of {utc(window.start)} to {utc(window.end)}", AUDIT_LOG
            )
        yield from self.limits.gaps(about, window)
        for resource, level, events in self._levels:
            too_low = LEVELS.index(level) < LEVELS.index(needs.level)
            if too_low and resource in (needs.resources or (resource,)):
                says = (
                    f"{events} events on {resource} were logged at level {level} alone, and {needs.level} would show it"
                )
                yield Limit(about, says, f"an audit policy that logs {resource} at level {needs.level}")

    @cached_property
    def _levels(self) -> list[tuple[str, str, int]]:
        """Resource, audit level and number of the events that were let through; of levels with bodies only writes count."""
        rows = self.store.rows(
            "SELECT coalesce(resource, '') AS resource, coalesce(level, 'Metadata') AS level, count(*) AS events FROM audit"
            " WHERE list_contains($writes, verb) AND coalesce(response_code, 200) < 300 AND subresource IS NULL AND NOT dry_run"
            " GROUP BY 1, 2 ORDER BY resource, level",
            writes=list(_BODIES),
        )
        found = [(row["resource"], row["level"], row["events"]) for row in rows if row["level"] in LEVELS]
        return found or [("", "Metadata", 0)] * bool(self.store.rows("SELECT 1 FROM audit LIMIT 1"))

    def _lacks_of_trail(self, needs: Needs, window: Window | None) -> Iterator[Limit]:
        about = ("trail",)
        collect = f"CloudTrail {needs.category.lower()} events of the account, all regions, for that time"
        if needs.category == "Management":
            collect = CLOUDTRAIL_EVERYWHERE
        (row,) = self.store.rows(
            "SELECT min(event_at) AS first_at, max(event_at) AS last_at FROM trail"
            " WHERE coalesce(event_category, 'Management') = $category",
            category=needs.category,
        )
        if row["first_at"] is None:
            yield Limit(about, f"There are no CloudTrail {needs.category.lower()} events", collect)
        elif window and (window.start < row["first_at"] - _DELIVERY or window.end > row["last_at"] + _DELIVERY):
            says = f"CloudTrail's {needs.category.lower()} events here are of {utc(row['first_at'])} to {utc(row['last_at'])} alone"
            yield Limit(about, says, collect)
