"""The command line's own promises: documented JSON, results on stdout alone, help with examples, harmless output."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.cli import main as cli
from kit.cli.terminal import add_row, print_folded, print_table, table_with
from tests.cases import shared
from tests.command import KIT, RECORDINGS, SAMPLE, kit, kit_json, program

FINDING = [
    "id",
    "type",
    "severity",
    "sample",
    "about_eks",
    "window",
    "subjects",
    "calls",
    "possible_calls",
    "aws_calls",
    "identities",
    "sessions",
    "limits",
]
SUBJECT = [
    "kind",
    "key",
    "ref",
    "namespace",
    "name",
    "uid",
    "node",
    "created_at",
    "deleted_at",
    "standing",
    "gone_before_first_hostile_call",
    "certainty",
    "through",
    "why",
    "ring",
    "alive_during_attack",
    "touched_by",
]


def test_the_scope_has_the_documented_form(case: Path) -> None:
    printed = kit_json("scope", case)
    assert list(printed) == ["case", "marks", "findings", "own_requests"]
    for finding in printed["findings"]:
        assert list(finding) == FINDING
        assert finding["window"]["start"] < finding["window"]["end"]
        for subject in finding["subjects"]:
            assert list(subject) == SUBJECT
            assert subject["ref"] == f"{subject['kind']}:{subject['key']}"
            assert subject["certainty"] in ("affected", "possible")
            assert all(list(why) == ["ref", "says"] and why["says"] for why in subject["why"])
        for limit in finding["limits"]:
            assert list(limit) == ["about", "start", "end", "says", "collect", "otherwise"]


def test_the_json_page_has_every_member(case: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "json.md").read_text()
    printed = kit_json("scope", case)
    assert [name for name in [*FINDING, *SUBJECT] if f'"{name}"' not in page] == []
    for listed in ("identities", "sessions"):
        (one, *_) = [one for finding in printed["findings"] for one in finding[listed]]
        assert [name for name in one if f'"{name}"' not in page] == []
    kinds = {subject["kind"] for finding in printed["findings"] for subject in finding["subjects"]}
    assert [kind for kind in kinds if f"`{kind}`" not in page] == []


def test_one_finding_and_a_window_narrow_the_scope(case: Path) -> None:
    every = kit_json("scope", case)["findings"]
    one = next(finding for finding in every if len(finding["calls"]) > 2)
    (alone,) = kit_json("scope", case, "--finding", one["id"])["findings"]
    assert alone == one
    (early,) = kit_json("scope", case, "--finding", one["id"], "--end", _middle(one["window"]))["findings"]
    assert set(early["calls"]) < set(one["calls"])


def _middle(window: dict[str, str]) -> str:
    from datetime import datetime

    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    return (start + (end - start) / 2).isoformat()


def test_findings_are_listed_the_most_severe_first(case: Path) -> None:
    rows = kit_json("findings", case)["findings"]
    assert len(rows) > 1
    assert [row["severity"] for row in rows] == sorted((row["severity"] for row in rows), reverse=True)
    assert all(row["id"][:8] in kit("findings", case).stdout for row in rows)


@pytest.mark.parametrize("command", cli.main.commands)
def test_help_has_an_example(command: str) -> None:
    said = kit(command, "--help")
    assert said.returncode == 0
    assert f"kit {command} " in said.stdout.partition("Example")[2]


def test_a_wrong_call_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    for call in (["new"], ["new", "x"], ["scoop", "x"], ["scope"], ["scope", str(tmp_path), "--color"]):
        done = program(*call)
        assert done.returncode == 2, call
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_a_reader_that_stops_reading_ends_it_quietly(case: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" scope "$1" --json | head -1', KIT, case],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_results_go_to_stdout_and_the_rest_to_stderr(tmp_path: Path) -> None:
    done = kit("new", tmp_path / "case", RECORDINGS / "stolen_sa_token", "--json")
    assert json.loads(done.stdout)["case"] == str(tmp_path / "case")


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [KIT, "new", tmp_path / "case", RECORDINGS / "stolen_sa_token"],
        stderr=theirs,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other side is closed
        pass
    assert process.wait() == 0
    assert "audit.jsonl.gz" in shown.decode()


def test_a_scope_for_people_begins_with_the_finding_on_a_line_of_its_own(case: Path) -> None:
    lines = kit("scope", case, "--all").stdout.splitlines()
    known = kit_json("findings", case)["findings"]
    assert lines[:2] == ["", f"{known[0]['type']}  {known[0]['id']}  severity {known[0]['severity']:.1f}"]
    assert not [line for line in lines if "\\x0a" in line]


def test_a_scope_for_people_is_one_screen_and_has_images_last() -> None:
    lines = kit("scope", shared(SAMPLE)).stdout.splitlines()
    titles = [line for line in lines if line[:1].isupper()]
    assert len(lines) <= 60 and titles[0] == "Secrets" and titles[-1].startswith("Images")
    assert lines[0].startswith("17 findings: 24 calls of the attacker in the audit log, 6 in CloudTrail")
    assert len(kit("scope", shared(SAMPLE), "--all").stdout.splitlines()) > len(lines)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [["a b  c", "", 3], [None, "x " * 20, "[bold]x[/bold] :smile: tab\tq"]],
        [["cafe\u0301", "\u8868", "x"]],
        [["x" * 200, "y" * 60, "z"]],
    ],
    ids=["no row", "words", "wide letters", "too wide"],
)
def test_a_table_for_scripts_is_the_one_that_rich_prints(
    rows: list[list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_with("file", "taken as", "n")
    for row in rows:
        add_row(table, *row)
    print_table(table)
    printed = capsys.readouterr().out
    print_folded(table)
    assert printed == capsys.readouterr().out
    assert printed.startswith("file")


def test_text_from_evidence_cannot_drive_a_terminal(tmp_path: Path) -> None:
    found = json.loads((RECORDINGS / "stolen_sa_token" / "findings.json").read_text())
    finding: dict[str, Any] = found["Findings"][0]
    finding["Type"] = "Evil:Kubernetes/\x1b[31mRed\u202e\x07"
    (tmp_path / "findings.json").write_text(json.dumps(found))
    assert kit("new", tmp_path / "case", tmp_path / "findings.json").returncode == 0
    for command in ("findings", "scope"):
        said = kit(command, tmp_path / "case").stdout
        assert "\x1b" not in said and "\u202e" not in said and "\x07" not in said
        assert command == "scope" or "\\x1b[31mRed" in said  # the scope is told by incident
