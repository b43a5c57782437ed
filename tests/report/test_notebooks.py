"""House rules of notebooks: they are read by people, so they call the kit and hold nothing of their own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from kit.report.run import NOTEBOOK_FOLDER, NOTEBOOKS

PATHS = sorted(NOTEBOOK_FOLDER.glob("*.ipynb"))
FORBIDDEN = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.comprehension,
    ast.Lambda,
)


def test_every_notebook_of_the_report_is_there() -> None:
    assert {path.stem for path in PATHS} >= set(NOTEBOOKS) >= {"00_triage", "10_scope", "20_timeline", "40_report"}
    assert [path.stem for path in PATHS if not re.fullmatch(r"[0-9]{2}_[a-z_]+", path.stem)] == []


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    path: Path = request.param
    read: nbformat.NotebookNode = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(read)
    return read


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_no_outputs_and_no_counts_are_kept(notebook: nbformat.NotebookNode) -> None:
    assert all(cell.outputs == [] and cell.execution_count is None for cell in _code(notebook))


def test_cells_are_short_and_define_nothing(notebook: nbformat.NotebookNode) -> None:
    for cell in _code(notebook):
        assert len(cell.source.splitlines()) <= 6, cell.source
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, FORBIDDEN)], cell.source


def test_parameters_are_literal_texts_in_one_tagged_cell(notebook: nbformat.NotebookNode) -> None:
    tagged = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assigned = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(tagged[0].source).body}
    # A lab brings its own case.
    of_labs = "from kit.training" in "".join(cell.source for cell in _code(notebook))
    assert assigned == ({"progress": ""} if of_labs else {"case_dir": "", "finding": "", "start": "", "end": ""})


def test_it_opens_with_what_it_answers_and_needs(notebook: nbformat.NotebookNode) -> None:
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "**Answers:**" in first.source and "**Needs:**" in first.source


def test_the_form_is_4_5_with_settled_cell_ids(notebook: nbformat.NotebookNode) -> None:
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert ids == [f"{ids[0][:3]}{number:02d}" for number in range(len(ids))]
