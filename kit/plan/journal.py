"""The journal of a case: what was approved, what was about to be done, what became of it. CASE/journal.jsonl, one line an entry.

Append-only. Each line holds the SHA-256 of the one before it and its own, so that a line that was changed, taken out or moved shows. An
intent is on the disk before its call is made. A last line without its end was cut off while it was written: it counts as not written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from kit.errors import CaseError
from kit.store.settings import settings_of

FIRST = "0" * 64
"""What the first entry has as the hash of the one before it."""


@dataclass(frozen=True)
class Entry:
    """One line. number: from 1. at: UTC. what: approved, begun, intent, done, failed, refused, kept, finished, checked, by_hand, undone."""

    number: int
    at: datetime
    what: str
    members: dict[str, Any]
    hash: str

    def __getitem__(self, name: str) -> Any:
        return self.members[name]


class Journal:
    """The journal of one case. Reading needs no lock; to write, enter it: of several writers one wins."""

    def __init__(self, case: Path) -> None:
        """Read it and check its chain. Raises CaseError, naming the line, when the chain is broken."""
        self.path = case / "journal.jsonl"
        self._file: int | None = None
        self._lock: int | None = None
        self.entries: list[Entry] = []
        self.actions: dict[str, ActionRecord] = {}
        self._planned: dict[str, dict[str, Any]] = {}
        self._cut = b""
        self._read()

    def __enter__(self) -> Journal:
        """Take the journal for writing. Raises CaseError while another process has it."""
        try:
            self._lock = os.open(self.path.with_name("journal.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise CaseError(
                "another process applies or undoes a plan of this case",
                where=str(self.path),
                next="wait until it has ended",
            ) from None
        except OSError as error:
            self._release()
            raise self._unwritable(error) from None
        try:
            self._read()  # what another process wrote before the lock was ours
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            if self._cut:
                os.ftruncate(self._file, os.fstat(self._file).st_size - len(self._cut))
                self.write("cut", text=self._cut.decode("utf-8", "backslashreplace"))
            _sync(self.path.parent)
        except OSError as error:
            self._release()
            raise self._unwritable(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def write(self, what: str, **members: Any) -> Entry:
        """Append an entry; it is on the disk when this returns. Raises CaseError when it cannot be written: nothing may be done then."""
        assert self._file is not None, "enter the journal to write to it"
        previous = self.entries[-1].hash if self.entries else FIRST
        said = {
            "number": len(self.entries) + 1,
            "at": datetime.now(UTC).isoformat(),
            "what": what,
            "previous": previous,
        }
        # Read back as it will stand: what is used of an entry is the same now and after a crash.
        line = json.loads(json.dumps(said | {"members": members}, ensure_ascii=True))
        line["hash"] = _hash(line)
        text = json.dumps(line, ensure_ascii=True, sort_keys=True).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, text)
            if written < len(text):
                os.ftruncate(self._file, size)
                raise OSError(28, "No space left on device")
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error) from None
        entry = _entry(line)
        self._take(entry)
        return entry

    def of(self, *whats: str) -> Iterator[Entry]:
        """The entries of these kinds, oldest first."""
        return (entry for entry in self.entries if entry.what in whats)

    @property
    def head(self) -> str:
        """The hash of the last entry: whoever knows it can tell that nothing before it was changed."""
        return self.entries[-1].hash if self.entries else FIRST

    def _read(self) -> None:
        self.entries, self.actions, self._planned, self._cut = [], {}, {}, b""
        text = self.path.read_bytes() if self.path.exists() else b""
        *lines, self._cut = text.split(b"\n")
        previous = FIRST
        for number, line in enumerate(lines, 1):
            try:
                read = json.loads(line)
                good = read["number"] == number and read["previous"] == previous and read["hash"] == _hash(read)
                entry = _entry(read)
                if good:
                    self._take(entry)
            except (
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
            ):  # whoever writes the chain anew may write anything into it
                good = False
            if not good:
                raise CaseError(
                    "the chain of the journal is broken here: this line or one before it was changed, taken out or moved",
                    where=f"{self.path}:{number}",
                    next="nothing is done with it; keep it as evidence, compare it with a copy, and look at account and cluster by hand",
                )
            previous = entry.hash

    def _take(self, entry: Entry) -> None:
        """Keep an entry, and what it says of its action: actions has what became of each since it was last undone, in the order in which
        they were begun."""
        self.entries.append(entry)
        of = str(entry.members.get("action", ""))
        found = self.actions.get(of)
        if entry.what == "approved":
            self._planned |= {one["id"]: one for one in entry["plan"]["actions"]}
        elif entry.what == "begun":
            self.actions.pop(of, None)  # begun again after an undo: it stands last
            self.actions[of] = ActionRecord(of, self._planned[of], [ChangeRecord(one) for one in entry["changes"]])
        elif entry.what == "by_hand":
            found = self.actions.setdefault(of, ActionRecord(of, self._planned[of], []))
            found.finished = found.by_hand = True
        elif found is None:
            return
        elif entry.what in ("intent", "done", "already", "failed", "undo_intent", "undone"):
            found.changes[entry["change"]].take(entry)
            if entry.what == "undone":
                found.finished = False  # what is taken back in part is not done any more
        elif entry.what == "kept":
            found.files.append(entry["file"])
            found.hashes[entry["file"]] = entry["sha256"]
        elif entry.what == "finished":
            found.finished = True
        elif entry.what == "checked":
            found.checked = {"word": entry["word"], "says": entry["says"], "at": entry.at.isoformat()}
        elif entry.what == "taken_back":
            found.finished = False

    def _release(self) -> None:
        for number in (self._file, self._lock):
            if number is not None:
                os.close(number)
        self._file = self._lock = None

    def _unwritable(self, error: OSError) -> CaseError:
        return CaseError(
            f"cannot be written: {error.strerror}; nothing is done that is not journaled before",
            where=str(self.path),
            next="make room, or make the case folder writable, and run the same command again",
        )


def _entry(line: dict[str, Any]) -> Entry:
    return Entry(line["number"], datetime.fromisoformat(line["at"]), line["what"], line["members"], line["hash"])


def _hash(line: dict[str, Any]) -> str:
    covered = {name: value for name, value in line.items() if name != "hash"}
    return hashlib.sha256(json.dumps(covered, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@dataclass
class ChangeRecord:
    """What the journal has of one change. before, after: what was looked at. outcome: "", done, already (it was so before), failed, undone."""

    change: dict[str, Any]
    intent: bool = False
    before: Any = None
    after: Any = None
    outcome: str = ""
    undoing: bool = False

    def take(self, entry: Entry) -> None:
        """Keep what an entry says of it."""
        if entry.what == "intent":
            self.intent, self.before, self.outcome, self.undoing = True, entry["before"], "", False
        elif entry.what == "undo_intent":
            self.undoing = True
        else:
            self.outcome = entry.what
            self.after = entry.members.get("after", self.after)

    @property
    def open(self) -> bool:
        """Whether it is not known what became of it: about to be done, and nothing after."""
        return self.intent and not self.outcome

    @property
    def stands(self) -> bool:
        """Whether it was done by a plan and not taken back."""
        return self.outcome == "done"


@dataclass
class ActionRecord:
    """What the journal has of one action, since it was last undone."""

    id: str
    action: dict[str, Any]
    changes: list[ChangeRecord]
    finished: bool = False
    by_hand: bool = False
    files: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """done, by hand, undone or not finished."""
        if self.finished:
            return "by hand" if self.by_hand else "done"
        taken_back = bool(self.changes) and all(each.outcome == "undone" for each in self.changes if each.intent)
        return "undone" if taken_back and any(each.intent for each in self.changes) else "not finished"


def done_so_far(case: Path) -> tuple[list[dict[str, Any]], str]:
    """What the journal of a case has of each action, JSON-ready (id, stage, action, name, state, changes, files, check), and its last hash.

    Raises CaseError when its chain is broken.
    """
    settings_of(case)
    journal = Journal(case)
    return [
        {
            "id": one.id,
            "stage": one.action["stage"],
            "action": one.action["action"],
            "name": one.action["name"],
            "state": one.state,
            "changes": [
                {"kind": each.change["kind"], "outcome": each.outcome or ("open" if each.open else "not begun")}
                for each in one.changes
            ],
            "files": one.files,
            "check": one.checked or None,
        }
        for one in journal.actions.values()
    ], journal.head
