from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from mlops_nb.tables import (
    Shown,
    Table,
    display,
    duration,
    plain,
    printable,
    short,
    size,
    to_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = "<script>alert(1)</script>\x1b[31m\x07"


@dataclass(frozen=True)
class Card(Shown):
    title: str
    at: datetime

    def parts(self) -> Iterator[Any]:
        yield self.title
        yield Table(("name", "value"), [("auc", 0.91234), ("rows", 12345)])


CARD = Card("three runs", datetime(2026, 3, 1, tzinfo=UTC))


def test_a_table_lines_up_with_numbers_on_the_right() -> None:
    text = Table(("name", "value"), [("a", 1), ("bcd", 22)], title="all").to_text()
    assert text.splitlines() == [
        "all",
        "name  value",
        "────  ─────",
        "a         1",
        "bcd      22",
    ]


def test_a_long_value_is_cut_in_text_and_whole_in_html() -> None:
    table = Table(("name",), [("x" * 100,)])
    assert "x" * 59 + "…" in table.to_text()
    assert "x" * 60 not in table.to_text()
    assert "x" * 100 in table.to_html()


def test_names_from_anywhere_are_harmless_in_both_faces() -> None:
    table = Table((HOSTILE,), [(HOSTILE,)], title=HOSTILE)
    for text in (table.to_html(), Card(HOSTILE, CARD.at)._repr_html_()):
        assert "<script" not in text
        assert "\x1b" not in text
    cell = Table(("name",), [(HOSTILE,)]).to_text()
    assert "\x1b" not in cell and "\x07" not in cell


def test_one_description_gives_text_html_and_json() -> None:
    bundle = CARD._repr_mimebundle_()
    assert bundle["text/plain"] == str(CARD)
    assert str(CARD).startswith("three runs\nname")
    assert "<td>0.9123</td>" in bundle["text/html"]
    assert CARD.to_dict() == {"title": "three runs", "at": "2026-03-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (True, "yes"), (False, "no"), (12345, "12,345"), (0.123456, "0.1235"),
        (1234567.8, "1,234,568"), (timedelta(seconds=75), "1 min 15 s"), (["a", 2], "a, 2"),
        ({"a": 1.0}, "a=1"), (math.nan, "nan"), (Path("x/y"), "x/y"),
    ],
)  # fmt: skip
def test_a_value_is_displayed_as_people_read_it(value: Any, text: str) -> None:
    assert display(value) == text


def test_a_short_value_is_one_line() -> None:
    assert short("a\n  b\tc") == "a b c"
    assert short("abcdef", width=4) == "abc…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_a_duration_has_the_two_units_that_matter(seconds: Any, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (4200, "4.2 kB"), (1_300_000, "1.3 MB"), (2.5e12, "2500.0 GB")],
)
def test_a_size_is_in_powers_of_a_thousand(n_bytes: Any, text: str) -> None:
    assert size(n_bytes) == text


def test_json_holds_what_json_lacks_as_strings() -> None:
    value = plain({
        "nan": math.nan, "inf": -math.inf, "numpy": np.float64(0.5), "int": np.int64(3),
        "day": date(2026, 3, 1), "path": Path("a/b"), "set": {1}, 3: None,
        "span": timedelta(seconds=2),
        "card": CARD, "frame": pd.DataFrame({"a": [1]}),
    })  # fmt: skip
    assert value == {
        "nan": "nan", "inf": "-inf", "numpy": 0.5, "int": 3, "day": "2026-03-01", "path": "a/b",
        "set": [1], "3": None, "span": 2.0, "card": CARD.to_dict(), "frame": [{"a": 1}],
    }  # fmt: skip


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes()
    | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(anything)
def test_anything_becomes_json_that_reads_back_as_it_was_written(value: Any) -> None:
    written = json.dumps(plain(value), allow_nan=False)
    assert json.loads(written) == plain(value)


@given(st.text())
def test_printable_text_keeps_lines_and_drops_every_control_character(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    if text.isprintable():
        assert shown == text


def test_a_mapping_is_a_table_in_the_terminal() -> None:
    assert to_text({"path": Path("a/b"), "n": 3}).splitlines()[-2:] == ["path  a/b", "n     3"]
