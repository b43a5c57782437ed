"""All that a case tells of one thing: an address, a caller, a credential, a pod, a node, an image, a secret, or one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kit.case.named import ref_meant
from kit.lenient import dict_of, json_of
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.model.kinds import KINDS_OF_OBJECTS
from kit.model.masking import MASK
from kit.model.pod_spec import images
from kit.model.refs import LEADS_TO, Ref
from kit.store.queries import CALLS_ABOUT, CALLS_AROUND, TRAIL_ABOUT, one_of
from kit.store.tables import Row
from kit.words import iso

if TYPE_CHECKING:
    from kit.case.scoped import ScopedCase

_AROUND = timedelta(minutes=2)
_CALL = "SELECT user_name, received_at FROM audit WHERE audit_id = $key ORDER BY received_at, file, item LIMIT 1"
_PATH = "resource = $resource AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR AND name = $name"
_KEYS = "$key IN (access_key_id, credential_id, issued_credential_id, claimed_pod_uid)"
_NEW = {
    "source_address": "address",
    "user_name": "identity",
    "credential": "credential",
    "user_agent": "client",
    "what": "kind of call",
}
_SHARED = {"source_address": "source_ip", "user_name": "identity", "credential": "credential"}


_OF_PROCESS = ("read_at", "node", "pod_uid", "container_id", "pid", "parent", "user_id", "started_at", "program", "sha256", "command_line")  # fmt: skip


@dataclass(frozen=True)
class _Calls:
    """Which calls are about a thing, in SQL with its values: in the audit log, and in CloudTrail."""

    audit: str
    values: dict[str, Any]
    trail: str = ""
    of_trail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What a case tells of one thing. said: in the JSON form of docs/json.md."""

    case: ScopedCase
    said: dict[str, Any]

    def __repr__(self) -> str:
        return f"<About {self.said['ref']}: {self.said['calls']} calls, {self.said['hostile_calls']} of them the attacker's>"

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from kit.case.display import rendered

        return str(rendered("about", self.case, self.said)._repr_html_())


def told_of(case: ScopedCase, thing: str, first_bad: datetime | None, brief: dict[str, Any]) -> About:
    """What a case tells of a thing, by its ref or as it is called. first_bad: the first bad sign. Raises CallError."""
    ref = ref_meant(case, thing)
    return About(case, _of_record(case, ref) if ref.kind in LEADS_TO else _of_thing(case, ref, first_bad, brief))


def _of_record(case: ScopedCase, ref: Ref) -> dict[str, Any]:
    """A record of evidence: its text, and what its caller did around it."""
    file, line = case.place(ref)
    made = {"case": case.name, "ref": ref, "kind": ref.kind, "name": ref.key, "file": file, "line": line}
    call = case.store.rows(_CALL, key=ref.key) if ref.kind == "audit" else []
    around = list[Row]()
    if call:
        start, end = call[0]["received_at"] - _AROUND, call[0]["received_at"] + _AROUND
        around = case.store.rows(CALLS_AROUND, user_name=call[0]["user_name"], start=start, end=end)
    hostile = _hostile(case)
    calls = [{**row, "at": iso(row["at"]), "hostile": row["audit_id"] in hostile} for row in around]
    count = {"calls": len(calls), "hostile_calls": sum(one["hostile"] for one in calls)}
    return made | count | {"record": case.readable([ref])[ref], "around": calls}


