"""What was recorded and what is missing: gaps, and API servers whose log is not there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from kit.store.store import Store
from tests import cases
from tests.command import RECORDINGS, SAMPLE, kit_json
from tests.variation import said

BEGIN = datetime(2026, 1, 31, 14, 0, tzinfo=UTC)
STREAMS = [f"kube-apiserver-audit-{digit * 32}" for digit in "ab"]


def event(user: str, verb: str, seconds: float, **ref: str) -> dict[str, Any]:
    at = (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": f"{user}-{seconds}",
        "stage": "ResponseComplete",
        "requestURI": "/",
        "verb": verb,
        "user": {"username": user},
        "sourceIPs": ["192.0.2.1"],
        "objectRef": ref,
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": at,
        "stageTimestamp": at,
    }


def renewals(node: str, begin: float, end: float) -> Iterator[dict[str, Any]]:
    """A node that renews its lease every ten seconds."""
    for number in range(int(begin), int(end), 10):
        about = {"resource": "leases", "namespace": "kube-node-lease", "name": node}
        yield event(f"system:node:{node}", "update", number + len(node) / 100, **about)


def coverage(folder: Path, files: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    for name, events in files.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(
            json.dumps(one) for one in sorted(events, key=lambda one: str(one["requestReceivedTimestamp"]))
        )
        (folder / "in" / name).write_text(text)
    kit_json("new", folder / "case", folder / "in", "--cluster", "red")
    return Store(folder / "case").rows("SELECT * FROM coverage ORDER BY log_stream NULLS FIRST, state, start_at")


def at(span: dict[str, Any]) -> tuple[float, ...]:
    return tuple(round((span[end] - BEGIN).total_seconds(), -1) for end in ("start_at", "end_at"))


def partial(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [span for span in spans if span["state"] == "partial"]


def test_nodes_that_fall_silent_while_others_go_on_show_a_missing_server(tmp_path: Path) -> None:
    events = [*renewals("a", 0, 3600), *renewals("bb", 0, 1200), *renewals("bb", 2400, 3600), *renewals("ccc", 1, 1210), *renewals("ccc", 2410, 3600)]  # fmt: skip
    spans = coverage(tmp_path, {"log.jsonl": events})
    assert [span["state"] for span in spans] == ["partial", "recorded"]
    assert at(spans[0]) == (1190, 2410)
    assert "of 3 nodes 2 renewed no lease (bb, ccc), which they do every 10 s" in spans[0]["says"]


@pytest.mark.parametrize("way", ["unreachable", "removed", "joined"])
def test_a_node_that_was_down_or_came_or_went_is_no_missing_server(tmp_path: Path, way: str) -> None:
    controller = "system:serviceaccount:kube-system:node-controller"
    events = list(renewals("a", 0, 3600))
    if way == "unreachable":
        events += [*renewals("bb", 0, 1200), *renewals("bb", 2400, 3600)]
        events.append(event(controller, "patch", 1240, resource="nodes", subresource="status", name="bb"))
    elif way == "removed":
        events += [*renewals("bb", 0, 1200), event(controller, "delete", 1210, resource="nodes", name="bb")]
    else:
        events += [
            *renewals("bb", 1200, 3600),
            event("system:node:bb", "create", 1199, resource="nodes", name="bb"),
        ]
    assert partial(coverage(tmp_path, {"log.jsonl": events})) == []


def test_a_node_that_begins_or_ends_without_a_reason_may_be_missing(tmp_path: Path) -> None:
    events = [*renewals("a", 0, 3600), *renewals("bb", 1200, 2400)]
    assert [at(span) for span in partial(coverage(tmp_path, {"log.jsonl": events}))] == [(0, 1200), (2390, 3590)]


def test_a_watch_that_ends_after_a_gap_does_not_hide_it(tmp_path: Path) -> None:
    watches = []
    for began, ended in ((-500, 100), (590, 1590), (700, 1700), (1000, 1600)):
        watch = event("system:node:a", "watch", began, resource="pods")
        watches.append(watch | {"stageTimestamp": event("", "", ended)["stageTimestamp"]})
    spans = coverage(tmp_path, {"log.jsonl": [*renewals("a", 100, 600), *renewals("a", 1500, 2000), *watches]})
    assert [(span["state"], at(span)) for span in sorted(spans, key=lambda one: one["start_at"])] == [
        ("recorded", (100, 590)),
        ("gap", (590, 1500)),
        ("recorded", (1500, 1990)),
    ]


@pytest.mark.parametrize("gaps", [1, 2, 3])
@pytest.mark.parametrize("events", [2, 3, 6, 20, 90, 300])
def test_gaps_in_a_short_log_are_such(tmp_path: Path, events: int, gaps: int) -> None:
    numbers = [7200 * part + number for part in range(gaps + 1) for number in range(events)]
    spans = coverage(tmp_path, {"log.jsonl": [event("a", "get", number) for number in numbers]})
    assert [span["state"] for span in spans] == ["gap"] * gaps + ["recorded"] * (gaps + 1)


def test_a_log_of_rare_events_has_no_gap_where_they_are_as_rare_as_ever(tmp_path: Path) -> None:
    numbers = [number * 600 + (number % 7) * 60 for number in range(60)]
    spans = coverage(tmp_path, {"log.jsonl": [event("a", "get", number) for number in numbers]})
    assert [span["state"] for span in spans] == ["recorded"]


def test_a_patch_by_anybody_does_not_explain_that_a_node_falls_silent(tmp_path: Path) -> None:
    events = [*renewals("a", 0, 3600), *renewals("bb", 0, 1200), *renewals("bb", 2400, 3600)]
    events.append(event("mallory", "patch", 1240, resource="nodes", name="bb"))
    events.append(
        event("system:serviceaccount:kube-system:node-controller", "patch", 2300, resource="nodes", name="bb")
    )
    assert [at(span) for span in partial(coverage(tmp_path, {"log.jsonl": events}))] == [(1190, 2400)]


def test_one_stream_alone_is_one_server_of_two(tmp_path: Path) -> None:
    spans = coverage(tmp_path, {f"task/{STREAMS[0]}/000000": list(renewals("a", 0, 600))})
    assert [(span["log_stream"], span["state"]) for span in spans] == [
        (None, "partial"),
        (None, "recorded"),
        (STREAMS[0], "recorded"),
    ]
    assert f"only the log stream {STREAMS[0]} is there" in spans[0]["says"]


def test_a_stream_that_ends_early_leaves_a_partial_span(tmp_path: Path) -> None:
    files = {
        f"task/{STREAMS[0]}/000000": list(renewals("a", 0, 3600)),
        f"task/{STREAMS[1]}/000000": list(renewals("bb", 0, 1200)),
    }
    spans = partial(coverage(tmp_path, files))
    assert {at(span) for span in spans} == {(1190, 3590)}
    assert len(spans) == 2, "the streams show it, and so do the leases"


def test_two_whole_streams_and_both_in_a_gap_are_no_missing_server(tmp_path: Path) -> None:
    files = {
        f"task/{STREAMS[0]}/000000": [*renewals("a", 0, 1200), *renewals("a", 2400, 3600)],
        f"task/{STREAMS[1]}/000000": [*renewals("bb", 0, 1200), *renewals("bb", 2400, 3600)],
    }
    spans = coverage(tmp_path, files)
    assert partial(spans) == []
    assert [span["state"] for span in spans if span["log_stream"] is None] == ["gap", "recorded", "recorded"]


@pytest.mark.parametrize("recording", ["stolen_sa_token", "vanished_deployment", "anonymous_access", "sample"])
def test_a_whole_recording_has_no_missing_server(recording: str) -> None:
    folder = SAMPLE if recording == "sample" else RECORDINGS / recording
    states = Store(cases.shared(folder)).rows("SELECT DISTINCT source, state FROM coverage ORDER BY ALL")
    assert states == [{"source": "audit", "state": "recorded"}, {"source": "trail", "state": "recorded"}]


def test_a_missing_server_is_a_limit_of_the_scope(tmp_path: Path) -> None:
    lines = gzip.decompress((SAMPLE / "audit.jsonl.gz").read_bytes()).splitlines()
    nodes = sorted({json.loads(line)["user"]["username"] for line in lines if b'"system:node:' in line})
    gone = next(node for node in nodes if node.startswith("system:node:"))
    kept = [line for line in lines if json.loads(line)["user"]["username"] != gone or b"T16:3" not in line.partition(b"requestReceivedTimestamp")[2][:40]]  # fmt: skip
    assert len(kept) < len(lines)
    (tmp_path / "audit.jsonl").write_bytes(b"\n".join(kept))
    kit_json("new", tmp_path / "case", tmp_path / "audit.jsonl", SAMPLE / "findings.json", SAMPLE / "cluster")
    (finding, *_) = kit_json("scope", tmp_path / "case")["findings"]
    assert "a part of the audit log may be missing" in said(finding)


@pytest.mark.parametrize("listed", [False, True])
def test_one_audit_id_on_two_requests_is_said(tmp_path: Path, listed: bool) -> None:
    lines = gzip.decompress((RECORDINGS / "stolen_sa_token" / "audit.jsonl.gz").read_bytes()).splitlines()
    first, second = (json.loads(line)["auditID"].encode() for line in (lines[10], lines[20]))
    lines[20] = lines[20].replace(second, first)
    items = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + b",".join(lines) + b"]}"
    (tmp_path / "audit.jsonl").write_bytes(items if listed else b"\n".join(lines))
    (entry, _) = kit_json(
        "new", tmp_path / "case", tmp_path / "audit.jsonl", RECORDINGS / "stolen_sa_token" / "findings.json"
    )["files"]
    assert entry["duplicates"] == 0
    (finding, *_) = kit_json("scope", tmp_path / "case")["findings"]
    store = Store(tmp_path / "case")
    for row in store.rows(
        "SELECT audit_id, request_uri, file, item FROM audit WHERE audit_id = $id", id=first.decode()
    ):
        ref = store.event_ref(row)
        assert ref.startswith("line:")
        assert json.loads(Case(tmp_path / "case").raw(ref))["requestURI"] == row["request_uri"]
    assert f"1 auditIDs stand on several requests ({first.decode()})" in said(finding)
