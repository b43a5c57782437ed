"""One credential that the attacker has or may have.

Sources: aws/amazon-eks-pod-identity-webhook, pkg/constants.go (24 hours are the most that EKS gives a token); kubernetes,
pkg/registry/core/serviceaccount/storage/token.go (a token asked for with 3,607 s is extended); EKS User Guide "Kubernetes service accounts" (to 90 days).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kit.inventory.thing import Thing
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.kinds import Certainty
from kit.model.why import Why
from kit.words import utc

CredentialKind = Literal[
    "token", "pod_token", "secret_token", "certificate", "access_key", "session", "node", "sign_in"
]
TAKEN = ("pod_token", "secret_token", "certificate")
"""The kinds of credentials that sign in to the cluster and that no TokenRequest minted."""
CredentialState = Literal["usable", "ended", "cannot tell"]
_LONGEST, _EXTENDED = timedelta(hours=24), timedelta(days=90)


def latest_end(minted_at: datetime) -> str:
    """When a minted token ends at the latest, where no evidence has its own end."""
    end, extended = utc(minted_at + _LONGEST), utc(minted_at + _EXTENDED)
    return f"it ends by {end}, or by {extended} where it was asked for with 3607 s, which EKS extends"


@dataclass(frozen=True)
class Credential:
    """One credential.

    kind: token (a TokenRequest minted it), pod_token (the token that is mounted into a pod), secret_token (a Secret's, without an end),
    certificate (of a CertificateSigningRequest),
    access_key (long-term), session (of a role in AWS), node (a kubelet's), sign_in (a person's, of an identity provider).
    key: namespace/name of the service account or Secret, name of the request, uid of the pod, access key id, node, user name. user_name: of its calls in
    the cluster; role: ARN in AWS; "" where not told. why: the calls that gave or used it, oldest first; by: who made the first of them.
    pods: what it is bound to. bound: whether it is bound at all; None where the log does not tell. until: when it ended or ends.
    is_used: whether the attacker used it; address: from where first, of a node's.
    """

    kind: CredentialKind
    key: str
    user_name: str
    why: tuple[Why, ...]
    since: datetime
    state: CredentialState
    until: datetime | None
    because: str
    role: str = ""
    by: str = ""
    certainty: Certainty = "affected"
    pods: tuple[Thing, ...] = ()
    bound: bool | None = None
    last_at: datetime | None = None
    is_used: bool = True
    address: str = ""

    @property
    def account(self) -> str:
        """namespace/name of the service account that it signs in as; "" for others."""
        is_account = self.user_name.startswith(SERVICE_ACCOUNT)
        return self.user_name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1) if is_account else ""

    @property
    def holder(self) -> str:
        """Whom it signs in as: user name in the cluster, else ARN in AWS."""
        return self.role or self.user_name

    @property
    def ref(self) -> str:
        """The call that gave it, or the first that used it."""
        return str(self.why[0].ref)
