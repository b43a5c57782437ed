"""Each act runs with exactly the roles that `kit permissions plan` prints for it: what is missing fails, what is too much is told."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends

from kit.actions.permission import Permission, permissions_for
from kit.actions.registry import ACTIONS
from kit.actions.target import Parameters, Target
from kit.inventory.thing import Thing
from kit.plan.permissions import permissions_of
from kit.plan.plan import Plan, PlannedAction
from kit.training.emulators.aws_emulator import CUT
from kit.training.emulators.kubernetes_access import RBAC
from kit.training.emulators.kubernetes_emulator import KubernetesEmulator, Object
from kit.training.emulators.kubernetes_kinds import KINDS, Asked, key_of
from tests.command import kit
from tests.live import test_aws_acts as in_aws
from tests.live import test_kubernetes_acts as in_cluster
from tests.live.aws_account import CLUSTER, IAM, INSTANCE, NODE, Scene, node, planned, scene
from tests.live.scene import STOLEN, add_access_key, said, standing
from tests.live.scene import Scene as AccountAndCluster
from tests.live.test_kubernetes_acts import ANN, CRON, owned, thing

for _module in ("cluster", "cluster_access", "cluster_endpoint", "findings", "iam", "images", "nodes", "principals"):
    importlib.import_module(f"kit.live.acts.{_module}")

# What AWS asks for beside the call's own action. Source: Service Authorization Reference, dependent actions.
IMPLIED = {
    "ec2:CreateSnapshots": {"ec2:CreateTags"},
    "ec2:CreateSecurityGroup": {"ec2:CreateTags"},
    "ec2:AssociateIamInstanceProfile": {"iam:PassRole"},
    "eks:CreatePodIdentityAssociation": {"iam:PassRole"},
}
ALWAYS = {
    "sts:GetCallerIdentity",
    "iam:SimulatePrincipalPolicy",
}  # of every run, and nobody needs a permission for the first
REVIEW = "selfsubjectreviews"  # everybody who is signed in may
UNNAMED = ("create", "list", "escalate")


@dataclass(frozen=True)
class Variant:
    """One way in which an action is done. seeds: makes what has to be there. first: what is done before it, and then. cut: the call whose answer is lost."""

    planned: PlannedAction
    seeds: Callable[[Scene], None] = lambda here: None
    first: tuple[PlannedAction, ...] = ()
    then: Callable[[Scene], None] = lambda here: None
    cut: str = ""


@dataclass
class Needed:
    """What the variants of an action were given and asked for: in the cluster, and of AWS before an undo and by it."""

    given: dict[Permission, list[Asked]] = field(default_factory=dict)
    own_names: set[str] = field(default_factory=set)
    of_aws: set[str] = field(default_factory=set)
    of_undo: set[str] = field(default_factory=set)


def _node_group(here: Scene) -> None:
    settings = {"enabled": True, "maxUnhealthyNodeThresholdCount": 3}
    name = {"clusterName": CLUSTER, "nodegroupName": "workers"}
    role = f"{IAM}:role/nodes"
    here.aws.client("eks").create_nodegroup(**name, nodeRole=role, subnets=[], nodeRepairConfig=settings)


def _profile(here: Scene) -> None:
    iam, ec2 = here.aws.client("iam"), here.aws.client("ec2")
    iam.create_instance_profile(InstanceProfileName="nodes")
    iam.add_role_to_instance_profile(InstanceProfileName="nodes", RoleName="nodes")
    ec2.associate_iam_instance_profile(InstanceId=INSTANCE, IamInstanceProfile={"Name": "nodes"})


def _outside(here: Scene) -> None:
    """Private access off, and a node that comes in from an address of its own."""
    here.aws.account.clusters[CLUSTER].description["resourcesVpcConfig"]["endpointPrivateAccess"] = False
    outside = node(NODE, INSTANCE)
    outside["status"]["addresses"].append({"type": "ExternalIP", "address": "198.51.100.9"})
    here.cluster.add(outside)


def _encrypted(here: Scene) -> None:
    """The snapshots are under a key of the account's own, which is looked up."""
    key = here.aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    kms_backends[here.aws.number][here.aws.region].keys[key].key_manager = "CUSTOMER"
    for one in ec2_backends[here.aws.number][here.aws.region].snapshots.values():
        one.encrypted, one.kms_key_id = True, key


def _key(here: Scene) -> None:
    add_access_key(here.aws, "lost", KEY)


def _on_auto_mode(here: Scene) -> None:
    """No node agent, and a node that enforces policies itself."""
    here.cluster.remove(in_cluster.AGENT)
    here.cluster.add(in_cluster.AUTO)


