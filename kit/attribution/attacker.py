"""Which calls are the attacker's: in the audit log and in CloudTrail, each with the rules that say why.

An audit event is the attacker's when one of these holds:
1. its identity, credential, connection address and user agent are those of the call of a finding that is not `Policy:` (an
   administrator's mistake makes a policy finding, but no attacker); the credential is the access key that the finding names, else that
   of its own call in the log;
2. its credential was minted by such an event (`issued-credential-id` of a TokenRequest), or its pod or its service account was
   made by one;
3. it comes from an address that such an event came from and that nobody else used;
4. it minted the credential, or made the pod, that such an event used, and came from that event's address: from then on with its
   identity, credential, address and user agent;
5. it has the name of a part of the control plane and comes from such an event's address, where the control plane is not;
6. its access key was issued by a call of the attacker in AWS, its token is that of a Secret that the attacker created, or it is a call
   of a principal that the attacker let in and that had no way in before;
7. it was made from outside with an AWS session that was issued to a pod or node that the attacker holds, with the token of a pod that
   the attacker had entered, or with that of a Secret that the attacker had read, from where it was never used before; or with the
   attacker's own credential by another client, from where nobody used it before the attacker;
8. it was made with a certificate that the attacker asked for, or since then by a name in that request that nobody had used before;
9. it is of the change to a source (Git, a chart) that a finding's call is part of, where a controller applied that as it always does: the
   deed is the attacker's, and instead of rule 1 the controller's identity and credential are not.
It is possibly the attacker's when nothing but time tells it from the victim's:
10. the finding's call came from one of the cluster's own addresses, so the attacker sits inside: calls of the same credential since, and
   with that client in the minutes before (and rule 1 holds there only for a client that the identity does not use anyway);
11. the log does not name the credential that such an event minted: later calls of that account from outside the cluster;
12. a role binding that such an event made or changed let it through;
13. the attacker let its principal in, which had a way in before, or may have had one;
14. it has the identity, address and user agent of rule 1 with another credential, or the finding names none and its own call is not in the
   log: two people behind one NAT look so;
15. it may be made with a certificate that the attacker approved, or asked for and of which no evidence has the fingerprint;
16. one of the rules above alone speaks for it, which is few (kit.attribution.ground).
Only the connection's own address counts; the elements of `sourceIPs` before it are the client's word: they may accuse, never clear.
The whole log decides, whatever window is looked at. What a person marked as the attacker's, or as not, counts before all of this; then
the kit's own requests (kit.attribution.collected), which are never the attacker's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property

import orjson

from kit.attribution.applied import Applied, AppliedChange
from kit.attribution.calls import (
    Call,
    Caller,
    Event,
    Place,
    account_user,
    caller_of,
    creates,
    creates_account,
    events_where,
    may_be_of,
    not_none,
    place_of,
    secrets_made_by,
    token_secret_of,
)
from kit.attribution.certificates import Certificates
from kit.attribution.collected import Collected
from kit.attribution.ground import Ground, decides
from kit.attribution.let_in import LetIn, LettingIn
from kit.attribution.marked import Marked
from kit.attribution.own_call import OwnCalls
from kit.attribution.possible import possible_calls
from kit.attribution.rules import AttackerRule, Rules, is_of_caller, of_caller
from kit.attribution.stolen import Stolen, Theft, follow_from
from kit.attribution.taken import Taken
from kit.attribution.trail import FoundTrail, Trail
from kit.identities.sessions import Sessions
from kit.inventory.addresses import Addresses
from kit.inventory.inventory import Inventory
from kit.model.finding import Finding, finding_of
from kit.store.marks import Mark
from kit.store.store import Store
from kit.words import Names, few


class Attacker:
    """The attacker's calls of one case."""

    def __init__(self, store: Store, inventory: Inventory, marks: Iterable[Mark] = ()) -> None:
        """marks: what people said; those of whose calls are whose count before every rule."""
        self.store = store
        self.marked = Marked(store, marks)
        self.cluster_addresses = Addresses(store, inventory)
        self.own_calls = OwnCalls(store, inventory, self.cluster_addresses, lambda: self.findings)
        self._applied = Applied(store, inventory, self.own_calls)
        self._rules = Rules(store, inventory, self.cluster_addresses)
        self.collected = Collected(store, lambda: self.findings)
        self._trail = Trail(store, self.cluster_addresses, self.marked, self.collected)
        self._letting_in = LettingIn(store, inventory)
        self.sessions = Sessions(store, inventory, self.cluster_addresses)
        self._taken = Taken(store, inventory, self.cluster_addresses)
        self.certificates = Certificates(store, inventory)
        self._theft = Theft(inventory, self.sessions)
        self._inside = list[tuple[Caller, frozenset[str], Finding]]()  # findings' callers whom the victim looks like
        self._asked = defaultdict[str, set[str]](set)  # column → values whose events are in _may_fit
        self._may_fit = dict[Place, Event]()

    @cached_property
    def findings(self) -> list[Finding]:
        """All findings of the case; whose calls are hostile does not depend on which of them is looked at."""
        rows = self.store.rows("SELECT finding FROM findings ORDER BY first_seen_at NULLS LAST, id")
        return [finding_of(orjson.loads(row["finding"])) for row in rows]

    @property
    def calls(self) -> dict[Place, Call]:
        """The attacker's audit events by place, oldest first, each with the rules that say why."""
        return self._settled[0]

    @property
    def trail(self) -> FoundTrail:
        """The attacker's CloudTrail events."""
        return self._settled[1]

    @property
    def let_in(self) -> list[LetIn]:
        """Whom the attacker let in, oldest first."""
        return self._settled[2]

    @property
    def stolen(self) -> list[Stolen]:
        """AWS sessions of pods and nodes that the attacker used outside of the cluster."""
        return self._settled[3]

    @cached_property
    def _settled(self) -> tuple[dict[Place, Call], FoundTrail, list[LetIn], list[Stolen], dict[Place, Call]]:
        """Calls, CloudTrail events, who was let in and stolen sessions, each of which leads to more of the others, until nothing more
        follows; and the calls for which one rule speaks that is right too seldom to decide alone, from which nothing follows."""
        found, undecided = dict[Place, Call](), dict[Place, Call]()

        def take(events: Iterable[Event], rule: str, ground: Ground) -> bool:
            grown = False
            for event in events:
                place = place_of(event)
                call = found.get(place) or undecided.get(place)
                if call is None and self._is_out(event):
                    continue
                if call is None:
                    call = undecided[place] = Call(event)
                call.rules[rule] = ground
                if place in undecided and decides(call.rules.values()):
                    found[place] = undecided.pop(place)
                    grown = True
            return grown

        asked = [*self.marked.rules(), *self._named(take)]
        for finding in self.findings:
            if change := self._changes.get(finding.id):
                take(
                    change.events,
                    f"it is of the change to {change.source} that finding {finding.id} is about; a controller applied it",
                    Ground.APPLIED,
                )
                for event in change.events:
                    if place_of(event) in found:
                        found[place_of(event)].source = change.source
        trail, let_in = FoundTrail(), list[LetIn]()
        counted = [one for one in self.findings if not (one.is_policy or one.sample or self.own_calls.is_foreign(one))]
        named = frozenset(str(one.access_key["AccessKeyId"]) for one in counted if one.access_key.get("AccessKeyId"))
        stolen = self._theft.of(counted, [])
        while True:
            grown = True
            while grown:
                events = [call.event for call in found.values()]
                rules = [
                    *asked,
                    *self._rules.of(events),
                    *self._taken.of(events),
                    *self.certificates.of(events),
                    *self._letting_in.follow_from(found, trail, let_in),
                    *follow_from(stolen),
                    *self._given_rights(let_in),
                ]
                may_fit = self._matching(rules)
                grown = sum(take(filter(rule.holds, may_fit), rule.says, rule.ground) for rule in rules) > 0
            events = [call.event for call in found.values()]
            own = [call.event for call in found.values() if not call.source]
            more_stolen = self._theft.of(counted, own)
            more_trail = self._trail.of(own, frozenset(self._rules.addresses_of(events)), more_stolen, named)
            more_let_in = self._letting_in.by(found, list(more_trail))
            if (more_trail.keys(), more_let_in, more_stolen) == (trail.keys(), let_in, stolen):
                break
            trail, let_in, stolen = more_trail, more_let_in, more_stolen
        ordered = dict(sorted(found.items(), key=lambda item: (item[1].event["received_at"], item[0])))
        return ordered, trail, let_in, stolen, undecided

    @cached_property
    def _changes(self) -> dict[str, AppliedChange]:
        """Finding → the change of a source that its call is part of, where a controller applied it as it always does."""
        counted = (one for one in self.findings if not (one.is_policy or one.sample or self.own_calls.is_foreign(one)))
        return self._applied.of(counted)

    def source_of(self, finding: Finding) -> str:
        """What a controller applied a finding's call from; "" where its call is nobody's habit."""
        return self._changes[finding.id].source if finding.id in self._changes else ""

    def source_of_call(self, event: Event) -> str:
        """What a controller applied this from; "" for a call that the attacker made."""
        call = self.calls.get(place_of(event))
        return call.source if call else ""

    def _named(self, take: Callable[[Iterable[Event], str, Ground], bool]) -> Iterator[AttackerRule]:
        """Rule 1: the callers of the findings."""
        named = dict[tuple[Caller, frozenset[str]], list[Finding]]()
        for finding in self.findings:
            for caller in self.own_calls.callers(finding) if finding.id not in self._changes else ():
                credentials = self.own_calls.credentials(finding)
                if self.own_calls.is_habit(finding, *caller):
                    # Inside the cluster the victim has all three too: only the finding's own call is told apart.
                    inside = self.own_calls.from_inside(finding)
                    own = [one for one in inside if may_be_of(one, credentials)] if credentials is not None else []
                    take(own, f"it is the call of finding {finding.id}", Ground.OWN_CALL)
                    if credentials is not None:
                        self._inside.append((caller, credentials, finding))
                elif credentials is not None and self.own_calls.is_at_home(finding, caller, credentials):
                    says = f"it is the call of finding {finding.id}"
                    take(self.own_calls.exactly(finding), says, Ground.OWN_CALL)
                elif credentials is not None:
                    named.setdefault((caller, credentials), []).append(finding)
        for (named_caller, credentials), findings in named.items():
            same = f"same identity, {'credential, ' if credentials else ''}address and user agent"
            says = f"{same} as the call of finding {few([one.id for one in findings], 2)}"
            yield of_caller(named_caller, credentials, None, says, Ground.CALLER)

    def _given_rights(self, let_in: list[LetIn]) -> Iterator[AttackerRule]:
        """Callers inside whose habits are not known, of findings, to whom the attacker gave rights before they made any call."""
        for one in let_in:
            for caller, credentials, finding in self._inside:
                if one.by == "binding" and one.key == caller[0] and not self._letting_in.user_called_before(one):
                    says = f"{one.why.says}, before which it made no call; and finding {finding.id} is about a call of this caller"
                    yield of_caller(caller, credentials, one.at, says, Ground.GIVEN_RIGHTS)

    def _matching(self, rules: list[AttackerRule]) -> list[Event]:
        """The events that may fit any of some rules, and those asked for before, in one pass over the log for what is new."""
        new = dict[str, set[str]]()
        for rule in rules:
            values = rule.values - self._asked[rule.column]
            if values:
                new.setdefault(rule.column, set()).update(values)
        if new:
            where = " OR ".join(f"list_contains($values_{number}, {column})" for number, column in enumerate(new))
            lists = {f"values_{number}": sorted(values) for number, values in enumerate(new.values())}
            among = where if all(is_of_caller(column) for column in new) else ""
            found = events_where(self.store, where, among, **lists)
            self._may_fit |= {place_of(event): event for event in found}
            for column, values in new.items():
                self._asked[column] |= values
        return sorted(self._may_fit.values(), key=lambda event: (event["received_at"], event["file"], event["item"]))

    @cached_property
    def possible(self) -> dict[Place, Call]:
        """Audit events that may be the attacker's and may be the victim's, by place, oldest first, each with the rules that say so."""
        users = {str(call.event["user_name"]) for call in self.calls.values()}
        for call in self._settled[4].values():
            call.whose |= {*users, str(call.event["user_name"])}
        found = possible_calls(
            self.own_calls, self.certificates, self.findings, self.calls, self.let_in, self._settled[4]
        )
        return {place: call for place, call in found.items() if not self._is_out(call.event)}

    @cached_property
    def addresses(self) -> frozenset[str]:
        """The addresses that nobody but the attacker used."""
        return frozenset(self._rules.addresses_of([call.event for call in self.calls.values()]))

    @cached_property
    def first_call_at(self) -> datetime | None:
        """When the first of the attacker's audit events came; None without any."""
        return min((call.event["received_at"] for call in self.calls.values()), default=None)

    @property
    def token_secrets_used(self) -> dict[str, str]:
        """namespace/name of the Secrets whose tokens the log shows in use → whom they sign in as."""
        return self._taken.secrets_used

    def pods_made_by(self, events: Iterable[Event]) -> set[str]:
        """The uids of the pods that events made, themselves or by a workload."""
        return self._rules.pods_made_by(events)

    def is_hostile(self, events: Iterable[Event]) -> bool:
        """Whether any of some events is the attacker's."""
        return any(place_of(event) in self.calls for event in events)

    def events_of(self, audit_ids: Names) -> list[Event]:
        """The attacker's audit events that have these auditIDs, oldest first."""
        return [call.event for call in self.calls.values() if call.event["audit_id"] in audit_ids]

    def is_inside(self, events: Iterable[Event]) -> bool:
        """Whether any of some events came from one of the cluster's own addresses."""
        return any(event["source_address"] in self.cluster_addresses.own for event in events)

    def follow(self, user_name: str) -> tuple[list[Event], list[str], list[LetIn]]:
        """What follows from the hostile events of an identity: those, and of what it minted and made, whom it let in, and from the
        addresses that are the attacker's alone; the CloudTrail events that go with these, by eventID; and whom they let in."""
        hostile = {place: call.event for place, call in self.calls.items()}
        members = {place for place, event in hostile.items() if event["user_name"] == user_name}
        if members:  # what people marked and no finding leads to belongs to each that has an attacker
            members |= {place for place, event in hostile.items() if self._is_apart(event)}
        while True:
            present = [hostile[place] for place in members]
            minted = not_none(event["issued_credential_id"] for event in present)
            made = self._rules.pods_made_by(present)
            accounts = {account_user(event) for event in filter(creates_account, present)}
            addresses = not_none(event["source_address"] for event in present) & self.addresses
            used = not_none(event["credential_id"] for event in present)
            pods = not_none(event["claimed_pod_uid"] for event in present)
            secrets = secrets_made_by(present)
            makers = {
                caller_of(event)
                for event in hostile.values()
                if event["issued_credential_id"] in used
                or (event["resource"] == "pods" and creates(event) and event["uid"] in pods)
            }
            trail, keys = self.trail_with(present, addresses)
            taken = [*self._taken.of(present), *self.certificates.of(present)]
            let_in = [one for one in self.let_in if one.place in members or one.event_id in trail]
            more = {
                place
                for place, event in hostile.items()
                if event["credential_id"] in minted
                or event["claimed_pod_uid"] in made
                or event["user_name"] in accounts
                or event["source_address"] in addresses
                or caller_of(event) in makers
                or event["access_key_id"] in keys
                or token_secret_of(event) in secrets
                or any((one.sure or one.by == "binding") and one.called(event) for one in let_in)
                or any(rule.holds(event) for rule in taken)
            }
            if more <= members:
                return [event for place, event in hostile.items() if place in members], trail, let_in
            members |= more

    def _is_apart(self, event: Event) -> bool:
        """Whether people alone say that a call is the attacker's, and no finding names its caller."""
        return bool(self.marked.is_attackers(event)) and event["user_name"] not in self._named_callers

    @cached_property
    def _named_callers(self) -> set[str]:
        return {str(one.user["Username"]) for one in self.findings if one.user.get("Username")}

    def _is_out(self, event: Event) -> bool:
        """Whether an event is not the attacker's, whatever rule holds: people say so, or it is a request of the kit and nobody says otherwise."""
        said = self.marked.is_attackers(event)
        return self.collected.has(event) if said is None else not said

    def is_cleared(self, events: Iterable[Event]) -> bool:
        """Whether all of some events are known to be not the attacker's; not of none."""
        said = [self._is_out(event) for event in events]
        return bool(said) and all(said)

    def trail_with(
        self, events: Iterable[Event], places: Names, known: Names = frozenset[str]()
    ) -> tuple[list[str], set[str]]:
        """The attacker's CloudTrail events that go with some audit events, addresses and access keys, and the access keys of all of them."""
        events = list(events)
        keys = {*not_none(event["access_key_id"] for event in events), *known}
        users = {event["user_name"] for event in events}
        while True:
            more = not_none(
                row["issued"]
                for row, _ in self.trail.values()
                if row["source_address"] in places or row["access_key_id"] in keys or row["user_name"] in users
            )
            if more <= keys:
                break
            keys |= more
        return [
            event_id
            for event_id, (row, _) in self.trail.items()
            if row["source_address"] in places
            or keys & {row["access_key_id"], row["issued"]}
            or self.marked.is_attackers_in_aws(row)
        ], keys

    def others_at(self, address: str) -> list[tuple[str, int]]:
        """Who else used an address, with the number of calls that are not attributed."""
        hostile = Counter(
            call.event["user_name"] for call in self.calls.values() if call.event["source_address"] == address
        )
        rows = self.store.rows(
            f"SELECT user_name, sum(calls)::BIGINT AS calls FROM {self.store.callers} WHERE source_address = $address GROUP BY user_name",
            address=address,
        )
        others = [(str(row["user_name"]), row["calls"] - hostile[row["user_name"]]) for row in rows]
        return sorted((one for one in others if one[1]), key=lambda one: (-one[1], one[0]))
