"""The kit's own requests among the calls, as the log of its collection shows them: these are never the attacker's.

A call is the kit's own when all of this holds. Its user agent counts for nothing, because anybody may write one:
* a line of the collection log has its request id, names what it asked for, was made as its principal, and within SKEW of its time;
* it is of a kind that the kit asks: it changed nothing, ran nothing, and read no Secret by its name;
* it came from the address that most requests of that run came from, and no other request bears its id: a client may choose its auditID;
* no finding from before the run names its principal and address as the caller's: then a person has to say whose it is.
What has the id of a line and is not the kit's own is told too, with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from kit.attribution.calls import Place, address_of, did, events_where, place_of
from kit.model.finding import Finding
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store
from kit.words import utc

SKEW = timedelta(minutes=5)
"""AWS refuses a signature that is further from its own clock, so the kit's clock is no further off (IAM User Guide, "Signature Version 4")."""
_KUBERNETES = "kubernetes"
_SOURCES = {
    f"{name}.amazonaws.com"
    for name in (
        "autoscaling",
        "cloudtrail",
        "ec2",
        "ecr",
        "eks",
        "guardduty",
        "iam",
        "logs",
        "organizations",
        "route53resolver",
        "s3",
    )
}
_NEVER_ASKED = "it is no request that the kit makes when it collects"


@dataclass(frozen=True)
class _Call:
    """A call that has the id of a line of the log. request: what all events of one request share. misfit: why it is not the kit's."""

    place: Place | str
    ref: Ref
    at: datetime
    address: str
    request: tuple[Any, ...]
    line: dict[str, Any]
    misfit: str

    @property
    def run(self) -> tuple[Any, ...]:
        """The run of the kit and the way that its requests went."""
        return self.line["run"], self.line["made_as"], self.line["service"] == _KUBERNETES


