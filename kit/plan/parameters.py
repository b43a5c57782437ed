"""What an action needs to know of each thing that it is done to."""

from __future__ import annotations

import re
from datetime import UTC
from functools import cached_property
from typing import Any

import orjson

from kit.actions.action import Action
from kit.actions.target import (
    AccountOfTokens,
    AccountParameters,
    AdmittedPrincipal,
    ClusterCreator,
    EditedBinding,
    EndpointParameters,
    ExpectedObject,
    ForeignRole,
    ImageParameters,
    LostObject,
    MadeObject,
    NodeEvidence,
    NodeParameters,
    ObjectParameters,
    Parameters,
    PodParameters,
    PrincipalParameters,
    RoleSessions,
    SecretParameters,
    ServedPod,
    SignedInPrincipal,
    Target,
    TargetSource,
    TrustedRole,
)
from kit.attribution.deeds import path_of
from kit.identities.revocation import not_from_here
from kit.inventory.node_kind import node_kind_of
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of
from kit.model.arn import instance_of
from kit.model.identity import NOT_SIGNED_IN
from kit.model.kinds import SubjectName
from kit.model.kubernetes import ACCOUNT_GROUP, BOUND, ROLE_ANNOTATION
from kit.model.why import Why
from kit.plan.compromised import Compromised
from kit.plan.put_back import put_back
from kit.plan.secret_uses import SecretUsers
from kit.plan.whole_object import WholeObject, whole_before
from kit.scope.profile import principal_behind

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_WRITES = ("update", "patch", "delete")


