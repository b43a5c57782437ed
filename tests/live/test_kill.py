"""`kit apply` and `kit undo` are killed before and after their calls, and run again: account and cluster end as without that."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.command import KIT
from tests.live.scene import STOLEN, Scene, comparable, standing

LEFT_OUT = ("keep_image", "recover", "narrow_endpoint")
SHARDS = 16


@dataclass
class Killer:
    """Counts the calls of both services, and kills their client at one of them. at: number of the call and phase, None for never."""

    at: tuple[int, str] | None = None
    process: int = 0
    changing: list[bool] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: dict[int, int] = field(default_factory=dict)

    def __call__(self, call: Any, phase: str) -> None:
        with self.lock:
            if phase == "before":
                self.numbers[id(call)] = len(self.changing)
                reading = (
                    call.method == "GET"
                    if hasattr(call, "method")
                    else call.operation.partition(":")[2].startswith(("Describe", "List", "Get"))
                )
                self.changing.append(not reading)
            if self.at == (self.numbers[id(call)], phase):
                os.kill(self.process, signal.SIGKILL)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A case with its plan, and the digest."""
    folder = tmp_path_factory.mktemp("template")
    with standing(STOLEN, folder) as scene:
        plan = scene.plan(*(word for name in LEFT_OUT for word in ("--without", name)))
        assert len(plan["actions"]) >= 20
        return scene.case, plan["digest"]


@contextmanager
def copied(template: tuple[Path, str], folder: Path) -> Iterator[Scene]:
    with standing(STOLEN, folder, case=template[0]) as scene:
        yield scene


def run(scene: Scene, killer: Killer, command: str, *arguments: str) -> int:
    """A command of `kit` under the killer; its exit code, -9 when it was killed."""
    for faults in (scene.aws.faults, scene.kubernetes.faults):
        faults[:] = [killer]
    with (scene.case.parent / "output").open("a") as output:
        process = subprocess.Popen(
            [KIT, command, str(scene.case), *arguments], env=scene.environment, stdout=output, stderr=output
        )
        killer.process = process.pid
        return process.wait(timeout=300)


@pytest.fixture(scope="module")
def whole(template: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that nobody kills, applied and then undone: its states and its calls."""
    with copied(template, tmp_path_factory.mktemp("whole")) as scene:
        found = dict[str, Any]()
        for command, arguments in (
            ("apply", ["--approve", template[1], "--check-after", "0"]),
            ("undo", ["--including-attackers"]),
        ):
            killer = Killer()
            assert run(scene, killer, command, *arguments) in (0, 1), (scene.case.parent / "output").read_text()
            found[command] = comparable(scene.state()), killer.changing
        return found


def survives(
    template: tuple[Path, str], whole: dict[str, Any], folder: Path, command: str, at: tuple[int, str]
) -> None:
    with copied(template, folder) as scene:
        apply = ["--approve", template[1], "--check-after", "0"]
        if command == "undo":
            assert run(scene, Killer(), "apply", *apply) in (0, 1)
        arguments = apply if command == "apply" else ["--including-attackers"]
        assert run(scene, Killer(at), command, *arguments) == -9, at
        assert run(scene, Killer(), command, *arguments) in (0, 1), at  # 1: a check does not hold
        assert comparable(scene.state()) == whole[command][0], at
    shutil.rmtree(folder)


def positions(whole: dict[str, Any], command: str) -> list[tuple[int, str]]:
    return [(number, phase) for number in range(len(whole[command][1])) for phase in ("before", "after")]


@pytest.mark.parametrize("command", ["apply", "undo"])
@pytest.mark.parametrize("part", range(2))
def test_a_run_that_is_killed_at_a_change_goes_on(
    template: tuple[Path, str], whole: dict[str, Any], tmp_path: Path, command: str, part: int
) -> None:
    changes = [at for at in positions(whole, command) if whole[command][1][at[0]]]
    for at in changes[part * 9 :: 31]:
        survives(template, whole, tmp_path / str(at), command, at)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", ["apply", "undo"])
@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_run_that_is_killed_anywhere_goes_on(
    template: tuple[Path, str], whole: dict[str, Any], tmp_path: Path, command: str, shard: int
) -> None:
    for at in positions(whole, command)[shard::SHARDS]:
        survives(template, whole, tmp_path / str(at), command, at)
