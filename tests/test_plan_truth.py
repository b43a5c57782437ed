"""What a plan decides, held to the recordings' truth: whom it acts on, what it undoes when, and that nobody's work is stopped for having been near."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kit.live.changes.change import contains
from kit.training.emulators.kubernetes_documents import json_patched
from tests import cases
from tests.command import kit, kit_json
from tests.live.scene import comparable, standing
from tests.plan_table import row_of
from tests.test_host_access import EVERY, held
from tests.variation import Event, varied

ENTERS = {"isolate_pod", "withdraw_pod", "capture_container", "delete_pod"}
ON_HELD_NODES = {"cordon_node", "evict_pods", "capture_node", "quarantine_node", "terminate_node"}
STAGES = ("freeze", "contain", "revoke", "capture", "eradicate", "recover")


@pytest.fixture(scope="module", params=sorted(EVERY))
def planned(request: pytest.FixtureRequest) -> tuple[Path, list[dict[str, Any]]]:
    """A recording with the actions of its plan."""
    recording = EVERY[request.param]
    return recording, cases.planned(recording)["actions"]


def touched(recording: Path) -> set[str]:
    """Uids of the pods that the attacker was in: touched, made, changed by a webhook, robbed of their token, or seen at it by Runtime Monitoring."""
    truth = json.loads((recording / "ground_truth.json").read_text())
    found = {one["uid"] for one in truth["attacker_touched_pods"]} | {*truth.get("injected_pods", [])}
    found |= {one["bound_pod"]["uid"] for one in truth["attacker"]["identities"] if one.get("bound_pod")}
    for path in recording.glob("findings*.json"):
        for finding in json.loads(path.read_text())["Findings"]:
            workload = finding["Resource"].get("KubernetesDetails", {}).get("KubernetesWorkloadDetails") or {}
            if not finding["Type"].startswith("Policy:") and workload.get("Uid"):
                found.add(workload["Uid"])
    return found


def test_only_pods_that_the_attacker_was_in_are_cut_off_captured_and_deleted(
    planned: tuple[Path, list[dict[str, Any]]],
) -> None:
    recording, actions = planned
    truth = json.loads((recording / "ground_truth.json").read_text())
    acted_on = {one["uid"] for one in actions if one["action"] in ENTERS}
    named = {
        pod["uid"]
        for finding in truth["findings"].values()
        if not finding["type"].startswith("Policy:")
        for pod in finding["pods"]
        if {"finding", "workload"} & {*pod.get("reasons", [])}
    }
    assert acted_on <= touched(recording) | named


def test_pods_move_off_held_nodes_alone_and_before_those_are_cut_off(
    planned: tuple[Path, list[dict[str, Any]]],
) -> None:
    recording, actions = planned
    nodes = {one["target"].removeprefix("node:") for one in actions if one["action"] in ON_HELD_NODES}
    assert nodes == held(recording)
    moved = {one["target"]: one for one in actions if one["action"] == "evict_pods"}
    for one in actions:
        if one["action"] == "quarantine_node":
            waits = set(one["after"])
            assert moved[one["target"]]["id"] in waits
            assert {more["id"] for more in actions if more["action"] == "add_nodes"} <= waits
    cut_off = [one for one in actions if one["action"] == "quarantine_node"]
    for first, second in pairwise(cut_off):
        assert first["id"] in second["after"], "node after node"


def test_new_secrets_come_as_soon_as_access_has_ended(planned: tuple[Path, list[dict[str, Any]]]) -> None:
    _, actions = planned
    rotated = [number for number, one in enumerate(actions) if one["action"] == "rotate_secrets"]
    cut = {one["id"] for one in actions if one["stage"] in ("contain", "revoke") and one["action"] != "rotate_secrets"}
    for number in rotated:
        assert set(actions[number]["after"]) == cut
        later = {one["stage"] for one in actions[number:]}
        assert not later & {"freeze", "contain"}
    first_capture = next((number for number, one in enumerate(actions) if one["stage"] == "capture"), len(actions))
    assert not rotated or max(rotated) < first_capture


def test_no_image_is_blocked_that_a_pod_of_yours_runs(planned: tuple[Path, list[dict[str, Any]]]) -> None:
    recording, actions = planned
    dumped = json.loads((recording / "cluster" / "pods.json").read_text())["items"]
    truth = json.loads((recording / "ground_truth.json").read_text())
    first = truth["window"]["start"]
    own = {
        container["image"]
        for pod in dumped
        if pod["metadata"]["uid"] not in touched(recording) and pod["metadata"]["creationTimestamp"] < first
        for sort in ("initContainers", "containers")
        for container in pod["spec"].get(sort, [])
    }
    blocked = {one["parameters"]["image"] for one in actions if one["action"] in ("block_image", "deny_image")}
    assert own and not own & blocked
    brought = {image for one in truth["attacker_touched_pods"] for image in one["images"]}
    assert blocked <= brought | {one["name"] for one in actions if one["action"] == "keep_image"}


@pytest.mark.parametrize(
    ("name", "refused"),
    [("vanished_deployment", {"docker.io/library/ubuntu:22.04"}), ("exec_kube_system", set())],
)  # fmt: skip
def test_a_public_image_of_the_attackers_is_refused_and_none_of_the_clusters_own(name: str, refused: set[str]) -> None:
    plan = cases.planned(EVERY[name])
    denied = [one for one in plan["actions"] if one["action"] == "deny_image"]
    assert {one["name"] for one in denied} == refused
    for one in denied:
        policy, binding = (json.loads(shlex.split(line)[2]) for line in one["command"])  # printf FORMAT TEXT | …
        assert policy["kind"] == "ValidatingAdmissionPolicy" and one["name"] in json.dumps(policy)
        assert binding["spec"]["policyName"] == policy["metadata"]["name"] and one["undo"]


def test_what_the_attacker_made_and_gives_access_is_undone_before_captures(
    planned: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, actions = planned
    stages = {one["target"]: STAGES.index(one["stage"]) for one in actions if one["action"] != "keep_objects"}
    for target, stage in stages.items():
        resource = target.removeprefix("created:").partition("/")[0] if target.startswith("created:") else ""
        if resource.endswith("webhookconfigurations"):
            assert stage == STAGES.index("freeze"), target
        if resource in ("secrets", "rolebindings", "clusterrolebindings", "roles", "clusterroles"):
            assert stage <= STAGES.index("revoke"), target


def test_the_attackers_webhook_goes_before_anything_else_changes_the_cluster() -> None:
    actions = cases.planned(EVERY["webhook_backdoor"])["actions"]
    place = next(number for number, one in enumerate(actions) if one["action"] == "remove_webhook")
    before = {one["action"] for one in actions[:place]}
    assert before == {"protect_node", "snapshot_volumes", "lock_snapshots", "keep_objects"}
    webhook = actions[place]
    (kept,) = webhook["after"]
    assert kept.startswith("keep_objects-")
    assert webhook["parameters"]["uid"] and webhook["parameters"]["uid"] in webhook["command"][0]
    (secret,) = [one for one in actions if one["action"] == "remove_secret"]
    assert secret["parameters"]["uid"], "the dump has a Secret of that name and of that second"


def test_the_attackers_cronjob_starts_no_pod_on_the_nodes_that_others_are_moved_to() -> None:
    """Its pods take over the node that they come to; the CronJob itself is deleted once it and its pods are kept."""
    actions = cases.planned(EVERY["webhook_backdoor"])["actions"]
    places = {one["action"]: number for number, one in reversed(list(enumerate(actions)))}
    suspended = actions[places["suspend_cronjob"]]
    assert suspended["target"] == "created:cronjobs/kube-system/aws-node-gc" and suspended["stage"] == "contain"
    assert places["suspend_cronjob"] < min(places[name] for name in ("restart_workload", "cordon_node", "evict_pods"))
    assert '"suspend": true' in suspended["command"][0] and suspended["parameters"]["uid"] in suspended["command"][0]


def test_the_pods_of_the_attackers_workload_end_in_contain_once_they_are_kept(tmp_path: Path) -> None:
    made = EVERY["two_incidents"]
    actions = cases.planned(made)["actions"]
    (stopped,) = [one for one in actions if one["action"] == "stop_workload"]
    assert (stopped["target"], stopped["stage"]) == ("created:deployments/warehouse/web-cache", "contain")
    assert '"replicas": 0' in stopped["command"][0] and stopped["parameters"]["uid"] in stopped["command"][0]
    kept = [one for one in actions if one["action"] == "keep_objects" and one["name"].startswith("warehouse/web-cache")]
    assert {one["id"] for one in kept} <= {*stopped["after"]} and {one["target"][:4] for one in kept} == {
        "pod:",
        "crea",
    }
    of_pods = {one["target"] for one in kept if one["target"].startswith("pod:")}
    assert {one["action"] for one in actions if one["target"] in of_pods} == {"keep_objects"}
    case = cases.copied(tmp_path / "case", made, enforced=True)
    alone = kit_json("plan", case, "--without", "stop_workload")["actions"]
    assert of_pods <= {one["target"] for one in alone if one["action"] == "isolate_pod"}, "else they run on untouched"


def test_a_job_of_the_attackers_cronjob_that_runs_is_ended_and_what_has_finished_is_only_kept(tmp_path: Path) -> None:
    def running(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in items:
            if resource in ("pods", "jobs") and one["metadata"]["name"].startswith("aws-node-gc-"):
                one["status"] = {"phase": "Running"} if resource == "pods" else {"active": 1}
        return items

    job = "jobs/kube-system/aws-node-gc-29932837"
    before = cases.planned(EVERY["webhook_backdoor"])["actions"]
    (pod,) = [one["target"] for one in before if one["name"].startswith("kube-system/aws-node-gc-")]
    assert [one["action"] for one in before if one["target"] == pod] == ["keep_objects"], "it had ended"
    assert "stop_workload" not in {one["action"] for one in before}
    actions = kit_json("plan", cases.copied(tmp_path / "case", varied("webhook_backdoor", tmp_path, dump=running)))[
        "actions"
    ]
    (stopped,) = [one for one in actions if one["action"] == "stop_workload"]
    assert stopped["target"] == f"running_job:{job}" and '"suspend": true' in stopped["command"][0]
    kept = {one["target"]: one["id"] for one in actions if one["action"] == "keep_objects"}
    assert {kept[pod], kept[f"running_job:{job}"]} <= {*stopped["after"]}


def test_an_association_of_yours_stays_where_its_pods_sessions_can_be_told_apart(tmp_path: Path) -> None:
    """Without it the account's other pods would stop in AWS, and the deny by the stolen pod's tag hits what that pod gets anew."""
    actions = cases.planned(EVERY["pod_identity_theft"])["actions"]
    assert "remove_pod_identity" not in {one["action"] for one in actions}
    denied = [one for one in actions if one["action"] == "revoke_role_sessions"]
    assert [one["parameters"]["pods"] for one in denied] == [["0ce67cd7-c305-43a7-9328-ff00adec886b"], []]
    assert all(one["now"] for one in denied) and "other pods go on" in " ".join(denied[0]["blast_radius"])
    evidence = varied("pod_identity_theft", tmp_path)
    for path in (evidence / "aws").glob("eks-describe-pod-identity-association-*.json"):
        path.write_text(path.read_text().replace('"disableSessionTags": false', '"disableSessionTags": true'))
    untold = kit_json("plan", cases.copied(tmp_path / "case", evidence))["actions"]
    (removed,) = [one for one in untold if one["action"] == "remove_pod_identity"]
    (first, _) = [one for one in untold if one["action"] == "revoke_role_sessions"]
    assert first["parameters"]["pods"] == [] and removed["id"] in first["after"]


def test_workloads_of_yours_that_a_webhook_added_to_come_back_clean_and_go_on_serving() -> None:
    """Isolated, all pods of the shop would have stood still until everything was captured; their templates are clean, and the webhook is gone."""
    plan = cases.planned(EVERY["webhook_backdoor"])
    actions, truth = plan["actions"], json.loads((EVERY["webhook_backdoor"] / "ground_truth.json").read_text())
    restarted = [one for one in actions if one["action"] == "restart_workload"]
    assert {one["name"] for one in restarted} == {f"checkout/{name}" for name in ("api", "web", "web-admin", "worker")}
    replaced = {uid for one in restarted for uid in one["parameters"]["pods"]}
    assert replaced <= {*truth["injected_pods"]} and all(one["stage"] == "contain" for one in restarted)
    of_pods = [one for one in actions if one["target"].removeprefix("pod:") in replaced]
    assert {one["action"] for one in of_pods} == {"keep_objects"} and len(of_pods) == len(replaced)
    waits = {id_ for one in restarted for id_ in one["after"]}
    before = {one["action"] for one in actions if one["id"] in waits}
    assert before == {"keep_objects", "snapshot_volumes", "remove_webhook", "cordon_node"}
    assert not [one for stage in plan["simulated"] for one in stage["serves"] if one["kind"] in ("service", "workload")]


def test_a_workload_of_yours_is_not_restarted_while_the_webhook_stands(tmp_path: Path) -> None:
    """Its new pods would be changed as the old ones were."""
    case = cases.copied(tmp_path / "case", EVERY["webhook_backdoor"], enforced=True)
    actions = kit_json("plan", case, "--without", "remove_webhook")["actions"]
    done = {one["action"] for one in actions}
    assert "restart_workload" not in done and {"isolate_pod", "delete_pod"} <= done


def test_a_dashboard_that_stands_open_takes_no_pod_out_of_service() -> None:
    actions = cases.planned(EVERY["exposed_dashboard"])
    done = {one["action"] for one in actions["actions"]}
    assert done == {"keep_objects", "narrow_endpoint", "close_exposure", "remove_anonymous_access"}
    assert any(ref.startswith("pod:") for ref in actions["review"])


def test_no_fixed_version_is_asked_for_where_the_attacker_came_by_the_api() -> None:
    """Commands were run in pods of the network plugin and of DNS by exec: neither has a fault to mend."""
    actions = cases.planned(EVERY["exec_kube_system"])["actions"]
    assert "roll_out_fixed" not in {one["action"] for one in actions}


def test_no_fixed_version_is_asked_for_of_a_pod_whose_token_the_attacker_minted(tmp_path: Path) -> None:
    """By the credential of its node: the pod has no fault that let anybody in."""
    actions = kit_json("plan", cases.copied(tmp_path / "case", EVERY["node_credential"]))["actions"]
    done = {one["action"] for one in actions}
    assert "terminate_node" in done and "roll_out_fixed" not in done


FULL = {
    "command": ["/bin/worker", "--queue=orders"],
    "env": [{"name": "QUEUE", "value": "orders"}, {"name": "REGION", "value": "eu"}],
    "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "20m", "memory": "32Mi"}},
    "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 10},
}
"""What the analysis does not keep of a container, and a workload does not run without."""


def filled(log: list[Event]) -> list[Event]:
    """A log in which the bodies of a Deployment and a CronJob have all of this in their containers."""
    for event in log:
        body = event.get("responseObject") or {}
        template = (body.get("spec") or {}).get("template") or {}
        if body.get("kind") == "CronJob":
            template = body["spec"]["jobTemplate"]["spec"]["template"]
        for container in (template.get("spec") or {}).get("containers") or []:
            container |= FULL
    return log


def test_what_the_attacker_deleted_comes_back_whole(tmp_path: Path) -> None:
    """As the log has it before the deletion: the inventory's own view has neither command nor variables nor limits."""
    evidence = varied("oidc_user_impact", tmp_path, events=filled)
    kit_json("new", tmp_path / "made", evidence)
    with standing("oidc_user_impact", tmp_path, case=tmp_path / "made") as scene:
        plan = scene.plan("--only", "restore_objects")
        done = [one for one in plan["actions"] if not one["by_person"]]
        assert [one["target"] for one in done] == ["deleted:cronjobs/store/report", "deleted:deployments/store/worker"]
        assert all(one["why"][0]["says"].startswith("its whole content, as ") for one in done)
        outcomes = {one["id"]: one["word"] for one in scene.apply(plan["digest"])}
        assert {outcomes[one["id"]] for one in done} == {"done"}
        made = scene.kubernetes.objects()
    template = made["deployments.apps/store/worker"]["spec"]["template"]
    assert made["deployments.apps/store/worker"]["spec"]["replicas"] == 2
    inner = made["cronjobs.batch/store/report"]["spec"]["jobTemplate"]["spec"]["template"]
    for spec in (template["spec"], inner["spec"]):
        assert contains(spec["containers"][0], FULL)  # the server fills in what a probe leaves out


