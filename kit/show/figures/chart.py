"""What all figures share: colours, layouts, texts made inert, and how a chart shows itself.

The only importer of plotly. Every text from evidence goes through `label`, as plotly reads a part of HTML in any text.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kit.attribution.calls import Did, did
from kit.model.masking import MASK
from kit.show.libraries import is_brought_here

INK, MUTED, LINE = "#1b1f24", "#57606a", "#d0d7de"
FONT = '-apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif'

# What a call did, with a colour of Okabe and Ito's palette for the colour-blind (one of Tol's where that ends) and a symbol of its own. Drawn in this order.
DEED_MARKS: dict[Did | Literal["aws"], tuple[str, str, str]] = {
    "refused": ("refused or failed", "#767676", "x-thin-open"),
    "asked": ("asked what it may do", "#56b4e9", "circle-open"),
    "read": ("read", "#0072b2", "circle"),
    "changed": ("created or changed", "#e69f00", "square"),
    "minted": ("minted a token", "#cc79a7", "diamond"),
    "deleted": ("deleted", "#000000", "cross"),
    "ran": ("ran a command in a pod", "#d55e00", "star"),
    "forwarded": ("forwarded a port", "#882255", "triangle-right"),
    "aws": ("AWS call", "#009e73", "triangle-up"),
}
MOST_MARKS = 1500  # more than these are drawn as one mark a stretch of time, with their count
MOST_IDENTITIES = 24  # of identities in the timeline


def visible(text: Any, keep: str = "") -> str:
    """A text from evidence, masked, with what a reader could not see, or that would turn the line around, written out: ⟨U+202E⟩.

    keep: characters to leave as they are, such as a newline.
    """
    written = MASK.text(str(text))
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


def frame_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
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


def deed(call: Mapping[str, Any]) -> Did:
    """What a call of a frame did: a key of DEEDS."""
    known = {name: call.get(name) for name in ("response_code", "verb", "resource", "subresource")}
    return did({name: None if pd.isna(value) else value for name, value in known.items()})


def library_text() -> str:
    """plotly.js itself."""
    return str(get_plotlyjs())


@functools.cache
def plotly_js() -> Markup:
    """plotly.js as one script element; identical in every chart, so that a page can keep it once."""
    library = Markup(get_plotlyjs())  # noqa: S704 - plotly's own code
    return Markup("<script>{}</script>").format(library)


HEADLESS = "KIT_HEADLESS"
"""Set in the environment of a kernel that makes a report: there a chart has PLOTLY_HERE in place of plotly.js, which is 5 MB."""
PLOTLY_HERE = Markup("<!-- plotly.js -->")
# Draws every chart of the page that is not drawn yet, once plotly.js is there; the figure lies in the page as data, never as code.
# One in a fold is drawn when that opens.
DRAW = Markup("""(() => {
  const draw = () => document.querySelectorAll(".kit-chart:not([data-drawn])").forEach(box => {
    const place = box.querySelector("div");
    if (box.closest("details:not([open])")) return;
    place.textContent = window.Plotly ? "" : "Not drawn yet: the notebook's first figure brings what draws it. Run the cells from the top.";
    if (!window.Plotly) return;
    box.dataset.drawn = "yes";
    const figure = JSON.parse(box.querySelector("script").textContent);
    Plotly.newPlot(place, figure.data, figure.layout, figure.config).then(() => {
      const kept = [], hidden = {};  // a label that lies on an earlier one goes: its mark and the table say the same
      place.querySelectorAll(".annotation").forEach(one => {
        const a = (one.querySelector(".annotation-text-g") || one).getBoundingClientRect();
        const lies = kept.some(b => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom);
        if (lies) hidden[`annotations[${one.dataset.index}].visible`] = false; else kept.push(a);
      });
      if (Object.keys(hidden).length) Plotly.relayout(place, hidden);
    });
    if (box.dataset.moves) place.on("plotly_relayout", change => {
      const moved = Object.entries(change).filter(([name]) => name.startsWith("xaxis."));
      if (!moved.length || place.moving) return;
      document.querySelectorAll(".kit-chart[data-moves][data-drawn] > .js-plotly-plot").forEach(other => {
        if (other === place) return;
        other.moving = true;
        Plotly.relayout(other, Object.fromEntries(moved)).then(() => { other.moving = false; });
      });
    });
  });
  draw();
  addEventListener("toggle", draw, true);
})();""")
# plotly's own mode bar can send a chart's data to plotly's cloud: the button goes, and the address that it would use.
CONFIG = '{"displaylogo":false,"plotlyServerURL":"","responsive":true,"modeBarButtonsToRemove":["sendChartToCloud","lasso2d","select2d"]}'


@dataclass(frozen=True)
class Chart:
    """A figure that shows itself in JupyterLab and in the report, offline, and without plotly's button to its cloud.

    name: of the figure. says: what it shows, in one sentence. rows: the same facts as a table. moves: its time axis is that of the
    attack, so that a zoom in one of a page moves all of them.
    """

    name: str
    says: str
    figure: go.Figure
    rows: pd.DataFrame
    moves: bool = False

    def drawing(self) -> Markup:
        """The figure as HTML that needs plotly.js and DRAW on its page."""
        data, layout = (_part(self.figure, part) for part in ("data", "layout"))
        text = f'{{"data":{data},"layout":{layout},"config":{CONFIG}}}'
        drawn = Markup(text)  # noqa: S704 - JSON in which no tag can begin (_part)
        height = int(self.figure.layout.height or 400)
        moves = Markup(' data-moves="attack"') if self.moves else ""
        return Markup(
            '<div class="kit-chart" data-name="{}"{}><script type="application/json">{}</script>'
            '<div style="height:{}px"></div></div>'
        ).format(self.name, moves, drawn, height)

    def _repr_html_(self) -> Markup:
        here = plotly_js() if is_brought_here("plotly.js") else Markup()
        script = PLOTLY_HERE if os.environ.get(HEADLESS) else here
        return Markup("{}{}<script>{}</script>").format(script, self.drawing(), DRAW)

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


def layout(height: int, **more: Any) -> go.Layout:
    """The layout that all figures share. height: in pixels."""
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


def plain(at: Any) -> str:
    """A time as plotly takes it, in UTC."""
    return pd.Timestamp(at).tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%S.%f")


def chart_time(at: Any) -> str:
    """A time in words, to the second."""
    return pd.Timestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def time_bars(names: list[str], window: tuple[datetime, datetime]) -> go.Layout:
    """The layout of bars over time, a line a name."""
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
