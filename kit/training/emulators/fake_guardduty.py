"""GuardDuty, all of it: moto has no findings."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from kit.training.emulators.aws_fakes import (
    Account,
    Call,
    Detector,
    Record,
    Refusal,
    fake,
    missing,
    page,
)


def bad_request(message: str) -> Refusal:
    """What GuardDuty says of all that it does not take."""
    return Refusal("BadRequestException", 400, f"The request is rejected because {message}")


def detector_of(account: Account, call: Call) -> Detector:
    """The detector that a call names. Raises Refusal where there is none."""
    name = call.parameters["DetectorId"]
    if name not in account.detectors:
        raise bad_request("the input detectorId is not owned by the current account.")
    return account.detectors[name]


@fake("guardduty:CreateDetector")
def _(account: Account, call: Call) -> Record:
    if account.detectors:
        raise bad_request("a detector already exists for the current account.")
    name = uuid.uuid4().hex
    record = {"CreatedAt": account.now().isoformat(), "FindingPublishingFrequency": "SIX_HOURS"} | call.parameters
    account.detectors[name] = Detector(record | {"Status": "ENABLED" if call.parameters["Enable"] else "DISABLED"})
    return {"DetectorId": name}


@fake("guardduty:ListDetectors")
def _(account: Account, call: Call) -> Record:
    return page(account, call, "DetectorIds", account.detectors)


@fake("guardduty:GetDetector")
def _(account: Account, call: Call) -> Record:
    return detector_of(account, call).record


@fake("guardduty:ListMembers", "guardduty:GetAdministratorAccount")
def _(account: Account, call: Call) -> Record:
    """Of an account alone: it has no members and no administrator."""
    detector_of(account, call)
    return page(account, call, "Members", []) if call.operation.endswith("Members") else {}


COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": lambda value, wanted: str(value) in wanted,
    "Neq": lambda value, wanted: str(value) not in wanted,
    "Gt": lambda value, wanted: value > wanted,
    "Gte": lambda value, wanted: value >= wanted,
    "Lt": lambda value, wanted: value < wanted,
    "Lte": lambda value, wanted: value <= wanted,
}
LONG_NAMES = {"Equals": "Eq", "NotEquals": "Neq", "GreaterThan": "Gt", "GreaterThanOrEqual": "Gte", "LessThan": "Lt", "LessThanOrEqual": "Lte"}  # fmt: skip


def capitalised(value: Any) -> Any:
    """A finding with the names of botocore's model, which differ from those on the wire in their first letter."""
    if isinstance(value, dict):
        return {name[0].upper() + name[1:]: capitalised(inner) for name, inner in value.items()}
    return [capitalised(inner) for inner in value] if isinstance(value, list) else value


def matches(finding: Record, criteria: Record) -> bool:
    """Whether a finding meets criteria such as `service.archived`; times are compared in milliseconds, as GuardDuty does."""
    for path, condition in criteria.get("Criterion", {}).items():
        value: Any = finding
        for name in path.split("."):
            value = value.get(name[0].upper() + name[1:]) if isinstance(value, dict) else None
        value = str(value).lower() if isinstance(value, bool) else value
        if path in ("updatedAt", "createdAt") and value:
            value = datetime.fromisoformat(value).timestamp() * 1000
        for name, wanted in condition.items():
            if value is None or not COMPARED[LONG_NAMES.get(name, name)](value, wanted):
                return False
    return True


@fake("guardduty:ListFindings")
def _(account: Account, call: Call) -> Record:
    findings, criteria = detector_of(account, call).findings, call.parameters.get("FindingCriteria", {})
    return page(account, call, "FindingIds", [name for name, finding in findings.items() if matches(finding, criteria)])


@fake("guardduty:GetFindings")
def _(account: Account, call: Call) -> Record:
    findings = detector_of(account, call).findings
    return {"Findings": [findings[name] for name in call.parameters["FindingIds"] if name in findings]}


