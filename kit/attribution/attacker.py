"""Which calls are the attacker's: in the audit log and in CloudTrail, each with the rules that say why.

An audit event is the attacker's when one of these holds:
1. its identity, connection address and user agent are those of the call of a finding that is not `Policy:` (an administrator's
   mistake makes a policy finding, but no attacker);
2. its credential was minted by such an event (`issued-credential-id` of a TokenRequest), or its pod or its service account was
   made by one;
3. it comes from an address that such an event came from and that nobody else used;
4. it minted the credential, or made the pod, that such an event used, and came from that event's address: from then on with its
   identity, address and user agent;
5. it has the name of a part of the control plane and comes from such an event's address, where the control plane is not.
It is possibly the attacker's when nothing but time tells it from the victim's:
6. the finding's call came from one of the cluster's own addresses, so the attacker sits inside: calls of the same credential since (and
   rule 1 holds there only for a client that the identity does not use anyway);
7. the log does not name the credential that such an event minted: later calls of that account from outside the cluster;
8. a role binding that such an event made or changed let it through.
Only the connection's own address counts; the elements of `sourceIPs` before it are the client's word: they may accuse, never clear.
The whole log decides, whatever window is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

from kit.attribution.calls import EVENT_COLUMNS, Call, Event, Place, address_of, creates, let_through, place_of
from kit.inventory.addresses import CONTROL_PLANE, Addresses
from kit.inventory.inventory import Inventory
from kit.model.finding import Finding, finding_of
from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.store.store import Store
from kit.words import few

_Caller = tuple[str | None, str | None, str | None]
"""Identity, connection address and user agent of a call."""

_CALLER = "concat_ws(chr(31), coalesce(user_name, ''), coalesce(source_address, ''), coalesce(user_agent, ''))"
AROUND = timedelta(minutes=5)  # a finding's times and the log's may differ by as much


@dataclass(frozen=True)
class _Rule:
    """What makes events the attacker's. column, values: one of the values stands in this column (SQL) of each. holds: and this is true of it."""

    column: str
    values: set[str]
    holds: Callable[[Event], bool]
    says: str


