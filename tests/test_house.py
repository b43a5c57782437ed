"""Rules about the code itself: who may import whom, what is documented, what must not stand in the project."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import kit
from kit.actions.registry import ACTIONS
from tests.command import RECORDINGS, SAMPLE, SHARED
from tests.rooms import GROUND, ROOMS

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "kit").rglob("*.py"))
}

# Packages that one room alone may import.
OWNERS = {
    "plotly": ("kit.show.figures",),
    "ipywidgets": ("kit.show.lab", "kit.show.remediation", "kit.training.workbook", "kit.training.pickers"),
    "itables": ("kit.show.lab",),
    "papermill": ("kit.report",),
    "nbconvert": ("kit.report",),
    "click": ("kit.cli",),
    "boto3": ("kit.live", "kit.training.emulators"),
    "moto": ("kit.training.emulators",),
    "werkzeug": ("kit.training.emulators",),
    "kubernetes": ("kit.live",),
    "urllib3": ("kit.live",),
    "socket": ("kit.live", "kit.training.emulators"),
    "requests": (),
    "httpx": (),
    "html": ("kit.show.figures",),
    "markupsafe": ("kit.show", "kit.report", "kit.training"),
}
# What is declared to be HTML and is no text that stands in the code: files of the kit, plotly's code, JSON in which no tag can begin.
DECLARED_HTML = {
    ("kit.show.html_table", "Path(__file__).with_name('shown.css').read_text()"),
    ("kit.show.lab", "Path(__file__).with_name('clicks.html').read_text()"),
    ("kit.show.figures.chart", "get_plotlyjs()"),
    ("kit.show.figures.chart", "text"),
}
VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "base", "core", "tools"}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _trees_of_this_file() -> Iterator[None]:
    """The trees of all modules take more memory than a worker should hold when these tests are over."""
    yield
    _tree.cache_clear()


def _imported(module: str) -> Iterator[str]:
    """Every module that a module imports, at its top or inside a function; `from kit import x` gives kit.x where that is one."""
    for node in ast.walk(_tree(MODULES[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in MODULES else source


def _height(module: str) -> int:
    """How far up a module stands: ground, then the rooms; the package itself is the door to the room `case`."""
    if module == "kit":
        return len(GROUND) + ROOMS.index("case")
    name = module.split(".")[1]
    return GROUND.index(name) if name in GROUND else len(GROUND) + ROOMS.index(name)


def test_nothing_lies_at_the_top_but_the_ground_and_the_rooms() -> None:
    top = {module.split(".")[1] for module in MODULES if module != "kit"}
    assert top - set(ROOMS) == set(GROUND)
    assert sum(path.parent == ROOT / "kit" for path in MODULES.values()) <= 5


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    for imported in _imported(module):
        if imported in MODULES:
            above = f"{module} imports {imported}, which stands above it"
            assert _height(imported) <= _height(module) and (imported != "kit" or module != "kit"), above


def test_no_room_imports_itself_in_a_circle() -> None:
    # A package without a line of its own does nothing when one of its modules imports it.
    below = {module: {one for one in _imported(module) if one in MODULES} for module in MODULES}
    TopologicalSorter(below).prepare()  # raises CycleError, which names the circle


def test_no_module_is_too_long_to_be_read() -> None:
    long = {module for module, path in MODULES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 400}
    assert not long


# What every reader of evidence has (kit/evidence/readers/__init__.py), and the actions of each topic, which the registry joins.
PROTOCOLS = {"TABLE", "TAKEN_AS", "TAKES", "LISTS", "takes", "rows", "ACTIONS"}


def _is_command(node: ast.stmt) -> bool:
    """Whether it is a command of the command line, which is called as people type it."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(ast.unparse(one).startswith("click.command(") for one in decorators)


def test_a_name_means_one_thing() -> None:
    """No public name is defined in two modules; what both need stands in one of them.

    The emulators are left out: they name things as AWS and Kubernetes do, where a Call or a Kind is another thing than in the kit.
    """
    found: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        if module.startswith("kit.training.emulators."):
            continue
        for node in _tree(path).body:
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = [one for target in node.targets for one in getattr(target, "elts", [target])]
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            named = {one.id for one in targets if isinstance(one, ast.Name)}
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not _is_command(node):
                named = {node.name}
            for name in named - PROTOCOLS:
                if not name.startswith("_"):
                    found.setdefault(name, []).append(module)
    assert not {name: modules for name, modules in found.items() if len(set(modules)) > 1}


@pytest.mark.parametrize("module", MODULES)
def test_a_library_has_one_room(module: str) -> None:
    for imported in _imported(module):
        owners = OWNERS.get(imported.partition(".")[0])
        assert owners is None or module.startswith(owners), f"only {owners} imports {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring(module: str) -> None:
    tree = _tree(MODULES[module])
    assert ast.get_docstring(tree), f"{module} has no docstring"
    for name, node in _public(tree):
        assert ast.get_docstring(node) or _inherited(module, name), f"{module}.{name} has no docstring"


def _public(tree: ast.Module | ast.ClassDef, within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not _is_overload(node)
        ):
            yield within + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node, f"{node.name}.")


