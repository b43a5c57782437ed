"""A command that a person types: a list of words that is quoted and joined once, at the very end.

No name of the evidence is read as anything but the word that it is. What is joined is POSIX shell, without GNU's extensions. Sources: POSIX.1-2024,
Shell Command Language (quoting, command substitution), `xargs` (-r); AWS CLI User Guide, "Loading a parameter from a file" (file://, http://).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

_LOADED = re.compile(r"(?:--[a-z-]+=)?(?:fileb?|https?)://")
"""What the AWS CLI would read from elsewhere instead of taking it as it is."""
IN_A_MINUTE = "date +%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Printed:
    """A word, or a part of one, that another command prints when it is run."""

    command: Command
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f'{_quoted(self.before)}"$({self.command})"{_quoted(self.after)}'


Word = str | Printed


@dataclass(frozen=True)
class Command:
    """One command. fed: the text that it reads. fed_by: the command whose output it reads. into: the file that its output goes to. each: it is run once for each word that this prints.

    unless: it is run only where this prints nothing. only_if: it is run only where this prints one of these. then: what is run after it, when it was
    well. environment: variables that it alone is run with.
    """

    words: tuple[Word, ...]
    fed: str = ""
    fed_by: Command | None = None
    into: str = ""
    each: Command | None = None
    unless: Command | None = None
    only_if: tuple[Command, tuple[str, ...]] | None = None
    then: Command | None = None
    environment: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = " ".join([*self.environment, *map(_word, self.words)])
        if self.each:
            line = f"{self.each} | xargs -r -n 1 {line}"
        if self.fed_by:
            line = f"{self.fed_by} | {line}"
        if self.fed:
            line = f"printf '%s\\n' {shlex.quote(self.fed)} | {line}"
        if self.into:
            line += f" > {shlex.quote(self.into)}"
        if self.then:
            line += f" && {self.then}"
        if self.unless:
            line = (
                f"{self.unless} | grep -q . || {{ {line}; }}" if self.then else f"{self.unless} | grep -q . || {line}"
            )
        if self.only_if:
            look, (first, *more) = self.only_if
            if not more:
                return f'test "$({look})" = {shlex.quote(first)} && {line}'
            line = f'case "$({look})" in {"|".join(map(shlex.quote, (first, *more)))}) {line} ;; esac'
        return line

    def with_words(self, *words: Word) -> Command:
        """The same with more words at its end."""
        return replace(self, words=(*self.words, *words))

    @property
    def odd(self) -> str:
        """The first word that is in no command: it cannot be printed on a line, or the AWS CLI would read a file instead. "" where there is none."""
        return next((one for one in self._texts() if not one.isprintable() or _LOADED.match(one)), "")

    def _texts(self) -> Iterator[str]:
        for word in self.words:
            if isinstance(word, str):
                yield word
            else:
                yield from (word.before, word.after)
                yield from word.command._texts()
        yield self.into
        for other in (self.fed_by, self.each, self.unless, self.then, self.only_if[0] if self.only_if else None):
            if other:
                yield from other._texts()


def _word(word: Word) -> str:
    return shlex.quote(word) if isinstance(word, str) else str(word)


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else ""


def kubectl(verb: str, resource: str, name: str | None, namespace: str | None, *options: str) -> Command:
    """A command on one object; a name that begins with a dash is kept from being taken for an option."""
    words = ("kubectl", *verb.split(), *((resource,) if resource else ()))
    space = ("-n", namespace) if namespace else ()
    named = str(name)
    if named.startswith("-"):
        return Command((*words, *space, *options, "--", named))
    return Command((*words, named, *space, *options))


def aws(service: str, operation: str, **options: Any) -> Command:
    """A command of the AWS CLI. options: by the CLI's names; lists of texts are several words, objects are JSON, True and False switches, None is left out.

    >>> str(aws("eks", "describe-cluster", name="shop", query="cluster.status"))
    'aws eks describe-cluster --name shop --query cluster.status'
    """
    words = list[Word](["aws", service, *operation.split()])
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        match value:
            case None:
                pass
            case bool():
                words.append(option if value else f"--no-{option[2:]}")
            case list() if all(isinstance(one, str | Printed) for one in value):
                words += [option, *value]
            case list() | dict():
                words += [option, json.dumps(value, separators=(",", ":"))]
            case str() if value.startswith("-"):
                words.append(f"{option}={value}")
            case _:
                words += [option, value if isinstance(value, Printed) else str(value)]
    return Command(tuple(words))


def json_with(value: Any, place: str, command: Command) -> Printed:
    """A value as JSON in which a command's output stands where `place` does."""
    before, _, after = json.dumps(value, separators=(",", ":")).partition(place)
    return Printed(command, before, after)


def in_a_minute() -> Command:
    """The command that prints the moment a minute from now, in UTC: by a time zone that is a minute ahead, as POSIX has no date arithmetic."""
    return Command(tuple(IN_A_MINUTE.split()), environment=("TZ=KIT-0:01",))
