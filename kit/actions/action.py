"""An action: what it does, to which subjects, in which stage, how it is undone, and the commands to type.

Nothing here changes anything: kit.live does what a plan says, and the commands are the same for a person to type. Order of the stages: freeze → contain → revoke → capture → eradicate →
recover; cutting the attacker off waits for no slow capture, and nothing is destroyed before it is captured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Protocol, get_args

from kit.actions.effect import Effect
from kit.actions.target import MadeObject, ObjectParameters, Parameters, Target, TargetSource
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.model.command_line import Command, kubectl
from kit.model.kinds import SubjectName

Stage = Literal["freeze", "contain", "revoke", "capture", "eradicate", "recover"]
STAGES: tuple[Stage, ...] = get_args(Stage)
MADE_WITHIN = 2  # seconds from the arrival of a call to the creationTimestamp of what it makes
DELETED_IS_GONE = "what was deleted is gone; what was captured before stays"
READS = "nothing to undo: it changes nothing"
DRY = "server-side dry-run (dryRun=All)"
EC2_DRY = "EC2's DryRun"
SIMULATED = "no dry-run: policy simulation of the caller's permissions"
LOOKED = "nothing to try: it reads"


class Comes(StrEnum):
    """What brings an action into a plan."""

    BY_SCOPE = "what the scope has, whether a playbook names it or not"
    BY_PLAYBOOK = "a playbook that names it"
    FROM_OUTSIDE = "a playbook that names it, or hostile calls from outside of the cluster"


class Keeps(StrEnum):
    """What is kept as evidence, for which what destroys waits."""

    NOTHING = "nothing"
    TARGET = "its target"
    DISK = "the disk of its target or what runs on it, with what is there of pods"


class Where(StrEnum):
    """Which targets of the other action are waited for."""

    ANY = "all of them"
    SAME = "the same target"
    LOST = "what is lost with the target"
    ON_NODE = "pods on the node"
    OWNER = "the workload that starts the pod anew"
    USER = "service accounts that take on the role"
    HOLDER = "the IAM user whose key or session it is"
    BEFORE = "the one before, of the action itself"


@dataclass(frozen=True)
class Wait:
    """One action that another waits for, by its name. when: for which targets of the one that waits."""

    action: str
    where: Where
    when: Callable[[Target], bool] = field(default=lambda target: True, repr=False)


class Held(Protocol):
    """What makes an action impossible is asked of this: what the attacker holds, by the evidence (kit.plan.compromised)."""

    @property
    def inventory(self) -> Inventory:
        """The objects of the cluster."""

    @property
    def account(self) -> str | None:
        """The account of the case."""

    @property
    def access_mode(self) -> str | None:
        """The cluster's authentication mode; None where no evidence tells."""

    @property
    def used_roles(self) -> set[str]:
        """Roles of which the attacker used a session."""

    @property
    def roles_of_nodes(self) -> dict[str, str]:
        """Roles that nodes sign in with, as kit.model.arn.compared has them → what shows it."""

    @property
    def hostile_accounts(self) -> set[str]:
        """Service accounts (namespace/name) with hostile calls."""

    @property
    def own_images(self) -> set[str]:
        """Images that a workload of yours ran before the first hostile call."""

    def is_creator(self, user_name: str) -> bool:
        """Whether a hostile caller is in the cluster as its creator."""

    def is_unbound(self, account: str) -> bool | None:
        """Whether the attacker minted a token of a service account that is bound to no object; None: not in the log."""

    def thing_at(self, path: str) -> Thing | None:
        """The object at a path that stands."""


Commands = Callable[[Target, Held], list[Command]]


