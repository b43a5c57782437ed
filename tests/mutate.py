"""The suite can fail: small wrong changes to the modules that decide, each run against the tests that ought to notice it.

    python -m tests.mutate [--seed N] [--number N] [--only WHAT] [--seconds N] [--reach FILE] [--list] [--json FILE]

A mutant is a copy of the package with one change, made from the syntax tree. A test that fails kills the mutant, and has to pass
on the unchanged package. The sample is drawn by a seed, evenly over the areas, over the modules of an area, over the kinds of change.
Without --reach the tests of a module's row run, the most specific file first; with it (see tests/reached.py) those that reach the
changed function, in the same order of files, the fastest first. What no test noticed in --seconds of CPU has survived.

Left alone is what cannot decide: annotations, docstrings, asserts, `__all__`, f-strings and what a raised error says. Of other strings
one without white space is a name (a verb, a kind, a key) and becomes another name; one that reads as SQL has one of its operators
turned; all others are sentences for people.
"""

from __future__ import annotations

import argparse
import ast
import copy
import fcntl
import importlib
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.reached import Reach

ROOT = Path(__file__).parents[1]
FLOOR = 0.2
"""The score that a run has to reach: a suite that notices less in so few seconds is broken. Chance draws 30, so it lies far below the usual."""
TEST_SECONDS = 300
"""After so long a test has failed: a change may make a loop that never ends."""
MEMORY = 8 << 30  # bytes a process: a loop that never ends may collect rows
KILLED, SURVIVED, BROKEN = "killed", "survived", "does not import"

_CALLERS = (
    "tests/test_truth.py",
    "tests/test_questions.py",
    "tests/test_forged_evidence.py",
    "tests/test_scope.py",
    "tests/test_identities.py",
    "tests/test_odd_evidence.py",
    "tests/test_degradation.py",
    "tests/test_playbooks.py",
)
_PLAN = (
    "tests/test_plan.py",
    "tests/live/test_apply.py",
    "tests/live/test_kubernetes_acts.py",
    "tests/live/test_aws_acts.py",
)
_ENGINE = ("tests/live/test_refusals.py", "tests/live/test_apply.py", "tests/live/test_kill.py")
_CLUSTER = ("tests/live/test_kubernetes_acts.py", *_ENGINE)
_ACCOUNT = ("tests/live/test_aws_acts.py", *_ENGINE)
_COLLECTED = ("tests/live/test_collect.py",)
_BOTH = ("tests/live/test_kubernetes_acts.py", "tests/live/test_aws_acts.py", *_ENGINE)

