"""`kit preview`, `apply`, `check` and `undo` from outside: on a recording's account and cluster, behind the real clients."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.training.emulators.aws_emulator import CUT as CUT_AWS
from kit.training.emulators.aws_emulator import Refusal as AwsRefusal
from kit.training.emulators.kubernetes_emulator import CUT, Refusal
from tests.command import KIT, kit
from tests.live.scene import STOLEN, Scene, add_access_key, comparable, refused, said, standing
from tests.variation import enforcing, entered, varied


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with standing(STOLEN, tmp_path) as made:
        yield made


def on_new_runtime(tmp_path: Path, recording: str = STOLEN) -> Path:
    """A case whose nodes may make checkpoints: those of the recordings run containerd 1.7, which makes none."""

    def newer(resource: str, items: list[Any]) -> list[Any]:
        for item in items if resource == "nodes" else ():
            item["status"]["nodeInfo"]["containerRuntimeVersion"] = "containerd://2.1.5"
        return enforcing(resource, items)

    assert kit("new", tmp_path / "newer", varied(recording, tmp_path / "varied", dump=newer)).returncode == 0
    return tmp_path / "newer"


def words(outcomes: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["word"] for one in outcomes}


def journal(scene: Scene) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (scene.case / "journal.jsonl").read_text().splitlines()]


def test_the_evidence_goes_to_another_account_alone_and_when_asked_for(scene: Scene) -> None:
    """What is planned for nobody by itself, is done by the plan that was approved, with the snapshots that this plan took."""
    for wrong in ("12345", "keeper", scene.aws.number):
        done = scene.kit("plan", "--evidence-account", wrong)
        assert done.returncode == 2 and "is not the id of another AWS account" in done.stderr
    steps = [word for name in ("snapshot_volumes", "finish_snapshots", "share_snapshots") for word in ("--only", name)]
    assert "share_snapshots" not in {one["action"] for one in scene.plan(*steps)["actions"]}
    plan = scene.plan(*steps, "--evidence-account", "999900001111")
    of = {name: [one for one in plan["actions"] if one["action"] == name] for name in ("snapshot_volumes", "share_snapshots")}  # fmt: skip
    assert of["share_snapshots"] and len(of["share_snapshots"]) == len(of["snapshot_volumes"])
    for take, share in zip(of["snapshot_volumes"], of["share_snapshots"], strict=True):
        assert take["id"] in share["after"] and f"Values={take['id']} " in share["command"][0]
        assert "--user-ids 999900001111" in share["command"][0]
        assert any("aws ec2 copy-snapshot" in says for says in share["blast_radius"])
    scene.aws.account.looks = 0  # the snapshots are done at once
    outcomes = words(scene.apply(plan["digest"]))
    assert {outcomes[one["id"]] for one in of["share_snapshots"]} == {"done"}


def test_apply_does_all_once_and_undo_restores_what_can_be(scene: Scene) -> None:
    before = scene.state()
    plan = scene.plan("--keep-address", "203.0.113.7/32", "--without", "keep_image", "--without", "eradicate")
    first = scene.apply(plan["digest"])
    assert {one["word"] for one in first} == {"done", "for a person"}, [
        one for one in first if one["word"] not in ("done", "for a person")
    ]
    checked = {(one["id"].rpartition("-")[0], one["check"]["word"]) for one in first if one["word"] == "done"}
    done_actions = {one["action"] for one in plan["actions"] if not one["by_person"]}
    # No controller hands the policy on to the nodes here, and the look afterwards sees that.
    assert checked == {(name, "does not hold" if name == "isolate_pod" else "holds") for name in done_actions}
    made, changed = scene.state(), scene.changes()
    assert made != before
    again = scene.apply(plan["digest"])
    assert {one["word"] for one in again} == {"done before", "for a person"}
    assert (scene.state(), scene.changes()) == (made, changed)
    done = json.loads(said(scene.kit("journal", "--json")))["actions"]
    assert {one["state"] for one in done} == {"done"}
    for path in (file for one in done for file in one["files"]):
        assert (scene.case / path).exists()
    undone = json.loads(scene.kit("undo", "--including-attackers", "--json").stdout)["actions"]
    late = {one["id"]: one["says"] for one in undone if one["word"] == "not undone"}
    assert all(id_.startswith("narrow_endpoint") and "not seen yet" in says for id_, says in late.items())
    for _ in range(4):  # EKS takes minutes, and so many looks here
        scene.kit("undo", "--including-attackers")
    assert {one["word"] for one in undone if one["id"] not in late} == {"undone", "cannot be undone"}
    assert all(
        one["id"].startswith(("snapshot_volumes", "capture_container"))
        for one in undone
        if one["word"] == "cannot be undone"
    )
    after = scene.state()
    assert after["cluster"] == before["cluster"]
    assert {name for name in before["aws"] if after["aws"][name] != before["aws"][name]} == {"snapshots"}
    redone = scene.apply(plan["digest"])
    assert set(words(redone).values()) == {"done", "done before", "for a person"}
    assert comparable(scene.state()) == comparable(made)


def test_an_undo_leaves_what_keeps_the_attacker_out_unless_that_is_asked_for(scene: Scene) -> None:
    before = scene.state()  # the token whose rights are gone has ended with its pod; the web token of the role has not
    plan = scene.plan(*(word for name in ("unbind_identity", "change_role_trust") for word in ("--only", name)))
    scene.apply(plan["digest"])
    made = scene.state()
    done = scene.kit("undo", "--json")
    undone = {one["id"]: one for one in json.loads(done.stdout)["actions"]}
    left = {one["action"] for one in plan["actions"] if undone[one["id"]]["word"] == "not undone"}
    back = {one["action"] for one in plan["actions"] if undone[one["id"]]["word"] == "undone"}
    assert done.returncode == 1 and (back, left) == ({"unbind_identity"}, {"change_role_trust"})
    for one in undone.values():
        if one["word"] == "not undone":
            assert "give the attacker back " in one["says"] and "--including-attackers" in one["says"]
    assert scene.state()["cluster"] != made["cluster"] and scene.state()["aws"] == made["aws"]
    said(scene.kit("undo", "--including-attackers"))
    assert scene.state() == before


def test_a_pod_that_came_back_under_its_name_is_not_touched(scene: Scene) -> None:
    plan = scene.plan("--only", "isolate_pod", "--only", "unbind_identity")
    meant = next(one for one in plan["actions"] if one["action"] == "isolate_pod")
    key = f"pods/{meant['name']}"
    pod = scene.kubernetes.objects()[key]
    scene.kubernetes.remove(key)
    scene.kubernetes.add(pod | {"metadata": pod["metadata"] | {"uid": "ffffffff-0000"}})
    before = scene.kubernetes.objects()[key]
    outcomes = {one["id"]: one for one in scene.apply(plan["digest"])}
    assert (
        outcomes[meant["id"]]["word"] == "refused"
        and "ffffffff-0000" in outcomes[meant["id"]]["says"]
        and meant["uid"] in outcomes[meant["id"]]["says"]
    )
    assert scene.kubernetes.objects()[key] == before
    assert {word for id_, word in words(list(outcomes.values())).items() if id_ != meant["id"]} == {"done"}


def test_subjects_that_are_not_as_planned_are_not_edited(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    key = "rolebindings.rbac.authorization.k8s.io/" + plan["actions"][0]["target"].partition("/")[2]
    binding = scene.kubernetes.objects()[key]
    scene.kubernetes.add(
        binding
        | {"subjects": [*binding["subjects"], {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "new"}]}
    )
    before = scene.kubernetes.objects()[key]
    outcomes = scene.apply(plan["digest"])
    assert outcomes[0]["word"] == "refused" and scene.kubernetes.objects()[key] == before


def test_what_is_forbidden_holds_up_only_what_depends_on_it(tmp_path: Path) -> None:
    with standing(STOLEN, tmp_path, case=on_new_runtime(tmp_path)) as scene:
        plan = scene.plan("--without", "keep_image", "--without", "recover")
        scene.kubernetes.denied.add(("create", "", "nodes", "proxy"))
        outcomes = scene.apply(plan["digest"])
        by_word = {
            word: {id_.rpartition("-")[0] for id_, each in words(outcomes).items() if each == word}
            for word in set(words(outcomes).values())
        }
        assert by_word["failed"] == {"capture_container"} and by_word["held"] == {"delete_pod"}
        assert {"isolate_pod", "unbind_identity", "revoke_role_sessions", "finish_snapshots"} <= by_word["done"]
        assert any("403" in one["says"] for one in outcomes if one["word"] == "failed")
        scene.kubernetes.denied.clear()
        assert set(words(scene.apply(plan["digest"])).values()) == {"done", "done before", "for a person"}


def test_what_destroys_waits_for_its_capture_or_for_a_reason(tmp_path: Path) -> None:
    with standing(STOLEN, tmp_path, case=on_new_runtime(tmp_path)) as scene:
        plan = scene.plan("--without", "keep_image", "--without", "recover")
        scene.kubernetes.denied.add(("create", "", "nodes", "proxy"))
        held = [one["id"] for one in scene.apply(plan["digest"]) if one["word"] == "held"]
        assert held and all(id_.startswith("delete_pod") for id_ in held)
        pods = {one["name"] for one in plan["actions"] if one["action"] == "delete_pod"}
        assert all(f"pods/{name}" in scene.kubernetes.objects() for name in pods)
        outcomes = words(scene.apply(plan["digest"], "--without-capture", "nobody here may ask the kubelets"))
        assert {outcomes[id_] for id_ in held} == {"done"}
        assert not any(f"pods/{name}" in scene.kubernetes.objects() for name in pods)
        reasons = [line["members"]["without_capture"] for line in journal(scene) if line["what"] == "approved"]
        assert reasons == ["", "nobody here may ask the kubelets"]


def test_no_reason_is_asked_for_where_no_capture_was_possible(tmp_path: Path) -> None:
    """The kubelets answer 404: the journal says so, the processes were read by a pod, and what destroys goes on."""
    with standing(STOLEN, tmp_path, checkpoints=False, case=on_new_runtime(tmp_path)) as scene:
        plan = scene.plan("--without", "keep_image", "--without", "recover")
        outcomes = scene.apply(plan["digest"])
        found = {one["id"].rpartition("-")[0]: one["word"] for one in outcomes}
        assert found["capture_container"] == "failed" and found["delete_pod"] == found["capture_processes"] == "done"
        assert [line for line in journal(scene) if line["what"] == "failed_action"]
        kept = [line["members"]["file"] for line in journal(scene) if line["what"] == "kept"]
        assert any(file.endswith(".processes.txt") for file in kept)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_cut_connection_is_looked_up_and_nothing_is_done_twice(scene: Scene, phase: str) -> None:
    plan = scene.plan("--only", "unbind_identity", "--only", "revoke_role_sessions", "--only", "snapshot_volumes")
    cut = dict[str, int]()

    def on_cluster(call: Any, now: str) -> Any:
        if call.method == "PATCH" and now == phase and not cut.get(call.path):
            cut[call.path] = 1
            return CUT
        return None

    def on_aws(call: Any, now: str) -> Any:
        if (
            call.operation in ("iam:PutRolePolicy", "ec2:CreateSnapshots")
            and not call.dry_run
            and now == phase
            and not cut.get(call.operation)
        ):
            cut[call.operation] = 1
            return CUT_AWS
        return None

    scene.kubernetes.faults.append(on_cluster)
    scene.aws.faults.append(on_aws)
    first = scene.apply(plan["digest"])
    assert "unknown" in words(first).values() and len(cut) >= 3
    for _ in range(4):
        outcomes = words(scene.apply(plan["digest"]))
    assert set(outcomes.values()) == {"done before"}
    snapshots = scene.aws.state()["snapshots"]
    planned = [one for one in plan["actions"] if one["action"] == "snapshot_volumes"]
    assert len(snapshots) == len(planned)
    looked_up = [
        line
        for line in journal(scene)
        if line["members"].get("looked_up") or "looked up" in str(line["members"].get("says"))
    ]
    assert looked_up


def test_throttling_that_never_ends_is_reported_and_goes_on_later(scene: Scene) -> None:
    plan = scene.plan("--only", "revoke_role_sessions", "--only", "change_role_trust")
    throttle = [AwsRefusal("Throttling", 400, "Rate exceeded")]
    scene.aws.faults.append(
        lambda call, phase: (
            throttle[0] if throttle and phase == "before" and call.operation.startswith("iam:") else None
        )
    )
    before = scene.state()
    outcomes = scene.apply(plan["digest"])
    assert "failed" in words(outcomes).values() and any("throttled" in one["says"] for one in outcomes)
    assert scene.state() == before
    throttle.clear()
    assert set(words(scene.apply(plan["digest"])).values()) == {"done"}


def test_a_conflict_is_read_anew_and_one_that_stays_is_reported(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    conflicts = {"left": 1}

    def interfere(call: Any, phase: str) -> Any:
        if call.method == "PATCH" and phase == "before" and conflicts["left"]:
            conflicts["left"] -= 1
            return Refusal(409, "Conflict", "the object has been modified")
        return None

    scene.kubernetes.faults.append(interfere)
    assert set(words(scene.apply(plan["digest"])).values()) == {"done"}
    said(scene.kit("undo", "--including-attackers"))
    conflicts["left"] = 1000
    before = scene.state()
    outcomes = scene.apply(plan["digest"])
    assert "409" in outcomes[0]["says"] and outcomes[0]["word"] == "failed" and scene.state() == before


def test_of_two_applies_on_one_case_one_wins(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity", "--only", "revoke_role_sessions", "--only", "change_role_trust")
    command = [KIT, "apply", str(scene.case), "--approve", plan["digest"], "--check-after", "0"]
    both = [
        subprocess.Popen(command, env=scene.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(one.communicate(timeout=120)[1], one.returncode) for one in both]
    lost = [says for says, code in ends if code == 2]
    assert sum(code == 0 for _, code in ends) >= 1
    assert all("another process applies or undoes" in says for says in lost)
    intents = [line["members"]["says"] for line in journal(scene) if line["what"] == "intent"]
    assert len(intents) == len(set(intents))


def test_new_evidence_and_marks_warn_with_the_actions_that_they_touch(scene: Scene) -> None:
    plan = scene.plan("--only", "isolate_pod")
    finding = json.loads(said(scene.kit("findings", "--json")))["findings"]
    for one in finding:
        said(scene.kit("mark", "--finding", one["id"], "--as", "expected", "--note", "a drill"))
    done = scene.kit("preview")
    assert "WARNING" in done.stderr and plan["actions"][0]["id"] in done.stderr


def test_the_journal_has_what_was_approved(scene: Scene) -> None:
    plan = scene.plan("--only", "keep_objects")
    scene.apply(plan["digest"])
    (approved,) = [line["members"] for line in journal(scene) if line["what"] == "approved"]
    assert approved["digest"] == plan["digest"] == approved["plan"]["digest"]


def test_a_journal_with_a_broken_chain_is_refused(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    scene.apply(plan["digest"])
    path = scene.case / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for broken in (
        lines[:1] + lines[2:],
        [lines[0], lines[1].replace('"what"', '"what" ', 1).replace("begun", "ended"), *lines[2:]],
    ):
        path.write_text("".join(broken))
        for command in ("apply", "undo", "check", "journal", "preview"):
            arguments = ["--approve", plan["digest"]] if command == "apply" else []
            says = refused(scene, *arguments, command=command)
            assert "the chain of the journal is broken here" in says and "journal.jsonl:2" in says
    path.write_text("".join(lines) + lines[-1][:20])  # cut off while it was written: as if it never was
    assert set(words(scene.apply(plan["digest"])).values()) == {"done before"}
    assert journal(scene)[-2]["what"] == "cut"


def test_what_somebody_changed_since_is_not_undone(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    scene.apply(plan["digest"])
    key = "rolebindings.rbac.authorization.k8s.io/" + plan["actions"][0]["target"].partition("/")[2]
    binding = scene.kubernetes.objects()[key]
    scene.kubernetes.add(
        binding | {"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "someone-else"}]}
    )
    before = scene.kubernetes.objects()[key]
    done = scene.kit("undo", "--including-attackers", "--json")
    outcomes = words(json.loads(done.stdout)["actions"])
    assert done.returncode == 1 and outcomes[plan["actions"][0]["id"]] == "not undone"
    assert scene.kubernetes.objects()[key] == before


def test_what_is_put_back_shows_when_it_is_checked_again(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    kept = scene.kubernetes.objects()
    scene.apply(plan["digest"])
    scene.kubernetes.add(*(one for key, one in kept.items() if key.startswith("rolebindings")))  # as GitOps would
    checks = json.loads(scene.kit("check", "--json").stdout)["actions"]
    assert checks and {one["check"]["word"] for one in checks} == {"does not hold"}


def test_a_case_that_moved_goes_on_from_its_journal(scene: Scene, tmp_path: Path) -> None:
    plan = scene.plan("--only", "unbind_identity", "--only", "isolate_pod")
    scene.apply(plan["digest"])
    moved = Scene(tmp_path / "moved", scene.aws, scene.kubernetes, scene.environment)
    shutil.copytree(scene.case, moved.case)
    assert set(words(moved.apply(plan["digest"])).values()) == {"done before"}


def test_what_destroys_waits_for_captures_that_its_plan_leaves_out(scene: Scene) -> None:
    plan = scene.plan("--only", "eradicate")
    pods = [one["name"] for one in plan["actions"] if one["action"] == "delete_pod"]
    outcomes = scene.apply(plan["digest"])
    assert pods and set(words(outcomes).values()) == {"held"}
    assert all(f"pods/{name}" in scene.kubernetes.objects() for name in pods)


def test_an_outage_of_one_service_holds_up_only_what_needs_it(scene: Scene) -> None:
    plan = scene.plan("--without", "recover", "--without", "keep_image")
    scene.aws.faults.append(
        lambda call, phase: AwsRefusal("InternalError", 500) if phase == "before" and call.service == "ec2" else None
    )
    done = {id_.rpartition("-")[0] for id_, word in words(scene.apply(plan["digest"])).items() if word == "done"}
    assert {"keep_objects", "isolate_pod", "unbind_identity", "change_role_trust", "revoke_role_sessions"} <= done
    assert not {"protect_node", "snapshot_volumes", "delete_pod"} & done


def test_an_answer_that_is_no_json_fails_that_action_alone(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity", "--only", "revoke_role_sessions", "--only", "change_role_trust")
    page = Refusal(200, "", "<html>sign in to the proxy</html>")
    scene.kubernetes.faults.append(
        lambda call, phase: page if phase == "before" and "rolebindings" in call.path else None
    )
    outcomes = words(scene.apply(plan["digest"]))
    assert {word for id_, word in outcomes.items() if id_.startswith("unbind")} <= {"unknown", "held"}
    assert {word for id_, word in outcomes.items() if not id_.startswith("unbind")} == {"done"}


def test_an_undo_whose_answer_was_lost_is_seen_by_the_next_apply(scene: Scene) -> None:
    plan = scene.plan("--only", "revoke_role_sessions", "--only", "change_role_trust")
    scene.apply(plan["digest"])
    made = scene.state()
    lost = [CUT_AWS]
    scene.aws.faults.append(
        lambda call, phase: (
            lost.pop() if lost and phase == "after" and call.operation == "iam:DeleteRolePolicy" else None
        )
    )
    assert scene.kit("undo", "--including-attackers").returncode == 1
    assert "done" in words(scene.apply(plan["digest"])).values()
    assert comparable(scene.state()) == comparable(made)


def test_what_was_put_back_is_done_again(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    kept = scene.kubernetes.objects()
    scene.apply(plan["digest"])
    made = scene.state()
    scene.kubernetes.add(*(one for key, one in kept.items() if key.startswith("rolebindings")))  # as GitOps would
    assert scene.kit("check").returncode == 1
    assert set(words(scene.apply(plan["digest"])).values()) == {"done"}
    assert scene.state()["cluster"] == made["cluster"]


def test_a_kept_address_that_turns_out_to_be_the_attackers_is_warned_of(scene: Scene) -> None:
    """The plan was approved with an address of a pipeline; then somebody says that the calls from there are the attacker's."""
    scene.plan("--only", "narrow_endpoint", "--keep-address", "192.0.2.244/32")
    said(scene.kit("mark", "--address", "192.0.2.244", "--as", "attacker", "--note", "the runner was taken over"))
    done = scene.kit("preview")
    assert "WARNING" in done.stderr and "the attacker called from 192.0.2.244" in done.stderr
    again = scene.kit("plan", "--only", "narrow_endpoint", "--keep-address", "192.0.2.244/32")
    assert again.returncode == 2 and "would leave the endpoint open to that" in again.stderr


