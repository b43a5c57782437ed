"""The ground that a case stands on: identities, ways in and addresses in the forms that clusters and accounts have them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.identities.mapping import elements, mapping_of, may_give
from tests.command import kit, kit_json
from tests.variation import keys

ACCOUNT = "444455556666"
IAM = f"arn:aws:iam::{ACCOUNT}"
ATTACKER = "198.51.100.7"
AUTHENTICATED = ["system:authenticated"]


def iam_user(name: str, session: str, uid: str = "aws-iam-authenticator", key: str = "ASIAEXAMPLEKEY000001") -> Any:
    """A user of an audit event as the authenticator writes it, signed in by this ARN."""
    extra = {"arn": [session], "accessKeyId": [key], "sessionName": [session.rpartition("/")[2]]}
    return {"username": name, "uid": f"{uid}:{ACCOUNT}:AROAEXAMPLE1", "groups": AUTHENTICATED, "extra": extra}


def made(
    folder: Path,
    user: dict[str, Any],
    *,
    aws_auth: dict[str, str] | None = None,
    address: str = ATTACKER,
    seen_from: str = ATTACKER,
    log: bool = True,
    more: dict[str, Any] | None = None,
    partition: str = "aws",
    items: list[dict[str, Any]] | None = None,
    call: dict[str, Any] | None = None,
) -> Path:
    """A case of one call: a user lists the secrets of a namespace. seen_from: the address that the finding has. more: files beside it."""
    region = "us-gov-west-1" if partition == "aws-us-gov" else "eu-west-1"
    call = {"verb": "list", "resource": "secrets", "namespace": "shop"} | (call or {})
    uri = f"/api/v1/namespaces/{call['namespace']}/{call['resource']}"
    finding = {
        "SchemaVersion": "2.0", "AccountId": ACCOUNT, "Region": region, "Partition": partition, "Id": "0" * 24 + "11112222",
        "Arn": f"arn:{partition}:guardduty:{region}:{ACCOUNT}:detector/aa/finding/{'0' * 24}11112222",
        "Type": "CredentialAccess:Kubernetes/MaliciousIPCaller",
        "Resource": {
            "ResourceType": "EKSCluster",
            "EksClusterDetails": {"Name": "blue", "Arn": f"arn:{partition}:eks:{region}:{ACCOUNT}:cluster/blue"},
            "KubernetesDetails": {"KubernetesUserDetails": {"Username": user["username"], "Uid": user.get("uid", ""), "Groups": user["groups"]}},
        },
        "Service": {
            "ServiceName": "guardduty", "DetectorId": "aa",
            "Action": {
                "ActionType": "KUBERNETES_API_CALL",
                "KubernetesApiCallAction": {"RequestUri": uri, "Verb": call["verb"], "SourceIps": [seen_from], "UserAgent": "kubectl/v1.31.0", "StatusCode": 200, "Resource": call["resource"], "Namespace": call["namespace"]},
            },
            "EventFirstSeen": "2026-03-02T10:10:00Z", "EventLastSeen": "2026-03-02T10:10:00Z", "Archived": False, "Count": 1,
        },
        "Severity": 5.0, "CreatedAt": "2026-03-02T10:11:00Z", "UpdatedAt": "2026-03-02T10:11:00Z", "Title": "t", "Description": "d",
    }  # fmt: skip
    place = {"apiVersion": "v1", **{name: call[name] for name in call if name not in ("verb", "level", "answer")}}
    event = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "a0000000-0000-4000-8000-000000000001", "stage": "ResponseComplete",
        "requestURI": uri, "verb": call["verb"], "user": user, "sourceIPs": [address], "userAgent": "kubectl/v1.31.0",
        "objectRef": place, "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-03-02T10:10:00.000000Z", "stageTimestamp": "2026-03-02T10:10:00.010000Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }  # fmt: skip
    quiet = event | {
        "auditID": "a0000000-0000-4000-8000-000000000002",
        "user": {"username": "system:kube-scheduler", "groups": AUTHENTICATED},
        "sourceIPs": ["10.0.9.9"],
        "verb": "get",
        "objectRef": {"resource": "leases", "namespace": "kube-system", "name": "kube-scheduler", "apiVersion": "v1"},
        "requestReceivedTimestamp": "2026-03-02T10:00:00.000000Z",
        "stageTimestamp": "2026-03-02T10:00:00.010000Z",
    }
    listed = [
        {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": _named(name, "shop")} for name in ("db", "tls")
    ]  # fmt: skip
    if aws_auth is not None:
        listed.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named("aws-auth", "kube-system"), "data": aws_auth}
        )
    cluster = {
        "name": "blue",
        "arn": f"arn:{partition}:eks:{region}:{ACCOUNT}:cluster/blue",
        "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
    }
    evidence = folder / "evidence"
    evidence.mkdir()
    files: dict[str, Any] = {
        "findings.json": {"Findings": [finding]},
        "dump.json": {"apiVersion": "v1", "kind": "List", "items": [*listed, *(items or [])]},
        "cluster.json": {"cluster": cluster},
    }
    for name, value in (files | (more or {})).items():
        (evidence / name).write_text(json.dumps(value))
    if log:
        (evidence / "audit.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (quiet, event)))
    done = kit("new", folder / "case", evidence)
    assert done.returncode == 0, done.stderr
    return folder / "case"


def _named(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", "creationTimestamp": "2026-02-01T00:00:00Z"}


def scoped(case: Path) -> Any:
    """The scope of the case's one finding."""
    (finding,) = kit_json("scope", case)["findings"]
    return finding


