"""What was touched in which namespace, as colours with their numbers."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from kit.case.case import Case
from kit.model.kinds import SubjectName
from kit.show.figures.chart import HEAT_SCALE, Chart, frame_rows, label, layout
from kit.show.figures.with_table import with_table
from kit.show.html_table import Shown, safe
from kit.show.words import NOUNS
from kit.store.tables import Row
from kit.words import counted

MOST_NAMESPACES = 30


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
            colorscale=HEAT_SCALE, showscale=False, xgap=2, ygap=2,
        )
    )  # fmt: skip
    counts = counts.assign(kind=counts["kind"].map(kinds)).sort_values(["namespace", "kind"], ignore_index=True)
    more = f"; {len(number) - len(kept)} more stand in the table" if len(number) > len(kept) else ""
    return Chart("namespaces", f"{counted(len(kept), 'namespace')}{more}", figure, counts)


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


def namespaces(case: Case) -> Shown:
    """What was touched in each namespace."""
    chart = namespace_heat(case.subjects, {kind: NOUNS[kind][1] for kind in _TOUCHED})
    if chart.rows.empty:
        says = "Nothing in a namespace is shown to be affected."
        return Shown(Markup("<p>{}</p>").format(says), says)
    columns: dict[str, Callable[[Row], str]] = {
        "Namespace": lambda row: safe(row["namespace"]),
        "What": lambda row: safe(row["kind"]),
        "How many": lambda row: f"{row['count']:,}",
    }
    return with_table(case, chart, columns, "namespaces")
