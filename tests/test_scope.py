"""Scope under variation: other spellings, other orders, things that changed or came back, and evidence with holes."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import kit.store.store
from kit.case.case import Case
from kit.case.opening import open_case
from kit.evidence.intake import load_new_case
from tests import cases, command
from tests.command import RECORDINGS, SAMPLE, kit_json
from tests.families import Family, evidence_of
from tests.variation import Event, keys, said, scope_of, varied

STOLEN, VANISHED, ANONYMOUS = "stolen_sa_token", "vanished_deployment", "anonymous_access"


@cache
def truth(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((RECORDINGS / name / "ground_truth.json").read_text())
    return made


def of_type(scope: dict[str, Any], word: str) -> dict[str, Any]:
    """The one finding whose type ends like this."""
    (found,) = [finding for finding in scope.values() if finding["type"].endswith(word)]
    return dict(found)


def wanted(name: str, finding: dict[str, Any], listed: str = "pods") -> set[str]:
    told = truth(name)
    values = {**told["findings"], **told.get("more_findings", {})}[finding["id"]][listed]
    return {value["uid"] if isinstance(value, dict) else value for value in values}


def named_pods(name: str, finding: dict[str, Any]) -> set[str]:
    """The affected pods of a finding but for those that only the attacker's own hands put there: made, or commands run in them."""
    touched = {pod["uid"] for pod in truth(name)["attacker_touched_pods"]}
    return keys(finding, "pod") - (touched - wanted(name, finding))


def hostile_event(events: list[Event], verb: str, resource: str) -> Event:
    """An event of the attacker of stolen_sa_token."""
    calls = set(truth(STOLEN)["attacker_calls"])
    return next(
        event
        for event in events
        if event["auditID"] in calls and event["verb"] == verb and event["objectRef"]["resource"] == resource
    )


def another(event: Event, number: int = 1, **changes: Any) -> Event:
    """The same request again: another auditID, moments later, with members replaced."""
    made = copy.deepcopy(event) | {"auditID": f"{number:08x}-0000-4000-8000-000000000000"}
    at = event["requestReceivedTimestamp"]
    made |= {"requestReceivedTimestamp": at[:-1] + f"{number % 10}Z"} if at.endswith("Z") else {}
    return made | changes


# ── the same evidence, otherwise put ─────────────────────────────────────────────────────────────────────────────────


def test_order_stages_and_proxies_change_nothing(tmp_path: Path) -> None:
    def mixed(events: list[Event]) -> list[Event]:
        received = [{**event, "stage": "RequestReceived"} for event in events[::7]]
        for event in received:
            event.pop("responseStatus", None)
            event.pop("responseObject", None)
        for event in events[::3]:
            event["sourceIPs"] = ["192.0.2.250", *event["sourceIPs"]]
        every = [*events, *received]
        random.Random(3).shuffle(every)
        return every

    scope = scope_of(varied(STOLEN, tmp_path, events=mixed))
    for finding in scope.values():
        assert named_pods(STOLEN, finding) == wanted(STOLEN, finding)
        assert keys(finding, "secret") == wanted(STOLEN, finding, "secrets_read")


def test_a_log_in_pieces_is_one_log(tmp_path: Path) -> None:
    evidence = varied(STOLEN, tmp_path)
    lines = gzip.decompress((evidence / "audit.jsonl.gz").read_bytes()).splitlines(keepends=True)
    (evidence / "audit.jsonl.gz").unlink()
    for number in range(5):
        (evidence / f"piece-{number}.log").write_bytes(b"".join(lines[number::5]))
    for finding in scope_of(evidence).values():
        assert named_pods(STOLEN, finding) == wanted(STOLEN, finding)


