"""Evidence added to a case: the same store as if all had been there at once, whatever happens on the way."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from kit.store import Store
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
    kit_json("new", tmp_path / "case", RECORDING)
    before = _content(tmp_path / "case")
    again = kit_json("add", tmp_path / "case", RECORDING)["files"]
    taken = [entry for entry in again if entry["taken_as"]]
    assert taken == []
    assert {entry["note"].partition(",")[0] for entry in again} >= {"not taken: the case has it already"}
    assert _content(tmp_path / "case") == before


def test_the_same_events_in_another_file_are_duplicates_of_the_older(tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", RECORDING / "audit.jsonl.gz")
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
    kit_json("new", tmp_path / "case", RECORDING / "findings.json")
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
    kit_json("new", tmp_path / "case", RECORDING / "findings.json")
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


def _content(case: Path) -> dict[str, Any]:
    store = Store(case)
    names = ("audit", "trail", "objects", "finding_versions", "rejects", "coverage")
    rows = {name: store.rows(f"SELECT * FROM {name} ORDER BY ALL") for name in names}
    return {**rows, "ledger": store.ledger, "case.toml": (case / "case.toml").read_text()}
