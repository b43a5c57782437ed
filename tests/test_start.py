"""What a start imports: the heavy packages only where they are used, so that a command need not wait for those of others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import kit
from tests.cases import ROOT
from tests.command import RECORDINGS

# As the installed program starts it; the last line of stderr says which packages were imported.
COMMAND = """
import sys
sys.argv[0] = "kit"
try:
    from kit.cli.main import main
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
RECORDING = RECORDINGS / "stolen_sa_token"
CALLS_SERVICES = {"boto3", "kubernetes"}
FRAMES = {"pandas", "plotly"}
EVERY = {"botocore", "pyarrow", "duckdb", "numpy", "rich"} | FRAMES | CALLS_SERVICES


def imported(program: str, *arguments: str) -> set[str]:
    """The packages that a Python of its own has imported at its end."""
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A case of the recording, and what `kit new` imported to make it."""
    place = tmp_path_factory.mktemp("start")
    # Without the one file that is no evidence: what is said of it takes a wide table.
    evidence = shutil.copytree(RECORDING, place / RECORDING.name, ignore=shutil.ignore_patterns("ground_truth.json"))
    return place / "case", imported(COMMAND, "new", str(place / "case"), str(evidence))


def test_the_package_imports_nothing_heavy() -> None:
    program = "import sys, kit; print(*sys.modules, file=sys.stderr)"
    assert not imported(program) & (EVERY | {"click"})


def test_help_imports_only_the_command_line() -> None:
    found = imported(COMMAND, "--help")
    assert "click" in found
    assert not found & EVERY


def test_loading_makes_no_frame(made: tuple[Path, set[str]]) -> None:
    _, found = made
    assert {"duckdb", "pyarrow"} <= found
    assert not found & (FRAMES | CALLS_SERVICES | {"rich"})


def test_listing_findings_works_nothing_out(made: tuple[Path, set[str]]) -> None:
    program = COMMAND.replace('.partition(".")[0]', "")
    found = imported(program, "findings", str(made[0]))
    assert "duckdb" in found
    assert not found & (
        FRAMES
        | CALLS_SERVICES
        | {"botocore", "pyarrow.parquet", "pyarrow.compute", "kit.scope.scope", "kit.plan.planner", "kit.evidence.load"}
    )


@pytest.mark.parametrize("command", [["scope"], ["answers"], ["plan"], ["permissions", "plan"], ["journal"]])
def test_what_only_reads_the_case_calls_no_service(made: tuple[Path, set[str]], command: list[str]) -> None:
    found = imported(COMMAND, *command, str(made[0]))
    assert "kit" in found
    assert not found & (FRAMES | CALLS_SERVICES)


# In a Python that knows the folder of an installed wheel and the packages of the environment, and not this checkout.
FROM_WHEEL = """
import sys, kit
from kit.report.run import NOTEBOOK_FOLDER, NOTEBOOKS
assert kit.__file__.startswith(sys.argv[1]), kit.__file__
assert str(NOTEBOOK_FOLDER).startswith(sys.argv[1]) and "40_report" in NOTEBOOKS, NOTEBOOK_FOLDER
case = kit.open_case("sample")
print(case, len(case.findings), len(case.subjects), len(case.answers(case.findings["id"][0])))
"""


def test_an_installed_wheel_opens_the_sample_case(tmp_path: Path) -> None:
    source, built, target = tmp_path / "source", tmp_path / "built", tmp_path / "installed"
    for name in ("kit", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", built, source], check=True)
    (wheel,) = built.iterdir()
    subprocess.run([*pip, "install", *offline, "--target", target, wheel], check=True)
    # Without site (-S) the environment's link to this checkout is not followed.
    paths = os.pathsep.join([str(target), sysconfig.get_path("purelib")])
    environment = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    found = subprocess.run(
        [sys.executable, "-S", "-c", FROM_WHEEL, str(target)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    here = kit.open_case("sample")
    assert found.stdout.split()[-3:] == [
        str(len(one)) for one in (here.findings, here.subjects, here.answers(here.finding_rows[0]["id"]))
    ]
    helped = subprocess.run(
        [sys.executable, "-S", target / "bin" / "kit", "--help"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert helped.returncode == 0 and "Usage: kit" in helped.stdout, helped.stderr
