"""Labs in JupyterLab: pick one, answer question by question, get marks, what to read next and a file with the results."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from kit.errors import KitError
from kit.show.html_table import safe
from kit.training.grading import LAST_WITH_HINTS, LabMark, grade_folder, keep_start, next_hint, work_in
from kit.training.kinds import Picked
from kit.training.lab import Lab
from kit.training.learner_folder import ANSWERS, LAB_CASE, PAGE, answers_in, keep_answers, start_lab
from kit.training.pickers import picker_of
from kit.training.progress import entries_of, progress_file
from kit.training.reading import lab_named, labs
from kit.training.results import write_results

CERTIFICATE = "certificate.json"
_SEEDS = 100_000
_WIDE = widgets.Layout(width="900px")


def labs_to_do(progress: str = "") -> widgets.Widget:
    """The labs with their state and marks; one is picked, and worked below. progress: a file of one's own for what was done."""
    return _Labs(Path(progress) if progress else progress_file()).box


class _Labs:
    def __init__(self, progress: Path) -> None:
        self._progress = progress
        self._table, self._says, self._work = widgets.HTML(), widgets.HTML(), widgets.VBox()
        self._lab = widgets.Dropdown(options=list(labs()), description="Lab", layout=_WIDE)
        self._seed = widgets.Text(description="Seed", placeholder="any", layout=_WIDE)
        button = widgets.Button(description="Open the lab", button_style="primary")
        button.on_click(self._opened)
        self.box = widgets.VBox([self._table, self._lab, self._seed, button, self._says, self._work])
        with _told(self._says):
            self._draw()

    def _draw(self) -> None:
        entries = entries_of(self._progress)
        rows = []
        for one in labs().values():
            own = [entry for entry in entries if entry["lab"] == one.name]
            marks = [entry["mark"] for entry in own if entry["kind"] == "graded"]
            state = "graded" if marks else "started" if own else "new"
            rows.append((one.name, one.title, one.level, one.minutes, state, max(marks, default="")))
        self._table.value = _table(("lab", "title", "level", "minutes", "state", "best mark"), rows)

    def _opened(self, pressed: Any) -> None:
        with _told(self._says):
            lab, given = lab_named(self._lab.value), self._seed.value.strip()
            started = [
                one["seed"] for one in entries_of(self._progress) if (one["lab"], one["kind"]) == (lab.name, "started")
            ]
            seed = int(given) if given.isdecimal() else (started or [secrets.randbelow(_SEEDS) + 1])[-1]
            folder = self._progress.parent / "labs" / f"{lab.name}-{seed}"
            if not folder.exists():
                self._says.value = "The case of the lab is made; this takes some seconds."
                keep_start(start_lab(lab, folder, seed), self._progress)
            sheet = widgets.HTML(_done_in(lab, folder)) if lab.stage else _Sheet(folder, self._progress, self._draw).box
            self._work.children, self._says.value = [sheet], ""
            self._draw()


