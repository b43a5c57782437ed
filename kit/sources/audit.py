"""Kubernetes audit logs as the API server writes them: audit.k8s.io/v1 events, one JSON object a line, plain or gzip.

Two ways to the same table. DuckDB reads a whole file where every line of it is a well-formed event; a file that it refuses
(one bad byte is enough, or a cut gzip) goes line by line, and what cannot be a row becomes a reject. Both ways end in the
same SQL. Oddities: auditID is a label that the client may choose, so rows are told apart by file and line; `sourceIPs` may be
empty, and all but its last element are the client's word; the name of an object made with generateName stands only in the
response. Source: k8s.io/apiserver, apis/audit/v1 types.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kit import tables
from kit.sources import EvidenceFile, Reject, Sample
from kit.sources.json_document import peek
from kit.sources.stream import BOM, Damage, Line, is_gzip, lines, pieces

TABLE = "audit"
TAKEN_AS = "Kubernetes audit log"
MOST_SNIFFED = 50  # lines

# The members of audit.k8s.io/v1 Event. Explicit, because a schema guessed from the first lines fails on real logs.
EVENT = {
    "kind": "VARCHAR",
    "apiVersion": "VARCHAR",
    "level": "VARCHAR",
    "auditID": "VARCHAR",
    "stage": "VARCHAR",
    "requestURI": "VARCHAR",
    "verb": "VARCHAR",
    "user": "STRUCT(username VARCHAR, uid VARCHAR, groups VARCHAR[], extra MAP(VARCHAR, VARCHAR[]))",
    "impersonatedUser": "STRUCT(username VARCHAR, uid VARCHAR, groups VARCHAR[], extra MAP(VARCHAR, VARCHAR[]))",
    "authenticationMetadata": "JSON",
    "sourceIPs": "VARCHAR[]",
    "userAgent": "VARCHAR",
    "objectRef": "STRUCT(resource VARCHAR, namespace VARCHAR, name VARCHAR, uid VARCHAR, apiGroup VARCHAR,"
    " apiVersion VARCHAR, resourceVersion VARCHAR, subresource VARCHAR)",
    "responseStatus": "JSON",
    "requestObject": "JSON",
    "responseObject": "JSON",
    "requestReceivedTimestamp": "VARCHAR",
    "stageTimestamp": "VARCHAR",
    "annotations": "MAP(VARCHAR, VARCHAR)",
}

_IN_RESPONSE = "json_extract_string(responseObject, ['$.metadata.name', '$.metadata.uid', '$.details.uid'])"


def _extra(key: str) -> str:
    return f"\"user\".extra['{key}'][1]"


def _time(member: str) -> str:
    # DuckDB also takes words (infinity, epoch) and years that no log has and Python's datetime does not hold.
    return f"CASE WHEN regexp_matches({member}, '^[12][0-9]{{3}}-') THEN try_cast({member} AS TIMESTAMPTZ) END"


_COLUMNS = {
    "audit_id": "auditID",
    "stage": "stage",
    "level": "level",
    "verb": "verb",
    "request_uri": "requestURI",
    "user_agent": "userAgent",
    "received_at": _time("requestReceivedTimestamp"),
    "stage_at": _time("stageTimestamp"),
    "user_name": '"user".username',
    "user_uid": '"user".uid',
    "user_groups": '"user".groups',
    "user_extra": 'CAST(to_json("user".extra) AS VARCHAR)',
    "credential_id": _extra("authentication.kubernetes.io/credential-id"),
    "claimed_pod_name": _extra("authentication.kubernetes.io/pod-name"),
    "claimed_pod_uid": _extra("authentication.kubernetes.io/pod-uid"),
    "claimed_node_name": _extra("authentication.kubernetes.io/node-name"),
    "access_key_id": _extra("accessKeyId"),
    "arn": _extra("arn"),
    "session_name": _extra("sessionName"),
    "impersonated_user_name": "impersonatedUser.username",
    "impersonated_groups": "impersonatedUser.groups",
    "source_addresses": "sourceIPs",
    "source_address": "sourceIPs[-1]",
    "api_group": "objectRef.apiGroup",
    "resource": "objectRef.resource",
    "subresource": "objectRef.subresource",
    "namespace": "objectRef.namespace",
    "name": "coalesce(objectRef.name, in_response[1])",
    "uid": "coalesce(objectRef.uid, in_response[2], in_response[3])",
    "response_code": "try_cast(json_extract_string(responseStatus, '$.code') AS INTEGER)",
    "dry_run": "coalesce(regexp_matches(requestURI, '[?&]dryRun=[^&]'), false)"
    " OR coalesce(json_array_length(requestObject, '$.dryRun') > 0 AND verb LIKE 'delete%', false)",
    "decision": "annotations['authorization.k8s.io/decision']",
    "decision_reason": "annotations['authorization.k8s.io/reason']",
    "issued_credential_id": "annotations['authentication.kubernetes.io/issued-credential-id']",
    "annotations": "CAST(to_json(annotations) AS VARCHAR)",
    "request_object": "CAST(requestObject AS VARCHAR)",
    "response_object": "CAST(responseObject AS VARCHAR)",
    "event_hash": "md5(concat_ws(chr(31), "
    + ", ".join(f'coalesce(CAST("{member}" AS VARCHAR), chr(30))' for member in EVENT)
    + "))",
    "reason": "CASE WHEN kind IS DISTINCT FROM 'Event' THEN 'not an audit event: kind is ' || coalesce(kind, 'missing')"
    " WHEN auditID IS NULL THEN 'auditID is missing'"
    " WHEN requestReceivedTimestamp IS NULL THEN 'requestReceivedTimestamp is missing'"
    f" WHEN {_time('requestReceivedTimestamp')} IS NULL"
    " THEN 'requestReceivedTimestamp is not a time: ' || requestReceivedTimestamp END",
}


def _flatten(events: str) -> str:
    """SQL that turns a relation of events (line and the members of EVENT) into the table's columns and `reason`."""
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COLUMNS.items())
    return (
        "SELECT CAST($cluster AS VARCHAR) AS cluster, CAST($account AS VARCHAR) AS account, $file AS file,"
        f" line, line AS item, {columns} FROM (SELECT *, {_IN_RESPONSE} AS in_response FROM ({events}))"
    )