def test_an_action_with_other_parameters_is_another_action(scene: Scene) -> None:
    wide = scene.plan("--only", "narrow_endpoint", "--keep-address", "203.0.113.0/26")
    scene.apply(wide["digest"])
    cluster = scene.aws.account.clusters["retail-blue"].description
    while cluster["status"] == "UPDATING":
        scene.aws.client("eks", over_http=True).describe_cluster(name="retail-blue")
    narrow = scene.plan("--only", "narrow_endpoint", "--keep-address", "203.0.113.7/32")
    assert narrow["actions"][0]["id"] != wide["actions"][0]["id"]
    assert set(words(scene.apply(narrow["digest"])).values()) == {"done"}


def test_a_journal_and_what_was_captured_are_for_their_owner_alone(scene: Scene) -> None:
    plan = scene.plan("--only", "keep_objects")
    scene.apply(plan["digest"])
    paths = [scene.case / "journal.jsonl", scene.case / "plan.json", *(scene.case / "captures").rglob("*.yaml")]
    assert len(paths) > 2 and {path.stat().st_mode & 0o077 for path in paths} == {0}


def test_a_node_that_was_reached_is_kept_cut_off_and_ended(tmp_path: Path) -> None:
    evidence = entered(tmp_path / "varied", {"containers": [{"securityContext": {"privileged": True}}]})
    assert kit("new", tmp_path / "privileged", evidence).returncode == 0
    with standing("exec_kube_system", tmp_path, case=tmp_path / "privileged") as scene:
        plan = scene.plan("--without", "recover", "--without", "keep_image", "--keep-address", "203.0.113.7/32")
        key = next(
            one["parameters"]["access_key_ids"][0]
            for one in plan["actions"]
            if one["action"] == "deactivate_access_key"
        )
        add_access_key(scene.aws, "ops-erin", key)
        outcomes = {one["id"].rpartition("-")[0]: one for one in scene.apply(plan["digest"])}
        done = {name for name, one in outcomes.items() if one["word"] == "done"}
        assert {
            "snapshot_volumes",
            "capture_processes",
            "quarantine_node",
            "terminate_node",
            "deactivate_access_key",
        } <= done
        mapped = scene.kubernetes.objects()["configmaps/kube-system/aws-auth"]["data"]
        assert "999988887777" not in str(mapped) and "ops-erin" not in str(mapped) and "system:nodes" in str(mapped)
        instance = next(
            one["parameters"]["instance_id"] for one in plan["actions"] if one["action"] == "terminate_node"
        )
        assert scene.aws.state()["instances"][instance]["state"] in ("shutting-down", "terminated")


