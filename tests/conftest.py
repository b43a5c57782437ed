"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import RECORDINGS, kit


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of the recording stolen_sa_token, made by the command line; not to be written to."""
    made = tmp_path_factory.mktemp("cases") / "stolen-sa-token"
    done = kit("new", made, RECORDINGS / "stolen_sa_token")
    assert done.returncode == 0, done.stderr
    return made
