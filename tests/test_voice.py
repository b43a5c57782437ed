"""How the kit speaks: the measurable rules of the voice, over all texts for people."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from kit.actions.registry import ACTIONS
from kit.playbooks.playbook import playbooks_by_family
from kit.questions import QUESTIONS
from kit.questions.advice import advices
from kit.statements.moments import spoken
from kit.training.reading import labs

ROOT = Path(__file__).parents[1]
NOT_USED = re.compile(
    r"\b(he|his|him|in the attacker's hands|other hands|strangers?|visitors?|thief|thieves|doors?|knock(ed|s|ing)?|abroad|harvest\w*|loot"
    r"|nameless|intruders?|culprits?)\b",
    re.IGNORECASE,
)
MOST_WORDS = 26  # of a sentence, with the objects that it names
BEGINS_ALONE = re.compile(r"(It|They|This|These|Those|The same)\b")
_OF_ACTION = ("does", "undo", "cannot_undo", "precondition", "stops", "check", "preview", "by_person")


def texts() -> Iterator[tuple[str, str]]:
    """Every text of playbooks, advice, questions, actions and labs, with where it stands."""
    for family, one in playbooks_by_family().items():
        for text in (one.title, one.saw, one.commonly, one.tell, *(do.when_not for do in one.actions)):
            yield f"{family}.toml", text
    for name, entries in advices().items():
        yield from ((f"advice of {name}", entry.says) for entry in entries)
    yield from ((f"question {name}", question.asks) for name, question in QUESTIONS.items())
    for name, lab in labs().items():
        yield from ((f"lab {name}", text) for text in (lab.title, lab.story, *lab.goals))
    for name, action in ACTIONS.items():
        for member in _OF_ACTION:
            text = getattr(action, member)
            yield from [(f"{member} of {name}", text)] if isinstance(text, str) and text else []


def sentences() -> Iterator[tuple[str, str]]:
    """Each sentence of these texts."""
    for where, text in texts():
        yield from ((where, one) for one in re.split(r"(?<=[.?!])\s+", text) if one)


def test_no_sentence_is_longer_than_can_be_read() -> None:
    assert [(where, one) for where, one in sentences() if len(one.split()) > MOST_WORDS] == []


def test_each_sentence_names_its_subject() -> None:
    assert [(where, one) for where, one in sentences() if BEGINS_ALONE.match(one)] == []


def test_no_metaphor_and_no_he_stands_in_a_text_nor_in_the_code() -> None:
    found = [(where, one) for where, one in texts() if NOT_USED.search(one)]
    for path in sorted((ROOT / "kit").rglob("*.py")):
        constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found += [
            (f"{path.name}:{one.lineno}", one.value)
            for one in constants
            if isinstance(one.value, str) and NOT_USED.search(one.value)
        ]
    assert found == []


def test_advice_that_no_row_decides_is_a_question_or_says_if() -> None:
    for name, entries in advices().items():
        for entry in entries:
            hedged = "?" in entry.says or re.search(r"\b[Ii]f\b", entry.says)
            assert bool(hedged) == entry.asks, f"{name}: {entry.says}"


def test_every_question_has_advice_for_each_verdict_that_it_can_have() -> None:
    assert set(advices()) == set(QUESTIONS)
    never = {
        ("is_it_a_sample", "cannot tell"),
        ("seen_at_runtime", "not observed"),
        ("scanned_files", "not observed"),
        ("way_in", "not observed"),
    }
    for name, entries in advices().items():
        plain = {entry.verdict for entry in entries}
        wanted = {word for word in ("observed", "not observed", "cannot tell") if (name, word) not in never}
        assert wanted <= plain, f"{name}: {wanted - plain}"


def test_a_user_name_is_spoken_as_people_say_it() -> None:
    assert (
        spoken("system:serviceaccount:shop:web") == "service account shop/web"
        and spoken("system:anonymous") == "anonymous"
    )
