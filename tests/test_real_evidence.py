"""Findings and logs from the wild, read where they lie: each is taken for what its MANIFEST says, or not taken for a reason."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.command import SHARED, kit, kit_json

REAL = SHARED / "data" / "real"
FINDINGS, TRAIL, AUDIT = "GuardDuty findings", "CloudTrail", "Kubernetes audit log"

# file → what it is taken for, rows, rejects
TAKEN = {
    "aws-samples__eventbridge_partial_sshbruteforce.json": (FINDINGS, 1, 0),
    "cdkbp__get-findings_privilegedcontainer.json": (FINDINGS, 1, 0),
    "cruxstack__ocsf16_findings_list.json": (FINDINGS, 2, 1),
    "cruxstack__eventbridge_ocsf16_imported_v2.jsonl": (FINDINGS, 4, 2),
    "custodian__eventbridge_securityhub_custom_action.json": (FINDINGS, 1, 0),
    "stixshifter__guardduty_bare_list.json": (FINDINGS, 4, 2),
    "stixshifter__athena_guardduty_row_flattened.json": (FINDINGS, 1, 0),
    "stixshifter__cloudwatch_guardduty_row_detail_prefixed.json": (FINDINGS, 1, 0),
    "panther__guardduty_rules.jsonl": (FINDINGS, 8, 0),
    "cevo__sns_lambda_event_cloudtrail_archivefindings.json": (TRAIL, 1, 0),
    "stratus__aws.credential-access.secretsmanager-retrieve-secrets.json": (TRAIL, 21, 0),
    "stratus__aws.persistence.sts-federation-token.json": (TRAIL, 2, 0),
    "stratus__aws.persistence.iam-create-backdoor-role.json": (TRAIL, 2, 0),
    "stratus__aws.initial-access.console-login-without-mfa.json": (TRAIL, 1, 0),
    "stratus__aws.defense-evasion.organizations-leave.json": (TRAIL, 3, 0),
    "invictus__218007301253_CloudTrail_us-east-1_20230710T1200Z_x9kHmzMa7cx6l9wM.json": (TRAIL, 132, 0),
    "invictus__218007301253_CloudTrail_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json": (TRAIL, 26, 0),
    "eksimmersion__lookup-events_assumeroleforpodidentity.json": (TRAIL, 1, 0),
    "eksimmersion__cloudtrail_bare_event_assumeroleforpodidentity.json": (TRAIL, 1, 0),
    "eksimmersion__lookup-events_denied.json": (TRAIL, 1, 0),
    "falco__create_nginx_pod_privileged.json": (AUDIT, 1, 0),
    "falco__exec_pod.json": (AUDIT, 1, 0),
    "falco__attach_cluster_admin_role.json": (AUDIT, 1, 0),
    "falco__create_configmap_sensitive_values.json": (AUDIT, 6, 0),
    "falco__anonymous_creates_namespace_foo.json": (AUDIT, 1, 0),
    "gitopsreverser__audit-deletecollection-proxy-raw-listbody.json": (AUDIT, 1, 0),
    "gitopsreverser__flux-secret-dryrun-patch-eventlist.json": (AUDIT, 1, 0),
}
# file → what is said of it: why it is not taken, or why none of its records became a row
REFUSED = {
    "cdkbp__list-findings_ids_only.json": "holds only finding ids; fetch with",
    "cdkbp__securityhub_get-findings_eks1.json": "is a finding of Security Hub, not of GuardDuty",
    "stixshifter__get-findings_k8s_partial.json": "Id: is no GuardDuty finding without it",
    "stixshifter__insights_get-query-results_vpcflow.json": "without @message",
    "stixshifter__ocsf_rc_api_activity_row.json": "OCSF 0.17.1",
    "prowler__ocsf14_kubernetes_list.json": "is a finding of Prowler, not of GuardDuty",
    "falco__fal_01_003_malformed.json": "none of the kinds",
    "panther__kubernetes_rules_eks.jsonl": "requestReceivedTimestamp is missing",
    "panther__kubernetes_rules_aks.jsonl": "Azure (AKS)",
    "panther__kubernetes_rules_gke.jsonl": "Google Cloud (GKE)",
    "datadog__cloudwatch_subscription_decoded.json": "a log of /aws/lambda/",
    "datadog__cloudwatch_subscription_seconds.json": "a log of /aws/rds/",
}

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="findings and logs from the wild are not on this machine")


def test_every_file_of_the_manifest_is_looked_at() -> None:
    with (REAL / "MANIFEST.tsv").open(newline="") as manifest:
        listed = {row["file"] for row in csv.DictReader(manifest, delimiter="\t")}
    assert listed == {*TAKEN, *REFUSED}


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_taken_for_what_it_is(name: str, tmp_path: Path) -> None:
    (entry,) = kit_json("new", tmp_path / "case", REAL / name)["files"]
    assert (entry["taken_as"], entry["rows"], entry["rejects"]) == TAKEN[name]
    assert kit("scope", tmp_path / "case").returncode == 0
    findings: list[dict[str, Any]] = kit_json("findings", tmp_path / "case")["findings"]
    assert (
        all(not finding["about_eks"] for finding in findings)
        or "Kubernetes" in findings[0]["type"]
        or "Runtime" in repr(findings)
    )


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_not_taken_for_a_reason(name: str, tmp_path: Path) -> None:
    done = kit("new", tmp_path / "case", REAL / name)
    assert done.returncode == 2 and REFUSED[name] in done.stderr, done.stderr


def test_all_of_it_at_once_is_accounted_for(tmp_path: Path) -> None:
    entries = {entry["path"].split("/")[-1]: entry for entry in kit_json("new", tmp_path / "case", REAL)["files"]}
    assert {*TAKEN, *REFUSED} < entries.keys()
    for name, entry in entries.items():
        assert entry["rows"] + entry["duplicates"] + entry["rejects"] == entry["records"], name
        assert entry["taken_as"] or entry["note"].startswith("not taken: "), name
    assert entries["panther__kubernetes_rules_eks.jsonl"]["records"] == 149
    assert entries["prowler__ocsf14_kubernetes_list.json"]["records"] == 6


@pytest.mark.full
@pytest.mark.skipif(not REAL.is_dir(), reason="the findings from the wild lie beside the project")
@pytest.mark.parametrize("name", [name for name, (taken, *_) in TAKEN.items() if taken == FINDINGS])
def test_a_finding_alone_is_reported_and_nothing_is_said_that_no_log_shows(name: str, tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", REAL / name)
    for finding in kit_json("answers", tmp_path / "case")["findings"]:
        denied = {one["question"] for one in finding["answers"] if one["verdict"] == "not observed"}
        assert denied <= {"is_it_a_sample", "belongs_together"}
    report = Path(kit_json("report", tmp_path / "case")["report"]).read_text()
    assert "cannot tell" in report or "Nothing to investigate" in report
    assert "This report is incomplete" not in report


@pytest.mark.full
@pytest.mark.parametrize(
    "sample", sorted((Path(__file__).parent / "data" / "samples").iterdir()), ids=lambda path: path.name
)
def test_a_sample_alone_is_reported_and_nothing_is_said_that_no_log_shows(sample: Path, tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", sample)
    for finding in kit_json("answers", tmp_path / "case")["findings"]:
        denied = {one["question"] for one in finding["answers"] if one["verdict"] == "not observed"}
        assert denied <= {"is_it_a_sample", "belongs_together"}
    report = Path(kit_json("report", tmp_path / "case")["report"]).read_text()
    assert "cannot tell" in report or "Nothing to investigate" in report
