"""`kit check` says of each open entry whether it is dead, on a recording's account and cluster behind the real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.scene import STOLEN, Scene, standing

KEPT = ("freeze", "capture")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with standing(STOLEN, tmp_path) as made:
        yield made


def only(*names: str) -> list[str]:
    return [part for name in names for part in ("--only", name)]


def looked(scene: Scene) -> tuple[str, dict[tuple[str, str], dict[str, Any]]]:
    done = scene.kit("check", "--json")
    said = json.loads(done.stdout)["attacker"]
    assert (done.returncode == 1) >= (said["out"] == "no")
    return said["out"], {(one["kind"], one["key"]): one for one in said["entries"]}


def test_entries_die_with_what_is_done_and_what_was_left_out_is_alive(scene: Scene) -> None:
    plan = scene.plan(*only(*KEPT), "--without", "keep_image")
    scene.apply(plan["digest"])
    out, before = looked(scene)
    (pod,) = [key for key in before if key[0] == "created"]
    assert out == "no" and before[pod]["state"] == "alive"
    assert before["token", "store/web"]["state"] == "cannot tell"
    assert before["token", "store/api"]["state"] == "dead" and before["token", "store/api"]["at"]
    plan = scene.plan(*only(*KEPT, "delete_pod", "rotate_secrets"), "--without", "keep_image")
    assert {one["word"] for one in scene.apply(plan["digest"])} <= {"done", "done before", "for a person"}
    out, after = looked(scene)
    ended = {one["id"] for one in plan["actions"] if one["action"] == "delete_pod"}
    assert after[pod]["state"] == "dead" and after[pod]["at"] and any(id_ in after[pod]["because"] for id_ in ended)
    secrets = {key: one["state"] for key, one in after.items() if key[0] == "secret"}
    assert out == "no" and set(secrets.values()) == {"alive"}
    rotated = [one for one in plan["actions"] if one["target"] == f"secret:{next(iter(secrets))[1]}"]
    scene.apply(plan["digest"], "--by-hand", rotated[0]["id"])
    _, by_hand = looked(scene)
    assert by_hand[next(iter(secrets))]["state"] == "cannot tell"
    assert "Is the attacker out? No." in scene.kit("check").stdout


def test_what_somebody_else_removed_is_dead_and_a_node_without_an_instance_is_named(scene: Scene) -> None:
    scene.apply(scene.plan(*only("keep_objects", "snapshot_volumes"))["digest"])
    _, before = looked(scene)
    (pod,) = [key for key in before if key[0] == "created"]
    assert not [one for one in before.values() if one["id"].startswith("node-object")]
    scene.kubernetes.remove(pod[1])
    node = {"metadata": {"name": "ip-10-9-9-9.ec2.internal"}, "spec": {"providerID": "aws:///a/i-0badc0ffee0ddf00d"}}
    scene.kubernetes.add({"apiVersion": "v1", "kind": "Node"} | node)
    _, after = looked(scene)
    assert after[pod]["state"] == "dead" and "gone from the cluster" in after[pod]["because"]
    (made,) = [one for one in after.values() if one["id"].startswith("node-object")]
    assert made["state"] == "alive" and "i-0badc0ffee0ddf00d" in made["because"]


def test_what_was_not_reached_is_no_proof(scene: Scene) -> None:
    scene.apply(scene.plan(*only("unbind_identity"))["digest"])
    _, found = looked(scene)
    (node,) = [one for one in found.values() if one["id"].startswith("node-object")]
    assert node["state"] == "cannot tell" and "not both reached" in node["because"]


def test_an_isolation_that_nobody_can_look_at_is_told_with_what_the_plan_said(tmp_path: Path) -> None:
    with standing("default_sa_admin", tmp_path) as scene:
        container = {"name": "calico-node", "image": "calico-node"}
        spec = {"template": {"spec": {"containers": [container]}}}
        metadata = {"name": "calico-node", "namespace": "kube-system"}
        scene.kubernetes.add({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
        kept = ("--keep-address", "203.0.113.7/32", "--without", "keep_image")
        plan = scene.plan(*only("freeze", "contain"), *kept)
        for _ in range(2):
            scene.apply(plan["digest"], "--without-capture", "the kubelets have no checkpoint API")
        _, found = looked(scene)
    (said,) = [
        one for one in plan["simulated"][-1]["attacker"] if one["state"] == "shut out" and one["kind"] == "token"
    ]
    (isolated,) = [one["id"] for one in plan["actions"] if one["action"] == "isolate_pod"]
    now = found["token", said["key"]]
    assert now["state"] == "alive" and now["because"].startswith(said["because"])
    assert now["because"].endswith(f"{isolated} was done, and whether it holds could not be looked at")
