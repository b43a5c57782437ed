"""What the kit does in AWS, through its real connection: done as said, tried without a trace, taken back, refused in time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends

from kit.actions.node_capture import capture_pod
from kit.live import yourself
from kit.live.acts import captures, cluster_endpoint, node_capture
from kit.live.acts.act import ACTS, DOES_NOT_HOLD, HOLDS
from kit.live.changes.change import journaled
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL
from kit.training.emulators import kubernetes_emulator
from kit.training.emulators.aws_emulator import CUT, Refusal
from tests.live.aws_account import (
    ACCOUNT,
    ADMIN_POLICY,
    CLUSTER,
    IAM,
    INSTANCE,
    ISSUER,
    KARPENTER,
    KARPENTER_NODE,
    MANIFEST,
    MAP_ROLES,
    NODE,
    REGION,
    SPOT,
    SPOT_NODE,
    WEB_IDENTITY,
    Scene,
    aws_auth,
    node,
    planned,
    pod,
    scene,
)

DIGEST = "sha256:" + hashlib.sha256(MANIFEST.encode()).hexdigest()
IMAGE: dict[str, Any] = {
    "registry_account": ACCOUNT,
    "region": REGION,
    "repository": "shop",
    "tag": "v1",
    "digests": [DIGEST],
}
OF_NODE: dict[str, Any] = {"node": NODE, "uid": f"uid-of-{INSTANCE}", "instance_id": INSTANCE, "node_kind": "managed"}
OF_SPOT: dict[str, Any] = {"node": SPOT_NODE, "uid": None, "instance_id": SPOT, "node_kind": "own_group"}
OF_KARPENTER: dict[str, Any] = {
    "node": KARPENTER_NODE,
    "uid": f"uid-of-{KARPENTER}",
    "instance_id": None,
    "node_kind": "karpenter",
}
CRITERIA: dict[str, Any] = {"Criterion": {"type": {"Equals": ["Execution:Runtime/NewBinaryExecuted"]}}}
INTRUDER = f"{IAM}:role/Intruder"
ROLE = f"{IAM}:role/till"

REVERSIBLE: dict[str, PlannedAction] = {
    "protect a node of a group": planned("protect_node", **OF_NODE),
    "protect a Spot node": planned("protect_node", **OF_SPOT),
    "protect a node of Karpenter": planned("protect_node", **OF_KARPENTER),
    "read what runs": planned("capture_processes", **OF_NODE),
    "cordon": planned("cordon_node", **OF_NODE),
    "cordon a node of Karpenter": planned("cordon_node", **OF_KARPENTER),
    "quarantine": planned("quarantine_node", **OF_NODE),
    "remove a role from the cluster": planned("remove_cluster_access", user_name="kubernetes-admin", arn=INTRUDER),
    "take the creator's right away": planned("end_creator_access", user_name="kubernetes-admin", arn=INTRUDER, mode="API_AND_CONFIG_MAP"),
    "deny a user's sessions": planned("deny_user_sessions", user_name="lost", arn=f"{IAM}:user/lost", access_key_ids=[]),
    "change a role's trust": planned("change_role_trust", role=ROLE, service_accounts=["shop/till"], issuer=None),
    "remove a Pod Identity": planned("remove_pod_identity", namespace="shop", name="till", uid=None),
    "revoke all sessions": planned("revoke_role_sessions", role=ROLE, instances=[], pods=[]),
    "revoke an instance's sessions": planned("revoke_role_sessions", role=f"{IAM}:role/nodes", instances=[INSTANCE], pods=[]),
    "revoke a pod's sessions": planned("revoke_role_sessions", role=ROLE, instances=[], pods=["uid-of-web-1"]),
    "keep an image": planned("keep_image", **IMAGE),
    "keep an image by its tag": planned("keep_image", **IMAGE | {"digests": []}),
    "block an image": planned("block_image", **IMAGE),
    "refuse an image": planned("deny_image", image="docker.io/library/ubuntu:22.04", digests=[DIGEST]),
    "archive": planned("archive_finding", finding="f1", useful=True),
    "suppress": planned("suppress", finding="f1", useful=False, name="kit-expected-1", criteria=CRITERIA),
}  # fmt: skip
LASTING: dict[str, PlannedAction] = {
    "snapshot": planned("snapshot_volumes", **OF_NODE),
    "snapshot once more": planned("snapshot_checkpoints", **OF_NODE),
    "scan": planned("scan_node", **OF_NODE),
    "terminate": planned("terminate_node", **OF_NODE),
    "move": planned("evict_pods", **OF_NODE),
    "rate": planned("give_feedback", finding="f1", useful=False),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with scene(tmp_path / "case", monkeypatch) as made:
        yield made


@pytest.mark.parametrize("name", REVERSIBLE)
def test_an_action_is_tried_without_a_trace_then_done_then_taken_back(here: Scene, name: str) -> None:
    action, before = REVERSIBLE[name], here.state()
    (tried,) = here.preview(action)
    assert tried.word == "would be done", tried.says
    assert (here.state(), here.changing_calls()) == (before, [])
    (done,) = here.apply(action)
    assert done.word == "done" and done.check and done.check.word == HOLDS, (done, here.said)
    after = here.state()
    assert after != before
    calls = here.changing_calls()
    assert [one.word for one in here.apply(action)] == ["done before"]
    assert here.changing_calls() == calls
    assert [one.check.word for one in here.check() if one.check] == [HOLDS]
    assert here.state() == after
    assert [(one.word, one.says) for one in here.undo()] == [("undone", "")]
    assert here.state() == before
    assert here.calls() <= here.permitted(action)


@pytest.mark.parametrize("name", LASTING)
def test_what_cannot_be_taken_back_says_so(here: Scene, name: str) -> None:
    action, before = LASTING[name], here.state()
    (tried,) = here.preview(action)
    assert tried.word == "would be done", tried.says
    assert (here.state(), here.changing_calls()) == (before, [])
    (done,) = here.apply(action)
    assert done.word == "done" and done.check and done.check.word != DOES_NOT_HOLD, done
    assert here.state() != before
    (undone,) = here.undo()
    assert undone.word == "cannot be undone" and undone.says
    assert here.calls() <= here.permitted(action)


class Cutter:
    """Cuts the connection at the nth call that changes something, before it is done or after."""

    def __init__(self, here: Scene, number: int, phase: str) -> None:
        self.left, self.phase, self.has_cut = number, phase, False
        here.aws.faults[:] = [self.aws]
        here.cluster.faults[:] = [self.kubernetes]

    def aws(self, call: Any, phase: str) -> Any:
        reading = call.dry_run or re.match(r".*:(Describe|List|Get|BatchGet|Simulate)", call.operation)
        return CUT if self._is_it(not reading, phase) else None

    def kubernetes(self, call: Any, phase: str) -> Any:
        changing = call.method != "GET" and "dryRun" not in call.query and "review" not in call.path
        return kubernetes_emulator.CUT if self._is_it(changing, phase) else None

    def _is_it(self, changing: bool, phase: str) -> bool:
        if not changing or phase != self.phase or self.has_cut:
            return False
        self.left -= 1
        self.has_cut = self.left < 0
        return self.has_cut


SEVERAL_CALLS = ("quarantine", "remove a role from the cluster", "block an image", "refuse an image")


def cut_everywhere(here: Scene, action: PlannedAction, phase: str) -> int:
    """Cut each changing call of an action and of its undo in turn; the same command again ends it. How many there were."""
    before = here.state()
    for number in range(20):
        cutter = Cutter(here, number, phase)
        words = [here.apply(action)[0].word]
        while words[-1] != "done" and len(words) < 4:
            words.append(here.apply(action)[0].word)
        assert words[-1] == "done" and len(words) == 1 + cutter.has_cut, (words, here.said)
        assert [one.check.word for one in here.check() if one.check] == [HOLDS]
        undoing = Cutter(here, number, phase)
        words = [one.word for one in here.undo()]
        while undoing.has_cut and here.state() != before and len(words) < 4:
            words += [one.word for one in here.undo()]
        assert here.state() == before, (number, words, here.said)
        if not cutter.has_cut and not undoing.has_cut:
            return number
        here.aws.faults.clear()
        here.cluster.faults.clear()
        here.undo()  # what was undone before the cut is written down as undone
    raise AssertionError("an action of so many calls?")


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("name", SEVERAL_CALLS)
def test_a_run_that_is_cut_off_anywhere_goes_on(here: Scene, name: str, phase: str) -> None:
    assert cut_everywhere(here, REVERSIBLE[name], phase) >= 2


@pytest.mark.full
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("name", sorted(set(REVERSIBLE) - set(SEVERAL_CALLS)))
def test_every_run_that_is_cut_off_goes_on(here: Scene, name: str, phase: str) -> None:
    assert cut_everywhere(here, REVERSIBLE[name], phase) >= 1


@pytest.mark.full
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_done_once_wherever_it_is_cut_off(here: Scene, name: str, number: int, phase: str) -> None:
    action = LASTING[name]
    cutter = Cutter(here, number, phase)
    words = [here.apply(action)[0].word for _ in range(1 + cutter.has_cut)]
    words += [here.apply(action)[0].word for _ in range(cutter.has_cut)]
    assert words[-1] == "done", (words, here.said)
    state = here.aws.state()
    assert len(state["snapshots"]) in (0, 2) and len(state["malware_scans"]) < 2 and len(state["instances"]) < 5


REFUSED: dict[str, tuple[PlannedAction, str]] = {
    "another machine under the name": (planned("protect_node", **OF_NODE | {"instance_id": SPOT}), "another machine under the same name"),
    "another kind": (planned("quarantine_node", **OF_NODE | {"node_kind": "own_group"}), "is of the kind managed"),
    "no such instance": (planned("snapshot_volumes", node="gone", instance_id="i-0abcdef1234567899"), "EC2 has no instance"),
    "an unnamed instance": (planned("scan_node", node="gone"), "which instance node gone is cannot be told"),
    "another node's instance": (planned("terminate_node", node="gone", instance_id=INSTANCE), "it is another node's"),
    "Fargate": (planned("terminate_node", node="fargate-1", node_kind="fargate"), "has no instance of yours"),
    "hybrid": (planned("protect_node", node="mi-1", node_kind="hybrid"), "no EC2 instance"),
    "a node that came anew": (planned("cordon_node", **OF_NODE | {"uid": "another", "instance_id": None}), "another object now"),
    "no cordon on Fargate": (planned("cordon_node", **OF_NODE | {"node_kind": "fargate"}), "takes no other"),
    "no ARN": (planned("remove_cluster_access", user_name="u", arn=None), "does not tell which IAM role or user u is"),
    "no principal": (planned("remove_cluster_access", user_name="u", arn=f"{IAM}:root"), "neither a role nor an IAM user"),
    "oneself": (planned("remove_cluster_access", user_name="u", arn=f"{IAM}:user/responder"), "is who runs this command"),
    "oneself in the cluster": (planned("remove_cluster_access", user_name="u", arn=f"{IAM}:role/incident-responder"), "is who runs this command"),
    "a node's role": (planned("remove_cluster_access", user_name="u", arn=f"{IAM}:role/nodes"), "they leave the cluster"),
    "a role's key": (planned("deactivate_access_key", arn=INTRUDER, access_key_ids=["AKIA1"]), "is no IAM user"),
    "no key": (planned("deactivate_access_key", arn=f"{IAM}:user/lost", access_key_ids=[]), "names no access key"),
    "a temporary key": (planned("deactivate_access_key", arn=f"{IAM}:user/lost", access_key_ids=["ASIA1"]), "temporary"),
    "no service account": (planned("change_role_trust", role=ROLE, service_accounts=[], issuer=None), "is not said"),
    "another way in": (planned("change_role_trust", role=INTRUDER, service_accounts=["a/b"], issuer=None), "does not trust the tokens"),
    "a user's sessions": (planned("revoke_role_sessions", role=f"{IAM}:user/lost"), "is no role"),
    "a role instead of a user": (planned("deny_user_sessions", arn=ROLE), "is no IAM user"),
    "another account's user": (planned("deny_user_sessions", arn="arn:aws:iam::999999999999:user/x"), "is of account 999999999999"),
    "the user that runs this": (planned("deny_user_sessions", arn=f"{IAM}:user/responder"), "runs as"),
    "no such user": (planned("deny_user_sessions", arn=f"{IAM}:user/gone"), "has no IAM user gone"),
    "no such role": (planned("revoke_role_sessions", role=f"{IAM}:role/gone"), "has no role gone"),
    "another account's role": (planned("revoke_role_sessions", role="arn:aws:iam::999999999999:role/x"), "is of account 999999999999"),
    "no address": (planned("narrow_endpoint", keep=None), "is not said"),
    "everybody": (planned("narrow_endpoint", keep=["0.0.0.0/0"]), "lets everybody in"),
    "no block": (planned("narrow_endpoint", keep=["office"]), "is written like"),
    "a public image": (planned("keep_image", image="nginx", registry_account=None, repository=None), "is in no ECR registry"),
    "another account's image": (planned("block_image", **IMAGE | {"registry_account": "999999999999"}), "ask its owner"),
    "an image without digest": (planned("block_image", **IMAGE | {"digests": []}), "may name another image"),
    "an image that is gone": (planned("keep_image", **IMAGE | {"digests": ["sha256:" + "0" * 64]}), "no more"),
    "a filter for everything": (planned("suppress", finding="f1", name="all", criteria={"Criterion": {}}), "every finding"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_must_not_be_done_is_refused_and_changes_nothing(here: Scene, name: str) -> None:
    (action, why), before = REFUSED[name], here.state()
    assert [(one.word, why in one.says) for one in here.preview(action)] == [("refused", True)], here.preview(action)
    assert [one.word for one in here.apply(action)] == ["refused"]
    assert (here.state(), here.changing_calls()) == (before, [])


def test_a_trust_that_is_put_back_shows(here: Scene) -> None:
    here.apply(REVERSIBLE["change a role's trust"])
    assert [one.check.word for one in here.check() if one.check] == [HOLDS]
    here.aws.client("iam").update_assume_role_policy(RoleName="till", PolicyDocument=json.dumps(WEB_IDENTITY))
    assert [one.check.word for one in here.check() if one.check] == [DOES_NOT_HOLD]


def test_protection_of_a_group_says_which_and_leaves_spot_to_ec2(here: Scene) -> None:
    (tried,) = here.preview(REVERSIBLE["protect a Spot node"])
    assert "Auto Scaling group workers" in tried.says and "Spot" in tried.says and "EC2 API" not in tried.says
    here.apply(REVERSIBLE["protect a node of a group"])
    state = here.aws.state()
    assert state["instances"][INSTANCE]["protected"]
    group = state["autoscaling_groups"]["workers"]
    assert group["suspended"] == ["ReplaceUnhealthy"] and group["instances"][INSTANCE]["protected"]


def test_a_spot_instance_without_group_cannot_be_protected(here: Scene) -> None:
    here.aws.client("autoscaling").detach_instances(
        AutoScalingGroupName="workers", InstanceIds=[SPOT], ShouldDecrementDesiredCapacity=True
    )
    here.aws.client("ec2").delete_tags(Resources=[SPOT], Tags=[{"Key": "aws:autoscaling:groupName"}])
    (refused,) = here.apply(planned("protect_node", **OF_SPOT))
    assert refused.word == "refused" and "in no Auto Scaling group" in refused.says


def test_snapshots_are_found_again_and_waited_for(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "SNAPSHOT_SECONDS", 0)
    here.aws.account.looks = 8
    take, wait = planned("snapshot_volumes", **OF_NODE), planned("finish_snapshots", of=["snapshot_volumes-0000000000"])
    assert [one.word for one in here.apply(take)] == ["done"]
    (failed,) = here.apply(wait)
    assert failed.word == "failed" and "run the same command again" in failed.says
    here.aws.account.looks = 0
    (done,) = here.apply(wait)
    assert done.word == "done" and done.check and done.check.word == HOLDS
    assert len(here.aws.state()["snapshots"]) == 2
    assert (here.case / "captures" / wait.id / "snapshots.json").exists()


def test_snapshots_that_a_cut_run_made_are_not_made_twice(here: Scene) -> None:
    here.aws.faults.append(lambda call, phase: CUT if call.operation.endswith("CreateSnapshots") and not call.dry_run and phase == "after" else None)  # fmt: skip
    take = planned("snapshot_volumes", **OF_NODE)
    assert [one.word for one in here.apply(take)] == ["unknown"]
    here.aws.faults.clear()
    assert [one.word for one in here.apply(take)] == ["done"]
    assert len(here.aws.state()["snapshots"]) == 2


def test_snapshots_are_locked_so_that_nobody_deletes_them_and_unlocked_again(here: Scene) -> None:
    take = planned("snapshot_volumes", **OF_NODE)
    lock = planned("lock_snapshots", **OF_NODE, of=[take.id])
    (tried,) = here.preview(lock)
    assert tried.word == "would be done" and "none is there yet" in tried.says
    (failed,) = here.apply(lock)
    assert failed.word == "failed" and "no snapshot of snapshot_volumes" in failed.says
    here.apply(take)
    before = here.state()
    (tried,) = here.preview(lock)
    assert "EC2 would do it (DryRun)" in tried.says and here.state() == before
    (done,) = here.apply(lock)
    assert done.word == "done" and done.check and done.check.word == HOLDS, done
    snapshots = here.aws.state()["snapshots"]
    assert len(snapshots) == 2
    for name in snapshots:
        with pytest.raises(here.aws.client("ec2").exceptions.ClientError, match="is locked"):
            here.aws.client("ec2").delete_snapshot(SnapshotId=name)
    with here.work() as work:
        assert [one.word for one in work.undo([lock.id])] == ["undone"]
    assert here.state() == before and here.calls() <= here.permitted(lock) | here.permitted(take)


KEEPER = "999900001111"


def shared_with(here: Scene) -> list[list[str]]:
    """The accounts that each snapshot is shared with, as EC2 says."""
    ec2, names = here.aws.client("ec2"), sorted(here.aws.state()["snapshots"])
    asked = (ec2.describe_snapshot_attribute(SnapshotId=one, Attribute="createVolumePermission") for one in names)
    return [[user["UserId"] for user in one["CreateVolumePermissions"]] for one in asked]


@pytest.mark.parametrize("phase", ["", "before", "after"])
def test_snapshots_are_shared_with_the_account_that_keeps_the_evidence(here: Scene, phase: str) -> None:
    take = planned("snapshot_volumes", **OF_NODE)
    share = planned("share_snapshots", **OF_NODE, of=[take.id], evidence_account=KEEPER)
    (failed,) = here.apply(share)
    assert failed.word == "failed" and "no snapshot of snapshot_volumes" in failed.says
    here.apply(take)
    before = here.state()
    (tried,) = here.preview(share)
    assert "EC2 would do it (DryRun)" in tried.says and here.state() == before and shared_with(here) == [[], []]
    if phase:
        Cutter(here, 1, phase)
        assert [one.word for one in here.apply(share)] == ["unknown"]
    (done,) = here.apply(share)
    assert done.word == "done" and done.check and done.check.word == HOLDS, done
    assert shared_with(here) == [[KEEPER], [KEEPER]]
    with here.work() as work:
        assert [one.word for one in work.undo([share.id])] == ["undone"]
    assert shared_with(here) == [[], []] and here.calls() <= here.permitted(share) | here.permitted(take)


@pytest.mark.parametrize("manager", ["AWS", "CUSTOMER"])
def test_a_snapshot_under_the_default_key_is_not_shared(here: Scene, manager: str) -> None:
    """No other account can use the default key; one of the account's own it can be given."""
    take = planned("snapshot_volumes", **OF_NODE)
    share = planned("share_snapshots", **OF_NODE, of=[take.id], evidence_account=KEEPER)
    here.apply(take)
    kms = here.aws.client("kms")
    own = kms.create_key()["KeyMetadata"]["KeyId"]
    kms_backends[here.aws.number][here.aws.region].keys[own].key_manager = manager
    for one in ec2_backends[here.aws.number][here.aws.region].snapshots.values():
        one.encrypted, one.kms_key_id = True, own
    (outcome,) = here.apply(share)
    if manager == "AWS":
        assert outcome.word == "refused" and "under the default key of EBS" in outcome.says
        assert "copy-snapshot --encrypted --kms-key-id KEY" in outcome.says and shared_with(here) == [[], []]
    else:
        assert outcome.word == "done" and shared_with(here) == [[KEEPER], [KEEPER]]


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", [0, 1])
def test_locks_of_a_run_that_was_cut_off_go_on(here: Scene, number: int, phase: str) -> None:
    take = planned("snapshot_volumes", **OF_NODE)
    lock = planned("lock_snapshots", **OF_NODE, of=[take.id])
    here.apply(take)
    before = here.state()
    Cutter(here, number, phase)
    assert [one.word for one in here.apply(lock)] == ["unknown"]
    assert [one.word for one in here.apply(lock)] == ["done"]
    assert len(here.aws.state()["snapshot_locks"]) == 2
    Cutter(here, number, phase)
    with here.work() as work:
        work.undo([lock.id])
        assert [one.word for one in work.undo([lock.id])] in ([], ["undone"])
    assert here.state() == before


