"""What to do next about an incident: the plan's actions by their effect, and what a person does where the plan has none."""

from __future__ import annotations

from typing import Any

from kit.case.plan_json import JoinedPlan, OpenIncident
from kit.model.arn import is_arn, name_in
from kit.model.command_line import Command, aws, in_a_minute, json_with, kubectl
from kit.model.identity import ANONYMOUS
from kit.model.pod_spec import power_over_node
from kit.plan.ending import SIGN_IN_KINDS
from kit.plan.plan import BY_HAND, PlannedAction
from kit.scope.incident import Incident
from kit.scope.scope import Scope
from kit.statements.counts import Counts
from kit.statements.moments import spoken
from kit.statements.open_entry import ROTATED, OpenEntry
from kit.statements.vanishing import Vanishing, vanishing
from kit.words import Names, counted, few, iso

MOST_NEXT = 5
_ACCESS = (*SIGN_IN_KINDS, "let_in")
_KEEPS = ("freeze", "capture")
_OLDER = {"DateLessThan": {"aws:TokenIssueTime": "MOMENT"}}
_STATEMENT = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": _OLDER}
_DENY = json_with({"Version": "2012-10-17", "Statement": [_STATEMENT]}, "MOMENT", in_a_minute())
_NAMED = 3  # objects that a step names
_MOST_LINES = 5  # commands that a step has
_INTERACTIVE = ("kubectl edit", "aws ssm start-session")  # what opens an editor or a shell is no step to copy
_SHORT = {
    "keep_objects": "Save the YAML of the affected objects, and of pods the logs",
    "add_nodes": "Start new nodes that no pod of the attacker ran on",
    "compare_mappings": "Compare the mapping in aws-auth with your own copy",
    "end_sign_in": "End the sign-in that the role's session came from",
    "revoke_role_sessions": "Deny everything to the attacker's sessions of the role",
    "deny_user_sessions": "Deny everything to the sessions that the IAM user's keys asked for",
    "review_iam_user": "Look at what else signs in as the IAM user",
    "end_creator_access": "Take away the cluster creator's right to administer it",
    "deactivate_access_key": "Set the access key inactive",
    "end_service_account_tokens": "End the tokens of the service account",
    "remove_cluster_access": "Delete the access entry and the mapping in aws-auth",
    "drop_default_account_rights": "Take the default service account out of its bindings",
    "capture_container": "Take a checkpoint of each container",
    "capture_node": "Keep the console output of each node",
    "snapshot_checkpoints": "Start a snapshot of each node's volumes once more",
    "deny_image": "Refuse every new pod of the image",
    "block_image": "Take the image's tags away in your registry",
    "terminate_node": "Drain each node that the attacker may hold and terminate its instance",
}
"""What an action does, in a step: the whole sentence stands in the plan."""
Group = tuple[list[PlannedAction], list[OpenEntry]]
"""Actions that are said together, with the entries that they end."""
_KINDS = {"access_key": "access key", "let_in": "the access of"}


