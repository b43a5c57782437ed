"""`kit collect` on an account and a cluster made from a recording: the scope of the recording's own files, and nothing changed on the way."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from kubernetes.config import kube_config

import kit.report as kit_report
from kit.case.opening import open_case
from kit.live.collect.bucket_logs import may_have
from kit.live.collect.collection_log import CollectionLog
from kit.live.collect.requests import EVERY, LOG_FILE, LOG_FILES, NETWORK
from kit.model.window import Window
from kit.store import tables
from kit.training.emulators.aws_emulator import Refusal
from kit.training.emulators.fake_logs import give_logs
from kit.training.emulators.kubernetes_emulator import Call, KubernetesEmulator
from kit.training.emulators.kubernetes_emulator import Refusal as ClusterRefusal
from tests import cases
from tests.command import KIT, RECORDINGS, Done, kit, kit_json
from tests.live.scene import STOLEN, Scene, standing
from tests.live.test_permissions import grant

CANARY, PASSWORD = "c2VjcmV0LWNhbmFyeQ==", "Canary-Passw0rd!"
OF_EKS = (
    ("AccessEntry", "accessEntry", "principalArn"),
    ("PodIdentityAssociation", "association", "associationId"),
    ("IdentityProviderConfig", "identityProviderConfig", "identityProviderConfigName"),
)
READING = ("Describe", "List", "Get", "Lookup", "Filter")


@contextmanager
def account_of(recording: str, folder: Path) -> Iterator[Scene]:
    """The account and cluster of a recording with its logs, and what GuardDuty and EKS know beside."""
    source, no_case = RECORDINGS / recording, folder / "no-case"
    no_case.mkdir()
    with standing(recording, folder, enforced=False, case=no_case) as scene:
        account = scene.aws.account
        (name,) = account.clusters
        give_logs(account, source, name)
        for path in source.glob("findings-*.json"):
            for finding in json.loads(path.read_text())["Findings"]:
                scene.aws.add_finding(finding)
        parts = account.clusters[name].parts
        for kind, member, key in OF_EKS:  # as the recording has them, with the ids that EKS gave out
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
            found = [json.loads(path.read_text())[member] for path in (source / "aws").glob(f"eks-describe-{words}-*")]
            records = [one["oidc"] if kind == "IdentityProviderConfig" else one for one in found]
            parts[kind] = {one[key]: parts[kind].get(one[key], {}) | one for one in records}
        yield scene


@pytest.fixture(scope="module")
def shared_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with account_of(STOLEN, tmp_path_factory.mktemp("room")) as scene:
        yield scene


@pytest.fixture
def room(shared_room: Scene) -> Iterator[Scene]:
    """An account that nobody changes: a collection changes nothing."""
    for emulator in (shared_room.aws, shared_room.kubernetes):
        emulator.calls.clear()
    shared_room.kubernetes.asked.clear()
    before = dict(shared_room.aws.account.recorded)
    yield shared_room
    shared_room.aws.account.recorded = before
    shared_room.aws.faults.clear()
    shared_room.kubernetes.faults.clear()
    assert not shared_room.changes()


def cluster_of(scene: Scene) -> str:
    return str(next(iter(scene.aws.account.clusters)))


def asked(scene: Scene, *call: str | Path, **environment: str) -> Done:
    """A command of `kit` in this account and cluster."""
    with pytest.MonkeyPatch.context() as patch:  # the client reads this variable when it is imported
        patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", scene.environment["KUBECONFIG"])
        done = kit(*call, env=scene.environment | environment)
    assert "Traceback" not in done.stderr
    return done


def collect(scene: Scene, folder: Path, *arguments: str, finding: str = "latest", **environment: str) -> Done:
    about = ["--finding", finding] if finding else []
    return asked(scene, "collect", folder, "--cluster", cluster_of(scene), *arguments, *about, **environment)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "collection.jsonl").read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "collection.jsonl"
    }


def only(*kinds: str) -> list[str]:
    return [word for kind in kinds for word in ("--only", kind)]


def comparable(value: Any) -> Any:
    """What a scope says, without the hashes of files and the name of the case."""
    text = json.dumps(value, sort_keys=True)
    return json.loads(re.sub(r'"case": "[^"]*"', "", re.sub(r"line:[0-9a-f]{64}:\d+(#[^\"]*)?", "line", text)).replace("{, ", "{"))  # fmt: skip


def in_store(case: Path) -> tuple[dict[str, Counter[str]], dict[str, Any]]:
    """The rows of each table but for where they lie, and the objects by their names: of those of the cluster all that they hold.

    kubectl writes a member that is null, and the API server leaves it out; what AWS describes here is the emulated account's.
    """
    store = open_case(case).store
    rows = dict[str, Counter[str]]()
    for table in (tables.AUDIT, tables.SIGN_INS, tables.TRAIL, tables.FINDINGS, tables.REJECTS):
        names = [name for name in table.names if name not in ("file", "line", "item", "log_stream")]
        found = store.rows(f"SELECT {', '.join(names)} FROM {table.name}")
        rows[table.name] = Counter(json.dumps([*one.values()], default=str) for one in found)
    objects = dict[str, Any]()
    for one in store.rows("SELECT cluster, account, api_version, kind, namespace, name, uid, object FROM objects"):
        *named, text = one.values()
        of_aws = one["api_version"].startswith("aws:")
        objects[json.dumps(named)] = None if of_aws else json.dumps(without_nulls(json.loads(text)), sort_keys=True)
    return rows, objects


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def same_scope(recording: str, folder: Path) -> None:
    source = RECORDINGS / recording
    with account_of(recording, folder) as scene:
        assert collect(scene, folder / "evidence").returncode == 0
        assert not scene.changes()
    hidden = shutil.ignore_patterns("ground_truth.json", "secrets.json")  # Secrets are not collected unless asked for
    shutil.copytree(source, folder / "own", ignore=hidden)
    made = {name: kit("new", folder / name / "case", folder / of) for name, of in (("a", "own"), ("b", "evidence"))}
    assert {done.returncode for done in made.values()} == {0}
    own, collected = (kit_json("scope", folder / name / "case") for name in made)
    assert own["findings"] and comparable(collected) == comparable(own)
    briefs = [kit_json("brief", folder / name / "case")["incidents"] for name in made]
    for incident in (one for each in briefs for one in each):
        del incident["at_risk"]  # a collection tells how long CloudWatch Logs keeps the log, and a recording does not
    assert briefs[0] and comparable(briefs[1]) == comparable(briefs[0])
    rows, objects = zip(*(in_store(folder / name / "case") for name in made), strict=True)
    assert rows[0]["audit"] and rows[1] == rows[0]
    assert objects[0].items() <= objects[1].items()  # a collection asks about more than a recording has files of


@pytest.mark.parametrize("recording", [STOLEN, "default_sa_admin"])
def test_what_is_collected_has_the_scope_of_the_recordings_own_files(recording: str, tmp_path: Path) -> None:
    same_scope(recording, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("recording", sorted(path.name for path in RECORDINGS.iterdir()))
def test_every_recording_collected_has_its_own_scope(recording: str, tmp_path: Path) -> None:
    same_scope(recording, tmp_path)


def test_the_same_command_again_fetches_nothing_twice(room: Scene, tmp_path: Path) -> None:
    assert collect(room, tmp_path / "e").returncode == 0
    first, calls = files_of(tmp_path / "e"), len(room.aws.calls)
    asked = len(room.kubernetes.calls)
    assert len(first) > 50
    assert collect(room, tmp_path / "e").returncode == 0
    assert {call.operation for call in room.aws.calls[calls:]} == {"sts:GetCallerIdentity"}
    assert {call.path.rpartition("/")[2] for call in room.kubernetes.calls[asked:]} == {"selfsubjectreviews"}
    assert files_of(tmp_path / "e") == first


def test_every_request_is_in_the_log_by_its_request_id(room: Scene, tmp_path: Path) -> None:
    collect(room, tmp_path / "e", *only("objects", "findings", "audit"))
    lines = log_of(tmp_path / "e")
    of_aws = {line["request_id"] for line in lines if line["service"] != "kubernetes"}
    assert of_aws == {call.request_id for call in room.aws.calls}
    assert {line["request_id"] for line in lines if line["service"] == "kubernetes"} == {
        call.audit_id for call in room.kubernetes.calls
    }
    (run,) = {line["case"] for line in lines}
    assert all(run in call.agent for call in room.aws.calls)
    assert all(run in call.headers["User-Agent"] for call in room.kubernetes.calls)
    assert {line["as"] for line in lines if line["service"] != "kubernetes"} == {room.aws.arn}
    for line in (one for one in lines if one["file"]):
        data = (tmp_path / "e" / line["file"]).read_bytes()
        assert (line["bytes"], line["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def killed_at(room: Scene, folder: Path, number: int) -> None:
    """Start a collection and kill it at a request."""
    seen = [0]
    process: list[Any] = []

    def kill(_: Any, phase: str) -> None:
        seen[0] += phase == "before"
        if seen[0] == number and process:
            os.kill(process[0].pid, signal.SIGKILL)

    room.aws.faults[:] = [kill]
    room.kubernetes.faults[:] = [kill]
    arguments = ["collect", str(folder), "--cluster", cluster_of(room), "--finding", "latest"]
    with (folder.parent / "output").open("a") as output:
        process.append(subprocess.Popen([KIT, *arguments], env=room.environment, stdout=output, stderr=output))
        assert process[0].wait(timeout=300) == -signal.SIGKILL, (folder.parent / "output").read_text()
    room.aws.faults.clear()
    room.kubernetes.faults.clear()


def goes_on(room: Scene, folder: Path, numbers: list[int], whole: dict[str, bytes]) -> None:
    for number in numbers:
        killed_at(room, folder, number)
    assert collect(room, folder).returncode == 0
    assert files_of(folder).keys() == whole.keys()
    arrived = Counter((line["part"], line.get("page")) for line in log_of(folder) if line["status"] in ("ok", "empty"))
    assert {count for (part, _), count in arrived.items() if part} == {1}
    same = [name for name, data in files_of(folder).items() if data == whole[name]]
    assert len(same) == len(whole)


def test_a_collection_that_is_killed_goes_on(room: Scene, tmp_path: Path) -> None:
    collect(room, tmp_path / "whole")
    goes_on(room, tmp_path / "e", [25, 30], files_of(tmp_path / "whole"))


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_collection_that_is_killed_twenty_times_goes_on(room: Scene, tmp_path: Path) -> None:
    collect(room, tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    for number in range(2, 102, 5):
        goes_on(room, tmp_path / f"e{number}", [number], whole)


def test_a_refusal_stops_nothing_else_and_names_the_permission(room: Scene, tmp_path: Path) -> None:
    kept = ("sts:", "guardduty:ListDetectors", "guardduty:GetFindings", "guardduty:ListFindings")

    def half(call: Any, phase: str) -> Any:
        odd = len(call.operation) % 2 and not call.operation.startswith(kept)
        return Refusal("AccessDeniedException", 403, "no") if phase == "before" and odd else None

    def half_of_cluster(call: Call, phase: str) -> Any:
        odd = len(call.path) % 2 and "selfsubject" not in call.path
        return ClusterRefusal(403, "Forbidden", "no") if phase == "before" and odd else None

    room.aws.faults.append(half)
    room.kubernetes.faults.append(half_of_cluster)
    done = collect(room, tmp_path / "e")
    assert done.returncode == 1
    lines = log_of(tmp_path / "e")
    refused = [line for line in lines if line["status"] == "refused"]
    assert len(refused) > 20 and all(line["permission"] and line["error"] for line in refused)
    assert "list pods" in done.stdout or "list nodes" in done.stdout
    told = {line["permission"] for line in refused if line["service"] != "kubernetes"}
    assert told <= {call.operation for call in room.aws.calls} and len(told) > 5
    assert len(files_of(tmp_path / "e")) > 20
    assert kit("new", tmp_path / "case", tmp_path / "e").returncode == 0
    missed = coverage_of(tmp_path / "case", "not permitted")
    assert missed.keys() == {f"{line['service']} {line['operation']}" for line in refused}
    assert all(line["permission"] in missed[f"{line['service']} {line['operation']}"] for line in refused)
    room.aws.faults.clear()
    room.kubernetes.faults.clear()
    assert collect(room, tmp_path / "e").returncode == 0  # once they are given, the same command goes on


def coverage_of(case: Path, state: str) -> dict[str, str]:
    """Source → what the coverage of a case says of it, of one state."""
    rows = open_case(case).store.rows("SELECT source, state, says FROM coverage ORDER BY source, says")
    return {row["source"]: row["says"] for row in rows if row["state"] == state}


def test_a_clock_that_is_wrong_is_told_with_both_clocks(room: Scene, tmp_path: Path) -> None:
    def late(call: Any, phase: str) -> Any:
        wrong = phase == "before" and call.operation.startswith(of)
        return Refusal("SignatureDoesNotMatch", 403, "Signature expired") if wrong else None

    room.aws.faults.append(late)
    of: str | tuple[str, ...] = "guardduty:"
    done = collect(room, tmp_path / "e")
    assert done.returncode == 1 and "clock is wrong" in done.stderr and done.stderr.count(" UTC") == 2
    last = log_of(tmp_path / "e")[-1]
    assert (last["operation"], last["status"]) == ("ListDetectors", "failed") and "this machine's: " in last["error"]
    of = "sts:"
    done = collect(room, tmp_path / "e2")
    assert done.returncode == 2 and "does not take the signature" in done.stderr and "clock" in done.stderr


def test_a_credential_of_the_cluster_that_ends_in_the_middle_stops_it_too(room: Scene, tmp_path: Path) -> None:
    def ended(call: Call, phase: str) -> Any:
        over = phase == "before" and call.path.endswith("/nodes")
        return ClusterRefusal(401, "Unauthorized", "Unauthorized") if over else None

    room.kubernetes.faults.append(ended)
    done = collect(room, tmp_path / "e", *only("objects"))
    assert done.returncode == 1 and "the credentials have ended" in done.stderr
    room.kubernetes.faults.clear()
    assert collect(room, tmp_path / "e", *only("objects")).returncode == 0
    assert (tmp_path / "e" / "cluster" / "nodes.json").exists()


def test_a_full_disk_leaves_a_collection_that_the_same_command_finishes(room: Scene, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    call: list[str | Path] = [
        KIT,
        "collect",
        tmp_path / "e",
        "--cluster",
        cluster_of(room),
        "--finding",
        "latest",
        *only("objects"),
    ]
    full = subprocess.run(
        call, env=room.environment, capture_output=True, text=True, preexec_fn=small_files, check=False
    )
    assert full.returncode == 1 and "the folder cannot be written" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr and "the same command goes on" in full.stderr
    begun = files_of(tmp_path / "e")
    assert begun and not [name for name in begun if "pods.json" in name]  # which is larger; no part of it is left
    assert collect(room, tmp_path / "e", *only("objects")).returncode == 0
    assert begun.items() < files_of(tmp_path / "e").items() and "cluster/pods.json" in files_of(tmp_path / "e")


def test_a_finding_about_another_cluster_is_refused(room: Scene, tmp_path: Path) -> None:
    finding = json.loads((RECORDINGS / STOLEN / "findings.json").read_text())["Findings"][0]
    finding = json.loads(json.dumps(finding)) | {"Id": "e" * 32}
    finding["Resource"]["EksClusterDetails"] = {"Name": "elsewhere", "Arn": "arn:aws:eks:eu-west-1:111122223333:cluster/elsewhere"}  # fmt: skip
    room.aws.add_finding(finding)
    try:
        done = collect(room, tmp_path / "e", finding="e" * 32)
    finally:
        del next(iter(room.aws.account.detectors.values())).findings["e" * 32]
    assert done.returncode == 2 and "is about cluster elsewhere, not " in done.stderr
    assert not (tmp_path / "e" / "cluster").exists() and not (tmp_path / "e" / "audit").exists()


def test_an_attack_sequence_of_the_cluster_is_found_as_the_latest_and_one_of_another_is_not(
    room: Scene, tmp_path: Path
) -> None:
    sample = RECORDINGS.parents[2] / "kit" / "sample" / "case" / "findings-runtime.json"
    every = json.loads(sample.read_text())["Findings"]
    sequence = next(one for one in every if one["Type"] == "AttackSequence:EKS/CompromisedCluster")
    text, name = json.dumps(sequence), cluster_of(room)
    (own,) = {one["Name"] for one in sequence["Service"]["Detection"]["Sequence"]["Resources"] if one["ResourceType"] == "EKS_CLUSTER"}  # fmt: skip
    later = {"UpdatedAt": "2026-11-24T10:00:00.000Z"}
    room.aws.add_finding(json.loads(text) | {"Id": "c" * 32} | later)
    of_this = json.loads(text.replace(own, name)) | {"Id": "d" * 32}
    room.aws.add_finding(of_this | {"UpdatedAt": "2020-01-01T00:00:00.000Z"})
    held = next(iter(room.aws.account.detectors.values())).findings
    try:
        first = collect(room, tmp_path / "a", *only("findings"))
        room.aws.add_finding(of_this | later)
        second = collect(room, tmp_path / "b", *only("findings"))
    finally:
        del held["c" * 32], held["d" * 32]
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    settled = [next(line["settled"] for line in log_of(tmp_path / name) if "settled" in line) for name in "ab"]
    assert settled[0]["finding"] not in ("c" * 32, "d" * 32) and settled[1]["finding"] == "d" * 32
    assert b"d" * 32 in b"".join(files_of(tmp_path / "a").values())  # it is evidence all the same


def test_an_account_that_is_no_administrator_has_no_members_and_nothing_failed(room: Scene, tmp_path: Path) -> None:
    of_administrators = ("guardduty:ListMembers", "guardduty:GetAdministratorAccount")
    refusal = Refusal("BadRequestException", 400, "The request is rejected because the account is a member")
    room.aws.faults.append(lambda call, _: refusal if call.operation in of_administrators else None)
    assert collect(room, tmp_path / "e", *only("findings")).returncode == 0
    asked_of = [line for line in log_of(tmp_path / "e") if f"guardduty:{line['operation']}" in of_administrators]
    assert [line["status"] for line in asked_of] == ["empty", "empty"] and all("is a member" in one["error"] for one in asked_of)  # fmt: skip


def test_what_failed_stands_in_the_coverage_until_it_is_had(room: Scene, tmp_path: Path) -> None:
    refused = list[Any]()

    def one(call: Any, phase: str) -> Any:
        if phase == "before" and call.operation == "logs:FilterLogEvents" and not refused:
            refused.append(call)
            return Refusal("InvalidParameterException", 400, "no such stream")
        return None

    room.aws.faults.append(one)
    done = collect(room, tmp_path / "e", *only("audit", "findings"))
    assert done.returncode == 1 and "no such stream" in done.stdout
    assert kit("new", tmp_path / "case", tmp_path / "e").returncode == 0
    assert "no such stream" in coverage_of(tmp_path / "case", "not answered")["logs FilterLogEvents"]
    room.aws.faults.clear()
    assert collect(room, tmp_path / "e", *only("audit", "findings")).returncode == 0
    assert kit("add", tmp_path / "case", tmp_path / "e").returncode == 0
    assert not coverage_of(tmp_path / "case", "not answered")


def test_an_empty_page_with_a_next_one_ends_nothing(room: Scene, tmp_path: Path) -> None:
    collect(room, tmp_path / "whole", *only("audit"))
    messages = re.findall(rb'"auditID\\":', b"".join(files_of(tmp_path / "whole").values()))
    room.aws.account.recorded |= {"empty_first": True, "page": 700}
    assert collect(room, tmp_path / "e", *only("audit")).returncode == 0
    assert len(re.findall(rb'"auditID\\":', b"".join(files_of(tmp_path / "e").values()))) == len(messages) > 2000
    pages = [line["status"] for line in log_of(tmp_path / "e") if line.get("page", 1) > 1]
    assert pages.count("ok") == 3


def test_a_cluster_without_an_audit_log_is_told_at_once(room: Scene, tmp_path: Path) -> None:
    description = room.aws.account.clusters[cluster_of(room)].description
    assert "audit log" not in collect(room, tmp_path / "with", *only("events")).stderr
    logging = description["logging"]
    description["logging"] = {"clusterLogging": [{"types": ["audit", "authenticator"], "enabled": False}]}
    try:
        done = collect(room, tmp_path / "e", *only("events"))
    finally:
        description["logging"] = logging
    assert done.returncode == 0 and done.stderr.startswith("WARNING: this cluster writes no audit log now")


def test_no_value_of_a_secret_is_ever_received(room: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered, serve = list[str](), KubernetesEmulator.serve

    def heard(emulator: KubernetesEmulator, call: Call) -> Any:
        answer = serve(emulator, call)
        answered.append(json.dumps(answer.content))  # type: ignore[union-attr]
        return answer

    secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"password": CANARY}}
    room.kubernetes.add(secret | {"metadata": {"name": "canary", "namespace": "default"}})
    monkeypatch.setattr(KubernetesEmulator, "serve", heard)
    assert collect(room, tmp_path / "without", *only("objects")).returncode == 0
    assert not [call for call in room.kubernetes.calls if "secrets" in call.path]
    assert collect(room, tmp_path / "e", "--secrets", *only("objects")).returncode == 0
    (call,) = [call for call in room.kubernetes.calls if "secrets" in call.path]
    assert (
        call.query["includeObject"] == "None"
        and call.headers["Accept"] == "application/json;as=Table;v=v1;g=meta.k8s.io"
    )
    assert not [text for text in answered if CANARY in text]
    table = json.loads((tmp_path / "e" / "cluster" / "secrets.json").read_text())
    assert ["canary", "Opaque"] in [row["cells"][:2] for row in table["rows"]]
    asked = [call for call in room.kubernetes.calls if CANARY in json.dumps(call.query)]
    assert not asked


def test_credentials_that_end_in_the_middle_stop_it_and_the_same_command_goes_on(room: Scene, tmp_path: Path) -> None:
    count = [0]

    def expired(_: Any, phase: str) -> Any:
        count[0] += phase == "before"
        return Refusal("ExpiredTokenException", 400, "The token is expired") if count[0] > 14 else None

    room.aws.faults.append(expired)
    done = collect(room, tmp_path / "e")
    assert (
        done.returncode == 1
        and "the credentials have ended" in done.stderr
        and "the same command goes on" in done.stderr
    )
    before = files_of(tmp_path / "e")
    assert before and log_of(tmp_path / "e")[-1]["status"] == "failed"
    room.aws.faults.clear()
    assert collect(room, tmp_path / "e").returncode == 0
    after = files_of(tmp_path / "e")
    assert before.items() <= after.items() and len(after) > 50


def test_a_throttled_try_stands_in_the_log_too(room: Scene, tmp_path: Path) -> None:
    tried = set[str]()

    def slow(call: Any, phase: str) -> Any:
        known = str(call.parameters)
        if phase == "before" and call.operation == "logs:FilterLogEvents" and known not in tried:
            tried.add(known)
            return Refusal("ThrottlingException", 400, "Rate exceeded")
        return None

    room.aws.faults.append(slow)
    assert collect(room, tmp_path / "e", *only("audit")).returncode == 0
    lines = [line for line in log_of(tmp_path / "e") if line["operation"] == "FilterLogEvents"]
    assert (
        len([line for line in lines if line["status"] == "failed" and "Rate exceeded" in line["error"]])
        == len(tried)
        > 5
    )
    assert {line["request_id"] for line in log_of(tmp_path / "e") if line["service"] != "kubernetes"} == {
        call.request_id for call in room.aws.calls
    }


def test_it_runs_with_exactly_the_permissions_that_are_printed(room: Scene, tmp_path: Path) -> None:
    needed = json.loads(kit("permissions", "collect").stdout)
    policy = room.kubernetes.access_policy
    grant(room.kubernetes, [needed["cluster_role"]])
    try:
        assert collect(room, tmp_path / "e").returncode == 0
    finally:
        room.kubernetes.access_policy = policy
    rules = needed["cluster_role"]["rules"]
    given = {
        (g, what, verb)
        for rule in rules
        for g in rule["apiGroups"]
        for what in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {(one.group, one.what, one.verb) for one in room.kubernetes.asked if one.resource} - {
        ("authentication.k8s.io", "selfsubjectreviews", "create")
    }
    assert asked <= given and given - asked <= {("", "pods/log", "get")}
    actions = [name for one in needed["iam_policy"]["Statement"] for name in one["Action"]]
    assert len(actions) == len(set(actions)) and all(name.partition(":")[2].startswith(READING) for name in actions)
    called = {call.operation for call in room.aws.calls} - {"sts:GetCallerIdentity"}
    assert called <= set(actions)
    of_things_that_are_not_there = {"DescribeAddon", "DescribeFargateProfile", "DescribeNodegroup", "GetEventSelectors", "GetFilter", "GetObject", "GetRolePolicy", "GetTrailStatus", "ListBucket", "DescribeOrganization", "GetResolverQueryLogConfig", "GetOpenIDConnectProvider", "GetPolicy", "GetPolicyVersion"}  # fmt: skip
    users = {"GetUser", "ListAccessKeys", "GetAccessKeyLastUsed", "ListServiceSpecificCredentials", "GetLoginProfile", "ListMFADevices", "ListAttachedUserPolicies", "ListUserPolicies", "GetUserPolicy"}  # fmt: skip
    assert {name.partition(":")[2] for name in set(actions) - called} <= of_things_that_are_not_there | users


def test_each_request_is_one_that_botocore_knows_and_what_it_finds_stands_in_the_answer() -> None:
    models: dict[str, Any] = {}
    for request in (one for one in (*EVERY, *NETWORK, LOG_FILES, LOG_FILE) if one.service != "kubernetes"):
        if request.service not in models:
            models[request.service] = botocore.session.get_session().get_service_model(request.service)
        model = models[request.service].operation_model(request.operation)
        takes = model.input_shape
        members = set(takes.members) if takes else set()
        assert request.asks.keys() <= members, request
        assert set(takes.required_members if takes else ()) <= request.asks.keys(), request
        for path in (path for paths in request.finds.values() for path in paths):
            shape = model.output_shape
            for name in path:
                shape = shape.member if shape.type_name == "list" else shape
                assert name in shape.members, (request.operation, path)
                shape = shape.members[name]


def test_the_permissions_name_the_cluster_and_star_no_action() -> None:
    whole, of_prod = (json.loads(kit("permissions", "collect", *more).stdout) for more in ((), ("--cluster", "prod")))
    assert [one["Action"] for one in whole["iam_policy"]["Statement"]] and "prod" not in json.dumps(whole)
    assert "cluster/prod" in json.dumps(of_prod) and "*" not in json.dumps(
        [one["Action"] for one in whole["iam_policy"]["Statement"]]
    )
    assert {verb for rule in whole["cluster_role"]["rules"] for verb in rule["verbs"]} <= {"get", "list", "watch"}
    assert "secrets" not in json.dumps(whole["cluster_role"]["rules"])
    secrets = json.loads(kit("permissions", "collect", "--secrets").stdout)["cluster_role"]
    assert "secrets" in json.dumps(secrets["rules"]) and "values too" in json.dumps(secrets["metadata"])


def test_logs_of_the_subjects_containers_and_of_those_before_a_restart_come_first(room: Scene, tmp_path: Path) -> None:
    pods = [one for key, one in sorted(room.kubernetes.objects().items()) if key.startswith("pods/")]
    pod = next(one for one in pods if one["status"].get("containerStatuses"))
    about = pod["metadata"]
    status = pod["status"]["containerStatuses"][0]
    key = about["namespace"], about["name"], status["name"]
    restarted = json.loads(json.dumps(pod))
    restarted["status"]["containerStatuses"][0]["restartCount"] = 1
    room.kubernetes.add(restarted)
    room.kubernetes.logs |= {(*key, False): f"now {CANARY}\n", (*key, True): "before\n"}
    finding = json.loads((RECORDINGS / STOLEN / "findings.json").read_text())["Findings"][0]
    finding = json.loads(json.dumps(finding)) | {"Id": "f" * 32}
    finding["Resource"]["KubernetesDetails"]["KubernetesWorkloadDetails"] = {
        "Name": key[1],
        "Namespace": key[0],
        "Type": "pods",
    }
    room.aws.add_finding(finding)
    try:
        done = collect(room, tmp_path / "e", *only("container_logs", "events", "objects"), finding="f" * 32)
        gone = ClusterRefusal(400, "BadRequest", "previous terminated container not found")
        room.kubernetes.faults.append(lambda call, _: gone if call.query.get("previous") else None)
        without = collect(room, tmp_path / "without", *only("container_logs"), finding="f" * 32)
        room.kubernetes.faults.clear()
    finally:
        room.kubernetes.add(pod)
        room.kubernetes.logs.clear()
        del next(iter(room.aws.account.detectors.values())).findings["f" * 32]
    assert (done.returncode, without.returncode) == (0, 0), without.stdout
    (last,) = [line for line in log_of(tmp_path / "without") if line["part"].endswith("_previous")]
    assert last["status"] == "empty" and "previous terminated container not found" in last["error"]
    folder = tmp_path / "e" / "logs" / "containers"
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert any(CANARY in text for text in texts.values()) and any("before" in text for text in texts.values())
    order = [line["operation"] for line in log_of(tmp_path / "e") if line["service"] == "kubernetes" and line["part"]]
    assert order[:2] == ["ListEvent", "ListPod"] and order[2] == "pods/log" and CANARY not in done.stdout + done.stderr


WRONG = {
    "an unknown kind": ((*only("auditt"),), "latest", {}, "Did you mean audit?"),
    "no finding and no window": ((), "", {}, "--finding"),
    "a finding that is not there": ((), "0" * 32, {}, "there is no finding"),
    "a window upside down": (("--start", "2026-01-02T00:00:00Z", "--end", "2026-01-01T00:00:00Z"), "", {}, "upside down"),
    "a bucket that is none": (("--logs-from", "archive/eks"), "latest", {}, "s3://BUCKET/PREFIX"),
    "no region": ((), "latest", {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "--region"),
    "a region's name that is none": (("--region", "eu west-1"), "latest", {}, "Did you mean eu-west-"),
    "a region that is not there": (("--region", "eu-west-9"), "latest", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "--region: boto3 knows no region 'eu-west-9'"),
    "no network": ((), "latest", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "network and proxy"),
    "no credentials": ((), "latest", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}, "Sign in"),
    "a profile that is not there": (("--profile", "nobody"), "latest", {}, "aws configure list-profiles"),
    "a cluster that is not there": (("--cluster", "no-such"), "latest", {}, "there is no cluster"),
    "a kubeconfig of another place": (("--kubeconfig", "/nowhere"), "latest", {}, "--aws-only"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_sentence_and_exit_code_2(case: str, room: Scene, tmp_path: Path) -> None:
    arguments, finding, environment, says = WRONG[case]
    done = collect(room, tmp_path / "e", *arguments, finding=finding, **environment)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_the_region_is_the_one_of_the_aws_cli(room: Scene, tmp_path: Path) -> None:
    region = room.environment["AWS_REGION"]
    assert collect(room, tmp_path / "e", *only("findings"), AWS_DEFAULT_REGION="").returncode == 0
    assert {call.region for call in room.aws.calls} == {region}
    assert (
        "cannot be called"
        not in collect(room, tmp_path / "e", *only("findings"), AWS_DEFAULT_REGION="us-east-2").stderr
    )
    assert {call.region for call in room.aws.calls} == {region}


def test_a_region_that_is_off_is_said_in_one_sentence(room: Scene, tmp_path: Path) -> None:
    def off(call: Any, phase: str) -> Any:
        wrong = phase == "before" and not call.operation.startswith("sts:")
        return Refusal("UnrecognizedClientException", 403, "The security token is invalid") if wrong else None

    room.aws.faults.append(off)
    done = collect(room, tmp_path / "e")
    assert done.returncode == 1 and "it is off" in done.stderr and "--region" in done.stderr
    assert log_of(tmp_path / "e")[-1]["status"] == "failed"
    room.aws.faults[:] = [
        lambda call, _: Refusal("InvalidClientTokenId", 403, "no") if "sts:" in call.operation else None
    ]
    done = collect(room, tmp_path / "e2")
    assert done.returncode == 2 and "is off in this account" in done.stderr


def test_without_a_way_to_the_cluster_aws_alone_is_asked(room: Scene, tmp_path: Path) -> None:
    done = collect(room, tmp_path / "e", "--aws-only", "--kubeconfig", "/nowhere", *only("audit", "findings", "eks"))
    assert done.returncode == 0 and not room.kubernetes.calls and (tmp_path / "e" / "audit").is_dir()


def test_a_folder_that_another_collection_writes_to_is_left_alone(room: Scene, tmp_path: Path) -> None:
    log = CollectionLog(tmp_path / "e")
    try:
        done = collect(room, tmp_path / "e")
    finally:
        log.close()
    assert done.returncode == 2 and "another collection" in done.stderr


def test_investigate_goes_from_the_account_to_brief_and_report(
    room: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = list[Path]()

    def reports(case: Path, **_: Any) -> Path:
        reported.append(case)
        return case / "report.html"

    monkeypatch.setattr(kit_report, "make_report", reports)
    call = ("investigate", tmp_path / "case", "--cluster", cluster_of(room), "--finding", "latest")
    done = asked(room, *call)
    assert done.returncode == 0 and reported == [tmp_path / "case"], done.stderr
    assert done.stdout.count("WAY IN") == 2 and done.stdout.endswith("report.html\n")
    asked_for = [line for line in log_of(tmp_path / "case-evidence") if line["part"]]
    order = [
        line.get("kind") for line in asked_for if line["operation"] != "DescribeLogGroups"
    ]  # what the estimate asks
    assert order.index("iam") > order.index("audit") > order.index("events")
    taken = {
        entry["taken_as"]
        for entry in json.loads(next((tmp_path / "case").glob("store*/ledger.json")).read_text())["files"]
    }
    assert {"Kubernetes audit log", "CloudTrail", "GuardDuty findings", "cluster dump"} <= taken
    calls = len(room.aws.calls)
    again = asked(room, *call)  # goes on with the same case: there is nothing to fetch
    assert again.returncode == 0 and {one.operation for one in room.aws.calls[calls:]} == {"sts:GetCallerIdentity"}


def test_more_asks_about_what_the_scope_of_a_case_found_and_adds_it(room: Scene, tmp_path: Path) -> None:
    assert collect(room, tmp_path / "e", *only("findings", "audit", "objects")).returncode == 0
    assert kit("new", tmp_path / "case", tmp_path / "e").returncode == 0
    subjects = [one for each in kit_json("scope", tmp_path / "case")["findings"] for one in each["subjects"]]
    roles = {one["key"].rpartition("/")[2] for one in subjects if one["kind"] == "iam_role" and ":role/" in one["key"]}
    before = {call.parameters.get("RoleName") for call in room.aws.calls} - {None}
    assert roles and not before
    done = asked(room, "collect", tmp_path / "e", "--more", tmp_path / "case", *only("iam", "container_logs"))
    assert done.returncode == 0 and "added to" in done.stderr, done.stderr
    assert roles <= {call.parameters.get("RoleName") for call in room.aws.calls}
    assert [call for call in room.kubernetes.calls if call.path.endswith("/log")]
    ledger = next((tmp_path / "case").glob("store*/ledger.json")).read_text()
    assert "iam-get-role" in ledger and kit("brief", tmp_path / "case").returncode == 0
    wrong = asked(room, "collect", tmp_path / "e", "--more", tmp_path / "case", "--cluster", "other")
    assert wrong.returncode == 2 and "the case is about cluster" in wrong.stderr


def test_a_huge_log_group_is_estimated_and_wants_a_word(room: Scene, tmp_path: Path) -> None:
    window = ("--start", "2026-11-23T00:00:00Z", "--end", "2026-11-24T00:00:00Z")
    small = asked(room, "collect", tmp_path / "s", "--cluster", cluster_of(room), *window, "--estimate", "--json")
    assert small.returncode == 0 and json.loads(small.stdout)["bytes"] < 10**9
    room.aws.account.recorded["stored_bytes"] = 500 * 10**9
    call: tuple[str | Path, ...] = ("collect", tmp_path / "e", "--cluster", cluster_of(room), *window, *only("audit"))
    done = asked(room, *call)
    assert done.returncode == 2 and "GB of logs" in done.stderr and "--yes" in done.stderr
    assert "logs:FilterLogEvents" not in {one.operation for one in room.aws.calls}
    told = asked(room, *call, "--estimate")
    assert told.returncode == 0 and "Logs Insights" in told.stderr
    assert "logs:FilterLogEvents" not in {one.operation for one in room.aws.calls}
    assert asked(room, *call, "--yes").returncode == 0
    assert "logs:FilterLogEvents" in {one.operation for one in room.aws.calls}


def test_readiness_names_what_is_off_and_the_commands_that_turn_it_on(room: Scene, tmp_path: Path) -> None:
    done = asked(room, "collect", tmp_path / "e", "--cluster", cluster_of(room), "--check", "--json")
    assert done.returncode == 0, done.stderr
    rows = {one["source"]: one for one in json.loads(done.stdout)["sources"]}
    assert rows["audit log"]["ready"] == "yes" and "reaches back to 2025-10-09" in rows["audit log"]["says"]
    assert rows["CloudTrail trail"]["ready"] == rows["network policy enforcement"]["ready"] == "no"
    assert rows["checkpoints of containers"]["ready"] == "cannot tell" and rows["GuardDuty"]["ready"] == "yes"
    assert rows["GuardDuty's Runtime Monitoring"]["mend"].startswith("aws guardduty update-detector --detector-id ")
    description = room.aws.account.clusters[cluster_of(room)].description
    logging, description["logging"] = description["logging"], {"clusterLogging": []}
    arn = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/all"
    room.aws.account.recorded["trails"] = [{"Name": "all", "TrailARN": arn}]
    room.aws.faults.append(
        lambda call, _: Refusal("AccessDeniedException", 403) if call.operation == "eks:ListNodegroups" else None
    )
    try:
        told = asked(room, "collect", tmp_path / "e2", "--cluster", cluster_of(room), "--check")
    finally:
        description["logging"] = logging
    assert "aws eks update-cluster-config --name" in told.stdout and "a trail delivers" in told.stdout
    assert re.search(r"node repair +cannot tell", told.stdout), told.stdout


def test_watch_tells_each_call_by_something_of_the_case_and_no_other(room: Scene, tmp_path: Path) -> None:
    case = cases.shared(RECORDINGS / STOLEN)
    truth = json.loads((RECORDINGS / STOLEN / "ground_truth.json").read_text())
    whole = ("--since", truth["window"]["start"], "--until", "2026-11-23T17:00:00Z")
    done = asked(room, "watch", case, *whole, "--folder", tmp_path / "e")
    told = {line.split(" ")[2].rstrip(":") for line in done.stdout.splitlines()}
    assert done.returncode == 3 and set(truth["attacker_calls"]) <= told, done.stderr
    # The rest are the pod's own calls with the stolen credential, and what was done to the attacker's pod: neither should be after the end.
    assert all(re.search(r"\((credential|access key|object|address) \S+\)$", line) for line in done.stdout.splitlines())
    assert len(told) < 40 and len(told) == len(done.stdout.splitlines())
    later = ("--since", "2026-11-23T16:30:00Z", "--until", "2026-11-23T17:00:00Z")
    quiet = asked(room, "watch", case, *later, "--folder", tmp_path / "e2")
    assert quiet.returncode == 0 and "no call by" in quiet.stdout, quiet.stderr
    stream, text = next((stream, text) for _, stream, text in room.aws.account.recorded["log"] if json.loads(text)["auditID"] in truth["attacker_calls"])  # fmt: skip
    back = json.loads(text) | {"auditID": "came-back", "requestReceivedTimestamp": "2026-11-23T16:45:00.000000Z"}
    at = int(datetime.fromisoformat("2026-11-23T16:45:00+00:00").timestamp() * 1000)
    room.aws.account.recorded["log"] = [*room.aws.account.recorded["log"], (at, stream, json.dumps(back))]
    returned = asked(room, "watch", case, *later, "--folder", tmp_path / "e3")
    assert returned.returncode == 3 and [line.split(" ")[2] for line in returned.stdout.splitlines()] == ["came-back:"]
    odd = asked(room, "watch", case, *later, "--every", "5 minutes")
    assert odd.returncode == 2 and "no length of time" in odd.stderr


def test_what_an_iam_user_may_do_and_sign_in_with_is_asked(room: Scene, tmp_path: Path) -> None:
    iam, arn = room.aws.client("iam"), f"arn:aws:iam::{room.aws.number}:user/maker"
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    iam.create_user(UserName="maker")
    iam.create_login_profile(UserName="maker", Password=PASSWORD)
    iam.put_user_policy(UserName="maker", PolicyName="inline", PolicyDocument=document)
    policy = iam.create_policy(PolicyName="own", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="maker", PolicyArn=policy)
    entries = room.aws.account.clusters[cluster_of(room)].parts["AccessEntry"]
    entries[arn] = next(iter(entries.values())) | {"principalArn": arn, "policies": {}}
    try:
        assert collect(room, tmp_path / "e", *only("iam", "findings")).returncode == 0
    finally:
        del entries[arn]
        iam.detach_user_policy(UserName="maker", PolicyArn=policy)
        iam.delete_policy(PolicyArn=policy)
        iam.delete_user_policy(UserName="maker", PolicyName="inline")
        iam.delete_login_profile(UserName="maker")
        iam.delete_user(UserName="maker")
    assert kit("new", tmp_path / "case", tmp_path / "e").returncode == 0
    rows = open_case(tmp_path / "case").store.rows(
        "SELECT kind, name, object FROM objects WHERE api_version = 'aws:iam'"
    )
    told = {(row["kind"], row["name"]) for row in rows}
    assert told >= {("User", "maker"), ("LoginProfile", "maker"), ("UserPolicy", "inline"), ("Policy", "own"), ("PolicyVersion", "v1")}  # fmt: skip
    assert PASSWORD not in "".join(map(str, files_of(tmp_path / "e").values()))


def test_images_are_asked_for_their_scan_and_for_what_deletes_them(room: Scene, tmp_path: Path) -> None:
    assert collect(room, tmp_path / "e", *only("ecr", "findings")).returncode == 0
    asked_of = [call for call in room.aws.calls if call.operation.startswith("ecr:")]
    names = {call.parameters["repositoryName"] for call in asked_of}
    called = Counter(call.operation for call in asked_of)
    assert names and called["ecr:GetLifecyclePolicy"] == called["ecr:GetRepositoryPolicy"] == len(names)
    lists = [call.parameters["imageIds"] for call in asked_of if "imageIds" in call.parameters]
    assert {len(one) for one in lists} == {1}  # ECR refuses the whole call where one image of it is gone
    described = [one for each in lists for one in each]
    scanned = [call.parameters["imageId"] for call in asked_of if "imageId" in call.parameters]
    assert described and sorted(map(str, described)) == sorted(map(str, scanned))


def delivered(records: list[dict[str, Any]]) -> dict[str, bytes]:
    """CloudTrail events as a trail delivers them: files of five minutes, and one of another time."""
    files = dict[str, list[Any]]()
    for one in records:
        at = datetime.fromisoformat(one["eventTime"])
        name = f"{at:%Y%m%dT%H}{at.minute // 5 * 5 + 5:02}Z"
        place = f"AWSLogs/{one['recipientAccountId']}/CloudTrail/{one['awsRegion']}/{at:%Y/%m/%d}"
        files.setdefault(
            f"{place}/{one['recipientAccountId']}_CloudTrail_{one['awsRegion']}_{name}_abc.json.gz", []
        ).append(one)
    place = next(iter(files))
    files[re.sub(r"_\d{8}T\d{4}Z", "_20261123T0100Z", place)] = []
    return {key: gzip.compress(json.dumps({"Records": listed}).encode()) for key, listed in files.items()}


def test_watch_reads_the_files_that_a_trail_delivers_too(room: Scene, tmp_path: Path) -> None:
    case = cases.shared(RECORDINGS / STOLEN)
    truth = json.loads((RECORDINGS / STOLEN / "ground_truth.json").read_text())
    call = ("watch", case, "--since", truth["window"]["start"], "--until", "2026-11-23T17:00:00Z", "--folder")
    by_history = asked(room, *call, tmp_path / "a")
    trail = {"Name": "all", "TrailARN": "arn:aws:cloudtrail:eu-west-1:111122223333:trail/all", "S3BucketName": "logs"}
    files = delivered(room.aws.account.recorded["trail"])
    room.aws.account.recorded |= {"trails": [trail], "delivered": files}
    by_files = asked(room, *call, tmp_path / "b")
    told = [sorted(line for line in done.stdout.splitlines() if " cloudtrail " in line) for done in (by_history, by_files)]  # fmt: skip
    assert (by_history.returncode, by_files.returncode) == (3, 3) and told[0] and told[0] == told[1]
    damaged = next((tmp_path / "b" / "cloudtrail").glob("*.json.gz"))
    damaged.write_bytes(damaged.read_bytes()[:20])
    again = asked(room, *call, tmp_path / "b")
    assert again.returncode == 1 and damaged.name in again.stderr and "cannot be read" in again.stderr
    damaged.unlink()
    assert asked(room, *call, tmp_path / "b").stdout == by_files.stdout


def exported(room: Scene) -> dict[str, bytes]:
    """The control plane's logs as CloudWatch Logs exports them, with a stream of another kind and the file that tests the bucket."""
    files = dict[str, bytes]()
    for stream in sorted({of for _, of, _ in room.aws.account.recorded["log"]}):
        lines = [
            f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M:%S.000Z} {text}"
            for at, of, text in room.aws.account.recorded["log"]
            if of == stream
        ]
        files[f"eks/task-1/{stream}/000000.gz"] = gzip.compress("\n".join(lines).encode())
    return files | {"eks/task-1/kube-scheduler-0a1b/000000.gz": b"", "eks/aws-logs-write-test": b"", "other/x": b""}


