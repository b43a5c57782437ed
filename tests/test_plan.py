"""The plan: the same for the same evidence, in an order that loses nothing, with what hangs on each action and how it is undone."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.actions.action import STAGES
from kit.actions.permission import permissions_for
from kit.actions.registry import ACTIONS
from kit.actions.target import ExpectedObject, Target, noun_of
from kit.inventory.node_facts import NodeFacts
from kit.live.changes.objects import url_path
from kit.model.kubernetes import OBJECT_KINDS
from kit.plan.permissions import ALWAYS, permissions_of
from kit.plan.plan import Plan, PlannedAction
from kit.training.emulators.kubernetes_kinds import KINDS as SERVED
from kit.training.variation import DAEMON_SETS
from kit.training.variation import enforcing as as_enforced
from tests import cases
from tests.command import RECORDINGS, SAMPLE, kit, kit_json, program
from tests.test_scope import STOLEN
from tests.variation import Event, enforcing, entered, from_own_registry, varied

Planned = dict[str, Any]
ISOLATED = ("--without", "restart_workload")
"""After which the pods of your workloads are isolated, captured and deleted, as they are where a restart is not possible."""
EVERY = [*sorted(path.name for path in RECORDINGS.iterdir()), "sample"]


class Made(dict[str, tuple[Path, Planned]]):
    def __missing__(self, name: str) -> tuple[Path, Planned]:
        evidence = SAMPLE if name == "sample" else RECORDINGS / name
        self[name] = cases.shared(evidence), cases.planned(evidence)
        return self[name]


@pytest.fixture(scope="module")
def plans() -> dict[str, tuple[Path, Planned]]:
    """Recording → its case, not to be written to, and its plan, made when they are asked for."""
    return Made()


@pytest.mark.parametrize("name", EVERY)
def test_stages_stand_in_their_order_and_nothing_is_destroyed_before_it_is_kept(
    name: str, plans: dict[str, tuple[Path, Planned]]
) -> None:
    actions = plans[name][1]["actions"]
    assert (
        actions
        and [
            one["id"]
            for one in actions
            if not one["why"] and one["target"].partition(":")[0] in ("pod", "node", "iam_role")
        ]
        == []
    )
    stages = [STAGES.index(one["stage"]) for one in actions]
    assert stages == sorted(stages)
    place = {one["id"]: number for number, one in enumerate(actions)}
    assert len(place) == len(actions)
    for number, one in enumerate(actions):
        assert all(place[before] < number for before in one["after"])
        if ACTIONS[one["action"]].destroys and one["target"].startswith(("pod:", "node:")):
            kept = {
                of["id"]
                for of in actions
                if of["target"] == one["target"] and of["stage"] in ("freeze", "capture")
                if of["action"]
                not in (
                    "protect_node",
                    "quarantine_node",
                    "lock_snapshots",
                    "detach_instance_role",
                )  # nothing of them is lost with what is destroyed
            }
            assert kept and kept <= set(one["after"])


@pytest.mark.parametrize("name", EVERY)
def test_only_what_is_affected_and_not_gone_is_acted_on(name: str, plans: dict[str, tuple[Path, Planned]]) -> None:
    plan = plans[name][1]
    case = cases.shared(SAMPLE if name == "sample" else RECORDINGS / name)
    subjects = [one for finding in cases.printed("scope", of=case)["findings"] for one in finding["subjects"]]
    affected = {
        f"{one['kind']}:{one['key']}"
        for one in subjects
        if one["certainty"] == "affected" and one["standing"] is not False
    }
    pods = {one["target"] for one in plan["actions"] if one["target"].startswith("pod:")}
    assert pods == {one for one in affected if one.startswith("pod:")}
    exposed = {one["ref"] for one in subjects if one["ring"] in ("exposed", None)}
    assert set(plan["review"]) & affected <= {one for one in exposed if one.startswith("pod:")}
    tools = {one["target"] for one in plan["actions"] if one["action"] in ("isolate_pod", "delete_pod")}
    assert not tools & set(plan["review"])
    assert {one for one in plan["review"] if one.startswith("pod:")} <= exposed | {
        one["ref"] for one in subjects if one["certainty"] == "possible"
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_action_says_what_it_needs_what_stops_and_how_it_is_undone(
    name: str, plans: dict[str, tuple[Path, Planned]]
) -> None:
    for one in plans[name][1]["actions"]:
        assert one["precondition"] and one["blast_radius"] and bool(one["undo"]) != bool(one["cannot_undo"])
        assert one["when_not"] and all(len(shlex.split(command)) > 1 for command in one["command"])


def test_the_same_evidence_gives_the_same_plan_wherever_the_case_lies(
    tmp_path: Path, plans: dict[str, tuple[Path, Planned]]
) -> None:
    plan = plans[STOLEN][1]
    kit_json("new", tmp_path / "another name", RECORDINGS / STOLEN)
    again = json.loads(program("plan", tmp_path / "another name", "--json").stdout)  # in which sets have another order
    assert (again["digest"], again["actions"]) == (plan["digest"], plan["actions"])
    assert cases.planned(RECORDINGS / STOLEN, "--without", "eradicate")["digest"] != plan["digest"]


def test_a_plan_for_other_evidence_has_another_digest(tmp_path: Path, plans: dict[str, tuple[Path, Planned]]) -> None:
    def unread(events: list[Event]) -> list[Event]:
        return [event for event in events if (event.get("objectRef") or {}).get("resource") != "secrets"]

    evidence = varied(STOLEN, tmp_path, events=unread)
    kit_json("new", tmp_path / "case", evidence)
    assert kit_json("plan", tmp_path / "case")["digest"] != plans[STOLEN][1]["digest"]


def test_what_hangs_on_it_is_named(plans: dict[str, tuple[Path, Planned]]) -> None:
    actions = plans["sample"][1]["actions"]
    node = next(one for one in actions if one["action"] == "terminate_node")
    assert "known to stand on it" in node["blast_radius"][0] and "is shared with" in node["blast_radius"][1]
    endpoint = next(one for one in actions if one["action"] == "narrow_endpoint")
    assert any(" called " in says and "outside of the cluster" in says for says in endpoint["blast_radius"])
    actions = cases.planned(RECORDINGS / "webhook_backdoor", *ISOLATED, enforced=True)["actions"]
    pod = next(one for one in actions if one["action"] == "isolate_pod" and one["name"].startswith("checkout/api"))
    assert any(says.startswith("service checkout/api sends to it") for says in pod["blast_radius"])


def test_new_secrets_wait_until_the_attacker_is_out(plans: dict[str, tuple[Path, Planned]]) -> None:
    actions = plans[STOLEN][1]["actions"]
    cut = {one["id"] for one in actions if one["stage"] in ("contain", "revoke") and one["action"] != "rotate_secrets"}
    rotated = [one for one in actions if one["action"] == "rotate_secrets"]
    assert rotated and cut and all(set(one["after"]) == cut for one in rotated)


def test_a_name_that_is_no_name_is_in_no_command(tmp_path: Path, plans: dict[str, tuple[Path, Planned]]) -> None:
    hostile = "web';reboot;'$(id)"
    name = next(one["name"] for one in plans[STOLEN][1]["actions"] if one["action"] == "keep_objects").partition("/")[2]

    def renamed(resource: str, items: list[Event]) -> list[Event]:
        return [json.loads(json.dumps(item).replace(name, hostile)) for item in items]

    def events(log: list[Event]) -> list[Event]:
        return [json.loads(json.dumps(event).replace(name, hostile)) for event in log]

    evidence = varied(STOLEN, tmp_path, events=events, dump=renamed)
    kit_json("new", tmp_path / "case", evidence)
    named = [one for one in kit_json("plan", tmp_path / "case")["actions"] if hostile in one["name"]]
    assert named and all(not one["command"] and repr(hostile) in one["by_person"] for one in named)


def test_an_unknown_stage_or_action_is_refused(plans: dict[str, tuple[Path, Planned]]) -> None:
    done = kit("plan", plans[STOLEN][0], "--only", "nuke")
    assert done.returncode == 2 and "'nuke' is neither a stage nor an action" in done.stderr


def test_the_plan_as_markdown_has_the_digest_and_the_order(
    tmp_path: Path, plans: dict[str, tuple[Path, Planned]]
) -> None:
    case, plan = cases.copied(tmp_path / "case", RECORDINGS / STOLEN), plans[STOLEN][1]
    done = kit("plan", case)
    assert done.returncode == 0 and plan["digest"] in done.stdout and "**cannot be undone**" in done.stdout
    headings = [line[3:].lower() for line in done.stdout.splitlines() if line.startswith("## ")]
    assert [one for one in headings if one in STAGES] == [
        one for one in STAGES if one in headings
    ] and "to be looked at" in headings


def test_the_permissions_are_those_of_the_plan_alone(tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", RECORDINGS / STOLEN)
    plan = kit_json("plan", case)
    needed = json.loads(kit("permissions", "plan", case).stdout)
    asked = {one for action in plan["actions"] if not action["by_person"] for one in action["permissions"]}
    of_aws = {one for one in asked if one.startswith("aws:")}
    for policy, wanted in (
        ("iam_policy", {*ALWAYS, *(one for one in of_aws if not one.endswith("@undo"))}),
        ("undo_iam_policy", {one.removesuffix("@undo") for one in of_aws if one.endswith("@undo")}),
    ):
        assert {f"aws:{one}" for one in needed[policy]["Statement"][0]["Action"]} == wanted
    roles = {(one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in needed["roles"]["items"]}
    rules = [rule for role in roles.values() for rule in role["rules"]]
    assert all("*" not in part for rule in rules for part in (*rule["resources"], *rule["verbs"]))
    assert not [
        rule
        for rule in rules
        if "resourceNames" in rule and {"create", "list"} & {*rule["verbs"]} and "/" not in rule["resources"][0]
    ]
    assert all(one["kind"] == ("Role" if space else "ClusterRole") for (space, _), one in roles.items())
    everywhere = {
        resource
        for (space, _), one in roles.items()
        if not space
        for rule in one["rules"]
        for resource in rule["resources"]
    }
    assert not {"secrets", "configmaps", "services", "serviceaccounts"} & everywhere
    deleting = [
        one
        for (_, name), one in roles.items()
        if not name.endswith("-undo")
        for rule in one["rules"]
        if "delete" in rule["verbs"] and "resourceNames" not in rule and rule["resources"] != ["secrets"]
    ]
    assert deleting == []


def test_a_sample_finding_gives_no_plan(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "data" / "samples" / "11-aws-sample.json", tmp_path)
    kit_json("new", tmp_path / "case", tmp_path / "11-aws-sample.json")
    assert kit_json("plan", tmp_path / "case")["actions"] == []


def test_the_endpoint_says_whom_it_cuts_off_and_whom_not(
    tmp_path: Path, plans: dict[str, tuple[Path, Planned]]
) -> None:
    case, plan = cases.copied(tmp_path / "case", RECORDINGS / STOLEN), plans[STOLEN][1]
    before = next(one for one in plan["actions"] if one["action"] == "narrow_endpoint")
    assert before["by_person"] and "an address that is kept is open to the attacker too" in before["blast_radius"][0]
    kept = kit_json("plan", case, "--only", "narrow_endpoint", "--keep-address", "203.0.113.7/32")["actions"][0]
    assert not kept["by_person"] and not any("open to the attacker" in says for says in kept["blast_radius"])
    for wrong in ("0.0.0.0/0", "home", "203.0.113.7/24"):
        done = kit("plan", case, "--keep-address", wrong)
        assert done.returncode == 2 and "--keep-address" in done.stderr
    assert (
        "give one of both" in kit("plan", case, "--keep-address", "203.0.113.7/32", "--private-endpoint").stderr.lower()
    )


def test_what_was_hit_and_not_used_is_left_in_place(plans: dict[str, tuple[Path, Planned]]) -> None:
    """A user of the identity provider scaled a Deployment down and deleted others: its pods are the victim's."""
    plan = plans["oidc_user_impact"][1]
    assert not {"isolate_pod", "delete_pod", "capture_container", "cordon_node"} & {
        one["action"] for one in plan["actions"]
    }
    assert any(ref.startswith("pod:") for ref in plan["review"])
    assert any(one["action"] == "unbind_identity" and "group oidc:devs" in one["says"] for one in plan["not_possible"])
    restored = {one["target"] for one in plan["actions"] if one["action"] == "restore_objects" and not one["by_person"]}
    assert restored == {"deleted:cronjobs/store/report", "deleted:deployments/store/worker"}