class Attacker:
    """The attacker's calls of one case."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory
        self.cluster_addresses = Addresses(store, inventory)
        self._own_calls = dict[str, list[Event]]()
        self._asked = defaultdict[str, set[str]](set)  # column → values whose events are in _may_fit
        self._may_fit = dict[Place, Event]()
        self._callers_at = dict[str, list[tuple[str, datetime]]]()

    @cached_property
    def findings(self) -> list[Finding]:
        """All findings of the case; whose calls are hostile does not depend on which of them is looked at."""
        rows = self.store.rows("SELECT finding FROM findings ORDER BY first_seen_at NULLS LAST, id")
        return [finding_of(orjson.loads(row["finding"])) for row in rows]

    @cached_property
    def calls(self) -> dict[Place, Call]:
        """The attacker's audit events by place, oldest first, each with the rules that say why."""
        found = dict[Place, Call]()

        def take(events: Iterable[Event], rule: str) -> bool:
            grown = False
            for event in events:
                call = found.get(place_of(event))
                if call is None:
                    call = found[place_of(event)] = Call(event)
                    grown = True
                call.rules[rule] = None
            return grown

        named = dict[_Caller, list[Finding]]()
        for finding in self.findings:
            for caller in self.callers(finding):
                if self._is_habit(finding, *caller):
                    # Inside the cluster the victim has all three too: only the finding's own call is told apart.
                    take(self._own_from_inside(finding), f"it is the call of finding {finding.id}")
                else:
                    named.setdefault(caller, []).append(finding)
        called = [
            _of_caller(
                caller,
                None,
                f"same identity, address and user agent as the call of finding {few([one.id for one in findings], 2)}",
            )
            for caller, findings in named.items()
        ]
        rules = (self._minted, self._of_made_pods, self._of_made_accounts, self._alone, self._before, self._pretending)
        grown = True
        while grown:
            events = [call.event for call in found.values()]
            asked = [*called, *(rule for each in rules for rule in each(events))]
            may_fit = self._matching(asked)
            grown = sum(take(filter(rule.holds, may_fit), rule.says) for rule in asked) > 0
        return dict(sorted(found.items(), key=lambda item: (item[1].event["received_at"], item[0])))

    # ── rules 1 to 5 ───────────────────────────────────────────────────────────────────────────────────────────────

    def _matching(self, rules: list[_Rule]) -> list[Event]:
        """The events that may fit any of some rules, and those asked for before, in one pass over the log for what is new."""
        new = dict[str, set[str]]()
        for rule in rules:
            values = rule.values - self._asked[rule.column]
            if values:
                new.setdefault(rule.column, set()).update(values)
        if new:
            where = " OR ".join(f"list_contains($values_{number}, {column})" for number, column in enumerate(new))
            lists = {f"values_{number}": sorted(values) for number, values in enumerate(new.values())}
            self._may_fit |= {place_of(event): event for event in self._events(where, **lists)}
            for column, values in new.items():
                self._asked[column] |= values
        return sorted(self._may_fit.values(), key=lambda event: (event["received_at"], event["file"], event["item"]))

    def _minted(self, events: list[Event]) -> Iterator[_Rule]:
        minted = {event["issued_credential_id"] for event in events} - {None}
        says = "its credential was minted by a call of the attacker"
        yield _Rule("credential_id", minted, lambda event: event["credential_id"] in minted, says)

    def _of_made_pods(self, events: list[Event]) -> Iterator[_Rule]:
        made = self._pods_made_by(events)
        says = "it was made with the token of a pod that the attacker created"
        yield _Rule("claimed_pod_uid", made, lambda event: event["claimed_pod_uid"] in made, says)

    def _of_made_accounts(self, events: list[Event]) -> Iterator[_Rule]:
        made = defaultdict[tuple[str, str | None], list[Event]](list)
        for event in filter(_creates_account, events):
            made[(_account_user(event), event["uid"])].append(event)
        for (user, uid), created in made.items():
            # Without a uid the name alone tells, and that somebody else may use once the account is gone.
            lives = [(event["received_at"], None if uid else self._deleted_at(event)) for event in created]

            def holds(
                one: Event,
                user: str = user,
                uid: str | None = uid,
                lives: list[tuple[datetime, datetime | None]] = lives,
            ) -> bool:
                same = one["user_name"] == user and (not uid or not one["user_uid"] or one["user_uid"] == uid)
                at = one["received_at"]
                return same and any(start <= at and (end is None or at < end) for start, end in lives)

            says = f"the attacker created its service account {created[0]['namespace']}/{created[0]['name']}"
            yield _Rule("user_name", {user}, holds, says)

    def _deleted_at(self, event: Event) -> datetime | None:
        """When the service account that an event created was first deleted again; None when no event shows that."""
        namespace, after = event["namespace"], event["received_at"]
        ends = [at for name in (event["name"], None) for at in self._accounts_deleted[(namespace, name)] if at > after]
        return min(ends, default=None)

    @cached_property
    def _accounts_deleted(self) -> dict[tuple[str | None, str | None], list[datetime]]:
        """Namespace and name of service accounts → when they were deleted; without a name: when all of the namespace were."""
        found = defaultdict[tuple[str | None, str | None], list[datetime]](list)
        for row in self.store.rows(
            "SELECT namespace, CASE verb WHEN 'delete' THEN name END AS name, received_at FROM audit"
            " WHERE resource = 'serviceaccounts' AND subresource IS NULL AND response_code BETWEEN 200 AND 299 AND NOT dry_run"
            " AND (verb = 'delete' AND name IS NOT NULL"
            " OR verb = 'deletecollection' AND NOT contains(coalesce(request_uri, ''), 'Selector'))"
        ):
            found[(row["namespace"], row["name"])].append(row["received_at"])
        return found

    def _alone(self, events: list[Event]) -> Iterator[_Rule]:
        for address in self._addresses_of(events):
            says = f"it comes from {address}, which nobody but the attacker used"

            def holds(one: Event, address: str = address) -> bool:
                return bool(one["source_address"] == address)

            yield _Rule("source_address", {address}, holds, says)

    def _before(self, events: list[Event]) -> Iterator[_Rule]:
        """Whoever minted the credentials or made the pods that hostile events used, from one of their addresses; and what the same
        caller did from then on. A kubelet at one of the cluster's own addresses does its daily work when it mints."""
        makers = dict[_Caller, Event]()
        for maker in self._makers(events):
            inside = maker["source_address"] in self.cluster_addresses.own or self._is_at_home(maker)
            if not inside and let_through(maker) and maker["user_name"] not in CONTROL_PLANE:
                makers.setdefault(_caller_of(maker), maker)
        for caller, maker in makers.items():
            what = "minted the credential" if maker["issued_credential_id"] else "made the pod"
            says = f"its caller {what} that the attacker used from the same address {maker['source_address']}"
            yield _of_caller(caller, maker["received_at"], says)

    def _is_at_home(self, maker: Event) -> bool:
        """Whether a node's credential is used from nowhere else: then that may be the node itself, behind what it shares with others."""
        if not maker["user_name"].startswith(NODE):
            return False
        return self._addresses_of_nodes[maker["user_name"]] <= {maker["source_address"]}

    @cached_property
    def _addresses_of_nodes(self) -> dict[str, set[str]]:
        """Where the credential of each node was used."""
        found = defaultdict[str, set[str]](set)
        for row in self.store.rows(
            "SELECT DISTINCT user_name, source_address FROM audit WHERE starts_with(user_name, $prefix) AND source_address IS NOT NULL",
            prefix=NODE,
        ):
            found[row["user_name"]].add(row["source_address"])
        return found

    def _makers(self, events: list[Event]) -> list[Event]:
        """The events that minted the credentials or made the pods of hostile events, from the same addresses, oldest first, with the
        columns that the callers look at."""
        return self.store.rows(
            "SELECT user_name, source_address, user_agent, received_at, issued_credential_id, response_code FROM audit"
            " WHERE list_contains($addresses, source_address) AND (list_contains($used, issued_credential_id)"
            " OR resource = 'pods' AND verb = 'create' AND subresource IS NULL AND list_contains($pods, uid))"
            " ORDER BY received_at, file, item",
            addresses=sorted({event["source_address"] for event in events} - {None}),
            used=sorted({event["credential_id"] for event in events} - {None}),
            pods=sorted({event["claimed_pod_uid"] for event in events} - {None}),
        )

    def _pretending(self, events: list[Event]) -> Iterator[_Rule]:
        at_home = self.cluster_addresses.control_plane
        addresses = {event["source_address"] for event in events} - {None} - at_home
        says = "it has the name of a part of the control plane, and the control plane never calls from there"
        if at_home and addresses - set(self.cluster_addresses.own):
            yield _Rule(
                "source_address",
                addresses,
                lambda event: event["source_address"] in addresses and event["user_name"] in CONTROL_PLANE,
                says,
            )

    # ── rules 6 to 8 ───────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def possible(self) -> dict[Place, Call]:
        """Audit events that may be the attacker's and may be the victim's, by place, oldest first, each with the rules that say so."""
        found = dict[Place, Call]()
        for events, rule, whose in (*self._from_inside(), *self._perhaps_minted(), *self._let_in()):
            for event in events:
                if place_of(event) not in self.calls:
                    call = found.setdefault(place_of(event), Call(event))
                    call.rules[rule] = None
                    call.whose.add(whose)
        return dict(sorted(found.items(), key=lambda item: (item[1].event["received_at"], item[0])))

    def _is_habit(self, finding: Finding, user: str, address: str, agent: str | None) -> bool:
        """Whether a caller inside of the cluster uses a client that its identity uses anyway: from another address or with another
        credential, or there already before the finding's time."""
        if address not in self.cluster_addresses.own:
            return False
        own = self._own_from_inside(finding)
        first = min((event["received_at"] for event in own), default=finding.first_seen_at)
        credentials = sorted({event["credential_id"] for event in own} - {None})
        return bool(
            self.store.rows(
                "SELECT 1 FROM audit WHERE user_name = $user AND user_agent IS NOT DISTINCT FROM $agent AND (source_address <> $address"
                " OR $first IS NOT NULL AND received_at < $first - INTERVAL 5 MINUTE"
                " OR len($credentials) > 0 AND NOT list_contains($credentials, credential_id)) LIMIT 1",
                user=user,
                agent=agent,
                address=address,
                first=first,
                credentials=credentials,
            )
        )

    def _own_from_inside(self, finding: Finding) -> list[Event]:
        return [event for event in self.own_call(finding) if event["source_address"] in self.cluster_addresses.own]

    def _from_inside(self) -> Iterator[tuple[list[Event], str, str]]:
        for finding in self.findings:
            if not any(address in self.cluster_addresses.own for _, address, _ in self.callers(finding)):
                continue
            own = self._own_from_inside(finding)
            if not own:
                continue
            first = min(event["received_at"] for event in own)
            credentials = sorted({event["credential_id"] or event["access_key_id"] for event in own} - {None})
            event = own[0]
            shown = self.cluster_addresses.own[event["source_address"]].says
            yield (
                self._events(
                    "received_at >= $first AND user_name = $user AND (list_contains($credentials, coalesce(credential_id, access_key_id))"
                    " OR coalesce(credential_id, access_key_id) IS NULL AND source_address = $address AND user_agent IS NOT DISTINCT FROM $agent)",
                    first=first,
                    user=event["user_name"],
                    credentials=credentials,
                    address=event["source_address"],
                    agent=event["user_agent"],
                ),
                f"same credential as the call of finding {finding.id}, since then; {shown}, so nothing tells attacker and victim apart",
                str(event["user_name"]),
            )

    def _perhaps_minted(self) -> Iterator[tuple[list[Event], str, str]]:
        seen = set[tuple[Any, Any]]()
        for event in [call.event for call in self.calls.values()]:
            is_mint = event["subresource"] == "token" and event["resource"] == "serviceaccounts" and let_through(event)
            if not is_mint or event["issued_credential_id"] or (event["namespace"], event["name"]) in seen:
                continue
            seen.add((event["namespace"], event["name"]))
            user = _account_user(event)
            known = {
                row["credential_id"]
                for row in self.store.rows(
                    "SELECT DISTINCT credential_id FROM audit WHERE user_name = $user AND received_at < $at"
                    " AND credential_id IS NOT NULL",
                    user=user,
                    at=event["received_at"],
                )
            }
            later = self._events("user_name = $user AND received_at >= $at", user=user, at=event["received_at"])
            outside = [
                one
                for one in later
                if one["source_address"] not in self.cluster_addresses.own and one["credential_id"] not in known
            ]
            yield (
                outside,
                f"it may be the token that the attacker minted for {event['namespace']}/{event['name']}: the log does not name that credential",
                str(event["user_name"]),
            )

    def _let_in(self) -> Iterator[tuple[list[Event], str, str]]:
        made = dict[str, Event]()
        for event in [call.event for call in self.calls.values()]:
            if (
                event["resource"] not in ("rolebindings", "clusterrolebindings")
                or event["verb"] not in ("create", "patch", "update")
                or event["subresource"]
                or not let_through(event)
                or event["dry_run"]
                or not event["name"]
            ):
                continue
            kind = "ClusterRoleBinding" if event["resource"] == "clusterrolebindings" else "RoleBinding"
            name = event["name"] if kind == "ClusterRoleBinding" else f"{event['name']}/{event['namespace']}"
            made.setdefault(f'{kind} "{name}"', event)
        for binding, event in made.items():
            through = self._events(
                "received_at >= $at AND starts_with(decision_reason, $reason)",
                at=event["received_at"],
                reason=f"RBAC: allowed by {binding} of ",
            )
            yield through, f"{binding}, which the attacker wrote, let it through", str(event["user_name"])

    @cached_property
    def addresses(self) -> frozenset[str]:
        """The addresses that nobody but the attacker used."""
        return frozenset(self._addresses_of([call.event for call in self.calls.values()]))

    @cached_property
    def trail(self) -> dict[str, tuple[Event, str]]:
        """The attacker's CloudTrail events by eventID, oldest first, each with the reason: from an address that is the attacker's alone; or
        from another address of the attacker, with an access key that the attacker used, issuing such a key, or signing in with the token of a
        service account of the attacker; or with a key that such a sign-in issued, from anywhere. From the cluster's own addresses, where
        the victim calls too, nothing is told apart."""
        events = [call.event for call in self.calls.values()]
        of_attacker = {
            "keys": sorted({event["access_key_id"] for event in events} - {None}),
            "users": sorted({event["user_name"] for event in events} - {None}),
            "addresses": sorted({event["source_address"] for event in events} - {None}),
        }
        found, issued = dict[str, tuple[Event, str]](), list[str]()
        grown = bool(events)
        while grown:
            rows = self.store.rows(
                "SELECT event_id, event_at, event_source, event_name, error_code, user_name, source_address, access_key_id,"
                " json_extract_string(response_elements, '$.credentials.accessKeyId') AS issued FROM trail"
                " WHERE list_contains($addresses, source_address) OR list_contains($issued, access_key_id)"
                " ORDER BY event_at, event_id",
                addresses=of_attacker["addresses"],
                issued=issued,
            )
            for row in rows:
                because = self._of_attacker(row, of_attacker, issued)
                if because:
                    found.setdefault(row["event_id"], (row, because))
            more = sorted({row["issued"] for row, _ in found.values()} - {None})
            grown, issued = more != issued, more
        return found

    def _of_attacker(self, row: Event, of_attacker: dict[str, list[str]], issued: list[str]) -> str:
        address, key = row["source_address"], row["access_key_id"]
        if address in self.addresses:
            return f"it comes from {address}, which nobody but the attacker used"
        if address in of_attacker["addresses"] and address not in self.cluster_addresses.own:
            if key in of_attacker["keys"]:
                return f"access key {key} and address {address} are the attacker's"
            if row["issued"] in of_attacker["keys"]:
                return f"it issued access key {row['issued']}, which the attacker used from the same address {address}"
            if row["event_name"] == "AssumeRoleWithWebIdentity" and row["user_name"] in of_attacker["users"]:
                return f"it signed in with a token of {row['user_name']} from {address}, where the attacker used that account"
        return f"access key {key} was issued to the attacker" if key in issued else ""

    def is_inside(self, events: Iterable[Event]) -> bool:
        """Whether any of some events came from one of the cluster's own addresses."""
        return any(event["source_address"] in self.cluster_addresses.own for event in events)

    def follow(self, user_name: str) -> list[Event]:
        """The hostile events of an identity, of what it minted and made, and from the addresses that are the attacker's alone."""
        hostile = {place: call.event for place, call in self.calls.items()}
        members = {place for place, event in hostile.items() if event["user_name"] == user_name}
        while True:
            present = [hostile[place] for place in members]
            minted = {event["issued_credential_id"] for event in present} - {None}
            made = self._pods_made_by(present)
            accounts = {_account_user(event) for event in filter(_creates_account, present)}
            addresses = {event["source_address"] for event in present} & self.addresses
            used = {event["credential_id"] for event in present} - {None}
            pods = {event["claimed_pod_uid"] for event in present} - {None}
            makers = {
                _caller_of(event)
                for event in hostile.values()
                if event["issued_credential_id"] in used
                or (event["resource"] == "pods" and creates(event) and event["uid"] in pods)
            }
            more = {
                place
                for place, event in hostile.items()
                if event["credential_id"] in minted
                or event["claimed_pod_uid"] in made
                or event["user_name"] in accounts
                or event["source_address"] in addresses
                or _caller_of(event) in makers
            }
            if more <= members:
                return [event for place, event in hostile.items() if place in members]
            members |= more

    def own_call(self, finding: Finding) -> list[Event]:
        """The audit events that can be the finding's call: identity, request, address and user agent as far as it says them; of
        several of one request those with its object's name, its status and its time, where there are such."""
        if finding.id not in self._own_calls:
            self._own_calls[finding.id] = self._own_call(finding)
        return self._own_calls[finding.id]

    def _own_call(self, finding: Finding) -> list[Event]:
        call, user = finding.api_call, finding.user.get("Username")
        if not call or not user:
            return []
        address = address_of(call)
        values = {
            "user": str(user),
            "verb": _text(call.get("Verb")),
            "address": address[0] if address else None,
            "agent": _text(call.get("UserAgent")),
        }
        same = (
            "user_name = $user AND ($verb IS NULL OR verb = $verb) AND ($address IS NULL OR source_address = $address)"
            " AND ($agent IS NULL OR user_agent = $agent)"
        )
        found = self._events(f"{same} AND request_uri = $uri", **values, uri=_text(call.get("RequestUri")))
        if not found and call.get("Resource"):
            found = self._events(
                f"{same} AND resource = $resource AND coalesce(subresource, '') = $subresource AND coalesce(namespace, '') = $namespace",
                **values,
                resource=str(call["Resource"]),
                subresource=str(call.get("Subresource") or ""),
                namespace=str(call.get("Namespace") or ""),
            )
        name = call.get("ResourceName") or finding.role_binding.get("Name")
        if name:
            found = [event for event in found if event["name"] == name] or found
        if call.get("StatusCode"):
            found = [event for event in found if event["response_code"] == call["StatusCode"]] or found
        first, last = finding.first_seen_at, finding.last_seen_at or finding.first_seen_at
        if first and last:
            start, end = first - AROUND, last + AROUND
            found = [event for event in found if start <= event["received_at"] <= end] or found
        return found

    def _events(self, where: str, **values: Any) -> list[Event]:
        sql = f"SELECT {EVENT_COLUMNS} FROM audit WHERE {where} ORDER BY received_at, file, item"
        return self.store.rows(sql, **values)

    def callers(self, finding: Finding) -> list[tuple[str, str, str | None]]:
        """Identity, connection address and user agent of a hostile finding's call. What the finding does not say comes from the
        log, where that leaves one alone; otherwise whose call it was cannot be told."""
        call, user = finding.api_call, finding.user.get("Username")
        if finding.is_policy or finding.sample or not call or not user or self.is_foreign(finding):
            return []
        address, agent = address_of(call), call.get("UserAgent")
        if address and agent:
            return [(str(user), address[0], str(agent))]
        seen = (event for event in self.own_call(finding) if event["source_address"])
        found = list(
            dict.fromkeys((event["user_name"], event["source_address"], event["user_agent"]) for event in seen)
        )
        return found if len(found) == 1 else []

    def is_foreign(self, finding: Finding) -> bool:
        """Whether a finding is about another cluster than the one that the evidence is from."""
        return bool(finding.cluster and self.inventory.cluster and finding.cluster != self.inventory.cluster)

    def others_at(self, address: str) -> list[tuple[str, int]]:
        """Who else used an address, with the number of calls that are not attributed."""
        hostile = [
            f"{file}:{item}" for (file, _, item), call in self.calls.items() if call.event["source_address"] == address
        ]
        rows = self.store.rows(
            "SELECT user_name, count(*) AS calls FROM audit"
            " WHERE source_address = $address AND NOT list_contains($hostile, file || ':' || item)"
            " GROUP BY user_name ORDER BY calls DESC, user_name",
            address=address,
            hostile=hostile,
        )
        return [(str(row["user_name"]), row["calls"]) for row in rows]

    def _addresses_of(self, hostile: list[Event]) -> list[str]:
        """Those of the addresses of hostile events, but for the cluster's own, that nobody else used: every identity seen there is the attacker's, and was
        not there before the first hostile call from it. Anonymous callers are nobody in particular and clear nothing."""
        first = dict[str, datetime]()
        for event in hostile:
            if event["source_address"] and event["source_address"] not in self.cluster_addresses.own:
                at = first.setdefault(event["source_address"], event["received_at"])
                first[event["source_address"]] = min(at, event["received_at"])
        identities = {event["user_name"] for event in hostile}
        new = sorted(set(first) - set(self._callers_at))
        if new:
            self._callers_at |= {address: [] for address in new}
            for row in self.store.rows(
                "SELECT source_address, user_name, min(received_at) AS first_at FROM audit"
                " WHERE list_contains($addresses, source_address) AND user_name <> 'system:anonymous' GROUP BY ALL",
                addresses=new,
            ):
                self._callers_at[row["source_address"]].append((row["user_name"], row["first_at"]))
        return sorted(
            address
            for address, first_hostile in first.items()
            if all(user in identities and at >= first_hostile for user, at in self._callers_at[address])
        )

    def _pods_made_by(self, events: Iterable[Event]) -> set[str]:
        made = set[str]()
        for event in filter(creates, events):
            if event["resource"] == "pods" and event["uid"]:
                made.add(event["uid"])
            elif event["uid"] and event["name"]:
                owned = self.inventory.pods_of_workload(
                    event["resource"], event["namespace"], event["name"], event["uid"]
                )
                made |= {pod.uid for pod, sure in owned if sure}
        return made


def _caller_of(event: Event) -> _Caller:
    return event["user_name"], event["source_address"], event["user_agent"]


def _of_caller(caller: _Caller, since: datetime | None, says: str) -> _Rule:
    def holds(event: Event) -> bool:
        return _caller_of(event) == caller and (since is None or event["received_at"] >= since)

    return _Rule(_CALLER, {"\x1f".join(part or "" for part in caller)}, holds, says)


def _creates_account(event: Event) -> bool:
    return event["resource"] == "serviceaccounts" and creates(event) and bool(event["name"])


def _account_user(event: Event) -> str:
    return f"{SERVICE_ACCOUNT}{event['namespace']}:{event['name']}"


def _text(value: Any) -> str | None:
    return str(value) if value else None
