"""Each attributed call with its caller, what it did, and what stood before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from kit.case.case import Case
from tests import cases
from tests.command import RECORDINGS, kit
from tests.variation import Event, varied


def _changes(case: Case) -> dict[str, tuple[Any, Any]]:
    rows = case.calls[case.calls["after"].notna()].to_dict("records")
    return {f"{row['resource']}/{row['namespace']}/{row['name']}": (row["before"], row["after"]) for row in rows}


def test_a_scaling_has_the_replicas_before_and_after() -> None:
    found = _changes(Case(cases.shared(RECORDINGS / "oidc_user_impact")))
    assert found["deployments/store/web"] == ("replicas: 3", "replicas: 0")


def test_a_change_of_aws_auth_has_the_lines_that_it_added(tmp_path: Path) -> None:
    def known(log: list[Event]) -> list[Event]:
        """With the answer to an earlier write, by which what stood before is known."""
        change = next(
            one for one in log if one.get("objectRef", {}).get("name") == "aws-auth" and one["verb"] == "patch"
        )
        lines = change["responseObject"]["data"]["mapRoles"].partition(
            "- rolearn: arn:aws:iam::999988887777:role/Support"
        )[0]
        times = dict.fromkeys(("requestReceivedTimestamp", "stageTimestamp"), log[0]["requestReceivedTimestamp"])
        data = change["responseObject"]["data"] | {"mapRoles": lines}
        earlier = {"auditID": "00000000-0000-4000-8000-000000000301", "requestObject": {"data": {"mapRoles": lines}}}
        return [change | times | earlier | {"responseObject": change["responseObject"] | {"data": data}}, *log]

    evidence = varied("cluster_creator", tmp_path, events=known)
    assert kit("new", tmp_path / "case", evidence).returncode == 0
    _, after = _changes(Case(tmp_path / "case"))["configmaps/kube-system/aws-auth"]
    assert after.startswith("arn:aws:iam::999988887777:role/Support as support-")


def test_an_image_has_the_one_before_where_the_log_has_it(tmp_path: Path) -> None:
    known = list[str]()

    def swapped(log: list[Event]) -> list[Event]:
        """The attacker's scaling is an image that is set instead."""
        web = [
            one
            for one in log
            if one.get("objectRef", {}).get("name") == "web"
            and one["objectRef"]["resource"] == "deployments"
            and one["objectRef"]["namespace"] == "store"
        ]
        hostile = next(
            one for one in web if one["objectRef"].get("subresource") and one["user"]["username"] == "trent@example.com"
        )
        before = [
            one
            for one in web[: web.index(hostile)]
            if "responseObject" in one and "subresource" not in one["objectRef"]
        ]
        body = before[-1]["responseObject"]
        (container,) = body["spec"]["template"]["spec"]["containers"]
        known.append(container["image"])
        del hostile["objectRef"]["subresource"]
        hostile["responseObject"] = orjson.loads(orjson.dumps(body).replace(container["image"].encode(), b"evil/web:2"))
        hostile["requestObject"] = {
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "evil/web:2"}]}}}
        }
        return log

    evidence = varied("oidc_user_impact", tmp_path, events=swapped)
    assert kit("new", tmp_path / "case", evidence).returncode == 0
    before, after = _changes(Case(tmp_path / "case"))["deployments/store/web"]
    assert before.startswith(f"containers[web].image: {known[0]}")
    assert after.startswith("containers[web].image: evil/web:2")


def test_a_call_names_its_caller_and_its_deeds() -> None:
    rows = Case(cases.shared(RECORDINGS / "webhook_backdoor")).calls.to_dict("records")
    assert {"kube-system/metrics-server-token-7652c", "ASIA6VAHVUKSUZI4CQ3E"} == {row["credential"] for row in rows}
    made = next(row for row in rows if row["resource"] == "mutatingwebhookconfigurations")
    assert (
        made["deeds"][0].startswith("created mutatingwebhookconfigurations/") and made["because"] and made["user_agent"]
    )
