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
from nbconvert import HTMLExporter
from traitlets.config import Config

from kit.model.masking import secrets_are_shown
from kit.report.notebook import Executed
from kit.show.figures import DRAW, PLOTLY_HERE, library_text, plotly_js, visible
from kit.show.html_table import STYLE

_TEMPLATES = Path(__file__).parent / "templates"
_NOTEBOOK_ONLY = "notebook_only"  # tag of a cell that only a person in JupyterLab needs
_HEADING = re.compile(r"^(#{1,2}) (.+)$", re.MULTILINE)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def page(title: str, executed: Sequence[Executed], facts: Mapping[str, str]) -> str:
    """The report as one HTML text. facts: what varies from run to run, shown in the element `run-facts` alone."""
    parts = [part for part in _parts(executed) if part["cells"]]
    joined = nbformat.v4.new_notebook()
    joined.cells = [cell for part in parts for cell in part["cells"]]
    failures = [each.failure for each in executed if each.failure]
    draws = any(PLOTLY_HERE in text for each in executed for text in _htmls(each.notebook))
    page_script = (_TEMPLATES / "forensic" / "page.js").read_text()
    resources = {
        "title": visible(title),
        "parts": parts,
        "failures": failures,
        "facts": {name: visible(value) for name, value in facts.items()},
        "shown_style": STYLE,
        "page_style": (_TEMPLATES / "forensic" / "page.css").read_text(),
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


def _exporter() -> HTMLExporter:
    # An empty Config: what a user's own Jupyter settings say has no part in a report.
    made = HTMLExporter(config=Config(), template_name="forensic", extra_template_basedirs=[str(_TEMPLATES)])
    made.register_filter("plain", _plain)
    return made


def _plain(text: str) -> Markup:
    """Text from a kernel as inert HTML, without colours."""
    return escape(visible(_ANSI.sub("", text), keep="\n\t"))


def _parts(executed: Sequence[Executed]) -> list[dict[str, Any]]:
    """For each notebook its title, its headings for the table of contents, and what the page shows of it."""
    parts, said = list[dict[str, Any]](), set[str]()
    for each in executed:
        cells, title, headings = list[nbformat.NotebookNode](), each.name, list[str]()
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
                cells.append(_without_repeats(cell))
                headings += [text for marks, text in found if marks == "##"]
            if ending:
                break
        if not any(cell.get("outputs") for cell in cells) and not each.failure:
            cells, headings = [], []
        parts.append({"title": title, "headings": headings, "cells": cells, "name": each.name})
    return parts


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
