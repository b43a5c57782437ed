"""Sentences that were once false: each kind is held to evidence that showed it false."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.cli.brief import brief_lines
from kit.statements.moments import Actor, Moment
from kit.statements.story import _in_two, _row
from tests.attackers import ELSEWHERE, FOES, Told
from tests.cases import printed, shared
from tests.command import RECORDINGS, SAMPLE, SHARED, kit, kit_json
from tests.statements import NEVER_SAID, plan_of

MINER = SHARED / "data" / "recordings" / "miner_daemonset"
BESIDE = pytest.mark.skipif(not MINER.exists(), reason="the recordings beside the project are not here")


def answered(recording: Path, question: str) -> list[dict[str, Any]]:
    """The answers of a recording's incidents to a question."""
    said = printed("answers", of=shared(recording))["answers"]
    return [one for one in said if one["question"] == question]


def incidents(recording: Path) -> list[dict[str, Any]]:
    """The incidents of a recording's brief."""
    found: list[dict[str, Any]] = printed("brief", of=shared(recording))["incidents"]
    return found


def test_a_mapping_in_aws_auth_is_a_permission_that_was_given() -> None:
    (given,) = answered(RECORDINGS / "exec_kube_system", "permissions_given")
    assert given["verdict"] == "observed" and "a mapping in aws-auth to arn:" in given["says"]
    assert any("group system:masters" in row["Allows"] for row in given["rows"])


def test_a_call_in_the_name_of_another_is_told_with_both_names() -> None:
    (one,) = answered(RECORDINGS / "exec_kube_system", "impersonated")
    assert re.search(r"\S+ as kubernetes-admin", one["says"]) and one["advice"]["holds"] is True


def test_aws_auth_as_a_whole_is_never_to_be_removed() -> None:
    for name in ("exec_kube_system", "cluster_creator"):
        (one,) = answered(RECORDINGS / name, "ways_back")
        assert one["advice"]["says"].startswith("Take the attacker's lines out of configmaps/kube-system/aws-auth")


def test_a_token_that_is_bound_to_no_pod_still_stands_and_one_whose_pod_is_gone_does_not() -> None:
    first = next(one for one in incidents(SAMPLE) if one["counts"]["calls"])
    states = {(one["key"], one["of"]): one["state"] for one in first["open"] if one["kind"] == "token"}
    assert states["checkout/api", "no pod"] == "usable" and "ended" in states.values()
    for question in ("still_standing", "ways_back"):
        one = next(each for each in answered(SAMPLE, question) if each["incident"] == first["id"])
        assert (
            one["verdict"] == "observed"
            and "token of checkout/api" in one["says"]
            and "warehouse/etl" not in one["says"]
        )


def test_the_callers_own_sign_in_is_no_call_of_a_pods_role() -> None:
    for name in ("access_entry_secrets", "cluster_creator", "shared_nat", "vanished_deployment"):
        for one in answered(RECORDINGS / name, "used_in_aws"):
            assert one["verdict"] != "observed" and not one["rows"], name


def test_what_the_victim_made_and_the_attacker_changed_is_not_to_be_deleted() -> None:
    (one,) = answered(RECORDINGS / "oidc_user_impact", "workloads_written")
    assert {row["Was"] for row in one["rows"] if row["certainty"] == "affected"} == {"changed"}
    assert "delete" not in one["advice"]["says"]


def test_gained_rights_are_asked_about_where_one_identity_was_refused_and_let_through() -> None:
    (one,) = answered(RECORDINGS / "anonymous_access", "refused_then_allowed")
    assert {row["Same identity"] for row in one["rows"]} == {"yes"} and one["advice"]["holds"] is None
    other = next(each for each in answered(SAMPLE, "refused_then_allowed") if each["rows"])
    assert {row["Same identity"] for row in other["rows"]} == {"no"} and other["advice"]["says"].startswith(
        "Compare the rights of "
    )


def test_a_service_account_is_not_asked_and_a_person_is() -> None:
    (account,) = answered(RECORDINGS / "stolen_sa_token", "who_is_it")
    assert "owner" not in account["advice"]["says"] and "service account" in account["says"]
    (person,) = answered(RECORDINGS / "vanished_deployment", "who_is_it")
    assert person["advice"]["holds"] is None and person["advice"]["says"].startswith("Do the owners of ")


