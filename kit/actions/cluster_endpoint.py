"""What is done to the cluster's public endpoint."""

from __future__ import annotations

import shlex

from kit.actions.action import SIMULATED, Action, Target


def _narrow(target: Target) -> list[str]:
    name, keep = shlex.quote(target.cluster or "CLUSTER"), target.parameters.get("keep")
    if keep == []:
        return [f"aws eks update-cluster-config --name {name} --resources-vpc-config endpointPublicAccess=false"]
    cidrs = ",".join(keep or ["YOUR.OWN.ADDRESS/32"])
    return [f"aws eks update-cluster-config --name {name} --resources-vpc-config publicAccessCidrs={cidrs}"]


ACTIONS = (
    Action("narrow_endpoint", "contain", "Let only your own addresses reach the cluster's public endpoint", "callers from other addresses: pipelines, people, nodes without private access",
           undo="put the old publicAccessCidrs back", kinds=("cluster",), commands=_narrow,
           precondition="private access is on, or every node's way out and your own address stay in",
           permissions=("aws:eks:UpdateClusterConfig", "aws:eks:DescribeCluster", "aws:eks:ListUpdates", "aws:eks:DescribeUpdate", "aws:ec2:DescribeNatGateways", "kubernetes:nodes:list"),
           preview=SIMULATED, check="EKS has the new values, and the API server answers from here"),
)  # fmt: skip
"""The actions of this topic, in their order within a stage."""
