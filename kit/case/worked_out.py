"""What was worked out of a case, kept in CASE/worked_out, so that the next who opens it need not work it out again.

A case folder may come from anybody: a value is read only when its code of authentication (RFC 2104) was made with a key that lies in the
cache of whoever runs the kit, and no case has that. What does not fit, or cannot be read, is made again.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from kit.whole_file import write_whole

KIT_KEEP = "KIT_KEEP"
"""The environment's word on it: `no` keeps nothing in a case and reads nothing of it."""
WORKED_OUT = "worked_out"
_AT = "$at"  # the one member of a moment
_MOST_OF_ONE = 128 << 20  # bytes
_MOST_OF_ALL = 512 << 20
_KEY_BYTES = 32

Value = TypeVar("Value")


class WorkedOut:
    """The values of one case. choice: what they follow from, asked anew for each value, as marks may come between two."""

    def __init__(self, case: Path, choice: Callable[[], dict[str, Any]]) -> None:
        self._folder, self._choice = case / WORKED_OUT, choice

    @property
    def is_kept(self) -> bool:
        """Whether anything is kept at all."""
        return os.environ.get(KIT_KEEP) != "no" and not self._folder.is_symlink() and _key() is not None

    def value(self, name: str, make: Callable[[], Value], fits: Callable[[Value], bool] = lambda kept: True) -> Value:
        """What `make` gives, data of JSON and moments: as it was kept, where that was and fits, else made, and kept."""
        key = _key() if self.is_kept else None
        if key is None:
            return make()
        label = json.dumps([name, self._choice()], sort_keys=True, default=str).encode()
        path = self._folder / f"{hashlib.sha256(label).hexdigest()[:32]}.json"
        with suppress(OSError, ValueError, RecursionError):
            kept: Value = json.loads(_read(path, key, label), object_hook=_moment)
            if fits(kept):
                return kept
        made = make()
        try:
            text = json.dumps(made, default=_form).encode()
            again: Value = json.loads(text, object_hook=_moment)
        except (TypeError, ValueError, RecursionError):
            return made
        _write(path, _code(key, label, text) + b"\n" + text)
        return again  # the same as whoever opens it next gets


def _code(key: bytes, label: bytes, text: bytes) -> bytes:
    return hmac.new(key, b"%d %s%s" % (len(label), label, text), hashlib.sha256).hexdigest().encode()


def _read(path: Path, key: bytes, label: bytes) -> bytes:
    """The text of a kept value. Raises OSError where there is none, ValueError for what this user's kit did not write."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(opened, "rb") as file:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_OF_ONE:
            raise ValueError(path)
        code, _, text = file.read(_MOST_OF_ONE).partition(b"\n")
    if not hmac.compare_digest(code, _code(key, label, text)):
        raise ValueError(path)
    return text


def _write(path: Path, content: bytes) -> None:
    """Keep a value, whole; without a place for it the case works as well."""
    if len(content) > _MOST_OF_ONE:
        return
    try:
        write_whole(path, content)
        _make_room(path.parent)
    except OSError:
        with suppress(OSError):
            path.with_name(f"{path.name}.writing").unlink(missing_ok=True)


def _make_room(folder: Path) -> None:
    """Remove what was kept first, when there is too much."""
    with os.scandir(folder) as entries:
        files = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries if entry.name.endswith(".json")]
    left = sum(about.st_size for about, _ in files)
    for about, path in sorted(files, key=lambda one: one[0].st_mtime_ns):
        if left <= _MOST_OF_ALL:
            return
        Path(path).unlink(missing_ok=True)
        left -= about.st_size


def _form(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_AT: value.isoformat()}
    raise TypeError(f"{type(value).__name__} is not kept")


def _moment(read: dict[str, Any]) -> Any:
    return datetime.fromisoformat(read[_AT]) if read.keys() == {_AT} else read


@functools.cache
def _key() -> bytes | None:
    """The key of whoever runs the kit, made when it is asked for first; None where there is no place for one."""
    with suppress(OSError, RuntimeError):  # a home that is nowhere
        path = cache_folder() / "worked_out.key"
        if not path.exists():
            write_whole(path, secrets.token_bytes(_KEY_BYTES))
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(opened, "rb") as file:
            about, key = os.fstat(opened), file.read(_KEY_BYTES)
        is_mine = stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
        return key if is_mine and len(key) == _KEY_BYTES else None
    return None


def cache_folder() -> Path:
    """Where the kit keeps what is of use to this user alone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eks-forensic-kit"


@functools.cache
def code_digest() -> str:
    """What tells this kit's code and data from other versions', released or not."""
    package = Path(__file__).parents[1]
    every = (path for path in sorted(package.rglob("*")) if path.suffix in (".py", ".toml", ".json"))
    stamps = (f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in every)
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()
