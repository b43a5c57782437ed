"""Which time each source recorded, and what is missing: gaps in a log, and API servers whose log is not there.

EKS runs at least two API servers, each with a log stream of its own. So a log that never falls silent may still lack one of them. Two
things show it: the names of the streams, where the evidence has them, and the kubelets, which renew their node's lease every ten
seconds or so, each through one API server for a long time: nodes that fall silent while others go on and that were neither removed
nor found unreachable. Sources: EKS User Guide, control plane logs; Kubernetes, "Leases: node heartbeats" and "Node heartbeats".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from kit.store import tables
from kit.store.parquet import part_path, parts_of, read_parquet
from kit.store.tables import quoted, rows_of, table_of

SILENCE_SECONDS = 60
"""On a live cluster the kubelets alone renew a lease every ten seconds, so a minute without any event is a gap."""
FEW_PAUSES = 20, 1000
"""Below the second the last hundredth of the pauses are so few that all may be gaps; below the first so may the last quarter."""
WRITTEN_AT = "coalesce(stage_at, received_at)"
FEWEST_SERVERS = 2
NODE_CONTROLLERS = ("system:serviceaccount:kube-system:node-controller", "system:kube-controller-manager")
"""Who marks a node that stopped renewing its lease as unreachable, within a minute (Kubernetes, node lifecycle controller)."""
_ASKED = {
    tables.AUDIT.name: "log_stream, stage_at, received_at, user_name, verb, resource, subresource, namespace, name, response_code",
    **{log.name: log.time for log in tables.LOGS if log is not tables.AUDIT},
}
"""The columns that are asked of each log: with few of them a statement is planned in a third of the time."""
GAP = "not a single event: the log was off, cut or not delivered"
UNSEEN = "no node's lease renewals are in this log, so an API server whose log is missing would not be seen"


def write_coverage(
    store: Path, number: int, database: duckdb.DuckDBPyConnection, cluster: str | None, account: str | None
) -> None:
    """Write the coverage of all parts up to a number as the part of that number. cluster, account: of records that say none."""
    found = list[dict[str, Any]]()
    for log in tables.LOGS:
        parts = parts_of(store, log.name, number)
        if parts:
            of = ", ".join(
                f"coalesce({name}, {quoted(value) if value else 'NULL'}) AS {name}"
                for name, value in (("cluster", cluster), ("account", account))
            )
            database.execute(
                f"CREATE OR REPLACE TEMP VIEW recorded AS SELECT {of}, {_ASKED[log.name]} FROM {read_parquet(parts)}"
            )
            found += _of_audit(database) if log is tables.AUDIT else _of_quiet(database, log)
    if parts := parts_of(store, tables.COLLECTED.name, number):
        found += _not_had(database, read_parquet(parts), cluster, account)
    pq.write_table(table_of(found, tables.COVERAGE.schema), part_path(store, "coverage", number))


def _not_had(
    database: duckdb.DuckDBPyConnection, requests: str, cluster: str | None, account: str | None
) -> Iterator[dict[str, Any]]:
    """What the collection was refused, or got no answer to, and did not get later: with the permission to ask for, or what was said.

    A part of the collection is one request with its parameters; an earlier try of the same one has none, and its last try tells.
    """
    part = "coalesce(json_extract_string({}.attributes, '$.part'), '') "
    for row in _rows(
        database,
        "SELECT service, operation, coalesce(region, '') AS region, coalesce(made_as, '') AS made_as, coalesce(permission, '') AS permission, status,"
        " max(json_extract_string(attributes, '$.error')) AS error, count(*) AS events, max(requested_at) AS last"
        f" FROM {requests} AS asked WHERE (status = 'refused' OR (status = 'failed' AND {part.format('asked')} <> ''))"
        f" AND NOT EXISTS (SELECT 1 FROM {requests} AS later WHERE later.status IN ('ok', 'empty') AND later.service = asked.service"
        " AND later.operation = asked.operation AND later.region IS NOT DISTINCT FROM asked.region"
        f" AND ({part.format('asked')} IN ('', {part.format('later')}) OR {part.format('later')} = '')"
        " AND later.request_uri IS NOT DISTINCT FROM asked.request_uri AND later.requested_at > asked.requested_at)"
        " GROUP BY service, operation, region, made_as, permission, status ORDER BY service, operation, region, made_as, permission, status",
    ):
        where = f" in {row['region']}" if row["region"] else ""
        who, last = row["made_as"] or "whoever collected", f"last {row['last']:%Y-%m-%d %H:%M:%S} UTC"
        says, state = f"refused{where} to {who}, {last}", "not permitted"
        says += f": ask for permission {row['permission']}, then collect again" if row["permission"] else ""
        if row["status"] == "failed":
            says, state = f"no answer{where} to {who}, {last}: {row['error']}"[:500], "not answered"
        at = {"cluster": cluster, "account": account, "source": f"{row['service']} {row['operation']}"}
        yield at | {"state": state, "events": row["events"], "says": says}


def _rows(database: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[dict[str, Any]]:
    return rows_of(database.sql(sql, params=values or None).to_arrow_table())


def _of_quiet(database: duckdb.DuckDBPyConnection, log: tables.Table) -> Iterator[dict[str, Any]]:
    """From the first to the last event of a source that is silent when nothing happens."""
    for row in _rows(
        database,
        f"SELECT cluster, account, min({log.time}) AS start_at, max({log.time}) AS end_at, count(*) AS events FROM recorded"
        " GROUP BY ALL ORDER BY ALL",
    ):
        says = "nothing is written when nothing happens: its silence is no gap that could be seen"
        yield row | {"source": log.name, "state": "recorded", "says": says}


@dataclass(frozen=True)
class _Span:
    start: datetime
    end: datetime
    events: int


def _of_audit(database: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    logs = dict[tuple[Any, Any], list[Any]]()
    found = (
        "SELECT DISTINCT cluster, account, log_stream FROM recorded ORDER BY cluster, account, log_stream NULLS FIRST"
    )
    for row in _rows(database, found):
        logs.setdefault((row["cluster"], row["account"]), []).append(row["log_stream"])
    for (cluster, account), streams in logs.items():
        where = {"cluster": cluster, "account": account, "source": "audit"}
        same = "cluster IS NOT DISTINCT FROM $cluster AND account IS NOT DISTINCT FROM $account"
        mine = {"cluster": cluster, "account": account}
        spans, says = _spans(database, same, mine)
        yield from _as_rows(where, spans, says)
        names = [name for name in streams if name]
        by_stream = dict[str, list[_Span]]()
        for name in names:
            by_stream[name], of_stream = _spans(database, f"{same} AND log_stream = $stream", mine | {"stream": name})
            yield from _as_rows(where | {"log_stream": name}, by_stream[name], of_stream)
        partial = list(_silent_nodes(database, same, mine, spans))
        if names and len(names) == len(streams):  # every event says which API server wrote it
            partial += _single_servers(by_stream, spans)
        for start, end, reason in sorted(partial, key=lambda one: one[:2]):
            yield where | {"state": "partial", "start_at": start, "end_at": end, "events": None, "says": reason}


def _spans(database: duckdb.DuckDBPyConnection, same: str, values: dict[str, Any]) -> tuple[list[_Span], str]:
    """The recorded spans of one log, and how its gaps are told: a pause far longer than any that is usual in it.

    Events count when they were written: a watch that began before the log did, or before a gap, was written when it ended.
    """
    database.execute(
        "CREATE OR REPLACE TEMP TABLE pauses AS SELECT written_at, lag(written_at) OVER ordered AS before,"
        " epoch(written_at) - epoch(lag(written_at) OVER ordered) AS pause, row_number() OVER ordered AS place"
        f" FROM (SELECT {WRITTEN_AT} AS written_at FROM recorded WHERE {same}) WINDOW ordered AS (ORDER BY written_at)",
        values,
    )
    (usual,) = _rows(
        database,
        "SELECT count(pause) AS pauses, quantile_disc(pause, 0.99) AS most, quantile_disc(pause, 0.75) AS common,"
        " quantile_disc(pause, 0.5) AS half, min(written_at) AS first_at, max(written_at) AS last_at, count(*) AS events FROM pauses",
    )
    if usual["pauses"] >= FEW_PAUSES[1]:
        pause, times, shown = usual["most"], 5, "99 %"
    elif usual["pauses"] >= FEW_PAUSES[0]:
        pause, times, shown = usual["common"], 20, "three quarters"
    else:  # of a single one nothing can be said
        pause, times, shown = usual["half"] if usual["pauses"] > 1 else 0, 10, "half"
    limit = max(SILENCE_SECONDS, times * pause)
    gaps = _rows(database, f"SELECT before, written_at, place FROM pauses WHERE pause > {limit} ORDER BY place")
    starts = [usual["first_at"], *(gap["written_at"] for gap in gaps)]
    ends = [*(gap["before"] for gap in gaps), usual["last_at"]]
    counted = [0, *(gap["place"] - 1 for gap in gaps), usual["events"]]
    says = f"no pause longer than {limit:.0f} s; {shown} of the pauses are at most {pause:.1f} s"
    return [_Span(*one) for one in zip(starts, ends, (b - a for a, b in pairwise(counted)), strict=True)], says


def _as_rows(where: dict[str, Any], spans: list[_Span], says: str) -> Iterator[dict[str, Any]]:
    for number, span in enumerate(spans):
        if number:
            gap = {"state": "gap", "start_at": spans[number - 1].end, "end_at": span.start, "events": 0, "says": GAP}
            yield where | gap
        recorded = {"state": "recorded", "start_at": span.start, "end_at": span.end, "events": span.events}
        yield where | recorded | {"says": says}


Partial = tuple[datetime, datetime, str]


def _single_servers(by_stream: dict[str, list[_Span]], whole: list[_Span]) -> Iterator[Partial]:
    """Recorded time in which fewer than two API servers' streams are there."""
    edges = sorted({at for spans in [*by_stream.values(), whole] for span in spans for at in (span.start, span.end)})
    open_since: datetime | None = None
    there = list[str]()
    for start, end in pairwise(edges):
        recorded = any(span.start <= start and end <= span.end for span in whole)
        now = [name for name, spans in by_stream.items() if any(s.start <= start and end <= s.end for s in spans)]
        few = recorded and len(now) < FEWEST_SERVERS
        if open_since and (not few or now != there):
            yield from _single(open_since, start, there)
            open_since = None
        if few and not open_since:
            open_since, there = start, now
    if open_since:
        yield from _single(open_since, edges[-1], there)


