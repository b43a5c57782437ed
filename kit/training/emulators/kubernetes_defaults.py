"""What an API server fills in where a client says nothing, and the addresses that it gives to Services.

As far as it matters to whoever makes an object again. Sources: kubernetes/kubernetes, pkg/apis/*/v1/defaults.go, pkg/registry/core/service/storage/alloc.go,
pkg/registry/batch/job/strategy.go, plugin/pkg/admission/serviceaccount."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kit.training.emulators.kubernetes_kinds import Kind, Object

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_POD = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
}
_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
_HOOK = {"failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 10}
_SELECTORS: Object = {"namespaceSelector": {}, "objectSelector": {}}
_RBAC = "rbac.authorization.k8s.io"
_EXPOSED = ("NodePort", "LoadBalancer")


def defaulted(kind: Kind, item: Object) -> Object:
    """Fill in, in place, what the kind's defaults say; what stands there stays."""
    fill = _BY_RESOURCE.get(kind.resource)
    if fill and not kind.custom:
        fill(item)
    return item


def _set(item: Object, values: Object) -> None:
    for name, value in values.items():
        if item.get(name) is None:
            item[name] = dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value


def _pod_spec(spec: Object, *, of_pod: bool = False) -> None:
    if not spec:
        return
    _set(spec, _POD | ({"enableServiceLinks": True, "serviceAccountName": "default"} if of_pod else {}))
    for sort in ("initContainers", "containers"):
        for one in spec.get(sort) or []:
            image = str(one.get("image") or "")
            latest = "@" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest"))
            _set(one, {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
            _set(one, {"imagePullPolicy": "Always" if latest else "IfNotPresent"})
            for port in one.get("ports") or []:
                _set(port, {"protocol": "TCP"})
            for probe in _PROBES:
                if one.get(probe):
                    _set(one[probe], _PROBE)
    for volume in spec.get("volumes") or []:
        for source, member in (("secret", "defaultMode"), ("configMap", "defaultMode"), ("projected", "defaultMode")):
            if source in volume:
                _set(volume[source], {member: 0o644})
        if "hostPath" in volume:
            _set(volume["hostPath"], {"type": ""})


def _workload(**values: Any) -> Callable[[Object], None]:
    def fill(item: Object) -> None:
        spec = item.get("spec")
        if spec is not None:
            _set(spec, values)
            _pod_spec((spec.get("template") or {}).get("spec") or {})

    return fill


def _job_spec(spec: Object) -> None:
    _set(
        spec, {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
    )
    _pod_spec((spec.get("template") or {}).get("spec") or {})


def _cron(item: Object) -> None:
    spec = item.get("spec") or {}
    _set(spec, {"concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1})  # fmt: skip
    of_job = (spec.get("jobTemplate") or {}).get("spec") or {}
    _pod_spec((of_job.get("template") or {}).get("spec") or {})


def _service(item: Object) -> None:
    spec = item.get("spec")
    if spec is None:
        return
    _set(spec, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
    for port in spec.get("ports") or []:
        _set(port, {"protocol": "TCP", "targetPort": port.get("port")})
    if spec["type"] in _EXPOSED:
        _set(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] == "LoadBalancer":
        _set(spec, {"allocateLoadBalancerNodePorts": True})
    if spec["type"] == "ExternalName":
        spec.pop("internalTrafficPolicy")


def _policy(item: Object) -> None:
    spec = item.get("spec")
    if spec is not None:
        _set(spec, {"policyTypes": ["Ingress", *(["Egress"] if spec.get("egress") else [])]})
        for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
            for port in rule.get("ports") or []:
                _set(port, {"protocol": "TCP"})


def _binding(item: Object) -> None:
    for subject in item.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            _set(subject, {"apiGroup": _RBAC})
    if item.get("roleRef"):
        _set(item["roleRef"], {"apiGroup": _RBAC})


def _hooks(**more: Any) -> Callable[[Object], None]:
    def fill(item: Object) -> None:
        for one in item.get("webhooks") or []:
            _set(one, _HOOK | _SELECTORS | more)
            for rule in one.get("rules") or []:
                _set(rule, {"scope": "*"})
            if (one.get("clientConfig") or {}).get("service"):
                _set(one["clientConfig"]["service"], {"port": 443})

    return fill


def _admission_policy(item: Object) -> None:
    spec = item.get("spec") or {}
    _set(spec, {"failurePolicy": "Fail"})
    if spec.get("matchConstraints"):
        _set(spec["matchConstraints"], {"matchPolicy": "Equivalent"} | _SELECTORS)
        for rule in spec["matchConstraints"].get("resourceRules") or []:
            _set(rule, {"scope": "*"})


def _definition(item: Object) -> None:
    spec = item.get("spec") or {}
    names = spec.get("names") or {}
    _set(spec, {"conversion": {"strategy": "None"}})
    _set(names, {"singular": str(names.get("kind")).lower(), "listKind": f"{names.get('kind')}List"})


def _in(part: str, **values: Any) -> Callable[[Object], None]:
    """Members of one part of an object, where it has that part; "" for the object itself."""
    return lambda item: _set(item if not part else item.get(part) or {}, values)


def _ports(item: Object) -> None:
    for port in [one for each in (item, *(item.get("subsets") or [])) for one in each.get("ports") or []]:
        _set(port, {"protocol": "TCP"})


_BY_RESOURCE: dict[str, Callable[[Object], None]] = {
    "pods": lambda item: _pod_spec(item.get("spec") or {}, of_pod=True),
    "secrets": _in("", type="Opaque"),
    "services": _service,
    "endpoints": _ports,
    "endpointslices.discovery.k8s.io": _ports,
    "replicationcontrollers": _workload(replicas=1),
    "persistentvolumeclaims": _in("spec", volumeMode="Filesystem"),
    "persistentvolumes": _in("spec", volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain"),
    "namespaces": lambda item: item.setdefault("spec", {"finalizers": ["kubernetes"]}),
    "replicasets.apps": _workload(replicas=1),
    "deployments.apps": _workload(replicas=1, strategy=_ROLLING, revisionHistoryLimit=10, progressDeadlineSeconds=600),
    "daemonsets.apps": _workload(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, revisionHistoryLimit=10),
    "statefulsets.apps": _workload(replicas=1, podManagementPolicy="OrderedReady", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, revisionHistoryLimit=10),
    "jobs.batch": lambda item: _job_spec(item.get("spec") or {}),
    "cronjobs.batch": _cron,
    "networkpolicies.networking.k8s.io": _policy,
    "horizontalpodautoscalers.autoscaling": _in("spec", minReplicas=1),
    f"rolebindings.{_RBAC}": _binding,
    f"clusterrolebindings.{_RBAC}": _binding,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _hooks(reinvocationPolicy="Never"),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _hooks(),
    "validatingadmissionpolicies.admissionregistration.k8s.io": _admission_policy,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
}  # fmt: skip


def job_selector(item: Object, uid: str) -> None:
    """The selector of a Job without a manual one, and the labels of its pods: the Job's own uid (strategy.go, generateSelector)."""
    spec = item.get("spec") or {}
    if spec.get("manualSelector") or "template" not in spec:
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    name = item["metadata"]["name"]
    labels |= {"controller-uid": uid, "job-name": name}
    labels |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _addresses(spec: Object) -> list[str]:
    every = [spec.get("clusterIP"), *(spec.get("clusterIPs") or [])]
    return [str(one) for one in dict.fromkeys(every) if one and one != "None"]


def _node_ports(spec: Object) -> Iterator[tuple[str, int]]:
    for number, port in enumerate(spec.get("ports") or []):
        if port.get("nodePort"):
            yield f"spec.ports[{number}].nodePort", port["nodePort"]


def allocate(kind: Kind, item: Object, others: Iterable[Object]) -> None:
    """Give a Service its addresses and ports; those that it asks for and another one has are 422."""
    spec, name = item.get("spec") or {}, item["metadata"]["name"]
    if spec.get("type") == "ExternalName":
        return
    specs = [one.get("spec") or {} for one in others]
    taken = {address for one in specs for address in _addresses(one)}
    ports = {port for one in specs for _, port in _node_ports(one)}
    for address in _addresses(spec):
        if address in taken:
            said = f'spec.clusterIPs: Invalid value: ["{address}"]: failed to allocate IP {address}: provided IP is already allocated'
            raise kind.refuse(422, "Invalid", name, said)
    for place, port in _node_ports(spec):
        if port in ports:
            raise kind.refuse(
                422, "Invalid", name, f"{place}: Invalid value: {port}: provided port is already allocated"
            )
    if spec.get("clusterIP") != "None":
        free = (str(one) for one in ipaddress.ip_network("172.20.0.0/16").hosts())
        spec.setdefault("clusterIP", next(one for one in free if one not in taken))
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    _set(spec, {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
    if spec.get("type") in _EXPOSED:
        left = (port for port in range(30000, 32768) if port not in ports | {port for _, port in _node_ports(spec)})
        for one in spec.get("ports") or []:
            one.setdefault("nodePort", next(left))
        if spec.get("externalTrafficPolicy") == "Local" and spec["type"] == "LoadBalancer":
            spec.setdefault("healthCheckNodePort", next(left))
