"""What each act does to a cluster: done and seen, tried without a trace, taken back exactly, refused whenever the cluster is not as planned."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.actions.registry import ACTIONS
from kit.live.acts import service_accounts
from kit.live.acts.act import HOLDS
from kit.live.apply import Outcome, Remediation
from kit.live.changes.objects import url_path
from kit.live.connection import Connection
from kit.live.errors import Refused
from kit.model.kubernetes import plural
from kit.plan.journal import Journal
from kit.plan.plan import Plan, PlannedAction
from kit.questions.verdict import CANNOT_TELL
from kit.training.emulators.controllers import hands_on, policy_endpoint
from kit.training.emulators.kubernetes_emulator import CUT, Call, Cut, KubernetesEmulator, Object, Refusal

for _module in ("pods", "isolation", "bindings", "workloads", "put_back", "restarts", "service_accounts", "exposure"):
    importlib.import_module(f"kit.live.acts.{_module}")

ARN = "arn:aws:eks:eu-west-1:111122223333:cluster/shop"
RBAC = "rbac.authorization.k8s.io"
ANONYMOUS = {"kind": "Group", "apiGroup": RBAC, "name": "system:unauthenticated"}
ANN = {"kind": "User", "apiGroup": RBAC, "name": "ann"}
DEFAULT = {"kind": "ServiceAccount", "namespace": "shop", "name": "default"}
TOKEN = {"kubernetes.io/service-account.name": "till", "kubernetes.io/service-account.uid": "uid-of-till"}
VALUE = "dGhlIHZhbHVl"


def thing(api_version: str, kind: str, name: str, namespace: str | None = "shop", **more: Any) -> Object:
    metadata = {"name": name, "uid": f"uid-of-{name}"} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata | more.pop("metadata", {})} | more


def owned(kind: str, name: str) -> Object:
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-of-{name}", "controller": True}
    return {"ownerReferences": [owner]}


def pod(name: str, address: str, owner: Object, **labels: str) -> Object:
    spec = {
        "nodeName": "node-1",
        "serviceAccountName": "till",
        "initContainers": [{"name": "wait", "image": "wait:1"}],
        "containers": [{"name": "app", "image": "shop:1", "ports": [{"containerPort": 80}], "livenessProbe": {}}],
    }
    running = [{"name": "app", "state": {"running": {}}}]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": running}
    return thing("v1", "Pod", name, metadata={"labels": labels} | owner, spec=spec, status=status)


def binding(name: str, *subjects: Object, role: str = "edit", **metadata: Any) -> Object:
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    more: dict[str, Any] = {"metadata": metadata, "roleRef": reference, "subjects": list(subjects)}
    return thing(f"{RBAC}/v1", "ClusterRoleBinding", name, None, **more)


TURNED = [{"name": "inject.shop.test", "clientConfig": {"url": "https://203.0.113.6/mutate"}, "sideEffects": "None"}]
OWN_HOOK = [{"name": "inject.shop.test", "clientConfig": {"service": {"namespace": "shop", "name": "inject"}}, "sideEffects": "None"}]  # fmt: skip


def cluster() -> list[Object]:
    selector = {"selector": {"matchLabels": {"app": "web"}}, "replicas": 2}
    agent = {"name": "aws-eks-nodeagent", "args": ["--enable-network-policy=true"]}
    ports = [{"port": 443, "protocol": "TCP", "nodePort": 31443}]
    open_ = {"type": "LoadBalancer", "ports": ports, "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}
    tier = {"type": "ClusterIP", "selector": {"app": "web", "tier": "front"}, "ports": [{"port": 80}]}
    secret: dict[str, Any] = {"type": "kubernetes.io/service-account-token", "data": {"token": VALUE}}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": VALUE}
    return [
        thing("apps/v1", "DaemonSet", "aws-node", "kube-system", spec={"template": {"spec": {"containers": [agent]}}}),
        thing("v1", "ConfigMap", "amazon-vpc-cni", "kube-system", data={"enable-network-policy-controller": "true"}),
        policy_endpoint("of-another", "shop", {}),
        thing("v1", "Node", "node-1", None),
        thing("apps/v1", "ReplicaSet", "web-5d", spec=selector),
        pod("web-5d-a", "10.0.0.7", owned("ReplicaSet", "web-5d"), app="web", tier="front"),
        pod("web-5d-b", "10.0.0.8", owned("ReplicaSet", "web-5d"), app="web"),
        thing("apps/v1", "StatefulSet", "db", spec={"replicas": 1, "selector": {"matchLabels": {"app": "db"}}}),
        pod("db-0", "10.0.0.9", owned("StatefulSet", "db"), app="db"),
        thing("v1", "Service", "front", spec=tier),
        thing("v1", "Service", "shop-open", spec=open_, status={}),
        thing("apps/v1", "Deployment", "miner", spec={"replicas": 9}, metadata=owned("ReplicaSet", "web-5d")),
        thing("batch/v1", "CronJob", "sync", spec={"schedule": "* * * * *", "suspend": False}),
        thing("v1", "ServiceAccount", "till", metadata={"labels": {"team": "till"}}, secrets=[{"name": "till-token"}]),
        thing("v1", "Secret", "till-token", metadata={"annotations": TOKEN | applied}, **secret),
        thing("v1", "Secret", "of-another", metadata={"annotations": TOKEN | {"kubernetes.io/service-account.name": "x"}}, **secret),
        thing("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "inject", None, webhooks=TURNED),
        binding("everybody", ANN, ANONYMOUS, DEFAULT, annotations={f"{RBAC.removesuffix('.k8s.io')}.kubernetes.io/autoupdate": "true"}),
        binding("backdoor", ANN, role="cluster-admin"),
        binding("system:public-info-viewer", ANONYMOUS, role="system:public-info-viewer"),
    ]  # fmt: skip


def controllers(emulator: KubernetesEmulator) -> Callable[[Call, str], None]:
    """What a cluster's controllers keep up: the slice of Service front, and what the VPC CNI is told of the quarantine."""
    hand_on = hands_on(emulator)

    def follow(call: Call, phase: str) -> None:
        state = emulator.objects()
        pods = [one for key, one in state.items() if key.startswith("pods/shop/")]
        front = [one for one in pods if (one["metadata"].get("labels") or {}).get("tier") == "front"]
        more: dict[str, Any] = {"metadata": {"labels": {"kubernetes.io/service-name": "front"}}, "addressType": "IPv4"}
        more["endpoints"] = [{"addresses": [one["status"]["podIP"]]} for one in front]
        emulator.add(thing("discovery.k8s.io/v1", "EndpointSlice", "front-1", **more))
        hand_on(call, phase)

    return follow


