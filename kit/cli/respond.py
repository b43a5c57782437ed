"""Commands that respond: plan, preview, apply, check, undo, journal, permissions."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kit.cli.options import AS_JSON, CASE, WITH_SECRETS, WITHOUT_MARKS, chosen, opened_case, reaches
from kit.cli.terminal import ShownProgress, add_row, print_json, print_table, printable, shows_errors, table_with, tell
from kit.errors import CallError, CaseError, WorkError
from kit.model.masking import MASK
from kit.words import iso, utc


@click.command(epilog="Example: kit plan case-1 --keep-address 203.0.113.7/32 --without recover > plan.md")
@CASE
@chosen
@click.option("--only", multiple=True, metavar="NAME", help="Only this stage or action; may be given again.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out this stage or action; may be given again.")
@click.option(
    "--keep-address",
    "keep_addresses",
    multiple=True,
    metavar="CIDR",
    help="An address, such as yours, that the cluster's public endpoint stays open for; may be given again.",
)
@click.option("--wide", is_flag=True, help="Keep a range larger than a /20, or a /48 of IPv6: all of it is meant.")
@click.option(
    "--as",
    "responder",
    default="",
    metavar="WHO",
    help="Your ARN in AWS or user name in the cluster: no action may end your own way in.",
)
@click.option("--private-endpoint", is_flag=True, help="Plan to close the cluster's public endpoint altogether.")
@click.option(
    "--evidence-account",
    default="",
    metavar="ID",
    help="Share the snapshots with this AWS account too, which then copies them.",
)
@WITHOUT_MARKS
@WITH_SECRETS
@AS_JSON
@shows_errors
def plan(
    case: Path,
    finding: str,
    start: str,
    end: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    keep_addresses: tuple[str, ...],
    wide: bool,
    responder: str,
    private_endpoint: bool,
    evidence_account: str,
    without_marks: bool,
    as_json: bool,
) -> None:
    """Print what is to be done about the findings of CASE, in order, as Markdown, and save it as CASE/plan.json.

    It changes nothing in account or cluster. Each action with its target, why, what has to be true before, what else stops working, its
    commands, its undo, and what has to be done first. The digest covers the actions with their account, region and cluster; it is what
    `kit apply` wants approved.
    """
    from kit.case.whose_json import marks_json
    from kit.plan.markdown import ReadWith, markdown
    from kit.plan.saved import save_plan, set_older_plan_aside

    if keep_addresses and private_endpoint:
        raise CallError(
            "an endpoint that is private only is open for no address",
            where="private_endpoint",
            next="give one of both",
        )
    keep = list(keep_addresses) if keep_addresses or private_endpoint else None
    with ShownProgress() as progress:
        progress("making the plan", 0, 1)
        opened = opened_case(case, finding, start, end, without_marks)
        frames = opened.plan(only, without, keep, wide, responder, evidence_account)
        made, simulation = frames.plan, frames.simulation
    unsaved = ""
    more = {"keep_addresses": keep, "wide": wide, "responder": responder, "evidence_account": evidence_account}
    options = {"finding": finding, "start": start, "end": end, "only": list(only), "without": list(without)}
    try:
        if without_marks:
            tell("This plan is only shown: it is not saved, as `kit apply` follows what people marked.")
        else:
            if older := set_older_plan_aside(opened.path, made):
                tell(older)
            save_plan(opened.path, made, options | more)
    except CaseError as error:
        unsaved = f"{error}; without it preview and apply have nothing to go by"
    if as_json:
        said = frames.joined.contract(opened.name) | simulation.as_json() | {"marks": marks_json(opened.followed_marks)}
        said["vanishing"] = [
            {"what": one.what, "lost_at": iso(one.lost_at), "says": one.says} for one in frames.vanishing
        ]
        shown = said | {"actions": [one | {"parameters": _masked_bodies(one["parameters"])} for one in said["actions"]]}
        print_json(shown)
        masked = MASK.texts(shown) != said
    else:
        marks = [one.says for one in opened.followed_marks]
        empty = frames.joined.why_empty(bool(only or without))
        read = ReadWith(frames.joined.now, simulation.left_open, simulation.lines, empty, opened.name_of, marks)
        read = replace(read, vanishing=[one.says for one in frames.vanishing])
        whole = markdown(made, read)
        text = MASK.text(whole)
        click.echo("\n".join(printable(line) for line in text.split("\n")))
        masked = text != whole
    if masked and not (unsaved or without_marks):
        tell(
            f"Secret values are masked here. {opened.path / 'plan.json'} has them whole, for you alone; `kit apply` goes by it."
        )
    if unsaved:
        raise WorkError(unsaved)


def _masked_bodies(parameters: dict[str, Any]) -> dict[str, Any]:
    """What kit.live takes to do an action, with objects and parts of them masked as the records that they are from."""
    bodies = {name: MASK.record(parameters[name]) for name in ("body", "expected", "patch") if parameters.get(name)}
    return parameters | bodies


@click.command(epilog="Example: kit preview case-1 --profile incident")
@CASE
@reaches
@AS_JSON
@shows_errors
def preview(case: Path, profile: str | None, kubeconfig: str | None, context: str | None, as_json: bool) -> None:
    """Try the saved plan of CASE by the services' own dry-runs, and say of each action what it would do now. It changes nothing."""
    from kit.live.connection import ConnectionOptions
    from kit.live.run import preview_case

    _print_outcomes(preview_case(case, ConnectionOptions(profile, kubeconfig, context), tell), as_json)


