"""The first screen: what happened, what was hit, what still stands, what to do next, and what cannot be told."""

from __future__ import annotations

from typing import Any

from kit import __version__
from kit.case.case import Case
from kit.model.kinds import DEEDS, SubjectName
from kit.model.window import Window
from kit.playbooks.playbook import playbook_of
from kit.questions.verdict import CANNOT_TELL
from kit.show import figures
from kit.show.figures import records, user_words
from kit.show.html_table import Shown, safe
from kit.show.words import (
    NOUNS,
    are_gone,
    has_audit_log,
    lasting_words,
    nothing_shown,
    pill,
    plain_words,
    rows_of_kind,
    severity_pill,
    some_of,
    stretch_words,
)
from kit.words import counted

_TILES: tuple[SubjectName, ...] = ("pod", "node", "service_account", "iam_role", "image", "secret")
_SOON_SECONDS = 300


def summary(case: Case) -> Shown:
    """The first screen: what happened, what is affected, from where, whether it goes on, and what cannot be told."""
    if not len(case.findings):
        says = "There is no finding in this case, so nothing is in scope. What evidence there is, and how good it is, stands below."
        return Shown(f'<div class="verdict calm"><p>{says}</p></div>', says)
    files = counted(len(case.ledger), "evidence file")
    head = f'<p class="quiet">Case {safe(case.name)} · {files}, together sha256 <code>{case.evidence_digest[:16]}</code> · kit {__version__}</p>'
    sentences = [_said_by_guardduty(case), what_was_done(case), _hit(case)]
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
    return f"{stretch_words(case.window.start, case.window.end)}{gaps}"


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
    return f"{lead}; {word}{severity_pill(top['severity'])} <code>{safe(top['type'])}</code>: {_lower(safe(plain_words(top)))}{outside}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def what_was_done(case: Case) -> str:
    """One sentence of what the attacker's calls did."""
    if not len(case.calls) and not len(case.aws_calls):
        if not has_audit_log(case):
            return f"{pill('cannot tell', 'cannot')} what the attacker did: this case has no audit log."
        return "No call in the audit log is attributed to an attacker."
    sources = [f"{counted(len(case.calls), 'call')} in the audit log"] if len(case.calls) else []
    sources += [f"{counted(len(case.aws_calls), 'call')} in CloudTrail"] if len(case.aws_calls) else []
    refused = sum(figures.deed(call) == "refused" for call in records(case.calls))
    # A policy finding's caller, who may be an administrator, has deeds and no hostile call.
    hostile = {one["id"] for one in case.scope["findings"] if one["calls"]}
    number = {
        kind: int(rows_of_kind(case, kind)["findings"].map(lambda ids: bool(hostile & set(ids))).sum())
        for kind in DEEDS
    }
    words = [
        number["secret"] and f"read <b>{counted(number['secret'], 'secret')}</b>",
        number["token"] and f"minted tokens for {counted(number['token'], 'service account')}",
        number["exec"] and f"ran commands in {counted(number['exec'], 'pod')}",
        number["created"] and f"created {counted(number['created'], 'object')}",
        number["changed"] and f"changed {counted(number['changed'], 'object')}",
        number["deleted"] and f"deleted {counted(number['deleted'], 'object')}",
    ]
    did = some_of([word for word in words if word], 9) or "read, made or changed nothing that the log shows"
    is_ = "is" if len(case.calls) + len(case.aws_calls) == 1 else "are"
    return f"{some_of(sources)} {is_} the attacker's: they {did}" + (f"; {refused:,} were refused." if refused else ".")


def _hit(case: Case) -> str:
    pods, possible = rows_of_kind(case, "pod"), rows_of_kind(case, "pod", "possible")
    if not len(pods) and not len(possible):
        return nothing_shown(case, "pod")
    parts = []
    if len(pods):
        nodes = pods["node"].dropna().nunique()
        gone = int(are_gone(pods).sum())
        on = f" on {counted(nodes, 'node')}" if nodes else ""
        verb = "is" if len(pods) == 1 else "are"
        parts.append(
            f"<b>{counted(len(pods), 'pod')}</b>{on} {verb} affected, {_part(gone, len(pods))} {'known to be' if not gone else 'already'} gone"
        )
        unknown = int((pods["standing"].isna() & ~are_gone(pods)).sum())
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


def _tiles(case: Case) -> str:
    return '<div class="tiles">' + "".join(_tile(case, kind) for kind in _TILES) + "</div>"