@dataclass
class Room:
    """A cluster, and a case to remedy it from."""

    emulator: KubernetesEmulator
    folder: Path

    def connection(self) -> Connection:
        path = self.emulator.kubeconfig(self.folder / "config", ARN)
        return Connection("111122223333", "eu-west-1", "shop", kubeconfig=str(path))

    def run(self, verb: str, *actions: PlannedAction) -> list[Outcome]:
        """preview, apply, check or undo, as a run of its own with a connection of its own."""
        self.folder.mkdir(exist_ok=True)
        plan = Plan("111122223333", "eu-west-1", "shop", actions, ())
        with Journal(self.folder) as journal:
            room = Remediation(self.folder, journal, self.connection(), lambda line: None)
            if verb == "preview":
                return room.preview(plan)
            if verb == "apply":
                return room.apply(plan, {"plan": asdict(plan)})
            return room.undo([one.id for one in actions]) if verb == "undo" else room.check()

    def one(self, verb: str, action: PlannedAction) -> Outcome:
        (outcome,) = self.run(verb, action)
        return outcome

    def content(self) -> dict[str, Object]:
        """The state but for what follows from it."""
        return {
            key: one
            for key, one in self.emulator.content().items()
            if not key.startswith(("policyendpoints.", "endpointslices."))
        }


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with KubernetesEmulator(cluster(), checkpoints=True) as emulator:
        emulator.faults.append(controllers(emulator))
        yield Room(emulator, tmp_path / "case")


def planned(action: str, of: str = "", **parameters: Any) -> PlannedAction:
    given = {"namespace": "shop", "uid": f"uid-of-{parameters['name']}"} | parameters
    words = ("stage", "does", "target", "precondition", "undo")
    lists = ("why", "blast_radius", "command", "permissions", "when_not", "after")
    rest: dict[str, Any] = dict.fromkeys(words, "") | {name: [] for name in lists}
    return PlannedAction(
        id=f"{action}-{of or given['name']}",
        action=action,
        name=given["name"],
        uid=None,
        parameters=given,
        cannot_undo=ACTIONS[action].cannot_undo,
        **rest,
    )


BOUND: dict[str, Any] = {"resource": "clusterrolebindings", "namespace": None, "name": "everybody", "subjects": [ANN, ANONYMOUS, DEFAULT]}  # fmt: skip
CRON = thing("batch/v1", "CronJob", "report", spec={"schedule": "@daily"})
WEB: dict[str, Any] = {"name": "web-5d-a", "node": "node-1", "host_network": False}
ACTS: dict[str, PlannedAction] = {
    one.id: one
    for one in (
        planned("isolate_pod", **WEB),
        planned("withdraw_pod", name="web-5d-a", labels={"tier": "front"}),
        planned("withdraw_pod", "found", name="web-5d-a", labels=None),
        planned("remove_anonymous_access", **BOUND, remove=[ANONYMOUS]),
        planned("remove_anonymous_access", "found", **BOUND | {"subjects": None}, remove=None),
        planned("unbind_identity", **BOUND, remove=[ANN, DEFAULT, ANONYMOUS]),
        planned("drop_default_account_rights", **BOUND, remove=[DEFAULT]),
        planned("remove_role_binding", resource="clusterrolebindings", namespace=None, name="backdoor", expected={"subjects": [{"kind": "User", "name": "ann"}]}),
        planned("delete_workload", resource="deployments", name="miner", expected={"spec": {"replicas": 9}}),
        planned("suspend_cronjob", resource="cronjobs", name="sync", expected={}),
        planned("stop_workload", resource="deployments", name="miner", expected={}),
        planned("restart_workload", resource="statefulsets", name="db", pods=["uid-of-db-of-old"]),
        planned("close_exposure", resource="services", name="shop-open", type="LoadBalancer"),
        planned("restore_objects", resource="cronjobs", name="report", uid=None, kind="deleted", body=CRON),
        planned("revert_webhook", resource="mutatingwebhookconfigurations", namespace=None, name="inject", expected={"webhooks": TURNED}, patch={"webhooks": OWN_HOOK}, remove=[], person=""),
        planned("revert_rights", resource="clusterrolebindings", namespace=None, name="everybody", expected={"subjects": BOUND["subjects"]}, patch={"subjects": [DEFAULT]}, remove=[ANN, ANONYMOUS], person=""),
        planned("revert_changes", resource="statefulsets", name="db", expected={"spec": {"replicas": 1}}, patch={"spec": {"replicas": 3}}, remove=[], person=""),
        planned("keep_objects", resource="pods", name="web-5d-a", containers=None),
        planned("capture_container", name="web-5d-a", node=None, containers=None),
        planned("delete_pod", name="web-5d-b", grace=None),
        planned("end_service_account_tokens", name="till", recreate=False),
        planned("end_service_account_tokens", "anew", name="till", recreate=True),
    )
}  # fmt: skip
GONE_FOR_GOOD = ("delete_pod", "restart_workload", "end_service_account_tokens", "capture_container")
READ_ONLY = ("keep_objects", "capture_container")
CHANGES = [one for one in ACTS.values() if one.action not in READ_ONLY]
by_id = pytest.mark.parametrize("action", ACTS.values(), ids=lambda one: one.id)
changing = pytest.mark.parametrize("action", CHANGES, ids=lambda one: one.id)


@by_id
def test_an_act_is_tried_without_a_trace_then_done_seen_to_hold_and_taken_back(
    room: Room, action: PlannedAction
) -> None:
    before = room.content()
    assert room.one("preview", action).word == "would be done"
    assert room.content() == before
    outcome = room.one("apply", action)
    assert (outcome.word, outcome.check and outcome.check.word) == ("done", "holds"), outcome
    assert (room.content() != before) == (action.action not in READ_ONLY)
    after = room.content()
    assert room.one("apply", action).word == "done before"
    assert room.content() == after
    undone = room.run("undo", action)
    if action.action in GONE_FOR_GOOD:
        assert undone[0].word == "cannot be undone" and undone[0].says
    elif action.action != "keep_objects":
        assert [one.word for one in undone] == ["undone"], undone
        assert room.content() == before
        again = room.one("apply", action)
        assert again.word == "done" and room.content() == after
        assert [one.word for one in room.run("undo", action)] == ["undone"] and room.content() == before


@by_id
def test_another_object_of_the_name_is_left_alone(room: Room, action: PlannedAction) -> None:
    if action.action == "restore_objects":
        room.emulator.add(CRON | {"spec": {"schedule": "@hourly"}})
    else:
        action = PlannedAction(**{**asdict(action), "parameters": action.parameters | {"uid": "uid-of-another"}})
    before = room.emulator.objects()
    assert [room.one(verb, action).word for verb in ("preview", "apply")] == ["refused", "refused"]
    assert room.emulator.objects().keys() - before.keys() <= {"endpointslices.discovery.k8s.io/shop/front-1"}
    assert not [call for call in room.emulator.calls if call.changed and call.method != "GET"]


