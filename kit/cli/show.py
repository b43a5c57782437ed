"""The command `show`: all that a case tells of one thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kit.cli.options import AS_JSON, CASE, WITH_SECRETS, WITHOUT_MARKS, opened_case
from kit.cli.terminal import ShownProgress, print_json, printable, shows_errors
from kit.words import counted, few

_MOST = 12  # rows of a kind


@click.command(epilog="Example: kit show case-1 system:anonymous")
@CASE
@click.argument("thing")
@WITHOUT_MARKS
@WITH_SECRETS
@AS_JSON
@shows_errors
def show(case: Path, thing: str, without_marks: bool, as_json: bool) -> None:
    """Say all that CASE tells of one THING.

    THING is an address, a user name, an access key, an ARN, NAMESPACE/NAME of a pod or secret, a node, an image, or a ref. Said is when it
    was seen, its calls, what is new since the first bad sign, what it is used with, why it is affected and what ends it. Of a call
    (audit:ID) it is the record, and what its caller did around it.
    """
    with ShownProgress() as progress:
        progress("looking it up", 0, 1)
        said = opened_case(case, without_marks=without_marks).about(thing).said
    if as_json:
        print_json(said)
        return
    for line in _of_record(said) if "record" in said else _lines(said):
        click.echo(printable(line))


def _lines(said: dict[str, Any]) -> Iterator[str]:
    ring = f", {said['ring']}" if said["ring"] else ", not in scope" if not said["certainty"] else ""
    yield f"{said['kind'].replace('_', ' ').upper()}  {said['name']}{ring}"
    seen = f" from {_clock(said['first_at'])} to {_clock(said['last_at'])} UTC" if said["first_at"] else ""
    yield f"  {counted(said['calls'], 'call')} in the cluster{seen}, {said['hostile_calls']} of them the attacker's; {said['aws_calls']} in AWS."
    yield from _listed("WHY", [f"{one['says']} ({one['ref']})" for one in said["why"]])
    yield from _listed("ENDS", [_ending(one) for one in said["ended_by"]])
    new = [
        f"{_clock(one['first_at'])}  {one['what']} {one['value']} ({counted(one['calls'], 'call')})"
        for one in said["new"]
    ]
    yield from _listed(f"NEW since {_clock(said['since'])} UTC", new)
    used = [
        f"{one['kind']} {one['key']}: {counted(one['calls'], 'call')}, {one['hostile']} the attacker's"
        for one in said["shared"]
    ]
    yield from _listed("USED WITH", used)
    hours = [
        f"{_clock(one['hour'])}  {one['what']}: {one['calls']}, {one['hostile']} the attacker's"
        for one in said["by_hour"]
    ]
    yield from _listed("BY HOUR", hours)
    aws = [f"{_clock(one['first_at'])}  {one['event_name']}: {one['calls']}, {one['failed']} failed" for one in said["in_aws"]]  # fmt: skip
    yield from _listed("IN AWS", aws)
    ran = [
        f"pid {one['pid']} of {one['parent']}, user {one['user_id'] or 'unknown'}, since {_clock(one['started_at']) or 'an unknown time'}: {one['command_line'] or one['program']} (SHA-256 of the program: {one['sha256'] or 'not read'})"
        for one in said["processes"]
    ]
    yield from _listed("PROCESSES as captured of the node", ran)
    yield from _listed("FINDINGS", [f"{one['type']} {one['id']}" for one in said["findings"]])


def _ending(one: dict[str, Any]) -> str:
    state = f"[{one['state']}] " if one["state"] else ""
    by = f" Ended by {few(one['ends_by'], 3)}." if one["ends_by"] else ""
    return f"{state}{one['says']}{by}"


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"  {title}"
        yield from (f"    {line}" for line in lines[:_MOST])
        if len(lines) > _MOST:
            yield f"    {len(lines) - _MOST} more: --json has them all"


def _of_record(said: dict[str, Any]) -> Iterator[str]:
    yield f"{said['file']}:{said['line']}"
    yield from said["record"].split("\n")
    around = [
        f"{_clock(one['at'])}  {one['what']} {one['namespace'] or ''}/{one['name'] or ''} from {one['source_address']}: {one['response_code']}"
        f"{', the attacker' if one['hostile'] else ''}"
        for one in said["around"]
    ]
    yield from _listed("THE SAME CALLER AROUND IT", around)


def _clock(text: str | None) -> str:
    return (text or "")[:19].replace("T", " ")
