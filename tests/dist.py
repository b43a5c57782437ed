"""`make dist`: the kit's wheel, the wheels of all that it needs, and a container file, for a machine without network.

What is needed follows from the metadata of what is installed here, for each system and version of Python by the markers; versions and hashes are
those of requirements.lock, and pip refuses a file with another hash. Tests need more, and none of that is fetched. Sources: packaging.python.org,
"Dependency specifiers" (markers); pip documentation, `pip download` (--platform, --require-hashes); PEP 600 and PEP 425 (tags).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NAME = "eks-forensic-kit"
VERSIONS = {"3.11": ("3.11.0", "3.11.9"), "3.12": ("3.12.0",), "3.13": ("3.13.0",)}
"""Python → its releases that the lock tells apart."""
_BUILT_FROM = ("kit", "notebooks", "pyproject.toml", "README.md")
_LINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux_2_5", "manylinux1")  # fmt: skip
_MAC = tuple(f"macosx_{major}_0" for major in (14, 13, 12, 11)) + tuple(
    f"macosx_10_{minor}" for minor in range(15, 8, -1)
)


@dataclass(frozen=True)
class System:
    """A system that wheels are for: how markers see it, and the tags of its wheels."""

    name: str
    sys_platform: str
    platform_system: str
    machine: str
    tags: tuple[str, ...]

    def environment(self, release: str) -> dict[str, str]:
        """What markers are judged by on a release of Python."""
        return {
            "sys_platform": self.sys_platform,
            "platform_system": self.platform_system,
            "platform_machine": self.machine,
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "python_version": release.rpartition(".")[0],
            "python_full_version": release,
            "extra": "",
        }


SYSTEMS = (
    System("linux-x86_64", "linux", "Linux", "x86_64", tuple(f"{tag}_x86_64" for tag in _LINUX)),
    System("linux-aarch64", "linux", "Linux", "aarch64", tuple(f"{tag}_aarch64" for tag in _LINUX)),
    System("macos-arm64", "darwin", "Darwin", "arm64", tuple(f"{tag}_{arm}" for tag in _MAC for arm in ("arm64", "universal2"))),
    System("macos-x86_64", "darwin", "Darwin", "x86_64", tuple(f"{tag}_{intel}" for tag in _MAC for intel in ("x86_64", "universal2"))),
)  # fmt: skip


@cache
def locked(lock: str) -> list[tuple[Requirement, str]]:
    """The requirements of a lock, each with its lines as they stand: version, marker and hashes."""
    entries = re.split(r"\n(?=[a-z0-9])", lock.strip())
    return [(Requirement(re.split(r"\s*\\\n|\s--hash", entry)[0]), entry) for entry in entries]


@cache
def _requires(name: str) -> tuple[Requirement, ...]:
    """What an installed package asks for; nothing of one for another system than this, which is a leaf."""
    try:
        return tuple(map(Requirement, importlib.metadata.requires(name) or ()))
    except importlib.metadata.PackageNotFoundError:
        return ()


def needed(environment: dict[str, str]) -> set[str]:
    """The names of all that the kit needs there, extras too, by the metadata of what is installed here."""
    found, left = set[tuple[str, str]](), [(NAME, "")]
    while left:
        name, extra = left.pop()
        for one in _requires(name):
            if one.marker is None or one.marker.evaluate(environment | {"extra": extra}):
                asked = {(canonicalize_name(one.name), each) for each in ("", *one.extras)} - found
                found |= asked
                left += sorted(asked)
    return {name for name, _ in found}


def requirements(lock: str, system: System, release: str) -> Iterator[str]:
    """The lines of the lock for what is needed on a system with a release of Python, without their markers."""
    environment = system.environment(release)
    names = needed(environment)
    for one, entry in locked(lock):
        marker: Marker | None = one.marker
        if canonicalize_name(one.name) in names and (marker is None or marker.evaluate(environment)):
            hashes = re.findall(r"--hash=\S+", entry)
            yield f"{one.name}{one.specifier} {' '.join(hashes)}"


def _pip(*words: str) -> int:
    return subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=False).returncode


def _wheel(into: Path) -> int:
    """The kit's own wheel, built from a copy, so that nothing of a build stays behind."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _BUILT_FROM:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        return _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), folder)


def _fetch(system: System, release: str, wheels: Path) -> bool:
    """Whether all that is needed on a system with a release of Python could be had."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements((ROOT / "requirements.lock").read_text(), system, release)))
        file.flush()
        platforms = [word for tag in system.tags for word in ("--platform", tag)]
        target = ("--python-version", release, "--implementation", "cp", *platforms)
        how = ("--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(wheels), "-r", file.name)
        return not _pip("download", *target, *how)


def main() -> int:
    """Make the folder; 1 where a wheel is missing for a system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "out" / "dist")
    parser.add_argument("--system", action="append", choices=[one.name for one in SYSTEMS], help="all without it")
    parser.add_argument("--python", action="append", choices=list(VERSIONS), help="all without it")
    given = parser.parse_args()
    wheels = given.into / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    if _wheel(given.into):
        return 1
    shutil.copy(ROOT / "Containerfile", given.into)
    missing = list[str]()
    for system in (one for one in SYSTEMS if one.name in (given.system or [each.name for each in SYSTEMS])):
        for version in given.python or VERSIONS:
            whole = all(_fetch(system, release, wheels) for release in VERSIONS[version])
            missing += [] if whole else [f"{system.name} with Python {version}"]
            print(f"{system.name}, Python {version}: {'whole' if whole else 'a wheel is missing'}", flush=True)
    made = list(wheels.iterdir())
    print(f"{given.into}: {len(made)} wheels, {sum(one.stat().st_size for one in made) / 1e6:,.0f} MB")
    if missing:
        print(f"not whole for {', '.join(missing)}: pip's message above names the package", file=sys.stderr)
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