def test_a_mapping_that_the_attacker_planted_is_taken_out(plans: dict[str, tuple[Path, Planned]]) -> None:
    actions = plans["exec_kube_system"][1]["actions"]
    planted = [
        one for one in actions if one["action"] == "remove_cluster_access" and one["target"].startswith("mapping:")
    ]
    assert [one["parameters"]["arn"] for one in planted] == ["arn:aws:iam::999988887777:role/Support"]
    assert planted[0]["parameters"]["arn"] in planted[0]["parameters"]["hostile"]


@pytest.mark.parametrize("name", EVERY)
def test_one_object_is_edited_or_deleted_by_one_action(name: str, plans: dict[str, tuple[Path, Planned]]) -> None:
    touched = [
        (one["parameters"]["resource"], one["parameters"]["namespace"], one["parameters"]["name"])
        for one in plans[name][1]["actions"]
        if one["action"] not in ("keep_objects", "suspend_cronjob", "stop_workload")
        and {"remove", "expected"} & one["parameters"].keys()
    ]  # what starts pods is stopped before it is removed
    assert len(touched) == len(set(touched))


def test_all_nodes_at_once_is_said_and_they_go_one_after_the_other(plans: dict[str, tuple[Path, Planned]]) -> None:
    actions = plans["vanished_deployment"][1]["actions"]
    ended = [one for one in actions if one["action"] == "terminate_node"]
    assert len(ended) == 3 and all("no known node is left to run a pod" in one["blast_radius"][-1] for one in ended)
    assert ended[0]["id"] in ended[1]["after"] and ended[1]["id"] in ended[2]["after"]
    (new_nodes,) = [one for one in actions if one["action"] == "add_nodes"]
    assert new_nodes["by_person"] and all(new_nodes["id"] in one["after"] for one in ended)


