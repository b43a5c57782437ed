"""Questions about a finding type and its family: what GuardDuty saw, the commonest false alarm, what to ask first, what to do in which order.

Texts and answers come from the playbooks and from finding_types.json.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from string import ascii_lowercase
from typing import TypeVar

from kit.actions.action import STAGES, Action
from kit.actions.registry import ACTIONS
from kit.playbooks.playbook import FindingType, Playbook, finding_types, playbook_of, playbooks_by_family
from kit.training.kinds import LabQuestion, Matched, Ordered, Picked
from kit.training.material import Material

_T = TypeVar("_T")
_CHOICES = 4
_ACTIONS = 6


def what_guardduty_saw(material: Material) -> LabQuestion:
    """Which text says what GuardDuty saw and did not see."""
    return _of_families(
        material,
        "what_guardduty_saw",
        "What did GuardDuty see, and what did GuardDuty not see, where it reports each of these types?",
        "Tell what a finding of this type shows from what it does not show",
        lambda one: one.saw,
    )


def commonest_false_alarm(material: Material) -> LabQuestion:
    """Which harmless thing most often causes such a finding."""
    return _of_families(
        material,
        "commonest_false_alarm",
        "Which harmless cause is the commonest for a finding of each of these types?",
        "Know the commonest false alarm of this type",
        lambda one: one.commonly,
    )


def what_decides(material: Material) -> LabQuestion:
    """Which question is looked at first, because its answer decides."""
    return _of_families(
        material,
        "what_decides",
        "Which question do you answer first for each of these types, because the answer decides what the finding means?",
        "Know what to look at first",
        lambda one: one.telling.asks,
    )


def types_and_what_they_say(material: Material) -> LabQuestion:
    """Which summary belongs to which finding type; each type of the lab's families is there."""
    chance = material.chance("types_and_what_they_say")
    own = sorted({name for family in material.lab.families for name in playbooks_by_family()[family].finding_types})
    others = sorted(set(finding_types()) - set(own))
    types = [finding_types()[name] for name in [*own, *chance.sample(others, max(0, _CHOICES - len(own)))]]
    shown, told = _shuffled(types, chance), _shuffled({one.summary for one in types}, chance)
    letters = dict(zip(_letters(), told, strict=False))
    letter_of = {text: letter for letter, text in letters.items()}
    numbers: dict[str, FindingType] = {str(number): one for number, one in enumerate(shown, 1)}
    return Matched(
        name="types_and_what_they_say",
        text="Which sentence belongs to which finding type?",
        goal="Read the type of a finding",
        items={number: one.type for number, one in numbers.items()},
        options=letters,
        right={number: letter_of[one.summary] for number, one in numbers.items()},
        proof={number: f"{one.type}: {one.summary}" for number, one in numbers.items()},
        hints=(
            "The first word of a type is the purpose, the word after the colon the source, the rest what was seen.",
            "Types that end in !DNS saw a look-up of a name; whether a connection followed was not seen.",
        ),
    )


def actions_in_order(material: Material) -> LabQuestion:
    """In which order actions are taken."""
    chance = material.chance("actions_in_order")
    chosen = _one_a_stage(_actions(material), chance)
    for _ in range(100):
        shown = _shuffled(chosen, chance)
        letters = dict(zip(_letters(), shown, strict=False))
        made = Ordered(
            name="actions_in_order",
            kit_tells=True,
            text="In which order do you take these actions?",
            goal="Cut the attacker off first, and destroy nothing before it is captured",
            choices={letter: f"{one.does}." for letter, one in letters.items()},
            place={letter: STAGES.index(one.stage) for letter, one in letters.items()},
            proof={letter: f"{one.does}: stage {one.stage} of {' → '.join(STAGES)}" for letter, one in letters.items()},
            hints=("Which action keeps evidence that another one destroys?", f"The stages are {', '.join(STAGES)}."),
        )
        if made.grade(made.everything).share == 0:
            break
    return made


def actions_that_lose_evidence(material: Material) -> LabQuestion:
    """Which of these actions, taken before anything was captured, loses evidence."""
    chance = material.chance("actions_that_lose_evidence")
    named = _actions(material)
    lose = [one for one in named if one.destroys] or [one for one in ACTIONS.values() if one.destroys]
    keep = [one for one in named if not one.destroys] + [one for one in ACTIONS.values() if one.reads_only]
    chosen = chance.sample(lose, min(2, len(lose))) + chance.sample(list(dict.fromkeys(keep)), 4)
    letters = dict(zip(_letters(), _shuffled(chosen, chance), strict=False))
    return Picked(
        name="actions_that_lose_evidence",
        text="Nothing was captured yet. Which of these actions would lose evidence?",
        goal="Know which actions wait for a capture",
        choices={letter: f"{one.does}." for letter, one in letters.items()},
        among=frozenset(letters),
        right=frozenset(letter for letter, one in letters.items() if one.destroys),
        proof={
            letter: f"{one.does}: evidence is lost ({one.cannot_undo or one.undo})."
            for letter, one in letters.items()
            if one.destroys
        },
        hints=("Evidence in memory and on the disk of a container ends with the container.",),
    )


def _actions(material: Material) -> list[Action]:
    found = [do.action for family in material.lab.families for do in playbooks_by_family()[family].actions]
    return list(dict.fromkeys(found))


def _one_a_stage(actions: list[Action], chance: random.Random) -> list[Action]:
    by_stage = {stage: [one for one in actions if one.stage == stage] for stage in STAGES}
    return [chance.choice(listed) for listed in by_stage.values() if listed][:_ACTIONS]


def _of_families(material: Material, name: str, text: str, goal: str, says: Callable[[Playbook], str]) -> LabQuestion:
    """The finding's type and those of other families, of which the case has no finding: each with its own text, and one text too many."""
    chance = material.chance(name)
    own = playbook_of(material.lab.case.finding_type)
    others = [
        one for one in playbooks_by_family().values() if one.family not in material.families and one.finding_types
    ]
    chosen = {says(own): own}
    for one in chance.sample(others, len(others)):
        if len(chosen) < _CHOICES:
            chosen.setdefault(says(one), one)
    letters = dict(zip(_letters(), _shuffled(chosen, chance), strict=False))
    letter_of = {said: letter for letter, said in letters.items()}
    *asked, spare = chosen.values()
    asked = _shuffled(asked, chance)
    types = {one.family: chance.choice(sorted(one.finding_types)) for one in asked}
    types[own.family] = material.lab.case.finding_type
    numbered = {str(number): one for number, one in enumerate(asked, 1)}
    return Matched(
        name=name,
        text=text,
        goal=goal,
        items={number: types[one.family] for number, one in numbered.items()},
        options={letter: one.replace("\n", " ") for letter, one in letters.items()},
        right={number: letter_of[says(one)] for number, one in numbered.items()},
        proof={
            number: f"{types[one.family]}: {says(one)} Source: {one.sources[0]}" for number, one in numbered.items()
        },
        hints=(
            f"Read each part of {material.lab.case.finding_type}: purpose, source, what was seen.",
            f"Text {letter_of[says(spare)]} belongs to none of them.",
        ),
    )


def _letters() -> Iterable[str]:
    return iter(ascii_lowercase)


def _shuffled(things: Iterable[_T], chance: random.Random) -> list[_T]:
    listed = sorted(things, key=repr)
    return chance.sample(listed, len(listed))
