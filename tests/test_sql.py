"""The SQL that the kit asks: another engine could run each text, and the order in which rows are stored decides nothing.

`python -m tests.sql_table` prints the texts, and what Spark and Athena say to each.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from kit.store.parquet import read_parquet
from tests import cases
from tests.command import RECORDINGS, SAMPLE
from tests.sql_table import Text, ask_all, collected, faults, table

EVIDENCE = [SAMPLE, *sorted(path for path in RECORDINGS.iterdir() if path.is_dir())]


@pytest.mark.parametrize("evidence", EVIDENCE, ids=lambda path: path.name)
def test_spark_and_athena_can_run_what_is_asked_of_a_case(evidence: Path) -> None:
    with collected() as found:
        ask_all(Case(cases.shared(evidence)))
    failed = [text for text in found.values() if any(faults(text).values())]
    assert len(found) > 60
    assert not failed, table(failed)


@pytest.mark.parametrize("evidence", EVIDENCE, ids=lambda path: path.name)
def test_the_order_of_the_rows_decides_nothing(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.shared(evidence)
    as_stored = _forms(Case(case))

    def backwards(parts: Iterable[Path], more: str = "") -> str:
        placed = f"SELECT *, row_number() OVER () AS place FROM {read_parquet(parts, more)}"
        return f"(SELECT * EXCLUDE (place) FROM ({placed}) ORDER BY place DESC)"

    monkeypatch.setattr("kit.store.store.read_parquet", backwards)
    assert _forms(Case(case)) == as_stored


def _forms(case: Case) -> list[Any]:
    return [case.scope, case.answers_contract(), case.plan().plan, case.secrets_read().to_dict("records")]


WRONG = {
    "SELECT verb, count(*) AS calls FROM audit GROUP BY ALL": "GROUP BY ALL",
    "SELECT hash(verb) AS hashed FROM audit": "hash()",
    "SELECT json_extract(object, '$.spec') AS spec FROM objects": "no scalar's",
    "SELECT json_extract_string(object, ['$.kind', '$.spec']) AS both FROM objects": "listed",
    "SELECT json_extract_string(object, '$.spec.containers[*].image') AS images FROM objects": "names many",
    "SELECT verb FROM audit WHERE len($listed) > 0": "length of the list",
    "SELECT {'verb': verb} AS event FROM audit": "struct",
    "SELECT verb FROM audit QUALIFY row_number() OVER (ORDER BY item) = 1 ORDER BY verb": "QUALIFY",
    "SELECT verb FROM audit WHERE verb = $nothing": "no type",
    "SELECT verb FROM audit WHERE $given IS NULL OR verb = $given": "no type",
    "SELECT min_by(verb, received_at) AS verb FROM audit": "a tie decides",
    "SELECT any_value(verb) AS verb FROM audit": "a tie decides",
    "SELECT list(DISTINCT verb) AS verbs FROM audit": "order is not told",
    "SELECT verb FROM audit WHERE contains(request_uri, 'x')": "contains()",
    "SELECT verb FROM audit WHERE list_has_any(user_groups, $listed)": "list_has_any()",
    "SELECT epoch(received_at - stage_at) AS took FROM audit": "epoch()",
    "SELECT date_trunc('milliseconds', received_at) AS at FROM audit": "plural",
    "SELECT item FROM audit WHERE item IN (SELECT unnest($listed))": "unnest",
    "SELECT verb || ' ' || resource AS what, count(*) AS calls FROM audit GROUP BY what": "what is an alias",
}
"""Text → what is said of it."""


@pytest.mark.parametrize("sql", WRONG)
def test_what_another_engine_would_answer_otherwise_is_refused(sql: str) -> None:
    said = faults(Text(sql, "", nulls={"nothing"}, lists={"listed"}))
    assert any(said.values())
    assert WRONG[sql] in " ".join(said.values())
