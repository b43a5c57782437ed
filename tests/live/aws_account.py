"""An account and a cluster for the tests of what the kit does in AWS, and a plan of one action to do it with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import kit.live.acts.cluster_access
import kit.live.acts.cluster_endpoint
import kit.live.acts.findings
import kit.live.acts.iam
import kit.live.acts.images
import kit.live.acts.nodes
import kit.live.acts.principals  # noqa: F401 - each registers its acts
from kit.actions.registry import ACTIONS
from kit.live.apply import Outcome, Remediation
from kit.live.connection import Connection
from kit.plan.journal import Journal
from kit.plan.plan import Plan, PlannedAction
from kit.training.emulators.aws_emulator import AwsEmulator
from kit.training.emulators.kubernetes_emulator import KubernetesEmulator

ACCOUNT, REGION, CLUSTER = "111122223333", "eu-central-1", "prod"
NODE, INSTANCE = "ip-10-0-1-7.eu-central-1.compute.internal", "i-0abcdef1234567890"
SPOT_NODE, SPOT = "ip-10-0-1-8.eu-central-1.compute.internal", "i-0abcdef1234567891"
KARPENTER_NODE, KARPENTER = "ip-10-0-1-9.eu-central-1.compute.internal", "i-0abcdef1234567892"
IAM = f"arn:aws:iam::{ACCOUNT}"
ISSUER = f"oidc.eks.{REGION}.amazonaws.com/id/0123456789ABCDEF"
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []})
MAP_ROLES = f"""\
# nodes first
- rolearn: {IAM}:role/nodes
  username: system:node:{{{{EC2PrivateDNSName}}}}
  groups: [system:bootstrappers, system:nodes]
- rolearn: {IAM}:role/Intruder  # why is this here?
  username: kubernetes-admin
  groups:
    - system:masters
# people
- rolearn: {IAM}:role/operators
  username: operator
  groups:
    - system:masters
  note: kept
"""
WEB_IDENTITY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"{IAM}:oidc-provider/{ISSUER}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
        }
    ],
}
OF_EC2 = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_TIMES = {"createdAt", "modifiedAt", "associatedAt", "accessEntryArn", "associationId", "associationArn", "updates"}

_ALWAYS = (
    "aws:sts:GetCallerIdentity",
    "aws:iam:SimulatePrincipalPolicy",
    "kubernetes:authentication.k8s.io/selfsubjectreviews:create",
)
# What an action reads that kit.actions.registry does not name yet.
_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create", "DELETE": "delete"}
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/[^/]+(?=/))?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<subresource>.+))?"
)


@dataclass
class Scene:
    """The emulated account and cluster, and the kit in front of them."""

    aws: AwsEmulator
    cluster: KubernetesEmulator
    case: Path
    kubeconfig: Path
    said: list[str] = field(default_factory=list)

    @cached_property
    def connection(self) -> Connection:
        """One connection for the scene: a boto3 session takes a while to make."""
        return Connection(ACCOUNT, REGION, CLUSTER, kubeconfig=str(self.kubeconfig))

    @contextmanager
    def work(self) -> Iterator[Remediation]:
        """The engine with the case's journal, as a new process would have it."""
        with Journal(self.case) as journal:
            yield Remediation(self.case, journal, self.connection, self.said.append)

    def preview(self, *actions: PlannedAction) -> list[Outcome]:
        """What the actions would do."""
        return Remediation(self.case, Journal(self.case), self.connection, self.said.append).preview(_plan(actions))

    def apply(self, *actions: PlannedAction) -> list[Outcome]:
        """Do them."""
        with self.work() as work:
            return work.apply(_plan(actions), {"plan": {"actions": [asdict(one) for one in actions]}})

    def check(self) -> list[Outcome]:
        """Look again."""
        with self.work() as work:
            return work.check()

    def undo(self) -> list[Outcome]:
        """Take all back."""
        with self.work() as work:
            return work.undo()

    def state(self) -> dict[str, Any]:
        """All that account and cluster hold, without times and ids that differ when a thing is made again."""
        return {"aws": _content(self.aws.state()), "cluster": self.cluster.content()}

    def changing_calls(self) -> list[str]:
        """The calls so far that changed something or asked to."""
        return [call.operation for call in self.aws.changes] + [
            f"{call.method} {call.path}" for call in self.cluster.calls if call.changed
        ]

    def calls(self) -> set[str]:
        """The permissions that the calls so far needed, in the words of kit.actions.registry."""
        found = {f"aws:{call.operation}" for call in self.aws.calls}
        for call in self.cluster.calls:
            if call.path == "/version":  # everybody may, by system:public-info-viewer
                continue
            parts = _PATH.fullmatch(call.path)
            assert parts, call.path
            verb = "list" if call.method == "GET" and not parts["name"] else _VERBS[call.method]
            place = "/".join(one for one in (parts["group"], parts["resource"], parts["subresource"]) if one)
            found.add(f"kubernetes:{place}:{verb}")
        return found

    def permitted(self, action: PlannedAction) -> set[str]:
        """What the action says that it needs, and what everybody may or every preview asks."""
        plain = [one.rpartition("? ")[2].replace("@undo", "") for one in ACTIONS[action.action].permissions]
        return {":".join(one.split(":")[:3]) for one in plain} | {*_ALWAYS}


