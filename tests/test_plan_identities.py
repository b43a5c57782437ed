"""The plan about identities that several share: who else is on them, which of them an action stops, and which addresses may stay."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests import cases
from tests.command import SAMPLE, kit, kit_json
from tests.test_guide import untagged
from tests.test_host_access import EVERY
from tests.variation import Event, varied


def actions_of(recording: str) -> list[dict[str, Any]]:
    """The plan's actions for a recording."""
    planned: list[dict[str, Any]] = cases.planned(EVERY[recording])["actions"]
    return planned


def test_who_else_is_on_a_role_is_named_and_what_becomes_of_them() -> None:
    """Attacker and owner share role, address and client; access key and session tell them apart."""
    truth = json.loads((EVERY["shared_nat"] / "ground_truth.json").read_text())["attacker"]["identities"][0]
    said = {one["action"]: one["blast_radius"] for one in actions_of("shared_nat") if one["stage"] == "revoke"}
    for action, becomes in {
        "remove_cluster_access": "this stops it in the cluster",
        "end_sign_in": "it goes on unless its own sign-in is ended too",
        "revoke_role_sessions": "this stops its sessions in AWS that were issued before",
    }.items():
        (owner,) = [says for says in said[action] if says.startswith("session ")]
        assert owner.startswith("session bob@example.com: ") and owner.endswith(f" UTC; {becomes}")
        assert " calls from 192.0.2.35 with ASIAYEDOGXN6VSJ3542L, the last 2026-11-29 16:35:2" in owner
        assert not [says for says in said[action] if truth["access_key_id"] in says]
        assert (
            "the logs show 1 other caller on it; since the first hostile call none of them is new from outside"
            in said[action]
        )


def test_a_second_stranger_on_the_same_role_is_told_from_its_owner(tmp_path: Path) -> None:
    def with_another(log: list[Event]) -> list[Event]:
        last = [one for one in log if "ASIAYEDOGXN6VSJ3542L" in json.dumps(one)][-3:]
        text = (
            json.dumps(last)
            .replace("ASIAYEDOGXN6VSJ3542L", "ASIANOTHERKEY0000000")
            .replace("192.0.2.35", "203.0.113.250")
        )
        text = text.replace("bob@example.com", "mallory")
        return [*log, *(one | {"auditID": f"another-{number}"} for number, one in enumerate(json.loads(text)))]

    kit_json("new", tmp_path / "case", varied(EVERY["shared_nat"], tmp_path, events=with_another))
    actions = kit_json("plan", tmp_path / "case")["actions"]
    (said,) = [one["blast_radius"] for one in actions if one["action"] == "remove_cluster_access"]
    assert "the logs show 2 other callers on it; since the first hostile call 1 new from outside" in said
    assert (
        "session mallory was not on it before the first hostile call: if it is not yours, it is another attacker"
        in said
    )
    assert any(
        says.startswith("session mallory: 3 calls from 203.0.113.250 with ASIANOTHERKEY0000000, ") for says in said
    )


def test_pods_of_an_account_are_told_together_and_keep_their_tokens() -> None:
    actions = actions_of("stolen_sa_token")
    (ended,) = [one for one in actions if one["action"] == "end_service_account_tokens"]
    assert not ended["parameters"]["recreate"]
    (pods,) = [says for says in ended["blast_radius"] if says.startswith("pod ")]
    assert " calls in the cluster, the last 2026-11-23 16:20:4" in pods and pods.endswith("; it goes on")


def test_nobody_else_is_said_to_be_nobody() -> None:
    actions = actions_of("cluster_creator")
    planted = next(one for one in actions if one["target"] == "mapping:arn:aws:iam::999988887777:role/Support")
    assert planted["blast_radius"] == ["the logs show nobody else on it"]
    (creator,) = [one for one in actions if one["action"] == "end_creator_access"]
    assert any(
        "with ASIAKBERDUIM7HV62JZF, which the attacker used too, the last" in says for says in creator["blast_radius"]
    )


