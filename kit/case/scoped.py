"""A case under a choice of findings and a window: its findings, what they affect, and whose calls are whose, as frames."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from kit.case import frames
from kit.case.evidence import CaseEvidence
from kit.case.locks import refuse_locked
from kit.case.worked_out import WorkedOut, code_digest
from kit.errors import CallError
from kit.lenient import text_of
from kit.model.finding import Finding, finding_of
from kit.model.masking import secrets_are_shown
from kit.model.window import Time, Window, checked_time
from kit.store.marks import Mark, marked_findings
from kit.store.mask_key import MASK_KEY
from kit.words import iso

# What works out scope, answers and plan is imported where it is asked: the findings are listed without it.
if TYPE_CHECKING:
    import pandas as pd

    from kit.case.plan_json import OpenIncident
    from kit.case.scope_json import ScopeJson
    from kit.case.whose_json import WhyJson
    from kit.questions.question import Asked
    from kit.questions.verdict import Evidence, Verdict
    from kit.scope.incident import Incident
    from kit.scope.index import Index
    from kit.scope.scope import Scope
_FINDINGS = "SELECT * FROM findings ORDER BY severity DESC, first_seen_at NULLS LAST, id"


class ScopedCase(CaseEvidence):
    """What is worked out once for a choice is kept in the case (kit.case.worked_out); the plan alone is always made of the evidence."""

    def __init__(
        self,
        path: Path,
        finding: str = "",
        start: Time = None,
        end: Time = None,
        baseline: Time = None,
        with_marks: bool = True,
    ) -> None:
        super().__init__(path, start, end)
        self._with_marks = with_marks
        self._baseline = checked_time("baseline", baseline, self._days)
        self._finding = finding
        self._worked_out = WorkedOut(path, self._choice)
        if finding and not self.finding_rows:
            known = "; ".join(f"{row['id']} {row['type']}" for row in self._every_finding) or "none"
            raise CallError(f"this case has no finding {finding!r}", where="finding", next=f"it has: {known}")

    @property
    def is_chosen(self) -> bool:
        """Whether a finding, a window or a baseline was given."""
        return bool(self._finding or self._start or self._end or self._baseline)

    @property
    def given(self) -> tuple[str, str, str]:
        """The finding and the ends of the window that were given, as text, "" where none was."""
        return self._finding, iso(self._start) or "", iso(self._end) or ""

    def _choice(self) -> dict[str, Any]:
        """All that what is worked out follows from."""
        return self._made_of | {"said": [_hash_of(self.path / name) for name in ("marks.jsonl", MASK_KEY)]}

    @cached_property
    def _made_of(self) -> dict[str, Any]:
        settings = self.store.settings
        parts = sorted((self.path / settings.store).rglob("*.parquet"))
        stamps = [(str(part), (about := part.stat()).st_size, about.st_mtime_ns) for part in parts]
        return {
            "case": [self.name, settings, self.evidence_digest, hashlib.sha256(str(stamps).encode()).hexdigest()],
            "kit": code_digest(),
            "chosen": [self._finding, self._start, self._end, self._baseline, self._with_marks, secrets_are_shown()],
        }

    def _frame(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A frame of that name, of rows that are kept."""
        refuse_locked(self.path, "scope")
        if not self._worked_out.is_kept:
            return make()
        return frames.typed(name, self._worked_out.value(f"frame {name}", lambda: frames.plain_rows(make())))

    @cached_property
    def _every_finding(self) -> list[dict[str, Any]]:
        return self.store.rows(_FINDINGS)

    @cached_property
    def finding_rows(self) -> list[dict[str, Any]]:
        """The rows of `findings` as dicts, which need no pandas."""
        return [row for row in self._every_finding if self._finding in ("", row["id"])]

    @cached_property
    def findings(self) -> pd.DataFrame:
        """The chosen findings as last updated, the most severe first (columns: docs/tables.md)."""
        rows = frames.arrow_frame(self.store.table(_FINDINGS))
        return rows[rows["id"] == self._finding] if self._finding else rows

    @property
    def _chosen_ids(self) -> list[str]:
        return [row["id"] for row in self.finding_rows]

    def finding(self, finding_id: str) -> Finding:
        """One finding, parsed."""
        for row in self._every_finding:
            if row["id"] == finding_id:
                return finding_of(orjson.loads(row["finding"]))
        raise CallError(
            f"this case has no finding {finding_id!r}", where="finding", next="`kit findings CASE` lists them"
        )

    @cached_property
    def _scope(self) -> Scope:
        from kit.scope.scope import Scope

        chosen = [self.finding(finding_id) for finding_id in self._chosen_ids]
        marks = self.marks if self._with_marks else ()
        return Scope(self.store, self.inventory, chosen, self._start, self._end, marks)

    @cached_property
    def _recorded(self) -> dict[str, Any]:
        """The window, and the parts of it that were not recorded, or not all."""

        def made() -> dict[str, Any]:
            window, limits = self._scope.window, self._scope.limits
            ends = [window.start, window.end] if window else None
            return {"window": ends, "unrecorded": limits.unrecorded, "partial": limits.partial}

        return self._worked_out.value("recorded", made)

    @property
    def window(self) -> Window | None:
        """The window, UTC, end excluded; None when there is no audit log and none was given."""
        return Window(*self._recorded["window"]) if self._recorded["window"] else None

    @property
    def unrecorded(self) -> list[tuple[datetime, datetime]]:
        """The parts of the window that no audit log of this case recorded, start and end in UTC."""
        return [(start, end) for start, end in self._recorded["unrecorded"]]

    @property
    def partial(self) -> list[tuple[datetime, datetime, str]]:
        """The parts of the window in which the log of an API server may be missing: start, end (UTC), and what shows it."""
        return [(start, end, says) for start, end, says in self._recorded["partial"]]

    @cached_property
    def scope(self) -> ScopeJson:
        """The scope in its JSON form (docs/json.md)."""
        from kit.case.scope_json import scope_contract

        refuse_locked(self.path, "scope")
        return self._worked_out.value("scope", lambda: scope_contract(self.name, self._scope))

    @property
    def index(self) -> Index:
        """The subjects of all chosen findings, as objects."""
        refuse_locked(self.path, "scope")
        return self._scope.index

    @cached_property
    def reasons(self) -> dict[tuple[str, str], list[WhyJson]]:
        """Kind and key of each subject → why it is one, each sentence once; of one that is affected, not why it is possible too."""
        certain = dict[tuple[str, str], str]()
        found: dict[tuple[str, str], dict[str, WhyJson]] = {}
        every = [one for finding in self.scope["findings"] for one in finding["subjects"]]
        for one in every:
            place = one["kind"], one["key"]
            certain[place] = min(certain.get(place, one["certainty"]), one["certainty"])
        for one in every:
            place = one["kind"], one["key"]
            if one["certainty"] == certain[place]:
                said = found.setdefault(place, {})
                for why in one["why"]:
                    said.setdefault(why["says"], why)
        return {place: list(said.values()) for place, said in found.items()}

    @cached_property
    def subjects(self) -> pd.DataFrame:
        """The subjects of all chosen findings, each once, affected ones first; `findings` lists whose they are."""
        return self._frame("subjects", lambda: frames.of_subjects(self.index, self._scope.attacker.first_call_at))

    @cached_property
    def calls(self) -> pd.DataFrame:
        """The attacker's audit events of the chosen findings, oldest first: caller, rule, what each did, and what stood before and after."""
        return self._frame("calls", lambda: frames.of_calls(self._scope, self.store))

    @cached_property
    def aws_calls(self) -> pd.DataFrame:
        """The attacker's CloudTrail events of the chosen findings, oldest first."""
        return self._frame("aws_calls", lambda: frames.of_aws_calls(self.scope, self._scope.attacker, self.store))

    @cached_property
    def limits(self) -> pd.DataFrame:
        """What cannot be told, each once, with the findings that it holds for."""
        return frames.of_limits(self.scope)

    @cached_property
    def identities(self) -> pd.DataFrame:
        """Who made calls in the scope, each once, those with the attacker's calls first."""
        return frames.of_identities(self.scope)

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """The AWS sessions of the scope, each once, those that the attacker used first."""
        return frames.of_sessions(self.scope)

    @cached_property
    def credentials(self) -> pd.DataFrame:
        """The credentials that the attacker has, and those within reach, each once, with how they were obtained and how they end."""
        return self._frame("credentials", lambda: frames.of_credentials(self._scope.scopes))

    @cached_property
    def let_in(self) -> pd.DataFrame:
        """Whom the attacker let in, into the cluster or in AWS, oldest first."""
        return self._frame("let_in", lambda: frames.of_let_in(self.index, self._scope.attacker))

    def activity(self, stretches: int) -> pd.DataFrame:
        """How often the scope's identities made each kind of call: at (start of a stretch, UTC), call, calls, hostile.

        stretches: into how many the time between the hour before the first hostile call and the hour after the last is cut.
        """
        refuse_locked(self.path, "scope")
        rows = self._worked_out.value(
            f"activity {stretches}", lambda: frames.of_activity(self._scope, self.store, stretches)
        )
        return frames.frame_of(rows, ["at", "call", "calls", "hostile"])

    def secrets_read(self) -> pd.DataFrame:
        """Who was given which secret, by name or in a list or watch: anyone in the log, one row an identity and secret, the attacker's first.

        Example: case.secrets_read()
        """
        from kit.case.objects import who_read_secrets

        refuse_locked(self.path, "scope")
        return who_read_secrets(self.inventory, self._scope.attacker)

    @cached_property
    def _evidence(self) -> Evidence:
        from kit.questions.verdict import Evidence

        return Evidence(self.store, self.inventory, self._scope.limits)

    def verdict(self, kind: str, shown: int, window: Window | None = None) -> Verdict:
        """The verdict on a question of kit.questions.verdict.SHOWN_BY, such as a kind of subject. shown: how many things the evidence shows.

        window: the stretch of time that it is about, the case's own without one. The limits of the scope on that kind count too.
        """
        from kit.case.kept_answers import limit_of, plain_limit
        from kit.model.why import Limit
        from kit.questions.verdict import SHOWN_BY, decide

        rows = self.limits[self.limits["about"].map(lambda kinds: kind in kinds)].to_dict("records")
        known = (
            [
                Limit(tuple(row["about"]), row["says"], row["collect"], otherwise=text_of(row["otherwise"]) or "")
                for row in rows
            ]
            if window is None
            else []
        )
        asked = window or self.window

        def lacks() -> list[dict[str, Any]]:
            collecting = self._scope.collecting
            return [
                plain_limit(collecting.of(one))
                for needs in SHOWN_BY[kind]
                for one in self._evidence.lacks(needs, asked)
            ]

        lacking = map(limit_of, self._worked_out.value(f"lacks {kind} {asked}", lacks))
        return decide(shown, [*known, *lacking])

    def _asked(self, finding_id: str, whole: bool = False) -> Asked:
        from kit.questions.question import Asked

        of = self._scope.of(self.finding(finding_id))
        return Asked(
            self.store,
            self.inventory,
            self._scope,
            of,
            self._evidence,
            self._baseline,
            tuple(self._incidents[0]),
            whole,
            self._states,
        )

    @cached_property
    def _incidents(self) -> tuple[list[Incident], list[tuple[Finding, str]]]:
        from kit.scope.incident import incidents

        return incidents(self._scope)

    @property
    def _open_incidents(self) -> list[OpenIncident]:
        from kit.case.plan_json import open_incidents

        return open_incidents(self._scope, self._incidents[0], marked_findings(self.marks))

    @cached_property
    def _states(self) -> dict[str, str]:
        """Ref of what gave the attacker access → whether it is usable, ended, or cannot be told, as the open list has it."""
        every = [entry for one in self._open_incidents for entry in one.entries]
        by_ref: dict[str, str] = {ref: entry.state for entry in every for ref in entry.refs}
        return by_ref | {f"{entry.kind}:{entry.key}": entry.state for entry in every}

    @property
    def followed_marks(self) -> list[Mark]:
        """The marks of whose calls are whose that scope, brief and plan follow, the last one of each thing."""
        from kit.attribution.marked import Marked

        return Marked(self.store, self.marks if self._with_marks else ()).marks

    @property
    def name_of(self) -> dict[str, str]:
        """Ref of each subject → namespace/name, or its key; with its uid where another one had the same name."""
        from kit.case.scope_json import subject_contract

        every = (subject_contract(one, None) for one in self.index.shared.values())
        names = {one["ref"]: "/".join(filter(None, (one["namespace"], one["name"]))) or one["key"] for one in every}
        borne = Counter((ref.partition(":")[0], name) for ref, name in names.items())
        twice = {kind_and_name for kind_and_name, count in borne.items() if count > 1}
        return {
            ref: f"{name}, uid {key}" if (kind, name) in twice else name
            for ref, name in names.items()
            for kind, _, key in [ref.partition(":")]
        }


def _hash_of(path: Path) -> str:
    """The hash of a small file; "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
