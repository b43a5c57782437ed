"""What follows from what is affected: secrets in reach, sessions of AWS, neighbours, roles of nodes."""

from __future__ import annotations

from kit.attribution.attacker import Attacker
from kit.attribution.calls import not_none
from kit.attribution.deeds import Deeds
from kit.identities.rights import Rights
from kit.identities.sessions import Session, Sessions
from kit.inventory.inventory import Inventory
from kit.inventory.thing import in_window
from kit.lenient import dict_of, json_of, texts_of
from kit.model.kinds import EVERYTHING, Certainty
from kit.model.refs import Ref
from kit.model.why import BINDING_OBJECTS, ROLE_OBJECTS, Rule, Why
from kit.model.window import Window
from kit.scope.caller import identity_of_caller
from kit.scope.pods import FoundPod, add_pods
from kit.scope.subject import FindingScope, UsedSession
from kit.words import few

_OPENS = ("StartSession", "SendCommand", "SendSSHPublicKey", "SendSerialConsoleSSHPublicKey")


def add_possible(scope: FindingScope, inventory: Inventory) -> None:
    """What has to be looked at: neighbours on a node that a container reached, the same images elsewhere, node roles."""
    start, end = (scope.window.start, scope.window.end) if scope.window else (None, None)
    sure = scope.affected()
    reached = dict[str, Why]()
    for subject in sure:
        pod = subject.thing
        reaching = [one.says for one in pod.host_access if one.reaches] if subject.kind == "pod" and pod else []
        if pod and pod.node and reaching:
            says = f"pod {pod.namespace}/{pod.name} on the same node {', '.join(reaching)}"
            reached.setdefault(pod.node, Why((pod.why or tuple(subject.why))[0].ref, says))
    images = {subject.key: next(iter(subject.why)) for subject in sure if subject.kind == "image"}
    neighbours = list[FoundPod]()
    for pod in in_window(inventory.pods, start, end):
        if pod.node in reached:
            neighbours.append(FoundPod(pod, reached[pod.node], sure=False))
        for image in pod.images:
            if image in images and ("pod", pod.uid, None) not in scope.subjects:
                says = f"it runs the image {image} too (compared by name; a digest would be sure)"
                scope.add("pod", pod.uid, Why(images[image].ref, says), certainty="possible", thing=pod)
    add_pods(scope, inventory, neighbours)
    for subject in scope.all_of("node"):
        role = inventory.node_roles.get(subject.key)
        if role:
            says = f"{role[1].says}; a pod may reach it through the instance metadata service"
            scope.add("iam_role", role[0], Why(role[1].ref, says), certainty="possible")


def add_reach(scope: FindingScope, inventory: Inventory, rights: Rights, deeds: Deeds, during: Window) -> None:
    """The secrets that the attacker's identities could have read in the time of the attack; those that were read are subjects already."""
    secrets = deeds.names("secrets", during.start, during.end)
    unknown, taking = dict[str, None](), dict[str, None]()
    for profile in scope.identities:
        ways = [way for way in profile.ways if way.kind == "access_entry"]
        found, bindings, more = rights.secrets_in_reach(profile.identity, profile.groups, ways, secrets, during)
        unknown |= {binding.path: None for binding in bindings}
        taking |= {binding.path: None for binding in more}
        for key, why in found.items():
            if ("secret", key, None) not in scope.subjects:
                says = f"{profile.identity.user_name}: {why.says}"
                scope.add("reachable", key, Why(why.ref, says), certainty="possible")
    if unknown:
        says = f"What some role bindings ({len(unknown)}) allow cannot be told in full: their roles are in no evidence: {few(list(unknown), 3)}"
        scope.limit(("reachable",), says, ROLE_OBJECTS)
    if taking:
        says = f"What some role bindings ({len(taking)}) allow cannot be told in full: their roles let take on other rights: {few(list(taking), 3)}"
        scope.limit(
            ("reachable",), says, "what the users, groups, service accounts and roles may do that can be taken on so"
        )
    if not inventory.is_dumped("clusterrolebindings", None):
        says = "Which secrets were in reach cannot be told in full: no cluster dump has the role bindings"
        scope.limit(("reachable",), says, BINDING_OBJECTS)
    if scope.all_of("iam_role"):
        says = "Which secrets of AWS the roles could read cannot be told: their policies are not looked into"
        scope.limit(
            ("reachable",),
            says,
            "`aws iam get-account-authorization-details`, and read there what the roles may do",
        )


