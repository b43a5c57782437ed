"""Questions about acting in a lab's case: on what, on what not, and when an action is not taken."""

from __future__ import annotations

from string import ascii_lowercase

from kit.playbooks.playbook import playbooks_by_family
from kit.training.calls import with_namespace
from kit.training.kinds import LabQuestion, Matched, Picked
from kit.training.lab_state import LabState, services_up, state_recorded
from kit.training.material import Material
from kit.words import counted, few

_ACTIONS = 4


def what_to_act_on(material: Material) -> LabQuestion:
    """What containment is done to, and what it must not be done to: nodes, pods and people that the attacker had nothing to do with."""
    chance = material.chance("what_to_act_on")
    affected = {pod["uid"] for one in material.told.values() for pod in one["pods"]}
    touched = [pod for pod in material.truth["attacker_touched_pods"] if pod["deleted"] is None]
    touched_uids = {pod["uid"] for pod in material.truth["attacker_touched_pods"]}
    nodes = {pod["node"] for one in material.told.values() for pod in one["pods"]}
    nodes |= {node for one in material.told.values() for node in one["nodes"]}
    nodes |= {pod["node"] for pod in material.truth["attacker_touched_pods"]}
    identities = sorted({one["username"] for one in material.truth["attacker"]["identities"]})
    theirs = {str(event["user"]["username"]) for event in material.events}
    people = sorted(one for one in theirs - set(identities) if not one.startswith(("system:", "eks:")))
    before = state_recorded(material)
    standing = {str(one["metadata"]["uid"]) for one in before.of("pods")}
    quiet = [pod for pod in material.truth["all_pods"] if pod["uid"] in standing - affected - touched_uids]
    act = [f"Take away the access of {one}." for one in identities[:2]]
    act += [f"Isolate pod {with_namespace(pod)}." for pod in touched[:2]]
    spare = sorted({item["metadata"]["name"] for item in material.objects("nodes")} - nodes)
    ended = chance.sample(spare, min(1, len(spare)))
    leave = [f"Terminate node {one}." for one in ended]
    leave += [f"Take away the access of {one}." for one in chance.sample(people, min(2, len(people)))]
    deleted = chance.sample(sorted({with_namespace(pod) for pod in quiet}), 2)
    leave += [f"Delete pod {one}." for one in deleted]
    stops = {f"Terminate node {one}.": _stopped(before, before.pods_on(one)) for one in ended}
    stops |= {f"Delete pod {one}.": _stopped(before, {f"pods/{one}"}) for one in deleted}
    shown = chance.sample([*act, *leave], len(act) + len(leave))
    letters = dict(zip(ascii_lowercase, shown, strict=False))
    right = frozenset(letter for letter, text in letters.items() if text in act)
    return Picked(
        name="what_to_act_on",
        kit_tells=True,
        text="Which of these do you do?",
        goal="Act on what is the attacker's, and on nothing else",
        choices=letters,
        among=frozenset(letters),
        right=right,
        harmful=frozenset(letters) - right,
        proof={
            letter: f"{text} The attacker {'used' if text in act else 'neither used nor reached'} it.{stops.get(text, '')}"
            for letter, text in letters.items()
        },
        hints=("What the attacker neither used nor reached stays as it is.", f"{len(right)} of these are done."),
    )


def _stopped(before: LabState, pods: set[str]) -> str:
    """What ends with pods, by what stood in the cluster: how many run, and the Services that are left without one."""
    lost = sorted({*services_up(before)} - {*services_up(before.without(pods))})
    says = f", and no pod serves {few(lost, _ACTIONS)} any more" if lost else ""
    return f" {counted(len(pods), 'pod')} of your own would end{says}."


def when_not_to_act(material: Material) -> LabQuestion:
    """Which action of the plan is not taken, and why."""
    chance = material.chance("when_not_to_act")
    families = {*material.lab.families, *(str(one) for one in material.families)}
    reasons = dict[str, str]()
    for family in sorted(families):
        for do in playbooks_by_family()[family].actions:
            if do.when_not not in reasons.values():
                reasons.setdefault(do.action.does, do.when_not)
    does = chance.sample(sorted(reasons), min(len(reasons), _ACTIONS))
    letters = dict(zip(ascii_lowercase, chance.sample([reasons[one] for one in does], len(does)), strict=False))
    numbered = {str(number): one for number, one in enumerate(does, 1)}
    return Matched(
        name="when_not_to_act",
        kit_tells=True,
        text="The plan may have each of these actions. When do you not take it?",
        goal="Know when a planned action is not taken",
        items={number: f"{one}." for number, one in numbered.items()},
        options=letters,
        right={
            number: next(letter for letter, says in letters.items() if says == reasons[one])
            for number, one in numbered.items()
        },
        proof={number: f"{one}. {reasons[one]}" for number, one in numbered.items()},
        hints=("Ask of each action what it stops, and for whom.",),
    )
