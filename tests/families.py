"""A case for each family of playbooks: a recording and a finding of it, and what takes the telling evidence away from it again.

Families that no recording has a finding of get one of the same kind under their own type: what a type is called decides which questions are
asked, never what the evidence says.
"""

from __future__ import annotations

import copy
import gzip
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kit.case.case import Case
from kit.questions.question import Answer
from kit.training.in_account import as_of_account
from tests.command import RECORDINGS, SAMPLE, kit_json
from tests.variation import Event

Item = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """The case of a family. finding: the type that the finding has in the recording. sources: what is taken away for "cannot tell".

    prepared: what is done to the recording first.
    """

    recording: str
    finding: str
    sources: tuple[str, ...] = ("audit.jsonl.gz",)
    ends_with_a_call: bool = False


def evidence_of(family: Family, finding_type: str, folder: Path) -> tuple[Path, str]:
    """The evidence of a family's case, in which the finding has the type, and the finding's Id."""
    shutil.rmtree(folder, ignore_errors=True)
    source = SAMPLE if family.recording == "sample" else RECORDINGS / family.recording
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("ground_truth.json"))
    every = [one for path in sorted(folder.glob("findings*.json")) for one in json.loads(path.read_text())["Findings"]]
    chosen = str(next(one["Id"] for one in every if one["Type"] == family.finding))

    def typed(one: Item) -> Item:
        return as_of_account(one, finding_type) | {"Type": finding_type} if one["Id"] == chosen else one

    change_findings(folder, lambda every: [typed(one) for one in every])
    return folder, chosen


def answer(evidence: Path, finding_id: str, question: str) -> Answer:
    """The answer to a question about a finding, from evidence as it is now."""
    case = evidence.with_name("case")
    shutil.rmtree(case, ignore_errors=True)
    kit_json("new", case, evidence)
    return Case(case).answer(question, finding_id)


# ── changes to evidence in place ────────────────────────────────────────────────────────────────────────────────────


def change_findings(evidence: Path, change: Callable[[list[Item]], list[Item]]) -> None:
    """Change the findings of each findings file."""
    for path in sorted(evidence.glob("findings*.json")):
        path.write_text(json.dumps({"Findings": change(json.loads(path.read_text())["Findings"])}))


def change_log(evidence: Path, change: Callable[[list[Event]], list[Event]]) -> None:
    """Change the audit events."""
    log = evidence / "audit.jsonl.gz"
    events = change([orjson.loads(line) for line in gzip.decompress(log.read_bytes()).splitlines()])
    log.write_bytes(gzip.compress(b"".join(orjson.dumps(event) + b"\n" for event in events), 1))


def change_trail(evidence: Path, keep: Callable[[Item], bool]) -> None:
    """Keep some CloudTrail events."""
    path = evidence / "cloudtrail.json.gz"
    read = orjson.loads(gzip.decompress(path.read_bytes()))
    read["Records"] = [one for one in read["Records"] if keep(one)]
    path.write_bytes(gzip.compress(orjson.dumps(read), 1))


def drop(evidence: Path, answer: Answer) -> None:
    """Take out the events that an answer rests on, and the other findings that are about these very calls."""
    audit = {ref.removeprefix("audit:") for ref in answer.rests_on if ref.startswith("audit:")}
    trail = {ref.removeprefix("trail:") for ref in answer.rests_on if ref.startswith("trail:")}
    gone = list[Event]()

    def without(events: list[Event]) -> list[Event]:
        gone.extend(event for event in events if event["auditID"] in audit)
        return [event for event in events if event["auditID"] not in audit]

    change_log(evidence, without)
    change_trail(evidence, lambda one: one["eventID"] not in trail)
    kept_id = answer.finding.id

    change_findings(evidence, lambda every: [one for one in every if one["Id"] == kept_id or not _is_about(one, gone)])


def _is_about(finding: Item, events: list[Event]) -> bool:
    """Whether a finding's call is one of these."""
    call = _call_of(finding)
    return any((call.get("Verb"), call.get("RequestUri")) == (event["verb"], event["requestURI"]) for event in events)


def _call_of(finding: Item) -> Item:
    return (finding.get("Service", {}).get("Action") or {}).get("KubernetesApiCallAction") or {}


