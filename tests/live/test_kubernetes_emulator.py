"""The emulated Kubernetes API keeps a real one's promises to the real client: what it would let through, plans would too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from kit.training.emulators.kubernetes_access import TOKEN
from kit.training.emulators.kubernetes_emulator import CUT, Call, Cut, KubernetesEmulator, Object, Refusal

MERGE = "application/merge-patch+json"
ARN = "arn:aws:eks:eu-west-1:111122223333:cluster/shop"


def thing(api_version: str, kind: str, name: str, namespace: str | None = "shop", **more: Any) -> Object:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | more.pop("metadata", {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata} | more


def owned_by(kind: str, name: str, uid: str) -> Object:
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}
    return {"ownerReferences": [reference]}


def pod(name: str, owner: Object | None = None, **labels: str) -> Object:
    spec = {"nodeName": "node-1", "containers": [{"name": "app", "image": "shop:1"}]}
    metadata = {"uid": f"uid-of-{name}", "labels": labels} | (owner or {})
    return thing("v1", "Pod", name, metadata=metadata, spec=spec, status={"phase": "Running"})


def cluster() -> list[Object]:
    """A Deployment of two pods under a disruption budget, a StatefulSet of one, and what else the tests change."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "shop:1"}]}}
    scaled = {"replicas": 2, "template": template}
    budget_status = {"disruptionsAllowed": 0, "desiredHealthy": 2, "currentHealthy": 2}
    token = {"kubernetes.io/service-account.name": "till", "kubernetes.io/service-account.uid": "uid-of-till"}
    return [
        thing("apps/v1", "Deployment", "web", metadata={"uid": "uid-of-web"}, spec=scaled),
        thing("apps/v1", "ReplicaSet", "web-5d", metadata={"uid": "uid-of-web-5d"} | owned_by("Deployment", "web", "uid-of-web"), spec=scaled),
        pod("web-5d-a", owned_by("ReplicaSet", "web-5d", "uid-of-web-5d"), app="web", tier="front"),
        pod("web-5d-b", owned_by("ReplicaSet", "web-5d", "uid-of-web-5d"), app="web"),
        thing("apps/v1", "StatefulSet", "db", metadata={"uid": "uid-of-db"}, spec={"replicas": 1}),
        pod("db-0", owned_by("StatefulSet", "db", "uid-of-db"), app="db"),
        thing("batch/v1", "Job", "once", metadata={"uid": "uid-of-once"}, spec={}),
        pod("once-x", owned_by("Job", "once", "uid-of-once")),
        thing("policy/v1", "PodDisruptionBudget", "web", spec={"selector": {"matchLabels": {"app": "web"}}}, status=budget_status),
        thing("v1", "Node", "node-1", None, spec={"taints": [{"key": "old", "effect": "NoSchedule"}]}),
        thing("v1", "ConfigMap", "settings", data={"colour": "red"}),
        thing("v1", "ServiceAccount", "till", metadata={"uid": "uid-of-till"}),
        thing("v1", "Secret", "till-token", type="kubernetes.io/service-account-token", metadata={"annotations": token}),
        thing("v1", "Secret", "opaque", type="Opaque", data={"key": "dg=="}),
        thing("networking.k8s.aws/v1alpha1", "PolicyEndpoint", "deny-1", spec={}),
        thing("karpenter.sh/v1", "NodeClaim", "claim-1", None, spec={}),
    ]  # fmt: skip


@pytest.fixture
def emulator() -> Iterator[KubernetesEmulator]:
    with KubernetesEmulator(cluster()) as started:
        yield started


@pytest.fixture
def api(emulator: KubernetesEmulator, tmp_path: Path) -> Any:
    """The real client, as `kit` has it: from the kubeconfig, without retries of its own."""
    configuration = client.Configuration()
    configuration.retries = False
    path = str(emulator.kubeconfig(tmp_path / "config", ARN))
    load: Any = config.load_kube_config
    load(path, "incident", configuration, persist_config=False)
    return client.ApiClient(configuration)


@pytest.fixture
def core(api: Any) -> Any:
    return client.CoreV1Api(api)


def refused(status: int, reason: str, call: Callable[..., Any], *given: Any, **more: Any) -> str:
    """The message of a call that must be refused in this way."""
    with pytest.raises(ApiException) as caught:
        call(*given, **more)
    assert (caught.value.status, f'"reason": "{reason}"' in str(caught.value.body)) == (status, True), caught.value.body
    return str(caught.value.body)


def names(listed: Any) -> list[str]:
    return [item.metadata.name for item in listed.items]


def eviction(name: str, **options: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, "deleteOptions": options}


def deleting(**preconditions: str) -> Any:
    return client.V1DeleteOptions(preconditions=client.V1Preconditions(**preconditions))


