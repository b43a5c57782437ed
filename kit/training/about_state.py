"""What is looked at in a lab that is done: whether the attacker is out, service is up and evidence is kept.

What has to hold is the ground truth's: the identities, pods and objects that were the attacker's, and those that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kit.model.arn import compared
from kit.model.identity import SERVICE_ACCOUNT
from kit.training.calls import outcome, with_namespace
from kit.training.kinds import LabQuestion, Reached
from kit.training.lab_state import (
    ENDED_INSTANCE,
    LabState,
    arns_of,
    done_in_cluster,
    is_allowed,
    is_cut_off,
    is_exposed,
    may_still,
    pod_of,
    services_up,
    state_recorded,
)
from kit.training.material import Material


def attacker_is_out(material: Material) -> LabQuestion:
    """Whether the attacker's identities may still do what they did."""
    before = state_recorded(material)
    names = sorted({str(one["username"]) for one in material.truth["attacker"]["identities"]})
    known = {name: events for name in names if (events := list(done_in_cluster(material, name)))}
    return Reached(
        name="attacker_is_out",
        text="Each of the attacker's identities is refused what it did.",
        goal="Take the attacker's access away",
        things={name: f"{name} is refused." for name in known if may_still(known[name], before)},
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
        hints=(
            "Policies add up: a pod that another policy lets through is not cut off, nor is one on which none is enforced.",
            "`kit check` says whether what was done holds.",
        ),
    )


def nothing_is_exposed(material: Material) -> LabQuestion:
    """Whether the Services that were put on the internet are closed to it."""
    before = state_recorded(material)
    named = [key for key in _of_findings(material, "objects_created") if key.startswith("services/")]
    open_ = [key for key in named if is_exposed(before.at(key))]
    return Reached(
        name="nothing_is_exposed",
        text="Each Service that a finding names as exposed is closed to the internet, or is gone.",
        goal="Cut off what the attacker reaches",
        things={key: f"{key} is closed to the internet." for key in open_},
        proof={key: f"{key} was made with a load balancer" for key in open_},
        hints=("A Service of type ClusterIP has no load balancer.", "`kit plan --only contain`"),
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
    before = state_recorded(material)
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
    left = _left_to_its_owner(material) if left_to_its_owner.__name__ in material.lab.questions else []
    gone = [key for key in _workloads_deleted(material) if key not in left]
    return Reached(
        name="what_was_deleted_is_back",
        text="Each workload that the attacker deleted stands again, unless somebody else brings it back.",
        goal="Bring back what was lost",
        things={key: f"{key} stands." for key in gone},
        proof={key: f"{key} was deleted by the attacker" for key in gone},
        hints=("The audit log holds what a deleted object was.", "`kit plan --only recover`"),
    )


def left_to_its_owner(material: Material) -> LabQuestion:
    """Whether what its owner brings back was left to its owner, though the plan brings back everything."""
    things = {key: f"{key} was left to its owner." for key in _left_to_its_owner(material)}
    return Reached(
        name="left_to_its_owner",
        text=f"The owner of {', '.join(things)} writes: a run that starts now does again what was done by hand meanwhile; I bring it back myself. Until then it stays deleted.",
        goal="Know when a planned action is not taken",
        things=things,
        keeps=True,
        proof={key: f"{key}: its owner wrote that it stays deleted" for key in things},
        hints=("A plan knows no owners.", "`kit undo --only ID` takes back one action of a plan that was applied."),
    )


def own_calls_go_on(material: Material) -> LabQuestion:
    """Whether an application whose account was stolen may still do what its own pods did before."""
    asked = {key: events[0] for key, events in _own_calls(material).items()}
    before = state_recorded(material)
    asked = {key: event for key, event in asked.items() if is_allowed(event, before)}
    return Reached(
        name="own_calls_go_on",
        text="The stolen token was bound to a pod that is gone, so it is dead. The application goes on: its own pods may do what they did.",
        goal="Act on what is the attacker's, and on nothing else",
        things={key: f"The application may still {key}." for key in asked},
        keeps=True,
        proof={key: f"{key}: audit:{event['auditID']}, of its own pod" for key, event in asked.items()},
        hints=(
            "The plan says of each action what else stops working.",
            "`kit plan --without NAME` leaves out an action or a stage.",
        ),
    )


def service_is_up(material: Material) -> LabQuestion:
    """Whether what is not the attacker's works as before: Services, nodes, people."""
    before = state_recorded(material)
    theirs = {compared(arn) for event in material.hostile_events for arn in arns_of(event)}
    touched = {pod["node"] for pod in material.truth["attacker_touched_pods"]}
    things = {f"service {name}": f"Service {name} has a pod that serves." for name in services_up(before)}
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
        things=things,
        keeps=True,
        proof=dict(things),
        hints=("What is destroyed waits for its capture.", "`kit plan` has the order."),
    )


def _look_at_access(material: Material, held: LabState) -> Iterator[str]:
    names = {str(one["username"]) for one in material.truth["attacker"]["identities"]}
    yield from (name for name in names if not may_still(list(done_in_cluster(material, name)), held))


