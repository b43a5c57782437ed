"""Counts as colours with their numbers: calls over time against what is usual, and what was touched in which namespace."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import plotly.graph_objects as go

from kit.show.figures.chart import Chart, chart_time, frame_rows, label, layout, plain
from kit.words import counted

MOST_CALLS = 18  # kinds of calls in the heatmap
MOST_NAMESPACES = 30
_SCALE = [[0.0, "#ffffff"], [0.0001, "#fff1d6"], [0.35, "#f0b357"], [1.0, "#a33c00"]]  # one hue: reads in grey too


def activity_heat(calls: pd.DataFrame, first_bad: datetime | None) -> Chart:
    """How often the scope's identities made each kind of call, over time: left of the line is what was usual.

    calls: columns at (start of a stretch, UTC), call, calls, hostile. first_bad: the first bad sign.
    """
    number = calls.groupby("call")[["hostile", "calls"]].sum().sort_values(["hostile", "calls"], ascending=False)
    kept = list(number.index[:MOST_CALLS])
    shown = calls[calls["call"].isin(kept)]
    grid = shown.pivot_table(index="call", columns="at", values="calls", aggfunc="sum", fill_value=0).reindex(kept)
    hostile = shown.pivot_table(index="call", columns="at", values="hostile", aggfunc="sum", fill_value=0).reindex(kept)
    said = [
        [f"{label(call)}<br>from {chart_time(at)} UTC<br>{int(grid.loc[call, at]):,} calls, {int(hostile.loc[call, at]):,} of them the attacker's" for at in grid.columns]
        for call in kept
    ]  # fmt: skip
    height = 110 + 22 * max(len(kept), 3)
    figure = go.Figure(layout=layout(height, margin={"l": 10, "r": 16, "t": 30, "b": 44},
                                     xaxis={"type": "date", "tickformat": "%H:%M:%S\n%Y-%m-%d"},
                                     yaxis={"automargin": True, "autorange": "reversed", "fixedrange": True, "type": "category"}))  # fmt: skip
    figure.add_trace(
        go.Heatmap(
            x=[plain(at) for at in grid.columns], y=[label(call, 44) for call in kept], z=[[float(value) ** 0.5 for value in grid.loc[call]] for call in kept],
            hovertext=said, hoverinfo="text", colorscale=_SCALE, showscale=False, xgap=1, ygap=1,
        )
    )  # fmt: skip
    if first_bad is not None:
        figure.add_shape(
            type="line",
            x0=plain(first_bad),
            x1=plain(first_bad),
            y0=0,
            y1=1,
            yref="paper",
            line={"color": "#b3261e", "width": 2, "dash": "dash"},
        )
        figure.add_annotation(
            x=plain(first_bad),
            y=1,
            yref="paper",
            yanchor="bottom",
            text="first bad sign",
            showarrow=False,
            font={"size": 11, "color": "#b3261e"},
        )
    rows = number.reset_index()
    more = f"; {len(rows) - len(kept)} kinds more stand in the table" if len(rows) > len(kept) else ""
    return Chart("activity", f"{counted(len(kept), 'kind')} of calls over time{more}", figure, rows)


def namespace_heat(subjects: pd.DataFrame, kinds: dict[str, str]) -> Chart:
    """What was touched, by namespace: how many subjects of each kind. kinds: kind → heading."""
    rows = subjects[
        subjects["namespace"].notna() & (subjects["certainty"] == "affected") & subjects["kind"].isin(list(kinds))
    ]
    counts = rows.drop_duplicates(["kind", "key"]).groupby(["namespace", "kind"]).size().rename("count").reset_index()
    number = counts.groupby("namespace")["count"].sum().sort_values(ascending=False)
    kept, columns = list(number.index[:MOST_NAMESPACES]), [kind for kind in kinds if kind in set(counts["kind"])]
    value = {(row["namespace"], row["kind"]): int(row["count"]) for row in frame_rows(counts)}
    grid = [[value.get((one, kind), 0) for kind in columns] for one in kept]
    figure = go.Figure(layout=layout(130 + 24 * max(len(kept), 2), margin={"l": 10, "r": 16, "t": 70, "b": 16},
                                     xaxis={"side": "top", "type": "category", "fixedrange": True},
                                     yaxis={"automargin": True, "autorange": "reversed", "type": "category", "fixedrange": True}))  # fmt: skip
    figure.add_trace(
        go.Heatmap(
            x=[kinds[kind] for kind in columns], y=[label(one, 40) for one in kept], z=[[float(each) ** 0.5 for each in line] for line in grid],
            text=[[f"{each:,}" if each else "" for each in line] for line in grid], texttemplate="%{text}", hoverinfo="skip",
            colorscale=_SCALE, showscale=False, xgap=2, ygap=2,
        )
    )  # fmt: skip
    counts = counts.assign(kind=counts["kind"].map(kinds)).sort_values(["namespace", "kind"], ignore_index=True)
    more = f"; {len(number) - len(kept)} more stand in the table" if len(number) > len(kept) else ""
    return Chart("namespaces", f"{counted(len(kept), 'namespace')}{more}", figure, counts)
