"""What is done to service accounts: their tokens are ended."""

from __future__ import annotations

import shlex

from kit.actions.action import DRY, Action, Held
from kit.actions.effect import Effect
from kit.actions.target import AccountOfTokens, Target


def _end_tokens(target: Target) -> list[str]:
    known = target.known(AccountOfTokens)
    space = shlex.quote(known.namespace or "default")
    lines = [
        f"kubectl get secrets -n {space} --field-selector type=kubernetes.io/service-account-token",
        f"kubectl delete secret -n {space} EACH_OF_THIS_ACCOUNT",
    ]
    if known.recreate:
        name = shlex.quote(known.name)
        lines += [
            f"kubectl get serviceaccount {name} -n {space} -o yaml > account.yaml",
            f"kubectl delete serviceaccount {name} -n {space}",
            "kubectl apply -f account.yaml",
        ]
    return lines


def _untold(target: Target, held: Held) -> str:
    if target.kind != "token" or held.is_unbound(target.key) is not None:
        return ""
    return "the attacker minted a token of it, and no evidence tells whether it is bound to a pod: if not, it lives until it expires, and only making the account anew, after which all its pods restart, ends it"


ACTIONS = (
    Action("end_service_account_tokens", "revoke", "End the tokens of the service account: those in Secrets with the Secret, now. Tokens bound to a pod end when it is deleted, once captured; others when the account is made again", "whatever uses the Secret's token; all pods of that service account when it has to be made again",
           effects=(Effect.ENDS_TOKENS,),
           cannot_undo="an ended token is not valid again; pods get new ones", kinds=("identity", "token"), identities=("service_account",),
           precondition="the account with this uid stands", commands=_end_tokens,
           permissions=("kubernetes:secrets:list:{space}", "kubernetes:secrets:get:{space}", "kubernetes:secrets:delete:{space}", "kubernetes:serviceaccounts:get:{it}", "kubernetes:pods:list:{space}",
                        *(f"recreate? kubernetes:serviceaccounts:{one}" for one in ("delete:{it}", "create:{space}", "patch:{it}"))),
           preview=DRY, check="no Secret holds a token of it; what still lives, and for how long, is said",
           impossible=_untold,
           ends=("token",), ends_key=lambda parameters, key: bool(parameters.get("recreate"))),
)  # fmt: skip
