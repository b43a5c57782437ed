"""To which things of a case an action is done, with what it needs to know of each; and to which it cannot be done, with the reason.

`affected` is acted on. What destroys or shuts out is done only to what the evidence shows to be the attacker's or held by the attacker: a node
that merely ran an affected pod is kept and looked at, not torn down. Sources: GuardDuty User Guide "Remediating EKS Protection findings"
(which root causes lead to which steps); EKS User Guide "Network policies", "Fargate"; IAM User Guide "Revoking IAM role temporary security
credentials".
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from kit.actions.action import Action
from kit.actions.target import (
    AdmittedPrincipal,
    AwsSecretParameters,
    ChangedInAws,
    FindingParameters,
    MappingParameters,
    NodeGroupParameters,
    PrincipalParameters,
    RestartedWorkload,
    RoleSessions,
    SuppressedFinding,
    Target,
    TargetSource,
)
from kit.errors import CallError
from kit.identities.access import Access
from kit.lenient import dicts_of
from kit.model.address import is_in
from kit.model.kinds import SubjectName
from kit.model.kubernetes import BOUND, ROLES, WEBHOOKS
from kit.model.refs import Ref
from kit.model.why import Rule, Standing, Why
from kit.plan.compromised import Compromised
from kit.plan.eligible import impossible, is_meant
from kit.plan.in_aws import InAws
from kit.plan.parameters import Knowledge
from kit.plan.put_back import OF_RIGHTS
from kit.plan.stopping import Stopping
from kit.scope.scope import Scope
from kit.words import Names, few

_WRITTEN: dict[str, TargetSource] = {
    **dict.fromkeys((*BOUND, *ROLES), "written_binding"),
    **dict.fromkeys(WEBHOOKS, "written_webhook"),
    "secrets": "written_secret",
}
"""What the attacker made that gives access, or changes what others make: undone before all else of the attacker's is deleted."""
_CHANGED: dict[str, TargetSource] = {
    **dict.fromkeys(WEBHOOKS, "changed_webhook"),
    **dict.fromkeys(OF_RIGHTS, "changed_rights"),
}
"""What the attacker changed and is put back before all else, as it gives access or changes what others make."""
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
        keep: Names | None = None,
        wide: bool = False,
        evidence_account: str = "",
    ) -> None:
        """place: account, region, cluster. rows: question → the rows of its answer. marked: finding → its last mark. criteria: finding → those of its suppression filter.
        keep: CIDRs that the cluster's endpoint stays open for, () for none, None when nobody has said. wide: whether large ones are meant. evidence_account: who gets the evidence too."""
        self._rows, self.marked, self._criteria = rows, marked, criteria
        self.account, self.region, self.cluster = place
        self.held = Compromised(scope, self.account, marked)
        self.scopes, self.findings, self.inventory = self.held.scopes, self.held.findings, self.held.inventory
        kept = None if keep is None else checked_addresses(keep, sorted(self.held.hostile_addresses), wide)
        self.in_aws, self._stopping = InAws(self.held, self.region), Stopping(self.held)
        self._knowledge = Knowledge(self.held, place, kept, checked_account(evidence_account, self.account))
        self._sources: dict[TargetSource, Callable[[Action], Iterable[Target]]] = {
            "anonymous_binding": partial(self._of_answer, "anonymous_binding", "anonymous_access"),
            "default_binding": partial(self._of_answer, "default_binding", "default_accounts_with_rights"),
            "exposed": partial(self._of_answer, "exposed", "exposed_services"),
            "cluster": self._cluster,
            "last_nodes": self._last_nodes,
            "credential_in_reach": self._credentials_in_reach,
            "used_binding": self._used_bindings,
            "mapping": self._written_mappings,
            "made_key": self._made_keys,
            "aws_secret": self._aws_secrets,
            "chained_role": self._chained_roles,
            "iam_user": self._iam_users,
            "iam_change": self._iam_changes,
            "unclear_mapping": self._unclear_mappings,
            "workload": self._workloads,
            "finding": self._marked_findings,
            "expected_finding": self._expected_findings,
            "repairing_group": self._repairing_groups,
            "running_job": self._running_jobs,
            "injected_workload": self._injected_workloads,
        }

    def of(self, action: Action) -> tuple[list[Target], list[tuple[Target, str]]]:
        """What an action is done to, and what it cannot be done to, with the reason; each in the order of kind and key."""
        done, cannot = list[Target](), list[tuple[Target, str]]()
        for target in sorted(self._all(action), key=self._place):
            reason = impossible(action, self.held, target)
            if reason:
                cannot.append((target, reason))
            else:
                done.append(target)
        cannot += self._of_groups() if "used_binding" in action.kinds else []
        return done, cannot + (self._of_callers_unseen() if action.needs is AdmittedPrincipal else [])

    def _place(self, target: Target) -> tuple[bool, bool, str, str]:
        """Its place among the targets of an action: a session that another one asked for is ended after that, which could ask for it again."""
        is_chained = target.kind == "iam_role" and target.key in self.in_aws.chained
        return target.kind == "reachable", is_chained, target.kind, target.key

    def _all(self, action: Action) -> Iterator[Target]:
        found = dict[tuple[str, str], Target]()
        elsewhere = (source(action) for kind, source in self._sources.items() if kind in action.kinds)
        for target in chain(self._of_scope(action), *elsewhere):
            found.setdefault((target.kind, target.key), target)
        # A bare pod of the attacker's is kept and deleted as a pod, an image that was brought in is kept as that: one action on one object.
        pods = {key for kind, key in self.held.affected if kind == "pod"}
        known = (one.parameters for (kind, _), one in found.items() if kind == "identity")
        used = {key for one in known if isinstance(one, PrincipalParameters) for key in one.access_key_ids}
        for (kind, key), target in found.items():
            twice = (
                (kind == "created" and target.thing is not None and target.thing.uid in pods)
                or (kind == "image" and ("introduced", key) in found)
                or (kind == "reachable" and ("secret", key) in found)
                or (kind == "made_key" and key in used)
            )
            if not twice and not self._stopping.is_too_late(action, target) and action.applies(target, self.held):
                yield target

    def _of_scope(self, action: Action) -> Iterator[Target]:
        made = set[tuple[SubjectName, str]]()  # hundreds of findings name the same
        for scope in self.scopes:
            for subject in scope.all_of():
                resource = subject.key.partition("/")[0]
                by_resource = _WRITTEN if subject.kind == "created" else _CHANGED if subject.kind == "changed" else {}
                kind = by_resource.get(resource, subject.kind)
                place = subject.kind, subject.key
                if kind in action.kinds and place not in made and is_meant(action, self.held, scope, subject):
                    made.add(place)
                    yield self._knowledge.target(action, subject.kind, subject.key, subject.thing)

    def _of_answer(self, kind: TargetSource, question: str, action: Action) -> Iterator[Target]:
        for row in self._rows(question):
            if row["path"] and not row.get("Stands", Standing.UNTOLD).is_gone:
                thing = self.held.thing_at(row["path"])
                to = f" to {few(row['Who'], 3)}" if "Who" in row else f" is reachable from {few(row['From'], 3)}"
                why = Why(Ref.parse(row["refs"][0]), f"{row['What']}{to}")
                yield self._knowledge.target(action, kind, row["path"], thing, (why,))

    def _cluster(self, action: Action) -> Iterator[Target]:
        yield self._knowledge.target(action, "cluster", self.cluster or "CLUSTER", None)

    def _last_nodes(self, action: Action) -> Iterator[Target]:
        if not self.held.nodes_left:
            whys = tuple(whys[0] for _, whys in sorted(self.held.reached.items()) if whys)[:3]
            yield self._knowledge.target(action, "cluster", self.cluster or "CLUSTER", None, whys)

    def _credentials_in_reach(self, action: Action) -> Iterator[Target]:
        for node, whys in self.held.credential_in_reach.items():
            instance = self._knowledge.instances.get(node)
            role = self.inventory.node_roles[node][0] if node in self.inventory.node_roles else None
            denied = RoleSessions(role, [instance] if instance else [], [])
            yield Target("node", node, self.held.thing_at(f"nodes/{node}"), self.cluster, instance, denied, whys)

    def _repairing_groups(self, action: Action) -> Iterator[Target]:
        facts = self.inventory.node_facts
        for node, whys in sorted(self.held.reached.items()):
            if node in facts and facts[node].repairs:
                group = facts[node].node_group
                yield Target("repairing_group", group, None, self.cluster, None, NodeGroupParameters(group), whys)

    def _running_jobs(self, action: Action) -> Iterator[Target]:
        """The Jobs that CronJobs of the attacker's started and that may still run."""
        by_path = {
            subject.key: subject
            for scope in self.scopes
            for subject in scope.all_of("created")
            if subject.key.startswith("cronjobs/") and is_meant(action, self.held, scope, subject)
        }
        for path, job in self._stopping.running_jobs(list(by_path)).items() if by_path else ():
            own = {f"{one.resource}/{job.namespace}/{one.name}" for one in self.inventory.owners(job)}
            if ("created", path) not in self.held.affected:
                whys = [why for of in sorted(own & by_path.keys()) for why in by_path[of].why]
                yield self._knowledge.target(action, "running_job", path, job, tuple(whys[:2]))

    def _injected_workloads(self, action: Action) -> Iterator[Target]:
        for path, pods in self._stopping.injected_workloads().items():
            workload = self.held.thing_at(path)
            assert workload is not None
            place = workload.resource, workload.namespace, workload.name, workload.uid
            known = RestartedWorkload(*place, sorted(one.key for one in pods))
            whys = [why for one in pods for why in one.why if why.rule is Rule.INJECTED]
            yield Target("injected_workload", path, workload, self.cluster, None, known, tuple(whys[:2]))

    def _used_bindings(self, action: Action) -> Iterator[Target]:
        for binding in self.held.used_bindings:
            yield self._knowledge.target(action, "used_binding", binding.path, binding)

    def _written_mappings(self, action: Action) -> Iterator[Target]:
        for way in self.held.written_mappings[0]:
            mapped = AdmittedPrincipal(way.user_name, way.name, [], self.held.hostile_principals)
            yield Target("mapping", way.name, None, self.cluster, None, mapped, (way.why,))

        for arn, whys in self.in_aws.entries.items():
            entered = AdmittedPrincipal(arn, arn, [], self.held.hostile_principals)
            yield Target("mapping", arn, None, self.cluster, None, entered, whys)

    def _made_keys(self, action: Action) -> Iterator[Target]:
        for key, made in self.in_aws.made_keys.items():
            yield Target(
                "made_key", key, None, self.cluster, None, PrincipalParameters(made.user, made.user, [key]), (made.why,)
            )

    def _aws_secrets(self, action: Action) -> Iterator[Target]:
        for secret, (region, whys) in self.in_aws.secrets.items():
            known = AwsSecretParameters(secret.service, secret.name, None if region == self.region else region)
            yield Target("aws_secret", secret.key, None, self.cluster, None, known, whys[:3])

    def _chained_roles(self, action: Action) -> Iterator[Target]:
        for role, whys in self.in_aws.chained.items():
            yield self._knowledge.target(action, "iam_role", role, None, whys)

    def _iam_users(self, action: Action) -> Iterator[Target]:
        for user, whys in self.in_aws.users.items():
            yield Target("iam_user", user, None, self.cluster, None, PrincipalParameters(user, user, []), whys[:3])

    def _iam_changes(self, action: Action) -> Iterator[Target]:
        for of, (whys, commands) in self.in_aws.changes.items():
            yield Target("iam_change", of, None, self.cluster, None, ChangedInAws(of, commands), whys[:5])

    def _unclear_mappings(self, action: Action) -> Iterator[Target]:
        for way in self.held.written_mappings[1]:
            if ("iam_role", way.name) not in self.held.affected:
                yield Target("mapping", way.name, None, self.cluster, None, MappingParameters(way.name), (way.why,))

    def _workloads(self, action: Action) -> Iterator[Target]:
        for path, why in self.held.workloads_to_mend.items():
            yield Target("workload", path, None, self.cluster, why=why)

    def _marked_findings(self, action: Action) -> Iterator[Target]:
        for finding in self.findings:
            word = self.marked.get(finding.id)
            if word:
                known = FindingParameters(finding.id, word == "confirmed")
                yield Target("finding", finding.id, None, self.cluster, parameters=known)

    def _expected_findings(self, action: Action) -> Iterator[Target]:
        for finding in self.findings:
            if self.marked.get(finding.id) == "expected":
                name = f"kit-expected-{hashlib.sha256(finding.id.encode()).hexdigest()[:10]}"
                known = SuppressedFinding(finding.id, False, name, self._criteria(finding.id))
                yield Target("finding", finding.id, None, self.cluster, parameters=known)

    def _of_callers_unseen(self) -> list[tuple[Target, str]]:
        """IAM principals that a finding names and that the log has no call of: what is known of them is their way in alone."""
        says = "no evidence has a call of it, so that nothing but the finding says whether the attacker has its credentials: look, and decide; `kit scope CASE` has the commands that take its access away"
        unseen = {
            one.identity.user_name
            for scope in self.scopes
            for one in scope.identities
            if one.identity.kind == "iam"
            and not one.sources
            and ("identity", one.identity.user_name) in self.held.affected
        }
        return [(Target("identity", name, None, self.cluster), says) for name in sorted(unseen)]

    def _of_groups(self) -> list[tuple[Target, str]]:
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