def caller(case: Path) -> Any:
    """The identity behind its one call."""
    (one,) = scoped(case)["identities"]
    return one


def ways(case: Path) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in caller(case)["ways_in"]]


def take_away(case: Path) -> str:
    return "\n".join(f"{step['says']} | {step['command'] or ''}" for step in caller(case)["take_away"])


def plan(case: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Action → the planned one, and action → why it is not possible."""
    made = kit_json("plan", case)
    return {one["action"]: one for one in made["actions"]}, {one["action"]: one["says"] for one in made["not_possible"]}


# ── aws-auth as the authenticator reads it ─────────────────────────────────────────────────────────────────────────

TEAM = iam_user("team-admin", f"arn:aws:sts::{ACCOUNT}:assumed-role/TeamAdmin/kim")
SHARED = "- &a\n  rolearn: {iam}:role/other\n  username: other\n  groups: [system:masters]\n- <<: *a\n  rolearn: {iam}:role/TeamAdmin\n"


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        (f"- rolearn: {IAM}:role/teamadmin\n  username: team-admin\n  groups:\n  - system:masters\n", ["system:masters"]),
        (f"- roleARN: {IAM}:role/TeamAdmin\n  userName: team-admin\n  GROUPS: [a, b]\n", ["a", "b"]),
        (SHARED.format(iam=IAM), ["system:masters"]),
        # A text is no list for it: the line lets in, and gives no group.
        (f"- rolearn: {IAM}:role/TeamAdmin\n  username: team-admin\n  groups: system:masters\n", []),
    ],
    ids=["arn in lower case", "members in any case", "anchors", "groups as a text"],
)  # fmt: skip
def test_a_mapping_is_found_however_it_is_written(tmp_path: Path, text: str, groups: list[str]) -> None:
    case = made(tmp_path, TEAM, aws_auth={"mapRoles": text})
    (way,) = caller(case)["ways_in"]
    assert (way["kind"], way["name"].lower(), way["groups"]) == ("aws_auth", f"{IAM}:role/teamadmin", groups)
    assert "out of aws-auth" in take_away(case) and "no mapping in aws-auth" not in take_away(case)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"- rolearn: {IAM}:role/TeamAdmin\n  user name: team-admin\n", "knows no `user name`"),
        (f"- rolearn: {IAM}:role/people/TeamAdmin\n  username: team-admin\n", "without the path"),
    ],
)
def test_a_line_that_the_authenticator_cannot_use_maps_nobody(tmp_path: Path, text: str, says: str) -> None:
    case = made(tmp_path, TEAM, aws_auth={"mapRoles": text})
    (way,) = caller(case)["ways_in"]
    assert says in way["maps_nobody"] and "maps nobody" in way["why"]["says"]
    assert "Find what lets" in take_away(case) and "maps nobody" in take_away(case)


def test_of_two_lines_for_one_arn_the_last_counts_and_the_other_is_told(tmp_path: Path) -> None:
    """The authenticator keeps one line an ARN, whatever the case of a role's."""
    first = f"- rolearn: {IAM}:role/TeamAdmin\n  username: team-admin\n  groups: [system:masters]\n"
    second = f"- rolearn: {IAM}:role/teamadmin\n  username: team-viewer\n  groups: [viewers]\n"
    case = made(tmp_path, TEAM, aws_auth={"mapRoles": first + second})
    told = {way["user_name"]: way["maps_nobody"] for way in caller(case)["ways_in"]}
    assert told == {"team-admin": "a later line of mapRoles for the same ARN takes its place", "team-viewer": None}


def test_a_member_of_aws_auth_that_is_no_yaml_is_unread_alone_and_named(tmp_path: Path) -> None:
    roles = f"- rolearn: {IAM}:role/TeamAdmin\n  username: team-admin\n"
    case = made(tmp_path, TEAM, aws_auth={"mapRoles": roles, "mapUsers": "- userarn: x\n groups: [a\n"})
    assert ways(case) == [("aws_auth", f"{IAM}:role/TeamAdmin")]
    (limit,) = [one for one in scoped(case)["limits"] if "mapUsers of aws-auth is no YAML in line 2" in one["says"]]
    assert "let_in" in limit["about"] and "aws-auth" in limit["collect"]
    (tmp_path / "whole").mkdir()
    whole = made(tmp_path / "whole", TEAM, aws_auth={"mapRoles": roles, "mapUsers": ""})
    assert not [one for one in scoped(whole)["limits"] if "is no YAML" in one["says"]]


def test_aliases_that_unfold_without_end_are_not_followed() -> None:
    text = "- &a0 [x, x]\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    merged = "- &a0 {k: v}\n" + "".join(f"- &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    for endless in (text, merged, "- &a [*a]\n", "- " * 5000 + "x"):
        with pytest.raises(ValueError, match=r"unfolds without end|in itself|no YAML"):
            elements(endless)


@pytest.mark.parametrize(
    ("template", "name", "fits"),
    [
        ("platform:{{SessionName}}-{{AccountID}}", "platform:sam.poe-444455556666", True),
        ("{{SessionNameRaw}}", "jane.doe@example.com", True),
        ("system:node:{{EC2PrivateDNSName}}", "system:node:ip-10-0-0-1.ec2.internal", True),
        ("key-{{AccessKeyID}}", "key-AKIAEXAMPLE", True),
        ("{{Other}}", "eve", False),  # the authenticator fills in no such thing
    ],
)
def test_a_name_may_come_from_what_the_authenticator_fills_in(template: str, name: str, fits: bool) -> None:
    assert may_give(template, name) is fits


def test_an_element_without_an_arn_maps_nobody() -> None:
    assert mapping_of("mapRoles", {"userarn": f"{IAM}:user/eve", "username": "eve"}).maps_nobody


# ── other ways in ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "https://login.example.com/x#{sub}"),
        ({"usernameClaim": "email"}, "{email}"),
        ({"usernameClaim": "upn", "usernamePrefix": "-"}, "{upn}"),
        ({"usernameClaim": "upn", "usernamePrefix": "oidc:"}, "oidc:{upn}"),
    ],
)
def test_an_identity_provider_puts_its_issuer_before_every_claim_but_email(
    tmp_path: Path, more: dict[str, str], name: str
) -> None:
    oidc = {
        "identityProviderConfigName": "login",
        "identityProviderConfigArn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:identityproviderconfig/blue/oidc/login/x",
        "clusterName": "blue",
        "issuerUrl": "https://login.example.com/x",
    }
    user = {"username": "someone", "groups": ["oidc:devs", *AUTHENTICATED]}
    case = made(tmp_path, user, more={"idp.json": {"identityProviderConfig": {"oidc": oidc | more}}})
    assert [way["user_name"] for way in caller(case)["ways_in"]] == [name]


