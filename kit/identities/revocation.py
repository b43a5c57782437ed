"""The steps that end an identity's access, as a person would take them.

Sources: Kubernetes "Managing Service Accounts" (what ends a token); EKS User Guide "Access entries"; EKS Best Practices, "Incident
response".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kit.identities.access import Access
from kit.identities.aws_auth_text import AWS_AUTH_SHOWN, without_mapping
from kit.identities.unbinding import named_subject, unbind
from kit.identities.way import Way
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import BY_KARPENTER, FARGATE, HELD_NODE, HYBRID, NodeKind, node_kind_of
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of
from kit.model.arn import (
    Arn,
    account_of,
    in_words,
    is_federated,
    is_of_identity_center,
    is_root,
    is_service_linked,
    partition_of,
)
from kit.model.command_line import Command, aws, kubectl
from kit.model.identity import ANONYMOUS, UNAUTHENTICATED, Identity
from kit.model.why import Why

_STARTING = ("system:public-info-viewer",)  # bound to everybody in a new cluster: health and version


@dataclass(frozen=True)
class Step:
    """One step to take access away. command: as a person would type it, None where it is done elsewhere. why: what shows the need."""

    says: str
    command: Command | None = None
    why: Why | None = None

    @property
    def line(self) -> str | None:
        """The command as one line; None where there is none, or a word of it is in no command."""
        return str(self.command) if self.command and not self.command.odd else None


@dataclass(frozen=True)
class Tokens:
    """The tokens of a service account that the attacker has or had: the pods that live ones are bound to, whether a live one is bound to
    nothing, the Secrets (namespace/name) that live ones are in, and why those that have ended did."""

    pods: tuple[Thing, ...] = ()
    unbound: bool = False
    secrets: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def revocation(
    access: Access, identity: Identity, groups: list[str], tokens: Tokens, credentials: list[str]
) -> list[Step]:
    """How an identity's access is taken away, in order. groups: those that the API server saw it with. credentials: access keys."""
    match identity.kind:
        case "anonymous":
            return list(_of_anonymous(access))
        case "service_account":
            return list(_of_account(access, identity, tokens))
        case "node":
            return list(_of_node(access.inventory, identity))
        case "iam":
            return list(_of_iam(access, identity, credentials))
        case "oidc":
            return list(_of_oidc(access, identity, groups))
        case _:
            return list(_of_control_plane(identity))


def _cut(bindings: list[Thing], whose: str, *named: tuple[str, str]) -> Iterator[Step]:
    """named: whom to take out, as of Access.bindings."""
    for binding in bindings:
        role, subjects = dict_of(binding.body.get("roleRef")), dicts_of(binding.body.get("subjects"))
        says = f"Take {whose} out of {binding.path}, which gives {role.get('kind')} {role.get('name')}"
        why = binding.why[0] if binding.why else None
        gone = [one for one in subjects if named_subject(one, binding.namespace) in named]
        place = binding.resource, binding.namespace, str(binding.name)
        yield Step(says, unbind(place, binding.uid, subjects, gone, binding.annotations), why)


def _of_anonymous(access: Access) -> Iterator[Step]:
    named = ("User", ANONYMOUS), ("Group", UNAUTHENTICATED)
    bindings = access.bindings(*named)
    yield from _cut([one for one in bindings if one.name not in _STARTING], "anonymous users", *named)
    if not bindings and not access.inventory.of("clusterrolebindings"):
        yield Step("Find what gives anonymous users rights (system:anonymous, system:unauthenticated): no evidence holds the bindings",
                   Command(("kubectl", "get", "clusterrolebindings,rolebindings", "-A", "-o", "wide")))  # fmt: skip
    yield Step(
        "Narrow the cluster's public endpoint: nobody has to sign in to be anonymous. `kit plan CASE --keep-address CIDR` has the command",
        _of_cluster(access, "describe-cluster", "name", query="cluster.resourcesVpcConfig"),
    )


def _of_account(access: Access, identity: Identity, tokens: Tokens) -> Iterator[Step]:
    account = identity.service_account or "/"
    namespace, _, name = account.partition("/")
    subjects = ("ServiceAccount", account), ("User", identity.user_name)
    yield from _cut(access.bindings(*subjects), f"service account {account}", *subjects)
    for pod in tokens.pods:
        says = f"Delete pod {pod.namespace}/{pod.name}, once captured: the token bound to it ends about a minute later"
        why = pod.why[0] if pod.why else None
        yield Step(says, kubectl("delete", "pod", pod.name, namespace), why)
    is_known = bool(tokens.pods or tokens.secrets)
    if tokens.ended and not is_known and not tokens.unbound:
        yield Step(
            f"No token has to be ended: {'; '.join(dict.fromkeys(tokens.ended))}",
        )
    elif tokens.unbound or not is_known:
        yield Step(
            "Its token is bound to no pod that the evidence shows: it lives until it expires, or until the account is deleted"
            " and made again, after which all its pods must restart",
            kubectl("delete", "serviceaccount", name, namespace),
        )
    known = {f"{one.namespace}/{one.name}": one for one in _token_secrets(access.inventory, namespace, name)}
    for secret in sorted({*known, *tokens.secrets}):
        where, _, named = secret.partition("/")
        why = known[secret].why[0] if secret in known else None
        says = f"Delete Secret {secret}: a token in a Secret does not expire"
        yield Step(says, kubectl("delete", "secret", named, where), why)
    for role, grant in access.inventory.service_account_roles.get(account, {}).items():
        if grant.by_pod_identity and grant.is_tagged:
            says = f"Deny the sessions of {role} that the attacker's pods have, by their tag; delete the Pod Identity association only if the attacker made it or minted a token of the account: without it all pods of the account stop"
        elif grant.by_pod_identity:
            says = f"Delete the Pod Identity association that gives {role}, then revoke the role's sessions"
        else:
            says = f"Change the trust policy of {role} (IRSA), then revoke its sessions: its token is judged by STS alone and outlives pod and account"
        yield Step(says, None, grant.why)