NODES = {
    "karpenter": {"karpenter.sh/nodepool": "default"},
    "auto": {"eks.amazonaws.com/compute-type": "auto", "karpenter.sh/nodepool": "general-purpose"},
    "fargate": {"eks.amazonaws.com/compute-type": "fargate"},
    "hybrid": {"eks.amazonaws.com/compute-type": "hybrid"},
    "own_group": {"kubernetes.io/os": "linux"},
}


@pytest.mark.parametrize("kind", NODES)
def test_the_kind_of_a_node_decides_what_can_be_done_to_it(kind: str, tmp_path: Path) -> None:
    def relabelled(resource: str, items: list[Event]) -> list[Event]:
        for item in items if resource == "nodes" else ():
            item["metadata"]["labels"] = NODES[kind]
        return items

    kit_json("new", tmp_path / "case", varied("vanished_deployment", tmp_path, dump=relabelled))
    plan = kit_json("plan", tmp_path / "case")
    of_nodes = [one for one in plan["actions"] if one["target"].startswith("node:")]
    assert {one["parameters"]["node_kind"] for one in of_nodes} <= {kind}
    done = {one["action"] for one in of_nodes}
    impossible = {one["action"]: one["says"] for one in plan["not_possible"] if one["target"].startswith("node:")}
    assert not done & impossible.keys()
    if kind == "fargate":
        assert not done and "Fargate" in impossible["cordon_node"]
    if kind == "hybrid":
        assert (
            done == {"cordon_node", "evict_pods", "capture_processes"}
            and "switch it off where it stands" in impossible["terminate_node"]
        )
    if kind in ("auto", "karpenter"):
        warned = {says for one in of_nodes if one["action"] == "protect_node" for says in one["blast_radius"]}
        assert any("consolidation and drift alone" in says for says in warned)
        assert any("nobody can switch that off: have its disk captured" in says for says in warned) is (kind == "auto")
    if kind == "auto":
        read = {says for one in of_nodes if one["action"] == "capture_processes" for says in one["blast_radius"]}
        assert any("EKS Auto Mode has neither SSH nor SSM" in says for says in read)
    if kind == "auto":
        assert "AWS forbids" in impossible["quarantine_node"] and "terminate_node" in done
    if kind in ("auto", "karpenter"):
        for one in (each for each in of_nodes if each["action"] == "cordon_node"):
            assert any(before.startswith("protect_node") for before in one["after"])
    if kind in ("own_group", "karpenter"):
        assert {"protect_node", "quarantine_node", "terminate_node"} <= done and not impossible


