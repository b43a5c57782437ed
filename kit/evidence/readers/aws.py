"""What the AWS CLI prints about a cluster and its account: describe, list and get calls of EKS, EC2, IAM and others.

Things are told by the members of the call's output; docs/sources.md lists the calls. Oddities: list-access-entries prints principals
alone; list-associated-access-policies is one thing with its principal, whose empty list says that there are none; what a call
does not print (the role of list-attached-role-policies) is not known; an Investigation of GuardDuty is an assessment that a model
wrote, kept beside the evidence and never taken for a finding; digests tell which files of CloudTrail there should be. Source: botocore, output shapes of the calls in CALLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.record import Record
from kit.lenient import member
from kit.model.arn import account_of
from kit.model.finding import cluster_in_tags

TABLE = "objects"
TAKEN_AS = "AWS description"
TAKES = ("what the calls listed below print, as JSON or YAML",)

Values = dict[str, Any]


@dataclass(frozen=True)
class CliCall:
    """A call of the AWS CLI and what it prints.

    key: the member of its output that holds the thing, or the list of them. kind: what the thing is called in `objects`. name,
    uid: the thing's members that are its name and its ARN or id; "" where it has none.
    """

    service: str
    operation: str
    key: str
    kind: str
    name: str
    uid: str


CALLS = (
    CliCall("eks", "DescribeCluster", "cluster", "Cluster", "name", "arn"),
    CliCall("eks", "DescribeAccessEntry", "accessEntry", "AccessEntry", "principalArn", "accessEntryArn"),
    CliCall("eks", "ListAccessEntries", "accessEntries", "AccessEntry", "principalArn", "accessEntryArn"),
    CliCall(
        "eks",
        "ListPodIdentityAssociations",
        "associations",
        "PodIdentityAssociation",
        "serviceAccount",
        "associationArn",
    ),
    CliCall(
        "eks",
        "DescribePodIdentityAssociation",
        "association",
        "PodIdentityAssociation",
        "serviceAccount",
        "associationArn",
    ),
    CliCall("eks", "DescribeNodegroup", "nodegroup", "Nodegroup", "nodegroupName", "nodegroupArn"),
    CliCall(
        "eks", "DescribeFargateProfile", "fargateProfile", "FargateProfile", "fargateProfileName", "fargateProfileArn"
    ),
    CliCall("eks", "DescribeAddon", "addon", "Addon", "addonName", "addonArn"),
    CliCall("eks", "ListClusters", "clusters", "ClusterName", "name", ""),
    CliCall("eks", "ListNodegroups", "nodegroups", "NodegroupName", "nodegroupName", ""),
    CliCall("eks", "ListFargateProfiles", "fargateProfileNames", "FargateProfileName", "fargateProfileName", ""),
    CliCall("eks", "ListAddons", "addons", "AddonName", "addonName", ""),
    CliCall("eks", "ListAccessPolicies", "accessPolicies", "AccessPolicy", "name", "arn"),
    CliCall("eks", "ListInsights", "insights", "Insight", "name", "id"),
    CliCall("guardduty", "ListDetectors", "DetectorIds", "DetectorId", "DetectorId", ""),
    CliCall("guardduty", "ListFilters", "FilterNames", "FilterName", "Name", ""),
    CliCall("guardduty", "ListMembers", "Members", "Member", "AccountId", "AccountId"),
    CliCall("guardduty", "GetAdministratorAccount", "Administrator", "Administrator", "AccountId", "AccountId"),
    CliCall("guardduty", "GetInvestigation", "Investigation", "Investigation", "InvestigationId", "InvestigationId"),
    CliCall("guardduty", "ListInvestigations", "Investigations", "Investigation", "InvestigationId", "InvestigationId"),
    CliCall("guardduty", "ListInvestigationRecords", "Records", "InvestigationRecord", "RecordId", "RecordId"),
    CliCall("ec2", "DescribeVpcEndpoints", "VpcEndpoints", "VpcEndpoint", "VpcEndpointId", "VpcEndpointId"),
    CliCall("ec2", "DescribeInstances", "Reservations", "Instance", "InstanceId", "InstanceId"),
    CliCall("ec2", "DescribeSecurityGroups", "SecurityGroups", "SecurityGroup", "GroupName", "GroupId"),
    CliCall(
        "ec2",
        "DescribeNetworkInterfaces",
        "NetworkInterfaces",
        "NetworkInterface",
        "NetworkInterfaceId",
        "NetworkInterfaceId",
    ),
    CliCall("ec2", "DescribeVolumes", "Volumes", "Volume", "VolumeId", "VolumeId"),
    CliCall("ec2", "DescribeSnapshots", "Snapshots", "Snapshot", "SnapshotId", "SnapshotId"),
    CliCall("ec2", "DescribeNatGateways", "NatGateways", "NatGateway", "NatGatewayId", "NatGatewayId"),
    CliCall("ec2", "DescribeAddresses", "Addresses", "Address", "PublicIp", "AllocationId"),
    CliCall("ec2", "DescribeFlowLogs", "FlowLogs", "FlowLog", "FlowLogId", "FlowLogId"),
    CliCall(
        "route53resolver",
        "ListResolverQueryLogConfigAssociations",
        "ResolverQueryLogConfigAssociations",
        "ResolverQueryLogConfigAssociation",
        "ResourceId",
        "Id",
    ),
    CliCall(
        "route53resolver",
        "GetResolverQueryLogConfig",
        "ResolverQueryLogConfig",
        "ResolverQueryLogConfig",
        "Name",
        "Arn",
    ),
    CliCall("ec2", "DescribeSubnets", "Subnets", "Subnet", "SubnetId", "SubnetId"),
    CliCall(
        "autoscaling",
        "DescribeAutoScalingGroups",
        "AutoScalingGroups",
        "AutoScalingGroup",
        "AutoScalingGroupName",
        "AutoScalingGroupARN",
    ),
    CliCall("iam", "GetRole", "Role", "Role", "RoleName", "Arn"),
    CliCall("iam", "ListRoles", "Roles", "Role", "RoleName", "Arn"),
    CliCall("iam", "GetUser", "User", "User", "UserName", "Arn"),
    CliCall("iam", "ListUsers", "Users", "User", "UserName", "Arn"),
    CliCall("iam", "ListAccessKeys", "AccessKeyMetadata", "AccessKey", "AccessKeyId", "AccessKeyId"),
    CliCall("iam", "GetInstanceProfile", "InstanceProfile", "InstanceProfile", "InstanceProfileName", "Arn"),
    CliCall("iam", "ListInstanceProfiles", "InstanceProfiles", "InstanceProfile", "InstanceProfileName", "Arn"),
    CliCall("iam", "GetPolicy", "Policy", "Policy", "PolicyName", "Arn"),
    CliCall("iam", "GetPolicyVersion", "PolicyVersion", "PolicyVersion", "VersionId", ""),
    CliCall("iam", "ListAttachedRolePolicies", "AttachedPolicies", "AttachedPolicy", "PolicyName", "PolicyArn"),
    CliCall("iam", "ListRolePolicies", "PolicyNames", "InlinePolicyName", "PolicyName", ""),
    CliCall(
        "iam",
        "ListServiceSpecificCredentials",
        "ServiceSpecificCredentials",
        "ServiceSpecificCredential",
        "ServiceSpecificCredentialId",
        "ServiceSpecificCredentialId",
    ),
    CliCall("iam", "GetLoginProfile", "LoginProfile", "LoginProfile", "UserName", "UserName"),
    CliCall("iam", "ListMFADevices", "MFADevices", "MFADevice", "SerialNumber", "SerialNumber"),
    CliCall("organizations", "DescribeOrganization", "Organization", "Organization", "Id", "Arn"),
    CliCall("iam", "ListOpenIDConnectProviders", "OpenIDConnectProviderList", "OpenIDConnectProvider", "Arn", "Arn"),
    CliCall("iam", "GetAccountAuthorizationDetails", "UserDetailList", "User", "UserName", "Arn"),
    CliCall("iam", "GetAccountAuthorizationDetails", "RoleDetailList", "Role", "RoleName", "Arn"),
    CliCall("iam", "GetAccountAuthorizationDetails", "GroupDetailList", "Group", "GroupName", "Arn"),
    CliCall("iam", "GetAccountAuthorizationDetails", "Policies", "Policy", "PolicyName", "Arn"),
    CliCall("logs", "DescribeLogGroups", "logGroups", "LogGroup", "logGroupName", "arn"),
    CliCall("logs", "DescribeLogStreams", "logStreams", "LogStream", "logStreamName", "arn"),
    CliCall("cloudtrail", "DescribeTrails", "trailList", "Trail", "Name", "TrailARN"),
    CliCall("ecr", "DescribeRepositories", "repositories", "Repository", "repositoryName", "repositoryArn"),
    CliCall("ecr", "DescribeImages", "imageDetails", "Image", "imageDigest", "imageDigest"),
)
_BY_KEY = {call.key: call for call in CALLS}
_PROVIDERS = ("identityProviderConfig", "identityProviderConfigs")
LISTS = tuple(key for key in (*_BY_KEY, "identityProviderConfigs") if key.endswith(("s", "List", "Metadata")))

# Outputs that are one thing by themselves: the call, the members that tell them, service, kind, name, uid.
WHOLE = (
    ("`aws eks list-associated-access-policies`", {"associatedAccessPolicies", "principalArn"}, "eks", "AccessPolicies", "principalArn", ""),
    ("`aws iam get-role-policy`", {"RoleName", "PolicyName", "PolicyDocument"}, "iam", "RolePolicy", "PolicyName", ""),
    ("`aws iam get-user-policy`", {"UserName", "PolicyName", "PolicyDocument"}, "iam", "UserPolicy", "PolicyName", ""),
    ("`aws iam get-access-key-last-used`", {"UserName", "AccessKeyLastUsed"}, "iam", "AccessKeyLastUsed", "UserName", ""),
    ("`aws iam get-open-id-connect-provider`", {"Url", "ClientIDList", "ThumbprintList"}, "iam", "OpenIDConnectProvider", "Url", ""),
    ("`aws cloudtrail get-trail-status`", {"IsLogging", "LatestDeliveryAttemptTime"}, "cloudtrail", "TrailStatus", "LatestDeliveryAttemptTime", ""),
    ("`aws cloudtrail get-event-selectors`", {"TrailARN", "EventSelectors"}, "cloudtrail", "EventSelectors", "TrailARN", ""),
    ("`aws cloudtrail get-event-selectors` with advanced ones", {"TrailARN", "AdvancedEventSelectors"}, "cloudtrail", "EventSelectors", "TrailARN", ""),
    ("`aws guardduty get-detector`", {"ServiceRole", "FindingPublishingFrequency"}, "guardduty", "Detector", "ServiceRole", ""),
    ("`aws guardduty get-filter`", {"Name", "Action", "FindingCriteria"}, "guardduty", "Filter", "Name", ""),
    ("`aws ecr get-repository-policy`", {"repositoryName", "policyText"}, "ecr", "RepositoryPolicy", "repositoryName", ""),
    ("`aws ecr get-lifecycle-policy`", {"repositoryName", "lifecyclePolicyText"}, "ecr", "LifecyclePolicy", "repositoryName", ""),
    ("`aws ecr describe-image-scan-findings`", {"repositoryName", "imageScanFindings"}, "ecr", "ImageScanFindings", "repositoryName", ""),
    ("a digest file of CloudTrail", {"digestStartTime", "digestS3Object", "logFiles"}, "cloudtrail", "Digest", "digestS3Object", ""),
    ("`aws sts get-caller-identity`", {"UserId", "Account", "Arn"}, "sts", "CallerIdentity", "Arn", "Arn"),
)  # fmt: skip


# One of them stands in whatever a call prints; most records of a log have none, and each is asked for.
_MARKS = frozenset(
    {"identityProviderConfig", *_BY_KEY, *(call.name for call in CALLS), *(min(members) for _, members, *_ in WHOLE)}
)


def takes(record: Record) -> bool:
    """Whether a record is what one of the calls prints. Members that other services use as well are looked into."""
    value = record.value
    if record.of in LISTS:
        return record.of == "identityProviderConfigs" or _is_element(_BY_KEY[record.of], value)
    if not isinstance(value, dict) or not value.keys() & _MARKS:
        return False
    described = [call for key, call in _BY_KEY.items() if isinstance(value.get(key), dict)]
    return (
        any(_is_ours(call, value[call.key]) for call in described)
        or isinstance(value.get("identityProviderConfig"), dict)
        or any(members <= value.keys() for _, members, *_ in WHOLE)
        or (not record.of and _bare(value) is not None)
    )


def _bare(value: Values) -> CliCall | None:
    """The call that prints such a thing, where it stands without the call's member, as `--query` or jq leaves it."""
    return next(
        (
            call
            for call in CALLS
            if {call.name, call.uid} <= value.keys()
            and (call.uid in _TELL or _BESIDE.get(call.kind, {""}) <= value.keys())
            and _is_ours(call, value)
        ),
        None,
    )


