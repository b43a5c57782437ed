"""The evidence of a case of one's own, in the form of a recording and with all secrets masked.

What a recording has no file for (sign-ins, what ran on nodes) is left out; whether the scope needs it is found out by `new_lab`.
Sources: `kubectl get -o json` (a List), CloudTrail log files (`Records`), GuardDuty GetFindings (`Findings`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from kit.case.case import Case
from kit.errors import CaseError, TrainingError
from kit.evidence.raw import Raw, evidence_file
from kit.model.kubernetes import plural
from kit.model.masking import Mask
from kit.words import counted

_AUDIT, _TRAIL, _FINDINGS = "audit.jsonl.gz", "cloudtrail.json.gz", "findings.json"
MOST_EVENTS = 100_000
"""Audit events of a lab: more of them no learner looks through, and each start of the lab changes them all."""
_AWS, _AUTH = "AWS description", "aws-auth"
_BODIES = ("requestObject", "responseObject")


def evidence_of(case: Case, asked: str) -> dict[str, str]:
    """Name → text of each file that a recording of this case would have, the finding that is asked about first. Raises TrainingError."""
    made = _Evidence(case)
    texts = {_FINDINGS: made.findings(asked), _AUDIT: made.audit(), **made.dump(), **made.aws()}
    trail = made.trail()
    return {name: text for name, text in {**texts, _TRAIL: trail}.items() if text}


class _Evidence:
    def __init__(self, case: Case) -> None:
        self._case, self._raw = case, Raw(case.path)
        self._mask = Mask()  # a key of its own: what is masked in the case and in the lab is not seen to be equal

    def findings(self, asked: str) -> str:
        rows = self._case.store.rows(
            "SELECT id, finding FROM findings ORDER BY id <> $asked, created_at, id", asked=asked
        )
        return _text({"Findings": [self._masked(json.loads(row["finding"])) for row in rows]})

    def audit(self) -> str:
        rows = self._case.store.rows("SELECT file, item FROM audit ORDER BY received_at, stage_at, file, item")
        if not rows:
            raise TrainingError(
                "this case has no audit log, and a lab asks for calls",
                where=str(self._case.path),
                next="make the lab of a case with its audit log",
            )
        if len(rows) > MOST_EVENTS:
            raise TrainingError(
                f"this case has {counted(len(rows), 'audit event')}, and a lab has {MOST_EVENTS} at most",
                where=str(self._case.path),
                next="make a case of the hours around the attack, mark that, and make the lab of it",
            )
        return "".join(f"{_text(self._masked(event))}\n" for event in self._records(rows, "auditID"))

    def trail(self) -> str:
        rows = self._case.store.rows("SELECT file, item FROM trail ORDER BY event_at, file, item")
        return _text({"Records": [*map(self._masked, self._records(rows, "eventID"))]}) if rows else ""

    def dump(self) -> dict[str, str]:
        """The objects of the dump, a file for each kind, named as kubectl names it."""
        rows = self._case.store.rows(
            "SELECT api_version, kind, object FROM objects WHERE NOT starts_with(api_version, 'aws:')"
            " AND NOT starts_with(api_version, 'kit:') ORDER BY kind, api_version, file, item"
        )
        listed = dict[str, list[Any]]()
        named = dict[str, str]()
        for row in rows:
            name = plural(row["kind"])
            group = row["api_version"].rpartition("/")[0]
            if named.setdefault(name, group) != group:
                name = f"{name}.{group or 'core'}"
            item = {"apiVersion": row["api_version"], "kind": row["kind"], **json.loads(row["object"])}
            listed.setdefault(name, []).append(self._masked(item))
        return {
            f"cluster/{name}.json": _text({"apiVersion": "v1", "kind": "List", "items": items})
            for name, items in listed.items()
        }

    def aws(self) -> dict[str, str]:
        """What AWS's APIs answered, file by file."""
        texts = dict[str, str]()
        for entry in self._case.store.ledger:
            if entry["taken_as"] != _AWS:
                continue
            name = f"aws/{PurePosixPath(entry['path']).name}"
            try:
                read = json.loads(evidence_file(self._case.path, entry["path"]).read_bytes())
            except (OSError, ValueError, CaseError):
                raise TrainingError(
                    "is no JSON file of its own, as a lab keeps what AWS answered",
                    where=entry["path"],
                    next="unpack it, and make the case again",
                ) from None
            if name in texts:
                raise TrainingError(
                    f"two files are named {name}",
                    where=entry["path"],
                    next="name one of them otherwise, and make the case again",
                )
            texts[name] = _text(self._masked(read))
        return texts

    def _records(self, rows: list[dict[str, Any]], key: str) -> Iterator[dict[str, Any]]:
        """The records of rows, in their order."""
        items = dict[str, set[int]]()
        for row in rows:
            items.setdefault(row["file"], set()).add(row["item"])
        texts = {file: self._raw.texts(file, of) for file, of in items.items()}
        for row in rows:
            text = texts[row["file"]].get(row["item"], "")
            read = json.loads(text) if text.startswith("{") else {}
            inner = read.get("CloudTrailEvent")  # as lookup-events gives it
            read = json.loads(inner) if isinstance(inner, str) else read
            if key not in read:
                raise TrainingError(
                    f"record {row['item']} has no {key}: it is in a form that labs do not keep",
                    where=row["file"],
                    next="bring the log as AWS writes it, and make the case again",
                )
            yield read

    def _masked(self, value: Any) -> Any:
        """A record without what is secret. aws-auth stays: who is let in is no secret, and the scope hangs on it."""
        masked = self._mask.record(value)
        about = value.get("objectRef") or {}
        bodies = (
            [(value.get(name), masked.get(name), about) for name in _BODIES]
            if "auditID" in value
            else [(value, masked, {})]
        )
        for body, shown, named in bodies:
            if isinstance(body, dict) and isinstance(shown, dict):
                name = (body.get("metadata") or {}).get("name") or named.get("name")
                kind = body.get("kind") or ("ConfigMap" if named.get("resource") == "configmaps" else "")
                if (name, kind) == (_AUTH, "ConfigMap") and isinstance(body.get("data"), dict):
                    shown["data"] = {key: self._mask.text(str(text)) for key, text in body["data"].items()}
        return masked


def _text(value: Any) -> str:
    """JSON as the API server logs it, without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
