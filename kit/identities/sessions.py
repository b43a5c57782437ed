"""From the cluster into AWS and back: the role sessions that pods, nodes and people got, what was done with them, from where.

Sources: IAM User Guide "CloudTrail for IAM and STS" (who asked stands in userIdentity, what was issued in responseElements); EKS User
Guide "Pod Identity" (AssumeRole by pods.eks.amazonaws.com, session tags name pod and service account) and "IAM roles for service
accounts" (AssumeRoleWithWebIdentity names the service account alone); EC2: the session name of instance credentials is the instance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from kit.inventory.addresses import Addresses
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.arn import in_words, instance_of, principal_of, signed_in_as
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.queries import groups
from kit.store.store import Store
from kit.words import Names

_IRSA_TOKEN = timedelta(
    hours=24
)  # EKS User Guide: how long a projected IRSA token is good for, also after its pod is gone
_MOST_STEPS = 10  # from one session back to who asked for it; a chain of roles is shorter
_ISSUED = (
    "SELECT event_id, event_at, event_name, user_name, principal_id, arn, access_key_id, invoked_by, source_address, identity_type,"
    " request_parameters, json_extract_string(request_parameters, '$.roleArn') AS role,"
    " json_extract_string(response_elements, '$.credentials.accessKeyId') AS issued,"
    " json_extract_string(response_elements, '$.credentials.expiration') AS expires,"
    " json_extract_string(response_elements, '$.assumedRoleUser.arn') AS session FROM trail"
)


@dataclass(frozen=True)
class Session:
    """Credentials of AWS that somebody used or was given.

    access_key_id: the key that tells them apart. kind: pod_identity, irsa, instance, saml, web_identity, role (AssumeRole by
    somebody else), key (a long-term key), unknown (its issuing is in no evidence). role: ARN of the role or IAM user.
    issued_at: UTC. by_key: the access key that asked for them. asked_by: who asked, in words. service_account: namespace/name.
    """

    access_key_id: str
    kind: str
    role: str | None
    why: Why | None
    session: str | None = None
    issued_at: datetime | None = None
    expires_at: str | None = None
    by_key: str | None = None
    asked_by: str | None = None
    from_address: str | None = None
    service_account: str | None = None
    pod_uid: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class Use:
    """What a session was used for from one address. inside: whether the address is the cluster's own; None when that cannot be told."""

    address: str
    inside: bool | None
    calls: int
    failed: int
    first_at: datetime
    last_at: datetime
    services: tuple[str, ...]
    why: Why


