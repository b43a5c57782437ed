"""What notebooks show: tables that can be read, files that are whole and harmless, and honest words for nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from markupsafe import Markup

import kit
from kit.exports.csv_file import write_csv
from kit.plan.first_page import by_workload
from kit.playbooks.playbook import playbooks_by_family
from kit.show import by_namespace, cited, console, impact, indicators, show, steps, words
from kit.show.html_table import safe, table
from kit.statements.techniques import ATTACK_VERSION, TECHNIQUES
from tests import cases
from tests.command import RECORDINGS, SAMPLE
from tests.report.page_numbers import disagreeing


@pytest.fixture(scope="module")
def opened(report: Path) -> kit.Case:
    return kit.open_case(report.parent)


def test_a_long_table_says_what_it_does_not_show_and_where_that_is(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": [f"pod-{one}" for one in range(120)]})
    shown = table(frame, {"Name": lambda row: safe(row["name"])}, export=tmp_path / "exports" / "pods.csv")
    assert shown.count("<tr>") == 51
    assert "70 more rows are not shown. <code>exports/pods.csv</code> in the case folder has all 120." in shown
    assert len((tmp_path / "exports" / "pods.csv").read_text().splitlines()) == 121


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"),
        *("\uff1d1", "\uff0b1", "\uff0d1", "\uff20A"),
        *(" =1", "\xa0@A", "\u3000+1", "\u200b=1"),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_is_defused(cell: str, tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"name": [cell]}), tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{cell}"]


@pytest.mark.parametrize(
    "cell", ["x;=1+1;y", "x; @A", "a\n=1+1\nb", "a\t+1", "\n-1", "a;\u200b=1", 'a";-1;"', "\r\n\uff1d1"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_cell_that_a_spreadsheet_makes_with_its_own_separator_is_run(
    separator: str, cell: str, tmp_path: Path
) -> None:
    write_csv(pd.DataFrame({"first": ["plain"], "name": [cell], "last": ["z"]}), tmp_path / "cells.csv")
    text = (tmp_path / "cells.csv").read_bytes().decode()
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    assert not [one for row in rows for one in row if one.lstrip(" \t\r\n\u200b").startswith(tuple("=+-@\uff1d"))]


def test_exports_hold_every_affected_pod(opened: kit.Case) -> None:
    pods = opened.subjects[(opened.subjects["kind"] == "pod") & (opened.subjects["certainty"] == "affected")]
    show.subjects(opened, "pod")
    with (opened.path / "exports" / "pod-affected.csv").open(newline="") as file:
        assert {row["key"] for row in csv.DictReader(file)} == set(pods["key"])


def test_the_steps_begin_with_what_the_plans_markdown_begins_with(tmp_path: Path) -> None:
    """What to stop now, in the plan's order, then a row for each action of a stage, and the targets of each by their workload."""
    case = kit.open_case(cases.copied(tmp_path / "case", RECORDINGS / "exec_kube_system", enforced=True))
    frames = case.plan()
    page = BeautifulSoup(steps.steps(case).html, "html.parser")
    now, whole = page.find_all("table")[:2]
    urgent = [one.get_text() for one in now.select("tbody tr td:first-child")]
    assert urgent == [one.does for one in frames.joined.now] and 0 < len(urgent) <= 5
    assert [one.get_text() for one in now.select("th")] == ["What", "To", "Why", "Who", "Minutes", "Stops", "Undo"]
    rows = [tuple(cell.get_text() for cell in row.select("td")) for row in whole.select("tbody tr")]
    assert {row[:2] for row in rows} == {(one.stage, one.action) for one in frames.plan.actions}
    assert sum(int(row[4]) for row in rows) == sum(one.minutes for one in frames.plan.actions)
    said = page.get_text()
    assert "Still works for you:" in said and "Still works for the attacker:" in said
    isolated = [one for one in frames.plan.actions if one.action == "isolate_pod"]
    for name in by_workload(isolated):
        assert any(name in one.get_text() for one in page.select("details li code"))
    assert "Stop it now" not in steps.steps(case, "image").html


@pytest.mark.parametrize("recording", [SAMPLE, RECORDINGS / "two_incidents"], ids=lambda path: path.name)
def test_each_subject_is_listed_once_whoever_it_came_through(recording: Path, tmp_path: Path) -> None:
    case = kit.open_case(cases.copied(tmp_path / "case", recording))
    shown = (
        Markup("").join(show.subjects(case, kind).html for kind in ("pod", "image", "service_account", "iam_role"))
        + show.deeds(case).html
    )
    compared, wrong = disagreeing(Markup("<main>{}</main>").format(shown))
    assert wrong == [] and compared > 10


def test_a_link_leads_to_evidence_that_is_shown(opened: kit.Case) -> None:
    ref = opened.calls["ref"].iloc[0]
    assert f'href="#{cited.anchor(ref)}"' in cited.link(opened, ref)
    assert f'id="{cited.anchor(ref)}"' in show.cited(opened).html
    assert "<a" not in cited.link(opened, "audit:not-cited")


