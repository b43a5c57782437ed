"""Whoever responds: which actions name them, and which end their own way in, by identity in AWS and in the cluster.

Sources: EKS User Guide "Access entries" (a role is one principal, whoever assumed it); IAM User Guide, aws:TokenIssueTime (a deny hits every
session of a role that was issued before).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.errors import CallError
from kit.identities.access import Access
from kit.lenient import dicts_of
from kit.model.address import is_address, is_in
from kit.model.arn import is_arn, is_session, name_in, principal_of
from kit.plan.compromised import Compromised
from kit.plan.plan import PlannedAction
from kit.words import few

ENDS_WAY_IN = {Effect.SHUTS_OUT, Effect.ENDS_SIGN_IN, Effect.DENIES_SESSIONS, Effect.STOPS_KEY, Effect.ENDS_TOKENS}
"""The effects by which an action can end somebody's own way in."""
_MOST = 2  # names that are written out


@dataclass(frozen=True)
class Responder:
    """Whoever runs a plan. arns: as AWS and the cluster name them. key: of AWS, "" where not known. addresses: outside of the cluster from which they call, as far as known."""

    arns: tuple[str, ...] = ()
    user_name: str = ""
    groups: tuple[str, ...] = ()
    key: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How a sentence names them."""
        return few([*self.arns[:1], *([self.user_name] if self.user_name not in self.arns else [])], _MOST)

    def named_in(self, parameters: dict[str, Any]) -> list[str]:
        """Their names that an action's parameters name too."""
        return list(dict.fromkeys(self._named_in(parameters)))

    def _named_in(self, parameters: dict[str, Any]) -> Iterator[str]:
        meant = principal_of(parameters.get("arn") or parameters.get("role"))
        yield from (arn for arn in self.arns if meant and principal_of(arn) == meant)
        if not self.user_name:
            return
        account = f"system:serviceaccount:{parameters.get('namespace')}:{parameters.get('name')}"
        if self.user_name in (parameters.get("user_name"), account):
            yield self.user_name
        for one in dicts_of(parameters.get("remove")):
            space = one.get("namespace") or parameters.get("namespace")
            named = {"ServiceAccount": f"system:serviceaccount:{space}:{one.get('name')}"}
            if self.user_name == named.get(str(one.get("kind")), one.get("name")):
                yield self.user_name
            if one.get("kind") == "Group" and one.get("name") in self.groups:
                yield f"{self.user_name}, in group {one['name']}"

    def shut_out_by(self, planned: PlannedAction) -> str:
        """Why an action would end their own way in; "" where it does not, as far as that is known."""
        effects, known = {*ACTIONS[planned.action].effects}, planned.parameters
        told_apart = known.get("instances") or known.get("pods")
        other_key = self.key and Effect.STOPS_KEY in effects and self.key not in (known.get("access_key_ids") or ())
        other_tokens = Effect.ENDS_TOKENS in effects and not known.get("recreate")
        if not effects & ENDS_WAY_IN or told_apart or other_key or other_tokens or self._is_another_of(known):
            return ""
        names = self.named_in(known)
        return f"it would end your own way in, as {few(names, _MOST)}: have somebody else do it" if names else ""

    def _is_another_of(self, parameters: dict[str, Any]) -> bool:
        """Whether an action is about some sessions of a role alone, and theirs is known to be another."""
        own = {name_in(arn) for arn in self.arns if is_session(arn)}
        sessions = set(parameters.get("sessions") or ())
        return bool(sessions and own) and not sessions & own

    def left_outside(self, planned: PlannedAction) -> str:
        """Which address of theirs an action keeps away from the cluster's endpoint; "" where one stays in, or none is known."""
        keep = planned.parameters.get("keep")
        if Effect.NARROWS_ENDPOINT not in ACTIONS[planned.action].effects or keep is None or not self.addresses:
            return ""
        networks = [ip_network(one) for one in keep]
        if any(is_in(one, networks) for one in self.addresses):
            return ""
        stay = "among those that stay" if keep else "inside the VPC"
        return f"your own address {few(self.addresses, _MOST)} is not {stay}: you would be shut out of the cluster's endpoint"


def responder_of(held: Compromised, named: str) -> Responder:
    """Whoever is named by an ARN of AWS or a user name of the cluster, with what the evidence has of them beside the attacker's calls.

    Raises CallError for an ARN that is of no role, user or session.
    """
    principal = principal_of(named)
    if not named.strip() or (is_arn(named) and principal is None):
        raise CallError(
            f"{named!r} is no IAM role, user or session, and no user name", where="responder", next="`aws sts get-caller-identity` tells the ARN, `kubectl auth whoami` the user name"
        )  # fmt: skip
    known = held.scope.attacker.cluster_addresses
    inside = {*known.own, *known.control_plane, *known.way_out}

    def is_outside(address: Any) -> bool:
        return isinstance(address, str) and is_address(address) and address not in inside

    hostile = [f"{file}:{item}" for file, _, item in held.scope.attacker.calls]
    rows = held.store.rows(
        "SELECT DISTINCT arn, user_name, user_groups, source_address FROM audit WHERE (arn IS NOT NULL OR user_name = $named)"
        " AND NOT list_contains($hostile, file || ':' || item) ORDER BY arn, user_name, source_address",
        named=named,
        hostile=hostile,
    )
    own = [row for row in rows if named == row["user_name"] or (principal and principal_of(row["arn"]) == principal)]
    ways = [
        way
        for way in Access(held.store, held.inventory).ways
        if (principal_of(way.name) == principal if principal else way.user_name == named)
    ]
    arns = [named] if principal else [*(row["arn"] for row in own if row["arn"]), *(way.name for way in ways)]
    names = [row["user_name"] for row in own] if principal else [named]
    groups = [group for row in own for group in row["user_groups"] or ()]
    return Responder(
        tuple(dict.fromkeys(arns)),
        next(iter(names), ""),
        tuple(dict.fromkeys([*groups, *(group for way in ways for group in way.groups)])),
        addresses=tuple(dict.fromkeys(row["source_address"] for row in own if is_outside(row["source_address"]))),
    )
