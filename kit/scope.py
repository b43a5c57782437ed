"""From a finding to what is affected: subjects, each with its why; the attacker's calls; and what cannot be told.

The rules, which docs/decisions.md explains:
* What kit.attacker takes for the attacker's calls makes the deeds; a `Policy:` finding alone does not make its caller an attacker.
* `affected` is acted on, `possible` is looked at. What an identity minted by the finding's caller did carries `through`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from kit.attacker import Attacker, Event, address_of, is_dry_run, let_through, place_of
from kit.finding import Finding
from kit.identity import Identity, identity_of, role_of
from kit.inventory import Inventory, Thing, Why, in_window
from kit.refs import Ref
from kit.store import Store
from kit.window import Window

USER = "resource.kubernetesDetails.kubernetesUserDetails.username"
WORKLOAD = "resource.kubernetesDetails.kubernetesWorkloadDetails"
API_CALL = "service.action.kubernetesApiCallAction"
BINDING = "service.action.kubernetesRoleBindingDetails"
INSTANCE = "resource.instanceDetails.instanceId"
ACCESS_KEY = "resource.accessKeyDetails"
SEQUENCE = "service.detection.sequence"

# kubectl opens exec over WebSocket, whose handshake is an HTTP GET (audit verb "get"); older clients POST ("create"). KEP-4006.
RUNS_COMMANDS = ("exec", "attach", "portforward")
# Questions to the API server that store nothing.
REVIEWS = {
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "tokenreviews",
}
AUDIT_LOG = "the EKS audit log (log group /aws/eks/CLUSTER/cluster, streams kube-apiserver-audit-*) of that time"


@dataclass
class Subject:
    """Something affected, or possibly so. Fields as in the scope's JSON contract (docs/json.md)."""

    kind: str
    key: str
    certainty: str
    why: list[Why]
    thing: Thing | None = None
    through: Ref | None = None


@dataclass(frozen=True)
class Limit:
    """What cannot be told: about which kinds of subjects, when, why, and what to collect to be able to tell."""

    about: tuple[str, ...]
    says: str
    collect: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass
class FindingScope:
    """What one finding affects."""

    finding: Finding
    window: Window | None
    subjects: dict[tuple[str, str, str | None], Subject] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    aws_calls: dict[str, None] = field(default_factory=dict)
    limits: list[Limit] = field(default_factory=list)

    def add(
        self,
        kind: str,
        key: str | None,
        why: Why | Iterable[Why],
        *,
        certainty: str = "affected",
        thing: Thing | None = None,
        through: Ref | None = None,
    ) -> None:
        """Add a subject, or another reason to one that is there; affected wins over possible."""
        if not key:
            return
        reasons = [why] if isinstance(why, Why) else list(why)
        present = self.subjects.get((kind, key, through))
        if present is None:
            self.subjects[(kind, key, through)] = Subject(kind, key, certainty, reasons, thing, through)
            return
        if certainty == "affected" and present.certainty == "possible":
            present.certainty, present.why = certainty, []
        if certainty == present.certainty:
            present.why += [reason for reason in reasons if reason not in present.why]


