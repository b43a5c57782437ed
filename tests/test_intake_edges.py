"""The way in at its edges: names that other programs would read as patterns, things that change, streams that break, crowds."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from kit.evidence import gather
from kit.evidence.intake import load_new_case
from kit.store.store import Store
from tests.command import KIT, RECORDINGS, kit, kit_json, told

RECORDING = RECORDINGS / "stolen_sa_token"
LINES = gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines(keepends=True)


def ledger(case: Path, *evidence: str | Path, **more: Any) -> dict[str, dict[str, Any]]:
    """The ledger of a new case, by path; every record is accounted for."""
    entries = kit_json("new", case, *evidence, **more)["files"]
    for entry in entries:
        assert entry["rows"] + entry["duplicates"] + entry["rejects"] == entry["records"]
        assert min(entry["rows"], entry["duplicates"], entry["rejects"]) >= 0
    return {entry["path"]: entry for entry in entries}


def reservation(*instances: str) -> dict[str, Any]:
    return {"OwnerId": "111122223333", "Instances": [{"InstanceId": one} for one in instances]}


def test_instances_of_one_reservation_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"Reservations": [reservation("i-1")]}))
    (tmp_path / "b.json").write_text(json.dumps({"Reservations": [reservation("i-1", "i-2", "i-2")]}))
    found = ledger(tmp_path / "case", tmp_path / "a.json", tmp_path / "b.json")
    assert (found["b.json"]["rows"], found["b.json"]["duplicates"]) == (1, 2)
    names = Store(tmp_path / "case").rows("SELECT name FROM objects ORDER BY name")
    assert [row["name"] for row in names] == ["i-1", "i-2"]


def test_names_that_would_be_patterns_are_names(tmp_path: Path) -> None:
    folder = tmp_path / "user=mallory" / "~" / "verb=get"
    folder.mkdir(parents=True)
    (folder / "audit1.jsonl").write_bytes(b"".join(LINES[:50]))
    (folder / "audit[12].jsonl").write_bytes(b"".join(LINES[50:100]))
    (folder / "audit*.jsonl").write_bytes(b"".join(LINES[100:150]))
    for name in ("cluster=prod", "case[1]", "~case", "it's"):
        case = tmp_path / name / "case"
        case.parent.mkdir()
        found = ledger(case, tmp_path / "user=mallory", "--cluster", "real")
        assert [entry["rows"] for entry in found.values()] == [50, 50, 50]
        store = Store(case)
        assert store.rows("SELECT count(DISTINCT audit_id) AS n, min(cluster) AS c FROM audit") == [
            {"n": len({json.loads(line)["auditID"] for line in LINES[:150]}), "c": "real"}
        ]
        assert {row["verb"] for row in store.rows("SELECT DISTINCT verb FROM audit")} > {"get"}


def test_names_that_are_no_text_and_names_that_are_too_long(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/lo\xffg")
    Path(odd).mkdir()
    Path(odd, "audit.jsonl").write_bytes(b"".join(LINES[:20]))
    (entry,) = ledger(tmp_path / "named", odd).values()
    assert entry["path"] == "lo\\xffg/audit.jsonl"
    (entry,) = ledger(Path(odd, "case"), Path(odd, "audit.jsonl")).values()
    assert entry["rows"] == 20
    (tmp_path / ("a" * 251)).write_bytes(b"".join(LINES[:20]))
    (entry,) = ledger(tmp_path / "long", tmp_path / ("a" * 251)).values()
    assert entry["rows"] == 20
    for call in (
        ("c", tmp_path / ("b" * 300)),
        (tmp_path / ("c" * 250), RECORDING),
        (tmp_path / ("c" * 300), RECORDING),
    ):
        done = kit("new", *call, cwd=tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_a_file_and_a_folder_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "audit").mkdir(parents=True)
    (tmp_path / "a" / "audit").write_bytes(b"".join(LINES[:20]))
    (tmp_path / "b" / "audit" / "log").write_bytes(b"".join(LINES[20:40]))
    found = ledger(tmp_path / "case", tmp_path / "a" / "audit", tmp_path / "b" / "audit")
    assert list(found) == ["audit", "2-audit/log"]


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "case.partial").mkdir()
    (tmp_path / "case.partial" / "mine").write_text("keep")
    for evidence in (RECORDING, Path(__file__)):
        done = kit("new", tmp_path / "case", evidence)
        assert done.returncode == 2 and "is in the way" in done.stderr
    assert (tmp_path / "case.partial" / "mine").read_text() == "keep"
    assert not (tmp_path / "case").exists()


def test_a_link_that_leads_nowhere_is_no_free_name(tmp_path: Path) -> None:
    (tmp_path / "case").symlink_to(tmp_path / "nowhere")
    assert "exists already" in kit("new", tmp_path / "case", RECORDING).stderr


def _cut_off(case: Path, *evidence: Path, cwd: Path | None = None) -> None:
    """Begin a case and stop when it has begun to load."""
    process = subprocess.Popen(
        [KIT, "new", case, *evidence], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=cwd
    )
    while process.poll() is None and not list(case.with_name(case.name + ".partial").glob("store/loaded/*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_evidence_that_changed_since_does_not_mix_into_an_unfinished_case(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    (evidence / "a.jsonl").write_bytes(b"".join(LINES[:500]))
    for name in "bcdefgh":
        (evidence / f"{name}.jsonl").write_bytes(b"".join(LINES))
    _cut_off(tmp_path / "case", evidence)
    if (tmp_path / "case").exists():
        pytest.skip("it was faster than the signal")
    (evidence / "a.jsonl").write_text("now a note\n")
    done = kit("new", tmp_path / "case", evidence)
    assert done.returncode == 2 and "has changed since" in done.stderr


def test_the_folder_of_the_case_may_be_the_evidences(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(LINES))
    _cut_off(tmp_path / "case", Path(), cwd=tmp_path)
    if not (tmp_path / "case").exists():
        assert kit("new", "case", ".", cwd=tmp_path).returncode == 0
    entries = Store(tmp_path / "case").ledger
    assert [Path(entry["path"]).name for entry in entries] == [f"{name}.jsonl" for name in "abcdefgh"]


def test_two_calls_do_not_work_on_one_case_at_once(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(LINES))
    calls = [
        subprocess.Popen([KIT, "new", tmp_path / "case", *sorted(tmp_path.glob("*.jsonl"))], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]  # fmt: skip
    said = [call.communicate()[1] for call in calls]
    assert sorted(call.returncode for call in calls) == [0, 2], said
    assert not any("Traceback" in each for each in said)


def test_folders_that_are_links_or_closed_stand_in_the_ledger(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    (evidence / "real").mkdir(parents=True)
    (evidence / "real" / "a.jsonl").write_bytes(b"".join(LINES[:20]))
    (evidence / "linked").symlink_to(evidence / "real")
    found = ledger(tmp_path / "case", evidence)
    assert found["evidence/linked"]["note"] == "not taken: a symbolic link"


def _nested(folder: Path, depth: int, name: str) -> None:
    """Folders in each other, also where their path is longer than the system opens."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inside = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inside
    with os.fdopen(os.open("audit.jsonl", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(b"".join(LINES[:20]))
    os.close(here)


def _odd_files(folder: Path) -> dict[str, str]:
    """Files and folders that cannot be read, each in its own way, and what has to be said of them."""
    _nested(folder, 1500, "d")
    _nested(folder, 60, "e" * 100)
    with (folder / "holes").open("wb") as file:
        file.truncate(1 << 42)
    with zipfile.ZipFile(folder / "locked.zip", "w") as archive:
        archive.writestr("audit.jsonl", b"".join(LINES[:20]))
    locked = bytearray((folder / "locked.zip").read_bytes())
    locked[6] |= 1  # the flag of a password, in both headers
    locked[locked.rfind(b"PK\1\2") + 8] |= 1
    (folder / "locked.zip").write_bytes(locked)
    deep = f"evidence/{'d/' * (gather.DEEPEST_FOLDER + 1)}"[:-1]
    return {deep: "folders in each other", "evidence/holes": "holes", "evidence/locked.zip/audit.jsonl": "password"}


def test_what_cannot_be_read_is_named_with_a_limit_and_the_rest_is_loaded(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    shutil.copy(RECORDING / "findings.json", evidence)
    (evidence / "nowhere").symlink_to("nothing")
    os.mkfifo(evidence / "fifo")
    (evidence / "a.jsonl").write_bytes(b"".join(LINES[:20]))
    try:
        says = _odd_files(evidence)
        found = ledger(tmp_path / "case", evidence)
    finally:
        subprocess.run(["rm", "-r", evidence], check=True)  # deeper than Python goes
    assert found["evidence/a.jsonl"]["rows"] == 20 and not found["evidence/a.jsonl"]["unread"]
    for path, words in says.items():
        assert words in found[path]["note"] and found[path]["unread"]
    long = next(entry for path, entry in found.items() if "eeee" in path)
    assert "too long" in long["note"] and long["unread"]
    assert not found["evidence/nowhere"]["unread"] and not found["evidence/fifo"]["unread"]
    unread = [entry for entry in found.values() if entry["unread"]]
    for finding in kit_json("scope", tmp_path / "case")["findings"]:
        assert any(
            f"{len(unread)} files or folders of the evidence could not be read" in one["says"]
            for one in finding["limits"]
        )


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that fails when it is read")
def test_a_file_that_fails_when_it_is_read_costs_itself(tmp_path: Path) -> None:
    found = ledger(tmp_path / "case", RECORDING / "findings.json", "/proc/self/mem")
    assert found["mem"]["unread"] and "Input/output error" in found["mem"]["note"] and found["findings.json"]["rows"]
    added = kit_json("add", tmp_path / "case", "/proc/self/mem")["files"]
    assert [entry["unread"] for entry in added] == [True]
    assert [entry["path"] for entry in Store(tmp_path / "case").ledger][-1] == added[0]["path"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
@pytest.mark.parametrize("rights", [0o000, 0o444, 0o111], ids=oct)
def test_a_closed_folder_costs_itself(tmp_path: Path, rights: int) -> None:
    evidence = tmp_path / "evidence"
    (evidence / "closed").mkdir(parents=True)
    shutil.copy(RECORDING / "findings.json", evidence)
    (evidence / "closed" / "a.jsonl").write_bytes(b"".join(LINES[:20]))
    (evidence / "closed").chmod(rights)
    try:
        found = ledger(tmp_path / "case", evidence)
    finally:
        (evidence / "closed").chmod(0o700)
    assert found["evidence/findings.json"]["rows"]
    assert [path for path, entry in found.items() if entry["unread"]]


def test_a_broken_stream_gives_all_that_comes_before_the_damage(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"".join(LINES)))
    packed[-8:-4] = b"\0\0\0\0"
    (tmp_path / "crc.jsonl.gz").write_bytes(packed)
    (entry,) = ledger(tmp_path / "crc", tmp_path / "crc.jsonl.gz").values()
    assert entry["rows"] == len(LINES) and "broken" in entry["note"]
    packed = bytearray(gzip.compress(b"".join(LINES)))
    middle = len(packed) // 2
    packed[middle : middle + 40] = bytes(40)
    (tmp_path / "middle.jsonl.gz").write_bytes(packed)
    (entry,) = ledger(tmp_path / "middle", tmp_path / "middle.jsonl.gz").values()
    assert entry["rows"] > len(LINES) // 3 and "broken" in entry["note"]


def test_a_gzip_with_a_comment_in_its_header(tmp_path: Path) -> None:
    body = zlib.compressobj(wbits=-15)
    plain = b"".join(LINES[:40])
    packed = b"\x1f\x8b\x08\x10" + bytes(6) + b"made by hand\0" + body.compress(plain) + body.flush()
    packed += zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    (tmp_path / "audit.gz").write_bytes(packed)
    (entry,) = ledger(tmp_path / "case", tmp_path / "audit.gz").values()
    assert entry["rows"] == 40


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "lines",
    [
        [BOM + LINES[0], *LINES[1:20]],
        [BOM + LINES[0]],
        [LINES[0].replace(b'"userAgent":"', b'"userAgent":"' + b"x" * 200_000), *LINES[1:20]],
        [LINES[0].replace(b'"userAgent":"', b'"userAgent":"\\"kind\\":\\"EventList\\" '), *LINES[1:20]],
        [b"\r\n", *(line.replace(b"\n", b"\r\n") for line in LINES[:20])],
    ],
    ids=["mark", "mark-alone", "long-first-line", "event-list-in-a-text", "carriage-returns"],
)
def test_a_log_is_told_by_its_lines(tmp_path: Path, lines: list[bytes]) -> None:
    (tmp_path / "log").write_bytes(b"".join(lines))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["taken_as"], entry["rejects"]) == ("Kubernetes audit log", 0)


def test_a_first_line_that_is_broken_and_long_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"kind": "Event", "x": "' + b"y" * 100_000 + b"\n" + b"".join(LINES[:20]))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (20, 1)


def test_a_dump_whose_texts_speak_of_audit_events_is_a_dump(tmp_path: Path) -> None:
    policy = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"x","stage":"y","verb":"get"}'
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy", "uid": "u"}, "data": {"a": policy}}
    (tmp_path / "dump.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [one]}))
    (entry,) = ledger(tmp_path / "case", tmp_path / "dump.json").values()
    assert (entry["taken_as"], entry["rows"]) == ("cluster dump", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"requestReceivedTimestamp": "infinity", "stageTimestamp": "x"},
        {"requestReceivedTimestamp": "12026-01-01T00:00:00Z", "stageTimestamp": "x"},
        {"requestReceivedTimestamp": "0001-01-01T00:00:00Z", "stageTimestamp": "x"},
        {"requestReceivedTimestamp": "epoch", "stageTimestamp": "x"},
    ],
)
def test_an_event_without_a_time_is_a_reject_of_its_own(tmp_path: Path, change: dict[str, Any]) -> None:
    odd = json.dumps(json.loads(LINES[7]) | change).encode() + b"\n"
    (tmp_path / "log").write_bytes(b"".join([*LINES[:7], odd, *LINES[8:30]]))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (29, 1)
    assert Store(tmp_path / "case").rows("SELECT line FROM rejects") == [{"line": 8}]


