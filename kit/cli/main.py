"""The command line `kit`: thin. Results on stdout, everything else on stderr; exit 0 done, 1 the work failed, 2 the input or the call was wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from kit import __version__
from kit.errors import CallError, CaseError, KitError

if TYPE_CHECKING:
    from rich.table import Table

CASE = click.argument("case", type=click.Path(path_type=Path))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON in the documented, stable form.")


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a finding and a window, which findings, scope and report share."""
    command = click.option("--end", default="", metavar="TIME", help="End of the window, UTC, excluded.")(command)
    command = click.option(
        "--start", default="", metavar="TIME", help="Start of the window, UTC: 2026-01-31T14:00:00Z."
    )(command)
    return click.option("--finding", default="", metavar="ID", help="Only this finding; all without it.")(command)


def shows_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print an error of the kit as one sentence and leave with its exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal that has no dash still gets the line
        if sys.stdout is None:
            _leave("the result cannot be written: standard output is closed", 1)
        try:
            made = command(*arguments, **options)
            sys.stdout.flush()
            return made
        except KitError as error:
            _leave(printable(str(error)), error.exit_code)
        except BrokenPipeError:
            _abandon_stdout()
            sys.exit(0)
        except (KeyboardInterrupt, RuntimeError) as error:
            # A query of DuckDB that Ctrl-C ends raises a RuntimeError.
            if isinstance(error, RuntimeError) and "interrupted" not in str(error).lower():
                raise
            _leave("stopped; what is done is kept, and the same command goes on from there", 1)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
                raise
            _abandon_stdout()
            _leave(f"the result cannot be written: {error.strerror}", 1)

    return run


def _abandon_stdout() -> None:
    """What is still to be written, which Python does at its end, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(sentence: str, code: int) -> NoReturn:
    click.echo(f"kit: {sentence}", err=True)
    sys.exit(code)


def printable(text: str) -> str:
    """Text from evidence, safe for a terminal: control characters and direction overrides are shown, not obeyed."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: kit new case-1 findings.json audit.jsonl.gz cluster/ && kit report case-1",
)
@click.version_option(__version__, prog_name="kit")
def main() -> None:
    """From a GuardDuty finding about an Amazon EKS cluster to its scope and a case report, from evidence files alone."""


@main.command(epilog="Examples: kit new case-1 evidence/ · kit new case-2 findings.json 'logs/*.gz' --cluster prod")
@CASE
@click.argument("evidence", nargs=-1, required=True)
@click.option("--cluster", metavar="NAME", help="The cluster, where the evidence doesn't say which it is from.")
@AS_JSON
@shows_errors
def new(case: Path, evidence: tuple[str, ...], cluster: str | None, as_json: bool) -> None:
    """Make CASE from EVIDENCE: files, folders or globs, `-` for standard input.

    Tells what each file is, copies it into the case read-only and hashed, loads it, and prints the ledger.
    """
    from kit.evidence.intake import new_case

    with _Progress() as progress:
        made = new_case(case, evidence, cluster, progress)
    _print_ledger(made, case, as_json)
    if not as_json:
        click.echo(f"case {printable(str(case))} is made; next: kit findings {printable(str(case))}", err=True)


@main.command(epilog="Example: kit add case-1 more-logs/")
@CASE
@click.argument("evidence", nargs=-1, required=True)
@AS_JSON
@shows_errors
def add(case: Path, evidence: tuple[str, ...], as_json: bool) -> None:
    """Add EVIDENCE to CASE: files, folders or globs, `-` for standard input.

    Files that the case holds already are left out. Until all is loaded the case stays as it was; after a crash the same call goes on.
    """
    from kit.evidence.intake import add_evidence

    with _Progress() as progress:
        made = add_evidence(case, evidence, progress)
    _print_ledger(made, case, as_json)


def _print_ledger(made: Any, case: Path, as_json: bool) -> None:
    for sentence in made.says:
        click.echo(printable(sentence), err=True)
    if as_json:
        _print_json({"case": str(case), "files": [vars(entry) for entry in made.ledger]})
        return
    table = _table("file", "taken as", "records", "rows", "duplicates", "rejects", "first", "last", "note")
    for entry in made.ledger:
        counts = (entry.records, entry.rows, entry.duplicates, entry.rejects) if entry.taken_as else ("",) * 4
        times = _minute(entry.first_at), _minute(entry.last_at)
        _add_row(table, entry.path, entry.taken_as or "", *counts, *times, entry.note)
    _print(table)


