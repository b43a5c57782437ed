"""GuardDuty findings as Security Hub hands them on, in its finding format (ASFF) and in OCSF: back into GuardDuty's wire form.

Both drop fields; what they kept of GuardDuty's own lies flattened, as texts, under names such as
`aws/guardduty/service/action/…/sourceIPs.0_` and `kubernetesDetails/…/containers.0_/image`. Severity is GuardDuty's number
where they have it, else the lowest of its label. Sources: Security Hub User Guide, ASFF; OCSF 1.1 to 1.6, class 2004.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.readers.flattened import listed, put
from kit.evidence.readers.ocsf import GUARDDUTY, ocsf_class, version_of
from kit.evidence.record import OTHER_CLASS, OTHER_FINDING
from kit.lenient import dict_of, dicts_of, found_at, list_of
from kit.model.arn import Arn, name_in
from kit.model.finding import ODD_MEMBERS

SCHEMA_VERSION = "2018-10-08"  # the only one that the AWS Security Finding Format has had
DETECTION_FINDING = 2004
SECURITY_FINDING = 2001  # of OCSF 1.0.0-rc.2, what Security Lake's source version 1 writes
FINDING_CLASSES = range(2001, 2100)  # classes of the category Findings
_OWN_FIELDS = "aws/guardduty/service/"
_IN_OCSF = "ProductFields."
# OCSF severity_id → severity of GuardDuty's label
_LOWEST = {"1": 0.0, "2": 1.0, "3": 4.0, "4": 7.0, "5": 9.0, "6": 9.0}
_PLAIN_TYPE = re.compile(r"[A-Za-z]+:[A-Za-z0-9]+/.+")
_WITHOUT_PURPOSE = re.compile(r"(?:TTPs/)?([A-Z][A-Za-z ]+)/([A-Z][A-Za-z0-9]+)-(.+)")  # which is the word before it
_DASHED_TYPE = re.compile(r"([A-Za-z]+:[A-Za-z0-9]+)-(.+)")


def wrapper_of(value: dict[str, Any]) -> str:
    """What a finding came in: "Security Hub (ASFF)" or "OCSF" with its version; "" for neither."""
    if value.get("SchemaVersion") == SCHEMA_VERSION and "ProductArn" in value:
        return "Security Hub (ASFF)"
    version = version_of(value)
    return f"OCSF {version}" if version and ocsf_class(value) in FINDING_CLASSES else ""


def finding_in(value: dict[str, Any]) -> dict[str, Any]:
    """The GuardDuty finding in an ASFF or OCSF finding, in wire form.

    Raises EvidenceError for findings of other products and of other classes.
    """
    return _of_asff(value) if "ProductArn" in value else _of_ocsf(value)


def _of_asff(value: dict[str, Any]) -> dict[str, Any]:
    arn = Arn.of(value.get("Id"))
    if arn is None or arn.service != "guardduty":
        raise EvidenceError(f"{OTHER_FINDING}{value.get('ProductName') or value['ProductArn']}, not of GuardDuty")
    severity = dict_of(value.get("Severity"))
    fields = dict_of(value.get("ProductFields"))
    service = nested({name: each for name, each in fields.items() if name.startswith(_OWN_FIELDS)}, _OWN_FIELDS)
    service.setdefault("eventFirstSeen", value.get("FirstObservedAt"))
    service.setdefault("eventLastSeen", value.get("LastObservedAt"))
    if value.get("Sample") is True:
        service["additionalInfo"] = {**dict_of(service.get("additionalInfo")), "sample": True}
    resources = [(each.get("Type"), each.get("Id"), each.get("Details")) for each in dicts_of(value.get("Resources"))]
    return {
        "id": arn.name,
        "arn": str(arn),
        "type": _type(value.get("Types")),
        **_severity(severity.get("Product"), severity.get("Normalized"), severity.get("Label", value.get("Severity"))),
        "title": value.get("Title"),
        "description": value.get("Description"),
        "accountId": value.get("AwsAccountId"),
        "region": value.get("Region"),
        "createdAt": value.get("CreatedAt"),
        "updatedAt": value.get("UpdatedAt"),
        "resource": _resource(resources),
        "service": service,
    }


def _of_ocsf(value: dict[str, Any]) -> dict[str, Any]:
    product = found_at(value, "metadata", "product", "name")
    about = value.get("finding_info") or value.get("finding")
    own = Arn.of(found_at(about, "uid"))
    if product not in GUARDDUTY and (own is None or own.service != "guardduty"):
        raise EvidenceError(f"{OTHER_FINDING}{product or 'an unknown product'}, not of GuardDuty")
    if ocsf_class(value) not in (DETECTION_FINDING, SECURITY_FINDING):
        raise EvidenceError(f"{OTHER_CLASS}{value.get('class_uid')}, not a Detection Finding ({DETECTION_FINDING})")
    info, cloud, rest = dict_of(about), dict_of(value.get("cloud")), dict_of(value.get("unmapped"))
    arn = str(info.get("uid"))
    of_guardduty = _IN_OCSF + _OWN_FIELDS
    service = nested({name: each for name, each in rest.items() if name.startswith(of_guardduty)}, of_guardduty)
    service.setdefault("eventFirstSeen", _at(info, "first_seen_time"))
    service.setdefault("eventLastSeen", _at(info, "last_seen_time"))
    if str(rest.get("Sample")).lower() == "true":
        service["additionalInfo"] = {**dict_of(service.get("additionalInfo")), "sample": True}
    process = next((each for each in map(_process, dicts_of(value.get("evidences"))) if each), {})
    if process:
        runtime = dict_of(service.get("runtimeDetails"))
        service["runtimeDetails"] = {**runtime, "process": {**dict_of(runtime.get("process")), **process}}
    resources = [(each.get("type"), each.get("uid"), each.get("data")) for each in dicts_of(value.get("resources"))]
    kinds = [dict_of(info.get("analytic")).get("name"), *_listed(info.get("types"))]
    lowest = _LOWEST.get(str(value.get("severity_id")), value.get("severity"))
    return {
        "id": name_in(arn),
        "arn": arn,
        "type": _type(kinds),
        **_severity(rest.get("Severity.Product"), rest.get("Severity.Normalized"), lowest),
        "title": info.get("title"),
        "description": info.get("desc"),
        "accountId": found_at(cloud, "account", "uid") or cloud.get("account_uid"),
        "region": cloud.get("region"),
        "createdAt": _at(info, "created_time"),
        "updatedAt": _at(info, "modified_time"),
        "resource": _resource(resources),
        "service": service,
    }


def _severity(own: Any, tenfold: Any, label: Any) -> dict[str, Any]:
    """The severity of a finding: GuardDuty's number, else a tenth of Security Hub's, else that of the label; an own one that is no number is kept as odd."""
    numbers = [each for each in (_within(own, 10), _within(tenfold, 100)) if each is not None]
    odd = {} if own in (None, "") or _within(own, 10) is not None else {ODD_MEMBERS: {"Severity.Product": own}}
    return odd | {"severity": numbers[0] if numbers else label}


def _within(value: Any, most: int) -> float | None:
    """A number of 0 to `most`, of ten; None for anything else."""
    with suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, bool) and 0 <= float(value) <= most:
            return float(value) * 10 / most
    return None


def _process(evidence: dict[str, Any]) -> dict[str, Any]:
    """The process in a piece of evidence, as GuardDuty's ProcessDetails, with the ancestors that it names."""
    value = dict_of(dict_of(evidence.get("actor")).get("process"))
    found = _ancestor(value) | {
        "user": dict_of(value.get("user")).get("name"),
        "userId": dict_of(value.get("user")).get("uid"),
        "lineage": [_ancestor(each) for each in dicts_of(value.get("ancestry"))] or None,
    }
    return {name: each for name, each in found.items() if each is not None}


