"""The attacker's calls: as a path, as a timeline, as tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.case.told import told
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.questions.verdict import CANNOT_TELL
from kit.show import cited as evidence_of
from kit.show import console, figures
from kit.show.figures import frame_rows, user_words
from kit.show.figures.attack_path import attack_boxes, path_rows, path_svg
from kit.show.figures.with_table import picture
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.summary import what_was_done
from kit.show.words import exported, nothing_shown, number_words, pill, rows_of_kind
from kit.store.tables import Row
from kit.words import counted

_STRETCHES = 60  # into which the time of the calls is cut


def timeline(case: Case) -> Shown:
    """The attacker's calls over time, as a picture and as a table."""
    if not len(case.calls) and not len(case.aws_calls):
        return Shown(
            Markup("<p>{}</p>").format(what_was_done(case) if len(case.findings) else nothing_shown(case, "identity")),
            "no calls",
        )
    window = (case.window.start, case.window.end) if case.window else None
    pods = _attacked_first(case)
    chart = figures.timeline_chart(
        case.calls, case.aws_calls, case.findings, case.coverage, window, told(case), pods, _begun(case)
    )
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["at"]),
        "Who": lambda row: safe(row["line"]),
        "What": lambda row: safe(row["what"], 200),
        "Calls": lambda row: number_words(row["count"]),
    }
    inside = table(chart.rows, columns, export=exported(case, "timeline"), narrow=("At (UTC)",))
    says = Markup('<p class="quiet">{}.</p>').format(chart.says)
    return picture(chart, says + fold("The same as a table", inside))


def _attacked_first(case: Case) -> pd.DataFrame:
    """The affected pods: whose tokens were used, then which the attacker's calls name, then those that lived while the calls went on."""
    pods, moments = rows_of_kind(case, "pod"), told(case)
    named = set(case.calls[case.calls["resource"] == "pods"][["namespace", "name"]].itertuples(index=False, name=None))
    used = {one.actor.through.rpartition(" ")[2] for one in moments if "token of pod" in one.actor.through}
    order = [
        3 if f"{namespace}/{name}" in used else 2 if (namespace, name) in named else 0
        for namespace, name in zip(pods["namespace"], pods["name"], strict=True)
    ]
    if moments:
        over = (pods["deleted_at"] < moments[0].at).fillna(False) | (pods["created_at"] > moments[-1].at).fillna(False)
        order = [max(one, int(not gone)) for one, gone in zip(order, over, strict=True)]
    ordered = pods.assign(_order=order)
    return ordered.sort_values(["_order", "created_at", "key"], ascending=[False, False, True], kind="stable")


def attack_path(case: Case) -> Shown:
    """From address to credential to deed to the next credential, as a picture whose boxes lead to their calls, and as a table."""
    moments = told(case)
    if not moments:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "identity")), "no calls")
    boxes = attack_boxes(moments, _nodes_of_pods(case), _owners_of_roles(case))
    rows = path_rows(boxes)
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["at"]),
        "From": lambda row: safe(row["from"]),
        "Did": lambda row: safe(row["step"]),
        "What": lambda row: safe(row["what"], 300),
        "Calls": lambda row: number_words(row["calls"]),
        "Evidence": lambda row: evidence_of.link(case, row["ref"]) if row["ref"] else "",
    }
    inside = table(rows, columns, export=exported(case, "attack-path"), narrow=("At (UTC)",))
    # JupyterLab gives each `a` another address, which one of an SVG refuses: there a click opens the ref.
    linked = evidence_of.cited_refs(case) if os.environ.get(figures.HEADLESS) else set[str]()
    picture = path_svg(boxes, lambda ref: f"#{evidence_of.anchor(ref)}" if ref in linked else "")
    says = Markup(
        '<p class="quiet">Left to right: address, credential, what was done with it, the next credential. A box leads to its call.</p>'
    )
    return Shown(says + picture + fold("The same as a table", inside), counted(len(boxes), "box", "boxes"))


def _nodes_of_pods(case: Case) -> dict[str, str]:
    pods = case.subjects[(case.subjects["kind"] == "pod") & case.subjects["node"].notna()]
    return {f"pods/{row['namespace']}/{row['name']}": str(row["node"]) for row in frame_rows(pods)}


def _owners_of_roles(case: Case) -> dict[str, str]:
    """Name of a role → the user name in the cluster of whoever got its session: a service account, else a node."""
    found = dict[str, str]()
    for row in frame_rows(case.sessions):
        account, node = row["service_account"], row["node"]
        if isinstance(row["role"], str) and (isinstance(account, str) or isinstance(node, str)):
            owner = f"{SERVICE_ACCOUNT}{account.replace('/', ':')}" if isinstance(account, str) else f"{NODE}{node}"
            found.setdefault(row["role"].rpartition("/")[2], owner)
    return found