@click.command(epilog="Example: kit apply case-1 --approve 3f9c… --profile incident")
@CASE
@click.option("--approve", required=True, metavar="DIGEST", help="The digest of the plan that was read and approved.")
@click.option(
    "--without-capture",
    default="",
    metavar="REASON",
    help="Do not wait for captures before what destroys; the reason is journaled.",
)
@click.option("--by-hand", multiple=True, metavar="ID", help="An action that a person has done; may be given again.")
@click.option(
    "--check-after",
    default=180.0,
    show_default=True,
    metavar="SECONDS",
    help="When to look again whether it holds: controllers put things back. 0 for not at all.",
)
@reaches
@AS_JSON
@shows_errors
def apply(
    case: Path,
    approve: str,
    without_capture: str,
    by_hand: tuple[str, ...],
    check_after: float,
    profile: str | None,
    kubeconfig: str | None,
    context: str | None,
    as_json: bool,
) -> None:
    """Do what the saved plan of CASE says, in order, and look whether it holds. CHANGES the account and the cluster.

    Everything is journaled before it is done (CASE/journal.jsonl). Stopped at any moment, the same command goes on: nothing is done
    twice, and what is not known is looked up. What fails holds up only what has to come after it.
    """
    from kit.live.connection import ConnectionOptions
    from kit.live.run import apply_case

    access = ConnectionOptions(profile, kubeconfig, context)
    _print_outcomes(apply_case(case, approve, access, tell, without_capture, by_hand, check_after), as_json)


@click.command(epilog="Example: kit check case-1")
@CASE
@reaches
@AS_JSON
@shows_errors
def check(case: Path, profile: str | None, kubeconfig: str | None, context: str | None, as_json: bool) -> None:
    """Look again whether what was done for CASE still holds, and whether the attacker is out.

    Controllers, autoscalers and GitOps put things back. Each entry of the brief's open list is dead, dies at a time, alive, or cannot
    be told; a Node without an instance is named. Exit code 1 while something does not hold, is alive, or dies
    only later.
    """
    from kit.live.connection import ConnectionOptions
    from kit.live.run import check_case, needs_somebody

    outcomes, looked = check_case(case, ConnectionOptions(profile, kubeconfig, context), tell)
    states = [one.state for one in looked]
    out = next((word for state, word in _OUT.items() if state in states), "yes")
    if as_json:
        attacker = {"out": out, "entries": [one.as_json() for one in looked]}
        print_json({"actions": _as_json(outcomes), "attacker": attacker})
    else:
        _print_table(outcomes)
        click.echo(f"\nIs the attacker out? {out.capitalize()}.")
        table = table_with("state", "kind", "key", "because")
        for one in looked:
            word = f"{one.state} since {utc(one.at)}" if one.at and one.state == "dead" else one.state
            add_row(table, word, one.kind, one.key, one.because)
        if looked:
            print_table(table)
    if any(map(needs_somebody, outcomes)) or out == "no":
        sys.exit(1)


