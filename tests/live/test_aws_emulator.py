"""The emulated AWS keeps what tests of `apply` rest on: what a call changes, what it leaves, and how it fails."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from kit.training.emulators.aws_emulator import CUT, AwsEmulator, Phase, Refusal

INSTANCE = "i-0abcdef1234567890"
SPOT = "i-0abcdef1234567891"
ROLE = "arn:aws:iam::111122223333:role/intruder"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []})
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})  # fmt: skip


@pytest.fixture
def aws() -> Iterator[AwsEmulator]:
    """An account with a node on demand and one on spot in a group, a role, a user with a key, a cluster, an image and a finding."""
    with AwsEmulator("111122223333") as emulator:
        emulator.add_instance(INSTANCE, tags={"eks:nodegroup-name": "workers"}, volumes=2)
        emulator.add_instance(SPOT, spot=True)
        emulator.add_autoscaling_group("workers", [INSTANCE, SPOT])
        iam = emulator.client("iam")
        iam.create_role(RoleName="intruder", AssumeRolePolicyDocument=TRUST)
        iam.create_user(UserName="lost")
        iam.create_access_key(UserName="lost")
        access = {"authenticationMode": "API"}
        emulator.client("eks").create_cluster(name="prod", roleArn=ROLE, resourcesVpcConfig={}, accessConfig=access)
        emulator.client("ecr").create_repository(repositoryName="shop")
        emulator.client("ecr").put_image(repositoryName="shop", imageManifest=MANIFEST, imageTag="v1")
        emulator.add_finding({"id": "f1", "type": "Execution:Runtime/NewBinaryExecuted", "severity": 5, "service": {}})
        yield emulator


def refused(ask: Callable[[], object]) -> tuple[str, int]:
    """The code and the status of the error that a client raises."""
    with pytest.raises(ClientError) as caught:
        ask()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_dry_run_changes_nothing(aws: AwsEmulator) -> None:
    ec2 = aws.client("ec2", over_http=True)
    interface = ec2.describe_instances(InstanceIds=[INSTANCE])["Reservations"][0]["Instances"][0]["NetworkInterfaces"][
        0
    ]
    vpc = interface["VpcId"]
    group = aws.client("ec2").create_security_group(GroupName="quarantine", Description="-", VpcId=vpc)["GroupId"]
    snapshot = aws.client("ec2").create_snapshots(InstanceSpecification={"InstanceId": INSTANCE})["Snapshots"][0]
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("terminate_instances", {"InstanceIds": [INSTANCE]}),
        ("modify_instance_attribute", {"InstanceId": INSTANCE, "DisableApiTermination": {"Value": True}}),
        (
            "modify_network_interface_attribute",
            {"NetworkInterfaceId": interface["NetworkInterfaceId"], "Groups": [group]},
        ),
        ("create_security_group", {"GroupName": "other", "Description": "-", "VpcId": vpc}),
        ("authorize_security_group_ingress", {"GroupId": group, "IpPermissions": everything}),
        ("revoke_security_group_egress", {"GroupId": group, "IpPermissions": everything}),
        ("delete_security_group", {"GroupId": group}),
        ("create_snapshots", {"InstanceSpecification": {"InstanceId": INSTANCE}}),
        ("delete_snapshot", {"SnapshotId": snapshot["SnapshotId"]}),
        ("get_console_output", {"InstanceId": INSTANCE}),
    ]
    before, calls = aws.state(), len(aws.calls)
    for name, parameters in asked:
        assert refused(lambda: getattr(ec2, name)(DryRun=True, **parameters)) == ("DryRunOperation", 412), name  # noqa: B023
    assert aws.state() == before
    assert len(aws.calls) == calls + len(asked) and all(call.dry_run for call in aws.calls[calls:])
    assert aws.changes == []
    for name, parameters in asked:
        if name not in ("terminate_instances", "delete_security_group"):
            getattr(ec2, name)(**parameters)
    assert aws.state() != before
    assert {call.operation for call in aws.changes} >= {"ec2:DeleteSnapshot", "ec2:ModifyNetworkInterfaceAttribute"}


def test_a_protected_instance_is_not_terminated_and_a_spot_instance_cannot_be_protected(aws: AwsEmulator) -> None:
    ec2 = aws.client("ec2", over_http=True)
    ec2.modify_instance_attribute(InstanceId=INSTANCE, DisableApiTermination={"Value": True})
    before = aws.state()
    assert refused(lambda: ec2.terminate_instances(InstanceIds=[SPOT, INSTANCE])) == ("OperationNotPermitted", 400)
    protect = {"DisableApiTermination": {"Value": True}}
    assert refused(lambda: ec2.modify_instance_attribute(InstanceId=SPOT, **protect)) == ("UnsupportedOperation", 400)
    assert aws.state() == before and before["instances"][INSTANCE]["protected"]
    ec2.modify_instance_attribute(InstanceId=INSTANCE, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[INSTANCE])
    after = aws.state()["instances"]
    assert after[INSTANCE]["state"] == "terminated" and after[INSTANCE]["groups"] == {}
    assert after[SPOT]["state"] == "running"


def test_a_group_that_is_worn_cannot_be_deleted(aws: AwsEmulator) -> None:
    ec2 = aws.client("ec2", over_http=True)
    wanted = [{"Name": "attachment.instance-id", "Values": [INSTANCE]}]
    (interface,) = ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
    group = ec2.create_security_group(GroupName="quarantine", Description="-", VpcId=interface["VpcId"])["GroupId"]
    change = {"NetworkInterfaceId": interface["NetworkInterfaceId"]}
    ec2.modify_network_interface_attribute(**change, Groups=[group])
    instance = ec2.describe_instances(InstanceIds=[INSTANCE])["Reservations"][0]["Instances"][0]
    assert [one["GroupId"] for one in instance["SecurityGroups"]] == [group]
    assert refused(lambda: ec2.delete_security_group(GroupId=group)) == ("DependencyViolation", 400)
    ec2.modify_instance_attribute(InstanceId=INSTANCE, Groups=[one["GroupId"] for one in interface["Groups"]])
    assert aws.state()["instances"][INSTANCE]["groups"] == {
        interface["NetworkInterfaceId"]: [one["GroupId"] for one in interface["Groups"]]
    }
    ec2.delete_security_group(GroupId=group)
    assert (
        refused(lambda: ec2.modify_network_interface_attribute(**change, Groups=[group]))[0] == "InvalidGroup.NotFound"
    )


def test_a_snapshot_of_each_volume_is_pending_for_a_while(aws: AwsEmulator) -> None:
    ec2 = aws.client("ec2", over_http=True)
    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": INSTANCE},
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "case", "Value": "7"}]}],
    )["Snapshots"]
    assert [one["State"] for one in made] == ["pending", "pending"] and len({one["VolumeId"] for one in made}) == 2
    aws.state()
    wanted = [{"Name": "tag:case", "Values": ["7"]}]
    seen = [[one["State"] for one in ec2.describe_snapshots(Filters=wanted)["Snapshots"]] for _ in range(3)]
    assert seen == [["pending"] * 2, ["pending"] * 2, ["completed"] * 2]
    ec2.delete_snapshot(SnapshotId=made[0]["SnapshotId"])
    assert list(aws.state()["snapshots"]) == [made[1]["SnapshotId"]]


def test_the_group_of_a_node_can_be_held_still(aws: AwsEmulator) -> None:
    scaling = aws.client("autoscaling", over_http=True)
    scaling.set_instance_protection(AutoScalingGroupName="workers", InstanceIds=[INSTANCE], ProtectedFromScaleIn=True)
    scaling.suspend_processes(AutoScalingGroupName="workers", ScalingProcesses=["Terminate", "ReplaceUnhealthy"])
    group = aws.state()["autoscaling_groups"]["workers"]
    assert group["suspended"] == ["ReplaceUnhealthy", "Terminate"]
    assert group["instances"] == {
        INSTANCE: {"protected": True, "state": "InService"},
        SPOT: {"protected": False, "state": "InService"},
    }
    (found,) = scaling.describe_auto_scaling_instances(InstanceIds=[INSTANCE])["AutoScalingInstances"]
    assert found["ProtectedFromScaleIn"] and found["AutoScalingGroupName"] == "workers"
    assert aws.state()["instances"][SPOT]["tags"]["aws:autoscaling:groupName"] == "workers"
    scaling.resume_processes(AutoScalingGroupName="workers", ScalingProcesses=["ReplaceUnhealthy", "Terminate"])
    assert aws.state()["autoscaling_groups"]["workers"]["suspended"] == []
    leave = {"AutoScalingGroupName": "workers", "ShouldDecrementDesiredCapacity": True}
    scaling.detach_instances(InstanceIds=[INSTANCE], **leave)
    assert refused(lambda: scaling.detach_instances(InstanceIds=[INSTANCE], **leave)) == ("ValidationError", 400)
    scaling.terminate_instance_in_auto_scaling_group(InstanceId=SPOT, ShouldDecrementDesiredCapacity=True)
    state = aws.state()
    assert state["autoscaling_groups"]["workers"]["instances"] == {}
    assert [state["instances"][one]["state"] for one in (INSTANCE, SPOT)] == ["running", "terminated"]


@pytest.mark.parametrize("suspended", [True, False])
def test_a_terminated_node_is_replaced_unless_launching_is_suspended(aws: AwsEmulator, suspended: bool) -> None:
    if suspended:
        aws.client("autoscaling").suspend_processes(AutoScalingGroupName="workers", ScalingProcesses=["Launch"])
    aws.client("ec2", over_http=True).terminate_instances(InstanceIds=[INSTANCE])
    state = aws.state()
    assert len(state["instances"]) == (2 if suspended else 3)
    assert INSTANCE not in state["autoscaling_groups"]["workers"]["instances"]


def test_an_access_entry_goes_with_its_policies(aws: AwsEmulator) -> None:
    eks = aws.client("eks", over_http=True)
    entry = {"clusterName": "prod", "principalArn": ROLE}
    policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    eks.create_access_entry(**entry, kubernetesGroups=["ops"])
    assert refused(lambda: eks.create_access_entry(**entry)) == ("ResourceInUseException", 409)
    eks.associate_access_policy(**entry, policyArn=policy, accessScope={"type": "cluster"})
    eks.update_access_entry(**entry, kubernetesGroups=[])
    (held,) = aws.state()["clusters"]["prod"]["AccessEntry"].values()
    assert list(held["policies"]) == [policy] and held["kubernetesGroups"] == []
    eks.delete_access_entry(**entry)
    assert refused(lambda: eks.delete_access_entry(**entry)) == ("ResourceNotFoundException", 404)
    eks.create_access_entry(**entry)
    assert eks.list_associated_access_policies(**entry)["associatedAccessPolicies"] == []
    assert eks.describe_access_entry(**entry)["accessEntry"]["username"].endswith(
        "assumed-role/intruder/{{SessionName}}"
    )


def test_lists_come_in_pages(aws: AwsEmulator) -> None:
    aws.account.page_size = 2
    arns = [f"{ROLE}-{number}" for number in range(5)]
    for arn in arns:
        aws.client("eks").create_access_entry(clusterName="prod", principalArn=arn)
    pages = list(aws.client("eks", over_http=True).get_paginator("list_access_entries").paginate(clusterName="prod"))
    assert [len(page["accessEntries"]) for page in pages] == [2, 2, 1]
    assert [arn for page in pages for arn in page["accessEntries"]] == arns


def test_a_cluster_update_takes_a_while_and_no_second_one_starts(aws: AwsEmulator) -> None:
    eks = aws.client("eks", over_http=True)
    closed = {"endpointPublicAccess": False, "endpointPrivateAccess": True}
    update = eks.update_cluster_config(name="prod", resourcesVpcConfig=closed)["update"]
    logging = {"clusterLogging": [{"types": ["audit"], "enabled": True}]}
    assert refused(lambda: eks.update_cluster_config(name="prod", logging=logging)) == ("ResourceInUseException", 409)
    running = aws.state()["clusters"]["prod"]["description"]
    assert running["status"] == "UPDATING" and running["resourcesVpcConfig"]["endpointPublicAccess"]
    seen = [eks.describe_update(name="prod", updateId=update["id"])["update"]["status"] for _ in range(3)]
    assert seen == ["InProgress", "InProgress", "Successful"]
    cluster = eks.describe_cluster(name="prod")["cluster"]
    assert cluster["status"] == "ACTIVE" and not cluster["resourcesVpcConfig"]["endpointPublicAccess"]
    again = refused(lambda: eks.update_cluster_config(name="prod", resourcesVpcConfig=closed))
    assert again == ("InvalidParameterException", 400)


def test_what_else_hangs_on_a_cluster(aws: AwsEmulator) -> None:
    eks, name = aws.client("eks", over_http=True), {"clusterName": "prod"}
    wanted = {"namespace": "shop", "serviceAccount": "front"}
    made = eks.create_pod_identity_association(**name, **wanted, roleArn=ROLE)["association"]
    assert (
        refused(lambda: eks.create_pod_identity_association(**name, **wanted, roleArn=ROLE))[0]
        == "ResourceInUseException"
    )
    (found,) = eks.list_pod_identity_associations(**name, **wanted)["associations"]
    assert found["associationId"] == made["associationId"]
    eks.delete_pod_identity_association(**name, associationId=made["associationId"])
    assert eks.list_pod_identity_associations(**name)["associations"] == []
    eks.create_addon(**name, addonName="vpc-cni", configurationValues='{"enableNetworkPolicy":"true"}')
    assert (
        eks.describe_addon(**name, addonName="vpc-cni")["addon"]["configurationValues"]
        == '{"enableNetworkPolicy":"true"}'
    )
    eks.create_nodegroup(**name, nodegroupName="workers", nodeRole=ROLE, subnets=[])
    assert eks.list_nodegroups(**name)["nodegroups"] == ["workers"]
    provider = {"identityProviderConfigName": "idp", "issuerUrl": "https://idp.example", "clientId": "kube"}
    aws.client("eks").associate_identity_provider_config(**name, oidc=provider)
    config = {"type": "oidc", "name": "idp"}
    update = eks.disassociate_identity_provider_config(**name, identityProviderConfig=config)["update"]
    assert eks.list_identity_provider_configs(**name)["identityProviderConfigs"] == [config]
    while eks.describe_update(name="prod", updateId=update["id"])["update"]["status"] == "InProgress":
        pass
    assert eks.list_identity_provider_configs(**name)["identityProviderConfigs"] == []


def test_roles_and_users_are_held_as_they_were_left(aws: AwsEmulator) -> None:
    iam, before = aws.client("iam", over_http=True), aws.state()
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
    (key,) = before["users"]["lost"]["access_keys"]
    iam.put_role_policy(RoleName="intruder", PolicyName="AWSRevokeOlderSessions", PolicyDocument=json.dumps(deny))
    iam.attach_user_policy(UserName="lost", PolicyArn="arn:aws:iam::aws:policy/AWSDenyAll")
    iam.update_access_key(UserName="lost", AccessKeyId=key, Status="Inactive")
    after = aws.state()
    assert after["roles"]["intruder"]["inline"] == {"AWSRevokeOlderSessions": deny}
    assert after["users"]["lost"]["access_keys"] == {key: "Inactive"}
    assert after["users"]["lost"]["attached"] == ["arn:aws:iam::aws:policy/AWSDenyAll"]
    iam.delete_role_policy(RoleName="intruder", PolicyName="AWSRevokeOlderSessions")
    iam.detach_user_policy(UserName="lost", PolicyArn="arn:aws:iam::aws:policy/AWSDenyAll")
    iam.update_access_key(UserName="lost", AccessKeyId=key, Status="Active")
    assert aws.state() == before
    aws.account.denied.append("iam:Put*")
    asked = {"PolicySourceArn": ROLE, "ActionNames": ["iam:PutRolePolicy", "iam:GetRole"]}
    rows = iam.simulate_principal_policy(**asked)["EvaluationResults"]
    assert [row["EvalDecision"] for row in rows] == ["implicitDeny", "allowed"]


def test_an_image_has_the_digest_of_its_manifest(aws: AwsEmulator) -> None:
    ecr, shop = aws.client("ecr", over_http=True), {"repositoryName": "shop"}
    digest = "sha256:" + hashlib.sha256(MANIFEST.encode()).hexdigest()
    ecr.put_image(**shop, imageManifest=MANIFEST, imageTag="quarantine-1")
    ecr.batch_delete_image(**shop, imageIds=[{"imageTag": "v1"}])
    (kept,) = ecr.batch_get_image(**shop, imageIds=[{"imageDigest": digest}])["images"]
    assert kept["imageManifest"] == MANIFEST
    wrong = {"imageManifest": MANIFEST, "imageDigest": "sha256:" + "0" * 64}
    assert refused(lambda: ecr.put_image(**shop, **wrong, imageTag="v2")) == ("ImageDigestDoesNotMatchException", 400)
    deny = json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "q", "Effect": "Deny", "Principal": "*", "Action": "ecr:BatchGetImage"}]})  # fmt: skip
    ecr.set_repository_policy(**shop, policyText=deny)
    held = aws.state()["repositories"]["shop"]
    assert held["images"] == {digest: ["quarantine-1"]} and json.loads(held["policy"]) == json.loads(deny)


def test_findings_filters_and_scans(aws: AwsEmulator) -> None:
    guard = aws.client("guardduty", over_http=True)
    (detector,) = guard.list_detectors()["DetectorIds"]
    named = {"DetectorId": detector, "FindingIds": ["f1"]}
    standing = {"Criterion": {"service.archived": {"Eq": ["false"]}, "severity": {"Gte": 4}}}
    assert guard.list_findings(DetectorId=detector, FindingCriteria=standing)["FindingIds"] == ["f1"]
    guard.archive_findings(**named)
    guard.update_findings_feedback(**named, Feedback="USEFUL")
    assert guard.list_findings(DetectorId=detector, FindingCriteria=standing)["FindingIds"] == []
    service = guard.get_findings(**named)["Findings"][0]["Service"]
    assert (service["Archived"], service["UserFeedback"]) == (True, "USEFUL")
    criteria = {"Criterion": {"type": {"Eq": ["Recon:EC2/Portscan"]}}}
    guard.create_filter(DetectorId=detector, Name="known", Action="ARCHIVE", FindingCriteria=criteria)
    assert guard.get_filter(DetectorId=detector, FilterName="known")["Action"] == "ARCHIVE"
    node = f"arn:aws:ec2:eu-central-1:111122223333:instance/{INSTANCE}"
    scan = guard.start_malware_scan(ResourceArn=node, ClientToken="case-7")["ScanId"]
    assert guard.start_malware_scan(ResourceArn=node, ClientToken="case-7")["ScanId"] == scan
    assert refused(lambda: guard.start_malware_scan(ResourceArn=node, ClientToken="8")) == ("ConflictException", 409)
    seen = [guard.get_malware_scan(ScanId=scan)["ScanStatus"] for _ in range(3)]
    assert seen == ["RUNNING", "RUNNING", "COMPLETED"]
    aws.account.now = lambda: datetime.now(UTC) + timedelta(hours=2)
    assert guard.start_malware_scan(ResourceArn=node, ClientToken="8")["ScanId"] != scan
    assert len(guard.list_malware_scans()["Scans"]) == 2
    assert guard.describe_malware_scans(DetectorId=detector)["Scans"][0]["ResourceDetails"] == {"InstanceArn": node}


@pytest.mark.parametrize(
    ("service", "operation", "code", "status"),
    [
        ("ec2", "describe_instances", "RequestLimitExceeded", 503),
        ("ec2", "describe_vpcs", "UnauthorizedOperation", 403),
        ("iam", "list_roles", "Throttling", 400),
        ("autoscaling", "describe_auto_scaling_groups", "AccessDenied", 403),
        ("sts", "get_caller_identity", "ExpiredToken", 403),
        ("eks", "list_clusters", "ThrottlingException", 429),
        ("guardduty", "list_detectors", "AccessDeniedException", 403),
        ("ecr", "describe_repositories", "AccessDeniedException", 400),
        ("ssm", "describe_instance_information", "InternalServerError", 500),
    ],
)
def test_a_settable_failure_has_the_form_of_its_service(
    aws: AwsEmulator, service: str, operation: str, code: str, status: int
) -> None:
    aws.faults.append(lambda call, phase: Refusal(code, status) if phase == "before" else None)
    assert refused(getattr(aws.client(service, over_http=True), operation)) == (code, status)
    assert {(call.code, call.status) for call in aws.calls} == {(code, status)}


DENY_ALL = "arn:aws:iam::aws:policy/AWSDenyAll"


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_cut_connection_leaves_open_whether_it_was_done(aws: AwsEmulator, phase: Phase) -> None:
    aws.faults.append(lambda call, now: CUT if now == phase else None)
    iam = aws.client("iam", over_http=True)
    with pytest.raises(ConnectionClosedError):
        iam.attach_user_policy(UserName="lost", PolicyArn=DENY_ALL)
    assert [call.cut for call in aws.calls] == [True, True]  # the client tried once more
    assert aws.state()["users"]["lost"]["attached"] == ([] if phase == "before" else [DENY_ALL])
    aws.faults[:] = [lambda call, now: CUT if now == phase and len(aws.calls) == 3 else None]
    iam.attach_user_policy(UserName="lost", PolicyArn=DENY_ALL)
    assert [call.cut for call in aws.calls[2:]] == [True, False]
    assert aws.state()["users"]["lost"]["attached"] == [DENY_ALL]


def client_process(aws: AwsEmulator, program: str) -> subprocess.Popen[str]:
    """A client as `apply` is one: a process that knows the emulator from its environment alone."""
    environment = {"PATH": os.environ["PATH"], **aws.environment()}
    return subprocess.Popen([sys.executable, "-c", f"import boto3; {program}"], env=environment, text=True, stdout=-1)


def test_what_a_killed_client_had_asked_for_stays_done(aws: AwsEmulator) -> None:
    process = client_process(aws, f"boto3.client('ec2').terminate_instances(InstanceIds=['{INSTANCE}']); print('told')")
    aws.faults.append(lambda call, phase: process.kill() if phase == "after" else None)
    assert process.communicate(timeout=60)[0] == "" and process.returncode == -signal.SIGKILL
    assert aws.state()["instances"][INSTANCE]["state"] == "terminated"
    assert [(call.operation, call.status) for call in aws.changes] == [("ec2:TerminateInstances", 200)]


def test_a_client_process_needs_the_environment_alone(aws: AwsEmulator) -> None:
    process = client_process(aws, "r = boto3.client('eks').list_clusters(); print(r['clusters'], r['ResponseMetadata']['RequestId'])")  # fmt: skip
    assert process.communicate(timeout=60)[0] == f"['prod'] {aws.calls[0].request_id}\n"
    assert aws.calls[0].operation == "eks:ListClusters" and aws.calls[0].caller == aws.arn


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("ec2", "describe_instances"),
        ("iam", "list_roles"),
        ("autoscaling", "describe_auto_scaling_groups"),
        ("sts", "get_caller_identity"),
        ("eks", "list_clusters"),
        ("guardduty", "list_detectors"),
        ("ecr", "describe_repositories"),
        ("ssm", "describe_instance_information"),
    ],
)
def test_every_answer_names_its_request(aws: AwsEmulator, service: str, operation: str) -> None:
    answer = getattr(aws.client(service, over_http=True), operation)()
    assert answer["ResponseMetadata"]["RequestId"] == aws.calls[-1].request_id


def test_the_credentials_say_whose_account_it_is(aws: AwsEmulator) -> None:
    stranger = "arn:aws:iam::444455556666:user/stranger"
    identity = aws.client("sts", stranger, over_http=True).get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == ("444455556666", stranger)
    assert aws.client("iam", stranger, over_http=True).list_roles()["Roles"] == []
    sts = aws.client("sts", over_http=True)
    assert sts.get_caller_identity()["Arn"] == aws.arn
    assumed = sts.assume_role(RoleArn=ROLE, RoleSessionName="case-7")
    assert (
        aws.environment(assumed["AssumedRoleUser"]["Arn"])["AWS_ACCESS_KEY_ID"] == assumed["Credentials"]["AccessKeyId"]
    )
    foreign = aws.client("eks", "arn:aws:iam::444455556666:user/gone", over_http=True)
    aws._callers.clear()
    assert refused(foreign.list_clusters) == ("UnrecognizedClientException", 403)
    aws.environment()
    unknown = {"RoleArn": f"{ROLE}-unknown", "RoleSessionName": "case-7"}
    assert refused(lambda: sts.assume_role(**unknown)) == ("AccessDenied", 403)


def test_emulators_share_nothing(aws: AwsEmulator) -> None:
    with pytest.raises(RuntimeError, match="being emulated already"), AwsEmulator("111122223333"):
        pass
    with AwsEmulator("777788889999") as other:
        assert other.state()["instances"] == {} and other.state()["clusters"] == {}
        other.client("iam").create_role(RoleName="theirs", AssumeRolePolicyDocument=TRUST)
    assert list(aws.state()["roles"]) == ["intruder"]
    with AwsEmulator("777788889999") as again:
        assert again.state()["roles"] == {} and again.calls == []


def test_what_the_model_of_a_service_forbids_is_refused(aws: AwsEmulator) -> None:
    scope = {
        "accessScope": {"type": "everything"},
        "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
    }
    eks, before = aws.client("eks", over_http=True), aws.state()
    asked = {"clusterName": "prod", "principalArn": ROLE, **scope}
    assert refused(lambda: eks.associate_access_policy(**asked)) == ("InvalidParameterException", 400)
    iam = aws.client("iam", over_http=True)
    assert refused(lambda: iam.delete_role_policy(RoleName="a b", PolicyName="p")) == ("ValidationError", 400)
    assert aws.state() == before