class Scope:
    """The scope of a case's findings. start, end: UTC, end excluded; without them the window is all that the audit log covers."""

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        findings: list[Finding],
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self.store = store
        self.inventory = inventory
        self.chosen = findings
        self.attacker = Attacker(store, inventory)
        self.window = self._window(start, end)

    def _window(self, start: datetime | None, end: datetime | None) -> Window | None:
        (covered,) = self.store.rows("SELECT min(received_at) AS first_at, max(received_at) AS last_at FROM audit")
        first, last = start or covered["first_at"], end or covered["last_at"]
        if first is None or last is None:
            return None
        if end is None:
            last = datetime.fromtimestamp(last.timestamp() + 1e-6, UTC)  # the last event itself is inside
        return Window(first, max(first, last))

    # ── what is affected ───────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def scopes(self) -> list[FindingScope]:
        """One scope for each chosen finding."""
        return [self._of(finding, set()) for finding in self.chosen]

    def _of(self, finding: Finding, above: set[str]) -> FindingScope:
        scope = FindingScope(finding, self.window)
        if finding.sample:
            says = "This is a sample finding: AWS made it for practice, and nothing in it exists"
            scope.limits.append(Limit(("pod", "node", "identity"), says, "nothing: archive it"))
            return scope
        if not finding.about_eks:
            says = f"A finding of type {finding.type} is not about EKS: it is outside this kit"
            scope.limits.append(Limit(("pod", "node", "identity"), says, "use the guidance of its own finding type"))
            return scope
        if finding.sequence:
            self._add_sequence(scope, above | {finding.id})
        else:
            pods = [
                *self._named_pods(scope),
                *self._callers_pods(scope),
                *self._bound_pods(scope),
                *self._node_pods(scope),
            ]
            self._add_pods(scope, pods)
            self._add_deeds(scope)
        self._add_possible(scope)
        self._add_limits(scope)
        return scope

    def _named_pods(self, scope: FindingScope) -> list[tuple[Thing, Why, bool]]:
        """Pods that the finding names: itself, through its workload, or behind its service."""
        finding, workload = scope.finding, scope.finding.workload
        if not workload:
            return []
        kind, name, uid = str(workload.get("Type", "")).lower(), workload.get("Name"), workload.get("Uid") or None
        namespace = workload.get("Namespace")
        return self._pods_named(
            scope, finding.ref(f"{WORKLOAD}.uid" if uid else f"{WORKLOAD}.name"), kind, namespace, name, uid
        )

    def _pods_named(
        self, scope: FindingScope, ref: Ref, kind: str, namespace: Any, name: Any, uid: str | None
    ) -> list[tuple[Thing, Why, bool]]:
        said = f"{kind} {namespace}/{name}"
        if kind == "pods":
            known = self.inventory.things.get(uid or "")
            if known:
                return [(known, Why(ref, f"the finding names this pod by uid {uid}"), True)]
            if uid:
                pod = Thing("pods", namespace, name, uid, body=self._body_in_finding(scope.finding), partial=True)
                says = f"the finding names this pod by uid {uid}; no other evidence shows it"
                return [(pod, Why(ref, says), True)]
            named = self._alive(scope, self.inventory.named("pods", namespace, name))
            says = f"the finding names {said}, without a uid"
            return [(pod, Why(ref, says), len(named) == 1) for pod in named]
        if kind == "services":
            return self._pods_behind(ref, namespace, name, uid)
        owned = self.inventory.pods_of_workload(kind, namespace, str(name), uid)
        return [
            (pod, Why(ref, f"it belonged to {said}, which the finding names"), sure or not uid) for pod, sure in owned
        ]

    def _alive(self, scope: FindingScope, things: list[Thing]) -> list[Thing]:
        """Of objects with one name, those that existed when the finding's event happened; all when that leaves none."""
        at = scope.finding.last_seen_at
        alive = [thing for thing in things if at and thing.existed(at, at)]
        return alive or things

    def _body_in_finding(self, finding: Finding) -> dict[str, Any]:
        workload = finding.workload
        containers = [{"image": one.get("Image")} for one in workload.get("Containers") or [] if isinstance(one, dict)]
        spec: dict[str, Any] = {"containers": containers}
        if workload.get("ServiceAccountName"):
            spec["serviceAccountName"] = workload["ServiceAccountName"]
        return {"metadata": {}, "spec": spec}

    def _pods_behind(self, ref: Ref, namespace: Any, name: Any, uid: str | None) -> list[tuple[Thing, Why, bool]]:
        known = self.inventory.things.get(uid or "")
        services = [known] if known else self.inventory.named("services", namespace, name)
        found = list[tuple[Thing, Why, bool]]()
        for service in services:
            selector = service.spec.get("selector") or {}
            for pod in self.inventory.pods:
                if selector and pod.namespace == service.namespace and selector.items() <= pod.labels.items():
                    says = f"service {service.namespace}/{service.name}, which the finding names, selects it"
                    found.append((pod, Why(ref, says), True))
        return found

    def _caller(self, finding: Finding) -> Identity | None:
        user = finding.user
        if not user.get("Username"):
            return None
        arn = self._caller_arn(finding)
        return identity_of(str(user["Username"]), user.get("Uid"), arn[0] if arn else None, user.get("Groups"))

    def _caller_arn(self, finding: Finding) -> tuple[str, Why] | None:
        """The ARN of the IAM role or user behind the caller, and what says so."""
        for event in self.attacker.own_call(finding):
            if event["arn"]:
                role = role_of(event["arn"])
                if role:
                    return role, Why(
                        Ref.of("audit", event["audit_id"]), f"{event['user_name']} was signed in as {event['arn']}"
                    )
        key, account = finding.access_key, finding.account
        name, kind = key.get("UserName"), key.get("UserType")
        if name and account and kind in ("AssumedRole", "Role", "IAMUser"):
            word = "user" if kind == "IAMUser" else "role"
            partition = (finding.arn or "arn:aws:").split(":")[1] or "aws"
            arn = f"arn:{partition}:iam::{account}:{word}/{name}"
            return arn, Why(finding.ref(f"{ACCESS_KEY}.userName"), f"the finding names {kind} {name}")
        return None

    def _callers_pods(self, scope: FindingScope) -> list[tuple[Thing, Why, bool]]:
        """The caller itself, its role, and the pods under its service account or on its node."""
        finding = scope.finding
        caller = self._caller(finding)
        if caller is None:
            return []
        ref = finding.ref(USER)
        hostile = self._is_hostile(self.attacker.own_call(finding))
        guilty = "possible" if finding.is_policy and not hostile else "affected"
        scope.add("identity", caller.user_name, Why(ref, "the finding names it as the caller"), certainty=guilty)
        address = address_of(finding.api_call)
        if address:
            why = Why(finding.ref(f"{API_CALL}.remoteIpDetails"), "the finding's call came from it")
            scope.add("source_ip", address, why, certainty=guilty)
        arn = self._caller_arn(finding)
        if arn:
            scope.add("iam_role", arn[0], arn[1], certainty=guilty)
        if caller.service_account:
            scope.add(
                "service_account", caller.service_account, Why(ref, "it is the finding's caller"), certainty=guilty
            )
            says = f"it runs under {caller.service_account}, the finding's caller"
            return self._pods_under(caller.service_account, ref, says, guilty == "affected")
        if caller.node and guilty == "affected":
            return self._pods_on(scope, caller.node, ref, f"it ran on {caller.node}, whose credential made the call")
        return []

    def _pods_under(self, account: str, ref: Ref, says: str, sure: bool = True) -> list[tuple[Thing, Why, bool]]:
        return [(pod, Why(ref, says), sure) for pod in self.inventory.pods if pod.service_account == account]

    def _pods_on(self, scope: FindingScope, node: str, ref: Ref, says: str) -> list[tuple[Thing, Why, bool]]:
        scope.add("node", node, Why(ref, "the finding is about this node itself"))
        role = self.inventory.node_roles.get(node)
        if role:
            scope.add("iam_role", role[0], role[1])
        return [(pod, Why(ref, says), True) for pod in self.inventory.pods if pod.node == node]

    def _bound_pods(self, scope: FindingScope) -> list[tuple[Thing, Why, bool]]:
        """Pods under the service accounts that a role binding, made by the finding's call, gives rights to."""
        details = scope.finding.role_binding
        if not details:
            return []
        known = self.inventory.things.get(str(details.get("Uid")))
        kind = "clusterrolebindings" if details.get("Kind") == "ClusterRoleBinding" else "rolebindings"
        namespace = scope.finding.api_call.get("Namespace") if kind == "rolebindings" else None
        bindings = [known] if known else self._alive(scope, self.inventory.named(kind, namespace, details.get("Name")))
        found = list[tuple[Thing, Why, bool]]()
        for binding in bindings:
            for account in self.inventory.bound_accounts(binding):
                ref = binding.why[0].ref if binding.why else scope.finding.ref(BINDING)
                scope.add("service_account", account, Why(ref, f"{binding.path} gives it {details.get('RoleRefName')}"))
                found += self._pods_under(
                    account, ref, f"it runs under {account}, to which {binding.path} gives rights"
                )
        if not bindings:
            says = f"Which identities {kind} {details.get('Name')} gives rights to cannot be told: no evidence holds its body"
            scope.limits.append(Limit(("service_account", "pod"), says, f"{AUDIT_LOG}, or a cluster dump"))
        return found

    def _node_pods(self, scope: FindingScope) -> list[tuple[Thing, Why, bool]]:
        """All pods on the node, when the finding names its instance and no workload."""
        finding = scope.finding
        if finding.workload or not finding.instance_id or finding.resource_type != "Instance":
            return []
        return self._pods_on_instance(scope, finding.instance_id, finding.ref(INSTANCE))

    def _pods_on_instance(self, scope: FindingScope, instance: str, ref: Ref) -> list[tuple[Thing, Why, bool]]:
        node = self.inventory.node_of_instance.get(instance)
        if node is None:
            says = f"Which node instance {instance} is cannot be told"
            what = "`kubectl get nodes -o json` or `aws ec2 describe-instances`"
            scope.limits.append(Limit(("node", "pod"), says, what))
            return []
        return self._pods_on(scope, node, ref, f"it ran on {node}, which is instance {instance}")

    def _add_pods(self, scope: FindingScope, pods: list[tuple[Thing, Why, bool]]) -> None:
        """The pods of the window with their nodes, service accounts, images and roles."""
        start, end = (self.window.start, self.window.end) if self.window else (None, None)
        for pod, why, sure in pods:
            if not in_window([pod], start, end):
                continue
            certainty = "affected" if sure else "possible"
            proof = pod.why or (why,)
            label = f"{pod.namespace}/{pod.name}"
            scope.add("pod", pod.uid, [why, *proof], certainty=certainty, thing=pod)
            if pod.node:
                scope.add("node", pod.node, Why(proof[-1].ref, f"pod {label} ran on it"), certainty=certainty)
            account = pod.service_account
            if account:
                scope.add(
                    "service_account", account, Why(proof[0].ref, f"pod {label} ran under it"), certainty=certainty
                )
                for role, reason in self.inventory.service_account_roles.get(account, {}).items():
                    scope.add("iam_role", role, Why(reason.ref, f"{account}: {reason.says}"), certainty=certainty)
            for image in pod.images:
                scope.add("image", image, Why(proof[0].ref, f"pod {label} ran it"), certainty=certainty)
        for kind, account, _ in list(scope.subjects):
            if kind == "service_account":
                subject = scope.subjects[(kind, account, None)]
                for role, reason in self.inventory.service_account_roles.get(account, {}).items():
                    scope.add(
                        "iam_role", role, Why(reason.ref, f"{account}: {reason.says}"), certainty=subject.certainty
                    )

    # ── what the caller did ────────────────────────────────────────────────────────────────────────────────────────

    def _add_deeds(self, scope: FindingScope) -> None:
        finding = scope.finding
        user = finding.user.get("Username")
        if not user:
            return
        own = self.attacker.own_call(finding)
        if finding.is_policy:
            for event in own:
                self._add_deed(scope, event, None)
        if finding.is_policy and not self._is_hostile(own):
            return
        followed = [event for event in self.attacker.follow(str(user)) if self._inside(event["received_at"])]
        for event in followed:
            scope.calls.setdefault(event["audit_id"])
            through = None if event["user_name"] == user else Ref.of("identity", event["user_name"] or "unknown")
            self._add_deed(scope, event, through)
        addresses = {event["source_address"] for event in followed} & self.attacker.addresses
        keys = {event["access_key_id"] for event in followed} - {None}
        for event_id, (row, _) in self.attacker.trail.items():
            if row["source_address"] in addresses or keys & {row["access_key_id"], row["issued"]}:
                scope.aws_calls.setdefault(event_id)

    def _is_hostile(self, events: list[Event]) -> bool:
        return any(place_of(event) in self.attacker.calls for event in events)

    def _inside(self, at: datetime) -> bool:
        return self.window is not None and self.window.start <= at < self.window.end

    def _add_deed(self, scope: FindingScope, event: Event, through: Ref | None) -> None:
        """The subject that an event that was let through makes: read, created, changed, deleted, ran a command, minted."""
        if not let_through(event) or not event["resource"] or is_dry_run(event):
            return
        ref = Ref.of("audit", event["audit_id"])
        verb, resource, subresource = event["verb"], event["resource"], event["subresource"]
        when = f"{event['received_at']:%Y-%m-%d %H:%M:%S} UTC by {event['user_name']} from {event['source_address']}"
        path = "/".join(part for part in (resource, event["namespace"], event["name"]) if part)

        def add(kind: str, key: str, says: str, certainty: str = "affected") -> None:
            thing = self.inventory.things.get(event["uid"] or "") if kind not in ("secret", "token") else None
            scope.add(kind, key, Why(ref, f"{says} {when}"), thing=thing, through=through, certainty=certainty)

        if resource == "secrets" and not subresource and verb in ("get", "list", "watch"):
            for key, certainty in self._secrets_read(scope, event):
                add("secret", key, "named in a list" if verb != "get" else "read", certainty)
        elif resource == "serviceaccounts" and subresource == "token":
            add("token", f"{event['namespace']}/{event['name']}", "a token for it was minted")
        elif subresource in RUNS_COMMANDS:
            command = parse_qs(urlsplit(event["request_uri"] or "").query).get("command", [])
            add("exec", path, f"{subresource}: {' '.join(command)}" if command else subresource)
        elif subresource == "eviction" or verb == "delete":
            add("deleted", path, "deleted" if verb == "delete" else "evicted")
        elif verb == "deletecollection":
            for key in self._deleted_by(scope, event):
                add("deleted", key, "deleted with others of its kind")
        elif verb == "create" and not subresource and resource not in REVIEWS:
            add("created", path, "created")
        elif verb in ("update", "patch"):
            created = event["response_code"] == 201 and not subresource
            add("created" if created else "changed", path, "created" if created else "changed")

    def _secrets_read(self, scope: FindingScope, event: Event) -> list[tuple[str, str]]:
        """namespace/name of the secrets that a read returned, each with its certainty; a list returns all there were then."""
        if event["verb"] == "get" and event["name"]:
            return [(f"{event['namespace']}/{event['name']}", "affected")]
        query = parse_qs(urlsplit(event["request_uri"] or "").query)
        only = event["name"] or _field(query, "metadata.name")
        certainty = "possible" if "labelSelector" in query else "affected"
        found = list[tuple[str, str]]()
        for secret in self._secrets:
            asked_for = event["namespace"] in (None, "", secret.namespace) and only in (None, secret.name)
            if asked_for and secret.existed(event["received_at"], event["received_at"]):
                found.append((f"{secret.namespace}/{secret.name}", certainty))
        if not any(thing.standing for thing in self._secrets):
            says = "Which secrets a list returned cannot be told in full: no cluster dump names the secrets"
            scope.limits.append(Limit(("secret",), says, "`kubectl get secrets -A` (names suffice)"))
        return found

    @cached_property
    def _secrets(self) -> list[Thing]:
        """All secrets by the dump and by the names in the log, where bodies and uids are not logged (Metadata level)."""
        known = {(thing.namespace, thing.name): thing for thing in self.inventory.of("secrets")}
        for row in self.store.rows(
            "SELECT namespace, name, min(received_at) FILTER (verb = 'create') AS created_at,"
            " max(received_at) FILTER (verb = 'delete') AS deleted_at, min_by(audit_id, received_at) AS audit_id FROM audit"
            " WHERE resource = 'secrets' AND name IS NOT NULL AND response_code BETWEEN 200 AND 299"
            " AND NOT contains(request_uri, 'dryRun=All') GROUP BY namespace, name"
        ):
            if (row["namespace"], row["name"]) not in known:
                why = (Why(Ref.of("audit", row["audit_id"]), "named in the audit log"),)
                known[(row["namespace"], row["name"])] = Thing(
                    "secrets", row["namespace"], row["name"], "", row["created_at"], row["deleted_at"], why=why
                )
        return list(known.values())

    def _deleted_by(self, scope: FindingScope, event: Event) -> list[str]:
        """What a deletecollection deleted: the items of its response, when the log has it."""
        (row,) = self.store.rows(
            "SELECT response_object FROM audit WHERE file = $file AND item = $item",
            file=event["file"],
            item=event["item"],
        )
        body = orjson.loads(row["response_object"] or "{}")
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list):
            what = f"{event['resource']} in {event['namespace'] or 'all namespaces'}"
            says = f"Which {what} a deletecollection deleted cannot be told: the response was not logged"
            scope.limits.append(Limit(("deleted",), says, "a cluster dump from before", event["received_at"]))
            return []
        named = [item.get("metadata") or {} for item in items if isinstance(item, dict)]
        return [
            "/".join(part for part in (event["resource"], one.get("namespace"), one.get("name")) if part)
            for one in named
        ]

    # ── attack sequences, possible subjects, limits ────────────────────────────────────────────────────────────────

    def _add_sequence(self, scope: FindingScope, above: set[str]) -> None:
        """The union of what the findings among the signals affect, and the sequence's own resources."""
        by_arn = {finding.arn: finding for finding in self.attacker.findings} | {
            finding.id: finding for finding in self.attacker.findings
        }
        missing = list[str]()
        for signal in scope.finding.sequence.get("Signals") or []:
            if signal.get("Type") == "CLOUD_TRAIL":
                if signal.get("Uid") in self.attacker.trail:
                    scope.aws_calls.setdefault(signal["Uid"])
                continue
            if signal.get("Type") != "FINDING":
                continue
            uid = str(signal.get("Uid"))
            finding = by_arn.get(uid) or by_arn.get(uid.rsplit("/", 1)[-1])
            if finding is None:
                missing.append(uid.rsplit("/", 1)[-1])
            elif finding.id not in above:
                part = self._of(finding, above)
                for subject in part.subjects.values():
                    scope.add(
                        subject.kind,
                        subject.key,
                        subject.why,
                        certainty=subject.certainty,
                        thing=subject.thing,
                        through=subject.through,
                    )
                scope.calls |= part.calls
                scope.aws_calls |= part.aws_calls
                scope.limits += [limit for limit in part.limits if limit not in scope.limits]
        if missing:
            says = f"{len(missing)} findings among the signals are not in this case: {', '.join(missing)}"
            scope.limits.append(Limit(("pod", "identity"), says, "`aws guardduty get-findings` for these ids"))
        pods = list[tuple[Thing, Why, bool]]()
        for number, resource in enumerate(scope.finding.sequence.get("Resources") or []):
            ref = scope.finding.ref(f"{SEQUENCE}.resources[{number}]")
            data, kind = resource.get("Data") or {}, resource.get("ResourceType")
            if kind == "KUBERNETES_WORKLOAD":
                workload = data.get("KubernetesWorkload") or {}
                plural = str(workload.get("KubernetesResourcesTypes", "")).lower()
                pods += self._pods_named(
                    scope, ref, plural, workload.get("Namespace"), resource.get("Name"), resource.get("Uid")
                )
            elif kind == "EC2_INSTANCE":
                pods += self._pods_on_instance(scope, str(resource.get("Uid")).rsplit("/", 1)[-1], ref)
            elif kind == "ACCESS_KEY":
                key = data.get("AccessKey") or {}
                word = "user" if key.get("UserType") == "IAMUser" else "role"
                if key.get("UserName") and resource.get("AccountId"):
                    partition = resource.get("CloudPartition") or "aws"
                    arn = f"arn:{partition}:iam::{resource['AccountId']}:{word}/{key['UserName']}"
                    scope.add(
                        "iam_role", arn, Why(ref, f"access key {resource.get('Uid')} is among the sequence's resources")
                    )
            elif kind == "CONTAINER" and (data.get("Container") or {}).get("Image"):
                scope.add("image", data["Container"]["Image"], Why(ref, "it is among the sequence's resources"))
        self._add_pods(scope, pods)

    def _add_possible(self, scope: FindingScope) -> None:
        """What has to be looked at: neighbours on a node that a container reached, the same images elsewhere, node roles."""
        start, end = (self.window.start, self.window.end) if self.window else (None, None)
        sure = [one for one in scope.subjects.values() if one.certainty == "affected"]
        reached = dict[str, Why]()
        for subject in sure:
            pod = subject.thing
            if subject.kind == "pod" and pod and pod.node and pod.host_access:
                says = f"pod {pod.namespace}/{pod.name} reaches its node ({pod.host_access})"
                reached.setdefault(pod.node, Why((pod.why or tuple(subject.why))[0].ref, says))
        images = {subject.key: subject.why[0] for subject in sure if subject.kind == "image"}
        neighbours = list[tuple[Thing, Why, bool]]()
        for pod in in_window(self.inventory.pods, start, end):
            if pod.node in reached:
                neighbours.append((pod, reached[pod.node], False))
            for image in pod.images:
                if image in images and ("pod", pod.uid, None) not in scope.subjects:
                    says = f"it runs the image {image} too (compared by name; a digest would be sure)"
                    scope.add("pod", pod.uid, Why(images[image].ref, says), certainty="possible", thing=pod)
        self._add_pods(scope, neighbours)
        for subject in list(scope.subjects.values()):
            role = self.inventory.node_roles.get(subject.key) if subject.kind == "node" else None
            if role:
                says = f"{role[1].says}; a pod may reach it through the instance metadata service"
                scope.add("iam_role", role[0], Why(role[1].ref, says), certainty="possible")

    def _add_limits(self, scope: FindingScope) -> None:
        """What the evidence does not reach for this finding."""
        finding, limits = scope.finding, scope.limits
        deeds = ("secret", "created", "changed", "deleted", "exec", "token")
        if self.window is None:
            says = "There is no audit log: what the caller did, and which pods existed, cannot be told"
            limits.append(Limit((*deeds, "pod", "node", "identity"), says, AUDIT_LOG))
        else:
            if finding.first_seen_at and finding.first_seen_at < self.window.start:
                says = f"The finding was first seen {_utc(finding.first_seen_at)}, before the window begins: what happened until then cannot be told"
                limits.append(Limit((*deeds, "pod"), says, AUDIT_LOG, finding.first_seen_at, self.window.start))
            if finding.last_seen_at and finding.last_seen_at >= self.window.end:
                says = f"The finding was last seen {_utc(finding.last_seen_at)}, after the window ends: what happened since cannot be told"
                limits.append(Limit((*deeds, "pod"), says, AUDIT_LOG, self.window.end, finding.last_seen_at))
            if finding.api_call and not self.attacker.own_call(finding):
                says = "The finding's own call is not in the audit log: log and finding do not meet, so its caller's deeds cannot be told in full"
                limits.append(Limit((*deeds, "identity"), says, AUDIT_LOG, finding.first_seen_at, finding.last_seen_at))
            for gap in self.store.rows(
                "SELECT start_at, end_at FROM coverage WHERE source = 'audit' AND state = 'gap' ORDER BY start_at"
            ):
                if gap["start_at"] < self.window.end and gap["end_at"] > self.window.start:
                    says = f"The audit log is silent from {_utc(gap['start_at'])} to {_utc(gap['end_at'])}"
                    limits.append(Limit((*deeds, "pod"), says, AUDIT_LOG, gap["start_at"], gap["end_at"]))
            (lost,) = self.store.rows(
                "SELECT count(*) AS n FROM rejects WHERE file IN (SELECT DISTINCT file FROM audit)"
            )
            if lost["n"]:
                says = f"{lost['n']} lines of the audit log could not be read; what they held cannot be told"
                limits.append(
                    Limit((*deeds, "pod"), says, "the same log again, undamaged", self.window.start, self.window.end)
                )
        if not any(thing.standing for thing in self.inventory.things.values()):
            says = "There is no cluster dump: what still stands, and objects older than the log, cannot be told"
            limits.append(
                Limit(("pod", "node", "service_account", "secret", "iam_role"), says, "`kubectl get ... -A -o json`")
            )
        if not self.store.rows("SELECT 1 FROM trail LIMIT 1"):
            says = "There is no CloudTrail: what was done in AWS with the roles cannot be told"
            limits.append(
                Limit(("iam_role",), says, "CloudTrail management events of account and region for that time")
            )
        if any(kind == "exec" for kind, _, _ in scope.subjects):
            says = (
                "What was typed in an interactive session cannot be told: the audit log has its first command line only"
            )
            limits.append(Limit(("exec",), says, "Runtime Monitoring findings, or the container's own logs"))
        shared = self._shared_addresses(scope)
        if shared:
            says = (
                f"Others use {', '.join(shared)} too: calls from there are told apart by identity and user agent alone"
            )
            limits.append(Limit(("source_ip", "identity"), says, "network logs that tell the machines behind it apart"))

    def _shared_addresses(self, scope: FindingScope) -> list[str]:
        events = (event for event, _ in self.attacker.calls.values() if event["audit_id"] in scope.calls)
        return sorted({event["source_address"] for event in events} - {None} - self.attacker.addresses)