# What must change nothing, and the answer to it; without an answer it is done as if. A promise of the server stands
# behind each, and without that promise each would change something: that is what makes a test of a plan worth its name.
SETTINGS, DB, OTHER, STALE = ("settings", "shop"), ("db-0", "shop"), {"uid": "uid-of-another"}, {"resourceVersion": "1"}
BLUE = {"data": {"colour": "blue"}}
BLUE_SETTINGS = thing("v1", "ConfigMap", "settings", data=BLUE["data"])
CONFLICT, INVALID = (409, "Conflict"), (422, "Invalid")
Attempt = tuple[str, tuple[int, str] | None, Callable[[Any], Any]]
ATTEMPTS: dict[str, Attempt] = {
    "dry create": ("dryRun", None, lambda core: core.create_namespaced_secret("shop", thing("v1", "Secret", "new"), dry_run="All")),
    "dry put": ("dryRun", None, lambda core: core.replace_namespaced_config_map(*SETTINGS, BLUE_SETTINGS, dry_run="All")),
    "dry patch": ("dryRun", None, lambda core: core.patch_namespaced_config_map(*SETTINGS, BLUE, dry_run="All")),
    "dry delete": ("dryRun", None, lambda core: core.delete_namespaced_pod(*DB, dry_run="All")),
    "dry delete, in its body": ("dryRun", None, lambda core: core.delete_namespaced_pod(*DB, body=client.V1DeleteOptions(dry_run=["All"]))),
    "dry eviction": ("dryRun", None, lambda core: core.create_namespaced_pod_eviction(*DB, eviction("db-0"), dry_run="All")),
    "dry eviction, in its body": ("dryRun", None, lambda core: core.create_namespaced_pod_eviction(*DB, eviction("db-0", dryRun=["All"]))),
    "uid of a put": ("uid", CONFLICT, lambda core: core.replace_namespaced_config_map(*SETTINGS, thing("v1", "ConfigMap", "settings", metadata=OTHER))),
    "uid of a patch": ("uid", INVALID, lambda core: core.patch_namespaced_config_map(*SETTINGS, BLUE | {"metadata": OTHER}, _content_type=MERGE)),
    "uid of a delete": ("uid", CONFLICT, lambda core: core.delete_namespaced_pod(*DB, body=deleting(uid="uid-of-another"))),
    "uid of an eviction": ("uid", CONFLICT, lambda core: core.create_namespaced_pod_eviction(*DB, eviction("db-0", preconditions=OTHER))),
    "version of a put": ("resourceVersion", CONFLICT, lambda core: core.replace_namespaced_config_map(*SETTINGS, thing("v1", "ConfigMap", "settings", metadata=STALE))),
    "version of a patch": ("resourceVersion", CONFLICT, lambda core: core.patch_namespaced_config_map(*SETTINGS, BLUE | {"metadata": STALE})),
    "version of a delete": ("resourceVersion", CONFLICT, lambda core: core.delete_namespaced_pod(*DB, body=deleting(resource_version="1"))),
    "version of an eviction": ("resourceVersion", CONFLICT, lambda core: core.create_namespaced_pod_eviction(*DB, eviction("db-0", preconditions=STALE))),
}  # fmt: skip


@pytest.mark.parametrize("ignored", [False, True], ids=["kept", "ignored"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_only_a_server_that_ignores_its_promise_is_changed(
    emulator: KubernetesEmulator, core: Any, attempt: str, ignored: bool
) -> None:
    promise, answer, do = ATTEMPTS[attempt]
    emulator.ignored |= {promise} if ignored else set()
    before = emulator.objects()
    if answer and not ignored:
        refused(*answer, do, core)
    else:
        do(core)
    assert (emulator.objects() != before, bool(emulator.calls[-1].changed)) == (ignored, ignored)


def test_what_was_read_before_somebody_elses_change_is_stale(emulator: KubernetesEmulator, core: Any) -> None:
    read = core.read_namespaced_config_map(*SETTINGS)
    emulator.add(BLUE_SETTINGS)
    refused(409, "Conflict", core.replace_namespaced_config_map, *SETTINGS, read)
    read = core.read_namespaced_config_map(*SETTINGS)
    assert core.replace_namespaced_config_map(*SETTINGS, read).data == BLUE["data"]


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        ("app=web", ["web-5d-a", "web-5d-b"]),
        ("app==db", ["db-0"]),
        ("app!=web", ["db-0", "once-x"]),
        ("app in (db, nothing)", ["db-0"]),
        ("app notin (db),tier", ["web-5d-a"]),
        ("app,!tier", ["db-0", "web-5d-b"]),
        ("app=nobody", []),
    ],
)
def test_label_selectors_select(emulator: KubernetesEmulator, core: Any, selector: str, wanted: list[str]) -> None:
    assert names(core.list_pod_for_all_namespaces(label_selector=selector)) == wanted
    emulator.ignored.add("labelSelector")
    assert names(core.list_pod_for_all_namespaces(label_selector=selector)) != wanted


def test_a_dry_run_in_the_query_is_not_read_beside_delete_options(emulator: KubernetesEmulator, core: Any) -> None:
    core.delete_namespaced_pod(*DB, dry_run="All", body=client.V1DeleteOptions())
    assert emulator.calls[-1].changed == ("pods/shop/db-0",)


def test_objects_are_created_once_and_named_by_the_server(emulator: KubernetesEmulator, core: Any) -> None:
    made = core.create_namespaced_config_map("shop", thing("v1", "ConfigMap", "new", data={"a": "b"}))
    assert made.metadata.uid and made.metadata.resource_version and made.metadata.creation_timestamp
    said = refused(409, "AlreadyExists", core.create_namespaced_config_map, "shop", thing("v1", "ConfigMap", "new"))
    assert '"kind": "configmaps"' in said
    refused(500, "InternalError", core.create_namespaced_config_map, "shop", made)  # it carries a resourceVersion
    refused(404, "NotFound", core.create_namespaced_config_map, "nowhere", thing("v1", "ConfigMap", "new", "nowhere"))
    named = core.create_namespaced_config_map("shop", {"metadata": {"generateName": "made-"}})
    assert named.metadata.name.startswith("made-") and f"configmaps/shop/{named.metadata.name}" in emulator.objects()


