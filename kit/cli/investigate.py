"""Commands that ask a case and change nothing outside it: findings, scope, answers, mark, suppress, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.options import AS_JSON, CASE, WITH_SECRETS, WITHOUT_MARKS, chosen, opened_case
from kit.cli.terminal import (
    ShownProgress,
    add_row,
    minute,
    print_json,
    print_table,
    printable,
    shows_errors,
    table_with,
)
from kit.model.why import collecting_words
from kit.words import counted

if TYPE_CHECKING:
    from kit.case.scope_json import ScopeJson, SubjectJson


@click.command(epilog="Example: kit findings case-1 --json")
@CASE
@chosen
@WITH_SECRETS
@AS_JSON
@shows_errors
def findings(case: Path, finding: str, start: str, end: str, as_json: bool) -> None:
    """List the findings of CASE, the most severe first. A window keeps those seen in it."""
    opened = opened_case(case, finding, start, end)
    begin, finish = opened.given_window
    rows = [
        {name: value for name, value in row.items() if name not in ("finding", "event_hash")}
        for row in opened.finding_rows
        if not (finish and row["first_seen_at"] and row["first_seen_at"] >= finish)
        and not (begin and row["last_seen_at"] and row["last_seen_at"] < begin)
    ]
    if as_json:
        print_json({"case": opened.name, "findings": rows})
        return
    table = table_with("severity", "type", "id", "cluster", "first seen", "last seen", "count", "note")
    # The scope alone tells whether an instance or a role is the cluster's; where every finding names the cluster it is not worked out.
    about = (
        {one["id"] for one in opened.scope["findings"] if one["about_eks"]}
        if any(not row["about_eks"] and not row["sample"] for row in rows)
        else set[str]()
    )
    for row in rows:
        is_about = row["about_eks"] or row["id"] in about
        note = "AWS sample" if row["sample"] else "" if is_about else "names no EKS cluster"
        seen = minute(row["first_seen_at"]), minute(row["last_seen_at"])
        add_row(table, f"{row['severity']:.1f}", row["type"], row["id"], row["cluster"], *seen, row["count"], note)
    print_table(table) if rows else click.echo(
        "no findings in this case" if not (begin or finish or finding) else "no findings in this window"
    )


@click.command(epilog="Example: kit scope case-1 --finding 8cb4… --json")
@CASE
@chosen
@WITHOUT_MARKS
@WITH_SECRETS
@AS_JSON
@click.option("--all", "whole", is_flag=True, help="Every subject of each finding, with its first reason.")
@shows_errors
def scope(case: Path, finding: str, start: str, end: str, without_marks: bool, as_json: bool, whole: bool) -> None:
    """Say what the findings of CASE affect, and why.

    Pods, nodes, images, identities, roles and secrets, each with the evidence for it; and what cannot be told. At most 60 lines without --all.
    """
    with ShownProgress() as progress:
        progress("working out the scope", 0, 1)
        opened = opened_case(case, finding, start, end, without_marks)
        result = opened.scope
    if as_json:
        print_json(result)
        return
    for mark in opened.followed_marks:
        click.echo(printable(f"MARKED  {mark.says}."))
    from kit.cli.scope_lines import own_request_lines, scope_lines

    for line in own_request_lines(result, whole):
        click.echo(printable(line))
    if not result["findings"]:
        click.echo("cannot tell: this case has no finding to start from")
    elif whole:
        _print_whole_scope(result)
    else:
        for line in scope_lines(result):
            click.echo(printable(line))


def _print_whole_scope(result: ScopeJson) -> None:
    for one in result["findings"]:
        click.echo("\n" + printable(f"{one['type']}  {one['id']}  severity {one['severity']:.1f}"))
        for certainty in ("affected", "possible"):
            table = table_with(certainty, "name", "node", "life (UTC)", "why", "evidence")
            subjects = [subject for subject in one["subjects"] if subject["certainty"] == certainty]
            for subject in subjects:
                name = "/".join(part for part in (subject["namespace"], subject["name"]) if part) or subject["key"]
                why = subject["why"][0]
                through = f" (through {subject['through']})" if subject["through"] else ""
                add_row(
                    table, subject["kind"], name, subject["node"], _life(subject), why["says"] + through, why["ref"]
                )
            if subjects:
                print_table(table)
        calls = f"{counted(len(one['calls']), 'call')} of the attacker in the audit log, {len(one['aws_calls'])} in CloudTrail"
        maybe = f"; {len(one['possible_calls'])} more may be" if one["possible_calls"] else ""
        click.echo(calls + maybe)
        for identity in one["identities"]:
            hostile = sum(source["hostile_calls"] for source in identity["sources"])
            zero = "; ".join(why["says"] for why in identity["patient_zero"])
            said = zero or "where its credential came from cannot be told"
            lead = (
                f"{said}. To take its access away:" if hostile else zero or "no call of it is attributed to an attacker"
            )
            click.echo(printable(f"  {identity['user_name']} ({identity['kind'].replace('_', ' ')}): {lead}"))
            for number, step in enumerate(identity["take_away"] if hostile else (), 1):
                command = f"  $ {step['command']}" if step["command"] else ""
                click.echo(printable(f"    {number}. {step['says']}{command}"))
            for apart in identity["told_apart_by"]:
                click.echo(printable(f"    apart: {apart['says']}"))
        outside = [
            session["access_key_id"]
            for session in one["sessions"]
            if any(use["inside"] is False for use in session["uses"])
        ]
        if outside:
            listed = ", ".join(outside[:5]) + (" and more" if len(outside) > 5 else "")
            click.echo(printable(f"  AWS sessions used from outside of the cluster: {len(outside)} ({listed})"))
        for limit in one["limits"]:
            click.echo(
                printable(
                    f"  cannot tell: {limit['says']}. To be able to: {collecting_words(limit['collect'], limit['otherwise'])}."
                )
            )


def _life(subject: SubjectJson) -> str:
    if subject["standing"] is None and not subject["created_at"]:
        return ""
    end = minute(subject["deleted_at"]) or {True: "stands", False: "gone", None: "?"}[subject["standing"]]
    return f"{minute(subject['created_at']) or '?'} – {end}"


@click.command(epilog="Example: kit answers case-1 --finding 8cb4… --json")
@CASE
@chosen
@WITHOUT_MARKS
@WITH_SECRETS
@AS_JSON
@shows_errors
def answers(case: Path, finding: str, start: str, end: str, without_marks: bool, as_json: bool) -> None:
    """Ask the playbooks' questions of each incident of CASE: observed, not observed or cannot tell, and what each means next."""
    with ShownProgress() as progress:
        progress("asking the questions", 0, 1)
        opened = opened_case(case, finding, start, end, without_marks)
        said = opened.answers_contract()
    if as_json:
        print_json(said)
        return
    for mark in opened.followed_marks:
        click.echo(printable(f"MARKED  {mark.says}."))
    titles = {one["id"]: f"{one['title']} ({one['type']})" for one in said["findings"]}
    shown = ""
    for answer in said["answers"]:
        if answer["incident"] != shown:
            shown = answer["incident"]
            of = list(
                dict.fromkeys(id_ for each in said["answers"] if each["incident"] == shown for id_ in each["findings"])
            )
            click.echo()
            more = f" and {counted(len(of) - 1, 'more finding')}" if len(of) > 1 else ""
            click.echo(printable(f"{shown}: {titles[of[0]]}{more}"))
        _print_answer(answer)
    in_incident = {id_ for answer in said["answers"] for id_ in answer["findings"]}
    for one in (each for each in said["findings"] if each["id"] not in in_incident):
        click.echo()
        click.echo(printable(f"no incident: {one['type']} {one['id']}"))
        for answer in one["answers"][:1]:
            _print_answer(answer)
    if not said["findings"]:
        click.echo("cannot tell: this case has no finding to ask about. Load GuardDuty's findings with `kit add`.")


