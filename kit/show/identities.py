"""What notebooks show of identities: who each one is, which credentials and sources it used, how its access is taken away, its AWS sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.case.scope_json import FindingScopeJson, IdentityJson, SessionJson, StepJson, UseJson
from kit.case.whose_json import WhyJson
from kit.show import cited as evidence_of
from kit.show.figures import arn_words, user_words
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.words import pill
from kit.store.tables import Row
from kit.words import counted

KIND_WORDS = {
    "anonymous": "nobody: did not sign in",
    "service_account": "service account",
    "node": "node (its kubelet)",
    "iam": "IAM principal",
    "oidc": "user of an OIDC provider",
    "control_plane": "part of the control plane",
}
SESSION_WORDS = {
    "irsa": "IRSA",
    "pod_identity": "Pod Identity",
    "instance": "instance credentials",
    "saml": "SAML sign-in",
    "web_identity": "web identity",
    "role": "role taken on",
    "key": "long-term key",
    "unknown": "issuing not in the evidence",
}


_APART = 5  # groups of other calls that are listed

_Entry = TypeVar("_Entry", IdentityJson, SessionJson)


def _every(
    case: Case, entries: Callable[[FindingScopeJson], list[_Entry]], key: Callable[[_Entry], str]
) -> list[_Entry]:
    """The identities or sessions of all chosen findings, each once; affected wins over possible."""
    found = dict[str, _Entry]()
    for finding in case.scope["findings"]:
        for entry in entries(finding):
            if key(entry) not in found or entry["certainty"] == "affected":
                found[key(entry)] = entry
    return list(found.values())


def profiles(case: Case) -> Shown:
    """Each identity of the scope: what decides its kind, where the attacker got it, its sources and credentials, and the way to end it."""
    every = _every(case, lambda finding: finding["identities"], lambda identity: identity["user_name"])
    if not every:
        says = "No finding of this case names a caller, and no call is attributed to an attacker."
        return Shown(Markup("<p>{}</p>").format(says), says)
    return Shown(Markup("").join(_profile(case, one) for one in every), f"{len(every)} identities")


def _profile(case: Case, one: IdentityJson) -> Markup:
    sure = "" if one["certainty"] == "affected" else Markup(" {}").format(pill("possible"))
    parts = [Markup("<h3>{}</h3>").format(safe(user_words(one["user_name"])))]
    parts.append(
        Markup("<p><b>{}</b>{}: {}</p>").format(KIND_WORDS[one["kind"]].capitalize(), sure, _said(case, [one["why"]]))
    )
    for title, whys in (
        ("Where the attacker got it", one["patient_zero"]),
        ("Its AWS session leads back to", one["came_from"]),
    ):
        if whys:
            parts.append(Markup("<p>{}: {}.</p>").format(title, _said(case, whys)))
    for words, names in (
        ("Called in the name of", one["impersonates"]),
        ("Others called in its name", one["impersonated_by"]),
    ):
        if names:
            parts.append(
                Markup("<p>{}: {}.</p>").format(words, Markup(", ").join(safe(user_words(name)) for name in names))
            )
    steps = Markup("").join(Markup("<li>{}</li>").format(_step(case, step)) for step in one["take_away"])
    hostile = sum(source["hostile_calls"] for source in one["sources"])
    lead = Markup(
        "To take its access away, in this order; <code>kit plan</code> says what of it <code>kit apply</code> does:"
    )
    if not hostile:
        lead = Markup("No call of it is attributed to an attacker. Should its access have to go, in this order:")
    parts.append(Markup("<p>{}</p><ol>{}</ol>").format(lead, steps))
    if one["told_apart_by"]:
        says = Markup("").join(
            Markup("<li>{}.</li>").format(safe(apart["says"])) for apart in one["told_apart_by"][:_APART]
        )
        more = len(one["told_apart_by"]) - _APART
        says += Markup("<li>{} more in <code>kit scope --json</code>.</li>").format(more) if more > 0 else ""
        parts.append(Markup("<p>What separates other calls from the attacker's:</p><ul>{}</ul>").format(says))
    parts.append(_sources(one))
    parts.append(fold(counted(len(one["credentials"]), "credential"), _credentials(case, one)))
    if one["usual"]["calls"]:
        usual = Markup(", ").join(
            Markup("{} ({:,})").format(safe(what), number) for what, number in one["usual"]["calls"]
        )
        says = Markup("Before the first hostile call ({} UTC) it did: {}.").format(_time(one["usual"]["until"]), usual)
        parts.append(Markup('<p class="quiet">{} An attacker who was there earlier is in this too.</p>').format(says))
    return Markup("").join(parts)


def _step(case: Case, step: StepJson) -> Markup:
    command = Markup("<br><code>{}</code>").format(safe(step["command"])) if step["command"] else ""
    shown_by = Markup(" {}").format(evidence_of.link(case, step["why"]["ref"])) if step["why"] else ""
    return Markup("{}.{}{}").format(safe(step["says"]), shown_by, command)


def _said(case: Case, whys: Iterable[WhyJson]) -> Markup:
    return Markup("; ").join(
        Markup("{} {}").format(safe(why["says"]), evidence_of.link(case, why["ref"])) for why in whys
    )


def _time(text: Any) -> str:
    return clock(pd.Timestamp(text)) if isinstance(text, str) else ""


def _sources(one: IdentityJson) -> Markup:
    columns: dict[str, Callable[[Row], str]] = {
        "Address": lambda row: Markup("<code>{}</code>").format(safe(row["address"] or "not recorded")),
        "Whose": lambda row: (
            "the cluster's own" if row["inside"] else safe(row["network"]) if isinstance(row["network"], str) else ""
        ),
        "Client": lambda row: safe(row["user_agent"] or "", 60),
        "Calls": lambda row: f"{row['calls']:,}",
        "Hostile": lambda row: Markup("<b>{:,}</b>").format(row["hostile_calls"]) if row["hostile_calls"] else "0",
        "First (UTC)": lambda row: _time(row["first_at"]),
        "Last (UTC)": lambda row: _time(row["last_at"]),
    }
    return table(
        pd.DataFrame(one["sources"]), columns, most=8, narrow=("Address", "Calls", "First (UTC)", "Last (UTC)")
    )


def _credentials(case: Case, one: IdentityJson) -> Markup:
    columns: dict[str, Callable[[Row], str]] = {
        "Credential": lambda row: (
            Markup("<code>{}</code>").format(safe(row["key"])) if isinstance(row["key"], str) else "the log names none"
        ),
        "Kind": lambda row: safe(row["kind"].replace("_", " ")),
        "Calls": lambda row: f"{row['calls']:,}",
        "Hostile": lambda row: Markup("<b>{:,}</b>").format(row["hostile_calls"]) if row["hostile_calls"] else "0",
        "From": lambda row: safe(", ".join(row["addresses"][:4])),
        "Made": lambda row: _said(case, [cast("WhyJson", row["minted"])]) if isinstance(row["minted"], dict) else "",
        "Last (UTC)": lambda row: _time(row["last_at"]),
    }
    return table(pd.DataFrame(one["credentials"]), columns, most=20, narrow=("Last (UTC)",))


def sessions(case: Case) -> Shown:
    """The AWS sessions of what is in scope: those that the attacker used or that were used outside of the cluster first."""
    every = _every(case, lambda finding: finding["sessions"], lambda session: session["access_key_id"])
    if not every:
        verdict = case.verdict("iam_role", 0)
        says = (
            Markup("; ").join(safe(one.says) for one in verdict.limits)
            or "CloudTrail has no session of what is in scope"
        )
        return Shown(
            Markup("<p>{} {}.</p>").format(pill(verdict.word, "cannot" if verdict.limits else "quiet"), says),
            verdict.word,
        )
    called = [one for one in every if one["certainty"] == "affected" or _outside(one)]
    rest = [one for one in every if one not in called]
    says = f"{counted(len(every), 'session')}, of which {len(called):,} {'was' if len(called) == 1 else 'were'} used by the attacker or outside of the cluster."
    columns: dict[str, Callable[[Row], str]] = {
        "Access key": lambda row: Markup("<code>{}</code><br>{}").format(
            safe(row["access_key_id"]), pill(row["certainty"])
        ),
        "Got by": lambda row: Markup("{}: {}").format(
            SESSION_WORDS[row["kind"]], safe(row["service_account"] or row["node"] or row["asked_by"] or "")
        ),
        "Role": lambda row: safe(arn_words(row["role"] or "")),
        "Used from": lambda row: Markup("<br>").join(_use(use) for use in row["uses"][:4]),
        "Why": lambda row: _said(case, row["why"][:3]),
    }
    export = case.path / "exports" / "sessions.csv"
    shown = table(pd.DataFrame(called, dtype=object), columns, export=None) if called else ""
    inside = table(pd.DataFrame(rest, dtype=object), columns, export=export) if rest else Markup("")
    title = Markup("{}: {} – no use outside is shown").format(counted(len(rest), "session"), pill("possible"))
    return Shown(Markup("<p>{}</p>{}{}").format(says, shown, fold(title, inside)), says)


def _outside(one: SessionJson) -> bool:
    return any(use["inside"] is False for use in one["uses"])


def _use(use: UseJson) -> Markup:
    where = {True: "the cluster's own", False: Markup("<b>outside</b>"), None: "cannot tell whose"}[use["inside"]]
    return Markup("<code>{}</code> ({}): {}, {}").format(
        safe(use["address"]), where, counted(use["calls"], "call"), safe(", ".join(use["services"][:4]), 120)
    )
