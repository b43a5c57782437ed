"""Each command of `kit` as a user has it: the installed program, started. Most other tests run the command line in their own process."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kit.cli import main as cli
from tests.command import RECORDINGS, kit_json, program
from tests.live.scene import STOLEN, Scene, said, standing

EVIDENCE = RECORDINGS / STOLEN
FINDING = json.loads((EVIDENCE / "findings.json").read_text())["Findings"][0]["Id"]
CLUSTER = json.loads((EVIDENCE / "aws" / "eks-describe-cluster.json").read_text())["cluster"]["name"]
WINDOW = ("--start", "2026-01-01T00:00:00Z", "--end", "2026-01-01T01:00:00Z")
MARK = ("--finding", FINDING, "--as", "expected", "--note", "a drill")
# Command → its arguments after the case, and words that it prints. "DIGEST" is the digest of the saved plan.
CALLS: dict[str, tuple[tuple[str | Path, ...], str]] = {
    "new": ((EVIDENCE,), "Kubernetes audit log"),
    "add": ((EVIDENCE / "cloudtrail.json.gz",), "the case has it already"),
    "upgrade": ((), "Kubernetes audit log"),
    "findings": ((), FINDING),
    "scope": (("--finding", FINDING), "affected"),
    "answers": (("--finding", FINDING), "observed"),
    "brief": ((), "WAY IN"),
    "show": ((f"finding:{FINDING}",), "KubernetesUserDetails"),
    "note": (("call the owner of checkout",), "noted"),
    "mark": (MARK, "marked as expected"),
    "suppress": (("--finding", FINDING), "Criterion"),
    "plan": (("--only", "unbind_identity"), "unbind_identity"),
    "permissions plan": ((), "iam_policy"),
    "preview": ((), "would be done"),
    "apply": (("--approve", "DIGEST", "--check-after", "0"), "done"),
    "check": ((), "holds"),
    "undo": ((), "undone"),
    "journal": ((), "unbind_identity"),
    "report": (("--finding", FINDING), "report.html"),
    "collect": (("--cluster", CLUSTER, *WINDOW, "--only", "events"), "events"),
    "permissions collect": ((), "cluster_role"),
    "watch": (("--since", "2026-01-01T00:00:00Z", "--until", "2026-01-01T01:00:00Z"), "no call by"),
    "investigate": (("--cluster", CLUSTER, "--finding", "latest"), "report.html"),
}
NO_CASE = {"permissions collect"}


def commands(command: click.Command, path: str = "") -> Iterator[str]:
    for name, one in command.commands.items() if isinstance(command, click.Group) else ():
        yield from commands(one, f"{path}{name} ") if isinstance(one, click.Group) else (path + name,)


def test_every_command_is_called_here() -> None:
    # Labs are started in tests/test_training.py: they have folders of their own.
    assert sorted(CALLS) == sorted(name for name in commands(cli.main) if not name.startswith("train "))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with standing(STOLEN, tmp_path) as made:
        yield made


@pytest.mark.parametrize("command", CALLS)
def test_a_command_that_is_started_does_its_work(scene: Scene, command: str) -> None:
    given, says = CALLS[command]
    if command == "new":
        shutil.rmtree(scene.case)
    if command == "upgrade":
        settings = (scene.case / "case.toml").read_text()
        (scene.case / "case.toml").write_text(re.sub('format = "[0-9]+"', 'format = "0"', settings))
    if command == "suppress":
        assert scene.kit("mark", *MARK).returncode == 0
    if command in ("preview", "apply", "check", "undo", "journal"):
        digest = scene.plan("--only", "unbind_identity")["digest"]
        given = tuple(digest if one == "DIGEST" else one for one in given)
    if command in ("check", "undo", "journal"):
        assert {one["word"] for one in scene.apply(digest)} == {"done"}
    on = [] if command in NO_CASE else [scene.case]
    done = program(*command.split(), *on, *given, env=scene.environment)
    printed = done.stdout if command == "check" else said(done)  # the attacker is not out by one action: exit code 1
    assert says in printed and "Traceback" not in done.stderr and done.returncode == (command == "check")
    assert [*scene.case.glob("store*/ledger.json")] and kit_json("findings", scene.case)["findings"]
