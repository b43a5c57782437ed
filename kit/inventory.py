"""What existed in the cluster, and when: objects with their lifetimes, from the cluster dump and the audit log together.

An object is told apart by its uid; names come back. Births, deaths, nodes and owners of what is gone come from the log: create
and delete responses, pods/binding, kubelets' status patches, and the pod claims in the tokens that pods used.
Source: Kubernetes API conventions (metadata), audit.k8s.io/v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from kit.refs import Ref
from kit.store import Store

WORKLOADS = {
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "DaemonSet": "daemonsets",
    "StatefulSet": "statefulsets",
    "Job": "jobs",
    "CronJob": "cronjobs",
    "ReplicationController": "replicationcontrollers",
}
BOUND = {"rolebindings", "clusterrolebindings"}
FOLLOWED = {"pods", "services", "serviceaccounts", "nodes", "secrets", *WORKLOADS.values(), *BOUND}
NODE_USER = "system:node:"
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"  # IRSA, EKS User Guide "IAM roles for service accounts"


@dataclass(frozen=True)
class Why:
    """One reason: the evidence that shows it (a Ref) and what that evidence says."""

    ref: Ref
    says: str


@dataclass(frozen=True)
class Thing:
    """An object of the cluster over its life.

    created_at and deleted_at are UTC, None where the evidence does not tell. standing: True when the dump has it, False when
    it is gone, None when that cannot be told. body: as last seen, {} when no body was logged. node: of a pod, as told by
    its spec, its binding or its kubelet. why: the evidence that shows it. partial: known only from what it did.
    """

    resource: str
    namespace: str | None
    name: str | None
    uid: str
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    standing: bool | None = None
    body: dict[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)
    node: str | None = None
    why: tuple[Why, ...] = ()
    partial: bool = False

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as last seen; {} without a body."""
        return _dict(self.body.get("spec"))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels as last seen."""
        return _dict(_dict(self.body.get("metadata")).get("labels"))

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations as last seen."""
        return _dict(_dict(self.body.get("metadata")).get("annotations"))

    @property
    def path(self) -> str:
        """resource/namespace/name, without the namespace where there is none."""
        return "/".join(part for part in (self.resource, self.namespace, self.name) if part)

    @property
    def service_account(self) -> str | None:
        """namespace/name of the service account that a pod runs under; None when no body tells."""
        if self.resource != "pods" or not self.spec:
            return None
        return f"{self.namespace}/{self.spec.get('serviceAccountName') or 'default'}"

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All containers of a pod: init and ephemeral ones too."""
        kinds = ("initContainers", "containers", "ephemeralContainers")
        return [_dict(one) for kind in kinds for one in _list(self.spec.get(kind))]

    @property
    def images(self) -> list[str]:
        """The images of a pod as its spec has them, each once."""
        return list(dict.fromkeys(str(one["image"]) for one in self.containers if one.get("image")))

    @property
    def host_access(self) -> str:
        """Why a pod reaches its node: privileged, host namespaces, host mounts; empty when it does not."""
        found = [flag for flag in ("hostNetwork", "hostPID", "hostIPC") if self.spec.get(flag) is True]
        if any(_dict(one.get("securityContext")).get("privileged") is True for one in self.containers):
            found.append("privileged")
        mounts = [_dict(_dict(one).get("hostPath")).get("path") for one in _list(self.spec.get("volumes"))]
        return ", ".join(found + [f"hostPath {path}" for path in mounts if path])

    def existed(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether it existed at any moment of a window; an unknown end of its life counts as inside."""
        born_late = self.created_at is not None and end is not None and self.created_at >= end
        gone_early = self.deleted_at is not None and start is not None and self.deleted_at < start
        return not born_late and not gone_early


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class Inventory:
    """The objects that the evidence shows, of the kinds in FOLLOWED. Read once, then asked."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def things(self) -> dict[str, Thing]:
        """Every object by uid (secrets without a uid in the log: by path)."""
        found = _from_dump(self.store)
        dumped = {thing.resource for thing in found.values()}
        taken_at = max((thing.created_at for thing in found.values() if thing.created_at), default=None)
        for uid, logged in _from_log(self.store).items():
            known = found.get(uid)
            if known:
                found[uid] = replace(known, why=(*known.why, *logged.why), node=known.node or logged.node)
                continue
            gone = logged.deleted_at is not None or (
                logged.resource in dumped
                and taken_at is not None
                and logged.created_at is not None
                and logged.created_at <= taken_at
            )
            found[uid] = replace(logged, standing=False if gone else None)
        for uid, claimed in _from_claims(self.store).items():
            found.setdefault(uid, replace(claimed, standing=False if "pods" in dumped else None))
        return found

    def of(self, *resources: str) -> list[Thing]:
        """The objects of some resources (plural names), oldest first."""
        found = [thing for thing in self.things.values() if thing.resource in resources]
        return sorted(found, key=lambda thing: (thing.created_at is not None, str(thing.created_at), thing.uid))

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

    def owners(self, thing: Thing) -> list[tuple[str, str, str | None, bool]]:
        """The controllers above an object, the nearest first: resource, name, uid (None when not told), and whether it is sure.

        A replica set that no evidence shows is taken off its name (`web-5d9f89f56` belongs to `web`), which is not sure.
        """
        chain = list[tuple[str, str, str | None, bool]]()
        present: Thing | None = thing
        while present is not None and len(chain) < 8:
            references = _list(_dict(present.body.get("metadata")).get("ownerReferences"))
            owner = next((_dict(one) for one in references if _dict(one).get("controller")), None)
            if owner is None:
                break
            kind, name, uid = str(owner.get("kind")), str(owner.get("name")), owner.get("uid")
            chain.append((WORKLOADS.get(kind, kind.lower() + "s"), name, uid, True))
            hash_label = present.labels.get("pod-template-hash")
            above = self.things.get(str(uid))
            if above is None and kind == "ReplicaSet" and hash_label and name.endswith("-" + hash_label):
                chain.append(("deployments", name.removesuffix("-" + hash_label), None, False))
            present = above
        return chain

    def pods_of_workload(
        self, resource: str, namespace: str | None, name: str, uid: str | None
    ) -> list[tuple[Thing, bool]]:
        """The pods that a workload ever owned, each with whether that is sure. uid decides where it is known."""
        found = list[tuple[Thing, bool]]()
        for pod in self.pods:
            for above, above_name, above_uid, sure in self.owners(pod):
                same_name = above == resource and above_name == name and pod.namespace == namespace
                if (uid and above_uid == uid) or (same_name and not (uid and above_uid)):
                    found.append((pod, sure and bool(above_uid)))
                    break
        return found

    def named(self, resource: str, namespace: str | None, name: str | None) -> list[Thing]:
        """All objects that ever had this name; more than one when the name came back."""
        return [
            thing
            for thing in self.of(resource)
            if thing.name == name and (thing.namespace or None) == (namespace or None)
        ]

    @cached_property
    def node_of_instance(self) -> dict[str, str]:
        """EC2 instance id → node name: from the node's providerID, else from `aws ec2 describe-instances`."""
        found = dict[str, str]()
        for row in self.store.rows("SELECT object FROM objects WHERE kind = 'Instance'"):
            instance = orjson.loads(row["object"])
            if instance.get("InstanceId") and instance.get("PrivateDnsName"):
                found[instance["InstanceId"]] = instance["PrivateDnsName"]
        for row in self.store.rows(
            "SELECT DISTINCT user_name, session_name FROM audit WHERE starts_with(user_name, $prefix)", prefix=NODE_USER
        ):
            if re.fullmatch(r"i-[0-9a-f]{8,17}", row["session_name"] or ""):
                found[row["session_name"]] = row["user_name"].removeprefix(NODE_USER)
        for node in self.of("nodes"):
            instance_id = str(node.spec.get("providerID", "")).rsplit("/", 1)[-1]
            if instance_id.startswith("i-") and node.name:
                found[instance_id] = node.name
        return found

    @cached_property
    def node_roles(self) -> dict[str, tuple[str, Why]]:
        """Node name → the IAM role that its kubelet signed in with, as the EKS authenticator put it into the audit event."""
        found = dict[str, tuple[str, Why]]()
        for row in self.store.rows(
            "SELECT user_name, json_extract_string(any_value(user_extra), '$.canonicalArn[0]') AS role,"
            " min_by(audit_id, received_at) AS audit_id FROM audit"
            " WHERE starts_with(user_name, $prefix) AND arn IS NOT NULL GROUP BY user_name",
            prefix=NODE_USER,
        ):
            if row["role"]:
                says = f"{row['user_name']} signs in as {row['role']}"
                found[row["user_name"].removeprefix(NODE_USER)] = (
                    row["role"],
                    Why(Ref.of("audit", row["audit_id"]), says),
                )
        return found

    @cached_property
    def service_account_roles(self) -> dict[str, dict[str, Why]]:
        """namespace/name of a service account → IAM roles it may take on, each with the evidence: IRSA annotation, Pod
        Identity association, or the session that CloudTrail saw issued to it."""
        found = dict[str, dict[str, Why]]()

        def add(account: str, role: str | None, ref: Ref, says: str) -> None:
            if role and role.startswith("arn:"):
                found.setdefault(account, {}).setdefault(role, Why(ref, says))

        for thing in self.of("serviceaccounts"):
            role = thing.annotations.get(ROLE_ANNOTATION)
            add(f"{thing.namespace}/{thing.name}", role, Ref.of("object", thing.uid), f"IRSA annotation names {role}")
        for row in self.store.rows(
            "SELECT namespace, name, uid, object FROM objects WHERE kind = 'PodIdentityAssociation' AND object LIKE '%roleArn%'"
        ):
            role = orjson.loads(row["object"]).get("roleArn")
            add(
                f"{row['namespace']}/{row['name']}",
                role,
                Ref.of("aws", row["uid"]),
                f"Pod Identity association gives {role}",
            )
        for row in self.store.rows(
            "SELECT min_by(event_id, event_at) AS event_id, user_name, json_extract_string(request_parameters, '$.roleArn')"
            " AS role FROM trail WHERE event_name = 'AssumeRoleWithWebIdentity' AND error_code IS NULL"
            " AND starts_with(user_name, 'system:serviceaccount:') GROUP BY ALL"
        ):
            account = row["user_name"].removeprefix("system:serviceaccount:").replace(":", "/", 1)
            add(
                account,
                row["role"],
                Ref.of("trail", row["event_id"]),
                f"CloudTrail saw a session of {row['role']} issued to it",
            )
        for row in self.store.rows(
            "SELECT event_id, request_parameters FROM trail WHERE event_name = 'AssumeRole' AND error_code IS NULL"
            " AND invoked_by = 'pods.eks.amazonaws.com' ORDER BY event_at, event_id"
        ):
            request = orjson.loads(row["request_parameters"] or "{}")
            tags = {_dict(tag).get("key"): _dict(tag).get("value") for tag in _list(request.get("tags"))}
            account = f"{tags.get('kubernetes-namespace')}/{tags.get('kubernetes-service-account')}"
            says = f"CloudTrail saw EKS Pod Identity take on {request.get('roleArn')} for it"
            add(account, request.get("roleArn"), Ref.of("trail", row["event_id"]), says)
        for pod in self.pods:
            for container in pod.containers:
                for variable in _list(container.get("env")):
                    if _dict(variable).get("name") == "AWS_ROLE_ARN" and pod.service_account:
                        says = f"pod {pod.namespace}/{pod.name} was given AWS_ROLE_ARN"
                        add(pod.service_account, _dict(variable).get("value"), Ref.of("object", pod.uid), says)
        return found

    def bound_accounts(self, binding: Thing) -> list[str]:
        """namespace/name of the service accounts that a role binding names."""
        accounts = list[str]()
        for bound in _list(binding.body.get("subjects")):
            one = _dict(bound)
            name = str(one.get("name", ""))
            if one.get("kind") == "ServiceAccount":
                accounts.append(f"{one.get('namespace') or binding.namespace}/{name}")
            elif one.get("kind") == "User" and name.startswith("system:serviceaccount:"):
                accounts.append(name.removeprefix("system:serviceaccount:").replace(":", "/", 1))
        return accounts


