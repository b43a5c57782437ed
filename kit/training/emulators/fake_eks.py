"""EKS, all of it: moto knows clusters and node groups, but neither access nor updates."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kit.training.emulators.aws_fakes import (
    FAKES,
    Account,
    Call,
    Cluster,
    Record,
    Refusal,
    Update,
    arn,
    fake,
    missing,
    page,
)


def in_use(message: str) -> Refusal:
    """What EKS says of a thing that is there already, or that is being changed."""
    return Refusal("ResourceInUseException", 409, message)


def invalid(message: str) -> Refusal:
    """What EKS says of a parameter that it does not take."""
    return Refusal("InvalidParameterException", 400, message)


def cluster_of(account: Account, call: Call) -> Cluster:
    """The cluster that a call names. Raises Refusal where there is none, or where it has no access entries."""
    name = call.parameters.get("clusterName") or call.parameters["name"]
    if name not in account.clusters:
        raise missing(f"No cluster found for name: {name}.")
    cluster = account.clusters[name]
    if "Access" in call.operation and cluster.description["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise Refusal(
            "InvalidRequestException",
            400,
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.",
        )
    return cluster


@fake("eks:CreateCluster")
def _(account: Account, call: Call) -> Record:
    given = call.parameters
    if given["name"] in account.clusters:
        raise in_use(f"Cluster already exists with name: {given['name']}")
    network: Record = {"endpointPublicAccess": True, "endpointPrivateAccess": False, "publicAccessCidrs": ["0.0.0.0/0"]}
    network |= {"subnetIds": [], "securityGroupIds": []} | given["resourcesVpcConfig"]
    subnets = [account.ec2.get_subnet(name) for name in network["subnetIds"]]
    network["vpcId"] = subnets[0].vpc_id if subnets else account.ec2.get_default_vpc().id
    group_name = f"eks-cluster-sg-{given['name']}-{uuid.uuid4().int % 10**9}"
    group = account.ec2.create_security_group(group_name, "EKS created security group", network["vpcId"])
    network["clusterSecurityGroupId"] = group.id
    description = {
        "name": given["name"],
        "arn": arn(account, "eks", f"cluster/{given['name']}"),
        "createdAt": account.now(),
        "version": given.get("version", "1.33"),
        "platformVersion": "eks.1",
        "endpoint": f"https://0123456789ABCDEF.gr7.{account.region}.eks.amazonaws.com",
        "certificateAuthority": {"data": "ZW11bGF0ZWQ="},
        "identity": {"oidc": {"issuer": f"https://oidc.eks.{account.region}.amazonaws.com/id/0123456789ABCDEF"}},
        "roleArn": given["roleArn"],
        "resourcesVpcConfig": network,
        "logging": _logging(given.get("logging", {}).get("clusterLogging", []), set()),
        "accessConfig": {"authenticationMode": "CONFIG_MAP"} | given.get("accessConfig", {}),
        "computeConfig": {"enabled": False} | given.get("computeConfig", {}),
        "status": "ACTIVE",
        "tags": given.get("tags", {}),
    }
    account.clusters[given["name"]] = Cluster(description)
    return {"cluster": description}


LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")


def _logging(wanted: list[Record], enabled: set[str]) -> Record:
    for setup in wanted:
        types = set(setup.get("types", ()))
        enabled = enabled | types if setup.get("enabled") else enabled - types
    parts = [(True, [kind for kind in LOG_TYPES if kind in enabled])]
    parts += [(False, [kind for kind in LOG_TYPES if kind not in enabled])]
    return {"clusterLogging": [{"types": types, "enabled": on} for on, types in parts if types]}


@fake("eks:ListClusters")
def _(account: Account, call: Call) -> Record:
    return page(account, call, "clusters", account.clusters)


@fake("eks:DescribeCluster")
def _(account: Account, call: Call) -> Record:
    cluster = cluster_of(account, call)
    _look(account, cluster, call)
    return {"cluster": cluster.description}


def _begin(
    account: Account, cluster: Cluster, holder: Record, kind: str, apply: Callable[[], object], **params: Any
) -> Record:
    running = next(
        (one.record["id"] for one in cluster.updates.values() if one.holder is holder and one.looks >= 0), None
    )
    if running:
        raise in_use(f"Cluster currently has update {running} in progress")
    record: Record = {
        "id": str(uuid.uuid4()),
        "status": "InProgress",
        "type": kind,
        "createdAt": account.now(),
        "errors": [],
    }
    record["params"] = [{"type": name[0].upper() + name[1:], "value": str(value)} for name, value in params.items()]
    holder["status"] = "UPDATING"
    cluster.updates[record["id"]] = Update(record, holder, account.looks, apply)
    return {"update": dict(record)}


def _look(account: Account, cluster: Cluster, call: Call) -> None:
    for update in cluster.updates.values():
        if update.looks >= 0 and call.over_http:
            update.looks -= 1
            if update.looks < 0:
                update.holder["status"] = "ACTIVE"
                update.record["status"] = account.updates_end
                if account.updates_end == "Successful":
                    update.apply()


@fake("eks:DescribeUpdate")
def _(account: Account, call: Call) -> Record:
    cluster = account.clusters.get(call.parameters["name"], Cluster({}))
    _look(account, cluster, call)
    if call.parameters["updateId"] not in cluster.updates:
        raise missing(f"No update found for ID: {call.parameters['updateId']}")
    return {"update": cluster.updates[call.parameters["updateId"]].record}


@fake("eks:ListUpdates")
def _(account: Account, call: Call) -> Record:
    return page(account, call, "updateIds", account.clusters[call.parameters["name"]].updates)


MODES = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]


@fake("eks:UpdateClusterConfig")
def _(account: Account, call: Call) -> Record:
    cluster, given = cluster_of(account, call), call.parameters
    wanted = [name for name in ("resourcesVpcConfig", "logging", "accessConfig") if name in given]
    if len(wanted) != 1:
        raise invalid("Only one type of update can be allowed.")
    name, old = wanted[0], cluster.description[wanted[0]]
    if name == "logging":
        enabled = {kind for setup in old["clusterLogging"] if setup["enabled"] for kind in setup["types"]}
        new, kind, params = _logging(given[name]["clusterLogging"], enabled), "LoggingUpdate", given[name]
        if new == old:
            raise invalid("No changes needed for the logging config provided")
    elif name == "accessConfig":
        new, kind, params = old | given[name], "AccessConfigUpdate", given[name]
        before, after = old["authenticationMode"], new["authenticationMode"]
        if MODES.index(after) != MODES.index(before) + 1:
            raise invalid(f"Unsupported authentication mode update from {before} to {after}")
    else:
        new, kind, params = old | given[name], "EndpointAccessUpdate", given[name]
        if not new["endpointPublicAccess"] and not new["endpointPrivateAccess"]:
            raise invalid("Private and public endpoint access cannot be false")
        if new == old:
            raise invalid(
                f"Cluster is already at the desired configuration with endpointPrivateAccess: {str(new['endpointPrivateAccess']).lower()} , "
                f"endpointPublicAccess: {str(new['endpointPublicAccess']).lower()}, and Public Endpoint Restrictions: {new['publicAccessCidrs']}"
            )
    return _begin(
        account, cluster, cluster.description, kind, lambda: cluster.description.update({name: new}), **params
    )


@dataclass(frozen=True)
class Kind:
    """A kind of thing that hangs on a cluster, by EKS's words for one and for many of it."""

    one: str
    many: str
    key: str
    member: str
    made: Callable[[Account, str, Record], Record]


