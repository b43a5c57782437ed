"""Commands that take evidence into a case: new, add, upgrade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kit.cli.options import AS_JSON, CASE
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


@click.command(epilog="Examples: kit new case-1 evidence/ · kit new case-2 findings.json 'logs/*.gz' --cluster prod")
@CASE
@click.argument("evidence", nargs=-1, required=True)
@click.option("--cluster", metavar="NAME", help="The cluster, where the evidence doesn't say which it is from.")
@AS_JSON
@shows_errors
def new(case: Path, evidence: tuple[str, ...], cluster: str | None, as_json: bool) -> None:
    """Make CASE from EVIDENCE: files, folders or globs, `-` for standard input.

    Tells what each file is, copies it into the case read-only and hashed, loads it, and prints the ledger.
    """
    from kit.evidence.intake import load_new_case

    with ShownProgress() as progress:
        made = load_new_case(case, evidence, cluster, progress)
    _print_ledger(made, case, as_json)
    if not as_json:
        click.echo(f"case {printable(str(case))} is made; next: kit findings {printable(str(case))}", err=True)


@click.command(epilog="Example: kit add case-1 more-logs/")
@CASE
@click.argument("evidence", nargs=-1, required=True)
@AS_JSON
@shows_errors
def add(case: Path, evidence: tuple[str, ...], as_json: bool) -> None:
    """Add EVIDENCE to CASE: files, folders or globs, `-` for standard input.

    Files that the case holds already are left out. Until all is loaded the case stays as it was; after a crash the same call goes on.
    """
    from kit.evidence.intake import add_evidence

    with ShownProgress() as progress:
        made = add_evidence(case, evidence, progress)
    _print_ledger(made, case, as_json)


@click.command(epilog="Example: kit upgrade case-1")
@CASE
@AS_JSON
@shows_errors
def upgrade(case: Path, as_json: bool) -> None:
    """Load the evidence of an older kit's CASE again, into a new store, and print the ledger.

    Each file has to be as the ledger has it. Marks, plan and journal are kept. Until the new store is whole the case stays as it was;
    after a crash the same call goes on.
    """
    from kit.evidence.upgrade import upgrade_case

    with ShownProgress() as progress:
        made = upgrade_case(case, progress)
    _print_ledger(made, case, as_json)


def _print_ledger(made: Any, case: Path, as_json: bool) -> None:
    for sentence in made.says:
        click.echo(printable(f"{sentence} `kit new` with --cluster NAME makes the case with it."), err=True)
    if as_json:
        print_json({"case": str(case), "files": [vars(entry) for entry in made.ledger]})
        return
    if not made.ledger:
        return
    table = table_with("file", "taken as", "records", "rows", "duplicates", "rejects", "first", "last", "note")
    for entry in made.ledger:
        counts = (entry.records, entry.rows, entry.duplicates, entry.rejects) if entry.taken_as else ("",) * 4
        times = minute(entry.first_at), minute(entry.last_at)
        add_row(table, entry.path, entry.taken_as or "", *counts, *times, entry.note)
    print_table(table)