@pytest.mark.parametrize("repairs", [True, False, None])
def test_node_repair_is_switched_off_where_it_is_on_and_asked_for_where_nothing_tells(
    repairs: bool | None, tmp_path: Path
) -> None:
    """Off is how a managed node group comes: then the evidence has no nodeRepairConfig, or one that says so."""
    evidence = varied("vanished_deployment", tmp_path)
    if repairs is not None:
        arn = "arn:aws:eks:eu-west-1:111122223333:nodegroup/c/workers/1"
        group = {"nodegroupName": "workers", "nodegroupArn": arn} | ({"nodeRepairConfig": {"enabled": True}} if repairs else {})  # fmt: skip
        (evidence / "aws" / "nodegroup.json").write_text(json.dumps({"nodegroup": group}))
    kit_json("new", tmp_path / "case", evidence)
    actions = kit_json("plan", tmp_path / "case")["actions"]
    paused = [one for one in actions if one["action"] == "pause_node_repair"]
    cut_off = [one for one in actions if one["action"] == "quarantine_node"]
    assert cut_off and [one["parameters"] for one in paused] == ([{"node_group": "workers"}] if repairs else [])
    for one in cut_off:
        assert {each["id"] for each in paused} <= set(one["after"])
        assert any("no evidence says whether node repair" in says for says in one["blast_radius"]) is (repairs is None)
        assert any("after five minutes" in says for says in one["blast_radius"])
    if repairs:
        assert "--node-repair-config enabled=false" in paused[0]["command"][0] and paused[0]["why"]


