"""Who made the call that a finding is about."""

from __future__ import annotations

from kit.attribution.attacker import Attacker
from kit.lenient import texts_of
from kit.model.arn import iam_arn, partition_of, signed_in_as
from kit.model.finding import ACCESS_KEY, Finding
from kit.model.identity import Identity, identity_of
from kit.model.why import Rule, Why


def identity_of_caller(finding: Finding, attacker: Attacker) -> Identity | None:
    """The identity of a finding's caller; None when it names none."""
    user = finding.user
    if not user.get("Username"):
        return None
    arn, groups = arn_of_caller(finding, attacker), user.get("Groups")
    return identity_of(
        str(user["Username"]), str(user.get("Uid") or "") or None, arn[0] if arn else None, texts_of(groups)
    )


def arn_of_caller(finding: Finding, attacker: Attacker) -> tuple[str, Why] | None:
    """The ARN of the IAM role or user behind the caller, with its path where any evidence has it, and what says so."""
    full_arn = attacker.cluster_addresses.inventory.full_arn
    for event in attacker.own_calls.of(finding):
        role = full_arn(signed_in_as(event["arn"]))
        if role:
            says = f"{event['user_name']} was signed in as {event['arn']}"
            return role, Why(attacker.store.event_ref(event), says)
    key, account = finding.access_key, finding.account
    name, kind = key.get("UserName"), key.get("UserType")
    if name and account and kind in ("AssumedRole", "Role", "IAMUser"):
        word = "user" if kind == "IAMUser" else "role"
        arn = iam_arn(partition_of(finding.arn), account, word, name)
        return full_arn(arn) or arn, Why(
            finding.ref(f"{ACCESS_KEY}.userName"), f"the finding names {kind} {name}", Rule.FINDING
        )
    return None
