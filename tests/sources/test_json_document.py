"""Documents of many records: whole, cut, broken, and of any bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.evidence.formats import json_document
from kit.evidence.formats.json_document import MOST_DAMAGES, peek
from kit.evidence.formats.json_text import repaired
from kit.evidence.record import Record, Reject
from kit.lenient import utc_time

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 999) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ELEMENTS = st.lists(VALUES, max_size=5)
LAYOUTS = st.sampled_from([None, 0, 1, "\t"])


def records(data: bytes | Iterable[bytes], keys: tuple[str, ...] = ("items",)) -> Iterator[Record | Reject]:
    return json_document.records(data, keys)


def values(found: list[Record | Reject]) -> list[Any]:
    return [each.value for each in found if isinstance(each, Record)]


def reasons(found: list[Record | Reject]) -> list[str]:
    return [each.reason for each in found if isinstance(each, Reject)]


@given(st.binary() | st.text('[]{}",:\\ \n1eNa\ufeff').map(str.encode))
def test_any_bytes_become_records_and_rejects(data: bytes) -> None:
    found = list(records(data))
    assert [each.item for each in found] == list(range(1, len(found) + 1))
    peek(data)


@given(ELEMENTS, LAYOUTS, st.booleans(), st.booleans(), st.data())
def test_a_cut_document_gives_what_comes_before_the_cut_and_one_reject(
    elements: list[Any], layout: Any, ascii_only: bool, bare: bool, draw: st.DataObject
) -> None:
    document = elements if bare else {"kind": "List", "items": elements, "metadata": {}}
    data = json.dumps(document, indent=layout, ensure_ascii=ascii_only).encode()
    assert values(list(records(data))) == elements
    found = list(records(data[: draw.draw(st.integers(0, len(data) - 1))]))
    kept = values(found)
    assert kept == elements[: len(kept)]
    assert len(reasons(found)) == 1
    assert isinstance(found[-1], Reject)


@given(ELEMENTS, st.integers(0, 3))
def test_a_record_knows_the_line_where_it_starts(elements: list[Any], blank: int) -> None:
    parts = [json.dumps(each, indent=1) for each in elements]
    text = "\n" * blank + '{"items": [\n' + ",\n".join(parts) + "\n]}"
    line, expected = blank + 2, []
    for part in parts:
        expected.append(line)
        line += part.count("\n") + 1
    assert [each.line for each in records(text.encode())] == expected


def test_a_broken_line_of_json_lines_costs_that_line_only() -> None:
    found = list(records(b'{"a": 1}\n{"a": 2, "b\n{"a": 3}\n{"a": }\n{"a": 5}\n'))
    assert values(found) == [{"a": 1}, {"a": 3}, {"a": 5}]
    assert [each.line for each in found] == [1, 2, 3, 4, 5]
    assert reasons(found)[1] == "not JSON: Expecting value at line 4"


def test_elements_after_a_broken_one_on_a_line_of_its_own_are_found_again() -> None:
    found = list(records(b'[\n{"a": 1},\n{"a" 2},\n{"a": 3},\n{"a": 4}\n]\n'))
    assert values(found) == [{"a": 1}, {"a": 3}, {"a": 4}]
    assert len(reasons(found)) == 1


def test_documents_in_a_row_are_all_read() -> None:
    found = list(records(b'{\n "items": [1, 2]\n}\n{\n "items": [3],\n "kind": "X"\n}\n'))
    assert values(found) == [1, 2, 3]
    assert isinstance(found[2], Record)
    assert (found[2].line, found[2].item, found[2].around) == (5, 3, {"kind": "X"})


def test_a_byte_that_is_not_utf8_breaks_its_record_only() -> None:
    found = list(records(b'{"items": [1,\n"\xff",\n3]}'))
    assert [each.broken for each in found if isinstance(each, Record)] == ["", "not UTF-8 at line 2", ""]
    assert found[1].raw == '"\ufffd"'


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "1e999", "9" * 5000, "[" * 5000 + "]" * 5000])
def test_what_no_parser_holds_breaks_its_record_only(odd: str) -> None:
    found = list(records(f'[1, {{"b": "x", "a": {odd}}}, 3]'.encode()))
    one, broken, three = (each for each in found if isinstance(each, Record))
    assert (one.value, three.value, one.broken, three.broken) == (1, 3, "", "")
    assert broken.value["b"] == "x" and broken.broken.startswith("not JSON: ")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_what_every_parser_holds_is_not_repaired(value: Any) -> None:
    text = json.dumps(value)
    found = repaired(f" {text} ,", 1)
    halves = re.search(r"\\ud[89a-f]", text)
    long = re.search(r"\d{19}", text)
    scalar = not isinstance(value, list | dict | str | float | int) or isinstance(value, bool)
    if not (halves or long or scalar):
        assert found == (text, len(text) + 1, "")


@pytest.mark.parametrize("damaged", ["[" * 100_000, "", " \n"], ids=["deep", "empty", "blank"])
def test_what_the_decoder_cannot_hold_is_one_reject(damaged: str) -> None:
    assert len(reasons(list(records(damaged.encode(), ())))) == 1


@pytest.mark.parametrize("cut", ['{"a":"' + '\\"' * 400_000, '{"a":"b\\', '{"a":"b"', '{"a":"\\"b'])
def test_what_is_cut_within_a_text_is_looked_through_once(cut: str) -> None:
    assert repaired(cut).end == -1
    assert len(reasons(list(records(("[" * 2000 + cut).encode())))) == 1


def test_a_file_of_nothing_but_damage_ends_with_a_sentence() -> None:
    found = list(records(b"{x\n" * (2 * MOST_DAMAGES)))
    assert reasons(found)[-1].endswith("what comes after is not read")


def test_a_mark_before_the_text_is_no_text() -> None:
    data = '{"items": ["ä"]}'.encode("utf-8-sig")
    assert values(list(records(data))) == ["ä"]
    assert peek(data) == {"items": ["ä"]}


def test_peek_gives_what_stands_before_the_cut() -> None:
    whole = b'{"apiVersion": "v1", "items": [{"kind": "Pod", "spec": {"a": [1, 2'
    assert peek(whole) == {"apiVersion": "v1", "items": [{"kind": "Pod", "spec": {"a": [1, 2]}}]}
    assert peek(b'{"a": 1}\n{"b": 2}') == {"a": 1}
    assert peek(b"plain text") is None


@pytest.mark.parametrize("value", [1772442891, 1772442891000, "2026-03-02T09:14:51Z", "2026-03-02T10:14:51+01:00"])
def test_times_in_every_spelling_are_one_moment(value: Any) -> None:
    assert utc_time(value) == datetime(2026, 3, 2, 9, 14, 51, tzinfo=UTC)


FORMS_OF_TIMES = (
    "2026-03-02T09:14:51Z", "2026-03-02t09:14:51z", " 2026-03-02T09:14:51Z ", "2026-03-02T09:14:51 Z", "2026-03-02 09:14:51,000", "2026/03/02 09:14:51",
    "20260302T091451Z", "20260302091451", 20260302091451, "02/Mar/2026:10:14:51 +0100", "Mon Mar  2 09:14:51 UTC 2026", "Mon Mar  2 09:14:51 2026",
    "Mon, 02 Mar 2026 09:14:51 GMT", "Mar 2, 2026 @ 09:14:51.000", "Mar 2, 2026, 9:14:51 AM", "3/2/2026, 9:14:51 AM", "Monday, March 2, 2026 9:14:51 AM",
    "1.772442891E9", "1772442891.0", 1772442891000, "1772442891000000",
)  # fmt: skip


@pytest.mark.parametrize("value", FORMS_OF_TIMES)
def test_a_time_of_any_tool_is_one_moment(value: Any) -> None:
    assert utc_time(value) == datetime(2026, 3, 2, 9, 14, 51, tzinfo=UTC)


@pytest.mark.parametrize("value", ["20261323162030", "11/23/2026 16:20:30", "46714.68", "23.11.2026 16:20:30"])
def test_a_time_that_may_be_another_is_none(value: str) -> None:
    assert utc_time(value) is None


@pytest.mark.parametrize("value", ["soon", True, None, 1e300, {}, "0001-01-01T00:00:00+23:00"])
def test_what_is_no_time_is_none(value: Any) -> None:
    assert utc_time(value) is None


@given(st.binary() | st.text('[]{}",:\\ \n1eNa\ufeffé').map(str.encode), st.integers(1, 7))
def test_a_document_in_pieces_gives_what_it_gives_whole(data: bytes, size: int) -> None:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert list(records(pieces)) == list(records(data))


@given(ELEMENTS, LAYOUTS, st.integers(1, 7))
def test_a_list_in_pieces_gives_what_it_gives_whole(elements: list[Any], layout: Any, size: int) -> None:
    data = json.dumps({"kind": "List", "items": elements}, indent=layout, ensure_ascii=False).encode() * 2
    assert list(records(iter([data[start : start + size] for start in range(0, len(data), size)]))) == list(
        records(data)
    )
