"""The kinds of questions of a lab: each knows what is right, and grades an answer by what it has and what it lacks.

A mark is between 0 and 1. Naming everything and naming nothing come to 0: what counts is how much better than that an answer is
(Youden's J: the share of the right ones that was named, less the share of the others). What does harm, and a guess where nothing can be told,
takes something away.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

NOTHING_TOLD = "cannot tell"
NONE_RIGHT = "[]"
"""What is missed where something was named and nothing is right; no name is this."""
HARM_COSTS = 0.5
"""What each harmful choice, and each guess at what cannot be told, takes from the mark of its question."""
MOST_SENTENCES = 5


@dataclass(frozen=True)
class Graded:
    """What an answer came to. share: 0 to 1, less than 0 where it does harm. missed, wrong, harm: keys. unread: why it cannot be graded."""

    share: float
    missed: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    harm: tuple[str, ...] = ()
    unread: str = ""


@dataclass(frozen=True, kw_only=True)
class LabQuestion(ABC):
    """One question as a learner gets it. proof: key → what shows that it is right. hints: from the lightest to the plainest.

    kit_tells: whether scope, answers, plan or brief of the kit answer it, so that it weighs half of one that a person has to answer.
    """

    name: str
    text: str
    goal: str
    proof: Mapping[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    kit_tells: bool = False

    @property
    def weight(self) -> int:
        """How much it counts in the mark of its lab."""
        return 1 if self.kit_tells else 2

    @abstractmethod
    def grade(self, answer: Any) -> Graded:
        """The mark of an answer as the answer file has it."""

    @property
    @abstractmethod
    def right_answer(self) -> Any:
        """The answer that is right in all, as an answer file would have it."""

    @property
    @abstractmethod
    def everything(self) -> Any:
        """The answer of somebody who names all there is."""

    @property
    @abstractmethod
    def nothing(self) -> Any:
        """The answer of somebody who says that there is nothing."""

    @property
    @abstractmethod
    def form(self) -> str:
        """How an answer is written."""

    @property
    def lines(self) -> list[str]:
        """What is to choose from, as lines."""
        return []


@dataclass(frozen=True, kw_only=True)
class Picked(LabQuestion):
    """Which of these. among: all that may be named. choices: letter → text, none where the names come from the case.

    spare: what may be named and need not be. harmful: what must not. other_names: another name of a key, such as a uid.
    """

    right: frozenset[str]
    among: frozenset[str]
    choices: Mapping[str, str] = field(default_factory=dict)
    spare: frozenset[str] = frozenset()
    harmful: frozenset[str] = frozenset()
    other_names: Mapping[str, str] = field(default_factory=dict)

    def grade(self, answer: Any) -> Graded:
        """Precision and recall in one number, and not better than naming everything would be."""
        given = [answer] if isinstance(answer, str) else answer
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            return Graded(0, unread=f"is no list of texts; {self.form}")
        named = {self.other_names.get(one.strip(), one.strip()) for one in given} - {""}
        harm = tuple(sorted(named & self.harmful))
        counted = named - self.spare
        hits, wrong = counted & self.right, counted - self.right
        if self.right:
            recall = len(hits) / len(self.right)
            precision = len(hits) / len(counted) if counted else 0.0
            others = len(self.among - self.right - self.spare)
            both = 2 * precision * recall / (precision + recall) if hits else 0.0
            share = max(0.0, min(both, recall - len(wrong) / others if others else recall))
        else:
            share = 0.0 if wrong else 1.0
        missed = tuple(sorted(self.right - hits)) or ((NONE_RIGHT,) if wrong and not self.right else ())
        return Graded(share - HARM_COSTS * len(harm), missed, tuple(sorted(wrong)), harm)

    @property
    def right_answer(self) -> list[str]:
        """The right keys."""
        return sorted(self.right)

    @property
    def everything(self) -> list[str]:
        """All keys."""
        return sorted(self.among)

    @property
    def nothing(self) -> list[str]:
        """No key."""
        return []

    @property
    def form(self) -> str:
        """A list of letters or names."""
        return 'letters in a list: ["a", "c"]' if self.choices else 'names in a list, [] for none: ["NAME", "NAME"]'

    @property
    def lines(self) -> list[str]:
        """The choices."""
        return [f"* {letter}) {text}" for letter, text in self.choices.items()]


@dataclass(frozen=True, kw_only=True)
class Matched(LabQuestion):
    """Which of the options belongs to each item. items: number → text. options: word or letter → text. right: number → option.

    guess_costs: an option that must not be guessed away: another answer where it is right takes something from the mark.
    """

    items: Mapping[str, str]
    options: Mapping[str, str]
    right: Mapping[str, str]
    guess_costs: str = ""

    def grade(self, answer: Any) -> Graded:
        """How often each option was seen where it is right, better than one option for all would do."""
        if not isinstance(answer, dict) or not all(isinstance(one, str) for one in answer.values()):
            return Graded(0, unread=f"is no table of texts; {self.form}")
        given = {key: str(answer[key]).strip() for key in self.items if str(answer.get(key, "")).strip()}
        hits = {key for key, option in given.items() if option == self.right[key]}
        used = sorted(set(self.right.values()))
        seen = [
            sum(key in hits for key, option in self.right.items() if option == each)
            / sum(option == each for option in self.right.values())
            for each in used
        ]
        mean, chance = sum(seen) / len(used), 1 / len(used)
        share = max(0.0, (mean - chance) / (1 - chance)) if len(used) > 1 else mean
        wrong = tuple(key for key in given if key not in hits)
        guessed = tuple(key for key in wrong if self.guess_costs and self.right[key] == self.guess_costs)
        cost = HARM_COSTS * len(guessed) / max(1, sum(option == self.guess_costs for option in self.right.values()))
        return Graded(share - cost, tuple(key for key in self.items if key not in given), wrong, guessed)

    @property
    def right_answer(self) -> dict[str, str]:
        """The right option of each item."""
        return dict(self.right)

    @property
    def everything(self) -> dict[str, str]:
        """The first option for all."""
        return dict.fromkeys(self.items, next(iter(self.options)))

    @property
    def nothing(self) -> dict[str, str]:
        """The second option for all."""
        return dict.fromkeys(self.items, list(self.options)[1])

    @property
    def form(self) -> str:
        """A table of number and option."""
        first, *_, last = self.options
        return f'number and answer in a table: {{ 1 = "{first}", 2 = "{last}" }}'

    @property
    def lines(self) -> list[str]:
        """The items, then the options."""
        items = [f"{number}. {text}" for number, text in self.items.items()]
        return [*items, "", *(f"* {key}) {text}" if text else f"* `{key}`" for key, text in self.options.items())]


@dataclass(frozen=True, kw_only=True)
class Ordered(LabQuestion):
    """In which order. choices: letter → text. place: letter → its place; those of one place may stand in any order."""

    choices: Mapping[str, str]
    place: Mapping[str, int]

    def grade(self, answer: Any) -> Graded:
        """The share of pairs in their order, where half of them right is what chance gives."""
        if not isinstance(answer, list) or not all(isinstance(one, str) for one in answer):
            return Graded(0, unread=f"is no list of texts; {self.form}")
        given = [one.strip() for one in answer]
        if len(set(given)) != len(given):
            return Graded(0, unread="has a letter twice")
        inner = combinations(sorted(self.place, key=self.place.__getitem__), 2)
        pairs = [(first, then) for first, then in inner if self.place[first] != self.place[then]]
        kept = [
            (first, then) for first, then in pairs
            if first in given and then in given and given.index(first) < given.index(then)
        ]  # fmt: skip
        turned = [pair for pair in pairs if pair not in kept and set(pair) <= set(given)]
        return Graded(
            max(0.0, 2 * len(kept) / len(pairs) - 1),
            tuple(sorted(set(self.place) - set(given))),
            tuple(sorted({then for _, then in turned} | (set(given) - set(self.place)))),
        )

    @property
    def right_answer(self) -> list[str]:
        """The letters in their order."""
        return sorted(self.place, key=lambda letter: (self.place[letter], letter))

    @property
    def everything(self) -> list[str]:
        """The letters as they are printed."""
        return list(self.choices)

    @property
    def nothing(self) -> list[str]:
        """No letter."""
        return []

    @property
    def form(self) -> str:
        """A list of letters."""
        return 'letters in their order: ["c", "a", "b"]'

    @property
    def lines(self) -> list[str]:
        """The choices."""
        return [f"* {letter}) {text}" for letter, text in self.choices.items()]


@dataclass(frozen=True, kw_only=True)
class Reached(LabQuestion):
    """What holds once a lab was done: it is looked at, not answered. things: key → what is to hold. keeps: whether it held before, too.

    What held before and does not any more is harm. What had to be reached weighs four times as much as what had to be kept, so that
    nobody passes by doing nothing.
    """

    things: Mapping[str, str]
    keeps: bool = False

    @property
    def weight(self) -> int:
        """How much it counts in the mark of its lab."""
        return 1 if self.keeps else 4

    def grade(self, answer: Any) -> Graded:
        """The share of what holds."""
        if not isinstance(answer, list) or not all(isinstance(one, str) for one in answer):
            return Graded(0, unread="is no list of what holds")
        missed = tuple(key for key in self.things if key not in answer)
        harm = missed if self.keeps else ()
        return Graded(1 - len(missed) / len(self.things) - HARM_COSTS * len(harm), missed, (), harm)

    @property
    def right_answer(self) -> list[str]:
        """All of it holds."""
        return list(self.things)

    @property
    def everything(self) -> list[str]:
        """What holds where somebody acts on all there is."""
        return [] if self.keeps else list(self.things)

    @property
    def nothing(self) -> list[str]:
        """What holds where somebody does nothing."""
        return list(self.things) if self.keeps else []

    @property
    def form(self) -> str:
        """It is not answered."""
        return "none; account and cluster are looked at"


@dataclass(frozen=True, kw_only=True)
class FiveSentences(LabQuestion):
    """What happened, in a few sentences. facts: what has to be told → the words of which one has to stand there; others: words of other things."""

    facts: Mapping[str, frozenset[str]]
    others: frozenset[str]

    def grade(self, answer: Any) -> Graded:
        """How many facts it has, and how much of what it names is not of this incident. Nothing else of a text is judged."""
        if not isinstance(answer, str):
            return Graded(0, unread=f"is no text; {self.form}")
        words = set(re.findall(r"[\w.:/@+-]*\w", answer.lower()))
        has = {fact for fact, accepted in self.facts.items() if words & accepted}
        wrong = tuple(sorted(words & self.others))
        if len(re.findall(r"[.!?](?=\s|$)", answer.strip())) > MOST_SENTENCES:
            return Graded(0, unread=f"has more than {MOST_SENTENCES} sentences")
        share = min(len(has) / len(self.facts), len(has) / (len(has) + len(wrong)) if has else 0.0)
        return Graded(share, tuple(fact for fact in self.facts if fact not in has), wrong)

    @property
    def right_answer(self) -> str:
        """One sentence with each fact."""
        return " ".join(min(accepted) for accepted in self.facts.values()) + "."

    @property
    def everything(self) -> str:
        """Every name that the case has."""
        return " ".join(sorted({*self.others, *(word for accepted in self.facts.values() for word in accepted)})) + "."

    @property
    def nothing(self) -> str:
        """That nothing happened."""
        return "Nothing happened."

    @property
    def form(self) -> str:
        """A text."""
        return f'at most {MOST_SENTENCES} sentences: """…"""'
