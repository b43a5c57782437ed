"""A class: results that learners hand over, graded again, on one page; xAPI statements; what was changed shows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from kit.training.asking import asked_of
from kit.training.learner_folder import started_in
from kit.training.material import Material
from kit.training.reading import lab_named
from tests.command import Done, kit, kit_json, told

LAB, SEED = "read-a-sample", 5
IRI = {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"}
LANGUAGES = {
    "type": "object",
    "patternProperties": {r"^[a-z]{2,3}(-.+)?$": {"type": "string"}},
    "additionalProperties": False,
}
STATEMENT = {
    "type": "object",
    "required": ["actor", "verb", "object"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "actor": {
            "type": "object",
            "required": ["account"],
            "additionalProperties": False,
            "properties": {
                "objectType": {"const": "Agent"},
                "name": {"type": "string"},
                "account": {
                    "type": "object",
                    "required": ["homePage", "name"],
                    "additionalProperties": False,
                    "properties": {"homePage": IRI, "name": {"type": "string"}},
                },
            },
        },
        "verb": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {"id": IRI, "display": LANGUAGES},
        },
        "object": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "objectType": {"const": "Activity"},
                "id": IRI,
                "definition": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "name": LANGUAGES,
                        "description": LANGUAGES,
                        "type": IRI,
                        "moreInfo": IRI,
                        "extensions": {"type": "object"},
                    },
                },
            },
        },
        "result": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "score": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "scaled": {"type": "number", "minimum": -1, "maximum": 1},
                        **{name: {"type": "number"} for name in ("raw", "min", "max")},
                    },
                },
                "success": {"type": "boolean"},
                "completion": {"type": "boolean"},
                "response": {"type": "string"},
                "duration": {"type": "string", "pattern": r"^P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$"},
                "extensions": {
                    "type": "object",
                    "patternProperties": {IRI["pattern"]: {}},
                    "additionalProperties": False,
                },
            },
        },
        "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
        "version": {"type": "string", "pattern": r"^1\.0\.\d+$"},
    },
}
"""What a statement of ours may have. Source: xAPI 1.0.3, Part Two, 2.4 and its appendices, for an agent with an account and an activity."""


def refused(done: Done, *words: str) -> None:
    assert done.returncode == 2 and "Traceback" not in done.stderr and told(done)[-1].startswith("kit: "), done
    assert [word for word in words if word not in done.stderr] == [], done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's folder with the right answers beside it, and one wrong answer in `wrong.toml`."""
    place = tmp_path_factory.mktemp("class")
    assert (
        kit("train", "start", LAB, place / "lab", "--seed", str(SEED), "--progress", place / "p.json").returncode == 0
    )
    asked = asked_of(Material(lab_named(LAB), SEED))
    for name in ("right", "wrong"):
        lines = [f'lab = "{LAB}"', f"seed = {SEED}", "[answers]"]
        for one in asked:
            answer = one.right_answer if name == "right" or one.name != "real_or_not" else ["c"]
            pairs = ", ".join(f'{key} = "{value}"' for key, value in answer.items()) if isinstance(answer, dict) else ""
            lines.append(f"{one.name} = {{ {pairs} }}" if pairs else f"{one.name} = {json.dumps(answer)}")
        (place / f"{name}.toml").write_text("\n".join(lines))
    assert started_in(place / "lab").seed == SEED
    return place


def results(work: Path, folder: Path, name: str, answers: str, *more: str | Path) -> Path:
    """The results of a learner who gave these answers."""
    folder.mkdir(exist_ok=True)
    progress = folder.parent / f"{len(list(folder.iterdir()))}.progress"
    kit_json("train", "grade", work / "lab", "--answers", work / f"{answers}.toml", "--progress", progress)
    kit_json("train", "results", folder / f"{name[:5]}.json", "--name", name, "--progress", progress, *more)
    return folder / f"{name[:5]}.json"