AREAS: dict[str, dict[str, tuple[str, ...]]] = {
    "attribution": {
        "kit/attribution/attacker.py": _CALLERS,
        "kit/attribution/aws_secret.py": ("tests/test_aws_secrets.py",),
        "kit/attribution/calls.py": _CALLERS,
        "kit/attribution/collected.py": ("tests/test_collected.py",),
        "kit/attribution/deeds.py": _CALLERS,
        "kit/attribution/own_call.py": _CALLERS,
        "kit/attribution/possible.py": _CALLERS,
        "kit/attribution/rules.py": _CALLERS,
    },
    "scope": {
        "kit/scope/scope.py": _CALLERS,
        "kit/scope/caller.py": _CALLERS,
        "kit/scope/pods.py": _CALLERS,
        "kit/scope/put_in.py": ("tests/test_attackers.py", *_CALLERS),
        "kit/scope/reach.py": _CALLERS,
        "kit/scope/subject.py": _CALLERS,
        "kit/model/pod_spec.py": ("tests/test_host_access.py", "tests/test_scope.py", *_CALLERS, *_PLAN),
        "kit/scope/limits.py": ("tests/test_degradation.py", "tests/test_coverage.py", *_CALLERS),
    },
    "plan": {
        "kit/plan/targets.py": ("tests/test_plan.py", "tests/test_host_access.py", *_PLAN),
        "kit/plan/compromised.py": ("tests/test_plan.py", "tests/test_host_access.py", *_PLAN),
        "kit/plan/eligible.py": ("tests/test_plan.py", "tests/test_host_access.py", *_PLAN),
        "kit/plan/parameters.py": ("tests/test_plan.py", "tests/test_host_access.py", *_PLAN),
        "kit/identities/aws_auth_text.py": ("tests/live/test_aws_auth.py", *_CLUSTER),
        "kit/plan/planner.py": _PLAN,
        "kit/plan/order.py": _PLAN,
        "kit/plan/blast_radius.py": _PLAN,
        "kit/plan/saved.py": ("tests/live/test_refusals.py", *_PLAN),
    },
    "live": {
        "kit/live/attempts.py": _COLLECTED,
        "kit/live/collect/bucket_logs.py": _COLLECTED,
        "kit/live/collect/collection.py": _COLLECTED,
        "kit/live/collect/collection_log.py": _COLLECTED,
        "kit/live/collect/estimate.py": _COLLECTED,
        "kit/live/collect/least_permissions.py": _COLLECTED,
        "kit/live/collect/more.py": _COLLECTED,
        "kit/live/collect/network_logs.py": _COLLECTED,
        "kit/live/collect/readiness.py": _COLLECTED,
        "kit/live/collect/requests.py": _COLLECTED,
        "kit/live/collect/run.py": _COLLECTED,
        "kit/live/collect/sent.py": _COLLECTED,
        "kit/live/collect/trail_files.py": _COLLECTED,
        "kit/live/collect/watch.py": _COLLECTED,
        "kit/live/acts/act.py": _BOTH,
        "kit/live/attacker_out.py": ("tests/live/test_attacker_out.py", *_BOTH),
        "kit/live/yourself.py": ("tests/live/test_aws_acts.py", *_BOTH),
        "kit/live/acts/iam.py": _ACCOUNT,
        "kit/live/acts/node_capture.py": ("tests/live/test_aws_acts.py", *_CLUSTER),
        "kit/live/changes/node_group_change.py": _ACCOUNT,
        "kit/live/changes/deny_policy.py": _ACCOUNT,
        "kit/live/apply.py": ("tests/live/test_apply.py", *_BOTH),
        "kit/live/changes/aws_change.py": _ACCOUNT,
        "kit/live/acts/bindings.py": _CLUSTER,
        "kit/live/changes/change.py": _BOTH,
        "kit/live/acts/captures.py": _ACCOUNT,
        "kit/live/changes/content.py": _CLUSTER,
        "kit/live/acts/cluster.py": _CLUSTER,
        "kit/live/acts/cluster_access.py": _ACCOUNT,
        "kit/live/acts/cluster_endpoint.py": _ACCOUNT,
        "kit/live/connection.py": ("tests/live/test_refusals.py", *_BOTH),
        "kit/live/acts/exposure.py": _CLUSTER,
        "kit/live/acts/findings.py": _ACCOUNT,
        "kit/live/acts/images.py": _ACCOUNT,
        "kit/live/changes/instance_change.py": _ACCOUNT,
        "kit/live/acts/isolation.py": _CLUSTER,
        "kit/live/errors.py": _BOTH,
        "kit/live/acts/machine.py": ("tests/live/test_aws_acts.py", *_CLUSTER),
        "kit/live/acts/nodes.py": ("tests/live/test_aws_acts.py", *_CLUSTER),
        "kit/live/changes/objects.py": _CLUSTER,
        "kit/live/permission.py": _BOTH,
        "kit/live/acts/pods.py": _CLUSTER,
        "kit/live/changes/principal_change.py": _ACCOUNT,
        "kit/live/changes/quarantine.py": _ACCOUNT,
        "kit/live/acts/principals.py": _ACCOUNT,
        "kit/live/place.py": ("tests/live/test_refusals.py", *_BOTH),
        "kit/live/run.py": ("tests/live/test_apply.py", *_BOTH),
        "kit/live/acts/put_back.py": _CLUSTER,
        "kit/live/acts/restarts.py": _CLUSTER,
        "kit/live/acts/service_accounts.py": _BOTH,
        "kit/live/undo.py": ("tests/live/test_apply.py", *_BOTH),
        "kit/live/acts/workloads.py": _CLUSTER,
    },
    "training": {
        f"kit/training/{name}.py": ("tests/test_training.py",)
        for name in (
            "about_acting",
            "about_case",
            "about_evidence",
            "about_family",
            "about_findings",
            "calls",
            "class_page",
            "class_report",
            "decoys",
            "grading",
            "kinds",
            "learner_folder",
            "locking",
            "material",
            "pickers",
            "progress",
            "reading",
            "results",
            "variation",
            "workbook",
        )
    }
    | {
        f"kit/training/{name}.py": ("tests/test_new_lab.py",)
        for name in ("new_lab", "own_evidence", "own_truth", "redaction")
    }
    | {
        f"kit/training/{name}.py": ("tests/live/test_training_done.py", "tests/test_training.py")
        for name in ("about_state", "emulated", "lab_state")
    },
}
"""Area → module → the tests that ought to notice a wrong module, the most specific first: they stop at the first that fails."""


