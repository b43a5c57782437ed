"""The report of a case: the notebooks run headless with the case as parameters, then joined in one page."""

from __future__ import annotations

import platform
import signal
import site
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import kit
from kit.case.display import INVENTED
from kit.case.locks import LOCKABLE, refuse_locked
from kit.case.opening import open_case
from kit.errors import WorkError
from kit.evidence.intake import Progress
from kit.model.masking import secrets_are_shown


def _notebook_folder() -> Path:
    """Where the notebooks lie: beside the package in a clone, in share/ where a wheel was installed (with --target, as usual, with --user)."""
    beside, share = Path(kit.__file__).parent.parent, Path("share", "eks-forensic-kit", "notebooks")
    places = [beside / "notebooks", beside / share, sysconfig.get_path("data") / share, site.getuserbase() / share]
    return next((place for place in places if (place / "00_triage.ipynb").is_file()), places[0])


NOTEBOOK_FOLDER = _notebook_folder()
NOTEBOOKS = tuple(sorted(path.stem for path in NOTEBOOK_FOLDER.glob("[0-4][0-9]_*.ipynb")))
"""Those of the report, by their numbers; from 50 on they are for a person alone."""


def make_report(
    case_dir: Path,
    *,
    finding: str = "",
    start: str = "",
    end: str = "",
    progress: Progress | None = None,
    notebooks: Path = NOTEBOOK_FOLDER,
) -> Path:
    """Run the notebooks on a case and write CASE/report.html; the executed notebooks stand in CASE/notebooks. Returns its path.

    finding: a finding's Id, "" for all. start, end: of the window, ISO 8601 UTC, "" for all that the audit log covers.
    progress: called with what is being done, steps done, steps in all. Raises CaseError and CallError before a kernel starts,
    WorkError when a cell raised: the report is written all the same and says where.
    """
    case = open_case(case_dir, finding, start, end)
    refuse_locked(case.path, *LOCKABLE)
    _ = case.window  # raises for one that misses the log, before a kernel starts
    _import_nbformat()
    from kit.report.notebook import Kernel, by_itself, check_parameters, run  # papermill: a second to import
    from kit.report.page import page
    from kit.report.parts import keep
    from kit.show.summary import case_facts

    tell = progress or (lambda what, done, total: None)
    parameters = {"case_dir": str(case.path.resolve()), "finding": finding, "start": start, "end": end}
    paths = [notebooks / f"{name}.ipynb" for name in NOTEBOOKS]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise WorkError(
            "no such notebook",
            where=str(missing[0] if missing else notebooks),
            next="the notebooks lie beside the package: run kit from a full clone, or install its wheel again",
        )
    for path in paths:
        check_parameters(path, parameters)
    facts = _facts(parameters)
    executed = []
    with (
        _ends_in_order(),
        tempfile.TemporaryDirectory(prefix="kit-report-") as scratch,
        Kernel(Path(scratch)) as kernel,
    ):
        for done, path in enumerate(paths):
            tell(f"running {path.stem}", done, len(paths) + 1)
            began = time.monotonic()
            executed.append(run(path, parameters, kernel))
            facts[path.name] = f"{time.monotonic() - began:.1f} s"
            keep(case.path / "notebooks" / path.name, _as_text(by_itself(executed[-1].notebook)))
    tell("joining the notebooks into one page", len(paths), len(paths) + 1)
    report = case.path / "report.html"
    title = f"{f'{INVENTED} – ' if case.is_sample else ''}Case report: {case.name}"
    keep(report, page(title, f"Case report: {case.name}", executed, facts, case_facts(case)))
    failures = [each.failure for each in executed if each.failure]
    if failures:
        more = f" (and {len(failures) - 1} more)" if failures[1:] else ""
        raise WorkError(
            f"{failures[0].says}{more}", where=failures[0].place, next=f"the report says what is missing: {report}"
        )
    return report


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """A SIGTERM ends the run as an exit does: neither its kernel nor its folder stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _import_nbformat() -> None:
    """Import it without the grammar of IRIs that jsonschema below it builds at once, two seconds: no notebook has an IRI to check."""
    grammar = "rfc3987_syntax"
    if grammar in sys.modules:
        return
    sys.modules[grammar] = None  # type: ignore[assignment]  # "is not there", to the import system
    try:
        import nbformat  # noqa: F401
    finally:
        del sys.modules[grammar]


def _as_text(notebook: object) -> str:
    import nbformat

    return str(nbformat.writes(notebook))


def _facts(parameters: dict[str, str]) -> dict[str, str]:
    packages = ("papermill", "nbconvert", "plotly", "duckdb", "pandas")
    return {
        "Made at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "Case folder": parameters["case_dir"],
        "Findings": parameters["finding"] or "all",
        "Window": f"{parameters['start'] or 'start of the audit log'} – {parameters['end'] or 'its end'}",
        "Secrets": "shown"
        if secrets_are_shown()
        else "masked as [masked DIGEST]; equal digests are equal values of this case",
        "Made with": f"kit {kit.__version__}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages),
    }
