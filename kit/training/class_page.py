"""The class as one page and as a CSV file, a try a row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from kit import __version__
from kit.case.frames import frame_of
from kit.errors import TrainingError
from kit.exports.csv_file import write_csv
from kit.show.html_table import safe
from kit.training.class_report import ClassReport
from kit.whole_file import write_whole
from kit.words import Names

_MOST_WRONG = 3
_COLUMNS = ("learner", "lab", "seed", "at", "mark", "harm", "minutes", "kit", "lab_digest")
_STYLE = Markup(
    "<style>body{font:15px sans-serif;margin:2em;max-width:1100px}table{border-collapse:collapse;margin:0 0 2em}td,th{border:1px solid #bbb;padding:4px 8px;text-align:left;vertical-align:top}th{background:#eee}</style>"
)


def write_class(report: ClassReport, folder: Path) -> tuple[Path, Path]:
    """Write the page and the CSV file into a folder, and give where they are. Raises TrainingError where they cannot be written."""
    page, rows = folder / "class.html", folder / "class.csv"
    tries = [{"learner": one.name, **entry} for one in report.learners for entry in one.tries]
    try:
        write_whole(page, str(class_page(report)) + "\n")
        write_csv(frame_of([{name: entry.get(name) for name in _COLUMNS} for entry in tries], list(_COLUMNS)), rows)
    except OSError as error:
        raise TrainingError(
            f"cannot be written: {error.strerror}", where=str(folder), next="make the folder writable"
        ) from None
    return page, rows


def class_page(report: ClassReport) -> Markup:
    """The page of a class, one HTML file that needs no network."""
    parts = [
        Markup("<h1>Class</h1><p>{:%Y-%m-%d %H:%M} UTC, kit {}. Only the first try of a lab with a seed counts.</p>").format(
            datetime.now(UTC), __version__
        ),
        Markup("<h2>Who may take a shift</h2>"),
        _table(
            ("learner", "labs", "mean mark", "with harm", "may take a shift", "what is missing", "stale passes"),
            (
                (one.name, len(one.tries), _mean([entry["mark"] for entry in one.tries]), sum(bool(entry["harm"]) for entry in one.tries),
                 "no" if one.lacks else "yes", "; ".join(one.lacks), ", ".join(one.stale))
                for one in report.learners
            ),
        ),
        Markup("<h2>By goal</h2>"),
        _table(("goal", "answers", "mean mark"), ((goal, len(marks), _mean(marks)) for goal, marks in _lowest(report.goals))),
        Markup("<h2>By question</h2><p>A wrong answer that many give may be the playbook's fault: mend its text.</p>"),
        _table(
            ("question", "answers", "mean mark", "common wrong answers"),
            (
                (name, len(marks), _mean(marks), "; ".join(f"{text} ({number})" for text, number in _common(report, name)))
                for name, marks in _lowest(report.questions)
            ),
        ),
    ]  # fmt: skip
    if report.faults:
        parts += [Markup("<h2>Left out</h2>"), _table(("file and fault",), ((one,) for one in report.faults))]
    head = Markup("<!doctype html><html lang=en><meta charset=utf-8><title>Class</title>") + _STYLE
    return head + Markup("").join(parts)


def _common(report: ClassReport, name: str) -> list[tuple[str, int]]:
    found = report.wrong.get(name)
    return found.most_common(_MOST_WRONG) if found else []


def _lowest(marks: dict[str, list[int]]) -> list[tuple[str, list[int]]]:
    return sorted(marks.items(), key=lambda one: (_mean(one[1]), one[0]))


def _mean(marks: list[int]) -> int:
    return round(sum(marks) / len(marks)) if marks else 0


def _table(head: Names, rows: Iterable[Iterable[object]]) -> Markup:
    cells = Markup("").join(Markup("<th>{}</th>").format(safe(one)) for one in head)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(safe(one)) for one in row))
        for row in rows
    )
    return Markup("<table><tr>{}</tr>{}</table>").format(cells, body)
