"""A recording's cluster and account, standing in the emulators as its dumps have them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from kit.training.emulators.aws_emulator import AwsEmulator
from kit.training.emulators.controllers import hands_on, policy_endpoint
from kit.training.emulators.kubernetes_emulator import KubernetesEmulator
from kit.training.emulators.kubernetes_kinds import Object, objects_in
from kit.training.variation import enforcing

_CLUSTER = "aws/eks-describe-cluster.json"


@dataclass
class Standing:
    """The account and the cluster of a recording. arn: of the cluster."""

    aws: AwsEmulator
    kubernetes: KubernetesEmulator
    arn: str


@contextmanager
def standing_in(
    texts: Mapping[str, str], key: str, *, enforced: bool = True, checkpoints: bool = True
) -> Iterator[Standing]:
    """Cluster and account of a recording. texts: name → text of its files. key: of the account that is filled, which is made once a process.

    enforced: whether the VPC CNI enforces network policies. checkpoints: whether kubelets have the API.
    """
    account = json.loads(texts[_CLUSTER])["cluster"]
    _, _, _, region, number, _ = account["arn"].split(":")
    objects = list(objects_in({name: enforcing(name, text) if enforced else text for name, text in texts.items()}))
    if enforced:
        name = {"name": "amazon-vpc-cni", "namespace": "kube-system"}
        data = {"enable-network-policy-controller": "true"}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": data})
        objects.append(policy_endpoint("of-another", "kube-system", {}))
    with KubernetesEmulator(objects, checkpoints=checkpoints) as kubernetes, AwsEmulator(number, region) as aws:
        if enforced:
            kubernetes.faults.append(hands_on(kubernetes))
        aws.fill(key, partial(_fill, texts=texts, cluster=account))
        aws.account.clusters[account["name"]].description["endpoint"] = kubernetes.url
        yield Standing(aws, kubernetes, account["arn"])


def _fill(aws: AwsEmulator, texts: Mapping[str, str], cluster: Object) -> None:
    issuer = cluster["identity"]["oidc"]["issuer"].removeprefix("https://")
    _principals(aws, "".join(text for name, text in texts.items() if name.startswith(("aws/", "cluster/"))), issuer)
    ec2 = aws.client("ec2")
    reservations = _read(texts, "ec2-describe-instances")["Reservations"]
    listed = [one for reservation in reservations for one in reservation["Instances"]]
    block = ".".join([*listed[0]["PrivateIpAddress"].split(".")[:2], "0.0/16"]) if listed else "10.0.0.0/16"
    vpc = ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="eks-cluster-sg", Description="nodes", VpcId=vpc)["GroupId"]
    groups = dict[str, list[str]]()
    for one in listed:
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        own = {name: value for name, value in tags.items() if not name.startswith("aws:")}
        address = one["PrivateIpAddress"]  # of which EC2 makes its private DNS name
        aws.add_instance(
            one["InstanceId"], tags=own, SubnetId=subnet, SecurityGroupIds=[group], PrivateIpAddress=address
        )
        if "aws:autoscaling:groupName" in tags:
            groups.setdefault(tags["aws:autoscaling:groupName"], []).append(one["InstanceId"])
    for name, instances in groups.items():
        aws.add_autoscaling_group(name, instances)
    eks, name = aws.client("eks"), cluster["name"]
    network = {"subnetIds": [subnet]}
    eks.create_cluster(name=name, roleArn=f"arn:aws:iam::{aws.number}:role/cluster", resourcesVpcConfig=network)
    described = aws.account.clusters[name].description
    kept = {member: cluster[member] for member in ("arn", "accessConfig", "identity", "logging", "version", "status")}
    described |= kept
    described["resourcesVpcConfig"] |= {"vpcId": vpc} | {
        member: cluster["resourcesVpcConfig"][member]
        for member in ("endpointPublicAccess", "endpointPrivateAccess", "publicAccessCidrs")
    }
    for file in _named(texts, "aws/eks-describe-access-entry-"):
        entry = json.loads(texts[file])["accessEntry"]
        eks.create_access_entry(
            clusterName=name, principalArn=entry["principalArn"], kubernetesGroups=entry["kubernetesGroups"]
        )
        attached = texts[file.replace("describe-access-entry", "list-associated-access-policies")]
        for policy in json.loads(attached)["associatedAccessPolicies"]:
            eks.associate_access_policy(
                clusterName=name,
                principalArn=entry["principalArn"],
                policyArn=policy["policyArn"],
                accessScope=policy["accessScope"],
            )
    for file in _named(texts, "aws/eks-describe-pod-identity-association-"):
        one = json.loads(texts[file])["association"]
        eks.create_pod_identity_association(
            clusterName=name, namespace=one["namespace"], serviceAccount=one["serviceAccount"], roleArn=one["roleArn"]
        )
    for finding in json.loads(texts["findings.json"])["Findings"]:
        aws.add_finding(finding)


def _principals(aws: AwsEmulator, text: str, issuer: str) -> None:
    iam = aws.client("iam")
    statements = [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{aws.number}:oidc-provider/{issuer}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
        },
    ]
    trust = {"Version": "2012-10-17", "Statement": statements}
    for role in sorted({*re.findall(rf"arn:aws:iam::{aws.number}:role/([\w+=,.@-]+)", text), "cluster"}):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
    for user in sorted(set(re.findall(rf"arn:aws:iam::{aws.number}:user/([\w+=,.@-]+)", text))):
        iam.create_user(UserName=user)


def _read(texts: Mapping[str, str], name: str) -> Object:
    return dict(json.loads(texts[f"aws/{name}.json"]))


def _named(texts: Mapping[str, str], beginning: str) -> list[str]:
    return sorted(name for name in texts if name.startswith(beginning))