@pytest.mark.parametrize(
    ("asked", "answered", "found"),
    [
        ({"name": "blue"}, None, True),
        ({"clusterName": "blue"}, None, True),
        ({}, {"cluster": {"name": "blue"}}, True),
        ({"name": "blue", "accessConfig": {"bootstrapClusterCreatorAdminPermissions": True}}, None, True),
        ({"name": "blue", "accessConfig": {"bootstrapClusterCreatorAdminPermissions": False}}, None, False),
    ],
)
def test_the_creator_is_found_however_the_call_is_recorded(
    tmp_path: Path, asked: dict[str, Any], answered: Any, found: bool
) -> None:
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/Deploy/kim"
    event = {
        "eventVersion": "1.08", "eventID": "e1", "eventTime": "2026-01-01T00:00:00Z", "eventSource": "eks.amazonaws.com", "eventName": "CreateCluster",
        "awsRegion": "eu-west-1", "sourceIPAddress": "203.0.113.5", "eventType": "AwsApiCall", "recipientAccountId": ACCOUNT, "eventCategory": "Management",
        "userIdentity": {"type": "AssumedRole", "arn": session, "accountId": ACCOUNT, "accessKeyId": "ASIAOLD", "sessionContext": {"sessionIssuer": {"type": "Role", "arn": f"{IAM}:role/Deploy"}}},
        "requestParameters": asked, "responseElements": answered,
    }  # fmt: skip
    case = made(tmp_path, iam_user("kubernetes-admin", session), more={"trail.json": {"Records": [event]}})
    assert ways(case) == ([("cluster_creator", f"{IAM}:role/Deploy")] if found else [])


