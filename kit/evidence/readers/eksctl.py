"""What eksctl prints about who may sign in: access entries with their policies, and the lines of aws-auth.

Oddities: the cluster stands in neither; an access entry and its policies are one record, and two things to AWS.
Source: eksctl, pkg/actions/accessentry (Summary) and pkg/iam (Identity).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.record import Record
from kit.lenient import dict_of, dicts_of
from kit.model.arn import is_arn

TABLE = "objects"
TAKEN_AS = "eksctl"
TAKES = ("`eksctl get accessentry -o json`", "`eksctl get iamidentitymapping -o json`")
LISTS: tuple[str, ...] = ()

_OF_MAPPINGS = {"rolearn", "userarn", "username", "groups", "account"}


def takes(record: Record) -> bool:
    """Whether a record is an access entry or a mapping as eksctl prints them."""
    value = dict_of(record.value)
    is_entry = is_arn(value.get("principalARN")) and "type" in value
    return is_entry or _is_mapping(value)


def _is_mapping(value: dict[str, Any]) -> bool:
    named = is_arn(value.get("rolearn") or value.get("userarn")) or str(value.get("account") or "").isdecimal()
    return named and value.keys() <= _OF_MAPPINGS


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row a thing, with the members that AWS gives it."""
    value = dict_of(record.value)
    if _is_mapping(value):
        name = str(value.get("rolearn") or value.get("userarn") or value.get("account"))
        yield _thing("IamIdentityMapping", name, value)
        return
    arn = str(value.get("principalARN") or "")
    if not is_arn(arn):
        raise EvidenceError("is nothing that the kit knows of eksctl")
    entry = {
        "principalArn": arn,
        "type": value.get("type"),
        "username": value.get("kubernetesUsername"),
        "kubernetesGroups": value.get("kubernetesGroups") or [],
    }
    yield _thing("AccessEntry", arn, entry)
    if "accessPolicies" in value:
        policies = [
            {"policyArn": one.get("policyARN"), "accessScope": one.get("accessScope")}
            for one in dicts_of(value["accessPolicies"])
        ]
        yield _thing("AccessPolicies", arn, {"principalArn": arn, "associatedAccessPolicies": policies})


def _thing(kind: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    text = json_text(value)
    return {
        "cluster": None,
        "account": None,
        "api_version": "aws:eks",
        "kind": kind,
        "resource": "",
        "namespace": None,
        "name": name,
        "uid": None,
        "object": text,
        "event_hash": hash_of(text),
    }
