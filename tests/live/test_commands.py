"""The commands that a plan prints, typed into a shell: the account and the cluster are afterwards as `kit apply` leaves them.

The programs are the real ones, `aws` and `kubectl`, against the emulators; `docker` and `clamscan` do nothing here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.training.emulators.kubernetes_access import TOKEN
from kit.training.emulators.kubernetes_emulator import Call, KubernetesEmulator
from tests.command import RECORDINGS, kit
from tests.live.scene import STOLEN, Scene, comparable, standing
from tests.variation import varied

OPTIONS = ("--keep-address", "203.0.113.7/32")
# The emulator has no OpenAPI documents to validate an object by, so that kubectl leaves that to the server.
_KUBECTL = """#!/bin/sh
case "$1" in create|apply) set -- "$@" --validate=false ;; esac
exec {program} "$@"
"""
MORE = sorted({path.name for path in RECORDINGS.iterdir()} - {STOLEN})
_OF_THE_KIT = {"kit-token", "kit-volumes", "kit-case"}  # tags by which the kit finds its own tries again
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def program(name: str) -> str:
    """Where a program is; without it the test is skipped, or fails where it is required."""
    found = shutil.which(name)
    if not found and os.environ.get("KIT_PROGRAMS_REQUIRED"):
        pytest.fail(f"{name} is not installed")
    return found or pytest.skip(f"{name} is not installed")


def typed(scene: Scene, folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """What a person's shell does with a line."""
    stand_ins, home = folder / "bin", folder / "home"
    if not stand_ins.exists():
        stand_ins.mkdir()
        home.mkdir()
        wrapped = {"kubectl": _KUBECTL.format(program=program("kubectl"))}
        for name in ("docker", "clamscan"):
            wrapped[name] = "#!/bin/sh\n"
        for name, text in wrapped.items():
            (stand_ins / name).write_text(text)
            (stand_ins / name).chmod(0o755)
        (stand_ins / "sitecustomize.py").write_text("import time\n\ntime.sleep = lambda seconds: None\n")
    paths = {"PATH": f"{stand_ins}:{os.environ['PATH']}", "HOME": str(home), "PYTHONPATH": str(stand_ins)}
    environment = scene.environment | paths | {"AWS_PAGER": ""}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment, cwd=home, capture_output=True, text=True, timeout=300
    )


def state(scene: Scene) -> Any:
    """What account and cluster hold, without what only tells by whose program it was made, and without pods of a node whose instance has ended: kubectl drains
    such a node of pods that the kit leaves to go with it."""
    held = scene.state()
    for one in held["aws"]["snapshots"].values():
        one["tags"] = {name: value for name, value in one["tags"].items() if name not in _OF_THE_KIT}
    # When GuardDuty is done with a scan is no matter of who asked for it.
    for one in held["aws"]["malware_scans"].values():
        for ended in ("ScanStatus", "ScanCompletedAt", "ScanResultDetails"):
            one.pop(ended, None)
    for one in held["cluster"].values():
        annotations = one["metadata"].get("annotations") or {}
        if annotations.pop(_APPLIED, None) and not annotations:
            del one["metadata"]["annotations"]
    over = {id_ for id_, one in held["aws"]["instances"].items() if one["state"] in ("shutting-down", "terminated")}
    nodes = {key.rpartition("/")[2]: one for key, one in held["cluster"].items() if key.startswith("nodes/")}
    gone = {name for name, one in nodes.items() if one["spec"].get("providerID", "").rpartition("/")[2] in over}
    held["cluster"] = {
        key: one
        for key, one in held["cluster"].items()
        if not (key.startswith("pods/") and one["spec"].get("nodeName") in gone)
    }
    return sorted(
        re.sub(r"\bi-[0-9a-f]{17}\b", "i-id", part) for part in comparable(held)
    )  # of one that a group started anew


def signed(serve: Callable[[Call], Any]) -> Callable[[Call], Any]:
    """A server that takes each caller for the one of its kubeconfig: kubectl sends no token by HTTP."""

    def of_kubeconfig(call: Call) -> Any:
        return serve(replace(call, headers={"Authorization": f"Bearer {TOKEN}"} | dict(call.headers)))

    return of_kubeconfig