@pytest.mark.parametrize("phase", ["before", "after"])
def test_node_repair_is_switched_off_and_comes_back_as_it_was(here: Scene, phase: str) -> None:
    eks, name = here.aws.client("eks"), {"clusterName": CLUSTER, "nodegroupName": "workers"}
    settings = {"enabled": True, "maxUnhealthyNodeThresholdCount": 3}
    eks.create_nodegroup(**name, nodeRole=f"{IAM}:role/nodes", subnets=[], nodeRepairConfig=settings)
    here.aws.account.looks = 20
    action = planned("pause_node_repair", node_group="workers")
    Cutter(here, 0, phase)
    assert [one.word for one in here.apply(action)] == ["unknown"]
    here.aws.faults.clear()
    (done,) = here.apply(action)
    assert done.word == "done" and done.check and done.check.word == CANNOT_TELL, (done, here.said)
    assert len(here.aws.account.clusters[CLUSTER].updates) == 1

    def settled() -> None:
        group = here.aws.account.clusters[CLUSTER].parts["Nodegroup"]["workers"]
        while group["status"] == "UPDATING":
            here.aws.client("eks", over_http=True).describe_nodegroup(**name)

    settled()
    assert [one.check.word for one in here.check() if one.check] == [HOLDS]
    assert eks.describe_nodegroup(**name)["nodegroup"]["nodeRepairConfig"]["enabled"] is False
    assert [one.word for one in here.undo()] == ["not undone"]
    settled()
    assert [one.word for one in here.undo()] == ["undone"]
    assert eks.describe_nodegroup(**name)["nodegroup"]["nodeRepairConfig"] == settings
    assert here.calls() <= here.permitted(action) | {"aws:eks:DescribeCluster"}


