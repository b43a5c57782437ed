"""A class: the results of all learners in a folder, by learner, goal and question, and who may take a shift by a rule in a file."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kit.errors import TrainingError
from kit.evidence.intake import Progress
from kit.playbooks.playbook import playbooks_by_family
from kit.training.asking import asked_of
from kit.training.grading import HINT_COSTS
from kit.training.kinds import LabQuestion, Matched, Picked
from kit.training.lab import Lab
from kit.training.material import Material
from kit.training.progress import ProgressEntry
from kit.training.reading import guidance_of, labs, labs_at
from kit.training.results import Results, read_results
from kit.words import nearest

SHIFT_RULE = Path(__file__).parent / "shift_rule.toml"
_MEMBERS: dict[str, type] = {"last_labs_without_harm": int, "mark": int, "level": int, "families": list, "done": list}


@dataclass(frozen=True)
class ShiftRule:
    """Who may take a shift: no harm in so many last labs, a mark at a level in families, labs that have to be done."""

    last_labs_without_harm: int
    mark: int
    level: int
    families: tuple[str, ...]
    done: tuple[str, ...]


@dataclass(frozen=True)
class Learner:
    """One learner. lacks: what stands against a shift, nothing where it may be taken. stale: labs passed before their guidance changed."""

    name: str
    tries: list[ProgressEntry]
    lacks: list[str]
    stale: list[str]


@dataclass
class ClassReport:
    """The class. goals, questions: name → marks. wrong: question → how often each wrong answer was given. faults: files that were left out."""

    learners: list[Learner] = field(default_factory=list)
    goals: dict[str, list[int]] = field(default_factory=dict)
    questions: dict[str, list[int]] = field(default_factory=dict)
    wrong: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def shift_rule(path: Path = SHIFT_RULE) -> ShiftRule:
    """The rule in a file. Raises TrainingError with all that is wrong with it at once."""
    try:
        read = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise TrainingError(
            f"the rule cannot be read: {error.strerror}", where=str(path), next="name another file with --rule"
        ) from None
    except ValueError as error:
        raise TrainingError(
            f"the rule is no TOML: {error}", where=str(path), next=f"copy {SHIFT_RULE} and change it"
        ) from None
    faults = [
        f"{name} is missing or no {kind.__name__}"
        for name, kind in _MEMBERS.items()
        if not isinstance(read.get(name), kind) or isinstance(read[name], bool)
    ]
    faults += [f"{name} is not known; {nearest(name, _MEMBERS)}" for name in read.keys() - _MEMBERS.keys()]
    known: dict[str, Any] = {"families": playbooks_by_family(), "done": labs()}
    for member, every in known.items():
        listed = read.get(member)
        for number, name in enumerate(listed if isinstance(listed, list) else []):
            if not isinstance(name, str) or name not in every:
                faults.append(f"{member}[{number}]: {name!r} is not known; {nearest(str(name), list(every))}")
    if faults:
        raise TrainingError(
            "; ".join(faults), where=str(path), next=f"mend the rule; {SHIFT_RULE.name} of the kit is the default"
        )
    return ShiftRule(
        read["last_labs_without_harm"], read["mark"], read["level"], tuple(read["families"]), tuple(read["done"])
    )


def class_of(
    folder: Path, rule: ShiftRule, key: Path | None = None, progress: Progress | None = None, own: Path | None = None
) -> ClassReport:
    """The class in a folder of results (*.json). own: where the instructor's own labs lie. Raises TrainingError where there is none; one that cannot be taken is a fault of the report."""
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise TrainingError(
            "no results are here", where=str(folder), next="put the files of `kit train results` into the folder"
        )
    report, every, asked = ClassReport(), labs() | (labs_at(own) if own else {}), _Asked()
    for number, path in enumerate(paths):
        if progress:
            progress("grading again what was handed over", number, len(paths))
        try:
            results = read_results(path, key)
            _check(results, every, asked, path, report)
        except TrainingError as error:
            report.faults.append(str(error))
            continue
        report.learners.append(
            Learner(results.learner, results.first_tries, _lacks(results, rule, every), _stale(results, every))
        )
    report.learners.sort(key=lambda one: one.name)
    return report


