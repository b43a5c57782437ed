"""What still gives the attacker something: tokens, keys, sessions, whoever was let in, objects that stand, secrets that were read.

An entry that has ended stays in the list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import cast

from kit.attribution.aws_secret import VALUE_WRITES, AwsSecret, read_by, written_by
from kit.attribution.calls import AwsEvent, Event, let_through, place_of
from kit.attribution.credential import Credential
from kit.attribution.let_in import LetIn
from kit.identities.rights import lets_impersonate
from kit.inventory.thing import Thing
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.model.window import Window
from kit.scope.incident import Incident
from kit.scope.profile import Profile
from kit.scope.scope import Scope
from kit.statements.lasting import Lasting
from kit.statements.open_entry import EntryState, OpenEntry
from kit.words import few, utc

BINDING_SOURCES = ("used_binding", "written_binding", "anonymous_binding", "default_binding")
_WORDS = {"aws_auth": "aws-auth"}
_STATES: tuple[EntryState, ...] = ("usable", "cannot tell", "ended")
_ORDER = ("token", "credential", "access_key", "node", "identity", "let_in", "created", "secret", "aws_secret")
_TAKEN_BACK = {
    "access_entry": "DeleteAccessEntry", "access_key": "DeleteAccessKey", "login_profile": "DeleteLoginProfile",
    "pod_identity": "DeletePodIdentityAssociation", "identity_provider": "DisassociateIdentityProviderConfig",
}  # fmt: skip


class OpenEntries:
    """The open entries of a case's incidents."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.attacker, self.store = scope, scope.attacker, scope.store
        self._lasting = Lasting(scope)

    def of(self, incident: Incident) -> list[OpenEntry]:
        """The entries of an incident: usable ones first, then those of which it cannot be told."""
        made = [
            *self._credentials(incident),
            *self._let_in(incident),
            *self._impersonated(incident),
            *self._lasting.of(incident),
            *self._aws_secrets(incident),
        ]
        found = {(one.kind, one.key, one.id): one for one in made}
        return sorted(
            found.values(),
            key=lambda one: (_STATES.index(one.state), _ORDER.index(one.kind), str(one.since), one.key, one.id),
        )

    def _credentials(self, incident: Incident) -> Iterator[OpenEntry]:
        """Those that the attacker has; the Secret that holds a token has its own entry, as an object or as a secret."""
        for one in self.scope.credentials.of(incident.calls, incident.trail):
            if one.certainty == "affected" and one.kind != "secret_token":
                yield _entry_of(one)

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
            targets = tuple(self._reached_by(one))
            yield OpenEntry(
                "let_in", key, key, f"a way in by {_WORDS.get(by, by.replace('_', ' '))}", one.at, state, until, (str(one.why.ref),),
                f"{key}, let in by {_WORDS.get(by, by.replace('_', ' '))}: {said} ({one.why.says}).", targets,
            )  # fmt: skip

    def _aws_secrets(self, incident: Incident) -> Iterator[OpenEntry]:
        """Secrets of AWS that were read: usable until somebody gives them a new value."""
        read = defaultdict[AwsSecret, list[AwsEvent]](list)
        for row in incident.trail:
            for secret in read_by(row):
                read[secret].append(row)
        for secret, rows in read.items():
            at = max(row["event_at"] for row in rows)
            written = next(
                (row["event_at"] for row in self._written if secret in written_by(row) and row["event_at"] > at), None
            )
            says = f"{secret.says[:1].upper()}{secret.says[1:]} of AWS, read: {f'written anew at {utc(written)}' if written else 'not rotated since'}."
            yield OpenEntry(
                "aws_secret", secret.key, secret.key, "what is in it, wherever it is good for", at, "ended" if written else "usable", written,
                tuple(f"trail:{row['event_id']}" for row in rows[-3:]), says, (("aws_secret", secret.key),),
            )  # fmt: skip

    @cached_property
    def _written(self) -> list[AwsEvent]:
        """The calls of others than the attacker that gave secrets of AWS new values, oldest first."""
        rows = cast(
            "list[AwsEvent]",
            self.store.rows(
                "SELECT event_id, event_at, event_name, error_code, request_parameters FROM trail WHERE list_contains($names, event_name)"
                " ORDER BY event_at, event_id",
                names=list(VALUE_WRITES),
            ),
        )
        return [row for row in rows if row["event_id"] not in self.attacker.trail]

    def _impersonated(self, incident: Incident) -> Iterator[OpenEntry]:
        """In whose name the attacker's calls were let through: they go on for as long as the caller has its right to that."""
        first = dict[tuple[str, str], Event]()
        for event in filter(let_through, incident.calls):
            if event["impersonated_user_name"]:
                first.setdefault((str(event["user_name"]), event["impersonated_user_name"]), event)
        profiles = {one.identity.user_name: one for scope in incident.scopes for one in scope.identities}
        for (user, name), event in first.items():
            profile = profiles.get(user)
            by = self._what_lets_impersonate(profile, event["received_at"]) if profile else []
            is_master = profile is not None and "system:masters" in profile.groups
            lets = few([one.path for one in by], 2) if by else "its group system:masters" if is_master else ""
            says = f"{lets} lets it" if lets else "what lets it is in no evidence"
            role = profile.identity.role if profile else None
            targets = (
                ("identity", user),
                *([("iam_role", role)] if role else []),
                *((source, one.path) for one in by for source in ("used_binding", "created")),
            )
            yield OpenEntry(
                "identity", name, user, f"the rights of {name}, by impersonation", event["received_at"], "usable" if lets else "cannot tell", None,
                (str(self.store.event_ref(event)),), f"{user} may call as {name}: {says}.", targets,
            )  # fmt: skip

    def _what_lets_impersonate(self, profile: Profile, at: datetime) -> list[Thing]:
        """The bindings that stand and let an identity impersonate."""
        grants = self.scope.rights.grants(profile.identity, profile.groups, Window(at, at))
        found = (one.binding for one in grants if one.role and lets_impersonate(one.role))
        return [one for one in found if one.standing]

    def _reached_by(self, one: LetIn) -> Iterator[tuple[str, str]]:
        """The subjects by which that way in, and no other of the same principal, is closed."""
        if one.by in ("aws_auth", "access_entry"):
            yield from ((kind, one.key) for kind in ("mapping", "identity", "iam_role"))
        elif one.by in ("login_profile", "trust_policy", "identity_provider"):
            yield "iam_change", one.key
        elif one.by == "pod_identity":
            yield "service_account", one.key.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
        elif path := self._binding_of(one):
            yield from ((kind, path) for kind in ("created", "changed", *BINDING_SOURCES))

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
            " AND (strpos(request_parameters, $key) > 0 OR strpos(request_parameters, $short) > 0)",
            name=_TAKEN_BACK.get(one.by, ""),
            at=one.at,
            key=one.key,
            short=one.key.rpartition("/")[2],
        )
        at: datetime | None = rows[0]["at"]
        return ("ended", at) if at else ("usable", None)


