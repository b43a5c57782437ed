"""What the spec of a pod says: its containers and images, and what lets it reach its node. Members may be anything: evidence is not checked.

Sources: Kubernetes API reference (PodSpec); "Pod Security Standards".
"""

from __future__ import annotations

from typing import Any

_KINDS = ("initContainers", "containers", "ephemeralContainers")
_STRONG = ("ALL", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "NET_ADMIN", "DAC_READ_SEARCH", "BPF", "SYS_RAWIO")


def pod_spec(spec: Any) -> dict[str, Any]:
    """The spec of the pods that a workload's spec makes: of a Deployment, a Job, a CronJob; that of a pod is its own."""
    for _ in range(3):
        if not isinstance(spec, dict):
            return {}
        inner = spec.get("jobTemplate") or spec.get("template")
        if not isinstance(inner, dict):
            return spec
        spec = inner.get("spec")
    return spec if isinstance(spec, dict) else {}


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers: init and ephemeral ones too."""
    return [one for kind in _KINDS for one in _dicts(spec.get(kind))]


def images(spec: dict[str, Any]) -> list[str]:
    """The images as the spec has them, each once."""
    return list(dict.fromkeys(str(one["image"]) for one in containers(spec) if one.get("image")))


def host_access(spec: dict[str, Any]) -> list[str]:
    """What lets it reach its node: host namespaces, privileged containers, host mounts."""
    found = [flag for flag in ("hostNetwork", "hostPID", "hostIPC") if spec.get(flag) is True]
    if any(_dict(one.get("securityContext")).get("privileged") is True for one in containers(spec)):
        found.append("privileged")
    paths = [_dict(one.get("hostPath")).get("path") for one in _dicts(spec.get("volumes"))]
    return [*found, *dict.fromkeys(f"hostPath {path}" for path in paths if path)]


def dangers(spec: dict[str, Any]) -> list[str]:
    """What lets it reach beyond its containers: its way to the node, and strong capabilities."""
    found = list[str]()
    for one in containers(spec):
        added = _dict(_dict(one.get("securityContext")).get("capabilities")).get("add")
        found += [f"capability {name}" for name in added if str(name) in _STRONG] if isinstance(added, list) else []
    return [*host_access(spec), *dict.fromkeys(found)]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
