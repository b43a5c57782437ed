"""What notebooks show of a case: each function gives a sentence, a table or a picture that says what it rests on.

`affected` is acted on, `possible` is looked at; the two are kept apart in words. Where nothing was found it says whether that
could have been seen: "not observed" only for time that was recorded, else "cannot tell".
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from kit import __version__
from kit.case.case import Case
from kit.model.window import Window
from kit.playbooks.playbook import finding_types, playbook_of
from kit.questions.verdict import CANNOT_TELL
from kit.show import cited as evidence_of
from kit.show import console, figures
from kit.show.figures import records, user_words
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.store.marks import Mark
from kit.words import Names, counted

Row = dict[str, Any]

# Kind of subject → noun, plural, what the list is of.
KINDS = {
    "pod": ("pod", "pods"),
    "node": ("node", "nodes"),
    "service_account": ("service account", "service accounts"),
    "identity": ("identity", "identities"),
    "source_ip": ("source address", "source addresses"),
    "iam_role": ("IAM role or user", "IAM roles and users"),
    "image": ("image", "images"),
    "secret": ("secret read", "secrets read"),
    "config_map": ("config map read", "config maps read"),
    "created": ("object created", "objects created"),
    "changed": ("object changed", "objects changed"),
    "deleted": ("object deleted", "objects deleted"),
    "exec": ("target of commands", "targets of commands"),
    "token": ("service account with a token minted", "service accounts with a token minted"),
    "granted": ("permission given", "permissions given"),
    "introduced": ("image brought in", "images brought in"),
    "reachable": ("secret in reach", "secrets in reach"),
}
DEEDS = ("secret", "config_map", "token", "exec", "granted", "introduced", "created", "changed", "deleted")
_TILES = ("pod", "node", "service_account", "iam_role", "image", "secret")
_LEVELS = ((9.0, "Critical"), (7.0, "High"), (4.0, "Medium"), (0.0, "Low"))
_GROUP_FROM = 13  # pods; fewer are listed one by one
_SOON_SECONDS = 300


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def level(severity: float) -> str:
    """GuardDuty's label of a severity number: Critical, High, Medium or Low."""
    return next(word for least, word in _LEVELS if severity >= least)


def plain_words(finding: Row) -> str:
    """What a finding means in plain words; GuardDuty's own title for a type that this kit does not know."""
    known = finding_types().get(str(finding["type"]))
    return known.summary if known else f"This kit has no words for this type; GuardDuty says: {finding['title']}"


def pill(word: str, kind: str = "") -> str:
    """A word in a small frame; its kind gives the colour, the word itself the meaning."""
    return f'<span class="pill {kind or word.split()[0].lower()}">{word}</span>'


def _severity(severity: float) -> str:
    word = level(severity)
    return pill(f"{word} {severity:.1f}", word.lower())


def _stretch(start: Any, end: Any) -> str:
    same_day = pd.Timestamp(start).date() == pd.Timestamp(end).date()
    return f"{clock(start)} – {clock(end)[11:] if same_day else clock(end)} UTC"


def _lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} days"