def _entry_of(one: Credential) -> OpenEntry:
    """A credential as an open entry."""
    pods = [f"pod {pod.namespace}/{pod.name}" for pod in one.pods]
    user, node = ("identity", one.user_name), one.key
    if one.kind == "token":
        of = few(pods, 2) if pods else "no pod" if one.bound is False else ""
        says = f"Token of {one.account}, minted at {one.since:%H:%M:%S}: {one.because}."
        targets = (user, ("service_account", one.account), *_where(one.pods))
        entry = ("token", one.account, of, f"the rights of service account {one.account}")
    elif one.kind == "pod_token":
        of = pods[0] if pods else f"pod {one.key}"
        says = f"Token of {of} ({one.account}), {'used' if one.is_used else 'read'} by the attacker: {one.because}."
        targets = (user, ("service_account", one.account), *(_where(one.pods) or (("pod", one.key),)))
        entry = ("token", one.account, of, f"the rights of service account {one.account}")
    elif one.kind == "node":
        says = f"Credential of node {node}, used from {one.address}: {one.because}."
        targets = (("node", node), user)
        entry = ("node", node, f"node {node}", "the credential of the node, and the tokens of its pods")
    elif one.kind == "certificate":
        says = f"Certificate of request {one.key} for {one.user_name or 'unknown'}: {one.because}."
        entry, targets = (
            ("credential", one.key, one.user_name, f"the rights of {one.user_name or 'whom it names'}"),
            (user,),
        )
    elif one.kind == "sign_in":
        says = f"Sign-in of {one.key} by token or certificate: {one.because}."
        entry, targets = ("identity", one.key, one.key, "its sign-in to the cluster"), (user,)
    else:
        says = f"Access key {one.key} of {one.holder or 'unknown'}: {one.because}."
        gives = f"what {one.holder} may do, in AWS and in the cluster" if one.holder else "what its user may do"
        if one.kind == "session":
            says = (
                f"Session {one.key} of {one.holder or 'unknown'}, last used at {one.last_at:%H:%M:%S}: {one.because}."
            )
            gives = f"what {one.holder or 'its role'} may do"
        # What a node's session gives in the cluster is the entry of the node itself.
        whose = () if one.user_name.startswith(NODE) else (user,)
        reached = (
            ("iam_role", one.role),
            ("chained_role", one.role),
            ("iam_user", one.role),
            *whose,
            ("access_key", one.key),
            ("made_key", one.key),
        )
        targets = tuple(each for each in reached if each[1])
        entry = ("access_key", one.key, one.holder, gives)
    return OpenEntry(*entry, one.since, one.state, one.until, (one.ref,), says, targets)


def _where(pods: tuple[Thing, ...]) -> tuple[tuple[str, str], ...]:
    """The pods that a token is bound to, and the node of a single one: the token ends with either."""
    nodes = [pods[0].node] if len(pods) == 1 and pods[0].node else []
    return (*(("pod", pod.uid) for pod in pods), *(("node", node) for node in nodes))
