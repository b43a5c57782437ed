"""The secrets of AWS that a CloudTrail event gave or wrote: of Secrets Manager, and decrypted parameters of Parameter Store.

Sources: Secrets Manager User Guide, "Secrets Manager entries in AWS CloudTrail" (BatchGetSecretValue is logged as one GetSecretValue a secret; a
secret is asked for by its name or ARN, which ends in a hyphen and six letters more than the name); Systems Manager API reference (GetParameter,
GetParameters, GetParametersByPath: withDecryption).
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from kit.attribution.calls import AwsEvent
from kit.lenient import dict_of, json_of
from kit.model.arn import Arn

VALUE_READS = ("GetSecretValue", "BatchGetSecretValue", "GetParameter", "GetParameters", "GetParametersByPath")
"""The calls that give values."""
VALUE_WRITES = ("PutSecretValue", "PutParameter")
"""The calls that put a new value."""
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$")


class AwsSecret(NamedTuple):
    """A secret of AWS. name: of a parameter with its path; one that ends in /* stands for all below that path."""

    service: Literal["secretsmanager", "ssm"]
    name: str

    @property
    def key(self) -> str:
        """Service and name, by which it is a subject."""
        return f"{self.service}:{self.name}"

    @property
    def says(self) -> str:
        """What a person calls it."""
        return f"{'secret' if self.service == 'secretsmanager' else 'parameter'} {self.name}"


def read_by(row: AwsEvent) -> list[AwsSecret]:
    """The secrets whose values a call gave; of a parameter, what was asked for undecrypted is none."""
    return _asked_for(row) if row["event_name"] in VALUE_READS and not row["error_code"] else []


def written_by(row: AwsEvent) -> list[AwsSecret]:
    """The secrets that a call gave a new value."""
    return _asked_for(row) if row["event_name"] in VALUE_WRITES and not row["error_code"] else []


def _asked_for(row: AwsEvent) -> list[AwsSecret]:
    asked, name = dict_of(json_of(row["request_parameters"])), str(row["event_name"])
    if "Secret" in name:
        return [AwsSecret("secretsmanager", _name_of(one)) for one in _texts(asked, "secretId", "secretIdList")]
    if name.startswith("Get") and asked.get("withDecryption") is not True:
        return []
    below = [f"{one.rstrip('/')}/*" for one in _texts(asked, "path")]
    return [AwsSecret("ssm", _name_of(one)) for one in [*_texts(asked, "name", "names"), *below]]


def _texts(asked: dict[str, Any], *members: str) -> list[str]:
    """The texts of some members, each a text or a list of them."""
    values = [asked.get(member) for member in members]
    return [each for one in values for each in (one if isinstance(one, list) else [one]) if each and isinstance(each, str)]  # fmt: skip


def _name_of(text: str) -> str:
    """The name in an ARN of a secret or parameter; a name alone is itself."""
    arn = Arn.of(text)
    if arn is None:
        return text
    if arn.service == "secretsmanager":
        return _SUFFIX.sub("", arn.resource.removeprefix("secret:"))
    return arn.resource.removeprefix("parameter")