def test_the_hosts_network_alone_takes_no_node() -> None:
    (one,) = answered(RECORDINGS / "exec_kube_system", "node_reached")
    assert one["verdict"] == "cannot tell" and one["advice"]["says"].startswith("Was the reach of ")


def test_other_pods_of_an_image_count_by_whether_they_stand_and_infrastructure_is_not_suspected() -> None:
    found = [one for one in answered(SAMPLE, "image_used_elsewhere") if one["verdict"] == "observed"]
    assert all("known to stand" in one["says"] for one in found)
    first = next(one["id"] for one in incidents(SAMPLE) if one["counts"]["calls"])
    rows = [row for one in answered(SAMPLE, "image_used_elsewhere") if one["incident"] == first for row in one["rows"]]
    assert not [row for row in rows if row["Pod"].startswith("kube-system/")]


def test_what_belongs_together_is_what_the_brief_joins() -> None:
    for recording in (RECORDINGS / "two_incidents", RECORDINGS / "shared_nat", SAMPLE):
        of = {one["id"]: set(one["findings"]) for one in incidents(recording)}
        for one in answered(recording, "belongs_together"):
            assert len(one["rows"]) == len(of[one["incident"]]) - 1
            assert {row["Id"] for row in one["rows"]} < of[one["incident"]]


def test_a_short_log_shows_nothing_of_what_is_usual() -> None:
    for recording in (RECORDINGS / "webhook_backdoor", RECORDINGS / "shared_nat"):
        doubts = [doubt for one in incidents(recording) for doubt in one["expected_if"]]
        assert doubts and all(doubt["holds"] is not False or "cannot be told" in doubt["says"] for doubt in doubts)


def test_no_step_is_cut_short_or_opens_an_editor() -> None:
    for recording in (SAMPLE, RECORDINGS / "exec_kube_system", RECORDINGS / "cluster_creator"):
        for step in (step for one in incidents(recording) for step in one["next"]):
            assert not (step["command"] or "").startswith(("kubectl edit", "aws ssm start-session"))
            assert step["says"].endswith(".") and "arn:" not in step["says"] and len(step["says"]) < 300


@pytest.mark.parametrize("name", ["exec_kube_system", "anonymous_access", "default_sa_admin", "webhook_backdoor"])
def test_no_kind_of_sentence_without_a_row_is_left(name: str) -> None:
    case = shared(RECORDINGS / name)
    for form in (printed("answers", of=case), printed("brief", of=case), plan_of(RECORDINGS / name)):
        text = json.dumps(form)
        said = re.findall(r'"says": "((?:[^"\\\\]|\\\\.)*)"', text)
        assert said and not [one for one in said if NEVER_SAID.search(one)]


def test_no_line_feed_stands_in_a_heading() -> None:
    assert "\\x0a" not in kit("answers", shared(RECORDINGS / "stolen_sa_token")).stdout


def test_what_opened_the_way_is_not_said_to_be_the_attackers() -> None:
    (one,) = answered(RECORDINGS / "anonymous_access", "still_standing")
    made_by = {row["Object"]: row["By"] for row in one["rows"]}
    assert (
        made_by["rolebindings/shop/debug-586f"] == "the finding's call"
        and made_by["pods/shop/web-bd3f6"] == "the attacker"
    )
    assert "rolebindings" not in one["advice"]["says"] and "the attacker made" not in one["says"]
    (back,) = answered(RECORDINGS / "anonymous_access", "ways_back")
    assert back["advice"]["holds"] is None and back["advice"]["says"].startswith(
        "If rolebindings/shop/debug-586f is not yours"
    )