def test_a_patch_changes_what_it_names(emulator: KubernetesEmulator, core: Any) -> None:
    settings = core.patch_namespaced_config_map("settings", "shop", {"data": {"size": "9"}})
    again = core.patch_namespaced_config_map("settings", "shop", {"data": {"size": "9"}})
    assert again.metadata.resource_version == settings.metadata.resource_version and not emulator.calls[-1].changed
    change = {"data": {"colour": None}}
    assert core.patch_namespaced_config_map("settings", "shop", change, _content_type=MERGE).data == {"size": "9"}
    steps = [{"op": "test", "path": "/data/size", "value": "9"}, {"op": "replace", "path": "/data/size", "value": "8"}]
    assert core.patch_namespaced_config_map("settings", "shop", steps).data == {"size": "8"}
    refused(422, "Invalid", core.patch_namespaced_config_map, "settings", "shop", steps)
    assert core.patch_node("node-1", {"spec": {"unschedulable": True}}).spec.taints[0].key == "old"
    lists = {"spec": {"containers": [{"name": "app", "image": "shop:2"}]}}
    refused(501, "NotImplemented", core.patch_namespaced_pod, "db-0", "shop", lists)


def test_secrets_are_patched_and_replaced_like_any_other(core: Any) -> None:
    secret = core.patch_namespaced_secret("opaque", "shop", {"stringData": {"word": "hi"}})
    assert secret.data == {"key": "dg==", "word": "aGk="}
    secret.data = {"key": "dg=="}
    assert core.replace_namespaced_secret("opaque", "shop", secret).data == {"key": "dg=="}


@pytest.mark.parametrize(
    ("group", "delete", "name", "policy", "gone"),
    [
        ("AppsV1Api", "delete_namespaced_deployment", "web", None, {"web", "web-5d", "web-5d-a", "web-5d-b"}),
        ("AppsV1Api", "delete_namespaced_deployment", "web", "Orphan", {"web"}),
        ("BatchV1Api", "delete_namespaced_job", "once", None, {"once"}),
        ("BatchV1Api", "delete_namespaced_job", "once", "Background", {"once", "once-x"}),
        ("CoreV1Api", "delete_namespaced_service_account", "till", None, {"till", "till-token"}),
    ],
)
def test_a_deletion_takes_what_hangs_on_it(
    emulator: KubernetesEmulator, api: Any, group: str, delete: str, name: str, policy: str | None, gone: set[str]
) -> None:
    before = emulator.objects()
    options = client.V1DeleteOptions(propagation_policy=policy, grace_period_seconds=0)
    getattr(getattr(client, group)(api), delete)(name, "shop", body=options)
    after = emulator.objects()
    kept = {"poddisruptionbudgets.policy/shop/web"}
    assert {key.rpartition("/")[2] for key in before.keys() - after.keys() - kept} == gone
    living = {item["metadata"]["uid"] for item in after.values()}
    owners = [owner for item in after.values() for owner in item["metadata"].get("ownerReferences", ())]
    assert all(owner["uid"] in living for owner in owners)


def test_an_object_with_finalizers_stays_until_they_are_emptied(emulator: KubernetesEmulator, core: Any) -> None:
    emulator.add(thing("v1", "ConfigMap", "held", metadata={"finalizers": ["example.com/hold"]}))
    core.delete_namespaced_config_map("held", "shop")
    assert core.read_namespaced_config_map("held", "shop").metadata.deletion_timestamp
    core.patch_namespaced_config_map("held", "shop", {"metadata": {"finalizers": None}}, _content_type=MERGE)
    refused(404, "NotFound", core.read_namespaced_config_map, "held", "shop")
    refused(404, "NotFound", core.delete_namespaced_config_map, "held", "shop")


def test_a_controller_makes_its_pod_again(emulator: KubernetesEmulator, core: Any) -> None:
    emulator.recreate = True
    for name in ("db-0", "web-5d-b"):
        core.delete_namespaced_pod(name, "shop")
    assert core.read_namespaced_pod("db-0", "shop").metadata.uid != "uid-of-db-0"
    (new,) = {key for key in emulator.objects() if key.startswith("pods/shop/web")} - {"pods/shop/web-5d-a"}
    assert new.startswith("pods/shop/web-5d-") and new in emulator.calls[-2].changed
    core.delete_namespace("shop")
    assert not [key for key in emulator.objects() if "/shop" in key]


def test_an_eviction_heeds_the_disruption_budget(emulator: KubernetesEmulator, core: Any) -> None:
    evict = core.create_namespaced_pod_eviction
    said = refused(429, "TooManyRequests", evict, "web-5d-a", "shop", eviction("web-5d-a"))
    assert '"reason": "DisruptionBudget"' in said
    evict(*DB, eviction("db-0", preconditions={"uid": "uid-of-db-0"}))
    assert emulator.calls[-1].status == 201
    refused(404, "NotFound", core.read_namespaced_pod, "db-0", "shop")