def test_a_group_that_is_being_updated_says_when_to_come_again(here: Scene) -> None:
    eks, name = here.aws.client("eks"), {"clusterName": CLUSTER, "nodegroupName": "workers"}
    on = {"enabled": True}
    eks.create_nodegroup(**name, nodeRole=f"{IAM}:role/nodes", subnets=[], nodeRepairConfig=on)
    here.aws.account.looks = 20
    eks.update_nodegroup_config(**name, scalingConfig={"desiredSize": 4})
    (failed,) = here.apply(planned("pause_node_repair", node_group="workers"))
    assert failed.word == "failed" and "when it is ACTIVE" in failed.says


def test_the_cluster_autoscaler_is_told_to_leave_a_protected_node(here: Scene) -> None:
    here.apply(REVERSIBLE["protect a node of a group"])
    annotated = here.cluster.content()[f"nodes//{NODE}"]["metadata"]["annotations"]
    assert annotated == {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}


def test_quarantine_covers_every_interface_and_its_group_has_no_rule(here: Scene) -> None:
    (done,) = here.apply(REVERSIBLE["quarantine"])
    assert done.check and "may live on" in done.check.says
    state = here.aws.state()
    (group,) = [name for name, one in state["security_groups"].items() if one["name"].startswith("kit-quarantine-")]
    assert state["security_groups"][group]["egress"] == state["security_groups"][group]["ingress"] == []
    assert set(map(tuple, state["instances"][INSTANCE]["groups"].values())) == {(group,)}


def test_a_second_nodes_quarantine_keeps_the_group_when_the_first_is_taken_back(here: Scene) -> None:
    first, second = REVERSIBLE["quarantine"], planned("quarantine_node", 1, **OF_SPOT)
    here.apply(first, second)
    with here.work() as work:
        assert [one.word for one in work.undo([first.id])] == ["not undone"]
    state = here.aws.state()
    (group,) = [name for name, one in state["security_groups"].items() if one["name"].startswith("kit-quarantine-")]
    assert state["security_groups"][group]["egress"] == []
    assert list(state["instances"][SPOT]["groups"].values()) == [[group]]
    assert list(state["instances"][INSTANCE]["groups"].values()) != [[group]]


def test_a_quarantine_group_of_somebody_else_is_not_used(here: Scene) -> None:
    vpc = here.aws.client("ec2").describe_instances(InstanceIds=[INSTANCE])["Reservations"][0]["Instances"][0]["VpcId"]
    here.aws.client("ec2").create_security_group(GroupName=f"kit-quarantine-{vpc}", Description="-", VpcId=vpc)
    before = here.state()
    (refused,) = here.apply(REVERSIBLE["quarantine"])
    assert refused.word == "refused" and "was not made by the kit" in refused.says
    assert here.state() == before


def test_what_runs_on_a_node_is_kept_and_read_by_a_pod_without_a_token(here: Scene) -> None:
    action = REVERSIBLE["read what runs"]
    (done,) = here.apply(action)
    assert done.word == "done", done
    (made,) = [one for key, one in here.cluster.objects().items() if key.startswith("pods/kube-system/kit-capture-")]
    assert made["spec"]["automountServiceAccountToken"] is False and made["spec"]["nodeName"] == NODE
    assert made["spec"]["volumes"][0]["hostPath"] and made["spec"]["containers"][0]["volumeMounts"][0]["readOnly"]
    assert (here.case / "captures" / action.id / f"{NODE}.processes.txt").read_text() == "# end\n"


@pytest.mark.parametrize(("reason", "word"), [("ErrImagePull", "cannot pull"), ("ContainerCreating", "yet")])
def test_a_pod_that_does_not_come_to_run_says_why(
    here: Scene, monkeypatch: pytest.MonkeyPatch, reason: str, word: str
) -> None:
    monkeypatch.setattr(node_capture, "_SECONDS", 0)
    waiting = {"phase": "Pending", "containerStatuses": [{"name": "capture", "state": {"waiting": {"reason": reason}}}]}

    def stuck(call: Any, phase: str) -> None:
        key = next((one for one in here.cluster.objects() if one.startswith("pods/kube-system/kit-capture-")), None)
        if key and call.method == "GET" and phase == "before":
            here.cluster.add(here.cluster.objects()[key] | {"status": waiting})

    here.cluster.faults[:] = [stuck]
    (failed,) = here.apply(REVERSIBLE["read what runs"])
    assert failed.word == "failed" and word in failed.says, failed


def test_what_the_pod_runs_lists_processes_networks_and_mounts() -> None:
    """The script itself, run here: this process is among what it lists, with the hash of its program."""
    script = capture_pod("n", "a")["spec"]["containers"][0]["command"][-1]
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
    program = Path("/proc/self/exe").resolve()
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    lines = [line.split("\t") for line in said.splitlines() if line.startswith(f"{os.getpid()}\t")]
    assert lines and lines[0][1:3] == [str(os.getppid()), str(os.getuid())] and lines[0][4:6] == [digest, str(program)]
    assert "## net:" in said and " tcp\n" in said and " mounts\n" in said and said.rstrip().endswith("# end")


