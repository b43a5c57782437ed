"""What still gives the attacker something: tokens, keys, sessions, whoever was let in, objects that stand, secrets that were read.

An entry that has ended stays in the list. Sources: Kubernetes "Managing Service Accounts" (a bound token ends with what it is bound to);
IAM User Guide (a session lives until it expires; a long-term key until it is deleted).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from kit.attribution.calls import Event, account_user, did, let_through, not_none, place_of
from kit.attribution.let_in import LetIn
from kit.inventory.thing import Thing
from kit.lenient import dict_of, json_of
from kit.model.identity import NODE, SERVICE_ACCOUNT, identity_of
from kit.model.refs import Ref
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.lasting import Lasting
from kit.statements.open_entry import EntryState, OpenEntry
from kit.words import few, utc

_STATES: tuple[EntryState, ...] = ("usable", "cannot tell", "ended")
_ORDER = ("token", "access_key", "node", "identity", "let_in", "created", "secret")
_TAKEN_BACK = {
    "access_entry": "DeleteAccessEntry", "access_key": "DeleteAccessKey", "login_profile": "DeleteLoginProfile",
    "pod_identity": "DeletePodIdentityAssociation", "identity_provider": "DisassociateIdentityProviderConfig",
}  # fmt: skip


class OpenEntries:
    """The open entries of a case's incidents."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.inventory, self.attacker, self.store = scope, scope.inventory, scope.attacker, scope.store
        self._lasting = Lasting(scope)

    def of(self, incident: Incident) -> list[OpenEntry]:
        """The entries of an incident: usable ones first, then those of which it cannot be told."""
        made = [
            *self._minted(incident),
            *self._stolen(incident),
            *self._keys(incident),
            *self._nodes(incident),
            *self._signed_in(incident),
            *self._let_in(incident),
            *self._lasting.of(incident),
        ]
        found = {(one.kind, one.key, one.id): one for one in made}
        return sorted(
            found.values(),
            key=lambda one: (_STATES.index(one.state), _ORDER.index(one.kind), str(one.since), one.key, one.id),
        )

    @cached_property
    def _end(self) -> datetime | None:
        """When the newest evidence ends."""
        (row,) = self.store.rows("SELECT max(end_at) AS last_at FROM coverage")
        at: datetime | None = row["last_at"] or (self.scope.window.end if self.scope.window else None)
        return at

    # ── tokens ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _minted(self, incident: Incident) -> Iterator[OpenEntry]:
        for event in incident.calls:
            if did(event) != "minted" or not let_through(event) or event["dry_run"]:
                continue
            account, ref = f"{event['namespace']}/{event['name']}", str(self.store.event_ref(event))
            pods, bound = self._bound_to(event)
            expires = _time(dict_of(self._bodies(event)[1].get("status")).get("expirationTimestamp"))
            state, until, because = self._state_of_token(account, pods, bound, expires)
            of = (
                few([f"pod {pod.namespace}/{pod.name}" for pod in pods], 2)
                if pods
                else "no pod"
                if bound is False
                else ""
            )
            what = f"Token of {account}, minted at {event['received_at']:%H:%M:%S}"
            targets = (
                ("identity", account_user(event)), ("service_account", account), *(("pod", pod.uid) for pod in pods),
            )  # fmt: skip
            yield OpenEntry(
                "token", account, of, f"the rights of service account {account}", event["received_at"], state, until,
                (ref,), f"{what}: {because}.", targets,
            )  # fmt: skip

    def _bound_to(self, event: Event) -> tuple[list[Thing], bool | None]:
        """The pods that a minted token is bound to, or may be; and whether it is bound at all, None where the log does not tell."""
        asked = dict_of(self._bodies(event)[0].get("spec"))
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
        self, account: str, pods: list[Thing], bound: bool | None, expires: datetime | None
    ) -> tuple[EntryState, datetime | None, str]:
        namespace, _, name = account.partition("/")
        accounts = self.inventory.named("serviceaccounts", namespace, name)
        if expires and self._end and expires <= self._end:
            return "ended", expires, f"it expired at {utc(expires)}"
        if accounts and all(one.standing is False for one in accounts):
            return "ended", accounts[-1].deleted_at, "its service account is gone"
        if bound is False:
            end = f"until it expires at {utc(expires)}" if expires else "until it expires; when is in no evidence"
            return "usable", expires, f"bound to no pod, usable {end}"
        if not pods:
            return "cannot tell", expires, "whether it is bound to a pod is in no evidence; take it for usable"
        gone = [pod for pod in pods if pod.standing is False]
        if len(gone) == len(pods):
            at = max((pod.deleted_at for pod in pods if pod.deleted_at), default=None)
            return "ended", at, f"its pod is gone{f' since {at:%H:%M:%S}' if at else ''}"
        name_of = f"{pods[0].namespace}/{pods[0].name}"
        if not gone and all(pod.standing for pod in pods):
            return "usable", expires, f"bound to pod {name_of}, which stands"
        return "cannot tell", expires, f"whether its pod {name_of} still stands is in no evidence"

    def _bodies(self, event: Event) -> tuple[dict[str, Any], dict[str, Any]]:
        (row,) = self.store.rows(
            "SELECT request_object, response_object FROM audit WHERE file = $file AND item = $item",
            file=event["file"],
            item=event["item"],
        )
        return dict_of(json_of(row["request_object"])), dict_of(json_of(row["response_object"]))

    def _stolen(self, incident: Incident) -> Iterator[OpenEntry]:
        """Tokens of pods that the attacker used."""
        minted = {event["issued_credential_id"] for event in incident.calls}
        first = dict[str, Event]()
        for event in incident.calls:
            if event["claimed_pod_uid"] and event["credential_id"] not in minted:
                first.setdefault(event["claimed_pod_uid"], event)
        for uid, event in first.items():
            account = str(event["user_name"]).removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
            pod = self.inventory.things.get(uid)
            state, until, because = self._state_of_token(account, [pod] if pod else [], True, None)
            of = f"pod {pod.namespace}/{pod.name}" if pod else f"pod {uid}"
            yield OpenEntry(
                "token", account, of, f"the rights of service account {account}", event["received_at"], state, until,
                (str(self.store.event_ref(event)),), f"Token of {of} ({account}), used by the attacker: {because}.",
                (("identity", str(event["user_name"])), ("service_account", account), ("pod", uid)),
            )  # fmt: skip

    # ── keys, nodes and people ─────────────────────────────────────────────────────────────────────────────────────

    def _keys(self, incident: Incident) -> Iterator[OpenEntry]:
        """Access keys that the attacker used or made: long-term ones and those of role sessions."""
        first, last, refs = dict[str, datetime](), dict[str, datetime](), dict[str, str]()
        users = dict[str, str]()

        def seen(key: str | None, at: datetime, ref: str) -> None:
            if key:
                first[key] = min(at, first.get(key, at))
                last[key] = max(at, last.get(key, at))
                refs.setdefault(key, ref)

        for event in incident.calls:
            seen(event["access_key_id"], event["received_at"], str(self.store.event_ref(event)))
            if event["access_key_id"]:
                users.setdefault(event["access_key_id"], str(event["user_name"]))
        for row in incident.trail:
            for key in (row["access_key_id"], row["issued"]):
                seen(key, row["event_at"], str(Ref.of("trail", row["event_id"])))
        known = self.scope.sessions.of_keys(list(first))
        for key in first:
            session = known.get(key)
            role = session.role if session and session.role else ""
            targets = tuple(
                one for one in (("iam_role", role), ("identity", users.get(key, "")), ("access_key", key)) if one[1]
            )
            of = role or users.get(key, "")
            if key.startswith("AKIA"):
                at = self._key_ended(key)
                state: EntryState = "ended" if at else "usable"
                says = f"Access key {key} of {of or 'unknown'}: {f'deleted or inactive since {utc(at)}' if at else 'no end, until it is deactivated'}."
                gives = f"what {of} may do, in AWS and in the cluster" if of else "what its user may do"
            else:
                at = _time(session.expires_at) if session else None
                state = "cannot tell" if at is None or self._end is None else "ended" if at <= self._end else "usable"
                end = f"expires at {utc(at)}" if at else "when it expires is in no evidence; take it for usable"
                says = f"Session {key} of {of or 'unknown'}, last used at {last[key]:%H:%M:%S}: {end}."
                gives = f"what {of or 'its role'} may do"
            yield OpenEntry("access_key", key, of, gives, first[key], state, at, (refs[key],), says, targets)

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

    def _nodes(self, incident: Incident) -> Iterator[OpenEntry]:
        first = dict[str, Event]()
        for event in incident.calls:
            if str(event["user_name"]).startswith(NODE):
                first.setdefault(str(event["user_name"]), event)
        for user, event in first.items():
            node = user.removeprefix(NODE)
            standing = [one.standing for one in self.inventory.named("nodes", None, node)]
            state: EntryState = "usable" if True in standing else "cannot tell"
            because = (
                "the node stands, and its credential is renewed on it"
                if state == "usable"
                else "its credential lives until it expires, also after the instance is gone"
            )
            yield OpenEntry(
                "node", node, f"node {node}", "the credential of the node, and the tokens of its pods",
                event["received_at"], state, None, (str(self.store.event_ref(event)),),
                f"Credential of node {node}, used from {event['source_address']}: {because}.",
                (("node", node), ("identity", user)),
            )  # fmt: skip

    def _signed_in(self, incident: Incident) -> Iterator[OpenEntry]:
        """People of an identity provider, and holders of certificates: what they sign in with is nowhere else in the list."""
        first = dict[str, Event]()
        for event in incident.calls:
            identity = identity_of(str(event["user_name"]), event["user_uid"], event["arn"])
            if identity.kind == "oidc" and not event["access_key_id"]:
                first.setdefault(identity.user_name, event)
        for user, event in first.items():
            yield OpenEntry(
                "identity", user, user, "its sign-in to the cluster", event["received_at"], "usable", None,
                (str(self.store.event_ref(event)),),
                f"Sign-in of {user} by token or certificate: usable until it expires; when is in no evidence.",
                (("identity", user),),
            )  # fmt: skip

    def _let_in(self, incident: Incident) -> Iterator[OpenEntry]:
        calls, trail = {place_of(event) for event in incident.calls}, {row["event_id"] for row in incident.trail}
        found = dict[tuple[str, str], LetIn]()
        for one in self.attacker.let_in:
            if (one.place in calls or one.event_id in trail) and one.by != "access_key":
                found.setdefault((one.key, one.by), one)
        for (key, by), one in found.items():
            state, until = self._state_of_way(one)
            said = {"usable": "stands", "ended": "taken back", "cannot tell": "whether it stands is in no evidence"}[
                state
            ]
            path = self._binding_of(one)
            targets = (
                *(("mapping", key), ("identity", key), ("iam_role", key)),
                *((kind, path) for kind in ("created", "changed", "used_binding") if path),
            )
            yield OpenEntry(
                "let_in", key, key, f"a way in by {by.replace('_', ' ')}", one.at, state, until, (str(one.why.ref),),
                f"{key}, let in by {by.replace('_', ' ')}: {said} ({one.why.says}).", targets,
            )  # fmt: skip

    def _binding_of(self, one: LetIn) -> str:
        call = self.attacker.calls.get(one.place) if one.place and one.by == "binding" else None
        event = call.event if call else None
        return "/".join(filter(None, (event["resource"], event["namespace"], event["name"]))) if event else ""

    def _state_of_way(self, one: LetIn) -> tuple[EntryState, datetime | None]:
        if one.by == "binding":
            return self._lasting.state_of(self._binding_of(one))
        if one.by == "aws_auth":
            ways = [way for way in self.scope.access.ways if way.kind == "aws_auth" and way.name == one.key]
            ends = [way.until for way in ways if way.until]
            if not ways:
                return "cannot tell", None
            return ("usable", None) if len(ends) < len(ways) else ("ended", max(ends))
        rows = self.store.rows(
            "SELECT max(event_at) AS at FROM trail WHERE event_name = $name AND error_code IS NULL AND event_at > $at"
            " AND (contains(request_parameters, $key) OR contains(request_parameters, $short))",
            name=_TAKEN_BACK.get(one.by, ""),
            at=one.at,
            key=one.key,
            short=one.key.rpartition("/")[2],
        )
        at: datetime | None = rows[0]["at"]
        return ("ended", at) if at else ("usable", None)


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
