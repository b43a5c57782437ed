"""What is new in a case since a moment of its evidence, or since fewer files of evidence: what came, and which statements changed by what."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from kit.case.case import Case
from kit.errors import CallError
from kit.evidence.intake import load_new_case
from kit.model.window import checked_time
from kit.plan.journal import Journal
from kit.store.earlier import case_until
from kit.words import iso

_HASH = 12  # letters of a hash from which on it is taken for one
_STATED = ("title", "severity", "active", "disposition")


def brief_since(case: Case, since: str, now: datetime) -> dict[str, Any]:
    """The brief of a case, with `since`: what is new after `since`, a time or the hash that an earlier brief names as its evidence.

    Raises CallError for what is neither a time nor the hash of the case's first files.
    """
    after = case.brief(now)
    if len(since) >= _HASH and all(letter in "0123456789abcdef" for letter in since):
        files = _files_of(case, since)
        with tempfile.TemporaryDirectory() as folder:
            before = _case_of(case, files, Path(folder) / "case").brief(now)
        said = _news(case, before, after, None)
        said["evidence"] = [one["path"] for one in case.store.ledger[len(files) :]]
    else:
        at = checked_time("since", since)
        if at is None:
            raise CallError(f"{since!r} is neither a time nor a hash", where="--since", next="give a time in UTC")
        with tempfile.TemporaryDirectory() as folder:
            before = Case(case_until(case.path, at, Path(folder))).brief(now)
        said = _news(case, before, after, at)
        said["evidence"] = [one["path"] for one in case.store.ledger if one["last_at"] and _time(one["last_at"]) >= at]
    return after | {"since": {"since": since} | said}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _files_of(case: Case, wanted: str) -> list[str]:
    """The files of evidence by which the case's hash was the wanted one."""
    lines, paths = list[str](), list[str]()
    for entry in case.store.ledger:
        lines.append(f"{entry['sha256']}  {entry['path']}\n")
        paths.append(str(case.path / "evidence" / entry["path"]))
        if hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest().startswith(wanted):
            return paths
    raise CallError(
        f"the evidence of this case never had the hash {wanted}",
        where="--since",
        next="give a time, or `case.evidence` of an earlier `kit brief CASE --json`",
    )


def _case_of(case: Case, files: list[str], folder: Path) -> Case:
    load_new_case(folder, files, case.cluster)
    return Case(folder)


def _news(case: Case, before: dict[str, Any], after: dict[str, Any], at: datetime | None) -> dict[str, Any]:
    """What the later brief has more than the earlier one. at: since when; None where no time is known."""
    pairs = list(_paired(before["incidents"], after["incidents"]))
    known = {finding for one in before["incidents"] for finding in one["findings"]} | {
        one["finding"] for one in before["no_incident"]
    }
    rows = case.finding_rows
    new = [row["id"] for row in rows if (row["id"] not in known if at is None else (row["first_seen_at"] or at) >= at)]
    states = {entry["id"]: entry["state"] for one in before["incidents"] for entry in one["open"]}
    entries = [entry for one in after["incidents"] for entry in one["open"]]
    # The dump is of a later time: what is gone by it was there until the log says so.
    closed = [
        entry
        for entry in entries
        if entry["state"] == "ended"
        and entry["id"] in states
        and (states[entry["id"]] != "ended" or (at and entry["until"] and _time(entry["until"]) >= at))
    ]
    ended = {entry["id"] for entry in closed}
    return {
        "findings": new,
        **{
            name: sum(one["counts"][name] or 0 for one in after["incidents"])
            - sum(one["counts"][name] or 0 for one in before["incidents"])
            for name in ("calls", "refused", "failed", "aws_calls")
        },
        "opened": [entry for entry in entries if entry["id"] not in states],
        "closed": closed,
        "done": None if at is None else [one for one in _done(case) if _time(one["at"]) >= at],
        "marks": None if at is None else [
            {"finding": one.finding, "mark": one.word, "note": one.note, "at": iso(one.at)} for one in case.marks if one.at >= at
        ],
        "notes": None if at is None else [
            {"number": number, "text": one.text, "at": iso(one.at)} for number, one in enumerate(case.notes, 1) if one.at >= at
        ],
        "changed": [change for one, other in pairs for change in _changes(one, other, ended)],
    }  # fmt: skip


def _done(case: Case) -> Iterator[dict[str, Any]]:
    for one in Journal(case.path).of("done", "by_hand", "undone", "failed"):
        yield {"what": one.what, "action": one.members.get("action"), "at": iso(one.at)}


def _paired(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each later incident with the earlier one that has most of its findings."""
    for one in after:
        shared = [(len(set(one["findings"]) & set(other["findings"])), other) for other in before]
        number, other = max(shared, key=lambda pair: pair[0], default=(0, {}))
        if number:
            yield other, one


def _changes(before: dict[str, Any], after: dict[str, Any], told: set[str]) -> Iterator[dict[str, Any]]:
    """The statements of an incident that are no longer what they were, each with the rows by which. told: open entries that are told as ended."""
    last = [ref for row in after["story"] for ref in row["refs"]]
    earlier = {ref for row in before["story"] for ref in row["refs"]}
    by = [ref for ref in last if ref not in earlier] or last[-1:]

    def change(about: str, was: Any, now: Any, refs: list[str]) -> dict[str, Any]:
        return {"incident": after["id"], "about": about, "was": was, "now": now, "refs": refs[:5]}

    for name in _STATED:
        if before[name] != after[name]:
            yield change(name, before[name], after[name], by)
    if before["way_in"]["says"] != after["way_in"]["says"]:
        yield change("way_in", before["way_in"]["says"], after["way_in"]["says"], after["way_in"]["refs"])
    known = {entry["id"]: entry for entry in before["open"]}
    for entry in after["open"]:
        was = known.get(entry["id"])
        if was and was["says"] != entry["says"] and entry["id"] not in told:
            yield change(f"open {entry['kind']} {entry['key']}", was["says"], entry["says"], entry["refs"])
    said = {doubt["says"] for doubt in before["expected_if"]}
    for doubt in after["expected_if"]:
        if said and doubt["says"] not in said:
            yield change("expected_if", "; ".join(sorted(said)), doubt["says"], doubt["refs"])
