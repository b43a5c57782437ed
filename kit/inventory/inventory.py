"""What existed in the cluster, and when: objects with their lifetimes, from the cluster dump and the audit log together.

An object is told apart by its uid; names come back. Births, deaths, nodes and owners of what is gone come from the log: create
and delete responses, pods/binding, kubelets' status patches, and the pod claims in the tokens that pods used. What an object
was at any time of its life counts: labels, selectors and bound subjects that were changed later are kept beside the last ones.
Source: Kubernetes API conventions (metadata), audit.k8s.io/v1.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from kit.evidence.readers.cluster import plural
from kit.inventory.thing import Thing, essence
from kit.lenient import dict_of, json_of, list_of, text_of, time_of
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.model.kubernetes import WORKLOADS
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store
from kit.words import Names

BOUND = {"rolebindings", "clusterrolebindings"}
ROLES = {"roles", "clusterroles"}
FOLLOWED = {
    "pods",
    "services",
    "serviceaccounts",
    "nodes",
    "secrets",
    "configmaps",
    "networkpolicies",
    *WORKLOADS.values(),
    *BOUND,
    *ROLES,
}
ACCOUNT_GROUP = "system:serviceaccounts"  # all of them, or with :NAMESPACE those of one namespace
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"  # IRSA, EKS User Guide "IAM roles for service accounts"


@dataclass(frozen=True)
class RoleGrant:
    """That a service account may take on a role, and what shows it. by_pod_identity: through EKS Pod Identity, else through IRSA."""

    by_pod_identity: bool
    why: Why


class Inventory:
    """The objects that the evidence shows, of the kinds in FOLLOWED. Read once, then asked."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def things(self) -> dict[str, Thing]:
        """Every object by uid."""
        found = _from_dump(self.store)
        taken_at = max((thing.created_at for thing in found.values() if thing.created_at), default=None)
        for uid, logged in _from_log(self.store).items():
            known = found.get(uid)
            if known:
                found[uid] = _both(known, logged)
                continue
            gone = logged.deleted_at is not None or (
                self.is_dumped(logged.resource, logged.namespace)
                and taken_at is not None
                and logged.created_at is not None
                and logged.created_at <= taken_at
            )
            found[uid] = replace(logged, standing=False if gone else None)
        _delete_together(self.store, found)
        for uid, claimed in _from_claims(self.store).items():
            found.setdefault(
                uid, replace(claimed, standing=False if self.is_dumped("pods", claimed.namespace) else None)
            )
        return found

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
        been taken of that namespace alone."""
        namespaces = self._dumped.get(resource, set())
        return len(namespaces) > 1 or (namespace or "") in namespaces

    @property
    def has_dump(self) -> bool:
        """Whether there is a cluster dump at all."""
        return bool(self._dumped)

    def has_namespace(self, namespace: str) -> bool:
        """Whether the dump has anything of a namespace; each has a service account at least."""
        return any(namespace in namespaces for namespaces in self._dumped.values())

    def of(self, *resources: str) -> list[Thing]:
        """The objects of some resources (plural names), oldest first."""
        found = [thing for thing in self.things.values() if thing.resource in resources]
        return sorted(found, key=_age)

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
            references = list_of(dict_of(present.body.get("metadata")).get("ownerReferences"))
            owner = next((dict_of(one) for one in references if dict_of(one).get("controller")), None)
            if owner is None:
                break
            kind, name, uid = str(owner.get("kind")), str(owner.get("name")), str(owner.get("uid"))
            chain.append((WORKLOADS.get(kind, plural(kind)), name, uid, True))
            hashes = [labels.get("pod-template-hash") for labels in present.labels_ever]
            above = self.things.get(uid)
            if above is None and kind == "ReplicaSet":
                chain += [
                    ("deployments", name.removesuffix(f"-{one}"), None, False)
                    for one in hashes
                    if one and name.endswith(f"-{one}")
                ][:1]
            present = above
        return chain

    def is_among(self, pod: Thing, paths: Names) -> bool:
        """Whether a pod, or a workload that it belongs to, is among objects (resource/namespace/name)."""
        above = (f"{resource}/{pod.namespace}/{name}" for resource, name, _, _ in self.owners(pod))
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
            for resource, name, uid, sure in self.owners(pod):
                found[(resource, pod.namespace, name)].append((pod, uid, sure))
        return found

    def owner_uid(self, pod: Thing, resource: str, name: str | None) -> str | None:
        """The uid of the workload of that name above a pod; None when it is not told."""
        return next(
            (uid for above, is_named, uid, _ in self.owners(pod) if (above, is_named) == (resource, name)), None
        )

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

    @cached_property
    def node_of_instance(self) -> dict[str, str]:
        """EC2 instance id → node name: from the node's providerID, else from `aws ec2 describe-instances`."""
        found = dict[str, str]()
        for row in self.store.rows("SELECT object FROM objects WHERE kind = 'Instance'"):
            instance = orjson.loads(row["object"])
            if instance.get("InstanceId") and instance.get("PrivateDnsName"):
                found[instance["InstanceId"]] = instance["PrivateDnsName"]
        for row in self.store.rows(
            "SELECT DISTINCT user_name, session_name FROM audit WHERE starts_with(user_name, $prefix)", prefix=NODE
        ):
            if re.fullmatch(r"i-[0-9a-f]{8,17}", row["session_name"] or ""):
                found[row["session_name"]] = row["user_name"].removeprefix(NODE)
        for node in self.of("nodes"):
            instance_id = str(node.spec.get("providerID", "")).rsplit("/", 1)[-1]
            if re.fullmatch(r"i-[0-9a-f]{8,17}", instance_id) and node.name:
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
            prefix=NODE,
        ):
            if row["role"]:
                says = f"{row['user_name']} signs in as {row['role']}"
                found[row["user_name"].removeprefix(NODE)] = (
                    row["role"],
                    Why(Ref.of("audit", row["audit_id"]), says),
                )
        return found

    @cached_property
    def service_account_roles(self) -> dict[str, dict[str, RoleGrant]]:
        """namespace/name of a service account → IAM roles it may take on, each with the evidence: IRSA annotation, Pod
        Identity association, or the session that CloudTrail saw issued to it."""
        found = dict[str, dict[str, RoleGrant]]()

        def add(account: str, role: Any, ref: Ref, says: str, by_pod_identity: bool = False) -> None:
            if isinstance(role, str) and role.startswith("arn:"):
                found.setdefault(account, {}).setdefault(role, RoleGrant(by_pod_identity, Why(ref, says)))

        for thing in self.of("serviceaccounts"):
            role = thing.annotations.get(ROLE_ANNOTATION)
            add(f"{thing.namespace}/{thing.name}", role, Ref.of("object", thing.uid), f"IRSA annotation names {role}")
        for row in self.store.rows(
            "SELECT namespace, name, uid, object FROM objects WHERE kind = 'PodIdentityAssociation' AND object LIKE '%roleArn%'"
        ):
            role, says = orjson.loads(row["object"]).get("roleArn"), "Pod Identity association gives"
            add(f"{row['namespace']}/{row['name']}", role, Ref.of("aws", row["uid"]), f"{says} {role}", True)
        for row in self.store.rows(
            "SELECT min_by(event_id, event_at) AS event_id, user_name, json_extract_string(request_parameters, '$.roleArn')"
            " AS role FROM trail WHERE event_name = 'AssumeRoleWithWebIdentity' AND error_code IS NULL"
            " AND starts_with(user_name, $prefix) AND ($issuer IS NULL OR contains(coalesce(principal_id, $issuer), $issuer))"
            " GROUP BY ALL",
            prefix=SERVICE_ACCOUNT,
            issuer=self.token_issuer,
        ):
            account = row["user_name"].removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
            says = f"CloudTrail saw a session of {row['role']} issued to it"
            add(account, row["role"], Ref.of("trail", row["event_id"]), says)
        for row in self.store.rows(
            "SELECT event_id, request_parameters FROM trail WHERE event_name = 'AssumeRole' AND error_code IS NULL"
            " AND invoked_by = 'pods.eks.amazonaws.com' ORDER BY event_at, event_id"
        ):
            request = dict_of(orjson.loads(row["request_parameters"] or "{}"))
            tags = {str(dict_of(tag).get("key")): dict_of(tag).get("value") for tag in list_of(request.get("tags"))}
            if self.cluster and tags.get("eks-cluster-name", self.cluster) != self.cluster:
                continue
            account = f"{tags.get('kubernetes-namespace')}/{tags.get('kubernetes-service-account')}"
            says = f"CloudTrail saw EKS Pod Identity take on {request.get('roleArn')} for it"
            add(account, request.get("roleArn"), Ref.of("trail", row["event_id"]), says, True)
        for pod in self.pods:
            for container in pod.containers:
                for variable in list_of(container.get("env")):
                    if dict_of(variable).get("name") == "AWS_ROLE_ARN" and pod.service_account:
                        says = f"pod {pod.namespace}/{pod.name} was given AWS_ROLE_ARN"
                        add(pod.service_account, dict_of(variable).get("value"), Ref.of("object", pod.uid), says)
        return found

    @cached_property
    def cluster(self) -> str | None:
        """Name of the cluster that the audit log or the dump is from; None where no evidence says."""
        rows = self.store.rows(
            "SELECT DISTINCT cluster FROM (SELECT cluster FROM audit UNION ALL SELECT cluster FROM objects WHERE resource <> '')"
            " WHERE cluster IS NOT NULL"
        )
        return rows[0]["cluster"] if len(rows) == 1 else None

    @cached_property
    def token_issuer(self) -> str | None:
        """The cluster's OIDC issuer without its scheme, as principal ids of IRSA sessions hold it; None where no evidence says."""
        for row in self.store.rows(
            "SELECT object FROM objects WHERE kind = 'Cluster' AND starts_with(api_version, 'aws:')"
        ):
            issuer = dict_of(dict_of(dict_of(orjson.loads(row["object"])).get("identity")).get("oidc")).get("issuer")
            if isinstance(issuer, str):
                return issuer.removeprefix("https://")
        return None

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


