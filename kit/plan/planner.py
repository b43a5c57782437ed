"""The plan: what is to be done, to what, in which order, what hangs on it and how it is undone. It changes nothing.

Made from the playbooks' actions and the scope: `affected` is acted on, `possible` is listed for review. The same evidence gives the same
plan; its digest covers the actions with their account, region and cluster, and is what is approved.
Order: freeze → contain → revoke → capture → eradicate → recover. Sources: as in kit.actions.registry.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kit.actions.registry import ACTIONS, STAGES, Action, Target, action_id, action_of, permissions_for
from kit.errors import CallError
from kit.inventory.inventory import Inventory
from kit.inventory.node_kind import AUTO, KARPENTER
from kit.model.kubernetes import GROUPS
from kit.model.refs import Ref
from kit.model.why import Rule, Why
from kit.plan.blast_radius import BlastRadius
from kit.plan.targets import Targets
from kit.playbooks.playbook import playbook_of
from kit.scope.scope import Scope
from kit.words import Names, counted

_KEEPS = ("freeze", "capture")
_CUTS = ("contain", "revoke")
# Stages and actions that come by what the scope has, whether the finding's playbook names them or not: every branch is walked.
_BY_PLAYBOOK = ("narrow_endpoint", "close_exposure", "drop_default_account_rights", "remove_anonymous_access")
_SNAPSHOTS = ("snapshot_volumes", "snapshot_checkpoints")
_NEED_THE_KUBELET = ("keep_objects", "capture_container", "capture_node")
_NO_CAPTURE = ("protect_node", "quarantine_node")  # nothing of it is lost with what is destroyed
ALWAYS = ("aws:eks:DescribeCluster", "aws:iam:SimulatePrincipalPolicy", "aws:iam:GetRole")
"""What every run needs: to tell the cluster by its address, and the caller's permissions in a preview."""
ASKS_NOBODY = (
    "the case shows that this is not the attacker's, or somebody who owns it objects: leave it out with --without"
)
NOT_SAID = "nobody has said which addresses it stays open for: plan it with --keep-address CIDR, or --private-endpoint"


@dataclass(frozen=True)
class PlannedAction:
    """One action on one target. Members as in the JSON form (docs/json.md); after: the ids that have to be done before.

    parameters: what kit.live takes to do it.
    by_person: why the kit does not do it itself, "" when it does.
    """

    id: str
    stage: str
    action: str
    does: str
    target: str
    name: str
    uid: str | None
    why: list[dict[str, str]]
    precondition: str
    blast_radius: list[str]
    undo: str
    cannot_undo: str
    command: list[str]
    permissions: list[str]
    when_not: list[str]
    after: list[str]
    parameters: dict[str, Any] = field(default_factory=dict)
    by_person: str = ""