def _ancestor(value: dict[str, Any]) -> dict[str, Any]:
    file = dict_of(value.get("file"))
    found = {
        "name": value.get("name"),
        "pid": value.get("pid"),
        "uuid": value.get("uid"),
        "euid": value.get("euid"),
        "executablePath": file.get("path"),
        "executableSha256": next((each.get("value") for each in dicts_of(file.get("hashes"))), None),
        "startTime": _at(value, "created_time"),
        "parentUuid": dict_of(value.get("parent_process")).get("uid"),
    }
    return {name: each for name, each in found.items() if each is not None}


def _at(info: dict[str, Any], name: str) -> Any:
    return info.get(f"{name}_dt") or info.get(name)


def _type(listed: Any) -> str:
    """GuardDuty's own type among those listed: as it is, or as `TTPs/Execution/Execution:Runtime-NewBinaryExecuted`, or without the purpose."""
    for text in _listed(listed):
        if isinstance(text, str) and _PLAIN_TYPE.fullmatch(text):
            return text
        dashed = _DASHED_TYPE.fullmatch(str(text).rsplit("/", 1)[-1])
        if dashed:
            return f"{dashed[1]}/{dashed[2]}"
        without = _WITHOUT_PURPOSE.fullmatch(str(text))
        if without:
            return f"{without[1].replace(' ', '')}:{without[2]}/{without[3]}"
    raise EvidenceError("names no finding type of GuardDuty", where="types")