def _print_answer(answer: dict[str, Any]) -> None:
    mark = "".join(f" [{each['mark']}: {each['note']}]" for each in answer["marks"])
    click.echo(printable(f"  {answer['verdict']:12}  {answer['asks']} {answer['says']}{mark}"))
    if answer["next_step"]:
        click.echo(printable(f"                → {answer['next_step']}"))


@click.command(
    epilog="Example: kit mark case-1 --address 192.0.2.1 --as not-attacker --note 'the office, says the owner'"
)
@CASE
@click.option("--finding", default="", metavar="ID", help="The finding.")
@click.option(
    "--question",
    default="",
    metavar="NAME",
    help="The question whose answer is marked; the finding as a whole without it.",
)
@click.option("--call", default="", metavar="REF", help="A call: audit:ID, trail:ID or line:SHA256:N.")
@click.option("--identity", default="", metavar="NAME", help="A user name: all of its calls.")
@click.option("--address", default="", metavar="ADDRESS", help="A source address: all calls from it.")
@click.option(
    "--credential", default="", metavar="KEY", help="An access key, or another credential as `case.calls` names it."
)
@click.option(
    "--as",
    "word",
    required=True,
    metavar="WORD",
    help="confirmed, wrong, or expected (of a finding as a whole, with a note); attacker or not-attacker, of a call or a caller.",
)
@click.option("--note", default="", help="Why; stands in the report.")
@shows_errors
def mark(
    case: Path,
    finding: str,
    question: str,
    call: str,
    identity: str,
    address: str,
    credential: str,
    word: str,
    note: str,
) -> None:
    """Record what a person says of an answer or a finding of CASE, or of whose a call, an identity, an address or a credential is.

    The kit itself never closes a finding as expected. What is marked as the attacker's, or as not, counts before every rule: scope, brief
    and plan follow it and say so. The last mark of a thing counts, and a mark of a call before one of its caller.
    """
    made = opened_case(case).mark(
        finding, word, note, question, call=call, identity=identity, address=address, credential=credential
    )
    what = made.thing if made.about else f"{made.question or 'the finding'} of {made.finding}"
    click.echo(printable(f"marked as {made.word}: {what}"))