def _from_dump(store: Store) -> dict[str, Thing]:
    found = dict[str, Thing]()
    for row in store.rows(
        "SELECT resource, namespace, name, uid, object FROM objects WHERE uid IS NOT NULL"
        " AND NOT starts_with(api_version, 'aws:') AND list_contains($resources, resource)",
        resources=sorted(FOLLOWED),
    ):
        body = orjson.loads(row["object"])
        found[row["uid"]] = Thing(
            resource=row["resource"],
            namespace=row["namespace"] or None,
            name=row["name"],
            uid=row["uid"],
            created_at=_time(_dict(body.get("metadata")).get("creationTimestamp")),
            standing=True,
            body=body,
            node=_dict(body.get("spec")).get("nodeName") if row["resource"] == "pods" else None,
            why=(Why(Ref.of("object", row["uid"]), "stands in the cluster dump"),),
        )
    return found


_BODIES = ("", "status", "ephemeralcontainers", "resize")

_LIVES = """
WITH writes AS (
  SELECT resource, namespace, name, coalesce(uid, json_extract_string(request_object, '$.metadata.uid')) AS uid, verb,
    coalesce(subresource, '') AS subresource, received_at, audit_id, user_name,
    CASE WHEN list_contains($bodies, coalesce(subresource, '')) AND json_extract_string(response_object, '$.metadata.uid') IS NOT NULL
      THEN response_object END AS body,
    CASE WHEN subresource = 'binding' THEN json_extract_string(request_object, '$.target.name')
      WHEN resource = 'pods' AND subresource = 'status' AND starts_with(user_name, 'system:node:') THEN substr(user_name, 13)
      END AS node
  FROM audit
  WHERE response_code BETWEEN 200 AND 299 AND list_contains($resources, resource)
    AND list_contains(['create', 'update', 'patch', 'delete'], verb) AND NOT contains(request_uri, 'dryRun=All')
)
SELECT uid, any_value(resource) AS resource, any_value(namespace) AS namespace, any_value(name) AS name,
  min(received_at) FILTER (verb = 'create' AND subresource = '') AS created_at,
  min_by(audit_id, received_at) FILTER (verb = 'create' AND subresource = '') AS created_event,
  min_by(user_name, received_at) FILTER (verb = 'create' AND subresource = '') AS created_by,
  max(received_at) FILTER (verb = 'delete' AND subresource = '') AS deleted_at,
  max_by(audit_id, received_at) FILTER (verb = 'delete' AND subresource = '') AS deleted_event,
  min_by(user_name, received_at) FILTER (verb = 'delete' AND subresource = '') AS deleted_by,
  max_by(node, received_at) FILTER (node IS NOT NULL) AS node,
  max_by(audit_id, received_at) FILTER (node IS NOT NULL) AS node_event,
  min_by(audit_id, received_at) AS first_event,
  max_by(body, received_at) FILTER (body IS NOT NULL) AS body
FROM writes WHERE uid IS NOT NULL GROUP BY uid
"""