def _is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a definition is one of a function's signatures, whose docstring stands under the last one."""
    return any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)


def _inherited(module: str, name: str) -> str | None:
    """The docstring of the method that this one overrides."""
    of, _, method = name.partition(".")
    return inspect.getdoc(getattr(getattr(importlib.import_module(module), of), method)) if method else None


def test_the_public_names_of_the_package_are_these() -> None:
    assert sorted(kit.__all__) == kit.__all__ == ["Case", "StopNotebook", "new_case", "open_case"]
    assert all(hasattr(kit, name) for name in kit.__all__)


def test_a_modules_name_says_what_is_in_it() -> None:
    assert not [module for module in MODULES if VAGUE & set(module.split("."))]


def test_notebooks_import_the_kit_only() -> None:
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert paths
    for path in paths:
        cells = json.loads(path.read_text())["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert all(name.partition(".")[0] == "kit" for name in names), path.name


def test_no_ground_truth_and_no_name_of_a_recording_is_known_to_the_kit() -> None:
    known = set[str]()
    folders = [*RECORDINGS.iterdir(), SAMPLE, *(SHARED / "data" / "recordings").glob("*_*")]
    for folder in folders:
        truth = json.loads((folder / "ground_truth.json").read_text())
        attacker = truth["attacker"]
        known |= {truth["cluster"], truth["account"], *attacker["source_ips"], *attacker["user_agents"]}
        known |= {str(identity["username"]) for identity in attacker["identities"]} - {
            "system:anonymous",
            "kubernetes-admin",
        }
        known |= {str(pod[name]) for pod in truth["all_pods"] for name in ("uid", "name", "node") if pod.get(name)}
        known |= {*truth["findings"], *truth.get("more_findings", {}), *truth["attacker_calls"]}
    assert len(known) > 1000
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert "ground_truth" not in text or module.startswith("kit.training"), module
        assert not sorted(name for name in known if name in text), module


def test_the_lock_pins_every_package_by_hash_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "index-url" not in text
    pins = re.findall(r"^[\w.-]+(?:\[[\w,]+\])?==\S+(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(pins) > 100 and all("--hash=sha256:" in pin for pin in pins)


def test_conda_takes_its_versions_from_the_lock() -> None:
    import yaml

    text = (ROOT / "environment.yml").read_text()
    assert "Not tried with a solver" in text and "not tried with a solver" in " ".join(
        (ROOT / "README.md").read_text().split()
    )
    listed = yaml.safe_load(text)["dependencies"]
    assert listed == ["python=3.11", "pip", {"pip": ["-r requirements.lock"]}]


def test_every_dependency_is_locked_and_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs" / "decisions.md").read_text()
    lock = (ROOT / "requirements.lock").read_text()
    extras = project["optional-dependencies"]
    assert set(extras["training"]) < set(extras["develop"])  # tests use the emulators
    for text in [*project["dependencies"], *extras["develop"]]:
        name = re.split(r"[<>=\[ ]", text)[0]
        assert re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE), f"{name} is not in the lock"
        assert f"`{name}`" in reasons, f"{name} has no reason in docs/decisions.md"


def _is_text(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation) in ("str", "str | None")


def _texts() -> set[str]:
    """Names of properties and fields that are text in every class of the kit that has them."""
    text, other = set[str](), set[str]()
    for path in MODULES.values():
        for node in (one for one in ast.walk(_tree(path)) if isinstance(one, ast.ClassDef)):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and any(
                    "property" in ast.unparse(d) for d in member.decorator_list
                ):
                    (text if _is_text(member.returns) else other).add(member.name)
                elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    (text if _is_text(member.annotation) else other).add(member.target.id)
    return text - other


def _taken_apart(tree: ast.Module, texts: set[str]) -> Iterator[str]:
    """Where a text is used as if it were several things: its letters are what comes out."""
    for node in ast.walk(tree):
        one = None
        if isinstance(node, ast.For | ast.comprehension):
            one = node.iter
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            one = (
                node.args[0] if node.func.id in ("set", "list", "tuple", "frozenset", "sorted", "few", "dict") else None
            )
        elif isinstance(node, ast.Starred):
            one = node.value
        if isinstance(one, ast.Attribute) and one.attr in texts:
            yield f"line {one.lineno}: {ast.unparse(one)} is a text"


def test_no_text_is_taken_apart_into_letters() -> None:
    texts = _texts()
    assert {"says", "path", "user_name"} & texts and "host_access" not in texts
    faults = "set(pod.path) - {'x'}\nfew(pod.path, 3)\n[a for a in pod.path]\n[*pod.path]"
    assert len(list(_taken_apart(ast.parse(faults), {"path"}))) == 4
    found = [f"{module} {place}" for module, path in MODULES.items() for place in _taken_apart(_tree(path), texts)]
    assert not found


SENTENCES = {"says", "does", "stops", "undo", "cannot_undo", "reason", "asks", "collect", "precondition", "by_person"}
"""Members that are sentences for people: a rule that looks into one breaks when the sentence is put better."""


def _decided_by_words(tree: ast.Module) -> Iterator[str]:
    """Where words of a sentence decide: searched, compared with a text, or taken apart."""

    def is_sentence(node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and node.attr in SENTENCES

    for node in ast.walk(tree):
        found = False
        if isinstance(node, ast.Compare):
            kinds = (ast.In, ast.NotIn, ast.Eq, ast.NotEq)
            both = zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)
            found = any(
                isinstance(operator, kinds)
                and (is_sentence(right) or (is_sentence(left) and isinstance(right, ast.Constant)))
                for operator, left, right in both
            )
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_sentence(node.func.value):
            found = node.func.attr in ("startswith", "endswith", "partition", "rpartition", "split", "find", "index")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            found = any(map(is_sentence, node.args))
        if found and isinstance(node, ast.expr):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_rule_decides_by_the_words_of_a_sentence() -> None:
    faults = "'x' in why.says\nfor w in s:\n    w in f(a.says)\none.says == 'x'\none.stops.startswith('no')\nre.search('x', a.reason)"
    assert len(list(_decided_by_words(ast.parse(faults)))) == 4
    found = [f"{module} {place}" for module, path in MODULES.items() for place in _decided_by_words(_tree(path))]
    assert not found


def test_only_what_stands_in_the_code_is_declared_to_be_html() -> None:
    declared = {
        (module, ast.unparse(argument))
        for module, path in MODULES.items()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Markup"
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str))
    }
    assert declared == DECLARED_HTML


