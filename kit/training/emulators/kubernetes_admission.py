"""What an emulated API server asks before it stores an object: admission webhooks that fail, and quotas of a namespace.

Sources: kubernetes/kubernetes, apiserver/pkg/admission/plugin/webhook (generic/webhook.go, predicates; errors/statuserror.go), apiserver/pkg/admission/plugin/resourcequota
(controller.go); Kubernetes "Dynamic Admission Control", "Resource Quotas"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.training.emulators.kubernetes_documents import satisfied
from kit.training.emulators.kubernetes_kinds import Kind, Object, Refusal

_HOOKS = tuple(f"{sort}webhookconfigurations.admissionregistration.k8s.io/" for sort in ("mutating", "validating"))
_COUNTED = {
    "pods",
    "services",
    "secrets",
    "configmaps",
    "replicationcontrollers",
    "resourcequotas",
    "persistentvolumeclaims",
}


def ask_webhooks(
    objects: Mapping[str, Object], failing: set[str], operation: str, kind: Kind, namespace: str, item: Object
) -> None:
    """Refuse what a webhook of these names would be asked about, where it fails closed. Such kinds themselves are never asked about."""
    if kind.group == "admissionregistration.k8s.io":
        return
    for key, configuration in sorted(objects.items()):
        for one in configuration.get("webhooks") or [] if key.startswith(_HOOKS) else ():
            closed = one["name"] in failing and one.get("failurePolicy", "Fail") == "Fail"
            if closed and _is_asked(objects, one, operation, kind, namespace, item):
                raise _failed(one)


def _failed(hook: Object) -> Refusal:
    client = hook.get("clientConfig") or {}
    service = client.get("service") or {}
    seconds = hook.get("timeoutSeconds", 10)
    where = (
        client.get("url")
        or f"https://{service.get('name')}.{service.get('namespace')}.svc:{service.get('port', 443)}{service.get('path', '/')}"
    )
    why = f'no endpoints available for service "{service.get("name")}"' if service else "connect: connection refused"
    called = f'failed to call webhook: Post "{where}?timeout={seconds}s": {why}'
    said = f'Internal error occurred: failed calling webhook "{hook["name"]}": {called}'
    return Refusal(500, "InternalError", said, details={"causes": [{"message": said.partition(": ")[2]}]})


def _is_asked(
    objects: Mapping[str, Object], hook: Object, operation: str, kind: Kind, namespace: str, item: Object
) -> bool:
    version = kind.api_version.rpartition("/")[2]
    scope = "Namespaced" if namespace else "Cluster"
    asked = any(
        {"*", operation} & set(rule.get("operations") or ())
        and {"*", kind.group} & set(rule.get("apiGroups") or ())
        and {"*", version} & set(rule.get("apiVersions") or ())
        and {"*", "*/*", kind.plural} & set(rule.get("resources") or ())
        and rule.get("scope", "*") in ("*", scope)
        for rule in hook.get("rules") or ()
    )
    space = objects.get(f"namespaces//{item['metadata']['name'] if kind.plural == 'namespaces' else namespace}", {})
    of_space = (space.get("metadata") or {}).get("labels") or {}
    in_space = (kind.plural != "namespaces" and not namespace) or _selects(hook.get("namespaceSelector"), of_space)
    return bool(asked and in_space and _selects(hook.get("objectSelector"), item["metadata"].get("labels") or {}))


def _selects(selector: Any, labels: Mapping[str, str]) -> bool:
    wanted = [(key, "In", {value}) for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    listed = (selector or {}).get("matchExpressions") or []
    return satisfied(
        [*wanted, *((one["key"], one["operator"], set(one.get("values") or ())) for one in listed)], labels
    )


def ask_quotas(objects: Mapping[str, Object], kind: Kind, namespace: str, name: str) -> None:
    """Refuse one object more than a ResourceQuota lets a namespace have; quotas of compute are not looked at."""
    counted = [f"count/{kind.resource}", *([kind.plural] if kind.resource in _COUNTED else [])]
    used = sum(key.startswith(f"{kind.resource}/{namespace}/") for key in objects)
    for key, quota in sorted(objects.items()):
        hard = (quota.get("spec") or {}).get("hard") or {} if key.startswith(f"resourcequotas/{namespace}/") else {}
        for word in counted:
            if word in hard and used + 1 > int(hard[word]):
                limits = f"requested: {word}=1, used: {word}={used}, limited: {word}={hard[word]}"
                raise kind.refuse(403, "Forbidden", name, f"exceeded quota: {quota['metadata']['name']}, {limits}")
