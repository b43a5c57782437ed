"""Questions about the findings of a lab's case: the suppression filter for one that is expected."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.model.finding import Finding, finding_of
from kit.plan.suppression import FIELDS, archives, narrowest
from kit.training.kinds import HARM_COSTS, Graded, LabQuestion
from kit.training.material import Material
from kit.words import nearest

_USER = ("Resource", "KubernetesDetails", "KubernetesUserDetails")


@dataclass(frozen=True, kw_only=True)
class Filtered(LabQuestion):
    """Which findings a suppression filter archives. expected: what it is for. attack: Id → finding of the attack, which it must not archive.

    alike: what the attack's findings would be if the expected caller's credential were used for them, from the attacker's address.
    """

    expected: Finding
    attack: Mapping[str, Finding]
    alike: Mapping[str, Finding]

    def grade(self, answer: Any) -> Graded:
        """Whether the filter archives what is expected, and how much more it would."""
        if not isinstance(answer, dict) or not answer:
            return Graded(0, unread=f"is no table of fields; {self.form}")
        given = {name: [one] if isinstance(one, str) else one for name, one in answer.items()}
        if not all(isinstance(one, list) and all(isinstance(value, str) for value in one) for one in given.values()):
            return Graded(0, unread=f"has a value that is no text; {self.form}")
        unknown = [name for name in given if name not in FIELDS]
        if unknown:
            return Graded(
                0, unread=f"{unknown[0]} is no field of a filter that is known here; {nearest(unknown[0], FIELDS)}"
            )
        harm = tuple(id_ for id_, one in self.attack.items() if archives(given, one))
        wrong = tuple(id_ for id_, one in self.alike.items() if archives(given, one))
        fits = archives(given, self.expected)
        share = 1 - len(wrong) / len(self.alike) if fits else 0.0
        return Graded(share - HARM_COSTS * len(harm), () if fits else (self.expected.id,), wrong, harm)

    @property
    def right_answer(self) -> dict[str, list[str]]:
        """The narrowest filter."""
        return narrowest(self.expected)

    @property
    def everything(self) -> dict[str, list[str]]:
        """A filter for all findings of the account."""
        return {"accountId": list(narrowest(self.expected)["accountId"])}

    @property
    def nothing(self) -> dict[str, list[str]]:
        """A filter that no finding meets."""
        return {"type": ["none"]}

    @property
    def form(self) -> str:
        """A table of fields."""
        return 'field and value in a table: { "type" = "TYPE", "service.action.kubernetesApiCallAction.verb" = "VERB" }'


def write_the_suppression_filter(material: Material) -> LabQuestion:
    """A filter that archives an expected finding, and nothing of the attack."""
    expected = material.expected
    theirs = {str(one["username"]) for one in material.truth["attacker"]["identities"]}
    attack, alike = dict[str, Finding](), dict[str, Finding]()
    for one in material.findings:
        if one["Id"] in material.told and _user(one).get("Username") in theirs:
            attack[str(one["Id"])] = finding_of(one)
            used = copy.deepcopy(one)
            _user(used).update(_user(expected))
            alike[f"{one['Id']} by {_user(expected)['Username']}"] = finding_of(used)
    return Filtered(
        name="write_the_suppression_filter",
        kit_tells=True,
        text=(
            f"Finding {expected['Id']} is expected: its owner confirmed the call, and it comes every day. Write the filter that archives findings like it,"
            " and none of the attack. Fields as GuardDuty's CreateFilter names them; all that you name have to hold."
        ),
        goal="Suppress what is expected, and nothing of an attack",
        expected=finding_of(expected),
        attack=attack,
        alike=alike,
        proof={
            str(expected["Id"]): f"finding:{expected['Id']} has {', '.join(sorted(narrowest(finding_of(expected))))}",
            **{id_: f"finding:{id_} is of the attack, and the filter archives it" for id_ in attack},
            **{id_: f"the filter would archive finding:{id_}, from the attacker's address" for id_ in alike},
        },
        hints=(
            "A filter by type alone archives what the attacker does, too: name the caller and the address.",
            "Name what tells the expected call from every other: type, verb, resource, caller and address.",
        ),
    )


def _user(finding: dict[str, Any]) -> dict[str, Any]:
    found: Any = finding
    for name in _USER:
        found = found.get(name) or {}
    return found if isinstance(found, dict) else {}
