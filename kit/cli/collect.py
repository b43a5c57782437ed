"""Commands that collect evidence from an account and a cluster and change nothing there: collect, permissions collect."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kit.cli.options import AS_JSON, reaches
from kit.cli.respond import permissions
from kit.cli.terminal import ShownProgress, add_row, print_json, print_table, shows_errors, table_with, tell
from kit.words import few

_CLUSTER = click.option("--cluster", required=True, metavar="NAME", help="The EKS cluster.")
_REGION = click.option("--region", default="", metavar="NAME", help="The cluster's region; AWS_REGION without it.")


def _asks(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is collected."""
    for option in (
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
    kinds: tuple[str, ...],
    region: str,
    profile: str | None,
    kubeconfig: str | None,
    context: str | None,
    as_json: bool,
) -> None:
    """Collect into FOLDER the evidence of a live account and cluster that `kit new` reads. It changes nothing in either.

    What vanishes first is asked for first. FOLDER/collection.jsonl has each request, as whom it was made, and what was refused. Stopped at
    any moment, the same command goes on: nothing is fetched twice. Exit code 1 when something was refused or failed. Kinds of evidence:
    events, container_logs, objects, secrets, findings, ec2, eks, audit, authenticator, cloudtrail, iam, ecr.
    """
    from kit.live.collect import run
    from kit.live.run import ConnectionOptions

    asked = (*kinds, "secrets") if secrets and kinds else kinds
    wanted = run.Wanted(cluster, region, finding, start, end, asked, secrets, aws_only)
    with ShownProgress() as progress:
        arrived = run.collect(folder, wanted, ConnectionOptions(profile, kubeconfig, context), progress, tell)
    if as_json:
        print_json({"folder": str(folder), "kinds": [vars(one) | {"gone": one.gone} for one in arrived]})
    else:
        table = table_with("evidence", "answers", "empty", "bytes", "not permitted", "failed", "gone")
        for one in arrived:
            counts = (one.answers, one.empty, f"{one.bytes:,}")
            add_row(table, one.kind, *counts, few(one.refused, 3), few(one.failed, 1), one.gone)
        print_table(table)
        tell(f"Next: kit new CASE {folder}")
    if any(one.refused or one.failed for one in arrived):
        sys.exit(1)


@permissions.command("collect", epilog="Example: kit permissions collect --cluster prod > needed.json")
@click.option("--cluster", default="", metavar="NAME", help="Only this cluster; any without it.")
@click.option("--secrets", is_flag=True, help="With what --secrets of `kit collect` needs.")
@shows_errors
def permissions_collect(cluster: str, secrets: bool) -> None:
    """Print the least that `kit collect` needs, as JSON: an IAM policy and a ClusterRole that read and change nothing."""
    from kit.live.collect.least_permissions import collect_permissions

    print_json(collect_permissions(cluster, secrets=secrets))
