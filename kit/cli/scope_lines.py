"""The scope of a case on one screen: what is affected, what is acted on first at the top, images last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from kit.case.scope_json import ScopeJson, SubjectJson
from kit.model.kinds import SUBJECT_KINDS
from kit.model.kubernetes import workload_pattern
from kit.words import counted, few

MOST_LINES = 60
_NAMED = 6  # of one kind, or of one workload
_LIMITS = 5
_WORKLOADS = 20
_APART = 4
_REASONS = 2  # why pods of one workload are affected
_OWN = 2  # of the kit's own requests
_ORDER = (
    ("Secrets", ("secret", "config_map")),
    ("Tokens and credentials", ("token", "credential")),
    ("Permissions", ("let_in", "granted")),
    ("Made, changed, deleted", ("created", "changed", "deleted", "exec", "forwarded")),
    ("Identities", ("identity", "service_account", "iam_role", "source_ip")),
    ("Nodes", ("node",)),
)
_LAST = ("introduced", "image", "reachable")


def scope_lines(result: ScopeJson) -> list[str]:
    """The lines: summary, secrets, tokens, permissions, what was made, pods by workload, what cannot be told, images."""
    every = _each_once(result)
    affected = [one for one in every if one["certainty"] == "affected"]
    calls = {id_ for one in result["findings"] for id_ in one["calls"]}
    aws = {id_ for one in result["findings"] for id_ in one["aws_calls"]}
    possible = {id_ for one in result["findings"] for id_ in one["possible_calls"]} - calls
    maybe = f"; {len(possible)} more may be" if possible else ""
    lines = [
        f"{counted(len(result['findings']), 'finding')}: {counted(len(calls), 'call')} of the attacker in the audit log, {len(aws)} in CloudTrail{maybe}.",
        f"affected: {_numbers(affected)}",
        f"possible: {_numbers(one for one in every if one['certainty'] == 'possible')}",
    ]
    for title, kinds in _ORDER:
        lines += _section(title, affected, kinds)
    lines += list(_apart(result))
    lines += list(_pods(affected))
    limits = list(dict.fromkeys(limit["says"] for one in result["findings"] for limit in one["limits"]))
    lines += [f"cannot tell: {says}." for says in limits[:_LIMITS]]
    lines += [f"cannot tell: {counted(len(limits) - _LIMITS, 'more limit')} (--all)"] if len(limits) > _LIMITS else []
    lines += _section("Images and secrets in reach", every, _LAST)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{len(lines) - MOST_LINES + 1} more lines (--all)"]
    return lines


def own_request_lines(result: ScopeJson, whole: bool) -> list[str]:
    """What is said of the kit's own requests, with the first of them and of those that only have their ids; each where whole."""
    own = result["own_requests"]
    if not own["says"]:
        return []
    lines = [f"COLLECTED  {own['says']}"]
    for every in (own["claimed"], own["calls"]):
        lines += [f"  {one['ref']}: {one['says']}" for one in (every if whole else every[:_OWN])]
        lines += [f"  {len(every) - _OWN} more (--all)"] if len(every) > _OWN and not whole else []
    return lines


def _each_once(result: ScopeJson) -> list[SubjectJson]:
    """The subjects of all findings, each once, as the finding has it that is surest."""
    found = dict[tuple[str, str], SubjectJson]()
    for one in result["findings"]:
        for subject in one["subjects"]:
            place = (subject["kind"], subject["key"])
            if place not in found or subject["certainty"] == "affected" != found[place]["certainty"]:
                found[place] = subject
    return list(found.values())


def _numbers(subjects: Iterable[SubjectJson]) -> str:
    numbers = Counter(one["kind"] for one in subjects)
    named = [
        counted(numbers[kind.name], kind.noun, kind.plural) for kind in SUBJECT_KINDS.values() if numbers[kind.name]
    ]
    return ", ".join(named) or "nothing"


def _name(one: Any) -> str:
    return "/".join(part for part in (one["namespace"], one["name"]) if part) or one["key"]


def _section(title: str, subjects: list[SubjectJson], kinds: tuple[str, ...]) -> list[str]:
    lines = []
    for kind in kinds:
        names = [one["key"] if kind not in ("pod", "node") else _name(one) for one in subjects if one["kind"] == kind]
        if names:
            lines.append(f"  {kind.replace('_', ' ')} ({len(names)}): {few(names, _NAMED)}")
    return [title, *lines] if lines else []


def _apart(result: ScopeJson) -> Iterator[str]:
    """What separates the attacker from others of the same name or address, the most calls first."""
    told = [
        apart for one in result["findings"] for identity in one["identities"] for apart in identity["told_apart_by"]
    ]
    says = list(dict.fromkeys(one["says"] for one in sorted(told, key=lambda one: -one["calls"])))
    if says:
        yield "Told apart"
    yield from (f"  {one}" for one in says[:_APART])
    if len(says) > _APART:
        yield f"  {counted(len(says) - _APART, 'more group')} of calls (--all)"


def _pods(affected: list[SubjectJson]) -> Iterator[str]:
    """The affected pods by workload: how many stand, on which nodes, and why."""
    by_workload = dict[str, list[SubjectJson]]()
    for one in affected:
        if one["kind"] == "pod":
            by_workload.setdefault(workload_pattern(_name(one)), []).append(one)
    if by_workload:
        yield "Pods by workload"
    most = sorted(by_workload.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    for name, pods in most[:_WORKLOADS]:
        stand = sum(one["standing"] is True for one in pods)
        nodes = sorted({str(one["node"]) for one in pods if one["node"]})
        whys = Counter(one["why"][0]["says"] for one in pods).most_common()
        why = whys[0][0] if len(whys) == 1 else "; ".join(f"{number}: {says}" for says, number in whys[:_REASONS])
        more = f"; {sum(number for _, number in whys[_REASONS:])} for other reasons" if len(whys) > _REASONS else ""
        yield f"  {name}: {counted(len(pods), 'pod')}, {stand} standing, on {counted(len(nodes), 'node')}; {why}{more}"
    if len(most) > _WORKLOADS:
        yield f"  {counted(len(most) - _WORKLOADS, 'more workload')} (--all)"
