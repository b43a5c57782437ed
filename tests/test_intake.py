"""From evidence to the store: nothing lost, all accounted for, and to be gone on with after a crash."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import signal
import stat
import subprocess
import time
import zipfile
from pathlib import Path

import duckdb
import pytest

from kit.evidence.raw import Raw
from kit.store.parquet import connect
from kit.store.store import Store
from tests.command import KIT, RECORDINGS, kit, kit_json

RECORDING = RECORDINGS / "stolen_sa_token"
FIELDS = [
    "path",
    "sha256",
    "bytes",
    "taken_as",
    "records",
    "rows",
    "duplicates",
    "rejects",
    "first_at",
    "last_at",
    "note",
    "odd",
    "unread",
]


def test_the_ledger_accounts_for_every_file(tmp_path: Path) -> None:
    printed = kit_json("new", tmp_path / "case", RECORDING)
    assert printed["case"] == str(tmp_path / "case")
    for entry in printed["files"]:
        assert list(entry) == FIELDS
        assert entry["rows"] + entry["duplicates"] + entry["rejects"] == entry["records"]
        source = RECORDING.parent / entry["path"]
        assert entry["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert entry["bytes"] == source.stat().st_size
    taken = {entry["path"].split("/", 1)[1]: entry["taken_as"] for entry in printed["files"]}
    assert taken["audit.jsonl.gz"] == "Kubernetes audit log"
    assert taken["cloudtrail.json.gz"] == "CloudTrail"
    assert taken["findings.json"] == "GuardDuty findings"
    assert taken["cluster/pods.json"] == "cluster dump"
    assert taken["aws/ec2-describe-instances.json"] == "AWS description"
    assert taken["ground_truth.json"] is None
    assert len(taken) == sum(path.is_file() for path in RECORDING.rglob("*"))


def test_evidence_is_kept_as_it_came_and_read_only(case: Path) -> None:
    kept = case / "evidence" / RECORDING.name / "findings.json"
    assert kept.read_bytes() == (RECORDING / "findings.json").read_bytes()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    assert not (case / "evidence" / RECORDING.name / "ground_truth.json").exists()


def test_every_row_leads_back_to_its_text(case: Path) -> None:
    store = Store(case)
    for table, column, member in (
        ("audit", "audit_id", "auditID"),
        ("trail", "event_id", "eventID"),
        ("findings", "id", "Id"),
    ):
        for row in store.rows(f"SELECT {column} AS key, file, line, item FROM {table} USING SAMPLE 5 (reservoir, 1)"):
            assert json.loads(Raw(case).text(row["file"], row["item"]))[member] == row["key"]


def test_the_same_events_twice_are_counted_and_kept_once(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDING, evidence)
    lines = gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    (evidence / "again.jsonl").write_bytes(b"".join(lines))
    ledger = {entry["path"]: entry for entry in kit_json("new", tmp_path / "case", evidence)["files"]}
    first, again = ledger["evidence/again.jsonl"], ledger["evidence/audit.jsonl.gz"]
    assert first["rows"] + again["rows"] == len(lines)
    assert first["duplicates"] + again["duplicates"] == len(lines)
    once = kit_json("new", tmp_path / "once", RECORDING)
    assert once
    scopes = [kit_json("scope", tmp_path / name)["findings"] for name in ("case", "once")]
    assert scopes[0] == scopes[1]


def test_standard_input_and_globs(tmp_path: Path) -> None:
    log = (RECORDING / "audit.jsonl.gz").read_bytes()
    printed = kit_json("new", tmp_path / "case", "-", RECORDING / "find*.json", stdin=log)
    assert [entry["path"] for entry in printed["files"]] == ["stdin", "findings-runtime.json", "findings.json"]
    assert printed["files"][0]["taken_as"] == "Kubernetes audit log"


def test_files_of_one_name_from_two_places(tmp_path: Path) -> None:
    other = RECORDINGS / "vanished_deployment" / "findings.json"
    printed = kit_json("new", tmp_path / "case", RECORDING / "findings.json", other)
    assert [entry["path"] for entry in printed["files"]] == ["findings.json", "2-findings.json"]


def test_the_cluster_is_said_or_asked_for(tmp_path: Path) -> None:
    log = RECORDING / "audit.jsonl.gz"
    unknown = kit("new", tmp_path / "unknown", log)
    assert "The cluster is unknown: no evidence names it" in unknown.stderr and "--cluster NAME" in unknown.stderr
    named = kit("new", tmp_path / "named", log, "--cluster", "prod")
    assert "unknown" not in named.stderr
    assert Store(tmp_path / "named").rows("SELECT DISTINCT cluster FROM audit") == [{"cluster": "prod"}]


def test_a_load_that_was_killed_at_any_moment_is_gone_on_with(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDING, evidence / "logs")
    with zipfile.ZipFile(evidence / "more.zip", "w") as more:
        for path in sorted((RECORDINGS / "vanished_deployment").glob("*.gz")):
            more.write(path, path.name)
    assert kit("new", tmp_path / "whole", evidence).returncode == 0
    whole, chance, killed = _content(tmp_path / "whole"), random.Random(7), 0
    while killed < 20:
        process = subprocess.Popen(
            [KIT, "new", tmp_path / "case", evidence], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.3, 1.8))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "case").exists():
            assert _content(tmp_path / "case") == whole
            shutil.rmtree(tmp_path / "case")
    if not (tmp_path / "case").exists():
        assert kit("new", tmp_path / "case", evidence).returncode == 0
    assert _content(tmp_path / "case") == whole
    assert not (tmp_path / "case.partial").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe not text", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"kind": "Pod"}', "not an audit event"),
        (b'{"kind": "Event", "auditID": "a"}', "requestReceivedTimestamp is missing"),
        (b'{"kind": "Event", "auditID": "a", "requestReceivedTimestamp": 17672256}', "not a time"),
        (b'{"kind": "Event", "auditID": "a", "timestamp": "today", "stageTimestamp": "x"}', "not a time"),
        (b'{"kind": "Event", "apiVersion": "v1", "involvedObject": {}}', "auditID is missing"),
        (b'{"verb": "get", "x": 1}', "kind is missing"),
        (b'{"protoPayload": {"methodName": "io.k8s.core.v1.pods.list"}}', "Google Cloud"),
        (b'{"category": "kube-audit", "properties": {"log": "{}"}}', "Azure"),
        (b'{"_ResourceId": "/subscriptions/1/x", "Verb": "get"}', "Azure"),
        (b'{"kind": "Event", "auditID": "a", "auditID": "b"}', "duplicate key"),
        (b'{"kind": "Event", "auditID": "a", "sourceIPs": "192.0.2.1"}', "requestReceivedTimestamp is missing"),
        (b'{"kind": "Event", "user": {"username": "a', "not JSON"),
        (b'{"a":' * 2000, "not JSON"),
    ],
)
def test_a_bad_line_costs_itself_only(tmp_path: Path, line: bytes, reason: str) -> None:
    lines = gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()[:50]
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"\r\n".join([*lines[:20], b"", line, *lines[20:]]))
    (entry,) = kit_json("new", tmp_path / "case", log)["files"]
    assert (entry["records"], entry["rows"], entry["rejects"]) == (51, 50, 1)
    (reject,) = Store(tmp_path / "case").rows("SELECT file, line, reason, raw FROM rejects")
    assert reason in reject["reason"]
    assert (reject["file"], reject["line"]) == ("audit.jsonl", 22)
    assert len(reject["raw"]) <= 200


def test_a_silent_log_has_a_gap(tmp_path: Path) -> None:
    lines = gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()
    late = [line.replace(b"T16:2", b"T18:2") for line in lines]
    (tmp_path / "audit.jsonl").write_bytes(b"\n".join(lines + late))
    kit_json("new", tmp_path / "case", tmp_path / "audit.jsonl")
    spans = Store(tmp_path / "case").rows("SELECT state FROM coverage ORDER BY start_at")
    assert [span["state"] for span in spans] == ["recorded", "gap", "recorded"]


def _content(case: Path) -> dict[str, object]:
    database = connect()
    found: dict[str, object] = {"ledger": json.loads((case / "store" / "ledger.json").read_text())}
    for part in sorted((case / "store").rglob("*.parquet")):
        found[str(part.relative_to(case))] = _rows(database, part)
    found["evidence"] = sorted(str(path.relative_to(case)) for path in (case / "evidence").rglob("*") if path.is_file())
    return found


def _rows(database: duckdb.DuckDBPyConnection, part: Path) -> list[object]:
    table = database.sql(f"SELECT * FROM read_parquet('{part}') ORDER BY ALL").to_arrow_table()
    return list(table.to_pylist())
