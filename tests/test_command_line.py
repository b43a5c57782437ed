"""Whatever the evidence says, a printed command runs what is meant and nothing else: typed into a shell whose programs write down their words."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.actions.action import Held
from kit.actions.registry import ACTIONS
from kit.actions.target import (
    AccountOfTokens,
    AdmittedPrincipal,
    AwsSecretParameters,
    ChangedObject,
    ClusterCreator,
    EditedBinding,
    EndpointParameters,
    FindingParameters,
    ForeignRole,
    ImageParameters,
    LostObject,
    MadeObject,
    NodeEvidence,
    NodeGroupParameters,
    NodeParameters,
    PrincipalParameters,
    RestartedWorkload,
    RoleSessions,
    SecretParameters,
    ServedPod,
    SuppressedFinding,
    Target,
    TrustedRole,
)
from kit.inventory.thing import Thing
from kit.model.command_line import Command, Printed
from kit.plan.planner import commands_of
from tests import cases
from tests.command import RECORDINGS
from tests.command_words import programs, why_no_such, why_wrong

CORPUS = (
    "; touch INJECTED; #",
    "$(touch INJECTED)",
    "`touch INJECTED`",
    "a\ntouch INJECTED\n",
    "'; touch INJECTED; '",
    '"; touch INJECTED; "',
    "x && touch INJECTED",
    "--kubeconfig=INJECTED",
    "-n kube-system",
    "i-0 GROUP x",
    "file://INJECTED",
    "\u202etxt\u2028é|>INJECTED",
)
UID, ROLE, USER = "d714484c-f4d5-4f59-9c82-10aed2a8ad26", "arn:aws:iam::111122223333:role/a", "arn:aws:iam::111122223333:user/u"  # fmt: skip
DIGEST = "sha256:" + "a" * 64
ANN = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}
_POD = ServedPod("pods", "shop", "web", UID, "node-1", ["app"], False, False, {"app": "web"}, ["shop/web"])
_NODE = NodeParameters("node-1", UID, "i-0123456789abcdef0", "managed", [], "group-1", "eu-west-1", "111122223333")
_IMAGE = ImageParameters("111122223333.dkr.ecr.eu-west-1.amazonaws.com/a:1", "111122223333", "eu-west-1", "a", "1", [DIGEST])  # fmt: skip
_SERVICE = {"metadata": {}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}
_LOST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"a": "b"}}
TARGETS = (
    Target("pod", UID, Thing("pods", "shop", "web", UID), "prod", None, _POD),
    Target("node", "node-1", Thing("nodes", None, "node-1", UID), "prod", "i-0123456789abcdef0", _NODE),
    Target("node", "node-1", None, "prod", "i-0123456789abcdef0", NodeEvidence(**vars(_NODE), evidence_account="999988887777")),
    Target("node", "node-1", None, "prod", "i-0123456789abcdef0", replace(_NODE, node_kind="karpenter")),
    Target("used_binding", "rolebindings/shop/b", Thing("rolebindings", "shop", "b", UID), "prod", None, EditedBinding("rolebindings", "shop", "b", UID, [ANN], [ANN])),
    Target("created", "widgets/shop/w", None, "prod", None, MadeObject("widgets", "shop", "w", None, {}, "2026-01-31T14:00:00Z")),
    Target("created", "deployments/shop/w", None, "prod", None, MadeObject("deployments", "shop", "w", UID, {}, None)),
    Target("exposed", "services/shop/web", Thing("services", "shop", "web", UID, body=_SERVICE), "prod"),
    Target("identity", "ann", None, "prod", None, AdmittedPrincipal("ann", USER, ["AKIAIOSFODNN7EXAMPLE"], [])),
    Target("identity", "ann", None, "prod", None, ClusterCreator("ann", ROLE, [], [], "CONFIG_MAP")),
    Target("identity", "ann", None, "prod", None, PrincipalParameters("ann", USER, ["AKIAIOSFODNN7EXAMPLE"])),
    Target("token", "shop/till", None, "prod", None, AccountOfTokens("shop", "till", UID, True)),
    Target("iam_role", ROLE, None, "prod", None, RoleSessions(ROLE, ["i-0123456789abcdef0"], [UID])),
    Target("iam_role", ROLE, None, "prod", None, RoleSessions(ROLE, [], [])),
    Target("iam_role", ROLE, None, "prod", None, TrustedRole(ROLE, ["shop/till"], "https://oidc.eks.eu-west-1.amazonaws.com/id/0123")),
    Target("iam_role", ROLE, None, "prod", None, ForeignRole(ROLE, "")),
    Target("image", _IMAGE.image, None, "prod", None, _IMAGE),
    Target("cluster", "prod", None, "prod", None, EndpointParameters(["203.0.113.7/32"])),
    Target("finding", "f1", None, "prod", None, FindingParameters("f1", True)),
    Target("finding", "f1", None, "prod", None, SuppressedFinding("f1", False, "kit-expected-1", {"Criterion": {"type": {"Equals": ["x"]}}})),
    Target("deleted", "configmaps/shop/web", None, "prod", None, LostObject("deleted", "configmaps", "shop", "web", None, _LOST)),
    Target("changed", "deployments/shop/w", None, "prod", None, ChangedObject("deployments", "shop", "w", UID, {"spec": {"replicas": 0}}, {"spec": {"replicas": 2}}, [], "", "")),
    Target("secret", "shop/s", None, "prod", None, SecretParameters("secrets", "shop", "s", UID, ["a"], ["deployments/shop/web"])),
    Target("injected_workload", "deployments/shop/w", None, "prod", None, RestartedWorkload("deployments", "shop", "w", UID, ["pod-uid"])),
    Target("aws_secret", "secretsmanager:a/b", None, "prod", None, AwsSecretParameters("secretsmanager", "a/b", "eu-west-1")),
    Target("repairing_group", "workers", None, "prod", None, NodeGroupParameters("workers")),
)  # fmt: skip
_AWS_AUTH = {"uid": UID, "object": json.dumps({"data": {"mapUsers": f"- userarn: {USER}\n  username: ann\n"}})}
_STORE = SimpleNamespace(rows=lambda sql, **_: [_AWS_AUTH] if "FROM objects" in sql else [])
HELD = cast(Held, SimpleNamespace(
    inventory=SimpleNamespace(store=_STORE, node_facts={}, pods=[]), access_mode="API_AND_CONFIG_MAP"
))  # fmt: skip
_PROGRAMS = ("aws", "kubectl", "docker", "clamscan", "date")
_STAND_IN = """#!/bin/sh
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\036\\0'; } >> "$CALLS/$$"
printf %s "$PRINTS"
"""


def commands(action: str, target: Target) -> list[Command]:
    """The commands of an action on a target that it can be done to, whatever the form of its names."""
    try:
        return ACTIONS[action].commands(target, HELD)
    except (AssertionError, AttributeError):  # of another kind of target
        return []


def of(action: str) -> list[Target]:
    """Targets of an action: of its own kinds, else those of the same form."""
    every = [one for one in TARGETS if commands(action, one)]
    return ([one for one in every if one.kind in ACTIONS[action].kinds] or every)[:2]


def _hostile(value: Any, text: str) -> Iterator[Any]:
    """A value with a text in place of each text in it, one after the other; texts of objects are content."""
    if isinstance(value, str):
        yield text
        yield f"{value}{text}"
    elif isinstance(value, list):
        yield from ([*value[:place], one, *value[place + 1 :]] for place, old in enumerate(value) for one in _hostile(old, text))  # fmt: skip
    elif isinstance(value, dict):
        yield from (value | {name: one} for name, old in value.items() for one in _hostile(old, text))


def with_member(of_it: Any, member: str, value: Any) -> Any:
    """The same with another value of a member."""
    return replace(of_it, **{member: value})


def varied(target: Target, text: str) -> Iterator[Target]:
    """The target with a hostile text in each of its members, one after the other."""
    for one in (one for one in fields(target.parameters) if one.name != "made_at"):  # which is written from a time
        for value in _hostile(getattr(target.parameters, one.name), text):
            yield replace(target, parameters=with_member(target.parameters, one.name, value))
    for member in ("key", "cluster", "instance_id"):
        if value := getattr(target, member):
            yield from (with_member(target, member, f"{start}{text}") for start in ("", f"{value}/", value))
    if target.thing:
        yield from (replace(target, thing=with_member(target.thing, member, text)) for member in ("namespace", "name", "uid"))  # fmt: skip


def meant(command: Command, prints: str) -> Iterator[tuple[str, ...]]:
    """The words of each program that a command may start, where each prints the same."""
    if prints or not command.each:
        words = (one if isinstance(one, str) else f"{one.before}{prints}{one.after}" for one in command.words)
        yield (*words, *((prints,) if command.each else ()))
    inner = [one.command for one in command.words if isinstance(one, Printed)]
    inner += [one for one in (command.fed_by, command.each, command.unless, command.then) if one]
    for one in [*inner, *([command.only_if[0]] if command.only_if else [])]:
        yield from meant(one, prints)


def typed(lines: list[tuple[Command, str]], folder: Path) -> list[tuple[str, ...]]:
    """What a shell starts for commands, each with what the programs print."""
    stand_ins, home, calls = folder / "bin", folder / "home", folder / "calls"
    for one in (stand_ins, home, calls):
        one.mkdir()
    for name in _PROGRAMS:
        (stand_ins / name).write_text(_STAND_IN)
        (stand_ins / name).chmod(0o755)
    script = "".join(f"export PRINTS={shlex.quote(prints)}\n{command}\n" for command, prints in lines)
    environment = {"PATH": f"{stand_ins}:{os.environ['PATH']}", "CALLS": str(calls)}
    subprocess.run(["bash"], input=script.encode(), cwd=home, env=environment, capture_output=True, timeout=300, check=False)  # fmt: skip
    assert not [one for one in folder.rglob("*") if one.name == "INJECTED"]
    # A file a process: what a pipe starts at one time would write into each other's words.
    started = (one for file in calls.iterdir() for one in file.read_bytes().decode().split("\x1e\0")[:-1])
    return [tuple(one.split("\0")[:-1]) for one in started]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_hostile_name_is_one_word_and_runs_nothing(action: str, tmp_path: Path) -> None:
    lines, wanted = dict[str, tuple[Command, str]](), set[tuple[str, ...]]()
    for base in of(action):
        for target in (base, *(one for text in CORPUS for one in varied(base, text))):
            for command in commands(action, target):
                prints = command.only_if[1][0] if command.only_if else "" if command.unless else "PRINTED"
                lines[str(command)] = command, prints
                wanted |= set(meant(command, prints))
    started = set(typed([*lines.values()], tmp_path))
    assert started <= wanted and bool(started) == bool(lines)
    assert lines or ACTIONS[action].by_person, action


@pytest.mark.parametrize("action", ACTIONS)
def test_a_name_of_another_form_is_in_no_command(action: str) -> None:
    """But for names of roles and bindings, which may be any text, and what is content of an object."""
    for base in of(action):
        known, says = commands_of(ACTIONS[action], base, HELD)
        assert known and not says
        for target in (one for text in CORPUS for one in varied(base, text)):
            lines, says = commands_of(ACTIONS[action], target, HELD)
            assert not (lines and says) and (not says or "look at it" in says)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_each_word_of_a_command_comes_out_of_the_shell_as_it_went_in(words: list[str]) -> None:
    line = str(Command(("printf", "%s\\0", *words)))
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    "recording",
    [
        one if one in ("stolen_sa_token", "exec_kube_system") else pytest.param(one, marks=pytest.mark.full)
        for one in sorted(path.name for path in RECORDINGS.iterdir() if path.is_dir())
    ],
)
def test_each_printed_command_has_words_that_its_program_takes(recording: str) -> None:
    case = cases.shared(RECORDINGS / recording)
    lines = [line for one in cases.planned(RECORDINGS / recording)["actions"] for line in one["command"]]
    for finding in cases.printed("scope", of=case)["findings"]:
        lines += [step["command"] for one in finding["identities"] for step in one["take_away"] if step["command"]]
    assert lines and not [says for line in lines for says in faults(line)]


@pytest.mark.parametrize("action", ACTIONS)
def test_each_command_of_an_action_has_words_that_its_program_takes(action: str) -> None:
    assert not [says for base in TARGETS for line in map(str, commands(action, base)) for says in faults(line)]


def test_a_wrong_word_is_noticed() -> None:
    wrong = (
        "aws eks delete-acess-entry --cluster-name a",
        "aws eks delete-access-entry --cluster a --principal-arn b",
        "aws eks delete-access-entry --cluster-name a",
        "aws iam update-access-key --access-key-id AKIA --status",
        "aws eks wait cluster-ready --name a",
        "kubectl drain a --no-such-flag",
        'aws ec2 create-tags --resources "$(aws ec2 describe-things)" --tags Key=a,Value=b',
    )
    assert all(faults(line) for line in wrong)


def faults(line: str) -> list[str]:
    """What is wrong with the words of a line."""
    return [f"{says}: {line}" for words in programs(line) if (says := why_wrong(words))]


ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`((?:aws|kubectl) [^`\n]+)`")


def named_commands() -> dict[str, str]:
    """Each command that a text of the kit names (playbooks, questions, actions, errors, docs, notebooks) → a file that does."""
    kinds = ("kit/**/*.py", "kit/**/*.toml", "docs/**/*.md", "*.md", "notebooks/*.ipynb")
    files = [path for kind in kinds for path in sorted(ROOT.glob(kind))]
    return {found: str(path.relative_to(ROOT)) for path in files for found in NAMED.findall(path.read_text())}


def test_each_command_that_a_text_names_is_one_that_the_programs_have() -> None:
    named = named_commands()
    wrong = {
        line: says
        for line in named
        for words in [re.sub(r"\{[^}]*\}", "X", line).split(" > ")[0].split()]
        if (says := why_no_such(words))
    }
    assert len(named) > 60 and {"README.md", "docs/sources.md"} < {*named.values()}
    assert not wrong, wrong


def test_a_named_command_that_no_program_has_is_seen() -> None:
    wrong = (
        "aws guardduty fetch-findings",
        "aws eks describe-cluster --cluster a",
        "aws iam grab-…",
        "kubectl list pods",
        "kubectl get pods --everywhere",
        "kubectl run a --picture=b",
    )
    assert all(why_no_such(line.split()) for line in wrong)
