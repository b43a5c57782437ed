"""EC2, Auto Scaling, ECR, IAM, STS and Systems Manager: moto, where it lacks an operation, lets too much through or does half."""

from __future__ import annotations

import copy
import copyreg
import fnmatch
import functools
import hashlib
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import moto.backends
import moto.core.responses
import moto.ec2.utils as moto_ids
import moto.settings
from botocore.loaders import JSONFileLoader
from moto.autoscaling.models import FakeAutoScalingGroup as AutoScalingGroup
from moto.autoscaling.models import autoscaling_backends
from moto.core.config import default_user_config
from moto.core.utils import method_names_from_class
from moto.ec2.models.instances import Instance
from moto.ecr.models import Image, ecr_backends
from moto.iam.models import IAMBackend, iam_backends

from kit.training.emulators.aws_fakes import (
    NEXT_IDS,
    Account,
    Call,
    Record,
    Refusal,
    fake,
    page,
)

# Moto mended inside, once for the process: ids that tests choose, interfaces that go with their instance, groups that
# launch nothing while that is suspended, true digests, AWS's own policies, no foreign images with their thousand snapshots.
_drawn_id, _replace = moto_ids.random_id, AutoScalingGroup.replace_autoscaling_group_instances


@functools.cache
def _modules(listed: Any = moto.backends.list_of_moto_modules) -> tuple[str, ...]:
    return tuple(listed())


@functools.cache
def _policies_of_aws(read: Any = IAMBackend._init_aws_policies) -> list[Any]:
    return list(read(SimpleNamespace(account_id="", region_name="aws")))


def _own_policies(backend: IAMBackend) -> list[Any]:
    """AWS's own policies as a new account has them: attached to nothing."""
    policies = [copy.copy(policy) for policy in _policies_of_aws()]
    for policy in policies:
        policy.account_id, policy.tags = backend.account_id, {}
    return policies


def copied(of_moto: dict[int, Any], of_fakes: Record) -> tuple[dict[int, Any], Record]:
    """A deep copy of an account's backends and of what the fakes hold; of AWS's own policies, over a thousand, a flat one each."""
    flat = {
        id(policy): copy.copy(policy)
        for backends in of_moto.values()
        for backend in backends.values()
        if isinstance(backend, IAMBackend)
        for policy in backend.aws_managed_policies
    }
    made: tuple[dict[int, Any], Record] = copy.deepcopy((of_moto, of_fakes), flat)
    return made


copyreg.pickle(type(threading.RLock()), lambda _: (threading.RLock, ()))


def _known_model(loader: JSONFileLoader, path: str, read: Any = JSONFileLoader.load_file) -> Any:
    if path not in _MODELS:
        found = read(loader, path)
        if found is None:
            return None
        _MODELS[path] = found
    return _MODELS[path]


_MODELS = dict[str, Any]()


def _chosen_id(prefix: str = "", size: int = 17) -> str:
    return NEXT_IDS[prefix].popleft() if NEXT_IDS[prefix] else _drawn_id(prefix, size)


def _replace_unless_suspended(group: Any, *arguments: Any) -> None:
    if not any(process["ProcessName"] == "Launch" for process in group.suspended_processes):
        _replace(group, *arguments)


def _standing_interfaces(instance: Any) -> list[Any]:
    return [interface for interface in instance.nics.values() if interface.id in instance.ec2_backend.enis]


def _true_digest(image: Any) -> None:
    image._image_digest = digest_of(image.image_manifest)


def digest_of(manifest: str) -> str:
    """The digest of an image's manifest, as registries write it."""
    return "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()


for owner, name, mended in (
    (moto_ids, "random_id", _chosen_id),
    (AutoScalingGroup, "replace_autoscaling_group_instances", _replace_unless_suspended),
    (Instance, "network_interfaces", property(_standing_interfaces)),
    (Image, "_create_digest", _true_digest),
    (moto.settings, "ec2_load_default_amis", lambda: False),
    # What is the same for every request, account and session is worked out once, not each time.
    (moto.backends, "list_of_moto_modules", _modules),
    (moto.core.responses, "method_names_from_class", functools.cache(method_names_from_class)),
    (IAMBackend, "_init_aws_policies", _own_policies),
    (JSONFileLoader, "load_file", _known_model),
):
    setattr(owner, name, mended)
default_user_config["iam"]["load_aws_managed_policies"] = True


@fake("ec2:ModifyInstanceAttribute")
def _(account: Account, call: Call) -> Record | None:
    given = call.parameters
    instance = account.ec2.get_instance_by_id(given["InstanceId"])
    if instance and instance.lifecycle == "spot" and "DisableApiTermination" in given:
        message = "Modifying 'disableApiTermination' is not supported for spot instances."
        raise Refusal("UnsupportedOperation", 400, message)
    if not instance or "Groups" not in given:
        return None
    if len(instance.nics) > 1:
        message = f"There are multiple interfaces attached to instance '{instance.id}'. Please specify an interface ID for the operation instead."
        raise Refusal("InvalidInstanceID", 400, message)
    return _regroup(account, next(iter(instance.nics.values())), given["Groups"])