def add_sessions(scope: FindingScope, attacker: Attacker, sessions: Sessions) -> None:
    """The sessions of AWS that service accounts, pods and nodes of the scope got, and those that the caller signed in with; and
    back: the pods and nodes whose session the attacker used, where the log of the cluster does not show it already."""
    chosen = scope.affected()
    accounts = {one.key for one in chosen if one.kind == "service_account"}
    pods = {one.key for one in chosen if one.kind == "pod"}
    caller = identity_of_caller(scope.finding, attacker)
    nodes = {caller.node} if caller and caller.node else set[str]()
    if not scope.finding.workload and scope.finding.resource_type == "Instance":
        nodes |= {one.key for one in chosen if one.kind == "node"}
    trail = [attacker.trail[event_id][0] for event_id in scope.aws_calls if event_id in attacker.trail]
    hostile = not_none(key for row in trail for key in (row["access_key_id"], row["issued"]))
    calls = attacker.events_of(scope.calls)
    hostile |= not_none(event["access_key_id"] for event in calls)
    found = {one.access_key_id: one for one in sessions.issued_to(accounts, pods, nodes)}
    found |= sessions.of_keys(hostile)
    uses = sessions.uses(list(found))
    for key, session in found.items():
        whys = [session.why] if session.why else []
        outside = [use for use in uses.get(key, []) if use.inside is False]
        whys += [use.why for use in outside]
        if key in hostile:
            row = next((row for row in trail if key in (row["access_key_id"], row["issued"])), None)
            ref = (
                Ref.of("trail", row["event_id"])
                if row
                else session.why.ref
                if session.why
                else Ref.of("access_key", key)
            )
            whys.append(Why(ref, "the attacker used it"))
            _add_back(scope, sessions, session)
        certainty: Certainty = "affected" if key in hostile else "possible"
        scope.sessions.append(UsedSession(session, certainty, whys, uses.get(key, [])))
    scope.sessions.sort(key=lambda one: (one.certainty, str(one.session.issued_at), one.session.access_key_id))
    if attacker.is_inside(calls):
        says = "What the attacker did in AWS from inside of the cluster cannot be told: its own pods and nodes call from the same addresses"
        scope.limit(
            ("iam_role",), says, "what the sessions of these pods and nodes did then, beside what they usually do"
        )
    if chosen and not attacker.cluster_addresses.way_out and any(uses.values()):
        says = (
            "Whether role sessions were used outside of the cluster cannot be told: its own way out to AWS is not known"
        )
        scope.limit(
            ("iam_role",),
            says,
            "CloudTrail of the whole cluster (calls of its nodes), or the addresses of its NAT gateways",
        )


def add_opened_nodes(scope: FindingScope, attacker: Attacker, inventory: Inventory) -> None:
    """The nodes on which calls of the attacker in AWS opened a session or ran a command; what was done there with the node's credentials
    looks like the node's own work.

    Sources: AWS Systems Manager API (StartSession, SendCommand), EC2 Instance Connect API.
    """
    named = [one for one in scope.aws_calls if one in attacker.trail and attacker.trail[one][0]["event_name"] in _OPENS]
    opened = dict[str, str]()
    for row in inventory.store.rows(
        "SELECT event_id, event_name, request_parameters FROM trail WHERE list_contains($ids, event_id) AND error_code IS NULL"
        " ORDER BY event_at, event_id",
        ids=named,
    ):
        asked = dict_of(json_of(row["request_parameters"]))
        instances = [asked.get("target"), asked.get("instanceId"), *texts_of(asked.get("instanceIds"))]
        for node in (inventory.node_of_instance.get(str(one)) for one in instances if one):
            if node:
                says = f"{row['event_name']}: the attacker opened a session or ran a command on its instance"
                scope.add("node", node, Why(Ref.of("trail", row["event_id"]), says, Rule.ATTACKER))
                opened.setdefault(node, row["event_name"])
    if opened:
        says = (
            f"The attacker was on {few(sorted(opened), 3)} by {few(sorted(set(opened.values())), 3)}:"
            " what was done there with the credentials of the node and of its pods cannot be told from their own work"
        )
        scope.limit(
            (*EVERYTHING, "source_ip"),
            says,
            "the logs of these sessions and commands, Runtime Monitoring findings of the node",
        )


def _add_back(scope: FindingScope, sessions: Sessions, session: Session) -> None:
    """From a session that the attacker used back to the pods and the node that it was given to."""
    if session.why is None or session.role is None:
        return
    through = Ref.of("iam_role", session.role)
    for pod, sure in sessions.pods_of(session):
        if ("pod", pod.uid, None) not in scope.subjects:
            says = f"{session.why.says}; the attacker used that session"
            certainty: Certainty = "affected" if sure else "possible"
            why = Why(session.why.ref, says, Rule.ATTACKER)
            scope.add("pod", pod.uid, why, certainty=certainty, thing=pod, through=through)
    if session.node and ("node", session.node, None) not in scope.subjects:
        says = f"the attacker used {session.why.says}"
        scope.add("node", session.node, Why(session.why.ref, says, Rule.ATTACKER), through=through)
