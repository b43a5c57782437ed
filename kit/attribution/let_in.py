"""Whom the attacker let in: principals, users and groups that got access by the attacker's calls, in the cluster and in AWS.

Sources: EKS API reference (CreateAccessEntry answers 409 where there is one), IAM API reference, EKS User Guide "Access entries",
"Pod Identity", "Authenticate with OIDC"; Kubernetes "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from kit.attribution.calls import Call, Event, Place, creates, let_through, place_of
from kit.attribution.ground import Ground
from kit.attribution.rules import AttackerRule
from kit.attribution.trail import FoundTrail
from kit.identities.access import Access
from kit.identities.aws_auth import AwsAuthChange, changes
from kit.inventory.inventory import Inventory
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.arn import account_of, iam_arn, partition_of, principal_of
from kit.model.identity import NOT_SIGNED_IN, SERVICE_ACCOUNT
from kit.model.kubernetes import BOUND
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store
from kit.words import Names

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class LetIn:
    """One principal, user or group that a call of the attacker gave access.

    key: ARN, user or group. by: access_entry, aws_auth, binding, access_key, login_profile, trust_policy, pod_identity,
    identity_provider. sure: whether the evidence shows that it had no way in before, so that what it did since is the attacker's.
    arns, user_names: what its calls in the audit log have. ends_at: when somebody took that way in away. place: of the audit event, event_id: of the CloudTrail event that did it,
    by_key: the access key of that.
    """

    key: str
    by: str
    at: datetime
    why: Why
    sure: bool = False
    arns: frozenset[str] = frozenset()
    user_names: frozenset[str] = frozenset()
    place: Place | None = None
    event_id: str | None = None
    by_key: str | None = None
    ends_at: datetime | None = None

    def called(self, event: Event) -> bool:
        """Whether an audit event is a call of it, made since, and before that way in was taken away."""
        since = event["received_at"] >= self.at and (self.ends_at is None or event["received_at"] < self.ends_at)
        return since and (event["arn"] in self.arns or event["user_name"] in self.user_names)


class LettingIn:
    """Finds whom calls of the attacker let in."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory
        self._access = Access(store, inventory)
        self._first_of_user = dict[str, datetime | None]()
        self._is_followed = dict[str, bool]()
        self._of_trail = dict[str, list[LetIn]]()
        self._of_binding = dict[Place, list[LetIn]]()

    def follow_from(self, calls: dict[Place, Call], trail: FoundTrail, let_in: list[LetIn]) -> Iterator[AttackerRule]:
        """What makes audit events the attacker's by what the attacker did in AWS and by whom the attacker let in."""
        issued = self._followed(calls, {row["issued"]: row["event_at"] for row, _ in trail.values() if row["issued"]})
        if issued:
            says = "its access key was issued to the attacker"
            yield AttackerRule(
                "access_key_id", issued, lambda event: event["access_key_id"] in issued, says, Ground.ISSUED_KEY
            )
        for one in (one for one in let_in if one.sure):
            says = f"the attacker let {one.key} in, which had no way in before: {one.why.says}"
            if one.arns:
                yield AttackerRule("arn", set(one.arns), one.called, says, Ground.LET_IN)
            if one.user_names:
                yield AttackerRule("user_name", set(one.user_names), one.called, says, Ground.LET_IN)

    def _followed(self, calls: dict[Place, Call], issued: dict[str, datetime]) -> set[str]:
        """Of the keys that calls of the attacker issued at a time, those that nobody used in the cluster before the attacker did: where
        somebody did, the sign-in was the owner's, and the attacker has a copy. Where the log is missing between the two, nobody can tell."""
        new = sorted(issued.keys() - self._is_followed.keys())
        if new:
            hostile = dict[str, datetime]()
            for call in calls.values():
                key, at = call.event["access_key_id"], call.event["received_at"]
                if key:
                    hostile[key] = min(at, hostile.get(key, at))
            first = {
                row["access_key_id"]: row["first_at"]
                for row in self.store.rows(
                    f"SELECT access_key_id, min(first_at) AS first_at FROM {self.store.callers}"
                    " WHERE list_contains($keys, access_key_id) GROUP BY access_key_id",
                    keys=new,
                )
            }
            for key in new:
                alone = key in hostile and hostile[key] <= first[key] and self._is_recorded(issued[key], first[key])
                self._is_followed[key] = key not in hostile or alone
        return {key for key in issued if self._is_followed[key]}

    def _is_recorded(self, start: datetime, end: datetime) -> bool:
        """Whether the log has all of a stretch of time, as far as it shows."""
        return any(one["start_at"] <= start + _SECOND and end <= one["end_at"] for one in self._recorded)

    @cached_property
    def _recorded(self) -> list[dict[str, Any]]:
        return self.store.rows(
            "SELECT start_at, end_at FROM coverage WHERE source = 'audit' AND state = 'recorded' AND log_stream IS NULL"
        )

    def by(self, calls: dict[Place, Call], trail: Names) -> list[LetIn]:
        """Whom these calls (audit events by place, CloudTrail events by id) let in, oldest first."""
        found = [*self._by_mappings(calls), *self._by_bindings(calls), *self._by_aws(trail)]
        return sorted(found, key=lambda one: (one.at, one.key, one.by))

    def _by_mappings(self, calls: dict[Place, Call]) -> Iterator[LetIn]:
        by_ref = {
            self.store.event_ref(call.event): place
            for place, call in calls.items()
            if call.event["resource"] == "configmaps" and call.event["name"] == "aws-auth"
        }
        for change in self._changes if by_ref else ():
            for way in (*change.added, *change.began) if change.ref in by_ref else ():
                if way.maps_nobody:
                    continue
                arns = self._arns_of(way.name)
                before = self._called_before(arns, change.at)
                foreign = self._own_account is not None and account_of(way.name) != self._own_account
                if before or not (change.known or foreign) or way.name.endswith(":*"):
                    continue  # it called before: its line stood, or another way did
                had_entry = any(
                    one.kind == "access_entry" and principal_of(one.name) == principal_of(way.name)
                    for one in self._access.ways
                )
                says = f"a line in aws-auth, which the attacker wrote, lets it in as {way.user_name or 'its ARN'}"
                yield LetIn(
                    way.name,
                    "aws_auth",
                    change.at,
                    Why(change.ref, says),
                    not had_entry,
                    arns,
                    place=by_ref[change.ref],
                    ends_at=min(
                        (one.at for one in self._changes if one.at > change.at and way in one.removed), default=None
                    ),
                )

    def _by_bindings(self, calls: dict[Place, Call]) -> Iterator[LetIn]:
        for place, call in calls.items():
            event = call.event
            writes = event["verb"] in ("create", "patch", "update") and not event["subresource"]
            if event["resource"] in BOUND and writes and let_through(event) and not event["dry_run"]:
                if place not in self._of_binding:
                    self._of_binding[place] = list(self._by_binding(event))
                yield from self._of_binding[place]

    def _by_binding(self, event: Event) -> Iterator[LetIn]:
        (row,) = self.store.rows(
            "SELECT request_object, response_object FROM audit WHERE file = $file AND item = $item",
            file=event["file"],
            item=event["item"],
        )
        body = dict_of(json_of(row["response_object"])) or dict_of(json_of(row["request_object"]))
        role = dict_of(body.get("roleRef"))
        for one in dicts_of(body.get("subjects")):
            kind, name = str(one.get("kind")), str(one.get("name"))
            user = f"{SERVICE_ACCOUNT}{one.get('namespace') or event['namespace']}:{name}"
            key = user if kind == "ServiceAccount" else name
            says = f"{event['resource']}/{event['name']}, which the attacker wrote, gives it {role.get('kind')} {role.get('name')}"
            users = frozenset() if kind == "Group" or key in NOT_SIGNED_IN else frozenset((key,))
            first = min(filter(None, map(self._first_call_of, users)), default=None)
            # A service account has pods, which may have been quiet: rights are no way in for it.
            is_new = kind != "ServiceAccount" and (first is None or first >= event["received_at"])
            yield LetIn(
                key,
                "binding",
                event["received_at"],
                Why(self.store.event_ref(event), says),
                creates(event) and bool(users) and is_new,
                user_names=users,
                place=place_of(event),
            )

    def _by_aws(self, trail: Names) -> Iterator[LetIn]:
        new = [event_id for event_id in trail if event_id not in self._of_trail]
        if new:
            self._of_trail |= {event_id: [] for event_id in new}
            for row in self.store.rows(
                "SELECT event_id, event_at, event_source, event_name, account, arn, access_key_id, request_parameters, response_elements FROM trail"
                " WHERE list_contains($ids, event_id) AND error_code IS NULL AND NOT coalesce(read_only, false)",
                ids=new,
            ):
                made = self._by_call(row)
                self._of_trail[row["event_id"]] = [
                    replace(one, event_id=row["event_id"], by_key=row["access_key_id"]) for one in made
                ]
        for event_id in trail:
            yield from self._of_trail[event_id]

    def _by_call(self, row: dict[str, Any]) -> Iterator[LetIn]:
        asked, name = dict_of(json_of(row["request_parameters"])), str(row["event_name"])
        service = str(row["event_source"]).partition(".")[0]
        at, ref = row["event_at"], Ref.of("trail", row["event_id"])
        cluster = asked.get("name") or asked.get("clusterName")
        here = cluster is None or self.inventory.cluster is None or cluster == self.inventory.cluster
        if service == "eks" and here:
            arn = str(asked.get("principalArn") or "")
            if name in ("CreateAccessEntry", "AssociateAccessPolicy", "UpdateAccessEntry") and arn:
                arns = self._arns_of(arn)
                is_new = name == "CreateAccessEntry" and not self._called_before(arns, at) and not self._is_mapped(arn)
                yield LetIn(
                    arn,
                    "access_entry",
                    at,
                    Why(ref, f"{name}: the attacker let it into the cluster"),
                    is_new,
                    arns,
                    ends_at=self._entry_ends_at(arn, at),
                )
            elif name == "CreatePodIdentityAssociation":
                user = f"{SERVICE_ACCOUNT}{asked.get('namespace')}:{asked.get('serviceAccount')}"
                says = f"the attacker gave its pods {asked.get('roleArn')} by EKS Pod Identity"
                yield LetIn(user, "pod_identity", at, Why(ref, says))
            elif name == "AssociateIdentityProviderConfig":
                oidc = dict_of(asked.get("oidc"))
                issuer = str(oidc.get("issuerUrl") or oidc.get("identityProviderConfigName") or "an identity provider")
                yield LetIn(
                    issuer,
                    "identity_provider",
                    at,
                    Why(ref, "the attacker lets users of it into the cluster"),
                )
        elif service == "iam":
            key = dict_of(dict_of(json_of(row["response_elements"])).get("accessKey")).get("accessKeyId")
            by, says = {
                "CreateAccessKey": ("access_key", f"the attacker made access key {key or ''} of it"),
                "CreateLoginProfile": ("login_profile", "the attacker gave it a password"),
                "UpdateLoginProfile": ("login_profile", "the attacker changed its password"),
                "UpdateAssumeRolePolicy": ("trust_policy", "the attacker changed who may assume it"),
            }.get(name, ("", ""))
            kind, whose = ("role", asked.get("roleName")) if by == "trust_policy" else ("user", asked.get("userName"))
            if by and whose:
                arn = iam_arn(partition_of(row["arn"]), row["account"] or "", kind, str(whose))
                yield LetIn(arn, by, at, Why(ref, says))

    # ── what stood before ──────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _changes(self) -> list[AwsAuthChange]:
        return changes(self.store)

    @cached_property
    def _own_account(self) -> str | None:
        """The account that the cluster's nodes are in; None where no evidence tells."""
        return min(filter(None, (account_of(role) for role, _ in self.inventory.node_roles.values())), default=None)

    @cached_property
    def _seen(self) -> dict[tuple[str, str, str] | None, dict[str, datetime]]:
        """IAM principal → the ARNs that its calls in the audit log have, with the first call of each."""
        found = dict[tuple[str, str, str] | None, dict[str, datetime]]()
        for row in self.store.rows(
            f"SELECT arn, min(first_at) AS first_at FROM {self.store.callers} WHERE arn IS NOT NULL GROUP BY arn"
        ):
            found.setdefault(principal_of(row["arn"]), {})[row["arn"]] = row["first_at"]
        return found

    def _arns_of(self, principal: str) -> frozenset[str]:
        known = principal_of(principal)
        return frozenset(self._seen.get(known, ())) if known else frozenset()

    def _called_before(self, arns: Names, at: datetime) -> bool:
        return any(first < at for of_one in self._seen.values() for arn, first in of_one.items() if arn in arns)

    def _entry_ends_at(self, arn: str, at: datetime) -> datetime | None:
        """When a principal's access entry was deleted again; CloudTrail has whole seconds, so the second of it still counts."""
        ends = [end for principal, end in self._entries_deleted if principal == principal_of(arn) and end > at]
        return min(ends) + _SECOND if ends else None

    @cached_property
    def _entries_deleted(self) -> list[tuple[tuple[str, str, str] | None, datetime]]:
        rows = self.store.rows(
            "SELECT event_at, request_parameters FROM trail WHERE event_source = 'eks.amazonaws.com'"
            " AND event_name = 'DeleteAccessEntry' AND error_code IS NULL"
        )
        asked = [(dict_of(json_of(row["request_parameters"])), row["event_at"]) for row in rows]
        cluster = self.inventory.cluster
        return [
            (principal_of(str(one.get("principalArn") or "")), at)
            for one, at in asked
            if cluster in (None, one.get("name") or one.get("clusterName") or cluster)
        ]

    def _is_mapped(self, arn: str) -> bool:
        return any(one.kind == "aws_auth" and principal_of(one.name) == principal_of(arn) for one in self._access.ways)

    def user_called_before(self, one: LetIn) -> bool:
        """Whether a user or service account made a call before it was let in."""
        first = self._first_call_of(one.key)
        return first is not None and first < one.at

    def _first_call_of(self, user: str) -> datetime | None:
        if user not in self._first_of_user:
            (row,) = self.store.rows(
                f"SELECT min(first_at) AS first_at FROM {self.store.callers} WHERE user_name = $user", user=user
            )
            self._first_of_user[user] = row["first_at"]
        return self._first_of_user[user]
