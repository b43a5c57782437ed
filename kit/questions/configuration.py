"""Questions about what the cluster lets in: permissions, anonymous access, default service accounts, what is reachable from outside.

Sources: Kubernetes "Using RBAC Authorization" (escalate, bind, impersonate; default roles and bindings; before 1.14 system:discovery and
system:basic-user were bound to system:unauthenticated, and an upgrade keeps that); EKS User Guide "Cluster endpoint access".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kit.inventory.thing import Thing
from kit.lenient import dict_of, dicts_of, texts_of
from kit.model.identity import ANONYMOUS, NOT_SIGNED_IN
from kit.model.kinds import Certainty, Needs
from kit.model.kubernetes import ACCOUNT_GROUP, BOUND, ROLES, WEBHOOKS
from kit.model.refs import Ref
from kit.model.why import DUMP, Limit, Standing
from kit.questions.identity import LOG
from kit.questions.question import Asked, Found, question, row, whys
from kit.questions.verdict import SHOWN_BY
from kit.scope.subject import Subject
from kit.store.queries import groups
from kit.store.tables import Row
from kit.words import counted, few

_UNKNOWN = "cannot tell: no evidence has its rules"
_HARMLESS = ("system:public-info-viewer",)
_OF_EVERYBODY = ("system:basic-user", "system:discovery", "system:service-account-issuer-discovery")  # of a new cluster
_DUMP = Needs("dump")
_MAY_LIMIT_ANONYMOUS = 32  # Kubernetes 1.32
_DASHBOARDS = (
    "kubernetes-dashboard",
    "kubeflow",
    "istio-ingressgateway",
    "argocd-server",
    "grafana",
    "rancher",
    "headlamp",
)
_WAYS = {
    "access_entry": "an access entry", "aws_auth": "a mapping in aws-auth", "access_key": "an access key", "login_profile": "a console password",
    "trust_policy": "a role's trust", "pod_identity": "a Pod Identity association", "identity_provider": "an identity provider",
}  # fmt: skip
_AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"  # of the starting roles; others name labels of their own
_TAKES_ON = ("bind", "escalate", "impersonate")


@question("Which permissions were written, and what do they allow?", *SHOWN_BY["granted"], about=("granted", "let_in"))
def permissions_given(asked: Asked) -> Found:
    """Bindings, roles, mappings, access entries, webhooks and token Secrets that the attacker's calls wrote, with what is dangerous in them."""
    rows = []
    for one in asked.subjects("granted"):
        role, _, to = one.key.rpartition(" to ")
        kind, _, name = role.partition(" ")
        where = name.partition(" in ")
        rows.append(row([why.ref for why in one.why], one.certainty, Permission=role, To=to, What=whys(list(one.why)[:1]),
                        Allows=_allows(asked, kind, where[2] or None, where[0])))  # fmt: skip
    tokens = {
        f"secrets/{one.key}": one.account
        for part in asked.parts
        for one in part.credentials
        if one.kind == "secret_token"
    }
    for one in asked.subjects("created", "changed"):
        gives = _given_by(one, tokens)
        if gives is not None:
            to, allows = gives
            rows.append(row([why.ref for why in one.why], one.certainty, Permission=one.key, To=to, What=whys(list(one.why)[:1]),
                            Allows=allows))  # fmt: skip
    groups = {way.name: list(way.groups) for way in asked.scope.access.ways}
    by = {one.key: one.by for one in asked.scope.attacker.let_in}
    for one in asked.subjects("let_in"):
        if by.get(one.key) != "binding":
            rows.append(row([why.ref for why in one.why], one.certainty, Permission=_WAYS.get(by.get(one.key, ""), "a way in"), To=one.key,
                            What=whys(list(one.why)[:1]), Allows=[f"group {group}" for group in groups.get(one.key, [])]))  # fmt: skip
    strong = [
        f"{one['Permission']} to {one['To']}" if one["To"] else str(one["Permission"])
        for one in rows
        if one["Allows"] and one["Allows"] != [_UNKNOWN]
    ]
    says = f"{counted(sum(one['certainty'] == 'affected' for one in rows), 'permission was', 'permissions were')} written{f'; far-reaching: {few(strong, 3)}' if strong else ''}."
    return Found(rows, says, "No role, binding, mapping or access entry of the attacker's is shown.")


