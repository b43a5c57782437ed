"""The rules that are few are those of docs/accuracy.md, and such a rule decides nothing alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.attribution import ground
from kit.attribution.ground import DEFINITIONS, FEW, SAYS, Ground, decides
from tests.accuracy import HEAD, PAGE, is_few, lower_bound
from tests.command import RECORDINGS
from tests.variation import said, scope_of, varied


def _rows() -> dict[str, list[str]]:
    _, _, after = PAGE.read_text(encoding="utf-8").partition(HEAD)
    table = after.strip().partition("\n\n")[0].splitlines()[1:]
    return {cells[0]: cells[1:] for cells in ([one.strip() for one in row.strip("|").split("|")] for row in table)}


def test_the_rules_that_are_few_are_those_of_the_page() -> None:
    rows = _rows()
    assert list(rows) == [str(one) for one in Ground]
    few = set[Ground]()
    for one in Ground:
        says, fired, right, least, recordings, alone = rows[one]
        assert says == SAYS[one] and int(right) <= int(fired)
        assert least == (f"{lower_bound(int(right), int(fired)):.3f}" if int(fired) else "–")
        if one in DEFINITIONS:
            assert alone == f"definition: {DEFINITIONS[one]}"
        else:
            assert alone == ("few" if is_few(int(fired), int(recordings)) else "yes")
            few |= {one} if alone == "few" else set()
    assert few == FEW


def test_the_lower_bound_is_that_of_wilson() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", Stat. Med. 17, table I
    assert lower_bound(81, 263) == pytest.approx(0.2553, abs=5e-5)
    assert lower_bound(15, 148) == pytest.approx(0.0624, abs=5e-5)
    assert lower_bound(1, 29) == pytest.approx(0.0061, abs=5e-5)


def test_two_rules_that_are_few_decide_together_and_one_does_not() -> None:
    first, second = sorted(FEW)[:2]
    assert decides((first, second)) and decides((first, Ground.CALLER))
    assert not decides((first, first, None)) and not decides((None,))


def test_a_rule_that_is_few_makes_possible_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = json.loads((RECORDINGS / "shared_nat" / "ground_truth.json").read_text())
    monkeypatch.setattr(ground, "FEW", frozenset({Ground.CALLER}))
    for finding in scope_of(varied("shared_nat", tmp_path)).values():
        assert finding["calls"] == [] and set(truth["attacker_calls"]) <= set(finding["possible_calls"])
        assert "this rule has decided too few cases to count without another one beside it" in said(finding)
