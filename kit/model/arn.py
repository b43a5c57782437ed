"""ARNs: the names of things in AWS, taken apart and put together here alone.

arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE. The partition is aws, aws-cn, aws-us-gov or one of the isolated and sovereign ones; an account does not tell which. A role or user is
KIND/PATH/NAME of iam; aws-auth and the authenticator leave the path out. A role's session is assumed-role/ROLE/SESSION of sts, without a
path. A name is unique in its account, whatever its path and case. The account's own user is root, without a name. Sources: IAM User Guide
"Amazon Resource Names (ARNs)", "IAM identifiers" and "Service-linked roles"; IAM Identity Center User Guide "Permission sets"; EKS User
Guide "Service-linked roles"; aws-iam-authenticator, pkg/arn and pkg/mapper.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Arn:
    """One ARN in its parts; `str` puts it together again.

    >>> Arn.of("arn:aws-cn:eks:cn-north-1:123456789012:cluster/shop")
    Arn(partition='aws-cn', service='eks', region='cn-north-1', account='123456789012', resource='cluster/shop')
    """

    partition: str
    service: str
    region: str
    account: str
    resource: str

    @classmethod
    def of(cls, value: Any) -> Arn | None:
        """The parts of an ARN; None for anything else."""
        parts = re.fullmatch(r"arn:([^:]*):([^:]*):([^:]*):([^:]*):(.*)", value) if isinstance(value, str) else None
        return cls(*parts.groups()) if parts else None

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @property
    def kind(self) -> str:
        """What its resource is: role, user, assumed-role, cluster."""
        return self.resource.partition("/")[0]

    @property
    def name(self) -> str:
        """The last part of its resource: a name without its path."""
        return name_in(self.resource)


def is_arn(value: Any) -> bool:
    """Whether a text begins like an ARN."""
    return isinstance(value, str) and value.startswith("arn:")


def is_role(value: Any) -> bool:
    """Whether it is the ARN of a role, not of a user nor of a session."""
    arn = Arn.of(value)
    return arn is not None and arn.kind == "role"


def name_in(text: str) -> str:
    """The name at the end of an ARN, without its path; a name alone is itself."""
    return text.rpartition("/")[2]


def account_of(value: Any) -> str | None:
    """The account in an ARN, None where it names none. A principal's may be another than that of what it uses."""
    arn = Arn.of(value)
    return arn.account or None if arn else None


def partition_of(value: Any) -> str:
    """The partition of an ARN; aws for what is none."""
    arn = Arn.of(value)
    return arn.partition or "aws" if arn else "aws"


def partition_in(region: str | None) -> str:
    """The partition that a region belongs to; aws where none is known."""
    return _PARTITIONS.get(str(region).rsplit("-", 2)[0], "aws")


# A region without its direction and number → its partition (botocore, endpoints).
_PARTITIONS = {
    "cn": "aws-cn",
    "us-gov": "aws-us-gov",
    "us-iso": "aws-iso",
    "us-isob": "aws-iso-b",
    "eu-isoe": "aws-iso-e",
    "us-isof": "aws-iso-f",
    "eusc-de": "aws-eusc",
}


def iam_arn(partition: str, account: str, kind: str, name: str) -> str:
    """The ARN of something in IAM: a role, a user, an oidc-provider."""
    return str(Arn(partition, "iam", "", account, f"{kind}/{name}"))


def role_of(value: Any) -> str | None:
    """The ARN of the role or IAM user behind the ARN of a session; None for anything else.

    A session's ARN has no path, so that of a role with a path cannot be told from it; the authenticator's canonicalArn can't either.
    """
    arn = Arn.of(value)
    if arn is None or not arn.partition or arn.region or not arn.account.isdecimal():
        return None
    kind, _, rest = arn.resource.partition("/")
    if (arn.service, kind) == ("sts", "assumed-role"):
        role, slash, _ = rest.partition("/")
        return iam_arn(arn.partition, arn.account, "role", role) if role and slash else None
    return str(arn) if arn.service == "iam" and kind in ("role", "user") and rest else None


def signed_in_as(value: Any) -> str | None:
    """The ARN of whoever is behind a sign-in by an ARN: the role or IAM user, the account's root user, a federated user. None for anything else."""
    arn = Arn.of(value)
    return str(arn) if is_root(value) or is_federated(value) else role_of(value)


def is_root(value: Any) -> bool:
    """Whether it is an account's root user."""
    arn = Arn.of(value)
    return arn is not None and (arn.service, arn.resource) == ("iam", "root")


def is_federated(value: Any) -> bool:
    """Whether it is a federated user: a session of GetFederationToken, which an IAM user asked for under any name."""
    arn = Arn.of(value)
    return arn is not None and arn.service == "sts" and arn.resource.startswith("federated-user/")


def is_session(value: Any) -> bool:
    """Whether it is the ARN of a role's session."""
    arn = Arn.of(value)
    return arn is not None and (arn.service, arn.kind) == ("sts", "assumed-role")


def is_of_eks(value: Any) -> bool:
    """Whether it is a role that EKS itself signs in with."""
    arn = Arn.of(role_of(value))
    return arn is not None and arn.name.startswith(("AWSWesleyClusterManager", "AWSServiceRoleForAmazonEKS"))


def is_of_identity_center(value: Any) -> bool:
    """Whether it is a role that IAM Identity Center made for a permission set."""
    arn = Arn.of(role_of(value))
    return arn is not None and arn.kind == "role" and arn.name.startswith("AWSReservedSSO_")


def is_service_linked(value: Any) -> bool:
    """Whether it is a role that belongs to a service of AWS."""
    arn = Arn.of(role_of(value))
    return arn is not None and (
        arn.resource.startswith("role/aws-service-role/") or arn.name.startswith("AWSServiceRoleFor")
    )


def in_words(value: str | None) -> str:
    """A principal as a sentence names it: a root user and a federated user by what they are, any other by its ARN."""
    arn = Arn.of(value)
    if arn and is_root(value):
        return f"the root user of account {arn.account}"
    if arn and is_federated(value):
        return f"the federated user {arn.name} of account {arn.account}"
    return str(value)


def instance_of(value: Any) -> str:
    """The EC2 instance whose credentials a session's ARN is of: their session name is the instance id. "" for anything else."""
    arn = Arn.of(value) if role_of(value) else None
    session = re.fullmatch(r"assumed-role/[^/]+/(i-[0-9a-f]{8,17})", arn.resource) if arn else None
    return session[1] if session else ""


def without_path(text: str) -> str:
    """The ARN of a role or user without its path, as aws-auth and the authenticator name it; any other text as it stands."""
    arn = Arn.of(text)
    is_principal = arn and (arn.service, arn.region) == ("iam", "") and arn.resource.startswith(("role/", "user/"))
    return str(replace(arn, resource=f"{arn.kind}/{arn.name}")) if arn and is_principal and arn.name else text


def compared(text: str) -> str:
    """An ARN as the authenticator compares it: in lower case, a session by its role, without a path. Any other text in lower case."""
    return without_path(role_of(text) or text).lower()


def principal_of(value: Any) -> tuple[str, str, str] | None:
    """Account, "role" or "user", and name of what an ARN names, of a session those of its role; None for anything else.

    The name stands without its path and in lower case, as the authenticator compares it.
    """
    arn = Arn.of(role_of(value))
    return (arn.account, arn.kind, arn.name.lower()) if arn else None
