"""What existed in the cluster, and when: objects with their lifetimes, from the cluster dump and the audit log together."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from kit.inventory import cloud
from kit.inventory.cloud import RoleGrant
from kit.inventory.lives import lives
from kit.inventory.network_policies import PolicyFacts, policy_facts
from kit.inventory.node_facts import Budget, NodeFacts, budgets, node_facts
from kit.inventory.thing import Thing
from kit.lenient import dict_of, json_of, list_of
from kit.model.arn import principal_of
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.kubernetes import ACCOUNT_GROUP, WORKLOADS, plural
from kit.model.why import Why
from kit.store.store import Store
from kit.words import Names


class Owner(NamedTuple):
    """A controller above an object. uid: None when it is not told. sure: whether it is known to be this one."""

    resource: str
    name: str
    uid: str | None
    sure: bool


class Inventory:
    """The objects that the evidence shows, of the kinds in kit.model.kubernetes.FOLLOWED. Read once, then asked."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def things(self) -> dict[str, Thing]:
        """Every object by uid."""
        return lives(self.store, self.is_dumped)

    @cached_property
    def _dumped(self) -> dict[str, set[str]]:
        """Resource → the namespaces of which the dump has objects."""
        found = defaultdict[str, set[str]](set)
        for row in self.store.rows(
            "SELECT DISTINCT resource, coalesce(namespace, '') AS namespace FROM objects WHERE uid IS NOT NULL"
            " AND NOT starts_with(api_version, 'aws:') AND NOT (resource = 'configmaps' AND name = 'aws-auth')"  # asked for by itself
        ):
            found[row["resource"]].add(row["namespace"])
        return found

    def is_dumped(self, resource: str, namespace: str | None) -> bool:
        """Whether the dump would have an object of this resource and namespace. One that has a single namespace's may have
        been taken of that namespace alone, and a namespace may have been left out."""
        namespaces = self._dumped.get(resource, set())
        if (namespace or "") in namespaces:
            return True
        return len(namespaces) > 1 and not (namespace and self._is_left_out(namespace))

    def _is_left_out(self, namespace: str) -> bool:
        """Whether a namespace was there when the dump was taken, or may have been, and the dump has nothing of it, not even the service
        account that each has."""
        if self.has_namespace(namespace) or "serviceaccounts" not in self._dumped:
            return False
        return namespace in self._listed if self._listed else namespace not in self._ended

    @cached_property
    def _listed(self) -> set[str]:
        """The namespaces that the dump lists."""
        rows = self.store.rows("SELECT DISTINCT name FROM objects WHERE resource = 'namespaces'")
        return {row["name"] for row in rows}

    @cached_property
    def _ended(self) -> set[str]:
        """The namespaces whose deletion was asked for in the log."""
        rows = self.store.rows(
            "SELECT DISTINCT name FROM audit WHERE resource = 'namespaces' AND verb = 'delete'"
            " AND response_code BETWEEN 200 AND 299 AND NOT dry_run AND name IS NOT NULL"
        )
        return {row["name"] for row in rows}

    @property
    def has_dump(self) -> bool:
        """Whether there is a cluster dump at all."""
        return bool(self._dumped)

    def has_namespace(self, namespace: str) -> bool:
        """Whether the dump has anything of a namespace; each has a service account at least."""
        return any(namespace in namespaces for namespaces in self._dumped.values())

    @cached_property
    def kubernetes_version(self) -> str | None:
        """The version of Kubernetes: of the described cluster, else of a node; None where no evidence has it."""
        for kind, path in (("Cluster", ("version",)), ("Node", ("status", "nodeInfo", "kubeletVersion"))):
            for row in self.store.rows(
                "SELECT object FROM objects WHERE kind = $kind ORDER BY file, item LIMIT 1", kind=kind
            ):
                value = json_of(row["object"])
                for name in path:
                    value = dict_of(value).get(name)
                if isinstance(value, str):
                    return value
        return None

    def of(self, *resources: str) -> list[Thing]:
        """The objects of some resources (plural names), oldest first."""
        found = [thing for thing in self.things.values() if thing.resource in resources]
        return sorted(found, key=_age)

    def alone(self, resource: str) -> list[Thing]:
        """The objects of one resource as `of` has them, but for what was different before: the others' lives are not worked out for it."""
        known = self.__dict__.get("things")
        if known is None:
            known = lives(self.store, self.is_dumped, (resource,), with_earlier=False)
        return sorted((thing for thing in known.values() if thing.resource == resource), key=_age)

    @cached_property
    def pods(self) -> list[Thing]:
        """All pods that the evidence shows."""
        return self.of("pods")

    def at(self, time: datetime) -> list[Thing]:
        """What existed at a moment (UTC); what has no known birth or death is taken to have existed."""
        return [
            thing
            for thing in self.things.values()
            if (thing.created_at is None or thing.created_at <= time)
            and (thing.deleted_at is None or thing.deleted_at > time)
        ]

    def owners(self, thing: Thing) -> list[Owner]:
        """The controllers above an object, the nearest first.

        A replica set whose body is in no evidence belongs to the Deployment that its name has before the hash (`web-5d9f89f56`: `web`), which
        is sure when one Deployment alone had that name when the pod was made.
        """
        chain = list[Owner]()
        present: Thing | None = thing
        while present is not None and len(chain) < 8:
            references = list_of(dict_of(present.body.get("metadata")).get("ownerReferences"))
            owner = next((dict_of(one) for one in references if dict_of(one).get("controller")), None)
            if owner is None:
                break
            kind, name, uid = str(owner.get("kind")), str(owner.get("name")), str(owner.get("uid"))
            chain.append(Owner(WORKLOADS.get(kind, plural(kind)), name, uid, True))
            hashes = [labels.get("pod-template-hash") for labels in present.labels_ever]
            above = self.things.get(uid)
            if kind == "ReplicaSet" and (above is None or not above.body):
                named = [name.removesuffix(f"-{one}") for one in hashes if one and name.endswith(f"-{one}")]
                chain += [self._deployment_above(present, one) for one in named[:1]]
            present = above
        return chain

    def _deployment_above(self, pod: Thing, name: str) -> Owner:
        """The Deployment of a name that there was when a pod was made, as its owner; not sure when there were several, or none is known."""
        then = [
            one
            for one in self.named("deployments", pod.namespace, name)
            if pod.created_at is None
            or (
                (one.created_at is None or one.created_at <= pod.created_at)
                and (one.deleted_at is None or one.deleted_at >= pod.created_at)
            )
        ]
        return Owner("deployments", name, then[0].uid if len(then) == 1 else None, len(then) == 1)

    def is_among(self, pod: Thing, paths: Names) -> bool:
        """Whether a pod, or a workload that it belongs to, is among objects (resource/namespace/name)."""
        above = (f"{owner.resource}/{pod.namespace}/{owner.name}" for owner in self.owners(pod))
        return any(path in paths for path in (pod.path, *above))

    def services_of(self, pod: Thing) -> list[tuple[Thing, dict[str, str]]]:
        """Services that stand, or may, and select a pod, each with its selector."""
        found = []
        for service in self.of("services"):
            selector = dict_of(service.spec.get("selector"))
            if (
                selector
                and service.standing is not False
                and service.namespace == pod.namespace
                and selector.items() <= pod.labels.items()
            ):
                found.append((service, selector))
        return found

    @cached_property
    def _owned(self) -> dict[tuple[str, str | None, str], list[tuple[Thing, str | None, bool]]]:
        """Resource, namespace and name of a workload → the pods below it, each with the workload's uid and whether it is sure."""
        found = defaultdict[tuple[str, str | None, str], list[tuple[Thing, str | None, bool]]](list)
        for pod in self.pods:
            for owner in self.owners(pod):
                found[(owner.resource, pod.namespace, owner.name)].append((pod, owner.uid, owner.sure))
        return found

    def owner_uid(self, pod: Thing, resource: str, name: str | None) -> str | None:
        """The uid of the workload of that name above a pod; None when it is not told."""
        return next((owner.uid for owner in self.owners(pod) if (owner.resource, owner.name) == (resource, name)), None)

    def pods_of_workload(
        self, resource: str, namespace: str | None, name: str | None, uid: str | None
    ) -> list[tuple[Thing, bool]]:
        """The pods that a workload ever owned, each with whether that is sure. uid decides where it is known."""
        if uid is not None and uid in self.things:
            known = self.things[uid]
            resource, namespace, name = known.resource, known.namespace, known.name
        return [
            (pod, sure and bool(above))
            for pod, above, sure in self._owned.get((resource, namespace, name or ""), [])
            if not (uid and above) or above == uid
        ]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str | None, str | None], list[Thing]]:
        found = defaultdict[tuple[str, str | None, str | None], list[Thing]](list)
        for thing in self.things.values():
            found[(thing.resource, thing.namespace or None, thing.name)].append(thing)
        return found

    def named(self, resource: str, namespace: str | None, name: str | None) -> list[Thing]:
        """All objects that ever had this name, oldest first; more than one when the name came back."""
        return sorted(self._by_name.get((resource, namespace or None, name), []), key=_age)

    def at_path(self, path: str, at: datetime) -> list[Thing]:
        """The objects of a path (resource/namespace/name) that existed in the second of a moment."""
        resource, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        return [one for one in self.named(resource, namespace, name) if one.existed_at(at)]

    def pods_on(self, node: str, lives: list[Thing]) -> list[tuple[Thing, bool]]:
        """The pods of a node in some of the lives of its name, each with whether that is sure: a pod that overlaps another life too may
        be of that one."""
        others = [one for one in self.named("nodes", None, node) if one not in lives]
        on_it = [pod for pod in self.pods if pod.node == node]
        if not lives or not others:
            return [(pod, True) for pod in on_it]
        return [(pod, not _overlaps(pod, others)) for pod in on_it if _overlaps(pod, lives)]

    @cached_property
    def node_of_instance(self) -> dict[str, str]:
        """EC2 instance id → node name."""
        return cloud.node_of_instance(self.store, self.of("nodes"))

    @cached_property
    def node_facts(self) -> dict[str, NodeFacts]:
        """Node name → what is known of its machine, for the nodes of the dump."""
        return node_facts(self.store, self.node_of_instance)

    @cached_property
    def policy_facts(self) -> PolicyFacts:
        """What the dump says of who enforces network policies."""
        return policy_facts(self.store, self.is_dumped)

    @cached_property
    def budgets(self) -> list[Budget]:
        """The disruption budgets of the dump."""
        return budgets(self.store)

    @cached_property
    def node_roles(self) -> dict[str, tuple[str, Why]]:
        """Node name → the IAM role that its kubelet signed in with."""
        found = cloud.node_roles(self.store)
        return {node: (self.full_arn(role) or role, why) for node, (role, why) in found.items()}

    @cached_property
    def _full_arns(self) -> dict[tuple[str, str, str], str]:
        return cloud.full_arns(self.store)

    def full_arn(self, arn: str | None) -> str | None:
        """An ARN of a role or user with the path that other evidence has of it; any other as it stands."""
        principal = principal_of(arn)
        return self._full_arns.get(principal, arn) if principal else arn

    @cached_property
    def service_account_roles(self) -> dict[str, dict[str, RoleGrant]]:
        """namespace/name of a service account → IAM roles that it may take on, each with the evidence."""
        return cloud.service_account_roles(
            self.store, self.of("serviceaccounts"), self.pods, self.cluster, self.token_issuer
        )

    @cached_property
    def cluster(self) -> str | None:
        """Name of the cluster that the evidence is from; None where none says."""
        return cloud.cluster_of(self.store)

    @cached_property
    def token_issuer(self) -> str | None:
        """The cluster's OIDC issuer without its scheme; None where no evidence says."""
        return cloud.token_issuer(self.store)

    @cached_property
    def accounts(self) -> set[str]:
        """namespace/name of every service account that the evidence shows, itself or through a pod."""
        named = {f"{thing.namespace}/{thing.name}" for thing in self.of("serviceaccounts")}
        return named | {pod.service_account for pod in self.pods if pod.service_account}

    def bound_accounts(self, binding: Thing) -> list[str]:
        """namespace/name of the service accounts that a role binding named at any time, itself or through a group of theirs."""
        found = dict[str, None]()
        for body in binding.ever:
            for bound in list_of(body.get("subjects")):
                one = dict_of(bound)
                name = str(one.get("name", ""))
                if one.get("kind") == "ServiceAccount":
                    found[f"{one.get('namespace') or binding.namespace}/{name}"] = None
                elif one.get("kind") == "User" and name.startswith(SERVICE_ACCOUNT):
                    found[name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)] = None
                elif one.get("kind") == "Group" and name.startswith(ACCOUNT_GROUP):
                    namespace = name.removeprefix(ACCOUNT_GROUP).removeprefix(":")
                    members = (each for each in self.accounts if not namespace or each.startswith(f"{namespace}/"))
                    found |= dict.fromkeys(sorted(members))
        return list(found)


def _overlaps(thing: Thing, lives: list[Thing]) -> bool:
    return any(thing.existed(one.created_at, one.deleted_at) for one in lives)


def _age(thing: Thing) -> tuple[bool, str, str]:
    return thing.created_at is not None, str(thing.created_at), thing.uid
