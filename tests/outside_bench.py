"""The way in, measured from outside: whole processes on one log, in CPU seconds and peak memory; nothing here is the kit's.

python -m tests.outside_bench [--megabytes 250] [--runs 3] [--json FILE]

The log is a recording repeated, with later times and ids of its own in each turn. DuckDB is written as a user would write it: typed columns, zstd Parquet.
"""

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "kit/sample/case/audit.jsonl.gz"
TIME = re.compile(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
USER = "STRUCT(username VARCHAR, uid VARCHAR, groups VARCHAR[], extra JSON)"
OBJECT = "STRUCT(resource VARCHAR, namespace VARCHAR, name VARCHAR, uid VARCHAR, apiGroup VARCHAR, apiVersion VARCHAR, subresource VARCHAR)"
COLUMNS = (
    dict.fromkeys(("kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "userAgent"), "VARCHAR")
    | {"user": USER, "impersonatedUser": USER, "sourceIPs": "VARCHAR[]", "objectRef": OBJECT}
    | dict.fromkeys(("responseStatus", "requestObject", "responseObject", "annotations"), "JSON")
    | dict.fromkeys(("requestReceivedTimestamp", "stageTimestamp"), "TIMESTAMPTZ")
)
READ = f"read_json('LOG', format = 'newline_delimited', columns = {COLUMNS})"
PYTHON = {
    "DuckDB": f"import duckdb; duckdb.execute(\"COPY (SELECT * FROM {READ}) TO 'FOLDER/out.parquet' (FORMAT parquet, COMPRESSION zstd)\")",
    "pandas": "import pandas; pandas.read_json('LOG', lines=True)",
    "json.loads": "import gzip, json\nfor line in gzip.open('LOG'): json.loads(line)",
    "floor": "import gzip\nfor line in gzip.open('LOG'): pass",
}
ONCE = {"pandas"}
"""A run of it takes longer than those of all others together, and its time is told, not judged."""


def later(by: timedelta, found: re.Match[bytes]) -> bytes:
    """A time of the log, moved."""
    return (datetime.fromisoformat(found[0].decode()) + by).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def written(log: Path, megabytes: int) -> tuple[int, int]:
    """Write a log of that many MB of JSON; its bytes and events."""
    lines, size, count = gzip.decompress(RECORDED.read_bytes()).splitlines(keepends=True), 0, 0
    with gzip.open(log, "wb", compresslevel=1) as file:
        while size < megabytes * 1_000_000:
            turn, number = divmod(count, len(lines))
            line = re.sub(rb'"auditID":"[0-9a-f]{8}', b'"auditID":"%08x' % turn, lines[number], count=1)
            line = TIME.sub(partial(later, timedelta(hours=turn)), line)
            size, count = (
                size + file.write(line.replace(b'"resourceVersion":"', b'"resourceVersion":"%d' % (count + 1))),
                count + 1,
            )
    return size, count


def place(places: dict[str, str], found: re.Match[str]) -> str:
    """What stands for a place in a command."""
    return places[found[0]]


def measured(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a process and its children, run to the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[:3]} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def main() -> None:
    """Run each in turn, as often as asked; print and write the medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.outside_bench")
    parser.add_argument("--megabytes", type=int, default=250, help="of JSON (250)")
    parser.add_argument(
        "--runs", type=int, default=3, help=f"of each, but one of {', '.join(ONCE)}; the median counts (3)"
    )
    parser.add_argument("--without", nargs="*", default=[], help="what is left out, as pandas")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder, log = Path(made), Path(made) / "audit.jsonl.gz"
        size, events = written(log, given.megabytes)
        seen = dict[str, list[tuple[float, float]]]()
        commands = {"kit": [str(Path(sys.executable).with_name("kit")), "new", "CASE", "LOG"]}
        commands |= {name: [sys.executable, "-c", code] for name, code in PYTHON.items() if name not in given.without}
        for run in range(given.runs):
            places = {"LOG": str(log), "FOLDER": made, "CASE": str(folder / f"case-{run}")}
            for name, command in commands.items():
                if run and name in ONCE:
                    continue
                filled = [re.sub("LOG|FOLDER|CASE", partial(place, places), word) for word in command]
                seen.setdefault(name, []).append(measured(filled))
    cpu = {name: statistics.median(run[0] for run in runs) for name, runs in seen.items()}
    print(f"{size / 1e6:.0f} MB of JSON, {events:,} events, {given.runs} runs ({', '.join(ONCE)}: 1), medians")
    for name, runs in seen.items():
        ratio, peak = cpu[name] / cpu["DuckDB"], max(run[1] for run in runs)
        print(
            f"{name:<12}{cpu[name]:8.2f} CPU s {size / 1e6 / cpu[name]:6.1f} MB/CPU s {ratio:6.2f} x DuckDB {peak:6.0f} MB"
        )
    if given.json:
        table = {
            name: {"cpu_seconds": cpu[name], "megabytes": max(run[1] for run in runs)} for name, runs in seen.items()
        }
        given.json.write_text(json.dumps({"bytes": size, "events": events, "measured": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
