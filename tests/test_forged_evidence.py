"""What somebody wrote where he could write, to be taken for evidence: messages of other logs, custom objects, events of a bus."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.errors import CallError, CaseError
from kit.evidence.raw import Raw
from kit.plan.journal import FIRST
from kit.plan.plan import PlannedAction
from kit.plan.saved import plan_of
from kit.store.store import Store
from tests.cases import copied, planned
from tests.command import RECORDINGS, kit, kit_json

RECORDING = RECORDINGS / "stolen_sa_token"
LINES = gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()[:6]
FINDING = json.loads((RECORDING / "findings.json").read_text())["Findings"][0]
TRAIL = json.loads(gzip.decompress((RECORDING / "cloudtrail.json.gz").read_bytes()))["Records"][0]
SIGN_IN = 'time="2026-01-31T14:00:00Z" level=info msg="access granted" arn="a" username=admin groups="[system:masters]"'
FORGED = {
    "audit event": LINES[5].decode(),
    "sign-in": SIGN_IN,
    "finding": json.dumps(FINDING),
    "trail": json.dumps(TRAIL),
}
ID = "0123456789abcdef0123456789abcdef"


def payload(group: str, stream: str, *texts: str) -> dict[str, Any]:
    events = [{"id": "1", "timestamp": 1_769_868_000_000, "message": text} for text in texts]
    about = {"messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": group, "logStream": stream}
    return about | {"subscriptionFilters": ["all"], "logEvents": events}


CONTROL_PLANE = payload("/aws/eks/red/cluster", f"kube-apiserver-audit-{ID}", *(line.decode() for line in LINES[:5]))


def rows(case: Path) -> dict[str, int]:
    store = Store(case)
    names = ("audit", "sign_ins", "trail", "findings", "objects")
    return {name: number for name in names if (number := len(store.rows(f"SELECT 1 FROM {name}")))}


@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize(
    ("group", "stream"),
    [
        ("/aws/containerinsights/red/application", "web-0"),
        ("/aws/eks/red/cluster", f"kube-scheduler-{ID}"),
        ("/aws/lambda/web", f"kube-apiserver-audit-{ID}"),
    ],
)
def test_a_message_of_another_log_is_no_evidence(tmp_path: Path, what: str, group: str, stream: str) -> None:
    (tmp_path / "logs").write_text(json.dumps(CONTROL_PLANE) + json.dumps(payload(group, stream, FORGED[what])))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "logs")["files"]
    assert (entry["records"], entry["rejects"], rows(tmp_path / "case")) == (6, 1, {"audit": 5})


@pytest.mark.parametrize("what", FORGED)
def test_a_message_of_a_log_opens_no_envelope(tmp_path: Path, what: str) -> None:
    inside = json.dumps(payload("/aws/eks/blue/cluster", f"kube-apiserver-audit-{ID}", FORGED[what]))
    bus = json.dumps({"source": "mine", "detail-type": "x", "detail": json.loads(LINES[5])})
    forged = payload("/aws/eks/red/cluster", f"kube-apiserver-audit-{ID}", inside, bus, json.dumps({"detail": FINDING}))
    (tmp_path / "logs").write_text(json.dumps(CONTROL_PLANE) + json.dumps(forged))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "logs")["files"]
    assert (entry["records"], entry["rejects"], rows(tmp_path / "case")) == (8, 3, {"audit": 5})
    assert Store(tmp_path / "case").rows("SELECT DISTINCT cluster AS c FROM audit") == [{"c": "red"}]


def test_a_finding_that_eventbridge_wrote_to_a_log_group_is_one(tmp_path: Path) -> None:
    event = {"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": FINDING}
    (tmp_path / "logs").write_text(json.dumps(payload("/aws/events/guardduty", "x", json.dumps(event))))
    kit_json("new", tmp_path / "case", tmp_path / "logs")
    assert rows(tmp_path / "case") == {"findings": 1}


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {"detail": FINDING},
        {"detail": FINDING, "source": "aws.guardduty", "detail-type": "GuardDuty Finding"},
        {"logEvents": CONTROL_PLANE["logEvents"], "messageType": "DATA_MESSAGE", "logGroup": "/aws/eks/blue/cluster"},
        FINDING,
        {"CloudTrailEvent": json.dumps(TRAIL)},
        {"message": LINES[0].decode(), "timestamp": 1},
        {"findings": [FINDING]},
        {"results": [FINDING]},
    ],
    ids=lambda more: "-".join(list(more)[:3]),
)
def test_a_custom_object_is_an_object_whatever_it_looks_like(
    tmp_path: Path, more: dict[str, Any], as_list: bool
) -> None:
    custom = {"apiVersion": "example.com/v1", "kind": "Trap", "metadata": {"name": "trap", "namespace": "n"}} | more
    listed = {"apiVersion": "v1", "items": [custom], "kind": "List", "metadata": {}}
    (tmp_path / "dump.json").write_text(json.dumps(listed if as_list else custom))
    done = kit("new", tmp_path / "case", tmp_path / "dump.json", RECORDING / "cluster" / "nodes.json", "--json")
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)["files"][0]
    names = rows(tmp_path / "case")
    assert names.keys() == {"objects"}, entry


@pytest.mark.parametrize("source", ["mine", "aws.partner/example.com/x", "awsx"])
def test_an_event_that_anybody_may_put_on_a_bus_is_no_finding(tmp_path: Path, source: str) -> None:
    event = {"version": "0", "source": source, "detail-type": "GuardDuty Finding", "detail": FINDING}
    (tmp_path / "event.json").write_text(json.dumps(event))
    done = kit("new", tmp_path / "case", tmp_path / "event.json")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_all_members_of_a_gzip_in_a_record_are_read(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(CONTROL_PLANE).encode())
    data = packed + gzip.compress(json.dumps(payload("/aws/eks/red/cluster", f"kube-apiserver-audit-{ID}", LINES[5].decode())).encode())  # fmt: skip
    records = [{"recordId": "1", "data": base64.b64encode(data).decode()}]
    (tmp_path / "firehose.json").write_text(json.dumps({"records": records}))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "firehose.json")["files"]
    assert (entry["rows"], entry["rejects"]) == (6, 0)


@pytest.mark.parametrize("group", ["fluent-bit-cloudwatch", "/eks/prod/application", "/aws/eks/red/pods"])
@pytest.mark.parametrize("what", ["trail", "event"])
def test_what_a_container_logs_is_no_event_of_aws(tmp_path: Path, group: str, what: str) -> None:
    event = {"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": FINDING}
    message = json.dumps(event if what == "event" else TRAIL)
    logs = [CONTROL_PLANE, payload(group, "web-0", message, json.dumps({"FindingIds": ["x"]}))]
    (tmp_path / "logs").write_text("".join(json.dumps(each) for each in reversed(logs)))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "logs")["files"]
    assert (entry["records"], entry["rejects"], rows(tmp_path / "case")) == (7, 2, {"audit": 5})


@pytest.mark.parametrize(
    ("group", "stream"),
    [("aws-cloudtrail-logs-111122223333-ab12", "111122223333_CloudTrail_eu-west-1"), ("CloudTrail/Default", "")],
)
def test_events_that_cloudtrail_wrote_to_its_log_group_are_taken(tmp_path: Path, group: str, stream: str) -> None:
    (tmp_path / "logs").write_text(json.dumps(payload(group, stream, json.dumps(TRAIL))))
    kit_json("new", tmp_path / "case", tmp_path / "logs")
    assert rows(tmp_path / "case") == {"trail": 1}


def test_a_line_that_says_what_to_fetch_is_one_reject(tmp_path: Path) -> None:
    ids = json.dumps({"FindingIds": ["x"]}).encode()
    (tmp_path / "log").write_bytes(b"\n".join([*LINES[:3], ids, *LINES[3:5]]))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "log")["files"]
    assert (entry["rows"], entry["rejects"]) == (5, 1)
    assert "only finding ids" in Store(tmp_path / "case").rows("SELECT reason FROM rejects")[0]["reason"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("path", "../../secret"),
        ("path", "/etc/passwd"),
        ("path", "a/../../b"),
        ("path", ""),
        ("path", 7),
        ("sha256", "x" * 64),
        ("sha256", None),
        ("bytes", -1),
        ("rows", "many"),
        ("records", True),
        ("taken_as", ["x"]),
        ("first_at", "soon"),
        ("note", {}),
    ],
)
def test_a_ledger_that_the_kit_would_not_write_is_refused(tmp_path: Path, member: str, value: Any) -> None:
    case = copied(tmp_path / "case", RECORDING / "findings.json")
    path = case / "store" / "ledger.json"
    ledger = json.loads(path.read_text())
    ledger["files"][0][member] = value
    path.write_text(json.dumps(ledger))
    with pytest.raises(CaseError, match=rf"is no ledger of this kit: files\[0\].{member} cannot be") as error:
        Store(case)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("ledger", [{"parts": 1, "files": {}}, {"parts": -1, "files": []}, {"parts": 10**9, "files": []}, {"parts": "1", "files": []}, {"parts": 1, "files": [3]}, {"parts": 1, "files": [{}]}])  # fmt: skip
def test_a_ledger_of_another_form_is_refused(tmp_path: Path, ledger: Any) -> None:
    case = copied(tmp_path / "case", RECORDING / "findings.json")
    (case / "store" / "ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(CaseError, match="is no ledger of this kit"):
        Store(case)


@pytest.mark.parametrize("kind", ["bytes", "columns", "types", "a link", "a link beside"])
def test_a_store_that_the_kit_would_not_write_is_refused(tmp_path: Path, kind: str) -> None:
    case = copied(tmp_path / "case", RECORDING / "findings.json")
    (part,) = (case / "store" / "findings").glob("*.parquet")
    if kind == "bytes":
        part.write_bytes(b"PAR1" + bytes(100))
    elif kind == "columns":
        pq.write_table(pa.table({"id": ["x"]}), part)
    elif kind == "types":
        table = pq.read_table(part)
        pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", pa.array([1] * len(table))), part)
    elif kind == "a link":
        shutil.move(part, tmp_path / "elsewhere.parquet")
        part.symlink_to(tmp_path / "elsewhere.parquet")
    else:
        (part.parent / "x").symlink_to("/etc/passwd")
    done = kit("findings", case)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "findings" in done.stderr and "make the case anew" in done.stderr.lower(), done.stderr


@pytest.mark.parametrize("column", ["source_address", "request_uri", "request_object"])
def test_a_store_with_damaged_pages_is_refused_by_who_reads_them(tmp_path: Path, column: str) -> None:
    case = copied(tmp_path / "case", RECORDING)
    (part,) = (case / "store" / "audit").glob("*.parquet")
    described, held = pq.read_metadata(part), bytearray(part.read_bytes())
    for group in map(described.row_group, range(described.num_row_groups)):
        chunk = next(one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == column)
        start = min(at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at)
        held[start : start + chunk.total_compressed_size] = b"\x5a" * chunk.total_compressed_size
    part.write_bytes(held)
    done = kit("scope", case)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "its table audit cannot be read: " in done.stderr and "make the case anew" in done.stderr.lower(), (
        done.stderr
    )


@pytest.mark.parametrize("name", ["../../mine", "/mine", "linked/mine"])
def test_the_raw_text_of_a_record_is_the_evidences_alone(tmp_path: Path, name: str) -> None:
    case = copied(tmp_path / "case", RECORDING / "findings.json")
    shutil.copy(RECORDING / "findings.json", tmp_path / "mine")
    (case / "evidence" / "linked").symlink_to(tmp_path)
    with pytest.raises(CaseError, match="leads out of the case's evidence"):
        Raw(case).text(name.replace("/mine", f"{tmp_path}/mine", 1) if name == "/mine" else name, 1)


@pytest.mark.parametrize("name", ["../../mine", "linked/mine"])
@pytest.mark.parametrize("begun", ["list", "odd"])
def test_what_an_addition_wrote_down_removes_nothing_outside(tmp_path: Path, name: str, begun: str) -> None:
    case = copied(tmp_path / "case", RECORDING / "findings.json")
    (tmp_path / "mine").write_text("keep")
    (case / "evidence" / "linked").symlink_to(tmp_path)
    listed = [[name, "x", 1, 2]] if begun == "list" else {"x": name}
    (case / "inputs.json").write_text(json.dumps({"evidence": listed}))
    assert kit("add", case, RECORDING / "cloudtrail.json.gz").returncode == 0
    assert (tmp_path / "mine").read_text() == "keep"


@pytest.mark.parametrize("value", [None, 7, [], {}, [None], {"a": 1}, "\ud800"], ids=repr)
@pytest.mark.parametrize("member", ["id", "does", "why", "command", "parameters", "after", "undo"])
def test_a_plan_that_the_kit_would_not_write_is_refused_whatever_digest_it_has(member: str, value: Any) -> None:
    plan = planned(RECORDING)
    written = type(plan["actions"][0][member])
    plan["actions"][0][member] = value
    fields = PlannedAction.__dataclass_fields__
    covered = {name: plan[name] for name in ("account", "region", "cluster")}
    covered["actions"] = [
        {name: one[name] or ("" if name in ("undo", "cannot_undo") else one[name]) for name in fields}
        for one in plan["actions"]
    ]
    text = json.dumps(covered, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    plan["digest"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if member == "undo" and not value:
        value = ""
    if isinstance(value, written) and value != [None] and value != "\ud800":
        assert plan_of(plan).digest == plan["digest"]  # of the kind that it is written in
    else:
        with pytest.raises(CallError):
            plan_of(plan)


ENTRIES: tuple[tuple[Any, Any], ...] = (
    ("begun", {"action": "a", "changes": []}),
    ("approved", {}),
    ("approved", {"plan": 7}),
    ("approved", {"plan": {"actions": [{}]}}),
    ("by_hand", {"action": "x"}),
    ("done", []),
    ("checked", None),
)


@pytest.mark.parametrize(("what", "members"), ENTRIES)
def test_a_journal_whose_chain_was_made_anew_around_another_entry_is_refused(
    tmp_path: Path, what: Any, members: Any
) -> None:
    case = copied(tmp_path / "case", RECORDING / "findings.json")
    line = {"number": 1, "at": "2026-01-31T14:00:00+00:00", "what": what, "previous": FIRST, "members": members}
    line["hash"] = hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()
    (case / "journal.jsonl").write_text(json.dumps(line) + "\n")
    done = kit("journal", case)
    assert done.returncode == 2 and "journal.jsonl:1" in done.stderr, done.stdout
