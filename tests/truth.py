"""The scorer: what `kit scope` names against a recording's ground truth, asked from outside, through the command line alone.

Counted are affected subjects without `through`. Neither wanted nor wrong, beyond a finding's own list, are the pods in
attacker_touched_pods with their nodes, service accounts, images and roles, and the caller's role of a `Policy:` finding whose
caller is no attacker. Every affected subject needs a why whose ref leads to a line, object or finding of that case.

    python -m tests.truth [RECORDING...]     the recordings that the project ships, and those beside it where they are
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cases import printed, shared
from tests.command import RECORDINGS, SAMPLE, SHARED

# Kind of subject → its list in the ground truth.
LISTS = {
    "pod": "pods",
    "node": "nodes",
    "service_account": "service_accounts",
    "iam_role": "iam_roles",
    "image": "images",
    "secret": "secrets_read",
    "created": "objects_created",
    "deleted": "objects_deleted",
    "changed": "objects_changed",
    "exec": "exec_into",
    "token": "tokens_minted",
}
KINDS = (*LISTS, "calls", "aws_calls")
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"


@dataclass
class Count:
    """How many keys were named rightly, named wrongly, and missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Of what was named, the part that is right; 1 when nothing was named."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Of what is true, the part that was named; 1 when nothing is true."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    def __add__(self, other: Count) -> Count:
        return Count(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)


@dataclass
class Score:
    """A recording's score. offenders: what was named wrongly or missed, by name. baseless: subjects without a why that resolves."""

    recording: str
    counts: dict[str, Count] = field(default_factory=lambda: {kind: Count() for kind in KINDS})
    offenders: list[str] = field(default_factory=list)
    baseless: list[str] = field(default_factory=list)
    affected: int = 0

    @property
    def perfect(self) -> bool:
        """Whether nothing is wrong, missed or baseless."""
        return not self.offenders and not self.baseless

    def compare(self, where: str, kind: str, named: set[str], wanted: set[str]) -> None:
        """Count the keys of one kind of one finding."""
        self.counts[kind] += Count(len(named & wanted), len(named - wanted), len(wanted - named))
        self.offenders += [f"{where}: {kind} {key} is named and should not be" for key in sorted(named - wanted)]
        self.offenders += [f"{where}: {kind} {key} is missed" for key in sorted(wanted - named)]


def score(recording: Path) -> Score:
    """Make a case of a recording, without its ground truth, and compare its scope with that truth."""
    return compared(recording, printed("scope", of=shared(recording, without=("ground_truth.json",))))


def compared(recording: Path, scope: dict[str, Any]) -> Score:
    """The score of a scope (docs/json.md) of a recording."""
    truth = json.loads((recording / "ground_truth.json").read_text())
    found = {finding["id"]: finding for finding in scope["findings"]}
    told = {**truth["findings"], **truth.get("more_findings", {})}
    evidence, reported = Evidence(recording), _reported(recording)
    made = Score("long_incident" if recording == SAMPLE else recording.name)
    for finding_id, wanted in told.items():
        where = f"{made.recording} {wanted['type'].rpartition('/')[2]} {finding_id[:8]}"
        subjects = found.get(finding_id, {}).get("subjects", [])
        if finding_id not in found:
            made.offenders.append(f"{where}: the finding is missing")
        spare = _spare(truth, recording, reported[finding_id], wanted)
        for kind, listed in LISTS.items():
            values = {_key(value) for value in wanted.get(listed) or []}
            named = {one["key"] for one in subjects if one["kind"] == kind and _is_named(one)}
            made.compare(where, kind, named - (spare[kind] - values), values - spare["excused", kind])
        for one in subjects:
            if one["certainty"] == "affected":
                made.affected += 1
                if not any(evidence.has(why["ref"]) for why in one["why"]):
                    made.baseless.append(f"{where}: {one['kind']} {one['key']} has no why whose ref resolves")
    for kind, listed in (("calls", "attacker_calls"), ("aws_calls", "cloudtrail_attacker_events")):
        named = {key for finding_id in told for key in found.get(finding_id, {}).get(kind, [])}
        made.compare(made.recording, kind, named, set(truth.get(listed) or []))
    return made


