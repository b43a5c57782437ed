"""Credentials of AWS that a finding names, and which nodes, pods and service accounts of the cluster they are of.

Sources: GuardDuty User Guide, finding details (AccessKeyDetails; ACCESS_KEY among the resources of an attack sequence); EC2: the session of
an instance's role is named by the instance; EKS User Guide "Pod Identity": the session is named eks-CLUSTER-POD-UUID.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kit.identities.sessions import Sessions
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, text_of
from kit.model.address import canonical
from kit.model.arn import iam_arn, partition_of, principal_of
from kit.model.finding import ACCESS_KEY, SEQUENCE, Finding
from kit.model.refs import Ref

_OF_ROLE = ("AssumedRole", "Role")


@dataclass(frozen=True)
class NamedSession:
    """A role session that a finding names. key: its access key. name: the session's. role: ARN, without its path. from_address: where it was used from."""

    ref: Ref
    key: str | None
    name: str
    role: str | None
    from_address: str | None = None


@dataclass(frozen=True)
class Holder:
    """Whose a session is: one node (its name), or one pod, or one service account without a pod. sure: whether it can be nobody else's."""

    says: str
    sure: bool
    node: str | None = None
    pod: Thing | None = None
    account: str | None = None


def named_sessions(finding: Finding) -> list[NamedSession]:
    """The role sessions that a finding of IAM names, or that are among an attack sequence's resources; none of one about a call to the cluster."""
    if finding.user.get("Username"):
        return []
    partition = partition_of(finding.arn)
    action = dict_of(dict_of(dict_of(finding.raw.get("Service")).get("Action")).get("AwsApiCallAction"))
    remote = dict_of(action.get("RemoteIpDetails"))
    address = text_of(remote.get("IpAddressV4")) or text_of(remote.get("IpAddressV6"))
    of_key = finding.access_key
    found = list(
        _of(
            finding.ref(ACCESS_KEY),
            of_key,
            of_key.get("AccessKeyId"),
            finding.account,
            partition,
            canonical(address) if address else None,
        )
    )
    for number, resource in enumerate(dicts_of(finding.sequence.get("Resources"))):
        if resource.get("ResourceType") == "ACCESS_KEY":
            details = dict_of(dict_of(resource.get("Data")).get("AccessKey"))
            account = text_of(resource.get("AccountId")) or finding.account
            ref = finding.ref(f"{SEQUENCE}.resources[{number}]")
            found += _of(ref, details, resource.get("Uid"), account, partition, None)
    return found


def _of(
    ref: Ref, details: dict[str, object], key: object, account: str | None, partition: str, address: str | None
) -> Iterator[NamedSession]:
    name, kind = text_of(details.get("UserName")), details.get("UserType")
    session = str(details.get("PrincipalId") or "").partition(":")[2]
    role = iam_arn(partition, account, "role", name) if name and account and kind in _OF_ROLE else None
    if session or role:
        yield NamedSession(ref, text_of(key), session, role, address)


class OwnSessions:
    """Whose of the cluster the sessions are that findings name."""

    def __init__(self, inventory: Inventory, sessions: Sessions) -> None:
        self.inventory = inventory
        self.sessions = sessions

    def is_own(self, finding: Finding) -> bool:
        """Whether a finding names a session that a node or a pod of the cluster got."""
        return any(True for one in named_sessions(finding) for _ in self.holders(one))

    def used_at(self, findings: Iterable[Finding]) -> dict[str, set[str]]:
        """Access key → the addresses at which findings say that it was used, of sessions that are a node's or a pod's."""
        found = dict[str, set[str]]()
        for one in (named for finding in findings for named in named_sessions(finding)):
            if one.key and any(True for _ in self.holders(one)):
                found.setdefault(one.key, set()).update([one.from_address] if one.from_address else [])
        return found

    def holders(self, one: NamedSession) -> Iterator[Holder]:
        """Whose a session is: by its name where that is a node's instance or a pod's, by who got it in CloudTrail, else by its role alone."""
        if node := self.inventory.node_of_instance.get(one.name):
            yield Holder(f"the session is named {one.name}, which is node {node}", True, node=node)
            return
        session = self.sessions.of_keys([one.key]).get(one.key) if one.key else None
        if session and session.node:
            yield Holder(f"access key {one.key} is of node {session.node}", True, node=session.node)
            return
        pods = self.sessions.pods_of(session) if session and session.service_account else self._by_name(one)
        says = f"the session {one.name} was given to it"
        yield from (Holder(says, sure, pod=pod) for pod, sure in pods)
        if session and session.service_account:
            yield Holder(says, True, account=session.service_account)
        elif not pods and (principal := principal_of(one.role)):
            yield from self._by_role(principal)

    def _by_name(self, one: NamedSession) -> list[tuple[Thing, bool]]:
        """The pods by whose name EKS Pod Identity named a session."""
        start = f"eks-{self.inventory.cluster}-"
        rest = one.name.removeprefix(start) if self.inventory.cluster and one.name.startswith(start) else ""
        found = [pod for pod in self.inventory.pods if pod.name and rest.startswith(f"{pod.name}-")]
        return [(pod, len(found) == 1) for pod in found]

    def _by_role(self, principal: tuple[str, str, str]) -> Iterator[Holder]:
        for node, (role, _) in sorted(self.inventory.node_roles.items()):
            if principal_of(role) == principal:
                yield Holder(f"it has the role {role}, whose session this is", False, node=node)
        for account, roles in sorted(self.inventory.service_account_roles.items()):
            for role in sorted(one for one in roles if principal_of(one) == principal):
                says = f"{account} may take on the role {role}, whose session this is"
                under = [pod for pod in self.inventory.pods if pod.service_account == account]
                yield from (Holder(says, False, pod=pod) for pod in under)
                if not under:
                    yield Holder(says, False, account=account)
