"""The benchmark of the way in: a long audit log, made by repeating a recording with shifted times and new ids.

Everything is measured in one run on one machine: CPU and wall seconds per GB of JSON and peak resident memory, for the kit with all
that it does (copy, hash, ledger, rejects, duplicates, coverage) and for what others would do with the same file: pandas, the json
module with json_normalize, bare DuckDB, and the floor, which unpacks and parses and builds nothing. Goals are ratios within the run.

    python -m tests.bench --lines 100000 --linear --json out/bench.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from isal import igzip

from kit.case.worked_out import WORKED_OUT
from kit.report.run import NOTEBOOK_FOLDER, NOTEBOOKS
from tests.command import KIT, SAMPLE

LIMIT_MEGABYTES = 1000
SLOW_LINES = 50_000  # pandas and json_normalize hold everything; their time is that of as many lines, scaled by bytes
# Of CPU per GB: the kit's, divided by another's, at most this.
GOALS = {"pandas": 1 / 8, "json_normalize": 1 / 10, "bare DuckDB": 1.5, "floor": 3.0}
SLOWER_IS_A_FAULT = 2.5  # than bare DuckDB: goals are reported, a fall behind them fails
WHOLE = 20_000  # lines that hold the sample's attack whole
MOST_OF_EMPTY = 1.5  # CPU of the report in that of as many empty notebooks
MOST_PASSES = 10  # of the audit log that the scope of one finding may take
STARTS = 10  # runs of a command whose start is measured: one is too short for the clock of CPU time
# CPU of a start, in that of a bare Python, at most this.
MOST_OF_BARE = {"import kit": 2, "kit --help": 5, "kit findings": 20}
LINEAR = 1.3  # of CPU per line at the end, over that of a tenth of the lines
_TIME = re.compile(rb'"(requestReceivedTimestamp|stageTimestamp)":"([^"]+)"')


def repeated(lines: int) -> Iterator[bytes]:
    """That many lines of the sample's audit log, each turn with later times and auditIDs of its own."""
    with igzip.open(SAMPLE / "audit.jsonl.gz") as log:
        recorded = log.read().splitlines(keepends=True)
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


def write_log(path: Path, lines: int, before: bytes = b"") -> int:
    """Write a log of that many lines, gzip; its bytes of JSON."""
    size = 0
    with igzip.open(path, "wb", compresslevel=1) as log:
        log.write(before)
        for line in repeated(lines):
            log.write(line)
            size += len(line)
    return size


def kit_new(log: Path, folder: Path) -> list[str]:
    """The kit: from a file to a case."""
    return [str(KIT), "new", str(folder / "case"), str(log), "--json"]


# Each is run by a Python of its own, with the log and a folder as arguments.
OTHERS = {
    "pandas": "import sys, pandas; pandas.read_json(sys.argv[1], lines=True)",
    "json_normalize": "import sys, json, gzip, pandas; pandas.json_normalize([json.loads(line) for line in gzip.open(sys.argv[1])])",
    "bare DuckDB": (
        "import sys, duckdb; from kit.evidence.readers.audit_columns import EVENT; from tests.bench import typed; d = duckdb.connect();"
        " d.execute(\"SET TimeZone = 'UTC'\"); d.execute(f\"COPY (SELECT * FROM read_json('{sys.argv[1]}', format = 'newline_delimited',"
        " columns = {typed(EVENT)})) TO '{sys.argv[2]}/bare.parquet' (FORMAT parquet, COMPRESSION zstd)\")"
    ),
    "floor": (
        "import sys, simdjson; from isal import igzip; parse = simdjson.Parser().parse\n"
        "for line in igzip.open(sys.argv[1]): parse(line)"
    ),
}


def typed(members: dict[str, Any]) -> dict[str, str]:
    """The members of an audit event as columns of read_json."""
    return {name: _type(kind) for name, kind in members.items()}


