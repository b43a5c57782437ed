"""What a simulation said of a plan is what then is: the plan is applied to the recording's account and cluster, and both are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.case.opening import open_case
from kit.live.changes.change import contains
from kit.model.arn import compared, name_in
from kit.plan.played import ClusterState, Played
from kit.training.emulators.controllers import takes_load_balancers_down
from tests.command import RECORDINGS, SAMPLE
from tests.live.scene import Scene, add_new_node, add_principals, standing

Object = dict[str, Any]
LEFT_OUT = (
    "keep_image",
    "recover",
)  # no registry stands in for the recordings' own, and nothing is brought back before it is gone
KEPT = ("--keep-address", "203.0.113.7/32", *(word for name in LEFT_OUT for word in ("--without", name)))
CHEAP = ("oidc_user_impact",)
OTHERS = sorted({path.name for path in RECORDINGS.iterdir()} - {*CHEAP})
ENDED, FINISHED = ("shutting-down", "terminated"), ("Succeeded", "Failed")


class After:
    """Account and cluster once a plan is applied, with what controllers and the scheduler would have made of it."""

    def __init__(self, scene: Scene, plan: dict[str, Any], before: dict[str, Object]) -> None:
        self.case, self.plan, self.before, self.now = scene.case, plan, before, scene.kubernetes.objects()
        self.aws = scene.aws.state()
        (self.cluster,) = self.aws["clusters"].values()

    def of(self, resource: str, of: dict[str, Object] | None = None) -> list[Object]:
        every = self.now if of is None else of
        return [one for key, one in every.items() if key.partition("/")[0].partition(".")[0] == resource]

    def at(self, known: Object) -> Object | None:
        """The object that an action's parameters name."""
        place = (known["resource"], known["namespace"] or "", known["name"])
        found = [one for key, one in self.now.items() if _place(key) == place]
        return found[0] if found else None

    def instance(self, node: str) -> Object:
        """The instance of a node; {} for a node that was added, and for none."""
        every = {one["metadata"]["name"]: one for one in [*self.of("nodes"), *self.of("nodes", self.before)]}
        id_ = every.get(node, {}).get("spec", {}).get("providerID", "").rpartition("/")[2]
        return dict(self.aws["instances"].get(id_, {}))

    def is_cut_off(self, node: str) -> bool:
        """Whether every interface of a node's instance has the quarantine group alone."""
        groups = self.instance(node).get("groups", {}).values()
        names = {self.aws["security_groups"][one]["name"] for each in groups for one in each}
        return bool(names) and all("quarantine" in name for name in names)

    def is_ended(self, node: str) -> bool:
        return self.instance(node).get("state") in ENDED

    def takes_pods(self, node: Object) -> bool:
        name = node["metadata"]["name"]
        return not (node.get("spec", {}).get("unschedulable") or self.is_ended(name) or self.is_cut_off(name))

    @property
    def has_room(self) -> bool:
        return any(map(self.takes_pods, self.of("nodes")))

    def serves(self, pod: Object) -> bool:
        """Whether a pod serves: one that waits for a node does where one takes pods, and one of an ended node has its successor there."""
        node, labels = pod["spec"].get("nodeName"), pod["metadata"].get("labels", {})
        if pod["status"].get("phase") in FINISHED:
            return False
        if node is None:
            return self.has_room
        if self.is_ended(node):
            kinds = {one["kind"] for one in pod["metadata"].get("ownerReferences", ())}
            return bool(kinds & {"ReplicaSet", "StatefulSet"}) and self.has_room
        return "kit-quarantine" not in labels and not self.is_cut_off(node)

    def services_without_endpoint(self) -> set[tuple[str, str]]:
        found = set[tuple[str, str]]()
        for service in self.of("services"):
            selector, space = service["spec"].get("selector"), service["metadata"]["namespace"]
            behind = [
                one
                for one in self.of("pods")
                if one["metadata"]["namespace"] == space
                and (selector or {}).items() <= one["metadata"].get("labels", {}).items()
            ]
            if selector and not any(map(self.serves, behind)):
                found.add(("service", f"{space}/{service['metadata']['name']}"))
        return found

    def pods_gone(self) -> set[str]:
        """Uids of pods that ran before and do not now; with its node ends what is on it."""
        left = {
            one["metadata"]["uid"] for one in self.of("pods") if not self.is_ended(one["spec"].get("nodeName") or "")
        }
        ran = [one for one in self.of("pods", self.before) if one["status"].get("phase") not in FINISHED]
        return {one["metadata"]["uid"] for one in ran} - left


