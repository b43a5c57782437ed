"""A plan is tried (preview), done (apply), looked at again (check) and taken back (undo), by its journal.

Every change is looked at, checked against what was planned, written down as an intent, made, looked at again and written down as done. A
run that ends at any instant goes on from the journal: what is open is looked up, never guessed and never done twice. What fails holds up
only what has to come after it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS, action_of
from kit.errors import CallError
from kit.live.acts.act import ACTS, DOES_NOT_HOLD, Check, services_needed_by, services_of
from kit.live.acts.cluster import made_by_undo
from kit.live.changes.change import Change, journaled, read_back
from kit.live.connection import Connection
from kit.live.errors import GONE, IMPOSSIBLE, Conflict, Failed, LiveError, Missing, Refused, Unknown, is_silent
from kit.live.undo import seen_after, taken_back, unforeseen
from kit.live.yourself import Yourself
from kit.plan.journal import ActionRecord, ChangeRecord, Journal
from kit.plan.plan import Plan, PlannedAction
from kit.plan.saved import planned_of
from kit.questions.verdict import CANNOT_TELL
from kit.whole_file import write_whole
from kit.words import Names, few

Tell = Callable[[str], None]
GivesBack = Callable[[list[ActionRecord]], dict[str, str]]
_CONFLICTS = 4
_KEEPING = ("freeze", "capture")
_OUTAGES = (
    3  # actions in a row that a service throttled or did not answer, after which the others that need it are held
)
_IMPOSSIBLE = ("404", "405", "501", IMPOSSIBLE, GONE)
_NOTHING_LEFT = (IMPOSSIBLE, GONE)  # codes of captures for which nothing waits
_ON_TODAY = "judged on today's state: what comes before it in the plan is not done yet"


@dataclass(frozen=True)
class Outcome:
    """What became of one action. word: done, done before, by hand, for a person, refused, failed, unknown, held, would be done, undone, not undone."""

    id: str
    word: str
    says: str
    check: Check | None = None


class Remediation:
    """One case's plan, its journal and the connection to its account and cluster."""

    def __init__(self, case: Path, journal: Journal, live: Connection, tell: Tell) -> None:
        self.case, self.journal, self.live, self._tell = case, journal, live, tell
        self._outages = dict[str, int]()  # service → answers in a row that did not come
        self._impossible = dict[str, str]()  # action → the code with which it failed
        self._remember()

    def _remember(self) -> None:
        """Let the acts know what the journal has: files that were kept, answers that were given, what an undo made again."""
        every = self.journal.actions.values()
        self.live.kept = {one.id: [(str(self.case / file), one.hashes[file]) for file in one.files] for one in every}
        self.live.answers = {
            one.id: [each.after["answer"] for each in one.changes if each.stands and "answer" in (each.after or {})]
            for one in every
        }
        self.live.remade = made_by_undo(self.journal.entries)

    def preview(self, plan: Plan) -> list[Outcome]:
        """What each action would do now, tried with the services' own dry-runs; nothing is changed."""
        yours = self._yourself(plan)
        return [self._previewed(plan, planned, yours) for planned in plan.actions]

    def _yourself(self, plan: Plan) -> Yourself:
        services = {service for one in plan.actions if not one.by_person for service in services_needed_by(one)}
        return Yourself(self.live, sorted(services))

    def _previewed(self, plan: Plan, planned: PlannedAction, yourself: Yourself) -> Outcome:
        record = self.journal.actions.get(planned.id)
        if record and record.finished:
            return Outcome(planned.id, "done before", "")
        yours = yourself.told(planned)
        if planned.by_person:
            return Outcome(planned.id, "for a person", "; ".join([planned.by_person, *yours]))
        people = {one.id for one in plan.actions if one.by_person and not self._is_done(one.id)}
        selected = {one.id for one in plan.actions}
        waits = [id_ for id_ in planned.after if id_ in people or (id_ not in selected and not self._is_done(id_))]
        before = [one for one in plan.actions if one.id in planned.after and not self._is_done(one.id)]
        today = [_ON_TODAY] if any(one for one in before if ACTIONS[one.action].effects != (Effect.NONE,)) else []
        says = [*yours, *([f"it would wait for {few(waits, 3)}"] if waits else [])]

        def not_done(word: str, why: str) -> Outcome:
            return Outcome(planned.id, word, "; ".join([why, *today]))

        try:
            act = ACTS[planned.action]
            refused = yourself.shut_out_by(planned) or act.refuses(self.live, planned)
            if refused:
                return not_done("refused", refused)
            against = act.stands_against(self.live, planned)
            says += [f"not yet: {against}"] if against else []
            for change in act.changes(self.live, planned):
                state = change.look(self.live)
                if change.refuses(state):
                    return not_done("refused", change.refuses(state))
                if change.holds(state):
                    says.append(f"{change.says}: it is so already")
                else:
                    says.append(f"{change.says}: {change.dry_run(self.live, state)}")
        except LiveError as error:
            return not_done("refused" if isinstance(error, Refused) else "failed", error.says)
        except Exception as error:  # noqa: BLE001 - of one action; the others are still tried
            return Outcome(planned.id, "failed", unforeseen(error))
        return Outcome(planned.id, "would be done", "; ".join([*says, *today]) or "it only reads")

    def apply(
        self, plan: Plan, approved: dict[str, Any], without_capture: str = "", by_hand: Names = ()
    ) -> list[Outcome]:
        """Do what is not done yet, in order. without_capture: the reason why what destroys does not wait for its capture.

        by_hand: ids of actions that a person has done. Raises CallError before anything is done for an id that the plan has not.
        """
        for id_ in by_hand:
            if id_ not in {one.id for one in plan.actions}:
                raise CallError(f"the plan has no action {id_!r}", where="--by-hand", next="`kit plan CASE` lists them")
        self.journal.write("approved", **approved, without_capture=without_capture)
        self._close_open()
        self._remember()
        for id_ in by_hand:
            if not self._is_done(id_):
                self.journal.write("by_hand", action=id_)
        outcomes, yourself = list[Outcome](), self._yourself(plan)
        for number, planned in enumerate(plan.actions):
            outcome = self._applied(planned, yourself, bool(without_capture))
            outcomes.append(outcome)
            said = f": {outcome.says}" if outcome.says else ""
            self._tell(f"{number + 1}/{len(plan.actions)} {outcome.word}: {planned.action} {planned.name}{said}")
        return outcomes

    def _applied(self, planned: PlannedAction, yourself: Yourself, without_capture: bool) -> Outcome:
        record = self.journal.actions.get(planned.id)
        if record and record.finished:
            return self._done_before(planned, record)
        if planned.by_person:
            return Outcome(planned.id, "for a person", planned.by_person)
        waiting = [id_ for id_ in planned.after if not self._lets_go(planned, id_, without_capture)]
        if waiting:
            return Outcome(planned.id, "held", f"it waits for {few(waiting, 3)}")
        silent = sorted(
            service
            for service, count in self._outages.items()
            if count >= _OUTAGES and service in services_needed_by(planned)
        )
        if silent:
            return Outcome(
                planned.id, "held", f"{', '.join(silent)} did not answer {_OUTAGES} times; run the same command again"
            )
        try:
            self._act(planned, yourself)
        except LiveError as error:
            return self._not_done(planned, error)
        except Exception as error:  # noqa: BLE001 - of one action; what does not hang on it goes on
            says = unforeseen(error)
            self.journal.write("failed_action", action=planned.id, says=says)
            return Outcome(planned.id, "failed", says)
        for service in services_of(planned):
            self._outages.pop(service, None)
        return Outcome(planned.id, "done", "", self._checked(planned))

    def _act(self, planned: PlannedAction, yourself: Yourself) -> None:
        """Make the changes of an action that are not made yet, and keep what it keeps."""
        act, record = ACTS[planned.action], self.journal.actions.get(planned.id)
        if (
            record is None
            or not record.changes
            or any(one.outcome not in ("done", "already") for one in record.changes)
        ):
            shut_out = yourself.shut_out_by(planned)
            refused = shut_out or act.refuses(self.live, planned) or act.stands_against(self.live, planned)
            if refused:
                raise Refused(refused)
        if record is None or not any(one.open or one.outcome in ("done", "already") for one in record.changes):
            changes = [journaled(one) for one in act.changes(self.live, planned)]
            self.journal.write("begun", action=planned.id, changes=changes)
        record = self.journal.actions[planned.id]
        for number, one in enumerate(record.changes):
            if one.outcome not in ("done", "already"):
                self._do(planned.id, number, one)
        for name, content in act.keeps(self.live, planned):
            self._keep(planned.id, name, content)
        self.journal.write("finished", action=planned.id)

    def _done_before(self, planned: PlannedAction, record: ActionRecord) -> Outcome:
        """What was done stays done; what is known not to hold any more is done again."""
        if record.by_hand:
            return Outcome(planned.id, "by hand", "")
        if not record.checked:  # a run ended between the last change and the look at it
            self._checked(planned)
        if record.checked.get("word") != DOES_NOT_HOLD:
            return Outcome(planned.id, "done before", "")
        try:
            again = False
            for number, one in enumerate(record.changes):
                change = read_back(one.change)
                if not change.by_answer and not change.holds(change.look(self.live)):
                    self._do(planned.id, number, one)
                    again = True
        except LiveError as error:
            return self._not_done(planned, error)
        return Outcome(planned.id, "done" if again else "done before", "", self._checked(planned))

    def _not_done(self, planned: PlannedAction, error: LiveError) -> Outcome:
        if is_silent(error):
            self._outages[error.service] = self._outages.get(error.service, 0) + 1
        if error.code in _IMPOSSIBLE:
            self._impossible[planned.id] = error.code
        if isinstance(error, Unknown):
            self.journal.write("unanswered", action=planned.id, says=error.says)
            return Outcome(planned.id, "unknown", f"{error.says}; it is looked up when the same command runs again")
        word = "refused" if isinstance(error, Refused) else "failed"
        self.journal.write(word + "_action", action=planned.id, says=error.says)
        let_go = planned.stage in _KEEPING and error.code in _NOTHING_LEFT
        return Outcome(planned.id, word, f"{error.says}; nothing waits for it" if let_go else error.says)

    def _lets_go(self, planned: PlannedAction, before: str, without_capture: bool) -> bool:
        """Whether an action need not wait for another any more."""
        if self._is_done(before):
            return True
        known = action_of(before)
        if known is None or known.stage not in _KEEPING:
            return False
        # Nothing waits for a capture that cannot be made here, or of what is gone; the journal has why. Another 404 may have another cause:
        # what destroys waits then.
        code = self._impossible.get(before)
        return without_capture or code in _NOTHING_LEFT or (code is not None and not ACTIONS[planned.action].destroys)

    def _is_done(self, id_: str) -> bool:
        record = self.journal.actions.get(id_)
        return bool(record and record.finished)

    def _do(self, action: str, number: int, record: ChangeRecord) -> None:
        """Make one change, whatever the journal says of an earlier try."""
        change = read_back(record.change)
        state = change.look(self.live)
        if record.open:
            self._look_up(action, number, record, change)
            if record.outcome == "done":
                return
            state = change.look(self.live)
        for tries in range(_CONFLICTS):
            refused = change.refuses(state)
            if change.holds(state) and not refused:
                self.journal.write("already", action=action, change=number, after=state)
                return
            if refused:
                raise Refused(refused)
            self.journal.write("intent", action=action, change=number, says=change.says, before=state)
            try:
                self.live.request_id = ""
                request = change.do(self.live, state) or self.live.request_id
            except (Conflict, Missing) as error:
                self.journal.write("failed", action=action, change=number, says=error.says)
                state = change.look(self.live)
                if tries == _CONFLICTS - 1:
                    raise
                time.sleep(0.2 * 2**tries)
            except Failed as error:
                self.journal.write("failed", action=action, change=number, says=error.says)
                raise
            else:
                after = {"answer": request} if change.by_answer else seen_after(self.live, change, change.holds)
                seen = change.by_answer or change.holds(after)
                self.journal.write("done", action=action, change=number, request_id=request, after=after, seen=seen)
                return

    def _look_up(self, action: str, number: int, record: ChangeRecord, change: Change) -> None:
        """Close an intent whose call was not answered: it is done, it is as before, or a person has to look."""
        now = seen_after(self.live, change, change.holds)  # what was just made is not everywhere at once
        if change.holds(now):
            self.journal.write(
                "done", action=action, change=number, request_id="", after=now, seen=True, looked_up=True
            )
        elif change.is_as_before(record.before, now):
            self.journal.write("failed", action=action, change=number, says="looked up: it did not happen")
        else:
            raise Refused(
                f"{change.says}: what is there is neither as before nor as planned; look at it, make it so, and say `--by-hand {action}`"
            )

    def _close_open(self, undoing: bool = True) -> None:
        """Look up what an earlier run left open, of this plan or of another: changes, and (undoing) whether an undo of them came through."""
        for record in list(self.journal.actions.values()):
            for number, one in enumerate(record.changes):
                if not one.open and not (undoing and one.undoing and one.stands):
                    continue
                try:
                    change = read_back(one.change)
                    if one.open:
                        self._look_up(record.id, number, one, change)
                        continue
                    now = change.look(self.live)
                    if change.is_restored(one.before, now):
                        self.journal.write(
                            "undone", action=record.id, change=number, request_id="", after=now, looked_up=True
                        )
                except LiveError as error:
                    self._tell(f"open: {record.id}: {error.says}")

    def _keep(self, action: str, name: str, content: bytes) -> None:
        safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).lstrip(".") or "file"
        path = self.case / "captures" / action / safe[:150]
        number = 1
        while path.exists():  # what an earlier try kept stays: a container's log may be shorter by now
            number += 1
            path = path.with_name(f"{number}.{safe[:150]}")
        write_whole(path, content)
        digest = hashlib.sha256(content).hexdigest()
        self.journal.write(
            "kept", action=action, file=str(path.relative_to(self.case)), sha256=digest, size=len(content)
        )

    def _checked(self, planned: PlannedAction) -> Check:
        self._remember()
        try:
            check = ACTS[planned.action].check(self.live, planned)
        except LiveError as error:
            check = Check(CANNOT_TELL, error.says)
        except Exception as error:  # noqa: BLE001 - of one check; the others are still made
            check = Check(CANNOT_TELL, unforeseen(error))
        self.journal.write("checked", action=planned.id, word=check.word, says=check.says)
        return check

    def check(self) -> list[Outcome]:
        """Look again whether what was done still holds: controllers, autoscalers and GitOps put things back."""
        return [
            Outcome(record.id, "done", "", self._checked_again(record))
            for record in list(self.journal.actions.values())
            if record.finished and not record.by_hand
        ]

    def _checked_again(self, record: ActionRecord) -> Check:
        try:
            planned = planned_of(record.action)
        except (KeyError, TypeError):
            return Check(CANNOT_TELL, "another kit planned this action, and this one does not know it: look by hand")
        return self._checked(planned)

    def undo(self, only: Names = (), gives_back: GivesBack = lambda records: {}) -> list[Outcome]:
        """Take back what was done, the last first. only: ids or names of actions; all without.

        gives_back: of the records that are to be undone, which would give the attacker access again (id → to what): they are left.
        """
        chosen, every = set(only), list(self.journal.actions.values())
        for name in chosen - {one.id for one in every} - {one.action["action"] for one in every}:
            raise CallError(
                f"no action {name!r} was done", where="--only", next="`kit journal CASE` lists what was done"
            )
        self._close_open(undoing=False)
        self._remember()
        outcomes = []
        wanted = [one for one in reversed(every) if not chosen or {one.id, one.action["action"]} & chosen]
        left = gives_back(wanted)
        for record in wanted:
            if record.id in left and any(one.stands for one in record.changes):
                says = f"it would give the attacker back {left[record.id]}; with --including-attackers it is taken back too"
                outcomes.append(Outcome(record.id, "not undone", says))
                self._tell(f"not undone: {record.id}: {says}")
                continue
            said = [
                taken_back(self.live, self.journal, record, number)
                for number, one in reversed(list(enumerate(record.changes)))
                if one.stands
            ]
            if record.by_hand:
                said.append(("not undone", "a person did it: a person undoes it"))
            if not said:
                continue
            words = {word for word, _ in said}
            word = next(one for one in ("not undone", "cannot be undone", "undone") if one in words)
            if word == "undone":
                self.journal.write("taken_back", action=record.id)
            outcomes.append(Outcome(record.id, word, "; ".join(dict.fromkeys(says for _, says in said if says))))
            self._tell(f"{word}: {record.id}" + (f": {outcomes[-1].says}" if outcomes[-1].says else ""))
        return outcomes