def _tile(case: Case, kind: SubjectName) -> str:
    rows, possible = rows_of_kind(case, kind), rows_of_kind(case, kind, "possible")
    noun = NOUNS[kind][0 if len(rows) == 1 else 1]
    verdict = case.verdict(kind, len(rows))
    below = []
    if len(rows) and kind in ("pod", "node"):
        gone = int(are_gone(rows).sum())
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


def _places(case: Case, kind: SubjectName) -> str:
    words = {"source_ip": lambda key: f"<code>{safe(key)}</code>", "identity": lambda key: safe(user_words(key))}[kind]
    calls = case.calls.rename(columns={"source_address": "source_ip", "user_name": "identity"})
    number = calls[kind].value_counts()
    affected, possible = list(rows_of_kind(case, kind)["key"]), list(rows_of_kind(case, kind, "possible")["key"])
    every = list(dict.fromkeys([*sorted(number.index, key=lambda one: (-number[one], one)), *affected]))
    if not every and not possible:
        return nothing_shown(case, kind)
    said = [f"{words(one)} ({counted(int(number[one]), 'call')})" if one in number else words(one) for one in every[:5]]
    more = [f"and {len(every) - 5:,} more"] if len(every) > 5 else []
    maybe = [f"{pill('possible')} {words(one)}" for one in possible[:3] if one not in every]
    return "<br>".join([*said, *more, *maybe])


def _times(case: Case) -> list[Any]:
    return sorted([*case.calls["received_at"].dropna(), *case.aws_calls["event_at"].dropna()])


def _first_and_last(case: Case) -> str:
    times = _times(case)
    if times:
        return f"{stretch_words(times[0], times[-1])} ({lasting_words((times[-1] - times[0]).total_seconds())})"
    seen = case.findings.dropna(subset=["first_seen_at"])
    if not len(seen):
        return f"{pill('cannot tell', 'cannot')} no call and no time in the findings."
    last = seen["last_seen_at"].fillna(seen["first_seen_at"]).max()
    return f"No call is known; GuardDuty saw it {stretch_words(seen['first_seen_at'].min(), last)}."


def _still(case: Case) -> str:
    times, window = _times(case), case.window
    if window is None or not has_audit_log(case):
        return f"{pill('cannot tell', 'cannot')} this case has no audit log."
    if not times:
        return f"{pill('cannot tell', 'cannot')} no call is attributed to the attacker, so none can be missed."
    quiet = (window.end - times[-1]).total_seconds()
    soon = quiet < _SOON_SECONDS
    verdict = case.verdict("identity", int(soon), Window(times[-1], window.end) if quiet > 0 else None)
    if verdict.word == CANNOT_TELL:
        return f"{pill(verdict.word, 'cannot')} after the last call: {some_of([safe(one.says) for one in verdict.limits], 2)}."
    if soon:
        return f"{pill('maybe', 'possible')} the last call came {lasting_words(quiet)} before the log ends. Treat it as going on."
    left = [word for word in (_left(case, "service_account"), _left(case, "iam_role")) if word]
    stands = f" {some_of(left)} are not known to be gone: their credentials may still serve." if left else ""
    return f"{pill(verdict.word, 'quiet')} after the last call, in {lasting_words(quiet)} of log without a gap (its delivery is best effort).{stands}"


def _stands(case: Case) -> str:
    answer = case.answer(str(case.findings["id"].iloc[0]), "still_standing")
    return f"{pill(answer.verdict.word, 'cannot' if answer.verdict.word == CANNOT_TELL else 'quiet')} {safe(answer.says, 200)}"


def _next_steps(case: Case) -> str:
    """The first step of each of the first stages that the most severe finding's playbook has something in scope for."""
    first = dict[str, str]()
    for do in playbook_of(str(case.findings["type"].iloc[0])).actions:
        if do.action.stage not in first and case.targets(do.action):
            first[do.action.stage] = do.action.does
    listed = "".join(f"<li>{safe(does)}.</li>" for does in list(first.values())[:3])
    return f'<ol class="tight">{listed}</ol><a href="#Steps,-in-order">All steps, with commands and when not to</a>'


def _left(case: Case, kind: SubjectName) -> str:
    rows = rows_of_kind(case, kind)
    number = len(rows) - int(are_gone(rows).sum())
    return counted(number, *NOUNS[kind]) if number else ""


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
