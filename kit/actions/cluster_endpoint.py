"""What is done to the cluster's public endpoint."""

from __future__ import annotations

from kit.actions.action import SIMULATED, Action, Comes, Held
from kit.actions.effect import Effect
from kit.actions.target import EndpointParameters, Target
from kit.model.command_line import Command, aws


def _narrow(target: Target, held: Held) -> list[Command]:
    keep, named = target.known(EndpointParameters).keep, {"name": target.cluster}
    if not target.cluster:
        return []
    if keep is None:
        return [aws("eks", "describe-cluster", **named, query="cluster.resourcesVpcConfig")]
    wanted = {"endpointPublicAccess": bool(keep)} | ({"publicAccessCidrs": keep} if keep else {})
    return [
        aws("eks", "update-cluster-config", **named, resources_vpc_config=wanted),
        aws("eks", "wait cluster-active", **named),
    ]


def _person(target: Target) -> str:
    if target.known(EndpointParameters).keep is not None:
        return ""
    return "nobody has said which addresses it stays open for: plan it with --keep-address CIDR, or --private-endpoint"


ACTIONS = (
    Action("narrow_endpoint", "contain", "Let only your own addresses reach the cluster's public endpoint", "callers from other addresses: pipelines, people, nodes without private access",
           effects=(Effect.NARROWS_ENDPOINT,),
           undo="put the old publicAccessCidrs back", kinds=("cluster",), commands=_narrow,
           precondition="private access is on, or every node's way out and your own address stay in",
           permissions=("aws:eks:UpdateClusterConfig", "aws:eks:DescribeCluster", "aws:eks:ListUpdates", "aws:eks:DescribeUpdate", "aws:ec2:DescribeNatGateways", "kubernetes:nodes:list"),
           preview=SIMULATED, check="EKS has the new values, and the API server answers from here",
           comes=Comes.FROM_OUTSIDE, person=_person,
           minutes=5, ends=("node", "credential")),
)  # fmt: skip