def _access_entry(account: Account, cluster: str, given: Record) -> Record:
    _, _, _, _, number, what = given["principalArn"].split(":")
    kind = given.get("type", "STANDARD")
    if kind != "STANDARD" and (given.get("kubernetesGroups") or given.get("username")):
        raise invalid(f"The kubernetesGroups and username cannot be set for an access entry of type {kind}")
    assumed = f"arn:aws:sts::{number}:assumed-role/{what.rpartition('/')[2]}/{{{{SessionName}}}}"
    return {
        "kubernetesGroups": [],
        "username": assumed if what.startswith("role/") else given["principalArn"],
        "type": kind,
        "accessEntryArn": arn(account, "eks", f"access-entry/{cluster}/{what.split('/')[0]}/{number}/{what.rpartition('/')[2]}/{uuid.uuid4()}"),
        "policies": {},
    }  # fmt: skip


def _association(account: Account, cluster: str, given: Record) -> Record:
    name = "a-" + uuid.uuid4().hex[:17]
    return {"associationId": name, "associationArn": arn(account, "eks", f"podidentityassociation/{cluster}/{name}")}


def _nodegroup(account: Account, cluster: str, given: Record) -> Record:
    name = given["nodegroupName"]
    group = {"name": f"eks-{name}-{uuid.uuid4()}"}
    what = arn(account, "eks", f"nodegroup/{cluster}/{name}/{uuid.uuid4()}")
    return {
        "status": "ACTIVE",
        "nodegroupArn": what,
        "resources": {"autoScalingGroups": [group]},
        "capacityType": "ON_DEMAND",
    }