def _type(kind: Any) -> str:
    if isinstance(kind, dict):
        return f"STRUCT({', '.join(f'{name} {_type(each)}' for name, each in kind.items())})"
    return f"{_type(kind[0])}[]" if isinstance(kind, list) else str(kind)


@dataclass
class Measured:
    """What one run took. CPU and wall in seconds, gigabytes of JSON, megabytes of resident memory at the peak."""

    name: str
    lines: int
    gigabytes: float
    cpu: float
    wall: float
    peak: float

    @property
    def cpu_per_gigabyte(self) -> float:
        """CPU seconds per GB of JSON."""
        return self.cpu / self.gigabytes


def measured(name: str, command: list[str], lines: int, size: int) -> tuple[Measured, bytes]:
    """Run a command to its end; what it took, with its children, and what it printed."""
    began, before = time.monotonic(), os.times()
    with tempfile.TemporaryFile() as printed:
        process = psutil.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(0.02)
        wall, after = time.monotonic() - began, os.times()
        if process.returncode != 0:
            raise SystemExit(f"{name} ended with {process.returncode}")
        printed.seek(0)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return Measured(name, lines, size / 1e9, cpu, wall, peak / 1e6), printed.read()


def _resident(process: psutil.Popen) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> int:
    """Run it; 0 when no line is lost, memory stays below the limit and time grows with the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=400_000)
    parser.add_argument(
        "--linear", action="store_true", help="also a tenth of the lines, to see that time grows with them"
    )
    parser.add_argument("--alone", action="store_true", help="the kit alone, without what others would do")
    parser.add_argument("--scopes", type=int, nargs="*", default=[], help="also the scope of logs of so many lines")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    given = parser.parse_args()
    faults, results = list[str](), list[Measured]()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sizes = {lines: write_log(place / f"{lines}.jsonl.gz", lines) for lines in _sizes(given)}
        write_log(place / "damaged.jsonl.gz", given.lines, b"{one broken line\n")
        for lines, size in sizes.items():
            results.append(_of_kit("kit", place / f"{lines}.jsonl.gz", place, lines, size, 0, faults))
        size = sizes[given.lines]
        results.append(_of_kit("kit, one line broken", place / "damaged.jsonl.gz", place, given.lines, size, 1, faults))
        scoped = [
            _of_scope(place / f"{lines}.jsonl.gz", place, lines, sizes[lines], faults)
            for lines in sizes
            if lines >= WHOLE and lines in (given.lines, given.lines // 10)
        ]
        for lines in given.scopes:
            size = write_log(place / f"{lines}.jsonl.gz", lines)
            scoped.append(_of_scope(place / f"{lines}.jsonl.gz", place, lines, size, faults))
        if len(scoped) > 1:
            (few, told), (many, more) = scoped[0], scoped[-1]
            passes = (more["scope"] - told["scope"]) / (more["pass"] - told["pass"])
            print(
                f"scope, from {few.lines:,} to {many.lines:,} events: {passes:.1f} full passes more; the rest is fixed"
            )
        reported = _of_report(place) + _of_starts(place / "sample")
        if not given.alone:
            results += _of_others(place, sizes, given.lines)
    _print(results, given.lines, faults)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            asdict(one) | {"cpu_per_gigabyte": one.cpu_per_gigabyte}
            for one in (*results, *reported, *(one for one, _ in scoped))
        ]
        scopes = [{"events": one.lines, **told} for one, told in scoped]
        given.json.write_text(
            json.dumps(
                {"goals": GOALS, "measured": rows, "starts": [*MOST_OF_BARE], "scope": scopes, "faults": faults},
                indent=1,
            )
        )
    return 1 if faults else 0


def _sizes(given: argparse.Namespace) -> list[int]:
    wanted = (
        {given.lines}
        | ({given.lines // 10} if given.linear else set())
        | (set() if given.alone else {min(SLOW_LINES, given.lines)})
    )
    return sorted(wanted)


def _of_kit(name: str, log: Path, folder: Path, lines: int, size: int, rejects: int, faults: list[str]) -> Measured:
    taken, printed = measured(name, kit_new(log, folder), lines, size)
    subprocess.run(["rm", "-rf", folder / "case"], check=True)
    (entry,) = json.loads(printed)["files"]
    counts = {each: entry[each] for each in ("records", "rows", "duplicates", "rejects")}
    if counts != {"records": lines + rejects, "rows": lines, "duplicates": 0, "rejects": rejects}:
        faults.append(f"{name}: lines were lost or doubled: {counts}")
    if taken.peak >= LIMIT_MEGABYTES:
        faults.append(f"{name}: {taken.peak:,.0f} MB resident, the limit is {LIMIT_MEGABYTES} MB")
    return taken


def _of_others(place: Path, sizes: dict[int, int], lines: int) -> Iterator[Measured]:
    for name, program in OTHERS.items():
        few = min(SLOW_LINES, lines) if name in ("pandas", "json_normalize") else lines
        command = [sys.executable, "-c", program, str(place / f"{few}.jsonl.gz"), str(place)]
        yield measured(name, command, few, sizes[few])[0]


# In a Python of its own, with a case as argument: wall seconds of one full pass over the audit columns that the scope reads, of the
# scope of one finding, and what is left when the start of Python and of the store is not counted.
_SCOPE = """
import json, sys, time
from kit.case.opening import open_case
from kit.store.store import Store
store = Store(__import__('pathlib').Path(sys.argv[1]))
left_out = ('user_extra', 'annotations', 'event_hash', 'source_addresses', 'user_groups', 'impersonated_groups')
columns = [row for row in store.rows('DESCRIBE audit') if row['column_name'] not in left_out]
# The length of texts, because the largest of them may be known without reading them.
read = [f"sum(strlen({row['column_name']}))" if row['column_type'] == 'VARCHAR' else f"max({row['column_name']})" for row in columns]
asked = 'SELECT ' + ', '.join(read) + ' FROM audit'
passes = []
for _ in range(3):
    began = time.monotonic(); store.table(asked); passes.append(time.monotonic() - began)
