"""What is done to role bindings: the attacker's are deleted, what names the attacker is taken out of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.actions.action import DRY, Action, Comes, Held, deleted
from kit.actions.effect import Effect
from kit.actions.target import EditedBinding, Target
from kit.identities.unbinding import unbind
from kit.model.command_line import Command
from kit.model.identity import SERVICE_ACCOUNT

_BINDINGS = ("kubernetes:{object}:get:{it}", "kubernetes:{object}:patch:{it}", "kubernetes:{edited_role}")


def _names_any(target: Target, held: Held) -> bool:
    known = target.parameters
    return not isinstance(known, EditedBinding) or bool(known.remove)


def _takes_out(parameters: Mapping[str, Any], key: str) -> bool:
    """Whether it is the binding itself that an entry is about, or one of those that are taken out of it."""
    path = "/".join(filter(None, (parameters.get(name) for name in ("resource", "namespace", "name"))))
    names = (
        f"{SERVICE_ACCOUNT}{one.get('namespace')}:{one.get('name')}"
        if one.get("kind") == "ServiceAccount"
        else one.get("name")
        for one in parameters.get("remove") or ()
    )
    return key == path or key in names


def _taken_out(target: Target, held: Held) -> list[Command]:
    known = target.parameters
    if not isinstance(known, EditedBinding) or not known.name:
        return []
    annotations = target.thing.annotations if target.thing else {}
    return [unbind((known.resource, known.namespace, known.name), known.uid, known.subjects, known.remove, annotations)]


ACTIONS = (
    Action("remove_role_binding", "revoke", "Delete the bindings and roles that the attacker wrote", "whatever else that identity does",
           effects=(Effect.DELETES,),
           undo="make it again from what the journal kept", kinds=("written_binding",), commands=deleted, destroys=True,
           precondition="the object with this uid stands; its subjects and role are as planned",
           permissions=("kubernetes:{object}:get:{it}", "kubernetes:{object}:delete:{it}", "kubernetes:{object}:create@undo:{space}", "kubernetes:{role}@undo"),
           preview=DRY, check="it is gone",
           ends=("let_in", "created", "identity")),
    Action("unbind_identity", "revoke", "Take the attacker's identity out of the bindings that name it", "all else that uses this identity: other pods of the service account, the person's own work",
           effects=(Effect.UNBINDS,),
           undo="put the subject back", kinds=("used_binding",), commands=_taken_out,
           precondition="its subjects are as planned; you do not work with that subject yourself",
           permissions=_BINDINGS, preview=DRY, check="the binding no longer names it",
           applies=_names_any,
           ends=("let_in", "created", "identity"), ends_key=_takes_out),
    Action("remove_anonymous_access", "revoke", "Take system:anonymous and system:unauthenticated out of all bindings but system:public-info-viewer", "whoever calls without signing in: old health checks",
           effects=(Effect.UNBINDS,),
           undo="put the subject back", kinds=("anonymous_binding",), commands=_taken_out,
           precondition="its subjects are as planned",
           permissions=_BINDINGS, preview=DRY, check="the binding no longer names them",
           applies=_names_any, comes=Comes.BY_PLAYBOOK,
           ends=("let_in", "created", "identity"), ends_key=_takes_out),
    Action("drop_default_account_rights", "revoke", "Take the default service account out of its bindings; give workloads accounts of their own", "workloads that lived on those rights",
           effects=(Effect.UNBINDS,),
           undo="put the subject back", kinds=("default_binding",), commands=_taken_out,
           precondition="the workloads that need the rights have accounts of their own",
           permissions=_BINDINGS, preview=DRY, check="the binding no longer names it",
           applies=_names_any, comes=Comes.BY_PLAYBOOK,
           ends=("let_in", "created", "identity"), ends_key=_takes_out),
)  # fmt: skip
