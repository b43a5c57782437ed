"""What an identity may do by RBAC and EKS access policies, and which secrets that put in reach, whether or not they were read.

Sources: Kubernetes "Using RBAC Authorization" (rules, resourceNames, groups), "Good practices for Secrets" (who may create a pod in a
namespace may mount its secrets); EKS User Guide "Access policy permissions".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from kit.identities.way import Way
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, texts_of
from kit.model.arn import name_in
from kit.model.identity import Identity
from kit.model.kubernetes import WORKLOADS
from kit.model.refs import Ref
from kit.model.why import Why
from kit.model.window import Window
from kit.words import Names

# Those that let read secrets.
ACCESS_POLICIES = {
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSSecretReaderPolicy",
}
_READS = {"get", "list", "watch"}
_CHANGES = {"update", "patch"}
_WRITES = {"create", *_CHANGES}
_MAKERS = {"pods", *WORKLOADS.values()}
_BY_POD = {f"{of}/{into}" for of in ("pods", "*") for into in ("exec", "attach", "ephemeralcontainers")}
# Verbs that let take on rights: the group and the resources of which `*` means them too.
_TAKES_ON = {
    "impersonate": ("", {"users", "groups", "serviceaccounts"}),
    "bind": ("rbac.authorization.k8s.io", {"roles", "clusterroles"}),
    "escalate": ("rbac.authorization.k8s.io", {"roles", "clusterroles"}),
}


@dataclass(frozen=True)
class Grant:
    """A role that an identity holds through a binding. namespace: None for the whole cluster."""

    role: Thing | None
    binding: Thing
    namespace: str | None


class Rights:
    """Who may do what in the cluster, by the bindings and roles that the evidence shows."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    @cached_property
    def _bindings(self) -> list[Thing]:
        return self.inventory.of("clusterrolebindings", "rolebindings")

    def grants(self, identity: Identity, groups: Names, during: Window) -> Iterator[Grant]:
        """The roles that an identity held at any moment of a window under its name, as a service account, or through a group."""
        account = identity.service_account or ""
        for binding in self._bindings:
            if not binding.existed(during.start, during.end):
                continue
            for one in (each for body in binding.ever for each in dicts_of(body.get("subjects"))):
                kind, name = one.get("kind"), str(one.get("name"))
                holds = (
                    (kind == "User" and name == identity.user_name)
                    or (kind == "Group" and name in groups)
                    or (kind == "ServiceAccount" and f"{one.get('namespace') or binding.namespace}/{name}" == account)
                )
                if holds:
                    yield Grant(self._role(binding), binding, binding.namespace)
                    break

    def _role(self, binding: Thing) -> Thing | None:
        named_role = dict[str, Any]()
        for body in binding.ever:
            named_role = named_role or dict_of(body.get("roleRef"))
        is_local = named_role.get("kind") == "Role"
        resource, namespace = ("roles", binding.namespace) if is_local else ("clusterroles", None)
        named = self.inventory.named(resource, namespace, str(named_role.get("name")))
        return named[-1] if named else None

    def secrets_in_reach(
        self,
        identity: Identity,
        groups: Names,
        ways: Collection[Way],
        secrets: Names,
        during: Window,
    ) -> tuple[dict[str, Why], list[Thing], list[Thing]]:
        """Of secrets (namespace/name) those that an identity could have read in a window, each with the way; the bindings whose
        roles no evidence shows; and those whose roles let take on other rights. ways: its ways in, whose access policies count."""
        found, unknown, taking = dict[str, Why](), list[Thing](), list[Thing]()
        for grant in self.grants(identity, groups, during):
            if grant.role is None or "rules" not in grant.role.body:
                unknown.append(grant.binding)
                continue
            for rule in dicts_of(grant.role.body.get("rules")):
                self._add(found, rule, grant, secrets, during)
                if _takes_on_more(rule):
                    taking.append(grant.binding)
        for way in ways:
            for policy in way.policies:
                arn, _, where = policy.partition(" in ")
                name = name_in(arn)
                for secret in secrets if name in ACCESS_POLICIES else ():
                    namespace = secret.partition("/")[0]
                    if not where or any(fnmatchcase(namespace, one) for one in where.split(", ")):
                        found.setdefault(secret, Why(way.why.ref, f"access policy {name} of {way.name} lets read it"))
        if identity.kind == "node":
            for pod in self.inventory.pods:
                if pod.node == identity.node and pod.existed(during.start, during.end):
                    says = (
                        f"pod {pod.namespace}/{pod.name} uses it and ran on {identity.node}, whose kubelet may read it"
                    )
                    for name in mounted_secrets(pod):
                        found.setdefault(f"{pod.namespace}/{name}", Why(pod.why[0].ref, says))
        return found, unknown, taking

    def _add(self, found: dict[str, Why], rule: dict[str, Any], grant: Grant, secrets: Names, during: Window) -> None:
        """What one rule of a role puts in reach: by reading secrets, by making pods that mount them, by commands in pods that do."""
        groups, resources, verbs = (texts_of(rule.get(name)) for name in ("apiGroups", "resources", "verbs"))
        names, every, all_verbs = set(texts_of(rule.get("resourceNames"))), "*" in resources, "*" in verbs
        assert grant.role is not None
        role = f"{grant.role.path} through {grant.binding.path}"
        ref: Ref = (grant.binding.why or grant.role.why)[0].ref
        inside = [one for one in secrets if grant.namespace in (None, one.partition("/")[0])]
        core = "*" in groups or "" in groups
        if core and (every or "secrets" in resources) and (all_verbs or _READS & set(verbs)):
            for secret in inside:
                if not names or secret.partition("/")[2] in names:
                    found.setdefault(secret, Why(ref, f"{role} may read it"))
        # A new object has no name yet that could be compared. A pod that runs can be changed in little more than its image.
        creates = (all_verbs or "create" in verbs) and not names
        changes = all_verbs or bool(_CHANGES & set(verbs))
        makers = (_MAKERS if creates else set()) | (_MAKERS - {"pods"} if changes else set())
        if makers and (every or makers & set(resources)):
            for secret in inside:
                says = f"{role} may make pods in {secret.partition('/')[0]}, and a pod can mount it"
                found.setdefault(secret, Why(ref, says))
        into = _BY_POD | ({"pods"} if changes else set())
        if (all_verbs or {"get", *_WRITES} & set(verbs)) and (every or into & set(resources)):
            for pod in self.inventory.pods:
                if grant.namespace in (None, pod.namespace) and pod.existed(during.start, during.end):
                    says = f"{role} may run commands in pod {pod.namespace}/{pod.name}, which uses it"
                    for name in mounted_secrets(pod):
                        found.setdefault(f"{pod.namespace}/{name}", Why(ref, says))


