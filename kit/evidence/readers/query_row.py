"""CloudTrail events as rows of a query: Athena and CloudTrail Lake, as CSV or as their API prints them.

Names come in the spelling of the query, values as texts. A struct is printed `{type=AssumedRole, arn=…}` without quotes or escapes,
so only names that the struct has can tell where a value ends. Lake prints parameters that way too, without known names: there the
split is a guess. Where the row has `eventjson`, that is the whole event. Sources: Athena User Guide, CloudTrail tables; CloudTrail
User Guide, Lake event schemas; CloudTrail API, GetQueryResults.
"""

from __future__ import annotations

import json
import re
from typing import Any

from kit.errors import EvidenceError

_NAMES = {
    name.lower(): name
    for name in (
        *("eventVersion", "eventTime", "eventSource", "eventName", "awsRegion", "sourceIPAddress", "userAgent"),
        *("errorCode", "errorMessage", "requestID", "eventID", "readOnly", "eventType", "eventCategory", "apiVersion"),
        *("recipientAccountId", "sharedEventID", "vpcEndpointId", "managementEvent"),
    )
}
_STRUCTS = {
    name.lower(): name
    for name in ("requestParameters", "responseElements", "additionalEventData", "serviceEventDetails")
}
_IDENTITY = {
    name.lower(): name
    for name in (
        *(
            "type",
            "principalId",
            "arn",
            "accountId",
            "invokedBy",
            "accessKeyId",
            "userName",
            "sessionContext",
            "attributes",
        ),
        *(
            "mfaAuthenticated",
            "creationDate",
            "sessionIssuer",
            "onBehalfOf",
            "userId",
            "identityStoreArn",
            "ec2RoleDelivery",
        ),
        *(
            "webIdFederationData",
            "federatedProvider",
            "identityProvider",
            "credentialId",
            "sourceIdentity",
            "ec2IssuedInVpc",
        ),
        *("inScopeOf",),
    )
}


def is_query_row(value: Any) -> bool:
    """Whether a record is such a row: an event's members as texts, in small letters or not."""
    if not isinstance(value, dict):
        return False
    names = {name.lower() for name in value if isinstance(name, str)}
    if "eventjson" in names:
        return True
    return names >= {"eventtime", "eventname"} and not any(isinstance(each, dict | list) for each in value.values())


def event_in(value: dict[str, Any]) -> dict[str, Any]:
    """The event in a row. Raises EvidenceError for an `eventjson` that is no JSON."""
    row = {name.lower(): each for name, each in value.items() if each not in (None, "", "null")}
    if "eventjson" in row:
        try:
            event = json.loads(row["eventjson"])
        except (ValueError, TypeError, RecursionError):
            raise EvidenceError("is no JSON", where="eventjson") from None
        if not isinstance(event, dict):
            raise EvidenceError("is not a JSON object", where="eventjson")
        return event
    event = {name: row[small] for small, name in _NAMES.items() if small in row}
    if isinstance(identity := row.get("useridentity"), str):
        event["userIdentity"] = _json(identity) or _struct(identity, _IDENTITY)
    for small, name in _STRUCTS.items():
        if isinstance(text := row.get(small), str):
            event[name] = _json(text) or _struct(text, {})
    return event


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _struct(text: str, names: dict[str, str]) -> Any:
    """A printed struct as an object. names: those that it can have, in small letters → as CloudTrail writes them; {} for any.

    >>> _struct("{type=Role, arn=a, sessioncontext={sessionissuer={arn=b, c}}}", _IDENTITY)
    {'type': 'Role', 'arn': 'a', 'sessionContext': {'sessionIssuer': {'arn': 'b, c'}}}
    """
    if not (text.startswith("{") and text.endswith("}")):
        return None if text == "null" else text
    known = "|".join(names) or r"[A-Za-z][\w.-]*"
    found = dict[str, Any]()
    name, begins, depth = "", 0, 0
    inside = text[1:-1]
    for match in re.finditer(rf"(?:(?<=^)|(?<=, )|(?<=\{{))({known})=|[{{}}]", inside, re.IGNORECASE):
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
        elif depth == 0:
            if name:
                found[names.get(name.lower(), name)] = _struct(inside[begins : match.start()].removesuffix(", "), names)
            name, begins = match[1], match.end()
    if name:
        found[names.get(name.lower(), name)] = _struct(inside[begins:], names)
    return {key: each for key, each in found.items() if each is not None}