@changing
def test_what_is_not_permitted_is_not_done_and_goes_on_once_it_is(room: Room, action: PlannedAction) -> None:
    before = room.content()
    forbidden = Refusal(403, "Forbidden", "you may not")

    def deny(call: Call, phase: str) -> Refusal | None:
        return forbidden if call in writes(room) else None

    room.emulator.faults.append(deny)
    outcome = room.one("apply", action)
    assert outcome.word == "failed" and "403" in outcome.says
    assert room.content() == before
    room.emulator.faults.remove(deny)
    assert room.one("apply", action).word == "done"


def writes(room: Room) -> list[Call]:
    return [call for call in room.emulator.calls if call.method in ("PATCH", "DELETE", "POST") and "review" not in call.path]  # fmt: skip


@pytest.mark.parametrize("phase", ["before", "after"])
@changing
def test_a_cut_connection_is_looked_up_and_nothing_is_done_twice(room: Room, action: PlannedAction, phase: str) -> None:
    whole = 0
    with KubernetesEmulator(cluster()) as other:
        other.faults.append(controllers(other))
        twin = Room(other, room.folder.with_name("twin"))
        assert twin.one("apply", action).word == "done"
        whole = len([call for call in writes(twin) if call.changed])
        wanted = twin.content()
    for number in range(whole):  # each write of the act is cut once

        def cut(call: Call, at: str, number: int = number) -> Cut | None:
            done = [one for one in writes(room) if one.status is not None and one.changed and one is not call]
            return CUT if call in writes(room) and at == phase and len(done) == number else None

        room.emulator.faults.append(cut)
        outcome = room.one("apply", action)
        assert outcome.word == "unknown", (number, outcome)
        room.emulator.faults.remove(cut)
        if phase == "after":
            for call in writes(room):
                call.status = call.status or 200
    assert room.one("apply", action).word == "done"
    assert room.content() == wanted
    assert len([call for call in writes(room) if call.changed]) == whole


@pytest.mark.parametrize("id_", ["isolate_pod-web-5d-a", "withdraw_pod-found", "remove_anonymous_access-everybody", "revert_rights-everybody", "close_exposure-shop-open"])  # fmt: skip
def test_what_somebody_writes_between_look_and_call_is_not_lost(room: Room, id_: str) -> None:
    """The first try is stale (409); the second goes by what is there now."""
    action, met = ACTS[id_], list[str]()

    def write(call: Call, phase: str) -> None:
        if call.method == "PATCH" and phase == "before" and not met:
            met.append(call.path)
            key = next(key for key in room.emulator.objects() if key.endswith("/" + call.path.rpartition("/")[2]))
            stored = room.emulator.objects()[key]
            stored["metadata"].pop("resourceVersion")
            stored["metadata"]["labels"] = (stored["metadata"].get("labels") or {}) | {"somebody": "was-here"}
            room.emulator.add(stored)

    room.emulator.faults.append(write)
    assert room.one("apply", action).word == "done"
    assert [call.status for call in writes(room) if call.path == met[0]] == [409, 200]
    assert any((one["metadata"].get("labels") or {}).get("somebody") for one in room.content().values())


@pytest.mark.parametrize("id_", ["remove_anonymous_access-everybody", "unbind_identity-everybody", "drop_default_account_rights-everybody", "remove_role_binding-backdoor"])  # fmt: skip
def test_a_binding_with_other_subjects_than_planned_is_left_alone(room: Room, id_: str) -> None:
    for name in ("everybody", "backdoor"):
        stored = room.emulator.objects()[f"clusterrolebindings.{RBAC}//{name}"]
        stored["subjects"].append({"kind": "User", "apiGroup": RBAC, "name": "new"})
        room.emulator.add(
            stored | {"metadata": {k: v for k, v in stored["metadata"].items() if k != "resourceVersion"}}
        )
    before = room.content()
    outcome = room.one("apply", ACTS[id_])
    assert outcome.word == "refused" and "planned" in outcome.says
    assert room.content() == before


