"""SQL that is long or that several ask: texts with names, and conditions that they share.

Whatever the kit asks is held to what Spark and Athena can run too (tests/test_sql.py): groups are written out, a parameter that may be
NULL has its type, and no tie decides which of several rows is told. What fills the store (kit.evidence) is DuckDB's own SQL.
"""

from __future__ import annotations

from typing import Any

from kit.store.store import Store
from kit.store.tables import TABLES
from kit.words import Names


def within(time: str) -> str:
    """The condition that a column of times lies between $start and $end, each of which may be NULL: then there is no such end."""
    start, end = "$start::TIMESTAMPTZ", "$end::TIMESTAMPTZ"
    return f"({start} IS NULL OR {time} >= {start}) AND ({end} IS NULL OR {time} < {end})"


def one_of(column: str, parameter: str) -> str:
    """The condition that a column has one of the values of a list: joined, because a list that is looked through takes long for many."""
    return f"{column} IN (SELECT wanted FROM unnest(${parameter}) AS listed(wanted))"


def groups(
    store: Store, log: str, by: Names, where: str, *, more: str = "", of_first: str = "", order: str = "", **values: Any
) -> list[dict[str, Any]]:
    """Groups of a log's events: what they have in common, `calls`, `first_at`, `last_at`, and `first`, the first of them.

    by: columns, or expressions `… AS name`. more: further aggregates. of_first: further columns of the first event, which has its id, file
    and item; of events of one time the one that stands first in the evidence is the first.
    """
    # The first is asked for by its time: to carry it along took twice as long, and a window over all events ten times.
    table = TABLES[log]
    named = [(column.rpartition(" AS ")[0] or column, column.rpartition(" AS ")[2]) for column in by]
    common = ", ".join(f"{column} AS {name}" if column != name else name for column, name in named)
    time, condition = table.time, f"({where})"
    rows = store.rows_again(
        f"SELECT {common}, count(*) AS calls, min({time}) AS first_at, max({time}) AS last_at{more and f', {more}'} FROM {log}"
        f" WHERE {condition} GROUP BY {', '.join(column for column, _ in named)}{order and f' ORDER BY {order}'}",
        **values,
    )
    if not rows:
        return rows
    firsts = dict[tuple[Any, ...], dict[str, Any]]()
    for event in store.rows_again(
        f"SELECT {common}, {time} AS first_at, {table.id}, file, item{of_first and f', {of_first}'} FROM {log}"
        f" WHERE {one_of(time, 'times')} AND {condition} ORDER BY file, item",
        **values,
        times=sorted({row["first_at"] for row in rows}),
    ):
        firsts.setdefault(tuple(event[name] for _, name in [*named, ("", "first_at")]), event)
    return [row | {"first": firsts[(*(row[name] for _, name in named), row["first_at"])]} for row in rows]


LAST_STAGE = (
    "row_number() OVER (PARTITION BY audit_id, date_trunc('millisecond', received_at), user_name, verb, request_uri"
    " ORDER BY CASE stage WHEN 'RequestReceived' THEN 0 WHEN 'ResponseStarted' THEN 1 ELSE 2 END DESC, stage_at DESC, file, item)"
)
"""A request has one event a stage, under one auditID; OCSF cuts times to milliseconds. The last one tells what came of it."""
_WRITES = """
WITH writes AS (
  SELECT coalesce(uid, requested_uid) AS uid, resource, namespace, name, received_at, audit_id,
    user_name, file, item, verb, response_object,
    list_contains($bodies, coalesce(subresource, '')) AS of_whole,
    CASE WHEN subresource = 'binding' THEN bound_node
      WHEN resource = 'pods' AND subresource = 'status' AND starts_with(user_name, 'system:node:') THEN substr(user_name, 13)
      END AS node,
    coalesce(subresource, '') = '' AND (verb = 'create' OR verb = 'patch' AND response_code = 201) AS creates,
    coalesce(subresource, '') = '' AND verb = 'delete' AS deletes,
    verb <> 'delete' AND coalesce(level, '') NOT IN ('Metadata', 'Request') AS is_whole
  FROM audit
  WHERE response_code BETWEEN 200 AND 299 AND list_contains($resources, resource) AND verb IN ('create', 'update', 'patch', 'delete')
    AND NOT dry_run{more}
)"""
"""What was written to objects of some resources. $bodies: subresources whose responses have the whole object."""
LIVES = (
    _WRITES.format(more="")
    + """
SELECT uid, min(resource) AS resource, min(namespace) AS namespace, min(name) AS name, min(received_at) AS first_at,
  min(CASE WHEN creates THEN received_at END) AS created_at,
  min(CASE WHEN deletes THEN received_at END) AS deletion_at, max(CASE WHEN deletes THEN received_at END) AS deleted_at,
  max(CASE WHEN node IS NOT NULL THEN received_at END) AS placed_at,
  max(CASE WHEN of_whole AND is_whole THEN received_at END) AS body_at
FROM writes WHERE uid IS NOT NULL GROUP BY uid
"""
)
"""One row an object: when what happened to it, without bodies, which take long to read; of body_at the level says that there is one."""
# A delete is answered with the object or with a Status. Only CASE spares the others the parse.
_BODY = """CASE WHEN of_whole AND CASE WHEN verb = 'delete' THEN json_extract_string(response_object, '$.metadata.uid') IS NOT NULL ELSE true END
  THEN response_object END AS body"""
