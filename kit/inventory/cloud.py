"""What AWS is to the cluster: the instance and role of each node, the roles of service accounts, the issuer of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from kit.inventory.thing import Thing
from kit.lenient import dict_of, json_of, list_of, texts_of
from kit.model.arn import is_arn, partition_in, principal_of
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.model.kubernetes import ROLE_ANNOTATION
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.queries import groups
from kit.store.store import Store


@dataclass(frozen=True)
class RoleGrant:
    """That a service account may take on a role, and what shows it. by_pod_identity: through EKS Pod Identity, else through IRSA.

    is_tagged: whether the sessions name their pod in a tag, as those of Pod Identity do unless the association says otherwise.
    """

    by_pod_identity: bool
    why: Why
    is_tagged: bool = False


def node_of_instance(store: Store, nodes: list[Thing]) -> dict[str, str]:
    """EC2 instance id → node name: from the node's providerID, else from `aws ec2 describe-instances`."""
    found = dict[str, str]()
    for row in store.rows("SELECT object FROM objects WHERE kind = 'Instance'"):
        instance = orjson.loads(row["object"])
        if instance.get("InstanceId") and instance.get("PrivateDnsName"):
            found[instance["InstanceId"]] = instance["PrivateDnsName"]
    for row in store.rows(
        "SELECT DISTINCT user_name, session_name FROM audit WHERE starts_with(user_name, $prefix)", prefix=NODE
    ):
        if re.fullmatch(r"i-[0-9a-f]{8,17}", row["session_name"] or ""):
            found[row["session_name"]] = row["user_name"].removeprefix(NODE)
    for node in nodes:
        instance_id = str(node.spec.get("providerID", "")).rsplit("/", 1)[-1]
        if re.fullmatch(r"i-[0-9a-f]{8,17}", instance_id) and node.name:
            found[instance_id] = node.name
    return found


def node_roles(store: Store) -> dict[str, tuple[str, Why]]:
    """Node name → the IAM role that its kubelet signed in with, as the EKS authenticator put it into the audit event."""
    found = dict[str, tuple[str, Why]]()
    where = "starts_with(user_name, $prefix) AND arn IS NOT NULL"
    for row in groups(store, "audit", ("user_name",), where, of_first="user_extra", prefix=NODE):
        roles = texts_of(dict_of(json_of(row["first"]["user_extra"])).get("canonicalArn"))
        if roles:
            says = f"{row['user_name']} signs in as {roles[0]}"
            found[row["user_name"].removeprefix(NODE)] = roles[0], Why(Ref.of("audit", row["first"]["audit_id"]), says)
    return found


def full_arns(store: Store) -> dict[tuple[str, str, str], str]:
    """Principal (kit.model.arn.principal_of) → its ARN with its path, where evidence has that: of whoever signed a call of AWS, took on a
    role, or is described by AWS. A session's ARN has no path, and what stands in the cluster anybody may have written."""
    found = dict[tuple[str, str, str], str]()
    for row in store.rows(
        "SELECT arn, min(place) AS place FROM ("
        "SELECT issuer_arn AS arn, 1 AS place FROM trail UNION ALL SELECT arn, 1 FROM trail UNION ALL"
        f" SELECT arn, 1 FROM {store.callers} UNION ALL"
        " SELECT json_extract_string(request_parameters, '$.roleArn'), 2 FROM trail WHERE event_source = 'sts.amazonaws.com' AND error_code IS NULL"
        " UNION ALL SELECT coalesce(json_extract_string(object, '$.principalArn'), json_extract_string(object, '$.roleArn'),"
        " json_extract_string(object, '$.Arn')), 3 FROM objects WHERE kind IN ('AccessEntry', 'PodIdentityAssociation', 'Role', 'User'))"
        " WHERE arn LIKE 'arn:%:iam:%/%/%' GROUP BY arn ORDER BY place, arn"
    ):
        principal = principal_of(row["arn"])
        if principal:
            found.setdefault(principal, row["arn"])
    return found


