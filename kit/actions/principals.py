"""What is done to the identities of AWS and of the identity provider: sessions, keys, trust."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from kit.actions.action import SIMULATED, Action, Held, Wait, Where, action_id
from kit.actions.effect import Effect
from kit.actions.target import PrincipalParameters, RoleSessions, SignedInPrincipal, Target, TrustedRole
from kit.identities.revocation import not_from_here
from kit.model.arn import account_of, is_role, is_root, name_in
from kit.words import Names, counted

_ACCOUNT_STEPS = "https://repost.aws/knowledge-center/potential-account-compromise"


def _of_root(target: Target) -> str:
    arn = target.known(PrincipalParameters).arn
    return not_from_here(arn, None) if is_root(arn) else ""


def _foreign_key(target: Target, held: Held) -> str:
    arn = target.known(PrincipalParameters).arn
    return "" if is_root(arn) and account_of(arn) == held.account else not_from_here(arn, held.account)


def _deactivate(target: Target) -> list[str]:
    known = target.known(PrincipalParameters)
    if is_root(known.arn):  # with the root user's own credentials
        return [f"aws iam delete-access-key --access-key-id {shlex.quote(key)}" for key in known.access_key_ids]
    user = shlex.quote(name_in(known.arn or ""))
    return [
        f"aws iam update-access-key --user-name {user} --access-key-id {shlex.quote(key)} --status Inactive"
        for key in known.access_key_ids
    ]


def _account_steps(target: Target, held: Held) -> Iterator[str]:
    """A long-term key of the attacker's puts the account in question, not the cluster alone."""
    yield f"AWS's steps for an account that may be compromised: {_ACCOUNT_STEPS}"


def _providers(target: Target) -> list[str]:
    return [f"aws eks list-identity-provider-configs --cluster-name {shlex.quote(target.cluster or 'CLUSTER')}"]


