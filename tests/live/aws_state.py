"""Everything that an emulated account holds, for tests that compare it before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from tests.live.aws_fakes import Account


def snapshot(client: Callable[[str], Any], account: Account) -> dict[str, Any]:
    state = {
        "roles": dict(_principals(client("iam"), "Role", "roles")),
        "users": dict(_principals(client("iam"), "User", "users")),
        "instances": dict(_instances(client("ec2"))),
        "security_groups": {
            group["GroupId"]: {
                "name": group["GroupName"],
                "vpc": group["VpcId"],
                "ingress": group["IpPermissions"],
                "egress": group["IpPermissionsEgress"],
                "tags": _tags(group),
            }
            for group in client("ec2").describe_security_groups()["SecurityGroups"]
        },
        "snapshots": {
            one["SnapshotId"]: {"volume": one["VolumeId"], "state": one["State"], "tags": _tags(one)}
            for one in client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
        },
        "autoscaling_groups": {
            group["AutoScalingGroupName"]: {
                "sizes": [group["MinSize"], group["DesiredCapacity"], group["MaxSize"]],
                "suspended": sorted(process["ProcessName"] for process in group["SuspendedProcesses"]),
                "instances": {
                    one["InstanceId"]: {"protected": one["ProtectedFromScaleIn"], "state": one["LifecycleState"]}
                    for one in group["Instances"]
                },
            }
            for group in client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        },
        "clusters": {
            name: {
                "description": cluster.description,
                **cluster.parts,
                "updates": {key: update.record for key, update in cluster.updates.items()},
            }
            for name, cluster in account.clusters.items()
        },
        "repositories": dict(_repositories(client("ecr"))),
        "detectors": {
            name: {
                "filters": detector.filters,
                "findings": {
                    key: {name: finding["Service"].get(name) for name in ("Archived", "UserFeedback")}
                    for key, finding in detector.findings.items()
                },
            }
            for name, detector in account.detectors.items()
        },
        "malware_scans": account.scans,
    }
    held: dict[str, Any] = orjson.loads(orjson.dumps(state, default=str, option=orjson.OPT_SORT_KEYS))
    return held


def _tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", ())}


def _principals(iam: Any, kind: str, many: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for found in iam.get_paginator(f"list_{many}").paginate().search(f"{kind}s[]"):
        name = {f"{kind}Name": found[f"{kind}Name"]}
        one = kind.lower()
        inline = getattr(iam, f"list_{one}_policies")(**name)["PolicyNames"]
        attached = getattr(iam, f"list_attached_{one}_policies")(**name)["AttachedPolicies"]
        held = {
            "inline": {
                key: getattr(iam, f"get_{one}_policy")(**name, PolicyName=key)["PolicyDocument"] for key in inline
            },
            "attached": sorted(policy["PolicyArn"] for policy in attached),
        }
        if kind == "Role":
            held["trust"] = found["AssumeRolePolicyDocument"]
        else:
            keys = iam.list_access_keys(**name)["AccessKeyMetadata"]
            held["access_keys"] = {key["AccessKeyId"]: key["Status"] for key in keys}
        yield found[f"{kind}Name"], held


def _instances(ec2: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in ec2.get_paginator("describe_instances").paginate().search("Reservations[].Instances[]"):
        name = one["InstanceId"]
        protected = ec2.describe_instance_attribute(InstanceId=name, Attribute="disableApiTermination")
        yield (
            name,
            {
                "state": one["State"]["Name"],
                "lifecycle": one.get("InstanceLifecycle"),
                "protected": protected["DisableApiTermination"]["Value"],
                "profile": one.get("IamInstanceProfile", {}).get("Arn"),
                "groups": {
                    interface["NetworkInterfaceId"]: sorted(group["GroupId"] for group in interface["Groups"])
                    for interface in one["NetworkInterfaces"]
                },
                "tags": _tags(one),
            },
        )


def _repositories(ecr: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for repository in ecr.get_paginator("describe_repositories").paginate().search("repositories[]"):
        name = repository["repositoryName"]
        images = ecr.describe_images(repositoryName=name)["imageDetails"]
        try:
            policy = ecr.get_repository_policy(repositoryName=name)["policyText"]
        except ecr.exceptions.RepositoryPolicyNotFoundException:
            policy = None
        yield (
            name,
            {"images": {one["imageDigest"]: sorted(one.get("imageTags", ())) for one in images}, "policy": policy},
        )