@click.command(epilog="Example: kit suppress case-1 --finding 8cb4… > criteria.json")
@CASE
@click.option("--finding", required=True, metavar="ID", help="A finding that is marked as expected.")
@shows_errors
def suppress(case: Path, finding: str) -> None:
    """Print the narrowest GuardDuty filter (CreateFilter's criteria) for a finding of CASE that a person has marked as expected.

    Nothing is created. On stderr: which findings of the case it would hide, which of them are not alike, and what is lost.
    """
    made = opened_case(case, finding).suppression(finding)
    print_json(made.criteria)
    click.echo(
        printable(f"It would hide {len(made.hides)} of this case's findings: {', '.join(made.hides)}."), err=True
    )
    if made.unlike:
        click.echo(
            printable(
                f"WARNING: {len(made.unlike)} of them are not like it: {', '.join(made.unlike)}. Do not create it."
            ),
            err=True,
        )
    click.echo(made.loses, err=True)


@click.command(epilog="Example: kit report case-1 --start 2026-01-31T14:00:00Z --end 2026-01-31T16:00:00Z")
@CASE
@chosen
@click.option(
    "--summary",
    is_flag=True,
    help="The summary for whoever decides, three pages, in CASE/summary.html: no notebook runs.",
)
@click.option("--pdf", is_flag=True, help="Print the page as PDF beside it too, by a Chromium that is installed.")
@WITH_SECRETS
@AS_JSON
@shows_errors
def report(case: Path, finding: str, start: str, end: str, summary: bool, pdf: bool, as_json: bool) -> None:
    """Run the notebooks on CASE headless and write one HTML report; print its path."""
    opened_case(case, finding, start, end)
    from kit.report import make_report, make_summary, print_pdf, printing_browser

    browser = printing_browser() if pdf else ""  # raises before any work
    with ShownProgress() as progress:
        if summary:
            path = make_summary(case, finding=finding, start=start, end=end)
        else:
            path = make_report(case, finding=finding, start=start, end=end, progress=progress)
        if pdf:
            progress("printing the PDF", 1, 2)
        printed = print_pdf(path, browser) if pdf else None
    if as_json:
        print_json({"case": str(case), "report": str(path), **({"pdf": str(printed)} if printed else {})})
        return
    for made in (path, *([printed] if printed else [])):
        click.echo(str(made))