def _age(thing: Thing) -> tuple[bool, str, str]:
    return thing.created_at is not None, str(thing.created_at), thing.uid


def _both(dumped: Thing, logged: Thing) -> Thing:
    """What dump and log say of one object. A dump that shows no deletion under way was taken before a deletion in the log."""
    gone = logged.deleted_at is not None and not _is_terminating(dumped)
    return replace(
        dumped,
        standing=not gone,
        deleted_at=logged.deleted_at if gone else None,
        why=(*dumped.why, *logged.why),
        node=dumped.node or logged.node,
        earlier=logged.ever if logged.body else logged.earlier,
    )


def _is_terminating(thing: Thing) -> bool:
    return bool(dict_of(thing.body.get("metadata")).get("deletionTimestamp"))


def _from_dump(store: Store) -> dict[str, Thing]:
    found = dict[str, Thing]()
    for batch in store.batches(
        "SELECT resource, namespace, name, uid, object FROM objects WHERE uid IS NOT NULL"
        " AND NOT starts_with(api_version, 'aws:') AND list_contains($resources, resource) ORDER BY file, item",
        resources=sorted(FOLLOWED),
    ):
        for row in batch:
            body = essence(orjson.loads(row["object"]))
            found[row["uid"]] = Thing(
                resource=row["resource"],
                namespace=row["namespace"] or None,
                name=row["name"],
                uid=row["uid"],
                created_at=time_of(dict_of(body.get("metadata")).get("creationTimestamp")),
                standing=True,
                body=body,
                node=text_of(body["spec"].get("nodeName")) if row["resource"] == "pods" else None,
                why=(Why(Ref.of("object", row["uid"]), "stands in the cluster dump"),),
            )
    return found