def _addon(account: Account, cluster: str, given: Record) -> Record:
    return {"status": "ACTIVE", "addonArn": arn(account, "eks", f"addon/{cluster}/{given['addonName']}/{uuid.uuid4()}")}


KINDS = (
    Kind("AccessEntry", "AccessEntries", "principalArn", "accessEntry", _access_entry),
    Kind("PodIdentityAssociation", "PodIdentityAssociations", "associationId", "association", _association),
    Kind("Nodegroup", "Nodegroups", "nodegroupName", "nodegroup", _nodegroup),
    Kind("Addon", "Addons", "addonName", "addon", _addon),
)


def _part(account: Account, call: Call, kind: Kind) -> Record:
    found = cluster_of(account, call).parts[kind.one].get(call.parameters[kind.key])
    if found is None:
        raise missing(f"The specified {kind.key} could not be found: {call.parameters[kind.key]}")
    return found


def _create(account: Account, call: Call, kind: Kind) -> Record:
    cluster, given = cluster_of(account, call), call.parameters
    unique = [kind.key] if kind.key in given else ["namespace", "serviceAccount"]
    if any(all(one[name] == given[name] for name in unique) for one in cluster.parts[kind.one].values()):
        raise in_use(f"The specified {kind.member} resource is already in use on this cluster.")
    record: Record = {"tags": {}, "createdAt": account.now(), "modifiedAt": account.now()}
    record |= kind.made(account, given["clusterName"], given) | {
        k: v for k, v in given.items() if k != "clientRequestToken"
    }
    cluster.parts[kind.one][record[kind.key]] = record
    return {kind.member: record}


def _list(account: Account, call: Call, kind: Kind) -> Record:
    parts, given = cluster_of(account, call).parts[kind.one], call.parameters
    wanted = {name: given[name] for name in ("namespace", "serviceAccount") if name in given}
    rows = [one for one in parts.values() if all(one[name] == value for name, value in wanted.items())]
    if "associatedPolicyArn" in given:
        rows = [one for one in rows if given["associatedPolicyArn"] in one["policies"]]
    summaries = kind.one == "PodIdentityAssociation"
    name = "associations" if summaries else kind.many[0].lower() + kind.many[1:]
    return page(account, call, name, rows if summaries else [one[kind.key] for one in rows])


def _update(account: Account, call: Call, kind: Kind) -> Record:
    record = _part(account, call, kind)
    record.update({k: v for k, v in call.parameters.items() if k != "clientRequestToken"}, modifiedAt=account.now())
    return {kind.member: record}


def _delete(account: Account, call: Call, kind: Kind) -> Record:
    record = _part(account, call, kind)
    return {kind.member: cluster_of(account, call).parts[kind.one].pop(record[kind.key])}


def _describe(account: Account, call: Call, kind: Kind) -> Record:
    if kind.one == "Nodegroup":
        _look(account, cluster_of(account, call), call)
    return {kind.member: _part(account, call, kind)}


