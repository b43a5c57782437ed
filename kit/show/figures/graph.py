"""From findings to callers, pods, nodes and roles."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kit.model.arn import is_arn, name_in, role_of
from kit.model.kubernetes import workload_pattern
from kit.show.figures.chart import INK, MOST_GROUPS, MOST_LETTERS, MUTED, Chart, frame_rows, label, layout, user_words
from kit.show.figures.timeline import arn_words
from kit.words import counted

GRAPH_COLUMNS = ("finding", "identity", "pod", "node", "iam_role")
_ROW = 54  # pixels: three lines
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


def incident_graph(
    subjects: pd.DataFrame,
    findings: pd.DataFrame,
    calls: pd.DataFrame | None = None,
    aws_calls: pd.DataFrame | None = None,
) -> Chart:
    """From the findings to their callers, the pods, the nodes and the roles, left to right; what is many is grouped and counted.
    A caller says how many calls are the attacker's and from where (calls), a role what was done with it in AWS (aws_calls).

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
        *(_boxes(subjects, kind, place, _notes(calls, aws_calls)) for place, kind in enumerate(GRAPH_COLUMNS) if place),
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
    return layout(
        70 + _ROW * max(most, 3),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={**hidden, "range": [-0.5, len(GRAPH_COLUMNS) - 0.5]},
        yaxis={**hidden, "range": [max(most, 3) + 0.1, -1.0]},
        showlegend=False,
        hovermode="closest",
    )


def _finding_boxes(findings: pd.DataFrame) -> list[_Box]:
    """One box a finding; of many, one a finding type; of very many types, the most severe ones and one for the rest."""
    rows = frame_rows(findings.sort_values(["severity", "id"], ascending=[False, True]))
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


def _notes(calls: pd.DataFrame | None, aws_calls: pd.DataFrame | None) -> dict[tuple[str, str], str]:
    """Kind and name of a box → what the attacker did with it: calls and addresses of a caller, calls in AWS of a role."""
    found = dict[tuple[str, str], str]()
    for user, of in calls.groupby("user_name") if calls is not None and len(calls) else ():
        addresses = list(of["source_address"].dropna().value_counts().index)
        more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
        where = f" from {label(addresses[0], 18)}{more}" if addresses else ""
        found["identity", user_words(user)] = f"{counted(len(of), 'call')}{where}"
    if aws_calls is not None and len(aws_calls):
        for role, number in aws_calls["arn"].map(role_of).dropna().map(name_in).value_counts().items():
            found["iam_role", str(role)] = counted(int(number), "AWS call")
    return found


def _boxes(subjects: pd.DataFrame, kind: str, column: int, notes: dict[tuple[str, str], str]) -> list[_Box]:
    """The boxes of a column: the affected first; few stand alone, many are grouped by name and the rest by count."""
    chosen = subjects[(subjects["kind"] == kind)]
    if kind == "identity":
        chosen = chosen[chosen["through"].isna()]
    boxes = list[_Box]()
    for certainty in ("affected", "possible"):
        rows = frame_rows(chosen[chosen["certainty"] == certainty])
        groups = dict[str, list[dict[str, Any]]]()
        for row in rows:
            groups.setdefault(_group_name(row, kind, certainty, len(rows)), []).append(row)
        ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        keep = len(ordered) if len(ordered) <= MOST_GROUPS else MOST_GROUPS - 1
        for name, of in ordered[:keep]:
            boxes.append(
                _box(
                    column,
                    kind,
                    name,
                    of,
                    certainty,
                    notes.get((kind, name_in(name) if kind == "iam_role" else name), ""),
                )
            )
        if ordered[keep:]:
            rest = [row for _, of in ordered[keep:] for row in of]
            boxes.append(_box(column, kind, f"{len(ordered) - keep} more names", rest, certainty, ""))
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
        return user_words(arn_words(row["key"])) if is_arn(row["key"]) else user_words(row["key"])
    return arn_words(row["key"]) if kind == "iam_role" else str(row["key"])


def _box(column: int, kind: str, name: str, rows: list[dict[str, Any]], certainty: str, note: str) -> _Box:
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
    if note and not possible:
        says += f"<br>{note}"
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
                type="rect", x0=x - 0.4, x1=x + 0.4, y0=y - 0.4, y1=y + 0.4, fillcolor="#ffffff" if box.possible else _FILLS[GRAPH_COLUMNS[box.column]],
                line={"color": "#8c6d1f" if box.possible else "#8c959f", "width": 1, "dash": "dot" if box.possible else "solid"},
            )  # fmt: skip
            figure.add_annotation(
                x=x, y=y, text=box.says, showarrow=False, font={"size": 11, "color": INK}, hovertext=box.hover
            )