@dataclass(frozen=True)
class Action:
    """One kind of change. undo: how it is taken back; cannot_undo: why it cannot. kinds: of what it is done to, as kit.plan.targets finds them.

    printed: commands that a plan has kept as lines. stops: what else stops working. destroys: whether evidence is lost by it. identities: of identities, which kinds.
    precondition: what has to be true just before. permissions: as kit.actions.permission reads them, with placeholders for what the target tells:
    {object} its resource, {it} its NAMESPACE/NAME, {space} its namespace, {node} its node, {owner} what owns it, {role} or {edited_role} what RBAC asks
    of whoever makes or edits a role or a binding, {reader} the pod that reads a node, {policy} an image's admission policy. `MEMBER? ` or `RESOURCE? ` before one: only where the target has that.
    preview: how it is tried before. check: what shows afterwards that it holds. by_person: why the kit doesn't do it, "" when it does.
    only_held: done only to nodes that the attacker may hold, on others an affected pod merely ran, and to pods that were the attacker's tools.
    stops_nothing: of anybody's work. effects: what it changes of what serves and of who has access; none only of what reads.
    reads_only: it changes nothing in account and cluster, so there is nothing to undo. takes_out: of service, so that all targets together weigh more.

    comes: what brings it into a plan. needs: what it needs to know, where that is more than its kind of target tells. keeps: of evidence.
    waits, after_stages: what has to be done before. tells_waits: whether it needs to know the ids of those. applies: whether there is anything to do.
    impossible, person: why it cannot be done to a target, and why a person has to do it to that one, "" when neither.
    tells: what the evidence says of a target that whoever approves it has to know.
    minutes: how long the kit takes for one target. ends: the kinds of open entries that are over once it is done to what they are reached by;
    KIND:PART where it ends that part alone, `aws` or `cluster`. ends_key: whether, done with these parameters, it ends the entry of a key.
    """

    name: str
    stage: Stage
    does: str
    stops: str
    undo: str = ""
    cannot_undo: str = ""
    effects: tuple[Effect, ...] = ()
    kinds: tuple[SubjectName | TargetSource, ...] = ()
    commands: Commands = field(default=lambda target, held: [], repr=False)
    printed: Callable[[Target], list[str]] = field(default=lambda target: [], repr=False)
    destroys: bool = False
    identities: tuple[str, ...] = ()
    precondition: str = ""
    permissions: tuple[str, ...] = ()
    preview: str = ""
    check: str = ""
    by_person: str = ""
    only_held: bool = False
    stops_nothing: bool = False
    reads_only: bool = False
    takes_out: bool = False
    comes: Comes = Comes.BY_SCOPE
    needs: type[Parameters] | None = None
    keeps: Keeps = Keeps.NOTHING
    waits: tuple[Wait, ...] = ()
    after_stages: tuple[Stage, ...] = ()
    tells_waits: bool = False
    applies: Callable[[Target, Held], bool] = field(default=lambda target, held: True, repr=False)
    impossible: Callable[[Target, Held], str] = field(default=lambda target, held: "", repr=False)
    person: Callable[[Target], str] = field(default=lambda target: "", repr=False)
    tells: Callable[[Target, Held], Iterable[str]] = field(default=lambda target, held: (), repr=False)
    minutes: int = 1
    ends: tuple[str, ...] = ()
    ends_key: Callable[[Mapping[str, Any], str], bool] = field(default=lambda parameters, key: True, repr=False)


def action_id(name: str, target: Target) -> str:
    """The id of an action on a target: the same in every plan that would do the same, another when it is done with something else."""
    known = json.dumps(target.parameters.as_json(), sort_keys=True, ensure_ascii=True)
    return f"{name}-{hashlib.sha256(f'{target.kind}:{target.key}:{known}'.encode()).hexdigest()[:10]}"


def uid_checked(command: Command, target: Target) -> list[Command]:
    """Done only while the object of that name is still the one that is meant; not at all where nothing tells that one."""
    known, resource = target.parameters, target.key.partition("/")[0] if target.kind != "pod" else "pods"
    meant = target.thing.uid if target.thing else known.uid if isinstance(known, ObjectParameters) else None

    def look(member: str) -> Command:
        return kubectl("get", resource, target.name, target.namespace, "-o", f"jsonpath={{.metadata.{member}}}")

    if meant:
        return [replace(command, only_if=(look("uid"), (meant,)))]
    if isinstance(known, MadeObject) and known.made_at:
        return [replace(command, only_if=(look("creationTimestamp"), tuple(seconds_after(known.made_at))))]
    return []


def seconds_after(made_at: str) -> list[str]:
    """The second in which a call to make an object came and those after it: the server writes its own time into the object."""
    first = datetime.fromisoformat(made_at)
    return [f"{first + timedelta(seconds=later):%Y-%m-%dT%H:%M:%SZ}" for later in range(MADE_WITHIN + 1)]


def deleted(target: Target, held: Held) -> list[Command]:
    """The commands of an action that deletes the object itself."""
    resource, _, rest = target.key.partition("/")
    return uid_checked(kubectl("delete", resource, target.name, target.namespace), target) if rest else []