class Knowledge:
    """The targets of one case with what their actions need to know of them."""

    def __init__(
        self,
        held: Compromised,
        place: tuple[str | None, str | None, str | None],
        keep: tuple[str, ...] | None,
        evidence_account: str,
    ) -> None:
        """place: account, region, cluster. keep: CIDRs that the cluster's endpoint stays open for, () for none, None when nobody has said.
        evidence_account: the account that gets the evidence, "" for none."""
        self.held, self.keep, self.evidence_account = held, keep, evidence_account
        self.account, self.region, self.cluster = place
        self.scopes, self.inventory, self.store = held.scopes, held.inventory, held.store

    def target(
        self, action: Action, kind: SubjectName | TargetSource, key: str, thing: Thing | None, why: tuple[Why, ...] = ()
    ) -> Target:
        """A thing as the target of an action. why: what weighs most, where its kind does not tell."""
        made = self._made(action, kind, key, thing)
        instance = self.instances.get(key) if kind == "node" else None
        return Target(kind, key, thing, self.cluster, instance, made, why or self._why(kind, key, thing))

    def _made(self, action: Action, kind: SubjectName | TargetSource, key: str, thing: Thing | None) -> Parameters:
        match kind:
            case "pod" if thing:
                return self._of_pod(action, thing)
            case "node":
                return self._of_node(action, key)
            case "identity":
                return self._of_identity(action, key)
            case "iam_role" if action.needs is ForeignRole:
                return ForeignRole(key, not_from_here(key, self.account))
            case "iam_role":
                return self._of_role(action, key)
            case "token":
                return AccountOfTokens(**vars(self._of_account(key)), recreate=self.held.is_unbound(key) is True)
            case "service_account":
                return self._of_account(key)
            case "image" | "introduced":
                return self._of_image(key)
            case "cluster":
                return EndpointParameters(list(self.keep) if self.keep is not None else None)
            case "deleted":
                return self._of_lost(key)
            case "changed":
                return put_back(self.store, thing, key, self.held.scope.attacker.calls.keys())
            case "secret" | "reachable":
                return self._of_secret(key, thing)
            case _:
                return self._of_object(action, kind, key, thing)

    def _why(self, kind: SubjectName | TargetSource, key: str, thing: Thing | None) -> tuple[Why, ...]:
        """The reasons that weigh most for an action on a thing, before those of the scope."""
        if kind == "node":
            return self.held.reached.get(key, ())
        if kind == "deleted":
            whole = self._whole_of(key)
            return (whole.why,) if whole else ()
        if kind in ("cluster", "used_binding"):
            named = {str(one.get("name")) for one in dicts_of(thing.body.get("subjects"))} if thing else set()
            hostile = [one for scope in self.scopes for one in self.held.hostile(scope)]
            whys = [
                self.held.first_call(one)
                for one in hostile
                if not thing or {one.identity.user_name, one.identity.user_name.rpartition(":")[2]} & named
            ]
            return tuple(dict.fromkeys(whys))[:3]
        return ()

    @cached_property
    def instances(self) -> dict[str, str]:
        """Node → its EC2 instance."""
        return {node: instance for instance, node in self.inventory.node_of_instance.items()}

    def _of_pod(self, action: Action, pod: Thing) -> PodParameters:
        made = PodParameters(
            resource="pods",
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            node=pod.node,
            containers=[str(one.get("name")) for one in pod.containers],
            host_network=bool(pod.spec.get("hostNetwork")),
            made_by_attacker=self.held.is_made_by_attacker(pod),
        )
        if action.needs is not ServedPod:
            return made
        labels, services = self._service_labels(pod)
        return ServedPod(**vars(made), labels=labels, services=services)

    def _service_labels(self, pod: Thing) -> tuple[dict[str, str], list[str]]:
        """Labels of a pod that a Service selects on and its owner does not: without them no traffic comes, and its owner keeps it. And the
        Services that select on nothing but what the owner selects on."""
        kept = set[str]()
        for owner in self.inventory.owners(pod):
            for workload in self.inventory.named(owner.resource, pod.namespace, owner.name):
                kept |= dict_of(dict_of(workload.spec.get("selector")).get("matchLabels")).keys()
        chosen, stuck = dict[str, str](), list[str]()
        for service, selector in self.inventory.services_of(pod):
            free = {label: value for label, value in selector.items() if label not in kept}
            chosen |= free
            stuck += [] if free else [f"{service.namespace}/{service.name}"]
        return dict(sorted(chosen.items())), sorted(stuck)

    def _of_node(self, action: Action, name: str) -> NodeParameters:
        node = self.held.thing_at(f"nodes/{name}")
        made = NodeParameters(
            node=name,
            uid=node.uid if node and node.body else None,
            instance_id=self.instances.get(name),
            node_kind=node_kind_of(name, node),
            affected_pods=sorted(pod.uid for pod in self.held.things_of_used_pods if pod.node == name),
            group=self._groups.get(self.instances.get(name, "")),
            region=self.region,
            account=self.account,
        )
        return (
            NodeEvidence(**vars(made), evidence_account=self.evidence_account) if action.needs is NodeEvidence else made
        )

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

    def _of_identity(self, action: Action, user_name: str) -> Parameters:
        profiles = [
            one for scope in self.scopes for one in self.held.hostile(scope) if one.identity.user_name == user_name
        ]
        identity = profiles[0].identity
        if identity.service_account:
            return self._made(action, "token", identity.service_account, None)
        keys = sorted(
            {
                one.key
                for each in profiles
                for one in each.credentials
                if one.kind == "access_key" and one.hostile and one.key.startswith("AKIA")
            }
        )
        if action.needs in (AdmittedPrincipal, ClusterCreator):
            arn = next((found for found in map(principal_behind, profiles) if found), None)
            admitted = AdmittedPrincipal(user_name, arn, keys, self.held.hostile_principals)
            return (
                ClusterCreator(**vars(admitted), mode=self.held.access_mode)
                if action.needs is ClusterCreator
                else admitted
            )
        if action.needs is not SignedInPrincipal:
            return PrincipalParameters(user_name, identity.role, keys)
        sessions = {one.asked_by or one.session or one.access_key_id for each in profiles for one in each.chain}
        return SignedInPrincipal(user_name, identity.role, keys, sorted(sessions))

    def _of_account(self, key: str) -> AccountParameters:
        namespace, _, name = key.partition("/")
        account = self.held.thing_at(f"serviceaccounts/{key}")
        return AccountParameters(namespace, name, account.uid if account and account.body else None)

    def _of_role(self, action: Action, key: str) -> Parameters:
        """Who uses the role: the narrowest that ends the attacker's sessions and no other's is by instance or by pod."""
        annotated = sorted(
            f"{one.namespace}/{one.name}"
            for one in self.inventory.of("serviceaccounts")
            if one.annotations.get(ROLE_ANNOTATION) == key
        )
        if action.needs is TrustedRole:
            return TrustedRole(key, annotated, self.inventory.token_issuer)
        nodes = [node for node, (role, _) in self.inventory.node_roles.items() if role == key]
        instances = sorted(
            {self.instances[node] for node in nodes if node in self.held.reached and node in self.instances}
        )
        others = [
            account
            for account, roles in self.inventory.service_account_roles.items()
            if key in roles and account not in annotated
        ]
        pods = sorted(
            {pod.key for pod in self.held.index.affected("pod") if pod.thing and pod.thing.service_account in others}
        )
        used = [
            one.session
            for scope in self.scopes
            for one in scope.sessions
            if one.certainty == "affected" and one.session.role == key
        ]
        of_instances = {instance_of(one.session or "") for one in used}
        instances = sorted({*instances, *(of_instances - {""})}) if "" not in of_instances else []
        tagged = all(self.inventory.service_account_roles[account][key].is_tagged for account in others)
        by_pod = bool(pods) and tagged and not annotated and not nodes
        return RoleSessions(key, [] if annotated or others else instances, pods if by_pod else [])

    def _of_image(self, key: str) -> ImageParameters:
        found = _ECR.fullmatch(key)
        ran = set[str]()
        for pod in self.inventory.pods:
            asked = {str(one.get("name")): one.get("image") for one in pod.containers}
            for status in pod.statuses:
                is_it = key in (status.get("image"), asked.get(str(status.get("name"))))
                if is_it and "@sha256:" in str(status.get("imageID")):
                    ran.add("sha256:" + str(status["imageID"]).rpartition("sha256:")[2])
        # Of another account's registry, AWS's own among them, nothing is yours to keep or delete.
        parts = found.groupdict() if found and found["account"] == self.account else {}
        digests = sorted({*ran, *([parts["digest"]] if parts.get("digest") else [])})
        return ImageParameters(
            image=key,
            registry_account=parts.get("account"),
            region=parts.get("region"),
            repository=parts.get("repository"),
            tag=parts.get("tag"),
            digests=digests,
        )

    def _of_secret(self, key: str, thing: Thing | None) -> SecretParameters:
        namespace, _, name = key.partition("/")
        used = self._users.of(key)
        uid = thing.uid if thing and thing.body else None
        return SecretParameters("secrets", namespace, name, uid, used.keys, used.restart)

    @cached_property
    def _users(self) -> SecretUsers:
        return SecretUsers(self.store, self.inventory)

    def _of_object(
        self, action: Action, kind: SubjectName | TargetSource, key: str, thing: Thing | None
    ) -> ObjectParameters:
        if thing is None:
            resource, _, rest = key.partition("/")
            namespace, _, name = rest.rpartition("/")
            uid, made_at = self.held.making_of(key) if kind == "created" else (None, None)
            made_at_second = f"{made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if made_at else None
            return MadeObject(resource, namespace or None, name, uid, {}, made_at_second)
        made = ObjectParameters(thing.resource, thing.namespace, thing.name, thing.uid)
        if action.reads_only:
            return made
        if thing.resource not in BOUND:
            return ExpectedObject(**vars(made), expected={})
        subjects = dicts_of(thing.body.get("subjects"))
        remove = {
            "anonymous_binding": [one for one in subjects if one.get("name") in NOT_SIGNED_IN],
            "default_binding": [one for one in subjects if _gives_default_accounts(one)],
            "used_binding": self._subjects_of_hostile(thing),
        }
        if kind in remove:
            return EditedBinding(**vars(made), subjects=subjects, remove=remove[kind])
        expected: dict[str, Any] = {name: thing.body[name] for name in ("subjects", "roleRef") if name in thing.body}
        return ExpectedObject(**vars(made), expected=expected)

    def _of_lost(self, key: str) -> LostObject:
        """What was deleted. body: all of it as it was before, None of what stands and where no evidence has that."""
        resource, _, rest = key.partition("/")
        namespace, _, name = rest.rpartition("/")
        whole = self._whole_of(key)
        return LostObject("deleted", resource, namespace or None, name, None, whole.body if whole else None)

    def _whole_of(self, key: str) -> WholeObject | None:
        """An object that the attacker deleted as it stood before the attacker wrote to it; None where it stands, or no evidence has all of it."""
        resource, _, rest = key.partition("/")
        namespace, _, name = rest.rpartition("/")
        named = self.inventory.named(resource, namespace or None, name)
        if ("deleted", key) not in self.held.affected or (named and named[-1].standing is True):
            return None
        calls = (call.event for call in self.held.scope.attacker.calls.values())
        written = [event["received_at"] for event in calls if path_of(event) == key and event["verb"] in _WRITES]
        before = min(written, default=named[-1].deleted_at if named else None)
        known = named[-1].uid if named and named[-1].body else None
        return whole_before(self.store, resource, namespace or None, name, known, before)

    def _subjects_of_hostile(self, binding: Thing) -> list[dict[str, Any]]:
        names = {one.identity.user_name: one.identity for scope in self.scopes for one in self.held.hostile(scope)}
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


def _gives_default_accounts(one: dict[str, Any]) -> bool:
    """Whether a subject is a default service account, or a group that every service account is in."""
    name = str(one.get("name"))
    if one.get("kind") == "ServiceAccount":
        return name == "default"
    return one.get("kind") == "Group" and (name == "system:authenticated" or name.startswith(ACCOUNT_GROUP))
