"""The frames that a case gives: subjects, calls, limits, activity, what was recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from kit.case.columns import FRAMES, REPEATS, type_of
from kit.errors import CallError
from kit.lenient import utc_time
from kit.model.masking import MASK
from kit.store.store import Store
from kit.store.tables import COLUMNS, TABLES, TEXT, TEXTS, TIME, array_of

if TYPE_CHECKING:
    import pandas as pd

    from kit.attribution.attacker import Attacker
    from kit.attribution.credential import Credential
    from kit.case.scope_json import FindingScopeJson, ScopeJson
    from kit.scope.index import Index
    from kit.scope.scope import Scope
    from kit.scope.subject import FindingScope


def frame_of(rows: list[dict[str, Any]], columns: list[str] | None = None) -> pd.DataFrame:
    """Rows as a frame."""
    import pandas as pd  # only notebooks and the report want frames; importing it takes longer than most commands

    return pd.DataFrame(rows, columns=columns)


def arrow_frame(table: pa.Table, categories: bool = False) -> pd.DataFrame:
    """An Arrow table as a frame of Arrow types, its texts masked; an empty cell is NA. categories: of a log, where values repeat a million times."""
    import pandas as pd

    for place, column in enumerate(table.schema):
        if column.type == TEXT:
            table = table.set_column(place, column.name, _masked(table[place], column.name in _BODIES))
    for place, column in enumerate(table.schema):
        if categories and column.name in REPEATS and column.type == TEXT:
            table = table.set_column(place, column.name, table[place].combine_chunks().dictionary_encode())
        elif pa.types.is_interval(column.type):
            table = table.set_column(place, column.name, _spans(column.name, table[place]))
        elif pa.types.is_decimal(column.type):
            table = table.set_column(place, column.name, _numbers(table[place]))
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=lambda kind: None if pa.types.is_dictionary(kind) else pd.ArrowDtype(kind),
        self_destruct=True,
        split_blocks=True,
    )
    return frame


_BODIES = ("request_object", "response_object", "object")
"""Columns of objects' bodies, which may not say of what kind they are."""


def _masked(column: pa.ChunkedArray, are_bodies: bool) -> pa.ChunkedArray | pa.Array:
    """A column without what is secret in its texts, each of which is looked at once."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    masked = [MASK.of_object(text) if are_bodies else MASK.text(text) for text in texts]
    return column if masked == texts else pa.array(masked, TEXT).take(encoded.indices)


def _spans(name: str, column: pa.ChunkedArray) -> pa.Array:
    """What lies between times, as SQL's `stage_at - received_at` gives it, as lengths: pandas can neither show nor add Arrow's intervals."""
    parts = column.to_pylist()
    if any(part.months for part in parts if part is not None):
        raise CallError(
            f"the column {name} has months, which are not equally long", next=f"ask for {name}::VARCHAR, its text"
        )
    lengths = [None if part is None else (part.days * 86_400 * 10**9 + part.nanoseconds) // 1000 for part in parts]
    return pa.array(lengths, pa.duration("us"), from_pandas=False)


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """SQL's sums and decimals as numbers that pandas reckons with and figures draw: whole where they are and fit, else floating."""
    if column.type.scale == 0:
        with contextlib.suppress(pa.ArrowInvalid):
            return column.cast(pa.int64())
    return column.cast(pa.float64())