def from_inside(evidence: Path, answer: Answer) -> None:
    """The calls that came from outside never happened: all from these addresses are gone but the finding's own, which a person made."""
    addresses = {row["From"] for row in answer.rows}
    findings = [one for path in evidence.glob("findings*.json") for one in json.loads(path.read_text())["Findings"]]
    own = next(one for one in findings if one["Id"] == answer.finding.id)
    person = dict[str, Any]()

    def kept(events: list[Event]) -> list[Event]:
        people = (one["user"] for one in events if "arn" in (one["user"].get("extra") or {}))
        person.update(next(one for one in people if not one["username"].startswith("system:")))
        found = list[Event]()
        for one in events:
            if (one.get("sourceIPs") or [None])[-1] not in addresses:
                found.append(one)
            elif _is_about(own, [one]):
                found.append(one | {"user": person})
        return found

    def by_a_person(finding: Item) -> Item:
        if _call_of(finding):
            finding["Resource"]["KubernetesDetails"]["KubernetesUserDetails"] = {
                "Username": person["username"], "Uid": person["uid"], "Groups": person["groups"],
            }  # fmt: skip
        return finding

    change_log(evidence, kept)
    change_trail(evidence, lambda one: one.get("sourceIPAddress") not in addresses)
    change_findings(evidence, lambda every: [by_a_person(one) for one in every if one["Id"] == answer.finding.id])


def harmless(evidence: Path, answer: Answer) -> None:
    """No pod is privileged, shares a host's namespace or mounts a path of it."""

    def tame(text: str) -> str:
        text = re.sub(r'"privileged": ?true', '"privileged": false', text)
        text = re.sub(r'"(hostPID|hostNetwork|hostIPC)": ?true', r'"\1": false', text)
        return re.sub(r'"hostPath": ?\{[^}]*\}', '"emptyDir": {}', text)

    change_log(evidence, lambda events: [json.loads(tame(json.dumps(event))) for event in events])
    for path in (evidence / "cluster").glob("*.json"):
        path.write_text(tame(path.read_text()))


def other_image(evidence: Path, answer: Answer) -> None:
    """The other pods run another image."""
    pods = {str(row["Pod"]).partition("/")[2] for row in answer.rows}
    images = {str(row["Image"]) for row in answer.rows}

    def changed(text: str) -> str:
        for image in images if any(f'"{pod}"' in text for pod in pods) else ():
            text = text.replace(image, "registry.example.com/other:1")
        return text

    change_findings(evidence, lambda every: [one for one in every if one["Id"] == answer.finding.id])
    change_log(evidence, lambda events: [json.loads(changed(json.dumps(event))) for event in events])
    for path in (evidence / "cluster").glob("pods.json"):
        listed = json.loads(path.read_text())
        listed["items"] = [json.loads(changed(json.dumps(one))) for one in listed["items"]]
        path.write_text(json.dumps(listed))


def refuse(evidence: Path, answer: Answer) -> None:
    """The benign twin: the same calls were refused."""
    audit = {ref.removeprefix("audit:") for ref in answer.rests_on if ref.startswith("audit:")}
    no = {"code": 403, "status": "Failure", "reason": "Forbidden", "metadata": {}}

    changed = list[Event]()

    def refused(event: Event) -> Event:
        if event["auditID"] not in audit:
            return event
        changed.append(event)
        return {name: value for name, value in event.items() if name not in ("responseObject", "requestObject")} | {
            "responseStatus": no
        }

    def told(finding: Item) -> Item:
        if _is_about(finding, changed):
            _call_of(finding)["StatusCode"] = 403
        return finding

    change_log(evidence, lambda events: [refused(event) for event in events])
    change_findings(evidence, lambda every: [told(one) for one in every])
    change_trail(evidence, lambda one: f"trail:{one['eventID']}" not in answer.rests_on)


def call_at_the_end(evidence: Path) -> str:
    """The attacker's last call once more, just before the log ends; its auditID."""
    refs = Case(evidence.with_name("case")).calls["ref"]
    last, audit_id = refs.iloc[-1].removeprefix("audit:"), "00000000-0000-4000-8000-000000000001"

    def longer(events: list[Event]) -> list[Event]:
        again = copy.deepcopy(next(one for one in events if one["auditID"] == last))
        ends = max(one["requestReceivedTimestamp"] for one in events)
        return [*events, again | {"auditID": audit_id, "requestReceivedTimestamp": ends, "stageTimestamp": ends}]

    change_log(evidence, longer)
    return audit_id


