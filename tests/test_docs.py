"""The documentation is fresh, and what it shows runs."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from pathlib import Path

import pytest

from kit.actions.registry import ACTIONS
from kit.case.case import Case
from kit.cli import main as cli
from kit.model.refs import LEADS_TO
from kit.store import tables
from tests import api_page, cases
from tests.command import RECORDINGS, SAMPLE, program
from tests.docs import DOCS, actions_tested, pages

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", pages())
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name](), "run `make docs` and commit the page"


def test_every_column_is_used_and_means_something() -> None:
    used = {name for table in tables.TABLES.values() for name in table.names}
    assert used == set(tables.COLUMNS)
    assert all(meaning for _, meaning in tables.COLUMNS.values())


@pytest.mark.parametrize("table", tables.TABLES.values(), ids=tables.TABLES)
def test_what_a_table_says_of_its_columns_is_so(table: tables.Table) -> None:
    assert {name for name in (table.time, table.id) if name} <= set(table.names) and table.title and table.says
    assert bool(table.ref) == bool(table.id) and (not table.ref or table.ref in LEADS_TO)
    assert not table.has_records or set(table.same.split(", ")) <= set(table.names)
    assert not table.is_log or table.time


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in cli.main.commands if f"kit {name}" not in text] == []


def test_every_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"report", "test"} <= named <= targets


def test_the_five_lines_of_the_readme_run(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text().partition("## On your own finding")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block
    lines = [line.partition(" #")[0] for line in block[1].splitlines() if line.startswith(".venv/bin/kit ")]
    assert len(lines) >= 3
    shutil.copytree(RECORDINGS / "stolen_sa_token", tmp_path / "evidence")
    for line in lines:
        of_evidence = line.replace("203.0.113.6", "203.0.113.232")  # the address that is in this evidence
        done = program(*shlex.split(of_evidence)[1:], cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)


def test_what_the_page_of_rules_quotes_is_said_of_the_sample_case() -> None:
    case = Case(cases.shared(SAMPLE))
    said = {why["says"] for finding in case.scope["findings"] for one in finding["subjects"] for why in one["why"]}
    said |= {*case.limits["says"], *"; ".join(case.calls["because"]).split("; "), *case.aws_calls["because"]}
    for finding in case.scope["findings"]:
        for one in finding["identities"]:
            said |= {why["says"] for why in [one["why"], *one["patient_zero"]]} | {
                step["says"] for step in one["take_away"]
            }
        said |= {why["says"] for session in finding["sessions"] for why in session["why"]}
    quoted = re.findall(r"^ *> (.+)$", (DOCS / "rules.md").read_text(), re.MULTILINE)
    assert len(quoted) > 10 and [one for one in quoted if one not in said] == []


def test_the_examples_of_the_front_door_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(RECORDINGS / "stolen_sa_token", tmp_path / "evidence")
    monkeypatch.chdir(tmp_path)
    given = {"kit": importlib.import_module("kit")}
    ran = list(api_page.examples())
    for example in ran:
        exec(example, given)  # noqa: S102 - the page's own text
    assert len(ran) >= 10


def test_the_frames_of_the_readme_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block
    before = text[: block.start()]
    assert [word for word in ("*Affected*", "*possible*", "*cannot tell*") if word not in before] == []
    cases.copied(tmp_path / "case-1", SAMPLE)
    monkeypatch.chdir(tmp_path)
    exec(block[1], {})  # noqa: S102 - the page's own text


def test_every_action_that_the_kit_does_has_a_test() -> None:
    tested = actions_tested()
    assert {name for name, one in ACTIONS.items() if not one.by_person} <= set(tested)
