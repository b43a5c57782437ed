"""The front door: what `import kit` gives an analyst, asked from outside, in this process."""

from __future__ import annotations

import gzip
import json
import os
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

import kit
from kit.case.columns import FRAMES, SHOWN, meaning
from kit.case.display import INVENTED
from kit.errors import KitError
from kit.report.run import NOTEBOOK_FOLDER
from kit.show import lab
from kit.show.figures import Chart
from kit.store.tables import TABLES
from tests import cases
from tests.command import RECORDINGS


@pytest.fixture(scope="module")
def case() -> kit.Case:
    return kit.open_case("sample")


def lines_of(case: kit.Case) -> list[dict[str, Any]]:
    """The audit events of the sample's log, read by nothing of the kit."""
    with gzip.open(case.path / "evidence" / "case" / "audit.jsonl.gz", "rt") as log:
        return [json.loads(line) for line in log]


def test_a_case_says_what_it_holds_in_one_line(case: kit.Case) -> None:
    assert repr(case) == (
        f"<Case {INVENTED}, prod-a1: 17 findings, 15,209 audit events 2026-11-23 16:23–16:51 UTC,"
        " 292 CloudTrail events, 432 objects>"
    )
    assert INVENTED not in repr(kit.Case(cases.shared(RECORDINGS / "stolen_sa_token")))


def test_a_notebook_shows_the_first_screen(case: kit.Case) -> None:
    shown = case._repr_html_()
    assert INVENTED in shown and "GuardDuty reports" in shown


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_a_frame_has_the_columns_that_are_documented(case: kit.Case, name: str) -> None:
    given: dict[str, Callable[[], Any]] = {
        "objects": lambda: case.objects("pods"),
        "secrets_read": case.secrets_read,
        "actions": lambda: case.plan().actions,
        "stages": lambda: case.plan().stages,
        "simulated": lambda: case.plan().simulated,
        "ends": lambda: case.plan().ends,
    }
    frame = given[name]() if name in given else getattr(case, name)
    assert list(frame.columns) == list(FRAMES[name])
    assert len(frame) or name == "let_in"  # nobody was, in the sample: tests/test_credentials.py has rows of it
    assert all(meaning(name, column) for column in frame.columns)
    for column in frame.columns:
        values = [one for one in frame[column] if not isinstance(one, list)]
        assert "" not in [one for one in values if isinstance(one, str)], (
            f"{name}.{column} has two kinds of empty cells"
        )
        if column.endswith("_at"):
            assert str(frame[column].dtype) == "timestamp[us, tz=UTC][pyarrow]"


def test_a_call_is_one_row_whatever_its_stages(case: kit.Case) -> None:
    logged = lines_of(case)
    requests = {(one["auditID"], one["requestReceivedTimestamp"], one["verb"], one["requestURI"]) for one in logged}
    assert len(case.audit()) == len(requests) < len(case.audit(stages=True)) == len(logged)
    watches = case.audit(verb="watch", response_code=200)
    assert set(watches["stage"]) <= {"ResponseStarted", "ResponseComplete"} and watches["audit_id"].is_unique


def test_filters_give_what_a_plain_reading_of_the_log_gives(case: kit.Case) -> None:
    wanted = {
        one["auditID"]
        for one in lines_of(case)
        if one["verb"] == "create"
        and one.get("objectRef", {}).get("resource") == "pods"
        and one["requestReceivedTimestamp"] >= "2026-11-23T16:30"
    }
    assert set(case.audit(start="16:30", verb="create", resource="pods")["audit_id"]) == wanted != set()


FILTERS: list[tuple[dict[str, Any], Callable[[pd.DataFrame], Any]]] = [
    ({"verb": ["create", "delete"]}, lambda rows: rows["verb"].isin(["create", "delete"])),
    ({"user_agent": "kubectl*"}, lambda rows: rows["user_agent"].str.startswith("kubectl")),
    ({"name": "%_*"}, lambda rows: rows["name"].str.startswith("%_")),
    ({"response_code": 403}, lambda rows: rows["response_code"] == 403),
    ({"response_code": pd.Series([403, 404])}, lambda rows: rows["response_code"].isin([403, 404])),
    ({"namespace": "kube-system", "verb": None, "resource": ""}, lambda rows: rows["namespace"] == "kube-system"),
    ({"end": "16:30"}, lambda rows: rows["received_at"] < pd.Timestamp("2026-11-23T16:30Z")),
    ({"user_groups": "system:masters"}, lambda rows: rows["user_groups"].map(lambda one: "system:masters" in one)),
]


