"""What is done to objects that the attacker changed: each goes back to what stood before, where the log has it and it is still the attacker's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kit.actions.action import DRY, Action, Held, Stage
from kit.actions.effect import Effect
from kit.actions.target import ChangedObject, Target, TargetSource
from kit.attribution.written import written_over
from kit.model.command_line import Command, kubectl
from kit.model.kinds import SubjectName


def _operations(expected: dict[str, Any], patch: dict[str, Any], pointer: str = "") -> Iterator[dict[str, Any]]:
    """RFC 6902: each member is tested to be as the attacker left it, then set or taken away; the server does all of it or nothing."""
    for name, value in patch.items():
        left, path = expected.get(name), f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if isinstance(value, dict) and isinstance(left, dict):
            yield from _operations(left, value, path)
            continue
        if left is not None:
            yield {"op": "test", "path": path, "value": left}
        yield {"op": "remove", "path": path} if value is None else {"op": "add", "path": path, "value": value}


def _patch(target: Target, held: Held) -> list[Command]:
    known = target.known(ChangedObject)
    if known.person or not known.patch:
        return []
    meant = [{"op": "test", "path": "/metadata/uid", "value": known.uid}] if known.uid else []
    operations = json.dumps([*meant, *_operations(known.expected, known.patch)])
    return [kubectl("patch", known.resource, known.name, known.namespace, "--type", "json", "-p", operations)]


def _person(target: Target) -> str:
    return target.known(ChangedObject).person


def _overwritten(target: Target, held: Held) -> str:
    return target.known(ChangedObject).overwritten


def _both(target: Target, held: Held) -> Iterator[str]:
    """What it was, and what the attacker left."""
    known = target.known(ChangedObject)
    if known.patch:
        told = written_over(known.patch, {}, known.expected)
        yield f"puts back {told.before or 'nothing'} in place of the attacker's {told.after or 'nothing'}; what others wrote since stays"


def _action(name: str, stage: Stage, does: str, kind: SubjectName | TargetSource, **more: Any) -> Action:
    return Action(
        name, stage, does, "whoever relies by now on what the attacker wrote", undo="put back what the attacker left", kinds=(kind,),
        commands=_patch, precondition="the object stands, and what is put back is still as the attacker left it",
        permissions=("kubernetes:{object}:get:{it}", "kubernetes:{object}:patch:{it}", "kubernetes:{edited_role}"),
        preview=DRY, check="it is as it stood before the attacker changed it",
        person=_person, impossible=_overwritten, tells=_both, ends=("let_in",), **more,
    )  # fmt: skip


ACTIONS = (
    _action("revert_webhook", "freeze", "Put back the admission webhooks that the attacker changed, first of all: each new pod goes through them", "changed_webhook", effects=(Effect.REVERTS,)),
    _action("revert_rights", "revoke", "Put back the roles, bindings and service accounts that the attacker changed", "changed_rights", effects=(Effect.UNBINDS, Effect.REVERTS)),
    _action("revert_changes", "recover", "Put back the other objects that the attacker changed, as the log shows them before", "changed", effects=(Effect.REVERTS,), after_stages=("revoke",)),
)  # fmt: skip
