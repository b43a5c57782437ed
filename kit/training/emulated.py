"""A lab that is done: its account and cluster stand in the emulators while a command runs, and are looked at when it ends."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from kit.errors import TrainingError
from kit.model.arn import compared
from kit.training.about_state import LOOKED_AT
from kit.training.grading import LabMark, keep_mark, work_in
from kit.training.kinds import LabQuestion
from kit.training.lab import Lab
from kit.training.lab_state import LabState, mapped_in
from kit.training.learner_folder import LAB_CASE, Started
from kit.training.material import Material

if TYPE_CHECKING:
    from kit.training.emulators.standing import Standing

EXTRA = "training"
"""The extra of the package that has what the emulators need."""
_NEEDS = ("moto", "flask", "flask_cors")
_OF_A_TRY = ("journal.jsonl", "plan.json", "captures")
_TRIES = "tries"


@dataclass
class EmulatedLab:
    """A lab whose account and cluster stand. environment: the variables that lead kit, aws and kubectl to them."""

    folder: Path
    started: Started
    lab: Lab
    asked: list[LabQuestion]
    environment: dict[str, str]
    _material: Material
    _standing: Standing
    _volumes: dict[str, list[str]]

    @property
    def is_touched(self) -> bool:
        """Whether anything was asked to change in account or cluster."""
        return bool(self._standing.aws.changes) or any(call.changed for call in self._standing.kubernetes.calls)

    def mark(self, progress: Path) -> LabMark:
        """Look at what account, cluster and case hold now, and keep the mark. Raises TrainingError."""
        held = self._held()
        given: dict[str, Any] = {}
        for one in self.asked:
            looked = set(LOOKED_AT[one.name][1](self._material, held))
            given[one.name] = [key for key in one.right_answer if key in looked]
        return keep_mark(self.folder, progress, given, self.started, self.lab, self.asked)

    def _held(self) -> LabState:
        aws, objects = self._standing.aws.state(), self._standing.kubernetes.objects()
        entries = [arn for cluster in aws["clusters"].values() for arn in cluster.get("AccessEntry", {})]
        captures = self.folder / LAB_CASE / "captures"
        files = [str(path.relative_to(captures)) for path in captures.rglob("*") if path.is_file()]
        copied = [(one["volume"], one["state"]) for one in aws["snapshots"].values()]
        snapshots = {
            instance: tuple(state for volume, state in copied if volume in volumes)
            for instance, volumes in self._volumes.items()
        }
        principals = frozenset(map(compared, entries)) | mapped_in(objects)
        return LabState(objects, principals, aws, frozenset(files), snapshots)


@contextmanager
def emulated(folder: Path) -> Iterator[EmulatedLab]:
    """The account and the cluster of a lab that is done, as they were recorded; what an earlier try left in the case is set aside.

    Raises TrainingError for a lab that is answered, and where the extra is not installed.
    """
    started, lab, asked = work_in(folder)
    if not lab.stage:
        raise TrainingError(
            f"{lab.name} is answered, not done", where=str(folder), next="write the answers, then `kit train grade`"
        )
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"the emulators need what is not installed: {', '.join(missing)}",
            where=lab.name,
            next=f"install the kit with its extra: pip install 'eks-forensic-kit[{EXTRA}]'",
        )
    from kit.training.emulators.controllers import takes_load_balancers_down
    from kit.training.emulators.standing import standing_in

    material = Material(lab, started.seed)
    _set_aside(folder)
    with standing_in(material.texts, f"{lab.case.recording}:{started.seed}") as standing:
        standing.kubernetes.recreate = True
        standing.kubernetes.takes_all = True  # kubectl sends no token by HTTP
        standing.kubernetes.faults.append(takes_load_balancers_down(standing.kubernetes))
        volumes = dict[str, list[str]]()
        for one in standing.aws.client("ec2").describe_volumes()["Volumes"]:
            for attached in one["Attachments"]:
                volumes.setdefault(attached["InstanceId"], []).append(one["VolumeId"])
        kubeconfig = folder / "kubeconfig"
        standing.kubernetes.kubeconfig(kubeconfig, standing.arn)
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = own | standing.aws.environment() | {"KUBECONFIG": str(kubeconfig.resolve())}
        environment |= {name: _without_proxy(own.get(name, "")) for name in ("NO_PROXY", "no_proxy")}
        try:
            yield EmulatedLab(folder, started, lab, asked, environment, material, standing, volumes)
        finally:
            kubeconfig.unlink(missing_ok=True)


def run_in(lab: EmulatedLab, command: list[str]) -> int:
    """Run a command, a shell where it is empty, and give its exit code. Raises TrainingError where it cannot be started.

    Ctrl-C is for the command: what it did is marked all the same.
    """
    words = command or [lab.environment.get("SHELL") or "/bin/sh"]

    def leave(number: int, frame: FrameType | None) -> None:
        """Ctrl-C reaches the command, too, and that one decides."""

    before = signal.signal(signal.SIGINT, leave)
    try:
        return subprocess.run(words, env=lab.environment, check=False).returncode  # noqa: S603 - what the learner typed
    except OSError as error:
        raise TrainingError(
            f"cannot be started: {error.strerror}", where=words[0], next="name another command after --"
        ) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _without_proxy(known: str) -> str:
    """What is reached without a proxy, and this machine: the emulators are behind none."""
    return ",".join([*filter(None, known.split(",")), "127.0.0.1"])


def _set_aside(folder: Path) -> None:
    """Account and cluster are as recorded again, so what the case says of an earlier try is not of them."""
    case = folder / LAB_CASE
    left = [case / name for name in _OF_A_TRY if (case / name).exists()]
    if left:
        number = 1
        while (folder / _TRIES / str(number)).exists():
            number += 1
        try:
            (folder / _TRIES / str(number)).mkdir(parents=True)
            for path in left:
                shutil.move(path, folder / _TRIES / str(number) / path.name)
        except OSError as error:
            raise TrainingError(
                f"the earlier try cannot be set aside: {error.strerror}",
                where=str(folder / _TRIES),
                next="free the disk, or start the lab anew in another folder",
            ) from None
