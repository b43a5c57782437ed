"""The guide's remediation tree, sentence by sentence: each has an action of the plan, a command that is printed, a question or a playbook.

Sources: GuardDuty User Guide "Remediating EKS Protection findings", "Remediating Runtime Monitoring findings", compromised credentials and
instances; EKS Best Practices "Incident response and forensics", "Identity and access management"; EKS User Guide "Access entries", "Pod
Identity"; IAM User Guide "Revoking IAM role temporary security credentials".
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.actions.registry import ACTIONS
from kit.playbooks.playbook import playbook_of
from kit.questions import QUESTIONS
from tests import cases
from tests.command import RECORDINGS
from tests.variation import Event, varied

CONFIGURATION = (
    "Policy:Kubernetes/AnonymousAccessGranted",
    "Policy:Kubernetes/ExposedDashboard",
    "Policy:Kubernetes/AdminAccessToDefaultServiceAccount",
    "Policy:Kubernetes/KubeflowDashboardExposed",
    "CredentialAccess:Kubernetes/SuccessfulAnonymousAccess",
    "DefenseEvasion:Kubernetes/SuccessfulAnonymousAccess",
    "Discovery:Kubernetes/SuccessfulAnonymousAccess",
    "Impact:Kubernetes/SuccessfulAnonymousAccess",
    "Persistence:Kubernetes/SuccessfulAnonymousAccess",
)
# Sentence → what answers it: the names of actions and questions, and (after "$ ") parts of commands that plan or scope print.
SENTENCES: dict[str, tuple[str, ...]] = {
    "Expected activity? A narrow suppression rule, and stop": ("was_it_expected", "suppress", "archive_finding", "give_feedback"),
    "Who called?": ("who_is_it",),
    "system:anonymous: look at anonymous access": ("anonymous_access", "remove_anonymous_access"),
    "kubernetes-admin: the user of who created the cluster": ("end_creator_access",),
    "Looks like an e-mail: an OIDC user; check the cluster's identity providers": ("end_oidc_access", "$ aws eks list-identity-provider-configs --cluster-name "),
    "Rotate the user's credentials at the OIDC provider": ("end_oidc_access",),
    "Rotate every secret that the user could reach": ("secrets_read", "secrets_in_reach", "rotate_secrets"),
    "In aws-auth: find the entry whose username is the finding's, and remove it": ("remove_cluster_access", "compare_mappings"),
    "Has an access entry: delete it, which removes its policy associations": ("remove_cluster_access", "$ aws eks delete-access-entry --cluster-name "),
    "Take one policy away from an access entry": ("end_creator_access",),
    "Remove RoleBindings and ClusterRoleBindings that name the entry's groups": ("unbind_identity",),
    "userType User: rotate that user's access key": ("deactivate_access_key", "$ aws iam update-access-key --user-name "),
    "Read the article 'My AWS account may be compromised'": ("deactivate_access_key", "$ https://repost.aws/knowledge-center/potential-account-compromise"),
    "Role assumed by a user: the user's key too": ("end_sign_in", "deactivate_access_key"),
    "Role, and the role is an instance role: the steps of a compromised EC2 instance": ("quarantine_node", "snapshot_volumes", "terminate_node"),
    "Which person used a role: the session's name": ("who_is_it",),
    "Service account: rotate its credentials": ("end_service_account_tokens", "tokens_minted"),
    "Secrets of type service-account-token do not expire: find and delete them": ("end_service_account_tokens", "remove_secret"),
    "IRSA: close the trust of the role": ("change_role_trust", "$ aws iam update-assume-role-policy --role-name "),
    "Pod Identity: list and delete the association": ("remove_pod_identity", "$ aws eks delete-pod-identity-association --cluster-name "),
    "Sessions that were issued already are revoked": ("revoke_role_sessions", "$ aws iam put-role-policy --role-name "),
    "Pods can reach the node's role through instance metadata": ("node_reached", "revoke_role_sessions"),
    "Review the entity's permissions and its last use": ("used_in_aws", "what_else_did_it_do", "review_iam_user"),
    "Were call, time and address legitimate?": ("was_it_expected", "is_it_new", "who_else_used_the_address"),
    "Default bindings of older clusters name system:unauthenticated: look, and remove": ("anonymous_access", "remove_anonymous_access"),
    "type is pods: that one pod is suspect": ("isolate_pod",),
    "Any other type: all pods of the workload": ("isolate_pod", "workloads_written"),
    "User is a service account: all pods that run as it": ("isolate_pod", "keep_objects"),
    "Isolate the pod by a network policy that lets nothing through": ("isolate_pod", "$ networking.k8s.io/v1"),
    "Find the weakness": ("way_in", "refused_then_allowed"),
    "Fix it and start replacements": ("roll_out_fixed",),
    "Then delete the bad pods": ("delete_pod", "restart_workload"),
    "A workload object owns them: delete the old workload object": ("suspend_cronjob", "stop_workload", "delete_workload"),
    "Its image is suspect: stop using it": ("deny_image", "images_brought_in", "$ ValidatingAdmissionPolicy"),
    "Pull it from the registry": ("block_image",),
    "Remove it from the repository, once a copy is checked": ("remove_image", "$ aws ecr batch-delete-image --registry-id "),
    "Scan the suspicious image for malware": ("scan_image", "$ clamscan --recursive"),
    "Find all pods with the image": ("image_used_elsewhere",),
    "Isolate them, rotate credentials, gather data": ("isolate_pod", "end_service_account_tokens", "keep_objects"),
    "Delete the pods with the image": ("delete_pod",),
    "system:node or a privileged container: the node is suspect": ("node_reached",),
    "Review and rotate the service accounts of every pod on the node": ("end_service_account_tokens", "secrets_in_reach"),
    "Terminate the node": ("terminate_node", "$ aws autoscaling terminate-instance-in-auto-scaling-group --instance-id "),
    "Isolate the host with a security group": ("quarantine_node", "$ aws ec2 modify-network-interface-attribute --groups "),
    "Changing security groups does not cut connections that are tracked": ("quarantine_node",),
    "Remove the instance's role": ("detach_instance_role", "$ aws ec2 disassociate-iam-instance-profile --association-id"),
    "Cordon the node; not on Fargate": ("cordon_node", "$ kubectl cordon "),
    "Termination protection, and scale-in protection in the group": ("protect_node", "$ --disable-api-termination", "$ aws autoscaling set-instance-protection "),
    "Label pod and node as part of an investigation": ("isolate_pod", "$ kit-quarantine=true"),
    "Capture memory": ("capture_container", "capture_node"),
    "Process tree and open ports": ("capture_processes", "$ kit-capture-"),
    "Container state: crictl, logs, what was changed on disk": ("keep_objects", "capture_processes", "$ --all-containers --timestamps "),
    "Snapshot the EBS volumes": ("snapshot_volumes", "finish_snapshots", "lock_snapshots", "share_snapshots", "$ aws ec2 create-snapshots "),
    "Malware found: the scan's own findings": ("scanned_files", "scan_node"),
    "Attack sequence: the whole tree for each workload, node and identity": ("belongs_together", "seen_at_runtime"),
    "Give the dashboard no way in from outside": ("exposed_services", "close_exposure"),
    "The default service account loses its rights": ("default_accounts_with_rights", "drop_default_account_rights"),
    "Who may reach the endpoint is narrowed": ("narrow_endpoint",),
    "What the attacker left behind is removed": ("still_standing", "ways_back", "remove_role_binding", "remove_webhook"),
    "What the attacker deleted or changed is put back": ("objects_deleted", "restore_objects", "revert_webhook", "revert_rights", "revert_changes"),
}  # fmt: skip


def in_ecr(folder: Path) -> Path:
    """A recording whose attacker brought an image from a registry of the account's own, by its digest."""
    digest = "sha256:" + "a" * 64
    own = f"777788889999.dkr.ecr.us-east-1.amazonaws.com/tools:1@{digest}"

    def renamed(things: list[Event]) -> list[Event]:
        return [json.loads(json.dumps(one).replace("docker.io/library/ubuntu:22.04", own)) for one in things]

    return varied("vanished_deployment", folder, events=renamed, dump=lambda _, items: renamed(items))


