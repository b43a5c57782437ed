"""Commands for learners: the labs, a lab started in a folder, hints and marks."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kit.cli.options import AS_JSON
from kit.cli.terminal import ShownProgress, add_row, print_json, print_table, printable, shows_errors, table_with, tell

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_SEEDS = 100_000


def _keeps_progress(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--progress",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where progress is kept; the user's data folder without it.",
    )(command)


@click.group(epilog="Example: kit train list && kit train start read-secrets-accessed my-lab")
def train() -> None:
    """Learn the finding types on recordings of real attacks, and get a mark."""


@train.command("list", epilog="Example: kit train list")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@_keeps_progress
@AS_JSON
@shows_errors
def train_list(folder: Path | None, progress: Path | None, as_json: bool) -> None:
    """List the labs by level, with the best mark so far: those of the kit, or those of your own in FOLDER."""
    from kit.training.progress import entries_of, progress_file
    from kit.training.reading import labs, labs_at

    marks = dict[str, list[int]]()
    for entry in entries_of(progress or progress_file()):
        if entry["kind"] == "graded":
            marks.setdefault(entry["lab"], []).append(entry["mark"])
    every = [
        {
            "name": one.name, "title": one.title, "level": one.level, "minutes": one.minutes, "families": list(one.families),
            "goals": list(one.goals), "prerequisites": list(one.prerequisites), "tries": len(marks.get(one.name, [])),
            "best_mark": max(marks.get(one.name, []), default=None),
        }
        for one in (labs_at(folder) if folder else labs()).values()
    ]  # fmt: skip
    if as_json:
        print_json({"labs": every})
        return
    table = table_with("lab", "level", "minutes", "tries", "best mark", "title")
    for lab in every:
        add_row(table, *(lab[name] for name in ("name", "level", "minutes", "tries", "best_mark", "title")))
    print_table(table)


@train.command(epilog="Example: kit train start read-secrets-accessed my-lab --seed 7")
@click.argument("lab")
@_FOLDER
@click.option(
    "--seed", type=click.IntRange(0), metavar="N", help="The same N gives the same case; 0 as recorded, any without it."
)
@_keeps_progress
@AS_JSON
@shows_errors
def start(lab: str, folder: Path, seed: int | None, progress: Path | None, as_json: bool) -> None:
    """Start LAB in FOLDER: its page, its case and a file for the answers. LAB is a name, or the path of a lab of your own."""
    from kit.training.grading import keep_start
    from kit.training.learner_folder import ANSWERS, PAGE, start_lab
    from kit.training.progress import entries_of, progress_file
    from kit.training.reading import lab_named

    kept = progress or progress_file()
    entries_of(kept)  # a file that cannot be used is told before anything is made
    with ShownProgress() as shown:
        made = start_lab(lab_named(lab), folder, secrets.randbelow(_SEEDS) + 1 if seed is None else seed, shown)
    keep_start(made, kept)
    if as_json:
        print_json({"folder": str(folder), "lab": made.lab, "seed": made.seed, "started_at": made.started_at})
        return
    place = printable(str(folder))
    if lab_named(lab).stage:
        click.echo(
            f"{made.lab} is started with seed {made.seed}. Read {place}/{PAGE}, then do it: kit train emulate {place}"
        )
        return
    click.echo(
        f"{made.lab} is started with seed {made.seed}. Read {place}/{PAGE}, write into {place}/{ANSWERS}, then: kit train grade {place}"
    )


@train.command(
    "new-lab",
    epilog="Example: kit train new-lab labs/stolen-key --case case-1 --finding 8cb4… --title 'A stolen key' --story 'A key was used at night.'",
)
@_FOLDER
@click.option(
    "--case", required=True, type=click.Path(path_type=Path), metavar="CASE", help="Your case, with its marks."
)
@click.option("--finding", required=True, metavar="ID", help="The finding that is asked about, marked as confirmed.")
@click.option("--title", required=True, metavar="TEXT", help="The lab in a few words.")
@click.option("--story", required=True, metavar="TEXT", help="What the learner is told, in a sentence or two.")
@click.option(
    "--seed", type=click.IntRange(1), metavar="N", help="What is renamed to what; any without it. It is kept nowhere."
)
@click.option("--rename", multiple=True, metavar="WORD", help="A further word that is to go; may be given again.")
@click.option("--keep", multiple=True, metavar="WORD", help="A word that may stay; may be given again.")
@AS_JSON
@shows_errors
def train_new_lab(
    folder: Path,
    case: Path,
    finding: str,
    title: str,
    story: str,
    seed: int | None,
    rename: tuple[str, ...],
    keep: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a lab in FOLDER of a CASE of your own, masked and renamed. Right answers are the scope that you confirmed by marks.

    Refused is a case without ground: findings that nobody has marked, calls of which it is open whose they are, no audit log. What would
    still tell whose case it is is named, and nothing is written. The truth lies in FOLDER: learners get what `kit train start` makes of it.
    """
    from kit.training.new_lab import new_lab

    with ShownProgress() as shown:
        made = new_lab(folder, case, finding, title, story, seed or secrets.randbits(64) + 1, rename, keep, shown)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "lab": made.lab.name,
                "questions": list(made.lab.questions),
                "left_out": list(made.left_out),
            }
        )
        return
    place = printable(str(folder))
    click.echo(
        f"{place}: a lab with {len(made.lab.questions)} questions. Read its case before others do, then: kit train start {place} my-lab"
    )
    if made.left_out:
        tell(f"this case cannot ask: {', '.join(made.left_out)}")


