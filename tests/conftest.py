"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.command import RECORDINGS, kit

# Under CI the same examples each time, so that a landing does not hang on chance; by hand new ones each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of the recording stolen_sa_token, made by the command line; not to be written to."""
    made = tmp_path_factory.mktemp("cases") / "stolen-sa-token"
    done = kit("new", made, RECORDINGS / "stolen_sa_token")
    assert done.returncode == 0, done.stderr
    return made
