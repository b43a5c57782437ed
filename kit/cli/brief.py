"""The command `brief`: what happened, what is open and what to do next, on one screen."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kit.cli.options import AS_JSON, CASE, WITH_SECRETS, WITHOUT_MARKS, opened_case
from kit.cli.terminal import ShownProgress, print_json, printable, shows_errors
from kit.model.why import collecting_words
from kit.statements.open_entry import ROTATED
from kit.words import counted, few

_LINES = (25, 8, 8)  # of the gravest incident, and of the next two; each further one has one
_OPEN = 8  # entries that are told one by one
_PERHAPS = 2  # groups of calls that may be the attacker's


@click.command(epilog="Example: kit brief case-1")
@CASE
@WITH_SECRETS
@AS_JSON
@click.option("--all", "whole", is_flag=True, help="Every incident and every open entry in full.")
@click.option(
    "--since",
    metavar="TIME|HASH",
    default="",
    help="First what is new since a time of the evidence, UTC, or since the evidence that an earlier brief names by its hash.",
)
@click.option("--now", metavar="TIME", default="", help="The moment by which the age of the evidence is judged, UTC.")
@WITHOUT_MARKS
@shows_errors
def brief(case: Path, as_json: bool, whole: bool, since: str, now: str, without_marks: bool) -> None:
    """Say on one screen what happened in CASE, what is still open, and what to do next."""
    from kit.model.window import checked_time

    at = checked_time("now", now) or datetime.now(UTC)
    with ShownProgress() as progress:
        progress("making the brief", 0, 1)
        opened = opened_case(case, without_marks=without_marks)
        if since:
            from kit.case.since import brief_since
        said = brief_since(opened, since, at) if since else opened.brief(at)
    if as_json:
        print_json(said)
        return
    for line in [*(_since_lines(said["since"]) if since else ()), *brief_lines(said, at, whole)]:
        click.echo(printable(line))


def _since_lines(news: dict[str, Any]) -> list[str]:
    """What is new, and which statements changed."""
    calls = f"{counted(news['calls'], 'call')} in the cluster ({news['refused']} refused, {news['failed']} failed), {news['aws_calls']} in AWS"
    number = f"{counted(len(news['findings']), 'finding')}, {calls}, {len(news['opened'])} opened, {len(news['closed'])} ended"
    lines = [f"SINCE {news['since']}: {number}, evidence: {', '.join(news['evidence']) or 'none'}."]
    lines += [f"  OPENED     {entry['says']}" for entry in news["opened"]]
    lines += [f"  ENDED      {entry['says']}" for entry in news["closed"]]
    lines += [
        f"  DONE       {one['at'][:19].replace('T', ' ')} {one['what']}: {one['action']}" for one in news["done"] or ()
    ]
    lines += [f"  MARKED     {one['finding']} as {one['mark']}: {one['note']}" for one in news["marks"] or ()]
    lines += [f"  NOTED      {one['number']}: {one['text']}" for one in news["notes"] or ()]
    for one in news["changed"]:
        lines.append(f"  CHANGED    {one['about']}: was {one['was']} Now {one['now']} ({', '.join(one['refs'][:2])})")
    return lines


def brief_lines(said: dict[str, Any], now: datetime, whole: bool) -> list[str]:
    """The lines of a brief."""
    about = said["case"]
    place = ", ".join(f"{name} {about[name]}" for name in ("cluster", "account", "region") if about[name])
    lines = [f"{about['id']}{': ' if place else ''}{place}. {_as_of(said['evidence_ends'], now)}"]
    if said["marks"]:
        named = [f"{one['about']} as {one['as']}" for one in said["marks"]]
        lines.append(f"MARKED: this follows what people marked: {few(named, 3)} (--without-marks)")
    if said["own_requests"]["says"]:
        lines.append(f"COLLECTED: {said['own_requests']['says']} `kit scope CASE --all` lists each with why.")
    for number, one in enumerate(said["incidents"]):
        every = _incident_lines(one, whole)
        most = len(every) if whole else _LINES[number] - (number == 0) if number < len(_LINES) else 1
        lines += every[:most]
    if said["incidents"]:
        lines.append(f"STILL WORKS once the plan is done, for you: {said['still_works']['for_you']}.")
        lines.append(f"STILL WORKS once the plan is done, for the attacker: {said['still_works']['for_attacker']}.")
    for one in said["no_incident"][: None if whole else 3]:
        lines.append(f"no incident: finding {one['finding']}: {one['says']}")
    if len(said["no_incident"]) > 3 and not whole:
        lines.append(f"no incident: {counted(len(said['no_incident']) - 3, 'more finding')} (--all)")
    for note in said["notes"][: None if whole else 5]:
        due = f", due {note['due'][:16].replace('T', ' ')} UTC" if note["due"] else ""
        lines.append(f"NOTE {note['number']}: {note['text']} ({note['owner'] or 'nobody'}{due})")
    if not said["incidents"]:
        lines.append(
            "cannot tell: this case has no finding that an incident could start from. Load GuardDuty's findings with `kit add`."
        )
    return lines


def _as_of(ends: dict[str, Any], now: datetime) -> str:
    known = {name: f"{ends[name][:19].replace('T', ' ')} UTC" for name in ("audit", "cloudtrail") if ends[name]}
    if not known:
        return "No log is in this case: when the evidence ends cannot be told."
    first = next(iter(known))  # one log ends before the other: what came between is in none of it
    end = datetime.fromisoformat(ends[first])
    minutes = int((now - end).total_seconds() // 60)
    age = (
        f"{minutes // 1440} d {minutes % 1440 // 60} h" if minutes >= 1440 else f"{minutes // 60} h {minutes % 60} min"
    )
    also = f"; CloudTrail ends {known['cloudtrail']}" if len(set(known.values())) > 1 else ""
    log = "the audit log" if first == "audit" else "CloudTrail"
    return f"As of {known[first]}, when {log} ends{f', {age} ago' if minutes > 0 else ''}{also}."


def _times(rows: list[dict[str, Any]]) -> list[str]:
    """When each row of a story began, with the day where they are of several."""
    times = [(row["at"] or "")[:19].replace("T", " ") for row in rows]
    first = 0 if len({at[:10] for at in times if at}) > 1 else 11
    return [at[first:].ljust(19 - first) for at in times]


def _incident_lines(one: dict[str, Any], whole: bool) -> list[str]:
    active = {"yes": "active", "no": "quiet when the logs end", "cannot tell": "whether it goes on: cannot tell"}[
        one["active"]
    ]
    numbers = one["counts"]
    calls = (
        "calls: cannot tell"
        if numbers["calls"] is None
        else f"{counted(numbers['calls'], 'call')} in the cluster ({numbers['refused']} refused, {numbers['failed']} failed)"
    )
    maybe = sum(calls["calls"] for calls in one["undecided"])
    calls += f" and {maybe:,} that may be the attacker's" if maybe else ""
    aws = "calls in AWS: cannot tell" if numbers["aws_calls"] is None else f"{numbers['aws_calls']} in AWS"
    lines = [
        f"{one['title']} · severity {one['severity']:.1f} · {counted(len(one['findings']), 'finding')} · {one['disposition']} · {active}",
        f"  {calls}, {aws}. Touched: {_listed(numbers['touched'])}. Exposed: {_listed(numbers['exposed'])}.",
    ]
    lines += [f"  EXPECTED?  {doubt['says']} Ask: {doubt['ask']}" for doubt in one["expected_if"][:1]]
    lines.append(f"  WAY IN     {one['way_in']['says']}")
    lines += [f"  {at}   {row['says']}" for at, row in zip(_times(one["story"]), one["story"], strict=True)]
    perhaps = one["undecided"] if whole else one["undecided"][:_PERHAPS]
    lines += [f"  PERHAPS    {calls['says']} Ask: {calls['ask']}" for calls in perhaps]
    if len(one["undecided"]) > len(perhaps):
        rest = sum(calls["calls"] for calls in one["undecided"][len(perhaps) :])
        lines.append(f"  PERHAPS    {counted(rest, 'more call')} may be the attacker's (--all)")
    for word, states in (("OPEN", ("usable", "cannot tell")), ("ENDED", ("ended",))):
        entries = [entry for entry in one["open"] if entry["state"] in states]
        if whole:
            lines += [f"  {word:9}  {entry['says']}" for entry in entries]
        elif entries:
            named = _short(entries)
            more = f" · {len(named) - _OPEN} more (--all)" if len(named) > _OPEN else ""
            lines.append(f"  {word:9}  {' · '.join(named[:_OPEN])}{more}")
    for number, step in enumerate(one["next"], 1):
        who = "a person" if step["by"] == "person" else "kit apply"
        lines.append(f"  NEXT {number}     {step['effect']} ({who}, {step['minutes']} min): {step['says']}")
    missing = one["cannot_tell"] if whole else one["cannot_tell"][:1]
    lines += [
        f"  CANNOT TELL {limit['says']}. Collect: {collecting_words(limit['collect'], limit['otherwise'])}"
        for limit in missing
    ]
    risks = one["at_risk"] if whole else [risk for risk in one["at_risk"] if risk["lost_at"]][:1]
    lines += [f"  AT RISK    {risk['says']}" for risk in risks]
    return lines


def _short(entries: list[dict[str, Any]]) -> list[str]:
    """Open entries in few words, the secrets together."""
    secrets = [entry["key"] for entry in entries if entry["kind"] in ROTATED]
    named = [_named(entry) for entry in entries if entry["kind"] not in ROTATED]
    return [
        *named,
        *([f"{len(secrets)} secrets to rotate" if len(secrets) > 1 else f"secret {secrets[0]}"] if secrets else []),
    ]


def _named(entry: dict[str, Any]) -> str:
    words = {"created": "", "access_key": "access key ", "let_in": "let in "}
    of = f" ({entry['of']})" if entry["kind"] in ("token", "access_key") and entry["of"] else ""
    doubt = " (cannot tell)" if entry["state"] == "cannot tell" else ""
    return f"{words.get(entry['kind'], entry['kind'] + ' ')}{entry['key']}{of}{doubt}"


def _listed(found: dict[str, int]) -> str:
    from kit.model.kinds import SUBJECT_KINDS

    named = [
        f"{number} {SUBJECT_KINDS[kind].noun if number == 1 else SUBJECT_KINDS[kind].plural}"
        for kind, number in found.items()
    ]
    return ", ".join(named) or "none"


@click.command(
    epilog="Example: kit note case-1 'Is 198.51.100.250 the VPN of the vendor?' --owner network --due 2026-01-31T18:00:00Z"
)
@CASE
@click.argument("text")
@click.option(
    "--ref", default="", metavar="REF", help="What it is about, such as audit:ID; note:NUMBER closes that note."
)
@click.option("--owner", default="", metavar="NAME", help="Who has to answer or act: the note stays open.")
@click.option("--due", default="", metavar="TIME", help="Until when, UTC: the note stays open.")
@shows_errors
def note(case: Path, text: str, ref: str, owner: str, due: str) -> None:
    """Write down a decision about CASE, or an open question. Notes are appended and never changed; `kit brief` lists the open ones."""
    made = opened_case(case).note(text, ref, owner, due)
    click.echo(printable(f"noted: {made.text}"))
