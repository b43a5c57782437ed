"""Labs in JupyterLab: pick one, answer question by question, get marks, what to read next and a file with the results."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from kit.errors import KitError
from kit.plan.suppression import FIELDS
from kit.show.html_table import safe
from kit.training.about_findings import Filtered
from kit.training.grading import LAST_WITH_HINTS, LabMark, grade_folder, keep_start, next_hint, work_in
from kit.training.kinds import FiveSentences, LabQuestion, Matched, Ordered, Picked
from kit.training.learner_folder import ANSWERS, LAB_CASE, PAGE, answers_in, keep_answers, start_lab
from kit.training.progress import entries_of, progress_file
from kit.training.reading import lab_named, labs
from kit.training.results import write_results

CERTIFICATE = "certificate.json"
_SEEDS = 100_000
_WIDE, _HALF = widgets.Layout(width="900px"), widgets.Layout(width="450px")
_MOST_FIELDS = 8  # of a filter that is written in the notebook


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
            self._work.children = [_Sheet(folder, self._progress, self._draw).box]
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
        lines = Markup("").join(
            Markup("<li style='list-style:none'>{}</li>").format(safe(line.removeprefix("* "))) for line in one.lines
        )
        text = Markup("<h4>{} of {}: {}</h4><p>{}</p><ul>{}</ul>").format(
            self._number + 1, len(self._asked), one.name, one.text, lines
        )
        picker, self._answer = _picker(one, self._answers.get(one.name))
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


def _picker(one: LabQuestion, answer: Any) -> tuple[widgets.Widget, Callable[[], Any]]:
    """What a question is answered with, and what gives the answer."""
    if isinstance(one, Picked) and one.choices:
        chosen = {
            letter: widgets.ToggleButton(
                description=letter, value=letter in (answer or ()), layout=widgets.Layout(width="50px")
            )
            for letter in one.choices
        }
        return widgets.HBox(list(chosen.values())), lambda: [
            letter for letter, button in chosen.items() if button.value
        ]
    if isinstance(one, Picked):
        names = sorted(one.among)
        known = tuple(name for name in answer or () if name in names)
        listed = widgets.SelectMultiple(options=names, value=known, rows=min(15, len(names) or 1), layout=_WIDE)
        return listed, lambda: list(listed.value)
    if isinstance(one, Matched):
        given = answer if isinstance(answer, dict) else {}
        options = [("–", ""), *((option, option) for option in one.options)]
        drops = {
            key: widgets.Dropdown(
                options=options, description=key, value=given.get(key) if given.get(key) in one.options else ""
            )
            for key in one.items
        }
        return widgets.VBox(list(drops.values())), lambda: {
            key: drop.value for key, drop in drops.items() if drop.value
        }
    if isinstance(one, Filtered):
        return _criterion(answer if isinstance(answer, dict) else {})
    kind = widgets.Text if isinstance(one, Ordered) else widgets.Textarea
    shown = ", ".join(answer) if isinstance(answer, list) else answer or ""
    text = kind(value=shown, placeholder="c, a, b" if isinstance(one, Ordered) else "", layout=_WIDE)
    if isinstance(one, FiveSentences):
        return text, lambda: text.value
    return text, lambda: [letter.strip() for letter in text.value.split(",") if letter.strip()]


def _criterion(given: dict[str, Any]) -> tuple[widgets.Widget, Callable[[], Any]]:
    """A filter as fields with their values: a field is picked, its value is typed."""
    rows = [
        (
            widgets.Dropdown(options=["", *sorted(FIELDS)], value=field if field in FIELDS else "", layout=_HALF),
            widgets.Text(value=value if isinstance(value, str) else ", ".join(value), layout=_HALF),
        )
        for field, value in [*given.items(), *[("", "")] * max(0, _MOST_FIELDS - len(given))]
    ]
    return widgets.VBox([widgets.HBox(row) for row in rows]), lambda: {
        field.value: [value.strip() for value in text.value.split(",")] for field, text in rows if field.value
    }


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
