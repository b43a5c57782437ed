"""From a finding to what is affected: subjects, each with its why; the attacker's calls; and what cannot be told.

The rules, which docs/decisions.md explains:
* What kit.attribution.attacker takes for the attacker's calls makes the deeds; a `Policy:` finding alone does not make its caller an attacker.
* `affected` is acted on, `possible` is looked at. What an identity minted by the finding's caller did carries `through`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property

from kit.attribution.attacker import Attacker
from kit.attribution.calls import Event, made_by
from kit.attribution.credentials import Credentials
from kit.attribution.deeds import Deed, Deeds
from kit.errors import CallError
from kit.identities.access import Access
from kit.identities.named_session import OwnSessions, named_sessions
from kit.identities.rights import Rights
from kit.inventory.inventory import Inventory
from kit.lenient import dicts_of
from kit.model.finding import Finding
from kit.model.identity import NODE
from kit.model.kinds import DEEDS, EVERYTHING, KINDS_OF_OBJECTS, Certainty
from kit.model.refs import Ref
from kit.model.why import OTHER_FINDINGS, Rule, Why
from kit.model.window import Window
from kit.scope.by_session import pods_of_sessions
from kit.scope.caller import identity_of_caller
from kit.scope.collecting import Collecting
from kit.scope.index import Index
from kit.scope.limits import Limits
from kit.scope.pods import add_pods, instances_of_sequence, pods_of_finding, pods_of_sequence
from kit.scope.profile import Profiles
from kit.scope.put_in import changed_pods, injected_pods, touched_pods
from kit.scope.reach import add_opened_nodes, add_possible, add_reach, add_sessions
from kit.scope.subject import FindingScope
from kit.store.marks import Mark
from kit.store.store import Store
from kit.words import counted, utc


class Scope:
    """The scope of a case's findings. start, end: UTC, end excluded; without them the window is all that the audit log covers.

    marks: what people said; those of whose calls are whose are followed.
    """

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        findings: list[Finding],
        start: datetime | None = None,
        end: datetime | None = None,
        marks: Iterable[Mark] = (),
    ) -> None:
        self.store = store
        self.inventory = inventory
        self.chosen = findings
        self.attacker = Attacker(store, inventory, marks)
        self.deeds = Deeds(store, inventory)
        self.sessions = self.attacker.sessions
        self.own_sessions = OwnSessions(inventory, self.sessions)
        self.credentials = Credentials(store, inventory, self.attacker, self.deeds)
        self.access, self.rights = Access(store, inventory), Rights(inventory)
        self.profiles = Profiles(store, inventory, self.attacker, self.access, self.sessions, self.credentials)
        self.given = (start, end)
        self.window = self._window(start, end)
        self.limits = Limits(store, inventory, self.attacker, self.window)
        self.collecting = Collecting(store, inventory.cluster, self.window)
        self._scopes = dict[str, FindingScope]()

    def _window(self, start: datetime | None, end: datetime | None) -> Window | None:
        (covered,) = self.store.rows(
            f"SELECT min(first_at) AS first_at, max(last_at) AS last_at FROM {self.store.callers}"
        )
        first, last = start or covered["first_at"], end or covered["last_at"]
        if first is None or last is None:
            return None
        if end is None:
            last += timedelta(microseconds=1)  # the last event itself is inside
        if first >= last:
            side = (
                f"starts after the audit log ends ({utc(last)})"
                if start
                else f"ends before the audit log starts ({utc(first)})"
            )
            raise CallError(f"the window {side}", where="start, end", next="give both ends to look beyond the log")
        return Window(first, last)

    # ── what is affected ───────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def scopes(self) -> list[FindingScope]:
        """One scope for each chosen finding."""
        return [self.of(finding) for finding in self.chosen]

    @cached_property
    def index(self) -> Index:
        """The subjects of the chosen findings."""
        return Index(self.scopes)

    def of(self, finding: Finding) -> FindingScope:
        """The scope of any finding of the case, chosen or not."""
        return self._of(finding, frozenset())

    def _of(self, finding: Finding, above: frozenset[str]) -> FindingScope:
        """The scope of a finding; made once, as attack sequences ask for those of their signals. above: sequences it is part of."""
        if finding.id not in self._scopes:
            scope = FindingScope(finding, self.window)
            self._fill(scope, above)
            scope.limits = {self.collecting.of(limit, finding.id): None for limit in scope.limits}
            self._scopes[finding.id] = scope
        return self._scopes[finding.id]

    def _fill(self, scope: FindingScope, above: frozenset[str]) -> None:
        finding = scope.finding
        if finding.sample:
            says = "This is a sample finding: AWS made it for practice, and nothing in it exists"
            scope.limit(EVERYTHING, says, "nothing: archive it")
        elif not self.is_about_eks(finding):
            says = f"A finding of type {finding.type} names no EKS cluster, and no node and no role session of this one"
            scope.limit(EVERYTHING, says, "use the guidance of its own finding type")
        elif self.attacker.own_calls.is_foreign(finding):
            says = f"This finding is about cluster {finding.cluster}, and the evidence is of cluster {self.inventory.cluster}: what it affects cannot be told"
            scope.limit(
                EVERYTHING,
                says,
                f"the audit log and a dump of cluster {finding.cluster}, as a case of its own",
            )
        elif finding.sequence:
            self._add_sequence(scope, above | {finding.id})
            self._add_rest(scope)
        else:
            add_pods(scope, self.inventory, pods_of_finding(scope, self.inventory, self.attacker))
            add_pods(scope, self.inventory, pods_of_sessions(scope, self.own_sessions))
            self._add_deeds(scope)
            add_pods(scope, self.inventory, touched_pods(scope, self.inventory))
            add_pods(scope, self.inventory, changed_pods(scope, self.inventory))
            add_pods(scope, self.inventory, injected_pods(scope, self.inventory))
            self._add_rest(scope)

    def is_about_eks(self, finding: Finding) -> bool:
        """Whether a finding is about an EKS cluster: by what it names, or as an instance is a node of this case, or a session a node's or a pod's."""
        instances = {finding.instance_id, *instances_of_sequence(finding)}
        is_node = not instances.isdisjoint(self.inventory.node_of_instance)
        return finding.about_eks or is_node or self.own_sessions.is_own(finding)

    def _add_rest(self, scope: FindingScope) -> None:
        add_possible(scope, self.inventory)
        self._add_stolen(scope)
        add_opened_nodes(scope, self.attacker, self.inventory)
        add_sessions(scope, self.attacker, self.sessions)
        self._add_identities(scope)
        self._add_credentials(scope)
        kinds = {kind for kind, _, _ in scope.subjects}
        pods = [one.thing for one in scope.affected("pod")]
        namespaces = {pod.namespace for pod in pods if pod and pod.namespace} | self._named_namespaces(scope.finding)
        scope.limits |= dict.fromkeys(self.limits.of(scope.finding, kinds, scope.calls, namespaces))

    def _add_stolen(self, scope: FindingScope) -> None:
        """What was done in AWS with sessions that were stolen from pods and nodes of the scope."""
        pods = {one.key for one in scope.affected("pod") if not one.through}
        nodes = {str(event["user_name"]).removeprefix(NODE) for event in self.attacker.events_of(scope.calls)}
        named = {one.key for one in named_sessions(scope.finding)}
        if named or (scope.finding.resource_type == "Instance" and not scope.finding.workload):
            nodes |= {one.key for one in scope.affected("node")}
        keys = {
            one.session.access_key_id
            for one in self.attacker.stolen
            if one.pods & pods or one.session.access_key_id in named or (one.session.node and one.session.node in nodes)
        }
        for event_id in self.attacker.trail_with((), (), keys)[0] if keys else ():
            if self._given_inside(self.attacker.trail[event_id][0]["event_at"]):
                scope.aws_calls.setdefault(event_id)

    def _add_credentials(self, scope: FindingScope) -> None:
        """The credentials that the attacker's calls used, made or took; those that a TokenRequest minted are deeds of their own."""
        user = scope.finding.user.get("Username")
        trail = [self.attacker.trail[event_id][0] for event_id in scope.aws_calls if event_id in self.attacker.trail]
        scope.credentials = self.credentials.of(self.attacker.events_of(scope.calls), trail)
        for one in scope.credentials:
            through = Ref.of("identity", one.by) if user and one.by not in ("", user) else None
            if one.kind != "token":
                scope.add("credential", one.key, one.why, certainty=one.certainty, through=through)

    def _named_namespaces(self, finding: Finding) -> set[str]:
        """The namespaces that a finding names: of its workload, of what was called, of the calling service account."""
        caller = identity_of_caller(finding, self.attacker)
        account = caller.service_account if caller else None
        named = finding.workload.get("Namespace"), finding.api_call.get("Namespace"), (account or "").partition("/")[0]
        return {str(name) for name in named if name}

    def _add_identities(self, scope: FindingScope) -> None:
        """The caller, and those who made the attacker's calls with it; and what they could have read."""
        caller = scope.finding.user.get("Username")
        events = self.attacker.events_of(scope.calls)
        users = [str(caller)] if caller else []
        users += [str(event["user_name"]) for event in events if event["user_name"]]
        scope.identities = self.profiles.of(users, scope.finding)
        if events:
            times = [event["received_at"] for event in events]
            during = Window(min(times), max(times) + timedelta(microseconds=1))
            add_reach(scope, self.inventory, self.rights, self.deeds, during)

    # ── what the caller did ────────────────────────────────────────────────────────────────────────────────────────

    def _add_deeds(self, scope: FindingScope) -> None:
        finding = scope.finding
        own = self.attacker.own_calls.of(finding)
        if finding.is_policy:
            for event in own:
                self._add_deed(scope, event, None)
        if not (finding.is_policy and not self.attacker.is_hostile(own)):
            for user in self._callers(finding):
                self._add_what_it_did(scope, user)

    def _callers(self, finding: Finding) -> list[str]:
        """The identity that a finding names as the caller; of one that names a role session, those that the attacker signed in as with it."""
        if user := finding.user.get("Username"):
            return [str(user)]
        keys = {one.key for one in named_sessions(finding) if one.key}
        hostile = (call.event for call in self.attacker.calls.values())
        return sorted({str(event["user_name"]) for event in hostile if event["access_key_id"] in keys})

    def _add_what_it_did(self, scope: FindingScope, user: str) -> None:
        followed, trail, let_in = self.attacker.follow(user)
        self.deeds.read_bodies(followed)
        for event in followed:
            if scope.window and event["received_at"] in scope.window:
                scope.calls.setdefault(event["audit_id"])
                through = None if event["user_name"] == user else Ref.of("identity", event["user_name"] or "unknown")
                self._add_deed(scope, event, through)
        self._add_possible_calls(scope, {str(event["user_name"]) for event in followed} | {user})
        for event_id in trail:
            if self._given_inside(self.attacker.trail[event_id][0]["event_at"]):
                scope.aws_calls.setdefault(event_id)
        for one in let_in:
            if self._given_inside(one.at):
                scope.add("let_in", one.key, one.why)

    def _add_possible_calls(self, scope: FindingScope, users: set[str]) -> None:
        """What may be the attacker's doing or the victim's: its subjects are possible, and a limit says why nobody can tell."""
        by_reason = dict[str, set[str]]()  # a long request has one event a stage: it is one call
        for call in self.attacker.possible.values():
            if not call.whose & users or not scope.window or call.event["received_at"] not in scope.window:
                continue
            scope.possible_calls.setdefault(call.event["audit_id"])
            by_reason.setdefault(call.because, set()).add(call.event["audit_id"])
            self._add_deed(scope, call.event, None, possible=True)
        for because, ids in by_reason.items():
            says = f"Whether {counted(len(ids), 'call')} {'is' if len(ids) == 1 else 'are'} the attacker's or the victim's cannot be told: {because}"
            scope.limit(
                (*DEEDS, "identity"), says, "Runtime Monitoring findings of that pod or node, or the victim's own logs"
            )

    def _given_inside(self, at: datetime) -> bool:
        """Whether a moment is inside of the ends that were given: CloudTrail is not bound to what the audit log covers."""
        start, end = self.given
        return (start is None or start <= at) and (end is None or at < end)

    def _add_deed(self, scope: FindingScope, event: Event, through: Ref | None, possible: bool = False) -> None:
        """The subjects that an event makes, and what cannot be told of it."""
        if not scope.window or event["received_at"] not in scope.window:
            return
        when = f"{event['received_at']:%Y-%m-%d %H:%M:%S} UTC by {made_by(event)} from {event['source_address']}"
        ref = self.store.event_ref(event)
        for deed in self.deeds.of(event):
            if not isinstance(deed, Deed):
                scope.limits[deed] = None
                continue
            thing = self.inventory.things.get(event["uid"] or "") if deed.kind in KINDS_OF_OBJECTS else None
            why = Why(ref, f"{deed.says} {when}", Rule.CARRIES_OUT if deed.carries_out else Rule.ATTACKER)
            certainty: Certainty = "possible" if possible else deed.certainty
            scope.add(deed.kind, deed.key, why, thing=thing, through=through, certainty=certainty)
            subject = scope.subjects[deed.kind, deed.key, through]
            if deed.kind in ("created", "exec") or deed.for_pods:
                then = [thing] if thing else self.inventory.at_path(deed.key, event["received_at"])
                subject.had_name |= {one.uid: one for one in then if len(then) == 1}
            if deed.for_pods:
                subject.for_pods_at = min(subject.for_pods_at or event["received_at"], event["received_at"])

    # ── attack sequences ────────────────────────────────────────────────────────────────────────────────────────────

    def _add_sequence(self, scope: FindingScope, above: frozenset[str]) -> None:
        """The union of what the findings among the signals affect, and the sequence's own resources."""
        by_name = {name: finding for finding in self.attacker.findings for name in (finding.arn, finding.id) if name}
        missing = list[str]()
        for signal in dicts_of(scope.finding.sequence.get("Signals")):
            uid = str(signal.get("Uid"))
            if signal.get("Type") == "CLOUD_TRAIL" and uid in self.attacker.trail:
                scope.aws_calls.setdefault(uid)
            if signal.get("Type") != "FINDING":
                continue
            finding = by_name.get(uid) or by_name.get(uid.rsplit("/", 1)[-1])
            if finding is None:
                missing.append(uid.rsplit("/", 1)[-1])
            elif finding.id not in above:
                part = self._of(finding, above)
                for one in part.all_of():
                    scope.add(one.kind, one.key, one.why, certainty=one.certainty, thing=one.thing, through=one.through)
                scope.calls |= part.calls
                scope.possible_calls |= part.possible_calls
                scope.aws_calls |= part.aws_calls
                scope.limits |= part.limits
        if missing:
            says = f"{counted(len(missing), 'finding')} among the signals {'is' if len(missing) == 1 else 'are'} not in this case: {', '.join(missing)}"
            scope.limit(EVERYTHING, says, OTHER_FINDINGS)
        add_pods(scope, self.inventory, pods_of_sequence(scope, self.inventory))
        add_pods(scope, self.inventory, pods_of_sessions(scope, self.own_sessions))
