"""make_report: what it runs, refuses, repeats and says when a cell fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

import kit
from kit.errors import CallError, CaseError, WorkError
from kit.report import make_report, print_pdf, printing_browser
from kit.report.notebook import Kernel, check_parameters, run
from kit.report.run import NOTEBOOKS
from tests.command import RECORDINGS, kit_json
from tests.command import kit as kit_command
from tests.report.conftest import browser_path

RUN_FACTS = re.compile(r'<div (?:id|class)="run-facts">.*?</div>', re.DOTALL)
PARAMETERS = {"case_dir": "", "finding": "", "start": "", "end": ""}


def notebook(
    folder: Path, name: str, *sources: str, parameters: str = 'case_dir = ""\nfinding = ""\nstart = ""\nend = ""'
) -> Path:
    """A small notebook of code cells."""
    cells = [
        _cell(0, parameters, ["parameters"]),
        *(_cell(number, source, []) for number, source in enumerate(sources, 1)),
    ]
    path = folder / f"{name}.ipynb"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def _cell(number: int, source: str, tags: list[str]) -> dict[str, Any]:
    kind: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
    return {**kind, "id": f"cell-{number}", "metadata": {"tags": tags}, "source": source}


def notebooks(folder: Path, **sources: str) -> Path:
    """All notebooks of a report, one code cell each; `t00="1/0"` says what 00_triage's does."""
    for name in NOTEBOOKS:
        notebook(folder, name, sources.get(f"t{name[:2]}", "print('fine')"))
    return folder


def test_no_thread_of_a_notebook_lives_on(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Kernel(tmp_path) as kernel:
        for name in ("first", "second"):
            done = run(notebook(tmp_path, name, "1 + 1"), {}, kernel)
            assert done.failure is None and not done.stopped
    assert set(threading.enumerate()) <= before


def test_the_report_is_the_same_twice_but_for_the_run_facts(report: Path) -> None:
    first = report.read_text(encoding="utf-8")
    steps = list[tuple[str, int, int]]()
    again = make_report(report.parent, progress=lambda *step: steps.append(step))
    second = again.read_text(encoding="utf-8")
    assert len(RUN_FACTS.findall(first)) == 2  # when it was made, at the head, and all of them at the end
    assert RUN_FACTS.sub("", first) == RUN_FACTS.sub("", second)
    every = len(NOTEBOOKS) + 1  # and the page
    assert [done for _, done, _ in steps] == list(range(every)) and {total for _, _, total in steps} == {every}
    assert not list(report.parent.rglob("*.partial"))


def test_the_report_holds_no_code_from_elsewhere_and_plotly_once(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert text.count("plotly.js v") == 1
    assert "Content-Security-Policy" in text and "MathJax.js" not in text
    assert sorted(path.stem for path in (report.parent / "notebooks").iterdir()) == sorted(NOTEBOOKS)


def test_a_failing_cell_leaves_a_report_that_says_where(case_dir: Path, tmp_path: Path) -> None:
    folder = notebooks(
        tmp_path,
        t10="print('begun')\nraise ValueError('first line\\n<b>no such column: uid</b>')",
        t20="print('went on')",
    )
    with pytest.raises(WorkError) as raised:
        make_report(case_dir, notebooks=folder)
    assert raised.value.exit_code == 1
    assert "10_scope.ipynb, cell 3: <b>no such column: uid</b>" in str(raised.value) and str(
        case_dir / "report.html"
    ) in str(raised.value)
    text = (case_dir / "report.html").read_text(encoding="utf-8")
    assert (
        "This report is incomplete" in text
        and "&lt;b&gt;no such column: uid&lt;/b&gt;" in text
        and "<b>no such" not in text
    )
    assert 'href="#cell-10_scope-3"' in text and 'id="cell-10_scope-3"' in text
    assert "begun" in text and "went on" in text
    saved = json.loads((case_dir / "notebooks" / "10_scope.ipynb").read_text())
    assert saved["cells"][2]["outputs"][-1]["ename"] == "ValueError"


def test_a_kernel_that_dies_is_told_too(case_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="00_triage"):
        make_report(case_dir, notebooks=notebooks(tmp_path, t00="import os\nos._exit(3)"))
    assert "This report is incomplete" in (case_dir / "report.html").read_text()


def test_a_notebook_may_stop_on_purpose(case_dir: Path, tmp_path: Path) -> None:
    stop = "import kit\nraise kit.StopNotebook('Nothing to investigate.')"
    report = make_report(case_dir, notebooks=notebooks(tmp_path, t00=stop, t10=stop))
    text = report.read_text(encoding="utf-8")
    assert text.count("Nothing to investigate.</p>") == 1 and "incomplete" not in text


def test_an_unknown_parameter_is_refused_before_a_kernel_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook(tmp_path, "10_scope", "1/0", parameters='case_dir = ""')
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))
    with pytest.raises(
        CallError, match=r"10_scope\.ipynb: the notebook declares no parameter 'finding'. It declares: case_dir"
    ):
        run(path, PARAMETERS, Kernel(tmp_path))
    with pytest.raises(CallError, match="int, not text"):
        check_parameters(path, {"case_dir": 3})  # type: ignore[dict-item]