def _of_cluster(access: Access, operation: str, name: str, **options: Any) -> Command | None:
    """A command of EKS on the cluster; None where no evidence names it. name: the option that takes its name."""
    cluster = access.inventory.cluster
    return aws("eks", operation, **{name: cluster}, **options) if cluster else None


def _token_secrets(inventory: Inventory, namespace: str, name: str) -> list[Thing]:
    return [
        secret
        for secret in inventory.of("secrets")
        if secret.namespace == namespace
        and secret.standing is not False
        and secret.annotations.get("kubernetes.io/service-account.name") == name
    ]


def _of_node(inventory: Inventory, identity: Identity) -> Iterator[Step]:
    node = identity.node or ""
    kind = kind_of_node(inventory, identity)
    if kind == FARGATE:
        yield from _of_fargate(inventory, node)
        return
    instances = [instance for instance, name in inventory.node_of_instance.items() if name == node]
    yield Step(f"Cordon {node}, so that nothing new comes onto it", kubectl("cordon", "", node, None))
    yield Step("Do not take its role out of aws-auth or its access entry: all nodes of the group sign in with it")
    if kind == HYBRID or kind in BY_KARPENTER:
        yield from _without_termination(node, kind)
    for instance in instances if kind not in (HYBRID, *BY_KARPENTER) else ():
        yield Step(f"Terminate instance {instance}, once captured and drained: its credentials stay valid until they expire, hours later",
                   aws("ec2", "terminate-instances", instance_ids=[instance]))  # fmt: skip
    if not instances and kind != HYBRID and kind not in BY_KARPENTER:
        yield Step("Find its EC2 instance, which the evidence does not name, and terminate it once captured")
    if identity.role and kind != HYBRID:
        yield Step(
            f"Revoke the sessions of {identity.role} for this instance alone (condition aws:userid): the role is shared by its node group"
        )
    yield Step("Rotate the service accounts and secrets of every pod on the node: its kubelet could read them all")


def _without_termination(node: str, kind: NodeKind) -> Iterator[Step]:
    """The end of a node whose instance is not ended by EC2's API: what controls it ends it, or it is a machine of yours."""
    says = f"{HELD_NODE[kind][:1].upper()}{HELD_NODE[kind][1:]}"
    if kind != HYBRID:
        yield Step(says, kubectl("delete", "node", node, None))
        return
    yield Step(f"{says}: it is no EC2 instance")
    by_ssm = re.fullmatch(r"mi-[0-9a-f]{17}", node)
    yield Step(
        "End its sign-in: deregister it from Systems Manager, or revoke its certificate of IAM Roles Anywhere",
        aws("ssm", "deregister-managed-instance", instance_id=node) if by_ssm else None,
    )


def kind_of_node(inventory: Inventory, identity: Identity) -> NodeKind | None:
    """What kind of node an identity is; None for one that is no node."""
    known = inventory.named("nodes", None, identity.node)
    return node_kind_of(str(identity.node), known[-1] if known else None) if identity.node else None


def _of_fargate(inventory: Inventory, node: str) -> Iterator[Step]:
    pods = [pod for pod in inventory.pods if pod.node == node and pod.standing is not False]
    says = "its node, which is a Fargate node, is that pod's alone and goes with it; there is no instance of yours to cordon or to terminate"
    for pod in pods:
        yield Step(f"Delete pod {pod.namespace}/{pod.name}, once captured: {says}", kubectl("delete", "pod", pod.name, pod.namespace), pod.why[0] if pod.why else None)  # fmt: skip
    if not pods:
        yield Step(f"Find the pod that runs on {node} and delete it, once captured: {says}")
    yield Step(
        "Do not take its pod execution role out of aws-auth or its access entry: all pods of its Fargate profiles sign in with it"
    )
    yield Step("Rotate the pod's service account and the secrets that it mounts: its kubelet could read them all")


