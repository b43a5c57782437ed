"""From a role session that a finding names to the node, the pods and the service accounts that it is of."""

from __future__ import annotations

from kit.identities.named_session import OwnSessions, named_sessions
from kit.model.kinds import Certainty
from kit.model.why import Rule, Why
from kit.scope.pods import FoundPod, pods_on_node
from kit.scope.subject import FindingScope


def pods_of_sessions(scope: FindingScope, own: OwnSessions) -> list[FoundPod]:
    """The pods behind the role sessions of a finding; their roles, nodes and service accounts are added at once."""
    found = list[FoundPod]()
    for one in named_sessions(scope.finding):
        holders = list(own.holders(one))
        for holder in holders:
            why = Why(one.ref, holder.says, Rule.FINDING)
            certainty: Certainty = "affected" if holder.sure else "possible"
            if holder.pod:
                found.append(FoundPod(holder.pod, why, holder.sure))
            elif holder.node and holder.sure:
                ran = f"it ran on {holder.node}: {holder.says}"
                found += pods_on_node(
                    scope, own.inventory, holder.node, one.ref, ran, one.name if one.name.startswith("i-") else ""
                )
            elif holder.node:
                scope.add("node", holder.node, why, certainty=certainty)
            elif holder.account:
                scope.add("service_account", holder.account, why, certainty=certainty)
        if holders and one.role:
            says = f"the finding names its session {one.name}" if one.name else "the finding names a session of it"
            scope.add("iam_role", own.inventory.full_arn(one.role) or one.role, Why(one.ref, says, Rule.FINDING))
    return found