for each in KINDS:
    for verb, does in (("Create", _create), ("Describe", _describe), ("Update", _update), ("Delete", _delete)):
        FAKES[f"eks:{verb}{each.one}"] = partial(does, kind=each)
    FAKES[f"eks:List{each.many}"] = partial(_list, kind=each)


@fake("eks:UpdateNodegroupConfig", "eks:UpdateAddon")
def _(account: Account, call: Call) -> Record:
    kind = next(kind for kind in KINDS if kind.key in call.parameters)
    record, given = _part(account, call, kind), call.parameters
    known = ("scalingConfig", "updateConfig", "nodeRepairConfig", "configurationValues", "addonVersion")
    names = [name for name in known if name in given]
    new: Record = {
        name: record.get(name, {}) | given[name] if isinstance(given[name], dict) else given[name] for name in names
    }
    what = "AddonUpdate" if kind.one == "Addon" else "ConfigUpdate"
    told = {"nodeRepairEnabled": str(new["nodeRepairConfig"]["enabled"]).lower()} if "nodeRepairConfig" in new else {}
    return _begin(account, cluster_of(account, call), record, what, lambda: record.update(new), **new, **told)


POLICIES = ("AmazonEKSAdminPolicy", "AmazonEKSClusterAdminPolicy", "AmazonEKSAdminViewPolicy", "AmazonEKSEditPolicy", "AmazonEKSViewPolicy", "AmazonEKSSecretReaderPolicy")  # fmt: skip


@fake("eks:ListAccessPolicies")
def _(account: Account, call: Call) -> Record:
    policies = [{"name": name, "arn": f"arn:aws:eks::aws:cluster-access-policy/{name}"} for name in POLICIES]
    return page(account, call, "accessPolicies", policies)


@fake("eks:AssociateAccessPolicy", "eks:DisassociateAccessPolicy", "eks:ListAssociatedAccessPolicies")
def _(account: Account, call: Call) -> Record:
    entry, policy = _part(account, call, KINDS[0]), call.parameters.get("policyArn", "")
    names = {name: call.parameters[name] for name in ("clusterName", "principalArn")}
    if call.operation.startswith("eks:List"):
        return page(account, call, "associatedAccessPolicies", entry["policies"].values()) | names
    if call.operation.startswith("eks:Disassociate"):
        if entry["policies"].pop(policy, None) is None:
            raise missing("The specified policyArn is not associated with the access entry.")
        return {}
    if policy.removeprefix("arn:aws:eks::aws:cluster-access-policy/") not in POLICIES:
        raise missing("The specified policyArn could not be found.")
    first = entry["policies"].get(policy, {}).get("associatedAt", account.now())
    entry["policies"][policy] = {
        "policyArn": policy,
        "accessScope": {"namespaces": []} | call.parameters["accessScope"],
        "associatedAt": first,
        "modifiedAt": account.now(),
    }
    return names | {"associatedAccessPolicy": entry["policies"][policy]}


@fake("eks:AssociateIdentityProviderConfig", "eks:DisassociateIdentityProviderConfig", "eks:DescribeIdentityProviderConfig", "eks:ListIdentityProviderConfigs")  # fmt: skip
def _(account: Account, call: Call) -> Record:
    cluster, given = cluster_of(account, call), call.parameters
    configs = cluster.parts["IdentityProviderConfig"]
    if call.operation.startswith("eks:List"):
        return page(account, call, "identityProviderConfigs", [{"type": "oidc", "name": name} for name in configs])
    if call.operation.startswith("eks:Associate"):
        name = given["oidc"]["identityProviderConfigName"]
        configs[name] = given["oidc"] | {"clusterName": given["clusterName"], "status": "ACTIVE"}
        return {"update": {"id": str(uuid.uuid4()), "status": "InProgress", "type": "AssociateIdentityProviderConfig"}}
    name = given["identityProviderConfig"]["name"]
    if name not in configs:
        raise missing(f"Identity provider config {name} is not associated with cluster.")
    if call.operation.startswith("eks:Describe"):
        return {"identityProviderConfig": {"oidc": configs[name]}}
    return _begin(
        account, cluster, cluster.description, "DisassociateIdentityProviderConfig", lambda: configs.pop(name)
    )
