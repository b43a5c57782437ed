"""Labs, one folder with one lab.toml each, read strictly: all that is wrong with all of them is said at once.

Those of the kit lie in `kit/training/labs` and work on its recordings; one of an instructor's own has its case beside its lab.toml.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Any

from kit.actions.action import STAGES
from kit.errors import TrainingError
from kit.playbooks.playbook import FOLDER, finding_types, playbook_of, playbooks_by_family
from kit.training.about_state import LOOKED_AT
from kit.training.asking import ASKED_IN_LABS
from kit.training.lab import LAB_LEVELS, OWN_CASE, Lab, LabCase, recordings
from kit.training.variation import TRUTH
from kit.words import nearest

LABS = Path(__file__).parent / "labs"
LAB_FILE = "lab.toml"
_MEMBERS: dict[str, type] = {
    "title": str, "story": str, "level": int, "minutes": int, "family": object, "goals": list, "prerequisites": list,
    "questions": list, "case": dict, "stage": str,
}  # fmt: skip
_OF_CASE: dict[str, type] = {
    "recording": str,
    "finding": str,
    "as_type": str,
    "without": list,
    "sample": bool,
    "expected": bool,
    "decoys": str,
}
_OF_TRUTH: dict[str, type] = {
    "cluster": str, "account": str, "region": str, "window": dict, "attacker": dict, "attacker_calls": list, "cloudtrail_attacker_events": list,
    "attacker_touched_pods": list, "findings": dict, "all_pods": list,
}  # fmt: skip


def labs(folder: Path = LABS) -> dict[str, Lab]:
    """Every lab of a folder by name, by level. Raises TrainingError with all that is wrong with all of them at once."""
    paths = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith((".", "_"))]
    return _read(paths, folder, set() if folder == LABS else set(labs()))


def labs_at(folder: Path) -> dict[str, Lab]:
    """The lab in a folder, or all labs in the folders below it. Raises TrainingError as `labs` does, and where there is none."""
    if (folder / LAB_FILE).is_file():
        whole = folder.resolve()
        return _read([whole], whole.parent, set(labs()))
    below = sorted(path.parent for path in folder.glob(f"*/{LAB_FILE}"))
    if not below:
        raise TrainingError(
            "no lab is here", where=str(folder), next=f"name the folder of a lab, which has a {LAB_FILE}"
        )
    return _read(below, folder, set(labs()))


def _read(paths: list[Path], folder: Path, others: set[str]) -> dict[str, Lab]:
    """The labs in some folders; others: names of labs elsewhere, which may come before them."""
    found, faults = list[Lab](), list[str]()
    for path in paths:
        read = _Reader(path, faults).lab()
        found += [read] if read else []
        if path.name in others:
            faults.append(f"{path.name}: a lab of the kit has this name")
    names = {one.name for one in found} | others
    for one in found:
        faults += [
            f"{one.name}/{LAB_FILE}: prerequisites[{number}]: {name!r} is not a lab; {nearest(name, names)}"
            for number, name in enumerate(one.prerequisites)
            if name not in names
        ]
    if faults:
        raise TrainingError(
            "; ".join(faults), where=str(folder), next="mend the labs; docs/training.md has what a lab is made of"
        )
    return {one.name: one for one in sorted(found, key=lambda one: (one.level, one.name))}


def lab_named(name: str) -> Lab:
    """A lab by its name, or by the path of its folder. Raises TrainingError for an unknown one."""
    path = Path(name)
    if os.sep in name or (path / LAB_FILE).is_file():
        (lab,) = labs_at(path).values() if (path / LAB_FILE).is_file() else (None,)
        if lab is None:
            raise TrainingError("no lab is here", where=name, next=f"name the folder of a lab, which has a {LAB_FILE}")
        return lab
    every = labs()
    if name not in every:
        raise TrainingError(f"{name!r} is not a lab", next=f"{nearest(name, every)}; `kit train list` has them all")
    return every[name]


def guidance_of(lab: Lab) -> str:
    """The digest of what a lab teaches: the playbooks of its families and their finding types. Another one means that a pass is stale."""
    whole = hashlib.sha256()
    for family in lab.families:
        whole.update((FOLDER / f"{family}.toml").read_bytes())
        for name in playbooks_by_family()[family].finding_types:
            whole.update(repr(finding_types()[name]).encode())
    return whole.hexdigest()


class _Reader:
    """One lab folder, all of its faults into one list."""

    def __init__(self, folder: Path, faults: list[str]) -> None:
        self._folder, self._faults = folder, faults

    def _fault(self, says: str) -> None:
        self._faults.append(f"{self._folder.name}/{LAB_FILE}: {says}")

    def lab(self) -> Lab | None:
        """The lab, None when it has a fault."""
        before = len(self._faults)
        for path in sorted(self._folder.iterdir()):
            if path.name != LAB_FILE and not (path.name == OWN_CASE and path.is_dir()):
                self._faults.append(f"{self._folder.name}/{path.name}: a lab is one {LAB_FILE} and nothing else")
        try:
            text = (self._folder / LAB_FILE).read_bytes()
            read = tomllib.loads(text.decode())
        except OSError as error:
            self._fault(f"cannot be read: {error.strerror}")
            return None
        except ValueError as error:
            self._fault(f"is no TOML: {error}")
            return None
        self._members(read, _MEMBERS, "", optional=("prerequisites", "stage"))
        about = read.get("case")
        if isinstance(about, dict):
            self._members(about, _OF_CASE, "case.", optional=("as_type", "without", "sample", "expected", "decoys"))
        families = read.get("family")
        lists: dict[str, Any] = {name: read.get(name, []) for name in ("goals", "prerequisites", "questions")}
        lists |= {"family": [families] if isinstance(families, str) else families}
        lists |= {"case.without": about.get("without", [])} if isinstance(about, dict) else {}
        for name, listed in lists.items():
            if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
                self._fault(f"{name} is no list of names")
            elif len(set(listed)) != len(listed):
                self._fault(f"{name} names something twice")
            elif not listed and name not in ("prerequisites", "case.without"):
                self._fault(f"{name} is empty")
        if len(self._faults) > before or not isinstance(about, dict):
            return None
        case = LabCase(
            about["recording"],
            about["finding"],
            about.get("as_type", ""),
            tuple(about.get("without", [])),
            about.get("sample", False),
            about.get("expected", False),
            about.get("decoys", ""),
            self._folder if about["recording"] == OWN_CASE else None,
        )
        self._known(lists, case, read)
        if len(self._faults) > before:
            return None
        return Lab(
            name=self._folder.name,
            title=read["title"],
            story=read["story"].strip(),
            level=read["level"],
            minutes=read["minutes"],
            families=tuple(lists["family"]),
            goals=tuple(lists["goals"]),
            prerequisites=tuple(lists["prerequisites"]),
            questions=tuple(lists["questions"]),
            case=case,
            digest=hashlib.sha256(text + (self._truth_of(case) if case.beside else b"")).hexdigest(),
            stage=read.get("stage", ""),
        )

    def _members(self, read: dict[str, Any], members: dict[str, type], of: str, optional: tuple[str, ...]) -> None:
        for name, kind in members.items():
            odd = not isinstance(read.get(name), kind) or (kind is int and isinstance(read[name], bool))
            if (name in read or name not in optional) and odd:
                self._fault(f"{of}{name} is missing or no {kind.__name__}")
        for name in read.keys() - members.keys():
            self._fault(f"{of}{name} is not a member of a lab; {nearest(name, members)}")

    def _known(self, lists: dict[str, Any], case: LabCase, read: dict[str, Any]) -> None:
        known: list[tuple[str, Any, Any]] = [
            *((f"family[{number}]", one, playbooks_by_family()) for number, one in enumerate(lists["family"])),
            *((f"questions[{number}]", one, ASKED_IN_LABS) for number, one in enumerate(lists["questions"])),
            ("case.finding", case.finding, finding_types()),
            *([("case.as_type", case.as_type, finding_types())] if case.as_type else []),
            *([("case.decoys", case.decoys, recordings()[:-1])] if case.decoys else []),
            ("case.recording", case.recording, [*recordings(), OWN_CASE]),
        ]
        for where, name, every in known:
            if name not in every:
                self._fault(f"{where}: {name!r} is not known; {nearest(name, list(every))}")
        stage = read.get("stage", "")
        if stage and stage not in STAGES:
            self._fault(f"stage: {stage!r} is no stage of a plan; {nearest(stage, STAGES)}")
        for number, one in enumerate(lists["questions"]):
            if one in ASKED_IN_LABS and (one in LOOKED_AT) != bool(stage):
                self._fault(
                    f"questions[{number}]: {one} is {'looked at, and this lab has no stage' if not stage else 'answered, and this lab is done'}"
                )
        if read["level"] not in LAB_LEVELS:
            self._fault(f"level: {read['level']} is none of {', '.join(map(str, LAB_LEVELS))}")
        if not 0 < read["minutes"] <= 480:
            self._fault(f"minutes: {read['minutes']} is not between 1 and 480")
        if case.beside is not None:
            self._own(case)
        if case.folder.is_dir():
            self._faults += [
                f"{self._folder.name}/{LAB_FILE}: case.without: {name!r} is not in the recording"
                for name in case.without
                if not (case.folder / name).exists()
            ]
        if case.finding_type in finding_types() and playbook_of(case.finding_type).family not in lists["family"]:
            self._fault(
                f"family: {case.finding_type} is of {playbook_of(case.finding_type).family}, which is not among them"
            )

    def _own(self, case: LabCase) -> None:
        """What a lab of one's own has to have beside it."""
        try:
            truth = json.loads(self._truth_of(case))
            lacks = [name for name, kind in _OF_TRUTH.items() if not isinstance(truth.get(name), kind)]
            asked = [one["type"] for one in truth["findings"].values()] if not lacks else []
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            self._fault(f"{OWN_CASE}/{TRUTH} is missing or cannot be read")
            return
        self._faults += [
            f"{self._folder.name}/{OWN_CASE}/{TRUTH}: {name} is missing or no {_OF_TRUTH[name].__name__}"
            for name in lacks
        ]
        if not lacks and case.finding not in asked:
            self._fault(f"case.finding: the truth has no finding of type {case.finding}")

    @staticmethod
    def _truth_of(case: LabCase) -> bytes:
        return (case.folder / TRUTH).read_bytes()