def test_calls_that_may_be_the_attackers_are_asked_about_and_not_passed_over(tmp_path: Path) -> None:
    foe = next(one for one in FOES if one.name == "another holder")
    told = Told(RECORDINGS / "oidc_user_impact")
    foe.change(told)
    made = told.save(tmp_path)
    evidence = shutil.copytree(made, tmp_path / "evidence", ignore=shutil.ignore_patterns("ground_truth.json"))
    kit("new", tmp_path / "case", evidence)
    (one,) = kit_json("brief", tmp_path / "case")["incidents"]
    (scoped, *_) = kit_json("scope", tmp_path / "case")["findings"]
    (maybe,) = one["undecided"]
    assert maybe["from"] == ELSEWHERE and maybe["calls"] == len(scoped["possible_calls"]) == 5
    assert set(scoped["possible_calls"]) <= set(told.truth["attacker_calls"])
    assert ELSEWHERE in maybe["ask"] and "deleted cronjobs/store/report" in maybe["says"]
    assert "3 calls that may be" in one["story"][-1]["says"]
    assert {ref for row in one["story"] for ref in row["refs"]}.isdisjoint(maybe["refs"])
    assert one["active"] == "cannot tell" and "may be the attacker's" in one["cannot_tell"][0]["says"]
    said = kit("brief", tmp_path / "case").stdout
    assert "and 5 that may be the attacker's" in said and f"  PERHAPS    {maybe['says']} Ask: {maybe['ask']}" in said


def test_a_log_begins_with_the_first_event_that_was_written_not_with_a_watch_of_long_before() -> None:
    """A watch is written when it ends, with the time at which it began: that is before the log did."""
    with gzip.open(RECORDINGS / "exec_kube_system" / "audit.jsonl.gz", "rt") as log:
        events = [json.loads(line) for line in log]
    written = min(event["stageTimestamp"] for event in events)
    (incident,) = incidents(RECORDINGS / "exec_kube_system")
    calls = {ref for row in incident["story"] for ref in row["refs"]}
    hostile = (one["requestReceivedTimestamp"] for one in events if f"audit:{one['auditID']}" in calls)
    first = datetime.fromisoformat(min(hostile))
    (short,) = answered(RECORDINGS / "exec_kube_system", "is_it_new")
    said = re.search(r"begins (\d+) seconds before", short["says"])
    before = (first - datetime.fromisoformat(written)).total_seconds()
    assert said and before - 2 < int(said[1]) <= before  # the finding's first bad sign has whole seconds
    assert "begins 20 seconds before" in incident["expected_if"][0]["says"]


def test_what_was_tried_is_told_with_the_part_of_the_object_that_it_was_about() -> None:
    """To run a command in a pod is a create of pods/exec: without the part it reads as if a pod had been created."""
    (incident,) = incidents(RECORDINGS / "exec_kube_system")
    assert any("failed: create exec of pods/kube-system/coredns-" in row["says"] for row in incident["story"])
    assert "(create pods/exec)" in incident["expected_if"][0]["says"]


@BESIDE
def test_what_was_made_and_then_changed_is_one_thing_and_told_with_its_new_image() -> None:
    (incident,) = incidents(MINER)
    changed = next(row["says"] for row in incident["story"] if "; changed daemonsets/" in row["says"])
    assert "node-exporter (since then runs docker.io/xmrig/xmrig:6.22.2)" in changed
    for question, said in (("workloads_written", "1 workload was written"), ("ways_back", "1 way back")):
        (answer,) = answered(MINER, question)
        assert answer["says"].startswith(said) and answer["says"].count("daemonsets/delivery/node-exporter") == 1
    (images,) = answered(MINER, "images_brought_in")
    assert images["says"].startswith(
        "1 image was brought in, new here: ghcr.io/kinsing/kdevtmpfsi:latest. New here too"
    )
    (nodes,) = answered(MINER, "node_reached")
    assert nodes["advice"]["says"].count("compute.internal") == 3 and "its instance" not in nodes["advice"]["says"]
    (added,) = (one for one in plan_of(MINER)["actions"] if one["action"] == "add_nodes")
    assert "runs privileged" in added["why"][0]["says"]


def test_the_end_of_a_node_is_never_left_unsaid() -> None:
    """The steps name each node that the plan ends, also those that no open entry is reached by; another incident's are not its own."""
    ended = {one["id"] for one in plan_of(SAMPLE)["actions"] if one["action"] == "terminate_node"}
    attack, look_up = incidents(SAMPLE)
    said = [id_ for step in attack["next"] if step["effect"] == "closes a way back" for id_ in step["actions"]]
    assert len(ended) == 3 and ended <= set(said)
    assert not look_up["counts"]["calls"] and not [id_ for step in look_up["next"] for id_ in step["actions"]]
    made = next(one for one in attack["open"] if one["key"] == "deployments/checkout/metrics-agent")
    assert "with power over each node it is on (runs privileged, mounts /)" in made["says"]