def _list(words: Names, most: int = 4) -> str:
    """Words in a row: a, b and c; of many the first ones and how many more."""
    every = [*words]
    shown = every if len(every) <= most else [*every[:most], f"{len(every) - most:,} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


# ── what could have been seen ────────────────────────────────────────────────────────────────────────────────────────


def _has_audit_log(case: Case) -> bool:
    return bool(len(case.coverage[case.coverage["source"] == "audit"]))


def _nothing(case: Case, kind: str) -> str:
    """Why a list is empty: not observed, or cannot tell."""
    what = f"{KINDS[kind][1]} by the attacker" if kind in DEEDS else f"affected {KINDS[kind][1]}"
    if not len(case.findings):
        return f"{pill('nothing in scope', 'quiet')} There is no finding in this case, so nothing is put into scope."
    verdict = case.verdict(kind, 0)
    if verdict.word == CANNOT_TELL:
        first = verdict.limits[0]
        return f"{pill(verdict.word, 'cannot')} {safe(first.says)}. To be able to tell, collect {with_code(first.collect)}."
    window = _stretch(case.window.start, case.window.end) if case.window else "what was looked at"
    return f"{pill(verdict.word, 'quiet')} No {what} in {window} (audit log recorded without a gap; its delivery is best effort)."


def with_code(text: str) -> str:
    """A sentence of ours as HTML; what stands between backticks is code."""
    parts = safe(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


# ── the summary ──────────────────────────────────────────────────────────────────────────────────────────────────────


def summary(case: Case) -> Shown:
    """The first screen: what happened, what is affected, from where, whether it goes on, and what cannot be told."""
    if not len(case.findings):
        says = "There is no finding in this case, so nothing is in scope. What evidence there is, and how good it is, stands below."
        return Shown(f'<div class="verdict calm"><p>{says}</p></div>', says)
    files = counted(len(case.ledger), "evidence file")
    head = f'<p class="quiet">Case {safe(case.name)} · {files}, together sha256 <code>{case.evidence_digest[:16]}</code> · kit {__version__}</p>'
    sentences = [_said_by_guardduty(case), _done(case), _hit(case)]
    verdict = '<div class="verdict">' + "".join(f"<p>{each}</p>" for each in sentences if each) + "</div>"
    facts = [
        ("Looked at", _looked_at(case)),
        ("From", _places(case, "source_ip")),
        ("As", _places(case, "identity")),
        ("First and last call", _first_and_last(case)),
        ("Still going on?", _still(case)),
        ("Still stands", _stands(case)),
        ("Next steps", _next_steps(case)),
    ]
    listed = "".join(f"<dt>{term}</dt><dd>{said}</dd>" for term, said in facts)
    return Shown(
        f'{head}{verdict}{_tiles(case)}<div class="two"><dl class="facts">{listed}</dl>{_cannot(case)}</div>', "summary"
    )


def _looked_at(case: Case) -> str:
    if case.window is None:
        return "the findings alone: there is no audit log and no window was given."
    missing = case.unrecorded
    gaps = f", of which {counted(len(missing), 'stretch', 'stretches')} not recorded" if missing else ""
    return f"{_stretch(case.window.start, case.window.end)}{gaps}"


def _said_by_guardduty(case: Case) -> str:
    top = records(case.findings.head(1))[0]
    cluster = f"cluster <b>{safe(case.cluster)}</b>" if case.cluster else "a cluster that the evidence does not name"
    place = ", ".join(safe(part) for part in (case.account and f"account {case.account}", case.region) if part)
    number = len(case.findings)
    lead = f"GuardDuty reports {counted(number, 'finding')} about {cluster}{f' ({place})' if place else ''}"
    word = "the most severe, " if number > 1 else ""
    outside = (
        "" if top["about_eks"] is not False and bool(top["about_eks"]) else " It is not about EKS: outside this kit."
    )
    return f"{lead}; {word}{_severity(top['severity'])} <code>{safe(top['type'])}</code>: {_lower(safe(plain_words(top)))}{outside}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def _keys(case: Case, kind: str, certainty: str = "affected") -> pd.DataFrame:
    """The subjects of a kind and certainty, each key once; possible ones only where the key is not affected too."""
    rows = case.subjects[case.subjects["kind"] == kind]
    chosen = rows[rows["certainty"] == certainty].drop_duplicates("key")
    return (
        chosen if certainty == "affected" else chosen[~chosen["key"].isin(rows[rows["certainty"] == "affected"]["key"])]
    )


def _done(case: Case) -> str:
    if not len(case.calls) and not len(case.aws_calls):
        if not _has_audit_log(case):
            return f"{pill('cannot tell', 'cannot')} what the attacker did: this case has no audit log."
        return "No call in the audit log is attributed to an attacker."
    sources = [f"{counted(len(case.calls), 'call')} in the audit log"] if len(case.calls) else []
    sources += [f"{counted(len(case.aws_calls), 'call')} in CloudTrail"] if len(case.aws_calls) else []
    refused = sum(figures.deed(call) == "refused" for call in records(case.calls))
    # A policy finding's caller, who may be an administrator, has deeds and no hostile call.
    hostile = {one["id"] for one in case.scope["findings"] if one["calls"]}
    number = {
        kind: int(_keys(case, kind)["findings"].map(lambda ids: bool(hostile & set(ids))).sum()) for kind in DEEDS
    }
    words = [
        number["secret"] and f"read <b>{counted(number['secret'], 'secret')}</b>",
        number["token"] and f"minted tokens for {counted(number['token'], 'service account')}",
        number["exec"] and f"ran commands in {counted(number['exec'], 'pod')}",
        number["created"] and f"created {counted(number['created'], 'object')}",
        number["changed"] and f"changed {counted(number['changed'], 'object')}",
        number["deleted"] and f"deleted {counted(number['deleted'], 'object')}",
    ]
    did = _list([word for word in words if word], 9) or "read, made or changed nothing that the log shows"
    is_ = "is" if len(case.calls) + len(case.aws_calls) == 1 else "are"
    return f"{_list(sources)} {is_} the attacker's: they {did}" + (f"; {refused:,} were refused." if refused else ".")


def _hit(case: Case) -> str:
    pods, possible = _keys(case, "pod"), _keys(case, "pod", "possible")
    if not len(pods) and not len(possible):
        return _nothing(case, "pod")
    parts = []
    if len(pods):
        nodes = pods["node"].dropna().nunique()
        gone = int(_gone(pods).sum())
        on = f" on {counted(nodes, 'node')}" if nodes else ""
        verb = "is" if len(pods) == 1 else "are"
        parts.append(
            f"<b>{counted(len(pods), 'pod')}</b>{on} {verb} affected, {_part(gone, len(pods))} {'known to be' if not gone else 'already'} gone"
        )
        unknown = int((pods["standing"].isna() & ~_gone(pods)).sum())
        parts += (
            [f"for {unknown:,} it cannot be told whether {'it still stands' if unknown == 1 else 'they still stand'}"]
            if unknown
            else []
        )
    if len(possible):
        more = " more" if len(pods) else ""
        parts.append(
            f"{counted(len(possible), f'{more} pod'.strip(), f'{more} pods'.strip())} {'is' if len(possible) == 1 else 'are'} only possible and to be looked at"
        )
    return "; ".join(parts) + "."


def _part(some: int, every: int) -> str:
    return (
        "none"
        if not some
        else "all of them"
        if some == every and every > 1
        else "and"
        if some == every
        else f"{some:,} of them"
    )


def _gone(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["deleted_at"].notna() | rows["standing"].map(lambda stands: stands is False)


def _tiles(case: Case) -> str:
    return '<div class="tiles">' + "".join(_tile(case, kind) for kind in _TILES) + "</div>"


def _tile(case: Case, kind: str) -> str:
    rows, possible = _keys(case, kind), _keys(case, kind, "possible")
    noun = KINDS[kind][0 if len(rows) == 1 else 1]
    verdict = case.verdict(kind, len(rows))
    below = []
    if len(rows) and kind in ("pod", "node"):
        gone = int(_gone(rows).sum())
        below.append(f"{gone:,} already gone" if gone else "none known to be gone")
    if len(possible):
        below.append(f"{len(possible):,} possible")
    if verdict.word == CANNOT_TELL:
        number, word = "?", "– cannot tell"
    else:
        number, word = f"{len(rows):,}", "affected" if kind != "secret" else ""
        if verdict.limits and len(rows):
            below.insert(0, "at least; see limits")
    title = f"{noun} {word}".strip()
    return f'<div class="tile{"" if len(rows) else " none"}"><b>{number}</b><span>{title}</span><small>{" · ".join(below) or "&nbsp;"}</small></div>'


def _places(case: Case, kind: str) -> str:
    words = {"source_ip": lambda key: f"<code>{safe(key)}</code>", "identity": lambda key: safe(user_words(key))}[kind]
    calls = case.calls.rename(columns={"source_address": "source_ip", "user_name": "identity"})
    number = calls[kind].value_counts()
    affected, possible = list(_keys(case, kind)["key"]), list(_keys(case, kind, "possible")["key"])
    every = list(dict.fromkeys([*sorted(number.index, key=lambda one: (-number[one], one)), *affected]))
    if not every and not possible:
        return _nothing(case, kind)
    said = [f"{words(one)} ({counted(int(number[one]), 'call')})" if one in number else words(one) for one in every[:5]]
    more = [f"and {len(every) - 5:,} more"] if len(every) > 5 else []
    maybe = [f"{pill('possible')} {words(one)}" for one in possible[:3] if one not in every]
    return "<br>".join([*said, *more, *maybe])


def _times(case: Case) -> list[Any]:
    return sorted([*case.calls["received_at"].dropna(), *case.aws_calls["event_at"].dropna()])


def _first_and_last(case: Case) -> str:
    times = _times(case)
    if times:
        return f"{_stretch(times[0], times[-1])} ({_lasting((times[-1] - times[0]).total_seconds())})"
    seen = case.findings.dropna(subset=["first_seen_at"])
    if not len(seen):
        return f"{pill('cannot tell', 'cannot')} no call and no time in the findings."
    last = seen["last_seen_at"].fillna(seen["first_seen_at"]).max()
    return f"No call is known; GuardDuty saw it {_stretch(seen['first_seen_at'].min(), last)}."


def _still(case: Case) -> str:
    times, window = _times(case), case.window
    if window is None or not _has_audit_log(case):
        return f"{pill('cannot tell', 'cannot')} this case has no audit log."
    if not times:
        return f"{pill('cannot tell', 'cannot')} no call is attributed to the attacker, so none can be missed."
    quiet = (window.end - times[-1]).total_seconds()
    soon = quiet < _SOON_SECONDS
    verdict = case.verdict("identity", int(soon), Window(times[-1], window.end) if quiet > 0 else None)
    if verdict.word == CANNOT_TELL:
        return f"{pill(verdict.word, 'cannot')} after the last call: {_list([safe(one.says) for one in verdict.limits], 2)}."
    if soon:
        return f"{pill('maybe', 'possible')} the last call came {_lasting(quiet)} before the log ends. Treat it as going on."
    left = [word for word in (_left(case, "service_account"), _left(case, "iam_role")) if word]
    stands = f" {_list(left)} are not known to be gone: their credentials may still serve." if left else ""
    return f"{pill(verdict.word, 'quiet')} after the last call, in {_lasting(quiet)} of log without a gap (its delivery is best effort).{stands}"


def _stands(case: Case) -> str:
    answer = case.answer(str(case.findings["id"].iloc[0]), "still_standing")
    return f"{pill(answer.verdict.word, 'cannot' if answer.verdict.word == CANNOT_TELL else 'quiet')} {safe(answer.says, 200)}"


def _next_steps(case: Case) -> str:
    """The first step of each of the first stages that the most severe finding's playbook has something in scope for."""
    first = dict[str, str]()
    for do in playbook_of(str(case.findings["type"].iloc[0])).actions:
        if do.action.stage not in first and (not do.action.kinds or case.targets(do.action)):
            first[do.action.stage] = do.action.does
    listed = "".join(f"<li>{safe(does)}.</li>" for does in list(first.values())[:3])
    return f'<ol class="tight">{listed}</ol><a href="#Steps,-in-order">All steps, with commands and when not to</a>'


def _left(case: Case, kind: str) -> str:
    rows = _keys(case, kind)
    number = len(rows) - int(_gone(rows).sum())
    return counted(number, *KINDS[kind]) if number else ""


def _cannot(case: Case) -> str:
    rows = records(case.limits)
    if not rows:
        return ""
    shown = "".join(f"<li>{safe(row['says'], 170)}.</li>" for row in rows[:4])
    more = (
        f'<li><a href="#What-cannot-be-told">{len(rows) - 4:,} more, and what to collect</a></li>'
        if len(rows) > 4
        else ""
    )
    more = more or '<li><a href="#What-cannot-be-told">What to collect to be able to tell</a></li>'
    return f'<div class="limits"><h4>Cannot be told</h4><ul>{shown}{more}</ul></div>'


# ── findings and evidence ────────────────────────────────────────────────────────────────────────────────────────────


def findings(case: Case) -> Shown:
    """The findings in plain words, the most severe first."""
    if not len(case.findings):
        return Shown("<p>There is no finding in this case.</p>", "There is no finding in this case.")
    marks = case.marks
    columns: dict[str, Callable[[Row], str]] = {
        "Severity": lambda row: _severity(row["severity"]),
        "What GuardDuty says": lambda row: _finding_words(row, marks),
        "First seen (UTC)": lambda row: clock(row["first_seen_at"], "not given"),
        "Last seen (UTC)": lambda row: clock(row["last_seen_at"], "not given"),
        "Count": lambda row: "" if pd.isna(row["count"]) else f"{int(row['count']):,}",
        "Affected": lambda row: _affected_by(case, row["id"]),
        "Id": lambda row: (
            evidence_of.link(case, f"finding:{row['id']}", safe(row["id"])[:8])
            + console.links(case, "finding", row["id"], row["region"])
        ),
    }
    html_ = table(
        case.findings, columns, narrow=("Severity", "First seen (UTC)", "Last seen (UTC)", "Count", "Affected", "Id")
    )
    return Shown(html_, counted(len(case.findings), "finding"))


def _affected_by(case: Case, finding_id: str) -> str:
    """What one finding alone puts into scope as affected, in numbers."""
    found: list[Row] = next((one["subjects"] for one in case.scope["findings"] if one["id"] == finding_id), [])
    rows = [row for row in found if row["certainty"] == "affected" and not row["through"]]
    said = []
    for kind in ("pod", "node", "secret"):
        of = [row for row in rows if row["kind"] == kind]
        gone = sum(row["standing"] is False or row["deleted_at"] is not None for row in of)
        if of:
            said.append(counted(len(of), *KINDS[kind]) + (f" ({gone:,} gone)" if gone else ""))
    possible = sum(row["kind"] == "pod" and row["certainty"] == "possible" for row in found)
    said += [f'<span class="quiet">{counted(possible, "pod")} possible</span>'] if possible else []
    return "<br>".join(said) or pill("none shown", "quiet")


def _finding_words(row: Row, marks: list[Mark]) -> str:
    notes = [pill("AWS sample finding", "quiet")] if _true(row["sample"]) else []
    notes += [] if _true(row["about_eks"]) else [pill("not about EKS: outside this kit", "quiet")]
    notes += [pill("archived", "quiet")] if _true(row["archived"]) else []
    notes += [
        f"{pill(f'marked {one.word}', 'quiet')} {safe(one.note, 200)}"
        for one in marks
        if one.finding == row["id"] and not one.question
    ]
    return f"{safe(plain_words(row))} {' '.join(notes)}<br><code>{safe(row['type'])}</code>"


def _true(value: Any) -> bool:
    return not pd.isna(value) and bool(value)


_SOURCES = {
    "GuardDuty findings": "nothing to start from",
    "Kubernetes audit log": "what the caller did, and which pods existed, cannot be told",
    "CloudTrail": "what was done in AWS with the roles cannot be told",
    "cluster dump": "what still stands, and objects older than the log, cannot be told",
}


def evidence(case: Case) -> Shown:
    """How good the evidence is: what each source gives, from when to when, and what is missing, cut or unreadable."""
    taken = case.ledger[case.ledger["taken_as"].notna() & (case.ledger["taken_as"] != "")]
    names = [*_SOURCES, *sorted(set(taken["taken_as"]) - set(_SOURCES))]
    rows = [_source_row(case, name, taken[taken["taken_as"] == name]) for name in names]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    head = "<tr><th>Source</th><th>Files</th><th>Rows</th><th>From – to</th><th>How good</th></tr>"
    notes = _evidence_notes(case, taken)
    return Shown(
        f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>{notes}', "evidence"
    )


def _source_row(case: Case, name: str, files: pd.DataFrame) -> str:
    if not len(files):
        return f"<td>{safe(name)}</td><td>0</td><td></td><td></td><td>{pill('none', 'cannot')} {_SOURCES[name]}</td>"
    first = pd.to_datetime(files["first_at"], utc=True, format="ISO8601", errors="coerce").min()
    last = pd.to_datetime(files["last_at"], utc=True, format="ISO8601", errors="coerce").max()
    span = "" if pd.isna(first) else _stretch(first, last)
    return f'<td>{safe(name)}</td><td class="tight">{len(files):,}</td><td class="tight">{int(files["rows"].sum()):,}</td><td class="tight">{span}</td><td>{_how_good(case, name, files)}</td>'


def _how_good(case: Case, name: str, files: pd.DataFrame) -> str:
    source = {"Kubernetes audit log": "audit", "CloudTrail": "trail"}.get(name)
    said = []
    if source:
        gaps = case.coverage[(case.coverage["source"] == source) & (case.coverage["state"] == "gap")]
        if len(gaps):
            times = _list([_stretch(gap["start_at"], gap["end_at"]) for gap in records(gaps)], 3)
            said.append(f"{pill(counted(len(gaps), 'gap'), 'cannot')} {times}")
        elif source == "audit":
            said.append("no gap")
        partial = case.coverage[(case.coverage["source"] == source) & (case.coverage["state"] == "partial")]
        if len(partial):
            said.append(f"{pill('an API server may be missing', 'cannot')} {safe(partial['says'].iloc[0])}")
        recorded = case.coverage[
            (case.coverage["source"] == source)
            & (case.coverage["state"] == "recorded")
            & case.coverage["log_stream"].isna()
        ]
        said += list(dict.fromkeys(safe(says) for says in recorded["says"].dropna()))[:2]
    rejects, duplicates = int(files["rejects"].sum()), int(files["duplicates"].sum())
    said += [f"{pill(counted(rejects, 'reject'), 'cannot')} could not be read"] if rejects else []
    said += [f"{counted(duplicates, 'duplicate')} counted once"] if duplicates else []
    notes = [safe(note, 160) for note in files["note"] if note]
    return "; ".join([*said, *list(dict.fromkeys(notes))[:2]]) or "read in full"


def _evidence_notes(case: Case, taken: pd.DataFrame) -> str:
    refused = len(case.ledger) - len(taken)
    if not refused:
        return ""
    return f"<p>{counted(refused, 'file')} of {len(case.ledger):,} {'was' if refused == 1 else 'were'} not taken; the ledger says why.</p>"


def ledger(case: Case) -> Shown:
    """Every file that was given, with its hash and what became of it."""
    columns: dict[str, Callable[[Row], str]] = {
        "File": lambda row: f"<code>{safe(row['path'])}</code>",
        "Taken as": lambda row: (
            safe(row["taken_as"]) if row["taken_as"] and not pd.isna(row["taken_as"]) else pill("not taken", "quiet")
        ),
        "Records": lambda row: _number(row["records"]),
        "Rows": lambda row: _number(row["rows"]),
        "Duplicates": lambda row: _number(row["duplicates"]),
        "Rejects": lambda row: _number(row["rejects"]),
        "Bytes": lambda row: _number(row["bytes"]),
        "SHA-256": lambda row: f'<code class="hash">{safe(row["sha256"])}</code>',
        "Note": lambda row: safe(row["note"] or "", 300),
    }
    says = f"<p>{counted(len(case.ledger), 'file')}, kept read-only as they arrived; rows, duplicates and rejects add up to the records.</p>"
    return Shown(
        says
        + table(
            case.ledger,
            columns,
            export=_export(case, "ledger"),
            most=100,
            narrow=("Taken as", "Records", "Rows", "Duplicates", "Rejects", "Bytes"),
        ),
        "ledger",
    )


def _number(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{int(value):,}"


_SOURCE_OF = {"audit": "Kubernetes audit log", "sign_ins": "EKS authenticator log", "trail": "CloudTrail"}


def coverage(case: Case) -> Shown:
    """What the sources recorded, and their gaps."""
    if case.coverage.empty:
        return Shown(
            f"<p>{pill('cannot tell', 'cannot')} There is neither an audit log nor CloudTrail in this case.</p>",
            "no coverage",
        )
    columns: dict[str, Callable[[Row], str]] = {
        "Source": lambda row: _SOURCE_OF.get(row["source"], safe(row["source"])),
        "Log stream": lambda row: safe("" if pd.isna(row["log_stream"]) else row["log_stream"]),
        "State": lambda row: "recorded" if row["state"] == "recorded" else pill(row["state"], "cannot"),
        "From (UTC)": lambda row: clock(row["start_at"]),
        "To (UTC)": lambda row: clock(row["end_at"]),
        "Events": lambda row: _number(row["events"]),
        "Says": lambda row: safe("" if pd.isna(row["says"]) else row["says"]),
    }
    if case.coverage["log_stream"].isna().all():
        del columns["Log stream"]
    rows = case.coverage.sort_values(["source", "state", "start_at"])  # gaps first
    return Shown(
        table(rows, columns, export=_export(case, "coverage"), narrow=("Source", "From (UTC)", "To (UTC)")), "coverage"
    )


def recorded(case: Case) -> Shown:
    """What the sources were told to record: audit levels by resource, kinds of CloudTrail events by service and region."""
    levels: dict[str, Callable[[Row], str]] = {
        "Resource": lambda row: f"<code>{safe(row['resource'])}</code>",
        "Audit level": lambda row: safe(row["level"] or ""),
        "Events": lambda row: _number(row["events"]),
        "With request body": lambda row: _number(row["with_request_body"]),
        "With response body": lambda row: _number(row["with_response_body"]),
    }
    kinds: dict[str, Callable[[Row], str]] = {
        "Kind of event": lambda row: safe(row["event_category"]),
        "Region": lambda row: safe(row["region"] or ""),
        "Service": lambda row: f"<code>{safe(row['event_source'])}</code>",
        "Events": lambda row: _number(row["events"]),
        "Failed": lambda row: _number(row["failed"]),
    }
    parts = [
        table(frame, columns, export=_export(case, name), most=15)
        for frame, columns, name in (
            (case.audit_levels, levels, "audit_levels"),
            (case.trail_kinds, kinds, "cloudtrail_kinds"),
        )
        if not frame.empty
    ]
    says = (
        "<p>What is not in these tables was not recorded, whatever happened. Delivery of both logs is best effort.</p>"
    )
    return Shown(says + "".join(parts), "what was recorded")


def rejects(case: Case) -> Shown:
    """The records that could not become rows, with their place and reason."""
    if case.rejects.empty:
        return Shown(
            "<p>None: every record of the files that were taken became a row or is a duplicate of one.</p>",
            "no rejects",
        )
    columns: dict[str, Callable[[Row], str]] = {
        "Place": lambda row: f"<code>{safe(row['file'])}:{_number(row['line'])}</code>",
        "About when (UTC)": lambda row: "" if pd.isna(row["near_at"]) else clock(row["near_at"]),
        "Reason": lambda row: safe(row["reason"], 200),
        "Begins": lambda row: f"<code>{safe(row['raw'] if not pd.isna(row['raw']) else '', 120)}</code>",
    }
    return Shown(table(case.rejects, columns, export=_export(case, "rejects"), most=20), "rejects")


def _export(case: Case, name: str) -> Path:
    return case.path / "exports" / f"{name}.csv"


# ── subjects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def subjects(case: Case, kind: str) -> Shown:
    """The subjects of a kind: a sentence, the affected ones, and the possible ones folded away; each with its why."""
    rows = case.subjects[case.subjects["kind"] == kind]
    if rows.empty:
        return Shown(f"<p>{_nothing(case, kind)}</p>", f"no {KINDS[kind][1]}")
    affected, possible = rows[rows["certainty"] == "affected"], rows[rows["certainty"] == "possible"]
    says = _subjects_sentence(case, kind)
    shown = _subjects_table(case, kind, _sorted(affected), f"{kind}-affected")
    shown += fold(
        f"{counted(len(possible), *KINDS[kind])}: {pill('possible')} – not shown to be affected, to be looked at",
        _subjects_table(case, kind, _sorted(possible), f"{kind}-possible") if len(possible) else "",
    )
    return Shown(f"<p>{says}</p>{shown}{_limits_about(case, kind)}", says)


def deeds(case: Case) -> Shown:
    """What the attacker did to secrets and objects: read, minted, ran, created, changed, deleted; each with its why."""
    if not len(case.findings):
        return Shown(f"<p>{_nothing(case, 'created')}</p>", "no finding")
    parts = [f"<h3>{KINDS[kind][1].capitalize()}</h3>{subjects(case, kind).html}" for kind in DEEDS]
    return Shown("".join(parts), "deeds")


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    """What most findings name first, then what still stands."""
    order = rows.assign(
        _named=-rows["findings"].map(len), _gone=_gone(rows) if len(rows) else False, _through=rows["through"].notna()
    )
    return order.sort_values(["_through", "_named", "_gone", "namespace", "name", "key"], kind="stable").drop(
        columns=["_named", "_gone", "_through"]
    )


def _subjects_sentence(case: Case, kind: str) -> str:
    rows, possible = _keys(case, kind), _keys(case, kind, "possible")
    noun = KINDS[kind]
    at_least = "At least " if case.limits["about"].map(lambda kinds: kind in kinds).any() and len(rows) else ""
    said = (
        f"{pill('affected')} {at_least}{counted(len(rows), *noun)}"
        if len(rows)
        else f"No {noun[1]} shown to be affected"
    )
    if kind == "pod" and len(rows):
        gone, before = int(_gone(rows).sum()), int(rows["gone_before"].fillna(False).sum())
        said += f", {gone:,} already gone" + (f" ({before:,} of these before the first hostile call)" if before else "")
        unknown = int((rows["standing"].isna() & ~_gone(rows)).sum())
        said += (
            f"; for {unknown:,} it cannot be told whether {'it still stands' if unknown == 1 else 'they still stand'}"
            if unknown
            else ""
        )
    return said + (f". {pill('possible')} {len(possible):,} more." if len(possible) else ".")


def _limits_about(case: Case, kind: str) -> str:
    rows = records(case.limits[case.limits["about"].map(lambda kinds: kind in kinds)])
    said = "".join(f"<li>{pill('cannot tell', 'cannot')} {safe(row['says'])}.</li>" for row in rows[:4])
    return f'<ul class="plain">{said}</ul>' if said else ""


def _subjects_table(case: Case, kind: str, rows: pd.DataFrame, name: str) -> str:
    if kind == "pod" and len(rows) >= _GROUP_FROM:
        inside = table(rows, _subject_columns(case, kind, rows), export=_export(case, name), narrow=("Lived (UTC)",))
        return _workloads(case, rows) + fold(f"Each of the {len(rows):,} pods", inside)
    return table(rows, _subject_columns(case, kind, rows), export=_export(case, name), narrow=("Lived (UTC)",))


def _workloads(case: Case, rows: pd.DataFrame) -> str:
    """Pods gathered by namespace and name without what their controllers added."""
    pattern = [f"{row['namespace']}/{figures.workload_pattern(str(row['name']))}" for row in records(rows)]
    stands = rows["standing"].map(lambda one: one is True) & ~_gone(rows)
    frame = rows.assign(pattern=pattern, gone=_gone(rows), stands=stands).groupby("pattern", sort=True)
    groups = frame.agg(
        pods=("key", "count"), gone=("gone", "sum"), stands=("stands", "sum"), first=("key", "first"),
        nodes=("node", lambda of: sorted({str(one) for one in of.dropna()})), through=("through", "first"),
    ).reset_index()  # fmt: skip
    groups = groups.sort_values(["stands", "pods", "pattern"], ascending=[False, False, True], kind="stable")
    one = {row["key"]: row for row in records(rows)}
    columns: dict[str, Callable[[Row], str]] = {
        "Pods by name": lambda row: f"<b>{safe(row['pattern'])}</b>",
        "Pods": lambda row: _number(row["pods"]),
        "Standing": lambda row: _number(row["stands"]),
        "Gone": lambda row: _number(row["gone"]),
        "Nodes": lambda row: "<br>".join(f'<span class="whole">{safe(_short(node))}</span>' for node in row["nodes"]),
        "Why, of the first": lambda row: _why(case, one[row["first"]], most=1),
    }
    return table(groups, columns, most=30, narrow=("Pods by name",))


def _subject_columns(case: Case, kind: str, rows: pd.DataFrame) -> dict[str, Callable[[Row], str]]:
    columns: dict[str, Callable[[Row], str]] = {
        KINDS[kind][0].capitalize(): lambda row: f"<b>{_name(row)}</b>{console.links(case, row['kind'], row['key'])}"
    }
    if rows["node"].notna().any():
        columns["Node"] = lambda row: safe(_short(str(row["node"]))) if isinstance(row["node"], str) else "never placed"
    if (
        kind in ("pod", "node", "service_account", "created")
        and (rows["created_at"].notna() | rows["standing"].notna()).any()
    ):
        columns["Lived (UTC)"] = _life
    if rows["through"].notna().any():
        columns["By"] = lambda row: (
            f"through {safe(user_words(str(row['through']).partition(':')[2]))}"
            if isinstance(row["through"], str)
            else "the finding's caller"
        )
    columns["Why"] = lambda row: _why(case, row)
    columns["Findings"] = lambda row: f"{len(row['findings']):,}"
    return columns


def _name(row: Row) -> str:
    if row["kind"] == "identity":
        return f"{safe(user_words(row['key']))}"
    if row["kind"] == "pod":
        return safe(
            "/".join(str(part) for part in (row["namespace"], row["name"]) if isinstance(part, str) and part)
            or row["key"]
        )
    return safe(row["key"])


def _short(node: str) -> str:
    return node.partition(".")[0]


def _life(row: Row) -> str:
    start = clock(row["created_at"], "before the log")
    if not pd.isna(row["deleted_at"]):
        end = f"gone {clock(row['deleted_at'])}" + (
            " (before the first hostile call)" if row["gone_before"] is True else ""
        )
    else:
        end = {True: "stands", False: "gone, when cannot be told"}.get(row["standing"], "cannot tell whether it stands")
    return f"{start}<br>{end}"


@functools.lru_cache(maxsize=4)
def _whys(case: Case) -> dict[tuple[str, str, str | None], list[tuple[str, str]]]:
    """The reasons of each subject with their refs, the strongest certainty's only."""
    reasons = dict[tuple[str, str, str | None], tuple[str, dict[str, str]]]()
    for finding in case.scope["findings"]:
        for subject in finding["subjects"]:
            place = (subject["kind"], subject["key"], subject["through"])
            certainty, said = reasons.get(place, (subject["certainty"], {}))
            if certainty == "possible" and subject["certainty"] == "affected":
                certainty, said = "affected", {}
            if certainty == subject["certainty"]:
                for why in subject["why"]:
                    said.setdefault(why["says"], why["ref"])
            reasons[place] = certainty, said
    return {place: list(said.items()) for place, (_, said) in reasons.items()}


def _why(case: Case, row: Row, most: int = 2) -> str:
    through = row["through"] if isinstance(row["through"], str) else None
    reasons = _whys(case).get((row["kind"], row["key"], through), [])
    said = [f"{safe(says, 260)} {evidence_of.link(case, ref)}" for says, ref in reasons[:most]]
    rest = counted(len(reasons) - most, "more reason")
    more = f' <span class="quiet">and {rest}</span>' if len(reasons) > most else ""
    return "<br>".join(said) + more


# ── pictures and calls ───────────────────────────────────────────────────────────────────────────────────────────────


def picture(chart: figures.Chart, below: str) -> Shown:
    """A figure with what stands below it."""
    return Shown(f"<figure>{chart._repr_html_()}</figure>{below}", repr(chart))


def timeline(case: Case) -> Shown:
    """The attacker's calls over time, as a picture and as a table."""
    if not len(case.calls) and not len(case.aws_calls):
        return Shown(f"<p>{_done(case) if len(case.findings) else _nothing(case, 'identity')}</p>", "no calls")
    window = (case.window.start, case.window.end) if case.window else None
    chart = figures.timeline(case.calls, case.aws_calls, case.findings, case.coverage, window)
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["at"]),
        "Who": lambda row: safe(row["line"]),
        "What": lambda row: safe(row["what"], 200),
        "Calls": lambda row: _number(row["count"]),
    }
    inside = table(chart.rows, columns, export=_export(case, "timeline"), narrow=("At (UTC)",))
    return picture(chart, fold("The same as a table", inside))


def graph(case: Case) -> Shown:
    """From the findings to callers, pods, nodes and roles, as a picture and as a table."""
    if case.subjects.empty:
        return Shown(f"<p>{_nothing(case, 'pod')}</p>", "no subjects")
    chart = figures.incident_graph(case.subjects, case.findings, case.calls, case.aws_calls)
    columns: dict[str, Callable[[Row], str]] = {
        "What": lambda row: safe(row["what"]),
        "Which": lambda row: safe(row["which"]),
        "Certainty": lambda row: pill(row["certainty"]),
        "How many": lambda row: _number(row["count"]),
    }
    return picture(chart, fold("The same as a table", table(chart.rows, columns, export=_export(case, "graph"))))


def calls(case: Case) -> Shown:
    """The attacker's audit events, oldest first, each with why it is the attacker's."""
    if case.calls.empty:
        return Shown(f"<p>{_done(case) if len(case.findings) else _nothing(case, 'identity')}</p>", "no calls")
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["received_at"]),
        "Who": lambda row: safe(user_words(row["user_name"])),
        "From": lambda row: (
            f"<code>{safe(row['source_address'])}</code>" if isinstance(row["source_address"], str) else "not recorded"
        ),
        "What": lambda row: _call_cell(row),
        "Client": lambda row: safe(row["user_agent"], 60) if isinstance(row["user_agent"], str) else "",
        "Why it is the attacker's": lambda row: f"{safe(row['because'], 200)} {evidence_of.link(case, row['ref'])}",
    }
    says = f"<p>{counted(len(case.calls), 'call')} in the audit log, oldest first. The client and all but the last source address are the caller's own word.</p>"
    return Shown(says + table(case.calls, columns, export=_export(case, "calls"), narrow=("At (UTC)", "From")), "calls")


