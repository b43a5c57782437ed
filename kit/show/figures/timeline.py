"""The attacker's calls over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kit.model.arn import Arn
from kit.show.figures.chart import (
    DEED_MARKS,
    LINE,
    MOST_IDENTITIES,
    MOST_MARKS,
    MUTED,
    Chart,
    chart_time,
    deed,
    frame_rows,
    label,
    layout,
    plain,
    user_words,
)
from kit.statements.moments import Moment
from kit.words import counted

_LETTER = 0.0075  # of the axis, that a letter of a phase's name takes
_MOST_NAMED = 12  # kinds of call named at one mark
MOST_LIVES, MOST_LABELS = 8, 5  # pods whose lives are drawn; deeds that are named
GRAVEST = ("let_in", "exec", "created", "token", "secret", "deleted", "changed", "forwarded")
"""Kinds of deeds that are named in the timeline, in this order."""
_PHASES = {
    "initial access": "#5c6b00",
    "discovery": "#0b5394",
    "credential access": "#99005e",
    "execution": "#a33c00",
    "persistence": "#6b21a8",
    "defense evasion": "#4a4a4a",
    "impact": "#8e1519",
}


def timeline_chart(
    calls: pd.DataFrame,
    aws_calls: pd.DataFrame,
    findings: pd.DataFrame,
    coverage: pd.DataFrame,
    window: tuple[datetime, datetime] | None,
    moments: Sequence[Moment] = (),
    pods: pd.DataFrame | None = None,
    new_kinds: Sequence[tuple[datetime, str]] = (),
) -> Chart:
    """The attacker's calls over time, one line an identity; findings above them, lives of pods below; what was not recorded is shaded.

    calls, aws_calls, findings, coverage: as of a Case. window: start and end, UTC; None without an audit log. moments: the calls
    in words, whose phases are shaded and of which the gravest are labelled. pods: subjects of kind pod, those of most attacks first. new_kinds: when each kind of call began
    that was not made before the first bad sign.
    """
    marks = _marks(calls, aws_calls)
    lines = list(dict.fromkeys(marks["line"]))
    seen = findings.dropna(subset=["first_seen_at"]).sort_values(["first_seen_at", "id"])
    lives = frame_rows(pods.head(MOST_LIVES)) if pods is not None else []
    figure = go.Figure(layout=_timeline_layout(lines, seen, marks, window, bool(moments), lives, bool(new_kinds)))
    _shade_phases(figure, moments)
    _shade_gaps(figure, coverage)
    _draw_lives(figure, lives, window)
    _draw_findings(figure, seen, int(bool(moments)))
    above = len(figure.layout.yaxis.tickvals) - len(lines) - len(lives) - bool(new_kinds)
    _draw_new_kinds(figure, new_kinds, above + len(lines))
    for kind, (name, colour, symbol) in DEED_MARKS.items():
        chosen = marks[marks["deed"] == kind]
        if len(chosen):
            _draw_marks(figure, chosen, lines, above, name, colour, symbol)
    rows = marks.sort_values("at")[["at", "line", "what", "count"]].reset_index(drop=True)
    _label_deeds(figure, moments, lines, above)
    says = f"{counted(int(marks['count'].sum()), 'call')} by {counted(len(lines), 'identity', 'identities')}"
    if pods is not None and len(pods):
        says += f"; the lives of {len(lives):,} of {counted(len(pods), 'pod')} in scope, the attacked first"
    return Chart("timeline", says, figure, rows, moves=True)


def _marks(calls: pd.DataFrame, aws_calls: pd.DataFrame) -> pd.DataFrame:
    """One row a mark: at, line (whose), deed, what (text), count."""
    rows = [
        {
            "at": call["received_at"],
            "line": user_words(call["user_name"]),
            "deed": deed(call),
            "what": call_words(call),
            "count": 1,
        }
        for call in frame_rows(calls)
    ] + [
        {
            "at": call["event_at"],
            "line": f"AWS: {arn_words(call['arn'])}",
            "deed": "aws",
            "what": aws_words(call),
            "count": 1,
        }
        for call in frame_rows(aws_calls)
    ]
    marks = pd.DataFrame(rows, columns=["at", "line", "deed", "what", "count"])
    marks["at"] = pd.to_datetime(marks["at"], utc=True)
    marks = marks.dropna(subset=["at"]).sort_values("at", kind="stable", ignore_index=True)
    marks["line"] = _busiest(marks["line"])
    return _gathered(marks) if len(marks) > MOST_MARKS else marks


def _busiest(lines: pd.Series[str]) -> pd.Series[str]:
    """The lines' names; of very many those with the most calls, and one for the rest."""
    number = lines.value_counts(sort=False)
    if len(number) <= MOST_IDENTITIES:
        return lines
    kept = sorted(number.index, key=lambda line: (-number[line], line))[: MOST_IDENTITIES - 1]
    return lines.where(lines.isin(kept), f"{len(number) - len(kept):,} more identities")


