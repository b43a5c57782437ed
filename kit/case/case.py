"""A case, opened: what notebooks, report and command line ask of it. Nothing here reads evidence anew or changes it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kit.case.display import one_line, rendered
from kit.case.locks import refuse_locked
from kit.case.marking import marked
from kit.case.scoped import ScopedCase
from kit.case.stops import stop_of_branch, stop_of_sample
from kit.errors import CallError
from kit.model.finding import Finding
from kit.store.marks import Mark, marked_findings
from kit.words import Names, nearest

if TYPE_CHECKING:
    from kit.actions.action import Action
    from kit.actions.target import Target
    from kit.case.about import About
    from kit.case.answers import IncidentAnswer
    from kit.case.plan_frames import PlanFrames
    from kit.plan.suppression import Suppression
    from kit.plan.targets import Targets
    from kit.questions.question import Answer


class Case(ScopedCase):
    """One case under a choice of findings and a window. The frames' columns stand in docs/api.md."""

    def __repr__(self) -> str:
        return one_line(self.store, self.cluster or self.name, len(self.finding_rows), self.is_sample)

    def _repr_html_(self) -> str:
        """The first screen, in a notebook."""
        return str(rendered("case", self)._repr_html_())

    def answers(self, finding_id: str) -> list[Answer]:
        """What the evidence says to each question of a finding's playbook, in its order. Raises PlaybookError."""
        from kit.playbooks.playbook import playbook_of

        if finding_id not in self._answers:
            played = playbook_of(self.finding(finding_id).type)
            self._answers[finding_id] = self._answered(
                f"answers {finding_id}", finding_id, [one.name for one in played.questions]
            )
        return self._answers[finding_id]

    @cached_property
    def _answers(self) -> dict[str, list[Answer]]:
        return {}

    def _answered(self, name: str, finding_id: str, questions: Names) -> list[Answer]:
        """The answers to questions about a finding, kept under a name."""
        from kit.case.kept_answers import answer_of, plain_answer
        from kit.questions.question import QUESTIONS, ask

        refuse_locked(self.path, "answers")

        def made() -> list[dict[str, Any]]:
            asked = self._asked(finding_id)
            return [plain_answer(ask(QUESTIONS[one], asked)) for one in questions]

        return [answer_of(one, self.finding) for one in self._worked_out.value(name, made)]

    @property
    def no_incident(self) -> list[tuple[Finding, str]]:
        """The findings that belong to no incident, each with the reason."""
        kept = self._worked_out.value("no incident", lambda: [[one.id, says] for one, says in self._incidents[1]])
        return [(self.finding(finding_id), says) for finding_id, says in kept]

    @cached_property
    def incident_answers(self) -> list[IncidentAnswer]:
        """The answers to the questions of each incident's playbooks, asked once of the whole incident, the gravest incident first."""
        from kit.case.answers import incident_answers
        from kit.case.kept_answers import incident_answer_of, plain_incident_answer

        refuse_locked(self.path, "answers")

        def made() -> list[dict[str, Any]]:
            return [
                plain_incident_answer(answer)
                for one in self._incidents[0]
                for answer in incident_answers(one, self._asked(one.gravest.id, whole=True), ())
            ]

        kept = self._worked_out.value("incident answers", made)
        return [incident_answer_of(one, self.finding, self.marks) for one in kept]

    def answer(self, name: str, finding: str = "") -> Answer:
        """What the evidence says to one question (docs/questions.md), whether a playbook asks it or not; `.frame` has its rows.

        finding: the Id of the finding that it is about; the most severe chosen one without it.

        Example: case.answer("secrets_read")
        """
        from kit.questions.question import QUESTIONS

        if name not in QUESTIONS:
            raise CallError(
                f"{name!r} is not a question",
                next=f"{nearest(name, sorted(QUESTIONS))}; docs/questions.md has them all",
            )
        if not (finding or self._chosen_ids):
            raise CallError("this case has no finding to ask about", next="case.audit and case.sql need none")
        about = finding or self._chosen_ids[0]
        return self._answered(f"answer {name} {about}", about, [name])[0]

    @property
    def first_hostile_at(self) -> datetime | None:
        """The first bad sign of the case, UTC; None when nothing is attributed to an attacker."""
        if not self._chosen_ids:
            return None
        return self._worked_out.value("first sign", lambda: self._asked(self._chosen_ids[0]).first_hostile_at)

    def answers_contract(self) -> dict[str, Any]:
        """The answers in their JSON form (docs/json.md)."""
        refuse_locked(self.path, "answers")
        return self._worked_out.value("answers", self._answers_contract)

    def _answers_contract(self) -> dict[str, Any]:
        from kit.case.answers import doubted_findings
        from kit.case.answers_json import answers_contract
        from kit.case.whose_json import marks_json
        from kit.playbooks.playbook import playbook_of

        doubted = doubted_findings(self._scope, self._incidents[0], self.marks)
        return {
            "case": self.name,
            "marks": marks_json(self.followed_marks),
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

        refuse_locked(self.path, "plan")
        keep = None if keep_addresses is None else tuple(keep_addresses)
        asked = (*map(tuple, (only, without)), keep, wide, responder, evidence_account, tuple(self.marks))
        if asked not in self._plans:
            targets = self._targets(keep_addresses, wide, evidence_account)
            made = planned_for(responder, self._scope, targets, only, without, lambda: self._open_incidents)
            self._plans[asked] = made
        return self._plans[asked]

    @cached_property
    def _plans(self) -> dict[tuple[Any, ...], PlanFrames]:
        """The plans that were made, each once; none is ever kept in the case."""
        return {}

    def brief(self, now: datetime | None = None) -> dict[str, Any]:
        """The brief of the whole case in its JSON form (docs/json.md). now: by which the age of the evidence is judged; the present without it."""
        refuse_locked(self.path, "brief")
        at = now or datetime.now(UTC)

        def made() -> dict[str, Any]:
            from kit.case.brief import Brief, Present

            about = {"id": self.name, "cluster": self.cluster, "account": self.account, "region": self.region}
            about["evidence"] = self.evidence_digest
            present = Present(at)
            brief = Brief(self._scope, self.plan(), self.no_incident, about, self.notes, present).contract()
            return {"brief": brief, "asked": [[moment, was] for moment, was in present.asked.items()]}

        def fits(kept: dict[str, Any]) -> bool:
            return all((at < moment) == was for moment, was in kept["asked"])

        brief: dict[str, Any] = self._worked_out.value(f"brief {self.notes}", made, fits)["brief"]
        return brief

    def about(self, thing: str) -> About:
        """All that the case tells of one thing: when it was seen, its calls by hour and kind, what is new since the first bad sign, what it
        shares with others, why it is affected, and what ends it; of a call, what its caller did around it. Raises CallError.

        thing: a ref, an address, a user name, an access key, an ARN, NAMESPACE/NAME of a pod or secret, a node or an image.

        Example: case.about("system:anonymous").said["new"]
        """
        from kit.case.about import told_of

        return told_of(self, thing, self.first_hostile_at, self.brief())

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
        every = {name: one for of in (Case, ScopedCase) for name, one in vars(of).items()}
        for name in (name for name, one in every.items() if isinstance(one, cached_property)):
            if made.about or name == "incident_answers":
                self.__dict__.pop(name, None)
        return made

    def suppression(self, finding_id: str) -> Suppression:
        """The narrowest suppression filter for a finding that is marked as expected. Raises CallError for one that is not."""
        from kit.plan.suppression import suppression

        every = [self.finding(row["id"]) for row in self._every_finding]
        return suppression(self.finding(finding_id), every, self.marks)

    def targets(self, action: Action) -> list[Target]:
        """What an action would be done to: the affected subjects of its kinds that it can be done to."""
        return self._targets().of(action)[0]

    def stop_if_sample_finding(self) -> None:
        """Raise StopNotebook when all chosen findings are AWS's sample findings: there is nothing to investigate."""
        if self.finding_rows and all(row["sample"] for row in self.finding_rows):
            raise stop_of_sample()
