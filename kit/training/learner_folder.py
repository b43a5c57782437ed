"""A learner's folder: the lab as a page, the case, a file for the answers. Nothing in it tells what is right."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit import __version__
from kit.errors import TrainingError
from kit.evidence.intake import Progress, load_new_case
from kit.training.asking import asked_of
from kit.training.kinds import LabQuestion
from kit.training.lab import LAB_LEVELS, USE_WHERE_DONE, Lab
from kit.training.locking import OPEN_FROM_LEVEL, lock_case
from kit.training.material import Material
from kit.training.whole_folder import refuse_taken, writing_folder
from kit.whole_file import write_whole
from kit.words import iso, nearest

PAGE, ANSWERS, STARTED, LAB_CASE = "lab.md", "answers.toml", "started.json", "case"


@dataclass(frozen=True)
class Started:
    """What a learner's folder says of itself. lab_digest, page_digest: of the lab's file and of its page as they were; kit: the version that made it.

    path: of the folder of a lab of one's own, whose answers lie there; "" for a lab of the kit.
    """

    lab: str
    seed: int
    lab_digest: str
    page_digest: str
    kit: str
    started_at: str
    path: str = ""


def start_lab(lab: Lab, folder: Path, seed: int, progress: Progress | None = None) -> Started:
    """Make a learner's folder, whole or not at all. Raises TrainingError where something is in its place or it cannot be written."""
    refuse_taken(folder)
    material = Material(lab, seed)
    asked = asked_of(material)
    page = lab_page(lab, seed, material.finding_id, asked)
    started = Started(
        lab.name, seed, lab.digest, page_digest(page), __version__, iso(datetime.now(UTC)), str(lab.case.beside or "")
    )
    with writing_folder(folder) as (made, beside):
        material.write(beside / "evidence")
        load_new_case(made / LAB_CASE, [str(beside / "evidence")], progress=progress)
        lock_case(made / LAB_CASE, lab)
        write_whole(made / PAGE, page)
        if not lab.stage:
            write_whole(made / ANSWERS, _answer_file(lab.name, seed, asked, {}))
        write_whole(made / STARTED, json.dumps(asdict(started), indent=1) + "\n")
    return started


