"""The columns of the table `audit`, made of the texts of audit.k8s.io/v1 events by one statement of DuckDB."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from kit.store import tables
from kit.store.tables import quoted

# The members of audit.k8s.io/v1 Event, as DuckDB's json_transform takes them. What it cannot make of a value is left empty.
_USER = {"username": "VARCHAR", "uid": "VARCHAR", "groups": ["VARCHAR"], "extra": "JSON"}
_OBJECT_REF = ("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource")
EVENT: dict[str, Any] = {
    **dict.fromkeys(("kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb"), "VARCHAR"),
    "user": _USER,
    "impersonatedUser": _USER,
    "authenticationMetadata": "JSON",
    "sourceIPs": ["VARCHAR"],
    "userAgent": "VARCHAR",
    "objectRef": dict.fromkeys(_OBJECT_REF, "VARCHAR"),
    **dict.fromkeys(("responseStatus", "requestObject", "responseObject"), "JSON"),
    **dict.fromkeys(("requestReceivedTimestamp", "stageTimestamp"), "VARCHAR"),
    "timestamp": "VARCHAR",  # audit.k8s.io before v1
    "metadata": {"creationTimestamp": "VARCHAR"},
    "annotations": "JSON",
}
# Members whose names have dots, taken out of one JSON value at once: each costs a walk through the text.
_EXTRA = (
    ("credential_id", "authentication.kubernetes.io/credential-id"),
    ("claimed_pod_name", "authentication.kubernetes.io/pod-name"),
    ("claimed_pod_uid", "authentication.kubernetes.io/pod-uid"),
    ("claimed_node_name", "authentication.kubernetes.io/node-name"),
    ("access_key_id", "accessKeyId"),
    ("arn", "arn"),
    ("session_name", "sessionName"),
)
_ANNOTATIONS = (
    ("decision", "authorization.k8s.io/decision"),
    ("decision_reason", "authorization.k8s.io/reason"),
    ("issued_credential_id", "authentication.kubernetes.io/issued-credential-id"),
)
_USER_EXTRA = '"user".extra'


def _taken_out(value: str, members: tuple[tuple[str, str], ...], element: str = "") -> str:
    paths = ", ".join(f"'$.\"{name}\"{element}'" for _, name in members)
    return f"json_extract_string({value}, [{paths}])"


def _time(member: str) -> str:
    # DuckDB also takes words (infinity, epoch) and years that no log has and Python's datetime does not hold.
    # Numbers are seconds, milliseconds or microseconds since 1970, by how many digits they have, as kit.lenient reads them.
    whole = f"try_cast({member} AS DOUBLE)"
    unit = (
        f"CASE WHEN {whole} < 1e11 THEN 1000000 WHEN {whole} < 1e14 THEN 1000 WHEN {whole} < 1e17 THEN 1 ELSE 0.001 END"
    )
    return (
        f"CASE WHEN regexp_matches({member}, '^[12][0-9]{{3}}-') THEN try_cast({member} AS TIMESTAMPTZ)"
        f" WHEN regexp_matches({member}, '^[0-9]{{9,19}}([.][0-9]+)?$')"
        f" THEN CAST(make_timestamp(CAST({whole} * {unit} AS BIGINT)) AS TIMESTAMPTZ) END"
    )


# Old API servers have `timestamp` and their metadata's time alone, and some tools drop all times but the stage's.
_WHEN = ("requestReceivedTimestamp", '"timestamp"', "stageTimestamp", "metadata.creationTimestamp")
_TIMES = ", ".join(_WHEN)
_RECEIVED = (
    f"coalesce(requested, {_time(_WHEN[1])}, staged, {_time(_WHEN[3])})"  # of what is worked out once, in columns_of
)

# Which member has not the type that it has to have. Asked only where something is empty that hardly ever is.
_TYPED = {
    **dict.fromkeys(("user", "impersonatedUser", "objectRef", "annotations"), "OBJECT"),
    "sourceIPs": "ARRAY",
    "user.groups": "ARRAY",
    "user.extra": "OBJECT",
    "impersonatedUser.groups": "ARRAY",
}
_DOUBTFUL = (
    '"user".username IS NULL OR "user".groups IS NULL OR sourceIPs IS NULL OR NOT starts_with(annotations, \'{\')'
    " OR (objectRef IS NOT NULL AND objectRef.resource IS NULL) OR NOT starts_with(\"user\".extra, '{')"
    " OR (impersonatedUser IS NOT NULL AND (impersonatedUser.username IS NULL OR impersonatedUser.groups IS NULL))"
)
_MISFIT = (
    f"list_filter(list_zip([{', '.join(repr(name) for name in _TYPED)}], [{', '.join(repr(kind) for kind in _TYPED.values())}],"
    f" json_type(text, [{', '.join(repr(f'$.{name}') for name in _TYPED)}])), lambda of: of[3] <> of[2] AND of[3] <> 'NULL')"
)
_MISFITS = (  # what is said of them
    "nullif(array_to_string(list_transform(misfit, lambda of: of[1] || ' is not a JSON ' || CASE of[2] WHEN 'ARRAY' THEN 'list' ELSE 'object' END), '; '), '')"
)


def _listed(member: str) -> str:
    """A list of texts; a text where a list should be is taken apart at its commas."""
    path = member.replace('"', "")
    text = f"json_extract_string(text, '$.{path}')"
    return (
        f"CASE WHEN {member} IS NULL AND len(misfit) > 0 AND json_type(text, '$.{path}') = 'VARCHAR'"
        f" THEN list_transform(string_split({text}, ','), lambda one: trim(one)) ELSE {member} END"
    )


_COLUMNS = {
    "audit_id": "coalesce(auditID, 'none in ' || file || ' ' || item)",
    "stage": "stage",
    "level": "level",
    "verb": "verb",
    "request_uri": "requestURI",
    "user_agent": "userAgent",
    "stage_at": "staged",
    "user_name": """CASE WHEN "user".username IS NULL AND len(misfit) > 0 AND json_type(text, '$.user') = 'VARCHAR' THEN json_extract_string(text, '$.user')"""
    """ ELSE "user".username END""",
    "user_uid": '"user".uid',
    "user_groups": _listed('"user".groups'),
    "user_extra": 'CAST("user".extra AS VARCHAR)',
    **{column: f"in_extra[{place}]" for place, (column, _) in enumerate(_EXTRA, 1)},
    "impersonated_user_name": "impersonatedUser.username",
    "impersonated_groups": _listed("impersonatedUser.groups"),
    "source_addresses": _listed("sourceIPs"),
    "source_address": f"({_listed('sourceIPs')})[-1]",
    "api_group": "objectRef.apiGroup",
    "resource": "objectRef.resource",
    "subresource": "objectRef.subresource",
    "namespace": "objectRef.namespace",
    "name": "coalesce(objectRef.name, in_response[1])",
    "uid": "coalesce(objectRef.uid, in_response[2], in_response[3])",
    "response_code": "try_cast(json_extract_string(responseStatus, '$.code') AS INTEGER)",
    "dry_run": "CASE WHEN contains(requestURI, 'dryRun=') AND regexp_matches(requestURI, '[?&]dryRun=[^&]') THEN true"
    " WHEN verb LIKE 'delete%' THEN coalesce(json_array_length(requestObject, '$.dryRun') > 0, false) ELSE false END",
    **{column: f"in_annotations[{place}]" for place, (column, _) in enumerate(_ANNOTATIONS, 1)},
    "annotations": "CAST(annotations AS VARCHAR)",
    "request_object": "CAST(requestObject AS VARCHAR)",
    "response_object": "CAST(responseObject AS VARCHAR)",
    "repaired": "nullif(concat_ws('; ', repaired, CASE WHEN requestReceivedTimestamp IS NOT NULL AND requested IS NULL"
    f" THEN 'requestReceivedTimestamp is no time' END, {_MISFITS}), '')",
    "event_hash": "CAST(hash({}) AS VARCHAR) || coalesce(' ' || \"timestamp\", '')".format(
        ", ".join(f'"{member}"' for member in EVENT if member not in ("timestamp", "metadata"))
    ),
    "reason": "CASE WHEN event IS NULL THEN 'not one JSON object, or text in it that is no Unicode'"
    " WHEN kind <> 'Event' THEN 'kind is not Event'"
    f" WHEN received_at IS NULL THEN CASE WHEN coalesce({_TIMES}) IS NULL THEN 'requestReceivedTimestamp is missing'"
    f" ELSE 'requestReceivedTimestamp is not a time: ' || coalesce({_TIMES}) END"
    " END",
}


def columns_of(file: str, careful: bool = False) -> str:
    """SQL that turns the relation `texts` (EVENT_TEXTS) into the table's columns, `reason`, and `raw` where there is a reason.

    careful: a text that DuckDB cannot parse has a reason too, which costs a fifth more; else the statement fails at it.
    """
    sources = _COLUMNS | {"file": quoted(file), "audit_id": _COLUMNS["audit_id"].replace("file", quoted(file))}
    columns = ", ".join(f"{sources.get(name, name)} AS {name}" for name in (*tables.AUDIT.names, "reason"))
    event = f"json_transform(text, {quoted(json.dumps(EVENT))})"
    parsed = f"SELECT *, {f'TRY({event})' if careful else event} AS event FROM texts"
    taken_out = (
        f"SELECT *, {_time(_WHEN[0])} AS requested, {_time(_WHEN[2])} AS staged, CASE WHEN event IS NOT NULL AND ({_DOUBTFUL}) THEN {_MISFIT} END AS misfit,"
        f" {_taken_out(_USER_EXTRA, _EXTRA, '[0]')} AS in_extra, {_taken_out('annotations', _ANNOTATIONS)} AS in_annotations,"
        " CASE WHEN responseObject IS NOT NULL AND (objectRef.name IS NULL OR objectRef.uid IS NULL) THEN"
        " json_extract_string(responseObject, ['$.metadata.name', '$.metadata.uid', '$.details.uid']) END AS in_response"
        f" FROM (SELECT *, event.* FROM ({parsed}))"
    )
    flat = f"SELECT {columns}, text FROM (SELECT *, {_RECEIVED} AS received_at FROM ({taken_out}))"
    return f"SELECT * EXCLUDE (text), CASE WHEN reason IS NOT NULL THEN left(text, 200) END AS raw FROM ({flat})"


EVENT_TEXTS = pa.schema(
    [
        ("line", pa.int64()),
        ("item", pa.int64()),
        *((name, pa.string()) for name in ("cluster", "account", "log_stream", "repaired", "text")),
    ]
)
