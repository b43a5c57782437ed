"""What an attacker may write into any string of the evidence does no harm in what the kit prints and shows; `make hostile` counts all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import SOURCES, TEXT, Harmed, breaches


@pytest.mark.parametrize("source", SOURCES)
def test_no_string_of_a_source_does_harm_in_any_output(source: str, tmp_path: Path) -> None:
    strings, looked, found = breaches(source, tmp_path)
    assert strings > 20 and looked > 14
    assert not found


def test_what_would_do_harm_in_a_page_is_found() -> None:
    assert len(Harmed(f"<p>{TEXT}</p>").found) == 1
    assert not Harmed(f"<script type='application/json'>{TEXT}</script><p>&lt;img src=x onerror=alert(7)&gt;</p>").found


@pytest.mark.full
def test_no_string_of_a_finding_does_harm_in_the_report(tmp_path: Path) -> None:
    strings, looked, found = breaches("findings", tmp_path, report=True)
    assert strings > 20 and looked > 20
    assert not found