class _Sheet:
    """One lab, question by question; what is answered is kept in its folder at once."""

    def __init__(self, folder: Path, progress: Path, graded: Callable[[], None]) -> None:
        self._folder, self._progress, self._graded = folder, progress, graded
        self._started, self._lab, self._asked = work_in(folder)
        self._answers = answers_in(folder / ANSWERS, self._started, self._asked)
        self._number = 0
        self._answer: Callable[[], Any] = dict
        self._says, self._place, self._marks = widgets.HTML(), widgets.VBox(), widgets.VBox()
        buttons = {
            "Back": self._back,
            "Keep the answer": self._keep,
            "Next": self._next,
            "Hint": self._hint,
            "Grade": self._grade,
        }
        row = []
        for word, does in buttons.items():
            if word != "Hint" or self._lab.level <= LAST_WITH_HINTS:
                button = widgets.Button(description=word)
                button.on_click(does)
                row.append(button)
        head = Markup(
            "<h3>{}</h3><p>{}</p><p>The case: <code>{}</code>. The page with all questions: <code>{}</code>.</p>"
        ).format(self._lab.title, self._lab.story, folder / LAB_CASE, folder / PAGE)
        self.box = widgets.VBox([widgets.HTML(head), self._place, widgets.HBox(row), self._says, self._marks])
        self._ask()

    def _ask(self) -> None:
        one = self._asked[self._number]
        printed = [] if isinstance(one, Picked) else one.lines  # choices stand beside their buttons
        lines = Markup("").join(
            Markup("<li style='list-style:none'>{}</li>").format(safe(line.removeprefix("* ").strip("`")))
            for line in printed
        )
        text = Markup("<h4>{} of {}: {}</h4><p>{}</p><ul>{}</ul>").format(
            self._number + 1, len(self._asked), one.name, one.text, lines
        )
        picker, self._answer = picker_of(one, self._answers.get(one.name), self._folder / LAB_CASE)
        kept = widgets.HTML("Kept." if one.name in self._answers else "Not answered yet.")
        self._place.children = [widgets.HTML(text), picker, kept]
        self._says.value = ""

    def _back(self, pressed: Any) -> None:
        self._number = max(0, self._number - 1)
        self._ask()

    def _next(self, pressed: Any) -> None:
        self._number = min(len(self._asked) - 1, self._number + 1)
        self._ask()

    def _keep(self, pressed: Any) -> None:
        with _told(self._says):
            one = self._asked[self._number]
            answers = self._answers | {one.name: self._answer()}
            keep_answers(self._folder, self._started, self._asked, answers)
            self._answers = answers
            self._ask()

    def _hint(self, pressed: Any) -> None:
        with _told(self._says):
            self._says.value = str(safe(next_hint(self._folder, self._asked[self._number].name, self._progress)[0]))

    def _grade(self, pressed: Any) -> None:
        with _told(self._says):
            made = grade_folder(self._folder, self._progress)
            self._marks.children = [widgets.HTML(_page_of(made)), self._certificate()]
            self._graded()

    def _certificate(self) -> widgets.Widget:
        name = widgets.Text(description="Your name", layout=_WIDE)
        key = widgets.Text(description="Key file", placeholder="none: the results are not signed", layout=_WIDE)
        button, says = widgets.Button(description="Write the certificate"), widgets.HTML()

        def write(pressed: Any) -> None:
            with _told(says):
                path = self._folder / CERTIFICATE
                digest = write_results(
                    path, name.value, entries_of(self._progress), Path(key.value) if key.value else None
                )
                says.value = Markup("Written: <code>{}</code>, digest <code>{}</code>.").format(path, digest)

        button.on_click(write)
        return widgets.VBox([name, key, button, says])


def _done_in(lab: Lab, folder: Path) -> str:
    """How a lab is done that is not answered: in a shell, or in notebooks that are opened from it."""
    said = Markup(
        "<h3>{}</h3><p>{}</p><p>This lab is done, not answered. Read <code>{}</code>, then type in a terminal:</p>"
        "<p><code>{}</code></p><p>In the notebooks that this opens, 60_remediation plans, previews, applies and undoes; <code>case_dir</code> is"
        " <code>{}</code>. The mark is given when JupyterLab is shut down there.</p>"
    )
    command = shlex.join(["kit", "train", "emulate", str(folder), "--", "jupyter", "lab"])
    return str(said.format(lab.title, lab.story, folder / PAGE, command, folder / LAB_CASE))


def _page_of(made: LabMark) -> str:
    """Marks by question and by goal, what was missed from the second try on, and what to read next."""
    by_goal = dict[str, list[int]]()
    for one in made.questions:
        by_goal.setdefault(one.asked.goal, []).append(one.mark)
    rows = [
        (one.asked.name, one.mark, len(one.graded.missed), len(one.graded.wrong), len(one.graded.harm), one.hints,
         one.graded.unread or ("" if one.answered else "no answer"))
        for one in made.questions
    ]  # fmt: skip
    parts = [
        Markup("<h3>Mark {} of 100, try {}, {} minutes{}</h3>").format(
            made.mark, made.attempt, made.minutes, f", {made.harm} that would do harm" if made.harm else ""
        ),
        _table(("question", "mark", "missed", "wrong", "harm", "hints", "note"), rows),
        Markup("<h4>By goal</h4>"),
        _table(("goal", "mark"), ((goal, round(sum(marks) / len(marks))) for goal, marks in by_goal.items())),
    ]
    shown = [(one.asked.name, says) for one in made.questions for says in one.shown.values()]
    parts += (
        [Markup("<h4>The evidence of what was missed</h4>"), _table(("question", "evidence"), shown)] if shown else []
    )
    read = ", ".join(f"docs/finding-types/{family}.md" for family in made.lab.families)
    parts.append(Markup("<p>Read next: {}.</p>").format(read))
    return str(Markup("").join(parts))


def _table(head: tuple[str, ...], rows: Any) -> Markup:
    cells = Markup("").join(Markup("<th>{}</th>").format(one) for one in head)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(safe(str(one))) for one in row))
        for row in rows
    )
    return Markup("<table class='kit-labs'><tr>{}</tr>{}</table>").format(cells, body)


@contextmanager
def _told(place: widgets.HTML) -> Iterator[None]:
    """An error of the kit as its sentence."""
    place.value = ""
    try:
        yield
    except KitError as error:
        place.value = Markup("<b>{}</b>").format(safe(str(error)))
