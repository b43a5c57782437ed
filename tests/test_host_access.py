"""How far a pod reaches into its node: the grade of each right, and what scope, questions and plan make of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kit.model.pod_spec import Grade, host_access
from tests import cases
from tests.command import RECORDINGS, SAMPLE, SHARED, kit_json
from tests.variation import Event, entered, varied

NODE, CREDENTIALS, OWN, FILES, NOTHING, UNKNOWN = Grade
Spec = dict[str, Any]


def mounts(path: str, **mode: Any) -> Spec:
    mount = {"name": "host", "mountPath": "/x"} | mode
    return {"volumes": [{"name": "host", "hostPath": {"path": path}}], "containers": [{"volumeMounts": [mount]}]}


def runs(context: Spec, kind: str = "containers", **more: Any) -> Spec:
    return {kind: [{"securityContext": context} | more]}


READ_ONLY = {"readOnly": True}
RIGHTS: list[tuple[Spec, set[Grade]]] = [
    ({}, set()),
    ({"hostNetwork": False, "hostPID": "true"}, set()),
    ({"hostNetwork": True}, {OWN}),
    ({"hostPID": True}, {NODE}),
    ({"hostIPC": True}, {UNKNOWN}),
    (runs({"privileged": True}), {NODE}),
    (runs({"privileged": True}, "ephemeralContainers"), {NODE}),
    (runs({"windowsOptions": {"hostProcess": True}}), {NODE}),
    ({"securityContext": {"windowsOptions": {"hostProcess": True}}}, {NODE}),
    (runs({"capabilities": {"add": ["SYS_ADMIN"]}}), {UNKNOWN}),
    (runs({"capabilities": {"add": ["CAP_SYS_MODULE"]}}), {UNKNOWN}),
    (runs({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}), set()),
    (runs({"capabilities": {"add": "SYS_ADMIN"}}), set()),
    # A runtime's socket gives the node in any mode; so does a folder that holds it.
    *[
        (mounts(path, **mode), {NODE})
        for path in ("/run/containerd/containerd.sock", "/var/run/docker.sock", "/var/run", "/run/", "/run/containerd")
        for mode in ({}, READ_ONLY)
    ],
    *[
        (mounts(path), {NODE})
        for path in (
            *("/", "//", "/etc", "/root", "/var/lib/kubelet/", "/var/lib/containerd", "/proc", "/sys", "/dev", "/var"),
            *("/var/lib/kubelet/plugins", "/etc/kubernetes/manifests", "/etc/kubernetes", "/home/.."),
        )
    ],
    *[
        (mounts(path, **READ_ONLY), {CREDENTIALS})
        for path in ("/", "/etc", "/root", "/var/lib/kubelet", "/var/lib", "/var/lib/kubelet/pods")
    ],
    (mounts("/var/lib/kubelet/pods"), {CREDENTIALS}),
    (mounts("/", readOnly=True, recursiveReadOnly="Enabled"), {CREDENTIALS}),
    (mounts("/", readOnly="true"), {NODE}),  # the API server takes no text here; what is not true is writable
    (mounts("/var/log"), {FILES}),
    (mounts("/var/log/pods", **READ_ONLY), {FILES}),
    *[
        (mounts(path, **READ_ONLY), {NOTHING})
        for path in ("/etc/localtime", "/lib/modules", "/usr/share/zoneinfo", "/etc/ssl/certs", "/etc/pki/ca-trust")
    ],
    *[(mounts(path), {UNKNOWN}) for path in ("/data", "/opt/cni/bin", "/etc/cni/net.d", "/lib/modules", "/etc/localtime", "relative", "/etcetera", "/run2")],
    *[(mounts(path, **READ_ONLY), {UNKNOWN}) for path in ("/data", "/proc", "/sys", "/etc/kubernetes")],
    (mounts("/var", subPath="log"), {FILES}),
    (mounts("/", subPath="etc/localtime", readOnly=True), {NOTHING}),
    # A volume that no container mounts reaches nothing.
    ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}], "containers": [{"name": "a"}]}, set()),
    ({"volumes": [{"name": "a", "hostPath": "/"}, "x"], "containers": [{"volumeMounts": [{"name": "a"}, 3]}]}, set()),
    ({"hostNetwork": True} | mounts("/", **READ_ONLY), {CREDENTIALS, OWN}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "grades"), RIGHTS, ids=lambda value: json.dumps(value) if isinstance(value, dict) else ""
)
def test_each_right_has_its_grade(spec: Spec, grades: set[Grade]) -> None:
    assert {access.grade for access in host_access(spec)} == grades


def test_the_gravest_right_stands_first_and_each_stands_once() -> None:
    flags: Spec = {"hostNetwork": True, "hostPID": True, "hostIPC": True}
    spec = flags | mounts("/etc", **READ_ONLY)
    spec["containers"] *= 2
    assert [access.says for access in host_access(spec)] == [
        "shares the host's PID namespace",
        "mounts /etc read-only but for what is mounted below it",
        "uses the host's network",
        "shares the host's IPC namespace",
    ]


def test_rights_of_init_containers_alone_are_told_apart() -> None:
    ends, lasts = (runs({"privileged": True}, "initContainers", **more) for more in ({}, {"restartPolicy": "Always"}))
    assert [access.at_start for access in host_access(ends)] == [True]
    assert [access.at_start for access in host_access(lasts)] == [False]
    assert [access.at_start for access in host_access(ends | runs({"privileged": True}))] == [False]


# ── what is made of it: a command was run in a pod of kube-system ────────────────────────────────────────────────────


def planned(folder: Path, spec: Spec) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Scope, answers and plan of the recording in which the entered pod has other rights than its node's network."""

    case = folder / "case"
    kit_json("new", case, entered(folder, spec))
    return kit_json("scope", case), kit_json("answers", case), kit_json("plan", case)


