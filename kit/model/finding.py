"""A GuardDuty finding, whichever spelling it came in: SDK names (CLI, SDK) or wire names (EventBridge, exports).

Names go through botocore's own model of GetFindings, because wire names are not always the SDK name with a small
first letter (SourceIps is sourceIPs; KubernetesWorkload has `type` for KubernetesResourcesTypes). Members that the
model does not know are kept as they came. Source: botocore, guardduty 2017-11-28, shape Finding;
GuardDuty User Guide, finding details.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from kit.errors import EvidenceError
from kit.lenient import dict_of, member, text_of, utc_time
from kit.model.address import canonical
from kit.model.arn import Arn
from kit.model.finding_names import SaidOfMembers, sdk_named
from kit.model.refs import Ref

# Paths of a finding in wire form, for refs.
USER_NAME = "resource.kubernetesDetails.kubernetesUserDetails.username"
WORKLOAD = "resource.kubernetesDetails.kubernetesWorkloadDetails"
API_CALL = "service.action.kubernetesApiCallAction"
ROLE_BINDING = "service.action.kubernetesRoleBindingDetails"
ACCESS_KEY = "resource.accessKeyDetails"
ODD_MEMBERS = "OddMembers"  # not the API's: what the kit left out of a finding, path → value
INSTANCE_ID = "resource.instanceDetails.instanceId"
SEQUENCE = "service.detection.sequence"

_RESOURCE_WORD = re.compile(r"^[^:]*:([^/]*)")  # of ThreatPurpose:ResourceTypeAffected/ThreatFamilyName
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_CLUSTER_TAG = "kubernetes.io/cluster/"
_CLUSTER_NAME_TAGS = ("eks:cluster-name", "aws:eks:cluster-name")

_USER = ("Resource", "KubernetesDetails", "KubernetesUserDetails")
_WORKLOAD = ("Resource", "KubernetesDetails", "KubernetesWorkloadDetails")
_CALL = ("Service", "Action", "KubernetesApiCallAction")
_RUNTIME = ("Service", "RuntimeDetails")
# What GuardDuty fills in findings about EKS, by the resource word of their type, as far as scope and report use it. Source: GuardDuty
# User Guide, finding details; which of them a type always has AWS does not say.
_USUAL: dict[str, tuple[tuple[str, ...], ...]] = {
    "Kubernetes": (
        *((*_USER, name) for name in ("Username", "Uid", "Groups", "SessionName")),
        *((*_WORKLOAD, name) for name in ("Name", "Type", "Uid", "Namespace", "Containers")),
        *(
            (*_CALL, name)
            for name in ("RequestUri", "Verb", "Resource", "SourceIps", "UserAgent", "RemoteIpDetails", "StatusCode")
        ),
    ),
    "Runtime": (
        *((*_WORKLOAD, name) for name in ("Name", "Type", "Uid", "Namespace", "Containers")),
        ("Resource", "InstanceDetails", "InstanceId"),
        *(
            (*_RUNTIME, "Process", name)
            for name in ("Name", "ExecutablePath", "ExecutableSha256", "StartTime", "Lineage")
        ),
        (*_RUNTIME, "Context"),
    ),
}


@dataclass(frozen=True)
class Finding:
    """A GuardDuty finding. Times are UTC; cluster is a name; count is how often GuardDuty saw it.

    about_eks: whether it is about an EKS cluster. raw: the whole finding under SDK names.
    unknown: paths of members that botocore's model does not have.
    """

    id: str
    arn: str | None
    type: str
    severity: float
    title: str | None
    description: str | None
    account: str | None
    region: str | None
    cluster: str | None
    created_at: datetime | None
    updated_at: datetime | None
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    count: int | None
    sample: bool
    about_eks: bool
    archived: bool
    raw: dict[str, Any] = field(repr=False, hash=False)
    unknown: tuple[str, ...] = field(default=(), repr=False)

    @property
    def odd(self) -> tuple[str, ...]:
        """Paths of members that are of another kind than the API gives, or times that cannot be read: left out, and kept in `raw` under ODD_MEMBERS."""
        return tuple(dict_of(self.raw.get(ODD_MEMBERS)))

    def ref(self, json_path: str = "") -> Ref:
        """The Ref of this finding, or of a member of it by its path in wire form."""
        return Ref.of("finding", f"{self.id}#{json_path}" if json_path else self.id)

    @property
    def user(self) -> dict[str, Any]:
        """KubernetesUserDetails: Username, Uid, Groups, SessionName, ImpersonatedUser; empty without them."""
        return member(self.raw, "Resource", "KubernetesDetails", "KubernetesUserDetails") or {}

    @property
    def workload(self) -> dict[str, Any]:
        """KubernetesWorkloadDetails: Name, Type, Uid, Namespace, ServiceAccountName and more; empty without them."""
        return member(self.raw, "Resource", "KubernetesDetails", "KubernetesWorkloadDetails") or {}

    @property
    def api_call(self) -> dict[str, Any]:
        """KubernetesApiCallAction: Verb, Resource, Namespace, ResourceName, SourceIps and more; empty without it."""
        return member(self.raw, "Service", "Action", "KubernetesApiCallAction") or {}

    @property
    def network(self) -> tuple[str, str] | None:
        """The caller's address and whose network GuardDuty takes it for: AS number, organisation, country. None without them."""
        remote = dict_of(self.api_call.get("RemoteIpDetails"))
        address = remote.get("IpAddressV4") or remote.get("IpAddressV6")
        owner, country = dict_of(remote.get("Organization")), dict_of(remote.get("Country"))
        number = f"AS{owner['Asn']}" if owner.get("Asn") else None
        words = [str(one) for one in (number, owner.get("AsnOrg"), country.get("CountryName")) if one]
        return (canonical(str(address)), ", ".join(words)) if address and words else None

    @property
    def role_binding(self) -> dict[str, Any]:
        """KubernetesRoleBindingDetails: Kind, Name, Uid, RoleRefName, RoleRefKind; empty without them."""
        return member(self.raw, "Service", "Action", "KubernetesRoleBindingDetails") or {}

    @property
    def access_key(self) -> dict[str, Any]:
        """AccessKeyDetails: AccessKeyId, PrincipalId, UserName, UserType; empty without them."""
        return member(self.raw, "Resource", "AccessKeyDetails") or {}

    @property
    def instance_id(self) -> str | None:
        """The EC2 instance that the finding names."""
        return text_of(member(self.raw, "Resource", "InstanceDetails", "InstanceId"))

    @property
    def session_instance(self) -> str | None:
        """The EC2 instance whose role session the finding's access key is of: AWS names such a session by it (ROLE ID:INSTANCE ID)."""
        session = str(self.access_key.get("PrincipalId")).partition(":")[2]
        return session if _INSTANCE.fullmatch(session) else None

    @property
    def resource_type(self) -> str | None:
        """EKSCluster, Instance, AttackSequence and others."""
        return text_of(member(self.raw, "Resource", "ResourceType"))

    @property
    def is_policy(self) -> bool:
        """Whether it reports a risky setting, which an administrator may have made by mistake."""
        return self.type.startswith("Policy:")

    @property
    def missing(self) -> list[str]:
        """Paths of members that GuardDuty usually fills for its kind of finding and that are not here: a wrapper may have dropped them."""
        found = _RESOURCE_WORD.match(self.type)
        usual = _USUAL.get(found[1] if found else "", ())
        return [".".join(path) for path in usual if member(self.raw, *path) in (None, [], {}, "")]

    @property
    def sequence(self) -> dict[str, Any]:
        """Sequence of an attack sequence: Actors, Resources, Endpoints, Signals and more; empty without it."""
        return member(self.raw, "Service", "Detection", "Sequence") or {}