def test_a_class_is_one_page_and_a_csv_with_who_may_take_a_shift(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "handed"
    results(work, folder, "Amira", "right")
    results(work, folder, "=Björn <b>", "wrong")
    rule = tmp_path / "rule.toml"
    rule.write_text(
        f'last_labs_without_harm = 1\nmark = 80\nlevel = 1\nfamilies = ["cryptomining"]\ndone = ["{LAB}"]\n'
    )
    made = kit_json("train", "class", folder, "--rule", rule)
    by_name = {one["name"]: one for one in made["learners"]}
    assert by_name["Amira"]["may_take_a_shift"] and by_name["Amira"]["stale"] == []
    wrong = kit_json("train", "class", folder)["learners"]
    assert all(
        "whole-incident is not done" in one["lacks"] and "fewer than 3 labs done" in one["lacks"] for one in wrong
    )
    page = (folder / "class.html").read_text()
    assert "=Björn &lt;b&gt;" in page and "<b>" not in page and "src=" not in page and "http" not in page
    # The wrong answer stands with its question, in its words.
    assert "The attacker did it, or it happened where the attacker was. Work on it now. (1)" in page
    rows = list(csv.DictReader((folder / "class.csv").open()))
    assert {row["learner"]: int(row["mark"]) for row in rows} == {"Amira": 100, "'=Björn <b>": 86}
    assert {row["kit"] for row in rows} and all(len(row["lab_digest"]) == 64 for row in rows)


def test_a_changed_result_and_an_invented_mark_are_left_out_and_named(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "handed"
    results(work, folder, "Amira", "right")
    path = results(work, folder, "Björn", "wrong")
    read = json.loads(path.read_text())
    changed: list[tuple[Any, str]] = [
        (read | {"learner": "Amira"}, "were changed after they were written"),
        (read | {"entries": [read["entries"][0] | {"mark": 100}]}, "entries[0]"),
        (read | {"format": 2}, "have format 2, this kit reads 1"),
        ([], "have format None"),
    ]
    for told_now, says in changed:
        path.write_text(json.dumps(told_now))
        refused(kit("train", "class", folder), says, "The page has all others")
        assert "Amira" in (folder / "class.html").read_text() and says in (folder / "class.html").read_text().replace(
            "&#39;", "'"
        )
    # A chain made anew, with another mark than its answer comes to.
    from kit.training.progress import add_entry
    from kit.training.results import write_results

    forged = {name: value for name, value in read["entries"][0].items() if name != "digest"}
    forged["marks"] = dict.fromkeys(forged["marks"], 100)
    write_results(path, "Björn", add_entry(tmp_path / "forged", forged))
    refused(
        kit("train", "class", folder),
        "the mark 100 of real_or_not",
        "does not follow from its answer, which comes to 0",
    )


def test_results_are_signed_with_a_key(work: Path, tmp_path: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_bytes(b"k" * 32)
    other.write_bytes(b"o" * 32)
    results(work, tmp_path / "handed", "Amira", "right", "--key", key)
    assert kit_json("train", "class", tmp_path / "handed", "--key", key)["learners"]
    refused(kit("train", "class", tmp_path / "handed", "--key", other), "are not signed with this key")
    other.write_bytes(b"short")
    refused(kit("train", "class", tmp_path / "handed", "--key", other), "fewer than 16 bytes")
    refused(kit("train", "class", tmp_path / "handed", "--key", tmp_path / "none"), "the key cannot be read")


def test_marks_are_xapi_statements(work: Path, tmp_path: Path) -> None:
    progress = tmp_path / "p"
    for answers in ("right", "wrong"):
        kit_json("train", "grade", work / "lab", "--answers", work / f"{answers}.toml", "--progress", progress)
    given = ("train", "results", tmp_path / "x.json", "--name", "Amira", "--progress", progress, "--xapi")
    assert kit_json(*given)["statements"] == 2
    made = json.loads((tmp_path / "x.json").read_text())
    for one in made:
        jsonschema.validate(one, STATEMENT)
    assert [one["result"]["score"]["raw"] for one in made] == [100, 86]
    assert (
        len({one["id"] for one in made}) == 2
        and kit_json(*given)
        and json.loads((tmp_path / "x.json").read_text()) == made
    )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made[0] | {"marks": 1}, STATEMENT)


def test_a_pass_is_stale_once_a_playbook_changed(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(work, tmp_path / "handed", "Amira", "right")
    assert kit_json("train", "class", tmp_path / "handed")["learners"][0]["stale"] == []
    monkeypatch.setattr("kit.training.class_report.guidance_of", lambda lab: "of a later playbook")
    assert kit_json("train", "class", tmp_path / "handed")["learners"][0]["stale"] == [LAB]


def test_rules_names_and_folders_that_cannot_be(work: Path, tmp_path: Path) -> None:
    refused(kit("train", "class", tmp_path), "no results are here", "kit train results")
    results(work, tmp_path / "handed", "Amira", "right")
    rule = tmp_path / "rule.toml"
    rule.write_text(
        'last_labs_without_harm = "3"\nmark = 80\nlevel = 2\nfamilies = ["cryptomine"]\ndone = ["whole"]\nmarks = 1\n'
    )
    refused(
        kit("train", "class", tmp_path / "handed", "--rule", rule),
        "last_labs_without_harm is missing or no int",
        "families[0]: 'cryptomine' is not known; did you mean cryptomining",
        "done[0]: 'whole' is not known",
        "marks is not known; did you mean mark",
    )
    refused(
        kit("train", "results", tmp_path / "r.json", "--name", " ", "--progress", work / "p.json"), "the name is empty"
    )
    refused(
        kit("train", "results", tmp_path / "r.json", "--name", "A", "--progress", tmp_path / "none"),
        "nothing was graded yet",
    )
    (tmp_path / "file").write_text("")
    progress = tmp_path / "0.progress"
    refused(
        kit("train", "results", tmp_path / "file" / "r.json", "--name", "A", "--progress", progress),
        "cannot be written",
    )
