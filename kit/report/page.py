"""Executed notebooks as one HTML page that needs no network: nbconvert with the template `forensic`."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from markupsafe import Markup, escape
from nbconvert import HTMLExporter, TemplateExporter
from traitlets.config import Config

from kit.model.masking import secrets_are_shown
from kit.report.notebook import Executed
from kit.report.parts import PAGE_STYLE, TEMPLATES, css_text
from kit.show.figures import DRAW, PLOTLY_HERE, library_text, plotly_js, visible
from kit.show.html_table import STYLE

FRONT = "40_report.ipynb"
_NOTEBOOK_ONLY = "notebook_only"  # tag of a cell that only a person in JupyterLab needs
_HEADING = re.compile(r"^(#{1,2}) (.+)$", re.MULTILINE)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def page(
    title: str, heading: str, executed: Sequence[Executed], facts: Mapping[str, str], about: Mapping[str, str]
) -> str:
    """The report as one HTML text. title: of the window and of each printed page; heading: what stands on the page.

    about: the case, at the head of the page. facts: what varies from run to run, in the elements `run-facts` alone.

    The notebook FRONT comes first; its cells tagged `appendix` and all other notebooks follow, folded, without what stands above already.
    """
    front = [each for each in executed if each.name == FRONT]
    parts = _parts([*front, *(each for each in executed if each.name != FRONT)])
    parts = [part for part in _appendix_last(parts) if part["cells"]]
    joined = nbformat.v4.new_notebook()
    joined.cells = [cell for part in parts for cell in part["cells"]]
    failures = [each.failure for each in executed if each.failure]
    draws = any(PLOTLY_HERE in text for each in executed for text in _htmls(each.notebook))
    page_script = (TEMPLATES / "forensic" / "page.js").read_text()
    resources = {
        "title": visible(title),
        "heading": visible(heading),
        "parts": parts,
        "failures": failures,
        "about": {name: visible(value) for name, value in about.items()},
        "running_foot": css_text(
            " · ".join([visible(title), *(f"{name} {visible(about[name])}" for name in about if name == "Evidence")])
        ),
        "facts": {name: visible(value) for name, value in facts.items()},
        "shown_style": STYLE,
        "page_style": PAGE_STYLE,
        "plotly_js": plotly_js() if draws else "",
        "page_script": page_script,
        "script_hashes": " ".join(map(_hash, [page_script, *([library_text(), str(DRAW)] if draws else [])])),
        "secrets_shown": secrets_are_shown(),
    }
    text, _ = _exporter().from_notebook_node(joined, resources={"report": resources})
    return str(text)


def _hash(script: str) -> str:
    """A script of the kit's own as a Content-Security-Policy names it; no other one runs (CSP Level 3, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


class _Exporter(HTMLExporter):
    """Gives the page as the template makes it.

    nbconvert's own parses all of it once more, a quarter of a report's time, to name images that have no text; the kit shows none.
    """

    def from_notebook_node(self, *notebook: Any, **more: Any) -> Any:
        """The page as HTML, and its resources."""
        return TemplateExporter.from_notebook_node(self, *notebook, **more)


def _exporter() -> HTMLExporter:
    # An empty Config: what a user's own Jupyter settings say has no part in a report.
    made = _Exporter(config=Config(), template_name="forensic", extra_template_basedirs=[str(TEMPLATES)])
    made.register_filter("plain", _plain)
    return made


def _plain(text: str) -> Markup:
    """Text from a kernel as inert HTML, without colours."""
    return escape(visible(_ANSI.sub("", text), keep="\n\t"))