def test_a_resource_that_is_answered_with_500_holds_up_no_other(scene: Scene) -> None:
    """A failing admission webhook: the server works, and says of one resource that it cannot."""
    broken, of = (
        Refusal(500, "InternalError", 'failed calling webhook "guard.example.com"'),
        ("networkpolicies", "rolebindings"),
    )
    scene.kubernetes.faults.append(
        lambda call, phase: (
            broken if phase == "before" and call.method != "GET" and any(one in call.path for one in of) else None
        )
    )
    plan = scene.plan("--only", "isolate_pod", "--only", "unbind_identity", "--only", "delete_pod")
    outcomes = scene.apply(plan["digest"], "--without-capture", "the pods are gone in any case")
    failed = [one for one in outcomes if "guard.example.com" in one["says"]]
    assert len(failed) >= 3 and not [one for one in outcomes if "did not answer" in one["says"]]
    scene.kubernetes.faults.clear()
    again = words(scene.apply(plan["digest"], "--without-capture", "the pods are gone in any case"))
    unbound = [one["id"] for one in failed if one["id"].startswith("unbind_identity")]
    assert unbound and {again[id_] for id_ in unbound} == {"done"}


def test_what_was_done_and_not_looked_at_is_looked_at_by_the_next_run(scene: Scene) -> None:
    plan = scene.plan("--only", "unbind_identity")
    scene.apply(plan["digest"])
    path = scene.case / "journal.jsonl"
    *lines, last = path.read_text().splitlines(keepends=True)
    of = json.loads(last)["members"]["action"]
    assert json.loads(last)["what"] == "checked"
    path.write_text("".join(lines))  # killed before it was written
    scene.apply(plan["digest"])
    checked = [
        one["members"]["word"] for one in journal(scene) if one["what"] == "checked" and one["members"]["action"] == of
    ]
    assert checked == ["holds"]


