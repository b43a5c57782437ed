"""What one identity used and did in the case: its credentials, sources, first and last calls, what was normal, and its way in.

Sources: audit.k8s.io/v1 (user.extra); Kubernetes "Managing Service Accounts" (claims of bound tokens), "Authenticating" (impersonation).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from kit.attribution.attacker import Attacker
from kit.attribution.calls import Event, let_through
from kit.attribution.credential import Credential, CredentialKind
from kit.attribution.credentials import Credentials
from kit.identities.access import Access
from kit.identities.revocation import Step, Tokens, kind_of_node, revocation
from kit.identities.sessions import Session, Sessions
from kit.identities.way import Way
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import FARGATE
from kit.lenient import texts_of
from kit.model.arn import compared, in_words
from kit.model.finding import Finding
from kit.model.identity import ANONYMOUS, Identity, identity_of
from kit.model.refs import Ref
from kit.model.why import Why
from kit.scope.told_apart import ToldApart, told_apart
from kit.store.queries import groups
from kit.store.store import Store
from kit.words import Names

_USUAL = 12  # calls (verb and resource) that are listed as normal
_CERTIFICATE = "X509SHA256="
_NAMES: dict[CredentialKind, str] = {
    "token": "the minted token",
    "pod_token": "the token of a pod",
    "secret_token": "the token in a Secret",
}


@dataclass
class UsedCredential:
    """One credential that an identity used. kind: token, certificate, access_key, none (the log names none).

    pod_uid, node: what a token is bound to. minted: the event that made it, where the log has that. hostile: calls of the attacker.
    """

    key: str
    kind: str
    calls: int = 0
    hostile: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    addresses: set[str] = field(default_factory=set)
    pod_uid: str | None = None
    node: str | None = None
    minted: Why | None = None


@dataclass
class Source:
    """An address with a client, as one identity used them. inside: whether the address is the cluster's own."""

    address: str
    user_agent: str
    inside: bool
    calls: int
    hostile: int
    first_at: datetime
    last_at: datetime
    network: str | None = None


@dataclass
class Profile:
    """One identity over the whole log. usual: what it did before the first hostile call, most often first: (verb resource, calls).

    patient_zero: the pod, node or session whose credential the attacker used, oldest first. chain: where its AWS session comes from.
    told_apart_by: what separates its other calls, and others at its addresses, from the attacker's.
    """

    identity: Identity
    why: Why
    credentials: list[UsedCredential]
    sources: list[Source]
    usual: list[tuple[str, int]]
    usual_until: datetime | None
    impersonates: list[str]
    impersonated_by: list[str]
    ways: list[Way]
    groups: list[str]
    steps: list[Step]
    chain: list[Session]
    patient_zero: list[Why]
    told_apart_by: list[ToldApart]