def _given_by(one: Subject, tokens: Mapping[str, str]) -> tuple[str, list[str]] | None:
    """To whom an object that is no binding gives what, itself; None where it gives nobody anything. tokens: Secret → whose token it holds."""
    resource, thing = one.key.partition("/")[0], one.thing
    if resource in WEBHOOKS:
        verb = "change" if resource.startswith("mutating") else "refuse"
        return "", [f"sees, and may {verb}, what is written to the cluster"]
    if thing and resource in ROLES:
        return "", too_much(thing)
    if one.key in tokens:
        return f"service account {tokens[one.key]}", ["a token without an end"]
    return None


def _allows(asked: Asked, kind: str, namespace: str | None, name: str) -> list[str]:
    if (kind, name) == ("ClusterRole", "cluster-admin"):
        return ["everything"]
    known = asked.inventory.named(
        "roles" if kind == "Role" else "clusterroles", namespace if kind == "Role" else None, name
    )
    return too_much(known[-1]) if known else [_UNKNOWN]


def too_much(role: Thing) -> list[str]:
    """What in a role's rules reaches far: wildcards, secrets, escalation, commands in pods, tokens; and to which roles they are added."""
    found = dict[str, None]()
    for label, value in role.labels.items() if role.resource == "clusterroles" else ():
        if label.startswith(_AGGREGATED) and value == "true":
            found[f"its rules are added to role {label.removeprefix(_AGGREGATED)}"] = None
    if role.body.get("aggregationRule"):
        found["has the rules of all roles with certain labels"] = None
    for rule in dicts_of(role.body.get("rules")):
        verbs, resources = texts_of(rule.get("verbs")), texts_of(rule.get("resources"))
        if "*" in verbs and "*" in resources:
            found["everything"] = None
        elif "*" in verbs or "*" in resources:
            found[f"wildcard: {' '.join(verbs)} {' '.join(resources)}"] = None
        for verb in (one for one in verbs if one in _TAKES_ON):
            found[f"{verb} {' '.join(resources)}"] = None
        if {"secrets", "*"} & set(resources) and {"get", "list", "watch", "*"} & set(verbs):
            found["reads secrets"] = None
        for resource, word in (
            ("pods/exec", "runs commands in pods"),
            ("serviceaccounts/token", "mints tokens"),
            ("nodes/proxy", "uses kubelets"),
            ("pods", "creates pods"),
        ):
            if (
                resource in resources
                and {"create", "get", "*"} & set(verbs)
                and (resource != "pods" or {"create", "*"} & set(verbs))
            ):
                found[word] = None
    return list(found)


@question("What may anonymous callers do, and what did they do?", LOG, _DUMP, about=("identity",))
def anonymous_access(asked: Asked) -> Found:
    """Bindings that name system:anonymous or system:unauthenticated, the pre-1.14 ones included, and anonymous calls that were let through
    by such a binding."""
    rows = list(_bound_to(asked, lambda one: one.get("name") in NOT_SIGNED_IN, _HARMLESS))
    for one in groups(
        asked.store,
        "audit",
        ("verb || ' ' || resource AS call", "namespace"),
        "user_name = 'system:anonymous' AND response_code BETWEEN 200 AND 299 AND resource IS NOT NULL",
        order="calls DESC, call, namespace",
    ):
        rows.append(row([asked.ref(one["first"])], What=f"{counted(one['calls'], 'anonymous call')} let through: {one['call']}",
                        Who="system:anonymous", Where=one["namespace"] or "cluster", Since=one["first_at"], Stands=Standing.UNTOLD))  # fmt: skip
    bindings = [one for one in rows if one["Stands"] is not Standing.UNTOLD]
    stand, kinds = sum(map(_stands, bindings)), len(rows) - len(bindings)
    called = (
        f"{counted(kinds, 'kind')} of their calls let through" if asked.window else "whether they called is in no log"
    )
    says = f"{counted(stand, 'binding gives', 'bindings give')} rights to anonymous callers; {called}."
    return Found(
        rows,
        says,
        "No binding that stands but system:public-info-viewer names anonymous callers, and none of their calls on objects was let through.",
        stand + kinds,
        limits=_limited(asked) if stand and not kinds else (),
    )


