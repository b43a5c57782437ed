"""The ground truth of a case of one's own: what its scope names, once a person has confirmed it by marks.

Nothing is taken from the kit alone: each finding is marked, and no call is left of which it is open whose it is.
"""

from __future__ import annotations

import json
from typing import Any

from kit.case.case import Case
from kit.errors import TrainingError
from kit.store.marks import marked_findings
from kit.words import counted, few, iso

CONFIRMED = "confirmed"
TRUTH_LISTS = {
    "pod": "pods", "node": "nodes", "service_account": "service_accounts", "iam_role": "iam_roles", "image": "images",
    "secret": "secrets_read", "created": "objects_created", "deleted": "objects_deleted", "changed": "objects_changed",
    "exec": "exec_into", "token": "tokens_minted",
}  # fmt: skip
"""Kind of subject → its list in the ground truth."""
_MOST = 3


def truth_of(case: Case, asked: str) -> dict[str, Any]:
    """The ground truth of a case whose scope a person confirmed. Raises TrainingError with what stands in the way."""
    words = marked_findings(one for one in case.marks if not one.about)
    scopes = [one for one in case.scope["findings"] if words.get(one["id"]) == CONFIRMED]
    _refuse_without_ground(case, asked, words, scopes)
    pods = {pod.uid: pod for pod in case.inventory.pods}
    calls = sorted({call for one in scopes for call in one["calls"]})
    hostile = case.store.rows(
        "SELECT DISTINCT audit_id, user_name, user_groups, source_address, user_agent FROM audit WHERE list_contains($ids, audit_id)",
        ids=calls,
    )
    if {row["audit_id"] for row in hostile} != set(calls):
        raise TrainingError(
            "some of the attacker's calls have no auditID of their own",
            where=str(case.path),
            next="make the lab of a case whose audit log was not tampered with",
        )
    users = {row["user_name"]: list(row["user_groups"] if row["user_groups"] is not None else ()) for row in hostile}
    touched = {
        str(subject["uid"])
        for one in scopes
        for subject in one["subjects"]
        if (subject["kind"], subject["certainty"], subject["ring"]) == ("pod", "affected", "touched")
    }
    first, last = case.store.rows("SELECT min(received_at) AS first, max(received_at) AS last FROM audit")[0].values()
    return {
        "cluster": case.cluster,
        "account": case.account,
        "region": case.region,
        "window": {"start": iso(first), "end": iso(last)},
        "attacker": {
            "identities": [{"username": name, "groups": users[name]} for name in sorted(users)],
            "source_ips": sorted({row["source_address"] for row in hostile if row["source_address"]}),
            "user_agents": sorted({row["user_agent"] for row in hostile if row["user_agent"]}),
        },
        "attacker_calls": calls,
        "cloudtrail_attacker_events": sorted({call for one in scopes for call in one["aws_calls"]}),
        "attacker_touched_pods": [_pod(pods[uid], "the attacker used it") for uid in sorted(touched & pods.keys())],
        "findings": {one["id"]: _of_finding(one, pods) for one in scopes},
        "all_pods": [
            {
                name: one
                for name, one in _pod(pod, "").items()
                if name in ("namespace", "name", "uid", "created", "deleted")
            }
            for pod in pods.values()
        ],
    }


def _refuse_without_ground(case: Case, asked: str, words: dict[str, str], scopes: list[Any]) -> None:
    every = {one["id"]: one for one in case.scope["findings"]}
    if asked not in every:
        case.finding(asked)  # raises for an unknown one
    unmarked = [id_ for id_ in every if id_ not in words]
    faults = list[str]()
    if unmarked:
        faults.append(
            f"nobody has said of {counted(len(unmarked), 'finding')} whether it is confirmed: {few(unmarked, _MOST)}"
        )
    elif words[asked] != CONFIRMED:
        faults.append(f"finding {asked} is marked as {words[asked]}, and a lab asks about one that is confirmed")
    if scopes and not any(one["calls"] for one in scopes):
        faults.append("no call of the attacker's is known")
    open_ = sorted({call for one in scopes for call in one["possible_calls"]})
    if open_:
        faults.append(f"of {counted(len(open_), 'call')} it is open whether the attacker made it: {few(open_, _MOST)}")
    if not (case.cluster and case.account and case.region):
        faults.append("the evidence does not say cluster, account and Region")
    if faults:
        raise TrainingError(
            f"this case has no ground for right answers: {'; '.join(faults)}",
            where=str(case.path),
            next="mark what you know: kit mark CASE --finding ID --as confirmed, --call REF --as attacker",
        )


def _of_finding(scope: Any, pods: dict[str, Any]) -> dict[str, Any]:
    named = {name: set[str]() for name in TRUTH_LISTS.values()}
    for subject in scope["subjects"]:
        if subject["kind"] in TRUTH_LISTS and subject["certainty"] == "affected" and not subject["through"]:
            named[TRUTH_LISTS[subject["kind"]]].add(str(subject["key"]))
    lists: dict[str, Any] = {name: sorted(keys) for name, keys in named.items()}
    lists["pods"] = [_pod(pods[uid], "affected, as a person confirmed it") for uid in lists["pods"] if uid in pods]
    return {"type": scope["type"], "why": "as a person confirmed it", **lists}


def _pod(pod: Any, reason: str) -> dict[str, Any]:
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "node": pod.node or "",
        "service_account": (pod.service_account or "").partition("/")[2],
        "images": pod.images,
        "created": iso(pod.created_at),
        "deleted": iso(pod.deleted_at),
        "reasons": [reason],
    }


def differences(truth: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What two truths of one case name otherwise, in words."""
    found = list[str]()
    for id_ in sorted({*truth["findings"], *other["findings"]}):
        first, second = truth["findings"].get(id_), other["findings"].get(id_)
        if first is None or second is None:
            found.append(f"finding {id_}")
            continue
        found += [f"{name} of {id_}" for name in TRUTH_LISTS.values() if _keys(first[name]) != _keys(second[name])]
    for name in ("attacker_calls", "cloudtrail_attacker_events", "attacker_touched_pods"):
        if _keys(truth[name]) != _keys(other[name]):
            found.append(name)
    return found


def _keys(listed: list[Any]) -> set[str]:
    return {one["uid"] if isinstance(one, dict) else json.dumps(one) for one in listed}
