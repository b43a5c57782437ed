"""What still serves while a plan is played: Services, workloads, DNS, nodes, administrators, the way in of whoever responds.

Only what the plan changes counts; what was broken before is told as such. Sources: Kubernetes API reference (Service selectors);
"Specifying a Disruption Budget" (a percentage is rounded up); EKS User Guide "Access policies", "Cluster API server endpoint".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kit.actions.effect import Effect
from kit.identities.access import Access
from kit.identities.way import Way
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.arn import compared, in_words, name_in
from kit.plan.compromised import Compromised
from kit.plan.played import ClusterState, Played, Running, subject_key
from kit.plan.responder import Responder
from kit.words import counted, few

_MOST = 3  # names that are written out
_DNS = ("services/kube-system/kube-dns", "deployments/kube-system/coredns")  # as EKS's add-on has them
_ADMINISTRATOR = "AmazonEKSClusterAdminPolicy"
_MASTERS = "system:masters"
OUTAGES = ("service", "dns", "workload", "disruption_budget")
"""The kinds of which something that stops is an outage, and not what an action is there for."""


@dataclass(frozen=True)
class Served:
    """One thing that does not serve any more, or serves less. before: whether it was so before the plan."""

    kind: str
    key: str
    says: str
    before: bool


MissingRows = Iterator[tuple[str, str, str]]
"""Kind, key and sentence of what does not serve."""


class Serving:
    """What serves in a case's cluster. responder: whoever plans, where that was said."""

    def __init__(self, held: Compromised, responder: Responder | None = None) -> None:
        self.responder = responder
        self.held, self.scope, self.inventory, self.store = held, held.scope, held.inventory, held.store
        self.standing = ClusterState(held.store, held.inventory)
        self.access = Access(held.store, held.inventory)

    def left(self, played: Played) -> list[Served]:
        """What does not serve, or serves less, once some actions are done."""
        return [
            Served(kind, key, says, (kind, key) in self._before) for (kind, key), says in self._missing(played).items()
        ]

    @cached_property
    def _before(self) -> dict[tuple[str, str], str]:
        return self._missing(Played(self.standing))

    def _missing(self, played: Played) -> dict[tuple[str, str], str]:
        parts: tuple[Callable[[Played], MissingRows], ...] = (
            self._services, self._names, self._workloads, self._budgets, self._nodes, self._administrators, self._rights, self._endpoint,
        )  # fmt: skip
        found = dict[tuple[str, str], str]()
        for part in parts:
            for kind, key, says in part(played):
                found.setdefault((kind, key), says)
        return found

    # ── pods and what they serve ───────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _made(self) -> set[str]:
        """Paths of what the attacker made: nobody misses it."""
        return {one.key for one in self.scope.index.affected("created")}

    @cached_property
    def pods(self) -> list[Running]:
        """The pods that are not the attacker's."""
        return [one for one in self.standing.pods if not {one.pod.path, *one.owners} & self._made]

    @cached_property
    def services(self) -> list[tuple[Thing, dict[str, str], list[Running]]]:
        """The Services that select pods and are not the attacker's, each with its selector and the pods behind it."""
        found = []
        for service in self.inventory.of("services"):
            selector = dict_of(service.spec.get("selector"))
            if service.standing is False or not selector or service.path in self._made:
                continue
            behind = [
                one
                for one in self._of_namespace.get(str(service.namespace), [])
                if selector.items() <= one.pod.labels.items()
            ]
            found.append((service, selector, behind))
        return found

    @cached_property
    def _of_namespace(self) -> dict[str, list[Running]]:
        found = dict[str, list[Running]]()
        for one in self.pods:
            found.setdefault(str(one.pod.namespace), []).append(one)
        return found

    def _services(self, played: Played) -> MissingRows:
        for service, selector, behind in self.services:
            if not any(played.serves(one, selector) for one in behind):
                key = f"{service.namespace}/{service.name}"
                yield "service", key, self._why(played, behind, "no pod behind it serves")
            if played.by(Effect.CLOSES_SERVICE, service.path):
                says = "it is reached from inside the cluster alone"
                yield "exposed", f"{service.namespace}/{service.name}", says

    @cached_property
    def dns(self) -> list[Running]:
        """The pods that resolve names for the cluster; [] where no evidence has them."""
        found = {one.pod.uid: one for one in self._of_workload.get(_DNS[1], [])}
        found |= {one.pod.uid: one for service, _, behind in self.services if service.path == _DNS[0] for one in behind}
        return list(found.values())

    def _names(self, played: Played) -> MissingRows:
        if self.dns and not any(map(played.serves, self.dns)):
            yield "dns", "kube-system/coredns", self._why(played, self.dns, "no pod resolves names in the cluster")

    def _why(self, played: Played, pods: list[Running], says: str) -> str:
        """What does not serve, and through which actions."""
        by = [played.taken_out(one) or played.by(Effect.WITHDRAWS, one.pod.uid) for one in pods]
        named = list(dict.fromkeys(f"{one.action} of {one.name}" for one in by if one))
        return f"{says} after {few(named, _MOST)}" if named else says

    def _workloads(self, played: Played) -> MissingRows:
        for workload in self.inventory.of("deployments", "statefulsets"):
            owned = self._of_workload.get(workload.path, [])
            wanted = workload.spec.get("replicas", 1)
            if workload.standing is False or not wanted or workload.path in self._made:
                continue
            if owned and not any(map(played.serves, owned)):
                yield "workload", workload.path, self._why(played, owned, f"0 of {counted(len(owned), 'pod')} serve")

    @cached_property
    def _of_workload(self) -> dict[str, list[Running]]:
        found = dict[str, list[Running]]()
        for one in self.pods:
            for owner in one.owners:
                found.setdefault(owner, []).append(one)
        return found

    @cached_property
    def _stated_budgets(self) -> list[tuple[str, dict[str, Any], list[Running]]]:
        rows = self.store.rows(
            "SELECT namespace, name, object FROM objects WHERE resource = 'poddisruptionbudgets' ORDER BY namespace, name, file, item"
        )
        found = []
        for row in rows:
            spec = dict_of(dict_of(json_of(row["object"])).get("spec"))
            chosen = dict_of(dict_of(spec.get("selector")).get("matchLabels"))
            behind = [
                one
                for one in self._of_namespace.get(str(row["namespace"]), [])
                if chosen and chosen.items() <= one.pod.labels.items()
            ]
            found.append((f"{row['namespace']}/{row['name']}", spec, behind))
        return found

    def _budgets(self, played: Played) -> MissingRows:
        for key, spec, behind in self._stated_budgets:
            least = _share(spec.get("minAvailable"), len(behind))
            most = _share(spec.get("maxUnavailable"), len(behind))
            least = least if least is not None else len(behind) - most if most is not None else 0
            serving = sum(map(played.serves, behind))
            if serving < least:
                says = f"{serving} of {counted(len(behind), 'pod')} serve, and it wants {least}"
                yield "disruption_budget", key, self._why(played, behind, says)

    # ── nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _nodes(self, played: Played) -> MissingRows:
        open_before = [node for node, takes in self.standing.nodes.items() if takes]
        left = sum(map(played.takes_pods, open_before))
        known = counted(len(open_before), "node")
        if not played.has_room:
            yield "node", "nodes", f"none of {known} takes new pods"
        elif not left and open_before:
            yield "node", "nodes", f"the new nodes alone take new pods, none of {known} of before"
        elif left < len(open_before):
            more = " and the new ones" if played.all_by(Effect.ADDS_NODES) else ""
            yield "node", "nodes", f"{left} of {known}{more} take new pods"

    # ── who is let in ──────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _hostile(self) -> set[str]:
        """Principals that are the attacker's, or that the attacker let in, as they are compared: no administrators of yours."""
        return {
            compared(arn) for arn in (*self.held.hostile_principals, *(one.key for one in self.scope.attacker.let_in))
        }

    def administrators(self, played: Played, with_hostile: bool = False) -> dict[str, Way]:
        """Principals with all rights in the cluster, by access entry or aws-auth and bindings; its creator only where the mode has it.

        with_hostile: also those that are the attacker's.
        """
        bound = self._bound_administrators(played)
        found = dict[str, Way]()
        for way in [*self.access.ways, *([self.access.creator] if self.access.creator else [])]:
            by_policy = any(name_in(policy) == _ADMINISTRATOR for policy in way.policies)
            is_creator = way.kind == "cluster_creator" and self.access.mode == "CONFIG_MAP"
            is_bound = bool(bound & {("User", way.user_name), *(("Group", group) for group in way.groups)})
            stands = way.until is None and not way.overruled and not way.maps_nobody
            shut_out = played.by(Effect.SHUTS_OUT, compared(way.name))
            counts = with_hostile or compared(way.name) not in self._hostile
            if counts and stands and not shut_out and (by_policy or is_bound or is_creator):
                found.setdefault(way.name, way)
        return found

    def _bound_administrators(self, played: Played) -> set[tuple[str, str]]:
        found = {("Group", _MASTERS)}
        for binding in self.inventory.of("clusterrolebindings"):
            role = dict_of(binding.body.get("roleRef")).get("name")
            if binding.standing is False or role != "cluster-admin" or played.by(Effect.DELETES, binding.path):
                continue
            found |= {
                (str(one.get("kind")), str(one.get("name")))
                for one in dicts_of(binding.body.get("subjects"))
                if not played.by(Effect.UNBINDS, subject_key(binding.path, one, None))
            }
        return found

    @cached_property
    def knows_administrators(self) -> bool:
        """Whether the evidence has every way in: the mode, each entry described, and aws-auth where that counts."""
        ways = self.access.ways
        has_map = any(way.kind == "aws_auth" for way in ways) or self.access.mode == "API"
        described = all(way.policies or way.groups or way.user_name for way in ways if way.kind == "access_entry")
        return self.access.mode is not None and has_map and described

    def _administrators(self, played: Played) -> MissingRows:
        before, now = self._administrators_before, self.administrators(played)
        gone = [name for name in before if name not in now]
        if gone and not now:
            yield "administrator", "administrators", f"none is left: {few(gone, _MOST)} had all rights"
        elif gone:
            says = f"{len(now)} of {counted(len(before), 'administrator')} left, without {few(gone, _MOST)}"
            yield "administrator", "administrators", says
        for by in played.all_by(Effect.SHUTS_OUT).values():
            yield (
                "identity",
                str(by.parameters["arn"]),
                f"it has no way into the cluster after {by.action}: sign in as somebody else",
            )

    @cached_property
    def _administrators_before(self) -> dict[str, Way]:
        return self.administrators(Played(self.standing))

    def _rights(self, played: Played) -> MissingRows:
        """What workloads lose: rights by a binding, tokens, sessions in AWS."""
        for key, by in played.all_by(Effect.UNBINDS).items():
            path, kind, name = key.split(" ", 2)
            if kind == "ServiceAccount":
                yield "service_account", name, f"its pods lose the rights of {path} ({by.action})"
        for account, by in played.all_by(Effect.ENDS_TOKENS).items():
            pods = [one for one in self.pods if one.pod.service_account == account and not played.ended(one)]
            if by.parameters.get("recreate") and pods:
                yield "service_account", account, f"{counted(len(pods), 'pod')} have no valid token until they restart"
        for account in played.all_by(Effect.ENDS_POD_IDENTITY):
            yield "service_account", account, "its pods get no session of AWS by Pod Identity"
        for by in played.all_by(Effect.CLOSES_TRUST).values():
            accounts = few([str(one) for one in by.parameters.get("service_accounts") or ()], _MOST)
            yield "iam_role", str(by.parameters["role"]), f"pods of {accounts} get no new session of it"
        for by in played.all_by(Effect.DENIES_SESSIONS).values():
            narrow = [*(by.parameters.get("instances") or ()), *(by.parameters.get("pods") or ())]
            whom = f"of {few(narrow, _MOST)}" if narrow else "that were issued before the deny"
            yield (
                "iam_role",
                str(by.parameters.get("role") or by.parameters.get("arn")),
                f"its sessions {whom} do nothing in AWS",
            )

    def _endpoint(self, played: Played) -> MissingRows:
        for cluster, by in played.all_by(Effect.NARROWS_ENDPOINT).items():
            keep = by.parameters["keep"]
            whom = f"takes calls from {few(keep, _MOST)} alone" if keep else "is reached from inside its VPC alone"
            yield "endpoint", cluster, f"the cluster's endpoint {whom}"

    @cached_property
    def network(self) -> dict[str, Any]:
        """How the cluster's endpoint is reached, as `aws eks describe-cluster` has it; {} where that is in no evidence."""
        for row in self.store.rows(
            "SELECT object FROM objects WHERE kind = 'Cluster' AND starts_with(api_version, 'aws:') ORDER BY file, item"
        ):
            found = dict_of(dict_of(json_of(row["object"])).get("resourcesVpcConfig"))
            if found:
                return found
        return {}


