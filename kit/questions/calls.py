"""Questions about what the attacker's calls did: read, minted, ran, deleted; asked and refused; and what was done to the evidence.

Sources: Kubernetes API reference (authorization.k8s.io reviews, TokenRequest, pods/exec), audit.k8s.io/v1 (auditID may be chosen by the
client); EKS User Guide "Control plane logging"; CloudTrail and GuardDuty API references (calls that end a recording).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from kit.attribution.calls import ACCESS_REVIEWS, Event, did, let_through, made_by
from kit.attribution.credential import TAKEN
from kit.attribution.deeds import path_of
from kit.model.kinds import Certainty, Needs, SubjectName
from kit.model.why import AUDIT_LOG, Limit, Standing
from kit.model.window import Window
from kit.questions.identity import LOG
from kit.questions.question import Asked, Found, question, row, stands, whys
from kit.store.queries import within
from kit.store.tables import Row
from kit.words import counted, few, utc

_BURST, _WITHIN = 5, timedelta(minutes=10)  # refused calls of one identity that look like trying
ENDS_RECORDING = {
    "cloudtrail.amazonaws.com": ("StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors", "DeleteEventDataStore"),
    "guardduty.amazonaws.com": (
        "DeleteDetector", "UpdateDetector", "StopMonitoringMembers", "DisassociateMembers", "ArchiveFindings", "CreateFilter",
        "UpdateFilter", "DeletePublishingDestination", "CreateIPSet", "UpdateIPSet", "CreateTrustedEntitySet",
    ),
    "logs.amazonaws.com": ("DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "DeleteSubscriptionFilter"),
    "eks.amazonaws.com": ("UpdateClusterConfig", "DeleteAddon"),
    "s3.amazonaws.com": ("PutBucketLifecycle", "DeleteBucket", "PutBucketPolicy"),
}  # fmt: skip
"""CloudTrail: service → calls that end or thin out a recording, or hide findings."""


_STANDS = {"usable": Standing.STANDS, "ended": Standing.GONE, "cannot tell": Standing.CANNOT_TELL}


def _of_subjects(asked: Asked, kind: SubjectName, heading: str) -> list[Row]:
    rows = []
    for one in asked.subjects(kind):
        cells = {heading: one.key, "What": whys(list(one.why)[:3]), "Stands": stands(one.thing)}
        rows.append(row([why.ref for why in one.why], one.certainty, **cells))
    return rows


def _counted(rows: list[Row], noun: str, plural: str) -> str:
    return counted(sum(one["certainty"] == "affected" for one in rows), noun, plural)


@question("Which secrets were read?", Needs("audit", "Metadata", ("secrets",)), about=("secret",))
def secrets_read(asked: Asked) -> Found:
    """Secrets that the attacker's calls were given, by name or in a list."""
    rows = _of_subjects(asked, "secret", "Secret")
    return Found(
        rows,
        f"{_counted(rows, 'secret was', 'secrets were')} read.",
        "No read of a secret by the attacker was let through.",
    )


@question("Which more secrets were in reach?", LOG, Needs("dump"), about=("reachable",))
def secrets_in_reach(asked: Asked) -> Found:
    """Secrets that the rights of the attacker's identities reached and that were not read."""
    rows = [one | {"certainty": "affected"} for one in _of_subjects(asked, "reachable", "Secret")]
    says = f"{_counted(rows, 'more secret was', 'more secrets were')} in reach."
    return Found(rows, says, "No secret beside those that were read was in reach.")


@question("Which config maps were read?", Needs("audit", "Metadata", ("configmaps",)), about=("config_map",))
def config_maps_read(asked: Asked) -> Found:
    """Config maps that the attacker's calls were given."""
    rows = _of_subjects(asked, "config_map", "Config_map")
    return Found(
        rows,
        f"{_counted(rows, 'config map was', 'config maps were')} read.",
        "No read of a config map by the attacker was let through.",
    )