def _listed(value: Any) -> list[Any]:
    """A list, also of one that stands alone, as queries take it out."""
    return [value] if isinstance(value, str) else list_of(value)


def _resource(resources: list[tuple[Any, Any, Any]]) -> dict[str, Any]:
    """GuardDuty's Resource from type, id and details of each resource."""
    found: dict[str, Any] = {}
    for kind, uid, details in resources:
        if isinstance(details, str):
            try:
                details = json.loads(details)
            except ValueError:
                details = None
        about, word = dict_of(details), re.sub(r"[^A-Za-z0-9]", "", str(kind)).lower()
        found |= nested(dict_of(about.get("Other")), "")
        found |= {name: each for name, each in about.items() if name in ("kubernetesDetails", "instanceDetails")}
        last = str(uid).rsplit("/", 1)[-1]
        if word == "awsekscluster":
            cluster = dict_of(about.get("AwsEksCluster"))
            found["eksClusterDetails"] = {"name": cluster.get("Name") or last, "arn": cluster.get("Arn") or uid}
        elif word == "awsec2instance":
            found["instanceDetails"] = {**dict_of(found.get("instanceDetails")), "instanceId": last}
        elif word == "awsiamaccesskey":
            key = dict_of(about.get("AwsIamAccessKey"))
            named = {
                "userName": key.get("PrincipalName"),
                "userType": key.get("PrincipalType"),
                "principalId": key.get("PrincipalId"),
            }
            found["accessKeyDetails"] = {name: each for name, each in named.items() if each}
    is_cluster = "eksClusterDetails" in found or "kubernetesDetails" in found
    found["resourceType"] = "EKSCluster" if is_cluster else "Instance" if "instanceDetails" in found else "Other"
    return found


def nested(flat: dict[str, Any], beginning: str) -> dict[str, Any]:
    """Flattened fields as they were: `a/b.0_/c` is member c of the first element of b in a.

    >>> nested({"x/a/b.0_": "1", "x/a/b.1_": "2", "x/c": "3"}, "x/")
    {'a': {'b': ['1', '2']}, 'c': '3'}
    """
    top: dict[str, Any] = {}
    for name, value in flat.items():
        parts = (re.split(r"\.(?=\d+_)", part) for part in name.removeprefix(beginning).split("/"))
        put(top, [step for word, *numbers in parts for step in (word, *(n.rstrip("_") for n in numbers))], value, name)
    return {name: listed(each) for name, each in top.items()}
