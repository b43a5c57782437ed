"""Fixtures that several test files share, and what keeps tests from leaning on each other."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

import kit.case.opening
from kit.case.worked_out import KIT_KEEP
from tests import cases
from tests.command import RECORDINGS

# Under CI the same examples each time, so that a landing does not hang on chance; by hand new ones each time.
# No deadline for an example: what is slow on a busy machine is not wrong.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# jsonschema, which nbformat imports, builds a grammar of IRIs at once: two seconds of each worker, and no test has an IRI to check.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # "is not there", to the import system


def pytest_configure(config: pytest.Config) -> None:
    """Cases are kept below pytest's cache; who starts the run removes those of older code."""
    if kept := getattr(config, "cache", None):
        cases.keep_in(kept.mkdir("cases"), prune=not hasattr(config, "workerinput"))
        os.environ["XDG_CACHE_HOME"] = str(kept.mkdir("home"))  # where the kit keeps its sample case
    os.environ[KIT_KEEP] = "no"  # a test that changes the kit in its own process must leave nothing in a shared case


# Files of many cases, each with evidence of its own, that do not fit into six minutes together: `make test` runs of each the sixteenth
# that the commit's hash chooses, `make test-all` and a run of chosen files all of it.
SLICED = {
    f"tests/{name}.py"
    for name in (
        "live/test_apply", "live/test_attacker_out", "live/test_aws_acts", "live/test_aws_auth", "live/test_collect", "live/test_commands", "live/test_kill", "live/test_kubernetes_acts",
        "live/test_made_again", "live/test_permissions", "live/test_refusals", "live/test_simulated", "live/test_started", "live/test_training_done", "report/test_make_report", "report/test_page", "report/test_show",
        "sources/test_archive", "sources/test_cluster", "sources/test_ocsf",
        "sources/test_envelope", "sources/test_form", "test_training_class", "test_about", "test_add", "test_api", "test_attackers", "test_attribution", "test_audit_columns", "test_aws_secrets", "test_brief",
        "test_caller_marks", "test_changed_in_aws", "test_collected", "test_command_line", "test_coverage", "test_credentials", "test_degradation", "test_forged_evidence", "test_ground", "test_guide", "test_host_access",
        "test_hostile", "test_identities", "test_intake", "test_intake_edges", "test_marks", "test_masking", "test_odd_evidence", "test_plan", "test_plan_identities", "test_plan_json",
        "test_plan_rotation", "test_plan_truth", "test_playbooks", "test_questions", "test_real_evidence", "test_scope", "test_simulation", "test_sql", "test_statements",
        "test_training", "test_training_marks", "test_truth", "test_upgrade", "test_verdict", "test_worked_out", "test_written",
    )
}  # fmt: skip
SLICES = 16


def slice_of(commit: str) -> int:
    """Which slice a commit runs."""
    return int(commit[:8] or "0", 16) % SLICES


def in_slice(nodeid: str, number: int) -> bool:
    """Whether a test of a sliced file is in a slice: each is in one."""
    return bool(zlib.crc32(nodeid.encode()) % SLICES == number)


def _slice(config: pytest.Config) -> int | None:
    """The slice of this run; None where all is run: of chosen files or names, and with the full crosses."""
    if hasattr(config, "workerinput"):
        number: int | None = config.workerinput["slice"]
        return number
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.keyword
    if not whole or config.option.markexpr != "not full":
        return None
    asked = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(asked, cwd=config.rootpath, capture_output=True, text=True, check=False)
    return slice_of(done.stdout)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The workers of xdist run the same slice: they are told files, and cannot tell whether these were chosen."""
    node.workerinput["slice"] = _slice(node.config)


def pytest_report_header(config: pytest.Config) -> str:
    """Which slice is run."""
    number = _slice(config)
    return (
        "all slices"
        if number is None
        else f"slice {number + 1} of {SLICES} of {len(SLICED)} files, by the commit's hash"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count, what other slices run."""
    number = _slice(config)
    if number is not None:
        ours, left = list[pytest.Item](), list[pytest.Item]()
        for one in items:
            is_left = one.nodeid.partition("::")[0] in SLICED and not in_slice(one.nodeid, number)
            (left if is_left else ours).append(one)
        config.hook.pytest_deselected(items=left)
        # What takes long first: at the end each worker has something short to do until the others are done.
        items[:] = sorted(ours, key=lambda one: one.nodeid.partition("::")[0] not in SLICED)


# Files whose tests use one thing that takes long to make: a report, plans, a run that nobody kills, an account that nobody changes, the
# syntax trees of all modules.
TOGETHER = {f"tests/report/test_{name}.py": "report" for name in ("make_report", "page", "show")} | {
    name: name
    for name in (
        "tests/live/test_collect.py",
        "tests/live/test_kill.py",
        "tests/live/test_refusals.py",
        "tests/test_house.py",
    )
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