def test_field_selectors_select_and_unknown_ones_are_refused(emulator: KubernetesEmulator, core: Any) -> None:
    about = {"kind": "Pod", "name": "db-0", "namespace": "shop", "uid": "uid-of-db-0"}
    emulator.add(thing("v1", "Event", "db-0.1", involvedObject=about), thing("v1", "Event", "x", involvedObject={}))
    for selector in ("involvedObject.name=db-0", "involvedObject.uid=uid-of-db-0,involvedObject.kind!=Node"):
        url = f"{emulator.url}/api/v1/events?fieldSelector={selector}"
        found = core.api_client.call_api("GET", url, {"Authorization": f"Bearer {TOKEN}"})
        assert b"db-0.1" in found.read() and b'"name": "x"' not in found.data
    assert names(core.list_pod_for_all_namespaces(field_selector="spec.nodeName=node-1,metadata.name!=db-0")) == ["once-x", "web-5d-a", "web-5d-b"]  # fmt: skip
    assert names(core.list_namespaced_pod("shop", field_selector="status.phase=Pending")) == []
    refused(400, "BadRequest", core.list_namespaced_pod, "shop", field_selector="metadata.uid=uid-of-db-0")


def test_a_list_comes_in_pages_of_one_state(emulator: KubernetesEmulator, core: Any) -> None:
    page = core.list_namespaced_pod("shop", limit=3)
    emulator.remove("pods/shop/web-5d-b")
    rest = core.list_namespaced_pod("shop", limit=3, _continue=page.metadata._continue)
    assert names(page) + names(rest) == ["db-0", "once-x", "web-5d-a", "web-5d-b"] and not rest.metadata._continue
    refused(410, "Expired", core.list_namespaced_pod, "shop", _continue="long-gone")
    refused(501, "NotImplemented", core.list_namespaced_pod, "shop", watch=True)


def test_only_metadata_is_given_where_it_is_asked_for(api: Any, core: Any) -> None:
    for path, word in (("pods", "PartialObjectMetadataList"), ("pods/db-0", "PartialObjectMetadata")):
        accept = {"Accept": f"application/json;as={word};g=meta.k8s.io;v=v1", "Authorization": f"Bearer {TOKEN}"}
        url = f"{api.configuration.host}/api/v1/namespaces/shop/{path}"
        text = api.call_api("GET", url, accept).read().decode()
        assert f'"kind": "{word}"' in text and '"spec"' not in text and '"uid-of-db-0"' in text


def test_custom_resources_are_served_and_unknown_groups_are_not(emulator: KubernetesEmulator, api: Any) -> None:
    custom: Any = client.CustomObjectsApi(api)
    endpoints = ("networking.k8s.aws", "v1alpha1", "shop", "policyendpoints")
    assert custom.list_namespaced_custom_object(*endpoints)["items"][0]["kind"] == "PolicyEndpoint"
    claim = custom.get_cluster_custom_object("karpenter.sh", "v1", "nodeclaims", "claim-1")
    names_, versions = {"kind": "Trace", "plural": "traces"}, [{"name": "v1", "served": True, "storage": True}]
    spec = {"group": "example.com", "names": names_, "scope": "Namespaced", "versions": versions}
    definition = thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", "traces.example.com", None, spec=spec)
    with pytest.raises(ApiException, match="404 page not found"):
        custom.list_namespaced_custom_object("example.com", "v1", "shop", "traces")
    extensions: Any = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(definition)
    assert custom.list_namespaced_custom_object("example.com", "v1", "shop", "traces")["items"] == []
    custom.create_namespaced_custom_object("example.com", "v1", "shop", "traces", {"metadata": {"name": "one"}})
    extensions.delete_custom_resource_definition("traces.example.com")
    assert emulator.calls[-1].changed[-1] == "traces.example.com/shop/one"
    del claim["metadata"]["resourceVersion"]
    put = custom.replace_cluster_custom_object
    refused(422, "Invalid", put, "karpenter.sh", "v1", "nodeclaims", "claim-1", claim)


def test_logs_are_those_of_the_container(emulator: KubernetesEmulator, core: Any) -> None:
    emulator.logs["shop", "db-0", "app", False] = "one\ntwo\nthree\n"
    read = core.read_namespaced_pod_log
    assert read("db-0", "shop", tail_lines=2) == "two\nthree\n"
    assert read("db-0", "shop", container="app", tail_lines=1, timestamps=True).endswith("Z three\n")
    assert "previous terminated container" in refused(400, "BadRequest", read, "db-0", "shop", previous=True)
    refused(400, "BadRequest", read, "db-0", "shop", container="other")


def test_the_server_says_what_it_is_and_what_it_serves(emulator: KubernetesEmulator, api: Any) -> None:
    told = client.VersionApi(api).get_code()
    assert (told.major, told.minor, told.git_version) == ("1", "33+", emulator.version)
    groups = [group.name for group in client.ApisApi(api).get_api_versions().groups]
    assert {"apps", "rbac.authorization.k8s.io", "karpenter.sh"} <= set(groups)
    served = {one.name: one.namespaced for one in client.CoreV1Api(api).get_api_resources().resources}
    assert served["pods"] and served["pods/eviction"] and not served["nodes"]
    assert client.CoreApi(api).get_api_versions().versions == ["v1"]


def test_what_is_denied_is_forbidden_and_said_beforehand(emulator: KubernetesEmulator, api: Any, core: Any) -> None:
    emulator.denied.add(("create", "", "pods", "eviction"))
    asks: Any = client.AuthorizationV1Api(api).create_self_subject_access_review
    for verb, allowed in (("create", False), ("get", True)):
        asked = {"verb": verb, "group": "", "resource": "pods", "subresource": "eviction", "namespace": "shop"}
        assert asks({"spec": {"resourceAttributes": asked}}).status.allowed is allowed
    said = refused(403, "Forbidden", core.create_namespaced_pod_eviction, "db-0", "shop", eviction("db-0"))
    assert 'cannot create resource \\"pods/eviction\\"' in said
    emulator.user_info = {"username": "responder", "groups": ["incident"]}
    whoami: Any = client.AuthenticationV1Api(api).create_self_subject_review
    review = whoami({})
    assert (review.status.user_info.username, review.status.user_info.groups) == ("responder", ["incident"])


