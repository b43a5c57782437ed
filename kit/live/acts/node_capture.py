"""What runs on a node, read by a pod that the kit puts there: its output is kept, the pod is deleted by an undo.

Source: Kubernetes API reference (PodStatus; ContainerStateWaiting, whose reasons name a pull that fails).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.actions.node_capture import MADE_FOR, NAMESPACE, capture_pod, capture_pod_name
from kit.live.acts.act import HOLDS, Check
from kit.live.acts.cluster import found
from kit.live.acts.machine import is_another, node_of, why_another
from kit.live.changes.change import Change, State
from kit.live.changes.objects import CreateObject, url_path
from kit.live.connection import Connection
from kit.live.errors import IMPOSSIBLE, Failed, Refused
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

_SECONDS = 180
"""How long the pod may take: it hashes each program that runs, and each file of the writable layers."""
_PAUSE = 2  # s
_NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable")
_ENDED = ("Succeeded", "Failed")
_MOST = "50000000"  # bytes of its output


@dataclass(frozen=True)
class ReadNode(CreateObject):
    """The pod that reads a node. It is told by its label: the server fills in the rest of its spec."""

    @property
    def says(self) -> str:
        return f"put pod {self.namespace}/{self.name} on node {self.body['spec']['nodeName']} to read its processes, sockets and mounts"

    def holds(self, state: State) -> bool:
        return state is not None and state["content"]["metadata"]["labels"] == self.body["metadata"]["labels"]

    def look(self, live: Connection) -> State:
        there = self._get(live)
        labels = {MADE_FOR: ((there or {}).get("metadata", {}).get("labels") or {}).get(MADE_FOR)}
        return there and {"uid": there["metadata"]["uid"], "content": {"metadata": {"labels": labels}}}


def node_reading(live: Connection, planned: PlannedAction) -> list[Change]:
    """The pod that reads the node."""
    name, node = planned.parameters["node"], node_of(live, planned)
    if node is None:
        raise Refused(f"there is no node {name} now: nothing runs there", IMPOSSIBLE)
    if is_another(node, planned):
        raise Refused(why_another(node, planned), IMPOSSIBLE)
    return [ReadNode("pods", NAMESPACE, capture_pod_name(name), None, capture_pod(name, planned.id))]


def _ended(live: Connection, planned: PlannedAction) -> dict[str, Any]:
    """The pod once it has ended. Raises Failed, as impossible where its image does not come."""
    name, until = capture_pod_name(planned.parameters["node"]), time.monotonic() + _SECONDS
    while True:
        pod = found(live, "pods", NAMESPACE, name)
        if pod is None:
            raise Refused(f"pod {NAMESPACE}/{name} is not there any more: undo this action and do it again")
        status = pod.get("status", {})
        waits = [(one.get("state") or {}).get("waiting") or {} for one in status.get("containerStatuses") or []]
        if status.get("phase") in _ENDED:
            return pod
        if any(one.get("reason") in _NOT_PULLED for one in waits):
            raise Failed("the node cannot pull the image of the pod that reads it: use `kubectl debug node` with an image that it has, or SSM", IMPOSSIBLE)  # fmt: skip
        if time.monotonic() >= until:
            raise Failed(f"pod {NAMESPACE}/{name} is {status.get('phase')} yet; run the same command again")
        time.sleep(_PAUSE)


def node_read(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """What it wrote, once it has ended. Raises Failed where it has not, or not whole."""
    pod = _ended(live, planned)
    query = {"container": "capture", "limitBytes": _MOST}
    path = url_path("pods", NAMESPACE, pod["metadata"]["name"], "log")
    said = bytes(live.kubernetes("GET", path, query=query, raw=True))
    yield f"{planned.parameters['node']}.processes.txt", said
    if pod["status"]["phase"] == "Failed" or not said.rstrip().endswith(b"# end"):
        raise Failed("the pod that reads the node ended before its end: what it had read is kept; undo this action and do it again")  # fmt: skip


def is_node_read(live: Connection, planned: PlannedAction) -> Check:
    """Whether its output is in the case."""
    files: list[tuple[str, str]] = getattr(live, "kept", {}).get(planned.id) or []
    if not files:
        return Check(CANNOT_TELL, "the journal does not tell which file was kept")
    sizes = [Path(file).stat().st_size for file, _ in files if Path(file).exists()]
    if not sizes:
        return Check(CANNOT_TELL, "the file is not in the case any more")
    return Check(HOLDS, f"{max(sizes)} bytes are in the case: processes, sockets, mounts and files; memory is for a person")  # fmt: skip
