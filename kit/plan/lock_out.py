"""Steps that a plan refuses, as they lock out whoever responds or take the last node too early; and what the others take down.

Source: EKS User Guide "Cluster API server endpoint" (without private access nodes come in by their public addresses).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.plan.plan import PlannedAction
from kit.plan.played import Played
from kit.plan.responder import ENDS_WAY_IN
from kit.plan.serving import OUTAGES, Serving
from kit.words import few

_TAKES_NODES = {Effect.CORDONS, Effect.EVICTS, Effect.CUTS_NODE_OFF, Effect.ENDS_NODE}


def without_lock_outs(
    serving: Serving, actions: list[PlannedAction]
) -> tuple[list[PlannedAction], list[tuple[PlannedAction, str]]]:
    """The actions of a plan that lock nobody out, in their order; and the others, each with the reason."""
    kept, refused = list[PlannedAction](), list[tuple[PlannedAction, str]]()
    for one in actions:
        reason = next(filter(None, (rule(serving, kept, one) for rule in _rules_for(one))), "")
        if reason:
            refused.append((one, reason))
        else:
            kept.append(one)
    gone = {one.id for one, _ in refused}
    return [replace(one, after=[id_ for id_ in one.after if id_ not in gone]) if gone else one for one in kept], refused


def with_what_it_takes_down(serving: Serving, actions: list[PlannedAction]) -> list[PlannedAction]:
    """The actions of a plan; each that stops something of yours says what, as it is played. What starts again in the same stage is not told."""
    lines = dict[int, list[str]]()

    def missing(number: int) -> dict[tuple[str, str], str]:
        left = serving.left(Played(serving.standing, actions[:number]))
        return {(one.kind, one.key): one.says for one in left if one.kind in OUTAGES and not one.before}

    def look(first: int, last: int, before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> None:
        new = after.keys() - before.keys()
        if not new:
            return
        if last - first == 1:
            lines[first] = [
                f"takes down {kind.replace('_', ' ')} {key}: {after[kind, key]}" for kind, key in sorted(new)
            ]
            return
        half = (first + last) // 2
        between = missing(half)
        look(first, half, before, between)
        look(half, last, between, after)

    ends = [
        number
        for number, one in enumerate(actions, 1)
        if actions[number : number + 1] == [] or actions[number].stage != one.stage
    ]
    first, before = 0, missing(0)
    for last in ends:
        after = missing(last)
        look(first, last, before, after)
        first, before = last, after
    return [
        replace(one, blast_radius=[*one.blast_radius, *lines[number]]) if number in lines else one
        for number, one in enumerate(actions)
    ]


def with_what_hits_you(serving: Serving, actions: list[PlannedAction]) -> list[PlannedAction]:
    """The actions of a plan; each that hits whoever responds, and does not end their way in, says so."""
    you = serving.responder
    if you is None:
        return actions
    marked = list[PlannedAction]()
    for one in actions:
        names, outside = you.named_in(one.parameters), you.left_outside(one)
        says = [f"you are one of those that it hits: {few(names, 2)}"] if names else []
        says += [f"by the log, {outside}"] if outside else []
        marked.append(replace(one, blast_radius=[*one.blast_radius, *says]) if says else one)
    return marked


def _ends_your_way_in(serving: Serving, kept: list[PlannedAction], one: PlannedAction) -> str:
    return serving.responder.shut_out_by(one) if serving.responder else ""


def _rules_for(one: PlannedAction) -> list[_Rule]:
    effects = set(ACTIONS[one.action].effects)
    return [rule for asked, rule in _RULES if asked & effects]


def _takes_the_last_node(serving: Serving, kept: list[PlannedAction], one: PlannedAction) -> str:
    node, played = one.target.partition(":")[2], Played(serving.standing, kept)
    others = [name for name in serving.standing.nodes if name != node and played.takes_pods(name)]
    if others or played.all_by(Effect.ADDS_NODES) or not serving.inventory.is_dumped("nodes", None):
        return ""
    return "no other node is left to run pods, and this plan starts no new ones before: plan `add_nodes` with it"


def _takes_the_last_administrator(serving: Serving, kept: list[PlannedAction], one: PlannedAction) -> str:
    before, after = Played(serving.standing, kept), Played(serving.standing, [*kept, one])
    every = serving.administrators(before, with_hostile=True)
    taken = every.keys() - serving.administrators(after, with_hostile=True).keys()
    if not taken or serving.administrators(after) or not serving.knows_administrators:
        return ""
    return "no other administrator is in the evidence, so that nobody could manage the cluster: give one an access entry first"


def _closes_the_way_in(serving: Serving, kept: list[PlannedAction], one: PlannedAction) -> str:
    keep = one.parameters.get("keep")
    if keep is None or serving.network.get("endpointPrivateAccess") is not False:
        return ""
    if not keep:
        return "private access to the endpoint is off, so that nobody could reach the cluster: switch private access on first"
    networks = [ip_network(cidr) for cidr in keep]
    left = sorted(way for way in _ways_out(serving) if not any(ip_address(way) in network for network in networks))
    if not left:
        return ""
    return f"private access is off, and nodes come in by {few(left, 3)}: keep these addresses too, or switch private access on first"


def _ways_out(serving: Serving) -> set[str]:
    """The public addresses by which nodes reach AWS and the endpoint, as far as the evidence has them."""
    found = {*serving.scope.attacker.cluster_addresses.way_out}
    for node in serving.inventory.of("nodes"):
        found |= set(node.addresses) if node.standing is not False else set()
    return {address for address in found if _is_public(address)}


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


_Rule = Callable[[Serving, list[PlannedAction], PlannedAction], str]
_RULES: tuple[tuple[set[Effect], _Rule], ...] = (
    (_TAKES_NODES, _takes_the_last_node),
    ({Effect.SHUTS_OUT}, _takes_the_last_administrator),
    ({Effect.NARROWS_ENDPOINT}, _closes_the_way_in),
    (ENDS_WAY_IN, _ends_your_way_in),
)
