"""Everything that an emulated account holds, for tests that compare it before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import orjson
from moto.ecr.models import ecr_backends
from moto.iam.models import iam_backends

from kit.training.emulators.aws_fakes import Account


def snapshot(client: Callable[[str], Any], account: Account) -> dict[str, Any]:
    """All that an account holds, ready for JSON: roles, users, instances, security groups, clusters and more."""
    iam = iam_backends[account.number]["aws"]
    state = {
        "roles": dict(_principals({role.name: role for role in iam.roles.values()}, "role")),
        "users": dict(_principals(iam.users, "user")),
        "instances": dict(_instances(account)),
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
        "snapshot_locks": account.snapshot_locks,
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
        "repositories": dict(_repositories(account)),
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


def _principals(of: Any, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Users or roles as moto holds them: asked for by IAM's calls, one a policy, they take a tenth of a second."""
    for name, one in sorted(of.items()):
        held = {
            "inline": {key: _document(text) for key, text in one.policies.items()},
            "attached": sorted(one.managed_policies),
        }
        if kind == "role":
            held["trust"] = _document(one.assume_role_policy_document)
        else:
            held["access_keys"] = {key.access_key_id: key.status for key in one.access_keys}
        yield name, held


def _document(text: str) -> Any:
    return orjson.loads(unquote(text))


def _instances(account: Account) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in account.ec2.all_instances():
        profile = one.iam_instance_profile
        yield (
            one.id,
            {
                "state": one.state,
                "lifecycle": one.lifecycle,
                "protected": bool(one.disable_api_termination),
                "profile": profile["Arn"] if profile else None,
                "groups": {
                    interface.id: sorted(group.id for group in interface.group_set)
                    for interface in one.network_interfaces
                },
                "tags": {tag["key"]: tag["value"] for tag in one.get_tags()},
            },
        )


def _repositories(account: Account) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, repository in sorted(ecr_backends[account.number][account.region].repositories.items()):
        images = {one.get_image_digest(): sorted(one.image_tags) for one in repository.images}
        yield name, {"images": images, "policy": repository.policy}
