"""Marks: answers of a learner against the truth of the lab's case, what hints cost, and what is shown of what was missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit import __version__
from kit.errors import TrainingError
from kit.training.asking import asked_of
from kit.training.kinds import FiveSentences, Graded, LabQuestion
from kit.training.lab import Lab
from kit.training.learner_folder import ANSWERS, LAB_CASE, Started, answers_in, lab_page, page_digest, started_in
from kit.training.locking import open_graded
from kit.training.material import Material
from kit.training.progress import ProgressEntry, add_entry, entries_of
from kit.training.reading import guidance_of, lab_named
from kit.words import iso, nearest

HINT_COSTS = 0.1
"""The part of a question's mark that each hint takes."""
LAST_WITH_HINTS = 2
"""The highest level that has hints: a whole incident is worked as at night."""
SHOWN_FROM_TRY = 2
"""From which try on the right answers are shown, with the evidence of each."""


@dataclass(frozen=True)
class QuestionMark:
    """One question's mark, 0 to 100 or less where harm was done. shown: key → the evidence of what was missed, from the second try on."""

    asked: LabQuestion
    graded: Graded
    answered: bool
    hints: int
    shown: dict[str, str]

    @property
    def mark(self) -> int:
        """The mark with what the hints cost."""
        share = self.graded.share
        return round(100 * share * (1 - HINT_COSTS * self.hints if share > 0 else 1))


@dataclass(frozen=True)
class LabMark:
    """The mark of a lab: the mean of its questions' marks by their weight, never less than 0. minutes: kept, not marked."""

    started: Started
    lab: Lab
    attempt: int
    minutes: int
    questions: tuple[QuestionMark, ...]

    @property
    def mark(self) -> int:
        """The mark, 0 to 100."""
        weights = sum(one.asked.weight for one in self.questions)
        return max(0, round(sum(one.mark * one.asked.weight for one in self.questions) / weights))

    @property
    def harm(self) -> int:
        """How many answers would have done harm."""
        return sum(len(one.graded.harm) for one in self.questions)


def grade_answers(
    asked: list[LabQuestion], answers: dict[str, Any], hints: dict[str, int], attempt: int
) -> tuple[QuestionMark, ...]:
    """The mark of each question."""
    marks = []
    for one in asked:
        answered = one.name in answers
        graded = one.grade(answers[one.name]) if answered else Graded(0)
        keys = {*graded.missed, *graded.wrong, *graded.harm} if answered else set(one.proof)
        shown = {key: one.proof[key] for key in one.proof if key in keys} if attempt >= SHOWN_FROM_TRY else {}
        marks.append(QuestionMark(one, graded, answered, hints.get(one.name, 0), shown))
    return tuple(marks)


def grade_folder(folder: Path, progress: Path, answers: Path | None = None) -> LabMark:
    """Grade a learner's folder and keep the mark in the progress. Raises TrainingError; then nothing was kept."""
    started, lab, asked = work_in(folder)
    if lab.stage:
        raise TrainingError(
            f"{lab.name} is done, not answered",
            where=str(folder),
            next=f"`kit train emulate {folder}` marks what account and cluster hold when its shell ends",
        )
    return keep_mark(folder, progress, answers_in(answers or folder / ANSWERS, started, asked), started, lab, asked)


def keep_mark(
    folder: Path, progress: Path, given: dict[str, Any], started: Started, lab: Lab, asked: list[LabQuestion]
) -> LabMark:
    """Grade answers to a lab's questions and keep the mark in the progress. Raises TrainingError; then nothing was kept."""
    before = [one for one in entries_of(progress) if _is_of(one, started)]
    attempt = sum(one["kind"] == "graded" for one in before) + 1
    now = datetime.now(UTC)
    minutes = int((now - datetime.fromisoformat(started.started_at)).total_seconds() // 60)
    made = LabMark(started, lab, attempt, minutes, grade_answers(asked, given, _hints(before), attempt))
    marks = {one.asked.name: one.mark for one in made.questions}
    told = {
        "try": attempt,
        "minutes": minutes,
        "mark": made.mark,
        "harm": made.harm,
        "marks": marks,
        "hints": _hints(before),
    }
    # Free text stays with the learner: nothing personal goes into results but the name.
    told |= {
        "answers": {
            one.name: given[one.name] for one in asked if one.name in given and not isinstance(one, FiveSentences)
        }
    }
    add_entry(progress, _entry("graded", started, now) | told)
    open_graded(folder / LAB_CASE, [one.asked.name for one in made.questions if one.answered and not one.graded.unread])
    return made


def next_hint(folder: Path, question: str, progress: Path) -> tuple[str, int]:
    """The next hint for a question and how many are left; the hint is kept in the progress. Raises TrainingError where there is none."""
    started, lab, asked = work_in(folder)
    by_name = {one.name: one for one in asked}
    if question not in by_name:
        raise TrainingError(f"{question!r} is no question of this lab", next=nearest(question, by_name))
    if lab.level > LAST_WITH_HINTS:
        raise TrainingError(
            f"there are no hints above level {LAST_WITH_HINTS}",
            where=lab.name,
            next="answer what you can; grade shows the rest",
        )
    taken = _hints([one for one in entries_of(progress) if _is_of(one, started)]).get(question, 0)
    hints = by_name[question].hints
    if taken >= len(hints):
        raise TrainingError(
            "there is no further hint",
            where=question,
            next="answer what you can; grade shows the rest from the second try on",
        )
    add_entry(progress, _entry("hint", started, datetime.now(UTC)) | {"question": question})
    return hints[taken], len(hints) - taken - 1


def keep_start(started: Started, progress: Path) -> None:
    """Keep in the progress that a lab was started."""
    add_entry(progress, _entry("started", started, datetime.fromisoformat(started.started_at)))


def work_in(folder: Path) -> tuple[Started, Lab, list[LabQuestion]]:
    """What was started in a folder, its lab and its questions. Raises TrainingError where they have changed since."""
    started = started_in(folder)
    lab = _lab_of(started)
    material = Material(lab, started.seed)
    asked = asked_of(material)
    if page_digest(lab_page(lab, started.seed, material.finding_id, asked)) != started.page_digest:
        raise TrainingError(
            f"the questions of {lab.name} have changed since the lab was started with kit {started.kit}",
            where=str(folder),
            next="start it anew with `kit train start`, or grade it with that kit",
        )
    return started, lab, asked


def _lab_of(started: Started) -> Lab:
    return lab_named(started.path or started.lab)


def _entry(kind: str, started: Started, at: datetime) -> ProgressEntry:
    return {
        "kind": kind,
        "lab": started.lab,
        "seed": started.seed,
        "lab_digest": started.lab_digest,
        "guidance": guidance_of(_lab_of(started)),
        "kit": __version__,
        "at": iso(at),
    }


def _is_of(entry: ProgressEntry, started: Started) -> bool:
    return (entry.get("lab"), entry.get("seed"), entry.get("lab_digest")) == (
        started.lab,
        started.seed,
        started.lab_digest,
    )


def _hints(entries: list[ProgressEntry]) -> dict[str, int]:
    taken = [one["question"] for one in entries if one["kind"] == "hint"]
    return {question: taken.count(question) for question in taken}
