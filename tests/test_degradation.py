"""Evidence that lacks something: what is named stays right, and what is missed is possible or a limit that names its kind.

Each recording is varied: parts of the log, bodies, resources, the dump, `aws/` and CloudTrail are taken away, lines are shuffled and
doubled. A subject may then become `possible` or be missing, never be wrong, and never be missing in silence.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.command import SAMPLE, kit_json
from tests.truth import LISTS, compared, recordings, score

Event = dict[str, Any]
Change = Callable[[list[Event]], list[Event]]
BODIES = ("requestObject", "responseObject")


def kept(keep: Callable[[Event], bool]) -> Change:
    return lambda events: [event for event in events if keep(event)]


def part(start: float, end: float) -> Change:
    """Without a span of the log, as parts of its events. What comes before happens ten minutes earlier: holes of seconds are not seen."""

    def change(events: list[Event]) -> list[Event]:
        times = sorted(event["stageTimestamp"] for event in events)
        first, last = times[int(start * (len(times) - 1))], times[int(end * (len(times) - 1))]
        left = [event for event in events if not first <= event["stageTimestamp"] <= last]
        return [earlier(event) if event["stageTimestamp"] < first else event for event in left]

    return change


def earlier(event: Event) -> Event:
    names = ("requestReceivedTimestamp", "stageTimestamp")
    times = {name: datetime.fromisoformat(event[name]) - timedelta(minutes=10) for name in names}
    return event | {name: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for name, at in times.items()}


def without(*names: str) -> Change:
    return lambda events: [{name: value for name, value in event.items() if name not in names} for event in events]


def resource(event: Event) -> str:
    return str((event.get("objectRef") or {}).get("resource"))


def server(event: Event) -> int:
    """Which of two API servers a client talks to: a connection stays with one."""
    client = f"{event['user'].get('username')} {event.get('userAgent')} {(event.get('sourceIPs') or [''])[-1]}"
    return hashlib.sha256(client.encode()).digest()[0] % 2


def shuffled(events: list[Event]) -> list[Event]:
    return random.Random(5).sample(events, len(events))


CHANGES: dict[str, tuple[Change | None, tuple[str, ...]]] = {
    "whole": (None, ()),
    "without the dump": (None, ("cluster",)),
    "without aws": (None, ("aws",)),
    "without CloudTrail": (None, ("cloudtrail.json.gz",)),
    "the log alone": (None, ("cluster", "aws", "cloudtrail.json.gz")),
    "shuffled": (shuffled, ()),
    "doubled": (lambda events: [*events, *events], ()),
    "without responses": (without("responseObject"), ()),
    "without bodies": (without(*BODIES), ()),
    "without bodies and dump": (without(*BODIES), ("cluster",)),
    "without the beginning": (part(0, 0.4), ()),
    "without the beginning and the dump": (part(0, 0.4), ("cluster",)),
    "without the end": (part(0.6, 1), ()),
    "without the middle": (part(0.4, 0.6), ()),
    "one API server of two": (kept(lambda event: server(event) == 0), ()),
    "the other API server": (kept(lambda event: server(event) == 1), ()),
    "without pods": (kept(lambda event: resource(event) != "pods"), ()),
    "without secrets": (kept(lambda event: resource(event) != "secrets"), ()),
    "without creates": (kept(lambda event: event["verb"] != "create"), ()),
    "without creates and dump": (kept(lambda event: event["verb"] != "create"), ("cluster",)),
    "without deletes": (kept(lambda event: not event["verb"].startswith("delete")), ()),
    "without the nodes' calls": (kept(lambda event: not event["user"].get("username", "").startswith("system:node:")), ()),
}  # fmt: skip


def vary(recording: Path, folder: Path, change: Change | None, left_out: Iterable[str]) -> list[Event]:
    """Copy a recording without some of it; the events that its log has left."""
    shutil.copytree(recording, folder, ignore=shutil.ignore_patterns("ground_truth.json", *left_out))
    log = folder / "audit.jsonl.gz"
    events = [json.loads(line) for line in gzip.decompress(log.read_bytes()).splitlines()]
    if change:
        events = change(events)
        log.write_bytes(gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode(), 1))
    return events


@pytest.mark.full
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("recording", recordings(), ids=lambda path: "sample" if path == SAMPLE else path.name)
def test_what_is_named_stays_right_and_nothing_is_missed_in_silence(recording: Path, name: str, tmp_path: Path) -> None:
    change, left_out = CHANGES[name]
    left = vary(recording, tmp_path / "evidence", change, left_out)
    kit_json("new", tmp_path / "case", tmp_path / "evidence")
    scope = kit_json("scope", tmp_path / "case")
    made = compared(recording, scope)
    wrong = [one for one in made.offenders if one.endswith("should not be")]
    assert not wrong, wrong
    silent = list(missed_in_silence(recording, scope, left))
    assert not silent, silent


def missed_in_silence(recording: Path, scope: dict[str, Any], left: list[Event]) -> Iterable[str]:
    """What the truth has and the scope has neither as a subject, possible ones too, nor as a limit on such subjects.

    What was gone before the log begins is outside the window, which the scope names.
    """
    begin = min(event["stageTimestamp"] for event in left)
    truth = json.loads((recording / "ground_truth.json").read_text())
    found = {finding["id"]: finding for finding in scope["findings"]}
    for finding_id, wanted in {**truth["findings"], **truth.get("more_findings", {})}.items():
        finding = found[finding_id]
        limited = {kind for limit in finding["limits"] for kind in limit["about"]}
        gone = [pod for pod in wanted["pods"] if pod["deleted"] and pod["deleted"] < begin]
        lived = [pod for pod in wanted["pods"] if pod not in gone]
        outside = {pod["uid"] for pod in gone}
        for name in ("images", "node", "service_account"):
            outside |= _values(gone, name) - _values(lived, name)
        for kind, listed in LISTS.items():
            named = {one["key"] for one in finding["subjects"] if one["kind"] == kind}
            for value in wanted.get(listed) or []:
                key = str(value["uid"] if isinstance(value, dict) else value)
                if key not in named and key not in outside and kind not in limited:
                    yield f"{wanted['type']} {finding_id[:8]}: {kind} {key}"
    calls = {call for finding in scope["findings"] for call in finding["calls"]}
    limits = {kind for finding in scope["findings"] for limit in finding["limits"] for kind in limit["about"]}
    for call in sorted(set(truth["attacker_calls"]) & {event["auditID"] for event in left} - calls):
        if "identity" not in limits:
            yield f"call {call}"


def _values(pods: list[dict[str, Any]], name: str) -> set[str]:
    values = [pod[name] if isinstance(pod[name], list) else [pod[name]] for pod in pods]
    if name == "service_account":
        values = [[f"{pod['namespace']}/{pod[name]}"] for pod in pods]
    return {str(each) for listed in values for each in listed}


def renamed(recording: Path, folder: Path) -> Path:
    """A recording in which namespaces, people, accounts and addresses have other names, in all its files and its truth."""
    truth = json.loads((recording / "ground_truth.json").read_text())
    namespaces = {pod["namespace"] for pod in truth["all_pods"]} - {"default", "kube-system"}
    others = {name: f"x{number}-{name[::-1]}" for number, name in enumerate(sorted(namespaces))}
    others |= {truth["account"]: "123456789012", truth["cluster"]: "another-cluster"}
    others |= {
        str(one["username"]): f"someone.else{number}@corp.example"
        for number, one in enumerate(truth["attacker"]["identities"])
        if ":" not in str(one["username"])
    }
    others |= {address: f"198.18.{number}.7" for number, address in enumerate(truth["attacker"]["source_ips"])}
    pattern = re.compile(
        r"(?<![\w.-])(?:" + "|".join(map(re.escape, sorted(others, key=len, reverse=True))) + r")(?![\w-])"
    )
    for path in sorted(path for path in recording.rglob("*") if path.is_file()):
        packed = path.suffix == ".gz"
        text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode()
        made = folder / path.relative_to(recording)
        made.parent.mkdir(parents=True, exist_ok=True)
        data = pattern.sub(lambda found: others[found[0]], text).encode()
        made.write_bytes(gzip.compress(data, 1) if packed else data)
    return folder


@pytest.mark.full
@pytest.mark.parametrize("recording", recordings(), ids=lambda path: "sample" if path == SAMPLE else path.name)
def test_names_do_not_matter(recording: Path, tmp_path: Path) -> None:
    made = score(renamed(recording, tmp_path / recording.name))
    assert made.perfect, [*made.offenders, *made.baseless]
