"""Every error of the kit. The tree:

KitError                 what went wrong, where, and what to do next; the command line prints it as one sentence, exit code 2
├── EvidenceError        a piece of evidence cannot be read, or none of it can be taken
├── CaseError            a case folder is missing, exists already, is damaged or cannot be written
├── PlaybookError        a playbook cannot be used: a missing member, an unknown question, a finding type that stands twice
├── TrainingError        a lab, an answer file or a learner's progress cannot be used
├── CallError            the call is wrong: an unknown finding, an empty window, a parameter that does not exist
└── WorkError            the work itself failed although the input was right (a notebook cell raised); exit code 1
"""

from __future__ import annotations


class KitError(Exception):
    """An error with its place and its way out.

    what: what went wrong. where: file:line, field or parameter, which the command line shows as its flag. next: what to do now. exit_code: of the command line.
    """

    exit_code = 2

    def __init__(self, what: str, where: str = "", next: str = "") -> None:
        self.what, self.where, self.next = what, where, next
        place = f"{where}: " if where else ""
        way_out = f". {next[:1].upper()}{next[1:]}" if next else ""
        super().__init__(f"{place}{what}{way_out}")

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the sentence."""
        return [str(self)]


class EvidenceError(KitError):
    """Evidence that cannot be read, or evidence of which nothing can be taken."""


class CaseError(KitError):
    """A case folder that is missing, exists already, is damaged or cannot be written."""


class CallError(KitError):
    """A call that cannot be right: an unknown finding, an empty window, a parameter that does not exist."""


class PlaybookError(KitError):
    """A playbook that cannot be used: a missing member, an unknown question or action, a finding type that stands twice."""


class TrainingError(KitError):
    """A lab with faults, an unknown one, or a learner's folder, answers or progress that cannot be used."""


class WorkError(KitError):
    """Work that failed on good input; what was done until then is kept."""

    exit_code = 1
