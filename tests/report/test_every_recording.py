"""The full cross: every recording, from its files to a page in the browser, as a whole and without each kind of evidence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.report import make_report
from tests.report.page_numbers import disagreeing
from tests.truth import recordings

pytestmark = [pytest.mark.full, pytest.mark.browser]
KINDS_OF_EVIDENCE = ("nothing", "audit.jsonl.gz", "cloudtrail.json.gz", "cluster", "aws", "findings*.json")


@pytest.mark.parametrize("recording", recordings(), ids=lambda path: path.name)
@pytest.mark.parametrize("missing", KINDS_OF_EVIDENCE)
def test_a_report_that_can_be_looked_at(
    make_case: Callable[..., Path],
    look: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
    recording: Path,
    missing: str,
) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(recording, evidence, ignore=shutil.ignore_patterns("ground_truth.json", missing))
    report = make_report(make_case(recording.name, evidence))
    text = report.read_text(encoding="utf-8")
    assert "This report is incomplete" not in text
    assert disagreeing(text)[1] == []
    seen = look(report)
    assert (seen["asked"], seen["dead_links"], seen["cloud"], seen["code"]) == ([], 0, 0, False)
    assert seen["overflow"] <= 0
    assert seen["plots"] == seen["charts"]
    assert seen["plots"] >= 3 or missing in ("audit.jsonl.gz", "findings*.json") or not seen["charts"]
    if missing in ("audit.jsonl.gz", "cluster", "cloudtrail.json.gz"):
        assert "cannot tell" in text.lower() or "cannot be told" in text