def service_account_roles(
    store: Store, accounts: list[Thing], pods: list[Thing], cluster: str | None, issuer: str | None
) -> dict[str, dict[str, RoleGrant]]:
    """namespace/name of a service account → IAM roles it may take on, each with the evidence: IRSA annotation, Pod
    Identity association, or the session that CloudTrail saw issued to it."""
    found = dict[str, dict[str, RoleGrant]]()

    def add(
        account: str, role: Any, ref: Ref, says: str, by_pod_identity: bool = False, is_tagged: bool = False
    ) -> None:
        if is_arn(role):
            found.setdefault(account, {}).setdefault(role, RoleGrant(by_pod_identity, Why(ref, says), is_tagged))

    for thing in accounts:
        role = thing.annotations.get(ROLE_ANNOTATION)
        add(f"{thing.namespace}/{thing.name}", role, Ref.of("object", thing.uid), f"IRSA annotation names {role}")
    for row in store.rows(
        "SELECT namespace, name, uid, object FROM objects WHERE kind = 'PodIdentityAssociation' AND object LIKE '%roleArn%'"
    ):
        association = orjson.loads(row["object"])
        role, says = association.get("roleArn"), f"Pod Identity association gives {association.get('roleArn')}"
        is_tagged = association.get("disableSessionTags") is not True
        add(f"{row['namespace']}/{row['name']}", role, Ref.of("aws", row["uid"]), says, True, is_tagged)
    for row in groups(
        store,
        "trail",
        ("user_name", "json_extract_string(request_parameters, '$.roleArn') AS role"),
        "event_name = 'AssumeRoleWithWebIdentity' AND error_code IS NULL AND starts_with(user_name, $prefix)"
        " AND ($issuer::VARCHAR IS NULL OR principal_id IS NULL OR strpos(principal_id, $issuer::VARCHAR) > 0)",
        order="user_name, first_at, role",
        prefix=SERVICE_ACCOUNT,
        issuer=issuer,
    ):
        account = row["user_name"].removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
        says = f"CloudTrail saw a session of {row['role']} issued to it"
        add(account, row["role"], Ref.of("trail", row["first"]["event_id"]), says)
    for row in store.rows(
        "SELECT event_id, request_parameters FROM trail WHERE event_name = 'AssumeRole' AND error_code IS NULL"
        " AND invoked_by = 'pods.eks.amazonaws.com' ORDER BY event_at, event_id"
    ):
        request = dict_of(orjson.loads(row["request_parameters"] or "{}"))
        tags = {str(dict_of(tag).get("key")): dict_of(tag).get("value") for tag in list_of(request.get("tags"))}
        if cluster and tags.get("eks-cluster-name", cluster) != cluster:
            continue
        account = f"{tags.get('kubernetes-namespace')}/{tags.get('kubernetes-service-account')}"
        says = f"CloudTrail saw EKS Pod Identity take on {request.get('roleArn')} for it"
        add(account, request.get("roleArn"), Ref.of("trail", row["event_id"]), says, True, "kubernetes-pod-uid" in tags)
    for pod in pods:
        for container in pod.containers:
            for variable in list_of(container.get("env")):
                if dict_of(variable).get("name") == "AWS_ROLE_ARN" and pod.service_account:
                    says = f"pod {pod.namespace}/{pod.name} was given AWS_ROLE_ARN"
                    add(pod.service_account, dict_of(variable).get("value"), Ref.of("object", pod.uid), says)
    return found


def cluster_of(store: Store) -> str | None:
    """Name of the cluster that the audit log or the dump is from; None where no evidence says."""
    rows = store.rows(
        "SELECT DISTINCT cluster FROM (SELECT cluster FROM audit UNION ALL SELECT cluster FROM objects WHERE resource <> '')"
        " WHERE cluster IS NOT NULL"
    )
    return rows[0]["cluster"] if len(rows) == 1 else None


def partition_of_case(store: Store) -> str:
    """The partition of AWS that the case is in: that of most sign-ins, else of the findings' region."""
    for row in store.rows(
        "SELECT split_part(arn, ':', 2) AS partition FROM audit WHERE starts_with(arn, 'arn:') GROUP BY 1 ORDER BY count(*) DESC, partition LIMIT 1"
    ):
        return str(row["partition"])
    (row,) = store.rows("SELECT min(region) AS region FROM findings")
    return partition_in(row["region"])


def token_issuer(store: Store) -> str | None:
    """The cluster's OIDC issuer without its scheme, as principal ids of IRSA sessions hold it; None where no evidence says."""
    for row in store.rows("SELECT object FROM objects WHERE kind = 'Cluster' AND starts_with(api_version, 'aws:')"):
        issuer = dict_of(dict_of(dict_of(orjson.loads(row["object"])).get("identity")).get("oidc")).get("issuer")
        if isinstance(issuer, str):
            return issuer.removeprefix("https://")
    return None
