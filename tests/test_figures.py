"""Figures: legible when small and when large, inert text, the same facts as their table, never a button to a cloud."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pytest

from kit.show import figures
from kit.show.figures.attack_path import MOST_BOXES, attack_boxes, path_rows, path_svg
from kit.show.figures.lifetimes import lifetime_strips
from kit.show.figures.recorded_time import coverage_strip
from kit.statements.moments import Actor, Moment

HOSTILE = "<a href='http://198.51.100.9/'>api</a><b>\u202e</script>"
START = pd.Timestamp("2026-01-31T14:00:00Z")
END = START + pd.Timedelta(minutes=10)


def call(number: int = 0, **more: Any) -> dict[str, Any]:
    """An audit event of the attacker."""
    plain = {
        "verb": "get",
        "resource": "secrets",
        "subresource": None,
        "namespace": "checkout",
        "name": f"mail-{number}",
    }
    about = {"received_at": START + pd.Timedelta(seconds=number), "user_name": "system:serviceaccount:checkout:api"}
    return {**plain, **about, "source_address": "198.51.100.9", "response_code": 200, "request_uri": "/", **more}


def aws_calls(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["event_at", "arn", "event_source", "event_name", "error_code"])


def findings(number: int = 1, **more: Any) -> pd.DataFrame:
    """That many findings of one type."""
    row = {
        "type": "Discovery:Kubernetes/MaliciousIPCaller",
        "severity": 5.0,
        "first_seen_at": START,
        "last_seen_at": START,
        **more,
    }
    return pd.DataFrame([{"id": f"f{one}", **row} for one in range(number)])


def coverage(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "state", "start_at", "end_at", "says"])


def subject(kind: str, name: str, certainty: str = "affected", **more: Any) -> dict[str, Any]:
    plain = {
        "kind": kind,
        "key": name,
        "namespace": "checkout",
        "name": name,
        "node": "node-1" if kind == "pod" else None,
    }
    life = {"deleted_at": pd.NaT, "standing": True, "certainty": certainty, "through": None, "findings": ["f0"]}
    return {**plain, **life, **more}


def texts(chart: figures.Chart) -> list[str]:
    """Every text that plotly would read in a figure."""
    return re.findall(
        r'"(?:text|hovertext|name|title)":"((?:[^"\\]|\\.)*)"',
        json.dumps(chart.figure.to_plotly_json(), default=list, separators=(",", ":")),
    )


def times(chart: figures.Chart) -> int:
    return int(chart.rows["count"].sum())


@pytest.mark.parametrize(
    ("more", "deed"),
    [
        ({}, "read"),
        ({"response_code": 403}, "refused"),
        ({"verb": "create", "resource": "pods", "subresource": "exec", "response_code": 101}, "ran"),
        ({"verb": "get", "resource": "pods", "subresource": "exec", "response_code": 101}, "ran"),
        ({"verb": "create", "resource": "serviceaccounts", "subresource": "token", "response_code": 201}, "minted"),
        ({"verb": "create", "resource": "selfsubjectaccessreviews", "response_code": 201}, "asked"),
        ({"verb": "deletecollection", "resource": "events"}, "deleted"),
        ({"verb": "patch", "resource": "deployments"}, "changed"),
        ({"response_code": None}, "read"),
    ],
)
def test_a_call_is_told_by_what_it_did(more: dict[str, Any], deed: str) -> None:
    assert figures.deed(call(**more)) == deed


def test_every_deed_has_a_symbol_and_a_colour_of_its_own() -> None:
    assert (
        len({symbol for _, _, symbol in figures.DEED_MARKS.values()})
        == len({colour for _, colour, _ in figures.DEED_MARKS.values()})
        == len(figures.DEED_MARKS)
    )


def test_the_timeline_has_every_call_and_its_table_too() -> None:
    rows = [call(number) for number in range(5)]
    aws = aws_calls(
        {
            "event_at": START,
            "arn": "arn:aws:sts::1:assumed-role/r/s",
            "event_source": "s3.amazonaws.com",
            "event_name": "ListBuckets",
        }
    )
    chart = figures.timeline_chart(pd.DataFrame(rows), aws, findings(), coverage(), None)
    assert times(chart) == 6 and set(chart.rows["line"]) == {"service account checkout/api", "AWS: assumed-role/r/s"}


def test_kinds_of_call_that_are_new_stand_on_the_timelines_own_axis() -> None:
    rows, late = pd.DataFrame([call(number) for number in range(5)]), START + pd.Timedelta(minutes=2)
    new = [
        (START.to_pydatetime(), "get secrets"),
        (late.to_pydatetime(), HOSTILE),
        (START.to_pydatetime(), "list pods"),
    ]
    chart = figures.timeline_chart(rows, aws_calls(), findings(), coverage(), None, new_kinds=new)
    line = list(chart.figure.layout.yaxis.ticktext).index("New kinds of call")
    (drawn,) = (one for one in chart.figure.data if "new kind" in str(one.name))
    assert set(drawn.y) == {line} and len(drawn.x) == 2 and "(3)" in drawn.name
    assert "get secrets<br>list pods" in drawn.hovertext[0] and "<img" not in "".join(drawn.hovertext)
    plain = figures.timeline_chart(rows, aws_calls(), findings(), coverage(), None)
    assert "New kinds of call" not in plain.figure.layout.yaxis.ticktext


def test_a_gap_is_shaded_and_named() -> None:
    gap = {"source": "audit", "state": "gap", "start_at": START, "end_at": START + pd.Timedelta(minutes=5)}
    chart = figures.timeline_chart(pd.DataFrame([call()]), aws_calls(), findings(), coverage(gap), None)
    assert len(chart.figure.layout.shapes) == 1 and "not recorded" in texts(chart)


def test_five_thousand_calls_are_gathered_and_none_is_lost() -> None:
    rows = [call(number, user_name=f"user-{number % 3}") for number in range(5000)]
    chart = figures.timeline_chart(pd.DataFrame(rows), aws_calls(), findings(), coverage(), None)
    assert times(chart) == 5000
    assert len(chart.rows) < figures.MOST_MARKS


def test_many_identities_share_a_line() -> None:
    rows = [call(number, user_name=f"user-{number % 700}") for number in range(1400)]
    chart = figures.timeline_chart(pd.DataFrame(rows), aws_calls(), findings(), coverage(), None)
    assert times(chart) == 1400
    assert chart.rows["line"].nunique() == figures.MOST_IDENTITIES and "677 more identities" in set(chart.rows["line"])


WINDOW = (START.to_pydatetime(), END.to_pydatetime())


def pods(number: int, **more: Any) -> pd.DataFrame:
    """That many pods, every second one gone after a minute."""
    return pd.DataFrame(
        [
            subject(
                "pod",
                f"app-{one:05d}",
                created_at=START,
                deleted_at=START + pd.Timedelta(minutes=1) if one % 2 else pd.NaT,
            )
            | more
            | {"key": f"uid-{one}"}
            for one in range(number)
        ]
    )


@pytest.mark.parametrize("number", [5, 5000])
def test_lives_of_pods_stay_legible_and_the_table_has_all(number: int) -> None:
    exec_ = pd.DataFrame([call(resource="pods", subresource="exec", name="app-00003")])
    chart = lifetime_strips(pods(number), exec_, WINDOW)
    assert len(chart.rows) == number and chart.figure.layout.height < 1200
    assert chart.rows.iloc[0]["pod"] == "checkout/app-00003" and chart.rows["attacks"].sum() == 1
    assert int(chart.rows["gone"].sum()) == number // 2
    assert ("more stand in the table" in chart.says) == (number == 5000)


def test_the_strip_shows_gaps_and_counts_them() -> None:
    spans = [
        ("audit", "recorded", 0, 5),
        ("audit", "gap", 5, 8),
        ("audit", "recorded", 8, 10),
        ("trail", "recorded", 0, 10),
    ]
    rows = [
        {
            "source": source,
            "state": state,
            "start_at": START + pd.Timedelta(minutes=a),
            "end_at": START + pd.Timedelta(minutes=b),
            "says": "",
        }
        for source, state, a, b in spans
    ]
    chart = coverage_strip(coverage(*rows), findings())
    assert chart.says == "2 sources, 1 gap" and len(chart.rows) == 4
    assert {trace.name for trace in chart.figure.data} == {"recorded", "gap"}


def moment(number: int, kind: str, name: str = "api", through: str = "", **more: Any) -> Moment:
    """A call of a service account of the namespace checkout."""
    plain = {"verb": kind, "thing": f"thing-{number}", "objects": ((kind, f"checkout/thing-{number}"),)} | more
    actor = Actor(more.pop("user", f"system:serviceaccount:checkout:{name}"), None, "198.51.100.9", through)
    at = (START + pd.Timedelta(seconds=number)).to_pydatetime()
    return Moment(at, f"audit:{number}", actor, "execution", kind, plain["verb"], plain["thing"], plain["objects"])


def test_the_path_leads_from_the_address_over_each_credential_to_what_was_done() -> None:
    told = [
        moment(1, "token", "api", "with the token of pod checkout/api-1", objects=(("token", "checkout/api"),)),
        moment(2, "secret", "api", "with a minted token"),
        moment(3, "secret", "api", "with a minted token"),
        moment(4, "exec", "api", "with a minted token", objects=(("exec", "pods/checkout/web-1"),)),
        moment(5, "secret", user="system:node:node-1"),
    ]
    boxes = attack_boxes(told, {"pods/checkout/web-1": "node-1"}, {})
    by_key = {box.key: box for box in boxes}
    node = by_key["system:node:node-1|"]
    chain = [node]
    while chain[-1].before:
        chain.append(by_key[chain[-1].before[0]])
    assert [box.kind for box in reversed(chain)] == ["address", "credential", "credential", "deed", "credential"]
    assert [box.column for box in reversed(chain)] == [0, 1, 2, 3, 4]
    rows = path_rows(boxes)
    assert rows[rows["step"] == "read 2 secrets"]["calls"].tolist() == [2]
    svg = path_svg(boxes, lambda ref: f"#{ref}")
    assert svg.count("<a ") == len([box for box in boxes if box.ref]) and 'href="#audit:4"' in svg


@pytest.mark.parametrize("number", [5, 40, 2000])
def test_the_path_stays_legible_and_no_call_is_lost(number: int) -> None:
    told = [
        moment(one, "created", f"api-{one % 90}", objects=(("created", f"pods/checkout/{one}"),))
        for one in range(number)
    ]
    boxes = attack_boxes(told, {}, {})
    assert len(boxes) <= MOST_BOXES
    assert sum(box.calls for box in boxes if box.kind == "deed") == number
    places = [(box.column, box.row) for box in boxes]
    assert len(places) == len(set(places))


def test_names_in_the_path_are_inert() -> None:
    told = [moment(1, "secret", objects=(("secret", HOSTILE),), user=HOSTILE), moment(2, "looked", through=HOSTILE)]
    svg = path_svg(attack_boxes(told, {}, {}), lambda ref: "")
    assert "<a " not in svg and "<b>" not in svg and "\u202e" not in svg and "&lt;" in svg


def test_text_from_evidence_is_inert() -> None:
    rows = pd.DataFrame([call(user_name=HOSTILE, name=HOSTILE, namespace=HOSTILE)])
    for chart in (
        figures.timeline_chart(rows, aws_calls(), findings(type=HOSTILE), coverage(), None),
        lifetime_strips(pods(1, name=HOSTILE, namespace=HOSTILE), rows, WINDOW),
        coverage_strip(
            coverage({"source": HOSTILE, "state": "gap", "start_at": START, "end_at": END, "says": HOSTILE}), findings()
        ),
    ):
        shown = json.dumps(chart.figure.to_plotly_json(), default=list, ensure_ascii=False)
        assert "<a " not in shown and "\u202e" not in shown and "02E⟩" in shown
        assert "</script>" not in chart.drawing().replace("</script><div", "")


def test_what_cannot_be_seen_is_written_out() -> None:
    assert figures.visible("a\u202eb\x00c\u200bd\n") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+200B⟩d⟨U+000A⟩"
    assert figures.visible("plain, é, 日本\n", keep="\n") == "plain, é, 日本\n"


def test_a_figure_is_the_same_each_time_and_has_no_way_to_a_cloud() -> None:
    charts = [
        figures.timeline_chart(pd.DataFrame([call()]), aws_calls(), findings(), coverage(), None) for _ in range(2)
    ]
    assert charts[0].drawing() == charts[1].drawing()
    config = json.loads(figures.CONFIG)
    assert (
        "sendChartToCloud" in config["modeBarButtonsToRemove"]
        and config["plotlyServerURL"] == ""
        and config["displaylogo"] is False
    )
