"""What is looked at in a lab that is done: whether the attacker is out, service is up and evidence is kept.

What has to hold is the ground truth's: the identities, pods and objects that were the attacker's, and those that were not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from kit.model.arn import compared
from kit.training.calls import outcome, with_namespace
from kit.training.emulators.kubernetes_access import Access
from kit.training.emulators.kubernetes_documents import satisfied
from kit.training.emulators.kubernetes_kinds import Asked, Object, as_state
from kit.training.kinds import LabQuestion, Reached
from kit.training.material import Material

_ENDED, _FINISHED = ("shutting-down", "terminated"), ("Succeeded", "Failed")
_FOR_ALL = ("authorization.k8s.io", "authentication.k8s.io")  # groups in which everybody may ask about themselves
_SERVICE_ACCOUNT, _ANONYMOUS = "system:serviceaccount:", "system:anonymous"


@dataclass(frozen=True)
class Held:
    """What account, cluster and case hold at one moment.

    objects: by their keys in the emulator's state. aws: as kit.training.emulators.aws_state has it, {} of a recording. principals: who signs
    in through access entries or aws-auth, as the authenticator compares them. captured: names of the files that were captured.
    snapshots: instance → states of the snapshots of its volumes.
    """

    objects: Mapping[str, Object]
    principals: frozenset[str]
    aws: Mapping[str, Any] = field(default_factory=dict)
    captured: frozenset[str] = frozenset()
    snapshots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, resource: str) -> list[Object]:
        """The objects of one kind."""
        return [one for key, one in self.objects.items() if key.partition("/")[0].partition(".")[0] == resource]

    def at(self, place: str) -> Object | None:
        """The object at RESOURCE/NAMESPACE/NAME, the resource without its group."""
        found = (one for key, one in self.objects.items() if _place(key) == place)
        return next(found, None)

    def instance(self, node: str) -> str:
        """The id of a node's instance."""
        known = self.objects.get(f"nodes//{node}", {}).get("spec", {}).get("providerID", "")
        return str(known.rpartition("/")[2])

    def is_up(self, node: str, instance: str) -> bool:
        """Whether a node stands, its instance runs, and something gets through to it."""
        known = self.aws.get("instances", {}).get(instance, {})
        if f"nodes//{node}" not in self.objects or known.get("state") in _ENDED:
            return False
        groups = {group for each in known.get("groups", {}).values() for group in each}
        listed = [self.aws["security_groups"][group] for group in groups]
        return not listed or any(one["ingress"] or one["egress"] for one in listed)

    def is_captured(self, name: str) -> bool:
        """Whether a file was captured that is named after a thing."""
        return any(name in file for file in self.captured)


def recorded(material: Material) -> Held:
    """What a recording holds when a lab begins."""
    texts = material.texts
    entries = [
        json.loads(text)["accessEntry"]["principalArn"]
        for name, text in texts.items()
        if name.startswith("aws/eks-describe-access-entry-")
    ]
    objects = as_state(texts)
    return Held(objects, frozenset(map(compared, entries)) | mapped_in(objects))


def mapped_in(objects: Mapping[str, Object]) -> frozenset[str]:
    """The principals that aws-auth maps."""
    data = (objects.get("configmaps/kube-system/aws-auth") or {}).get("data") or {}
    lines = [one for member in ("mapRoles", "mapUsers") for one in yaml.safe_load(data.get(member) or "[]")]
    return frozenset(compared(str(one.get("rolearn") or one.get("userarn"))) for one in lines)


def attacker_is_out(material: Material) -> LabQuestion:
    """Whether the attacker's identities may still do what they did."""
    before = recorded(material)
    names = sorted({str(one["username"]) for one in material.truth["attacker"]["identities"]})
    known = {name: events for name in names if (events := list(_let_through(material, name)))}
    return Reached(
        name="attacker_is_out",
        text="Each of the attacker's identities is refused what it did.",
        goal="Take the attacker's access away",
        things={name: f"{name} is refused." for name in known if _is_in(known[name], before)},
        proof={name: f"{name}: audit:{events[0]['auditID']} was let through" for name, events in known.items()},
        hints=(
            "An identity gets in by a token, a binding, an access entry or a line of aws-auth.",
            "`kit check` says of each open entry whether it has ended.",
        ),
    )


