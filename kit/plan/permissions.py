"""The least that a plan needs of AWS and of the cluster, as an IAM policy and a ClusterRole."""

from __future__ import annotations

from typing import Any

from kit.model.kubernetes import GROUPS
from kit.plan.plan import Plan

ALWAYS = ("aws:eks:DescribeCluster", "aws:iam:SimulatePrincipalPolicy", "aws:iam:GetRole")
"""What every run needs: to tell the cluster by its address, and the caller's permissions in a preview."""


def permissions_of(plan: Plan) -> dict[str, Any]:
    """The least that the plan needs: an IAM policy and the rules of a ClusterRole, as their APIs take them."""
    every = sorted({one for action in plan.actions if not action.by_person for one in action.permissions})
    if any(one.startswith("aws:") for one in every):
        every = sorted({*every, *ALWAYS})
    aws = [one.split(":", 2)[1:] for one in every if one.startswith("aws:")]
    rules = dict[tuple[str, str, str], set[str]]()
    for one in every:
        if one.startswith("kubernetes:"):
            _, path, verb, name = [*one.split(":", 3), ""][:4]
            group, _, resource = path.rpartition("/") if path.partition("/")[0] in GROUPS else ("", "", path)
            rules.setdefault((group, resource, name), set()).add(verb)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": [f"{service}:{name}" for service, name in aws], "Resource": "*"}]
        if aws
        else [],
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "kit-remediation"},
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
            | ({"resourceNames": [name]} if name else {})
            for (group, resource, name), verbs in sorted(rules.items())
        ],
    }
    return {"iam_policy": policy, "cluster_role": role}