@fake("ec2:ModifyNetworkInterfaceAttribute")
def _(account: Account, call: Call) -> Record | None:
    interface = account.ec2.enis.get(call.parameters["NetworkInterfaceId"])
    return (
        _regroup(account, interface, call.parameters["Groups"]) if interface and call.parameters.get("Groups") else None
    )


def _regroup(account: Account, interface: Any, names: list[str]) -> Record:
    """An instance's own groups are those of its first interface; moto keeps two lists and mends neither."""
    groups = [account.ec2.get_security_group_from_id(name) for name in names]
    for name, group in zip(names, groups, strict=True):
        if group is None:
            raise Refusal("InvalidGroup.NotFound", 400, f"The security group '{name}' does not exist")
        if group.vpc_id != interface.subnet.vpc_id:
            message = "You have specified two resources that belong to different networks."
            raise Refusal("InvalidGroup.NotFound", 400, message)
    interface._group_set = groups
    if interface.instance and interface.device_index == 0:
        interface.instance.security_groups = groups
    return {}


@fake("ec2:TerminateInstances")
def _(account: Account, call: Call) -> None:
    instances = [account.ec2.get_instance_by_id(name) for name in call.parameters["InstanceIds"]]
    if not all(instances):
        return  # moto refuses
    for instance in instances:
        if instance.disable_api_termination:
            message = f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
            raise Refusal("OperationNotPermitted", 400, message)
    for instance in instances:
        instance.security_groups = []
        for interface in instance.nics.values():
            interface.delete_on_termination = True


@fake("ec2:DeleteSecurityGroup")
def _(account: Account, call: Call) -> None:
    name = call.parameters.get("GroupId")
    worn = any(group.id == name for interface in account.ec2.enis.values() for group in interface._group_set)
    named = any(
        rule.source_group.get("GroupId") == name
        for groups in account.ec2.groups.values()
        for group in groups.values()
        for rule in (*group.ingress_rules, *group.egress_rules)
        if group.id != name
    )
    if worn or named:
        raise Refusal("DependencyViolation", 400, f"resource {name} has a dependent object")


@fake("ec2:CreateSnapshot", "ec2:CreateSnapshots")
def _(account: Account, call: Call) -> Record | None:
    given = call.parameters
    of = given.get("InstanceSpecification", {})
    if of:
        instance = account.ec2.get_instance_by_id(of["InstanceId"])
        devices = instance.block_device_mapping.items() if instance else ()
        left_out = set(of.get("ExcludeDataVolumeIds", ()))
        volumes = [one.volume_id for device, one in devices if not (of.get("ExcludeBootVolume") and device == instance.root_device_name)]  # fmt: skip
        volumes = [name for name in volumes if name not in left_out]
    else:
        volumes = [given["VolumeId"]] if given["VolumeId"] in account.ec2.volumes else []
    if not volumes:
        return None
    rows = []
    for name in volumes:
        snapshot = account.ec2.create_snapshot(name, given.get("Description", ""))
        snapshot.status = "pending"
        if given.get("CopyTagsFromSource") == "volume":
            snapshot.add_tags({tag["key"]: tag["value"] for tag in snapshot.volume.get_tags()})
        for specification in given.get("TagSpecifications", ()):
            snapshot.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
        rows.append(
            {
                "SnapshotId": snapshot.id,
                "VolumeId": name,
                "State": "pending",
                "VolumeSize": snapshot.volume_size,
                "StartTime": snapshot.start_time,
                "OwnerId": account.number,
                "Description": snapshot.description,
                "Progress": "",
                "Encrypted": snapshot.encrypted,
                "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in snapshot.get_tags()],
            }
        )
    return {"Snapshots": rows} if of else rows[0]


@fake("ec2:DescribeSnapshots")
def _(account: Account, call: Call) -> None:
    for name, snapshot in account.ec2.snapshots.items():
        if name in call.parameters.get("SnapshotIds", [name]) and snapshot.status == "pending":
            snapshot.status = "completed" if account.done(name, call) else "pending"


@fake("ec2:LockSnapshot", "ec2:UnlockSnapshot", "ec2:DescribeLockedSnapshots")
def _(account: Account, call: Call) -> Record:
    """EBS User Guide "Snapshot lock": in governance mode whoever may unlock it can, in compliance mode nobody."""
    given, locks = call.parameters, account.snapshot_locks
    for name in [given["SnapshotId"]] if "SnapshotId" in given else given.get("SnapshotIds", []):
        if name not in account.ec2.snapshots:
            raise Refusal("InvalidSnapshot.NotFound", 400, f"The snapshot '{name}' does not exist.")
    if call.operation.endswith("DescribeLockedSnapshots"):
        asked = given.get("SnapshotIds", list(locks))
        return {"Snapshots": [{"OwnerId": account.number, "SnapshotId": name, **locks[name]} for name in asked if name in locks]}  # fmt: skip
    name = given["SnapshotId"]
    if call.operation.endswith("UnlockSnapshot"):
        if name not in locks:
            raise Refusal("SnapshotLockNotFound", 400, f"The snapshot '{name}' is not locked.")
        del locks[name]
        return {"SnapshotId": name}
    if given["LockMode"] != "governance":
        raise Refusal("NotImplemented", 501, "the emulator locks in governance mode alone")
    if ("LockDuration" in given) == ("ExpirationDate" in given):
        raise Refusal("InvalidParameterCombination", 400, "Specify either LockDuration or ExpirationDate, not both.")
    locks[name] = {"LockState": "governance", "LockDuration": given["LockDuration"]}
    return {"SnapshotId": name, **locks[name]}


