from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mlops_nb.literals import (
    EXAMPLES,
    KINDS,
    NO_LITERAL,
    fit_value,
    kind_of,
    native,
    parse_word,
    same,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        *[("str", " 5 ", " 5 "), ("Path", "a b", "a b"), ("date", "2026-01-31", "2026-01-31")],
        *[("int", " 7 ", 7), ("float", "1e3", 1000.0), ("float", "5", 5.0)],
        *[("bool", "YES", True), ("bool", " 0 ", False), ("bool", "on", "on")],
        *[("list", "[1, null]", [1, None]), ("list", "(1, None)", [1, None])],
        *[("dict", '{"a": true}', {"a": True}), ("dict", "{'a': True}", {"a": True})],
        *[("any", "5", 5), ("any", "eu", "eu"), ("any", "[NaN]", "[NaN]")],
    ],
)
def test_a_word_is_a_value_of_its_type(kind: str, text: str, value: Any) -> None:
    parsed = parse_word(kind, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[("int", "1.0"), ("int", ""), ("float", "nan"), ("float", "-inf"), ("float", "1e999")],
        *[("list", "[NaN]"), ("list", "[1"), ("dict", '{"a": {"b": Infinity}}')],
        *[("list", "__import__('os')"), ("list", "[" * 9999)],
    ],
)
def test_a_word_that_is_no_such_value_is_no_literal(kind: str, text: str) -> None:
    with pytest.raises(NO_LITERAL):
        parse_word(kind, text)


@given(st.sampled_from(sorted({*KINDS.values(), "any"})), st.text(max_size=30))
def test_no_word_raises_anything_else(kind: str, text: str) -> None:
    try:
        parse_word(kind, text)
    except NO_LITERAL:
        assert kind not in ("any", "str", "bool")


@pytest.mark.parametrize("kind", sorted(EXAMPLES.keys() - {"bool"}))
def test_every_example_is_a_value_of_its_type(kind: str) -> None:
    fitted = fit_value(kind, "any", parse_word(kind, EXAMPLES[kind]))
    assert isinstance(fitted, Path) if kind == "Path" else type(fitted).__name__ == kind


def test_both_examples_of_a_bool_are_bools() -> None:
    assert [parse_word("bool", word) for word in EXAMPLES["bool"].split(" or ")] == [True, False]


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (np.int64(3), 3),
        (np.array([[1, 2]]), [[1, 2]]),
        ({"a": (np.float64(0.5), {2, 1})}, {"a": [0.5, [1, 2]]}),
        ({"b", 1}, [1, "b"]),
        (frozenset({3}), [3]),
        ("text", "text"),
    ],
)
def test_values_of_numpy_and_tuples_and_sets_become_plain_ones(value: Any, result: Any) -> None:
    assert native(value) == result
    assert type(native(value)) is type(result)


@pytest.mark.parametrize(
    ("kind", "item", "value", "result"),
    [
        ("float", "any", 1, 1.0),
        ("list", "float", [1, 2.5], [1.0, 2.5]),
        ("dict", "Path", {"a": "b"}, {"a": Path("b")}),
        ("date", "any", "2026-01-31", date(2026, 1, 31)),
        ("datetime", "any", date(2026, 1, 31), datetime(2026, 1, 31)),
        ("any", "any", None, None),
    ],
)
def test_a_value_that_fits_becomes_one_of_its_type(
    kind: str, item: str, value: Any, result: Any
) -> None:
    fitted = fit_value(kind, item, value)
    assert repr(fitted) == repr(result)  # 1 == 1.0, also within a list


@pytest.mark.parametrize(
    ("kind", "item", "value"),
    [
        *[("int", "any", True), ("int", "any", 1.0), ("int", "any", "1"), ("float", "any", True)],
        *[("float", "any", 10**400), ("bool", "any", 1), ("str", "any", 5), ("Path", "any", "")],
        *[("list", "int", ["a"]), ("dict", "int", {"a": None}), ("list", "any", {})],
        *[("date", "any", datetime(2026, 1, 1)), ("date", "any", "soon"), ("datetime", "any", 5)],
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind: str, item: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        fit_value(kind, item, value)


def test_a_literal_has_the_type_of_its_value() -> None:
    values = [True, 1, 1.5, "a", {}, [], (), set(), None, b""]
    kinds = "bool int float str dict list list list any any"
    assert [kind_of(value) for value in values] == kinds.split()


def test_equal_values_of_different_types_are_not_the_same() -> None:
    assert same(1, 1)
    assert not same(True, 1)
    assert not same(1.0, 1)
    assert not same("a", "b")
