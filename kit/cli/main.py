"""The command line `kit`: thin. Results on stdout, everything else on stderr; exit 0 done, 1 the work failed, 2 the input or the call was wrong."""

from __future__ import annotations

import click

from kit import __version__
from kit.cli.brief import brief, note
from kit.cli.collect import collect, investigate, watch
from kit.cli.evidence import add, new, upgrade
from kit.cli.investigate import answers, findings, mark, report, scope, suppress
from kit.cli.respond import apply, check, journal, permissions, plan, preview, undo
from kit.cli.show import show
from kit.cli.train import train


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: kit new case-1 findings.json audit.jsonl.gz cluster/ && kit report case-1",
)
@click.version_option(__version__, prog_name="kit")
def main() -> None:
    """From a GuardDuty finding about an Amazon EKS cluster to its scope and a case report, from evidence files alone."""


for _command in (investigate, collect, new, add, upgrade, brief, findings, scope, show, answers, mark, note, suppress):
    main.add_command(_command)
for _command in (plan, preview, apply, check, undo, journal, permissions, watch, report, train):
    main.add_command(_command)
