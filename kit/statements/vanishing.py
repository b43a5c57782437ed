"""When evidence of an incident is gone that a cluster and an account keep only for a time: what goes first comes first.

Each time is worked out from the evidence and a rule of the service; where the evidence does not tell it, that is said. Sources:
kube-apiserver reference (`--event-ttl`, 1h0m0s); Kubernetes, "Logging Architecture" (a pod's logs go with it); CloudWatch Logs API, LogGroup
(no retentionInDays: kept for good); CloudTrail User Guide, "event history" (90 days); GuardDuty User Guide, "findings" (90 days); ECR User
Guide, lifecycle policies; EC2 User Guide, "Spot Instance interruptions"; Karpenter, "Disruption" (expireAfter); EKS User Guide, "Node auto repair".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, json_of, utc_time
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.words import counted, few, utc

EVENT_TTL = timedelta(hours=1)
HISTORY = timedelta(days=90)
SPOT = ("eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type")
"""Labels of a node that say how its instance was bought."""
_NAMED = 3
_SECOND = timedelta(seconds=1)  # times of findings have no smaller parts
_OF_ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/([^:@]+)(?::([^@]+))?(?:@(.+))?")
_DURATION = re.compile(r"(\d+)(h|m|s)")
_UNITS = {"h": "hours", "m": "minutes", "s": "seconds"}


@dataclass(frozen=True)
class Vanishing:
    """Evidence that goes by itself. lost_at: when, None where that cannot be told. things: the pods and nodes that it is of, as kind and key."""

    what: str
    lost_at: datetime | None
    says: str
    things: tuple[tuple[str, str], ...] = ()


def vanishing(incident: Incident, scope: Scope) -> list[Vanishing]:
    """The evidence of an incident that goes by itself, what goes first first; then what has no known time."""
    times = [event["received_at"] for event in incident.calls] + [row["event_at"] for row in incident.trail]
    times = times or [one.finding.first_seen_at for one in incident.scopes if one.finding.first_seen_at]
    pods = {one.key: one.thing for each in incident.scopes for one in each.affected("pod") if one.thing}
    names = {one.key for each in incident.scopes for one in each.affected("node")}
    names |= {str(pod.node) for pod in pods.values() if pod.node}
    nodes = [one for one in scope.inventory.of("nodes") if one.name in names]
    inside = [
        event["received_at"] for event in incident.calls
    ] or times  # a call of AWS touches no pod, and makes no Event
    seen = [at + _SECOND for one in incident.scopes if (at := one.finding.first_seen_at)]
    begun = min([*inside, *seen], default=None)
    found = [
        *_of_pods({key: pod for key, pod in pods.items() if pod.existed(begun, None)}),
        *_of_nodes(scope, nodes),
        *_of_images(incident, scope),
    ]
    if times:
        found += [
            *_of_events(scope, min(inside), max(inside)),
            *_of_log_group(scope, min(times)),
            _of_history(min(times)),
        ]
    found += _of_findings(incident)
    return sorted(
        found, key=lambda one: (one.lost_at is None, one.lost_at or datetime.max.replace(tzinfo=UTC), one.what)
    )


def _of_events(scope: Scope, first: datetime, last: datetime) -> Iterator[Vanishing]:
    (row,) = scope.store.rows("SELECT count(*) AS n FROM objects WHERE resource = 'events'")
    kept = f"the case has {row['n']:,}" if row["n"] else "the case has none"
    says = f"Kubernetes Events are gone an hour after they were made: those of the attack {f'from {utc(first + EVENT_TTL)} to {utc(last + EVENT_TTL)}' if utc(last) != utc(first) else f'at {utc(last + EVENT_TTL)}'}; {kept}."
    yield Vanishing("Kubernetes Events", first + EVENT_TTL, says)


def _of_pods(pods: dict[str, Thing]) -> Iterator[Vanishing]:
    gone = {key: pod for key, pod in pods.items() if pod.deleted_at}
    stand = {key: pod for key, pod in pods.items() if not pod.deleted_at}
    if gone:
        at = min(pod.deleted_at for pod in gone.values() if pod.deleted_at)
        which = few(sorted(f"{pod.namespace}/{pod.name}" for pod in gone.values()), _NAMED)
        says = f"Container logs of {counted(len(gone), 'affected pod')} went with {'the pod, ' if len(gone) == 1 else 'the pods, the first '}{utc(at)}: {which}. Look where logs are shipped to."
        yield Vanishing("container logs of deleted pods", at, says, tuple(("pod", key) for key in sorted(gone)))
    if stand:
        which = few(sorted(f"{pod.namespace}/{pod.name}" for pod in stand.values()), _NAMED)
        says = f"Container logs of {counted(len(stand), 'affected pod')} are gone when {'the pod is' if len(stand) == 1 else 'each is'} deleted, at a time that cannot be told: {which}."
        yield Vanishing("container logs of pods", None, says, tuple(("pod", key) for key in sorted(stand)))


def _of_nodes(scope: Scope, nodes: list[Thing]) -> Iterator[Vanishing]:
    """Nodes that others end: interrupted, expired, repaired."""
    stand = [one for one in nodes if not one.deleted_at]
    spot = [one for one in stand if any(one.labels.get(label, "").lower() == "spot" for label in SPOT)]
    if spot:
        says = f"{few(sorted(str(one.name) for one in spot), _NAMED)} {'runs' if len(spot) == 1 else 'run'} on Spot capacity: EC2 takes an instance back with two minutes' notice, at a time that cannot be told."
        yield Vanishing("memory and disks of Spot nodes", None, says, _keys(spot))
    claims = {
        str(dict_of(claim.get("status")).get("nodeName")): claim
        for row in scope.store.rows("SELECT object FROM objects WHERE resource = 'nodeclaims' ORDER BY file, item")
        if (claim := dict_of(json_of(row["object"])))
    }
    for node in stand:
        claim = claims.get(str(node.name), {})
        after = _duration(dict_of(claim.get("spec")).get("expireAfter"))
        made = utc_time(dict_of(claim.get("metadata")).get("creationTimestamp"))
        if after and made:
            says = f"Karpenter ends node {node.name} when it expires, at {utc(made + after)} (expireAfter of its NodeClaim)."
            yield Vanishing(f"memory and disks of node {node.name}", made + after, says, _keys([node]))
    facts = scope.inventory.node_facts
    repaired = [one for one in stand if (fact := facts.get(str(one.name))) and fact.repairs]
    if repaired:
        says = f"EKS replaces {few(sorted(str(one.name) for one in repaired), _NAMED)} about 30 minutes after a node stops being ready (node repair is on)."
        yield Vanishing("memory and disks of nodes under repair", None, says, _keys(repaired))


def _keys(nodes: list[Thing]) -> tuple[tuple[str, str], ...]:
    return tuple(("node", str(one.name)) for one in nodes)


def _duration(text: Any) -> timedelta | None:
    """A duration as Go writes it, such as 720h; None for Never and for what is none."""
    parts = _DURATION.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return timedelta(**{_UNITS[unit]: int(number) for number, unit in parts if len(number) < 7})


def _of_log_group(scope: Scope, first: datetime) -> Iterator[Vanishing]:
    group = f"/aws/eks/{scope.inventory.cluster}/cluster"
    rows = scope.store.rows(
        "SELECT object FROM objects WHERE kind = 'LogGroup' AND name = $name ORDER BY file, item", name=group
    )
    if not scope.inventory.cluster or not rows:
        says = "How long CloudWatch Logs keeps the audit log cannot be told: no evidence describes its log group (aws logs describe-log-groups)."
        yield Vanishing("EKS audit log in CloudWatch Logs", None, says)
        return
    days = dict_of(json_of(rows[-1]["object"])).get("retentionInDays")
    if isinstance(days, int) and 0 < days < 10_000:
        lost_at = first + timedelta(days=days)
        says = f"CloudWatch Logs drops events of {group} after {counted(days, 'day')} (retentionInDays): the attack's from {utc(lost_at)}."
        yield Vanishing("EKS audit log in CloudWatch Logs", lost_at, says)


def _of_history(first: datetime) -> Vanishing:
    says = f"CloudTrail's event history ends after 90 days: the attack's events are gone from {utc(first + HISTORY)}, but for what a trail delivered."
    return Vanishing("CloudTrail event history", first + HISTORY, says)


def _of_findings(incident: Incident) -> Iterator[Vanishing]:
    made = [utc_time(dict_of(one.finding.raw).get("CreatedAt")) or one.finding.first_seen_at for one in incident.scopes]
    times = [at for at in made if at]
    if times:
        lost_at = min(times) + HISTORY
        says = f"GuardDuty keeps a finding for 90 days: the first of this incident is gone from {utc(lost_at)}."
        yield Vanishing("GuardDuty findings", lost_at, says)


def _of_images(incident: Incident, scope: Scope) -> Iterator[Vanishing]:
    """Images of affected pods in ECR, which a lifecycle rule of their repository may expire."""
    keys = {one.key for each in incident.scopes for kind in ("image", "introduced") for one in each.affected(kind)}
    images = {key: found.groups() for key in sorted(keys) if (found := _OF_ECR.fullmatch(key))}
    if not images:
        return
    policies = {
        str(row["name"]): dict_of(json_of(dict_of(json_of(row["object"])).get("lifecyclePolicyText")))
        for row in scope.store.rows(
            "SELECT name, object FROM objects WHERE kind = 'LifecyclePolicy' ORDER BY file, item"
        )
    }
    pushed = [
        dict_of(json_of(row["object"]))
        for row in scope.store.rows("SELECT object FROM objects WHERE kind = 'Image' ORDER BY file, item")
    ]
    unknown = list[str]()
    for key, (repository, tag, digest) in images.items():
        if repository not in policies:
            unknown.append(key)
            continue
        known = [one for one in pushed if one.get("repositoryName") == repository]
        times = [
            utc_time(one.get("imagePushedAt"))
            for one in known
            if (digest and one.get("imageDigest") == digest) or (tag and tag in (one.get("imageTags") or []))
        ]
        for rule in dicts_of(policies[repository].get("rules")):
            selection = dict_of(rule.get("selection"))
            number = selection.get("countNumber")
            if not isinstance(number, int) or not 0 < number < 100_000:
                continue
            by_age = selection.get("countType") == "sinceImagePushed"
            lost_at = times[0] + timedelta(days=number) if by_age and times and times[0] else None
            rule_says = (
                f"{counted(number, 'day')} after its push" if by_age else f"once {number:,} newer images are there"
            )
            says = f"A lifecycle rule of ECR repository {repository} may expire {key} {rule_says}"
            says += f": at {utc(lost_at)}." if lost_at else ", at a time that cannot be told."
            yield Vanishing(f"image {key}", lost_at, says)
    if unknown:
        says = f"Whether a lifecycle rule expires {few(unknown, _NAMED)} cannot be told: no evidence has the policy (aws ecr get-lifecycle-policy)."
        yield Vanishing("images in ECR", None, says)
