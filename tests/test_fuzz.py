"""Whatever a file holds, it is taken or not taken for a reason, and each record becomes a row or a reject that says why.

KIT_FUZZ is the number of examples a test; `make fuzz` sets it high.
"""

from __future__ import annotations

import base64
import bz2
import copy
import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import EvidenceError
from kit.evidence.formats.archive import is_archive, members
from kit.evidence.formats.form import LINES
from kit.evidence.formats.stream import Reading
from kit.evidence.load import load
from kit.evidence.parts import UNEXPECTED
from kit.evidence.readers import audit
from kit.evidence.sniff import FileKind, file_kind
from kit.store.ledger import LedgerEntry
from kit.store.parquet import connect
from tests.command import RECORDINGS
from tests.sources.reading import Kept, Row
from tests.sources.test_form import ANSWERED, DENIED, GRANTED, YAML
from tests.sources.test_ocsf import eks_event, query_row, trail_event

EXAMPLES = int(os.environ.get("KIT_FUZZ", "25"))
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
RECORDING = RECORDINGS / "stolen_sa_token"
SAMPLES = Path(__file__).parent / "data" / "samples"
SECRET_VALUE = "aHVudGVyMjIyMg=="  # noqa: S105

AUDIT = [json.loads(line) for line in gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()[:60]]
TRAIL = json.loads(gzip.decompress((RECORDING / "cloudtrail.json.gz").read_bytes()))["Records"][:20]
FINDINGS = json.loads((RECORDING / "findings.json").read_text())["Findings"]
PODS = json.loads((RECORDING / "cluster" / "pods.json").read_text())["items"][:3]
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": SECRET_VALUE}}
DESCRIBED = [json.loads(path.read_text()) for path in sorted((RECORDING / "aws").glob("*.json"))]
RECORDS: list[Any] = [
    *AUDIT, *TRAIL, *FINDINGS, *PODS, SECRET, *DESCRIBED,
    *(json.loads((SAMPLES / name).read_text()) for name in ("05-security-hub-asff.json", "06-ocsf-1.1.json", "07-ocsf-1.6.json")),
    *(eks_event(event) for event in AUDIT[:5]), *(trail_event(event) for event in TRAIL[:5]), *(query_row(event) for event in TRAIL[:5]),
]  # fmt: skip

SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 10**30, 1.5, float("nan"), "", "x", "\ud800", "\x00", "=1+1", "../..", "2026-13-45", "a" * 5000, [], {}, [[]], {"": {}}]
)  # fmt: skip
WRONG = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=3)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(writes=True) as made:
        yield made


def taken(data: bytes, folder: Path, database: duckdb.DuckDBPyConnection) -> None:
    """Read a file as a case would, and hold what must always hold."""
    path = folder / "file"
    path.write_bytes(data)
    if is_archive(path):
        (folder / "scratch").mkdir(exist_ok=True)
        for member in members(path, folder / "scratch", Reading()):
            assert (member.file is None) == bool(member.refusal) and ".." not in member.name.split("/")
            if member.file:
                one_file(member.file, folder, database)
    else:
        one_file(path, folder, database)


def one_file(path: Path, folder: Path, database: duckdb.DuckDBPyConnection) -> None:
    try:
        kind = file_kind(path)
    except EvidenceError as error:
        assert str(error)
        return
    entry = LedgerEntry("file", "", path.stat().st_size, None)
    parts = Kept(folder / "store", 1, entry, database)
    parts.made = []
    load(path, kind, parts, lambda position, records: None)
    assert entry.taken_as and entry.records == entry.rows + entry.rejects
    rejects = [each for each in parts.made if not isinstance(each, Row)]
    assert len(rejects) == entry.rejects
    for reject in rejects:
        assert reject.reason and len(reject.raw) <= 200 and reject.line >= 1 and reject.item >= 1
        assert SECRET_VALUE not in reject.raw and not reject.reason.startswith(UNEXPECTED), reject.reason
    written = [part for table in ("audit", "trail", "objects", "findings", "sign_ins") for part in parts.of(table)]
    assert sum(pq.read_metadata(part).num_rows for part in written) == entry.rows
    for part in written:
        for row in pq.read_table(part).to_pylist():  # whatever was stored can be read again
            assert row["line"] >= 1 and row["item"] >= 1
            for name in ("request_object", "response_object", "annotations", "user_extra", "object", "finding"):
                assert row.get(name) is None or json.loads(row[name]) is not None or row[name] == "null"