@dataclass(frozen=True)
class Mutation:
    """One change: the bytes from start to end of a module become `new`. before and after: its source in one line each."""

    path: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int
    new: str


@dataclass(frozen=True)
class Result:
    """What became of a mutant. by: the test that failed. tests: how many ran."""

    mutation: Mutation
    state: str
    by: str = ""
    tests: int = 0


# ── what is changed ────────────────────────────────────────────────────────────────────────────────────────────────

_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.In: ast.NotIn,
    ast.Is: ast.IsNot,
}
_TURNED |= {turned: kind for kind, turned in _TURNED.items()}
_SQL = re.compile(r"\b(?:SELECT|WHERE|AND|OR|IN|BETWEEN|FROM)\s|\bIS (?:NOT )?NULL\b|\w = ['$\d]")
_SQL_TURNED = {
    " = ": " <> ",
    " <> ": " = ",
    " < ": " >= ",
    " >= ": " < ",
    " > ": " <= ",
    " <= ": " > ",
    " AND ": " OR ",
    " OR ": " AND ",
    " IN ": " NOT IN ",
    " IS NULL": " IS NOT NULL",
    " IS NOT NULL": " IS NULL",
    " IS DISTINCT ": " IS NOT DISTINCT ",
    " IS NOT DISTINCT ": " IS DISTINCT ",
}
_SQL_OPERATOR = re.compile("|".join(map(re.escape, _SQL_TURNED)))
# Arguments that change nothing where the rest is right.
_NO_DECISION = {"strict", "encoding", "errors"}


@cache
def mutations(source: str, path: str = "") -> tuple[Mutation, ...]:
    """Every change of a module's source, in the order of the source."""
    tree = ast.parse(source)
    text = source.encode()
    starts = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
    found = list[Mutation]()
    for node, kind, new in _changes(tree):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        left, right = text[starts[node.lineno - 1] : start], text[end : starts[node.end_lineno]]
        shown = _shown(left + text[start:end] + right, left + new.encode() + right)
        found.append(Mutation(path, node.lineno, kind, *shown, start, end, new))
    return tuple(sorted(found, key=lambda one: (one.start, one.end, one.new)))


def changed(source: str, mutation: Mutation) -> str:
    """The source with the change."""
    text = source.encode()
    return (text[: mutation.start] + mutation.new.encode() + text[mutation.end :]).decode()


def _shown(before: bytes, after: bytes) -> tuple[str, str]:
    """Both in one line each, long ones from shortly before where they differ."""
    lines = [" ".join(text.decode().split()) for text in (before, after)]
    same = next((at for at, (one, other) in enumerate(zip(*lines, strict=False)) if one != other), 0)
    first = same - 60 if same > 60 and max(map(len, lines)) > 160 else 0
    cut = [("…" if first else "") + line[first : first + 160] + "…" * (len(line) > first + 160) for line in lines]
    return cut[0], cut[1]


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr, str, str]]:
    """Each expression that may be changed within a node, the kind of change, and the new source."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                turned = copy.copy(node)
                turned.ops = [*node.ops[:index], _TURNED[type(operator)](), *node.ops[index + 1 :]]
                yield node, "comparison", f"({ast.unparse(turned)})"
        case ast.BoolOp():
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1 :]]
                kept = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                yield node, "condition", f"({ast.unparse(kept)})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, "not", f"({ast.unparse(node.operand)})"
        case ast.If() | ast.IfExp():
            yield node.test, "condition", "True"
            yield node.test, "condition", "False"
        case ast.While(test=ast.expr() as test) if not isinstance(test, ast.Constant):
            yield test, "condition", "False"
        case ast.match_case(guard=ast.expr() as guard):
            yield guard, "condition", "True"
        case ast.comprehension():
            for condition in node.ifs:
                yield condition, "condition", "True"
        case ast.Constant():
            for kind, value in _constants(node.value):
                yield node, kind, repr(value)
    for child in _children(node):
        yield from _changes(child)


def _constants(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, bool):
        yield "constant", not value
    elif isinstance(value, int | float):
        yield "constant", value + 1
        yield "constant", value - 1
    elif isinstance(value, str) and value and not re.search(r"\s", value):
        yield "name", f"{value}-mutant"
    elif isinstance(value, str) and _SQL.search(value):
        for operator in _SQL_OPERATOR.finditer(value):
            before, after = value[: operator.start()], value[operator.end() :]
            if not re.search(r"BETWEEN \S+$", before):  # its AND is no condition
                yield "SQL", before + _SQL_TURNED[operator[0]] + after


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that can decide something."""
    if isinstance(node, ast.Assert | ast.Raise | ast.JoinedStr):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_for_readers(child):
                yield child


