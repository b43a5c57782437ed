"""What is asked of the account and the cluster: one line a request, in the order in which its evidence vanishes.

Parameters that begin with `$` are filled in: by the cluster, the window and what earlier answers named. Sources: botocore's models; GuardDuty
User Guide, "Filter criteria"; CloudWatch Logs API, FilterLogEvents (the end is included); EKS User Guide, "Control plane logs"; Kubernetes API
conventions, lists; EC2 User Guide (a terminated instance is listed for about an hour).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.model.kubernetes import OBJECT_KINDS, ROLE_ANNOTATION, ObjectKind
from kit.words import Names

Members = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Request:
    """One kind of request. kind: of evidence, as `--only` names it. operation: of AWS, or the plural API name.

    asks: its parameters. each: the names that it is sent once for; chunk: how many of them at a time. finds: what its answer names → where.
    resource: what IAM lets it reach. permission: IAM's action where that is not the operation. everywhere: in the region of global services too.
    absent: the codes by which the service says that there is none of it.
    """

    kind: str
    service: str
    operation: str
    asks: Mapping[str, Any] = field(default_factory=dict)
    each: str = ""
    chunk: int = 0
    finds: Mapping[str, tuple[Members, ...]] = field(default_factory=dict)
    resource: str = "*"
    permission: str = ""
    everywhere: bool = False
    absent: Names = ()

    @property
    def needs(self) -> set[str]:
        """Names without which it is not sent."""
        return {self.each, *_variables(self.asks)} - {"", *ALWAYS_KNOWN}

    @property
    def iam_action(self) -> str:
        """The permission that it needs in AWS."""
        return self.permission or f"{self.service}:{self.operation}"


ALWAYS_KNOWN = {"one", "from", "to", "cluster", "account", "region", "finding", "start", "end"}
AUDIT_STREAMS, AUTHENTICATOR_STREAMS = "kube-apiserver-audit-", "authenticator-"


def _variables(asked: Any) -> set[str]:
    if isinstance(asked, Mapping):
        return {name for value in asked.values() for name in _variables(value)}
    if isinstance(asked, list | tuple):
        return {name for value in asked for name in _variables(value)}
    return {asked[1:]} if isinstance(asked, str) and asked.startswith("$") else set()


KINDS_OF_EVIDENCE = {
    "events": "an hour or so after each was made",
    "container_logs": "with the pod, and with the second restart of the container",
    "objects": "when each is deleted",
    "secrets": "when each is deleted",
    "findings": "90 days after the last update",
    "ec2": "about an hour after an instance is terminated",
    "eks": "when each is changed",
    "audit": "at the end of the log group's retention",
    "authenticator": "at the end of the log group's retention",
    "cloudtrail": "90 days after the event, where no trail delivers",
    "iam": "when each is changed",
    "ecr": "when a lifecycle rule takes the image",
    "network": "at the end of the log group's retention, or when the bucket deletes it",
}
"""Kinds of evidence, and when each is gone."""
ON_DEMAND = {"secrets", "network"}
"""Kinds that are collected only when they are named: RBAC would give their values too, or they are large and no reader takes them."""

_CLUSTER = "arn:$partition:eks:$region:$account:cluster/$cluster"
_GROUP = "arn:$partition:logs:$region:$account:log-group:/aws/eks/$cluster/cluster*"
_LOG_GROUP = {"logGroupName": "$log_group"}
_ROLE, _USER = "arn:$partition:iam::$account:role/*", "arn:$partition:iam::$account:user/*"
_PART_OF_EKS = "arn:$partition:eks:$region:$account:$part/$cluster/*"
_DETECTOR = "arn:$partition:guardduty:$region:$account:detector/*"
_POLICY, _POLICIES = "arn:$partition:iam::*:policy/*", {"policies": (("AttachedPolicies", "PolicyArn"),)}
_REPOSITORY = "arn:$partition:ecr:$region:$account:repository/*"


def _of_user(operation: str, finds: Mapping[str, tuple[Members, ...]] | None = None) -> Request:
    return Request("iam", "iam", operation, {"UserName": "$one"}, "users", finds=finds or {}, resource=_USER)


def _related(path: str, each: str) -> Request:
    """Findings by one attribute, archived ones too: GuardDuty lists both where the criteria do not say."""
    criteria = {"Criterion": {path: {"Eq": "$one"}}}
    asks = {"DetectorId": "$detectors", "FindingCriteria": criteria}
    return Request("findings", "guardduty", "ListFindings", asks, each, 50, {"finding_ids": (("FindingIds",),)}, _DETECTOR)  # fmt: skip


def _part_of_eks(listing: str, member: str, name: str, describing: str, parameter: str, part: str, roles: tuple[Members, ...] = ()) -> tuple[Request, ...]:  # fmt: skip
    """A listing of EKS, and the description of each that it names. name: of what the listing names; its member where that is an object."""
    path = (member, parameter) if part == "podidentityassociation" else (member,)
    finds = {"principals": roles} if roles else {}
    one = {"clusterName": "$cluster", parameter: "$one"}
    where = _PART_OF_EKS.replace("$part", part)
    return (
        Request("eks", "eks", listing, {"clusterName": "$cluster"}, finds={name: (path,)}, resource=_CLUSTER),
        Request("eks", "eks", describing, one, name, finds=finds, resource=where),
    )


def _in_vpc(operation: str, filter_name: str = "vpc-id", spelled: str = "Filters", finds: Mapping[str, tuple[Members, ...]] | None = None) -> Request:  # fmt: skip
    return Request("ec2", "ec2", operation, {spelled: [{"Name": filter_name, "Values": ["$vpc"]}]}, finds=finds or {})


def _stream(kind: str, prefix: str) -> Request:
    """The log streams of every API server for one slice of the window."""
    asks = _LOG_GROUP | {"logStreamNamePrefix": prefix, "startTime": "$from", "endTime": "$to"}
    return Request(kind, "logs", "FilterLogEvents", asks, "slices", resource=_GROUP)


_DETECTORS = Request("findings", "guardduty", "ListDetectors", finds={"detectors": (("DetectorIds",),)})
THE_FINDING = (
    _DETECTORS,
    Request("findings", "guardduty", "GetFindings", {"DetectorId": "$detectors", "FindingIds": ["$finding"]}, resource=_DETECTOR),
)  # fmt: skip
"""Where the finding itself is had, from which the window and the subjects follow."""
LATEST = Request("findings", "guardduty", "ListFindings", {"DetectorId": "$detectors", "FindingCriteria": {"Criterion": {"resource.eksClusterDetails.name": {"Eq": ["$cluster"]}}}, "SortCriteria": {"AttributeName": "updatedAt", "OrderBy": "DESC"}}, finds={"latest": (("FindingIds",),)}, resource=_DETECTOR)  # fmt: skip
"""Findings about the cluster, the latest first."""
_OF_SEQUENCES = {"Criterion": {"type": {"Eq": [f"AttackSequence:{one}" for one in ("EKS/CompromisedCluster", "IAM/CompromisedCredentials", "EC2/CompromisedInstanceGroup")]}}}  # fmt: skip
SEQUENCES = Request("findings", "guardduty", "ListFindings", {"DetectorId": "$detectors", "FindingCriteria": _OF_SEQUENCES}, finds={"sequences": (("FindingIds",),)}, resource=_DETECTOR)  # fmt: skip
SEQUENCE_FINDINGS = Request("findings", "guardduty", "GetFindings", {"DetectorId": "$detectors", "FindingIds": "$one"}, "sequences", 50, resource=_DETECTOR)  # fmt: skip
"""Attack sequences: they name their cluster in a list of resources, which no criterion reaches."""
THE_CLUSTER = Request("eks", "eks", "DescribeCluster", {"name": "$cluster"}, resource=_CLUSTER, finds={
    "vpc": (("cluster", "resourcesVpcConfig", "vpcId"),), "principals": (("cluster", "roleArn"),),
})  # fmt: skip


def _objects(resource: str, kind: str = "objects", finds: Mapping[str, tuple[Members, ...]] | None = None) -> Request:
    return Request(kind, "kubernetes", resource, finds=finds or {})


LEASES = ObjectKind("leases", "Lease", "coordination.k8s.io", "v1", True)
LISTED_KINDS = OBJECT_KINDS | {"leases": LEASES}
NAMES_ALONE = "customresourcedefinitions"
"""Of these the names are enough, and their schemas are large."""
_STATUSES = [("items", "status", one) for one in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")]  # fmt: skip
_IN_OBJECTS: dict[str, Mapping[str, tuple[Members, ...]]] = {
    "nodes": {"instances": (("items", "spec", "providerID"),)},
    "serviceaccounts": {"principals": (("items", "metadata", "annotations", ROLE_ANNOTATION),)},
    "pods": {"images": tuple((*one, "imageID") for one in _STATUSES), "pods": (("items",),)},
}
_LAST = ("events", "secrets")  # these have kinds of their own
_INSTANCES = [{"Name": "instance-id", "Values": "$one"}]
_ATTACHED = [{"Name": "attachment.instance-id", "Values": "$one"}]
EVENTS = _objects("events", "events")
LISTED_OBJECTS = tuple(_objects(one, finds=_IN_OBJECTS.get(one)) for one in LISTED_KINDS if one not in _LAST)
SECRETS = _objects("secrets", "secrets")
LOG_GROUPS = Request("audit", "logs", "DescribeLogGroups", {"logGroupNamePrefix": "$log_group"}, finds={"log_groups": (("logGroups", "arn"),)})  # fmt: skip
ORGANIZATION = Request("cloudtrail", "organizations", "DescribeOrganization", each="organization_trails", finds={"organizations": (("Organization", "Id"),)}, absent=("AWSOrganizationsNotInUseException",))  # fmt: skip
"""Asked where a trail is an organization's: its id is a part of the folder's name."""
TRAIL_FILES = Request("cloudtrail", "s3", "ListObjectsV2", {"Bucket": "$bucket", "Prefix": "$prefix"}, "trail_days", permission="s3:ListBucket", resource="arn:$partition:s3:::*", finds={"delivered": (("Contents", "Key"),)})  # fmt: skip
TRAIL_FILE = Request("cloudtrail", "s3", "GetObject", {"Bucket": "$bucket", "Key": "$key"}, "trail_files", resource="arn:$partition:s3:::*/AWSLogs/*")  # fmt: skip
"""The files that a trail delivered on a day to a region's folder, and one of them."""
LOG_FILES = Request("audit", "s3", "ListObjectsV2", {"Bucket": "$bucket", "Prefix": "$prefix"}, "log_folders", permission="s3:ListBucket", resource="arn:$partition:s3:::$logs_bucket", finds={"bucket_files": (("Contents",),)})  # fmt: skip
LOG_FILE = Request("audit", "s3", "GetObject", {"Bucket": "$bucket", "Key": "$key"}, "bucket_files", resource="arn:$partition:s3:::$logs_bucket/$logs_prefix*")  # fmt: skip
"""The files of the control plane's logs in a bucket, and one of them: asked for on demand, in place of CloudWatch Logs."""
NETWORK = (
    Request("network", "logs", "DescribeLogGroups", {"logGroupNamePrefix": "$network_group"}, "network_groups"),
    Request("network", "s3", "ListObjectsV2", {"Bucket": "$network_bucket", "Prefix": "$network_prefix"}, "network_folders", permission="s3:ListBucket", resource="arn:$partition:s3:::*", finds={"network_files": (("Contents",),)}),
    Request("network", "logs", "FilterLogEvents", {"logGroupName": "$network_group", "logStreamNamePrefix": "$stream", "startTime": "$from", "endTime": "$to"}, "network_streams", resource="arn:$partition:logs:$region:$account:log-group:*"),
    Request("network", "s3", "GetObject", {"Bucket": "$network_bucket", "Key": "$network_key"}, "network_files", resource="arn:$partition:s3:::*/AWSLogs/*"),
)  # fmt: skip
"""The traffic and the DNS queries of the nodes, where they were logged: how much a group has, which files there are, and then both.

Kept, and read by no reader.
"""
EVENT_HISTORY = Request("cloudtrail", "cloudtrail", "LookupEvents", {"StartTime": "$from", "EndTime": "$to"}, "days", everywhere=True)  # fmt: skip
"""Management events alone, of 90 days: asked where no trail's files could be had."""
IN_AWS = (
    Request("ec2", "ec2", "DescribeInstances", {"Filters": _INSTANCES}, "instances", 200, {"profiles": (("Reservations", "Instances", "IamInstanceProfile", "Arn"),)}),
    Request("ec2", "ec2", "DescribeVolumes", {"Filters": _ATTACHED}, "instances", 200),
    _in_vpc("DescribeNetworkInterfaces", finds={"interfaces": (("NetworkInterfaces",),)}), _in_vpc("DescribeSecurityGroups"), _in_vpc("DescribeSubnets"), _in_vpc("DescribeVpcEndpoints"),
    _in_vpc("DescribeNatGateways", spelled="Filter"), _in_vpc("DescribeFlowLogs", "resource-id", "Filter", {"flow_logs": (("FlowLogs",),)}),
    Request("ec2", "route53resolver", "ListResolverQueryLogConfigAssociations", {"Filters": [{"Name": "ResourceId", "Values": ["$vpc"]}]}, finds={"query_log_configs": (("ResolverQueryLogConfigAssociations", "ResolverQueryLogConfigId"),)}),
    Request("ec2", "route53resolver", "GetResolverQueryLogConfig", {"ResolverQueryLogConfigId": "$one"}, "query_log_configs", finds={"query_logs": (("ResolverQueryLogConfig", "DestinationArn"),)}),
    *_part_of_eks("ListAccessEntries", "accessEntries", "access_entries", "DescribeAccessEntry", "principalArn", "access-entry", (("accessEntry", "principalArn"),)),
    Request("eks", "eks", "ListAssociatedAccessPolicies", {"clusterName": "$cluster", "principalArn": "$one"}, "access_entries", resource=_PART_OF_EKS.replace("$part", "access-entry")),
    *_part_of_eks("ListPodIdentityAssociations", "associations", "associations", "DescribePodIdentityAssociation", "associationId", "podidentityassociation", (("association", "roleArn"), ("association", "targetRoleArn"))),
    Request("eks", "eks", "ListIdentityProviderConfigs", {"clusterName": "$cluster"}, finds={"identity_providers": (("identityProviderConfigs",),)}, resource=_CLUSTER),
    Request("eks", "eks", "DescribeIdentityProviderConfig", {"clusterName": "$cluster", "identityProviderConfig": "$one"}, "identity_providers", resource=_PART_OF_EKS.replace("$part", "identityproviderconfig")),
    *_part_of_eks("ListNodegroups", "nodegroups", "node_groups", "DescribeNodegroup", "nodegroupName", "nodegroup", (("nodegroup", "nodeRole"),)),
    *_part_of_eks("ListFargateProfiles", "fargateProfileNames", "fargate_profiles", "DescribeFargateProfile", "fargateProfileName", "fargateprofile", (("fargateProfile", "podExecutionRoleArn"),)),
    *_part_of_eks("ListAddons", "addons", "addons", "DescribeAddon", "addonName", "addon", (("addon", "serviceAccountRoleArn"),)),
    Request("eks", "eks", "ListInsights", {"clusterName": "$cluster"}, resource=_CLUSTER),
    LOG_GROUPS,
    Request("audit", "logs", "DescribeLogStreams", _LOG_GROUP | {"logStreamNamePrefix": AUDIT_STREAMS}, resource=_GROUP),
    _stream("audit", AUDIT_STREAMS), _stream("authenticator", AUTHENTICATOR_STREAMS),
    Request("cloudtrail", "cloudtrail", "DescribeTrails", finds={"trails": (("trailList", "TrailARN"),), "trail_buckets": (("trailList",),)}),
    Request("cloudtrail", "cloudtrail", "GetTrailStatus", {"Name": "$one"}, "trails"),
    Request("cloudtrail", "cloudtrail", "GetEventSelectors", {"TrailName": "$one"}, "trails"),
    ORGANIZATION, TRAIL_FILES, TRAIL_FILE, EVENT_HISTORY,
    Request("iam", "iam", "GetInstanceProfile", {"InstanceProfileName": "$one"}, "profiles", finds={"principals": (("InstanceProfile", "Roles", "Arn"),)}, resource="arn:$partition:iam::$account:instance-profile/*"),
    Request("iam", "iam", "GetRole", {"RoleName": "$one"}, "roles", resource=_ROLE),
    Request("iam", "iam", "ListAttachedRolePolicies", {"RoleName": "$one"}, "roles", finds=_POLICIES, resource=_ROLE),
    Request("iam", "iam", "ListRolePolicies", {"RoleName": "$one"}, "roles", finds={"role_policies": (("PolicyNames",),)}, resource=_ROLE),
    Request("iam", "iam", "GetRolePolicy", {"RoleName": "$role", "PolicyName": "$policy"}, "role_policies", resource=_ROLE),
    _of_user("GetUser"), _of_user("ListAccessKeys", {"access_keys": (("AccessKeyMetadata", "AccessKeyId"),)}),
    Request("iam", "iam", "GetAccessKeyLastUsed", {"AccessKeyId": "$one"}, "access_keys"),
    _of_user("GetLoginProfile"), _of_user("ListMFADevices"), _of_user("ListServiceSpecificCredentials"),
    _of_user("ListAttachedUserPolicies", _POLICIES), _of_user("ListUserPolicies", {"user_policies": (("PolicyNames",),)}),
    Request("iam", "iam", "GetUserPolicy", {"UserName": "$user", "PolicyName": "$policy"}, "user_policies", resource=_USER),
    Request("iam", "iam", "GetPolicy", {"PolicyArn": "$one"}, "policies", finds={"policy_versions": (("Policy",),)}, resource=_POLICY),
    Request("iam", "iam", "GetPolicyVersion", {"PolicyArn": "$policy_arn", "VersionId": "$version"}, "policy_versions", resource=_POLICY),
    Request("iam", "iam", "ListOpenIDConnectProviders", finds={"oidc_providers": (("OpenIDConnectProviderList", "Arn"),)}),
    Request("iam", "iam", "GetOpenIDConnectProvider", {"OpenIDConnectProviderArn": "$one"}, "oidc_providers", resource="arn:$partition:iam::$account:oidc-provider/*"),
    Request("ecr", "ecr", "DescribeImages", {"repositoryName": "$repository", "imageIds": ["$digest"]}, "own_images", resource=_REPOSITORY),
    Request("ecr", "ecr", "DescribeImageScanFindings", {"repositoryName": "$repository", "imageId": "$digest"}, "own_images", resource=_REPOSITORY),
    Request("ecr", "ecr", "GetRepositoryPolicy", {"repositoryName": "$repository"}, "repositories", resource=_REPOSITORY),
    Request("ecr", "ecr", "GetLifecyclePolicy", {"repositoryName": "$repository"}, "repositories", resource=_REPOSITORY),
    Request("findings", "guardduty", "GetDetector", {"DetectorId": "$detectors"}, resource=_DETECTOR),
    Request("findings", "guardduty", "GetAdministratorAccount", {"DetectorId": "$detectors"}, resource=_DETECTOR, absent=("BadRequestException",)),
    Request("findings", "guardduty", "ListMembers", {"DetectorId": "$detectors", "OnlyAssociated": "false"}, resource=_DETECTOR, absent=("BadRequestException",)),
    Request("findings", "guardduty", "ListFilters", {"DetectorId": "$detectors"}, finds={"filters": (("FilterNames",),)}, resource=_DETECTOR),
    Request("findings", "guardduty", "GetFilter", {"DetectorId": "$detectors", "FilterName": "$one"}, "filters", resource=f"{_DETECTOR}/filter/*"),
    SEQUENCES, SEQUENCE_FINDINGS,
    _related("resource.eksClusterDetails.name", "own_names"), _related("resource.instanceDetails.instanceId", "instances"),
    _related("resource.accessKeyDetails.userName", "roles"), _related("resource.accessKeyDetails.userName", "users"),
    Request("findings", "guardduty", "GetFindings", {"DetectorId": "$detectors", "FindingIds": "$one"}, "finding_ids", 50, resource=_DETECTOR),
)  # fmt: skip
_MADE_FROM = {"network_streams": "flow_logs", "network_folders": "query_logs", "network_group": "interfaces", "stream": "instances", "network_bucket": "query_logs", "network_prefix": "flow_logs", "network_files": "flow_logs", "network_key": "flow_logs", "network_groups": "flow_logs", "repositories": "images", "repository": "images", "roles": "principals", "users": "principals", "role": "principals", "user": "principals", "policy": "principals", "policy_arn": "policies", "version": "policy_versions", "own_images": "images", "digest": "images", "organization_trails": "trail_buckets", "trail_days": "trail_buckets", "trail_files": "delivered", "bucket": "trail_buckets", "prefix": "trail_buckets", "key": "delivered"}  # fmt: skip
EVERY = (*THE_FINDING, LATEST, THE_CLUSTER, EVENTS, *LISTED_OBJECTS, *IN_AWS)
"""All requests but those of ON_DEMAND and for logs in a bucket, which are sent on demand alone."""


def asked_for(kinds: set[str]) -> set[Request]:
    """The requests of these kinds, and those whose answers name what they ask for."""
    found = {one for one in (*EVERY, SECRETS, *NETWORK) if one.kind in kinds}
    while True:
        wanted = {_MADE_FROM.get(name, name) for one in found for name in one.needs}
        more = {one for one in EVERY if wanted & set(one.finds)} - found
        if not more:
            return found
        found |= more
