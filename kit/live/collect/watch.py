"""Whether the attacker came back: what the logs have since a moment, compared with what a case knows the attacker by.

A credential, an access key, an object or image of the attacker's, or an address that nobody else used tells by itself; an identity or an
address that others use too tells only together with the other. Sources: CloudTrail User Guide (events come within about 15 minutes, so each
look reaches back further than the one before it ended); CloudWatch Logs API, FilterLogEvents; CloudTrail API, LookupEvents.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kit.case.case import Case
from kit.case.opening import open_case
from kit.errors import CallError, WorkError
from kit.evidence.intake import Progress
from kit.lenient import dict_of, dicts_of, found_at, json_of, list_of, texts_of, time_of
from kit.live.collect.collection_log import LOG_NAME, CollectionLog
from kit.live.collect.run import Wanted, collect
from kit.live.connection import ConnectionOptions
from kit.model.address import canonical
from kit.plan.journal import Journal
from kit.words import iso

_LATE = timedelta(minutes=15)
_KINDS = ("audit", "cloudtrail")
_ALONE = ("access key", "credential", "object", "image", "address")


@dataclass(frozen=True)
class SeenAgain:
    """One call by something of the case. by: what tells it, and which."""

    at: str
    source: str
    ref: str
    by: str
    did: str

    @property
    def says(self) -> str:
        """One line for a person."""
        return f"{self.at} {self.source} {self.ref}: {self.did} ({self.by})"


@dataclass(frozen=True)
class KnownSigns:
    """What a case knows the attacker by. shared: identities and addresses that others use too."""

    signs: dict[str, frozenset[str]]
    shared: dict[str, frozenset[str]]

    def tells(self, found: dict[str, set[str]]) -> str:
        """By what a call is told, "" where it is not."""
        for kind in _ALONE:
            if both := found.get(kind, set()) & self.signs.get(kind, frozenset()):
                return f"{kind} {min(both)}"
        if both := found.get("identity", set()) & self.signs.get("identity", frozenset()):
            return f"identity {min(both)}"
        who, where = (found.get(kind, set()) & self.shared.get(kind, frozenset()) for kind in ("identity", "address"))
        return f"identity {min(who)} from address {min(where)}" if who and where else ""


def known_of(case: Case) -> KnownSigns:
    """What a case knows the attacker by, from its brief and its scope."""
    lists = dict[str, set[str]]()
    for incident in case.brief()["incidents"]:
        for name, values in incident["indicators"].items():
            lists.setdefault(name, set()).update(values)
    identities, addresses = set[str](), set[str]()
    for finding in case.scope["findings"]:
        for one in finding["identities"]:
            if one["told_apart_by"] or any(not each["hostile_calls"] for each in one["sources"]):
                identities.add(one["user_name"])
            addresses |= {str(each["address"]) for each in one["sources"] if each["calls"] > each["hostile_calls"] or each["inside"]}  # fmt: skip
    who, where = lists.get("identities", set()), lists.get("addresses", set())
    signs = {
        "access key": lists.get("access_keys", set()),
        "credential": lists.get("credential_ids", set()),
        "object": lists.get("objects", set()),
        "image": lists.get("images", set()),
        "address": where - addresses,
        "identity": who - identities,
    }
    shared = {"identity": who, "address": where}
    return KnownSigns(*({kind: frozenset(values) for kind, values in each.items()} for each in (signs, shared)))


def watch(
    case: Path,
    folder: Path,
    access: ConnectionOptions,
    since: datetime | None,
    until: datetime | None,
    every: timedelta,
    told: Progress,
    tell: Callable[[str], None],
) -> Iterator[SeenAgain]:
    """Look again and again until a moment, once without one; each call by something of the case once. Raises KitError."""
    opened = open_case(case)
    known, cluster = known_of(opened), opened.cluster
    if not cluster:
        raise CallError("the case does not tell its cluster", where="case", next="make it with --cluster")
    begin = since or _ended(case, opened)
    wanted = Wanted(cluster, opened.region or "", kinds=_KINDS, aws_only=True, agreed=True)
    tell(f"Looking at what came since {iso(begin)}")
    seen, at = set[str](), begin
    while True:
        now = min(datetime.now(UTC), until) if until else datetime.now(UTC)
        if at < now:
            collect(folder, replace(wanted, start=iso(max(begin, at - _LATE)), end=iso(now)), access, told, lambda _: None)  # fmt: skip
            at = now
        for one in seen_again(folder, known, begin):
            if one.ref not in seen:
                seen.add(one.ref)
                yield one
        if until is None or now >= until:
            return
        time.sleep(min(every.total_seconds(), max(0.0, (until - datetime.now(UTC)).total_seconds())))


def _ended(case: Path, opened: Case) -> datetime:
    """When the case was ended: by the last entry of its journal, else when its evidence ends. Raises CallError."""
    entries = Journal(case).entries
    ends = opened.brief()["evidence_ends"]
    times = [entries[-1].at] if entries else [one for one in map(time_of, (ends["audit"], ends["cloudtrail"])) if one]
    if not times:
        raise CallError("the case does not tell when it ended", where="since", next="give --since")
    return max(times)


def seen_again(folder: Path, known: KnownSigns, since: datetime) -> Iterator[SeenAgain]:
    """The calls in a folder of a collection that are by something of the case, but for the collection's own."""
    if not (folder / LOG_NAME).exists():
        return
    log = CollectionLog(folder)
    log.close()
    own = {(line.get("request_id"), line.get("as")) for line in log.lines}
    for line in log.lines:
        if line.get("kind") not in _KINDS or not line.get("file"):
            continue
        answer = _answer_in(folder / line["file"], line["operation"])
        if line["operation"] == "GetObject":  # a file that a trail delivered; a digest has no records
            found = (_of_trail(event, known, own) for event in dicts_of(answer.get("Records")))
        elif line["operation"] == "FilterLogEvents":
            events = (dict_of(json_of(str(one.get("message")))) for one in dicts_of(answer.get("events")))
            found = (_of_audit(event, known, own) for event in events)
        else:
            events = (dict_of(json_of(str(one.get("CloudTrailEvent")))) for one in dicts_of(answer.get("Events")))
            found = (_of_trail(event, known, own) for event in events)
        yield from (one for one in found if one and (when := time_of(one.at)) and when >= since)


