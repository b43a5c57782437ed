"""What is done to nodes and their instances: protected, captured, cordoned, cut off, replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from kit.actions.action import (
    DRY,
    EC2_DRY,
    LOOKED,
    READS,
    SIMULATED,
    Action,
    Commands,
    Held,
    Keeps,
    Wait,
    Where,
    action_id,
)
from kit.actions.effect import Effect
from kit.actions.moved_pods import moving
from kit.actions.node_capture import capture_commands, is_checkpointed, what_is_left, why_not_read
from kit.actions.node_warnings import (
    what_a_cut_off_node_does,
    what_runs_on_it,
    which_disk_is_lost,
    who_ends_it,
)
from kit.actions.pods import QUARANTINED
from kit.actions.target import NodeEvidence, NodeGroupParameters, NodeParameters, Target
from kit.inventory.node_kind import (
    AUTO,
    BY_KARPENTER,
    DO_NOT_DISRUPT,
    HYBRID,
    NODE_KIND_WORDS,
    NOT_SCALED_DOWN,
    WITHOUT_INSTANCE,
)
from kit.model.arn import Arn, partition_in
from kit.model.command_line import Command, Printed, aws, kubectl

LOCKED_DAYS = 90
"""How long a snapshot is locked. Governance mode can be taken back, compliance mode by nobody (EBS User Guide, "Snapshot lock")."""
_SNAPSHOTS = (
    "kubernetes:nodes:get:{node}",
    "aws:ec2:DescribeInstances",
    "aws:ec2:DescribeSnapshots",
    "aws:ec2:CreateSnapshots",
    "aws:ec2:CreateTags",
)


QUARANTINE_DESCRIPTION = "lets nothing through; for instances under investigation"
_GROUP_TAG = {"ResourceType": "security-group", "Tags": [{"Key": QUARANTINED, "Value": "true"}]}
_SPOT = ("eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type")
_TRUNK = "vpcresources.k8s.aws/trunk-eni-id"


def _protect(target: Target, held: Held) -> list[Command]:
    """Against EC2, against its group, and against what ends nodes that are idle or not ready: each heeds another mark."""
    known, instance = target.known(NodeParameters), target.instance_id
    is_spot = target.thing is not None and any(target.thing.labels.get(one, "").lower() == "spot" for one in _SPOT)
    commands = list[Command]()
    if instance and known.node_kind != AUTO and not is_spot:
        commands.append(_termination_by_api(instance, False))
    if instance and known.group and known.node_kind not in BY_KARPENTER:
        named = {"auto_scaling_group_name": known.group}
        protected = aws("autoscaling", "set-instance-protection", protected_from_scale_in=True, **named)
        commands += [
            protected.with_words("--instance-ids", instance),
            aws("autoscaling", "suspend-processes", **named, scaling_processes=["ReplaceUnhealthy"]),
        ]
    marked = DO_NOT_DISRUPT if known.node_kind in BY_KARPENTER else NOT_SCALED_DOWN if known.group else ""
    return [*commands, *([_annotated(target, marked)] if marked else [])]


def _termination_by_api(instance: str, allowed: bool) -> Command:
    return aws("ec2", "modify-instance-attribute", disable_api_termination=not allowed, instance_id=instance)


def _annotated(target: Target, mark: str) -> Command:
    return Command(("kubectl", "annotate", "--overwrite", "nodes", target.key, f"{mark}=true"))


def _node_repair(target: Target, held: Held) -> list[Command]:
    named = {"cluster_name": target.cluster, "nodegroup_name": target.known(NodeGroupParameters).node_group}
    if not target.cluster:
        return []
    return [
        aws("eks", "update-nodegroup-config", **named, node_repair_config="enabled=false"),
        aws("eks", "wait nodegroup-active", **named),
    ]


def _snapshot(action: str) -> Commands:
    """Snapshots with the tag by which the kit finds them again."""

    def commands(target: Target, held: Held) -> list[Command]:
        id_ = action_id(action, target)
        tags = [{"Key": "kit-action", "Value": id_}, {"Key": "kit-instance", "Value": target.instance_id}]
        tagged = [{"ResourceType": "snapshot", "Tags": tags}]
        given = {"description": f"evidence, kept by {id_}", "tag_specifications": tagged}
        instance = f"InstanceId={target.instance_id}"
        return [aws("ec2", "create-snapshots", **given, instance_specification=instance)] if target.instance_id else []

    return commands


def _snapshots(target: Target, held: Held) -> list[str]:
    """The filter that finds the snapshots of a node, as its own instance has them."""
    names = ("snapshot_volumes", *(("snapshot_checkpoints",) if is_checkpointed(target, held) else ()))
    return [f"Name=tag:kit-action,Values={','.join(action_id(one, target) for one in names)}"]


def _each_snapshot(target: Target, snapshots: str, command: Command) -> list[Command]:
    """A command for each snapshot that an action took of a node. snapshots: the id of that action."""
    filters = [f"Name=tag:kit-action,Values={snapshots}"]
    found = {"owner_ids": ["self"], "filters": filters, "query": "Snapshots[].SnapshotId", "output": "text"}
    each = aws("ec2", "describe-snapshots", **found)
    return [replace(command.with_words("--snapshot-id"), each=each)] if target.instance_id else []


def _lock(target: Target, held: Held) -> list[Command]:
    lock = aws("ec2", "lock-snapshot", lock_mode="governance", lock_duration=LOCKED_DAYS)
    return _each_snapshot(target, action_id("snapshot_volumes", target), lock)


def _share(target: Target, held: Held) -> list[Command]:
    known = target.known(NodeEvidence)
    plain = NodeParameters(**{one.name: getattr(known, one.name) for one in fields(NodeParameters)})
    given = {"attribute": "createVolumePermission", "operation_type": "add", "user_ids": [known.evidence_account]}
    taken = action_id("snapshot_volumes", replace(target, parameters=plain))
    return _each_snapshot(target, taken, aws("ec2", "modify-snapshot-attribute", **given))


def _copied_there(target: Target, held: Held) -> Iterator[str]:
    """What the other account does: a snapshot that is only shared ends with its owner's."""
    known = target.known(NodeEvidence)
    yield f"account {known.evidence_account} can read all that is on the disks; it copies each one, else it ends with yours, encrypted (`aws ec2 copy-snapshot`)"
    yield "an encrypted one needs its key too: under a key of your own give the account kms:DescribeKey, kms:Decrypt, kms:CreateGrant and kms:ReEncryptFrom; whoever may disable that key ends the evidence"