def _look_at_pods(material: Material, held: LabState) -> Iterator[str]:
    before = state_recorded(material)
    for pod in _touched(material):
        stands = pod_of(held, pod["uid"])
        if stands is None or is_cut_off(stands, held) or not held.is_up(pod["node"], before.instance(pod["node"])):
            yield with_namespace(pod)


def _look_at_exposed(material: Material, held: LabState) -> Iterator[str]:
    yield from (key for key in _of_findings(material, "objects_created") if not is_exposed(held.at(key)))


def _look_at_frozen(material: Material, held: LabState) -> Iterator[str]:
    before = state_recorded(material)
    for node in _nodes(material):
        instance = before.instance(node)
        if held.snapshots.get(instance):
            yield f"snapshot {node}"
        if held.aws["instances"].get(instance, {}).get("protected"):
            yield f"protected {node}"
    yield from (f"saved {with_namespace(pod)}" for pod in _touched(material) if held.is_captured(pod["name"]))


def _look_at_captured(material: Material, held: LabState) -> Iterator[str]:
    before = state_recorded(material)
    for node in _nodes(material):
        if "completed" in held.snapshots.get(before.instance(node), ()):
            yield f"finished {node}"
        if held.is_captured(node):
            yield f"processes {node}"


def _look_at_made(material: Material, held: LabState) -> Iterator[str]:
    yield from (key for key in _of_findings(material, "objects_created") if held.at(key) is None)


def _look_at_deleted(material: Material, held: LabState) -> Iterator[str]:
    yield from (key for key in _of_findings(material, "objects_deleted") if held.at(key))


def _look_at_left(material: Material, held: LabState) -> Iterator[str]:
    yield from (key for key in _left_to_its_owner(material) if held.at(key) is None)


def _look_at_own_calls(material: Material, held: LabState) -> Iterator[str]:
    yield from (key for key, events in _own_calls(material).items() if is_allowed(events[0], held))


def _look_at_service(material: Material, held: LabState) -> Iterator[str]:
    before = state_recorded(material)
    yield from (f"service {name}" for name in services_up(held))
    names = [str(one["metadata"]["name"]) for one in before.of("nodes")]
    yield from (f"node {name}" for name in names if held.is_up(name, before.instance(name)))
    yield from (f"access {one}" for one in held.principals)


def _look_at_kept(material: Material, held: LabState) -> Iterator[str]:
    before = state_recorded(material)
    for pod in _touched(material):
        if pod_of(held, pod["uid"]) or held.is_captured(pod["name"]):
            yield f"pod {with_namespace(pod)}"
    for node in _nodes(material):
        instance = before.instance(node)
        ended = held.aws["instances"].get(instance, {}).get("state") in ENDED_INSTANCE
        if not ended or held.snapshots.get(instance):
            yield f"node {node}"


LOOKED_AT: dict[str, tuple[Callable[[Material], LabQuestion], Callable[[Material, LabState], Iterator[str]]]] = {
    ask.__name__: (ask, look)
    for ask, look in (
        (evidence_is_frozen, _look_at_frozen),
        (nothing_is_exposed, _look_at_exposed),
        (attackers_pods_are_cut_off, _look_at_pods),
        (attacker_is_out, _look_at_access),
        (evidence_is_captured, _look_at_captured),
        (attackers_objects_are_gone, _look_at_made),
        (what_was_deleted_is_back, _look_at_deleted),
        (left_to_its_owner, _look_at_left),
        (own_calls_go_on, _look_at_own_calls),
        (service_is_up, _look_at_service),
        (evidence_is_kept, _look_at_kept),
    )
}
"""Name → what has to hold, and the look at what does."""


def _of_findings(material: Material, member: str) -> list[str]:
    return sorted({str(key) for one in material.told.values() for key in one[member]})


def _workloads_deleted(material: Material) -> list[str]:
    before, made = state_recorded(material), set(_of_findings(material, "objects_created"))
    deleted = [key for key in _of_findings(material, "objects_deleted") if key not in made and before.at(key) is None]
    return [key for key in deleted if not key.startswith("pods/")]


def _left_to_its_owner(material: Material) -> list[str]:
    """What runs by itself at a time of its own: bringing it back is its owner's decision."""
    return [key for key in _workloads_deleted(material) if key.startswith("cronjobs/")]


def _own_calls(material: Material) -> dict[str, list[Any]]:
    """What the pods of the stolen service accounts did, not the attacker, as words → its events."""
    names = {str(one["username"]) for one in material.truth["attacker"]["identities"]}
    hostile, found = set(material.truth["attacker_calls"]), dict[str, list[Any]]()
    for event in material.events:
        about, user = event.get("objectRef") or {}, str(event["user"]["username"])
        own = user in names and user.startswith(SERVICE_ACCOUNT) and event["auditID"] not in hostile
        if own and about.get("resource") and outcome(event) == "was let through":
            found.setdefault(f"{event['verb']} {about['resource']} in {about.get('namespace', '')}", []).append(event)
    return found


def _touched(material: Material) -> list[Any]:
    return [pod for pod in material.truth["attacker_touched_pods"] if pod["deleted"] is None]


def _nodes(material: Material) -> list[str]:
    return sorted({str(pod["node"]) for pod in _touched(material)})