def test_what_a_secret_holds_is_never_shown(make_case: Callable[..., Path], tmp_path: Path) -> None:
    about = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "db", "uid": "u-1"}}
    held = {"data": {"password": "aHVudGVyMi1odW50ZXIy"}, "stringData": {"user": "root-of-all"}}
    (tmp_path / "secrets.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [about | held]}))
    opened = kit.open_case(make_case("secrets", tmp_path / "secrets.json"))
    text = cited.texts(opened, ["object:u-1"])["object:u-1"]
    assert '"db"' in text and text.count("[masked ") == 2 and '"password"' in text
    assert "aHVud" not in text and "root-of-all" not in text


def test_each_kind_of_subject_is_told_even_where_there_is_none(opened: kit.Case) -> None:
    for kind in words.NOUNS:
        said = show.subjects(opened, kind).html
        assert any(
            word in said for word in ("affected</span>", "possible</span>", "not observed</span>", "cannot tell</span>")
        ), kind


def test_a_kind_that_a_limit_is_about_is_never_called_not_observed(opened: kit.Case) -> None:
    limited = set(words.NOUNS) & {kind for kinds in opened.limits["about"] for kind in kinds}
    assert limited
    assert not [kind for kind in limited if "not observed" in show.subjects(opened, kind).html]


def test_every_finding_type_has_its_plain_words() -> None:
    types = json.loads((Path(kit.__file__).parent / "playbooks" / "finding_types.json").read_text())
    assert types.keys() == {name for one in playbooks_by_family().values() for name in one.finding_types}
    assert all(about["summary"].endswith(".") and about["severity"] for about in types.values())
    unknown = {"type": "New:Kubernetes/Thing", "title": "A <b>new</b> thing"}
    assert "GuardDuty says: A <b>new</b> thing" in words.plain_words(unknown)


@pytest.mark.parametrize(
    ("severity", "label"),
    [(9.0, "Critical"), (8.9, "High"), (7.0, "High"), (6.9, "Medium"), (4.0, "Medium"), (3.9, "Low"), (1.0, "Low")],
)
def test_a_severity_number_has_the_label_of_guardduty(severity: float, label: str) -> None:
    assert words.level(severity) == label


def test_techniques_are_those_of_one_version_of_attack() -> None:
    held = json.loads((Path(__file__).parents[1] / "data" / "attack.json").read_text())
    assert held["version"] == ATTACK_VERSION
    for one in TECHNIQUES:
        known = held["techniques"][one.id]
        assert one.name == known["name"] and one.tactic in known["tactics"], one
    assert {one.id for one in TECHNIQUES} == set(held["techniques"])


def test_deeds_stand_with_their_technique_and_each_indicator_in_the_file(opened: kit.Case) -> None:
    page = BeautifulSoup(impact.what_was_touched(opened).html, "html.parser")
    given = {one.get_text() for one in page.select('a[href^="https://attack.mitre.org/techniques/"]')}
    assert given and given <= {one.id for one in TECHNIQUES}
    shown = BeautifulSoup(indicators.indicator_table(opened).html, "html.parser")
    with (opened.path / "exports" / "indicators.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = {value for one in opened.brief()["incidents"] for values in one["indicators"].values() for value in values}
    assert {row["value"].removeprefix("'") for row in rows} == named and len(rows) == len(named)
    assert {one.get_text() for one in shown.select("td code")} <= named and len(named) > 3


def test_what_is_exposed_adds_up_to_the_affected_pods(opened: kit.Case) -> None:
    impact.by_node(opened)
    with (opened.path / "exports" / "by-node.csv").open(newline="") as file:
        number = sum(int(row["pods"]) for row in csv.DictReader(file))
    assert number == len(words.rows_of_kind(opened, "pod")) > 0


def test_namespaces_have_all_affected_pods_and_read_secrets_and_no_owner_is_made_up(opened: kit.Case) -> None:
    page = BeautifulSoup(by_namespace.by_namespace(opened).html, "html.parser")
    with (opened.path / "exports" / "by-namespace.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pods, read = words.rows_of_kind(opened, "pod"), words.rows_of_kind(opened, "secret")
    assert {row["namespace"]: int(row["pods"]) for row in rows if row["workloads"]} == dict(pods.groupby("namespace").size())  # fmt: skip
    listed = {(row["namespace"], name) for row in rows for name in row["secrets"].split(" | ") if name}
    assert listed == set(read[["namespace", "name"]].itertuples(index=False, name=None)) and len(listed) > 1
    assert {row["owners"] for row in rows} == {""} and "none is named" in page.get_text()
    assert "Whose data they hold: cannot tell." in page.get_text()


def test_a_role_has_its_page_in_detective_by_the_principal_that_cloudtrail_tells(opened: kit.Case) -> None:
    called = opened.sql(
        "SELECT issuer_arn AS arn, min(principal_id) AS principal FROM trail WHERE issuer_arn IS NOT NULL GROUP BY ALL"
    )
    assert len(called)
    for arn, principal in called.itertuples(index=False, name=None):
        page = BeautifulSoup(console.links(opened, "iam_role", arn), "html.parser")
        hrefs = {one.get_text(): str(one["href"]) for one in page.find_all("a")}
        assert hrefs["Detective"].endswith(f"#entities/AwsRole/{principal.partition(':')[0]}")
        assert hrefs["IAM"].endswith(f"/roles/details/{arn.rpartition('/')[2]}")
    unseen = console.links(opened, "iam_role", "arn:aws:iam::111122223333:role/never-called")
    assert "IAM" in unseen and "Detective" not in unseen
