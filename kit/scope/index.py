"""The subjects of several findings: asked by kind, and each once with the reasons that count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from kit.model.kinds import SubjectName
from kit.model.refs import Ref
from kit.model.why import Why
from kit.scope.subject import FindingScope, Subject

_Place = TypeVar("_Place")


@dataclass
class SharedSubject(Subject):
    """A subject with the ids of the findings that have it."""

    findings: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> list[Why]:
        """Its whys, each sentence once, with the ref of the first that says it."""
        said = dict[str, Why]()
        for why in self.why:
            said.setdefault(why.says, why)
        return list(said.values())


class Index:
    """The subjects of some scopes."""

    def __init__(self, scopes: Iterable[FindingScope]) -> None:
        self.scopes = list(scopes)

    def all_of(self, *kinds: SubjectName) -> Iterator[Subject]:
        """The subjects of some kinds, of all without any; as often as findings have them."""
        return (subject for scope in self.scopes for subject in scope.all_of(*kinds))

    def affected(self, *kinds: SubjectName) -> Iterator[Subject]:
        """Those of them that are affected."""
        return (subject for scope in self.scopes for subject in scope.affected(*kinds))

    @cached_property
    def places(self) -> dict[tuple[str, str], SharedSubject]:
        """Kind and key → the subject, whoever it came through."""
        return self._joined(lambda subject: (subject.kind, subject.key))

    @cached_property
    def shared(self) -> dict[tuple[str, str, Ref | None], SharedSubject]:
        """Kind, key and through whom → the subject."""
        return self._joined(lambda subject: (subject.kind, subject.key, subject.through))

    def _joined(self, place_of: Callable[[Subject], _Place]) -> dict[_Place, SharedSubject]:
        found = dict[_Place, SharedSubject]()
        for scope in self.scopes:
            for one in scope.sorted_subjects:
                known = found.setdefault(
                    place_of(one), SharedSubject(one.kind, one.key, one.certainty, {}, one.thing, one.through)
                )
                known.join(one.certainty, one.why)
                known.findings.append(scope.finding.id)
        return found


def each_once(subjects: Iterable[Subject]) -> list[Subject]:
    """Subjects, each kind and key once, as the first of those has it that are affected, else the first; affected ones first."""
    found = dict[tuple[str, str], Subject]()
    for subject in sorted(subjects, key=lambda one: one.certainty):
        found.setdefault((subject.kind, subject.key), subject)
    return sorted(found.values(), key=lambda one: (one.certainty, one.kind, one.key))
