"""The columns of audit events, held to a plain reading of each event, on every recording and on events with odd members."""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kit.evidence import intake
from kit.evidence.readers import audit
from kit.evidence.readers.audit_columns import columns_of
from kit.lenient import dict_of, list_of
from kit.store.store import Store
from tests.command import RECORDINGS

SIGN = "authentication.kubernetes.io/"
EXTRA = {
    "credential_id": SIGN + "credential-id",
    "claimed_pod_name": SIGN + "pod-name",
    "claimed_pod_uid": SIGN + "pod-uid",
    "claimed_node_name": SIGN + "node-name",
    "access_key_id": "accessKeyId",
    "arn": "arn",
    "session_name": "sessionName",
}
LOGS = sorted(path for path in RECORDINGS.parent.glob("recordings*/*/audit.jsonl.gz"))
EVENTS_OF_EACH = 300
ODD: tuple[Any, ...] = (
    None,
    -1,
    1.5,
    True,
    "",
    "x",
    [],
    {},
    [1],
    ["a", 1, None],
    {"a": ["b"]},
    "infinity",
    "1-12-05",
    1700000000123,
)
ODD_TEXTS = ("2026-13-01T00:00:00Z", "1700000000", "2026-11-23 16:23", "\x00", "{", "[x", ' {"')


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """The columns of an event as json and dicts give them."""
    user, of, response, notes = (
        dict_of(event.get(name)) for name in ("user", "objectRef", "responseObject", "annotations")
    )
    extra, acting, made = (
        dict_of(user.get("extra")),
        dict_of(event.get("impersonatedUser")),
        dict_of(response.get("metadata")),
    )
    deletes = event["verb"].startswith("delete") and dict_of(event.get("requestObject")).get("dryRun")
    return {
        "audit_id": event["auditID"],
        "stage": event["stage"],
        "level": event["level"],
        "verb": event["verb"],
        "request_uri": event["requestURI"],
        "user_agent": event.get("userAgent"),
        "received_at": datetime.fromisoformat(event["requestReceivedTimestamp"]),
        "stage_at": datetime.fromisoformat(event["stageTimestamp"]),
        "user_name": user["username"],
        "user_uid": user.get("uid"),
        "user_groups": user.get("groups"),
        "user_extra": user.get("extra"),
        **{column: (list_of(extra.get(name)) or [None])[0] for column, name in EXTRA.items()},
        "impersonated_user_name": acting.get("username"),
        "impersonated_groups": acting.get("groups"),
        "source_addresses": event.get("sourceIPs"),
        "source_address": (list_of(event.get("sourceIPs")) or [None])[-1],
        "api_group": of.get("apiGroup"),
        "resource": of.get("resource"),
        "subresource": of.get("subresource"),
        "namespace": of.get("namespace"),
        "name": of.get("name", made.get("name")),
        "uid": of.get("uid") or made.get("uid") or dict_of(response.get("details")).get("uid"),
        "response_code": dict_of(event.get("responseStatus")).get("code"),
        "dry_run": bool(re.search(r"[?&]dryRun=[^&]", event["requestURI"]) or deletes),
        "decision": notes.get("authorization.k8s.io/decision"),
        "decision_reason": notes.get("authorization.k8s.io/reason"),
        "issued_credential_id": notes.get(SIGN + "issued-credential-id"),
        "annotations": event.get("annotations"),
        "request_object": event.get("requestObject"),
        "response_object": event.get("responseObject"),
        "repaired": None,
    }  # fmt: skip


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.parent.name)
def test_every_column_is_what_stands_in_the_event(log: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(log.read_bytes()).splitlines(keepends=True)
    chosen = lines[:: max(1, len(lines) // EVENTS_OF_EACH)]
    (tmp_path / "log.jsonl").write_bytes(b"".join(chosen))
    intake.load_new_case(tmp_path / "case", [str(tmp_path / "log.jsonl")])
    rows = {row["item"]: row for row in Store(tmp_path / "case").rows("SELECT * FROM audit")}
    assert len(rows) > EVENTS_OF_EACH / 2
    for item, row in rows.items():
        event = json.loads(chosen[item - 1])
        for column, value in plain(event).items():
            as_json = column in ("user_extra", "annotations", "request_object", "response_object")
            found = json.loads(row[column]) if as_json and row[column] is not None else row[column]
            assert found == value, (column, item)


def odd_events() -> Iterator[bytes]:
    """Events in which one member is of another type than it should be, or is not there."""
    event = json.loads(gzip.decompress(LOGS[0].read_bytes()).splitlines()[7])
    event |= {"impersonatedUser": {"username": "a", "groups": ["b"]}, "timestamp": "2026-11-23T16:23:20Z"}
    places = [(name,) for name in event] + [
        (of, name) for of in event if isinstance(event[of], dict) for name in event[of]
    ]
    places += [("user", "extra"), ("responseStatus", "code"), ("objectRef", "uid"), ("requestObject",)]
    for place in places:
        for value in (*ODD, *ODD_TEXTS):
            changed = copy.deepcopy(event)
            of = changed[place[0]] if len(place) > 1 else changed
            of[place[-1]] = value
            yield json.dumps(changed).encode() + b"\n"


def loaded(folder: Path) -> tuple[list[Any], list[Any]]:
    """Rows and rejects of the odd events."""
    (folder / "log.jsonl").write_bytes(b"".join(odd_events()))
    intake.load_new_case(folder / "case", [str(folder / "log.jsonl")])
    store = Store(folder / "case")
    return store.rows("SELECT * FROM audit ORDER BY item"), store.rows("SELECT * FROM rejects ORDER BY item")


def test_where_duckdb_refuses_a_text_all_are_read_with_care_and_nothing_else_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fast").mkdir()
    rows, rejects = loaded(tmp_path / "fast")
    assert len(rows) > 300 and len({row["reason"] for row in rejects}) > 8

    def refusing(file: str, careful: bool = False) -> str:
        return columns_of(file, careful) if careful else "SELECT error('Malformed JSON') FROM texts"

    monkeypatch.setattr(audit, "columns_of", refusing)
    (tmp_path / "careful").mkdir()
    assert loaded(tmp_path / "careful") == (rows, rejects)