def _begun(case: Case) -> list[tuple[datetime, str]]:
    """The kinds of call that the scope's identities made only since the first bad sign, each with the stretch in which the first was made."""
    activity, first = case.activity(_STRETCHES), case.first_hostile_at
    if activity.empty or first is None:
        return []
    before = set(activity[activity["at"] < first]["call"])
    new = activity[~activity["call"].isin(before)].groupby("call")["at"].min()
    return [(at.to_pydatetime(), str(call)) for call, at in new.items()]


def new_kinds(case: Case) -> Shown:
    """The kinds of call that the scope's identities made before the first bad sign and since, those first that are new."""
    activity, first = case.activity(_STRETCHES), case.first_hostile_at
    if activity.empty or first is None:
        says = "No call of an identity in scope is in the evidence, so nothing can be compared."
        return Shown(Markup("<p>{}</p>").format(says), says)
    earlier = activity["at"] < first
    counted_by = activity.assign(before=activity["calls"].where(earlier, 0), since=activity["calls"].where(~earlier, 0))
    rows = counted_by.groupby("call", as_index=False)[["before", "since", "hostile"]].sum()
    rows = rows.assign(new=rows["before"] == 0).sort_values(
        ["new", "hostile", "since", "call"], ascending=[False, False, False, True], ignore_index=True
    )
    columns: dict[str, Callable[[Row], str]] = {
        "Call": lambda row: safe(row["call"]),
        "New": lambda row: pill("new", "possible") if row["new"] else "",
        "Before": lambda row: number_words(row["before"]),
        "Since": lambda row: number_words(row["since"]),
        "Of the attacker": lambda row: number_words(row["hostile"]),
    }
    says = Markup("<p>{} of {} of call were not made before {} UTC.</p>").format(
        int(rows["new"].sum()), counted(len(rows), "kind"), clock(first)
    )
    return Shown(says + table(rows, columns, export=exported(case, "activity"), most=20), "kinds of call")


def calls(case: Case) -> Shown:
    """The attacker's audit events, oldest first, each with why it is the attacker's."""
    if case.calls.empty:
        return Shown(
            Markup("<p>{}</p>").format(what_was_done(case) if len(case.findings) else nothing_shown(case, "identity")),
            "no calls",
        )
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["received_at"]),
        "Who": lambda row: safe(user_words(row["user_name"])),
        "From": lambda row: (
            Markup("<code>{}</code>").format(safe(row["source_address"]))
            if isinstance(row["source_address"], str)
            else "not recorded"
        ),
        "What": lambda row: _call_cell(row),
        "Client": lambda row: safe(row["user_agent"], 60) if isinstance(row["user_agent"], str) else "",
        "Why it is the attacker's": lambda row: Markup("{} {}").format(
            safe(row["because"], 200), evidence_of.link(case, row["ref"])
        ),
    }
    says = Markup(
        "<p>{} in the audit log, oldest first. The client and all but the last source address are the caller's own word.</p>"
    ).format(counted(len(case.calls), "call"))
    return Shown(
        says + table(case.calls, columns, export=exported(case, "calls"), narrow=("At (UTC)", "From")), "calls"
    )


def _call_cell(row: Row) -> Markup:
    name, _, symbol = figures.DEED_MARKS[figures.deed(row)]
    del symbol
    reason = row["decision_reason"]
    title = Markup(' title="{}"').format(safe(reason)) if isinstance(reason, str) and reason else ""
    return Markup("<span{}>{}</span><br>{}").format(
        title, safe(figures.call_words(row), 160), pill(name, "deed-" + figures.deed(row))
    )


def aws_calls(case: Case) -> Shown:
    """The attacker's CloudTrail events, oldest first, each with why it is the attacker's."""
    if case.aws_calls.empty:
        verdict = case.verdict("aws_call", 0)
        says = Markup("{} No CloudTrail event of this case is attributed to the attacker. ").format(
            pill(verdict.word, "quiet" if verdict.word != CANNOT_TELL else "cannot")
        )
        return Shown(
            Markup("<p>{}{}</p>").format(says, Markup(". ").join(safe(one.says) for one in verdict.limits)),
            verdict.word,
        )
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["event_at"]),
        "Who": lambda row: safe(figures.arn_words(row["arn"])),
        "From": lambda row: (
            Markup("<code>{}</code>").format(safe(row["source_address"]))
            if isinstance(row["source_address"], str)
            else "not recorded"
        ),
        "What": lambda row: Markup("{}{}").format(
            safe(figures.aws_words(row), 160), console.links(case, "trail", row["event_id"], row["region"])
        ),
        "Client": lambda row: safe(row["user_agent"], 60) if isinstance(row["user_agent"], str) else "",
        "Why it is the attacker's": lambda row: Markup("{} {}").format(
            safe(row["because"], 200), evidence_of.link(case, row["ref"])
        ),
    }
    says = Markup("<p>{} in CloudTrail, oldest first.</p>").format(counted(len(case.aws_calls), "call"))
    return Shown(
        says + table(case.aws_calls, columns, export=exported(case, "aws-calls"), narrow=("At (UTC)", "From")),
        "AWS calls",
    )
