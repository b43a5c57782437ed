"""The script that changes the kit to see whether the tests notice: what it changes, what it leaves alone, and what it reports."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests import mutate
from tests.mutate import AREAS, BROKEN, KILLED, ROOT, SURVIVED, Mutation, Trial, changed, mutations

SOURCE = '''"""Which calls count: `get` and not `list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from os import PathLike as path_like

__all__ = ["Call", "counts"]
VERBS = ("get",)


@dataclass(frozen=True)
class Call:
    """A call."""

    verb: Literal["get", "list"]
    """What is asked."""


def counts(call: Call, others: list[Call], depth: Literal[3]) -> bool:
    """Whether it counts."""
    assert others is not None, "there are others"
    if call.verb == "list" and not others:
        raise ValueError("list")
    found = [one for one in others if one.verb in VERBS]
    says = "this call is one of many"
    print(f"{says}: {len(found) + 1} of {'all'}")
    return bool(found)


SQL = "SELECT 1 FROM audit WHERE code BETWEEN 1 AND 9 AND user IS NULL"
LIMITED = dict(zip("ab", "cd", strict=True), most=2, dry=True)
'''


def test_each_kind_of_change_is_made_and_nothing_that_is_for_readers() -> None:
    assert [(one.kind, SOURCE.encode()[one.start : one.end].decode(), one.new) for one in mutations(SOURCE)] == [
        ("name", '"get"', "'get-mutant'"),
        ("comparison", 'call.verb == "list"', "(call.verb != 'list')"),
        ("condition", 'call.verb == "list" and not others', "(call.verb == 'list')"),
        ("condition", 'call.verb == "list" and not others', "(not others)"),
        ("condition", 'call.verb == "list" and not others', "False"),
        ("condition", 'call.verb == "list" and not others', "True"),
        ("name", '"list"', "'list-mutant'"),
        ("not", "not others", "(others)"),
        ("comparison", "one.verb in VERBS", "(one.verb not in VERBS)"),
        ("condition", "one.verb in VERBS", "True"),
        ("SQL", SQL, repr(SQL[1:-1].replace("IS NULL", "IS NOT NULL"))),
        ("SQL", SQL, repr(SQL[1:-1].replace("9 AND", "9 OR"))),
        ("name", '"ab"', "'ab-mutant'"),
        ("name", '"cd"', "'cd-mutant'"),
        ("constant", "2", "1"),
        ("constant", "2", "3"),
        ("constant", "True", "False"),
    ]


SQL = '"SELECT 1 FROM audit WHERE code BETWEEN 1 AND 9 AND user IS NULL"'


def test_a_change_is_shown_as_its_lines_before_and_after() -> None:
    source = "def ä(x):\n    return (  # é\n        x <\n        3\n    )\n"
    shown = {(one.line, one.before, one.after) for one in mutations(source)}
    assert (3, "x < 3", "(x >= 3)") in shown
    assert (4, "3", "4") in shown
    assert "        x <\n        4\n" in changed(source, next(one for one in mutations(source) if one.new == "4"))


def test_each_change_of_the_kit_compiles_and_is_another_program() -> None:
    for one in mutate.sample(AREAS, 1, 62):
        source = (ROOT / one.path).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(changed(source, one))) != ast.dump(ast.parse(source)), one


def test_a_seed_draws_the_same_sample_and_another_seed_another_one() -> None:
    first = mutate.sample(AREAS, 1, 40)
    assert first == mutate.sample(AREAS, 1, 40) != mutate.sample(AREAS, 2, 40)
    assert len(set(first)) == 40
    for modules in AREAS.values():
        assert sum(one.path in modules for one in first) == 40 // len(AREAS)
    per_module = [sum(one.path == path for one in first) for path in AREAS["plan"]]
    assert max(per_module) - min(per_module) <= 1


def test_a_sample_can_be_of_one_area_one_module_or_one_line() -> None:
    assert {one.path for one in mutate.sample(AREAS, 1, 40, only="plan")} == set(AREAS["plan"])
    (one, *_) = mutate.sample(AREAS, 1, 40, only="kit/plan/planner.py")
    assert {other.line for other in mutate.sample(AREAS, 1, 99, only=f"kit/plan/planner.py:{one.line}")} == {one.line}


def test_every_module_of_live_and_every_test_of_the_table_is_there() -> None:
    modules = (path for path in (ROOT / "kit" / "live").rglob("*.py") if path.stem != "__init__")
    live = {str(path.relative_to(ROOT)) for path in modules}
    assert live == set(AREAS["live"])
    tests = {test for modules in AREAS.values() for tests in modules.values() for test in tests}
    assert not [test for test in tests if not (ROOT / test).is_file()]


# ── a package of a few lines, with its own tests ─────────────────────────────────────────────────────────────────────

DOUBLE = "UNUSED = 3\n\n\ndef double(n):\n    return n * 2\n\n\nassert double.__name__\nONE = {'a': 1}['a']\n"
TEST = "from tiny.double import double\n\n\ndef test_it():\n    assert double(2) == {}\n"


def _trial(folder: Path, wanted: int = 4) -> Trial:
    (folder / "tiny").mkdir()
    (folder / "tiny" / "__init__.py").touch()
    (folder / "tiny" / "double.py").write_text(DOUBLE)
    (folder / "test_double.py").write_text(TEST.format(wanted))
    return Trial(folder, {"tiny/double.py": ("test_double.py",)})


def _change(before: str, after: str) -> Mutation:
    found = mutations(DOUBLE, "tiny/double.py")
    return next(one for one in found if one.before == before and one.after == after)


def test_a_mutant_is_killed_survives_or_does_not_import(tmp_path: Path) -> None:
    trial = _trial(tmp_path)
    results = [
        trial.judge(_change("return n * 2", "return n * 3")),
        trial.judge(_change("UNUSED = 3", "UNUSED = 4")),
        trial.judge(_change("ONE = {'a': 1}['a']", "ONE = {'a': 1}['a-mutant']")),
    ]
    assert [(one.state, one.by) for one in results] == [
        (KILLED, "test_double.py::test_it"),
        (SURVIVED, ""),
        (BROKEN, ""),
    ]
    assert (tmp_path / "tiny" / "double.py").read_text() == DOUBLE
    assert mutate.score(results) == 0.5
    text = mutate.report(results)
    assert text.splitlines()[1].split() == ["tiny/double.py", "1", "1", "1"]
    assert text.endswith("\n\ntiny/double.py:1 (constant)\n  - UNUSED = 3\n  + UNUSED = 4")


def test_a_test_that_fails_without_a_change_judges_none(tmp_path: Path) -> None:
    trial = _trial(tmp_path, wanted=5)
    (trial.root / "test_other.py").write_text(
        "from tiny.double import double\n\n\ndef test_all():\n    assert double(2) == 4\n"
    )
    trial.tests["tiny/double.py"] = ("test_double.py", "test_other.py")
    result = trial.judge(_change("return n * 2", "return n * 3"))
    assert (result.state, result.by) == (KILLED, "test_other.py::test_all")
    assert trial.unsound == {"test_double.py::test_it"}
    trial.tests["tiny/double.py"] = ("test_double.py::test_it",)
    assert trial.judge(_change("return n * 2", "return n * 3")).state == SURVIVED


@pytest.mark.parametrize(("state", "code"), [(KILLED, 0), (SURVIVED, 1)])
def test_the_score_decides_the_exit_code(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Trial, "judge", lambda _, mutation: mutate.Result(mutation, state))
    written = tmp_path / "out" / "mutate.json"
    monkeypatch.setattr(sys, "argv", ["mutate", "--seed", "5", "--number", "4", "--json", str(written)])
    assert mutate.main() == code
    assert "seed 5: " in capsys.readouterr().out and state in written.read_text()


def test_what_cannot_be_told_ends_with_two(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:

    def fails(trial: Trial, mutation: Mutation) -> mutate.Result:
        trial.unsound.add("tests/test_plan.py::test_it")
        return mutate.Result(mutation, KILLED)

    monkeypatch.setattr(Trial, "judge", fails)
    monkeypatch.setattr(sys, "argv", ["mutate", "--seed", "5", "--number", "2"])
    assert mutate.main() == 2
    assert "test_it fails without any change" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["mutate", "--seed", "5", "--only", "kit/nothing.py"])
    assert mutate.main() == 2
    assert "nothing to change in kit/nothing.py: give an area" in capsys.readouterr().err
