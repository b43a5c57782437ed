"""A call in the audit log: where it stands, who made it, whether it was let through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict, cast

from kit.attribution.ground import Ground
from kit.lenient import dict_of, json_of
from kit.model.address import canonical
from kit.model.identity import SERVICE_ACCOUNT
from kit.store.queries import one_of
from kit.store.store import Store


class Event(TypedDict):
    """A row of the audit table: the columns in EVENT_COLUMNS."""

    audit_id: str
    received_at: datetime
    stage_at: datetime | None
    verb: str
    request_uri: str | None
    user_name: str | None
    user_uid: str | None
    arn: str | None
    impersonated_user_name: str | None
    source_address: str | None
    user_agent: str | None
    resource: str | None
    subresource: str
    namespace: str | None
    name: str | None
    uid: str | None
    response_code: int | None
    dry_run: bool | None
    issued_credential_id: str | None
    file: str
    line: int
    item: int
    access_key_id: str | None
    credential_id: str | None
    claimed_pod_uid: str | None
    token_secret: str | None


Place = tuple[str, int, int]
"""File, line and item of a record: what tells rows apart, since the client may choose the auditID."""
LEGACY = "token_secret"
"""The column of the Secret that a token without an end is from, made by hand or by an old control plane (KEP-2799)."""
CREDENTIALS = "arn, access_key_id, credential_id, claimed_pod_uid, token_secret"  # in kit.store.callers too
"""The columns that tell credentials of one identity apart."""
EVENT_COLUMNS = (
    "audit_id, received_at, stage_at, verb, request_uri, user_name, user_uid, impersonated_user_name, source_address,"
    " user_agent, resource, coalesce(subresource, '') AS subresource, namespace, name, uid, response_code, dry_run,"
    f" issued_credential_id, file, line, item, {CREDENTIALS}"
)


Caller = tuple[str | None, str | None, str | None]
"""Identity, connection address and user agent of a call."""


def events_where(store: Store, where: str, among: str = "", **values: Any) -> list[Event]:
    """The events of the audit log that a condition in SQL lets in, oldest first.

    among: a condition on the relation of callers (kit.store.callers) that all callers of such events fulfil; "" where they may be anybody's.
    """
    sql = f"SELECT {EVENT_COLUMNS} FROM {store.events_of(among, values)} WHERE {where} ORDER BY received_at, file, item"
    return cast("list[Event]", store.rows_again(sql, **values))


# kubectl opens exec over WebSocket, whose handshake is an HTTP GET (audit verb "get"); older clients POST ("create"). KEP-4006.
RUNS_COMMANDS = ("exec", "attach")
# Questions to the API server that store nothing: what somebody may do, and whose a token is.
ACCESS_REVIEWS = {
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
}
REVIEWS = {*ACCESS_REVIEWS, "tokenreviews"}
Did = Literal["refused", "asked", "read", "changed", "minted", "deleted", "ran", "forwarded"]
"""What a call did, in one word; kit.attribution.deeds has what it did to which thing."""


def did(event: Mapping[str, Any]) -> Did:
    """What an audit event did. Subresource first, as exec arrives as `get` or `create`."""
    verb, resource, subresource = event["verb"], event["resource"], event["subresource"]
    if event["response_code"] and event["response_code"] >= 400:
        return "refused"
    if subresource == "portforward":
        return "forwarded"  # whatever its verb: it reads what answers there, and runs nothing
    if subresource in (*RUNS_COMMANDS, "proxy"):
        return "ran"
    if resource == "serviceaccounts" and subresource == "token":
        return "minted"
    if resource in REVIEWS:
        return "asked"
    if verb in ("delete", "deletecollection") or subresource == "eviction":
        return "deleted"
    return "read" if verb in ("get", "list", "watch", "head", "options") else "changed"


class AwsEvent(TypedDict):
    """A row of the trail table, as kit.attribution.trail asks for it. issued: the access key that the call gave out.

    request_parameters: JSON, of calls that read or write secrets alone."""

    event_id: str
    event_at: datetime
    event_source: str | None
    event_name: str | None
    error_code: str | None
    user_name: str | None
    source_address: str | None
    access_key_id: str | None
    issued: str | None
    region: str | None
    read_only: bool | None
    request_parameters: str | None


def made_by(event: Event) -> str:
    """Who made a call, and in whose name, where that was another: dev as admin."""
    acting = event["impersonated_user_name"]
    return f"{event['user_name']} as {acting}" if acting else str(event["user_name"])


def bodies_of(store: Store, events: Iterable[Event]) -> dict[Place, tuple[dict[str, Any], dict[str, Any]]]:
    """Event → what it asked for and what was answered, read in one pass a file: asked for one by one they would cost one each."""
    items = dict[str, list[int]]()
    for event in events:
        items.setdefault(event["file"], []).append(event["item"])
    return {
        place_of(row): (dict_of(json_of(row["request_object"])), dict_of(json_of(row["response_object"])))
        for file, wanted in items.items()
        for row in store.rows(
            f"SELECT file, line, item, request_object, response_object FROM audit WHERE file = $file AND {one_of('item', 'items')}",
            file=file,
            items=wanted,
        )
    }


def not_none(values: Iterable[str | None]) -> set[str]:
    """Those of some values that the evidence has."""
    return {value for value in values if value is not None}


def place_of(event: Mapping[str, Any]) -> Place:
    """Where an event stands in the evidence."""
    return event["file"], event["line"], event["item"]


def caller_of(event: Event) -> Caller:
    """Who made a call, from where and with which client."""
    return event["user_name"], event["source_address"], event["user_agent"]


def credentials_of(event: Mapping[str, Any]) -> frozenset[str]:
    """What tells the credential of a call from others of its identity: access key (the role session, where the log has no keys), id of the token or
    certificate, Secret that the token is from, and the pod that it is bound to, whose token the kubelet renews under another id; nothing
    where the log names none."""
    key = event["access_key_id"] or (event["arn"] if ":assumed-role/" in (event["arn"] or "") else None)
    named = key, event["credential_id"], event["claimed_pod_uid"], event["token_secret"]
    return frozenset(filter(None, named))


def credential_named(event: Mapping[str, Any]) -> str | None:
    """The credential of a call as the log names it: the Secret that a token is from, access key, else id of the token or certificate."""
    named = token_secret_of(event) or event["access_key_id"] or event["credential_id"] or event["claimed_pod_uid"]
    return str(named) if named else None


def may_be_of(event: Event, credentials: frozenset[str]) -> bool:
    """Whether a call was made with one of some credentials, as far as the log names them; without any, every call may be."""
    own = credentials_of(event)
    return not credentials or not own or bool(own & credentials)


def resource_of(event: Mapping[str, Any]) -> str:
    """The resource of a call with its subresource, as in pods/exec; its path where it has none."""
    return "/".join(part for part in (event["resource"], event["subresource"]) if part) or event["request_uri"] or ""


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


def token_secret_of(event: Mapping[str, Any]) -> str | None:
    """namespace/name of the Secret that the token of a call is from; None for other credentials."""
    namespace = str(event["user_name"]).removeprefix(SERVICE_ACCOUNT).partition(":")[0]
    return f"{namespace}/{event['token_secret']}" if event["token_secret"] else None


def creates_secret(event: Event) -> bool:
    """Whether an event stored a new Secret."""
    return event["resource"] == "secrets" and creates(event) and bool(event["name"])


def secrets_made_by(events: Iterable[Event]) -> set[str]:
    """namespace/name of the Secrets that events stored anew."""
    return {f"{event['namespace']}/{event['name']}" for event in events if creates_secret(event)}


def account_user(event: Event) -> str:
    """The user name of the service account that an event is about."""
    return f"{SERVICE_ACCOUNT}{event['namespace']}:{event['name']}"


def address_of(call: dict[str, Any]) -> tuple[str, str] | None:
    """The connection's address in a finding's KubernetesApiCallAction, in its one form, and the member that has it: the last of SourceIps,
    else RemoteIpDetails."""
    addresses, remote = call.get("SourceIps"), call.get("RemoteIpDetails")
    if isinstance(addresses, list) and addresses and addresses[-1]:
        return canonical(str(addresses[-1])), "sourceIPs"
    for name in ("IpAddressV4", "IpAddressV6"):
        if isinstance(remote, dict) and remote.get(name):
            return canonical(str(remote[name])), "remoteIpDetails"
    return None


@dataclass
class Call:
    """An audit event with what made it the attacker's, each with the rule of the kit that it is (None: one that makes possible alone).

    whose: of a possible one, the identities that it may come from.

    source: what a controller applied it from; then the deed is the attacker's, and the controller's identity and credential need not be.
    """

    event: Event
    rules: dict[str, Ground | None] = field(default_factory=dict)
    whose: set[str] = field(default_factory=set)
    source: str = ""

    @property
    def because(self) -> str:
        """The rules in one sentence."""
        return "; ".join(self.rules)