@pytest.mark.parametrize(("filters", "is_wanted"), FILTERS, ids=[str(one[0]) for one in FILTERS])
def test_a_filter_is_the_same_as_one_in_pandas(
    case: kit.Case, filters: dict[str, Any], is_wanted: Callable[[pd.DataFrame], Any]
) -> None:
    columns = ["audit_id", "verb", "user_agent", "name", "namespace", "response_code", "received_at", "user_groups"]
    every = case.audit(stages=True, columns=columns)
    wanted = every[is_wanted(every).fillna(False).astype(bool)]
    assert list(case.audit(stages=True, columns=columns, **filters)["audit_id"]) == list(wanted["audit_id"])


@pytest.mark.parametrize(
    "start",
    ["16:30", "2026-11-23T16:30Z", pd.Timestamp("2026-11-23 16:30"), pd.Timestamp("2026-11-23 18:30+02:00"), datetime(2026, 11, 23, 16, 30, tzinfo=UTC)],
    ids=repr,
)  # fmt: skip
def test_a_time_may_be_text_or_a_datetime(case: kit.Case, start: Any) -> None:
    found = case.audit(start=start, columns=["received_at"])
    assert len(found) == 10962 and found["received_at"].min() >= pd.Timestamp("2026-11-23T16:30Z")


def test_a_time_without_a_date_needs_a_log_of_one_day(tmp_path: Path) -> None:
    events = [
        {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": f"a-{day}", "stage": "ResponseComplete",
         "requestURI": "/api", "verb": "get", "user": {"username": "u"}, "requestReceivedTimestamp": f"2026-01-{day}T10:00:00.000000Z",
         "stageTimestamp": f"2026-01-{day}T10:00:00.000000Z"}
        for day in (30, 31)
    ]  # fmt: skip
    (tmp_path / "log").write_text("\n".join(map(json.dumps, events)))
    made = kit.new_case(tmp_path / "case", tmp_path / "log")
    with pytest.raises(KitError, match="'10:00' has no date, and the log covers 2026-01-30 to 2026-01-31"):
        made.audit(start="10:00")
    with pytest.raises(KitError, match="has no date"):
        kit.open_case(tmp_path / "case", start="10:00")
    assert "2026-01-30 10:00–2026-01-31 10:00 UTC" in repr(made)


def test_the_window_of_the_case_counts_where_a_call_gives_none(case: kit.Case) -> None:
    narrow = kit.Case(case.path, start="16:30", end="16:40")
    assert len(narrow.audit()) == len(case.audit(start="16:30", end="16:40")) < len(case.audit())


@pytest.mark.parametrize("log", ["audit", "cloudtrail", "sign_ins"])
def test_a_log_gives_all_columns_of_its_table(case: kit.Case, log: str) -> None:
    table = TABLES["trail" if log == "cloudtrail" else log]
    assert list(getattr(case, log)().columns) == SHOWN[table.name].split()
    assert list(getattr(case, log)(columns=table.names).columns) == table.names


def test_times_are_utc_and_what_repeats_is_a_category(case: kit.Case) -> None:
    found = case.cloudtrail()
    assert str(found["event_at"].dtype) == "timestamp[us, tz=UTC][pyarrow]"
    assert str(found["event_name"].dtype) == "category" and str(found["event_id"].dtype) == "string[pyarrow]"


def test_objects_have_their_lives(case: kit.Case) -> None:
    pods = case.objects("pods", namespace="kube-system")
    assert set(pods["namespace"]) == {"kube-system"} and pods.equals(case.objects("Pod", namespace="kube-system"))
    then = case.objects("pods", at="16:40")
    assert set(then["uid"]) < set(case.objects("pods")["uid"])
    gone = then["deleted_at"].dropna()
    assert (gone > pd.Timestamp("2026-11-23T16:40Z")).all()
    assert len(case.objects("AccessEntry"))


@pytest.mark.parametrize("kind", ["pods", "secrets", "RoleBinding", "namespaces", "AccessEntry"])
def test_objects_are_the_same_before_and_after_the_whole_inventory_is_worked_out(kind: str) -> None:
    fresh = kit.Case(cases.shared(RECORDINGS / "vanished_deployment"))
    alone = fresh.objects(kind)
    assert len(fresh.inventory.things) > len(alone.columns) and alone.equals(fresh.objects(kind))


