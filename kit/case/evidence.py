"""The evidence of a case, opened: what its logs, objects and files hold, without any finding."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.case import events, frames
from kit.case.display import rendered
from kit.case.readable import readable_records
from kit.case.records import RecordText, file_and_line, record_of
from kit.errors import CallError, CaseError
from kit.model.window import Time, checked_time, checked_window
from kit.store.marks import Mark, marks_of
from kit.store.notes import Note, add_note, notes_of
from kit.store.store import Store
from kit.words import Names

if TYPE_CHECKING:
    import pandas as pd

    from kit.evidence.raw import Raw
    from kit.inventory.inventory import Inventory

SAMPLE_EVIDENCE = Path(__file__).parents[1] / "sample" / "case"
"""The evidence of the sample case: a real API server under attack, with invented accounts, addresses and images."""


class CaseEvidence:
    """What a case folder holds. start, end: the window that counts where a call gives none."""

    def __init__(self, path: Path, start: Time = None, end: Time = None) -> None:
        if not path.is_dir():
            partial = path.with_name(path.name + ".partial")
            way_out = "make it with `kit new CASE EVIDENCE...`"
            if partial.is_dir():
                way_out = "its making was cut off: run the same `kit new` command again to finish it"
            raise CaseError("no such case", where=str(path), next=way_out)
        self.path = path
        self.name = path.resolve().name
        self.store = Store(path)
        self._start, self._end = checked_window(start, end, self._days)
        settings = self.store.settings
        self.cluster, self.account, self.region = settings.cluster, settings.account, settings.region

    @property
    def given_window(self) -> tuple[datetime | None, datetime | None]:
        """The ends of the window as they were given, UTC; None where none was."""
        return self._start, self._end

    @cached_property
    def inventory(self) -> Inventory:
        """What existed in the cluster, with lifetimes."""
        from kit.inventory.inventory import Inventory

        return Inventory(self.store)

    def audit(
        self,
        *,
        start: Time = None,
        end: Time = None,
        columns: Names | None = None,
        stages: bool = False,
        most: int | None = None,
        **filters: Any,
    ) -> pd.DataFrame:
        """The calls in the Kubernetes audit log that the filters let in, anyone's, oldest first.

        One row a call, as its last stage has it; stages=True: one row a stage. Filters are columns of the table `audit`: a value, a list of
        values of which one has to be there, or a text with `*` for anything. None and "" are not given. start, end: as for `open_case`,
        whose window counts without them; a time without a date is taken while the log covers one UTC day. columns: which, a few without it.
        most: rows of the largest frame, 500,000 without it; from 100,000 on it warns.

        Example: case.audit(verb="create", resource="pods", start="16:30")
        """
        begin, finish = start or self._start, end or self._end
        return events.events(self.store, "audit", filters, begin, finish, columns, most, one_a_call=not stages)

    def cloudtrail(
        self,
        *,
        start: Time = None,
        end: Time = None,
        columns: Names | None = None,
        most: int | None = None,
        **filters: Any,
    ) -> pd.DataFrame:
        """The CloudTrail events that the filters let in, anyone's, oldest first. Filters are columns of the table `trail`; all is as for `audit`.

        Example: case.cloudtrail(event_source="sts.amazonaws.com")
        """
        return events.events(self.store, "trail", filters, start or self._start, end or self._end, columns, most)

    def sign_ins(
        self,
        *,
        start: Time = None,
        end: Time = None,
        columns: Names | None = None,
        most: int | None = None,
        **filters: Any,
    ) -> pd.DataFrame:
        """What the EKS authenticator answered, oldest first. Filters are columns of the table `sign_ins`; all is as for `audit`.

        Example: case.sign_ins(granted=True)
        """
        return events.events(self.store, "sign_ins", filters, start or self._start, end or self._end, columns, most)

    def objects(self, kind: str, *, namespace: str | None = None, at: Time = None) -> pd.DataFrame:
        """The objects of a kind, `pods`, `Pod` or AWS's `AccessEntry`, gone ones too, with what the evidence tells of their lives.

        at: only those that existed then; what has no known birth or death is taken to have existed.

        Example: case.objects("pods", namespace="kube-system")
        """
        from kit.case.objects import objects

        return objects(self.inventory, kind, namespace or None, checked_time("at", at, self._days))

    def sql(self, sql: str, most: int | None = None) -> pd.DataFrame:
        """What one SELECT in DuckDB's SQL gives; it reads the case's tables (`case.tables`) and nothing else. most: as for `audit`.

        Example: case.sql("SELECT verb, count(*) AS events FROM audit GROUP BY verb ORDER BY events DESC")
        """
        return events.bounded(
            self.store, self.store.checked(sql), {}, most, "narrow it with WHERE, or count with GROUP BY"
        )

    @property
    def tables(self) -> pd.DataFrame:
        """The tables that `sql` reads, a row a column, with its type and what it means."""
        return frames.of_tables()

    def show(self, ref: str) -> Any:
        """The record that a ref names, for people: file, line and text, without anyone's secrets. `raw` has it as it stood.

        Example: case.show("audit:7ac0e4b7")
        """
        return rendered("ref", self, ref)

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """What became of each file that was given, in that order."""
        return frames.typed("ledger", self.store.ledger)

    @cached_property
    def evidence_digest(self) -> str:
        """SHA-256 over the hashes and paths of all files that were given, in the order of their paths."""
        lines = sorted(f"{entry['sha256']}  {entry['path']}\n" for entry in self.store.ledger)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """Which spans the sources cover, and their gaps (columns: docs/tables.md)."""
        return frames.arrow_frame(self.store.table("SELECT * FROM coverage ORDER BY source, start_at"))

    @cached_property
    def audit_levels(self) -> pd.DataFrame:
        """What the audit policy recorded of each resource: level, events, and how many have a request or a response body."""
        return frames.audit_levels(self.store)

    @cached_property
    def trail_kinds(self) -> pd.DataFrame:
        """What CloudTrail recorded: kind of event, region, service, events, and how many of them failed."""
        return frames.trail_kinds(self.store)

    @cached_property
    def rejects(self) -> pd.DataFrame:
        """Records that could not become rows, with place and reason (columns: docs/tables.md)."""
        return frames.arrow_frame(self.store.table("SELECT * FROM rejects ORDER BY file, item"))

    @cached_property
    def _raw(self) -> Raw:
        from kit.evidence.raw import Raw

        return Raw(self.path)

    def raw(self, ref: str) -> RecordText:
        """The text, as it stands in the evidence, of what a ref names: audit, line, trail, finding or object; `.file` and `.line` say where.

        The key of a ref may be cut short while only one record's begins with it. Raises CaseError for what is not in this case.

        Example: case.raw("audit:7ac0e4b7")
        """
        return RecordText.of(self._raw.text(*record_of(self.store, ref)), *self.place(ref))

    def readable(self, refs: list[str]) -> dict[str, str]:
        """The record of each ref, indented and masked, for people; where there is none, or none that can be taken apart, what is the reason.

        Each file of evidence is gone through once.
        """
        return readable_records(self.store, self._raw, refs)

    def place(self, ref: str) -> tuple[str, int]:
        """File and line of what a ref names, after decompression, from 1. Raises CaseError."""
        return file_and_line(self.store, ref)

    @property
    def marks(self) -> list[Mark]:
        """What people said of findings and answers, oldest first; read anew each time."""
        return marks_of(self.path)

    @property
    def notes(self) -> list[Note]:
        """The decisions and questions that people wrote down, oldest first; read anew each time."""
        return notes_of(self.path)

    def note(self, text: str, ref: str = "", owner: str = "", due: str = "") -> Note:
        """Write down a decision, or with an owner or a time an open question. ref: what it is about; note:NUMBER closes that one."""
        number = ref.removeprefix("note:") if ref.startswith("note:") else ""
        if ref and not number:
            self.place(ref)  # raises for what is not in this case
        elif number and (not number.isdigit() or not 0 < int(number) <= len(self.notes)):
            raise CallError(f"this case has no note {number}", where="ref", next="`kit brief CASE` lists the open ones")
        return add_note(self.path, text, ref, owner, checked_time("due", due))

    @cached_property
    def is_sample(self) -> bool:
        """Whether its evidence is that of the sample case, which is invented, whatever it is named."""
        sample = {hashlib.sha256(path.read_bytes()).hexdigest() for path in SAMPLE_EVIDENCE.glob("*.gz")}
        return any(entry["sha256"] in sample for entry in self.store.ledger)

    def _days(self) -> list[date]:
        return events.days_of(self.store, "audit")
