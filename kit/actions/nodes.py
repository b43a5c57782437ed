"""What is done to nodes and their instances: protected, captured, cordoned, cut off, replaced."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from kit.actions.action import DRY, EC2_DRY, LOOKED, READS, SIMULATED, Action, Held, Keeps, Wait, Where, action_id
from kit.actions.effect import Effect
from kit.actions.node_capture import capture_commands, is_checkpointed, what_is_left, why_not_read
from kit.actions.node_warnings import (
    what_a_cut_off_node_does,
    what_runs_on_it,
    which_disk_is_lost,
    who_ends_it,
)
from kit.actions.pods import QUARANTINED
from kit.actions.target import NodeEvidence, NodeGroupParameters, NodeParameters, Target
from kit.identities.revocation import kubectl
from kit.inventory.node_kind import (
    AUTO,
    BY_KARPENTER,
    DO_NOT_DISRUPT,
    HYBRID,
    NODE_KIND_WORDS,
    NOT_SCALED_DOWN,
    WITHOUT_INSTANCE,
)
from kit.model.arn import partition_in

LOCKED_DAYS = 90
"""How long a snapshot is locked. Governance mode can be taken back, compliance mode by nobody (EBS User Guide, "Snapshot lock")."""
_SNAPSHOTS = (
    "kubernetes:nodes:get:{node}",
    "aws:ec2:DescribeInstances",
    "aws:ec2:DescribeSnapshots",
    "aws:ec2:CreateSnapshots",
    "aws:ec2:CreateTags",
)


_FIND_SNAPSHOTS = "aws ec2 describe-snapshots --owner-ids self --filters Name=tag:kit-action,Values=SNAPSHOTS --query 'Snapshots[].SnapshotId' --output text"


def _instance(*words: str) -> Callable[[Target], list[str]]:
    def commands(target: Target) -> list[str]:
        known = target.known(NodeParameters)
        filled = {
            "INSTANCE": target.instance_id,
            "GROUP": known.group,
            "PARTITION": partition_in(known.region),
            "REGION": known.region,
            "ACCOUNT": known.account,
            "SNAPSHOTS": action_id("snapshot_volumes", target),
            "CHECKPOINTS": action_id("snapshot_checkpoints", target),
        }
        made = list[str]()
        for line in words if target.instance_id else ():
            for word, value in filled.items():
                line = re.sub(rf"\b{word}\b", lambda _, value=value: shlex.quote(str(value)), line) if value else line  # type: ignore[misc]
            made.append(line)
        return made

    return commands


def _protect(target: Target) -> list[str]:
    """Against EC2, against its group, and against what ends nodes that are idle or not ready: each heeds another mark."""
    known = target.known(NodeParameters)
    marked = DO_NOT_DISRUPT if known.node_kind in BY_KARPENTER else NOT_SCALED_DOWN
    calls = ["aws ec2 modify-instance-attribute --disable-api-termination --instance-id INSTANCE"]
    if known.node_kind not in BY_KARPENTER:
        calls += [
            "aws autoscaling set-instance-protection --protected-from-scale-in --auto-scaling-group-name GROUP --instance-ids INSTANCE",
            "aws autoscaling suspend-processes --auto-scaling-group-name GROUP --scaling-processes ReplaceUnhealthy",
        ]
    of_instance = _instance(*calls)(target) if known.node_kind != AUTO else []
    return [*of_instance, f"{kubectl('annotate --overwrite', 'nodes', target.key, None)} {marked}=true"]


def _node_repair(target: Target) -> list[str]:
    name, group = shlex.quote(target.cluster or "CLUSTER"), shlex.quote(target.known(NodeGroupParameters).node_group)
    return [
        f"aws eks update-nodegroup-config --cluster-name {name} --nodegroup-name {group} --node-repair-config enabled=false"
    ]


def _lock(target: Target) -> list[str]:
    find = _instance(_FIND_SNAPSHOTS)(target)
    lock = f"aws ec2 lock-snapshot --lock-mode governance --lock-duration {LOCKED_DAYS} --snapshot-id"
    return [f"for snapshot in $({line}); do {lock} $snapshot; done" for line in find]


def _share(target: Target) -> list[str]:
    known = target.known(NodeEvidence)
    plain = NodeParameters(**{one.name: getattr(known, one.name) for one in fields(NodeParameters)})
    find = _instance(_FIND_SNAPSHOTS)(replace(target, parameters=plain))  # the id of the action that took them
    share = f"aws ec2 modify-snapshot-attribute --attribute createVolumePermission --operation-type add --user-ids {shlex.quote(known.evidence_account)} --snapshot-id"
    return [f"for snapshot in $({line}); do {share} $snapshot; done" for line in find]


def _copied_there(target: Target, held: Held) -> Iterator[str]:
    """What the other account does: a snapshot that is only shared ends with its owner's."""
    known = target.known(NodeEvidence)
    yield f"account {known.evidence_account} can read all that is on the disks; it copies each one, else it ends with yours: aws ec2 copy-snapshot --encrypted --source-region {known.region or 'REGION'} --source-snapshot-id SNAPSHOT"
    yield "an encrypted one needs its key too: under a key of your own give the account kms:DescribeKey, kms:Decrypt, kms:CreateGrant and kms:ReEncryptFrom; whoever may disable that key ends the evidence"


