"""The isolation of a pod: a label of our own and a NetworkPolicy that selects it and lets nothing through; and whether that does anything.

Sources: Kubernetes "Network Policies" (what policies allow adds up; what becomes of open connections, and traffic from the pod's own node,
are the network plugin's matter); EKS User Guide "Limit Pod traffic with Kubernetes network policies" (not on Fargate and Windows, not for
pods without ownerReferences) and "Use Network Policies with EKS Auto Mode"; aws-network-policy-agent, issues 327 and 676 (pods of one node
whose names differ in the last part only share their rules); amazon-network-policy-controller-k8s, policyendpoint_types.go.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from kit.actions.isolation import LETS_NOTHING_THROUGH
from kit.actions.pods import QUARANTINED
from kit.inventory.network_policies import SETTINGS, Enforcer, enforcer_of
from kit.inventory.node_kind import AUTO, COMPUTE_TYPE
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.acts.cluster import found, labels, meant, on_fargate, selects, title
from kit.live.changes.change import Change, State
from kit.live.changes.objects import CreateObject, EditObject, url_path
from kit.live.connection import Connection
from kit.live.errors import Failed, LiveError, Missing, Refused
from kit.model.pod_spec import containers
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

_LOOKS, _PAUSE = 5, 1.0  # s; the controller takes a few to hand a policy to the nodes
_INSTEAD = "or quarantine its node (quarantine_node)"


@dataclass(frozen=True)
class QuarantinePolicy(CreateObject):
    """The policy that all isolated pods of a namespace share. It is taken back only when no pod carries the label any more.

    One of its name counts as it only when it selects all that carry the label and lets nothing through.
    """

    def look(self, live: Connection) -> State:
        policy = self._get(live)
        if policy is None:
            return None
        return {"uid": policy["metadata"]["uid"], "content": {"spec": policy.get("spec")}}

    def holds(self, state: State) -> bool:
        return state is not None and _lets_nothing_through(state["content"]["spec"])

    def refuses(self, state: State) -> str:
        refused = super().refuses(state)
        return refused and f"{refused}: see who made it, and delete it, {_INSTEAD}"

    def undo(self, live: Connection, before: State, after: State) -> str:
        held = live.listed(url_path("pods", self.namespace), query={"labelSelector": f"{QUARANTINED}=true"})
        if held:
            names = ", ".join(one["metadata"]["name"] for one in held[:5])
            raise Failed(f"the policy stays, as it still isolates {names}; undo those first, then this again")
        return super().undo(live, before, after)


def _lets_nothing_through(spec: dict[str, Any] | None) -> bool:
    has = {name: value for name, value in (spec or {}).items() if value not in (None, [])}
    selector = {name: value for name, value in (has.get("podSelector") or {}).items() if value}
    return has | {"podSelector": selector, "policyTypes": sorted(has.get("policyTypes") or [])} == LETS_NOTHING_THROUGH


def enforcer(live: Connection, pod: dict[str, Any]) -> tuple[Enforcer, str]:
    """Who enforces network policies on a pod's node, and what shows it."""
    if on_fargate(pod):
        return (
            Enforcer.NOBODY,
            "pods on Fargate are not reached by network policies: give it a security group, or delete it once it is kept",
        )
    try:
        running = live.listed(url_path("daemonsets", None))
    except LiveError as error:
        return Enforcer.NOT_TOLD, error.says
    word, says = enforcer_of(running, lambda: _settings(live), lambda: _on_auto_mode(live, pod))
    return word, f"{says}, {_INSTEAD}" if word is Enforcer.NOBODY else says


def _settings(live: Connection) -> dict[str, Any] | None:
    try:
        return found(live, "configmaps", *SETTINGS) or {}
    except Failed:
        return None


def _on_auto_mode(live: Connection, pod: dict[str, Any]) -> bool:
    try:
        node = found(live, "nodes", None, str(pod.get("spec", {}).get("nodeName") or "")) or {"metadata": {}}
    except (Failed, Refused):
        return False
    return labels(node).get(COMPUTE_TYPE) == AUTO


def _isolate(live: Connection, planned: PlannedAction) -> list[Change]:
    pod = meant(live, planned, "pods")
    metadata, spec = pod["metadata"], pod.get("spec", {})
    if planned.parameters.get("host_network") or spec.get("hostNetwork"):
        raise Refused(f"pod {title(pod)} is on the host network, which no network policy reaches: quarantine its node")
    word, says = enforcer(live, pod)
    if word is Enforcer.NOBODY:
        raise Refused(f"a network policy would have no effect: {says}")
    doing = f"label {QUARANTINED}=true on"
    if any(one.get("livenessProbe") for one in containers(spec)):
        doing = f"label {QUARANTINED}=true (a liveness probe that needs the network restarts its container: memory is lost) on"
    space = metadata["namespace"]
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": QUARANTINED, "namespace": space},
        "spec": LETS_NOTHING_THROUGH,
    }
    label = {"metadata": {"labels": {QUARANTINED: "true"}}}
    return [
        QuarantinePolicy("networkpolicies", space, QUARANTINED, None, body),
        EditObject("pods", space, metadata["name"], metadata["uid"], label, doing=doing),
    ]