def _from_log(store: Store) -> dict[str, Thing]:
    found = dict[str, Thing]()
    for row in store.rows(_LIVES, resources=sorted(FOLLOWED), bodies=list(_BODIES)):
        body = orjson.loads(row["body"]) if row["body"] else {}
        metadata = _dict(body.get("metadata"))
        why = list[Why]()
        if row["created_event"]:
            why.append(Why(Ref.of("audit", row["created_event"]), f"created by {row['created_by']}"))
        if row["node_event"]:
            why.append(Why(Ref.of("audit", row["node_event"]), f"ran on node {row['node']}"))
        if row["deleted_event"]:
            why.append(Why(Ref.of("audit", row["deleted_event"]), f"deletion asked for by {row['deleted_by']}"))
        if not why:
            why.append(Why(Ref.of("audit", row["first_event"]), "was changed"))
        found[row["uid"]] = Thing(
            resource=row["resource"],
            namespace=row["namespace"] or None,
            name=metadata.get("name") or row["name"],
            uid=row["uid"],
            created_at=_time(metadata.get("creationTimestamp")) or row["created_at"],
            deleted_at=row["deleted_at"],
            body=body,
            node=_dict(body.get("spec")).get("nodeName") or row["node"] if row["resource"] == "pods" else None,
            why=tuple(why),
        )
    return found