def _place(key: str) -> tuple[str, str, str]:
    resource, namespace, name = key.split("/", 2)
    return resource.partition(".")[0], namespace, name


def _principals(after: After) -> set[str]:
    entries = {compared(one) for one in after.cluster.get("AccessEntry", {})}
    mapped = after.now.get("configmaps/kube-system/aws-auth", {}).get("data", {})
    lines = [one for member in ("mapRoles", "mapUsers") for one in yaml.safe_load(mapped.get(member) or "[]")]
    return entries | {compared(str(one.get("rolearn") or one.get("userarn"))) for one in lines}


def _is_denied(after: After, one: Object) -> bool:
    """Whether the role or user of an action has a policy that denies."""
    known, kinds = one["parameters"], ("roles", "users")
    name = name_in(known.get("role") or known["arn"])
    (held,) = [after.aws[kind][name] for kind in kinds if name in after.aws[kind]]
    return any(each["Effect"] == "Deny" for policy in held["inline"].values() for each in policy["Statement"])


def _subjects_are_out(after: After, one: Object) -> bool:
    left = (after.at(one["parameters"]) or {}).get("subjects") or []
    names = {(each["kind"], each["name"]) for each in left}
    return not names & {(each["kind"], each["name"]) for each in one["parameters"]["remove"]}


def _tokens_are_ended(after: After, one: Object) -> bool:
    known = one["parameters"]
    account = after.at(known | {"resource": "serviceaccounts"})
    secrets = [
        each
        for each in after.of("secrets")
        if each.get("type") == "kubernetes.io/service-account-token"
        and each["metadata"]["namespace"] == known["namespace"]
        and each["metadata"].get("annotations", {}).get("kubernetes.io/service-account.name") == known["name"]
    ]
    return not secrets and account is not None and (account["metadata"]["uid"] != known["uid"]) == known["recreate"]


def _is_moved(after: After, one: Object) -> bool:
    node, stays = one["parameters"]["node"], one["parameters"]["affected_pods"]
    return not [
        pod
        for pod in after.of("pods")
        if pod["spec"].get("nodeName") == node and pod["metadata"]["uid"] not in stays
        for owner in pod["metadata"].get("ownerReferences", ())
        if owner["kind"] in ("ReplicaSet", "StatefulSet")
    ]


def _is_gone(after: After, one: Object) -> bool:
    stands = after.at(one["parameters"])
    return stands is None or bool(one["uid"] and stands["metadata"]["uid"] != one["uid"])


def _labels(after: After, one: Object) -> dict[str, str]:
    return dict((after.at(one["parameters"]) or {}).get("metadata", {}).get("labels", {}))


def _running_pods(after: After, known: Object) -> list[str]:
    """The names of the pods that a workload, or a ReplicaSet of it, controls and that have not finished."""
    above = {known["uid"]}
    above |= {one["metadata"]["uid"] for one in after.of("replicasets") if above & _owners(one)}
    return [
        one["metadata"]["name"]
        for one in after.of("pods")
        if above & _owners(one) and one["status"].get("phase") not in FINISHED
    ]


def _owners(one: Object) -> set[str]:
    return {owner["uid"] for owner in one["metadata"].get("ownerReferences", ())}


def _node(one: Object) -> str:
    return str(one["target"].removeprefix("node:"))