_BODIES = ("", "status", "ephemeralcontainers", "resize")

# One row an object, without bodies: those of a long log do not fit into memory together.
_LIVES = """
WITH writes AS (
  SELECT resource, namespace, name, coalesce(uid, json_extract_string(request_object, '$.metadata.uid')) AS uid, verb,
    coalesce(subresource, '') AS subresource, response_code, received_at, audit_id, user_name, file, line, item,
    list_contains($bodies, coalesce(subresource, '')) AND response_object IS NOT NULL
      -- A delete is answered with the object or with a Status. Only CASE spares the others the parse.
      AND CASE WHEN verb = 'delete' THEN json_extract_string(response_object, '$.metadata.uid') IS NOT NULL ELSE true END AS has_body,
    CASE WHEN subresource IS NULL AND verb <> 'delete' AND list_contains(['pods', 'services', 'rolebindings', 'clusterrolebindings'], resource)
      THEN json_extract_string(response_object, ['$.metadata.labels', '$.spec.selector', '$.subjects']) END AS parts,
    CASE WHEN subresource = 'binding' THEN json_extract_string(request_object, '$.target.name')
      WHEN resource = 'pods' AND subresource = 'status' AND starts_with(user_name, 'system:node:') THEN substr(user_name, 13)
      END AS node,
    verb = 'create' AND coalesce(subresource, '') = '' OR verb = 'patch' AND coalesce(subresource, '') = '' AND response_code = 201
      AS creates,
    verb = 'delete' AND coalesce(subresource, '') = '' AS deletes,
    {'audit_id': audit_id, 'file': file, 'line': line, 'item': item, 'user_name': user_name, 'node': node} AS event
  FROM audit
  WHERE response_code BETWEEN 200 AND 299 AND list_contains($resources, resource)
    AND list_contains(['create', 'update', 'patch', 'delete'], verb) AND NOT dry_run
)
SELECT uid, any_value(resource) AS resource, any_value(namespace) AS namespace, any_value(name) AS name,
  min(received_at) FILTER (creates) AS created_at, min_by(event, received_at) FILTER (creates) AS created,
  max(received_at) FILTER (deletes) AS deleted_at, min_by(event, received_at) FILTER (deletes) AS deleted,
  max_by(event, received_at) FILTER (node IS NOT NULL) AS placed,
  min_by(event, received_at) AS first,
  max_by(event, received_at) FILTER (has_body) AS last_body,
  list(DISTINCT parts) FILTER (has_body AND parts IS NOT NULL) AS parts
FROM writes WHERE uid IS NOT NULL GROUP BY uid
"""