def test_the_role_of_an_instance_is_taken_off_and_given_back(here: Scene) -> None:
    iam, ec2 = here.aws.client("iam"), here.aws.client("ec2")
    iam.create_instance_profile(InstanceProfileName="nodes")
    iam.add_role_to_instance_profile(InstanceProfileName="nodes", RoleName="nodes")
    ec2.associate_iam_instance_profile(InstanceId=INSTANCE, IamInstanceProfile={"Name": "nodes"})
    action, before = planned("detach_instance_role", **OF_NODE), here.state()
    (tried,) = here.preview(action)
    assert tried.word == "would be done" and here.state() == before, tried
    (done,) = here.apply(action)
    assert done.word == "done" and done.check and done.check.word == HOLDS and "until they expire" in done.check.says
    assert ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"] == []
    assert [one.word for one in here.undo()] == ["undone"]
    (back,) = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert back["IamInstanceProfile"]["Arn"].endswith("instance-profile/nodes") and back["InstanceId"] == INSTANCE
    assert here.calls() <= here.permitted(action)


def test_capture_keeps_the_console(here: Scene) -> None:
    (done,) = here.apply(planned("capture_node", **OF_NODE))
    assert done.word == "done" and done.check and "memory is for a person" in done.check.says
    kept = here.case / "captures" / "capture_node-0000000000"
    assert (kept / f"{INSTANCE}.console.txt").read_bytes() and (kept / f"{INSTANCE}.json").exists()
    assert here.changing_calls() == [] and here.calls() <= here.permitted(planned("capture_node"))


def test_a_node_is_drained_unprotected_and_terminated_and_its_group_starts_another(here: Scene) -> None:
    here.apply(planned("protect_node", **OF_NODE))
    (tried,) = here.preview(planned("terminate_node", **OF_NODE))
    assert "evict pods/shop/web-1" in tried.says and "agent-1" not in tried.says
    assert (
        "are deleted with it" in tried.says
        and "starts a new one; it replaces no unhealthy ones until protect_node" in tried.says
    )
    (done,) = here.apply(planned("terminate_node", **OF_NODE))
    assert done.check and done.check.word == HOLDS, done
    state = here.aws.state()
    assert state["instances"][INSTANCE]["state"] == "terminated"
    assert INSTANCE not in state["autoscaling_groups"]["workers"]["instances"] and len(state["instances"]) == 4
    assert "pods/shop/agent-1" in here.cluster.objects() and "pods/shop/web-1" not in here.cluster.objects()
    assert here.cluster.content()[f"nodes//{NODE}"]["spec"]["unschedulable"]


def test_the_attackers_pods_and_those_that_nothing_starts_again_stay_when_the_others_move(here: Scene) -> None:
    bare = {"metadata": {"name": "bare", "namespace": "shop", "uid": "uid-of-bare"}, "spec": {"nodeName": NODE}}
    here.cluster.add({"apiVersion": "v1", "kind": "Pod", **bare})
    (tried,) = here.preview(planned("evict_pods", **OF_NODE))
    assert "evict pods/shop/web-1" in tried.says and "bare" not in tried.says and "agent-1" not in tried.says
    (done,) = here.apply(planned("evict_pods", **OF_NODE))
    assert done.check and done.check.word == HOLDS and "nothing starts pod shop/bare again" in done.check.says
    assert {"pods/shop/bare", "pods/shop/agent-1"} <= here.cluster.objects().keys()
    assert "pods/shop/web-1" not in here.cluster.objects()


def test_a_pod_of_the_attackers_is_not_moved(here: Scene) -> None:
    of_attacker = OF_NODE | {"affected_pods": ["uid-of-web-1"]}
    here.apply(planned("evict_pods", **of_attacker))
    assert "pods/shop/web-1" in here.cluster.objects()


def test_a_node_of_karpenter_is_left_to_its_finalizer(here: Scene) -> None:
    (done,) = here.apply(planned("terminate_node", **OF_KARPENTER))
    assert done.word == "done" and f"nodes//{KARPENTER_NODE}" not in here.cluster.objects()
    assert "ec2:TerminateInstances" not in here.changing_calls()
    assert here.aws.state()["instances"][KARPENTER]["state"] == "running"


def test_auto_mode_is_annotated_alone_and_never_quarantined(here: Scene) -> None:
    here.cluster.add(node(KARPENTER_NODE, KARPENTER, **{"eks.amazonaws.com/compute-type": "auto"}))
    of_auto = OF_KARPENTER | {"node_kind": "auto"}
    (refused,) = here.apply(planned("quarantine_node", **of_auto))
    assert refused.word == "refused" and "network policy" in refused.says
    here.apply(planned("protect_node", **of_auto))
    assert [call for call in here.changing_calls() if "ec2" in call or "autoscaling" in call] == []
    annotated = here.cluster.content()[f"nodes//{KARPENTER_NODE}"]["metadata"]["annotations"]
    assert annotated == {"karpenter.sh/do-not-disrupt": "true"}


def test_labels_that_a_node_gives_itself_do_not_hide_its_instance(here: Scene) -> None:
    here.cluster.add(node(NODE, INSTANCE, **{"eks.amazonaws.com/compute-type": "fargate"}))
    assert [one.word for one in here.apply(REVERSIBLE["protect a node of a group"], REVERSIBLE["quarantine"])] == [
        "done",
        "done",
    ]


def test_a_fargate_node_that_no_evidence_told_apart_is_refused(here: Scene) -> None:
    fargate = node("fargate-ip-10-0-1-3", "", **{"eks.amazonaws.com/compute-type": "fargate"})
    fargate["spec"]["providerID"] = "aws:///eu-central-1a/0a1b/fargate-ip-10-0-1-3"
    here.cluster.add(fargate)
    (refused,) = here.apply(planned("terminate_node", node="fargate-ip-10-0-1-3", uid=None, instance_id=None))
    assert refused.word == "refused" and "no instance of yours" in refused.says


def test_only_the_lines_of_the_principal_go_from_aws_auth(here: Scene) -> None:
    (tried,) = here.preview(REVERSIBLE["remove a role from the cluster"])
    assert f"-- rolearn: {INTRUDER}" in tried.says and "+++ mapRoles" in tried.says and "access entry" in tried.says
    here.apply(REVERSIBLE["remove a role from the cluster"])
    left = here.cluster.objects()["configmaps/kube-system/aws-auth"]["data"]["mapRoles"]
    gone = set(MAP_ROLES.splitlines()) - set(left.splitlines())
    assert gone == {f"- rolearn: {INTRUDER}  # why is this here?", "  username: kubernetes-admin"}
    assert "# people\n" in left and "note: kept" in left
    assert f"{IAM}:role/deep/Intruder" not in here.aws.account.clusters[CLUSTER].parts["AccessEntry"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"[{{rolearn: '{INTRUDER}', username: a, groups: [system:masters]}}]", "one element a line"),
        (f"- &x\n  rolearn: {INTRUDER}\n  username: a\n- <<: *x\n  groups: [b]\n", "anchors"),
        (f"-\n  rolearn: {INTRUDER}\n  username: a\n", "a dash on a line of its own"),
        (f"- rolearn: {INTRUDER}\n  username: |\n    a\n", "several lines"),
        ("- rolearn: [", "no YAML"),
        ("rolearn: a", "is no list"),
    ],
)
def test_an_aws_auth_that_cannot_be_edited_line_by_line_is_left_alone(here: Scene, text: str, why: str) -> None:
    here.cluster.add(aws_auth(mapRoles=text))
    before = here.state()
    (refused,) = here.apply(REVERSIBLE["remove a role from the cluster"])
    assert refused.word == "refused" and why in refused.says
    assert here.state() == before


@pytest.mark.parametrize("mode", ["API_AND_CONFIG_MAP", "API", "CONFIG_MAP"])
def test_the_last_administrator_of_each_mode_stays(here: Scene, mode: str) -> None:
    access = here.aws.account.clusters[CLUSTER]
    access.description["accessConfig"]["authenticationMode"] = mode
    operators = planned("remove_cluster_access", 1, user_name="operator", arn=f"{IAM}:role/operators")
    (done,) = here.apply(REVERSIBLE["remove a role from the cluster"])
    assert done.check and done.check.word == HOLDS and mode in done.check.says
    before = here.state()
    (refused,) = here.apply(operators)
    assert refused.word == "refused" and "no administrator would be left" in refused.says
    assert here.state() == before
    mapped = INTRUDER in here.cluster.objects()["configmaps/kube-system/aws-auth"]["data"]["mapRoles"]
    entered = f"{IAM}:role/deep/Intruder" in access.parts["AccessEntry"]
    assert (mapped, entered) == {
        "API_AND_CONFIG_MAP": (False, False),
        "API": (True, False),
        "CONFIG_MAP": (False, True),
    }[mode]


def test_an_entry_comes_before_a_mapping_when_administrators_are_counted(here: Scene) -> None:
    eks = here.aws.client("eks")
    eks.disassociate_access_policy(clusterName=CLUSTER, principalArn=f"{IAM}:role/operators", policyArn=ADMIN_POLICY)
    (refused,) = here.apply(REVERSIBLE["remove a role from the cluster"])
    assert refused.word == "refused" and "no administrator would be left" in refused.says


def test_the_clusters_creator_cannot_be_removed_in_mode_config_map(here: Scene) -> None:
    here.aws.account.clusters[CLUSTER].description["accessConfig"]["authenticationMode"] = "CONFIG_MAP"
    (refused,) = here.apply(planned("remove_cluster_access", user_name="kubernetes-admin", arn=f"{IAM}:role/Runner"))
    assert refused.word == "refused" and "the cluster's creator" in refused.says


