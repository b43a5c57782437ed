"""OCSF as Security Lake writes it: API Activity of the EKS audit log back into audit events, and API Activity, Authentication and
Account Change of CloudTrail back into its events.

What OCSF has no place for is lost. Of the EKS audit log these are the bodies (only 1.5.0 has them), and times are cut to milliseconds; the
caller's ARN stands under cloud.account.uid, the stage in `message`, resource and subresource together in resources[].type. `unmapped` is
an object, or a list of pairs where a program printed Parquet's map. Source: ocsf/examples, AWS, EKS Audit Logs and CloudTrail, 1.1.0 and
1.5.0, and 1.0.0-rc.2, in which a user's uid and uuid are the other way round.
"""

from __future__ import annotations

import json
from typing import Any

from kit.lenient import utc_time
from kit.model.arn import is_arn

API_ACTIVITY = 6003
_OF_TRAIL = (API_ACTIVITY, 3005, 3002, 3001)  # 3005: API Activity in 1.0.0-rc.2
_EKS = ("Amazon EKS", "AWS EKS")
_ANNOTATION = "annotations."


def version_of(value: Any) -> str:
    """The OCSF version of an event; "" for what is none."""
    metadata = value.get("metadata") if isinstance(value, dict) and "class_uid" in value else None
    return str(metadata.get("version") or "of no version") if isinstance(metadata, dict) else ""


def is_audit_event(value: Any) -> bool:
    """Whether a value is an event of the EKS audit log."""
    if not version_of(value) or value["class_uid"] != API_ACTIVITY:
        return False
    return _at(value, "metadata", "product", "name") in _EKS


def is_trail_event(value: Any) -> bool:
    """Whether a value is an event of CloudTrail."""
    return (
        bool(version_of(value))
        and value["class_uid"] in _OF_TRAIL
        and _at(value, "metadata", "product", "name") == "CloudTrail"
    )


def trail_event_in(value: dict[str, Any]) -> dict[str, Any]:
    """The CloudTrail event, as far as OCSF keeps it."""
    unmapped = _pairs(value.get("unmapped"))
    user, session = _dict(_at(value, "actor", "user")), _dict(_at(value, "actor", "session"))
    arn, principal = (user.get("uuid"), user.get("uid")) if "uuid" in user else (user.get("uid"), user.get("uid_alt"))
    time = value.get("time_dt") or value.get("time")
    source = _dict(value.get("src_endpoint"))
    feature = _at(value, "metadata", "product", "feature", "name")
    event = {
        "eventVersion": _at(value, "metadata", "product", "version"),
        "eventID": _at(value, "metadata", "uid"),
        "eventTime": _time(time) if isinstance(time, str) else _of_milliseconds(time),
        "eventSource": _at(value, "api", "service", "name"),
        "eventName": _at(value, "api", "operation"),
        "eventType": _at(value, "metadata", "event_code"),
        "eventCategory": feature if feature in ("Management", "Data", "NetworkActivity") else None,
        "awsRegion": _at(value, "cloud", "region"),
        "recipientAccountId": unmapped.get("recipientAccountId") or _at(value, "cloud", "account", "uid"),
        "sourceIPAddress": source.get("ip") or source.get("domain"),
        "userAgent": _at(value, "http_request", "user_agent"),
        "errorCode": _at(value, "api", "response", "error"),
        "errorMessage": _at(value, "api", "response", "message"),
        "readOnly": unmapped.get("readOnly"),
        "requestParameters": _body(_at(value, "api", "request", "data") or None),
        "responseElements": _body(_at(value, "api", "response", "data") or None),
        "userIdentity": {
            "type": user.get("type"),
            "arn": arn,
            "principalId": principal,
            "accountId": _at(user, "account", "uid") or user.get("account_uid"),
            "accessKeyId": user.get("credential_uid"),
            "userName": user.get("name"),
            "invokedBy": _at(value, "actor", "invoked_by"),
            "sessionContext": {"sessionIssuer": {"arn": session.get("issuer")}},
        },
    }
    return {key: each for key, each in event.items() if each is not None}