@FUZZED
@given(
    data=st.binary()
    | st.text('[]{}",:\\ \n1eNa-#=&*!\ufeff').map(str.encode)
    | st.text().map(lambda text: text.encode("utf-16", "surrogatepass"))
)
def test_any_bytes(data: bytes, tmp_path: Path, database: duckdb.DuckDBPyConnection) -> None:
    taken(data, tmp_path, database)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a value."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from places(each, (*path, name))


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A record of evidence with some of its members changed for others, left out, or wrapped."""
    value = copy.deepcopy(draw(st.sampled_from(RECORDS)))
    for _ in range(draw(st.integers(0, 3))):
        deepest = draw(st.sampled_from([1, 2, 2, 3, 20]))  # the upper members decide what a record is
        path = draw(st.sampled_from([path for path in places(value) if len(path) <= deepest][:200]))
        if not path:
            continue
        here = value
        for step in path[:-1]:
            here = here[step]
        if draw(st.booleans()) and isinstance(here, dict):
            del here[path[-1]]
        else:
            here[path[-1]] = copy.deepcopy(draw(WRONG))
    return value


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def packed(value: Any) -> str:
    return base64.b64encode(gzip.compress(text_of(value).encode("utf-8", "surrogatepass"))).decode()


WRAPPED: list[Callable[[list[Any]], Any]] = [
    lambda values: values,
    lambda values: values[0],
    lambda values: {"Records": values},
    lambda values: {"items": values, "kind": "List", "apiVersion": "v1"},
    lambda values: {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": values},
    lambda values: {"Findings": values},
    lambda values: [{"detail-type": "x", "detail": each} for each in values],
    lambda values: {"Records": [{"Sns": {"TopicArn": "t", "Message": text_of(each)}} for each in values]},
    lambda values: {"Messages": [{"MessageId": "m", "Body": text_of(each)} for each in values]},
    lambda values: {"events": [{"timestamp": 1, "message": text_of(each), "logStreamName": "s"} for each in values]},
    lambda values: {"results": [[{"field": "@message", "value": text_of(each)}] for each in values]},
    lambda values: [{"@message": each, "@log": "1:/aws/eks/c/cluster"} for each in values],
    lambda values: {"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": [{"timestamp": 1, "message": text_of(each)} for each in values]},
    lambda values: {"Records": [{"kinesis": {"data": packed(each)}} for each in values]},
    lambda values: {"records": [{"recordId": "r", "data": packed(each)} for each in values]},
    lambda values: {"Events": [{"CloudTrailEvent": text_of(each)} for each in values]},
    lambda values: {"QueryResultRows": [[{"eventJson": text_of(each)}] for each in values]},
    lambda values: {"Entries": [{"Source": "aws.x", "DetailType": "x", "Detail": text_of(each)} for each in values]},
    lambda values: {"records": [{"data": packed(each)} for each in values]},
    lambda values: {"data": [{"type": "log", "attributes": {"service": "x", "attributes": each}} for each in values]},
    lambda values: {"data": {"resultType": "streams", "result": [{"stream": {}, "values": [["1", text_of(each)] for each in values]}]}},
    lambda values: {"hits": {"hits": [{"_id": "1", "fields": {"message": [text_of(each)]}} for each in values]}},
    lambda values: [{"location": "Wazuh-AWS", "full_log": text_of({"aws": each})} for each in values],
    lambda values: [{"topic": "t", "partition": 0, "offset": 0, "value": each} for each in values],
    lambda values: [{"line": text_of(each), "labels": {}} for each in values],
    lambda values: [[each] for each in values],
    lambda values: [{"Findings": [each]} for each in values],
    lambda values: {"unknown": [text_of(each) for each in values]},
    lambda values: [{"AwsEventId": "a", "EventName": "n", "TimeGenerated": each, "RequestParameters": text_of(each)} for each in values],
    lambda values: [{"ActivityType": "a:b/c", "Id": "a", "ResourceDetails": each, "ServiceDetails": text_of(each)} for each in values],
]  # fmt: skip


@FUZZED
@given(
    values=st.lists(changed(), min_size=1, max_size=4),
    wrapped=st.sampled_from(WRAPPED),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_records_with_wrong_members_in_any_envelope(
    values: list[Any], wrapped: Callable[[list[Any]], Any], indent: int | None, ascii_only: bool, tmp_path: Path, database: duckdb.DuckDBPyConnection
) -> None:  # fmt: skip
    text = json.dumps(wrapped(values), indent=indent, ensure_ascii=ascii_only)
    taken(text.encode("utf-8", "surrogatepass"), tmp_path, database)


@FUZZED
@given(
    values=st.lists(changed(), min_size=1, max_size=6),
    between=st.sampled_from(["\n", "\r\n", "", "\n\n", "\n2026-01-31T14:00:00.123Z "]),
)
def test_lines_of_mixed_kinds(
    values: list[Any], between: str, tmp_path: Path, database: duckdb.DuckDBPyConnection
) -> None:
    taken(between.join(text_of(each) for each in values).encode("utf-8", "surrogatepass"), tmp_path, database)


WHOLE: list[bytes] = [
    "\n".join(text_of(each) for each in AUDIT[:20]).encode(),
    json.dumps({"Records": TRAIL}, indent=1).encode(),
    json.dumps({"Findings": FINDINGS}).encode(),
    "\n".join([GRANTED, ANSWERED, DENIED]).encode(),
    YAML.encode(),
    ("@timestamp,@message\n" + "".join(f'2026,"{text_of(each)}"\n'.replace('"', '""') for each in AUDIT[:3])).encode(),
    (SAMPLES / "05-security-hub-asff.json").read_bytes(),
]


@FUZZED
@given(whole=st.sampled_from(WHOLE), data=st.data())
def test_damaged_files(whole: bytes, data: st.DataObject, tmp_path: Path, database: duckdb.DuckDBPyConnection) -> None:
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(broken) - 1)))
        way = data.draw(st.sampled_from(["cut", "flip", "insert", "remove", "double"]))
        if way == "cut":
            del broken[at:]
        elif way == "flip" and broken:
            broken[at] ^= 1 << data.draw(st.integers(0, 7))
        elif way == "insert":
            broken[at:at] = data.draw(
                st.sampled_from([b"\0", b"\xff", b"\r\n", b"\xef\xbb\xbf", b"{", b"}", b'"', b"\n", b": ", b"\n- "])
            )
        elif way == "remove":
            del broken[at : at + data.draw(st.integers(1, 40))]
        else:
            broken[at:at] = broken[at : at + data.draw(st.integers(1, 400))]
    taken(bytes(broken), tmp_path, database)


def flipped_and_cut(whole: bytes, data: st.DataObject) -> bytes:
    """Bytes with some bits of them changed, and perhaps without their end."""
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del broken[data.draw(st.integers(0, len(broken))) or len(broken) :]
    return bytes(broken)


def zipped(files: list[bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for number, data in enumerate(files):
            made.writestr(f"../{number}", data)
    return out.getvalue()


def tarred(files: list[bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for number, data in enumerate(files):
            info = tarfile.TarInfo(f"/{number}")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


PACKED = [
    gzip.compress(WHOLE[0]) + gzip.compress(WHOLE[0]),
    gzip.compress(gzip.compress(WHOLE[0])),
    pa.compress(WHOLE[0], codec="zstd", asbytes=True),
    bz2.compress(WHOLE[1]),
    zipped(WHOLE),
    tarred(WHOLE),
    gzip.compress(tarred([zipped(WHOLE[:2]), WHOLE[4]])),
]


@FUZZED
@given(packed=st.sampled_from(PACKED), data=st.data())
def test_damaged_archives_and_streams(
    packed: bytes, data: st.DataObject, tmp_path: Path, database: duckdb.DuckDBPyConnection
) -> None:
    taken(flipped_and_cut(packed, data), tmp_path, database)


@FUZZED
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["eventtime", "eventname", "@message", "class_uid", "a"]), st.text(max_size=9), min_size=1
        ),
        min_size=1,
        max_size=4,
    ),
    data=st.data(),
)
def test_parquet_of_any_columns(
    rows: list[dict[str, str]], data: st.DataObject, tmp_path: Path, database: duckdb.DuckDBPyConnection
) -> None:
    out = io.BytesIO()
    safe = [{name: text.encode("utf-8", "replace").decode() for name, text in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(safe), out)
    taken(flipped_and_cut(out.getvalue(), data), tmp_path, database)


@FUZZED
@given(
    values=st.lists(st.integers(0, len(AUDIT) - 1), min_size=1, max_size=8, unique=True),
    beside=st.lists(
        changed().map(text_of) | st.sampled_from([GRANTED, "klog", "{", "}", "", "{}", "\u20ac", "[1"]), max_size=6
    ),
    data=st.data(),
)
def test_whole_events_are_rows_whatever_stands_beside_them(
    values: list[int], beside: list[str], data: st.DataObject, tmp_path: Path, database: duckdb.DuckDBPyConnection
) -> None:  # fmt: skip
    lines = data.draw(st.permutations([*(text_of(AUDIT[number]) for number in values), *beside]))
    (tmp_path / "file").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    entry = LedgerEntry("file", "", 0, None)
    parts = Kept(tmp_path / "store", 1, entry, database)
    parts.made = []
    load(tmp_path / "file", FileKind(LINES, audit), parts, lambda position, records: None)
    found = {row["audit_id"] for part in parts.of("audit") for row in pq.read_table(part, columns=["audit_id"]).to_pylist()}  # fmt: skip
    assert found >= {AUDIT[number]["auditID"] for number in values}
