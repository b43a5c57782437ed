"""The two pictures of a case: what the attacker did over time, and how a finding leads to what it affects.

The only importer of plotly. Every text from evidence goes through `label`, as plotly reads a part of HTML in any text.
"""

from __future__ import annotations

import functools
import html
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from kit.words import counted

INK, MUTED, LINE = "#1b1f24", "#57606a", "#d0d7de"
FONT = '-apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif'

# What a call did, with a colour of Okabe and Ito's palette for the colour-blind and a symbol of its own. Drawn in this order.
DEEDS = {
    "refused": ("refused or failed", "#767676", "x-thin-open"),
    "asked": ("asked what it may do", "#56b4e9", "circle-open"),
    "read": ("read", "#0072b2", "circle"),
    "changed": ("created or changed", "#e69f00", "square"),
    "minted": ("minted a token", "#cc79a7", "diamond"),
    "deleted": ("deleted", "#000000", "cross"),
    "ran": ("ran a command in a pod", "#d55e00", "star"),
    "aws": ("AWS call", "#009e73", "triangle-up"),
}
MOST_MARKS = 1500  # more than these are drawn as one mark a stretch of time, with their count
MOST_LINES = 24  # of identities in the timeline
MOST_GROUPS = 14  # boxes in a column of the graph
MOST_LETTERS = 28  # in a line of a box


def visible(text: Any, keep: str = "") -> str:
    """A text from evidence with what a reader could not see, or that would turn the line around, written out: ⟨U+202E⟩.

    keep: characters to leave as they are, such as a newline.
    """
    written = str(text)
    if written.isascii() and written.isprintable():
        return written
    return "".join(
        f"⟨U+{ord(letter):04X}⟩" if unicodedata.category(letter) in _UNSEEN and letter not in keep else letter
        for letter in written
    )