def test_a_disk_that_is_in_no_snapshot_and_what_a_node_alone_runs_are_said(tmp_path: Path) -> None:
    def changed(resource: str, items: list[Event]) -> list[Event]:
        for item in items:
            if resource == "nodes":
                item["metadata"]["labels"]["node.kubernetes.io/instance-type"] = "c6gd.xlarge"
            if resource == "deployments":
                item["spec"]["replicas"] = 1
        return items

    evidence = varied("vanished_deployment", tmp_path, dump=changed)
    pods = json.loads((evidence / "cluster" / "pods.json").read_text())["items"]
    space, labels = next((one["metadata"]["namespace"], one["metadata"]["labels"]) for one in pods if one["metadata"].get("labels"))  # fmt: skip
    budget = {"metadata": {"name": "keep", "namespace": space, "uid": "u"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}}  # fmt: skip
    listed = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"} | budget]}  # fmt: skip
    (evidence / "cluster" / "poddisruptionbudgets.json").write_text(json.dumps(listed))
    kit_json("new", tmp_path / "case", evidence)
    actions = kit_json("plan", tmp_path / "case")["actions"]
    said = {name: [says for one in actions if one["action"] == name for says in one["blast_radius"]] for name in ("snapshot_volumes", "terminate_node", "evict_pods", "protect_node")}  # fmt: skip
    for name in ("snapshot_volumes", "terminate_node"):
        assert any("c6gd.xlarge has an instance store, which is in no snapshot" in says for says in said[name])
    assert any("it has the only pod of deployments/" in says for says in said["evict_pods"])
    assert any(f"{space}/keep (minAvailable 1)" in says for says in said["evict_pods"])
    assert any("Cluster Autoscaler" in says for says in said["protect_node"])


@pytest.mark.parametrize(
    ("instance_type", "has"),
    [("m5.large", False), ("m5d.large", True), ("c6gd.xlarge", True), ("r5dn.2xlarge", True), ("i3en.large", True), ("g5.xlarge", True), ("g4dn.xlarge", True), ("t3.xlarge", False), ("m6i.large", False), ("", False)],
)  # fmt: skip
def test_which_instance_types_have_disks_of_their_own(instance_type: str, has: bool) -> None:
    assert NodeFacts(instance_type=instance_type).has_instance_store is has


def test_an_image_is_kept_scanned_and_removed_by_the_digest_that_ran(tmp_path: Path) -> None:
    """The attacker's image came from a registry of the account's own: its tag is taken off, and a person deletes the digest."""
    own = "777788889999.dkr.ecr.us-east-1.amazonaws.com/tools:1"
    digest = "sha256:" + "b" * 64

    kit_json("new", tmp_path / "case", from_own_registry(tmp_path, own, digest))
    actions = {one["action"]: one for one in kit_json("plan", tmp_path / "case")["actions"] if one["name"] == own}
    assert actions.keys() == {"keep_image", "scan_image", "block_image", "remove_image"}
    assert all(digest in one["parameters"]["digests"] for one in actions.values())
    assert any(f"tools@{digest}" in line for line in actions["keep_image"]["command"])
    assert any(f"imageDigest={digest}" in line for line in actions["scan_image"]["command"])
    removed = actions["remove_image"]
    assert removed["by_person"] and f"imageDigest={digest}" in removed["command"][-1] and "docker load" in removed["command"][0]  # fmt: skip
    assert {actions[name]["id"] for name in ("keep_image", "block_image")} <= set(removed["after"])


