"""What a lab is worked on with: its recording as a seed has it, the finding that is asked about, and the truth about both."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from kit.playbooks.playbook import finding_types, playbook_of
from kit.training.in_account import as_of_account
from kit.training.lab import Lab
from kit.training.variation import TRUTH, Recording, enforcing, written

_SEVERITY = {"Critical": 9.0, "High": 8.0, "Medium": 5.0, "Low": 2.0, "Variable": 5.0}


class Material:
    """The case of a lab under a seed, with its truth: what only the grader has. recording: the lab's under that seed, where it is at hand."""

    def __init__(self, lab: Lab, seed: int, recording: Recording | None = None) -> None:
        self.lab, self.seed = lab, seed
        self._recording = recording or Recording(lab.case.folder, seed, lab.case.decoys_folder)
        self.truth = self._recording.truth
        self.finding = self._chosen()
        self.finding_id = str(self.finding["Id"])
        self.about: dict[str, Any] = self.told[self.finding_id]

    @property
    def told(self) -> dict[str, dict[str, Any]]:
        """What is true of each finding, by its Id."""
        return {**self.truth["findings"], **self.truth.get("more_findings", {})}

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The audit events of the recording, those too that the learner does not get."""
        names = [name for name in self._recording.names if name.startswith("audit")]
        return [orjson.loads(line) for name in names for line in self._recording.text(name).split("\n") if line]

    @property
    def texts(self) -> dict[str, str]:
        """Name → text of the recording's JSON files, without its truth."""
        names = [name for name in self._recording.names if name.endswith(".json") and name != TRUTH]
        return {name: self._text(name) for name in names}

    @cached_property
    def hostile_events(self) -> list[dict[str, Any]]:
        """The audit events of the attacker's calls."""
        hostile = set(self.truth["attacker_calls"])
        return [event for event in self.events if event["auditID"] in hostile]

    @cached_property
    def families(self) -> set[str]:
        """The families of the finding that is asked about and of the others of the recording."""
        return {
            playbook_of(str(one)).family
            for one in (self.finding["Type"], *(told["type"] for told in self.told.values()))
        }

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """The findings of the recording, the one that is asked about as the lab has it."""
        names = [name for name in self._recording.names if _has_findings(name)]
        every = [one for name in names for one in json.loads(self._recording.text(name))["Findings"]]
        return [self.finding if one["Id"] == self.finding["Id"] else one for one in every]

    @cached_property
    def expected(self) -> dict[str, Any]:
        """A finding like the one that is asked about, of a call of somebody of your own: chosen by the seed from the calls of others."""
        theirs = {str(one["username"]) for one in self.truth["attacker"]["identities"]}
        made = copy.deepcopy(self.finding)
        call = made["Service"]["Action"]["KubernetesApiCallAction"]
        own = [
            event
            for event in self.events
            if not event["user"]["username"].startswith(("system:", "eks:"))
            and event["user"]["username"] not in theirs
            and (event.get("objectRef") or {}).get("resource")
            and event["sourceIPs"][0] not in self.truth["attacker"]["source_ips"]
        ]
        close = [event for event in own if event["objectRef"]["resource"] == call.get("Resource")] or own
        close = [event for event in close if event["verb"] == call.get("Verb")] or close
        event = self.chance("expected").choice(close)
        user, about, address = event["user"], event["objectRef"], event["sourceIPs"][0]
        details = made["Resource"]["KubernetesDetails"]["KubernetesUserDetails"]
        details |= {"Username": user["username"], "Groups": user.get("groups", []), "Uid": user.get("uid", "")}
        call |= {
            "RequestUri": event["requestURI"].partition("?")[0],
            "Verb": event["verb"],
            "SourceIps": [address],
            "UserAgent": event.get("userAgent", ""),
            "RemoteIpDetails": {"IpAddressV4": address},
            "StatusCode": (event.get("responseStatus") or {}).get("code", 200),
            "Resource": about["resource"],
            "Namespace": about.get("namespace", ""),
            "ResourceName": about.get("name", ""),
        }
        made["Resource"].pop("AccessKeyDetails", None)
        made["Id"] = hashlib.sha256(f"{self.seed}:{self.finding_id}:expected".encode()).hexdigest()[:32]
        made["Arn"] = f"{made['Arn'].rpartition('/')[0]}/{made['Id']}"
        made["Service"] |= dict.fromkeys(("EventFirstSeen", "EventLastSeen"), event["requestReceivedTimestamp"])
        return made

    def objects(self, resource: str) -> list[dict[str, Any]]:
        """The objects of one kind in the dump."""
        name = f"cluster/{resource}.json"
        return list(json.loads(self._text(name))["items"]) if name in self._recording.names else []

    def chance(self, what: str) -> random.Random:
        """Chance for one purpose: the same for a lab and a seed."""
        return random.Random(f"{self.lab.name}:{self.seed}:{what}")  # noqa: S311 - not for secrecy

    def write(self, folder: Path) -> None:
        """The learner's evidence, without truth and without what the lab takes away."""
        for name in self._recording.names:
            if name != TRUTH and not self._is_taken_away(name):
                text = json.dumps({"Findings": self._findings(name)}) if _has_findings(name) else self._text(name)
                written(text, folder / name)

    def _text(self, name: str) -> str:
        """A file of the recording; the lab's cluster enforces network policies, as pods are isolated in it."""
        return enforcing(name, self._recording.text(name))

    def _is_taken_away(self, name: str) -> bool:
        return any(name == one or name.startswith(f"{one}/") for one in self.lab.case.without)

    def _findings(self, name: str) -> list[dict[str, Any]]:
        listed = json.loads(self._recording.text(name))["Findings"]
        made = [self._as_in_lab(one) if one["Id"] == self.finding_id else one for one in listed]
        return [*made, self.expected] if self.lab.case.expected else made

    def _chosen(self) -> dict[str, Any]:
        names = [name for name in self._recording.names if _has_findings(name)]
        every = [one for name in names for one in json.loads(self._recording.text(name))["Findings"]]
        return self._as_in_lab(next(one for one in every if one["Type"] == self.lab.case.finding))

    def _as_in_lab(self, finding: dict[str, Any]) -> dict[str, Any]:
        """The finding under the type that the lab gives it, with AWS's mark of a sample where the lab puts it."""
        case = self.lab.case
        if case.as_type:
            known = finding_types()[case.as_type]
            finding = as_of_account(finding, known.type) | {
                "Type": known.type, "Title": known.summary, "Description": known.summary, "Severity": _SEVERITY[known.severity],
            }  # fmt: skip
        if case.sample:
            info = {"Value": '{"sample": true}', "Type": "default"}
            finding = finding | {"Service": finding["Service"] | {"AdditionalInfo": info}}
        return finding


def _has_findings(name: str) -> bool:
    return name.startswith("findings")