def checked_account(evidence_account: str, own: str | None) -> str:
    """The account that gets the evidence, "" for none. own: that of the case. Raises CallError for what is no id of another account."""
    if evidence_account and (not re.fullmatch(r"[0-9]{12}", evidence_account) or evidence_account == own):
        raise CallError(
            f"{evidence_account!r} is not the id of another AWS account",
            where="evidence_account",
            next="give the twelve digits of an account that the attacker has no way into",
        )
    return evidence_account


_WIDEST = {4: 20, 6: 48}
"""The shortest prefix of a CIDR that stays open without a person saying that it is meant: 4,096 addresses, or one site's."""


def checked_addresses(addresses: Names, attackers: Names = (), wide: bool = False) -> tuple[str, ...]:
    """CIDRs that an endpoint may stay open for, in their canonical form. attackers: addresses that the attacker called from. wide: whether large
    ranges are meant. Raises CallError for what is no CIDR, holds an address of the attacker's, or is too large."""
    found = set[str]()
    for one in addresses:
        try:
            network = ipaddress.ip_network(one.strip())
        except ValueError as error:
            raise CallError(str(error), where="keep_addresses", next="give a CIDR, such as 203.0.113.7/32") from None
        if network.prefixlen < 8:
            raise CallError(
                f"{network} is most of the internet", where="keep_addresses", next="give your own addresses"
            )
        hostile = [address for address in sorted(attackers) if is_in(address, [network])]
        if hostile:
            raise CallError(
                f"the attacker called from {few(hostile, 3)}, and {network} would leave the endpoint open to that",
                where="keep_addresses",
                next="keep another address of yours, or use --private-endpoint; if these calls are yours, say so with `kit mark`",
            )
        if network.prefixlen < _WIDEST[network.version] and not wide:
            raise CallError(
                f"{network} has more addresses than a /{_WIDEST[network.version]}",
                where="keep_addresses",
                next="give a smaller range, or add --wide if all of it is meant",
            )
        found.add(str(network))
    return tuple(sorted(found))