def attackers_pods_are_cut_off(material: Material) -> LabQuestion:
    """Whether the pods that the attacker used reach nothing."""
    pods = {with_namespace(pod): pod for pod in _touched(material)}
    return Reached(
        name="attackers_pods_are_cut_off",
        text="Each pod that the attacker made or entered is cut off from the network, or is gone.",
        goal="Cut off what the attacker holds",
        things={name: f"Pod {name} reaches nothing." for name in pods},
        proof={name: f"{name}: {', '.join(pod['reasons'])}" for name, pod in pods.items()},
        hints=("Policies add up: a pod that another policy lets through is not cut off.", "`kit plan --only contain`"),
    )


def evidence_is_frozen(material: Material) -> LabQuestion:
    """Whether what is about to be lost was saved: the disks of the nodes, and the pods' objects and logs."""
    things = dict[str, str]()
    for node in _nodes(material):
        things |= {
            f"snapshot {node}": f"A snapshot of a volume of {node} was started.",
            f"protected {node}": f"The instance of {node} cannot be terminated by mistake.",
        }
    things |= {f"saved {name}": f"The object of {name} was saved." for name in map(with_namespace, _touched(material))}
    return Reached(
        name="evidence_is_frozen",
        text="The nodes of the attacker's pods are protected, their disks are being copied, and the pods' objects are saved.",
        goal="Save what will be lost, before anything else",
        things=things,
        proof=dict(things),
        hints=("The nodes are those on which the attacker's pods run.", "`kit plan --only freeze`"),
    )


def evidence_is_captured(material: Material) -> LabQuestion:
    """Whether what runs and what is on disk was captured whole."""
    things = dict[str, str]()
    for node in _nodes(material):
        things |= {
            f"finished {node}": f"A snapshot of a volume of {node} is finished.",
            f"processes {node}": f"What runs on {node} was listed.",
        }
    return Reached(
        name="evidence_is_captured",
        text="What runs on the nodes of the attacker's pods was listed, and their disks are copied.",
        goal="Capture what runs before it is destroyed",
        things=things,
        proof=dict(things),
        hints=("A snapshot that was started is not yet finished.", "`kit plan --only freeze --only capture`"),
    )


def attackers_objects_are_gone(material: Material) -> LabQuestion:
    """Whether the objects that the attacker made are gone."""
    before = recorded(material)
    made = [key for key in _of_findings(material, "objects_created") if before.at(key)]
    return Reached(
        name="attackers_objects_are_gone",
        text="Each object that the attacker made is gone.",
        goal="Remove what the attacker made",
        things={key: f"{key} is gone." for key in made},
        proof={key: f"{key} was made by the attacker" for key in made},
        hints=(
            "An object that the attacker deleted again needs no deletion.",
            "`kit plan` names what waits for a capture.",
        ),
    )


def what_was_deleted_is_back(material: Material) -> LabQuestion:
    """Whether the workloads that the attacker deleted stand again."""
    before, made = recorded(material), set(_of_findings(material, "objects_created"))
    gone = [
        key
        for key in _of_findings(material, "objects_deleted")
        if key not in made and not key.startswith("pods/") and before.at(key) is None
    ]
    return Reached(
        name="what_was_deleted_is_back",
        text="Each workload that the attacker deleted stands again.",
        goal="Bring back what was lost",
        things={key: f"{key} stands." for key in gone},
        proof={key: f"{key} was deleted by the attacker" for key in gone},
        hints=("The audit log holds what a deleted object was.", "`kit plan --only recover`"),
    )


