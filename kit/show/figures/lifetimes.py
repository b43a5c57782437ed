"""The lives of pods as bars: when each was born, attacked and gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from kit.case.case import Case
from kit.show.figures.chart import Chart, chart_time, frame_rows, label, plain, time_bars
from kit.show.figures.with_table import with_table
from kit.show.html_table import Shown, clock, safe
from kit.show.words import pill
from kit.store.tables import Row
from kit.words import counted

MOST_PODS = 40  # drawn; the table beneath has all


def lifetime_strips(pods: pd.DataFrame, calls: pd.DataFrame, window: tuple[datetime, datetime]) -> Chart:
    """When each pod was born, attacked and gone; of many those with the most attacks first, then affected ones.

    pods: subjects of kind pod. calls: the attacker's audit events. window: what is drawn; lives go beyond it.
    """
    attacks = dict[str, list[Any]]()
    named = calls[calls["resource"] == "pods"]
    for call in frame_rows(named):
        attacks.setdefault(f"{call['namespace']}/{call['name']}", []).append(call["received_at"])
    rows = []
    for pod in frame_rows(pods.drop_duplicates("key")):
        name = f"{pod['namespace']}/{pod['name']}"
        start = window[0] if pd.isna(pod["created_at"]) else pod["created_at"]
        end = window[1] if pd.isna(pod["deleted_at"]) else pod["deleted_at"]
        on_it = [at for at in attacks.get(name, []) if pd.Timestamp(start) <= pd.Timestamp(at) <= pd.Timestamp(end)]
        rows.append(
            {
                "pod": name, "certainty": pod["certainty"], "created_at": pod["created_at"], "attacked_at": min(on_it, default=None),
                "attacks": len(on_it), "deleted_at": pod["deleted_at"], "gone": bool(pod["standing"] is False or not pd.isna(pod["deleted_at"])),
            }
        )  # fmt: skip
    frame = pd.DataFrame(
        rows, columns=["pod", "certainty", "created_at", "attacked_at", "attacks", "deleted_at", "gone"]
    )
    frame = frame.sort_values(
        ["attacks", "certainty", "pod"], ascending=[False, True, True], kind="stable", ignore_index=True
    )
    drawn = frame_rows(frame.head(MOST_PODS))
    figure = go.Figure(layout=time_bars([row["pod"] for row in drawn], window))
    for line, row in enumerate(drawn):
        born, died = not pd.isna(row["created_at"]), not pd.isna(row["deleted_at"])
        start = max(pd.Timestamp(row["created_at"]), pd.Timestamp(window[0])) if born else window[0]
        end = row["deleted_at"] if died else window[1]
        said = f"{label(row['pod'])}<br>{'born ' + chart_time(row['created_at']) if born else 'born before the log, or not told'}<br>{'gone ' + chart_time(end) if died else 'gone' if row['gone'] else 'not known to be gone'}"
        dash = "solid" if row["certainty"] == "affected" else "dot"
        figure.add_trace(go.Scatter(x=[plain(start), plain(end)], y=[line, line], mode="lines", hovertext=said, hoverinfo="text", showlegend=False,
                                    line={"color": "#8c959f" if row["gone"] else "#0072b2", "width": 7, "dash": dash}))  # fmt: skip
    for name, symbol, colour, column in (
        ("born", "line-ns-open", "#0072b2", "created_at"),
        ("attacked", "star", "#d55e00", "attacked_at"),
        ("gone", "x", "#000000", "deleted_at"),
    ):
        marks = [(line, row[column]) for line, row in enumerate(drawn) if not pd.isna(row[column])]
        if marks:
            figure.add_trace(go.Scatter(x=[plain(at) for _, at in marks], y=[line for line, _ in marks], mode="markers", name=name, hoverinfo="skip",
                                        marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 2, "color": colour}}))  # fmt: skip
    more = f"; {len(frame) - len(drawn):,} more stand in the table" if len(frame) > len(drawn) else ""
    return Chart("lifetimes", f"{counted(len(drawn), 'pod')} drawn{more}", figure, frame, moves=True)


def lifetimes(case: Case) -> Shown:
    """When each pod in scope was born, attacked and gone."""
    pods = case.subjects[case.subjects["kind"] == "pod"]
    window = _window(case)
    if pods.empty or window is None:
        says = "No pod is in scope." if pods.empty else "When they lived cannot be told: there is no audit log."
        return Shown(Markup("<p>{}</p>").format(says), says)
    chart = lifetime_strips(pods, case.calls, window)
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
    return with_table(case, chart, columns, "lifetimes")


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