def _limited(asked: Asked) -> tuple[Limit, ...]:
    """Whether bindings help anonymous callers at all cannot be told where the API server may take them for health checks alone and no
    call shows otherwise. Source: KEP-4633, anonymous authentication of configured endpoints alone (beta in Kubernetes 1.32)."""
    version = re.match(r"v?1\.(\d+)", asked.inventory.kubernetes_version or "")
    if version and int(version[1]) < _MAY_LIMIT_ANONYMOUS:
        return ()
    # 403 is an answer of authorization: the call was taken as anonymous before. Not taken, it is a 401.
    if asked.store.rows(
        "SELECT 1 FROM audit WHERE user_name = $anonymous AND response_code <> 401 AND NOT starts_with(request_uri, '/healthz')"
        " AND NOT starts_with(request_uri, '/livez') AND NOT starts_with(request_uri, '/readyz') LIMIT 1",
        anonymous=ANONYMOUS,
    ):
        return ()
    of = f"the cluster has Kubernetes 1.{version[1]}" if version else "the cluster's version is in no evidence"
    says = f"Whether the API server takes anonymous calls at all cannot be told: {of}, from 1.{_MAY_LIMIT_ANONYMOUS} on it may take them for health checks alone, and the log has none of anything else"
    return (Limit(("identity",), says, "the answer to a call without a credential: 401 means that it takes none"),)


@question("Which default service accounts have rights?", *SHOWN_BY["granted"], _DUMP)
def default_accounts_with_rights(asked: Asked) -> Found:
    """Bindings that give rights to a default service account, itself or through a group of service accounts."""

    def is_default(one: dict[str, Any]) -> bool:
        named = one.get("kind") == "ServiceAccount" and one.get("name") == "default"
        user = str(one.get("name", "")).startswith("system:serviceaccount:") and str(one.get("name")).endswith(
            ":default"
        )
        name = str(one.get("name", ""))
        group = one.get("kind") == "Group" and (name.startswith(ACCOUNT_GROUP) or name == "system:authenticated")
        return named or user or group

    rows = list(_bound_to(asked, is_default, (*_HARMLESS, *_OF_EVERYBODY)))
    stand = sum(map(_stands, rows))
    return Found(
        rows,
        f"{counted(stand, 'binding gives', 'bindings give')} rights to default service accounts.",
        "No binding that stands gives a default service account rights, itself or with all that sign in.",
        stand,
    )


def _bound_to(asked: Asked, fits: Any, harmless: tuple[str, ...]) -> Iterator[Row]:
    for binding in asked.inventory.of(*BOUND):
        if binding.name in harmless:
            continue
        found, now = dict[str, None](), set[str]()
        for body in binding.ever:
            for one in filter(fits, dicts_of(body.get("subjects"))):
                name = (
                    f"{one.get('kind')} {'/'.join(str(one[part]) for part in ('namespace', 'name') if one.get(part))}"
                )
                found[name] = None
                now |= {name} if body is binding.body else set()
        if found:
            named = next((dict_of(body.get("roleRef")) for body in binding.ever if body.get("roleRef")), {})
            refs = [why.ref for why in binding.why] or [Ref.of("object", binding.uid)]
            standing = {True: Standing.STANDS, False: Standing.GONE, None: Standing.CANNOT_TELL}[binding.standing]
            standing = standing if now or not binding.body else Standing.TAKEN_OUT
            yield row(refs, path=binding.path, What=f"{binding.path} gives {named.get('kind')} {named.get('name')}", Who=list(found),
                      Where=binding.namespace or "cluster", Since=binding.created_at, Stands=standing)  # fmt: skip


