"""Questions about what evidence shows and what it leaves out: read in the raw rows, because no table of the kit answers them.

Sources: Kubernetes "Auditing" (what each audit level keeps), AWS CloudTrail, VPC and GuardDuty user guides (what each source records).
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

from kit.training.calls import as_row, once, outcome
from kit.training.kinds import LabQuestion, Matched, Picked
from kit.training.material import Material

_STATEMENTS = 6
_HELD = {
    "a": "What was sent, and what came back.",
    "b": "What was sent; not what came back.",
    "c": "Neither: only that the call was made, and its outcome.",
}
_SHOWN_BY = {
    "a": "The Kubernetes audit log.",
    "b": "CloudTrail.",
    "c": "VPC flow logs.",
    "d": "Runtime Monitoring of GuardDuty.",
    "e": "None of these.",
}
_FACTS = {
    "a": (
        "Which secret a user read through the API server.",
        "Which command was asked for when an exec was opened.",
        "Who made a role binding, and whom it names.",
    ),
    "b": (
        "Which calls a stolen session of a role made to AWS.",
        "Who made an access entry of the cluster.",
    ),
    "c": (
        "How many bytes went from a node to an address on the internet.",
        "Whether a connection was tried from a node to an address of a bad domain, in a cluster without agents.",
    ),
    "d": (
        "Which process in a container opened a file of its node.",
        "Which program a shell in a container started, with no call to the API server.",
    ),
    "e": (
        "What a pod sent over TLS to an address on the internet.",
        "Each key that was pressed in an exec session.",
        "Who else got a secret that the attacker copied.",
    ),
}
"""Letter of a source → facts that this source records, or that none does."""


def statements_the_evidence_shows(material: Material) -> LabQuestion:
    """Which statements about calls their audit events show, and which say more or something else."""
    chance = material.chance("statements_the_evidence_shows")
    hostile = {str(one["auditID"]) for one in material.hostile_events}
    chosen = list[dict[str, Any]]()
    # Those of others too: what stands here tells nothing of whose call it was.
    for theirs in (True, False):
        listed = [one for one in once(material.events) if (one["auditID"] in hostile) == theirs]
        chosen += chance.sample(listed, min(len(listed), _STATEMENTS // 2))
    chosen = chance.sample(chosen, len(chosen))
    letters, right, proof = dict[str, str](), set[str](), dict[str, str]()
    for place, (letter, event) in enumerate(zip(ascii_lowercase, chosen, strict=False)):
        let, uri, more = outcome(event), str(event["requestURI"]), ""
        if place % 2 == 0:
            right.add(letter)
        elif place == 1:
            let = "was refused" if let != "was refused" else "was let through"
        elif place == 3:
            alike = {str(one["requestURI"]) for one in material.events if one["verb"] == event["verb"]}
            uri = chance.choice(sorted(alike - {uri}) or [f"{uri}/status"])
        else:
            more = ", and that its answer was copied out of the cluster"
        letters[letter] = f"audit:{event['auditID']} shows that {event['verb']} {uri} {let}{more}."
        proof[letter] = f"audit:{event['auditID']}: {as_row(event)}"
    return Picked(
        name="statements_the_evidence_shows",
        text="Which of these statements does the named audit event show, in all that they say?",
        goal="State what the rows state, and no more",
        choices=letters,
        among=frozenset(letters),
        right=frozenset(right),
        proof=proof,
        hints=(
            "Read verb, requestURI and responseStatus.code of each event; a code of 400 or more is no success.",
            f"{len(right)} of the statements are shown.",
        ),
    )


def what_the_log_holds(material: Material) -> LabQuestion:
    """What the audit log keeps of a call: what was sent, what came back, or only that it was made."""
    chance = material.chance("what_the_log_holds")
    by_kind: dict[str, list[dict[str, Any]]] = {letter: [] for letter in _HELD}
    hostile = {str(one["auditID"]) for one in material.hostile_events}
    for event in once(material.events):
        by_kind[_kept_of(event)].append(event)
    chosen = list[dict[str, Any]]()
    for listed in by_kind.values():
        own = [one for one in listed if one["auditID"] in hostile]
        others = [one for one in listed if one["auditID"] not in hostile]
        taken = chance.sample(own, min(1, len(own)))
        chosen += [*taken, *chance.sample(others, min(len(others), 2 - len(taken)))]
    chosen.sort(key=lambda one: (one["requestReceivedTimestamp"], one["auditID"]))
    numbered = {str(number): one for number, one in enumerate(chosen, 1)}
    return Matched(
        name="what_the_log_holds",
        text="What does the audit log hold of each of these calls?",
        goal="Know what the audit level leaves out",
        items={number: as_row(one) for number, one in numbered.items()},
        options=_HELD,
        right={number: _kept_of(one) for number, one in numbered.items()},
        proof={number: f"audit:{one['auditID']} has level {one['level']}" for number, one in numbered.items()},
        hints=("Look at level, requestObject and responseObject of the event.", "A list or get sends no object."),
    )


def what_would_show_it(material: Material) -> LabQuestion:
    """Which source would show a fact, and which facts no source shows."""
    chance = material.chance("what_would_show_it")
    facts = [(fact, letter) for letter, listed in _FACTS.items() for fact in chance.sample(listed, 1)]
    facts.append(next((fact, "e") for fact in _FACTS["e"] if (fact, "e") not in facts))
    numbered = {str(number): one for number, one in enumerate(chance.sample(facts, len(facts)), 1)}
    return Matched(
        name="what_would_show_it",
        text="Which source would show each of these, where it is switched on?",
        goal="Say what no evidence can tell, and which source tells the rest",
        items={number: fact for number, (fact, _) in numbered.items()},
        options=_SHOWN_BY,
        right={number: letter for number, (_, letter) in numbered.items()},
        proof={number: f"{fact} {_SHOWN_BY[letter]}" for number, (fact, letter) in numbered.items()},
        hints=("Each source records what passes it: the API server, AWS, the network card, the kernel of a node.",),
    )


def _kept_of(event: dict[str, Any]) -> str:
    if "responseObject" in event:
        return "a"
    return "b" if "requestObject" in event else "c"