SHOWS: dict[Effect, Callable[[After, Object], bool]] = {
    Effect.DELETES: _is_gone,
    Effect.REVERTS: lambda after, one: contains(after.at(one["parameters"]), one["parameters"]["patch"]),
    Effect.UNBINDS: _subjects_are_out,
    Effect.SUSPENDS: lambda after, one: _is_gone(after, one) or after.at(one["parameters"])["spec"]["suspend"] is True,  # type: ignore[index]
    Effect.STOPS: lambda after, one: _is_gone(after, one) or not _running_pods(after, one["parameters"]),
    Effect.RESTARTS: lambda after, one: (
        not {*one["parameters"]["pods"]} & {pod["metadata"]["uid"] for pod in after.of("pods")}
    ),
    Effect.CUTS_POD_OFF: lambda after, one: _is_gone(after, one) or "kit-quarantine" in _labels(after, one),
    Effect.WITHDRAWS: lambda after, one: not {*one["parameters"]["labels"]} & _labels(after, one).keys(),
    Effect.CLOSES_SERVICE: lambda after, one: after.at(one["parameters"])["spec"]["type"] == "ClusterIP",  # type: ignore[index]
    Effect.CORDONS: lambda after, one: after.now[f"nodes//{_node(one)}"]["spec"]["unschedulable"] is True,
    Effect.EVICTS: _is_moved,
    Effect.CUTS_NODE_OFF: lambda after, one: after.is_cut_off(_node(one)) or after.is_ended(_node(one)),
    Effect.ENDS_NODE: lambda after, one: after.is_ended(_node(one)),
    Effect.NARROWS_ENDPOINT: lambda after, one: (
        after.cluster["description"]["resourcesVpcConfig"]["publicAccessCidrs"] == one["parameters"]["keep"]
    ),
    Effect.SHUTS_OUT: lambda after, one: compared(one["parameters"]["arn"]) not in _principals(after),
    Effect.CLOSES_TRUST: lambda after, one: (
        "Deny"
        in [each["Effect"] for each in after.aws["roles"][name_in(one["parameters"]["role"])]["trust"]["Statement"]]
    ),
    Effect.ENDS_POD_IDENTITY: lambda after, one: (
        one["parameters"]["name"]
        not in [each["serviceAccount"] for each in after.cluster.get("PodIdentityAssociation", {}).values()]
    ),
    Effect.DENIES_SESSIONS: _is_denied,
    Effect.STOPS_KEY: lambda after, one: (
        {
            after.aws["users"][name_in(one["parameters"]["arn"])]["access_keys"][key]
            for key in one["parameters"]["access_key_ids"]
        }
        == {"Inactive"}
    ),
    Effect.ENDS_TOKENS: _tokens_are_ended,
}
"""Effect → whether account and cluster show it of an action. Of people's steps and of what only keeps evidence they show nothing."""
SHOWN_NOWHERE = {
    Effect.NONE,
    Effect.ADDS_NODES,
    Effect.ENDS_SIGN_IN,
    Effect.ROTATES,
    Effect.RESTORES,
    Effect.BLOCKS_IMAGE,
    Effect.BLOCKS_WRITES,
    Effect.TAKES_BACK,
}


def test_each_effect_is_looked_for_or_is_shown_nowhere() -> None:
    assert SHOWS.keys() | SHOWN_NOWHERE == set(Effect) and not SHOWS.keys() & SHOWN_NOWHERE


@contextmanager
def prepared(recording: str, folder: Path) -> Iterator[tuple[Scene, dict[str, Any]]]:
    """A recording's account and cluster with all that its plan names: keys, roles, the new node that is there when it is asked for; and the plan."""
    with standing(recording, folder) as scene:
        plan = scene.plan(*KEPT)
        add_principals(scene, plan)
        yield scene, plan


def by_stage(scene: Scene, plan: dict[str, Any]) -> Iterator[After]:
    """The plan, applied a stage after the other: people's steps count as done. EKS takes minutes, and so many looks at it here."""
    before = scene.kubernetes.objects()
    scene.kubernetes.recreate = True
    scene.kubernetes.faults.append(takes_load_balancers_down(scene.kubernetes))
    if any(Effect.ADDS_NODES in ACTIONS[one["action"]].effects for one in plan["actions"]):
        add_new_node(scene)
    stages, chosen, said = [one["stage"] for one in plan["simulated"]], list[str](), dict[str, str]()
    for stage in stages:
        chosen += ["--only", stage]
        part = scene.plan(*chosen, *KEPT)
        known = [one for one in plan["actions"] if one["stage"] in chosen]
        assert [one["id"] for one in part["actions"]] == [one["id"] for one in known], "a part is of the same plan"
        assert part["simulated"] == plan["simulated"][: stages.index(stage) + 1]
        hands = [word for one in known if one["by_person"] for word in ("--by-hand", one["id"])]
        works = {
            one["id"] for one in known if not one["by_person"] and {*ACTIONS[one["action"]].effects} - {Effect.NONE}
        }
        for _ in range(5):  # what is isolated first is gone later
            for one in scene.apply(part["digest"], "--without-capture", "the kubelets have no checkpoint API", *hands):
                said[one["id"]] = "" if one["word"] in ("done", "done before") else one["says"]
            if not any(said[id_] for id_ in works):
                break
        assert not any(said[id_] for id_ in works), {id_: said[id_] for id_ in works if said[id_]}
        yield After(scene, part, before)


