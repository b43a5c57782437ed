"""Evidence added to a case: the same store as if all had been there at once, whatever happens on the way."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from kit.store.store import Store
from tests import cases
from tests.command import KIT, RECORDINGS, kit, kit_json

RECORDING = RECORDINGS / "stolen_sa_token"


def scope(case: Path) -> Any:
    return kit_json("scope", case)["findings"]


def evidence(folder: Path, *names: str) -> Path:
    made = folder / RECORDING.name
    made.mkdir(parents=True)
    for name in names:
        source = RECORDING / name
        shutil.copytree(source, made / name) if source.is_dir() else shutil.copy(source, made / name)
    return made


def test_a_case_grown_by_parts_has_the_scope_of_the_whole(tmp_path: Path) -> None:
    first = evidence(tmp_path / "first", "audit.jsonl.gz", "cluster")
    says = kit("new", tmp_path / "case", first)
    assert "The cluster is unknown" in says.stderr
    later = kit_json("add", tmp_path / "case", RECORDING / "findings.json", RECORDING / "cloudtrail.json.gz")["files"]
    assert [entry["taken_as"] for entry in later] == ["GuardDuty findings", "CloudTrail"]
    added = kit("add", tmp_path / "case", RECORDING / "findings-runtime.json", RECORDING / "aws")
    assert (added.returncode, "unknown" in added.stderr) == (0, False)
    kit_json("new", tmp_path / "whole", *(RECORDING / name for name in ("audit.jsonl.gz", "cluster", "findings.json", "findings-runtime.json", "cloudtrail.json.gz", "aws")))  # fmt: skip
    grown, whole = (json.dumps(scope(tmp_path / name)) for name in ("case", "whole"))
    assert grown == whole
    clusters = Store(tmp_path / "case").rows("SELECT DISTINCT cluster AS c FROM audit")
    assert clusters == Store(tmp_path / "whole").rows("SELECT DISTINCT cluster AS c FROM audit") != [{"c": None}]


def test_what_the_case_has_is_left_out(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDING)
    before = _content(tmp_path / "case")
    again = kit_json("add", tmp_path / "case", RECORDING)["files"]
    taken = [entry for entry in again if entry["taken_as"]]
    assert taken == []
    assert {entry["note"].partition(",")[0] for entry in again} >= {"not taken: the case has it already"}
    assert _content(tmp_path / "case") == before


def test_the_same_events_in_another_file_are_duplicates_of_the_older(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDING / "audit.jsonl.gz")
    (copy,) = kit_json("add", tmp_path / "case", "-", stdin=b"\n" + _lines())["files"]
    assert copy["duplicates"] == copy["records"] > 0
    files = Store(tmp_path / "case").rows("SELECT DISTINCT file FROM audit")
    assert files == [{"file": "audit.jsonl.gz"}]


def _lines() -> bytes:
    import gzip

    return gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes())


def test_adding_to_what_is_no_case_is_refused(tmp_path: Path) -> None:
    done = kit("add", tmp_path / "none", RECORDING)
    assert done.returncode == 2 and "not a case of this kit" in done.stderr
    cases.copied(tmp_path / "case", RECORDING / "findings.json")
    done = kit("add", tmp_path / "case", tmp_path / "nothing")
    assert done.returncode == 2 and "no such file" in done.stderr
    assert not [path for path in (tmp_path / "case").iterdir() if path.name in ("in-work", "inputs.json", "spill")]


def test_an_addition_that_was_killed_changes_nothing_until_it_is_done(tmp_path: Path) -> None:
    first = evidence(tmp_path / "first", "findings.json", "cluster")
    kit_json("new", tmp_path / "case", first)
    shutil.copytree(tmp_path / "case", tmp_path / "whole")
    kit_json("add", tmp_path / "whole", RECORDING)
    before, chance = scope(tmp_path / "case"), random.Random(11)
    for number in range(8):
        process = subprocess.Popen(
            [KIT, "add", tmp_path / "case", RECORDING], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.2, 1.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if number == 3:
            assert scope(tmp_path / "case") in (before, scope(tmp_path / "whole"))
    kit_json("add", tmp_path / "case", RECORDING)
    assert _content(tmp_path / "case") == _content(tmp_path / "whole")


def test_an_addition_that_was_given_up_gives_way_to_another(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDING / "findings.json")
    process = subprocess.Popen(
        [KIT, "add", tmp_path / "case", RECORDING], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list((tmp_path / "case").glob("store/loaded/*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kit_json("add", tmp_path / "case", RECORDING / "cloudtrail.json.gz")
    tables = {
        table: len(Store(tmp_path / "case").rows(f"SELECT 1 FROM {table}")) for table in ("audit", "trail", "objects")
    }
    if (tmp_path / "case" / "evidence" / RECORDING.name / "aws").exists() and tables["audit"]:
        return  # it was faster than the signal
    assert tables["audit"] == tables["objects"] == 0 < tables["trail"]


KILLED = """
import os, signal, sys
import kit.evidence.intake
from kit.cli.main import main

