"""How workloads of yours come back clean: their pods are replaced one after the other, once what changed these is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kit.actions.action import DELETED_IS_GONE, DRY, Action, Held, Wait, Where, action_id, uid_checked
from kit.actions.effect import Effect
from kit.actions.target import RestartedWorkload, Target
from kit.model.command_line import Command, kubectl

_MARK = "kit-restart"


def restarting(action: str) -> dict[str, Any]:
    """The merge patch after which a workload replaces its pods: another template, in one annotation. action: the id of the planned action."""
    return {"spec": {"template": {"metadata": {"annotations": {_MARK: action}}}}}


def _restart(target: Target, held: Held) -> list[Command]:
    known = target.known(RestartedWorkload)
    patch = json.dumps(restarting(action_id("restart_workload", target)))
    place = (known.resource, known.name, known.namespace)
    return uid_checked(kubectl("patch", *place, "--type", "merge", "-p", patch), target)


def _lost(target: Target, held: Held) -> Iterator[str]:
    known = target.known(RestartedWorkload)
    yield f"{len(known.pods)} of its pods were changed by the attacker's webhook: what is in their memory is lost, logs and YAML are kept before"
    yield "a workload that replaces its pods only when somebody deletes them (OnDelete), or that is paused, needs that: the check says so"


ACTIONS = (
    Action("restart_workload", "contain", "Replace the pods of each workload of yours that the attacker's webhook changed as they were made, by clean ones, one after the other", "the pods that are replaced, each until its new one is ready",
           effects=(Effect.RESTARTS,),
           cannot_undo=DELETED_IS_GONE, kinds=("injected_workload",), commands=_restart,
           precondition="the webhook is gone or as it was, the pods are kept, and nodes that the attacker may hold take no pods",
           permissions=("kubernetes:{object}:get:{it}", "kubernetes:{object}:patch:{it}", "kubernetes:pods:list:{space}"), preview=DRY, check="none of the changed pods stands",
           tells=_lost,
           waits=(*(Wait(before, Where.ANY) for before in ("remove_webhook", "revert_webhook", "cordon_node", "add_nodes")), *(Wait(kept, Where.LOST) for kept in ("keep_objects", "snapshot_volumes"))),
           minutes=3),
)  # fmt: skip
