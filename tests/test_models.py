from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mlops_nb.models import ModelList, ModelVersion, Promotion, standing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def moves(*steps: tuple[str, int, int | None]) -> list[Promotion]:
    """A history of (kind, version, previous)."""
    return [
        Promotion("churn", "champion", version, previous, kind, NOW, "ada", number=number)
        for number, (kind, version, previous) in enumerate(steps, 1)
    ]


def test_promotions_stack_and_rollbacks_take_away() -> None:
    history = moves(("promote", 1, None), ("promote", 2, 1), ("promote", 3, 2))
    assert standing(history, 3) == [1, 2, 3]
    history = moves(("promote", 1, None), ("promote", 2, 1), ("promote", 3, 2), ("rollback", 2, 3))
    assert standing(history, 2) == [1, 2]


def test_a_version_that_comes_back_stands_twice() -> None:
    history = moves(("promote", 1, None), ("promote", 2, 1), ("promote", 1, 2), ("promote", 3, 1))
    assert standing(history, 3) == [1, 2, 1, 3]


def test_a_move_by_plain_mlflow_after_ours_is_where_the_alias_stands() -> None:
    assert standing(moves(("promote", 1, None)), 4) == [1, 4]
    assert standing([], 4) == [4]


def test_a_move_by_plain_mlflow_between_ours_is_a_place_to_come_back_to() -> None:
    history = moves(("promote", 1, None), ("promote", 3, 2))
    assert standing(history, 3) == [1, 2, 3]


def test_a_promotion_whose_alias_never_moved_leaves_no_trace() -> None:
    assert standing(moves(("promote", 1, None), ("promote", 5, 1)), 1) == [1]
    assert standing(moves(("promote", 5, None)), None) == []


def test_a_promotion_whose_alias_never_moved_leaves_no_trace_under_the_next() -> None:
    history = moves(("promote", 1, None), ("promote", 5, 1), ("promote", 4, 1))
    assert standing(history, 4) == [1, 4]


def test_a_rollback_whose_alias_never_moved_can_be_made_again() -> None:
    history = moves(("promote", 1, None), ("promote", 2, 1), ("rollback", 1, 2))
    assert standing(history, 2) == [1, 2]


def test_the_order_of_the_entries_is_their_number_not_their_place() -> None:
    history = moves(("promote", 1, None), ("promote", 2, 1), ("promote", 3, 2))
    assert standing(history[::-1], 3) == [1, 2, 3]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_rollback_walks_every_stand_back_to_the_first(targets: Any) -> None:
    """Whatever was promoted, rolling back again and again meets each stand in reverse."""
    history: list[Promotion] = []
    stands: list[int] = []
    for target in targets:
        if stands and stands[-1] == target:
            continue
        history += _next(history, "promote", target, stands[-1] if stands else None)
        stands.append(target)
    while len(stands) > 1:
        stack = standing(history, stands[-1])
        assert stack == stands
        history += _next(history, "rollback", stack[-2], stands.pop())
    assert standing(history, stands[-1]) == stands


def _next(history: Any, kind: Any, version: Any, previous: Any) -> Any:
    number = len(history) + 1
    return [Promotion("churn", "champion", version, previous, kind, NOW, "ada", number=number)]


def test_a_promotion_written_down_reads_back_the_same() -> None:
    [move] = moves(("promote", 1, None))
    assert Promotion.from_json(move.to_json()) == move


@pytest.mark.parametrize(
    ("move", "text"),
    [
        (("promote", 3, 2), "churn@champion is now churn/3 (was churn/2); ungated"),
        (("promote", 1, None), "churn@champion is now churn/1; ungated"),
        (("rollback", 2, 3), "churn@champion rolled back to churn/2 (was churn/3)"),
    ],
)
def test_a_move_is_one_sentence(move: Any, text: str) -> None:
    assert str(moves(move)[0]) == text


def test_a_version_shows_where_it_comes_from_and_its_history() -> None:
    version = ModelVersion(
        "churn", 3, aliases=("champion",), run_id="ab" * 16, run_name="train-07",
        notebook="/w/train.ipynb",
        datasets=("flights@v2",), metrics={"auc": 0.9}, promotions=moves(("promote", 3, None)),
    )  # fmt: skip
    text = str(version)
    for words in (
        "churn/3 @champion",
        "train-07 (abababab)",
        "train.ipynb",
        "flights@v2",
        "auc",
        "history",
    ):
        assert words in text
    assert json.loads(json.dumps(version.to_dict()))["promotions"][0]["gate"] == "none"


def test_an_empty_registry_says_what_to_type() -> None:
    assert str(ModelList(())) == "no model is registered; type: mlops model register NAME RUN"