@pytest.mark.parametrize(
    ("change", "column", "wanted", "says"),
    [
        ({"sourceIPs": "192.0.2.1"}, "source_address", "192.0.2.1", "sourceIPs is not a JSON list"),
        ({"sourceIPs": "192.0.2.1, 10.0.0.1"}, "source_address", "10.0.0.1", "sourceIPs is not a JSON list"),
        ({"user": []}, "user_name", None, "user is not a JSON object"),
        ({"user": "kim"}, "user_name", "kim", "user is not a JSON object"),
        ({"user": {"username": "a", "groups": "g"}}, "user_groups", ["g"], "user.groups is not a JSON list"),
        ({"user": {"username": "a", "extra": "k"}}, "user_name", "a", "user.extra is not a JSON object"),
        ({"objectRef": "pods"}, "resource", None, "objectRef is not a JSON object"),
        ({"annotations": [1]}, "decision", None, "annotations is not a JSON object"),
        ({"annotations": 1, "objectRef": 2}, "decision", None, "objectRef is not a JSON object; annotations is not"),
        ({"kind": None}, "user_agent", json.loads(LINES[7])["userAgent"], None),
    ],
)
def test_an_odd_member_of_an_event_costs_itself_and_is_said(
    tmp_path: Path, change: dict[str, Any], column: str, wanted: Any, says: str | None
) -> None:
    odd = json.dumps(json.loads(LINES[7]) | change).encode() + b"\n"
    (tmp_path / "log").write_bytes(b"".join([*LINES[:7], odd]))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (8, 0)
    (row,) = Store(tmp_path / "case").rows(f"SELECT {column} AS held, repaired FROM audit WHERE line = 8")
    assert row["held"] == wanted
    assert row["repaired"] == says or (says and says in row["repaired"])


