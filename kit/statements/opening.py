"""How an incident began: how the attacker got in, and what speaks for a false alarm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from kit.attribution.calls import Event, caller_of, credentials_of, let_through, resource_of
from kit.attribution.own_call import AROUND
from kit.model.claim import Claim
from kit.model.finding import Finding
from kit.model.identity import ANONYMOUS, NODE, SERVICE_ACCOUNT
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.moments import Moments, spoken
from kit.words import before_or_after, few, utc

_BASELINE = timedelta(hours=1)  # a shorter time before shows nothing of what is usual
_ISSUED_THERE = " It was issued to that address, at {issued}: whoever is there could sign in to AWS. How that sign-in was taken: cannot tell."
_HABIT = 3  # earlier calls of the same kind, from which on they speak for a habit


def opened_by(incident: Incident, scope: Scope, moments: Moments) -> Claim:
    """How the attacker got in, by the credential of the first call. holds: False where that cannot be told."""
    if not incident.calls:
        return Claim("How the attacker got in: cannot tell. No call in the audit log is attributed.", holds=False)
    first = _first_let_through(incident)
    ref = str(scope.store.event_ref(first))
    user, address = str(first["user_name"]), first["source_address"]
    said = {"who": spoken(user), "address": address, "at": f"{first['received_at']:%H:%M:%S}"}
    if user == ANONYMOUS:
        template = "The API server let anonymous requests from {address} through, the first at {at} UTC."
        if not let_through(first):
            template = "Requests without a credential came from {address}, the first at {at} UTC; none was let through."
        return Claim(template, said, (ref,))
    if user.startswith(SERVICE_ACCOUNT):
        pod = scope.inventory.things.get(first["claimed_pod_uid"] or "")
        if pod:
            said["pod"] = f"{pod.namespace}/{pod.name}"
            seen = _reported_in(pod.uid, incident, first["received_at"])
            said["types"] = few(list(dict.fromkeys(one.type for one in seen)), 3)
            template = "The token of pod {pod} ({who}) was used from {address}, first at {at} UTC. How it was taken: cannot tell"
            template += ", but GuardDuty reported {types} in that pod before." if seen else "."
            return Claim(template, said, (ref, *(str(one.ref("type")) for one in seen)))
        return Claim(
            "A token of {who} was used from {address}, first at {at} UTC. How it was taken: cannot tell.", said, (ref,)
        )
    if user.startswith(NODE):
        return Claim(
            "{who} was used from {address}, first at {at} UTC. How it was taken: cannot tell.", _capital(said), (ref,)
        )
    key = first["access_key_id"]
    if key:
        chain = scope.sessions.of_keys([key]).get(key)
        said |= {"key": key, "kind": "long-term access key" if key.startswith("AKIA") else "session"}
        refs = (ref, *((str(chain.why.ref),) if chain and chain.why else ()))
        template = "The {kind} {key} signed in as {who} from {address}, first at {at} UTC."
        if chain and chain.issued_at and chain.from_address:
            said |= {"place": chain.from_address, "issued": utc(chain.issued_at)}
            if chain.from_address == address:
                return Claim(template + _ISSUED_THERE, said, refs)
            template += " It was issued to {place}, at {issued}."
        return Claim(template + " How it was taken: cannot tell.", said, refs)
    return Claim(
        "{who} called from {address}, first at {at} UTC. How its credential was taken: cannot tell.",
        _capital(said),
        (ref,),
    )


def _reported_in(pod_uid: str, incident: Incident, until: datetime) -> list[Finding]:
    """What GuardDuty saw of the programs in a pod up to a moment, oldest first."""
    found = [
        one.finding
        for one in incident.scopes
        if one.finding.workload.get("Uid") == pod_uid and not one.finding.api_call
    ]
    times = [(one.first_seen_at, one.id, one) for one in found if one.first_seen_at and one.first_seen_at <= until]
    return [one for *_, one in sorted(times, key=lambda each: each[:2])]


def _capital(said: dict[str, str | None]) -> dict[str, str | None]:
    who = said["who"] or ""
    return said | {"who": who[:1].upper() + who[1:] if who.startswith(("the ", "service ")) else who}


def _first_let_through(incident: Incident) -> Event:
    return next(filter(let_through, incident.calls), incident.calls[0])


def expected_if(incident: Incident, scope: Scope) -> list[Claim]:
    """What would make it a false alarm. values: whom to ask what. holds: whether the rows show it; None where they cannot."""
    made = list[Claim]()
    for one in incident.scopes:
        own = [event for event in scope.attacker.own_calls.of(one.finding) if one.finding.first_seen_at]
        if not own or one.finding.first_seen_at is None:
            continue
        call, until = own[0], one.finding.first_seen_at - AROUND
        same = [event for event in incident.calls if _alike(event, call) and event["received_at"] < until]
        said = {"who": spoken(str(call["user_name"])), "what": f"{call['verb']} {resource_of(call)}", "n": len(same),
                "ask": _asked(call)}  # fmt: skip
        refs = tuple(str(scope.store.event_ref(event)) for event in [call, *same[-3:]])
        if len(same) >= _HABIT:
            said["at"] = f"{same[-1]['received_at']:%Y-%m-%d %H:%M:%S}"
            template = "{who} made the same call ({what}) with this credential, address and client {n} times before, last at {at} UTC."
            made.append(Claim(template, said, refs, True))
        elif scope.window and until - scope.limits.begins < _BASELINE:
            said["span"] = before_or_after(call["received_at"] - scope.limits.begins)
            template = "Whether {who} makes this call ({what}) often cannot be told: the log begins {span} it."
            made.append(Claim(template, said, refs, None))
        else:
            template = "{who} did not make this call ({what}) with this credential, address and client in the recorded time before."
            made.append(Claim(template, said, refs, False))
    unique = {one.says: one for one in made}
    return sorted(unique.values(), key=lambda one: (one.holds is not True, one.says))[:3]


def disposition_of(incident: Incident, marked: Mapping[str, str], doubts: Iterable[Claim]) -> str:
    """Whether an incident is hostile, expected, or cannot be told. marked: finding → what a person said of it."""
    words = [marked.get(one.finding.id) for one in incident.scopes]
    if all(word == "expected" for word in words):
        return "expected"
    called = bool(incident.calls or incident.trail)
    hostile = "confirmed" in words or (called and not any(one.holds for one in doubts))
    return "hostile" if hostile else "cannot tell"


def _asked(call: Event) -> str:
    """Whom to ask what about a finding's call."""
    user, address = str(call["user_name"]), call["source_address"]
    if user == ANONYMOUS:
        return f"Does a probe or a scanner of yours call from {address} without a credential?"
    if user.startswith((SERVICE_ACCOUNT, NODE)):
        return f"Is {address} an address of yours from which {spoken(user)} is used?"
    return f"Is {address} an address of {user}, and was this call theirs?"


def _alike(event: Event, call: Event) -> bool:
    same = all(event[name] == call[name] for name in ("verb", "resource", "subresource"))
    own, others = credentials_of(call), credentials_of(event)
    return same and caller_of(event) == caller_of(call) and (not own or not others or bool(own & others))
