"""What `aws eks` and `aws ec2` print about a cluster: the cluster, who is let in, roles of pods, sign-in, instances.

Source: botocore, eks 2017-11-01 and ec2 2016-11-15, output shapes of the calls below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kit import tables
from kit.errors import EvidenceError
from kit.finding import cluster_in_tags
from kit.sources import EvidenceFile, Reject, Row, Sample
from kit.sources.json_document import Record, hash_of, json_text, member, peek, records, rows

TABLE = "objects"
TAKEN_AS = "AWS description"

Values = dict[str, Any]


def _cluster(value: Any) -> Values:
    name = member(value, "name")
    return _described("Cluster", value, name=name, uid=member(value, "arn"), cluster=name)


def _access_entry(value: Any) -> Values:
    if isinstance(value, str):  # list-access-entries prints the principals alone
        value = {"principalArn": value}
    return _described("AccessEntry", value, name=member(value, "principalArn"), uid=member(value, "accessEntryArn"))


def _access_policies(value: Any) -> Values:
    return _described("AccessPolicies", value, name=member(value, "principalArn"))


def _pod_identity_association(value: Any) -> Values:
    values = _described(
        "PodIdentityAssociation", value, name=member(value, "serviceAccount"), uid=member(value, "associationArn")
    )
    return values | {"namespace": member(value, "namespace")}


def _identity_provider_config(value: Any) -> Values:
    config = member(value, "oidc") or value
    name = member(config, "identityProviderConfigName") or member(config, "name")
    uid, cluster = member(config, "identityProviderConfigArn"), member(config, "clusterName")
    return _described("IdentityProviderConfig", value, name=name, uid=uid, cluster=cluster)


def _instance(value: Any) -> Values:
    instance_id, cluster = member(value, "InstanceId"), cluster_in_tags(member(value, "Tags"))
    return _described("Instance", value, name=instance_id, uid=instance_id, cluster=cluster) | {
        "api_version": "aws:ec2"
    }


# By the member under which a call prints what it describes. Of associatedAccessPolicies the whole document is the
# thing: the principal stands beside the list, and an empty list says that there are none.
_LISTED: dict[str, Callable[[Any], Values]] = {
    "accessEntries": _access_entry,
    "associations": _pod_identity_association,
    "identityProviderConfigs": _identity_provider_config,
}
_DESCRIBED: dict[str, Callable[[Any], Values]] = {
    "cluster": _cluster,
    "accessEntry": _access_entry,
    "association": _pod_identity_association,
    "identityProviderConfig": _identity_provider_config,
}


def sniff(sample: Sample) -> bool:
    """Whether a file is what one of the calls prints. Members that other services use as well are looked into."""
    top = peek(sample.head)
    if not isinstance(top, dict):
        return False
    if any(isinstance(top.get(name), list) for name in ("Reservations", "accessEntries", "associatedAccessPolicies")):
        return True
    if isinstance(top.get("identityProviderConfigs"), list) or isinstance(top.get("accessEntry"), dict):
        return True
    listed = top.get("associations")
    if isinstance(listed, list):
        return not listed or _has(listed[0], "associationArn")
    return (
        _has(top.get("cluster"), "arn")
        or _has(top.get("association"), "associationArn")
        or (isinstance(top.get("identityProviderConfig"), dict))
    )


def _has(value: Any, name: str) -> bool:
    return isinstance(value, dict) and ":eks:" in str(value.get(name))


def read(file: EvidenceFile, data: bytes) -> Iterator[Row | Reject]:
    """A row a thing. Instances of one reservation share its item."""
    yield from rows(records(data), tables.OBJECTS, _rows)


def _rows(record: Record) -> Iterator[Values]:
    if record.of == "Reservations":
        instances = member(record.value, "Instances")
        if not isinstance(instances, list):
            raise EvidenceError("is not a list", where="Instances")
        if not instances:
            raise EvidenceError("holds no instance", where="Instances")
        for each in instances:
            yield _instance(each) | {"account": member(record.value, "OwnerId")}
    elif record.of in _LISTED:
        yield _LISTED[record.of](record.value)
    elif member(record.value, "associatedAccessPolicies") is not None:
        yield _access_policies(record.value)
    else:
        described = [name for name in _DESCRIBED if name in record.value] if isinstance(record.value, dict) else []
        if not described:
            raise EvidenceError("is no description by AWS that the kit knows")
        for name in described:
            yield _DESCRIBED[name](record.value[name])


def _described(kind: str, value: Any, *, name: Any, uid: Any = None, cluster: Any = None) -> Values:
    if not name:
        raise EvidenceError(f"is no {kind} without a name")
    text = json_text(value)
    return {
        "cluster": cluster or member(value, "clusterName"),
        "account": _account(uid),
        "api_version": "aws:eks",
        "kind": kind,
        "resource": "",
        "namespace": None,
        "name": name,
        "uid": uid,
        "object": text,
        "event_hash": hash_of(text),
    }


def _account(arn: Any) -> str | None:
    """The account in an ARN of the thing itself; a principal's ARN may be of another account."""
    parts = arn.split(":") if isinstance(arn, str) else []
    return parts[4] or None if len(parts) > 5 and parts[0] == "arn" else None