@dataclass(frozen=True)
class Plan:
    """A plan. review: refs of subjects that are only possible: nothing is planned for them, somebody looks at them.

    not_possible: what cannot be done to something of its kind: action, target, name, says.
    """

    account: str | None
    region: str | None
    cluster: str | None
    actions: tuple[PlannedAction, ...]
    review: tuple[str, ...]
    not_possible: tuple[dict[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what would be done and where; the case's name and folder, and what is not done, are not in it."""
        covered = {
            "account": self.account,
            "region": self.region,
            "cluster": self.cluster,
            "actions": [asdict(one) for one in self.actions],
        }
        return hashlib.sha256(
            json.dumps(covered, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        ).hexdigest()


def make_plan(
    scope: Scope,
    targets: Targets,
    only: Names = (),
    without: Names = (),
) -> Plan:
    """The plan for the chosen findings of a scope: what their playbooks say, and every branch that what is affected leads into.

    only, without: names of actions or stages. Raises CallError for a name that is neither.
    """
    chosen = _chosen(only, without)
    asked = {do.action.name for one in targets.scopes for do in playbook_of(one.finding.type).actions}
    radius, whys = BlastRadius(scope), _whys(scope)
    made, impossible = list[_Made](), list[dict[str, str]]()
    for action in sorted(ACTIONS.values(), key=lambda one: STAGES.index(one.stage)):
        called_for = action.name in asked or (action.name == "narrow_endpoint" and targets.from_outside)
        if not targets.findings or (action.name in _BY_PLAYBOOK and not called_for):
            continue
        done, cannot = targets.of(action)
        for target in done:
            made.append((action, target, _planned(action, target, radius, whys, _when_not(action, target, targets))))
        if action.name == "unbind_identity":
            cannot += targets.of_groups()
        impossible += (
            []
            if action.name not in chosen
            else [
                {"action": action.name, "target": f"{target.kind}:{target.key}", "name": _name(target), "says": says}
                for target, says in cannot
            ]
        )
    made = _with_the_others(_without_what_goes_with_its_node(_merged(made)), targets, radius)
    every = [_after(targets, number, made) for number in range(len(made))]
    actions = tuple(_selected(one, chosen) for one in every if one.action in chosen)
    affected = {
        (one.kind, one.key) for part in scope.scopes for one in part.subjects.values() if one.certainty == "affected"
    }
    possible = {
        (one.kind, one.key): str(Ref.of(one.kind, one.key))
        for part in scope.scopes
        for one in part.subjects.values()
        if one.certainty == "possible" and one.kind != "reachable" and (one.kind, one.key) not in affected
    }
    place = targets.account, targets.region, targets.cluster
    return Plan(*place, actions, tuple(ref for _, ref in sorted(possible.items())), tuple(impossible))


_Made = tuple[Action, Target, "PlannedAction"]


def _when_not(action: Action, target: Target, targets: Targets) -> list[str]:
    """What the playbooks of the findings that have the target say about when not to do it."""
    about = [
        one.finding
        for one in targets.scopes
        if any((kind, key) == (target.kind, target.key) for kind, key, _ in one.subjects)
    ]
    said = (
        do.when_not for one in about or targets.findings for do in playbook_of(one.type).actions if do.action is action
    )
    return list(dict.fromkeys(said)) or [ASKS_NOBODY]


def _without_what_goes_with_its_node(made: list[_Made]) -> list[_Made]:
    """Pods that go with their node are not deleted before: their DaemonSet would start new ones on it."""
    ended = {target.key for action, target, _ in made if action.name == "terminate_node"}
    return [one for one in made if not (one[0].name == "delete_pod" and one[1].thing and one[1].thing.node in ended)]


def _selected(planned: PlannedAction, chosen: set[str]) -> PlannedAction:
    """The action in a plan of these actions alone: it waits for the captures that are left out all the same."""
    kept = [id_ for id_ in planned.after if (one := action_of(id_)) and (one.name in chosen or one.stage in _KEEPS)]
    return replace(planned, after=kept)


def _with_the_others(made: list[_Made], targets: Targets, radius: BlastRadius) -> list[_Made]:
    """What an action stops together with those of its kind: all nodes of the cluster, all pods behind a Service."""
    every = dict[str, set[str]]()
    for action, target, _ in made:
        every.setdefault(action.name, set()).add(target.key)
    found = list[_Made]()
    for action, target, planned in made:
        lines = list(planned.blast_radius)
        if action.name in ("cordon_node", "quarantine_node", "terminate_node"):
            hit = every[action.name]
            known = targets.nodes_left | hit
            if len(hit) > 1:
                rest = (
                    f"{counted(len(known - hit), 'node')} left" if known - hit else "no known node is left to run a pod"
                )
                lines.append(f"with the others of this plan {len(hit)} of {len(known)} known nodes: {rest}")
        if action.name in ("isolate_pod", "delete_pod"):
            lines += radius.services_without(target, every[action.name])
        found.append((action, target, replace(planned, blast_radius=lines)))
    return found


def _merged(made: list[_Made]) -> list[_Made]:
    """Each object is edited or deleted by one action: what deletes it wins, and of several edits of a binding the first does them all."""

    def place(target: Target) -> tuple[str, ...] | None:
        known = target.parameters
        return (
            (known["resource"], str(known["namespace"]), known["name"])
            if "expected" in known or "remove" in known
            else None
        )

    deleted = {place(target) for action, target, _ in made if action.destroys} - {None}
    kept, first = list[_Made](), dict[tuple[str, ...], dict[str, Any]]()
    for action, target, planned in made:
        where = place(target)
        if where and "remove" in target.parameters:
            if where in deleted:
                continue
            if where in first:
                first[where]["remove"] += [
                    one for one in planned.parameters["remove"] if one not in first[where]["remove"]
                ]
                continue
            first[where] = planned.parameters
        kept.append((action, target, planned))
    return kept


def _chosen(only: Names, without: Names) -> set[str]:
    def named(names: Names, flag: str) -> set[str]:
        found = set[str]()
        for name in names:
            of_stage = {one.name for one in ACTIONS.values() if name in (one.stage, one.name)}
            if not of_stage:
                raise CallError(
                    f"{name!r} is neither a stage nor an action",
                    where=flag,
                    next=f"stages are {', '.join(STAGES)}; docs/actions.md has the actions",
                )
            found |= of_stage
        return found

    kept = named(only, "--only") or set(ACTIONS)
    return kept - named(without, "--without")


def _whys(scope: Scope) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The reasons of each subject, of an affected one those that make it affected."""
    found = dict[tuple[str, str], dict[str, Why]]()
    every = [one for part in scope.scopes for one in part.subjects.values()]
    affected = {(one.kind, one.key) for one in every if one.certainty == "affected"}
    for one in every:
        if one.certainty == "affected" or (one.kind, one.key) not in affected:
            for why in one.why:
                found.setdefault((one.kind, one.key), {}).setdefault(why.says, why)
    return {
        place: [{"ref": str(why.ref), "says": why.says} for why in sorted(said.values(), key=_weight)[:5]]
        for place, said in found.items()
    }


def _weight(why: Why) -> tuple[bool, str]:
    """What the finding says and what the attacker did comes before what merely ran there."""
    return why.rule is Rule.PRESENT, why.says


def _planned(
    action: Action,
    target: Target,
    radius: BlastRadius,
    whys: dict[tuple[str, str], list[dict[str, str]]],
    when_not: list[str],
) -> PlannedAction:
    first = [{"ref": str(why.ref), "says": why.says} for why in target.why]
    return PlannedAction(
        id=action_id(action.name, target),
        stage=action.stage,
        action=action.name,
        does=action.does,
        target=f"{target.kind}:{target.key}",
        name=_name(target),
        uid=(target.thing.uid or None) if target.thing else None,
        why=[*first, *(one for one in whys.get((target.kind, target.key), []) if one not in first)][:5],
        precondition=action.precondition,
        blast_radius=[action.stops]
        if action.stops_nothing or action.stage == "freeze"
        else radius.of(target) or [f"by its kind: {action.stops}"],
        undo=action.undo,
        cannot_undo=action.cannot_undo,
        command=action.commands(target),
        permissions=permissions_for(action, target),
        when_not=when_not,
        after=[],
        parameters=copy.deepcopy(target.parameters),
        by_person=_by_person(action, target),
    )


def _by_person(action: Action, target: Target) -> str:
    """Why a person has to do it to this target, "" when the kit does."""
    if action.name == "narrow_endpoint" and target.parameters["keep"] is None:
        return NOT_SAID
    own_service = target.namespace == "kube-system" and not target.parameters.get("made_by_attacker")
    if action.name == "isolate_pod" and own_service:
        return "it is the cluster's own service: without traffic names or addresses fail everywhere; look first whether a new one stands in for it"
    if action.name == "revoke_role_sessions" and target.kind == "node":
        return "the node's credential was in reach, and nothing here shows that it was used: look in CloudTrail for sessions of its instance, and decide; the kit ends it where it was used"
    if action.name == "keep_image" and not target.parameters["repository"]:
        return "it is in no ECR registry: pull it by the digest that ran and save it, as the commands do"
    if action.name == "restore_objects" and not target.parameters["body"]:
        return "your repository or your backup has it as it should be: the evidence has not, or it is a pod or a Secret"
    return action.by_person


def _name(target: Target) -> str:
    return "/".join(part for part in (target.namespace, target.name) if part) if target.thing else target.key


def _after(targets: Targets, number: int, made: list[_Made]) -> PlannedAction:
    """The planned action with what has to be done before it: what destroys waits for the capture of the same thing and of what hangs on
    it; pods go after the workload that would start them anew; a role's sessions wait until its tokens get no new ones; new secrets wait
    for the end of the attacker's access; nodes go one after the other, and the last of them when there are new ones."""
    inventory = targets.inventory
    action, target, planned = made[number]
    before = [(one, of, done.id) for place, (one, of, done) in enumerate(made) if place != number]
    after = list[str]()
    if action.destroys:
        after += [
            id_
            for one, of, id_ in before
            if one.stage in _KEEPS and one.name not in _NO_CAPTURE and _holds(inventory, target, one, of)
        ]
    if action.name == "quarantine_node":  # the kubelet is cut off with it
        after += [
            id_ for one, of, id_ in before if one.name in _NEED_THE_KUBELET and _holds(inventory, target, one, of)
        ]
    if action.name in ("rotate_secrets", "roll_out_fixed"):
        after += [id_ for one, _, id_ in before if one.stage in _CUTS]
    if action.name == "restore_objects":
        after += [id_ for one, _, id_ in before if one.stage == "revoke"]
    if action.name == "archive_finding":
        after += [id_ for one, _, id_ in before if one.stage != "recover"]
    for one, of, id_ in before:
        same = (of.kind, of.key) == (target.kind, target.key)
        roles = inventory.service_account_roles.get(of.key, {}) if one.name == "remove_pod_identity" else {}
        if (
            (action.name == "revoke_role_sessions" and one.name == "change_role_trust" and same)
            or (action.name == "revoke_role_sessions" and target.key in roles)
            or (action.name == "finish_snapshots" and one.name in _SNAPSHOTS and same)
            or (
                action.name == "snapshot_checkpoints"
                and one.name == "capture_container"
                and of.thing
                and of.thing.node == target.key
            )
            or (
                action.name == "cordon_node"
                and one.name == "protect_node"
                and same
                and target.parameters["node_kind"] in (KARPENTER, AUTO)
            )
            or (action.name == "terminate_node" and one.name == "cordon_node" and same)
            or (action.name == "terminate_node" and one.name == "add_nodes")
            or (action.name == "delete_pod" and one.name == "delete_workload" and _runs(inventory, of, target))
        ):
            after.append(id_)
    if action.name == "terminate_node":
        after += [done.id for one, _, done in made[:number] if one.name == "terminate_node"][-1:]
    snapshots = [id_ for one, of, id_ in before if one.name in _SNAPSHOTS and of.key == target.key]
    more = {"of": snapshots} if action.name == "finish_snapshots" else {}
    return replace(planned, after=list(dict.fromkeys(after)), parameters=planned.parameters | more)


def _runs(inventory: Inventory, workload: Target, pod: Target) -> bool:
    """Whether a workload is what a pod belongs to."""
    thing = workload.thing
    if thing is None or pod.thing is None:
        return False
    owned = inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)
    return any(one.uid == pod.thing.uid for one, _ in owned)


def _holds(inventory: Inventory, destroyed: Target, keeps: Action, kept: Target) -> bool:
    """Whether what is kept would be lost with what is destroyed: the same thing, the pods of a node, the pods of a workload; and with a pod
    what is on its node's disk."""
    if (destroyed.kind, destroyed.key) == (kept.kind, kept.key):
        return True
    thing = destroyed.thing
    if kept.kind == "node" and thing and destroyed.kind in ("pod", "created"):
        disks = keeps.name in (*_SNAPSHOTS, "finish_snapshots")
        pods = (
            [thing]
            if destroyed.kind == "pod"
            else [one for one, _ in inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)]
        )
        return disks and any(one.node == kept.key and one.standing is not False for one in pods)
    if kept.kind != "pod" or kept.thing is None:
        return False
    if destroyed.kind == "node":
        return kept.thing.node == destroyed.key
    return destroyed.kind == "created" and (
        bool(thing and thing.uid == kept.thing.uid) or _runs(inventory, destroyed, kept)
    )


def permissions_of(plan: Plan) -> dict[str, Any]:
    """The least that the plan needs: an IAM policy and the rules of a ClusterRole, as their APIs take them."""
    every = sorted({one for action in plan.actions if not action.by_person for one in action.permissions})
    if any(one.startswith("aws:") for one in every):
        every = sorted({*every, *ALWAYS})
    aws = [one.split(":", 2)[1:] for one in every if one.startswith("aws:")]
    rules = dict[tuple[str, str, str], set[str]]()
    for one in every:
        if one.startswith("kubernetes:"):
            _, path, verb, name = [*one.split(":", 3), ""][:4]
            group, _, resource = path.rpartition("/") if path.partition("/")[0] in GROUPS else ("", "", path)
            rules.setdefault((group, resource, name), set()).add(verb)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": [f"{service}:{name}" for service, name in aws], "Resource": "*"}]
        if aws
        else [],
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "kit-remediation"},
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
            | ({"resourceNames": [name]} if name else {})
            for (group, resource, name), verbs in sorted(rules.items())
        ],
    }
    return {"iam_policy": policy, "cluster_role": role}