class Profiles:
    """The profiles of a case's identities."""

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        attacker: Attacker,
        access: Access,
        sessions: Sessions,
        credentials: Credentials,
    ) -> None:
        self.credentials = credentials
        self.store = store
        self.inventory = inventory
        self.attacker = attacker
        self.access = access
        self.sessions = sessions
        self._made = dict[str, Profile]()
        self._networks = dict(one.network for one in attacker.findings if one.network)

    def of(self, user_names: Names, finding: Finding) -> list[Profile]:
        """The profiles of user names, in their order; made once each. finding: what it says counts for a name without calls."""
        wanted = list(dict.fromkeys(user_names))
        missing = [name for name in wanted if name not in self._made]
        if missing:
            self._make(missing, finding)
        return [self._made[name] for name in wanted]

    def _make(self, user_names: list[str], finding: Finding) -> None:
        rows = groups(
            self.store,
            "audit",
            ("user_name", "user_uid", "credential_id", "access_key_id", "source_address", "user_agent"),
            "list_contains($users, user_name)",
            more="min(arn) AS arn, list_sort(list(DISTINCT user_groups)) AS user_groups, min(claimed_pod_uid) AS pod_uid,"
            " min(claimed_node_name) AS node,"
            " list_sort(list(DISTINCT impersonated_user_name) FILTER (impersonated_user_name IS NOT NULL)) AS impersonates",
            order="first_at, source_address, user_agent, user_name, user_uid, credential_id, access_key_id",
            users=user_names,
        )
        behind = self.store.rows(
            "SELECT DISTINCT user_name, impersonated_user_name AS impersonated FROM audit"
            " WHERE list_contains($users, impersonated_user_name) ORDER BY user_name",
            users=user_names,
        )
        usual = self._usual(user_names)
        apart = told_apart(self.store, self.attacker, user_names)
        for name in user_names:
            mine = [row for row in rows if row["user_name"] == name]
            by = [str(row["user_name"]) for row in behind if row["impersonated"] == name]
            self._made[name] = self._profile(name, mine, by, usual, apart.get(name, []), finding)

    def _profile(
        self,
        name: str,
        rows: list[dict[str, Any]],
        by: list[str],
        usual: tuple[dict[str, list[tuple[str, int]]], datetime | None],
        apart: list[ToldApart],
        finding: Finding,
    ) -> Profile:
        identity, why = self._identity(name, rows, finding)
        mine = [call for call in self.attacker.calls.values() if call.event["user_name"] == name]
        hostile = [call.event for call in mine if not call.source]
        applied = {call.source: call.event for call in reversed(mine) if call.source}
        credentials = self._credentials(rows, hostile)
        calls, until = usual
        groups = sorted({str(one) for row in rows for listed in row["user_groups"] or () for one in listed or ()})
        used = [one for one in credentials if one.hostile]
        keys = [one.key for one in used or credentials if one.kind == "access_key"]
        chain = [step for key in dict.fromkeys(keys) for step in self.sessions.chain(key)]
        is_elsewhere = identity.kind == "control_plane" or kind_of_node(self.inventory, identity) == FARGATE
        return Profile(
            identity=identity,
            why=why,
            credentials=credentials,
            sources=self._sources(rows, hostile),
            usual=calls.get(name, []) if hostile else [],
            usual_until=until if hostile else None,
            impersonates=sorted({other for row in rows for other in row["impersonates"] or ()}),
            impersonated_by=by,
            ways=self.access.of(identity),
            groups=groups,
            steps=[
                *_steps_at_sources(applied),
                *revocation(self.access, identity, groups, self._tokens_of(identity), keys),
                *_session_steps([] if is_elsewhere else chain),
            ],
            chain=chain,
            patient_zero=[*self._sources_of(applied), *self._patient_zero(identity, used, chain)],
            told_apart_by=apart,
        )

    def _tokens_of(self, identity: Identity) -> Tokens:
        mine = [one for one in self._tokens if identity.service_account and one.account == identity.service_account]
        live = [one for one in mine if one.state != "ended"]
        pods = {pod.uid: pod for one in live for pod in one.pods if pod.standing is not False}
        unbound = any(one.kind == "token" and not one.pods for one in live)
        ended = [f"{_NAMES[one.kind]} has ended, {one.because}" for one in mine if one.state == "ended"]
        secrets = tuple(one.key for one in live if one.kind == "secret_token")
        return Tokens(tuple(pods.values()), unbound, secrets, tuple(ended))

    @cached_property
    def _tokens(self) -> list[Credential]:
        """The tokens that the attacker has or had, of all service accounts."""
        calls = [call.event for call in self.attacker.calls.values()]
        return [one for one in self.credentials.of(calls, ()) if one.certainty == "affected" and one.kind in _NAMES]

    def _identity(self, name: str, rows: list[dict[str, Any]], finding: Finding) -> tuple[Identity, Why]:
        """The identity and what decides its kind: what the log has of the sign-in, else the finding, else the name's form."""
        arns = [row for row in rows if row["arn"]]
        if not rows:
            user = finding.user if finding.user.get("Username") == name else {}
            groups = texts_of(user.get("Groups"))
            identity = identity_of(name, str(user.get("Uid") or "") or None, None, groups)
            return identity, Why(finding.ref(), "by what the finding says of it alone: the audit log has no call of it")
        row = (arns or rows)[0]
        groups = sorted({str(one) for listed in row["user_groups"] or () for one in listed or ()})
        identity = identity_of(name, row["user_uid"], row["arn"], groups)
        if identity.kind == "oidc":
            identity = Identity(name, "oidc", bool(self.access.providers))
        if identity.kind == "control_plane" and identity.role and self.access.is_mapped(identity.role):
            identity = Identity(name, "iam", role=identity.role)  # EKS needs no line for its own roles
        identity = replace(identity, role=self.inventory.full_arn(identity.role))
        said = {
            "anonymous": "it did not sign in",
            "service_account": f"the API server checked its token (uid {row['user_uid']})",
            "node": f"a node's kubelet, signed in as {row['arn']}" if row["arn"] else "by its name and group",
            "iam": f"the EKS authenticator let it in as {in_words(row['arn'] or row['user_uid'])}",
            "control_plane": f"EKS signed in with its own role {identity.role}"
            if identity.role
            else "a part of the control plane, by its name",
            "oidc": "neither the authenticator nor the API server made its name; an identity provider is set up"
            if identity.sure
            else "by the form of its name: no identity provider is in the evidence",
        }[identity.kind]
        return identity, Why(self.store.event_ref(row["first"]), said)

    def _credentials(self, rows: list[dict[str, Any]], hostile: list[Event]) -> list[UsedCredential]:
        bad = Counter(event["credential_id"] or event["access_key_id"] or "" for event in hostile)
        found = dict[str, UsedCredential]()
        for row in rows:
            key = row["credential_id"] or row["access_key_id"] or ""
            kind = (
                "none"
                if not key
                else "access_key"
                if row["credential_id"] is None
                else "certificate"
                if key.startswith(_CERTIFICATE)
                else "token"
            )
            one = found.setdefault(key, UsedCredential(key, kind, hostile=bad[key]))
            one.calls += row["calls"]
            one.first_at = min(one.first_at or row["first_at"], row["first_at"])
            one.last_at = max(one.last_at or row["last_at"], row["last_at"])
            one.addresses |= {row["source_address"]} - {None}
            one.pod_uid, one.node = one.pod_uid or row["pod_uid"], one.node or row["node"]
        used = [key for key, one in found.items() if one.hostile and one.kind == "token"]
        for row in self._mints(used):
            says = f"minted by {row['user_name']} from {row['source_address']}"
            found[row["issued_credential_id"]].minted = Why(self.store.event_ref(row), says)
        return sorted(found.values(), key=lambda one: (-one.hostile, -one.calls, one.key))

    def _mints(self, credentials: Names) -> list[dict[str, Any]]:
        if not credentials:
            return []
        return self.store.rows(
            "SELECT audit_id, file, item, user_name, source_address, issued_credential_id FROM audit"
            " WHERE list_contains($ids, issued_credential_id)",
            ids=sorted(credentials),
        )

    def _sources(self, rows: list[dict[str, Any]], hostile: list[Event]) -> list[Source]:
        bad = Counter((event["source_address"] or "", event["user_agent"] or "") for event in hostile)
        found = dict[tuple[str, str], Source]()
        for row in rows:
            place = (row["source_address"] or "", row["user_agent"] or "")
            one = found.get(place)
            if one is None:
                inside = place[0] in self.attacker.cluster_addresses.own
                network = self._networks.get(place[0])
                found[place] = Source(
                    *place, inside, row["calls"], bad[place], row["first_at"], row["last_at"], network
                )
            else:
                one.calls += row["calls"]
                one.first_at, one.last_at = min(one.first_at, row["first_at"]), max(one.last_at, row["last_at"])
        return sorted(found.values(), key=lambda one: (-one.hostile, -one.calls, one.address, one.user_agent))

    def _usual(self, user_names: list[str]) -> tuple[dict[str, list[tuple[str, int]]], datetime | None]:
        """What identities did before the first hostile call of the case. An attacker who was there before it is in it too."""
        first = self.attacker.first_call_at
        if first is None:
            return {}, None
        found = dict[str, list[tuple[str, int]]]()
        for row in self.store.rows(
            "SELECT user_name, what, calls FROM (SELECT user_name, what, calls, row_number() OVER (PARTITION BY user_name ORDER BY calls DESC, what) AS place"
            " FROM (SELECT user_name, verb || ' ' || coalesce(resource || coalesce('/' || subresource, ''), request_uri, '') AS what, count(*) AS calls"
            " FROM audit WHERE list_contains($users, user_name) AND received_at < $first GROUP BY 1, 2) AS counted) AS ranked"
            " WHERE place <= $most ORDER BY calls DESC, what, user_name",
            users=user_names,
            first=first,
            most=_USUAL,
        ):
            found.setdefault(row["user_name"], []).append((str(row["what"]), int(row["calls"])))
        return found, first

    def _sources_of(self, applied: dict[str, Event]) -> Iterable[Why]:
        """What a controller applied as it always does came from its source first; that its token is stolen is the other possibility."""
        for source, event in applied.items():
            ref = self.store.event_ref(event)
            yield Why(ref, f"its controller applied it as it always does, so look first at who changed {source}")
            yield Why(ref, "the other possibility is its token: nothing in the log tells the two apart")

    def _patient_zero(self, identity: Identity, used: list[UsedCredential], chain: list[Session]) -> Iterable[Why]:
        minted = {call.event["issued_credential_id"] for call in self.attacker.calls.values()} - {None}
        for one in sorted(used, key=lambda one: str(one.first_at)):
            if one.key in minted:
                yield Why(Ref.of("identity", identity.user_name), "the attacker minted this credential: see who did it")
            elif one.pod_uid:
                pod = self.inventory.things.get(one.pod_uid)
                name = f"{pod.namespace}/{pod.name}" if pod else one.pod_uid
                yield Why(Ref.of("pod", one.pod_uid), f"the attacker used the token that is bound to pod {name}")
            elif identity.node:
                yield Why(Ref.of("node", identity.node), f"the attacker used the credential of node {identity.node}")
        if chain and identity.kind == "iam" and chain[-1].why:
            yield Why(chain[-1].why.ref, f"the AWS credentials lead back to: {chain[-1].why.says}")
        if identity.user_name == ANONYMOUS and used:
            calls = [call.event for call in self.attacker.calls.values() if call.event["user_name"] == ANONYMOUS]
            allowed = any(let_through(event) and event["resource"] for event in calls)
            rights = "anonymous users had rights" if allowed else "but anonymous users were refused"
            yield Why(Ref.of("identity", ANONYMOUS), f"the attacker needed no credential: {rights}")


