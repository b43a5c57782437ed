"""What a case asks for beyond a first collection: pods and principals that its scope found, and the times that its limits miss.

Collected, added and asked again, until nothing new comes or the depth is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from kit.case.case import Case
from kit.case.opening import open_case
from kit.errors import CallError
from kit.evidence.intake import Progress, add_evidence
from kit.lenient import dict_of, time_of
from kit.live.collect.collection_log import LOG_NAME, CollectionLog
from kit.live.collect.run import Gathered, Wanted, collect
from kit.live.connection import ConnectionOptions
from kit.model.window import Window
from kit.words import counted, iso

_NEAR = timedelta(days=1)


def wanted_by(case: Case, given: Wanted, had: Window | None) -> Wanted:
    """What a case asks for: in the window that was collected, or its own, and where its limits miss something outside of it.

    Raises CallError for a case about another cluster.
    """
    if not case.cluster or given.cluster not in ("", case.cluster):
        raise CallError(
            f"the case is about cluster {case.cluster}, not {given.cluster}" if case.cluster else "the case does not tell its cluster",
            where="more, cluster",
            next="leave --cluster out" if case.cluster else "make the case with --cluster",
        )  # fmt: skip
    found, window = case.scope["findings"], had or case.window
    subjects = [one for each in found for one in each["subjects"]]
    missed = [one[end] for each in found for one in each["limits"] for end in ("start", "end")]
    known = [datetime.fromisoformat(one) for one in missed if one]
    if window:  # a certificate or a role may be years old: that is no time to fetch the logs of
        near = Window(window.start - _NEAR, window.end + _NEAR)
        known = [one for one in known if one in near] + [window.start, window.end]
    times = sorted(known)
    asks = replace(
        given,
        cluster=case.cluster,
        region=given.region or case.region or "",
        pods=tuple(
            (str(one["namespace"]), str(one["name"]))
            for one in subjects
            if (one["kind"], one["certainty"]) == ("pod", "affected")
        ),
        principals=sorted({str(one["key"]) for one in subjects if one["kind"] == "iam_role"}),
    )
    if given.start and given.end:
        return asks
    if had and (times[0], times[-1]) == (had.start, had.end) and given.finding:
        return asks  # the same call, whose window is settled
    if len(times) > 1 and times[0] < times[-1]:
        return replace(asks, finding="", start=given.start or iso(times[0]), end=given.end or iso(times[-1]))
    return replace(asks, finding=given.finding or (found[0]["id"] if found else ""))


def _had(folder: Path) -> Window | None:
    """The window of the last call that collected into a folder."""
    if not (folder / LOG_NAME).exists():
        return None
    log = CollectionLog(folder)
    try:
        settled = [dict_of(line["settled"]) for line in log.lines if line.get("settled")]
    finally:
        log.close()
    ends = [(time_of(one.get("start")), time_of(one.get("end"))) for one in settled[-1:]]
    return next((Window(start, end) for start, end in ends if start and end), None)


def collect_more(
    case: Path,
    folder: Path,
    given: Wanted,
    access: ConnectionOptions,
    depth: int,
    told: Progress,
    tell: Callable[[str], None],
) -> Gathered:
    """Collect what a case asks for and add it to the case, at most so many times over. Raises KitError."""
    arrived, before = Gathered(), -1
    for number in range(depth):
        wanted = wanted_by(open_case(case), given, _had(folder))
        arrived = collect(folder, wanted, access, told, tell)
        if arrived.answers == before:
            break
        before = arrived.answers
        made = add_evidence(case, [str(folder)], told)
        new = sum(bool(entry.taken_as) for entry in made.ledger)
        tell(f"Round {number + 1}: {counted(new, 'file')} added to {case}")
        if not new:
            break
    return arrived