def sniff(sample: Sample) -> bool:
    """Whether one of the first lines is an audit event of its own; a line that is cut or broken is judged by what it begins with."""
    return any(
        _begins_event(line) for line in sample.head.removeprefix(BOM).splitlines()[:MOST_SNIFFED] if line.strip()
    )


def _begins_event(line: bytes) -> bool:
    event = peek(line)
    if not isinstance(event, dict) or event.get("kind", "Event") != "Event":
        return False
    return str(event.get("apiVersion")).startswith("audit.k8s.io/") or event.keys() >= {"auditID", "stage", "verb"}


def load(
    file: EvidenceFile,
    target: Path,
    rejects: Callable[[Reject], None],
    database: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> tuple[int, str]:
    """Read a file into the Parquet file `target` (tables.AUDIT). Returns the rows, and what ended the file early.

    rejects: takes each reject. scratch: a folder for passing files, whose path holds nothing that DuckDB would read as a pattern.
    """
    count = _well_formed(file.path)
    if count is not None and _load_whole(file, target, database, count):
        return count, ""
    return _load_lines(file, target, rejects, database, scratch)


def _well_formed(path: Path) -> int | None:
    """How many lines a file has when every one of them is a JSON object that both ways read alike; else None."""
    damage, count = Damage(), 0
    for line in lines(path, damage):
        count += 1
        if line.number != count or line.too_long or not isinstance(_parsed(line.text), dict):
            return None
    return None if damage.says or _has_bom(path) else count


def _has_bom(path: Path) -> bool:
    return next(pieces(path, Damage()), b"").startswith(BOM)


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _load_whole(file: EvidenceFile, target: Path, database: duckdb.DuckDBPyConnection, count: int) -> bool:
    """Let DuckDB read the file; False when it refuses it, or when not every line became a row."""
    flat = _flatten(_read_json(file.path))
    try:
        database.execute(f"COPY ({flat}) TO '{_quoted(target)}' ({tables.PARQUET})", _given(file))
    except duckdb.InterruptException:
        raise
    except duckdb.Error:
        # A member of a wrong type, a gzip header with a comment, too little memory: the line reader tells which, or needs less.
        return False
    found = database.sql(f"SELECT count(*), count(reason) FROM read_parquet('{_quoted(target)}')").fetchall()
    return found == [(count, 0)]


def _read_json(path: Path) -> str:
    members = ", ".join(f"'{name}': '{kind}'" for name, kind in EVENT.items())
    compression = "gzip" if is_gzip(path) else "uncompressed"
    return (
        f"SELECT row_number() OVER () AS line, * FROM read_json('{_quoted(path)}', format = 'newline_delimited',"
        f" hive_partitioning = false, compression = '{compression}', columns = {{{members}}})"
    )


def _load_lines(
    file: EvidenceFile,
    target: Path,
    rejects: Callable[[Reject], None],
    database: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> tuple[int, str]:
    """Read the file line by line; what is no event becomes a reject."""
    damage, rows = Damage(), 0
    schema = tables.AUDIT.append(pa.field("reason", pa.string()))
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in _batches(lines(file.path, damage)):
            refused = list[Reject]()
            good = {line.number: line for line in batch if not _refused(line, refused)}
            table = _events(file, list(good.values()), schema, database, refused, scratch)
            kept = table.filter(table["reason"].is_null())
            for row in table.filter(table["reason"].is_valid()).select(["line", "reason"]).to_pylist():
                refused.append(_reject(good[row["line"]], row["reason"]))
            writer.write_table(kept)
            rows += kept.num_rows
            for reject in sorted(refused, key=lambda one: one.line):
                rejects(reject)
    return rows, damage.says


def _batches(source: Iterator[Line], size: int = 4 << 20, most: int = 50_000) -> Iterator[list[Line]]:
    batch, held = list[Line](), 0
    for line in source:
        batch.append(line)
        held += len(line.text)
        if held >= size or len(batch) >= most:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _refused(line: Line, rejects: list[Reject]) -> bool:
    """Whether a line is no JSON object, or has a list or an object where the form has another; then it is among the rejects."""
    if line.too_long:
        rejects.append(_reject(line, "the line is longer than 16 MiB"))
        return True
    try:
        value = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        rejects.append(_reject(line, f"not JSON: {error}"))
        return True
    reason = "not a JSON object" if not isinstance(value, dict) else _misfit(value)
    if reason:
        rejects.append(_reject(line, reason))
    return bool(reason)


def _misfit(event: dict[str, Any]) -> str:
    """Which member is no list or no object though it has to be one; DuckDB would refuse the whole batch for it."""
    places: list[tuple[str, Any, type]] = [("sourceIPs", event.get("sourceIPs"), list)]
    places += [(name, event.get(name), dict) for name in ("user", "impersonatedUser", "objectRef", "annotations")]
    for name in ("user", "impersonatedUser"):
        inside = event.get(name)
        if isinstance(inside, dict):
            places += [(f"{name}.groups", inside.get("groups"), list), (f"{name}.extra", inside.get("extra"), dict)]
            extra = inside.get("extra")
            if isinstance(extra, dict):
                places += [(f"{name}.extra.{key}", value, list) for key, value in extra.items()]
    for place, value, kind in places:
        if value is not None and not isinstance(value, kind):
            return f"{place} is not a JSON {'list' if kind is list else 'object'}"
    return ""


def _events(
    file: EvidenceFile,
    good: list[Line],
    schema: pa.Schema,
    database: duckdb.DuckDBPyConnection,
    rejects: list[Reject],
    scratch: Path,
) -> pa.Table:
    """Rows of lines that are JSON objects. Lines that DuckDB still refuses (a key that stands twice, a list of objects where
    texts should be) are found by halving, and rejected."""
    if not good:
        return schema.empty_table()
    with tempfile.NamedTemporaryFile(suffix=".jsonl", dir=scratch) as part:
        part.writelines(line.text.rstrip(b"\r") + b"\n" for line in good)
        part.flush()
        refusal = "it is not one event"
        try:
            table = database.sql(_flatten(_read_json(Path(part.name))), params=_given(file)).to_arrow_table()
        except duckdb.InvalidInputException as error:
            table, refusal = None, str(error).splitlines()[0]
    if len(good) == 1 and (table is None or table.num_rows != 1):
        detail = refusal.removeprefix("Invalid Input Error: ").replace(f' in file "{part.name}", in line 1', "")
        rejects.append(_reject(good[0], detail.replace(part.name, file.name)))
        return schema.empty_table()
    if table is None or table.num_rows != len(good):
        middle = len(good) // 2
        return pa.concat_tables(
            _events(file, half, schema, database, rejects, scratch) for half in (good[:middle], good[middle:])
        )
    numbers = pa.array([line.number for line in good], pa.int64())
    for column in ("line", "item"):
        table = table.set_column(table.schema.get_field_index(column), column, numbers)
    return table.cast(schema)


def _given(file: EvidenceFile) -> dict[str, str | None]:
    return {"cluster": file.cluster, "account": file.account, "file": file.name}


def _reject(line: Line, reason: str) -> Reject:
    return Reject(line.number, line.number, reason, line.text[:800].decode(errors="replace"))


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
