"""Cases that tests share: each is made once from its evidence, by this code, for all workers and for the next run.

A shared case is for reading. Who writes to one, and `kit plan`, `mark` and `report` do, takes a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from kit.training.variation import DAEMON_SETS, enforcing
from kit.whole_file import write_whole
from tests.command import kit, kit_json

ROOT = Path(__file__).parents[1]
_kept_in = list[Path]()  # below pytest's cache where there is one (tests/conftest.py)
_handed_out = dict[Path, list[Any]]()
_HOUR = 3600  # s; a run with other code, which may be going on, keeps its cases


def shared(*evidence: Path, without: tuple[str, ...] = ("ground_truth.json",), enforced: bool = False) -> Path:
    """A case of the evidence, not to be written to. without: names of files that are left out of folders. enforced: whether the dump is of
    a cluster that enforces network policies, which those of the recordings do not."""
    place = _folder() / code() / f"{_key(evidence, without)}{'-enforced' if enforced else ''}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.exists() and json.loads((place / "made.json").read_text()) != _listed(place / "case"):
            shutil.rmtree(place)  # a run that was ended wrote to it
        if not place.exists():
            _make(place, evidence, without, enforced)
    _handed_out.setdefault(place / "case", _listed(place / "case"))
    return place / "case"


def copied(to: Path, *evidence: Path, enforced: bool = False) -> Path:
    """A case of the evidence of one's own, to write to."""
    shutil.copytree(shared(*evidence, enforced=enforced), to)
    return to


def printed(command: str, *arguments: str, of: Path) -> Any:
    """What a command prints as JSON about a shared case, run once for all who only look at it."""
    assert of in _handed_out, "a case of one's own may change"
    return json.loads(_once(of, command, *arguments))


def planned(evidence: Path, *options: str, enforced: bool = False) -> Any:
    """What `kit plan` prints as JSON of a case of the evidence, run once for all who only look at it."""
    return json.loads(_once(shared(evidence, enforced=enforced), "plan", *options))


@cache
def _once(case: Path, command: str, *arguments: str) -> str:
    """What a command prints of a shared case, kept beside it, so that other workers need not run it."""
    kept = case.parent / "printed" / f"{_digest_of(command, *arguments)}.json"
    kept.parent.mkdir(exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            write_whole(kept, _now(case, command, *arguments).encode())
        return kept.read_text()


def _now(case: Path, command: str, *arguments: str) -> str:
    """What a command prints of a shared case; a plan, which is kept in its case, is made in a copy."""
    with tempfile.TemporaryDirectory(dir=case.parent, prefix="copy-") as folder:
        of = Path(shutil.copytree(case, Path(folder, "case"))) if command == "plan" else case
        return json.dumps(kit_json(command, of, *arguments, anew=False))


def written_to(*, thoroughly: bool) -> list[Path]:
    """The shared cases that somebody wrote to: a look at their top folders, or at each file. They are thrown away."""
    changed = []
    for case, before in _handed_out.items():
        now = _listed(case) if thoroughly else _top(case)
        if now != (before if thoroughly else [one for one in before if "/" not in one[0]]):
            changed.append(case)
    for case in changed:
        shutil.rmtree(case.parent, ignore_errors=True)  # another worker may have seen it too
        del _handed_out[case]
    return changed


def keep_in(folder: Path, *, prune: bool) -> None:
    """Keep cases in this folder. prune: what other code made is removed."""
    _kept_in[:] = [folder]
    for made in folder.iterdir() if prune else ():
        if made.name != code() and time.time() - made.stat().st_mtime > _HOUR:
            shutil.rmtree(made)


@cache
def _of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kit-cases-")


def _folder() -> Path:
    return _kept_in[0] if _kept_in else Path(_of_this_process().name)


def _make(place: Path, evidence: tuple[Path, ...], without: tuple[str, ...], enforced: bool) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="making-") as scratch:
        given = []
        for one in evidence:
            given.append(Path(scratch, "given", one.name) if one.is_dir() else one)
            if one.is_dir():
                shutil.copytree(one, given[-1], ignore=shutil.ignore_patterns(*without))
                dump = given[-1] / DAEMON_SETS
                if enforced and dump.exists():
                    dump.write_text(enforcing(DAEMON_SETS, dump.read_text()))
        made = Path(scratch, "made")
        done = kit("new", made / "case", *given)
        assert done.returncode == 0, done.stderr
        (made / "made.json").write_text(json.dumps(_listed(made / "case")))
        made.rename(place)


@cache
def code() -> str:
    """A digest of all that a case depends on but its evidence."""
    files = [path for path in sorted((ROOT / "kit").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return _digest((str(path.relative_to(ROOT)), path) for path in [*files, ROOT / "requirements.lock"])


def _key(evidence: tuple[Path, ...], without: tuple[str, ...]) -> str:
    every = []
    for number, one in enumerate(evidence):
        inside = sorted(path for path in one.rglob("*") if path.is_file()) if one.is_dir() else [one]
        every += [(f"{number}/{path.relative_to(one.parent)}", path) for path in inside if path.name not in without]
    return _digest(every)


def _digest_of(*words: str) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]


def _digest(files: Any) -> str:
    made = hashlib.sha256()
    for name, path in files:
        made.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return made.hexdigest()[:32]


def _listed(case: Path) -> list[Any]:
    """What lies in a case, with sizes and times."""
    return sorted(_stamp(case, path) for path in case.rglob("*"))


def _top(case: Path) -> list[Any]:
    return sorted(_stamp(case, path) for path in case.glob("*"))


def _stamp(case: Path, path: Path) -> list[Any]:
    about = path.stat()
    return [str(path.relative_to(case)), about.st_size, about.st_mtime_ns]