def service_is_up(material: Material) -> LabQuestion:
    """Whether what is not the attacker's works as before: Services, nodes, people."""
    before = recorded(material)
    theirs = {compared(arn) for event in material.hostile_events for arn in _arns(event)}
    touched = {pod["node"] for pod in material.truth["attacker_touched_pods"]}
    things = {f"service {name}": f"Service {name} has a pod that serves." for name in _served(before)}
    nodes = sorted({str(one["metadata"]["name"]) for one in before.of("nodes")} - touched)
    things |= {f"node {name}": f"Node {name} is up." for name in nodes}
    things |= {f"access {one}": f"{one} can sign in." for one in sorted(before.principals - theirs)}
    return Reached(
        name="service_is_up",
        text="Services, nodes and people that the attacker had nothing to do with work as before.",
        goal="Act on what is the attacker's, and on nothing else",
        things=things,
        keeps=True,
        proof={key: f"the attacker neither used nor reached it: {says}" for key, says in things.items()},
        hints=("`kit preview` and the plan say what each action stops.", "`kit undo` takes back what went too far."),
    )


def evidence_is_kept(material: Material) -> LabQuestion:
    """Whether nothing was destroyed before it was captured."""
    pods = {with_namespace(pod): pod for pod in _touched(material)}
    things = {f"pod {name}": f"Pod {name} stands, or was captured." for name in pods}
    things |= {f"node {name}": f"Node {name} runs, or its disk was copied." for name in _nodes(material)}
    return Reached(
        name="evidence_is_kept",
        text="What the attacker left is still there, or was captured before it went.",
        goal="Act without losing evidence",
        things=things or {"findings": "The findings are there."},
        keeps=True,
        proof=dict(things),
        hints=("What is destroyed waits for its capture.", "`kit plan` has the order."),
    )


def _look_at_access(material: Material, held: Held) -> Iterator[str]:
    names = {str(one["username"]) for one in material.truth["attacker"]["identities"]}
    yield from (name for name in names if not _is_in(list(_let_through(material, name)), held))


def _look_at_pods(material: Material, held: Held) -> Iterator[str]:
    before = recorded(material)
    for pod in _touched(material):
        stands = _pod(held, pod["uid"])
        if stands is None or _is_cut_off(stands, held) or not held.is_up(pod["node"], before.instance(pod["node"])):
            yield with_namespace(pod)


def _look_at_frozen(material: Material, held: Held) -> Iterator[str]:
    before = recorded(material)
    for node in _nodes(material):
        instance = before.instance(node)
        if held.snapshots.get(instance):
            yield f"snapshot {node}"
        if held.aws["instances"].get(instance, {}).get("protected"):
            yield f"protected {node}"
    yield from (f"saved {with_namespace(pod)}" for pod in _touched(material) if held.is_captured(pod["name"]))


def _look_at_captured(material: Material, held: Held) -> Iterator[str]:
    before = recorded(material)
    for node in _nodes(material):
        if "completed" in held.snapshots.get(before.instance(node), ()):
            yield f"finished {node}"
        if held.is_captured(node):
            yield f"processes {node}"


def _look_at_made(material: Material, held: Held) -> Iterator[str]:
    yield from (key for key in _of_findings(material, "objects_created") if held.at(key) is None)


def _look_at_deleted(material: Material, held: Held) -> Iterator[str]:
    yield from (key for key in _of_findings(material, "objects_deleted") if held.at(key))


def _look_at_service(material: Material, held: Held) -> Iterator[str]:
    before = recorded(material)
    yield from (f"service {name}" for name in _served(held))
    names = [str(one["metadata"]["name"]) for one in before.of("nodes")]
    yield from (f"node {name}" for name in names if held.is_up(name, before.instance(name)))
    yield from (f"access {one}" for one in held.principals)


def _look_at_kept(material: Material, held: Held) -> Iterator[str]:
    before = recorded(material)
    for pod in _touched(material):
        if _pod(held, pod["uid"]) or held.is_captured(pod["name"]):
            yield f"pod {with_namespace(pod)}"
    for node in _nodes(material):
        instance = before.instance(node)
        ended = held.aws["instances"].get(instance, {}).get("state") in _ENDED
        if not ended or held.snapshots.get(instance):
            yield f"node {node}"
    yield "findings"


LOOKED_AT: dict[str, tuple[Callable[[Material], LabQuestion], Callable[[Material, Held], Iterator[str]]]] = {
    ask.__name__: (ask, look)
    for ask, look in (
        (evidence_is_frozen, _look_at_frozen),
        (attackers_pods_are_cut_off, _look_at_pods),
        (attacker_is_out, _look_at_access),
        (evidence_is_captured, _look_at_captured),
        (attackers_objects_are_gone, _look_at_made),
        (what_was_deleted_is_back, _look_at_deleted),
        (service_is_up, _look_at_service),
        (evidence_is_kept, _look_at_kept),
    )
}
"""Name → what has to hold, and the look at what does."""


