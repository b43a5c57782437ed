"""A question to the evidence about a finding, and its answer: verdict, one sentence, rows that show it, and what is missing.

A question is a small function in kit.questions: it looks for what the evidence shows. Whether an empty result means "not observed" is
never decided there, but by kit.questions.verdict, from the evidence that the question declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kit.attribution.calls import AwsEvent, Event, place_of
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.model.finding import Finding
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.kinds import DEEDS, Certainty, Needs, SubjectName
from kit.model.refs import Ref
from kit.model.why import AUDIT_LOG, Limit, Standing, Why
from kit.model.window import Window
from kit.questions.verdict import CANNOT_TELL, OBSERVED, Evidence, Verdict, decide
from kit.scope.incident import Incident
from kit.scope.index import each_once
from kit.scope.profile import Profile
from kit.scope.scope import Scope
from kit.scope.subject import FindingScope, Subject
from kit.store.store import Store
from kit.store.tables import Row
from kit.words import Names, counted

if TYPE_CHECKING:
    import pandas as pd

# A node alone joins nothing: many pods run on it. Nor does an address of the cluster's own, behind which everybody is.
_SHARED = ("pod", "identity", "source_ip")
_DONE = (*DEEDS, "reachable")


@dataclass(frozen=True)
class Found:
    """What a question found. says: one sentence for when it is observed; nothing: one for when it is not.

    rows: all that speaks to it: heading → text, number, time (UTC) or list of texts; `certainty` (affected or possible), `path` (of an
    object) and `refs` beside them. shown: how many of them show it; without it, all that are not only possible. limits: what else is
    missing. window: the stretch that it is about, where that is not the case's.
    """

    rows: list[Row]
    says: str
    nothing: str
    shown: int | None = None
    limits: tuple[Limit, ...] = ()
    window: Window | None = None


@dataclass(frozen=True)
class Asked:
    """What a question is asked of: one finding with its scope, and the evidence of its case. whole: its incident as a whole instead.

    incidents: those of the case, which say what belongs together. states: ref, or kind:key, of what gave access → whether that is usable, ended, or cannot be told.
    """

    store: Store
    inventory: Inventory
    scope: Scope
    of: FindingScope
    evidence: Evidence
    baseline: datetime | None = None
    incidents: tuple[Incident, ...] = ()
    whole: bool = False
    states: Mapping[str, str] = field(default_factory=dict)

    @property
    def finding(self) -> Finding:
        """The finding."""
        return self.of.finding

    @property
    def window(self) -> Window | None:
        """The window; None when there is no audit log and none was given."""
        return self.scope.window

    @cached_property
    def together(self) -> list[tuple[FindingScope, list[tuple[str, str]]]]:
        """The scopes of the other findings of its incident, each with what is affected by both (kind, key), which may be nothing: they may
        be joined by others. A `Policy:` finding shares the identities that it says were given rights."""
        mine, mine_run = _things_of(self.of)
        mine |= {("identity", name) for name in self._let_in}
        own = {("source_ip", address) for address in self.scope.attacker.cluster_addresses.own}
        found = []
        incident = next((one for one in self.incidents if self.of in one.scopes), None)
        for scope in incident.scopes if incident else ():
            if scope is not self.of:
                theirs, they_run = _things_of(scope)
                # A service account joins where one finding's pods run under it and the other's caller used it.
                found.append((scope, sorted((mine & theirs | mine_run & theirs | mine & they_run) - own)))
        return found

    @cached_property
    def _let_in(self) -> set[str]:
        """The user names that a `Policy:` finding says were given rights."""
        named = set[str]()
        for one in self.of.all_of("granted") if self.finding.is_policy else ():
            kind, _, name = one.key.rpartition(" to ")[2].partition(" ")
            is_anonymous = name in ("system:anonymous", "system:unauthenticated")
            named.add(
                "system:anonymous"
                if is_anonymous
                else f"{SERVICE_ACCOUNT}{name.replace('/', ':', 1)}"
                if kind == "ServiceAccount"
                else name
            )
        return named

    @cached_property
    def parts(self) -> list[FindingScope]:
        """The scopes whose calls are asked about: the finding's own; where it names no attacking caller, also those of findings that
        belong together with it, for somebody else's calls did it or used it. All of the incident, asked of the whole."""
        names_caller = bool(self.finding.user.get("Username")) and not self.finding.is_policy
        own = not self.whole and (names_caller or bool(self.finding.sequence))
        return [self.of] if own else [self.of, *(scope for scope, _ in self.together)]

    @cached_property
    def findings(self) -> list[Finding]:
        """The findings that it is asked of: one, or all of the incident."""
        return [part.finding for part in self.parts] if self.whole else [self.finding]

    @cached_property
    def own_calls(self) -> list[Event]:
        """The findings' own calls, each once."""
        every = (event for one in self.findings for event in self.scope.attacker.own_calls.of(one))
        return list({place_of(event): event for event in every}.values())

    @cached_property
    def hostile(self) -> list[Event]:
        """The attacker's audit events of this finding and of what belongs to it (`parts`), oldest first."""
        return self.scope.attacker.events_of({audit_id for part in self.parts for audit_id in part.calls})

    @cached_property
    def trail(self) -> dict[str, tuple[AwsEvent, str]]:
        """The attacker's CloudTrail events of these parts by eventID, oldest first, each with the reason."""
        chosen = {event_id for part in self.parts for event_id in part.aws_calls}
        return {event_id: one for event_id, one in self.scope.attacker.trail.items() if event_id in chosen}

    @cached_property
    def profiles(self) -> list[Profile]:
        """The identities of these parts, each once."""
        return list({one.identity.user_name: one for part in self.parts for one in part.identities}.values())

    @cached_property
    def nobody(self) -> tuple[Limit, ...]:
        """The limit of a finding to which no call can be attributed: what the attacker did cannot be told from it."""
        if self.hostile:
            return ()
        says = "No call in the audit log can be attributed to the attacker of this finding"
        if self.finding.is_policy:
            says += ": it reports a setting, and no call of an attacker that another finding shows joins it"
        elif not self.finding.user.get("Username"):
            says += ": it names no caller, and no call of an attacker that another finding shows joins it"
        return (Limit(("identity",), says, AUDIT_LOG),)

    @cached_property
    def first_hostile_at(self) -> datetime | None:
        """The first bad sign of the whole case, or the end of the baseline that a person gave: the first hostile call, or what a
        finding saw before."""
        if self.baseline is not None:
            return self.baseline
        first = self.scope.attacker.first_call_at
        seen = [one.first_seen_at for one in self.scope.attacker.findings if one.first_seen_at and not one.is_policy]
        return min([*seen, first] if first else seen, default=None)

    @cached_property
    def callers(self) -> list[str]:
        """The user names of the finding's caller and of whoever made the attacker's calls with it."""
        return [profile.identity.user_name for profile in self.profiles]

    def subjects(self, *kinds: SubjectName) -> list[Subject]:
        """The subjects of some kinds, affected ones first; what calls did also of the findings that belong together (`parts`)."""
        return each_once(
            subject
            for part in self.parts
            for subject in part.all_of(*kinds)
            if part is self.of or self.whole or subject.kind in _DONE
        )

    def things(self, kind: SubjectName) -> list[Thing]:
        """The objects of the affected subjects of a kind."""
        return [one.thing for one in self.subjects(kind) if one.thing and one.certainty == "affected"]

    def ref(self, event: Mapping[str, Any]) -> str:
        """The ref of an audit event."""
        return str(self.store.event_ref(event))

    def finding_ref(self, json_path: str = "") -> str:
        """The ref of the finding, or of a member of it."""
        return str(self.finding.ref(json_path))


