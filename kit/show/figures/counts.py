"""How many rows of a frame there are of each value, over time or as such."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from kit.show.figures.chart import Chart, chart_time, label, layout, plain
from kit.words import counted

MOST_VALUES = 9  # each a colour, or a bar; the others are one together
_STEPS = (1, 5, 15, 60, 300, 900, 3600, 21600, 86400, 604800)  # seconds
_MOST_STEPS = 90
_COLOURS = (
    "#1f6feb",
    "#b3261e",
    "#2e7d32",
    "#a15c00",
    "#6b21a8",
    "#0b7285",
    "#99005e",
    "#5c6b00",
    "#4a4a4a",
    "#9aa4ae",
)


def counts_chart(frame: pd.DataFrame, by: str, at: str = "", number: str = "") -> Chart:
    """How many rows a frame has of each value of a column, the most frequent ones. at: a column of times, to draw them over time.

    number: a column that says how many each row stands for; one each without it.
    """
    names = frame[by].astype(object).where(frame[by].notna(), "(none)").map(str)
    rows = pd.DataFrame({"value": names, "number": frame[number] if number else 1})
    if at:
        rows["at"] = frame[at].dt.floor(f"{_step(frame[at])}s")
    kept = list(rows.groupby("value")["number"].sum().sort_values(ascending=False, kind="stable").index[:MOST_VALUES])
    rows["value"] = rows["value"].where(rows["value"].isin(kept), "others")
    shown = [*kept, *(["others"] if (rows["value"] == "others").any() and "others" not in kept else [])]
    counts = rows.groupby(["value", "at"] if at else ["value"])["number"].sum().reset_index()
    height = 320 if at else 110 + 24 * max(len(shown), 3)
    figure = go.Figure(layout=layout(height, barmode="stack", margin={"l": 10, "r": 16, "t": 20, "b": 44}, legend={"orientation": "v"},
                                     xaxis={"type": "date", "tickformat": "%H:%M\n%Y-%m-%d"} if at else {"type": "linear"},
                                     yaxis={"automargin": True, "fixedrange": True} if at else {"automargin": True, "autorange": "reversed", "type": "category"}))  # fmt: skip
    for value, colour in zip(shown, _COLOURS, strict=False):
        of = counts[counts["value"] == value]
        sums = [int(one) for one in of["number"]]
        if at:
            said = [f"{label(value)}<br>from {chart_time(time)} UTC<br>{one:,}" for time, one in zip(of["at"], sums, strict=True)]  # fmt: skip
            figure.add_trace(go.Bar(x=[plain(time) for time in of["at"]], y=sums, name=label(value, 44), marker_color=colour, hovertext=said, hoverinfo="text"))  # fmt: skip
        else:
            figure.add_trace(go.Bar(x=sums, y=[label(value, 44)], orientation="h", showlegend=False, marker_color=_COLOURS[0], hovertext=[f"{label(value)}<br>{sums[0]:,}"], hoverinfo="text"))  # fmt: skip
    says = f"{int(rows['number'].sum()):,} by {by} ({counted(rows['value'].nunique(), 'value')}){' over time' if at else ''}"
    return Chart("counts", says, figure, counts)


def _step(times: pd.Series) -> int:
    """The seconds of a bar, so that there are not too many."""
    span = (times.max() - times.min()).total_seconds() if times.notna().any() else 0
    return next((step for step in _STEPS if span / step <= _MOST_STEPS), _STEPS[-1])