_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def label(text: Any, most: int = 0) -> str:
    """A text from evidence as plotly may have it: inert, and cut in the middle when longer than `most` characters."""
    shown = visible(text)
    if most and len(shown) > most:
        head = most * 2 // 3
        shown = f"{shown[:head]}…{shown[len(shown) - (most - head - 1) :]}"
    return html.escape(shown, quote=False)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows, each as column → value."""
    return cast("list[dict[str, Any]]", frame.to_dict("records"))


def user_words(user_name: Any) -> str:
    """A user name of the cluster as a person says it: `service account shop/cart`, `node ip-…`."""
    text = str(user_name)
    account = re.fullmatch(r"system:serviceaccount:([^:]+):([^:]+)", text)
    if account:
        return f"service account {account[1]}/{account[2]}"
    if text.startswith("system:node:"):
        return f"node {text.removeprefix('system:node:')}"
    return "anonymous (no credential)" if text == "system:anonymous" else text


def deed(call: Mapping[str, Any]) -> str:
    """What an audit event did: a key of DEEDS. Subresource first, as exec arrives as `get` or `create` (KEP-4006)."""
    code, verb, resource, subresource = (
        call.get(name) for name in ("response_code", "verb", "resource", "subresource")
    )
    if not pd.isna(code) and int(code) >= 400:
        return "refused"
    if subresource in ("exec", "attach", "portforward", "proxy"):
        return "ran"
    if resource == "serviceaccounts" and subresource == "token":
        return "minted"
    if str(resource or "").endswith(("accessreviews", "rulesreviews", "subjectreviews", "tokenreviews")):
        return "asked"
    if verb in ("delete", "deletecollection") or subresource == "eviction":
        return "deleted"
    return "read" if verb in ("get", "list", "watch", "head", "options") else "changed"


@functools.cache
def plotly_js() -> str:
    """plotly.js as one script element; identical in every chart, so that a page can keep it once."""
    return f"<script>{get_plotlyjs()}</script>"


# Draws every chart of the page that is not drawn yet; the figure lies in the page as data, never as code.
DRAW = """(() => {
  for (const box of document.querySelectorAll(".kit-chart:not([data-drawn])")) {
    box.dataset.drawn = "yes";
    const figure = JSON.parse(box.querySelector("script").textContent);
    Plotly.newPlot(box.querySelector("div"), figure.data, figure.layout, figure.config);
  }
})();"""
# plotly's own mode bar can send a chart's data to plotly's cloud: the button goes, and the address that it would use.
CONFIG = '{"displaylogo":false,"plotlyServerURL":"","responsive":true,"modeBarButtonsToRemove":["sendChartToCloud","lasso2d","select2d"]}'


@dataclass(frozen=True)
class Chart:
    """A figure that shows itself in JupyterLab and in the report, offline, and without plotly's button to its cloud.

    name: of the figure. says: what it shows, in one sentence. rows: the same facts as a table.
    """

    name: str
    says: str
    figure: go.Figure
    rows: pd.DataFrame

    def drawing(self) -> str:
        """The figure as HTML that needs plotly.js and DRAW on its page."""
        data, layout = (_part(self.figure, part) for part in ("data", "layout"))
        text = f'{{"data":{data},"layout":{layout},"config":{CONFIG}}}'
        height = int(self.figure.layout.height or 400)
        return (
            f'<div class="kit-chart" data-name="{html.escape(self.name)}"><script type="application/json">{text}</script>'
            f'<div style="height:{height}px"></div></div>'
        )

    def _repr_html_(self) -> str:
        return f"{plotly_js()}{self.drawing()}<script>{DRAW}</script>"

    def __repr__(self) -> str:
        return f"{self.name}: {self.says}"


def _part(figure: go.Figure, part: str) -> str:
    text = pio.to_json(go.Figure(**{part: figure[part]}), validate=False, engine="json")
    assert text is not None
    return (
        json.dumps(json.loads(text)[part], separators=(",", ":"), sort_keys=True)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
    )


def _layout(height: int, **more: Any) -> go.Layout:
    return go.Layout(
        height=height,
        template="none",
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        hoverlabel={
            "align": "left",
            "bgcolor": "#ffffff",
            "bordercolor": LINE,
            "font": {"family": FONT, "size": 12, "color": INK},
        },
        **more,
    )


# ── the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────────


def timeline(
    calls: pd.DataFrame,
    aws_calls: pd.DataFrame,
    findings: pd.DataFrame,
    coverage: pd.DataFrame,
    window: tuple[datetime, datetime] | None,
) -> Chart:
    """The attacker's calls over time, one line an identity; findings above them; what was not recorded is shaded.

    calls, aws_calls, findings, coverage: as of a Case. window: start and end, UTC; None without an audit log.
    """
    marks = _marks(calls, aws_calls)
    lines = list(dict.fromkeys(marks["line"]))
    seen = findings.dropna(subset=["first_seen_at"]).sort_values(["first_seen_at", "id"])
    figure = go.Figure(layout=_timeline_layout(lines, seen, marks, window))
    _shade_gaps(figure, coverage)
    _draw_findings(figure, seen)
    for kind, (name, colour, symbol) in DEEDS.items():
        chosen = marks[marks["deed"] == kind]
        if len(chosen):
            _draw_marks(figure, chosen, lines, name, colour, symbol)
    rows = marks.sort_values("at")[["at", "line", "what", "count"]].reset_index(drop=True)
    says = f"{counted(int(marks['count'].sum()), 'call')} by {counted(len(lines), 'identity')}"
    return Chart("timeline", says, figure, rows)


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
        for call in records(calls)
    ] + [
        {
            "at": call["event_at"],
            "line": f"AWS: {arn_words(call['arn'])}",
            "deed": "aws",
            "what": aws_words(call),
            "count": 1,
        }
        for call in records(aws_calls)
    ]
    marks = pd.DataFrame(rows, columns=["at", "line", "deed", "what", "count"])
    marks["at"] = pd.to_datetime(marks["at"], utc=True)
    marks = marks.dropna(subset=["at"]).sort_values("at", kind="stable", ignore_index=True)
    marks["line"] = _busiest(marks["line"])
    return _gathered(marks) if len(marks) > MOST_MARKS else marks


def _busiest(lines: pd.Series[str]) -> pd.Series[str]:
    """The lines' names; of very many those with the most calls, and one for the rest."""
    number = lines.value_counts(sort=False)
    if len(number) <= MOST_LINES:
        return lines
    kept = sorted(number.index, key=lambda line: (-number[line], line))[: MOST_LINES - 1]
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
    return str(arn).split(":", 5)[-1] if isinstance(arn, str) and arn else "identity not recorded"


