"""The attacker's calls: as a timeline, as a graph, as tables."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from kit.case.case import Case
from kit.questions.verdict import CANNOT_TELL
from kit.show import cited as evidence_of
from kit.show import console, figures
from kit.show.figures import user_words
from kit.show.figures.with_table import picture
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.summary import what_was_done
from kit.show.words import exported, nothing_shown, number_words, pill
from kit.store.tables import Row
from kit.words import counted


def timeline(case: Case) -> Shown:
    """The attacker's calls over time, as a picture and as a table."""
    if not len(case.calls) and not len(case.aws_calls):
        return Shown(
            Markup("<p>{}</p>").format(what_was_done(case) if len(case.findings) else nothing_shown(case, "identity")),
            "no calls",
        )
    window = (case.window.start, case.window.end) if case.window else None
    chart = figures.timeline_chart(case.calls, case.aws_calls, case.findings, case.coverage, window)
    columns: dict[str, Callable[[Row], str]] = {
        "At (UTC)": lambda row: clock(row["at"]),
        "Who": lambda row: safe(row["line"]),
        "What": lambda row: safe(row["what"], 200),
        "Calls": lambda row: number_words(row["count"]),
    }
    inside = table(chart.rows, columns, export=exported(case, "timeline"), narrow=("At (UTC)",))
    return picture(chart, fold("The same as a table", inside))


def graph(case: Case) -> Shown:
    """From the findings to callers, pods, nodes and roles, as a picture and as a table."""
    if case.subjects.empty:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "pod")), "no subjects")
    chart = figures.incident_graph(case.subjects, case.findings, case.calls, case.aws_calls)
    columns: dict[str, Callable[[Row], str]] = {
        "What": lambda row: safe(row["what"]),
        "Which": lambda row: safe(row["which"]),
        "Certainty": lambda row: pill(row["certainty"]),
        "How many": lambda row: number_words(row["count"]),
    }
    return picture(chart, fold("The same as a table", table(chart.rows, columns, export=exported(case, "graph"))))


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
