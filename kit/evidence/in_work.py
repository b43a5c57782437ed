"""A case folder in work: by one call at a time, and with one sentence when the disk refuses."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from kit.errors import CaseError
from kit.evidence.gather import exists
from kit.whole_file import for_owner_alone

LOCK, INPUTS = "in-work", "inputs.json"
FIRST_MADE = (LOCK, f"{INPUTS}.writing")  # what a call makes before it writes down what it was given


@contextmanager
def writing(partial: Path) -> Iterator[None]:
    """Errors of the disk as one sentence with its way out; what is made is for its owner alone."""
    try:
        with for_owner_alone():
            yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        way_out = "choose a folder that can be written to"
        if exists(partial / INPUTS):
            way_out = "when it can be written to, the same command goes on from there"
        raise CaseError(f"cannot be written: {reason}", where=str(partial), next=way_out) from error


@contextmanager
def alone(partial: Path) -> Iterator[None]:
    """Hold the partial case, so that two calls do not work on it at once."""
    lock = os.open(partial / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    with os.fdopen(lock, "r+b"):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(lock).st_nlink:  # the call that held it ended in between, and a third may hold the next
                raise BlockingIOError
        except BlockingIOError:
            raise CaseError(
                "another call of kit is working on this case", where=str(partial), next="wait for it, or end it"
            ) from None
        try:
            yield
        finally:
            (partial / LOCK).unlink(missing_ok=True)