class Chooser:
    """Chooses from one plan."""

    def __init__(self, scope: Scope, joined: JoinedPlan) -> None:
        self.scope, self.joined, self.plan = scope, joined, joined.plan
        self._of_id = {one.id: one for one in self.plan.actions}

    def next(self, one: OpenIncident) -> list[dict[str, Any]]:
        """At most five, by effect: what ends access now, what keeps evidence, what closes the way back, what limits the damage."""
        if one.leans:
            return [_asks(one.incident, any(doubt.holds for doubt in one.doubts))]
        groups = self._ending_access(one)
        now = [action for actions, _ in groups for action in actions]
        removal = self._removal(one, {action.id for action in now})
        nodes = self._nodes_ended(one, {action.id for action in [*now, *(each for _, each in removal)]})
        kept = self._keeping([*now, *(action for _, action in removal), *nodes])
        rest = [*kept, *_closing(removal, "kit", nodes), *_rotating(one.standing)]
        left = [entry for entry in one.standing if entry.kind in _ACCESS and entry in self.joined.unended]
        by_hand = [self._left_over(left)] if left else []
        while len(groups) + len(by_hand) + len(rest) > MOST_NEXT and (pair := _last_two(groups)):
            place, (actions, entries), (more, also) = pair
            groups[place : place + 2] = [(actions + more, list(dict.fromkeys(entries + also)))]
        access = [_item("ends access", actions, entries) for actions, entries in groups] + by_hand
        if not access and (one.incident.calls or one.incident.trail):
            access = [self._by_hand(one.incident)]
        if not access and not rest and not removal and not nodes:
            return [_asks(one.incident, False)]
        return [*access, *rest, *_closing(removal, "person", nodes)][:MOST_NEXT]

    def _ending_access(self, one: OpenIncident) -> list[Group]:
        """What the plan does now about an incident, the actions of a kind together, with the entries that they end."""
        at_once = self.joined.ending_at_once(one)
        now = {action.id for action in self.joined.now}
        # Five for the whole plan may be taken by graver incidents; this one's own still stand in its brief.
        chosen = [action for action in at_once if action.id in now] or at_once[:1]
        groups = dict[str, Group]()
        for action in chosen:
            entries = [entry for entry in one.standing if action in self.joined.ending.of(entry)]
            for each in (*self.joined.before(action), action):
                actions, ended = groups.setdefault(each.action, ([], []))
                actions += [each] if each not in actions else []
                ended += [entry for entry in entries if entry not in ended]
        return sorted(groups.values(), key=lambda group: all(action.by_person for action in group[0]))

    def _removal(self, one: OpenIncident, now: set[str]) -> list[tuple[OpenEntry, PlannedAction]]:
        """What else the plan does to the things by which the open entries are reached."""
        return [
            (entry, action)
            for entry in one.standing
            if entry.kind not in ROTATED
            for action in self.joined.ending.about(entry)
            if action.stage in ("revoke", "eradicate") and action.id not in now
        ]

    def _nodes_ended(self, one: OpenIncident, said: set[str]) -> list[PlannedAction]:
        """The nodes that the plan ends for a pod with power over them, and by which no open entry is reached: their end is never left unsaid."""
        if not (one.incident.calls or one.incident.trail):
            return []  # whether it is one at all is asked first
        pods = (subject.thing for subject in one.incident.index.affected("pod"))
        of_incident = {f"node:{pod.node}" for pod in pods if pod and power_over_node(pod.spec, True)}
        return [
            action
            for action in self.plan.actions
            if action.stage == "eradicate" and action.target in of_incident and action.id not in said
        ]

    def _keeping(self, removal: list[PlannedAction]) -> list[dict[str, Any]]:
        """What keeps what a removal would destroy."""
        ids = dict.fromkeys(id_ for one in removal for id_ in one.after)
        kept = [self._of_id[id_] for id_ in ids if id_ in self._of_id and self._of_id[id_].stage in _KEEPS]
        return [_item("keeps evidence", kept, [])] if kept else []

    def _left_over(self, left: list[OpenEntry]) -> dict[str, Any]:
        """What a person ends, because the plan has no action for it."""
        node_roles = {role for role, _ in self.scope.inventory.node_roles.values()}
        of_nodes = [one for one in left if any(kind == "iam_role" and key in node_roles for kind, key in one.targets)]
        # All sessions of a node's role are never denied: that stops every node that has it.
        commands = [line for one in left if one not in of_nodes and (line := by_person(one, self.plan.cluster))]
        named = [f"{_KINDS.get(one.kind, one.kind)} {_short_name(one.key)}" for one in left]
        says = f"End what no action of the plan ends: {few(named, _NAMED)}."
        if of_nodes:
            says += (
                f" Deny {few([one.key for one in of_nodes], _NAMED)} by instance alone: other nodes have the same role."
            )
        made = _person("ends access", says, commands[0] if commands else None, [])
        objects = [{"kind": one.kind, "key": one.key} for one in left]
        unbound = any(one.kind == "token" and not one.of.startswith("pod ") for one in left)
        return made | {
            "objects": objects,
            "minutes": BY_HAND * len(left),
            "command": "\n".join(dict.fromkeys(commands)) or None,
            "stops": "pods of the service account, until they are restarted" if unbound else None,
        }

    def _by_hand(self, incident: Incident) -> dict[str, Any]:
        """What a person does where the plan ends nothing: the first step against the caller, else its address at the endpoint."""
        hostile = {event["user_name"] for event in incident.calls}
        for scope in incident.scopes:
            for profile in scope.identities:
                steps = profile.steps if profile.identity.user_name in hostile else []
                for step in (one for one in steps if one.line):
                    return _person("ends access", f"{step.says}.", step.line, [profile.identity.user_name])
        addresses = sorted({str(event["source_address"]) for event in incident.calls if event["source_address"]})
        says = f"Shut {few(addresses, 3)} out at the cluster's public endpoint: name the addresses that may call it."
        shown = aws("eks", "describe-cluster", name=self.plan.cluster, query="cluster.resourcesVpcConfig")
        return _person("ends access", says, str(shown) if self.plan.cluster else None, addresses)

    def at_risk(self, incident: Incident, numbers: Counts) -> list[dict[str, Any]]:
        """Evidence that is lost: at a known time, the earliest first; by the plan's removals; at a time that cannot be told. With what keeps it."""
        by_itself = [
            {"what": one.what, "lost_at": iso(one.lost_at), "keeps_it": self._keeping_of(one), "says": one.says}
            for one in vanishing(incident, self.scope)
        ]
        timed = [one for one in by_itself if one["lost_at"]]
        return [*timed, *self._destroyed(numbers), *by_itself[len(timed) :]]

    def _keeping_of(self, one: Vanishing) -> list[str]:
        named = {f"{kind}:{key}" for kind, key in one.things}
        return [action.id for action in self.plan.actions if action.stage in _KEEPS and action.target in named]

    def _destroyed(self, numbers: Counts) -> list[dict[str, Any]]:
        """Evidence that the plan's removals would destroy, with what keeps it."""
        found = list[dict[str, Any]]()
        touched = {key for kind, key in numbers.subjects.get("touched", []) if kind in ("pod", "node")}
        for one in self.plan.actions:
            key = one.target.partition(":")[2]
            if one.stage != "eradicate" or key not in touched:
                continue
            keeps = [id_ for id_ in one.after if id_ in self._of_id and self._of_id[id_].stage in _KEEPS]
            what = f"memory and files of {one.target.partition(':')[0]} {one.name}"
            says = f"{what[0].upper()}{what[1:]} are lost with {one.id}; {counted(len(keeps), 'action')} of the plan {'keeps' if len(keeps) == 1 else 'keep'} what can be kept."
            found.append({"what": what, "lost_at": None, "keeps_it": keeps, "says": says})
        return found


