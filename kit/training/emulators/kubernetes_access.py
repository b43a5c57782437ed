"""Who an emulated Kubernetes API takes a caller for, and what that caller may do: tokens, RBAC, its rules against escalation, reviews.

Sources: kubernetes/kubernetes, plugin/pkg/auth/authorizer/rbac (rbac.go, bootstrappolicy/policy.go), pkg/apis/rbac/v1/evaluation_helpers.go,
pkg/registry/rbac (escalation_check.go, policybased), component-helpers/auth/rbac/validation (Covers), apiserver/pkg/endpoints (request/requestinfo.go,
handlers/responsewriters/errors.go); EKS User Guide "Access policy permissions" (such a policy is no RBAC object, and adds to RBAC)."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kit.training.emulators.kubernetes_kinds import Answer, Asked, Call, Kind, Object, Refusal

TOKEN = "k8s-aws-v1.emulated"  # noqa: S105 - of the emulator alone
CLUSTER_ADMIN = "AmazonEKSClusterAdminPolicy"
RBAC = "rbac.authorization.k8s.io"
ANONYMOUS: Object = {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
_EVERYTHING: list[Object] = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = (*_PUBLIC, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")
_SELF = {
    "authorization.k8s.io": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    "authentication.k8s.io": ["selfsubjectreviews"],
}
# Roles that the API server makes at its start, and the groups that it binds them to; where the state has one, that one counts.
_BOOTSTRAP: dict[str, tuple[list[Object], tuple[str, ...]]] = {
    "cluster-admin": (_EVERYTHING, ("system:masters",)),
    "system:basic-user": (
        [{"apiGroups": [group], "resources": names, "verbs": ["create"]} for group, names in _SELF.items()],
        ("system:authenticated",),
    ),
    "system:discovery": ([{"nonResourceURLs": list(_DISCOVERY), "verbs": ["get"]}], ("system:authenticated",)),
    "system:public-info-viewer": (
        [{"nonResourceURLs": list(_PUBLIC), "verbs": ["get"]}],
        ("system:authenticated", "system:unauthenticated"),
    ),
}
_RULE_PARTS = ("apiGroups", "resources", "resourceNames", "nonResourceURLs")


def user_of(call: Call, tokens: Mapping[str, Object]) -> Object:
    """Who a request is from: by its token; without one, anonymous. A token that nobody has is 401."""
    sent = call.headers.get("Authorization", "")
    if not sent:
        return ANONYMOUS
    user = tokens.get(sent.removeprefix("Bearer "))
    if user is None:
        raise Refusal(401, "Unauthorized", "Unauthorized")
    return {"groups": ["system:authenticated"]} | user


@dataclass(frozen=True)
class Access:
    """What one user may do in a state. policy: the EKS access policy of its access entry, "" for RBAC alone. asked: what was let through."""

    objects: Mapping[str, Object]
    user: Object
    policy: str
    asked: list[Asked]

    def authorize(self, asked: Asked) -> None:
        """Let a request through, or refuse it as the API server does."""
        if self._lets(asked):
            return
        who = f'User "{self.user["username"]}" cannot {asked.verb}'
        if asked.path:
            raise Refusal(403, "Forbidden", f'forbidden: {who} path "{asked.path}"')
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        says = f'{who} resource "{asked.what}" in API group "{asked.group}" {where}'
        raise Kind(f"{asked.group}/v1" if asked.group else "v1", "", asked.resource, True).refuse(
            403, "Forbidden", asked.name, says
        )

    def allows(self, asked: Asked) -> bool:
        """Whether any of the user's rules lets a request through."""
        return any(_allows(rule, asked) for rule in self.rules(asked.namespace))

    def _lets(self, asked: Asked) -> bool:
        if self.allows(asked):
            self.asked.append(asked)
            return True
        return False

    def rules(self, namespace: str) -> Iterator[Object]:
        """All rules of the user: in every namespace, and in this one."""
        if self.policy == CLUSTER_ADMIN:
            yield from _EVERYTHING
        for name, (rules, groups) in _BOOTSTRAP.items():
            if f"clusterrolebindings.{RBAC}//{name}" not in self.objects and set(groups) & set(self.user["groups"]):
                yield from self._rules_of({"kind": "ClusterRole", "name": name}, "") or rules
        starts = [f"clusterrolebindings.{RBAC}//"] + ([f"rolebindings.{RBAC}/{namespace}/"] if namespace else [])
        for key, binding in self.objects.items():
            if key.startswith(tuple(starts)) and any(map(self._is_me, binding.get("subjects") or [])):
                yield from self._rules_of(binding["roleRef"], binding["metadata"].get("namespace", ""))

    def _rules_of(self, reference: Object, namespace: str) -> list[Object]:
        if reference["kind"] == "Role":
            key = f"roles.{RBAC}/{namespace}/{reference['name']}"
        else:
            key = f"clusterroles.{RBAC}//{reference['name']}"
        built_in = _BOOTSTRAP[reference["name"]][0] if not namespace and reference["name"] in _BOOTSTRAP else []
        return list((self.objects.get(key) or {"rules": built_in}).get("rules") or [])

    def _is_me(self, subject: Object) -> bool:
        name = subject.get("name")
        if subject.get("kind") == "Group":
            return name in self.user["groups"]
        named = (
            f"system:serviceaccount:{subject.get('namespace')}:{name}" if subject["kind"] == "ServiceAccount" else name
        )
        return bool(named == self.user["username"])

    def confirm(self, kind: Kind, namespace: str, name: str, item: Object) -> None:
        """Refuse a role or binding that would give more than the user has. name: as the path has it, so "" when it is made."""
        if kind.group != RBAC or "system:masters" in self.user["groups"]:
            return
        if kind.kind in ("Role", "ClusterRole"):
            if self._lets(Asked("escalate", RBAC, kind.plural, "", namespace, name)):
                return
            wanted = _EVERYTHING if item.get("aggregationRule") else item.get("rules") or []
        else:
            reference = item["roleRef"]
            plural = "roles" if reference["kind"] == "Role" else "clusterroles"
            if self._lets(Asked("bind", RBAC, plural, "", namespace, reference["name"])):
                return
            key = f"{plural}.{RBAC}/{namespace if plural == 'roles' else ''}/{reference['name']}"
            if key not in self.objects and reference["name"] not in _BOOTSTRAP:
                missing = Kind(f"{RBAC}/v1", reference["kind"], plural, True)
                raise missing.refuse(404, "NotFound", reference["name"], "")
            wanted = self._rules_of(reference, namespace)
        held = list(self.rules(namespace))
        missing_rules = [one for rule in wanted for one in _single(rule) if not any(_covers(own, one) for own in held)]
        if missing_rules:
            groups = " ".join(json.dumps(one) for one in self.user["groups"])
            who = f'user "{self.user["username"]}" (groups=[{groups}])'
            says = "\n".join(_in_words(one) for one in missing_rules)
            said = f"{who} is attempting to grant RBAC permissions not currently held:\n{says}"
            raise kind.refuse(403, "Forbidden", item["metadata"].get("name", ""), said)

    def review(self, kind: Kind, body: Any, denied: set[tuple[str, str, str, str]]) -> Answer:
        """The answer to a review of oneself."""
        if kind.kind == "SelfSubjectReview":
            status: Object = {"userInfo": self.user}
        elif kind.kind == "SelfSubjectRulesReview":
            rules = list(self.rules(body["spec"].get("namespace", "")))
            status = {"resourceRules": [one for one in rules if "resources" in one], "incomplete": True}
            status["nonResourceRules"] = [one for one in rules if "nonResourceURLs" in one]
            status["evaluationError"] = "webhook authorizer does not support user rule resolution"
        else:
            asked = _asked(body["spec"])
            no = (asked.verb, asked.group, asked.resource, asked.subresource) in denied
            status = {"allowed": self.allows(asked) and not no}
        return Answer(201, body | {"apiVersion": kind.api_version, "kind": kind.kind, "status": status})