def test_other_subjects_stay_in_their_order_and_the_server_may_not_put_it_back(room: Room) -> None:
    room.one("apply", ACTS["remove_anonymous_access-everybody"])
    left = room.content()[f"clusterrolebindings.{RBAC}//everybody"]
    assert left["subjects"] == [ANN, DEFAULT]
    assert left["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "false"}
    room.one("apply", ACTS["unbind_identity-everybody"])
    assert f"clusterrolebindings.{RBAC}//everybody" in room.content()


@pytest.mark.parametrize("id_", ["unbind_identity-everybody", "remove_role_binding-backdoor"])
@pytest.mark.parametrize("user", [{"username": "ann", "groups": []}])
def test_the_kit_does_not_take_away_what_it_works_by(room: Room, id_: str, user: Object) -> None:
    room.emulator.user_info, before = user, room.content()
    assert "the kit itself works by User ann" in room.one("apply", ACTS[id_]).says
    assert room.content() == before


@pytest.mark.parametrize("id_", ["unbind_identity-everybody", "remove_role_binding-backdoor", "end_service_account_tokens-anew"])  # fmt: skip
def test_nothing_is_taken_away_while_it_cannot_be_told_who_runs_this(room: Room, id_: str) -> None:
    room.emulator.faults.append(lambda call, _: Refusal(403, "Forbidden", "no") if "review" in call.path else None)
    before = room.content()
    outcome = room.one("apply", ACTS[id_])
    assert outcome.word == "refused" and "cannot be told" in outcome.says
    assert room.content() == before


@pytest.mark.parametrize("recreate", [False, True])
def test_the_account_that_the_run_itself_uses_keeps_its_tokens(room: Room, recreate: bool) -> None:
    room.emulator.user_info, before = {"username": "system:serviceaccount:shop:till"}, room.content()
    action = planned("end_service_account_tokens", "own", name="till", recreate=recreate)
    assert [room.one(verb, action).word for verb in ("preview", "apply")] == ["refused", "refused"]
    gone = planned("delete_workload", "own", resource="serviceaccounts", name="till", expected={})
    assert "the kit itself" in room.one("apply", gone).says
    assert room.content() == before


def test_old_tokens_have_ended_when_no_api_server_knows_them_any_more(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_accounts, "CACHED", timedelta(seconds=10))
    action = planned("end_service_account_tokens", "anew", name="till", recreate=True)
    done = room.one("apply", action)
    assert done.check and done.check.word == CANNOT_TELL and "for 10 s more" in done.check.says
    monkeypatch.setattr(service_accounts, "CACHED", timedelta(0))
    (again,) = room.run("check")
    assert again.check and again.check.word == HOLDS, again


@pytest.mark.parametrize(("api_version", "kind", "spec"), [
    ("apps/v1", "Deployment", {"replicas": 2}),
    ("apps/v1", "ReplicaSet", {"replicas": 2}),
    ("apps/v1", "StatefulSet", {"replicas": 2}),
    ("v1", "ReplicationController", {"replicas": 2}),
    ("apps/v1", "DaemonSet", {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}),
    ("batch/v1", "Job", {"template": {"spec": {}}}),
])  # fmt: skip
def test_a_workload_that_is_stopped_has_no_pod_that_runs_and_is_put_back_as_it_was(
    room: Room, api_version: str, kind: str, spec: Object
) -> None:
    linux = {"metadata": {"labels": {"kubernetes.io/os": "linux"}}}
    owner = {"apiVersion": api_version, "kind": kind, "name": "theirs", "uid": "uid-of-theirs", "controller": True}
    runs = pod("theirs-1", "10.0.0.20", {"ownerReferences": [owner]})
    over = pod("theirs-0", "10.0.0.21", {"ownerReferences": [owner]}) | {"status": {"phase": "Succeeded"}}
    room.emulator.add(
        thing("v1", "Node", "node-1", None, **linux), thing(api_version, kind, "theirs", spec=spec), runs, over
    )
    before = room.content()
    action = planned("stop_workload", resource=plural(kind), name="theirs", expected={})
    outcome = room.one("apply", action)
    assert (outcome.word, outcome.check and outcome.check.word) == ("done", HOLDS), outcome
    after = room.content()
    assert before.keys() - after.keys() == {"pods/shop/theirs-1"}, "what has finished stays, for its logs"
    room.emulator.add(runs)  # its kubelet takes its time
    (again,) = room.run("check")
    assert again.check and again.check.word == CANNOT_TELL and "theirs-1" in again.check.says
    assert [one.word for one in room.run("undo", action)] == ["undone"]
    assert room.content() == before


def test_a_workload_is_gone_when_its_pods_are(room: Room) -> None:
    room.emulator.add(thing("apps/v1", "DaemonSet", "miner", spec={"template": {}, "selector": {}}))
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "miner", "uid": "of-miner", "controller": True}
    left = thing("v1", "Pod", "miner-x1", metadata={"ownerReferences": [owner]}, spec={"containers": []})
    action = planned("delete_workload", "miner", resource="daemonsets", name="miner", expected={})
    assert room.one("apply", action).word == "done"
    room.emulator.add(left)  # the garbage collector has not come to it yet
    (before,) = room.run("check")
    assert before.check and before.check.word == CANNOT_TELL and "miner-x1" in before.check.says
    room.emulator.remove("pods/shop/miner-x1")
    (after,) = room.run("check")
    assert after.check and after.check.word == HOLDS, after


def bound(room: Room) -> list[str]:
    return [one["name"] for one in room.content()[f"clusterrolebindings.{RBAC}//everybody"]["subjects"]]


def bind(room: Room, *subjects: Object) -> None:
    stored = room.emulator.objects()[f"clusterrolebindings.{RBAC}//everybody"]
    stored["metadata"].pop("resourceVersion")
    room.emulator.add(stored | {"subjects": list(subjects)})


def test_an_undo_puts_back_only_whom_it_took_out_and_not_beside_somebody_new(room: Room) -> None:
    action = ACTS["drop_default_account_rights-everybody"]
    room.one("apply", action)
    bind(room, ANN, {"kind": "User", "apiGroup": RBAC, "name": "new"})
    assert "somebody changed it" in room.one("undo", action).says
    assert bound(room) == ["ann", "new"]
    bind(room, ANN)
    assert room.one("undo", action).word == "undone"
    assert bound(room) == ["ann", "default"], "the anonymous group was taken out by somebody else"


def test_two_acts_on_one_binding_are_taken_back_in_any_order(room: Room) -> None:
    first, second = ACTS["remove_anonymous_access-everybody"], ACTS["drop_default_account_rights-everybody"]
    assert room.one("apply", first).word == "done"
    both = planned("unbind_identity", **BOUND, remove=[ANONYMOUS, DEFAULT])
    assert room.one("apply", both).word == "done", "part of it was done before, by a plan of its own"
    assert bound(room) == ["ann"]
    assert room.one("undo", first).word == "undone" and bound(room) == ["ann", "system:unauthenticated"]
    assert room.one("undo", both).word == "undone"
    assert sorted(bound(room)) == ["ann", "default", "system:unauthenticated"]
    assert room.one("apply", second).word == "done"


def test_the_one_binding_that_is_meant_for_everybody_stays(room: Room) -> None:
    action = planned("remove_anonymous_access", **BOUND | {"name": "system:public-info-viewer", "subjects": [ANONYMOUS]}, remove=[ANONYMOUS])  # fmt: skip
    assert room.one("apply", action).word == "refused"


def test_a_stateful_sets_pod_that_is_back_under_its_name_is_not_deleted_again(room: Room) -> None:
    room.emulator.recreate = True
    action = planned("delete_pod", name="db-0", grace=0)

    def cut(call: Call, phase: str) -> Cut | None:
        return CUT if call.method == "DELETE" and phase == "after" else None

    room.emulator.faults.append(cut)
    assert room.one("apply", action).word == "unknown"
    room.emulator.faults.remove(cut)
    outcome = room.one("apply", action)
    assert outcome.word == "done" and outcome.check
    assert outcome.check.word == "holds" and "db-0 from shop:1" in outcome.check.says
    assert len([call for call in room.emulator.calls if call.method == "DELETE"]) == 1
    again = planned("delete_pod", "later", name="db-0", grace=0)
    assert "another object now" in room.one("apply", again).says


@pytest.mark.parametrize(
    "id_", ["delete_pod-web-5d-b", "delete_workload-miner", "isolate_pod-web-5d-a", "remove_role_binding-backdoor"]
)
def test_what_takes_the_objects_place_between_look_and_call_is_left_alone(room: Room, id_: str) -> None:
    action, placed = ACTS[id_], list[Object]()

    def replace(call: Call, phase: str) -> None:
        if call.method in ("DELETE", "PATCH") and phase == "before" and not placed:
            key = next(key for key in room.emulator.objects() if key.endswith("/" + call.path.rpartition("/")[2]))
            other = room.emulator.objects()[key]
            room.emulator.remove(key)
            other["metadata"] = {k: v for k, v in other["metadata"].items() if k != "resourceVersion"} | {"uid": "new"}
            placed.append(other)
            room.emulator.add(other)

    room.emulator.faults.append(replace)
    outcome = room.one("apply", action)
    assert placed and (outcome.word == "refused" or "422" in outcome.says), outcome
    assert placed[0]["metadata"]["name"] in [
        one["metadata"]["name"] for one in room.emulator.objects().values() if one["metadata"]["uid"] == "new"
    ]


