"""Which findings belong to one incident: those that share a caller, a credential, an address of the attacker's own, a thing or a pod.

Joined are the attacker's calls, the findings and what both are about, until nothing more joins. Callers are told apart by their
credential. An identity, a NAT address, a node or a namespace alone joins nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kit.attribution.calls import (
    AwsEvent,
    Event,
    Place,
    account_user,
    caller_of,
    creates,
    creates_account,
    credentials_of,
    let_through,
    may_be_of,
    not_none,
    place_of,
    token_secret_of,
)
from kit.attribution.deeds import path_of
from kit.inventory.addresses import CONTROL_PLANE
from kit.inventory.thing import Thing
from kit.lenient import dicts_of
from kit.model.finding import Finding
from kit.model.identity import NODE
from kit.model.kubernetes import BOUND, WORKLOADS
from kit.model.why import Rule
from kit.scope.index import Index
from kit.scope.scope import Scope
from kit.scope.subject import FindingScope

Key = tuple[str, Hashable]
"""What members of an incident may share: its kind, and which one."""
_READS = ("get", "list", "watch")


@dataclass(eq=False)
class Incident:
    """Findings that belong together, with the attacker's calls: audit events and CloudTrail events, oldest first."""

    scopes: list[FindingScope]
    calls: list[Event] = field(default_factory=list)
    trail: list[AwsEvent] = field(default_factory=list)

    @cached_property
    def id(self) -> str:
        """The same for the same findings, in whatever order."""
        named = "\n".join(sorted(scope.finding.id for scope in self.scopes))
        return f"incident-{hashlib.sha256(named.encode()).hexdigest()[:10]}"

    @cached_property
    def index(self) -> Index:
        """The subjects of its findings."""
        return Index(self.scopes)

    @property
    def gravest(self) -> Finding:
        """The finding of the highest severity, of several the first."""
        return max((scope.finding for scope in self.scopes), key=lambda one: one.severity)


def incidents(scope: Scope) -> tuple[list[Incident], list[tuple[Finding, str]]]:
    """The incidents of a scope's findings, the gravest first; and the findings that belong to none, with the reason."""
    apart = [(one.finding, _why_none(scope, one.finding)) for one in scope.scopes]
    left = {finding.id for finding, because in apart if because}
    kept = [one for one in scope.scopes if one.finding.id not in left]
    made = _Joining(scope, kept).incidents() if kept else []
    made.sort(key=lambda one: (-one.gravest.severity, not one.calls, str(_began(one)), one.id))
    return made, [(finding, because) for finding, because in apart if because]


def _began(incident: Incident) -> str:
    times = [event["received_at"] for event in incident.calls] + [row["event_at"] for row in incident.trail]
    times += [scope.finding.first_seen_at for scope in incident.scopes if scope.finding.first_seen_at]
    return str(min(times, default=""))


def _why_none(scope: Scope, finding: Finding) -> str:
    if finding.sample:
        return "AWS made this finding for practice: nothing in it exists."
    if scope.attacker.own_calls.is_foreign(finding):
        return f"This finding is about cluster {finding.cluster}; the evidence is of cluster {scope.inventory.cluster}."
    return (
        ""
        if scope.is_about_eks(finding)
        else f"A finding of type {finding.type} names no EKS cluster, and no node and no role session of this one."
    )