KEPT = {
    "192.0.2.35/32": "the attacker called from 192.0.2.35, and 192.0.2.35/32 would leave the endpoint open to that",
    "192.0.2.0/24": "the attacker called from 192.0.2.35, and 192.0.2.0/24 would leave the endpoint open to that",
    "198.51.0.0/19": "198.51.0.0/19 has more addresses than a /20",
    "2001:db8::/47": "2001:db8::/47 has more addresses than a /48",
    "198.51.100.0/24": "",
    "198.51.96.0/20": "",
    "2001:db8::/48": "",
}


@pytest.fixture(scope="module")
def shared_nat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.copied(tmp_path_factory.mktemp("shared_nat") / "case", EVERY["shared_nat"])


@pytest.mark.parametrize("cidr", KEPT)
def test_no_address_of_the_attackers_and_no_large_range_is_kept_open(cidr: str, shared_nat: Path) -> None:
    done = kit("plan", shared_nat, "--only", "narrow_endpoint", "--keep-address", cidr, "--json")
    if not KEPT[cidr]:
        assert done.returncode == 0 and json.loads(done.stdout)["actions"][0]["parameters"]["keep"] == [cidr]
        return
    assert done.returncode == 2 and KEPT[cidr] in done.stderr and "--keep-address" in done.stderr
    wide = kit("plan", shared_nat, "--only", "narrow_endpoint", "--keep-address", cidr, "--wide")
    assert wide.returncode == (2 if "attacker" in KEPT[cidr] else 0)


IAM = "arn:aws:iam::777788889999"


def test_what_the_attacker_made_in_aws_is_ended() -> None:
    """The creator's session made an access key of a user and an access entry for it: key, sessions and entry go, the creator has an action of its own."""
    actions = {(one["action"], one["target"]): one for one in actions_of("cluster_creator")}
    truth = json.loads((EVERY["cluster_creator"] / "ground_truth.json").read_text())
    user = f"{IAM}:user/svc-backup"
    (key,) = [one["access_key_id"] for one in truth["attacker"]["identities"] if one["role_or_user_arn"] == user]
    stopped = actions["deactivate_access_key", f"made_key:{key}"]
    denied = actions["deny_user_sessions", f"iam_user:{user}"]
    assert stopped["parameters"]["access_key_ids"] == [key] and stopped["id"] in denied["after"]
    assert "--user-name svc-backup" in denied["command"][0] and "aws:TokenIssueTime" in denied["command"][0]
    entry = actions["remove_cluster_access", f"mapping:{user}"]
    assert not entry["by_person"] and entry["why"][0]["ref"].startswith("trail:")
    looks = actions["review_iam_user", f"iam_user:{user}"]
    assert looks["by_person"] and {line.split()[2] for line in looks["command"]} >= {
        "list-access-keys",
        "get-login-profile",
        "list-mfa-devices",
    }
    assert ("undo_iam_changes", f"iam_change:{user}") not in actions, "the policy goes with the entry"
    assert not any(target == f"mapping:{IAM}:role/QA" for _, target in actions), "an entry that the owner made stays"