class Sessions:
    """The role sessions of a case: who got them, whom they lead back to, and what they did."""

    def __init__(self, store: Store, inventory: Inventory, addresses: Addresses) -> None:
        self.store = store
        self.inventory = inventory
        self.addresses = addresses

    def of_keys(self, keys: Names) -> dict[str, Session]:
        """access key → what is known of it: its issuing in CloudTrail, else what the name of its session tells."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        rows = self.store.rows_again(
            f"{_ISSUED} WHERE list_contains($keys, json_extract_string(response_elements, '$.credentials.accessKeyId'))",
            keys=wanted,
        )
        found = {row["issued"]: self._issued(row) for row in rows}
        missing = [key for key in wanted if key not in found]
        arns = dict[str, tuple[str, Ref]]()
        for table, column, kind in (("trail", "event_id", "trail"), ("audit", "audit_id", "audit")) if missing else ():
            for row in self.store.rows_again(
                f"SELECT access_key_id, min(arn) AS arn, min({column}) AS id FROM {table}"
                " WHERE list_contains($keys, access_key_id) AND arn IS NOT NULL GROUP BY access_key_id",
                keys=missing,
            ):
                arns.setdefault(row["access_key_id"], (row["arn"], Ref.of(kind, row["id"])))
        return found | {key: self._used(key, *arns[key]) for key in missing if key in arns}

    def _issued(self, row: dict[str, Any]) -> Session:
        asked_by, kind = row["arn"] or row["user_name"] or row["invoked_by"], "role"
        session = Session(row["issued"], kind, self.inventory.full_arn(row["role"]), None, row["session"])
        if row["event_name"] == "AssumeRole" and row["invoked_by"] == "pods.eks.amazonaws.com":
            tags = _tags(row["request_parameters"])
            account = f"{tags.get('kubernetes-namespace')}/{tags.get('kubernetes-service-account')}"
            pod = tags.get("kubernetes-pod-uid")
            says = f"EKS Pod Identity gave {row['role']} to pod {tags.get('kubernetes-namespace')}/{tags.get('kubernetes-pod-name')}"
            is_ours = self.inventory.cluster in (None, tags.get("eks-cluster-name", self.inventory.cluster))
            session = replace(session, kind="pod_identity")
            session = replace(session, service_account=account, pod_uid=pod) if tags and is_ours else session
        elif self._is_irsa(row):
            account = row["user_name"].removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
            says = f"{row['role']} was given to a token of service account {account} at {row['source_address']}"
            session = replace(session, kind="irsa", service_account=account)
        else:
            kind = {"AssumeRoleWithSAML": "saml", "AssumeRoleWithWebIdentity": "web_identity"}.get(
                row["event_name"], kind
            )
            says = (
                f"{row['event_name']}: {row['role'] or 'a session'} was given to {asked_by} at {row['source_address']}"
            )
            session = replace(session, kind=kind)
        return replace(
            session,
            why=Why(Ref.of("trail", row["event_id"]), says),
            issued_at=row["event_at"],
            expires_at=row["expires"],
            by_key=row["access_key_id"],
            asked_by=asked_by,
            from_address=row["source_address"],
        )

    def _is_irsa(self, row: dict[str, Any]) -> bool:
        """Whether a sign-in is with the token of a service account of this cluster: other clusters of the account have accounts of the
        same names."""
        issuer, principal = self.inventory.token_issuer, row["principal_id"]
        is_ours = issuer is None or principal is None or issuer in principal
        is_account = str(row["user_name"]).startswith(SERVICE_ACCOUNT)
        return row["event_name"] == "AssumeRoleWithWebIdentity" and is_account and is_ours

    def _used(self, key: str, arn: str, ref: Ref) -> Session:
        instance, role = instance_of(arn), self.inventory.full_arn(signed_in_as(arn))
        if instance:
            node = self.inventory.node_of_instance.get(instance)
            says = f"credentials of instance {instance}" + (f", which is node {node}" if node else "")
            return Session(key, "instance", role, Why(ref, says), arn, asked_by=instance, node=node)
        if key.startswith("AKIA"):  # IAM User Guide, "IAM identifiers", unique ID prefixes
            return Session(key, "key", role, Why(ref, f"a long-term key of {in_words(role)}"), arn)
        return Session(key, "unknown", role, Why(ref, f"a session {arn}; its issuing is in no evidence"), arn)

    def chain(self, key: str) -> list[Session]:
        """From a key back to where it came from: the session itself, the one that asked for it, and so on."""
        steps, wanted = list[Session](), str(key)
        while wanted and len(steps) < _MOST_STEPS and wanted not in {step.access_key_id for step in steps}:
            session = self.of_keys([wanted]).get(wanted)
            if session is None:
                break
            steps.append(session)
            wanted = session.by_key or ""
        return steps

    def issued_to(self, accounts: Names, pods: Names, nodes: Names) -> list[Session]:
        """The sessions that CloudTrail saw issued to service accounts (namespace/name) and pods (uid), and those of nodes' instances."""
        users = [SERVICE_ACCOUNT + account.replace("/", ":", 1) for account in accounts]
        rows = self.store.rows_again(
            f"{_ISSUED} WHERE error_code IS NULL AND json_extract_string(response_elements, '$.credentials.accessKeyId') IS NOT NULL"
            " AND (event_name = 'AssumeRoleWithWebIdentity' AND list_contains($users, user_name)"
            " OR event_name = 'AssumeRole' AND invoked_by = 'pods.eks.amazonaws.com') ORDER BY event_at, event_id",
            users=users,
        )
        found = [self._issued(row) for row in rows]
        kept = [
            one for one in found if one.kind == "irsa" or one.pod_uid in pods or one.service_account in set(accounts)
        ]
        return kept + self._of_nodes(nodes)

    def _of_nodes(self, nodes: Names) -> list[Session]:
        instances = [instance for instance, node in self.inventory.node_of_instance.items() if node in nodes]
        if not instances:
            return []
        rows = groups(
            self.store,
            "trail",
            ("access_key_id",),
            "access_key_id IS NOT NULL AND list_contains($instances, regexp_extract(arn, '/(i-[0-9a-f]+)$', 1))",
            more="min(arn) AS arn",
            order="access_key_id",
            instances=instances,
        )
        return [self._used(row["access_key_id"], row["arn"], Ref.of("trail", row["first"]["event_id"])) for row in rows]

    def uses(self, keys: Names) -> dict[str, list[Use]]:
        """access key → what CloudTrail saw it used for, one entry an address, oldest first."""
        if not keys:
            return {}
        found = dict[str, list[Use]]()
        for row in groups(
            self.store,
            "trail",
            ("access_key_id", "source_address"),
            "list_contains($keys, access_key_id)",
            more="count(error_code) AS failed, list_sort(list(DISTINCT split_part(event_source, '.', 1) || ':' || event_name)) AS services",
            order="first_at, source_address, access_key_id",
            keys=sorted(set(keys)),
        ):
            address, services = str(row["source_address"]), tuple(row["services"])
            inside, says = self.is_inside(address), f"{row['calls']} calls from {address}"
            if inside is False:
                says += ", which is not an address of the cluster"
            use = Use(
                address,
                inside,
                row["calls"],
                row["failed"],
                row["first_at"],
                row["last_at"],
                services,
                Why(Ref.of("trail", row["first"]["event_id"]), says),
            )
            found.setdefault(row["access_key_id"], []).append(use)
        return found

    def used_before(self, session: Session, addresses: Names, before: datetime | None) -> set[str]:
        """Those of some addresses that other sessions of the same role came from, before a moment, or ever without one."""
        return {
            row["source_address"]
            for row in self.store.rows_again(
                "SELECT DISTINCT source_address, arn FROM trail WHERE list_contains($addresses, source_address)"
                " AND access_key_id <> $key AND ($before::TIMESTAMPTZ IS NULL OR event_at < $before::TIMESTAMPTZ) AND arn IS NOT NULL",
                addresses=sorted(addresses),
                key=session.access_key_id,
                before=before,
            )
            if principal_of(row["arn"]) == principal_of(session.role)
        }

    def is_inside(self, address: str) -> bool | None:
        """Whether CloudTrail's address of a call is the cluster's own: None when its way out is not known, or AWS itself called."""
        if address in self.addresses.own:
            return True
        if address.endswith(".amazonaws.com") or address == "AWS Internal":
            return None
        return False if self.addresses.way_out else None

    def pods_of(self, session: Session) -> list[tuple[Thing, bool]]:
        """Back from a session to the pods that may have used it, each with whether that is sure: the pod that Pod Identity names; of
        IRSA the pods of the service account then, sure when there was one; of an instance the pods on it, not sure."""
        pods, at = self.inventory.pods, session.issued_at
        if session.pod_uid:
            return [(pod, True) for pod in pods if pod.uid == session.pod_uid]
        if session.service_account:
            under = [
                pod
                for pod in self._by_account.get(session.service_account, ())
                if at is None or pod.existed(at - _IRSA_TOKEN, at + timedelta(seconds=1))
            ]
            return [(pod, len(under) == 1 and self._shows_all_pods(session)) for pod in under]
        return [(pod, False) for pod in pods if session.node and pod.node == session.node]

    def _shows_all_pods(self, session: Session) -> bool:
        """Whether the evidence would show every pod of the session's service account then: a dump of its namespace, and the log."""
        namespace = (session.service_account or "").partition("/")[0]
        began = self._log_began
        in_log = bool(began and session.issued_at and session.issued_at - _IRSA_TOKEN >= began)
        return in_log and self.inventory.token_issuer is not None and self.inventory.is_dumped("pods", namespace)

    @cached_property
    def _log_began(self) -> datetime | None:
        (row,) = self.store.rows_again(f"SELECT min(first_at) AS began FROM {self.store.callers}")
        began: datetime | None = row["began"]
        return began

    @cached_property
    def _by_account(self) -> dict[str, list[Thing]]:
        found = dict[str, list[Thing]]()
        for pod in self.inventory.pods:
            if pod.service_account:
                found.setdefault(pod.service_account, []).append(pod)
        return found


def _tags(text: str | None) -> dict[str, str]:
    return {str(tag.get("key")): str(tag.get("value")) for tag in dicts_of(dict_of(json_of(text)).get("tags"))}
