"""The credentials that the attacker has or may have: which, whose, how obtained, what it is bound to, and whether it is still good for anything.

Sources: Kubernetes "Managing Service Accounts" (a bound token ends with what it is bound to; a Secret's token ends with the Secret);
IAM User Guide (a session lives until it expires; a long-term key until it is deleted).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from kit.attribution.attacker import Attacker
from kit.attribution.calls import (
    AwsEvent,
    Event,
    Place,
    account_user,
    bodies_of,
    creates,
    did,
    let_through,
    not_none,
    place_of,
    token_secret_of,
)
from kit.attribution.credential import Credential, CredentialKind, CredentialState, latest_end
from kit.attribution.deeds import Deed, Deeds, command_of
from kit.attribution.last_seen import LastSeen
from kit.identities.sessions import Session
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.lenient import dict_of
from kit.model.identity import NODE, SERVICE_ACCOUNT, identity_of
from kit.model.kinds import Certainty
from kit.model.refs import Ref
from kit.model.why import Rule, Why
from kit.store.store import Store
from kit.words import utc

_HOLDS_IT = "kubernetes.io/service-account-token"  # the type of a Secret that holds a token without an end
_TOKEN_FILES = ("kubernetes.io/serviceaccount", "eks.amazonaws.com/serviceaccount", "pods.eks.amazonaws.com")


class Credentials:
    """Finds the credentials that calls of the attacker gave or used."""

    def __init__(self, store: Store, inventory: Inventory, attacker: Attacker, deeds: Deeds) -> None:
        self.store, self.inventory, self.attacker, self.deeds = store, inventory, attacker, deeds
        self._last_seen = LastSeen(store)
        self._bodies = dict[Place, tuple[dict[str, Any], dict[str, Any]]]()

    def of(self, calls: Iterable[Event], trail: Iterable[AwsEvent]) -> list[Credential]:
        """The credentials that some of the attacker's calls gave or used: one entry a TokenRequest, of the others one a key."""
        events, rows = list(calls), list(trail)
        used = [event for event in events if not self.attacker.source_of_call(event)]
        made = [
            *self._minted(events),
            *self._of_pods(events, used),
            *self._in_secrets(events, used),
            *self._requested(events),
            *self._keys(used, rows),
            *self._nodes(used),
            *self._signed_in(used),
        ]
        found = dict[tuple[str, str, str], Credential]()
        for one in sorted(made, key=lambda one: (one.certainty, one.since)):
            place = (one.kind, one.key, one.ref if one.kind == "token" else "")
            known = found.setdefault(place, one)
            if one is not known and one.certainty == known.certainty and one.is_used != known.is_used:
                found[place] = replace(known, why=(*known.why, *one.why), is_used=True)
        return list(found.values())

    @cached_property
    def end(self) -> datetime | None:
        """When the newest evidence ends."""
        (row,) = self.store.rows(
            "SELECT coalesce((SELECT max(end_at) FROM coverage), (SELECT max(received_at) FROM audit)) AS last_at"
        )
        at: datetime | None = row["last_at"]
        return at

    def _why(self, event: Event, says: str) -> tuple[Why, ...]:
        return (Why(self.store.event_ref(event), says, Rule.ATTACKER),)

    # ── tokens ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _minted(self, events: list[Event]) -> Iterator[Credential]:
        mints = [one for one in events if did(one) == "minted" and let_through(one) and not one["dry_run"]]
        self._bodies |= bodies_of(self.store, [event for event in mints if place_of(event) not in self._bodies])
        for event in mints:
            asked, answered = self._bodies[place_of(event)]
            pods, bound = self._bound_to(event, dict_of(asked.get("spec")))
            account = f"{event['namespace']}/{event['name']}"
            expires = _time(dict_of(answered.get("status")).get("expirationTimestamp"))
            yield Credential(
                "token", account, account_user(event), self._why(event, "minted by a TokenRequest of the attacker"),
                event["received_at"], *self._state_of_token(account, pods, bound, expires, event["received_at"]),
                by=str(event["user_name"]), pods=tuple(pods), bound=bound,
            )  # fmt: skip

    def _bound_to(self, event: Event, asked: dict[str, Any]) -> tuple[list[Thing], bool | None]:
        """The pods that a minted token is bound to, or may be; and whether it is bound at all, None where the log does not tell."""
        bound = dict_of(asked.get("boundObjectRef"))
        if bound:
            known = self.inventory.things.get(str(bound.get("uid")))
            named = [known] if known else self.inventory.named("pods", event["namespace"], str(bound.get("name")))
            return [pod for pod in named if pod.resource == "pods"], True
        if asked:
            return [], False
        issued = event["issued_credential_id"]
        uses = [call.event for call in self.attacker.calls.values() if issued and call.event["credential_id"] == issued]
        pods = not_none(use["claimed_pod_uid"] for use in uses)
        if pods:
            return [pod for uid in sorted(pods) if (pod := self.inventory.things.get(uid))], True
        if uses:
            return [], False
        user = str(event["user_name"])
        if user.startswith(NODE):
            # NodeRestriction: a kubelet gets tokens of accounts for pods on its node alone.
            account = f"{event['namespace']}/{event['name']}"
            return [
                pod
                for pod in self.inventory.pods
                if pod.node == user.removeprefix(NODE)
                and pod.service_account == account
                and pod.existed_at(event["received_at"])
            ], True
        return [], None

    def _state_of_token(
        self,
        account: str,
        pods: list[Thing],
        bound: bool | None,
        expires: datetime | None,
        minted_at: datetime | None = None,
    ) -> tuple[CredentialState, datetime | None, str]:
        namespace, _, name = account.partition("/")
        accounts = self.inventory.named("serviceaccounts", namespace, name)
        if expires and self.end and expires <= self.end:
            return "ended", expires, f"it expired at {utc(expires)}"
        if accounts and all(one.standing is False for one in accounts):
            return "ended", accounts[-1].deleted_at, "its service account is gone"
        latest = f"; {latest_end(minted_at)}" if minted_at and not expires else ""
        if bound is False:
            end = f"until it expires at {utc(expires)}" if expires else f"until it expires{latest}"
            return "usable", expires, f"bound to no pod, usable {end}"
        if not pods:
            return "cannot tell", expires, f"whether it is bound to a pod is in no evidence; take it for usable{latest}"
        gone = [pod for pod in pods if pod.standing is False]
        if len(gone) == len(pods):
            at = max((pod.deleted_at for pod in pods if pod.deleted_at), default=None)
            return "ended", at, f"its pod is gone{f' since {at:%H:%M:%S}' if at else ''}"
        name_of = f"{pods[0].namespace}/{pods[0].name}"
        if not gone and all(pod.standing for pod in pods):
            return "usable", expires, f"bound to pod {name_of}, which stands"
        seen = [] if gone else [at for pod in pods if (at := self._last_seen.pod(pod.uid))]
        if len(seen) == len(pods):
            return "usable", expires, f"bound to pod {name_of}, whose token still worked at {min(seen):%H:%M:%S}"
        return "cannot tell", expires, f"whether its pod {name_of} still stands is in no evidence"

    def _of_pods(self, events: list[Event], used: list[Event]) -> Iterator[Credential]:
        """Tokens of pods: those that the attacker used, and those within reach of a command or a container of the attacker."""
        minted = {event["issued_credential_id"] for event in events}
        for event in used:
            if event["claimed_pod_uid"] and event["credential_id"] not in minted:
                pod = self.inventory.things.get(event["claimed_pod_uid"])
                yield self._of_pod(
                    event, event["claimed_pod_uid"], str(event["user_name"]), pod, "the attacker used it"
                )
        for event in events:
            for deed in self.deeds.of(event) if event["resource"] in ("pods", "nodes") else ():
                if isinstance(deed, Deed) and deed.kind == "exec" and deed.key.startswith("pods/"):
                    _, namespace, name = deed.key.split("/", 2)
                    named = self.inventory.named("pods", namespace, name)
                    for pod in named if len(named) == 1 else ():
                        is_read = any(path in command_of(event) for path in _TOKEN_FILES)
                        said = (
                            "a command of the attacker read it"
                            if is_read
                            else "a command of the attacker could read it"
                        )
                        yield from self._in_reach(event, pod, said, "affected" if is_read else "possible")
        for event in filter(creates, events):
            for uid in sorted(self.attacker.pods_made_by([event])):
                pod = self.inventory.things.get(uid)
                if pod and not str(pod.service_account).endswith("/default"):
                    yield from self._in_reach(event, pod, "a container of the attacker's could read it", "possible")

    def _in_reach(self, event: Event, pod: Thing, says: str, certainty: Certainty) -> Iterator[Credential]:
        if pod.service_account and pod.spec.get("automountServiceAccountToken") is not False:
            user = SERVICE_ACCOUNT + pod.service_account.replace("/", ":", 1)
            found = self._of_pod(event, pod.uid, user, pod, says)
            yield replace(found, certainty=certainty, is_used=False)

    def _of_pod(self, event: Event, uid: str, user: str, pod: Thing | None, says: str) -> Credential:
        account = user.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
        pods = [pod] if pod else []
        return Credential(
            "pod_token", uid, user, self._why(event, f"{says}: the token of {account}"), event["received_at"],
            *self._state_of_token(account, pods, True, None),
            by=str(event["user_name"]), pods=tuple(pods), bound=True,
        )  # fmt: skip

    def _in_secrets(self, events: list[Event], used: list[Event]) -> Iterator[Credential]:
        """Tokens without an end, in Secrets that the attacker used, made or read."""
        for event in used:
            if key := token_secret_of(event):
                yield self._of_secret(event, key, str(event["user_name"]), "the attacker used its token")
        for event in events:
            for deed in self.deeds.of(event) if event["resource"] == "secrets" else ():
                if isinstance(deed, Deed) and deed.kind in ("secret", "created"):
                    key = deed.key.removeprefix("secrets/")
                    user = self._user_of_secret(key)
                    says = f"the attacker {'made' if deed.kind == 'created' else 'read'} a Secret with a token"
                    if user:
                        found = self._of_secret(event, key, user, says)
                        yield replace(found, certainty=deed.certainty, is_used=False)

    def _of_secret(self, event: Event, key: str, user: str, says: str) -> Credential:
        namespace, _, name = key.partition("/")
        things = self.inventory.named("secrets", namespace, name)
        account = user.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
        state, until, because = self._state_of_token(account, [], False, None)
        if state != "ended":
            because = "it has no end until its Secret is deleted"
            if any(one.standing for one in things):
                state = "usable"
            elif things and all(one.standing is False for one in things):
                state, until, because = "ended", things[-1].deleted_at, "its Secret is gone"
            else:
                state, because = "cannot tell", "whether its Secret still stands is in no evidence; take it for usable"
        return Credential(
            "secret_token", key, user, self._why(event, f"{says}: of {account}"), event["received_at"], state, until, because,
            by=str(event["user_name"]), bound=False,
        )  # fmt: skip

    def _user_of_secret(self, key: str) -> str:
        """The user name that the token of a Secret signs in as; "" where no evidence shows a token in it."""
        return self._token_secrets.get(key, "")

    @cached_property
    def _token_secrets(self) -> dict[str, str]:
        """namespace/name of each Secret that holds a token → its user name: by the dump, and by the uses in the log."""
        found = {
            f"{one.namespace}/{one.name}": f"{SERVICE_ACCOUNT}{one.namespace}:{one.annotations.get('kubernetes.io/service-account.name')}"
            for one in self.inventory.of("secrets")
            if one.body.get("type") == _HOLDS_IT
        }
        return found | self.attacker.token_secrets_used

    def _requested(self, events: list[Event]) -> Iterator[Credential]:
        """Certificates that the attacker asked for, and those that the attacker approved for somebody else."""
        used = {event["credential_id"] for event in events}
        for one in self.attacker.certificates.requests(events):
            state: CredentialState = "usable" if one.issued else "cannot tell"
            because = "whether it was issued is in no evidence; take it for usable"
            if one.until and self.end and one.until <= self.end:
                state, because = "ended", f"it expired at {utc(one.until)}"
            elif one.issued:
                end = utc(one.until) if one.until else "a time that is in no evidence"
                because = f"a certificate cannot be taken back, and this one signs in until {end}"
            is_used = bool(one.certificates & used)
            if one.issued is not False:
                yield Credential(
                    "certificate", one.name, one.user_name, self._why(one.event, one.says), one.event["received_at"],
                    state, one.until, because, by=str(one.event["user_name"]), bound=False, is_used=is_used,
                    certainty="affected" if one.made or is_used else "possible",
                )  # fmt: skip

    # ── keys, nodes and people ─────────────────────────────────────────────────────────────────────────────────────

    def _keys(self, events: list[Event], trail: list[AwsEvent]) -> Iterator[Credential]:
        """Access keys that the attacker used or made: long-term ones and those of role sessions."""
        first, last, whys = dict[str, datetime](), dict[str, datetime](), dict[str, Why]()
        users = dict[str, str]()

        def seen(key: str | None, at: datetime, why: Why) -> None:
            if key:
                first[key] = min(at, first.get(key, at))
                last[key] = max(at, last.get(key, at))
                whys.setdefault(key, why)

        for event in events:
            seen(event["access_key_id"], event["received_at"], *self._why(event, "the attacker used it"))
            if event["access_key_id"]:
                users.setdefault(event["access_key_id"], str(event["user_name"]))
        for row in trail:
            ref = Ref.of("trail", row["event_id"])
            seen(row["access_key_id"], row["event_at"], Why(ref, "the attacker used it", Rule.ATTACKER))
            seen(
                row["issued"],
                row["event_at"],
                Why(ref, f"{row['event_name']} of the attacker issued it", Rule.ATTACKER),
            )
        known = self.attacker.sessions.of_keys(list(first))
        for key in first:
            yield self._key(key, known.get(key), users.get(key, ""), whys[key], first[key], last[key])

    def _key(
        self, key: str, session: Session | None, user: str, why: Why, first: datetime, last: datetime
    ) -> Credential:
        role = session.role if session and session.role else ""
        given = (session.why,) if session and session.why and session.why.ref != why.ref else ()
        pods = tuple(pod for pod, sure in self.attacker.sessions.pods_of(session) if sure) if session else ()
        if key.startswith("AKIA"):  # IAM User Guide, "IAM identifiers", unique ID prefixes
            at = self._key_ended(key)
            state: CredentialState = "ended" if at else "usable"
            because = f"deleted or inactive since {utc(at)}" if at else "no end, until it is deactivated"
        else:
            at = _time(session.expires_at) if session else None
            state = "cannot tell" if at is None or self.end is None else "ended" if at <= self.end else "usable"
            because = f"expires at {utc(at)}" if at else "when it expires is in no evidence; take it for usable"
        kind: CredentialKind = "access_key" if key.startswith("AKIA") else "session"
        return Credential(
            kind,
            key,
            user,
            (why, *given),
            first,
            state,
            at,
            because,
            role=role,
            pods=pods,
            bound=bool(pods) or None,
            last_at=last,
        )

    def _key_ended(self, key: str) -> datetime | None:
        """When a long-term key was deleted or made inactive, and not made active again."""
        rows = self.store.rows(
            "SELECT event_at, event_name, json_extract_string(request_parameters, '$.status') AS status FROM trail"
            " WHERE event_name IN ('DeleteAccessKey', 'UpdateAccessKey') AND error_code IS NULL"
            " AND json_extract_string(request_parameters, '$.accessKeyId') = $key ORDER BY event_at",
            key=key,
        )
        ended = [row for row in rows if row["event_name"] == "DeleteAccessKey" or row["status"] == "Inactive"]
        at: datetime | None = ended[-1]["event_at"] if ended and rows[-1] is ended[-1] else None
        return at

    def _nodes(self, events: list[Event]) -> Iterator[Credential]:
        for event in _first_of(events, lambda event: str(event["user_name"]).startswith(NODE)):
            node = str(event["user_name"]).removeprefix(NODE)
            stands = any(one.standing for one in self.inventory.named("nodes", None, node))
            because = "its credential lives until it expires, also after the instance is gone"
            if stands:
                because = "the node stands, and its credential is renewed on it"
            elif seen := self._last_seen.node(node):
                stands, because = True, f"its kubelet still renewed its lease at {seen:%H:%M:%S}"
            says = f"the attacker used it from {event['source_address']}"
            yield Credential(
                "node", node, str(event["user_name"]), self._why(event, says), event["received_at"],
                "usable" if stands else "cannot tell", None, because, by=str(event["user_name"]), address=str(event["source_address"]),
            )  # fmt: skip

    def _signed_in(self, events: list[Event]) -> Iterator[Credential]:
        """People of an identity provider: what they sign in with has no other name in the evidence."""

        def is_person(event: Event) -> bool:
            identity = identity_of(str(event["user_name"]), event["user_uid"], event["arn"])
            return identity.kind == "oidc" and not event["access_key_id"]

        for event in _first_of(events, is_person):
            yield Credential(
                "sign_in", str(event["user_name"]), str(event["user_name"]), self._why(event, "the attacker used it"),
                event["received_at"], "usable", None, "usable until it expires; when is in no evidence", by=str(event["user_name"]),
            )  # fmt: skip


def _first_of(events: list[Event], counts: Callable[[Event], bool]) -> list[Event]:
    """The first call of each identity whose calls count."""
    first = dict[str, Event]()
    for event in filter(counts, events):
        first.setdefault(str(event["user_name"]), event)
    return list(first.values())


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