def test_a_time_that_is_none_gives_way_to_the_stages_and_is_named(tmp_path: Path) -> None:
    odd = json.dumps(json.loads(LINES[7]) | {"requestReceivedTimestamp": "infinity"}).encode() + b"\n"
    (tmp_path / "log").write_bytes(b"".join([*LINES[:7], odd, *LINES[8:30]]))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (30, 0)
    (row,) = Store(tmp_path / "case").rows(
        "SELECT received_at = stage_at AS same, repaired FROM audit WHERE repaired IS NOT NULL"
    )
    assert (row["same"], row["repaired"]) == (True, "requestReceivedTimestamp is no time")


def test_the_log_stream_is_known_however_the_files_are_named(tmp_path: Path) -> None:
    streams = [f"kube-apiserver-audit-{letter * 32}" for letter in "ab"]
    for number, stream in enumerate(streams):
        (tmp_path / "export" / stream).mkdir(parents=True)
        for half in range(2):
            first = (2 * number + half) * 20
            (tmp_path / "export" / stream / f"00000{half}").write_bytes(b"".join(LINES[first : first + 20]))
    found = ledger(tmp_path / "case", tmp_path / "export" / "*" / "*")
    assert list(found) == [f"{stream}/00000{half}" for stream in streams for half in range(2)]
    assert [row["s"] for row in Store(tmp_path / "case").rows("SELECT DISTINCT log_stream AS s FROM audit ORDER BY 1")] == streams  # fmt: skip


