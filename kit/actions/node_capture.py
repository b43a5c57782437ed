"""What can be captured of a node that runs, and the pod that reads it: processes with hashes, sockets, mounts, files of the writable layers.

A checkpoint needs containerd 2 with CRIU beside it, which the images that EKS ships have not. What is read instead needs neither shell nor
SSM on the node, so that it works on Bottlerocket and in Auto Mode too. Whoever holds the node can lie to what reads it: the snapshot is
compared with it. The kernel counts a process's start in hundredths of a second since its boot. Sources: proc(5); Kubernetes "Kubelet Checkpoint API"; EKS User Guide "Get console output of an EKS Auto Mode managed
instance" (a privileged pod by `kubectl debug node`), "Fargate"; Bottlerocket, "Exploration" (admin container).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from kit.actions.action import Held
from kit.actions.target import NodeParameters, PodParameters, Target
from kit.inventory.node_facts import NodeFacts
from kit.inventory.node_kind import AUTO
from kit.model.command_line import Command

NAMESPACE = "kube-system"
MADE_FOR = "kit-action"
"""The label of the pod that reads: the id of the action that it is made for."""
IMAGE = "public.ecr.aws/docker/library/busybox:1.37"
_SCRIPT = r"""
date -u +%Y-%m-%dT%H:%M:%SZ
echo "# processes of $NODE: pid, parent, user, started, sha256 of its program, program, command line, pod, container"
boot=$(sed -n 's/^btime //p' /proc/stat)
for p in /proc/[0-9]*; do
  exe=$(readlink "$p/exe" 2>/dev/null) || continue
  ticks=$(sed 's/.*) //' "$p/stat" 2>/dev/null | cut -d ' ' -f 20)
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "${p#/proc/}" "$(sed -n 's/^PPid:[[:space:]]*//p' "$p/status" 2>/dev/null)" \
    "$(sed -n 's/^Uid:[[:space:]]*\([0-9]*\).*/\1/p' "$p/status" 2>/dev/null)" "$((boot + ${ticks:-0} / 100))" \
    "$(sha256sum <"$p/exe" 2>/dev/null | cut -c1-64)" "$(printf %s "$exe" | tr '\n\t' '  ')" "$(tr '\0\n\t' '   ' <"$p/cmdline" 2>/dev/null)" \
    "$(sed -n 's/.*pod\([0-9a-f_-]\{36\}\).*/\1/p' "$p/cgroup" 2>/dev/null | head -n 1)" \
    "$(sed -n 's/.*\([0-9a-f]\{64\}\).*/\1/p' "$p/cgroup" 2>/dev/null | head -n 1)"
done
echo '# sockets: the first process of each network, then its tables'
seen=' '
for p in /proc/[0-9]*; do
  n=$(readlink "$p/ns/net" 2>/dev/null) || continue
  case "$seen" in *" $n "*) continue ;; esac
  seen="$seen$n "
  for f in tcp tcp6 udp udp6; do echo "## $n ${p#/proc/} $f"; cat "$p/net/$f" 2>/dev/null; done
done
echo '# mounts and files of the writable layer: the first process of each file system'
seen=' '
for p in /proc/[0-9]*; do
  n=$(readlink "$p/ns/mnt" 2>/dev/null) || continue
  case "$seen" in *" $n "*) continue ;; esac
  seen="$seen$n "
  echo "## $n ${p#/proc/} mounts"; cat "$p/mountinfo" 2>/dev/null
  up=$(sed -n 's|^[^ ]* [^ ]* [^ ]* / / .*upperdir=\([^,]*\).*|\1|p' "$p/mountinfo" 2>/dev/null | head -n 1)
  [ -n "$up" ] && { echo "## $n ${p#/proc/} files of $up"; find "/host$up" -xdev -type f -exec sha256sum {} + 2>/dev/null | head -n 5000; }
done
echo '# end'
"""


def capture_pod_name(node: str) -> str:
    """The name of the pod that reads a node."""
    return f"kit-capture-{hashlib.sha256(node.encode()).hexdigest()[:10]}"


def capture_pod(node: str, action: str) -> dict[str, Any]:
    """The pod that reads a node: on the host's network and among its processes, with the host's disk to read, without any token.

    It names its node, so that no scheduler and no cordon keeps it off."""
    container = {
        "name": "capture",
        "image": IMAGE,
        "command": ["sh", "-c", _SCRIPT],
        "env": [{"name": "NODE", "value": node}],
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": True}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": capture_pod_name(node), "namespace": NAMESPACE, "labels": {MADE_FOR: action}},
        "spec": {
            "nodeName": node,
            "hostPID": True,
            "hostNetwork": True,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 600,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        },
    }


def capture_commands(node: str, action: str) -> list[Command]:
    """The same by hand."""
    name, file = capture_pod_name(node), f"{node}.processes.txt".replace("/", "_")
    space, until = ("-n", NAMESPACE), ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=600s")
    return [
        Command(("kubectl", "create", "-f", "-"), fed=json.dumps(capture_pod(node, action))),
        Command(("kubectl", "wait", *space, *until, f"pod/{name}")),
        Command(("kubectl", "logs", *space, name), into=file),
    ]


def is_checkpointed(target: Target, held: Held) -> bool:
    """Whether a node's runtime may make checkpoints, as far as the evidence tells."""
    return not held.inventory.node_facts.get(target.key, NodeFacts()).cannot_checkpoint


def why_no_checkpoint(target: Target, held: Held) -> str:
    """Why no container of a pod can be written to an archive, "" where it may be tried."""
    facts = held.inventory.node_facts.get(target.known(PodParameters).node or "", NodeFacts())
    if not facts.cannot_checkpoint:
        return ""
    return f"its node runs {facts.runtime.replace('://', ' ')}, which makes no checkpoints: capture_processes reads its processes, and the snapshot has its files"


def why_not_read(target: Target, held: Held) -> str:
    """Why no pod can read a node, "" where one can."""
    if held.inventory.node_facts.get(target.key, NodeFacts()).system.startswith("Windows"):
        return "it runs Windows, which has no /proc: list its processes by SSM (Get-Process, Get-NetTCPConnection); its snapshot has its files"
    return ""


def what_is_left(target: Target, held: Held) -> Iterator[str]:
    """What else can be captured of a node, by its kind and its system."""
    system = held.inventory.node_facts.get(target.key, NodeFacts()).system
    if target.known(NodeParameters).node_kind == AUTO:
        yield "EKS Auto Mode has neither SSH nor SSM: this pod, the console and the snapshots are all that can be had, memory is not"
    elif system.startswith("Bottlerocket"):
        yield "Bottlerocket has no shell: this pod, the admin container by SSM and the snapshot of its data volume are what can be had, memory is not"
    else:
        yield "memory is for a person, by SSM or SSH, before the role of the node is denied and the node is cut off"
