"""How identities get into the cluster, by its configuration over time, and how each way is closed again.

Sources: EKS User Guide "Grant IAM users and roles access", "Access entries" (entries beat aws-auth where the authentication mode has
both), "Authenticate with OIDC"; aws-iam-authenticator (aws-auth names roles without their path); Kubernetes "Authenticating",
"Managing Service Accounts" (what ends a token); EKS Best Practices, "Incident response".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson
import yaml

from kit.identities.way import ANONYMOUS, Way, principal_of
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.model.identity import Identity
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store
from kit.words import Names

_MAPS = {
    "mapRoles": "rolearn",
    "mapUsers": "userarn",
    "mapAccounts": "",
}  # of aws-auth: member → its members with the ARN
_STARTING = ("system:public-info-viewer",)  # bound to everybody in a new cluster: health and version


@dataclass(frozen=True)
class Step:
    """One step to take access away. command: as a person would type it, "" where it is done elsewhere. why: what shows the need."""

    says: str
    command: str = ""
    why: Why | None = None


class Access:
    """Who is let into the cluster, and how that ends."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory

    # ── the configuration ──────────────────────────────────────────────────────────────────────────────────────────

    def _described(self, kind: str) -> Iterator[tuple[dict[str, Any], str]]:
        rows = self.store.rows(
            "SELECT uid, name, object FROM objects WHERE kind = $kind AND starts_with(api_version, 'aws:')"
            " AND ($cluster IS NULL OR cluster IS NULL OR cluster = $cluster) ORDER BY file, item",
            kind=kind,
            cluster=self.inventory.cluster,
        )
        for row in rows:
            value = orjson.loads(row["object"])
            yield value if isinstance(value, dict) else {}, str(row["uid"] or row["name"])

    @cached_property
    def mode(self) -> str | None:
        """The cluster's authentication mode: CONFIG_MAP, API_AND_CONFIG_MAP or API; None where `aws eks describe-cluster` is not there."""
        found = [value.get("accessConfig") for value, _ in self._described("Cluster")]
        modes = [
            str(one["authenticationMode"]) for one in found if isinstance(one, dict) and "authenticationMode" in one
        ]
        return modes[-1] if modes else None

    @cached_property
    def ways(self) -> list[Way]:
        """All ways in that the evidence shows for IAM principals: access entries first, then what aws-auth said at any time."""
        entries = list(self._entries())
        named = {principal_of(entry.name) for entry in entries}
        mappings = [
            replace(one, overruled=self.mode != "CONFIG_MAP" and principal_of(one.name) in named)
            for one in self._mappings()
        ]
        return [*entries, *mappings]

    def _entries(self) -> Iterator[Way]:
        policies = dict[str, list[str]]()
        for value, _ in self._described("AccessPolicies"):
            for one in dicts(value.get("associatedAccessPolicies")):
                scope = one.get("accessScope")
                names = scope.get("namespaces") if isinstance(scope, dict) else None
                where = " in " + ", ".join(map(str, names)) if isinstance(names, list) and names else ""
                policies.setdefault(str(value.get("principalArn")), []).append(f"{one.get('policyArn')}{where}")
        for value, uid in self._described("AccessEntry"):
            arn = str(value.get("principalArn"))
            if "accessEntryArn" not in value:
                continue  # of list-access-entries, which names principals alone
            listed = value.get("kubernetesGroups")
            groups = tuple(str(one) for one in listed) if isinstance(listed, list) else ()
            yield Way(
                "access_entry",
                arn,
                str(value.get("username") or ""),
                groups,
                Why(Ref.of("aws", uid), f"access entry of {arn}"),
                policies=tuple(policies.get(arn, ())),
            )
        names = {str(way) for value, way in self._described("AccessEntry") if "accessEntryArn" not in value}
        known = {
            str(value.get("principalArn")) for value, _ in self._described("AccessEntry") if "accessEntryArn" in value
        }
        for arn in sorted(names - known):
            if arn.startswith("arn:"):
                yield Way("access_entry", arn, "", (), Why(Ref.of("aws", arn), f"access entry of {arn}, not described"))

    def _mappings(self) -> Iterator[Way]:
        """What aws-auth mapped: as the dump has it, and as each change in the log left it. One is over when the last change left it out
        and the dump, which may be older or newer, has not got it either."""
        seen, dumped = dict[tuple[str, ...], Way](), set[tuple[str, ...]]()
        for at, data, why, is_whole in self._config_maps():
            known = {key for key, *_ in seen}
            for key in _MAPS if is_whole else _MAPS.keys() & data.keys():
                present = {(key, way.name, way.user_name, *way.groups): way for way in _mapped(key, data.get(key), why)}
                for place, way in present.items():
                    fresh = replace(way, since=at if key in known else None)
                    seen[place] = replace(seen.get(place, fresh), until=None)
                if at is None:
                    dumped |= set(present)
                for place in [
                    place for place in seen if place[0] == key and place not in present and place not in dumped
                ]:
                    seen[place] = replace(seen[place], until=seen[place].until or at)
        yield from seen.values()

    def _config_maps(self) -> Iterator[tuple[datetime | None, dict[str, Any], Why, bool]]:
        """The data of aws-auth in the dump, then after each change: when, what, and whether that is all of it or what was patched."""
        for row in self.store.rows(
            "SELECT uid, object FROM objects WHERE resource = 'configmaps' AND namespace = 'kube-system' AND name = 'aws-auth'"
        ):
            data = _object(row["object"]).get("data")
            if isinstance(data, dict):
                yield None, data, Why(Ref.of("object", str(row["uid"])), "aws-auth in the cluster dump"), True
        for row in self.store.rows(
            "SELECT audit_id, file, item, received_at, user_name, verb, request_object, response_object FROM audit"
            " WHERE resource = 'configmaps' AND namespace = 'kube-system' AND name = 'aws-auth' AND NOT dry_run"
            " AND verb IN ('create', 'update', 'patch') AND response_code BETWEEN 200 AND 299 ORDER BY received_at, file, item"
        ):
            answered, asked = _object(row["response_object"]).get("data"), _object(row["request_object"]).get("data")
            data = answered if isinstance(answered, dict) else asked
            if isinstance(data, dict):
                why = Why(self.store.event_ref(row), f"aws-auth as {row['user_name']} left it")
                yield row["received_at"], data, why, data is answered or row["verb"] != "patch"

    def written_mappings(self, hostile: Names, account: str | None) -> tuple[list[Way], list[Way]]:
        """Mappings in aws-auth that stand and that hostile changes (refs of events) wrote; and those of which that cannot be told.

        Without what stood before, a principal of another account than the cluster's counts as the attacker's.
        """
        standing = {
            (one.name, one.user_name, *one.groups): one
            for one in self.ways
            if one.kind == "aws_auth" and one.until is None
        }
        written, unclear = dict[tuple[str, ...], Way](), dict[tuple[str, ...], Way]()
        before: dict[str, set[tuple[str, ...]]] = {}
        for at, data, why, _ in self._config_maps():
            for key in _MAPS.keys() & data.keys():
                present = {(way.name, way.user_name, *way.groups) for way in _mapped(key, data.get(key), why)}
                for place in sorted(present) if at is not None and str(why.ref) in hostile else ():
                    if place in standing and place not in before.get(key, set()):
                        foreign = account is not None and f":{account}:" not in place[0]
                        found = written if key in before or foreign else unclear
                        found[place] = replace(standing[place], why=why)
                if at is not None:
                    before[key] = present
        return list(written.values()), [
            one for place, one in unclear.items() if place not in written and "system:nodes" not in one.groups
        ]

    @cached_property
    def providers(self) -> list[Way]:
        """The OIDC providers that users may come from. user_name: the claim that gives the name, with its prefix."""
        found = list[Way]()
        for value, uid in self._described("IdentityProviderConfig"):
            oidc = value.get("oidc")
            if not isinstance(oidc, dict):
                continue  # of the list, which names it alone
            name = str(oidc.get("identityProviderConfigName"))
            user = f"{oidc.get('usernamePrefix') or ''}{{{oidc.get('usernameClaim') or 'sub'}}}"
            says = f"identity provider {name} ({oidc.get('issuerUrl')}) is set up for the cluster"
            found.append(Way("identity_provider", name, user, (), Why(Ref.of("aws", uid), says)))
        return found

    @cached_property
    def creator(self) -> Way | None:
        """Who made the cluster, by CloudTrail's CreateCluster; None when that is not in the evidence."""
        for row in self.store.rows(
            "SELECT event_id, coalesce(issuer_arn, arn) AS arn, event_at, request_parameters FROM trail"
            " WHERE event_source = 'eks.amazonaws.com' AND event_name = 'CreateCluster' AND error_code IS NULL ORDER BY event_at, event_id"
        ):
            name = _object(row["request_parameters"]).get("name")
            if row["arn"] and (name == self.inventory.cluster or self.inventory.cluster is None):
                why = Why(Ref.of("trail", row["event_id"]), f"{row['arn']} created the cluster")
                return Way("cluster_creator", row["arn"], "kubernetes-admin", (), why, since=row["event_at"])
        return None

    # ── who is let in how ──────────────────────────────────────────────────────────────────────────────────────────

    def of(self, identity: Identity) -> list[Way]:
        """The ways in of an identity. Of an IAM principal by its ARN; by its user name, which is weaker, only without one."""
        if identity.kind == "oidc":
            return self.providers
        if identity.kind not in ("iam", "node"):
            return []
        if identity.role:
            found = [
                way
                for way in self.ways
                if principal_of(way.name) == principal_of(identity.role)
                or (way.name.endswith(":*") and way.name.split(":")[4:5] == identity.role.split(":")[4:5])
            ]
        else:
            found = [way for way in self.ways if _fits(way.user_name, identity.user_name)]
        by_name = identity.user_name == "kubernetes-admin" and not found
        if self.creator and (by_name or principal_of(self.creator.name) == principal_of(identity.role or "")):
            found.append(self.creator)
        return found

    # ── how it is taken away ───────────────────────────────────────────────────────────────────────────────────────

    def steps(self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]) -> list[Step]:
        """How an identity's access is taken away, in order. groups: those that the API server saw it with. pods: those whose tokens
        were used. credentials: access keys."""
        made: dict[str, Any] = {
            "anonymous": self._anonymous_steps,
            "service_account": self._account_steps,
            "node": self._node_steps,
            "iam": self._iam_steps,
            "oidc": self._oidc_steps,
            "control_plane": self._control_plane_steps,
        }
        return list(made[identity.kind](identity, groups, pods, credentials))

    def _bindings(self, *names: tuple[str, str]) -> list[Thing]:
        """Bindings that stand, or may, and name a subject (kind, name): of a service account, namespace/name."""
        found = list[Thing]()
        for binding in self.inventory.of("clusterrolebindings", "rolebindings"):
            for one in dicts(binding.body.get("subjects")):
                kind, name = str(one.get("kind")), str(one.get("name"))
                if kind == "ServiceAccount":
                    name = f"{one.get('namespace') or binding.namespace}/{name}"
                if (kind, name) in names and binding.standing is not False and binding not in found:
                    found.append(binding)
        return found

    def bindings_of_groups(self, groups: Names) -> list[Thing]:
        """Bindings that stand, or may, and name one of these groups."""
        return self._bindings(*(("Group", group) for group in groups))

    def bindings_naming(self, identity: Identity) -> list[Thing]:
        """Bindings that stand, or may, and name an identity itself, not a group of it."""
        account = identity.service_account
        return self._bindings(("User", identity.user_name), *([("ServiceAccount", account)] if account else []))

    def _cut(self, bindings: list[Thing], whose: str) -> Iterator[Step]:
        for binding in bindings:
            (role,) = dicts([binding.body.get("roleRef")]) or [{}]
            says = f"Take {whose} out of {binding.path}, which gives {role.get('kind')} {role.get('name')}"
            why = binding.why[0] if binding.why else None
            yield Step(says, kubectl("edit", binding.resource, binding.name, binding.namespace), why)

    def _anonymous_steps(
        self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]
    ) -> Iterator[Step]:
        bindings = self._bindings(("User", ANONYMOUS[0]), ("Group", ANONYMOUS[1]))
        yield from self._cut([one for one in bindings if one.name not in _STARTING], "anonymous users")
        if not bindings and not self.inventory.of("clusterrolebindings"):
            yield Step("Find what gives anonymous users rights: no evidence holds the bindings",
                       "kubectl get clusterrolebindings,rolebindings -A -o wide | grep -E 'system:(anonymous|unauthenticated)'")  # fmt: skip
        yield Step("Narrow the cluster's public endpoint: nobody has to sign in to be anonymous", self._endpoint)

    @property
    def _endpoint(self) -> str:
        name = shlex.quote(self.inventory.cluster or "CLUSTER")
        return (
            f"aws eks update-cluster-config --name {name} --resources-vpc-config publicAccessCidrs=YOUR.OWN.ADDRESS/32"
        )

    def _account_steps(
        self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]
    ) -> Iterator[Step]:
        account = identity.service_account or "/"
        namespace, _, name = account.partition("/")
        yield from self._cut(
            self._bindings(("ServiceAccount", account), ("User", identity.user_name)), f"service account {account}"
        )
        for pod in pods:
            says = (
                f"Delete pod {pod.namespace}/{pod.name}, once captured: the token bound to it ends about a minute later"
            )
            why = pod.why[0] if pod.why else None
            yield Step(says, kubectl("delete", "pod", pod.name, namespace), why)
        if not pods:
            yield Step(
                "Its token is bound to no pod that the evidence shows: it lives until it expires, or until the account is deleted"
                " and made again, after which all its pods must restart",
                kubectl("delete", "serviceaccount", name, namespace),
            )
        for secret in self._token_secrets(namespace, name):
            says = f"Delete Secret {secret.namespace}/{secret.name}: a token in a Secret does not expire"
            yield Step(says, kubectl("delete", "secret", secret.name, namespace), secret.why[0])
        for role, grant in self.inventory.service_account_roles.get(account, {}).items():
            if grant.by_pod_identity:
                says = f"Delete the Pod Identity association that gives {role}, then revoke the role's sessions"
            else:
                says = f"Change the trust policy of {role} (IRSA), then revoke its sessions: its token is judged by STS alone and outlives pod and account"
            yield Step(says, "", grant.why)

    def _token_secrets(self, namespace: str, name: str) -> list[Thing]:
        return [
            one
            for one in self.inventory.of("secrets")
            if one.namespace == namespace
            and one.standing is not False
            and one.annotations.get("kubernetes.io/service-account.name") == name
        ]

    def _node_steps(
        self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]
    ) -> Iterator[Step]:
        node = identity.node or ""
        instances = [instance for instance, name in self.inventory.node_of_instance.items() if name == node]
        yield Step(f"Cordon {node}, so that nothing new comes onto it", kubectl("cordon", "", node, None))
        yield Step("Do not take its role out of aws-auth or its access entry: all nodes of the group sign in with it")
        for instance in instances:
            yield Step(f"Terminate instance {instance}, once captured and drained: its credentials stay valid until they expire, hours later",
                       f"aws ec2 terminate-instances --instance-ids {shlex.quote(instance)}")  # fmt: skip
        if not instances:
            yield Step("Find its EC2 instance, which the evidence does not name, and terminate it once captured")
        if identity.role:
            yield Step(
                f"Revoke the sessions of {identity.role} for this instance alone (condition aws:userid): the role is shared by its node group"
            )
        yield Step("Rotate the service accounts and secrets of every pod on the node: its kubelet could read them all")

    def _iam_steps(
        self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]
    ) -> Iterator[Step]:
        cluster = shlex.quote(self.inventory.cluster or "CLUSTER")
        ways = self.of(identity)
        for way in (way for way in ways if way.kind == "access_entry"):
            says = f"Delete the access entry of {way.name}" + (f" ({'; '.join(way.policies)})" if way.policies else "")
            yield Step(
                says,
                f"aws eks delete-access-entry --cluster-name {cluster} --principal-arn {shlex.quote(way.name)}",
                way.why,
            )
        for way in (way for way in ways if way.kind == "aws_auth" and way.until is None):
            overruled = (
                ", which the access entry overrules while that stands: without this step the mapping lets it in again"
                if way.overruled
                else ""
            )
            yield Step(f"Take the mapping of {way.name} to {way.user_name or 'its ARN'} out of aws-auth{overruled}",
                       "kubectl edit configmap aws-auth -n kube-system", way.why)  # fmt: skip
        if not any(way.kind in ("access_entry", "aws_auth") for way in ways):
            yield from self._creator_steps(identity, ways)
        yield from self._cut(self._bindings(("User", identity.user_name)), identity.user_name)
        yield Step(
            "Both have to be gone, entry and mapping: no IAM policy can deny the sign-in, which is a presigned GetCallerIdentity"
        )
        if identity.role and ":user/" in identity.role:
            user = shlex.quote(identity.role.rpartition("/")[2])
            for key in (key for key in credentials if key.startswith("AKIA")):
                yield Step(f"Deactivate access key {key}; sessions that it already issued outlive it",
                           f"aws iam update-access-key --user-name {user} --access-key-id {shlex.quote(key)} --status Inactive")  # fmt: skip
        elif identity.role:
            yield Step(
                f"Revoke the sessions of {identity.role} (deny to tokens older than now), then whoever assumed it"
            )

    def _creator_steps(self, identity: Identity, ways: list[Way]) -> Iterator[Step]:
        maybe = identity.user_name == "kubernetes-admin" or any(way.kind == "cluster_creator" for way in ways)
        if maybe and self.mode == "CONFIG_MAP":
            yield Step("The cluster's creator cannot be taken out while the authentication mode is CONFIG_MAP: secure or delete its IAM"
                       " role, or change the mode to API_AND_CONFIG_MAP, which cannot be undone, and delete its access entry")  # fmt: skip
        elif maybe:
            arn = shlex.quote(identity.role or "ARN")
            cluster = shlex.quote(self.inventory.cluster or "CLUSTER")
            yield Step("The cluster's creator: take the administrator's policy off its access entry",
                       f"aws eks disassociate-access-policy --cluster-name {cluster} --principal-arn {arn}"
                       " --policy-arn arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy")  # fmt: skip
        else:
            yield Step(f"Find what lets {identity.role or identity.user_name} in: no access entry and no mapping in aws-auth is in the evidence",
                       f"aws eks list-access-entries --cluster-name {shlex.quote(self.inventory.cluster or 'CLUSTER')};"
                       " kubectl get configmap aws-auth -n kube-system -o yaml")  # fmt: skip

    def _oidc_steps(
        self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]
    ) -> Iterator[Step]:
        issuers = ", ".join(way.why.says for way in self.providers) or "no evidence names the identity provider"
        yield Step(f"Disable {identity.user_name} and its sessions at the identity provider ({issuers})")
        named = [
            ("User", identity.user_name),
            *(("Group", group) for group in groups if not group.startswith("system:")),
        ]
        yield from self._cut(self._bindings(*named), f"{identity.user_name} (or its group)")
        yield Step(
            "The token at hand is valid until it expires; only detaching the provider ends it sooner, and that shuts out all its users"
        )

    def _control_plane_steps(
        self, identity: Identity, groups: list[str], pods: list[Thing], credentials: list[str]
    ) -> Iterator[Step]:
        yield Step(f"{identity.user_name} belongs to the control plane, which AWS runs: its credentials cannot be rotated by you."
                   " Called from elsewhere it is somebody with a minted or stolen credential: find who minted it, and ask AWS Support")  # fmt: skip