def _there(*objects: Object) -> Callable[[Scene], None]:
    return lambda here: here.cluster.add(*objects)


KEY = "AKIA0000000000000000"
SNAPSHOTS = planned("snapshot_volumes", **in_aws.OF_NODE)
PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
HOOK = thing("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "planted", None, webhooks=[])
SECRET = thing("v1", "Secret", "planted", type="Opaque")
DEFAULT = thing("v1", "ServiceAccount", "default", imagePullSecrets=[{"name": "pull"}])
JOB = thing("batch/v1", "Job", "of-cron", metadata=owned("ReplicaSet", "web-5d"), spec={"template": {"spec": {}}})
ROLE = thing(f"{RBAC}/v1", "Role", "wide", rules=PODS)
EDIT = thing(f"{RBAC}/v1", "ClusterRole", "edit", None, rules=PODS)
OF_EDIT = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "edit"}
IN_SHOP = thing(f"{RBAC}/v1", "RoleBinding", "in-shop", roleRef=OF_EDIT, subjects=[ANN])
OF_ROLE = thing(
    f"{RBAC}/v1", "RoleBinding", "of-role", roleRef=OF_EDIT | {"kind": "Role", "name": "wide"}, subjects=[ANN]
)
DELETED: dict[str, Any] = {"uid": None, "kind": "deleted"}
ANYTHING: dict[str, Any] = {"expected": {}}


def _known(one: PlannedAction) -> PlannedAction:
    """With the node, as a plan has it for a pod."""
    return replace(one, parameters=one.parameters | {"node": "node-1"}) if one.action == "capture_container" else one


VARIANTS: dict[str, list[Variant]] = {}
for _one in (
    *(Variant(_known(one)) for one in in_cluster.ACTS.values()),
    *map(Variant, in_aws.REVERSIBLE.values()),
    *map(Variant, in_aws.LASTING.values()),
    Variant(planned("lock_snapshots", **in_aws.OF_NODE, of=[SNAPSHOTS.id]), first=(SNAPSHOTS,)),
    Variant(planned("finish_snapshots", of=[SNAPSHOTS.id]), first=(SNAPSHOTS,)),
    Variant(planned("share_snapshots", **in_aws.OF_NODE, of=[SNAPSHOTS.id], evidence_account=in_aws.KEEPER), first=(SNAPSHOTS,), then=_encrypted),
    Variant(planned("pause_node_repair", node_group="workers"), _node_group),
    Variant(planned("pause_node_repair", node_group="workers"), _node_group, cut="UpdateNodegroupConfig"),
    Variant(planned("detach_instance_role", **in_aws.OF_NODE), _profile),
    Variant(planned("capture_node", **in_aws.OF_NODE)),
    Variant(planned("terminate_node", 1, **in_aws.OF_KARPENTER)),
    Variant(planned("terminate_node", 2, **in_aws.OF_NODE), first=(planned("protect_node", **in_aws.OF_NODE),)),
    Variant(planned("narrow_endpoint", keep=["203.0.113.7/32"])),
    Variant(planned("narrow_endpoint", keep=["203.0.113.7/32"]), cut="UpdateClusterConfig"),
    Variant(planned("narrow_endpoint", keep=["198.51.100.0/24"]), _outside),
    Variant(planned("deactivate_access_key", arn=f"{IAM}:user/lost", access_key_ids=[KEY]), _key),
    Variant(in_cluster.ACTS["isolate_pod-web-5d-a"], _on_auto_mode),
    Variant(in_cluster.planned("end_service_account_tokens", name="default", recreate=True), _there(DEFAULT)),
    Variant(in_cluster.planned("remove_webhook", resource="mutatingwebhookconfigurations", namespace=None, name="planted", **ANYTHING), _there(HOOK)),
    Variant(in_cluster.planned("remove_secret", resource="secrets", name="planted", **ANYTHING), _there(SECRET)),
    Variant(in_cluster.planned("remove_role_binding", resource="roles", name="wide", **ANYTHING), _there(ROLE)),
    Variant(in_cluster.planned("remove_role_binding", resource="rolebindings", name="in-shop", **ANYTHING), _there(IN_SHOP)),
    Variant(in_cluster.planned("unbind_identity", resource="rolebindings", name="of-role", subjects=[ANN], remove=[ANN]), _there(ROLE, OF_ROLE)),
    Variant(in_cluster.planned("delete_workload", resource="jobs", name="of-cron", **ANYTHING), _there(JOB)),
    Variant(in_cluster.planned("delete_workload", resource="clusterroles", namespace=None, name="edit", **ANYTHING)),
    Variant(in_cluster.planned("restore_objects", resource="roles", name="wide", body=ROLE, **DELETED)),
    Variant(in_cluster.planned("restore_objects", resource="rolebindings", name="in-shop", body=IN_SHOP, **DELETED)),
    Variant(in_cluster.planned("restore_objects", resource="cronjobs", name="owned", body=CRON | {"metadata": owned("ReplicaSet", "web-5d")}, **DELETED)),
    Variant(in_cluster.planned("revert_rights", resource="roles", name="wide", expected={"rules": PODS}, patch={"rules": []}, remove=[], person=""), _there(ROLE)),
    Variant(in_cluster.planned("keep_objects", resource="services", name="front", containers=None)),
):  # fmt: skip
    VARIANTS.setdefault(_one.planned.action, []).append(_one)


