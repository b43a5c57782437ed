"""The commands that a plan prints, typed into a shell: the account and the cluster are afterwards as `kit apply` leaves them.

The programs are the real ones, `aws` and `kubectl`, against the emulators; `docker` and `clamscan` do nothing here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kit.actions.action import Action
from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.training.emulators.kubernetes_access import TOKEN
from kit.training.emulators.kubernetes_emulator import Call, KubernetesEmulator
from tests import cases
from tests.command import RECORDINGS, SAMPLE, SHARED, kit, kit_json
from tests.live.aws_account import MANIFEST
from tests.live.scene import STOLEN, Scene, add_new_node, add_principals, comparable, standing
from tests.live.test_apply import on_new_runtime
from tests.test_plan_truth import scaled_down
from tests.variation import from_own_registry, varied

OPTIONS = ("--keep-address", "203.0.113.7/32")
# The emulator has no OpenAPI documents to validate an object by, so that kubectl leaves that to the server.
_KUBECTL = """#!/bin/sh
case "$1" in create|apply) set -- "$@" --validate=false ;; esac
exec {program} "$@"
"""
MORE = sorted({path.name for path in RECORDINGS.iterdir()} - {STOLEN})
LOOKS = 5  # at what EKS does in minutes
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


TYPED: dict[str, tuple[str, ...]] = {
    STOLEN: (
        "protect_node", "snapshot_volumes", "lock_snapshots", "keep_objects", "narrow_endpoint", "isolate_pod", "deny_image", "unbind_identity", "change_role_trust", "revoke_role_sessions",
        "end_service_account_tokens", "capture_processes", "finish_snapshots", "delete_pod",
    ),
    "access_entry_secrets": ("remove_cluster_access",),
    "anonymous_access": ("remove_anonymous_access",),
    "cluster_creator": ("end_creator_access",),
    "default_sa_admin": ("remove_role_binding",),
    "oidc_user_impact": ("restore_objects",),
    "two_incidents": ("stop_workload", "delete_workload"),
    "vanished_deployment": ("capture_node", "cordon_node", "scan_node", "deactivate_access_key", "deny_user_sessions", "evict_pods", "quarantine_node", "detach_instance_role", "terminate_node"),
    "webhook_backdoor": ("remove_webhook", "suspend_cronjob", "restart_workload", "remove_secret"),
    SAMPLE.name: ("remove_pod_identity",),
}  # fmt: skip
"""Recording → actions whose commands are typed there."""
AS_ANOTHER = {
    "revert_webhook": "revert_changes",
    "revert_rights": "revert_changes",
    "drop_default_account_rights": "remove_anonymous_access",
}
"""Action that no recording asks for → another whose commands the same function makes."""
NOT_TYPED: dict[str, str] = {}
"""Action with commands that are nowhere typed → why."""


def _as_it_is(scene: Scene) -> None:
    """Nothing beside what the dumps have."""


def leaves_the_same(
    recording: str | Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, case: Path | None = None,
    add: Callable[[Scene], None] = _as_it_is, enforced: bool = True,
) -> set[str]:  # fmt: skip
    """The actions whose commands, typed, left what `kit apply` leaves. add: puts beside it what no dump has.

    What is for a person counts as done by hand on both sides, so that what waits for it is done too.
    """
    program("aws")
    done, left = set[str](), list[Any]()
    for by_hand in (False, True):
        (folder / str(by_hand)).mkdir()
        with standing(recording, folder / str(by_hand), enforced=enforced, case=case) as scene:
            plan = scene.plan(*OPTIONS, *options)
            people = {one["id"] for one in plan["actions"] if one["by_person"]}
            add_principals(scene, plan)
            if any(Effect.ADDS_NODES in ACTIONS[one["action"]].effects for one in plan["actions"]):
                add_new_node(scene)
            add(scene)
            if by_hand:
                monkeypatch.setattr(scene.kubernetes, "serve", signed(scene.kubernetes.serve))
                lines = [line for one in plan["actions"] if one["id"] in done for line in one["command"]]
                failed = [f"{line}: {said.stderr}" for line in lines if (said := typed(scene, folder, line)).returncode]
                assert not failed, "\n".join(failed)
            else:
                hands = [word for one in sorted(people) for word in ("--by-hand", one)]
                for _ in range(LOOKS):
                    new = {one["id"] for one in scene.apply(plan["digest"], *hands) if one["word"] == "done"} - people
                    done |= new
                    if not new:
                        break
            left.append(state(scene))
            names = {one["action"] for one in plan["actions"] if one["id"] in done and one["command"]}
    assert sorted(set(left[0]) ^ set(left[1])) == [] and left[0] == left[1]
    return names


@pytest.mark.parametrize(
    "recording",
    [STOLEN, *(pytest.param(one, marks=pytest.mark.full) for one in [*MORE, SAMPLE])],
    ids=lambda one: Path(one).name,
)
def test_the_printed_commands_leave_what_apply_leaves(
    recording: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert leaves_the_same(recording, tmp_path, monkeypatch) >= {*TYPED.get(Path(recording).name, ())}


def _marked(folder: Path) -> Path:
    """A case whose findings were expected."""
    case = cases.copied(folder / "marked", RECORDINGS / STOLEN)
    for one in kit_json("findings", case)["findings"]:
        kit("mark", case, "--finding", one["id"], "--as", "expected", "--note", "a drill of the red team")
    return case


def _made(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """A case of evidence that a function writes."""

    def case(folder: Path) -> Path:
        kit_json("new", folder / "made", make(folder))
        return folder / "made"

    return case


def _with_node_repair(folder: Path) -> Path:
    evidence = varied("vanished_deployment", folder)
    arn = "arn:aws:eks:eu-west-1:111122223333:nodegroup/c/workers/1"
    group = {"nodegroupName": "workers", "nodegroupArn": arn, "nodeRepairConfig": {"enabled": True}}
    (evidence / "aws" / "nodegroup.json").write_text(json.dumps({"nodegroup": group}))
    return evidence


def _add_node_group(scene: Scene) -> None:
    (name,) = scene.aws.state()["clusters"]
    role = f"arn:aws:iam::{scene.aws.number}:role/cluster"
    group = {"clusterName": name, "nodegroupName": "workers", "nodeRole": role, "subnets": []}
    scene.aws.client("eks").create_nodegroup(**group, nodeRepairConfig={"enabled": True})


def _add_image(scene: Scene) -> None:
    ecr = scene.aws.client("ecr")
    ecr.create_repository(repositoryName="tools")
    ecr.put_image(repositoryName="tools", imageManifest=MANIFEST, imageTag="1")


def _scale_down(scene: Scene) -> None:
    web = scene.kubernetes.objects()["deployments.apps/store/web"]
    scene.kubernetes.add(web | {"spec": web["spec"] | {"replicas": 0}})
    for one in scene.kubernetes.objects("replicasets.apps/store/web-").values():
        scene.kubernetes.add(one | {"spec": one["spec"] | {"replicas": 0}})


_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "debug", "namespace": "store", "uid": "uid-of-debug"},
    "spec": {"type": "ClusterIP", "selector": {"app": "api-debug"}, "ports": [{"port": 80, "targetPort": 80}]},
}


def _with_a_service(folder: Path) -> Path:
    return varied(STOLEN, folder, dump=lambda resource, items: [*items, _SERVICE] if resource == "services" else items)


def _add_service(scene: Scene) -> None:
    scene.kubernetes.add(_SERVICE)


def _only(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--only", name))


@dataclass(frozen=True)
class Variant:
    """What brings actions into a plan that no recording's has. covers: these."""

    recording: str | Path
    covers: tuple[str, ...]
    options: tuple[str, ...] = ()
    case: Callable[[Path], Path] | None = None
    add: Callable[[Scene], None] = _as_it_is
    enforced: bool = True


DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
_OWN = partial(from_own_registry, image="777788889999.dkr.ecr.us-east-1.amazonaws.com/tools:1", digest=DIGEST)
_DASHBOARD = SHARED / "data" / "recordings" / "exposed_dashboard"
_CHECKPOINTS = ("snapshot_volumes", "capture_container", "snapshot_checkpoints", "finish_snapshots")
_SHARED = ("snapshot_volumes", "finish_snapshots", "share_snapshots")
VARIANTS = {
    "evidence for another account": Variant(STOLEN, ("share_snapshots",), (*_only(*_SHARED), "--evidence-account", "999900001111")),
    "checkpoints": Variant("webhook_backdoor", ("capture_container", "snapshot_checkpoints"), _only(*_CHECKPOINTS), partial(on_new_runtime, recording="webhook_backdoor")),
    "expected": Variant(STOLEN, ("give_feedback", "archive_finding", "suppress"), (), _marked),
    "node repair": Variant("vanished_deployment", ("pause_node_repair",), _only("pause_node_repair"), _made(_with_node_repair), _add_node_group),
    "an image of the account's own": Variant("vanished_deployment", ("keep_image", "block_image"), _only("keep_image", "block_image"), _made(_OWN), _add_image),
    "a change": Variant("oidc_user_impact", ("revert_changes",), _only("revert_changes"), _made(scaled_down), _scale_down),
    "a dashboard": Variant(_DASHBOARD, ("close_exposure",), _only("close_exposure")),
    "a Service of the attacker's pod": Variant(STOLEN, ("withdraw_pod",), _only("withdraw_pod"), _made(_with_a_service), _add_service),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_so_do_those_of_actions_that_no_recording_asks_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = VARIANTS[name]
    if isinstance(one.recording, Path) and not one.recording.exists():
        pytest.skip("its recording is not here")
    case = one.case(tmp_path) if one.case else None
    typed_names = leaves_the_same(one.recording, tmp_path, monkeypatch, *one.options, case=case, add=one.add, enforced=one.enforced)  # fmt: skip
    assert typed_names >= {*one.covers}


def test_each_action_with_commands_is_typed_somewhere_or_says_why_not() -> None:
    """What is for a person alone, `kit apply` does not do: there is nothing to compare."""
    plain = Action("", "freeze", "", "")
    given = {
        name
        for name, one in ACTIONS.items()
        if not one.by_person and (one.commands is not plain.commands or one.printed is not plain.printed)
    }
    covered = {name for names in TYPED.values() for name in names} | {
        name for one in VARIANTS.values() for name in one.covers
    }
    assert given == covered | AS_ANOTHER.keys() | NOT_TYPED.keys()
    assert not covered & (AS_ANOTHER.keys() | NOT_TYPED.keys())
    for name, other in AS_ANOTHER.items():
        assert other in covered and ACTIONS[name].commands is ACTIONS[other].commands
