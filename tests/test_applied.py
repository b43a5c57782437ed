"""What a controller applied from a source: the deed is the attacker's, the controller's identity and credential are not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import RECORDINGS
from tests.variation import Event, scope_of, varied

RECORDING, CONTROLLER = "cluster_creator", "system:serviceaccount:observability:prometheus"
NEW, POD = "00000000-0000-4000-8000-0000000002{:02}", "e5de0e0a-f4b4-469a-9bd5-5ff27fd079d1"
BINDING, WORKLOAD, UNCHANGED, OTHERS, LISTED = (NEW.format(number) for number in range(1, 6))


def _applying(log: list[Event], address: str) -> list[Event]:
    """The log, in which that service account applies what its source has: a change to application shop among what it always applies."""
    own = next(event for event in log if event["user"]["username"] == CONTROLLER)

    def applied(
        audit_id: str, second: int, application: str, resource: str, name: str, code: int, spec: Any = None
    ) -> Event:
        at = f"2026-11-29T16:{second // 60:02}:{second % 60:02}.200000Z"
        cluster = resource == "clusterrolebindings"
        changed = at if code == 201 else "2026-11-28T09:00:00Z"
        about = {
            "name": name,
            "uid": f"{audit_id[:-2]}{99 - second % 50}",
            "annotations": {"argocd.argoproj.io/tracking-id": f"{application}:x"},
        }
        body = {"metadata": about | ({} if cluster else {"namespace": "shop"}), **(spec or {})}
        answer = body | {
            "metadata": body["metadata"] | {"managedFields": [{"manager": "argocd-controller", "time": changed}]}
        }
        group = {"clusterrolebindings": "rbac.authorization.k8s.io", "deployments": "apps"}.get(resource, "")
        named = {"resource": resource, "name": name, "apiGroup": group, "apiVersion": "v1"} | (
            {} if cluster else {"namespace": "shop"}
        )
        return own | {
            "auditID": audit_id, "verb": "patch", "objectRef": named, "responseStatus": {"code": code}, "sourceIPs": [address],
            "requestURI": f"/apis/{group}/v1/{resource}/{name}?fieldManager=argocd-controller&force=true", "level": "RequestResponse",
            "requestReceivedTimestamp": at, "stageTimestamp": at, "requestObject": body, "responseObject": answer,
        }  # fmt: skip

    binding = {
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "mallory"}],
    }
    pods = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "docker.io/xmrig/xmrig:6.21.0"}]}}}}
    listed = own | {
        "auditID": LISTED, "sourceIPs": [address], "requestReceivedTimestamp": "2026-11-29T16:41:06.000000Z",
        "stageTimestamp": "2026-11-29T16:41:06.000000Z",
    }  # fmt: skip
    return sorted(
        [*log, listed,
         applied(NEW.format(9), 39 * 60 + 30, "grafana", "configmaps", "boards", 200) | {"sourceIPs": ["10.0.16.200"]},
         applied(BINDING, 41 * 60, "shop", "clusterrolebindings", "web-cache", 201, binding),
         applied(WORKLOAD, 41 * 60 + 1, "shop", "deployments", "web-cache", 201, pods),
         applied(UNCHANGED, 41 * 60 + 2, "shop", "configmaps", "settings", 200),
         applied(OTHERS, 41 * 60 + 3, "grafana", "configmaps", "panels", 201)],
        key=lambda event: event["requestReceivedTimestamp"],
    )  # fmt: skip


def _finding(address: str) -> dict[str, Any]:
    """GuardDuty's finding about the workload, of another recording's form."""
    (file,) = (RECORDINGS / "two_incidents").glob("findings*.json")
    found: dict[str, Any] = next(
        one for one in json.loads(file.read_text())["Findings"] if "WorkloadDeployed!" in one["Type"]
    )
    details, call = found["Resource"]["KubernetesDetails"], found["Service"]["Action"]["KubernetesApiCallAction"]
    about = json.loads(next((RECORDINGS / RECORDING).glob("findings*.json")).read_text())["Findings"][0]
    found["Resource"]["EksClusterDetails"] = about["Resource"]["EksClusterDetails"]
    found |= {"AccountId": about["AccountId"], "Region": about["Region"]}
    found["Resource"]["AccessKeyDetails"] = {}
    details["KubernetesUserDetails"] = {"Username": CONTROLLER, "Groups": ["system:serviceaccounts"]}
    details["KubernetesWorkloadDetails"] |= {"Name": "web-cache", "Namespace": "shop", "Uid": ""}
    with gzip.open(RECORDINGS / RECORDING / "audit.jsonl.gz") as log:
        agent = next(event["userAgent"] for event in map(json.loads, log) if event["user"]["username"] == CONTROLLER)
    call |= {
        "RequestUri": "/apis/apps/v1/deployments/web-cache?fieldManager=argocd-controller&force=true", "Verb": "patch",
        "SourceIps": [address], "UserAgent": agent, "Namespace": "shop", "ResourceName": "web-cache",
        "RemoteIpDetails": {"IpAddressV4": address},
    }  # fmt: skip
    found["Service"] |= {"EventFirstSeen": "2026-11-29T16:41:01Z", "EventLastSeen": "2026-11-29T16:41:01Z"}
    return found


def _scope(tmp_path: Path, address: str) -> dict[str, Any]:
    evidence = varied(
        RECORDING, tmp_path, events=lambda log: _applying(log, address), findings=lambda _: [_finding(address)]
    )
    finding: dict[str, Any]
    (finding,) = scope_of(evidence).values()
    return finding


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _scope(tmp_path_factory.mktemp("applied"), "10.0.16.200")


def test_of_what_a_controller_applied_the_change_alone_is_the_attackers(inside: dict[str, Any]) -> None:
    assert set(inside["calls"]) == {BINDING, WORKLOAD}
    assert {UNCHANGED, OTHERS, LISTED} <= set(inside["possible_calls"])
    made = {one["key"] for one in inside["subjects"] if one["kind"] == "created" and one["certainty"] == "affected"}
    assert made == {"clusterrolebindings/web-cache", "deployments/shop/web-cache"}


def test_the_identity_pod_and_token_of_the_controller_are_not_affected(inside: dict[str, Any]) -> None:
    certainty = {(one["kind"], one["key"]): one["certainty"] for one in inside["subjects"]}
    assert certainty["identity", CONTROLLER] == certainty["service_account", "observability/prometheus"] == "possible"
    assert certainty["pod", POD] == "possible" and ("credential", POD) not in certainty


def test_the_source_is_the_first_possibility_and_the_token_the_other(inside: dict[str, Any]) -> None:
    (identity,) = inside["identities"]
    first, second = (why["says"] for why in identity["patient_zero"])
    assert (
        "look first at who changed Argo CD application shop" in first and "the other possibility is its token" in second
    )
    assert identity["take_away"][0]["says"].startswith("Take the change back at its source, Argo CD application shop")


def test_the_controllers_token_from_a_new_place_is_theft_whatever_it_says_of_itself(tmp_path: Path) -> None:
    scope = _scope(tmp_path, "198.51.100.9")
    assert set(scope["calls"]) >= {BINDING, WORKLOAD, UNCHANGED, OTHERS, LISTED}
    certainty = {(one["kind"], one["key"]): one["certainty"] for one in scope["subjects"]}
    assert certainty["identity", CONTROLLER] == certainty["credential", POD] == "affected"
