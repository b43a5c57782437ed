"""What an action is done to, and what it has to know of it: a frozen class for each kind of thing.

A plan saves their members by name, in this order, and the id of an action is made of them: a member more changes both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from kit.inventory.node_kind import NodeKind
from kit.inventory.thing import Thing
from kit.model.kinds import NAMED, SUBJECT_KINDS, SubjectName
from kit.model.why import Why

# fmt: off
TargetSource = Literal[
    "written_binding", "written_webhook", "written_secret", "changed_webhook", "changed_rights", "used_binding", "anonymous_binding", "default_binding", "exposed", "cluster", "last_nodes",
    "credential_in_reach", "aws_secret", "made_key", "chained_role", "iam_user", "iam_change", "mapping", "unclear_mapping", "workload", "finding", "expected_finding", "repairing_group", "running_job", "injected_workload",
]
"""What actions are done to beside the subjects of the scope; kit.plan.targets finds them."""
_NOUNS: dict[str, tuple[str, str]] = {
    "written_binding": ("binding or role written", "bindings and roles written"), "written_webhook": ("webhook written", "webhooks written"),
    "written_secret": ("Secret written", "Secrets written"), "changed_webhook": ("webhook changed", "webhooks changed"),
    "changed_rights": ("binding or role changed", "bindings and roles changed"), "used_binding": ("binding used", "bindings used"),
    "anonymous_binding": ("binding of anonymous users", "bindings of anonymous users"),
    "default_binding": ("binding of a default account", "bindings of default accounts"), "exposed": ("exposed object", "exposed objects"),
    "cluster": ("cluster", "clusters"), "last_nodes": ("last node", "last nodes"), "credential_in_reach": ("node credential in reach", "node credentials in reach"),
    "aws_secret": ("secret of AWS read", "secrets of AWS read"), "made_key": ("access key made", "access keys made"), "chained_role": ("role taken on from another", "roles taken on from others"),
    "iam_user": ("IAM user", "IAM users"), "iam_change": ("change in AWS", "changes in AWS"), "mapping": ("mapping of aws-auth", "mappings of aws-auth"),
    "unclear_mapping": ("mapping that is not clear", "mappings that are not clear"), "workload": ("workload", "workloads"), "finding": ("finding", "findings"),
    "expected_finding": ("expected finding", "expected findings"), "repairing_group": ("node group with repair", "node groups with repair"),
    "running_job": ("Job that runs", "Jobs that run"), "injected_workload": ("workload that was changed", "workloads that were changed"),
}
# fmt: on


def noun_of(kind: str, count: int = 1) -> str:
    """What a person calls one, or several, of what an action is done to. kind: as before the colon in a target of a plan."""
    known = SUBJECT_KINDS.get(kind)
    one, several = (known.noun, known.plural) if known else _NOUNS[kind]
    return one if count == 1 else several


Known = TypeVar("Known", bound="Parameters")


@dataclass(frozen=True)
class Parameters:
    """Nothing but which thing it is."""

    def as_json(self) -> dict[str, Any]:
        """As a plan saves it."""
        return asdict(self)


@dataclass(frozen=True)
class ObjectParameters(Parameters):
    """An object of the cluster. uid: None when the evidence has none."""

    resource: str
    namespace: str | None
    name: str | None
    uid: str | None


@dataclass(frozen=True)
class ExpectedObject(ObjectParameters):
    """An object that is touched only while these of its members are as here."""

    expected: dict[str, Any]


@dataclass(frozen=True)
class MadeObject(ExpectedObject):
    """An object that the attacker made and whose kind is not followed. made_at: when, in seconds of UTC; without a uid it alone tells which object is meant."""

    made_at: str | None


@dataclass(frozen=True)
class RestartedWorkload(ObjectParameters):
    """A workload whose pods are replaced. pods: uids of those that the attacker's webhook changed."""

    pods: list[str]


@dataclass(frozen=True)
class EditedBinding(ObjectParameters):
    """A binding with its subjects, and those that are taken out of it."""

    subjects: list[dict[str, Any]]
    remove: list[dict[str, Any]]


@dataclass(frozen=True)
class ChangedObject(ObjectParameters):
    """An object that the attacker changed. expected: its members as the attacker left them. patch: the same as they stood before, null where there
    was none. remove: subjects that the attacker put into a binding. person: why the kit does not put it back, "" when it does. overwritten: by
    whom, where nothing of the attacker's is left."""

    expected: dict[str, Any]
    patch: dict[str, Any]
    remove: list[dict[str, Any]]
    person: str
    overwritten: str


@dataclass(frozen=True)
class LostObject(Parameters):
    """What was deleted. body: all of it as it was when it was deleted; None where no evidence has that, of what others make (pods), and of what holds a secret."""

    kind: str
    resource: str
    namespace: str | None
    name: str
    uid: None
    body: dict[str, Any] | None


@dataclass(frozen=True)
class SecretParameters(ObjectParameters):
    """A Secret. keys: the names of its keys, never values; None where no evidence has them. restart: what has the old value until it restarts, resource/namespace/name."""

    keys: list[str] | None
    restart: list[str]


