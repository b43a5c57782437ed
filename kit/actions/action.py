"""An action: what it does, to which subjects, in which stage, how it is undone, and the commands to type.

Nothing here changes anything: kit.live does what a plan says, and the commands are the same for a person to type. Order of the stages: freeze → contain → revoke → capture → eradicate →
recover; cutting the attacker off waits for no slow capture, and nothing is destroyed before it is captured.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kit.identities.revocation import kubectl
from kit.inventory.thing import Thing
from kit.model.kinds import NAMED
from kit.model.kubernetes import KINDS
from kit.model.why import Why

STAGES = ("freeze", "contain", "revoke", "capture", "eradicate", "recover")
GONE = "what was deleted is gone; what was captured before stays"
READS = "nothing to undo: it changes nothing"
DRY = "server-side dry-run (dryRun=All)"
EC2_DRY = "EC2's DryRun"
SIMULATED = "no dry-run: policy simulation of the caller's permissions"
LOOKED = "nothing to try: it reads"


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
        return self.key.partition("/")[0] if self.kind in NAMED else None

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


def uid_checked(verb: str, resource: str, target: Target) -> list[str]:
    """Done only while the object of that name is still the one that is meant."""
    line = kubectl(verb, resource, target.name, target.namespace)
    if target.thing is None or not target.thing.uid:
        return [line]
    uid = kubectl("get -o jsonpath={.metadata.uid}", resource, target.name, target.namespace)
    return [f'test "$({uid})" = {shlex.quote(target.thing.uid)} && {line}']


def on_object(verb: str) -> Callable[[Target], list[str]]:
    """The commands of an action that does one thing to the object itself."""

    def commands(target: Target) -> list[str]:
        resource, _, rest = target.key.partition("/")
        return uid_checked(verb, resource, target) if rest else []

    return commands
