"""Whose call a call is: what tells the attacker from the owner of the same name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import RECORDINGS, SHARED
from tests.variation import said, scope_of, varied

NAT = json.loads((RECORDINGS / "shared_nat" / "ground_truth.json").read_text())

NODE_CREDENTIAL = SHARED / "data" / "recordings" / "node_credential"
BESIDE = pytest.mark.skipif(not NODE_CREDENTIAL.exists(), reason="the recordings beside the project are not here")


def _calls(scope: dict[str, Any], kind: str = "calls") -> set[str]:
    return {call for finding in scope.values() for call in finding[kind]}


def _told_apart(scope: dict[str, Any], user: str) -> list[dict[str, Any]]:
    (first, *_) = [one for finding in scope.values() for one in finding["identities"] if one["user_name"] == user]
    return list(first["told_apart_by"])


def test_behind_one_address_with_one_client_the_access_key_tells_the_attacker_from_the_owner(tmp_path: Path) -> None:
    scope = scope_of(varied("shared_nat", tmp_path))
    assert _calls(scope) == set(NAT["attacker_calls"])
    assert _calls(scope, "aws_calls") == set(NAT["cloudtrail_attacker_events"])
    for finding in scope.values():
        assert len(finding["possible_calls"]) == 52  # the owner's, with the same client from the same address
        assert "with another credential: the owner may sit behind that address" in said(finding)
    told = {tuple(one["by"]): one for one in _told_apart(scope, NAT["attacker"]["identities"][0]["username"])}
    key = NAT["attacker"]["identities"][0]["access_key_id"]
    assert told["credential", "session"]["same"] == ["account", "client", "address"]
    assert (told["credential", "session"]["calls"], told["credential", "session"]["possible_calls"]) == (59, 59)
    assert f"(the attacker's: access key {key})" in told["credential", "session"]["says"]
    assert told["account",]["same"] == ["address"] and "kubernetes-admin" in told["account",]["says"]


def test_a_finding_that_names_no_access_key_takes_that_of_its_own_call(tmp_path: Path) -> None:
    def nameless(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings:
            del finding["Resource"]["AccessKeyDetails"]
        return findings

    assert _calls(scope_of(varied("shared_nat", tmp_path, findings=nameless))) == set(NAT["attacker_calls"])


def test_where_the_log_names_no_credentials_and_the_owner_is_there_too_all_but_the_findings_own_calls_is_possible(
    tmp_path: Path,
) -> None:
    def nameless(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for event in log:
            for name in ("accessKeyId", "arn", "sessionName"):
                event["user"].get("extra", {}).pop(name, None)
        return log

    scope, hostile = scope_of(varied("shared_nat", tmp_path, events=nameless)), set(NAT["attacker_calls"])
    assert _calls(scope) < hostile  # and none of the owner's 59 with that client
    assert hostile <= _calls(scope) | _calls(scope, "possible_calls")
    told = [one for one in _told_apart(scope, NAT["attacker"]["identities"][0]["username"]) if one["by"] == ["time"]]
    assert told and "nothing but time tells them apart" in told[0]["says"]


def test_where_the_log_names_no_access_keys_the_session_tells(tmp_path: Path) -> None:
    def keyless(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for event in log:
            event["user"].get("extra", {}).pop("accessKeyId", None)
        return log

    assert _calls(scope_of(varied("shared_nat", tmp_path, events=keyless))) == set(NAT["attacker_calls"])


@pytest.mark.parametrize("named", [True, False], ids=["key and session in the finding", "neither"])
def test_an_owners_call_is_not_taken_for_the_findings_own_that_the_log_has_not_got(tmp_path: Path, named: bool) -> None:
    def terse(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for finding in findings if not named else ():
            del finding["Resource"]["AccessKeyDetails"]
            finding["Resource"]["KubernetesDetails"]["KubernetesUserDetails"]["SessionName"] = []
        return findings

    gone = set(NAT["attacker_calls"])
    evidence = varied(
        "shared_nat", tmp_path, events=lambda log: [one for one in log if one["auditID"] not in gone], findings=terse
    )
    scope = scope_of(evidence)
    assert _calls(scope) == set()
    for finding in scope.values():
        assert len(finding["possible_calls"]) == 52  # the owner's, with the same client from the same address
        assert "The finding's own call is not in the audit log" in said(finding)
        made = {one["kind"] for one in finding["subjects"] if one["certainty"] == "affected"}
        assert not made & {"secret", "created", "changed", "deleted", "exec", "token", "granted"}


def test_a_token_that_the_kubelet_renewed_is_still_the_credential_of_its_pod(tmp_path: Path) -> None:
    truth = json.loads((RECORDINGS / "stolen_sa_token" / "ground_truth.json").read_text())
    hostile, name = set(truth["attacker_calls"]), "authentication.kubernetes.io/credential-id"

    def renewed(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        bound = [
            event
            for event in log
            if event["auditID"] in hostile
            and event["user"].get("extra", {}).get("authentication.kubernetes.io/pod-uid")
        ]
        for event in bound[len(bound) // 2 :]:
            event["user"]["extra"][name] = ["JTI=00000000-0000-4000-8000-000000000000"]
        return log

    assert _calls(scope_of(varied("stolen_sa_token", tmp_path, events=renewed))) == hostile


BACKUP = "arn:aws:iam::777788889999:user/svc-backup"


def _of(log: list[dict[str, Any]], user: str) -> list[dict[str, Any]]:
    return [event for event in log if event["user"]["username"] == user]


def test_whom_the_attacker_let_in_is_the_attacker_from_then_on(tmp_path: Path) -> None:
    truth = json.loads((RECORDINGS / "cluster_creator" / "ground_truth.json").read_text())
    scope = scope_of(varied("cluster_creator", tmp_path))
    assert _calls(scope) == set(truth["attacker_calls"])
    for finding in scope.values():
        let_in = {one["key"]: one for one in finding["subjects"] if one["kind"] == "let_in"}
        assert let_in.keys() == {BACKUP, "arn:aws:iam::999988887777:role/Support"}
        assert any("CreateAccessEntry" in why["says"] for why in let_in[BACKUP]["why"])
        (support,) = let_in["arn:aws:iam::999988887777:role/Support"]["why"]
        assert "a line in aws-auth, which the attacker wrote" in support["says"]


def test_without_the_key_the_entry_alone_shows_whom_the_attacker_let_in(tmp_path: Path) -> None:
    truth = json.loads((RECORDINGS / "cluster_creator" / "ground_truth.json").read_text())

    def keyless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in records if one["eventName"] != "CreateAccessKey"]

    assert _calls(scope_of(varied("cluster_creator", tmp_path, trail=keyless))) == set(truth["attacker_calls"])


def test_who_called_before_the_attacker_let_them_in_is_only_possible(tmp_path: Path) -> None:
    truth = json.loads((RECORDINGS / "cluster_creator" / "ground_truth.json").read_text())

    def keyless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in records if one["eventName"] != "CreateAccessKey"]

    def called_before(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = _of(log, BACKUP)[0]
        times = dict.fromkeys(("requestReceivedTimestamp", "stageTimestamp"), log[0]["requestReceivedTimestamp"])
        return [first | times | {"auditID": "00000000-0000-4000-8000-000000000001"}, *log]

    evidence = varied("cluster_creator", tmp_path, trail=keyless, events=called_before)
    scope = scope_of(evidence)
    later = set(truth["attacker_calls"]) - _calls(scope)
    assert len(later) == 4
    assert later <= _calls(scope, "possible_calls")
    assert all("which may have had another way in" in said(finding) for finding in scope.values())


def test_a_secret_with_a_token_that_the_attacker_made_is_followed_to_where_it_is_used(tmp_path: Path) -> None:
    truth = json.loads((RECORDINGS / "webhook_backdoor" / "ground_truth.json").read_text())
    assert _calls(scope_of(varied("webhook_backdoor", tmp_path))) == set(truth["attacker_calls"])


def _theft(**changes: Any) -> tuple[set[str], dict[str, Any]]:
    truth = json.loads((RECORDINGS / "pod_identity_theft" / "ground_truth.json").read_text())
    return set(truth["cloudtrail_attacker_events"]), scope_of(varied("pod_identity_theft", **changes))


def test_a_pods_session_that_is_used_from_outside_is_the_attackers_without_any_hostile_call(tmp_path: Path) -> None:
    hostile, scope = _theft(folder=tmp_path)
    assert all(set(finding["aws_calls"]) == hostile and not finding["calls"] for finding in scope.values())


def test_where_the_way_out_is_not_known_no_use_of_a_session_is_called_stolen(tmp_path: Path) -> None:
    def no_nodes(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in records if "/i-" not in str(one["userIdentity"].get("arn"))]

    _, scope = _theft(folder=tmp_path, trail=no_nodes)
    for finding in scope.values():
        assert finding["aws_calls"] == []
        assert "Whether role sessions were used outside of the cluster cannot be told" in said(finding)


def test_an_address_that_the_roles_other_sessions_came_from_before_is_no_theft(tmp_path: Path) -> None:
    def from_there_before(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        stolen = next(one for one in records if one["eventName"] == "ListSecrets")
        other = stolen["userIdentity"] | {"accessKeyId": "ASIAANOTHERSESSION00"}
        earlier = {"eventTime": "2026-11-29T16:30:00Z", "eventID": "00000000-0000-4000-8000-000000000002"}
        return [*records, stolen | earlier | {"userIdentity": other}]

    _, scope = _theft(folder=tmp_path, trail=from_there_before)
    assert all(finding["aws_calls"] == [] for finding in scope.values())


def test_pods_that_a_webhook_of_the_attackers_changed_are_affected(tmp_path: Path) -> None:
    truth = json.loads((RECORDINGS / "webhook_backdoor" / "ground_truth.json").read_text())
    for finding in scope_of(varied("webhook_backdoor", tmp_path)).values():
        pods = {one["key"] for one in finding["subjects"] if one["kind"] == "pod" and one["certainty"] == "affected"}
        assert set(truth["injected_pods"]) <= pods
        brought = {one["key"] for one in finding["subjects"] if one["kind"] == "introduced"}
        assert "docker.io/istio/proxyv2:1.22.3-hardened" in brought


POD = "34f5fcd3-aa7c-4987-8f04-6f6e37bc0f02"  # of shared_nat: the attacker ran a command in it
NEW = "00000000-0000-4000-8000-00000000000{}"


def _with_token(event: dict[str, Any], number: int, at: str, address: str, **user: Any) -> dict[str, Any]:
    times = {"requestReceivedTimestamp": at, "stageTimestamp": at}
    caller = {"username": "system:serviceaccount:store:api", "groups": ["system:serviceaccounts"], **user}
    return event | times | {"auditID": NEW.format(number), "sourceIPs": [address], "user": caller}


def _entered(log: list[dict[str, Any]], *addresses: str) -> list[dict[str, Any]]:
    """The log of shared_nat with a list of pods by the token of the entered pod from each address, at the end."""
    listed = next(event for event in log if event["verb"] == "list" and event["objectRef"]["resource"] == "pods")
    bound = {
        "extra": {
            "authentication.kubernetes.io/pod-uid": [POD],
            "authentication.kubernetes.io/credential-id": ["JTI=11111111-0000-4000-8000-000000000000"],
        }
    }
    last = log[-1]["requestReceivedTimestamp"]
    return [*log, *(_with_token(listed, number, last, one, **bound) for number, one in enumerate(addresses, 3))]


def test_the_token_of_a_pod_that_the_attacker_entered_may_be_the_attackers_outside(tmp_path: Path) -> None:
    """The rule is few: alone it makes possible."""
    scope = scope_of(varied("shared_nat", tmp_path, events=lambda log: _entered(log, "198.51.100.9", "10.0.2.97")))
    assert _calls(scope) == set(NAT["attacker_calls"])
    assert NEW.format(3) in _calls(scope, "possible_calls") and NEW.format(4) not in _calls(scope, "possible_calls")
    for finding in scope.values():
        assert "the token of a pod that the attacker had entered; this rule has decided too few cases" in said(finding)


def test_the_token_of_an_entered_pod_from_where_the_pod_came_from_before_is_the_pods(tmp_path: Path) -> None:
    def before(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        log = _entered(log, "198.51.100.9", "198.51.100.9")
        first = dict.fromkeys(("requestReceivedTimestamp", "stageTimestamp"), log[0]["requestReceivedTimestamp"])
        return [log[-1] | first, *log[:-1]]

    assert _calls(scope_of(varied("shared_nat", tmp_path, events=before))) == set(NAT["attacker_calls"])


def test_the_token_of_a_secret_that_the_attacker_read_may_be_the_attackers_in_new_places_outside(
    tmp_path: Path,
) -> None:
    def used(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        listed = next(event for event in log if event["verb"] == "list" and event["objectRef"]["resource"] == "pods")
        told = {
            "annotations": listed["annotations"] | {"authentication.k8s.io/legacy-token-manual-secret": "pager-84c4"}
        }
        user = {"username": "system:serviceaccount:warehouse:etl"}
        ends = (log[0]["requestReceivedTimestamp"], log[-1]["requestReceivedTimestamp"])
        owner = [_with_token(listed | told, number, at, "192.0.2.7", **user) for number, at in enumerate(ends, 5)]
        return [owner[0], *log, owner[1], _with_token(listed | told, 7, ends[1], "198.51.100.9", **user)]

    scope = scope_of(varied("shared_nat", tmp_path, events=used))
    assert _calls(scope) == set(NAT["attacker_calls"])
    perhaps = _calls(scope, "possible_calls")
    assert NEW.format(7) in perhaps and not {NEW.format(5), NEW.format(6)} & perhaps


def test_another_client_with_the_attackers_key_is_the_attacker_too_from_the_first_call_on(tmp_path: Path) -> None:
    hostile = set(NAT["attacker_calls"])

    def changed(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        mine = [event for event in log if event["auditID"] in hostile]
        for number, event in enumerate(mine):
            event["userAgent"] = event["userAgent"] if number < 5 else "curl/8.5.0"
        return log

    assert _calls(scope_of(varied("shared_nat", tmp_path, events=changed))) == hostile


def test_a_call_with_two_stages_is_counted_once_among_the_possible_ones(tmp_path: Path) -> None:
    def staged(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            *log,
            *(
                {**event, "stage": "ResponseStarted"}
                for event in log
                if event["sourceIPs"] == NAT["attacker"]["source_ips"][:1]
            ),
        ]

    for finding in scope_of(varied("shared_nat", tmp_path, events=staged)).values():
        (told,) = [
            limit["says"]
            for limit in finding["limits"]
            if limit["says"].startswith("Whether ") and " calls are " in limit["says"]
        ]
        assert told.startswith(f"Whether {len(finding['possible_calls'])} calls")


@BESIDE
def test_the_own_token_of_a_pod_for_which_the_attacker_minted_another_is_not_the_attackers(tmp_path: Path) -> None:
    """Its address is in no evidence, so it looks like a new place."""

    def without_pods(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in log if (event.get("objectRef") or {}).get("resource") != "pods"]

    scope = scope_of(varied(NODE_CREDENTIAL, tmp_path, without=("cluster",), events=without_pods))
    assert not _calls(scope, "possible_calls")