def _stands(one: Row) -> bool:
    return not one["Stands"].is_gone


@question("What is reachable from outside?", _DUMP)
def exposed_services(asked: Asked) -> Found:
    """Services with an address or port of their own outside, ingresses, and a cluster endpoint that is open to the world."""
    affected = asked.things("pod")
    rows = []
    for service in asked.inventory.of("services"):
        kind = service.spec.get("type")
        external = kind in ("LoadBalancer", "NodePort") or bool(service.spec.get("externalIPs"))
        if not external or service.standing is False:
            continue
        selector = dict_of(service.spec.get("selector"))
        hit = [
            f"{pod.namespace}/{pod.name}"
            for pod in affected
            if selector
            and pod.namespace == service.namespace
            and any(selector.items() <= labels.items() for labels in pod.labels_ever)
        ]
        ranges = texts_of(service.spec.get("loadBalancerSourceRanges"))
        dashboard = any(word in (service.name or "") or word in (service.namespace or "") for word in _DASHBOARDS)
        internal = _is_internal(service)
        # A node port is open as far as the nodes' security groups let through, which no evidence here shows.
        certainty: Certainty = "possible" if internal or kind == "NodePort" else "affected"
        refs = [why.ref for why in service.why] or [Ref.of("object", service.uid)]
        rows.append(row(refs, certainty, service.path, What=service.path, How=f"{kind}{' (internal)' if internal else ''}", From=ranges or ["anywhere"],
                        Dashboard="yes" if dashboard else "", Leads_to_affected_pods=hit))  # fmt: skip
    for one in asked.store.rows(
        "SELECT namespace, name, uid FROM objects WHERE resource = 'ingresses' ORDER BY namespace, name"
    ):
        rows.append(row([f"object:{one['uid']}"], path=f"ingresses/{one['namespace']}/{one['name']}", What=f"ingresses/{one['namespace']}/{one['name']}", How="Ingress", From=["as its controller says"],
                        Dashboard="", Leads_to_affected_pods=[]))  # fmt: skip
    rows += _endpoint(asked)
    limits = (
        []
        if asked.inventory.is_dumped("services", None)
        else [Limit(("service",), "Which services there are cannot be told: no cluster dump has them", DUMP)]
    )
    names = [str(one["What"]) for one in sorted(rows, key=lambda one: -len(one["Leads to affected pods"]))]
    return Found(
        rows,
        f"{counted(len(rows), 'way')} in from outside: {few(names, 3)}.",
        "Nothing of the cluster is shown to be reachable from outside.",
        limits=tuple(limits),
    )


def _is_internal(service: Thing) -> bool:
    """Whether a load balancer has no address on the internet, by the annotations of the AWS load balancer controllers."""
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    scheme, legacy = service.annotations.get(f"{prefix}scheme"), service.annotations.get(f"{prefix}internal")
    return scheme == "internal" or str(legacy).lower() in ("true", "0.0.0.0/0")


def _endpoint(asked: Asked) -> Iterator[Row]:
    for one in asked.store.rows(
        "SELECT uid, object FROM objects WHERE kind = 'Cluster' AND starts_with(api_version, 'aws:')"
    ):
        described = dict_of(json.loads(one["object"]))
        if asked.inventory.cluster and described.get("name") not in (None, asked.inventory.cluster):
            continue  # another cluster of the account
        access = dict_of(described.get("resourcesVpcConfig"))
        ranges = texts_of(access.get("publicAccessCidrs")) or ["0.0.0.0/0"]
        if access.get("endpointPublicAccess") is True and any(each in ("0.0.0.0/0", "::/0") for each in ranges):
            yield row(
                [f"aws:{one['uid']}"],
                What="the cluster endpoint",
                How="public access",
                From=ranges,
                Dashboard="",
                Leads_to_affected_pods=[],
            )
