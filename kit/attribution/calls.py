"""A call in the audit log: where it stands, who made it, whether it was let through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kit.model.identity import SERVICE_ACCOUNT
from kit.store.store import Store

Event = dict[str, Any]
"""A row of the audit table: the columns in EVENT_COLUMNS."""
Place = tuple[str, int, int]
"""File, line and item of a record: what tells rows apart, since the client may choose the auditID."""
EVENT_COLUMNS = (
    "audit_id, received_at, stage_at, verb, request_uri, user_name, user_uid, arn, access_key_id, credential_id,"
    " claimed_pod_uid, impersonated_user_name, source_address, user_agent, resource, coalesce(subresource, '') AS subresource,"
    " namespace, name, uid,"
    " response_code, dry_run, issued_credential_id, file, line, item"
)


Caller = tuple[str | None, str | None, str | None]
"""Identity, connection address and user agent of a call."""


def events_where(store: Store, where: str, **values: Any) -> list[Event]:
    """The events of the audit log that a condition in SQL lets in, oldest first."""
    sql = f"SELECT {EVENT_COLUMNS} FROM audit WHERE {where} ORDER BY received_at, file, item"
    return store.rows(sql, **values)


def place_of(event: Event) -> Place:
    """Where an event stands in the evidence."""
    return event["file"], event["line"], event["item"]


def caller_of(event: Event) -> Caller:
    """Who made a call, from where and with which client."""
    return event["user_name"], event["source_address"], event["user_agent"]


def let_through(event: Event) -> bool:
    """Whether the server did what was asked: 2xx, or 101 for a connection that was upgraded (RFC 9110, 15.2.2)."""
    code = event["response_code"]
    return code is not None and (200 <= code < 300 or code == 101)


def creates(event: Event) -> bool:
    """Whether an event stored a new object: a create, or a server-side apply (patch) that was answered with 201."""
    is_new = event["verb"] == "create" or (event["verb"] in ("patch", "update") and event["response_code"] == 201)
    return is_new and not event["subresource"] and let_through(event) and not event["dry_run"]


def creates_account(event: Event) -> bool:
    """Whether an event stored a new service account."""
    return event["resource"] == "serviceaccounts" and creates(event) and bool(event["name"])


def account_user(event: Event) -> str:
    """The user name of the service account that an event is about."""
    return f"{SERVICE_ACCOUNT}{event['namespace']}:{event['name']}"


def address_of(call: dict[str, Any]) -> tuple[str, str] | None:
    """The connection's address in a finding's KubernetesApiCallAction and the member that has it: the last of SourceIps, else
    RemoteIpDetails."""
    addresses, remote = call.get("SourceIps"), call.get("RemoteIpDetails")
    if isinstance(addresses, list) and addresses and addresses[-1]:
        return str(addresses[-1]), "sourceIPs"
    for name in ("IpAddressV4", "IpAddressV6"):
        if isinstance(remote, dict) and remote.get(name):
            return str(remote[name]), "remoteIpDetails"
    return None


@dataclass
class Call:
    """An audit event with the rules that made it the attacker's. whose: of a possible one, the identities that it may come from."""

    event: Event
    rules: dict[str, None] = field(default_factory=dict)
    whose: set[str] = field(default_factory=set)

    @property
    def because(self) -> str:
        """The rules in one sentence."""
        return "; ".join(self.rules)