def test_the_audit_log_comes_from_a_bucket_where_one_is_named(room: Scene, tmp_path: Path) -> None:
    room.aws.account.recorded["delivered"] = exported(room)
    place = ("--logs-from", "s3://archive/eks")
    assert collect(room, tmp_path / "e", *only("audit", "findings"), *place).returncode == 0
    called = Counter(call.operation for call in room.aws.calls)
    assert called["s3:GetObject"] == 2 and not [one for one in called if one.startswith("logs:")]
    assert {call.parameters["Bucket"] for call in room.aws.calls if call.service == "s3"} == {"archive"}
    for name in ("e", "c"):
        folder = tmp_path / name
        assert name == "e" or collect(room, folder, *only("audit", "findings")).returncode == 0
        assert kit("new", tmp_path / f"case-{name}", folder).returncode == 0
    ids = [
        Counter(
            (row["audit_id"], row["stage"], row["log_stream"])
            for row in open_case(tmp_path / f"case-{name}").store.rows("SELECT audit_id, stage, log_stream FROM audit")
        )
        for name in ("e", "c")
    ]
    assert len(ids[0]) > 2000 and ids[0] == ids[1]
    calls = len(room.aws.calls)
    assert collect(room, tmp_path / "e", *only("audit", "findings"), *place).returncode == 0
    assert {call.operation for call in room.aws.calls[calls:]} == {"sts:GetCallerIdentity"}
    told = collect(room, tmp_path / "e3", *place, "--estimate", "--json")
    assert json.loads(told.stdout)["requests"] == 2
    nothing = collect(room, tmp_path / "e4", *only("audit"), "--logs-from", "s3://archive/nowhere")
    assert "WARNING: s3://archive/nowhere has no file" in nothing.stderr
    statements = json.loads(kit("permissions", "collect", *place).stdout)["iam_policy"]["Statement"]
    of_place = {one["Resource"]: one["Action"] for one in statements if "archive" in one["Resource"]}
    assert of_place == {"arn:*:s3:::archive": ["s3:ListBucket"], "arn:*:s3:::archive/eks*": ["s3:GetObject"]}


