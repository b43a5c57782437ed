"""What notebooks show of a case: each function gives a sentence, a table or a picture that says what it rests on.

`affected` is acted on, `possible` is looked at; the two are kept apart in words. Where nothing was found it says whether that
could have been seen: "not observed" only for time that was recorded, else "cannot tell".
"""

from __future__ import annotations

from kit.show.calls import attack_path, aws_calls, calls, new_kinds, timeline
from kit.show.evidence import cited, coverage, evidence, ledger, limits, recorded, rejects
from kit.show.figures.with_table import picture
from kit.show.findings import findings
from kit.show.subjects import deeds, subjects
from kit.show.summary import banner, summary

__all__ = [
    "attack_path",
    "aws_calls",
    "banner",
    "calls",
    "cited",
    "coverage",
    "deeds",
    "evidence",
    "findings",
    "ledger",
    "limits",
    "new_kinds",
    "picture",
    "recorded",
    "rejects",
    "subjects",
    "summary",
    "timeline",
]
