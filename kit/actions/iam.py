"""What is done in IAM about users, and about what the attacker made and changed there; and about roles that only others may change."""

from __future__ import annotations

from typing import Any

from kit.actions.action import SIMULATED, Action, Held, Wait, Where, action_id
from kit.actions.effect import Effect
from kit.actions.target import ChangedInAws, ForeignRole, PrincipalParameters, Target
from kit.identities.revocation import not_from_here
from kit.model.arn import account_of, is_root, name_in
from kit.model.command_line import Command, Word, aws, in_a_minute, json_with

DENY_ALL = {"Effect": "Deny", "Action": "*", "Resource": "*"}
"""A statement that denies everything; to whom its condition says."""
MOMENT = "MOMENT"
"""Stands in a policy for the moment that a command prints."""


def older_than(moment: str) -> dict[str, Any]:
    """A statement that denies everything to sessions from before a moment; calls with a long-term key have no time of issue, and are not hit."""
    return DENY_ALL | {"Condition": {"DateLessThan": {"aws:TokenIssueTime": moment}}}


def policy_word(statements: list[dict[str, Any]]) -> Word:
    """A policy of these statements as a word, in which the moment is a minute from when it is put."""
    document = {"Version": "2012-10-17", "Statement": statements}
    made = json_with(document, MOMENT, in_a_minute())
    return made if made.after else made.before


def _deny(target: Target, held: Held) -> list[Command]:
    """The same deny as kit.live puts on."""
    policy = f"kit-revoke-{action_id('', target)[1:]}"
    user, document = name_in(target.known(PrincipalParameters).arn or ""), policy_word([older_than(MOMENT)])
    return [aws("iam", "put-user-policy", user_name=user, policy_name=policy, policy_document=document)]


def _review(target: Target, held: Held) -> list[Command]:
    user = name_in(target.known(PrincipalParameters).arn or "")
    looks = (
        *("list-access-keys", "get-login-profile", "list-mfa-devices", "list-service-specific-credentials"),
        *("list-ssh-public-keys", "list-signing-certificates", "list-groups-for-user", "list-attached-user-policies"),
        "list-user-policies",
    )
    return [aws("iam", look, user_name=user) for look in looks]


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
    Action("undo_iam_changes", "revoke", "Undo what else the attacker changed in AWS: in IAM, in the cluster's access, in what records, in what is shared", "whoever works by what the attacker gave", undo="make the change again", kinds=("iam_change",),
           effects=(Effect.TAKES_BACK,),
           printed=lambda target: target.known(ChangedInAws).commands,
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
