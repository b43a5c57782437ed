"""A case is opened, or made of evidence; the sample case by its name."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from kit.case.case import Case
from kit.case.evidence import SAMPLE_EVIDENCE
from kit.case.injected import check_injected
from kit.case.worked_out import cache_folder, code_digest
from kit.errors import CallError, CaseError
from kit.model.masking import secrets_are_shown
from kit.model.window import Time
from kit.store.mask_key import mask_by_key_of
from kit.words import Names

SAMPLE = "sample"
"""What `open_case` opens the sample case by."""


def open_case(
    case_dir: str | Path = "",
    finding: str = "",
    start: Time = "",
    end: Time = "",
    baseline: Time = "",
    with_marks: bool = True,
) -> Case:
    """Open a case folder that `kit new` or `kit.new_case` made.

    case_dir: "" opens the folder in the environment's KIT_CASE; "sample" the sample case, which is invented. finding: a finding's Id, ""
    for all. start, end: the window, end excluded: ISO 8601 text, UTC where no zone is given, or a datetime; "" for all that the audit log
    covers. baseline: until when what was done counts as usual; "" for the first bad sign. with_marks: whether what people marked as the attacker's, or not,
    is followed. Raises CaseError for a folder that is no case,
    CallError for an unknown finding, a wrong window, or no case named.

    Example: case = kit.open_case("sample")
    """
    check_injected()
    given = case_dir or os.environ.get("KIT_CASE", "")
    if not given:
        raise CallError(
            "no case is named and KIT_CASE is not set",
            next='give the folder of a case, kit.open_case("case-1"); "sample" opens the sample case, which is invented',
        )
    path = _sample() if given == SAMPLE else Path(str(given))
    written = tuple(one.stat().st_mtime_ns for one in (*path.glob("store*/ledger.json"), *path.glob("marks.jsonl")))
    key = (path.resolve(), finding, start, end, baseline, with_marks, written, secrets_are_shown())
    if key not in _opened:
        made = Case(path, finding, start, end, baseline, with_marks)
        _opened.clear()
        _opened[key] = made
    mask_by_key_of(path)
    return _opened[key]


_opened = dict[tuple[Any, ...], Case]()
"""The case that was opened last, while its evidence is the same: notebooks run in one kernel, and its scope is worked out once."""


def new_case(case_dir: str | Path, evidence: str | Path | Names, cluster: str | None = None) -> Case:
    """Make a case of evidence and open it: a file, folder or glob, or a list of these. `case.ledger` says what became of each file.

    cluster: its name, where the evidence doesn't say which it is from. Raises CaseError when the folder exists or cannot be written,
    EvidenceError when a path is missing or nothing could be taken.

    Example: mine = kit.new_case("case-1", "evidence/")
    """
    from kit.evidence import intake

    given = [str(evidence)] if isinstance(evidence, str | Path) else [str(one) for one in evidence]
    for sentence in intake.load_new_case(Path(case_dir), given, cluster).says:
        says = f'{sentence} kit.new_case with cluster="NAME" makes the case with it.'
        warnings.warn(says, UserWarning, stacklevel=2)
    return open_case(case_dir)


def _sample() -> Path:
    """The folder of the sample case, made when it is asked for first: in the user's cache, else in a temporary folder."""
    from kit.evidence.intake import load_new_case

    if Path(SAMPLE).exists():
        raise CallError(
            f'"{SAMPLE}" names the sample case, and there is a {SAMPLE} here too',
            next=f"write ./{SAMPLE} for yours, or work in another folder for the sample",
        )
    for parent in (cache_folder(), Path(tempfile.gettempdir()) / f"eks-forensic-kit-{os.getuid()}"):
        folder = parent / code_digest()[:16] / SAMPLE
        if folder.is_dir():
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            load_new_case(folder, [str(SAMPLE_EVIDENCE)])
        except (OSError, CaseError):
            if folder.is_dir():  # somebody else made it meanwhile
                return folder
            continue
        return folder
    raise CaseError(
        "the sample case cannot be written", where=str(folder), next="set XDG_CACHE_HOME to a folder that can be"
    )