def _call_cell(row: Row) -> str:
    name, _, symbol = figures.DEEDS[figures.deed(row)]
    del symbol
    reason = row["decision_reason"]
    title = f' title="{html.escape(figures.visible(reason))}"' if isinstance(reason, str) and reason else ""
    return f"<span{title}>{safe(figures.call_words(row), 160)}</span><br>{pill(name, 'deed-' + figures.deed(row))}"


def aws_calls(case: Case) -> Shown:
    """The attacker's CloudTrail events, oldest first, each with why it is the attacker's."""
    if case.aws_calls.empty:
        verdict = case.verdict("aws_call", 0)
        says = f"{pill(verdict.word, 'quiet' if verdict.word != CANNOT_TELL else 'cannot')} No CloudTrail event of this case is attributed to the attacker. "
        return Shown(f"<p>{says}{'. '.join(safe(one.says) for one in verdict.limits)}</p>", verdict.word)
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["event_at"]),
        "Who": lambda row: safe(figures.arn_words(row["arn"])),
        "From": lambda row: (
            f"<code>{safe(row['source_address'])}</code>" if isinstance(row["source_address"], str) else "not recorded"
        ),
        "What": lambda row: (
            f"{safe(figures.aws_words(row), 160)}{console.links(case, 'trail', row['event_id'], row['region'])}"
        ),
        "Client": lambda row: safe(row["user_agent"], 60) if isinstance(row["user_agent"], str) else "",
        "Why it is the attacker's": lambda row: f"{safe(row['because'], 200)} {evidence_of.link(case, row['ref'])}",
    }
    says = f"<p>{counted(len(case.aws_calls), 'call')} in CloudTrail, oldest first.</p>"
    return Shown(
        says + table(case.aws_calls, columns, export=_export(case, "aws-calls"), narrow=("At (UTC)", "From")),
        "AWS calls",
    )