def _terminate(target: Target) -> list[str]:
    # Of a node that is cut off the kubelet never confirms the end of a pod: without the last option the drain waits for ever.
    drain = kubectl(
        "drain --ignore-daemonsets --delete-emptydir-data --force --timeout=300s --skip-wait-for-delete-timeout=60",
        "",
        target.key,
        None,
    )
    ends = _instance(
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id INSTANCE",
        "aws ec2 terminate-instances --instance-ids INSTANCE",
        *(
            ["aws autoscaling resume-processes --auto-scaling-group-name GROUP --scaling-processes ReplaceUnhealthy"]
            if target.known(NodeParameters).group
            else []
        ),
    )
    return [drain, *ends(target)]


def _evict(target: Target) -> list[str]:
    """Without --force a pod that nothing starts again stops the command before it evicts any."""
    selects = shlex.quote(f"!{QUARANTINED}")
    return [
        kubectl(
            f"drain --ignore-daemonsets --delete-emptydir-data --timeout=300s --pod-selector={selects}",
            "",
            target.key,
            None,
        )
    ]


def _add_nodes(target: Target) -> list[str]:
    name = shlex.quote(target.cluster or "CLUSTER")
    return [
        f"aws eks update-nodegroup-config --cluster-name {name} --nodegroup-name NODE_GROUP --scaling-config desiredSize=MORE,maxSize=MORE"
    ]


def _impossible(
    on_hybrid: bool = False, on_auto: bool = True, without_instance: bool = False
) -> Callable[[Target, Held], str]:
    """Why an action cannot be done to a node. on_hybrid, on_auto: whether it can be on a node of that kind; without_instance: to one whose instance no evidence names."""

    def why(target: Target, held: Held) -> str:
        known = target.known(NodeParameters)
        words = NODE_KIND_WORDS[known.node_kind]
        if known.node_kind in WITHOUT_INSTANCE and not (known.node_kind == HYBRID and on_hybrid):
            return WITHOUT_INSTANCE[known.node_kind]
        if known.node_kind == AUTO and not on_auto:
            return f"{words}: AWS forbids changing its network interfaces and its instance profile; cordon it and take its pods off"
        if known.instance_id is None and not without_instance:
            return f"{words}, and no evidence names its instance: add `aws ec2 describe-instances` or `kubectl get nodes -o json`"
        return ""

    return why


def _reads(why: Callable[[Target, Held], str]) -> Callable[[Target, Held], str]:
    """Why a node cannot be read by a pod: for what makes it impossible anywhere, or for its system."""
    return lambda target, held: why(target, held) or why_not_read(target, held)


def _is_replaced(target: Target) -> bool:
    """Whether its controller would replace a node that is cordoned."""
    return target.known(NodeParameters).node_kind in BY_KARPENTER


