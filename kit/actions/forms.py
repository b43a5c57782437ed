"""The forms of what an action is done to: a name of another form is in no command, and a person looks at it.

Sources: Kubernetes "Object Names and IDs", apimachinery's IsValidPathSegmentName (names of roles and bindings); IAM API reference (names, access
key ids); EC2, EKS, ECR and Auto Scaling API references; OCI distribution specification (repository, tag, digest).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kit.actions.target import Target
from kit.model.forms import (
    ACCOUNT_FORM,
    CLUSTER_FORM,
    DOMAIN_FORM,
    GROUP_FORM,
    INSTANCE_FORM,
    LABEL_FORM,
    REGION_FORM,
    RESOURCE_FORM,
)
from kit.model.kubernetes import BOUND, ROLES

_SEGMENT = r"(?!\.{1,2}\Z)[^/%]+"
_IAM = r"[A-Za-z0-9+=,.@_/-]+"
_ROLE = rf"arn:aws[a-z-]*:(?:iam|sts)::\d{{12}}:(?:root|{_IAM})"
_FORMS = {
    "resource": RESOURCE_FORM,
    "namespace": LABEL_FORM,
    "name": DOMAIN_FORM,
    "uid": r"[0-9A-Za-z-]{1,64}",
    "pods": r"[0-9A-Za-z-]{1,64}",
    "node": DOMAIN_FORM,
    "instance_id": INSTANCE_FORM,
    "instances": INSTANCE_FORM,
    "group": GROUP_FORM,
    "region": REGION_FORM,
    "account": ACCOUNT_FORM,
    "registry_account": ACCOUNT_FORM,
    "evidence_account": r"(?:\d{12})?",
    "arn": _ROLE,
    "role": _ROLE,
    "access_key_ids": r"[A-Z0-9]{16,128}",
    "service_accounts": rf"{LABEL_FORM}/{DOMAIN_FORM}",
    "issuer": r"(?:https://)?[A-Za-z0-9./:_-]+",
    "containers": LABEL_FORM,
    "image": r"[A-Za-z0-9][A-Za-z0-9._/:@-]*",
    "service": r"secretsmanager|ssm",
    "secret": r"/\*|[A-Za-z0-9/_+=.@!][A-Za-z0-9/_+=.@!-]{0,2047}(?:/\*)?",
    "repository": r"[a-z0-9][a-z0-9._/-]*",
    "tag": r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
    "digests": r"sha256:[0-9a-f]{64}",
    "node_group": r"[0-9A-Za-z][0-9A-Za-z_-]{0,62}",
    "restart": rf"{RESOURCE_FORM}/{LABEL_FORM}/{DOMAIN_FORM}",
    "labels": rf"(?:{DOMAIN_FORM}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?",
    "finding": r"[0-9A-Za-z-]{1,128}",
    "cluster": CLUSTER_FORM,
}
"""Member of a target's parameters → its form."""
_OPEN_NAMES = {*BOUND, *ROLES}  # whose names are any segment of a path


def odd_member(target: Target) -> str:
    """Which member of what is known of a target is of another form, with its value, as a clause; "" where none is."""
    known = target.parameters.as_json() | {"cluster": target.cluster}
    for member, value in _values(known):
        form = _SEGMENT if member == "name" and target.resource in _OPEN_NAMES else _FORMS.get(member)
        if form and not (value.isprintable() and re.fullmatch(form, value, re.ASCII)):
            return f"{member} {value!r}"
    return ""


def _values(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for member, value in known.items():
        for one in value if isinstance(value, list | dict) else [value]:
            if isinstance(one, str):
                yield member, one