def test_who_read_which_secret_agrees_with_the_scope(case: kit.Case) -> None:
    read = case.secrets_read()
    known = case.subjects[(case.subjects["kind"] == "secret") & (case.subjects["certainty"] == "affected")]
    assert set(known["key"]) <= set(read[read["attacker"]]["secret"])
    assert not read.duplicated(["user_name", "secret", "how"]).any()
    assert not read["attacker"].all()


def test_the_calls_that_read_a_secret_by_name_are_those_of_a_plain_reading_of_the_log(case: kit.Case) -> None:
    given = dict[tuple[str, str], dict[str, None]]()
    for one in sorted(lines_of(case), key=lambda one: one["requestReceivedTimestamp"]):
        named = one.get("objectRef", {})
        if one["verb"] == "get" and named.get("resource") == "secrets" and one["responseStatus"]["code"] == 200:
            key = one["user"]["username"], f"{named['namespace']}/{named['name']}"
            given.setdefault(key, {})[f"audit:{one['auditID']}"] = None
    read = case.secrets_read()
    found: dict[tuple[str, str], Any] = {(row["user_name"], row["secret"]): row for row in read.to_dict("records")}
    assert {*given} <= {*found}
    alone = {key for key in given if found[key]["how"] == "read"}  # the others were named in lists too
    assert len(alone) > 3
    for key in alone:
        assert [found[key]["calls"], found[key]["refs"]] == [len(given[key]), list(given[key])[:10]]


