"""The evidence that a report cites: which pieces, in which order, and their raw text, without anyone's secrets."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

from markupsafe import Markup

from kit.case.case import Case
from kit.show.figures import user_words, visible
from kit.show.html_table import safe
from kit.store.tables import REF_TABLES

MOST_CITED = 150
MOST_CITED_LINES = 160
_RAW_KINDS = ("line", *REF_TABLES)
_cited = WeakKeyDictionary[Case, dict[str, None]]()


def cited_refs(case: Case) -> dict[str, None]:
    """The refs whose raw text the report shows, in order: findings, what notes are about, the attacker's calls, then what subjects rest on."""
    if case not in _cited:
        _cited[case] = dict.fromkeys(_wanted(case)[:MOST_CITED])
    return _cited[case]


def _wanted(case: Case) -> list[str]:
    subjects = case.subjects.sort_values("certainty", kind="stable")
    # In turns: the first reason of each subject, then the second, so that the cut falls on repetition.
    whys = [list(refs) for refs in subjects["why_refs"]]
    turns = [refs[turn] for turn in range(max(map(len, whys), default=0)) for refs in whys if turn < len(refs)]
    refs = [
        *(f"finding:{one}" for one in case.findings["id"]),
        *(one.ref for one in case.notes),  # rows that somebody tagged
        *case.calls["ref"],
        *case.aws_calls["ref"],
        *map(_whole, turns),
    ]
    return [ref for ref in dict.fromkeys(refs) if ref.partition(":")[0] in _RAW_KINDS]


def wanted(case: Case) -> int:
    """How many pieces of evidence are cited in all."""
    return len(_wanted(case))


def _whole(ref: str) -> str:
    return ref.partition("#")[0] if ref.startswith("finding:") else ref


def anchor(ref: str) -> str:
    """The id of a piece of evidence on the report's page."""
    return "ref-" + hashlib.sha256(_whole(ref).encode("utf-8", "backslashreplace")).hexdigest()[:12]


def link(case: Case, ref: str, text: str = "") -> Markup:
    """A ref as HTML: a link when the report shows its raw text, else the ref itself. text: instead of its kind and key."""
    kind, _, key = ref.partition(":")
    shown = text or _short(kind, key)
    title = safe(ref)
    if _whole(ref) in cited_refs(case):
        return Markup('<a class="ref" href="#{}" title="{}">{}</a>').format(anchor(ref), title, shown)
    return Markup('<span class="ref" title="{}">{}</span>').format(title, shown)


def _short(kind: str, key: str) -> Markup:
    """A ref in few letters: of a finding the member, of an identity or a node its name, of a record the beginning of its id."""
    if kind == "identity":
        return safe(user_words(key), 40)
    named = (
        key.rpartition("#")[2]
        if kind == "finding" and "#" in key
        else key.partition(".")[0]
        if kind == "node"
        else key[:8]
    )
    return Markup("{} {}").format(kind, safe(named, 60))


def texts(case: Case, refs: list[str]) -> dict[str, str]:
    """The text of each ref's record, indented, masked, and cut where it is very long; says so where there is none."""
    return {ref: _cut(text) for ref, text in case.readable(refs).items()}


def _cut(text: str) -> str:
    lines = text.split("\n")
    more = len(lines) - MOST_CITED_LINES
    shown = (
        lines
        if more <= 0
        else [*lines[:MOST_CITED_LINES], f"… {more:,} more lines are not shown; the evidence file has them"]
    )
    return visible("\n".join(shown), keep="\n")
