"""Words and marks of what is shown: levels, pills, spans of time, what there is nothing of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from kit.case.case import Case
from kit.model.kinds import DEEDS, SUBJECT_KINDS, Certainty, SubjectName
from kit.model.why import collecting_words
from kit.playbooks.playbook import finding_types
from kit.questions.verdict import CANNOT_TELL
from kit.show.html_table import clock, safe
from kit.store.tables import Row
from kit.words import Names

NOUNS = {kind.name: (kind.noun, kind.plural) for kind in SUBJECT_KINDS.values()}
"""Kind of subject → noun, plural, what the list is of."""
_ARN_OF_ACCOUNT = re.compile(r"arn:[\w-]+:[\w-]+:[\w-]*:\d{12}:")
_DOMAIN_OF_NODE = re.compile(r"\b(ip-[\d-]+)(?:\.[\w-]+)*\.internal\b")
_SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:([\w-]+):([\w.-]+)")
_LEVELS = ((9.0, "Critical"), (7.0, "High"), (4.0, "Medium"), (0.0, "Low"))


def level(severity: float) -> str:
    """GuardDuty's label of a severity number: Critical, High, Medium or Low."""
    return next(word for least, word in _LEVELS if severity >= least)


def plain_words(finding: Row) -> str:
    """What a finding means in plain words; GuardDuty's own title for a type that this kit does not know."""
    known = finding_types().get(str(finding["type"]))
    return known.summary if known else f"This kit has no words for this type; GuardDuty says: {finding['title']}"


def pill(word: str, kind: str = "") -> Markup:
    """A word in a small frame; its kind gives the colour, the word itself the meaning."""
    return Markup('<span class="pill {}">{}</span>').format(kind or word.split()[0].lower(), word)


def severity_pill(severity: float) -> Markup:
    """A severity as GuardDuty's label and number."""
    word = level(severity)
    return pill(f"{word} {severity:.1f}", word.lower())


def stretch_words(start: Any, end: Any) -> str:
    """A span of time in words, both ends in UTC."""
    same_day = pd.Timestamp(start).date() == pd.Timestamp(end).date()
    return f"{clock(start)} – {clock(end)[11:] if same_day else clock(end)} UTC"


def lasting_words(seconds: float) -> str:
    """How long something lasted, in words."""
    if seconds < 90:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} days"


def some_of(words: Names, most: int = 4) -> Markup:
    """Words, text or Markup, in a row: a, b and c; of many the first ones and how many more."""
    every = [escape(word) for word in words]
    shown = every if len(every) <= most else [*every[:most], escape(f"{len(every) - most:,} more")]
    last = Markup(" and ") if len(shown) > 1 else Markup("")
    return Markup(", ").join(shown[:-1]) + last + Markup("").join(shown[-1:])


def short_names(text: str) -> str:
    """A sentence of ours with the names in it in short: ARNs without their account, nodes without their domain, service accounts as ns/name."""
    text = _SERVICE_ACCOUNT.sub(r"\1/\2", text)
    return _DOMAIN_OF_NODE.sub(r"\1", _ARN_OF_ACCOUNT.sub("", text))


def has_audit_log(case: Case) -> bool:
    """Whether the case has an audit log for its window."""
    return bool(len(case.coverage[case.coverage["source"] == "audit"]))


def nothing_shown(case: Case, kind: SubjectName) -> Markup:
    """Why a list is empty: not observed, or cannot tell."""
    what = f"{NOUNS[kind][1]} by the attacker" if kind in DEEDS else f"affected {NOUNS[kind][1]}"
    if not len(case.findings):
        return Markup("{} There is no finding in this case, so nothing is put into scope.").format(
            pill("nothing in scope", "quiet")
        )
    verdict = case.verdict(kind, 0)
    if verdict.word == CANNOT_TELL:
        first = verdict.limits[0]
        return Markup("{} {}. To be able to tell, collect {}.").format(
            pill(verdict.word, "cannot"), safe(first.says), with_code(collecting_words(first.collect, first.otherwise))
        )
    window = stretch_words(case.window.start, case.window.end) if case.window else "what was looked at"
    return Markup("{} No {} in {} (audit log recorded without a gap; its delivery is best effort).").format(
        pill(verdict.word, "quiet"), what, window
    )


def with_code(text: str) -> Markup:
    """A sentence of ours as HTML; what stands between backticks is code."""
    parts = safe(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def rows_of_kind(case: Case, kind: SubjectName, certainty: Certainty = "affected") -> pd.DataFrame:
    """The subjects of a kind and certainty, each key once; possible ones only where the key is not affected too.

    findings: of all its rows; by: whoever they came through, None for the finding's own caller.
    """
    rows = case.subjects[case.subjects["kind"] == kind]
    chosen = rows[rows["certainty"] == certainty]
    if certainty == "possible":
        chosen = chosen[~chosen["key"].isin(rows[rows["certainty"] == "affected"]["key"])]
    findings, by = dict[str, set[str]](), dict[str, list[str | None]]()
    for key, named, through in zip(chosen["key"], chosen["findings"], chosen["through"], strict=True):
        findings.setdefault(key, set()).update(named)
        by.setdefault(key, []).append(through if isinstance(through, str) else None)
    once = chosen.drop_duplicates("key")
    return once.assign(
        findings=pd.Series([sorted(findings[key]) for key in once["key"]], index=once.index, dtype=object),
        by=pd.Series([by[key] for key in once["key"]], index=once.index, dtype=object),
    )


def are_gone(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are known to be gone."""
    return rows["deleted_at"].notna() | rows["standing"].map(lambda stands: stands is False)


def is_true(value: Any) -> bool:
    """Whether a cell of a frame is true; what is not known is not."""
    return not pd.isna(value) and bool(value)


def number_words(value: Any) -> str:
    """A number with its thousands apart; empty where it is not known."""
    return "" if value is None or pd.isna(value) else f"{int(value):,}"


def exported(case: Case, name: str) -> Path:
    """Where the CSV of a table is written."""
    return case.path / "exports" / f"{name}.csv"