def by_person(entry: OpenEntry, cluster: str | None) -> str:
    """The command with which a person ends an open entry; "" where it is ended elsewhere."""
    command = _ending(entry, cluster)
    return str(command) if command and not command.odd else ""


def _ending(entry: OpenEntry, cluster: str | None) -> Command | None:
    key, roles = entry.key, [target for kind, target in entry.targets if kind == "iam_role"]
    role = name_in(roles[0]) if roles else ""
    if entry.kind == "token":
        namespace, _, name = entry.of.removeprefix("pod ").rpartition("/")
        if entry.of.startswith("pod "):
            return kubectl("delete", "pods", name, namespace)
        namespace, _, name = key.partition("/")
        return kubectl("delete", "serviceaccounts", name, namespace)
    if entry.kind == "access_key" and key.startswith("AKIA"):
        return aws("iam", "update-access-key", access_key_id=key, status="Inactive", user_name=role or None)
    if entry.kind == "access_key" and role:
        return aws("iam", "put-role-policy", role_name=role, policy_name="deny-older-sessions", policy_document=_DENY)
    if entry.kind == "let_in" and is_arn(key) and cluster:
        return aws("eks", "delete-access-entry", cluster_name=cluster, principal_arn=key)
    return None


def _last_two(groups: list[Group]) -> tuple[int, Group, Group] | None:
    """The last two groups in a row that are done by the kit, with the place of the first."""
    for place in range(len(groups) - 2, -1, -1):
        if all(action.by == "kit" for each in groups[place : place + 2] for action in each[0]):
            return place, groups[place], groups[place + 1]
    return None


def _closing(
    removal: list[tuple[OpenEntry, PlannedAction]], by: str, nodes: list[PlannedAction]
) -> list[dict[str, Any]]:
    mine = [(entry, one) for entry, one in removal if one.by == by]
    actions = list({one.id: one for one in [*(one for _, one in mine), *nodes] if one.by == by}.values())
    return [_item("closes a way back", actions, [entry for entry, _ in mine])] if actions else []