@train.command(epilog="Example: kit train hint my-lab affected_pods")
@_FOLDER
@click.argument("question")
@_keeps_progress
@AS_JSON
@shows_errors
def hint(folder: Path, question: str, progress: Path | None, as_json: bool) -> None:
    """Show the next hint for QUESTION of the lab in FOLDER; each costs a tenth of that question's mark."""
    from kit.training.grading import next_hint
    from kit.training.progress import progress_file

    text, left = next_hint(folder, question, progress or progress_file())
    if as_json:
        print_json({"question": question, "hint": text, "left": left})
        return
    click.echo(printable(text))
    tell(f"{left} more for {question}")


@train.command(epilog="Example: kit train grade my-lab")
@_FOLDER
@click.option("--answers", type=click.Path(path_type=Path), metavar="FILE", help="Instead of FOLDER/answers.toml.")
@_keeps_progress
@AS_JSON
@shows_errors
def grade(folder: Path, answers: Path | None, progress: Path | None, as_json: bool) -> None:
    """Grade the answers in FOLDER. From the second try on the evidence of what was missed is shown."""
    from kit.training.grading import grade_folder
    from kit.training.progress import progress_file

    _print_mark(grade_folder(folder, progress or progress_file(), answers), as_json)


@train.command(epilog="Example: kit train emulate my-lab -- jupyter lab")
@_FOLDER
@click.argument("command", nargs=-1)
@_keeps_progress
@AS_JSON
@shows_errors
def emulate(folder: Path, command: tuple[str, ...], progress: Path | None, as_json: bool) -> None:
    """Emulate account and cluster of the lab in FOLDER for a shell, or for COMMAND after --, and mark what they hold at its end."""
    from kit.errors import TrainingError
    from kit.training.emulated import emulated, run_in
    from kit.training.progress import entries_of, progress_file

    kept = progress or progress_file()
    entries_of(kept)  # a file that cannot be used is told before anything is done
    with emulated(folder) as lab:
        place = printable(str(folder / "case"))
        tell(
            f"account and cluster of {lab.lab.name} stand; kit, aws and kubectl reach them here. Begin with: kit plan {place}"
        )
        tell("`exit` ends the lab and marks it" if not command else "the lab is marked when the command ends")
        run_in(lab, list(command))
        if not lab.is_touched:
            raise TrainingError(
                "nothing was changed in account and cluster, so nothing is marked",
                where=lab.lab.name,
                next="open it again: kit plan, kit apply",
            )
        made = lab.mark(kept)
    _print_mark(made, as_json)


