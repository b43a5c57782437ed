"""Stretches of time as bars: the lives of pods, and what the sources recorded."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kit.show.figures.chart import LINE, MUTED, Chart, chart_time, frame_rows, label, layout, plain
from kit.store.tables import TABLES
from kit.words import counted

MOST_PODS = 40  # drawn; the table beneath has all
_STATES = {"recorded": "#0072b2", "partial": "#e69f00", "gap": "#8c959f"}


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
    figure = go.Figure(layout=_bars([row["pod"] for row in drawn], window))
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
    return Chart("lifetimes", f"{counted(len(drawn), 'pod')} drawn{more}", figure, frame)


def coverage_strip(coverage: pd.DataFrame, findings: pd.DataFrame) -> Chart:
    """What each source recorded, and where it has gaps; the times of the findings are marked. coverage, findings: as of a Case."""
    rows = coverage.dropna(subset=["start_at", "end_at"]).sort_values(["source", "start_at"])
    lines = list(dict.fromkeys(rows["source"]))
    seen = findings["first_seen_at"].dropna()
    times = [pd.Timestamp(at) for at in [*rows["start_at"], *rows["end_at"], *seen]]
    window = (min(times).to_pydatetime(), max(times).to_pydatetime())
    figure = go.Figure(
        layout=_bars(
            [TABLES[one].title if one in TABLES else one for one in lines],
            window,
        )
    )
    shown = set[str]()
    for state, colour in _STATES.items():
        for span in frame_rows(rows[rows["state"] == state]):
            said = f"{label(span['source'])}: {state}<br>{chart_time(span['start_at'])} – {chart_time(span['end_at'])} UTC<br>{label('' if pd.isna(span['says']) else span['says'], 120)}"
            line = lines.index(span["source"])
            figure.add_trace(go.Scatter(x=[plain(span["start_at"]), plain(span["end_at"])], y=[line, line], mode="lines", hovertext=said, hoverinfo="text",
                                        name=state, legendgroup=state, showlegend=state not in shown,
                                        line={"color": colour, "width": 14 if state == "recorded" else 20}))  # fmt: skip
            shown.add(state)
    for at in seen:
        figure.add_shape(
            type="line",
            x0=plain(at),
            x1=plain(at),
            y0=0,
            y1=1,
            yref="paper",
            line={"color": "#b3261e", "width": 1, "dash": "dot"},
        )
    gaps = int((rows["state"] == "gap").sum())
    return Chart(
        "coverage",
        f"{counted(len(lines), 'source')}, {counted(gaps, 'gap')}",
        figure,
        rows[["source", "state", "start_at", "end_at", "says"]],
    )


def _bars(names: list[str], window: tuple[datetime, datetime]) -> go.Layout:
    room = max((pd.Timestamp(window[1]) - pd.Timestamp(window[0])) * 0.03, pd.Timedelta(seconds=5))
    return layout(
        110 + 24 * max(len(names), 2),
        margin={"l": 10, "r": 16, "t": 40, "b": 44},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        xaxis={"type": "date", "range": [plain(window[0] - room), plain(window[1] + room)], "gridcolor": "#eaeef2", "linecolor": LINE,
               "tickformat": "%H:%M:%S\n%Y-%m-%d", "title": {"text": "UTC", "font": {"size": 11, "color": MUTED}}},
        yaxis={"tickvals": list(range(len(names))), "ticktext": [label(name, 44) for name in names], "range": [len(names) - 0.4, -0.6],
               "automargin": True, "zeroline": False, "gridcolor": "#eaeef2", "fixedrange": True},
        hovermode="closest", dragmode="pan",
    )  # fmt: skip
