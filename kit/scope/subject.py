"""A subject, and the scope of one finding: what it affects, each subject with its whys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from kit.attribution.credential import Credential
from kit.identities.sessions import Session, Use
from kit.inventory.thing import Thing
from kit.model.finding import Finding
from kit.model.kinds import Certainty, SubjectName
from kit.model.refs import Ref
from kit.model.why import Limit, Why
from kit.model.window import Window
from kit.scope.profile import Profile
from kit.words import Names


@dataclass
class Subject:
    """Something affected, or possibly so. Fields as in the scope's JSON contract (docs/json.md); had_name: the objects that had its name
    when something was done to it, by uid. for_pods_at: when a change was made to what its pods are made from, first."""

    kind: SubjectName
    key: str
    certainty: Certainty
    why: dict[Why, None]
    thing: Thing | None = None
    through: Ref | None = None
    had_name: dict[str, Thing] = field(default_factory=dict, repr=False, compare=False)
    for_pods_at: datetime | None = None

    def join(self, certainty: Certainty, whys: Iterable[Why]) -> None:
        """Take in more reasons: affected wins over possible, and then its reasons alone count."""
        if certainty == "affected" and self.certainty == "possible":
            self.certainty, self.why = certainty, {}
        if certainty == self.certainty:
            self.why |= dict.fromkeys(whys)


@dataclass
class UsedSession:
    """A role session that a subject got, with what it was used for. certainty: affected when the attacker used it."""

    session: Session
    certainty: Certainty
    why: list[Why]
    uses: list[Use]


@dataclass
class FindingScope:
    """What one finding affects."""

    finding: Finding
    window: Window | None
    subjects: dict[tuple[str, str, str | None], Subject] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    possible_calls: dict[str, None] = field(default_factory=dict)
    aws_calls: dict[str, None] = field(default_factory=dict)
    identities: list[Profile] = field(default_factory=list)
    sessions: list[UsedSession] = field(default_factory=list)
    credentials: list[Credential] = field(default_factory=list)
    limits: dict[Limit, None] = field(default_factory=dict)

    def add(
        self,
        kind: SubjectName,
        key: str | None,
        why: Why | Iterable[Why],
        *,
        certainty: Certainty = "affected",
        thing: Thing | None = None,
        through: Ref | None = None,
    ) -> None:
        """Add a subject, or more reasons to one that is there."""
        if not key:
            return
        reasons = dict.fromkeys([why] if isinstance(why, Why) else why)
        present = self.subjects.get((kind, key, through))
        if present is None:
            self.subjects[(kind, key, through)] = Subject(kind, key, certainty, reasons, thing, through)
            return
        if thing is not None and (
            present.thing is None or (present.thing.standing is False and thing.standing is not False)
        ):
            present.thing = thing  # a name that came back: the one that may still stand
        present.join(certainty, reasons)

    def all_of(self, *kinds: SubjectName) -> list[Subject]:
        """The subjects of some kinds; all without any."""
        return [subject for subject in self.subjects.values() if not kinds or subject.kind in kinds]

    def affected(self, *kinds: SubjectName) -> list[Subject]:
        """Those of them that are affected."""
        return [subject for subject in self.all_of(*kinds) if subject.certainty == "affected"]

    @property
    def sorted_subjects(self) -> list[Subject]:
        """The subjects in the order in which they are told: affected ones first."""
        return sorted(self.subjects.values(), key=lambda one: (one.certainty, one.kind, one.key, one.through or ""))

    def limit(
        self,
        about: Names,
        says: str,
        collect: str,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        """Add what cannot be told, once."""
        self.limits[Limit(tuple(about), says, collect, start, end)] = None
