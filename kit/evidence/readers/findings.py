"""GuardDuty findings, whichever way they came. Oddities: GuardDuty updates a finding in place, so one Id may arrive several
times with different updatedAt, and each becomes a row, of which the newest counts; Security Hub and queries drop fields, which
the scope's limits say; findings of other products are rejects. Source: botocore, guardduty 2017-11-28, shape Finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.readers import flattened, sentinel
from kit.evidence.readers.flattened import is_flattened
from kit.evidence.readers.security_hub import finding_in, wrapper_of
from kit.evidence.record import Record
from kit.model.arn import Arn
from kit.model.finding import finding_of
from kit.store import tables

TABLE = tables.FINDINGS.name
TAKEN_AS = tables.FINDINGS.title
TAKES = (
    'GetFindings as the CLI, an SDK or the API prints it: `{"Findings": […]}` in SDK or wire names; a list; one finding; JSON lines',
    "GuardDuty's export to S3 (`.jsonl.gz`)",
    "EventBridge events (`detail`), bare, as PutEvents takes them (`Entries`), or in SNS, SQS and Lambda envelopes",
    "Security Hub findings: ASFF (GetFindings, EventBridge), OCSF 1.1 to 1.6 Detection Findings and 1.0.0-rc.2 Security Findings (JSON, and Parquet of Security Lake)",
    "alerts and archives of Wazuh's AWS module (`data.aws`, `full_log`)",
    "rows of a query over findings, flattened (Athena, CloudWatch Logs), and of Microsoft Sentinel's AWSGuardDuty",
)
LISTS = ("Findings", "findings")

_FROM_FINDING = tuple(
    name for name in tables.FINDINGS.names if name not in ("file", "line", "item", "wrapper", "finding", "event_hash")
)


def takes(record: Record) -> bool:
    """Whether a record is a finding, or stands where findings stand. Raises EvidenceError for finding ids."""
    value = record.value
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("FindingIds", value.get("findingIds")), list):
        raise EvidenceError("holds only finding ids; fetch with `aws guardduty get-findings --finding-ids …`")
    if wrapper_of(value) or is_flattened(value) or sentinel.is_finding_row(value):
        return True
    names = {name.lower() for name in value}
    arn = Arn.of(value.get("Arn", value.get("arn")))
    if arn and arn.service == "guardduty":
        return True
    return (names >= {"type", "severity"} and bool(names & {"resource", "service"})) or _is_fragment(value)


def _is_fragment(value: dict[str, Any]) -> bool:
    """Whether a record is a part of a finding: it names no type, but an action as GuardDuty does."""
    action = value.get("Service", value.get("service"))
    return isinstance(action, dict) and bool(action.keys() & {"DetectorId", "detectorId"})


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row."""
    value = record.value
    wrapper = wrapper_of(value) if isinstance(value, dict) else ""
    if not wrapper and sentinel.is_finding_row(value):
        wrapper, value = flattened.WRAPPER, sentinel.sentinel_finding(value)
    elif not wrapper and isinstance(value, dict) and is_flattened(value):
        wrapper, value = flattened.WRAPPER, flattened.finding_in_row(value)
    elif wrapper:
        value = finding_in(value)
    finding = finding_of(_by_the_guides_path(value))
    text = json_text(finding.raw)
    values = {name: getattr(finding, name) for name in _FROM_FINDING}
    yield values | {"wrapper": wrapper or "GuardDuty", "finding": text, "event_hash": hash_of(text)}


def _by_the_guides_path(value: Any) -> Any:
    """A finding whose members stand where the guide's page on remediation says (`resources.eksClusterDetails.kubernetesDetails`), as the API
    has it; any other as it came."""
    names = {name.lower(): name for name in value} if isinstance(value, dict) else {}
    holder = names.get("resource", names.get("resources", ""))
    about = value.get(holder) if holder else None
    if not isinstance(about, dict):
        return value
    cluster = _named(about, "eksclusterdetails")
    details = _named(about.get(cluster), "kubernetesdetails")
    if not details and holder.lower() != "resources":
        return value
    if details and not _named(about, "kubernetesdetails"):
        inside = about[cluster]
        rest = {name: each for name, each in inside.items() if name != details}
        about = about | {cluster: rest, "kubernetesDetails": inside[details]}
    return {name: each for name, each in value.items() if name != holder} | {"Resource": about}


def _named(value: Any, name: str) -> str:
    """The name, as it is spelled there, of a member of an object; "" for none."""
    return next((own for own in value if own.lower() == name), "") if isinstance(value, dict) else ""
