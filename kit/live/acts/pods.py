"""Acts on pods: kept as they are, taken out of their Services, their containers captured, deleted.

Sources: Kubernetes API reference (Pod log: limitBytes, previous); "Kubelet Checkpoint API" (404 without the feature, 500 when the runtime
cannot; the archive stays in the kubelet's folder); API concepts "metadata-only"; "Services without selectors".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.acts.cluster import controller, ending, found, image_words, labels, meant, on_fargate, selects, title
from kit.live.changes.change import Change, State
from kit.live.changes.objects import DeleteObject, EditObject, url_path
from kit.live.connection import Connection
from kit.live.errors import IMPOSSIBLE, Failed, LiveError, Refused, Unknown
from kit.model.pod_spec import containers
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

MOST_OF_LOG = 200_000_000
"""Bytes of one container's log that are kept, from its beginning."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # of a Secret: its values in the clear
_CHECKPOINT_SECONDS = 600
_UNNAMED = "the kubelet named no archive"


def _keepable(live: Connection, planned: PlannedAction) -> str:
    meant(live, planned)
    return ""


def _keep(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """The object, its logs and its Events. Whatever can be had is kept first; then Failed says what could not."""
    thing, lost = meant(live, planned), list[str]()
    resource, metadata = planned.parameters["resource"], thing["metadata"]
    metadata.pop("managedFields", None)
    if resource == "secrets":
        (metadata.get("annotations") or {}).pop(_LAST_APPLIED, None)
    stem = metadata["name"][:80]
    yield f"{stem}.yaml", _yaml(thing)
    for name, previous in _logs(thing, planned.parameters.get("containers")) if resource == "pods" else ():
        try:
            said = _log(live, thing, name, previous)
        except Failed as error:
            if error.code != "400":
                lost.append(error.says)
            continue  # 400: it has not started, or no earlier log is left
        except Unknown as error:
            lost.append(error.says)
            continue
        file = f"{stem}.{name}{'.previous' if previous else ''}.log"
        yield file, said
        if len(said) >= MOST_OF_LOG:
            yield f"{file}.cut", f"{file} is the first {MOST_OF_LOG} bytes of the log: there is more\n".encode()
    selector = {"fieldSelector": f"involvedObject.uid={metadata['uid']}"}
    try:
        yield f"{stem}.events.yaml", _yaml(live.listed(url_path("events", metadata.get("namespace")), query=selector))
    except LiveError as error:
        if error.code != "403":
            lost.append(error.says)
        else:  # they stay when their object is deleted: what waits for its capture does not wait for them
            yield f"{stem}.events.missing", f"{error.says}\n".encode()
    if lost:
        raise Failed(f"kept, but not all: {'; '.join(lost)}"[:900])


def _yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode("utf-8", "backslashreplace")


def _logs(pod: dict[str, Any], named: list[str] | None) -> Iterator[tuple[str, bool]]:
    names = dict.fromkeys([str(one["name"]) for one in containers(pod.get("spec", {}))] + list(named or []))
    for name in names:
        yield name, False
        yield name, True


def _log(live: Connection, pod: dict[str, Any], container: str, previous: bool) -> bytes:
    query = {"container": container, "timestamps": "true", "limitBytes": str(MOST_OF_LOG)}
    path = url_path("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], "log")
    return bytes(live.kubernetes("GET", path, query=query | ({"previous": "true"} if previous else {}), raw=True))


def _kept(live: Connection, planned: PlannedAction) -> Check:
    """The files of the case, read again: `kept` of the connection has the action's, each with its hash."""
    files: list[tuple[str, str]] = getattr(live, "kept", {}).get(planned.id) or []
    if not files:
        return Check(CANNOT_TELL, "the journal does not tell which files were kept")
    wrong = [Path(file).name for file, digest in files if not _has_hash(Path(file), digest)]
    if wrong:
        return Check(
            DOES_NOT_HOLD,
            f"in the case these are gone or changed: {', '.join(wrong[:5])}; keep the object again while it stands",
        )
    missing = [Path(file).name for file, _ in files if file.endswith(".missing")]
    but = f"; without its Events, see {', '.join(missing)}" if missing else ", its Events too"
    return Check(
        HOLDS,
        f"its content and, of a pod, the logs that its node still had are in the case, {len(files)} files as they were written{but}",
    )


def _has_hash(file: Path, digest: str) -> bool:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == digest
    except OSError:
        return False


def _withdraw(live: Connection, planned: PlannedAction) -> list[EditObject]:
    pod = meant(live, planned, "pods")
    metadata, given, stuck = pod["metadata"], planned.parameters.get("labels"), planned.parameters.get("services")
    owner, of_owner = controller(pod), dict[str, Any]()
    if owner:
        owning = found(live, f"{owner['kind'].lower()}s", metadata["namespace"], owner["name"]) or {}
        of_owner = owning.get("spec", {}).get("selector") or {}
    keys = {*(of_owner.get("matchLabels") or {}), *(one["key"] for one in of_owner.get("matchExpressions") or [])}
    if owner and not keys:
        raise Refused(f"what {owner['kind']} {owner['name']} selects its pods by cannot be told: label them by hand")
    if stuck and not given:
        raise Refused(
            f"{', '.join(stuck)} select on what its owner selects on: isolate the pod, or change their selectors"
        )
    taken = given or _selected_by(live, pod, keys)
    shared = keys & set(taken)
    if shared:
        raise Refused(f"its owner selects on {', '.join(sorted(shared))} too, and would start a new pod for it")
    if not taken:
        return []  # no Service selects it
    patch, expected = ({"metadata": {"labels": one}} for one in (dict.fromkeys(taken), taken))
    still = f" ({', '.join(stuck)} select on what its owner selects on, and still send)" if stuck else ""
    doing = f"take {', '.join(taken)} off, which Services select on{still}, from"
    return [EditObject("pods", metadata["namespace"], metadata["name"], metadata["uid"], patch, expected, doing)]


def _selected_by(live: Connection, pod: dict[str, Any], kept: set[str]) -> dict[str, str]:
    """Labels to take off so that no Service selects a pod, without those that have to stay."""
    taken = dict[str, str]()
    for service in live.listed(url_path("services", pod["metadata"]["namespace"])):
        selector = service.get("spec", {}).get("selector")
        if selector and selects({"matchLabels": selector}, labels(pod)) and not set(selector) & set(taken):
            free = sorted(set(selector) - kept)
            if not free:
                raise Refused(
                    f"Service {title(service)} selects on what its owner selects on: isolate the pod, or change the Service's selector"
                )
            taken[free[0]] = selector[free[0]]
    return taken


def _withdrawn(live: Connection, planned: PlannedAction) -> Check:
    namespace, name, uid = (planned.parameters[one] for one in ("namespace", "name", "uid"))
    pod = found(live, "pods", namespace, name)
    addresses = {one["ip"] for one in (pod or {}).get("status", {}).get("podIPs") or []}
    address = (pod or {}).get("status", {}).get("podIP")
    addresses |= {address} if address else set()
    leading = list[str]()
    for part in live.listed(url_path("endpointslices", namespace)):
        for one in part.get("endpoints") or []:
            target = one.get("targetRef") or {}
            if (uid and target.get("uid") == uid) or addresses & set(one.get("addresses") or []):
                leading.append(labels(part).get("kubernetes.io/service-name") or part["metadata"]["name"])
    if leading:
        return Check(DOES_NOT_HOLD, f"these still send to pod {namespace}/{name}: {', '.join(sorted(set(leading)))}")
    return Check(HOLDS, f"no Service of {namespace} sends to pod {namespace}/{name}; open connections may live on")


@dataclass(frozen=True)
class Checkpoint(Change):
    """One container written to an archive by its kubelet. It may be done again: each time makes a new archive."""

    cannot_undo: ClassVar[str] = "it changed nothing; its archive stays on the node"
    by_answer: ClassVar[bool] = True
    namespace: str
    name: str
    uid: str
    node: str
    container: str

    @property
    def says(self) -> str:
        return f"checkpoint container {self.container} of pod {self.namespace}/{self.name} on node {self.node}"

    def look(self, live: Connection) -> State:
        pod = found(live, "pods", self.namespace, self.name)
        return None if pod is None else {"uid": pod["metadata"]["uid"], "node": pod.get("spec", {}).get("nodeName")}

    def refuses(self, state: State) -> str:
        if state is None or state["uid"] != self.uid:
            return f"pod {self.namespace}/{self.name} with uid {self.uid} is not there any more"
        return ""

    def holds(self, state: State) -> bool:
        return False

    def dry_run(self, live: Connection, state: State) -> str:
        return "cannot be tried beforehand; the container pauses for seconds, and its kubelet may not have the feature"

    def do(self, live: Connection, state: State) -> str:
        path = url_path("nodes", None, self.node, f"proxy/checkpoint/{self.namespace}/{self.name}/{self.container}")
        try:
            answer = live.kubernetes("POST", path, seconds=_CHECKPOINT_SECONDS)
        except LiveError as error:
            if error.code not in ("404", "405", "500", "501"):
                raise
            raise Failed(
                f"no checkpoint: this cluster's kubelets have no checkpoint API, or their runtime cannot (feature gate ContainerCheckpoint; CRI-O, or containerd 2 with criu); capture_processes and snapshot_volumes keep what can be kept: {error.says}",
                IMPOSSIBLE,
            ) from None
        return ", ".join(str(one) for one in (answer or {}).get("items") or []) or _UNNAMED


def _capture(live: Connection, planned: PlannedAction) -> list[Checkpoint]:
    pod = meant(live, planned, "pods")
    metadata, status, node = pod["metadata"], pod.get("status", {}), pod.get("spec", {}).get("nodeName")
    if on_fargate(pod):
        raise Refused(
            "Fargate lets nobody reach its kubelets: keep logs and objects, and take what the application can give",
            IMPOSSIBLE,
        )
    if not node:
        raise Refused(f"pod {title(pod)} runs on no node")
    sorts = ("containerStatuses", "ephemeralContainerStatuses", "initContainerStatuses")
    running = [one["name"] for sort in sorts for one in status.get(sort) or [] if "running" in one.get("state", {})]
    wanted = planned.parameters.get("containers") or running
    chosen = [one for one in running if one in wanted]
    if not chosen:
        raise Refused(f"no container of pod {title(pod)} runs: there is no memory to capture", IMPOSSIBLE)
    return [Checkpoint(metadata["namespace"], metadata["name"], metadata["uid"], node, one) for one in chosen]


def _captured(live: Connection, planned: PlannedAction) -> Check:
    namespace, name = planned.parameters["namespace"], planned.parameters["name"]
    node = planned.parameters.get("node") or (found(live, "pods", namespace, name) or {}).get("spec", {}).get(
        "nodeName"
    )
    if node and found(live, "nodes", None, node) is None:
        return Check(DOES_NOT_HOLD, f"node {node} is gone, and the archives with it unless somebody copied them")
    answers: list[str] = getattr(live, "answers", {}).get(planned.id) or []
    named = [one for one in answers if one != _UNNAMED]
    if named and named == answers:
        return Check(
            HOLDS,
            f"the kubelet wrote {', '.join(named)}: only on node {node or 'of the pod'}, not in the case; fetch it before the node ends",
        )
    return Check(
        CANNOT_TELL,
        f"the kubelet answered that it wrote /var/lib/kubelet/checkpoints/checkpoint-{name}_{namespace}-*.tar (names: journal); it lies on node {node or 'of the pod'} until somebody fetches it",
    )


def _delete(live: Connection, planned: PlannedAction) -> list[DeleteObject]:
    known = planned.parameters
    if not known["uid"]:
        raise Refused("the evidence does not tell this pod's uid: another pod may have its name by now")
    return [DeleteObject("pods", known["namespace"], known["name"], known["uid"], grace=known.get("grace"))]


def _deleted(live: Connection, planned: PlannedAction) -> Check:
    """Gone; and what its owner started instead. The owner is known by the pod's name: its own and one more part."""
    namespace, name, uid = (planned.parameters[one] for one in ("namespace", "name", "uid"))
    what, pods = f"pod {namespace}/{name}", live.listed(url_path("pods", namespace))
    for pod in pods:
        if pod["metadata"]["uid"] == uid:
            return ending(what, pod["metadata"]) or Check(DOES_NOT_HOLD, f"{what} with uid {uid} is still there")
    owner = name.rpartition("-")[0]
    new = [one for one in pods if (controller(one) or {}).get("name") == owner or one["metadata"]["name"] == name]
    if not new:
        return Check(HOLDS, f"{what} is gone, and nothing of its name runs instead")
    runs = "; ".join(sorted({f"{one['metadata']['name']} from {image_words(one)}" for one in new})[:5])
    return Check(HOLDS, f"{what} is gone; its owner runs {runs}: is that image fixed?")


act("keep_objects", refuses=_keepable, keeps=_keep, check=_kept)
act("withdraw_pod", changes=_withdraw, check=_withdrawn)
act("capture_container", changes=_capture, check=_captured)
act("delete_pod", changes=_delete, check=_deleted)