def _of_thing(case: ScopedCase, ref: Ref, first_bad: datetime | None, brief: dict[str, Any]) -> dict[str, Any]:
    which = _calls_about(case, ref)
    rows = case.store.rows(CALLS_ABOUT.format(where=which.audit), **which.values, hostile=sorted(_hostile(case)))
    in_aws = case.store.rows(TRAIL_ABOUT.format(where=which.trail), **which.of_trail) if which.trail else []
    shared = _shared(rows, ref)
    times = [row[name] for row in rows for name in ("first_at", "last_at")]
    mine = [
        one
        for finding in case.scope["findings"]
        for one in finding["subjects"]
        if _is_it(ref, one["kind"], one["key"], one["ref"])
    ]
    findings = [
        {"id": one["id"], "type": one["type"]}
        for one in case.scope["findings"]
        if any(_is_it(ref, each["kind"], each["key"], each["ref"]) for each in one["subjects"])
    ]
    rings = [one["ring"] for one in mine if one["ring"]]
    return {
        "case": case.name,
        "ref": ref,
        "kind": ref.kind,
        "name": _name_of(case, ref),
        "first_at": iso(min(times, default=None)),
        "last_at": iso(max(times, default=None)),
        "calls": sum(row["calls"] for row in rows),
        "hostile_calls": sum(row["hostile"] for row in rows),
        "aws_calls": sum(row["calls"] for row in in_aws),
        "by_hour": _by_hour(rows),
        "in_aws": [row | {"first_at": iso(row["first_at"]), "last_at": iso(row["last_at"])} for row in in_aws],
        "since": iso(first_bad),
        "new": _new(rows, first_bad),
        "shared": shared,
        "findings": findings,
        "ring": next((one for one in ("touched", "exposed", "possible") if one in rings), None),
        "certainty": min((one["certainty"] for one in mine), default=None),
        "processes": _processes(case, ref),
        "why": list({why["says"]: why for one in mine for why in one["why"]}.values()),
        "ended_by": _ended_by(case, ref, shared, brief),
    }


def _processes(case: ScopedCase, ref: Ref) -> list[Row]:
    """The processes that captures of nodes show of a pod or on a node, the first to start first, without secrets in their command lines."""
    if ref.kind not in ("pod", "node"):
        return []
    member = "pod_uid" if ref.kind == "pod" else "node"
    rows = case.store.rows(
        "SELECT file, item, object FROM objects WHERE api_version = 'kit:capture' AND kind = 'Process'"
        f" AND json_extract_string(object, '$.{member}') = $key ORDER BY file, item",
        key=ref.key,
    )
    known = [dict_of(json_of(row["object"])) for row in rows]
    told = [
        {name: one.get(name) for name in _OF_PROCESS} | {"command_line": MASK.text(str(one.get("command_line") or ""))}
        for one in known
    ]
    return sorted(told, key=lambda one: (str(one["read_at"]), str(one["started_at"] or ""), int(one["pid"] or 0)))


def _hostile(case: ScopedCase) -> set[str]:
    return {audit_id for finding in case.scope["findings"] for audit_id in finding["calls"]}


def _is_it(ref: Ref, kind: str, key: str, other: str) -> bool:
    """Whether a subject is this thing, or a deed done to it, which has its key."""
    if ref.kind in KINDS_OF_OBJECTS:
        return kind in KINDS_OF_OBJECTS and key == ref.key
    return other == ref or (key == ref.key and {kind, ref.kind} <= _ALIKE.get(ref.kind, set()))


_ALIKE: dict[str, set[str]] = {
    "secret": {"secret", "reachable"},
    "service_account": {"service_account", "token"},
    "image": {"image", "introduced"},
}


def _name_of(case: ScopedCase, ref: Ref) -> str:
    thing = case.inventory.things.get(ref.key) if ref.kind == "pod" else None
    return f"{thing.namespace}/{thing.name}" if thing else ref.key


def _calls_about(case: ScopedCase, ref: Ref) -> _Calls:
    """Which calls are about a thing: made by it, with it or from it, or done to it."""
    kind, key = ref.kind, ref.key
    of_key = {"key": key}
    if kind == "source_ip":
        return _Calls("source_address = $key", of_key, "source_address = $key", of_key)
    if kind == "identity":
        return _Calls("user_name = $key", of_key, "user_name = $key", of_key)
    if kind == "credential":
        return _Calls(_KEYS, of_key, "access_key_id = $key", of_key)
    if kind == "iam_role":
        every = [one for finding in case.scope["findings"] for one in finding["identities"]]
        users = sorted({one["user_name"] for one in every if one["role"] == key})
        who = f"arn = $key OR {one_of('user_name', 'users')}"
        return _Calls(who, of_key | {"users": users}, "$key IN (arn, issuer_arn)", of_key)
    if kind == "image":
        uids = sorted(pod.uid for pod in case.inventory.pods if key in images(pod.spec))
        return _Calls(one_of("uid", "uids"), {"uids": uids})
    in_aws = one_of("access_key_id", "keys"), {"keys": _session_keys(case, key)}
    if kind == "service_account":
        return _Calls("user_name = $key", {"key": f"{SERVICE_ACCOUNT}{key.replace('/', ':', 1)}"}, *in_aws)
    if kind == "node":
        return _Calls(f"user_name = $key OR {_PATH}", _at_path(f"nodes/{key}") | {"key": f"{NODE}{key}"}, *in_aws)
    if kind == "pod":
        return _Calls(f"claimed_pod_uid = $key OR {_PATH}", _at_path(f"pods/{_name_of(case, ref)}") | of_key, *in_aws)
    path = key if kind in KINDS_OF_OBJECTS else f"{'configmaps' if kind == 'config_map' else 'secrets'}/{key}"
    return _Calls(_PATH, _at_path(path))


