"""ConfigMap kube-system/aws-auth: who is in it, and its text without one principal, every other line as it was.

Sources: EKS User Guide "Grant IAM users access to Kubernetes with a ConfigMap"; how its lines are read: kit.identities.mapping.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import yaml

from kit.identities.mapping import ACCOUNTS, MEMBERS, Mapping, elements, mapped_accounts, mapping_of
from kit.model.arn import principal_of
from kit.model.command_line import Command, kubectl

NODE_GROUPS = {"system:nodes", "system:bootstrappers", "system:node-proxier"}
MASTERS = "system:masters"

AWS_AUTH_SHOWN = kubectl("get", "configmap", "aws-auth", "kube-system", "-o", "yaml")


class NotEditable(Exception):
    """The text cannot be edited line by line, or not be read at all; says why."""


def works(one: Mapping) -> bool:
    """Whether somebody can sign in by an element."""
    return one.principal is not None and not one.maps_nobody


def is_of_nodes(one: Mapping) -> bool:
    """Whether nodes or Fargate pods sign in by an element."""
    return bool(NODE_GROUPS & set(one.groups)) or one.user_name.startswith("system:node:")


def mappings_in(data: dict[str, str]) -> list[Mapping]:
    """Every element, oldest first. Raises NotEditable when a text is not a list of mappings."""
    return [made for member in MEMBERS for made in _of(data, member)]


def _of(data: dict[str, str], member: str) -> Iterator[Mapping]:
    return (mapping_of(member, element) for element in _read(data.get(member) or "", member))


def _read(text: str, member: str) -> list[dict[Any, Any]]:
    try:
        read = elements(text)
    except ValueError as error:
        raise NotEditable(f"{member} of aws-auth {error}") from None
    if not all(isinstance(one, dict) for one in read):
        raise NotEditable(f"{member} of aws-auth is no list of mappings")
    return read


def accounts(data: dict[str, str]) -> list[str]:
    """The accounts of which every principal is let in (mapAccounts)."""
    return list(mapped_accounts(data.get(ACCOUNTS) or ""))


def without(data: dict[str, str], principal: tuple[str, str, str]) -> dict[str, str]:
    """The members whose text changes, without every element of the principal. Raises NotEditable."""
    changed = dict[str, str]()
    for member in MEMBERS:
        text = data.get(member) or ""
        gone = {number for number, one in enumerate(_of(data, member)) if one.principal == principal}
        if gone:
            changed[member] = _cut(text, gone, member)
    return changed


def without_mapping(data: dict[str, str] | None, arn: str) -> Command | None:
    """The command that takes a principal's elements out, while its members are as the evidence has them; None where it names none.

    data: the members by name; None where no evidence has them.
    """
    principal = principal_of(arn)
    if data is None or principal is None:
        return None
    try:
        new = without(data, principal)
    except NotEditable:
        return None
    steps = [{"op": "test", "path": f"/data/{name}", "value": data[name]} for name in new]
    steps += [{"op": "replace", "path": f"/data/{name}", "value": text} for name, text in new.items()]
    patch = json.dumps(steps, separators=(",", ":"))
    return kubectl("patch", "configmap", "aws-auth", "kube-system", "--type", "json", "-p", patch) if new else None


def missing(before: dict[str, str], after: dict[str, str], now: dict[str, str]) -> dict[str, list[dict[Any, Any]]]:
    """The elements that went between two texts of a member and that the text of now does not have, by member. Raises NotEditable."""
    found = dict[str, list[dict[Any, Any]]]()
    for member in after:
        left, there = (_read(one.get(member) or "", member) for one in (after, now))
        gone = [one for one in _read(before.get(member) or "", member) if one not in left and one not in there]
        if gone:
            found[member] = gone
    return found


def names_again(before: dict[str, str], after: dict[str, str], now: dict[str, str]) -> bool:
    """Whether the text of now maps a principal whose elements went between two texts. Raises NotEditable."""
    left = [one.principal for member in after for one in _of(after, member)]
    gone = {one.principal for member in after for one in _of(before, member) if one.principal not in left}
    return any(one.principal in gone for member in after for one in _of(now, member))


def with_again(before: dict[str, str], after: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """The members that change so that the text of now has what went between two texts: its old lines, at the end of each. Raises
    NotEditable."""
    changed = dict[str, str]()
    for member, gone in missing(before, after, now).items():
        old, text = before.get(member) or "", now.get(member) or ""
        lines, root = old.splitlines(keepends=True), yaml.compose(old, Loader=yaml.SafeLoader)
        assert isinstance(root, yaml.SequenceNode)
        back = [
            line if line.endswith("\n") else f"{line}\n"
            for element, read in zip(root.value, _read(old, member), strict=True)
            if read in gone
            for line in lines[element.start_mark.line : _last_line(element) + 1]
        ]
        there = _read(text, member)
        kept = [line for line in text.splitlines(keepends=True) if there or line.strip() != "[]"]
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        indent = _indent("".join(kept), member) if there else _indent(old, member)
        shift = indent - _indent(old, member)
        changed[member] = "".join(kept) + "".join(_shifted(line, shift) for line in back)
        if _read(changed[member], member) != [*there, *gone]:
            raise NotEditable(f"{member} of aws-auth cannot be edited line by line: put the element back by hand")
    return changed


def _indent(text: str, member: str) -> int:
    """How far the dashes of a list stand from the left."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.SequenceNode) or root.flow_style or not root.value:
        raise NotEditable(f"{member} of aws-auth is not written with one element a line: edit it by hand")
    line = text.splitlines()[root.value[0].start_mark.line]
    return len(line) - len(line.lstrip(" "))


