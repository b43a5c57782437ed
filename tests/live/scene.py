"""A recording's cluster and account, standing again in the emulators as its dumps have them, and a case of its evidence beside."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config
from moto.iam.models import iam_backends

from kit.training.emulators.aws_emulator import AwsEmulator
from kit.training.emulators.controllers import hands_on, policy_endpoint
from kit.training.emulators.kubernetes_emulator import KubernetesEmulator
from kit.training.emulators.kubernetes_kinds import KINDS
from tests import cases
from tests.command import RECORDINGS, Done, kit

STOLEN = "stolen_sa_token"


@dataclass
class Scene:
    """A case, and the account and cluster that it is about."""

    case: Path
    aws: AwsEmulator
    kubernetes: KubernetesEmulator
    environment: dict[str, str]

    def kit(self, command: str, *arguments: str | Path, **more: str) -> Done:
        """Run a command of `kit` on the case, with this account and cluster."""
        environment = self.environment | more
        with pytest.MonkeyPatch.context() as patch:  # the client reads this variable when it is imported
            patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", environment["KUBECONFIG"])
            return kit(command, self.case, *arguments, env=environment)

    def plan(self, *arguments: str) -> dict[str, Any]:
        """Make the plan and return it in its JSON form."""
        return dict(json.loads(said(self.kit("plan", *arguments, "--json"))))

    def apply(self, digest: str, *arguments: str) -> list[dict[str, Any]]:
        """Apply the saved plan and return the outcomes; what is not done is no failure here."""
        done = self.kit("apply", "--approve", digest, "--check-after", "0", "--json", *arguments)
        assert done.returncode in (0, 1) and done.stdout, done.stderr
        return list(json.loads(done.stdout)["actions"])

    def state(self) -> dict[str, Any]:
        """Everything that account and cluster hold, by content."""
        aws = self.aws.state()
        for cluster in aws["clusters"].values():
            cluster.pop("updates")  # EKS's own list of what was asked of it
        return {"aws": aws, "cluster": self.kubernetes.content()}

    def changes(self) -> int:
        """How many calls asked for a change."""
        return len(self.aws.changes) + sum(bool(call.changed) for call in self.kubernetes.calls)


def said(done: Done) -> str:
    """What a command printed; it has to have ended well."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(scene: Scene, *arguments: str, command: str = "apply", **environment: str) -> str:
    """What a call says that is refused before anything is done."""
    before, calls = scene.state(), scene.changes()
    done = scene.kit(command, *arguments, **environment)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert (scene.state(), scene.changes()) == (before, calls)
    return done.stderr


def comparable(state: dict[str, Any]) -> Any:
    """A state without the ids and times that the services give out."""
    text = json.dumps(state, sort_keys=True)
    text = re.sub(r"\b(snap|vol|eni|sg|vpc|subnet|a)-[0-9a-f]{8,17}\b", r"\1-id", text)
    text = re.sub(r"127\.0\.0\.1:\d+|eks-cluster-sg-[a-z-]+-\d+", "name", text)
    text = re.sub(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", "token", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|\+00:00)?", "time", text)
    return sorted(re.split(r"(?<=[,{\[])", text))


@contextmanager
def standing(
    recording: str, folder: Path, *, enforced: bool = True, checkpoints: bool = True, case: Path | None = None
) -> Iterator[Scene]:
    """The scene of a recording. enforced: whether the VPC CNI enforces network policies. checkpoints: whether kubelets have the API.

    case: one that is copied instead of made anew.
    """
    source = RECORDINGS / recording
    account = json.loads((source / "aws" / "eks-describe-cluster.json").read_text())["cluster"]
    _, _, _, region, number, _ = account["arn"].split(":")
    objects = [one for path in sorted((source / "cluster").glob("*.json")) for one in _objects(path)]
    for one in objects:
        if enforced and one["kind"] == "DaemonSet" and one["metadata"]["name"] == "aws-node":
            agent = {"name": "aws-eks-nodeagent", "image": "agent", "args": ["--enable-network-policy=true"]}
            one["spec"]["template"]["spec"]["containers"].append(agent)
    if enforced:
        name = {"name": "amazon-vpc-cni", "namespace": "kube-system"}
        data = {"enable-network-policy-controller": "true"}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": data})
        objects.append(policy_endpoint("of-another", "kube-system", {}))
    with KubernetesEmulator(objects, checkpoints=checkpoints) as kubernetes, AwsEmulator(number, region) as aws:
        if enforced:
            kubernetes.faults.append(hands_on(kubernetes))
        aws.fill(recording, partial(_fill, source=source, cluster=account))
        aws.account.clusters[account["name"]].description["endpoint"] = kubernetes.url
        shutil.copytree(case or cases.shared(source), folder / "case")
        kubeconfig = kubernetes.kubeconfig(folder / "kubeconfig", account["arn"])
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        yield Scene(folder / "case", aws, kubernetes, own | aws.environment() | {"KUBECONFIG": str(kubeconfig)})


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    kind = next(one for one in KINDS if one.plural == path.stem)
    for item in json.loads(path.read_text())["items"]:
        yield {"apiVersion": kind.api_version, "kind": kind.kind} | item


def _fill(aws: AwsEmulator, source: Path, cluster: dict[str, Any]) -> None:
    issuer = cluster["identity"]["oidc"]["issuer"].removeprefix("https://")
    text = "".join(
        path.read_text() for folder in ("aws", "cluster") for path in sorted((source / folder).glob("*.json"))
    )
    _principals(aws, text, issuer)
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/18")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="eks-cluster-sg", Description="nodes", VpcId=vpc)["GroupId"]
    groups = dict[str, list[str]]()
    for reservation in _read(source, "ec2-describe-instances")["Reservations"]:
        for one in reservation["Instances"]:
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
    for path in sorted((source / "aws").glob("eks-describe-access-entry-*.json")):
        entry = json.loads(path.read_text())["accessEntry"]
        eks.create_access_entry(
            clusterName=name, principalArn=entry["principalArn"], kubernetesGroups=entry["kubernetesGroups"]
        )
        attached = _read(source, path.stem.replace("describe-access-entry", "list-associated-access-policies"))
        for policy in attached["associatedAccessPolicies"]:
            eks.associate_access_policy(
                clusterName=name,
                principalArn=entry["principalArn"],
                policyArn=policy["policyArn"],
                accessScope=policy["accessScope"],
            )
    for path in sorted((source / "aws").glob("eks-describe-pod-identity-association-*.json")):
        one = json.loads(path.read_text())["association"]
        eks.create_pod_identity_association(
            clusterName=name, namespace=one["namespace"], serviceAccount=one["serviceAccount"], roleArn=one["roleArn"]
        )
    for finding in json.loads((source / "findings.json").read_text())["Findings"]:
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


def add_access_key(aws: AwsEmulator, user: str, access_key_id: str) -> None:
    """A long-term key of this id, which IAM would have chosen itself."""
    iam = aws.client("iam")
    if user not in [one["UserName"] for one in iam.list_users()["Users"]]:
        iam.create_user(UserName=user)
    iam.create_access_key(UserName=user)
    backend = iam_backends[aws.number]["aws"]
    backend.users[user].access_keys[-1].access_key_id = access_key_id


def _read(source: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((source / "aws" / f"{name}.json").read_text()))