def _takes_on_more(rule: dict[str, Any]) -> bool:
    """Whether a rule lets take on rights that it does not name: those of other identities, roles or nodes."""
    groups, resources, verbs = (set(texts_of(rule.get(name))) for name in ("apiGroups", "resources", "verbs"))
    other = any(
        verb in verbs or ("*" in verbs and {"*", group} & groups and named & resources)
        for verb, (group, named) in _TAKES_ON.items()
    )
    mints = {"*", "create"} & verbs and {"serviceaccounts/token", "*/token"} & resources
    return bool(other or mints or {"nodes/proxy", "*/proxy"} & resources)


def lets_impersonate(role: Thing) -> bool:
    """Whether a role lets call in the name of others."""
    group, named = _TAKES_ON["impersonate"]
    for rule in dicts_of(role.body.get("rules")):
        groups, resources, verbs = (set(texts_of(rule.get(name))) for name in ("apiGroups", "resources", "verbs"))
        if {"impersonate", "*"} & verbs and {"*", group} & groups and ({"*"} | named) & resources:
            return True
    return False


def mounted_secrets(pod: Thing) -> list[str]:
    """Names of the secrets that a pod mounts, has in variables, or pulls its images with."""
    volumes = dicts_of(pod.spec.get("volumes"))
    named = [dict_of(one.get("secret")).get("secretName") for one in volumes]
    sources = [each for one in volumes for each in dicts_of(dict_of(one.get("projected")).get("sources"))]
    named += [dict_of(one.get("secret")).get("name") for one in sources]
    named += [one.get("name") for one in dicts_of(pod.spec.get("imagePullSecrets"))]
    for container in pod.containers:
        variables = [dict_of(one.get("valueFrom")) for one in dicts_of(container.get("env"))]
        named += [dict_of(one.get("secretKeyRef")).get("name") for one in variables]
        named += [dict_of(one.get("secretRef")).get("name") for one in dicts_of(container.get("envFrom"))]
    return list(dict.fromkeys(str(name) for name in named if name))