def _answer_in(path: Path, operation: str) -> dict[str, Any]:
    """What came in a file, which a trail delivers compressed. Raises WorkError where it cannot be read."""
    try:
        data = path.read_bytes()
        return dict_of(json.loads(gzip.decompress(data) if operation == "GetObject" else data))
    except (OSError, EOFError, ValueError, zlib.error, RecursionError) as error:
        raise WorkError(f"cannot be read: {error}", str(path), "delete it and call again: it is fetched anew") from None


def _of_audit(event: dict[str, Any], known: KnownSigns, own: set[Any]) -> SeenAgain | None:
    user, what = dict_of(event.get("user")), dict_of(event.get("objectRef"))
    extra = {name.rpartition("/")[2]: texts_of(values) for name, values in dict_of(user.get("extra")).items()}
    name, ref = str(user.get("username") or ""), str(event.get("auditID") or "")
    if (ref, name) in own:
        return None
    path = "/".join(str(what.get(part) or "") for part in ("resource", "namespace", "name"))
    found = {
        "address": {canonical(one) for one in texts_of(event.get("sourceIPs"))},
        "identity": {name},
        "access key": {*extra.get("accessKeyId", [])},
        "credential": {form for one in extra.get("credential-id", []) for form in (one, one.removeprefix("JTI="))},
        "object": {path},
        "image": {*_images(event.get("requestObject"))},
    }
    by = known.tells(found)
    at = str(event.get("requestReceivedTimestamp") or event.get("stageTimestamp"))
    return SeenAgain(at, "audit", ref, by, f"{event.get('verb')} {path.strip('/')} by {name}") if by else None


def _of_trail(event: dict[str, Any], known: KnownSigns, own: set[Any]) -> SeenAgain | None:
    who = dict_of(event.get("userIdentity"))
    if (event.get("requestID"), who.get("arn")) in own:
        return None
    found = {
        "address": {canonical(str(event.get("sourceIPAddress") or ""))},
        "identity": {str(who.get("arn") or "")},
        "access key": {str(who.get("accessKeyId") or "")},
    }
    by = known.tells(found)
    did = f"{event.get('eventName')} of {event.get('eventSource')} by {who.get('arn')}"
    return SeenAgain(str(event.get("eventTime")), "cloudtrail", str(event.get("eventID")), by, did) if by else None


def _images(body: Any) -> Iterator[str]:
    """The images that the containers of an object name, of a pod or of a workload's template."""
    for path in (("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec")):
        spec = found_at(body, *path)
        for kind in ("containers", "initContainers", "ephemeralContainers"):
            yield from (str(one.get("image")) for one in dicts_of(list_of(dict_of(spec).get(kind))))