def test_a_key_is_inactive_and_active_again_but_never_the_own_one(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made = here.aws.client("iam").create_access_key(UserName="lost")["AccessKey"]["AccessKeyId"]
    here.aws.account.looks = 0
    action = planned("deactivate_access_key", arn=f"{IAM}:user/lost", access_key_ids=[made])
    if not made.startswith("AKIA"):
        pytest.fail("the emulator makes other keys than AWS")
    before = here.state()
    assert [one.word for one in here.preview(action)] == ["would be done"]
    (done,) = here.apply(action)
    assert (
        done.check
        and done.check.word == HOLDS
        and here.aws.state()["users"]["lost"]["access_keys"] == {made: "Inactive"}
    )
    here.undo()
    assert here.state() == before and here.calls() <= here.permitted(action)
    own = here.aws.environment()["AWS_ACCESS_KEY_ID"]
    (refused,) = here.apply(planned("deactivate_access_key", 1, arn=f"{IAM}:user/responder", access_key_ids=[own]))
    assert refused.word == "refused" and "signs the calls" in refused.says


def test_trust_is_denied_to_the_service_accounts_alone_and_others_changes_outlive_the_undo(here: Scene) -> None:
    here.apply(REVERSIBLE["change a role's trust"])
    trust = here.aws.state()["roles"]["till"]["trust"]
    assert len(trust["Statement"]) == 2
    added = trust["Statement"][1]
    assert (added["Effect"], added["Action"]) == ("Deny", "sts:AssumeRoleWithWebIdentity")
    assert added["Condition"] == {"StringEquals": {f"{ISSUER}:sub": ["system:serviceaccount:shop:till"]}}
    other = trust | {"Statement": [trust["Statement"][0] | {"Sid": "Later"}, added]}
    here.aws.client("iam").update_assume_role_policy(RoleName="till", PolicyDocument=json.dumps(other))
    assert [one.word for one in here.undo()] == ["undone"]
    assert here.aws.state()["roles"]["till"]["trust"]["Statement"] == [other["Statement"][0]]


def test_sessions_are_revoked_as_narrowly_as_they_can_be_told_apart(here: Scene) -> None:
    here.apply(REVERSIBLE["revoke an instance's sessions"])
    here.apply(replace(REVERSIBLE["revoke a pod's sessions"], id="revoke_role_sessions-00000000aa"))
    roles = here.aws.state()["roles"]
    (by_instance,) = roles["nodes"]["inline"]["kit-revoke-0000000000"]["Statement"]
    assert by_instance["Condition"] == {"StringLike": {"aws:userid": [f"*:{INSTANCE}"]}}
    by_pod, untagged = roles["till"]["inline"]["kit-revoke-00000000aa"]["Statement"]
    assert by_pod["Condition"] == {"StringEquals": {"aws:PrincipalTag/kubernetes-pod-uid": ["uid-of-web-1"]}}
    assert set(untagged["Condition"]) == {"Null", "DateLessThan"}


@pytest.mark.parametrize(
    ("path", "why"),
    [("/aws-service-role/eks/", "service-linked"), ("/aws-reserved/sso.amazonaws.com/", "Identity Center")],
)
def test_roles_of_aws_are_left_alone(here: Scene, path: str, why: str) -> None:
    here.aws.client("iam").create_role(RoleName="theirs", AssumeRolePolicyDocument="{}", Path=path)
    (refused,) = here.apply(planned("revoke_role_sessions", role=f"{IAM}:role/theirs", instances=[], pods=[]))
    assert refused.word == "refused" and why in refused.says


def test_sessions_of_a_user_are_denied_by_the_time_when_they_were_issued(here: Scene) -> None:
    """A call that a long-term key signs has no aws:TokenIssueTime, and a condition on an absent key without IfExists does not hold."""
    here.apply(REVERSIBLE["deny a user's sessions"])
    (denied,) = here.aws.state()["users"]["lost"]["inline"]["kit-revoke-0000000000"]["Statement"]
    assert set(denied["Condition"]) == {"DateLessThan"} and set(denied["Condition"]["DateLessThan"]) == {
        "aws:TokenIssueTime"
    }
    until = datetime.fromisoformat(denied["Condition"]["DateLessThan"]["aws:TokenIssueTime"])
    assert timedelta(seconds=30) < until - datetime.now(UTC) <= timedelta(seconds=61)
    here.aws.client("iam").delete_user_policy(UserName="lost", PolicyName="kit-revoke-0000000000")
    assert [one.check.word for one in here.check() if one.check] == [DOES_NOT_HOLD]


def test_a_creators_hidden_mapping_is_not_said_to_be_gone(here: Scene) -> None:
    here.aws.account.clusters[CLUSTER].description["accessConfig"]["authenticationMode"] = "CONFIG_MAP"
    stranger = planned("end_creator_access", user_name="kubernetes-admin", arn=f"{IAM}:role/Runner", mode=None)
    (refused,) = here.apply(stranger)
    assert refused.word == "refused" and "change the authentication mode to API_AND_CONFIG_MAP" in refused.says


def test_the_role_that_runs_the_command_is_left_alone(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in here.aws.environment(f"arn:aws:sts::{ACCOUNT}:assumed-role/Runner/me").items():
        monkeypatch.setenv(name, value)
    (refused,) = here.apply(planned("revoke_role_sessions", role=f"{IAM}:role/Runner", instances=[], pods=[]))
    assert refused.word == "refused" and "runs as" in refused.says


@pytest.mark.parametrize("keep", [["203.0.113.7/32"], []])
def test_the_endpoint_is_narrowed_and_opened_again(here: Scene, keep: list[str]) -> None:
    before = here.state()
    action = planned("narrow_endpoint", keep=keep)
    (tried,) = here.preview(action)
    assert tried.word == "would be done" and (here.state(), here.changing_calls()) == (before, [])
    here.aws.account.looks = 20
    (done,) = here.apply(action)
    assert done.word == "done" and done.check and done.check.word == CANNOT_TELL, (done, here.said)
    settled(here)
    assert [one.check.word for one in here.check() if one.check] == [HOLDS]
    said = here.aws.account.clusters[CLUSTER].description["resourcesVpcConfig"]
    assert said["endpointPrivateAccess"] and said["endpointPublicAccess"] is bool(keep)
    here.aws.account.looks = 40
    (asked,) = here.undo()
    assert asked.word == "not undone" and "not seen yet" in asked.says
    settled(here)
    assert [one.word for one in here.undo()] == ["undone"]
    assert here.state() == before and here.calls() <= here.permitted(action)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_update_whose_answer_was_cut_off_is_looked_up(here: Scene, phase: str) -> None:
    here.aws.account.looks = 20
    action = planned("narrow_endpoint", keep=["203.0.113.7/32"])
    Cutter(here, 0, phase)
    assert [one.word for one in here.apply(action)] == ["unknown"]
    assert [one.word for one in here.apply(action)] == ["done"]
    assert len(here.aws.account.clusters[CLUSTER].updates) == 1
    settled(here)
    here.undo()
    settled(here)
    assert [one.word for one in here.undo()] == ["undone"]


def settled(here: Scene) -> None:
    """Look until the cluster's update has ended."""
    while here.aws.account.clusters[CLUSTER].description["status"] == "UPDATING":
        here.aws.client("eks", over_http=True).describe_cluster(name=CLUSTER)


def test_an_endpoint_that_cuts_off_who_narrowed_it_says_how_to_open_it(here: Scene) -> None:
    here.aws.account.looks = 0
    here.apply(planned("narrow_endpoint", keep=["203.0.113.7/32"]))
    settled(here)
    here.cluster.faults.append(lambda call, phase: kubernetes_emulator.CUT)
    (found,) = here.check()
    assert found.check and found.check.word == DOES_NOT_HOLD and "--only narrow_endpoint" in found.check.says


def test_nodes_that_come_in_from_outside_keep_their_way(here: Scene) -> None:
    network = here.aws.account.clusters[CLUSTER].description["resourcesVpcConfig"]
    network["endpointPrivateAccess"] = False
    for action, why in (
        (planned("narrow_endpoint", keep=[]), "private access is off"),
        (planned("narrow_endpoint", keep=["203.0.113.0/24"]), "is not seen"),
    ):
        (refused,) = here.apply(action)
        assert refused.word == "refused" and why in refused.says
    outside = node(NODE, INSTANCE)
    outside["status"]["addresses"].append({"type": "ExternalIP", "address": "198.51.100.9"})
    here.cluster.add(outside)
    (refused,) = here.apply(planned("narrow_endpoint", keep=["203.0.113.0/24"]))
    assert refused.word == "refused" and "198.51.100.9" in refused.says
    assert [one.word for one in here.apply(planned("narrow_endpoint", keep=["198.51.100.0/24"]))] == ["done"]


def test_a_narrow_endpoint_is_not_opened(here: Scene) -> None:
    here.aws.account.clusters[CLUSTER].description["resourcesVpcConfig"]["publicAccessCidrs"] = ["203.0.113.0/24"]
    (refused,) = here.apply(planned("narrow_endpoint", keep=["198.51.100.0/24"]))
    assert refused.word == "refused" and "would open it" in refused.says


def test_an_update_that_runs_already_is_waited_for(here: Scene) -> None:
    here.aws.account.looks = 10
    logging: Any = {"clusterLogging": [{"types": ["audit"], "enabled": True}]}
    here.aws.client("eks").update_cluster_config(name=CLUSTER, logging=logging)
    (failed,) = here.apply(planned("narrow_endpoint", keep=["203.0.113.7/32"]))
    assert failed.word == "failed" and "when it is ACTIVE" in failed.says


def test_a_kept_image_has_its_manifest_in_the_case_and_its_last_tag_is_not_taken(here: Scene) -> None:
    here.apply(REVERSIBLE["keep an image"])
    folder = here.case / "captures" / "keep_image-0000000000"
    assert [one.read_text() for one in folder.iterdir()] == [MANIFEST]
    ecr = here.aws.client("ecr")
    ecr.batch_delete_image(repositoryName="shop", imageIds=[{"imageTag": "v1"}, {"imageTag": "latest"}])
    (left,) = here.undo()
    assert left.word == "not undone" and "ECR deletes the image" in left.says
    assert list(here.aws.state()["repositories"]["shop"]["images"]) == [DIGEST]


def test_a_denied_call_is_told_before(here: Scene) -> None:
    here.aws.account.denied = ["ecr:PutImage"]
    (tried,) = here.preview(REVERSIBLE["keep an image"])
    assert tried.word == "failed" and "may not call ecr:PutImage" in tried.says
    assert here.changing_calls() == []


def test_a_running_scan_counts(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "SCAN_SECONDS", 0)
    arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{INSTANCE}"
    here.aws.account.looks = 9
    here.aws.client("guardduty").start_malware_scan(ResourceArn=arn)
    (failed,) = here.apply(planned("scan_node", **OF_NODE))
    assert failed.word == "failed" and "still scans" in failed.says
    assert len(here.aws.state()["malware_scans"]) == 1 and here.changing_calls() == []


def denied(operation: str, code: str = "AccessDeniedException", status: int = 403) -> Any:
    """A fault that refuses each call of an operation, dry runs aside."""
    return lambda call, phase: (
        Refusal(code, status, "no") if (call.operation, call.dry_run, phase) == (operation, False, "before") else None
    )


@pytest.mark.parametrize("name", ["terminate_node", "quarantine_node", "protect_node", "cordon_node", "scan_node"])
def test_a_node_that_came_anew_under_the_name_of_the_planned_one_is_left_alone(here: Scene, name: str) -> None:
    here.cluster.add(node(NODE, SPOT))
    before = here.state()
    (refused,) = here.apply(planned(name, **OF_NODE | {"instance_id": None, "node_kind": "unknown"}))
    assert refused.word == "refused" and "another object now" in refused.says
    assert here.state() == before


@pytest.mark.parametrize("name", ["terminate_node", "quarantine_node"])
def test_a_node_of_which_only_the_name_is_known_is_neither_ended_nor_cut_off(here: Scene, name: str) -> None:
    before = here.state()
    (refused,) = here.apply(planned(name, node=NODE, uid=None, instance_id=None, node_kind="managed"))
    assert refused.word == "refused" and "neither uid nor instance" in refused.says
    assert here.state() == before


def test_a_node_that_registered_itself_anew_is_still_its_instance(here: Scene) -> None:
    again = node(NODE, INSTANCE, **{"eks.amazonaws.com/nodegroup": "workers"})
    again["metadata"]["uid"] = "registered-again"
    here.cluster.add(again)
    assert [one.word for one in here.apply(REVERSIBLE["quarantine"], REVERSIBLE["cordon"])] == ["done", "done"]


def test_an_image_that_is_still_used_is_not_blocked_and_says_by_whom(here: Scene) -> None:
    name = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/shop:v1"
    template = {"spec": {"containers": [{"name": "a", "image": name}]}}
    by_template = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "shop", "uid": "u-1"}, "spec": {"jobTemplate": {"spec": {"template": template}}}}  # fmt: skip
    by_digest = pod("web-2", NODE, "ReplicaSet") | {"status": {"phase": "Running", "containerStatuses": [{"image": "other", "imageID": f"x/shop@{DIGEST}"}]}}  # fmt: skip
    ended = pod("job-1", NODE, "Job") | {"status": {"phase": "Succeeded"}}
    ended["spec"] = ended["spec"] | {"containers": [{"name": "a", "image": name}]}
    here.cluster.add(by_template, by_digest, ended)
    before, action = here.state(), planned("block_image", **IMAGE, image=name)
    (tried,) = here.preview(action)
    assert tried.word == "would be done" and "not yet: these still use it: cronjobs/shop/nightly" in tried.says
    (refused,) = here.apply(action)
    assert refused.word == "refused" and refused.says.endswith("cronjobs/shop/nightly, pods/shop/web-2"), refused
    assert here.state() == before
    for key in ("cronjobs.batch/shop/nightly", "pods/shop/web-2"):
        here.cluster.remove(key)
    assert [one.word for one in here.apply(action)] == ["done"]
    assert here.calls() <= here.permitted(action)


