"""What the attacker can still do while a plan is played: each open entry, judged by what stands and not by an action's name.

Sources: IAM User Guide (no policy denies GetCallerIdentity, with which a principal signs in to EKS; the deny by aws:TokenIssueTime); aws-iam-authenticator
(a node's name outlives its instance); Kubernetes "Managing Service Accounts", pkg/serviceaccount (a bound token ends a minute after its pod);
EKS User Guide "IAM roles for service accounts" (STS alone judges a web token), "Pod Identity" (session tags can be off).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Literal

from kit.actions.effect import Effect
from kit.attribution.credential import latest_end
from kit.identities.access import Access
from kit.identities.sessions import Session
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of
from kit.model.arn import compared, instance_of
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.model.kubernetes import ACCOUNT_GROUP, BOUND
from kit.plan.compromised import Compromised
from kit.plan.plan import PlannedAction
from kit.plan.played import ClusterState, Played, Running, subject_key
from kit.statements.open_entry import OpenEntry
from kit.words import few, utc

FateState = Literal["ended", "shut out", "dies", "cannot tell", "still works"]
_WORST: tuple[FateState, ...] = ("still works", "cannot tell", "dies", "shut out", "ended")
_MOST = 3  # names that are written out
_FOR_EVERYBODY = {  # Kubernetes "Using RBAC Authorization", API discovery roles
    *("system:basic-user", "system:discovery", "system:public-info-viewer"),
    "system:service-account-issuer-discovery",
}
_EVERYBODY = "system:authenticated"


@dataclass(frozen=True)
class Fate:
    """What has become of an open entry. state: *shut out* while the endpoint is narrowed or the thing is cut off, and alive. by: ids of actions."""

    state: FateState
    because: str
    until: datetime | None = None
    by: tuple[str, ...] = ()


class StillOpen:
    """Judges the open entries of one case."""

    def __init__(self, held: Compromised, standing: ClusterState) -> None:
        self.held, self.standing, self.inventory = held, standing, held.inventory
        self.access = Access(held.store, held.inventory)
        self._sessions = dict[str, Session | None]()
        self._judges: dict[str, Callable[[OpenEntry, Played], Fate]] = {
            "token": self._token,
            "credential": self._certificate,
            "access_key": self._key,
            "node": self._node,
            "identity": self._person,
            "let_in": self._let_in,
            "created": self._made,
            "secret": self._secret,
            "aws_secret": self._secret,
        }

    def fate(self, entry: OpenEntry, played: Played) -> Fate:
        """What an entry is good for once some actions are done."""
        judge = self._judges.get(entry.kind)
        if judge is None:
            return Fate("cannot tell", "how an entry of this kind ends is not known here", entry.until)
        return judge(entry, played)

    # ── what is judged alike ───────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _alive(entry: OpenEntry, says: str, *by: PlannedAction) -> Fate:
        """Not ended by what is done: dies by itself, lives on, or cannot be told."""
        ids = tuple(one.id for one in by)
        if entry.until:
            return Fate("dies", f"{says}, until {utc(entry.until)}", entry.until, ids)
        return Fate("cannot tell" if entry.state == "cannot tell" else "still works", says, None, ids)

    def _in_cluster(self, entry: OpenEntry, played: Played, alive: Fate) -> Fate:
        """What signs in to the cluster and is not ended: whether it reaches the endpoint."""
        by = next(iter(played.all_by(Effect.NARROWS_ENDPOINT).values()), None)
        if by is None:
            return alive
        kept = [ip_network(cidr) for cidr in by.parameters["keep"]]
        open_to = [one for one in self._outside if any(ip_address(one) in network for network in kept)]
        inside = self._footholds(played)
        if open_to:
            return Fate(alive.state, f"{alive.because}; {few(open_to, _MOST)} still reaches the endpoint", alive.until)
        if inside:
            return Fate(alive.state, f"{alive.because}; {few(inside, _MOST)} still reaches it from inside", alive.until)
        says = f"shut out {_done(by)}: no address of the attacker's reaches the endpoint; {alive.because}"
        return Fate("shut out", says, alive.until, (by.id,))

    @cached_property
    def _outside(self) -> list[str]:
        """Addresses outside of the cluster that the attacker called from."""
        found = {
            use.address
            for scope in self.held.scopes
            for one in scope.identities
            for use in one.sources
            if use.hostile and not use.inside
        }
        return sorted(one for one in found if _is_address(one))

    def _footholds(self, played: Played) -> list[str]:
        """Pods that were the attacker's tools and nodes that the attacker may hold, from which calls still go out."""
        found = [
            f"pod {one.pod.namespace}/{one.pod.name}"
            for one in self.standing.pods
            if one.pod.uid in self.held.used_pods and not played.ended(one) and not self._is_silent(one, played)
        ]
        cut = (Effect.CUTS_NODE_OFF, Effect.ENDS_NODE)
        stand = [node for node in self.held.reached if node in self.standing.nodes]
        return found + [f"node {node}" for node in stand if not any(played.by(effect, node) for effect in cut)]

    def _is_silent(self, running: Running, played: Played) -> bool:
        """Whether no traffic leaves a pod; the VPC CNI enforces no policy on one without an owner."""
        isolated = played.by(Effect.CUTS_POD_OFF, running.pod.uid) and running.owners
        return bool(isolated) or played.by(Effect.CUTS_NODE_OFF, running.pod.node) is not None

    def _bindings_left(
        self, subjects: tuple[tuple[str, str], ...], groups: list[str], played: Played
    ) -> list[str] | None:
        """Paths of the bindings that still give rights to one of these subjects (kind, name); None where no dump shows the bindings."""
        if not self.inventory.is_dumped("clusterrolebindings", None):
            return None
        names = {*subjects, *(("Group", group) for group in groups)}
        found = list[str]()
        for binding in self.access.bindings(*names):
            role = dict_of(binding.body.get("roleRef")).get("name")
            if role in _FOR_EVERYBODY or played.by(Effect.DELETES, binding.path):
                continue
            left = [one for one in dicts_of(binding.body.get("subjects")) if _names(one, binding, names)]
            if any(not played.by(Effect.UNBINDS, subject_key(binding.path, one, binding.namespace)) for one in left):
                found.append(binding.path)
        return found

    def _without_rights(self, subjects: tuple[tuple[str, str], ...], groups: list[str], played: Played) -> Fate | None:
        """The end of a credential whose identity had rights and has none left."""
        before = self._bindings_left(subjects, groups, Played(self.standing))
        if not before or self._bindings_left(subjects, groups, played) != []:
            return None
        done = {**played.all_by(Effect.UNBINDS), **played.all_by(Effect.DELETES)}
        by = {one.id: one for key, one in done.items() if key.partition(" ")[0] in before}
        return _ended("it signs in, and no binding gives it rights any more", *by.values())

    def _pods(self, entry: OpenEntry) -> list[Running]:
        wanted = {key for kind, key in entry.targets if kind == "pod"}
        return [one for one in self.standing.pods if one.pod.uid in wanted]

    # ── credentials of the cluster ─────────────────────────────────────────────────────────────────────────────────

    def _token(self, entry: OpenEntry, played: Played) -> Fate:
        account = entry.key
        by = played.by(Effect.ENDS_TOKENS, account)
        gone = played.by(Effect.DELETES, f"serviceaccounts/{account}")
        if gone or (by and by.parameters.get("recreate")):
            ends = gone or by
            assert ends is not None
            return _ended("its service account is another one since", ends)
        pods, is_bound = self._pods(entry), any(kind == "pod" for kind, _ in entry.targets)
        ended = [one for one in map(played.ended, pods) if one]
        if pods and len(ended) == len(pods):
            last = ended[-1]
            return _ended("it ends about a minute after its pod", last)
        namespace = account.partition("/")[0]
        groups = [ACCOUNT_GROUP, f"{ACCOUNT_GROUP}:{namespace}", _EVERYBODY]
        user = ("User", SERVICE_ACCOUNT + account.replace("/", ":", 1))
        without = self._without_rights((("ServiceAccount", account), user), groups, played)
        if without:
            return without
        says = "it lives as long as its pod" if is_bound else "it is bound to no pod"
        if not is_bound and entry.state == "cannot tell":
            says = "whether it is bound to a pod is in no evidence"
        if not is_bound and entry.since and not entry.until:
            says += f"; {latest_end(entry.since)}"
        return self._in_cluster(entry, played, self._alive(entry, says))

    def _certificate(self, entry: OpenEntry, played: Played) -> Fate:
        user = _target(entry, "identity")
        without = self._without_rights((("User", user),), [_EVERYBODY], played) if user else None
        return without or self._in_cluster(entry, played, self._alive(entry, "a certificate cannot be taken back"))

    def _person(self, entry: OpenEntry, played: Played) -> Fate:
        user = _target(entry, "identity")
        if user != entry.key:
            return self._impersonates(entry, played)
        by = played.by(Effect.ENDS_SIGN_IN, compared(entry.key))
        says = f"{by.action} gives no new sign-in, and the token at hand lives on" if by else "its sign-in is not ended"
        return self._in_cluster(entry, played, self._alive(entry, says, *([by] if by else [])))

    def _impersonates(self, entry: OpenEntry, played: Played) -> Fate:
        """A right to call in somebody else's name ends with the bindings that give it."""
        paths = list(dict.fromkeys(key for kind, key in entry.targets if kind == "used_binding"))
        taken = {key.partition(" ")[0]: one for key, one in played.all_by(Effect.UNBINDS).items()}
        by = [one for path in paths if (one := played.by(Effect.DELETES, path) or taken.get(path))]
        if paths and len(by) == len(paths):
            return _ended(f"no binding lets {entry.of} call in this name any more", *by)
        role = _target(entry, "iam_role")
        shut = played.by(Effect.SHUTS_OUT, compared(role)) if role else None
        if shut:
            return _ended(f"{entry.of} has no way into the cluster any more", shut)
        says = f"{entry.of} may call in this name as long as it signs in"
        return self._in_cluster(entry, played, self._alive(entry, says))

    def _node(self, entry: OpenEntry, played: Played) -> Fate:
        return _worse(self._node_signs_in(entry, entry.key, played), self._node_in_aws(entry.key, played))

    def _node_signs_in(self, entry: OpenEntry, node: str, played: Played) -> Fate:
        """A stolen credential of an instance signs in as its node until it expires, whatever became of instance and Node object."""
        gone = played.by(Effect.ENDS_NODE, node)
        renewed = "it is renewed no more, and" if gone else "it is renewed while the attacker is on the node, and"
        says = f"{renewed} signs in as {NODE}{node} until it expires, up to about six hours after it was issued"
        state: FateState = "dies" if entry.until else "still works"
        return self._in_cluster(entry, played, Fate(state, says, entry.until))

    def _node_in_aws(self, node: str, played: Played) -> Fate:
        role = self.inventory.node_roles.get(node, (None, None))[0]
        instances = {instance for instance, name in self.inventory.node_of_instance.items() if name == node}
        by = played.by(Effect.DENIES_SESSIONS, compared(role)) if role else None
        denied = set(by.parameters.get("instances") or ()) if by else set[str]()
        if by and (not denied or instances & denied):
            return _ended("it may do nothing in AWS", by)
        return Fate("still works", f"its session of {role or 'its role'} is not denied in AWS")

    # ── keys and sessions of AWS ───────────────────────────────────────────────────────────────────────────────────

    def _key(self, entry: OpenEntry, played: Played) -> Fate:
        by = played.by(Effect.STOPS_KEY, entry.key)
        if by:
            return _ended("the key signs nothing, in AWS and in the cluster", by)
        return _worse(self._signs_in(entry, played), self._in_aws(entry, played))

    def _signs_in(self, entry: OpenEntry, played: Played) -> Fate:
        user, role = _target(entry, "identity"), _target(entry, "iam_role")
        if user.startswith(NODE):
            return self._node_signs_in(entry, user.removeprefix(NODE), played)
        ways = [way for way in self.access.ways if compared(way.name) == compared(role) and not way.maps_nobody]
        if not user and not any(way.until is None for way in ways):
            return Fate("ended", "it has no way into the cluster")
        by = played.by(Effect.SHUTS_OUT, compared(role)) if role else None
        if by:
            return _ended("it has no way into the cluster any more", by)
        return self._in_cluster(entry, played, self._alive(entry, "it signs in to the cluster"))

    def _in_aws(self, entry: OpenEntry, played: Played) -> Fate:
        role, session = _target(entry, "iam_role"), self._session(entry.key)
        by = played.by(Effect.DENIES_SESSIONS, compared(role)) if role else None
        if by is None or (session and session.kind == "key"):  # a deny by aws:TokenIssueTime stops no long-term key
            return self._alive(entry, "it works in AWS")
        narrow = {*(by.parameters.get("instances") or ()), *(by.parameters.get("pods") or ())}
        own = {instance_of(session.session or ""), session.pod_uid} if session else set[str | None]()
        if narrow and not narrow & own:
            return self._alive(entry, f"{by.action} denies other sessions of its role, and this one works in AWS")
        if session and session.kind == "irsa" and not self._is_closed(session, played):
            says = (
                f"{by.action} denies this session, and the web token behind it gets new ones until that token expires"
            )
            return Fate("still works", says, None, (by.id,))
        return _ended("it may do nothing in AWS", by)

    def _session(self, key: str) -> Session | None:
        if key not in self._sessions:
            self._sessions[key] = self.held.scope.attacker.sessions.of_keys([key]).get(key)
        return self._sessions[key]

    @staticmethod
    def _is_closed(session: Session, played: Played) -> bool:
        """Whether the trust of a session's role takes no web token of its service account any more."""
        by = played.by(Effect.CLOSES_TRUST, compared(session.role or ""))
        return by is not None and session.service_account in (by.parameters.get("service_accounts") or ())

    # ── what was let in, made and read ─────────────────────────────────────────────────────────────────────────────

    def _let_in(self, entry: OpenEntry, played: Played) -> Fate:
        paths = [key for kind, key in entry.targets if kind == "created"]
        if paths:
            gone = self._binding_of(paths[0], entry.key, played)
            return gone or self._alive(entry, f"{paths[0]} still gives it rights")
        ways = {
            "mapping": Effect.SHUTS_OUT,
            "iam_change": Effect.TAKES_BACK,
            "service_account": Effect.ENDS_POD_IDENTITY,
        }
        for kind, effect in ways.items():
            by = played.by(effect, compared(key)) if (key := _target(entry, kind)) else None
            if by:
                return _ended("its way in is gone", by)
        return self._alive(entry, "its way in stands")

    def _binding_of(self, path: str, name: str, played: Played) -> Fate | None:
        by = played.by(Effect.DELETES, path) or played.by(Effect.REVERTS, path)
        taken = [one for key, one in played.all_by(Effect.UNBINDS).items() if key.partition(" ")[0] == path]
        left = self._subjects_left(path, played)
        if by is None and taken and not left:
            by = taken[-1]
        return _ended(f"{path} gives it nothing any more", by) if by else None

    def _subjects_left(self, path: str, played: Played) -> list[str]:
        binding = self.held.thing_at(path)
        if binding is None:
            return []
        keys = [subject_key(path, one, binding.namespace) for one in dicts_of(binding.body.get("subjects"))]
        return [key for key in keys if not played.by(Effect.UNBINDS, key)]

    def _made(self, entry: OpenEntry, played: Played) -> Fate:
        path = entry.key
        resource = path.partition("/")[0]
        if resource in BOUND and (gone := self._binding_of(path, "", played)):
            return gone
        pods = self._pods(entry)
        of_pods = map(played.ended, pods) if resource == "pods" else ()
        by = played.by(Effect.DELETES, path) or next(filter(None, of_pods), None)
        if by:
            return _ended("it is gone", by)
        if stopped := self._stopped(path, played):
            return Fate("shut out", f"shut out {_done(*stopped)}: it has no pod and starts none", None, _ids(stopped))
        closed = played.by(Effect.CLOSES_SERVICE, path)
        if closed:
            return _ended("nobody reaches it from outside", closed)
        cut = [one for one in map(played.cut_off, pods) if one]
        if pods and len(cut) == len(pods) and all(self._is_silent(one, played) for one in pods):
            return Fate(
                "shut out", f"shut out {_done(cut[-1])}: it runs, and no traffic leaves it", None, (cut[-1].id,)
            )
        if cut:
            says = f"it runs: the VPC CNI does not enforce {cut[-1].action} on a pod without an owner"
            return self._alive(entry, says, cut[-1])
        return self._alive(entry, "it stands")

    def _stopped(self, path: str, played: Played) -> list[PlannedAction]:
        """The actions by which a workload has no pod and starts none; none of one that has or may start some."""
        by, suspended = played.by(Effect.STOPS, path), played.by(Effect.SUSPENDS, path)
        own = [played.ended(one) for one in self.standing.pods if path in one.owners]
        if suspended and all(own):
            return [suspended, *filter(None, own)]
        return [by] if by else []

    def _secret(self, entry: OpenEntry, played: Played) -> Fate:
        by = played.by(Effect.ROTATES, entry.key)
        if by:
            return _ended("its old value is good for nothing", by)
        return self._alive(entry, "its value is known to the attacker")


