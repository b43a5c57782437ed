"""`kit brief`: every recording's is held to its truth; what bad evidence gets; what the screen shows."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from kit.cli.collect import collect
from kit.cli.main import main
from kit.live.collect.requests import KINDS_OF_EVIDENCE
from kit.model.window import checked_window
from kit.scope.collecting import COLLECTED_AS
from kit.show import steps
from kit.words import before_or_after, iso, lasting
from tests import cases
from tests.cases import copied, shared
from tests.command import RECORDINGS, SAMPLE, kit, kit_json
from tests.statements import judged
from tests.truth import recordings

STOLEN = RECORDINGS / "stolen_sa_token"


@pytest.mark.parametrize("recording", recordings(), ids=lambda path: path.name)
def test_what_the_brief_of_a_recording_says_is_true(recording: Path) -> None:
    made = judged(recording)
    assert not made.wrong
    assert sum(made.right.values()) > 30


@pytest.mark.parametrize("recording", recordings(), ids=lambda path: path.name)
def test_a_step_has_all_commands_of_its_actions_or_says_how_to_get_them(recording: Path) -> None:
    planned = {one["id"]: one for one in cases.planned(recording)["actions"]}
    for incident in kit_json("brief", shared(recording))["incidents"]:
        for step in (one for one in incident["next"] if set(one["actions"]) <= planned.keys()):
            whole = {line for id_ in step["actions"] for line in planned[id_]["command"]}
            names = {planned[id_]["action"] for id_ in step["actions"]}
            if step["actions"] and whole and step["command"].startswith("kit plan CASE"):
                assert set(shlex.split(step["command"])[3:]) - {"--only"} == names
            elif step["actions"]:
                assert whole == set(filter(None, (step["command"] or "").split("\n"))), step["says"]


def test_the_screen_is_one_page() -> None:
    done = kit("brief", shared(SAMPLE), "--now", "2026-11-23T20:00:00Z")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 25 + 8
    assert "As of 2026-11-23 16:51:15 UTC, when the audit log ends, 3 h 8 min ago" in lines[0]
    assert len(kit("brief", shared(SAMPLE), "--all").stdout.splitlines()) > len(lines)


def test_only_the_age_and_whether_it_goes_on_depend_on_when_it_is_asked() -> None:
    early = kit_json("brief", shared(STOLEN), "--now", "2026-11-23T16:21:00Z")
    late = kit_json("brief", shared(STOLEN), "--now", "2026-11-25T00:00:00Z")
    assert [one.pop("active") for one in early["incidents"]] == ["yes"]
    assert [one.pop("active") for one in late["incidents"]] == ["cannot tell"]
    for said in (early, late):
        for one in said["incidents"]:
            one["cannot_tell"] = [limit for limit in one["cannot_tell"] if limit["about"] != ["active"]]
    assert early == late


def test_a_mapping_that_the_attacker_wrote_and_an_impersonation_stand_in_the_brief() -> None:
    brief = kit_json("brief", shared(RECORDINGS / "exec_kube_system"))
    (one,) = brief["incidents"]
    assert "kubernetes-admin" in {row["as"] for row in one["story"]}
    assert any("aws-auth: added" in row["says"] and "system:masters" in row["says"] for row in one["story"])
    (mapping,) = [entry for entry in one["open"] if entry["kind"] == "let_in"]
    assert mapping["state"] == "usable" and mapping["ends_by"]
    assert "kubernetes-admin" not in brief["still_works"]["for_attacker"]
    (impersonation,) = [entry for entry in one["open"] if entry["key"] == "kubernetes-admin"]
    assert (
        impersonation["of"] == "ops-erin"
        and impersonation["ends_by"]
        and "may call as kubernetes-admin" in impersonation["says"]
    )
    ended = {id_ for step in one["next"] if step["effect"] == "ends access" for id_ in step["actions"]}
    assert set(mapping["ends_by"]) & ended


def test_an_open_note_stands_in_the_brief_until_it_is_closed(tmp_path: Path) -> None:
    case = copied(tmp_path / "case", STOLEN)
    assert kit("note", case, "Isolate after the backup", "--ref", "note:1").returncode == 2
    assert kit("note", case, "We keep the pod until the capture is done").returncode == 0
    assert (
        kit("note", case, "Is this address ours?", "--owner", "network", "--due", "2026-11-30T18:00:00Z").returncode
        == 0
    )
    (open_one,) = kit_json("brief", case)["notes"]
    assert open_one["owner"] == "network" and "NOTE 2: Is this address ours?" in kit("brief", case).stdout
    shown = str(steps.done(Case(case))._repr_html_())
    assert "We keep the pod until the capture is done" in shown and shown.count(">open<") == 1
    assert kit("note", case, "No", "--ref", "note:2").returncode == 0
    assert kit_json("brief", case)["notes"] == [] and len((case / "notes.jsonl").read_text().splitlines()) == 3


def _evidence(to: Path, recording: Path = STOLEN) -> Path:
    return Path(shutil.copytree(recording, to, ignore=shutil.ignore_patterns("ground_truth.json")))


def _findings(evidence: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((evidence / "findings.json").read_text())
    return made


def _said(evidence: Path, case: Path) -> tuple[dict[str, Any], str]:
    assert kit("new", case, evidence).returncode == 0
    done = kit("brief", case)
    assert done.returncode == 0 and done.stdout.strip()
    return kit_json("brief", case), done.stdout


def test_without_a_finding_it_says_that_it_cannot_tell(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path / "e")
    for path in evidence.glob("findings*.json"):
        path.unlink()
    said, shown = _said(evidence, tmp_path / "case")
    assert said["incidents"] == [] and "cannot tell" in shown


def test_samples_are_in_no_incident(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path / "e")
    for path in evidence.glob("findings*.json"):
        listed = json.loads(path.read_text())
        for finding in listed["Findings"]:
            finding["Service"]["AdditionalInfo"] = {"Type": "default", "Value": '{"sample": true}'}
            finding["Title"] = f"[SAMPLE FINDING] {finding['Title']}"
        path.write_text(json.dumps(listed))
    said, shown = _said(evidence, tmp_path / "case")
    assert said["incidents"] == [] and said["case"]["sample"]
    assert len(said["no_incident"]) > 1 and "practice" in shown


def test_findings_without_a_log_say_what_is_missing(tmp_path: Path) -> None:
    evidence = tmp_path / "e"
    evidence.mkdir()
    shutil.copy(STOLEN / "findings.json", evidence)
    said, shown = _said(evidence, tmp_path / "case")
    (one,) = said["incidents"][:1]
    assert one["counts"]["calls"] is None and one["counts"]["aws_calls"] is None
    assert {"calls", "aws_calls"} <= {kind for limit in one["cannot_tell"] for kind in limit["about"]}
    assert one["active"] == "cannot tell" and one["story"] and "cannot tell" in shown


def test_a_finding_without_a_caller_has_a_story(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path / "e")
    listed = _findings(evidence)
    for finding in listed["Findings"]:
        finding["Resource"].get("KubernetesDetails", {}).pop("KubernetesUserDetails", None)
        finding["Service"].pop("Action", None)
    (evidence / "findings.json").write_text(json.dumps(listed))
    said, _ = _said(evidence, tmp_path / "case")
    assert all(one["story"] and one["next"] for one in said["incidents"])


def test_a_log_that_ends_in_the_middle_does_not_say_that_it_is_over(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path / "e")
    lines = gzip.decompress((evidence / "audit.jsonl.gz").read_bytes()).splitlines(keepends=True)
    truth = json.loads((STOLEN / "ground_truth.json").read_text())["attacker_calls"]
    last = max(number for number, line in enumerate(lines) if json.loads(line)["auditID"] in truth)
    cut = b"".join(lines[: last - 3]) + lines[last][:100]
    (evidence / "audit.jsonl.gz").write_bytes(gzip.compress(cut))
    said, _ = _said(evidence, tmp_path / "case")
    assert {one["active"] for one in said["incidents"]} == {"cannot tell"}


def test_how_long_before_the_call_the_log_begins_is_told_of_the_call() -> None:
    """What the finding allows around it is no reason to say 0 seconds."""
    recording = next(one for one in recordings() if one.name == "webhook_backdoor")
    case = Case(shared(recording))
    (first,) = case.sql("SELECT min(stage_at) AS at FROM audit")["at"]  # a watch of before is written when it ends
    (made,) = case.sql("SELECT received_at AS at FROM audit WHERE verb = 'create' AND resource = 'clusterroles'")["at"]
    says = [doubt["says"] for one in kit_json("brief", case.path)["incidents"] for doubt in one["expected_if"]]
    assert f"the log begins {lasting(made - first)} before it" in " ".join(says)


def test_three_hundred_findings_make_one_screen(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path / "e")
    listed = _findings(evidence)
    first = listed["Findings"][0]
    listed["Findings"] += [
        {**first, "Id": f"{number:032x}", "Arn": f"{first['Arn'].rpartition('/')[0]}/{number:032x}"}
        for number in range(300)
    ]
    (evidence / "findings.json").write_text(json.dumps(listed))
    said, shown = _said(evidence, tmp_path / "case")
    assert max(len(one["findings"]) for one in said["incidents"]) > 300
    assert len(shown.splitlines()) <= 45


def test_what_evidence_holds_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path / "e")
    text = gzip.decompress((evidence / "audit.jsonl.gz").read_bytes()).decode()
    (evidence / "audit.jsonl.gz").write_bytes(gzip.compress(text.replace("api-a6247", "api-\\u001b[31m").encode()))
    _, shown = _said(evidence, tmp_path / "case")
    assert "\x1b" not in shown and "\\x1b" in shown


def test_since_a_time_the_brief_begins_with_what_is_new_and_what_changed_by_which_row() -> None:
    case = shared(STOLEN)
    whole = kit_json("brief", case)
    (one,) = whole["incidents"]
    first = one["first_at"]
    late = kit_json("brief", case, "--since", first)
    news = late.pop("since")
    assert (news["calls"], news["refused"]) == (one["counts"]["calls"], one["counts"]["refused"])
    assert {entry["id"] for entry in news["opened"]} == {entry["id"] for entry in one["open"]}
    at = sorted({entry["since"] for entry in one["open"] if entry["since"]})[1]
    later = kit_json("brief", case, "--since", at)["since"]
    assert 0 < len(later["opened"]) < len(one["open"]) and 0 < later["calls"] < one["counts"]["calls"]
    assert all(change["was"] != change["now"] and change["refs"] for change in later["changed"])
    assert kit_json("brief", case, "--since", whole["evidence_ends"]["audit"])["since"]["calls"] == 0
    assert kit("brief", case, "--since", first).stdout.startswith(f"SINCE {first}: ")
    done = kit("brief", case, "--since", "yesterday")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_since_a_hash_the_brief_begins_with_what_later_evidence_brought(tmp_path: Path) -> None:
    first = [
        path for path in sorted(STOLEN.iterdir()) if "cloudtrail" not in path.name and path.name != "ground_truth.json"
    ]
    kit_json("new", tmp_path / "case", *first)
    before = kit_json("brief", tmp_path / "case")
    kit_json("add", tmp_path / "case", STOLEN / "cloudtrail.json.gz")
    news = kit_json("brief", tmp_path / "case", "--since", before["case"]["evidence"])["since"]
    assert [Path(path).name for path in news["evidence"]] == ["cloudtrail.json.gz"]
    assert news["aws_calls"] > 0 and news["calls"] == 0 and news["done"] is None
    assert kit("brief", tmp_path / "case", "--since", "0" * 64).returncode == 2


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def test_evidence_that_goes_by_itself_stands_in_brief_and_plan_with_its_time_and_rule(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(STOLEN, evidence, ignore=shutil.ignore_patterns("ground_truth.json"))
    cluster = json.loads((STOLEN / "ground_truth.json").read_text())["cluster"]
    nodes = json.loads((evidence / "cluster" / "nodes.json").read_text())
    for node in nodes["items"]:
        node["metadata"]["labels"]["karpenter.sh/capacity-type"] = "spot"
    _write(evidence / "cluster" / "nodes.json", nodes)
    claims = [
        {
            "metadata": {"name": node["metadata"]["name"], "creationTimestamp": "2026-11-20T00:00:00Z"},
            "spec": {"expireAfter": "336h"},
            "status": {"nodeName": node["metadata"]["name"]},
        }
        for node in nodes["items"]
    ]
    _write(
        evidence / "cluster" / "nodeclaims.json",
        {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaimList", "items": claims},
    )
    group = {
        "logGroupName": f"/aws/eks/{cluster}/cluster",
        "arn": "arn:aws:logs:eu-west-1:1:log-group:g",
        "retentionInDays": 7,
    }
    _write(evidence / "aws" / "logs.json", {"logGroups": [group]})
    assert kit("new", tmp_path / "case", evidence).returncode == 0
    (incident,) = kit_json("brief", tmp_path / "case")["incidents"]
    risks = incident["at_risk"]
    times = [one["lost_at"] for one in risks if one["lost_at"]]
    assert times == sorted(times) and [one["lost_at"] for one in risks][: len(times)] == times
    lost = {one["what"]: one for one in risks}
    first = datetime.fromisoformat(incident["first_at"])
    assert lost["Kubernetes Events"]["lost_at"] == iso(first + timedelta(hours=1))
    assert lost["EKS audit log in CloudWatch Logs"]["lost_at"] == iso(first + timedelta(days=7))
    assert lost["CloudTrail event history"]["lost_at"] == iso(first + timedelta(days=90))
    assert lost["memory and disks of Spot nodes"]["lost_at"] is None
    of_nodes = [one for what, one in lost.items() if what.startswith("memory and disks of node ip-")]
    assert of_nodes and {one["lost_at"] for one in of_nodes} == {"2026-12-04T00:00:00.000000Z"}
    assert any("retentionInDays" in one["says"] for one in risks) and any(
        "cannot be told" in one["says"] for one in risks
    )
    assert f"AT RISK    {risks[0]['says']}" in kit("brief", tmp_path / "case").stdout
    assert {one["what"] for one in kit_json("plan", tmp_path / "case")["vanishing"]} <= lost.keys()
    assert "## Evidence that goes by itself" in kit("plan", tmp_path / "case").stdout


def test_without_a_description_the_end_of_the_audit_log_cannot_be_told() -> None:
    (incident,) = kit_json("brief", shared(STOLEN))["incidents"]
    (group,) = [one for one in incident["at_risk"] if "audit log" in one["what"]]
    assert group["lost_at"] is None and "aws logs describe-log-groups" in group["says"]


def test_a_limit_says_what_to_collect_as_a_command_that_can_be_pasted(tmp_path: Path) -> None:
    truth = json.loads((STOLEN / "ground_truth.json").read_text())
    case = shared(STOLEN, without=("ground_truth.json", "cloudtrail.json.gz", "cluster"))
    (incident,) = kit_json("brief", case)["incidents"]
    limits = [*incident["cannot_tell"], *kit_json("scope", case)["findings"][0]["limits"]]
    commands = {one["collect"]: one["otherwise"] for one in limits if one["otherwise"]}
    assert commands and all(one["collect"] for one in limits)
    kinds = set[str]()
    for command in commands:
        program, name, *words = shlex.split(command)
        assert (program, name) == ("kit", "collect")
        given = collect.make_context(name, words, **main.context_settings).params
        assert given["cluster"] == truth["cluster"] and given["region"] == truth["region"]
        begin, end = checked_window(given["start"], given["end"])
        assert begin and end and set(given["kinds"]) <= KINDS_OF_EVIDENCE.keys()
        kinds |= set(given["kinds"])
    assert {"objects", "cloudtrail"} <= kinds
    assert "CloudTrail management events" in "".join(commands.values())
    assert "Collect: `kit collect " in kit("brief", case, "--all").stdout
    assert "; without access to the account: " in kit("scope", case, "--all").stdout
    assert Case(case).limits["otherwise"].notna().any()


def test_every_kind_that_a_limit_asks_for_is_one_that_is_collected() -> None:
    assert {kind for kinds in COLLECTED_AS.values() for kind in kinds} <= KINDS_OF_EVIDENCE.keys()


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(-5, "5 seconds after"), (1, "1 second before"), (59.9, "59 seconds before"), (60, "1 minute before"), (7500, "125 minutes before")],
)  # fmt: skip
def test_a_length_is_neither_said_to_be_none_nor_in_the_wrong_direction(seconds: float, says: str) -> None:
    assert before_or_after(timedelta(seconds=seconds)) == says
