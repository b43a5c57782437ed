"""Rows of Microsoft Sentinel's tables of AWS, back into the events and findings they were made of: AWSCloudTrail and AWSGuardDuty.

Names may be in any spelling, objects may be JSON texts (CSV). What a table has no column for is lost: sessions' tags, TLS. The time is the
event's own. Source: Azure Monitor, reference of the tables AWSCloudTrail and AWSGuardDuty.
"""

from __future__ import annotations

import json
from typing import Any

from kit.evidence.formats.log_store import column

# Column → member of a CloudTrail event, with the names on the way.
_OF_EVENT = {
    "eventversion": ("eventVersion",),
    "timegenerated": ("eventTime",),
    "eventsource": ("eventSource",),
    "eventname": ("eventName",),
    "eventtypename": ("eventType",),
    "category": ("eventCategory",),
    "awsregion": ("awsRegion",),
    "sourceipaddress": ("sourceIPAddress",),
    "useragent": ("userAgent",),
    "errorcode": ("errorCode",),
    "errormessage": ("errorMessage",),
    "awseventid": ("eventID",),
    "awsrequestid_": ("requestID",),
    "readonly": ("readOnly",),
    "recipientaccountid": ("recipientAccountId",),
    "requestparameters": ("requestParameters",),
    "responseelements": ("responseElements",),
    "additionaleventdata": ("additionalEventData",),
    "useridentitytype": ("userIdentity", "type"),
    "useridentityprincipalid": ("userIdentity", "principalId"),
    "useridentityarn": ("userIdentity", "arn"),
    "useridentityaccountid": ("userIdentity", "accountId"),
    "useridentityaccesskeyid": ("userIdentity", "accessKeyId"),
    "useridentityusername": ("userIdentity", "userName"),
    "useridentityinvokedby": ("userIdentity", "invokedBy"),
    "sessionissuertype": ("userIdentity", "sessionContext", "sessionIssuer", "type"),
    "sessionissuerarn": ("userIdentity", "sessionContext", "sessionIssuer", "arn"),
    "sessionissuerprincipalid": ("userIdentity", "sessionContext", "sessionIssuer", "principalId"),
    "sessionissueraccountid": ("userIdentity", "sessionContext", "sessionIssuer", "accountId"),
    "sessionissuerusername": ("userIdentity", "sessionContext", "sessionIssuer", "userName"),
}
_OF_FINDING = {
    "schemaversion": "schemaVersion",
    "accountid": "accountId",
    "region": "region",
    "partition": "partition",
    "id": "id",
    "arn": "arn",
    "activitytype": "type",
    "resourcedetails": "resource",
    "servicedetails": "service",
    "severity": "severity",
    "timecreated": "createdAt",
    "timegenerated": "updatedAt",
    "title": "title",
    "description": "description",
}


def is_event_row(value: Any) -> bool:
    """Whether a record is a row of AWSCloudTrail."""
    return isinstance(value, dict) and {"awseventid", "eventname", "timegenerated"} <= _names(value)


def is_finding_row(value: Any) -> bool:
    """Whether a record is a row of AWSGuardDuty."""
    return isinstance(value, dict) and {"activitytype", "resourcedetails", "id"} <= _names(value)


def _names(value: dict[str, Any]) -> set[str]:
    return {column(name) for name in value if isinstance(name, str)}


def sentinel_event(value: dict[str, Any]) -> dict[str, Any]:
    """The CloudTrail event in a row."""
    event = dict[str, Any]()
    for name, each in _cells(value).items():
        *path, last = _OF_EVENT.get(name, ("",))
        here = event
        for step in path:
            here = here.setdefault(step, {})
        if last:
            here[last] = each
    return event


def sentinel_finding(value: dict[str, Any]) -> dict[str, Any]:
    """The finding in a row."""
    return {_OF_FINDING[name]: each for name, each in _cells(value).items() if name in _OF_FINDING}


def _cells(value: dict[str, Any]) -> dict[str, Any]:
    """The cells that say something, by their columns; a JSON text is what it holds."""
    return {column(name): _whole(each) for name, each in value.items() if each not in (None, "")}


def _whole(cell: Any) -> Any:
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("{", "["):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