SYSTEMS = {
    "Amazon Linux 2023.9": "memory is for a person, by SSM or SSH",
    "Bottlerocket OS 1.49.0 (aws-k8s-1.33)": "Bottlerocket has no shell",
    "Windows Server 2022 Datacenter": "Get-Process",
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("runtime", ["containerd://1.7.27", "containerd://2.1.5"])
def test_the_plan_says_of_each_node_before_what_can_be_captured(system: str, runtime: str, tmp_path: Path) -> None:
    def renewed(resource: str, items: list[Event]) -> list[Event]:
        for item in items if resource == "nodes" else ():
            item["status"]["nodeInfo"] |= {"osImage": system, "containerRuntimeVersion": runtime}
        return items

    kit_json("new", tmp_path / "case", varied("webhook_backdoor", tmp_path, dump=renewed))
    plan = kit_json("plan", tmp_path / "case", *ISOLATED)
    impossible = {one["action"]: one["says"] for one in plan["not_possible"]}
    read = [one for one in plan["actions"] if one["action"] == "capture_processes"]
    said = [says for one in read for says in one["blast_radius"]] or [impossible["capture_processes"]]
    assert any(SYSTEMS[system] in says for says in said) and bool(read) is not system.startswith("Windows")
    done = {one["action"] for one in plan["actions"]}
    if runtime == "containerd://1.7.27":
        assert not {"capture_container", "snapshot_checkpoints"} & done
        assert "containerd 1.7.27, which makes no checkpoints" in impossible["capture_container"]
    else:
        assert {"capture_container", "snapshot_checkpoints"} <= done
    of_node = {one["target"]: one["id"] for one in read}
    for one in plan["actions"]:
        if one["action"] in ("quarantine_node", "terminate_node") and read:
            assert of_node[one["target"]] in one["after"]
    on_node = {one["parameters"]["node"] for one in plan["actions"] if one["action"] == "delete_pod"}
    assert on_node and all(not read or f"node:{node}" in of_node for node in on_node)
    for one in read:
        manifest = json.loads(shlex.split(one["command"][0])[2])
        assert manifest["spec"]["hostPID"] and manifest["metadata"]["labels"] == {"kit-action": one["id"]}


@pytest.mark.parametrize("told", [True, False])
def test_of_several_containers_only_the_one_of_the_attack_is_blocked(told: bool, tmp_path: Path) -> None:
    """Runtime Monitoring lists all containers of a pod: a neighbour's image is left alone, and so are both where the finding tells neither."""
    images = [f"docker.io/library/{name}:1" for name in ("mesh", "shell")]
    seen = json.loads((RECORDINGS / "vanished_deployment" / "findings-runtime.json").read_text())["Findings"][0]
    born_at = seen["Service"]["EventFirstSeen"][:19] + "Z"
    late = {"name": "late", "namespace": "market", "uid": "0d4ad2a6-0000-4000-8000-00000000000a", "creationTimestamp": born_at}  # fmt: skip

    def with_a_pod(resource: str, items: list[Event]) -> list[Event]:
        spec = {"nodeName": items[0]["spec"]["nodeName"], "containers": [{"name": one, "image": one} for one in images]} if resource == "pods" else {}  # fmt: skip
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": late, "spec": spec, "status": {"phase": "Running"}}
        return [*items, pod] if resource == "pods" else items

    evidence = varied("vanished_deployment", tmp_path, dump=with_a_pod)
    path = evidence / "findings-runtime.json"
    finding = seen | {"Type": "Execution:Runtime/NewBinaryExecuted"}
    workload = finding["Resource"]["KubernetesDetails"]["KubernetesWorkloadDetails"]
    workload |= {"Name": "late", "Namespace": "market", "Uid": late["uid"], "Containers": [{"Name": one, "Image": one} for one in images]}  # fmt: skip
    if told:
        finding["Resource"]["ContainerDetails"] = {"Name": "shell", "Image": images[1]}
    path.write_text(json.dumps({"Findings": [finding]}))
    kit_json("new", tmp_path / "case", evidence)
    plan = kit_json("plan", tmp_path / "case")
    blocked = {one["name"] for one in plan["actions"] if one["action"] in ("deny_image", "block_image")}
    kept = {one["name"]: one for one in plan["actions"] if one["action"] == "keep_image"}
    assert set(images) <= kept.keys()
    assert not any(kept[one]["command"] or "the commands" in kept[one]["by_person"] for one in images)
    assert (images[1] in blocked) is told and images[0] not in blocked


def test_marks_of_findings_become_actions_in_guardduty(tmp_path: Path) -> None:
    cases.copied(tmp_path / "case", RECORDINGS / STOLEN)
    findings = [one["id"] for one in kit_json("findings", tmp_path / "case")["findings"]]
    assert not {"archive_finding", "give_feedback", "suppress"} & {
        one["action"] for one in kit_json("plan", tmp_path / "case")["actions"]
    }
    kit("mark", tmp_path / "case", "--finding", findings[0], "--as", "confirmed", "--note", "seen by the owner")
    (feedback,) = [one for one in kit_json("plan", tmp_path / "case")["actions"] if one["action"] == "give_feedback"]
    assert feedback["parameters"] == {"finding": findings[0], "useful": True}
    for finding in findings:
        kit("mark", tmp_path / "case", "--finding", finding, "--as", "expected", "--note", "a drill of the red team")
    actions = kit_json("plan", tmp_path / "case")["actions"]
    assert {one["action"] for one in actions} == {"give_feedback", "archive_finding", "suppress"}
    assert {one["parameters"]["finding"] for one in actions} == set(findings)
    assert not any(one["parameters"].get("useful") for one in actions)


@pytest.mark.parametrize("resource", OBJECT_KINDS)
def test_a_permission_names_the_group_that_the_call_goes_to(resource: str) -> None:
    kind = OBJECT_KINDS[resource]
    target = Target("created", f"{resource}/shop/x", parameters=ExpectedObject(resource, "shop", "x", None, {}))
    made = permissions_for(ACTIONS["delete_workload"], target)
    planned = PlannedAction(
        "id", "eradicate", "delete_workload", "", target.key, "x", None, [], "", [], "", "", [], made, [], []
    )
    roles = permissions_of(Plan(None, None, None, (planned,), ()))["roles"]["items"]
    rule = next(one for role in roles for one in role["rules"] if one["resources"] == [resource])
    where = {
        role["metadata"].get("namespace") for role in roles for one in role["rules"] if one["resources"] == [resource]
    }
    assert ("shop" in where) is kind.namespaced
    assert url_path(resource, "shop", "x").split("/")[1:-1] == [
        *(["apis", *rule["apiGroups"]] if rule["apiGroups"] != [""] else ["api"]),
        kind.version,
        *(["namespaces", "shop"] if kind.namespaced else []),
        *rule["resources"],
    ]


def test_the_table_of_kinds_is_the_api_servers() -> None:
    served = {one.plural: (one.kind, one.api_version, one.namespaced) for one in SERVED}
    known = {name: (one.kind, one.api_version, one.namespaced) for name, one in OBJECT_KINDS.items()}
    custom = {"policyendpoints", "nodeclasses", "nodepools", "nodeclaims"}
    assert {name: one for name, one in known.items() if served.get(name) != one}.keys() == custom


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        (STOLEN, {"store/api-a6247": "delete_pod in eradicate ends it"}),
        ("two_incidents", {"shop/worker-73082": "quarantine_node in capture cuts it off"}),
        ("webhook_backdoor", {}),  # all end in contain: their workloads are restarted or stopped
    ],
)
def test_no_pod_is_isolated_where_nothing_enforces_it(
    name: str, ends: dict[str, str], plans: dict[str, tuple[Path, Planned]]
) -> None:
    """The plan says so, with what would enforce it and what becomes of the pod."""
    plan = plans[name][1]
    assert "isolate_pod" not in {one["action"] for one in plan["actions"]}
    left_out = {one["name"]: one["says"] for one in plan["not_possible"] if one["action"] == "isolate_pod"}
    assert all("set enableNetworkPolicy of its add-on" in says for says in left_out.values())
    assert {pod: says.rpartition("; ")[2] for pod, says in left_out.items()} == ends


