"""A plan is played on the evidence before it is shown: what still serves, what the attacker can still do, and which step is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

import kit as kit_api
from kit.plan.simulate import simulate
from tests import cases
from tests.command import SAMPLE, kit, kit_json
from tests.test_host_access import EVERY
from tests.variation import enforcing, varied

KEPT = ("--keep-address", "203.0.113.7/32")
NOTHING_LEFT = "nothing that the evidence shows"
Item = dict[str, Any]


def plan_of(case: Path, *options: str) -> dict[str, Any]:
    return dict(kit_json("plan", case, *options))


def planned(recording: str, *options: str) -> dict[str, Any]:
    return dict(cases.planned(EVERY[recording], *options))


def of_evidence(evidence: Path, *options: str) -> dict[str, Any]:
    case = evidence.parent / "case"
    kit_json("new", case, evidence)
    return plan_of(case, *options)


def fates(plan: dict[str, Any], stage: str) -> dict[str, dict[str, Any]]:
    """Key of each open entry → its fate after a stage."""
    (found,) = [one for one in plan["simulated"] if one["stage"] == stage]
    return {f"{one['kind']} {one['key']}": one for one in found["attacker"]}


def serves(plan: dict[str, Any], stage: str) -> dict[tuple[str, str], bool]:
    """Kind and key of what does not serve after a stage → whether it did not before."""
    (found,) = [one for one in plan["simulated"] if one["stage"] == stage]
    return {(one["kind"], one["key"]): one["before"] for one in found["serves"]}


@pytest.mark.parametrize("recording", ["case", "stolen_sa_token", "pod_identity_theft", "webhook_backdoor"])
def test_a_simulation_speaks_of_each_entry_and_action_and_changes_no_digest(recording: str, tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", EVERY[recording])
    plan = plan_of(case, *KEPT)
    assert plan_of(case, *KEPT) == plan
    assert not {"simulated", "still_works"} & orjson.loads((case / "plan.json").read_bytes()).keys()
    open_before = {
        one["id"] for each in kit_json("brief", case)["incidents"] for one in each["open"] if one["state"] != "ended"
    }
    ids = {one["id"] for one in plan["actions"]}
    assert [one["stage"] for one in plan["simulated"]] == list(dict.fromkeys(one["stage"] for one in plan["actions"]))
    for stage in plan["simulated"]:
        assert {one["entry"] for one in stage["attacker"]} == open_before
        for one in stage["attacker"]:
            assert {*one["by"]} <= ids and one["because"]
            assert one["state"] in ("ended", "shut out", "dies", "cannot tell", "still works")
            assert bool(one["until"]) or one["state"] != "dies"
    last = {one["state"] for one in plan["simulated"][-1]["attacker"]}
    assert (last == {"ended"}) == plan["still_works"]["for_attacker"].startswith(NOTHING_LEFT)


def test_a_stolen_credential_of_a_node_outlives_its_instance() -> None:
    open_endpoint, narrowed = planned("case", "--without", "narrow_endpoint"), planned("case", *KEPT)
    (node,) = {one["key"] for one in fates(narrowed, "contain").values() if one["kind"] == "node"}
    assert [one for one in narrowed["actions"] if one["action"] == "terminate_node" and one["target"] == f"node:{node}"]
    assert fates(open_endpoint, "eradicate")[f"node {node}"]["state"] == "still works"
    assert node in open_endpoint["still_works"]["for_attacker"]
    # Until the node is cut off, calls from it reach the endpoint by the private way.
    assert fates(narrowed, "contain")[f"node {node}"]["state"] == "still works"
    shut = fates(narrowed, "eradicate")[f"node {node}"]
    assert shut["state"] == "shut out" and shut["until"] is None
    assert {one.rpartition("-")[0] for one in shut["by"]} == {"narrow_endpoint", "revoke_role_sessions"}
    assert node in narrowed["still_works"]["for_attacker"]


def test_an_endpoint_that_stays_open_for_nobody_said_shuts_nobody_out() -> None:
    plan = planned("oidc_user_impact")
    (person,) = [one for one in fates(plan, "revoke").values() if one["kind"] == "identity"]
    assert person["state"] == "still works" and "end_oidc_access" in person["because"]


def test_a_token_ends_with_its_pod_where_that_is_moved_or_deleted() -> None:
    deleted = planned("default_sa_admin", "--without", "remove_role_binding")
    of_default = "token checkout/default"
    assert fates(deleted, "capture")[of_default]["state"] == "still works"
    assert fates(deleted, "eradicate")[of_default]["state"] == "ended"
    if "node_credential" not in EVERY:
        pytest.skip("the recording is not beside the project")
    plan = planned("node_credential", *KEPT)
    moved, held = "token kube-system/coredns", "token checkout/api"
    assert fates(plan, "contain")[moved]["state"] == "ended"
    assert {one.rpartition("-")[0] for one in fates(plan, "contain")[moved]["by"]} == {"evict_pods"}
    assert fates(plan, "contain")[held]["state"] == "still works"
    assert fates(plan, "eradicate")[held]["state"] == "ended"


def test_a_token_bound_to_nothing_ends_when_its_account_is_made_anew() -> None:
    of_account = "token checkout/api"
    assert fates(planned("case"), "revoke")[of_account]["by"][0].startswith("end_service_account_tokens-")
    kept = planned("case", "--without", "end_service_account_tokens", "--without", "unbind_identity")
    assert fates(kept, "eradicate")[of_account]["state"] == "still works"
    # Its rights are what a token is good for: without a binding it signs in and can do nothing.
    unbound = fates(planned("case", "--without", "end_service_account_tokens"), "revoke")[of_account]
    assert unbound["state"] == "ended" and {one.rpartition("-")[0] for one in unbound["by"]} == {"unbind_identity"}


def test_a_web_token_gets_new_sessions_unless_the_trust_is_changed() -> None:

    def session(plan: dict[str, Any]) -> dict[str, Any]:
        (found,) = [one for one in fates(plan, "revoke").values() if one["kind"] == "access_key"]
        return found

    assert session(planned("stolen_sa_token"))["state"] == "ended"
    denied = session(planned("stolen_sa_token", "--without", "change_role_trust"))
    assert denied["state"] == "still works" and "web token" in denied["because"]
    trusted = session(planned("stolen_sa_token", "--without", "revoke_role_sessions"))
    assert trusted["state"] == "dies" and trusted["until"]


def test_a_session_from_another_session_is_judged_by_its_own_role() -> None:
    every = fates(planned("pod_identity_theft"), "revoke").values()
    sessions = [one for one in every if one["kind"] == "access_key"]
    assert {one["state"] for one in every} == {"ended"}
    assert len({one["by"][0] for one in sessions}) == 2
    plan = planned("pod_identity_theft", "--without", "revoke_role_sessions")
    left = [one for one in fates(plan, "revoke").values() if one["kind"] == "access_key"]
    assert {one["state"] for one in left} == {"dies"} and len({one["until"] for one in left}) == 2
    said = plan["still_works"]["for_attacker"]
    assert all(one["key"] in said and one["until"][:19].replace("T", " ") in said for one in left)


def test_a_deny_of_sessions_stops_no_long_term_key() -> None:
    keys = [one for one in fates(planned("cluster_creator"), "revoke").values() if one["key"].startswith("AKIA")]
    assert keys and {one["state"] for one in keys} == {"ended"}
    kept = planned("cluster_creator", "--without", "deactivate_access_key")
    assert [one for one in kept["actions"] if one["action"] == "deny_user_sessions"]
    left = {one["key"]: one["state"] for one in fates(kept, "recover").values() if one["state"] != "ended"}
    assert left == {one["key"]: "still works" for one in keys}


def test_sessions_without_the_tag_of_their_pod_are_denied_by_time(tmp_path: Path) -> None:
    """A deny by a tag that they do not have would end none of them."""
    evidence = tmp_path / "evidence"
    shutil.copytree(EVERY["pod_identity_theft"], evidence, ignore=shutil.ignore_patterns("ground_truth.json"))
    for path in (evidence / "aws").glob("eks-describe-pod-identity-association-*.json"):
        one = orjson.loads(path.read_bytes())
        one["association"]["disableSessionTags"] = True
        path.write_bytes(orjson.dumps(one))
    for is_tagged, plan in ((True, planned("pod_identity_theft")), (False, of_evidence(evidence))):
        keys = [one["state"] for one in fates(plan, "revoke").values() if one["kind"] == "access_key"]
        assert keys == ["ended", "ended"]
        roles = [one for one in plan["actions"] if one["action"] == "revoke_role_sessions"]
        own = next(one for one in roles if "pod-identity" in one["target"])
        assert bool(own["parameters"]["pods"]) == is_tagged
        assert ("kubernetes-pod-uid" in own["command"][0]) == is_tagged and "aws:TokenIssueTime" in own["command"][0]
        says = " ".join(own["blast_radius"])
        assert ("a deny by pod would do nothing" in says) != is_tagged
        assert ("not narrowed to a network" in says) != is_tagged


def test_an_isolated_pod_without_an_owner_is_not_cut_off() -> None:
    plan = dict(cases.planned(EVERY["stolen_sa_token"], enforced=True))
    pod = "created pods/store/api-a6247"
    assert fates(plan, "contain")[pod]["state"] == "still works" and "VPC CNI" in fates(plan, "contain")[pod]["because"]
    assert fates(plan, "eradicate")[pod]["state"] == "ended"


def test_a_key_that_no_action_stops_is_named_at_the_end() -> None:
    (key,) = [one for one in fates(planned("vanished_deployment"), "revoke").values() if one["kind"] == "access_key"]
    assert key["state"] == "ended"
    kept = planned("vanished_deployment", "--without", "deactivate_access_key")
    assert fates(kept, "eradicate")[f"access_key {key['key']}"]["state"] == "still works"
    assert key["key"] in kept["still_works"]["for_attacker"]


def test_what_stops_is_told_by_stage_and_on_the_action_that_stops_it(tmp_path: Path) -> None:
    case = cases.copied(tmp_path / "case", EVERY["webhook_backdoor"], enforced=True)
    isolated = (*KEPT, "--without", "restart_workload")
    plan = plan_of(case, *isolated)
    down = serves(plan, "contain")
    stopped = {("service", "checkout/api"), ("service", "checkout/web"), ("workload", "deployments/checkout/worker")}
    assert stopped <= down.keys() and not any(down.values())
    assert not stopped & serves(plan, "eradicate").keys(), "deleted pods come back by their owners"
    for kind, key in stopped:
        (marked,) = [
            one for one in plan["actions"] for says in one["blast_radius"] if f"takes down {kind} {key}:" in says
        ]
        assert marked["action"] == "isolate_pod"
    shown = kit("plan", case, *isolated).stdout
    assert "**Still works for you:** 6 of 6 Services" in shown and "**Still works for the attacker:**" in shown
    assert "STILL WORKS once the plan is done, for the attacker: " in kit("brief", case).stdout


def test_a_disruption_budget_that_isolation_breaks_is_named(tmp_path: Path) -> None:
    def budget(name: str, **spec: Any) -> Item:
        chosen = {"selector": {"matchLabels": {"app": "api"}}}
        metadata = {"name": name, "namespace": "checkout", "uid": f"budget-{name}"}
        return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": chosen | spec}

    budgets = [budget("broken", minAvailable="50%"), budget("kept", minAvailable=0), budget("most", maxUnavailable=1)]
    evidence = varied(EVERY["webhook_backdoor"], tmp_path, dump=enforcing)
    listed = {"apiVersion": "v1", "kind": "List", "items": budgets}
    (evidence / "cluster" / "poddisruptionbudgets.json").write_bytes(orjson.dumps(listed))
    down = serves(of_evidence(evidence, "--without", "restart_workload"), "contain")
    assert {key for kind, key in down if kind == "disruption_budget"} == {"checkout/broken", "checkout/most"}


def test_what_was_broken_before_is_no_work_of_the_plan(tmp_path: Path) -> None:
    def unready(resource: str, items: list[Item]) -> list[Item]:
        for item in items if resource == "pods" else ():
            if item["metadata"].get("labels", {}).get("app") == "grafana":
                item["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        return items

    plan = of_evidence(varied("stolen_sa_token", tmp_path, dump=unready))
    assert serves(plan, "contain")[("service", "observability/grafana")] is True
    assert plan["still_works"]["for_you"].startswith("6 of 6 Services")
    assert not any("grafana" in says for one in plan["actions"] for says in one["blast_radius"])


def test_the_last_node_is_not_taken_before_there_are_new_ones() -> None:
    whole, alone = planned("vanished_deployment"), planned("vanished_deployment", "--without", "add_nodes")
    nodes = {one["target"] for one in whole["actions"] if one["action"] == "quarantine_node"}
    assert len(nodes) == 3 and not [one for one in whole["not_possible"] if one["target"] in nodes]
    for name in ("cordon_node", "evict_pods", "quarantine_node", "terminate_node"):
        done = {one["target"] for one in alone["actions"] if one["action"] == name}
        (refused,) = [one for one in alone["not_possible"] if one["action"] == name]
        assert done | {refused["target"]} == nodes and len(done) == 2
        assert "add_nodes" in refused["says"]
    ids = {one["id"] for one in alone["actions"]}
    assert all({*one["after"]} <= ids for one in alone["actions"])


def test_an_endpoint_that_nobody_could_reach_is_not_closed(tmp_path: Path) -> None:
    evidence = varied("stolen_sa_token", tmp_path)
    path = evidence / "aws" / "eks-describe-cluster.json"
    described = orjson.loads(path.read_bytes())
    described["cluster"]["resourcesVpcConfig"]["endpointPrivateAccess"] = False
    path.write_bytes(orjson.dumps(described))
    closed = of_evidence(evidence, "--private-endpoint")
    assert not [one for one in closed["actions"] if one["action"] == "narrow_endpoint"]
    (refused,) = [one for one in closed["not_possible"] if one["action"] == "narrow_endpoint"]
    assert "private access" in refused["says"]
    private = planned("stolen_sa_token", "--private-endpoint")
    assert [one for one in private["actions"] if one["action"] == "narrow_endpoint"]


def test_the_last_administrator_is_not_shut_out(tmp_path: Path) -> None:
    def alone(resource: str, items: list[Item]) -> list[Item]:
        """aws-auth without the people who are administrators, but for the one whose access is taken away."""
        for item in items if resource == "configmaps" else ():
            if item["metadata"]["name"] == "aws-auth":
                item["data"]["mapUsers"] = "[]"
        return items

    evidence = varied(EVERY["shared_nat"], tmp_path, dump=alone)
    refused = [one for one in of_evidence(evidence)["not_possible"] if one["action"] == "remove_cluster_access"]
    assert len(refused) == 1 and "no other administrator" in refused[0]["says"]
    whole = planned("shared_nat")
    assert [one for one in whole["actions"] if one["action"] == "remove_cluster_access"]
    assert "1 administrator" in whole["still_works"]["for_you"]


def test_names_are_not_resolved_when_the_pods_that_do_it_are_cut_off() -> None:
    case = kit_api.open_case(cases.shared(EVERY["two_incidents"], enforced=True))
    frames = case.plan()
    pods = [one for one in case.plan().plan.actions if one.action == "isolate_pod"]
    names = [one for one in case._scope.inventory.pods if one.standing and str(one.name).startswith("coredns-")]
    cut = [replace(pods[0], id=f"isolate_pod-{pod.uid}", target=f"pod:{pod.uid}", name=str(pod.name)) for pod in names]
    assert len(cut) > 1
    for done, kinds in ((cut, {"dns", "workload"}), (cut[:1], set[str]())):
        made = simulate(frames._held, replace(frames.plan, actions=tuple(done)), [])
        assert {one.kind for one in made.stages[-1].serves} == kinds
        assert ("no DNS" in made.for_you) == bool(kinds)


def test_the_frame_has_what_the_json_has() -> None:
    case = kit_api.open_case(cases.shared(SAMPLE))
    frame = case.plan().simulated
    said = case.plan().simulation.as_json()["simulated"]
    assert len(frame) == sum(len(one["serves"]) + len(one["attacker"]) for one in said)
    assert {*frame["side"]} == {"you", "attacker"} and {*frame["stage"]} == {one["stage"] for one in said}