def test_a_node_takes_checkpoints_where_it_can(emulator: KubernetesEmulator, core: Any) -> None:
    asks = core.connect_post_node_proxy_with_path
    with pytest.raises(ApiException, match="404 page not found"):
        asks("node-1", "checkpoint/shop/db-0/app")
    emulator.checkpoints = True
    assert "checkpoint-db-0_shop-app-" in asks("node-1", "checkpoint/shop/db-0/app")
    with pytest.raises(ApiException, match="does not run here"):
        asks("node-2", "checkpoint/shop/db-0/app")


def test_faults_refuse_cut_and_run_code(emulator: KubernetesEmulator, core: Any) -> None:
    wanted: list[tuple[str, Refusal | Cut]] = []

    def fault(call: Call, phase: str) -> Refusal | Cut | None:
        return wanted.pop()[1] if wanted and wanted[0][0] == phase else None

    emulator.faults.append(fault)
    wanted.append(("before", Refusal(429, "TooManyRequests", "slow down", {"Retry-After": "1"})))
    refused(429, "TooManyRequests", core.delete_namespaced_pod, "db-0", "shop")
    for phase, status, left in (("before", None, True), ("after", None, False)):
        wanted.append((phase, CUT))
        with pytest.raises(HTTPError):
            core.delete_namespaced_pod("db-0", "shop")
        assert (emulator.calls[-1].status, "pods/shop/db-0" in emulator.objects()) == (status, left)


@pytest.mark.parametrize("options", [None, deleting(uid="uid-of-db-0")])
def test_the_client_repeats_a_delete_and_only_a_uid_saves_the_pod_that_came_back(
    emulator: KubernetesEmulator, core: Any, options: Any
) -> None:
    def cut_the_first(call: Call, phase: str) -> Cut | None:
        return CUT if phase == "after" and len(emulator.calls) == 1 else None

    emulator.recreate = True
    emulator.faults.append(cut_the_first)
    core.api_client.rest_client.pool_manager.connection_pool_kw.pop("retries")  # as it is by default
    if options:
        refused(409, "Conflict", core.delete_namespaced_pod, *DB, body=options)
    else:
        core.delete_namespaced_pod(*DB)
    assert [bool(call.changed) for call in emulator.calls] == [True, not options]


def test_the_state_survives_a_killed_client(emulator: KubernetesEmulator, tmp_path: Path) -> None:
    script = """if True:
        import sys
        from kubernetes import client, config
        config.load_kube_config(sys.argv[1])
        client.CoreV1Api().delete_namespaced_pod("db-0", "shop")"""

    def kill(call: Call, phase: str) -> None:
        if phase == "after":
            os.kill(running.pid, signal.SIGKILL)
            running.wait()

    emulator.faults.append(kill)
    path = emulator.kubeconfig(tmp_path / "config", ARN)
    running = subprocess.Popen([sys.executable, "-c", script, path])
    assert running.wait(60) == -signal.SIGKILL
    assert "pods/shop/db-0" not in emulator.objects() and emulator.content()["pods/shop/web-5d-a"]["spec"]


# Who may do what

RBAC = "rbac.authorization.k8s.io"
JO = {"username": "jo", "groups": ["incident", "system:authenticated"]}


def rule(groups: str, resources: str, verbs: str, *names: str) -> Object:
    """One rule; commas between groups and the like."""
    one = {"apiGroups": groups.split(","), "resources": resources.split(","), "verbs": verbs.split(",")}
    return one | ({"resourceNames": [*names]} if names else {})


def bound(
    *rules: Object, namespace: str | None = None, role: str = "Role", subject: Object | None = None
) -> list[Object]:
    """A role with these rules and its binding, to group incident or to somebody else; in all namespaces without one."""
    to = subject or {"kind": "Group", "apiGroup": RBAC, "name": "incident"}
    role = role if namespace else "ClusterRole"
    made = thing(f"{RBAC}/v1", role, "responder", namespace if role == "Role" else None, rules=[*rules])
    reference = {"apiGroup": RBAC, "kind": role, "name": "responder"}
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return [made, thing(f"{RBAC}/v1", kind, "responder", namespace, roleRef=reference, subjects=[to])]


def held_to(emulator: KubernetesEmulator, *objects: Object) -> None:
    """From here on RBAC alone decides what jo may do."""
    emulator.user_info, emulator.access_policy = JO, ""
    emulator.add(*objects)


READ_POD = (
    "get",
    "/api/v1/namespaces/shop/pods/db-0",
    'User \\"jo\\" cannot get resource \\"pods\\" in API group \\"\\" in the namespace \\"shop\\"',
)
LIST_PODS = ("get", "/api/v1/namespaces/shop/pods", 'pods is forbidden: User \\"jo\\" cannot list resource \\"pods\\"')
LIST_ONE = ("get", "/api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Ddb-0", "cannot list")
LIST_ALL = ("get", "/api/v1/pods", 'cannot list resource \\"pods\\" in API group \\"\\" at the cluster scope')
LOG = ("get", "/api/v1/namespaces/shop/pods/db-0/log", 'cannot get resource \\"pods/log\\"')
NODES = (
    "get",
    "/api/v1/nodes",
    'nodes is forbidden: User \\"jo\\" cannot list resource \\"nodes\\" in API group \\"\\" at the cluster scope',
)
SPACE = ("get", "/api/v1/namespaces/shop", "cannot get")
UNSERVED = ("get", "/apis/nobody.example/v1/things", "things.nobody.example is forbidden")
METRICS = ("get", "/metrics", 'forbidden: User \\"jo\\" cannot get path \\"/metrics\\"')
API = ("get", "/api", "")
TILL = {"kind": "ServiceAccount", "name": "till", "namespace": "shop"}


