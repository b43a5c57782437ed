"""What an attacker may write into any string of the evidence does no harm in what the kit prints and shows; `make hostile` counts all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import SOURCES, breaches


@pytest.mark.parametrize("source", SOURCES)
def test_no_string_of_a_source_does_harm_in_any_output(source: str, tmp_path: Path) -> None:
    strings, looked, found = breaches(source, tmp_path)
    assert strings > 20 and looked > 14
    assert not found