NEAR = {
    "aws/EKS_AUDIT/2.0/region=eu-west-1/accountId=1/eventDay=20261123/a.gz.parquet": True,
    "aws/EKS_AUDIT/2.0/region=eu-west-1/accountId=1/eventDay=20261124/a.gz.parquet": False,
    "firehose/2026/11/23/15/stream-1-2026-11-23-15-59-00": False,
    "firehose/2026/11/23/16/stream-1-2026-11-23-16-01-00": True,
    "firehose/2026/11/23/17/stream-1-2026-11-23-17-20-00": True,  # delivered late
    "firehose/2026/11/23/18/stream-1-2026-11-23-18-20-00": False,
    "firehose/2026/13/45/99/no-day-at-all": True,
    "task/kube-controller-manager-1/000000.gz": False,
    "task/authenticator-1/000000.gz": True,
    "task/": False,
}


@pytest.mark.parametrize("key", NEAR)
def test_a_file_of_a_bucket_is_asked_for_where_it_may_have_events_of_the_window(key: str) -> None:
    at = datetime(2026, 11, 23, 16, 10, tzinfo=UTC)
    window = Window(at, at.replace(minute=50))
    assert may_have({"Key": key}, window) is NEAR[key]
    assert not may_have({"Key": key, "LastModified": "2026-11-23T16:09:00Z"}, window)
    assert may_have({"Key": key, "LastModified": window.end}, window) is NEAR[key]