@pytest.mark.parametrize(
    ("objects", "request_", "status"),
    [
        ([], READ_POD, 403),
        ([], UNSERVED, 403),
        ([], API, 200),
        ([], METRICS, 403),
        (bound({"nonResourceURLs": ["/met*"], "verbs": ["get"]}), METRICS, 404),
        (bound(rule("", "pods", "get"), namespace="shop"), READ_POD, 200),
        (bound(rule("", "pods", "get"), namespace="shop", role="ClusterRole"), READ_POD, 200),
        (bound(rule("", "pods", "get"), namespace="shop", role="ClusterRole"), LIST_ALL, 403),
        (bound(rule("", "pods", "get"), namespace="bank"), READ_POD, 403),
        (bound(rule("", "pods", "get")), READ_POD, 200),
        (bound(rule("", "pods", "get")), LIST_PODS, 403),
        (bound(rule("apps", "pods", "get")), READ_POD, 403),
        (bound(rule("", "pods", "get", "db-0")), READ_POD, 200),
        (bound(rule("", "pods", "get", "db-1")), READ_POD, 403),
        (bound(rule("", "pods", "list", "db-0")), LIST_PODS, 403),
        (bound(rule("", "pods", "list", "db-0")), LIST_ONE, 200),
        (bound(rule("", "pods", "get")), LOG, 403),
        (bound(rule("", "*/log", "get")), LOG, 200),
        (bound(rule("", "pods/log", "get", "db-0")), LOG, 200),
        (bound(rule("", "*", "*")), LOG, 200),
        (bound(rule("*", "*", "*"), namespace="shop"), NODES, 403),
        (bound(rule("", "namespaces", "get"), namespace="shop"), SPACE, 200),
        (bound(rule("", "nodes", "list"), subject={"kind": "User", "name": "jo"}), NODES, 200),
        (bound(rule("", "nodes", "list"), subject={"kind": "User", "name": "system:serviceaccount:shop:jo"}), NODES, 403),
        (bound(rule("", "nodes", "list"), subject=TILL), NODES, 403),
        (bound(rule("", "nodes", "list"), subject={"kind": "Group", "name": "system:authenticated"}), NODES, 200),
    ],
)  # fmt: skip
def test_rbac_decides(
    emulator: KubernetesEmulator, api: Any, objects: list[Object], request_: Any, status: int
) -> None:
    held_to(emulator, *objects)
    _, path, says = request_
    answer = asked(emulator, path)
    assert answer.status == status
    assert status != 403 or says in answer.read().decode(), answer.data


