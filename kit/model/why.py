"""Why a thing is said, and why something cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kit.model.refs import Ref

DEEDS = ("secret", "config_map", "created", "changed", "deleted", "exec", "token", "granted", "introduced")
"""The kinds of subjects that a caller's calls make."""
PODS = ("pod", "node", "service_account", "image", "iam_role")
"""Pods and the kinds of subjects that come with a pod: where pods cannot be told, none of these can."""
EVERYTHING = (*DEEDS, *PODS, "identity")
CALLS_ON_PODS = (*PODS, "created", "changed", "deleted", "exec", "introduced")
AUDIT_LOG = "the EKS audit log (log group /aws/eks/CLUSTER/cluster, streams kube-apiserver-audit-*) of that time"
DUMP = "`kubectl get pods,services,serviceaccounts,nodes,… -A -o json`"


@dataclass(frozen=True)
class Limit:
    """What cannot be told: about which kinds of subjects, when, why, and what to collect to be able to tell."""

    about: tuple[str, ...]
    says: str
    collect: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Why:
    """One reason: the evidence that shows it (a Ref) and what that evidence says."""

    ref: Ref
    says: str
