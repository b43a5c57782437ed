"""What is done to service accounts: their tokens are ended."""

from __future__ import annotations

from dataclasses import replace

from kit.actions.action import DRY, Action, Held
from kit.actions.effect import Effect
from kit.actions.target import AccountOfTokens, Target
from kit.model.command_line import Command, kubectl

_OWNER = r"@.metadata.annotations.kubernetes\.io/service-account\.name"


def _end_tokens(target: Target, held: Held) -> list[Command]:
    """The Secrets with its tokens deleted, by their annotation; then the account made anew of its own content, without what the server gave it."""
    known = target.known(AccountOfTokens)
    space, name, own = ("-n", known.namespace), known.name, f"{known.namespace}_{known.name}.account.yaml"
    if not known.namespace or not name:
        return []
    of_account = f'jsonpath={{range .items[?({_OWNER}=="{name}")]}}{{.metadata.name}}{{"\\n"}}{{end}}'
    tokens = ("--field-selector", "type=kubernetes.io/service-account-token", "-o", of_account)
    commands = [
        replace(
            Command(("kubectl", "delete", "secret", *space)),
            each=Command(("kubectl", "get", "secrets", *space, *tokens)),
        )
    ]
    if known.recreate:
        given_by_server = ("-v", "-e", "^  uid:", "-e", "^  resourceVersion:", "-e", "^  creationTimestamp:")
        shown = kubectl("get", "serviceaccount", name, known.namespace, "-o", "yaml")
        commands += [
            Command(("grep", *given_by_server), fed_by=shown, into=own),
            kubectl("delete", "serviceaccount", name, known.namespace),
            Command(("kubectl", "apply", "-f", own)),
        ]
    return commands


def _untold(target: Target, held: Held) -> str:
    if target.kind != "token" or held.is_unbound(target.key) is not None:
        return ""
    return "the attacker minted a token of it, and no evidence tells whether it is bound to a pod: if not, it lives until it expires, 24 hours at most or 90 days where it was asked for with 3607 s, and only making the account anew, after which all its pods restart, ends it"


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
