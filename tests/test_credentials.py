"""Which credentials the attacker has, how each was obtained, and how it ends."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from tests import cases
from tests.attackers import certificate_of
from tests.cases import printed
from tests.command import RECORDINGS, SAMPLE, SHARED, kit_json
from tests.variation import Event, scope_of, varied

CREDENTIAL = "credential"
NODE_CREDENTIAL = SHARED / "data" / "recordings" / "node_credential"
BESIDE = pytest.mark.skipif(not NODE_CREDENTIAL.exists(), reason="the recordings beside the project are not here")


def _case(recording: str | Path) -> Case:
    return Case(cases.shared(RECORDINGS / recording))


def _credentials(scope: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["key"]: one for finding in scope.values() for one in finding["subjects"] if one["kind"] == CREDENTIAL}


def test_a_secret_with_a_token_that_the_attacker_made_is_a_credential_without_an_end() -> None:
    case = _case("webhook_backdoor")
    (row,) = case.credentials[case.credentials["kind"] == "secret_token"].to_dict("records")
    assert row["key"] == "kube-system/metrics-server-token-7652c"
    assert row["holder"] == "system:serviceaccount:kube-system:metrics-server"
    assert row["obtained_by"].startswith("the attacker made a Secret with a token")
    assert (row["state"], row["ended_by"]) == ("usable", "it has no end until its Secret is deleted")
    assert len(row["refs"]) == 2 and len(row["findings"]) == 3


def test_a_token_that_never_ends_is_no_not_observed() -> None:
    case = _case("webhook_backdoor")
    for finding in case.findings["id"]:
        answer = case.answer("tokens_minted", finding)
        assert answer.verdict.word == "observed"
        assert [row["How"] for row in answer.rows] == ["secret token kube-system/metrics-server-token-7652c"]


def test_every_credential_of_a_kind_has_the_deed_that_gave_it() -> None:
    for recording, kind, key, deed in (
        ("pod_identity_theft", "session", "ASIA7SHR2BEVK2KTBJAD", "AssumeRole of the attacker issued it"),
        (
            SAMPLE,
            "node",
            "ip-10-0-2-185.eu-west-1.compute.internal",
            "the attacker used it from 198.51.100.183",
        ),
        ("exec_kube_system", "pod_token", "0f2fc598-419d-4be1-9a67-1bc6e242a8ea", "a command of the attacker read it"),
        ("cluster_creator", "access_key", "AKIA4Y6O7NUICC52KUVC", "the attacker used it"),
    ):
        rows = _case(recording).credentials.to_dict("records")
        (row,) = [one for one in rows if (one["kind"], one["key"]) == (kind, key)]
        assert row["obtained_by"].startswith(deed) and row["certainty"] == "affected"


def test_a_minted_token_stays_a_token_and_is_a_row_of_the_credentials() -> None:
    case = _case("two_incidents")
    minted = case.credentials[case.credentials["kind"] == "token"]
    assert list(minted["key"]) == ["shop/db"]
    kinds = {one["kind"] for one in case.scope["findings"][2]["subjects"] if one["key"] == "shop/db"}
    assert "token" in kinds and CREDENTIAL not in kinds


def test_the_token_of_an_entered_pod_is_within_reach_and_not_said_to_be_taken() -> None:
    case = _case("shared_nat")
    (row,) = [
        one for one in case.credentials.to_dict("records") if one["key"] == "34f5fcd3-aa7c-4987-8f04-6f6e37bc0f02"
    ]
    assert (row["certainty"], row["bound_to"][0].partition("-")[0]) == ("possible", "store/api")
    entries = [
        one for one in printed("brief", "--json", of=case.path)["incidents"][0]["open"] if one["kind"] == "token"
    ]
    assert not entries


def test_a_secret_that_the_attacker_read_is_a_credential_where_the_dump_says_that_it_holds_a_token(
    tmp_path: Path,
) -> None:
    truth = json.loads((RECORDINGS / "shared_nat" / "ground_truth.json").read_text())
    read = min(key for one in truth["findings"].values() for key in one.get("secrets_read") or [])

    def token(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in items:
            about = one["metadata"]
            if resource == "secrets" and f"{about['namespace']}/{about['name']}" == read:
                one["type"] = "kubernetes.io/service-account-token"
                about.setdefault("annotations", {})["kubernetes.io/service-account.name"] = "robot"
        return items

    found = _credentials(scope_of(varied("shared_nat", tmp_path, dump=token)))
    assert found[read]["certainty"] == "affected"
    assert "the attacker read a Secret with a token" in found[read]["why"][0]["says"]


def test_whom_the_attacker_let_in_is_a_table() -> None:
    rows = _case("cluster_creator").let_in.to_dict("records")
    assert {(one["by"], one["certainty"]) for one in rows} >= {("access_entry", "affected"), ("access_key", "possible")}
    assert all(one["refs"] and one["findings"] and one["why"] for one in rows)


REQUEST, NEW = "break-glass", "00000000-0000-4000-8000-0000000001{:02}"


def _asked_for(log: list[Event], user: str, *, made: bool = True, told: bool = True) -> list[Event]:
    """The log of cluster_creator, in which the attacker makes (or only approves) a request, and its certificate is used from elsewhere."""
    hostile = set(json.loads((RECORDINGS / "cluster_creator" / "ground_truth.json").read_text())["attacker_calls"])
    mine = next(event for event in log if event["auditID"] in hostile)
    other = next(event for event in log if event["user"]["username"] == "ops-carol")
    request, certificate, credential = certificate_of(user)
    body: dict[str, Any] = {"metadata": {"name": REQUEST}, "spec": {"request": request}}
    issued = body | {"status": {"certificate": certificate, "conditions": [{"type": "Approved"}]}}
    named = {
        "resource": "certificatesigningrequests",
        "name": REQUEST,
        "apiGroup": "certificates.k8s.io",
        "apiVersion": "v1",
    }

    def call(number: int, of: Event, verb: str, code: int, asked: Any, answered: Any, subresource: str = "") -> Event:
        at = f"2026-11-29T16:{40 + number}:00.000000Z"
        about = named | ({"subresource": subresource} if subresource else {})
        return of | {
            "auditID": NEW.format(number), "verb": verb, "objectRef": about, "requestObject": asked, "responseObject": answered,
            "requestReceivedTimestamp": at, "stageTimestamp": at, "responseStatus": {"code": code}, "requestURI": "/apis/certificates.k8s.io",
        }  # fmt: skip

    use = call(4, other, "list", 200, None, None) | {
        "objectRef": {"resource": "configmaps", "namespace": "shop", "apiVersion": "v1"}, "sourceIPs": ["192.0.2.201"],
        "user": {"username": user, "groups": ["ops"], "extra": {"authentication.kubernetes.io/credential-id": [credential]}},
    }  # fmt: skip
    answer = issued if told else None
    return sorted(
        [*log, call(1, mine if made else other, "create", 201, body, body), call(2, mine, "update", 200, body, body, "approval"),
         call(3, other, "update", 200, None, answer, "status"), use],
        key=lambda event: event["requestReceivedTimestamp"],
    )  # fmt: skip


def _scope_with(tmp_path: Path, user: str, **how: bool) -> dict[str, Any]:
    return scope_of(varied("cluster_creator", tmp_path, events=lambda log: _asked_for(log, user, **how)))


def test_a_certificate_that_the_attacker_asked_for_is_followed_to_where_it_is_used(tmp_path: Path) -> None:
    scope = _scope_with(tmp_path, "platform-bob")  # who called before: the fingerprint alone tells them apart
    assert all(NEW.format(4) in finding["calls"] for finding in scope.values())
    found = _credentials(scope)[REQUEST]
    assert (
        found["certainty"] == "affected"
        and "asked for the certificate of request break-glass for platform-bob" in found["why"][0]["says"]
    )
    (row,) = [one for one in Case(tmp_path / "case").credentials.to_dict("records") if one["kind"] == "certificate"]
    assert (row["holder"], row["state"], row["ends_at"].year) == ("platform-bob", "usable", 2027)


def test_a_certificate_for_a_name_that_nobody_had_used_may_be_the_attackers_without_its_fingerprint(
    tmp_path: Path,
) -> None:
    scope = _scope_with(tmp_path, "night-shift", told=False)  # a rule that is few: alone it makes possible
    assert all(NEW.format(4) in finding["possible_calls"] for finding in scope.values())
    assert not any(NEW.format(4) in finding["calls"] for finding in scope.values())


def test_a_certificate_for_a_name_in_use_whose_fingerprint_nobody_told_is_possible(tmp_path: Path) -> None:
    scope = _scope_with(tmp_path, "platform-bob", told=False)
    assert not any(NEW.format(4) in finding["calls"] for finding in scope.values())
    assert all(NEW.format(4) in finding["possible_calls"] for finding in scope.values())


def test_a_certificate_that_the_attacker_only_approved_is_possible(tmp_path: Path) -> None:
    scope = _scope_with(tmp_path, "platform-bob", made=False)
    assert all(NEW.format(4) in finding["possible_calls"] for finding in scope.values())
    assert _credentials(scope)[REQUEST]["certainty"] == "possible"


@BESIDE
@pytest.mark.parametrize("minutes", [0, 2])
def test_what_still_called_when_the_log_ends_is_usable_without_a_dump(minutes: int, tmp_path: Path) -> None:
    """minutes: how much later somebody else calls last, so that the log ends later."""

    def longer(log: list[Event]) -> list[Event]:
        last = max(log, key=lambda event: str(event["stageTimestamp"]))
        at = (datetime.fromisoformat(last["stageTimestamp"]) + timedelta(minutes=minutes)).isoformat()
        healthy = {"username": "platform-dave", "groups": ["system:authenticated"]}
        more = {
            "user": healthy,
            "verb": "get",
            "auditID": "00000000-0000-4000-8000-000000000001",
            "requestURI": "/version",
        }
        kept = {name: value for name, value in last.items() if name not in ("objectRef", "annotations")}
        return [*log, kept | more | {"requestReceivedTimestamp": at, "stageTimestamp": at}]

    kit_json("new", tmp_path / "case", varied(NODE_CREDENTIAL, tmp_path, without=("cluster",), events=longer))
    entries = kit_json("brief", tmp_path / "case")["incidents"][0]["open"]
    known = {(one["kind"], one["key"]): (one["state"], one["says"].partition(": ")[2]) for one in entries}
    token, node = known["token", "checkout/api"], known["node", "ip-10-0-0-44.eu-west-1.compute.internal"]
    if minutes:
        assert token[0] == node[0] == "cannot tell"
    else:
        assert token == ("usable", "bound to pod checkout/api-55b7dc6c98-wflwk, whose token still worked at 16:22:43.")
        assert node == ("usable", "its kubelet still renewed its lease at 16:22:40.")
