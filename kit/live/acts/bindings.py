"""Acts on role bindings: subjects taken out, the others left as they stand; whole bindings and roles deleted.

The subjects have to be as planned, or some of those that go are gone already. A binding without subjects stays, so that undo puts back just
what was there. What the kit itself works by is never taken away. Sources: Kubernetes "Using RBAC Authorization" (auto-reconciliation, default bindings); GuardDuty User Guide,
"Remediating EKS Protection findings" (anonymous access: all but system:public-info-viewer).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.acts.cluster import found, is_gone, meant, own_user, title, uid_now
from kit.live.changes.change import State, contains
from kit.live.changes.objects import DeleteObject, EditObject
from kit.live.connection import Connection
from kit.live.errors import Refused
from kit.model.identity import NOT_SIGNED_IN
from kit.plan.plan import PlannedAction

_BINDINGS = ("rolebindings", "clusterrolebindings")
_ROLES = ("roles", "clusterroles")
_AUTO = "rbac.authorization.kubernetes.io/autoupdate"
_EVERYBODY = "system:authenticated"
BoundIdentity = dict[str, Any]
_Key = tuple[str, str, str]
_ANONYMOUS: set[_Key] = {(kind, "", name) for kind in ("User", "Group") for name in NOT_SIGNED_IN}


def _key(subject: BoundIdentity) -> _Key:
    """What tells subjects apart; apiGroup follows from the kind."""
    return str(subject.get("kind")), str(subject.get("namespace") or ""), str(subject.get("name"))


@dataclass(frozen=True)
class TakeOut(EditObject):
    """Subjects taken out of a binding: those of `expected` that `patch` has not. known: all that were in it when it was planned.

    Another plan may take out or put back others of them: an undo puts back its own alone. Whom somebody bound since is looked at by a person
    first.
    """

    known: list[BoundIdentity] = field(default_factory=list)

    @property
    def _gone(self) -> set[_Key]:
        return _keys(self.expected["subjects"]) - _keys(self.patch["subjects"])

    def refuses(self, state: State) -> str:
        if state is not None and self._gone and not self.holds(state):
            now, planned = _keys(state["fields"]["subjects"]), _keys(self.expected["subjects"])
            if planned - self._gone <= now <= planned:
                state = state | {"expected": self.expected}
        return super().refuses(state)

    def holds(self, state: State) -> bool:
        if state is None or (self.uid and state["uid"] != self.uid):
            return False
        others = (_keys(self.patch["subjects"]) | _keys(self.known)) - self._gone
        return _keys(state["fields"]["subjects"]) <= others and contains(_rest(state), _others(self.patch))

    def is_as_before(self, before: State, now: State) -> bool:
        return self.is_restored(before, now)

    def is_restored(self, before: State, now: State) -> bool:
        if before is None or now is None or before["uid"] != now["uid"]:
            return False
        back = self._gone & _keys(before["fields"]["subjects"])
        return back <= _keys(now["fields"]["subjects"]) and _rest(before) == _rest(now)

    def _patch(self, live: Connection, patch: dict[str, Any], state: dict[str, Any], query: dict[str, str]) -> None:
        now = state["fields"]["subjects"] or []
        super()._patch(live, patch | {"subjects": [one for one in now if _key(one) not in self._gone]}, state, query)

    def undo(self, live: Connection, before: State, after: State) -> str:
        then, now = self._as_done(live, before)
        was, has = (one["fields"]["subjects"] or [] for one in (then, now))
        subjects = [one for one in was if _key(one) in self._gone | _keys(has)]
        subjects += [one for one in has if _key(one) not in _keys(was)]
        super()._patch(live, then["fields"] | {"subjects": subjects}, now, {})
        return ""


def _keys(subjects: list[BoundIdentity] | None) -> set[_Key]:
    return {_key(one) for one in subjects or []}


def _others(patch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in patch.items() if name != "subjects"}


def _rest(state: dict[str, Any]) -> dict[str, Any]:
    return _others(state["fields"])


def _is_ours(subject: BoundIdentity, user: dict[str, Any]) -> bool:
    """Whether the kit's own user is bound by it. Everybody is in system:authenticated: that one is a hole to close, not a right to lose."""
    kind, namespace, name = _key(subject)
    if kind == "Group":
        return name in (user.get("groups") or []) and name != _EVERYBODY
    return user.get("username") == (f"system:serviceaccount:{namespace}:{name}" if kind == "ServiceAccount" else name)


def binds_the_kit(live: Connection, subjects: list[BoundIdentity]) -> str:
    """The first of some subjects by which the kit itself works, in words; "" when none is."""
    user = own_user(live) if subjects else {}
    return next((f"{one['kind']} {one['name']}" for one in subjects if _is_ours(one, user)), "")