@dataclass(frozen=True)
class PodParameters(ObjectParameters):
    """A pod."""

    node: str | None
    containers: list[str]
    host_network: bool
    made_by_attacker: bool


@dataclass(frozen=True)
class ServedPod(PodParameters):
    """A pod with the labels by which Services alone select it, and the Services that select it by its owner's."""

    labels: dict[str, str]
    services: list[str]


@dataclass(frozen=True)
class NodeParameters(Parameters):
    """A node. group: the Auto Scaling group of its instance. affected_pods: uids of those that were the attacker's tools."""

    node: str
    uid: str | None
    instance_id: str | None
    node_kind: NodeKind
    affected_pods: list[str]
    group: str | None
    region: str | None
    account: str | None


@dataclass(frozen=True)
class NodeEvidence(NodeParameters):
    """A node whose snapshots another account gets. evidence_account: "" when nobody has asked for it."""

    evidence_account: str


@dataclass(frozen=True)
class NodeGroupParameters(Parameters):
    """A managed node group."""

    node_group: str


@dataclass(frozen=True)
class PrincipalParameters(Parameters):
    """A caller of the cluster by IAM or by the identity provider. arn: of its IAM role or user."""

    user_name: str
    arn: str | None
    access_key_ids: list[str]


@dataclass(frozen=True)
class AdmittedPrincipal(PrincipalParameters):
    """A caller whose access is taken away with that of the other hostile ones: none of them counts as an administrator who is left."""

    hostile: list[str]


@dataclass(frozen=True)
class ClusterCreator(AdmittedPrincipal):
    """The cluster's creator. mode: the cluster's authentication mode, None where no evidence tells."""

    mode: str | None


@dataclass(frozen=True)
class SignedInPrincipal(PrincipalParameters):
    """A caller with who asked for its sessions."""

    sessions: list[str]


@dataclass(frozen=True)
class MappingParameters(Parameters):
    """A mapping in aws-auth."""

    arn: str


@dataclass(frozen=True)
class AwsSecretParameters(Parameters):
    """A secret of Secrets Manager, or a parameter. service: as the AWS CLI calls it. region: None in the case's own."""

    service: str
    secret: str
    region: str | None


@dataclass(frozen=True)
class AccountParameters(Parameters):
    """A service account."""

    namespace: str
    name: str
    uid: str | None


@dataclass(frozen=True)
class AccountOfTokens(AccountParameters):
    """A service account with tokens of the attacker's. recreate: one of them is bound to nothing, so that the account is made anew."""

    recreate: bool


@dataclass(frozen=True)
class RoleSessions(Parameters):
    """A role, and the instances or pods whose sessions are the attacker's, where that can be told apart."""

    role: str | None
    instances: list[str]
    pods: list[str]


@dataclass(frozen=True)
class ForeignRole(Parameters):
    """A role that cannot be changed from the case's account. says: why, and where it can; "" for one that can."""

    role: str
    says: str


@dataclass(frozen=True)
class ChangedInAws(Parameters):
    """What the attacker changed of a principal or an account, with the commands that undo it."""

    of: str
    commands: list[str]


@dataclass(frozen=True)
class TrustedRole(Parameters):
    """An IRSA role with the service accounts that it trusts, and the issuer of their tokens."""

    role: str
    service_accounts: list[str]
    issuer: str | None


@dataclass(frozen=True)
class ImageParameters(Parameters):
    """An image. Where it is in ECR is None when that is no registry of yours."""

    image: str
    registry_account: str | None
    region: str | None
    repository: str | None
    tag: str | None
    digests: list[str]


@dataclass(frozen=True)
class EndpointParameters(Parameters):
    """The cluster's endpoint. keep: CIDRs that it stays open for, [] for none, None when nobody has said."""

    keep: list[str] | None


@dataclass(frozen=True)
class FindingParameters(Parameters):
    """A finding that a person has marked."""

    finding: str
    useful: bool


@dataclass(frozen=True)
class SuppressedFinding(FindingParameters):
    """A finding with the filter for those like it."""

    name: str
    criteria: dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What an action is done to: a subject of the scope, mostly. instance_id: of a node. why: what weighs most."""

    kind: SubjectName | TargetSource
    key: str
    thing: Thing | None = None
    cluster: str | None = None
    instance_id: str | None = None
    parameters: Parameters = field(default=Parameters(), hash=False, compare=False)
    why: tuple[Why, ...] = ()

    def known(self, kind: type[Known]) -> Known:
        """What is known of it, where only this kind can be meant."""
        assert isinstance(self.parameters, kind), (self.kind, self.key, kind)
        return self.parameters

    @property
    def namespace(self) -> str | None:
        """Its namespace, where it has one."""
        if self.thing:
            return self.thing.namespace
        if isinstance(self.parameters, ObjectParameters | LostObject):
            return self.parameters.namespace
        return self.key.partition("/")[0] if self.kind in NAMED else None

    @property
    def name(self) -> str:
        """Its name."""
        return (self.thing.name if self.thing else None) or self.key.rpartition("/")[2]

    @property
    def resource(self) -> str:
        """The resource of an object, else pods."""
        known = self.parameters
        return known.resource if isinstance(known, ObjectParameters | LostObject) else "pods"
