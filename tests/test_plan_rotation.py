"""The rotation of secrets: what uses each, what restarts after it, what would overwrite it, and the names of its keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import cases
from tests.command import kit, kit_json
from tests.test_host_access import EVERY
from tests.variation import varied

Object = dict[str, Any]


def rotated(case: Path) -> dict[str, Object]:
    """Target → the rotation of that secret."""
    actions = kit_json("plan", case, "--only", "rotate_secrets")["actions"]
    return {one["target"]: one for one in actions}


def listed(kind: str, version: str, items: list[Object]) -> str:
    """Objects as `kubectl get` prints them."""
    return json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": version, "kind": kind} | one for one in items]}
    )


def about(name: str, namespace: str = "store", **more: Any) -> Object:
    """The metadata of an object."""
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-of-{name}"} | more}


def edited(resource: str, items: list[Object]) -> list[Object]:
    """store/api-keys as a Helm release and an ExternalSecret made it, with values; and workloads that have it in other ways."""
    for one in items:
        metadata = one["metadata"]
        if resource == "secrets" and (metadata["namespace"], metadata["name"]) == ("store", "api-keys"):
            one["data"] = {"stripe": "c2VjcmV0LXZhbHVl", "paypal": "c2VjcmV0LXZhbHVl"}
            metadata["ownerReferences"] = [
                {"kind": "ExternalSecret", "name": "api", "apiVersion": "x/v1", "uid": "1", "controller": True}
            ]
            metadata["annotations"] = {"meta.helm.sh/release-name": "shop"}
        if (
            resource in ("pods", "statefulsets")
            and metadata["namespace"] == "store"
            and metadata["name"].startswith("db")
        ):
            spec = one["spec"] if resource == "pods" else one["spec"]["template"]["spec"]
            volumes = [{"name": "keys", "projected": {"sources": [{"secret": {"name": "api-keys"}}]}}]
            spec["volumes"] = [*(spec.get("volumes") or []), *volumes]
            mounts = [{"name": "keys", "mountPath": "/keys/stripe", "subPath": "stripe"}]
            spec["containers"][0]["volumeMounts"] = [*(spec["containers"][0].get("volumeMounts") or []), *mounts]
        if resource == "cronjobs" and metadata["namespace"] == "store":
            one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "api-keys"}]
        if resource == "serviceaccounts" and (metadata["namespace"], metadata["name"]) == ("store", "api"):
            one["imagePullSecrets"] = [{"name": "api-keys"}]
    return items


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Object]]:
    """A case in which store/api-keys is used in many ways, with its rotations."""
    folder = tmp_path_factory.mktemp("used")
    evidence = varied(EVERY["shared_nat"], folder, dump=edited)
    ingress = about("front") | {"spec": {"tls": [{"hosts": ["shop.example"], "secretName": "api-keys"}]}}
    other = about("other", "warehouse") | {"spec": {"tls": [{"secretName": "api-keys"}]}}
    (evidence / "cluster" / "ingresses.json").write_text(listed("Ingress", "networking.k8s.io/v1", [ingress, other]))
    external = about("api") | {"spec": {"target": {"name": "api-keys"}}}
    (evidence / "cluster" / "externalsecrets.json").write_text(
        listed("ExternalSecret", "external-secrets.io/v1", [external])
    )
    kit_json("new", folder / "case", evidence)
    return folder / "case", rotated(folder / "case")


SAID = [
    "deployments/store/api (3 pods) has it in variables: restart it after the change",
    "statefulsets/store/db (1 pod) mounts a file of it by subPath, which is not renewed: restart it after the change",
    "service account store/api gives it to its pods to pull images with",
    "ingress store/front serves its certificate: have a new one issued, and revoke the old one",
    "ExternalSecret store/api makes it: change the value in the store that it takes it from, else the new value is overwritten",
    "ExternalSecret api owns it: change the value there, else it is overwritten",
    "Helm release shop has it: change the value there too, else the next upgrade brings the old one back",
    "its keys: paypal, stripe",
]


@pytest.mark.parametrize("says", SAID)
def test_each_secret_names_what_uses_it(says: str, used: tuple[Path, dict[str, Object]]) -> None:
    assert says in used[1]["secret:store/api-keys"]["blast_radius"]


def test_what_has_the_old_value_is_restarted_and_nothing_else(used: tuple[Path, dict[str, Object]]) -> None:
    case, rotations = used
    keys = rotations["secret:store/api-keys"]
    assert keys["command"] == [
        "kubectl rollout restart deployments api -n store",
        "kubectl rollout restart statefulsets db -n store",
    ]
    assert keys["parameters"]["keys"] == ["paypal", "stripe"]
    assert not any("warehouse/other" in says for says in keys["blast_radius"]), (
        "an ingress serves secrets of its own namespace"
    )
    plan = (case / "plan.json").read_text()
    assert "c2VjcmV0LXZhbHVl" not in plan and "secret-value" not in plan


def test_a_secret_that_nothing_uses_says_so_and_one_without_keys_names_none(
    used: tuple[Path, dict[str, Object]],
) -> None:
    pager = used[1]["secret:warehouse/pager-84c4"]
    (says,) = pager["blast_radius"]
    assert says.startswith("nothing in the evidence uses it") and pager["parameters"]["keys"] is None
    assert pager["command"] == []


def test_what_was_only_within_reach_is_listed_apart(used: tuple[Path, dict[str, Object]]) -> None:
    case, rotations = used
    apart = {target.partition(":")[0]: one["by_person"] for target, one in rotations.items()}
    assert set(apart) == {"secret", "reachable"} and apart["secret"] != apart["reachable"]
    assert "no read of it is in the log" in apart["reachable"]
    kinds = [target.partition(":")[0] for target in rotations]
    assert kinds == sorted(kinds, key=lambda kind: kind == "reachable")
    text = kit("plan", case, "--only", "rotate_secrets").stdout
    first, second = text.split("no read of it is in the log")[:2]
    assert "secret `store/api-keys`" in first.replace("**", "") or "store/api-keys" in first
    assert "store/db-credentials" in second


def test_every_rotation_of_a_recording_says_who_uses_the_secret(tmp_path: Path) -> None:
    """Held to the dump itself: each pod that stands and names the secret is below a workload that the rotation names."""
    case = cases.copied(tmp_path / "case", EVERY["cluster_creator"])
    pods = json.loads((EVERY["cluster_creator"] / "cluster" / "pods.json").read_text())["items"]
    for target, one in rotated(case).items():
        namespace, _, name = target.partition(":")[2].partition("/")
        users = [
            pod for pod in pods if pod["metadata"]["namespace"] == namespace and f'"{name}"' in json.dumps(pod["spec"])
        ]
        said = " ".join(one["blast_radius"])
        assert bool(users) != ("nothing in the evidence uses it" in said) or "ingress" in said, (target, said)
        assert all(
            any(path.rpartition("/")[2] in pod["metadata"]["name"] for path in one["parameters"]["restart"])
            for pod in users
        ), target


def test_a_secret_of_the_attackers_own_making_is_removed_and_not_rotated() -> None:
    actions = cases.planned(EVERY["webhook_backdoor"])["actions"]
    made = {one["target"].partition("secrets/")[2] for one in actions if one["action"] == "remove_secret"}
    rotated = {one["target"].partition(":")[2] for one in actions if one["action"] == "rotate_secrets"}
    assert made == {"kube-system/metrics-server-token-7652c"} and "warehouse/redis-auth" in rotated
    assert not made & rotated