WRITES_AT = (
    _WRITES.format(more=f" AND {one_of('received_at', 'times')}")
    + f"""
SELECT uid, received_at, audit_id, user_name, file, item, node, creates, deletes, {_BODY}
FROM writes WHERE uid IS NOT NULL
"""
)
"""What was written at those $times."""
WRITES_OF = (
    _WRITES.format(more=" AND response_object IS NOT NULL")
    + f"""
SELECT uid, received_at, audit_id, user_name, file, item, node, creates, deletes, {_BODY}
FROM writes WHERE {one_of("uid", "uids")}
"""
)
"""What was written to those $uids and answered with something."""
WHOLE_BODIES = """
SELECT received_at, audit_id, file, item, user_name, response_object FROM audit
WHERE resource = $resource AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR AND name = $name
  AND verb IN ('create', 'update', 'patch', 'delete') AND list_contains($bodies, coalesce(subresource, ''))
  AND response_code BETWEEN 200 AND 299 AND NOT dry_run AND response_object IS NOT NULL
  AND ($before::TIMESTAMPTZ IS NULL OR received_at < $before::TIMESTAMPTZ OR verb = 'delete' AND received_at = $before::TIMESTAMPTZ)
ORDER BY received_at DESC, file, item LIMIT 20
"""
"""What was answered to the last writes of one object up to $before, the last first. $bodies: subresources whose answers have all of it."""
OBJECT_WRITES = """
SELECT received_at, audit_id, file, line, item, user_name, subresource, request_object, response_object FROM audit
WHERE resource = $resource AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR AND name = $name
  AND verb IN ('create', 'update', 'patch') AND response_code BETWEEN 200 AND 299 AND NOT dry_run
ORDER BY received_at, file, item
"""
"""All that was written to one object, its status and other subresources too, the first first."""
SELECTIONS = """
SELECT uid, received_at, file, item, selection FROM audit
WHERE selection IS NOT NULL AND response_code BETWEEN 200 AND 299 AND NOT dry_run AND uid IS NOT NULL
ORDER BY received_at, file, item
"""
"""The labels, selectors and subjects of objects as they were answered when somebody wrote them, oldest first."""
_OF_READS = (
    "audit_id, received_at, stage_at, user_name, source_address, verb, resource, coalesce(subresource, '') AS subresource,"
    " namespace, name, request_uri, response_code, dry_run, file, line, item"
)
SECRET_READS = f"""
SELECT * FROM (
  SELECT {_OF_READS}, {LAST_STAGE} AS place FROM audit
  WHERE resource = 'secrets' AND subresource IS NULL AND verb IN ('get', 'list', 'watch') AND NOT coalesce(dry_run, false)
) AS staged
WHERE place = 1 AND (response_code BETWEEN 200 AND 299 OR response_code = 101) ORDER BY received_at, file, item
"""
"""The calls that were given secrets, by name or in lists and watches, oldest first."""
_ONE_A_CALL = f"""(
  SELECT *, coalesce(access_key_id, credential_id, claimed_pod_uid) AS credential,
    verb || ' ' || coalesce(resource, 'other') || coalesce('/' || subresource, '') AS what, {LAST_STAGE} AS place
  FROM audit WHERE {{where}}
) AS staged"""
CALLS_ABOUT = f"""
SELECT date_trunc('hour', received_at) AS hour, what, user_name, source_address, user_agent, credential, count(*) AS calls,
  sum(CASE WHEN list_contains($hostile, audit_id) THEN 1 ELSE 0 END)::BIGINT AS hostile, min(received_at) AS first_at, max(received_at) AS last_at
FROM {_ONE_A_CALL} WHERE place = 1
GROUP BY date_trunc('hour', received_at), what, user_name, source_address, user_agent, credential
ORDER BY hour, what, user_name, source_address, user_agent, credential
"""
"""The calls about a thing by hour, kind and caller. $hostile: auditIDs of the attacker's calls."""
CALLS_AROUND = f"""
SELECT audit_id, received_at AS at, user_name, source_address, what, namespace, name, response_code, user_agent
FROM {
    _ONE_A_CALL.format(
        where="user_name IS NOT DISTINCT FROM $user_name::VARCHAR AND received_at >= $start::TIMESTAMPTZ AND received_at < $end::TIMESTAMPTZ"
    )
} WHERE place = 1 ORDER BY received_at, file, item LIMIT 200
"""
"""What a caller did in a stretch of time."""
TRAIL_ABOUT = """
SELECT event_source, event_name, source_address, access_key_id, count(*) AS calls, count(error_code) AS failed,
  min(event_at) AS first_at, max(event_at) AS last_at
FROM trail WHERE {where} GROUP BY event_source, event_name, source_address, access_key_id
ORDER BY first_at, event_source, event_name, source_address, access_key_id
"""
"""The CloudTrail events about a thing, those alike in a row."""