def holds(after: After) -> None:
    """Both are compared: each effect, the pods that are gone, the Services that nobody serves, the nodes that take pods, what is open."""
    stages = {one["stage"] for one in after.plan["actions"]}
    for one in after.plan["actions"]:
        for effect in () if one["by_person"] else ACTIONS[one["action"]].effects:
            assert effect in SHOWN_NOWHERE or SHOWS[effect](after, one), (one["id"], effect, one["parameters"])
    frames = open_case(after.case).plan(only=stages, keep_addresses=["203.0.113.7/32"], without=LEFT_OUT)
    assert frames.plan.digest == after.plan["digest"]
    played = Played(ClusterState(frames._held.store, frames._held.inventory), frames.plan.actions)
    assert {one.pod.uid for one in played.standing.pods if played.ended(one)} == after.pods_gone()
    last = after.plan["simulated"][-1]
    rows = {(one["kind"], one["key"]): one for one in last["serves"]}
    assert {place for place in rows if place[0] == "service"} == after.services_without_endpoint()
    old = [one for one in after.of("nodes") if one["metadata"]["name"] != "new-node"]
    taking = sum(map(after.takes_pods, old))
    said = rows.get(("node", "nodes"))
    assert (said is None) == (taking == len(old))
    assert said is None or str(taking) in said["says"] or (taking == 0 and "none of" in said["says"])
    for one in last["attacker"]:
        if one["kind"] == "created" and one["state"] != "cannot tell":
            assert (one["state"] == "ended") == (not _is_open(after, one["key"])), one


def _is_open(after: After, key: str) -> bool:
    """Whether what the attacker made stands and is good for something."""
    resource, _, rest = key.partition("/")
    namespace, _, name = rest.rpartition("/")
    stands = after.at({"resource": resource, "namespace": namespace or None, "name": name})
    if stands and stands.get("kind") == "Pod" and after.is_ended(stands["spec"].get("nodeName") or ""):
        return False
    closed = stands is not None and stands.get("spec", {}).get("type") == "ClusterIP"
    return stands is not None and bool(stands.get("subjects", True)) and not closed


def look_agrees(scene: Scene, plan: dict[str, Any]) -> None:
    """`kit check` says of each open entry what the simulation said of it after the stage that was done last."""
    looked = {one["id"]: one for one in json.loads(scene.kit("check", "--json").stdout)["attacker"]["entries"]}
    people = {one["id"] for one in plan["actions"] if one["by_person"]}
    for one in plan["simulated"][-1]["attacker"]:
        now = looked[one["entry"]]
        if one["state"] == "ended":
            unseen = bool(people & {*one["by"]})  # nobody can look at what people did
            assert now["state"] == "dead" or (unseen and now["state"] == "cannot tell"), (one, now)
        elif "expired" not in now["because"] and "is gone from the cluster" not in now["because"]:
            assert now["state"] == LOOKED[one["state"]], (one, now)
            says = now["because"].removesuffix(" was done, and whether it holds could not be looked at")
            assert people or says.startswith(one["because"]), (one, now)
            assert says == now["because"] or one["state"] == "shut out", (one, now)  # an isolation that nobody can see


LOOKED = {"dies": "dies", "cannot tell": "cannot tell", "still works": "alive", "shut out": "alive"}


def _held_after_each_stage(recording: str, folder: Path) -> None:
    with prepared(recording, folder) as (scene, plan):
        for after in by_stage(scene, plan):
            holds(after)
            look_agrees(scene, after.plan)


@pytest.mark.parametrize("recording", CHEAP)
def test_what_a_simulation_says_is_what_then_is_after_each_stage(recording: str, tmp_path: Path) -> None:
    _held_after_each_stage(recording, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("recording", [*OTHERS, SAMPLE])
def test_what_a_simulation_says_is_what_then_is_for_every_recording(recording: str, tmp_path: Path) -> None:
    _held_after_each_stage(recording, tmp_path)
