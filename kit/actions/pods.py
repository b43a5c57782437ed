"""What is done to pods: kept, taken out of service, captured, deleted."""

from __future__ import annotations

from dataclasses import replace

from kit.actions.action import DELETED_IS_GONE, DRY, LOOKED, READS, Action, Held, Keeps, Wait, Where, uid_checked
from kit.actions.effect import Effect
from kit.actions.node_capture import why_no_checkpoint
from kit.actions.target import PodParameters, ServedPod, Target
from kit.inventory.node_kind import FARGATE, node_kind_of
from kit.model.command_line import Command, kubectl
from kit.words import few

QUARANTINED = "kit-quarantine"
"""A label of our own: changing one that a ReplicaSet or a Service selects on would start a new pod from the same image."""


def _file(target: Target, end: str) -> str:
    return f"{target.namespace or 'default'}_{target.name}.{end}".replace("/", "_")


def _keep(target: Target, held: Held) -> list[Command]:
    resource, place = target.resource, (target.name, target.namespace)
    yaml = replace(kubectl("get", resource, *place, "-o", "yaml"), into=_file(target, "yaml"))
    if resource != "pods":
        return [yaml]
    logs, every = ("logs", "", *place), ("--all-containers", "--timestamps")
    known = (
        "get",
        "events",
        "-n",
        target.namespace or "default",
        "--field-selector",
        f"involvedObject.name={target.name}",
    )
    restarted = target.thing is not None and any(one.get("restartCount") for one in target.thing.statuses)
    return [
        yaml,
        replace(kubectl(*logs, *every), into=_file(target, "log")),
        *([replace(kubectl(*logs, *every, "--previous"), into=_file(target, "previous.log"))] if restarted else []),
        Command(("kubectl", *known, "-o", "yaml"), into=_file(target, "events.yaml")),
    ]


def _withdraw(target: Target, held: Held) -> list[Command]:
    labels = [f"{label}-" for label in target.known(ServedPod).labels]
    named = Command(("kubectl", "label", "pod", target.name, "-n", target.namespace or "", *labels))
    return uid_checked(named, target) if labels else []


def _delete_pod(target: Target, held: Held) -> list[Command]:
    return uid_checked(kubectl("delete", "pod", target.name, target.namespace), target)


def _checkpoint(target: Target, held: Held) -> list[Command]:
    """The kubelet's call for each container, by way of the API server."""
    node, pod = target.known(PodParameters).node, f"{target.namespace}/{target.name}"
    return [
        Command(("kubectl", "create", "--raw", f"/api/v1/nodes/{node}/proxy/checkpoint/{pod}/{one}", "-f", "/dev/null"))
        for one in (target.known(PodParameters).containers if node else ())
    ]


def why_not_on_fargate(target: Target, held: Held) -> str:
    """Why neither network policies nor the kubelet reach a pod, where it runs on Fargate."""
    node = target.known(PodParameters).node
    if not node or node_kind_of(node, held.thing_at(f"nodes/{node}")) != FARGATE:
        return ""
    return "it runs on Fargate, which enforces no network policy and has no kubelet of yours: logs, YAML and what `kubectl exec` shows can be kept; its security group and its deletion cut it off"


def _cannot_checkpoint(target: Target, held: Held) -> str:
    return why_not_on_fargate(target, held) or why_no_checkpoint(target, held)


def _is_owners(target: Target, held: Held) -> str:
    known = target.known(ServedPod)
    if known.labels:
        return ""
    return f"Service {few(known.services, 2)} selects on labels that its owner selects on too: it keeps sending to it"


ACTIONS = (
    Action("keep_objects", "freeze", "Save the YAML of each affected pod and of what the attacker made; of pods the logs, the previous logs and the Events too", "nothing", stops_nothing=True, undo=READS, reads_only=True, kinds=("pod", "created", "written_binding", "written_webhook", "written_secret", "running_job"), commands=_keep,
           precondition="the object with this uid stands",
           permissions=("kubernetes:{object}:get:{it}", "pods? kubernetes:pods/log:get:{it}", "kubernetes:events:list:{space}"),
           preview=LOOKED, check="the files are in the case, hashed in its journal",
           keeps=Keeps.TARGET),
    Action("withdraw_pod", "contain", "Take labels off each pod that only Services select on, so that they send it nothing more", "the Service has one pod less", undo="put the labels back", kinds=("pod",),
           effects=(Effect.WITHDRAWS,),
           commands=_withdraw, precondition="the pod with this uid stands; its owner does not select on the label",
           permissions=("kubernetes:pods:get:{it}", "kubernetes:pods:patch:{it}", "kubernetes:{owner}:get", "kubernetes:services:list:{space}", "kubernetes:discovery.k8s.io/endpointslices:list:{space}"),
           preview=DRY, check="no EndpointSlice of the namespace names its address",
           only_held=True, needs=ServedPod, applies=lambda target, held: bool(target.known(ServedPod).labels or target.known(ServedPod).services), impossible=_is_owners),
    Action("capture_container", "capture", "Take a checkpoint of each container through its kubelet, where its runtime may make one", "nothing; the container pauses for seconds", stops_nothing=True,
           undo=READS, reads_only=True, kinds=("pod",),
           commands=_checkpoint,
           precondition="the pod with this uid stands, and its kubelet has the checkpoint API",
           permissions=("kubernetes:pods:get:{it}", "kubernetes:nodes:get:{node}", "kubernetes:nodes/proxy:create:{node}"),
           preview="no dry-run: the kubelet is asked by the call itself", check="the kubelet named the archive, which stays on the node until somebody fetches it",
           only_held=True, impossible=_cannot_checkpoint, keeps=Keeps.TARGET,
           minutes=2),
    Action("delete_pod", "eradicate", "Delete each affected pod, by its uid, once captured", "what the pod serves; its owner starts a new one from the same image", cannot_undo=DELETED_IS_GONE, kinds=("pod",),
           effects=(Effect.DELETES,),
           commands=_delete_pod, destroys=True,
           precondition="the pod with this uid stands, and its capture is finished",
           permissions=("kubernetes:pods:get:{it}", "kubernetes:pods:list:{space}", "kubernetes:pods:delete:{it}"), preview=DRY, check="no pod has this uid; what its owner started instead is named",
           only_held=True, takes_out=True, waits=(Wait("delete_workload", Where.OWNER),),
           ends=("token", "created")),
)  # fmt: skip