def kubectl(verb: str, resource: str, name: str | None, namespace: str | None) -> str:
    """A command on one object: quoted, and a name that begins with a dash kept from being taken for an option."""
    words = ["kubectl", verb, resource] if resource else ["kubectl", verb]
    space, named = ["-n", shlex.quote(namespace)] if namespace else [], shlex.quote(str(name))
    return " ".join([*words, *space, "--", named] if str(name).startswith("-") else [*words, named, *space])


def _fits(template: str, user_name: str) -> bool:
    """Whether a user name may come from a mapping's name, with its {{placeholders}}."""
    first, *rest = map(re.escape, re.split(r"\{\{.*?\}\}", template))
    # Each text between two placeholders is taken where it first stands and not looked for again: else many of them take for ever.
    pattern = first + "".join(f"(?>.+?{part})" for part in rest[:-1]) + "".join(f".+{part}" for part in rest[-1:])
    return bool(template) and re.fullmatch(pattern, user_name) is not None


def _mapped(key: str, text: Any, why: Why) -> Iterator[Way]:
    """The mappings in one member of aws-auth."""
    for one in _listed(text):
        if not isinstance(one, dict):
            if key == "mapAccounts":
                says = f"aws-auth lets in all of account {one} under their ARNs ({why.says})"
                yield Way("aws_auth", f"arn:aws:iam::{one}:*", "", (), replace(why, says=says))
            continue
        arn, user, listed = str(one.get(_MAPS[key], "")), str(one.get("username", "")), one.get("groups")
        groups = tuple(str(group) for group in listed) if isinstance(listed, list) else ()
        says = f"aws-auth maps {arn} to {user or 'its ARN'} with groups {', '.join(groups) or 'none'} ({why.says})"
        yield Way("aws_auth", arn, user, groups, replace(why, says=says))


def _listed(text: Any) -> list[Any]:
    """The list in a member of aws-auth, all values as texts. Aliases can unfold without end, and nobody writes them there."""
    try:
        if not isinstance(text, str) or any(isinstance(one, yaml.AliasEvent) for one in yaml.parse(text)):
            return []
        value = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 it makes texts, lists and mappings alone
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    return value if isinstance(value, list) else []


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list in evidence, whose members may be anything; empty for what is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