def started_in(folder: Path) -> Started:
    """What was started in a folder. Raises TrainingError when it is no learner's folder."""
    try:
        return Started(**json.loads((folder / STARTED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise TrainingError(
            f"no lab was started here: {STARTED} is missing or cannot be read",
            where=str(folder),
            next="`kit train start LAB FOLDER` makes such a folder",
        ) from None


def answers_in(path: Path, started: Started, asked: list[LabQuestion]) -> dict[str, Any]:
    """The answers of a file by question. Raises TrainingError with all that is wrong with the file at once."""
    try:
        read = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise TrainingError(
            f"cannot be read: {error.strerror}", where=str(path), next="name the file with --answers"
        ) from None
    except (ValueError, RecursionError) as error:
        raise TrainingError(
            f"is no TOML: {error}", where=str(path), next=f"{PAGE} shows how each answer is written"
        ) from None
    faults = [
        f"{name} is {read.get(name)!r}, and the folder was started with {value!r}"
        for name, value in (("lab", started.lab), ("seed", started.seed))
        if read.get(name) != value
    ]
    given = read.get("answers", {})
    if not isinstance(given, dict):
        faults, given = [*faults, "answers is no table"], {}
    names = [one.name for one in asked]
    faults += [
        f"answers.{name} is no question of this lab; {nearest(name, names)}" for name in given if name not in names
    ]
    faults += [f"{name} is not known here" for name in read.keys() - {"lab", "seed", "answers"}]
    if faults:
        raise TrainingError(
            "; ".join(faults), where=str(path), next="mend the file, or grade the folder that it belongs to"
        )
    return given


def page_digest(page: str) -> str:
    """The digest of a lab's page: another one means other questions or other choices."""
    return hashlib.sha256(page.encode()).hexdigest()


def lab_page(lab: Lab, seed: int, finding_id: str, asked: list[LabQuestion]) -> str:
    """The page of a lab as a learner gets it."""
    level, use = LAB_LEVELS[lab.level]
    answered = (
        f"Write the answers into `{ANSWERS}`. A question without an answer gets no mark; `kit train grade FOLDER` grades.",
        "What does harm, and a guess where nothing can be told, takes marks away.\n",
    )
    done = (
        f"Do the stage `{lab.stage}` of the plan: `kit train emulate FOLDER` opens a shell in which `kit`, `aws` and `kubectl` reach an emulated",
        "account and cluster of this case, as `kit train emulate FOLDER -- COMMAND` does for one command, such as `jupyter lab`. Plan, preview, apply,",
        "look and undo there; `kit apply --check-after 0` does not wait before it looks again. What only a person can do, and what waits for it, is counted",
        "as done with `--by-hand ID`; the plan has the ids, and is no more than a proposal: leave out what must not be done here. When the shell ends, account and cluster are looked at, and",
        "the mark is given where anything was changed. Time is kept, not marked.\n",
    )
    rows = (
        "## How to look into the case\n",
        "`kit findings case` lists the findings; `kit scope`, `kit show` and `kit brief` are locked until what they answer is graded. The finding and the rows, in Python:\n",
        "```python",
        "import kit",
        f'case = kit.open_case("{LAB_CASE}")',
        f'case.finding("{finding_id}").raw                   # the finding as GuardDuty wrote it',
        "case.tables                                        # the tables and their columns",
        'case.sql("SELECT received_at, verb, request_uri, user_name, source_address, response_code FROM audit ORDER BY 1")',
        "```\n",
        f"The files as they were given lie in `{LAB_CASE}/evidence/`. *Affected* is every pod, node and account that stands in the finding or hangs on what",
        "does: a service account in it stands for all of its pods at any time, a workload for its pods, a pod for its node.\n",
    )
    parts = [
        f"# {lab.title}\n",
        f"Lab `{lab.name}`, seed {seed}. Level {lab.level}: {level}, about {lab.minutes} minutes.\n",
        f"{lab.story}\n",
        f"The case lies in `{LAB_CASE}/`. Work on finding `{finding_id}`.\n",
        f"What you use: {USE_WHERE_DONE if lab.stage else use}\n",
        "## Goals\n",
        *(f"* {goal}" for goal in lab.goals),
        "",
        *(rows if lab.level < OPEN_FROM_LEVEL and not lab.stage else ()),
        f"## {'What is looked at' if lab.stage else 'Questions'}\n",
        *(done if lab.stage else answered),
    ]
    for number, one in enumerate(asked, 1):
        parts += [f"### {number}. {one.name}\n", f"{one.text}\n", *one.lines, ""]
        parts += [] if lab.stage else [f"Answer: {one.form}\n"]
    return "\n".join(parts)


def keep_answers(folder: Path, started: Started, asked: list[LabQuestion], answers: dict[str, Any]) -> None:
    """Write answers into the learner's folder. Raises TrainingError where they cannot be written; then the old ones stand."""
    try:
        write_whole(folder / ANSWERS, _answer_file(started.lab, started.seed, asked, answers))
    except OSError as error:
        raise TrainingError(
            f"the answers cannot be written: {error.strerror}", where=str(folder / ANSWERS), next="free the disk"
        ) from None


def _answer_file(lab: str, seed: int, asked: list[LabQuestion], answers: dict[str, Any]) -> str:
    lines = [f'lab = "{lab}"', f"seed = {seed}", "", "[answers]"]
    for one in asked:
        given = f"{one.name} = {_toml(answers[one.name])}" if one.name in answers else f"# {one.name} ="
        lines += [f"# {one.text}", f"# {one.form}", given, ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A text, a list or a table as TOML, in one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