ACTIONS = (
    Action("protect_node", "freeze", "Protect each node's instance from termination, scale-in and disruption", "scaling in of that node",
           effects=(Effect.NONE,),
           undo="switch the protections off again", kinds=("node",), commands=_protect,
           precondition="the instance runs, and its tags say the same kind of node; Spot instances have no termination protection",
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeInstanceAttribute", "aws:ec2:ModifyInstanceAttribute", "aws:autoscaling:DescribeAutoScalingInstances", "aws:autoscaling:DescribeAutoScalingGroups",
                        "aws:autoscaling:SetInstanceProtection", "aws:autoscaling:SuspendProcesses", "aws:autoscaling:ResumeProcesses@undo", "kubernetes:nodes:get:{node}", "kubernetes:nodes:patch:{node}"),
           preview=f"{EC2_DRY}; Auto Scaling has none: policy simulation; {DRY} of the annotation", check="the protections are set on instance, group and node",
           impossible=_impossible(), tells=who_ends_it),
    Action("snapshot_volumes", "freeze", "Start a snapshot of each node's volumes", "nothing; it costs storage", stops_nothing=True, undo="", cannot_undo="an undo deletes no evidence: delete the snapshots when the case is closed", kinds=("node",),
           effects=(Effect.NONE,),
           commands=_instance("aws ec2 create-snapshots --tag-specifications 'ResourceType=snapshot,Tags=[{Key=kit-action,Value=SNAPSHOTS}]' --instance-specification InstanceId=INSTANCE"),
           precondition="the instance exists",
           permissions=_SNAPSHOTS,
           preview=EC2_DRY, check="a snapshot of each volume is there, with the action's tag",
           impossible=_impossible(), keeps=Keeps.DISK, tells=which_disk_is_lost),
    Action("lock_snapshots", "freeze", f"Lock each node's snapshots in governance mode for {LOCKED_DAYS} days: else whoever may delete snapshots can delete this evidence", "nothing", stops_nothing=True, undo="unlock those that it locked", kinds=("node",), commands=_lock,
           effects=(Effect.NONE,),
           precondition="the snapshots were started; a snapshot that is still pending can be locked",
           permissions=("aws:ec2:DescribeSnapshots", "aws:ec2:DescribeLockedSnapshots", "aws:ec2:LockSnapshot", "aws:ec2:UnlockSnapshot@undo"),
           preview=EC2_DRY, check="every snapshot of the node is locked",
           impossible=_impossible(), waits=(Wait("snapshot_volumes", Where.SAME),), tells_waits=True),
    Action("pause_node_repair", "freeze", "Switch off node repair of each node group that has a held node. Node repair replaces a node that is not ready, as one that is cut off", "repair of the group's other nodes", undo="switch node repair on again, with the settings that it had", kinds=("repairing_group",), commands=_node_repair,
           effects=(Effect.NONE,),
           precondition="the node group is ACTIVE",
           permissions=("aws:eks:DescribeNodegroup", "aws:eks:UpdateNodegroupConfig", "aws:eks:ListUpdates", "aws:eks:DescribeUpdate"),
           preview=SIMULATED, check="EKS has node repair of the group as off"),
    Action("add_nodes", "contain", "Start new nodes that no pod of the attacker ran on: every known node is to be cordoned and terminated", "nothing; it costs money", stops_nothing=True, undo="lower the desired size again", kinds=("last_nodes",), commands=_add_nodes,
           effects=(Effect.ADDS_NODES,),
           precondition="the node group may grow; new pods need somewhere to run before the old nodes end",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="how many, of which group and in which subnets only you know"),
    Action("cordon_node", "contain", "Keep new pods off each node", "scheduling onto that node", undo="`kubectl uncordon` of the node", kinds=("node",),
           effects=(Effect.CORDONS,),
           commands=lambda target: [kubectl("cordon", "", target.key, None)],
           precondition="the node stands; with Karpenter do-not-disrupt comes first", only_held=True,
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:nodes:patch:{node}"),
           preview=DRY, check="the node is unschedulable",
           impossible=_impossible(on_hybrid=True, without_instance=True), takes_out=True, waits=(Wait("protect_node", Where.SAME, _is_replaced),)),
    Action("evict_pods", "contain", "Move the pods that merely ran on each held node to other nodes, as their disruption budgets allow; the attacker's and those of DaemonSets stay", "what a moved pod serves, until its new one is ready",
           effects=(Effect.EVICTS,),
           cannot_undo="a moved pod is not moved back", kinds=("node",),
           commands=_evict, precondition="the node is cordoned, other nodes have room, and the attacker's pods on it have the label kit-quarantine", only_held=True,
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:pods:list", "kubernetes:pods:get", "kubernetes:pods/eviction:create"),
           preview=f"{DRY} of the evictions", check="no pod is left on the node but the attacker's, those of DaemonSets, and those that nothing would start again, which are named",
           impossible=_impossible(on_hybrid=True, without_instance=True),
           waits=(Wait("cordon_node", Where.SAME), Wait("add_nodes", Where.ANY), Wait("keep_objects", Where.LOST)), tells=what_runs_on_it,
           minutes=5),
    Action("capture_processes", "capture", "Read what runs on each node by a pod on it: processes with hashes of their programs, sockets, mounts, files of the writable layers", "nothing; a pod on the host's network runs there for a minute", stops_nothing=True,
           effects=(Effect.NONE,),
           undo="delete the pod that read it; what it read stays", kinds=("node",), commands=lambda target: capture_commands(target.key, action_id("capture_processes", target)),
           precondition="the node's kubelet answers, and it can pull a public image",
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:pods:get:{reader}", "kubernetes:pods:create:kube-system/", "kubernetes:pods/log:get:{reader}", "kubernetes:pods:delete@undo:{reader}"),
           preview=DRY, check="what it read is in the case, hashed in its journal",
           impossible=_reads(_impossible(on_hybrid=True, without_instance=True)), keeps=Keeps.DISK, waits=(Wait("remove_webhook", Where.ANY),), tells=what_is_left,
           minutes=3),
    Action("capture_node", "capture", "Keep the console output of each node; memory is for a person, by SSM", "nothing; memory takes minutes to hours", stops_nothing=True, undo=READS, reads_only=True, kinds=("node",),
           commands=_instance("aws ec2 get-console-output --latest --instance-id INSTANCE"),
           precondition="the instance runs; for memory it is reached by SSM", only_held=True,
           permissions=("aws:ec2:GetConsoleOutput", "aws:ec2:DescribeInstances", "kubernetes:nodes:get:{node}"), preview=LOOKED, check="the output is in the case, hashed in its journal",
           impossible=_impossible(), keeps=Keeps.TARGET,
           minutes=2),
    Action("quarantine_node", "capture", "Give each node's instance a security group that lets nothing through", "every pod on the node; its kubelet, so it comes after what needs that",
           effects=(Effect.CUTS_NODE_OFF,),
           undo="put the old security groups back", kinds=("node",),
           commands=_instance("aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values=INSTANCE --query 'NetworkInterfaces[].[NetworkInterfaceId,Groups[].GroupId]'",
                              "aws ec2 modify-network-interface-attribute --network-interface-id EACH_INTERFACE --groups QUARANTINE_GROUP"),
           precondition="what needs the kubelet or SSM is done; not on Auto Mode", only_held=True,
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeNetworkInterfaces", "aws:ec2:DescribeSecurityGroups", "aws:ec2:CreateSecurityGroup", "aws:ec2:RevokeSecurityGroupEgress", "aws:ec2:DeleteSecurityGroup@undo", "aws:ec2:CreateTags",
                        "aws:ec2:ModifyNetworkInterfaceAttribute", "kubernetes:nodes:get:{node}"),
           preview=EC2_DRY, check="every interface has that group alone; connections that were open may live on",
           impossible=_impossible(on_auto=False), takes_out=True,
           waits=(*(Wait(needs_kubelet, Where.LOST) for needs_kubelet in ("keep_objects", "capture_container", "capture_processes", "capture_node")), Wait("evict_pods", Where.SAME), Wait("add_nodes", Where.ANY), Wait("pause_node_repair", Where.ANY), Wait("quarantine_node", Where.BEFORE)), tells=what_a_cut_off_node_does),
    Action("detach_instance_role", "capture", "Take the role off each node's instance: it gets no new credentials, and those that it has go on until they expire", "image pulls, SSM, and the node's own sign-in to the cluster", undo="give the instance its instance profile again", kinds=("node",),
           effects=(Effect.NONE,),
           commands=_instance("aws ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values=INSTANCE --query 'IamInstanceProfileAssociations[].[AssociationId,IamInstanceProfile.Arn]'",
                              "aws ec2 disassociate-iam-instance-profile --association-id ITS_ASSOCIATION"),
           precondition="what needs SSM is done, and the node is cut off", only_held=True,
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeIamInstanceProfileAssociations", "aws:ec2:DisassociateIamInstanceProfile", "aws:ec2:AssociateIamInstanceProfile@undo", "aws:iam:PassRole@undo", "kubernetes:nodes:get:{node}"),
           preview=SIMULATED, check="EC2 has no instance profile for the instance",
           impossible=_impossible(on_auto=False), waits=(Wait("quarantine_node", Where.SAME),),
           minutes=1),
    Action("snapshot_checkpoints", "capture", "Start a snapshot of each node's volumes once more: the checkpoints lie on them, and the first snapshot is older", "nothing; it costs storage", stops_nothing=True, cannot_undo="an undo deletes no evidence: delete the snapshots when the case is closed", kinds=("node",), only_held=True,
           effects=(Effect.NONE,),
           commands=_instance("aws ec2 create-snapshots --tag-specifications 'ResourceType=snapshot,Tags=[{Key=kit-action,Value=CHECKPOINTS}]' --instance-specification InstanceId=INSTANCE"),
           precondition="the checkpoints are made",
           permissions=_SNAPSHOTS,
           preview=EC2_DRY, check="a snapshot of each volume is there, with the action's tag",
           applies=is_checkpointed, impossible=_impossible(), keeps=Keeps.DISK, waits=(Wait("capture_container", Where.ON_NODE),)),
    Action("finish_snapshots", "capture", "Wait until each node's snapshots are finished", "nothing", stops_nothing=True, undo=READS, reads_only=True, kinds=("node",),
           commands=_instance("aws ec2 describe-snapshots --filters Name=tag:kit-action,Values=SNAPSHOTS --query 'Snapshots[].[SnapshotId,State,Progress]'"),
           precondition="the snapshots were started",
           permissions=("aws:ec2:DescribeSnapshots",), preview=LOOKED, check="every snapshot is completed",
           impossible=_impossible(), keeps=Keeps.DISK, waits=(Wait("snapshot_volumes", Where.SAME), Wait("snapshot_checkpoints", Where.SAME)), tells_waits=True,
           minutes=30),
    Action("share_snapshots", "capture", "Share each node's snapshots with the account that keeps the evidence", "nothing", stops_nothing=True, undo="share them no longer; copies stay", kinds=("node",), commands=_share,
           effects=(Effect.NONE,),
           precondition="the snapshots are done; none is under the default key of EBS, which cannot be shared: copy such a one under a key of your own",
           permissions=("aws:ec2:DescribeSnapshots", "aws:ec2:DescribeSnapshotAttribute", "aws:ec2:ModifySnapshotAttribute", "aws:kms:DescribeKey"),
           preview=EC2_DRY, check="each snapshot of the node is shared with that account",
           needs=NodeEvidence, applies=lambda target, held: bool(target.known(NodeEvidence).evidence_account), impossible=_impossible(), tells=_copied_there,
           waits=(Wait("snapshot_volumes", Where.SAME), Wait("finish_snapshots", Where.SAME)), tells_waits=True),
    Action("scan_node", "capture", "Have GuardDuty scan the node's volumes for malware, and wait for the result", "nothing; it costs money", stops_nothing=True, undo=READS, reads_only=True, kinds=("node",),
           commands=_instance("aws guardduty start-malware-scan --resource-arn arn:PARTITION:ec2:REGION:ACCOUNT:instance/INSTANCE"),
           precondition="the instance exists, and was not scanned within the last hour", only_held=True,
           permissions=("aws:guardduty:StartMalwareScan", "aws:guardduty:ListMalwareScans", "aws:ec2:DescribeInstances", "kubernetes:nodes:get:{node}"),
           preview=SIMULATED, check="GuardDuty has the scan, and its state",
           impossible=_impossible(), keeps=Keeps.TARGET,
           minutes=30),
    Action("terminate_node", "eradicate", "Drain each node that the attacker may hold and terminate its instance, once captured", "all pods on it move; what is on its disk is lost", cannot_undo="an instance that was terminated is gone", kinds=("node",),
           effects=(Effect.ENDS_NODE,),
           commands=_terminate, destroys=True, only_held=True,
           precondition="the node is cordoned, its capture is finished and its pods are moved",
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:nodes:patch:{node}", "kubernetes:nodes:delete:{node}", "kubernetes:pods:list", "kubernetes:pods:get", "kubernetes:pods/eviction:create", "aws:ec2:DescribeInstances", "aws:ec2:DescribeInstanceAttribute",
                        "aws:ec2:ModifyInstanceAttribute", "aws:ec2:TerminateInstances", "aws:autoscaling:DescribeAutoScalingInstances", "aws:autoscaling:DescribeAutoScalingGroups", "aws:autoscaling:SetInstanceProtection", "aws:autoscaling:TerminateInstanceInAutoScalingGroup"),
           preview=f"{DRY} of the evictions; {EC2_DRY}; Auto Scaling has none: policy simulation", check="the instance is shutting down or terminated",
           impossible=_impossible(without_instance=True), takes_out=True,
           waits=(Wait("cordon_node", Where.SAME), Wait("add_nodes", Where.ANY), Wait("terminate_node", Where.BEFORE)), tells=which_disk_is_lost,
           minutes=10, ends=("token", "created")),
)  # fmt: skip