def _of_milliseconds(value: Any) -> Any:
    at = utc_time(value)
    return at.isoformat() if at else value


def audit_event_in(value: dict[str, Any]) -> dict[str, Any]:
    """The audit event, as far as OCSF keeps it."""
    unmapped = _pairs(value.get("unmapped"))
    resource = next(iter(_dicts(value.get("resources"))), {})
    name, _, subresource = str(resource.get("type") or "").partition("/")
    session, user = _dict(_at(value, "actor", "session")), _dict(_at(value, "actor", "user"))
    arn = _at(value, "cloud", "account", "uid")
    extra = {
        "accessKeyId": session.get("credential_uid"),
        "canonicalArn": session.get("issuer"),
        "sessionName": session.get("uid"),
        "arn": arn if is_arn(arn) else None,
        "principalId": user.get("uid_alt") or unmapped.get("user.extra.principalId[]"),
    }
    addresses = unmapped.get("sourceIPs[]") or ""
    source = _dict(value.get("src_endpoint"))
    listed = addresses.split(",") if addresses else [source.get("ip"), *_list(source.get("intermediate_ips"))]
    annotations = {key.removeprefix(_ANNOTATION): each for key, each in unmapped.items() if key.startswith(_ANNOTATION)}
    impersonated = unmapped.get("impersonatedUser.username")
    event = {
        "kind": "Event",
        "apiVersion": _at(value, "metadata", "product", "version"),
        "level": _at(value, "metadata", "log_level"),
        "auditID": _at(value, "api", "request", "uid"),
        "stage": value.get("message"),
        "requestURI": _at(value, "http_request", "url", "path"),
        "verb": _at(value, "api", "operation"),
        "user": {
            "username": user.get("name"),
            "uid": user.get("uid"),
            "groups": [each.get("name") for each in _dicts(user.get("groups"))],
            "extra": {key: [each] for key, each in extra.items() if each is not None},
        },
        "impersonatedUser": {"username": impersonated} if impersonated else None,
        "sourceIPs": [each for each in listed if each],
        "userAgent": _at(value, "http_request", "user_agent"),
        "objectRef": {
            "resource": name or None,
            "subresource": subresource or None,
            "namespace": resource.get("namespace"),
            "name": resource.get("name"),
            "uid": resource.get("uid"),
            "resourceVersion": resource.get("version"),
            "apiGroup": _at(value, "api", "group", "name"),
            "apiVersion": _at(value, "api", "version"),
        },
        "responseStatus": {
            "code": _at(value, "api", "response", "code"),
            "message": _at(value, "api", "response", "message"),
            "reason": _at(value, "api", "response", "error"),
        },
        "requestObject": _body(_at(value, "api", "request", "data")),
        "responseObject": _body(_at(value, "api", "response", "data")),
        "requestReceivedTimestamp": _time(value.get("start_time_dt") or value.get("time_dt")),
        "stageTimestamp": _time(value.get("time_dt")),
        "annotations": annotations,
    }
    return {key: each for key, each in event.items() if each is not None}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _pairs(value: Any) -> dict[str, str]:
    """`unmapped` as an object: Parquet's map may be printed as [[key, value]] or [{"key": …, "value": …}]."""
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    pairs = value if isinstance(value, list) else []
    listed = [(pair.get("key"), pair.get("value")) if isinstance(pair, dict) else pair for pair in pairs]
    return {str(pair[0]): str(pair[1]) for pair in listed if isinstance(pair, list | tuple) and len(pair) == 2}


def _time(value: Any) -> Any:
    """A time as audit events write it: Security Lake has a space in it and no zone, and means UTC."""
    if not isinstance(value, str):
        return value
    text = value.replace(" ", "T", 1)
    return text if text.endswith("Z") or "+" in text else f"{text}Z"


def _body(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