@question("Which tokens were minted or taken?", LOG, about=("token", "credential"))
def tokens_minted(asked: Asked) -> Found:
    """Tokens that the attacker's calls minted, and those taken another way: of a Secret, which never ends, of a pod, of a certificate request."""
    rows = [one | {"How": "minted"} for one in _of_subjects(asked, "token", "Service_account")]
    minted = sum(one["certainty"] == "affected" for one in rows)
    taken = [one for part in asked.parts for one in part.credentials if one.kind in TAKEN]
    for one in {(one.kind, one.key): one for one in taken}.values():
        cells = {"Service_account": one.account or one.holder, "What": whys(one.why[:3]), "Stands": _STANDS[one.state]}
        how = f"{one.kind.replace('_', ' ')} {one.key}"
        rows.append(row([why.ref for why in one.why], one.certainty, **cells, How=how))
    others = sum(one["certainty"] == "affected" for one in rows) - minted
    said = [f"Tokens were minted for {counted(minted, 'service account')}"] * bool(minted)
    said += [f"{counted(others, 'token or certificate was', 'tokens or certificates were')} taken another way"] * bool(
        others
    )
    return Found(
        rows,
        f"{'; '.join(said)}.",
        "The log has no token that the attacker minted, or took another way: what is read inside of a pod or on a node is in no audit log.",
    )


@question("In which pods or nodes were commands run?", LOG, about=("exec",))
def commands_run(asked: Asked) -> Found:
    """Exec, attach and port-forward by the attacker; what was typed in an interactive shell is in no audit log."""
    rows = _of_subjects(asked, "exec", "In")
    says = f"Commands were run in {_counted(rows, 'pod or node', 'pods or nodes')}; what was typed inside is in no audit log."
    return Found(rows, says, "The attacker opened no exec, attach or port-forward through the API server.")


@question("What was deleted or evicted?", LOG, about=("deleted",))
def objects_deleted(asked: Asked) -> Found:
    """Objects that the attacker's calls deleted or evicted."""
    made = {one.key for one in asked.subjects("created")}
    rows = [
        one | {"Whose": "made by the attacker" if one["Object"] in made else "not made by the attacker"}
        for one in _of_subjects(asked, "deleted", "Object")
    ]
    return Found(
        rows, f"{_counted(rows, 'object was', 'objects were')} deleted or evicted.", "The attacker deleted nothing."
    )


@question("What was refused first and let through later?", LOG, about=("identity",))
def refused_then_allowed(asked: Asked) -> Found:
    """Calls of one kind that the attacker was refused, and that were let through afterwards."""
    refused, rows = dict[tuple[str, str, str], Event](), dict[tuple[str, str, str], Row]()
    for event in asked.hostile:
        place = (str(event["verb"]), str(event["resource"] or event["request_uri"]), str(event["namespace"] or ""))
        if event["response_code"] in (401, 403):
            refused.setdefault(place, event)
        elif place in refused and let_through(event) and place not in rows:
            before = refused[place]
            rows[place] = row(
                [asked.ref(before), asked.ref(event)], Call=f"{place[0]} {place[1]}", Namespace=place[2],
                Refused=before["received_at"], Refused_as=made_by(before), Let_through=event["received_at"], As=made_by(event),
                Same_identity="yes" if made_by(before) == made_by(event) else "no",
            )  # fmt: skip
    other = sum(one["Same identity"] == "no" for one in rows.values())
    who = f"; {other} of them for another identity than the refused one" if other else ""
    says = f"{counted(len(rows), 'kind')} of calls {'was' if len(rows) == 1 else 'were'} refused first and let through later{who}."
    return Found(
        list(rows.values()), says, "No kind of call was refused first and let through later.", limits=asked.nobody
    )


@question("Did the attacker ask what is allowed?", LOG, about=("identity",))
def permissions_probed(asked: Asked) -> Found:
    """Access reviews about itself, and runs of refused calls, by the attacker."""
    asking, refused = defaultdict[str, list[Event]](list), defaultdict[str, list[Event]](list)
    for event in asked.hostile:
        user = made_by(event)
        if event["resource"] in ACCESS_REVIEWS and event["verb"] == "create":
            asking[user].append(event)
        elif event["response_code"] in (401, 403):
            refused[user].append(event)
    rows = [_probe(asked, user, "asked for its rights", events) for user, events in asking.items()]
    for user, events in refused.items():
        spans = [
            late["received_at"] - early["received_at"]
            for early, late in zip(events, events[_BURST - 1 :], strict=False)
        ]
        if any(span <= _WITHIN for span in spans):
            rows.append(
                _probe(
                    asked, user, f"was refused {_BURST} times or more within {_WITHIN.seconds // 60} minutes", events
                )
            )
    told = [f"{one['Identity']} {one['What']} ({counted(one['Calls'], 'call')})" for one in rows]
    says = f"{few(told, 3)}."
    return Found(
        rows,
        says,
        "The attacker neither asked for its rights nor ran into a row of refusals.",
        limits=asked.nobody,
    )


def _probe(asked: Asked, user: str, what: str, events: list[Event]) -> Row:
    first, last = events[0], events[-1]
    return row(
        map(asked.ref, events),
        Identity=user,
        What=what,
        Calls=len(events),
        First=first["received_at"],
        Last=last["received_at"],
    )


