"""A case that an older kit made: refused by every command, loaded again by `kit upgrade`, and as a new one then.

tests/data/cases/format-1 was made by the kit of commit 5048f50: `kit new`, `kit add`, `kit mark`, `kit plan` and `kit apply` on the emulated
account and cluster of a recording. Here this kit is one that has a newer format.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kit.cli import main as cli
from kit.evidence import intake, upgrade
from kit.plan import journal as journals
from kit.store import settings
from kit.training.variation import DAEMON_SETS, enforcing
from tests.command import Done, kit, kit_json
from tests.live.scene import STOLEN, said, standing

OLD = Path(__file__).parent / "data" / "cases" / "format-1"
FINDING = "130d0c9a302bb20ec5e5aae27123538f"
ONLY = tuple(word for name in ("unbind_identity", "isolate_pod", "snapshot_volumes") for word in ("--only", name))
CALLS: dict[str, tuple[str, ...]] = {
    "add": (str(OLD / "evidence" / "findings.json"),),
    "findings": (),
    "scope": (),
    "brief": (),
    "note": ("a decision",),
    "answers": (),
    "show": ("203.0.113.6",),
    "mark": ("--finding", FINDING, "--as", "wrong"),
    "suppress": ("--finding", FINDING),
    "plan": (),
    "preview": (),
    "apply": ("--approve", "0"),
    "check": (),
    "undo": (),
    "journal": (),
    "permissions plan": (),
    "watch": (),
    "report": (),
}


@pytest.fixture(autouse=True)
def newer_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "FORMAT", "3")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "case"))


@pytest.fixture(scope="module")
def upgraded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "FORMAT", "3")
        case = Path(shutil.copytree(OLD, tmp_path_factory.mktemp("upgraded") / "case"))
        kit_json("upgrade", case)
    return case


@pytest.fixture
def upgraded(upgraded_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(upgraded_once, tmp_path / "case"))


def _made(case: Path, *more: Path) -> Path:
    """A new case of the old one's evidence, as this module's kit makes it."""
    names = ("findings.json", "audit.jsonl.gz", "dumps.tar.gz", "cloudtrail.json.gz", "findings-runtime.json")
    kit_json("new", case, *(OLD / "evidence" / name for name in names), *more)
    shutil.copy(OLD / "marks.jsonl", case)
    return case


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new case of the same evidence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "FORMAT", "3")
        yield _made(tmp_path_factory.mktemp("same") / "case")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new case of the same evidence, and of a later dump, of when the cluster enforces network policies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "FORMAT", "3")
        case = tmp_path_factory.mktemp("new") / "case"
        later = case.parent / "daemonsets.json"
        with tarfile.open(OLD / "evidence" / "dumps.tar.gz") as dumps:
            (member,) = (one for one in dumps.getmembers() if one.name.endswith(later.name))
            file = dumps.extractfile(member)
            assert file is not None
            listed = json.loads(enforcing(DAEMON_SETS, file.read().decode()))
        for one in listed["items"]:
            one["metadata"]["resourceVersion"] = "99999999"
        later.write_text(json.dumps(listed))
        yield _made(case, later)


def content(case: Path) -> dict[str, str]:
    """The files of a case and their hashes."""
    return {
        str(path.relative_to(case)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(case.rglob("*"))
        if path.is_file()
    }


def refused(done: Done, *words: str) -> None:
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and not done.stdout and len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines


def is_newest(case: Path) -> bool:
    return settings.settings_of_any_format(case).format == "3"


def test_every_command_on_a_case_is_called_here() -> None:
    assert {name.partition(" ")[0] for name in CALLS} == set(cli.main.commands) - {
        "collect",
        "investigate",
        "new",
        "upgrade",
        "train",
    }  # no case of its own


@pytest.mark.parametrize("command", CALLS)
def test_a_command_refuses_an_older_case_and_names_the_way(old: Path, command: str) -> None:
    before = content(old)
    done = kit(*command.split(), old, *CALLS[command])
    refused(done, "made by an older kit", "format 1", f"`kit upgrade {old}`")
    assert content(old) == before


@pytest.mark.parametrize("command", [*CALLS, "upgrade"])
def test_a_command_refuses_the_case_of_a_newer_kit(old: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(settings, "FORMAT", "0")
    before = content(old)
    refused(kit(*command.split(), old, *CALLS.get(command, ())), "made by a newer kit", "format 1")
    assert content(old) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        'cluster = "red"',
        'format = "one"',
        "format = true",
        'format = "-1"',
        'format = "1"\nstore = "../other"',
        'format = "1"\ncluster = 5',
        "format = [",
        "a = " + "[" * 5000,
        "\udcff",
    ],
)
@pytest.mark.parametrize("command", ["findings", "add", "upgrade", "journal"])
def test_an_odd_settings_file_is_told(old: Path, text: str, command: str) -> None:
    (old / "case.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = content(old)
    refused(kit(command, old, *CALLS.get(command, ())), "case.toml", "is no case.toml of this kit")
    assert content(old) == before


def test_what_the_kit_of_that_commit_made_is_read_while_its_format_is_todays(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {command: kit_json(command, new) for command in ("scope", "answers", "plan")}
    monkeypatch.undo()
    if settings.settings_of_any_format(OLD).format == settings.FORMAT:
        assert {command: kit_json(command, old) for command in asked} == asked


def test_an_upgraded_case_is_as_a_new_one_of_its_evidence(upgraded: Path, same: Path) -> None:
    for command in ("findings", "scope", "answers", "plan"):
        assert kit_json(command, upgraded) == kit_json(command, same), command
    ledger = {one["path"]: one for one in _ledger(upgraded)}
    assert ledger.pop("notes.txt")["note"].startswith("not taken")
    assert ledger == {one["path"]: one for one in _ledger(same)}


def _ledger(case: Path) -> list[dict[str, Any]]:
    store = settings.settings_of(case).store
    return list(json.loads((case / store / "ledger.json").read_text())["files"])


def _times(entry: dict[str, Any]) -> list[datetime | None]:
    return [datetime.fromisoformat(entry[name]) if entry[name] else None for name in ("first_at", "last_at")]


def test_an_upgrade_touches_nothing_but_the_store(old: Path) -> None:
    before, files = content(old), _ledger_of_old(old)
    inodes = {path: path.stat().st_ino for path in (old / "evidence").iterdir()}
    done = kit("upgrade", old)
    assert done.returncode == 0 and "notes.txt" in done.stdout and "dumps.tar.gz/cluster/pods.json" in done.stdout
    assert {path: path.stat().st_ino for path in (old / "evidence").iterdir()} == inodes
    kept = {name for name in before if not name.startswith("store/")} - {"case.toml"}
    now = content(old)
    assert {name: now[name] for name in kept} == {name: before[name] for name in kept}
    assert {name for name in now if not name.startswith("store-3/")} == kept | {"case.toml"}
    assert is_newest(old) and [one["path"] for one in _ledger(old)] == [one["path"] for one in files]
    assert [_times(one) for one in _ledger(old)] == [_times(one) for one in files]


def _ledger_of_old(case: Path) -> list[dict[str, Any]]:
    return list(json.loads((case / "store" / "ledger.json").read_text())["files"])


def test_an_upgrade_of_what_is_up_to_date_is_harmless(upgraded: Path) -> None:
    before = content(upgraded)
    done = kit("upgrade", upgraded)
    assert done.returncode == 0 and "is up to date" in done.stderr and not done.stdout
    assert kit_json("upgrade", upgraded)["files"] == [] and content(upgraded) == before


def test_evidence_is_added_to_an_upgraded_case_and_the_named_cluster_stays(old: Path, tmp_path: Path) -> None:
    (old / "case.toml").write_text('format = "1"\ncluster = "as-told"\ncluster_told = true\n')
    kit_json("upgrade", old)
    (tmp_path / "more.json").write_text((OLD / "evidence" / "findings.json").read_text() + "\n")
    for _ in range(2):  # the second call has nothing new
        kit_json("add", old, tmp_path / "more.json")
        found = settings.settings_of(old)
        assert (found.cluster, found.cluster_told, found.store) == ("as-told", True, "store-3")
    assert [one["path"] for one in _ledger(old)][-1] == "more.json" and not (old / "store").exists()
    assert len(kit_json("findings", old)["findings"]) == 6


@pytest.mark.parametrize("way", ["changed", "gone", "outside"])
def test_evidence_that_is_not_as_the_ledger_has_it_is_refused(old: Path, way: str) -> None:
    path = old / "evidence" / "cloudtrail.json.gz"
    if way == "changed":
        path.write_bytes(path.read_bytes() + b"\n")
    elif way == "gone":
        path.unlink()
    else:
        text = (old / "store" / "ledger.json").read_text()
        (old / "store" / "ledger.json").write_text(text.replace('"cloudtrail.json.gz"', '"../plan.json"'))
    before = content(old)
    refused_with_progress = kit("upgrade", old)
    says = "is no ledger of this kit" if way == "outside" else "put the original back"
    assert refused_with_progress.returncode == 2 and says in refused_with_progress.stderr.lower()
    assert content(old) == before
    refused(kit("findings", old), "kit upgrade")


class Killed(BaseException):
    """As if the process had ended here."""


def end(*_: Any, **__: Any) -> Any:
    raise Killed


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (intake, "file_kind"),
        (intake, "load"),
        (intake, "write_coverage"),
        (upgrade, "_merged"),
        (upgrade, "_swap"),
        (upgrade, "settings_of"),
        (upgrade, "case_toml"),
        (upgrade, "_remove_what_does_not_count"),
    ],
)
def test_a_killed_upgrade_loses_nothing_and_is_done_by_the_next(old: Path, new: Path, module: Any, name: str) -> None:
    before = content(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, end)
        with pytest.raises(Killed):
            kit("upgrade", old)
    counts = is_newest(old)
    assert counts == (name == "_remove_what_does_not_count")
    now = content(old)
    if counts:
        assert kit_json("findings", old) == kit_json("findings", new)
    else:
        refused(kit("findings", old), "kit upgrade")
    assert {path: now[path] for path in before if path != "case.toml" or not counts} == {
        path: text for path, text in before.items() if path != "case.toml" or not counts
    }
    assert kit("upgrade", old).returncode == 0 and is_newest(old)
    assert kit_json("scope", old) == kit_json("scope", new)
    assert not [path for path in content(old) if path.startswith(("store/", "upgrade/"))]


def test_an_upgrade_that_was_cut_off_does_not_go_on_with_other_evidence(old: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "write_coverage", end)
        with pytest.raises(Killed):
            kit("upgrade", old)
    path = old / "evidence" / "findings.json"
    shutil.copyfile(path, old / "copy")
    path.unlink()
    (old / "copy").rename(path)  # the same, at another time
    assert kit("upgrade", old).returncode == 0 and is_newest(old)


def test_one_call_at_a_time_works_on_a_case(old: Path) -> None:
    with (old / "in-work").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(kit("upgrade", old), "another call of kit is working on this case")


def test_a_plan_that_was_saved_before_is_kept_and_nothing_is_done_by_it(upgraded: Path) -> None:
    saved = (upgraded / "plan.json").read_bytes()
    digest = json.loads(saved)["digest"]
    for command in (("apply", "--approve", digest), ("preview",), ("permissions", "plan")):
        call = (*command, upgraded) if command[0] == "permissions" else (command[0], upgraded, *command[1:])
        refused(kit(*call), "saved before the case was upgraded", "kit plan CASE")
    assert (upgraded / "plan.json").read_bytes() == saved
    done = kit("plan", upgraded, *ONLY)
    assert done.returncode == 0 and "kept as plan-1.json" in done.stderr
    assert ("the same digest" in done.stderr) == (f"`{digest}`" in done.stdout or digest in done.stdout)
    assert (upgraded / "plan-1.json").read_bytes() == saved
    assert kit("permissions", "plan", upgraded).returncode == 0
    assert "kept as" not in kit("plan", upgraded).stderr


def test_a_journal_of_an_older_kit_is_shown(upgraded: Path) -> None:
    said_of = kit_json("journal", upgraded)["actions"]
    assert {one["action"] for one in said_of} == {"snapshot_volumes", "isolate_pod", "unbind_identity"}
    assert {one["state"] for one in said_of} == {"done"} and len(said_of) == 8


def unknown_kind(case: Path) -> str:
    """Let the journal name a kind of change that no kit knows, with a chain that is whole; the action's id."""
    path, previous, found = case / "journal.jsonl", journals.FIRST, ""
    lines = []
    for text in path.read_text().splitlines():
        line = json.loads(text)
        if line["what"] == "begun" and line["members"]["action"].startswith("unbind_identity") and not found:
            found = line["members"]["action"]
            line["members"]["changes"][0]["kind"] = "OfAnotherKit"
        line["previous"] = previous
        previous = line["hash"] = journals._hash(line)
        lines.append(json.dumps(line, ensure_ascii=True, sort_keys=True) + "\n")
    path.write_text("".join(lines))
    return found


