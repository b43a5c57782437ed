"""The kinds of subjects: what each is called, what its key is, what would show it; every list of all of them follows from this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Certainty = Literal["affected", "possible"]
"""Affected is acted on; possible is looked at."""
# fmt: off
SubjectName = Literal[
    "pod", "node", "service_account", "image", "iam_role", "identity", "source_ip",
    "secret", "config_map", "created", "changed", "deleted", "exec", "forwarded", "token", "credential", "let_in", "granted", "introduced", "reachable",
]
"""The name of a kind of subject."""
# fmt: on


@dataclass(frozen=True)
class Needs:
    """A kind of evidence that would show something.

    source: audit (the log of every API server), trail (CloudTrail), dump, runtime (Runtime Monitoring), flow_logs. level: the least
    audit level, of resources (none: of all). category: of CloudTrail events.
    """

    source: Literal["audit", "trail", "dump", "runtime", "flow_logs"]
    level: Literal["Metadata", "Request", "RequestResponse"] = "Metadata"
    resources: tuple[str, ...] = ()
    category: Literal["Management", "Data"] = "Management"


@dataclass(frozen=True)
class SubjectKind:
    """A kind of subject: its noun and plural in lists, what its key is, what a subject of it is, and all of the evidence that would show it.

    is_deed: a caller's calls make it. comes_with_pods: where pods cannot be told, it cannot either. done_to_pods: a deed that may be
    done to a pod or to what makes pods.
    """

    name: SubjectName
    noun: str
    plural: str
    key: str
    says: str
    shown_by: tuple[Needs, ...]
    is_deed: bool = False
    comes_with_pods: bool = False
    done_to_pods: bool = False


_PODS = Needs("audit", "RequestResponse", ("pods",))
_BINDINGS = Needs("audit", "RequestResponse", ("rolebindings", "clusterrolebindings"))
_LOG, _DUMP = Needs("audit"), Needs("dump")
_NAMED, _PATH = "namespace/name", "resource/namespace/name"
# fmt: off
_LISTED = (
    SubjectKind("pod", "pod", "pods", "uid", "a pod that existed at a moment of the window", (_PODS, _DUMP), comes_with_pods=True),
    SubjectKind("node", "node", "nodes", "name", "the machine of such a pod, or one that the finding names", (_PODS, _DUMP),
                comes_with_pods=True),
    SubjectKind("service_account", "service account", "service accounts", _NAMED,
                "an account of such a pod, the caller's, or one that a binding gives rights to", (_PODS, _DUMP), comes_with_pods=True),
    SubjectKind("image", "image", "images", "as the pod spec has it", "what such a pod ran", (_PODS, _DUMP), comes_with_pods=True),
    SubjectKind("iam_role", "IAM role or user", "IAM roles and users", "ARN of the role or IAM user",
                "what the caller, a pod or a node is in AWS", (Needs("trail"), _DUMP), comes_with_pods=True),
    SubjectKind("identity", "identity", "identities", "user name", "the caller", (_LOG,)),
    SubjectKind("source_ip", "source address", "source addresses", "address", "where the caller's connection came from", (_LOG,)),
    SubjectKind("secret", "secret read", "secrets read", _NAMED, "a secret that the caller read; a list reads all that it returned",
                (Needs("audit", "Metadata", ("secrets",)),), is_deed=True),
    SubjectKind("config_map", "config map read", "config maps read", _NAMED, "a config map that the caller read",
                (Needs("audit", "Metadata", ("configmaps",)),), is_deed=True),
    SubjectKind("created", "object created", "objects created", _PATH, "an object that the caller made", (_LOG,),
                is_deed=True, done_to_pods=True),
    SubjectKind("changed", "object changed", "objects changed", _PATH, "an object that the caller changed", (_LOG,),
                is_deed=True, done_to_pods=True),
    SubjectKind("deleted", "object deleted", "objects deleted", _PATH, "an object that the caller deleted", (_LOG,),
                is_deed=True, done_to_pods=True),
    SubjectKind("exec", "target of commands", "targets of commands", _PATH, "an object that the caller ran a command in", (_LOG,),
                is_deed=True, done_to_pods=True),
    SubjectKind("forwarded", "target of a forwarded port", "targets of forwarded ports", _PATH,
                "an object whose port the caller had forwarded to itself, or whose kubelet it read: looked at, and nothing was run there",
                (_LOG,), is_deed=True),
    SubjectKind("token", "service account with a token minted", "service accounts with a token minted", _NAMED,
                "a service account that the caller minted a token for", (_LOG,), is_deed=True),
    SubjectKind("credential", "credential", "credentials", "of the Secret or request its name, of a pod its uid, access key id, node, user name",
                "a credential that the caller used, made or took another way than by minting a token; `possible`: one within reach",
                (_LOG, Needs("trail")), is_deed=True),
    SubjectKind("let_in", "principal let in", "principals let in", "ARN, user or group",
                "whom a call of the caller's gave a way in, into the cluster or in AWS", (_LOG, Needs("trail")), is_deed=True),
    SubjectKind("granted", "permission given", "permissions given", "ROLE KIND ROLE [in NAMESPACE] to KIND NAME",
                "a permission that a binding of the caller's gives", (_BINDINGS,), is_deed=True),
    SubjectKind("introduced", "image brought in", "images brought in", "image", "an image that a pod or workload of the caller's names",
                (_PODS,), is_deed=True, done_to_pods=True),
    SubjectKind("reachable", "secret in reach", "secrets in reach", _NAMED,
                "a secret that the attacker's identities could have read; always `possible`", (_LOG, _DUMP)),
)
# fmt: on
SUBJECT_KINDS: dict[str, SubjectKind] = {kind.name: kind for kind in _LISTED}
"""Name → kind, in the order in which they are told."""
DEEDS = tuple(kind.name for kind in _LISTED if kind.is_deed)
"""The kinds of subjects that a caller's calls make."""
PODS = tuple(kind.name for kind in _LISTED if kind.comes_with_pods)
"""Pods and the kinds of subjects that come with a pod: where pods cannot be told, none of these can."""
EVERYTHING = (*DEEDS, *PODS, "identity")
CALLS_ON_PODS = (*PODS, *(kind.name for kind in _LISTED if kind.done_to_pods))
NAMED = tuple(kind.name for kind in _LISTED if kind.key == _NAMED)
"""The kinds whose key is namespace/name."""
KINDS_OF_OBJECTS = tuple(kind.name for kind in _LISTED if kind.key == _PATH)
"""The kinds whose key is the path of a Kubernetes object: resource/namespace/name."""
