"""Fixtures that several test files share, and what keeps tests from leaning on each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

import kit.case.opening
from tests import cases
from tests.command import RECORDINGS

# Under CI the same examples each time, so that a landing does not hang on chance; by hand new ones each time.
# No deadline for an example: what is slow on a busy machine is not wrong.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_configure(config: pytest.Config) -> None:
    """Cases are kept below pytest's cache; who starts the run removes those of older code."""
    if kept := getattr(config, "cache", None):
        cases.keep_in(kept.mkdir("cases"), prune=not hasattr(config, "workerinput"))
        os.environ["XDG_CACHE_HOME"] = str(kept.mkdir("home"))  # where the kit keeps its sample case


# Files whose tests use one thing that takes long to make: a report, plans, a run that nobody kills, an account that nobody changes.
TOGETHER = {f"tests/report/test_{name}.py": "report" for name in ("make_report", "page", "show")} | {
    name: name for name in ("tests/live/test_kill.py", "tests/live/test_refusals.py", "tests/test_plan.py")
}


class _Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Tests go to the workers one by one, those of files that belong together to one worker, which makes that thing once."""
    return _Scheduler(config, log)


@pytest.fixture(scope="session", autouse=True)
def shared_cases() -> Iterator[None]:
    """At the end each shared case is as it was made, to the last file."""
    yield
    changed = cases.written_to(thoroughly=True)
    assert not changed, f"a test wrote to {changed}, which others read: give it a copy (tests.cases.copied)"


@pytest.fixture(autouse=True)
def each_by_itself(shared_cases: None) -> Iterator[None]:
    """Working directory, environment and what the kit keeps of a case are after a test as they were before."""
    where, environment = Path.cwd(), dict(os.environ)
    yield
    os.chdir(where)
    for name in {*os.environ, *environment} - {"PYTEST_CURRENT_TEST"}:
        if name not in environment:
            del os.environ[name]
        elif os.environ.get(name) != environment[name]:
            os.environ[name] = environment[name]
    kit.case.opening._opened.clear()
    changed = cases.written_to(thoroughly=False)
    assert not changed, f"this test wrote to {changed}, which others read: give it a copy (tests.cases.copied)"


@pytest.fixture(scope="session")
def case() -> Path:
    """A case of the recording stolen_sa_token and of all its files; not to be written to."""
    return cases.shared(RECORDINGS / "stolen_sa_token", without=())