def _item(effect: str, actions: list[PlannedAction], entries: list[OpenEntry]) -> dict[str, Any]:
    hand = all(one.by == "person" for one in actions)
    names = list(dict.fromkeys(_short_name(one.name) for one in actions))
    does = list(dict.fromkeys(_SHORT.get(one.action, one.does) for one in actions))
    stops = list(dict.fromkeys(line for one in actions for line in one.blast_radius))
    objects = [{"kind": one.kind, "key": one.key} for one in entries] or [
        {"kind": kind, "key": key} for kind, _, key in (one.target.partition(":") for one in actions)
    ]
    unique = [dict(pair) for pair in dict.fromkeys(tuple(one.items()) for one in objects)]
    return {
        "effect": effect,
        "actions": [one.id for one in actions],
        "objects": unique,
        "command": _whole_command(actions),
        "by": "person" if hand else "kit",
        "minutes": sum(one.minutes for one in actions),
        "stops": few(stops, 3) or None,
        "loses": "memory and files that no capture kept" if any(one.cannot_undo for one in actions) else None,
        "undo": next((one.undo for one in actions if one.undo), None),
        "says": f"{'; '.join([*does[:2], *([counted(len(does) - 2, 'more action')] if len(does) > 2 else [])])}: {few(names, _NAMED)}.",
    }


def _whole_command(actions: list[PlannedAction]) -> str | None:
    """All commands of the actions, one a line; where they are many, or some open an editor or a shell, the call of the kit that shows them."""
    lines = list(dict.fromkeys(line for one in actions for line in one.command))
    if len(lines) <= _MOST_LINES and not any(line.startswith(_INTERACTIVE) for line in lines):
        return "\n".join(lines) or None
    # A part that looks whole would be pasted as if it were: a label alone evicts nothing.
    names = dict.fromkeys(one.action for one in actions)
    return f"kit plan CASE {' '.join(f'--only {name}' for name in names)}"


def _short_name(name: str) -> str:
    """An ARN by its end, as kind and name; a service account by namespace and name; anything else as it is."""
    return name.rpartition(":")[2] if is_arn(name) else spoken(name).removeprefix("service account ")


def _person(effect: str, says: str, command: str | None, names: Names) -> dict[str, Any]:
    return {
        "effect": effect, "actions": [], "objects": [{"kind": "identity", "key": name} for name in names], "command": command,
        "by": "person", "minutes": BY_HAND, "stops": None, "loses": None, "undo": None, "says": says,
    }  # fmt: skip


def _rotating(standing: list[OpenEntry]) -> list[dict[str, Any]]:
    secrets = [one for one in standing if one.kind in ROTATED]
    if not secrets:
        return []
    of_cluster = [one.key.partition("/") for one in secrets if one.kind == "secret"]
    says = f"Rotate {counted(len(secrets), 'secret')} that the attacker read, once access has ended: {few([one.key for one in secrets], _NAMED)}."
    # Of several each has values of its own: one line would be taken for all of them.
    alone = of_cluster if len(secrets) == 1 else []
    commands = [kubectl("patch", "secrets", name, space, "--patch-file", "new-values.yaml") for space, _, name in alone]
    made = _person("limits damage", says, next((str(one) for one in commands if not one.odd), None), [])
    return [
        made
        | {
            "objects": [{"kind": one.kind, "key": one.key} for one in secrets],
            "minutes": BY_HAND * len(secrets),
            "stops": "what uses the old values, until it has the new ones",
        }
    ]


def _asks(incident: Incident, leans: bool) -> dict[str, Any]:
    named = {str(event["user_name"]) for event in incident.calls} or {
        str(one.finding.user["Username"]) for one in incident.scopes if one.finding.user.get("Username")
    }
    users = sorted(named - {ANONYMOUS})  # nobody owns that one
    whom = f"whoever owns {few(users, 3)}" if users else "whoever owns the workload"
    says = f"Ask {whom} whether the calls are theirs. If they are, mark the finding as expected."
    if not leans and incident.scopes:
        says = f"Ask {whom} what happened, before anything is stopped. `kit suppress` gives the filter for an expected finding."
    return _person(
        "asks", says, f"kit mark CASE --finding {incident.scopes[0].finding.id} --as expected --note WHO_SAID_SO", users
    )