def _plan(actions: tuple[PlannedAction, ...]) -> Plan:
    return Plan(ACCOUNT, REGION, CLUSTER, actions, ())


def _content(value: Any) -> Any:
    if isinstance(value, dict):
        if value and all(isinstance(one, dict) and "associationId" in one for one in value.values()):
            return [_content(one) for one in value.values()]
        return {name: _content(one) for name, one in value.items() if name not in _TIMES}
    return [_content(one) for one in value] if isinstance(value, list) else value


def planned(action: str, number: int = 0, uid: str | None = None, **parameters: Any) -> PlannedAction:
    """A planned action with these parameters."""
    known = ACTIONS[action]
    return PlannedAction(
        id=f"{action}-{number:010x}",
        stage=known.stage,
        action=action,
        does=known.does,
        target="",
        name=action,
        uid=uid,
        why=[],
        precondition="",
        blast_radius=[],
        undo=known.undo,
        cannot_undo=known.cannot_undo,
        command=[],
        permissions=[],
        when_not=[],
        after=[],
        parameters=parameters,
        by_person="",
    )


def node(name: str, instance: str, **labels: str) -> dict[str, Any]:
    """A Node object of an instance."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-of-{instance}", "labels": {"kubernetes.io/os": "linux"} | labels},
        "spec": {"providerID": f"aws:///{REGION}a/{instance}"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.7"}]},
    }


def pod(name: str, of: str, owner: str) -> dict[str, Any]:
    """A running pod on a node. owner: its kind."""
    owners = [{"apiVersion": "apps/v1", "kind": owner, "name": "owner", "uid": "u", "controller": True}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-of-{name}", "ownerReferences": owners},
        "spec": {"nodeName": of, "containers": [{"name": "app", "image": "shop:1"}]},
        "status": {"phase": "Running"},
    }


def aws_auth(**data: str) -> dict[str, Any]:
    """ConfigMap kube-system/aws-auth."""
    metadata = {"name": "aws-auth", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _filled(aws: AwsEmulator) -> None:
    aws.add_instance(INSTANCE, tags={"eks:nodegroup-name": "workers"}, volumes=2)
    aws.add_instance(SPOT, spot=True)
    aws.add_instance(KARPENTER, tags={"karpenter.sh/nodepool": "default"})
    aws.add_autoscaling_group("workers", [INSTANCE, SPOT])
    iam = aws.client("iam")
    for name in ("Intruder", "operators", "nodes", "Runner"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(OF_EC2))
    iam.create_role(RoleName="till", AssumeRolePolicyDocument=json.dumps(WEB_IDENTITY), Path="/apps/")
    iam.create_user(UserName="lost")
    eks = aws.client("eks")
    access = {"authenticationMode": "API_AND_CONFIG_MAP"}
    eks.create_cluster(
        name=CLUSTER, roleArn=f"{IAM}:role/eks", resourcesVpcConfig={"endpointPrivateAccess": True}, accessConfig=access
    )
    for role, groups in (("deep/Intruder", ["builders"]), ("operators", [])):
        arn = f"{IAM}:role/{role}"
        eks.create_access_entry(clusterName=CLUSTER, principalArn=arn, kubernetesGroups=groups, tags={"team": "a"})
        eks.associate_access_policy(
            clusterName=CLUSTER, principalArn=arn, policyArn=ADMIN_POLICY, accessScope={"type": "cluster"}
        )
    eks.create_pod_identity_association(
        clusterName=CLUSTER,
        namespace="shop",
        serviceAccount="till",
        roleArn=f"{IAM}:role/apps/till",
        tags={"a": "b"},
        disableSessionTags=True,
    )
    aws.client("ecr").create_repository(repositoryName="shop")
    aws.client("ecr").put_image(repositoryName="shop", imageManifest=MANIFEST, imageTag="v1")
    aws.client("ecr").put_image(repositoryName="shop", imageManifest=MANIFEST, imageTag="latest")
    aws.add_finding({"id": "f1", "type": "Execution:Runtime/NewBinaryExecuted", "severity": 5, "service": {}})


@contextmanager
def scene(case: Path, patch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The account with its cluster, reached by environment and kubeconfig alone."""
    objects = [
        node(NODE, INSTANCE, **{"eks.amazonaws.com/nodegroup": "workers"}),
        node(SPOT_NODE, SPOT),
        node(KARPENTER_NODE, KARPENTER, **{"karpenter.sh/nodepool": "default"}),
        pod("web-1", NODE, "ReplicaSet"),
        pod("agent-1", NODE, "DaemonSet"),
        aws_auth(mapRoles=MAP_ROLES),
    ]
    case.mkdir()
    with AwsEmulator(ACCOUNT) as aws, KubernetesEmulator(objects) as cluster:
        aws.fill("account", _filled)
        cluster.user_info["username"] = f"arn:aws:sts::{ACCOUNT}:assumed-role/incident-responder/session"
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        name = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{CLUSTER}"
        yield Scene(aws, cluster, case, cluster.kubeconfig(case.parent / "kubeconfig", name))