@pytest.mark.parametrize(
    "spelling", [str.upper, str.lower, lambda text: text.rstrip("s").capitalize(), lambda text: text.rstrip("s")]
)
def test_a_workload_type_in_any_spelling(tmp_path: Path, spelling: Any) -> None:
    def spelt(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            workload = finding["Resource"]["KubernetesDetails"].get("KubernetesWorkloadDetails")
            if workload and workload.get("Type"):
                workload["Type"] = spelling(workload["Type"])
        return findings

    for finding in scope_of(varied(VANISHED, tmp_path, findings=spelt)).values():
        assert named_pods(VANISHED, finding) == wanted(VANISHED, finding)


def test_findings_without_uids(tmp_path: Path) -> None:
    def without(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            finding["Resource"]["KubernetesDetails"].get("KubernetesWorkloadDetails", {}).pop("Uid", None)
        return findings

    for finding in scope_of(varied(VANISHED, tmp_path, findings=without)).values():
        assert named_pods(VANISHED, finding) == wanted(VANISHED, finding)


def test_a_workload_that_no_evidence_shows_is_a_limit_not_an_empty_list(tmp_path: Path) -> None:
    def renamed(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            workload = finding["Resource"]["KubernetesDetails"].get("KubernetesWorkloadDetails")
            if workload:
                workload |= {"Name": "nowhere", "Uid": ""}
        return findings

    for finding in scope_of(varied(VANISHED, tmp_path, findings=renamed)).values():
        assert keys(finding, "pod") <= {pod["uid"] for pod in truth(VANISHED)["attacker_touched_pods"]}
        assert "nowhere" in said(finding)


# ── what was once counts ─────────────────────────────────────────────────────────────────────────────────────────────


def _default_sa_case(tmp_path: Path, **change: Any) -> dict[str, Any]:
    """A ClusterRoleBinding for the service accounts of a namespace, made by the call of a Policy finding."""
    binding_uid = "11111111-2222-4333-8444-555555555555"

    def bound(events: list[Event]) -> list[Event]:
        model = next(
            event for event in events if event["verb"] == "create" and event["objectRef"]["resource"] == "rolebindings"
        )
        body = {
            "kind": "ClusterRoleBinding",
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {
                "name": "debug",
                "uid": binding_uid,
                "creationTimestamp": model["requestReceivedTimestamp"][:19] + "Z",
            },
            "subjects": change["subjects"],
            "roleRef": {"kind": "ClusterRole", "name": "edit"},
        }
        reference = {"resource": "clusterrolebindings", "name": "debug", "apiGroup": "rbac.authorization.k8s.io"}
        uri = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        made = another(model, 1, objectRef=reference, requestURI=uri, requestObject=body, responseObject=body)
        emptied = another(
            made, 2, verb="update", requestURI=f"{uri}/debug", responseObject={**body, "subjects": []},
            responseStatus={"metadata": {}, "code": 200}, objectRef={**reference, "uid": binding_uid},
        )  # fmt: skip
        other = another(made, 3, objectRef={**reference, "name": "other"})
        other["responseObject"] = {**body, "metadata": {**body["metadata"], "name": "other", "uid": binding_uid[::-1]}}
        return [*events, made, emptied, other]

    def about(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            if finding["Type"].startswith("Policy:"):
                action = finding["Service"]["Action"]
                action["KubernetesRoleBindingDetails"] |= {
                    "Kind": "ClusterRoleBinding",
                    "Name": "debug",
                    "Uid": binding_uid,
                }
                action["KubernetesApiCallAction"] |= {
                    "RequestUri": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                    "Resource": "clusterrolebindings",
                    "ResourceName": "debug",
                }
                action["KubernetesApiCallAction"].pop("Namespace")
        return findings

    return of_type(scope_of(varied(ANONYMOUS, tmp_path, events=bound, findings=about)), "AnonymousAccessGranted")


def _accounts(name: str) -> dict[str, str]:
    """uid of every pod of a recording → its service account, from the bodies in dump and log."""
    bodies = json.loads((RECORDINGS / name / "cluster" / "pods.json").read_text())["items"]
    log = gzip.decompress((RECORDINGS / name / "audit.jsonl.gz").read_bytes()).splitlines()
    bodies += [
        event["responseObject"]
        for event in map(json.loads, log)
        if event.get("responseObject", {}).get("kind") == "Pod"
    ]
    return {
        one["metadata"]["uid"]: f"{one['metadata']['namespace']}/{one['spec'].get('serviceAccountName', 'default')}"
        for one in bodies
    }


def test_subjects_that_were_taken_out_of_a_binding_later_stay_in_scope(tmp_path: Path) -> None:
    accounts = _accounts(ANONYMOUS)
    account = accounts[truth(ANONYMOUS)["all_pods"][0]["uid"]]
    namespace, _, name = account.partition("/")
    finding = _default_sa_case(tmp_path, subjects=[{"kind": "ServiceAccount", "namespace": namespace, "name": name}])
    assert keys(finding, "pod") == {uid for uid, of in accounts.items() if of == account}
    assert keys(finding, "created") == {"clusterrolebindings/debug"}, (
        "another binding made by the same kind of request is not this one"
    )


def test_a_group_of_service_accounts_means_them_all(tmp_path: Path) -> None:
    namespace = truth(ANONYMOUS)["all_pods"][0]["namespace"]
    finding = _default_sa_case(tmp_path, subjects=[{"kind": "Group", "name": f"system:serviceaccounts:{namespace}"}])
    expected = {uid for uid, of in _accounts(ANONYMOUS).items() if of.startswith(f"{namespace}/")}
    assert keys(finding, "pod") == expected and len(expected) > 3


# ── whose calls ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _call_as(event: Event, number: int, user: dict[str, Any], **more: Any) -> Event:
    return another(event, number, user=user, sourceIPs=["198.51.100.77"], userAgent="python-requests/2.31.0", **more)


def test_the_token_of_a_pod_that_the_attacker_made_is_the_attackers(tmp_path: Path) -> None:
    def used(events: list[Event]) -> list[Event]:
        made = hostile_event(events, "create", "pods")
        body = made["responseObject"]
        account = body["spec"].get("serviceAccountName", "default")
        user = {
            "username": f"system:serviceaccount:{body['metadata']['namespace']}:{account}",
            "extra": {"authentication.kubernetes.io/pod-uid": [body["metadata"]["uid"]]},
        }
        return [*events, _call_as(hostile_event(events, "get", "secrets"), 7, user)]

    scope = scope_of(varied(STOLEN, tmp_path, events=used))
    assert another({"requestReceivedTimestamp": ""}, 7)["auditID"] in of_type(scope, "SecretsAccessed")["calls"]


def test_a_service_account_that_the_attacker_made_is_the_attackers(tmp_path: Path) -> None:
    def used(events: list[Event]) -> list[Event]:
        read = hostile_event(events, "get", "secrets")
        body = {
            "kind": "ServiceAccount",
            "apiVersion": "v1",
            "metadata": {"name": "backup", "namespace": "store", "uid": "u-9"},
        }
        reference = {"resource": "serviceaccounts", "namespace": "store", "name": "backup", "apiVersion": "v1"}
        created = another(
            read, 8, verb="create", objectRef=reference, requestURI="/api/v1/namespaces/store/serviceaccounts",
            responseObject=body, responseStatus={"metadata": {}, "code": 201},
        )  # fmt: skip
        user = {"username": "system:serviceaccount:store:backup", "uid": "u-9"}
        return [*events, created, _call_as(read, 9, user)]

    scope = scope_of(varied(STOLEN, tmp_path, events=used))
    finding = of_type(scope, "SecretsAccessed")
    assert another({"requestReceivedTimestamp": ""}, 9)["auditID"] in finding["calls"]
    (through,) = {one["through"] for one in finding["subjects"] if one["kind"] == "secret" and one["through"]}
    assert through == "identity:system:serviceaccount:store:backup"


@pytest.mark.parametrize(
    ("ended", "still"),
    [
        ({"verb": "delete"}, False),
        ({"verb": "deletecollection"}, False),
        ({"verb": "delete", "query": "?dryRun=All"}, True),
        ({"verb": "deletecollection", "query": "?labelSelector=app%3Dweb"}, True),
        ({"verb": "delete", "again": True}, True),
    ],
    ids=["deleted", "deleted-with-others", "dry-run", "only-some-deleted", "made-again-by-the-attacker"],
)
def test_a_service_account_that_somebody_made_anew_is_the_attackers_no_more(
    tmp_path: Path, ended: dict[str, Any], still: bool
) -> None:
    # The log has no bodies, so nothing but the name tells which account a call is of.
    def anew(events: list[Event]) -> list[Event]:
        read = hostile_event(events, "get", "secrets")
        times = sorted(event["requestReceivedTimestamp"] for event in events)
        reference = {"resource": "serviceaccounts", "namespace": "store", "name": "backup", "apiVersion": "v1"}
        uri = "/api/v1/namespaces/store/serviceaccounts"
        admin = {"username": "ops-zoe", "groups": ["system:authenticated"]}

        def at(place: int, number: int, **more: Any) -> Event:
            made = another(read, number, responseStatus={"metadata": {}, "code": 200}, **more)
            return made | {"requestReceivedTimestamp": times[place], "stageTimestamp": times[place]}

        made = {"verb": "create", "objectRef": reference, "requestURI": uri}
        name = "backup" if ended["verb"] == "delete" else None
        path = f"{uri}/{name}" if name else uri
        gone = {
            "verb": ended["verb"],
            "objectRef": {**reference, "name": name},
            "requestURI": f"{path}{ended.get('query', '')}",
        }
        by = {} if "again" in ended else {"user": admin, "sourceIPs": ["192.0.2.99"]}
        user = {"username": "system:serviceaccount:store:backup", "groups": ["system:serviceaccounts"]}
        return [
            *events,
            at(-40, 60, **made),
            at(-30, 61, **gone, user=admin, sourceIPs=["192.0.2.99"]),
            at(-20, 62, **made, **by),
            at(-10, 63, user=user, sourceIPs=["198.51.100.77"]),
        ]

    finding = of_type(scope_of(varied(STOLEN, tmp_path, events=anew)), "SecretsAccessed")
    ids = {number: another({"requestReceivedTimestamp": ""}, number)["auditID"] for number in (60, 63)}
    assert ids[60] in finding["calls"] and (ids[63] in finding["calls"]) == still


@pytest.mark.parametrize(("query", "seen"), [("", True), ("?dryRun=All", False)])
def test_who_comes_in_through_a_binding_that_the_attacker_changed_is_possible(
    tmp_path: Path, query: str, seen: bool
) -> None:
    def let_in(events: list[Event]) -> list[Event]:
        read = hostile_event(events, "get", "secrets")
        reference = {"resource": "clusterrolebindings", "name": "old", "apiGroup": "rbac.authorization.k8s.io"}
        patched = another(
            read, 64, verb="patch", objectRef=reference, responseStatus={"metadata": {}, "code": 200},
            requestURI=f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/old{query}",
        )  # fmt: skip
        reason = 'RBAC: allowed by ClusterRoleBinding "old" of ClusterRole "view" to User "eve@example.com"'
        through = _call_as(
            read, 65, {"username": "eve@example.com"}, annotations={"authorization.k8s.io/reason": reason}
        )
        through["requestReceivedTimestamp"] = through["stageTimestamp"] = events[-1]["stageTimestamp"]
        return [*events, patched, through]

    finding = of_type(scope_of(varied(STOLEN, tmp_path, events=let_in)), "SecretsAccessed")
    ids = {number: another({"requestReceivedTimestamp": ""}, number)["auditID"] for number in (64, 65)}
    assert ids[64] in finding["calls"] and ids[65] not in finding["calls"]
    assert (ids[65] in finding["possible_calls"]) == seen == ('ClusterRoleBinding "old"' in said(finding))


def test_a_finding_that_does_not_say_where_its_call_came_from_accuses_nobody_by_chance(tmp_path: Path) -> None:
    def vague(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            call = finding["Service"].get("Action", {}).get("KubernetesApiCallAction")
            for name in ("SourceIps", "RemoteIpDetails", "UserAgent", "RequestUri") if call else ():
                call.pop(name, None)
        return findings

    told = set(truth(STOLEN)["attacker_calls"])
    for finding in scope_of(varied(STOLEN, tmp_path, findings=vague)).values():
        assert set(finding["calls"]) <= told
        if not finding["calls"] and "Runtime" not in finding["type"]:
            assert "cannot be told" in said(finding)


def test_what_the_client_writes_may_not_clear_it(tmp_path: Path) -> None:
    def forged(events: list[Event]) -> list[Event]:
        calls = set(truth(STOLEN)["attacker_calls"])
        for event in events:
            if event["auditID"] in calls:
                event["sourceIPs"] = ["10.0.0.1", "192.0.2.10", *event["sourceIPs"]]
        return events

    scope = scope_of(varied(STOLEN, tmp_path, events=forged))
    assert set(of_type(scope, "SecretsAccessed")["calls"]) == set(truth(STOLEN)["attacker_calls"])


def test_an_address_that_others_use_too_says_who(tmp_path: Path) -> None:
    def shared(events: list[Event]) -> list[Event]:
        address = truth(STOLEN)["attacker"]["source_ips"][0]
        event = hostile_event(events, "get", "secrets")
        return [*events, another(event, 5, user={"username": "ops-zoe", "groups": []}, sourceIPs=[address])]

    finding = of_type(scope_of(varied(STOLEN, tmp_path, events=shared)), "SecretsAccessed")
    assert "not attributed: ops-zoe (1 calls)" in said(finding)


# ── what was done ────────────────────────────────────────────────────────────────────────────────────────────────────


def _deeds(tmp_path: Path, *made: dict[str, Any], dump: Any = None) -> dict[str, Any]:
    """The scope of the finding about secrets, when the attacker's last calls are these too."""

    def more(events: list[Event]) -> list[Event]:
        read = hostile_event(events, "get", "secrets")
        read["requestReceivedTimestamp"], read["stageTimestamp"] = (
            events[-1][name] for name in ("requestReceivedTimestamp", "stageTimestamp")
        )
        ok = {"responseStatus": {"metadata": {}, "code": 200}}
        return [*events, *(another(read, number, **{**ok, **one}) for number, one in enumerate(made, 1))]

    return of_type(scope_of(varied(STOLEN, tmp_path, events=more, dump=dump)), "SecretsAccessed")


def test_a_namespace_has_no_namespace_in_its_key(tmp_path: Path) -> None:
    reference = {"resource": "namespaces", "namespace": "pay", "name": "pay", "apiVersion": "v1"}
    finding = _deeds(tmp_path, {"verb": "delete", "objectRef": reference, "requestURI": "/api/v1/namespaces/pay"})
    assert "namespaces/pay" in keys(finding, "deleted")


def test_a_dry_run_does_nothing_wherever_it_is_asked_for(tmp_path: Path) -> None:
    pod = next(pod for pod in truth(STOLEN)["all_pods"] if not pod["deleted"])
    reference = {
        "resource": "pods",
        "namespace": pod["namespace"],
        "name": pod["name"],
        "uid": pod["uid"],
        "apiVersion": "v1",
    }
    uri = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}"
    options = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"]}
    finding = _deeds(
        tmp_path,
        {"verb": "delete", "objectRef": reference, "requestURI": uri, "requestObject": options},
        {"verb": "patch", "objectRef": reference, "requestURI": f"{uri}?fieldManager=x&dryRun=All"},
    )
    assert f"pods/{pod['namespace']}/{pod['name']}" not in keys(finding, "deleted") | keys(finding, "changed")


def test_a_proxied_request_neither_deletes_nor_changes_the_service_and_the_kubelets_run_is_a_command(
    tmp_path: Path,
) -> None:
    service = {"resource": "services", "subresource": "proxy", "namespace": "store", "name": "web", "apiVersion": "v1"}
    node = {"resource": "nodes", "subresource": "proxy", "name": "ip-x", "apiVersion": "v1"}
    finding = _deeds(
        tmp_path,
        {"verb": "delete", "objectRef": service, "requestURI": "/api/v1/namespaces/store/services/web/proxy/cart"},
        {"verb": "create", "objectRef": node, "requestURI": "/api/v1/nodes/ip-x/proxy/run/store/db-0/db?cmd=id"},
    )
    assert not {"services/store/web"} & (keys(finding, "deleted") | keys(finding, "changed"))
    assert "pods/store/db-0" in keys(finding, "exec")


def test_a_forwarded_port_and_a_kubelets_list_are_looked_at_and_run_nothing(tmp_path: Path) -> None:
    pod = {"resource": "pods", "subresource": "portforward", "namespace": "store", "name": "db-0", "apiVersion": "v1"}
    node = {"resource": "nodes", "subresource": "proxy", "name": "ip-x", "apiVersion": "v1"}
    uri = "/api/v1/namespaces/store/pods/db-0/portforward"
    finding = _deeds(
        tmp_path,
        {"verb": "create", "objectRef": pod, "requestURI": uri, "responseStatus": {"code": 101}},
        {"verb": "get", "objectRef": node, "requestURI": "/api/v1/nodes/ip-x/proxy/pods"},
    )
    assert {"pods/store/db-0", "nodes/ip-x"} <= keys(finding, "forwarded")
    assert not {"pods/store/db-0", "nodes/ip-x"} & keys(finding, "exec")


def test_a_container_added_to_a_running_pod_brings_its_image_in_and_runs_there(tmp_path: Path) -> None:
    reference = {"resource": "pods", "subresource": "ephemeralcontainers", "namespace": "store", "name": "db-0"}
    body = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "docker.io/library/busybox:1.36"}]}}
    uri = "/api/v1/namespaces/store/pods/db-0/ephemeralcontainers"
    finding = _deeds(
        tmp_path,
        {"verb": "patch", "objectRef": reference, "requestURI": uri, "requestObject": body, "level": "Request"},
    )
    assert "pods/store/db-0" in keys(finding, "exec") & keys(finding, "changed")
    assert "docker.io/library/busybox:1.36" in keys(finding, "introduced") | keys(finding, "introduced", "possible")


