"""What each source recorded, as a strip."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from kit.case.case import Case
from kit.show.figures.chart import Chart, chart_time, frame_rows, label, plain, time_bars
from kit.show.figures.with_table import picture as picture
from kit.show.html_table import Shown
from kit.show.words import pill
from kit.store.tables import TABLES
from kit.words import counted

_STATES = {"recorded": "#0072b2", "partial": "#e69f00", "gap": "#8c959f"}


def coverage_strip(coverage: pd.DataFrame, findings: pd.DataFrame) -> Chart:
    """What each source recorded, and where it has gaps; the times of the findings are marked. coverage, findings: as of a Case."""
    rows = coverage.dropna(subset=["start_at", "end_at"]).sort_values(["source", "start_at"])
    lines = list(dict.fromkeys(rows["source"]))
    seen = findings["first_seen_at"].dropna()
    times = [pd.Timestamp(at) for at in [*rows["start_at"], *rows["end_at"], *seen]]
    window = (min(times).to_pydatetime(), max(times).to_pydatetime())
    figure = go.Figure(
        layout=time_bars(
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


def recorded_time(case: Case) -> Shown:
    """What each source recorded, as a strip."""
    if case.coverage.dropna(subset=["start_at", "end_at"]).empty:
        return Shown(
            Markup("<p>{} There is neither an audit log nor CloudTrail in this case.</p>").format(
                pill("cannot tell", "cannot")
            ),
            "no coverage",
        )
    return picture(coverage_strip(case.coverage, case.findings), Markup(""))
