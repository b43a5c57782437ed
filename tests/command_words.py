"""The words of a printed command against what the programs take: `aws` by botocore's models, `kubectl` by the flags of its commands.

Sources: AWS CLI User Guide (option names are the parameters' in kebab case; lists take several words; booleans have a `no-` form); kubectl reference.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name

_GLOBAL = {"region", "query", "output"}
_SUBSTITUTED = re.compile(r'"\$\(((?:[^()]|\([^()]*\))*)\)"')
_KUBECTL: dict[str, set[str]] = {
    "get": {"-n", "-o", "-A", "--field-selector"},
    "patch": {"-n", "--type", "-p", "--patch-file"},
    "delete": {"-n", "--wait"},
    "label": {"-n", "-A", "-l", "--field-selector", "--overwrite"},
    "annotate": {"--overwrite"},
    "cordon": set(),
    "drain": {"--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout", "--skip-wait-for-delete-timeout", "--pod-selector"},
    "create": {"-f", "--raw"},
    "apply": {"-f"},
    "wait": {"-n", "--for", "--timeout"},
    "logs": {"-n", "--all-containers", "--timestamps", "--previous"},
    "rollout": {"-n"},
}  # fmt: skip
"""Command of kubectl → the flags that are printed with it, each of which it has."""


def programs(line: str) -> Iterator[list[str]]:
    """The words of each `aws` and `kubectl` of a line, those in a command substitution too; what is printed stands as one word."""
    while found := _SUBSTITUTED.search(line):
        yield from programs(found[1])
        line = f"{line[: found.start()]}PRINTED{line[found.end() :]}"
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    lexer.whitespace_split = True
    words = list[str]()
    for word in [*lexer, ";"]:
        if set(word) <= set("|;&"):
            start = next((place for place, one in enumerate(words) if one in ("aws", "kubectl")), None)
            if start is not None:  # what xargs puts at the end, and without what a redirection is followed by
                end = words.index(">") if ">" in words else len(words)
                yield [*words[start:end], *(["APPENDED"] if "xargs" in words[:start] else [])]
            words = []
        else:
            words.append(word)


@cache
def _model(service: str) -> Any:
    # The AWS CLI has the calls of S3 under s3api, beside commands of its own under s3.
    return botocore.session.get_session().get_service_model("s3" if service == "s3api" else service)


def why_wrong(words: list[str]) -> str:
    """What is wrong with a command, "" when nothing is."""
    if words[0] == "kubectl":
        return _why_wrong_for_kubectl(words)
    service, operation, options = words[1], words[2], words[3:]
    model = _model(service)
    if operation == "wait":
        waiters = botocore.session.get_session().get_waiter_model(service).waiter_names
        name = next((one for one in waiters if xform_name(one, "-") == options[0]), None)
        if not name:
            return f"{service} has no waiter {options[0]}"
        operation = xform_name(botocore.session.get_session().get_waiter_model(service).get_waiter(name).operation, "-")
        options = options[1:]
    known = {xform_name(one, "-"): one for one in model.operation_names}
    if operation not in known:
        return f"{service} has no operation {operation}"
    shape = model.operation_model(known[operation]).input_shape
    members = {xform_name(name, "-"): (name, one) for name, one in (shape.members.items() if shape else ())}
    given = dict[str, list[str]]()
    for word in options:
        if word.startswith("--"):
            option, equals, value = word[2:].partition("=")
            given[option] = [value] if equals else []
        else:
            given[next(reversed(given))].append(word)
    for option, values in given.items():
        name = option if option in members else option.removeprefix("no-")
        if option in _GLOBAL:
            continue
        if name not in members:
            return f"{service} {operation} has no parameter --{option}"
        kind = members[name][1].type_name
        if kind == "boolean" or members[name][0] == "DisableApiTermination":
            wrong = bool(values)
        elif kind == "list":
            wrong = not values
        else:
            wrong = len(values) != 1
        if not wrong and values and values[0][:1] in "[{" and kind in ("list", "structure", "map"):
            wrong = not isinstance(json.loads(values[0]), list if kind == "list" else dict)
        if wrong:
            return f"{service} {operation} --{option} takes another value than {values}"
    lacks = [one for one in (shape.required_members if shape else ()) if xform_name(one, "-") not in {name.removeprefix("no-") for name in given}]  # fmt: skip
    return f"{service} {operation} lacks {', '.join(lacks)}" if lacks else ""


def _why_wrong_for_kubectl(words: list[str]) -> str:
    if words[1] not in _KUBECTL:
        return f"kubectl {words[1]} is not printed"
    options = words[2 : words.index("--")] if "--" in words else words[2:]
    unknown = [
        one for one in options if re.match(r"-[a-zA-Z-]", one) and one.partition("=")[0] not in _KUBECTL[words[1]]
    ]
    return f"kubectl {words[1]} has no {unknown[0]}" if unknown else ""


_NOT_IN_MODELS = {
    "eks update-kubeconfig",
    "logs tail",
    "configure list-profiles",
    "sso login",
}  # AWS CLI Command Reference: its own
_ONLY_NAMED: dict[str, set[str]] = {
    "auth": set(),
    "cluster-info": {"--output-directory"},
    "debug": set(),
    "exec": set(),
    "run": {"-n", "--rm", "-i", "--restart", "--image", "--dry-run"},
    "uncordon": set(),
}
"""Commands of kubectl that texts only name."""


def why_no_such(words: list[str]) -> str:
    """What is wrong with a command that a text names, with or without all that it needs; an ellipsis stands for anything."""
    if words[0] == "kubectl":
        if words[1] not in _ONLY_NAMED:
            return _why_wrong_for_kubectl(words)
        own = words[2 : words.index("--")] if "--" in words else words[2:]
        options = [one.partition("=")[0] for one in own if one.startswith("-")]
        return next((f"kubectl {words[1]} has no {one}" for one in options if one not in _ONLY_NAMED[words[1]]), "")
    service, operation, options = words[1], next(iter(words[2:]), "…"), words[3:]
    if f"{service} {operation}" in _NOT_IN_MODELS or service == "…":
        return ""
    model = _model(service)
    known = {xform_name(one, "-"): one for one in model.operation_names}
    if operation.endswith("…"):
        begins = any(one.startswith(operation.removesuffix("…")) for one in known)
        return "" if begins else f"{service} has no operation {operation}"
    if operation not in known:
        return f"{service} has no operation {operation}"
    shape = model.operation_model(known[operation]).input_shape
    members = {xform_name(name, "-") for name in (shape.members if shape else ())} | _GLOBAL
    named = [one[2:].partition("=")[0] for one in options if one.startswith("--")]
    return next((f"{service} {operation} has no parameter --{one}" for one in named if one not in members), "")