def test_a_pod_that_takes_its_time_to_end_is_done_and_its_check_waits(room: Room) -> None:
    stored = next(one for one in cluster() if one["metadata"]["name"] == "web-5d-b")
    stored["metadata"]["finalizers"] = ["example.com/slow"]
    room.emulator.add(stored)
    outcome = room.one("apply", ACTS["delete_pod-web-5d-b"])
    assert outcome.word == "done" and outcome.check and outcome.check.word == "cannot tell"
    assert "is being deleted" in outcome.check.says


def test_a_deleted_object_is_not_made_again_while_it_ends_nor_over_another(room: Room) -> None:
    action = ACTS["delete_workload-miner"]
    stored = next(one for one in cluster() if one["metadata"]["name"] == "miner")
    stored["metadata"]["finalizers"] = ["example.com/slow"]
    room.emulator.add(stored)
    room.one("apply", action)
    assert "it is being deleted" in room.one("undo", action).says
    room.emulator.remove("deployments.apps/shop/miner")
    room.emulator.add(thing("apps/v1", "Deployment", "miner", metadata={"uid": "new"}, spec={"replicas": 1}))
    assert "another object has its name" in room.one("undo", action).says
    assert room.content()["deployments.apps/shop/miner"]["spec"]["replicas"] == 1
    (check,) = room.run("check")
    assert check.check and check.check.word == "does not hold" and "came back" in check.check.says


