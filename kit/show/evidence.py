"""What the evidence is and how far it reaches: sources, ledger, coverage, rejects, limits."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.model.why import collecting_words
from kit.show import cited as evidence_of
from kit.show.figures import frame_rows
from kit.show.html_table import Shown, clock, safe, table
from kit.show.words import NOUNS, exported, number_words, pill, some_of, stretch_words, with_code
from kit.store.tables import AUDIT, FINDINGS, TABLES, TRAIL, Row
from kit.words import counted

_SOURCES = {
    FINDINGS.title: "nothing to start from",
    AUDIT.title: "what the caller did, and which pods existed, cannot be told",
    TRAIL.title: "what was done in AWS with the roles cannot be told",
    "cluster dump": "what still stands, and objects older than the log, cannot be told",
}


def evidence(case: Case) -> Shown:
    """How good the evidence is: what each source gives, from when to when, and what is missing, cut or unreadable."""
    taken = case.ledger[case.ledger["taken_as"].notna() & (case.ledger["taken_as"] != "")]
    names = [*_SOURCES, *sorted(set(taken["taken_as"]) - set(_SOURCES))]
    rows = [_source_row(case, name, taken[taken["taken_as"] == name]) for name in names]
    body = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows)
    head = Markup("<tr><th>Source</th><th>Files</th><th>Rows</th><th>From – to</th><th>How good</th></tr>")
    notes = _evidence_notes(case, taken)
    return Shown(
        Markup('<div class="wide"><table><thead>{}</thead><tbody>{}</tbody></table></div>{}').format(head, body, notes),
        "evidence",
    )


def _source_row(case: Case, name: str, files: pd.DataFrame) -> Markup:
    if not len(files):
        return Markup("<td>{}</td><td>0</td><td></td><td></td><td>{} {}</td>").format(
            safe(name), pill("none", "cannot"), _SOURCES[name]
        )
    first = pd.to_datetime(files["first_at"], utc=True, format="ISO8601", errors="coerce").min()
    last = pd.to_datetime(files["last_at"], utc=True, format="ISO8601", errors="coerce").max()
    span = "" if pd.isna(first) else stretch_words(first, last)
    return Markup(
        '<td>{}</td><td class="tight">{:,}</td><td class="tight">{:,}</td><td class="tight">{}</td><td>{}</td>'
    ).format(safe(name), len(files), int(files["rows"].sum()), span, _how_good(case, name, files))


def _how_good(case: Case, name: str, files: pd.DataFrame) -> Markup:
    source = {table.title: table.name for table in (AUDIT, TRAIL)}.get(name)
    said = list[str]()  # text or Markup
    if source:
        gaps = case.coverage[(case.coverage["source"] == source) & (case.coverage["state"] == "gap")]
        if len(gaps):
            times = some_of([stretch_words(gap["start_at"], gap["end_at"]) for gap in frame_rows(gaps)], 3)
            said.append(Markup("{} {}").format(pill(counted(len(gaps), "gap"), "cannot"), times))
        elif source == "audit":
            said.append("no gap")
        partial = case.coverage[(case.coverage["source"] == source) & (case.coverage["state"] == "partial")]
        if len(partial):
            said.append(
                Markup("{} {}").format(pill("an API server may be missing", "cannot"), safe(partial["says"].iloc[0]))
            )
        recorded = case.coverage[
            (case.coverage["source"] == source)
            & (case.coverage["state"] == "recorded")
            & case.coverage["log_stream"].isna()
        ]
        said += list(dict.fromkeys(safe(says) for says in recorded["says"].dropna()))[:2]
    rejects, duplicates = int(files["rejects"].sum()), int(files["duplicates"].sum())
    said += [Markup("{} could not be read").format(pill(counted(rejects, "reject"), "cannot"))] if rejects else []
    said += [f"{counted(duplicates, 'duplicate')} counted once"] if duplicates else []
    notes = [safe(note, 160) for note in files["note"].dropna()]
    return Markup("; ").join([*said, *list(dict.fromkeys(notes))[:2]]) or Markup("read in full")


def _evidence_notes(case: Case, taken: pd.DataFrame) -> Markup:
    refused = len(case.ledger) - len(taken)
    if not refused:
        return Markup("")
    return Markup("<p>{} of {:,} {} not taken; the ledger says why.</p>").format(
        counted(refused, "file"), len(case.ledger), "was" if refused == 1 else "were"
    )


def ledger(case: Case) -> Shown:
    """Every file that was given, with its hash and what became of it."""
    columns: dict[str, Callable[[Row], str]] = {
        "File": lambda row: Markup("<code>{}</code>").format(safe(row["path"])),
        "Taken as": lambda row: (
            safe(row["taken_as"]) if row["taken_as"] and not pd.isna(row["taken_as"]) else pill("not taken", "quiet")
        ),
        "Records": lambda row: number_words(row["records"]),
        "Rows": lambda row: number_words(row["rows"]),
        "Duplicates": lambda row: number_words(row["duplicates"]),
        "Rejects": lambda row: number_words(row["rejects"]),
        "Bytes": lambda row: number_words(row["bytes"]),
        "SHA-256": lambda row: Markup('<code class="hash">{}</code>').format(safe(row["sha256"])),
        "Note": lambda row: safe("" if pd.isna(row["note"]) else row["note"], 300),
    }
    says = Markup(
        "<p>{}, kept read-only as they arrived; rows, duplicates and rejects add up to the records.</p>"
    ).format(counted(len(case.ledger), "file"))
    return Shown(
        says
        + table(
            case.ledger,
            columns,
            export=exported(case, "ledger"),
            most=100,
            narrow=("Taken as", "Records", "Rows", "Duplicates", "Rejects", "Bytes"),
        ),
        "ledger",
    )


def coverage(case: Case) -> Shown:
    """What the sources recorded, and their gaps."""
    if case.coverage.empty:
        return Shown(
            Markup("<p>{} There is neither an audit log nor CloudTrail in this case.</p>").format(
                pill("cannot tell", "cannot")
            ),
            "no coverage",
        )
    columns: dict[str, Callable[[Row], str]] = {
        "Source": lambda row: TABLES[row["source"]].title if row["source"] in TABLES else safe(row["source"]),
        "Log stream": lambda row: safe("" if pd.isna(row["log_stream"]) else row["log_stream"]),
        "State": lambda row: "recorded" if row["state"] == "recorded" else pill(row["state"], "cannot"),
        "From (UTC)": lambda row: clock(row["start_at"]),
        "To (UTC)": lambda row: clock(row["end_at"]),
        "Events": lambda row: number_words(row["events"]),
        "Says": lambda row: safe("" if pd.isna(row["says"]) else row["says"]),
    }
    if case.coverage["log_stream"].isna().all():
        del columns["Log stream"]
    rows = case.coverage.sort_values(["source", "state", "start_at"])  # gaps first
    return Shown(
        table(rows, columns, export=exported(case, "coverage"), narrow=("Source", "From (UTC)", "To (UTC)")), "coverage"
    )


def recorded(case: Case) -> Shown:
    """What the sources were told to record: audit levels by resource, kinds of CloudTrail events by service and region."""
    levels: dict[str, Callable[[Row], str]] = {
        "Resource": lambda row: Markup("<code>{}</code>").format(safe(row["resource"])),
        "Audit level": lambda row: safe(row["level"] or ""),
        "Events": lambda row: number_words(row["events"]),
        "With request body": lambda row: number_words(row["with_request_body"]),
        "With response body": lambda row: number_words(row["with_response_body"]),
    }
    kinds: dict[str, Callable[[Row], str]] = {
        "Kind of event": lambda row: safe(row["event_category"]),
        "Region": lambda row: safe(row["region"] or ""),
        "Service": lambda row: Markup("<code>{}</code>").format(safe(row["event_source"])),
        "Events": lambda row: number_words(row["events"]),
        "Failed": lambda row: number_words(row["failed"]),
    }
    parts = [
        table(frame, columns, export=exported(case, name), most=15)
        for frame, columns, name in (
            (case.audit_levels, levels, "audit_levels"),
            (case.trail_kinds, kinds, "cloudtrail_kinds"),
        )
        if not frame.empty
    ]
    says = Markup(
        "<p>What is not in these tables was not recorded, whatever happened. Delivery of both logs is best effort.</p>"
    )
    return Shown(says + Markup("").join(parts), "what was recorded")


def rejects(case: Case) -> Shown:
    """The records that could not become rows, with their place and reason."""
    if case.rejects.empty:
        return Shown(
            Markup("<p>None: every record of the files that were taken became a row or is a duplicate of one.</p>"),
            "no rejects",
        )
    columns: dict[str, Callable[[Row], str]] = {
        "Place": lambda row: Markup("<code>{}:{}</code>").format(safe(row["file"]), number_words(row["line"])),
        "About when (UTC)": lambda row: "" if pd.isna(row["near_at"]) else clock(row["near_at"]),
        "Reason": lambda row: safe(row["reason"], 200),
        "Begins": lambda row: Markup("<code>{}</code>").format(
            safe(row["raw"] if not pd.isna(row["raw"]) else "", 120)
        ),
    }
    return Shown(table(case.rejects, columns, export=exported(case, "rejects"), most=20), "rejects")


def limits(case: Case) -> Shown:
    """What cannot be told, and what to collect to be able to."""
    if case.limits.empty:
        says = (
            "There is no finding in this case, so nothing was asked."
            if not len(case.findings)
            else "No limit is known for the questions that were asked."
        )
        return Shown(Markup("<p>{}</p>").format(says), says)
    columns: dict[str, Callable[[Row], str]] = {
        "Cannot be told": lambda row: safe(row["says"]),
        "About": lambda row: safe(", ".join(NOUNS.get(kind, (kind, kind))[1] for kind in row["about"])),
        "To be able to tell, collect": lambda row: with_code(collecting_words(row["collect"] or "", row["otherwise"])),
        "Findings": lambda row: f"{len(set(row['findings'])):,}",
    }
    return Shown(table(case.limits, columns, export=exported(case, "limits")), "limits")


def cited(case: Case) -> Shown:
    """The raw text of the evidence that this report cites, without the contents of secrets."""
    refs = list(evidence_of.cited_refs(case))
    if not refs:
        return Shown(Markup("<p>Nothing is cited.</p>"), "nothing cited")
    texts = evidence_of.texts(case, refs)
    every = evidence_of.wanted(case)
    rest = (
        f" Of {every:,} that are cited, {len(refs):,} are shown; the rest is found by the ref in the case's evidence."
        if every > len(refs)
        else ""
    )
    says = Markup("<p>{} of evidence as received, indented; what secrets hold is never shown.{}</p>").format(
        counted(len(refs), "piece"), rest
    )
    parts = Markup("").join(
        Markup('<details class="raw" id="{}"><summary>{}</summary><pre>{}</pre></details>').format(
            evidence_of.anchor(ref), safe(ref), texts[ref]
        )
        for ref in refs
    )
    return Shown(says + parts, f"{len(refs)} pieces of evidence")
