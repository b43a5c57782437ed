"""The command line: `kit` runs it in this process, `program` starts the installed one, for what is about processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kit.case import opening
from kit.cli import main as cli

KIT = Path(sys.executable).with_name("kit")
RECORDINGS = Path(__file__).parent / "data" / "recordings"
SAMPLE = Path(__file__).parents[1] / "kit" / "sample" / "case"
SHARED = Path(__file__).parents[2] / "shared"  # beside the project where it is; the project works without it
Done = subprocess.CompletedProcess[str]


def kit(
    *arguments: str | Path,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    anew: bool = True,
) -> Done:
    """Run `kit` in this process and return its exit code, stdout and stderr; an error that it does not know is raised.

    env: the whole environment, this process's without it. anew: it opens its case like a process of its own; without, it goes on with
    the one that the call before opened, if that is the same, as the notebooks of one kernel do.
    """
    if anew:
        opening._opened.clear()
    call = list(map(str, arguments))
    given: dict[str, str | None] = {} if env is None else {**dict.fromkeys(os.environ), **env}
    with chdir(cwd or Path.cwd()):
        done = CliRunner(catch_exceptions=False).invoke(cli.main, call, stdin, given, prog_name="kit")
    if anew:
        opening._opened.clear()
    return Done(["kit", *call], done.exit_code, done.stdout_bytes.decode(), done.stderr_bytes.decode())


def program(
    *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Done:
    """Start the installed program and return its exit code, stdout and stderr."""
    done = subprocess.run(
        [KIT, *map(str, arguments)], input=stdin, capture_output=True, cwd=cwd, env=env, check=False, timeout=600
    )
    return Done(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def told(done: Done) -> list[str]:
    """What a run said on stderr, without the progress that a slow machine shows after a second."""
    return [line for line in done.stderr.splitlines() if not re.search(r"\(\d+ %.*\) \d+ s$", line)]


def kit_json(*arguments: str | Path, **more: Any) -> Any:
    """What a `kit ... --json` prints, parsed; fails when it does not end with 0."""
    done = kit(*arguments, "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