@fake("guardduty:ArchiveFindings", "guardduty:UnarchiveFindings", "guardduty:UpdateFindingsFeedback")
def _(account: Account, call: Call) -> Record:
    findings = detector_of(account, call).findings
    for name in set(call.parameters["FindingIds"]) & set(findings):
        if "Feedback" in call.parameters:
            findings[name]["Service"]["UserFeedback"] = call.parameters["Feedback"]
        else:
            findings[name]["Service"]["Archived"] = call.operation == "guardduty:ArchiveFindings"
    return {}


@fake("guardduty:CreateFilter", "guardduty:GetFilter", "guardduty:UpdateFilter", "guardduty:DeleteFilter", "guardduty:ListFilters")  # fmt: skip
def _(account: Account, call: Call) -> Record:
    filters, given = detector_of(account, call).filters, call.parameters
    if call.operation.endswith("ListFilters"):
        return page(account, call, "FilterNames", filters)
    name = given.get("Name") or given["FilterName"]
    if call.operation.endswith("CreateFilter"):
        if name in filters:
            raise bad_request("a filter with the given name already exists.")
        filters[name] = {"Action": "NOOP", "Rank": len(filters) + 1}
    if name not in filters:
        raise bad_request("the input filterName does not exist.")
    if call.operation.endswith("DeleteFilter"):
        del filters[name]
        return {}
    if not call.operation.endswith("GetFilter"):
        filters[name] |= {k: v for k, v in given.items() if k not in ("DetectorId", "FilterName", "ClientToken")}
    return filters[name] | {"Name": name}


@fake("guardduty:StartMalwareScan")
def _(account: Account, call: Call) -> Record:
    token, resource = call.parameters.get("ClientToken"), call.parameters["ResourceArn"]
    if not account.detectors:
        raise bad_request("GuardDuty is not enabled in the current account.")
    if token not in account.scan_tokens:
        hour_ago = account.now() - timedelta(hours=1)
        if any(one["ResourceArn"] == resource and one["ScanStartedAt"] > hour_ago for one in account.scans.values()):
            raise Refusal(
                "ConflictException",
                409,
                "A scan was started on this resource recently. You can request a scan on the same resource one hour after the previous scan start time.",
            )
        name = account.scan_tokens[str(token)] = uuid.uuid4().hex
        account.scans[name] = {
            "ScanId": name,
            "DetectorId": next(iter(account.detectors)),
            "ResourceArn": resource,
            "ResourceType": "EC2_INSTANCE",
            "ScanStatus": "RUNNING",
            "ScanType": "ON_DEMAND",
            "ScanStartedAt": account.now(),
        }
    return {"ScanId": account.scan_tokens[str(token)]}


@fake("guardduty:GetMalwareScan", "guardduty:ListMalwareScans", "guardduty:DescribeMalwareScans")
def _(account: Account, call: Call) -> Record:
    for name, scan in account.scans.items():
        if scan["ScanStatus"] == "RUNNING" and account.done(name, call):
            scan |= {"ScanStatus": "COMPLETED", "ScanCompletedAt": account.now()}
            scan |= {"ScanResultDetails": {"ScanResultStatus": "NO_THREATS_FOUND", "ScanResult": "CLEAN"}}
    if call.operation.endswith("GetMalwareScan"):
        if call.parameters["ScanId"] not in account.scans:
            raise missing("The requested resource can't be found.")
        return account.scans[call.parameters["ScanId"]]
    rows = list(account.scans.values())
    for criterion in call.parameters.get("FilterCriteria", {}).get("FilterCriterion") or call.parameters.get("FilterCriteria", {}).get("ListMalwareScansFilterCriterion", []):  # fmt: skip
        name = criterion.get("CriterionKey") or criterion["ListMalwareScansCriterionKey"]
        member = {"EC2_INSTANCE_ARN": "ResourceArn"}.get(name) or name.title().replace("_", "")
        wanted = criterion["FilterCondition"].get("EqualsValue")
        rows = [one for one in rows if wanted in (None, one.get(member))]
    if call.operation.endswith("DescribeMalwareScans"):
        detector_of(account, call)
        rows = [one | {"AccountId": account.number, "ScanStartTime": one["ScanStartedAt"], "ScanEndTime": one.get("ScanCompletedAt"), "ResourceDetails": {"InstanceArn": one["ResourceArn"]}} for one in rows]  # fmt: skip
    return page(account, call, "Scans", rows)