def asked(emulator: KubernetesEmulator, path: str, token: str = TOKEN, **body: Any) -> Any:
    """The bare answer to a request with this token, "" for none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    settings = client.Configuration(host=emulator.url)
    settings.retries = False
    rest = client.ApiClient(settings).rest_client.pool_manager
    return rest.request(
        "POST" if body else "GET", emulator.url + path, headers=headers, json=body or None, preload_content=False
    )


def test_a_service_account_works_by_its_own_token(emulator: KubernetesEmulator) -> None:
    emulator.add(*bound(rule("", "nodes", "list"), subject=TILL))
    emulator.tokens["of-till"] = {"username": "system:serviceaccount:shop:till", "groups": ["system:serviceaccounts", "system:authenticated"]}  # fmt: skip
    assert [asked(emulator, path, "of-till").status for path in ("/api/v1/nodes", "/api/v1/pods")] == [200, 403]


REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def test_no_credential_is_anonymous_and_an_unknown_one_is_nobody(emulator: KubernetesEmulator) -> None:
    for path in ("/api/v1/pods", "/version", REVIEW):
        answer = asked(emulator, path, "forged")
        assert answer.status == 401 and b'"message": "Unauthorized", "reason": "Unauthorized"' in answer.read()
    assert [asked(emulator, path, "").status for path in ("/version", "/api", "/api/v1/pods")] == [200, 403, 403]
    answer = asked(emulator, REVIEW, "", apiVersion="authentication.k8s.io/v1", kind="SelfSubjectReview")
    assert answer.status == 403
    assert (
        b'selfsubjectreviews.authentication.k8s.io is forbidden: User \\"system:anonymous\\" cannot create'
        in answer.read()
    )
    emulator.add(*bound(rule("", "pods", "list"), subject={"kind": "Group", "name": "system:unauthenticated"}))
    assert asked(emulator, "/api/v1/pods", "").status == 200


def test_reviews_of_oneself_answer_by_rbac(emulator: KubernetesEmulator, api: Any) -> None:
    held_to(emulator, *bound(rule("", "pods", "get", "db-0"), rule("", "pods/log", "get"), namespace="shop"))
    asks: Any = client.AuthorizationV1Api(api)
    of_pod = {"verb": "get", "resource": "pods", "namespace": "shop"}
    for about, allowed in (
        ({"name": "db-0"}, True),
        ({}, False),
        ({"subresource": "log"}, True),
        ({"namespace": "x"}, False),
    ):
        review = asks.create_self_subject_access_review({"spec": {"resourceAttributes": of_pod | about}})
        assert review.status.allowed is allowed, about
    version = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/version"}}}
    assert asks.create_self_subject_access_review(version).status.allowed
    rules = asks.create_self_subject_rules_review({"spec": {"namespace": "shop"}}).status
    assert [one.resources for one in rules.resource_rules][-2:] == [["pods"], ["pods/log"]] and rules.incomplete


READER = thing(f"{RBAC}/v1", "ClusterRole", "reader", None, rules=[rule("", "secrets", "get,list")])
MAKES = rule(RBAC, "roles,clusterroles,rolebindings,clusterrolebindings", "create,get,patch")


@pytest.mark.parametrize(
    ("more", "made"),
    [
        ([], []),
        ([rule("", "secrets", "get,list")], ["role", "binding"]),
        ([rule("", "secrets", "get")], []),
        ([rule("", "secrets", "get,list", "one")], []),
        ([rule("*", "*", "*")], ["role", "binding"]),
        ([rule(RBAC, "clusterroles", "escalate")], ["role"]),
        ([rule(RBAC, "clusterroles", "escalate", "new")], []),
        ([rule(RBAC, "clusterroles", "bind")], ["binding"]),
        ([rule(RBAC, "clusterroles", "bind", "reader")], ["binding"]),
        ([rule(RBAC, "clusterroles", "bind", "another")], []),
    ],
)
def test_nobody_gives_more_than_is_theirs(
    emulator: KubernetesEmulator, api: Any, more: list[Object], made: list[str]
) -> None:
    """What `escalate` and `bind` let through; a create has no name, so no resourceNames let one through."""
    held_to(emulator, READER, *bound(MAKES, *more))
    rbac: Any = client.RbacAuthorizationV1Api(api)
    to = [{"kind": "User", "apiGroup": RBAC, "name": "jo"}]
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "reader"}
    tries = {
        "role": lambda: rbac.create_cluster_role(
            thing(f"{RBAC}/v1", "ClusterRole", "new", None, rules=READER["rules"])
        ),
        "binding": lambda: rbac.create_cluster_role_binding(
            thing(f"{RBAC}/v1", "ClusterRoleBinding", "new", None, roleRef=reference, subjects=to)
        ),
    }
    before = emulator.objects()
    for name, do in tries.items():
        if name in made:
            do()
        else:
            said = refused(403, "Forbidden", do)
            assert "is attempting to grant RBAC permissions not currently held:" in said and "jo" in said
    assert len(emulator.objects()) == len(before) + len(made)


def test_a_role_that_stands_is_widened_by_its_name(emulator: KubernetesEmulator, api: Any) -> None:
    rbac, wider = client.RbacAuthorizationV1Api(api), {"rules": [rule("*", "*", "*")]}
    held_to(emulator, READER, *bound(MAKES, rule("", "secrets", "get,list")))
    said = refused(403, "Forbidden", rbac.patch_cluster_role, "reader", wider, _content_type=MERGE)
    assert '{APIGroups:[\\"*\\"], Resources:[\\"*\\"], Verbs:[\\"*\\"]}' in said
    assert emulator.objects()[f"clusterroles.{RBAC}//reader"]["rules"] == READER["rules"]
    emulator.add(*bound(MAKES, rule(RBAC, "clusterroles", "escalate", "reader")))
    rbac.patch_cluster_role("reader", wider, _content_type=MERGE)
    assert emulator.objects()[f"clusterroles.{RBAC}//reader"]["rules"] == wider["rules"]


def test_a_role_of_the_server_counts_as_it_stands(emulator: KubernetesEmulator) -> None:
    """`system:basic-user` taken away by somebody: then nobody signed in may ask who they are."""
    held_to(emulator, *bound(rule("", "pods", "get")))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    assert asked(emulator, REVIEW, **review).status == 201
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "system:basic-user"}
    emulator.add(thing(f"{RBAC}/v1", "ClusterRoleBinding", "system:basic-user", None, roleRef=reference, subjects=[]))
    assert asked(emulator, REVIEW, **review).status == 403


# What the server fills in and asks for, and what controllers and kubelets do

HELLO: Object = {"containers": [{"name": "a", "image": "hello", "ports": [{"containerPort": 80}], "livenessProbe": {}}]}


def test_the_server_fills_in_what_a_client_leaves_out(core: Any) -> None:
    made = core.create_namespaced_pod("shop", thing("v1", "Pod", "bare", spec=HELLO))
    (container,) = made.spec.containers
    assert (container.termination_message_path, container.image_pull_policy) == ("/dev/termination-log", "Always")
    assert (container.ports[0].protocol, made.spec.restart_policy, made.spec.dns_policy) == (
        "TCP",
        "Always",
        "ClusterFirst",
    )
    assert made.spec.termination_grace_period_seconds == 30 and made.spec.service_account_name == "default"
    tagged = {"containers": [{"name": "a", "image": "localhost:5000/hello:1"}]}
    made = core.create_namespaced_pod("shop", thing("v1", "Pod", "tagged", spec=tagged))
    assert made.spec.containers[0].image_pull_policy == "IfNotPresent"


def test_controllers_and_strategies_write_into_what_is_made(api: Any) -> None:
    apps, batch = client.AppsV1Api(api), client.BatchV1Api(api)
    template = {"metadata": {"labels": {"app": "x"}}, "spec": HELLO}
    of_x = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    older = {"annotations": {"deployment.kubernetes.io/revision": "7"}}
    made: Any = thing("apps/v1", "Deployment", "x", metadata=older, spec=of_x)
    deployment: Any = apps.create_namespaced_deployment("shop", made)
    assert deployment.metadata.annotations == {"deployment.kubernetes.io/revision": "1"}
    assert deployment.spec.strategy.type == "RollingUpdate" and deployment.spec.replicas == 1
    made = thing("batch/v1", "Job", "x", spec={"template": template})
    job: Any = batch.create_namespaced_job("shop", made)
    counted = {"batch.kubernetes.io/controller-uid": job.metadata.uid}
    assert job.spec.selector.match_labels == counted and counted.items() <= job.spec.template.metadata.labels.items()


def test_a_namespace_has_its_default_account_and_its_certificate_again(emulator: KubernetesEmulator, core: Any) -> None:
    core.create_namespace(thing("v1", "Namespace", "new", None))
    first = core.read_namespaced_service_account("default", "new").metadata.uid
    core.delete_namespaced_service_account("default", "new")
    core.delete_namespaced_config_map("kube-root-ca.crt", "new")
    assert core.read_namespaced_service_account("default", "new").metadata.uid != first
    assert core.read_namespaced_config_map("kube-root-ca.crt", "new").data
    core.delete_namespace("new")
    assert not [key for key in emulator.objects() if "/new" in key]


def test_services_get_addresses_of_their_own(core: Any) -> None:
    def service(name: str, **spec: Any) -> Any:
        return core.create_namespaced_service(
            "shop", thing("v1", "Service", name, spec=spec | {"ports": [{"port": 80} | port]})
        )

    port: Object = {}
    first, second = service("a"), service("b", type="NodePort")
    assert len({first.spec.cluster_ip, second.spec.cluster_ip}) == 2 and first.spec.type == "ClusterIP"
    taken, port = second.spec.ports[0].node_port, {"nodePort": second.spec.ports[0].node_port}
    assert 30000 <= taken < 32768
    assert "provided port is already allocated" in refused(422, "Invalid", service, "c", type="NodePort")
    port = {}
    asked = {"clusterIP": first.spec.cluster_ip}
    assert "provided IP is already allocated" in refused(422, "Invalid", service, "c", **asked)
    core.delete_namespaced_service("a", "shop")
    assert service("c", **asked).spec.cluster_ip == asked["clusterIP"]


def hook(**more: Any) -> Object:
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "DELETE"], "resources": ["configmaps"]}
    ]
    one = {
        "name": "guard.example.com",
        "rules": rules,
        "clientConfig": {"service": {"name": "guard", "namespace": "guard", "path": "/v"}},
    }
    return thing(
        "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "guard", None, webhooks=[one | more]
    )


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, True),
        ({"failurePolicy": "Ignore"}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "bank"}}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop"]}]}}, True),
        ({"objectSelector": {"matchLabels": {"app": "x"}}}, False),
    ],
)  # fmt: skip
def test_a_webhook_that_does_not_answer_fails_what_it_is_asked_about(
    emulator: KubernetesEmulator, core: Any, more: Object, asked: bool
) -> None:
    emulator.add(hook(**more))
    emulator.failing.add("guard.example.com")
    tries = (
        lambda: core.create_namespaced_config_map("shop", thing("v1", "ConfigMap", "new"), dry_run="All"),
        lambda: core.create_namespaced_config_map("shop", thing("v1", "ConfigMap", "new")),
        lambda: core.delete_namespaced_config_map(*SETTINGS),
    )
    before = emulator.objects()
    for do in tries:
        if asked:
            said = refused(500, "InternalError", do)
            assert "failed calling webhook" in said and "https://guard.guard.svc:443/v?timeout=10s" in said
        else:
            do()
    assert (emulator.objects() == before) is asked
    core.patch_namespaced_secret("opaque", "shop", {"metadata": {"labels": {"a": "b"}}})


def test_a_quota_lets_no_more_in(emulator: KubernetesEmulator, core: Any, api: Any) -> None:
    emulator.add(thing("v1", "ResourceQuota", "few", spec={"hard": {"configmaps": "1", "count/deployments.apps": "1"}}))
    said = refused(403, "Forbidden", core.create_namespaced_config_map, "shop", thing("v1", "ConfigMap", "more"))
    assert (
        'configmaps \\"more\\" is forbidden: exceeded quota: few, requested: configmaps=1, used: configmaps=1' in said
    )
    of_x: Any = {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": HELLO},
    }
    made: Any = thing("apps/v1", "Deployment", "more", spec=of_x)
    refused(403, "Forbidden", client.AppsV1Api(api).create_namespaced_deployment, "shop", made)
    core.delete_namespaced_config_map(*SETTINGS)
    core.create_namespaced_config_map("shop", thing("v1", "ConfigMap", "more"))


def test_a_kubelet_takes_the_grace_period(emulator: KubernetesEmulator, core: Any) -> None:
    emulator.lingering = True
    core.delete_namespaced_pod("db-0", "shop")
    ending = core.read_namespaced_pod("db-0", "shop").metadata
    assert ending.deletion_grace_period_seconds == 30 and ending.deletion_timestamp
    core.delete_namespaced_pod("db-0", "shop", grace_period_seconds=0)
    refused(404, "NotFound", core.read_namespaced_pod, "db-0", "shop")
    core.delete_namespaced_pod("once-x", "shop", grace_period_seconds=5)
    assert core.read_namespaced_pod("once-x", "shop").metadata.deletion_grace_period_seconds == 5
    emulator.kubelets_end_pods()
    refused(404, "NotFound", core.read_namespaced_pod, "once-x", "shop")
