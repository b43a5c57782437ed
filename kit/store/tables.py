"""The case's tables, their columns and types, declared once for readers, store, tests and docs (docs/tables.md).

A column has one type and one meaning in every table. Times are UTC, to the microsecond. File, line and item lead back to
the raw text in the evidence, which is not stored a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

TEXT = pa.string()
Row = dict[str, Any]
"""A row: column, or heading of what is shown, → value."""

TEXTS = pa.list_(pa.string())
TIME = pa.timestamp("us", tz="UTC")
COUNT = pa.int64()

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "cluster": (TEXT, "name of the EKS cluster that the record is from; empty where no evidence says"),
    "account": (TEXT, "AWS account that the record is from"),
    "file": (TEXT, "path of the evidence file below the case's evidence folder"),
    "line": (COUNT, "line in that file, after decompression, where the record starts, from 1"),
    "item": (COUNT, "place of the record in that file, from 1"),
    "event_hash": (TEXT, "hash of the whole record; records with equal hashes are duplicates"),
    # Kubernetes audit events
    "audit_id": (TEXT, "auditID: a label that the client may choose; file and item tell rows apart"),
    "stage": (TEXT, "RequestReceived, ResponseStarted, ResponseComplete or Panic"),
    "level": (TEXT, "how much the audit policy recorded: Metadata, Request or RequestResponse"),
    "verb": (TEXT, "get, list, watch, create, update, patch, delete, deletecollection or an HTTP method"),
    "request_uri": (TEXT, "path and query of the request"),
    "user_agent": (TEXT, "what the client calls itself; written by the client"),
    "received_at": (TIME, "when the API server received the request"),
    "stage_at": (TIME, "when the stage was reached"),
    "user_name": (TEXT, "user.username of an audit event, userIdentity.userName of a CloudTrail event"),
    "user_uid": (
        TEXT,
        "user.uid: a service account's uid, or aws-iam-authenticator:ACCOUNT:PRINCIPAL; of a sign-in what the authenticator gave out",
    ),
    "user_groups": (TEXTS, "the user's groups"),
    "user_extra": (TEXT, "user.extra as JSON"),
    "credential_id": (TEXT, "extra authentication.kubernetes.io/credential-id: which token or certificate was used"),
    "claimed_pod_name": (TEXT, "extra …/pod-name: name of the pod that the token is bound to"),
    "claimed_pod_uid": (TEXT, "extra …/pod-uid: uid of the pod that the token is bound to"),
    "claimed_node_name": (TEXT, "extra …/node-name: node of the pod that the token is bound to"),
    "access_key_id": (TEXT, "AWS access key: extra accessKeyId, or userIdentity.accessKeyId"),
    "arn": (TEXT, "ARN of the caller or of the finding"),
    "session_name": (TEXT, "extra sessionName of the EKS authenticator"),
    "impersonated_user_name": (TEXT, "impersonatedUser.username"),
    "impersonated_groups": (TEXTS, "impersonatedUser.groups"),
    "source_addresses": (TEXTS, "sourceIPs as logged; all but the last are the client's word"),
    "source_address": (
        TEXT,
        "the connection's own address: the last of sourceIPs, or sourceIPAddress, in its one form (`2001:db8::1`, `198.51.100.7` for `::ffff:198.51.100.7`)",
    ),
    "api_group": (TEXT, "objectRef.apiGroup; empty for the core group"),
    "resource": (TEXT, "plural API name, such as pods; empty for things of AWS"),
    "subresource": (TEXT, "objectRef.subresource, such as exec"),
    "namespace": (TEXT, "namespace; empty for what is cluster-scoped"),
    "name": (TEXT, "name of the object; of one made with generateName, from the response"),
    "uid": (TEXT, "uid of the object, from the reference or the response; of things of AWS their ARN or id"),
    "response_code": (pa.int32(), "HTTP status"),
    "dry_run": (pa.bool_(), "whether the server was asked to store nothing: in the query or in DeleteOptions"),
    "decision": (TEXT, "annotation authorization.k8s.io/decision"),
    "decision_reason": (TEXT, "annotation authorization.k8s.io/reason"),
    "issued_credential_id": (TEXT, "annotation of a TokenRequest: the credential that it made"),
    "token_secret": (TEXT, "annotation …/legacy-token: the Secret that the caller's token without an end is from"),
    "annotations": (TEXT, "the event's annotations as JSON"),
    "request_object": (TEXT, "request body as JSON, where the audit level has it"),
    "response_object": (TEXT, "response body as JSON, where the audit level has it"),
    "requested_uid": (
        TEXT,
        "metadata.uid of the request body, where neither reference nor response names the object's uid",
    ),
    "bound_node": (TEXT, "node to which a pods/binding binds the pod"),
    "selection": (
        TEXT,
        "labels, selector and subjects of a pod, service or role binding as the response to a write has them, as JSON",
    ),
    "deleted_uids": (
        TEXT,
        "uids of what the response to a deletecollection lists, as JSON; empty where it has no list",
    ),
    "repaired": (TEXT, "what in the event no JSON parser holds, which is kept in another form; nearly always empty"),
    "log_stream": (TEXT, "log stream of CloudWatch Logs, where the evidence names it: one an API server"),
    # sign-ins
    "signed_in_at": (TIME, "when the EKS authenticator wrote the line"),
    "message": (TEXT, "the authenticator's message, and the reason that it gives"),
    "granted": (pa.bool_(), "whether the sign-in was granted; empty for a line that is no answer"),
    "attributes": (TEXT, "everything in the line as JSON"),
    # CloudTrail events
    "event_id": (TEXT, "eventID"),
    "event_at": (TIME, "eventTime"),
    "event_source": (TEXT, "service, such as sts.amazonaws.com"),
    "event_name": (TEXT, "API call, such as AssumeRole"),
    "event_category": (TEXT, "Management, Data or Insight"),
    "region": (TEXT, "AWS region"),
    "identity_type": (TEXT, "userIdentity.type"),
    "principal_id": (TEXT, "userIdentity.principalId"),
    "issuer_arn": (TEXT, "sessionContext.sessionIssuer.arn: the role behind a session"),
    "invoked_by": (TEXT, "userIdentity.invokedBy: the AWS service that made the call"),
    "error_code": (TEXT, "errorCode; empty when the call succeeded"),
    "read_only": (pa.bool_(), "whether the call changes nothing"),
    "request_parameters": (TEXT, "requestParameters as JSON"),
    "response_elements": (TEXT, "responseElements as JSON"),
    "request_id": (TEXT, "requestID of a CloudTrail event; of a request of the kit also the Audit-Id of Kubernetes"),
    # requests of the kit
    "requested_at": (TIME, "when the kit made the request, by its own clock"),
    "service": (TEXT, "AWS service as boto3 names it, or kubernetes"),
    "operation": (TEXT, "what was asked for, such as ListAccessEntries or ListPods"),
    "made_as": (TEXT, "ARN or user name that the service said the kit is"),
    "run": (TEXT, "the collection that the request is of, as it stands in the user agent"),
    "status": (TEXT, "ok, refused, failed or empty"),
    "permission": (TEXT, "the permission to ask for where the request was refused"),
    # objects
    "api_version": (
        TEXT,
        "Kubernetes apiVersion, aws:SERVICE, or kit:capture of a process that the kit read of a node",
    ),
    "kind": (TEXT, "Kubernetes kind, or AWS's name of the thing, such as AccessEntry"),
    "object": (TEXT, "the whole object as JSON; values of Secrets are left out"),
    # findings
    "id": (TEXT, "GuardDuty's Id"),
    "type": (TEXT, "finding type"),
    "severity": (pa.float64(), "severity number, 0 to 10"),
    "title": (TEXT, "GuardDuty's title"),
    "created_at": (TIME, "when GuardDuty made the finding"),
    "updated_at": (TIME, "when GuardDuty last changed it"),
    "first_seen_at": (TIME, "eventFirstSeen"),
    "last_seen_at": (TIME, "eventLastSeen"),
    "count": (COUNT, "how often GuardDuty saw it"),
    "sample": (pa.bool_(), "whether AWS made it for practice"),
    "about_eks": (pa.bool_(), "whether it names an EKS cluster; the scope also takes those about a node of the case"),
    "archived": (pa.bool_(), "whether it is archived in GuardDuty"),
    "wrapper": (
        TEXT,
        "the form that the finding came in: GuardDuty, Security Hub (ASFF) or OCSF; the last two drop fields",
    ),
    "finding": (TEXT, "the whole finding as JSON, names as in the API's model"),
    # rejects and coverage
    "reason": (TEXT, "why the record could not become a row"),
    "near_at": (TIME, "about when it happened: as CloudWatch Logs says, else when the event before it in its file did"),
    "raw": (TEXT, "first 200 characters of the record; empty where they may be a Secret's"),
    "source": (TEXT, "audit, sign_ins or trail; of what was not permitted or not answered the service and operation"),
    "state": (
        TEXT,
        "recorded, partial (one API server's log is missing), gap, not permitted (a request of the collection was refused), or not answered (it failed)",
    ),
    "start_at": (TIME, "start of the span"),
    "end_at": (TIME, "end of the span"),
    "events": (COUNT, "events in the span"),
    "says": (TEXT, "how that is known"),
}


AS_PARQUET = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480, ROW_GROUP_SIZE_BYTES '16MB'"
"""How DuckDB writes a table. Rows with bodies are large, so few of them are held at once."""

MOST_WORKERS = 3
"""On one file; each writes a part of its own."""


@dataclass(frozen=True)
class Table:
    """A table: what is in it, what a row is, and the names of its columns, separated by spaces.

    time: the column that tells when it happened. ref, id: the kind of Ref that names a row, and the column with its key; rows of other
    tables are named by file and item. is_log: written as things happen, so that it has a coverage. same: the columns in which duplicates
    are equal; DuckDB's hash is fast, and no proof by itself.
    """

    name: str
    title: str
    says: str
    column_list: str
    time: str = ""
    ref: str = ""
    id: str = ""
    is_log: bool = False
    same: str = "event_hash"

    @cached_property
    def schema(self) -> pa.Schema:
        """Its columns with their types."""
        return pa.schema([(name, COLUMNS[name][0]) for name in self.names])

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return self.column_list.split()

    @property
    def has_records(self) -> bool:
        """Whether a row is a record of evidence."""
        return "event_hash" in self.names


PLACE = "cluster account file line item "

AUDIT = Table(
    "audit",
    "Kubernetes audit log",
    "Kubernetes audit events, one row an event.",
    PLACE + "audit_id stage level verb request_uri user_agent received_at stage_at user_name user_uid user_groups"
    " user_extra credential_id claimed_pod_name claimed_pod_uid claimed_node_name access_key_id arn session_name"
    " impersonated_user_name impersonated_groups source_addresses source_address api_group resource subresource namespace"
    " name uid response_code dry_run decision decision_reason issued_credential_id token_secret annotations request_object response_object"
    " requested_uid bound_node selection deleted_uids log_stream repaired event_hash",
    time="received_at",
    ref="audit",
    id="audit_id",
    is_log=True,
    same="event_hash, audit_id, stage, received_at, stage_at, user_name, verb, request_uri",
)
SIGN_INS = Table(
    "sign_ins",
    "EKS authenticator log",
    "What the EKS authenticator answered: which IAM principal became which user name with which groups, from where.",
    PLACE + "signed_in_at message granted arn user_name user_uid user_groups access_key_id session_name source_address"
    " attributes log_stream event_hash",
    time="signed_in_at",
    is_log=True,
)
TRAIL = Table(
    "trail",
    "CloudTrail",
    "CloudTrail events.",
    PLACE
    + "event_id event_at event_source event_name event_category region source_address user_agent identity_type arn"
    " principal_id access_key_id issuer_arn user_name invoked_by error_code read_only request_parameters"
    " response_elements request_id event_hash",
    time="event_at",
    ref="trail",
    id="event_id",
    is_log=True,
)
OBJECTS = Table(
    "objects",
    "cluster dump and AWS descriptions",
    "Objects of the cluster dump, and what AWS describes: access entries, associations, instances.",
    PLACE + "api_version kind resource namespace name uid object event_hash",
    ref="object",
    id="uid",
)
FINDINGS = Table(
    "findings",
    "GuardDuty findings",
    "GuardDuty findings, each once, as last updated; `finding_versions` holds all that arrived.",
    PLACE + "id arn type severity title region created_at updated_at first_seen_at last_seen_at count sample about_eks"
    " archived wrapper finding event_hash",
    time="updated_at",
    ref="finding",
    id="id",
)
COLLECTED = Table(
    "requests",
    "collection log",
    "What `kit collect` asked for, one row a request: its id, as whom, and whether it was refused.",
    PLACE + "requested_at service operation request_uri region request_id made_as run status permission attributes"
    " event_hash",
    time="requested_at",
)
REJECTS = Table("rejects", "rejects", "Records that could not become rows.", PLACE + "reason raw near_at")
COVERAGE = Table(
    "coverage",
    "coverage",
    "Which spans of time a source recorded, and its gaps.",
    "cluster account source log_stream state start_at end_at events says",
)
TABLES: dict[str, Table] = {
    table.name: table for table in (AUDIT, SIGN_INS, TRAIL, OBJECTS, FINDINGS, COLLECTED, REJECTS, COVERAGE)
}
LOGS = tuple(table for table in TABLES.values() if table.is_log)
"""The tables whose coverage is worked out."""
REF_TABLES = {table.ref: table for table in TABLES.values() if table.ref}
"""Kind of Ref → the table whose rows it names."""


_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


# pyarrow's own from_pylist, array and to_pylist import pandas, in case the values are pandas' own: half a second.
def rows_of(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of an Arrow table as dicts; times are aware datetimes in UTC."""
    names, columns = table.column_names, [_values(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if column.type == TIME:
        ticks = (tick for chunk in chunks for tick in chunk.view(COUNT).to_pylist())
        return [None if tick is None else _EPOCH + tick * _TICK for tick in ticks]
    return [value for chunk in chunks for value in _values_of(chunk)]


def _values_of(chunk: pa.Array) -> list[Any]:
    """The values of a column's chunk: equal texts are one object, as a million events have few users, agents and files."""
    if not pa.types.is_string(chunk.type) or len(chunk) < _FEW or chunk.nbytes > _LONG * len(chunk):
        return list(chunk.to_pylist())
    encoded = chunk.dictionary_encode(null_encoding="encode")
    texts, places = encoded.dictionary.to_pylist(), encoded.indices
    numbers = memoryview(places.buffers()[1]).cast("i")  # by NumPy, Arrow would import pandas
    return [texts[place] for place in numbers[places.offset : places.offset + len(places)].tolist()]


_FEW = 1_000  # values: for fewer it is not worth to import pyarrow.compute, 50 ms of CPU
_LONG = 500  # bytes of a text, such as a body, which hardly comes twice


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table: columns that are not in a row, and None, stay empty."""
    columns = zip(schema.names, schema.types, strict=True)
    arrays = [array_of([row.get(name) for row in rows], column) for name, column in columns]
    return pa.Table.from_arrays(arrays, schema=schema)


def array_of(values: Sequence[Any], column: pa.DataType) -> pa.Array:
    """Values of a column of these tables as an Arrow array."""
    if all(value is None for value in values):
        return pa.nulls(len(values), column)
    known = pa.py_buffer(np.packbits(np.array([value is not None for value in values], np.bool_), bitorder="little"))
    if pa.types.is_string(column):
        texts = [b"" if value is None else value.encode() for value in values]
        return pa.StringArray.from_buffers(len(texts), _starts(texts), pa.py_buffer(b"".join(texts)), known)
    if pa.types.is_list(column):
        lists = [value or [] for value in values]
        inner = array_of([each for value in lists for each in value], column.value_type)
        return pa.Array.from_buffers(column, len(lists), [known, _starts(lists)], children=[inner])
    numbers = [0 if value is None else value for value in values]
    if pa.types.is_timestamp(column):
        numbers = [0 if value is None else (value - _EPOCH) // _TICK for value in values]
    kind = np.float64 if pa.types.is_floating(column) else np.dtype(f"int{max(column.bit_width, 8)}")
    filled = np.array(numbers, kind)
    data = np.packbits(filled, bitorder="little") if pa.types.is_boolean(column) else filled
    return pa.Array.from_buffers(column, len(values), [known, pa.py_buffer(data)])


def _starts(parts: Sequence[Sequence[Any]]) -> pa.Buffer:
    return pa.py_buffer(np.cumsum([0, *map(len, parts)], dtype=np.int32))


def quoted(text: str | Path) -> str:
    """A text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"