def _finished(target: Target, held: Held) -> list[Command]:
    found = {"owner_ids": ["self"], "filters": _snapshots(target, held)}
    shown = aws("ec2", "describe-snapshots", **found, query="Snapshots[].[SnapshotId,State,Progress]")
    return [aws("ec2", "wait snapshot-completed", **found), shown] if target.instance_id else []


def _console(target: Target, held: Held) -> list[Command]:
    shown = aws("ec2", "get-console-output", latest=True, instance_id=target.instance_id)
    return [replace(shown, into=f"{target.instance_id}.console.json")] if target.instance_id else []


def _scan(target: Target, held: Held) -> list[Command]:
    known = target.known(NodeParameters)
    if not target.instance_id or not known.region or not known.account:
        return []
    arn = Arn(partition_in(known.region), "ec2", known.region, known.account, f"instance/{target.instance_id}")
    return [aws("guardduty", "start-malware-scan", resource_arn=str(arn))]


def _cordon(target: Target, held: Held) -> list[Command]:
    """Before that Karpenter is told to leave the node alone: it replaces nodes that nothing is scheduled onto."""
    marked = [_annotated(target, DO_NOT_DISRUPT)] if _is_replaced(target) else []
    return [*marked, kubectl("cordon", "", target.key, None)]


def _terminate(target: Target, held: Held) -> list[Command]:
    """Of a node that is cut off the kubelet never confirms the end of a pod: without the last option the drain waits for ever."""
    known, instance = target.known(NodeParameters), target.instance_id
    unprotected = [_termination_by_api(instance, True)] if instance and known.node_kind != AUTO else []
    if known.node_kind in BY_KARPENTER:
        ended = kubectl("delete", "nodes", target.key, None, "--wait=false")
        if known.uid:
            looked = kubectl("get", "nodes", target.key, None, "-o", "jsonpath={.metadata.uid}")
            ended = replace(ended, only_if=(looked, (known.uid,)))
        return [kubectl("cordon", "", target.key, None), *unprotected, ended]
    drains = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=300s")
    commands = [kubectl("drain", "", target.key, None, *drains, "--skip-wait-for-delete-timeout=60"), *unprotected]
    if instance and known.group:
        named = {"auto_scaling_group_name": known.group, "instance_ids": [instance]}
        commands.append(aws("autoscaling", "set-instance-protection", protected_from_scale_in=False, **named))
        ends = aws("autoscaling", "terminate-instance-in-auto-scaling-group", instance_id=instance)
        commands.append(ends.with_words("--no-should-decrement-desired-capacity"))
    elif instance:
        commands.append(aws("ec2", "terminate-instances", instance_ids=[instance]))
    return commands