def test_a_report_with_an_unknown_parameter_runs_nothing(case_dir: Path, tmp_path: Path) -> None:
    notebooks(tmp_path)
    notebook(tmp_path, "40_report", parameters='case_dir = ""')
    with pytest.raises(CallError):
        make_report(case_dir, notebooks=tmp_path)
    assert not (case_dir / "report.html").exists() and not (case_dir / "notebooks").exists()


@pytest.mark.parametrize(
    "hostile",
    ['"; import os; os._exit(9) #', "'''\n\"\"\"\\", "{x} \\N{DIGIT ONE} \\u0041 %s \u202e é 𝄞", "\r\n\t\x00"],
)
def test_a_hostile_parameter_arrives_as_it_is(tmp_path: Path, hostile: str) -> None:
    path = notebook(tmp_path, "00_triage", "print(ascii(finding))")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Kernel(scratch) as kernel:
        done = run(path, {**PARAMETERS, "finding": hostile}, kernel)
    assert done.failure is None
    assert done.notebook.cells[2].outputs[0].text.strip() == ascii(hostile)


def test_a_case_that_is_not_there_and_an_unknown_finding_are_refused(case_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CaseError):
        make_report(tmp_path / "nowhere")
    with pytest.raises(CallError, match="no finding 'nope'"):
        make_report(case_dir, finding="nope")