def test_two_exports_of_one_stream_are_not_in_each_others_way(tmp_path: Path) -> None:
    stream = f"kube-apiserver-audit-{'a' * 32}"
    for place in ("A", "B"):
        (tmp_path / place / stream).mkdir(parents=True)
    (tmp_path / "A" / stream / "data").write_bytes(b"".join(LINES[:10]))
    (tmp_path / "B" / stream / "data").mkdir()
    (tmp_path / "B" / stream / "data" / "0").write_bytes(b"".join(LINES[10:30]))
    found = ledger(tmp_path / "case", tmp_path / "A" / stream / "data", tmp_path / "B" / stream / "data")
    assert [entry["rows"] for entry in found.values()] == [10, 20]


def test_a_folder_that_only_a_lock_is_in_is_no_ones(tmp_path: Path) -> None:
    (tmp_path / "case.partial").mkdir()
    for name in ("in-work", "inputs.json.writing"):
        (tmp_path / "case.partial" / name).write_text("")
    (tmp_path / "log").write_bytes(b"".join(LINES[:10]))
    assert ledger(tmp_path / "case", tmp_path / "log")["log"]["rows"] == 10


def test_names_that_are_equal_once_they_are_text_stay_two(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / os.fsdecode(b"a\xff")).write_bytes(b"".join(LINES[:10]))
    (folder / "a\\xff").write_bytes(b"".join(LINES[10:30]))
    found = ledger(tmp_path / "case", folder)
    assert sorted(entry["rows"] for entry in found.values()) == [10, 20]
    for path, entry in found.items():
        assert (tmp_path / "case" / "evidence" / path).stat().st_size == entry["bytes"]