class Collected:
    """The calls of one case that the kit made when it collected. findings: those of the case, asked for when they are needed."""

    def __init__(self, store: Store, findings: Callable[[], list[Finding]]) -> None:
        self.store, self._findings = store, findings

    def has(self, event: Any) -> bool:
        """Whether an audit event is a request of the kit."""
        return bool(self._lines) and place_of(event) in self.calls

    @cached_property
    def calls(self) -> dict[Place, Why]:
        """The kit's own requests in the audit log, by place, each with why it is one."""
        return {one.place: why for one, why, is_own in self._judged if is_own and not isinstance(one.place, str)}

    @cached_property
    def aws_calls(self) -> dict[str, Why]:
        """The same in CloudTrail, by eventID."""
        return {one.place: why for one, why, is_own in self._judged if is_own and isinstance(one.place, str)}

    @property
    def claimed(self) -> list[Why]:
        """Calls that have an id of the collection log and are not the kit's own, each with why."""
        return [why for _, why, is_own in self._judged if not is_own]

    @cached_property
    def _lines(self) -> dict[tuple[str, bool], list[dict[str, Any]]]:
        found = defaultdict[tuple[str, bool], list[dict[str, Any]]](list)
        rows = self.store.rows(
            "SELECT requested_at, service, operation, request_uri, request_id, made_as, run, file, item FROM requests"
            " ORDER BY requested_at, file, item"
        )
        known = defaultdict[Any, set[str]](set)
        for row in rows:
            known[row["run"], row["service"] == _KUBERNETES].update({row["made_as"]} - {None})
        for row in rows:
            principals = known[row["run"], row["service"] == _KUBERNETES]
            if row["made_as"] is None and len(principals) == 1:  # asked before the service had said who asks
                (row["made_as"],) = principals
            if row["request_id"] and row["made_as"]:
                found[row["request_id"], row["service"] == _KUBERNETES].append(row)
        return found

    @cached_property
    def _judged(self) -> list[tuple[_Call, Why, bool]]:
        if not self._lines:
            return []
        calls = sorted([*self._in_cluster(), *self._in_aws()], key=lambda one: (one.at, str(one.ref)))
        usual = _usual_addresses(calls)
        requests = defaultdict[Any, set[tuple[Any, ...]]](set)
        for one in calls:
            if not one.misfit:
                requests[one.line["request_id"], one.run].add(one.request)
        judged = list[tuple[_Call, Why, bool]]()
        for one in calls:
            because = one.misfit
            if not because and len(requests[one.line["request_id"], one.run]) > 1:
                because = "several requests bear its id"
            if not because and one.address != usual[one.run]:
                most = (
                    f"most requests of that run came from {usual[one.run]}"
                    if usual[one.run]
                    else "no address has most requests of that run"
                )
                because = f"it came from {one.address}, and {most}"
            if not because and (finding := self._named_before(one)):
                because = f"finding {finding} from before that run names its principal and address"
            asked = f"{one.line['operation']} at {utc(one.line['requested_at'])} as {one.line['made_as']}"
            says = f"the collection log has its id, for {asked}"
            says += f", but {because}: it is not taken for the kit's" if because else f"; it came from {one.address}"
            judged.append((one, Why(one.ref, says), not because))
        return judged

    def _in_cluster(self) -> Iterator[_Call]:
        if not self._lines:
            return
        events = events_where(
            self.store, "audit_id IN (SELECT request_id FROM requests WHERE service = $service)", service=_KUBERNETES
        )
        for event, ref in zip(events, self.store.event_refs(events), strict=True):
            if (event["audit_id"], True) not in self._lines:
                continue
            at, path = event["received_at"], _path(event["request_uri"])
            principals = (
                {event["user_name"], event["arn"]} if not event["impersonated_user_name"] else set[str | None]()
            )
            line, misfit = self._line((event["audit_id"], True), at, principals, path)
            asks = did({**event, "response_code": None}) in ("read", "asked")
            if not asks or (event["resource"] == "secrets" and event["name"]):
                misfit = misfit or _NEVER_ASKED
            # OCSF cuts times to milliseconds: the same event may have come both ways.
            request = (event["user_name"], event["verb"], path, at.replace(microsecond=at.microsecond // 1000 * 1000))
            yield _Call(place_of(event), ref, at, event["source_address"] or "", request, line, misfit)

    def _in_aws(self) -> Iterator[_Call]:
        for row in self.store.rows(
            "SELECT event_id, event_at, event_source, event_name, arn, source_address, read_only, request_id FROM trail"
            " WHERE request_id IN (SELECT request_id FROM requests WHERE service <> $service) ORDER BY event_at, event_id",
            service=_KUBERNETES,
        ):
            if (row["request_id"], False) not in self._lines:
                continue
            at, name = row["event_at"], row["event_name"] or ""
            line, misfit = self._line((row["request_id"], False), at, {row["arn"]}, name)
            misfit = misfit or ("" if row["read_only"] and _is_asked(row["event_source"], name) else _NEVER_ASKED)
            request = (row["arn"], row["event_source"], name, at)
            ref = Ref.of("trail", row["event_id"])
            yield _Call(row["event_id"], ref, at, row["source_address"] or "", request, line, misfit)

    def _line(
        self, id_: tuple[str, bool], at: datetime, principals: set[str | None], asked: str
    ) -> tuple[dict[str, Any], str]:
        """The line with this id that a call fits, else the first, with why it does not."""
        judged = [(line, _misfit(line, at, principals, asked)) for line in self._lines[id_]]
        return next((one for one in judged if not one[1]), judged[0])

    def _named_before(self, one: _Call) -> str:
        """The finding that named this principal and address as its caller's before the run began."""
        begun = self._begun[one.run]
        for finding in self._findings():
            call = address_of(finding.api_call)
            user, key = finding.user.get("Username"), one.request[0]
            is_before = (
                not (finding.is_policy or finding.sample) and finding.first_seen_at and finding.first_seen_at < begun
            )
            if is_before and user and user == key and call and call[0] == one.address:
                return finding.id
        return ""

    @cached_property
    def _begun(self) -> dict[tuple[Any, ...], datetime]:
        """Run → its first request."""
        found = dict[tuple[Any, ...], datetime]()
        for (_, in_cluster), lines in self._lines.items():
            for line in lines:
                run = line["run"], line["made_as"], in_cluster
                found[run] = min(found.get(run, line["requested_at"]), line["requested_at"])
        return found


def _misfit(line: dict[str, Any], at: datetime, principals: set[str | None], asked: str) -> str:
    """Why a call is not what a line of the log says; "" where it is. asked: the path, of AWS the name of the call."""
    if line["made_as"] not in principals:
        return f"it was made by {' or '.join(sorted(filter(None, principals))) or 'another'}"
    if abs(at - line["requested_at"]) > SKEW:
        return f"it was made at {utc(at)}"
    wanted = _path(line["request_uri"]) if line["service"] == _KUBERNETES else line["operation"]
    return "" if asked and asked == wanted else "it asked for something else"


def _is_asked(source: str, name: str) -> bool:
    """Whether a call of AWS is one that the kit may make: to CloudTrail it only reads too when a secret or a credential is handed out."""
    return (source in _SOURCES and name != "GetAuthorizationToken") or (source, name) == (
        "sts.amazonaws.com",
        "GetCallerIdentity",
    )


def _usual_addresses(calls: list[_Call]) -> dict[tuple[Any, ...], str]:
    """Run → the address that most of its requests came from; "" where two have as many."""
    counts = defaultdict[tuple[Any, ...], Counter[str]](Counter)
    for run, _, address in {(one.run, one.line["request_id"], one.address) for one in calls if not one.misfit}:
        counts[run][address] += 1
    found = defaultdict[tuple[Any, ...], str](str)
    for run, counter in counts.items():
        (address, number), *others = counter.most_common(2)
        found[run] = address if not others or others[0][1] < number else ""
    return found


def _path(uri: str | None) -> str:
    return (uri or "").partition("?")[0]