def _revoke(target: Target) -> list[str]:
    """The same deny as kit.live puts on: of these instances or pods alone, else of all sessions that are older than now."""
    known = target.known(RoleSessions)
    if not is_role(known.role):
        return []
    name = name_in(str(known.role))
    conditions: list[dict[str, Any]] = []
    if known.instances:
        conditions.append({"StringLike": {"aws:userid": [f"*:{one}" for one in known.instances]}})
    if known.pods:
        conditions.append({"StringEquals": {"aws:PrincipalTag/kubernetes-pod-uid": known.pods}})
    conditions = conditions or [{"DateLessThan": {"aws:TokenIssueTime": "NOW"}}]
    statements = [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": one} for one in conditions]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    before, now, after = policy.partition("NOW")
    quoted = shlex.quote(before) + ('"$(date -u -d +1min +%Y-%m-%dT%H:%M:%SZ)"' + shlex.quote(after) if now else "")
    policy_name = f"kit-revoke-{action_id('', target)[1:]}"
    return [
        f"aws iam put-role-policy --role-name {shlex.quote(name)} --policy-name {policy_name} --policy-document {quoted}"
    ]


def _trust(target: Target) -> list[str]:
    name = shlex.quote(name_in(target.key))
    return [
        f"aws iam get-role --role-name {name} --query Role.AssumeRolePolicyDocument > trust.json",
        f"aws iam update-assume-role-policy --role-name {name} --policy-document file://trust.json",
    ]


def _pod_identity(target: Target) -> list[str]:
    cluster, space, name = (
        shlex.quote(one or "") for one in (target.cluster or "CLUSTER", target.namespace, target.name)
    )
    return [
        f"aws eks list-pod-identity-associations --cluster-name {cluster} --namespace {space} --service-account {name}",
        f"aws eks delete-pod-identity-association --cluster-name {cluster} --association-id EACH_ID",
    ]


_WITHIN_REACH = "it was only within reach: this would stop all pods that use it, and its sessions come anew as long as its tokens do; look whether it was used (CloudTrail), and decide"


def _is_used(held: Held, role: str, accounts: Names) -> bool:
    return role in held.used_roles or bool(held.hostile_accounts & set(accounts))


def _unused_trust(target: Target, held: Held) -> str:
    elsewhere = not_from_here(target.key, held.account)
    is_used = _is_used(held, target.key, target.known(TrustedRole).service_accounts)
    return elsewhere or ("" if is_used else _WITHIN_REACH)


def _unused_identity(target: Target, held: Held) -> str:
    roles = held.inventory.service_account_roles.get(target.key, {})
    return "" if target.key in held.hostile_accounts or held.used_roles & roles.keys() else _WITHIN_REACH


def _too_wide(target: Target, held: Held) -> str:
    known = target.known(RoleSessions)
    if target.kind == "node":
        if known.role and known.instances:
            return ""
        return f"its credential was in reach, and no evidence names its {'instance' if known.role else 'role'}: it lives until it expires; denying all sessions of a node role stops every node that has it"
    if known.instances or known.pods:
        return ""
    accounts = [account for account, roles in held.inventory.service_account_roles.items() if target.key in roles]
    nodes = [node for node, (role, _) in held.inventory.node_roles.items() if role == target.key]
    if (accounts or nodes) and not _is_used(held, target.key, accounts):
        return _WITHIN_REACH
    if nodes:
        return f"{counted(len(nodes), 'node')} sign in with it, and no evidence tells from which instance alone the attacker's sessions came: denying all its sessions stops image pulls and the network of new pods on every one of them; decide"
    return ""


def _of_node(target: Target) -> str:
    if target.kind != "node":
        return ""
    return "the node's credential was in reach, and nothing here shows that it was used: look in CloudTrail for sessions of its instance, and decide; the kit ends it where it was used"


ACTIONS = (
    Action("end_sign_in", "revoke", "End the sign-in that this role's session came from: disable the person, or close the pipeline's trust", "that person's or pipeline's other work", undo="enable it again", kinds=("identity",), identities=("iam",),
           effects=(Effect.ENDS_SIGN_IN,),
           precondition="somebody at the identity provider can do it; else the role gives a new session at once",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="the role's identity provider or trust policy decides who may take the role, and the evidence does not name the people surely",
           needs=SignedInPrincipal, applies=lambda target, held: ":role/" in (target.known(PrincipalParameters).arn or "")),
    Action("end_oidc_access", "revoke", "Disable the user at the identity provider, and end its sessions there", "that user's other work", undo="enable the user again", kinds=("identity",), identities=("oidc",), commands=_providers,
           effects=(Effect.ENDS_SIGN_IN,),
           precondition="somebody at the identity provider can disable the user", permissions=(),
           preview="none: it is done at the provider", check="a person confirms it (`kit apply --by-hand ID`)",
           by_person="the user lives at the identity provider, which the kit does not reach; detaching the provider from the cluster would shut out all its users",
           ends=("identity",)),
    Action("change_role_trust", "revoke", "Change the trust policy of the IRSA role, so that the stolen token gets no new session", "all pods that take on the role through these service accounts",
           effects=(Effect.CLOSES_TRUST,),
           undo="put the old trust policy back", kinds=("iam_role",),
           precondition="the trust policy is as it was looked at", commands=_trust,
           permissions=("aws:iam:GetRole", "aws:iam:UpdateAssumeRolePolicy", "aws:eks:DescribeCluster"),
           preview=SIMULATED, check="the trust policy denies these service accounts",
           needs=TrustedRole, applies=lambda target, held: bool(target.known(TrustedRole).service_accounts), impossible=_unused_trust),
    Action("remove_pod_identity", "revoke", "Delete the Pod Identity association", "all pods of that service account in AWS", undo="create the association again; its id is a new one", kinds=("service_account",),
           effects=(Effect.ENDS_POD_IDENTITY,),
           commands=_pod_identity,
           precondition="the association is of this service account",
           permissions=("aws:eks:ListPodIdentityAssociations", "aws:eks:DescribePodIdentityAssociation", "aws:eks:DeletePodIdentityAssociation", "aws:eks:CreatePodIdentityAssociation@undo", "aws:iam:PassRole@undo"),
           preview=SIMULATED, check="no association names the service account",
           applies=lambda target, held: any(grant.by_pod_identity for grant in held.inventory.service_account_roles.get(target.key, {}).values()), impossible=_unused_identity,
           ends=("let_in",)),
    Action("revoke_role_sessions", "revoke", "Deny everything to the attacker's sessions of the role, by instance or pod where these can be told apart. Else deny all sessions that were issued before a minute from now", "all users of the role whose sessions it hits, until they get new ones",
           effects=(Effect.DENIES_SESSIONS,),
           undo="delete the deny policy", kinds=("iam_role", "chained_role", "credential_in_reach"), commands=_revoke,
           precondition="the way in is closed: new sessions work at once; not a service-linked role, not one of IAM Identity Center, not your own",
           permissions=("aws:iam:GetRole", "aws:iam:GetRolePolicy", "aws:iam:PutRolePolicy", "aws:iam:DeleteRolePolicy@undo"),
           preview=SIMULATED, check="the role has the deny policy",
           applies=lambda target, held: not not_from_here(target.known(RoleSessions).role, held.account),
           impossible=_too_wide, person=_of_node, waits=(Wait("change_role_trust", Where.SAME), Wait("remove_pod_identity", Where.USER)),
           ends=("access_key:aws",)),
    Action("deactivate_access_key", "revoke", "Set the access key inactive; sessions that it issued outlive it. Delete it when the case is closed", "whatever uses that key", undo="set the key active again", kinds=("identity", "made_key"), identities=("iam",), commands=_deactivate,
           effects=(Effect.STOPS_KEY,),
           precondition="it is not the key that you work with",
           permissions=("aws:iam:ListAccessKeys", "aws:iam:UpdateAccessKey"),
           preview=SIMULATED, check="the key is inactive",
           applies=lambda target, held: bool(target.known(PrincipalParameters).access_key_ids), impossible=_foreign_key, person=_of_root, tells=_account_steps,
           ends=("access_key",), ends_key=lambda parameters, key: key in (parameters.get("access_key_ids") or ())),
)  # fmt: skip
