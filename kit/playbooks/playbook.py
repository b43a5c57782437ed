"""The playbooks: what each family of finding types means, what to ask of the evidence, which answer decides, what to do.

Data in kit/playbooks/*.toml, one file a family; finding_types.json beside them has every type with its severity, tactic and summary.
A type that no playbook lists goes to the one with the longest common beginning, else to generic.toml.
Sources: Amazon GuardDuty User Guide, finding types; AWS publishes the tactic of a type, the techniques are our own mapping.
"""

from __future__ import annotations

import functools
import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kit.actions.action import Action
from kit.actions.registry import ACTIONS
from kit.errors import PlaybookError
from kit.questions import QUESTIONS, Question

FOLDER = Path(__file__).parent
GENERIC = "generic"
_MEMBERS = {
    "title": str, "finding_types": list, "configuration_issue": bool, "saw": str, "telling": str, "sources": list,
    "false_alarm": dict, "techniques": list, "questions": list, "actions": list,
}  # fmt: skip


@dataclass(frozen=True)
class Technique:
    """A technique of MITRE ATT&CK that the family stands for: our own mapping."""

    id: str
    name: str


@dataclass(frozen=True)
class Do:
    """An action of a playbook, and when not to take it."""

    action: Action
    when_not: str


@dataclass(frozen=True)
class Playbook:
    """The playbook of one family. telling: the question whose verdict decides it."""

    family: str
    title: str
    finding_types: tuple[str, ...]
    configuration_issue: bool
    saw: str
    commonly: str
    tell: str
    techniques: tuple[Technique, ...]
    questions: tuple[Question, ...]
    actions: tuple[Do, ...]
    telling: Question
    sources: tuple[str, ...]


@dataclass(frozen=True)
class FindingType:
    """What AWS publishes of a finding type. tactic: None where AWS names none. status: active or retired."""

    type: str
    severity: str
    tactic: str | None
    status: str
    summary: str


@functools.cache
def finding_types() -> dict[str, FindingType]:
    """Every finding type about EKS by name, retired ones too."""
    listed = json.loads((FOLDER / "finding_types.json").read_text(encoding="utf-8"))
    return {name: FindingType(name, **members) for name, members in listed.items()}


@functools.cache
def playbooks_by_family() -> dict[str, Playbook]:
    """Every playbook of the kit by family."""
    return read_playbooks(FOLDER)


def read_playbooks(folder: Path) -> dict[str, Playbook]:
    """The playbooks of a folder by family. Raises PlaybookError with all that is wrong with all files at once."""
    found, faults = dict[str, Playbook](), list[str]()
    for path in sorted(folder.glob("*.toml")):
        loaded = _load(path, faults)
        if loaded:
            found[loaded.family] = loaded
    owners = dict[str, str]()
    for family, one in found.items():
        for name in one.finding_types:
            if name in owners:
                faults.append(f"{family}.toml: {name} stands in {owners[name]}.toml too")
            owners.setdefault(name, family)
    if faults:
        raise PlaybookError(
            "; ".join(faults),
            where=str(folder),
            next="mend the files; docs/finding-types has every question and action",
        )
    return found


def playbook_of(finding_type: str) -> Playbook:
    """The playbook of a finding type, listed or not."""
    every = playbooks_by_family()
    for one in every.values():
        if finding_type in one.finding_types:
            return one
    # Of equally long beginnings the one that more of a family's types have.
    alike = Counter[tuple[int, str]]()
    for one in every.values():
        for name in one.finding_types:
            common = os.path.commonprefix([name, finding_type])  # noqa: RUF071 - of texts, no paths
            if "/" in common:  # threat purpose and resource are the same; less says nothing
                alike[len(common), one.family] += 1
    best = max(alike, key=lambda found: (found[0], alike[found], found[1]), default=None)
    return every[best[1]] if best else every[GENERIC]


def _load(path: Path, faults: list[str]) -> Playbook | None:
    def fault(says: str) -> None:
        faults.append(f"{path.name}: {says}")

    before = len(faults)
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fault(f"is no TOML: {error}")
        return None
    for name, kind in _MEMBERS.items():
        if not isinstance(read.get(name), kind):
            fault(f"{name} is missing or no {kind.__name__}")
    for name in read.keys() - _MEMBERS.keys():
        fault(f"{name} is not a member of a playbook")
    if len(faults) > before:
        return None
    asks = [str(one) for one in read["questions"]]
    does = list(_entries(read["actions"], "actions", ("do", "when_not"), fault))
    techniques = list(_entries(read["techniques"], "techniques", ("id", "name"), fault))
    false_alarm = list(_entries([read["false_alarm"]], "false_alarm", ("commonly", "tell"), fault))
    for place, name in (
        *((f"questions[{number}]", one) for number, one in enumerate(asks)),
        ("telling", read["telling"]),
    ):
        if name not in QUESTIONS:
            fault(f"{place}: {name!r} is not a question{_nearest(name, QUESTIONS)}")
    for number, one in enumerate(does):
        if one["do"] not in ACTIONS:
            fault(f"actions[{number}]: {one['do']!r} is not an action{_nearest(one['do'], ACTIONS)}")
    for where, names in (
        ("questions", asks),
        ("actions", [one["do"] for one in does]),
        ("finding_types", read["finding_types"]),
    ):
        for name in sorted({name for name in names if names.count(name) > 1}):
            fault(f"{where}: {name} stands twice")
    if read["telling"] not in asks:
        fault(f"telling: {read['telling']} is not among its questions")
    for name in read["finding_types"]:
        if name not in finding_types():
            fault(f"finding_types: {name} is not in finding_types.json{_nearest(name, finding_types())}")
    if len(faults) > before:
        return None
    return Playbook(
        family=path.stem,
        title=read["title"],
        finding_types=tuple(read["finding_types"]),
        configuration_issue=read["configuration_issue"],
        saw=read["saw"],
        commonly=false_alarm[0]["commonly"],
        tell=false_alarm[0]["tell"],
        techniques=tuple(Technique(**one) for one in techniques),
        questions=tuple(QUESTIONS[one] for one in asks),
        actions=tuple(Do(ACTIONS[one["do"]], one["when_not"]) for one in does),
        telling=QUESTIONS[read["telling"]],
        sources=tuple(read["sources"]),
    )


def _entries(listed: list[Any], where: str, members: tuple[str, ...], fault: Any) -> Iterator[dict[str, str]]:
    for number, one in enumerate(listed):
        wrong = [
            name
            for name in members
            if not isinstance(one, dict) or not isinstance(one.get(name), str) or not one[name].strip()
        ]
        wrong += sorted(one.keys() - set(members)) if isinstance(one, dict) else []
        if wrong:
            fault(f"{where}[{number}]: {', '.join(wrong)} is missing, empty or unknown")
        else:
            yield one


def _nearest(name: str, known: Any) -> str:
    near = get_close_matches(str(name), list(known), 1)
    return f": did you mean {near[0]}?" if near else ""