def _is_for_readers(node: ast.AST) -> bool:
    """Whether it is there for people and type checkers: docstrings, type names, what a dataclass is."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name == "__all__"
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
        case ast.Call(func=ast.Name(id="dataclass" | "cast" | "TypeVar")):
            return True
        case ast.keyword(arg=name):
            return name in _NO_DECISION
    return False


# ── which are tried ────────────────────────────────────────────────────────────────────────────────────────────────


def sample(
    areas: dict[str, dict[str, tuple[str, ...]]], seed: int, number: int, root: Path = ROOT, only: str = ""
) -> list[Mutation]:
    """So many mutations, evenly over the areas, in an area over its modules, in a module over the kinds of change."""
    drawn = random.Random(seed)
    by_area = list[list[Mutation]]()
    for area, modules in areas.items():
        by_module = list[list[Mutation]]()
        for path in modules:
            by_kind: dict[str, list[Mutation]] = {}
            for one in mutations((root / path).read_text(encoding="utf-8"), path):
                if only in ("", area, path, f"{path}:{one.line}"):
                    by_kind.setdefault(one.kind, []).append(one)
            by_module.append(_in_turn([drawn.sample(ones, len(ones)) for ones in by_kind.values()], drawn))
        by_area.append(_in_turn(by_module, drawn))
    return _in_turn(by_area, drawn)[:number]


def _in_turn(groups: Sequence[list[Mutation]], drawn: random.Random) -> list[Mutation]:
    """One of each group, then the second of each; in which order the groups come is drawn."""
    ordered = drawn.sample(groups, len(groups))
    return [one for turn in itertools.zip_longest(*ordered) for one in turn if one is not None]


# ── what becomes of them ───────────────────────────────────────────────────────────────────────────────────────────

# What takes long to import and is not the kit's: once in the process that each trial is forked from.
_HEAVY = ["boto3", "duckdb", "hypothesis", "kubernetes.client", "moto.backends", "moto.moto_server.werkzeug_app", "pandas", "pyarrow", "pytest", "simdjson"]  # fmt: skip
_FORKS = multiprocessing.get_context("forkserver")


@dataclass
class Trial:
    """Runs mutants of the package at root, each with the tests of its module, or with those that reach its function."""

    root: Path
    tests: dict[str, tuple[str, ...]]
    reach: Reach | None = None
    seconds: float = TEST_SECONDS
    """Tests are begun for one mutant until it took so many CPU seconds."""
    cache: str = ""
    """A folder of cases that the unchanged package made, which mutants share."""
    unsound: set[str] = field(default_factory=set)
    """Tests that fail without any change: they judge no mutant."""
    _sound: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, mutation: Mutation) -> Result:
        """Whether the tests notice the change; one that fails without it too is set aside, and the others are asked."""
        package = Path(mutation.path).parts[0]
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            shutil.copytree(self.root / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
            module = Path(folder) / mutation.path
            source = module.read_text(encoding="utf-8")
            module.write_text(changed(source, mutation), encoding="utf-8")
            tests = list(dict.fromkeys(self.tests[mutation.path]))
            if self.reach:
                tests = self.reach.of(mutation.path, mutation.line, source, self.tests[mutation.path]) or tests
            while asked := self._without_unsound(tests):
                done = self._run(asked, folder, ".".join(Path(mutation.path).with_suffix("").parts))
                if not done.failed or self._is_sound(done.failed):
                    return Result(mutation, done.state, done.failed, done.tests)
        return Result(mutation, SURVIVED)

    def _without_unsound(self, tests: Sequence[str]) -> list[str]:
        """What pytest is told: those of the tests that judge, and what else of their files is left out; empty without any."""
        with self._lock:
            unsound = sorted(self.unsound)
        asked = [test for test in tests if test not in unsound and test.partition("::")[0] not in unsound]
        return [*asked, *(word for test in unsound for word in ("--deselect", test))] if asked else []

    def _is_sound(self, test: str) -> bool:
        """Whether the test passes on the unchanged package; each is asked once."""
        with self._lock:
            if test in self._sound or test in self.unsound:
                return test in self._sound
        sound = self._run([test], str(self.root), "").state == SURVIVED
        with self._lock:
            (self._sound if sound else self.unsound).add(test)
        return sound

    def _run(self, tests: Sequence[str], package: str, module: str) -> _Told:
        """The tests in a process of their own, with the package from that folder."""
        reads, writes = _FORKS.Pipe(duplex=False)
        arguments = (str(self.root), package, module, list(tests), self.seconds, self.cache, writes)
        process = _FORKS.Process(target=_try, args=arguments)
        process.start()
        writes.close()
        try:
            told = _Told(*reads.recv())
        except EOFError:  # it ended without a word: killed for its memory, or it left by itself
            told = _Told(KILLED, tests[0])
        process.join()
        return told


@dataclass(frozen=True)
class _Told:
    state: str
    failed: str = ""
    tests: int = 0


class _First:
    """A plugin of pytest: which test failed first, and no more tests after so many CPU seconds."""

    def __init__(self, seconds: float) -> None:
        self.until = _cpu_seconds() + seconds
        self.failed, self.tests = "", 0

    def pytest_collection_finish(self) -> None:
        """Cases are for all mutants, so what makes them is the unchanged package, once; what is printed of them is each mutant's own."""
        if cases := sys.modules.get("tests.cases"):
            vars(cases).update(kit=_unchanged, _once=cache(cases._now))
            command = sys.modules["tests.command"]
            vars(command)["kit"] = partial(_with_known_cases, command.kit, cases)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests += report.when == "call"
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        if _cpu_seconds() > self.until:
            item.session.shouldstop = "time is up"