class _Joining:
    """Sets of calls, findings and what they share, which grow together (union-find)."""

    def __init__(self, scope: Scope, kept: list[FindingScope]) -> None:
        self.scope, self.attacker, self.inventory, self.kept = scope, scope.attacker, scope.inventory, kept
        self._above = dict[Hashable, Hashable]()
        self._hostile = [call.event for call in self.attacker.calls.values()]
        self._made_accounts = {account_user(event) for event in self._hostile if creates_account(event)}
        self._made_paths = {path_of(event) for event in self._hostile if creates(event)}

    def incidents(self) -> list[Incident]:
        """The incidents, with the calls of each. A call that nothing joins to a finding goes where its address or its identity is."""
        for event in self._hostile:
            for key in self._of_call(event):
                self._join(("call", place_of(event)), key)
        for event_id, (row, _) in self.attacker.trail.items():
            for key in self._of_trail(row):
                self._join(("trail", event_id), key)
        self._join_let_in()
        for one in self.kept:
            for key in self._of_finding(one):
                self._join(("finding", one.finding.id), key)
        found = dict[Hashable, Incident]()
        for one in self.kept:
            root = self._root(("finding", one.finding.id))
            found.setdefault(root, Incident([])).scopes.append(one)
        spare = next(iter(found.values()))
        for event in self._hostile:
            at, user = event["source_address"], event["user_name"]
            near = (self._root(("call", place_of(event))), self._seen.get(at), self._seen.get(user))
            incident = next((found[root] for root in near if root in found), spare)
            incident.calls.append(event)
        for event_id, (row, _) in self.attacker.trail.items():
            of_event = (self._root(("trail", event_id)), self._seen.get(row["source_address"]))
            next((found[root] for root in of_event if root in found), spare).trail.append(row)
        return list(found.values())

    @cached_property
    def _seen(self) -> dict[str | None, Hashable]:
        """Address and identity → where the first call that has it belongs, of those that a finding leads to."""
        roots = {self._root(("finding", one.finding.id)) for one in self.kept}
        found = dict[str | None, Hashable]()
        for event in self._hostile:
            root = self._root(("call", place_of(event)))
            if root in roots:
                found.setdefault(event["source_address"], root)
                found.setdefault(event["user_name"], root)
        return found

    def _root(self, one: Hashable) -> Hashable:
        self._above.setdefault(one, one)
        root = one
        while self._above[root] != root:
            root = self._above[root]
        self._above[one] = root
        return root

    def _join(self, one: Hashable, other: Hashable) -> None:
        self._above[self._root(one)] = self._root(other)

    # ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_call(self, event: Event) -> Iterator[Key]:
        """What joins a call to others: its caller and credential, what it minted, its address, and what it touched."""
        user, address, credentials = event["user_name"], event["source_address"], credentials_of(event)
        for credential in credentials - {str(event["token_secret"])}:
            yield "credential", credential
        if event["issued_credential_id"]:
            yield "credential", event["issued_credential_id"]
        if event["token_secret"]:
            yield "object", f"secrets/{token_secret_of(event)}"
        if not credentials:
            yield "caller", caller_of(event)
        if address in self.attacker.addresses:
            yield "address", address
        if user in CONTROL_PLANE:
            yield "pretending", address
        yield "at", (address, user)
        if str(user).startswith(NODE):
            yield "node credential", (str(user).removeprefix(NODE), address)
        if creates_account(event):
            yield "account", account_user(event)
        elif user in self._made_accounts:
            yield "account", user
        if let_through(event) and not event["dry_run"]:
            yield from self._touched(event)
        if place_of(event) in self._bindings_used:
            yield "object", self._bindings_used[place_of(event)]

    def _touched(self, event: Event) -> Iterator[Key]:
        path, resource = path_of(event), event["resource"] or ""
        if not path or (event["verb"] in _READS and not event["subresource"] and resource != "secrets"):
            return
        # What nobody made is shared by all who use the cluster: a secret, aws-auth. What was entered or deleted is a pod of its own.
        if path in self._made_paths or path in self._found_paths:
            yield "object", path
        if resource == "pods":
            for pod in self.inventory.named("pods", event["namespace"], event["name"]):
                if pod.existed_at(event["received_at"]):
                    yield "credential", pod.uid
        elif resource in WORKLOADS.values() and creates(event):
            owned = self.inventory.pods_of_workload(resource, event["namespace"], event["name"], event["uid"])
            for pod, sure in owned:
                if sure:
                    yield "credential", pod.uid

    @cached_property
    def _found_paths(self) -> set[str]:
        """The objects that the findings' own calls wrote."""
        own = (event for one in self.kept for event in self.attacker.own_calls.of(one.finding))
        return {path_of(event) for event in own if creates(event)} - {""}

    @cached_property
    def _bindings_used(self) -> dict[Place, str]:
        """Calls of the attacker that a binding let through which the attacker or a finding's call wrote → the binding."""
        known = dict[str, str]()
        for path in self._made_paths | self._found_paths:
            resource, _, rest = path.partition("/")
            namespace, _, name = rest.rpartition("/")
            if resource in BOUND:
                kind = "RoleBinding" if namespace else "ClusterRoleBinding"
                known[f'{kind} "{name}/{namespace}"' if namespace else f'{kind} "{name}"'] = path
        if not known:
            return {}
        rows = self.scope.store.rows(
            "SELECT file, line, item, decision_reason FROM audit WHERE starts_with(decision_reason, 'RBAC: allowed by ')"
            " AND list_contains($hostile, file || ':' || item)",
            hostile=[f"{event['file']}:{event['item']}" for event in self._hostile],
        )
        told = {place_of(row): row["decision_reason"].removeprefix("RBAC: allowed by ") for row in rows}
        return {
            place: path
            for place, reason in told.items()
            for name, path in known.items()
            if reason.startswith(f"{name} of ")
        }

    def _of_trail(self, row: AwsEvent) -> Iterator[Key]:
        """What joins a CloudTrail event to others: its key, the key that it issued, its address, and who signed in by it."""
        for key in (row["access_key_id"], row["issued"]):
            if key:
                yield "credential", key
        session = self._sessions.get(str(row["access_key_id"]))
        if session:
            yield "credential", session
        if row["source_address"] in self.attacker.addresses:
            yield "address", row["source_address"]
        if row["user_name"] and row["event_name"] == "AssumeRoleWithWebIdentity":
            yield "at", (row["source_address"], row["user_name"])

    @cached_property
    def _sessions(self) -> dict[str, str]:
        """Access key → the pod that its session was issued to."""
        keys = not_none(row["access_key_id"] for row, _ in self.attacker.trail.values())
        known = self.scope.sessions.of_keys(keys)
        return {key: session.pod_uid for key, session in known.items() if session.pod_uid}

    def _join_let_in(self) -> None:
        """A call that let somebody in, with the calls of whom it let in."""
        for one in self.attacker.let_in:
            made: Hashable = ("call", one.place) if one.place else ("trail", one.event_id)
            self._join(made, ("let in", one.key))
            for event in self._hostile if one.sure or one.by == "binding" else ():
                if one.called(event):
                    self._join(made, ("call", place_of(event)))

    # ── findings ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_finding(self, scope: FindingScope) -> Iterator[Key]:
        """What joins a finding to calls and to other findings: its own call, its key, the pod or the instance that it is about."""
        finding = scope.finding
        if finding.sequence:
            yield from self._of_sequence(finding)
        own = self.attacker.own_calls.of(finding)
        credentials = self.attacker.own_calls.credentials(finding) or frozenset()
        for event in own:
            if may_be_of(event, credentials):
                hostile = place_of(event) in self.attacker.calls
                yield ("call", place_of(event)) if hostile else ("own", place_of(event))
                yield from self._of_own_call(event)
        key = str(finding.access_key.get("AccessKeyId") or "")
        if key:
            yield "credential", key
        yield from (("credential", pod.uid) for pod in self._pods_of(scope))
        if not finding.workload and finding.resource_type == "Instance":
            node = self.inventory.node_of_instance.get(finding.instance_id or "")
            for event in self._hostile:
                if node and event["user_name"] == f"{NODE}{node}":
                    yield "call", place_of(event)

    def _of_own_call(self, event: Event) -> Iterator[Key]:
        """A finding's own call that is not the attacker's: its caller, and the object that it wrote."""
        for credential in credentials_of(event):
            yield "credential", credential
        if not credentials_of(event):
            yield "caller", caller_of(event)
        if path_of(event) in self._found_paths:
            yield "object", path_of(event)

    def _pods_of(self, scope: FindingScope) -> Iterator[Thing]:
        """The pods that a finding about a pod is about: without a caller, what it names was touched."""
        if scope.finding.user.get("Username"):
            return
        for subject in scope.affected("pod"):
            if subject.thing and any(why.rule is Rule.FINDING for why in subject.why):
                yield subject.thing

    def _of_sequence(self, finding: Finding) -> Iterator[Key]:
        """The signals of an attack sequence that are in this case."""
        by_name = defaultdict[str, list[str]](list)
        for one in self.kept:
            for name in {one.finding.arn, one.finding.id} - {None, ""}:
                by_name[str(name)].append(one.finding.id)
        for signal in dicts_of(finding.sequence.get("Signals")):
            uid = str(signal.get("Uid"))
            if signal.get("Type") == "CLOUD_TRAIL" and uid in self.attacker.trail:
                yield "trail", uid
            for name in (uid, uid.rsplit("/", 1)[-1]):
                yield from (("finding", one) for one in by_name.get(name, ()))