def _timeline_layout(
    lines: list[str], seen: pd.DataFrame, marks: pd.DataFrame, window: tuple[datetime, datetime] | None
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
        axis["range"] = [_plain(min(times) - room), _plain(max(times) + room)]
    findings_line = ["GuardDuty findings"] if len(seen) else []
    names = [*findings_line, *lines]
    return _layout(
        132 + 34 * max(len(names), 2),
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


def _plain(at: Any) -> str:
    return pd.Timestamp(at).tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%S.%f")


def _shade_gaps(figure: go.Figure, coverage: pd.DataFrame) -> None:
    for gap in records(coverage[coverage["state"] == "gap"]):
        if pd.isna(gap["start_at"]) or pd.isna(gap["end_at"]):
            continue
        text = "not recorded" if gap["source"] == "audit" else f"not recorded ({label(gap['source'])})"
        figure.add_shape(
            type="rect", x0=_plain(gap["start_at"]), x1=_plain(gap["end_at"]), y0=0, y1=1, yref="paper", layer="below",
            fillcolor="#8c959f", opacity=0.25, line={"width": 0},
        )  # fmt: skip
        figure.add_annotation(
            x=_plain(gap["start_at"]), y=0, yref="paper", yanchor="bottom", xanchor="left", text=text, showarrow=False,
            font={"size": 11, "color": MUTED},
        )  # fmt: skip


def _draw_findings(figure: go.Figure, seen: pd.DataFrame) -> None:
    if not len(seen):
        return
    x, y, text, spans = list[str](), list[int](), list[str](), list[str | None]()
    for finding in records(seen):
        last = finding["first_seen_at"] if pd.isna(finding["last_seen_at"]) else finding["last_seen_at"]
        said = f"{label(finding['type'])}<br>severity {finding['severity']:.1f}, seen {_clock(finding['first_seen_at'])} – {_clock(last)}"
        x, y, text = [*x, _plain(finding["first_seen_at"])], [*y, 0], [*text, said]
        spans += [_plain(finding["first_seen_at"]), _plain(last), None]
    line = {"color": "#b3261e", "width": 3}
    figure.add_trace(
        go.Scatter(
            x=spans, y=[0] * len(spans), mode="lines", line=line, opacity=0.35, hoverinfo="skip", showlegend=False
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="markers", hovertext=text, hoverinfo="text", name="finding, first seen",
            marker={"symbol": "triangle-down", "size": 12, "color": "#b3261e", "line": {"color": "#ffffff", "width": 1}},
        )
    )  # fmt: skip


def _draw_marks(figure: go.Figure, marks: pd.DataFrame, lines: list[str], name: str, colour: str, symbol: str) -> None:
    above = len(figure.layout.yaxis.tickvals) - len(lines)
    said = [
        f"{_clock(at)} UTC<br>{label(line)}<br>{label(what, 160)}"
        for at, line, what in zip(marks["at"], marks["line"], marks["what"], strict=True)
    ]
    open_symbol = symbol.endswith("open")
    figure.add_trace(
        go.Scatter(
            x=[_plain(at) for at in marks["at"]],
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


def _clock(at: Any) -> str:
    return pd.Timestamp(at).strftime("%Y-%m-%d %H:%M:%S")


# ── the graph ────────────────────────────────────────────────────────────────────────────────────────────────────────

COLUMNS = ("finding", "identity", "pod", "node", "iam_role")
_TITLES = ("Finding", "Caller", "Pods, by name", "Nodes", "IAM roles and users")
_FILLS = {"finding": "#fdecea", "identity": "#e8f1fa", "pod": "#f6f8fa", "node": "#f6f8fa", "iam_role": "#fff4df"}


@dataclass(frozen=True)
class _Box:
    column: int
    says: str
    hover: str
    count: int
    findings: frozenset[str]
    nodes: Counter[str]
    possible: bool
    key: str


def incident_graph(subjects: pd.DataFrame, findings: pd.DataFrame) -> Chart:
    """From the findings to their callers, the pods, the nodes and the roles, left to right; what is many is grouped and counted.

    A line says that the same finding puts both into scope; from pods to nodes, that the pods ran there. An attack sequence is
    the sum of its findings, so it leads to their callers, and to the rest only where none of them does.
    """
    sums = set(findings[findings["type"].str.startswith("AttackSequence:")]["id"])
    of_parts = [
        ids if kind == "identity" else [one for one in ids if one not in sums] or ids
        for kind, ids in zip(subjects["kind"], subjects["findings"], strict=True)
    ]
    subjects = subjects.assign(findings=pd.Series(of_parts, index=subjects.index, dtype=object))
    columns = [
        _finding_boxes(findings),
        *(_boxes(subjects, kind, place) for place, kind in enumerate(COLUMNS) if place),
    ]
    most = max(len(boxes) for boxes in columns)
    figure = go.Figure(layout=_graph_layout(most))
    places = {
        (box.column, box.key): (box.column, (number + 0.5) * most / max(len(boxes), 1))
        for boxes in columns
        for number, box in enumerate(boxes)
    }
    _draw_lines(figure, columns, places)
    _draw_boxes(figure, columns, places)
    for place, title in enumerate(_TITLES):
        figure.add_annotation(
            x=place,
            y=-0.35,
            text=f"<b>{title}</b>",
            showarrow=False,
            font={"size": 12, "color": MUTED},
            yanchor="bottom",
        )
    rows = pd.DataFrame(
        [
            (_TITLES[box.column], _unbroken(box.says), "possible" if box.possible else "affected", box.count)
            for boxes in columns[1:]
            for box in boxes
        ],
        columns=["what", "which", "certainty", "count"],
    )
    return Chart("graph", "from the findings to what they affect", figure, rows)


def _unbroken(says: str) -> str:
    return html.unescape(says.replace("<br>", " · ").replace("<b>", "").replace("</b>", ""))


def _graph_layout(most: int) -> go.Layout:
    hidden = {"visible": False, "fixedrange": True}
    return _layout(
        70 + 44 * max(most, 3),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={**hidden, "range": [-0.5, len(COLUMNS) - 0.5]},
        yaxis={**hidden, "range": [max(most, 3) + 0.1, -1.0]},
        showlegend=False,
        hovermode="closest",
    )


def _finding_boxes(findings: pd.DataFrame) -> list[_Box]:
    """One box a finding; of many, one a finding type; of very many types, the most severe ones and one for the rest."""
    rows = records(findings.sort_values(["severity", "id"], ascending=[False, True]))
    groups = dict[str, list[dict[str, Any]]]()
    for row in rows:
        groups.setdefault(str(row["type"]), []).append(row)
    boxes = list[_Box]()
    for place, (kind, of) in enumerate(groups.items()):
        if place == MOST_GROUPS - 1 and len(groups) > MOST_GROUPS:
            rest = [row for each in list(groups.values())[place:] for row in each]
            ids = frozenset(str(row["id"]) for row in rest)
            boxes.append(
                _Box(
                    0,
                    f"and {counted(len(rest), 'finding')} more",
                    "less severe ones",
                    len(rest),
                    ids,
                    Counter(),
                    False,
                    "rest",
                )
            )
            break
        purpose, _, name = kind.partition(":")
        more = f" × {len(of)}" if len(of) > 1 else ""
        says = f"<b>{label(purpose, 20)}</b> {of[0]['severity']:.1f}{more}<br>{label(name, MOST_LETTERS)}"
        boxes.append(
            _Box(0, says, label(kind), len(of), frozenset(str(row["id"]) for row in of), Counter(), False, kind)
        )
    return boxes


def _boxes(subjects: pd.DataFrame, kind: str, column: int) -> list[_Box]:
    """The boxes of a column: the affected first; few stand alone, many are grouped by name and the rest by count."""
    chosen = subjects[(subjects["kind"] == kind)]
    if kind == "identity":
        chosen = chosen[chosen["through"].isna()]
    boxes = list[_Box]()
    for certainty in ("affected", "possible"):
        rows = records(chosen[chosen["certainty"] == certainty])
        groups = dict[str, list[dict[str, Any]]]()
        for row in rows:
            groups.setdefault(_group_name(row, kind, certainty, len(rows)), []).append(row)
        ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        keep = len(ordered) if len(ordered) <= MOST_GROUPS else MOST_GROUPS - 1
        for name, of in ordered[:keep]:
            boxes.append(_box(column, kind, name, of, certainty))
        if ordered[keep:]:
            rest = [row for _, of in ordered[keep:] for row in of]
            boxes.append(_box(column, kind, f"{len(ordered) - keep} more names", rest, certainty))
    return boxes


def _group_name(row: dict[str, Any], kind: str, certainty: str, total: int) -> str:
    if certainty == "possible":
        return "possible"
    if kind == "pod":
        return (
            f"{row['namespace']}/{workload_pattern(str(row['name'] or row['key']))}"
            if total > 6
            else f"{row['namespace']}/{row['name']}"
        )
    if kind == "identity":
        return user_words(arn_words(row["key"])) if str(row["key"]).startswith("arn:") else user_words(row["key"])
    return arn_words(row["key"]) if kind == "iam_role" else str(row["key"])


def workload_pattern(pod_name: str) -> str:
    """A pod's name without what its controller added: cart-7c9d4b6f8d-x2k5p becomes cart-…; store-0 becomes store-…"""
    return re.sub(
        r"(-[0-9]{6,})?(-[bcdfghjklmnpqrstvwxz2456789]{6,10})?(-[bcdfghjklmnpqrstvwxz2456789]{5}|-[0-9]{1,4})$",
        "-…",
        pod_name,
    )


def _box(column: int, kind: str, name: str, rows: list[dict[str, Any]], certainty: str) -> _Box:
    noun = {"pod": "pod", "node": "node", "iam_role": "role or user", "identity": "identity"}[kind]
    plural = "roles and users" if kind == "iam_role" else ""
    gone = sum(row["standing"] is False or not pd.isna(row["deleted_at"]) for row in rows)
    possible = certainty == "possible"
    title = f"possible: {counted(len(rows), noun, plural)}" if possible else name
    # Hovering shows the name whole.
    short = re.sub(r"^role/|(?<=\d)\.[\w.-]+\.(internal|amazonaws\.com)$", "", title)
    account = short.removeprefix("service account ")
    says = label(short, MOST_LETTERS) if account == short else f"service account<br>{label(account, MOST_LETTERS)}"
    if possible:
        says = f"<i>{says}</i><br>to be looked at"
    elif kind in ("pod", "node"):
        count = counted(len(rows), noun)
        says += f"<br>{count}" if len(rows) > 1 else ""
        says += (", " if len(rows) > 1 else "<br>") + (f"{gone} gone" if len(rows) > 1 else "gone") if gone else ""
    listed = "<br>".join(label(row["name"] or row["key"], 80) for row in rows[:12])
    more = f"<br>and {len(rows) - 12:,} more" if len(rows) > 12 else ""
    nodes = Counter(str(row["node"]) for row in rows if kind == "pod" and isinstance(row["node"], str))
    ids = frozenset(str(one) for row in rows for one in row["findings"])
    return _Box(
        column,
        says,
        f"{certainty}<br>{listed}{more}",
        len(rows),
        ids,
        nodes,
        possible,
        f"{certainty}:{name}" if not (kind == "node" and not possible) else name,
    )


def _draw_lines(figure: go.Figure, columns: list[list[_Box]], places: dict[tuple[int, str], tuple[int, float]]) -> None:
    joined = list(_joined(columns))
    opacity = 0.6 if len(joined) <= 40 else 0.3
    for left, right in joined:
        start, end = places[(left.column, left.key)], places[(right.column, right.key)]
        doubtful = left.possible or right.possible
        x, y = _curve((start[0] + 0.4, start[1]), (end[0] - 0.4, end[1]))
        line = {"color": "#8c959f", "width": 1.2, "dash": "dot" if doubtful else "solid"}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, opacity=opacity, hoverinfo="skip"))


def _joined(columns: list[list[_Box]]) -> Iterable[tuple[_Box, _Box]]:
    """Which boxes a line joins. A finding without a caller leads to its pods at once."""
    findings, identities, pods, nodes, roles = columns
    with_caller = frozenset(one for box in identities for one in box.findings)
    for finding in findings:
        yield from ((finding, box) for box in identities if finding.findings & box.findings)
        loose = finding.findings - with_caller
        yield from ((finding, box) for box in pods if loose & box.findings and not box.possible)
    for identity in identities:
        yield from ((identity, box) for box in pods if identity.findings & box.findings)
    for pod in pods:
        yield from ((pod, box) for box in nodes if pod.nodes[box.key] and not box.possible)
        yield from ((pod, box) for box in nodes if box.possible and pod.possible)
    for node in nodes:
        yield from ((node, box) for box in roles if node.findings & box.findings and box.possible == node.possible)


def _curve(start: tuple[float, float], end: tuple[float, float]) -> tuple[list[float], list[float]]:
    steps = [step / 12 for step in range(13)]
    smooth = [step * step * (3 - 2 * step) for step in steps]
    return (
        [round(start[0] + (end[0] - start[0]) * step, 4) for step in steps],
        [round(start[1] + (end[1] - start[1]) * step, 4) for step in smooth],
    )


def _draw_boxes(figure: go.Figure, columns: list[list[_Box]], places: dict[tuple[int, str], tuple[int, float]]) -> None:
    for boxes in columns:
        for box in boxes:
            x, y = places[(box.column, box.key)]
            figure.add_shape(
                type="rect", x0=x - 0.4, x1=x + 0.4, y0=y - 0.4, y1=y + 0.4, fillcolor="#ffffff" if box.possible else _FILLS[COLUMNS[box.column]],
                line={"color": "#8c6d1f" if box.possible else "#8c959f", "width": 1, "dash": "dot" if box.possible else "solid"},
            )  # fmt: skip
            figure.add_annotation(
                x=x, y=y, text=box.says, showarrow=False, font={"size": 11, "color": INK}, hovertext=box.hover
            )
