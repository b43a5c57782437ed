"""What is done to the identities of AWS and of the identity provider: sessions, keys, trust."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kit.actions.action import SIMULATED, Action, Held, Wait, Where, action_id
from kit.actions.effect import Effect
from kit.actions.iam import DENY_ALL, MOMENT, older_than, policy_word
from kit.actions.target import PrincipalParameters, RoleSessions, SignedInPrincipal, Target, TrustedRole
from kit.identities.revocation import not_from_here
from kit.model.arn import account_of, compared, iam_arn, is_role, is_root, name_in, partition_of
from kit.model.command_line import Command, Printed, aws
from kit.words import Names, counted

_ACCOUNT_STEPS = "https://repost.aws/knowledge-center/potential-account-compromise"


def _of_root(target: Target) -> str:
    arn = target.known(PrincipalParameters).arn
    return not_from_here(arn, None) if is_root(arn) else ""


def _foreign_key(target: Target, held: Held) -> str:
    arn = target.known(PrincipalParameters).arn
    return "" if is_root(arn) and account_of(arn) == held.account else not_from_here(arn, held.account)


def _deactivate(target: Target, held: Held) -> list[Command]:
    known = target.known(PrincipalParameters)
    if is_root(known.arn):  # with the root user's own credentials
        return [aws("iam", "delete-access-key", access_key_id=key) for key in known.access_key_ids]
    user = {"user_name": name_in(known.arn or "")}
    return [
        aws("iam", "update-access-key", **user, access_key_id=key, status="Inactive") for key in known.access_key_ids
    ]


def _account_steps(target: Target, held: Held) -> Iterator[str]:
    """A long-term key of the attacker's puts the account in question, not the cluster alone."""
    yield f"AWS's steps for an account that may be compromised: {_ACCOUNT_STEPS}"


def _providers(target: Target, held: Held) -> list[Command]:
    return [aws("eks", "list-identity-provider-configs", cluster_name=target.cluster)] if target.cluster else []


def denials(instances: list[str], pods: list[str], until: str) -> list[dict[str, Any]]:
    """The narrowest statements: sessions of these instances; of these pods, and older ones without a pod's tags, as session tags may be off and
    an association that is gone does not tell; without either, all that are older."""
    statements = list[dict[str, Any]]()
    if instances:
        statements.append(
            DENY_ALL | {"Condition": {"StringLike": {"aws:userid": [f"*:{one}" for one in sorted(instances)]}}}
        )
    if pods:
        tag = "aws:PrincipalTag/kubernetes-pod-uid"
        older = {"Null": {tag: "true"}, "DateLessThan": {"aws:TokenIssueTime": until}}
        statements += [DENY_ALL | {"Condition": {"StringEquals": {tag: sorted(pods)}}}, DENY_ALL | {"Condition": older}]
    return statements or [older_than(until)]


def _revoke(target: Target, held: Held) -> list[Command]:
    """The same deny as kit.live puts on."""
    known = target.known(RoleSessions)
    if not is_role(known.role):
        return []
    named = {"role_name": name_in(str(known.role)), "policy_name": f"kit-revoke-{action_id('', target)[1:]}"}
    document = policy_word(denials(known.instances, known.pods, MOMENT))
    return [aws("iam", "put-role-policy", **named, policy_document=document)]


def trust_denial(issuer: str, service_accounts: list[str], partition: str, account: str) -> dict[str, Any]:
    """The statement of a trust policy that gives the tokens of these service accounts no new session. issuer: host and path."""
    subjects = [f"system:serviceaccount:{one.replace('/', ':', 1)}" for one in sorted(service_accounts)]
    digest = hashlib.sha256("\n".join([issuer, *subjects]).encode()).hexdigest()[:10]
    return {
        "Sid": f"KitRevoke{digest}",
        "Effect": "Deny",
        "Principal": {"Federated": iam_arn(partition, account, "oidc-provider", issuer)},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{issuer}:sub": subjects}},
    }


def host_and_path(issuer: str | None) -> str:
    """An issuer of tokens as trust policies name it."""
    return (issuer or "").removeprefix("https://").rstrip("/")