class _Asked:
    """The questions of labs by seed, each made once."""

    def __init__(self) -> None:
        self._made = dict[tuple[str, int], dict[str, LabQuestion]]()

    def of(self, lab: Lab, seed: int) -> dict[str, LabQuestion]:
        """By name."""
        if (lab.name, seed) not in self._made:
            self._made[lab.name, seed] = {one.name: one for one in asked_of(Material(lab, seed))}
        return self._made[lab.name, seed]


def _check(results: Results, every: dict[str, Lab], asked: _Asked, path: Path, report: ClassReport) -> None:
    """Grade again what was answered: a mark that does not follow from its answers is no mark. Counts by goal and question."""
    counted = list[Callable[[], None]]()
    for entry in results.first_tries:
        lab = every.get(entry["lab"])
        if lab is None or lab.digest != entry["lab_digest"]:
            continue  # an older lab: its marks stand, and show as stale
        by_name = asked.of(lab, entry["seed"])
        for name, mark in entry["marks"].items():
            answers = entry.get("answers", {})
            one = by_name.get(name)
            if one is None:
                continue
            if name in answers:
                graded = one.grade(answers[name])
                hints = entry.get("hints", {}).get(name, 0)
                share = graded.share * (1 - HINT_COSTS * hints if graded.share > 0 else 1)
                if round(100 * share) != mark:
                    raise TrainingError(
                        f"the mark {mark} of {name} in {lab.name} does not follow from its answer, which comes to {round(100 * share)}",
                        where=str(path),
                        next="ask for the file again; nothing of it was counted",
                    )
                counted.append(partial(_count_wrong, report, one, graded.wrong, answers[name]))
            counted.append(partial(_count_mark, report, one, mark))
    for count in counted:
        count()


def _count_mark(report: ClassReport, one: LabQuestion, mark: int) -> None:
    report.goals.setdefault(one.goal, []).append(mark)
    report.questions.setdefault(one.name, []).append(mark)


def _count_wrong(report: ClassReport, one: LabQuestion, wrong: tuple[str, ...], given: Any) -> None:
    """What was answered wrongly, in the words of the choices; names of a case differ by seed and are left out."""
    found = report.wrong.setdefault(one.name, Counter())
    for key in wrong:
        if isinstance(one, Picked) and key in one.choices:
            found[one.choices[key]] += 1
        elif isinstance(one, Matched):
            option = str(given.get(key, "")).strip()
            found[f"{one.items[key]} → {one.options.get(option) or option}"] += 1


def _lacks(results: Results, rule: ShiftRule, every: dict[str, Lab]) -> list[str]:
    tries = results.first_tries
    last = tries[-rule.last_labs_without_harm :] if rule.last_labs_without_harm else []
    lacks = list[str]()
    if len(last) < rule.last_labs_without_harm:
        lacks.append(f"fewer than {rule.last_labs_without_harm} labs done")
    lacks += [f"harm in {one['lab']}" for one in last if one["harm"]]
    stale = _stale(results, every)
    for family in rule.families:
        best = [
            one["mark"] for one in tries
            if (lab := every.get(one["lab"])) and lab.level == rule.level and family in lab.families and lab.name not in stale
        ]  # fmt: skip
        if max(best, default=-1) < rule.mark:
            lacks.append(f"{family}: no {rule.mark} at level {rule.level}")
    done = {one["lab"] for one in tries}
    return lacks + [f"{name} is not done" for name in rule.done if name not in done]


def _stale(results: Results, every: dict[str, Lab]) -> list[str]:
    """Labs whose last pass is older than a playbook, a finding type or the lab itself that changed since."""
    last = {one["lab"]: one for one in results.first_tries}
    return sorted(
        name
        for name, one in last.items()
        if name not in every
        or one["lab_digest"] != every[name].digest
        or one.get("guidance") != guidance_of(every[name])
    )