def test_of_what_is_gone_nothing_is_left_to_capture_and_nothing_waits_for_it(scene: Scene) -> None:
    plan = scene.plan("--only", "keep_objects", "--only", "capture_container", "--only", "delete_pod")
    deleted = next(one for one in plan["actions"] if one["action"] == "delete_pod")
    kept = {id_ for id_ in deleted["after"] if id_.startswith(("keep_objects", "capture_container"))}
    scene.kubernetes.remove(f"pods/{deleted['name']}")
    outcomes = {one["id"]: one for one in scene.apply(plan["digest"])}
    assert kept and all(outcomes[id_]["word"] == "refused" for id_ in kept)
    assert all("nothing waits for it" in outcomes[id_]["says"] for id_ in kept)
    assert not [id_ for id_ in kept if id_ in outcomes[deleted["id"]]["says"]], outcomes[deleted["id"]]


def test_of_an_instance_that_the_case_names_ec2_tells_enough(scene: Scene) -> None:
    plan = scene.plan("--only", "snapshot_volumes")
    assert all(one["parameters"]["instance_id"] for one in plan["actions"])
    before = len(scene.kubernetes.calls)
    away = scene.environment | {"KUBECONFIG": str(scene.case / "none")}
    done = Scene(scene.case, scene.aws, scene.kubernetes, away).apply(plan["digest"])
    assert {one["word"] for one in done} == {"done"} and len(scene.kubernetes.calls) == before, done


def test_a_preview_says_what_is_judged_on_the_state_of_today(scene: Scene) -> None:
    plan = scene.plan()
    of = {one["id"]: one for one in plan["actions"]}
    said_of = {one["id"]: one["says"] for one in json.loads(scene.kit("preview", "--json").stdout)["actions"]}
    today = {id_ for id_, says in said_of.items() if "judged on today's state" in says}
    late = {
        id_
        for id_, one in of.items()
        if not one["by_person"]
        and any(Effect.NONE not in ACTIONS[of[each]["action"]].effects for each in one["after"] if each in of)
    }
    assert today and today == late
