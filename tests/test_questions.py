"""What questions may say, and may not, when evidence is missing or does not show what it seems to."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from kit.questions import QUESTIONS
from tests import cases
from tests.command import RECORDINGS, kit, kit_json
from tests.test_scope import STOLEN
from tests.truth import recordings
from tests.variation import Event, varied

QUICK = [RECORDINGS / name for name in ("stolen_sa_token", "anonymous_access", "exec_kube_system")]
READ = "CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed"


def verdicts(evidence: Path, finding_type: str) -> dict[str, str]:
    """The verdict of every question about the first finding of a type."""
    if not (evidence.parent / "case").exists():
        kit_json("new", evidence.parent / "case", evidence)
    case = Case(evidence.parent / "case")
    id_ = next(str(row.id) for row in case.findings.itertuples() if row.type == finding_type)
    return {name: case.answer(name, id_).verdict.word for name in QUESTIONS}


def test_a_policy_finding_alone_cannot_tell_what_was_done_with_it(tmp_path: Path) -> None:
    def policy(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in findings if one["Type"].startswith("Policy:")]

    said = verdicts(
        varied("default_sa_admin", tmp_path, findings=policy), "Policy:Kubernetes/AdminAccessToDefaultServiceAccount"
    )
    asked = (
        "secrets_read",
        "commands_run",
        "tokens_minted",
        "objects_deleted",
        "used_in_aws",
        "permissions_probed",
        "going_on",
    )
    assert {said[name] for name in asked} == {"cannot tell"}
    assert said["default_accounts_with_rights"] == "observed"


def test_without_the_clusters_own_addresses_nothing_is_outside(tmp_path: Path) -> None:
    def no_kubelets(events: list[Event]) -> list[Event]:
        return [event for event in events if not event["user"].get("username", "").startswith("system:node:")]

    evidence = varied(STOLEN, tmp_path, without=["cluster", "aws"], events=no_kubelets)
    case = tmp_path / "case"
    kit_json("new", case, evidence)
    opened = Case(case)
    for row in opened.findings.itertuples():
        answer = opened.answer("credentials_used_outside", str(row.id))
        assert answer.verdict.word == "cannot tell" or all(
            not one["From"].startswith("10.") or one["certainty"] == "possible" for one in answer.rows
        )


def test_a_refused_read_in_aws_took_nothing_out(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(RECORDINGS / STOLEN, evidence)
    path = evidence / "cloudtrail.json.gz"
    read = json.loads(gzip.decompress(path.read_bytes()))
    for one in read["Records"]:
        if one["eventName"] == "ListBuckets":
            one |= {
                "eventName": "GetSecretValue",
                "eventSource": "secretsmanager.amazonaws.com",
                "errorCode": "AccessDenied",
            }
    path.write_bytes(gzip.compress(json.dumps(read).encode()))
    said = verdicts(evidence, READ)
    assert (said["used_in_aws"], said["data_taken_out"]) == ("observed", "cannot tell")


def test_nothing_is_new_without_a_baseline(tmp_path: Path) -> None:
    said = verdicts(varied(STOLEN, tmp_path), READ)
    assert (said["is_it_new"], said["was_it_expected"]) == ("cannot tell", "cannot tell")


def test_a_note_of_any_letters_is_kept_and_read_again(tmp_path: Path) -> None:
    case = tmp_path / "case"
    cases.copied(case, RECORDINGS / STOLEN / "findings.json")
    id_ = kit_json("findings", case)["findings"][0]["id"]
    for note in ("seen by the owner\u2028see the ticket", "\u0085 \u202e é", "plain"):
        assert kit("mark", case, "--finding", id_, "--as", "confirmed", "--note", note).returncode == 0
    (case / "marks.jsonl").write_text((case / "marks.jsonl").read_text().rstrip("\n"))
    assert kit("mark", case, "--finding", id_, "--as", "wrong", "--note", "after a cut line").returncode == 0
    marks = kit_json("answers", case, "--finding", id_)["findings"][0]["marks"]
    assert [one["note"] for one in marks] == [
        "seen by the owner\u2028see the ticket",
        "\u0085 \u202e é",
        "plain",
        "after a cut line",
    ]


def _is_of(event: Event, resource: str, namespace: str, name: str) -> bool:
    about = event.get("objectRef") or {}
    named = about.get("name") or ((event.get("responseObject") or {}).get("metadata") or {}).get("name")
    return (about.get("resource"), about.get("namespace"), named) == (resource, namespace, name)


def test_what_came_back_under_its_name_still_stands(tmp_path: Path) -> None:
    new = "99999999-0000-4000-8000-000000000009"
    kept = dict[str, Any]()

    def again(events: list[Event]) -> list[Event]:
        made = next(
            event
            for event in events
            if event["verb"] == "create" and _is_of(event, "deployments", "market", "web-cache")
        )
        body = json.loads(json.dumps(made["responseObject"]))
        body["metadata"]["uid"] = new
        kept.update(body)
        last = max(event["requestReceivedTimestamp"] for event in events)
        ref = {**made["objectRef"], "name": "web-cache", "uid": new}
        return [
            *events,
            {
                **made,
                "auditID": "a-again",
                "objectRef": ref,
                "responseObject": body,
                "requestReceivedTimestamp": last,
                "stageTimestamp": last,
            },
        ]

    def dumped(resource: str, items: list[Event]) -> list[Event]:
        return [*items, {"apiVersion": "apps/v1", "kind": "Deployment", **kept}] if resource == "deployments" else items

    evidence = varied("vanished_deployment", tmp_path, events=again, dump=dumped)
    said = verdicts(evidence, "Execution:Kubernetes/AnomalousBehavior.WorkloadDeployed")
    assert (said["still_standing"], said["ways_back"]) == ("observed", "observed")
    targets = [
        one["target"] for one in kit_json("plan", tmp_path / "case")["actions"] if one["action"] == "delete_workload"
    ]
    assert any("web-cache" in one for one in targets)


def test_rights_of_all_that_sign_in_are_those_of_default_accounts_too(tmp_path: Path) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "everybody is admin", "uid": "88888888-0000-4000-8000-000000000008"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [
            {"kind": "Group", "name": "system:authenticated"},
            {"kind": "Group", "name": "system:unauthenticated"},
        ],
    }

    def dumped(resource: str, items: list[Event]) -> list[Event]:
        return [*items, binding] if resource == "clusterrolebindings" else items

    said = verdicts(
        varied("default_sa_admin", tmp_path, dump=dumped), "Policy:Kubernetes/AdminAccessToDefaultServiceAccount"
    )
    assert (said["default_accounts_with_rights"], said["anonymous_access"]) == ("observed", "observed")
    commands = [
        command
        for one in kit_json("plan", tmp_path / "case")["actions"]
        for command in one["command"]
        if "everybody" in command
    ]
    assert commands and all("'everybody is admin'" in command for command in commands)


@pytest.mark.parametrize(
    ("version", "told"), [("v1.31.4-eks-aeac579", True), ("v1.32.0-eks-5ca49cb", False), (None, False)]
)
def test_whether_a_binding_helps_anonymous_callers_depends_on_the_clusters_version(
    tmp_path: Path, version: str | None, told: bool
) -> None:
    def silent(events: list[Event]) -> list[Event]:
        return [event for event in events if event["user"].get("username") != "system:anonymous"]

    def aged(resource: str, items: list[Event]) -> list[Event]:
        for one in items if resource == "nodes" else ():
            one["status"]["nodeInfo"]["kubeletVersion"] = version
        return items

    without = ["aws"] if version is None else ["aws", "other"]
    kit_json("new", tmp_path / "case", varied("anonymous_access", tmp_path, without=without, events=silent, dump=aged))
    case = Case(tmp_path / "case")
    answer = case.answer("anonymous_access", str(case.findings["id"].iloc[0]))
    assert answer.says.startswith("1 binding gives rights to anonymous callers")
    limits = [limit.says for limit in answer.verdict.limits if "takes anonymous calls" in limit.says]
    assert bool(limits) != told
    assert all(("Kubernetes 1.32" if version else "version is in no evidence") in says for says in limits)


def test_an_aggregated_role_says_to_which_role_its_rules_are_added() -> None:
    case = Case(cases.shared(RECORDINGS / "webhook_backdoor"))
    rows = [row for id_ in case.findings["id"] for row in case.answer("permissions_given", str(id_)).rows]
    allows = {one: row["Allows"] for row in rows for one in [row["Permission"].partition("/")[0]]}
    assert "its rules are added to role view" in allows["clusterroles"]
    assert allows["mutatingwebhookconfigurations"] == ["sees, and may change, what is written to the cluster"]
    assert {row["To"] for row in rows if row["Permission"].startswith("secrets/")} == {
        "service account kube-system/metrics-server"
    }


# Question → the heading of what it names, the list in the ground truth.
DONE = {
    "secrets_read": ("Secret", "secrets_read"),
    "commands_run": ("In", "exec_into"),
    "tokens_minted": ("Service account", "tokens_minted"),
    "objects_deleted": ("Object", "objects_deleted"),
}


@pytest.mark.parametrize(
    "recording",
    [path if path in QUICK else pytest.param(path, marks=pytest.mark.full) for path in recordings()],
    ids=lambda path: path.name,
)
def test_the_answers_are_those_of_the_ground_truth(recording: Path) -> None:
    truth = json.loads((recording / "ground_truth.json").read_text())
    told = {**truth["findings"], **truth.get("more_findings", {})}
    case = Case(cases.shared(recording, without=("ground_truth.json",)))
    for name, (heading, listed) in DONE.items():
        wanted, named = set[str](), set[str]()
        for id_, about in told.items():
            answer = case.answer(name, id_)
            if not about["type"].startswith("Policy:"):
                wanted |= {str(one) for one in about.get(listed) or []}
                rows = [row for row in answer.rows if row.get("How", "minted") == "minted"]
                named |= {str(row[heading]) for row in rows if row["certainty"] == "affected"}
            if about.get(listed):
                assert answer.verdict.word == "observed", (about["type"], name)
        assert named == wanted, name
