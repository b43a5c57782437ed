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

from kit.lenient import dict_of, dicts_of, found_at, list_of, utc_time
from kit.model.arn import is_arn

GUARDDUTY = ("GuardDuty", "Amazon GuardDuty", "AWS GuardDuty")
API_ACTIVITY = 6003
_OF_TRAIL = (API_ACTIVITY, 3005, 3002, 3001)  # 3005: API Activity in 1.0.0-rc.2
_EKS = ("Amazon EKS", "AWS EKS")
_ANNOTATION = "annotations."


def version_of(value: Any) -> str:
    """The OCSF version of an event; "" for what is none."""
    metadata = value.get("metadata") if isinstance(value, dict) and "class_uid" in value else None
    return str(metadata.get("version") or "of no version") if isinstance(metadata, dict) else ""


def ocsf_class(value: Any) -> int:
    """The OCSF class of an event, also where it was made a text; 0 for what is none."""
    number = str(value["class_uid"]) if version_of(value) else ""
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def is_audit_event(value: Any) -> bool:
    """Whether a value is an event of the EKS audit log."""
    if ocsf_class(value) != API_ACTIVITY:
        return False
    return found_at(value, "metadata", "product", "name") in _EKS


def is_trail_event(value: Any) -> bool:
    """Whether a value is an event of CloudTrail."""
    return ocsf_class(value) in _OF_TRAIL and found_at(value, "metadata", "product", "name") == "CloudTrail"


def trail_event_in(value: dict[str, Any]) -> dict[str, Any]:
    """The CloudTrail event, as far as OCSF keeps it."""
    unmapped = _pairs(value.get("unmapped"))
    user, session = dict_of(found_at(value, "actor", "user")), dict_of(found_at(value, "actor", "session"))
    arn, principal = (user.get("uuid"), user.get("uid")) if "uuid" in user else (user.get("uid"), user.get("uid_alt"))
    time = value.get("time_dt") or value.get("time")
    source = dict_of(value.get("src_endpoint"))
    feature = found_at(value, "metadata", "product", "feature", "name")
    event = {
        "eventVersion": found_at(value, "metadata", "product", "version"),
        "eventID": found_at(value, "metadata", "uid"),
        "eventTime": _time(time) if isinstance(time, str) else _of_milliseconds(time),
        "eventSource": found_at(value, "api", "service", "name"),
        "eventName": found_at(value, "api", "operation"),
        "eventType": found_at(value, "metadata", "event_code"),
        "eventCategory": feature if feature in ("Management", "Data", "NetworkActivity") else None,
        "awsRegion": found_at(value, "cloud", "region"),
        "recipientAccountId": unmapped.get("recipientAccountId") or found_at(value, "cloud", "account", "uid"),
        "sourceIPAddress": source.get("ip") or source.get("domain"),
        "userAgent": found_at(value, "http_request", "user_agent"),
        "errorCode": found_at(value, "api", "response", "error"),
        "errorMessage": found_at(value, "api", "response", "message"),
        "readOnly": unmapped.get("readOnly"),
        "requestID": found_at(value, "api", "request", "uid"),
        "requestParameters": _body(found_at(value, "api", "request", "data") or None),
        "responseElements": _body(found_at(value, "api", "response", "data") or None),
        "userIdentity": {
            "type": user.get("type"),
            "arn": arn,
            "principalId": principal,
            "accountId": found_at(user, "account", "uid") or user.get("account_uid"),
            "accessKeyId": user.get("credential_uid"),
            "userName": user.get("name"),
            "invokedBy": found_at(value, "actor", "invoked_by"),
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
    resource = next(iter(dicts_of(value.get("resources"))), {})
    name, _, subresource = str(resource.get("type") or "").partition("/")
    session, user = dict_of(found_at(value, "actor", "session")), dict_of(found_at(value, "actor", "user"))
    arn = found_at(value, "cloud", "account", "uid")
    extra = {
        "accessKeyId": session.get("credential_uid"),
        "canonicalArn": session.get("issuer"),
        "sessionName": session.get("uid"),
        "arn": arn if is_arn(arn) else None,
        "principalId": user.get("uid_alt") or unmapped.get("user.extra.principalId[]"),
    }
    addresses = unmapped.get("sourceIPs[]") or ""
    source = dict_of(value.get("src_endpoint"))
    listed = addresses.split(",") if addresses else [source.get("ip"), *list_of(source.get("intermediate_ips"))]
    annotations = {key.removeprefix(_ANNOTATION): each for key, each in unmapped.items() if key.startswith(_ANNOTATION)}
    impersonated = unmapped.get("impersonatedUser.username")
    event = {
        "kind": "Event",
        "apiVersion": found_at(value, "metadata", "product", "version"),
        "level": found_at(value, "metadata", "log_level"),
        "auditID": found_at(value, "api", "request", "uid"),
        "stage": value.get("message"),
        "requestURI": found_at(value, "http_request", "url", "path"),
        "verb": found_at(value, "api", "operation"),
        "user": {
            "username": user.get("name"),
            "uid": user.get("uid"),
            "groups": [each.get("name") for each in dicts_of(user.get("groups"))],
            "extra": {key: [each] for key, each in extra.items() if each is not None},
        },
        "impersonatedUser": {"username": impersonated} if impersonated else None,
        "sourceIPs": [each for each in listed if each],
        "userAgent": found_at(value, "http_request", "user_agent"),
        "objectRef": {
            "resource": name or None,
            "subresource": subresource or None,
            "namespace": resource.get("namespace"),
            "name": resource.get("name"),
            "uid": resource.get("uid"),
            "resourceVersion": resource.get("version"),
            "apiGroup": found_at(value, "api", "group", "name"),
            "apiVersion": found_at(value, "api", "version"),
        },
        "responseStatus": {
            "code": found_at(value, "api", "response", "code"),
            "message": found_at(value, "api", "response", "message"),
            "reason": found_at(value, "api", "response", "error"),
        },
        "requestObject": _body(found_at(value, "api", "request", "data")),
        "responseObject": _body(found_at(value, "api", "response", "data")),
        "requestReceivedTimestamp": _time(value.get("start_time_dt") or value.get("time_dt")),
        "stageTimestamp": _time(value.get("time_dt")),
        "annotations": annotations,
    }
    return {key: each for key, each in event.items() if each is not None}


def _pairs(value: Any) -> dict[str, str]:
    """`unmapped` as an object: Parquet's map may be printed as [[key, value]] or [{"key": …, "value": …}]."""
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    listed = [(pair.get("key"), pair.get("value")) if isinstance(pair, dict) else pair for pair in list_of(value)]
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
