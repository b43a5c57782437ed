"""Decoys in the audit log of a lab: some of what one's own people read goes, and others of it come, after the calls of another recording.

A decoy is a call of the other recording, made by a person of this one: who that is, from where and by which right is as this log has it, so that dump,
AWS's answers and findings go on to fit. Only lists are put in and only reads taken out: they change nothing, and the truth stays what it was.
"""

from __future__ import annotations

import json
import random
import uuid
from datetime import datetime, timedelta
from typing import Any

from kit.training.calls import outcome

AUDIT_FILE = "audit.jsonl.gz"
_READS = ("get", "list")
_STAYS, _MOST = 0.6, 40
_Call = dict[str, Any]


def with_decoys(log: str, truth: dict[str, Any], other: str, other_truth: dict[str, Any], seed: int) -> str:
    """The audit log of a recording with other reads of one's own people in it. other: the log of another recording."""
    chance = random.Random(f"{seed}:decoys")  # noqa: S311 - not for secrecy
    events, others = _events(log), _events(other)
    own, theirs = _of_people(events, truth), _of_people(others, other_truth)
    spaces = sorted({str(one["objectRef"].get("namespace") or "") for one in own} - {""})
    lists = [one for one in theirs if one["verb"] == "list" and "responseObject" not in one]
    if not (own and lists and spaces):
        return log
    gone = {one["auditID"] for one in own if chance.random() > _STAYS}
    first, last = (datetime.fromisoformat(one["requestReceivedTimestamp"]) for one in (events[0], events[-1]))
    space_of = {str(one["objectRef"].get("namespace") or ""): chance.choice(spaces) for one in lists}
    made = [
        _as_of(chance.choice(own), one, space_of, first + (last - first) * chance.random(), chance)
        for one in chance.sample(lists, min(_MOST, len(lists)))
    ]
    whole = [one for one in events if one["auditID"] not in gone] + made
    whole.sort(key=lambda one: str(one["stageTimestamp"]))
    return "".join(f"{json.dumps(one, separators=(',', ':'), ensure_ascii=False)}\n" for one in whole)


def _events(log: str) -> list[_Call]:
    return [json.loads(line) for line in log.split("\n") if line]


def _of_people(events: list[_Call], truth: dict[str, Any]) -> list[_Call]:
    """The reads of people whose identity and address are not the attacker's."""
    users = {str(one["username"]) for one in truth["attacker"]["identities"]}
    addresses = {*truth["attacker"]["source_ips"]}
    return [
        one
        for one in events
        if one["verb"] in _READS
        and (one.get("objectRef") or {}).get("resource")
        and "subresource" not in one["objectRef"]
        and not one["user"]["username"].startswith(("system:", "eks:"))
        and one["user"]["username"] not in users
        and not addresses & {*one["sourceIPs"]}
        and outcome(one) == "was let through"
        and one["auditID"] not in truth["attacker_calls"]
    ]


def _as_of(person: _Call, call: _Call, spaces: dict[str, str], at: datetime, chance: random.Random) -> _Call:
    """A call of another recording as a person of this one makes it."""
    given = str(call["objectRef"].get("namespace") or "")
    space, about = spaces[given] if given else "", dict(call["objectRef"])
    uri = call["requestURI"].replace(f"/namespaces/{given}/", f"/namespaces/{space}/") if given else call["requestURI"]
    made = {
        **call,
        "auditID": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "requestURI": uri,
        "user": person["user"],
        "sourceIPs": person["sourceIPs"],
        "userAgent": person.get("userAgent", ""),
        "objectRef": about | ({"namespace": space} if given else {}),
        "requestReceivedTimestamp": _logged(at),
        "stageTimestamp": _logged(at + timedelta(milliseconds=chance.randrange(2, 30))),
    }
    return made | ({"annotations": person["annotations"]} if "annotations" in person else {})


def _logged(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
