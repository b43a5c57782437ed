"""What is done in IAM about users, and about what the attacker made and changed there; and about roles that only others may change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from kit.actions.action import SIMULATED, Action, Held, Wait, Where, action_id
from kit.actions.effect import Effect
from kit.actions.target import ChangedInAws, ForeignRole, PrincipalParameters, Target
from kit.identities.revocation import not_from_here
from kit.model.arn import account_of, is_root, name_in

_UNDONE_BY: dict[str, list[str]] = {
    "CreateUser": ["aws iam get-user --user-name {userName}", "aws iam delete-user --user-name {userName}"],
    "CreateLoginProfile": ["aws iam delete-login-profile --user-name {userName}"],
    "UpdateLoginProfile": ["aws iam delete-login-profile --user-name {userName}"],
    "AttachUserPolicy": ["aws iam detach-user-policy --user-name {userName} --policy-arn {policyArn}"],
    "PutUserPolicy": ["aws iam delete-user-policy --user-name {userName} --policy-name {policyName}"],
    "AddUserToGroup": ["aws iam remove-user-from-group --user-name {userName} --group-name {groupName}"],
    "EnableMFADevice": ["aws iam deactivate-mfa-device --user-name {userName} --serial-number {serialNumber}"],
    "DeactivateMFADevice": ["aws iam list-mfa-devices --user-name {userName}"],
    "CreateServiceSpecificCredential": ["aws iam list-service-specific-credentials --user-name {userName}"],
    "UploadSSHPublicKey": ["aws iam list-ssh-public-keys --user-name {userName}"],
    "UploadSigningCertificate": ["aws iam list-signing-certificates --user-name {userName}"],
    "UpdateAccessKey": ["aws iam list-access-keys --user-name {userName}"],
    "CreateRole": ["aws iam get-role --role-name {roleName}", "aws iam delete-role --role-name {roleName}"],
    "UpdateAssumeRolePolicy": ["aws iam get-role --role-name {roleName} --query Role.AssumeRolePolicyDocument"],
    "AttachRolePolicy": ["aws iam detach-role-policy --role-name {roleName} --policy-arn {policyArn}"],
    "PutRolePolicy": ["aws iam delete-role-policy --role-name {roleName} --policy-name {policyName}"],
    "DeleteRolePolicy": ["aws iam list-role-policies --role-name {roleName}"],
    "DetachRolePolicy": ["aws iam list-attached-role-policies --role-name {roleName}"],
    "AttachGroupPolicy": ["aws iam detach-group-policy --group-name {groupName} --policy-arn {policyArn}"],
    "PutGroupPolicy": ["aws iam delete-group-policy --group-name {groupName} --policy-name {policyName}"],
    "CreatePolicyVersion": ["aws iam list-policy-versions --policy-arn {policyArn}"],
    "SetDefaultPolicyVersion": ["aws iam list-policy-versions --policy-arn {policyArn}"],
    "CreateOpenIDConnectProvider": ["aws iam list-open-id-connect-providers"],
    "CreateSAMLProvider": ["aws iam list-saml-providers"],
    "AssociateAccessPolicy": [
        "aws eks disassociate-access-policy --cluster-name {cluster} --principal-arn {principalArn} --policy-arn {policyArn}"
    ],
    "UpdateAccessEntry": ["aws eks describe-access-entry --cluster-name {cluster} --principal-arn {principalArn}"],
    "CreatePodIdentityAssociation": [
        "aws eks list-pod-identity-associations --cluster-name {cluster} --namespace {namespace} --service-account {serviceAccount}"
    ],
    "AssociateIdentityProviderConfig": ["aws eks list-identity-provider-configs --cluster-name {cluster}"],
}
"""Call → the commands that undo it, or that show what has to be put back. CreateAccessKey and CreateAccessEntry have actions of their own."""


def undone_by(name: str, asked: Mapping[str, Any]) -> list[str] | None:
    """The commands that undo a call of IAM or EKS; None for one that needs none. asked: its parameters.

    >>> undone_by("CreateLoginProfile", {"userName": "svc backup"})
    ["aws iam delete-login-profile --user-name 'svc backup'"]
    """
    if name not in _UNDONE_BY:
        return None
    known = {key: shlex.quote(value) for key, value in asked.items() if isinstance(value, str)}
    known |= {"cluster": known.get("clusterName") or known.get("name") or "CLUSTER"}
    return [line.format_map(_Named(known)) for line in _UNDONE_BY[name]]


class _Named(dict[str, str]):
    """Texts by name; what is not known stands in capitals, to be filled in by a person."""

    def __missing__(self, name: str) -> str:
        return name.upper()


def _deny(target: Target) -> list[str]:
    """The same deny as kit.live puts on: calls with the long-term key have no time of issue, and are not hit."""
    arn = target.known(PrincipalParameters).arn or ""
    before = '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"DateLessThan": {"aws:TokenIssueTime": "'
    document = shlex.quote(before) + '"$(date -u -d +1min +%Y-%m-%dT%H:%M:%SZ)"' + shlex.quote('"}}}]}')
    policy = f"kit-revoke-{action_id('', target)[1:]}"
    return [
        f"aws iam put-user-policy --user-name {shlex.quote(name_in(arn))} --policy-name {policy} --policy-document {document}"
    ]


def _review(target: Target) -> list[str]:
    user = shlex.quote(name_in(target.known(PrincipalParameters).arn or ""))
    looks = (
        *("list-access-keys", "get-login-profile", "list-mfa-devices", "list-service-specific-credentials"),
        *("list-ssh-public-keys", "list-signing-certificates", "list-groups-for-user", "list-attached-user-policies"),
        "list-user-policies",
    )
    return [f"aws iam {look} --user-name {user}" for look in looks]


def _foreign(target: Target, held: Held) -> str:
    arn = target.known(PrincipalParameters).arn
    of = account_of(arn)
    return not_from_here(arn, held.account) if is_root(arn) or (held.account and of and of != held.account) else ""


_BY_HAND, _CONFIRMED = "none: a person does it", "a person confirms it (`kit apply --by-hand ID`)"


ACTIONS = (
    Action("deny_user_sessions", "revoke", "Deny everything to the sessions that the IAM user's keys asked for: they outlive the keys, up to 36 hours", "whoever works with a session of this user, until it asks for a new one",
           effects=(Effect.DENIES_SESSIONS,),
           undo="delete the deny policy", kinds=("iam_user",), commands=_deny,
           precondition="the user's keys are inactive, else it asks for new sessions; it is not the user that you work as",
           permissions=("aws:iam:GetUser", "aws:iam:GetUserPolicy", "aws:iam:PutUserPolicy", "aws:iam:DeleteUserPolicy@undo"),
           preview=SIMULATED, check="the user has the deny policy",
           impossible=_foreign, waits=(Wait("deactivate_access_key", Where.HOLDER),),
           ends=("access_key:aws",), ends_key=lambda parameters, key: key.startswith("ASIA")),
    Action("review_iam_user", "revoke", "Look at what else signs in as the IAM user: other keys, password, MFA devices, keys of other services. End what is not yours", "whoever signs in by what is ended", undo="put back what was yours", kinds=("iam_user",), commands=_review,
           effects=(Effect.NONE,),
           precondition="you know which keys and devices are yours", permissions=(), preview=_BY_HAND, check=_CONFIRMED,
           by_person="which of them are yours no evidence tells",
           impossible=_foreign),
    Action("undo_iam_changes", "revoke", "Undo what the attacker changed in IAM and in the cluster's access", "whoever works by what the attacker gave", undo="make the change again", kinds=("iam_change",),
           effects=(Effect.TAKES_BACK,),
           commands=lambda target: target.known(ChangedInAws).commands,
           precondition="the change stands, and nobody has made it yours since", permissions=(), preview=_BY_HAND, check=_CONFIRMED,
           by_person="CloudTrail has the change, and not always what stood before it",
           ends=("let_in",)),
    Action("end_sessions_elsewhere", "revoke", "Have the role's sessions ended by those who may: no policy can be put on it from this account", "all users of the role", undo="they take it back", kinds=("iam_role", "chained_role"),
           effects=(Effect.NONE,),
           precondition="those who may change the role are told", permissions=(), preview=_BY_HAND, check=_CONFIRMED,
           needs=ForeignRole, applies=lambda target, held: bool(target.known(ForeignRole).says),
           by_person="who may change the role is not in this account, or is AWS", person=lambda target: target.known(ForeignRole).says,
           ends=("access_key:aws",)),
    Action("report_to_aws", "revoke", "Report to AWS Support that a credential of the control plane was used, with the calls' auditIDs", "nothing", stops_nothing=True, undo="close the report", kinds=("identity",), identities=("control_plane",),
           effects=(Effect.NONE,),
           precondition="the calls are not the control plane's own", permissions=(), preview=_BY_HAND, check=_CONFIRMED,
           by_person="it belongs to the control plane, which AWS runs: nobody in your account can change its role or its credentials. Look also who minted the credential"),
)  # fmt: skip
