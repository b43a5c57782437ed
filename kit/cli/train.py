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
@_keeps_progress
@AS_JSON
@shows_errors
def train_list(progress: Path | None, as_json: bool) -> None:
    """List the labs by level, with the best mark so far."""
    from kit.training.progress import entries_of, progress_file
    from kit.training.reading import labs

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
        for one in labs().values()
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
    """Start LAB in FOLDER: its page, its case and a file for the answers."""
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
    click.echo(
        f"{made.lab} is started with seed {made.seed}. Read {place}/{PAGE}, write into {place}/{ANSWERS}, then: kit train grade {place}"
    )


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

    made = grade_folder(folder, progress or progress_file(), answers)
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
