"""The MITRE ATT&CK technique of each deed; tests/data/attack.json holds ids, names and tactics to one version of ATT&CK for Enterprise."""

from __future__ import annotations

from typing import NamedTuple

from kit.statements.moments import Moment

ATTACK_VERSION = "17.1"
"""Source: attack.mitre.org, version history of ATT&CK for Enterprise."""


class DeedTechnique(NamedTuple):
    """A technique as ATT&CK names it, with the tactic for which it stands here."""

    id: str
    name: str
    tactic: str


_TECHNIQUES = {
    ("secret", "credential access"): DeedTechnique(
        "T1552.007", "Unsecured Credentials: Container API", "Credential Access"
    ),
    ("token", "credential access"): DeedTechnique("T1528", "Steal Application Access Token", "Credential Access"),
    ("exec", "execution"): DeedTechnique("T1609", "Container Administration Command", "Execution"),
    ("created", "execution"): DeedTechnique("T1610", "Deploy Container", "Execution"),
    ("created", "persistence"): DeedTechnique(
        "T1098.006", "Account Manipulation: Additional Container Cluster Roles", "Persistence"
    ),
    ("let_in", "persistence"): DeedTechnique(
        "T1098.006", "Account Manipulation: Additional Container Cluster Roles", "Persistence"
    ),
    ("deleted", "defense evasion"): DeedTechnique("T1070", "Indicator Removal", "Defense Evasion"),
    ("deleted", "impact"): DeedTechnique("T1485", "Data Destruction", "Impact"),
    ("changed", "defense evasion"): DeedTechnique(
        "T1562.008", "Impair Defenses: Disable or Modify Cloud Logs", "Defense Evasion"
    ),
    ("signed_in", "initial access"): DeedTechnique("T1078.004", "Valid Accounts: Cloud Accounts", "Initial Access"),
    ("looked", "discovery"): DeedTechnique("T1613", "Container and Resource Discovery", "Discovery"),
    ("config_map", "discovery"): DeedTechnique("T1613", "Container and Resource Discovery", "Discovery"),
}
_IN_AWS = {
    "looked": DeedTechnique("T1580", "Cloud Infrastructure Discovery", "Discovery"),
    "secret": DeedTechnique(
        "T1555.006", "Credentials from Password Stores: Cloud Secrets Management Stores", "Credential Access"
    ),
}
TECHNIQUES = tuple(dict.fromkeys([*_TECHNIQUES.values(), *_IN_AWS.values()]))
"""All that a deed may be given."""


def technique_of(one: Moment) -> DeedTechnique | None:
    """The technique of a call that was let through; None for refused ones and for deeds for which no one technique stands."""
    if one.kind in _IN_AWS and one.ref.startswith("trail:"):
        return _IN_AWS[one.kind]
    return _TECHNIQUES.get((one.kind, one.tactic))
