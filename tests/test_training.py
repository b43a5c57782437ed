"""Training: labs, their marks against the truth of their cases, the variation of a case, and what a learner's folder holds."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kit.case.opening import open_case as kit_case
from kit.errors import CallError, TrainingError
from kit.playbooks.playbook import finding_types, playbooks_by_family
from kit.training import learner_folder, workbook
from kit.training.about_findings import Filtered
from kit.training.asking import ASKED_IN_LABS, asked_of
from kit.training.kinds import HARM_COSTS, NOTHING_TOLD, FiveSentences, LabQuestion, Matched, Ordered, Picked
from kit.training.lab import SAMPLE_CASE, Lab, recordings
from kit.training.locking import OPEN_FROM_LEVEL
from kit.training.material import Material
from kit.training.pickers import picker_of
from kit.training.reading import LABS, lab_named, labs
from kit.training.variation import AS_RECORDED, TRUTH, Recording
from tests import cases
from tests.command import Done, kit, kit_json, told
from tests.docs import OF_TYPES, pages
from tests.truth import score

LAB, LIGHT, SEED = "work-stolen-token", "read-secrets-accessed", 7
EVERY = labs()
CASES = {name: next(lab.case.folder for lab in EVERY.values() if lab.case.recording == name) for name in recordings()}


@pytest.fixture(autouse=True)
def own_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@cache
def recording(name: str, seed: int, decoys: str = "") -> Recording:
    return Recording(CASES[name], seed, CASES[decoys] if decoys else None)


@cache
def questions(lab: str, seed: int) -> tuple[LabQuestion, ...]:
    one = EVERY[lab]
    return tuple(asked_of(Material(one, seed, recording(one.case.recording, seed, one.case.decoys))))


def question(lab: str, name: str, seed: int = SEED) -> LabQuestion:
    one = EVERY[lab]
    return ASKED_IN_LABS[name](Material(one, seed, recording(one.case.recording, seed, one.case.decoys)))


def mean(lab: str, seed: int, answer: Any) -> float:
    asked = questions(lab, seed)
    whole = sum(one.weight for one in asked)
    return 100 * max(0.0, sum(one.grade(answer(one)).share * one.weight for one in asked) / whole)


# ── the curriculum ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_family_has_labs_of_level_one_and_two_and_there_is_a_whole_incident() -> None:
    families = set(playbooks_by_family()) - {"generic"}
    for level in (1, 2):
        assert (
            families - {family for lab in EVERY.values() if lab.level == level for family in lab.families}
            == ONLY_READ[level]
        )
    assert [lab.case.folder for lab in EVERY.values() if lab.level == 3] == [SAMPLE_CASE]


ONLY_READ: dict[int, set[str]] = {1: set(), 2: set()}


def test_every_finding_type_stands_in_a_question() -> None:
    asked = set[str]()
    for name, lab in EVERY.items():
        if "types_and_what_they_say" in lab.questions and lab.case.folder != SAMPLE_CASE:
            one = question(name, "types_and_what_they_say", AS_RECORDED)
            assert isinstance(one, Matched)
            asked |= set(one.items.values())
    of_sample = {family for lab in EVERY.values() if lab.case.folder == SAMPLE_CASE for family in lab.families}
    asked |= {name for family in of_sample for name in playbooks_by_family()[family].finding_types}
    assert set(finding_types()) - asked == set()


def test_the_curriculum_has_each_family_and_each_type_with_its_questions() -> None:
    page = pages()["training.md"]()
    families, types = (
        page.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Families", "Finding types")
    )
    for family in set(playbooks_by_family()) - {"generic"}:
        assert re.search(rf"^\| \[{family}\].*\| `", families, re.MULTILINE), family
    for name in finding_types():
        row = next(line for line in types.split("\n") if line.startswith(f"| `{name}` |"))
        assert set(re.findall(r"`(\w+)`", row.rpartition(" | ")[2])) == OF_TYPES, row
    week = page.partition("## First week\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z-]+)`", week)) == set(EVERY)


def test_every_question_is_asked_and_two_of_a_familys_lab_are_wrong_in_every_other() -> None:
    assert {name for lab in EVERY.values() for name in lab.questions} == set(ASKED_IN_LABS)
    for texts in (
        [one.saw for one in playbooks_by_family().values()],
        [one.commonly for one in playbooks_by_family().values()],
    ):
        assert len(set(texts)) == len(texts)
    for lab in (one for one in EVERY.values() if one.level == 1 and not one.case.sample):
        assert {"what_guardduty_saw", "commonest_false_alarm", "what_decides", "types_and_what_they_say"} <= set(
            lab.questions
        )


def test_no_lab_holds_an_answer_and_the_cases_are_small() -> None:
    assert {path.name for path in LABS.rglob("*") if path.is_file()} == {"lab.toml"}
    known = {key for case in CASES.values() for key in _names(json.loads((case / TRUTH).read_text()))}
    for path in LABS.rglob("lab.toml"):
        assert not [name for name in known if name in path.read_text()], path
    folders = list(CASES.values())
    assert sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) < 20 << 20
    used = [lab.case.recording for lab in EVERY.values()]
    assert all(used.count(name) > 1 for name in CASES)


def _names(truth: dict[str, Any]) -> set[str]:
    pods = {str(pod[name]) for pod in truth["all_pods"] for name in ("uid", "name")}
    return {
        truth["cluster"],
        truth["account"],
        *truth["attacker"]["source_ips"],
        *truth["attacker_calls"],
        *truth["findings"],
        *pods,
    }


# ── marks ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 11))]


BY_RECORDING = [name for case in CASES for name in EVERY if EVERY[name].case.recording == case]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lab", BY_RECORDING)
def test_the_right_answers_score_all_and_sweeping_ones_little(lab: str, seed: int) -> None:
    assert mean(lab, seed, lambda one: one.right_answer) == pytest.approx(100)
    assert mean(lab, seed, lambda one: one.everything) < 40
    assert mean(lab, seed, lambda one: one.nothing) < 40
    for one in questions(lab, seed):
        assert len(one.hints) > 0 and one.proof and one.goal and one.form, one.name
        for wrong in _nearly(one):
            assert 0 < one.grade(wrong).share < 1 or (isinstance(one, Picked) and len(one.right) == 1), (
                one.name,
                wrong,
            )


def _nearly(one: LabQuestion) -> list[Any]:
    """Answers that are right but for one thing."""
    if isinstance(one, Picked) and len(one.right) > 2:
        others = sorted(one.among - one.right - one.spare - one.harmful)
        return [one.right_answer[1:], *([[*one.right_answer, others[0]]] if len(others) > 2 else [])]
    if isinstance(one, Matched):
        seldom = min(one.right, key=lambda key: -list(one.right.values()).count(one.right[key]))
        return [{key: option for key, option in one.right.items() if key != seldom}]
    if isinstance(one, Ordered) and len(one.place) > 3:
        first, second, *rest = one.right_answer
        return [[second, first, *rest]]
    if isinstance(one, FiveSentences):
        return [" ".join(one.right_answer.split()[1:]), f"{one.right_answer} {min(one.others)}"]
    return []


def test_a_filter_is_judged_by_what_it_archives() -> None:
    one = question("work-deleted-workloads", "write_the_suppression_filter")
    assert isinstance(one, Filtered) and len(one.attack) > 1
    right, user = one.right_answer, "resource.kubernetesDetails.kubernetesUserDetails.username"
    address = "service.action.kubernetesApiCallAction.remoteIpDetails.ipAddressV4"
    assert one.grade({name: right[name] for name in ("type", user, address)}).share == 1
    by_type = one.grade({"type": right["type"][0]})
    assert by_type.share < 0 and by_type.harm and set(by_type.harm) < set(one.attack)
    by_caller = one.grade({name: right[name] for name in ("type", user)})
    assert 0 < by_caller.share < 1 and not by_caller.harm
    assert one.grade({user: "nobody"}).missed == (one.expected.id,)
    unreadable: list[Any] = [[], {}, {"typ": "x"}, {"type": 5}]
    for odd in unreadable:
        assert one.grade(odd).unread and one.grade(odd).share == 0


def test_an_expected_finding_lies_among_the_others(tmp_path: Path) -> None:
    made = Material(EVERY["work-deleted-workloads"], SEED, recording("oidc_user_impact", SEED))
    made.write(tmp_path)
    listed = {one["Id"] for one in json.loads((tmp_path / "findings.json").read_text())["Findings"]}
    assert listed - {one["Id"] for one in made.findings} == {made.expected["Id"]}


def test_a_lab_that_is_done_says_in_the_notebook_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        workbook,
        "start_lab",
        lambda lab, folder, seed: learner_folder.Started(lab.name, seed, "", "", "", "2026-01-01T00:00:00Z"),
    )
    _, lab, seed, button, says, work = workbook.labs_to_do(str(tmp_path / "progress.json")).children
    lab.value, seed.value = "do-contain", "7"
    button.click()
    (shown,) = work.children
    assert "kit train emulate" in shown.value and "labs/do-contain-7 -- jupyter lab" in shown.value and says.value == ""


def test_what_does_harm_says_what_it_would_stop() -> None:
    one = question("work-exposed-dashboard", "what_to_act_on", AS_RECORDED)
    assert isinstance(one, Picked)
    node = next(letter for letter in one.harmful if one.choices[letter].startswith("Terminate node"))
    dump = json.loads((CASES["exposed_dashboard"] / "cluster" / "pods.json").read_text())["items"]
    on = [pod for pod in dump if f"{pod['spec'].get('nodeName')}." == one.choices[node].rpartition(" ")[2]]
    assert f"{len(on)} pods of your own would end, and no pod serves" in one.proof[node] and len(on) > 5
    pods = [letter for letter in one.harmful if one.choices[letter].startswith("Delete pod")]
    assert pods and all("1 pod of your own would end" in one.proof[letter] for letter in pods)  # none that is gone
    assert not any("would end" in one.proof[letter] for letter in one.right)


def test_names_are_picked_from_the_cases_own_rows() -> None:
    case, lab = cases.shared(CASES["stolen_sa_token"]), EVERY[LAB]
    material = Material(lab, AS_RECORDED, recording("stolen_sa_token", AS_RECORDED))
    one = ASKED_IN_LABS["affected_pods"](material)
    table, answer = picker_of(one, one.right_answer, case)
    assert answer() == one.right_answer
    narrow, says, shown = table.children
    rows = [row.children[1].value for row in shown.children]
    assert len(rows) > 50 and all(any(f"<b>{name}</b>" in row for row in rows) for name in one.right_answer)
    assert any("gone" in row and "calls, 2026-" in row for row in rows) and any("; node ip-" in row for row in rows)
    narrow.value = "NODE IP-"
    assert 0 < len(shown.children) < len(rows) and f"of {len(rows)}" in says.value
    assert answer() == one.right_answer  # what is chosen stays
    calls = ASKED_IN_LABS["attackers_calls"](material)
    timeline, chosen = picker_of(calls, ["b"], case)
    timeline.children[0].children[0].value = True
    assert chosen() == ["a", "b"] and "UTC" in timeline.children[0].children[1].value


def test_a_guess_at_what_cannot_be_told_costs_more_than_no_answer() -> None:
    one = question("work-without-audit-log", "observed_or_not")
    assert isinstance(one, Matched) and list(one.right.values()).count(NOTHING_TOLD) == len(one.right) - 1
    assert one.grade(dict.fromkeys(one.items, "observed")).share < 0 == one.grade({}).share
    assert len(one.grade(dict.fromkeys(one.items, "observed")).harm) == len(one.right) - 1


def test_a_sample_and_an_act_of_ones_own_people_are_told_from_an_attack() -> None:
    behind = {
        lab: question(lab, "real_or_not").right_answer
        for lab in EVERY
        if EVERY[lab].case.folder != SAMPLE_CASE
        if "real_or_not" in EVERY[lab].questions
    }
    assert [lab for lab, letter in behind.items() if letter == ["a"]] == ["read-a-sample"]
    # In this recording an administrator bound anonymous callers by mistake (the truth: the call is not the attacker's).
    assert {lab for lab, letter in behind.items() if letter == ["b"]} >= {"read-anonymous-access-granted"}
    assert behind["read-secrets-accessed"] == ["c"]


def test_an_innocent_node_and_another_persons_access_count_as_harm() -> None:
    one = question(LAB, "what_to_act_on")
    assert isinstance(one, Picked)
    innocent = [letter for letter, text in one.choices.items() if letter not in one.right]
    words = {text.split()[0] for letter, text in one.choices.items() if letter in innocent}
    assert {"Take", "Delete"} <= words <= {"Terminate", "Take", "Delete"}
    made = one.grade([*one.right_answer, innocent[0]])
    assert made.harm == (innocent[0],) and made.share < 1 - HARM_COSTS
    assert one.grade(one.everything).share < 0


def test_a_statement_is_shown_only_by_an_event_that_has_all_of_it() -> None:
    for name in ("work-stolen-token", "work-anonymous-access", "work-exposed-dashboard"):
        one = question(name, "statements_the_evidence_shows")
        assert isinstance(one, Picked) and 1 < len(one.right) < len(one.among)
        events = {event["auditID"]: event for event in _events(EVERY[name].case.recording)}
        for letter, text in one.choices.items():
            audit_id, verb, uri, said = re.match(r"audit:(\S+) shows that (\w+) (\S+) (.+)\.$", text).groups()  # type: ignore[union-attr]
            event = events[audit_id]
            code = event["responseStatus"]["code"]
            became = "was refused" if code in (401, 403) else "failed" if code >= 400 else "was let through"
            holds = (event["verb"], event["requestURI"], became) == (verb, uri, said)
            assert holds == (letter in one.right), text


def test_what_the_log_holds_is_what_its_events_hold() -> None:
    one = question(LAB, "what_the_log_holds")
    assert isinstance(one, Matched) and set(one.right.values()) == set(one.options)
    events = {event["auditID"]: event for event in _events("stolen_sa_token")}
    for number, says in one.proof.items():
        event = events[says.removeprefix("audit:").split()[0]]
        held = "a" if "responseObject" in event else "b" if "requestObject" in event else "c"
        assert one.right[number] == held and event["requestURI"] in one.items[number]


def _events(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording(name, SEED).text("audit.jsonl.gz").split("\n") if line]


def test_a_pod_may_be_named_by_its_uid_and_one_that_the_attacker_touched_costs_nothing() -> None:
    one = question(LAB, "affected_pods")
    assert isinstance(one, Picked)
    by_uid = [uid for uid, name in one.other_names.items() if name in one.right]
    assert one.grade(by_uid).share == 1
    assert one.grade([*by_uid, *one.spare]).share == 1
    assert one.grade([*by_uid, "no/such-pod"]).share < 1
    assert "is no list" in one.grade(5).unread


# ── variation ───────────────────────────────────────────────────────────────────────────────────────────────────────

VARIED = [
    pytest.param(
        name, seed, marks=[] if seed == 1 and name in ("stolen_sa_token", "cluster_creator") else pytest.mark.full
    )
    for name in CASES
    for seed in range(1, 11)
]


@pytest.mark.parametrize(("name", "seed"), VARIED)
def test_the_scope_of_a_varied_case_is_the_varied_truth(name: str, seed: int, tmp_path: Path) -> None:
    recording(name, seed).write(tmp_path / "case")
    made = score(tmp_path / "case")
    assert made.offenders == [] and made.baseless == [] and made.affected > 0


DECOYS = [name for name, lab in EVERY.items() if lab.case.decoys]


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(name, seed, marks=[] if (name, seed) == (DECOYS[0], 1) else pytest.mark.full)
        for name in DECOYS
        for seed in range(1, 11)
    ],
)
def test_decoys_leave_the_truth_as_it_is(name: str, seed: int, tmp_path: Path) -> None:
    about = EVERY[name].case
    with_them, without = recording(about.recording, seed, about.decoys), recording(about.recording, seed)
    listed, bare = (
        {json.loads(line)["auditID"] for line in one.text("audit.jsonl.gz").split("\n") if line}
        for one in (with_them, without)
    )
    assert len(listed - bare) > 10 and len(bare - listed) > 10
    with_them.write(tmp_path / "case")
    made = score(tmp_path / "case")
    assert made.offenders == [] and made.baseless == [] and made.affected > 0


@pytest.mark.parametrize("name", ["stolen_sa_token", "cluster_creator", "exposed_dashboard"])
def test_nothing_of_the_recording_is_left_in_a_varied_case(name: str) -> None:
    varied, truth = recording(name, 1), json.loads((CASES[name] / TRUTH).read_text())
    whole = "\n".join([*varied.names, *(varied.text(one) for one in varied.names)])
    gone = {
        truth["account"],
        truth["cluster_arn"],
        truth["window"]["start"][:16],
        *truth["attacker_calls"],
        *truth["findings"],
    }
    gone |= {str(one.get("access_key_id") or one["username"]) for one in truth["attacker"]["identities"]} - {
        "system:anonymous"
    }
    gone |= {pod["uid"] for pod in truth["all_pods"]} | {
        pod["node"].partition(".")[0] for pod in truth["attacker_touched_pods"]
    }
    gone |= {pod["name"] for pod in truth["all_pods"] if re.fullmatch(r".+-[a-z0-9]{5}", pod["name"])}
    assert len(gone) > 100
    assert sorted(one for one in gone if one in whole) == []
    assert sum(map(len, map(varied.text, varied.names))) > 10**6


def test_the_seed_makes_the_case_and_none_changes_nothing() -> None:
    given = gzip.decompress((CASES["stolen_sa_token"] / "audit.jsonl.gz").read_bytes()).decode()
    assert Recording(CASES["stolen_sa_token"], AS_RECORDED).text("audit.jsonl.gz") == given
    first, second = (Recording(CASES["stolen_sa_token"], seed).truth for seed in (3, 4))
    assert first == Recording(CASES["stolen_sa_token"], 3).truth != second
    assert first["attacker"]["identities"][0]["credential_id"] in Recording(CASES["stolen_sa_token"], 3).text(
        "audit.jsonl.gz"
    )


# ── a learner's folder ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _start(LAB, tmp_path_factory.mktemp("learner"))


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _start(LIGHT, tmp_path_factory.mktemp("learner"))


def _start(lab: str, place: Path) -> Path:
    done = kit("train", "start", lab, place / "lab", "--seed", str(SEED), "--progress", place / "progress.json")
    assert done.returncode == 0 and "kit train grade" in done.stdout, done.stderr
    return place / "lab"


def write(folder: Path, answers: dict[str, Any], lab: str = LAB, seed: int = SEED) -> Path:
    """An answer file as a learner would write it."""
    lines = [f'lab = "{lab}"', f"seed = {seed}", "[answers]"]
    for name, answer in answers.items():
        table = (
            ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in answer.items())
            if isinstance(answer, dict)
            else ""
        )
        lines.append(f"{name} = {{ {table} }}" if table else f"{name} = {json.dumps(answer)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my-answers.toml").write_text("\n".join(lines))
    return folder / "my-answers.toml"


def test_the_folder_holds_no_answer(started: Path) -> None:
    assert sorted(path.name for path in started.iterdir()) == ["answers.toml", "case", "lab.md", "started.json"]
    page = "\n".join(path.read_text() for path in started.iterdir() if path.is_file())
    truth = recording("stolen_sa_token", SEED).truth
    assert not [pod["uid"] for pod in truth["all_pods"] if pod["uid"] in page]
    # Statements name events: no more of the attacker's calls than of others.
    named = set(re.findall(r"audit:(\S+) shows", page))
    assert 0 < len(named & set(truth["attacker_calls"])) <= len(named) / 2
    assert not [name for name in truth["attacker_calls"] if name in page and name not in named]
    # Calls are printed as they are logged, with the names that stand in them: some of each kind, never those that are right alone.
    pods = question(LAB, "affected_pods")
    assert isinstance(pods, Picked) and not pods.right <= {key for key in pods.among if key in page}
    secrets = question(LAB, "secrets_the_caller_read")
    assert isinstance(secrets, Picked) and not any(key in page for key in secrets.right)
    for path in (one for one in started.rglob("*") if one.is_file()):
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        assert not [word for word in (b"ground_truth", b"attacker_calls", b"attacker_touched_pods") if word in text], (
            path
        )
    read = tomllib.loads((started / "answers.toml").read_text())
    assert read == {"lab": LAB, "seed": SEED, "answers": {}}


def test_a_case_of_a_lab_is_a_case_like_any_other(started: Path) -> None:
    found = {one["id"]: one for one in kit_json("findings", started / "case")["findings"]}
    asked_about = re.findall(r"finding `(\w+)`", (started / "lab.md").read_text())
    assert found[asked_about[0]]["type"] == EVERY[LAB].case.finding


def test_marks_come_from_the_answers_and_the_second_try_shows_the_evidence(started: Path, tmp_path: Path) -> None:
    right = {one.name: one.right_answer for one in questions(LAB, SEED)}
    assert kit_json("train", "grade", started)["mark"] == 0
    whole = kit_json("train", "grade", started, "--answers", write(tmp_path / "a", right), "--progress", tmp_path / "p")
    assert (whole["mark"], whole["try"], whole["harm"]) == (100, 1, 0)
    nearly = write(tmp_path / "b", right | {"attackers_calls": right["attackers_calls"][1:]})
    first = kit_json("train", "grade", started, "--answers", nearly, "--progress", tmp_path / "q")
    second = kit_json("train", "grade", started, "--answers", nearly, "--progress", tmp_path / "q")
    assert 80 < first["mark"] == second["mark"] < 100 and second["try"] == 2
    shown = [{one["name"]: one["shown"] for one in made["questions"]}["attackers_calls"] for made in (first, second)]
    assert shown[0] == {} and list(shown[1]) == right["attackers_calls"][:1]
    ref = next(iter(shown[1].values()))
    assert ref.removeprefix("audit:") in recording("stolen_sa_token", SEED).truth["attacker_calls"]
    listed = {one["name"]: one for one in kit_json("train", "list", "--progress", tmp_path / "q")["labs"]}
    assert (listed[LAB]["tries"], listed[LAB]["best_mark"]) == (2, first["mark"])
    assert listed["whole-incident"]["best_mark"] is None


def test_what_a_question_asks_is_locked_in_its_case_until_it_is_graded(tmp_path: Path) -> None:
    work = _start(LAB, tmp_path / "w")
    case, kept = work / "case", ("--progress", tmp_path / "w" / "progress.json")
    closed = {
        "scope": "affected_pods",
        "answers": "observed_or_not",
        "plan": "actions_in_order",
        "brief": "affected_pods",
    }
    for command in (*closed, "report"):
        refused(kit(command, case), "is locked until these questions are answered and graded", "kit train grade")
    opened = kit_case(case)
    for ask in (
        lambda: opened.subjects,
        lambda: opened.calls,
        lambda: opened.answer("secrets_read"),
        lambda: opened.plan(),
        opened.brief,
    ):
        with pytest.raises(CallError, match="is locked"):
            ask()
    # The raw rows and SQL are what a learner works with.
    assert len(opened.sql("SELECT * FROM audit LIMIT 5")) == 5 and kit_json("findings", case)["findings"]
    right = {one.name: one.right_answer for one in questions(LAB, SEED)}
    some = {name: right[name] for name in ("actions_in_order", "actions_that_lose_evidence", "what_to_act_on")}
    kit_json("train", "grade", work, "--answers", write(tmp_path / "a", some), *kept)
    refused(kit("plan", case), "the scope of a lab's case is locked")
    refused(kit("scope", case), "affected_pods")
    kit_json("train", "grade", work, "--answers", write(tmp_path / "b", right), *kept)
    assert (
        kit_json("scope", case)["findings"]
        and kit_json("answers", case)["answers"]
        and kit_json("plan", case)["actions"]
    )
    (case / "locked.json").write_text("[]")
    refused(kit("scope", case), "the locks of this lab cannot be read")


def test_a_whole_incident_is_worked_with_all_of_the_kit() -> None:
    assert [name for name, lab in EVERY.items() if lab.level >= OPEN_FROM_LEVEL] == ["whole-incident"]


def test_a_hint_costs_a_tenth_of_its_question_and_ends(light: Path, tmp_path: Path) -> None:
    one = question(LIGHT, "affected_pods")
    asked = ("train", "hint", light, "affected_pods")
    hints = [kit_json(*asked) for _ in one.hints]
    assert [told["left"] for told in hints] == [1, 0] and hints[0]["hint"] != hints[1]["hint"]
    refused(kit(*asked), "there is no further hint")
    made = kit_json("train", "grade", light, "--answers", write(tmp_path, {one.name: one.right_answer}, LIGHT))
    assert {told["name"]: told["mark"] for told in made["questions"]}["affected_pods"] == 80
    refused(kit("train", "hint", light, "affected_pod"), "Did you mean affected_pods")


def test_a_type_that_no_recording_has_and_evidence_that_is_taken_away(tmp_path: Path) -> None:
    for name in ("read-tor-from-pod", "work-without-audit-log"):
        lab = lab_named(name)
        Material(lab, SEED, recording(lab.case.recording, SEED, lab.case.decoys)).write(tmp_path / name)
    types = {
        one["Type"]
        for path in (tmp_path / "read-tor-from-pod").glob("findings*")
        for one in json.loads(path.read_text())["Findings"]
    }
    assert "UnauthorizedAccess:Runtime/TorClient" in types and "Execution:Runtime/ReverseShell" not in types
    assert not (tmp_path / "work-without-audit-log" / "audit.jsonl.gz").exists()
    assert (tmp_path / "work-without-audit-log" / "cloudtrail.json.gz").exists()


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


def refused(done: Done, *words: str) -> None:
    assert done.returncode == 2 and done.stdout == "" and len(told(done)) == 1 and "Traceback" not in done.stderr, done
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_an_unknown_lab_and_a_folder_in_the_way(light: Path, tmp_path: Path) -> None:
    refused(
        kit("train", "start", "read-secret-accessed", tmp_path / "new"),
        "is not a lab",
        "Did you mean read-secrets-accessed",
    )
    refused(kit("train", "start", LIGHT, light), "exists already", "Choose another name")
    (tmp_path / "file").write_text("")
    refused(kit("train", "start", LIGHT, tmp_path / "file" / "below", "--seed", "0"), "cannot be written")
    refused(kit("train", "grade", tmp_path), "no lab was started here", "kit train start")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_answers_that_cannot_be_graded(light: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "seed", {"affected_pod": [], "what_decide": []}, LIGHT, SEED + 1)
    graded = ("train", "grade", light, "--answers")
    refused(
        kit(*graded, other),
        f"seed is {SEED + 1}, and the folder was started with {SEED}",
        "answers.what_decide",
        "did you mean affected_pods",
    )
    (tmp_path / "odd.toml").write_text("answers = [")
    refused(kit(*graded, tmp_path / "odd.toml"), "is no TOML")
    refused(kit(*graded, tmp_path / "none.toml"), "cannot be read")
    assert not (tmp_path / "data").exists()
    unread = kit_json(*graded, write(tmp_path / "kind", {"affected_pods": 5, "types_and_what_they_say": ["a"]}, LIGHT))
    told = {one["name"]: one["unread"] for one in unread["questions"] if one["unread"]}
    assert told.keys() == {"affected_pods", "types_and_what_they_say"} and unread["mark"] == 0


def test_a_changed_and_a_newer_progress_and_a_disk_that_refuses(light: Path, tmp_path: Path) -> None:
    kept = tmp_path / "progress.json"
    graded = ("train", "grade", light, "--progress", kept)
    kit_json(*graded)
    read = json.loads(kept.read_text())
    changed = {**read, "entries": [read["entries"][0] | {"mark": 100}]}
    kept.write_text(json.dumps(changed))
    for command in (
        graded,
        ("train", "list", "--progress", kept),
        ("train", "start", LIGHT, tmp_path / "new", "--progress", kept),
    ):
        refused(kit(*command), "was changed after it was written", "entries[0]")
    assert json.loads(kept.read_text()) == changed and not (tmp_path / "new").exists()
    kept.write_text(json.dumps(read | {"format": 2}))
    refused(kit(*graded), "has format 2, this kit reads 1")
    for broken in ("{", "[" * 100_000):
        kept.write_text(broken)
        refused(kit(*graded), "cannot be read")
    (tmp_path / "file").write_text("")
    refused(kit("train", "grade", light, "--progress", tmp_path / "file" / "progress.json"), "cannot be")


def test_a_lab_that_changed_since_it_was_started_is_not_graded(light: Path, tmp_path: Path) -> None:
    about = json.loads((light / "started.json").read_text())
    (tmp_path / "started.json").write_text(json.dumps(about | {"page_digest": "0"}))
    refused(kit("train", "grade", tmp_path), "have changed since the lab was started", "Start it anew")


def test_all_that_is_wrong_with_labs_is_said_at_once(tmp_path: Path) -> None:
    text = (LABS / LAB / "lab.toml").read_text()
    faulty = {
        "odd-names": text.replace('"affected_pods"', '"affected_pod"').replace(
            'recording = "stolen_sa_token"', 'recording = "stolen_token"'
        ),
        "odd-members": text.replace("minutes = 30", 'minutes = "30"').replace("story =", "storry ="),
        "odd-family": text.replace('"secrets-accessed",\n', "").replace("level = 2", "level = 4"),
        "odd-before": text,
        "broken": "title = ",
    }
    for name, changed in faulty.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "lab.toml").write_text(changed)
    (tmp_path / "odd-before" / "answers.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError) as raised:
        labs(tmp_path)
    said = str(raised.value)
    for words in (
        "odd-names/lab.toml: questions[0]: 'affected_pod' is not known; did you mean affected_pods",
        "case.recording: 'stolen_token' is not known; did you mean stolen_sa_token",
        "odd-members/lab.toml: minutes is missing or no int",
        "storry is not a member of a lab; did you mean story",
        "odd-family/lab.toml: level: 4 is none of 1, 2, 3",
        "is of secrets-accessed, which is not among them",
        "odd-before/answers.txt: a lab is one lab.toml and nothing else",
        "broken/lab.toml: is no TOML",
        "empty/lab.toml: cannot be read",
    ):
        assert words in said, (words, said)


def test_a_lab_says_what_it_is_for() -> None:
    for lab in EVERY.values():
        assert isinstance(lab, Lab) and lab.goals and lab.story.endswith((".", "?")) and lab.minutes in (10, 30, 90)
