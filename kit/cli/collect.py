"""Commands that collect evidence from an account and a cluster and change nothing there: collect, investigate, watch, permissions collect."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.brief import brief_lines
from kit.cli.options import AS_JSON, CASE, opened_case, reaches
from kit.cli.respond import permissions
from kit.cli.terminal import ShownProgress, add_row, print_json, print_table, printable, shows_errors, table_with, tell
from kit.errors import CallError
from kit.words import few

if TYPE_CHECKING:
    from kit.live.collect.run import Gathered, Wanted
    from kit.live.connection import ConnectionOptions

_CLUSTER = click.option("--cluster", default="", metavar="NAME", help="The EKS cluster.")
_DEPTH = click.option(
    "--depth",
    default=2,
    show_default=True,
    type=click.IntRange(1, 10),
    metavar="N",
    help="How often at most what was found is asked about again.",
)
_REGION = click.option("--region", default="", metavar="NAME", help="The cluster's region; AWS_REGION without it.")


def _asks(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is collected."""
    for option in (
        click.option("--logs-from", default="", metavar="S3", help="s3://BUCKET/PREFIX with the audit log: an export, Firehose or Security Lake; CloudWatch Logs without it."),
        click.option("--yes", "agreed", is_flag=True, help="Fetch logs of any size; more than 2 GB are not without it."),
        click.option("--aws-only", is_flag=True, help="Ask AWS alone, as where the API server cannot be reached."),
        click.option("--secrets", is_flag=True, help="Also names, types and ages of Secrets; never their values."),
        click.option("--end", default="", metavar="TIME", help="End of the window, UTC, excluded; six hours after the finding's without it."),
        click.option("--start", default="", metavar="TIME", help="Start of the window, UTC; an hour before the finding's without it."),
        click.option("--finding", default="", metavar="ID", help="The GuardDuty finding, or `latest`; not needed with a window."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(epilog="Example: kit collect evidence/ --cluster prod --finding latest --profile incident")
@click.argument("folder", type=click.Path(path_type=Path))
@_CLUSTER
@_asks
@click.option("--only", "kinds", multiple=True, metavar="KIND", help="Only this kind of evidence; may be given again.")
@click.option(
    "--more",
    type=click.Path(path_type=Path),
    metavar="CASE",
    help="What the scope and limits of this case ask for, and add it to the case.",
)
@click.option(
    "--check",
    "readiness",
    is_flag=True,
    help="Collect nothing: say which evidence an incident of today would have, and what would turn on the rest.",
)
@click.option(
    "--estimate", is_flag=True, help="Only say how much the logs of the window are; nothing of them is fetched."
)
@_DEPTH
@_REGION
@reaches
@AS_JSON
@shows_errors
def collect(
    folder: Path,
    cluster: str,
    finding: str,
    start: str,
    end: str,
    secrets: bool,
    aws_only: bool,
    agreed: bool,
    logs_from: str,
    kinds: tuple[str, ...],
    more: Path | None,
    readiness: bool,
    estimate: bool,
    depth: int,
    region: str,
    profile: str | None,
    kubeconfig: str | None,
    context: str | None,
    as_json: bool,
) -> None:
    """Collect into FOLDER the evidence of a live account and cluster that `kit new` reads. It changes nothing in either.

    What vanishes first is asked for first. FOLDER/collection.jsonl has each request, as whom it was made, and what was refused. Stopped at
    any moment, the same command goes on: nothing is fetched twice. Exit code 1 when something was refused or failed. Kinds of evidence:
    events, container_logs, objects, secrets, findings, ec2, eks, audit, authenticator, cloudtrail, iam, ecr, network. The last is the nodes' flow logs
    and DNS queries: asked for with --only network alone, kept, and read by no reader.
    """
    from kit.live.collect import run
    from kit.live.connection import ConnectionOptions

    asked = (*kinds, "secrets") if secrets and kinds else kinds
    wanted = run.Wanted(cluster, region, finding, start, end, asked, secrets, aws_only, estimate, agreed, logs_from=logs_from)  # fmt: skip
    access = ConnectionOptions(profile, kubeconfig, context)
    if not cluster and not more:
        raise CallError("no cluster is given", where="cluster", next="name it with --cluster, or a case with --more")
    if readiness:
        _print_readiness(folder, replace(wanted, cluster=cluster), access, as_json)
        return
    with ShownProgress() as progress:
        if more and not estimate:
            from kit.live.collect.more import collect_more

            arrived = collect_more(more, folder, wanted, access, depth, progress, tell)
        else:
            arrived = run.collect(folder, wanted, access, progress, tell)
    if estimate:
        if as_json:
            print_json(arrived.estimate.as_json() if arrived.estimate else {})
        return
    if as_json:
        print_json({"folder": str(folder), "kinds": [vars(one) | {"gone": one.gone} for one in arrived.kinds]})
    else:
        _print_arrived(arrived)
        tell(f"Next: kit {f'brief {more}' if more else f'new CASE {folder} --cluster {cluster}'}")
    if arrived.misses_some:
        sys.exit(1)


def _print_readiness(folder: Path, wanted: Wanted, access: ConnectionOptions, as_json: bool) -> None:
    from kit.live.collect.readiness import check_readiness

    with ShownProgress() as progress:
        rows = check_readiness(folder, wanted, access, progress, tell)
    if as_json:
        print_json({"sources": [vars(one) for one in rows]})
        return
    table = table_with("evidence", "ready", "as it is", "without it cannot be told")
    for one in rows:
        add_row(table, one.source, one.ready, one.says, one.needed_for)
    print_table(table)
    mends = list(dict.fromkeys(one.mend for one in rows if one.mend))
    if mends:
        click.echo("\nWhat would turn on the rest. Each changes the account or the cluster:")
    for mend in mends:
        click.echo(printable(f"  {mend}"))


def _print_arrived(arrived: Gathered) -> None:
    table = table_with("evidence", "answers", "empty", "bytes", "not permitted", "failed", "gone")
    for one in arrived.kinds:
        counts = (one.answers, one.empty, f"{one.bytes:,}")
        add_row(table, one.kind, *counts, few(one.refused, 3), few(one.failed, 1), one.gone)
    print_table(table)


@click.command(epilog="Example: kit investigate --cluster prod --finding latest --profile incident")
@click.argument("case", type=click.Path(path_type=Path), required=False)
@_CLUSTER
@_asks
@_DEPTH
@_REGION
@reaches
@shows_errors
def investigate(
    case: Path | None,
    cluster: str,
    finding: str,
    start: str,
    end: str,
    secrets: bool,
    aws_only: bool,
    agreed: bool,
    logs_from: str,
    depth: int,
    region: str,
    profile: str | None,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """From a live account and cluster to the brief and the report of a finding: collects, makes CASE, and changes nothing in either.

    The evidence lies in CASE-evidence. The brief is printed as soon as what vanishes first is there; then the rest follows, with
    what the scope found to ask about. Stopped at any moment, the same command goes on. CASE is named after cluster and finding without one.
    """
    from kit.live.collect import run
    from kit.live.collect.more import collect_more
    from kit.live.collect.sent import in_file_name
    from kit.live.connection import ConnectionOptions
    from kit.report import make_report

    if not cluster:
        raise CallError("no cluster is given", where="cluster", next="name it with --cluster")
    name = "-".join(["case", in_file_name(cluster), in_file_name((finding or start)[:16])])
    case = case or Path(name)
    folder = case.with_name(f"{case.name}-evidence")
    access = ConnectionOptions(profile, kubeconfig, context)
    wanted = run.Wanted(cluster, region, finding, start, end, (), secrets, aws_only, agreed=agreed, logs_from=logs_from)
    with ShownProgress() as progress:
        run.collect(folder, replace(wanted, kinds=run.FIRST_KINDS), access, progress, tell)
        _take_in(case, folder, cluster, progress)
    _print_brief(case)
    with ShownProgress() as progress:
        arrived = collect_more(case, folder, wanted, access, depth, progress, tell)
        path = make_report(case, progress=progress)
    _print_brief(case)
    _print_arrived(arrived)
    click.echo(str(path))
    if arrived.misses_some:
        sys.exit(1)


def _take_in(case: Path, folder: Path, cluster: str, progress: ShownProgress) -> None:
    """Make the case of a folder, or add to it what is new there."""
    from kit.evidence.intake import add_evidence, load_new_case

    if (case / "case.toml").exists():
        add_evidence(case, [str(folder)], progress)
    else:
        load_new_case(case, [str(folder)], cluster, progress)


def _print_brief(case: Path) -> None:
    now = datetime.now(UTC)
    for line in brief_lines(opened_case(case).brief(now), now, False):
        click.echo(printable(line))


@click.command(epilog="Example: kit watch case-1 --every 5m --until 2026-02-01T08:00:00Z")
@CASE
@click.option(
    "--every", default="5m", show_default=True, metavar="TIME", help="How long to wait between two looks: 30s, 5m, 1h."
)
@click.option("--until", default="", metavar="TIME", help="When to stop, UTC; after one look without it.")
@click.option(
    "--since",
    default="",
    metavar="TIME",
    help="From when on, UTC; from the last entry of the journal, or the end of the evidence, without it.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where what is collected lies; CASE-watch without it.",
)
@click.option("--profile", metavar="NAME", help="AWS profile; AWS_PROFILE and the usual without it.")
@shows_errors
def watch(case: Path, every: str, until: str, since: str, folder: Path | None, profile: str | None) -> None:
    """Look whether the attacker of CASE came back: one line for each call since then by a credential, address, identity, image or object of the case.

    It collects the audit log and CloudTrail of the time since, and changes nothing. An identity or address that others use too counts only
    together with the other. Stopped at any moment, the same command goes on. Exit code 3 when there is a line.
    """
    from kit.live.collect.watch import watch as looks
    from kit.live.connection import ConnectionOptions
    from kit.model.window import checked_time

    pause = re.fullmatch(r"(\d{1,5})([smh])", every)
    if not pause or not int(pause[1]):
        raise CallError(f"{every!r} is no length of time", where="every", next="write it as 30s, 5m or 1h")
    seconds = int(pause[1]) * {"s": 1, "m": 60, "h": 3600}[pause[2]]
    begin, end = checked_time("since", since), checked_time("until", until)
    place = folder or case.with_name(f"{case.name}-watch")
    seen = False
    with ShownProgress() as progress:
        access = ConnectionOptions(profile)
        for one in looks(case, place, access, begin, end, timedelta(seconds=seconds), progress, tell):
            seen = True
            click.echo(printable(one.says))
    if seen:
        sys.exit(3)
    click.echo("no call by a credential, address, identity, image or object of the case")


@permissions.command("collect", epilog="Example: kit permissions collect --cluster prod > needed.json")
@click.option("--cluster", default="", metavar="NAME", help="Only this cluster; any without it.")
@click.option("--secrets", is_flag=True, help="With what --secrets of `kit collect` needs.")
@click.option("--network", is_flag=True, help="With what `--only network` of `kit collect` needs.")
@click.option("--logs-from", default="", metavar="S3", help="With what --logs-from of `kit collect` needs.")
@shows_errors
def permissions_collect(cluster: str, secrets: bool, network: bool, logs_from: str) -> None:
    """Print the least that `kit collect` needs, as JSON: an IAM policy and a ClusterRole that read and change nothing."""
    from kit.live.collect.least_permissions import collect_permissions

    print_json(collect_permissions(cluster, secrets=secrets, network=network, logs_from=logs_from))