def test_what_the_dump_does_not_tell_of_network_policies_is_said_and_asked_of_the_cluster(tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", varied(STOLEN, tmp_path, without=("daemonsets.json",)))
    (cut,) = [one for one in kit_json("plan", tmp_path / "case")["actions"] if one["action"] == "isolate_pod"]
    assert [says for says in cut["blast_radius"] if "enforces network policies cannot be told" in says]


def test_a_network_policy_controller_that_is_off_enforces_nothing(tmp_path: Path) -> None:
    """The node agent stands; the ConfigMap that has the controller hand policies to it is not there."""
    about = {"name": "kube-root-ca.crt", "namespace": "kube-system", "uid": "u-1"}
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}
    evidence = varied(
        STOLEN,
        tmp_path,
        dump=lambda resource, items: enforcing(resource, items) + ([other] if resource == "configmaps" else []),
    )
    kit_json("new", tmp_path / "case", evidence)
    plan = kit_json("plan", tmp_path / "case")
    assert "isolate_pod" not in {one["action"] for one in plan["actions"]}
    (left_out,) = [one["says"] for one in plan["not_possible"] if one["action"] == "isolate_pod"]
    assert "enable-network-policy-controller" in left_out


def test_the_clusters_own_services_are_cut_off_by_a_person(tmp_path: Path) -> None:
    evidence = entered(tmp_path, {})
    dump = evidence / DAEMON_SETS
    dump.write_text(as_enforced(DAEMON_SETS, dump.read_text()))
    kit_json("new", tmp_path / "case", evidence)
    own = [one for one in kit_json("plan", tmp_path / "case")["actions"] if one["action"] == "isolate_pod"]
    assert own and all(one["name"].startswith("kube-system/") for one in own)
    assert all("the cluster's own service" in one["by_person"] for one in own)
    others = cases.planned(RECORDINGS / STOLEN, enforced=True)["actions"]
    assert {one["by"] for one in others if one["action"] == "isolate_pod"} == {"kit"}


