"""What `kit apply` and its like refuse before anything is done: nothing in account and cluster changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.training.emulators.kubernetes_emulator import KubernetesEmulator
from tests.live.scene import STOLEN, Scene, refused, said, standing


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, dict[str, Any]]]:
    """A scene with its plan, for calls that have to change nothing."""
    with standing(STOLEN, tmp_path_factory.mktemp("untouched")) as scene:
        yield scene, scene.plan()


def test_preview_says_what_each_action_would_do_and_changes_nothing(untouched: tuple[Scene, dict[str, Any]]) -> None:
    scene, plan = untouched
    before = scene.state()
    outcomes = json.loads(scene.kit("preview", "--json").stdout)["actions"]
    assert [one["id"] for one in outcomes] == [one["id"] for one in plan["actions"]]
    assert (scene.state(), scene.changes()) == (before, 0)
    assert not (scene.case / "journal.jsonl").exists()
    said_of = {one["id"].rpartition("-")[0]: one["says"] for one in outcomes}
    assert "EC2 would do it (DryRun)" in said_of["snapshot_volumes"]
    assert "dryRun=All" in said_of["isolate_pod"] and "no dry-run" in said_of["revoke_role_sessions"]


def test_an_edited_plan_is_refused(untouched: tuple[Scene, dict[str, Any]]) -> None:
    scene, plan = untouched
    path = scene.case / "plan.json"
    kept = path.read_text()
    try:
        path.write_text(kept.replace(plan["actions"][0]["name"], "ip-10-9-9-9.eu-west-1.compute.internal"))
        assert "the plan was edited after it was made" in refused(scene, "--approve", plan["digest"])
        whole = json.loads(kept)
        for member in whole:
            other = whole | {member: [] if whole[member] != [] else ["x"]}
            path.write_text(json.dumps(other))
            says = refused(scene, "--approve", plan["digest"])
            assert "edited after it was made" in says or "is no plan" in says or "upgraded" in says, (member, says)
        path.write_text(kept[: len(kept) // 2])
        assert "Make it anew with `kit plan CASE`" in refused(scene, "--approve", plan["digest"])
        path.unlink()
        assert "this case has no plan" in refused(scene, "--approve", plan["digest"])
    finally:
        path.write_text(kept)


def test_an_approval_of_another_plan_is_refused_naming_both(untouched: tuple[Scene, dict[str, Any]]) -> None:
    scene, plan = untouched
    says = refused(scene, "--approve", "0" * 64)
    assert "0" * 64 in says and plan["digest"] in says and not scene.aws.calls[len(scene.aws.calls) :]


def test_credentials_of_another_account_are_refused(untouched: tuple[Scene, dict[str, Any]]) -> None:
    scene, plan = untouched
    other = scene.aws.environment("arn:aws:iam::999999999999:user/somebody")
    says = refused(scene, "--approve", plan["digest"], **other)
    assert "account 999999999999" in says and "the case is about 111122223333" in says
    nobody = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    assert "there are no usable AWS credentials" in refused(scene, "--approve", plan["digest"], **nobody)


def test_a_kubeconfig_of_another_cluster_is_refused(untouched: tuple[Scene, dict[str, Any]], tmp_path: Path) -> None:
    scene, plan = untouched
    other = scene.kubernetes.kubeconfig(tmp_path / "other", "arn:aws:eks:eu-west-1:111122223333:cluster/another")
    says = refused(scene, "--approve", plan["digest"], "--kubeconfig", str(other))
    assert "cluster/another" in says and "retail-blue" in says
    with KubernetesEmulator() as elsewhere:
        unnamed = elsewhere.kubeconfig(tmp_path / "unnamed", "somewhere")
        says = refused(scene, "--approve", plan["digest"], "--kubeconfig", str(unnamed))
        assert (
            elsewhere.url in says and scene.kubernetes.url in says and not any(one.changed for one in elsewhere.calls)
        )
    assert "there is no usable kubeconfig" in refused(
        scene, "--approve", plan["digest"], "--kubeconfig", str(tmp_path / "none")
    )


NO_CREDENTIAL: dict[str, dict[str, Any]] = {
    "401": {"token": "nobody-has-this"},
    "anonymous": {},
    "a dead command": {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never"}
    },
}


@pytest.mark.parametrize("name", [*NO_CREDENTIAL, "unreachable"])
def test_without_a_usable_credential_nothing_is_done_in_aws_either(
    untouched: tuple[Scene, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    scene, plan = untouched
    read = yaml.safe_load(Path(scene.environment["KUBECONFIG"]).read_text())
    if name == "unreachable":
        read["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
        description = next(iter(scene.aws.account.clusters.values())).description
        kept, description["endpoint"] = description["endpoint"], "http://127.0.0.1:9"
    else:
        read["users"][0]["user"] = NO_CREDENTIAL[name]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(read))
    says = refused(scene, "--approve", plan["digest"], "--kubeconfig", str(path))
    if name == "unreachable":
        description["endpoint"] = kept
        assert "cannot be reached" in says and "--only" in says
    else:
        assert "the calls would be anonymous" in says and "Sign in" in says
    assert [line[:4] for line in says.splitlines()] == ["kit:"], "nothing of the libraries' own"


def test_an_unknown_action_by_hand_is_refused(untouched: tuple[Scene, dict[str, Any]]) -> None:
    scene, plan = untouched
    assert "the plan has no action 'nothing-1'" in refused(scene, "--approve", plan["digest"], "--by-hand", "nothing-1")
    (scene.case / "journal.jsonl").unlink()


def test_nothing_done_is_nothing_to_undo(untouched: tuple[Scene, dict[str, Any]]) -> None:
    scene, _ = untouched
    assert "nothing was done in this case" in refused(scene, command="undo")
    assert "nothing was done in this case" in said(scene.kit("journal"))