def test_where_no_evidence_has_all_of_it_a_person_brings_it_back(tmp_path: Path) -> None:
    def without_bodies(log: list[Event]) -> list[Event]:
        return [
            one | {"responseObject": None} if (one.get("objectRef") or {}).get("name") == "worker" else one
            for one in log
        ]

    kit_json("new", tmp_path / "case", varied("oidc_user_impact", tmp_path, events=without_bodies))
    actions = kit_json("plan", tmp_path / "case", "--only", "restore_objects")["actions"]
    (worker,) = [one for one in actions if one["target"] == "deleted:deployments/store/worker"]
    assert worker["parameters"]["body"] is None and "no evidence has all of it" in worker["by_person"]


TRENT, SCALED = "trent@example.com", "2026-11-23T16:26:09"
ROLE_BINDING = "rolebindings.rbac.authorization.k8s.io"


def is_about(event: Event, *path: str) -> bool:
    """Whether an event is about the object of this resource, namespace and name."""
    of = event.get("objectRef") or {}
    return (of.get("resource"), of.get("namespace"), of.get("name")) == path


def scaled_down(folder: Path, *, before: bool = True, after: bool = False) -> Path:
    """Evidence with a Deployment that the attacker scaled. before, after: whether the log has what was written to it then, and others wrote since."""

    def writes(log: list[Event]) -> list[Event]:
        dropped = set[str]()
        for one in log:
            if is_about(one, "deployments", "store", "web") and one["verb"] in ("update", "patch"):
                is_before = one["requestReceivedTimestamp"] < SCALED
                if one["user"]["username"] != TRENT and not (before if is_before else after):
                    dropped.add(one["auditID"])
                elif one["user"]["username"] == TRENT and not before:
                    one["responseObject"].pop("status")
        return [one for one in log if one["auditID"] not in dropped]

    def as_scaled(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items if resource == "deployments" and not after else ():
            if (item["metadata"]["namespace"], item["metadata"]["name"]) == ("store", "web"):
                item["spec"]["replicas"] = 0
        return items

    return varied("oidc_user_impact", folder, events=writes, dump=as_scaled)


def test_what_the_attacker_changed_goes_back_to_what_the_log_shows_before(tmp_path: Path) -> None:
    kit_json("new", tmp_path / "made", scaled_down(tmp_path))
    with standing("oidc_user_impact", tmp_path, case=tmp_path / "made") as scene:
        web = scene.kubernetes.objects()["deployments.apps/store/web"]
        scene.kubernetes.add(web | {"spec": web["spec"] | {"replicas": 0}})
        for pod in scene.kubernetes.objects("pods/store/web-"):
            scene.kubernetes.remove(pod)  # its controller ended them
        for one in scene.kubernetes.objects("replicasets.apps/store/web-").values():
            scene.kubernetes.add(one | {"spec": one["spec"] | {"replicas": 0}})
        plan = scene.plan("--only", "revert_changes")
        (planned,) = plan["actions"]
        assert (planned["target"], planned["stage"]) == ("changed:deployments/store/web", "recover")
        assert planned["parameters"]["expected"] == {"spec": {"replicas": 0}}
        before = planned["parameters"]["patch"]["spec"]["replicas"]
        assert before > 0 and f"puts back replicas: {before} in place" in " ".join(planned["blast_radius"])
        (line,) = planned["command"]
        words, found = shlex.split(line), scene.state()
        now = scene.kubernetes.objects()["deployments.apps/store/web"]
        assert words[:6] == ["kubectl", "patch", "deployments", "web", "-n", "store"] and words[-3:-1] == ["json", "-p"]
        assert json_patched(now, json.loads(words[-1]))["spec"]["replicas"] == before
        assert [one["word"] for one in scene.apply(plan["digest"])] == ["done"]
        assert scene.kubernetes.objects()["deployments.apps/store/web"]["spec"]["replicas"] == before
        assert scene.kit("undo").returncode == 0
        assert comparable(scene.state()) == comparable(found)


def test_what_somebody_else_wrote_since_is_left_alone(tmp_path: Path) -> None:
    """Known from the log it is in no action; unknown until then it is refused."""
    plan = cases.planned(EVERY["oidc_user_impact"], "--only", "revert_changes")
    (web,) = plan["not_possible"]
    assert not plan["actions"] and "platform-dave wrote it" in web["says"]
    kit_json("new", tmp_path / "made", scaled_down(tmp_path))
    with standing("oidc_user_impact", tmp_path, case=tmp_path / "made") as scene:
        plan, found = scene.plan("--only", "revert_changes"), scene.state()
        (outcome,) = scene.apply(plan["digest"])
        assert outcome["word"] == "refused" and "it differs in spec.replicas" in outcome["says"]
        assert comparable(scene.state()) == comparable(found)


def test_where_no_evidence_has_what_stood_before_a_person_gets_what_the_attacker_wrote(tmp_path: Path) -> None:
    kit_json("new", tmp_path / "made", scaled_down(tmp_path, before=False))
    (web,) = kit_json("plan", tmp_path / "made", "--only", "revert_changes")["actions"]
    assert web["by"] == "person" and not web["command"] and not web["parameters"]["patch"]
    assert "how many replicas there were before" in web["by_person"]
    assert "the attacker wrote replicas: 0 at 2026-11-23 16:26:09 UTC" in web["by_person"]


def test_a_binding_that_the_attacker_added_to_is_put_back_in_revoke(tmp_path: Path) -> None:
    """A pipeline had written it; the attacker added a user and a label; somebody else's label since then stays."""
    dumped = json.loads((EVERY["oidc_user_impact"] / "cluster" / "rolebindings.json").read_text())["items"]
    own = next(one for one in dumped if one["metadata"]["namespace"] == "store" and one.get("subjects"))
    name, first = own["metadata"]["name"], own["metadata"]["resourceVersion"]
    added = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}

    def after(step: int, labels: dict[str, str], *subjects: dict[str, Any]) -> dict[str, Any]:
        written = {"labels": labels, "resourceVersion": str(int(first) + step)}
        kind = {"kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1"}
        return {**own, **kind, "metadata": own["metadata"] | written, "subjects": [*own["subjects"], *subjects]}

    stands = after(2, {"team": "red", "tier": "1"}, added)

    def written(log: list[Event]) -> list[Event]:
        scale = next(one for one in log if one["user"]["username"] == TRENT and one["verb"] == "patch")
        (other,) = [one for one in log if one["user"]["username"] == "ci-deployer" and one["verb"] == "create"][:1]
        of = {"resource": "rolebindings", "namespace": "store", "name": name}
        of |= {"apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"}
        uri = f"/apis/rbac.authorization.k8s.io/v1/namespaces/store/rolebindings/{name}"
        steps = [
            (other, "2026-11-23T16:25:51.000000Z", after(0, {})),
            (scale, "2026-11-23T16:26:09.700000Z", after(1, {"team": "red"}, added)),
            (other, "2026-11-23T16:26:09.800000Z", stands),
        ]
        return log + [
            like
            | {"auditID": f"00000000-0000-4000-8000-00000000000{number}", "verb": "patch", "objectRef": of}
            | {"requestURI": uri, "requestReceivedTimestamp": at, "stageTimestamp": at, "level": "RequestResponse"}
            | {"responseStatus": {"code": 200}, "requestObject": {"subjects": body["subjects"]}, "responseObject": body}
            for number, (like, at, body) in enumerate(steps)
        ]

    def dump(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        is_it = resource == "rolebindings"
        return [stands if is_it and one["metadata"]["uid"] == own["metadata"]["uid"] else one for one in items]

    kit_json("new", tmp_path / "made", varied("oidc_user_impact", tmp_path, events=written, dump=dump))
    with standing("oidc_user_impact", tmp_path, case=tmp_path / "made") as scene:
        scene.kubernetes.add(stands)
        plan = scene.plan("--only", "revert_rights")
        (planned,) = plan["actions"]
        assert planned["stage"] == "revoke" and planned["parameters"]["remove"] == [added]
        assert planned["parameters"]["patch"] == {"metadata": {"labels": {"team": None}}, "subjects": own["subjects"]}
        assert [one["word"] for one in scene.apply(plan["digest"])] == ["done"]
        found = scene.kubernetes.objects()[f"{ROLE_BINDING}/store/{name}"]
        assert found["subjects"] == own["subjects"] and found["metadata"]["labels"] == {"tier": "1"}


IN_SHORT = ("pod_identity_theft", "two_incidents")


@pytest.mark.parametrize(
    "name", [*IN_SHORT, *(pytest.param(one, marks=pytest.mark.full) for one in sorted(EVERY.keys() - {*IN_SHORT}))]
)
def test_nothing_innocent_is_acted_on_and_all_that_is_the_attackers_is_answered(name: str, tmp_path: Path) -> None:
    row = row_of(EVERY[name], cases.copied(tmp_path / "case", EVERY[name]))
    assert not row.innocent and not row.unanswered
    assert row.actions > 0 and row.now <= 5 and row.lines <= 300


def test_a_token_that_nothing_ends_has_the_date_of_its_own_end(tmp_path: Path) -> None:
    """No evidence has what was asked for: EKS gives a token for a day at most, or ninety."""
    plan = kit_json("plan", cases.copied(tmp_path / "case", EVERY["two_incidents"]))
    (token,) = plan["left_open"]
    assert token["key"] == "shop/db" and token["until"] is None
    assert "ends by 2026-11-30 16:40:16 UTC" in token["says"] and "2027-02-27" in token["says"]


def test_a_pod_of_the_same_name_as_one_that_is_gone_is_told_apart(tmp_path: Path) -> None:
    """The pod that was robbed is gone, and another of its StatefulSet has its name: only that one stands to be looked at."""
    truth = json.loads((EVERY["pod_identity_theft"] / "ground_truth.json").read_text())["theft"]
    case = cases.copied(tmp_path / "case", EVERY["pod_identity_theft"])
    _, _, review = kit("plan", case).stdout.partition("## To be looked at")
    assert f"`warehouse/redis-0, uid {truth['same_name']}`" in review and truth["pod"] not in review