COUNTED = {"batch.kubernetes.io/controller-uid": "uid-of-once"}
JOB = thing("batch/v1", "Job", "once", spec={"selector": {"matchLabels": COUNTED}, "template": {"metadata": {"labels": COUNTED | {"job-name": "once"}, "creationTimestamp": None}, "spec": {"containers": [{"name": "a", "image": "b"}]}}})  # fmt: skip
OPEN = thing("v1", "Service", "open", spec={"type": "NodePort", "clusterIP": "10.100.0.7", "clusterIPs": ["10.100.0.7"], "ports": [{"port": 80, "nodePort": 30007}]})  # fmt: skip
RUNS = thing("apps/v1", "Deployment", "runs", metadata={"annotations": {"deployment.kubernetes.io/revision": "3"}}, spec={"replicas": 1, "template": {"spec": {"containers": [{"name": "a", "image": "b"}], "volumes": [{"name": "v", "emptyDir": {}}]}}})  # fmt: skip
READS = thing(f"{RBAC}/v1", "Role", "reads", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
CLOSED = thing("networking.k8s.io/v1", "NetworkPolicy", "closed", spec={"podSelector": {}})


def filled(one: Object) -> Object:
    """What server, controllers and webhooks make of an object that is sent to them."""
    spec, metadata = one.get("spec", {}), one["metadata"]
    metadata |= {"uid": "uid-of-the-second", "labels": {"webhook": "was-here"}}
    if one["kind"] == "Job":
        counted = {"batch.kubernetes.io/controller-uid": "uid-of-the-second"}
        spec["selector"], labels = {"matchLabels": counted}, spec["template"]["metadata"].setdefault("labels", {})
        labels |= counted
    if one["kind"] == "Service":
        spec |= {"clusterIP": "10.100.0.8", "clusterIPs": ["10.100.0.8"], "sessionAffinity": "None"}
        spec["ports"] = [{"port": 80, "protocol": "TCP", "nodePort": 30008}]
    if one["kind"] == "Deployment":
        metadata["annotations"] = {"deployment.kubernetes.io/revision": "1"}
        spec["template"]["spec"]["containers"].insert(0, {"name": "sidecar", "image": "mesh"})
        spec["template"]["spec"]["containers"][1]["terminationMessagePolicy"] = "File"
    return one


PLANTED: dict[str, Any] = {"name": "planted", "uid": None, "expected": {}}
OF_SECOND: dict[str, tuple[str, str, PlannedAction]] = {
    "a webhook": ("MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1",
                  planned("remove_webhook", resource="mutatingwebhookconfigurations", namespace=None, made_at="2026-01-31T14:00:00Z", **PLANTED)),
    "a Secret": ("Secret", "v1", planned("remove_secret", resource="secrets", namespace="shop", made_at="2026-01-31T14:00:00Z", **PLANTED)),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_SECOND)
def test_what_is_known_by_its_second_alone_is_deleted_while_it_is_of_that_second(room: Room, name: str) -> None:
    kind, api, action = OF_SECOND[name]
    space = action.parameters["namespace"]
    named = {"name": "planted", "uid": "uid-of-planted", "creationTimestamp": "2026-01-31T14:00:01Z"}
    room.emulator.add({"apiVersion": api, "kind": kind, "metadata": named | ({"namespace": space} if space else {})})

    def stands() -> bool:
        return any(one["metadata"]["name"] == "planted" for one in room.emulator.objects().values())

    def with_making(id_: str, made_at: str | None) -> PlannedAction:
        return replace(action, id=f"{action.action}-{id_}", parameters=action.parameters | {"made_at": made_at})

    refused = room.one("apply", with_making("other", "2026-01-31T13:00:00Z"))
    assert refused.word == "refused" and "it is another object" in refused.says and stands()
    untold = room.one("apply", with_making("untold", None))
    assert untold.word == "refused" and "cannot be told" in untold.says
    assert room.one("apply", action).word == "done"
    assert not stands()


@pytest.mark.parametrize("made", [JOB, OPEN, RUNS, CLOSED], ids=lambda one: one["kind"])
def test_what_is_made_again_and_filled_in_is_undone_and_may_be_deleted_again(room: Room, made: Object) -> None:
    kind, name = made["kind"].lower(), made["metadata"]["name"]
    resource = {"networkpolicy": "networkpolicies"}.get(kind, kind + "s")
    action = planned("delete_workload", resource=resource, name=name, expected={})
    room.emulator.add(made)

    def fill(call: Call, phase: str) -> None:
        if call.method == "POST" and phase == "after" and call.changed == (key,):
            stored = room.emulator.objects()[key]
            room.emulator.remove(key)
            stored["metadata"].pop("resourceVersion")
            room.emulator.add(filled(stored))

    (key,) = (key for key, one in room.emulator.objects().items() if one["metadata"]["name"] == name)
    room.emulator.faults.append(fill)
    assert room.one("apply", action).word == "done" and key not in room.content()
    assert room.one("undo", action).word == "undone"
    assert room.emulator.objects()[key]["metadata"]["uid"] == "uid-of-the-second"
    assert room.one("apply", action).word == "done" and key not in room.content()


@pytest.mark.parametrize(
    ("made", "other"),
    [
        (READS, {"rules": [*READS["rules"], {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
        (CLOSED, {"spec": {"podSelector": {"matchLabels": {"no": "pod"}}}}),
        (RUNS, {"spec": RUNS["spec"] | {"template": {"spec": {"containers": [{"name": "a", "image": "other"}]}}}}),
    ],
    ids=["Role", "NetworkPolicy", "Deployment"],
)
def test_another_object_in_its_place_is_not_taken_for_it(room: Room, made: Object, other: Object) -> None:
    kind = made["kind"].lower()
    resource = {"networkpolicy": "networkpolicies"}.get(kind, kind + "s")
    act = "remove_role_binding" if kind == "role" else "delete_workload"
    action = planned(act, resource=resource, name=made["metadata"]["name"], expected={})
    room.emulator.add(made)
    assert room.one("apply", action).word == "done"
    room.emulator.add(made | other | {"metadata": made["metadata"] | {"uid": "new"}})
    outcome = room.one("undo", action)
    assert outcome.word == "not undone" and "another object has its name" in outcome.says
    assert "another object now" in room.one("apply", planned(act, "b", **action.parameters)).says


def test_the_journal_has_no_second_copy_of_what_an_object_held(room: Room) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": VALUE}
    room.emulator.add(thing("apps/v1", "Deployment", "runs", metadata={"annotations": applied}, spec=RUNS["spec"]))
    named = {"resource": "deployments", "name": "runs"}
    other = {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "other"}}}
    says = room.one("apply", planned("delete_workload", "other", **named, expected=other)).says
    assert "differs in metadata.annotations.kubectl" in says
    action = planned("delete_workload", **named, expected={})
    assert room.one("apply", action).word == "done" and room.one("undo", action).word == "undone"
    secret = planned("delete_workload", "secret", resource="secrets", name="of-another", expected={})
    assert room.one("apply", secret).word == "done"
    assert VALUE not in (room.folder / "journal.jsonl").read_text()
    assert room.one("undo", secret).word == "cannot be undone"


def test_what_is_made_again_does_not_name_an_owner_that_is_gone(room: Room) -> None:
    action = ACTS["delete_workload-miner"]
    room.one("apply", action)
    room.emulator.remove("replicasets.apps/shop/web-5d")
    assert room.one("undo", action).word == "undone"
    assert "ownerReferences" not in room.content()["deployments.apps/shop/miner"]["metadata"]


@pytest.mark.parametrize(
    "name", ["", None, ".", "..", "a/b", "../../namespaces/shop", "a%2fb", "a\n", "\ud800"], ids=ascii
)
def test_a_name_from_evidence_leads_nowhere_else(room: Room, name: str | None) -> None:
    before = room.content()
    for action in ("delete_workload", "delete_pod", "remove_role_binding"):
        resource = {"delete_workload": "deployments", "remove_role_binding": "rolebindings"}.get(action)
        outcome = room.one("apply", planned(action, "x", resource=resource, name=name, grace=None, expected={}))
        assert outcome.word == "refused", outcome
    assert room.content() == before and not writes(room)


def test_a_path_is_made_only_of_what_is_known() -> None:
    assert url_path("clusterroles", "shop", "a:b") == "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%3Ab"
    for given in (("rollouts", "shop", "x"), ("pods", None, "x"), ("pods", "..", "x")):
        with pytest.raises(Refused):
            url_path(*given)


# Isolation: whether it does anything


def isolated(room: Room, *objects: Object, without: str = "") -> Outcome:
    room.emulator.add(*objects)
    if without:
        room.emulator.remove(without)
    return room.one("apply", ACTS["isolate_pod-web-5d-a"])


AGENT = "daemonsets.apps/kube-system/aws-node"
OFF = thing("v1", "ConfigMap", "amazon-vpc-cni", "kube-system", data={})
HOST = pod("web-5d-a", "10.0.0.7", owned("ReplicaSet", "web-5d"), app="web")
HOST["spec"]["hostNetwork"] = True
FARGATE = pod("web-5d-a", "10.0.0.7", owned("ReplicaSet", "web-5d"), app="web")
FARGATE["spec"]["nodeName"] = "fargate-ip-10-0-0-7"
NO_AGENT = thing("apps/v1", "DaemonSet", "aws-node", "kube-system", spec={})
AUTO = thing("v1", "Node", "node-1", None, metadata={"labels": {"eks.amazonaws.com/compute-type": "auto"}})
OTHER_POLICY = thing("networking.k8s.io/v1", "NetworkPolicy", "kit-quarantine", spec={"podSelector": {}})


@pytest.mark.parametrize(
    ("there", "says"),
    [(HOST, "host network"), (FARGATE, "Fargate"), (NO_AGENT, "enableNetworkPolicy"), (OFF, "controller is off"), (OTHER_POLICY, "another content")],
)  # fmt: skip
def test_a_policy_that_would_do_nothing_is_not_made(room: Room, there: Object, says: str) -> None:
    room.emulator.add(there)
    before = room.content()
    assert (room.one("preview", ACTS["isolate_pod-web-5d-a"]).word) == "refused"
    outcome = isolated(room)
    assert outcome.word == "refused" and says in outcome.says
    assert room.content() == before


def test_what_a_suspended_cronjob_started_since_the_dump_and_still_runs_is_named(room: Room) -> None:
    """No action of the plan is for it."""
    job = thing("batch/v1", "Job", "sync-29401", metadata=owned("CronJob", "sync"), spec={})
    ended = pod("sync-29401-b", "10.0.0.12", owned("Job", "sync-29401")) | {"status": {"phase": "Succeeded"}}
    room.emulator.add(job, pod("sync-29401-a", "10.0.0.11", owned("Job", "sync-29401")), ended)
    outcome = room.one("apply", ACTS["suspend_cronjob-sync"])
    assert outcome.word == "done" and outcome.check and outcome.check.word == "holds"
    assert "pods of its Jobs still run, shop/sync-29401-a: " in outcome.check.says


def test_the_policy_of_a_pod_that_is_cut_off_lets_nothing_in_and_nothing_out(room: Room) -> None:
    assert isolated(room).word == "done"
    (policy,) = [one for key, one in room.emulator.content().items() if key.startswith("networkpolicies")]
    spec = policy["spec"]
    assert sorted(spec.pop("policyTypes")) == ["Egress", "Ingress"]
    assert spec == {"podSelector": {"matchLabels": {"kit-quarantine": "true"}}}


SAME: dict[str, Any] = {"podSelector": {"matchLabels": {"kit-quarantine": "true"}}, "policyTypes": ["Ingress", "Egress"]}  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [
        SAME | {"ingress": [{}], "egress": [{}]},
        SAME | {"egress": [{"to": []}]},
        SAME | {"policyTypes": ["Ingress"]},
        SAME | {"podSelector": {"matchLabels": {"kit-quarantine": "true", "no": "pod"}}},
        SAME | {"podSelector": SAME["podSelector"] | {"matchExpressions": [{"key": "no", "operator": "Exists"}]}},
    ],
)
def test_a_policy_of_that_name_that_lets_something_through_is_not_ours(room: Room, spec: Object) -> None:
    room.emulator.add(thing("networking.k8s.io/v1", "NetworkPolicy", "kit-quarantine", spec=spec))
    before = room.content()
    for verb in ("preview", "apply"):
        outcome = room.one(verb, ACTS["isolate_pod-web-5d-a"])
        assert outcome.word == "refused" and "another content" in outcome.says
    assert room.content() == before


def test_a_policy_that_was_opened_afterwards_is_seen(room: Room) -> None:
    action = ACTS["isolate_pod-web-5d-a"]
    room.one("apply", action)
    room.emulator.add(thing("networking.k8s.io/v1", "NetworkPolicy", "kit-quarantine", spec=SAME | {"ingress": [{}]}))
    (check,) = room.run("check", action)
    assert check.check and check.check.word == "does not hold"
    assert room.one("undo", action).word == "not undone", "what somebody made of it is his"


def test_a_pod_that_is_gone_took_its_label_along_and_the_policy_goes(room: Room) -> None:
    action = ACTS["isolate_pod-web-5d-a"]
    room.one("apply", action)
    room.emulator.remove("pods/shop/web-5d-a")
    assert [one.word for one in room.run("undo", action)] == ["undone"]
    assert not [key for key in room.content() if "kit-quarantine" in key]
    assert room.run("undo") == [], "nothing of it is left to take back"


BARE = pod("web-5d-a", "10.0.0.7", {}, app="web")
ALLOWS = thing("networking.k8s.io/v1", "NetworkPolicy", "allow-web", spec={"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, "ingress": [{}]})  # fmt: skip
CALICO = thing("apps/v1", "DaemonSet", "calico-node", "calico-system", spec={})


@pytest.mark.parametrize(
    ("there", "without", "word", "says"),
    [
        (BARE, "", "does not hold", "has no owner"),
        (ALLOWS, "", "does not hold", "allow-web"),
        (CALICO, "", "cannot tell", "nc -w 3 -zv 10.0.0.7 80"),
        (AUTO, AGENT, "holds", "may live on"),
        (CRON, AGENT, "cannot tell", "no DaemonSet is known"),
        (CRON, "", "holds", "web-5d-b shares its rules"),
    ],
)
def test_what_the_check_of_an_isolation_can_say(room: Room, there: Object, without: str, word: str, says: str) -> None:
    outcome = isolated(room, there, without=without)
    assert outcome.word == "done" and outcome.check
    assert outcome.check.word == word and says in outcome.check.says


def test_the_policy_of_a_namespace_stays_while_another_pod_needs_it(room: Room) -> None:
    first, second = ACTS["isolate_pod-web-5d-a"], planned("isolate_pod", **WEB | {"name": "web-5d-b"})
    before = room.content()
    assert [one.word for one in room.run("apply", first, second)] == ["done", "done"]
    undone = room.one("undo", first)
    assert undone.word == "not undone" and "isolate_pod-web-5d-b stands on it too" in undone.says
    assert "kit-quarantine" not in room.content()["pods/shop/web-5d-a"]["metadata"]["labels"]
    assert room.one("apply", first).word == "done", "its label is put back: it was undone in part"
    assert room.content()["pods/shop/web-5d-a"]["metadata"]["labels"]["kit-quarantine"] == "true"
    assert [one.word for one in room.run("undo", first, second)] == ["undone", "undone"]
    assert room.content() == before


# What is kept, captured, ended, closed


def kept(room: Room) -> dict[str, str]:
    return {path.name: path.read_text() for path in (room.folder / "captures").rglob("*") if path.is_file()}


def test_a_pod_is_kept_with_all_its_logs_and_its_events(room: Room) -> None:
    logs = {("app", False): "now\n", ("app", True): "then\n", ("wait", False): "waited\n"}
    room.emulator.logs = {("shop", "web-5d-a", name, previous): said for (name, previous), said in logs.items()}
    about = {"kind": "Pod", "name": "web-5d-a", "uid": "uid-of-web-5d-a"}
    room.emulator.add(thing("v1", "Event", "seen", involvedObject=about, reason="Pulled"))
    room.one("apply", ACTS["keep_objects-web-5d-a"])
    files = kept(room)
    assert yaml.safe_load(files["web-5d-a.yaml"])["metadata"]["uid"] == "uid-of-web-5d-a"
    assert files["web-5d-a.app.previous.log"].endswith("Z then\n") and files["web-5d-a.wait.log"].endswith("Z waited\n")
    assert "Pulled" in files["web-5d-a.events.yaml"]
    assert "web-5d-a.wait.previous.log" not in files


def test_a_log_that_cannot_be_had_leaves_the_capture_open_and_a_second_try_keeps_beside(room: Room) -> None:
    room.emulator.denied.add(("get", "", "pods", "log"))
    outcome = room.one("apply", ACTS["keep_objects-web-5d-a"])
    assert outcome.word == "failed" and "kept, but not all" in outcome.says
    assert {"web-5d-a.yaml", "web-5d-a.events.yaml"} == set(kept(room))
    room.emulator.denied.clear()
    assert room.one("apply", ACTS["keep_objects-web-5d-a"]).word == "done"
    assert {"web-5d-a.yaml", "2.web-5d-a.yaml", "web-5d-a.app.log"} <= set(kept(room))


def test_what_was_kept_is_read_again_by_its_check(room: Room) -> None:
    action = ACTS["keep_objects-web-5d-a"]
    outcome = room.one("apply", action)
    assert outcome.check and outcome.check.word == "holds"
    (file,) = (room.folder / "captures").rglob("web-5d-a.yaml")
    file.write_text(file.read_text() + "#")
    (check,) = room.run("check", action)
    assert check.check and check.check.word == "does not hold" and "web-5d-a.yaml" in check.check.says
    shutil.rmtree(room.folder / "captures")
    (check,) = room.run("check", action)
    assert check.check and check.check.word == "does not hold"


def test_events_that_may_not_be_read_do_not_hold_up_what_waits(room: Room) -> None:
    """They stay when their object is deleted; that they are not in the case is said in the case and by the check."""
    room.emulator.denied.add(("list", "", "events", ""))
    outcome = room.one("apply", ACTS["keep_objects-web-5d-a"])
    assert outcome.word == "done" and outcome.check and "web-5d-a.events.missing" in outcome.check.says
    assert "403" in kept(room)["web-5d-a.events.missing"]


def test_no_value_of_a_secret_is_asked_for_or_kept(room: Room) -> None:
    action = planned("keep_objects", resource="secrets", name="till-token", containers=None)
    ends = ACTS["end_service_account_tokens-anew"]
    assert [one.word for one in room.run("apply", action, ends)] == ["done", "done"]
    everything = "".join(kept(room).values()) + (room.folder / "journal.jsonl").read_text()
    assert VALUE not in everything and "till-token" in everything
    asked = [call for call in room.emulator.calls if "/secrets" in call.path and call.method == "GET"]
    assert asked and all("PartialObjectMetadata" in call.headers["Accept"] for call in asked)


def test_only_that_accounts_tokens_end_and_its_pods_are_named(room: Room) -> None:
    outcome = room.one("apply", ACTS["end_service_account_tokens-anew"])
    state = room.emulator.objects()
    assert "secrets/shop/till-token" not in state and "secrets/shop/of-another" in state
    account = state["serviceaccounts/shop/till"]
    assert account["metadata"]["uid"] != "uid-of-till" and account["metadata"]["labels"] == {"team": "till"}
    assert outcome.check and "shop/web-5d-a" in outcome.check.says


def test_an_account_that_its_controller_makes_at_once_gets_its_own_content_again(room: Room) -> None:
    """As for `default`: it is there again, empty, before the kit can make it."""

    def make(call: Call, phase: str) -> None:
        if call.method == "DELETE" and "/serviceaccounts/" in call.path and phase == "after":
            room.emulator.add(thing("v1", "ServiceAccount", "till", metadata={"uid": "made-by-controller"}))

    room.emulator.faults.append(make)
    outcome = room.one("apply", ACTS["end_service_account_tokens-anew"])
    assert outcome.word == "done" and outcome.check and outcome.check.word == "holds"
    account = room.emulator.objects()["serviceaccounts/shop/till"]["metadata"]
    assert (account["uid"], account["labels"]) == ("made-by-controller", {"team": "till"})


def test_the_path_of_an_archive_is_in_the_journal(room: Room) -> None:
    outcome = room.one("apply", ACTS["capture_container-web-5d-a"])
    assert outcome.check and "only on node node-1" in outcome.check.says
    (done,) = Journal(room.folder).of("done")
    assert done["after"]["answer"].startswith("/var/lib/kubelet/checkpoints/checkpoint-web-5d-a_shop-app-")


def test_an_archive_that_nobody_named_is_not_said_to_be_there(room: Room) -> None:
    room.emulator.faults.append(
        lambda call, phase: Refusal(200, "", "null") if "checkpoint" in call.path and phase == "after" else None
    )
    outcome = room.one("apply", ACTS["capture_container-web-5d-a"])
    assert outcome.word == "done" and outcome.check
    assert outcome.check.word == "cannot tell" and "until somebody fetches it" in outcome.check.says


def test_a_kubelet_without_checkpoints_and_fargate_say_what_to_do_instead(room: Room) -> None:
    room.emulator.checkpoints = False
    outcome = room.one("apply", ACTS["capture_container-web-5d-a"])
    assert outcome.word == "failed" and "snapshot_volumes" in outcome.says
    room.emulator.add(FARGATE)
    assert "Fargate" in room.one("apply", ACTS["capture_container-web-5d-a"]).says


def test_a_pod_is_not_taken_out_of_its_owners_hands(room: Room) -> None:
    assert "owner selects" in room.one("apply", planned("withdraw_pod", name="web-5d-a", labels={"app": "web"})).says
    only = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    room.emulator.add(thing("v1", "Service", "only-app", spec=only))
    assert "isolate the pod" in room.one("apply", planned("withdraw_pod", "b", name="web-5d-b", labels=None)).says


def test_services_that_cannot_be_withdrawn_from_are_named(room: Room) -> None:
    """The plan's labels and services: labels to take off; Services that select on nothing but what the owner selects on."""
    stuck = planned("withdraw_pod", "b", name="web-5d-b", labels={}, services=["shop/only-app"])
    outcome = room.one("apply", stuck)
    assert outcome.word == "refused" and "shop/only-app" in outcome.says and "isolate the pod" in outcome.says
    room.emulator.add(thing("v1", "Service", "only-app", spec={"selector": {"app": "web"}}))
    part = planned("withdraw_pod", name="web-5d-a", labels={"tier": "front"}, services=["shop/only-app"])
    assert "shop/only-app" in room.one("preview", part).says
    assert room.one("apply", part).word == "done"
    assert "tier" not in room.content()["pods/shop/web-5d-a"]["metadata"]["labels"]
    assert room.one("undo", part).word == "undone"


def test_a_pod_that_no_service_selects_any_more_is_withdrawn_already(room: Room) -> None:
    room.one("apply", ACTS["withdraw_pod-web-5d-a"])
    outcome = room.one("apply", ACTS["withdraw_pod-found"])
    assert outcome.word == "done" and outcome.check and outcome.check.word == "holds"


def test_a_closed_service_that_an_ingress_leads_to_is_still_exposed(room: Room) -> None:
    backend = {"service": {"name": "shop-open", "port": {"number": 443}}}
    rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    room.emulator.add(thing("networking.k8s.io/v1", "Ingress", "way-in", spec={"rules": [rule]}))
    outcome = room.one("apply", ACTS["close_exposure-shop-open"])
    assert outcome.check and outcome.check.word == "does not hold" and "way-in" in outcome.check.says
    spec = room.content()["services/shop/shop-open"]["spec"]
    assert spec["type"] == "ClusterIP" and spec["ports"] == [{"port": 443, "protocol": "TCP", "targetPort": 443}]
    assert not {"externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"} & spec.keys()


def test_a_service_whose_node_port_is_anothers_by_now_is_opened_with_a_new_one(room: Room) -> None:
    action = ACTS["close_exposure-shop-open"]
    room.one("apply", action)
    room.emulator.add(
        thing("v1", "Service", "taker", spec={"type": "NodePort", "ports": [{"port": 1, "nodePort": 31443}]})
    )
    assert room.one("undo", action).word == "undone"
    spec = room.content()["services/shop/shop-open"]["spec"]
    assert spec["type"] == "LoadBalancer" and spec["ports"][0]["nodePort"] not in (None, 31443)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [({"body": None}, "does not hold its content"), ({"resource": "pods"}, "their controllers")],
)  # fmt: skip
def test_what_is_not_known_is_not_restored(room: Room, parameters: Object, says: str) -> None:
    given = ACTS["restore_objects-report"].parameters | parameters
    outcome = room.one("apply", planned("restore_objects", **given))
    assert outcome.word == "refused" and says in outcome.says