def test_the_traffic_and_dns_queries_of_the_nodes_are_fetched_on_demand_and_kept(room: Scene, tmp_path: Path) -> None:
    described = room.aws.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    interface = next(one["NetworkInterfaceId"] for one in described if one.get("Attachment", {}).get("InstanceId"))
    number, region = room.aws.number, room.aws.region
    at = datetime(2026, 11, 23, 16, 27, tzinfo=UTC)
    flows = f"AWSLogs/{number}/vpcflowlogs/{region}/2026/11/23/{number}_vpcflowlogs_{region}"
    by_name = f"aws-account-id={number}/aws-service=vpcflowlogs/aws-region={region}/year=2026/month=11/day=23"
    vpc = next(iter(room.aws.account.clusters.values())).description["resourcesVpcConfig"]["vpcId"]
    wanted = {
        f"{flows}_fl-2_20261123T1625Z_ab.log.gz": b"traffic",
        f"own/AWSLogs/{by_name}/{number}_vpcflowlogs_{region}_fl-3_20261123T1625Z_ab.log.gz": b"traffic by name",
        f"dns/AWSLogs/{number}/vpcdnsquerylogs/{vpc}/2026/11/23/{vpc}_vpcdnsquerylogs_{number}_20261123T1625Z_ab.log.gz": b"names",
    }
    others = {
        f"{flows}_fl-9_20261123T1625Z_ab.log.gz": b"of another",
        f"{flows}_fl-2_20261123T0125Z_ab.log.gz": b"early",
    }
    record = f"2 {number} {interface} 10.0.1.7 203.0.113.6 443 1 6 10 840 1764000000 1764000060 ACCEPT OK"
    room.aws.account.recorded |= {
        "flow_logs": [
            {"FlowLogId": "fl-1", "LogDestinationType": "cloud-watch-logs", "LogGroupName": "flows"},
            {"FlowLogId": "fl-2", "LogDestinationType": "s3", "LogDestination": "arn:aws:s3:::archive"},
            {"FlowLogId": "fl-3", "LogDestinationType": "s3", "LogDestination": "arn:aws:s3:::archive/own/", "DestinationOptions": {"HiveCompatiblePartitions": True}},
        ],
        "query_logs": {"rqlc-1": {"Id": "rqlc-1", "Name": "queries", "Arn": "arn:aws:route53resolver:r:1:c/rqlc-1", "DestinationArn": "arn:aws:s3:::archive/dns"}},
        "other_groups": {"flows": [(int(at.timestamp() * 1000), f"{interface}-all", record)]},
        "delivered": wanted | others,
    }  # fmt: skip
    assert collect(room, tmp_path / "without", *only("ec2", "findings")).returncode == 0
    assert not {"s3:GetObject", "s3:ListObjectsV2", "logs:FilterLogEvents"} & {
        call.operation for call in room.aws.calls
    }
    room.aws.account.recorded["sizes"] = {next(iter(wanted)): 500 * 10**9}
    much = collect(room, tmp_path / "much", *only("network"))
    assert much.returncode == 2 and "up to 500 GB" in much.stderr and "--yes" in much.stderr
    assert "s3:GetObject" not in {call.operation for call in room.aws.calls}
    del room.aws.account.recorded["sizes"]
    room.aws.account.recorded["stored_bytes"] = 10**15
    assert "GB of the nodes' traffic" in collect(room, tmp_path / "much2", *only("network")).stderr
    del room.aws.account.recorded["stored_bytes"]
    done = collect(room, tmp_path / "e", *only("network"))
    assert done.returncode == 0, done.stderr
    had = {name: data for name, data in files_of(tmp_path / "e").items() if name.startswith("network/")}
    assert {data for name, data in had.items() if name.endswith(".gz")} == set(wanted.values())
    (name,) = [name for name, data in had.items() if record.encode() in data]
    assert f"fl-1-{interface}" in name
    assert kit("new", tmp_path / "case", tmp_path / "e").returncode == 0
    ledger = json.loads(next((tmp_path / "case").glob("store*/ledger.json")).read_text())["files"]
    notes = [json.dumps(one) for one in ledger if "/network/" in one["path"] and not one["path"].endswith(".json")]
    assert len(notes) == len(wanted) and all("kept, not read" in one for one in notes)
    rows = open_case(tmp_path / "case").store.rows("SELECT kind FROM objects")
    assert {"FlowLog", "ResolverQueryLogConfig"} <= {row["kind"] for row in rows}
    needed = json.loads(kit("permissions", "collect", "--network").stdout)["iam_policy"]["Statement"]
    assert {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:*:s3:::*/AWSLogs/*"} in needed
    assert "logs:FilterLogEvents" in [one for each in needed if each["Resource"].endswith(":log-group:*") for one in each["Action"]]  # fmt: skip


def test_the_files_that_a_trail_delivers_stand_before_the_event_history(room: Scene, tmp_path: Path) -> None:
    files = delivered(room.aws.account.recorded["trail"])
    arn = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/all"
    trail = {"Name": "all", "TrailARN": arn, "S3BucketName": "logs"}
    room.aws.account.recorded |= {"trails": [trail], "delivered": files}
    assert collect(room, tmp_path / "e", *only("cloudtrail")).returncode == 0
    called = [call.operation for call in room.aws.calls]
    assert "cloudtrail:LookupEvents" not in called and called.count("s3:GetObject") == len(files) - 1 > 1
    had = {path.name: path.read_bytes() for path in (tmp_path / "e" / "cloudtrail").iterdir()}
    assert had == {key.rpartition("/")[2]: data for key, data in files.items() if "T0100Z" not in key}
    assert kit("new", tmp_path / "case", tmp_path / "e").returncode == 0
    of_organization = {key.replace("AWSLogs/", "AWSLogs/o-abc123/"): data for key, data in files.items()}
    organization = {"Id": "o-abc123", "Arn": "arn:aws:organizations::999988887777:organization/o-abc123"}
    trails = [trail | {"IsOrganizationTrail": True}]
    room.aws.account.recorded |= {"trails": trails, "delivered": of_organization, "organization": organization}
    before = len(room.aws.calls)
    assert collect(room, tmp_path / "o", *only("cloudtrail")).returncode == 0
    called = [call.operation for call in room.aws.calls[before:]]
    assert "cloudtrail:LookupEvents" not in called and called.count("s3:GetObject") == len(files) - 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "o" / "cloudtrail").iterdir()} == had
    room.aws.account.recorded |= {"trails": [trail], "delivered": files}
    room.aws.faults.append(lambda call, _: Refusal("AccessDenied", 403) if call.operation == "s3:GetObject" else None)
    refused = collect(room, tmp_path / "e2", *only("cloudtrail"))
    assert refused.returncode == 1 and "s3:GetObject" in refused.stdout
    assert "cloudtrail:LookupEvents" in [call.operation for call in room.aws.calls]