@pytest.mark.parametrize("mode", ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"])
def test_the_clusters_creator_is_taken_out_by_authentication_mode(mode: str, tmp_path: Path) -> None:
    evidence = varied(EVERY["cluster_creator"], tmp_path)
    described = evidence / "aws" / "eks-describe-cluster.json"
    described.write_text(described.read_text().replace("API_AND_CONFIG_MAP", mode))
    kit_json("new", tmp_path / "case", evidence)
    every = [
        one for one in kit_json("plan", tmp_path / "case")["actions"] if one["target"] == "identity:kubernetes-admin"
    ]
    assert "remove_cluster_access" not in {one["action"] for one in every}
    (creator,) = [one for one in every if one["action"] == "end_creator_access"]
    commands = " ".join(creator["command"])
    assert f'`"{IAM}:role/cluster-creator"`' in commands and "delete-access-entry --cluster-name core-eks" in commands
    assert ("authenticationMode=API_AND_CONFIG_MAP" in commands) is (mode == "CONFIG_MAP")
    assert bool(creator["by_person"]) is (mode == "CONFIG_MAP")
    assert mode != "CONFIG_MAP" or "which cannot be undone" in creator["by_person"]


def test_a_role_that_was_taken_on_with_a_stolen_session_is_revoked_after_that() -> None:
    actions = actions_of("pod_identity_theft")
    revoked = [one for one in actions if one["action"] == "revoke_role_sessions"]
    assert [one["target"] for one in revoked] == [
        f"iam_role:{IAM}:role/core-eks-redis-pod-identity",
        f"iam_role:{IAM}:role/core-eks-backup-operator",
    ]
    says = revoked[1]["why"][0]["says"]
    assert "took it on as session ASIA7SHR2BEVK2KTBJAD, which lives on when that is revoked" in says
    assert not revoked[1]["by_person"] and not revoked[1]["parameters"]["pods"]


def test_a_chained_role_of_another_account_is_for_a_person(tmp_path: Path) -> None:
    def elsewhere(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        text = json.dumps(records).replace(
            f"{IAM}:role/core-eks-backup-operator", "arn:aws:iam::999988887777:role/backup"
        )
        return list(json.loads(text))

    kit_json("new", tmp_path / "case", varied(EVERY["pod_identity_theft"], tmp_path, trail=elsewhere))
    plan = kit_json("plan", tmp_path / "case")
    role = "iam_role:arn:aws:iam::999988887777:role/backup"
    (told,) = [one for one in plan["actions"] if one["target"] == role]
    assert told["action"] == "end_sessions_elsewhere" and "of account 999988887777" in told["by_person"]
    assert not [one for one in plan["not_possible"] if one["target"] == role]


def test_what_else_was_changed_in_iam_is_undone_by_printed_lines(tmp_path: Path) -> None:
    hostile = "svc;reboot '$(id)"

    def more(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = next(one for one in records if one["eventName"] == "CreateAccessKey")
        asked: dict[str, dict[str, str]] = {
            "CreateLoginProfile": {"userName": hostile},
            "AttachUserPolicy": {"userName": hostile, "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
            "UpdateAssumeRolePolicy": {"roleName": "ci"},
        }
        return records + [
            made | {"eventID": f"more-{name}", "eventName": name, "requestParameters": given, "responseElements": None}
            for name, given in asked.items()
        ]

    kit_json("new", tmp_path / "case", varied(EVERY["cluster_creator"], tmp_path, trail=more))
    actions = [one for one in kit_json("plan", tmp_path / "case")["actions"] if one["action"] == "undo_iam_changes"]
    lines = {one["target"]: sorted(shlex.split(line) for line in one["command"]) for one in actions}
    assert all(one["by_person"] for one in actions)
    assert lines == {
        f"iam_change:{IAM}:user/{hostile}": [
            ["aws", "iam", "delete-login-profile", "--user-name", hostile],
            [
                "aws",
                "iam",
                "detach-user-policy",
                "--user-name",
                hostile,
                "--policy-arn",
                "arn:aws:iam::aws:policy/AdministratorAccess",
            ],
        ],
        f"iam_change:{IAM}:role/ci": [["aws", "iam", "get-role", "--role-name", "ci"]],
    }


BOB = "arn:aws:sts::444455556666:assumed-role/PlatformOps/bob@example.com"


def test_what_would_end_the_way_in_of_whoever_responds_is_refused(shared_nat: Path) -> None:
    """The owner of a role whose session the attacker uses too."""
    whole = kit_json("plan", shared_nat)
    for responder in (BOB, "arn:aws:iam::444455556666:role/team/PlatformOps", "platform-bob"):
        plan = kit_json("plan", shared_nat, "--as", responder, "--keep-address", "203.0.113.7/32")
        refused = {one["action"]: one["says"] for one in plan["not_possible"] if "your own way in" in one["says"]}
        assert {"remove_cluster_access", "revoke_role_sessions"} <= refused.keys()
        assert not refused.keys() & {one["action"] for one in plan["actions"]}
        assert "your own way in as " in plan["still_works"]["for_you"]
        # What ends the sign-in of another session is planned, and says that it is about a role of yours.
        sign_in = [one["blast_radius"] for one in plan["actions"] if one["action"] == "end_sign_in"]
        assert bool(sign_in) is ("role/team" not in responder)
        assert all("you are one of those that it hits: " in "".join(says) for says in sign_in)
        (narrow,) = [one for one in plan["actions"] if one["action"] == "narrow_endpoint"]
        assert [says for says in narrow["blast_radius"] if "your own address 192.0.2.35 is not among" in says]
    kept = kit_json("plan", shared_nat, "--as", "ci-deployer", "--keep-address", "192.0.2.240/29")
    assert not [says for one in kept["actions"] for says in one["blast_radius"] if "your own address" in says]
    other = kit_json("plan", shared_nat, "--as", "arn:aws:iam::444455556666:user/ops-carol")
    assert [one["id"] for one in other["actions"]] == [one["id"] for one in whole["actions"]]
    done = kit("plan", shared_nat, "--as", "arn:aws:s3:::bucket")
    assert done.returncode == 2 and "is no IAM role, user or session" in done.stderr


@pytest.mark.parametrize("is_tagged", [True, False])
def test_the_steps_of_a_service_account_keep_an_association_whose_sessions_name_their_pod(
    is_tagged: bool, tmp_path: Path
) -> None:
    """The plan denies these by pod, so that the account's other pods keep what they have."""
    evidence = SAMPLE if is_tagged else untagged(tmp_path, SAMPLE)
    steps = {
        step["says"]
        for finding in cases.printed("scope", of=cases.shared(evidence))["findings"]
        for identity in finding["identities"]
        for step in identity["take_away"]
        if "Pod Identity" in step["says"]
    }
    (says,) = steps
    assert says.startswith("Deny the sessions of") is is_tagged
    assert says.startswith("Delete the Pod Identity association") is not is_tagged


@pytest.mark.parametrize("shown_by", ["the finding's caller", "a node group"])
def test_all_sessions_of_a_role_of_nodes_are_never_denied_whatever_shows_that_it_is_one(
    shown_by: str, tmp_path: Path
) -> None:
    """Without the log no kubelet's sign-in is seen; denying the role would stop the network of new pods and image pulls on every node."""

    def called_by_another(findings: list[Event]) -> list[Event]:
        text = json.dumps(findings).replace("system:node:ip-10-0-0-44.eu-west-1.compute.internal", "somebody")
        return list(json.loads(text))

    alone = ("audit.jsonl.gz", "cluster", "aws", "cloudtrail.json.gz")
    change = None if shown_by == "the finding's caller" else called_by_another
    evidence = varied(EVERY["node_credential"], tmp_path, without=alone, findings=change)
    role = "arn:aws:iam::444455556666:role/prod-blue-node-HE1ZVQ"
    group = {
        "clusterName": "prod-blue",
        "nodegroupName": "workers",
        "nodeRole": role,
        "nodegroupArn": "arn:aws:eks:eu-west-1:444455556666:nodegroup/prod-blue/workers/1",
    }
    if change:
        (evidence / "eks-describe-nodegroup.json").write_text(json.dumps({"nodegroup": group}))
    kit_json("new", tmp_path / "case", evidence)
    plan = kit_json("plan", tmp_path / "case")
    assert role not in {one["target"].partition(":")[2] for one in plan["actions"]}
    (left,) = [one["says"] for one in plan["not_possible"] if one["action"] == "revoke_role_sessions"]
    assert left.startswith("it is a role of nodes (") and "decide" in left
    radius = [says for one in plan["actions"] if one["action"] == "terminate_node" for says in one["blast_radius"]]
    assert "which pods stand on it cannot be told: no dump of pods is in the evidence" in radius or change
