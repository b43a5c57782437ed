"""Who is meant by an action, and what makes it impossible."""

from __future__ import annotations

from kit.actions.action import Action
from kit.actions.effect import Effect
from kit.actions.target import Target
from kit.lenient import dict_of, dicts_of
from kit.model.arn import is_role
from kit.plan.compromised import Compromised
from kit.playbooks.playbook import playbook_of
from kit.scope.subject import FindingScope, Subject


def is_meant(action: Action, held: Compromised, scope: FindingScope, subject: Subject) -> bool:
    """Whether an action is for a subject of a scope."""
    kind, key, thing = subject.kind, subject.key, subject.thing
    gone = thing is not None and thing.standing is False and kind != "deleted"
    if gone or not (subject.certainty == "affected" or kind == "reachable"):
        return False
    if kind == "identity":
        kinds = [profile.identity.kind for profile in held.hostile(scope) if profile.identity.user_name == key]
        return bool(kinds) and kinds[0] in action.identities
    if kind == "iam_role":
        return is_role(key)
    if kind == "pod" and action.only_held:
        return key in held.used_pods
    if kind == "node":
        return key in held.reached or key in (held.unclear if action.only_held else held.nodes_of_used_pods)
    if kind == "image":
        return key in (_named_images(scope) if Effect.BLOCKS_IMAGE in action.effects else held.used_images)
    if kind == "token":
        return held.is_unbound(key) is not False and key not in held.hostile_accounts
    if kind in ("secret", "reachable"):
        # One of the attacker's own making has no value of yours: it is removed.
        path = f"secrets/{key}"
        return ("created", path) not in held.affected or ("deleted", path) in held.affected
    if kind in ("deleted", "changed"):
        # What the attacker had made is not brought back, and pods of a workload come back by it.
        owned = thing is not None and bool(held.inventory.owners(thing))
        return ("created", key) not in held.affected and not owned
    if kind == "created" and not action.reads_only and scope.finding.is_policy:
        # Else the finding's caller set it up: the exposure is closed, the object is neither stopped nor deleted.
        return bool(held.hostile(scope))
    return True


def _named_images(scope: FindingScope) -> set[str]:
    """Images that the finding itself names, where its playbook wants them stopped; the images of other pods are only kept.

    Runtime Monitoring lists all containers of a pod: of several, only the one in which the attack was seen counts, where the finding tells."""
    if not any(Effect.BLOCKS_IMAGE in do.action.effects for do in playbook_of(scope.finding.type).actions):
        return set()
    seen_in = dict_of(dict_of(scope.finding.raw.get("Resource")).get("ContainerDetails")).get("Image")
    listed = [str(one.get("Image")) for one in dicts_of(scope.finding.workload.get("Containers"))]
    if ":Runtime/" not in scope.finding.type or len(listed) < 2:
        return set(listed)
    return {str(seen_in)} if seen_in else set()


def impossible(action: Action, held: Compromised, target: Target) -> str:
    """Why an action cannot be done to a target, "" when it can."""
    if action.only_held and target.kind == "node" and target.key in held.unclear:
        return held.unclear[target.key]
    return action.impossible(target, held)