@fake("ec2:DeleteSnapshot")
def _(account: Account, call: Call) -> None:
    if call.parameters["SnapshotId"] in account.snapshot_locks:
        raise Refusal("SnapshotLocked", 400, f"The snapshot '{call.parameters['SnapshotId']}' is locked.")


GROUP_CALLS = ("SetInstanceProtection", "SuspendProcesses", "ResumeProcesses", "DetachInstances", "AttachInstances")


@fake("autoscaling:TerminateInstanceInAutoScalingGroup", *(f"autoscaling:{name}" for name in GROUP_CALLS))
def _(account: Account, call: Call) -> None:
    groups = autoscaling_backends[account.number][account.region].autoscaling_groups
    given = call.parameters
    names = [given["InstanceId"]] if "InstanceId" in given else given.get("InstanceIds", [])
    members = {name: {state.instance.id for state in group.instance_states} for name, group in groups.items()}
    group = given.get("AutoScalingGroupName") or next((name for name in groups if names[0] in members[name]), None)
    if group not in groups:
        raise Refusal("ValidationError", 400, f"AutoScalingGroup name not found - AutoScalingGroup {group} not found")
    for name in names:
        if name not in members[group] and not call.operation.endswith("AttachInstances"):
            raise Refusal("ValidationError", 400, f"The instance {name} is not part of Auto Scaling group {group}.")
    least = groups[group].min_size or 0
    if given.get("ShouldDecrementDesiredCapacity") and (groups[group].desired_capacity or 0) - len(names) < least:
        message = f"Currently, desiredSize equals minSize ({least}). Terminating instance without replacement will violate group's min size constraint."
        raise Refusal("ValidationError", 400, message)


@fake("ecr:PutImage")
def _(account: Account, call: Call) -> None:
    given = call.parameters
    if given["repositoryName"] not in ecr_backends[account.number][account.region].repositories:
        message = f"The repository with name '{given['repositoryName']}' does not exist in the registry with id '{account.number}'"
        raise Refusal("RepositoryNotFoundException", 400, message)
    digest = digest_of(given["imageManifest"])
    if given.get("imageDigest", digest) != digest:
        message = f"Provided digest '{given['imageDigest']}' does not match digest '{digest}' calculated by ECR"
        raise Refusal("ImageDigestDoesNotMatchException", 400, message)


@fake("iam:SimulatePrincipalPolicy")
def _(account: Account, call: Call) -> Record:
    given = call.parameters
    rows = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": "implicitDeny"
            if any(fnmatch.fnmatch(action.lower(), pattern.lower()) for pattern in account.denied)
            else "allowed",
            "MatchedStatements": [],
            "MissingContextValues": [],
        }
        for action in given["ActionNames"]
        for resource in given.get("ResourceArns", ["*"])
    ]
    return {"EvaluationResults": rows, "IsTruncated": False}


@fake("sts:GetCallerIdentity")
def _(account: Account, call: Call) -> Record:
    return {"Account": account.number, "Arn": call.caller, "UserId": "AIDA" + call.caller.rpartition("/")[2].upper()}


@fake("sts:AssumeRole")
def _(account: Account, call: Call) -> Record:
    role = call.parameters["RoleArn"]
    if all(one.arn != role for one in iam_backends[role.split(":")[4]]["aws"].roles.values()):
        message = f"User: {call.caller} is not authorized to perform: sts:AssumeRole on resource: {role}"
        raise Refusal("AccessDenied", 403, message)
    session = call.parameters["RoleSessionName"]
    assumed = f"arn:aws:sts::{role.split(':')[4]}:assumed-role/{role.rpartition('/')[2]}/{session}"
    keys = {"AccessKeyId": account.issue(assumed), "SecretAccessKey": "emulated", "SessionToken": "emulated"}
    return {
        "Credentials": keys | {"Expiration": account.now() + timedelta(hours=1)},
        "AssumedRoleUser": {"Arn": assumed, "AssumedRoleId": f"AROAEMULATED:{session}"},
    }


@fake("ssm:DescribeInstanceInformation")
def _(account: Account, call: Call) -> Record:
    rows = account.managed_nodes
    for one in call.parameters.get("Filters", ()):
        if one["Key"] == "InstanceIds":
            rows = [row for row in rows if row["InstanceId"] in one["Values"]]
    return page(account, call, "InstanceInformationList", rows)