def _shifted(line: str, by: int) -> str:
    return " " * by + line if by >= 0 else line[min(-by, len(line) - len(line.lstrip(" "))) :]


def _cut(text: str, gone: set[int], member: str) -> str:
    """The text without the lines of these elements. Comments that stand on lines of their own stay."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.SequenceNode) or root.flow_style:
        raise NotEditable(f"{member} of aws-auth is not written with one element a line: edit it by hand")
    if any(getattr(event, "anchor", None) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise NotEditable(f"{member} of aws-auth has anchors: edit it by hand")
    lines = text.splitlines(keepends=True)
    cut = set[int]()
    for number, element in enumerate(root.value):
        first, last = element.start_mark.line, _last_line(element)
        if not lines[first].lstrip(" ").startswith("-"):
            raise NotEditable(f"{member} of aws-auth has a dash on a line of its own: edit it by hand")
        if number in gone:
            cut |= set(range(first, last + 1))
    left = "".join(line for number, line in enumerate(lines) if number not in cut)
    wanted = [one for number, one in enumerate(_read(text, member)) if number not in gone]
    if not wanted:
        left = f"{left}{'' if not left or left.endswith(chr(10)) else chr(10)}[]\n"
    if _read(left, member) != wanted:
        raise NotEditable(f"{member} of aws-auth cannot be edited line by line: edit it by hand")
    return left


def _last_line(node: yaml.Node) -> int:
    """The line on which a node's content ends; a block's own end mark stands behind comments that follow it."""
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("|", ">"):
            raise NotEditable("aws-auth has an element with a text over several lines: edit it by hand")
        return int(node.end_mark.line)
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return max(_last_line(one) for one in (last if isinstance(last, tuple) else (last,)))


def difference(before: dict[str, str], after: dict[str, str]) -> str:
    """A unified diff of the members that change."""
    return "".join(
        line if line.endswith("\n") else f"{line}\n"
        for member, text in after.items()
        for line in difflib.unified_diff(
            (before.get(member) or "").splitlines(keepends=True), text.splitlines(keepends=True), member, member, n=1
        )
    )
