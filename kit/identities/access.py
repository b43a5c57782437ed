"""How identities get into the cluster, by its configuration over time.

Sources: EKS User Guide "Grant IAM users and roles access", "Access entries" (entries beat aws-auth where the authentication mode has
both), "Authenticate with OIDC"; aws-iam-authenticator (aws-auth names roles without their path); Kubernetes "Authenticating".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from kit.identities import aws_auth
from kit.identities.mapping import may_give
from kit.identities.unbinding import named_subject
from kit.identities.way import Way
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, found_at, json_of, texts_of
from kit.model.arn import account_of, compared, is_arn
from kit.model.identity import NODE, Identity
from kit.model.refs import Ref
from kit.model.why import Why
from kit.store.store import Store
from kit.words import Names

_DESCRIBED = {"accessEntryArn", "type"}  # members that a described access entry has, by AWS's CLI or eksctl


class Access:
    """Who is let into the cluster, and through which bindings."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory

    # ── the configuration ──────────────────────────────────────────────────────────────────────────────────────────

    def _described(self, kind: str) -> Iterator[tuple[dict[str, Any], str]]:
        rows = self.store.rows(
            "SELECT uid, name, object FROM objects WHERE kind = $kind AND starts_with(api_version, 'aws:')"
            " AND ($cluster::VARCHAR IS NULL OR cluster IS NULL OR cluster = $cluster::VARCHAR) ORDER BY file, item",
            kind=kind,
            cluster=self.inventory.cluster,
        )
        for row in rows:
            yield dict_of(json_of(row["object"])), str(row["uid"] or row["name"])

    @cached_property
    def mode(self) -> str | None:
        """The cluster's authentication mode: CONFIG_MAP, API_AND_CONFIG_MAP or API; None where `aws eks describe-cluster` is not there."""
        found = [value.get("accessConfig") for value, _ in self._described("Cluster")]
        modes = [
            str(one["authenticationMode"]) for one in found if isinstance(one, dict) and "authenticationMode" in one
        ]
        return modes[-1] if modes else None

    @cached_property
    def aws_auth_data(self) -> dict[str, str] | None:
        """The members of aws-auth as the evidence has them last and whole; None where it has none."""
        return aws_auth.last_data(self.store)

    @cached_property
    def ways(self) -> list[Way]:
        """All ways in that the evidence shows for IAM principals: access entries first, then what aws-auth said at any time."""
        entries = list(self._entries())
        named = {compared(entry.name) for entry in entries}
        mappings = (
            replace(way, overruled=self.mode != "CONFIG_MAP" and compared(way.name) in named)
            for way in aws_auth.mappings(self.store)
        )
        return [*entries, *mappings]

    @cached_property
    def roles_of_nodes(self) -> dict[str, str]:
        """Roles that nodes sign in with, as kit.model.arn.compared has them → what shows it. EKS gives the access entries of nodes their user names."""
        found = {
            compared(role): f"node {node} signs in with it" for node, (role, _) in self.inventory.node_roles.items()
        }
        for way in self.ways:
            if way.user_name.startswith(NODE):
                found.setdefault(compared(way.name), f"{way.why.says} lets nodes in")
        for group, uid in self._described("Nodegroup"):
            if role := group.get("nodeRole"):
                found.setdefault(compared(str(role)), f"node group {group.get('nodegroupName') or uid} has it")
        return found

    def _entries(self) -> Iterator[Way]:
        policies = dict[str, list[str]]()
        for value, _ in self._described("AccessPolicies"):
            for one in dicts_of(value.get("associatedAccessPolicies")):
                namespaces = texts_of(dict_of(one.get("accessScope")).get("namespaces"))
                where = " in " + ", ".join(namespaces) if namespaces else ""
                policies.setdefault(str(value.get("principalArn")), []).append(f"{one.get('policyArn')}{where}")
        every = list(self._described("AccessEntry"))
        by_aws = {str(value.get("principalArn")) for value, _ in every if "accessEntryArn" in value}
        for value, uid in every:
            arn = str(value.get("principalArn"))
            if not value.keys() & _DESCRIBED or ("accessEntryArn" not in value and arn in by_aws):
                continue  # of list-access-entries, which names principals alone, or told by eksctl again
            groups = tuple(texts_of(value.get("kubernetesGroups")))
            yield Way(
                "access_entry",
                arn,
                str(value.get("username") or ""),
                groups,
                Why(Ref.of("aws", uid), f"access entry of {arn}"),
                policies=tuple(dict.fromkeys(policies.get(arn, ()))),
            )
        names = {uid for value, uid in every if not value.keys() & _DESCRIBED}
        known = {str(value.get("principalArn")) for value, _ in every if value.keys() & _DESCRIBED}
        for arn in sorted(names - known):
            if is_arn(arn):
                yield Way("access_entry", arn, "", (), Why(Ref.of("aws", arn), f"access entry of {arn}, not described"))

    def written_mappings(self, hostile: Names, account: str | None) -> tuple[list[Way], list[Way]]:
        """Mappings in aws-auth that stand and that hostile changes (refs of events) wrote; and those of which that cannot be told."""
        return aws_auth.written_mappings(self.store, self.ways, hostile, account)

    @cached_property
    def providers(self) -> list[Way]:
        """The OIDC providers that users may come from. user_name: the claim that gives the name, with its prefix: by default the issuer
        and `#` before every claim but email, and `-` for none."""
        found = list[Way]()
        for value, uid in self._described("IdentityProviderConfig"):
            oidc = value.get("oidc")
            if not isinstance(oidc, dict):
                continue  # of the list, which names it alone
            name = str(oidc.get("identityProviderConfigName"))
            claim, prefix = oidc.get("usernameClaim") or "sub", oidc.get("usernamePrefix")
            if not prefix:
                prefix = "" if claim == "email" else f"{oidc.get('issuerUrl')}#"
            user = f"{'' if prefix == '-' else prefix}{{{claim}}}"
            says = f"identity provider {name} ({oidc.get('issuerUrl')}) is set up for the cluster"
            found.append(Way("identity_provider", name, user, (), Why(Ref.of("aws", uid), says)))
        return found

    @cached_property
    def creator(self) -> Way | None:
        """Who made the cluster, by CloudTrail's CreateCluster; None when that is not in the evidence."""
        for row in self.store.rows(
            "SELECT event_id, coalesce(issuer_arn, arn) AS arn, event_at, request_parameters, response_elements FROM trail"
            " WHERE event_source = 'eks.amazonaws.com' AND event_name = 'CreateCluster' AND error_code IS NULL ORDER BY event_at, event_id"
        ):
            asked, made = (dict_of(json_of(row[name])) for name in ("request_parameters", "response_elements"))
            name = asked.get("name") or asked.get("clusterName") or found_at(made, "cluster", "name")
            if found_at(asked, "accessConfig", "bootstrapClusterCreatorAdminPermissions") is False:
                continue  # made without its creator as an administrator
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
        named = identity.role or identity.user_name  # whoever is let in with all of an account has its ARN for a name
        found = [
            way
            for way in self.ways
            if (way.name.endswith(":*") and account_of(way.name) == account_of(named))
            or (compared(way.name) == compared(named) if identity.role else may_give(way.user_name, named))
        ]
        by_name = identity.user_name == "kubernetes-admin" and not found
        if self.creator and (by_name or compared(self.creator.name) == compared(identity.role or "")):
            found.append(self.creator)
        return found

    def is_mapped(self, arn: str) -> bool:
        """Whether a line of aws-auth names a principal."""
        return any(way.kind == "aws_auth" and compared(way.name) == compared(arn) for way in self.ways)

    def bindings(self, *names: tuple[str, str]) -> list[Thing]:
        """Bindings that stand, or may, and name a subject (kind, name): of a service account, namespace/name."""
        found = list[Thing]()
        for binding in self.inventory.of("clusterrolebindings", "rolebindings"):
            for one in dicts_of(binding.body.get("subjects")):
                is_named = named_subject(one, binding.namespace) in names
                if is_named and binding.standing is not False and binding not in found:
                    found.append(binding)
        return found

    def bindings_of_groups(self, groups: Names) -> list[Thing]:
        """Bindings that stand, or may, and name one of these groups."""
        return self.bindings(*(("Group", group) for group in groups))

    def bindings_naming(self, identity: Identity) -> list[Thing]:
        """Bindings that stand, or may, and name an identity itself, not a group of it."""
        account = identity.service_account
        return self.bindings(("User", identity.user_name), *([("ServiceAccount", account)] if account else []))