@pytest.mark.parametrize(
    ("verb", "uri", "body", "kind", "key"),
    [
        (
            "patch",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/store/rolebindings/old",
            {
                "roleRef": {"kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "Group", "name": "platform-admins"}],
            },
            "granted",
            "ClusterRole view in store to Group platform-admins",
        ),
        (
            "update",
            "/apis/apps/v1/namespaces/store/deployments/old",
            {"spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "a", "image": "shop/old:1"}]}}}},
            "introduced",
            "shop/old:1",
        ),
    ],
)
def test_what_an_object_has_that_was_written_over_may_have_been_there_before(
    tmp_path: Path, verb: str, uri: str, body: dict[str, Any], kind: str, key: str
) -> None:
    whole = {"metadata": {"name": "old", "namespace": "store", "uid": "u-9"}, **body}
    asked = {"metadata": {"labels": {"a": "b"}}} if verb == "patch" else whole
    reference = {"resource": uri.split("/")[-2], "apiGroup": uri.split("/")[2], "namespace": "store", "name": "old"}
    finding = _deeds(
        tmp_path,
        {"verb": verb, "objectRef": reference, "requestURI": uri, "requestObject": asked, "responseObject": whole},
    )
    assert key in keys(finding, kind, "possible") and key not in keys(finding, kind)


def _names(namespace: str) -> list[str]:
    dumped = json.loads((RECORDINGS / STOLEN / "cluster" / "secrets.json").read_text())["items"]
    return sorted(
        f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in dumped
        if namespace in ("", one["metadata"]["namespace"])
    )


@pytest.mark.parametrize(
    ("query", "affected", "possible"),
    [
        ("", lambda every: every, lambda every: []),
        ("limit=2", lambda every: every[:2], lambda every: []),
        ("fieldSelector=metadata.namespace%3Dkube-system", lambda every: _names("kube-system"), lambda every: []),
        (
            "fieldSelector=metadata.namespace%21%3Dkube-system",
            lambda every: [one for one in every if not one.startswith("kube-system/")],
            lambda every: [],
        ),
        ("fieldSelector=type%3DOpaque", lambda every: [], lambda every: every),
        ("labelSelector=app%3Dweb", lambda every: [], lambda every: every),
    ],
)
def test_a_list_of_secrets_reads_what_its_selectors_and_its_page_let_in(
    tmp_path: Path, query: str, affected: Any, possible: Any
) -> None:
    plain = _deeds(tmp_path / "plain")
    reference = {"resource": "secrets", "apiVersion": "v1"}
    finding = _deeds(
        tmp_path / "listed", {"verb": "list", "objectRef": reference, "requestURI": f"/api/v1/secrets?{query}"}
    )
    before, every = keys(plain, "secret"), _names("")
    assert keys(finding, "secret") == before | set(affected(every))
    assert keys(finding, "secret", "possible") == set(possible(every)) - before


def test_a_secret_that_was_made_anew_after_the_list_was_read_in_its_earlier_life(tmp_path: Path) -> None:
    name = _names("kube-system")[0].partition("/")[2]
    reference = {"resource": "secrets", "namespace": "kube-system", "name": name, "apiVersion": "v1"}
    uri = f"/api/v1/namespaces/kube-system/secrets/{name}"
    admin = {"user": {"username": "ops-zoe", "groups": []}, "sourceIPs": ["192.0.2.99"]}

    def newer(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in items:
            if resource == "secrets" and one["metadata"]["name"] == name:
                one["metadata"]["creationTimestamp"] = "2099-01-01T00:00:00Z"
        return items

    finding = _deeds(
        tmp_path,
        {
            "verb": "list",
            "objectRef": {"resource": "secrets", "namespace": "kube-system"},
            "requestURI": "/api/v1/namespaces/kube-system/secrets",
        },
        {"verb": "delete", "objectRef": reference, "requestURI": uri, **admin},
        {
            "verb": "create",
            "objectRef": reference,
            "requestURI": uri,
            "responseStatus": {"metadata": {}, "code": 201},
            **admin,
        },
        dump=newer,
    )
    assert f"kube-system/{name}" in keys(finding, "secret")


def test_an_audit_id_that_two_requests_bear_is_cited_by_its_line(tmp_path: Path) -> None:
    def again(events: list[Event]) -> list[Event]:
        read = hostile_event(events, "get", "secrets")
        innocent = another(events[0], 1, auditID=read["auditID"])
        return [innocent, *events]

    evidence = varied(STOLEN, tmp_path, events=again)
    finding = of_type(scope_of(evidence), "SecretsAccessed")
    refs = {why["ref"] for one in finding["subjects"] if one["kind"] == "secret" for why in one["why"]}
    lines = [ref for ref in refs if ref.startswith("line:")]
    assert lines
    text = json.loads(kit.open_case(tmp_path / "case").raw(lines[0]))
    assert text["verb"] == "get" and text["objectRef"]["resource"] == "secrets"


# ── evidence with holes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_dump_the_deleted_and_the_made_are_still_there(tmp_path: Path) -> None:
    for finding in scope_of(varied(VANISHED, tmp_path, without=["cluster"])).values():
        assert named_pods(VANISHED, finding) == wanted(VANISHED, finding)
        assert "There is no cluster dump" in said(finding)
        assert not any(subject["standing"] for subject in finding["subjects"])


def test_findings_alone_name_what_they_name_and_say_the_rest(tmp_path: Path) -> None:
    scope = scope_of(varied(VANISHED, tmp_path, without=["cluster", "audit.jsonl.gz", "cloudtrail.json.gz"]))
    runtime = of_type(scope, "C&CActivity.B!DNS")
    assert keys(runtime, "pod") == wanted(VANISHED, runtime)
    assert keys(runtime, "node") == wanted(VANISHED, runtime, "nodes"), "the instance is known to be this node"
    assert all("There is no audit log" in said(finding) for finding in scope.values())
    narrowed = scope_of(tmp_path / "evidence", "--start", "2020-01-01", "--end", "2020-01-02")
    assert all("There is no audit log" in said(finding) for finding in narrowed.values())


def test_an_account_that_only_a_default_would_name_is_not_named(tmp_path: Path) -> None:
    def bare(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            finding["Resource"]["KubernetesDetails"].get("KubernetesWorkloadDetails", {}).pop(
                "ServiceAccountName", None
            )
        return findings

    scope = scope_of(varied(VANISHED, tmp_path, without=["cluster", "audit.jsonl.gz"], findings=bare))
    assert keys(of_type(scope, "C&CActivity.B!DNS"), "service_account") == set()


def test_bodies_that_were_not_logged_are_a_limit(tmp_path: Path) -> None:
    def bare(events: list[Event]) -> list[Event]:
        for event in events:
            event["level"] = "Metadata"
            event.pop("requestObject", None)
            event.pop("responseObject", None)
        return events

    finding = of_type(scope_of(varied(VANISHED, tmp_path, events=bare)), "WorkloadDeployed")
    assert keys(finding, "pod") == set()
    assert "bodies were not logged" in said(finding)


def test_a_dump_without_pods_and_one_of_a_single_namespace(tmp_path: Path) -> None:
    finding = of_type(scope_of(varied(STOLEN, tmp_path / "a", without=["pods.json"])), "SecretsAccessed")
    assert "The cluster dump has no pods" in said(finding)

    def only(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in items if one["metadata"].get("namespace", "kube-system") == "kube-system"]

    finding = of_type(scope_of(varied(STOLEN, tmp_path / "b", dump=only)), "SecretsAccessed")
    pods = [one for one in finding["subjects"] if one["kind"] == "pod" and one["certainty"] == "affected"]
    assert pods and not any(one["standing"] is False and one["deleted_at"] is None for one in pods)
    assert "The cluster dump has no pods of" in said(finding)


def test_a_dump_that_is_older_than_a_deletion(tmp_path: Path) -> None:
    plain = of_type(scope_of(varied(STOLEN, tmp_path / "plain")), "SecretsAccessed")
    gone = next(one for one in plain["subjects"] if one["kind"] == "pod" and one["deleted_at"] and one["created_at"])

    def older(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if resource != "pods":
            return items
        ghost = copy.deepcopy(items[0])
        ghost["metadata"] |= {"name": gone["name"], "namespace": gone["namespace"], "uid": gone["uid"]}
        ghost["metadata"].pop("deletionTimestamp", None)
        ghost["spec"]["serviceAccountName"] = "api"
        return [*items, ghost]

    finding = of_type(scope_of(varied(STOLEN, tmp_path / "older", dump=older)), "SecretsAccessed")
    (same,) = [one for one in finding["subjects"] if one["key"] == gone["key"] and one["kind"] == "pod"]
    assert (same["standing"], same["deleted_at"]) == (False, gone["deleted_at"])


def test_a_window_beyond_the_log_is_not_called_recorded(tmp_path: Path) -> None:
    evidence = varied(STOLEN, tmp_path)
    finding = of_type(scope_of(evidence, "--start", "2020-01-01"), "SecretsAccessed")
    assert "The audit log does not cover 2020-01-01 00:00:00 UTC to" in said(finding)


def test_a_window_narrows_what_was_done_in_aws_too(tmp_path: Path) -> None:
    evidence = varied(STOLEN, tmp_path)
    every = of_type(scope_of(evidence), "SecretsAccessed")
    assert every["aws_calls"]
    early = of_type(scope_of(evidence, "--end", every["window"]["start"], "--start", "2020-01-01"), "SecretsAccessed")
    assert early["aws_calls"] == [] and early["calls"] == []


def test_a_finding_about_another_cluster_takes_nothing_of_this_one(tmp_path: Path) -> None:
    def elsewhere(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        findings[0]["Resource"]["EksClusterDetails"] |= {
            "Name": "other",
            "Arn": "arn:aws:eks:eu-west-1:111122223333:cluster/other",
        }
        return findings

    evidence = varied(STOLEN, tmp_path, findings=elsewhere)
    kit_json("new", tmp_path / "case", evidence, "--cluster", truth(STOLEN)["cluster"])
    foreign = [one for one in scope_of(evidence).values() if "This finding is about cluster other" in said(one)]
    assert foreign
    assert all(one["subjects"] == [] and one["calls"] == [] for one in foreign)


@pytest.mark.parametrize(
    "odd",
    [
        {"Username": 7},
        {"Username": ["a"]},
        {"Groups": "system:masters"},
        {"Uid": 3},
    ],
)
def test_members_of_a_wrong_type_do_not_end_it(tmp_path: Path, odd: dict[str, Any]) -> None:
    def wrong(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            finding["Resource"]["KubernetesDetails"].get("KubernetesUserDetails", {}).update(odd)
            call = finding["Service"].get("Action", {}).get("KubernetesApiCallAction", {})
            call |= {"UserAgent": 1, "RequestUri": {}} if call else {}
            finding["Service"]["Detection"] = {
                "Sequence": {"Signals": [None, {"Type": "FINDING"}], "Resources": [None, {"Data": None}]}
            }
        return findings

    assert scope_of(varied(STOLEN, tmp_path, findings=wrong))


def test_what_was_deleted_with_others_of_its_kind_is_gone_from_then_on() -> None:
    """A collection delete with a response names what it deleted; that of a namespace that goes has none, and ends all of its kind."""
    inventory = Case(cases.shared(SAMPLE)).inventory
    together = [
        one for one in inventory.things.values() if any("with others of its kind" in why.says for why in one.why)
    ]
    assert {"rolebindings", "serviceaccounts", "services"} & {one.resource for one in together}
    for one in together:
        assert one.deleted_at and one.standing is False
        assert one not in inventory.at(one.deleted_at) and (
            one.created_at is None or one in inventory.at(one.created_at)
        )


def test_the_log_is_asked_once_for_what_several_findings_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's seventeen findings have five callers; each question is a pass over a long log."""
    case = tmp_path / "case"
    load_new_case(case, [str(SAMPLE)])
    asked, rows = list[str](), kit.store.store.Store.rows

    def counted(store: kit.store.store.Store, sql: str, **values: Any) -> list[dict[str, Any]]:
        asked.extend([f"{sql} {sorted(values.items())!r}"] if " audit " in sql else [])
        return rows(store, sql, **values)

    monkeypatch.setattr(kit.store.store.Store, "rows", counted)
    first = open_case(case).scope
    events = [one for one in asked if one.startswith("SELECT audit_id, received_at, stage_at, verb")]
    assert len(asked) <= 105 and len(set(events)) == len(events) > 5
    assert first["findings"]


@pytest.mark.parametrize("command", ["scope", "answers"])
def test_a_large_store_answers_like_one_that_fits_into_memory(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.shared(RECORDINGS / STOLEN)
    small = cases.printed(command, of=case)
    monkeypatch.setattr(kit.store.store, "SMALL", 0)
    assert kit_json(command, case) == small


@pytest.mark.parametrize("most", [0, 10, 1000])
def test_a_scope_does_not_depend_on_whose_events_are_held_in_memory(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nobody, of some callers while others are asked for in the log, of most."""
    case = cases.shared(RECORDINGS / STOLEN)
    small = cases.printed("scope", of=case)
    relations, asked = set[str](), kit.store.store.Store.events_of

    def counted(store: kit.store.store.Store, among: str, values: Mapping[str, Any]) -> str:
        relations.add(relation := asked(store, among, values))
        return relation

    monkeypatch.setattr(kit.store.store, "SMALL", 0)
    monkeypatch.setattr(kit.store.store, "MOST_HELD", most)
    monkeypatch.setattr(kit.store.store.Store, "events_of", counted)
    assert kit_json("scope", case) == small
    assert ("audit" in relations) == (most < 1000) and "held" in relations  # what nobody can have called is held too


def test_a_store_tells_auditids_of_several_requests_from_those_of_several_stages(tmp_path: Path) -> None:
    """One request of two stages, two requests under one id that a client chose, and one request alone."""
    with gzip.open(RECORDINGS / STOLEN / "audit.jsonl.gz") as log:
        event = json.loads(log.readline())
    one = event | {"auditID": "of-two-stages"}
    lines = [
        one | {"stage": "ResponseStarted"},
        one | {"stage": "ResponseComplete"},
        event | {"auditID": "chosen", "verb": "get"},
        event | {"auditID": "chosen", "verb": "list"},
        event | {"auditID": "alone"},
    ]
    (tmp_path / "audit.jsonl").write_text("\n".join(map(json.dumps, lines)))
    load_new_case(tmp_path / "case", [str(tmp_path / "audit.jsonl")])
    store = kit.store.store.Store(tmp_path / "case")
    ids = ["of-two-stages", "chosen", "alone"]
    assert store.reused_among(ids) == store.reused_audit_ids == {"chosen"}
    events = store.rows("SELECT audit_id, file, item FROM audit ORDER BY item")
    assert [ref.partition(":")[0] for ref in store.event_refs(events)] == ["audit", "audit", "line", "line", "audit"]


def _an_hour_before(finding: dict[str, Any]) -> None:
    for name in ("EventFirstSeen", "EventLastSeen"):
        moment = datetime.fromisoformat(finding["Service"][name]) - timedelta(hours=1)
        finding["Service"][name] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("kind", ["deployments", "services"])
@pytest.mark.parametrize("then", [True, False])
def test_a_workload_named_without_a_uid_is_sure_only_if_it_existed_then(kind: str, then: bool, tmp_path: Path) -> None:
    def changed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in found:
            workload = one["Resource"]["KubernetesDetails"].get("KubernetesWorkloadDetails") or {}
            if workload.pop("Uid", None):
                workload["Type"] = kind
            if not then:
                _an_hour_before(one)
        return found

    evidence = varied("oidc_user_impact", tmp_path, findings=changed)
    finding = next(one for name, one in scope_of(evidence).items() if name.startswith("83f76076"))
    assert bool(keys(finding, "pod")) is then and (then or keys(finding, "pod", "possible"))
    assert ("the evidence shows one of that name at another time only" in said(finding)) is not then


@pytest.mark.parametrize("then", [True, False])
def test_a_binding_named_without_a_uid_gives_rights_surely_only_if_it_existed_then(then: bool, tmp_path: Path) -> None:
    def changed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in found:
            (one["Service"]["Action"].get("KubernetesRoleBindingDetails") or {}).pop("Uid", None)
            if not then:
                _an_hour_before(one)
        return found

    evidence = varied("default_sa_admin", tmp_path, findings=changed)
    finding = next(one for name, one in scope_of(evidence).items() if name.startswith("561f6b9e"))
    assert ("checkout/default" in keys(finding, "service_account")) is then
    assert ("checkout/default" in keys(finding, "service_account", "possible")) is not then


@pytest.mark.parametrize("then", [True, False])
def test_a_command_was_run_surely_in_a_pod_of_that_name_only_if_it_existed_then(then: bool, tmp_path: Path) -> None:
    """The finding about the secrets names no pod; the exec by the same attacker names one without its uid."""
    uid = "34f5fcd3-aa7c-4987-8f04-6f6e37bc0f02"

    def later(body: Any) -> Any:
        about = (body or {}).get("metadata") or {}
        if then or about.get("uid") != uid:
            return body
        return body | {"metadata": about | {"creationTimestamp": "2026-11-29T16:35:20Z"}}

    evidence = varied(
        "shared_nat",
        tmp_path,
        events=lambda log: [
            one | {name: later(one.get(name)) for name in ("requestObject", "responseObject")} for one in log
        ],
        dump=lambda _, items: [later(one) for one in items],
    )
    finding = next(one for name, one in scope_of(evidence).items() if name.startswith("99531371"))
    assert (uid in keys(finding, "pod"), uid in keys(finding, "pod", "possible")) == (then, not then)


def test_a_node_that_was_replaced_under_its_name_is_told_from_the_new_one(tmp_path: Path) -> None:
    """A finding names an instance: pods of the other instance that had the node's name are not affected."""
    name, replaced_at = "ip-10-0-1-27.ec2.internal", "2026-11-23T16:21:30Z"
    old, new = "i-00000000000000001", "i-0a5f084ce62b3b459"
    node: dict[str, Any] = {
        "kind": "Node", "apiVersion": "v1", "spec": {"providerID": f"aws:///us-east-1a/{old}"},
        "metadata": {"name": name, "uid": "00000000-0000-4000-8000-000000000001", "creationTimestamp": "2026-11-23T16:20:00Z"},
    }  # fmt: skip

    def events(log: list[Event]) -> list[Event]:
        like = next(one for one in log if one["user"]["username"] == f"system:node:{name}" and one["verb"] == "patch")
        place = {"resource": "nodes", "name": name, "uid": node["metadata"]["uid"], "apiVersion": "v1"}
        uri = f"/api/v1/nodes/{name}"
        told = like | {
            "auditID": "a1", "level": "RequestResponse", "requestURI": uri, "objectRef": place, "requestObject": None, "responseObject": node,
        }  # fmt: skip
        at = {"requestReceivedTimestamp": replaced_at, "stageTimestamp": replaced_at}
        return [*log, told, told | at | {"auditID": "a2", "verb": "delete", "responseObject": None}]

    def findings(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = []
        for instance in (old, new):
            one = copy.deepcopy(found[0]) | {
                "Id": instance,
                "Arn": instance,
                "Type": "Impact:Runtime/CryptoMinerExecuted",
            }
            one["Resource"] = {"ResourceType": "Instance", "InstanceDetails": {"InstanceId": instance}}
            one["Service"].pop("Action", None)
            made.append(one)
        return made

    def dump(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in items if resource == "nodes" else ():
            if one["metadata"]["name"] == name:
                one["metadata"]["creationTimestamp"] = replaced_at
        return items

    without = ("findings-runtime.json",)
    scope = scope_of(
        varied("vanished_deployment", tmp_path, without=without, events=events, findings=findings, dump=dump)
    )
    pods = json.loads((RECORDINGS / "vanished_deployment" / "cluster" / "pods.json").read_text())["items"]
    there = [one["metadata"] for one in pods if one["spec"].get("nodeName") == name]
    before = {one["uid"] for one in there if one["creationTimestamp"] < replaced_at}
    after = {one["uid"] for one in there if one["creationTimestamp"] > replaced_at}
    assert before and after
    assert keys(scope[new], "pod") & (before | after) == after and before <= keys(scope[new], "pod", "possible")
    assert not (keys(scope[old], "pod") | keys(scope[old], "pod", "possible")) & after
    assert len(keys(scope[old], "pod")) > 0


@pytest.mark.parametrize(
    ("type_", "by"),
    [
        ("UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", "session"),
        ("UnauthorizedAccess:EC2/SSHBruteForce", "instance"),
        ("Backdoor:EC2/C&CActivity.B!DNS", "instance"),
        ("Trojan:EC2/DNSDataExfiltration", "another instance"),
    ],
)
def test_a_finding_about_a_node_or_its_role_session_is_about_the_cluster(tmp_path: Path, type_: str, by: str) -> None:
    evidence = varied(STOLEN, tmp_path)
    nodes = json.loads((evidence / "cluster" / "nodes.json").read_text())["items"]
    node = nodes[0]["metadata"]["name"]
    instance = nodes[0]["spec"]["providerID"].rsplit("/", 1)[-1] if by != "another instance" else "i-0123456789abcdef0"
    about = {"ResourceType": "Instance", "InstanceDetails": {"InstanceId": instance}}
    if by == "session":
        about = {
            "ResourceType": "AccessKey",
            "AccessKeyDetails": {"PrincipalId": f"AROAEXAMPLE:{instance}", "UserName": "n"},
        }
    listed = json.loads((evidence / "findings.json").read_text())
    first = listed["Findings"][0]
    listed["Findings"].append(
        first | {"Id": "f" * 32, "Type": type_, "Resource": about, "Service": {**first["Service"], "Action": {}}}
    )
    (evidence / "findings.json").write_text(json.dumps(listed))
    finding = scope_of(evidence)["f" * 32]
    assert finding["about_eks"] is (by != "another instance")
    assert keys(finding, "node") == ({node} if by != "another instance" else set())


@pytest.mark.parametrize(
    ("of", "type_"),
    [
        ("Persistence:Runtime/SensitiveFileModified", "Trojan:EC2/DNSDataExfiltration"),
        (
            "CredentialAccess:Kubernetes/MaliciousIPCaller",
            "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
        ),
        ("AttackSequence:EKS/CompromisedCluster", "AttackSequence:EC2/CompromisedInstanceGroup"),
    ],
)
def test_a_finding_that_names_a_node_alone_affects_what_the_cluster_finding_of_it_does(
    tmp_path: Path, of: str, type_: str
) -> None:
    truth = json.loads((SAMPLE / "ground_truth.json").read_text())
    evidence, finding_id = evidence_of(Family("sample", of), type_, tmp_path / "evidence")
    finding = scope_of(evidence)[finding_id]
    right = {**truth["findings"], **truth["more_findings"]}[finding_id]
    assert finding["type"] == type_ and finding["about_eks"]
    assert keys(finding, "pod") == {pod["uid"] for pod in right["pods"]}
    assert keys(finding, "node") == set(right["nodes"])
    (shown,) = (line for line in command.kit("findings", tmp_path / "case").stdout.splitlines() if finding_id in line)
    assert "names no EKS cluster" not in shown


POD_SESSION = {
    "AccessKeyId": "ASIAO2Y6BJA7BDDIY6C4",
    "PrincipalId": "AROA3E6B29D3C846D90A5:botocore-session-1795450833",
}
OTHER_SESSION = {"AccessKeyId": "ASIAO2Y6BJA7BDDIY6C5", "PrincipalId": "AROA3E6B29D3C846D90A5:someone"}


@pytest.mark.parametrize(
    ("details", "account", "calls"),
    [
        (POD_SESSION | {"UserName": "retail-blue-store-api"}, "affected", 3),
        (OTHER_SESSION | {"UserName": "retail-blue-store-api"}, "possible", 0),
        (OTHER_SESSION | {"UserName": "PlatformOps"}, "", 0),
    ],
)
def test_a_finding_of_iam_about_a_pods_role_leads_to_its_account_and_to_what_was_done_with_the_session(
    tmp_path: Path, details: dict[str, str], account: str, calls: int
) -> None:
    def findings(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        remote = {"RemoteIpDetails": {"IpAddressV4": "203.0.113.232"}}
        about = {"ResourceType": "AccessKey", "AccessKeyDetails": details | {"UserType": "AssumedRole"}}
        service = listed[0]["Service"] | {"Action": {"ActionType": "AWS_API_CALL", "AwsApiCallAction": remote}}
        type_ = "UnauthorizedAccess:IAMUser/MaliciousIPCaller"
        return [listed[0] | {"Id": "f" * 32, "Type": type_, "Resource": about, "Service": service}]

    evidence = varied(STOLEN, tmp_path, findings=findings, without=("findings-runtime.json",))
    finding = scope_of(evidence)["f" * 32]
    assert finding["about_eks"] is bool(account) and len(finding["aws_calls"]) == calls
    for certainty in ("affected", "possible"):
        assert keys(finding, "service_account", certainty) == ({"store/api"} if account == certainty else set())
    role = {f"arn:aws:iam::111122223333:role/{details['UserName']}"} if account else set()
    assert keys(finding, "iam_role") == role
    assert account or "names no EKS cluster, and no node and no role session of this one" in said(finding)
