"""The first screen: the gravest incident with its story, what is open, what to do next, and what cannot be told."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from kit import __version__
from kit.case.case import Case
from kit.case.display import INVENTED
from kit.model.kinds import DEEDS, SubjectName
from kit.questions.verdict import CANNOT_TELL
from kit.show import cited as evidence_of
from kit.show import console, figures
from kit.show.figures import frame_rows
from kit.show.html_table import Shown, clock, fold, safe
from kit.show.words import (
    NOUNS,
    are_gone,
    has_audit_log,
    nothing_shown,
    pill,
    plain_words,
    rows_of_kind,
    severity_pill,
    short_names,
    some_of,
    stretch_words,
    with_code,
)
from kit.statements.open_entry import ROTATED
from kit.words import counted

_TILES: tuple[SubjectName, ...] = ("pod", "node", "service_account", "iam_role", "image", "secret")
_MOST_OPEN, _MOST_LIMITS, _MOST_UNDECIDED = 9, 4, 3  # of one incident
_PART_ENDS = re.compile(r"[;,.] (?![^(]*\))")
"""Where a part of a sentence ends, outside of brackets."""
_LONG_STORY = 6  # rows
_MOST_INCIDENTS = 6  # besides the gravest, before the rest folds
_SHORT_COMMAND = 90  # letters; longer ones fold


def banner(case: Case) -> Shown | None:
    """What stands above everything of the sample case: that it is invented. Nothing for other cases."""
    return Shown(Markup('<div class="invented">{}</div>').format(INVENTED), INVENTED) if case.is_sample else None


def summary(case: Case) -> Shown:
    """The first screen: the gravest incident with its story, what is open now, what to do next and what cannot be told; the others folded."""
    if not len(case.findings):
        says = "There is no finding in this case, so nothing is in scope. What evidence there is, and how good it is, stands below."
        return Shown(Markup('<div class="verdict calm"><p>{}</p></div>').format(says), says)
    brief = case.brief()
    hit = _hit(case)
    says_both = (
        hit and not has_audit_log(case) and not len(case.aws_calls)
    )  # that what was done and what it hit cannot be told
    said = Markup("<p>{}</p>").format(
        Markup(" ").join(one for one in ("" if says_both else what_was_done(case), hit) if one)
    )
    first, others = brief["incidents"][:1], brief["incidents"][1:]
    titles = Markup("").join(_title(one) for one in first)
    screens = Markup("").join(_columns(case, one) for one in first)
    each = [fold(_title(one, "span"), _columns(case, one), kind="incident") for one in others]
    rest_of_them = fold(f"{len(each) - _MOST_INCIDENTS:,} more", Markup("").join(each[_MOST_INCIDENTS:]))
    more = Markup("").join(each[:_MOST_INCIDENTS]) + rest_of_them
    apart = Markup("").join(
        Markup("<li>{} <code>{}</code>: {}</li>").format(
            pill("no incident", "quiet"), safe(one["finding"]), safe(one["says"])
        )
        for one in brief["no_incident"]
    )
    rest = Markup("<h3>{}</h3>{}").format(counted(len(others), "other incident"), more) if more else more
    rest += (
        fold(
            f"Findings of no incident ({len(brief['no_incident']):,})",
            Markup('<ul class="plain">{}</ul>').format(apart),
        )
        if apart
        else apart
    )
    html = Markup('<div class="brief">{}<div class="verdict">{}</div>{}{}</div><p>{}</p>{}').format(
        titles, said, _tiles(case), screens, _said_by_guardduty(case), rest
    )
    return Shown(html, "summary")


def _title(one: dict[str, Any], element: str = "h3") -> Markup:
    """An incident in a line: how grave, what it is, whether it is hostile and goes on."""
    goes_on = {"yes": ("goes on", "high"), "no": ("quiet when the logs end", "quiet")}
    word, kind = goes_on.get(one["active"], ("whether it goes on: cannot tell", "cannot"))
    hostile = pill(one["disposition"], "high" if one["disposition"] == "hostile" else "cannot")
    title = Markup("{} {} {} {}").format(severity_pill(one["severity"]), safe(one["title"]), hostile, pill(word, kind))
    if element == "h3":
        return Markup('<h3 class="incident">{}</h3>').format(title)
    return Markup("{} {}").format(title, counted(len(one["findings"]), "finding"))


def _columns(case: Case, one: dict[str, Any]) -> Markup:
    """One incident in two columns: what happened and what cannot be told; whose it is, what is open, what to do."""
    goes = _block("Evidence that goes by itself", _vanishing(one), kind="narrow")
    is_long = len(one["story"]) > _LONG_STORY  # so that neither column is much longer
    left = [
        _block("Story", _story(case, one), kind="narrow"),
        *([_block("Perhaps the attacker's too", _perhaps(case, one), kind="narrow")] if one["undecided"] else []),
        _block("Or is it ours?", _ours(one)),
        _block("Cannot be told", _cannot(one), kind="narrow"),
        *([] if is_long else [goes]),
    ]
    right = [_block("Open now", _open_now(one)), _block("Next", _next_steps(one)), *([goes] if is_long else [])]
    columns = Markup("").join(left), Markup("").join(right)
    return Markup('<div class="two"><div>{}</div><div>{}</div></div>').format(*columns)


def in_short(text: str, most: int) -> Markup:
    """A sentence of the brief with the names that it holds in short: ARNs without their account, nodes without their domain.

    One of more than `most` letters ends where a part of it does, with dots that say so.
    """
    shown = short_names(text)
    if len(shown) <= most:
        return with_code(shown)
    ends = [found.start() for found in _PART_ENDS.finditer(shown, 0, most) if not shown[: found.start()].count("`") % 2]
    return with_code(f"{shown[: ends[-1] if ends else most]} …")


def _block(title: str, inside: Markup, kind: str = "") -> Markup:
    """A part of the first screen. kind: narrow folds away on a narrow one."""
    return fold(Markup("<h4>{}</h4>").format(title), inside, opened=True, kind=f"block {kind}".strip())


def _story(case: Case, one: dict[str, Any]) -> Markup:
    rows = list[Markup]()
    for row in one["story"]:
        at = clock(row["at"])[11:] if row["at"] else ""
        shown_by = (
            Markup(" {}").format(evidence_of.link(case, row["refs"][0], _noun(row["refs"][0]))) if row["refs"] else ""
        )
        rows.append(
            Markup('<tr><th scope="row" title="{}">{}</th><td>{}{}</td></tr>').format(
                clock(row["at"]), at, in_short(row["says"], 330), shown_by
            )
        )
    days = sorted({clock(row["at"])[:10] for row in one["story"] if row["at"]})
    dated = " – ".join(dict.fromkeys([*days[:1], *days[-1:]])) or "no date is known"
    return Markup('<table class="story"><caption>{}, UTC</caption><tbody>{}</tbody></table>').format(
        dated, Markup("").join(rows)
    )


def _perhaps(case: Case, one: dict[str, Any]) -> Markup:
    """Calls that may be the attacker's, and what to ask of them."""
    row = Markup('<li class="doubt">{} Ask: {} {}</li>')
    shown = Markup("").join(
        row.format(
            in_short(calls["says"], 300), in_short(calls["ask"], 200), evidence_of.link(case, calls["refs"][0], "call")
        )
        for calls in one["undecided"][:_MOST_UNDECIDED]
    )
    rest = sum(calls["calls"] for calls in one["undecided"][_MOST_UNDECIDED:])
    more = Markup('<li class="quiet">{}.</li>').format(counted(rest, "more call")) if rest else ""
    return Markup('<ul class="plain">{}{}</ul>').format(shown, more)