@main.command(epilog="Example: kit findings case-1 --json")
@CASE
@chosen
@AS_JSON
@shows_errors
def findings(case: Path, finding: str, start: str, end: str, as_json: bool) -> None:
    """List the findings of CASE, the most severe first. A window keeps those seen in it."""
    opened = _open(case, finding, start, end)
    begin, finish = opened.given_window
    rows = [
        {name: value for name, value in row.items() if name not in ("finding", "event_hash")}
        for row in opened.finding_rows
        if not (finish and row["first_seen_at"] and row["first_seen_at"] >= finish)
        and not (begin and row["last_seen_at"] and row["last_seen_at"] < begin)
    ]
    if as_json:
        _print_json({"case": opened.name, "findings": rows})
        return
    table = _table("severity", "type", "id", "cluster", "first seen", "last seen", "count", "note")
    for row in rows:
        note = "AWS sample" if row["sample"] else "" if row["about_eks"] else "not about EKS: outside this kit"
        seen = _minute(row["first_seen_at"]), _minute(row["last_seen_at"])
        _add_row(table, f"{row['severity']:.1f}", row["type"], row["id"], row["cluster"], *seen, row["count"], note)
    _print(table) if rows else click.echo(
        "no findings in this case" if not (begin or finish or finding) else "no findings in this window"
    )


@main.command(epilog="Example: kit scope case-1 --finding 8cb4… --json")
@CASE
@chosen
@AS_JSON
@shows_errors
def scope(case: Path, finding: str, start: str, end: str, as_json: bool) -> None:
    """Say what the findings of CASE affect, and why.

    Pods, nodes, images, identities, roles and secrets, each with the evidence for it; and what cannot be told.
    """
    with _Progress() as progress:
        progress("working out the scope", 0, 1)
        opened = _open(case, finding, start, end)
        result = opened.scope
    if as_json:
        _print_json(result)
        return
    if not result["findings"]:
        click.echo("cannot tell: this case has no finding to start from")
    for one in result["findings"]:
        click.echo("\n" + printable(f"{one['type']}  {one['id']}  severity {one['severity']:.1f}"))
        for certainty in ("affected", "possible"):
            table = _table(certainty, "name", "node", "life (UTC)", "why", "evidence")
            subjects = [subject for subject in one["subjects"] if subject["certainty"] == certainty]
            for subject in subjects:
                name = "/".join(part for part in (subject["namespace"], subject["name"]) if part) or subject["key"]
                why = subject["why"][0]
                through = f" (through {subject['through']})" if subject["through"] else ""
                _add_row(
                    table, subject["kind"], name, subject["node"], _life(subject), why["says"] + through, why["ref"]
                )
            if subjects:
                _print(table)
        counted = f"{len(one['calls'])} calls of the attacker in the audit log, {len(one['aws_calls'])} in CloudTrail"
        maybe = f"; {len(one['possible_calls'])} more may be" if one["possible_calls"] else ""
        click.echo(counted + maybe)
        for identity in one["identities"]:
            hostile = sum(source["hostile_calls"] for source in identity["sources"])
            zero = "; ".join(why["says"] for why in identity["patient_zero"])
            said = zero or "where its credential came from cannot be told"
            lead = f"{said}. To take its access away:" if hostile else "no call of it is attributed to an attacker"
            click.echo(printable(f"  {identity['user_name']} ({identity['kind'].replace('_', ' ')}): {lead}"))
            for number, step in enumerate(identity["take_away"] if hostile else (), 1):
                command = f"  $ {step['command']}" if step["command"] else ""
                click.echo(printable(f"    {number}. {step['says']}{command}"))
        outside = [
            session["access_key_id"]
            for session in one["sessions"]
            if any(use["inside"] is False for use in session["uses"])
        ]
        if outside:
            listed = ", ".join(outside[:5]) + (" and more" if len(outside) > 5 else "")
            click.echo(printable(f"  AWS sessions used from outside of the cluster: {len(outside)} ({listed})"))
        for limit in one["limits"]:
            click.echo(printable(f"  cannot tell: {limit['says']}. To be able to: {limit['collect']}."))


