"""From a finding to what is affected: subjects, each with its why; the attacker's calls; and what cannot be told.

The rules, which docs/decisions.md explains:
* What kit.attribution.attacker takes for the attacker's calls makes the deeds; a `Policy:` finding alone does not make its caller an attacker.
* `affected` is acted on, `possible` is looked at. What an identity minted by the finding's caller did carries `through`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from kit.attribution.attacker import Attacker
from kit.attribution.calls import Event, address_of, place_of
from kit.attribution.deeds import Deed, Deeds
from kit.errors import CallError
from kit.identities.access import Access
from kit.identities.rights import Rights
from kit.identities.sessions import Session, Sessions, Use
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing, in_window
from kit.model.finding import ACCESS_KEY, API_CALL, INSTANCE_ID, ROLE_BINDING, SEQUENCE, USER_NAME, WORKLOAD, Finding
from kit.model.identity import Identity, identity_of, role_of
from kit.model.kinds import DEEDS, EVERYTHING, OBJECTS, PODS, Certainty, SubjectName
from kit.model.kubernetes import FOLLOWED, WORKLOADS, plural
from kit.model.pod_spec import Grade
from kit.model.refs import Ref
from kit.model.why import AUDIT_LOG, DUMP, Limit, Rule, Why
from kit.model.window import Window
from kit.scope.limits import Limits
from kit.scope.profile import Profile, Profiles
from kit.store.store import Store
from kit.words import Names, counted, few, utc


@dataclass
class Subject:
    """Something affected, or possibly so. Fields as in the scope's JSON contract (docs/json.md)."""

    kind: SubjectName
    key: str
    certainty: Certainty
    why: dict[Why, None]
    thing: Thing | None = None
    through: Ref | None = None


@dataclass
class UsedSession:
    """A role session that a subject got, with what it was used for. certainty: affected when the attacker used it."""

    session: Session
    certainty: Certainty
    why: list[Why]
    uses: list[Use]


