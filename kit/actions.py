"""The actions of the playbooks: what each does, to which subjects, in which stage, how it is undone, and the commands to type.

Nothing here changes anything: the commands are text for a person. Order of the stages: freeze → contain → revoke → capture → eradicate →
recover; cutting the attacker off waits for no slow capture, and nothing is destroyed before it is captured.
Sources: GuardDuty User Guide "Remediating EKS Protection findings"; EKS Best Practices "Incident response and forensics"; IAM User Guide
"Revoking IAM role temporary security credentials"; Kubernetes "Network Policies", "Safely drain a node", "Kubelet Checkpoint API".
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from kit.access import kubectl
from kit.inventory import Thing

STAGES = ("freeze", "contain", "revoke", "capture", "eradicate", "recover")
LABEL = "kit-quarantine"
"""A label of our own: changing one that a ReplicaSet or a Service selects on would start a new pod from the same image."""


@dataclass(frozen=True)
class Target:
    """What an action is done to: a subject of the scope. instance_id: of a node."""

    kind: str
    key: str
    thing: Thing | None = None
    cluster: str | None = None
    instance_id: str | None = None

    @property
    def namespace(self) -> str | None:
        """Its namespace, where it has one."""
        if self.thing:
            return self.thing.namespace
        return (
            self.key.partition("/")[0]
            if self.kind in ("secret", "service_account", "token", "reachable", "config_map")
            else None
        )

    @property
    def name(self) -> str:
        """Its name."""
        return (self.thing.name if self.thing else None) or self.key.rpartition("/")[2]


@dataclass(frozen=True)
class Action:
    """One kind of change. undo: how it is taken back; cannot_undo: why it cannot. kinds: of subjects that it is done to, none: by hand.

    stops: what else stops working. destroys: whether evidence is lost by it. identities: of identities, which kinds.
    precondition: what has to be true just before. permissions: `kubernetes:[GROUP/]RESOURCE:VERB` or `aws:SERVICE:ACTION`.
    """

    name: str
    stage: str
    does: str
    stops: str
    undo: str = ""
    cannot_undo: str = ""
    kinds: tuple[str, ...] = ()
    commands: Callable[[Target], list[str]] = field(default=lambda target: [], repr=False)
    destroys: bool = False
    identities: tuple[str, ...] = ()
    precondition: str = ""
    permissions: tuple[str, ...] = ()


def _file(target: Target, end: str) -> str:
    return shlex.quote(f"{target.namespace or 'default'}_{target.name}.{end}".replace("/", "_"))


def _keep(target: Target) -> list[str]:
    logs = "logs --all-containers --timestamps"
    field, space = shlex.quote(f"involvedObject.name={target.name}"), shlex.quote(target.namespace or "default")
    return [
        f"{kubectl('get -o yaml', 'pod', target.name, target.namespace)} > {_file(target, 'yaml')}",
        f"{kubectl(logs, '', target.name, target.namespace)} > {_file(target, 'log')}",
        f"{kubectl(f'{logs} --previous', '', target.name, target.namespace)} > {_file(target, 'previous.log')}",
        f"kubectl get events -n {space} --field-selector {field} -o yaml > {_file(target, 'events.yaml')}",
    ]


def _delete_pod(target: Target) -> list[str]:
    """Deleted only while the pod of that name is still the one that is meant."""
    delete = kubectl("delete", "pod", target.name, target.namespace)
    if target.thing is None or not target.thing.uid:
        return [delete]
    uid = kubectl("get -o jsonpath={.metadata.uid}", "pod", target.name, target.namespace)
    return [f'test "$({uid})" = {shlex.quote(target.thing.uid)} && {delete}']


def _terminate(target: Target) -> list[str]:
    drain = kubectl("drain --ignore-daemonsets --delete-emptydir-data", "", target.key, None)
    ends = _instance(
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id INSTANCE",
        "aws ec2 terminate-instances --instance-ids INSTANCE",
    )
    return [drain, *ends(target)]


def _keep_image(target: Target) -> list[str]:
    name = shlex.quote(target.key)
    return [
        f"docker pull -- {name}",
        f"docker save -o image-{hashlib.sha256(target.key.encode()).hexdigest()[:10]}.tar -- {name}",
    ]


def _isolate(target: Target) -> list[str]:
    policy = (
        '{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"' + LABEL + '"},"spec":{"podSelector":{"matchLabels":{"'
        + LABEL + '":"true"}},"policyTypes":["Ingress","Egress"]}}'
    )  # fmt: skip
    space = shlex.quote(target.namespace or "default")
    return [
        f"{kubectl('label', 'pod', target.name, target.namespace)} {LABEL}=true",
        f"echo {shlex.quote(policy)} | kubectl apply -n {space} -f -",
    ]


def _instance(*words: str) -> Callable[[Target], list[str]]:
    def commands(target: Target) -> list[str]:
        return (
            [word.replace("INSTANCE", shlex.quote(target.instance_id)) for word in words] if target.instance_id else []
        )

    return commands


def _object(verb: str) -> Callable[[Target], list[str]]:
    def commands(target: Target) -> list[str]:
        resource, _, rest = target.key.partition("/")
        namespace, slash, name = rest.rpartition("/")
        return [kubectl(verb, resource, name if slash else rest, namespace or None)] if rest else []

    return commands


def _narrow(target: Target) -> list[str]:
    name = shlex.quote(target.cluster or "CLUSTER")
    return [
        f"aws eks update-cluster-config --name {name} --resources-vpc-config endpointPrivateAccess=true,publicAccessCidrs=YOUR.OWN.ADDRESS/32"
    ]


def _revoke(target: Target) -> list[str]:
    name = target.key.rpartition("/")[2]
    policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"NOW_IN_UTC"}}}]}'
    if ":role/" not in target.key:
        return []
    return [
        f"aws iam put-role-policy --role-name {shlex.quote(name)} --policy-name AWSRevokeOlderSessions --policy-document {shlex.quote(policy)}"
    ]


_CANNOT = "what was deleted is gone; what was captured before stays"
_ALL = (
    Action("keep_objects", "freeze", "Save the YAML, the logs, the previous logs and the Events of each affected pod", "nothing", undo="nothing to undo: it changes nothing", kinds=("pod",), commands=_keep,
           precondition="the pod with this uid stands",
           permissions=("kubernetes:pods:get", "kubernetes:pods/log:get", "kubernetes:events:list")),
    Action("protect_node", "freeze", "Protect each node's instance from termination, scale-in and disruption", "scaling in of that node",
           undo="switch the protections off again", kinds=("node",),
           commands=_instance("aws ec2 modify-instance-attribute --disable-api-termination --instance-id INSTANCE",
                              "aws autoscaling set-instance-protection --protected-from-scale-in --auto-scaling-group-name GROUP --instance-ids INSTANCE"),
           precondition="the instance runs; Spot instances and Fargate have no termination protection",
           permissions=("aws:ec2:ModifyInstanceAttribute", "aws:autoscaling:SetInstanceProtection")),
    Action("snapshot_volumes", "freeze", "Start a snapshot of each node's volumes", "nothing; it costs storage", undo="delete the snapshots", kinds=("node",),
           commands=_instance("aws ec2 create-snapshots --tag-specifications 'ResourceType=snapshot,Tags=[{Key=case,Value=evidence}]' --instance-specification InstanceId=INSTANCE"),
           precondition="the instance exists",
           permissions=("aws:ec2:CreateSnapshots", "aws:ec2:CreateTags")),
    Action("isolate_pod", "contain", "Give each pod a new label and deny all traffic to it and from it", "everything that calls the pod or that it calls",
           undo="take the label off again and delete the network policy", kinds=("pod",), commands=_isolate,
           precondition="the pod with this uid stands, is not on the host network, no other network policy selects it (what each allows adds up), and the cluster enforces them",
           permissions=("kubernetes:pods:patch", "kubernetes:networking.k8s.io/networkpolicies:create")),
    Action("cordon_node", "contain", "Keep new pods off each node", "scheduling onto that node", undo="`kubectl uncordon` of the node", kinds=("node",),
           commands=lambda target: [kubectl("cordon", "", target.key, None)],
           precondition="the node stands; with Karpenter do-not-disrupt comes first",
           permissions=("kubernetes:nodes:patch",)),
    Action("quarantine_node", "contain", "Give each node's instance a security group that lets nothing through", "every pod on the node; its kubelet, so do what needs that first",
           undo="put the old security groups back, as the first command printed them", kinds=("node",),
           commands=_instance("aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values=INSTANCE --query 'NetworkInterfaces[].[NetworkInterfaceId,Groups[].GroupId]'",
                              "aws ec2 modify-network-interface-attribute --network-interface-id EACH_INTERFACE --groups QUARANTINE_GROUP"),
           precondition="what needs the kubelet is done; not on Auto Mode",
           permissions=("aws:ec2:ModifyInstanceAttribute", "aws:ec2:ModifyNetworkInterfaceAttribute")),
    Action("narrow_endpoint", "contain", "Let only your own addresses reach the cluster's public endpoint", "callers from other addresses: pipelines, people, nodes without private access",
           undo="put the old publicAccessCidrs back", kinds=("cluster",), commands=_narrow,
           precondition="private access is on, or every node's way out and your own address stay in",
           permissions=("aws:eks:UpdateClusterConfig", "aws:eks:DescribeCluster")),
    Action("remove_role_binding", "revoke", "Delete the bindings and roles that the attacker wrote; take the caller out of those that let it do this", "whatever else that identity does",
           undo="apply the saved YAML again", kinds=("written_binding",), commands=_object("delete"), destroys=True,
           precondition="its subjects and role are as planned",
           permissions=("kubernetes:rbac.authorization.k8s.io/rolebindings:delete", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:delete", "kubernetes:rbac.authorization.k8s.io/roles:delete", "kubernetes:rbac.authorization.k8s.io/clusterroles:delete")),
    Action("remove_anonymous_access", "revoke", "Take system:anonymous and system:unauthenticated out of all bindings but system:public-info-viewer", "whoever calls without signing in: old health checks",
           undo="add the subject again", kinds=("anonymous_binding",), commands=_object("edit"),
           precondition="its subjects are as planned",
           permissions=("kubernetes:rbac.authorization.k8s.io/rolebindings:update", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:update")),
    Action("remove_cluster_access", "revoke", "Delete the caller's access entry and its mapping in aws-auth, both", "all that this IAM principal does in the cluster",
           undo="create entry and mapping again from the saved ones", kinds=("identity",), identities=("iam",),
           precondition="it is neither the last administrator, nor a node's or Fargate's mapping, nor the identity that you work with",
           permissions=("aws:eks:DeleteAccessEntry", "aws:eks:DescribeAccessEntry", "kubernetes:configmaps:update")),
    Action("end_oidc_access", "revoke", "Disable the user at the identity provider and take it out of its bindings", "that user's other work", undo="enable the user again", kinds=("identity",), identities=("oidc",),
           precondition="somebody at the identity provider can disable the user",
           permissions=("kubernetes:rbac.authorization.k8s.io/rolebindings:update", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:update")),
    Action("change_role_trust", "revoke", "Change the trust policy of the IRSA role, so that the stolen token gets no new session", "all pods that take on the role",
           undo="put the old trust policy back", kinds=("iam_role",),
           precondition="the trust policy is as planned",
           permissions=("aws:iam:UpdateAssumeRolePolicy", "aws:iam:GetRole")),
    Action("remove_pod_identity", "revoke", "Delete the Pod Identity association", "all pods of that service account in AWS", undo="create the association again", kinds=("service_account",),
           commands=lambda target: [f"aws eks list-pod-identity-associations --cluster-name {shlex.quote(target.cluster or 'CLUSTER')} --namespace {shlex.quote(target.namespace or '')} --service-account {shlex.quote(target.name)}"],
           precondition="the association is of this service account",
           permissions=("aws:eks:ListPodIdentityAssociations", "aws:eks:DeletePodIdentityAssociation")),
    Action("revoke_role_sessions", "revoke", "Deny everything to sessions of the role that were issued before now", "all users of the role until they get new sessions",
           undo="delete the policy AWSRevokeOlderSessions", kinds=("iam_role",), commands=_revoke,
           precondition="the way in is closed: new sessions work at once; not a service-linked role, not one of IAM Identity Center",
           permissions=("aws:iam:PutRolePolicy",)),
    Action("deactivate_access_key", "revoke", "Set the access key inactive; sessions that it issued outlive it", "whatever uses that key", undo="set the key active again", kinds=("identity",), identities=("iam",),
           precondition="it is not the key that you work with",
           permissions=("aws:iam:UpdateAccessKey",)),
    Action("end_service_account_tokens", "revoke", "End the tokens of the service account: those in Secrets with the Secret, now; those bound to a pod end when it is deleted, once captured", "all pods of that service account when it has to be made again",
           cannot_undo="an ended token is not valid again; pods get new ones", kinds=("identity",), identities=("service_account",),
           precondition="its pods are captured",
           permissions=("kubernetes:pods:delete", "kubernetes:secrets:delete", "kubernetes:serviceaccounts:delete")),
    Action("capture_container", "capture", "Take a checkpoint of each container through its kubelet, where the cluster allows it", "nothing; the container pauses for seconds",
           undo="nothing to undo: it changes nothing", kinds=("pod",),
           commands=lambda target: [f"kubectl create --raw {shlex.quote(f'/api/v1/nodes/{target.thing.node}/proxy/checkpoint/{target.namespace}/{target.name}/CONTAINER')} -f /dev/null"] if target.thing and target.thing.node else [],
           precondition="the pod with this uid stands, and its kubelet has the checkpoint API",
           permissions=("kubernetes:nodes/proxy:create",)),
    Action("capture_node", "capture", "Capture memory, process tree, open ports and console output of each node", "nothing; it takes minutes to hours", undo="nothing to undo: it changes nothing", kinds=("node",),
           commands=_instance("aws ec2 get-console-output --latest --instance-id INSTANCE"),
           precondition="the instance runs; for memory it is reached by SSM",
           permissions=("aws:ec2:GetConsoleOutput", "aws:ssm:SendCommand")),
    Action("scan_node", "capture", "Have GuardDuty scan the node's volumes for malware", "nothing; it costs money", undo="nothing to undo: it changes nothing", kinds=("node",),
           commands=lambda target: [f"aws guardduty start-malware-scan --resource-arn {shlex.quote(f'arn:aws:ec2:REGION:ACCOUNT:instance/{target.instance_id}')}"] if target.instance_id else [],
           precondition="the instance exists, and was not scanned within the last hour",
           permissions=("aws:guardduty:StartMalwareScan",)),
    Action("keep_image", "capture", "Keep each affected image by its digest where nobody pulls it from", "nothing", undo="delete the copy", kinds=("image",),
           commands=_keep_image,
           precondition="the registry still has the digest that ran",
           permissions=("aws:ecr:BatchGetImage", "aws:ecr:GetDownloadUrlForLayer")),
    Action("delete_pod", "eradicate", "Delete each affected pod, by its uid, once captured", "what the pod serves; its owner starts a new one from the same image", cannot_undo=_CANNOT, kinds=("pod",),
           commands=_delete_pod, destroys=True,
           precondition="the pod with this uid stands, and its capture is finished",
           permissions=("kubernetes:pods:delete",)),
    Action("delete_workload", "eradicate", "Delete the workloads and other objects that the attacker made", "nothing that is yours, when the list is right", undo="apply the saved YAML again", kinds=("created",),
           commands=_object("delete"), destroys=True,
           precondition="the object with this uid stands, its YAML is kept and its pods are captured",
           permissions=("kubernetes:apps/deployments:delete", "kubernetes:apps/daemonsets:delete", "kubernetes:apps/statefulsets:delete", "kubernetes:batch/jobs:delete", "kubernetes:batch/cronjobs:delete", "kubernetes:pods:delete")),
    Action("block_image", "eradicate", "Deny pulling the image and delete it from the registry; nodes keep cached copies", "every workload that uses it", undo="push the kept copy again", kinds=("image",),
           precondition="nothing of yours runs it any more",
           permissions=("aws:ecr:BatchDeleteImage",)),
    Action("terminate_node", "eradicate", "Drain each node and terminate its instance, once captured", "all pods on it move; what is on its disk is lost", cannot_undo="an instance that was terminated is gone", kinds=("node",),
           commands=_terminate, destroys=True,
           precondition="its capture is finished and its pods are moved",
           permissions=("kubernetes:pods/eviction:create", "aws:ec2:TerminateInstances")),
    Action("restore_objects", "recover", "Bring back what the attacker deleted, undo what was changed", "nothing", undo="delete it again", kinds=("deleted", "changed"),
           precondition="the attacker's access has ended",
           permissions=()),
    Action("close_exposure", "recover", "Take the dashboard, the service or the endpoint off the internet", "whoever used it from outside", undo="open it again", kinds=("exposed",), commands=_object("edit"),
           precondition="address and access logs of the load balancer are noted",
           permissions=("kubernetes:services:patch",)),
    Action("drop_default_account_rights", "recover", "Take the default service account out of its bindings; give workloads accounts of their own", "workloads that lived on those rights",
           undo="add the subject again", kinds=("default_binding",), commands=_object("edit"),
           precondition="the workloads that need the rights have accounts of their own",
           permissions=("kubernetes:rbac.authorization.k8s.io/rolebindings:update", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:update")),
    Action("rotate_secrets", "recover", "Rotate every secret that was read, then those in reach", "whatever still has the old value", cannot_undo="the old value is in the attacker's hands", kinds=("secret", "reachable"),
           precondition="the attacker's access has ended, else the new value is read too",
           permissions=()),
    Action("roll_out_fixed", "recover", "Roll out a fixed image or version with hardened settings", "the old version", undo="`kubectl rollout undo`", kinds=(),
           precondition="the fault that let them in is known",
           permissions=()),
    Action("suppress", "recover", "Write the narrowest suppression filter for findings like this one", "such findings reach no Security Hub, no EventBridge, start no malware scan and join no attack sequence", undo="delete the filter", kinds=(),
           precondition="a person has marked the finding as expected",
           permissions=()),
)  # fmt: skip
ACTIONS: dict[str, Action] = {one.name: one for one in _ALL}
"""All actions by name."""