def _gathered(marks: pd.DataFrame) -> pd.DataFrame:
    """Marks of one line and deed in the same 120th part of the time become one, with their count."""
    first = marks["at"].min()
    stretch = max((marks["at"].max() - first) / 120, pd.Timedelta(seconds=1))
    groups = marks.groupby(["line", "deed", ((marks["at"] - first) // stretch).rename("stretch")], sort=True)
    gathered = groups.agg(
        at=("at", "min"), until=("at", "max"), what=("what", "first"), count=("count", "sum")
    ).reset_index([0, 1])
    several = gathered["count"] > 1
    gathered["what"] = gathered["what"].where(
        ~several, gathered["count"].astype(str) + " calls, the first: " + gathered["what"]
    )
    return gathered.sort_values(["at", "line"], kind="stable", ignore_index=True)


def call_words(call: Mapping[str, Any]) -> str:
    """An audit event in one line: `get secrets shop/db → 200`."""
    parts = [call.get("resource"), call.get("subresource")]
    what = "/".join(str(part) for part in parts if isinstance(part, str) and part)
    where = "/".join(str(part) for part in (call.get("namespace"), call.get("name")) if isinstance(part, str) and part)
    code = call.get("response_code")
    answer = "no answer recorded" if pd.isna(code) else str(int(code))
    return (
        " ".join(part for part in (str(call.get("verb")), what or str(call.get("request_uri") or ""), where) if part)
        + f" → {answer}"
    )


def aws_words(call: Mapping[str, Any]) -> str:
    """A CloudTrail event in one line: `ec2 DescribeInstances → AccessDenied`."""
    service = str(call.get("event_source") or "").partition(".")[0]
    error = call.get("error_code")
    return f"{service} {call.get('event_name')} → {error if isinstance(error, str) and error else 'done'}"


def arn_words(arn: Any) -> str:
    """An ARN without what all of an account share: `assumed-role/node-role/i-06492848bd396afb5`."""
    parts = Arn.of(arn)
    return parts.resource if parts else arn if isinstance(arn, str) and arn else "identity not recorded"


def _timeline_layout(
    lines: list[str],
    seen: pd.DataFrame,
    marks: pd.DataFrame,
    window: tuple[datetime, datetime] | None,
    has_phases: bool,
    lives: list[dict[str, Any]],
    has_new_kinds: bool,
) -> go.Layout:
    times = [*marks["at"], *seen["first_seen_at"], *seen["last_seen_at"].dropna()]
    times = [pd.Timestamp(at) for at in times] or [pd.Timestamp(at) for at in window or ()]
    axis: dict[str, Any] = {
        "type": "date",
        "gridcolor": "#eaeef2",
        "linecolor": LINE,
        "ticks": "outside",
        "tickcolor": LINE,
    }
    if times:
        room = max((max(times) - min(times)) * 0.04, pd.Timedelta(seconds=30))
        axis["range"] = [plain(min(times) - room), plain(max(times) + room)]
    findings_line = ["GuardDuty findings"] if len(seen) else []
    new = ["New kinds of call"] if has_new_kinds else []
    names = [*(["Phase"] if has_phases else []), *findings_line, *lines, *new, *map(_pod_line, lives)]
    return layout(
        132 + 28 * max(len(names), 2),
        margin={"l": 10, "r": 16, "t": 54, "b": 44},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "yref": "paper",
            "font": {"size": 12},
            "itemwidth": 30,
        },
        xaxis={
            **axis,
            "title": {"text": "UTC", "font": {"size": 11, "color": MUTED}},
            "tickformat": "%H:%M:%S\n%Y-%m-%d",
        },
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": [label(name, 44) for name in names],
            "range": [len(names) - 0.4, -0.6],
            "automargin": True,
            "gridcolor": "#eaeef2",
            "zeroline": False,
            "fixedrange": True,
        },
        hovermode="closest",
        dragmode="pan",
    )


def _shade_gaps(figure: go.Figure, coverage: pd.DataFrame) -> None:
    for gap in frame_rows(coverage[coverage["state"] == "gap"]):
        if pd.isna(gap["start_at"]) or pd.isna(gap["end_at"]):
            continue
        text = "not recorded" if gap["source"] == "audit" else f"not recorded ({label(gap['source'])})"
        figure.add_shape(
            type="rect", x0=plain(gap["start_at"]), x1=plain(gap["end_at"]), y0=0, y1=1, yref="paper", layer="below",
            fillcolor="#8c959f", opacity=0.25, line={"width": 0},
        )  # fmt: skip
        figure.add_annotation(
            x=plain(gap["start_at"]), y=0, yref="paper", yanchor="bottom", xanchor="left", text=text, showarrow=False,
            font={"size": 11, "color": MUTED},
        )  # fmt: skip


def _shade_phases(figure: go.Figure, moments: Sequence[Moment]) -> None:
    """One band for each stretch of calls with one aim; its name stands in the first line where there is room, of the longest first."""
    runs = [list(run) for _, run in groupby(moments, key=lambda one: one.tactic)]
    if not runs:
        return
    start, end = (pd.Timestamp(at) for at in figure.layout.xaxis.range)
    room, named = (end - start) * 0.006, list[tuple[pd.Timestamp, pd.Timestamp]]()
    bands = [(pd.Timestamp(plain(run[0].at)), pd.Timestamp(plain(run[-1].at)), run[0].tactic) for run in runs]
    for first, last, tactic in sorted(bands, key=lambda band: (band[0] - band[1], band[0])):
        colour = _PHASES.get(tactic, "#57606a")
        figure.add_shape(
            type="rect", x0=(first - room).isoformat(), x1=(last + room).isoformat(), y0=0, y1=1, yref="paper", layer="below",
            fillcolor=colour, opacity=0.13, line={"width": 0},
        )  # fmt: skip
        until = first + (end - start) * (len(tactic) * _LETTER)
        if until <= end and all(until < other or first > other_until for other, other_until in named):
            named.append((first, until))
            figure.add_annotation(
                x=first.isoformat(), y=0, xanchor="left", text=tactic, showarrow=False, font={"size": 10.5, "color": colour}
            )  # fmt: skip


def _label_deeds(figure: go.Figure, moments: Sequence[Moment], lines: list[str], above: int) -> None:
    """The gravest deeds by name, each kind once before any kind twice."""
    order = sorted((one for one in moments if one.kind in GRAVEST), key=lambda one: (GRAVEST.index(one.kind), one.at))
    turns = [(number, one) for _, group in groupby(order, key=lambda one: one.kind) for number, one in enumerate(group)]
    chosen = [one for _, one in sorted(turns, key=lambda turn: turn[0])[:MOST_LABELS]]
    start, end = figure.layout.xaxis.range
    middle = plain(pd.Timestamp(start, tz="UTC") + (pd.Timestamp(end) - pd.Timestamp(start)) * 0.75)
    for place, one in enumerate(sorted(chosen, key=lambda one: (one.at, one.ref))):
        line, late = user_words(one.actor.name), plain(one.at) > middle
        if line in lines:
            figure.add_annotation(
                x=plain(one.at), y=above + lines.index(line), text=label(f"{one.verb} {one.thing}".strip(), 34), showarrow=True, arrowhead=0,
                arrowwidth=1, arrowcolor=MUTED, ax=-14 if late else 14, ay=-15 if place % 2 == 0 else 15, xanchor="right" if late else "left", font={"size": 10.5}, bgcolor="#ffffff", opacity=0.9,
            )  # fmt: skip


def _draw_lives(figure: go.Figure, lives: list[dict[str, Any]], window: tuple[datetime, datetime] | None) -> None:
    """The lives of pods as bars on the same axis; those whose end is not known reach its end."""
    below = len(figure.layout.yaxis.tickvals) - len(lives)
    if not lives or figure.layout.xaxis.range is None:
        return
    for line, pod in enumerate(lives, below):
        start, end = figure.layout.xaxis.range
        born, gone = not pd.isna(pod["created_at"]), not pd.isna(pod["deleted_at"])
        start = max(plain(pod["created_at"]), start) if born else start
        end = min(plain(pod["deleted_at"]), end) if gone else end
        if start >= end:
            continue
        said = f"{label(_pod_line(pod))}<br>{'born ' + chart_time(pod['created_at']) if born else 'born before the log, or not told'}<br>{'gone ' + chart_time(pod['deleted_at']) if gone else 'not known to be gone'}"
        figure.add_trace(
            go.Scatter(x=[start, end], y=[line, line], mode="lines", hovertext=said, hoverinfo="text", showlegend=False,
                       line={"color": "#8c959f" if gone else "#0072b2", "width": 7})
        )  # fmt: skip


def _draw_new_kinds(figure: go.Figure, new_kinds: Sequence[tuple[datetime, str]], line: int) -> None:
    """One mark a stretch of time in which kinds of call began that were not made before."""
    began = {at: [kind for _, kind in group] for at, group in groupby(sorted(new_kinds), key=lambda one: one[0])}
    if began:
        said = [
            f"from {chart_time(at)} UTC on, new:<br>{'<br>'.join(label(kind, 80) for kind in kinds[:_MOST_NAMED])}"
            for at, kinds in began.items()
        ]
        said = [
            f"{text}<br>and {len(kinds) - _MOST_NAMED} more" if len(kinds) > _MOST_NAMED else text
            for text, kinds in zip(said, began.values(), strict=True)
        ]
        figure.add_trace(
            go.Scatter(x=[plain(at) for at in began], y=[line] * len(began), mode="markers", hovertext=said, hoverinfo="text", name=f"new kind of call ({len(new_kinds)})",
                       marker={"symbol": "hexagram", "size": 11, "color": "#6b21a8"})
        )  # fmt: skip


def _pod_line(pod: Mapping[str, Any]) -> str:
    return f"pod {pod['namespace']}/{pod['name']}"


def _draw_findings(figure: go.Figure, seen: pd.DataFrame, line_of_findings: int) -> None:
    if not len(seen):
        return
    x, y, text, spans = list[str](), list[int](), list[str](), list[str | None]()
    for finding in frame_rows(seen):
        last = finding["first_seen_at"] if pd.isna(finding["last_seen_at"]) else finding["last_seen_at"]
        said = f"{label(finding['type'])}<br>severity {finding['severity']:.1f}, seen {chart_time(finding['first_seen_at'])} – {chart_time(last)}"
        x, y, text = [*x, plain(finding["first_seen_at"])], [*y, line_of_findings], [*text, said]
        spans += [plain(finding["first_seen_at"]), plain(last), None]
    line = {"color": "#b3261e", "width": 3}
    figure.add_trace(
        go.Scatter(
            x=spans,
            y=[line_of_findings] * len(spans),
            mode="lines",
            line=line,
            opacity=0.35,
            hoverinfo="skip",
            showlegend=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="markers", hovertext=text, hoverinfo="text", name="finding, first seen",
            marker={"symbol": "triangle-down", "size": 12, "color": "#b3261e", "line": {"color": "#ffffff", "width": 1}},
        )
    )  # fmt: skip


def _draw_marks(
    figure: go.Figure, marks: pd.DataFrame, lines: list[str], above: int, name: str, colour: str, symbol: str
) -> None:
    said = [
        f"{chart_time(at)} UTC<br>{label(line)}<br>{label(what, 160)}"
        for at, line, what in zip(marks["at"], marks["line"], marks["what"], strict=True)
    ]
    open_symbol = symbol.endswith("open")
    figure.add_trace(
        go.Scatter(
            x=[plain(at) for at in marks["at"]],
            y=[above + lines.index(line) for line in marks["line"]],
            mode="markers",
            name=f"{name} ({int(marks['count'].sum()):,})",
            hovertext=said,
            hoverinfo="text",
            marker={
                "symbol": symbol,
                "color": colour,
                "size": [float(10 + 3 * math.log2(count)) for count in marks["count"]],
                "line": {"color": colour if open_symbol else "#ffffff", "width": 2 if open_symbol else 1},
            },
        )
    )
