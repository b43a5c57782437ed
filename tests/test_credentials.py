"""Which credentials the attacker has, how each was obtained, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kit.case.case import Case
from tests import cases
from tests.cases import printed
from tests.command import RECORDINGS, SAMPLE
from tests.variation import scope_of, varied

CREDENTIAL = "credential"


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
