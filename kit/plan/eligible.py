"""Who is meant by an action, and what makes it impossible."""

from __future__ import annotations

from kit.actions.action import Action, Target
from kit.inventory.node_kind import AUTO, FARGATE, HYBRID, WORDS, kind_of
from kit.plan.compromised import Compromised
from kit.plan.parameters import Parameters
from kit.scope.subject import FindingScope, Subject
from kit.words import Names, counted, few

_ON_USED_PODS = ("isolate_pod", "withdraw_pod", "capture_container", "delete_pod")
_NODE_ONLY_EC2 = (
    "protect_node",
    "snapshot_volumes",
    "snapshot_checkpoints",
    "finish_snapshots",
    "quarantine_node",
    "capture_node",
    "scan_node",
)


class Eligible:
    """Which things of one case an action is meant for and possible for."""

    def __init__(self, held: Compromised, parameters: Parameters) -> None:
        self.held, self.parameters, self.inventory = held, parameters, held.inventory

    def applies(self, action: Action, target: Target) -> bool:
        """Whether there is anything for the action to do to it."""
        known = target.parameters
        if action.name == "withdraw_pod":
            return bool(known["labels"] or known["services"])
        if action.name == "end_sign_in":
            return ":role/" in str(known["arn"])
        if action.name == "deactivate_access_key":
            return bool(known["access_key_ids"])
        if action.name == "remove_pod_identity":
            return self._has_pod_identity(target.key)
        if action.name == "change_role_trust":
            return bool(known["service_accounts"])
        return bool(known["remove"]) if "remove" in known else True

    def is_meant(self, action: Action, scope: FindingScope, one: Subject) -> bool:
        """Whether an action is for a subject of a scope."""
        gone = one.thing is not None and one.thing.standing is False and one.kind != "deleted"
        if gone or not (one.certainty == "affected" or one.kind == "reachable"):
            return False
        if one.kind == "identity":
            profile = next((each for each in scope.identities if each.identity.user_name == one.key), None)
            hostile = profile is not None and any(source.hostile for source in profile.sources)
            return hostile and profile is not None and profile.identity.kind in action.identities
        if one.kind == "iam_role":
            return ":role/" in one.key
        if one.kind == "node" and not action.destroys_node:
            return one.key in self.held.reached or one.key in self.held.nodes_of_used_pods
        if one.kind == "image" and action.name == "keep_image":
            return one.key in self.held.used_images
        if one.kind == "node" and action.destroys_node:
            return one.key in self.held.reached or one.key in self.held.unclear
        if one.kind == "image" and action.name == "block_image":
            return one.key in self.held.suspect_images(scope)
        if one.kind == "token":
            return self.held.is_unbound(one.key) is not False and one.key not in self.held.hostile_accounts
        if one.kind in ("deleted", "changed"):
            # What the attacker had made himself is not brought back, and pods of a workload come back by it.
            owned = one.thing is not None and bool(self.inventory.owners(one.thing))
            return ("created", one.key) not in self.held.affected and not owned
        if one.kind == "created" and action.destroys and scope.finding.is_policy:
            # Else the finding's caller set it up: the exposure is closed, the object is not deleted.
            return bool(self.held.hostile(scope))
        return True

    def impossible(self, action: Action, target: Target) -> str:
        """Why an action cannot be done to a thing of this kind, "" when it can."""
        known = target.parameters
        if target.kind == "pod" and action.name in _ON_USED_PODS and target.key not in self.held.used_pods:
            return "it is what was hit, not what was used: no playbook of its findings isolates or deletes it"
        if action.name == "withdraw_pod" and not known["labels"]:
            return f"Service {few(known['services'], 2)} selects on labels that its owner selects on too: it keeps sending to it"
        if target.kind == "token" and self.held.is_unbound(target.key) is None:
            return "the attacker minted a token of it, and no evidence tells whether it is bound to a pod: if not, it lives until it expires, and only making the account anew, after which all its pods restart, ends it"
        if target.kind == "pod" and action.name in ("isolate_pod", "capture_container"):
            if known.get("host_network") and action.name == "isolate_pod":
                return "it is on its node's network, where no network policy reaches it: a quarantine of its node alone cuts it off"
            node = str(known.get("node") or "")
            if node and kind_of(node, self.parameters.thing_at(f"nodes/{node}")) == FARGATE:
                return "it runs on Fargate, which enforces no network policy and has no kubelet of yours: its security group and its deletion are what is left"
        if target.kind == "node" and action.name == "revoke_role_sessions":
            if not known["role"] or not known["instances"]:
                return f"its credential was in reach, and no evidence names its {'instance' if known['role'] else 'role'}: it lives until it expires; denying all sessions of a node role stops every node that has it"
        elif target.kind == "node":
            if action.destroys_node and target.key in self.held.unclear:
                return self.held.unclear[target.key]
            kind = known["node_kind"]
            words = WORDS[kind]
            if kind == FARGATE:
                return f"{words}: what can be done is done to its pod"
            if kind == HYBRID and action.name in (*_NODE_ONLY_EC2, "terminate_node"):
                return f"{words}: keep it, cut it off and switch it off where it stands"
            if kind == AUTO and action.name == "quarantine_node":
                return f"{words}: AWS forbids changing its network interfaces; cordon it and take its pods off"
            if known["instance_id"] is None and action.name in _NODE_ONLY_EC2:
                return f"{words}, and no evidence names its instance: add `aws ec2 describe-instances` or `kubectl get nodes -o json`"
        if target.kind == "identity" and action.name == "remove_cluster_access" and not known["arn"]:
            return "no evidence names the IAM role or user behind it"
        if target.kind in ("image", "introduced") and action.name == "block_image" and not known["repository"]:
            return "it is in no registry of yours: deny it by an admission rule (docs/actions.md) and at your registry's proxy"
        within_reach = "it was only within reach: this would stop all pods that use it, and its sessions come anew as long as its tokens do; look whether it was used (CloudTrail), and decide"
        if action.name == "change_role_trust" and not self._is_role_used(target.key, known["service_accounts"]):
            return within_reach
        if action.name == "revoke_role_sessions" and not (known["instances"] or known["pods"]):
            accounts = [
                account for account, roles in self.inventory.service_account_roles.items() if target.key in roles
            ]
            nodes = [node for node, (role, _) in self.inventory.node_roles.items() if role == target.key]
            if (accounts or nodes) and not self._is_role_used(target.key, accounts):
                return within_reach
            if nodes:
                return f"{counted(len(nodes), 'node')} sign in with it, and no evidence tells from which instance alone the attacker's sessions came: denying all its sessions stops image pulls and the network of new pods on every one of them; decide"
        if action.name == "remove_pod_identity" and target.key not in self.held.hostile_accounts:
            roles = self.inventory.service_account_roles.get(target.key, {})
            return "" if self.held.used_roles & roles.keys() else within_reach
        return ""

    def _is_role_used(self, role: str, accounts: Names) -> bool:
        return role in self.held.used_roles or bool(self.held.hostile_accounts & set(accounts))

    def _has_pod_identity(self, account: str) -> bool:
        return any(grant.by_pod_identity for grant in self.inventory.service_account_roles.get(account, {}).values())