def test_every_action_of_the_kit_is_among_them() -> None:
    assert VARIANTS.keys() == {one.name for one in ACTIONS.values() if not one.by_person}


class _Given(Parameters):
    """Parameters as a saved plan has them."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def as_json(self) -> dict[str, Any]:
        return self.known


def with_permissions(one: PlannedAction, objects: dict[str, Object]) -> PlannedAction:
    """A planned action with the permissions that a plan has for it, by what stands in the cluster."""
    known, body = one.parameters, dict[str, Any]()
    for kind in KINDS:
        if kind.plural == (known.get("resource") or "pods"):
            body = objects.get(key_of(kind, known.get("namespace") or "", str(known.get("name"))), {})
    resource = str(known.get("resource") or "pods")
    seen = Thing(resource, known.get("namespace"), known.get("name"), "", body=body) if body else None
    target = Target("created", "of/the/test", seen, parameters=_Given(known))
    return replace(one, permissions=permissions_for(ACTIONS[one.action], target))


def grant(emulator: KubernetesEmulator, roles: list[Object]) -> None:
    """Bind these roles to the one who works, and leave all to RBAC."""
    emulator.access_policy = ""
    for role in roles:
        space, name = role["metadata"].get("namespace"), role["metadata"]["name"]
        reference = {"apiGroup": RBAC, "kind": role["kind"], "name": name}
        to = [{"kind": "User", "apiGroup": RBAC, "name": emulator.user_info["username"]}]
        kind = "RoleBinding" if space else "ClusterRoleBinding"
        binding: Object = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": dict(role["metadata"])}
        emulator.add(role, binding | {"roleRef": reference, "subjects": to})


def settled(here: Scene) -> None:
    """Look until no update of the cluster or of a node group is under way."""
    eks, cluster = here.aws.client("eks", over_http=True), here.aws.account.clusters[CLUSTER]
    while cluster.description["status"] == "UPDATING":
        eks.describe_cluster(name=CLUSTER)
    for name, group in cluster.parts["Nodegroup"].items():
        while group["status"] == "UPDATING":
            eks.describe_nodegroup(clusterName=CLUSTER, nodegroupName=name)


def work(here: Scene, variant: Variant, needed: Needed) -> None:
    """Try, do, check and undo one action with its printed roles alone, and write down what it asked for."""
    here.cluster.checkpoints = True
    here.cluster.add(*in_cluster.cluster(), EDIT)
    here.cluster.faults.append(in_cluster.controllers(here.cluster))
    here.aws.account.looks = 0
    variant.seeds(here)
    if variant.first:
        here.apply(*variant.first)
    variant.then(here)
    one = with_permissions(variant.planned, here.cluster.objects())
    roles = permissions_of(Plan(None, None, None, (one,), ()))["roles"]["items"]
    asked, calls = len(here.cluster.asked), len(here.aws.calls)
    grant(here.cluster, [role for role in roles if not role["metadata"]["name"].endswith("-undo")])
    assert [each.word for each in here.preview(one)] == ["would be done"], here.preview(one)
    if variant.cut:
        here.aws.account.looks = 20
        here.aws.faults.append(lambda call, at: CUT if call.operation.endswith(variant.cut) and at == "after" else None)
        assert [each.word for each in here.apply(one)] == ["unknown"]
        here.aws.faults.clear()
    assert [each.word for each in here.apply(one)] == ["done"]
    settled(here)
    here.aws.account.looks = 0
    looked = [each.check for each in here.check() if each.id == one.id]
    assert all(each and each.word != "does not hold" for each in looked), looked
    undoing = len(here.aws.calls)
    needed.of_aws |= {call.operation for call in here.aws.calls[calls:]}
    grant(here.cluster, [role for role in roles if role["metadata"]["name"].endswith("-undo")])
    with here.work() as remediation:
        undone = remediation.undo([one.id])
    assert {each.word for each in undone} <= {"undone", "cannot be undone"}, undone
    needed.of_undo |= {call.operation for call in here.aws.calls[undoing:]}
    needed.own_names |= {str(one.parameters.get(part)) for part in ("name", "node")}
    for text in one.permissions:
        needed.given.setdefault(Permission.of(text), [])
    for each, asks in needed.given.items():
        asks += [other for other in here.cluster.asked[asked:] if lets(each, other)]


@pytest.mark.parametrize("recording", [STOLEN, "default_sa_admin"])
def test_a_whole_plan_is_done_with_the_roles_that_are_printed_for_it(recording: str, tmp_path: Path) -> None:
    with standing(recording, tmp_path) as room:
        digest = room.plan("--keep-address", "203.0.113.7/32", "--without", "keep_image")["digest"]
        roles = json.loads(said(kit("permissions", "plan", room.case)))["roles"]["items"]
        grant(room.kubernetes, [one for one in roles if not one["metadata"]["name"].endswith("-undo")])
        outcomes = room.apply(digest)
        assert sum(one["word"] == "done" for one in outcomes) > 10, outcomes
        room.kit("check", "--json")
        assert refused_by_rbac(room) == []
        entries = json.loads(room.kit("check", "--json").stdout)["attacker"]["entries"]
        assert refused_by_rbac(room) == [] and not [one for one in entries if one["id"] == "node-object-*"]
        grant(room.kubernetes, [one for one in roles if one["metadata"]["name"].endswith("-undo")])
        room.kit("undo", "--including-attackers", "--json")
        assert refused_by_rbac(room) == []


def refused_by_rbac(room: AccountAndCluster) -> list[str]:
    """The calls that the roles did not let through."""
    return [f"{call.method} {call.path}" for call in room.kubernetes.calls if call.status == 403]


def test_what_reaches_further_than_its_object_stands_in_a_role_of_its_own() -> None:
    acts = (VARIANTS["capture_container"][0].planned, VARIANTS["remove_role_binding"][1].planned)
    plan = Plan(None, None, None, tuple(with_permissions(one, {}) for one in acts), ())
    roles = permissions_of(plan)["roles"]["items"]
    where = {resource: role["metadata"] for role in roles for rule in role["rules"] for resource in rule["resources"]}
    assert where["nodes/proxy"] == {"name": "kit-remediation-checkpoints"}
    (escalates,) = [role for role in roles for rule in role["rules"] if "escalate" in rule["verbs"]]
    assert escalates["metadata"] == {"name": "kit-remediation-escalation-undo", "namespace": "shop"}
    assert [rule.get("resourceNames") for rule in escalates["rules"]] == [None]


def lets(given: Permission, asked: Asked) -> bool:
    """Whether a permission is what lets a request through."""
    same = (given.what, given.group, given.resource) == (asked.verb, asked.group, asked.what)
    return same and given.namespace in ("", asked.namespace) and given.name in ("", asked.name)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_act_needs_what_is_printed_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = Needed()
    for number, variant in enumerate(VARIANTS[name]):
        (tmp_path / str(number)).mkdir()
        with scene(tmp_path / str(number) / "case", monkeypatch) as here:
            work(here, variant, needed)
    in_kubernetes = {each: asks for each, asks in needed.given.items() if each.service == "kubernetes"}
    of_kind = dict[tuple[str, str, str, bool], list[Asked]]()  # one variant uses it, another does not
    for each, asks in in_kubernetes.items():
        of_kind.setdefault((each.what, each.group, each.resource, each.undo), []).extend(asks)
    assert [kind for kind, asks in of_kind.items() if not asks] == [], "given, and never asked for"
    for each, asks in in_kubernetes.items():
        if not each.name and each.what not in UNNAMED and asks:
            assert {one.name for one in asks} - needed.own_names, f"{each} could name its object"
        if not each.namespace and any(one.namespace for one in asks):
            assert len({one.namespace for one in asks}) > 1 or each.resource in ("pods", "pods/eviction"), each
    declared = {one.rpartition("? ")[2].removeprefix("aws:") for one in ACTIONS[name].permissions if "aws:" in one}
    for_undo = {one.removesuffix("@undo") for one in declared if one.endswith("@undo")}
    before = _with_implied(needed.of_aws) - ALWAYS
    assert before == {one for one in declared if not one.endswith("@undo")}
    assert _with_implied(needed.of_undo) - before - ALWAYS == for_undo


def _with_implied(operations: set[str]) -> set[str]:
    return operations.union(*(IMPLIED.get(one, set()) for one in operations))