def _noun(ref: str) -> str:
    return "finding" if ref.startswith("finding:") else "call"


def _ours(one: dict[str, Any]) -> Markup:
    doubts = Markup("").join(
        Markup("<li>{}</li>").format(
            safe(f"{doubt['says']} Ask: {doubt['ask']}" if doubt["ask"] else doubt["says"], 300)
        )
        for doubt in one["expected_if"][:1]
    )
    return Markup('<ul class="plain">{}</ul>').format(
        doubts or Markup("<li>Nothing in the evidence speaks for a false alarm.</li>")
    )


def _open_now(one: dict[str, Any]) -> Markup:
    """What still gives access, in red; secrets together; then how many ended."""
    shown = [entry for entry in one["open"] if entry["state"] != "ended"]
    ended = len(one["open"]) - len(shown)
    secrets = [entry for entry in shown if entry["kind"] in ROTATED]
    rows = [
        Markup('<li class="{}">{}{}</li>').format(
            "stands" if entry["state"] == "usable" else "doubt",
            "" if entry["state"] == "usable" else Markup("{} ").format(pill("cannot tell", "cannot")),
            in_short(entry["says"], 300),
        )
        for entry in shown
        if entry["kind"] not in ROTATED
    ]
    if secrets:
        names = some_of([safe(entry["key"]) for entry in secrets], 3)
        what = Markup("{} read and not rotated since: {}.").format(counted(len(secrets), "secret"), names)
        rows.append(Markup('<li class="stands">{}</li>').format(what))
    if not rows:
        says = (
            "No entry of the open list is known to be usable."
            if one["open"]
            else "No call is attributed that left anything open."
        )
        rows = [Markup("<li>{} {}</li>").format(pill("cannot tell", "cannot"), says)]
    more = Markup('<li class="quiet">{} more.</li>').format(len(rows) - _MOST_OPEN) if len(rows) > _MOST_OPEN else ""
    gone = Markup('<li class="quiet">{} ended.</li>').format(counted(ended, "entry", "entries")) if ended else ""
    return Markup('<ul class="plain">{}{}{}</ul>').format(Markup("").join(rows[:_MOST_OPEN]), more, gone)