@dataclass(frozen=True)
class Question:
    """A question: its name in playbooks, what it asks, the evidence that would show it, the scope's kinds whose limits count."""

    name: str
    asks: str
    find: Callable[[Asked], Found] = field(repr=False)
    shown_by: tuple[Needs, ...] = ()
    about: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Answer:
    """What the evidence says to a question about a finding."""

    question: Question
    finding: Finding
    verdict: Verdict
    says: str
    rows: list[Row] = field(repr=False)
    window: Window | None = None

    @property
    def rests_on(self) -> list[str]:
        """The refs of the evidence under it, each once."""
        return list(dict.fromkeys(ref for row in self.rows for ref in row.get("refs", ())))

    @property
    def frame(self) -> pd.DataFrame:
        """Its rows as a frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def __repr__(self) -> str:
        return f"{self.verdict.word}: {self.says} ({self.question.name}, {counted(len(self.rows), 'row')}, finding {self.finding.id})"


QUESTIONS: dict[str, Question] = {}
"""All questions by name; the modules of kit.questions fill it."""


def question(asks: str, *shown_by: Needs, about: Names = ()) -> Callable[[Callable[[Asked], Found]], Question]:
    """Make a function a question, named as it is. shown_by: all of it has to be there for "not observed"."""

    def made(find: Callable[[Asked], Found]) -> Question:
        one = Question(find.__name__, asks, find, shown_by, tuple(about))
        if one.name in QUESTIONS:
            raise ValueError(f"two questions are named {one.name}")
        QUESTIONS[one.name] = one
        return one

    return made


def ask(one: Question, asked: Asked) -> Answer:
    """The answer to a question."""
    found = one.find(asked)
    possible = sum(row.get("certainty") == "possible" for row in found.rows)
    shown = len(found.rows) - possible if found.shown is None else found.shown
    limits = list(found.limits)
    if set(one.about) & set(_DONE):
        limits += asked.nobody
    if possible and not shown:
        says = f"{possible} that may show it {'is' if possible == 1 else 'are'} only possible"
        limits.append(Limit(one.about, says, "what the rows name, and look at it"))
    limits += [limit for part in asked.parts for limit in part.limits if set(limit.about) & set(one.about)]
    window = found.window or asked.window
    limits += [limit for needs in one.shown_by for limit in asked.evidence.lacks(needs, window)]
    verdict = decide(shown, (asked.scope.collecting.of(limit, asked.finding.id) for limit in limits))
    says = found.says if verdict.word == OBSERVED else found.nothing
    others = 0 if asked.whole else len(asked.parts) - 1
    if verdict.word == OBSERVED and others and one.about:
        says = f"{says} Counted with what the callers of {counted(others, 'finding')} that {'belongs' if others == 1 else 'belong'} together with this one did."
    if verdict.word == CANNOT_TELL:
        says = f"{verdict.limits[0].says}."
    return Answer(one, asked.finding, verdict, says, found.rows, window)


def _things_of(scope: FindingScope) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The affected subjects that may join a finding to another (kind, key), and the identities that its pods run under."""
    affected = scope.affected()
    things: set[tuple[str, str]] = {(one.kind, one.key) for one in affected if one.kind in _SHARED}
    run_under = {
        ("identity", f"{SERVICE_ACCOUNT}{one.key.replace('/', ':', 1)}")
        for one in affected
        if one.kind == "service_account"
    }
    return things, run_under


def row(refs: Iterable[str | Ref], certainty: Certainty = "affected", path: str = "", **cells: Any) -> Row:
    """A row of an answer; headings with spaces are written with underscores. path: of the object that something can be done to."""
    named = {name.replace("_", " "): value for name, value in cells.items()}
    return {**named, "certainty": certainty, "path": path, "refs": list(dict.fromkeys(str(ref) for ref in refs))}


def stands(thing: Thing | None) -> Standing:
    """Whether an object stands."""
    return {True: Standing.STANDS, False: Standing.GONE, None: Standing.UNTOLD}[thing.standing if thing else None]


def whys(reasons: Iterable[Why]) -> str:
    """Reasons in one sentence."""
    return "; ".join(dict.fromkeys(why.says for why in reasons))
