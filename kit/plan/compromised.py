"""What the attacker holds or may hold: nodes, pods, roles, accounts, images, bindings, mappings, and what shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from kit.attribution.calls import creates
from kit.attribution.deeds import SAME_BIRTH, path_of
from kit.identities.access import Access
from kit.identities.sessions import Session
from kit.identities.way import Way
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import FARGATE, node_kind_of
from kit.inventory.thing import Thing
from kit.lenient import dicts_of, utc_time
from kit.model.address import is_address
from kit.model.arn import compared
from kit.model.identity import CREATOR, NODE
from kit.model.pod_spec import Grade, HostAccess, power_over_node
from kit.model.refs import Ref
from kit.model.why import Rule, Why
from kit.playbooks.playbook import playbook_of
from kit.scope.caller import arn_of_caller
from kit.scope.index import Index
from kit.scope.profile import Profile, principal_behind
from kit.scope.ring import Rings, runs_in
from kit.scope.scope import Scope
from kit.scope.subject import FindingScope
from kit.store.store import Store
from kit.words import few, utc


class Compromised:
    """What the scope of a case shows of the attacker's hold. What only an expected finding names is left out."""

    def __init__(self, scope: Scope, account: str | None, marked: dict[str, str]) -> None:
        """marked: finding → its last mark."""
        self.scope, self.account = scope, account
        real = [one for one in scope.scopes if not one.finding.sample]
        self.findings = [one.finding for one in real]
        self.scopes = [one for one in real if marked.get(one.finding.id) != "expected"]
        self.index = Index(self.scopes)
        self.inventory: Inventory = scope.inventory
        self.store: Store = scope.store

    @cached_property
    def affected(self) -> set[tuple[str, str]]:
        """Kind and key of every affected subject."""
        return {place for place, subject in self.index.places.items() if subject.certainty == "affected"}

    @cached_property
    def used_roles(self) -> set[str]:
        """Roles of which the attacker used a session."""
        return {
            one.session.role
            for scope in self.scopes
            for one in scope.sessions
            if one.certainty == "affected" and one.session.role
        } | {one.role for one in self._hostile_sessions.values() if one.role}

    @cached_property
    def _hostile_sessions(self) -> dict[str, Session]:
        """Access key → the session, of the keys that hostile CloudTrail events were made with."""
        attacker, ids = self.scope.attacker, {event_id for scope in self.scopes for event_id in scope.aws_calls}
        keys = {row["access_key_id"] for event_id, (row, _) in attacker.trail.items() if event_id in ids}
        return attacker.sessions.of_keys(sorted(key for key in keys if key))

    @cached_property
    def hostile_accounts(self) -> set[str]:
        """Service accounts (namespace/name) with hostile calls."""
        every = (profile.identity.service_account for scope in self.scopes for profile in self.hostile(scope))
        return {account for account in every if account}

    @cached_property
    def reached(self) -> dict[str, tuple[Why, ...]]:
        """Nodes that the attacker may hold, and what shows it: their own credential was used, the finding is about them, or a pod on them
        that was the attacker's tool has power over its node. On any other node an affected pod merely ran."""
        found = dict[str, dict[Why, None]]()
        for scope in self.scopes:
            for profile in self.hostile(scope):
                if profile.identity.node:
                    found.setdefault(profile.identity.node, {})[self.first_call(profile)] = None
            for one in scope.affected("pod", "node"):
                pod = one.thing if one.kind == "pod" else None
                is_tool = pod is not None and pod.uid in self.used_pods
                power = power_over_node(pod.spec, self.is_made_by_attacker(pod)) if pod and is_tool else []
                if pod and pod.node and power:
                    says = f"affected pod {pod.namespace}/{pod.name} on it {few([access.says for access in power], 3)}"
                    found.setdefault(pod.node, {})[Why(Ref.of("pod", pod.uid), says)] = None
                if one.kind == "node":
                    own = [why for why in one.why if why.rule is Rule.NAMED_NODE]
                    if own:
                        found.setdefault(one.key, {}).update(dict.fromkeys(own))
        return {node: tuple(whys) for node, whys in found.items()}

    @cached_property
    def _created(self) -> set[str]:
        return {key for kind, key in self.affected if kind == "created"}

    def making_of(self, path: str) -> tuple[str | None, datetime | None]:
        """The uid of the object at a path that the attacker made, by the call's own answer or by the dump, and when it was made; None for what is not told."""
        made = [
            call.event
            for call in self.scope.attacker.calls.values()
            if creates(call.event) and path_of(call.event) == path
        ]
        if not made:
            return None, None
        last = max(made, key=lambda event: (event["received_at"], event["audit_id"]))
        if last["uid"]:
            return last["uid"], last["received_at"]
        dumped = self.store.rows(
            "SELECT uid, json_extract_string(object, '$.metadata.creationTimestamp') AS created_at FROM objects WHERE resource = $resource"
            " AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR AND name = $name AND uid IS NOT NULL ORDER BY uid",
            resource=last["resource"],
            namespace=last["namespace"],
            name=last["name"],
        )
        for row in dumped:
            created = utc_time(row["created_at"])
            if created and abs(created - last["received_at"]) <= SAME_BIRTH:
                return row["uid"], last["received_at"]
        return None, last["received_at"]

    def is_made_by_attacker(self, pod: Thing) -> bool:
        """Whether the attacker made a pod or the workload that it belongs to."""
        return self.inventory.is_among(pod, self._created)

    @cached_property
    def credential_in_reach(self) -> dict[str, tuple[Why, ...]]:
        """Nodes that the attacker does not hold and whose own credential an affected pod could take, with what shows it."""
        found = dict[str, dict[Why, None]]()
        for node, pod in self._on_nodes_not_held():
            for access in pod.host_access:
                if access.grade is Grade.OWN_CREDENTIAL:
                    says = f"affected pod {pod.namespace}/{pod.name} on it {access.says}: {access.grade.value}"
                    found.setdefault(node, {})[Why(Ref.of("pod", pod.uid), says)] = None
        return {node: tuple(whys) for node, whys in found.items()}

    def _on_nodes_not_held(self) -> Iterator[tuple[str, Thing]]:
        """The affected pods on nodes that nothing shows the attacker to hold, each with its node."""
        for subject in self.index.affected("pod"):
            pod = subject.thing
            if pod and pod.node and pod.node not in self.reached:
                yield pod.node, pod

    @staticmethod
    def first_call(profile: Profile) -> Why:
        """The source of an identity's first hostile call."""
        source = min((one for one in profile.sources if one.hostile), key=lambda one: one.first_at)
        says = (
            f"{profile.identity.user_name} made hostile calls from {source.address}, the first {utc(source.first_at)}"
        )
        return Why(Ref.of("identity", profile.identity.user_name), says)

    @cached_property
    def nodes_left(self) -> set[str]:
        """Nodes that are known to stand and that the attacker does not hold."""
        return {
            str(node.name) for node in self.inventory.of("nodes") if node.standing is not False
        } - self.reached.keys()

    @cached_property
    def written_mappings(self) -> tuple[list[Way], list[Way]]:
        """Mappings in aws-auth that the attacker wrote, and those of which it cannot be told."""
        hostile = {
            str(self.store.event_ref(call.event))
            for call in self.scope.attacker.calls.values()
            if call.event["resource"] == "configmaps"
        }
        return Access(self.store, self.inventory).written_mappings(hostile, self.account)

    @cached_property
    def workloads_to_mend(self) -> dict[str, tuple[Why, ...]]:
        """Workloads that stand and that the attacker did not make, of pods through which the attacker came in: they start new pods from the same
        image, with the same fault. The cluster's own come from its add-ons."""
        found = dict[str, tuple[Why, ...]]()
        for subject in self.index.affected("pod"):
            pod = subject.thing
            if pod is None or pod.namespace == "kube-system" or subject.key not in self.entered_pods:
                continue
            owners = self.inventory.owners(pod)
            if owners and owners[-1].resource not in ("jobs", "cronjobs"):
                path = f"{owners[-1].resource}/{pod.namespace}/{owners[-1].name}"
                if ("created", path) not in self.affected and (pod.standing is not False or self.thing_at(path)):
                    found.setdefault(path, tuple(subject.why)[:2])
        return dict(sorted(found.items()))

    @cached_property
    def things_of_used_pods(self) -> list[Thing]:
        """The pods that were the attacker's tools."""
        found = {pod.key: pod.thing for pod in self.index.all_of("pod") if pod.thing and pod.key in self.used_pods}
        return list(found.values())

    @cached_property
    def nodes_of_used_pods(self) -> set[str]:
        """Nodes that a pod ran on which was the attacker's tool."""
        return {pod.node for pod in self.things_of_used_pods if pod.node}

    @cached_property
    def used_images(self) -> set[str]:
        """Images of the pods that were the attacker's tools."""
        return {image for pod in self.things_of_used_pods for image in pod.images}

    @cached_property
    def own_images(self) -> set[str]:
        """Images that a workload of yours ran before the first hostile call: of containers that a pod was made with, as one may be added later."""
        seen = [finding.first_seen_at for finding in self.findings if finding.first_seen_at]
        first = self.scope.attacker.first_call_at or min(seen, default=None)
        found = set[str]()
        for pod in self.inventory.pods:
            ran_before = first is not None and pod.created_at is not None and pod.created_at < first
            if ran_before and ("changed", pod.path) not in self.affected and not self.is_made_by_attacker(pod):
                made_with = [*dicts_of(pod.spec.get("initContainers")), *dicts_of(pod.spec.get("containers"))]
                found |= {str(one["image"]) for one in made_with if one.get("image")}
        return found

    @cached_property
    def used_pods(self) -> set[str]:
        """Uids of the affected pods that were the attacker's tools, not only hit or exposed: the attacker touched them or made them, or a finding that
        is itself a sign of an attack names them and its playbook isolates or deletes them."""
        found, rings = set[str](), Rings(self.scope)
        for scope in self.scopes:
            asked = not scope.finding.is_policy and any(
                do.action.takes_out and "pod" in do.action.kinds for do in playbook_of(scope.finding.type).actions
            )
            for subject in scope.affected("pod"):
                pod = subject.thing
                named = asked and any(why.rule is Rule.FINDING for why in subject.why)
                is_alone = pod is not None and pod.node in self._used_fargate_nodes
                if pod and (
                    named or is_alone or rings.of(subject, scope) == "touched" or self.is_made_by_attacker(pod)
                ):
                    found.add(subject.key)
        return found

    @cached_property
    def _used_fargate_nodes(self) -> set[str]:
        """Fargate nodes whose credential was used: each is one pod's alone, so that what is done is done to that pod."""
        every = {profile.identity.node for scope in self.scopes for profile in self.hostile(scope)}
        return {node for node in every if node and node_kind_of(node, self.thing_at(f"nodes/{node}")) == FARGATE}

    @cached_property
    def exposed_pods(self) -> set[str]:
        """Uids of the affected pods that were not the attacker's tools and may still stand."""
        return {
            pod.key
            for pod in self.index.affected("pod")
            if pod.key not in self.used_pods and not (pod.thing and pod.thing.standing is False)
        }

    @cached_property
    def entered_pods(self) -> set[str]:
        """Uids of the affected pods through which the attacker came in: a credential of theirs that the attacker did not mint was used, or a
        finding of Runtime Monitoring saw the attack in them and no call of the attacker explains it."""
        calls = [call.event for call in self.scope.attacker.calls.values()]
        minted = {event["issued_credential_id"] for event in calls} - {None}
        found = {str(uid) for one in calls if (uid := one["claimed_pod_uid"]) and one["credential_id"] not in minted}
        rules = defaultdict[str, set[Rule]](set)
        for pod in self.index.affected("pod"):
            rules[pod.key] |= {why.rule for why in pod.why}
        for scope in self.scopes:
            if runs_in(scope):
                named = (pod.key for pod in scope.affected("pod") if any(why.rule is Rule.FINDING for why in pod.why))
                found |= {uid for uid in named if not rules[uid] & {Rule.ATTACKER, Rule.INJECTED, Rule.CARRIES_OUT}}
        return found

    @cached_property
    def unclear(self) -> dict[str, str]:
        """Nodes of which it cannot be told whether the attacker may hold them → why."""
        found = dict[str, str]()
        for node, pod in self._on_nodes_not_held():
            name = f"pod {pod.namespace}/{pod.name}"
            reaching = [access for access in pod.host_access if access.reaches]
            if not pod.spec:
                found[node] = (
                    f"whether the attacker holds it cannot be told: no evidence has the spec of {name}, which ran on it"
                )
            elif reaching:
                found.setdefault(node, f"{name} {_not_held(reaching)}")
        return found

    @cached_property
    def hostile_addresses(self) -> set[str]:
        """Addresses outside of the cluster that the attacker called from, the API server or AWS, whoever else uses them."""
        attacker = self.scope.attacker
        called = {call.event["source_address"] for call in attacker.calls.values() if not call.source}
        in_aws = {row["source_address"] for row, _ in attacker.trail.values()}
        own = attacker.cluster_addresses
        return {str(one) for one in called | in_aws if one and is_address(one)} - {*own.own, *own.control_plane}

    @property
    def from_outside(self) -> bool:
        """Whether the attacker called the API server from an address that is not the cluster's."""
        return any(
            use.hostile and not use.inside for scope in self.scopes for one in scope.identities for use in one.sources
        )

    @staticmethod
    def hostile(scope: FindingScope) -> list[Profile]:
        """Identities of a scope with hostile calls."""
        return [one for one in scope.identities if any(source.hostile for source in one.sources)]

    @cached_property
    def used_bindings(self) -> list[Thing]:
        """Bindings that stand and name a hostile identity itself; what the attacker wrote is deleted instead."""
        access = Access(self.store, self.inventory)
        written = {subject.key for subject in self.index.all_of("created")}
        found = dict[str, Thing]()
        for scope in self.scopes:
            for profile in self.hostile(scope):
                if profile.identity.kind in ("service_account", "iam", "oidc"):
                    for binding in access.bindings_naming(profile.identity):
                        if binding.path not in written:
                            found[binding.path] = binding
        return [found[path] for path in sorted(found)]

    @cached_property
    def _unbound(self) -> dict[str, bool | None]:
        found = dict[str, bool | None]()

        def add(account: str, said: bool | None) -> None:
            now = found.get(account, False)
            found[account] = True if True in (now, said) else None if None in (now, said) else False

        for row in self.store.rows(
            "SELECT namespace || '/' || name AS account, user_name, file, line, item, request_object IS NOT NULL AS known,"
            " json_extract_string(request_object, '$.spec.boundObjectRef.kind') IS NOT NULL AS bound FROM audit"
            " WHERE resource = 'serviceaccounts' AND subresource = 'token' AND verb = 'create' AND response_code < 300"
        ):
            if (row["file"], row["line"], row["item"]) in self.scope.attacker.calls:
                # A kubelet may ask for tokens that are bound to pods of its node alone (NodeRestriction).
                of_node = str(row["user_name"]).startswith(NODE)
                add(row["account"], False if of_node else (not row["bound"]) if row["known"] else None)
        for scope in self.scopes:
            for profile in self.hostile(scope):
                account = profile.identity.service_account
                for one in profile.credentials if account else ():
                    if account and one.kind == "token" and one.hostile and one.minted and found.get(account) is None:
                        add(account, one.pod_uid is None and one.node is None)
        return found

    def is_unbound(self, account: str) -> bool | None:
        """Whether the attacker minted a token of a service account (namespace/name) that is bound to no object; None: not in the log."""
        return self._unbound.get(account, False)

    @cached_property
    def hostile_principals(self) -> list[str]:
        """Principals whose access is taken away: none of them counts as an administrator who is left."""
        roles = {
            principal_behind(one) for scope in self.scopes for one in self.hostile(scope) if one.identity.kind == "iam"
        }
        let_in = {one.key for one in self.scope.attacker.let_in if one.by == "access_entry" and one.sure}
        return sorted({role for role in roles if role} | {way.name for way in self.written_mappings[0]} | let_in)

    def is_creator(self, user_name: str) -> bool:
        """Whether a hostile caller is in the cluster as its creator, which no list of entries and mappings shows."""
        for profile in (one for scope in self.scopes for one in self.hostile(scope)):
            listed = any(way.kind in ("access_entry", "aws_auth") and not way.maps_nobody for way in profile.ways)
            made = profile.identity.user_name == CREATOR or any(way.kind == "cluster_creator" for way in profile.ways)
            if profile.identity.user_name == user_name and profile.identity.kind == "iam" and made and not listed:
                return True
        return False

    @cached_property
    def roles_of_nodes(self) -> dict[str, str]:
        """Roles that nodes sign in with, as kit.model.arn.compared has them → what shows it."""
        named = dict[str, str]()
        for user, finding in ((str(one.finding.user.get("Username")), one.finding) for one in self.scopes):
            if user.startswith(NODE) and (found := arn_of_caller(finding, self.scope.attacker)):
                named[compared(found[0])] = f"{user} calls with it"
        return named | Access(self.store, self.inventory).roles_of_nodes

    @cached_property
    def access_mode(self) -> str | None:
        """The cluster's authentication mode: CONFIG_MAP, API_AND_CONFIG_MAP or API; None where no evidence tells."""
        return Access(self.store, self.inventory).mode

    def thing_at(self, path: str) -> Thing | None:
        """The object at a path that stands, the last of that name."""
        resource, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        named = [one for one in self.inventory.named(resource, namespace or None, name) if one.standing is not False]
        return named[-1] if named else None


def _not_held(reaching: list[HostAccess]) -> str:
    """What a pod could reach of a node that the attacker does not hold by it, and what is left for a person."""
    gravest = reaching[0]
    says = few([access.says for access in reaching], 3)
    return {
        Grade.NODE: f"{says}, in an init container alone, which had ended when the pod ran: look whether the attacker ran something in it, and decide",
        Grade.CREDENTIALS: f"{says}: every credential on the node was in reach, not the node: end the tokens of its pods, rotate the secrets that they mount, look whether something was written, and decide",
        Grade.OWN_CREDENTIAL: f"{says}: it could take the node's credential from the instance metadata, not the node; look whether it was used, and decide",
        Grade.FILES: f"{says}: files of the host could be read, and tokens among them; look whether logs of the node were asked for, and decide",
        Grade.UNKNOWN: f"{says}: how far that reaches into the node is not known; look, and decide",
    }[gravest.grade]
