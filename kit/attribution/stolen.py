"""AWS sessions that were issued to pods and nodes that the attacker holds, and used from outside of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from kit.attribution.calls import Event, creates, let_through
from kit.attribution.ground import Ground
from kit.attribution.rules import USED_FROM, AttackerRule
from kit.identities.named_session import OwnSessions, named_sessions
from kit.identities.sessions import Session, Sessions
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.model.finding import Finding
from kit.model.identity import NODE
from kit.model.kubernetes import FOLLOWED
from kit.words import few


@dataclass(frozen=True)
class Stolen:
    """A session and the addresses outside of the cluster that used it. pods: uids of those that it was issued to; node: or the node."""

    session: Session
    addresses: frozenset[str]
    pods: frozenset[str]

    @property
    def says(self) -> str:
        """What it was and where it was used."""
        where = few(sorted(self.addresses), 3)
        return f"{self.session.why.says if self.session.why else 'a session'}; it was used from {where}, outside of the cluster"


class Theft:
    """Finds the sessions that were stolen.

    Where one is used from is outside when it is neither an address of the cluster nor of its way out, and no other session of the same
    role came from there before the first bad sign. A pod's own session counts where the attacker is known to hold that pod:
    named by a finding, made or entered by the attacker, or with a token that the attacker used. A session that a finding names itself counts
    too, and where the finding says that it was used is outside.
    """

    def __init__(self, inventory: Inventory, sessions: Sessions) -> None:
        self.inventory = inventory
        self.sessions = sessions
        self._own = OwnSessions(inventory, sessions)
        self._known = dict[tuple[frozenset[str], frozenset[str], frozenset[str]], list[Stolen]]()

    def of(self, findings: Iterable[Finding], events: Iterable[Event]) -> list[Stolen]:
        """The sessions that were stolen, given the findings that count and the attacker's calls; by access key."""
        listed, calls = list(findings), list(events)
        first = min((one.first_seen_at for one in listed if one.first_seen_at), default=None)
        pods = {uid for one in listed for uid in self._named(one)} | set(self._in_hand(calls))
        nodes = {str(one["user_name"]).removeprefix(NODE) for one in calls if str(one["user_name"]).startswith(NODE)}
        for one in listed:
            node = self.inventory.node_of_instance.get(one.instance_id or "")
            if node and one.resource_type == "Instance" and not one.workload:
                nodes.add(node)
        nodes |= {node for one in listed for each in named_sessions(one) if (node := self._node_of(each.name))}
        keys = self._own.used_at(listed)
        asked = (frozenset(pods), frozenset(nodes), frozenset(keys))
        if asked not in self._known:
            self._known[asked] = list(self._stolen(pods, nodes, keys, first))
        return self._known[asked]

    def _node_of(self, session_name: str) -> str | None:
        return self.inventory.node_of_instance.get(session_name)

    def _stolen(
        self, pods: set[str], nodes: set[str], keys: dict[str, set[str]], first: datetime | None
    ) -> Iterator[Stolen]:
        known = [self.inventory.things[uid] for uid in sorted(pods) if uid in self.inventory.things]
        accounts = sorted({pod.service_account for pod in known if pod.service_account})
        sessions = {one.access_key_id: one for one in self.sessions.issued_to(accounts, sorted(pods), sorted(nodes))}
        sessions |= self.sessions.of_keys(keys)
        uses = self.sessions.uses(list(sessions))
        for key, session in sorted(sessions.items()):
            sure = [pod.uid for pod, is_sure in self.sessions.pods_of(session) if is_sure]
            if key not in keys and session.node not in nodes and not pods.intersection(sure):
                continue
            outside = {use.address for use in uses.get(key, []) if use.inside is False}
            outside -= self.sessions.used_before(session, outside, first)
            outside |= {use.address for use in uses.get(key, []) if not use.inside and use.address in keys.get(key, ())}
            if outside:
                yield Stolen(session, frozenset(outside), frozenset(sure))

    def _named(self, finding: Finding) -> Iterator[str]:
        """The pods that a finding names, itself or by their workload, as far as that is sure."""
        workload = finding.workload
        uid, kind = str(workload.get("Uid") or ""), str(workload.get("Type") or "").lower()
        thing = self.inventory.things.get(uid)
        if thing and thing.resource == "pods":
            yield uid
        elif kind in FOLLOWED and workload.get("Name"):
            owned = self.inventory.pods_of_workload(kind, workload.get("Namespace"), workload["Name"], uid or None)
            yield from (pod.uid for pod, sure in owned if sure)

    def _in_hand(self, events: list[Event]) -> Iterator[str]:
        for event in events:
            if event["claimed_pod_uid"]:
                yield event["claimed_pod_uid"]
            if event["resource"] == "pods" and let_through(event):
                entered = event["subresource"] in ("exec", "attach")
                named: list[Thing] = self.inventory.named("pods", event["namespace"], event["name"]) if entered else []
                yield from (pod.uid for pod in named if len(named) == 1)
                if creates(event) and event["uid"]:
                    yield event["uid"]


def follow_from(stolen: list[Stolen]) -> Iterator[AttackerRule]:
    """What makes audit events the attacker's: a stolen session, from where it was used outside."""
    for one in stolen:

        def holds(event: Event, key: str = one.session.access_key_id, places: frozenset[str] = one.addresses) -> bool:
            return event["access_key_id"] == key and event["source_address"] in places

        used = {f"{one.session.access_key_id}\x1f{address}" for address in one.addresses}
        yield AttackerRule(USED_FROM.format("access_key_id"), used, holds, one.says, Ground.STOLEN_SESSION)
