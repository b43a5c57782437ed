"""Certificates that the attacker asked for or approved: whom they sign in as, and the calls that are made with them.

Source: Kubernetes "Certificates and Certificate Signing Requests" (who has the key asks; the signer writes the certificate into
`status.certificate`, where everybody who may read requests sees it; what was issued cannot be taken back).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kit.attribution.calls import Event, creates, events_where, let_through
from kit.attribution.ground import Ground
from kit.attribution.rules import AttackerRule
from kit.identities.certificate import credential_id_of, der_of, end_of, named_in
from kit.inventory.inventory import Inventory
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.identity import NODE
from kit.store.store import Store

REQUESTS = "certificatesigningrequests"
_IS_CERTIFICATE = "X509SHA256="


@dataclass(frozen=True)
class CertificateRequest:
    """A request for a certificate. event: the attacker's call that made or approved it; made: whether it made it, so that the attacker has the key.

    user_name, groups: whom it signs in as; "" where the request is in no evidence. certificates: credential ids of what was issued.
    issued: whether it was; None where the evidence does not tell.
    """

    name: str
    event: Event
    made: bool
    user_name: str
    groups: tuple[str, ...]
    certificates: frozenset[str]
    issued: bool | None
    until: datetime | None

    @property
    def says(self) -> str:
        """What the attacker did to it."""
        whom = f" for {self.user_name}" if self.user_name else ""
        return f"the attacker {'asked for' if self.made else 'approved'} the certificate of request {self.name}{whom}"


class Certificates:
    """Finds the requests that calls of the attacker made or approved, and the calls that follow."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory
        self._known = dict[tuple[str, bool], CertificateRequest]()
        self._first_call = dict[str, datetime | None]()

    def requests(self, events: Iterable[Event]) -> list[CertificateRequest]:
        """The requests that some events made or approved, each once; one that they made is not told for its approval too."""
        found = dict[str, CertificateRequest]()
        for event in events:
            if event["resource"] != REQUESTS or not event["name"] or not let_through(event) or event["dry_run"]:
                continue
            made = creates(event)
            if made or event["subresource"] == "approval":
                if (event["name"], made) not in self._known:
                    self._known[event["name"], made] = self._request(event["name"], event, made)
                known = found.get(event["name"])
                if known is None or (made and not known.made):
                    found[event["name"]] = self._known[event["name"], made]
        return list(found.values())

    def _request(self, name: str, event: Event, made: bool) -> CertificateRequest:
        user, groups, certificates = "", list[str](), set[str]()
        until, conditions = None, set[str]()
        for body in self._bodies(name):
            asked = der_of(dict_of(body.get("spec")).get("request"))
            user, groups = named_in(asked) if asked else (user, groups)
            status = dict_of(body.get("status"))
            conditions |= {str(one.get("type")) for one in dicts_of(status.get("conditions"))}
            if certificate := der_of(status.get("certificate")):
                certificates.add(credential_id_of(certificate))
                until = end_of(certificate)
        issued = True if certificates else False if conditions & {"Denied", "Failed"} else None
        return CertificateRequest(name, event, made, user, tuple(groups), frozenset(certificates), issued, until)

    def _bodies(self, name: str) -> Iterator[dict[str, Any]]:
        for row in self.store.rows(
            "SELECT request_object, response_object FROM audit WHERE resource = $resource AND name = $name ORDER BY received_at",
            resource=REQUESTS,
            name=name,
        ):
            yield dict_of(json_of(row["request_object"]))
            yield dict_of(json_of(row["response_object"]))
        for row in self.store.rows(
            "SELECT object FROM objects WHERE resource = $resource AND name = $name", resource=REQUESTS, name=name
        ):
            yield dict_of(json_of(row["object"]))

    def of(self, events: Iterable[Event]) -> Iterator[AttackerRule]:
        """What makes other events the attacker's when these are: the certificate itself, else a name that nobody had used before."""
        for one in self.requests(events):
            if one.made and one.certificates:
                says = f"it was made with a certificate: {one.says}"
                yield AttackerRule("credential_id", set(one.certificates), self._is_with(one), says, Ground.CERTIFICATE)
            elif one.made and one.issued is None and self._is_new(one):
                says = f"it has a name that made no call before: {one.says}"
                yield AttackerRule("user_name", {one.user_name}, self._is_since(one), says, Ground.CERTIFICATE_NAME)

    def possible(self, events: Iterable[Event]) -> Iterator[tuple[list[Event], str, str]]:
        """Calls that may be made with a certificate that the attacker approved, or whose fingerprint is in no evidence."""
        for one in self.requests(events):
            if one.issued is False or not one.user_name or (one.made and (one.certificates or self._is_new(one))):
                continue
            user, at = one.user_name, one.event["received_at"]
            before = {
                event["credential_id"]
                for event in events_where(
                    self.store, "user_name = $user AND received_at < $at", "user_name = $user", user=user, at=at
                )
            }
            since = events_where(
                self.store, "user_name = $user AND received_at >= $at", "user_name = $user", user=user, at=at
            )
            with_it = [
                event
                for event in since
                if event["credential_id"] in one.certificates
                or (not one.certificates and _may_be_certificate(event) and event["credential_id"] not in before)
            ]
            yield with_it, f"it may be made with a certificate: {one.says}", str(one.event["user_name"])

    @staticmethod
    def _is_with(one: CertificateRequest) -> Any:
        return lambda event: event["credential_id"] in one.certificates

    @staticmethod
    def _is_since(one: CertificateRequest) -> Any:
        return lambda event: (
            event["user_name"] == one.user_name
            and event["received_at"] >= one.event["received_at"]
            and _may_be_certificate(event)
        )

    def _is_new(self, one: CertificateRequest) -> bool:
        """Whether nobody had called by the name of a request before; nodes come and go, and their names tell nothing."""
        user = one.user_name
        if user and user not in self._first_call:
            (row,) = self.store.rows(
                f"SELECT min(first_at) AS at FROM {self.store.callers} WHERE user_name = $user", user=user
            )
            self._first_call[user] = row["at"]
        first = self._first_call.get(user)
        return bool(first and first >= one.event["received_at"] and not user.startswith(NODE))


def _may_be_certificate(event: Event) -> bool:
    """Whether a call may be signed in by certificate: the log says so, or names no other credential."""
    named = event["credential_id"]
    return named.startswith(_IS_CERTIFICATE) if named else not (event["access_key_id"] or event["token_secret"])