def made_then(case: Path) -> str:
    """The uid of the network policy that the older kit made; the emulator gave another one now."""
    lines = [json.loads(text) for text in (case / "journal.jsonl").read_text().splitlines()]
    done = (line["members"].get("after") for line in lines if line["members"].get("action", "").startswith("isolate"))
    return next(str(after["uid"]) for after in done if isinstance(after, dict) and "uid" in after)


def test_what_an_older_kit_did_is_undone_or_it_is_said_why_not(upgraded: Path, new: Path, tmp_path: Path) -> None:
    odd = unknown_kind(upgraded)
    with standing(STOLEN, tmp_path / "scene", case=new) as scene:
        before = scene.state()
        plan = scene.plan(*ONLY)
        assert {one["word"] for one in scene.apply(plan["digest"])} == {"done"}
        scene.case = upgraded
        key = next(key for key in scene.kubernetes.objects() if key.endswith("store/kit-quarantine"))
        policy = scene.kubernetes.objects()[key]
        scene.kubernetes.remove(key)
        scene.kubernetes.add(policy | {"metadata": policy["metadata"] | {"uid": made_then(upgraded)}})
        checked = {one["id"]: one["check"] for one in json.loads(scene.kit("check", "--json").stdout)["actions"]}
        assert checked[odd]["word"] == "holds"
        undone = {
            one["id"]: one for one in json.loads(scene.kit("undo", "--including-attackers", "--json").stdout)["actions"]
        }
        words = {id_: one["word"] for id_, one in undone.items()}
        assert words.pop(odd) == "cannot be undone" and "OfAnotherKit" in undone[odd]["says"]
        snapshots = {id_: word for id_, word in words.items() if id_.startswith("snapshot_volumes")}
        assert set(snapshots.values()) == {"cannot be undone"} and all(undone[id_]["says"] for id_ in snapshots)
        assert {word for id_, word in words.items() if id_ not in snapshots} == {"undone"}, [
            one for one in undone.values() if one["word"] == "not undone"
        ]
        cluster = scene.state()["cluster"]
        left = {name for name in before["cluster"] if cluster.get(name) != before["cluster"][name]}
        assert len(left) == 1 and set(cluster) == set(before["cluster"])
        assert {one["state"] for one in json.loads(said(scene.kit("journal", "--json")))["actions"]} == {
            "done",
            "undone",
        }