def test_the_principals_of_a_whole_account_are_named_in_the_partition_of_the_case(tmp_path: Path) -> None:
    session = f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/Deploy/kim"
    user = iam_user(f"arn:aws-us-gov:iam::{ACCOUNT}:role/Deploy", session)
    case = made(tmp_path, user, aws_auth={"mapAccounts": f'- "{ACCOUNT}"\n'}, partition="aws-us-gov")
    assert ways(case) == [("aws_auth", f"arn:aws-us-gov:iam::{ACCOUNT}:*")]


# ── who it is ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_older_authenticators_uid_is_a_sign_in_by_iam_and_the_template_of_a_mapping_leads_to_its_role(
    tmp_path: Path,
) -> None:
    user = {"username": f"platform:sam.poe-{ACCOUNT}", "groups": AUTHENTICATED}
    user["uid"] = f"heptio-authenticator-aws:{ACCOUNT}:AROAOLDPRINCIPAL00001"
    text = f"- rolearn: {IAM}:role/platform\n  username: platform:{{{{SessionName}}}}-{{{{AccountID}}}}\n"
    case = made(tmp_path, user, aws_auth={"mapRoles": text})
    assert (caller(case)["kind"], caller(case)["certainty"]) == ("iam", "affected")
    assert ways(case) == [("aws_auth", f"{IAM}:role/platform")]
    planned, _ = plan(case)
    assert planned["remove_cluster_access"]["parameters"]["arn"] == f"{IAM}:role/platform"
    assert "end_oidc_access" not in planned