# Members that nothing else has; an `arn` and an `Arn` are in much.
_TELL = {
    "accessEntryArn",
    "associationArn",
    "nodegroupArn",
    "fargateProfileArn",
    "addonArn",
    "InstanceId",
    "AutoScalingGroupARN",
}


# Kind → what stands beside an `arn`, an `Arn` or a group's id in that kind alone.
_BESIDE: dict[str, set[str]] = {
    "Cluster": {"resourcesVpcConfig"},
    "Role": {"RoleId", "AssumeRolePolicyDocument"},
    "User": {"UserId"},
    "SecurityGroup": {"IpPermissions"},
    "NetworkInterface": {"PrivateIpAddresses", "VpcId"},
}


def _is_element(call: CliCall, value: Any) -> bool:
    """Whether something in a list is of the call, of which others use the member's name too."""
    if not call.uid:  # names alone; a kubeconfig has clusters too
        return isinstance(value, str)
    return call.key not in ("associations", "Records", "Members", "repositories", "Addresses") or _is_ours(call, value)


def _is_ours(call: CliCall, value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    mark = value.get(call.uid or call.name)
    return isinstance(mark, str) and (call.service != "eks" or ":eks:" in mark)


def rows(record: Record) -> Iterator[Values]:
    """A row a thing. Instances of one reservation share its item."""
    value = record.value
    if record.of == "Reservations":
        instances = member(value, "Instances")
        if not isinstance(instances, list):
            raise EvidenceError("is not a list", where="Instances")
        if not instances:
            raise EvidenceError("holds no instance", where="Instances")
        for each in instances:
            yield _described(_BY_KEY["Reservations"], each) | {"account": member(value, "OwnerId")}
    elif record.of == "identityProviderConfigs":
        yield _identity_provider_config(value)
    elif record.of in _BY_KEY:
        call = _BY_KEY[record.of]
        yield _described(call, {call.name: value} if isinstance(value, str) else value)
    elif isinstance(value, dict):
        yield from _whole(value)
    else:
        raise EvidenceError("is no description by AWS that the kit knows")


def _whole(value: Values) -> Iterator[Values]:
    for _, members, service, kind, name, uid in WHOLE:
        if members <= value.keys():
            yield _thing(f"aws:{service}", kind, value, value[name], value.get(uid) if uid else None)
            return
    if call := _bare(value):  # members of it may be called like those of a call
        yield _described(call, value)
        return
    described = [key for key in (*_BY_KEY, "identityProviderConfig") if key in value]
    if not described:
        raise EvidenceError("is no description by AWS that the kit knows")
    for key in described:
        yield _identity_provider_config(value[key]) if key in _PROVIDERS else _described(_BY_KEY[key], value[key])


def _identity_provider_config(value: Any) -> Values:
    config = member(value, "oidc") or value
    name = member(config, "identityProviderConfigName") or member(config, "name")
    uid = member(config, "identityProviderConfigArn")
    return _thing("aws:eks", "IdentityProviderConfig", value, name, uid) | {"cluster": member(config, "clusterName")}


def _described(call: CliCall, value: Any) -> Values:
    uid = member(value, call.uid) if call.uid else None
    row = _thing(f"aws:{call.service}", call.kind, value, member(value, call.name), uid)
    if call.kind == "Cluster":
        row["cluster"] = row["name"]
    elif call.kind == "PodIdentityAssociation":
        row["namespace"] = member(value, "namespace")
    return row


def _thing(api_version: str, kind: str, value: Any, name: Any, uid: Any) -> Values:
    if not name:
        raise EvidenceError(f"is no {kind} without a name")
    text = json_text(value)
    return {
        "cluster": member(value, "clusterName") or cluster_in_tags(member(value, "Tags")),
        "account": account_of(uid) or member(value, "OwnerId") or member(value, "awsAccountId"),
        "api_version": api_version,
        "kind": kind,
        "resource": "",
        "namespace": None,
        "name": name,
        "uid": uid,
        "object": text,
        "event_hash": hash_of(text),
    }