def _cpu_seconds() -> float:
    """Of this process and of those that it started: how busy the machine is changes no score."""
    return sum(os.times()[:4])


def _unchanged(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `kit` as the checkout has it."""
    command = [Path(sys.executable).with_name("kit"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _with_known_cases(run: Any, cases: Any, *arguments: str | Path, **more: Any) -> Any:
    """`kit`, but `kit new CASE EVIDENCE --json` of evidence that another mutant had too is a copy of what came of it."""
    if more or len(arguments) != 4 or arguments[0] != "new" or arguments[3] != "--json":
        return run(*arguments, **more)
    case, evidence = Path(arguments[1]), Path(arguments[2])
    known = cases._folder() / cases.code() / f"new-{cases._key((evidence,), ())}"
    known.parent.mkdir(parents=True, exist_ok=True)
    with known.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists():
            with tempfile.TemporaryDirectory(dir=known.parent) as folder:
                done = _unchanged("new", Path(folder, "made", "case"), evidence, "--json")
                Path(folder, "made", "said.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
                Path(folder, "made").rename(known)
    code, stdout, stderr = json.loads((known / "said.json").read_text())
    if code == 0:
        shutil.copytree(known / "case", case)
    return subprocess.CompletedProcess(arguments, code, stdout, stderr)


def _try(
    root: str, package: str, module: str, tests: list[str], seconds: float, cache: str, answers: Connection
) -> None:
    """In a forked process: run the tests with the package from that folder, in started programs too, and tell how it ended."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    # SAFEPATH: or the checkout, where programs are started, would come first. CI: the same examples of hypothesis each time.
    os.environ |= {"PYTHONPATH": os.pathsep.join([package, root]), "PYTHONSAFEPATH": "1", "CI": "1"}
    if package != root:
        os.environ["TMPDIR"] = tempfile.tempdir = package  # what its tests leave goes with it
    sys.path[:] = [package, root, *(one for one in sys.path if one not in ("", root))]
    os.chdir(root)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    try:
        if module:
            importlib.import_module(module)
    except BaseException:  # noqa: BLE001 - whatever it is, the module is of no use
        answers.send((BROKEN,))
        return
    first = _First(seconds)
    # importlib: the other modes put the checkout, and with it the unchanged package, first.
    options = ["--import-mode=importlib", "-x", "-q", "--tb=no", "--timeout", str(TEST_SECONDS)]
    options += ["-o", f"cache_dir={cache}"] if cache else ["-p", "no:cacheprovider"]
    code = pytest.main([*options, *tests], plugins=[first])
    state = KILLED if first.failed else SURVIVED if code in (0, 2) else BROKEN
    answers.send((state, first.failed, first.tests))


def report(results: Sequence[Result]) -> str:
    """A table of the modules, then each survivor with what was changed."""
    counts = Counter((one.mutation.path, one.state) for one in results)
    paths = list(dict.fromkeys(sorted(one.mutation.path for one in results)))
    states = (KILLED, SURVIVED, BROKEN)
    rows = [(path, *(counts[path, state] for state in states)) for path in paths]
    rows.append(("all", *(sum(counts[path, state] for path in paths) for state in states)))
    lines = [f"{'module':<34}{KILLED:>8}{SURVIVED:>10}{BROKEN:>17}"]
    lines += [f"{path:<34}{killed:>8}{survived:>10}{broken:>17}" for path, killed, survived, broken in rows]
    for one in sorted(results, key=lambda one: (one.mutation.path, one.mutation.line)):
        if one.state == SURVIVED:
            made = one.mutation
            lines += ["", f"{made.path}:{made.line} ({made.kind})", f"  - {made.before}", f"  + {made.after}"]
    return "\n".join(lines)


def score(results: Sequence[Result]) -> float:
    """Of the mutants that could be imported, the part that the tests killed; 1 without any."""
    states = Counter(one.state for one in results)
    return states[KILLED] / (states[KILLED] + states[SURVIVED]) if states[KILLED] + states[SURVIVED] else 1.0


def main() -> int:
    """Draw the sample, run it, print the report; 0 when the score reaches the floor, 1 when not, 2 when it cannot be told."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, help="of the sample (default: from the commit, so that each tries others)")
    parser.add_argument("--number", type=int, default=30, help="of mutants (30)")
    parser.add_argument(
        "--only", default="", help="an area, a module as kit/scope/scope.py, or one line as kit/scope/scope.py:120"
    )
    parser.add_argument(
        "--seconds", type=float, default=12, help="of CPU for one mutant, after which no test is begun (12)"
    )
    parser.add_argument("--reach", type=Path, help="what python -m tests.reached wrote")
    parser.add_argument("--list", action="store_true", help="print the sample and run nothing")
    parser.add_argument("--json", type=Path, help="write every mutant and what became of it to this file")
    given = parser.parse_args()
    seed = _seed_of_the_commit() if given.seed is None else given.seed
    if seed is None:
        return _stop("this is no git checkout, so there is no commit to take the seed from: give --seed NUMBER")
    chosen = sample(AREAS, seed, given.number, only=given.only)
    if not chosen:
        return _stop(f"nothing to change in {given.only}: give an area ({', '.join(AREAS)}), a module or module:line")
    if given.list:
        for one in chosen:
            print(f"{one.path}:{one.line} ({one.kind})\n  - {one.before}\n  + {one.after}")
        return 0
    _FORKS.set_forkserver_preload(_HEAVY)
    tests = {path: tests for modules in AREAS.values() for path, tests in modules.items()}
    reach = Reach.read(given.reach) if given.reach else None
    results = list[Result]()
    pool = ThreadPoolExecutor(os.cpu_count() or 2)
    with tempfile.TemporaryDirectory(prefix="mutate-") as kept:
        trial = Trial(ROOT, tests, reach, given.seconds, _cache_with_cases(Path(kept)))
        try:
            for result in pool.map(trial.judge, chosen):
                results.append(result)
                where = f"{result.mutation.path}:{result.mutation.line}"
                by = f" by {result.by}" if result.by else f" {result.tests} tests"
                print(f"{len(results)}/{len(chosen)} {where} {result.state}{by}", file=sys.stderr, flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    reached = score(results)
    print(report(results))
    print(f"\nseed {seed}: {reached:.0%} killed, the floor is {FLOOR:.0%}")
    for test in sorted(trial.unsound):
        print(f"{test} fails without any change, so it judged none: make the tests pass first")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(one.mutation) | {"state": one.state, "by": one.by, "tests": one.tests} for one in results]
        given.json.write_text(json.dumps({"seed": seed, "score": reached, "mutants": rows}, indent=1) + "\n")
    return 2 if trial.unsound else 0 if reached >= FLOOR else 1


def _cache_with_cases(folder: Path) -> str:
    """A cache folder of pytest for mutants, with the cases that the checkout's own tests have made already."""
    made = ROOT / ".pytest_cache" / "d" / "cases"
    made.mkdir(parents=True, exist_ok=True)
    (folder / "d").mkdir()
    (folder / "d" / "cases").symlink_to(made)
    return str(folder)


def _seed_of_the_commit() -> int | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout[:8], 16) if done.returncode == 0 else None


def _stop(says: str) -> int:
    print(f"mutate: {says}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