@click.command(epilog="Example: kit undo case-1 --only narrow_endpoint")
@CASE
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this action, by its id or its name; may be given again."
)
@click.option(
    "--including-attackers",
    is_flag=True,
    help="Also what gives the attacker access or objects back; else that is left.",
)
@reaches
@AS_JSON
@shows_errors
def undo(
    case: Path,
    only: tuple[str, ...],
    including_attackers: bool,
    profile: str | None,
    kubeconfig: str | None,
    context: str | None,
    as_json: bool,
) -> None:
    """Take back what was done for CASE, the last first, and say what could not be. CHANGES the account and the cluster.

    What somebody changed since is left as it is, and so is what keeps the attacker out. Each undo was shown in the plan and approved with it.
    """
    from kit.live.connection import ConnectionOptions
    from kit.live.run import undo_case

    access = ConnectionOptions(profile, kubeconfig, context)
    _print_outcomes(undo_case(case, access, tell, only, including_attackers), as_json)


@click.command(epilog="Example: kit journal case-1 --json")
@CASE
@AS_JSON
@shows_errors
def journal(case: Path, as_json: bool) -> None:
    """Check the journal of CASE and say what was done. Its last hash, noted elsewhere, proves that nothing was changed since."""
    from kit.plan.journal import done_so_far

    said, head = done_so_far(case)
    if as_json:
        print_json({"case": str(case), "head": head, "actions": said})
        return
    table = table_with("stage", "action", "name", "state", "check", "id")
    for one in said:
        checked = f"{one['check']['word']}: {one['check']['says']}" if one["check"] else ""
        add_row(table, one["stage"], one["action"], one["name"], one["state"], checked, one["id"])
    print_table(table) if said else click.echo("nothing was done in this case")
    click.echo(f"last hash {head}", err=True)


_OUT = {"alive": "no", "dies": "no", "cannot tell": "cannot tell"}
"""State of an entry → what it means for whether the attacker is out, the gravest first."""


def _print_outcomes(outcomes: list[Any], as_json: bool) -> None:
    from kit.live.run import needs_somebody

    if as_json:
        print_json({"actions": _as_json(outcomes)})
    else:
        _print_table(outcomes)
    if any(map(needs_somebody, outcomes)):
        sys.exit(1)


def _as_json(outcomes: list[Any]) -> list[dict[str, Any]]:
    return [vars(one) | {"check": vars(one.check) if one.check else None} for one in outcomes]


def _print_table(outcomes: list[Any]) -> None:
    table = table_with("outcome", "action", "what", "check")
    for one in outcomes:
        checked = f"{one.check.word}: {one.check.says}" if one.check else ""
        add_row(table, one.word, one.id, one.says, checked)
    print_table(table) if outcomes else click.echo("there is nothing to do")


@click.group(epilog="Example: kit permissions plan case-1")
def permissions() -> None:
    """Print the least permissions for what the kit does in an account and a cluster."""


@permissions.command("plan", epilog="Example: kit permissions plan case-1 > needed.json")
@CASE
@chosen
@shows_errors
def permissions_plan(case: Path, finding: str, start: str, end: str) -> None:
    """Print the least that the plan of CASE and `kit check` need: IAM policies and roles of RBAC, as JSON. The saved plan's, where there is one."""
    from kit.live.attacker_out import asked_by_look
    from kit.plan.permissions import permissions_of
    from kit.plan.saved import saved_plan

    saved = (case / "plan.json").exists() and not (finding or start or end)
    frames = opened_case(case, finding, start, end).plan()
    made = saved_plan(case)[0] if saved else frames.plan
    asked = {one for action in made.actions if not action.by_person for one in action.permissions}
    print_json(permissions_of(made, asked_by_look(frames.joined.entries, frames.fates, sorted(asked))))
