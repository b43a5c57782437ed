"""Audit events and objects as questions print them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def once(events: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """One event a request: exec has one for each stage."""
    return {event["auditID"]: event for event in events}.values()


def as_row(event: dict[str, Any]) -> str:
    """A call as one line: when, what, who, from where, with which client, and its code."""
    code = (event.get("responseStatus") or {}).get("code") or "–"
    addresses = ", ".join(event.get("sourceIPs") or []) or "no address"
    at = event["requestReceivedTimestamp"][:19].replace("T", " ")
    return f"{at} UTC | {event['verb']} {event['requestURI']} | {event['user']['username']} | {addresses} | {event.get('userAgent', '')} | {code}"


def outcome(event: dict[str, Any]) -> str:
    """What became of a call. Sources: HTTP status codes (RFC 9110): 401 and 403 refuse, other codes of 400 and more are failures."""
    code = (event.get("responseStatus") or {}).get("code") or 0
    if code in (401, 403):
        return "was refused"
    return "failed" if code >= 400 else "was let through"


def with_namespace(about: dict[str, Any]) -> str:
    """The name of an object with its namespace."""
    return f"{about['namespace']}/{about['name']}"