def test_who_signs_in_by_iam_is_taken_out_by_its_arn(plans: dict[str, tuple[Path, Planned]]) -> None:
    removed = [
        one
        for name in EVERY
        for one in plans[name][1]["actions"]
        if one["action"] == "remove_cluster_access" and one["target"].startswith("identity:")
    ]
    assert removed and all(one["parameters"]["arn"].startswith("arn:aws:iam::") for one in removed)


def test_who_is_cut_off_at_the_endpoint_is_not_the_cluster_itself(plans: dict[str, tuple[Path, Planned]]) -> None:
    case, plan = plans[STOLEN]
    nodes = json.loads(next(case.rglob("nodes.json")).read_text())["items"]
    own = {one["address"] for node in nodes for one in node["status"]["addresses"] if one["type"] == "InternalIP"}
    endpoint = next(one for one in plan["actions"] if one["action"] == "narrow_endpoint")
    said = " ".join(endpoint["blast_radius"])
    assert len(own) > 1 and not [address for address in own if address in said] and "system:node:" not in said


def test_a_network_policy_that_stands_and_selects_the_pod_is_named(tmp_path: Path) -> None:
    about = {"name": "let-in", "namespace": "store", "uid": "u-1", "creationTimestamp": "2026-11-01T00:00:00Z"}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": about,
        "spec": {"podSelector": {}},
    }
    evidence = varied(STOLEN, tmp_path, dump=enforcing)
    listed = {"apiVersion": "v1", "kind": "List", "items": [policy]}
    (evidence / "cluster" / "networkpolicies.json").write_text(json.dumps(listed))
    kit_json("new", tmp_path / "case", evidence)
    actions = kit_json("plan", tmp_path / "case")["actions"]
    cut = next(one for one in actions if one["action"] == "isolate_pod" and one["name"].startswith("store/"))
    assert [one for one in cut["blast_radius"] if "network policy store/let-in selects it too" in one]


@pytest.mark.parametrize("name", EVERY)
def test_a_secret_that_was_read_is_not_listed_as_within_reach_too(
    name: str, plans: dict[str, tuple[Path, Planned]]
) -> None:
    rotated = [one["target"] for one in plans[name][1]["actions"] if one["action"] == "rotate_secrets"]
    read = {target.partition(":")[2] for target in rotated if target.startswith("secret:")}
    reach = {target.partition(":")[2] for target in rotated if target.startswith("reachable:")}
    assert not read & reach


def test_only_an_account_with_a_token_that_is_bound_to_nothing_is_made_again(
    plans: dict[str, tuple[Path, Planned]],
) -> None:
    """In the sample the attacker minted a token of checkout/api, which is bound to no pod, and used pods of warehouse/etl."""
    ended = [one for one in plans["sample"][1]["actions"] if one["action"] == "end_service_account_tokens"]
    assert {one["name"]: one["parameters"]["recreate"] for one in ended} == {
        "system:serviceaccount:checkout:api": True,
        "system:serviceaccount:warehouse:etl": False,
    }


def test_a_person_has_a_word_for_all_that_an_action_is_done_to() -> None:
    kinds = {kind for action in ACTIONS.values() for kind in action.kinds}
    assert all(noun_of(kind) != noun_of(kind, 2) and "_" not in noun_of(kind) for kind in kinds)
    assert {kind: noun_of(kind, 2) for kind in ("reachable", "introduced")} == {
        "reachable": "secrets in reach",
        "introduced": "images brought in",
    }
