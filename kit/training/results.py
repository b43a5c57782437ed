"""What a learner gives to the instructor: tries with their hash chain and a name, signed where a key is given; the same as xAPI statements."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit import __version__
from kit.errors import TrainingError
from kit.training.progress import ProgressEntry, checked_chain, read_format
from kit.whole_file import write_whole

RESULTS_FORMAT = 1
PASSED_FROM = 80
"""From which mark on a statement says passed."""
_LEAST_KEY = 16  # bytes
_IRI = "urn:eks-forensic-kit"
_LEARNERS = "https://eks-forensic-kit.invalid/learners"  # an IRL that nobody owns (RFC 2606)


@dataclass(frozen=True)
class Results:
    """The results of one learner, whose chain holds. signed: whether a key was given and it signs them."""

    learner: str
    kit: str
    entries: tuple[ProgressEntry, ...]
    signed: bool

    @property
    def first_tries(self) -> list[ProgressEntry]:
        """The first mark of each lab with each seed, oldest first: later tries know the evidence of what was missed."""
        return [one for one in self.entries if one["kind"] == "graded" and one["try"] == 1]


def write_results(path: Path, learner: str, entries: list[ProgressEntry], key: Path | None = None) -> str:
    """Write the results of a learner as one file, and give the digest over name and chain. Raises TrainingError."""
    if not learner.strip():
        raise TrainingError(
            "the name is empty", where="--name", next="give the name that the results are handed over under"
        )
    if not any(one["kind"] == "graded" for one in entries):
        raise TrainingError("nothing was graded yet", next="`kit train grade FOLDER` gives a mark")
    digest = _digest(learner, entries)
    told: dict[str, Any] = {"format": RESULTS_FORMAT, "learner": learner, "kit": __version__, "digest": digest}
    if key is not None:
        told["signature"] = _signature(digest, key)
    _write(path, told | {"entries": entries})
    return digest


def read_results(path: Path, key: Path | None = None) -> Results:
    """The results in a file. Raises TrainingError for one that was changed, that a newer kit wrote, or that the key did not sign."""
    read = read_format(
        path, "results", RESULTS_FORMAT, "ask for the file again", "use the kit that wrote them", has="have"
    )
    entries = checked_chain(read.get("entries"), path)
    learner = read.get("learner")
    if not isinstance(learner, str) or read.get("digest") != _digest(learner, entries):
        raise TrainingError(
            "the results were changed after they were written", where=str(path), next="ask for the file again"
        )
    if key is not None and not hmac.compare_digest(str(read.get("signature", "")), _signature(read["digest"], key)):
        raise TrainingError(
            "the results are not signed with this key", where=str(path), next="name the key that they were signed with"
        )
    return Results(learner, str(read.get("kit", "")), tuple(entries), key is not None)


def write_statements(path: Path, learner: str, entries: list[ProgressEntry]) -> int:
    """Write each mark as an xAPI statement, and give how many. Source: xAPI 1.0.3, Part Two, 2.4 (statement properties)."""
    made = [_statement(learner, one) for one in entries if one["kind"] == "graded"]
    _write(path, made)
    return len(made)


def _statement(learner: str, entry: ProgressEntry) -> dict[str, Any]:
    passed = entry["mark"] >= PASSED_FROM and not entry["harm"]
    verb = "passed" if passed else "failed"
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_IRI}:{learner}:{entry['digest']}")),
        "actor": {"objectType": "Agent", "account": {"homePage": _LEARNERS, "name": learner}},
        "verb": {"id": f"http://adlnet.gov/expapi/verbs/{verb}", "display": {"en": verb}},
        "object": {
            "objectType": "Activity",
            "id": f"{_IRI}:lab:{entry['lab']}",
            "definition": {"type": "http://adlnet.gov/expapi/activities/assessment", "name": {"en": entry["lab"]}},
        },
        "result": {
            "score": {"scaled": entry["mark"] / 100, "raw": entry["mark"], "min": 0, "max": 100},
            "success": passed,
            "completion": True,
            "duration": f"PT{entry['minutes']}M",
            "extensions": {
                f"{_IRI}:{name}": entry[name] for name in ("seed", "try", "harm", "lab_digest", "kit", "digest")
            },
        },
        "timestamp": entry["at"],
        "version": "1.0.3",
    }


def _digest(learner: str, entries: list[ProgressEntry]) -> str:
    last = entries[-1]["digest"] if entries else ""
    return hashlib.sha256(f"{learner}\n{last}".encode()).hexdigest()


def _signature(digest: str, key: Path) -> str:
    """The HMAC of a digest (RFC 2104), with SHA-256."""
    try:
        secret = key.read_bytes().strip()
    except OSError as error:
        raise TrainingError(
            f"the key cannot be read: {error.strerror}", where=str(key), next="name another file with --key"
        ) from None
    if len(secret) < _LEAST_KEY:
        raise TrainingError(
            f"the key has fewer than {_LEAST_KEY} bytes",
            where=str(key),
            next="make one: head -c 32 /dev/urandom > FILE",
        )
    return hmac.new(secret, digest.encode(), "sha256").hexdigest()


def _write(path: Path, told: Any) -> None:
    try:
        write_whole(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise TrainingError(
            f"cannot be written: {error.strerror}", where=str(path), next="choose another place"
        ) from None