def with_body(line: bytes, body: bytes) -> bytes:
    """An event with a body as it stands."""
    event = json.loads(line) | {"requestObject": "BODY"}
    return json.dumps(event).encode().replace(b'"BODY"', body) + b"\n"


def test_what_only_one_reader_would_take_is_taken_by_none(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join([*LINES[:3], with_body(LINES[3], b"[1,]"), *LINES[4:30]]))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (29, 1)


HIDING = {
    "a huge number": b'{"a":99999999999999999999999999}',
    "a number over all numbers": b'{"a":1e999}',
    "no number": b'{"a":NaN}',
    "half of a surrogate pair": rb'{"a":"x\ud800y"}',
    "brackets": b'{"a":' + b"[" * 1200 + b"]" * 1200 + b"}",
    "more brackets": b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a long number": b'{"a":' + b"9" * 5000 + b"}",
    "a byte that is no UTF-8": b'{"a":"x\xffy"}',
}


@pytest.mark.parametrize("form", ["lines", "list", "messages"])
@pytest.mark.parametrize("name", HIDING)
def test_no_body_hides_the_request_that_it_came_with(tmp_path: Path, name: str, form: str) -> None:
    """A patch is logged as the caller sent it, so whoever hides an event in it decides what of the log is read."""
    hidden = with_body(LINES[3], HIDING[name])
    lines = [*LINES[:3], hidden, *LINES[4:30]]
    content = b"".join(lines)
    if form == "list":
        inside = b",".join(line.rstrip() for line in lines)
        content = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + inside + b"]}"
    if form == "messages":
        texts = [line.decode(errors="replace") for line in lines]
        content = json.dumps({"events": [{"timestamp": 1, "message": text} for text in texts]}).encode()
    (tmp_path / "log").write_bytes(content)
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (30, 0)
    event = json.loads(LINES[3])
    rows = Store(tmp_path / "case").rows("SELECT item, audit_id, verb, user_name, repaired, request_object FROM audit WHERE item = 4 OR repaired IS NOT NULL")  # fmt: skip
    assert [(row["item"], row["audit_id"], row["user_name"]) for row in rows] == [
        (4, event["auditID"], event["user"]["username"])
    ]
    assert rows[0]["repaired"] or (form, name) == ("messages", "a byte that is no UTF-8")
    assert json.loads(rows[0]["request_object"]).keys() == {"a"}


def test_many_members_of_one_event_take_no_square_of_the_time(tmp_path: Path) -> None:
    event = json.loads(LINES[3]) | {f"x{number}": 1 for number in range(100_000)}
    (tmp_path / "log").write_bytes(b"".join([*LINES[:3], json.dumps(event).encode(), b"\n{broken\n", *LINES[4:9]]))
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (9, 1)


