"""What controllers do to the pods of a workload: end them, replace them, make one anew.

Sources: kubernetes/kubernetes, pkg/controller/daemon/daemon_controller.go (podsShouldBeOnNode, whatever the update strategy),
pkg/controller/job/job_controller.go (suspendJob), pkg/controller/controller_utils.go (GetPodFromTemplate).
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from typing import Any

from kit.training.emulators.kubernetes_kinds import Kind, Object

_SCALED = ("deployments", "replicasets", "statefulsets", "replicationcontrollers")


def owners(item: Object) -> list[Object]:
    """The owner references of an object."""
    return item["metadata"].get("ownerReferences") or []


def wants_no_pod(objects: Mapping[str, Object], kind: Kind, item: Object) -> bool:
    """Whether its controller ends the pods of a workload: none is asked for, its Job is suspended, or its DaemonSet selects no node."""
    spec, resource = item.get("spec", {}), kind.resource.partition(".")[0]
    if resource == "daemonsets":
        wanted = spec.get("template", {}).get("spec", {}).get("nodeSelector") or {}
        nodes = [one for key, one in objects.items() if key.startswith("nodes/")]
        return not any(wanted.items() <= (one["metadata"].get("labels") or {}).items() for one in nodes)
    if resource == "jobs":
        return bool(spec.get("suspend"))
    return resource in _SCALED and spec.get("replicas") == 0


def restarts(before: Object, after: Object) -> bool:
    """Whether a template has another annotation, by which a workload is restarted; other changes of it are rolled out by nobody here."""

    def annotations(item: Object) -> Any:
        return item.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations")

    is_rolled_out = after["kind"] in ("Deployment", "StatefulSet", "DaemonSet")
    return is_rolled_out and bool(annotations(before) != annotations(after))


def successor(objects: Mapping[str, Object], gone: Object) -> Object | None:
    """The pod that a controller makes for one that is gone: of its template, pending, with a new uid; None where it makes none."""
    references = [owner for owner in owners(gone) if owner.get("controller", True)]
    living = {item["metadata"]["uid"]: item for item in objects.values()}
    owner = next((living[one["uid"]] for one in references if one["uid"] in living), None)
    if not owner or "deletionTimestamp" in owner["metadata"]:
        return None
    uid = owner["metadata"]["uid"]
    pods = [key for key, one in objects.items() if key.startswith("pods/") and uid in [of["uid"] for of in owners(one)]]
    if owner["kind"] != "DaemonSet" and len(pods) >= owner.get("spec", {}).get("replicas", 1):
        return None
    template = owner.get("spec", {}).get("template") or gone
    spec = copy.deepcopy(template.get("spec") or gone.get("spec", {}))
    spec.pop("nodeName", None)
    if owner["kind"] == "DaemonSet" and "nodeName" in gone.get("spec", {}):
        spec["nodeName"] = gone["spec"]["nodeName"]
    name = gone["metadata"]["name"]
    if owner["kind"] != "StatefulSet":
        name = f"{owner['metadata']['name']}-{uuid.uuid4().hex[:5]}"
    kept = {k: v for k, v in template.get("metadata", {}).items() if k in ("labels", "annotations")}
    metadata = kept | {"name": name, "namespace": gone["metadata"]["namespace"], "ownerReferences": owners(gone)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}
