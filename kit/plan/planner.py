"""The plan: what is to be done, to what, in which order, what hangs on it and how it is undone. It changes nothing.

Made from the playbooks' actions and the scope: what the attacker touched is acted on; what is `possible`, and pods that are
only exposed, are listed for review. The same evidence gives the same
plan; its digest covers the actions with their account, region and cluster, and is what is approved.
Order: freeze → contain → revoke → capture → eradicate → recover. Sources: as in kit.actions.registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kit.actions.action import STAGES, Action, Comes, Held, action_id
from kit.actions.effect import Effect
from kit.actions.forms import odd_member
from kit.actions.permission import permissions_for
from kit.actions.registry import ACTIONS
from kit.actions.target import Target
from kit.errors import CallError
from kit.model.refs import Ref
from kit.model.why import Rule, Why
from kit.plan.blast_radius import BlastRadius
from kit.plan.lock_out import with_what_hits_you, with_what_it_takes_down, without_lock_outs
from kit.plan.order import (
    merged,
    selected,
    with_the_others,
    with_what_it_waits_for,
    without_needless_ends,
    without_what_goes_with_its_node,
)
from kit.plan.plan import ASKS_NOBODY, Made, Plan, PlannedAction
from kit.plan.played import Played
from kit.plan.responder import Responder
from kit.plan.serving import Serving
from kit.plan.stopping import without_what_ends_with_its_workload
from kit.plan.targets import Targets
from kit.playbooks.playbook import playbook_of
from kit.scope.scope import Scope
from kit.words import Names


def make_plan(
    scope: Scope,
    targets: Targets,
    only: Names = (),
    without: Names = (),
    responder: Responder | None = None,
) -> Plan:
    """The plan for the chosen findings of a scope: what their playbooks say, and every branch that what is affected leads into.

    only, without: names of actions or stages. responder: whose own way in no action may end. Raises CallError for a name that is neither.
    """
    chosen = _chosen(only, without)
    asked = {do.action.name for one in targets.scopes for do in playbook_of(one.finding.type).actions}
    radius, whys = BlastRadius(scope), _whys(scope)
    made, impossible = list[Made](), list[dict[str, str]]()
    for action in sorted(ACTIONS.values(), key=lambda one: STAGES.index(one.stage)):
        called_for = action.name in asked or (action.comes is Comes.FROM_OUTSIDE and targets.held.from_outside)
        if not targets.findings or not (called_for or action.comes is Comes.BY_SCOPE):
            continue
        done, cannot = targets.of(action)
        for target in done:
            planned = _planned(action, target, radius, whys, _when_not(action, target, targets), targets.held)
            known = [*planned.blast_radius, *action.tells(target, targets.held)]
            made.append((action, target, replace(planned, blast_radius=known)))
        impossible += (
            []
            if action.name not in chosen
            else [
                {"action": action.name, "target": f"{target.kind}:{target.key}", "name": _name(target), "says": says}
                for target, says in cannot
            ]
        )
    made = without_needless_ends(merged(made), chosen, targets.held)
    made = without_what_ends_with_its_workload(made, chosen, targets.inventory)
    made = with_the_others(without_what_goes_with_its_node(made), targets, radius)
    every = [with_what_it_waits_for(targets.inventory, number, made) for number in range(len(made))]
    serving = Serving(targets.held, responder)
    kept, refused = without_lock_outs(serving, [selected(one, chosen) for one in every if one.action in chosen])
    actions = tuple(with_what_hits_you(serving, with_what_it_takes_down(serving, kept)))
    impossible += [
        {"action": one.action, "target": one.target, "name": one.name, "says": reason} for one, reason in refused
    ]
    impossible = [one for left_out in impossible for one in _with_what_is_done_instead(left_out, serving, actions)]
    only_exposed = {("pod", uid) for uid in targets.held.exposed_pods}
    review = [
        str(Ref.of(*place))
        for place, subject in sorted(scope.index.places.items())
        if (subject.certainty == "possible" and subject.kind != "reachable") or place in only_exposed
    ]
    place = targets.account, targets.region, targets.cluster
    return Plan(*place, actions, tuple(review), tuple(impossible))


def _with_what_is_done_instead(
    left_out: dict[str, str], serving: Serving, actions: tuple[PlannedAction, ...]
) -> Iterator[dict[str, str]]:
    """What a pod that cannot be isolated comes to: the first action of the plan that cuts it off in another way, or ends it.

    Where that comes as early as the isolation would, nothing is left out.
    """
    action = ACTIONS[left_out["action"]]
    if Effect.CUTS_POD_OFF not in action.effects:
        yield left_out
        return
    uid, played = left_out["target"].partition(":")[2], Played(serving.standing, actions)
    found = dict[str, str]()
    for pod in (one for one in serving.standing.pods if one.pod.uid == uid):
        for by, does in ((played.ended(pod), "ends it"), (played.cut_off(pod), "cuts it off")):
            found |= {by.id: f"{by.action} in {by.stage} {does}"} if by else {}
    first = next((one for one in actions if one.id in found), None)
    if first is None or STAGES.index(first.stage) > STAGES.index(action.stage):
        says = found[first.id] if first else "no action of this plan cuts it off or ends it"
        yield left_out | {"says": f"{left_out['says']}; {says}"}


def _when_not(action: Action, target: Target, targets: Targets) -> list[str]:
    """What the playbooks of the findings that have the target say about when not to do it."""
    shared = targets.held.index.places.get((target.kind, target.key))
    about = [one.finding for one in targets.scopes if shared and one.finding.id in shared.findings]
    said = (
        do.when_not for one in about or targets.findings for do in playbook_of(one.type).actions if do.action is action
    )
    return list(dict.fromkeys(said)) or [ASKS_NOBODY]


def _chosen(only: Names, without: Names) -> set[str]:
    def named(names: Names, parameter: str) -> set[str]:
        found = set[str]()
        for name in names:
            of_stage = {one.name for one in ACTIONS.values() if name in (one.stage, one.name)}
            if not of_stage:
                raise CallError(
                    f"{name!r} is neither a stage nor an action",
                    where=parameter,
                    next=f"stages are {', '.join(STAGES)}; docs/actions.md has the actions",
                )
            found |= of_stage
        return found

    kept = named(only, "only") or set(ACTIONS)
    return kept - named(without, "without")


def _whys(scope: Scope) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The reasons of each subject, of an affected one those that make it affected."""
    return {
        place: [{"ref": str(why.ref), "says": why.says} for why in sorted(subject.reasons, key=_weight)[:5]]
        for place, subject in scope.index.places.items()
    }