@pytest.mark.parametrize(
    ("role", "name", "mapped", "kind"),
    [
        ("AWSWesleyClusterManagerLambda-NodeManagerRole-1ZZZ", "eks:node-manager", False, "control_plane"),
        ("AWSServiceRoleForAmazonEKS", "anything", False, "control_plane"),
        ("Deploy", "eks:node-manager", True, "iam"),
        ("AWSWesleyClusterManagerLambda-Mine", "eks:node-manager", True, "iam"),  # EKS needs no line in aws-auth
    ],
)
def test_the_role_and_not_the_name_tells_the_sign_ins_of_eks_itself(
    tmp_path: Path, role: str, name: str, mapped: bool, kind: str
) -> None:
    text = f"- rolearn: {IAM}:role/{role}\n  username: {name}\n" if mapped else "[]"
    case = made(tmp_path, iam_user(name, f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/1"), aws_auth={"mapRoles": text})
    planned, _ = plan(case)
    assert caller(case)["kind"] == kind
    assert bool({"remove_cluster_access", "end_sign_in"} & planned.keys()) is (kind == "iam")


def test_a_role_with_a_path_is_named_with_it_wherever_any_evidence_has_it(tmp_path: Path) -> None:
    full = f"{IAM}:role/humans/Ops"
    entry = {
        "clusterName": "blue", "principalArn": full, "username": "ops", "type": "STANDARD", "kubernetesGroups": [],
        "accessEntryArn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:access-entry/blue/role/{ACCOUNT}/Ops/a",
    }  # fmt: skip
    user = iam_user("ops", f"arn:aws:sts::{ACCOUNT}:assumed-role/Ops/kim")
    case = made(tmp_path, user, more={"entry.json": {"accessEntry": entry}})
    assert keys(scoped(case), "iam_role") == {full}
    assert caller(case)["role"] == full and ways(case) == [("access_entry", full)]
    planned, _ = plan(case)
    assert f'`"{full}"`' in "\n".join(planned["remove_cluster_access"]["command"])
    assert planned["revoke_role_sessions"]["target"] == f"iam_role:{full}"


ROOT = f"{IAM}:root"
VENDOR = "arn:aws:iam::777788889999:role/vendor"
SSO = "AWSReservedSSO_Admin_0123456789abcdef"


def test_the_root_users_key_is_deleted_by_the_root_user(tmp_path: Path) -> None:
    user = iam_user("root-admin", ROOT, key="AKIAROOT000000000001")
    case = made(tmp_path, user, aws_auth={"mapUsers": f"- userarn: {ROOT}\n  username: root-admin\n"})
    one, (planned, cannot) = caller(case), plan(case)
    assert "the root user of account 444455556666" in one["patient_zero"][0]["says"] + one["why"]["says"]
    key = planned["deactivate_access_key"]
    assert key["command"] == ["aws iam delete-access-key --access-key-id AKIAROOT000000000001"]
    assert "only the root user itself" in key["by_person"] and "only the root user itself" in take_away(case)
    assert planned["remove_cluster_access"]["by_person"] and "revoke_role_sessions" not in {*planned, *cannot}


@pytest.mark.parametrize(
    ("session", "says"),
    [
        ("arn:aws:sts::777788889999:assumed-role/vendor/job", "of account 777788889999"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/{SSO}/jane", "IAM Identity Center"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSServiceRoleForSupport/x", "service-linked"),
    ],
)
def test_what_aws_does_not_let_this_account_change_is_for_a_person_and_it_is_said_where_it_ends(
    tmp_path: Path, session: str, says: str
) -> None:
    case = made(tmp_path, iam_user("someone", session), aws_auth={"mapRoles": "[]"})
    planned, cannot = plan(case)
    assert not {"revoke_role_sessions"} & {*planned, *cannot}
    elsewhere = planned["end_sessions_elsewhere"]
    assert says in elsewhere["by_person"] and elsewhere["stage"] == "revoke" and not elsewhere["command"]
    assert says in take_away(case) and "Revoke the sessions" not in take_away(case)


@pytest.mark.parametrize(
    ("name", "session"),
    [
        (
            "eks:addon-manager",
            "arn:aws:sts::131300000000:assumed-role/AWSWesleyClusterManagerLambda-AddOn-1A2B3C/addons",
        ),
        ("eks:node-manager", "arn:aws:sts::131300000000:assumed-role/AWSWesleyClusterManagerLambda-Node-1A2B3C/nodes"),
    ],
)
def test_an_identity_of_the_control_plane_is_for_aws(tmp_path: Path, name: str, session: str) -> None:
    """EKS's own sign-ins use roles of AWS's accounts: the account of the case cannot change them, whatever calls with them."""
    planned, cannot = plan(made(tmp_path, iam_user(name, session), aws_auth={"mapRoles": "[]"}))
    assert (
        planned["report_to_aws"]["target"] == f"identity:{name}"
        and "which AWS runs" in planned["report_to_aws"]["by_person"]
    )
    assert not {"remove_cluster_access", "revoke_role_sessions", "end_sessions_elsewhere", "end_sign_in"} & {
        *planned,
        *cannot,
    }


def test_a_federated_user_is_known_as_such(tmp_path: Path) -> None:
    session = f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
    case = made(tmp_path, iam_user("bob", session), aws_auth={"mapUsers": f"- userarn: {session}\n  username: bob\n"})
    assert ways(case) == [("aws_auth", session)] and "GetFederationToken" in take_away(case)
    assert "remove_cluster_access" in plan(case)[0]


def test_a_caller_whom_no_log_shows_is_refused_with_a_reason(tmp_path: Path) -> None:
    name = f"arn:aws:sts::{ACCOUNT}:assumed-role/{SSO}"
    entry = {
        "clusterName": "blue", "principalArn": f"{IAM}:role/aws-reserved/sso.amazonaws.com/{SSO}", "type": "STANDARD",
        "username": name + "/{{SessionName}}", "kubernetesGroups": [], "accessEntryArn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:access-entry/blue/role/{ACCOUNT}/{SSO}/a",
    }  # fmt: skip
    user = {"username": f"{name}/jane", "uid": f"aws-iam-authenticator:{ACCOUNT}:AROA1", "groups": AUTHENTICATED}
    case = made(tmp_path, user, log=False, more={"entry.json": {"accessEntry": entry}})
    assert ways(case) == [("access_entry", entry["principalArn"])]
    assert "no evidence has a call of it" in plan(case)[1]["remove_cluster_access"]


# ── addresses ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("logged", "told", "same"),
    [
        ("::ffff:198.51.100.7", "198.51.100.7", True),
        ("198.51.100.7", "::ffff:c633:6407", True),
        ("198.51.100.7:51312", "198.51.100.7", True),
        ("[2001:DB8::1]:443", "2001:db8::1", True),
        ("2001:db8::1", "2001:0DB8:0000:0000:0000:0000:0000:0001", True),
        ("2001:db8:0:0::1", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::2", False),
    ],
)
def test_addresses_are_compared_as_addresses(tmp_path: Path, logged: str, told: str, same: bool) -> None:
    user = {"username": "system:serviceaccount:shop:web", "uid": "u1", "groups": AUTHENTICATED}
    finding = scoped(made(tmp_path, user, address=logged, seen_from=told))
    assert len(finding["calls"]) == int(same)
    assert keys(finding, "secret") == ({"shop/db", "shop/tls"} if same else set())


# ── what else people bring, and what is done ───────────────────────────────────────────────────────────────────────


def test_what_eksctl_prints_tells_the_ways_in(tmp_path: Path) -> None:
    entry = {
        "principalARN": f"{IAM}:role/TeamAdmin",
        "type": "STANDARD",
        "kubernetesUsername": "team-admin",
        "kubernetesGroups": ["g"],
        "accessPolicies": [{"policyARN": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"}],
    }
    line = {"rolearn": f"{IAM}:role/TeamAdmin", "username": "team-admin", "groups": ["system:masters"]}
    case = made(tmp_path, TEAM, more={"entries.json": [entry], "lines.json": [line, {"account": ACCOUNT}]})
    one, two, three = caller(case)["ways_in"]
    assert (one["kind"], one["groups"], len(one["policies"])) == ("access_entry", ["g"], 1)
    assert (two["kind"], two["groups"], two["overruled"]) == ("aws_auth", ["system:masters"], True)
    assert three["name"] == f"{IAM}:*"


def test_a_command_has_the_namespace_of_an_object_that_only_the_log_shows(tmp_path: Path) -> None:
    call = {"verb": "create", "resource": "rolebindings", "namespace": "pay", "name": "rb", "apiGroup": "rbac.authorization.k8s.io"}  # fmt: skip
    planned, _ = plan(made(tmp_path, TEAM, call=call))
    (command,) = planned["remove_role_binding"]["command"]
    assert (
        "kubectl get rolebindings rb -n pay -o 'jsonpath={.metadata.creationTimestamp}'" in command
        and " kubectl delete rolebindings rb -n pay ;; esac" in command
    )
    assert planned["keep_objects"]["command"] == ["kubectl get rolebindings rb -n pay -o yaml > pay_rb.yaml"]


def test_a_fargate_node_is_neither_cordoned_nor_terminated(tmp_path: Path) -> None:
    node = "fargate-ip-10-0-1-10.eu-west-1.compute.internal"
    user = iam_user(f"system:node:{node}", f"arn:aws:sts::{ACCOUNT}:assumed-role/fargate-pod/i-0aaaaaaaaaaaaaaa1")
    user["groups"] = ["system:nodes", *AUTHENTICATED]
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": _named("web-9", "shop"), "status": {"phase": "Running", "podIP": "10.0.1.50"},
        "spec": {"nodeName": node, "serviceAccountName": "web", "containers": [{"name": "c", "image": "registry.example/app:1"}]},
    }  # fmt: skip
    case = made(tmp_path, user, items=[pod])
    says = take_away(case)
    assert "kubectl delete pod web-9 -n shop" in says and "no instance of yours" in says
    assert "cordon " not in says.replace("to cordon or", "") and "i-0aaa" not in says
    planned, _ = plan(case)
    assert "delete_pod" in planned and not {"cordon_node", "terminate_node", "quarantine_node"} & planned.keys()
    assert "delete the pod: the Fargate node goes with it" in advice(case)


def advice(case: Path) -> str:
    """What the answers about the finding mean for the next step."""
    return "\n".join(one["advice"]["says"] for one in kit_json("answers", case)["answers"] if one["advice"])


@pytest.mark.parametrize(
    ("name", "labels", "says", "never"),
    [
        ("mi-0123456789abcdef0", {"eks.amazonaws.com/compute-type": "hybrid"}, "aws ssm deregister-managed-instance --instance-id mi-0123456789abcdef0", "EC2 instance, which"),
        ("i-0aaaaaaaaaaaaaaa1", {"eks.amazonaws.com/compute-type": "auto"}, "kubectl delete node i-0aaaaaaaaaaaaaaa1", "terminate-instances"),
        ("ip-10-0-9-9.eu-west-1.compute.internal", {"karpenter.sh/nodepool": "p"}, "kubectl delete node ip-10-0-9-9", "terminate-instances"),
    ],
)  # fmt: skip
def test_a_node_is_ended_by_what_controls_it(
    name: str, labels: dict[str, str], says: str, never: str, tmp_path: Path
) -> None:
    user = iam_user(f"system:node:{name}", f"arn:aws:sts::{ACCOUNT}:assumed-role/nodes/{name}")
    user["groups"] = ["system:nodes", *AUTHENTICATED]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": _named(name, "") | {"labels": labels}, "spec": {}}
    case = made(tmp_path, user, items=[node])
    assert says in take_away(case) and never not in take_away(case)
    assert "treat the node as compromised: " in advice(case) and "by the plan" not in advice(case)


@pytest.mark.parametrize("letter", ["\x1b[31m", "\x00", "\x7f", "\ufffe", "\ud800"], ids=ascii)
def test_a_letter_that_yaml_has_not_costs_aws_auth_alone(letter: str, tmp_path: Path) -> None:
    case = made(tmp_path, TEAM, aws_auth={"mapRoles": f"- rolearn: {IAM}:role/TeamAdmin\n  username: {letter}\n"})
    says = "\n".join(limit["says"] for limit in scoped(case)["limits"])
    assert letter == "\ud800" or "mapRoles of aws-auth is no YAML: unacceptable character" in says