def untagged(folder: Path, recording: str | Path = "pod_identity_theft") -> Path:
    """A recording with sessions by Pod Identity that do not name their pod, so that its association alone ends them."""
    evidence = varied(recording, folder)
    for path in (evidence / "aws").glob("eks-describe-pod-identity-association-*.json"):
        path.write_text(path.read_text().replace('"disableSessionTags": false', '"disableSessionTags": true'))
    return evidence


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What plans and scopes of recordings print, those together in which each branch of the tree is walked."""

    said = list[str]()
    for name in ("vanished_deployment", "webhook_backdoor", "oidc_user_impact", "exec_kube_system", "stolen_sa_token", "pod_identity_theft"):  # fmt: skip
        folder = tmp_path_factory.mktemp(name)
        changed = {"vanished_deployment": in_ecr, "pod_identity_theft": untagged}.get(name)
        evidence = changed(folder) if changed else RECORDINGS / name
        for one in cases.planned(evidence, enforced=True)["actions"]:
            said += [*one["command"], *one["blast_radius"]]
        said.append(str(cases.printed("scope", of=cases.shared(evidence))))
    return "\n".join(said)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_has_an_action_or_an_answer(sentence: str, printed: str) -> None:
    names = [one for one in SENTENCES[sentence] if not one.startswith("$ ")]
    assert names and not [one for one in names if one not in ACTIONS and one not in QUESTIONS]
    assert not [one for one in SENTENCES[sentence] if one.startswith("$ ") and one[2:] not in printed]


@pytest.mark.parametrize("finding_type", CONFIGURATION)
def test_a_configuration_issue_has_the_remediation_of_its_own_type(finding_type: str) -> None:
    family = playbook_of(finding_type)
    asked = {do.action.name for do in family.actions}
    assert asked & {"remove_anonymous_access", "close_exposure", "drop_default_account_rights", "remove_role_binding"}


def test_every_action_answers_a_sentence() -> None:
    """What no sentence of the guide asks for is named here with why it is in plans all the same."""
    answered = {one for every in SENTENCES.values() for one in every}
    ours = {
        "add_nodes": "new pods need somewhere to run before the old nodes end",
        "evict_pods": "innocent pods leave a node before it is cut off",
        "pause_node_repair": "node repair would end a node that is cut off",
        "snapshot_checkpoints": "checkpoints lie on a disk that was snapshotted before",
        "withdraw_pod": "a pod keeps its owner and gets no more requests",
        "keep_image": "what is blocked is kept before",
        "deny_user_sessions": "a key's sessions outlive it",
        "undo_iam_changes": "what the attacker made in IAM",
        "report_to_aws": "a credential of the control plane is no customer's to end",
        "end_sessions_elsewhere": "role chains that end in another account",
    }
    assert set(ACTIONS) - answered == set(ours)
