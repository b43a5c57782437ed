"""Rows of a Parquet file. Some bytes of one can claim values for gigabytes, or bring its reader down.

So a process of its own reads each first, which may take only so much memory; rows are taken as far as it came. Source: Apache Parquet,
encodings (dictionaries, run lengths).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kit.evidence.formats.stream import BOMB_BYTES, BOMB_RATIO, Reading
from kit.evidence.record import Record, Reject

ROWS_AT_ONCE = 100
MOST_MEMORY = 512 << 20  # bytes, for the rows in hand
_SMALLEST_ROW = 1 << 10  # bytes that each counts for at least: a row may be nothing but empty cells
_OPTIONS: dict[str, Any] = {"pre_buffer": False, "buffer_size": 64 << 10}  # else all of a row group is held
# Reads a file as parquet_rows does, tells after each step how many rows it has read, and takes no more memory than that.
_TRIAL = """
import resource, sys
import pyarrow, pyarrow.parquet
path, rows_at_once, memory, smallest, most, first_only = sys.argv[1], *map(int, sys.argv[2:7])
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
pyarrow.set_cpu_count(1)
try:
    lines = open("/proc/self/status").read().splitlines()
    held = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + memory, held + memory))
except (OSError, StopIteration):
    pass  # no Linux
rows = taken = 0
with pyarrow.parquet.ParquetFile(path, **eval(sys.argv[7])) as file:
    for batch in file.iter_batches(batch_size=rows_at_once, use_threads=False):
        rows += batch.num_rows
        taken += batch.nbytes + smallest * batch.num_rows
        if taken > most:
            sys.exit(3)
        print(rows, flush=True)
        if first_only:
            break
"""
_UNFOLDS = 3  # exit code of the trial


def parquet_rows(path: Path, reading: Reading, first_only: bool = False) -> Iterator[Record | Reject]:
    """A record a row; line and item are its number. first_only: the first rows alone, to see what they are."""
    number, reason = 0, ""
    try:
        with pq.ParquetFile(path, **_OPTIONS) as file:
            safe, reason = _tried(path, first_only)
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE) if safe or not reason else ():
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    value = _jsonable(row)
                    yield Record(number, number, value, raw=json.dumps(value)[:200])
                if number >= safe:
                    break
    except (pa.ArrowException, OSError, KeyError, MemoryError) as error:
        reason = f"the Parquet file is broken after row {number} ({(str(error) or 'no reason').splitlines()[0][:200]})"
    reading.damage = reason or reading.damage


def _tried(path: Path, first_only: bool) -> tuple[int, str]:
    """How many rows of a file may be read, and why not all."""
    most = max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size)
    limits = [str(one) for one in (ROWS_AT_ONCE, MOST_MEMORY, _SMALLEST_ROW, most, first_only + 0)]
    trial = [sys.executable, "-I", "-c", _TRIAL, str(path), *limits, repr(_OPTIONS)]
    done = subprocess.run(trial, capture_output=True, check=False)  # noqa: S603 (code of our own)
    told = done.stdout.split(b"\n")[:-1]
    rows = int(told[-1]) if told else 0
    if done.returncode == _UNFOLDS:
        return rows, f"it unfolds to more than {BOMB_RATIO} times its size: a decompression bomb; the rest is not read"
    if done.returncode < 0 or b"MemoryError" in done.stderr or b"bad_alloc" in done.stderr:
        return (
            rows,
            f"what follows row {rows} takes more than {MOST_MEMORY >> 20} MiB of memory, or is broken: not read",
        )
    return rows, ""


def _jsonable(value: Any) -> Any:
    """A value of Parquet as JSON has it: without the members that are empty, times as ISO 8601 texts in UTC, bytes as text."""
    if isinstance(value, dict):
        return {str(name): _jsonable(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
