"""What is done to the ways of IAM principals into the cluster: access entries and mappings in aws-auth."""

from __future__ import annotations

import shlex

from kit.actions.action import DRY, SIMULATED, Action, Held
from kit.actions.effect import Effect
from kit.actions.target import AdmittedPrincipal, ClusterCreator, Target
from kit.model.arn import in_words, principal_of


def _cluster_access(target: Target) -> list[str]:
    arn = target.known(AdmittedPrincipal).arn
    name, quoted = shlex.quote(target.cluster or "CLUSTER"), shlex.quote(arn or "ARN")
    entry = f"aws eks delete-access-entry --cluster-name {name} --principal-arn {quoted}"
    mapping = "kubectl edit configmap aws-auth -n kube-system"
    return [mapping, entry] if principal_of(arn) else [mapping]  # a root user can have no entry


def _of_account(target: Target) -> str:
    arn = target.known(AdmittedPrincipal).arn
    return (
        ""
        if arn is None or principal_of(arn)
        else f"it is {in_words(arn)}: the kit takes out roles and IAM users alone"
    )


def _creator_access(target: Target) -> list[str]:
    known = target.known(ClusterCreator)
    name, quoted = shlex.quote(target.cluster or "CLUSTER"), shlex.quote(known.arn or "ARN")
    switch = f"aws eks update-cluster-config --name {name} --access-config authenticationMode=API_AND_CONFIG_MAP"
    wait = f"aws eks wait cluster-active --name {name}"
    look = f"aws eks list-associated-access-policies --cluster-name {name} --principal-arn {quoted}"
    delete = f"aws eks delete-access-entry --cluster-name {name} --principal-arn {quoted}"
    return [*((switch, wait) if known.mode == "CONFIG_MAP" else ()), look, delete]


def _no_way_back(target: Target) -> str:
    if target.known(ClusterCreator).mode != "CONFIG_MAP":
        return _of_account(target)
    return "in mode CONFIG_MAP the creator's mapping is hidden, and nothing takes it out. Give another administrator a mapping first. Then change the mode to API_AND_CONFIG_MAP, which cannot be undone, and delete the creator's access entry"


def _nameless(target: Target, held: Held) -> str:
    return "" if target.known(AdmittedPrincipal).arn else "no evidence names the IAM role or user behind it"


ACTIONS = (
    Action("remove_cluster_access", "revoke", "Delete the caller's access entry and its mapping in aws-auth, both", "all that this IAM principal does in the cluster",
           effects=(Effect.SHUTS_OUT,),
           undo="create entry and mapping again from the saved ones", kinds=("identity", "mapping"), identities=("iam",), commands=_cluster_access,
           precondition="it is neither the last administrator, nor a node's or Fargate's mapping, nor the identity that you work with",
           permissions=("aws:eks:DescribeCluster", "aws:eks:ListAccessEntries", "aws:eks:DescribeAccessEntry", "aws:eks:ListAssociatedAccessPolicies", "aws:eks:DeleteAccessEntry", "aws:eks:CreateAccessEntry@undo",
                        "aws:eks:AssociateAccessPolicy@undo", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:list", "kubernetes:configmaps:get:kube-system/aws-auth", "kubernetes:configmaps:patch:kube-system/aws-auth"),
           preview=f"{DRY} of aws-auth, shown as a diff; EKS has {SIMULATED}", check="neither entry nor mapping is there",
           needs=AdmittedPrincipal, applies=lambda target, held: target.kind != "identity" or not held.is_creator(target.key), impossible=_nameless, person=_of_account,
           ends=("let_in", "identity", "access_key:cluster")),
    Action("end_creator_access", "revoke", "Take away the cluster creator's right to administer it: its access entry, with the policy on that", "all that this IAM principal does in the cluster, automation that made the cluster too",
           effects=(Effect.SHUTS_OUT,),
           undo="create the entry again from the saved one; a change of the authentication mode stays", kinds=("identity",), identities=("iam",), commands=_creator_access,
           precondition="another administrator is left, with an entry or a mapping of its own; it is not the identity that you work with",
           permissions=("aws:eks:DescribeCluster", "aws:eks:ListAccessEntries", "aws:eks:DescribeAccessEntry", "aws:eks:ListAssociatedAccessPolicies", "aws:eks:DeleteAccessEntry", "aws:eks:CreateAccessEntry@undo",
                        "aws:eks:AssociateAccessPolicy@undo", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:list", "kubernetes:configmaps:get:kube-system/aws-auth", "kubernetes:configmaps:patch:kube-system/aws-auth"),
           preview=f"EKS has {SIMULATED}", check="neither entry nor mapping is there",
           needs=ClusterCreator, applies=lambda target, held: held.is_creator(target.key), impossible=_nameless, person=_no_way_back,
           ends=("let_in", "identity", "access_key:cluster")),
    Action("compare_mappings", "revoke", "Compare this mapping in aws-auth with your own copy: the attacker changed aws-auth, and what stood before is in no evidence", "whoever signs in by it, when it is taken out", undo="put the line back", kinds=("unclear_mapping",),
           effects=(Effect.NONE,),
           commands=lambda target: ["kubectl get configmap aws-auth -n kube-system -o yaml"],
           precondition="you have aws-auth as it should be",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="whether it is yours no evidence tells"),
)  # fmt: skip
