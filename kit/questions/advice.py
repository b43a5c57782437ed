"""What an answer means for the next step: sentences with their conditions over the answer's rows, in advice.toml beside this file.

A condition holds on some rows (the advice is said of these), on none (it is not said), or no row can decide it (it is a question or an "if").
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from string import Formatter
from typing import Any

from kit.model.claim import Claim
from kit.questions.question import QUESTIONS, Answer
from kit.questions.verdict import CANNOT_TELL, NOT_OBSERVED, OBSERVED
from kit.store.tables import Row
from kit.words import utc

FILE = Path(__file__).with_name("advice.toml")
_MEMBERS = {"verdict", "says", "where", "asks"}
_REFS = 12  # of the rows that an advice rests on


@dataclass(frozen=True)
class Advice:
    """One sentence for a verdict of a question. where: heading → patterns of the rows that it is about. asks: no row decides it."""

    verdict: str
    says: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asks: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """The headings whose values the sentence names."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.says) if name)

    def of(self, rows: Iterable[Row]) -> Claim | None:
        """The sentence about the rows on which its condition holds; None where it holds on none."""
        wanted = {*self.where, *self.named}
        about = [row for row in rows if all(_fits(row.get(name), self.where.get(name, ("?*",))) for name in wanted)]
        if wanted and not about:
            return None
        values = {name: list(dict.fromkeys(one for row in about for one in _texts(row[name]))) for name in self.named}
        refs = dict.fromkeys(ref for row in about for ref in row.get("refs", ()))
        return Claim(self.says, values, tuple(refs)[:_REFS], None if self.asks else True)


@functools.cache
def advices() -> dict[str, tuple[Advice, ...]]:
    """Question → what its verdicts mean, the first that holds being said. Raises ValueError with all that is wrong with the file."""
    read, faults = tomllib.loads(FILE.read_text(encoding="utf-8")), list[str]()
    found = dict[str, tuple[Advice, ...]]()
    for name, entries in read.items():
        made = list[Advice]()
        for entry in entries:
            known = entry.get("verdict") in (OBSERVED, NOT_OBSERVED, CANNOT_TELL) and entry.keys() <= _MEMBERS
            if name not in QUESTIONS or not known or not entry.get("says"):
                faults.append(f"{name}: {entry}")
                continue
            where = {heading: tuple(patterns) for heading, patterns in entry.get("where", {}).items()}
            made.append(Advice(entry["verdict"], entry["says"], where, entry.get("asks", False)))
        found[name] = tuple(made)
    if faults:
        raise ValueError(f"{FILE.name}: no question, verdict or words: {'; '.join(faults)}")
    return found


def advice_of(answer: Answer, doubted: bool = False) -> Claim | None:
    """What an answer means for the next step. doubted: the incident may be a false alarm, so what stops or removes something has an "if"."""
    rows = answer.rows
    if answer.verdict.word == OBSERVED:
        rows = [row for row in rows if row.get("certainty") != "possible"] or rows
    for one in advices().get(answer.question.name, ()):
        said = one.of(rows) if one.verdict == answer.verdict.word else None
        if said is not None:
            return _with_if(said) if doubted and said.holds and answer.verdict.word == OBSERVED else said
    return None


def _with_if(said: Claim) -> Claim:
    return replace(
        said, template=f"If the calls are not yours: {said.template[:1].lower()}{said.template[1:]}", holds=None
    )


def _fits(value: Any, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for text in _texts(value) for pattern in patterns)


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [str(one) for one in value if one not in (None, "")]
    if isinstance(value, datetime):
        return [utc(value)]
    return [] if value in (None, "") else [str(value)]
