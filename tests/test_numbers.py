"""app/foreign/numbers.py: the same number as different countries and programs write it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.foreign.numbers import number, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.14", 3.14), ("3,14", 3.14), ("1.234,5", 1234.5), ("1,234.5", 1234.5), ("1 234,5", 1234.5), ("1\u202f234,5", 1234.5), ("1'234.5", 1234.5),
        ("1,234,567", 1234567.0), ("1.234.567", 1234567.0), ("−2,5", -2.5), ("٣٫١٤", 3.14), ("10.5%", 10.5), ("1e-3", 1e-3), ("1,5e3", 1500.0), ("inf", math.inf),
        ("three", None), ("", None), ("1,2,3.4.5", None), ("--1", None),
    ],
)  # fmt: skip
def test_a_number_of_any_country(text, value):
    assert number(text) == value


def test_where_commas_separate_cells_they_group_digits():
    assert number("1,234", comma=False) == 1234.0
    assert number("1,234") == 1.234


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1000", 1000),
        ("1,000", 1000),
        ("1.000", 1000),
        ("1 000", 1000),
        ("1e3", 1000),
        ("1000.0", 1000),
        ("12,5", None),
        ("-1", None),
        ("nan", None),
        ("1e30", None),
    ],
)
def test_a_count(text, value):
    assert whole(text) == value


@given(st.text(max_size=20))
def test_no_text_raises(text):
    number(text)
    whole(text)


@given(st.floats(allow_nan=False))
def test_what_python_writes_is_read_back(value):
    assert number(repr(value)) == value