@main.command(epilog="Example: kit answers case-1 --finding 8cb4… --json")
@CASE
@chosen
@AS_JSON
@shows_errors
def answers(case: Path, finding: str, start: str, end: str, as_json: bool) -> None:
    """Ask the playbook's questions of each finding of CASE: observed, not observed or cannot tell, and what each means next."""
    with _Progress() as progress:
        progress("asking the questions", 0, 1)
        opened = _open(case, finding, start, end)
        said = opened.answers_contract()
    if as_json:
        _print_json(said)
        return
    for one in said["findings"]:
        click.echo()
        click.echo(printable(f"{one['type']}  {one['id']}\n{one['title']}: {one['saw']}"))
        for answer in one["answers"]:
            mark = "".join(f" [{each['mark']}: {each['note']}]" for each in answer["marks"])
            click.echo(printable(f"  {answer['verdict']:12}  {answer['asks']} {answer['says']}{mark}"))
            click.echo(printable(f"                → {answer['next_step']}"))


@main.command(
    epilog="Example: kit mark case-1 --finding 8cb4… --question secrets_read --as confirmed --note 'seen in the vault log'"
)
@CASE
@click.option("--finding", required=True, metavar="ID", help="The finding.")
@click.option(
    "--question",
    default="",
    metavar="NAME",
    help="The question whose answer is marked; the finding as a whole without it.",
)
@click.option(
    "--as",
    "word",
    required=True,
    metavar="WORD",
    help="confirmed, wrong, or expected (of a finding as a whole, with a note).",
)
@click.option("--note", default="", help="Why; stands in the report.")
@shows_errors
def mark(case: Path, finding: str, question: str, word: str, note: str) -> None:
    """Record what a person says of an answer or a finding of CASE. The kit itself never closes a finding as expected."""
    made = _open(case, "", "", "").mark(finding, word, note, question)
    click.echo(printable(f"marked as {made.word}: {made.question or 'the finding'} of {made.finding}"))


@main.command(epilog="Example: kit suppress case-1 --finding 8cb4… > criteria.json")
@CASE
@click.option("--finding", required=True, metavar="ID", help="A finding that is marked as expected.")
@shows_errors
def suppress(case: Path, finding: str) -> None:
    """Print the narrowest GuardDuty filter (CreateFilter's criteria) for a finding of CASE that a person has marked as expected.

    Nothing is created. On stderr: which findings of the case it would hide, which of them are not alike, and what is lost.
    """
    made = _open(case, finding, "", "").suppression(finding)
    _print_json(made.criteria)
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


@main.command(epilog="Example: kit plan case-1 --keep-address 203.0.113.7/32 --without recover > plan.md")
@CASE
@chosen
@click.option("--only", multiple=True, metavar="NAME", help="Only this stage or action; may be given again.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out this stage or action; may be given again.")
@click.option(
    "--keep-address",
    multiple=True,
    metavar="CIDR",
    help="An address, such as yours, that the cluster's public endpoint stays open for; may be given again.",
)
@click.option("--private-endpoint", is_flag=True, help="Plan to close the cluster's public endpoint altogether.")
@AS_JSON
@shows_errors
def plan(
    case: Path,
    finding: str,
    start: str,
    end: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    keep_address: tuple[str, ...],
    private_endpoint: bool,
    as_json: bool,
) -> None:
    """Print what is to be done about the findings of CASE, in order, as Markdown, and save it as CASE/plan.json.

    It changes nothing in account or cluster. Each action with its target, why, what has to be true before, what else stops working, its
    commands, its undo, and what has to be done first. The digest covers the actions with their account, region and cluster; it is what
    `kit apply` wants approved.
    """
    from kit.case.contract import plan_contract
    from kit.live.run import save_plan
    from kit.plan.markdown import markdown

    if keep_address and private_endpoint:
        raise CallError(
            "an endpoint that is private only is open for no address",
            where="--private-endpoint",
            next="give one of both",
        )
    keep = list(keep_address) if keep_address or private_endpoint else None
    with _Progress() as progress:
        progress("making the plan", 0, 1)
        opened = _open(case, finding, start, end)
        made = opened.plan(only, without, keep)
    options = {"finding": finding, "start": start, "end": end, "only": list(only), "without": list(without)}
    try:
        save_plan(opened, made, options | {"keep_addresses": keep})
    except CaseError as error:
        click.echo(f"kit: {printable(str(error))}; without it preview and apply have nothing to go by", err=True)
    if as_json:
        _print_json(plan_contract(opened.name, made))
    else:
        click.echo("\n".join(printable(line) for line in markdown(made, opened.name_of).split("\n")))


