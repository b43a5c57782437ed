"""The arguments and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.model.masking import SHOW_SECRETS

if TYPE_CHECKING:
    from kit.case.case import Case


CASE = click.argument("case", type=click.Path(path_type=Path))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON in the documented, stable form.")


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a finding and a window, which findings, scope and report share."""
    command = click.option("--end", default="", metavar="TIME", help="End of the window, UTC, excluded.")(command)
    command = click.option(
        "--start", default="", metavar="TIME", help="Start of the window, UTC: 2026-01-31T14:00:00Z."
    )(command)
    return click.option("--finding", default="", metavar="ID", help="Only this finding; all without it.")(command)


def _show_secrets(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    before = os.environ.get(SHOW_SECRETS, "")
    os.environ[SHOW_SECRETS] = "yes"  # the kernels of a report have it too
    context.call_on_close(lambda: os.environ.update({SHOW_SECRETS: before}))
    click.echo("Secrets are shown: what is printed or written now is for the owner of the case alone.", err=True)


WITH_SECRETS = click.option(
    "--show-secrets",
    is_flag=True,
    expose_value=False,
    callback=_show_secrets,
    help="Mask no passwords, tokens and keys: for the owner of the case alone.",
)
WITHOUT_MARKS = click.option(
    "--without-marks", is_flag=True, help="As if nobody had marked anything as the attacker's, or as not."
)


def reaches(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how account and cluster are reached."""
    command = click.option("--context", metavar="NAME", help="Context of the kubeconfig; its current one without it.")(
        command
    )
    command = click.option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG or ~/.kube/config.")(command)
    return click.option("--profile", metavar="NAME", help="AWS profile; AWS_PROFILE and the usual without it.")(command)


def opened_case(case: Path, finding: str = "", start: str = "", end: str = "", without_marks: bool = False) -> Case:
    """The case under a choice of findings and a window."""
    from kit.case.opening import open_case

    return open_case(case, finding, start, end, with_marks=not without_marks)
