"""Kinds of calls over time as colours: the attacker's against what is usual."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from kit.case.case import Case
from kit.show.figures.chart import HEAT_SCALE, Chart, chart_time, label, layout, plain
from kit.show.figures.with_table import with_table
from kit.show.html_table import Shown, safe
from kit.store.tables import Row
from kit.words import counted

MOST_CALLS = 18  # kinds of calls in the heatmap


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
            hovertext=said, hoverinfo="text", colorscale=HEAT_SCALE, showscale=False, xgap=1, ygap=1,
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


_STRETCHES = 60  # of the heatmap


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
    return with_table(case, activity_heat(calls, case.first_hostile_at), columns, "activity")
