"""The first screen: what happened, what was hit, what still stands, what to do next, and what cannot be told."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from kit import __version__
from kit.case.case import Case
from kit.case.display import INVENTED
from kit.model.kinds import DEEDS, SubjectName
from kit.model.window import Window
from kit.questions.verdict import CANNOT_TELL
from kit.show import figures
from kit.show.figures import frame_rows, user_words
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


def banner(case: Case) -> Shown | None:
    """What stands above everything of the sample case: that it is invented. Nothing for other cases."""
    return Shown(Markup('<div class="invented">{}</div>').format(INVENTED), INVENTED) if case.is_sample else None


def summary(case: Case) -> Shown:
    """The first screen: what happened, what is affected, from where, whether it goes on, and what cannot be told."""
    if not len(case.findings):
        says = "There is no finding in this case, so nothing is in scope. What evidence there is, and how good it is, stands below."
        return Shown(Markup('<div class="verdict calm"><p>{}</p></div>').format(says), says)
    files = counted(len(case.ledger), "evidence file")
    head = Markup('<p class="quiet">Case {} · {}, together sha256 <code>{}</code> · kit {}</p>').format(
        safe(case.name), files, case.evidence_digest[:16], __version__
    )
    sentences = [_said_by_guardduty(case), what_was_done(case), _hit(case)]
    said = Markup("").join(Markup("<p>{}</p>").format(each) for each in sentences if each)
    verdict = Markup('<div class="verdict">{}</div>').format(said)
    brief = case.brief()
    facts = [
        ("Looked at", _looked_at(case)),
        ("From", _places(case, "source_ip")),
        ("As", _places(case, "identity")),
        ("First and last call", _first_and_last(case)),
        ("Still going on?", _still(case)),
        ("Open now", _stands(brief)),
        ("Next steps", _next_steps(brief)),
    ]
    listed = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(term, fact) for term, fact in facts)
    return Shown(
        Markup('{}{}{}<div class="two"><dl class="facts">{}</dl><div>{}{}</div></div>').format(
            head, verdict, _tiles(case), listed, _once_done(brief), _vanishing(brief) + _cannot(case)
        ),
        "summary",
    )


def _looked_at(case: Case) -> str:
    if case.window is None:
        return "the findings alone: there is no audit log and no window was given."
    missing = case.unrecorded
    gaps = f", of which {counted(len(missing), 'stretch', 'stretches')} not recorded" if missing else ""
    return f"{stretch_words(case.window.start, case.window.end)}{gaps}"


def _said_by_guardduty(case: Case) -> Markup:
    top = frame_rows(case.findings.head(1))[0]
    cluster = (
        Markup("cluster <b>{}</b>").format(safe(case.cluster))
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
    return Markup("{}{} <code>{}</code>: {}{}").format(
        lead, severity_pill(top["severity"]), safe(top["type"]), safe(_lower(plain_words(top))), outside
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
    codes = [call["response_code"] for call in frame_rows(case.calls) if figures.deed(call) == "refused"]
    refused = sum(code in (401, 403) for code in codes)
    parts = [
        f"{refused:,} were refused" if refused else "",
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
    did = some_of([word for word in words if word], 9) or "read, made or changed nothing that the log shows"
    is_ = "is" if len(case.calls) + len(case.aws_calls) == 1 else "are"
    return Markup("{} {} the attacker's: they {}").format(some_of(sources), is_, did) + (
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


def _places(case: Case, kind: SubjectName) -> Markup:
    words = {
        "source_ip": lambda key: Markup("<code>{}</code>").format(safe(key)),
        "identity": lambda key: safe(user_words(key)),
    }[kind]
    calls = case.calls.rename(columns={"source_address": "source_ip", "user_name": "identity"})
    number = calls[kind].value_counts()
    affected, possible = list(rows_of_kind(case, kind)["key"]), list(rows_of_kind(case, kind, "possible")["key"])
    every = list(dict.fromkeys([*sorted(number.index, key=lambda one: (-number[one], one)), *affected]))
    if not every and not possible:
        return nothing_shown(case, kind)
    said = [
        Markup("{} ({})").format(words(one), counted(int(number[one]), "call")) if one in number else words(one)
        for one in every[:5]
    ]
    more = [f"and {len(every) - 5:,} more"] if len(every) > 5 else []
    maybe = [Markup("{} {}").format(pill("possible"), words(one)) for one in possible[:3] if one not in every]
    return Markup("<br>").join([*said, *more, *maybe])


def _times(case: Case) -> list[Any]:
    return sorted([*case.calls["received_at"].dropna(), *case.aws_calls["event_at"].dropna()])


def _first_and_last(case: Case) -> Markup:
    times = _times(case)
    if times:
        lasted = lasting_words((times[-1] - times[0]).total_seconds())
        return Markup("{} ({})").format(stretch_words(times[0], times[-1]), lasted)
    seen = case.findings.dropna(subset=["first_seen_at"])
    if not len(seen):
        return Markup("{} no call and no time in the findings.").format(pill("cannot tell", "cannot"))
    last = seen["last_seen_at"].fillna(seen["first_seen_at"]).max()
    seen_in = stretch_words(seen["first_seen_at"].min(), last)
    return Markup("No call is known; GuardDuty saw it {}.").format(seen_in)


def _still(case: Case) -> Markup:
    times, window = _times(case), case.window
    if window is None or not has_audit_log(case):
        return Markup("{} this case has no audit log.").format(pill("cannot tell", "cannot"))
    if not times:
        return Markup("{} no call is attributed to the attacker, so none can be missed.").format(
            pill("cannot tell", "cannot")
        )
    quiet = (window.end - times[-1]).total_seconds()
    soon = quiet < _SOON_SECONDS
    verdict = case.verdict("identity", int(soon), Window(times[-1], window.end) if quiet > 0 else None)
    if verdict.word == CANNOT_TELL:
        return Markup("{} after the last call: {}.").format(
            pill(verdict.word, "cannot"), some_of([safe(one.says) for one in verdict.limits], 2)
        )
    if soon:
        return Markup("{} the last call came {} before the log ends. Treat it as going on.").format(
            pill("maybe", "possible"), lasting_words(quiet)
        )
    left = [word for word in (_left(case, "service_account"), _left(case, "iam_role")) if word]
    stands = (
        Markup(" {} are not known to be gone: their credentials may still serve.").format(some_of(left)) if left else ""
    )
    return Markup("{} after the last call, in {} of log without a gap (its delivery is best effort).{}").format(
        pill(verdict.word, "quiet"), lasting_words(quiet), stands
    )


def _stands(brief: dict[str, Any]) -> Markup:
    """The open entries of all incidents, those first that may be used."""
    entries = [entry for one in brief["incidents"] for entry in one["open"]]
    left = [entry for entry in entries if entry["state"] != "ended"]
    if not left:
        says = (
            "no entry of the open list is known to be usable" if entries else "no call is attributed that left anything"
        )
        return Markup("{} {}.").format(pill("cannot tell", "cannot"), says)
    secrets = sum(entry["kind"] == "secret" for entry in left)
    said = [safe(entry["says"], 400) for entry in left if entry["kind"] != "secret"]
    more = [f"and {len(said) - 4:,} more."] if len(said) > 4 else []
    rotate = [f"{counted(secrets, 'secret')} read and not rotated since."] if secrets else []
    return Markup("<br>").join([*said[:4], *more, *rotate])


def _next_steps(brief: dict[str, Any]) -> Markup:
    """What to do next about the gravest incident."""
    steps = brief["incidents"][0]["next"] if brief["incidents"] else []
    listed = Markup("").join(
        Markup("<li>{}: {}</li>").format(step["effect"].capitalize(), safe(step["says"], 400)) for step in steps
    )
    return Markup(
        '<ol class="tight">{}</ol><a href="#Steps,-in-order">All steps, with commands and when not to</a>'
    ).format(listed)


def _left(case: Case, kind: SubjectName) -> str:
    rows = rows_of_kind(case, kind)
    number = len(rows) - int(are_gone(rows).sum())
    return counted(number, *NOUNS[kind]) if number else ""


def _once_done(brief: dict[str, Any]) -> Markup:
    """What still works once the plan is done."""
    works = brief["still_works"]
    said = Markup("<li><b>For you:</b> {}.</li><li><b>For the attacker:</b> {}.</li>").format(
        safe(works["for_you"], 600), safe(works["for_attacker"], 600)
    )
    return Markup('<div class="limits"><h4>Still works, once the plan is done</h4><ul>{}</ul></div>').format(said)


def _vanishing(brief: dict[str, Any]) -> Markup:
    """The evidence that goes first at a known time, of all incidents."""
    risks = {(one["lost_at"], one["says"]) for each in brief["incidents"] for one in each["at_risk"] if one["lost_at"]}
    if not risks:
        return Markup("")
    shown = Markup("").join(Markup("<li>{}</li>").format(safe(says, 300)) for _, says in sorted(risks)[:3])
    return Markup('<div class="limits"><h4>Evidence that goes by itself</h4><ul>{}</ul></div>').format(shown)


def _cannot(case: Case) -> Markup:
    rows = frame_rows(case.limits)
    if not rows:
        return Markup("")
    shown = Markup("").join(Markup("<li>{}.</li>").format(safe(row["says"], 170)) for row in rows[:4])
    more = f"{len(rows) - 4:,} more, and what to collect" if len(rows) > 4 else "What to collect to be able to tell"
    link = Markup('<li><a href="#What-cannot-be-told">{}</a></li>').format(more)
    return Markup('<div class="limits"><h4>Cannot be told</h4><ul>{}{}</ul></div>').format(shown, link)
