"""When a notebook ends early and on purpose, and what it says then."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.questions.verdict import Verdict

_BRANCH_WORDS = {"introduced": "new image"}


class StopNotebook(Exception):
    """Ends a notebook early and on purpose: what follows would mean nothing. Not an error."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def stop_of_branch(kinds: tuple[str, ...], verdict: Verdict, has_finding: bool) -> StopNotebook:
    """Why the branch on these kinds of subject ends, of which the scope has none. verdict: on the first of the kinds."""
    from kit.model.why import collecting_words
    from kit.questions.verdict import CANNOT_TELL

    if not has_finding:
        return StopNotebook("This branch does not apply: there is no finding in this case.")
    word = " or ".join(_BRANCH_WORDS.get(kind, kind) for kind in kinds)
    if verdict.word == CANNOT_TELL:
        first = verdict.limits[0]
        return StopNotebook(
            f"Whether any {word} is affected cannot be told: {first.says}. To be able to tell, collect {collecting_words(first.collect, first.otherwise)}."
        )
    return StopNotebook(f"This branch does not apply: no {word} is in the scope of these findings.")


def stop_of_sample() -> StopNotebook:
    """Why a notebook on nothing but AWS's sample findings ends."""
    return StopNotebook("Sample finding: AWS made it for practice, and nothing in it exists. Nothing to investigate.")
