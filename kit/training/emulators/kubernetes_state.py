"""The state behind an emulated Kubernetes API: what clients may change, and what controllers do then.

Sources: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/registry (generic/registry/store.go, rest/delete.go)."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.training.emulators.kubernetes_admission import ask_quotas, ask_webhooks
from kit.training.emulators.kubernetes_defaults import allocate, defaulted, job_selector
from kit.training.emulators.kubernetes_documents import json_patched, merged, sent
from kit.training.emulators.kubernetes_kinds import (
    KINDS,
    NAMESPACES,
    PODS,
    Answer,
    Call,
    Kind,
    Object,
    Refusal,
    key_of,
    unsupported,
)
from kit.training.emulators.kubernetes_workloads import owners, restarts, successor, wants_no_pod

SERVER_OWNED = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_DELETE_OPTIONS = {"apiVersion", "kind", "dryRun", "gracePeriodSeconds", "preconditions", "propagationPolicy", "pretty"}
# Deleting these returns the object, others a Status; batch/v1 and v1 orphan pods unless told (their strategies say so).
_RETURNED = {"pods", "services", "serviceaccounts", "persistentvolumeclaims", "persistentvolumes"}
_ORPHANING = {"jobs.batch", "replicationcontrollers"}


class KubernetesState:
    """Objects by key, "RESOURCE[.GROUP]/NAMESPACE/NAME"; what has no namespace has an empty one there.

    `failing` are names of admission webhooks that do not answer. `lingering`: kubelets take their time, so that a deleted pod stands until
    `kubelets_end_pods`. `ignored` may hold "dryRun", "uid", "resourceVersion" or "labelSelector": the server is then as careless as a naive
    emulator, which is how the tests show that they would notice."""

    def __init__(self, objects: Iterable[Object] = (), *, recreate: bool = False) -> None:
        self.recreate = recreate
        self.ignored: set[str] = set()
        self.failing: set[str] = set()
        self.lingering = False
        self._objects: dict[str, Object] = {}  # stored objects are replaced, never changed in place
        self._custom: list[Kind] = []
        self._revision = 1000
        self._lock = threading.RLock()
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.add(*objects)

    def objects(self, *beginnings: str) -> dict[str, Object]:
        """A copy of the state: "RESOURCE[.GROUP]/NAMESPACE/NAME" to object; no namespace is an empty one. beginnings: of the keys wanted."""
        with self._lock:
            return copy.deepcopy(
                {key: one for key, one in sorted(self._objects.items()) if key.startswith(beginnings or "")}
            )

    def content(self) -> dict[str, Object]:
        """The state without what the server owns: versions, uids, times and status."""
        state = self.objects()
        for item in state.values():
            item.pop("status", None)
            for owned in SERVER_OWNED:
                item["metadata"].pop(owned, None)
        return state

    def add(self, *objects: Object) -> None:
        """Write objects past every check, as somebody else's client or controller; missing namespaces are made.

        A kind that neither Kubernetes nor a CustomResourceDefinition in the state knows becomes a custom one."""
        with self._lock:
            for given in copy.deepcopy(objects):
                item, metadata = given, given["metadata"]
                kind = self._kind(api_version=item["apiVersion"], kind=item["kind"])
                if not kind:
                    word = item["kind"].lower()
                    plural = word[:-1] + "ies" if word.endswith("y") else word + ("es" if word.endswith("s") else "s")
                    kind = Kind(item["apiVersion"], item["kind"], plural, "namespace" in metadata, custom=True)
                    self._custom.append(kind)
                if kind.namespaced:
                    namespace = metadata.setdefault("namespace", "default")
                    if not self._has_namespace(namespace):
                        self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
                if kind is NAMESPACES:
                    metadata["labels"] = {"kubernetes.io/metadata.name": metadata["name"]} | metadata.get("labels", {})
                item = defaulted(kind, sent(kind, metadata.get("namespace", ""), item))
                metadata = item["metadata"]
                key = key_of(kind, metadata.get("namespace", ""), metadata["name"])
                kept = self._objects.get(key, {}).get("metadata", {})
                metadata.setdefault("uid", kept.get("uid") or str(uuid.uuid4()))
                metadata.setdefault("creationTimestamp", kept.get("creationTimestamp") or _now())
                version = metadata.get("resourceVersion")
                if kind.resource == "services":
                    allocate(kind, item, self._others("services/", key))
                if kind.resource == "deployments.apps":
                    metadata.setdefault("annotations", {}).setdefault("deployment.kubernetes.io/revision", "1")
                self._write(key, item)
                if version:
                    metadata["resourceVersion"] = version
                    self._revision = max(self._revision, int(version))

    def remove(self, key: str) -> None:
        """Delete an object past every check, as somebody else would; what hangs on it goes too."""
        with self._lock:
            self._remove(key)

    def _kinds(self) -> Iterator[Kind]:
        yield from KINDS
        for key, item in self._objects.items():
            if key.startswith("customresourcedefinitions.apiextensions.k8s.io/"):
                spec = item["spec"]
                for version in spec["versions"]:
                    api_version = f"{spec['group']}/{version['name']}"
                    names = spec["names"]
                    yield Kind(api_version, names["kind"], names["plural"], spec["scope"] == "Namespaced", custom=True)
        yield from self._custom

    def _kind(self, **wanted: str) -> Kind | None:
        return next((k for k in self._kinds() if all(getattr(k, part) == v for part, v in wanted.items())), None)

    def _has_namespace(self, name: str) -> bool:
        return key_of(NAMESPACES, "", name) in self._objects

    def _stored(self, kind: Kind, namespace: str, name: str) -> tuple[str, Object]:
        key = key_of(kind, namespace, name)
        if key not in self._objects:
            raise kind.refuse(404, "NotFound", name, "")
        return key, self._objects[key]

    def _write(self, key: str, item: Object) -> Object:
        self._revision += 1
        item["metadata"]["resourceVersion"] = str(self._revision)
        self._objects[key] = item
        return item

    def _create(self, kind: Kind, namespace: str, _: str, call: Call) -> Answer:
        item = sent(kind, namespace, call.body)
        metadata = item["metadata"]
        if namespace and not self._has_namespace(namespace):
            raise NAMESPACES.refuse(404, "NotFound", namespace, "")
        if metadata.get("resourceVersion"):
            raise Refusal(500, "InternalError", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise kind.refuse(422, "Invalid", "", "metadata.name: Required value: name or generateName is required")
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        key = key_of(kind, namespace, metadata["name"])
        if key in self._objects:
            raise kind.refuse(409, "AlreadyExists", metadata["name"], "")
        for owned in (*_KEPT, "managedFields"):
            metadata.pop(owned, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
        defaulted(kind, item)
        if kind.resource == "jobs.batch":
            job_selector(item, metadata["uid"])
        ask_webhooks(self._objects, self.failing, "CREATE", kind, namespace, item)
        ask_quotas(self._objects, kind, namespace, metadata["name"])
        if kind.resource == "services":
            allocate(kind, item, self._others("services/", key))
        if (
            kind.resource == "deployments.apps"
        ):  # its controller counts its revisions anew (deployment/util, SetNewReplicaSetAnnotations)
            metadata["annotations"] = metadata.get("annotations", {}) | {"deployment.kubernetes.io/revision": "1"}
        if "spec" in item and kind.group:
            metadata["generation"] = 1
        item.pop("status", None)
        if kind is PODS:
            # No scheduler and no kubelet here, but for a pod that names its node and runs to its end: it has ended at once.
            runs = item.get("spec", {}).get("nodeName") and item["spec"].get("restartPolicy") == "Never"
            item["status"] = {"phase": "Succeeded" if runs else "Pending"}
        answer = Answer(201, self._write(key, item))
        if kind is NAMESPACES:
            for resource, name in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
                self._keep_up(metadata["name"], resource, name)
        return answer

    def _others(self, start: str, key: str) -> list[Object]:
        return [item for other, item in self._objects.items() if other.startswith(start) and other != key]

    def _update(self, kind: Kind, namespace: str, name: str, call: Call) -> Answer:
        key, stored = self._stored(kind, namespace, name)
        item = sent(kind, namespace, call.body)
        metadata, uid = item["metadata"], stored["metadata"]["uid"]
        if metadata.setdefault("name", name) != name:
            raise Refusal(400, "BadRequest", f"the name of the object ({metadata['name']}) does not match the URL's")
        if metadata.get("uid") not in (None, "", uid) and "uid" not in self.ignored:
            said = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {uid}"
            raise kind.refuse(409, "Conflict", name, f"StorageError: invalid object, Code: 4, {said}")
        if not metadata.get("resourceVersion") and (kind.custom or kind.group in ("policy", "apiextensions.k8s.io")):
            said = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise kind.refuse(422, "Invalid", name, said)
        return self._replace(kind, key, stored, item)

    def _patch(self, kind: Kind, namespace: str, name: str, call: Call) -> Answer:
        key, stored = self._stored(kind, namespace, name)
        sort = call.headers.get("Content-Type", "").partition(";")[0]
        item = copy.deepcopy(stored)
        if sort == "application/json-patch+json" and isinstance(call.body, list):
            item = json_patched(item, call.body)
        elif sort == "application/merge-patch+json":
            item = merged(item, call.body, strategic=False)
        elif sort == "application/strategic-merge-patch+json" and not kind.custom:
            item = merged(item, call.body, strategic=True)
        else:
            said = "the body of the request was in an unknown format - accepted media types include: "
            said += "application/json-patch+json, application/merge-patch+json"
            raise Refusal(415, "UnsupportedMediaType", said)
        return self._replace(kind, key, stored, sent(kind, namespace, item))

    def _replace(self, kind: Kind, key: str, stored: Object, item: Object) -> Answer:
        """Put an object in the place of the stored one; without a difference nothing is written (store.go, Update)."""
        metadata, old, name = item["metadata"], stored["metadata"], stored["metadata"]["name"]
        version = old["resourceVersion"]
        if metadata.get("resourceVersion") not in (None, "", "0", version) and "resourceVersion" not in self.ignored:
            raise kind.refuse(409, "Conflict", name, _MODIFIED)
        # A patch's uid is no precondition but an immutable field: "Invalid" in pkg/controller/controller_ref_manager.go.
        for part in ("name", "uid"):
            if metadata.get(part) not in (None, "", old[part]) and part not in self.ignored:
                raise kind.refuse(422, "Invalid", name, f"metadata.{part}: Invalid value: field is immutable")
        metadata["resourceVersion"] = version
        for part in _KEPT:
            metadata.pop(part, None)
            metadata |= {part: old[part]} if part in old else {}
        item.pop("status", None)
        item |= {"status": stored["status"]} if "status" in stored else {}
        defaulted(kind, item)
        if item == stored:
            return Answer(200, stored)
        ask_webhooks(self._objects, self.failing, "UPDATE", kind, old.get("namespace", ""), item)
        if kind.resource == "services":
            allocate(kind, item, self._others("services/", key))
        if "generation" in old and item.get("spec") != stored.get("spec"):
            metadata["generation"] = old["generation"] + 1
        self._write(key, item)
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._remove(key)
        elif (ends := wants_no_pod(self._objects, kind, item)) or restarts(stored, item):
            self._end_pods(metadata["uid"], ends=ends)
        return Answer(200, item)

    def _end_pods(self, uid: str, *, ends: bool) -> None:
        """End the pods that hang on an owner, by its ReplicaSets too; those that have finished stay. ends: whether none comes in their place."""
        for key in self._dependents(uid):
            stored = self._objects.get(key)
            if stored is None:
                continue
            if key.startswith("replicasets."):
                if ends:
                    self._write(key, stored | {"spec": stored.get("spec", {}) | {"replicas": 0}})
                self._end_pods(stored["metadata"]["uid"], ends=ends)
            elif key.startswith("pods/") and stored.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                self._end(PODS, key, stored, {})

    def _delete(self, kind: Kind, namespace: str, name: str, call: Call) -> Answer:
        key, stored = self._stored(kind, namespace, name)
        return Answer(200, self._end(kind, key, stored, delete_options(call)))

    def _end(self, kind: Kind, key: str, stored: Object, options: Mapping[str, Any]) -> Object:
        """Delete as options say; with finalizers the object stays, marked (registry/rest/delete.go)."""
        if unknown := sorted(options.keys() - _DELETE_OPTIONS):
            raise unsupported(f"delete with {', '.join(unknown)}")
        metadata = stored["metadata"]
        for part, wanted in (options.get("preconditions") or {}).items():
            if wanted is not None and wanted != metadata[part] and part not in self.ignored:
                word = "UID" if part == "uid" else "ResourceVersion"
                said = f"the {word} in the precondition ({wanted}) does not match that in record ({metadata[part]})"
                raise kind.refuse(409, "Conflict", metadata["name"], f"{said}. The object might have been modified")
        ask_webhooks(self._objects, self.failing, "DELETE", kind, metadata.get("namespace", ""), stored)
        default = "Orphan" if kind.resource in _ORPHANING else "Background"
        policy = options.get("propagationPolicy") or default
        if policy not in ("Orphan", "Background", "Foreground"):
            raise Refusal(422, "Invalid", f"propagationPolicy: Unsupported value: {policy}")
        if policy == "Orphan":
            for dependent in self._dependents(metadata["uid"]):
                self._disown(dependent, metadata["uid"])
        if metadata.get("finalizers"):
            if "deletionTimestamp" in metadata:
                return stored
            marked = copy.deepcopy(stored)
            marked["metadata"] |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
            return self._write(key, marked)
        if kind is PODS and (grace := self._grace(stored, options)):
            if "deletionTimestamp" in metadata:
                return stored
            ends = (datetime.now(UTC) + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
            marked = copy.deepcopy(stored)
            marked["metadata"] |= {"deletionTimestamp": ends, "deletionGracePeriodSeconds": grace}
            return self._write(key, marked)
        self._remove(key)
        if kind.resource in _RETURNED:
            return stored
        details = {"name": metadata["name"], "group": kind.group, "kind": kind.plural, "uid": metadata["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _grace(self, pod: Object, options: Mapping[str, Any]) -> int:
        """How long a pod stands on: where it runs on a node whose kubelet takes its time (core/pod/strategy.go, CheckGracefulDelete)."""
        spec, status = pod.get("spec", {}), pod.get("status", {})
        if not self.lingering or not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked)

    def kubelets_end_pods(self) -> None:
        """What kubelets do at the end of a grace period."""
        with self._lock:
            for key, pod in list(self._objects.items()):
                if (
                    key.startswith("pods/")
                    and pod["metadata"].get("deletionGracePeriodSeconds")
                    and not pod["metadata"].get("finalizers")
                ):
                    self._remove(key)

    def _remove(self, key: str) -> None:
        """Take an object away, and then do what garbage collector and controllers do."""
        gone = self._objects.pop(key)
        self._revision += 1
        metadata, resource = gone["metadata"], key.partition("/")[0]
        for dependent in self._dependents(metadata["uid"]):
            if dependent in self._objects and not self._disown(dependent, metadata["uid"]):
                self._collect(dependent)
        for other, item in list(self._objects.items()):
            annotations = item["metadata"].get("annotations") or {}
            if resource == "namespaces" and item["metadata"].get("namespace") == metadata["name"]:
                self._collect(other)
            if resource.startswith("customresourcedefinitions.") and other.startswith(f"{metadata['name']}/"):
                self._objects.pop(other, None)
            if resource == "serviceaccounts" and other.startswith(f"secrets/{metadata['namespace']}/"):
                named = annotations.get("kubernetes.io/service-account.name") == metadata["name"]
                same = annotations.get("kubernetes.io/service-account.uid") in (None, metadata["uid"])
                if named and same and item.get("type") == "kubernetes.io/service-account-token":
                    self._collect(other)
        if resource == "pods" and self.recreate:
            new = successor(self._objects, gone) if self._has_namespace(metadata["namespace"]) else None
            self.add(*([new] if new else []))
        self._keep_up(metadata.get("namespace", ""), resource, metadata["name"])

    def _keep_up(self, namespace: str, resource: str, name: str) -> None:
        """Make again what each namespace has, while it stands: pkg/controller/serviceaccount, pkg/controller/certificates/rootcacertpublisher."""
        standing = self._objects.get(key_of(NAMESPACES, "", namespace), {"metadata": {"deletionTimestamp": ""}})
        if "deletionTimestamp" in standing["metadata"]:
            return
        if (resource, name) == ("serviceaccounts", "default"):
            self.add({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
        if (resource, name) == ("configmaps", "kube-root-ca.crt"):
            certificate = {"ca.crt": "-----BEGIN CERTIFICATE-----\n"}
            metadata = {"name": name, "namespace": namespace}
            self.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": certificate})

    def _collect(self, key: str) -> None:
        if key in self._objects:
            stored = self._objects[key]
            kind = self._kind(api_version=stored["apiVersion"], kind=stored["kind"])
            assert kind
            self._end(kind, key, stored, {"propagationPolicy": "Background"})

    def _dependents(self, uid: str) -> list[str]:
        return [key for key, item in self._objects.items() if uid in [one["uid"] for one in owners(item)]]

    def _disown(self, key: str, uid: str) -> bool:
        """Take an owner off an object; False, and nothing done, where it was the last living one and is gone itself."""
        item = copy.deepcopy(self._objects[key])
        living = {other["metadata"]["uid"] for other in self._objects.values()}
        rest = [owner for owner in owners(item) if owner["uid"] != uid]
        if uid not in living and not any(owner["uid"] in living for owner in rest):
            return False
        item["metadata"]["ownerReferences"] = rest
        if not rest:
            del item["metadata"]["ownerReferences"]
        self._write(key, item)
        return True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def delete_options(call: Call) -> Mapping[str, Any]:
    """Options of a DELETE: the body's where there is one, and then the query's are not read (handlers/delete.go)."""
    return call.query if call.body is None else call.body
