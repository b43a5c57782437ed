"""What the evidence does not tell of who was let in: without CloudTrail, by members of aws-auth that nobody can read, and where a collection was refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kit.attribution.attacker import Attacker
from kit.identities.aws_auth import unread_members
from kit.model.arn import signed_in_as
from kit.model.kinds import EVERYTHING, PODS
from kit.model.why import CLOUDTRAIL, Limit
from kit.store.store import Store
from kit.words import few


def limits_without_trail(store: Store, attacker: Attacker) -> Iterator[Limit]:
    """What is open without CloudTrail; also whose the calls are of principals and long-term keys that came after the attacker's first call."""
    if store.rows("SELECT 1 FROM trail LIMIT 1"):
        return
    says = "There is no CloudTrail: what was done in AWS with the roles, and whom the attacker let in there, cannot be told"
    yield Limit(("iam_role", "let_in", "credential"), says, CLOUDTRAIL)
    if new := _new_principals(store, attacker):
        says = (
            f"There is no CloudTrail, and {few(new, 4)} first called after the attacker did:"
            " whether the attacker let them in or made their keys, so that their calls are the attacker's, cannot be told"
        )
        yield Limit((*EVERYTHING, "source_ip"), says, CLOUDTRAIL)


def _new_principals(store: Store, attacker: Attacker) -> list[str]:
    """IAM principals, and long-term access keys of known ones, whose first call came after the attacker's first and is not attributed."""
    key = "CASE WHEN starts_with(access_key_id, 'AKIA') THEN access_key_id END"
    rows = store.rows(
        f"SELECT arn, {key} AS key, min(first_at) AS first_at FROM {store.callers} WHERE arn IS NOT NULL GROUP BY arn, {key}"
    )
    events = [call.event for call in attacker.calls.values()]
    attributed = {signed_in_as(one["arn"]) for one in events} | {one["access_key_id"] for one in events}
    first = dict[str, datetime]()
    for row in rows:
        for one in {signed_in_as(row["arn"]), row["key"]} - attributed - {None}:
            first[str(one)] = min(row["first_at"], first.get(str(one), row["first_at"]))
    begun = attacker.first_call_at
    return sorted(one for one, at in first.items() if begun and at > begun)


_SHOWN_BY = {"kubernetes": (*PODS, "secret", "reachable"), "guardduty": (*PODS, "identity", "source_ip")}
"""Service → the kinds of subjects that its answers may show; those of the logs have limits of their own."""


def limits_of_refusals(store: Store) -> Iterator[Limit]:
    """What a collection was not permitted to ask for, with the permission, and what it got no answer to."""
    refused = store.rows(
        "SELECT source, state, says FROM coverage WHERE state IN ('not permitted', 'not answered') AND NOT (starts_with(source, 'logs ') OR starts_with(source, 'cloudtrail '))"
        " ORDER BY source, says"
    )
    for row in refused:
        about = _SHOWN_BY.get(row["source"].partition(" ")[0], ("node", "iam_role", "let_in"))
        failed = row["state"] == "not answered"
        had = f"got no answer to {row['source']}" if failed else f"was not permitted {row['source']}"
        says = f"The collection {had} ({row['says']}): what that shows cannot be told"
        yield Limit(about, says, f"{'' if failed else 'the permission, then '}the same `kit collect` again")


def limits_of_aws_auth(store: Store) -> Iterator[Limit]:
    """Members of aws-auth that are no YAML, or no list."""
    for at, says, why in unread_members(store):
        yield Limit(
            ("let_in", "identity"),
            f"{says} ({why.says}): the authenticator lets nobody in by that member, and whom its lines are meant for is not told",
            "`kubectl get configmap aws-auth -n kube-system -o yaml`, and read that member by hand",
            at,
            at,
        )