def test_sql_reads_the_case_and_nothing_else(case: kit.Case, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("a\n1\n")
    assert list(case.sql("SELECT count(*) AS events FROM audit")["events"]) == [15209]
    for sql in (
        f"SELECT * FROM '{tmp_path / 'outside.csv'}'",
        f"SELECT * FROM read_text('{case.path / 'case.toml'}')",
        "SELECT * FROM glob('/etc/*')",
        f"COPY (SELECT 1) TO '{tmp_path / 'x.csv'}'",
        "SET lock_configuration = false",
        "DROP VIEW findings",
        f"ATTACH '{tmp_path / 'x.db'}'",
        "SELECT 1; SELECT 2",
    ):
        with pytest.raises(KitError):
            case.sql(sql)
    assert set(case.tables["table"]) == set(TABLES)


def test_sums_and_lengths_of_time_in_sql_are_numbers_that_pandas_reckons_with(case: kit.Case) -> None:
    found = case.sql(
        "SELECT verb, sum(response_code) AS codes, max(stage_at - received_at) AS longest, avg(response_code)::DECIMAL(6, 2) AS mean"
        " FROM audit WHERE response_code > 0 GROUP BY verb"
    ).set_index("verb")
    every = case.audit(stages=True, columns=["verb", "response_code", "received_at", "stage_at"])
    every["took"] = every["stage_at"] - every["received_at"]
    rows = every[(every["verb"] == "delete") & (every["response_code"] > 0)]
    assert found["codes"]["delete"] == rows["response_code"].sum() and str(found["codes"].dtype) == "int64[pyarrow]"
    assert found["longest"]["delete"] == rows["took"].max() and "days" in found.to_string()
    assert found["mean"]["delete"] == pytest.approx(rows["response_code"].mean(), abs=0.01)
    assert case.sql("SELECT 1e30::DECIMAL(38, 0) AS big")["big"][0] == pytest.approx(1e30)


def test_what_the_docs_say_of_pandas_itself_is_so(case: kit.Case) -> None:
    calls, in_aws = case.audit(), case.cloudtrail()
    assert (calls["subresource"].isna() & (calls["resource"] == "pods")).any()
    keyed = calls.dropna(subset=["access_key_id"]).merge(in_aws, on="access_key_id")
    assert 0 < len(keyed) < len(calls.merge(in_aws, on="access_key_id"))
    at = pd.Timestamp("2026-11-23T16:40Z")
    assert len(calls[calls["received_at"] >= at]) == len(case.audit(start=at))
    with pytest.raises(TypeError):
        calls["received_at"] >= "2026-11-23T16:40Z"  # noqa: B015 - it raises


def test_a_ref_leads_to_the_record(case: kit.Case) -> None:
    ref = case.audit(verb="create", resource="pods")["ref"][0]
    record = case.raw(ref)
    event = json.loads(record)
    assert ref == f"audit:{event['auditID']}"
    assert record == case.raw(ref[:20]), "a ref may be cut short as long as it is one record's"
    assert event["auditID"] in repr(case.show(ref)) and ":" in repr(case.show(ref)).splitlines()[0]
    assert (record.file, record.line) == case.place(ref)


def test_a_ref_names_one_record_where_a_client_chose_the_audit_id(tmp_path: Path) -> None:
    with gzip.open(RECORDINGS / "stolen_sa_token" / "audit.jsonl.gz", "rt") as log:
        events = [json.loads(line) for line in log][:40]
    events[30]["auditID"] = events[20]["auditID"]
    (tmp_path / "audit.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    case = kit.new_case(tmp_path / "case", tmp_path / "audit.jsonl")
    frame = case.audit()
    for twice in (events[20], events[30]):
        row = frame[frame["request_uri"] == twice["requestURI"]]
        row = row[row["audit_id"] == twice["auditID"]].iloc[0]
        assert row["ref"].startswith("line:") and json.loads(case.raw(row["ref"])) == twice
    assert frame["ref"].str.startswith("audit:").sum() == len(frame) - 2


def test_a_plan_is_read_as_frames(case: kit.Case) -> None:
    plan = case.plan(without=["recover"])
    assert list(plan.stages["actions"]) == [sum(plan.actions["stage"] == stage) for stage in plan.stages["stage"]]
    ended = plan.ends.dropna(subset=["ends_action"])
    assert len(ended) and set(ended["ends_action"]) <= set(plan.actions["id"])
    assert "recover" not in set(plan.actions["stage"]) and plan.plan.digest[:12] in repr(plan)


def test_an_answer_has_its_verdict_and_a_frame(case: kit.Case) -> None:
    answer = case.answer("secrets_read")
    assert repr(answer).startswith("observed: ") and "\n" not in repr(answer)
    assert "Secret" in answer.frame and len(answer.frame) == len(answer.rows)


BAD: dict[str, tuple[Callable[[kit.Case], Any], str]] = {
    "filter": (lambda case: case.audit(srouce_address="x"), "did you mean source_address"),
    "column": (lambda case: case.audit(columns=["vreb"]), "did you mean verb"),
    "columns as text": (lambda case: case.audit(columns=cast(Any, "verb")), 'columns=\\["verb"\\]'),
    "verb": (lambda case: case.audit(verb="creat"), "did you mean create"),
    "resource": (lambda case: case.audit(resource="pod"), "did you mean pods"),
    "kind": (lambda case: case.objects("podz"), "did you mean pods"),
    "question": (lambda case: case.answer("secret_read"), "did you mean secrets_read"),
    "window": (lambda case: case.audit(start="16:50", end="16:30"), "upside down"),
    "time": (lambda case: case.audit(start="yesterday"), "^start: 'yesterday' is not a time"),
    "window of a case": (lambda case: kit.open_case(case.path, start="16:50", end="16:30"), "^start, end: "),
    "other finding": (lambda case: kit.open_case(case.path, "nope"), "^finding: "),
    "stage": (lambda case: case.plan(only=["nope"]), "^only: 'nope' is neither"),
    "addresses": (lambda case: case.plan(keep_addresses=["nope"]), "^keep_addresses: "),
    "mark": (lambda case: case.mark(case.finding_rows[0]["id"], "nope", ""), "^word: "),
    "no time": (lambda case: case.audit(start=cast(Any, pd.NaT)), "is not a time"),
    "type": (lambda case: case.audit(response_code="403"), "response_code is a number, not '403'"),
    "sql": (lambda case: case.sql("SELECT nope FROM audit"), 'column "nope" not found'),
    "table": (lambda case: case.sql("SELECT * FROM audits"), "the tables are audit, sign_ins, trail"),
    "no sql": (lambda case: case.sql("selec"), "syntax error"),
    "late sql": (lambda case: case.sql("SELECT name::INT FROM audit"), "Could not convert"),
    "ref": (lambda case: case.raw("audit:of-another-case"), "has no audit:of-another-case"),
    "line": (lambda case: case.raw("line:0a0a:1"), "has no line:0a0a:1"),
    "no ref": (lambda case: case.show("nothing"), "is not a ref"),
    "months": (lambda case: case.sql("SELECT INTERVAL 2 MONTH AS span"), "column span has months"),
    "too many": (lambda case: case.audit(most=10), "14,579 rows, more than 10"),
    "finding": (lambda case: case.answer("secrets_read", "nope"), "no finding 'nope'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(case: kit.Case, name: str) -> None:
    call, says = BAD[name]
    with pytest.raises(KitError, match=f"(?i){says}") as raised:
        call(case)
    shown = raised.value._render_traceback_()
    assert shown == [str(raised.value)] and "\n" not in shown[0]


def test_a_large_frame_warns_with_its_number_and_a_filter(case: kit.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.case.events.MANY", 1000)
    with pytest.warns(
        UserWarning, match="14,579 rows: narrow it with start, end or a filter such as user_name"
    ) as seen:
        case.audit()
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.audit(verb="deletecollection")


def test_no_case_is_opened_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: kit.Case) -> None:
    monkeypatch.delenv("KIT_CASE", raising=False)
    with pytest.raises(KitError, match=r'no case is named and KIT_CASE is not set.*"sample" opens the sample case'):
        kit.open_case("")
    monkeypatch.setenv("KIT_CASE", str(case.path))
    assert kit.open_case("").path == case.path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample").mkdir()
    with pytest.raises(KitError, match=r"Write \./sample for yours"):
        kit.open_case("sample")
    with pytest.raises(KitError, match="not a case of this kit"):
        kit.open_case("./sample")


def test_the_sample_case_is_made_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kit.open_case("sample").path.is_relative_to(tmp_path)


def test_what_is_said_of_an_unknown_cluster_names_the_parameter(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes((RECORDINGS / "stolen_sa_token" / "audit.jsonl.gz").read_bytes())
    with pytest.warns(UserWarning, match='cluster is unknown: no evidence names it.*cluster="NAME"') as seen:
        kit.new_case(tmp_path / "case", tmp_path / "log")
    # Others may come in between: a store of an earlier test that is collected warns of the folder that it takes along.
    warned = next(one for one in seen if issubclass(one.category, UserWarning))
    assert warned.filename == __file__ and "--" not in str(warned.message)


def test_a_case_is_made_of_evidence(tmp_path: Path) -> None:
    made = kit.new_case(tmp_path / "case", [str(RECORDINGS / "stolen_sa_token" / "findings.json")], cluster="mine")
    assert made.cluster == "mine" and list(made.ledger["taken_as"]) == ["GuardDuty findings"]
    with pytest.raises(KitError, match="exists already"):
        kit.new_case(tmp_path / "case", RECORDINGS / "stolen_sa_token")
    assert os.environ.get("KIT_CASE") is None


def test_the_notebook_of_worked_questions_runs_and_each_ends_in_a_table_and_a_figure(
    monkeypatch: pytest.MonkeyPatch, case: kit.Case
) -> None:
    cells = json.loads((NOTEBOOK_FOLDER / "50_own_questions.ipynb").read_text())["cells"]
    monkeypatch.setenv("KIT_CASE", "sample")
    given, tables, figures = dict[str, Any](), list[pd.DataFrame](), list[Any]()
    monkeypatch.setattr(lab, "browse", tables.append)
    for cell in (one for one in cells if one["cell_type"] == "code"):
        source = "".join(cell["source"])
        if source.startswith("lab.bars("):
            figures.append(eval(source, given))  # noqa: S307 - the kit's own notebook
        else:
            exec(source, given)  # noqa: S102 - the kit's own notebook
    assert len(tables) == len(figures) == 8 == sum("\n## " in f"\n{''.join(one['source'])}" for one in cells)
    assert all(len(one) for one in tables) and all(isinstance(one, Chart) for one in figures)


def test_papermill_by_hand_is_refused_what_the_notebook_does_not_declare() -> None:
    shell: Any = InteractiveShell.instance()
    try:
        assert shell.run_cell("# Parameters\nfinidng = 'x'\ncase_dir = 'sample'", store_history=True).success
        ran = shell.run_cell("import kit\nkit.open_case(case_dir)", store_history=True)
        assert isinstance(ran.error_in_exec, KitError)
        assert "declares no parameter 'finidng'. Did you mean finding?" in str(ran.error_in_exec)
    finally:
        InteractiveShell.clear_instance()


def test_a_figure_of_an_unknown_column_is_one_sentence() -> None:
    with pytest.raises(KitError, match=r"(?i)no column 'vreb'\. did you mean verb"):
        lab.bars(pd.DataFrame({"verb": ["get"]}), "vreb")
    hostile = lab.bars(pd.DataFrame({"verb": ["<b>get</b>", None]}), "verb")
    assert "<b>" not in str(hostile.drawing()) and list(hostile.rows["value"]) == ["(none)", "<b>get</b>"]
