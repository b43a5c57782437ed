"""A finding of a recording as one of EC2 or IAM would have it, which knows the instance or the role session and no cluster.

Source: GuardDuty User Guide, finding details, by resource type; EC2 and IAM finding types; attack sequences.
"""

from __future__ import annotations

from typing import Any

_KEPT = ("EC2_INSTANCE", "ACCESS_KEY")
Item = dict[str, Any]


def as_of_account(finding: Item, finding_type: str) -> Item:
    """A finding under a type of EC2 or IAM, with what such a type holds of it; under any other type as it was."""
    purpose, _, rest = finding_type.partition(":")
    word, resource, service = rest.partition("/")[0], finding["Resource"], finding["Service"]
    if word not in ("EC2", "IAM", "IAMUser"):
        return finding
    if purpose == "AttackSequence":
        sequence = service["Detection"]["Sequence"]
        listed = [one for one in sequence["Resources"] if one["ResourceType"] in _KEPT]
        return finding | {"Service": service | {"Detection": {"Sequence": sequence | {"Resources": listed}}}}
    plain = {name: value for name, value in service.items() if name not in ("Action", "RuntimeDetails")}
    if word == "EC2":
        about = {"ResourceType": "Instance", "InstanceDetails": resource["InstanceDetails"]}
        return finding | {"Resource": about, "Service": plain}
    remote = ((service.get("Action") or {}).get("KubernetesApiCallAction") or {}).get("RemoteIpDetails")
    api = {"Api": "GetCallerIdentity", "CallerType": "Remote IP"} | ({"RemoteIpDetails": remote} if remote else {})
    call = {"ActionType": "AWS_API_CALL", "AwsApiCallAction": api}
    about = {"ResourceType": "AccessKey", "AccessKeyDetails": resource["AccessKeyDetails"]}
    return finding | {"Resource": about, "Service": plain | {"Action": call}}