def _share(value: Any, pods: int) -> int | None:
    """A number of pods, or a percentage of them; None where none is said."""
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        return math.ceil(pods * int(value[:-1]) / 100)
    return None


def still_serves(serving: Serving, played: Played) -> str:
    """One sentence of what still works for the people whose cluster it is."""
    rows = [one for one in serving.left(played) if not one.before]
    stopped = {kind: [one.key for one in rows if one.kind == kind] for kind in OUTAGES}
    every = len(serving.services)
    parts = list[str]()
    if every:
        down = stopped["service"]
        parts.append(
            f"{every - len(down)} of {counted(every, 'Service')}{f' (not {few(down, _MOST)})' if down else ''}"
        )
    if serving.dns:
        parts.append("no DNS" if stopped["dns"] else "DNS")
    says = {one.kind: one.says for one in rows}
    before = [node for node, takes in serving.standing.nodes.items() if takes]
    if before:
        parts.append(says.get("node", f"{counted(len(before), 'node')} that take new pods"))
    if serving.administrators(Played(serving.standing)):
        left = list(serving.administrators(played))
        named = few([in_words(arn) for arn in left], _MOST)
        parts.append(f"{counted(len(left), 'administrator')} ({named})" if left else "no administrator")
    parts.append(says.get("endpoint", "the endpoint as before"))
    if serving.responder:
        parts.append(f"your own way in as {serving.responder.name}")
    shut = [in_words(one.key) for one in rows if one.kind == "identity"]
    parts += [f"no sign-in as {few(shut, _MOST)}"] if shut else []
    return ", ".join(parts)
