"""Acts on whole objects: those that the attacker made are deleted, those that were deleted are made again.

Source: Kubernetes "Garbage Collection".
"""

from __future__ import annotations

from typing import Any

from kit.actions.action import seconds_after
from kit.actions.workloads import STOPPED
from kit.live.acts.act import HOLDS, Check, act, all_hold
from kit.live.acts.cluster import controller, found, is_gone, is_own_account, title, uid_now
from kit.live.changes.objects import CreateObject, DeleteObject, EditObject, remade, url_path
from kit.live.connection import Connection
from kit.live.errors import Refused
from kit.model.kubernetes import WORKLOADS
from kit.plan.plan import PlannedAction
from kit.plan.whole_object import MADE_BY_OTHERS
from kit.questions.verdict import CANNOT_TELL
from kit.words import Names, few

_ENDED = ("Succeeded", "Failed")
_MOST = 3  # names that are written out


def _delete(live: Connection, planned: PlannedAction) -> list[DeleteObject]:
    known = planned.parameters
    uid, expected = known["uid"], known.get("expected") or {}
    made_at = known.get("made_at")
    if not known["resource"] or not known["name"] or not (uid or expected or made_at):
        raise Refused(
            "the evidence tells neither uid, nor content, nor when it was made, so whether it is the one that was made cannot be told"
        )
    if known["resource"] in ("namespaces", "nodes"):
        raise Refused(f"with {known['resource']} goes everything in them: do it by hand")
    if known["resource"] == "serviceaccounts" and is_own_account(live, known.get("namespace"), known["name"]):
        raise Refused(f"the kit itself runs as service account {known['name']}: delete it with another user")
    uid = uid_now(live, uid) if uid or expected else _uid_of_made(live, planned, str(made_at))
    return [DeleteObject(known["resource"], known.get("namespace"), known["name"], uid, expected)]


def _uid_of_made(live: Connection, planned: PlannedAction, made_at: str) -> str | None:
    """The uid of the object that stands, when it was made in the seconds of the attacker's call; None when none stands."""
    known = planned.parameters
    stands = found(live, known["resource"], known.get("namespace"), known["name"])
    if stands is None:
        return None
    created = str(stands["metadata"].get("creationTimestamp"))
    if created not in seconds_after(made_at):
        raise Refused(f"{planned.name} was made at {created}, the attacker's at {made_at}: it is another object")
    return str(stands["metadata"]["uid"])


def _suspend(live: Connection, planned: PlannedAction) -> list[EditObject]:
    (change,) = _delete(live, planned)  # that refuses what the attacker did not make
    if change.resource != "cronjobs":
        raise Refused(f"{change.resource} have no runs to suspend")
    return [
        EditObject(
            *(change.resource, change.namespace, change.name, change.uid),
            {"spec": {"suspend": True}},
            change.expected,
            "suspend",
        )
    ]


def _stop(live: Connection, planned: PlannedAction) -> list[EditObject]:
    (change,) = _delete(live, planned)  # that refuses what the attacker did not make
    if change.resource not in STOPPED:
        raise Refused(f"{change.resource} have no pods of their own to end")
    place = (change.resource, change.namespace, change.name, change.uid)
    return [EditObject(*place, STOPPED[change.resource], change.expected, "end the pods of")]


def _is_stopped(live: Connection, planned: PlannedAction) -> Check:
    (change,) = _stop(live, planned)
    if change.look(live) is None:
        return Check(HOLDS, f"{planned.name} is gone")
    check = all_hold(live, [change], f"{planned.name} starts no pod")
    return check if check.word != HOLDS else _without_pods(live, planned, check, _ENDED)


def _is_suspended(live: Connection, planned: PlannedAction) -> Check:
    (change,) = _suspend(live, planned)
    if change.look(live) is None:
        return Check(HOLDS, f"{planned.name} is gone")
    check = all_hold(live, [change], f"{planned.name} starts no further pod")
    left = _pods_left(live, planned, _ENDED)
    if check.word != HOLDS or not left:
        return check
    says = "where no action of this plan ends them, plan again with a new dump"
    return Check(HOLDS, f"{check.says}; pods of its Jobs still run, {few(left, _MOST)}: {says}")


def _restore(live: Connection, planned: PlannedAction) -> list[CreateObject]:
    known = planned.parameters
    resource, namespace, name, body = (known.get(one) for one in ("resource", "namespace", "name", "body"))
    if not body or not resource or not name:
        raise Refused("for a person: the evidence does not hold its content; make it again from its source or a backup")
    if resource in MADE_BY_OTHERS:
        raise Refused(
            f"for a person: {resource} are made by their controllers, run once more, or their content is secret or gone"
        )
    content = body | {"metadata": body.get("metadata", {}) | {"name": name}}
    if namespace:
        content["metadata"]["namespace"] = namespace
    if not content.get("apiVersion") or not content.get("kind"):
        raise Refused("for a person: the content in the evidence has neither apiVersion nor kind")
    return [CreateObject(resource, namespace, name, None, remade(live, resource, content))]


def _restored(live: Connection, planned: PlannedAction) -> Check:
    return all_hold(live, _restore(live, planned), f"{planned.name} is there again, as the evidence has it")


def _is_gone_with_its_pods(live: Connection, planned: PlannedAction) -> Check:
    """The check of a deletion; what starts pods is gone when these are, which the garbage collector deletes after it."""
    check = is_gone(live, planned)
    if check.word != HOLDS or planned.parameters["resource"] not in WORKLOADS.values():
        return check
    return _without_pods(live, planned, check)


def _without_pods(live: Connection, planned: PlannedAction, check: Check, ended: Names = ()) -> Check:
    """What a check found, once no pod of the workload stands any more. ended: phases of pods that may stand."""
    left = _pods_left(live, planned, ended)
    if not left:
        return Check(HOLDS, f"{check.says}, and its pods are")
    return Check(
        CANNOT_TELL, f"{check.says}, and of its pods {few(left, _MOST)} still stand: look again a minute later"
    )


def _pods_left(live: Connection, planned: PlannedAction, ended: Names) -> list[str]:
    """The pods of a workload that stand, but for those in the phases `ended`."""
    known = planned.parameters
    pods = live.listed(url_path("pods", known.get("namespace")))
    running = (one for one in pods if one.get("status", {}).get("phase") not in ended)
    return [title(one) for one in running if _is_started_by(one, known["resource"], known["name"])]


def _is_started_by(pod: dict[str, Any], resource: str, name: str) -> bool:
    """Whether a pod's controller is of this workload, or was made by it: a ReplicaSet of a Deployment, a Job of a CronJob."""
    by = controller(pod) or {}
    made = {"ReplicaSet": "deployments", "Job": "cronjobs"}.get(str(by.get("kind")))
    own = str(by.get("name"))
    return (WORKLOADS.get(str(by.get("kind"))), own) == (resource, name) or (made, own.rpartition("-")[0]) == (
        resource,
        name,
    )


act("suspend_cronjob", changes=_suspend, check=_is_suspended)
act("stop_workload", changes=_stop, check=_is_stopped)
act("remove_webhook", changes=_delete, check=is_gone)
act("remove_secret", changes=_delete, check=is_gone)
act("delete_workload", changes=_delete, check=_is_gone_with_its_pods)
act("restore_objects", changes=_restore, check=_restored)