def _single(start: datetime, end: datetime, there: list[str]) -> Iterator[Partial]:
    if (end - start).total_seconds() >= SILENCE_SECONDS:
        which = f"only the log stream {there[0]} is" if there else "no API server's log stream is"
        yield (
            start,
            end,
            f"{which} there; EKS runs at least {FEWEST_SERVERS} API servers, each with a stream of its own",
        )


_RENEWALS = (
    "SELECT substr(user_name, 13) AS node, received_at FROM recorded WHERE {same} AND resource = 'leases'"
    " AND namespace = 'kube-node-lease' AND verb IN ('update', 'patch') AND starts_with(user_name, 'system:node:')"
)


def _silent_nodes(
    database: duckdb.DuckDBPyConnection, same: str, values: dict[str, Any], spans: list[_Span]
) -> Iterator[Partial]:
    """Time in which nodes renewed no lease in this log though they were there and others went on."""
    database.execute(
        "CREATE OR REPLACE TEMP TABLE renewals AS SELECT node, received_at, lag(received_at) OVER"
        f" (PARTITION BY node ORDER BY received_at) AS before FROM ({_RENEWALS.format(same=same)})",
        values,
    )
    pause = "epoch(received_at) - epoch(before)"
    (usual,) = _rows(
        database,
        f"SELECT median({pause}) AS pause, quantile_cont({pause}, 0.99) AS longest, count(DISTINCT node) AS nodes FROM renewals",
    )
    if usual["pause"] is None or usual["nodes"] < 2:
        return
    limit = max(SILENCE_SECONDS, 5 * usual["longest"])
    ends = "SELECT node, min(received_at) AS begins, max(received_at) AS ends FROM renewals GROUP BY node"
    silences = _rows(
        database,
        f"SELECT node, before AS begins, received_at AS ends FROM renewals WHERE {pause} > {limit}"
        f" UNION ALL SELECT node, $first, begins FROM ({ends}) WHERE epoch(begins) - epoch($first) > {limit}"
        f" UNION ALL SELECT node, ends, $last FROM ({ends}) WHERE epoch($last) - epoch(ends) > {limit} ORDER BY ALL",
        first=spans[0].start,
        last=spans[-1].end,
    )
    silent = dict[tuple[datetime, datetime], list[str]]()
    for one in silences:
        begins, ends_at, node = one["begins"], one["ends"], one["node"]
        recorded = sum(max(0.0, (min(s.end, ends_at) - max(s.start, begins)).total_seconds()) for s in spans)
        if recorded <= limit:
            continue  # the whole log has a gap there
        if _is_explained(database, same, values, one):
            continue
        overlapping = next((key for key in silent if key[0] < ends_at and begins < key[1]), (begins, ends_at))
        nodes = silent.pop(overlapping, [])
        wider = min(overlapping[0], begins), max(overlapping[1], ends_at)
        silent[wider] = list(dict.fromkeys([*nodes, node]))
    for (start, end), nodes in silent.items():
        listed = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
        says = (
            f"of {usual['nodes']} nodes {len(nodes)} renewed no lease ({listed}), which they do every {usual['pause']:.0f} s:"
            " they were down, or the log of the API server that they used is missing"
        )
        yield start, end, says


def _is_explained(database: duckdb.DuckDBPyConnection, same: str, values: dict[str, Any], one: dict[str, Any]) -> bool:
    """Whether the log itself says that the node came, went or was out of reach then."""
    rows = _rows(
        database,
        f"SELECT 1 FROM recorded WHERE {same} AND resource = 'nodes' AND name = $node AND response_code BETWEEN 200 AND 299 AND ("
        "verb IN ('create', 'delete') AND subresource IS NULL"
        " AND received_at BETWEEN $start - INTERVAL 2 MINUTES AND $end + INTERVAL 2 MINUTES"
        " OR verb IN ('update', 'patch') AND list_contains($controllers, user_name)"
        " AND received_at BETWEEN $start AND $start + INTERVAL 2 MINUTES) LIMIT 1",
        **values,
        node=one["node"],
        start=one["begins"],
        end=one["ends"],
        controllers=list(NODE_CONTROLLERS),
    )
    return bool(rows)