def _place(key: str) -> str:
    resource, _, rest = key.partition("/")
    return f"{resource.partition('.')[0]}/{rest.removeprefix('/')}"


def _of_findings(material: Material, member: str) -> list[str]:
    return sorted({str(key) for one in material.told.values() for key in one[member]})


def _touched(material: Material) -> list[Any]:
    return [pod for pod in material.truth["attacker_touched_pods"] if pod["deleted"] is None]


def _nodes(material: Material) -> list[str]:
    return sorted({str(pod["node"]) for pod in _touched(material)})


def _arns(event: Object) -> list[str]:
    return list((event["user"].get("extra") or {}).get("arn") or ())


def _let_through(material: Material, name: str) -> Iterator[Object]:
    """What an identity of the attacker's did in the cluster, without what everybody may."""
    for event in material.hostile_events:
        about = event.get("objectRef") or {}
        counts = about.get("resource") and about.get("apiGroup", "") not in _FOR_ALL
        if event["user"]["username"] == name and counts and outcome(event) == "was let through":
            yield event


def _is_in(events: list[Object], held: Held) -> bool:
    """Whether an identity signs in and may do any of what it did."""
    for event in events:
        user, about = event["user"], event["objectRef"]
        name, arns = str(user["username"]), _arns(event)
        if arns:
            if held.principals & set(map(compared, arns)):
                return True
            continue
        if name.startswith(_SERVICE_ACCOUNT):
            account = held.objects.get(f"serviceaccounts/{name.removeprefix(_SERVICE_ACCOUNT).replace(':', '/')}")
            if account is None or account["metadata"]["uid"] != user.get("uid"):
                continue
        elif name != _ANONYMOUS:
            continue
        members = ("apiGroup", "resource", "subresource", "namespace", "name")
        asked = Asked(event["verb"], *(str(about.get(member, "")) for member in members))
        who = {"username": name, "groups": user.get("groups") or []}
        if Access(held.objects, who, "", []).allows(asked):
            return True
    return False


def _pod(held: Held, uid: str) -> Object | None:
    return next((one for one in held.of("pods") if one["metadata"]["uid"] == uid), None)


def _is_cut_off(pod: Object, held: Held) -> bool:
    """Whether the policies of a pod let nothing in and nothing out. Source: Kubernetes API reference, NetworkPolicy (policies add up)."""
    about = pod["metadata"]
    on = [
        one["spec"]
        for one in held.of("networkpolicies")
        if one["metadata"]["namespace"] == about["namespace"]
        and satisfied(_wanted(one["spec"].get("podSelector") or {}), about.get("labels") or {})
    ]
    return all(
        any(way in (one.get("policyTypes") or ()) for one in on) and not any(one.get(way.lower()) for one in on)
        for way in ("Ingress", "Egress")
    )


def _wanted(selector: Object) -> list[tuple[str, str, set[str]]]:
    wanted = [(key, "In", {value}) for key, value in (selector.get("matchLabels") or {}).items()]
    listed = selector.get("matchExpressions") or []
    return wanted + [(one["key"], one["operator"], set(one.get("values") or ())) for one in listed]


def _served(held: Held) -> list[str]:
    """The Services that have a pod which serves."""
    found = []
    for service in held.of("services"):
        selector, space = service["spec"].get("selector"), service["metadata"]["namespace"]
        behind = [
            one
            for one in held.of("pods")
            if selector
            and one["metadata"]["namespace"] == space
            and selector.items() <= (one["metadata"].get("labels") or {}).items()
            and one.get("status", {}).get("phase") not in _FINISHED
        ]
        if any(_serves(pod, held) for pod in behind):
            found.append(f"{space}/{service['metadata']['name']}")
    return sorted(found)


def _serves(pod: Object, held: Held) -> bool:
    node = pod["spec"].get("nodeName")
    return not _is_cut_off(pod, held) and (node is None or held.is_up(node, held.instance(node)))