def _parts(executed: Sequence[Executed]) -> list[dict[str, Any]]:
    """For each notebook its title, its headings for the table of contents, and what the page shows of it."""
    parts, said = list[dict[str, Any]](), set[str]()
    for each in executed:
        cells, title = list[nbformat.NotebookNode](), each.name
        for number, source in enumerate(each.notebook.cells, 1):
            cell = copy.deepcopy(source)
            found = _HEADING.findall(cell.source) if cell.cell_type == "markdown" else []
            title = next((text for marks, text in found if marks == "#"), title)
            ending = [output for output in cell.get("outputs", []) if output.output_type == "error"]
            if ending and ending[0].ename == "StopNotebook" and ending[0].evalue in said:
                break  # every notebook stops for the same reason: said once
            said.update(output.evalue for output in ending)
            if not _only_for_notebooks(cell):
                cell.metadata["place"] = cell.id = f"{Path(each.name).stem}-{number}"
                cell.metadata["folded"] = each.name != FRONT or "appendix" in cell.metadata.get("tags", [])
                cell.metadata["heading"] = next((text for marks, text in found if marks == "##"), "")
                cells.append(_without_repeats(cell))
            if ending:
                break
        if not any(cell.get("outputs") for cell in cells) and not each.failure:
            cells = []
        parts.append({"title": title, "cells": cells, "name": each.name})
    return parts


def _appendix_last(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts as the page has them: what is read, then the appendix, of which each section folds and nothing stands twice."""
    shown, made = set[str](), list[dict[str, Any]]()
    for folded in (False, True):
        for part in parts:
            chosen = [cell for cell in part["cells"] if cell.metadata["folded"] == folded]
            sections = _sections(chosen)
            sections = _without_what_is_shown(sections, shown)
            for section in sections if folded else ():
                _fold(section, part["title"])
            cells = [cell for section in sections for cell in section]
            headings = list(dict.fromkeys(cell.metadata["heading"] for cell in cells if cell.metadata["heading"]))
            made.append({"title": part["title"], "headings": headings, "cells": cells, "folded": folded})
    first = next((part for part in made if part["folded"] and part["cells"]), None)
    if first:
        first["cells"][0].metadata["appendix_begins"] = True
    return made


def _sections(cells: list[nbformat.NotebookNode]) -> list[list[nbformat.NotebookNode]]:
    """The cells from each heading to the next."""
    sections = list[list[nbformat.NotebookNode]]()
    for cell in cells:
        if cell.metadata["heading"] or not sections:
            sections.append([])
        sections[-1].append(cell)
    return sections


def _without_what_is_shown(
    sections: list[list[nbformat.NotebookNode]], shown: set[str]
) -> list[list[nbformat.NotebookNode]]:
    """The sections that show something that is not in `shown` yet, to which it is added."""
    left = list[list[nbformat.NotebookNode]]()
    for section in sections:
        kept = [cell for cell in section if cell.cell_type != "code" or not cell.outputs or not _is_shown(cell, shown)]
        if any(cell.get("outputs") for cell in kept):
            left.append(kept)
    return left


def _is_shown(cell: nbformat.NotebookNode, shown: set[str]) -> bool:
    """Whether all that a cell shows stands on the page; from now on it does."""
    texts = [str(output.get("data", {}).get("text/html", "")) for output in cell.outputs]
    stands = all(text and text in shown for text in texts)
    shown.update(texts)
    return stands


def _fold(section: list[nbformat.NotebookNode], title: str) -> None:
    """Mark where the fold of a section begins and ends; its heading becomes the fold's. One that failed stays open."""
    first, heading = section[0], section[0].metadata["heading"]
    errors = [one for cell in section for one in cell.get("outputs", []) if one.output_type == "error"]
    failed = any(one.ename != "StopNotebook" for one in errors)
    first.metadata["opens"] = {"title": heading or title, "id": heading.replace(" ", "-"), "open": failed}
    if first.cell_type == "markdown":
        first.source = _HEADING.sub("", first.source, count=1)
    section[-1].metadata["closes"] = True


def _only_for_notebooks(cell: nbformat.NotebookNode) -> bool:
    # papermill writes the case's path and the choices into a cell of its own; the run facts tell them.
    return bool({_NOTEBOOK_ONLY, "parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])))


def _without_repeats(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    for output in cell.get("outputs", []):
        shown = output.get("data", {})
        if "text/html" in shown:
            shown["text/html"] = shown["text/html"].replace(PLOTLY_HERE, "").replace(STYLE, "")
    return cell


def _htmls(notebook: nbformat.NotebookNode) -> list[str]:
    return [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
