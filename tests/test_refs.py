"""Refs and windows: text → value → text, and one clear sentence for what is neither."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import CallError
from kit.model.refs import REF_KINDS, Ref
from kit.model.window import checked_window


@given(st.sampled_from(REF_KINDS), st.text(min_size=1))
def test_any_key_comes_back_from_the_text_of_a_ref(kind: str, key: str) -> None:
    ref = Ref.of(kind, key)
    assert (ref.kind, ref.key) == (kind, key)
    assert Ref.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "pod", "pod:", "pods:1", ":1", "Pod:1"])
def test_what_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(CallError):
        Ref.parse(text)


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_a_window_has_its_ends_in_order_or_is_refused(start: datetime, end: datetime) -> None:
    if start < end:
        assert checked_window(start.isoformat(), end.isoformat()) == (start, end)
    else:
        with pytest.raises(CallError, match=r"is empty|upside down"):
            checked_window(start.isoformat(), end.isoformat())


def test_a_time_without_a_zone_is_utc_and_one_with_a_zone_is_turned_into_it() -> None:
    assert checked_window("2026-01-31 14:00", "2026-01-31T16:30+02:00") == (
        datetime(2026, 1, 31, 14, tzinfo=UTC),
        datetime(2026, 1, 31, 14, 30, tzinfo=UTC),
    )


def test_an_end_that_is_not_given_stays_open() -> None:
    assert checked_window("", "") == (None, None)