def test_large_bodies_are_written_within_the_memory_that_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.store.parquet.MEMORY", "60MB")
    chance = random.Random(1)
    body = json.dumps({"data": "".join(chance.choices("abcdefgh", k=16_000))}).encode()
    (tmp_path / "log").write_bytes(b"".join(with_body(LINES[number % 30], body) for number in range(6_000)))
    (entry,) = load_new_case(tmp_path / "case", [str(tmp_path / "log")]).ledger
    assert (entry.records, entry.rejects) == (6_000, 0)
    items = [row["item"] for row in Store(tmp_path / "case").rows("SELECT item FROM audit")]
    assert items == sorted(items)


FULL = """
import resource, sys
from pathlib import Path
from kit.errors import CaseError
from kit.evidence import gather
from kit.evidence.intake import load_new_case

def progress(what: str, done: int, total: int) -> None:
    if what.startswith("reading"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))

try:
    load_new_case(Path(sys.argv[1]), [sys.argv[2]], progress=progress)
except CaseError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("bytes_left", [0, 1_000, 20_000])
def test_a_disk_that_is_full_while_the_store_is_written_is_one_sentence(tmp_path: Path, bytes_left: int) -> None:
    """At the worker's end, too, when all of the log has been handed to it: nobody may wait for it then."""
    (tmp_path / "log").write_bytes(b"".join(LINES))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "case"), str(tmp_path / "log"), str(bytes_left)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "cannot be written" in done.stderr and "goes on from there" in done.stderr


def test_many_rejects_take_neither_time_nor_memory_for_each_other(tmp_path: Path) -> None:
    many = 30_000
    bad = [b'{"kind":"Event","auditID":"a","sourceIPs":"x"}\n', b"{}\n", b"{broken\n"]
    (tmp_path / "log").write_bytes(b"".join(LINES[:10]) + b"".join(bad[number % 3] for number in range(many)))
    began = time.monotonic()
    (entry,) = ledger(tmp_path / "case", tmp_path / "log").values()
    assert (entry["rows"], entry["rejects"]) == (10, many)
    assert time.monotonic() - began < 120, "it grows with the square of the rejects"


def test_a_bomb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b'{"Findings": [' + b" " * (600 << 20)))
    limited = f"import resource, subprocess, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); sys.exit(subprocess.run(sys.argv[1:]).returncode)"  # noqa: F541
    done = subprocess.run(
        [sys.executable, "-c", limited, str(KIT), "new", str(tmp_path / "case"), str(tmp_path / "bomb.json.gz")],
        capture_output=True, text=True, check=False, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2 and "not JSON" in done.stderr, done.stderr[-500:]


def test_a_stop_from_the_keyboard_is_one_sentence(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(LINES) * 5)
    process = subprocess.Popen(
        [KIT, "new", tmp_path / "case", *sorted(tmp_path.glob("*.jsonl"))], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "case.partial" / "store").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert "Traceback" not in said
    assert process.returncode in (0, 1)
    if process.returncode:
        assert "goes on from there" in said


@pytest.mark.parametrize("name", ["prod 😀", 'pro"d\\', "prod\x7f"])
def test_a_cluster_of_any_name(tmp_path: Path, name: str) -> None:
    ledger(tmp_path / "case", RECORDING / "findings.json", "--cluster", name)
    assert kit("findings", tmp_path / "case").returncode == 0
    import kit as package

    assert package.open_case(tmp_path / "case").cluster == name


def test_a_window_that_misses_the_log_is_said(case: Path) -> None:
    for options in (("--start", "2050-01-01"), ("--end", "2000-01-01"), ("--start", "0001-01-01T00:00:00+01:00")):
        for command in ("scope", "report"):
            done = kit(command, case, *options)
            assert (done.returncode, done.stdout, len(told(done))) == (2, "", 1), done.stderr


def test_streams_that_are_closed_or_full(case: Path, tmp_path: Path) -> None:
    shell = 'exec "$0" "$@"'
    for redirect, code in (("<&-", 2), (">/dev/full", 1), (">&-", 1)):
        call = ["new", str(tmp_path / "x"), "-"] if code == 2 else ["scope", str(case)]
        done = subprocess.run(
            ["bash", "-c", f"{shell} {redirect}", str(KIT), *call], capture_output=True, text=True, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    ascii_only = subprocess.run(
        [KIT, "scope", case], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert ascii_only.returncode == 0
