"""The actions of the playbooks: what each does, to which subjects, in which stage, how it is undone, and the commands to type.

Nothing here changes anything: kit.live does what a plan says, and the commands are the same for a person to type. Order of the stages: freeze → contain → revoke → capture → eradicate →
recover; cutting the attacker off waits for no slow capture, and nothing is destroyed before it is captured.
Sources: GuardDuty User Guide "Remediating EKS Protection findings"; EKS Best Practices "Incident response and forensics"; IAM User Guide
"Revoking IAM role temporary security credentials"; Kubernetes "Network Policies", "Safely drain a node", "Kubelet Checkpoint API".
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kit.identities.access import kubectl
from kit.inventory.thing import Thing
from kit.model.kubernetes import KINDS
from kit.model.why import Why

STAGES = ("freeze", "contain", "revoke", "capture", "eradicate", "recover")
LABEL = "kit-quarantine"
"""A label of our own: changing one that a ReplicaSet or a Service selects on would start a new pod from the same image."""


@dataclass(frozen=True)
class Target:
    """What an action is done to: a subject of the scope. instance_id: of a node. parameters: what kit.live has to know of it. why: what
    weighs most."""

    kind: str
    key: str
    thing: Thing | None = None
    cluster: str | None = None
    instance_id: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
    why: tuple[Why, ...] = ()

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
    precondition: what has to be true just before. permissions: `kubernetes:[GROUP/]RESOURCE:VERB[:NAME]` or `aws:SERVICE:ACTION`;
    {object} is the resource of the target, {role} what RBAC asks of whoever writes a binding: to may bind its role.
    preview: how it is tried before. check: what shows afterwards that it holds. by_person: why the kit doesn't do it, "" when it does.
    destroys_node: done only to nodes that the attacker may hold; on others an affected pod merely ran. stops_nothing: of anybody's work.
    reads_only: it changes nothing in account and cluster, so there is nothing to undo.
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
    preview: str = ""
    check: str = ""
    by_person: str = ""
    destroys_node: bool = False
    stops_nothing: bool = False
    reads_only: bool = False


def _file(target: Target, end: str) -> str:
    return shlex.quote(f"{target.namespace or 'default'}_{target.name}.{end}".replace("/", "_"))


def _keep(target: Target) -> list[str]:
    resource = str(target.parameters.get("resource") or "pods")
    yaml = f"{kubectl('get -o yaml', resource, target.name, target.namespace)} > {_file(target, 'yaml')}"
    if resource != "pods":
        return [yaml]
    logs = "logs --all-containers --timestamps"
    field, space = shlex.quote(f"involvedObject.name={target.name}"), shlex.quote(target.namespace or "default")
    return [
        yaml,
        f"{kubectl(logs, '', target.name, target.namespace)} > {_file(target, 'log')}",
        f"{kubectl(f'{logs} --previous', '', target.name, target.namespace)} > {_file(target, 'previous.log')}",
        f"kubectl get events -n {space} --field-selector {field} -o yaml > {_file(target, 'events.yaml')}",
    ]


def _uid_checked(verb: str, resource: str, target: Target) -> list[str]:
    """Done only while the object of that name is still the one that is meant."""
    line = kubectl(verb, resource, target.name, target.namespace)
    if target.thing is None or not target.thing.uid:
        return [line]
    uid = kubectl("get -o jsonpath={.metadata.uid}", resource, target.name, target.namespace)
    return [f'test "$({uid})" = {shlex.quote(target.thing.uid)} && {line}']


def _delete_pod(target: Target) -> list[str]:
    return _uid_checked("delete", "pod", target)


def _terminate(target: Target) -> list[str]:
    drain = kubectl("drain --ignore-daemonsets --delete-emptydir-data --force --timeout=300s", "", target.key, None)
    ends = _instance(
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id INSTANCE",
        "aws ec2 terminate-instances --instance-ids INSTANCE",
        *(
            ["aws autoscaling resume-processes --auto-scaling-group-name GROUP --scaling-processes ReplaceUnhealthy"]
            if target.parameters.get("group")
            else []
        ),
    )
    return [drain, *ends(target)]


def _withdraw(target: Target) -> list[str]:
    labels = " ".join(shlex.quote(f"{label}-") for label in target.parameters.get("labels", {}))
    return [f"{kubectl('label', 'pod', target.name, target.namespace)} {labels}"] if labels else []


def _cluster_access(target: Target) -> list[str]:
    name, arn = shlex.quote(target.cluster or "CLUSTER"), shlex.quote(str(target.parameters.get("arn") or "ARN"))
    return [
        "kubectl edit configmap aws-auth -n kube-system",
        f"aws eks delete-access-entry --cluster-name {name} --principal-arn {arn}",
    ]


def _deactivate(target: Target) -> list[str]:
    user = shlex.quote(str(target.parameters.get("arn") or "").rpartition("/")[2])
    return [
        f"aws iam update-access-key --user-name {user} --access-key-id {shlex.quote(key)} --status Inactive"
        for key in target.parameters.get("access_key_ids", [])
    ]


def _deny_image(target: Target) -> list[str]:
    """Out of the registry where it is one of yours; elsewhere an admission rule keeps it out of the cluster."""
    known = target.parameters
    name = f"kit-deny-{action_id('', target)[1:]}"
    if known.get("repository"):
        repository = shlex.quote(known["repository"])
        return [
            f"aws ecr batch-delete-image --registry-id {known['registry_account']} --region {known['region']} --repository-name {repository} --image-ids imageTag={shlex.quote(str(known['tag']))}"
            for _ in [known["tag"]]
            if known["tag"]
        ]
    rule = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods", "pods/ephemeralcontainers"]}]},
            "validations": [{"expression": f"!(object.spec.containers + object.spec.?initContainers.orValue([]) + object.spec.?ephemeralContainers.orValue([])).exists(one, one.image == {json.dumps(target.key)})", "message": "this image is part of an incident"}],
        },
    }  # fmt: skip
    bound = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    return [f"echo {shlex.quote(json.dumps(one))} | kubectl apply -f -" for one in (rule, bound)]


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
        known = target.parameters
        filled = {
            "INSTANCE": target.instance_id,
            "GROUP": known.get("group"),
            "REGION": known.get("region"),
            "ACCOUNT": known.get("account"),
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


def _object(verb: str) -> Callable[[Target], list[str]]:
    def commands(target: Target) -> list[str]:
        resource, _, rest = target.key.partition("/")
        return _uid_checked(verb, resource, target) if rest else []

    return commands


def _narrow(target: Target) -> list[str]:
    name, keep = shlex.quote(target.cluster or "CLUSTER"), target.parameters.get("keep")
    if keep == []:
        return [f"aws eks update-cluster-config --name {name} --resources-vpc-config endpointPublicAccess=false"]
    cidrs = ",".join(keep or ["YOUR.OWN.ADDRESS/32"])
    return [f"aws eks update-cluster-config --name {name} --resources-vpc-config publicAccessCidrs={cidrs}"]


def _revoke(target: Target) -> list[str]:
    """The same deny as kit.live puts on: of these instances or pods alone, else of all sessions that are older than now."""
    known, role = target.parameters, str(target.parameters.get("role"))
    if ":role/" not in role:
        return []
    name = role.rpartition("/")[2]
    conditions: list[dict[str, Any]] = []
    if known.get("instances"):
        conditions.append({"StringLike": {"aws:userid": [f"*:{one}" for one in known["instances"]]}})
    if known.get("pods"):
        conditions.append({"StringEquals": {"aws:PrincipalTag/kubernetes-pod-uid": known["pods"]}})
    conditions = conditions or [{"DateLessThan": {"aws:TokenIssueTime": "NOW"}}]
    statements = [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": one} for one in conditions]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    before, now, after = policy.partition("NOW")
    quoted = shlex.quote(before) + ('"$(date -u -d +1min +%Y-%m-%dT%H:%M:%SZ)"' + shlex.quote(after) if now else "")
    policy_name = f"kit-revoke-{action_id('', target)[1:]}"
    return [
        f"aws iam put-role-policy --role-name {shlex.quote(name)} --policy-name {policy_name} --policy-document {quoted}"
    ]


def _trust(target: Target) -> list[str]:
    name = shlex.quote(target.key.rpartition("/")[2])
    return [
        f"aws iam get-role --role-name {name} --query Role.AssumeRolePolicyDocument > trust.json",
        f"aws iam update-assume-role-policy --role-name {name} --policy-document file://trust.json",
    ]


def _pod_identity(target: Target) -> list[str]:
    cluster, space, name = (
        shlex.quote(one or "") for one in (target.cluster or "CLUSTER", target.namespace, target.name)
    )
    return [
        f"aws eks list-pod-identity-associations --cluster-name {cluster} --namespace {space} --service-account {name}",
        f"aws eks delete-pod-identity-association --cluster-name {cluster} --association-id EACH_ID",
    ]


def _end_tokens(target: Target) -> list[str]:
    space = shlex.quote(str(target.parameters.get("namespace") or "default"))
    lines = [
        f"kubectl get secrets -n {space} --field-selector type=kubernetes.io/service-account-token",
        f"kubectl delete secret -n {space} EACH_OF_THIS_ACCOUNT",
    ]
    if target.parameters.get("recreate"):
        name = shlex.quote(str(target.parameters["name"]))
        lines += [
            f"kubectl get serviceaccount {name} -n {space} -o yaml > account.yaml",
            f"kubectl delete serviceaccount {name} -n {space}",
            "kubectl apply -f account.yaml",
        ]
    return lines


def _add_nodes(target: Target) -> list[str]:
    name = shlex.quote(target.cluster or "CLUSTER")
    return [
        f"aws eks update-nodegroup-config --cluster-name {name} --nodegroup-name NODE_GROUP --scaling-config desiredSize=MORE,maxSize=MORE"
    ]


_GONE = "what was deleted is gone; what was captured before stays"
_READS = "nothing to undo: it changes nothing"
_DRY = "server-side dry-run (dryRun=All)"
_EC2_DRY = "EC2's DryRun"
_SIMULATED = "no dry-run: policy simulation of the caller's permissions"
_LOOKED = "nothing to try: it reads"
_BINDINGS = ("kubernetes:{object}:get", "kubernetes:{object}:patch", "kubernetes:{role}")
_SNAPSHOTS = (
    "kubernetes:nodes:get",
    "aws:ec2:DescribeInstances",
    "aws:ec2:DescribeSnapshots",
    "aws:ec2:CreateSnapshots",
    "aws:ec2:CreateTags",
)
_ALL = (
    Action("protect_node", "freeze", "Protect each node's instance from termination, scale-in and disruption", "scaling in of that node",
           undo="switch the protections off again", kinds=("node",),
           commands=_instance("aws ec2 modify-instance-attribute --disable-api-termination --instance-id INSTANCE",
                              "aws autoscaling set-instance-protection --protected-from-scale-in --auto-scaling-group-name GROUP --instance-ids INSTANCE",
                              "aws autoscaling suspend-processes --auto-scaling-group-name GROUP --scaling-processes ReplaceUnhealthy"),
           precondition="the instance runs, and its tags say the same kind of node; Spot instances have no termination protection",
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeInstanceAttribute", "aws:ec2:ModifyInstanceAttribute", "aws:autoscaling:DescribeAutoScalingInstances", "aws:autoscaling:DescribeAutoScalingGroups",
                        "aws:autoscaling:SetInstanceProtection", "aws:autoscaling:SuspendProcesses", "aws:autoscaling:ResumeProcesses", "kubernetes:nodes:get", "kubernetes:nodes:patch"),
           preview=f"{_EC2_DRY}; Auto Scaling has none: policy simulation", check="the protections are set on instance and group"),
    Action("snapshot_volumes", "freeze", "Start a snapshot of each node's volumes", "nothing; it costs storage", stops_nothing=True, undo="", cannot_undo="an undo deletes no evidence: delete the snapshots when the case is closed", kinds=("node",),
           commands=_instance("aws ec2 create-snapshots --tag-specifications 'ResourceType=snapshot,Tags=[{Key=kit-action,Value=SNAPSHOTS}]' --instance-specification InstanceId=INSTANCE"),
           precondition="the instance exists",
           permissions=_SNAPSHOTS,
           preview=_EC2_DRY, check="a snapshot of each volume is there, with the action's tag"),
    Action("keep_objects", "freeze", "Save the YAML of each affected pod and of what the attacker made; of pods the logs, the previous logs and the Events too", "nothing", stops_nothing=True, undo=_READS, reads_only=True, kinds=("pod", "created", "written_binding"), commands=_keep,
           precondition="the object with this uid stands",
           permissions=("kubernetes:{object}:get", "kubernetes:pods/log:get", "kubernetes:events:list"),
           preview=_LOOKED, check="the files are in the case, hashed in its journal"),
    Action("narrow_endpoint", "contain", "Let only your own addresses reach the cluster's public endpoint", "callers from other addresses: pipelines, people, nodes without private access",
           undo="put the old publicAccessCidrs back", kinds=("cluster",), commands=_narrow,
           precondition="private access is on, or every node's way out and your own address stay in",
           permissions=("aws:eks:UpdateClusterConfig", "aws:eks:DescribeCluster", "aws:eks:ListUpdates", "aws:eks:DescribeUpdate", "aws:ec2:DescribeNatGateways", "kubernetes:nodes:list"),
           preview=_SIMULATED, check="EKS has the new values, and the API server answers from here"),
    Action("close_exposure", "contain", "Take the Service off the internet", "whoever used it from outside", undo="open it again; a load balancer gets a new address", kinds=("exposed",), commands=_object("edit"),
           precondition="address and access logs of the load balancer are noted",
           permissions=("kubernetes:services:get", "kubernetes:services:patch"), preview=_DRY, check="the Service is of type ClusterIP and has no ingress address"),
    Action("isolate_pod", "contain", "Give each pod a new label and deny all traffic to it and from it", "everything that calls the pod or that it calls",
           undo="take the label off again and delete the network policy", kinds=("pod",), commands=_isolate,
           precondition="the pod with this uid stands, is not on the host network, and something in the cluster enforces network policies",
           permissions=("kubernetes:pods:get", "kubernetes:pods:list", "kubernetes:pods:patch", "kubernetes:networking.k8s.io/networkpolicies:get", "kubernetes:networking.k8s.io/networkpolicies:list",
                        "kubernetes:networking.k8s.io/networkpolicies:create", "kubernetes:networking.k8s.io/networkpolicies:delete", "kubernetes:networking.k8s.aws/policyendpoints:list",
                        "kubernetes:apps/daemonsets:list", "kubernetes:configmaps:get"),
           preview=_DRY, check="a PolicyEndpoint of the VPC CNI names the pod's address; with another network, cannot tell"),
    Action("withdraw_pod", "contain", "Take labels off each pod that only Services select on, so that they send it nothing more", "the Service has one pod less", undo="put the labels back", kinds=("pod",),
           commands=_withdraw, precondition="the pod with this uid stands; its owner does not select on the label",
           permissions=("kubernetes:pods:get", "kubernetes:pods:patch", "kubernetes:discovery.k8s.io/endpointslices:list"),
           preview=_DRY, check="no EndpointSlice of the namespace names its address"),
    Action("add_nodes", "contain", "Start new nodes that no pod of the attacker ran on: every known node is to be cordoned and terminated", "nothing; it costs money", stops_nothing=True, undo="lower the desired size again", kinds=(), commands=_add_nodes,
           precondition="the node group may grow; new pods need somewhere to run before the old nodes end",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="how many, of which group and in which subnets only you know"),
    Action("cordon_node", "contain", "Keep new pods off each node", "scheduling onto that node", undo="`kubectl uncordon` of the node", kinds=("node",),
           commands=lambda target: [kubectl("cordon", "", target.key, None)],
           precondition="the node stands; with Karpenter do-not-disrupt comes first", destroys_node=True,
           permissions=("kubernetes:nodes:get", "kubernetes:nodes:patch"),
           preview=_DRY, check="the node is unschedulable"),
    Action("remove_role_binding", "revoke", "Delete the bindings and roles that the attacker wrote", "whatever else that identity does",
           undo="make it again from what the journal kept", kinds=("written_binding",), commands=_object("delete"), destroys=True,
           precondition="the object with this uid stands; its subjects and role are as planned",
           permissions=("kubernetes:{object}:get", "kubernetes:{object}:delete", "kubernetes:{object}:create", "kubernetes:{role}"),
           preview=_DRY, check="it is gone"),
    Action("unbind_identity", "revoke", "Take the attacker's identity out of the bindings that name it", "all else that uses this identity: other pods of the service account, the person's own work",
           undo="put the subject back", kinds=("used_binding",), commands=_object("edit"),
           precondition="its subjects are as planned; you do not work with that subject yourself",
           permissions=_BINDINGS, preview=_DRY, check="the binding no longer names it"),
    Action("remove_anonymous_access", "revoke", "Take system:anonymous and system:unauthenticated out of all bindings but system:public-info-viewer", "whoever calls without signing in: old health checks",
           undo="put the subject back", kinds=("anonymous_binding",), commands=_object("edit"),
           precondition="its subjects are as planned",
           permissions=_BINDINGS, preview=_DRY, check="the binding no longer names them"),
    Action("drop_default_account_rights", "revoke", "Take the default service account out of its bindings; give workloads accounts of their own", "workloads that lived on those rights",
           undo="put the subject back", kinds=("default_binding",), commands=_object("edit"),
           precondition="the workloads that need the rights have accounts of their own",
           permissions=_BINDINGS, preview=_DRY, check="the binding no longer names it"),
    Action("remove_cluster_access", "revoke", "Delete the caller's access entry and its mapping in aws-auth, both", "all that this IAM principal does in the cluster",
           undo="create entry and mapping again from the saved ones", kinds=("identity", "mapping"), identities=("iam",), commands=_cluster_access,
           precondition="it is neither the last administrator, nor a node's or Fargate's mapping, nor the identity that you work with",
           permissions=("aws:eks:DescribeCluster", "aws:eks:ListAccessEntries", "aws:eks:DescribeAccessEntry", "aws:eks:ListAssociatedAccessPolicies", "aws:eks:DeleteAccessEntry", "aws:eks:CreateAccessEntry",
                        "aws:eks:AssociateAccessPolicy", "kubernetes:rbac.authorization.k8s.io/clusterrolebindings:list", "kubernetes:configmaps:get", "kubernetes:configmaps:patch"),
           preview=f"{_DRY} of aws-auth, shown as a diff; EKS has {_SIMULATED}", check="neither entry nor mapping is there"),
    Action("compare_mappings", "revoke", "Compare this mapping in aws-auth with your own copy: the attacker changed aws-auth, and what stood before is in no evidence", "whoever signs in by it, when it is taken out", undo="put the line back", kinds=(),
           commands=lambda target: ["kubectl get configmap aws-auth -n kube-system -o yaml"],
           precondition="you have aws-auth as it should be",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="whether it is yours no evidence tells"),
    Action("end_sign_in", "revoke", "End the sign-in that this role's session came from: disable the person, or close the pipeline's trust", "that person's or pipeline's other work", undo="enable it again", kinds=("identity",), identities=("iam",),
           precondition="somebody at the identity provider can do it; else the role gives a new session at once",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="who may take on the role is decided at its identity provider or in its trust policy, by people that the evidence does not name surely"),
    Action("end_oidc_access", "revoke", "Disable the user at the identity provider, and end its sessions there", "that user's other work", undo="enable the user again", kinds=("identity",), identities=("oidc",),
           precondition="somebody at the identity provider can disable the user", permissions=(),
           preview="none: it is done at the provider", check="a person confirms it (`kit apply --by-hand ID`)",
           by_person="the user lives at the identity provider, which the kit does not reach; detaching the provider from the cluster would shut out all its users"),
    Action("change_role_trust", "revoke", "Change the trust policy of the IRSA role, so that the stolen token gets no new session", "all pods that take on the role through these service accounts",
           undo="put the old trust policy back", kinds=("iam_role",),
           precondition="the trust policy is as it was looked at", commands=_trust,
           permissions=("aws:iam:GetRole", "aws:iam:UpdateAssumeRolePolicy", "aws:eks:DescribeCluster"),
           preview=_SIMULATED, check="the trust policy denies these service accounts"),
    Action("remove_pod_identity", "revoke", "Delete the Pod Identity association", "all pods of that service account in AWS", undo="create the association again; its id is a new one", kinds=("service_account",),
           commands=_pod_identity,
           precondition="the association is of this service account",
           permissions=("aws:eks:ListPodIdentityAssociations", "aws:eks:DescribePodIdentityAssociation", "aws:eks:DeletePodIdentityAssociation", "aws:eks:CreatePodIdentityAssociation", "aws:iam:PassRole"),
           preview=_SIMULATED, check="no association names the service account"),
    Action("revoke_role_sessions", "revoke", "Deny everything to the attacker's sessions of the role: of these instances or pods alone where that can be told apart, else to all sessions that were issued before a minute from now", "all users of the role whose sessions it hits, until they get new ones",
           undo="delete the deny policy", kinds=("iam_role",), commands=_revoke,
           precondition="the way in is closed: new sessions work at once; not a service-linked role, not one of IAM Identity Center, not your own",
           permissions=("aws:iam:GetRole", "aws:iam:GetRolePolicy", "aws:iam:PutRolePolicy", "aws:iam:DeleteRolePolicy"),
           preview=_SIMULATED, check="the role has the deny policy"),
    Action("deactivate_access_key", "revoke", "Set the access key inactive; sessions that it issued outlive it. Delete it when the case is closed", "whatever uses that key", undo="set the key active again", kinds=("identity",), identities=("iam",), commands=_deactivate,
           precondition="it is not the key that you work with",
           permissions=("aws:iam:ListAccessKeys", "aws:iam:UpdateAccessKey"),
           preview=_SIMULATED, check="the key is inactive"),
    Action("end_service_account_tokens", "revoke", "End the tokens of the service account: those in Secrets with the Secret, now; those bound to a pod end when it is deleted, once captured; those bound to nothing when the account is made again", "whatever uses the Secret's token; all pods of that service account when it has to be made again",
           cannot_undo="an ended token is not valid again; pods get new ones", kinds=("identity", "token"), identities=("service_account",),
           precondition="the account with this uid stands", commands=_end_tokens,
           permissions=("kubernetes:secrets:list", "kubernetes:secrets:get", "kubernetes:secrets:delete", "kubernetes:serviceaccounts:get", "kubernetes:serviceaccounts:delete", "kubernetes:serviceaccounts:create", "kubernetes:pods:list"),
           preview=_DRY, check="no Secret holds a token of it; what still lives, and for how long, is said"),
    Action("capture_container", "capture", "Take a checkpoint of each container through its kubelet, where the cluster allows it", "nothing; the container pauses for seconds", stops_nothing=True,
           undo=_READS, reads_only=True, kinds=("pod",),
           commands=lambda target: [f"kubectl create --raw {shlex.quote(f'/api/v1/nodes/{target.thing.node}/proxy/checkpoint/{target.namespace}/{target.name}/{one}')} -f /dev/null" for one in target.parameters.get("containers", [])] if target.thing and target.thing.node else [],
           precondition="the pod with this uid stands, and its kubelet has the checkpoint API",
           permissions=("kubernetes:pods:get", "kubernetes:nodes/proxy:create"),
           preview="no dry-run: the kubelet is asked by the call itself", check="the kubelet named the archive, which stays on the node until somebody fetches it"),
    Action("capture_node", "capture", "Keep the console output of each node; memory, process tree and open ports are for a person, by SSM", "nothing; memory takes minutes to hours", stops_nothing=True, undo=_READS, reads_only=True, kinds=("node",),
           commands=_instance("aws ec2 get-console-output --latest --instance-id INSTANCE"),
           precondition="the instance runs; for memory it is reached by SSM", destroys_node=True,
           permissions=("aws:ec2:GetConsoleOutput", "aws:ec2:DescribeInstances", "kubernetes:nodes:get"), preview=_LOOKED, check="the output is in the case, hashed in its journal"),
    Action("quarantine_node", "capture", "Give each node's instance a security group that lets nothing through", "every pod on the node; its kubelet, so it comes after what needs that",
           undo="put the old security groups back", kinds=("node",),
           commands=_instance("aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values=INSTANCE --query 'NetworkInterfaces[].[NetworkInterfaceId,Groups[].GroupId]'",
                              "aws ec2 modify-network-interface-attribute --network-interface-id EACH_INTERFACE --groups QUARANTINE_GROUP"),
           precondition="what needs the kubelet or SSM is done; not on Auto Mode", destroys_node=True,
           permissions=("aws:ec2:DescribeInstances", "aws:ec2:DescribeNetworkInterfaces", "aws:ec2:DescribeSecurityGroups", "aws:ec2:CreateSecurityGroup", "aws:ec2:RevokeSecurityGroupEgress", "aws:ec2:DeleteSecurityGroup", "aws:ec2:CreateTags",
                        "aws:ec2:ModifyNetworkInterfaceAttribute", "kubernetes:nodes:get"),
           preview=_EC2_DRY, check="every interface has that group alone; connections that were open may live on"),
    Action("snapshot_checkpoints", "capture", "Start a snapshot of each node's volumes once more: the checkpoints lie on them, and the first snapshot is older", "nothing; it costs storage", stops_nothing=True, cannot_undo="an undo deletes no evidence: delete the snapshots when the case is closed", kinds=("node",), destroys_node=True,
           commands=_instance("aws ec2 create-snapshots --tag-specifications 'ResourceType=snapshot,Tags=[{Key=kit-action,Value=CHECKPOINTS}]' --instance-specification InstanceId=INSTANCE"),
           precondition="the checkpoints are made",
           permissions=_SNAPSHOTS,
           preview=_EC2_DRY, check="a snapshot of each volume is there, with the action's tag"),
    Action("finish_snapshots", "capture", "Wait until each node's snapshots are finished", "nothing", stops_nothing=True, undo=_READS, reads_only=True, kinds=("node",),
           commands=_instance("aws ec2 describe-snapshots --filters Name=tag:kit-action,Values=SNAPSHOTS --query 'Snapshots[].[SnapshotId,State,Progress]'"),
           precondition="the snapshots were started",
           permissions=("aws:ec2:DescribeSnapshots",), preview=_LOOKED, check="every snapshot is completed"),
    Action("scan_node", "capture", "Have GuardDuty scan the node's volumes for malware, and wait for the result", "nothing; it costs money", stops_nothing=True, undo=_READS, reads_only=True, kinds=("node",),
           commands=_instance("aws guardduty start-malware-scan --resource-arn arn:aws:ec2:REGION:ACCOUNT:instance/INSTANCE"),
           precondition="the instance exists, and was not scanned within the last hour", destroys_node=True,
           permissions=("aws:guardduty:StartMalwareScan", "aws:guardduty:ListMalwareScans", "aws:ec2:DescribeInstances", "kubernetes:nodes:get"),
           preview=_SIMULATED, check="GuardDuty has the scan, and its state"),
    Action("keep_image", "capture", "Keep each affected image by its digest where nobody pulls it from", "nothing", stops_nothing=True, undo="take the extra tag off the digest", kinds=("image", "introduced"),
           commands=_keep_image,
           precondition="the registry still has the digest that ran",
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:PutImage", "aws:ecr:BatchDeleteImage"),
           preview=_SIMULATED, check="the manifest is in the case, the digest has the tag; its layers are not copied: the commands do that"),
    Action("delete_workload", "eradicate", "Delete the workloads and other objects that the attacker made", "nothing that is yours, when the list is right", stops_nothing=True, undo="make it again from what the journal kept; its pods and a Secret's values are gone", kinds=("created",),
           commands=_object("delete"), destroys=True,
           precondition="the object with this uid stands, its YAML is kept and its pods are captured",
           permissions=("kubernetes:{object}:get", "kubernetes:{object}:delete", "kubernetes:{object}:create"),
           preview=_DRY, check="it is gone"),
    Action("delete_pod", "eradicate", "Delete each affected pod, by its uid, once captured", "what the pod serves; its owner starts a new one from the same image", cannot_undo=_GONE, kinds=("pod",),
           commands=_delete_pod, destroys=True,
           precondition="the pod with this uid stands, and its capture is finished",
           permissions=("kubernetes:pods:get", "kubernetes:pods:list", "kubernetes:pods:delete"), preview=_DRY, check="no pod has this uid; what its owner started instead is named"),
    Action("block_image", "eradicate", "Take the image's tags away in your registry, so that nobody pulls it by them; it stays under kit-keep-…, who pulls by digest still gets it, and nodes keep cached copies", "every workload that uses it", undo="put the tags back", kinds=("image", "introduced"),
           precondition="nothing of yours runs it any more, and its manifest is kept", destroys=True, commands=_deny_image,
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:BatchDeleteImage", "aws:ecr:PutImage"),
           preview=_SIMULATED, check="no tag but kit-keep-… names it"),
    Action("terminate_node", "eradicate", "Drain each node that the attacker may hold and terminate its instance, once captured", "all pods on it move; what is on its disk is lost", cannot_undo="an instance that was terminated is gone", kinds=("node",),
           commands=_terminate, destroys=True, destroys_node=True,
           precondition="the node is cordoned, its capture is finished and its pods are moved",
           permissions=("kubernetes:nodes:get", "kubernetes:nodes:patch", "kubernetes:nodes:delete", "kubernetes:pods:list", "kubernetes:pods:get", "kubernetes:pods/eviction:create", "aws:ec2:DescribeInstances", "aws:ec2:DescribeInstanceAttribute",
                        "aws:ec2:ModifyInstanceAttribute", "aws:ec2:TerminateInstances", "aws:autoscaling:DescribeAutoScalingInstances", "aws:autoscaling:DescribeAutoScalingGroups", "aws:autoscaling:SetInstanceProtection", "aws:autoscaling:TerminateInstanceInAutoScalingGroup"),
           preview=f"{_DRY} of the evictions; {_EC2_DRY}; Auto Scaling has none: policy simulation", check="the instance is shutting down or terminated"),
    Action("restore_objects", "recover", "Bring back what the attacker deleted", "nothing", stops_nothing=True, undo="delete it again", kinds=("deleted",),
           precondition="the attacker's access has ended, and nothing of that name is there",
           permissions=("kubernetes:{object}:get", "kubernetes:{object}:create", "kubernetes:{object}:delete", "kubernetes:{role}"),
           preview=_DRY, check="it is there again, as the evidence has it"),
    Action("revert_changes", "recover", "Undo what the attacker changed, by comparing it with your own copy", "what others changed since, when the whole is put back", undo="put back what stood before", kinds=("changed",),
           precondition="the attacker's access has ended",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="the evidence does not hold it as it should be; your repository or your backup does"),
    Action("rotate_secrets", "recover", "Rotate every secret that was read, then those in reach", "whatever still has the old value", cannot_undo="the old value is in the attacker's hands", kinds=("secret", "reachable"),
           precondition="the attacker's access has ended, else the new value is read too", permissions=(),
           preview="none: the new value comes from the secret's owner", check="a person confirms it (`kit apply --by-hand ID`)",
           by_person="the kit does not hold new values: their owners make them"),
    Action("roll_out_fixed", "recover", "Roll out a fixed image or version of the workload, with hardened settings: its pods come back from the same image", "the old version", undo="`kubectl rollout undo`", kinds=("workload",),
           precondition="the fault that let them in is known", permissions=(),
           preview="none: it is your own deployment", check="a person confirms it", by_person="only you know the fault and have the fixed version"),
    Action("give_feedback", "recover", "Tell GuardDuty whether the finding was useful, as a person has marked it", "nothing", stops_nothing=True, cannot_undo="feedback that was sent cannot be taken back", kinds=("finding",),
           precondition="a person has marked the finding as confirmed or expected",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:GetFindings", "aws:guardduty:UpdateFindingsFeedback"), preview=_SIMULATED, check="GuardDuty shows the feedback on the finding"),
    Action("archive_finding", "recover", "Archive the finding, which a person has marked, in GuardDuty", "it leaves the list of current findings; nothing stops to be detected", undo="unarchive it", kinds=("finding",),
           precondition="a person has marked the finding as confirmed or expected, and all that the plan does is done",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:GetFindings", "aws:guardduty:ArchiveFindings", "aws:guardduty:UnarchiveFindings"), preview=_SIMULATED, check="GuardDuty shows it as archived"),
    Action("suppress", "recover", "Create the narrowest suppression filter for findings like one that a person has marked as expected", "such findings reach no Security Hub, no EventBridge, start no malware scan and join no attack sequence", undo="delete the filter", kinds=("expected_finding",),
           precondition="a person has marked the finding as expected, and the filter hides none of this case's that are not like it",
           permissions=("aws:guardduty:ListDetectors", "aws:guardduty:ListFilters", "aws:guardduty:GetFilter", "aws:guardduty:CreateFilter", "aws:guardduty:DeleteFilter"), preview=_SIMULATED, check="the filter is there, with these criteria"),
)  # fmt: skip


def permissions_for(action: Action, target: Target) -> list[str]:
    """The permissions of an action on one target, with its own resource and role. Source: Kubernetes "Using RBAC Authorization",
    privilege escalation prevention: who writes a binding needs its role's rights, or `bind`; who writes a role, or `escalate`."""
    resource = str(target.parameters.get("resource") or "pods")
    own = KINDS[resource].path if resource in KINDS else resource
    found = list[str]()
    for one in action.permissions:
        if "{role}" not in one:
            found.append(one.replace("{object}", own))
            continue
        rbac = "kubernetes:rbac.authorization.k8s.io"
        if resource in ("roles", "clusterroles"):
            found.append(f"{rbac}/{resource}:escalate:{target.name}")
        elif target.thing:
            bound = target.thing.body.get("roleRef") or {}
            if bound.get("name"):
                kind = "roles" if bound.get("kind") == "Role" else "clusterroles"
                found.append(f"{rbac}/{kind}:bind:{bound['name']}")
    return found


def action_id(name: str, target: Target) -> str:
    """The id of an action on a target: the same in every plan that would do the same, another when it is done with something else."""
    known = json.dumps(target.parameters, sort_keys=True, ensure_ascii=True)
    return f"{name}-{hashlib.sha256(f'{target.kind}:{target.key}:{known}'.encode()).hexdigest()[:10]}"


def action_of(id_: str) -> Action | None:
    """The action that an id of a planned action names; None for one of another kit."""
    return ACTIONS.get(id_.rpartition("-")[0])


ACTIONS: dict[str, Action] = {one.name: one for one in _ALL}
"""All actions by name."""