def test_no_parameter_takes_a_text_for_several_names() -> None:
    """A `str` is a Sequence, a Collection and an Iterable of `str`: kit.words.Names and lists refuse it."""
    loose = re.compile(r"\b(Iterable|Sequence|Collection|Container)\[str\]")
    found = [
        f"{module}.{node.name}({argument.arg})"
        for module, path in MODULES.items()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.annotation and loose.search(ast.unparse(argument.annotation))
    ]
    # The pieces of one text: joined, the letters of a text give the text.
    assert found == ["kit.evidence.formats.json_document.__init__(pieces)"]


def test_what_the_kit_keeps_in_memory_is_known() -> None:
    """It is the same for every case."""
    constant = {
        "kit.model.finding_names._members",
        "kit.model.finding_names._shapes",
        "kit.show.figures.chart.plotly_js",
    }
    constant |= {"kit.case.worked_out._key", "kit.case.worked_out.code_digest"}
    constant |= {
        "kit.playbooks.playbook.finding_types",
        "kit.playbooks.playbook.playbooks_by_family",
        "kit.questions.advice.advices",
        "kit.training.emulators.fake_logs._model_of_s3",
        "kit.training.emulators.mended_moto._modules",
        "kit.training.emulators.mended_moto._policies_of_aws",
    }
    kept = {
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef)
        if any(re.search(r"\b(lru_)?cache\b", ast.unparse(one)) for one in node.decorator_list)
    }
    assert kept == constant