def test_an_empty_home_with_a_kernel_that_lies_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    lying = home / ".local" / "share" / "jupyter" / "kernels" / "python3"
    lying.mkdir(parents=True)
    (lying / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    startup = home / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("finding = 'changed by a start-up file'\nimport builtins; builtins.changed = True")
    path = notebook(tmp_path, "00_triage", "import builtins, sys\nprint(sys.executable, hasattr(builtins, 'changed'))")
    script = "import sys; from pathlib import Path; from kit.report.notebook import Kernel, run; print(run(Path(sys.argv[1]), {}, Kernel(Path(sys.argv[2]))).notebook.cells[-1].outputs[0].text)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tmp_path)],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [sys.executable, "False"]


@pytest.fixture
def case_dir(make_case: Callable[..., Path]) -> Path:
    """A small case of its own: one finding and nothing else."""
    return make_case("only-a-finding", RECORDINGS / "stolen_sa_token" / "findings.json")


def test_only_findings_say_what_cannot_be_told(case_dir: Path) -> None:
    text = make_report(case_dir).read_text(encoding="utf-8")
    assert "cannot tell" in text and "this case has no audit log" in text
    assert "not observed</span> No " not in text
    shown = [
        one.get_text(" ", strip=True)
        for one in BeautifulSoup(text, "html.parser").select("main > section > .cell .kit")
    ]
    assert len(shown) > 5 and len(set(shown)) == len(shown)  # what no section can tell is said by the first of them


def test_an_audit_log_without_a_finding_puts_nothing_into_scope(make_case: Callable[..., Path]) -> None:
    text = make_report(make_case("no-finding", RECORDINGS / "stolen_sa_token" / "audit.jsonl.gz")).read_text(
        encoding="utf-8"
    )
    assert "There is no finding in this case" in text and "affected</span>" not in text


def test_a_sample_finding_is_said_once_and_nothing_else(make_case: Callable[..., Path], tmp_path: Path) -> None:
    found = json.loads((RECORDINGS / "stolen_sa_token" / "findings.json").read_text())["Findings"][:1]
    found[0]["Service"]["AdditionalInfo"] = {"Value": '{"sample":true}', "Type": "default"}
    sample = tmp_path / "findings.json"
    sample.write_text(json.dumps({"Findings": found}))
    text = make_report(make_case("sample", sample)).read_text(encoding="utf-8")
    assert text.count('class="stopped"') == 1 and "Sample finding" in text and "incomplete" not in text


def test_a_chosen_finding_and_window_reach_the_notebooks(report: Path, make_case: Callable[..., Path]) -> None:
    case = make_case("one-finding", RECORDINGS / "stolen_sa_token")
    one = json.loads((RECORDINGS / "stolen_sa_token" / "findings.json").read_text())["Findings"][0]["Id"]
    text = make_report(case, finding=one, end="2100-01-01T00:00:00Z").read_text(encoding="utf-8")
    assert "GuardDuty reports 1 finding " in text and "was not recorded" in text


def pages_of(pdf: Path) -> int:
    """How many pages a PDF has, by its page objects."""
    return len(re.findall(rb"/Type\s*/Page[^s]", pdf.read_bytes()))


@pytest.mark.browser
def test_the_summary_is_three_pages_and_says_what_is_open(make_case: Callable[..., Path]) -> None:
    browser_path()
    case = make_case("decided", RECORDINGS / "stolen_sa_token")
    made = kit_json("report", case, "--summary", "--pdf")
    page = BeautifulSoup(Path(made["report"]).read_text(encoding="utf-8"), "html.parser")
    assert 1 <= pages_of(Path(made["pdf"])) <= 3
    heads = [one.get_text(" ", strip=True) for one in page.select("h3")]
    assert heads[:6] == ["Timeline (UTC)", "Impact", "Root cause", "Open now", "Next", "Cannot be told"]
    brief = kit.open_case(case).brief()
    says = " ".join(page.get_text(" ").split())
    told = [re.sub(r"arn:aws:\w+::\d{12}:", "", row["says"]) for row in brief["incidents"][0]["story"]]
    assert len(told) > 4 and all(one[:60] in says for one in told)
    assert not page.find_all("script") and not (case / "notebooks").exists()


@pytest.mark.browser
def test_a_printed_report_is_short_and_has_its_folds_marked(report: Path) -> None:
    printed = print_pdf(report, browser_path())
    assert 2 <= pages_of(printed) <= 20
    assert printed.stat().st_mode & 0o777 == 0o600


def test_without_a_browser_a_pdf_is_refused_before_any_work(case_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(CallError, match="no Chromium on this machine"):
        printing_browser()
    done = kit_command("report", case_dir, "--pdf")
    assert done.returncode == 2 and "print it to a file" in done.stderr
    assert not (case_dir / "report.html").exists() and not (case_dir / "notebooks").exists()


def test_a_browser_that_fails_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>a page</p>")
    with pytest.raises(WorkError, match="printed nothing"):
        print_pdf(page, "/bin/false")
    assert not (tmp_path / "page.pdf").exists()


def test_a_report_that_is_ended_leaves_no_kernel_and_no_folder(case_dir: Path, tmp_path: Path) -> None:
    folder, scratch = tmp_path / "notebooks", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    notebooks(folder, t00="import time\ntime.sleep(300)")
    script = "import sys; from pathlib import Path; from kit.report import make_report; make_report(Path(sys.argv[1]), notebooks=Path(sys.argv[2]))"
    environment = {**os.environ, "TMPDIR": str(scratch)}
    running = subprocess.Popen([sys.executable, "-c", script, str(case_dir), str(folder)], env=environment)
    try:
        wait_until(lambda: len(processes_about(scratch)) > 0)
        running.terminate()
        assert running.wait(60) != 0
        wait_until(lambda: not processes_about(scratch))
        assert not list(scratch.iterdir()) and not (case_dir / "report.html").exists()
    finally:
        running.kill()


def processes_about(folder: Path) -> list[str]:
    """The command lines of running processes that name a folder: of a kernel, whose connection file lies in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += [line] if str(folder) in line else []
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for a condition; fails when it does not come."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
