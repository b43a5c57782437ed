"""A case that an older kit made is loaded again from its own evidence, into a new store that takes the place of the old one at once.

The new store is made beside the old one. case.toml, which names the store that counts, is written last and whole: until then the case is
as it was, and the same call after a crash goes on or starts again. Evidence, marks, plan and journal are not touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from kit.errors import EvidenceError, KitError
from kit.evidence.gather import Given
from kit.evidence.in_work import alone, writing
from kit.evidence.intake import Addition, Loaded, Progress
from kit.evidence.raw import evidence_file
from kit.store import settings
from kit.store.ledger import LedgerEntry, ledger_of
from kit.store.settings import Settings, case_toml, settings_of, settings_of_any_format, stores_of
from kit.whole_file import write_whole

WORK = "upgrade"  # the folder in the case in which the new store is made


def upgrade_case(case: Path, progress: Progress | None = None) -> Loaded:
    """Load a case's own evidence again when an older kit made its store; its ledger is empty when there was nothing to do.

    Raises EvidenceError when evidence is not as the ledger has it, CaseError for the case of a newer kit; then nothing is changed.
    """
    with writing(case / WORK):
        settings_of_any_format(case)
        with alone(case):
            was = settings_of_any_format(case)
            if not was.is_older:
                settings_of(case)
                _remove_what_does_not_count(case, was.store)
                return Loaded(case, [], [f"{case} is up to date: its store has format {was.format}"])
            try:
                made = _loaded_again(case, was, progress)
            except KitError:
                shutil.rmtree(case / WORK, ignore_errors=True)
                raise
            _swap(case)
    return made


def _loaded_again(case: Path, was: Settings, progress: Progress | None) -> Loaded:
    """The new store and its settings, in the folder of work."""
    before = [LedgerEntry(**one) for one in ledger_of(case, was.store)["files"]]
    taken = {one.path: one.sha256 for one in before if one.taken_as and not _archive_of(one, before)}
    given = [Given(case / "evidence" / path, path) for path in taken]
    for one in given:
        if not evidence_file(case, one.name).is_file():
            raise EvidenceError(
                "is not there any more, although the ledger has it",
                where=str(one.path),
                next="put the original back; nothing of the case is changed until then",
            )
    work = case / WORK
    work.mkdir(exist_ok=True)
    if not (work / "evidence").is_symlink():
        (work / "evidence").symlink_to(Path("..", "evidence"))
    told = was.cluster if was.cluster_told else None
    made = Addition(work, given, told, progress, stands=False, hashes=taken).run()
    ledger = ledger_of(work)
    files = list(_merged(before, {one.path: one for one in made.ledger}))
    write_whole(
        work / "store" / "ledger.json", json.dumps(ledger | {"files": [asdict(one) for one in files]}, indent=1)
    )
    return Loaded(case, files, made.says)


def _archive_of(entry: LedgerEntry, ledger: list[LedgerEntry]) -> LedgerEntry | None:
    """The archive that a file of the ledger is in."""
    return next((one for one in ledger if one.taken_as == "archive" and entry.path.startswith(f"{one.path}/")), None)


def _merged(before: list[LedgerEntry], now: dict[str, LedgerEntry]) -> Iterator[LedgerEntry]:
    """The ledger in its order: what was loaded anew with what is in it, and what was not taken then."""
    for entry in before:
        if entry.taken_as == "archive":
            yield now[entry.path]
            yield from (one for one in now.values() if one.path.startswith(f"{entry.path}/"))
        elif not _archive_of(entry, before):
            yield now.get(entry.path, entry)


def _swap(case: Path) -> None:
    """Let the new store count instead of the old one, which goes."""
    work, store = case / WORK, case / f"store-{settings.FORMAT}"
    now = replace(settings_of(work), store=store.name)
    shutil.rmtree(store, ignore_errors=True)  # a call that was cut off here has left it
    (work / "store").rename(store)
    write_whole(case / "case.toml", case_toml(now))
    _remove_what_does_not_count(case, store.name)


def _remove_what_does_not_count(case: Path, store: str) -> None:
    for path in [*(one for one in stores_of(case) if one.name != store), case / WORK]:
        shutil.rmtree(path, ignore_errors=True)