ENDS = {"cordon_node", "quarantine_node", "terminate_node"}
MADE_OF_IT: dict[str, tuple[Spec, bool, str, str]] = {
    # name: rights of the entered pod, whether its node is ended, the verdict on "could be taken over", what the plan says
    "network": ({"hostNetwork": True}, False, "cannot tell", "not the node; look whether it was used, and decide"),
    "privileged": (runs({"privileged": True}), True, "observed", "on it runs privileged"),
    "etc": (mounts("/etc", **READ_ONLY), False, "cannot tell", "every credential on the node was in reach, not the node"),
    "logs": (mounts("/var/log"), False, "cannot tell", "files of the host could be read"),
    "data": (mounts("/data"), False, "cannot tell", "how far that reaches into the node is not known"),
    "clock": (mounts("/etc/localtime", **READ_ONLY), False, "not observed", ""),
    "init": (runs({"privileged": True}, "initContainers", name="first"), False, "cannot tell", "in an init container alone"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE_OF_IT)
def test_a_node_is_ended_only_for_power_over_it(name: str, tmp_path: Path) -> None:
    spec, ended, verdict, says = MADE_OF_IT[name]
    scope, answers, plan = planned(tmp_path, spec)
    finding = next(one for one in answers["findings"] if one["type"].endswith("ExecInKubeSystemPod"))
    subjects = next(one for one in scope["findings"] if one["id"] == finding["id"])["subjects"]
    (node,) = [one["key"] for one in subjects if one["kind"] == "node" and one["certainty"] == "affected"]
    answer = next(one for one in finding["answers"] if one["question"] == "node_reached")
    assert answer["verdict"] == verdict and {row["Node"] for row in answer["rows"]} == ({node} if says else set())
    actions = {one["action"]: one for one in plan["actions"] if one["target"] == f"node:{node}"}
    left = [one["says"] for one in plan["not_possible"] if one["target"] == f"node:{node}"]
    assert ENDS & actions.keys() == (ENDS if ended else set())
    said = [why["says"] for why in actions["terminate_node"]["why"]] if ended else left
    assert any(says in one for one in said) if says else not left


def test_a_credential_in_reach_is_left_to_a_person_and_ended_by_instance_alone(tmp_path: Path) -> None:
    scope, _, plan = planned(tmp_path, {"hostNetwork": True})
    (denied,) = [one for one in plan["actions"] if one["action"] == "revoke_role_sessions"]
    assert denied["target"].startswith("node:") and denied["by_person"]
    (instance,) = denied["parameters"]["instances"]
    (command,) = denied["command"]
    assert f"*:{instance}" in command and "TokenIssueTime" not in command and "put-role-policy" in command
    assert any(instance in stops and "image pulls" in stops for stops in denied["blast_radius"])
    finding = next(one for one in scope["findings"] if one["type"].endswith("ExecInKubeSystemPod"))
    (node,) = [one for one in finding["subjects"] if one["kind"] == "node" and one["certainty"] == "affected"]
    assert any("uses the host's network: the node's own credential in reach" in why["says"] for why in node["why"])


def test_without_its_instance_a_credential_in_reach_is_ended_by_nobody(tmp_path: Path) -> None:
    def dump(resource: str, items: list[Event]) -> list[Event]:
        return [item | {"spec": {}} if resource == "nodes" else item for item in items]

    def events(log: list[Event]) -> list[Event]:
        def without(event: Event) -> Event:
            extra = (event["user"].get("extra") or {}) | {"sessionName": ["unknown"]}
            of_node = str(event["user"].get("username")).startswith("system:node:")
            is_node = (event.get("objectRef") or {}).get("resource") == "nodes"
            event = event | {"user": event["user"] | {"extra": extra}} if of_node else event
            return {**event, "requestObject": None, "responseObject": None} if is_node else event

        return [without(event) for event in log]

    evidence = varied("exec_kube_system", tmp_path, events=events, dump=dump, without=("ec2-describe-instances.json",))
    kit_json("new", tmp_path / "case", evidence)
    plan = kit_json("plan", tmp_path / "case")
    assert not [one for one in plan["actions"] if one["action"] == "revoke_role_sessions"]
    refused = [one for one in plan["not_possible"] if one["action"] == "revoke_role_sessions"]
    (said,) = [one["says"] for one in refused if one["target"].startswith("node:")]
    assert "no evidence names its instance" in said and "stops every node that has it" in said


# ── held to the recordings' truth ───────────────────────────────────────────────────────────────────────────────────

BESIDE = [path for folder in ("recordings", "recordings-2") for path in sorted((SHARED / "data" / folder).glob("*"))]
EVERY = {path.name: path for path in [*BESIDE, *RECORDINGS.iterdir(), SAMPLE] if (path / "ground_truth.json").exists()}


def has_power(spec: Spec) -> bool:
    """What an attacker in such a pod holds the node by; coarser than the kit's grades, and worked out apart from them."""
    every = [one for kind in ("containers", "initContainers", "ephemeralContainers") for one in spec.get(kind) or []]
    privileged = any((one.get("securityContext") or {}).get("privileged") for one in every)
    return bool(spec.get("hostPID") or privileged or any("hostPath" in one for one in spec.get("volumes") or []))


def held(recording: Path) -> set[str]:
    """The nodes that the attacker held: their own credential was used, or a pod with power over them was touched."""
    truth = json.loads((recording / "ground_truth.json").read_text())
    log = gzip.decompress((recording / "audit.jsonl.gz").read_bytes()).splitlines()
    bodies = [event.get("responseObject") or {} for event in map(json.loads, log)]
    bodies += json.loads((recording / "cluster" / "pods.json").read_text())["items"]
    specs = {(one.get("metadata") or {}).get("uid"): one.get("spec") or {} for one in bodies}
    touched = {one["node"] for one in truth["attacker_touched_pods"] if has_power(specs.get(one["uid"], {}))}
    names = [str(one["username"]) for one in truth["attacker"]["identities"]]
    return touched | {name.removeprefix("system:node:") for name in names if name.startswith("system:node:")}


@pytest.mark.parametrize("name", EVERY)
def test_only_nodes_that_the_attacker_held_are_cut_off_and_ended(name: str) -> None:
    actions = cases.planned(EVERY[name])["actions"]
    ended = {one["target"].removeprefix("node:") for one in actions if one["action"] in ENDS}
    assert ended == held(EVERY[name])
