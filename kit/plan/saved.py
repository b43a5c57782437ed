"""The plan of a case as it is saved, read back and compared with one that is made now."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kit.actions.registry import ACTIONS
from kit.errors import CallError, CaseError
from kit.plan.plan import Plan, PlannedAction
from kit.store import settings
from kit.store.settings import settings_of
from kit.whole_file import write_whole


def plan_contract(case: str, plan: Plan) -> dict[str, Any]:
    """A plan as JSON-ready data."""
    actions = [asdict(one) | {"undo": one.undo or None, "cannot_undo": one.cannot_undo or None} for one in plan.actions]
    place = {"account": plan.account, "region": plan.region, "cluster": plan.cluster}
    return {
        "case": case,
        "digest": plan.digest,
        **place,
        "actions": actions,
        "review": list(plan.review),
        "not_possible": list(plan.not_possible),
    }


_KINDS = dict.fromkeys(("account", "region", "cluster"), "str | None") | {
    "review": "list[str]",
    "not_possible": "list[dict]",
}


def plan_of(read: dict[str, Any]) -> Plan:
    """The plan in its JSON form. Raises CallError when it is not one or was edited after it was made."""
    try:
        actions = tuple(planned_of(one) for one in read["actions"])
        place = read["account"], read["region"], read["cluster"]
        for name, kind in _KINDS.items():
            if not _fits(read[name], kind):
                raise TypeError(f"{name} is of another kind")
        made = Plan(*place, actions, tuple(read["review"]), tuple(read["not_possible"]))
        digest = made.digest
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise CallError(f"is no plan of this kit: {error}", next="make it anew with `kit plan CASE`") from None
    if digest != read.get("digest"):
        raise CallError(
            f"the plan was edited after it was made: it says digest {read.get('digest')}, its actions have {digest}",
            next="make it anew with `kit plan CASE`; --only and --without leave actions out",
        )
    return made


def planned_of(read: dict[str, Any]) -> PlannedAction:
    """A planned action in its JSON form, or as the journal has it. Raises KeyError for what is none."""
    _ = ACTIONS[read["action"]]
    members: dict[str, Any] = {name: read[name] for name in PlannedAction.__dataclass_fields__}
    members |= {name: members[name] or "" for name in ("undo", "cannot_undo")}
    for name, value in members.items():
        if not _fits(value, str(PlannedAction.__dataclass_fields__[name].type)):
            raise TypeError(f"{name} of an action is of another kind")
    return PlannedAction(**members)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value is of a member's kind, by the member's annotation: a list of texts or of objects, an object, a text."""
    if kind.startswith("list["):
        of = dict if kind.startswith("list[dict") else str
        return isinstance(value, list) and all(isinstance(one, of) for one in value)
    if kind.startswith("dict["):
        return isinstance(value, dict)
    return isinstance(value, str) or (value is None and kind.endswith("None"))


def touched(approved: Plan, now: Plan) -> list[str]:
    """Ids of actions that are new, gone or different in a plan that is made of the evidence as it is now."""
    before, after = ({one.id: asdict(one) for one in plan.actions} for plan in (approved, now))
    return sorted(id_ for id_ in before.keys() | after.keys() if before.get(id_) != after.get(id_))


def save_plan(case: Path, plan: Plan, options: dict[str, Any]) -> Path:
    """Write a plan to CASE/plan.json, whole or not at all. options: the arguments of Case.plan and open_case that made it. Raises CaseError."""
    path = case / "plan.json"
    made = plan_contract(case.resolve().name, plan) | {"options": options, "format": settings.FORMAT}
    made |= {"sha256": _sha256_of(made)}
    try:
        write_whole(path, json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise CaseError(
            f"the plan cannot be saved: {error.strerror}", where=str(path), next="make the case folder writable"
        ) from None
    return path


def saved_plan(case: Path) -> tuple[Plan, dict[str, Any]]:
    """The plan of CASE/plan.json and the options that made it. Raises CaseError when there is none, CallError when it was edited."""
    settings_of(case)
    path = case / "plan.json"
    try:
        read = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CaseError("this case has no plan", where=str(path), next="make it with `kit plan CASE`") from None
    except (OSError, ValueError) as error:
        raise CaseError(f"cannot be read: {error}", where=str(path), next="make it anew with `kit plan CASE`") from None
    if not isinstance(read, dict):
        raise CallError("is no plan of this kit", where=str(path), next="make it anew with `kit plan CASE`")
    if _format_of(read) != settings.FORMAT:
        raise CaseError(
            "this plan was saved before the case was upgraded: nothing is done by it",
            where=str(path),
            next="make it anew with `kit plan CASE`, read it, and approve the digest that it shows",
        )
    plan = plan_of(read)
    if _sha256_of(read) != read.get("sha256"):
        raise CallError(
            "the plan was edited after it was made", where=str(path), next="make it anew with `kit plan CASE`"
        )
    return plan, read.get("options") or {}


def _sha256_of(saved: dict[str, Any]) -> str:
    """The hash of all else in a saved plan: what is not done and the options too, which the digest does not cover."""
    rest = {name: value for name, value in saved.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _format_of(read: dict[str, Any]) -> str:
    """The format of the store that a saved plan was made from; the first one was not written down."""
    return str(read.get("format", "1"))


def set_older_plan_aside(case: Path, plan: Plan) -> str:
    """Keep a plan that was saved before the case was upgraded, under another name, for the one made now; what is to be said of it."""
    path = case / "plan.json"
    try:
        read = json.loads(path.read_bytes())
        older = int(_format_of(read))
        if older == int(settings.FORMAT):
            return ""
        kept = path.rename(path.with_name(f"plan-{older}.json"))
    except (OSError, ValueError, AttributeError):
        return ""  # none, or none that anything could be done by
    same = "the same digest" if read.get("digest") == plan.digest else "another digest: read it before you approve it"
    return f"the plan that was saved before the upgrade is kept as {kept.name}; this one has {same}"
