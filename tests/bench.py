"""The benchmark of the way in: a long audit log, made by repeating a recording with shifted times and new ids.

Says the peak of resident memory, which must stay under 1 GB, and the speed as ratios within this run: against Python's own
json module over the same lines, which only parses, and against the line reader, which a damaged file falls back to.

    python -m tests.bench --lines 1000000
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psutil
from isal import igzip

from tests.command import KIT, SAMPLE

LIMIT_MEGABYTES = 1000
_TIME = re.compile(rb'"(requestReceivedTimestamp|stageTimestamp)":"([^"]+)"')


def repeated(lines: int) -> Iterator[bytes]:
    """That many lines of the sample's audit log, each turn with later times and auditIDs of its own."""
    recorded = gzip.decompress((SAMPLE / "audit.jsonl.gz").read_bytes()).splitlines(keepends=True)
    turn = timedelta(hours=1)
    for number in range(lines):
        shift, line = (number // len(recorded)) * turn, recorded[number % len(recorded)]
        mark = b'"auditID":"%08x-' % (number // len(recorded))
        if shift:
            line = _TIME.sub(lambda found, shift=shift: _shifted(found, shift), line)  # type: ignore[misc]
        # Bodies differ from turn to turn too, as resource versions do: equal ones would pack into next to nothing.
        line = line.replace(b'"resourceVersion":"', b'"resourceVersion":"%d' % (number + 1))
        yield re.sub(rb'"auditID":"[0-9a-f]{8}-', mark, line, count=1)


def _shifted(found: re.Match[bytes], shift: timedelta) -> bytes:
    at = datetime.fromisoformat(found[2].decode()) + shift
    return b'"%s":"%s"' % (found[1], at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode())


def loaded(log: Path, folder: Path) -> tuple[float, float, dict[str, int]]:
    """Seconds and peak megabytes of resident memory of `kit new` on a log, and the counts of its ledger."""
    began = time.monotonic()
    with (folder / "ledger.json").open("wb") as ledger:
        process = psutil.Popen([KIT, "new", folder / "case", log, "--json"], stdout=ledger, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(0.05)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise SystemExit(f"kit new ended with {process.returncode}")
    (entry,) = json.loads((folder / "ledger.json").read_text())["files"]
    return seconds, peak / 1e6, {name: entry[name] for name in ("records", "rows", "duplicates", "rejects")}


def _resident(process: psutil.Popen) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> int:
    """Run it; 0 when no line is lost and memory stays below the limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1_000_000)
    wanted = parser.parse_args().lines
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        whole, damaged = Path(folder) / "whole", Path(folder) / "damaged"
        logs = [whole / "audit.jsonl.gz", damaged / "audit.jsonl.gz"]
        for log in logs:
            log.parent.mkdir()
        with igzip.open(logs[0], "wb", compresslevel=1) as first, igzip.open(logs[1], "wb", compresslevel=1) as second:
            second.write(b"{one broken line\n")
            for line in repeated(wanted):
                first.write(line)
                second.write(line)
        began = time.monotonic()
        with gzip.open(logs[0]) as packed:
            parsed = sum(1 for line in packed if json.loads(line))
        plain = time.monotonic() - began
        print(
            f"{wanted:,} lines, {logs[0].stat().st_size / 1e6:,.0f} MB gzip; json module: {plain:.1f} s for {parsed:,}"
        )
        for name, log, rejects in (("whole file", logs[0], 0), ("line reader", logs[1], 1)):
            seconds, peak, counts = loaded(log, log.parent)
            print(
                f"{name}: {seconds:.1f} s, {seconds / plain:.2f} times the json module, {wanted / seconds:,.0f} lines/s;"
                f" peak {peak:,.0f} MB resident; {counts}"
            )
            if counts != {"records": wanted + rejects, "rows": wanted, "duplicates": 0, "rejects": rejects}:
                faults.append(f"{name}: lines were lost or doubled: {counts}")
            if peak >= LIMIT_MEGABYTES:
                faults.append(f"{name}: {peak:,.0f} MB resident, the limit is {LIMIT_MEGABYTES} MB")
    print(*(f"FAULT {fault}" for fault in faults), sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