def finding_of(value: Any) -> Finding:
    """The finding in a parsed JSON value, in either spelling; timestamps of `raw` become ISO text in UTC.

    A member that is something else than the model has costs itself alone (Finding.odd). Raises EvidenceError with the field's path for
    what is no GuardDuty finding: without Id or Type, or with two of one of these or of Severity.
    """
    if not isinstance(value, dict):
        raise EvidenceError("is not a JSON object", where="finding")
    said = SaidOfMembers()
    raw = sdk_named("Finding", {name: each for name, each in value.items() if name != ODD_MEMBERS}, "", said)
    if raw.get("Id") is None and (about := Arn.of(raw.get("Arn"))) and "/finding/" in about.resource:
        raw["Id"] = about.resource.rpartition("/")[2]
    for name in ("Id", "Type"):
        if not text_of(raw.get(name)):
            raise EvidenceError("is no GuardDuty finding without it", where=name)
    raw["Severity"] = severity = _severity(raw, said)
    raw["Resource"] = raw.get("Resource") or {}  # old exports about users leave it out
    service = raw.get("Service") or {}
    for holder, path in (
        (raw, "CreatedAt"),
        (raw, "UpdatedAt"),
        (service, "Service.EventFirstSeen"),
        (service, "Service.EventLastSeen"),
    ):
        at = holder.get(path.rpartition(".")[2])
        if at not in (None, "") and utc_time(at) is None:
            said.odd[path] = at
    if odd := dict_of(value.get(ODD_MEMBERS)) | said.odd:
        raw[ODD_MEMBERS] = odd
    count = service.get("Count")
    return Finding(
        id=raw["Id"],
        arn=text_of(raw.get("Arn")),
        type=raw["Type"],
        severity=severity,
        title=text_of(raw.get("Title")),
        description=text_of(raw.get("Description")),
        account=text_of(raw.get("AccountId")),
        region=text_of(raw.get("Region")),
        cluster=_cluster(raw),
        created_at=utc_time(raw.get("CreatedAt")),
        updated_at=utc_time(raw.get("UpdatedAt")),
        first_seen_at=utc_time(service.get("EventFirstSeen")),
        last_seen_at=utc_time(service.get("EventLastSeen")),
        count=count if isinstance(count, int) and not isinstance(count, bool) else None,
        sample=_is_sample(service.get("AdditionalInfo") or {}),
        about_eks=_is_about_eks(raw),
        archived=service.get("Archived") is True,
        raw=raw,
        unknown=tuple(said.unknown),
    )


