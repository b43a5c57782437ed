"""How near the attacker came to each subject: touched, exposed or possible; and by which calls.

Touched: the attacker ran in it, used its credential, made it or changed it; of secrets and config maps also: read it. Exposed: affected,
but not touched. Possible: what certainty calls possible. What was gone before the first hostile call has no ring.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Literal

from kit.attribution.calls import Event
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.model.kinds import DEEDS
from kit.model.pod_spec import power_over_node
from kit.model.refs import Ref
from kit.model.why import Rule
from kit.scope.scope import Scope
from kit.scope.subject import FindingScope, Subject

Ring = Literal["touched", "exposed", "possible"]


class Rings:
    """The rings of a scope's subjects."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.first = scope.attacker.first_call_at
        self._held = dict[str, set[str]]()

    def of(self, subject: Subject, scope: FindingScope) -> Ring | None:
        """The ring of a subject of a finding's scope; None for what was gone before the first hostile call."""
        if self.was_gone(subject):
            return None
        if subject.certainty == "possible":
            return "possible"
        return "touched" if self._is_touched(subject, scope) else "exposed"

    def was_gone(self, subject: Subject) -> bool:
        """Whether it was gone before the attacker's first call."""
        thing = subject.thing
        return bool(thing and thing.deleted_at and self.first and thing.deleted_at < self.first)

    def alive(self, subject: Subject) -> bool | None:
        """Whether it existed at any moment between the attacker's first and last call; None where no evidence tells."""
        thing, last = subject.thing, self._last
        if thing is None or self.first is None or last is None:
            return None
        if thing.deleted_at is not None and thing.deleted_at < self.first:
            return False
        if thing.created_at is not None:
            return thing.created_at <= last
        return True if thing.standing or thing.deleted_at is not None else None

    def touched_by(self, subject: Subject, scope: FindingScope) -> list[str]:
        """The refs of the calls and findings that touched it, in the order of time; none for what was not touched."""
        if self.of(subject, scope) != "touched":
            return []
        by = [why.ref for why in subject.why if _by_attacker(why.rule)]
        if subject.kind in ("pod", "node", "service_account", "identity", "source_ip"):
            by += self._refs.get((subject.kind, subject.key), [])
        if not by:
            by = [why.ref for why in subject.why if why.rule in (Rule.FINDING, Rule.NAMED_NODE)]
        return list(dict.fromkeys(map(str, by)))

    @cached_property
    def _last(self) -> datetime | None:
        return max((call.event["received_at"] for call in self.scope.attacker.calls.values()), default=None)

    @cached_property
    def _refs(self) -> dict[tuple[str, str], list[Ref]]:
        """Pods and nodes whose credential was used, identities, their service accounts and addresses → the calls."""
        found = defaultdict[tuple[str, str], list[Ref]](list)
        for call in (one for one in self.scope.attacker.calls.values() if not one.source):
            for place in _used(call.event):
                found[place].append(self.scope.store.event_ref(call.event))
        return found

    def _is_touched(self, subject: Subject, scope: FindingScope) -> bool:
        kind, key = subject.kind, subject.key
        if kind == "forwarded":
            return False  # looked at, and nothing was run there
        if kind in DEEDS or kind in ("identity", "source_ip"):
            return True
        if (kind, key) in self._refs or any(_by_attacker(why.rule) for why in subject.why):
            return True
        if kind == "pod":
            return runs_in(scope) and any(why.rule is Rule.FINDING for why in subject.why)
        if kind == "node":
            return any(why.rule is Rule.NAMED_NODE for why in subject.why) or key in self._held_of(scope)
        if kind == "iam_role":
            return key in self._roles_used(scope)
        return kind == "image" and ("introduced", key, None) in scope.subjects

    def _held_of(self, scope: FindingScope) -> set[str]:
        """Nodes on which the attacker touched a pod that has power over its node."""
        known = self._held.get(scope.finding.id)
        if known is None:
            known = self._held[scope.finding.id] = self._find_held(scope)
        return known

    def _find_held(self, scope: FindingScope) -> set[str]:
        return {
            pod.node
            for one in scope.affected("pod")
            if (pod := one.thing) and pod.node and power_over_node(pod.spec, False) and self.of(one, scope) == "touched"
        }

    def _roles_used(self, scope: FindingScope) -> set[str]:
        used = {one.session.role for one in scope.sessions if one.certainty == "affected"}
        used |= {one.identity.role for one in scope.identities if any(source.hostile for source in one.sources)}
        return {role for role in used if role}


def _by_attacker(rule: Rule) -> bool:
    return rule in (Rule.ATTACKER, Rule.INJECTED, Rule.CARRIES_OUT)


def runs_in(scope: FindingScope) -> bool:
    """Whether a finding is about what ran in a pod: Runtime Monitoring sees processes."""
    return ":Runtime/" in scope.finding.type


def _used(event: Event) -> Iterable[tuple[str, str]]:
    """What the credential of a call is of."""
    user = str(event["user_name"])
    yield "identity", user
    if event["source_address"]:
        yield "source_ip", event["source_address"]
    if event["claimed_pod_uid"]:
        yield "pod", event["claimed_pod_uid"]
    if user.startswith(NODE):
        yield "node", user.removeprefix(NODE)
    if user.startswith(SERVICE_ACCOUNT):
        yield "service_account", user.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