def killed(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(eval(sys.argv.pop(1)), sys.argv.pop(1), killed)
sys.exit(main())
"""


def killed_at(place: str, name: str, *arguments: str | Path, stdin: bytes | None = None) -> None:
    """Run kit and kill it where it calls a function."""
    command = [sys.executable, "-c", KILLED, place, name, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_call_that_was_killed_before_the_case_had_its_name_loses_nothing(tmp_path: Path) -> None:
    killed_at("kit.evidence.intake.Path", "rename", "new", tmp_path / "case", "-", stdin=_lines())
    again = kit_json("new", tmp_path / "case", "-", stdin=_lines())["files"]
    kit_json("new", tmp_path / "whole", "-", stdin=_lines())
    assert _content(tmp_path / "case") == _content(tmp_path / "whole")
    assert (tmp_path / "case" / "evidence" / "stdin").read_bytes() == _lines() and again[0]["rows"] > 0


def test_what_an_addition_left_that_was_given_up_is_in_nobodys_way(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDING / "findings.json")
    (tmp_path / "logs").write_bytes(_lines())
    killed_at("kit.evidence.intake", "load", "add", tmp_path / "case", tmp_path / "logs")
    shutil.copytree(RECORDING / "cluster", tmp_path / "other" / "logs")
    kit_json("add", tmp_path / "case", tmp_path / "other" / "logs")
    there = {path.name for path in (tmp_path / "case" / "evidence").iterdir()}
    assert there == {"findings.json", "logs"} and (tmp_path / "case" / "evidence" / "logs").is_dir()
    killed_at("kit.evidence.intake", "write_coverage", "add", tmp_path / "case", tmp_path / "logs")
    kit_json("add", tmp_path / "case", RECORDING / "cloudtrail.json.gz")
    assert {path.name for path in (tmp_path / "case" / "evidence").iterdir()} == {"findings.json", "logs", "cloudtrail.json.gz"}  # fmt: skip
    assert not Store(tmp_path / "case").rows("SELECT 1 FROM audit")


def test_what_somebody_else_put_beside_the_evidence_stays(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDING / "findings.json")
    killed_at("kit.evidence.intake", "load", "add", tmp_path / "case", RECORDING / "cluster")
    mine = tmp_path / "case" / "evidence" / "mine.jsonl"
    mine.write_bytes(_lines())
    kit_json("add", tmp_path / "case", RECORDING / "cloudtrail.json.gz")
    assert mine.read_bytes() == _lines() and not (tmp_path / "case" / "evidence" / "cluster").exists()


def test_an_archive_of_nothing_readable_leaves_the_tables_as_they_are(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDING)
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as made:
        made.writestr("notes.txt", "call me")
    parts = {path: path.stat().st_ino for path in (tmp_path / "case" / "store").rglob("*.parquet")}
    for _ in range(2):
        added = kit("add", tmp_path / "case", tmp_path / "notes.zip")
        assert added.returncode == 0, added.stderr
    assert {path: path.stat().st_ino for path in (tmp_path / "case" / "store").rglob("*.parquet")} == parts
    ledger = [(entry["path"], entry["note"]) for entry in Store(tmp_path / "case").ledger if "notes" in entry["path"]]
    assert ledger == [("notes.zip", "1 files in it"), ("notes.zip/notes.txt", "not taken: no reader knows this kind of file")]  # fmt: skip


def _content(case: Path) -> dict[str, Any]:
    store = Store(case)
    names = ("audit", "trail", "objects", "finding_versions", "rejects", "coverage")
    rows = {name: store.rows(f"SELECT * FROM {name} ORDER BY ALL") for name in names}
    return {**rows, "ledger": store.ledger, "case.toml": (case / "case.toml").read_text()}
