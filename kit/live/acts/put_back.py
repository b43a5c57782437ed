"""Acts on what the attacker changed: members go back to what stood before, each only while it is as the attacker left it.

One merge patch with the object's uid and resourceVersion, so that a write in between is no silent loss. Sources: RFC 7386; Kubernetes API
concepts (resourceVersion as a precondition of a patch).
"""

from __future__ import annotations

from kit.live.acts.act import Check, act, all_hold
from kit.live.acts.bindings import binds_the_kit
from kit.live.changes.objects import EditObject
from kit.live.connection import Connection
from kit.live.errors import Refused
from kit.plan.plan import PlannedAction


def _put_back(live: Connection, planned: PlannedAction) -> list[EditObject]:
    known = planned.parameters
    resource, patch = known["resource"], known.get("patch")
    if not patch or known.get("person"):
        raise Refused("for a person: no evidence has what stood before the attacker changed it")
    if resource == "secrets":
        raise Refused("for a person: the kit reads and writes no values of Secrets")
    ours = binds_the_kit(live, known.get("remove") or [])
    if ours:
        raise Refused(f"the kit itself works by {ours}: put it back with another user")
    return [
        EditObject(
            resource, known.get("namespace"), known["name"], known.get("uid"), patch, known["expected"], "put back"
        )
    ]


def _is_back(live: Connection, planned: PlannedAction) -> Check:
    return all_hold(live, _put_back(live, planned), f"{planned.name} is as it stood before the attacker changed it")


act("revert_webhook", changes=_put_back, check=_is_back)
act("revert_rights", changes=_put_back, check=_is_back)
act("revert_changes", changes=_put_back, check=_is_back)