def case_facts(case: Case) -> dict[str, str]:
    """What a page about the case has at its head: where it is from, the time it covers, its evidence, and which kit made it."""
    named = {"Cluster": case.cluster, "Account": case.account, "Region": case.region, "Looked at": _looked_at(case)}
    files = counted(len(case.ledger), "file")
    evidence = {"Evidence": f"{files}, sha256 {case.evidence_digest[:16]}", "Kit": __version__}
    return {name: value or "not in the evidence" for name, value in named.items()} | evidence


def _looked_at(case: Case) -> str:
    if case.window is None:
        return "the findings alone"
    missing = case.unrecorded
    gaps = f", of which {counted(len(missing), 'stretch', 'stretches')} not recorded" if missing else ""
    return f"{stretch_words(case.window.start, case.window.end)}{gaps}"


def _said_by_guardduty(case: Case) -> Markup:
    top = frame_rows(case.findings.head(1))[0]
    cluster = (
        Markup("cluster <b>{}</b>{}").format(safe(case.cluster), console.links(case, "cluster", case.cluster))
        if case.cluster
        else "a cluster that the evidence does not name"
    )
    place = Markup(", ").join(safe(part) for part in (case.account and f"account {case.account}", case.region) if part)
    number = len(case.findings)
    where = Markup(" ({})").format(place) if place else ""
    word = "the most severe, " if number > 1 else ""
    about = any(one["id"] == top["id"] and one["about_eks"] for one in case.scope["findings"])
    outside = "" if about else " It names no EKS cluster."
    lead = Markup("GuardDuty reports {} about {}{}; {}").format(counted(number, "finding"), cluster, where, word)
    return Markup("{}{} <code>{}</code>{}: {}{}").format(
        lead,
        severity_pill(top["severity"]),
        safe(top["type"]),
        console.links(case, "finding", top["id"], top["region"]),
        safe(_lower(plain_words(top))),
        outside,
    )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def what_was_done(case: Case) -> Markup:
    """One sentence of what the attacker's calls did."""
    if not len(case.calls) and not len(case.aws_calls):
        if not has_audit_log(case):
            return Markup("{} what the attacker did: this case has no audit log.").format(pill("cannot tell", "cannot"))
        return Markup("No call in the audit log is attributed to an attacker.")
    sources = [f"{counted(len(case.calls), 'call')} in the audit log"] if len(case.calls) else []
    sources += [f"{counted(len(case.aws_calls), 'call')} in CloudTrail"] if len(case.aws_calls) else []
    every = [*frame_rows(case.calls), *frame_rows(case.aws_calls)]
    addresses = list(dict.fromkeys(one["source_address"] for one in every if isinstance(one["source_address"], str)))
    came = Markup(", from {},").format(some_of([safe(one) for one in addresses], 3)) if addresses else Markup("")
    codes = [call["response_code"] for call in frame_rows(case.calls) if figures.deed(call) == "refused"]
    refused = sum(code in (401, 403) for code in codes)
    parts = [
        f"{refused:,} {'was' if refused == 1 else 'were'} refused" if refused else "",
        f"{len(codes) - refused:,} failed" if len(codes) > refused else "",
    ]
    # A policy finding's caller, who may be an administrator, has deeds and no hostile call.
    hostile = {one["id"] for one in case.scope["findings"] if one["calls"]}
    number = {
        kind: int(rows_of_kind(case, kind)["findings"].map(lambda ids: bool(hostile & set(ids))).sum())
        for kind in DEEDS
    }
    words = [
        number["secret"] and Markup("read <b>{}</b>").format(counted(number["secret"], "secret")),
        number["token"] and f"minted tokens for {counted(number['token'], 'service account')}",
        number["exec"] and f"ran commands in {counted(number['exec'], 'pod')}",
        number["created"] and f"created {counted(number['created'], 'object')}",
        number["changed"] and f"changed {counted(number['changed'], 'object')}",
        number["deleted"] and f"deleted {counted(number['deleted'], 'object')}",
    ]
    did = (
        some_of([word for word in words if word], 9) or "read no secret, and made or changed nothing that the log shows"
    )
    is_ = "is" if len(case.calls) + len(case.aws_calls) == 1 else "are"
    return Markup("{}{} {} the attacker's: they {}").format(some_of(sources), came, is_, did) + (
        f"; {', '.join(filter(None, parts))}." if codes else "."
    )