(finding,) = [row['id'] for row in store.rows("SELECT id FROM findings WHERE type LIKE '%SecretsAccessed%'")]
began = time.monotonic(); scope = open_case(sys.argv[1], finding).scope
print(json.dumps({'pass': min(passes), 'scope': time.monotonic() - began, 'calls': len(scope['findings'][0]['calls'])}))
"""


# Calls of the front door, each in a Python of its own with a case as argument: CPU seconds of the call, megabytes at the peak, rows.
FRAMES = {
    "open_case": "case",
    "findings": "case.findings",
    "audit, an address": 'case.audit(source_address="203.0.113.6")',
    "audit, pods created in a namespace": 'case.audit(verb="create", resource="pods", namespace="kube-system")',
    "audit, an hour": 'case.audit(start="2026-11-23T16:30Z", end="2026-11-23T17:30Z")',
    "cloudtrail, an access key": 'case.cloudtrail(access_key_id="A*")',
    "sign_ins": "case.sign_ins()",
    "objects": 'case.objects("pods", namespace="kube-system")',
    "secrets_read, with the scope": "case.secrets_read()",
    "sql": 'case.sql("SELECT verb, count(*) AS events FROM audit GROUP BY verb")',
    "raw": 'case.raw("audit:00000000-47b0-4d14-968a-5af47ba8fb6a")',
}
_FRAME = """
import json, resource, sys, time, warnings
import kit
warnings.simplefilter('ignore')
case = kit.open_case(sys.argv[1])
began = time.process_time()
found = eval(sys.argv[2])
cpu = time.process_time() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([cpu, peak, len(found) if hasattr(found, 'columns') else 1]))
"""


def of_frames(case: Path, faults: list[str]) -> None:
    """What the calls of the front door take on a case."""
    for name, call in FRAMES.items():
        ran = subprocess.run(
            [sys.executable, "-c", _FRAME, str(case), call], check=True, capture_output=True, text=True
        )
        cpu, peak, rows = json.loads(ran.stdout)
        print(f"{name:36} {cpu:>7.1f} CPU s {peak:>6,.0f} MB at the peak {rows:>8,} rows", flush=True)
        if peak >= LIMIT_MEGABYTES:
            faults.append(f"{name}: {peak:,.0f} MB resident, the limit is {LIMIT_MEGABYTES} MB")


def _of_scope(log: Path, folder: Path, lines: int, size: int, faults: list[str]) -> tuple[Measured, dict[str, float]]:
    """The scope of one finding of the sample on a log of that many lines, in full passes over the columns that it reads; and the
    seconds of both."""
    evidence, case = folder / "evidence", folder / "scoped"
    shutil.copytree(SAMPLE, evidence, ignore=shutil.ignore_patterns("audit*", "ground_truth.json"))
    os.link(log, evidence / "audit.jsonl.gz")
    subprocess.run([str(KIT), "new", str(case), str(evidence)], check=True, capture_output=True)
    taken, printed = measured(f"kit scope, {lines:,}", [sys.executable, "-c", _SCOPE, str(case)], lines, size)
    told = json.loads(printed)
    ratio = told["scope"] / told["pass"]
    said = "met" if ratio <= MOST_PASSES else "NOT MET"
    print(
        f"scope of one finding, {lines:,} events: {told['scope']:.2f} s, {ratio:.1f} full passes of {told['pass']:.2f} s over the columns that"
        f" it reads (goal at most {MOST_PASSES}: {said}), {told['calls']:,} hostile calls, {taken.peak:,.0f} MB at the peak"
    )
    if not told["calls"]:
        faults.append("the scope has no call of the attacker: nothing was measured")
    of_frames(case, faults)
    shutil.rmtree(evidence)
    shutil.rmtree(case)
    return taken, told


# In a Python of its own, with a folder and a number: as many runs of an empty notebook by papermill, and one page by nbconvert.
_EMPTY = """
import sys, nbformat, papermill
from nbconvert import HTMLExporter
empty, out = f'{sys.argv[1]}/empty.ipynb', f'{sys.argv[1]}/out.ipynb'
cell = nbformat.v4.new_code_cell('x = 1', metadata={'tags': ['parameters']})
spec = {'kernelspec': {'name': 'python3', 'language': 'python', 'display_name': 'python3'}}
nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=spec), empty)
for _ in range(int(sys.argv[2])):
    papermill.execute_notebook(empty, out, progress_bar=False)