def reaches(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how account and cluster are reached."""
    command = click.option("--context", metavar="NAME", help="Context of the kubeconfig; its current one without it.")(
        command
    )
    command = click.option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG or ~/.kube/config.")(command)
    return click.option("--profile", metavar="NAME", help="AWS profile; AWS_PROFILE and the usual without it.")(command)


@main.command(epilog="Example: kit preview case-1 --profile incident")
@CASE
@reaches
@AS_JSON
@shows_errors
def preview(case: Path, profile: str | None, kubeconfig: str | None, context: str | None, as_json: bool) -> None:
    """Try the saved plan of CASE by the services' own dry-runs, and say of each action what it would do now. It changes nothing."""
    from kit.live.run import Access, preview_case

    _print_outcomes(preview_case(case, Access(profile, kubeconfig, context), _tell), as_json)


@main.command(epilog="Example: kit apply case-1 --approve 3f9c… --profile incident")
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
    from kit.live.run import Access, apply_case

    access = Access(profile, kubeconfig, context)
    _print_outcomes(apply_case(case, approve, access, _tell, without_capture, by_hand, check_after), as_json)


@main.command(epilog="Example: kit check case-1")
@CASE
@reaches
@AS_JSON
@shows_errors
def check(case: Path, profile: str | None, kubeconfig: str | None, context: str | None, as_json: bool) -> None:
    """Look again whether what was done for CASE still holds: controllers, autoscalers and GitOps put things back."""
    from kit.live.run import Access, check_case

    _print_outcomes(check_case(case, Access(profile, kubeconfig, context), _tell), as_json)


@main.command(epilog="Example: kit undo case-1 --only narrow_endpoint")
@CASE
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this action, by its id or its name; may be given again."
)
@reaches
@AS_JSON
@shows_errors
def undo(
    case: Path, only: tuple[str, ...], profile: str | None, kubeconfig: str | None, context: str | None, as_json: bool
) -> None:
    """Take back what was done for CASE, the last first, and say what could not be. CHANGES the account and the cluster.

    What somebody changed since is left as it is. Each undo was shown in the plan and approved with it.
    """
    from kit.live.run import Access, undo_case

    _print_outcomes(undo_case(case, Access(profile, kubeconfig, context), _tell, only), as_json)


@main.command(epilog="Example: kit journal case-1 --json")
@CASE
@AS_JSON
@shows_errors
def journal(case: Path, as_json: bool) -> None:
    """Check the journal of CASE and say what was done. Its last hash, noted elsewhere, proves that nothing was changed since."""
    from kit.plan.journal import done_so_far

    said, head = done_so_far(case)
    if as_json:
        _print_json({"case": str(case), "head": head, "actions": said})
        return
    table = _table("stage", "action", "name", "state", "check", "id")
    for one in said:
        checked = f"{one['check']['word']}: {one['check']['says']}" if one["check"] else ""
        _add_row(table, one["stage"], one["action"], one["name"], one["state"], checked, one["id"])
    _print(table) if said else click.echo("nothing was done in this case")
    click.echo(f"last hash {head}", err=True)


def _tell(says: str) -> None:
    click.echo(printable(says), err=True)


