"""YAML documents, as kubectl writes them: without aliases and without a name twice in an object, which are ways to hide or to fill memory.

Source: YAML 1.1.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

from kit.evidence.formats.json_document import ONE_THING
from kit.evidence.formats.stream import Reader
from kit.evidence.record import Record, Reject

# Numbers in YAML as JSON has them: kubectl quotes what YAML 1.1 would read as another kind of number, and writes none.
_NUMBERS = {
    "int": re.compile("-?(?:0|[1-9][0-9]*)$"),
    "float": re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)$"),
}
_NO_TEXT = {
    first: [
        (tag, _NUMBERS.get(tag.rpartition(":")[2], pattern))
        for tag, pattern in listed
        if tag.rpartition(":")[2] in ("bool", "null", *_NUMBERS)
    ]
    for first, listed in Resolver.yaml_implicit_resolvers.items()
}


class _Yaml(Composer, CParser, SafeConstructor, Resolver):
    """YAML as data: values as JSON has them, no aliases, which can unfold without end, no name twice in an object."""

    yaml_implicit_resolvers = _NO_TEXT

    def __init__(self, stream: Any) -> None:
        CParser.__init__(self, stream)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias", problem_mark=self.mark())
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        made = dict[str, Any]()
        for key, value in node.value:
            name = self.name(key)
            if name in made:
                raise yaml.MarkedYAMLError(
                    problem=f"{name!r:.60} stands twice in an object", problem_mark=key.start_mark
                )
            made[name] = self.construct_object(value, deep=True)
        return made

    @staticmethod
    def name(node: Any) -> str:
        """A member's name as it is written: `on` and `1` are names too."""
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a name that is no text", problem_mark=node.start_mark)
        return str(node.value)

    def mark(self) -> Any:
        """Where the next event begins."""
        event: Any = self.peek_event()
        return event.start_mark

    def value(self) -> tuple[int, Any]:
        """The line where the next value begins, and the value."""
        node = self.compose_node(None, None)
        return node.start_mark.line + 1, self.construct_document(node)


def in_yaml(source: Iterable[bytes], lists: tuple[str, ...]) -> Iterator[Record | Reject]:
    """A record a document, or an element of a list in one. Reading ends the reading: where YAML goes on cannot be told."""
    item, line = 0, 1
    try:
        loader = _Yaml(io.BufferedReader(Reader(iter(source))))
        loader.get_event()  # StreamStart
        while not loader.check_event(yaml.StreamEndEvent):
            loader.get_event()  # DocumentStart
            for found in _yaml_records(loader, lists):
                item, line = item + 1, found.line
                yield replace(found, item=item)
            loader.get_event()  # DocumentEnd
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        reason = f"not YAML: {problem}; what comes after in this file is not read"
        yield Reject(mark.line + 1 if mark else line, item + 1, reason, "")


def _yaml_records(loader: _Yaml, lists: tuple[str, ...]) -> Iterator[Record]:
    if not loader.check_event(yaml.MappingStartEvent):
        line, value = loader.value()
        for each in value if isinstance(value, list) else [value]:
            if each is not None:  # an empty document
                yield Record(line, 0, each)
        return
    line = loader.mark().line + 1
    loader.get_event()  # MappingStart
    around, listed = dict[str, Any](), False
    while not loader.check_event(yaml.MappingEndEvent):
        name = loader.name(loader.compose_node(None, None))
        if name in around:
            raise yaml.MarkedYAMLError(problem=f"{name!r:.60} stands twice in the object of line {line}")
        if name in lists and loader.check_event(yaml.SequenceStartEvent) and not around.keys() & ONE_THING:
            listed = True
            loader.get_event()
            while not loader.check_event(yaml.SequenceEndEvent):
                at, value = loader.value()
                yield Record(at, 0, value, name, around)
            loader.get_event()
        else:
            around[name] = loader.value()[1]
    loader.get_event()
    if not listed:
        yield Record(line, 0, around)
