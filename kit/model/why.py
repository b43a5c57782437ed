"""Why a thing is said, and why something cannot be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto

from kit.model.refs import Ref

AUDIT_LOG = "the EKS audit log (log group /aws/eks/CLUSTER/cluster, streams kube-apiserver-audit-*) of that time"
DUMP = "`kubectl get pods,services,serviceaccounts,nodes,… -A -o json`"
AUDIT_OR_DUMP = f"{AUDIT_LOG}, or {DUMP}"
SOME_DUMP = "a cluster dump"
SERVICE_OBJECTS = "`kubectl get services -A -o json`"
ROLE_OBJECTS = "`kubectl get roles,clusterroles -A -o json`"
BINDING_OBJECTS = "`kubectl get roles,clusterroles,rolebindings,clusterrolebindings -A -o json`"
CLOUDTRAIL = "CloudTrail management events of account and region for that time"
CLOUDTRAIL_EVERYWHERE = "CloudTrail management events of the account, all regions, for that time"
OTHER_FINDINGS = "`aws guardduty get-findings` for these ids"
WHOLE_FINDING = "`aws guardduty get-findings` for this id"


@dataclass(frozen=True)
class Limit:
    """What cannot be told: about which kinds of subjects, when, why, and what to collect to be able to tell.

    otherwise: where `collect` is a command of the kit, the same for whoever has no access to the account.
    """

    about: tuple[str, ...]
    says: str
    collect: str
    start: datetime | None = None
    end: datetime | None = None
    otherwise: str = ""


def collecting_words(collect: str, otherwise: object) -> str:
    """What to collect, for people: the command, and what stands for it without access to the account."""
    return (
        f"`{collect}`; without access to the account: {otherwise}"
        if isinstance(otherwise, str) and otherwise
        else collect
    )


class Rule(Enum):
    """By what a reason holds, for whoever decides by reasons; its sentence only tells."""

    PRESENT = auto()
    """It ran there, stands there, belongs to it."""
    LIFE = auto()
    """Who created or deleted it, where it was placed, that it stands: what it is, and no reason to act on it."""
    FINDING = auto()
    """The finding says so, or is about the caller that it names."""
    NAMED_NODE = auto()
    """The finding is about this very node."""
    ATTACKER = auto()
    """A call of the attacker did it."""
    INJECTED = auto()
    """A webhook of the attacker's changed it as it was made."""
    CARRIES_OUT = auto()
    """A call of the attacker did it, and may have carried data out: a forwarded port, a command that copies."""


@dataclass(frozen=True)
class Why:
    """One reason: the evidence that shows it (a Ref), what that evidence says, and by which rule it counts."""

    ref: Ref
    says: str
    rule: Rule = field(default=Rule.PRESENT, compare=False)


class Standing(StrEnum):
    """Whether a thing still stands, as a word of a table."""

    STANDS = "yes"
    GONE = "gone"
    TAKEN_OUT = "gone: they were taken out"
    CANNOT_TELL = "cannot tell"
    UNTOLD = ""

    @property
    def is_gone(self) -> bool:
        """Whether it is known to be gone."""
        return self in (Standing.GONE, Standing.TAKEN_OUT)
