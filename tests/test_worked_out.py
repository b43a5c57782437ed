"""What is worked out of a case is kept in it: the second who opens it waits for no scope, and believes nothing that this kit did not write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kit.case import opening, worked_out
from kit.case.case import Case
from kit.case.worked_out import KIT_KEEP, WORKED_OUT, WorkedOut
from kit.cli.main import main
from kit.errors import CaseError
from kit.plan.saved import saved_plan
from kit.scope.scope import Scope
from kit.show import answers, identities, lab, remediation, show, steps
from kit.show.cited import anchor, cited_refs
from kit.show.figures import HEADLESS
from kit.show.figures.lifetimes import lifetimes
from kit.store.choice import Choice, choice_of, keep_choice
from tests import cases
from tests.command import RECORDINGS, kit

EVIDENCE = RECORDINGS / "stolen_sa_token"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A case of one's own, in which the kit keeps what it works out."""
    monkeypatch.setenv(KIT_KEEP, "yes")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    worked_out._key.cache_clear()
    return cases.copied(tmp_path / "case", EVIDENCE)


@pytest.fixture
def no_scope(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function from which on nobody works out a scope."""

    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("a scope was worked out")

    return lambda: monkeypatch.setattr(Scope, "__init__", refuse)


def _all_of(path: Path) -> dict[str, Any]:
    """All that notebooks and commands ask of a case, as text."""
    case = Case(path)
    frames = {name: getattr(case, name) for name in ("subjects", "calls", "aws_calls", "limits", "identities", "sessions", "credentials", "let_in")}  # fmt: skip
    shown = [
        show.summary(case), show.findings(case), show.evidence(case), show.subjects(case, "pod"), show.subjects(case, "reachable"),
        show.deeds(case), show.calls(case), show.aws_calls(case), show.limits(case), show.cited(case), show.attack_path(case), show.timeline(case),
        answers.verdicts(case), answers.about(case, "belongs_together", "secrets_read"), identities.profiles(case), identities.sessions(case),
        show.new_kinds(case), lifetimes(case),
    ]  # fmt: skip
    types = {name: frame.dtypes.astype(str).to_dict() for name, frame in frames.items()}
    told = {"scope": case.scope, "brief": case.brief(NOW), "answers": case.answers_contract()}
    return {
        "frames": {name: frame.to_csv() for name, frame in frames.items()},
        "types": types,
        "html": [one.html for one in shown],
        "told": json.dumps(told, default=str),
        "of each finding": repr([case.answers(finding_id) for finding_id in case.findings["id"]]),
        "reach": repr((case.window, case.unrecorded, case.partial, case.first_hostile_at, case.no_incident)),
    }


def test_a_case_that_is_opened_again_does_no_scope_and_tells_the_same(
    case: Path, no_scope: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KIT_KEEP, "no")
    unkept = _all_of(case)
    assert not (case / WORKED_OUT).exists()
    monkeypatch.setenv(KIT_KEEP, "yes")
    first = _all_of(case)
    assert {oct(path.stat().st_mode)[-3:] for path in (case / WORKED_OUT).iterdir()} == {"600"}
    no_scope()
    assert _all_of(case) == first == unkept


def test_a_brief_is_made_again_when_the_evidence_is_judged_by_another_moment(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = max(row["end_at"] for row in Case(case).store.rows("SELECT end_at FROM coverage WHERE end_at IS NOT NULL"))
    moments = [ends + timedelta(minutes=number) for number in (1, 600, 1)]
    kept = [Case(case).brief(one) for one in moments]
    monkeypatch.setenv(KIT_KEEP, "no")
    assert kept == [Case(case).brief(one) for one in moments]


@pytest.mark.parametrize("change", ["mark", "window", "evidence", "kit", "finding mark"])
def test_what_does_not_fit_any_more_is_made_again(
    case: Path, change: str, no_scope: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Case(case)
    _ = opened.scope
    finding, start = str(opened.findings["id"].iloc[0]), ""
    if change == "mark":
        opened.mark(address=str(opened.calls["source_address"].iloc[0]), word="not-attacker")
    elif change == "finding mark":
        opened.mark(finding, "expected", "said the owner")
    elif change == "window":
        start = opened.calls["received_at"].iloc[3].isoformat()
    elif change == "kit":
        monkeypatch.setattr("kit.case.scoped.code_digest", lambda: "another")
    else:
        part = next((case / opened.store.settings.store).rglob("*.parquet"))
        os.utime(part, ns=(1, 1))
    no_scope()
    with pytest.raises(AssertionError, match="a scope was worked out"):
        _ = Case(case, start=start).scope


def test_nothing_is_believed_that_this_kit_did_not_write(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Case(case).scope
    for path in (case / WORKED_OUT).iterdir():
        code, _, text = path.read_bytes().partition(b"\n")
        read = json.loads(text)
        if isinstance(read, dict) and "findings" in read:
            path.write_bytes(code + b"\n" + json.dumps(read | {"findings": []}).encode())
    assert Case(case).scope == honest and honest["findings"]
    # What somebody else's kit wrote, whose key is another, counts no more than that.
    monkeypatch.setenv("XDG_CACHE_HOME", str(case.parent / "another home"))
    worked_out._key.cache_clear()
    before = {path.name: path.read_bytes() for path in (case / WORKED_OUT).iterdir()}
    assert Case(case).scope == honest
    assert any((case / WORKED_OUT / name).read_bytes() != text for name, text in before.items())


def test_a_kept_value_of_one_question_is_no_answer_to_another(tmp_path: Path, case: Path) -> None:
    kept = WorkedOut(tmp_path, lambda: {"evidence": "one"})
    assert kept.value("number", lambda: 1) == 1
    (path,) = (tmp_path / WORKED_OUT).iterdir()
    WorkedOut(tmp_path, lambda: {"evidence": "two"}).value("number", lambda: 2)
    (other,) = (one for one in (tmp_path / WORKED_OUT).iterdir() if one != path)
    path.replace(other)
    assert WorkedOut(tmp_path, lambda: {"evidence": "two"}).value("number", lambda: 2) == 2


@pytest.mark.parametrize("hindrance", ["a link", "a file", "no home", "a pipe"])
def test_a_case_that_cannot_be_written_to_works_without(
    case: Path, hindrance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = case.parent / "outside"
    if hindrance == "a link":
        outside.mkdir()
        (case / WORKED_OUT).symlink_to(outside)
    elif hindrance == "a file":
        (case / WORKED_OUT).write_text("")
    elif hindrance == "no home":
        outside.write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(outside / "below a file"))
        worked_out._key.cache_clear()
    else:
        _ = Case(case).scope
        for path in list((case / WORKED_OUT).iterdir()):
            path.unlink()
            os.mkfifo(path)
    assert Case(case).scope["findings"]
    assert not outside.is_dir() or not list(outside.iterdir())


def test_a_plan_reads_nothing_that_was_kept_and_a_refused_apply_writes_nothing(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("what was kept was asked for")

    opening._opened.clear()
    monkeypatch.setattr(WorkedOut, "value", refuse)
    for arguments in (["plan", str(case)], ["plan", str(case), "--json"]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
    before = sorted(case.rglob("*"))
    done = CliRunner().invoke(main, ["apply", str(case), "--approve", "0" * 64])
    assert done.exit_code == 2, done.output
    assert sorted(case.rglob("*")) == before


def test_too_much_is_not_kept(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worked_out, "_MOST_OF_ALL", 3000)
    kept = WorkedOut(case, dict)
    for number in range(10):
        assert kept.value(f"number {number}", lambda number=number: [number] * 300) == [number] * 300  # type: ignore[misc]
    assert sum(path.stat().st_size for path in (case / WORKED_OUT).iterdir()) <= 3000


def test_a_choice_is_made_once_for_all_notebooks_and_checked_when_it_is_read(case: Path) -> None:
    opened = Case(case)
    finding = str(opened.findings["id"].iloc[1])
    keep_choice(case, Choice(finding=finding))
    assert list(lab.as_chosen(opened).findings["id"]) == [finding]
    other = Case(case, finding=str(opened.findings["id"].iloc[0]))
    assert lab.as_chosen(other) is other  # what was given counts before what is kept
    for text in ('{"finding": "no such finding"}', '{"start": 3}', '{"more": ""}', "[" * 3000, "\0"):
        (case / "choice.json").write_text(text)
        assert lab.as_chosen(opened) is opened
        if "no such" not in text:
            with pytest.raises(CaseError, match="no choice of this kit"):
                choice_of(case)


def test_the_headless_run_shows_no_picker_and_follows_no_choice(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Case(case)
    keep_choice(case, Choice(finding=str(opened.findings["id"].iloc[1])))
    monkeypatch.setenv(HEADLESS, "1")
    assert lab.as_chosen(opened) is opened


def test_a_mark_in_a_notebook_is_said_and_asked_before_it_is_written(case: Path) -> None:
    opened = Case(case)
    address = str(opened.calls["source_address"].iloc[0])
    about, *_, which, word, note, ask, _area, sure = lab.mark(opened).children
    about.value, which.value, word.value, note.value = "address", address, "not-attacker", "the office"
    ask.click()
    assert sure.layout.display == "" and not (case / "marks.jsonl").exists()
    write, cancel = sure.children
    cancel.click()
    assert sure.layout.display == "none" and not (case / "marks.jsonl").exists()
    ask.click()
    write.click()
    (made,) = opened.marks
    assert (made.about, made.word, made.note) == (f"source_ip:{address}", "not-attacker", "the office")


def test_a_row_that_was_tagged_in_a_notebook_stands_in_the_report_with_its_record(case: Path) -> None:
    opened = Case(case)
    row = str(opened.calls["ref"].iloc[-1])
    ref, _area, tagging, _said, sure = lab.record_box(opened).children
    assert tagging.layout.display == "none"
    ref.value = row
    assert tagging.layout.display == ""
    tag, ask = tagging.children
    write, cancel = sure.children
    tag.value = "<b>ours</b>, by night"
    ask.click()
    cancel.click()
    assert sure.layout.display == "none" and not opened.notes
    ask.click()
    write.click()
    (made,) = opened.notes
    assert (made.text, made.ref) == ("<b>ours</b>, by night", row)
    told = steps.done(Case(case)).html
    assert "&lt;b&gt;ours&lt;/b&gt;, by night" in told and f'href="#{anchor(row)}"' in told
    assert row in cited_refs(Case(case))


def test_the_plan_in_a_notebook_is_saved_as_the_command_saves_it_and_applied_by_its_digest_alone(case: Path) -> None:
    opened = Case(case)
    *boxes, _keep, _responder, make, _planned, digest, buttons, _came, _journal = remediation.remediation(
        opened
    ).children
    preview, apply, _check, _sure, undo = buttons.children
    assert not (case / "plan.json").exists() and apply.disabled and undo.disabled and preview.disabled
    boxes[0].value = False
    make.click()
    left_out = saved_plan(case)[1]["without"]
    assert len(left_out) == 1
    assert saved_plan(case)[0] == opened.plan(without=left_out).plan
    digest.value = "0" * 64
    assert apply.disabled and not (case / "journal.jsonl").exists()
    digest.value = saved_plan(case)[0].digest
    assert not apply.disabled
    assert kit("plan", case, "--without", left_out[0], "--json").returncode == 0
    assert saved_plan(case)[0].digest == digest.value
