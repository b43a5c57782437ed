"""Which action waits for which: nothing is destroyed before it is kept, and cutting off waits for no slow capture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kit.actions.action import Action, Keeps, Wait, Where
from kit.actions.effect import Effect
from kit.actions.registry import action_of
from kit.actions.target import ChangedObject, EditedBinding, ExpectedObject, RoleSessions, Target
from kit.inventory.inventory import Inventory
from kit.model.arn import compared
from kit.model.identity import SERVICE_ACCOUNT
from kit.plan.blast_radius import BlastRadius
from kit.plan.compromised import Compromised
from kit.plan.plan import Made, PlannedAction
from kit.plan.targets import Targets
from kit.words import counted

_KEEPS = ("freeze", "capture")
_START_PODS = ("created", "running_job", "injected_workload")


def without_what_goes_with_its_node(made: list[Made]) -> list[Made]:
    """Pods that go with their node are not deleted before: their DaemonSet would start new ones on it."""
    ended = {target.key for action, target, _ in made if action.destroys and target.kind == "node"}

    def goes_with_it(action: Action, target: Target) -> bool:
        pod = target.thing if action.destroys and target.kind == "pod" else None
        return pod is not None and pod.node in ended

    return [(action, target, planned) for action, target, planned in made if not goes_with_it(action, target)]


def without_needless_ends(made: list[Made], chosen: set[str], held: Compromised) -> list[Made]:
    """A Pod Identity association of yours stays where the deny on its role names the attacker's pods: it hits their new sessions too, and without the
    association the account's other pods would stop. chosen: actions of the plan."""
    denied = {
        target.key
        for action, target, planned in made
        if Effect.DENIES_SESSIONS in action.effects
        and action.name in chosen
        and not planned.by_person
        and isinstance(target.parameters, RoleSessions)
        and target.parameters.pods
    }
    let_in = {one.key for one in held.scope.attacker.let_in if one.by == "pod_identity"}

    def is_needless(action: Action, account: str) -> bool:
        if Effect.ENDS_POD_IDENTITY not in action.effects or ("token", account) in held.affected:
            return False
        grants = held.inventory.service_account_roles.get(account, {})
        roles = {role for role, grant in grants.items() if grant.by_pod_identity}
        return roles <= denied and f"{SERVICE_ACCOUNT}{account.replace('/', ':', 1)}" not in let_in

    return [one for one in made if not is_needless(one[0], one[1].key)]


def selected(planned: PlannedAction, chosen: set[str]) -> PlannedAction:
    """The action in a plan of these actions alone: it waits for the captures that are left out all the same."""
    kept = [id_ for id_ in planned.after if (one := action_of(id_)) and (one.name in chosen or one.stage in _KEEPS)]
    return replace(planned, after=kept)


def with_the_others(made: list[Made], targets: Targets, radius: BlastRadius) -> list[Made]:
    """What an action stops together with those of its kind: all nodes of the cluster, all pods behind a Service."""
    every = dict[str, set[str]]()
    for action, target, _ in made:
        every.setdefault(action.name, set()).add(target.key)
    found = list[Made]()
    for action, target, planned in made:
        lines = list(planned.blast_radius)
        if action.takes_out and target.kind == "node":
            hit = every[action.name]
            known = targets.held.nodes_left | hit
            if len(hit) > 1:
                rest = (
                    f"{counted(len(known - hit), 'node')} left" if known - hit else "no known node is left to run a pod"
                )
                lines.append(f"with the others of this plan {len(hit)} of {len(known)} known nodes: {rest}")
        if action.takes_out and target.kind == "pod":
            lines += radius.services_without(target, every[action.name])
        found.append((action, target, replace(planned, blast_radius=lines)))
    return found


