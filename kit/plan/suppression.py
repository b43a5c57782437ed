"""The narrowest suppression filter for a finding that a person has marked as expected, tested against the findings of the case.

Sources: GuardDuty API reference, CreateFilter (criteria fields; up to 50 attributes, all of which have to hold; no list index in paths);
GuardDuty User Guide, "Suppression rules". Criteria spell hostPid where the finding has hostPID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kit.errors import CallError
from kit.lenient import member
from kit.model.finding import Finding
from kit.store.marks import Mark

LOSES = (
    "New findings like it are archived as they arrive, for as long as the filter exists: they reach neither Security Hub, nor S3, nor"
    " Detective, nor EventBridge; they start no malware scan; and they have no part in attack sequences. GuardDuty keeps them for 90 days."
)
_CALL = ("Service", "Action", "KubernetesApiCallAction")
_WORKLOAD = ("Resource", "KubernetesDetails", "KubernetesWorkloadDetails")
_USER = ("Resource", "KubernetesDetails", "KubernetesUserDetails")
_PROCESS = ("Service", "RuntimeDetails", "Process")
_CONTEXT = (
    "scriptPath", "libraryPath", "socketPath", "runcBinaryPath", "releaseAgentPath", "mountSource", "mountTarget", "moduleName", "moduleFilePath",
    "moduleSha256", "toolName", "toolCategory", "serviceName", "threatFilePath", "fileOperation", "filePath",
)  # fmt: skip


def _as_sdk(name: str) -> str:
    return name[0].upper() + name[1:]


# Field of the filter → where the finding has it. Names of pods made by a workload change, so the workload's own name is not among them
# when its type is pods.
FIELDS: dict[str, tuple[str, ...]] = {
    "type": ("Type",),
    "accountId": ("AccountId",),
    "region": ("Region",),
    "resource.resourceType": ("Resource", "ResourceType"),
    "resource.eksClusterDetails.name": ("Resource", "EksClusterDetails", "Name"),
    "resource.kubernetesDetails.kubernetesUserDetails.username": (*_USER, "Username"),
    "resource.kubernetesDetails.kubernetesUserDetails.sessionName": (*_USER, "SessionName"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.namespace": (*_WORKLOAD, "Namespace"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.name": (*_WORKLOAD, "Name"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.serviceAccountName": (*_WORKLOAD, "ServiceAccountName"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.containers.image": (*_WORKLOAD, "Containers", "Image"),
    "service.action.kubernetesApiCallAction.verb": (*_CALL, "Verb"),
    "service.action.kubernetesApiCallAction.resource": (*_CALL, "Resource"),
    "service.action.kubernetesApiCallAction.subresource": (*_CALL, "Subresource"),
    "service.action.kubernetesApiCallAction.namespace": (*_CALL, "Namespace"),
    "service.action.kubernetesApiCallAction.remoteIpDetails.ipAddressV4": (*_CALL, "RemoteIpDetails", "IpAddressV4"),
    "service.action.kubernetesApiCallAction.remoteIpDetails.ipAddressV6": (*_CALL, "RemoteIpDetails", "IpAddressV6"),
    "service.action.kubernetesApiCallAction.userAgent": (*_CALL, "UserAgent"),
    "service.action.kubernetesApiCallAction.resourceName": (*_CALL, "ResourceName"),
    "service.action.kubernetesApiCallAction.statusCode": (*_CALL, "StatusCode"),
    **{
        f"service.action.kubernetesRoleBindingDetails.{name}": (
            "Service",
            "Action",
            "KubernetesRoleBindingDetails",
            _as_sdk(name),
        )
        for name in ("kind", "name", "roleRefKind", "roleRefName")
    },
    **{
        f"service.action.kubernetesRoleDetails.{name}": ("Service", "Action", "KubernetesRoleDetails", _as_sdk(name))
        for name in ("kind", "name")
    },
    **{
        f"service.action.kubernetesPermissionCheckedDetails.{name}": (
            "Service",
            "Action",
            "KubernetesPermissionCheckedDetails",
            _as_sdk(name),
        )
        for name in ("verb", "resource", "namespace", "allowed")
    },
    "resource.kubernetesDetails.kubernetesWorkloadDetails.type": (*_WORKLOAD, "Type"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.hostNetwork": (*_WORKLOAD, "HostNetwork"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.hostPid": (*_WORKLOAD, "HostPID"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.hostIpc": (*_WORKLOAD, "HostIPC"),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.volumes.hostPath.path": (
        *_WORKLOAD,
        "Volumes",
        "HostPath",
        "Path",
    ),
    "resource.kubernetesDetails.kubernetesWorkloadDetails.containers.securityContext.privileged": (
        *_WORKLOAD,
        "Containers",
        "SecurityContext",
        "Privileged",
    ),
    "service.action.networkConnectionAction.remoteIpDetails.ipAddressV4": (
        "Service",
        "Action",
        "NetworkConnectionAction",
        "RemoteIpDetails",
        "IpAddressV4",
    ),
    "service.action.networkConnectionAction.remotePortDetails.port": (
        "Service",
        "Action",
        "NetworkConnectionAction",
        "RemotePortDetails",
        "Port",
    ),
    **{
        f"service.runtimeDetails.context.{name}": ("Service", "RuntimeDetails", "Context", _as_sdk(name))
        for name in _CONTEXT
    },
    "service.action.dnsRequestAction.domain": ("Service", "Action", "DnsRequestAction", "Domain"),
    "service.runtimeDetails.process.executablePath": (*_PROCESS, "ExecutablePath"),
    "service.runtimeDetails.process.executableSha256": (*_PROCESS, "ExecutableSha256"),
}


@dataclass(frozen=True)
class Suppression:
    """A filter that is not created by this kit. criteria: GuardDuty's FindingCriteria. hides: of the case, it too. unlike: those that it
    would hide and that differ in something that matters: another caller, workload or object. loses: what such findings no longer do."""

    criteria: dict[str, Any]
    hides: tuple[str, ...]
    unlike: tuple[str, ...]
    loses: str = LOSES


def suppression(finding: Finding, findings: Iterable[Finding], marks: Iterable[Mark]) -> Suppression:
    """The narrowest filter for a finding. Raises CallError when no person has marked it as expected."""
    said = [one for one in marks if one.finding == finding.id and not one.question]
    if not said or said[-1].word != "expected":
        way_out = "mark it with `kit mark CASE --finding ID --as expected --note WHY`, once its owner has confirmed it"
        raise CallError(
            "nobody has marked this finding as expected, so no filter is written", where=finding.id, next=way_out
        )
    criterion = narrowest(finding)
    every = [one for one in findings if archives(criterion, one)]
    alike = {_nature(finding)}
    return Suppression(
        {"Criterion": {field: {"Equals": values} for field, values in criterion.items()}},
        tuple(one.id for one in every),
        tuple(one.id for one in every if _nature(one) not in alike),
    )


def narrowest(finding: Finding) -> dict[str, list[str]]:
    """The narrowest criterion that a finding meets: field → the values of which one suffices; without names that change."""
    return {
        field: values
        for field, path in FIELDS.items()
        if (values := _values(finding, path)) and not _changes(finding, field)
    }


def archives(criterion: Mapping[str, list[str]], finding: Finding) -> bool:
    """Whether a filter would archive a finding: every attribute holds, of each one value suffices. criterion: fields of FIELDS → values."""
    return all(set(_values(finding, FIELDS[field])) & set(values) for field, values in criterion.items())


def _values(finding: Finding, path: tuple[str, ...]) -> list[str]:
    """The values of a member, of lists those of each element; all texts, as Equals has them."""
    values: list[Any] = [finding.raw]
    for name in path:
        found = [one.get(name) for one in values if isinstance(one, dict)]
        values = [each for one in found for each in (one if isinstance(one, list) else [one])]
    texts = (str(one).lower() if isinstance(one, bool) else str(one) for one in values if isinstance(one, str | int))
    return list(dict.fromkeys(one for one in texts if one))[:50]


def _changes(finding: Finding, field: str) -> bool:
    """Whether a field holds the name of a pod or of what makes pods anew: the next finding like it has another."""
    made = ("pods", "pod", "jobs", "job", "replicasets", "replicaset")
    if field.endswith("kubernetesWorkloadDetails.name"):
        return str(member(finding.raw, *_WORKLOAD, "Type") or "").lower() in made
    return (
        field.endswith("kubernetesApiCallAction.resourceName")
        and str(finding.api_call.get("Resource") or "").lower() in made
    )


def _nature(finding: Finding) -> tuple[Any, ...]:
    """Severity, and all that the fields say but for names that change."""
    return finding.severity, *(
        tuple(_values(finding, path)) for field, path in FIELDS.items() if not _changes(finding, field)
    )
