"""To which things of a case an action is done, with what it needs to know of each; and to which it cannot be done, with the reason.

`affected` is acted on. What destroys or shuts out is done only to what the evidence shows to be the attacker's or in his hands: a node
that merely ran an affected pod is kept and looked at, not torn down. Sources: GuardDuty User Guide "Remediating EKS Protection findings"
(which root causes lead to which steps); EKS User Guide "Network policies", "Fargate"; IAM User Guide "Revoking IAM role temporary security
credentials".
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import orjson

from kit.actions.action import Action, Target
from kit.errors import CallError
from kit.identities.access import Access
from kit.identities.way import ANONYMOUS, Way
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import AUTO, FARGATE, HYBRID, WORDS, kind_of
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of
from kit.model.identity import NODE, instance_of
from kit.model.kubernetes import ACCOUNT_GROUP, BOUND, KINDS, ROLE_ANNOTATION, ROLES
from kit.model.pod_spec import Grade, HostAccess, power_over_node
from kit.model.refs import Ref
from kit.model.why import Rule, Standing, Why
from kit.playbooks.playbook import playbook_of
from kit.scope.profile import Profile
from kit.scope.scope import FindingScope, Scope, Subject
from kit.store.store import Store
from kit.words import Names, counted, few, utc

_OF_ANSWERS = {
    "anonymous_binding": "anonymous_access",
    "default_binding": "default_accounts_with_rights",
    "exposed": "exposed_services",
}
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_ON_USED_PODS = ("isolate_pod", "withdraw_pod", "capture_container", "delete_pod")
_NODE_ONLY_EC2 = (
    "protect_node",
    "snapshot_volumes",
    "snapshot_checkpoints",
    "finish_snapshots",
    "quarantine_node",
    "capture_node",
    "scan_node",
)

Rows = Callable[[str], Iterable[dict[str, Any]]]


class Targets:
    """The things of one case that actions are done to."""

    def __init__(
        self,
        scope: Scope,
        rows: Rows,
        place: tuple[str | None, str | None, str | None],
        marked: dict[str, str],
        criteria: Callable[[str], dict[str, Any]],
        keep: tuple[str, ...] | None = None,
    ) -> None:
        """place: account, region, cluster. rows: question → the rows of its answer. marked: finding → its last mark. criteria: finding → those of its suppression filter.
        keep: CIDRs that the cluster's endpoint stays open for, () for none, None when nobody has said."""
        self.scope, self._rows, self.keep = scope, rows, keep
        self.account, self.region, self.cluster = place
        self.marked, self._criteria = marked, criteria
        real = [one for one in scope.scopes if not one.finding.sample]
        self.findings = [one.finding for one in real]
        # What only an expected finding names is not acted on.
        self.scopes = [one for one in real if marked.get(one.finding.id) != "expected"]
        self.inventory: Inventory = scope.inventory
        self.store: Store = scope.store

    def of(self, action: Action) -> tuple[list[Target], list[tuple[Target, str]]]:
        """What an action is done to, and what it cannot be done to, with the reason; each in the order of kind and key."""
        done, impossible = list[Target](), list[tuple[Target, str]]()
        for target in sorted(self._all(action), key=lambda one: (one.kind == "reachable", one.kind, one.key)):
            reason = self._impossible(action, target)
            if reason:
                impossible.append((target, reason))
            else:
                done.append(target)
        return done, impossible

    def _all(self, action: Action) -> Iterator[Target]:
        found = dict[tuple[str, str], Target]()
        for scope in self.scopes:
            for one in scope.subjects.values():
                kind = one.kind
                if kind == "created" and one.key.partition("/")[0] in (*BOUND, *ROLES):
                    kind = "written_binding"
                if kind not in action.kinds or not self._is_meant(action, scope, one):
                    continue
                target = self._target(action, one.kind, one.key, one.thing)
                found.setdefault((one.kind, one.key), target)
        for kind, name in _OF_ANSWERS.items():
            for row in self._rows(name) if kind in action.kinds else ():
                if row["path"] and not row.get("Stands", Standing.UNTOLD).is_gone:
                    thing = self._thing_at(row["path"])
                    found.setdefault((kind, row["path"]), self._target(action, kind, row["path"], thing))
        if action.name == "remove_cluster_access":
            for way in self._written_mappings[0]:
                mapped: dict[str, Any] = {
                    "user_name": way.user_name,
                    "arn": way.name,
                    "access_key_ids": [],
                    "hostile": self._hostile_principals,
                }
                found["mapping", way.name] = Target("mapping", way.name, None, self.cluster, None, mapped, (way.why,))
        if action.name == "compare_mappings":
            taken = {key for kind, key in self._affected if kind == "iam_role"}
            for way in (one for one in self._written_mappings[1] if one.name not in taken):
                found["mapping", way.name] = Target(
                    "mapping", way.name, None, self.cluster, None, {"arn": way.name}, (way.why,)
                )
        if action.name == "roll_out_fixed":
            for path, why in self._workloads_to_mend.items():
                found["workload", path] = Target("workload", path, None, self.cluster, None, {}, why)
        if action.name == "add_nodes" and not self.nodes_left:
            found["cluster", self.cluster or ""] = self._target(action, "cluster", self.cluster or "CLUSTER", None)
        if action.name == "revoke_role_sessions":
            for node, whys in self.credential_in_reach.items():
                instance = self._instances.get(node)
                role = self.inventory.node_roles[node][0] if node in self.inventory.node_roles else None
                denied: dict[str, Any] = {"role": role, "instances": [instance] if instance else [], "pods": []}
                found["node", node] = Target(
                    "node", node, self._thing_at(f"nodes/{node}"), self.cluster, instance, denied, whys
                )
        if "used_binding" in action.kinds:
            for binding in self._used_bindings:
                found["used_binding", binding.path] = self._target(action, "used_binding", binding.path, binding)
        if action.name == "narrow_endpoint":
            found["cluster", self.cluster or ""] = self._target(action, "cluster", self.cluster or "CLUSTER", None)
        # A bare pod of the attacker's is kept and deleted as a pod, an image that he brought in is kept as one: one action on one object.
        pods = {key for kind, key in self._affected if kind == "pod"}
        images = {key for kind, key in found if kind == "introduced"}
        found = {
            (kind, key): one
            for (kind, key), one in found.items()
            if not (kind == "created" and one.thing and one.thing.uid in pods)
            and not (kind == "image" and key in images)
            and not (kind == "reachable" and ("secret", key) in found)
        }
        for scope in self.scopes if "finding" in action.kinds else ():
            word = self.marked.get(scope.finding.id)
            if word:
                known: dict[str, Any] = {"finding": scope.finding.id, "useful": word == "confirmed"}
                found["finding", scope.finding.id] = Target(
                    "finding", scope.finding.id, None, self.cluster, None, known
                )
        for finding in self.findings if {"finding", "expected_finding"} & set(action.kinds) else ():
            if self.marked.get(finding.id) == "expected":
                digest = hashlib.sha256(finding.id.encode()).hexdigest()[:10]
                known = {"finding": finding.id, "useful": False}
                if "expected_finding" in action.kinds:
                    known |= {"name": f"kit-expected-{digest}", "criteria": self._criteria(finding.id)}
                found["finding", finding.id] = Target("finding", finding.id, None, self.cluster, None, known)
        yield from (one for one in found.values() if self._applies(action, one))

    @cached_property
    def _affected(self) -> set[tuple[str, str]]:
        return {
            (one.kind, one.key)
            for scope in self.scopes
            for one in scope.subjects.values()
            if one.certainty == "affected"
        }

    @cached_property
    def _used_roles(self) -> set[str]:
        """Roles of which the attacker used a session."""
        return {
            one.session.role
            for scope in self.scopes
            for one in scope.sessions
            if one.certainty == "affected" and one.session.role
        }

    @cached_property
    def _hostile_accounts(self) -> set[str]:
        every = (profile.identity.service_account for scope in self.scopes for profile in self._hostile(scope))
        return {account for account in every if account}

    def _applies(self, action: Action, target: Target) -> bool:
        """Whether there is anything for the action to do to it."""
        known = target.parameters
        if action.name == "withdraw_pod":
            return bool(known["labels"] or known["services"])
        if action.name == "end_sign_in":
            return ":role/" in str(known["arn"])
        if action.name == "deactivate_access_key":
            return bool(known["access_key_ids"])
        if action.name == "remove_pod_identity":
            return self._has_pod_identity(target.key)
        if action.name == "change_role_trust":
            return bool(known["service_accounts"])
        return bool(known["remove"]) if "remove" in known else True

    def _is_meant(self, action: Action, scope: FindingScope, one: Subject) -> bool:
        gone = one.thing is not None and one.thing.standing is False and one.kind != "deleted"
        if gone or not (one.certainty == "affected" or one.kind == "reachable"):
            return False
        if one.kind == "identity":
            profile = next((each for each in scope.identities if each.identity.user_name == one.key), None)
            hostile = profile is not None and any(source.hostile for source in profile.sources)
            return hostile and profile is not None and profile.identity.kind in action.identities
        if one.kind == "iam_role":
            return ":role/" in one.key
        if one.kind == "node" and not action.destroys_node:
            return one.key in self.reached or one.key in self._nodes_of_used_pods
        if one.kind == "image" and action.name == "keep_image":
            return one.key in self._used_images
        if one.kind == "node" and action.destroys_node:
            return one.key in self.reached or one.key in self.unclear
        if one.kind == "image" and action.name == "block_image":
            return one.key in self._suspect_images(scope)
        if one.kind == "token":
            return self.is_unbound(one.key) is not False and one.key not in self._hostile_accounts
        if one.kind in ("deleted", "changed"):
            # What the attacker had made himself is not brought back, and pods of a workload come back by it.
            owned = one.thing is not None and bool(self.inventory.owners(one.thing))
            return ("created", one.key) not in self._affected and not owned
        if one.kind == "created" and action.destroys and scope.finding.is_policy:
            # Else the finding's caller set it up: the exposure is closed, not his object deleted.
            return bool(self._hostile(scope))
        return True

    @staticmethod
    def _suspect_images(scope: FindingScope) -> set[str]:
        """Images that the finding itself names, where its playbook wants them stopped; the images of other pods are only kept."""
        if not any(do.action.name == "block_image" for do in playbook_of(scope.finding.type).actions):
            return set()
        return {str(one.get("Image")) for one in dicts_of(scope.finding.workload.get("Containers"))}

    @cached_property
    def reached(self) -> dict[str, tuple[Why, ...]]:
        """Nodes that the attacker may hold, and what shows it: their own credential was used, the finding is about them, or an affected
        pod on them has power over its node. On any other node an affected pod merely ran."""
        found = dict[str, dict[Why, None]]()
        for scope in self.scopes:
            for profile in self._hostile(scope):
                if profile.identity.node:
                    found.setdefault(profile.identity.node, {})[self._first_call(profile)] = None
            for one in scope.subjects.values():
                if one.certainty != "affected":
                    continue
                pod = one.thing
                power = power_over_node(pod.spec, self._is_made_by_attacker(pod)) if one.kind == "pod" and pod else []
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
        return {key for kind, key in self._affected if kind == "created"}

    def _is_made_by_attacker(self, pod: Thing) -> bool:
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
        for scope in self.scopes:
            for one in scope.subjects.values():
                pod = one.thing if one.kind == "pod" and one.certainty == "affected" else None
                if pod and pod.node and pod.node not in self.reached:
                    yield pod.node, pod

    @staticmethod
    def _first_call(profile: Profile) -> Why:
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
    def _written_mappings(self) -> tuple[list[Way], list[Way]]:
        hostile = {
            str(self.store.event_ref(call.event))
            for call in self.scope.attacker.calls.values()
            if call.event["resource"] == "configmaps"
        }
        return Access(self.store, self.inventory).written_mappings(hostile, self.account)

    @cached_property
    def _workloads_to_mend(self) -> dict[str, tuple[Why, ...]]:
        """Workloads of affected pods that stand and that the attacker did not make: their owners start new pods from the same image."""
        found = dict[str, tuple[Why, ...]]()
        for scope in self.scopes:
            for one in scope.subjects.values():
                if one.kind != "pod" or one.thing is None or not self._is_used(scope, one):
                    continue
                owners = self.inventory.owners(one.thing)
                if owners:
                    path = f"{owners[-1][0]}/{one.thing.namespace}/{owners[-1][1]}"
                    if ("created", path) not in self._affected:
                        found.setdefault(path, tuple(one.why)[:2])
        return dict(sorted(found.items()))

    def _is_used(self, scope: FindingScope, one: Subject) -> bool:
        """Whether a pod was the attacker's tool, and not only what he hit: its finding's playbook isolates or deletes such pods, he made it
        or its workload, or its service account is in his hands."""
        if one.certainty != "affected" or one.thing is None or one.thing.standing is False:
            return False
        return one.key in self._used_pods

    @cached_property
    def _things_of_used_pods(self) -> list[Thing]:
        found = {
            one.key: one.thing
            for scope in self.scopes
            for one in scope.subjects.values()
            if one.kind == "pod" and one.thing
        }
        return [thing for key, thing in found.items() if key in self._used_pods]

    @cached_property
    def _nodes_of_used_pods(self) -> set[str]:
        return {pod.node for pod in self._things_of_used_pods if pod.node}

    @cached_property
    def _used_images(self) -> set[str]:
        return {image for pod in self._things_of_used_pods for image in pod.images}

    @cached_property
    def _used_pods(self) -> set[str]:
        found = set[str]()
        for scope in self.scopes:
            asked = {do.action.name for do in playbook_of(scope.finding.type).actions} & {"isolate_pod", "delete_pod"}
            for one in scope.subjects.values():
                if one.kind != "pod" or one.certainty != "affected" or one.thing is None:
                    continue
                if (
                    asked
                    or self._is_made_by_attacker(one.thing)
                    or one.thing.service_account in self._hostile_accounts
                    or one.thing.node in self.reached
                ):
                    found.add(one.key)
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

    @property
    def from_outside(self) -> bool:
        """Whether the attacker called the API server from an address that is not the cluster's."""
        return any(
            use.hostile and not use.inside for scope in self.scopes for one in scope.identities for use in one.sources
        )

    @staticmethod
    def _hostile(scope: FindingScope) -> list[Profile]:
        return [one for one in scope.identities if any(source.hostile for source in one.sources)]

    @cached_property
    def _used_bindings(self) -> list[Thing]:
        """Bindings that stand and name a hostile identity itself; what the attacker wrote is deleted instead."""
        access = Access(self.store, self.inventory)
        written = {one.key for scope in self.scopes for one in scope.subjects.values() if one.kind == "created"}
        found = dict[str, Thing]()
        for scope in self.scopes:
            for profile in self._hostile(scope):
                if profile.identity.kind in ("service_account", "iam", "oidc"):
                    for binding in access.bindings_naming(profile.identity):
                        if binding.path not in written:
                            found[binding.path] = binding
        return [found[path] for path in sorted(found)]

    def of_groups(self) -> list[tuple[Target, str]]:
        """Bindings of the groups of hostile people: taking a group out stops all its members, so that a person decides."""
        access, found = Access(self.store, self.inventory), dict[str, tuple[Target, str]]()
        for scope in self.scopes:
            for profile in self._hostile(scope):
                groups = [one for one in profile.groups if not one.startswith("system:")]
                for binding in access.bindings_of_groups(groups) if profile.identity.kind in ("oidc", "iam") else ():
                    names = [
                        str(one.get("name"))
                        for one in dicts_of(binding.body.get("subjects"))
                        if one.get("name") in groups
                    ]
                    says = f"{profile.identity.user_name} has its rights through group {few(names, 3)}: taking that out stops all its members, and for a token that was issued nothing else here does"
                    target = Target("used_binding", binding.path, binding, self.cluster)
                    found.setdefault(binding.path, (target, says))
        return [found[path] for path in sorted(found)]

    def _subjects_of_hostile(self, binding: Thing) -> list[dict[str, Any]]:
        names = {one.identity.user_name: one.identity for scope in self.scopes for one in self._hostile(scope)}
        accounts = {one.service_account for one in names.values() if one.service_account}
        return [
            one
            for one in dicts_of(binding.body.get("subjects"))
            if (one.get("kind") == "User" and one.get("name") in names)
            or (
                one.get("kind") == "ServiceAccount"
                and f"{one.get('namespace') or binding.namespace}/{one.get('name')}" in accounts
            )
        ]

    @cached_property
    def _unbound(self) -> dict[str, bool | None]:
        found = dict[str, bool | None]()

        def add(account: str, said: bool | None) -> None:
            now = found.get(account, False)
            found[account] = True if True in (now, said) else None if None in (now, said) else False

        for row in self.store.rows(
            "SELECT namespace || '/' || name AS account, user_name, file, line, item, request_object IS NOT NULL AS known,"
            " json_extract(request_object, '$.spec.boundObjectRef') IS NOT NULL AS bound FROM audit"
            " WHERE resource = 'serviceaccounts' AND subresource = 'token' AND verb = 'create' AND response_code < 300"
        ):
            if (row["file"], row["line"], row["item"]) in self.scope.attacker.calls:
                # A kubelet may ask for tokens that are bound to pods of its node alone (NodeRestriction).
                of_node = str(row["user_name"]).startswith(NODE)
                add(row["account"], False if of_node else (not row["bound"]) if row["known"] else None)
        for scope in self.scopes:
            for profile in self._hostile(scope):
                account = profile.identity.service_account
                for one in profile.credentials if account else ():
                    if account and one.kind == "token" and one.hostile and one.minted and found.get(account) is None:
                        add(account, one.pod_uid is None and one.node is None)
        return found

    def is_unbound(self, account: str) -> bool | None:
        """Whether the attacker minted a token of a service account (namespace/name) that is bound to no object; None: not in the log."""
        return self._unbound.get(account, False)

    def _thing_at(self, path: str) -> Thing | None:
        resource, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        named = [one for one in self.inventory.named(resource, namespace or None, name) if one.standing is not False]
        return named[-1] if named else None

    def _target(self, action: Action, kind: str, key: str, thing: Thing | None) -> Target:
        instance = self._instances.get(key) if kind == "node" else None
        made = {
            "pod": self._of_pod,
            "node": self._of_node,
            "identity": self._of_identity,
            "iam_role": self._of_role,
            "service_account": self._of_account,
            "token": self._of_account,
            "image": self._of_image,
            "introduced": self._of_image,
            "cluster": self._of_cluster,
        }.get(kind, self._of_object)(action, key, thing)
        return Target(kind, key, thing, self.cluster, instance, made, self._why(action, kind, key, thing))

    def _why(self, action: Action, kind: str, key: str, thing: Thing | None) -> tuple[Why, ...]:
        """The reasons that weigh most for an action on a thing, before those of the scope."""
        if kind == "node":
            return self.reached.get(key, ())
        if kind in ("cluster", "used_binding"):
            named = {str(one.get("name")) for one in dicts_of(thing.body.get("subjects"))} if thing else set()
            hostile = [one for scope in self.scopes for one in self._hostile(scope)]
            whys = [
                self._first_call(one)
                for one in hostile
                if not thing or {one.identity.user_name, one.identity.user_name.rpartition(":")[2]} & named
            ]
            return tuple(dict.fromkeys(whys))[:3]
        return tuple(thing.why[:1]) if thing and kind in _OF_ANSWERS else ()

    @cached_property
    def _instances(self) -> dict[str, str]:
        return {node: instance for instance, node in self.inventory.node_of_instance.items()}

    def _of_pod(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        if thing is None:
            return {"resource": "pods", "uid": key, "namespace": None, "name": None}
        return {
            "resource": "pods",
            "namespace": thing.namespace,
            "name": thing.name,
            "uid": thing.uid,
            "node": thing.node,
            "containers": [str(one.get("name")) for one in thing.containers],
            "host_network": bool(thing.spec.get("hostNetwork")),
            "made_by_attacker": self._is_made_by_attacker(thing),
        } | (
            dict(zip(("labels", "services"), self._service_labels(thing), strict=True))
            if action.name == "withdraw_pod"
            else {}
        )

    def _service_labels(self, pod: Thing) -> tuple[dict[str, str], list[str]]:
        """Labels of a pod that a Service selects on and its owner does not: without them no traffic comes, and its owner keeps it. And the
        Services that select on nothing but what the owner selects on."""
        kept = set[str]()
        for resource, name, _, _ in self.inventory.owners(pod):
            for owner in self.inventory.named(resource, pod.namespace, name):
                kept |= dict_of(dict_of(owner.spec.get("selector")).get("matchLabels")).keys()
        chosen, stuck = dict[str, str](), list[str]()
        for service, selector in self.inventory.services_of(pod):
            free = {label: value for label, value in selector.items() if label not in kept}
            chosen |= free
            stuck += [] if free else [f"{service.namespace}/{service.name}"]
        return dict(sorted(chosen.items())), sorted(stuck)

    def _of_node(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        node = self._thing_at(f"nodes/{key}")
        return {
            "node": key,
            "uid": node.uid if node and node.body else None,
            "instance_id": self._instances.get(key),
            "node_kind": kind_of(key, node),
            "affected_pods": sorted(pod.uid for pod in self._things_of_used_pods if pod.node == key),
            "group": self._groups.get(self._instances.get(key, "")),
            "region": self.region,
            "account": self.account,
        }

    @cached_property
    def _hostile_principals(self) -> list[str]:
        """Principals whose access is taken away: none of them counts as an administrator who is left."""
        roles = {
            one.identity.role for scope in self.scopes for one in self._hostile(scope) if one.identity.kind == "iam"
        }
        return sorted({role for role in roles if role} | {way.name for way in self._written_mappings[0]})

    @cached_property
    def _groups(self) -> dict[str, str]:
        """EC2 instance → its Auto Scaling group, by the tag that the group puts on it."""
        found = dict[str, str]()
        for row in self.store.rows("SELECT object FROM objects WHERE kind = 'Instance'"):
            instance = orjson.loads(row["object"])
            for tag in dicts_of(instance.get("Tags")):
                if tag.get("Key") == "aws:autoscaling:groupName":
                    found[str(instance.get("InstanceId"))] = str(tag.get("Value"))
        return found

    def _of_identity(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        profiles = [one for scope in self.scopes for one in self._hostile(scope) if one.identity.user_name == key]
        identity = profiles[0].identity
        if identity.service_account:
            return self._of_account(action, identity.service_account, None)
        keys = sorted(
            {
                one.key
                for each in profiles
                for one in each.credentials
                if one.kind == "access_key" and one.hostile and one.key.startswith("AKIA")
            }
        )
        sessions = sorted({one.asked_by or one.session or one.access_key_id for each in profiles for one in each.chain})
        hostile = {"hostile": self._hostile_principals} if action.name == "remove_cluster_access" else {}
        return (
            {"user_name": key, "arn": identity.role, "access_key_ids": keys}
            | hostile
            | ({"sessions": sessions} if action.name == "end_sign_in" else {})
        )

    def _of_account(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        namespace, _, name = key.partition("/")
        account = self._thing_at(f"serviceaccounts/{key}")
        more = {"recreate": self.is_unbound(key) is True} if action.name == "end_service_account_tokens" else {}
        return {"namespace": namespace, "name": name, "uid": account.uid if account and account.body else None} | more

    def _of_role(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        """Who uses the role: the narrowest that ends the attacker's sessions and no other's is by instance or by pod."""
        annotated = sorted(
            f"{one.namespace}/{one.name}"
            for one in self.inventory.of("serviceaccounts")
            if one.annotations.get(ROLE_ANNOTATION) == key
        )
        if action.name == "change_role_trust":
            return {"role": key, "service_accounts": annotated, "issuer": self.inventory.token_issuer}
        nodes = [node for node, (role, _) in self.inventory.node_roles.items() if role == key]
        instances = sorted(
            {self._instances[node] for node in nodes if node in self.reached and node in self._instances}
        )
        others = [
            account
            for account, roles in self.inventory.service_account_roles.items()
            if key in roles and account not in annotated
        ]
        pods = sorted(
            {
                one.key
                for scope in self.scopes
                for one in scope.subjects.values()
                if one.kind == "pod"
                and one.certainty == "affected"
                and one.thing
                and one.thing.service_account in others
            }
        )
        used = [
            one.session
            for scope in self.scopes
            for one in scope.sessions
            if one.certainty == "affected" and one.session.role == key
        ]
        of_instances = {instance_of(one.session or "") for one in used}
        instances = sorted({*instances, *(of_instances - {""})}) if "" not in of_instances else []
        by_pod = bool(pods) and not annotated and not nodes
        return {"role": key, "instances": [] if annotated or others else instances, "pods": pods if by_pod else []}

    def _of_image(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        found = _ECR.fullmatch(key)
        ran = set[str]()
        for pod in self.inventory.pods:
            for status in dicts_of(dict_of(pod.body.get("status")).get("containerStatuses")):
                if status.get("image") == key and "@sha256:" in str(status.get("imageID")):
                    ran.add("sha256:" + str(status["imageID"]).rpartition("sha256:")[2])
        # Of another account's registry, AWS's own among them, nothing is yours to keep or delete.
        parts = found.groupdict() if found and found["account"] == self.account else {}
        digests = sorted({*ran, *([parts["digest"]] if parts.get("digest") else [])})
        return {
            "image": key,
            "registry_account": parts.get("account"),
            "region": parts.get("region"),
            "repository": parts.get("repository"),
            "tag": parts.get("tag"),
            "digests": digests,
        }

    def _of_cluster(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        return {"keep": list(self.keep) if self.keep is not None else None}

    def _of_object(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        if action.name in ("restore_objects", "revert_changes"):
            return self._of_lost(key)
        if thing is None:
            resource, _, rest = key.partition("/")
            namespace, _, name = rest.rpartition("/")
            return {"resource": resource, "namespace": namespace or None, "name": name, "uid": None, "expected": {}}
        made: dict[str, Any] = {
            "resource": thing.resource,
            "namespace": thing.namespace,
            "name": thing.name,
            "uid": thing.uid,
        }
        subjects = dicts_of(thing.body.get("subjects"))
        if action.name == "keep_objects":
            return made
        if thing.resource not in BOUND:
            return made | {"expected": {}}
        if action.name == "remove_role_binding":
            known = {name: thing.body[name] for name in ("subjects", "roleRef") if name in thing.body}
            return made | {"expected": known}
        remove = {
            "remove_anonymous_access": [one for one in subjects if one.get("name") in ANONYMOUS],
            "drop_default_account_rights": [one for one in subjects if _gives_default_accounts(one)],
        }.get(action.name, self._subjects_of_hostile(thing))
        return made | {"subjects": subjects, "remove": remove}

    def _of_lost(self, key: str) -> dict[str, Any]:
        """What was deleted or changed. body: as it was when it was deleted, None of what others make (pods) or of what holds a secret."""
        resource, _, rest = key.partition("/")
        namespace, _, name = rest.rpartition("/")
        named = self.inventory.named(resource, namespace or None, name)
        deleted = ("deleted", key) in self._affected and ("changed", key) not in self._affected
        body = (
            named[-1].body
            if named and deleted and resource not in ("pods", "secrets") and named[-1].standing is False
            else None
        )
        kind = KINDS.get(resource)
        whole = {"apiVersion": kind.api_version, "kind": kind.kind} | body if body and kind else None
        return {
            "kind": "deleted" if deleted else "changed",
            "resource": resource,
            "namespace": namespace or None,
            "name": name,
            "uid": None,
            "body": whole,
        }

    def _impossible(self, action: Action, target: Target) -> str:
        """Why an action cannot be done to a thing of this kind, "" when it can."""
        known = target.parameters
        if target.kind == "pod" and action.name in _ON_USED_PODS and target.key not in self._used_pods:
            return "it is what was hit, not what was used: no playbook of its findings isolates or deletes it"
        if action.name == "withdraw_pod" and not known["labels"]:
            return f"Service {few(known['services'], 2)} selects on labels that its owner selects on too: it keeps sending to it"
        if target.kind == "token" and self.is_unbound(target.key) is None:
            return "the attacker minted a token of it, and no evidence tells whether it is bound to a pod: if not, it lives until it expires, and only making the account anew, after which all its pods restart, ends it"
        if target.kind == "pod" and action.name in ("isolate_pod", "capture_container"):
            if known.get("host_network") and action.name == "isolate_pod":
                return "it is on its node's network, where no network policy reaches it: a quarantine of its node alone cuts it off"
            node = str(known.get("node") or "")
            if node and kind_of(node, self._thing_at(f"nodes/{node}")) == FARGATE:
                return "it runs on Fargate, which enforces no network policy and has no kubelet of yours: its security group and its deletion are what is left"
        if target.kind == "node" and action.name == "revoke_role_sessions":
            if not known["role"] or not known["instances"]:
                return f"its credential was in reach, and no evidence names its {'instance' if known['role'] else 'role'}: it lives until it expires; denying all sessions of a node role stops every node that has it"
        elif target.kind == "node":
            if action.destroys_node and target.key in self.unclear:
                return self.unclear[target.key]
            kind = known["node_kind"]
            words = WORDS[kind]
            if kind == FARGATE:
                return f"{words}: what can be done is done to its pod"
            if kind == HYBRID and action.name in (*_NODE_ONLY_EC2, "terminate_node"):
                return f"{words}: keep it, cut it off and switch it off where it stands"
            if kind == AUTO and action.name == "quarantine_node":
                return f"{words}: AWS forbids changing its network interfaces; cordon it and take its pods off"
            if known["instance_id"] is None and action.name in _NODE_ONLY_EC2:
                return f"{words}, and no evidence names its instance: add `aws ec2 describe-instances` or `kubectl get nodes -o json`"
        if target.kind == "identity" and action.name == "remove_cluster_access" and not known["arn"]:
            return "no evidence names the IAM role or user behind it"
        if target.kind in ("image", "introduced") and action.name == "block_image" and not known["repository"]:
            return "it is in no registry of yours: deny it by an admission rule (docs/actions.md) and at your registry's proxy"
        within_reach = "it was only within reach: this would stop all pods that use it, and its sessions come anew as long as its tokens do; look whether it was used (CloudTrail), and decide"
        if action.name == "change_role_trust" and not self._is_role_used(target.key, known["service_accounts"]):
            return within_reach
        if action.name == "revoke_role_sessions" and not (known["instances"] or known["pods"]):
            accounts = [
                account for account, roles in self.inventory.service_account_roles.items() if target.key in roles
            ]
            nodes = [node for node, (role, _) in self.inventory.node_roles.items() if role == target.key]
            if (accounts or nodes) and not self._is_role_used(target.key, accounts):
                return within_reach
            if nodes:
                return f"{counted(len(nodes), 'node')} sign in with it, and no evidence tells from which instance alone the attacker's sessions came: denying all its sessions stops image pulls and the network of new pods on every one of them; decide"
        if action.name == "remove_pod_identity" and target.key not in self._hostile_accounts:
            roles = self.inventory.service_account_roles.get(target.key, {})
            return "" if self._used_roles & roles.keys() else within_reach
        return ""

    def _is_role_used(self, role: str, accounts: Names) -> bool:
        return role in self._used_roles or bool(self._hostile_accounts & set(accounts))

    def _has_pod_identity(self, account: str) -> bool:
        return any(grant.by_pod_identity for grant in self.inventory.service_account_roles.get(account, {}).values())


def checked_addresses(addresses: Names) -> tuple[str, ...]:
    """CIDRs that an endpoint may stay open for, in their canonical form. Raises CallError for what is none, or for the whole internet."""
    found = set[str]()
    for one in addresses:
        try:
            network = ipaddress.ip_network(one.strip())
        except ValueError as error:
            raise CallError(str(error), where="--keep-address", next="give a CIDR, such as 203.0.113.7/32") from None
        if network.prefixlen < 8:
            raise CallError(
                f"{network} is most of the internet", where="--keep-address", next="give your own addresses"
            )
        found.add(str(network))
    return tuple(sorted(found))


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


def _gives_default_accounts(one: dict[str, Any]) -> bool:
    """Whether a subject is a default service account, or a group that every service account is in."""
    name = str(one.get("name"))
    if one.get("kind") == "ServiceAccount":
        return name == "default"
    return one.get("kind") == "Group" and (name == "system:authenticated" or name.startswith(ACCOUNT_GROUP))
