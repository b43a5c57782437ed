"""Which functions of the kit each test reaches: what `tests.mutate` runs for a mutant, the fastest first.

    python -m tests.reached FILE

A copy of the package notes each function as it is entered; the tests run on that copy, with this module as a plugin of pytest.
What a started program enters is not seen. What a fixture of a whole file enters, each test that asks for it reaches.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
REACHED = set[str]()
"""The functions that were entered since it was emptied, as `kit/scope/scope.py:Class.method`."""
_SLOW = 5  # s
_FOLDER = "KIT_REACHED"  # the variable that says where a worker writes
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, _Function]]:
    """Each function of a module, the outer before the inner, with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        name = f"{within}.{node.name}".lstrip(".") if isinstance(node, _Function | ast.ClassDef) else within
        if isinstance(node, _Function):
            yield name, node
        yield from functions(node, name)


def noting(source: str, path: str) -> str:
    """The module with a first statement in each function that notes it."""
    tree = ast.parse(source)
    for name, node in functions(tree):
        first = int(ast.get_docstring(node) is not None)
        node.body.insert(first, ast.parse(f"_reached({f'{path}:{name}'!r})").body[0])
    first = next(
        (
            number
            for number, node in enumerate(tree.body)
            if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
            and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ),
        len(tree.body),
    )
    tree.body[first:first] = ast.parse("from tests.reached import REACHED as _noted\n_reached = _noted.add").body
    return ast.unparse(ast.fix_missing_locations(tree))


@dataclass(frozen=True)
class Reach:
    """What was noted. seconds: of each test. tests: of each function."""

    seconds: dict[str, float]
    tests: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> Reach:
        """What `python -m tests.reached` wrote."""
        return cls(**json.loads(path.read_text()))

    def of(self, path: str, line: int, source: str, files: tuple[str, ...]) -> list[str]:
        """The tests that reach the function of a line, or outside of functions its module: those of the first of the files first, in
        a file the fastest first, slow ones at the end."""
        around = [
            name for name, node in functions(ast.parse(source)) if node.lineno <= line <= (node.end_lineno or line)
        ]
        keys = [f"{path}:{around[-1]}"] if around else [one for one in self.tests if one.startswith(f"{path}:")]
        found = {test for key in keys for test in self.tests.get(key, ())}
        places = {file: place for place, file in enumerate(dict.fromkeys(files))}

        def order(test: str) -> tuple[bool, int, float, str]:
            return (
                self.seconds[test] > _SLOW,
                places.get(test.partition("::")[0], len(places)),
                self.seconds[test],
                test,
            )

        return sorted(found, key=order)


# ── the plugin ─────────────────────────────────────────────────────────────────────────────────────────────────────

_by_fixture: dict[tuple[str, str], set[str]] = {}  # where a fixture is from and its name → what its setup entered
_by_test: dict[str, tuple[float, list[str]]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Notes what one test enters."""
    REACHED.clear()
    started = time.perf_counter()
    answer = yield
    wide = getattr(item, "_fixtureinfo", None)
    for definitions in wide.name2fixturedefs.values() if wide else ():
        for one in definitions:
            REACHED.update(_by_fixture.get((one.baseid, one.argname), ()))
    _by_test[item.nodeid] = time.perf_counter() - started, sorted(REACHED)
    return answer


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Iterator[None]:
    """Notes what a fixture of several tests enters."""
    before = set(REACHED)
    REACHED.clear()
    answer = yield
    if fixturedef.scope != "function":
        _by_fixture[fixturedef.baseid, fixturedef.argname] = set(REACHED)
    REACHED.update(before)
    return answer


def pytest_sessionfinish() -> None:
    """Each worker writes what it noted to a file of its own."""
    if _by_test and (folder := os.environ.get(_FOLDER)):
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(_by_test))


def pytest_collection_finish() -> None:
    """What tests keep of a command's answer is asked for anew, so that each reaches what answers it."""
    from tests import cases

    cases._once = cases._now  # type: ignore[assignment]


# ── all of it ──────────────────────────────────────────────────────────────────────────────────────────────────────


def note(modules: Iterable[str], tests: Iterable[str]) -> Reach:
    """Run the tests on a copy of the package whose modules note what is entered."""
    with tempfile.TemporaryDirectory(prefix="reached-") as folder:
        shutil.copytree(ROOT / "kit", Path(folder, "kit"), ignore=shutil.ignore_patterns("__pycache__"))
        for path in modules:
            module = Path(folder, path)
            module.write_text(noting(module.read_text(encoding="utf-8"), path), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)]), "PYTHONSAFEPATH": "1", _FOLDER: folder}
        command = [sys.executable, "-m", "pytest", "-n", "auto", "-q", "-p", "tests.reached", *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode not in (0, 1):  # 1: a test failed, which has reached all the same
            raise subprocess.CalledProcessError(done.returncode, command)
        reach = Reach({}, defaultdict(list))
        for written in sorted(Path(folder).glob("*.json")):
            for test, (seconds, entered) in json.loads(written.read_text()).items():
                reach.seconds[test] = round(seconds, 3)
                for name in entered:
                    reach.tests[name].append(test)
    return reach


if __name__ == "__main__":
    from tests.mutate import AREAS

    rows = [row for modules in AREAS.values() for row in modules.items()]
    reach = note([path for path, _ in rows], dict.fromkeys(test for _, tests in rows for test in tests))
    place = Path(sys.argv[1])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"seconds": reach.seconds, "tests": reach.tests}) + "\n")