def _field(query: dict[str, list[str]], name: str) -> str | None:
    for selector in ",".join(query.get("fieldSelector", [])).split(","):
        key, _, value = selector.partition("=")
        if key == name and value:
            return value.removeprefix("=")
    return None


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def contract(case: str, scope: Scope) -> dict[str, Any]:
    """The scope as JSON-ready data, in the stable form that docs/json.md describes."""
    first = min((event["received_at"] for event, _ in scope.attacker.calls.values()), default=None)
    return {"case": case, "findings": [_finding_contract(one, first) for one in scope.scopes]}


def _finding_contract(scope: FindingScope, first: datetime | None) -> dict[str, Any]:
    finding, window = scope.finding, scope.window
    return {
        "id": finding.id,
        "type": finding.type,
        "severity": finding.severity,
        "sample": finding.sample,
        "about_eks": finding.about_eks,
        "window": {"start": _iso(window.start), "end": _iso(window.end)} if window else None,
        "subjects": [_subject_contract(one, first) for one in sorted(scope.subjects.values(), key=_order)],
        "calls": list(scope.calls),
        "aws_calls": list(scope.aws_calls),
        "limits": [
            {
                "about": list(one.about),
                "start": _iso(one.start),
                "end": _iso(one.end),
                "says": one.says,
                "collect": one.collect,
            }
            for one in scope.limits
        ],
    }


def _order(subject: Subject) -> tuple[str, str, str, str]:
    return subject.certainty, subject.kind, subject.key, subject.through or ""


def _subject_contract(subject: Subject, first: datetime | None) -> dict[str, Any]:
    thing = subject.thing
    namespace, name = (thing.namespace, thing.name) if thing else (None, None)
    if thing is None and subject.kind in ("secret", "service_account", "token"):
        namespace, _, name = subject.key.partition("/")
    gone = bool(thing and thing.deleted_at and first and thing.deleted_at < first)
    return {
        "kind": subject.kind,
        "key": subject.key,
        "ref": str(Ref.of(subject.kind, subject.key)),
        "namespace": namespace,
        "name": name,
        "uid": thing.uid or None if thing else None,
        "node": thing.node if thing else None,
        "created_at": _iso(thing.created_at) if thing else None,
        "deleted_at": _iso(thing.deleted_at) if thing else None,
        "standing": thing.standing if thing else None,
        "gone_before_first_hostile_call": gone,
        "certainty": subject.certainty,
        "through": subject.through,
        "why": [{"ref": str(why.ref), "says": why.says} for why in subject.why],
    }
