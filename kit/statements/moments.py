"""The attacker's calls of an incident as the story tells them: who, as whom, from where, with what, did what to which object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from kit.attribution.aws_secret import read_by
from kit.attribution.calls import AwsEvent, Event, creates, did, let_through, not_none, place_of, resource_of
from kit.attribution.deeds import Deed, command_of, path_of
from kit.identities.aws_auth import AwsAuthChange, changes
from kit.identities.sessions import Session
from kit.model.identity import ANONYMOUS, NODE, SERVICE_ACCOUNT
from kit.model.kubernetes import BOUND, ROLES, WORKLOADS
from kit.model.pod_spec import pod_spec, power_over_node
from kit.model.refs import Ref
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.words import counted, few

_LASTING = {*BOUND, *ROLES, "serviceaccounts", "secrets", "cronjobs", "certificatesigningrequests"}
"""Resources whose writing gives access that lasts."""
_SIGN_INS = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetSessionToken", "ConsoleLogin")
_WRITES = (
    "Create",
    "Put",
    "Attach",
    "Associate",
    "Update",
    "Delete",
    "Add",
    "Modify",
    "Run",
    "Detach",
    "Disassociate",
    "Stop",
    "Disable",
)
"""How calls of AWS begin that change something; where CloudTrail says whether they do, that counts."""
_BLINDS = (
    "StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors", "DeleteFlowLogs", "DeleteDetector", "UpdateDetector", "CreateFilter", "UpdateFilter",
    "DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy",
)  # fmt: skip
"""Calls of AWS after which less is recorded, or reported."""


@dataclass(frozen=True)
class Actor:
    """Who acted. name: the user name or session; acting_as: whom it impersonated; through: the credential in words, "" where nothing tells it apart."""

    name: str
    acting_as: str | None
    address: str | None
    through: str = ""

    @property
    def says(self) -> str:
        """The actor in words."""
        acting = f" as {self.acting_as}" if self.acting_as else ""
        return f"{spoken(self.name)}{acting}{f' from {self.address}' if self.address else ''}{f', {self.through}' if self.through else ''}"


@dataclass(frozen=True)
class Moment:
    """One call. kind: of what was done (docs/json.md), the gravest where it did several. done: a verb with its object. objects: kind and key."""

    at: datetime
    ref: str
    actor: Actor
    tactic: str
    kind: str
    verb: str
    thing: str
    objects: tuple[tuple[str, str], ...] = field(default=())


def all_done(moments: Iterable[Moment]) -> str:
    """What some calls did, each verb once with what it was done to."""
    by_verb = dict[str, dict[str, None]]()
    for one in moments:
        by_verb.setdefault(one.verb, {})[one.thing] = None
    return "; ".join(
        f"{verb}{': ' if verb.startswith(('was refused', 'failed')) else ' '}{few([one for one in things if one], 4)}".strip()
        for verb, things in by_verb.items()
    )


def spoken(user_name: str) -> str:
    """A user name in words."""
    if user_name == ANONYMOUS:
        return "anonymous"
    if user_name.startswith(SERVICE_ACCOUNT):
        return f"service account {user_name.removeprefix(SERVICE_ACCOUNT).replace(':', '/', 1)}"
    if user_name.startswith(NODE):
        return f"the credential of node {user_name.removeprefix(NODE)}"
    return user_name


class Moments:
    """The moments of a case's incidents."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.inventory, self.attacker = scope, scope.inventory, scope.attacker
        hostile = [call.event for call in self.attacker.calls.values()]
        scope.deeds.read_bodies(hostile)
        self._minted = {
            event["issued_credential_id"]: f"{event['namespace']}/{event['name']}"
            for event in hostile
            if event["issued_credential_id"]
        }
        self._made = {path_of(event) for event in hostile if creates(event)}
        self._users = {event["access_key_id"]: str(event["user_name"]) for event in hostile if event["access_key_id"]}
        self._issued = {row["issued"] for row, _ in self.attacker.trail.values()} - {None}

    def of(self, incident: Incident) -> list[Moment]:
        """The moments of an incident, oldest first, one a call however many stages the log has of it."""
        found = dict[str, Moment]()
        for event in incident.calls:
            made = self.of_call(event)
            known = found.get(made.ref)
            if known is None or (made.objects and not known.objects):
                found[made.ref] = made
        for row in incident.trail:
            made = self._of_trail(row)
            found[made.ref] = made
        return sorted(found.values(), key=lambda one: (one.at, one.ref))

    # ── the cluster ────────────────────────────────────────────────────────────────────────────────────────────────

    def actor_of(self, event: Event) -> Actor:
        """Who made a call of the audit log."""
        return Actor(
            str(event["user_name"]), event["impersonated_user_name"], event["source_address"], self._through(event)
        )

    def _through(self, event: Event) -> str:
        if event["credential_id"] in self._minted:
            return "with a minted token"
        if event["token_secret"]:
            return f"with the token of Secret {event['token_secret']}"
        if event["access_key_id"] in self._issued and str(event["access_key_id"]).startswith("AKIA"):
            return f"with access key {event['access_key_id']}, which the attacker made"
        pod = self.inventory.things.get(event["claimed_pod_uid"] or "")
        if pod:
            return f"with the token of pod {pod.namespace}/{pod.name}"
        return ""

    def of_call(self, event: Event) -> Moment:
        """A call of the audit log, the attacker's or one that may be."""
        ref, actor = str(self.scope.store.event_ref(event)), self.actor_of(event)
        deeds = [one for one in self.scope.deeds.of(event) if isinstance(one, Deed) and one.certainty == "affected"]
        objects = tuple(dict.fromkeys((one.kind, one.key) for one in deeds))
        objects += tuple(("let_in", one.key) for one in self.attacker.let_in if one.place == place_of(event))
        code = event["response_code"]
        path, part = path_of(event), event["subresource"]
        asked = f"{part} of {path}" if path and part else path or f"{resource_of(event)}{_where(event)}"
        if code and code >= 400:
            tactic = self._tactic(event, "credential access" if event["resource"] == "secrets" else "")
            word = "was refused" if code in (401, 403) else "failed"
            tail = "" if code in (401, 403) else f" ({code})"
            return Moment(event["received_at"], ref, actor, tactic, "tried", word, f"{event['verb']} {asked}{tail}")
        if not let_through(event):
            return Moment(
                event["received_at"],
                ref,
                actor,
                self._tactic(event, ""),
                "tried",
                "tried without a known answer",
                f"{event['verb']} {asked}",
            )
        kind, verb, thing = self._done(event, deeds, asked)
        return Moment(event["received_at"], ref, actor, self._tactic(event, kind), kind, verb, thing, objects)

    def _tactic(self, event: Event, kind: str) -> str:
        path, resource = path_of(event), event["resource"]
        done = did(event)
        if kind in ("secret", "token", "credential access"):
            return "credential access"
        if kind == "exec":
            return "execution"
        if kind == "deleted":
            return "defense evasion" if path in self._made else "impact"
        if kind in ("created", "changed"):
            if (
                resource in _LASTING
                or str(resource).endswith("webhookconfigurations")
                or path == "configmaps/kube-system/aws-auth"
            ):
                return "persistence"
            return "execution" if resource in ("pods", *WORKLOADS.values()) and kind == "created" else "impact"
        return "discovery" if done in ("read", "asked", "refused") else "impact"

    def _done(self, event: Event, deeds: list[Deed], asked: str) -> tuple[str, str, str]:
        """What a call did: its kind, the verb of its sentence and what follows it."""
        kinds = {one.kind: one for one in deeds}
        path, done = path_of(event), did(event)
        if "exec" in kinds:
            return "exec", "ran", f"{command_of(event) or event['subresource']} in {kinds['exec'].key}"
        if "forwarded" in kinds:
            return "forwarded", "opened a connection to", kinds["forwarded"].key
        if "token" in kinds:
            return "token", "minted a token for", f"{kinds['token'].key}{self._bound(event)}"
        if "secret" in kinds or (event["resource"] == "secrets" and done == "read"):
            if event["verb"] == "get" and event["name"]:
                return "secret", "read secrets", f"{event['namespace']}/{event['name']}"
            return "secret", "listed the secrets of", event["namespace"] or "all namespaces"
        if "created" in kinds:
            return "created", "created", f"{path}{self._brought(event, deeds)}"
        if "deleted" in kinds:
            names = [one.key for one in deeds if one.kind == "deleted"]
            return "deleted", "deleted", few(names, 3)
        if "changed" in kinds:
            return "changed", *self._changed(event, path)
        if done == "asked":
            return "looked", "asked what it may do", ""
        if "config_map" in kinds:
            name = f"{event['namespace']}/{event['name']}" if event["name"] else event["namespace"] or "all namespaces"
            return "config_map", "read config maps", name
        if event["verb"] in ("list", "watch"):
            return "looked", "listed", f"{event['resource']}{_where(event)}"
        return "looked", "looked at", asked

    def _bound(self, event: Event) -> str:
        uses = [
            call.event
            for call in self.attacker.calls.values()
            if event["issued_credential_id"] and call.event["credential_id"] == event["issued_credential_id"]
        ]
        if uses and not any(use["claimed_pod_uid"] for use in uses):
            return ", bound to no pod"
        return ""

    def _brought(self, event: Event, deeds: list[Deed]) -> str:
        """Of a workload that was created: images, power over its node, where its pods ran; of a binding what it gives."""
        images = [one.key for one in deeds if one.kind == "introduced"]
        given = [one.key for one in deeds if one.kind == "granted"]
        said = list[str]()
        if images:
            said.append(few(images, 2))
            named = self.inventory.named(event["resource"] or "", event["namespace"], event["name"])
            power = power_over_node(pod_spec(named[-1].spec), True) if named else []
            said += [access.says for access in power[:2]]
        if event["resource"] in WORKLOADS.values():
            owned = self.inventory.pods_of_workload(
                event["resource"] or "", event["namespace"], event["name"], event["uid"]
            )
            nodes = {pod.node for pod, _ in owned if pod.node}
            said += [f"pods on {len(nodes)} node{'s' if len(nodes) > 1 else ''}"] if nodes else []
        if given:
            said.append(f"gives {few(given, 2)}")
        return f" ({', '.join(said)})" if said else ""

    def _changed(self, event: Event, path: str) -> tuple[str, str]:
        if path == "configmaps/kube-system/aws-auth":
            said = self._mapped(event)
            return "changed", f"{path}{': ' if said else ''}{'; '.join(said)}"
        if event["subresource"] == "scale":
            count = self.scope.deeds.replicas_asked(event)
            return "scaled", path if count is None else f"{path} to {counted(count, 'replica')}"
        # Whether it had the same before is told by no body of one call: said is how it stands since.
        deeds = [one for one in self.scope.deeds.of(event) if isinstance(one, Deed)]
        images = [one.key for one in deeds if one.kind == "introduced"]
        given = [one.key for one in deeds if one.kind == "granted"]
        now = [f"runs {few(images, 2)}"] * bool(images) + [f"gives {few(given, 2)}"] * bool(given)
        return "changed", f"{path}{f' (since then {now[0]})' if now else ''}"

    def _mapped(self, event: Event) -> list[str]:
        """What a change of aws-auth did to its lines; where what stood before is in no evidence, whom it surely let in."""
        ref, let_in = (
            str(self.scope.store.event_ref(event)),
            {one.key for one in self.attacker.let_in if one.place == place_of(event)},
        )
        said = list[str]()
        for change in (one for one in self._mappings if str(one.ref) == ref):
            new = [way for way in change.added if change.known or way.name in let_in]
            added = [
                f"{way.name} as {way.user_name or 'its ARN'} in {few(list(way.groups), 3) or 'no group'}" for way in new
            ]
            kept = {way.name for way in change.added}
            removed = [way.name for way in change.removed if way.name not in kept]
            said += [f"added {few(added, 2)}"] if added else []
            said += [f"removed {few(removed, 2)}"] if removed else []
        return said

    @cached_property
    def _mappings(self) -> list[AwsAuthChange]:
        return changes(self.scope.store)

    # ── AWS ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_trail(self, row: AwsEvent) -> Moment:
        key, name = row["access_key_id"], str(row["event_name"])
        session = self._sessions.get(str(key))
        user = self._users.get(str(key)) or self._users.get(str(row["issued"]))
        who = user or (session.session or session.role if session else None) or row["user_name"] or key or "unknown"
        through = f"with a session of {_short(session.role)}" if session and session.role and not user else ""
        actor = Actor(str(who), None, row["source_address"], through)
        let_in = tuple(("let_in", one.key) for one in self.attacker.let_in if one.event_id == row["event_id"])
        secrets = read_by(row)
        is_write = name.startswith(_WRITES) if row["read_only"] is None else not row["read_only"]
        if row["error_code"]:
            kind, verb, tactic = "tried", "was refused by AWS", "discovery"
        elif name in _SIGN_INS:
            kind, verb, tactic = "signed_in", "signed in to AWS by", "initial access"
        elif secrets:
            kind, verb, tactic = "secret", "read in AWS", "credential access"
        elif let_in:
            kind, verb, tactic = "let_in", "called", "persistence"
        elif name in _BLINDS:
            kind, verb, tactic = "changed", "changed what is recorded by", "defense evasion"
        elif is_write:
            kind, verb, tactic = "changed", "called", "impact"
        else:
            kind, verb, tactic = "looked", "called", "discovery"
        thing = f"{name} for {few([key for _, key in let_in], 2)}" if let_in else name
        if kind == "secret":
            thing = few([one.says for one in secrets], 3)
        ref = str(Ref.of("trail", row["event_id"]))
        return Moment(row["event_at"], ref, actor, tactic, kind, verb, thing, let_in)

    @cached_property
    def _sessions(self) -> dict[str, Session]:
        rows = (row for row, _ in self.attacker.trail.values())
        return self.scope.sessions.of_keys(not_none(row["access_key_id"] for row in rows))


def _where(event: Event) -> str:
    return f" of {event['namespace']}" if event["namespace"] else ""


def _short(role: str) -> str:
    return role.rpartition("/")[2]