def test_of_a_finding_without_a_call_it_is_asked_first_and_no_node_is_ended(tmp_path: Path) -> None:
    """Without a log nothing is attributed: no owner is named twice, nobody owns anonymous callers, and that none called is not said."""
    given = shutil.copytree(RECORDINGS / "anonymous_access", tmp_path / "given")
    for name in ("audit.jsonl.gz", "cloudtrail.json.gz", "ground_truth.json"):
        (given / name).unlink()
    kit("new", tmp_path / "case", given)
    for incident in kit_json("brief", tmp_path / "case")["incidents"]:
        (step,) = incident["next"]
        assert step["effect"] == "asks" and "system:anonymous" not in step["says"]
        owners = re.findall(r"[\w:-]+(?=, | what happened)", step["says"])
        assert len(owners) == len(set(owners)), step["says"]
    answers = kit_json("answers", tmp_path / "case")["answers"]
    said = [one["says"] for one in answers if one["question"] == "anonymous_access" and one["verdict"] == "observed"]
    assert said and all("whether they called is in no log" in one for one in said)


@BESIDE
def test_a_finding_without_a_call_ends_no_node(tmp_path: Path) -> None:
    """The log begins after the workload was made: its runtime findings are incidents without a call, and its node is not theirs to end."""
    given = shutil.copytree(MINER, tmp_path / "given", ignore=shutil.ignore_patterns("ground_truth.json"))
    with gzip.open(MINER / "audit.jsonl.gz", "rt") as log:
        late = [line for line in log if json.loads(line)["stageTimestamp"] > "2026-11-23T16:24:13.5"]
    (given / "audit.jsonl.gz").write_bytes(gzip.compress("".join(late).encode()))
    kit("new", tmp_path / "case", given)
    attack, *others = kit_json("brief", tmp_path / "case")["incidents"]
    assert others and attack["counts"]["calls"]
    for one in others:
        assert [step["effect"] for step in one["next"]] == ["asks"], one["next"]


def test_pods_of_one_workload_are_told_by_each_reason() -> None:
    """Of 35 pods of a workload 15 ran on the node: no reason of some is said of all."""
    lines = kit("scope", shared(SAMPLE)).stdout.splitlines()
    (etl,) = (line for line in lines if line.startswith("  warehouse/etl-"))
    assert "; 20: it runs under warehouse/etl" in etl and "; 15: it ran on ip-10-0-2-185" in etl


def test_no_action_has_the_birth_of_its_target_as_its_reason() -> None:
    for recording in (SAMPLE, RECORDINGS / "anonymous_access", RECORDINGS / "stolen_sa_token"):
        for action in plan_of(recording)["actions"]:
            first = action["why"][0]["says"]
            assert not first.startswith(("created by system:", "stands in ", "ran on node ", "was changed")), action


def test_one_is_told_as_one() -> None:
    said = kit("answers", shared(RECORDINGS / "stolen_sa_token")).stdout
    assert "1 more findings" not in said
    lost = [one["says"] for one in plan_of(RECORDINGS / "exec_kube_system")["vanishing"]]
    assert any("1 affected pod went with the pod, " in one for one in lost)


def test_what_is_collected_next_begins_where_the_audit_log_ends_not_where_cloudtrail_does() -> None:
    """CloudTrail ends seconds or hours later: from there on the time between would be in no log."""
    case = shared(RECORDINGS / "anonymous_access")
    brief = printed("brief", of=case)
    ends = {name: datetime.fromisoformat(brief["evidence_ends"][name]) for name in ("audit", "cloudtrail")}
    assert ends["audit"] < ends["cloudtrail"]
    (incident,) = brief["incidents"]
    (since,) = (one["collect"] for one in incident["cannot_tell"] if "active" in one["about"])
    assert f"--start-time {int(ends['audit'].timestamp() * 1000)}" in since
    first = kit("brief", case).stdout.splitlines()[0]
    assert f"As of {ends['audit']:%Y-%m-%d %H:%M:%S} UTC, when the audit log ends" in first
    assert first.endswith(f"; CloudTrail ends {ends['cloudtrail']:%Y-%m-%d %H:%M:%S} UTC.")