def _trust(target: Target, held: Held) -> list[Command]:
    """The policy that the role has by then, with the statement at its end: the CLI puts them together (JMESPath, flatten and merge)."""
    known, role = target.known(TrustedRole), {"role_name": name_in(target.key)}
    issuer, account = host_and_path(known.issuer), account_of(known.role)
    if not issuer or not account:
        return [aws("iam", "get-role", **role, query="Role.AssumeRolePolicyDocument")]
    statement = json.dumps(trust_denial(issuer, known.service_accounts, partition_of(known.role), account))
    old = "Role.AssumeRolePolicyDocument"
    merged = f"merge({old}, {{Statement: [{old}.Statement, `[{statement}]`][]}})"
    document = Printed(aws("iam", "get-role", **role, query=merged, output="json"))
    return [aws("iam", "update-assume-role-policy", **role, policy_document=document)]


def _pod_identity(target: Target, held: Held) -> list[Command]:
    cluster, name = {"cluster_name": target.cluster}, name_in(target.key)
    named = cluster | {"namespace": target.namespace, "service_account": name}
    listed = aws("eks", "list-pod-identity-associations", **named, query="associations[].associationId", output="text")
    deleted = aws("eks", "delete-pod-identity-association", **cluster).with_words("--association-id")
    return [replace(deleted, each=listed)] if target.cluster else []


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
    of_nodes = held.roles_of_nodes.get(compared(target.key), "")
    if (accounts or nodes) and not _is_used(held, target.key, accounts):
        return _WITHIN_REACH
    if nodes or of_nodes:
        who = f"{counted(len(nodes), 'node')} sign in with it" if nodes else f"it is a role of nodes ({of_nodes})"
        return f"{who}, and no evidence tells from which instance alone the attacker's sessions came: denying all its sessions stops image pulls and the network of new pods on every one of them; decide"
    return ""


def _how_far(target: Target, held: Held) -> Iterator[str]:
    """Whom the deny hits: the sessions of pods, or why it is no narrower where it hits all sessions of the role."""
    known = target.known(RoleSessions)
    if known.pods:
        yield "new sessions of these pods are denied too, by their tag; the account's other pods go on with theirs"
    if known.instances or known.pods or not is_role(known.role):
        return
    grants = [roles[target.key] for roles in held.inventory.service_account_roles.values() if target.key in roles]
    if any(one.by_pod_identity and not one.is_tagged for one in grants):
        yield "its sessions do not name their pod in a tag, so that a deny by pod would do nothing: all of them are denied"
    yield "not narrowed to a network (aws:SourceVpc, aws:SourceIp): no evidence shows that each of your own calls comes through a VPC endpoint or from known addresses"


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
           precondition="the way in is closed, or the deny is by pod; not a service-linked role, not one of IAM Identity Center, not your own",
           permissions=("aws:iam:GetRole", "aws:iam:GetRolePolicy", "aws:iam:PutRolePolicy", "aws:iam:DeleteRolePolicy@undo"),
           preview=SIMULATED, check="the role has the deny policy",
           applies=lambda target, held: not not_from_here(target.known(RoleSessions).role, held.account),
           impossible=_too_wide, person=_of_node, tells=_how_far, waits=(Wait("change_role_trust", Where.SAME), Wait("remove_pod_identity", Where.USER)),
           ends=("access_key:aws",)),
    Action("deactivate_access_key", "revoke", "Set the access key inactive; sessions that it issued outlive it. Delete it when the case is closed", "whatever uses that key", undo="set the key active again", kinds=("identity", "made_key"), identities=("iam",), commands=_deactivate,
           effects=(Effect.STOPS_KEY,),
           precondition="it is not the key that you work with",
           permissions=("aws:iam:ListAccessKeys", "aws:iam:UpdateAccessKey"),
           preview=SIMULATED, check="the key is inactive",
           applies=lambda target, held: bool(target.known(PrincipalParameters).access_key_ids), impossible=_foreign_key, person=_of_root, tells=_account_steps,
           ends=("access_key",), ends_key=lambda parameters, key: key in (parameters.get("access_key_ids") or ())),
)  # fmt: skip
