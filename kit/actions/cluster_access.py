"""What is done to the ways of IAM principals into the cluster: access entries and mappings in aws-auth."""

from __future__ import annotations

from dataclasses import replace

from kit.actions.action import DRY, SIMULATED, Action, Held
from kit.actions.effect import Effect
from kit.actions.target import AdmittedPrincipal, ClusterCreator, Target
from kit.identities.aws_auth import last_data
from kit.identities.aws_auth_text import AWS_AUTH_SHOWN, without_mapping
from kit.model.arn import in_words, principal_of
from kit.model.command_line import Command, aws


def _mapping_out(arn: str, held: Held) -> list[Command]:
    """Of a ConfigMap that is in no evidence the exact change cannot be told: it is shown."""
    aws_auth = last_data(held.inventory.store)
    edit = without_mapping(aws_auth, arn)
    return [edit] if edit else [] if aws_auth else [AWS_AUTH_SHOWN]


def _entry_out(target: Target, arn: str) -> Command:
    """Deletes the entry where EKS lists one: whether it does the evidence need not tell."""
    named = {"cluster_name": target.cluster}
    listed = aws("eks", "list-access-entries", **named, query=f'accessEntries[?@==`"{arn}"`]', output="text")
    return replace(aws("eks", "delete-access-entry", **named).with_words("--principal-arn"), each=listed)


def _cluster_access(target: Target, held: Held) -> list[Command]:
    arn = target.known(AdmittedPrincipal).arn
    if not arn or not target.cluster:
        return []
    mapping = [] if held.access_mode == "API" else _mapping_out(arn, held)
    has_entries = principal_of(arn) and held.access_mode != "CONFIG_MAP"  # a root user can have no entry
    return [*mapping, *([_entry_out(target, arn)] if has_entries else [])]


def _of_account(target: Target) -> str:
    arn = target.known(AdmittedPrincipal).arn
    return (
        ""
        if arn is None or principal_of(arn)
        else f"it is {in_words(arn)}: the kit takes out roles and IAM users alone"
    )


def _creator_access(target: Target, held: Held) -> list[Command]:
    known, named = target.known(ClusterCreator), {"name": target.cluster}
    if not known.arn or not target.cluster:
        return []
    switch = aws("eks", "update-cluster-config", **named, access_config="authenticationMode=API_AND_CONFIG_MAP")
    wait = aws("eks", "wait cluster-active", **named)
    return [*((switch, wait) if known.mode == "CONFIG_MAP" else ()), _entry_out(target, known.arn)]


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
           commands=lambda target, held: [AWS_AUTH_SHOWN],
           precondition="you have aws-auth as it should be",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="whether it is yours no evidence tells"),
)  # fmt: skip
