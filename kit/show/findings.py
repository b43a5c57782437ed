"""The findings, each with what it affects and what people marked."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.show import cited as evidence_of
from kit.show import console
from kit.show.html_table import Shown, clock, safe, table
from kit.show.words import NOUNS, is_true, pill, plain_words, severity_pill
from kit.store.marks import Mark
from kit.store.tables import Row
from kit.words import counted


def findings(case: Case) -> Shown:
    """The findings in plain words, the most severe first."""
    if not len(case.findings):
        return Shown(Markup("<p>There is no finding in this case.</p>"), "There is no finding in this case.")
    marks = case.marks
    about = {one["id"] for one in case.scope["findings"] if one["about_eks"]}
    columns: dict[str, Callable[[Row], str]] = {
        "Severity": lambda row: severity_pill(row["severity"]),
        "What GuardDuty says": lambda row: _finding_words(row, marks, row["id"] in about),
        "First seen (UTC)": lambda row: clock(row["first_seen_at"], "not given"),
        "Last seen (UTC)": lambda row: clock(row["last_seen_at"], "not given"),
        "Count": lambda row: "" if pd.isna(row["count"]) else f"{int(row['count']):,}",
        "Affected": lambda row: _affected_by(case, row["id"]),
        "Id": lambda row: (
            evidence_of.link(case, f"finding:{row['id']}", safe(str(row["id"])[:8]))
            + console.links(case, "finding", row["id"], row["region"])
        ),
    }
    html_ = table(
        case.findings, columns, narrow=("Severity", "First seen (UTC)", "Last seen (UTC)", "Count", "Affected", "Id")
    )
    return Shown(html_, counted(len(case.findings), "finding"))


def _affected_by(case: Case, finding_id: str) -> Markup:
    """What one finding alone puts into scope as affected, in numbers."""
    found = next((one["subjects"] for one in case.scope["findings"] if one["id"] == finding_id), [])
    rows = [row for row in found if row["certainty"] == "affected" and not row["through"]]
    said = list[str]()  # text or Markup
    for kind in ("pod", "node", "secret"):
        of = [row for row in rows if row["kind"] == kind]
        gone = sum(row["standing"] is False or row["deleted_at"] is not None for row in of)
        if of:
            said.append(counted(len(of), *NOUNS[kind]) + (f" ({gone:,} gone)" if gone else ""))
    possible = sum(row["kind"] == "pod" and row["certainty"] == "possible" for row in found)
    said += [Markup('<span class="quiet">{} possible</span>').format(counted(possible, "pod"))] if possible else []
    return Markup("<br>").join(said) or pill("none shown", "quiet")


def _finding_words(row: Row, marks: list[Mark], about_eks: bool) -> Markup:
    notes = [pill("AWS sample finding", "quiet")] if is_true(row["sample"]) else []
    notes += [] if about_eks else [pill("names no EKS cluster", "quiet")]
    notes += [pill("archived", "quiet")] if is_true(row["archived"]) else []
    notes += [
        Markup("{} {}").format(pill(f"marked {one.word}", "quiet"), safe(one.note, 200))
        for one in marks
        if one.finding == row["id"] and not one.question
    ]
    return Markup("{} {}<br><code>{}</code>").format(safe(plain_words(row)), Markup(" ").join(notes), safe(row["type"]))
