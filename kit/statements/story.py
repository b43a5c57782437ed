"""The story of an incident: at most nine dated rows, folded from the attacker's calls by who acted and with which aim.

Only what opened the way (came_before) and what came of it (followed) may cite calls that are not the attacker's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kit.attribution.calls import Event, creates, place_of
from kit.attribution.deeds import path_of
from kit.model.refs import Ref
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.moments import Actor, Moment, Moments, all_done, spoken
from kit.statements.undecided import Undecided
from kit.words import counted, few, lasting, utc

STORY_ROWS = 9
_MANY = 60  # runs that are compared with each other; more are joined by actor first
_SOON = timedelta(minutes=1)  # a row has the time of its first call: what comes later has its own while there is room
# The gravest first; what a call did that is not among them is told as a look.
_GRAVITY = (
    "let_in",
    "created",
    "token",
    "exec",
    "deleted",
    "changed",
    "secret",
    "forwarded",
    "config_map",
    "signed_in",
    "looked",
    "tried",
)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class StoryRow:
    """One row of a story. did: the gravest of what it tells. moments: the calls that it tells, where these are the attacker's."""

    at: datetime | None
    until: datetime | None
    phase: str
    did: str
    says: str
    who: str = ""
    acting_as: str | None = None
    address: str | None = None
    objects: list[tuple[str, str]] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)


class _Run:
    """Calls that are told in one row: of one actor with one aim, or of several where there are more than rows."""

    def __init__(self, moments: list[Moment]) -> None:
        self.moments = moments

    @property
    def actors(self) -> list[Actor]:
        return list(dict.fromkeys(one.actor for one in self.moments))

    @property
    def start(self) -> datetime:
        return self.moments[0].at

    @property
    def end(self) -> datetime:
        return self.moments[-1].at

    @property
    def is_look(self) -> bool:
        return all(one.kind in ("looked", "tried", "signed_in") for one in self.moments)

    def with_(self, other: _Run) -> _Run:
        return _Run(sorted([*self.moments, *other.moments], key=lambda one: (one.at, one.ref)))


def story(incident: Incident, scope: Scope, moments: Moments, undecided: list[Undecided]) -> list[StoryRow]:
    """The rows of an incident, oldest first. undecided: its calls that may be the attacker's, which no row tells."""
    every_moment = moments.of(incident)
    before = _before(incident, scope, moments)
    after = _after(every_moment, scope, undecided) if every_moment else _reported(incident)
    asides = [row for row in (before, after) if row]
    if len(asides) == 2:
        rows = [_row(run) for run in _in_two(every_moment, STORY_ROWS - 2, before)]
        if len(rows) < 2:
            asides = [row for row in asides if row is before]
    else:
        rows = [_row(run) for run in _in_two(every_moment, STORY_ROWS - len(asides), before)]
    every = [*rows, *asides]
    every.sort(key=lambda row: (row.at is None, row.at or _NEVER, row.did != "came_before", row.did == "followed"))
    said = set[str]()
    for row in every:
        if row.says in said and row.at:
            row.says = f"{row.says.removesuffix('.')}, at {row.at:%H:%M:%S}."
        said.add(row.says)
    return every


