"""Each bad input gets one clear sentence, exit code 2, no traceback and no half-made case."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit.errors import EvidenceError
from kit.evidence import gather
from kit.evidence.intake import load_new_case
from kit.whole_file import write_whole
from tests.cases import copied
from tests.command import KIT, RECORDINGS, kit, kit_json, told

RECORDING = RECORDINGS / "stolen_sa_token"
CUT_EVENT = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata"\n{"apiVersion":"audit.k8s.io/v1"x\n'


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("findings.json", b"", "the file is empty"),
        ("blank.jsonl", b" \n\n", "the file is empty"),
        ("disk.img", bytes(range(256)) * 20, "binary"),
        ("findings.json", b"<!DOCTYPE html><html>Sign in</html>", "HTML"),
        ("audit.jsonl", CUT_EVENT.encode(), "audit.jsonl:1: not JSON"),
        ("notes.txt", b"call the platform team\n", "no reader knows this kind of file"),
        ("other.json", b'{"hello": "world"}', "JSON, but none of the kinds"),
        ("ids.json", b'{"FindingIds": ["a1", "b2"]}', "aws guardduty get-findings"),
        ("none.json", b'{"Findings": []}', "holds no record"),
        ("cut.gz", gzip.compress(b'{"Findings": [', mtime=0)[:-12], "cut.gz"),
    ],
)
def test_evidence_of_which_nothing_can_be_taken(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = kit("new", tmp_path / "case", tmp_path / name)
    _refused(done, says, name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_file(tmp_path: Path) -> None:
    _refused(kit("new", tmp_path / "case", tmp_path / "findings.json"), "no such file or folder", "findings.json")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    _refused(kit("new", tmp_path / "case", tmp_path / "evidence"), "no file in there", "evidence")


def test_a_case_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "mine.txt").write_text("keep")
    _refused(kit("new", tmp_path / "case", RECORDING), "exists already", "case")
    assert (tmp_path / "case" / "mine.txt").read_text() == "keep"


def test_nothing_on_standard_input(tmp_path: Path) -> None:
    _refused(kit("new", tmp_path / "case", "-", stdin=b""), "the file is empty", "stdin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--start", "2026-01-02T00:00:00Z", "--end", "2026-01-01T00:00:00Z"), "--start, --end: the window"),
        (("--start", "2026-01-02T00:00:00Z", "--end", "2026-01-02T00:00:00Z"), "is empty"),
        (("--start", "yesterday"), "--start: 'yesterday' is not a time"),
        (("--finding", "nope"), "--finding: this case has no finding 'nope'"),
    ],
)
@pytest.mark.parametrize("command", ["findings", "scope", "report"])
def test_a_wrong_choice(case: Path, command: str, options: tuple[str, ...], says: str) -> None:
    _refused(kit(command, case, *options), says)


def test_an_unknown_finding_shows_the_known_ones(case: Path) -> None:
    known = [row["id"] for row in kit_json("findings", case)["findings"]]
    said = kit("scope", case, "--finding", "nope").stderr
    assert known
    assert all(finding_id in said for finding_id in known)


@pytest.mark.parametrize("command", ["findings", "scope", "report"])
def test_no_case(tmp_path: Path, command: str) -> None:
    _refused(kit(command, tmp_path / "nocase"), "no such case", "kit new")


def test_a_full_disk_leaves_a_case_that_the_same_command_finishes(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    call: list[str | Path] = [KIT, "new", tmp_path / "case", RECORDING]
    full = subprocess.run(call, capture_output=True, text=True, preexec_fn=small_files, check=False)
    _refused(full, "cannot be written", "case.partial")
    assert [path.name for path in tmp_path.iterdir()] == ["case.partial"]
    assert kit("new", tmp_path / "case", RECORDING).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_a_plan_that_cannot_be_saved_is_shown_and_fails(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    case = copied(tmp_path / "case", RECORDING)
    full = subprocess.run(
        [KIT, "plan", case], capture_output=True, text=True, preexec_fn=small_files, check=False
    )  # fmt: skip
    assert (full.returncode, full.stdout[:1]) == (1, "#"), full.stderr
    assert "the plan cannot be saved" in full.stderr and "Traceback" not in full.stderr
    assert not (case / "plan.json").exists()


def test_two_that_write_one_file_wait_for_each_other(tmp_path: Path) -> None:
    texts = [letter * 3_000_000 for letter in "abcdef"]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: write_whole(tmp_path / "plan.json", text), texts))
    assert (tmp_path / "plan.json").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_what_a_case_folder_had_ready_is_not_written_through(tmp_path: Path, kind: str) -> None:
    mine, ready = tmp_path / "mine", tmp_path / "plan.json.writing"
    mine.write_text("keep")
    if kind == "link":
        ready.symlink_to(mine)
    elif kind == "second name":
        ready.hardlink_to(mine)
    else:
        os.mkfifo(ready)
    try:
        write_whole(tmp_path / "plan.json", "new")
    except OSError:
        assert not (tmp_path / "plan.json").exists()
    assert mine.read_text() == "keep"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    _refused(kit("new", closed / "case", RECORDING), "cannot be written", "case.partial")


def test_a_place_where_no_folder_can_be_made() -> None:
    _refused(kit("new", "/proc/nowhere/case", RECORDING), "cannot be written", "/proc/nowhere/case.partial")


def test_damage_beside_good_files_stands_in_the_ledger(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDING, evidence)
    log = evidence / "audit.jsonl.gz"
    log.write_bytes(log.read_bytes()[:200_000])
    (evidence / "saved.html").write_text("<html>sign in</html>")
    ledger = {entry["path"]: entry for entry in kit_json("new", tmp_path / "case", evidence)["files"]}
    cut = ledger["evidence/audit.jsonl.gz"]
    assert cut["rows"] > 500
    assert cut["rejects"] == 1
    assert "cut" in cut["note"]
    assert ledger["evidence/saved.html"]["taken_as"] is None
    assert ledger["evidence/saved.html"]["note"].startswith("not taken: this is HTML")


def test_links_out_of_the_evidence_are_not_followed(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDING, evidence)
    (evidence / "findings-more.json").symlink_to("/etc/passwd")
    ledger = {entry["path"]: entry for entry in kit_json("new", tmp_path / "case", evidence)["files"]}
    assert ledger["evidence/findings-more.json"]["note"] == "not taken: a symbolic link"
    assert not (tmp_path / "case" / "evidence" / "evidence" / "findings-more.json").exists()


def test_another_evidence_does_not_mix_into_an_unfinished_case(tmp_path: Path) -> None:
    (tmp_path / "case.partial").mkdir()
    (tmp_path / "case.partial" / "inputs.json").write_text('{"cluster": null, "evidence": [["x", "x"]]}')
    _refused(kit("new", tmp_path / "case", RECORDING), "begun with other evidence", "case.partial")


def _refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(told(done)) == 1
    for words in says:
        assert words in done.stderr


def test_a_link_to_itself_stands_in_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "loop").symlink_to("loop")
    shutil.copy(RECORDING / "findings.json", tmp_path / "evidence")
    files = {entry["path"]: entry for entry in kit_json("new", tmp_path / "case", tmp_path / "evidence")["files"]}
    assert files["evidence/loop"]["note"] == "not taken: a symbolic link"
    assert files["evidence/findings.json"]["rows"] > 0
    _refused(kit("new", tmp_path / "other", tmp_path / "evidence" / "loop"), "no such file or folder", "loop")


@pytest.mark.parametrize("nested", ["[" * 2_000_000, '{"a":' * 100_000, "[" * 500_000 + "]" * 500_000])
def test_a_file_that_is_nothing_but_brackets_takes_no_square_of_the_time(tmp_path: Path, nested: str) -> None:
    (tmp_path / "deep.json").write_text(nested)
    started = time.process_time()
    _refused(kit("new", tmp_path / "case", tmp_path / "deep.json"), "deep.json", "JSON")
    assert time.process_time() - started < 30  # seconds; it took a day of them


def test_too_many_files_are_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_FILES", 3)
    (tmp_path / "evidence").mkdir()
    for number in range(4):
        (tmp_path / "evidence" / f"{number}.json").write_text("{}")
    with pytest.raises(EvidenceError, match=r"more than 3 files.* join small files first"):
        load_new_case(tmp_path / "case", [str(tmp_path / "evidence")])