def _ended(says: str, *by: PlannedAction) -> Fate:
    return Fate("ended", f"ended {_done(*by)}: {says}", None, tuple(one.id for one in by))


def _ids(actions: list[PlannedAction]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.id for one in actions))


def _done(*actions: PlannedAction) -> str:
    """The actions by which something is so, with their stage."""
    named = dict.fromkeys(f"{one.action} in {one.stage}{' by a person' if one.by_person else ''}" for one in actions)
    return f"by {few(list(named), _MOST)}"


def _worse(*fates: Fate) -> Fate:
    """What is left when each of several ways has its own fate: the one that the attacker has most of, with what holds for the others."""
    ordered = sorted(fates, key=lambda one: _WORST.index(one.state))
    because = "; ".join(dict.fromkeys(one.because for one in ordered))
    by = tuple(dict.fromkeys(id_ for one in ordered for id_ in one.by))
    until = max((one.until for one in ordered if one.until and one.state == ordered[0].state), default=None)
    return Fate(ordered[0].state, because, until, by)


def _names(subject: dict[str, object], binding: Thing, names: set[tuple[str, str]]) -> bool:
    kind, name = str(subject.get("kind")), str(subject.get("name"))
    if kind == "ServiceAccount":
        name = f"{subject.get('namespace') or binding.namespace}/{name}"
    return (kind, name) in names


def _target(entry: OpenEntry, kind: str) -> str:
    return next((key for one, key in entry.targets if one == kind), "")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
