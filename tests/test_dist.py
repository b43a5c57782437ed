"""What `make dist` fetches: for each system and Python what its markers ask for, with the lock's versions and hashes, and nothing of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dist import SYSTEMS, VERSIONS, requirements

LOCK = (Path(__file__).parents[1] / "requirements.lock").read_text()
OF = {system.name: system for system in SYSTEMS}


def _asked(system: str, release: str) -> dict[str, str]:
    lines = list(requirements(LOCK, OF[system], release))
    return {line.partition("==")[0]: line for line in lines}


@pytest.mark.parametrize("release", [one for releases in VERSIONS.values() for one in releases])
@pytest.mark.parametrize("system", OF)
def test_what_is_needed_is_asked_for_once_with_version_and_hashes(system: str, release: str) -> None:
    lines = list(requirements(LOCK, OF[system], release))
    asked = _asked(system, release)
    assert len(lines) == len(asked) and all("==" in line and "--hash=sha256:" in line for line in lines)
    assert {"boto3", "duckdb", "jupyterlab", "kubernetes", "pyarrow", "tinycss2"} <= asked.keys()
    assert not asked.keys() & {"pytest", "moto", "mypy", "playwright", "pywinpty", "colorama"}
    assert ("appnope" in asked) is system.startswith("macos")


def test_the_version_is_the_one_that_the_lock_has_for_that_python() -> None:
    older, newer = (_asked("linux-x86_64", release)["numpy"] for release in ("3.11.0", "3.12.0"))
    assert older.split()[0] != newer.split()[0]