def test_an_image_of_no_registry_of_yours_is_refused_by_a_policy_that_leaves_what_runs(here: Scene) -> None:
    """What the expressions let through was tried by a CEL interpreter; here it is that nobody loosens them unseen."""
    action = REVERSIBLE["refuse an image"]
    here.apply(action)
    made = here.cluster.objects()
    (policy,) = [one for key, one in made.items() if key.startswith("validatingadmissionpolicies.")]
    (binding,) = [one for key, one in made.items() if key.startswith("validatingadmissionpolicybindings.")]
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    kinds = {one for rule in policy["spec"]["matchConstraints"]["resourceRules"] for one in rule["resources"]}
    assert {"pods", "pods/ephemeralcontainers", "deployments", "cronjobs", "jobs", "daemonsets", "statefulsets"} <= kinds  # fmt: skip
    (rule,) = policy["spec"]["validations"]
    assert "!(one in variables.before)" in rule["expression"] and '"ubuntu:22.04"' in rule["expression"]
    assert f'one.endsWith("@{DIGEST}")' in rule["expression"] and policy["spec"]["failurePolicy"] == "Ignore"
    changed = policy | {"spec": policy["spec"] | {"validations": [{"expression": "true"}]}}
    here.cluster.add(changed)
    assert [one.check.word for one in here.check() if one.check] == [DOES_NOT_HOLD]


def test_a_cluster_without_admission_policies_says_so(here: Scene) -> None:
    def old(call: Any, phase: str) -> Any:
        gone = kubernetes_emulator.Refusal(404, "NotFound", "the server could not find the requested resource")
        return gone if "validatingadmissionpolicies" in call.path else None

    here.cluster.faults[:] = [old]
    (refused,) = here.apply(REVERSIBLE["refuse an image"])
    assert refused.word == "refused" and "Kubernetes 1.30" in refused.says


def test_a_blocked_image_keeps_its_layers_and_its_digest(here: Scene) -> None:
    here.apply(REVERSIBLE["keep an image"])
    (done,) = here.apply(planned("block_image", 1, **IMAGE))
    assert done.check and done.check.word == HOLDS and "by digest" in done.check.says
    (left,) = here.aws.client("ecr").describe_images(repositoryName="shop")["imageDetails"]
    assert left["imageDigest"] == DIGEST and left["imageTags"] == [f"kit-keep-{DIGEST[7:17]}"]
    assert [one.check.word for one in here.check() if one.check] == [HOLDS, HOLDS]
    here.aws.client("ecr").put_image(repositoryName="shop", imageManifest=MANIFEST, imageTag="v1")
    assert [one.check.word for one in here.check() if one.check] == [HOLDS, DOES_NOT_HOLD]


def test_an_image_that_pods_name_by_digest_is_not_blocked_by_its_tags(here: Scene) -> None:
    name = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/shop@{DIGEST}"
    (refused,) = here.apply(planned("block_image", **IMAGE | {"image": name}))
    assert refused.word == "refused" and "admission rule" in refused.says


@pytest.mark.parametrize("tag", ["v1", "latest"])
def test_an_undo_of_an_image_that_stopped_between_its_tags_goes_on(here: Scene, tag: str) -> None:
    before = here.state()
    here.apply(REVERSIBLE["block an image"])
    here.aws.faults.append(
        lambda call, phase: (
            Refusal("ServerException", 500, "no")
            if call.operation == "ecr:PutImage" and call.parameters.get("imageTag") == tag and phase == "before"
            else None
        )
    )
    assert [one.word for one in here.undo()] == ["not undone"]
    here.aws.faults.clear()
    assert [one.word for one in here.undo()] == ["undone"]
    assert here.state() == before


def test_what_an_image_without_digest_may_be_is_said(here: Scene) -> None:
    (done,) = here.apply(REVERSIBLE["keep an image by its tag"])
    assert done.check and "may be another image" in done.check.says


def test_nobody_loses_access_while_it_is_not_known_who_runs_the_command(here: Scene) -> None:
    here.cluster.faults.append(
        lambda call, phase: kubernetes_emulator.Refusal(503, "ServiceUnavailable", "no") if "selfsubjectreviews" in call.path and phase == "before" else None
    )  # fmt: skip
    before = here.state()
    (refused,) = here.apply(REVERSIBLE["remove a role from the cluster"])
    assert refused.word in ("refused", "failed") and here.state() == before


OPERATORS = planned("remove_cluster_access", 1, user_name="operator", arn=f"{IAM}:role/operators")


def only_mapping(here: Scene, text: str) -> None:
    """The cluster in mode CONFIG_MAP, with these roles mapped."""
    here.aws.account.clusters[CLUSTER].description["accessConfig"]["authenticationMode"] = "CONFIG_MAP"
    here.cluster.add(aws_auth(mapRoles=text))


def mapping(role: str, group: str) -> str:
    """An element of mapRoles."""
    return f"- rolearn: {IAM}:role/{role}\n  username: {role}\n  groups:\n    - {group}\n"


def cluster_admin(kind: str, name: str) -> dict[str, Any]:
    """A ClusterRoleBinding that makes a group or a user administrator."""
    rbac = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"admins-{name}", "uid": f"uid-of-{name}"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": kind, "name": name, "apiGroup": rbac}],
    }