def _weight(why: Why) -> tuple[int, str]:
    """What the finding says and what the attacker did comes before what merely ran there, and who created a pod last."""
    return (Rule.PRESENT, Rule.LIFE).index(why.rule) + 1 if why.rule in (Rule.PRESENT, Rule.LIFE) else 0, why.says


def _planned(
    action: Action,
    target: Target,
    radius: BlastRadius,
    whys: dict[tuple[str, str], list[dict[str, str]]],
    when_not: list[str],
    held: Held,
) -> PlannedAction:
    first = [{"ref": str(why.ref), "says": why.says} for why in target.why]
    lines, person = commands_of(action, target, held)
    return PlannedAction(
        id=action_id(action.name, target),
        stage=action.stage,
        action=action.name,
        does=action.does,
        target=f"{target.kind}:{target.key}",
        name=_name(target),
        uid=(target.thing.uid or None) if target.thing else None,
        why=[*first, *(one for one in whys.get((target.kind, target.key), []) if one not in first)][:5],
        precondition=action.precondition,
        blast_radius=[action.stops]
        if action.stops_nothing or action.stage == "freeze"
        else radius.of(action, target) or [f"by its kind: {action.stops}"],
        undo=action.undo,
        cannot_undo=action.cannot_undo,
        command=lines,
        permissions=permissions_for(action, target),
        when_not=when_not,
        after=[],
        parameters=target.parameters.as_json(),
        by_person=person or action.person(target) or action.by_person,
    )


def commands_of(action: Action, target: Target, held: Held) -> tuple[list[str], str]:
    """The commands of an action on a target, each on a line; or none, and why a person has to look: a name of no form that it can have."""
    commands, odd = action.commands(target, held), odd_member(target)
    odd = odd or next((f"a word of a command, {one.odd!r}," for one in commands if one.odd), "")
    if odd:
        return [], f"{odd} is of no form that it can have, and is in no command: look at it"
    return [*map(str, commands), *action.printed(target)], ""


def _name(target: Target) -> str:
    return "/".join(part for part in (target.namespace, target.name) if part) if target.thing else target.key