def _isolated(live: Connection, planned: PlannedAction) -> Check:
    space, name, uid = (planned.parameters[one] for one in ("namespace", "name", "uid"))
    pod = found(live, "pods", space, name)
    if pod is None or (uid and pod["metadata"]["uid"] != uid):
        return Check(HOLDS, f"pod {space}/{name} is not there any more")
    policies = live.listed(url_path("networkpolicies", space))
    ours = next((one for one in policies if one["metadata"]["name"] == QUARANTINED), None)
    if labels(pod).get(QUARANTINED) != "true":
        return Check(DOES_NOT_HOLD, f"somebody took label {QUARANTINED} off pod {space}/{name}: it is not isolated")
    if ours is None or not _lets_nothing_through(ours.get("spec")):
        return Check(
            DOES_NOT_HOLD, f"network policy {space}/{QUARANTINED} is gone or was changed: the pod is not isolated"
        )
    allowing = [one["metadata"]["name"] for one in policies if one is not ours and _allows(one, pod)]
    if allowing:
        return Check(
            DOES_NOT_HOLD,
            f"what these network policies allow stays allowed, policies add up: {', '.join(allowing)}; take the labels off that they select, delete them, {_INSTEAD}",
        )
    return _enforced(live, pod)


def _allows(policy: dict[str, Any], pod: dict[str, Any]) -> bool:
    spec = policy.get("spec", {})
    return selects(spec.get("podSelector"), labels(pod)) and bool(spec.get("ingress") or spec.get("egress"))


def _enforced(live: Connection, pod: dict[str, Any]) -> Check:
    what, address = f"pod {title(pod)}", pod.get("status", {}).get("podIP")
    word, says = enforcer(live, pod)
    if word is Enforcer.NOBODY:
        return Check(DOES_NOT_HOLD, f"the policy stands and has no effect: {says}")
    if word is not Enforcer.VPC_CNI:
        port = next((p["containerPort"] for c in containers(pod["spec"]) for p in c.get("ports") or []), "PORT")
        space = pod["metadata"]["namespace"]
        return Check(
            CANNOT_TELL,
            f"label and policy stand; {says}. Try it: `kubectl run kit-try -n {space} --rm -i --restart=Never --image=busybox -- nc -w 3 -zv {address} {port}` has to time out",
        )
    if not pod["metadata"].get("ownerReferences"):
        return Check(
            DOES_NOT_HOLD, f"{what} has no owner, and the VPC CNI enforces nothing on such pods: quarantine its node"
        )
    for tries in range(_LOOKS):
        try:
            listed = live.listed(url_path("policyendpoints", pod["metadata"]["namespace"]))
        except Missing:
            return Check(
                DOES_NOT_HOLD, f"the cluster has no PolicyEndpoints, so nothing hands the policy on: {_INSTEAD}"
            )
        except LiveError as error:
            return Check(
                CANNOT_TELL, f"label and policy stand; whether they reached the node cannot be read: {error.says}"
            )
        if any(_hands_on(one, address) for one in listed):
            return Check(
                HOLDS,
                f"the VPC CNI was handed the policy for {what} ({address}); connections that were open may live on{_sharing(live, pod)}",
            )
        time.sleep(_PAUSE if tries < _LOOKS - 1 else 0)
    return Check(DOES_NOT_HOLD, f"no PolicyEndpoint names {what} ({address}) yet: look again in a minute, {_INSTEAD}")


def _hands_on(one: dict[str, Any], address: str | None) -> bool:
    spec = one.get("spec", {})
    reached = [to.get("podIP") for to in spec.get("podSelectorEndpoints") or []]
    return spec.get("policyRef", {}).get("name") == QUARANTINED and bool(address) and address in reached


def _sharing(live: Connection, pod: dict[str, Any]) -> str:
    """Pods of its node whose names have the same stem: the node agent keeps one set of rules for them all."""
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName")
    try:
        beside = live.listed(
            url_path("pods", pod["metadata"]["namespace"]), query={"fieldSelector": f"spec.nodeName={node}"}
        )
    except LiveError:
        return ""
    stem = name.rpartition("-")[0]
    names = [one["metadata"]["name"] for one in beside if one["metadata"]["name"].rpartition("-")[0] == stem]
    shared = ", ".join(sorted(set(names) - {name}))
    return f"; on its node {shared} shares its rules and may be cut off too" if shared else ""


act("isolate_pod", changes=_isolate, check=_isolated)
