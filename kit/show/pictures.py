"""The pictures of the branches: lives of pods, calls against what is usual, what was touched where, what was recorded; each with its table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.model.kinds import SubjectName
from kit.show import figures
from kit.show.calls import picture as shown_picture
from kit.show.figures import heat, strips
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.words import NOUNS, pill
from kit.store.tables import Row
from kit.words import counted

_STRETCHES = 60  # of the heatmap
_TOUCHED: tuple[SubjectName, ...] = (
    "pod",
    "service_account",
    "secret",
    "config_map",
    "token",
    "created",
    "changed",
    "deleted",
)


def lifetimes(case: Case) -> Shown:
    """When each pod in scope was born, attacked and gone."""
    pods = case.subjects[case.subjects["kind"] == "pod"]
    window = _window(case)
    if pods.empty or window is None:
        says = "No pod is in scope." if pods.empty else "When they lived cannot be told: there is no audit log."
        return Shown(Markup("<p>{}</p>").format(says), says)
    chart = strips.lifetime_strips(pods, case.calls, window)
    columns: dict[str, Callable[[Row], str]] = {
        "Pod": lambda row: safe(row["pod"]),
        "Certainty": lambda row: pill(row["certainty"]),
        "Born (UTC)": lambda row: clock(row["created_at"], "before the log, or not told"),
        "First attacked (UTC)": lambda row: clock(row["attacked_at"]),
        "Attacks": lambda row: f"{row['attacks']:,}",
        "Gone (UTC)": lambda row: clock(
            row["deleted_at"], "gone, time not told" if row["gone"] else "not known to be gone"
        ),
    }
    return _with_table(case, chart, columns, "lifetimes")


def activity(case: Case) -> Shown:
    """The calls of the scope's identities over time against what was usual for them before the first bad sign."""
    calls = case.activity(_STRETCHES)
    if calls.empty:
        says = "No call of an identity in scope is in the evidence, so nothing can be compared."
        return Shown(Markup("<p>{}</p>").format(says), says)
    columns: dict[str, Callable[[Row], str]] = {
        "Call": lambda row: safe(row["call"]),
        "Calls": lambda row: f"{int(row['calls']):,}",
        "Of the attacker": lambda row: f"{int(row['hostile']):,}",
    }
    return _with_table(case, heat.activity_heat(calls, case.first_hostile_at), columns, "activity")


def namespaces(case: Case) -> Shown:
    """What was touched in each namespace."""
    chart = heat.namespace_heat(case.subjects, {kind: NOUNS[kind][1] for kind in _TOUCHED})
    if chart.rows.empty:
        says = "Nothing in a namespace is shown to be affected."
        return Shown(Markup("<p>{}</p>").format(says), says)
    columns: dict[str, Callable[[Row], str]] = {
        "Namespace": lambda row: safe(row["namespace"]),
        "What": lambda row: safe(row["kind"]),
        "How many": lambda row: f"{row['count']:,}",
    }
    return _with_table(case, chart, columns, "namespaces")


def recorded_time(case: Case) -> Shown:
    """What each source recorded, as a strip."""
    if case.coverage.dropna(subset=["start_at", "end_at"]).empty:
        return Shown(
            Markup("<p>{} There is neither an audit log nor CloudTrail in this case.</p>").format(
                pill("cannot tell", "cannot")
            ),
            "no coverage",
        )
    return shown_picture(strips.coverage_strip(case.coverage, case.findings), Markup(""))


def _with_table(case: Case, chart: figures.Chart, columns: dict[str, Callable[[Row], str]], name: str) -> Shown:
    inside = table(chart.rows, columns, export=case.path / "exports" / f"{name}.csv")
    return shown_picture(chart, fold(f"The same as a table ({counted(len(chart.rows), 'row')})", inside))


def _window(case: Case) -> tuple[datetime, datetime] | None:
    pods = case.subjects[case.subjects["kind"] == "pod"]
    if case.window is not None:
        # A log of weeks with lives of minutes: what is drawn is around the attack.
        times = [
            pd.Timestamp(at).to_pydatetime()
            for at in [*case.calls["received_at"].dropna(), *case.findings["first_seen_at"].dropna()]
        ]
        inside = [at for at in times if case.window.start <= at <= case.window.end]
        if not inside:
            return case.window.start, case.window.end
        room = max((max(inside) - min(inside)) * 0.5, timedelta(minutes=10))
        return max(case.window.start, min(inside) - room), min(case.window.end, max(inside) + room)
    times = [
        pd.Timestamp(at).to_pydatetime()
        for at in [*pods["created_at"].dropna(), *pods["deleted_at"].dropna(), *case.findings["first_seen_at"].dropna()]
    ]
    return (min(times), max(times) + timedelta(seconds=1)) if times else None