def _print_mark(made: Any, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(made))
        return
    table = table_with("question", "mark", "missed", "wrong", "harm", "hints", "note")
    for one in made.questions:
        counts = (
            [len(keys) for keys in (one.graded.missed, one.graded.wrong, one.graded.harm)]
            if one.answered
            else ["", "", ""]
        )
        add_row(
            table,
            one.asked.name,
            one.mark,
            *counts,
            one.hints or "",
            one.graded.unread or ("" if one.answered else "no answer"),
        )
    print_table(table)
    for one in made.questions:
        for says in one.shown.values():
            click.echo(printable(f"  {one.asked.name}: {says}"))
    harm = f", {made.harm} that would do harm" if made.harm else ""
    click.echo(f"mark {made.mark} of 100{harm}; try {made.attempt}, {made.minutes} minutes")


_KEY = click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="File with a shared key that signs results."
)


@train.command(epilog="Example: kit train results amira.json --name Amira")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="The learner's name, as the class shows it.")
@_KEY
@click.option("--xapi", is_flag=True, help="Write xAPI statements for a learning platform instead.")
@_keeps_progress
@AS_JSON
@shows_errors
def results(file: Path, name: str, key: Path | None, xapi: bool, progress: Path | None, as_json: bool) -> None:
    """Write the marks with their hash chain into FILE, to be handed over."""
    from kit.training.progress import entries_of, progress_file
    from kit.training.results import write_results, write_statements

    entries = entries_of(progress or progress_file())
    if xapi:
        number = write_statements(file, name, entries)
        print_json({"file": str(file), "statements": number}) if as_json else click.echo(
            f"{printable(str(file))}: {number} statements"
        )
        return
    digest = write_results(file, name, entries, key)
    print_json({"file": str(file), "digest": digest, "signed": key is not None}) if as_json else click.echo(
        f"{printable(str(file))}: {digest}"
    )


@train.command("class", epilog="Example: kit train class handed-over")
@_FOLDER
@click.option(
    "--rule",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who may take a shift; the kit's own rule without it.",
)
@click.option("--labs", type=click.Path(path_type=Path), metavar="FOLDER", help="Where labs of your own lie.")
@_KEY
@AS_JSON
@shows_errors
def train_class(folder: Path, rule: Path | None, labs: Path | None, key: Path | None, as_json: bool) -> None:
    """Grade again the results in FOLDER, and write class.html and class.csv there."""
    from kit.errors import TrainingError
    from kit.training.class_page import write_class
    from kit.training.class_report import SHIFT_RULE, class_of, shift_rule

    with ShownProgress() as shown:
        made = class_of(folder, shift_rule(rule or SHIFT_RULE), key, shown, labs)
    page, rows = write_class(made, folder)
    if as_json:
        learners = [
            {
                "name": one.name,
                "labs": len(one.tries),
                "may_take_a_shift": not one.lacks,
                "lacks": one.lacks,
                "stale": one.stale,
            }
            for one in made.learners
        ]
        print_json({"page": str(page), "csv": str(rows), "learners": learners, "left_out": made.faults})
    else:
        table = table_with("learner", "labs", "may take a shift", "what is missing")
        for one in made.learners:
            add_row(table, one.name, len(one.tries), "no" if one.lacks else "yes", "; ".join(one.lacks))
        print_table(table)
        click.echo(printable(str(page)))
    if made.faults:
        raise TrainingError("; ".join(made.faults), where=str(folder), next="the page has all others")


def _as_json(made: Any) -> dict[str, Any]:
    return {
        "lab": made.lab.name, "seed": made.started.seed, "try": made.attempt, "minutes": made.minutes, "mark": made.mark, "harm": made.harm,
        "questions": [
            {
                "name": one.asked.name, "goal": one.asked.goal, "mark": one.mark, "answered": one.answered, "hints": one.hints,
                "missed": len(one.graded.missed), "wrong": len(one.graded.wrong), "harm": len(one.graded.harm),
                "unread": one.graded.unread or None, "shown": one.shown,
            }
            for one in made.questions
        ],
    }  # fmt: skip