def _add_nodes(target: Target, held: Held) -> list[Command]:
    """What there is to choose from: how many, of which group, a person decides."""
    return [aws("eks", "list-nodegroups", cluster_name=target.cluster)] if target.cluster else []


def _quarantine(target: Target, held: Held) -> list[Command]:
    """The quarantine group of the instance's VPC, made where there is none and emptied; then each interface is put into it alone."""
    instance = target.instance_id
    if not instance:
        return []
    text = {"output": "text"}
    vpc = aws("ec2", "describe-instances", instance_ids=[instance], query="Reservations[0].Instances[0].VpcId", **text)
    name = Printed(vpc, f"{QUARANTINED}-")
    of_group = [Printed(vpc, f"Name=group-name,Values={QUARANTINED}-")]
    group = aws("ec2", "describe-security-groups", filters=of_group, query="SecurityGroups[].GroupId", **text)
    open_ = "SecurityGroups[?IpPermissionsEgress].GroupId"
    emptied = aws("ec2", "revoke-security-group-egress", ip_permissions=_ALL_OUT).with_words("--group-id")
    own = [f"Name=attachment.instance-id,Values={instance}"]
    interfaces = {"query": "NetworkInterfaces[].NetworkInterfaceId", **text}
    joined = aws("ec2", "describe-network-interfaces", filters=own, query=_JOINED, **text)
    branches = [Printed(joined, f"Name=tag:{_TRUNK},Values=")]
    put = aws("ec2", "modify-network-interface-attribute", groups=[Printed(group)]).with_words("--network-interface-id")
    made = {"group_name": name, "description": QUARANTINE_DESCRIPTION, "vpc_id": Printed(vpc)}
    return [
        replace(aws("ec2", "create-security-group", **made, tag_specifications=[_GROUP_TAG]), unless=group),
        replace(emptied, each=aws("ec2", "describe-security-groups", filters=of_group, query=open_, **text)),
        *(
            replace(put, each=aws("ec2", "describe-network-interfaces", filters=filters, **interfaces))
            for filters in (own, branches)
        ),
    ]


_ALL_OUT = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
"""The rule that EC2 gives each new group."""
_JOINED = 'join(`","`, NetworkInterfaces[].NetworkInterfaceId)'