def test_administrators_by_a_binding_of_their_group_or_name_count(here: Scene) -> None:
    only_mapping(here, mapping("operators", "platform-admins") + mapping("Runner", "viewers"))
    here.cluster.add(cluster_admin("Group", "platform-admins"))
    (refused,) = here.apply(OPERATORS)
    assert refused.word == "refused" and "no administrator would be left" in refused.says
    here.cluster.add(cluster_admin("User", "Runner"))
    (done,) = here.apply(OPERATORS)
    assert done.word == "done" and here.calls() <= here.permitted(OPERATORS)


def test_somebody_goes_only_where_an_administrator_is_seen_to_stay(here: Scene) -> None:
    only_mapping(here, mapping("operators", "platform-admins"))
    (refused,) = here.apply(OPERATORS)
    assert refused.word == "refused" and "no administrator would be left" in refused.says


def test_an_attackers_mapping_is_no_administrator_that_stays(here: Scene) -> None:
    only_mapping(here, mapping("operators", "system:masters") + mapping("Intruder", "system:masters"))
    parameters = OPERATORS.parameters | {"hostile": [f"{IAM}:role/operators", INTRUDER]}
    (refused,) = here.apply(replace(OPERATORS, parameters=parameters))
    assert refused.word == "refused" and "no administrator would be left" in refused.says


def test_what_the_act_did_itself_is_not_refused_when_the_run_goes_on(here: Scene) -> None:
    only_mapping(here, MAP_ROLES)
    actions = [
        REVERSIBLE["remove a role from the cluster"],
        REVERSIBLE["block an image"],
        planned("narrow_endpoint", keep=[]),
        planned("terminate_node", **OF_KARPENTER),
        planned("terminate_node", 1, **OF_NODE),
    ]
    assert [one.word for one in here.apply(*actions)] == ["done"] * len(actions), here.said
    settled(here)
    for one in actions:
        assert ACTS[one.action].refuses(here.connection, one) == "", one.action


def test_a_run_that_goes_on_counts_the_administrators_again(here: Scene) -> None:
    action = REVERSIBLE["remove a role from the cluster"]
    here.aws.faults.append(denied("eks:DeleteAccessEntry"))
    assert [one.word for one in here.apply(action)] == ["failed"]
    here.aws.faults.clear()
    here.aws.client("eks").delete_access_entry(clusterName=CLUSTER, principalArn=f"{IAM}:role/operators")
    here.cluster.add(aws_auth(mapRoles=mapping("nodes", "system:nodes")))
    assert "no administrator would be left" in ACTS[action.action].refuses(here.connection, action)


def test_an_undo_of_an_access_entry_that_stopped_before_its_policies_goes_on(here: Scene) -> None:
    before = here.state()
    here.apply(REVERSIBLE["remove a role from the cluster"])
    here.aws.faults.append(denied("eks:AssociateAccessPolicy", "ServerException", 500))
    assert "not undone" in [one.word for one in here.undo()]
    here.aws.faults.clear()
    here.undo()
    assert here.state() == before


def test_an_access_entry_that_is_not_seen_yet_gets_its_policies_a_moment_later(here: Scene) -> None:
    before, tries = here.state(), iter(range(9))
    here.apply(REVERSIBLE["remove a role from the cluster"])
    here.aws.faults.append(
        lambda call, phase: (
            Refusal("ResourceNotFoundException", 404, "no")
            if call.operation == "eks:AssociateAccessPolicy" and phase == "before" and next(tries) < 2
            else None
        )
    )
    assert [one.word for one in here.undo()] == ["undone"]
    assert here.state() == before


def test_what_others_wrote_into_aws_auth_since_stays_when_a_mapping_comes_back(here: Scene) -> None:
    here.apply(REVERSIBLE["remove a role from the cluster"])
    held = here.cluster.objects()["configmaps/kube-system/aws-auth"]
    later = held["data"]["mapRoles"] + mapping("later", "system:nodes")
    here.cluster.add(held | {"data": {"mapRoles": later}})
    assert [one.word for one in here.undo()] == ["undone"]
    now = here.cluster.objects()["configmaps/kube-system/aws-auth"]["data"]["mapRoles"]
    assert now.startswith(later) and f"- rolearn: {INTRUDER}  # why is this here?\n" in now


def test_an_update_that_may_not_be_looked_up_is_not_called_undone(here: Scene) -> None:
    here.aws.faults.append(denied("eks:ListUpdates"))
    here.aws.account.looks = 60
    here.apply(planned("narrow_endpoint", keep=["203.0.113.7/32"]))
    assert [one.word for one in here.undo()] == ["not undone"]


def test_each_undo_of_an_endpoint_is_an_update_of_its_own(here: Scene) -> None:
    here.aws.account.looks = 0
    before = here.state()
    here.apply(planned("narrow_endpoint", keep=["203.0.113.7/32"]))
    settled(here)
    here.aws.account.updates_end = "Failed"
    here.undo()
    settled(here)
    here.aws.account.updates_end = "Successful"
    here.undo()
    settled(here)
    tokens = [call.parameters["clientRequestToken"] for call in here.aws.changes if call.operation == "eks:UpdateClusterConfig"]  # fmt: skip
    assert len(set(tokens)) == len(tokens) == 3
    here.undo()
    assert here.state() == before


def test_the_endpoint_is_switched_off_only_from_inside(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_endpoint, "_addresses", lambda host: ["3.70.1.1"])
    (refused,) = here.apply(planned("narrow_endpoint", keep=[]))
    assert refused.word == "refused" and "--keep-address" in refused.says
    monkeypatch.setattr(cluster_endpoint, "_addresses", lambda host: [])
    (refused,) = here.apply(planned("narrow_endpoint", keep=[]))
    assert refused.word == "refused" and here.changing_calls() == []


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("203.0.113.7", "cannot be told from here (this machine has 203.0.113.7)"),  # of the documentation, so nobody's
        ("10.0.0.5", "cannot be told from here (this machine has 10.0.0.5)"),
        (None, "cannot be told from here (this machine has no way to it)"),
        ("8.8.8.8", "your own address 8.8.8.8 stays in"),
    ],
)
def test_a_preview_says_whether_your_own_address_stays_in(
    here: Scene, monkeypatch: pytest.MonkeyPatch, own: str | None, says: str
) -> None:
    monkeypatch.setattr(yourself, "own_address", lambda live: own)
    (tried,) = here.preview(planned("narrow_endpoint", keep=["8.8.8.0/24"]))
    assert tried.word == "would be done" and says in tried.says


def test_the_endpoint_is_not_closed_for_whoever_runs_this(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yourself, "own_address", lambda live: "9.9.9.9")
    for tried in (here.preview, here.apply):
        (refused,) = tried(planned("narrow_endpoint", keep=["8.8.8.0/24"]))
        assert refused.word == "refused"
        assert "your own address 9.9.9.9 is not among those that stay: you would be shut out" in refused.says
    assert here.changing_calls() == []


def test_the_way_in_of_whoever_runs_this_is_not_ended(here: Scene) -> None:
    entry: dict[str, Any] = {
        "user_name": "you",
        "arn": here.aws.arn,
        "access_key_ids": list[str](),
        "hostile": list[str](),
    }
    for action, permission in (
        ("deny_user_sessions", "iam:PutUserPolicy"),
        ("remove_cluster_access", "eks:DeleteAccessEntry"),
    ):
        yours = replace(planned(action, **entry), permissions=[f"aws:{permission}"])
        for tried in (here.preview, here.apply):
            (refused,) = tried(yours)
            assert refused.word == "refused", refused
            assert f"it would end your own way in, as {here.aws.arn}: have somebody else do it" in refused.says
    assert here.changing_calls() == []


def test_a_preview_says_that_you_are_one_of_those_that_a_person_would_hit(here: Scene) -> None:
    calls_aws = replace(planned("narrow_endpoint", keep=["8.8.8.0/24"]), permissions=["aws:eks:UpdateClusterConfig"])
    for arn, hit in ((here.aws.arn, True), (f"{IAM}:role/Intruder", False)):
        ended = replace(planned("end_sign_in", user_name="somebody", arn=arn), by_person="its provider decides")
        said = here.preview(ended, calls_aws)[0].says
        assert said.startswith("its provider decides")
        assert (f"you are one of those that it hits: this command runs as {here.aws.arn}" in said) is hit