def _rows(recording: str) -> dict[str, str]:
    brief = printed("brief", of=shared(RECORDINGS / recording))
    return {row["says"]: row["at"][11:19] for one in brief["incidents"] for row in one["story"]}


def test_what_a_binding_let_through_is_told_after_it() -> None:
    rows = list(_rows("anonymous_access"))
    refused, opened, read = rows[:3]
    assert "was refused: list secrets of shop" in refused and "read secrets" not in refused
    assert "rolebindings/shop/debug-586f (gives ClusterRole edit in shop to User system:anonymous)" in opened
    assert "listed the secrets of shop; read secrets" in read


def test_what_came_minutes_after_a_look_has_a_row_with_its_own_time() -> None:
    for recording, deed, at in (
        ("default_sa_admin", "created rolebindings/checkout/tmp-admin", "16:25:15"),
        ("vanished_deployment", "created deployments/market/web-cache", "16:21:24"),
        ("access_entry_secrets", "listed the secrets of build", "16:27:02"),
    ):
        assert [told for says, told in _rows(recording).items() if deed in says] == [at]


def test_a_row_that_has_to_tell_of_hours_says_until_when() -> None:
    actor = Actor("eve@example.com", None, "203.0.113.9")
    start = datetime(2026, 11, 23, 10, tzinfo=UTC)
    moments = [
        Moment(
            start + timedelta(hours=number),
            f"audit:{number}",
            actor,
            "impact",
            "deleted",
            "deleted",
            f"pods/shop/{number}",
        )
        for number in range(30)
    ]
    rows = [_row(run) for run in _in_two(moments, 3, None)]
    assert len(rows) == 3
    assert all(row.says.startswith("until ") for row in rows if row.until != row.at)
    assert any("until 2026-11-24 " in row.says for row in rows)


def test_a_workload_that_was_scaled_is_told_with_how_many_it_was_left() -> None:
    (says,) = [says for says in _rows("oidc_user_impact") if "scaled" in says]
    assert "scaled deployments/store/web to 0 replicas;" in says


def test_the_way_in_says_what_is_known_of_how_the_credential_was_taken() -> None:
    for recording, known in (
        (
            "stolen_sa_token",
            "but GuardDuty reported Execution:Runtime/ReverseShell, Discovery:Runtime/SuspiciousCommand in that pod before.",
        ),
        (
            "default_sa_admin",
            "It was issued to that address, at 2026-11-23 16:23:50 UTC: whoever is there could sign in to AWS.",
        ),
    ):
        brief = printed("brief", of=shared(RECORDINGS / recording))
        assert known in brief["incidents"][0]["way_in"]["says"]


def test_pods_that_were_gone_before_the_attack_lost_no_logs_of_it() -> None:
    for recording, number, at in (
        ("anonymous_access", "1 affected pod", "16:19:35"),
        ("default_sa_admin", "8 affected pods", "16:25:15"),
    ):
        lost = [one["says"] for one in plan_of(RECORDINGS / recording)["vanishing"]]
        (says,) = [one for one in lost if "went with" in one]
        assert f"Container logs of {number} went" in says and at in says


def test_no_list_of_others_is_told_where_there_are_none() -> None:
    brief = printed("brief", of=shared(RECORDINGS / "default_sa_admin"))
    assert not [one["says"] for one in brief["incidents"][0]["cannot_tell"] if "not attributed: ." in one["says"]]
    assert not [one["says"] for one in brief["incidents"][0]["cannot_tell"] if "Others use" in one["says"]]


def test_rows_of_several_days_are_told_with_their_days() -> None:
    brief = printed("brief", of=shared(RECORDINGS / "anonymous_access"))
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert any(line.startswith("  16:19:27   anonymous") for line in brief_lines(brief, now, True))
    story = brief["incidents"][0]["story"]
    later = [*story[:-1], story[-1] | {"at": "2026-11-24T08:00:00.000000Z"}]
    lines = brief_lines(brief | {"incidents": [brief["incidents"][0] | {"story": later}]}, now, True)
    assert any(line.startswith("  2026-11-23 16:19:27   anonymous") for line in lines)
    assert any(line.startswith("  2026-11-24 08:00:00   No call") for line in lines)
