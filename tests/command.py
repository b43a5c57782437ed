"""The command line as a user has it: the installed program, run from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

KIT = Path(sys.executable).with_name("kit")
RECORDINGS = Path(__file__).parent / "data" / "recordings"
SAMPLE = Path(__file__).parents[1] / "kit" / "sample" / "case"
SHARED = Path(__file__).parents[2] / "shared"  # beside the project where it is; the project works without it


def kit(
    *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `kit` and return its exit code, stdout and stderr."""
    done = subprocess.run(
        [KIT, *map(str, arguments)], input=stdin, capture_output=True, cwd=cwd, check=False, timeout=600
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a run said on stderr, without the progress that a slow machine shows after a second."""
    return [line for line in done.stderr.splitlines() if not re.search(r"\(\d+ %.*\) \d+ s$", line)]


def kit_json(*arguments: str | Path, **more: Any) -> Any:
    """What a `kit ... --json` prints, parsed; fails when it does not end with 0."""
    done = kit(*arguments, "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