def _steps_at_sources(sources: Names) -> Iterable[Step]:
    """What is done first where a controller applied what the attacker wants: it would apply it again."""
    for source in sources:
        yield Step(
            f"Take the change back at its source, {source}, and end the access of whoever pushed it; only if nobody did, go on"
        )


def _session_steps(chain: list[Session]) -> Iterable[Step]:
    """What is rotated where an AWS session comes from: the last thing that it leads back to."""
    last = chain[-1] if chain else None
    if last is None:
        return
    if last.kind == "saml":
        yield Step(
            f"Disable {last.asked_by} at the SAML identity provider: it signed in there and can again", why=last.why
        )
    elif last.kind == "web_identity":
        yield Step(
            f"Disable {last.asked_by} at its identity provider, and narrow the trust policy of {last.role}",
            why=last.why,
        )
    elif last.kind == "instance":
        yield Step(f"Treat instance {last.asked_by} as compromised: its credentials were used", why=last.why)
    elif last.kind in ("irsa", "pod_identity"):
        yield Step(
            f"Treat the pods of {last.service_account} as compromised: the session comes from them", why=last.why
        )
    elif last.kind == "unknown":
        yield Step(f"Find who assumed {last.role}: CloudTrail of the time before is missing", why=last.why)


def principal_behind(profile: Profile) -> str | None:
    """The ARN of an IAM caller: of the sign-in, else of the one way in that gives out such a user name. None where several do, or none."""
    named = {
        compared(way.name): way.name
        for way in profile.ways
        if way.kind in ("access_entry", "aws_auth") and not way.maps_nobody and not way.name.endswith(":*")
    }
    return profile.identity.role or (next(iter(named.values())) if len(named) == 1 else None)