@dataclass
class FindingScope:
    """What one finding affects."""

    finding: Finding
    window: Window | None
    subjects: dict[tuple[str, str, str | None], Subject] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    possible_calls: dict[str, None] = field(default_factory=dict)
    aws_calls: dict[str, None] = field(default_factory=dict)
    identities: list[Profile] = field(default_factory=list)
    sessions: list[UsedSession] = field(default_factory=list)
    limits: dict[Limit, None] = field(default_factory=dict)

    def add(
        self,
        kind: SubjectName,
        key: str | None,
        why: Why | Iterable[Why],
        *,
        certainty: Certainty = "affected",
        thing: Thing | None = None,
        through: Ref | None = None,
    ) -> None:
        """Add a subject, or another reason to one that is there; affected wins over possible."""
        if not key:
            return
        reasons = dict.fromkeys([why] if isinstance(why, Why) else why)
        present = self.subjects.get((kind, key, through))
        if present is None:
            self.subjects[(kind, key, through)] = Subject(kind, key, certainty, reasons, thing, through)
            return
        if thing is not None and (
            present.thing is None or (present.thing.standing is False and thing.standing is not False)
        ):
            present.thing = thing  # a name that came back: the one that may still stand
        if certainty == "affected" and present.certainty == "possible":
            present.certainty, present.why = certainty, {}
        if certainty == present.certainty:
            present.why |= reasons

    def limit(
        self,
        about: Names,
        says: str,
        collect: str,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        """Add what cannot be told, once."""
        self.limits[Limit(tuple(about), says, collect, start, end)] = None


_Found = tuple[Thing, Why, bool]
"""A pod, the reason that puts it into scope, and whether that is sure (affected) or not (possible)."""


class Scope:
    """The scope of a case's findings. start, end: UTC, end excluded; without them the window is all that the audit log covers."""

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        findings: list[Finding],
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self.store = store
        self.inventory = inventory
        self.chosen = findings
        self.attacker = Attacker(store, inventory)
        self.deeds = Deeds(store, inventory)
        self.sessions = Sessions(store, inventory, self.attacker.cluster_addresses)
        self.access, self.rights = Access(store, inventory), Rights(inventory)
        self.profiles = Profiles(store, inventory, self.attacker, self.access, self.sessions)
        self.given = (start, end)
        self.window = self._window(start, end)
        self.limits = Limits(store, inventory, self.attacker, self.window)
        self._scopes = dict[str, FindingScope]()

    def _window(self, start: datetime | None, end: datetime | None) -> Window | None:
        (covered,) = self.store.rows("SELECT min(received_at) AS first_at, max(received_at) AS last_at FROM audit")
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
            raise CallError(f"the window {side}", where="--start, --end", next="give both ends to look beyond the log")
        return Window(first, last)

    # ── what is affected ───────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def scopes(self) -> list[FindingScope]:
        """One scope for each chosen finding."""
        return [self.of(finding) for finding in self.chosen]

    def of(self, finding: Finding) -> FindingScope:
        """The scope of any finding of the case, chosen or not."""
        return self._of(finding, frozenset())

    def _of(self, finding: Finding, above: frozenset[str]) -> FindingScope:
        """The scope of a finding; made once, as attack sequences ask for those of their signals. above: sequences it is part of."""
        if finding.id not in self._scopes:
            scope = FindingScope(finding, self.window)
            self._fill(scope, above)
            self._scopes[finding.id] = scope
        return self._scopes[finding.id]

    def _fill(self, scope: FindingScope, above: frozenset[str]) -> None:
        finding = scope.finding
        if finding.sample:
            says = "This is a sample finding: AWS made it for practice, and nothing in it exists"
            scope.limit(EVERYTHING, says, "nothing: archive it")
        elif not self.is_about_eks(finding):
            says = f"A finding of type {finding.type} is not about EKS: it is outside this kit"
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
            pods = [
                *self._named_pods(scope),
                *self._callers_pods(scope),
                *self._bound_pods(scope),
                *self._node_pods(scope),
            ]
            self._add_pods(scope, pods)
            self._add_deeds(scope)
            self._add_pods(scope, self._touched_pods(scope))
            self._add_rest(scope)

    def is_about_eks(self, finding: Finding) -> bool:
        """Whether a finding is about an EKS cluster; a runtime finding also where its instance is a node of this case."""
        is_runtime = ":Runtime/" in finding.type
        return finding.about_eks or (is_runtime and finding.instance_id in self.inventory.node_of_instance)

    def _add_rest(self, scope: FindingScope) -> None:
        self._add_possible(scope)
        self._add_sessions(scope)
        self._add_identities(scope)
        kinds = {kind for kind, _, _ in scope.subjects}
        sure = [one.thing for one in scope.subjects.values() if one.kind == "pod" and one.certainty == "affected"]
        namespaces = {pod.namespace for pod in sure if pod and pod.namespace} | self._named_namespaces(scope.finding)
        scope.limits |= dict.fromkeys(self.limits.of(scope.finding, kinds, scope.calls, namespaces))

    def _named_namespaces(self, finding: Finding) -> set[str]:
        """The namespaces that a finding names: of its workload, of what was called, of the calling service account."""
        caller = self._caller(finding)
        account = caller.service_account if caller else None
        named = finding.workload.get("Namespace"), finding.api_call.get("Namespace"), (account or "").partition("/")[0]
        return {str(name) for name in named if name}

    def _add_identities(self, scope: FindingScope) -> None:
        """The caller, and those who made the attacker's calls with it; and what they could have read."""
        caller = scope.finding.user.get("Username")
        events = self.hostile_events(scope)
        users = [str(caller)] if caller else []
        users += [str(event["user_name"]) for event in events if event["user_name"]]
        scope.identities = self.profiles.of(users, scope.finding)
        if events:
            times = [event["received_at"] for event in events]
            self._add_reach(scope, Window(min(times), max(times) + timedelta(microseconds=1)))

    def hostile_events(self, scope: FindingScope) -> list[Event]:
        """The attacker's audit events in the scope of a finding, oldest first."""
        return [call.event for call in self.attacker.calls.values() if call.event["audit_id"] in scope.calls]

    def _add_reach(self, scope: FindingScope, during: Window) -> None:
        """The secrets that the attacker's identities could have read while he was there; those that he did read are subjects already."""
        secrets = self.deeds.names("secrets", during.start, during.end)
        unknown = dict[str, None]()
        for profile in scope.identities:
            ways = [way for way in profile.ways if way.kind == "access_entry"]
            found, bindings = self.rights.secrets_in_reach(profile.identity, profile.groups, ways, secrets, during)
            unknown |= {f"{binding.path}": None for binding in bindings}
            for key, why in found.items():
                if ("secret", key, None) not in scope.subjects:
                    says = f"{profile.identity.user_name}: {why.says}"
                    scope.add("reachable", key, Why(why.ref, says), certainty="possible")
        if unknown:
            says = f"What some role bindings ({len(unknown)}) allow cannot be told in full: their roles are in no evidence, or let take on other rights: {few(list(unknown), 3)}"
            scope.limit(("reachable",), says, "`kubectl get roles,clusterroles -A -o json`")
        if not self.inventory.is_dumped("clusterrolebindings", None):
            says = "Which secrets were in reach cannot be told in full: no cluster dump has the role bindings"
            scope.limit(
                ("reachable",), says, "`kubectl get roles,clusterroles,rolebindings,clusterrolebindings -A -o json`"
            )
        if any(one.kind == "iam_role" for one in scope.subjects.values()):
            says = "Which secrets of AWS the roles could read cannot be told: their policies are not looked into"
            scope.limit(
                ("reachable",),
                says,
                "`aws iam get-account-authorization-details`, and read there what the roles may do",
            )

    def _add_sessions(self, scope: FindingScope) -> None:
        """The sessions of AWS that service accounts, pods and nodes of the scope got, and those that the caller signed in with; and
        back: the pods and nodes whose session the attacker used, where the log of the cluster does not show it already."""
        chosen = [one for one in scope.subjects.values() if one.certainty == "affected"]
        accounts = {one.key for one in chosen if one.kind == "service_account"}
        pods = {one.key for one in chosen if one.kind == "pod"}
        caller = self._caller(scope.finding)
        nodes = {caller.node} if caller and caller.node else set[str]()
        if not scope.finding.workload and scope.finding.resource_type == "Instance":
            nodes |= {one.key for one in chosen if one.kind == "node"}
        trail = [self.attacker.trail[event_id][0] for event_id in scope.aws_calls if event_id in self.attacker.trail]
        hostile = {key for row in trail for key in (row["access_key_id"], row["issued"])} - {None}
        calls = self.hostile_events(scope)
        hostile |= {event["access_key_id"] for event in calls} - {None}
        found = {one.access_key_id: one for one in self.sessions.issued_to(accounts, pods, nodes)}
        found |= self.sessions.of_keys(hostile)
        uses = self.sessions.uses(list(found))
        for key, session in found.items():
            whys = [session.why] if session.why else []
            outside = [use for use in uses.get(key, []) if use.inside is False]
            whys += [use.why for use in outside]
            if key in hostile:
                row = next((row for row in trail if key in (row["access_key_id"], row["issued"])), None)
                ref = (
                    Ref.of("trail", row["event_id"])
                    if row
                    else session.why.ref
                    if session.why
                    else Ref.of("access_key", key)
                )
                whys.append(Why(ref, "the attacker used it"))
                self._add_back(scope, session)
            certainty: Certainty = "affected" if key in hostile else "possible"
            scope.sessions.append(UsedSession(session, certainty, whys, uses.get(key, [])))
        scope.sessions.sort(key=lambda one: (one.certainty, str(one.session.issued_at), one.session.access_key_id))
        if self.attacker.is_inside(calls):
            says = "What the attacker did in AWS from inside of the cluster cannot be told: its own pods and nodes call from the same addresses"
            scope.limit(
                ("iam_role",), says, "what the sessions of these pods and nodes did then, beside what they usually do"
            )
        if chosen and not self.attacker.cluster_addresses.way_out and any(uses.values()):
            says = "Whether role sessions were used outside of the cluster cannot be told: its own way out to AWS is not known"
            scope.limit(
                ("iam_role",),
                says,
                "CloudTrail of the whole cluster (calls of its nodes), or the addresses of its NAT gateways",
            )

    def _add_back(self, scope: FindingScope, session: Session) -> None:
        """From a session that the attacker used back to the pods and the node that it was given to."""
        if session.why is None or session.role is None:
            return
        through = Ref.of("iam_role", session.role)
        for pod, sure in self.sessions.pods_of(session):
            if ("pod", pod.uid, None) not in scope.subjects:
                says = f"{session.why.says}; the attacker used that session"
                certainty: Certainty = "affected" if sure else "possible"
                why = Why(session.why.ref, says, Rule.ATTACKER)
                scope.add("pod", pod.uid, why, certainty=certainty, thing=pod, through=through)
        if session.node and ("node", session.node, None) not in scope.subjects:
            says = f"the attacker used {session.why.says}"
            scope.add("node", session.node, Why(session.why.ref, says, Rule.ATTACKER), through=through)

    def _named_pods(self, scope: FindingScope) -> list[_Found]:
        """Pods that the finding names: itself, through its workload, or behind its service."""
        workload = scope.finding.workload
        if not workload:
            return []
        uid = workload.get("Uid") or None
        ref = scope.finding.ref(f"{WORKLOAD}.uid" if uid else f"{WORKLOAD}.name")
        return self._pods_named(scope, ref, workload.get("Type"), workload.get("Namespace"), workload.get("Name"), uid)

    def _pods_named(
        self, scope: FindingScope, ref: Ref, kind: Any, namespace: Any, name: Any, uid: Any
    ) -> list[_Found]:
        known = self.inventory.things.get(str(uid))
        resource = known.resource if known else _resource(kind)
        said = f"{resource} {namespace}/{name}"
        if resource == "pods":
            return self._pod_named(scope, ref, namespace, name, uid, known)
        if resource == "services":
            return self._pods_behind(scope, ref, namespace, name, known)
        if known is None and not uid:
            # Of several that had this name, the one that lived when the finding's event happened.
            alive = self._alive(scope, self.inventory.named(resource, namespace, name))
            known = alive[0] if len(alive) == 1 else None
            uid = known.uid if known else None
        found = self.inventory.pods_of_workload(resource, namespace, name, uid)
        sure_of_name = len({self.inventory.owner_uid(pod, resource, name) for pod, _ in found} - {None}) <= 1
        if not found and (resource in WORKLOADS.values() or not kind):
            says = f"The finding names {said}; no evidence shows a pod of it"
            scope.limit(PODS, says, f"{AUDIT_LOG}, or {DUMP}")
        return [
            (
                pod,
                Why(ref, f"it belonged to {said}, which the finding names", Rule.FINDING),
                sure or (not uid and sure_of_name),
            )
            for pod, sure in found
        ]

    def _pod_named(
        self, scope: FindingScope, ref: Ref, namespace: Any, name: Any, uid: Any, known: Thing | None
    ) -> list[_Found]:
        if known:
            return [(known, Why(ref, f"the finding names this pod by uid {uid}", Rule.FINDING), True)]
        if _is_uid(uid):
            says = f"the finding names this pod by uid {uid}; no other evidence shows it"
            return [(self._pod_in_finding(scope.finding, namespace, name, uid), Why(ref, says, Rule.FINDING), True)]
        named = self._alive(scope, self.inventory.named("pods", namespace, name))
        if not named:
            says = f"The finding names pod {namespace}/{name} without a uid, and no evidence shows such a pod"
            scope.limit(PODS, says, f"{AUDIT_LOG}, or {DUMP}")
        says = f"the finding names pods {namespace}/{name}, without a uid"
        return [(pod, Why(ref, says, Rule.FINDING), len(named) == 1) for pod in named]

    def _alive(self, scope: FindingScope, things: list[Thing]) -> list[Thing]:
        """Of objects with one name, those that existed when the finding's event happened; all when that leaves none."""
        at = scope.finding.last_seen_at
        alive = [thing for thing in things if at and thing.existed_at(at)]
        return alive or things

    def _pod_in_finding(self, finding: Finding, namespace: Any, name: Any, uid: str) -> Thing:
        """A pod as only the finding knows it."""
        workload = finding.workload
        listed = workload.get("Containers")
        containers = [{"image": one["Image"]} for one in listed or [] if isinstance(one, dict) and one.get("Image")]
        spec: dict[str, Any] = {"containers": containers}
        if workload.get("ServiceAccountName"):
            spec["serviceAccountName"] = workload["ServiceAccountName"]
        node = self.inventory.node_of_instance.get(finding.instance_id or "")
        body = {"metadata": {}, "spec": spec}
        return Thing("pods", namespace, name, uid, body=body, node=node, partial=True)

    def _pods_behind(
        self, scope: FindingScope, ref: Ref, namespace: Any, name: Any, known: Thing | None
    ) -> list[_Found]:
        """The pods that a service selected at any time: those whose labels fitted a selector of its."""
        services = [known] if known else self.inventory.named("services", namespace, name)
        found = list[_Found]()
        selectors = [(one, body.get("spec", {}).get("selector")) for one in services for body in one.ever]
        for service, selector in ((one, each) for one, each in selectors if isinstance(each, dict) and each):
            says = f"service {service.namespace}/{service.name}, which the finding names, selects it"
            for pod in self.inventory.pods:
                fits = any(selector.items() <= labels.items() for labels in pod.labels_ever)
                if pod.namespace == service.namespace and fits:
                    found.append((pod, Why(ref, says, Rule.FINDING), True))
        if not any(selector for _, selector in selectors):
            says = f"Which pods are behind service {namespace}/{name} cannot be told: no evidence holds its selector"
            scope.limit(PODS, says, "`kubectl get services -A -o json`")
        return found

    def _caller(self, finding: Finding) -> Identity | None:
        user = finding.user
        if not user.get("Username"):
            return None
        arn, groups = self._caller_arn(finding), user.get("Groups")
        listed = [str(one) for one in groups] if isinstance(groups, list) else None
        return identity_of(str(user["Username"]), str(user.get("Uid") or "") or None, arn[0] if arn else None, listed)

    def _caller_arn(self, finding: Finding) -> tuple[str, Why] | None:
        """The ARN of the IAM role or user behind the caller, and what says so."""
        for event in self.attacker.own_calls.of(finding):
            role = role_of(event["arn"]) if event["arn"] else None
            if role:
                says = f"{event['user_name']} was signed in as {event['arn']}"
                return role, Why(self.store.event_ref(event), says)
        key, account = finding.access_key, finding.account
        name, kind = key.get("UserName"), key.get("UserType")
        if name and account and kind in ("AssumedRole", "Role", "IAMUser"):
            word = "user" if kind == "IAMUser" else "role"
            partition = (finding.arn or "arn:aws:").split(":")[1] or "aws"
            arn = f"arn:{partition}:iam::{account}:{word}/{name}"
            return arn, Why(finding.ref(f"{ACCESS_KEY}.userName"), f"the finding names {kind} {name}", Rule.FINDING)
        return None

    def _callers_pods(self, scope: FindingScope) -> list[_Found]:
        """The caller itself, its role, and the pods under its service account or on its node."""
        finding = scope.finding
        caller = self._caller(finding)
        if caller is None:
            return []
        ref = finding.ref(USER_NAME)
        hostile = self._is_hostile(self.attacker.own_calls.of(finding))
        guilty: Certainty = "possible" if finding.is_policy and not hostile else "affected"
        scope.add(
            "identity", caller.user_name, Why(ref, "the finding names it as the caller", Rule.FINDING), certainty=guilty
        )
        address = address_of(finding.api_call)
        if address:
            why = Why(finding.ref(f"{API_CALL}.{address[1]}"), "the finding's call came from it", Rule.FINDING)
            scope.add("source_ip", address[0], why, certainty=guilty)
        arn = self._caller_arn(finding)
        if arn:
            scope.add("iam_role", arn[0], arn[1], certainty=guilty)
        if caller.service_account:
            why = Why(ref, "it is the finding's caller", Rule.FINDING)
            scope.add("service_account", caller.service_account, why, certainty=guilty)
            says = f"it runs under {caller.service_account}, the finding's caller"
            return self._pods_under(caller.service_account, Why(ref, says, Rule.FINDING), guilty == "affected")
        if caller.node and guilty == "affected":
            return self._pods_on(scope, caller.node, ref, f"it ran on {caller.node}, whose credential made the call")
        return []

    def _pods_under(self, account: str, why: Why, sure: bool = True) -> list[_Found]:
        return [(pod, why, sure) for pod in self.inventory.pods if pod.service_account == account]

    def _pods_on(self, scope: FindingScope, node: str, ref: Ref, says: str) -> list[_Found]:
        scope.add("node", node, Why(ref, "the finding is about this node itself", Rule.NAMED_NODE))
        role = self.inventory.node_roles.get(node)
        if role:
            scope.add("iam_role", role[0], role[1])
        return [(pod, Why(ref, says), True) for pod in self.inventory.pods if pod.node == node]

    def _bound_pods(self, scope: FindingScope) -> list[_Found]:
        """Pods under the service accounts that a role binding, made by the finding's call, gives rights to."""
        details = scope.finding.role_binding
        if not details:
            return []
        known = self.inventory.things.get(str(details.get("Uid")))
        kind = "clusterrolebindings" if details.get("Kind") == "ClusterRoleBinding" else "rolebindings"
        namespace = scope.finding.api_call.get("Namespace") if kind == "rolebindings" else None
        bindings = [known] if known else self._alive(scope, self.inventory.named(kind, namespace, details.get("Name")))
        found = list[_Found]()
        for binding in bindings:
            for account in self.inventory.bound_accounts(binding):
                ref = binding.why[0].ref if binding.why else scope.finding.ref(ROLE_BINDING)
                scope.add("service_account", account, Why(ref, f"{binding.path} gives it {details.get('RoleRefName')}"))
                says = f"it runs under {account}, to which {binding.path} gives rights"
                found += self._pods_under(account, Why(ref, says))
        if not any("subjects" in body for binding in bindings for body in binding.ever):
            says = f"Which identities {kind} {details.get('Name')} gives rights to cannot be told: no evidence holds its subjects"
            scope.limit(PODS, says, f"{AUDIT_LOG}, or {DUMP}")
        return found

    def _node_pods(self, scope: FindingScope) -> list[_Found]:
        """All pods on the node, when the finding names its instance and no workload."""
        finding = scope.finding
        if finding.workload or not finding.instance_id or finding.resource_type != "Instance":
            return []
        return self._pods_on_instance(scope, finding.instance_id, finding.ref(INSTANCE_ID))

    def _pods_on_instance(self, scope: FindingScope, instance: str, ref: Ref) -> list[_Found]:
        node = self.inventory.node_of_instance.get(instance)
        if node is None:
            says = f"Which node instance {instance} is cannot be told"
            what = "`kubectl get nodes -o json` or `aws ec2 describe-instances`"
            scope.limit(PODS, says, what)
            return []
        return self._pods_on(scope, node, ref, f"it ran on {node}, which is instance {instance}")

    def _add_pods(self, scope: FindingScope, pods: list[_Found]) -> None:
        """The pods of the window with their nodes, service accounts, images and roles."""
        start, end = (self.window.start, self.window.end) if self.window else (None, None)
        shown = list[Thing]()
        for pod, why, sure in pods:
            if not in_window([pod], start, end):
                continue
            shown.append(pod)
            certainty: Certainty = "affected" if sure else "possible"
            proof = pod.why or (why,)
            label = f"{pod.namespace}/{pod.name}"
            scope.add("pod", pod.uid, [why, *proof], certainty=certainty, thing=pod)
            if pod.node:
                exposed = [one for one in pod.host_access if one.grade is Grade.OWN_CREDENTIAL]
                reach = "".join(f" and {one.says}: {one.grade.value}" for one in exposed)
                scope.add("node", pod.node, Why(proof[-1].ref, f"pod {label} ran on it{reach}"), certainty=certainty)
            if pod.service_account:
                ran = Why(proof[0].ref, f"pod {label} ran under it")
                scope.add("service_account", pod.service_account, ran, certainty=certainty)
            for image in pod.images:
                scope.add("image", image, Why(proof[0].ref, f"pod {label} ran it"), certainty=certainty)
        self._limit_pods(scope, shown)
        for subject in [one for one in scope.subjects.values() if one.kind == "service_account"]:
            for role, grant in self.inventory.service_account_roles.get(subject.key, {}).items():
                why = Why(grant.why.ref, f"{subject.key}: {grant.why.says}")
                scope.add("iam_role", role, why, certainty=subject.certainty)

    def _limit_pods(self, scope: FindingScope, pods: list[Thing]) -> None:
        """What no evidence tells of pods that are in scope."""
        for about, what, lacking in (
            (("node",), "node", [pod for pod in pods if not pod.node]),
            (
                ("service_account", "image", "iam_role"),
                "service account",
                [pod for pod in pods if not pod.service_account],
            ),
            (("image",), "image", [pod for pod in pods if pod.service_account and not pod.images]),
        ):
            named = sorted({f"{pod.namespace}/{pod.name}" for pod in lacking})
            if named:
                says = f"The {what} of {counted(len(named), 'pod')} in scope cannot be told: {few(named, 5)}"
                scope.limit(about, says, f"{AUDIT_LOG}, or {DUMP}")

    # ── what the caller did ────────────────────────────────────────────────────────────────────────────────────────

    def _add_deeds(self, scope: FindingScope) -> None:
        finding = scope.finding
        user = finding.user.get("Username")
        if not user:
            return
        own = self.attacker.own_calls.of(finding)
        if finding.is_policy:
            for event in own:
                self._add_deed(scope, event, None)
        if finding.is_policy and not self._is_hostile(own):
            return
        followed = self.attacker.follow(str(user))
        self.deeds.read_bodies(followed)
        for event in followed:
            if self._inside(event["received_at"]):
                scope.calls.setdefault(event["audit_id"])
                through = None if event["user_name"] == user else Ref.of("identity", event["user_name"] or "unknown")
                self._add_deed(scope, event, through)
        self._add_possible_calls(scope, {str(event["user_name"]) for event in followed} | {str(user)})
        places = {event["source_address"] for event in followed} & self.attacker.addresses
        keys = {event["access_key_id"] for event in followed} - {None}
        users = {event["user_name"] for event in followed}
        while True:
            more = {
                row["issued"]
                for row, _ in self.attacker.trail.values()
                if row["source_address"] in places or row["access_key_id"] in keys or row["user_name"] in users
            } - {None}
            if more <= keys:
                break
            keys |= more
        for event_id, (row, _) in self.attacker.trail.items():
            theirs = row["source_address"] in places or keys & {row["access_key_id"], row["issued"]}
            if theirs and self._given_inside(row["event_at"]):
                scope.aws_calls.setdefault(event_id)

    def _add_possible_calls(self, scope: FindingScope, users: set[str]) -> None:
        """What may be the attacker's doing or the victim's: its subjects are possible, and a limit says why nobody can tell."""
        counted = dict[str, int]()
        for call in self.attacker.possible.values():
            if not call.whose & users or not self._inside(call.event["received_at"]):
                continue
            scope.possible_calls.setdefault(call.event["audit_id"])
            counted[call.because] = counted.get(call.because, 0) + 1
            self._add_deed(scope, call.event, None, possible=True)
        for because, number in counted.items():
            says = f"Whether {number} calls are the attacker's or the victim's cannot be told: {because}"
            scope.limit(
                (*DEEDS, "identity"), says, "Runtime Monitoring findings of that pod or node, or the victim's own logs"
            )

    def _is_hostile(self, events: list[Event]) -> bool:
        return any(place_of(event) in self.attacker.calls for event in events)

    def _inside(self, at: datetime) -> bool:
        return self.window is not None and self.window.start <= at < self.window.end

    def _given_inside(self, at: datetime) -> bool:
        """Whether a moment is inside of the ends that were given: CloudTrail is not bound to what the audit log covers."""
        start, end = self.given
        return (start is None or start <= at) and (end is None or at < end)

    def _touched_pods(self, scope: FindingScope) -> list[_Found]:
        """The pods that the caller itself made, or whose workload it made, and those that it ran commands in; possible where that call
        is only possibly the attacker's."""
        found = list[_Found]()
        for subject in list(scope.subjects.values()):
            if subject.through or subject.kind not in ("created", "exec"):
                continue
            why, thing, known = next(iter(subject.why)), subject.thing, subject.certainty == "affected"
            who = "the attacker" if known else "perhaps the attacker"
            resource, _, rest = subject.key.partition("/")
            if thing is not None and resource in WORKLOADS.values():
                owned = self.inventory.pods_of_workload(resource, thing.namespace, thing.name, thing.uid)
                says = f"it belonged to {subject.key}, which {who} made"
                found += [(pod, Why(why.ref, says, Rule.ATTACKER), sure and known) for pod, sure in owned]
            elif resource == "pods":
                namespace, _, name = rest.partition("/")
                named = [thing] if thing else self.inventory.named("pods", namespace, name)
                says = f"{who} made it" if subject.kind == "created" else f"{who} ran commands in it"
                found += [(pod, Why(why.ref, says, Rule.ATTACKER), len(named) == 1 and known) for pod in named]
        return found

    def _add_deed(self, scope: FindingScope, event: Event, through: Ref | None, possible: bool = False) -> None:
        """The subjects that an event makes, and what cannot be told of it."""
        if not self._inside(event["received_at"]):
            return
        when = f"{event['received_at']:%Y-%m-%d %H:%M:%S} UTC by {event['user_name']} from {event['source_address']}"
        ref = self.store.event_ref(event)
        for deed in self.deeds.of(event):
            if not isinstance(deed, Deed):
                scope.limits[deed] = None
                continue
            thing = self.inventory.things.get(event["uid"] or "") if deed.kind in OBJECTS else None
            why = Why(ref, f"{deed.says} {when}", Rule.CARRIES_OUT if deed.carries_out else Rule.ATTACKER)
            certainty: Certainty = "possible" if possible else deed.certainty
            scope.add(deed.kind, deed.key, why, thing=thing, through=through, certainty=certainty)

    # ── attack sequences and possible subjects ─────────────────────────────────────────────────────────────────────

    def _add_sequence(self, scope: FindingScope, above: frozenset[str]) -> None:
        """The union of what the findings among the signals affect, and the sequence's own resources."""
        by_name = {name: finding for finding in self.attacker.findings for name in (finding.arn, finding.id) if name}
        missing = list[str]()
        for signal in _objects(scope.finding.sequence.get("Signals")):
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
                for one in part.subjects.values():
                    scope.add(one.kind, one.key, one.why, certainty=one.certainty, thing=one.thing, through=one.through)
                scope.calls |= part.calls
                scope.possible_calls |= part.possible_calls
                scope.aws_calls |= part.aws_calls
                scope.limits |= part.limits
        if missing:
            says = f"{len(missing)} findings among the signals are not in this case: {', '.join(missing)}"
            scope.limit(EVERYTHING, says, "`aws guardduty get-findings` for these ids")
        pods = list[_Found]()
        for number, resource in enumerate(_objects(scope.finding.sequence.get("Resources"))):
            pods += self._pods_of_resource(scope, scope.finding.ref(f"{SEQUENCE}.resources[{number}]"), resource)
        self._add_pods(scope, pods)

    def _pods_of_resource(self, scope: FindingScope, ref: Ref, resource: dict[str, Any]) -> list[_Found]:
        """The pods that a resource of an attack sequence names; a key's role and a container's image are added at once."""
        data, kind, uid = resource.get("Data") or {}, resource.get("ResourceType"), resource.get("Uid")
        if kind == "KUBERNETES_WORKLOAD":
            workload = data.get("KubernetesWorkload") or {}
            known = uid if _is_uid(uid) or str(uid) in self.inventory.things else None
            plural_name = workload.get("KubernetesResourcesTypes")
            return self._pods_named(scope, ref, plural_name, workload.get("Namespace"), resource.get("Name"), known)
        if kind == "EC2_INSTANCE":
            return self._pods_on_instance(scope, str(uid).rsplit("/", 1)[-1], ref)
        if kind == "ACCESS_KEY":
            key = data.get("AccessKey") or {}
            word = "user" if key.get("UserType") == "IAMUser" else "role"
            if key.get("UserName") and resource.get("AccountId"):
                partition = resource.get("CloudPartition") or "aws"
                arn = f"arn:{partition}:iam::{resource['AccountId']}:{word}/{key['UserName']}"
                scope.add(
                    "iam_role", arn, Why(ref, f"access key {uid} is among the sequence's resources", Rule.FINDING)
                )
        elif kind == "CONTAINER" and (data.get("Container") or {}).get("Image"):
            scope.add(
                "image", data["Container"]["Image"], Why(ref, "it is among the sequence's resources", Rule.FINDING)
            )
        return []

    def _add_possible(self, scope: FindingScope) -> None:
        """What has to be looked at: neighbours on a node that a container reached, the same images elsewhere, node roles."""
        start, end = (self.window.start, self.window.end) if self.window else (None, None)
        sure = [one for one in scope.subjects.values() if one.certainty == "affected"]
        reached = dict[str, Why]()
        for subject in sure:
            pod = subject.thing
            reaching = [one.says for one in pod.host_access if one.reaches] if subject.kind == "pod" and pod else []
            if pod and pod.node and reaching:
                says = f"pod {pod.namespace}/{pod.name} on the same node {', '.join(reaching)}"
                reached.setdefault(pod.node, Why((pod.why or tuple(subject.why))[0].ref, says))
        images = {subject.key: next(iter(subject.why)) for subject in sure if subject.kind == "image"}
        neighbours = list[_Found]()
        for pod in in_window(self.inventory.pods, start, end):
            if pod.node in reached:
                neighbours.append((pod, reached[pod.node], False))
            for image in pod.images:
                if image in images and ("pod", pod.uid, None) not in scope.subjects:
                    says = f"it runs the image {image} too (compared by name; a digest would be sure)"
                    scope.add("pod", pod.uid, Why(images[image].ref, says), certainty="possible", thing=pod)
        self._add_pods(scope, neighbours)
        for subject in list(scope.subjects.values()):
            role = self.inventory.node_roles.get(subject.key) if subject.kind == "node" else None
            if role:
                says = f"{role[1].says}; a pod may reach it through the instance metadata service"
                scope.add("iam_role", role[0], Why(role[1].ref, says), certainty="possible")


def _resource(kind: Any) -> str:
    """The plural name of a workload type, however a finding spells it: pods, Pod, DaemonSet, deployments."""
    word = str(kind or "").lower()
    return word if word in FOLLOWED or not word else plural(word)


def _is_uid(value: Any) -> bool:
    try:
        return str(UUID(str(value))) == str(value).lower()
    except ValueError:
        return False


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