def _hit(case: Case) -> Markup:
    pods, possible = rows_of_kind(case, "pod"), rows_of_kind(case, "pod", "possible")
    if not len(pods) and not len(possible):
        return nothing_shown(case, "pod")
    parts = list[str]()  # text or Markup
    if len(pods):
        nodes = pods["node"].dropna().nunique()
        gone = int(are_gone(pods).sum())
        on = f" on {counted(nodes, 'node')}" if nodes else ""
        verb = "is" if len(pods) == 1 else "are"
        parts.append(
            Markup("<b>{}</b>{} {} affected, {} {} gone").format(
                counted(len(pods), "pod"), on, verb, _part(gone, len(pods)), "known to be" if not gone else "already"
            )
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
    return Markup("; ").join(parts) + "."


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


def _tiles(case: Case) -> Markup:
    return Markup('<div class="tiles">{}</div>').format(Markup("").join(_tile(case, kind) for kind in _TILES))


def _tile(case: Case, kind: SubjectName) -> Markup:
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
    return Markup('<div class="tile{}"><b>{}</b><span>{}</span><small>{}</small></div>').format(
        "" if len(rows) else " none", number, title, " · ".join(below) or Markup("&nbsp;")
    )


def _next_steps(one: dict[str, Any]) -> Markup:
    """What to do next about an incident, each step with its commands."""
    rows = list[Markup]()
    for step in one["next"]:
        by = "a person" if step["by"] == "person" else "kit apply"
        command = step["command"] or ""
        typed = Markup("<br>").join(Markup("<code>{}</code>").format(safe(line)) for line in command.split("\n"))
        shown = typed if len(command) <= _SHORT_COMMAND else fold("its commands", typed)
        rows.append(
            Markup("<li><b>{}</b> ({}, {} min): {} {}</li>").format(
                step["effect"].capitalize(), by, step["minutes"], in_short(step["says"], 190), shown if command else ""
            )
        )
    return Markup(
        '<ol class="tight">{}</ol><p><a href="#The-plan">The whole plan, with each command and when not to</a></p>'
    ).format(Markup("").join(rows))


def _vanishing(one: dict[str, Any]) -> Markup:
    """The evidence that goes first at a known time."""
    risks = sorted({(risk["lost_at"], risk["says"]) for risk in one["at_risk"] if risk["lost_at"]})
    shown = Markup("").join(Markup("<li>{}</li>").format(in_short(says, 190)) for _, says in risks[:2])
    return Markup('<ul class="plain">{}</ul>').format(shown) if shown else shown


def _cannot(one: dict[str, Any]) -> Markup:
    limits = one["cannot_tell"]
    shown = Markup("").join(
        Markup("<li>{}</li>").format(in_short(f"{limit['says']}.", 230)) for limit in limits[:_MOST_LIMITS]
    )
    more = (
        f"{len(limits) - _MOST_LIMITS:,} more, and what to collect"
        if len(limits) > _MOST_LIMITS
        else "What to collect to be able to tell"
    )
    link = Markup('<li><a href="#What-cannot-be-told">{}</a></li>').format(more)
    return Markup('<ul class="plain">{}{}</ul>').format(shown, link)