def test_kubectl_drains_by_evictions_as_a_cluster_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl looks for evictions in what the server tells of itself, and deletes pods past their budgets where it finds none."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}},
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "shop", "ownerReferences": [owner]},
            "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "web"}]},
            "status": {"phase": "Running"},
        },
    ]
    with KubernetesEmulator(objects) as emulator:
        monkeypatch.setattr(emulator, "serve", signed(emulator.serve))
        config = emulator.kubeconfig(tmp_path / "config", "arn:aws:eks:eu-west-1:111122223333:cluster/shop")
        words = [
            program("kubectl"),
            "--kubeconfig",
            str(config),
            "drain",
            "node-1",
            "--ignore-daemonsets",
            "--timeout=60s",
        ]
        done = subprocess.run(
            words, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        asked = [call.path for call in emulator.calls if call.method in ("POST", "DELETE")]
        assert asked == ["/api/v1/namespaces/shop/pods/web/eviction"]


def test_the_printed_drain_moves_the_pods_that_apply_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl ends pods that have finished, moves none where one stands that nothing starts again, and knows the attacker's by a label alone."""

    def more(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if resource != "pods":
            return items
        theirs = next(one for one in items if one["metadata"]["name"] == "worker-73082")
        moved = next(
            one for one in items if one["spec"]["nodeName"] == theirs["spec"]["nodeName"] and _starts_again(one)
        )
        bare = theirs | {"metadata": theirs["metadata"] | {"name": "bare", "uid": "bare"}}
        ended = moved | {
            "metadata": moved["metadata"] | {"name": "ended", "uid": "ended"},
            "status": {"phase": "Succeeded"},
        }
        return [*items, bare, ended]

    evidence = varied("two_incidents", tmp_path, dump=more)
    assert kit("new", tmp_path / "case", evidence).returncode == 0
    added = json.loads((evidence / "cluster" / "pods.json").read_text())["items"][-2:]
    left = list[Any]()
    for by_hand in (False, True):
        (tmp_path / str(by_hand)).mkdir()
        with standing("two_incidents", tmp_path / str(by_hand), enforced=False, case=tmp_path / "case") as scene:
            scene.kubernetes.add(*({"apiVersion": "v1", "kind": "Pod"} | one for one in added))
            plan = scene.plan("--only", "keep_objects", "--only", "cordon_node", "--only", "evict_pods")
            moved = [one for one in plan["actions"] if one["action"] != "keep_objects"]
            if by_hand:
                monkeypatch.setattr(scene.kubernetes, "serve", signed(scene.kubernetes.serve))
                for line in (line for one in moved for line in one["command"]):
                    said = typed(scene, tmp_path, line)
                    assert said.returncode == 0, said.stderr
            else:
                words = {one["id"]: one["word"] for one in scene.apply(plan["digest"])}
                assert {words[one["id"]] for one in moved} == {"done"}
            left.append(state(scene))
            stays = {f"pods/{one['metadata']['namespace']}/{one['metadata']['name']}" for one in added}
            assert {*stays, "pods/shop/worker-73082"} <= scene.kubernetes.objects().keys()
    assert left[0] == left[1]


def _starts_again(pod: dict[str, Any]) -> bool:
    return any(one["kind"] == "ReplicaSet" for one in pod["metadata"].get("ownerReferences") or ())


@pytest.mark.parametrize("recording", [STOLEN, *(pytest.param(one, marks=pytest.mark.full) for one in MORE)])
def test_the_printed_commands_leave_what_apply_leaves(
    recording: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("aws")
    for name in ("applied", "typed"):
        (tmp_path / name).mkdir()
    with standing(recording, tmp_path / "applied") as scene:
        outcomes = scene.apply(scene.plan(*OPTIONS)["digest"])
        done = {one["id"] for one in outcomes if one["word"] == "done"}
        applied = state(scene)
    with standing(recording, tmp_path / "typed") as scene:
        monkeypatch.setattr(scene.kubernetes, "serve", signed(scene.kubernetes.serve))
        failed = list[str]()
        for one in scene.plan(*OPTIONS)["actions"]:
            for line in one["command"] if one["id"] in done else ():
                said = typed(scene, tmp_path, line)
                failed += [f"{line}: {said.stderr}"] if said.returncode else []
        assert not failed, "\n".join(failed)
        assert sorted(set(state(scene)) ^ set(applied)) == [] and state(scene) == applied