def _print_outcomes(outcomes: list[Any], as_json: bool) -> None:
    from kit.live.run import needs_somebody

    if as_json:
        said = [vars(one) | {"check": vars(one.check) if one.check else None} for one in outcomes]
        _print_json({"actions": said})
    else:
        table = _table("outcome", "action", "what", "check")
        for one in outcomes:
            checked = f"{one.check.word}: {one.check.says}" if one.check else ""
            _add_row(table, one.word, one.id, one.says, checked)
        _print(table) if outcomes else click.echo("there is nothing to do")
    if any(needs_somebody(one) for one in outcomes):
        sys.exit(1)


@main.group(epilog="Example: kit permissions plan case-1")
def permissions() -> None:
    """Print the least permissions for what the kit does in an account and a cluster."""


@permissions.command("plan", epilog="Example: kit permissions plan case-1 > needed.json")
@CASE
@chosen
@shows_errors
def permissions_plan(case: Path, finding: str, start: str, end: str) -> None:
    """Print the least that the plan of CASE needs: an IAM policy and a ClusterRole, as JSON. The saved plan's, where there is one."""
    from kit.live.run import saved_plan
    from kit.plan.planner import permissions_of

    saved = (case / "plan.json").exists() and not (finding or start or end)
    _print_json(permissions_of(saved_plan(case)[0] if saved else _open(case, finding, start, end).plan()))


@main.command(epilog="Example: kit report case-1 --start 2026-01-31T14:00:00Z --end 2026-01-31T16:00:00Z")
@CASE
@chosen
@AS_JSON
@shows_errors
def report(case: Path, finding: str, start: str, end: str, as_json: bool) -> None:
    """Run the notebooks on CASE headless and write one HTML report; print its path."""
    _open(case, finding, start, end)
    from kit.report import make_report

    with _Progress() as progress:
        path = make_report(case, finding=finding, start=start, end=end, progress=progress)
    _print_json({"case": str(case), "report": str(path)}) if as_json else click.echo(str(path))


def _open(case: Path, finding: str, start: str, end: str) -> Any:
    from kit.case.case import open_case

    return open_case(case, finding, start, end)


class _Progress:
    """Progress on stderr for what takes longer than a second: a bar with the time that is left on a terminal, else a line every few
    seconds."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bar: Any = None
        self._step = ""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._began = self._said_at = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of a step; show it when a second has passed."""
        what = printable(what)
        if self._console.is_terminal:
            self._show(what, done, total)
            return
        with self._lock:
            self._step = f"{what} ({100 * done // max(total, 1)} %{self._left(done, total)})" if done < total else ""
            if self._step and time.monotonic() - self._said_at > 5:
                self._say()

    def _left(self, done: int, total: int) -> str:
        """How long the rest will take at the pace until now, once that means something."""
        spent = time.monotonic() - self._began
        return f", about {spent * (total - done) / done:.0f} s left" if spent > 5 and done * 20 > total else ""

    def _say(self) -> None:
        self._said_at = time.monotonic()
        click.echo(f"{self._step} {self._said_at - self._began:.0f} s", err=True)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            with self._lock:
                now = time.monotonic()
                if self._step and now - self._said_at > (1 if self._said_at == self._began else 10):
                    self._say()

    def _show(self, what: str, done: int, total: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total)
        self._bar.update(self._task, description=what, completed=done, total=total)

    def __enter__(self) -> _Progress:
        if not self._console.is_terminal:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add_row(table: Table, *cells: Any) -> None:
    from rich.text import Text

    table.add_row(*(Text(printable("" if _empty(cell) else str(cell))) for cell in cells))


def _empty(cell: Any) -> bool:
    return cell is None or cell != cell


def _print(table: Table) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 250
    Console(width=width, soft_wrap=False).print(table)


def _minute(at: Any) -> str:
    return "" if _empty(at) else str(at)[:19].replace("T", " ")


def _life(subject: dict[str, Any]) -> str:
    if subject["standing"] is None and not subject["created_at"]:
        return ""
    end = _minute(subject["deleted_at"]) or {True: "stands", False: "gone", None: "?"}[subject["standing"]]
    return f"{_minute(subject['created_at']) or '?'} – {end}"


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, default=_jsonable, ensure_ascii=True))


def _jsonable(value: Any) -> Any:
    if _empty(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    return value.item() if hasattr(value, "item") else str(value)