def _from_log(store: Store) -> dict[str, Thing]:
    lives = {row["uid"]: row for row in store.rows(_LIVES, resources=sorted(FOLLOWED), bodies=list(_BODIES))}
    bodies = _last_bodies(store, lives)
    found = dict[str, Thing]()
    for uid, row in lives.items():
        body = bodies.get(uid, {})
        metadata = dict_of(body.get("metadata"))
        placed = dict_of(row["placed"])
        why = list[Why]()
        if row["created"]:
            why.append(Why(store.event_ref(row["created"]), f"created by {row['created']['user_name']}"))
        if placed:
            why.append(Why(store.event_ref(placed), f"ran on node {placed['node']}"))
        if row["deleted"]:
            why.append(Why(store.event_ref(row["deleted"]), f"deletion asked for by {row['deleted']['user_name']}"))
        if not why:
            why.append(Why(store.event_ref(row["first"]), "was changed"))
        found[uid] = Thing(
            resource=row["resource"],
            namespace=row["namespace"] or None,
            name=text_of(metadata.get("name")) or row["name"],
            uid=uid,
            created_at=time_of(metadata.get("creationTimestamp")) or row["created_at"],
            deleted_at=row["deleted_at"],
            body=body,
            node=text_of(dict_of(body.get("spec")).get("nodeName")) or placed.get("node")
            if row["resource"] == "pods"
            else None,
            why=tuple(why),
            earlier=tuple(_part_of_body(*parts) for parts in row["parts"] or ()),
        )
    return found