def _of_iam(access: Access, identity: Identity, credentials: list[str]) -> Iterator[Step]:
    ways = access.of(identity)
    for way in (way for way in ways if way.kind == "access_entry"):
        says = f"Delete the access entry of {way.name}" + (f" ({'; '.join(way.policies)})" if way.policies else "")
        yield Step(
            says,
            _of_cluster(access, "delete-access-entry", "cluster_name", principal_arn=way.name),
            way.why,
        )
    for way in (way for way in ways if way.kind == "aws_auth" and way.until is None):
        overruled = (
            ", which the access entry overrules while that stands: without this step the mapping lets it in again"
            if way.overruled
            else ""
        )
        says = f"Take the mapping of {way.name} to {way.user_name or 'its ARN'} out of aws-auth{overruled}"
        if way.maps_nobody:
            says = f"Take the line for {way.name} out of aws-auth too, though it maps nobody: {way.maps_nobody}"
        yield Step(says, without_mapping(access.aws_auth_data, way.name) or AWS_AUTH_SHOWN, way.why)
    if not any(way.kind in ("access_entry", "aws_auth") and not way.maps_nobody for way in ways):
        yield from _of_creator(access, identity, ways)
    named = ("User", identity.user_name)
    yield from _cut(access.bindings(named), identity.user_name, named)
    yield Step(
        "Both have to be gone, entry and mapping: no IAM policy can deny the sign-in, which is a presigned GetCallerIdentity"
    )
    arn, elsewhere = Arn.of(identity.role), not_from_here(identity.role, access.store.settings.account)
    if elsewhere:
        yield Step(f"What {in_words(identity.role)} can do in AWS ends elsewhere: {elsewhere}")
    elif arn and arn.kind == "user":
        for key in (key for key in credentials if key.startswith("AKIA")):
            yield Step(f"Deactivate access key {key}; sessions that it already issued outlive it",
                       aws("iam", "update-access-key", user_name=arn.name, access_key_id=key, status="Inactive"))  # fmt: skip
    elif identity.role:
        yield Step(f"Revoke the sessions of {identity.role} (deny to tokens older than now), then whoever assumed it")


def not_from_here(arn: str | None, account: str | None) -> str:
    """Why nobody in the account of a case can end what a principal does in AWS, and where it ends; "" for a principal of its own. account: the case's."""
    of = account_of(arn)
    if account and of and of != account:
        return f"it is of account {of}, which alone may change it: have its owners revoke its sessions and end its keys there"
    if is_root(arn):
        return "only the root user itself may delete its access keys: sign in as it, delete them, change its password and look at its MFA"
    if is_federated(arn):
        return "its session is what GetFederationToken gave to an IAM user: look in CloudTrail for whom, deactivate that user's keys and deny it everything, which ends what it gave"
    if is_of_identity_center(arn):
        return "it is a role of IAM Identity Center, which AWS lets nobody change in an account: end the person's sessions there, and take the permission set off"
    if is_service_linked(arn):
        return "it is a service-linked role, which AWS lets nobody change: stop the service from using it"
    return ""


def _of_creator(access: Access, identity: Identity, ways: list[Way]) -> Iterator[Step]:
    maybe = identity.user_name == "kubernetes-admin" or any(way.kind == "cluster_creator" for way in ways)
    if maybe and access.mode == "CONFIG_MAP":
        yield Step("The cluster's creator cannot be taken out while the authentication mode is CONFIG_MAP: secure or delete its IAM"
                   " role, or change the mode to API_AND_CONFIG_MAP, which cannot be undone, and delete its access entry")  # fmt: skip
    elif maybe:
        policy = f"arn:{partition_of(identity.role)}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
        named = {"principal_arn": identity.role, "policy_arn": policy}
        yield Step("The cluster's creator: take the administrator's policy off its access entry",
                   _of_cluster(access, "disassociate-access-policy", "cluster_name", **named) if identity.role else None)  # fmt: skip
    else:
        yield Step(f"Find what lets {identity.role or identity.user_name} in: no access entry and no mapping in aws-auth is in the evidence",
                   _of_cluster(access, "list-access-entries", "cluster_name"))  # fmt: skip
        yield Step("Look into aws-auth too", AWS_AUTH_SHOWN)


def _of_oidc(access: Access, identity: Identity, groups: list[str]) -> Iterator[Step]:
    issuers = ", ".join(way.why.says for way in access.providers) or "no evidence names the identity provider"
    yield Step(f"Disable {identity.user_name} and its sessions at the identity provider ({issuers})")
    named = [
        ("User", identity.user_name),
        *(("Group", group) for group in groups if not group.startswith("system:")),
    ]
    yield from _cut(access.bindings(*named), f"{identity.user_name} (or its group)", *named)
    yield Step(
        "The token at hand is valid until it expires; only detaching the provider ends it sooner, and that shuts out all its users"
    )


def _of_control_plane(identity: Identity) -> Iterator[Step]:
    yield Step(f"{identity.user_name} belongs to the control plane, which AWS runs: its credentials cannot be rotated by you."
               " Called from elsewhere it is somebody with a minted or stolen credential: find who minted it, and ask AWS Support")  # fmt: skip
