"""Who is behind a user name, decided by what the API server recorded of the sign-in, not by the form of the name.

Sources: Kubernetes "Authenticating"; EKS User Guide "cluster authentication"; aws-iam-authenticator (uid and extra).
"""

from __future__ import annotations

from dataclasses import dataclass

from kit.model.arn import is_arn, is_of_eks, signed_in_as

SERVICE_ACCOUNT = "system:serviceaccount:"
NODE = "system:node:"
NODES = "system:nodes"
ANONYMOUS = "system:anonymous"
UNAUTHENTICATED = "system:unauthenticated"
CREATOR = "kubernetes-admin"  # whom EKS made of a cluster's creator before there were access entries
NOT_SIGNED_IN = (ANONYMOUS, UNAUTHENTICATED)  # user and group of every call without a credential
AUTHENTICATORS = (
    "aws-iam-authenticator:",
    "heptio-authenticator-aws:",
)  # begin user.uid of everybody whom the EKS authenticator let in; the second is its older name


@dataclass(frozen=True)
class Identity:
    """An identity of the cluster.

    kind: anonymous, service_account, node, iam, control_plane, oidc. sure: False when only the name's form tells the kind.
    service_account: namespace/name. node: node name. role: ARN of the IAM role or user (not of the session), of the root user or a federated user.
    """

    user_name: str
    kind: str
    sure: bool = True
    service_account: str | None = None
    node: str | None = None
    role: str | None = None


def identity_of(
    user_name: str, uid: str | None = None, arn: str | None = None, groups: list[str] | None = None
) -> Identity:
    """The identity behind a user name with its uid, IAM ARN (extra) and groups, as far as these are known."""
    role = signed_in_as(arn)
    signed_in_by_iam = (uid or "").startswith(AUTHENTICATORS) or role is not None
    known = bool(uid or arn or groups)
    if signed_in_by_iam:
        # Whatever its name: aws-auth may give out any, and EKS signs in with roles of its own.
        if is_of_eks(role):
            return Identity(user_name, "control_plane", role=role)
        # aws-auth may give out any name, but the node authorizer asks for the group too.
        is_node = user_name.startswith(NODE) and (not groups or NODES in groups)
        if is_node:
            return Identity(user_name, "node", node=user_name.removeprefix(NODE), role=role)
        return Identity(user_name, "iam", role=role)
    if user_name == ANONYMOUS or UNAUTHENTICATED in (groups or []):
        return Identity(user_name, "anonymous", known or user_name == ANONYMOUS)
    if user_name.startswith(NODE):
        return Identity(user_name, "node", known, node=user_name.removeprefix(NODE))
    if user_name.startswith(SERVICE_ACCOUNT):
        account = user_name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
        return Identity(user_name, "service_account", known, service_account=account)
    if user_name.startswith(("system:", "eks:")):
        return Identity(user_name, "control_plane", known)
    return Identity(user_name, "oidc", known and not is_arn(user_name))
