"""The evidence that a report cites: which pieces, in which order, and their raw text, without anyone's secrets."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

from markupsafe import Markup

from kit.case.case import Case
from kit.errors import KitError
from kit.evidence.formats.stream import Reading, lines
from kit.show.figures import visible
from kit.show.html_table import safe
from kit.store.tables import REF_TABLES

MOST_CITED = 150
MOST_CITED_LINES = 160
_MOST_TEXT = 1500
_RAW_KINDS = ("line", *REF_TABLES)
_SECRET_NAMES = {
    "token",
    "sessiontoken",
    "secretaccesskey",
    "password",
    "clientsecret",
    "authorization",
    "id_token",
    "idtoken",
}
_cited = WeakKeyDictionary[Case, dict[str, None]]()


def cited_refs(case: Case) -> dict[str, None]:
    """The refs whose raw text the report shows, in order: findings, the attacker's calls, then what subjects rest on."""
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
    shown = text or Markup("{} {}").format(
        kind, safe(key.rpartition("#")[2] if kind == "finding" and "#" in key else key[:8])
    )
    title = safe(ref)
    if _whole(ref) in cited_refs(case):
        return Markup('<a class="ref" href="#{}" title="{}">{}</a>').format(anchor(ref), title, shown)
    return Markup('<span class="ref" title="{}">{}</span>').format(title, shown)


def texts(case: Case, refs: list[str]) -> dict[str, str]:
    """The raw text of each ref, indented, secrets' contents replaced by their size; says so where there is none."""
    logged = _logged(case, [ref for ref in refs if ref.startswith("audit:")])
    return {ref: _readable(logged[ref]) if ref in logged else _one(case, ref) for ref in refs}


def _logged(case: Case, refs: list[str]) -> dict[str, str]:
    """The lines of many audit events, with one way through each log."""
    rows = case.store.rows(
        "SELECT audit_id, file, line FROM audit WHERE list_contains($ids, audit_id) ORDER BY file, item",
        ids=[ref.partition(":")[2] for ref in refs],
    )
    places = dict[str, tuple[str, int]]()
    for row in rows:
        places.setdefault(f"audit:{row['audit_id']}", (row["file"], row["line"]))
    found = dict[tuple[str, int], str]()
    for file in sorted({file for file, _ in places.values()}):
        numbers = {line for of, line in places.values() if of == file}
        for line in lines(case.path / "evidence" / file, Reading()):
            if line.number in numbers:
                found[(file, line.number)] = line.text.decode("utf-8", "replace")
            if line.number >= max(numbers):
                break
    return {ref: found[place] for ref, place in places.items() if place in found}


def _one(case: Case, ref: str) -> str:
    try:
        return _readable(case.raw(ref))
    except KitError as error:
        return f"(not readable: {error.what})"


def _readable(raw: str) -> str:
    try:
        text = json.dumps(_without_secrets(json.loads(raw)), indent=1, ensure_ascii=False)
    except ValueError:
        text = raw
    shown = text.split("\n")
    if len(shown) > MOST_CITED_LINES:
        shown = [
            *shown[:MOST_CITED_LINES],
            f"… {len(shown) - MOST_CITED_LINES:,} more lines are not shown; the evidence file has them",
        ]
    return visible("\n".join(shown), keep="\n")


def _without_secrets(value: Any, secret: bool = False) -> Any:
    """The value without contents of secrets, tokens and keys, and without the bookkeeping in managedFields."""
    if isinstance(value, dict):
        secret = secret or str(value.get("kind", "")).startswith("Secret") or _about_secrets(value)
        return {name: _member(name, each, secret) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each, secret) for each in value]
    return (
        f"{value[:_MOST_TEXT]}… ({len(value):,} characters)"
        if isinstance(value, str) and len(value) > _MOST_TEXT
        else value
    )


def _about_secrets(event: dict[str, Any]) -> bool:
    target = event.get("objectRef")
    return isinstance(target, dict) and target.get("resource") == "secrets"


def _member(name: str, value: Any, secret: bool) -> Any:
    if name == "managedFields":
        return f"({len(value)} entries, not shown)" if isinstance(value, list) else value
    if secret and name in ("data", "stringData") and value:
        return (
            {key: f"({len(str(each)):,} characters, not shown)" for key, each in value.items()}
            if isinstance(value, dict)
            else "(not shown)"
        )
    if name == "kubectl.kubernetes.io/last-applied-configuration" and isinstance(value, str):
        return f"({len(value):,} characters, not shown)"
    if name.lower() in _SECRET_NAMES and isinstance(value, str) and len(value) > 8:
        return f"({len(value):,} characters, not shown)"
    return _without_secrets(value, secret)