# Label → the lowest severity that has it (GuardDuty User Guide, findings' severity levels).
_LABELS = {"low": 1.0, "medium": 4.0, "high": 7.0, "critical": 9.0}


def _severity(raw: dict[str, Any], said: SaidOfMembers) -> float:
    """The severity, which may be said by its label; 0 where nobody can read it, or it is not there. Both are said to be odd."""
    value = said.odd.pop("Severity", None) if raw.get("Severity") is None else raw["Severity"]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10:
        return float(value)
    words = value.values() if isinstance(value, dict) else [value]
    numbers = [_LABELS[word] for each in words if (word := str(each).strip().lower()) in _LABELS]
    said.odd["Severity"] = value
    return numbers[0] if numbers else 0.0


def cluster_in_tags(tags: Any) -> str | None:
    """The EKS cluster that an EC2 instance's tags ([{Key, Value}]) name; None when they name none, or more than one."""
    names = set()
    for tag in tags if isinstance(tags, list) else ():
        key, value = (text_of(member(tag, name)) or "" for name in ("Key", "Value"))
        if key.startswith(_CLUSTER_TAG):
            names.add(key.removeprefix(_CLUSTER_TAG))
        elif key in _CLUSTER_NAME_TAGS:
            names.add(value)
    return _only(names)


def _only(names: Iterable[str | None]) -> str | None:
    different = {name for name in names if name}
    return different.pop() if len(different) == 1 else None


def _cluster(raw: dict[str, Any]) -> str | None:
    resource = raw["Resource"]
    details = resource.get("EksClusterDetails") or {}
    resources = member(raw, "Service", "Detection", "Sequence", "Resources") or []
    return (
        text_of(details.get("Name"))
        or _name_in(details.get("Arn"))
        or cluster_in_tags(member(resource, "InstanceDetails", "Tags"))
        or _only(
            text_of(each.get("Name"))
            or _name_in(member(each, "Data", "EksCluster", "Arn"))
            or _name_in(each.get("Uid"))
            for each in resources
            if each and each.get("ResourceType") == "EKS_CLUSTER"
        )
    )


def _name_in(arn: Any) -> str | None:
    cluster = Arn.of(arn)
    return cluster.name or None if cluster and cluster.kind == "cluster" else None


def _is_about_eks(raw: dict[str, Any]) -> bool:
    found = _RESOURCE_WORD.match(raw["Type"])
    word = found[1] if found else ""
    resource = raw["Resource"]
    named = bool(resource.get("EksClusterDetails") or resource.get("KubernetesDetails"))
    if word == "Runtime":
        return named or cluster_in_tags(member(resource, "InstanceDetails", "Tags")) is not None
    return word == "EKS" or (word == "Kubernetes" and named)


def _is_sample(info: dict[str, Any]) -> bool:
    value = info.get("Value")
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            value = None
    places = (info, value) if isinstance(value, dict) else (info,)
    marks = (place.get(name) for place in places for name in ("sample", "Sample"))
    return any(mark is True or str(mark).lower() == "true" for mark in marks)
