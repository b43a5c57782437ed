"""From a finding to pods: those that it names, those behind its caller, its binding and its node; and what came with them."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from kit.attribution.attacker import Attacker
from kit.attribution.calls import address_of
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing, in_window
from kit.lenient import dicts_of
from kit.model.arn import iam_arn
from kit.model.finding import ACCESS_KEY, API_CALL, INSTANCE_ID, ROLE_BINDING, SEQUENCE, USER_NAME, WORKLOAD, Finding
from kit.model.kinds import PODS, Certainty
from kit.model.kubernetes import FOLLOWED, WORKLOADS, plural
from kit.model.pod_spec import Grade
from kit.model.refs import Ref
from kit.model.why import AUDIT_OR_DUMP, SERVICE_OBJECTS, Rule, Why
from kit.scope.caller import arn_of_caller, identity_of_caller
from kit.scope.subject import FindingScope
from kit.words import counted, few


class FoundPod(NamedTuple):
    """A pod, the reason that puts it into scope, and whether that is sure (affected) or not (possible)."""

    pod: Thing
    why: Why
    sure: bool = True


def pods_of_finding(scope: FindingScope, inventory: Inventory, attacker: Attacker) -> list[FoundPod]:
    """The pods that a finding leads to; its caller, that one's role and its node are added at once."""
    return [
        *_named_pods(scope, inventory),
        *_callers_pods(scope, inventory, attacker),
        *_bound_pods(scope, inventory),
        *_node_pods(scope, inventory),
    ]