def _from_claims(store: Store) -> dict[str, Thing]:
    """Pods known only by the claims in the tokens that were used: partial, but there."""
    found = dict[str, Thing]()
    for row in store.rows(
        "SELECT claimed_pod_uid AS uid, any_value(claimed_pod_name) AS name, any_value(claimed_node_name) AS node,"
        " any_value(user_name) AS user_name, min_by(audit_id, received_at) AS audit_id FROM audit"
        " WHERE claimed_pod_uid IS NOT NULL AND starts_with(user_name, 'system:serviceaccount:') GROUP BY claimed_pod_uid"
    ):
        namespace, _, account = row["user_name"].removeprefix("system:serviceaccount:").partition(":")
        says = f"a token bound to it was used as {row['user_name']}"
        found[row["uid"]] = Thing(
            resource="pods",
            namespace=namespace,
            name=row["name"],
            uid=row["uid"],
            body={"metadata": {}, "spec": {"serviceAccountName": account}},
            node=row["node"],
            why=(Why(Ref.of("audit", row["audit_id"]), says),),
            partial=True,
        )
    return found


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def in_window(things: Iterable[Thing], start: datetime | None, end: datetime | None) -> list[Thing]:
    """Those that existed at any moment of a window."""
    return [thing for thing in things if thing.existed(start, end)]
