"""What else stops working when something is changed: pods of a service, other users of a role, regular callers, who mounts a secret.

From the evidence alone: what stands, by the inventory; who called, by the log. Sources: Kubernetes API reference (Service selectors, RBAC
subjects); EKS User Guide "Cluster endpoint access".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from ipaddress import ip_network

from kit.actions.action import Action
from kit.actions.target import EndpointParameters, RoleSessions, Target
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of
from kit.model.address import is_in
from kit.plan.others import Others
from kit.plan.secret_uses import SecretUsers
from kit.scope.scope import Scope
from kit.words import counted, few

_MOST = 4  # names that are written out


class BlastRadius:
    """What hangs on the things of one case."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.inventory = scope.inventory
        self._others, self._users = Others(scope), SecretUsers(scope.store, scope.inventory)

    def of(self, action: Action, target: Target) -> list[str]:
        """Sentences, none when nothing is known to hang on it."""
        asked = {
            "pod": self._of_pod,
            "node": self._of_node,
            "iam_role": self._of_role,
            "cluster": self._of_endpoint,
            "image": self._of_image,
            "identity": self._of_identity,
            "secret": self._of_secret,
            "reachable": self._of_secret,
            "service_account": self._of_account,
            "written_binding": self._of_binding,
            "anonymous_binding": self._of_binding,
            "default_binding": self._of_binding,
        }.get(target.kind)
        return [*(asked(target) if asked else ()), *self._others.of(action, target)]

    @cached_property
    def _standing(self) -> list[Thing]:
        return [pod for pod in self.inventory.pods if pod.standing is not False]

    def _of_pod(self, target: Target) -> Iterator[str]:
        pod = target.thing
        if pod is None:
            return
        for service, selector in self.inventory.services_of(pod):
            others = [one for one in self._behind(pod, selector) if one.uid != pod.uid]
            yield f"service {service.namespace}/{service.name} sends to it, and to {counted(len(others), 'other pod')}"
        for policy in self.inventory.of("networkpolicies"):
            chosen = dict_of(dict_of(policy.spec.get("podSelector")).get("matchLabels"))
            if (
                policy.standing is not False
                and policy.namespace == pod.namespace
                and chosen.items() <= pod.labels.items()
            ):
                yield f"network policy {policy.namespace}/{policy.name} selects it too: what that allows stays allowed"
        owners = self.inventory.owners(pod)
        if owners:
            yield f"{owners[-1].resource}/{pod.namespace}/{owners[-1].name} owns it and starts a new one from the same image when it is deleted"
        elif pod.body:
            yield "nothing owns it: deleted, it does not come back, and the VPC CNI enforces no network policy on it"

    def services_without(self, target: Target, gone: set[str]) -> Iterator[str]:
        """Services all of whose standing pods are among those (uids) that a plan takes out of service."""
        pod = target.thing
        for service, selector in self.inventory.services_of(pod) if pod else ():
            behind = {one.uid for one in self._behind(pod, selector)} if pod else set()
            if behind <= gone:
                yield f"all {counted(len(behind), 'pod')} behind service {service.namespace}/{service.name} are in this plan: it stops"

    def _behind(self, pod: Thing, selector: dict[str, str]) -> list[Thing]:
        """The standing pods that a Service of a pod's namespace sends to."""
        return [
            one for one in self._standing if one.namespace == pod.namespace and selector.items() <= one.labels.items()
        ]

    def _of_node(self, target: Target) -> Iterator[str]:
        yield from self._of_denied(target)
        pods = [pod for pod in self._standing if pod.node == target.key]
        spaces = sorted({str(pod.namespace) for pod in pods})
        if pods:
            yield f"{counted(len(pods), 'pod')} known to stand on it, in {few(spaces, _MOST)}"
        elif self.inventory.is_dumped("pods", None) or any(self.inventory.pods):
            yield "no pod is known to stand on it"
        else:
            yield "which pods stand on it cannot be told: no dump of pods is in the evidence"
        role = self.inventory.node_roles.get(target.key)
        if role:
            sharing = sorted(
                node for node, (arn, _) in self.inventory.node_roles.items() if arn == role[0] and node != target.key
            )
            if sharing:
                yield f"its role {role[0]} is shared with {counted(len(sharing), 'other node')}"

    def _of_role(self, target: Target) -> Iterator[str]:
        accounts = sorted(
            account for account, roles in self.inventory.service_account_roles.items() if target.key in roles
        )
        nodes = sorted(node for node, (arn, _) in self.inventory.node_roles.items() if arn == target.key)
        for account in accounts:
            pods = [pod for pod in self._standing if pod.service_account == account]
            yield f"service account {account} takes it on, with {counted(len(pods), 'standing pod')}"
        if nodes:
            yield f"{counted(len(nodes), 'node')} sign in with it: {few(nodes, _MOST)}"
        yield from self._of_denied(target)

    @staticmethod
    def _of_denied(target: Target) -> Iterator[str]:
        known = target.parameters
        if isinstance(known, RoleSessions) and known.instances:
            yield f"all that {few(known.instances, _MOST)} may do in AWS stops, SSM and image pulls too: whoever wants memory by SSM takes it before"

    def _of_endpoint(self, target: Target) -> Iterator[str]:
        """Who would be cut off: regular callers from outside, those in the networks that are kept left out."""
        own, attacker = self.scope.attacker.cluster_addresses, self.scope.attacker
        hostile = [f"{file}:{item}" for file, _, item in attacker.calls]
        rows = self.scope.store.rows(
            "SELECT user_name, source_address, count(*) AS calls FROM audit WHERE source_address IS NOT NULL"
            " AND NOT list_contains($own, source_address) AND NOT list_contains($hostile, file || ':' || item)"
            " AND NOT list_contains($control, source_address) AND user_name IS NOT NULL GROUP BY user_name, source_address",
            own=sorted(own.own),
            control=sorted(own.control_plane),
            hostile=hostile,
        )
        kept = [ip_network(one) for one in target.known(EndpointParameters).keep or []]
        sources = sorted(
            {
                use.address
                for part in self.scope.scopes
                for one in part.identities
                for use in one.sources
                if use.hostile and not use.inside
            }
        )
        if sources:
            open_to = [one for one in sources if is_in(one, kept)]
            warns = (
                f": {few(open_to, 4)} stays open to the attacker"
                if open_to
                else ": an address that is kept is open to the attacker too"
                if not kept
                else ""
            )
            yield f"the attacker called from {few(sources, 4)}{warns}"
        calls, addresses = Counter[str](), dict[str, set[str]]()
        for row in rows:
            if not is_in(row["source_address"], kept):
                calls[row["user_name"]] += row["calls"]
                addresses.setdefault(row["user_name"], set()).add(row["source_address"])
        listed = sorted(calls, key=lambda name: (-calls[name], name))
        for name in listed[:8]:
            yield f"{name} called {counted(calls[name], 'time')} from {counted(len(addresses[name]), 'address', 'addresses')} outside of the cluster"
        if len(listed) > 8:
            yield f"and {counted(len(listed) - 8, 'identity', 'identities')} more called from outside"

    def _of_image(self, target: Target) -> Iterator[str]:
        pods = [pod for pod in self._standing if target.key in pod.images]
        if pods:
            yield f"{counted(len(pods), 'standing pod')} run it: {few([f'{pod.namespace}/{pod.name}' for pod in pods], _MOST)}"

    def _of_identity(self, target: Target) -> Iterator[str]:
        for scope in self.scope.scopes:
            for profile in scope.identities:
                if profile.identity.user_name == target.key and profile.usual:
                    yield f"before the first hostile call it did: {few([f'{what} ({number:,})' for what, number in profile.usual], _MOST)}"
                    return

    def _of_secret(self, target: Target) -> Iterator[str]:
        yield from self._users.of(target.key).says

    def _of_account(self, target: Target) -> Iterator[str]:
        pods = [pod for pod in self._standing if pod.service_account == target.key]
        if pods:
            yield f"{counted(len(pods), 'standing pod')} run under it: {few([f'{pod.namespace}/{pod.name}' for pod in pods], _MOST)}"

    def _of_binding(self, target: Target) -> Iterator[str]:
        resource, _, rest = target.key.partition("/")
        namespace, _, name = rest.rpartition("/")
        for binding in self.inventory.named(resource, namespace or None, name):
            subjects = [
                f"{one.get('kind')} {'/'.join(str(one[part]) for part in ('namespace', 'name') if one.get(part))}"
                for one in dicts_of(binding.body.get("subjects"))
            ]
            if subjects and binding.standing is not False:
                yield f"it names {few(subjects, _MOST)}"