def merged(made: list[Made]) -> list[Made]:
    """Each object is edited or deleted by one action: what deletes it wins, and of several edits of a binding the first does them all.

    A binding that goes back to what stood before goes there without those who are taken out of it too.
    """

    def place(target: Target) -> tuple[str, ...] | None:
        known = target.parameters
        if not isinstance(known, ExpectedObject | EditedBinding | ChangedObject):
            return None
        return known.resource, str(known.namespace), str(known.name)

    deleted = {place(target) for action, target, _ in made if action.destroys} - {None}
    kept, first = list[Made](), dict[tuple[str, ...], dict[str, Any]]()
    back = {
        where: planned.parameters
        for _, target, planned in made
        if isinstance(target.parameters, ChangedObject)
        and "subjects" in target.parameters.patch
        and (where := place(target))
    }
    for action, target, planned in made:
        where = place(target)
        if where and isinstance(target.parameters, EditedBinding):
            if where in deleted:
                continue
            if where in back:
                remove, known = planned.parameters["remove"], back[where]
                known["patch"]["subjects"] = [one for one in known["patch"]["subjects"] or [] if one not in remove]
                known["remove"] += [one for one in remove if one not in known["remove"]]
                continue
            if where in first:
                first[where]["remove"] += [
                    one for one in planned.parameters["remove"] if one not in first[where]["remove"]
                ]
                continue
            first[where] = planned.parameters
        kept.append((action, target, planned))
    return kept


def with_what_it_waits_for(inventory: Inventory, number: int, made: list[Made]) -> PlannedAction:
    """The planned action with what has to be done before it: what destroys waits for the capture of the same thing and of what hangs on
    it, and each for what it declares."""
    action, target, planned = made[number]
    others = [one for place, one in enumerate(made) if place != number]
    waits = [wait for wait in action.waits if wait.where is not Where.BEFORE and wait.when(target)]
    after = list[str]()
    if action.destroys:
        after += [
            done.id for one, of, done in others if one.keeps is not Keeps.NOTHING and _holds(inventory, target, one, of)
        ]
    after += [done.id for one, _, done in others if one.stage in action.after_stages and one is not action]
    after += [
        done.id for one, of, done in others if any(_is_waited_for(inventory, wait, target, one, of) for wait in waits)
    ]
    if any(wait.where is Where.BEFORE for wait in action.waits):
        after += [done.id for one, _, done in made[:number] if one is action][-1:]
    after = list(dict.fromkeys(after))
    more = {"of": after} if action.tells_waits else {}
    return replace(planned, after=after, parameters=planned.parameters | more)


def _is_waited_for(inventory: Inventory, wait: Wait, target: Target, other: Action, of: Target) -> bool:
    """Whether another action on its target is what is waited for."""
    if other.name != wait.action:
        return False
    match wait.where:
        case Where.SAME:
            return (of.kind, of.key) == (target.kind, target.key)
        case Where.LOST:
            return _holds(inventory, target, other, of)
        case Where.ON_NODE:
            return of.thing is not None and of.thing.node == target.key
        case Where.OWNER:
            return _runs(inventory, of, target)
        case Where.HOLDER:
            mine, theirs = (str(getattr(one.parameters, "arn", None) or "") for one in (target, of))
            return bool(mine) and compared(mine) == compared(theirs)
        case Where.USER:
            return target.key in inventory.service_account_roles.get(of.key, {})
        case _:
            return True


def _runs(inventory: Inventory, workload: Target, pod: Target) -> bool:
    """Whether a workload is what a pod belongs to."""
    thing = workload.thing
    if thing is None or pod.thing is None:
        return False
    owned = inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)
    return any(one.uid == pod.thing.uid for one, _ in owned)


def _holds(inventory: Inventory, destroyed: Target, keeps: Action, kept: Target) -> bool:
    """Whether what is kept would be lost with what is destroyed: the same thing, the pods of a node, the pods of a workload; and with a pod
    what is on its node's disk."""
    if (destroyed.kind, destroyed.key) == (kept.kind, kept.key):
        return True
    thing = destroyed.thing
    if kept.kind == "node" and thing and destroyed.kind in ("pod", *_START_PODS):
        pods = (
            [thing]
            if destroyed.kind == "pod"
            else [one for one, _ in inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)]
        )
        return keeps.keeps is Keeps.DISK and any(one.node == kept.key and one.standing is not False for one in pods)
    if kept.kind != "pod" or kept.thing is None:
        return False
    if destroyed.kind == "node":
        return kept.thing.node == destroyed.key
    return destroyed.kind in _START_PODS and (
        bool(thing and thing.uid == kept.thing.uid) or _runs(inventory, destroyed, kept)
    )
