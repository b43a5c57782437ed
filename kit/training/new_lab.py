"""A lab of a case of one's own: its evidence masked and renamed, its truth the scope that a person confirmed, its questions those that it can ask."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.case.case import Case
from kit.case.locks import locks_of
from kit.case.opening import open_case
from kit.errors import TrainingError
from kit.evidence.intake import Progress, load_new_case
from kit.playbooks.playbook import playbook_of
from kit.store.marks import marks_of
from kit.training.asking import ASKED_IN_LABS
from kit.training.kinds import LabQuestion
from kit.training.lab import OWN_CASE, Lab, LabCase
from kit.training.material import Material
from kit.training.own_evidence import evidence_of
from kit.training.own_truth import differences, truth_of
from kit.training.reading import LAB_FILE, labs, labs_at
from kit.training.redaction import Redaction
from kit.training.variation import AS_RECORDED, TRUTH, written
from kit.training.whole_folder import refuse_taken, writing_folder
from kit.whole_file import write_whole
from kit.words import Names, few

_ASKED = (
    "affected_pods", "affected_nodes", "affected_service_accounts", "secrets_the_caller_read", "attackers_calls", "observed_or_not",
    "actions_in_order", "actions_that_lose_evidence", "what_to_act_on", "statements_the_evidence_shows", "what_the_log_holds",
    "what_would_show_it", "commonest_false_alarm", "brief_in_five_sentences",
)  # fmt: skip
"""What a lab of one's own asks where its case has what the question is made of."""
_FEWEST, _SWEEPING, _MOST = 4, 0.4, 5
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class NewLab:
    """What was made. left_out: questions that this case cannot ask."""

    lab: Lab
    left_out: tuple[str, ...]


def new_lab(
    folder: Path,
    case_dir: Path,
    finding: str,
    title: str,
    story: str,
    seed: int,
    rename: Names = (),
    keep: Names = (),
    progress: Progress | None = None,
) -> NewLab:
    """Make the folder of a lab, whole or not at all. Raises TrainingError with what stands in the way."""
    _refuse_name(folder)
    if locks_of(case_dir):
        raise TrainingError("this is the case of a lab", where=str(case_dir), next="name a case of your own")
    case = open_case(case_dir)
    truth = truth_of(case, finding)
    texts = evidence_of(case, finding) | {TRUTH: json.dumps(truth, ensure_ascii=False, separators=(",", ":"))}
    mapping = Redaction(seed, texts, rename, keep)
    changed = {mapping(name): _changed(mapping, text) for name, text in texts.items()}
    left = mapping.left(changed | {"title": title, "story": story})
    if left:
        raise TrainingError(
            f"this would still tell whose case it is: {few(left, _MOST)}",
            where=str(case_dir),
            next="give another name to each with --rename WORD, or say with --keep WORD that a word tells nothing",
        )
    with writing_folder(folder) as (made, beside):
        for name, text in changed.items():
            written(text, made / OWN_CASE / name)
        _refuse_another_scope(case, mapping, made / OWN_CASE, mapping(finding), beside / "again", progress)
        lab, left_out = _asking(made, case.finding(finding).type, title, story)
        write_whole(made / LAB_FILE, _as_toml(lab))
        checked = labs_at(made)[folder.name]
    return NewLab(replace(checked, case=replace(checked.case, beside=folder)), left_out)


def _refuse_name(folder: Path) -> None:
    refuse_taken(folder)
    if not _NAME.fullmatch(folder.name) or folder.name in labs():
        why = (
            "is a lab of the kit" if folder.name in labs() else "is no name of a lab: small letters, digits and hyphens"
        )
        raise TrainingError(f"{folder.name!r} {why}", where=str(folder), next="choose another name for the folder")


def _changed(mapping: Redaction, text: str) -> str:
    return "".join(map(mapping, text.splitlines(keepends=True)))


def _refuse_another_scope(
    case: Case, mapping: Redaction, evidence: Path, finding: str, again: Path, progress: Progress | None
) -> None:
    """What was masked or left out may have been what the scope rests on: the changed case is asked, with the same marks."""
    truth = json.loads((evidence / TRUTH).read_text(encoding="utf-8"))
    given = [str(path) for path in sorted(evidence.iterdir()) if path.name != TRUTH]
    load_new_case(again, given, progress=progress)
    lines = list[str]()
    for mark in marks_of(case.path):
        told = {
            "finding": mark.finding,
            "question": mark.question,
            "word": mark.word,
            "note": "marked",
            "at": mark.at.isoformat(),
        }
        told |= {"about": mark.about} if mark.about else {}
        lines.append(mapping(json.dumps(told)) + "\n")
    (again / "marks.jsonl").write_text("".join(lines), encoding="utf-8")
    other = differences(truth, truth_of(Case(again), finding))
    if other:
        raise TrainingError(
            f"masked and renamed, the case has another scope than the one that was confirmed: {few(other, _MOST)}",
            where=str(case.path),
            next="a lab keeps no sign-ins, nothing that ran on nodes and no secrets; make it of a case whose scope needs none of these",
        )


def _asking(made: Path, finding_type: str, title: str, story: str) -> tuple[Lab, tuple[str, ...]]:
    """The lab with the questions that its case can ask, and those that it cannot."""
    family = playbook_of(finding_type).family
    case = LabCase(OWN_CASE, finding_type, beside=made)
    lab = Lab(made.name, title, story, 2, 30, (family,), ("-",), (), _ASKED, case, "")
    material = Material(lab, AS_RECORDED)
    asked = {name: one for name in _ASKED if (one := _asked(name, material)) is not None}
    if len(asked) < _FEWEST:
        raise TrainingError(
            f"this case can ask {len(asked)} questions alone: {few(list(asked), _MOST)}",
            next=f"make the lab of a case with more in it; {_FEWEST} questions are the fewest",
        )
    goals = tuple(dict.fromkeys(one.goal for one in asked.values()))
    return replace(lab, goals=goals, questions=tuple(asked)), tuple(name for name in _ASKED if name not in asked)


def _asked(name: str, material: Material) -> LabQuestion | None:
    """A question of a lab, None where its case lacks what it is made of, or where naming all or nothing would pass."""
    try:
        made = ASKED_IN_LABS[name](material)
        right, *sweeping = (made.grade(one).share for one in (made.right_answer, made.everything, made.nothing))
    except (LookupError, ValueError, ZeroDivisionError, StopIteration):
        return None  # questions are made for recordings that have calls, people and pods to choose from
    return made if right == 1 and max(sweeping) < _SWEEPING else None


def _as_toml(lab: Lab) -> str:
    def listed(names: Names) -> str:
        return "[\n" + "".join(f"  {_quoted(name)},\n" for name in names) + "]"

    lines = [
        f"title = {_quoted(lab.title)}",
        f"story = {_quoted(lab.story)}",
        f"level = {lab.level}",
        f"minutes = {lab.minutes}",
        f"family = {listed(lab.families)}",
        f"goals = {listed(lab.goals)}",
        f"questions = {listed(lab.questions)}",
        "",
        "[case]",
        f"recording = {_quoted(lab.case.recording)}",
        f"finding = {_quoted(lab.case.finding)}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: Any) -> str:
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