def second_interface(here: Scene) -> tuple[str, str]:
    """A network interface more on the instance: its id and that of its attachment."""
    ec2 = here.aws.client("ec2")
    instance = ec2.describe_instances(InstanceIds=[INSTANCE])["Reservations"][0]["Instances"][0]
    made = ec2.create_network_interface(SubnetId=instance["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    attached = ec2.attach_network_interface(NetworkInterfaceId=made, InstanceId=INSTANCE, DeviceIndex=1)
    return made, attached["AttachmentId"]


def test_an_interface_that_is_gone_holds_up_neither_quarantine_nor_its_undo(here: Scene) -> None:
    ec2, (gone, attached) = here.aws.client("ec2"), second_interface(here)
    here.aws.faults.append(denied("ec2:ModifyNetworkInterfaceAttribute", "InternalError", 500))
    assert [one.word for one in here.apply(REVERSIBLE["quarantine"])] == ["unknown"]
    here.aws.faults.clear()
    ec2.detach_network_interface(AttachmentId=attached)
    ec2.delete_network_interface(NetworkInterfaceId=gone)
    later, attached = second_interface(here)
    (done,) = here.apply(REVERSIBLE["quarantine"])
    assert done.word == "done" and done.check and done.check.word == HOLDS, (done, here.said)
    ec2.detach_network_interface(AttachmentId=attached)
    ec2.delete_network_interface(NetworkInterfaceId=later)
    assert [one.word for one in here.undo()] == ["undone"]


def test_a_group_that_was_not_seen_when_it_was_made_is_found_when_it_is_undone(here: Scene) -> None:
    before = here.state()
    real, hidden = here.connection.read, [True]
    here.connection.__dict__["read"] = lambda service, operation, **more: (
        {"SecurityGroups": []}
        if operation == "describe_security_groups" and hidden[0]
        else real(service, operation, **more)
    )
    here.apply(REVERSIBLE["quarantine"])
    hidden[0] = False
    here.apply(REVERSIBLE["quarantine"])
    assert [one.word for one in here.undo()] == ["undone"]
    assert here.state() == before


def test_what_two_actions_do_to_one_thing_is_recorded_alike(here: Scene) -> None:
    first = [
        journaled(one) for one in ACTS["protect_node"].changes(here.connection, planned("protect_node", **OF_NODE))
    ]
    second = [journaled(one) for one in ACTS["protect_node"].changes(here.connection, planned("protect_node", **OF_SPOT))]  # fmt: skip
    assert [one["kind"] for one in first if one in second] == ["SuspendReplacement"]
    kept = [journaled(one) for one in ACTS["protect_node"].changes(here.connection, planned("protect_node", **OF_KARPENTER))]  # fmt: skip
    cordon = [journaled(one) for one in ACTS["cordon_node"].changes(here.connection, planned("cordon_node", **OF_KARPENTER))]  # fmt: skip
    assert [one for one in kept if one in cordon] == [cordon[0]]


def revocation(here: Scene, role: str = "till") -> dict[str, Any]:
    """The one inline policy of a role."""
    (policy,) = here.aws.state()["roles"][role]["inline"].values()
    return dict(policy)


@pytest.mark.parametrize("name", ["revoke all sessions", "revoke a pod's sessions", "revoke an instance's sessions"])
def test_a_revocation_that_was_replaced_does_not_hold(here: Scene, name: str) -> None:
    here.apply(REVERSIBLE[name])
    role = REVERSIBLE[name].parameters["role"].rpartition("/")[2]
    (policy,) = here.aws.state()["roles"][role]["inline"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    here.aws.client("iam").put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(everything))
    assert [one.check.word for one in here.check() if one.check] == [DOES_NOT_HOLD]


def test_a_second_case_adds_to_the_revocation_of_a_role_and_takes_only_its_own_back(
    here: Scene, tmp_path: Path
) -> None:
    first = REVERSIBLE["revoke an instance's sessions"]
    second = replace(first, parameters=first.parameters | {"instances": [SPOT]})
    other = replace(here, case=tmp_path / "case-2")
    other.case.mkdir()
    before = here.state()
    for scene_, action in ((here, first), (other, second)):
        assert [one.word for one in scene_.apply(action)] == ["done"]
    for scene_ in (here, other):
        assert [one.check.word for one in scene_.check() if one.check] == [HOLDS]
    assert [one.word for one in here.undo()] == ["undone"]
    (left,) = revocation(here, "nodes")["Statement"]
    assert left["Condition"] == {"StringLike": {"aws:userid": [f"*:{SPOT}"]}}
    assert [one.word for one in other.undo()] == ["undone"]
    assert here.state() == before


def test_a_policy_of_that_name_that_the_kit_did_not_write_is_left_alone(here: Scene) -> None:
    theirs = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    here.aws.client("iam").put_role_policy(RoleName="till", PolicyName="kit-revoke-0000000000", PolicyDocument=json.dumps(theirs))  # fmt: skip
    (refused,) = here.apply(REVERSIBLE["revoke all sessions"])
    assert refused.word == "refused" and revocation(here) == theirs


def test_sessions_that_begin_while_iam_still_spreads_the_change_are_revoked_too(here: Scene) -> None:
    (tried,) = here.preview(REVERSIBLE["revoke all sessions"])
    here.apply(REVERSIBLE["revoke all sessions"])
    (statement,) = revocation(here)["Statement"]
    until = datetime.fromisoformat(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"])
    assert timedelta(seconds=30) < until - datetime.now(UTC) < timedelta(seconds=62)
    assert "a minute" in tried.says


@pytest.mark.parametrize("code", ["ConcurrentModification", "EntityTemporarilyUnmodifiable"])
def test_a_change_that_meets_another_one_is_tried_again(here: Scene, code: str) -> None:
    tries = iter(range(9))
    here.aws.faults.append(
        lambda call, phase: (
            Refusal(code, 409, "no")
            if call.operation == "iam:PutRolePolicy" and phase == "before" and next(tries) < 2
            else None
        )
    )
    assert [one.word for one in here.apply(REVERSIBLE["revoke all sessions"])] == ["done"]


@pytest.mark.parametrize("gone", [0, 1])
def test_a_snapshot_that_is_gone_shows(here: Scene, gone: int) -> None:
    take, wait = planned("snapshot_volumes", **OF_NODE), planned("finish_snapshots", of=["snapshot_volumes-0000000000"])
    here.aws.account.looks = 0
    here.apply(take)
    here.aws.client("ec2").delete_snapshot(SnapshotId=sorted(here.aws.state()["snapshots"])[gone])
    (failed,) = here.apply(wait)
    assert failed.word == "failed" and "1 of 2" in failed.says
    assert [one.check.word for one in here.check() if one.check] == [DOES_NOT_HOLD]


def test_snapshots_of_another_instance_under_the_same_name_do_not_count(here: Scene) -> None:
    here.aws.account.looks = 0
    here.apply(planned("snapshot_volumes", **OF_NODE))
    of = OF_SPOT | {"of": "snapshot_volumes-0000000000"}
    (failed,) = here.apply(planned("finish_snapshots", **of))
    assert failed.word == "failed" and "no snapshot" in failed.says


def test_the_last_scan_counts_and_is_waited_for(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "SCAN_SECONDS", 0)
    here.aws.account.looks = 9
    action = planned("scan_node", **OF_NODE)
    (failed,) = here.apply(action)
    assert failed.word == "failed" and "run the same command again" in failed.says
    here.aws.account.looks = 0
    assert [one.word for one in here.apply(action)] == ["done"]
    (one,) = here.aws.account.scans.values()
    here.aws.account.scans["old"] = dict(one) | {"ScanId": "old", "ScanStartedAt": datetime(2025, 1, 1, tzinfo=UTC)}
    one["ScanStatus"] = "FAILED"
    assert [one.check.word for one in here.check() if one.check] == [DOES_NOT_HOLD]


def test_pods_that_nothing_starts_again_keep_their_node(here: Scene) -> None:
    bare = pod("bare", NODE, "x")
    del bare["metadata"]["ownerReferences"]
    here.cluster.add(bare)
    before = here.state()
    (refused,) = here.apply(planned("terminate_node", **OF_NODE))
    assert refused.word == "refused" and "shop/bare" in refused.says and here.state() == before
    known = OF_NODE | {"affected_pods": ["uid-of-bare"]}
    assert [one.word for one in here.apply(planned("terminate_node", 1, **known))] == ["done"]


def test_an_external_id_that_aws_makes_anew_is_said_before(here: Scene) -> None:
    (association,) = here.aws.account.clusters[CLUSTER].parts["PodIdentityAssociation"].values()
    association |= {"externalId": "the-old-one", "targetRoleArn": f"{IAM}:role/target"}
    (tried,) = here.preview(REVERSIBLE["remove a Pod Identity"])
    assert "another external id than the-old-one" in tried.says and f"{IAM}:role/target" in tried.says
    here.apply(REVERSIBLE["remove a Pod Identity"])
    assert [one.word for one in here.undo()] == ["undone"]


def test_a_key_that_a_profile_begins_with_is_the_own_one(
    here: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, own = here.aws.environment(f"arn:aws:sts::{ACCOUNT}:assumed-role/Runner/me"), "AKIA0123456789ABCDEF"
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text(f"[profile work]\nrole_arn = {IAM}:role/Runner\nsource_profile = base\n")
    credentials.write_text(f"[base]\naws_access_key_id = {own}\naws_secret_access_key = emulated\n")
    for name, value in (session | {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_PROFILE": "work"}).items():  # fmt: skip
        monkeypatch.setenv(name, value)
    action = planned("deactivate_access_key", arn=f"{IAM}:user/lost", access_key_ids=[own])
    (refused,) = here.preview(action)
    assert refused.word == "refused" and "signs the calls" in refused.says


def test_what_is_long_over_is_told_from_what_does_not_hold(here: Scene) -> None:
    here.aws.account.looks = 0
    here.apply(REVERSIBLE["quarantine"], REVERSIBLE["cordon"], REVERSIBLE["archive"], REVERSIBLE["keep an image"])
    here.apply(planned("terminate_node", **OF_NODE))
    here.cluster.add(node(NODE, SPOT))
    for detector in here.aws.account.detectors.values():
        detector.findings.clear()
    here.aws.client("ecr").batch_delete_image(repositoryName="shop", imageIds=[{"imageDigest": DIGEST}])
    found = {one.id.rpartition("-")[0]: one.check.word for one in here.check() if one.check}
    assert found == {
        "quarantine_node": HOLDS,
        "cordon_node": HOLDS,
        "archive_finding": CANNOT_TELL,
        "keep_image": DOES_NOT_HOLD,
        "terminate_node": HOLDS,
    }