def _delete_together(store: Store, found: dict[str, Thing]) -> None:
    """End the lives of what a deletecollection deleted: the items of its response; without one and without a selector, as when a
    namespace is deleted, all that there was of its resource and namespace and that the dump does not have."""
    of_place = defaultdict[tuple[str, str | None], list[str]](list)
    for thing in found.values():
        if thing.standing is not True and thing.deleted_at is None:
            of_place[thing.resource, thing.namespace].append(thing.uid)
    for batch in store.batches(
        "SELECT audit_id, file, item, user_name, received_at, resource, namespace, request_uri, response_object FROM audit"
        " WHERE verb = 'deletecollection' AND list_contains($resources, resource) AND response_code BETWEEN 200 AND 299"
        " AND NOT dry_run ORDER BY received_at, file, item",
        size=20,
        resources=sorted(FOLLOWED),
    ):
        for row in batch:
            at, says = row["received_at"], f"deletion with others of its kind asked for by {row['user_name']}"
            why = Why(Ref.of("audit", row["audit_id"]), says)
            items = dict_of(orjson.loads(row["response_object"] or "{}")).get("items")
            if isinstance(items, list):
                uids = [str(dict_of(dict_of(one).get("metadata")).get("uid")) for one in items]
            elif "elector" in (row["request_uri"] or ""):
                continue
            else:
                place = of_place[row["resource"], row["namespace"] or None]
                uids = [uid for uid in place if found[uid].existed_at(at)]
            for thing in (found[uid] for uid in uids if uid in found):
                if thing.deleted_at is None and not _is_terminating(thing):
                    found[thing.uid] = replace(thing, deleted_at=at, standing=False, why=(*thing.why, why))


def _last_bodies(store: Store, lives: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """uid → the body of the last event that had one."""
    places = {
        (row["last_body"]["file"], row["last_body"]["item"]): uid for uid, row in lives.items() if row["last_body"]
    }
    found = dict[str, dict[str, Any]]()
    for file in sorted({file for file, _ in places}):
        items = sorted(item for of, item in places if of == file)
        for batch in store.batches(
            "SELECT item, response_object FROM audit WHERE file = $file AND item IN (SELECT unnest($items))",
            file=file,
            items=items,
        ):
            for row in batch:
                found[places[(file, row["item"])]] = essence(orjson.loads(row["response_object"]))
    return found


def _part_of_body(labels: str | None, selector: str | None, subjects: str | None) -> dict[str, Any]:
    part = {"metadata": {"labels": json_of(labels)}, "spec": {"selector": json_of(selector)}}
    return part | {"subjects": json_of(subjects)} if subjects else part


def _from_claims(store: Store) -> dict[str, Thing]:
    """Pods known only by the claims in the tokens that were used: partial, but there."""
    found = dict[str, Thing]()
    for row in store.rows(
        "SELECT claimed_pod_uid AS uid, any_value(claimed_pod_name) AS name, any_value(claimed_node_name) AS node,"
        " any_value(user_name) AS user_name, min_by(audit_id, received_at) AS audit_id FROM audit"
        " WHERE claimed_pod_uid IS NOT NULL AND starts_with(user_name, 'system:serviceaccount:') GROUP BY claimed_pod_uid"
    ):
        namespace, _, account = row["user_name"].removeprefix(SERVICE_ACCOUNT).partition(":")
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
