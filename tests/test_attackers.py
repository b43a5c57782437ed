"""Attackers of our own: nobody innocent is named, and what is missed is possible or has a limit that names its kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attackers import FOES, Foe, tried
from tests.command import RECORDINGS
from tests.truth import recordings

BY_NAME = {one.name: one for one in FOES}
FOUND_BY_THEM = (
    ("another holder", "stolen_sa_token"),
    ("same second", "default_sa_admin"),
    ("same second, one NAT", "shared_nat"),
    ("same second, one NAT", "stolen_sa_token"),
    ("same second, one NAT", "default_sa_admin"),
    ("same second, terse finding", "exec_kube_system"),
    ("imitates controllers", "shared_nat"),
    ("forges", "exec_kube_system"),
    ("deletes traces", "vanished_deployment"),
    ("impersonates", "exec_kube_system"),
    ("break-glass", "shared_nat"),
    ("false alarms", "anonymous_access"),
    ("through the kubelet", "stolen_sa_token"),
    ("debugs", "stolen_sa_token"),
    ("own pods call", "vanished_deployment"),
    ("owner on the exit", "default_sa_admin"),
    ("one load balancer", "cluster_creator"),
    ("one load balancer, one client", "exec_kube_system"),
    ("one load balancer, one client", "vanished_deployment"),
    ("one load balancer, one client", "anonymous_access"),
    ("no keys", "shared_nat"),
    ("recreated secret", "webhook_backdoor"),
    ("let in again", "cluster_creator"),
    ("binds a quiet account", "exec_kube_system"),
    ("signs in with the token", "stolen_sa_token"),
    ("static pod", "cluster_creator"),
    ("uses a certificate", "exec_kube_system"),
    ("Pod Identity", "cluster_creator"),
    ("changes a workload", "exec_kube_system"),
    ("scales a workload", "exec_kube_system"),
    ("recreates a workload", "exec_kube_system"),
    ("inside the VPC", "exec_kube_system"),
)


def check(foe: Foe, recording: Path, folder: Path) -> None:
    result = tried(foe, recording, folder)
    if result is None:
        pytest.skip("this recording has nothing that the change could begin with")
    assert result.wrong == [] and result.silent == []
    assert foe.undecidable or result.missed == []


@pytest.mark.parametrize(("name", "recording"), FOUND_BY_THEM)
def test_what_an_attacker_of_our_own_found_stays_right(name: str, recording: str, tmp_path: Path) -> None:
    check(BY_NAME[name], RECORDINGS / recording, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("recording", recordings(), ids=lambda one: "long_incident" if one.name == "case" else one.name)
@pytest.mark.parametrize("foe", FOES, ids=lambda one: one.name)
def test_no_attacker_of_our_own_makes_the_scope_name_the_innocent(foe: Foe, recording: Path, tmp_path: Path) -> None:
    check(foe, recording, tmp_path)
