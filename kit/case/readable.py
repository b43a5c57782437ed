"""Records of evidence as people read them: indented, without anyone's secrets. The one way from a ref to the text that is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kit.case.records import records_of_refs
from kit.errors import KitError
from kit.model.masking import MASK

if TYPE_CHECKING:
    from kit.evidence.raw import Raw
    from kit.store.store import Store

_NOT_TAKEN_APART = "(not shown: it is neither JSON nor a line of the authenticator, so what is secret in it cannot be told; {}, record {})"
_MOST_TEXT = 1500  # letters of one text in a record


def readable_records(store: Store, raw: Raw, refs: list[str]) -> dict[str, str]:
    """The record of each ref, or why it cannot be shown."""
    places = records_of_refs(store, refs)
    wanted = dict[str, set[int]]()
    for place in places.values():
        if not isinstance(place, KitError):
            wanted.setdefault(place[0], set()).add(place[1])
    read = dict[str, dict[int, str] | KitError]()
    for file in sorted(wanted):
        try:
            read[file] = raw.texts(file, wanted[file])
        except KitError as error:
            read[file] = error
    kinds = _resources(store, wanted)
    said = dict[str, str]()
    for ref in refs:
        place = places[ref]
        texts = place if isinstance(place, KitError) else read[place[0]]
        if isinstance(place, KitError) or isinstance(texts, KitError):
            said[ref] = f"(not readable: {texts.what if isinstance(texts, KitError) else ''})"
        elif place[1] not in texts:
            said[ref] = "(not readable: the evidence has no such record)"
        else:
            shown = _taken_apart(texts[place[1]], kinds.get(place, ""))
            said[ref] = shown if shown is not None else _NOT_TAKEN_APART.format(*place)
    return said


def _resources(store: Store, wanted: dict[str, set[int]]) -> dict[tuple[str, int], str]:
    """Place of each object of a dump → its resource: an element of a list may not say what it is."""
    rows = store.rows("SELECT file, item, resource FROM objects WHERE list_contains($files, file)", files=list(wanted))
    return {(row["file"], row["item"]): row["resource"] or "" for row in rows if row["item"] in wanted[row["file"]]}


def _taken_apart(text: str, resource: str) -> str | None:
    """A record of JSON, or a line of the authenticator, as indented JSON; None for what is neither."""
    from kit.evidence.readers.authenticator import pairs

    try:
        value = json.loads(text) if text.lstrip()[:1] in ("{", "[") else pairs(text)
        return json.dumps(_cut(MASK.record(value, resource)), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError, KitError):
        return None


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_cut(each) for each in value]
    is_long = isinstance(value, str) and len(value) > _MOST_TEXT
    return f"{value[:_MOST_TEXT]}… ({len(value):,} characters)" if is_long else value
