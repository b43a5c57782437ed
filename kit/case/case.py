"""A case, opened: what notebooks, report and command line ask of it. Nothing here reads evidence anew or changes it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from kit.case import frames
from kit.case.display import one_line, rendered
from kit.case.evidence import CaseEvidence
from kit.case.marking import marked
from kit.case.stops import stop_of_branch, stop_of_sample
from kit.errors import CallError
from kit.model.finding import Finding, finding_of
from kit.model.window import Time, Window, checked_time
from kit.store.marks import Mark, marked_findings
from kit.words import Names, nearest

# What works out scope, answers and plan is imported where it is asked: the findings are listed without it.
if TYPE_CHECKING:
    import pandas as pd

    from kit.actions.action import Action
    from kit.actions.target import Target
    from kit.case.answers import IncidentAnswer
    from kit.case.plan_frames import PlanFrames
    from kit.case.plan_json import OpenIncident
    from kit.case.scope_json import ScopeJson
    from kit.plan.suppression import Suppression
    from kit.plan.targets import Targets
    from kit.questions.question import Answer, Asked
    from kit.questions.verdict import Evidence, Verdict
    from kit.scope.incident import Incident
    from kit.scope.index import Index
    from kit.scope.scope import Scope
_FINDINGS = "SELECT * FROM findings ORDER BY severity DESC, first_seen_at NULLS LAST, id"


class Case(CaseEvidence):
    """One case under a choice of findings and a window. The frames' columns stand in docs/api.md."""

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
        self._answers: dict[str, list[Answer]] = {}
        if finding and not self.finding_rows:
            known = "; ".join(f"{row['id']} {row['type']}" for row in self._every_finding) or "none"
            raise CallError(f"this case has no finding {finding!r}", where="finding", next=f"it has: {known}")

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

    @property
    def window(self) -> Window | None:
        """The window, UTC, end excluded; None when there is no audit log and none was given."""
        return self._scope.window

    @property
    def unrecorded(self) -> list[tuple[datetime, datetime]]:
        """The parts of the window that no audit log of this case recorded, start and end in UTC."""
        return self._scope.limits.unrecorded

    @property
    def partial(self) -> list[tuple[datetime, datetime, str]]:
        """The parts of the window in which the log of an API server may be missing: start, end (UTC), and what shows it."""
        return self._scope.limits.partial

    @cached_property
    def scope(self) -> ScopeJson:
        """The scope in its JSON form (docs/json.md)."""
        from kit.case.scope_json import scope_contract

        return scope_contract(self.name, self._scope)

    @property
    def index(self) -> Index:
        """The subjects of all chosen findings, as objects."""
        return self._scope.index

    @cached_property
    def subjects(self) -> pd.DataFrame:
        """The subjects of all chosen findings, each once, affected ones first; `findings` lists whose they are."""
        return frames.of_subjects(self.index, self._scope.attacker.first_call_at)

    @cached_property
    def calls(self) -> pd.DataFrame:
        """The attacker's audit events of the chosen findings, oldest first: caller, rule, what each did, and what stood before and after."""
        return frames.of_calls(self._scope, self.store)

    @cached_property
    def aws_calls(self) -> pd.DataFrame:
        """The attacker's CloudTrail events of the chosen findings, oldest first."""
        return frames.of_aws_calls(self.scope, self._scope.attacker, self.store)

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
        return frames.of_credentials(self._scope.scopes)

    @cached_property
    def let_in(self) -> pd.DataFrame:
        """Whom the attacker let in, into the cluster or in AWS, oldest first."""
        return frames.of_let_in(self.index, self._scope.attacker)

    def secrets_read(self) -> pd.DataFrame:
        """Who was given which secret, by name or in a list or watch: anyone in the log, one row an identity and secret, the attacker's first.

        Example: case.secrets_read()
        """
        from kit.case.objects import who_read_secrets

        return who_read_secrets(self.inventory, self._scope.attacker)

    def __repr__(self) -> str:
        return one_line(self.store, self.cluster or self.name, len(self.finding_rows), self.is_sample)

    def _repr_html_(self) -> str:
        """The first screen, in a notebook."""
        return str(rendered("case", self)._repr_html_())

    @cached_property
    def _evidence(self) -> Evidence:
        from kit.questions.verdict import Evidence

        return Evidence(self.store, self.inventory, self._scope.limits)

    def verdict(self, kind: str, shown: int, window: Window | None = None) -> Verdict:
        """The verdict on a question of kit.questions.verdict.SHOWN_BY, such as a kind of subject. shown: how many things the evidence shows.

        window: the stretch of time that it is about, the case's own without one. The limits of the scope on that kind count too.
        """
        from kit.model.why import Limit
        from kit.questions.verdict import SHOWN_BY, decide

        rows = self.limits[self.limits["about"].map(lambda kinds: kind in kinds)].to_dict("records")
        known = [Limit(tuple(row["about"]), row["says"], row["collect"]) for row in rows] if window is None else []
        asked = window or self.window
        return decide(shown, [*known, *(one for needs in SHOWN_BY[kind] for one in self._evidence.lacks(needs, asked))])

    def answers(self, finding_id: str) -> list[Answer]:
        """What the evidence says to each question of a finding's playbook, in its order. Raises PlaybookError."""
        from kit.playbooks.playbook import playbook_of
        from kit.questions.question import ask

        if finding_id not in self._answers:
            asked = self._asked(finding_id)
            played = playbook_of(asked.finding.type)
            self._answers[finding_id] = [ask(one, asked) for one in played.questions]
        return self._answers[finding_id]

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
    def no_incident(self) -> list[tuple[Finding, str]]:
        """The findings that belong to no incident, each with the reason."""
        return self._incidents[1]

    @cached_property
    def incident_answers(self) -> list[IncidentAnswer]:
        """The answers to the questions of each incident's playbooks, asked once of the whole incident, the gravest incident first."""
        from kit.case.answers import incident_answers

        return [
            answer
            for one in self._incidents[0]
            for answer in incident_answers(one, self._asked(one.gravest.id, whole=True), self.marks)
        ]

    def answer(self, name: str, finding: str = "") -> Answer:
        """What the evidence says to one question (docs/questions.md), whether a playbook asks it or not; `.frame` has its rows.

        finding: the Id of the finding that it is about; the most severe chosen one without it.

        Example: case.answer("secrets_read")
        """
        from kit.questions.question import QUESTIONS, ask

        if name not in QUESTIONS:
            raise CallError(
                f"{name!r} is not a question",
                next=f"{nearest(name, sorted(QUESTIONS))}; docs/questions.md has them all",
            )
        if not (finding or self._chosen_ids):
            raise CallError("this case has no finding to ask about", next="case.audit and case.sql need none")
        return ask(QUESTIONS[name], self._asked(finding or self._chosen_ids[0]))

    @property
    def first_hostile_at(self) -> datetime | None:
        """The first bad sign of the case, UTC; None when nothing is attributed to an attacker."""
        return self._asked(self._chosen_ids[0]).first_hostile_at if self._chosen_ids else None

    def answers_contract(self) -> dict[str, Any]:
        """The answers in their JSON form (docs/json.md)."""
        from kit.case.answers import doubted_findings
        from kit.case.answers_json import answers_contract
        from kit.case.scope_json import marks_json
        from kit.playbooks.playbook import playbook_of

        doubted = doubted_findings(self._scope, self._incidents[0], self.marks)
        return {
            "case": self.name,
            "marks": marks_json(self._scope),
            "answers": [one.contract() for one in self.incident_answers],
            "findings": [
                answers_contract(playbook_of(one.type), one, self.answers(one.id), self.marks, one.id in doubted)
                for one in map(self.finding, self._chosen_ids)
            ],
        }

    def plan(
        self, only: Names = (), without: Names = (), keep_addresses: Names | None = None, wide: bool = False, responder: str = "", evidence_account: str = ""
    ) -> PlanFrames:  # fmt: skip
        """What is to be done about the chosen findings, in order, as frames `actions`, `stages`, `ends` and `simulated`; it changes nothing.

        keep_addresses: CIDRs that stay open; none: private only; None: nobody has said. wide: more than a /20 (/48) is meant. evidence_account: the
        one that gets the snapshots too. responder: your ARN or user name: what would end your own way in is refused. Raises CallError.

        Example: case.plan(without=["recover"]).actions
        """
        from kit.case.plan_frames import planned_for

        targets = self._targets(keep_addresses, wide, evidence_account)
        return planned_for(responder, self._scope, targets, only, without, lambda: self._open_incidents)

    def brief(self, now: datetime | None = None) -> dict[str, Any]:
        """The brief of the whole case in its JSON form (docs/json.md). now: by which the age of the evidence is judged; the present without it."""
        from kit.case.brief import Brief

        about = {"id": self.name, "cluster": self.cluster, "account": self.account, "region": self.region}
        about["evidence"] = self.evidence_digest
        return Brief(self._scope, self.plan(), self.no_incident, about, self.notes, now or datetime.now(UTC)).contract()

    def _targets(self, *parameters: Any) -> Targets:
        from kit.plan.targets import Targets

        said = marked_findings(self.marks)
        place = (self.account, self.region, self.cluster)
        return Targets(self._scope, self._rows_of, place, said, lambda id_: self.suppression(id_).criteria, *parameters)

    def _rows_of(self, question: str) -> list[dict[str, Any]]:
        from kit.questions.question import QUESTIONS

        if not self._chosen_ids:
            return []
        return list(QUESTIONS[question].find(self._asked(self._chosen_ids[0])).rows)

    def activity(self, stretches: int) -> pd.DataFrame:
        """How often the scope's identities made each kind of call: at (start of a stretch, UTC), call, calls, hostile.

        stretches: into how many the time between the hour before the first hostile call and the hour after the last is cut.
        """
        return frames.of_activity(self._scope, self.store, stretches)

    def stop_unless(self, *kinds: str) -> None:
        """Raise StopNotebook when the scope has no subject of these kinds: this branch does not apply, or cannot be told to."""
        if not self.subjects["kind"].isin(kinds).any():
            raise stop_of_branch(kinds, self.verdict(kinds[0], 0), bool(self._chosen_ids))

    def mark(
        self,
        finding: str = "",
        word: str = "",
        note: str = "",
        question: str = "",
        *,
        call: str = "",
        identity: str = "",
        address: str = "",
        credential: str = "",
    ) -> Mark:
        """Record that a person takes an answer as confirmed or wrong, a finding as expected; or a call (its ref), an identity, an address
        or a credential as `attacker` or `not-attacker`, which scope, brief and plan then follow. Raises CallError."""
        made = marked(self, finding, question, word, note, call, identity, address, credential, self.finding)
        if made.about:
            self._answers.clear()
            for name in (name for name, one in vars(type(self)).items() if isinstance(one, cached_property)):
                self.__dict__.pop(name, None)
        return made

    @property
    def followed_marks(self) -> list[Mark]:
        """The marks of whose calls are whose that scope, brief and plan follow, the last one of each thing."""
        return self._scope.attacker.marked.marks

    def suppression(self, finding_id: str) -> Suppression:
        """The narrowest suppression filter for a finding that is marked as expected. Raises CallError for one that is not."""
        from kit.plan.suppression import suppression

        every = [self.finding(row["id"]) for row in self._every_finding]
        return suppression(self.finding(finding_id), every, self.marks)

    @property
    def name_of(self) -> dict[str, str]:
        """Ref of each subject → namespace/name, or its key."""
        every = (one for finding in self.scope["findings"] for one in finding["subjects"])
        return {one["ref"]: "/".join(filter(None, (one["namespace"], one["name"]))) or one["key"] for one in every}

    def targets(self, action: Action) -> list[Target]:
        """What an action would be done to: the affected subjects of its kinds that it can be done to."""
        return self._targets().of(action)[0]

    def stop_if_sample_finding(self) -> None:
        """Raise StopNotebook when all chosen findings are AWS's sample findings: there is nothing to investigate."""
        if self.finding_rows and all(row["sample"] for row in self.finding_rows):
            raise stop_of_sample()
