"""The kinds of Kubernetes objects that the kit knows: where each stands in the API, once for scope, plan, permissions and live.

Source: Kubernetes API reference, versions served by every Kubernetes that EKS supports; Amazon VPC CNI (policyendpoints), Karpenter and
EKS Auto Mode (nodeclasses, nodepools, nodeclaims) for the custom ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectKind:
    """One kind: its plural API name, its kind, its group ("" for the core one), its version, and whether it has a namespace."""

    resource: str
    kind: str
    group: str
    version: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """Group and version as an object's apiVersion has them: v1, apps/v1."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """Group and resource as a permission of this kit names them: pods, apps/deployments."""
        return f"{self.group}/{self.resource}" if self.group else self.resource


# A star marks what has no namespace.
_LISTED = {
    "v1": "pods Pod, nodes* Node, namespaces* Namespace, services Service, endpoints Endpoints, events Event, configmaps ConfigMap, "
    "secrets Secret, serviceaccounts ServiceAccount, persistentvolumes* PersistentVolume, persistentvolumeclaims PersistentVolumeClaim, "
    "replicationcontrollers ReplicationController, resourcequotas ResourceQuota, limitranges LimitRange",
    "apps/v1": "deployments Deployment, daemonsets DaemonSet, statefulsets StatefulSet, replicasets ReplicaSet",
    "batch/v1": "jobs Job, cronjobs CronJob",
    "networking.k8s.io/v1": "networkpolicies NetworkPolicy, ingresses Ingress",
    "rbac.authorization.k8s.io/v1": "roles Role, rolebindings RoleBinding, clusterroles* ClusterRole, clusterrolebindings* ClusterRoleBinding",
    "discovery.k8s.io/v1": "endpointslices EndpointSlice",
    "networking.k8s.aws/v1alpha1": "policyendpoints PolicyEndpoint",
    "policy/v1": "poddisruptionbudgets PodDisruptionBudget",
    "autoscaling/v2": "horizontalpodautoscalers HorizontalPodAutoscaler",
    "admissionregistration.k8s.io/v1": "mutatingwebhookconfigurations* MutatingWebhookConfiguration, "
    "validatingwebhookconfigurations* ValidatingWebhookConfiguration, validatingadmissionpolicies* ValidatingAdmissionPolicy, "
    "validatingadmissionpolicybindings* ValidatingAdmissionPolicyBinding",
    "apiextensions.k8s.io/v1": "customresourcedefinitions* CustomResourceDefinition",
    "certificates.k8s.io/v1": "certificatesigningrequests* CertificateSigningRequest",
    "eks.amazonaws.com/v1": "nodeclasses* NodeClass",
    "karpenter.sh/v1": "nodepools* NodePool, nodeclaims* NodeClaim",
}


def _kind(api_version: str, resource: str, kind: str) -> ObjectKind:
    group, _, version = api_version.rpartition("/")
    return ObjectKind(resource.rstrip("*"), kind, group, version, not resource.endswith("*"))


OBJECT_KINDS: dict[str, ObjectKind] = {
    one.resource: one
    for api_version, listed in _LISTED.items()
    for one in (_kind(api_version, *entry.split()) for entry in listed.split(", "))
}
"""Plural API name → kind."""
GROUPS = {kind.group for kind in OBJECT_KINDS.values()} - {""}
WORKLOADS = {
    OBJECT_KINDS[resource].kind: resource
    for resource in (
        *("deployments", "replicasets", "daemonsets", "statefulsets", "jobs", "cronjobs"),
        "replicationcontrollers",
    )
}
"""Kind → plural API name of what makes pods."""
BOUND = {"rolebindings", "clusterrolebindings"}
ROLES = {"roles", "clusterroles"}
AWS_AUTH = ("configmaps", "kube-system", "aws-auth")
"""Resource, namespace and name of the ConfigMap that maps IAM principals (EKS User Guide)."""
WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
FOLLOWED = {
    *("pods", "services", "serviceaccounts", "nodes", "secrets", "configmaps", "networkpolicies"),
    *WORKLOADS.values(),
    *BOUND,
    *ROLES,
}
"""Plural API names of what the inventory keeps."""
SELECTED = ("pods", "services", *sorted(BOUND))
"""Plural API names of those whose labels, selector or subjects may be changed later, and count for what they were."""
ACCOUNT_GROUP = "system:serviceaccounts"  # all of them, or with :NAMESPACE those of one namespace
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"  # IRSA, EKS User Guide "IAM roles for service accounts"
_PLURALS = {"Endpoints": "endpoints", "NodeMetrics": "nodes", "PodMetrics": "pods"}


def plural(kind: str) -> str:
    """The plural API name of a kind, by the rule of Kubernetes' own and most custom resources.

    >>> plural("NetworkPolicy"), plural("Ingress"), plural("Gateway")
    ('networkpolicies', 'ingresses', 'gateways')
    """
    name = kind.lower()
    if kind in _PLURALS:
        return _PLURALS[kind]
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    if re.search("[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}s"


def workload_pattern(pod_name: str) -> str:
    """A pod's name without what its controller added: cart-7c9d4b6f8d-x2k5p becomes cart-…; store-0 becomes store-…"""
    return re.sub(
        r"(-[0-9]{6,})?(-[bcdfghjklmnpqrstvwxz2456789]{6,10})?(-[bcdfghjklmnpqrstvwxz2456789]{5}|-[0-9]{1,4})$",
        "-…",
        pod_name,
    )
