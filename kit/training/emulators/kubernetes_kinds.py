"""What an emulated Kubernetes API serves and says: kinds of objects, requests, answers and refusals."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Object = dict[str, Any]
# A star marks what has no namespace.
_BUILT_IN = {
    "v1": "Pod pods, Node nodes*, Namespace namespaces*, Service services, Endpoints endpoints, Event events, "
    "ConfigMap configmaps, Secret secrets, ServiceAccount serviceaccounts, PersistentVolumeClaim persistentvolumeclaims, "
    "PersistentVolume persistentvolumes*, ReplicationController replicationcontrollers, PodTemplate podtemplates, "
    "LimitRange limitranges, ResourceQuota resourcequotas",
    "apps/v1": "Deployment deployments, DaemonSet daemonsets, StatefulSet statefulsets, ReplicaSet replicasets, "
    "ControllerRevision controllerrevisions",
    "batch/v1": "Job jobs, CronJob cronjobs",
    "networking.k8s.io/v1": "NetworkPolicy networkpolicies, Ingress ingresses, IngressClass ingressclasses*",
    "autoscaling/v2": "HorizontalPodAutoscaler horizontalpodautoscalers",
    "storage.k8s.io/v1": "StorageClass storageclasses*, VolumeAttachment volumeattachments*, CSINode csinodes*",
    "coordination.k8s.io/v1": "Lease leases",
    "admissionregistration.k8s.io/v1": "ValidatingWebhookConfiguration validatingwebhookconfigurations*, "
    "MutatingWebhookConfiguration mutatingwebhookconfigurations*, ValidatingAdmissionPolicy validatingadmissionpolicies*, "
    "ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings*",
    "certificates.k8s.io/v1": "CertificateSigningRequest certificatesigningrequests*",
    "apiregistration.k8s.io/v1": "APIService apiservices*",
    "scheduling.k8s.io/v1": "PriorityClass priorityclasses*",
    "discovery.k8s.io/v1": "EndpointSlice endpointslices",
    "policy/v1": "PodDisruptionBudget poddisruptionbudgets",
    "rbac.authorization.k8s.io/v1": "Role roles, RoleBinding rolebindings, ClusterRole clusterroles*, "
    "ClusterRoleBinding clusterrolebindings*",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition customresourcedefinitions*",
    "authorization.k8s.io/v1": "SelfSubjectAccessReview selfsubjectaccessreviews*, SelfSubjectRulesReview selfsubjectrulesreviews*",
    "authentication.k8s.io/v1": "SelfSubjectReview selfsubjectreviews*",
}
REVIEWS = {
    *("selfsubjectaccessreviews.authorization.k8s.io", "selfsubjectrulesreviews.authorization.k8s.io"),
    "selfsubjectreviews.authentication.k8s.io",
}


@dataclass(frozen=True)
class Asked:
    """One request as authorizers see it. path: of what is no resource, "" otherwise."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def what(self) -> str:
        """Resource and subresource as rules name them: pods, pods/log."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass
class Call:
    """One request, and what became of it: the status the client got (None: no answer) and the keys it changed."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: Mapping[str, str] = field(repr=False)
    status: int | None = None
    changed: tuple[str, ...] = ()
    audit_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(eq=False)
class Refusal(Exception):
    """A Status that says no; a fault may return one. Without a reason the message is sent as plain text."""

    status: int
    reason: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Object = field(default_factory=dict)

    def answer(self) -> Answer:
        """The refusal as it goes over the wire."""
        if not self.reason:
            return Answer(self.status, self.message, self.headers)
        status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status |= {"message": self.message, "reason": self.reason, "details": self.details, "code": self.status}
        return Answer(self.status, status, self.headers)


@dataclass(frozen=True)
class Answer:
    """What goes back: an object as JSON, or a text."""

    status: int
    content: Object | str
    headers: Mapping[str, str] = field(default_factory=dict)


class Cut:
    """The type of CUT: the connection is closed without an answer."""


CUT = Cut()
Fault = Callable[[Call, Literal["before", "after"]], Refusal | Cut | None]


@dataclass(frozen=True)
class Kind:
    """One kind of object that the server knows."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    custom: bool = False

    @property
    def group(self) -> str:
        """The API group, empty for the core one."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """The plural with its group, as the server's own messages have it: deployments.apps."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def refuse(self, status: int, reason: str, name: str, message: str) -> Refusal:
        """A refusal that names an object of this kind; see apimachinery/pkg/api/errors."""
        words = {
            "NotFound": f'{self.resource} "{name}" not found',
            "AlreadyExists": f'{self.resource} "{name}" already exists',
            "Conflict": f'Operation cannot be fulfilled on {self.resource} "{name}": {message}',
            "Invalid": f'{self.kind} "{name}" is invalid: {message}',
            "Forbidden": f'{self.resource} "{name}" is forbidden: {message}'
            if name
            else f"{self.resource} is forbidden: {message}",
        }
        details = {"name": name, "group": self.group, "kind": self.kind if reason == "Invalid" else self.plural}
        return Refusal(status, reason, words.get(reason, message), details={k: v for k, v in details.items() if v})


KINDS = tuple(
    Kind(api_version, kind, plural.rstrip("*"), not plural.endswith("*"))
    for api_version, listed in _BUILT_IN.items()
    for kind, plural in (entry.split() for entry in listed.split(", "))
)
NAMESPACES = next(kind for kind in KINDS if kind.kind == "Namespace")
PODS = next(kind for kind in KINDS if kind.kind == "Pod")


def key_of(kind: Kind, namespace: str, name: str) -> str:
    """Where an object stands in the state: resource, namespace (empty for one of the cluster) and name."""
    return f"{kind.resource}/{namespace}/{name}"


def unsupported(what: str) -> Refusal:
    """What the emulator says where a real API server would do what it cannot."""
    return Refusal(501, "NotImplemented", f"the emulator does not do this: {what}")


def only_metadata(item: Object) -> Object:
    """An object as clients get it that ask for metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def objects_in(texts: Mapping[str, str]) -> Iterator[Object]:
    """The objects of a dump, each with kind and version. texts: name → text of its files, a kind each: cluster/pods.json."""
    for name in sorted(texts):
        folder, _, file = name.rpartition("/")
        if folder == "cluster":
            kind = next(one for one in KINDS if one.plural == file.removesuffix(".json"))
            for item in json.loads(texts[name])["items"]:
                yield {"apiVersion": kind.api_version, "kind": kind.kind} | item


def as_state(texts: Mapping[str, str]) -> dict[str, Object]:
    """The objects of a dump by their keys in the state of an emulator that they stand in."""
    kinds = {one.kind: one for one in KINDS}
    return {
        key_of(kinds[one["kind"]], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
        for one in objects_in(texts)
    }
