"""What undoes a call of the attacker's in AWS, or shows what has to be put back: in IAM, in the cluster's access, in what records, in what is shared.

Sources: the services' API references (parameters as CloudTrail has them); AWS Security Incident Response Guide (recording that was switched off,
snapshots and images that were shared).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.lenient import dict_of, dicts_of
from kit.model.command_line import aws

_USER, _ROLE, _GROUP = {"user_name": "userName"}, {"role_name": "roleName"}, {"group_name": "groupName"}
_POLICY, _ATTACHED = {"policy_name": "policyName"}, {"policy_arn": "policyArn"}
_ENTRY = {"cluster_name": "cluster", "principal_arn": "principalArn"}
_ASSOCIATION = {"cluster_name": "cluster", "namespace": "namespace", "service_account": "serviceAccount"}
_TRAIL, _DETECTOR, _GROUP_OF_LOGS = (
    {"name": "name"},
    {"detector_id": "detectorId"},
    {"log_group_name_prefix": "logGroupName"},
)
_SNAPSHOT = {"snapshot_id": "snapshotId", "attribute": "=createVolumePermission"}
_FUNCTION, _KEY, _SECRET = {"function_name": "functionName"}, {"key_id": "keyId"}, {"secret_id": "secretId"}
_BUCKET, _REPOSITORY = {"bucket": "bucketName"}, {"repository_name": "repositoryName"}
_UNDONE_BY: dict[str, list[tuple[str, dict[str, str]]]] = {
    "CreateUser": [("iam get-user", _USER), ("iam delete-user", _USER)],
    "CreateLoginProfile": [("iam delete-login-profile", _USER)],
    "UpdateLoginProfile": [("iam delete-login-profile", _USER)],
    "AttachUserPolicy": [("iam detach-user-policy", _USER | _ATTACHED)],
    "PutUserPolicy": [("iam delete-user-policy", _USER | _POLICY)],
    "AddUserToGroup": [("iam remove-user-from-group", _USER | _GROUP)],
    "EnableMFADevice": [("iam deactivate-mfa-device", _USER | {"serial_number": "serialNumber"})],
    "DeactivateMFADevice": [("iam list-mfa-devices", _USER)],
    "CreateServiceSpecificCredential": [("iam list-service-specific-credentials", _USER)],
    "UploadSSHPublicKey": [("iam list-ssh-public-keys", _USER)],
    "UploadSigningCertificate": [("iam list-signing-certificates", _USER)],
    "UpdateAccessKey": [("iam list-access-keys", _USER)],
    "CreateRole": [("iam get-role", _ROLE), ("iam delete-role", _ROLE)],
    "UpdateAssumeRolePolicy": [("iam get-role", _ROLE)],
    "AttachRolePolicy": [("iam detach-role-policy", _ROLE | _ATTACHED)],
    "PutRolePolicy": [("iam delete-role-policy", _ROLE | _POLICY)],
    "DeleteRolePolicy": [("iam list-role-policies", _ROLE)],
    "DetachRolePolicy": [("iam list-attached-role-policies", _ROLE)],
    "AttachGroupPolicy": [("iam detach-group-policy", _GROUP | _ATTACHED)],
    "PutGroupPolicy": [("iam delete-group-policy", _GROUP | _POLICY)],
    "CreatePolicyVersion": [("iam list-policy-versions", _ATTACHED)],
    "SetDefaultPolicyVersion": [("iam list-policy-versions", _ATTACHED)],
    "CreateOpenIDConnectProvider": [("iam list-open-id-connect-providers", {})],
    "CreateSAMLProvider": [("iam list-saml-providers", {})],
    "AssociateAccessPolicy": [("eks disassociate-access-policy", _ENTRY | _ATTACHED)],
    "UpdateAccessEntry": [("eks describe-access-entry", _ENTRY)],
    "CreatePodIdentityAssociation": [("eks list-pod-identity-associations", _ASSOCIATION)],
    "AssociateIdentityProviderConfig": [("eks list-identity-provider-configs", {"cluster_name": "cluster"})],
    "StopLogging": [("cloudtrail start-logging", _TRAIL)],
    "DeleteTrail": [("cloudtrail describe-trails", {})],
    "UpdateTrail": [("cloudtrail get-trail", _TRAIL)],
    "PutEventSelectors": [("cloudtrail get-event-selectors", {"trail_name": "trailName"})],
    "DeleteFlowLogs": [("ec2 describe-flow-logs", {})],
    "DeleteDetector": [("guardduty list-detectors", {})],
    "UpdateDetector": [("guardduty get-detector", _DETECTOR)],
    "CreateFilter": [(f"guardduty {verb}-filter", _DETECTOR | {"filter_name": "name"}) for verb in ("get", "delete")],
    "UpdateFilter": [("guardduty get-filter", _DETECTOR | {"filter_name": "filterName"})],
    "DeleteLogGroup": [("logs describe-log-groups", _GROUP_OF_LOGS)],
    "PutRetentionPolicy": [("logs describe-log-groups", _GROUP_OF_LOGS)],
    "DeleteLogStream": [("logs describe-log-streams", {"log_group_name": "logGroupName"})],
    "UpdateClusterConfig": [("eks describe-cluster", {"name": "cluster"})],
    "ModifySnapshotAttribute": [("ec2 describe-snapshot-attribute", _SNAPSHOT), ("ec2 reset-snapshot-attribute", _SNAPSHOT)],
    "ModifyImageAttribute": [("ec2 describe-image-attribute", {"image_id": "imageId", "attribute": "=launchPermission"})],
    "CreateSnapshot": [("ec2 describe-snapshots", {"snapshot_ids": "snapshotId"})],
    "RunInstances": [("ec2 describe-instances", {"instance_ids": "instanceIds"})],
    "CreateKeyPair": [("ec2 delete-key-pair", {"key_name": "keyName"})],
    "ImportKeyPair": [("ec2 delete-key-pair", {"key_name": "keyName"})],
    "AuthorizeSecurityGroupIngress": [("ec2 describe-security-groups", {"group_ids": "groupId"})],
    "CreateFunction20150331": [(f"lambda {call}", _FUNCTION) for call in ("get-function-configuration", "delete-function")],
    "UpdateFunctionCode20150331v2": [("lambda get-function-configuration", _FUNCTION)],
    "PutBucketPolicy": [("s3api get-bucket-policy", _BUCKET)],
    "DeleteBucketPolicy": [("s3api get-bucket-policy", _BUCKET)],
    "PutBucketAcl": [("s3api get-bucket-acl", _BUCKET)],
    "PutKeyPolicy": [("kms get-key-policy", _KEY)],
    "CreateGrant": [("kms list-grants", _KEY)],
    "ScheduleKeyDeletion": [("kms cancel-key-deletion", _KEY)],
    "DisableKey": [("kms enable-key", _KEY)],
    "DeleteSecret": [("secretsmanager restore-secret", _SECRET)],
    "PutSecretValue": [("secretsmanager list-secret-version-ids", _SECRET)],
    "UpdateSecret": [("secretsmanager list-secret-version-ids", _SECRET)],
    "SetRepositoryPolicy": [("ecr get-repository-policy", _REPOSITORY)],
    "PutImage": [("ecr describe-images", _REPOSITORY)],
}  # fmt: skip
"""Call → the commands that undo it, or that show what has to be put back: service and operation, and option → parameter of the call, or after =
what it always is. CreateAccessKey and CreateAccessEntry have actions of their own."""
_SOURCES = {"s3api": "s3"}


def undone_by(
    name: str, asked: Mapping[str, Any], answered: Mapping[str, Any], region: str | None = None
) -> list[str] | None:
    """The commands that undo a call, or show what it changed; None for one that needs none. What lacks a parameter has no command.

    asked, answered: its parameters and its answer. region: where it was made, None in the case's own.

    >>> undone_by("CreateLoginProfile", {"userName": "svc backup"}, {})
    ["aws iam delete-login-profile --user-name 'svc backup'"]
    """
    if name not in _UNDONE_BY:
        return None
    known = _known(asked, answered)
    commands = [
        aws(*call.split(), **{option: known[one] for option, one in options.items() if one in known} | {option: one[1:] for option, one in options.items() if one.startswith("=")}, region=None if call.startswith("iam ") else region)
        for call, options in _UNDONE_BY[name]
        if all(known.get(one) or one.startswith("=") for one in options.values())
    ]  # fmt: skip
    return [str(one) for one in commands if not one.odd]


def changed_by(name: str, source: str | None, asked: Mapping[str, Any], answered: Mapping[str, Any]) -> str:
    """What a call outside of IAM and EKS changed: service and name, such as cloudtrail:main; "" for another call."""
    for call, options in _UNDONE_BY.get(name, [])[:1]:
        service = call.partition(" ")[0]
        if service in ("iam", "eks") or source != f"{_SOURCES.get(service, service)}.amazonaws.com":
            return ""
        values = [_known(asked, answered).get(one) for one in options.values()]
        named = next((one for one in values if one), name)
        return f"{service}:{named if isinstance(named, str) else named[0]}"
    return ""


def _known(asked: Mapping[str, Any], answered: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of a call by their names, and the instances that it started."""
    known: dict[str, Any] = {
        key: value for one in (answered, asked) for key, value in one.items() if isinstance(value, str) and value
    }
    started = [str(one.get("instanceId")) for one in dicts_of(dict_of(answered.get("instancesSet")).get("items"))]
    return (
        known
        | {"cluster": known.get("clusterName") or known.get("name") or ""}
        | ({"instanceIds": started} if started else {})
    )
