"""JupyterLab in a real browser: open 00_triage, run all cells, pick another finding, see what is drawn; no error in the console."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect, sync_playwright
from traitlets.config import Config

import kit
from kit.report.run import NOTEBOOK_FOLDER
from kit.training.asking import asked_of
from kit.training.material import Material
from kit.training.reading import lab_named
from kit.training.results import read_results
from tests import cases
from tests.command import RECORDINGS
from tests.live.scene import standing
from tests.report.conftest import browser_path

pytestmark = pytest.mark.browser
_MINUTE = 60_000


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A Jupyter server on copies of the notebooks, with a case; the address of 00_triage with the token."""
    cases.copied(tmp_path / "case", RECORDINGS / "stolen_sa_token")
    with serving(tmp_path, {"KIT_CASE": str(tmp_path / "case")}) as address:
        yield address


@contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A Jupyter server in that environment."""
    shutil.copytree(NOTEBOOK_FOLDER, folder / "notebooks")
    runtime = folder / "runtime"
    home = {
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    options = [
        "--no-browser",
        "--port=0",
        "--allow-root",
        f"--LabApp.app_settings_dir={Path(kit.__file__).parent / 'show' / 'jupyter'}",
    ]
    server = subprocess.Popen(
        [Path(sys.executable).with_name("jupyter"), "lab", str(folder / "notebooks"), *options],
        env=os.environ | home | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _address(runtime)
    finally:
        server.terminate()
        server.wait(30)


def _address(runtime: Path) -> str:
    for _ in range(120):
        for path in runtime.glob("jpserver-*.json") if runtime.exists() else ():
            told = json.loads(path.read_text())
            try:
                urllib.request.urlopen(f"{told['url']}api?token={told['token']}", timeout=2)  # noqa: S310 - our own server
            except OSError:
                continue
            return f"{told['url']}lab/tree/00_triage.ipynb?token={told['token']}"
        time.sleep(0.5)
    raise AssertionError("no Jupyter server came up within a minute")


def test_an_analyst_runs_triage_and_picks_another_finding(lab: str) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        errors = list[str]()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(lab)
        _run_all(page)
        expect(page.locator(".kit .verdict").first).to_contain_text("16 calls in the audit log", timeout=2 * _MINUTE)
        expect(page.locator(".kit table").first).to_be_visible()
        pickers = page.locator(".widget-dropdown select")
        expect(pickers.first).to_be_visible(timeout=_MINUTE)
        options = [one.replace("\xa0", " ") for one in pickers.first.locator("option").all_text_contents()]
        assert len(options) == 7 and options[0] == "all findings"
        pickers.first.select_option(index=next(place for place, one in enumerate(options) if "ReverseShell" in one))
        drawn = page.locator(".jp-OutputArea .jp-OutputArea")
        expect(drawn.locator(".kit .verdict").first).to_contain_text("No call in the audit log is", timeout=2 * _MINUTE)
        expect(drawn.get_by_role("group", name="Attack path").first).to_be_visible(timeout=_MINUTE)
        expect(drawn.get_by_text("Contact with a command-and-control server").first).to_be_visible()
        pickers.first.select_option("all findings")
        expect(drawn.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=2 * _MINUTE)
        drawn.locator(".path .ref").first.click()
        expect(page.locator(".kit-record").first).to_contain_text("auditID", timeout=_MINUTE)
        assert (
            page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents() == []
        )
        browser.close()
    assert [one for one in errors if not re.search(r"favicon|404 \(Not Found\)", one)] == []


def test_a_learner_does_a_lab_from_the_list_to_the_certificate(lab: str) -> None:
    name, seed = "read-a-sample", 7
    asked = asked_of(Material(lab_named(name), seed))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 1400})
        page.goto(lab.replace("00_triage", "90_training"))
        _run_all(page)
        listed = page.locator("table.kit-labs").first
        expect(listed.locator("tr", has_text=name)).to_contain_text("new", timeout=2 * _MINUTE)
        page.locator(".widget-dropdown select").first.select_option(name)
        page.get_by_placeholder("any").fill(str(seed))
        page.get_by_placeholder("any").press("Tab")
        page.get_by_role("button", name="Open the lab").click()
        for number, one in enumerate(asked, 1):
            expect(page.get_by_text(f"{number} of {len(asked)}: {one.name}")).to_be_visible(timeout=3 * _MINUTE)
            if isinstance(one.right_answer, dict):
                for key, option in one.right_answer.items():
                    row = page.locator(".widget-dropdown", has=page.get_by_text(key, exact=True))
                    row.locator("select").select_option(option)
            else:
                for letter in one.right_answer:
                    page.get_by_role("button", name=letter, exact=True).click()
            page.get_by_role("button", name="Keep the answer").click()
            expect(page.get_by_text("Kept.", exact=True)).to_be_visible(timeout=_MINUTE)
            page.get_by_role("button", name="Next", exact=True).click()
        page.get_by_role("button", name="Grade", exact=True).click()
        expect(page.get_by_text("Mark 100 of 100, try 1")).to_be_visible(timeout=2 * _MINUTE)
        expect(page.get_by_text("docs/finding-types/cryptomining.md")).to_be_visible()
        expect(listed.locator("tr", has_text=name)).to_contain_text("graded")
        page.get_by_placeholder("none: the results are not signed").press("Shift+Tab")
        page.keyboard.type("Amira")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Write the certificate").click()
        written = page.get_by_text("Written:")
        expect(written).to_be_visible(timeout=_MINUTE)
        path = Path(written.locator("code").first.inner_text())
        assert (
            page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents() == []
        )
        browser.close()
    results = read_results(path)
    assert (results.learner, [one["mark"] for one in results.first_tries]) == ("Amira", [100])


@pytest.mark.full
def test_an_analyst_picks_reads_marks_and_remediates_in_the_notebooks(tmp_path: Path) -> None:
    """00 → 20 → 31 → 60 on a standing account and cluster, with no error, no dialog and no request out."""
    with (
        standing("stolen_sa_token", tmp_path) as scene,
        serving(tmp_path, scene.environment | {"KIT_CASE": str(scene.case), "KIT_KEEP": "yes"}) as lab,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(5 * _MINUTE)
        expect.set_options(timeout=_MINUTE)
        errors, asked = list[str](), set[str]()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.add(request.url))

        page.goto(lab)
        _run_all(page)
        expect(page.get_by_text("Looking at all 6 findings").first).to_be_visible(timeout=5 * _MINUTE)
        finding = page.locator(".widget-dropdown select").first
        expect(page.locator(".widget-text", has_text="Start").locator("input").first).to_have_value(
            re.compile("^20"), timeout=5 * _MINUTE
        )
        options = finding.locator("option").all_text_contents()
        finding.select_option(index=next(place for place, one in enumerate(options) if "SecretsAccessed" in one))
        expect(page.get_by_text("All notebooks follow this choice").first).to_be_visible(timeout=5 * _MINUTE)
        page.get_by_role("button", name="Mark", exact=True).click()
        expect(page.get_by_text("This will stand in the case").first).to_be_visible()
        assert not (scene.case / "marks.jsonl").exists()
        page.get_by_role("button", name="Write it down").click()
        expect(page.get_by_text("A later mark of the same takes its place").first).to_be_visible()
        assert "confirmed" in (scene.case / "marks.jsonl").read_text()

        for name in ("20_timeline", "31_pods"):
            page.goto(lab.replace("00_triage", name))
            _run_all(page)
            expect(page.get_by_text("chosen in 00_triage for all notebooks").first).to_be_visible(timeout=5 * _MINUTE)
            ref = page.locator(".kit table .ref").first
            ref.scroll_into_view_if_needed()
            ref.click()
            expect(page.locator(".kit .kit-record pre").first).to_contain_text('"', timeout=5 * _MINUTE)
            if name == "20_timeline":
                page.locator(".jp-Notebook input[type=search]").first.fill("no such call")
                expect(page.locator(".dt-info, .dataTables_info").first).to_contain_text("0 ", timeout=_MINUTE)

        page.goto(lab.replace("00_triage", "60_remediation"))
        _run_all(page)
        boxes = page.locator(".widget-checkbox")
        page.get_by_role("button", name="Make the plan").wait_for()
        for number in range(boxes.count()):
            text = boxes.nth(number).inner_text()
            if "Stops:" in text and "unbind_identity" not in text:
                boxes.nth(number).locator("input").uncheck()
        page.get_by_role("button", name="Make the plan").click()
        digest = page.locator(".kit-plan .digest").inner_text()
        assert digest == json.loads((scene.case / "plan.json").read_text())["digest"]
        apply = page.get_by_role("button", name="Apply", exact=True)
        expect(apply).to_be_disabled()
        page.get_by_role("button", name="Preview").click()
        expect(page.locator(".kit-outcomes").first).to_contain_text("would be done", timeout=5 * _MINUTE)
        before = scene.state()
        typed = page.locator(".widget-text", has_text="Digest").locator("input")
        typed.press_sequentially(digest)
        typed.press("Tab")
        apply.click()
        expect(page.locator(".kit-outcomes").first).to_contain_text("done", timeout=5 * _MINUTE)
        expect(page.locator(".kit-outcomes").first).not_to_contain_text("would be", timeout=5 * _MINUTE)
        assert scene.state() != before and (scene.case / "journal.jsonl").exists()
        page.get_by_text("Take back what was done").click()
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".kit-outcomes").first).to_contain_text("undone", timeout=5 * _MINUTE)
        assert page.locator(".jp-Dialog, .Toastify__toast").count() == 0
        browser.close()
    assert [one for one in errors if not re.search(r"favicon|404 \(Not Found\)", one)] == []
    assert [one for one in asked if not re.match(r"(https?://(localhost|127\.0\.0\.1)[:/]|data:|blob:)", one)] == []


def test_a_notebook_holds_each_library_once_and_draws_all_figures_and_tables_offline(tmp_path: Path) -> None:
    """As papermill by hand or a person leaves it: saved, and opened again without a kernel."""
    executed, html = tmp_path / "out.ipynb", tmp_path / "out.html"
    papermill.execute_notebook(
        NOTEBOOK_FOLDER / "50_own_questions.ipynb",
        executed,
        {"case_dir": "sample"},
        progress_bar=False,
    )
    notebook = nbformat.read(executed, as_version=4)
    shown = [
        output.data.get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert sum(len(one) > 4_000_000 for one in shown) == 1 and sum(len(one) > 500_000 for one in shown) == 2
    html.write_text(HTMLExporter(config=Config()).from_notebook_node(notebook)[0])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        page.goto(html.as_uri())
        expect(page.locator(".js-plotly-plot .main-svg:first-child")).to_have_count(8, timeout=_MINUTE)
        expect(page.locator("table.dataTable tbody tr:first-child td:first-child").last).to_be_visible(timeout=_MINUTE)
        assert page.locator(".kit-chart:not([data-drawn])").count() == page.get_by_text("Not drawn yet").count() == 0
        browser.close()


def test_the_cell_that_brings_a_library_brings_it_again_when_it_runs_again() -> None:
    first, other = "lab.bars(frame, 'a')", "lab.browse(frame); lab.bars(frame, 'a')"
    head = "import pandas as pd; from kit.show import lab; frame = pd.DataFrame({'a': [1, 2]})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in (head, first, other, first)])
    NotebookClient(notebook, kernel_name="python3").execute()
    figures = [len(cell.outputs[-1].data["text/html"]) for cell in notebook.cells[1:]]
    assert [size > 4_000_000 for size in figures] == [True, False, True]


def _run_all(page: Page) -> None:
    """Run all cells of the notebook in front; other notebooks may be open behind it."""
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    expect(panel.locator(".jp-Cell").first).to_be_visible(timeout=2 * _MINUTE)
    # else the lab asks which kernel it should be
    expect(panel.get_by_role("button", name="Python 3 (ipykernel)")).to_be_visible(timeout=2 * _MINUTE)
    expect(page.get_by_text("| Idle").first).to_be_visible(timeout=2 * _MINUTE)
    last = panel.locator(".jp-CodeCell .jp-InputPrompt").last
    for _ in range(5):  # a notebook that is opened beside another drops what it is told before its own kernel is there
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with suppress(AssertionError):
            expect(last).not_to_have_text("[ ]:", timeout=_MINUTE / 3)
            return
    raise AssertionError("the notebook does not run")