def typed(frame: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as the frame of that name: its columns, in Arrow types, lists as Python's; an empty text is an empty cell."""
    import pandas as pd

    types = {name: type_of(name) for name in FRAMES[frame]}
    cells = {name: [_cell(row.get(name), kind) for row in rows] for name, kind in types.items()}
    flat = [name for name, kind in types.items() if kind != TEXTS]
    made = arrow_frame(pa.table([array_of(cells[name], types[name]) for name in flat], names=flat))
    # pandas can neither count nor join Arrow's lists.
    return pd.DataFrame({name: made[name] if name in flat else pd.Series(cells[name], dtype=object) for name in types})


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of such a frame, of Python's own types, of which `typed` makes it again."""
    columns = {
        str(name): list(column) if column.dtype == object else pa.array(column).to_pylist()
        for name, column in frame.items()
    }
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _cell(value: Any, kind: pa.DataType) -> Any:
    if kind == TIME and isinstance(value, str):
        return utc_time(value)
    if kind == TEXTS:
        return [MASK.text(each) if isinstance(each, str) else each for each in value or ()]
    return None if value == "" else value


def of_subjects(index: Index, first: datetime | None) -> pd.DataFrame:
    """The subjects, each once, affected ones first; `findings` lists whose they are. first: when the attacker's first call came."""
    from kit.case.scope_json import subject_contract

    rows = []
    for subject in sorted(index.shared.values(), key=lambda one: (one.certainty, one.kind, one.key)):
        form = subject_contract(subject, first)
        rows.append(
            {
                **form,
                "why": "; ".join(why.says for why in subject.reasons),
                "why_refs": list(dict.fromkeys(str(why.ref) for why in subject.reasons)),
                "findings": subject.findings,
                "gone_before": form["gone_before_first_hostile_call"],
            }
        )
    return typed("subjects", rows)


def of_calls(scope: Scope, store: Store) -> pd.DataFrame:
    """The attacker's audit events of a scope, oldest first: who made each with which credential, by which rule it is the attacker's, what it
    did to what, and what stood before and after."""
    from kit.attribution.calls import credential_named
    from kit.attribution.deeds import Deed
    from kit.attribution.written import Written, changes_by

    attacker, whose = scope.attacker, dict[str, list[str]]()
    for one in scope.scopes:
        for audit_id in one.calls:
            whose.setdefault(audit_id, []).append(one.finding.id)
    found = {place: call for place, call in attacker.calls.items() if call.event["audit_id"] in whose}
    events = [call.event for call in found.values()]
    scope.deeds.read_bodies(events)
    written = changes_by(store, events)
    rows = store.rows(
        "SELECT audit_id, received_at, stage, user_name, source_address, user_agent, verb, resource, subresource, namespace,"
        " name, request_uri, response_code, decision_reason, file, line, item FROM audit"
        " WHERE list_contains($ids, audit_id) ORDER BY received_at, file, item",
        ids=sorted(whose),
    )
    calls = list[dict[str, Any]]()
    for row in rows:
        place = (row["file"], row["line"], row["item"])
        if call := found.get(place):
            deeds = [f"{deed.kind} {deed.key}" for deed in scope.deeds.of(call.event) if isinstance(deed, Deed)]
            change = written.get(place, Written())
            calls.append({
                "ref": str(store.event_ref(row)), **row, "findings": whose[row["audit_id"]], "because": call.because,
                "credential": credential_named(call.event), "applied_from": call.source, "deeds": deeds,
                "before": change.before, "after": change.after,
            })  # fmt: skip
    # A long request has one event a stage (ResponseStarted, ResponseComplete): it is one call.
    same = ("audit_id", "received_at", "user_name", "verb", "request_uri")
    return typed("calls", list({tuple(row[name] for name in same): row for row in reversed(calls)}.values())[::-1])


def of_aws_calls(scope: ScopeJson, attacker: Attacker, store: Store) -> pd.DataFrame:
    """The attacker's CloudTrail events of a scope, oldest first."""
    wanted = sorted({event_id for finding in scope["findings"] for event_id in finding["aws_calls"]})
    rows = store.rows(
        "SELECT event_id, event_at, arn, access_key_id, source_address, user_agent, event_source, event_name, region,"
        " error_code, file, line, item FROM trail WHERE list_contains($ids, event_id) ORDER BY event_at, event_id",
        ids=wanted,
    )
    because = attacker.trail
    calls = [{"ref": f"trail:{row['event_id']}", **row, "because": because[row["event_id"]][1]} for row in rows]
    return typed("aws_calls", calls)


def of_limits(scope: ScopeJson) -> pd.DataFrame:
    """What a scope cannot tell, each once, with the findings that it holds for."""
    merged = dict[tuple[str, str], dict[str, Any]]()
    for finding in scope["findings"]:
        for limit in finding["limits"]:
            row = merged.setdefault((limit["says"], limit["collect"]), {**limit, "findings": []})
            row["about"] = list(dict.fromkeys([*row["about"], *limit["about"]]))
            row["findings"].append(finding["id"])
    return typed("limits", list(merged.values()))


def of_identities(scope: ScopeJson) -> pd.DataFrame:
    """Who made calls in a scope, each once, with what it used; `findings` lists whose they are."""
    rows = []
    for one, findings in _each_once(
        scope, lambda finding: finding["identities"], lambda identity: identity["user_name"]
    ):
        times = [at for source in one["sources"] for at in (source["first_at"], source["last_at"])]
        rows.append(
            {
                **one,
                "calls": sum(source["calls"] for source in one["sources"]),
                "hostile_calls": sum(source["hostile_calls"] for source in one["sources"]),
                "credentials": len(one["credentials"]),
                "first_at": min(times, default=None),
                "last_at": max(times, default=None),
                "source_addresses": _told(source["address"] for source in one["sources"]),
                "came_by": [why["says"] for why in one["patient_zero"]],
                "take_away": [step["says"] for step in one["take_away"]],
                "findings": findings,
            }
        )
    return typed("identities", sorted(rows, key=lambda row: (-row["hostile_calls"], row["user_name"])))


def of_sessions(scope: ScopeJson) -> pd.DataFrame:
    """The AWS sessions of a scope, each once, with their uses; `findings` lists whose they are."""
    rows = []
    for one, findings in _each_once(
        scope, lambda finding: finding["sessions"], lambda session: session["access_key_id"]
    ):
        uses = one["uses"]
        where = {use["inside"] for use in uses}
        rows.append(
            {
                **one,
                "calls": sum(use["calls"] for use in uses),
                "failed": sum(use["failed"] for use in uses),
                "outside": True if False in where else None if None in where else False,
                "first_at": min((use["first_at"] for use in uses if use["first_at"]), default=None),
                "last_at": max((use["last_at"] for use in uses if use["last_at"]), default=None),
                "source_addresses": _told(use["address"] for use in uses),
                "services": _told(service for use in uses for service in use["services"]),
                "why": "; ".join(dict.fromkeys(why["says"] for why in one["why"])),
                "findings": findings,
            }
        )
    return typed(
        "sessions", sorted(rows, key=lambda row: (row["certainty"], row["first_at"] or "", row["access_key_id"]))
    )


def of_credentials(scopes: Iterable[FindingScope]) -> pd.DataFrame:
    """The credentials of scopes, each once, those that the attacker has first; `findings` lists whose they are."""
    found: dict[tuple[str, str, str], tuple[Credential, list[str]]] = {}
    for scope in scopes:
        for one in scope.credentials:
            place = (one.kind, one.key, one.ref)
            found.setdefault(place, (one, []))[1].append(scope.finding.id)
    rows = [
        {
            "kind": one.kind,
            "key": one.key,
            "holder": one.holder,
            "certainty": one.certainty,
            "since": one.since,
            "obtained_by": "; ".join(why.says for why in one.why),
            "bound_to": [f"{pod.namespace}/{pod.name}" for pod in one.pods],
            "state": one.state,
            "ends_at": one.until,
            "ended_by": one.because,
            "refs": [str(why.ref) for why in one.why],
            "findings": findings,
        }
        for one, findings in found.values()
    ]
    return typed("credentials", sorted(rows, key=lambda row: (row["certainty"], row["since"], row["kind"], row["key"])))


def of_let_in(index: Index, attacker: Attacker) -> pd.DataFrame:
    """Whom the attacker let in, oldest first; `findings` lists whose they are."""
    rows = [
        {
            "key": one.key,
            "by": one.by,
            "since": one.at,
            "certainty": "affected" if one.sure else "possible",
            "why": one.why.says,
            "refs": [str(one.why.ref)],
            "findings": index.places["let_in", one.key].findings,
            "calls": sum(one.called(call.event) for call in attacker.calls.values()),
        }
        for one in attacker.let_in
        if ("let_in", one.key) in index.places
    ]
    return typed("let_in", rows)


_Entry = TypeVar("_Entry")


def _each_once(
    scope: ScopeJson, entries: Callable[[FindingScopeJson], list[_Entry]], key: Callable[[_Entry], str]
) -> Iterator[tuple[_Entry, list[str]]]:
    """The entries of the findings' lists, those of one key once, with the Ids of their findings."""
    found = dict[str, tuple[_Entry, list[str]]]()
    for finding in scope["findings"]:
        for entry in entries(finding):
            found.setdefault(key(entry), (entry, []))[1].append(finding["id"])
    yield from found.values()


def _told(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def of_activity(scope: Scope, store: Store, stretches: int) -> list[dict[str, Any]]:
    """How often the scope's identities made each kind of call, as rows: at (start of a stretch, UTC), call, calls, hostile."""
    hostile = scope.attacker.calls
    users = sorted({one.identity.user_name for of_finding in scope.scopes for one in of_finding.identities})
    times = [call.event["received_at"] for call in hostile.values()]
    if not times or scope.window is None or not users:
        return []
    room = max((max(times) - min(times)) / 2, timedelta(minutes=10))
    start, end = max(scope.window.start, min(times) - room), min(scope.window.end, max(times) + room)
    seconds = max((end - start).total_seconds() / stretches, 1)
    rows = store.rows(
        "SELECT floor(date_diff('millisecond', $start::TIMESTAMPTZ, received_at) / ($seconds * 1000))::BIGINT AS stretch, verb || ' ' || coalesce(resource || coalesce('/' || subresource, ''),"
        " 'other') AS call, count(*) AS calls, count(*) FILTER (list_contains($hostile, file || ':' || item)) AS hostile FROM audit"
        " WHERE list_contains($users, user_name) AND received_at >= $start AND received_at < $end GROUP BY 1, 2 ORDER BY stretch, call",
        start=start,
        end=end,
        seconds=seconds,
        users=users,
        hostile=[f"{file}:{item}" for file, _, item in hostile],
    )
    return [{"at": start + timedelta(seconds=row.pop("stretch") * seconds), **row} for row in rows]


def of_tables() -> pd.DataFrame:
    """The tables of a case's store, a row a column: table, column, type, means."""
    rows = [
        {"table": name, "column": column.name, "type": str(column.type), "means": COLUMNS[column.name][1]}
        for name, table in TABLES.items()
        for column in table.schema
    ]
    return frame_of(rows)


def audit_levels(store: Store) -> pd.DataFrame:
    """What the audit policy recorded of each resource: level, events, and how many have a request or a response body."""
    return store.frame(
        "SELECT coalesce(resource, '(no resource)') || coalesce('/' || subresource, '') AS resource, level, count(*) AS events,"
        " count(request_object) AS with_request_body, count(response_object) AS with_response_body FROM audit"
        " GROUP BY 1, 2 ORDER BY events DESC, resource, level"
    )


def trail_kinds(store: Store) -> pd.DataFrame:
    """What CloudTrail recorded: kind of event, region, service, events, and how many of them failed."""
    return store.frame(
        "SELECT coalesce(event_category, 'Management') AS event_category, region, event_source, count(*) AS events,"
        " count(error_code) AS failed FROM trail GROUP BY 1, 2, 3 ORDER BY events DESC, event_category, region, event_source"
    )