def _named_pods(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """Pods that the finding names: itself, through its workload, or behind its service."""
    workload = scope.finding.workload
    if not workload:
        return []
    uid = workload.get("Uid") or None
    ref = scope.finding.ref(f"{WORKLOAD}.uid" if uid else f"{WORKLOAD}.name")
    return _pods_named(
        scope, inventory, ref, workload.get("Type"), workload.get("Namespace"), workload.get("Name"), uid
    )


def _pods_named(
    scope: FindingScope, inventory: Inventory, ref: Ref, kind: Any, namespace: Any, name: Any, uid: Any
) -> list[FoundPod]:
    known = inventory.things.get(str(uid))
    resource = known.resource if known else _resource(kind)
    said = f"{resource} {namespace}/{name}"
    if resource == "pods":
        return _pod_named(scope, inventory, ref, namespace, name, uid, known)
    if resource == "services":
        return _pods_behind(scope, inventory, ref, namespace, name, uid, known)
    is_then = True
    if known is None and not uid:
        named, is_then = _then(scope, inventory.named(resource, namespace, name), said)
        uid = named[0].uid if len(named) == 1 else None
    found = inventory.pods_of_workload(resource, namespace, name, uid)
    sure_of_name = len({inventory.owner_uid(pod, resource, name) for pod, _ in found} - {None}) <= 1
    if not found and (resource in WORKLOADS.values() or not kind):
        says = f"The finding names {said}; no evidence shows a pod of it"
        scope.limit(PODS, says, AUDIT_OR_DUMP)
    return [
        FoundPod(
            pod,
            Why(ref, f"it belonged to {said}, which the finding names", Rule.FINDING),
            is_then and (sure or (not uid and sure_of_name)),
        )
        for pod, sure in found
    ]


def _pod_named(
    scope: FindingScope, inventory: Inventory, ref: Ref, namespace: Any, name: Any, uid: Any, known: Thing | None
) -> list[FoundPod]:
    if known:
        return [FoundPod(known, Why(ref, f"the finding names this pod by uid {uid}", Rule.FINDING))]
    if _is_uid(uid):
        says = f"the finding names this pod by uid {uid}; no other evidence shows it"
        return [FoundPod(_pod_in_finding(scope.finding, inventory, namespace, name, uid), Why(ref, says, Rule.FINDING))]
    named, is_then = _then(scope, inventory.named("pods", namespace, name), f"pod {namespace}/{name}")
    if not named:
        says = f"The finding names pod {namespace}/{name} without a uid, and no evidence shows such a pod"
        scope.limit(PODS, says, AUDIT_OR_DUMP)
    says = f"the finding names pods {namespace}/{name}, without a uid"
    return [FoundPod(pod, Why(ref, says, Rule.FINDING), is_then and len(named) == 1) for pod in named]


def _then(scope: FindingScope, things: list[Thing], said: str) -> tuple[list[Thing], bool]:
    """Of objects with a name that a finding names without a uid, those that existed when its event happened, and whether any did, as far as
    can be told: all of them, and a limit, when none did. said: the name."""
    at = scope.finding.last_seen_at
    alive = [thing for thing in things if at is None or thing.existed_at(at)]
    if things and not alive:
        says = f"The finding names {said} without a uid, and the evidence shows one of that name at another time only"
        scope.limit(PODS, says, AUDIT_OR_DUMP)
    return alive or things, bool(alive or not things)


def _pod_in_finding(finding: Finding, inventory: Inventory, namespace: Any, name: Any, uid: str) -> Thing:
    """A pod as only the finding knows it."""
    workload = finding.workload
    listed = workload.get("Containers")
    containers = [{"image": one["Image"]} for one in listed or [] if isinstance(one, dict) and one.get("Image")]
    spec: dict[str, Any] = {"containers": containers}
    if workload.get("ServiceAccountName"):
        spec["serviceAccountName"] = workload["ServiceAccountName"]
    node = inventory.node_of_instance.get(finding.instance_id or "")
    body = {"metadata": {}, "spec": spec}
    return Thing("pods", namespace, name, uid, body=body, node=node, partial=True)


def _pods_behind(
    scope: FindingScope, inventory: Inventory, ref: Ref, namespace: Any, name: Any, uid: Any, known: Thing | None
) -> list[FoundPod]:
    """The pods that a service selected at any time: those whose labels fitted a selector of its."""
    services, sure = (
        ([known], True)
        if known
        else _then(scope, inventory.named("services", namespace, name), f"service {namespace}/{name}")
    )
    sure = sure and len(services) == 1 and bool(known or not uid)
    found = list[FoundPod]()
    selectors = [(one, body.get("spec", {}).get("selector")) for one in services for body in one.ever]
    for service, selector in ((one, each) for one, each in selectors if isinstance(each, dict) and each):
        says = f"service {service.namespace}/{service.name}, which the finding names, selects it"
        for pod in inventory.pods:
            fits = any(selector.items() <= labels.items() for labels in pod.labels_ever)
            if pod.namespace == service.namespace and fits:
                found.append(FoundPod(pod, Why(ref, says, Rule.FINDING), sure))
    if not any(selector for _, selector in selectors):
        says = f"Which pods are behind service {namespace}/{name} cannot be told: no evidence holds its selector"
        scope.limit(PODS, says, SERVICE_OBJECTS)
    return found


def _callers_pods(scope: FindingScope, inventory: Inventory, attacker: Attacker) -> list[FoundPod]:
    """The caller itself, its role, and the pods under its service account or on its node."""
    finding = scope.finding
    caller = identity_of_caller(finding, attacker)
    if caller is None:
        return []
    ref = finding.ref(USER_NAME)
    own = attacker.own_calls.of(finding)
    spared = bool(attacker.source_of(finding)) or attacker.is_cleared(own)
    guilty: Certainty = "possible" if spared or (finding.is_policy and not attacker.is_hostile(own)) else "affected"
    scope.add(
        "identity", caller.user_name, Why(ref, "the finding names it as the caller", Rule.FINDING), certainty=guilty
    )
    address = address_of(finding.api_call)
    if address:
        why = Why(finding.ref(f"{API_CALL}.{address[1]}"), "the finding's call came from it", Rule.FINDING)
        scope.add("source_ip", address[0], why, certainty=guilty)
    arn = arn_of_caller(finding, attacker)
    if arn and caller.kind != "control_plane":
        scope.add("iam_role", arn[0], arn[1], certainty=guilty)
    if caller.service_account:
        why = Why(ref, "it is the finding's caller", Rule.FINDING)
        scope.add("service_account", caller.service_account, why, certainty=guilty)
        says = f"it runs under {caller.service_account}, the finding's caller"
        return _pods_under(inventory, caller.service_account, Why(ref, says), guilty == "affected")
    if caller.node and guilty == "affected":
        return pods_on_node(
            scope, inventory, caller.node, ref, f"it ran on {caller.node}, whose credential made the call"
        )
    return []


def _pods_under(inventory: Inventory, account: str, why: Why, sure: bool = True) -> list[FoundPod]:
    return [FoundPod(pod, why, sure) for pod in inventory.pods if pod.service_account == account]


def pods_on_node(
    scope: FindingScope, inventory: Inventory, node: str, ref: Ref, says: str, instance: str = ""
) -> list[FoundPod]:
    """The pods of a node while it was the machine that the finding is about: another one may have had its name before or after."""
    named = inventory.named("nodes", None, node)
    lives = [one for one in named if instance and str(one.spec.get("providerID")).endswith(f"/{instance}")]
    lives = lives or _then(scope, named, f"node {node}")[0]
    scope.add("node", node, Why(ref, "the finding is about this node itself", Rule.NAMED_NODE))
    role = inventory.node_roles.get(node)
    if role:
        scope.add("iam_role", role[0], role[1])
    return [FoundPod(pod, Why(ref, says), sure) for pod, sure in inventory.pods_on(node, lives)]


def _bound_pods(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """Pods under the service accounts that a role binding, made by the finding's call, gives rights to."""
    details = scope.finding.role_binding
    if not details:
        return []
    known = inventory.things.get(str(details.get("Uid")))
    kind = "clusterrolebindings" if details.get("Kind") == "ClusterRoleBinding" else "rolebindings"
    namespace = scope.finding.api_call.get("Namespace") if kind == "rolebindings" else None
    said = f"{kind} {details.get('Name')}"
    bindings, sure = (
        ([known], True) if known else _then(scope, inventory.named(kind, namespace, details.get("Name")), said)
    )
    sure = sure and len(bindings) == 1 and bool(known or not details.get("Uid"))
    certainty: Certainty = "affected" if sure else "possible"
    found = list[FoundPod]()
    for binding in bindings:
        for account in inventory.bound_accounts(binding):
            ref = binding.why[0].ref if binding.why else scope.finding.ref(ROLE_BINDING)
            why = Why(ref, f"{binding.path} gives it {details.get('RoleRefName')}")
            scope.add("service_account", account, why, certainty=certainty)
            says = f"it runs under {account}, to which {binding.path} gives rights"
            found += _pods_under(inventory, account, Why(ref, says), sure)
    if not any("subjects" in body for binding in bindings for body in binding.ever):
        says = f"Which identities {said} gives rights to cannot be told: no evidence holds its subjects"
        scope.limit(PODS, says, AUDIT_OR_DUMP)
    return found


def _node_pods(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """All pods on the node, when the finding names its instance, or its caller's session is of its role, and no workload."""
    finding = scope.finding
    if finding.user and not finding.workload and finding.session_instance in inventory.node_of_instance:
        return pods_on_instance(scope, inventory, str(finding.session_instance), finding.ref(ACCESS_KEY))
    if finding.workload or not finding.instance_id or finding.resource_type != "Instance":
        return []
    return pods_on_instance(scope, inventory, finding.instance_id, finding.ref(INSTANCE_ID))


def pods_on_instance(scope: FindingScope, inventory: Inventory, instance: str, ref: Ref) -> list[FoundPod]:
    """The pods of the node that an EC2 instance is; the node and its role are added at once."""
    node = inventory.node_of_instance.get(instance)
    if node is None:
        says = f"Which node instance {instance} is cannot be told"
        what = "`kubectl get nodes -o json` or `aws ec2 describe-instances`"
        scope.limit(PODS, says, what)
        return []
    return pods_on_node(scope, inventory, node, ref, f"it ran on {node}, which is instance {instance}", instance)


def _pods_of_resource(scope: FindingScope, inventory: Inventory, ref: Ref, resource: dict[str, Any]) -> list[FoundPod]:
    """The pods that a resource of an attack sequence names; a key's role and a container's image are added at once."""
    data, kind, uid = resource.get("Data") or {}, resource.get("ResourceType"), resource.get("Uid")
    if kind == "KUBERNETES_WORKLOAD":
        workload = data.get("KubernetesWorkload") or {}
        known = uid if _is_uid(uid) or str(uid) in inventory.things else None
        plural_name = workload.get("KubernetesResourcesTypes")
        return _pods_named(scope, inventory, ref, plural_name, workload.get("Namespace"), resource.get("Name"), known)
    if kind == "EC2_INSTANCE":
        return pods_on_instance(scope, inventory, _instance_in(resource), ref)
    if kind == "ACCESS_KEY":
        key = data.get("AccessKey") or {}
        word = "user" if key.get("UserType") == "IAMUser" else "role"
        if key.get("UserName") and resource.get("AccountId"):
            partition = resource.get("CloudPartition") or "aws"
            arn = iam_arn(partition, resource["AccountId"], word, key["UserName"])
            scope.add(
                "iam_role",
                inventory.full_arn(arn) or arn,
                Why(ref, f"access key {uid} is among the sequence's resources", Rule.FINDING),
            )
    elif kind == "CONTAINER" and (data.get("Container") or {}).get("Image"):
        scope.add("image", data["Container"]["Image"], Why(ref, "it is among the sequence's resources", Rule.FINDING))
    return []


def instances_of_sequence(finding: Finding) -> list[str]:
    """The EC2 instances among the resources of an attack sequence."""
    resources = dicts_of(finding.sequence.get("Resources"))
    return [_instance_in(one) for one in resources if one.get("ResourceType") == "EC2_INSTANCE"]


def _instance_in(resource: dict[str, Any]) -> str:
    return str(resource.get("Uid")).rsplit("/", 1)[-1]


def pods_of_sequence(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """The pods among the resources of an attack sequence; keys and images among them are added at once."""
    return [
        pod
        for number, resource in enumerate(dicts_of(scope.finding.sequence.get("Resources")))
        for pod in _pods_of_resource(scope, inventory, scope.finding.ref(f"{SEQUENCE}.resources[{number}]"), resource)
    ]


def add_pods(scope: FindingScope, inventory: Inventory, pods: list[FoundPod]) -> None:
    """The pods of the window with their nodes, service accounts, images and roles."""
    start, end = (scope.window.start, scope.window.end) if scope.window else (None, None)
    shown = list[Thing]()
    for pod, why, sure in pods:
        if not in_window([pod], start, end):
            continue
        shown.append(pod)
        certainty: Certainty = "affected" if sure else "possible"
        proof = pod.why or (why,)
        label = f"{pod.namespace}/{pod.name}"
        scope.add("pod", pod.uid, [why, *proof], certainty=certainty, thing=pod)
        if pod.node:
            exposed = [one for one in pod.host_access if one.grade is Grade.OWN_CREDENTIAL]
            reach = "".join(f" and {one.says}: {one.grade.value}" for one in exposed)
            scope.add("node", pod.node, Why(proof[-1].ref, f"pod {label} ran on it{reach}"), certainty=certainty)
        if pod.service_account:
            ran = Why(proof[0].ref, f"pod {label} ran under it")
            scope.add("service_account", pod.service_account, ran, certainty=certainty)
        for image in pod.images:
            scope.add("image", image, Why(proof[0].ref, f"pod {label} ran it"), certainty=certainty)
    _limit_pods(scope, shown)
    for subject in scope.all_of("service_account"):
        for role, grant in inventory.service_account_roles.get(subject.key, {}).items():
            why = Why(grant.why.ref, f"{subject.key}: {grant.why.says}")
            scope.add("iam_role", role, why, certainty=subject.certainty)


def _limit_pods(scope: FindingScope, pods: list[Thing]) -> None:
    """What no evidence tells of pods that are in scope."""
    for about, what, lacking in (
        (("node",), "node", [pod for pod in pods if not pod.node]),
        (
            ("service_account", "image", "iam_role"),
            "service account",
            [pod for pod in pods if not pod.service_account],
        ),
        (("image",), "image", [pod for pod in pods if pod.service_account and not pod.images]),
    ):
        named = sorted({f"{pod.namespace}/{pod.name}" for pod in lacking})
        if named:
            says = f"The {what} of {counted(len(named), 'pod')} in scope cannot be told: {few(named, 5)}"
            scope.limit(about, says, AUDIT_OR_DUMP)


def _resource(kind: Any) -> str:
    """The plural name of a workload type, however a finding spells it: pods, Pod, DaemonSet, deployments."""
    word = str(kind or "").lower()
    return word if word in FOLLOWED or not word else plural(word)


def _is_uid(value: Any) -> bool:
    try:
        return str(UUID(str(value))) == str(value).lower()
    except ValueError:
        return False