def _key(value: Any) -> str:
    return str(value["uid"] if isinstance(value, dict) else value)


def _is_named(subject: dict[str, Any]) -> bool:
    return subject["certainty"] == "affected" and not subject["through"]


def _reported(recording: Path) -> dict[str, Any]:
    files = sorted(recording.glob("findings*.json"))
    return {finding["Id"]: finding for file in files for finding in json.loads(file.read_text())["Findings"]}


class _Spare(dict[Any, set[str]]):
    def __missing__(self, kind: Any) -> set[str]:
        return self.setdefault(kind, set())


def _spare(truth: dict[str, Any], recording: Path, finding: dict[str, Any], wanted: dict[str, Any]) -> _Spare:
    """Per kind the keys that may be named without being wanted; under ("excused", kind) those that need not be named either."""
    spare, roles = _Spare(), dict(truth.get("pod_identity_associations") or {})
    for account in json.loads((recording / "cluster" / "serviceaccounts.json").read_text())["items"]:
        about = account["metadata"]
        if ROLE_ANNOTATION in about.get("annotations", {}):
            roles[f"{about['namespace']}/{about['name']}"] = about["annotations"][ROLE_ANNOTATION]
    for pod in truth.get("attacker_touched_pods", []):
        account = f"{pod['namespace']}/{pod['service_account']}"
        spare["pod"].add(pod["uid"])
        spare["node"].add(pod["node"])
        spare["service_account"].add(account)
        spare["image"].update(pod["images"])
        spare["iam_role"].update({roles[account]} if account in roles else ())
    user = finding["Resource"].get("KubernetesDetails", {}).get("KubernetesUserDetails", {}).get("Username")
    attackers = {identity["username"] for identity in truth["attacker"]["identities"]}
    if finding["Type"].startswith("Policy:") and user not in attackers:
        spare["iam_role"].update(wanted.get("iam_roles") or [])
        spare["excused", "iam_role"] = set(wanted.get("iam_roles") or [])
    return spare