@question("Was evidence removed or recording turned off?", LOG, Needs("trail"), about=("deleted",))
def evidence_tampered(asked: Asked) -> Found:
    """Recordings that were ended or thinned out, Events and own workloads that the attacker deleted, auditIDs used twice, gaps in the log."""
    rows = _recordings(asked)
    made = {one.key for one in asked.subjects("created")}
    for event in asked.hostile:
        if did(event) == "deleted" and let_through(event):
            path = path_of(event)
            if event["resource"] == "events":
                rows.append(
                    _tampering(
                        asked.ref(event), "Events of the cluster were deleted", event["user_name"], event["received_at"]
                    )
                )
            elif path in made:
                rows.append(
                    _tampering(
                        asked.ref(event),
                        f"{path}, which the attacker made, was deleted again",
                        event["user_name"],
                        event["received_at"],
                    )
                )
        if event["audit_id"] in asked.store.reused_audit_ids:
            rows.append(
                _tampering(
                    asked.ref(event),
                    f"auditID {event['audit_id']} stands on more than one request",
                    event["user_name"],
                    event["received_at"],
                )
            )
    rows += [
        _tampering(asked.finding_ref(), f"the audit log has a gap until {utc(end)}", "", start, "possible")
        for start, end in asked.scope.limits.unrecorded
    ]
    number = sum(one["certainty"] == "affected" for one in rows)
    return Found(
        rows,
        f"{counted(number, 'sign')} of it: {few([str(one['What']) for one in rows if one['certainty'] == 'affected'], 2)}.",
        "No sign that evidence was removed or recording turned off.",
    )


def _recordings(asked: Asked) -> list[Row]:
    start = asked.window.start if asked.window else None
    rows = []
    for one in asked.store.rows(
        "SELECT event_id, event_at, event_source, event_name, arn, user_name, request_parameters FROM trail"
        " WHERE list_contains($names, event_source || ' ' || event_name) AND error_code IS NULL"
        f" AND {within('event_at')} ORDER BY event_at, event_id",
        names=[f"{service} {name}" for service, names in ENDS_RECORDING.items() for name in names],
        start=start,
        end=asked.scope.given[1],
    ):
        if one["event_name"] == "UpdateClusterConfig" and '"logging"' not in (one["request_parameters"] or ""):
            continue
        hostile = one["event_id"] in asked.scope.attacker.trail
        what = f"{one['event_source'].partition('.')[0]} {one['event_name']}"
        rows.append(
            _tampering(
                f"trail:{one['event_id']}",
                what,
                one["arn"] or one["user_name"],
                one["event_at"],
                "affected" if hostile else "possible",
            )
        )
    return rows


def _tampering(ref: str, what: str, by: str | None, at: datetime, certainty: Certainty = "affected") -> Row:
    return row([ref], certainty, What=what, By=by or "", At=at)


@question("Is the attack still going on?", LOG, Needs("trail"))
def going_on(asked: Asked) -> Found:
    """Whether the attacker's last call, in the cluster or in AWS, or what GuardDuty last saw, came within five minutes of the end of the log."""
    events, window = asked.hostile, asked.window
    if not events or window is None:
        says = "Whether it is still going on cannot be told: no call is attributed to the attacker"
        return Found([], "", "", limits=(Limit(("identity",), says, AUDIT_LOG),))
    last = events[-1]
    signs = [(last["received_at"], f"call of {made_by(last)} from {last['source_address']}", asked.ref(last))]
    signs += [
        (one["event_at"], f"{one['event_name']} in AWS", f"trail:{one['event_id']}") for one, _ in asked.trail.values()
    ]
    signs += [
        (one.last_seen_at, f"GuardDuty last saw {one.type}", str(one.ref("service.eventLastSeen")))
        for one in (part.finding for part in asked.parts)
        if one.last_seen_at and not one.is_policy
    ]
    at, what, ref = max(signs)
    quiet = (window.end - at).total_seconds()
    rows = [row([ref], Last_sign=at, What=what, Log_ends=window.end)]
    soon = quiet <= 300
    return Found(
        rows,
        f"The last sign ({what}) came {int(max(quiet, 0))} s before the log ends ({utc(window.end)}): treat it as going on.",
        f"The last sign ({what}) was at {utc(at)}, {int(quiet // 60):,} minutes before the log ends; the credential may still be usable.",
        int(soon),
        window=None if soon else Window(at, window.end),
    )