def _at_path(path: str) -> dict[str, Any]:
    resource, _, rest = path.partition("/")
    namespace, _, name = rest.rpartition("/")
    return {"resource": resource, "namespace": namespace or None, "name": name}


def _session_keys(case: ScopedCase, key: str) -> list[str]:
    """The access keys of the AWS sessions that a pod, a node or a service account got."""
    every = [one for finding in case.scope["findings"] for one in finding["sessions"]]
    return sorted({one["access_key_id"] for one in every if key in (one["pod"], one["node"], one["service_account"])})


def _by_hour(rows: Iterable[Row]) -> list[Row]:
    """Calls by hour and kind."""
    found = dict[tuple[datetime, str], Row]()
    for row in rows:
        one = found.setdefault((row["hour"], row["what"]), {"calls": 0, "hostile": 0})
        one["calls"] += row["calls"]
        one["hostile"] += row["hostile"]
    return [{"hour": iso(hour), "what": what} | one for (hour, what), one in sorted(found.items())]


def _new(rows: list[Row], since: datetime | None) -> list[Row]:
    """What the thing was not seen with before the first bad sign, oldest first."""
    made = list[Row]()
    for column, what in _NEW.items() if since else ():
        first, calls = dict[str, datetime](), dict[str, int]()
        for row in (one for one in rows if one[column]):
            first[row[column]] = min(first.get(row[column], row["first_at"]), row["first_at"])
            calls[row[column]] = calls.get(row[column], 0) + row["calls"]
        made += [{"what": what, "value": value, "first_at": at, "calls": calls[value]} for value, at in first.items() if since and at >= since]  # fmt: skip
    made.sort(key=lambda one: (one["first_at"], one["what"], one["value"]))
    return [one | {"first_at": iso(one["first_at"])} for one in made]


def _shared(rows: list[Row], ref: Ref) -> list[Row]:
    """The addresses, identities and credentials of its calls, those of the attacker's first."""
    made = list[Row]()
    for column, kind in _SHARED.items():
        of_value = dict[str, list[Row]]()
        for row in (one for one in rows if one[column]):
            of_value.setdefault(row[column], []).append(row)
        for value, of in of_value.items():
            if Ref.of(kind, value) != ref:
                first, last = min(one["first_at"] for one in of), max(one["last_at"] for one in of)
                made.append({"kind": kind, "key": value, "ref": Ref.of(kind, value), "calls": sum(one["calls"] for one in of), "hostile": sum(one["hostile"] for one in of), "first_at": iso(first), "last_at": iso(last)})  # fmt: skip
    return sorted(made, key=lambda one: (-one["hostile"], -one["calls"], one["kind"], one["key"]))


def _ended_by(case: ScopedCase, ref: Ref, shared: Iterable[Row], brief: dict[str, Any]) -> list[Row]:
    """What of it gives access, by the open list of the brief, with the plan's actions that end it; then the steps against an identity.

    Of an address it is what the attacker used from there.
    """
    keys = {ref.key} | {one["key"] for one in shared if one["hostile"] and ref.kind in ("source_ip", "identity")}
    keys |= {one.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1) for one in keys if one.startswith(SERVICE_ACCOUNT)}
    keys |= {one.removeprefix(NODE) for one in keys if one.startswith(NODE)}
    entries = {entry["id"]: entry for one in brief["incidents"] for entry in one["open"]}
    made = [
        {"entry": one["id"], "state": one["state"], "says": one["says"], "ends_by": one["ends_by"]}
        for one in entries.values()
        if keys & {one["key"], one["of"]}
    ]
    identities = [one for finding in case.scope["findings"] for one in finding["identities"]]
    steps = dict.fromkeys(
        step["says"]
        for one in identities
        if Ref.of("identity", one["user_name"]) == ref and any(source["hostile_calls"] for source in one["sources"])
        for step in one["take_away"]
    )
    return made + [{"entry": None, "state": None, "says": says, "ends_by": []} for says in steps]
