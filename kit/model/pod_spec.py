"""What the spec of a pod says: its containers and images, and how far it reaches into its node. Members may be anything: evidence is
not checked.

Sources: Kubernetes API reference (PodSpec, VolumeMount: a mount is writable unless `readOnly`); "Pod Security Standards"; Kubernetes
"Volumes", hostPath (a runtime socket gives the node); EKS User Guide, "Amazon VPC CNI" (the host's network reaches the instance metadata).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from kit.lenient import dict_of, dicts_of

_KINDS = ("initContainers", "containers", "ephemeralContainers")
STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_STRONG = ("ALL", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "NET_ADMIN", "DAC_READ_SEARCH", "BPF", "SYS_RAWIO")
_OF_HOST = ("ALL", "SYS_ADMIN", "SYS_MODULE", "DAC_READ_SEARCH", "BPF", "SYS_RAWIO")
"""Capabilities that may reach the host; whether they do hangs on seccomp, AppArmor and the kernel."""


class Grade(Enum):
    """How far a right of a pod reaches into its node; the gravest first, what cannot be graded last."""

    NODE = "node taken"
    CREDENTIALS = "every credential on the node in reach"
    OWN_CREDENTIAL = "the node's own credential in reach"
    FILES = "files of the host readable"
    NOTHING = "nothing"
    UNKNOWN = "unknown, for a person"


@dataclass(frozen=True)
class HostAccess:
    """One right of a pod to its node. says: as a verb of the pod, such as `mounts / read-only`.

    at_start: whether only init containers have it, which have ended when the pod runs: whoever made the pod had it, who entered it later
    has not.
    """

    says: str
    grade: Grade
    at_start: bool = False

    @property
    def reaches(self) -> bool:
        """Whether it reaches anything, or may."""
        return self.grade is not Grade.NOTHING


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
    return [container for kind in _KINDS for container in dicts_of(spec.get(kind))]


def images(spec: dict[str, Any]) -> list[str]:
    """The images as the spec has them, each once."""
    return list(dict.fromkeys(str(one["image"]) for one in containers(spec) if one.get("image")))


# ── the node ────────────────────────────────────────────────────────────────────────────────────────────────────────

_FLAGS = {
    "hostPID": HostAccess("shares the host's PID namespace", Grade.NODE),
    "hostNetwork": HostAccess("uses the host's network", Grade.OWN_CREDENTIAL),
    "hostIPC": HostAccess("shares the host's IPC namespace", Grade.UNKNOWN),
}
_PRIVILEGED = HostAccess("runs privileged", Grade.NODE)
_HOST_PROCESS = HostAccess("runs as a process of the Windows host", Grade.NODE)

_SOCKETS = (
    "/run/containerd/containerd.sock",
    "/run/docker.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
)
"""What listens here starts any container on the node. A read-only mount does not keep anybody from a socket."""
_TAKES_NODE = (
    *("/etc", "/root", "/var/lib/kubelet", "/var/lib/containerd", "/proc", "/sys", "/dev"),
    *("/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry", "/usr/libexec/kubernetes/kubelet-plugins"),
    "/etc/kubernetes/manifests",
)
"""Who may write here runs code as the host's root: configuration, static pods, and plugins that the kubelet starts. Folders of the
CNI are left to a person: the network plugin's own pods mount them on every node."""
_HOLDS_CREDENTIALS = ("/etc", "/root", "/var/lib/kubelet", "/var/lib/kubelet/pods")
"""Who may read here has the tokens and the mounted secrets of all pods on the node."""
_LOGS = "/var/log"
"""A link in it is followed as root by the kubelet when somebody asks it for logs."""
_HARMLESS = (
    *("/etc/localtime", "/etc/timezone", "/lib/modules", "/usr/lib/modules", "/usr/share"),
    *("/etc/ssl/certs", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/usr/local/share/ca-certificates"),
)


def host_access(spec: dict[str, Any]) -> list[HostAccess]:
    """What a pod may do to its node, each right with its grade, the gravest first.

    A volume counts as it is mounted; one that no container mounts reaches nothing.
    """
    found = [access for flag, access in _FLAGS.items() if spec.get(flag) is True]
    if _is_host_process(spec):
        found.append(_HOST_PROCESS)
    paths = {
        str(volume.get("name")): path
        for volume in dicts_of(spec.get("volumes"))
        if isinstance(path := dict_of(volume.get("hostPath")).get("path"), str) and path
    }
    inits = dicts_of(spec.get("initContainers"))
    sidecars = [container for container in inits if container.get("restartPolicy") == "Always"]
    for container in (*sidecars, *containers(spec | {"initContainers": []})):
        found += _of_container(container, paths)
    at_start = [access for container in inits for access in _of_container(container, paths)]
    found += [replace(access, at_start=True) for access in at_start if access not in found]
    order = list(Grade)
    return sorted(dict.fromkeys(found), key=lambda access: order.index(access.grade))


def power_over_node(spec: dict[str, Any], made_by_attacker: bool) -> list[HostAccess]:
    """The rights by which an attacker in a pod holds its node; those of init containers only where the attacker made the pod."""
    return [one for one in host_access(spec) if one.grade is Grade.NODE and (made_by_attacker or not one.at_start)]


def dangers(spec: dict[str, Any]) -> list[str]:
    """What lets a pod reach beyond its containers: its way to the node, and strong capabilities."""
    reached = [access.says for access in host_access(spec) if access.reaches]
    added = [name for container in containers(spec) for name in _capabilities(container)]
    strong = [f"has capability {name}" for name in added if name in _STRONG]
    return list(dict.fromkeys([*reached, *strong]))


def _capabilities(container: dict[str, Any]) -> list[str]:
    """The capabilities that a container adds, without the prefix that some runtimes take."""
    added = dict_of(dict_of(container.get("securityContext")).get("capabilities")).get("add")
    return [str(name).removeprefix("CAP_") for name in added] if isinstance(added, list) else []


def _is_host_process(of: dict[str, Any]) -> bool:
    return dict_of(dict_of(of.get("securityContext")).get("windowsOptions")).get("hostProcess") is True


def _of_container(container: dict[str, Any], paths: dict[str, str]) -> Iterator[HostAccess]:
    """The rights of one container. paths: volume → path of the host."""
    if dict_of(container.get("securityContext")).get("privileged") is True:
        yield _PRIVILEGED
    if _is_host_process(container):
        yield _HOST_PROCESS
    for name in _capabilities(container):
        if name in _OF_HOST:
            yield HostAccess(f"has capability {name}", Grade.UNKNOWN)
    for mount in dicts_of(container.get("volumeMounts")):
        path, below = paths.get(str(mount.get("name"))), mount.get("subPath")
        if path is not None:
            yield _of_path(posixpath.join(path, below) if isinstance(below, str) and below else path, mount)


def _of_path(path: str, mount: dict[str, Any]) -> HostAccess:
    """A mounted path of the host by what it holds: itself, what lies below it, or what it lies below."""
    writable = mount.get("readOnly") is not True
    known = "/" + posixpath.normpath(path).lstrip("/")
    if known == "/var/run" or known.startswith("/var/run/"):
        known = known.removeprefix("/var")  # a link to /run
    if not path.startswith("/"):
        grade = Grade.UNKNOWN
    elif (known != "/" and any(_is_below(socket, known) for socket in _SOCKETS)) or (
        writable and any(_is_below(one, known) for one in _TAKES_NODE)
    ):
        grade = Grade.NODE
    elif any(_is_below(one, known) for one in _HOLDS_CREDENTIALS):
        grade = Grade.CREDENTIALS
    elif _is_below(known, _LOGS):
        grade = Grade.FILES
    elif not writable and any(_is_below(known, one) for one in _HARMLESS):
        grade = Grade.NOTHING
    else:
        grade = Grade.UNKNOWN
    # A mount below a read-only one stays writable unless recursiveReadOnly is set (KEP-3857).
    partly = grade is Grade.CREDENTIALS and mount.get("recursiveReadOnly") != "Enabled"
    mode = "" if writable else " read-only but for what is mounted below it" if partly else " read-only"
    return HostAccess(f"mounts {path}{mode}", grade)


def _is_below(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")