HTMLExporter().from_filename(out)
"""


# In a Python of its own, with a folder and a notebook: that notebook by papermill.
_NOTEBOOK = """
import sys, papermill
papermill.execute_notebook(sys.argv[2], f'{sys.argv[1]}/out.ipynb', {'case_dir': sys.argv[3]}, progress_bar=False)
"""


def _of_report(folder: Path) -> list[Measured]:
    """Brief, a notebook and report of the sample case, with nothing kept and with what they kept; and as many empty notebooks."""
    case = folder / "sample"
    subprocess.run([str(KIT), "new", str(case), str(SAMPLE)], check=True, capture_output=True)
    commands = {
        "kit brief": [str(KIT), "brief", str(case)],
        "a notebook": [
            sys.executable,
            "-c",
            _NOTEBOOK,
            str(folder),
            str(NOTEBOOK_FOLDER / "10_scope.ipynb"),
            str(case),
        ],
        "kit report": [str(KIT), "report", str(case)],
    }
    taken = dict[str, Measured]()
    for name, command in commands.items():
        shutil.rmtree(case / WORKED_OUT, ignore_errors=True)
        for turn in (name, f"{name} again"):
            taken[turn], _ = measured(turn, command, 1, 1)
        first, again = taken[name].cpu, taken[f"{name} again"].cpu
        print(f"{name}: {first:.1f} CPU s, again on what was kept {again:.1f} CPU s, {again / first:.2f} of it")
    empty, _ = measured("empty notebooks", [sys.executable, "-c", _EMPTY, str(folder), str(len(NOTEBOOKS))], 1, 1)
    for name in ("kit report", "kit report again"):
        ratio = taken[name].cpu / empty.cpu
        print(
            f"{name} of the sample case, {len(NOTEBOOKS)} notebooks: {taken[name].cpu:.1f} CPU s, {ratio:.1f} x as many empty ones with one page"
            f" of nbconvert ({empty.cpu:.1f} CPU s; goal at most {MOST_OF_EMPTY}: {'met' if ratio <= MOST_OF_EMPTY else 'NOT MET'})"
        )
    return [*taken.values(), empty]


def _of_starts(case: Path) -> list[Measured]:
    """What it takes to start the kit, on a case that is there, and a bare Python."""
    commands = {
        "bare Python": [sys.executable, "-c", "pass"],
        "import kit": [sys.executable, "-c", "import kit"],
        "kit --help": [str(KIT), "--help"],
        "kit findings": [str(KIT), "findings", str(case)],
    }
    again = ["sh", "-c", f'for _ in $(seq {STARTS}); do "$@" || exit 1; done', "sh"]
    bare, *starts = [measured(name, [*again, *command], 1, 1)[0] for name, command in commands.items()]
    for start in starts:
        ratio, most = start.cpu / bare.cpu, MOST_OF_BARE[start.name]
        print(
            f"start of `{start.name}`: {start.cpu / STARTS:.2f} CPU s, {ratio:.1f} x a bare Python ({bare.cpu / STARTS:.3f} CPU s; goal at most"
            f" {most}: {'met' if ratio <= most else 'NOT MET'})"
        )
    return [bare, *starts]


def _print(results: list[Measured], lines: int, faults: list[str]) -> None:
    print(
        f"{'':22} {'lines':>10} {'GB':>6} {'CPU s/GB':>9} {'wall s/GB':>9} {'MB/CPU s':>9} {'peak MB':>8}  kit's CPU / its"
    )
    whole = next(one for one in results if one.name == "kit" and one.lines == lines)
    for one in results:
        rate = whole.cpu_per_gigabyte / one.cpu_per_gigabyte
        goal = GOALS.get(one.name)
        says = "" if goal is None else f"  {rate:.3f}, goal at most {goal:.3f}: {'met' if rate <= goal else 'NOT MET'}"
        print(
            f"{one.name:22} {one.lines:>10,} {one.gigabytes:>6.3f} {one.cpu_per_gigabyte:>9.2f} {one.wall / one.gigabytes:>9.2f}"
            f" {1000 / one.cpu_per_gigabyte:>9.0f} {one.peak:>8,.0f}{says}"
        )
        if one.name == "bare DuckDB" and rate > SLOWER_IS_A_FAULT:
            faults.append(f"the kit takes {rate:.3f} of the CPU of {one.name}, more than {SLOWER_IS_A_FAULT}")
    few = min((one for one in results if one.name == "kit"), key=lambda one: one.lines)
    if few.lines < lines:
        rate = (whole.cpu / whole.lines) / (few.cpu / few.lines)
        print(f"CPU per line at {lines:,} lines over that at {few.lines:,}: {rate:.2f}, at most {LINEAR}")
        if rate > LINEAR:
            faults.append(f"time grows faster than the log: {rate:.2f}")
    print(*(f"FAULT {fault}" for fault in faults), sep="\n", end="\n" if faults else "")


if __name__ == "__main__":
    sys.exit(main())
