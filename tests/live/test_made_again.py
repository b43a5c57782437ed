"""Each kind of object that the API server has is made again as it was: by an undo, and from the evidence; equal is one notion for both."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.live.changes.content import kept
from kit.live.changes.objects import CreateObject, DeleteObject, remade, url_path
from kit.live.connection import Connection
from kit.live.errors import Failed, Unknown
from kit.model.kubernetes import OBJECT_KINDS
from kit.training.emulators.kubernetes_emulator import KubernetesEmulator, Object
from tests.live.test_kubernetes_acts import ARN, RBAC, thing

PORTS = [{"port": 80, "name": "http"}]
OF_X: Object = {"matchLabels": {"app": "x"}}
RUNS: Object = {"containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}], "livenessProbe": {"exec": {"command": ["true"]}}}]}  # fmt: skip
POD: Object = {"metadata": {"labels": {"app": "x"}}, "spec": RUNS}
SCALED: Object = {"selector": OF_X, "template": POD}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
TO = {"subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "till", "namespace": "shop"}]}
ROLE: Object = {"roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "x"}} | TO
ASKED = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
HOOK = {"name": "a.example.com", "clientConfig": {"service": {"name": "x", "namespace": "shop"}}, "rules": ASKED, "sideEffects": "None", "admissionReviewVersions": ["v1"]}  # fmt: skip
NAMES = {"kind": "Thing", "plural": "things"}
VERSIONS = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]
# What is sent to make one of a kind, beside its name.
SENT: dict[str, Object] = {
    "pods": {"spec": RUNS},
    "nodes": {"spec": {"providerID": "aws:///a/i-1"}},
    "namespaces": {},
    "services": {"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"app": "x"}, "ports": PORTS}},
    "endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": PORTS}]},
    "events": {"involvedObject": {"kind": "Pod", "name": "x", "namespace": "shop"}, "reason": "Seen"},
    "configmaps": {"data": {"a": "b"}, "binaryData": {"c": "ZA=="}, "immutable": True},
    "secrets": {"stringData": {"a": "b"}},
    "serviceaccounts": {"automountServiceAccountToken": False, "imagePullSecrets": [{"name": "pull"}]},
    "persistentvolumes": {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}},
    "persistentvolumeclaims": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    "replicationcontrollers": {"spec": {"selector": {"app": "x"}, "template": POD}},
    "resourcequotas": {"spec": {"hard": {"pods": "10"}}},
    "limitranges": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}},
    "deployments": {"spec": SCALED},
    "daemonsets": {"spec": SCALED},
    "statefulsets": {"spec": SCALED | {"serviceName": "x"}},
    "replicasets": {"spec": SCALED},
    "jobs": {"spec": {"template": {"spec": RUNS | {"restartPolicy": "Never"}}}},
    "cronjobs": {"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": RUNS | {"restartPolicy": "Never"}}}}}},
    "networkpolicies": {"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}},
    "ingresses": {"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}},
    "roles": {"rules": RULES},
    "rolebindings": ROLE,
    "clusterroles": {"rules": RULES},
    "clusterrolebindings": ROLE,
    "endpointslices": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]},
    "policyendpoints": {"spec": {"policyRef": {"name": "x", "namespace": "shop"}}},
    "poddisruptionbudgets": {"spec": {"minAvailable": 1, "selector": OF_X}},
    "horizontalpodautoscalers": {"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}},
    "mutatingwebhookconfigurations": {"webhooks": [HOOK]},
    "validatingwebhookconfigurations": {"webhooks": [HOOK]},
    "validatingadmissionpolicies": {"spec": {"matchConstraints": {"resourceRules": ASKED}, "validations": [{"expression": "true"}]}},
    "validatingadmissionpolicybindings": {"spec": {"policyName": "x", "validationActions": ["Deny"]}},
    "customresourcedefinitions": {"spec": {"group": "x.example.com", "scope": "Namespaced", "names": NAMES, "versions": VERSIONS}},
    "certificatesigningrequests": {"spec": {"request": "YQ==", "signerName": "a.example.com/b", "usages": ["client auth"]}},
    "nodeclasses": {"spec": {"role": "nodes"}},
    "nodepools": {"spec": {"weight": 1}},
    "nodeclaims": {"spec": {"requirements": []}},
}  # fmt: skip
LOST = {resource for resource in OBJECT_KINDS if DeleteObject(resource, "shop", "x", None).cannot_undo}


@pytest.fixture
def emulator() -> Iterator[KubernetesEmulator]:
    custom = [thing(kind.api_version, kind.kind, "seed", "shop" if kind.namespaced else None) for kind in OBJECT_KINDS.values() if "amazonaws" in kind.group or kind.group in ("karpenter.sh", "networking.k8s.aws")]  # fmt: skip
    with KubernetesEmulator([thing("v1", "Namespace", "shop", None), *custom]) as started:
        started.add({"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": "x"}, "rules": RULES})
        yield started


@pytest.fixture
def live(emulator: KubernetesEmulator, tmp_path: Path) -> Connection:
    return Connection(
        "111122223333", "eu-west-1", "shop", kubeconfig=str(emulator.kubeconfig(tmp_path / "config", ARN))
    )


def made(live: Connection, resource: str) -> tuple[str | None, str, Object]:
    """One object of a kind, made by a client: its namespace, its name, and how it stands then."""
    kind = OBJECT_KINDS[resource]
    space, name = "shop" if kind.namespaced else None, "x" if resource == "clusterroles" else "again"
    body = thing(kind.api_version, kind.kind, name, space) | copy.deepcopy(SENT[resource])
    body["metadata"] |= {"labels": {"team": "a"}, "annotations": {"note": "b"}}
    if resource == "clusterroles":
        live.kubernetes("DELETE", url_path(resource, space, name))
    live.kubernetes("POST", url_path(resource, space), body)
    return space, name, dict(live.kubernetes("GET", url_path(resource, space, name)))


def plain(emulator: KubernetesEmulator) -> dict[str, Any]:
    """The state without what a Job is given anew each time: its own uid, as selector and labels."""
    state = emulator.content()
    for key, one in state.items():
        if key.startswith("jobs."):
            one["spec"].pop("selector")
            for label in ("controller-uid", "batch.kubernetes.io/controller-uid"):
                one["spec"]["template"]["metadata"]["labels"].pop(label)
    return state


def test_each_kind_has_what_is_sent() -> None:
    assert SENT.keys() == OBJECT_KINDS.keys() and len(SENT) >= 38
    assert {"secrets", "pods", "persistentvolumes", "persistentvolumeclaims", "certificatesigningrequests"} == LOST


@pytest.mark.parametrize("resource", sorted(SENT.keys() - LOST))
def test_what_was_deleted_is_made_again_just_as_it_was(
    emulator: KubernetesEmulator, live: Connection, resource: str
) -> None:
    space, name, found = made(live, resource)
    before = plain(emulator)
    change = DeleteObject(resource, space, name, found["metadata"]["uid"])
    looked = change.look(live)
    assert "dryRun" in change.dry_run(live, looked) and plain(emulator) == before
    change.do(live, looked)
    assert change.holds(change.look(live)) and plain(emulator) != before
    change.undo(live, looked, None)
    assert plain(emulator) == before
    assert change.is_restored(looked, change.look(live))


@pytest.mark.parametrize("resource", sorted(SENT.keys() - LOST))
def test_what_the_attacker_deleted_stands_again_as_the_evidence_has_it(
    emulator: KubernetesEmulator, live: Connection, resource: str
) -> None:
    space, name, found = made(live, resource)
    before = plain(emulator)
    live.kubernetes("DELETE", url_path(resource, space, name))
    change = CreateObject(resource, space, name, None, remade(live, resource, kept(found)))
    assert change.look(live) is None and not change.holds(None)
    change.do(live, None)
    assert plain(emulator) == before
    state = change.look(live)
    assert change.holds(state) and change.refuses(state) == ""
    change.undo(live, None, state)
    assert change.look(live) is None


@pytest.mark.parametrize("resource", sorted(SENT.keys() - LOST))
def test_what_was_sent_is_what_stands_once_the_server_filled_it_in(live: Connection, resource: str) -> None:
    """The log of a request has what a client sent, before any default."""
    kind = OBJECT_KINDS[resource]
    space, name, _ = made(live, resource)
    body = thing(kind.api_version, kind.kind, name, space) | copy.deepcopy(SENT[resource])
    change = CreateObject(resource, space, name, None, body)
    assert change.holds(change.look(live))


@pytest.mark.parametrize("again", ["do", "undo"])
@pytest.mark.parametrize("taken", ["clusterIP", "nodePort"])
def test_an_address_that_was_taken_meanwhile_is_left_to_the_server(
    emulator: KubernetesEmulator, live: Connection, taken: str, again: str
) -> None:
    space, name, found = made(live, "services")
    port = found["spec"]["ports"][0]["nodePort"]
    deletion = DeleteObject("services", space, name, found["metadata"]["uid"])
    looked = deletion.look(live)
    deletion.do(live, looked)
    has = {"clusterIP": found["spec"]["clusterIP"]} if taken == "clusterIP" else {"type": "NodePort"}
    ports = [{"port": 1} | ({"nodePort": port} if taken == "nodePort" else {})]
    emulator.add(thing("v1", "Service", "taker", spec=has | {"ports": ports}))
    if again == "undo":
        deletion.undo(live, looked, None)
        assert deletion.is_restored(looked, deletion.look(live))
    else:
        creation = CreateObject("services", space, name, None, remade(live, "services", kept(found)))
        creation.dry_run(live, None)
        creation.do(live, None)
        assert creation.holds(creation.look(live))
    spec = emulator.content()["services/shop/again"]["spec"]
    assert spec["type"] == "LoadBalancer" and spec["ports"][0]["nodePort"] and spec["clusterIP"]
    assert spec["clusterIP"] != found["spec"]["clusterIP"] or spec["ports"][0]["nodePort"] != port


def test_what_somebody_changed_in_it_is_not_the_same(emulator: KubernetesEmulator, live: Connection) -> None:
    for resource, part in (("roles", "rules"), ("networkpolicies", "spec"), ("rolebindings", "subjects"), ("configmaps", "data")):  # fmt: skip
        space, name, found = made(live, resource)
        change = CreateObject(resource, space, name, None, remade(live, resource, kept(found)))
        wider: Any = {
            "rules": [*RULES, {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
            "spec": SENT["networkpolicies"]["spec"] | {"ingress": [{}]},
            "subjects": [*TO["subjects"], {"kind": "Group", "name": "system:unauthenticated"}],
            "data": {"a": "b", "c": "d"},
        }[part]
        emulator.add(found | {"metadata": {"name": name, "namespace": space}, part: wider})
        assert not change.holds(change.look(live)) and "another content" in change.refuses(change.look(live))


def test_a_failing_webhook_and_a_quota_are_told_and_change_nothing(
    emulator: KubernetesEmulator, live: Connection
) -> None:
    space, name, found = made(live, "configmaps")
    hook = HOOK | {"rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["*"]}]}
    emulator.add(
        thing("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "guard", None, webhooks=[hook])
    )
    emulator.failing.add("a.example.com")
    deletion = DeleteObject("configmaps", space, name, found["metadata"]["uid"])
    looked, before = deletion.look(live), emulator.content()
    for do in (deletion.dry_run, deletion.do):
        with pytest.raises((Unknown, Failed), match=r"failed calling webhook .a\.example\.com"):
            do(live, looked)
    assert emulator.content() == before
    emulator.failing.clear()
    deletion.do(live, looked)
    emulator.add(thing("v1", "ResourceQuota", "none", spec={"hard": {"configmaps": "0"}}))
    with pytest.raises(Failed, match="exceeded quota: none"):
        deletion.undo(live, looked, None)