def test_nothing_of_a_machine_stands_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    places = re.compile(r"/(home|root|Users)/\w|/(work|farm)/main|(pypi|pythonhosted|npmjs|debian)\.(org|com)")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if (
            path.suffix in {".gz", ".png", ".lock"}
            or path.is_dir()  # a link to a recording
            or {"data", "cases"} & set(path.parts)
            or "sample" in path.parts
            or not path.exists()
        ):
            continue
        found = places.search(path.read_text(encoding="utf-8"))
        assert found is None or path == Path(__file__), f"{name}: {found}"


def test_each_action_is_done_by_the_kit_or_says_why_a_person_does_it() -> None:
    from kit.live import run
    from kit.live.acts.act import ACTS

    assert callable(run.apply_case)
    assert {name for name, one in ACTIONS.items() if not one.by_person} == set(ACTS)
    for one in ACTIONS.values():
        assert (
            one.precondition and one.preview and one.check and one.stops and bool(one.undo) != bool(one.cannot_undo)
        ), one.name


def test_an_action_is_declared_and_done_in_two_files_of_one_name() -> None:
    declared = 0
    for path in sorted((ROOT / "kit" / "actions").glob("*.py")):
        topic = importlib.import_module(f"kit.actions.{path.stem}")
        for action in topic.ACTIONS if path.stem != "registry" and hasattr(topic, "ACTIONS") else ():
            assert ACTIONS[action.name] is action
            declared += 1
            if not action.by_person:
                done = (ROOT / "kit" / "live" / "acts" / path.name).read_text(encoding="utf-8")
                assert f'act("{action.name}"' in done, action.name
    assert declared == len(ACTIONS)


def test_each_action_that_changes_something_says_what_it_changes() -> None:
    """A plan is simulated by the effects of its actions: one without any would count as if nothing were done."""
    silent = {name for name, one in ACTIONS.items() if bool(one.effects) == one.reads_only}
    assert not silent, f"declare `effects` (kit/actions/effect.py; Effect.NONE for none): {silent}"


def test_the_abridged_view_of_an_object_never_leaves_the_analysis() -> None:
    """What the inventory keeps of an object makes no object: a plan asks it for single members, and takes whole bodies from the evidence."""
    asked = 0
    for module, path in MODULES.items():
        if not re.match(r"kit\.(actions|plan|case|live|show|report|cli)\b", module):
            continue
        tree = _tree(path)
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Attribute) and node.attr == "body") or _is_whole(node.value):
                continue
            below: ast.AST = node
            while isinstance(parents[below], ast.BoolOp | ast.UnaryOp):
                below = parents[below]
            parent = parents[below]
            is_member = isinstance(parent, ast.Subscript) or (
                isinstance(parent, ast.Attribute) and parent.attr == "get"
            )
            is_tested = isinstance(parent, ast.Compare) or below is getattr(parent, "test", None)
            assert is_member or is_tested, f"{module} line {node.lineno}: {ast.unparse(parent)}"
            asked += 1
    assert asked > 5


def _is_whole(value: ast.expr) -> bool:
    """Whether a body is no inventory's: of a change, of an answer, of what the evidence has whole, or of a parsed module."""
    return ast.unparse(value) in ("self", "whole", "error", "ast.parse(source)", "target.known(LostObject)")


def test_no_rule_asks_for_the_name_of_an_action() -> None:
    """What differs between actions is declared with them, so that a new one touches no rule of the plan."""
    for module, path in MODULES.items():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Compare | ast.MatchValue):
                asked = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} & ACTIONS.keys()
                assert not asked, f"{module} line {node.lineno} asks for {asked}"