# ── folding ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_two(moments: list[Moment], most: int, before: StoryRow | None) -> list[_Run]:
    """Folded apart before and after what opened the way: what it let through did not come before it."""
    early = [one for one in moments if before and before.at and one.at < before.at]
    late = moments[len(early) :]
    if not early or not late:
        return _folded(moments, most)
    first = _folded(early, max(most // 3, 1))
    return [*first, *_folded(late, most - len(first))]


def _folded(moments: list[Moment], most: int) -> list[_Run]:
    """Runs of one actor and one aim; where these are more than can be told, the nearest are joined, of one actor first."""
    by_actor = dict[Actor, list[_Run]]()
    for moment in moments:
        runs = by_actor.setdefault(moment.actor, [])
        last = runs[-1].moments[-1] if runs else None
        if last and last.tactic == moment.tactic and moment.at - last.at <= _SOON:
            runs[-1].moments.append(moment)
        else:
            runs.append(_Run([moment]))
    found = sorted((run for runs in by_actor.values() for run in _with_looks(runs)), key=lambda run: run.start)
    for alike in (lambda run: run.actors[0], lambda run: run.actors[0].name):
        if len(found) > _MANY:
            found = _joined(found, alike)
    if len(found) > _MANY:
        found = [*found[: _MANY - 1], _Run(_in_order(found[_MANY - 1 :]))]
    while len(found) > most:
        pairs = [
            (_distance(one, other), first, second)
            for first, one in enumerate(found)
            for second, other in enumerate(found)
            if first < second
        ]
        _, first, second = min(pairs)
        found[first] = found[first].with_(found.pop(second))
        found.sort(key=lambda run: run.start)
    return found


def _joined(runs: list[_Run], alike: Callable[[_Run], Hashable]) -> list[_Run]:
    """All runs that are alike in one: of an attacker at work for hours nobody reads each."""
    groups = dict[Hashable, list[_Run]]()
    for run in runs:
        groups.setdefault(alike(run), []).append(run)
    return sorted((_Run(_in_order(group)) for group in groups.values()), key=lambda run: run.start)


def _in_order(runs: list[_Run]) -> list[Moment]:
    return sorted((moment for run in runs for moment in run.moments), key=lambda one: (one.at, one.ref))


def _with_looks(runs: list[_Run]) -> list[_Run]:
    """A look around is told with what the same actor did soon after."""
    found = list[_Run]()
    for run in runs:
        if found and found[-1].is_look and run.start - found[-1].end <= _SOON:
            run = found.pop().with_(run)
        found.append(run)
    return found


def _distance(one: _Run, other: _Run) -> tuple[int, float]:
    """How little two runs belong together: by actor, then by the time between them."""
    first, second = one.actors[-1], other.actors[0]
    apart = 0 if first == second else 1 if first.name == second.name else 2
    looks = 0 if one.is_look or other.is_look else 1
    return apart * 2 + looks, abs((other.start - one.end).total_seconds())


def _row(run: _Run) -> StoryRow:
    moments = run.moments
    gravest = min(moments, key=lambda one: _GRAVITY.index(one.kind))
    said = [f"{actor.says}: {all_done([one for one in moments if one.actor == actor])}" for actor in run.actors]
    lead = gravest.actor
    until = ""
    if run.end - run.start > _SOON:
        until = f"until {run.end:%H:%M:%S}: " if run.end.date() == run.start.date() else f"until {utc(run.end)}: "
    return StoryRow(
        run.start,
        run.end,
        gravest.tactic,
        gravest.kind,
        f"{until}{'; '.join(said)}.",
        ", ".join(dict.fromkeys(actor.name for actor in run.actors)),
        next((actor.acting_as for actor in run.actors if actor.acting_as), None),
        lead.address,
        list(dict.fromkeys(one for moment in moments for one in moment.objects)),
        [one.ref for one in moments],
    )


# ── before and after ───────────────────────────────────────────────────────────────────────────────────────────────────


def _before(incident: Incident, scope: Scope, moments: Moments) -> StoryRow | None:
    """What opened the way: the calls of findings that are not the attacker's and wrote an object."""
    calls = dict[str, Event]()
    for one in incident.scopes:
        for event in scope.attacker.own_calls.of(one.finding):
            if place_of(event) not in scope.attacker.calls and one.finding.is_policy and creates(event):
                calls.setdefault(str(scope.store.event_ref(event)), event)
    if not calls:
        return None
    events = sorted(calls.values(), key=lambda event: event["received_at"])
    who = list(dict.fromkeys(str(event["user_name"]) for event in events))
    paths = [path for path in dict.fromkeys(map(path_of, events)) if path]
    address = events[0]["source_address"]
    made = list(dict.fromkeys(moments.of_call(event).thing for event in events))
    says = f"{few([spoken(one) for one in who], 3)} created {few(made, 4)}; no finding shows that this caller is the attacker."
    return StoryRow(
        events[0]["received_at"], events[-1]["received_at"], "initial access", "came_before", says,
        ", ".join(who), None, address, [("created", path) for path in paths], list(calls),
    )  # fmt: skip


def _after(moments: list[Moment], scope: Scope, undecided: list[Undecided]) -> StoryRow | None:
    """What the log shows after the last call that is the attacker's."""
    last, window = moments[-1], scope.window
    if window is None or window.end <= last.at:
        return None
    gap = any(end > last.at for _, end in scope.limits.unrecorded)
    perhaps = sum(at > last.at for one in undecided for at in one.times)
    says = (
        f"No call of the attacker since, in {lasting(window.end - last.at)} of audit log{' with a gap' if gap else ''}"
    )
    says += f", but {counted(perhaps, 'call')} that may be." if perhaps else "."
    return StoryRow(last.at, window.end, "end of the evidence", "followed", says, refs=[last.ref])


def _reported(incident: Incident) -> StoryRow | None:
    """What GuardDuty reported, where no call is attributed."""
    findings = sorted((one.finding for one in incident.scopes), key=lambda one: (str(one.first_seen_at), one.id))
    seen = [one for one in findings if one.first_seen_at]
    types = list(dict.fromkeys(one.type for one in findings))
    says = f"GuardDuty reported {few(types, 3)}; no call is attributed to an attacker."
    at = seen[0].first_seen_at if seen else None
    refs = [str(Ref.of("finding", f"{one.id}#type")) for one in findings]
    return StoryRow(at, seen[-1].last_seen_at if seen else None, "finding", "followed", says, refs=refs)
