"""To which things of a case an action is done, with what it needs to know of each; and to which it cannot be done, with the reason.

`affected` is acted on. What destroys or shuts out is done only to what the evidence shows to be the attacker's or in the attacker's hands: a node
that merely ran an affected pod is kept and looked at, not torn down. Sources: GuardDuty User Guide "Remediating EKS Protection findings"
(which root causes lead to which steps); EKS User Guide "Network policies", "Fargate"; IAM User Guide "Revoking IAM role temporary security
credentials".
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kit.actions.action import Action, Target
from kit.errors import CallError
from kit.identities.access import Access
from kit.lenient import dicts_of
from kit.model.kubernetes import BOUND, ROLES
from kit.model.why import Standing
from kit.plan.compromised import Compromised
from kit.plan.eligible import Eligible
from kit.plan.parameters import OF_ANSWERS, Parameters
from kit.scope.scope import Scope
from kit.words import Names, few

Rows = Callable[[str], Iterable[dict[str, Any]]]


class Targets:
    """The things of one case that actions are done to."""

    def __init__(
        self,
        scope: Scope,
        rows: Rows,
        place: tuple[str | None, str | None, str | None],
        marked: dict[str, str],
        criteria: Callable[[str], dict[str, Any]],
        keep: tuple[str, ...] | None = None,
    ) -> None:
        """place: account, region, cluster. rows: question → the rows of its answer. marked: finding → its last mark. criteria: finding → those of its suppression filter.
        keep: CIDRs that the cluster's endpoint stays open for, () for none, None when nobody has said."""
        self._rows, self.marked, self._criteria = rows, marked, criteria
        self.account, self.region, self.cluster = place
        self.held = Compromised(scope, self.account, marked)
        self.scopes, self.findings, self.inventory = self.held.scopes, self.held.findings, self.held.inventory
        self._parameters = Parameters(self.held, place, keep)
        self._eligible = Eligible(self.held, self._parameters)

    def of(self, action: Action) -> tuple[list[Target], list[tuple[Target, str]]]:
        """What an action is done to, and what it cannot be done to, with the reason; each in the order of kind and key."""
        done, impossible = list[Target](), list[tuple[Target, str]]()
        for target in sorted(self._all(action), key=lambda one: (one.kind == "reachable", one.kind, one.key)):
            reason = self._eligible.impossible(action, target)
            if reason:
                impossible.append((target, reason))
            else:
                done.append(target)
        return done, impossible

    def _all(self, action: Action) -> Iterator[Target]:
        found = dict[tuple[str, str], Target]()
        for scope in self.scopes:
            for one in scope.subjects.values():
                kind: str = one.kind
                if kind == "created" and one.key.partition("/")[0] in (*BOUND, *ROLES):
                    kind = "written_binding"
                if kind not in action.kinds or not self._eligible.is_meant(action, scope, one):
                    continue
                target = self._parameters.target(action, one.kind, one.key, one.thing)
                found.setdefault((one.kind, one.key), target)
        for kind, name in OF_ANSWERS.items():
            for row in self._rows(name) if kind in action.kinds else ():
                if row["path"] and not row.get("Stands", Standing.UNTOLD).is_gone:
                    thing = self._parameters.thing_at(row["path"])
                    found.setdefault((kind, row["path"]), self._parameters.target(action, kind, row["path"], thing))
        if action.name == "remove_cluster_access":
            for way in self.held.written_mappings[0]:
                mapped: dict[str, Any] = {
                    "user_name": way.user_name,
                    "arn": way.name,
                    "access_key_ids": [],
                    "hostile": self.held.hostile_principals,
                }
                found["mapping", way.name] = Target("mapping", way.name, None, self.cluster, None, mapped, (way.why,))
        if action.name == "compare_mappings":
            taken = {key for kind, key in self.held.affected if kind == "iam_role"}
            for way in (one for one in self.held.written_mappings[1] if one.name not in taken):
                found["mapping", way.name] = Target(
                    "mapping", way.name, None, self.cluster, None, {"arn": way.name}, (way.why,)
                )
        if action.name == "roll_out_fixed":
            for path, why in self.held.workloads_to_mend.items():
                found["workload", path] = Target("workload", path, None, self.cluster, None, {}, why)
        if action.name == "add_nodes" and not self.held.nodes_left:
            found["cluster", self.cluster or ""] = self._parameters.target(
                action, "cluster", self.cluster or "CLUSTER", None
            )
        if action.name == "revoke_role_sessions":
            for node, whys in self.held.credential_in_reach.items():
                instance = self._parameters.instances.get(node)
                role = self.inventory.node_roles[node][0] if node in self.inventory.node_roles else None
                denied: dict[str, Any] = {"role": role, "instances": [instance] if instance else [], "pods": []}
                found["node", node] = Target(
                    "node", node, self._parameters.thing_at(f"nodes/{node}"), self.cluster, instance, denied, whys
                )
        if "used_binding" in action.kinds:
            for binding in self.held.used_bindings:
                found["used_binding", binding.path] = self._parameters.target(
                    action, "used_binding", binding.path, binding
                )
        if action.name == "narrow_endpoint":
            found["cluster", self.cluster or ""] = self._parameters.target(
                action, "cluster", self.cluster or "CLUSTER", None
            )
        # A bare pod of the attacker's is kept and deleted as a pod, an image that was brought in is kept as that: one action on one object.
        pods = {key for kind, key in self.held.affected if kind == "pod"}
        images = {key for kind, key in found if kind == "introduced"}
        found = {
            (kind, key): one
            for (kind, key), one in found.items()
            if not (kind == "created" and one.thing and one.thing.uid in pods)
            and not (kind == "image" and key in images)
            and not (kind == "reachable" and ("secret", key) in found)
        }
        for scope in self.scopes if "finding" in action.kinds else ():
            word = self.marked.get(scope.finding.id)
            if word:
                known: dict[str, Any] = {"finding": scope.finding.id, "useful": word == "confirmed"}
                found["finding", scope.finding.id] = Target(
                    "finding", scope.finding.id, None, self.cluster, None, known
                )
        for finding in self.findings if {"finding", "expected_finding"} & set(action.kinds) else ():
            if self.marked.get(finding.id) == "expected":
                digest = hashlib.sha256(finding.id.encode()).hexdigest()[:10]
                known = {"finding": finding.id, "useful": False}
                if "expected_finding" in action.kinds:
                    known |= {"name": f"kit-expected-{digest}", "criteria": self._criteria(finding.id)}
                found["finding", finding.id] = Target("finding", finding.id, None, self.cluster, None, known)
        yield from (one for one in found.values() if self._eligible.applies(action, one))

    def of_groups(self) -> list[tuple[Target, str]]:
        """Bindings of the groups of hostile people: taking a group out stops all its members, so that a person decides."""
        access, found = Access(self.held.store, self.inventory), dict[str, tuple[Target, str]]()
        for scope in self.scopes:
            for profile in self.held.hostile(scope):
                groups = [one for one in profile.groups if not one.startswith("system:")]
                for binding in access.bindings_of_groups(groups) if profile.identity.kind in ("oidc", "iam") else ():
                    names = [
                        str(one.get("name"))
                        for one in dicts_of(binding.body.get("subjects"))
                        if one.get("name") in groups
                    ]
                    says = f"{profile.identity.user_name} has its rights through group {few(names, 3)}: taking that out stops all its members, and for a token that was issued nothing else here does"
                    target = Target("used_binding", binding.path, binding, self.cluster)
                    found.setdefault(binding.path, (target, says))
        return [found[path] for path in sorted(found)]


def checked_addresses(addresses: Names) -> tuple[str, ...]:
    """CIDRs that an endpoint may stay open for, in their canonical form. Raises CallError for what is none, or for the whole internet."""
    found = set[str]()
    for one in addresses:
        try:
            network = ipaddress.ip_network(one.strip())
        except ValueError as error:
            raise CallError(str(error), where="--keep-address", next="give a CIDR, such as 203.0.113.7/32") from None
        if network.prefixlen < 8:
            raise CallError(
                f"{network} is most of the internet", where="--keep-address", next="give your own addresses"
            )
        found.add(str(network))
    return tuple(sorted(found))