TAKE_OUT: dict[str, Callable[[Path, Answer], None]] = {
    "credentials_used_outside": from_inside,
    "node_reached": harmless,
    "image_used_elsewhere": other_image,
}
"""Question → what takes away what it rests on, where dropping the events would leave other traces of the same."""

_OUT = ("audit.jsonl.gz", "cloudtrail.json.gz")
FAMILIES = {
    "anonymous-access": Family("anonymous_access", "Persistence:Kubernetes/SuccessfulAnonymousAccess"),
    "anonymous-access-granted": Family("anonymous_access", "Policy:Kubernetes/AnonymousAccessGranted"),
    "attack-sequence": Family("sample", "AttackSequence:EKS/CompromisedCluster", ends_with_a_call=True),
    "attack-sequence-in-aws": Family("sample", "AttackSequence:EKS/CompromisedCluster", ends_with_a_call=True),
    "bad-domain": Family("stolen_sa_token", "Execution:Runtime/ReverseShell"),
    "caller-credential-access": Family("exec_kube_system", "Execution:Kubernetes/ExecInKubeSystemPod"),
    "caller-defense-evasion": Family(
        "vanished_deployment", "PrivilegeEscalation:Kubernetes/AnomalousBehavior.WorkloadDeployed!PrivilegedContainer"
    ),
    "caller-discovery": Family("access_entry_secrets", "Discovery:Kubernetes/TorIPCaller"),
    "caller-impact": Family("anonymous_access", "Discovery:Kubernetes/SuccessfulAnonymousAccess"),
    "caller-persistence": Family("exec_kube_system", "Execution:Kubernetes/ExecInKubeSystemPod"),
    "command-and-control": Family("stolen_sa_token", "Execution:Runtime/ReverseShell", _OUT),
    "command-in-pod": Family("sample", "Execution:Kubernetes/AnomalousBehavior.ExecInPod", _OUT),
    "container-escape": Family("vanished_deployment", "Backdoor:Runtime/C&CActivity.B!DNS"),
    "cryptomining": Family("stolen_sa_token", "Execution:Runtime/ReverseShell"),
    "dashboard-exposed": Family("anonymous_access", "Policy:Kubernetes/AnonymousAccessGranted"),
    "data-drop": Family("exec_kube_system", "Execution:Runtime/SuspiciousCommand"),
    "default-account-admin": Family("stolen_sa_token", "Execution:Runtime/ReverseShell", _OUT),
    "generic": Family("sample", "CredentialAccess:Kubernetes/MaliciousIPCaller", ends_with_a_call=True),
    "malware-file": Family("sample", "Execution:Kubernetes/MaliciousFile"),
    "metadata-rebind": Family("stolen_sa_token", "Execution:Runtime/ReverseShell", _OUT),
    "new-binary": Family("stolen_sa_token", "Execution:Runtime/SuspiciousTool"),
    "node-traffic": Family("sample", "Persistence:Runtime/SensitiveFileModified", _OUT),
    "permission-checked": Family("stolen_sa_token", "Discovery:Kubernetes/AnomalousBehavior.PermissionChecked"),
    "permissions-granted": Family("exec_kube_system", "Execution:Kubernetes/ExecInKubeSystemPod"),
    "privileged-workload": Family("stolen_sa_token", "Execution:Kubernetes/AnomalousBehavior.WorkloadDeployed", _OUT),
    "process-injection": Family("vanished_deployment", "Backdoor:Runtime/C&CActivity.B!DNS"),
    "role-session-outside": Family("sample", "CredentialAccess:Kubernetes/MaliciousIPCaller", _OUT),
    "secrets-accessed": Family("exec_kube_system", "CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed"),
    "sensitive-file": Family("exec_kube_system", "Execution:Runtime/SuspiciousCommand"),
    "suspicious-command": Family("stolen_sa_token", "Discovery:Runtime/SuspiciousCommand"),
    "tor-from-pod": Family("stolen_sa_token", "Execution:Runtime/ReverseShell"),
    "workload-deployed": Family("vanished_deployment", "Execution:Kubernetes/AnomalousBehavior.WorkloadDeployed"),
}