def missed_in_silence(recording: Path, scope: dict[str, Any], left: list[dict[str, Any]]) -> Iterable[str]:
    """What the truth has and the scope has neither as a subject, possible ones too, nor as a limit on such subjects.

    What was gone before the log begins is outside the window, which the scope names. The truth's deletions are a watch's, which come
    up to 0.14 s after the API server's own answer.
    """
    begin = min((event["stageTimestamp"] for event in left), default="")
    if begin:
        begin = (datetime.fromisoformat(begin) + timedelta(seconds=0.2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    truth = json.loads((recording / "ground_truth.json").read_text())
    found = {finding["id"]: finding for finding in scope["findings"]}
    for finding_id, wanted in {**truth["findings"], **truth.get("more_findings", {})}.items():
        finding = found[finding_id]
        limited = {kind for limit in finding["limits"] for kind in limit["about"]}
        gone = [pod for pod in wanted["pods"] if pod["deleted"] and pod["deleted"] < begin]
        lived = [pod for pod in wanted["pods"] if pod not in gone]
        outside = {pod["uid"] for pod in gone}
        for name in ("images", "node", "service_account"):
            outside |= _values(gone, name) - _values(lived, name)
        for kind, listed in LISTS.items():
            named = {one["key"] for one in finding["subjects"] if one["kind"] == kind}
            for value in wanted.get(listed) or []:
                key = str(value["uid"] if isinstance(value, dict) else value)
                if key not in named and key not in outside and kind not in limited:
                    yield f"{wanted['type']} {finding_id[:8]}: {kind} {key}"
    calls = {call for finding in scope["findings"] for call in finding["calls"]}
    limits = {kind for finding in scope["findings"] for limit in finding["limits"] for kind in limit["about"]}
    for call in sorted(set(truth["attacker_calls"]) & {event["auditID"] for event in left} - calls):
        if "identity" not in limits:
            yield f"call {call}"


def _values(pods: list[dict[str, Any]], name: str) -> set[str]:
    values = [pod[name] if isinstance(pod[name], list) else [pod[name]] for pod in pods]
    if name == "service_account":
        values = [[f"{pod['namespace']}/{pod[name]}"] for pod in pods]
    return {str(each) for listed in values for each in listed}


class Evidence:
    """What refs may lead to, read from the evidence itself and not from the kit's tables."""

    def __init__(self, recording: Path) -> None:
        self.keys: dict[str, set[str]] = {
            kind: set() for kind in ("audit", "object", "trail", "finding", "aws", "line")
        }
        self.keys["finding"] = set(_reported(recording))
        for path in sorted(path for path in recording.rglob("*.json*") if path.name != "ground_truth.json"):
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if path.name.startswith("audit"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                for number, line in enumerate(data.splitlines(), 1):
                    self.keys["line"].add(f"{digest}:{number}")
                    self._add_event(json.loads(line))
            elif path.name.startswith("cloudtrail"):
                self.keys["trail"] |= {event["eventID"] for event in json.loads(data)["Records"]}
            elif path.parent.name == "cluster":
                self.keys["object"] |= {one["metadata"]["uid"] for one in json.loads(data)["items"]}
            elif path.parent.name == "aws":
                self.keys["aws"] |= set(re.findall(r'"(arn:[^"]+)"', data.decode()))

    def _add_event(self, event: dict[str, Any]) -> None:
        self.keys["audit"].add(event["auditID"])
        self.keys["object"].add((event.get("objectRef") or {}).get("uid", ""))
        for name in ("requestObject", "responseObject"):
            body = event.get(name) or {}
            for one in [body, *(body.get("items") or [])]:
                self.keys["object"].add((one.get("metadata") or {}).get("uid", ""))

    def has(self, ref: str) -> bool:
        """Whether a ref leads to something in the evidence."""
        kind, _, key = ref.partition(":")
        return (key.partition("#")[0] if kind == "finding" else key) in self.keys.get(kind, set()) - {""}


def recordings() -> list[Path]:
    """The recordings that the project ships, and those beside the project that it does not."""
    shipped = [path for path in sorted(RECORDINGS.iterdir()) if (path / "ground_truth.json").exists()]
    names = {path.name for path in shipped} | {"long_incident"}
    beside = [*(SHARED / "data" / "recordings").glob("*"), *(SHARED / "data" / "recordings-2").glob("*")]
    others = [path for path in sorted(beside) if (path / "ground_truth.json").exists()]
    return [*shipped, SAMPLE, *(path for path in others if path.name not in names)]


def _table(scores: list[Score]) -> Iterator[str]:
    yield f"{'kind':16} {'precision':>9} {'recall':>7}  right wrong missed"
    for kind in KINDS:
        count = sum((score.counts[kind] for score in scores), Count())
        numbers = f"{count.right:6} {count.wrong:5} {count.missed:6}"
        yield f"{kind:16} {count.precision:9.3f} {count.recall:7.3f} {numbers}"


def main(arguments: Iterable[str]) -> int:
    """Print the scores; 0 when everything is right."""
    scores = []
    for path in [Path(argument) for argument in arguments] or recordings():
        scores.append(score(path))
        made = scores[-1]
        says = "all right" if made.perfect else f"{len(made.offenders)} wrong or missed, {len(made.baseless)} baseless"
        kinds = [
            f"{kind} {count.precision:.2f}/{count.recall:.2f}"
            for kind, count in made.counts.items()
            if count != Count()
        ]
        print(f"{made.recording}: {says}; precision/recall: {', '.join(kinds)}")
    print(*_table(scores), sep="\n")
    for made in sorted(scores, key=lambda one: -len(one.offenders)):
        print(
            *(f"  ! {line}" for line in [*made.offenders, *made.baseless][:20]),
            sep="\n",
            end="\n" if not made.perfect else "",
        )
    right = sum(count.right for made in scores for count in made.counts.values())
    lost = sum(len(made.offenders) for made in scores)
    affected, baseless = sum(made.affected for made in scores), sum(len(made.baseless) for made in scores)
    print(
        f"{right} right, {lost} wrong or missed; {baseless} of {affected} affected subjects without a why, over {len(scores)} recordings"
    )
    return 0 if all(made.perfect for made in scores) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
