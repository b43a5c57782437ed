"""What is done to workloads and other objects: the attacker's are deleted, what was lost comes back, what was read is replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kit.actions.action import DRY, Action, Held, Wait, Where, deleted, uid_checked
from kit.actions.effect import Effect
from kit.actions.pods import QUARANTINED
from kit.actions.target import AwsSecretParameters, LostObject, SecretParameters, Target
from kit.lenient import dict_of
from kit.model.command_line import Command, aws, kubectl
from kit.model.kubernetes import WORKLOADS


def _person(target: Target) -> str:
    if target.known(LostObject).body:
        return ""
    return "your repository or your backup has it as it should be: no evidence has all of it, or it is a pod, a Secret, a volume, or a Job, which would run once more"


def _in_reach(target: Target) -> str:
    if target.kind != "reachable":
        return ""
    return "it was within reach, and no read of it is in the log: rotate it after those that were read; the kit does not hold new values"


def _restarts(target: Target, held: Held) -> list[Command]:
    """What brings the new value to whatever has the old one until it restarts; of a secret of AWS, what tells how it is rotated."""
    known = target.parameters
    if isinstance(known, AwsSecretParameters):
        return _described(known)
    paths = known.restart if isinstance(known, SecretParameters) else []
    parts = [path.split("/", 2) for path in paths if path.count("/") > 1]
    return [
        kubectl("rollout restart", resource, name, namespace)
        if resource != "pods"
        else kubectl("delete", "pods", name, namespace)
        for resource, namespace, name in parts
    ]


def _described(known: AwsSecretParameters) -> list[Command]:
    """Tells whether, how and when it is rotated; it asks for no value."""
    if known.service == "secretsmanager":
        return [aws("secretsmanager", "describe-secret", secret_id=known.secret, region=known.region)]
    path = known.secret.removesuffix("/*") or "/"
    below = {"Key": "Path", "Option": "Recursive", "Values": [path]}
    asked = {"Key": "Name", "Values": [path]} if path == known.secret else below
    return [aws("ssm", "describe-parameters", parameter_filters=[asked], region=known.region)]


def _restore(target: Target, held: Held) -> list[Command]:
    """Makes it again of the content that the evidence has, in its own name and namespace."""
    known = target.known(LostObject)
    body = target.known(LostObject).body
    if known.kind != "deleted" or not body or not body.get("apiVersion") or not body.get("kind"):
        return []
    place = {"name": known.name} | ({"namespace": known.namespace} if known.namespace else {})
    content = body | {"metadata": {**dict_of(body.get("metadata")), **place}}
    return [Command(("kubectl", "create", "-f", "-"), fed=json.dumps(content))]


_NO_REPLICA: dict[str, Any] = {"spec": {"replicas": 0}}
STOPPED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("deployments", "statefulsets", "replicasets", "replicationcontrollers"), _NO_REPLICA),
    "daemonsets": {
        "spec": {"template": {"spec": {"nodeSelector": {QUARANTINED: "stopped"}}}}
    },  # no node has that label
    "jobs": {"spec": {"suspend": True}},
}
"""Resource → the merge patch after which its controller ends the pods of a workload and starts none."""


def _stop(target: Target, held: Held) -> list[Command]:
    resource = target.key.partition("/")[0]
    if resource not in STOPPED:
        return []
    patch = json.dumps(STOPPED[resource])
    return uid_checked(
        kubectl("patch", resource, target.name, target.namespace, "--type", "merge", "-p", patch), target
    )


def _lost_with_its_pods(target: Target, held: Held) -> Iterator[str]:
    yield "its pods end, and with them what is in their memory: logs and YAML are kept before, the disks in the snapshots that were started"


def _suspend(target: Target, held: Held) -> list[Command]:
    patch = json.dumps({"spec": {"suspend": True}})
    line = kubectl("patch", "cronjobs", target.name, target.namespace, "--type", "merge", "-p", patch)
    return uid_checked(line, target)


_DELETION = (
    "kubernetes:{object}:get:{it}",
    "kubernetes:{object}:delete:{it}",
    "kubernetes:{object}:create@undo:{space}",
    "kubernetes:{owner}:get@undo",
    "kubernetes:{role}@undo",
)


ACTIONS = (
    Action("remove_webhook", "freeze", "Delete the admission webhooks that the attacker made, first of all: a mutating one changes each new pod, a failing one refuses your changes", "nothing that is yours, when the list is right", stops_nothing=True,
           effects=(Effect.DELETES,),
           undo="make it again from what the journal kept", kinds=("written_webhook",), commands=deleted, destroys=True,
           precondition="the object stands and is the one that the attacker made; its YAML is kept",
           permissions=_DELETION, preview=DRY, check="it is gone",
           ends=("created",)),
    Action("remove_secret", "revoke", "Delete the Secrets that the attacker made: a service account token in one lives as long as it does", "nothing that is yours, when the list is right", stops_nothing=True,
           effects=(Effect.DELETES,),
           cannot_undo="the value of a Secret is never kept", kinds=("written_secret",), commands=deleted, destroys=True,
           precondition="the object stands and is the one that the attacker made",
           permissions=_DELETION[:2], preview=DRY, check="it is gone",
           ends=("created",)),
    Action("suspend_cronjob", "contain", "Suspend the CronJobs that the attacker made: each run starts a new pod, on any node; pods that run go on", "nothing that is yours, when the list is right", stops_nothing=True, undo="resume it", kinds=("created",),
           effects=(Effect.SUSPENDS,),
           commands=_suspend, precondition="the object stands and is the one that the attacker made",
           permissions=("kubernetes:{object}:get:{it}", "kubernetes:{object}:patch:{it}", "kubernetes:pods:list:{space}"), preview=DRY, check="it is suspended; the pods of its Jobs that still run are named",
           applies=lambda target, held: target.key.startswith("cronjobs/")),
    Action("stop_workload", "contain", "Leave the workloads that the attacker made without pods: no replica, no node that a DaemonSet selects, a Job suspended", "nothing that is yours, when the list is right", stops_nothing=True,
           effects=(Effect.STOPS,),
           undo="put back its replicas, its node selector or its run: new pods start from the attacker's image", kinds=("created", "running_job"),
           commands=_stop, precondition="the object with this uid stands, is the one that the attacker made, and it and its pods are kept",
           permissions=("kubernetes:{object}:get:{it}", "kubernetes:{object}:patch:{it}", "kubernetes:pods:list:{space}"), preview=DRY, check="it starts no pod, and of its pods none runs",
           applies=lambda target, held: target.key.partition("/")[0] in STOPPED, tells=_lost_with_its_pods,
           waits=(Wait("keep_objects", Where.LOST), Wait("snapshot_volumes", Where.LOST)),
           ends=("token",)),
    Action("delete_workload", "eradicate", "Delete the workloads and other objects that the attacker made", "nothing that is yours, when the list is right", stops_nothing=True, undo="make it again from what the journal kept; its pods and a Secret's values are gone", kinds=("created",),
           effects=(Effect.DELETES,),
           commands=deleted, destroys=True,
           precondition="the object with this uid stands, its YAML is kept and its pods are captured",
           permissions=(*_DELETION, *(f"{resource}? kubernetes:pods:list:{{space}}" for resource in WORKLOADS.values())),
           preview=DRY, check="it is gone, and its pods are",
           ends=("created",)),
    Action("restore_objects", "recover", "Bring back what the attacker deleted", "nothing", stops_nothing=True, undo="delete it again", kinds=("deleted",),
           effects=(Effect.RESTORES,), commands=_restore,
           precondition="the attacker's access has ended, and nothing of that name is there",
           permissions=("kubernetes:{object}:get:{it}", "kubernetes:{object}:create:{space}", "kubernetes:{owner}:get", "kubernetes:{role}", "kubernetes:{object}:delete@undo:{it}"),
           preview=DRY, check="it is there again, as the evidence has it",
           person=_person, after_stages=("revoke",)),
    Action("rotate_secrets", "revoke", "Rotate every secret that was read, then those in reach", "whatever still has the old value", cannot_undo="the attacker has the old value", kinds=("secret", "aws_secret", "reachable"),
           effects=(Effect.ROTATES,),
           precondition="the attacker's access has ended, else the new value is read too", permissions=(),
           preview="none: the new value comes from the secret's owner", check="a person confirms it (`kit apply --by-hand ID`)",
           by_person="the kit does not hold new values: their owners make them", person=_in_reach, commands=_restarts,
           after_stages=("contain", "revoke"),
           ends=("secret", "aws_secret")),
    Action("roll_out_fixed", "recover", "Roll out a fixed image or version of the workload, with hardened settings: its pods come back from the same image", "the old version", undo="`kubectl rollout undo`", kinds=("workload",),
           effects=(Effect.NONE,),
           precondition="the fault that let them in is known", permissions=(),
           preview="none: it is your own deployment", check="a person confirms it", by_person="only you know the fault and have the fixed version",
           after_stages=("contain", "revoke"),
           minutes=60),
)  # fmt: skip