def _asked(spec: Object) -> Asked:
    if other := spec.get("nonResourceAttributes"):
        return Asked(other.get("verb", ""), path=other.get("path", ""))
    known = spec.get("resourceAttributes") or {}
    return Asked(*(known.get(one, "") for one in ("verb", "group", "resource", "subresource", "namespace", "name")))


def asked_of(path: re.Match[str], verb: str, query: Mapping[str, str]) -> Asked:
    """A request for a resource as authorizers see it; a list of the one object of a name is about that object."""
    group = (path["grouped"] or "").rpartition("/")[0]
    namespace, name = path["namespace"] or "", path["name"] or ""
    if path["plural"] == "namespaces" and name:
        namespace = name
    only = re.fullmatch(r"metadata\.name==?([^,]+)", query.get("fieldSelector", ""))
    subresource = (path["subresource"] or "").partition("/")[0]
    return Asked(verb, group, path["plural"], subresource, namespace, name or (only[1] if only else ""))


def _allows(rule: Object, asked: Asked) -> bool:
    if not _has(rule, "verbs", asked.verb):
        return False
    if asked.path:
        urls = rule.get("nonResourceURLs") or []
        return any(url == asked.path or (url.endswith("*") and asked.path.startswith(url[:-1])) for url in urls)
    resources, names = rule.get("resources") or [], rule.get("resourceNames") or []
    named = {"*", asked.what} | ({f"*/{asked.subresource}"} if asked.subresource else set())
    return _has(rule, "apiGroups", asked.group) and bool(named & set(resources)) and (not names or asked.name in names)


def _has(rule: Object, part: str, wanted: str) -> bool:
    return bool({"*", wanted} & set(rule.get(part) or []))


def _single(rule: Object) -> Iterator[Object]:
    """A rule broken down: one verb, one group, one resource or path each."""
    for verb in rule.get("verbs") or []:
        for url in rule.get("nonResourceURLs") or []:
            yield {"nonResourceURLs": [url], "verbs": [verb]}
        named = rule.get("resourceNames") or [None]
        for group, resource, name in itertools.product(rule.get("apiGroups") or [], rule.get("resources") or [], named):
            one = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
            yield one | ({"resourceNames": [name]} if name is not None else {})


def _covers(own: Object, one: Object) -> bool:
    """Whether a rule gives all that a single one gives."""
    if not _has(own, "verbs", one["verbs"][0]):
        return False
    if "nonResourceURLs" in one:
        return _allows(own, Asked("*" if one["verbs"] == ["*"] else one["verbs"][0], path=one["nonResourceURLs"][0]))
    if not _has(own, "apiGroups", one["apiGroups"][0]):
        return False
    _, _, subresource = one["resources"][0].partition("/")
    named = {"*", one["resources"][0]} | ({f"*/{subresource}"} if subresource else set())
    names = own.get("resourceNames") or []
    return bool(named & set(own.get("resources") or [])) and (not names or one.get("resourceNames", [""])[0] in names)


def _in_words(rule: Object) -> str:
    """A rule in the words of the API server (component-helpers, CompactString)."""
    parts = [(name[0].upper() + name[1:], rule.get(name)) for name in (*_RULE_PARTS, "verbs")]
    words = [f"{name}:{json.dumps(value, separators=(' ', ':'))}" for name, value in parts if value is not None]
    return "{" + ", ".join(word.replace("ApiGroups", "APIGroups") for word in words) + "}"
