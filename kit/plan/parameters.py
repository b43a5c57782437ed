"""What an action needs to know of each thing that it is done to."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import orjson

from kit.actions.action import Action, Target
from kit.identities.way import ANONYMOUS
from kit.inventory.node_kind import kind_of
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of
from kit.model.identity import instance_of
from kit.model.kubernetes import ACCOUNT_GROUP, BOUND, KINDS, ROLE_ANNOTATION
from kit.model.why import Why
from kit.plan.compromised import Compromised

OF_ANSWERS = {
    "anonymous_binding": "anonymous_access",
    "default_binding": "default_accounts_with_rights",
    "exposed": "exposed_services",
}
"""Kind of target → the question whose rows name them."""
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Parameters:
    """The targets of one case with what their actions need to know of them."""

    def __init__(
        self,
        held: Compromised,
        place: tuple[str | None, str | None, str | None],
        keep: tuple[str, ...] | None,
    ) -> None:
        """place: account, region, cluster. keep: CIDRs that the cluster's endpoint stays open for, () for none, None when nobody has said."""
        self.held, self.keep = held, keep
        self.account, self.region, self.cluster = place
        self.scopes, self.inventory, self.store = held.scopes, held.inventory, held.store

    def thing_at(self, path: str) -> Thing | None:
        """The object at a path that stands, the last of that name."""
        resource, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        named = [one for one in self.inventory.named(resource, namespace or None, name) if one.standing is not False]
        return named[-1] if named else None

    def target(self, action: Action, kind: str, key: str, thing: Thing | None) -> Target:
        """A thing as the target of an action."""
        instance = self.instances.get(key) if kind == "node" else None
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
            return self.held.reached.get(key, ())
        if kind in ("cluster", "used_binding"):
            named = {str(one.get("name")) for one in dicts_of(thing.body.get("subjects"))} if thing else set()
            hostile = [one for scope in self.scopes for one in self.held.hostile(scope)]
            whys = [
                self.held.first_call(one)
                for one in hostile
                if not thing or {one.identity.user_name, one.identity.user_name.rpartition(":")[2]} & named
            ]
            return tuple(dict.fromkeys(whys))[:3]
        return tuple(thing.why[:1]) if thing and kind in OF_ANSWERS else ()

    @cached_property
    def instances(self) -> dict[str, str]:
        """Node → its EC2 instance."""
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
            "made_by_attacker": self.held.is_made_by_attacker(thing),
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
        node = self.thing_at(f"nodes/{key}")
        return {
            "node": key,
            "uid": node.uid if node and node.body else None,
            "instance_id": self.instances.get(key),
            "node_kind": kind_of(key, node),
            "affected_pods": sorted(pod.uid for pod in self.held.things_of_used_pods if pod.node == key),
            "group": self._groups.get(self.instances.get(key, "")),
            "region": self.region,
            "account": self.account,
        }

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
        profiles = [one for scope in self.scopes for one in self.held.hostile(scope) if one.identity.user_name == key]
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
        hostile = {"hostile": self.held.hostile_principals} if action.name == "remove_cluster_access" else {}
        return (
            {"user_name": key, "arn": identity.role, "access_key_ids": keys}
            | hostile
            | ({"sessions": sessions} if action.name == "end_sign_in" else {})
        )

    def _of_account(self, action: Action, key: str, thing: Thing | None) -> dict[str, Any]:
        namespace, _, name = key.partition("/")
        account = self.thing_at(f"serviceaccounts/{key}")
        more = {"recreate": self.held.is_unbound(key) is True} if action.name == "end_service_account_tokens" else {}
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
            {self.instances[node] for node in nodes if node in self.held.reached and node in self.instances}
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
        deleted = ("deleted", key) in self.held.affected and ("changed", key) not in self.held.affected
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