def _detach(target: Target, held: Held) -> list[Command]:
    filters = [f"Name=instance-id,Values={target.instance_id}", "Name=state,Values=associating,associated"]
    query = "IamInstanceProfileAssociations[].AssociationId"
    found = aws("ec2", "describe-iam-instance-profile-associations", filters=filters, query=query, output="text")
    taken = aws("ec2", "disassociate-iam-instance-profile").with_words("--association-id")
    return [replace(taken, each=found)] if target.instance_id else []


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
           commands=_snapshot("snapshot_volumes"),
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
           commands=_cordon,
           precondition="the node stands; with Karpenter do-not-disrupt comes first", only_held=True,
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:nodes:patch:{node}"),
           preview=DRY, check="the node is unschedulable",
           impossible=_impossible(on_hybrid=True, without_instance=True), takes_out=True, waits=(Wait("protect_node", Where.SAME, _is_replaced),)),
    Action("evict_pods", "contain", "Move the pods that merely ran on each held node to other nodes, as their disruption budgets allow; the attacker's and those of DaemonSets stay", "what a moved pod serves, until its new one is ready",
           effects=(Effect.EVICTS,),
           cannot_undo="a moved pod is not moved back", kinds=("node",),
           commands=moving, precondition="the node is cordoned, and other nodes have room", only_held=True,
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:pods:list", "kubernetes:pods:get", "kubernetes:pods/eviction:create"),
           preview=f"{DRY} of the evictions", check="no pod is left on the node but the attacker's, those of DaemonSets, and those that nothing would start again, which are named",
           impossible=_impossible(on_hybrid=True, without_instance=True),
           waits=(Wait("cordon_node", Where.SAME), Wait("add_nodes", Where.ANY), Wait("keep_objects", Where.LOST)), tells=what_runs_on_it,
           minutes=5),
    Action("capture_processes", "capture", "Read what runs on each node by a pod on it: processes with hashes of their programs, sockets, mounts, files of the writable layers", "nothing; a pod on the host's network runs there for a minute", stops_nothing=True,
           effects=(Effect.NONE,),
           undo="delete the pod that read it; what it read stays", kinds=("node",), commands=lambda target, held: capture_commands(target.key, action_id("capture_processes", target)),
           precondition="the node's kubelet answers, and it can pull a public image",
           permissions=("kubernetes:nodes:get:{node}", "kubernetes:pods:get:{reader}", "kubernetes:pods:create:kube-system/", "kubernetes:pods/log:get:{reader}", "kubernetes:pods:delete@undo:{reader}"),
           preview=DRY, check="what it read is in the case, hashed in its journal",
           impossible=_reads(_impossible(on_hybrid=True, without_instance=True)), keeps=Keeps.DISK, waits=(Wait("remove_webhook", Where.ANY),), tells=what_is_left,
           minutes=3),
    Action("capture_node", "capture", "Keep the console output of each node; memory is for a person, by SSM", "nothing; memory takes minutes to hours", stops_nothing=True, undo=READS, reads_only=True, kinds=("node",),
           commands=_console,
           precondition="the instance runs; for memory it is reached by SSM", only_held=True,
           permissions=("aws:ec2:GetConsoleOutput", "aws:ec2:DescribeInstances", "kubernetes:nodes:get:{node}"), preview=LOOKED, check="the output is in the case, hashed in its journal",
           impossible=_impossible(), keeps=Keeps.TARGET,
           minutes=2),
    Action("quarantine_node", "capture", "Give each node's instance a security group that lets nothing through", "every pod on the node; its kubelet, so it comes after what needs that",
           effects=(Effect.CUTS_NODE_OFF,),
           undo="put the old security groups back", kinds=("node",),
           commands=_quarantine,
           precondition="what needs the kubelet or SSM is done; not on Auto Mode", only_held=True,
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeNetworkInterfaces", "aws:ec2:DescribeSecurityGroups", "aws:ec2:CreateSecurityGroup", "aws:ec2:RevokeSecurityGroupEgress", "aws:ec2:DeleteSecurityGroup@undo", "aws:ec2:CreateTags",
                        "aws:ec2:ModifyNetworkInterfaceAttribute", "kubernetes:nodes:get:{node}"),
           preview=EC2_DRY, check="every interface has that group alone; connections that were open may live on",
           impossible=_impossible(on_auto=False), takes_out=True,
           waits=(*(Wait(needs_kubelet, Where.LOST) for needs_kubelet in ("keep_objects", "capture_container", "capture_processes", "capture_node")), Wait("evict_pods", Where.SAME), Wait("add_nodes", Where.ANY), Wait("pause_node_repair", Where.ANY), Wait("quarantine_node", Where.BEFORE)), tells=what_a_cut_off_node_does),
    Action("detach_instance_role", "capture", "Take the role off each node's instance: it gets no new credentials, and those that it has go on until they expire", "image pulls, SSM, and the node's own sign-in to the cluster", undo="give the instance its instance profile again", kinds=("node",),
           effects=(Effect.NONE,),
           commands=_detach,
           precondition="what needs SSM is done, and the node is cut off", only_held=True,
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeIamInstanceProfileAssociations", "aws:ec2:DisassociateIamInstanceProfile", "aws:ec2:AssociateIamInstanceProfile@undo", "aws:iam:PassRole@undo", "kubernetes:nodes:get:{node}"),
           preview=SIMULATED, check="EC2 has no instance profile for the instance",
           impossible=_impossible(on_auto=False), waits=(Wait("quarantine_node", Where.SAME),),
           minutes=1),
    Action("snapshot_checkpoints", "capture", "Start a snapshot of each node's volumes once more: the checkpoints lie on them, and the first snapshot is older", "nothing; it costs storage", stops_nothing=True, cannot_undo="an undo deletes no evidence: delete the snapshots when the case is closed", kinds=("node",), only_held=True,
           effects=(Effect.NONE,),
           commands=_snapshot("snapshot_checkpoints"),
           precondition="the checkpoints are made",
           permissions=_SNAPSHOTS,
           preview=EC2_DRY, check="a snapshot of each volume is there, with the action's tag",
           applies=is_checkpointed, impossible=_impossible(), keeps=Keeps.DISK, waits=(Wait("capture_container", Where.ON_NODE),)),
    Action("finish_snapshots", "capture", "Wait until each node's snapshots are finished", "nothing", stops_nothing=True, undo=READS, reads_only=True, kinds=("node",),
           commands=_finished,
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
           commands=_scan,
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
