"""The frames that a case gives: subjects, calls, limits, activity, what was recorded."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from kit.attribution.attacker import Attacker
    from kit.scope.index import Index
    from kit.scope.scope import Scope

_SUBJECT_COLUMNS = (
    "kind",
    "key",
    "ref",
    "namespace",
    "name",
    "uid",
    "node",
    "created_at",
    "deleted_at",
    "standing",
    "certainty",
    "through",
    "why",
    "why_refs",
    "findings",
    "gone_before",
)
_CALL_COLUMNS = (
    "audit_id",
    "received_at",
    "user_name",
    "source_address",
    "user_agent",
    "verb",
    "resource",
    "subresource",
    "namespace",
    "name",
    "request_uri",
    "response_code",
    "decision_reason",
    "file",
    "line",
    "item",
)
_AWS_CALL_COLUMNS = (
    "event_id",
    "event_at",
    "arn",
    "access_key_id",
    "source_address",
    "user_agent",
    "event_source",
    "event_name",
    "region",
    "error_code",
    "file",
    "line",
    "item",
)


def frame_of(rows: list[dict[str, Any]], columns: list[str] | tuple[str, ...] | None = None) -> pd.DataFrame:
    """Rows as a frame."""
    import pandas as pd  # only notebooks and the report want frames; importing it takes longer than most commands

    return pd.DataFrame(rows, columns=None if columns is None else list(columns))


def of_subjects(index: Index, first: datetime | None) -> pd.DataFrame:
    """The subjects, each once, affected ones first; `findings` lists whose they are. first: when the attacker's first call came."""
    import pandas as pd

    from kit.case.contract import subject_contract

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
    frame = frame_of(rows, _SUBJECT_COLUMNS)
    for column in ("created_at", "deleted_at"):
        frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    return frame


def of_calls(scope: dict[str, Any], attacker: Attacker, store: Store) -> pd.DataFrame:
    """The attacker's audit events of a scope, oldest first, with the sentence that says why they are the attacker's."""
    whose = dict[str, list[str]]()
    for finding in scope["findings"]:
        for audit_id in finding["calls"]:
            whose.setdefault(audit_id, []).append(finding["id"])
    places = {place: call.because for place, call in attacker.calls.items() if call.event["audit_id"] in whose}
    rows = store.rows(
        "SELECT audit_id, received_at, stage, user_name, source_address, user_agent, verb, resource, subresource, namespace,"
        " name, request_uri, response_code, decision_reason, file, line, item FROM audit"
        " WHERE list_contains($ids, audit_id) ORDER BY received_at, file, item",
        ids=sorted(whose),
    )
    calls = [
        {
            "ref": f"audit:{row['audit_id']}",
            **row,
            "findings": whose[row["audit_id"]],
            "because": places[(row["file"], row["line"], row["item"])],
        }
        for row in rows
        if (row["file"], row["line"], row["item"]) in places
    ]
    frame = frame_of(calls, ["ref", *_CALL_COLUMNS, "findings", "because"])
    # A long request has one event a stage (ResponseStarted, ResponseComplete): it is one call.
    return frame.drop_duplicates(["audit_id", "received_at", "user_name", "verb", "request_uri"], ignore_index=True)


def of_aws_calls(scope: dict[str, Any], attacker: Attacker, store: Store) -> pd.DataFrame:
    """The attacker's CloudTrail events of a scope, oldest first."""
    wanted = sorted({event_id for finding in scope["findings"] for event_id in finding["aws_calls"]})
    rows = store.rows(
        "SELECT event_id, event_at, arn, access_key_id, source_address, user_agent, event_source, event_name, region,"
        " error_code, file, line, item FROM trail WHERE list_contains($ids, event_id) ORDER BY event_at, event_id",
        ids=wanted,
    )
    because = attacker.trail
    calls = [{"ref": f"trail:{row['event_id']}", **row, "because": because[row["event_id"]][1]} for row in rows]
    return frame_of(calls, ["ref", *_AWS_CALL_COLUMNS, "because"])


def of_limits(scope: dict[str, Any]) -> pd.DataFrame:
    """What a scope cannot tell, each once, with the findings that it holds for."""
    merged = dict[tuple[str, str], dict[str, Any]]()
    for finding in scope["findings"]:
        for limit in finding["limits"]:
            row = merged.setdefault((limit["says"], limit["collect"]), {**limit, "findings": []})
            row["about"] = list(dict.fromkeys([*row["about"], *limit["about"]]))
            row["findings"].append(finding["id"])
    return frame_of(list(merged.values()), ["about", "start", "end", "says", "collect", "findings"])


def of_activity(scope: Scope, store: Store, stretches: int) -> pd.DataFrame:
    """How often the scope's identities made each kind of call: at (start of a stretch, UTC), call, calls, hostile."""
    hostile = scope.attacker.calls
    users = sorted({one.identity.user_name for of_finding in scope.scopes for one in of_finding.identities})
    times = [call.event["received_at"] for call in hostile.values()]
    columns = ["at", "call", "calls", "hostile"]
    if not times or scope.window is None or not users:
        return frame_of([], columns)
    room = max((max(times) - min(times)) / 2, timedelta(minutes=10))
    start, end = max(scope.window.start, min(times) - room), min(scope.window.end, max(times) + room)
    seconds = max((end - start).total_seconds() / stretches, 1)
    rows = store.rows(
        "SELECT floor(epoch(received_at - $start) / $seconds)::BIGINT AS stretch, verb || ' ' || coalesce(resource || coalesce('/' || subresource, ''),"
        " 'other') AS call, count(*) AS calls, count(*) FILTER (list_contains($hostile, file || ':' || item)) AS hostile FROM audit"
        " WHERE list_contains($users, user_name) AND received_at >= $start AND received_at < $end GROUP BY ALL ORDER BY stretch, call",
        start=start,
        end=end,
        seconds=seconds,
        users=users,
        hostile=[f"{file}:{item}" for file, _, item in hostile],
    )
    found = [{"at": start + timedelta(seconds=row.pop("stretch") * seconds), **row} for row in rows]
    return frame_of(found, columns)


def audit_levels(store: Store) -> pd.DataFrame:
    """What the audit policy recorded of each resource: level, events, and how many have a request or a response body."""
    return store.frame(
        "SELECT coalesce(resource, '(no resource)') || coalesce('/' || subresource, '') AS resource, level, count(*) AS events,"
        " count(request_object) AS with_request_body, count(response_object) AS with_response_body FROM audit"
        " GROUP BY ALL ORDER BY events DESC, resource, level"
    )


def trail_kinds(store: Store) -> pd.DataFrame:
    """What CloudTrail recorded: kind of event, region, service, events, and how many of them failed."""
    return store.frame(
        "SELECT coalesce(event_category, 'Management') AS event_category, region, event_source, count(*) AS events,"
        " count(error_code) AS failed FROM trail GROUP BY ALL ORDER BY events DESC, event_category, region, event_source"
    )
