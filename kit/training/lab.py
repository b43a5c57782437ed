"""A lab: what it is about, which recording it works on and what is done to that. Right answers never stand in a lab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parent / "cases"
OWN_CASE = "case"
"""The folder beside a lab.toml in which a lab of one's own has its case."""
SAMPLE_CASE = Path(__file__).parents[1] / "sample" / "case"
LAB_LEVELS = {
    1: ("read one finding", "The finding and the raw rows of the evidence."),
    2: (
        "work one finding",
        "Tables and SQL of the kit. Scope, answers, brief and plan open when the questions that they answer are graded.",
    ),
    3: ("whole incident", "All of the kit."),
}
"""Level → what it is, and what a learner uses."""
USE_WHERE_DONE = "All of the kit, on an emulated account and cluster."
"""What a learner uses in a lab that is done."""


@dataclass(frozen=True)
class LabCase:
    """Which recording a lab works on and what is done to it. finding: the type of the finding that is asked about.

    as_type: the type that it gets in the lab, "" for its own. without: files and folders of evidence that are taken away.
    sample: AWS's mark of a sample finding is put into it. expected: a finding like it is put in, of a call of somebody of your own.
    decoys: another recording, after whose reads some of one's own people are put in. beside: the folder of a lab of one's own, which has its case beside it.
    """

    recording: str
    finding: str
    as_type: str = ""
    without: tuple[str, ...] = ()
    sample: bool = False
    expected: bool = False
    decoys: str = ""
    beside: Path | None = None

    @property
    def decoys_folder(self) -> Path | None:
        """Where the recording of the decoys lies."""
        return CASES / self.decoys if self.decoys else None

    @property
    def folder(self) -> Path:
        """Where the recording lies."""
        if self.beside is not None:
            return self.beside / self.recording
        return SAMPLE_CASE if self.recording == SAMPLE_CASE.parent.name else CASES / self.recording

    @property
    def finding_type(self) -> str:
        """The type that the learner sees."""
        return self.as_type or self.finding


@dataclass(frozen=True)
class Lab:
    """One lab. families: names of playbooks. prerequisites: names of labs. digest: of its file, so that a mark says what it was given for.

    stage: of the plan that is done in the lab, against the emulators; "" for a lab that is answered.
    """

    name: str
    title: str
    story: str
    level: int
    minutes: int
    families: tuple[str, ...]
    goals: tuple[str, ...]
    prerequisites: tuple[str, ...]
    questions: tuple[str, ...]
    case: LabCase
    digest: str
    stage: str = ""


def recordings() -> list[str]:
    """The names of the recordings that labs can work on."""
    return [*sorted(path.name for path in CASES.iterdir() if path.is_dir()), SAMPLE_CASE.parent.name]