# ── limits and cited evidence ────────────────────────────────────────────────────────────────────────────────────────


def limits(case: Case) -> Shown:
    """What cannot be told, and what to collect to be able to."""
    if case.limits.empty:
        says = (
            "There is no finding in this case, so nothing was asked."
            if not len(case.findings)
            else "No limit is known for the questions that were asked."
        )
        return Shown(f"<p>{says}</p>", says)
    columns: dict[str, Callable[[Row], str]] = {
        "Cannot be told": lambda row: safe(row["says"]),
        "About": lambda row: safe(", ".join(KINDS.get(kind, (kind, kind))[1] for kind in row["about"])),
        "To be able to tell, collect": lambda row: with_code(row["collect"] or ""),
        "Findings": lambda row: f"{len(set(row['findings'])):,}",
    }
    return Shown(table(case.limits, columns, export=_export(case, "limits")), "limits")


def cited(case: Case) -> Shown:
    """The raw text of the evidence that this report cites, without the contents of secrets."""
    refs = list(evidence_of.cited(case))
    if not refs:
        return Shown("<p>Nothing is cited.</p>", "nothing cited")
    texts = evidence_of.texts(case, refs)
    every = evidence_of.wanted(case)
    rest = (
        f" Of {every:,} that are cited, {len(refs):,} are shown; the rest is found by the ref in the case's evidence."
        if every > len(refs)
        else ""
    )
    says = f"<p>{counted(len(refs), 'piece')} of evidence as received, indented; what secrets hold is never shown.{rest}</p>"
    parts = "".join(
        f'<details class="raw" id="{evidence_of.anchor(ref)}"><summary>{safe(ref)}</summary><pre>{html.escape(texts[ref])}</pre></details>'
        for ref in refs
    )
    return Shown(says + parts, f"{len(refs)} pieces of evidence")