def _binding(live: Connection, planned: PlannedAction, gone: set[_Key]) -> dict[str, Any]:
    """The binding that is meant. Raises Refused unless it stands and its subjects are as planned, or are so already."""
    if planned.parameters["resource"] not in _BINDINGS:
        raise Refused(f"{planned.parameters['resource']} bind nobody")
    binding = meant(live, planned)
    now, before = binding.get("subjects") or [], planned.parameters.get("subjects")
    if before is not None:
        wanted = _keys(before)
        if not wanted - gone <= _keys(now) <= wanted:
            raise Refused(f"the subjects of {title(binding)} are not as planned: {now}, planned was {before}"[:600])
    return binding


def _removed(planned: PlannedAction) -> set[_Key]:
    return {_key(one) for one in planned.parameters.get("remove") or []}


def _without(live: Connection, planned: PlannedAction, gone: set[_Key]) -> list[TakeOut]:
    binding = _binding(live, planned, gone)
    subjects = binding.get("subjects") or []
    ours = binds_the_kit(live, [one for one in subjects if _key(one) in gone])
    if ours:
        raise Refused(f"the kit itself works by {ours}: take it out with another user")
    left = [one for one in subjects if _key(one) not in gone]
    metadata, patch = binding["metadata"], dict[str, Any](subjects=left)
    if (metadata.get("annotations") or {}).get(_AUTO) == "true":  # the API server would put it back at its next start
        patch["metadata"] = {"annotations": {_AUTO: "false"}}
    names = ", ".join(sorted(name for _, _, name in gone))
    return [
        TakeOut(
            planned.parameters["resource"],
            metadata.get("namespace"),
            metadata["name"],
            metadata["uid"],
            patch,
            {"subjects": subjects},
            f"take {names} out of",
            planned.parameters.get("subjects") or subjects,
        )
    ]


def _remove_anonymous(live: Connection, planned: PlannedAction) -> list[TakeOut]:
    gone = _removed(planned) or _ANONYMOUS
    if _binding(live, planned, gone).get("roleRef", {}).get("name") == "system:public-info-viewer":
        raise Refused("system:public-info-viewer is meant for everybody: health checks and version only")
    wrong = sorted(name for _, _, name in gone if name not in NOT_SIGNED_IN)
    if wrong:
        raise Refused(f"{', '.join(wrong)} is not anonymous")
    return _without(live, planned, gone)


def _unbind(live: Connection, planned: PlannedAction) -> list[TakeOut]:
    gone = _removed(planned)
    if not gone:
        raise Refused("the evidence does not tell which subject to take out")
    return _without(live, planned, gone)


def _unbound(live: Connection, planned: PlannedAction) -> Check:
    known = planned.parameters
    what = "/".join(one for one in (known["resource"], known.get("namespace"), known["name"]) if one)
    binding = found(live, known["resource"], known.get("namespace"), known["name"])
    if binding is None:
        return Check(HOLDS, f"{what} is gone")
    gone = _removed(planned) or _ANONYMOUS
    back = [name for kind, space, name in map(_key, binding.get("subjects") or []) if (kind, space, name) in gone]
    if back:
        return Check(
            DOES_NOT_HOLD, f"{what} still binds {', '.join(back)}: if it came back, take it out where it comes from"
        )
    return Check(HOLDS, f"{what} does not bind it any more; other bindings may")


def _delete(live: Connection, planned: PlannedAction) -> list[DeleteObject]:
    known = planned.parameters
    resource, uid, expected = known["resource"], known["uid"], known.get("expected") or {}
    if resource not in (*_BINDINGS, *_ROLES):
        raise Refused(f"{resource} are neither roles nor bindings")
    if not uid and not expected:
        raise Refused(
            "the evidence tells neither uid nor content, so whether it is the one that was written cannot be told"
        )
    thing = found(live, resource, known.get("namespace"), known["name"]) or {}
    ours = binds_the_kit(live, (thing.get("subjects") or []) if resource in _BINDINGS else [])
    if ours:
        raise Refused(f"the kit itself works by {ours}: delete it with another user")
    expected |= _alike(thing, expected)
    return [DeleteObject(resource, known.get("namespace"), known["name"], uid_now(live, uid), expected)]


def _alike(thing: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What is expected and stands there in another spelling: a request may leave out what the API server fills in."""
    alike, subjects = dict[str, Any](), thing.get("subjects") or []
    if "subjects" in expected and {_key(one) for one in expected["subjects"] or []} == {_key(one) for one in subjects}:
        alike["subjects"] = subjects
    if "roleRef" in expected and _key(expected["roleRef"]) == _key(thing.get("roleRef") or {}):
        alike["roleRef"] = thing["roleRef"]
    return alike


act("remove_anonymous_access", changes=_remove_anonymous, check=_unbound)
act("unbind_identity", changes=_unbind, check=_unbound)
act("drop_default_account_rights", changes=_unbind, check=_unbound)
act("remove_role_binding", changes=_delete, check=is_gone)
